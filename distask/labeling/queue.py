"""Order the chosen rows as turns: which come next, which are shown a second time, and which are already answered."""

from __future__ import annotations

import math
import random
import re
from typing import TYPE_CHECKING

from msgspec import Struct

from distask.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from distask.labeling.sampling import Chosen

MIN_GAP = 25
"""Turns between the two showings of an item, if there are enough: people should not remember their answer."""


class Turn(Struct, frozen=True):
    """An item that is shown, for the first time or again."""

    chosen: Chosen
    repeat: int = 0
    """0, or 1 if the item is shown a second time to measure a person's consistency."""


def parse_repeat(written: str, size: int) -> int:
    """Return how many of `size` items are shown twice, from a share (`5%`) or a number; raises `UsageError`."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)%|(\d{1,9})", written.strip(), re.ASCII)
    if found is None or float(found[1] or 0) > 100:
        raise UsageError(f"--repeat {written}: write a share, such as 5%, or a number of items, such as 10")
    return min(size, int(found[2]) if found[1] is None else math.ceil(float(found[1]) / 100 * size))


def turns_of(chosen: Sequence[Chosen], repeats: int, seed: int) -> list[Turn]:
    """Return the turns: each chosen row, and some of them a second time, some turns later.

    Args:
        chosen: the rows, in order.
        repeats: how many of them are shown twice.
        seed: the random seed for which ones.
    """
    size = len(chosen)
    gap = max(1, min(MIN_GAP, size // 2))
    candidates = range(max(size - gap, min(size, repeats)))
    again = random.Random(f"{seed}/repeat").sample(candidates, repeats)  # noqa: S311 - a sample, not a secret
    placed = [(float(place), Turn(row)) for place, row in enumerate(chosen)]
    placed += [(place + gap + 0.5, Turn(chosen[place], 1)) for place in again]
    return [turn for _, turn in sorted(placed, key=lambda pair: pair[0])]


class Queue:
    """The turns, and which one is current.

    Args:
        turns: the turns, in order.
        key_of: returns the key of a turn's item; called only for turns that are reached.
        done: the items, with their repeat numbers, that have a verdict; it may change.
        unanswered: the items that were skipped, which are not shown a second time; it may change.
    """

    def __init__(
        self,
        turns: Sequence[Turn],
        key_of: Callable[[Turn], str],
        done: Collection[tuple[str, int]],
        unanswered: Collection[str],
    ) -> None:
        self._turns = turns
        self._key_of = key_of
        self._done, self._unanswered = done, unanswered
        self.place = 0
        """Number of turns before the current one."""
        self.advance()

    def __len__(self) -> int:
        return len(self._turns)

    @property
    def current(self) -> Turn | None:
        """The current turn; None after the last one."""
        return self._turns[self.place] if self.place < len(self._turns) else None

    def advance(self) -> None:
        """Go to the first turn, from the current one, that has no verdict and needs one."""
        while (turn := self.current) is not None and not self._is_open(turn):
            self.place += 1

    def back(self) -> Turn | None:
        """Go to the last turn before the current one that has a verdict; None if there is none."""
        for place in range(self.place - 1, -1, -1):
            turn = self._turns[place]
            if (self._key_of(turn), turn.repeat) in self._done:
                self.place = place
                return turn
        return None

    def _is_open(self, turn: Turn) -> bool:
        item = self._key_of(turn)
        if (item, turn.repeat) in self._done:
            return False
        return not turn.repeat or ((item, 0) in self._done and item not in self._unanswered)
