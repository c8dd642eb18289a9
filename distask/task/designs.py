"""Designs: values that are dealt to rows so that each occurs as often as it should."""

from __future__ import annotations

import itertools
import math
import random
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from distask.errors import RowError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_CARDS = 1_000_000
"""Maximum number of rows in one round of a design."""
ROUNDS_KEPT = 4
"""Shuffled rounds that stay in memory: rows that run at the same time are close to each other."""

Card = tuple[Any, ...]
"""The values that one row gets."""


class Deck:
    """Deals values to rows in rounds. Each round deals every card once, in a random order of its own.

    Args:
        cards: the values; a card that occurs twice is dealt twice per round.
        seed: the random seed.
        once: the name of the draw, if its cards can be dealt in one round only.
    """

    def __init__(self, cards: Sequence[Card], seed: str, *, once: str | None = None) -> None:
        self._cards = cards
        self._seed = seed
        self.once = once
        self._order = lru_cache(ROUNDS_KEPT)(self._shuffled)

    def __len__(self) -> int:
        return len(self._cards)

    def card(self, stream: str, position: int) -> Card:
        """The card at a position, from 0; each stream has its own order. Raises `RowError` if all cards are used."""
        number, place = divmod(position, len(self._cards))
        if number and self.once is not None:
            raise RowError("draw", f"`{self.once}` is `sampling: unique` and has only {len(self._cards):,} options")
        return self._cards[self._order(stream, number)[place]]

    def _shuffled(self, stream: str, number: int) -> list[int]:
        order = list(range(len(self._cards)))
        random.Random(f"{self._seed}/{stream}/{number}").shuffle(order)  # noqa: S311 - no secret
        return order


def cards_of(options: Sequence[Any], weights: Sequence[Any] | None) -> list[Any]:
    """The options, each as often as its weight; raises `RowError` if a weight is not a whole number."""
    if weights is None:
        weights = [1] * len(options)
    if len(weights) != len(options):
        raise RowError("draw", f"there are {len(options)} options and {len(weights)} weights")
    counts = [_count(weight, f"the weight of {option!r:.40}") for option, weight in zip(options, weights, strict=True)]
    _limit(sum(counts))
    return [option for option, count in zip(options, counts, strict=True) for _ in range(count)]


def combinations(options: Mapping[str, Sequence[Any]], rows: Callable[[Mapping[str, Any]], Any]) -> list[Card]:
    """All combinations of the options, each in `rows` rows; raises `RowError` if there are none or too many."""
    _limit(math.prod(map(len, options.values())))
    cards: list[Card] = []
    for card in itertools.product(*options.values()):
        cell = dict(zip(options, card, strict=True))
        count = _count(rows(cell), f"`rows` for {', '.join(f'{n} {v!r:.40}' for n, v in cell.items())}")
        _limit(max(len(cards) + count, 1))
        cards += [card] * count
    _limit(len(cards))
    return cards


def _count(value: Any, what: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RowError("draw", f"{what} must be a whole number from 0, not {value!r:.40}")
    return value


def _limit(rows: int) -> None:
    if not rows:
        raise RowError("draw", "there is nothing to draw from")
    if rows > MAX_CARDS:
        raise RowError("draw", f"the design has more than {MAX_CARDS:,} rows; use fewer options, or `sampling: random`")
