r"""Regular expressions that can't be made to hang.

A pattern runs on RE2, in linear time, wherever RE2 can say what it means in Python; else on `regex`, with a limit of
time. RE2 (`google-re2`) is optional, as it has no wheel for Alpine Linux (musl): without it all patterns run on
`regex`, and match the same.

RE2 reads some of Python's syntax in another way: `\w`, `\d`, `\s` and `\b` know ASCII only, `$` is the very end, `\Z`
is not known and there is no verbose flag. So a pattern is rewritten for it, twice: as it stands for texts in ASCII,
and with Unicode's classes
for all others.
"""

from __future__ import annotations

import re
import warnings
from functools import cached_property, lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}
TIMEOUT = 1.0
"""Seconds that one search may take on the engine that can backtrack."""
WORK = 200_000_000
"""Instructions times characters that RE2 may come to (about a second); beyond, the engine with the clock takes over."""
LONGEST = 20_000
"""Characters of a pattern; what is longer is no pattern that a person wrote."""

MOST_REPEATED = 100_000
"""Characters that a pattern stands for at the most when its repeats are written out: engines do write them out."""

_WIDE = {"w": r"\p{L}\p{M}\p{N}\p{Pc}", "d": r"\p{Nd}", "s": r"\s\v\x{1c}-\x{1f}\x{85}\p{Z}"}
"""Unicode's classes for RE2, as they stand inside of brackets."""
_ESCAPES = frozenset("anrtfvxA")
"""Letters after a backslash that RE2 and `regex` read alike."""
_UNTRIED: Any = object()


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
        _check_repeats(pattern)
        self.pattern = pattern
        self._flags = sum(FLAGS[f] for f in set(flags))
        names = _groups(pattern, self._flags)
        self._for_regex = pattern if names is None else _with_literal_braces(pattern)
        narrow, self._wide_source, self._newline = _for_re2(pattern, flags)
        self._narrow = None if narrow is None else _re2(narrow)
        if names is None or self._narrow is None:
            names = self._backtracking.groupindex
        self.groups = tuple(sorted(names, key=names.__getitem__))
        self._longest = _longest(self._narrow)
        self._wide: Any = _UNTRIED
        self._longest_wide = 0

    @cached_property
    def _backtracking(self) -> Any:
        """What reads the texts that RE2 can't; it takes as long to import as `re` and `json` together."""
        return _regex(self._for_regex, self._flags)

    def find(self, text: str) -> Match | None:
        """The first match; raises `PatternTimeout`."""
        engine = self._linear(text)
        found: Match | None
        if engine is not None:
            found = engine.search(_whole(text))
            return found
        try:
            found = self._backtracking.search(text, timeout=TIMEOUT)
        except (TimeoutError, MemoryError):
            raise PatternTimeout from None
        return found

    def find_all(self, text: str) -> list[Match]:
        """Every match, none over another; raises `PatternTimeout`."""
        engine = self._linear(text)
        if engine is None:
            return self._find_all_backtracking(text)
        found, end = [], monotonic() + TIMEOUT
        for match in engine.finditer(_whole(text)):  # one search is linear, one from each place is not
            if match.start() == match.end():  # RE2 does not continue from an empty match as Python does
                return self._find_all_backtracking(text)
            found.append(match)
            if monotonic() > end:
                raise PatternTimeout
        return found

    def _find_all_backtracking(self, text: str) -> list[Match]:
        try:
            return list(self._backtracking.finditer(text, timeout=TIMEOUT))
        except (TimeoutError, MemoryError):
            raise PatternTimeout from None

    def _linear(self, text: str) -> Any:
        """The RE2 program that reads this text as Python would; None where there is none."""
        if self._newline and text.endswith("\n"):
            return None
        if text.isascii():
            return self._narrow if len(text) < self._longest else None
        if self._wide is _UNTRIED:
            self._wide = None if self._wide_source is None or self._narrow is None else _re2(self._wide_source)
            self._longest_wide = _longest(self._wide)
        return self._wide if len(text) < self._longest_wide else None


@lru_cache(256)
def compile_pattern(pattern: str, flags: str = "") -> Pattern:
    """Compile a pattern with flags (letters of `imsx`); raises `PatternError`."""
    return Pattern(pattern, flags)


def _whole(text: str) -> str:
    """The text with half characters (lone surrogates) replaced, which UTF-8 can't hold."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _re2(pattern: str) -> Any:
    """A pattern compiled by RE2; None where RE2 refuses it, or is not installed."""
    try:
        import re2
    except ImportError:
        return None
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError):
        return None


def _longest(engine: Any) -> int:
    """Characters of a text that an RE2 program may be given."""
    return 0 if engine is None else WORK // max(1, engine.programsize)


_REPEAT = re.compile(r"\{(\d*)(,?)(\d*)\}")
_RECURSION = re.compile(r"\(\?(?:R|0|[+-]?[1-9]\d*|&\w+|P>\w+)\)")


def _check_repeats(pattern: str) -> None:
    """Raise `PatternError` for repeats of repeats that fill the memory, and for a pattern that calls itself."""
    sizes, last, at = [0], 0, 0  # of each group that is open, and of what a repeat would repeat
    while at < len(pattern):
        character = pattern[at]
        repeat = _REPEAT.match(pattern, at) if character == "{" else None
        if character == "(" and (found := _RECURSION.match(pattern, at)) is not None:
            raise PatternError(f"a pattern can't call itself: {found[0]}", at)
        if repeat is not None and (repeat[1] or repeat[3]):
            times = max(int(digits[:9]) for digits in (repeat[1], repeat[3]) if digits)
            sizes[-1] += last * max(0, times - 1)
            last *= times
        elif character == "(":
            sizes.append(0)
        elif character == ")" and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        else:
            end = _end_of_bracket(pattern, at) if character == "[" else -1
            at += 1 if character == "\\" else max(0, end - at - 1)
            last = 1
            sizes[-1] += 1
        if sizes[-1] > MOST_REPEATED:
            raise PatternError(f"the pattern repeats more than {MOST_REPEATED:,} characters", at)
        at += len(repeat[0]) if repeat is not None else 1


def _groups(pattern: str, flags: int) -> Mapping[str, int] | None:
    """A pattern's named groups, by Python's own engine; None where that does not take it, or not without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return re.compile(pattern, flags).groupindex
        except (re.error, Warning, RecursionError, OverflowError, ValueError):
            return None


def _with_literal_braces(pattern: str) -> str:
    """The pattern with a backslash before braces that are no repeat: `regex` would read `{e}` as room for errors."""
    parts, at = [], 0
    while at < len(pattern):
        repeat = _REPEAT.match(pattern, at)
        end = at + 1
        if pattern[at] == "\\":
            end = pattern.find("}", at) + 1 if pattern.startswith("\\N{", at) else at + 2
        elif pattern[at] == "[":
            end = _end_of_bracket(pattern, at)
        elif repeat is not None and repeat[0] != "{}":
            end = repeat.end()
        elif pattern[at] == "{":
            parts.append("\\")
        end = max(end, at + 1)  # in a comment, brackets and names need no end
        parts.append(pattern[at:end])
        at = end
    return "".join(parts)


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
        self._captures: list[bool] = []  # of the groups that are open
        self.narrow: list[str] = []
        self.wide: list[str] = []
        self.is_wide = True
        self.newline = False

    def rewrite(self) -> bool:
        """Whether RE2 can say it."""
        at, end, pattern = 0, len(self._pattern), self._pattern
        while 0 <= at < end:
            character = pattern[at]
            if character == "\\":
                at = self._escape(at, bracket=None)
            elif character == "[":
                at = self._bracket(at)
            elif self._verbose and character.isspace():
                at += 1
            elif self._verbose and character == "#":
                newline = pattern.find("\n", at)
                at = end if newline < 0 else newline
            else:
                at = self._plain(at, character)
        return at >= 0

    def _both(self, text: str) -> None:
        self.narrow.append(text)
        self.wide.append(text)

    def _plain(self, at: int, character: str) -> int:
        """Write what is neither an escape nor a class."""
        after = self._pattern[at + 1 : at + 3]
        if character == "{" and after[:1] == ",":  # {,3} is literal in RE2
            return -1
        if character == "(":
            named = after == "?P" or (after == "?<" and self._pattern[at + 3 : at + 4] not in ("=", "!"))
            self._captures.append(after[:1] != "?" or named)
        elif character == ")" and self._captures:
            self._captures.pop()
        elif character == "$" and not self._multiline:
            self._dollar(after[:1])
            return at + 1
        self._both(character)
        return at + 1

    def _dollar(self, after: str) -> None:
        """`$` is the end, or stands before a last newline; where that newline would be captured RE2 can't say it."""
        if after in ("", ")", "|") and not any(self._captures):
            self._both(r"\n?\z")
        else:
            self._both(r"\z")
            self.newline = True

    def _escape(self, at: int, bracket: str | None) -> int:
        """Write a backslash and what follows, in a class where there is one; -1 where RE2 reads it in another way."""
        letter = self._pattern[at + 1 : at + 2]
        escape = "\\" + letter
        if escape in (r"\w", r"\d", r"\s"):
            self.narrow.append(escape)
            self.wide.append(_WIDE[letter] if bracket is not None else f"[{_WIDE[letter]}]")
        elif escape in (r"\W", r"\D", r"\S"):
            self._both(escape)
            if bracket is None:
                self.wide[-1] = f"[^{_WIDE[letter.lower()]}]"
            elif escape.lower() not in bracket:  # with both of them in it, the class is everything anyway
                self.is_wide = False
        elif escape in (r"\b", r"\B") and bracket is None:
            self._both(escape)
            self.is_wide = False
        elif escape == r"\Z" and bracket is None:
            self._both(r"\z")
        elif escape in (r"\p", r"\P") or letter in _ESCAPES or (letter.isascii() and letter and not letter.isalnum()):
            self._both(escape)
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
        while 0 <= place < end:
            if self._pattern[place] == "\\":
                place = self._escape(place, bracket=inside)
                continue
            if self._pattern[place] == "[":  # a set in a set, or [:alpha:]
                self.is_wide = False
            self._both(self._pattern[place])
            place += 1
        return place


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
