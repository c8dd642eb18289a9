r"""Regular expressions that can't be made to hang.

A pattern runs on RE2, in linear time, wherever RE2 can say what it means in Python; else on `regex`, with a limit of time.

RE2 reads some of Python's syntax in another way: `\w`, `\d`, `\s` and `\b` know ASCII only, `$` is the very end, `\Z` is not known
and there is no verbose flag. So a pattern is rewritten for it, twice: as it stands for texts in ASCII, and with Unicode's classes
for all others.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Protocol

FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}
TIMEOUT = 1.0
"""Seconds that one search may take on the engine that can backtrack."""
LONGEST = 20_000
"""Characters of a pattern; what is longer is no pattern that a person wrote."""

_WIDE = {"w": r"\p{L}\p{M}\p{N}\p{Pc}", "d": r"\p{Nd}", "s": r"\s\v\x{1c}-\x{1f}\x{85}\p{Z}"}
"""Unicode's classes for RE2, as they stand inside of brackets."""
_SAME = frozenset("abcdefghijklmnopqrstuvwxyz") - frozenset("bchgijkelmoquyz") | frozenset("ADSWBxp")
"""Letters after a backslash that RE2 and `regex` read alike, once they are rewritten."""


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
    """A compiled pattern.

    Attributes:
        pattern: its source.
        groups: the names of its groups, in their order.
    """

    def __init__(self, pattern: str, flags: str = "") -> None:
        """Compile; raises `PatternError`."""
        unknown = set(flags) - FLAGS.keys()
        if unknown:
            raise PatternError(f"the flag `{min(unknown)}` is not known: i, m, s and x are")
        if len(pattern) > LONGEST:
            raise PatternError(f"the pattern is longer than {LONGEST} characters")
        self.pattern = pattern
        self._flags = sum(FLAGS[f] for f in set(flags))
        self._backtracking = _regex(pattern, self._flags)
        names: dict[str, int] = self._backtracking.groupindex
        self.groups = tuple(sorted(names, key=names.__getitem__))
        narrow, self._wide_source, self._newline = _for_re2(pattern, flags)
        self._narrow = None if narrow is None else _re2(narrow)
        self._wide: Any = _UNTRIED

    def find(self, text: str) -> Match | None:
        """The first match; raises `PatternTimeout`."""
        engine = self._linear(text)
        found: Match | None
        if engine is not None:
            found = engine.search(_whole(text))
            return found
        try:
            found = self._backtracking.search(text, timeout=TIMEOUT)
        except TimeoutError:
            raise PatternTimeout from None
        return found

    def find_all(self, text: str) -> list[Match]:
        """Every match, none over another; raises `PatternTimeout`."""
        engine = self._linear(text)
        if engine is not None:
            return list(engine.finditer(_whole(text)))
        try:
            return list(self._backtracking.finditer(text, timeout=TIMEOUT))
        except TimeoutError:
            raise PatternTimeout from None

    def _linear(self, text: str) -> Any:
        """The RE2 program that reads this text as Python would; None where there is none."""
        if self._newline and text.endswith("\n"):
            return None
        if text.isascii():
            return self._narrow
        if self._wide is _UNTRIED:
            self._wide = None if self._wide_source is None or self._narrow is None else _re2(self._wide_source)
        return self._wide


_UNTRIED: Any = object()


@lru_cache(256)
def compile_pattern(pattern: str, flags: str = "") -> Pattern:
    """Compile a pattern with flags (letters of `imsx`); raises `PatternError`."""
    return Pattern(pattern, flags)


def _whole(text: str) -> str:
    """The text with half characters (lone surrogates) replaced, which UTF-8 can't hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _re2(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError):
        return None


def _regex(pattern: str, flags: int) -> Any:
    import regex

    try:
        return regex.compile(pattern, flags, cache_pattern=False)
    except regex.error as error:
        raise PatternError(str(error.msg), error.pos) from None
    except (RecursionError, MemoryError, OverflowError):
        raise PatternError("the pattern is nested too deeply or too large") from None
    except ValueError as error:  # flags that exclude each other
        raise PatternError(str(error)) from None


def _for_re2(pattern: str, flags: str) -> tuple[str | None, str | None, bool]:
    """The pattern as RE2 says it: for ASCII texts, for all texts, and whether it misreads a newline at the very end.

    None stands where RE2 has no way to say it.
    """
    multiline = "m" in flags or re.search(r"\(\?[a-z]*m", pattern) is not None
    reader = _Rewriter(pattern, verbose="x" in flags, multiline=multiline)
    if not reader.rewrite():
        return None, None, False
    kept = "".join(sorted(set(flags) - {"x"}))
    prefix = f"(?{kept})" if kept else ""
    narrow, wide = (prefix + "".join(parts) for parts in (reader.narrow, reader.wide))
    return narrow, wide if reader.is_wide else None, reader.newline


class _Rewriter:
    """Walks a pattern once, and writes it for RE2."""

    def __init__(self, pattern: str, *, verbose: bool, multiline: bool) -> None:
        self._pattern = pattern
        self._verbose = verbose
        self._multiline = multiline
        self.narrow: list[str] = []
        self.wide: list[str] = []
        self.is_wide = True
        self.newline = False

    def rewrite(self) -> bool:
        """Whether RE2 can say it."""
        at, end, pattern = 0, len(self._pattern), self._pattern
        while at < end:
            character = pattern[at]
            if character == "\\":
                at = self._escape(at, bracket=None)
            elif character == "[":
                at = self._bracket(at)
            elif character == "$" and not self._multiline:
                at = self._dollar(at)
            elif self._verbose and character.isspace():
                at += 1
            elif self._verbose and character == "#":
                newline = pattern.find("\n", at)
                at = end if newline < 0 else newline
            else:
                self._both(character)
                at += 1
            if at < 0:
                return False
        return True

    def _both(self, text: str) -> None:
        self.narrow.append(text)
        self.wide.append(text)

    def _dollar(self, at: int) -> int:
        """`$` is the end, or stands before a newline at the end; the latter only the other engine can say everywhere."""
        self._both(r"\z")
        self.newline = True
        return at + 1

    def _escape(self, at: int, bracket: str | None) -> int:
        r"""Write `\\` and what follows; -1 where RE2 reads it in another way. `bracket` is the class that it stands in."""
        letter = self._pattern[at + 1 : at + 2]
        if letter in "wds" and letter:
            self.narrow.append("\\" + letter)
            self.wide.append(_WIDE[letter] if bracket is not None else f"[{_WIDE[letter]}]")
        elif letter in "WDS" and letter:
            self._both("\\" + letter)
            if bracket is None:
                self.wide[-1] = f"[^{_WIDE[letter.lower()]}]"
            elif "\\" + letter.lower() not in bracket:  # with both of them in it, the class is everything anyway
                self.is_wide = False
        elif letter in ("b", "B") and bracket is None:
            self._both("\\" + letter)
            self.is_wide = False
        elif letter == "Z" and bracket is None:
            self._both(r"\z")
        elif letter in {"p", "P"}:
            self._both("\\" + letter)
        elif not letter or (letter == "x" and self._pattern[at + 2 : at + 3] == "{"):
            return -1
        elif (letter.isascii() and not letter.isalnum()) or letter in "anrtfvxA":
            self._both("\\" + letter)
        else:
            return -1
        return at + 2

    def _bracket(self, at: int) -> int:
        """Write a class in brackets."""
        end = _end_of_bracket(self._pattern, at)
        if end < 0:
            return -1
        inside = self._pattern[at:end]
        self._both("[")
        place = at + 1
        while place < end:
            if self._pattern[place] == "\\":
                place = self._escape(place, bracket=inside)
                if place < 0:
                    return -1
                continue
            if self._pattern[place] == "[":  # a set in a set, or [:alpha:]: the engines differ
                self.is_wide = False
            self._both(self._pattern[place])
            place += 1
        return end


def _end_of_bracket(pattern: str, at: int) -> int:
    place = at + 1 + (pattern[at + 1 : at + 2] == "^")
    place += pattern[place : place + 1] == "]"
    while place < len(pattern):
        if pattern[place] == "\\":
            place += 1
        elif pattern[place] == "]":
            return place + 1
        place += 1
    return -1
