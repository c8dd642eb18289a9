"""Reduce several values to one: the replies for a row, or the verdicts of several judges.

A reducer maps a list of values to one value. It ignores nulls, which failed replies leave, and returns null for an
empty list. Templates can use reducers as filters.
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
    """The arithmetic mean; for Booleans, the share of true values."""
    given = _given(values)
    from statistics import mean

    return _finite(lambda: mean(given)) if given else None


def weighted_mean(values: Sequence[Any], weights: Sequence[Any]) -> float | None:
    """The mean of values with one weight each; null if the weights sum to 0."""
    if len(values) != len(weights):
        raise ValueError(f"there are {len(weights)} weights for {len(values)} values")
    pairs = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    total = sum(weight for _, weight in pairs)
    return _finite(lambda: sum(value * weight for value, weight in pairs) / total) if total else None


def median(values: Sequence[Any]) -> float | None:
    """The middle value; for an even number of values, the mean of the two middle ones."""
    given = sorted(_given(values))
    return mean(given[(len(given) - 1) // 2 : len(given) // 2 + 1])


def std(values: Sequence[Any]) -> float | None:
    """The sample standard deviation (divisor n - 1), as in pandas; null for fewer than two values."""
    given = _given(values)
    from statistics import stdev

    return _finite(lambda: stdev(given)) if len(given) > 1 else None


def least(values: Sequence[Any]) -> Any:
    """The smallest value."""
    return min(_given(values), default=None)


def greatest(values: Sequence[Any]) -> Any:
    """The largest value."""
    return max(_given(values), default=None)


def majority(values: Sequence[Any]) -> Any:
    """The most common value; in a tie, the one that appears first."""
    given = _given(values)
    if not given:
        return None
    (winner, _), *_ = Counter(map(_identity, given)).most_common(1)
    return next(v for v in given if _identity(v) == winner)


def agreement(values: Sequence[Any]) -> float | None:
    """The share of the most common value: 1 if all are equal, 1/n if all differ."""
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
    """A reducer for list columns: it reduces the first entries to one entry, then the second entries, and so on.

    Missing entries of shorter lists count as null.
    """

    def reduced(lists: Sequence[Any]) -> list[Any] | None:
        given = _given(lists)
        return [reduce(entries) for entries in zip_longest(*given)] if given else None

    return reduced


class Aggregate(Struct, frozen=True):
    """A column that is computed from the values of another column."""

    column: str
    """Its name in the data."""
    of: str
    """The column whose values are reduced, by its name in the data."""
    reduce: Reducer
    schema: dict[str, Any] = {}
    """The JSON Schema of its values, not counting nulls."""


def schema_of_reduced(how: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a reducer's result, given the schema of its values."""
    return schema if how in ("min", "max", "majority") else {"type": "number"}


def aggregated(aggregates: Sequence[Aggregate], columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The aggregated columns of a row; `columns` hold one value per generation."""
    return {a.column: a.reduce(columns[a.of]) for a in aggregates}


def _given(values: Sequence[Any]) -> list[Any]:
    return [v for v in values if v is not None]


def _identity(value: Any) -> Any:
    """A key for comparing values: 1 equals 1.0, but not true or "1"."""
    if isinstance(value, bool | str) or not isinstance(value, int | float):
        return json.dumps(value, sort_keys=True, default=repr)
    return value


def _finite(calculate: Callable[[], Any]) -> float | None:
    """The number as a float; None if it is too large."""
    try:
        return float(calculate())
    except OverflowError:
        return None
