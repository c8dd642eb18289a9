"""Parse replies into raw values, with one module per parser.

Parsers return raw values only: `column_types` checks types and bounds, and the runner retries.
"""

from __future__ import annotations

from importlib import import_module

from distask.task.parsers.base import Context, Parser

PARSERS = {
    "text": "TextParser",
    "regex": "RegexParser",
    "json": "JsonParser",
    "tags": "TagsParser",
    "list": "ListParser",
    "sections": "SectionsParser",
    "choice": "ChoiceParser",
    "logprobs": "LogprobsParser",
    "tool_calls": "ToolCallsParser",
    "python": "PythonParser",
}
"""Parser name (in specs, and of the module) to the class in the module."""

__all__ = ["PARSERS", "Context", "Parser", "parser_class"]


def parser_class(name: str) -> type[Parser]:
    """The parser with this name; its module is imported on first use."""
    found: type[Parser] = getattr(import_module(f"distask.task.parsers.{name}"), PARSERS[name])
    return found
