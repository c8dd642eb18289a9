"""Count what one column holds, and keep what the page filters and sorts by.

A value is taken apart into its leaves: a list's items, however deep, else the value itself. What most leaves are makes
the column's kind: numbers get a histogram, labels bars, texts one of their lengths.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any

from distask.report.bins import histogram, spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONG_LIST = 64
"""Items; a longer list (an embedding, say) is counted by its length alone."""
MOST_LABELS = 60
"""Texts that are different; a column with more of them holds texts, not labels."""
LONGEST_LABEL = 80
LABELS_SHARE = 0.5
"""A column where more of the texts than this are different holds texts, if it holds more than a few."""
A_FEW = 12
MOST_DISTINCT = 1_000_000
"""Texts that are told apart; beyond, nobody counts how many are different."""
GREATEST = 1e150
"""Of the numbers that are drawn; the square of a larger one is no float any more."""
NOTHING = -1
_NAN = math.nan


class LongList:
    """Stands for a list that is counted by its length alone."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        self.length = length


def leaves(value: Any) -> Iterator[Any]:
    """The items of a list, of the lists in it too; of anything else, itself."""
    if not isinstance(value, list):
        yield value
    elif len(value) > LONG_LIST:
        yield LongList(len(value))
    else:
        for item in value:
            yield from leaves(item)


class ColumnTally:
    """One column, row after row."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._per_row = array("l")
        self._numbers = array("d")
        self._lengths = array("l")
        self._codes = array("l")
        self._labels: dict[str, int] = {}
        self._label_counts: list[int] = []
        self._texts: set[int] | None = set()
        self.kinds: Counter[str] = Counter()
        self._whole = True
        self._lists = self._absent = 0
        self._shortest: int | None = None
        self._longest = 0

    def skip(self, rows: int) -> None:
        """Count rows that came before the column was first seen."""
        for _ in range(rows):
            self.add_absent()

    def add_absent(self) -> None:
        """Count a row that lacks the column."""
        self._absent += 1
        self._per_row.append(0)

    def add(self, value: Any) -> None:
        """Count a row's value."""
        if isinstance(value, list):
            self._lists += 1
            length = len(value)
            self._longest = max(self._longest, length)
            self._shortest = length if self._shortest is None else min(self._shortest, length)
        count = 0
        for leaf in leaves(value):
            self._leaf(leaf)
            count += 1
        self._per_row.append(count)

    def _leaf(self, leaf: Any) -> None:
        number, length, code = _NAN, NOTHING, NOTHING
        if leaf is None:
            kind = "null"
        elif isinstance(leaf, bool):
            kind, code = "boolean", self._code("true" if leaf else "false")
        elif isinstance(leaf, int | float):
            number = drawn(leaf)
            kind = "object" if number != number else "number"  # noqa: PLR0124 - NaN is not
            self._whole = self._whole and isinstance(leaf, int)
        elif isinstance(leaf, str):
            kind, length = "text", len(leaf)
            code = self._code(leaf) if length <= LONGEST_LABEL else NOTHING
            if self._texts is not None:
                self._texts.add(hash(leaf))
                if len(self._texts) > MOST_DISTINCT:
                    self._texts = None
        elif isinstance(leaf, LongList):
            kind, length = "long list", leaf.length
        else:
            kind = "object"
        self.kinds[kind] += 1
        self._numbers.append(number)
        self._lengths.append(length)
        self._codes.append(code)

    def _code(self, label: str) -> int:
        code = self._labels.get(label)
        if code is None:
            if len(self._labels) > MOST_LABELS:
                return NOTHING
            code = self._labels[label] = len(self._labels)
            self._label_counts.append(0)
        self._label_counts[code] += 1
        return code

    @property
    def kind(self) -> str:
        """`number`, `label`, `boolean`, `text`, `long list`, `object`, or `empty`."""
        common = [(count, kind) for kind, count in self.kinds.items() if kind != "null"]
        if not common:
            return "empty"
        kind = max(common)[1]
        return "label" if kind == "text" and self._are_labels() else kind

    def _are_labels(self) -> bool:
        if self._texts is None or len(self._texts) > MOST_LABELS or len(self._labels) > MOST_LABELS:
            return False
        different, texts = len(self._texts), self.kinds["text"]
        in_labels = sum(self._label_counts) - self.kinds["boolean"]
        return in_labels == texts and (different <= A_FEW or different <= LABELS_SHARE * texts)

    def facts(self) -> dict[str, Any]:
        """What is told of the column."""
        kind = self.kind
        values = sum(self.kinds.values())
        made: dict[str, Any] = {
            "name": self.name,
            "kind": kind,
            "rows": len(self._per_row),
            "values": values,
            "nulls": self.kinds["null"],
            "absent": self._absent,
            "lists": None
            if not self._lists
            else {"rows": self._lists, "shortest": self._shortest, "longest": self._longest},
        }
        made["others"] = values - self.kinds["null"] - self.kinds["text" if kind == "label" else kind]
        if kind == "number":
            ordered = sorted(value for value in self._numbers if value == value)  # noqa: PLR0124 - NaN is not
            made |= {"spread": spread(ordered), "histogram": histogram(ordered, whole=self._whole)}
        elif kind in ("text", "long list"):
            ordered = sorted(length for length in self._lengths if length >= 0)
            made |= {"spread": spread(ordered), "histogram": histogram(ordered, whole=True)}
            if kind == "text":
                made["blank"] = sum(1 for length in self._lengths if length == 0)
                made["distinct"] = None if self._texts is None else len(self._texts)
        elif kind in ("label", "boolean"):
            counted = sorted(zip(self._labels, self._label_counts, strict=True), key=lambda pair: (-pair[1], pair[0]))
            made["labels"] = [{"label": label, "count": count} for label, count in counted]
        return made

    def index(self, rows: Iterable[int] | None = None) -> dict[str, Any]:
        """What the page filters and sorts by.

        `each` says how many leaves a row has (one number where all have the same), `values` holds them one after the
        other: numbers, lengths of texts, or places in `labels`; null where there is none.

        Args:
            rows: those that are on the page, in order; all where it is left out.
        """
        kind = self.kind
        of: Any = self._codes if kind in ("label", "boolean") else self._lengths
        values: Iterator[Any] = (None if v == NOTHING else v for v in of)
        if kind == "number":
            values = (None if v != v else int(v) if v.is_integer() and abs(v) < 2**53 else v for v in self._numbers)  # noqa: PLR0124
        each = list(self._per_row)
        kept = list(values)
        if rows is not None:
            kept, each = _chosen(kept, each, rows)
        made: dict[str, Any] = {"each": each[0] if each and len(set(each)) == 1 else each, "values": kept}
        if kind in ("label", "boolean"):
            made["labels"] = list(self._labels)
        return made


def drawn(value: float) -> float:
    """The number; NaN for one that can't be drawn: what is not finite, or as large as no figure is."""
    return float(value) if abs(value) <= GREATEST else _NAN


def _chosen(values: list[Any], each: list[int], rows: Iterable[int]) -> tuple[list[Any], list[int]]:
    starts = [0]
    for count in each:
        starts.append(starts[-1] + count)
    chosen = list(rows)
    return [v for row in chosen for v in values[starts[row] : starts[row + 1]]], [each[row] for row in chosen]
