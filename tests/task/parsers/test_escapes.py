r"""Backslashes that a model forgot to escape in JSON.

Each entry of the tables is the text between the quotes of a JSON string, as the model wrote it.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distask.errors import InvalidReply
from distask.task.parsers.json import first_json
from distask.task.reply.escapes import are_suspect
from distask.task.reply.lenient_json import loads

RAW = [
    r"\frac{1}{2}",
    r"\boxed{4}",
    r"\beta",
    r"x \(a\) \alpha",
    r"\[ x \] and \{y\}",
    r"50\% of a\_b \& c\# \$5",
    r"\underline{x} \upsilon",
    r"f\'(x)",
    r"$\theta$ and \(x\)",
    r"\theta",
    r"\nabla f",
    r"2 \times 3 \neq 5",
    r"\rho",
    r"x \rightarrow y",
    r"\langle x \rangle",
    r"\left(\frac{a}{b}\right)",
    r"\text{if } x",
    r"\nu_1",
    r"\tau^2",
    r"\tau",
    r"\nu",
    r"\tau = 3",
    r"x \to y",
    r"\neg p \to q",
    r"\rm d x",
    r"$\tau$ and $\nu$",
    r"\(x \to \nu\)",
    r"\[x \not= y\]",
    r"$$a \ne b$$",
    r"\alpha \to \beta",
    r"\forall x \tan x",
    r"\bar{x} \binom{n}{k} \bullet",
    r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
    r"\begin{cases} x \\ y \end{cases}",
    r"\bfoo\b|\d+\s",
    r"\b\w+\b",
    r"C:\Users\bob\new\temp.txt",
    r"C:\data\results\table.csv",
    r"D:\bin\run",
    r"C:\Program Files\nodejs\tool.exe",
    r"\x41 \0",
]
"""No backslash is escaped: the value is the text as it is."""

MIXED = [
    (r"\\frac{1}{2}\nThen stop.", "\\frac{1}{2}\nThen stop."),
    (r"\\(x\\)\nu is an input", "\\(x\\)\nu is an input"),
    (r"We have \(x\).\n\nSo \alpha", "We have \\(x\\).\n\nSo \\alpha"),
    (r"\(x\)\nu is an input", "\\(x\\)\nu is an input"),
    (r"$x$\nto be sure", "$x$\nto be sure"),
    (r"\\alpha \frac{1}{2}", r"\alpha \frac{1}{2}"),
    (r"\alpha\n\tb", "\\alpha\n\tb"),
    (r"see C:\data\a.txt\nthen stop", "see C:\\data\\a.txt\nthen stop"),
    (r"in C:\data\nThen stop", "in C:\\data\nThen stop"),
    (r"\d+\nu", "\\d+\nu"),
    (r"say \"\alpha\"", r'say "\alpha"'),
]
"""What was meant is a mixture."""

STRICT = [
    r"a\tb\nc",
    r"\nThen stop",
    r"line\nnext",
    r"\tindented",
    r"line\nnumber",
    r"one\ntwo\tthree\r\nfour",
    r"a\rb",
    r"x\ntimes y",
    r"x\nu",
    r"the\ne-mail",
    r"a\to",
    r"a\tau\ttan",
    r"name\text",
    r"costs $5\nto $6",
    r"Q:\nWhat?",
    r"A:\tone",
    r"C:\new\test",
    r"word\b",
    r"\f1",
    r"\\theta \\nabla",
    r"C:\\Users\\bob\\new",
    r"\\\\server\\share",
    r"\u00e9\u03b1",
    r"\/ \" \\",
    r"\\begin{matrix} a \\\\ b \\end{matrix}",
]
"""JSON's own reading is what was meant."""


def read(written):
    return first_json(f'{{"a": "{written}"}}')["a"]


@pytest.mark.parametrize("written", RAW)
def test_an_unescaped_backslash_is_kept(written):
    assert read(written) == written


@pytest.mark.parametrize(("written", "value"), MIXED)
def test_escapes_and_unescaped_backslashes_may_be_mixed(written, value):
    assert read(written) == value


@pytest.mark.parametrize("written", STRICT)
def test_escaped_text_is_not_changed(written):
    assert read(written) == json.loads(f'"{written}"')


def test_other_quotes_keys_and_nested_values_are_treated_alike():
    assert first_json(r"{'a': '\frac{1}{2} it\'s', “b”: “\alpha”}") == {"a": r"\frac{1}{2} it's", "b": r"\alpha"}
    assert first_json(r'{"\beta": ["\theta", {"c": "\(x\)"}]}') == {r"\beta": [r"\theta", {"c": r"\(x\)"}]}


def test_the_arguments_of_a_tool_call_are_treated_alike():
    assert loads(r'{"formula": "\frac{1}{2} \alpha"}') == {"formula": r"\frac{1}{2} \alpha"}


def test_a_lost_quote_is_not_repaired():
    r"""The backslash of `\"` escapes the quote, so the string does not end."""
    with pytest.raises(InvalidReply, match="does not end"):
        first_json(r'{"a": "C:\dir\"}')


plain = st.text(st.sampled_from("ab1 \n\r\tTnrtu{}_^$[]()\"'\\/:.,é")).filter(
    lambda text: not are_suspect(written := json.dumps(text), 0, len(written))
)


@pytest.mark.battery
@given(st.dictionaries(plain, plain | st.lists(plain), max_size=4), st.booleans())
@settings(max_examples=300)
def test_text_without_a_command_is_read_as_a_strict_parser_reads_it(value, ascii_only):
    assert first_json(json.dumps(value, ensure_ascii=ascii_only)) == value


@given(st.text(st.sampled_from("abfnrtu01 \\({$_:CT'")))
@settings(max_examples=500)
def test_text_that_is_written_raw_or_escaped_is_read_as_either(text):
    r"""Escaped text keeps its value; a backslash before a letter that JSON does not know is kept in any case."""
    assert first_json(json.dumps({"a": text})) == {"a": text}
    try:
        value = first_json(f'{{"a": "{text}"}}')["a"]
    except InvalidReply:
        assert text.endswith("\\")
        return
    assert value.count("\\") <= text.count("\\")
