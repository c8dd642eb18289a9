"""The first JSON value of a reply becomes columns."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distask.errors import InvalidReply
from distask.task.parsers.json import first_json
from distask.task.reply.escapes import are_suspect
from distask.task.reply.lenient_json import MAX_DEPTH

SPEC = "outputs: {score: {type: integer}, why: {nullable: true, description: x}}\nformat_output: {parser: json}"


@pytest.mark.parametrize(
    "reply",
    [
        '{"score": 4, "why": "x"}',
        '```json\n{"score": 4, "why": "x"}\n```',
        'Sure! Here it is: {"score": 4, "why": "x"} I hope it {helps}.',
        '[1] says {"score": 4, "why": "x"}',
        'The set {a, b}, then {"score": 4, "why": "x"}',
        '{"score": "4", "why": "x", "more": [1]}',
        '[{"score": 4, "why": "x"}, {"score": 5}]',
        '<think>{"score": 1}</think>{"score": 4, "why": "x"}',
        r"\frac{1}{2} " * 500 + '{"score": 4, "why": "x"}',
    ],
)
def test_it_is_found_in_fences_and_prose(read, reply):
    """Brackets that are no JSON are passed over, however many there are."""
    assert read(SPEC, reply) == {"score": 4, "why": "x"}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('{"a": 1,}', {"a": 1}),
        ("[1, 2,\n]", [1, 2]),
        ("{'a': 'x'}", {"a": "x"}),
        ("{'a': 'it's \"so\"'}", {"a": 'it\'s "so"'}),
        (r"{'a': 'x\'y\n'}", {"a": "x'y\n"}),
        ("{“a”: “x”}", {"a": "x"}),
        ("{'a': True, 'b': None, 'c': False}", {"a": True, "b": None, "c": False}),
        ("{a: 1, b_2: 'c'}", {"a": 1, "b_2": "c"}),
        ('{"a": 1 /* one */, // more\n "b": 2}', {"a": 1, "b": 2}),
        ('{"a": "x\ny\tz"}', {"a": "x\ny\tz"}),
        ("{'u': 'http://x/*y*/', 'None': None}", {"u": "http://x/*y*/", "None": None}),
        ("{}", {}),
        ("[',']", [","]),
    ],
)
def test_what_can_mean_one_thing_only_is_repaired(written, value):
    """Quotes, Python's words, keys without quotes, commas too many, comments, line ends."""
    assert first_json(f"So: {written} Done.") == value


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("no idea", "the reply contains no JSON"),
        ("{x}", "the reply contains no JSON"),
        ("{1, 2}", "the reply contains no JSON"),
        ('{"score": 4, "why": "x', "the reply's JSON does not end"),
        ('{"score": 4, "why": ["x"', "the reply's JSON does not end"),
        ('{"score": }', "the reply's JSON is broken: expecting value at `}`"),
        ('{"score": 4 out of 5}', "is broken: expecting ',' delimiter at `out of 5}`"),
        ('{"score": tru}', "is broken"),
        ('{"score": 4 "why": 2}', "is broken"),
        ('{"score": 4, ...}', "is broken"),
        ('{"score": 01}', "is broken"),
        ('{"score": 4/5}', "is broken"),
        ('{"why": "say "hi" now"}', "is broken"),
        ('{"score": NaN}', "NaN is not valid JSON"),
        ('{"score": -Infinity}', "-Infinity is not valid JSON"),
        ('{"score": 1e999}', "1e999 is larger than any number"),
        ('{"score": ' + "1" * 5000 + "}", "a number of thousands of digits"),
        ("[" * 100_000, "nested deeper than"),
        ('{"a":' * 500 + "1" + "}" * 500, "nested deeper than"),
        ("[1, 2]", "the reply contains no JSON"),
        ('{"why": "x"}', "the reply's JSON has no `score`"),
        ('{"score": [4]}', "score: [4] is not an integer"),
    ],
)
def test_nothing_is_simulated(read, reply, words):
    """What is cut, or lacks a value or a comma, is invalid, with the reason."""
    result = read(SPEC, reply)

    assert isinstance(result, str)
    assert words in result


def test_a_value_of_a_hundred_levels_is_read(read):
    """What is deeper could not be written into most formats."""
    spec = "outputs: {a: {type: any}}\nformat_output: {parser: json}"
    deep = '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH

    assert isinstance(read(spec, deep), dict)
    assert "deeper" in read(spec, '{"a":' + deep + "}")


def test_pointers_lead_to_values_inside(read):
    """RFC 6901, with null where there is nothing."""
    spec = "outputs: {a: x, b: {nullable: true, description: x}}\nformat_output: {parser: json, columns: {a: /x~1y/1/z~0, b: /gone/3}}"

    assert read(spec, json.dumps({"x/y": [0, {"z~": "deep"}]})) == {"a": "deep", "b": None}


def test_a_pointer_into_a_list_takes_plain_digits_only(read):
    """`²` is a digit to Python and no number; thousands of digits are no place."""
    spec = "outputs: {a: {type: any}}\nformat_output: {parser: json, columns: {a: /x/%s}}"

    for step in ("²", "9" * 5000, "-1"):
        assert read(spec % step, '{"x": [1]}') == {"a": None}


def test_a_list_fills_the_only_column(read):
    """Where its type is a list."""
    spec = "outputs: {tags: {type: 'list[string]'}}\nformat_output: {parser: json}"

    assert read(spec, 'They are ["a", "b"].') == {"tags": ["a", "b"]}
    assert read(spec, '{"tags": ["a"]}') == {"tags": ["a"]}


def test_a_key_in_other_letters_is_the_columns(read):
    """Models write `Why` and `the_score` as they like; two that could be meant are none."""
    assert read(SPEC, '{"Score": 4, "WHY": "x"}') == {"score": 4, "why": "x"}
    assert "no `score`" in read(SPEC, '{"Score": 4, "SCORE": 5}')


def test_nothing_but_json_may_stand_there_where_the_spec_says_so(read):
    """A fence around it aside."""
    spec = SPEC.replace("json}", "json, whole: true}")

    assert read(spec, '```json\n{"score": 4}\n```') == {"score": 4, "why": None}
    assert read(spec, " {'score': 4} ") == {"score": 4, "why": None}
    for reply in ('It is {"score": 4}', '{"score": 4} {"score": 5}', '{"score": 4', "4"):
        assert read(spec, reply) == "the reply is not JSON alone"


texts = st.text().filter(lambda text: not are_suspect(written := json.dumps(text), 0, len(written)))
"""A line break may be read as the backslash of a LaTeX command, see `test_escapes`."""
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(texts, values, max_size=4), st.booleans(), st.sampled_from([None, 1]))
@settings(max_examples=150)
def test_json_that_is_right_is_never_changed(value, ascii_only, indent):
    """Whatever its texts hold: brackets, quotes, commas before brackets."""
    written = json.dumps(value, ensure_ascii=ascii_only, indent=indent)

    assert first_json(f"Here: {written} There [it] is.") == value


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="'\\", exclude_categories=["Cc", "Cs"])),
        st.none() | st.booleans() | st.text(st.characters(exclude_characters="'\\", exclude_categories=["Cc", "Cs"])),
        min_size=1,
    )
)
@settings(max_examples=100)
def test_a_mapping_as_python_prints_it_is_read(value):
    """With texts that hold no quote of their own."""
    written = (
        "{" + ", ".join(f"'{k}': " + (f"'{v}'" if isinstance(v, str) else str(v)) for k, v in value.items()) + ",}"
    )

    assert first_json(written) == value


@given(st.text(st.sampled_from("{}[]\"':,\\ab1 \n/*-.eTN“”")))
@settings(max_examples=300)
def test_a_reply_of_brackets_and_quotes_is_read_or_refused(text):
    """Whatever stands between them."""
    try:
        value = first_json(text)
    except InvalidReply:
        return
    assert isinstance(value, dict | list)
    json.dumps(value, allow_nan=False)
