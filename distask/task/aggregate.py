"""Make one value of several: of a row's replies, or of several judges'.

Reducers are functions from a list of values to one value. Nulls, which failed replies leave, are left out; of nothing,
each gives null. Templates have them as filters.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

Reducer = Callable[[Sequence[Any]], Any]


def mean(values: Sequence[Any]) -> float | None:
    """The arithmetic mean; of true and false, the share of true."""
    given = _given(values)
    from statistics import mean

    return _finite(lambda: mean(given)) if given else None


def median(values: Sequence[Any]) -> float | None:
    """The middle value; of an even number, the mean of the two in the middle."""
    given = sorted(_given(values))
    return mean(given[(len(given) - 1) // 2 : len(given) // 2 + 1])


def std(values: Sequence[Any]) -> float | None:
    """The sample's standard deviation (divisor n - 1), as pandas gives it; null for fewer than two values."""
    given = _given(values)
    from statistics import stdev

    return _finite(lambda: stdev(given)) if len(given) > 1 else None


def least(values: Sequence[Any]) -> Any:
    """The smallest value."""
    return min(_given(values), default=None)


def greatest(values: Sequence[Any]) -> Any:
    """The greatest value."""
    return max(_given(values), default=None)


def majority(values: Sequence[Any]) -> Any:
    """The most common value; of several that are equally common, the one that came first."""
    given = _given(values)
    if not given:
        return None
    (winner, _), *_ = Counter(map(_identity, given)).most_common(1)
    return next(v for v in given if _identity(v) == winner)


def agreement(values: Sequence[Any]) -> float | None:
    """The share of the most common value: 1 where all are equal, 1/n where no two are."""
    given = _given(values)
    if not given:
        return None
    (_, count), *_ = Counter(map(_identity, given)).most_common(1)
    return count / len(given)


REDUCERS: dict[str, Reducer] = {
    "mean": mean,
    "median": median,
    "majority": majority,
    "min": least,
    "max": greatest,
    "std": std,
    "agreement": agreement,
}


def entrywise(reduce: Reducer) -> Reducer:
    """The reducer for columns of lists: the first entries become one entry, then the second ones, and so on.

    A list that is shorter than another lacks its last entries, as a null does.
    """

    def reduced(lists: Sequence[Any]) -> list[Any] | None:
        given = _given(lists)
        return [reduce(entries) for entries in zip_longest(*given)] if given else None

    return reduced


class Aggregate(Struct, frozen=True):
    """A column that is made of another one's values."""

    column: str
    """What it is called, under the data's name."""
    of: str
    """The column whose values it is made of, under the data's name."""
    reduce: Reducer
    schema: dict[str, Any] = {}
    """The JSON Schema of its values, but for nulls."""


def schema_of_reduced(how: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of what a reducer makes of values of a schema."""
    return schema if how in ("min", "max", "majority") else {"type": "number"}


def aggregated(aggregates: Sequence[Aggregate], columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The aggregated columns of a row whose `columns` hold a value a generation."""
    return {a.column: a.reduce(columns[a.of]) for a in aggregates}


def _given(values: Sequence[Any]) -> list[Any]:
    return [v for v in values if v is not None]


def _identity(value: Any) -> Any:
    """What makes two values the same one: 1 and 1.0 are, 1 and true are not, nor are 1 and "1"."""
    if isinstance(value, bool | str) or not isinstance(value, int | float):
        return json.dumps(value, sort_keys=True, default=repr)
    return value


def _finite(calculate: Callable[[], Any]) -> float | None:
    """The number; None where no float can hold it."""
    try:
        return float(calculate())
    except OverflowError:
        return None
