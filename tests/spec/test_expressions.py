"""Templates and expressions, read without being run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.defaults import DEFAULT_FILTERS

from distask.spec.check.expressions import GLOBALS, bare, read_expression, read_template
from distask.task.templates.sandbox import Sandbox


def names(source: str) -> list[str]:
    return [n.name for n in read_template(source).names]


@pytest.mark.parametrize(
    ("template", "read"),
    [
        ("{{ a }} and {{ b.c }}", ["a", "b"]),
        ("{% for x in xs %}{{ x }}{{ loop.index }}{% endfor %}", ["xs"]),
        ("{% for x in xs %}{% endfor %}{{ x }}", ["xs", "x"]),
        ("{% for k, v in d.items() %}{{ k }}{{ v }}{% else %}{{ k }}{% endfor %}", ["d", "k"]),
        ("{% set y = z %}{{ y }}", ["z"]),
        ("{% if a %}{% set b = 1 %}{% endif %}{{ b }}", ["a"]),
        ("{% macro m(p, q=r) %}{{ p }}{{ q }}{{ caller() }}{% endmacro %}{{ m(s) }}", ["r", "s"]),
        ("{% with t = u %}{{ t }}{% endwith %}{{ t }}", ["u", "t"]),
        ("{% filter upper %}{{ a }}{% endfilter %}", ["a"]),
        ("{{ f(k=v) }}", ["f", "v"]),
        ("{{ 'a b' }} {# {{ no }} #} {% raw %}{{ no }}{% endraw %} {{ yes }}", ["yes"]),
        ("{% import 'm' as m %}{{ m.x() }}", []),
        ("{% from 'm' import x as y, z %}{{ y }}{{ z }}", []),
        ("{{ xs | map(attribute='y') | join(sep) }}", ["xs", "sep"]),
        ("{% set ns = namespace(a=1) %}{% set ns.a = b %}", ["namespace", "b"]),
    ],
)
def test_the_names_that_come_from_outside_are_found(template, read):
    """Jinja's scopes are Jinja's: what a loop, a macro or a set makes is no column."""
    assert names(template) == read


def test_each_name_has_its_own_place():
    """The same name as an attribute, a word of the text or a string is not taken for it."""
    source = "word {{ x.word }} 'word'\n  {%- if word == \"word\" %}\n{% endif %}"

    (_, word) = read_template(source).names

    assert (word.name, source[word.offset - 3 : word.offset + 8]) == ("word", "if word == ")


def test_what_is_read_of_a_mapping_is_known():
    """`vars.x` and `vars["x"]` name a var; `vars.items()` does not."""
    found = read_template("{{ vars.x }}{{ params['y'] }}{{ vars.items() }}").names

    assert [(n.name, n.attribute) for n in found] == [("vars", "x"), ("params", "y"), ("vars", None)]


@pytest.mark.parametrize(
    ("template", "words", "at"),
    [
        ("{% if x %}a", "`if` is never closed", "if"),
        ("{% for a in b %}{% if x %}{% endif %}", "`for` is never closed", "for"),
        ("{{ a b }}", "expected `}}`, got `b`", "b }}"),
        ("{{ x }", "unexpected `}`", "}"),
        ("{% foo %}", "unknown tag `foo`", "foo"),
        ("a\n{{ 'x }}", "quote is never closed", "'x"),
        ("{{ x | toJson }}", "unknown filter `toJson`", "toJson"),
        ("{{ x is defind }}", "unknown test `defind`", "defind"),
        ("{{ 10**99999999 }}", "exponent", "10"),
        ("{{ 'a' * 2000000000 }}", "repeat", "'a'"),
        ("{{ x | random }}", "unknown filter `random`", "random"),
        ("{% extends 'x' %}", "extends", "extends"),
    ],
)
def test_a_fault_says_what_and_where(template, words, at):
    """The place is exact, line and column, and the words are no jargon of a parser."""
    (fault,) = read_template(template).faults

    assert words in fault.message
    assert template[fault.offset :].startswith(at)


def test_the_filters_and_names_that_are_known_are_the_sandboxes():
    """What is told here to be unknown is unknown when it is rendered, and the other way round."""
    sandbox = Sandbox(Path())
    public = {name for name in sandbox.filters if not name.startswith("_")}

    unknown = [f for f in public if read_expression(f"x | {f}").faults]
    known = [f for f in DEFAULT_FILTERS.keys() - public if not read_expression(f"x | {f}").faults]

    assert (unknown, known) == ([], [])
    assert set(sandbox.globals) == GLOBALS


@pytest.mark.parametrize(
    "template", ["{{ " + "(" * 5000, "{{" * 3000, "{{ " + "a+" * 5000 + "a }}", "{% if a %}" * 1000, "{{ a }}" * 90_000]
)
def test_a_template_that_is_made_to_break_the_parser_is_a_fault(template):
    """Depth and size have bounds of their own."""
    assert read_template(template).error is not None


@pytest.mark.parametrize(
    ("expression", "inner"),
    [
        ("{{ x }}", "x"),
        (" {{- x -}} ", "x"),
        ("{{ -1 }}", "-1"),
        ("x | length", "x | length"),
        ('{{ {"a": {"b": c}} }}', '{"a": {"b": c}}'),
    ],
)
def test_braces_around_an_expression_are_taken_off(expression, inner):
    """An expression may stand with braces or without; a minus sign is no mark of white space."""
    assert bare(expression) == inner
    assert read_expression(expression).error is None


def test_text_around_an_expression_is_reported_with_the_hint():
    """An expression gives a value, a template gives text."""
    (fault,) = read_expression("{{ a }} - {{ b }}").faults

    assert "~" in fault.hint


def test_a_name_in_braces_has_its_place_in_the_whole():
    """The offset counts from the text as it is written."""
    (name,) = read_expression("  {{ ab }}").names

    assert name.offset == 5


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet="{}%#-+ abx.|()'\"\n=for in if~*", max_size=60))
def test_any_text_is_read(text):
    """A template of a stranger is names or faults, never an exception; every place is in the text."""
    for read in (read_template, read_expression):
        found = read(text)
        places = [n.offset for n in found.names] + [f.offset for f in found.faults]
        assert all(0 <= p <= len(text) for p in places)
        assert all(text[n.offset :].startswith(n.name) for n in found.names)
