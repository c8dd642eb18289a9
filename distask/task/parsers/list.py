"""`list`: numbered or bulleted items, or one item per line, become a list."""

from __future__ import annotations

import re
from time import thread_time
from typing import TYPE_CHECKING, Any

from distask.errors import InvalidReply
from distask.spec.check.patterns import TIMEOUT, PatternTimeout, compile_pattern
from distask.task.parsers.base import Context, Given, Parser, Scope, aligned, invalid, text_of
from distask.task.reply.examples import instance, simulated, written

if TYPE_CHECKING:
    import random

    from distask.llm.request import Completion
    from distask.spec.check.patterns import Pattern
    from distask.spec.language.parsers import ListParser as Options

_NUMBERED = re.compile(r"\s{0,8}(?:\*\*)?\d{1,4}[.):](?:\*\*)?(?:\s+|$)")
_BULLET = re.compile(r"\s{0,8}[-*•\u2013+]\s+")

_MARK = re.compile(rf"{_NUMBERED.pattern}|{_BULLET.pattern}")


class ListParser(Parser):
    """Splits text into items at numbered lines, or else at bullets, or else at every line."""

    def __init__(self, options: Options, context: Context) -> None:
        self._column = context.only(options.column)
        self._align_to = options.align_to
        most = options.max_items
        self._most = context.expression(most) if isinstance(most, str) else lambda _scope: most
        self._lines = options.lines
        self._separator = options.separator
        self._skip = compile_pattern(options.skip, "i") if options.skip is not None else None
        self._split = compile_pattern(options.split) if options.split is not None else None
        self._type = context.columns[self._column]

    def parse(self, completion: Completion, scope: Scope) -> dict[str, Any]:
        found = self._items(text_of(completion))
        if not found:
            raise invalid("the reply has no items")
        found = found[: self._limit(scope)]
        return {self._column: aligned(found, self._align_to, scope) if self._align_to else found}

    def _limit(self, scope: Scope) -> int | None:
        most = self._most(scope)
        if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
            raise invalid(f"`max_items` is {most}, which is not a positive whole number")
        return most

    def _items(self, text: str) -> list[Any]:
        if self._skip is not None:
            text = self._without_skipped(self._skip, text)
        if self._split is not None:
            text = "\n".join(part for line in text.splitlines() for part in self._split_line(line))
        if self._separator is None:
            return one_a_line(text) if self._lines else items(text)
        parts = [part for part in _parted(text, self._separator) if part]
        if (self._type.schema.get("items") or {}).get("type") != "array":
            return parts
        return [one_a_line(part) if self._lines else items(part) for part in parts]

    def _without_skipped(self, skip: Pattern, text: str) -> str:
        """Remove skipped lines; raises `InvalidReply` if matching takes too long in total."""
        kept, end = [], thread_time() + TIMEOUT
        too_long = InvalidReply("parse_timeout", "the pattern `skip` took too long on this reply")
        for line in text.splitlines():
            try:
                skipped = skip.find(line) is not None
            except PatternTimeout:
                raise too_long from None
            if thread_time() > end:
                raise too_long
            if not skipped:
                kept.append(line)
        return "\n".join(kept)

    def _split_line(self, line: str) -> list[str]:
        """Split a line at each match that is not inside a word."""
        assert self._split is not None
        try:
            places = [found.start() for found in self._split.find_all(line)]
        except PatternTimeout:
            return [line]
        indent = len(line) - len(line.lstrip())
        places = [at for at in places if at > indent and not line[at - 1].isalnum()]
        return [line[start:end] for start, end in zip([0, *places], [*places, len(line)], strict=True)]

    def example(self, rng: random.Random, scope: Scope, given: Given) -> str:
        value = simulated(self._type, rng, given)
        wanted = scope.get(self._align_to) if self._align_to else None
        if wanted is not None and self._column not in given:
            value = [instance(self._type.schema.get("items") or {"type": "string"}, rng) for _ in wanted] or [""]
        if self._separator is not None:
            parts = ["\n".join(map(written, item)) if isinstance(item, list) else written(item) for item in value]
            return f"\n{self._separator}\n".join(parts)
        return "\n".join(f"{number}. {written(item)}" for number, item in enumerate(value, 1))


def one_a_line(text: str) -> list[str]:
    """Each line that is not blank, without its number or bullet."""
    lines = (line[match.end() :] if (match := _MARK.match(line)) else line for line in text.splitlines())
    return [line.strip() for line in lines if line.strip()]


def _parted(text: str, separator: str) -> list[str]:
    parts: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip(" \t*_#").casefold() == separator.casefold():
            parts.append([])
        else:
            parts[-1].append(line)
    return ["\n".join(part).strip() for part in parts]


def items(text: str) -> list[str]:
    """The items of a list in any format that models use."""
    lines = text.splitlines()
    for mark in (_NUMBERED, _BULLET):
        if any(mark.match(line) for line in lines):
            return _marked(lines, mark)
    return [line.strip() for line in lines if line.strip()]


def _marked(lines: list[str], mark: re.Pattern[str]) -> list[str]:
    found: list[list[str]] = []
    gap = True
    for line in lines:
        if (match := mark.match(line)) is not None:
            found.append([line[match.end() :].strip()])
            gap = False
        elif not line.strip():
            gap = True
        elif found and not (gap and not line[:1].isspace()):
            found[-1].append(line.strip())
    items = ("\n".join(item).removeprefix("\n") for item in found)
    return [item for item in items if item]
