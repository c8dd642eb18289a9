"""Count how one output column changed from one result to another, pair by pair."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from statistics import fmean
from typing import TYPE_CHECKING, Any

from distask.report.agreement import canonical
from distask.report.bins import histogram, spread
from distask.report.columns import LONGEST_LABEL, ColumnTally, drawn, leaves

if TYPE_CHECKING:
    from collections.abc import Sequence

SAME, CHANGED, BETTER, WORSE, GAINED, LOST = "same", "changed", "better", "worse", "gained", "lost"
WAYS = (SAME, CHANGED, BETTER, WORSE, GAINED, LOST)
"""What a value can do from one result to the other; `gained`: it was null, or not there."""
ARROW = " → "
MOST_TRANSITIONS = 400
MATRIX = 12
"""Labels of a table of transitions; with more of them the table says nothing at a glance."""


class ChangeTally:
    """One output column in both results.

    Args:
        name: the column.
        lower_is_better: whether a lower number is the better one.
    """

    def __init__(self, name: str, *, lower_is_better: bool = False) -> None:
        self.name = name
        self._better_down = lower_is_better
        self.sides = (ColumnTally(name), ColumnTally(name))
        self._differences = array("d")
        self._transitions: list[tuple[str, str] | None] = []
        self._known: set[tuple[str, str]] | None = set()
        self._ways: list[str | None] = []

    def skip(self, pairs: int) -> None:
        """Count pairs that came before the column was first seen."""
        for _ in range(pairs):
            self.add_alone()

    def add_alone(self) -> None:
        """Count a row that has no match, or neither side of which has the column."""
        self._differences.append(math.nan)
        self._transitions.append(None)
        self._ways.append(None)

    def add(self, before: Any, after: Any, *, grouped: bool = False) -> None:
        """Count a pair's values; where rows are grouped, they are lists with an item for each reply."""
        for tally, value in zip(self.sides, (before, after), strict=True):
            tally.add(value)
        difference = _difference(before, after)
        self._differences.append(difference)
        self._transitions.append(self._transition(before, after, grouped=grouped))
        self._ways.append(self._way(before, after, difference))

    def _way(self, before: Any, after: Any, difference: float) -> str | None:
        blank = [_is_null(value) for value in (before, after)]
        if all(blank):
            return None
        if any(blank):
            return GAINED if blank[0] else LOST
        if canonical(before) == canonical(after) or difference == 0:
            return SAME
        if difference == difference and abs(difference) > 0:  # noqa: PLR0124 - NaN is not
            return BETTER if (difference < 0) == self._better_down else WORSE
        return CHANGED

    def _transition(self, before: Any, after: Any, *, grouped: bool) -> tuple[str, str] | None:
        if not grouped and (isinstance(before, list) or isinstance(after, list)):
            self._known = None  # lists have no one label
        if self._known is None:
            return None
        was, now = _label(before), _label(after)
        if was is None or now is None:
            return None
        self._known.add((was, now))
        if len(self._known) > MOST_TRANSITIONS:
            self._known = None
        return was, now

    @property
    def kind(self) -> str:
        """`number`, `label`, or `text` for all that can only be the same or not."""
        kinds = {tally.kind for tally in self.sides} - {"empty"}
        if kinds == {"number"}:
            return "number"
        return "label" if kinds and kinds <= {"label", "boolean"} and self._known is not None else "text"

    def facts(self) -> dict[str, Any]:
        """What is told of the column."""
        ways = Counter(way for way in self._ways if way is not None)
        made: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "ways": {way: ways[way] for way in WAYS},
            "pairs": ways.total(),
            "sides": [tally.facts() for tally in self.sides],
            "histogram": None,
        }
        if self.kind == "number":
            differences = sorted(value for value in self._differences if value == value)  # noqa: PLR0124
            if differences:
                whole = all(value.is_integer() for value in differences)
                made |= {"spread": spread(differences), "histogram": histogram(differences, whole=whole)}
        elif self.kind == "label":
            counted = Counter(t for t in self._transitions if t is not None)
            names = sorted({label for pair in counted for label in pair})
            made["transitions"] = [{"from": a, "to": b, "count": count} for (a, b), count in counted.most_common()]
            made["matrix"] = _matrix(names, counted) if len(names) <= MATRIX else None
        return made

    def index(self, kept: Sequence[int] | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the page sorts and filters by: the change itself, and which way it went. See `ColumnTally.index`."""
        if self.kind == "number":
            change = {"each": 1, "values": [None if v != v else v for v in _of(self._differences, kept)]}  # noqa: PLR0124
        elif self.kind == "label":
            words = [None if t is None else ARROW.join(t) for t in _of(self._transitions, kept)]
            change = coded(words)
        else:
            change = coded(_of(self._ways, kept))
        return change, coded(_of(self._ways, kept))


def coded(words: Sequence[str | None]) -> dict[str, Any]:
    """One label a row, as an index has them."""
    labels = {word: code for code, word in enumerate(sorted({word for word in words if word is not None}))}
    return {"each": 1, "values": [None if word is None else labels[word] for word in words], "labels": list(labels)}


def _of(values: Sequence[Any], kept: Sequence[int] | None) -> list[Any]:
    return list(values) if kept is None else [values[place] for place in kept]


def _matrix(names: Sequence[str], counted: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"from": a, "cells": [{"to": b, "count": counted[a, b]} for b in names]} for a in names]


def _is_null(value: Any) -> bool:
    return all(leaf is None for leaf in leaves(value)) if isinstance(value, list) and value else value is None


def _difference(before: Any, after: Any) -> float:
    """By how much the number of a value grew; NaN where one of them has none."""
    if type(before) is int and type(after) is int:  # exact, where a float64 does not tell them apart
        return drawn(after - before)
    was, now = _number(before), _number(after)
    return math.nan if was is None or now is None else now - was


def _number(value: Any) -> float | None:
    """The number of a value; of a list, its mean."""
    numbers = [drawn(v) for v in leaves(value) if isinstance(v, int | float) and not isinstance(v, bool)]
    mean = fmean(numbers) if numbers else math.nan
    return None if math.isnan(mean) else mean


def _label(value: Any) -> str | None:
    """A value as a label: a short text, true or false; of a list, the most common."""
    found = [
        ("true" if leaf else "false") if isinstance(leaf, bool) else leaf
        for leaf in leaves(value)
        if isinstance(leaf, str | bool)
    ]
    if not found:
        return None
    label = Counter(found).most_common(1)[0][0]
    return label if len(label) <= LONGEST_LABEL else None
