r"""Regular expressions with a time limit.

A pattern runs on RE2, in linear time, if RE2 can express its meaning in Python; else on `regex`, with a timeout. RE2
(`google-re2`) is optional because it has no wheel for Alpine Linux (musl). Without it, all patterns run on `regex`,
with the same matches.

RE2 differs from Python: `\w`, `\d`, `\s` and `\b` are ASCII only, `$` matches only at the end, and `\Z` and the
verbose flag are not supported. So each pattern is rewritten twice: for ASCII text, and with Unicode classes for other
text.
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
"""Maximum seconds of a search on the backtracking engine."""
WORK = 200_000_000
"""Maximum instructions times characters for RE2 (about a second); above it, the engine with the timeout is used."""
LONGEST = 20_000
"""Maximum length of a pattern."""

MOST_REPEATED = 100_000
"""Maximum length of a pattern with its repeats expanded, as engines expand them."""

_WIDE = {"w": r"\p{L}\p{M}\p{N}\p{Pc}", "d": r"\p{Nd}", "s": r"\s\v\x{1c}-\x{1f}\x{85}\p{Z}"}
"""Unicode classes for RE2, for use inside brackets."""
_ESCAPES = frozenset("anrtfvxA")
"""Letters after a backslash that RE2 and `regex` read the same."""
_UNTRIED: Any = object()


class PatternError(ValueError):
    """An invalid pattern; `position` is the index of the error, if known."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position


class PatternTimeout(Exception):  # noqa: N818 - named after the event
    """A search took longer than `TIMEOUT`."""


class Match(Protocol):
    """The match of a search, as in `re`."""

    def group(self, name: str | int = 0, /) -> str | None:
        """Return the text of a group; None if it did not match."""

    def start(self) -> int:
        """Return the start of the match."""

    def end(self) -> int:
        """Return the end of the match."""


class Pattern:
    """A compiled pattern.

    Attributes:
        pattern: The source.
        groups: The names of the groups, in order.
    """

    def __init__(self, pattern: str, flags: str = "") -> None:
        """Compile the pattern; raises `PatternError`."""
        unknown = set(flags) - FLAGS.keys()
        if unknown:
            raise PatternError(f"unknown flag `{min(unknown)}`; use i, m, s or x")
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
        """The engine for text that RE2 can't read; compiled when needed because `regex` is slow to import."""
        return _regex(self._for_regex, self._flags)

    def find(self, text: str) -> Match | None:
        """Return the first match; raises `PatternTimeout`."""
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
        """Return all matches that do not overlap; raises `PatternTimeout`."""
        engine = self._linear(text)
        if engine is None:
            return self._find_all_backtracking(text)
        found, end = [], monotonic() + TIMEOUT
        for match in engine.finditer(_whole(text)):  # one search is linear, but many searches are not
            if match.start() == match.end():  # after an empty match, RE2 continues differently from Python
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
        """Return the RE2 program that reads this text as Python does; None if there is none."""
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
    """Replace lone surrogates, which UTF-8 can't encode."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _re2(pattern: str) -> Any:
    """Compile a pattern with RE2; None if RE2 rejects it or is not installed."""
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
    """Return the maximum text length for an RE2 program."""
    return 0 if engine is None else WORK // max(1, engine.programsize)


_REPEAT = re.compile(r"\{(\d*)(,?)(\d*)\}")
_RECURSION = re.compile(r"\(\?(?:R|0|[+-]?[1-9]\d*|&\w+|P>\w+)\)")


def _check_repeats(pattern: str) -> None:
    """Raise `PatternError` for nested repeats that exhaust memory and for recursive patterns."""
    sizes, last, at = [0], 0, 0  # of each open group, and of the part that a repeat applies to
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
    """Return a pattern's named groups, according to Python's `re`; None if it rejects the pattern or warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return re.compile(pattern, flags).groupindex
        except (re.error, Warning, RecursionError, OverflowError, ValueError):
            return None


def _with_literal_braces(pattern: str) -> str:
    """Escape braces that are not repeats: `regex` reads `{e}` as fuzzy matching."""
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
        end = max(end, at + 1)  # brackets and names in a comment may be unclosed
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
    except ValueError as error:  # incompatible flags
        raise PatternError(str(error)) from None


def _for_re2(pattern: str, flags: str) -> tuple[str | None, str | None, bool]:
    """Rewrite a pattern for RE2: for ASCII text, for all text, and whether it misreads a newline at the end.

    A rewritten pattern is None if RE2 can't express it.
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
    """Walks a pattern once and rewrites it for RE2."""

    def __init__(self, pattern: str, *, verbose: bool, multiline: bool) -> None:
        self._pattern = pattern
        self._verbose = verbose
        self._multiline = multiline
        self._captures: list[bool] = []  # of the open groups
        self.narrow: list[str] = []
        self.wide: list[str] = []
        self.is_wide = True
        self.newline = False

    def rewrite(self) -> bool:
        """Rewrite the pattern; return whether RE2 can express it."""
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
        """Write a character that is not part of an escape or a class."""
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
        """Write `$`: the end, or before a last newline. RE2 can't express it if that newline would be captured."""
        if after in ("", ")", "|") and not any(self._captures):
            self._both(r"\n?\z")
        else:
            self._both(r"\z")
            self.newline = True

    def _escape(self, at: int, bracket: str | None) -> int:
        """Write an escape, in the class `bracket` if there is one; return -1 if RE2 reads it differently."""
        letter = self._pattern[at + 1 : at + 2]
        escape = "\\" + letter
        if escape in (r"\w", r"\d", r"\s"):
            self.narrow.append(escape)
            self.wide.append(_WIDE[letter] if bracket is not None else f"[{_WIDE[letter]}]")
        elif escape in (r"\W", r"\D", r"\S"):
            self._both(escape)
            if bracket is None:
                self.wide[-1] = f"[^{_WIDE[letter.lower()]}]"
            elif escape.lower() not in bracket:  # a class with both matches everything
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
            if self._pattern[place] == "[":  # a nested set, or [:alpha:]
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
