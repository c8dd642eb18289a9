"""Draw values for a row, at random or by a design, which depend only on the seed, the task and the row."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from distask.errors import RowError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.spec.language.columns import Design, Draw
    from distask.task.templates.compiler import Expression, Place, Scope


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


Index = int | str
"""Identifies a row for draws: its position in the data, or its path through steps."""
SAMPLE = "sample"
"""The part of a path before the number of a generation of a complete task of steps."""

T = TypeVar("T")
Compile = Callable[[str, "Place"], "Expression"]


class Draws:
    """The drawn values of a task, in order: each may depend on the ones above it.

    Args:
        draws: the draws by name.
        expression: compiles an expression of the spec.
        base: the names that every row sees: params, vars.
        seed: the random seed.
        design: how the values are combined over rows.
        columns: column of the spec to its name in the rows, if it has another.

    Raises:
        UsageError: the options of a design can't be computed, or are too many.
    """

    def __init__(
        self,
        draws: Mapping[str, Draw],
        expression: Compile,
        base: Mapping[str, Any],
        seed: str,
        design: Design | None = None,
        columns: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._base = base
        self._seed = seed
        seed_column = None if design is None else design.seed_column
        self._seed_column = None if seed_column is None else columns.get(seed_column, seed_column)
        grid = [] if design is None else design.grid
        self._decks: list[tuple[tuple[str, ...], Deck]] = []
        self._random: list[tuple[str, Callable[[Scope, random.Random], Any]]] = []
        self.rows: int | None = None
        """The number of rows in which each combination of the grid occurs as often as it should; None without one."""
        if design is not None and grid:
            names, cards = tuple(grid), _grid(draws, design, expression, base)
            self._decks.append((names, Deck(cards, f"{seed}/design/{'/'.join(names)}")))
            self.rows = len(cards)
        for name, draw in draws.items():
            if name in grid:
                continue
            if draw.sampling == "random":
                self._random.append((name, _ready(name, draw, expression)))
                continue
            options, weights = _fixed(name, draw, expression, base)
            cards = [(card,) for card in _reported(name, partial(cards_of, options, weights))]
            once = name if draw.sampling == "unique" else None
            self._decks.append(((name,), Deck(cards, f"{seed}/design/{name}", once=once)))
        self.most_rows = min((len(deck) for _, deck in self._decks if deck.once), default=None)
        """The number of rows after which the options of a `unique` draw are used up; None if there is no such draw."""

    def of(self, index: Index, row: Mapping[str, Any]) -> dict[str, Any]:
        """Draw the values for row `index`; raises `RowError` if there is nothing to draw from."""
        drawn: dict[str, Any] = {}
        if self._decks:
            stream, position = _place(index)
            for names, deck in self._decks:
                drawn |= zip(names, deck.card(stream, position), strict=True)
        if self._random:
            rng = random.Random(f"{self._seed}/{self._seeded(index, row)}")  # noqa: S311 - no secret
            seen = {**self._base, **drawn, "draw": drawn}
            for name, draw in self._random:
                drawn[name] = seen[name] = draw(seen, rng)
        return drawn

    def _seeded(self, index: Index, row: Mapping[str, Any]) -> Index:
        """What the draws depend on: the row's index, or the value of its seed column with the path below the row."""
        if self._seed_column is None:
            return index
        value = row.get(self._seed_column)
        if value is None:
            raise RowError("draw", f"the column `{self._seed_column}`, which `design.seed_column` names, is null")
        path = str(index).partition("/")
        return f"{json.dumps(value, sort_keys=True, default=str)}{path[1]}{path[2]}"


def _place(index: Index) -> tuple[str, int]:
    """The position of a row in a design, and what separates it from other designs.

    This is the row's position in the data; inside a loop, or for a row that a step made, the number of the turn or of
    the row among its siblings.
    """
    if isinstance(index, int):
        return "", index
    *path, last = index.split("/")
    if not path or (last.isdigit() and path[-1] != SAMPLE):
        return "/".join(path), int(last)
    row, *path = [*path, last]
    return "/".join(path), int(row)


def _grid(
    draws: Mapping[str, Draw], design: Design, expression: Compile, base: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    options = {name: _fixed(name, draws[name], expression, base)[0] for name in design.grid}
    rows = design.rows
    how_often: Callable[[Mapping[str, Any]], Any] = lambda _cell: rows  # noqa: E731
    if isinstance(rows, str):
        evaluated = expression(rows, ("design", "rows"))
        how_often = lambda cell: evaluated({**base, **cell, "draw": cell})  # noqa: E731
    return _reported("design", lambda: combinations(options, how_often))


def _fixed(name: str, draw: Draw, expression: Compile, base: Mapping[str, Any]) -> tuple[Any, Any]:
    """The options and weights of a draw that belongs to a design: they are the same for all rows."""
    if draw.range is not None:
        low, high = map(int, draw.range)
        if high - low >= MAX_CARDS:
            raise UsageError(f"`draw.{name}`: a design has at most {MAX_CARDS:,} options; make the range smaller")
        return list(range(low, high + 1)), None
    made = []
    for key, value in (("options", draw.options), ("weights", draw.weights)):
        compiled = expression(value, ("draw", name, key)) if isinstance(value, str) else partial(_constant, value)
        made.append(_reported(name, partial(compiled, base)))
    options, weights = made
    return _listed(options, weights)


def _reported(name: str, make: Callable[[], T]) -> T:
    """Make something for all rows; a `RowError` becomes a `UsageError`."""
    try:
        return make()
    except RowError as error:
        place = name if name == "design" else f"draw.{name}"
        raise UsageError(f"`{place}`: {error.message}") from None


def _ready(name: str, draw: Draw, expression: Compile) -> Callable[[Scope, random.Random], Any]:
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


def _listed(options: Any, weights: Any) -> tuple[Any, Any]:
    """Options as a list, with the weights that a mapping has."""
    if isinstance(options, Mapping):
        return list(options), weights or list(options.values())
    return (options if isinstance(options, list | tuple | range) else [options]), weights


def _chosen(name: str, options: Any, weights: Any, rng: random.Random) -> Any:
    """Choose one of the options; raises `RowError` if there are none."""
    options, weights = _listed(options, weights)
    try:
        return rng.choices(options, weights)[0]
    except (ValueError, TypeError, IndexError) as error:
        raise RowError("draw", f"`{name}` can't be drawn: {error}") from None
