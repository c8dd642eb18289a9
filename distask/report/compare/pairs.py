"""Match the rows of two results by their input columns, and by sample if a row has several."""

from __future__ import annotations

from hashlib import blake2b
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from msgspec import Struct

from distask.diagnostics import did_you_mean
from distask.errors import UsageError
from distask.report.compare.agreement import canonical
from distask.report.compare.waiting import WaitingRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distask.report.result import Result, ResultRow


class Pair(Struct, frozen=True):
    """A row of each result; None on one side if the other has no matching row."""

    first: ResultRow | None
    second: ResultRow | None

    @property
    def line(self) -> bytes:
        """Return both rows as one JSON list."""
        sides = (b"null" if side is None else side.line for side in (self.first, self.second))
        return b"[" + b",".join(sides) + b"]"

    @property
    def size(self) -> int:
        """Bytes of both rows."""
        first, second = self.first, self.second
        return (0 if first is None else len(first.line)) + (0 if second is None else len(second.line))


def pairs(first: Result, second: Result, by: Sequence[str] = ()) -> Iterator[Pair]:
    """Yield the matched rows of both results; rows without a match come last.

    The results are read side by side. A row whose match has not come yet waits, in bounded memory.

    Args:
        first: a result.
        second: another.
        by: the columns to match rows by; empty for the columns that both results had as input.

    Raises:
        UsageError: there is no column to match by.
    """
    rows = [iter(first), iter(second)]
    heads = [next(of, None) for of in rows]
    names = _columns(first, second, heads, by)
    sides = [of if head is None else chain([head], of) for head, of in zip(heads, rows, strict=True)]
    with WaitingRows() as of_first, WaitingRows() as of_second:
        for before, after in zip_longest(*sides):
            if before is not None:
                key = _key(before, names)
                match = of_second.take(key)
                if match is None:
                    of_first.add(key, before)
                else:
                    yield Pair(before, match)
            if after is not None:
                key = _key(after, names)
                match = of_first.take(key)
                if match is None:
                    of_second.add(key, after)
                else:
                    yield Pair(match, after)
        for row in of_first.rest():
            yield Pair(row, None)
        for row in of_second.rest():
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
            f"{first.name} and {second.name} have no known input column in common, so rows can't be matched; "
            "name the columns that identify a row, such as --by id"
        )
    return found


def _key(row: ResultRow, names: Sequence[str]) -> bytes:
    """A hash of what a row is matched by: the sample, and the values of some columns."""
    sample = 0 if row.grouped or not row.replies else row.replies[0].sample or 0
    parts = [f"{sample};"]
    for name in names:
        value = row.values.get(name)
        text = value if type(value) is str else str(value) if type(value) is int else canonical(value)
        parts.append(f"{len(text)}:{text}")
    return blake2b("".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
