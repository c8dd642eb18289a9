"""Count how one output column changed from one result to another, pair by pair."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from itertools import compress, repeat
from statistics import fmean
from typing import TYPE_CHECKING, Any

from distask.report.columns import ABSENT, LONGEST_LABEL, NOTHING, ColumnTally, drawn, leaves
from distask.report.compare.agreement import canonical
from distask.report.compare.chance import mean_difference, share_differences
from distask.report.compare.spill import SpillFile
from distask.report.distribution import Distribution, histogram, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

SAME, CHANGED, BETTER, WORSE, GAINED, LOST = "same", "changed", "better", "worse", "gained", "lost"
WAYS = (SAME, CHANGED, BETTER, WORSE, GAINED, LOST)
"""How a value can change from one result to the other; `gained` means it was null or absent."""
_SAME, _CHANGED, _BETTER, _WORSE, _GAINED, _LOST = range(len(WAYS))
ARROW = " → "
MOST_TRANSITIONS = 400
MATRIX = 12
"""Maximum number of labels in a table of transitions; more would be unreadable."""
_COMPARED_DIRECTLY = {str, int, bool}
"""Types whose equal values have the same canonical text; lists of one of them also do."""
_Change = tuple[int, float, int]
"""The place of the way in `WAYS`, the difference, and the place of the transition."""
_NO_CHANGE: _Change = (NOTHING, math.nan, NOTHING)
_UNCHANGED, _TEXT_CHANGED, _TEXT_GAINED, _TEXT_LOST = (
    (way, math.nan, NOTHING) for way in (_SAME, _CHANGED, _GAINED, _LOST)
)


class ChangeTally:
    """Count one output column in both results, batch by batch.

    Args:
        name: the column.
        file: where values that do not fit in memory are stored.
        lower_is_better: whether a lower number is better.
    """

    def __init__(self, name: str, file: SpillFile | None = None, *, lower_is_better: bool = False) -> None:
        file = file or SpillFile()
        self.name = name
        self._better_down = lower_is_better
        self.sides = (ColumnTally(name, file, indexed=False), ColumnTally(name, file, indexed=False))
        self._ways = [0] * len(WAYS)
        self._differences = Distribution("d", file)
        self._whole = True
        self._transitions: dict[tuple[str, str], int] | None = {}
        """Each with its place in order of appearance; None if there are too many, or labels are lists."""
        self._transition_counts: list[int] = []
        self._way_of = array("b")
        self._difference_of = array("d")
        self._transition_of = array("h")
        """For each pair on the page: its place in `WAYS`, the difference, and the place of its transition."""

    def skip(self, on_page: int) -> None:
        """Count pairs on the page that came before the column was first seen."""
        self._way_of.extend(repeat(NOTHING, on_page))
        self._difference_of.extend(repeat(math.nan, on_page))
        self._transition_of.extend(repeat(NOTHING, on_page))

    def update(
        self,
        before: Sequence[Any],
        after: Sequence[Any],
        grouped: Sequence[bool],
        on_page: Sequence[bool] | None = None,
    ) -> None:
        """Count the values of some pairs of rows.

        Args:
            before: each pair's value in the first result; `ABSENT` for a row without a match.
            after: the same in the second result.
            grouped: whether the rows of each pair are grouped, so that lists have an item for each reply.
            on_page: which of the pairs are on the page; None for all.
        """
        types = {*map(type, before), *map(type, after)}
        if object in types:
            is_matched = [value is not ABSENT for value in before]
            self.sides[0].update(list(compress(before, is_matched)))
            self.sides[1].update(list(compress(after, is_matched)))
        else:
            self.sides[0].update(before)
            self.sides[1].update(after)
        types.discard(type(None))
        if types == {str} and self._transitions is None:
            changes = self._text_changes(before, after)
        elif len(types) == 1 and types <= _COMPARED_DIRECTLY:
            changes = self._repeated_changes(before, after)
        else:
            changes = list(map(self._change, before, after, grouped))
        for way, difference, transition in changes if on_page is None else compress(changes, on_page):
            self._way_of.append(way)
            self._difference_of.append(difference)
            self._transition_of.append(transition)

    def _text_changes(self, before: Sequence[str | None], after: Sequence[str | None]) -> list[_Change]:
        """Count texts that are too many to be labels."""
        changes = [
            (_UNCHANGED if was is not None else _NO_CHANGE)
            if was == now
            else (_TEXT_CHANGED if was is not None and now is not None else _TEXT_GAINED if was is None else _TEXT_LOST)
            for was, now in zip(before, after, strict=True)
        ]
        for change, count in Counter(changes).items():
            if change is not _NO_CHANGE:
                self._ways[change[0]] += count
        return changes

    def _repeated_changes(self, before: Sequence[Any], after: Sequence[Any]) -> list[_Change]:
        """Count values of one type, all of which have a hash: each different pair is looked at once."""
        pairs = list(zip(before, after, strict=True))
        counted = Counter(pairs)
        changes = {pair: self._change(*pair, grouped=False, count=count) for pair, count in counted.items()}
        return [changes[pair] for pair in pairs]

    def _change(self, before: Any, after: Any, grouped: bool, count: int = 1) -> _Change:
        """Count a change that occurred `count` times."""
        if before is ABSENT:
            return _NO_CHANGE
        difference = math.nan
        if type(before) is str and type(after) is str:
            way = _SAME if before == after else _CHANGED
        else:
            difference = _difference(before, after)
            if not math.isnan(difference):
                self._differences.update(repeat(difference, count))
                self._whole = self._whole and difference.is_integer()
            way = self._way(before, after, difference)
        if way != NOTHING:
            self._ways[way] += count
        return way, difference, self._transition(before, after, grouped=grouped, count=count)

    def _way(self, before: Any, after: Any, difference: float) -> int:
        was_null, is_null = _is_null(before), _is_null(after)
        if was_null or is_null:
            return NOTHING if was_null and is_null else _GAINED if was_null else _LOST
        if difference == 0 or _is_same(before, after):
            return _SAME
        if difference == difference:  # noqa: PLR0124 - NaN is not
            return _BETTER if (difference < 0) == self._better_down else _WORSE
        return _CHANGED

    def _transition(self, before: Any, after: Any, *, grouped: bool, count: int) -> int:
        """Count the transition of `count` equal pairs and return its place."""
        if self._transitions is None:
            return NOTHING
        if not grouped and (isinstance(before, list) or isinstance(after, list)):
            self._transitions = None  # lists have no single label
            return NOTHING
        was, now = _label(before), _label(after)
        if was is None or now is None:
            return NOTHING
        place = self._transitions.get((was, now))
        if place is None:
            place = len(self._transitions)
            if place >= MOST_TRANSITIONS:
                self._transitions = None
                return NOTHING
            self._transitions[was, now] = place
            self._transition_counts.append(0)
        self._transition_counts[place] += count
        return place

    @property
    def kind(self) -> str:
        """`number`, `label`, or `text` for anything that can only be equal or not."""
        kinds = {tally.kind for tally in self.sides} - {"empty"}
        if kinds == {"number"}:
            return "number"
        return "label" if kinds and kinds <= {"label", "boolean"} and self._transitions is not None else "text"

    def facts(self, *, independent: bool = True) -> dict[str, Any]:
        """Return the statistics of the column; pairs that are not independent have no test."""
        kind = self.kind
        made: dict[str, Any] = {
            "name": self.name,
            "kind": kind,
            "ways": dict(zip(WAYS, self._ways, strict=True)),
            "pairs": sum(self._ways),
            "sides": [tally.facts() for tally in self.sides],
            "histogram": None,
            "difference": None,
            "shares": [],
        }
        if kind == "number":
            differences = self._differences.ordered()
            if independent:
                made["difference"] = mean_difference(differences)
            if len(differences):
                made |= {"spread": spread(differences), "histogram": histogram(differences, whole=self._whole)}
        elif kind == "label":
            counted = Counter(dict(zip(self._transitions or (), self._transition_counts, strict=False)))
            names = sorted({label for pair in counted for label in pair})
            made["transitions"] = [{"from": a, "to": b, "count": count} for (a, b), count in counted.most_common()]
            made["matrix"] = _matrix(names, counted) if len(names) <= MATRIX else None
            if independent:
                made["shares"] = share_differences(counted)
        return made

    def index(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the page sorts and filters by: the change itself, and its direction. See `ColumnTally.index`."""
        kind = self.kind
        ways = coded([None if way == NOTHING else WAYS[way] for way in self._way_of])
        if kind == "number":
            return {"each": 1, "values": [None if v != v else v for v in self._difference_of]}, ways  # noqa: PLR0124
        if kind == "label":
            words = [ARROW.join(transition) for transition in self._transitions or ()]
            return coded([None if place == NOTHING else words[place] for place in self._transition_of]), ways
        return ways, ways


def coded(words: Sequence[str | None]) -> dict[str, Any]:
    """Return one label for each row, in the form of an index."""
    labels = {word: code for code, word in enumerate(sorted({word for word in words if word is not None}))}
    return {"each": 1, "values": [None if word is None else labels[word] for word in words], "labels": list(labels)}


def _matrix(names: Sequence[str], counted: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"from": a, "cells": [{"to": b, "count": counted[a, b]} for b in names]} for a in names]


def _is_null(value: Any) -> bool:
    if type(value) is list and value:
        return all(leaf is None for leaf in leaves(value))
    return value is None


def _is_same(before: Any, after: Any) -> bool:
    kinds = {type(before), type(after)}
    if kinds == {list}:
        kinds = {*map(type, before), *map(type, after)}
    if len(kinds) <= 1 and kinds <= _COMPARED_DIRECTLY:
        return bool(before == after)
    return canonical(before) == canonical(after)


def _difference(before: Any, after: Any) -> float:
    """Return by how much the number of a value grew; NaN if one value has no number."""
    if type(before) is int and type(after) is int:  # exact, even if their float64 values are equal
        return drawn(after - before)
    was, now = _number(before), _number(after)
    return math.nan if was is None or now is None else now - was


def _number(value: Any) -> float | None:
    """Return the number of a value; for a list, its mean."""
    if value is None or type(value) is str or type(value) is bool:
        return None
    numbers = [drawn(v) for v in leaves(value) if isinstance(v, int | float) and not isinstance(v, bool)]
    mean = numbers[0] if len(numbers) == 1 else fmean(numbers) if numbers else math.nan
    return None if math.isnan(mean) else mean


def _label(value: Any) -> str | None:
    """Return a value as a label: a short text, true or false; for a list, the most common one."""
    if type(value) is str:
        return value if len(value) <= LONGEST_LABEL else None
    if type(value) is bool:
        return "true" if value else "false"
    if not isinstance(value, list):
        return None
    found = [
        ("true" if leaf else "false") if isinstance(leaf, bool) else leaf
        for leaf in leaves(value)
        if isinstance(leaf, str | bool)
    ]
    if not found:
        return None
    label = Counter(found).most_common(1)[0][0]
    return label if len(label) <= LONGEST_LABEL else None
