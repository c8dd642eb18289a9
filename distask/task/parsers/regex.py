"""`regex`: named groups become columns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import rstr

from distask.errors import InvalidReply, Progress
from distask.spec.check.patterns import PatternTimeout, compile_pattern
from distask.task.parsers.base import Context, Given, Parser, Scope, aligned, invalid, tags_beside, text_of
from distask.task.reply.examples import instance, written
from distask.task.reply.scores import score_of
from distask.task.templates.limits import METER

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from distask.llm.request import Completion
    from distask.spec.language.parsers import RegexParser as Options


_LINE = "\0"
"""Marks where `^` requires the beginning of a line."""

_parser: Any = getattr(re, "_parser")  # noqa: B009 - private, but rstr uses it too
_compiler: Any = getattr(re, "_constants")  # noqa: B009


def example_of(pattern: str, flags: str, values: dict[str, str], rng: random.Random) -> str:
    """A text that matches the pattern, with the values in its groups."""
    number = sum({"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}[f] for f in set(flags))
    try:
        tree = _parser.parse(pattern, number)
    except (re.error, RecursionError):
        return "\n".join(values.values())
    names = {index: name for name, index in tree.state.groupdict.items()}
    written = _Writer(rng, names, values).write(tree)
    lines = [line.removesuffix("\n") for line in written.split(_LINE)] if "m" in flags else [written.replace(_LINE, "")]
    return "\n".join(line for line in lines if line)


class _Writer(rstr.Rstr):
    """Walks the parsed pattern like rstr, but fills in the values of groups."""

    def __init__(self, rng: random.Random, names: dict[int, str], values: dict[str, str]) -> None:
        super().__init__(rng)
        self._rng = rng
        self._names = names
        self._values = values

    def write(self, tree: Any) -> str:
        return "".join(self._item(operation, argument) for operation, argument in tree)

    def _item(self, operation: Any, argument: Any) -> str:
        METER.step()
        code = _compiler
        if operation is code.SUBPATTERN:
            group, _, _, inner = argument
            value = self._values.get(self._names.get(group, ""))
            return self.write(inner) if value is None else value
        if operation is code.BRANCH:
            holding = [branch for branch in argument[1] if self._holds(branch)]
            return self.write(self._rng.choice(holding or argument[1]))
        if operation in (code.MAX_REPEAT, code.MIN_REPEAT):
            least, most, inner = argument
            times = least or (1 if most and self._holds(inner) else 0)
            return "".join(self.write(inner) for _ in range(times))
        if operation is code.LITERAL:
            return chr(argument)
        if operation is code.AT:
            return _LINE if argument is code.AT_BEGINNING else ""
        if operation in (code.ASSERT, code.ASSERT_NOT):
            return ""
        if operation is code.ANY:
            return "x"
        if operation is code.IN:
            return self._one_of(argument)
        if operation is code.NOT_LITERAL:
            return "x" if argument != ord("x") else "y"
        return ""

    def _holds(self, tree: Any) -> bool:
        """Whether the tree contains a group with a value."""
        for operation, argument in tree:
            if operation is _compiler.SUBPATTERN and self._names.get(argument[0]) in self._values:
                return True
            inner = _inner(operation, argument)
            if any(self._holds(part) for part in inner):
                return True
        return False

    def _one_of(self, members: Any) -> str:
        import string

        allowed = [c for c in string.ascii_letters + string.digits + " .,:;-_*#()[]\n\t" if _member(c, members)]
        return allowed[0] if allowed else "x"


def _inner(operation: Any, argument: Any) -> list[Any]:
    """The subtrees of an item."""
    if operation is _compiler.SUBPATTERN:
        return [argument[3]]
    if operation is _compiler.BRANCH:
        return list(argument[1])
    if operation in (_compiler.MAX_REPEAT, _compiler.MIN_REPEAT):
        return [argument[2]]
    return []


def _member(character: str, members: Any) -> bool:
    code, found, negated = _compiler, False, False
    categories: dict[str, Callable[[str], bool]] = {
        "CATEGORY_DIGIT": str.isdigit,
        "CATEGORY_SPACE": str.isspace,
        "CATEGORY_WORD": lambda c: c.isalnum() or c == "_",
    }
    for operation, argument in members:
        if operation is code.NEGATE:
            negated = True
        elif operation is code.LITERAL:
            found |= ord(character) == argument
        elif operation is code.RANGE:
            found |= argument[0] <= ord(character) <= argument[1]
        elif operation is code.CATEGORY:
            name = str(argument)
            test = categories[name.replace("_NOT_", "_")]
            found |= bool(test(character)) is not ("_NOT_" in name)
    return found is not negated


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
            digits = match.group(POSITION) or ""
            at = int(digits) - 1 if digits.isdecimal() and len(digits) < 10 else -1
            for column, values in columns.items():
                if 0 <= at < len(values):
                    values[at] = read(column, match.group(column))
        return columns

    def example(self, rng: random.Random, scope: Scope, given: Given) -> str:
        count = len(scope.get(self._align_to) or [0]) if self._align_to else 1
        return "\n\n".join(self._one(rng, number, given) for number in range(1, max(1, count) + 1))

    def _one(self, rng: random.Random, number: int, given: Given) -> str:
        values = {POSITION: str(number)}
        for name in self._columns:
            schema = self._context.columns[name].schema
            if self._find == "all" and schema.get("type") == "array":
                schema = schema.get("items") or {}
            value = given[name] if name in given and self._find != "all" else instance(schema, rng)
            values[name] = written(value).strip()
        return example_of(self._source, self._flags, values, rng)
