"""A reply's tool calls become a column."""

from __future__ import annotations

import pytest

SPEC = "outputs: {calls: {type: 'list[object]'}}\nformat_output: {parser: tool_calls}"


@pytest.mark.parametrize(
    "call",
    [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"function": {"name": "f", "arguments": {"x": 1}}},
    ],
)
def test_the_calls_are_read_as_names_and_arguments(read, call):
    """In the API's form, the arguments as text or as they are."""
    assert read(SPEC, None, tool_calls=[call]) == {"calls": [{"name": "f", "arguments": {"x": 1}}]}


def test_a_text_that_holds_such_a_list_will_do(read):
    """Models without a tool parser write it."""
    assert read(SPEC, 'Calling: [{"name": "f", "arguments": {"x": 1}}]') == {
        "calls": [{"name": "f", "arguments": {"x": 1}}]
    }


@pytest.mark.parametrize(
    "calls",
    [
        ["f"],
        [None],
        [{}],
        [{"function": None}],
        [{"function": "f"}],
        [{"function": {"name": 3}}],
        [{"function": {"name": "f", "arguments": "{broken"}}],
        [{"function": {"name": "f", "arguments": "[" * 100_000}}],
        [{"function": {"name": "f", "arguments": '{"x": NaN}'}}],
        [{"function": {"name": "f", "arguments": '{"x":' + "1" * 5000 + "}"}}],
    ],
)
def test_a_call_that_is_none_is_the_replys_failure(read, calls):
    """Whatever a server sends for one."""
    assert isinstance(read(SPEC, None, tool_calls=calls), str)


def test_a_text_without_calls_is_invalid(read):
    """It is told so."""
    assert read(SPEC, "I need no tool.") == "the reply contains no JSON"
