"""Measure text in characters or tokens: how far a number of them reaches from a place."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from distask.llm.tokens import CHARACTERS_PER_TOKEN, FIRST_WIDE, LAST_WIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Tokenize = Callable[[str], Sequence[tuple[int, int]]]
    """Returns where each token of a text begins and ends, in characters."""

_WIDE = re.compile(f"[{FIRST_WIDE}-{LAST_WIDE}]")


class Measure(Protocol):
    """The length of one text in some unit."""

    def forward(self, start: int, units: int) -> int:
        """Return the largest end, after `start`, of at most so many units; it may be after the end of the text."""

    def backward(self, end: int, units: int) -> int:
        """Return the smallest start of at most so many units before `end`."""


class Characters:
    """Unicode code points, `each` per unit."""

    def __init__(self, each: int = 1) -> None:
        self._each = each

    def forward(self, start: int, units: int) -> int:
        """See `Measure`."""
        return start + units * self._each

    def backward(self, end: int, units: int) -> int:
        """See `Measure`."""
        return max(0, end - units * self._each)


class _EstimatedTokens:
    """Tokens of a text with characters that take about a token each."""

    def __init__(self, text: str) -> None:
        wide, narrow = CHARACTERS_PER_TOKEN, 1
        weights = (wide if FIRST_WIDE <= character <= LAST_WIDE else narrow for character in text)
        self._sums = list(accumulate(weights, initial=0))

    def forward(self, start: int, units: int) -> int:
        """See `Measure`."""
        return max(start + 1, bisect_right(self._sums, self._sums[start] + units * CHARACTERS_PER_TOKEN) - 1)

    def backward(self, end: int, units: int) -> int:
        """See `Measure`."""
        return bisect_left(self._sums, self._sums[end] - units * CHARACTERS_PER_TOKEN)


class _Tokens:
    """Tokens of a tokenizer. A character may take several tokens."""

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]

    def forward(self, start: int, units: int) -> int:
        """See `Measure`."""
        first = bisect_right(self._ends, start)  # the first token that ends after `start`
        after = first + units
        return max(start + 1, self._starts[after]) if after < len(self._starts) else (1 << 62)

    def backward(self, end: int, units: int) -> int:
        """See `Measure`."""
        last = bisect_left(self._starts, end)  # the first token that begins at or after `end`
        return min(end, self._starts[last - units]) if last >= units else 0


CHARACTERS = Characters()
_NARROW = Characters(CHARACTERS_PER_TOKEN)


def token_measure(text: str, tokenize: Tokenize | None) -> Measure:
    """Measure a text in tokens of a tokenizer; with None, in estimated tokens (see `distask.llm.tokens`)."""
    if tokenize is not None:
        return _Tokens(tokenize(text))
    return _NARROW if text.isascii() or _WIDE.search(text) is None else _EstimatedTokens(text)
