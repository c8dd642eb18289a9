"""Turn a reply into raw values, one file a parser.

A parser is a function from a reply to raw values; types and bounds are `columns`' business, retries are `run`'s.
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
"""The name in a spec, which is the file's here too, to the class in it."""

__all__ = ["PARSERS", "Context", "Parser", "parser_class"]


def parser_class(name: str) -> type[Parser]:
    """The parser of a name; its file is imported when a spec names it."""
    found: type[Parser] = getattr(import_module(f"distask.task.parsers.{name}"), PARSERS[name])
    return found
