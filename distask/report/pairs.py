"""Match the rows of two results: by their input columns, and by the sample where a row has several."""

from __future__ import annotations

from collections import deque
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.errors import UsageError
from distask.report.agreement import canonical
from distask.spec.diagnostics import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distask.report.result import Result, ResultRow

_Waiting = dict[tuple[Any, ...], deque["ResultRow"]]


class Pair(Struct, frozen=True):
    """A row of each result; None on one side where the other has no row like it."""

    first: ResultRow | None
    second: ResultRow | None

    @property
    def line(self) -> bytes:
        """Both rows as one JSON list."""
        sides = (b"null" if side is None else side.line for side in (self.first, self.second))
        return b"[" + b",".join(sides) + b"]"


def pairs(first: Result, second: Result, by: Sequence[str] = ()) -> Iterator[Pair]:
    """The rows of both, matched; those that are alone come last. What waits for its match is kept in memory.

    Args:
        first: a result.
        second: another.
        by: the columns that rows are matched by; none takes those that both results had as input.

    Raises:
        UsageError: there is no column to match by.
    """
    rows = [iter(first), iter(second)]
    heads = [next(of, None) for of in rows]
    names = _columns(first, second, heads, by)
    sides = [of if head is None else chain([head], of) for head, of in zip(heads, rows, strict=True)]
    waiting: tuple[_Waiting, _Waiting] = ({}, {})
    for both in zip_longest(*sides):
        for side, row in enumerate(both):
            if row is None:
                continue
            key = _key(row, names)
            other = waiting[1 - side].get(key)
            if other:
                match = other.popleft()
                yield Pair(row, match) if side == 0 else Pair(match, row)
            else:
                waiting[side].setdefault(key, deque()).append(row)
    for row in chain.from_iterable(waiting[0].values()):
        yield Pair(row, None)
    for row in chain.from_iterable(waiting[1].values()):
        yield Pair(None, row)


def _columns(
    first: Result, second: Result, heads: Sequence[ResultRow | None], by: Sequence[str]
) -> tuple[str, ...]:  # fmt: skip
    known = [() if head is None else tuple(head.values) for head in heads]
    for name in by:
        for result, names in zip((first, second), known, strict=True):
            if names and name not in names:
                close = did_you_mean(name, names) or f"it has {', '.join(f'`{n}`' for n in names)}"
                raise UsageError(f"{result.source} has no column `{name}` to match rows by; {close}")
    if by:
        return tuple(by)
    found = tuple(
        name for name in known[0] if name in known[1] and first.role(name) == second.role(name) == "input"
    )  # fmt: skip
    if not found and all(known):
        raise UsageError(
            f"no column is known as an input of both {first.name} and {second.name}, so that rows can't be matched; "
            "name those that tell rows apart, as in --by id"
        )
    return found


def _key(row: ResultRow, names: Sequence[str]) -> tuple[Any, ...]:
    sample = 0 if row.grouped or not row.replies else row.replies[0].sample or 0
    values = (row.values.get(name) for name in names)
    return (sample, *(value if isinstance(value, str) else canonical(value) for value in values))
