"""Nested JSON lines are read by the fast parser; a line that it would misread is left to the exact one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask.data.readers import jsonl
from distask.data.readers.jsonl import read_line

KEYS = st.text(alphabet='ab":\\ ', max_size=3)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats(-1e9, 1e9) | st.text('a":\\ {[', max_size=6)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(KEYS, inner), max_size=3).map(tuple),
    max_leaves=8,
)
"""An object is a tuple of pairs, in which a key may be there twice."""


def written(value, space):
    if isinstance(value, tuple):
        return "{" + ", ".join(f"{json.dumps(k)}{space}: {written(v, space)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(v, space) for v in value) + "]"
    return json.dumps(value)


@given(st.lists(st.tuples(KEYS, VALUES), max_size=4).map(tuple), st.sampled_from(["", " "]))
def test_a_line_is_read_as_the_exact_parser_reads_it(pairs, space):
    """Keys and texts hold quotes, colons and backslashes; numbers are longer than 64 bits."""
    raw = written(pairs, space).encode()

    read, exact = read_line(raw, "f", 1), jsonl._slowly(raw, "f", 1, "line", "stop")

    assert (read.error is None) == (exact.error is None)
    assert str(read.error) == str(exact.error)
    assert json.dumps(read.values) == json.dumps(exact.values)


METADATA = {
    "chat": [{"role": "user", "content": 'Say "a": 1'}],
    "raw": '{"a": {"a": 1}}',
    "tokens": {"input": 3, "output": 12.5},
}


def test_a_nested_line_is_parsed_once(monkeypatch):
    monkeypatch.setattr(jsonl, "_slowly", lambda *_: pytest.fail("parsed again"))
    row = {"id": 1, "metadata": METADATA}

    assert read_line(json.dumps(row).encode(), "f", 1).values == row


@pytest.mark.parametrize("opening", ['{"a":', "["])
def test_deep_nesting_is_refused_whatever_it_is_made_of(opening):
    depth = jsonl.MAX_DEPTH + 1
    raw = f'{{"x":{opening * depth}1{("}" if "{" in opening else "]") * depth}}}'.encode()

    assert "nested" in str(read_line(raw, "f", 1).error)
