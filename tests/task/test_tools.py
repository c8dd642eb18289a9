"""Definitions of tools, and calls of tools against them."""

from __future__ import annotations

import pytest

from distask.task.chat.tools import call_problem, tools_problem


def tool(name="f", **function):
    return {"type": "function", "function": {"name": name, **function}}


TOWN = {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]}
TOOLS = [tool("weather", parameters=TOWN), tool("now")]


@pytest.mark.parametrize("tools", [TOOLS, [tool(parameters={})], [{"function": {"name": "f"}}]])
def test_tools_that_a_model_can_be_given_have_no_problem(tools):
    assert tools_problem(tools) is None


@pytest.mark.parametrize(
    ("tools", "problem"),
    [
        ([], "there are no tools"),
        (None, "there are no tools"),
        ("weather", "the tools are text, not a list"),
        ([tool(), "f"], "tools[1] is not of the form {type: function"),
        ([{"type": "function", "function": {"name": ""}}], "tools[0] is not of the form"),
        ([{"type": "retrieval", "function": {"name": "f"}}], "tools[0] is not of the form"),
        ([tool(), tool()], "two tools have the name f"),
        ([tool(parameters="none")], "the parameters of f are text, not a JSON Schema"),
        ([tool(parameters={"type": "objekt"})], "the parameters of f are not a valid JSON Schema"),
        ([tool(parameters={"$ref": "https://example.org/x.json"})], "it refers to another schema"),
    ],
)
def test_the_first_problem_of_tools_is_reported(tools, problem):
    assert problem in tools_problem(tools)


@pytest.mark.parametrize(
    "call", [{"name": "weather", "arguments": {"town": "Ghent"}}, {"name": "now", "arguments": {}}]
)
def test_a_call_that_fits_has_no_problem(call):
    assert call_problem(call, TOOLS) is None


def nested(depth):
    return {"town": nested(depth - 1)} if depth else "Ghent"


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ({"name": "wind", "arguments": {}}, "there is no tool wind; the tools are: weather, now"),
        ({"arguments": {}}, "there is no tool None"),
        ("weather", "there is no tool None"),
        ({"name": "weather"}, "the arguments of weather are null, not an object"),
        ({"name": "weather", "arguments": ["Ghent"]}, "the arguments of weather are a list, not an object"),
        (
            {"name": "weather", "arguments": {}},
            'the arguments of weather don\'t fit its parameters: "town" is a required property',
        ),
        ({"name": "weather", "arguments": {"town": 9}}, 'don\'t fit its parameters: town: 9 is not of type "string"'),
        ({"name": "now", "arguments": {"town": "Ghent"}}, "now takes no arguments"),
    ],
)
def test_the_problem_of_a_call_is_reported(call, problem):
    assert problem in call_problem(call, TOOLS)


def test_an_error_never_quotes_a_long_value_in_full():
    assert len(call_problem({"name": "weather", "arguments": {"town": ["x" * 10_000]}}, TOOLS)) < 500


def test_arguments_that_are_nested_too_deeply_for_a_recursive_schema_are_a_problem():
    tree = {"type": "object", "properties": {"town": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}, {"type": "string"}]}}}

    assert "deep" in call_problem({"name": "f", "arguments": nested(200)}, [tool(parameters=tree)])
