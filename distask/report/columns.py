"""Count the values of one column, and keep what the page needs to filter and sort by it.

A value is split into its leaves: a list's items at any depth, or the value itself. The most common type of leaf is the
column's kind: numbers get a histogram, labels get bars, texts get a histogram of their lengths.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from itertools import chain, compress, islice, repeat
from typing import TYPE_CHECKING, Any

from distask.report.compare.spill import SpillFile
from distask.report.distribution import DistinctTexts, Distribution, histogram, spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LONG_LIST = 64
"""Items; only the length of a longer list (such as an embedding) is counted."""
MOST_LABELS = 60
"""Maximum number of distinct labels; a column with more of them holds texts."""
LONGEST_LABEL = 80
LABELS_SHARE = 0.5
"""A column with a larger share of distinct texts holds texts, unless it has only a few."""
A_FEW = 12
MOST_DISTINCT = 1_000_000
"""Maximum number of distinct texts that are counted."""
GREATEST = 1e150
"""Maximum number in a histogram; the square of a larger one overflows a float."""
NOTHING = -1
_NAN = math.nan
ABSENT = object()
"""Stands for the value of a row that lacks the column."""
_BOOLEANS = {True: "true", False: "false"}


class LongList:
    """Stands for a list of which only the length is counted."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length


def leaves(value: Any) -> Iterator[Any]:
    """Yield the items of a list, including nested lists; for any other value, the value itself."""
    if not isinstance(value, list):
        yield value
    elif len(value) > LONG_LIST:
        yield LongList(len(value))
    else:
        for item in value:
            yield from leaves(item)


class _Leaves:
    """A number for each leaf on the page; takes no memory while no leaf has one."""

    def __init__(self, typecode: str, nothing: float) -> None:
        self._typecode, self._nothing = typecode, nothing
        self._numbers: array[Any] | None = None
        self._count = 0

    def extend(self, numbers: Iterable[float]) -> None:
        if self._numbers is None:
            self._numbers = array(self._typecode, [self._nothing]) * self._count
        self._numbers.extend(numbers)

    def extend_empty(self, leaves: int) -> None:
        if self._numbers is None:
            self._count += leaves
        else:
            self._numbers.extend(repeat(self._nothing, leaves))

    def __iter__(self) -> Iterator[Any]:
        return iter(repeat(self._nothing, self._count) if self._numbers is None else self._numbers)


class ColumnTally:
    """Count one column, batch by batch.

    Args:
        name: the column.
        file: where values that do not fit in memory are stored.
        indexed: whether the page filters and sorts by it.
    """

    def __init__(self, name: str, file: SpillFile | None = None, *, indexed: bool = True) -> None:
        file = file or SpillFile()
        self.name = name
        self._indexed = indexed
        self._rows = 0
        self._numbers = Distribution("d", file)
        self._lengths = Distribution("q", file)
        self._texts = DistinctTexts(file)
        self._blank = 0
        self._labels: dict[str, int] = {}
        self._label_counts: list[int] = []
        self._kinds: Counter[str] = Counter()
        self._whole = True
        self._lists = self._absent = 0
        self._shortest: int | None = None
        self._longest = 0
        self._per_row = array("I")
        self._leaf_numbers = _Leaves("d", _NAN)
        self._leaf_lengths = _Leaves("i", NOTHING)
        self._leaf_codes = _Leaves("b", NOTHING)

    def skip(self, rows: int, on_page: int) -> None:
        """Count rows that came before the column was first seen, and how many of them are on the page."""
        self._rows += rows
        self._absent += rows
        if self._indexed:
            self._per_row.extend(repeat(0, on_page))

    def update(self, values: Sequence[Any], on_page: Sequence[bool] | None = None) -> None:
        """Count the values of some rows.

        Args:
            values: a value for each row; `ABSENT` if it lacks the column.
            on_page: which of the rows are on the page; None for all.
        """
        types = Counter(map(type, values))
        if types[list] or types[object]:
            flat, each = self._take_apart(values, types)
            self._update(flat, each, Counter(map(type, flat)), on_page)
        else:
            self._update(values, None, types, on_page)

    def update_lists(self, flat: Sequence[Any], each: Sequence[int], on_page: Sequence[bool] | None = None) -> None:
        """Count rows that have lists without lists in them: their items, and the length of each."""
        if each and max(each) > LONG_LIST:
            items = iter(flat)
            self.update([list(islice(items, length)) for length in each], on_page)
            return
        if each:
            self._count_lists(len(each), min(each), max(each))
        self._update(flat, each, Counter(map(type, flat)), on_page)

    def _update(
        self, flat: Sequence[Any], each: Sequence[int] | None, types: Counter[type], on_page: Sequence[bool] | None
    ) -> None:
        """Count the leaves of rows: `each` is the number of each row's; None if every row has one."""
        rows = len(flat) if each is None else len(each)
        self._rows += rows
        self._count(flat, types)
        if not self._indexed:
            return
        if on_page is not None:
            flat, each = _chosen(flat, each, on_page)
            types = Counter(map(type, flat))
        self._per_row.extend(repeat(1, len(flat)) if each is None else each)
        if flat:
            self._index(flat, types)

    def _take_apart(self, values: Sequence[Any], types: Counter[type]) -> tuple[list[Any], list[int]]:
        """Return the leaves of all rows, and how many each row has."""
        if types[list] == len(values):
            each = list(map(len, values))
            flat = list(chain.from_iterable(values))
            if max(each) <= LONG_LIST and list not in map(type, flat):
                self._count_lists(len(each), min(each), max(each))
                return flat, each
        flat, each = [], []
        for value in values:
            if type(value) is list:
                length = len(value)
                self._count_lists(1, length, length)
                if length > LONG_LIST or list in map(type, value):
                    found = list(leaves(value))
                    flat += found
                    each.append(len(found))
                else:
                    flat += value
                    each.append(length)
            elif value is ABSENT:
                self._absent += 1
                each.append(0)
            else:
                flat.append(value)
                each.append(1)
        return flat, each

    def _count_lists(self, count: int, shortest: int, longest: int) -> None:
        self._lists += count
        self._longest = max(self._longest, longest)
        self._shortest = shortest if self._shortest is None else min(self._shortest, shortest)

    def _count(self, flat: Sequence[Any], found: Counter[type]) -> None:
        texts = found[str]
        numbers = found[int] + found[float]
        if numbers:
            drawable = _drawable(flat if numbers == len(flat) else _of_type(flat, int, float), found)
            self._numbers.update(drawable)
            self._whole = self._whole and not found[float]
            numbers = len(drawable)
        if texts or found[LongList]:
            lengths = list(map(len, flat if texts == len(flat) else _of_type(flat, str, LongList)))
            self._lengths.update(lengths)
            self._blank += lengths.count(0)
        if texts or found[bool]:
            self._count_labels(flat, texts, found[bool])
        counted = {
            "null": found[type(None)],
            "boolean": found[bool],
            "number": numbers,
            "text": texts,
            "long list": found[LongList],
        }
        counted["object"] = len(flat) - sum(counted.values())
        for kind, count in counted.items():
            if count:
                self._kinds[kind] += count

    def _count_labels(self, flat: Sequence[Any], texts: int, booleans: int) -> None:
        words: Sequence[Any] = flat if texts == len(flat) else _of_type(flat, str, bool)
        if booleans:
            if texts:
                self._texts.update({word for word in words if type(word) is str})
            words = [word if type(word) is str else _BOOLEANS[word] for word in words]
        counted = Counter(words)
        if texts and not booleans:
            self._texts.update(counted)
        labels = self._labels
        if len(labels) <= MOST_LABELS:
            for word in counted:
                if word not in labels and len(word) <= LONGEST_LABEL:
                    labels[word] = len(labels)
                    self._label_counts.append(0)
                    if len(labels) > MOST_LABELS:
                        break
        for word, code in labels.items():
            self._label_counts[code] += counted.get(word, 0)

    def _index(self, flat: Sequence[Any], found: Counter[type]) -> None:
        if found[int] + found[float] == len(flat):
            self._leaf_numbers.extend(map(drawn, flat))
        elif found[int] or found[float]:
            self._leaf_numbers.extend(drawn(leaf) if type(leaf) in (int, float) else _NAN for leaf in flat)
        else:
            self._leaf_numbers.extend_empty(len(flat))
        if found[str] == len(flat):
            self._leaf_lengths.extend(map(len, flat))
        elif found[str] or found[LongList]:
            self._leaf_lengths.extend(len(leaf) if type(leaf) in (str, LongList) else NOTHING for leaf in flat)
        else:
            self._leaf_lengths.extend_empty(len(flat))
        if found[str] == len(flat):
            self._leaf_codes.extend(map(self._labels.get, flat, repeat(NOTHING)))
        elif found[str] or found[bool]:
            self._leaf_codes.extend(map(self._code, flat))
        else:
            self._leaf_codes.extend_empty(len(flat))

    def _code(self, leaf: Any) -> int:
        if type(leaf) is str:
            return self._labels.get(leaf, NOTHING)
        return self._labels.get(_BOOLEANS[leaf], NOTHING) if type(leaf) is bool else NOTHING

    @property
    def kind(self) -> str:
        """`number`, `label`, `boolean`, `text`, `long list`, `object`, or `empty`."""
        common = [(count, kind) for kind, count in self._kinds.items() if kind != "null"]
        if not common:
            return "empty"
        kind = max(common)[1]
        return "label" if kind == "text" and self._are_labels() else kind

    def _are_labels(self) -> bool:
        different = self._texts.count(MOST_LABELS)
        if different is None or len(self._labels) > MOST_LABELS:
            return False
        texts = self._kinds["text"]
        in_labels = sum(self._label_counts) - self._kinds["boolean"]
        return in_labels == texts and (different <= A_FEW or different <= LABELS_SHARE * texts)

    def facts(self) -> dict[str, Any]:
        """Return the statistics of the column."""
        kind = self.kind
        values = self._kinds.total()
        made: dict[str, Any] = {
            "name": self.name,
            "kind": kind,
            "rows": self._rows,
            "values": values,
            "nulls": self._kinds["null"],
            "absent": self._absent,
            "lists": None
            if not self._lists
            else {"rows": self._lists, "shortest": self._shortest, "longest": self._longest},
        }
        made["others"] = values - self._kinds["null"] - self._kinds["text" if kind == "label" else kind]
        if kind == "number":
            ordered = self._numbers.ordered()
            made |= {"spread": spread(ordered), "histogram": histogram(ordered, whole=self._whole)}
        elif kind in ("text", "long list"):
            ordered = self._lengths.ordered()
            made |= {"spread": spread(ordered), "histogram": histogram(ordered, whole=True)}
            if kind == "text":
                made["blank"] = self._blank
                made["distinct"] = self._texts.count(MOST_DISTINCT)
        elif kind in ("label", "boolean"):
            counted = sorted(zip(self._labels, self._label_counts, strict=True), key=lambda pair: (-pair[1], pair[0]))
            made["labels"] = [{"label": label, "count": count} for label, count in counted]
        return made

    def index(self) -> dict[str, Any]:
        """Return what the page filters and sorts by, for the rows on the page.

        `each` is the number of leaves of each row (one number if all are equal). `values` lists the leaves in order:
        numbers, lengths of texts, or places in `labels`; null if there is none.
        """
        kind = self.kind
        of = self._leaf_codes if kind in ("label", "boolean") else self._leaf_lengths
        if kind == "number":
            values = [None if v != v else _as_written(v) for v in self._leaf_numbers]  # noqa: PLR0124
        else:
            values = [None if v == NOTHING else v for v in of]
        each = set(self._per_row)
        made: dict[str, Any] = {"each": each.pop() if len(each) == 1 else self._per_row.tolist(), "values": values}
        if kind in ("label", "boolean"):
            made["labels"] = list(self._labels)
        return made


def drawn(value: float) -> float:
    """Return the number, or NaN if it can't be drawn because it is not finite or too large."""
    return float(value) if abs(value) <= GREATEST else _NAN


def _drawable(numbers: Sequence[float], found: Counter[type]) -> list[float]:
    """Return the numbers that can be drawn."""
    if not found[float] and min(numbers) >= -GREATEST and max(numbers) <= GREATEST:
        return list(map(float, numbers))
    return [float(number) for number in numbers if -GREATEST <= number <= GREATEST]


def _as_written(number: float) -> float:
    """Return an integer if the number is one: its JSON is shorter."""
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _of_type(leaves: Iterable[Any], *types: type) -> list[Any]:
    return [leaf for leaf in leaves if type(leaf) in types]


def _chosen(
    flat: Sequence[Any], each: Sequence[int] | None, on_page: Sequence[bool]
) -> tuple[list[Any], list[int] | None]:
    """Return the leaves of the rows on the page, and how many each of them has; None if each has one."""
    if each is None:
        return list(compress(flat, on_page)), None
    counts = list(compress(each, on_page))
    if each.count(1) == len(each):
        return list(compress(flat, on_page)), counts
    chosen: list[Any] = []
    start = 0
    for count, is_on_page in zip(each, on_page, strict=True):
        if is_on_page:
            chosen += flat[start : start + count]
        start += count
    return chosen, counts
