"""Describe errors in files: position, source line, caret and hint."""

from __future__ import annotations

import difflib
import json
import unicodedata
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST_SOURCE = 160
"""Maximum number of characters shown of a source line."""

_LONGEST_MESSAGE = 1_000
"""Maximum length of a message or hint, which may quote a name of any length."""

_LONGEST_LIST = 8
"""Maximum number of known words in a hint."""


JOINERS = "\u200c\u200d"
"""Invisible joiners, used in Persian, Hindi and emoji. They do not reorder text."""


class Diagnostic(Struct, frozen=True):
    """An error or warning. Lines and columns start at 1, in characters; line 0 is the entire file."""

    file: str
    line: int
    column: int
    message: str
    hint: str | None = None
    source: str | None = None
    """The source line."""
    length: int = 1
    """Number of underlined characters."""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        head = visible(f"{place}: {self.severity}: {_cut(self.message)}")
        hint = visible(_cut(self.hint)) if self.hint else None
        if self.source is None:
            return head if hint is None else f"{head}\n  {hint}"
        number = f"{self.line:5}"
        shown, before, marked = self._excerpt(self.source)
        caret = " " * _width(before) + "^" * max(1, _width(marked))
        hint = f" {hint}" if hint else ""
        return f"{head}\n{number} | {shown}\n{' ' * len(number)} | {caret}{hint}"

    def _excerpt(self, source: str) -> tuple[str, str, str]:
        """Return the shown part of the line, the text before the caret, and the underlined text."""
        skipped = max(0, self.column - 1 - _LONGEST_SOURCE // 2) if len(source) > _LONGEST_SOURCE else 0
        shown = "".join(_one_cell(c) for c in source[skipped : skipped + _LONGEST_SOURCE])
        begin = self.column - 1 - skipped
        return shown, shown[:begin].ljust(begin), shown[begin : begin + self.length]

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `--format json`."""
        return {
            "file": self.file,
            "line": self.line or None,
            "column": self.column if self.line else None,
            "length": self.length,
            "severity": self.severity,
            "message": self.message,
            "hint": self.hint,
        }

    def github(self) -> str:
        """Return a workflow command, which GitHub shows at the line."""
        text = self.message if self.hint is None else f"{self.message} ({self.hint})"
        escaped = visible(text, keep="\n").replace("%", "%25").replace("\n", "%0A")
        file = visible(self.file).replace("%", "%25").replace(",", "%2C").replace(":", "%3A")
        place = f",line={self.line},col={self.column}" if self.line else ""
        return f"::{self.severity} file={file}{place}::{escaped}"


def visible(text: str, keep: str = "\n") -> str:
    r"""Escape control and direction characters (`\x1b`), so that a terminal does not interpret them."""
    if text.isprintable():
        return text
    return "".join(c if c in keep or not _hidden(c) else c.encode("unicode_escape").decode() for c in text)


def safe(text: str) -> str:
    """Escape control and direction characters; keep line breaks, and replace tabs with spaces."""
    return visible(text.expandtabs(4), keep="\n" + JOINERS)


def visible_json(text: str) -> str:
    """Escape control and direction characters in JSON text with JSON escapes; the data stays the same."""
    if text.isprintable():
        return text
    return "".join(c if c == "\n" or not _hidden(c) else json.dumps(c)[1:-1] for c in text)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[: _LONGEST_MESSAGE - 1]}…"


def _hidden(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _one_cell(character: str) -> str:
    if character == "\t":
        return " "
    return "\N{REPLACEMENT CHARACTER}" if _hidden(character) else character


def _width(text: str) -> int:
    """Return the width in terminal cells: wide characters take two, combining characters none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in text
    )


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the closest known word, or None."""
    by_lower = {k.lower(): k for k in known}
    if word.lower() in by_lower:
        return by_lower[word.lower()]
    found = difflib.get_close_matches(word.lower()[:200], by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return a hint with the closest known word or a few known words; None if there are none."""
    words = list(known)
    close = nearest(word, words)
    if close is not None:
        return f"did you mean `{close}`?"
    if not words:
        return None
    shown = ", ".join(f"`{w}`" for w in words[:_LONGEST_LIST])
    return f"known: {shown}{', …' if len(words) > _LONGEST_LIST else ''}"
