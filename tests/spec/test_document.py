"""YAML with positions: what is read, where it stands, and what is refused before it grows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distask.errors import SpecError
from distask.spec.document import MAX_DEPTH, Document, scalar


def refused(text: str):
    """The faults of a text that is refused."""
    with pytest.raises(SpecError) as caught:
        Document.parse(text, "f.yaml")
    return caught.value.diagnostics


@pytest.mark.parametrize(
    "word", ["yes", "no", "on", "off", "NO", "Yes", "y", "12:30", "12:30:45", "2024-01-01", "1_000", "0o9"]
)
def test_words_that_older_yaml_converts_are_text(word):
    """A list of country codes or times of day arrives as it was written."""
    assert Document.parse(f"- {word}", "f.yaml").data == [word]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("4", 4),
        ("-4", -4),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
    ],
)
def test_scalars_are_those_of_yaml_1_2(written, value):
    """Numbers, true, false and null are what YAML 1.2's core schema says."""
    found = Document.parse(f"- {written}", "f.yaml").data

    assert found == [value]
    assert type(found[0]) is type(value)


def test_quotes_make_text_of_anything():
    """A number in quotes is text."""
    assert Document.parse("['4', \"true\", !!str 5]", "f.yaml").data == ["4", "true", "5"]


def test_a_duplicate_key_is_reported_with_the_line_of_the_first():
    """The last one does not silently win."""
    (found,) = refused("a: 1\nb: 2\na: 3\n")

    assert (found.line, found.column, found.message) == (3, 1, "duplicate key `a`")
    assert "line 1" in found.hint


def test_all_duplicate_keys_are_reported_at_once():
    """Two slips are two faults of one reading."""
    assert [d.line for d in refused("a: 1\na: 2\nb: {c: 1, c: 2}\n")] == [2, 3]


def test_anchors_and_aliases_are_read():
    """A rubric may be written once and used twice."""
    assert Document.parse("a: &x [1, 2]\nb: *x\n", "f.yaml").data == {"a": [1, 2], "b": [1, 2]}


BILLION_LAUGHS = "\n".join(
    ["a0: &a0 [lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
)
HOSTILE = {
    "billion laughs": (BILLION_LAUGHS, "aliases expand to more than"),
    "self alias": ("a: &a [*a]", "refers to itself"),
    "self alias in a mapping": ("&a {b: *a}", "refers to itself"),
    "alias of nothing": ("a: *b", "has no anchor `&b`"),
    "deep flow": ("[" * 5000, "nested deeper"),
    "deep block": ("\n".join(" " * n + "a:" for n in range(200)), "nested deeper"),
    "deep by aliases": (
        "\n".join(["a0: &a0 [x]"] + [f"a{n}: &a{n} {'[' * 40}*a{n - 1}{']' * 40}" for n in range(1, 30)]),
        "nested deeper",
    ),
    "custom tag": ("a: !!python/object/apply:os.system [id]", "tag"),
    "local tag": ("a: !include x.yaml", "tag"),
    "merge key": ("a: &a {b: 1}\nc:\n  <<: *a\n", "merge key"),
    "two documents": ("a: 1\n---\nb: 2\n", "second document"),
    "a list as a key": ("? [a]\n: b\n", "key can't be a list"),
    "nothing": ("", "empty"),
    "a comment only": ("# nothing\n", "empty"),
    "a control character": ("a: \x1b[31m\n", "U+001B"),
    "a lone surrogate": ("a: \ud800\n", "U+D800"),
    "many values": ("[" + "a," * 200_000 + "]", "more than"),
    "a huge file": ("a: " + "x" * (5 << 20), "larger"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_refused_in_a_sentence(name):
    """A bomb ends as a fault with a place, long before it fills the memory."""
    text, words = HOSTILE[name]

    found = refused(text)

    assert words in found[-1].message
    assert all(d.line >= 1 and d.column >= 1 for d in found)


def test_the_depth_that_is_allowed_can_be_read():
    """The bound is on what no person writes."""
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH

    assert Document.parse(text, "f.yaml").data is not None
    assert refused(f"[{text}]")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('a: "{{ x', (1, 4)),
        ("a:\n\tb: 1\n", (2, 1)),
        ("a: b: c\n", (1, 5)),
        ("a: [1, 2\nb: 3\n", (2, 2)),
        ("a: @x\n", (1, 4)),
        ('a: "\\d"\n', (1, 5)),
    ],
)
def test_a_fault_of_syntax_has_its_place(text, place):
    """What is not YAML is told where it stops being YAML."""
    (found,) = refused(text)

    assert (found.line, found.column) == place
    assert found.message.startswith("invalid YAML")


def test_an_unquoted_template_gets_the_hint():
    """The commonest slip of all: braces without quotes."""
    (found,) = refused("content: {{ x }}\n")

    assert "quotes" in found.hint


SCALARS = """\
literal: |
  first
    indented {{ a }}

  last {{ b }}
indicated: |2-
    four {{ a }}
folded: >-
  one
  two {{ a }}

  three {{ b }}
plain: some text that
  goes on {{ a }}
single: 'it''s {{ a }} and ''{{ b }}'''
double: "tab\\t \\u00e9\\x41 \\"q\\" {{ a }} \\
  joined {{ b }}"
anchored: &anchor "{{ a }}"
wide: "日本語 {{ a }}"
"""


@pytest.mark.parametrize("key", ["literal", "indicated", "folded", "plain", "single", "double", "anchored", "wide"])
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_place_inside_a_scalar_is_where_it_stands_in_the_file(key, name):
    """Whatever the style, an offset of the value leads to the line and column of the source."""
    document = Document.parse(SCALARS, "f.yaml")
    value = document.data[key]
    offset = value.find(f"{{{{ {name} }}}}")
    if offset < 0:
        return

    line, column = document.inside((key,), offset + 3)

    assert SCALARS.splitlines()[line - 1][column - 4 :].startswith(f"{{{{ {name} }}}}")


def test_a_key_has_a_place_of_its_own():
    """A fault of a key points at the key, one of a value at the value."""
    document = Document.parse("a:\n  b: 1\n", "f.yaml")

    assert document.position(("a", "b"), key=True) == (2, 3)
    assert document.position(("a", "b")) == (2, 6)
    assert document.position(("a", "nowhere", 3)) == (2, 3)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_give_the_same_places(ending):
    """A file from Windows has the same lines."""
    document = Document.parse(ending.join(["a: 1", "b: |", "  x", "  {{ y }}", ""]), "f.yaml")

    assert document.inside(("b",), document.data["b"].find("y")) == (4, 6)


def test_a_value_of_the_command_line_is_read_as_yaml():
    """`--param n=4` is a number, and what is no YAML stays text."""
    assert scalar("4") == 4
    assert scalar("[a, b]") == ["a", "b"]
    assert scalar("{{ x }}") == "{{ x }}"
    assert scalar("") == ""


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("ab:-[]{}'\"|>&*!%@#?,\n\t \\~<x01é日\r\x85\u2028\ufeff"), max_size=60)
    | st.text(max_size=60)
)
def test_any_text_is_read_or_refused_with_places(text):
    """No text makes the reader raise anything but its own error, and every place is in the file."""
    lines = len(text) + 1
    try:
        document = Document.parse(text, "f.yaml")
    except SpecError as error:
        places = [(d.line, d.column) for d in error.diagnostics]
    else:
        places = [document.position(())]

    assert places
    assert all(1 <= line <= lines and column >= 1 for line, column in places)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(alphabet="ab{} '\"\\\n\té日:#", min_size=1, max_size=30), min_size=1, max_size=3))
def test_every_character_of_every_scalar_has_its_place(values):
    """Whatever a writer of YAML makes of a text, an offset leads to the same character in the file."""
    import yaml

    text = yaml.safe_dump(values, allow_unicode=True, width=20)
    document = Document.parse(text, "f.yaml")

    for index, value in enumerate(values):
        assert document.data[index] == value
        for offset, character in enumerate(value):
            if character in "ab{}é日:#":
                line, column = document.inside((index,), offset)
                assert document.lines[line - 1][column - 1] == character
