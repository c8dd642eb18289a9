"""Generate text that matches a pattern, with given values in its named groups."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import rstr

from distask.task.templates.limits import METER

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

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
