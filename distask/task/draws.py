"""Draw values for a row, at random or by quota, which depend only on the seed, the task and the row."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from math import sqrt
from typing import TYPE_CHECKING, Any

from distask.errors import RowError

if TYPE_CHECKING:
    from distask.spec.language.model import Draw
    from distask.task.templates.compiler import Expression, Place, Scope


Index = int | str
"""Identifies a row for draws: its position in the data, or its path through steps."""

_ROOTS = [sqrt(prime) for prime in (5, 2, 3, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79)]
"""Numbers no multiples of which have a rational sum, one for each draw and each level of a row's path."""
_LEVELS = 5
"""Levels of a row's path that have roots of their own; deeper ones share them."""


class Draws:
    """The drawn values of a task, in order: each may depend on the ones above it.

    Args:
        draws: the draws by name.
        expression: compiles an expression of the spec.
        base: the names that every row sees: params, vars.
        seed: the random seed.
    """

    def __init__(
        self,
        draws: Mapping[str, Draw],
        expression: Callable[[str, Place], Expression],
        base: Mapping[str, Any],
        seed: str,
    ) -> None:
        self._draws = tuple(
            (name, _ready(name, draw, expression), _Quota(f"{seed}/{name}", number) if draw.quota else None)
            for number, (name, draw) in enumerate(draws.items())
        )
        self._base = base
        self._seed = seed

    def of(self, index: Index) -> dict[str, Any]:
        """Draw the values for row `index`; raises `RowError` if there is nothing to draw from."""
        rng = random.Random(f"{self._seed}/{index}")  # noqa: S311 - no secret
        drawn: dict[str, Any] = {}
        seen = {**self._base, "draw": drawn}
        for name, draw, quota in self._draws:
            drawn[name] = seen[name] = draw(seen, rng if quota is None else quota.at(index))
        return drawn


class _Quota:
    """Numbers from 0 to 1 that fill the interval evenly from row to row: a Kronecker sequence for each draw.

    The share of any part of the interval is exact up to a few rows, in any run of consecutive rows.
    """

    def __init__(self, seed: str, number: int) -> None:
        self._start = random.Random(seed).random()  # noqa: S311 - no secret
        self._roots = [_ROOTS[(number * _LEVELS + level) % len(_ROOTS)] for level in range(_LEVELS)]

    def at(self, index: Index) -> float:
        """The number of a row."""
        counts = [int(part) for part in str(index).split("/") if part.isdecimal()]
        return (self._start + sum(n * self._roots[i % _LEVELS] for i, n in enumerate(counts))) % 1


def _ready(
    name: str, draw: Draw, expression: Callable[[str, Place], Expression]
) -> Callable[[Scope, random.Random | float], Any]:
    place: Place = ("draw", name)
    if draw.range is not None:
        low, high = draw.range
        return partial(_between, low, high, whole=isinstance(low, int) and isinstance(high, int))
    options, weights = (
        expression(value, (*place, key)) if isinstance(value, str) else partial(_constant, value)
        for key, value in (("options", draw.options), ("weights", draw.weights))
    )
    return lambda scope, rng: _chosen(name, options(scope), weights(scope), rng)


def _between(low: float, high: float, _scope: Scope, rng: random.Random | float, *, whole: bool) -> float:
    assert isinstance(rng, random.Random)
    return rng.randint(int(low), int(high)) if whole else rng.uniform(low, high)


def _constant(value: Any, _scope: Scope) -> Any:
    return value


def _chosen(name: str, options: Any, weights: Any, rng: random.Random | float) -> Any:
    """Choose one of the options, at random or at a place from 0 to 1; raises `RowError` if there are none."""
    if isinstance(options, Mapping):
        options, weights = list(options), weights or list(options.values())
    elif not isinstance(options, list | tuple | range):
        options = [options]
    try:
        return rng.choices(options, weights)[0] if isinstance(rng, random.Random) else _at(rng, options, weights)
    except (ValueError, TypeError, IndexError) as error:
        raise RowError("draw", f"`{name}` can't be drawn: {error}") from None


def _at(place: float, options: Sequence[Any], weights: Sequence[float] | None) -> Any:
    """The option at a place from 0 to 1, if each has a part of the interval as large as its weight."""
    ends = list(accumulate(weights or [1] * len(options)))
    if len(ends) != len(options):
        raise ValueError("the number of weights is not the number of options")
    if min(weights or [1]) < 0 or ends[-1] <= 0:
        raise ValueError("weights can't be negative, and at least one must be positive")
    return options[bisect(ends, place * ends[-1], 0, len(options) - 1)]
