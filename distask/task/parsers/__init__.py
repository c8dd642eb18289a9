"""Turn a reply into raw values, one file a parser.

A parser is a function from a reply to raw values; types and bounds are `columns`' business, retries are `run`'s.
"""

from __future__ import annotations

from distask.task.parsers.base import Context, Parser
from distask.task.parsers.choice import ChoiceParser
from distask.task.parsers.json import JsonParser
from distask.task.parsers.list import ListParser
from distask.task.parsers.logprobs import LogprobsParser
from distask.task.parsers.python import PythonParser
from distask.task.parsers.regex import RegexParser
from distask.task.parsers.sections import SectionsParser
from distask.task.parsers.tags import TagsParser
from distask.task.parsers.text import TextParser
from distask.task.parsers.tool_calls import ToolCallsParser

PARSERS: dict[str, type[Parser]] = {
    "text": TextParser,
    "regex": RegexParser,
    "json": JsonParser,
    "tags": TagsParser,
    "list": ListParser,
    "sections": SectionsParser,
    "choice": ChoiceParser,
    "logprobs": LogprobsParser,
    "tool_calls": ToolCallsParser,
    "python": PythonParser,
}
"""The name in a spec to the parser."""

__all__ = ["PARSERS", "Context", "Parser"]
