"""Draw random values for a row, which depend only on the seed, the task and the row."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from distask.errors import RowError

if TYPE_CHECKING:
    from distask.spec.language.model import Draw
    from distask.task.templates.compiler import Expression, Place, Scope


Index = int | str
"""Identifies a row for draws: its position in the data, or its path through steps."""


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
        self._draws = tuple((name, _ready(name, draw, expression)) for name, draw in draws.items())
        self._base = base
        self._seed = seed

    def of(self, index: Index) -> dict[str, Any]:
        """Draw the values for row `index`; raises `RowError` if there is nothing to draw from."""
        rng = random.Random(f"{self._seed}/{index}")  # noqa: S311 - no secret
        drawn: dict[str, Any] = {}
        seen = {**self._base, "draw": drawn}
        for name, draw in self._draws:
            drawn[name] = seen[name] = draw(seen, rng)
        return drawn


def _ready(
    name: str, draw: Draw, expression: Callable[[str, Place], Expression]
) -> Callable[[Scope, random.Random], Any]:
    place: Place = ("draw", name)
    if draw.range is not None:
        low, high = draw.range
        whole = isinstance(low, int) and isinstance(high, int)
        return lambda _scope, rng: rng.randint(int(low), int(high)) if whole else rng.uniform(low, high)
    options, weights = (
        expression(value, (*place, key)) if isinstance(value, str) else partial(_constant, value)
        for key, value in (("options", draw.options), ("weights", draw.weights))
    )
    return lambda scope, rng: _chosen(name, options(scope), weights(scope), rng)


def _constant(value: Any, _scope: Scope) -> Any:
    return value


def _chosen(name: str, options: Any, weights: Any, rng: random.Random) -> Any:
    """Choose one of the options; raises `RowError` if there are none."""
    if isinstance(options, Mapping):
        options, weights = list(options), weights or list(options.values())
    elif not isinstance(options, list | tuple | range):
        options = [options]
    try:
        return rng.choices(options, weights)[0]
    except (ValueError, TypeError, IndexError) as error:
        raise RowError("draw", f"`{name}` can't be drawn: {error}") from None
