"""Regular expressions that can't be made to hang.

A pattern runs on RE2 (linear time) where RE2 knows its syntax, else on `regex` with a limit of time.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}
TIMEOUT = 1.0
"""Seconds that one search may take on the engine that can backtrack."""


class PatternError(ValueError):
    """A pattern that is wrong; `position` is the character, where it is known."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position


class PatternTimeout(Exception):  # noqa: N818 - it did time out
    """A search took longer than `TIMEOUT`."""


class Match(Protocol):
    """What a search found, as in `re`."""

    def group(self, name: str | int = 0, /) -> str | None:
        """The text of a group; None where it took no part."""

    def start(self) -> int:
        """Where it begins."""

    def end(self) -> int:
        """Where it ends."""


class Pattern:
    """A compiled pattern."""

    def __init__(self, pattern: str, flags: str = "") -> None:
        """Compile; raises `PatternError`."""
        unknown = set(flags) - FLAGS.keys()
        if unknown:
            raise PatternError(f"the flag `{min(unknown)}` is not known: i, m, s and x are")
        self.pattern = pattern
        self._linear = _re2(pattern, flags)
        self._search: Any = self._linear if self._linear is not None else _regex(pattern, flags)
        names: dict[str, int] = self._search.groupindex
        self.groups = tuple(sorted(names, key=names.__getitem__))
        """The names of its groups, in their order."""

    def find(self, text: str) -> Match | None:
        """The first match; raises `PatternTimeout`."""
        found: Match | None
        if self._linear is not None:
            found = self._linear.search(text)
            return found
        try:
            found = self._search.search(text, timeout=TIMEOUT)
        except TimeoutError:
            raise PatternTimeout from None
        return found

    def find_all(self, text: str) -> list[Match]:
        """Every match; raises `PatternTimeout`."""
        if self._linear is not None:
            return list(self._linear.finditer(text))
        try:
            return list(self._search.finditer(text, timeout=TIMEOUT))
        except TimeoutError:
            raise PatternTimeout from None


def compile_pattern(pattern: str, flags: str = "") -> Pattern:
    """Compile a pattern with flags (letters of `imsx`); raises `PatternError`."""
    return Pattern(pattern, flags)


def _re2(pattern: str, flags: str) -> Any:
    import re2

    if "x" in flags:
        return None
    options = re2.Options()
    options.log_errors = False
    prefix = f"(?{''.join(sorted(set(flags)))})" if flags else ""
    try:
        return re2.compile(prefix + pattern, options)
    except re2.error:
        return None


def _regex(pattern: str, flags: str) -> Any:
    import regex

    try:
        return regex.compile(pattern, sum(FLAGS[f] for f in set(flags)))
    except regex.error as error:
        raise PatternError(str(error.msg), error.pos) from None
    except RecursionError:
        raise PatternError("the pattern is nested too deeply") from None
