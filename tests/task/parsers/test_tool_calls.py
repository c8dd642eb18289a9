"""A reply's tool calls become a column."""

from __future__ import annotations

import json

import pytest

from distask.task.chat.tools import call_problem
from distask.task.task import Task

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


def test_a_simulated_reply_calls_a_tool_that_the_task_has_with_arguments_that_fit_or_answers(tmp_path):
    """So that an estimate of a task with tools counts calls that would be made."""
    parameters = {"type": "object", "properties": {"town": {"enum": ["Ghent", "Bruges"]}}, "required": ["town"]}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    spec = {
        "name": "t",
        "inputs": {"known": {"type": "list"}},
        "format_input": [{"role": "user", "content": "?"}],
        "tools": "known",
        "outputs": {"calls": {"type": "list[object]", "nullable": True}, "answer": {"nullable": True}},
        "format_output": [{"parser": "tool_calls", "column": "calls"}, {"parser": "text", "column": "answer"}],
    }
    (tmp_path / "t.yaml").write_text(json.dumps(spec))
    task, row = Task.load(tmp_path / "t.yaml"), {"known": tools}

    made = [task.format_output(task.example(row, 0, sample), row) for sample in range(20)]

    calls = [columns["calls"] for columns in made if columns["calls"] is not None]
    assert 0 < len(calls) < 20
    assert all(call_problem(call, tools) is None for several in calls for call in several)
