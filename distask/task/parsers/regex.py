"""`regex`: named groups become columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.errors import InvalidReply, Progress
from distask.spec.check.patterns import PatternTimeout, compile_pattern
from distask.task.parsers.base import Context, Parser, Scope, aligned, invalid, tags_beside, text_of
from distask.task.reply.examples import instance, written
from distask.task.reply.scores import score_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from distask.llm.request import Completion
    from distask.spec.language.model import RegexParser as Options

POSITION = "position"
"""With `align_to`, the group with this name gives the entry (from 1) of a match."""


class RegexParser(Parser):
    """Reads the first, the last or all matches; a group that did not match is null."""

    def __init__(self, options: Options, context: Context) -> None:
        self._pattern = compile_pattern(options.pattern, options.flags)
        self._source, self._flags = options.pattern, options.flags
        self._find = options.find
        self._align_to = options.align_to
        self._columns = [g for g in self._pattern.groups if g in context.outputs]
        self._scale = {
            group: context.expression(greatest) if isinstance(greatest, str) else greatest
            for group, greatest in (options.scale or {}).items()
        }
        self._context = context
        self.reasoning_tags = tags_beside(options.pattern)

    def parse(self, completion: Completion, scope: Scope) -> dict[str, Any]:
        text = text_of(completion, self.reasoning_tags)
        try:
            if self._find == "first":
                found = self._pattern.find(text)
                matches = [found] if found is not None else []
            else:
                matches = self._pattern.find_all(text)
        except PatternTimeout:
            raise InvalidReply("parse_timeout", "the pattern took too long on this reply", Progress.PART) from None
        if not matches and not (self._align_to and scope.get(self._align_to) == []):
            raise invalid("the pattern matches nowhere in the reply")
        read = self._values(scope)
        if self._find != "all":
            return {c: read(c, matches[-1].group(c)) for c in self._columns}
        if self._align_to and POSITION in self._pattern.groups:
            return self._placed(matches, scope, read)
        columns = {c: [read(c, m.group(c)) for m in matches] for c in self._columns}
        if self._align_to:
            columns = {c: aligned(values, self._align_to, scope) for c, values in columns.items()}
        return columns

    def _values(self, scope: Scope) -> Callable[[str, str | None], Any]:
        """A function from a group's text to its value: a score, or else the text, for its type to reject."""
        greatest = {c: limit(scope) if callable(limit) else limit for c, limit in self._scale.items()}
        for column, limit in greatest.items():
            if isinstance(limit, bool) or not isinstance(limit, int | float):
                raise invalid(f"`scale` of `{column}` is {limit}, which is not a number")

        def read(column: str, text: str | None) -> Any:
            if text is None or column not in greatest:
                return text
            score = score_of(text, greatest[column])
            return text.strip() if score is None else score

        return read

    def _placed(self, matches: list[Any], scope: Scope, read: Callable[[str, str | None], Any]) -> dict[str, Any]:
        assert self._align_to is not None
        columns = {c: aligned([], self._align_to, scope) for c in self._columns}
        for match in matches:
            said = match.group(POSITION) or ""
            at = int(said) - 1 if said.isdecimal() and len(said) < 10 else -1
            for column, values in columns.items():
                if 0 <= at < len(values):
                    values[at] = read(column, match.group(column))
        return columns

    def example(self, rng: random.Random, scope: Scope) -> str:
        count = len(scope.get(self._align_to) or [0]) if self._align_to else 1
        return "\n\n".join(self._one(rng, number) for number in range(1, max(1, count) + 1))

    def _one(self, rng: random.Random, number: int) -> str:
        from distask.task.reply.patterns import example_of

        values = {POSITION: str(number)}
        for name in self._columns:
            schema = self._context.columns[name].schema
            if self._find == "all" and schema.get("type") == "array":
                schema = schema.get("items") or {}
            values[name] = written(instance(schema, rng)).strip()
        return example_of(self._source, self._flags, values, rng)
