"""A row in a task of steps: its columns, its metadata, and the identity of its requests."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from distask.errors import RowError

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGE = 1 << 63
"""Occurrences from here on come from a row's lineage; lower ones are counted, as in a run of a single task."""


class Lineage(Struct):
    """Separates a row's requests from equal requests of other rows, whichever finishes first.

    It depends only on the input row and its path (which item of a list, which generation), and not on the requests of
    other steps: if the prompt of one step changes, the requests of the others are not repeated.
    """

    _key: bytes | tuple[Lineage | bytes, str, int | str]
    """The key, or what it is computed from when it is needed: the parent or its key, and the two parts of the way."""
    _index: str | None
    """See `index`; None for that of the parent and the way."""
    fresh: bool
    """Whether no request was made for its ancestors: first requests are counted in row order."""
    asked: bool = False
    """Whether a request was made for the row."""
    _seen: dict[bytes, int] | None = None
    """How often each fingerprint was requested."""

    @property
    def key(self) -> bytes:
        """The 16 bytes that identify the row."""
        if isinstance(self._key, tuple):
            parent, way, number = self._key
            above = parent if isinstance(parent, bytes) else parent.key
            self._index = self.index  # which needs the way
            self._key = hashlib.blake2b(above + f"/{way}{number}".encode(), digest_size=16).digest()
        return self._key

    @property
    def index(self) -> str:
        """The row index for drawn values."""
        if self._index is None:
            assert isinstance(self._key, tuple)
            parent, way, number = self._key
            assert isinstance(parent, Lineage)
            self._index = f"{parent.index}/{way}{number}"
        return self._index

    def child(self, way: str) -> Lineage:
        """The lineage of a derived row; `way` identifies it among its siblings."""
        return Lineage((self, way, ""), None, self.fresh and not self.asked)

    def occurrence(self, fingerprint: bytes) -> int:
        """The number of a request among equal ones: unique to the row and to each repetition in it."""
        if self._seen is None:
            self._seen = {}
        again = self._seen.get(fingerprint, 0)
        self._seen[fingerprint] = again + 1
        digest = hashlib.blake2b(self.key + b"#%d" % again, digest_size=8).digest()
        return LARGE + int.from_bytes(digest, "big") % LARGE

    def packed(self) -> tuple[Any, ...]:
        """Its state as plain values, the arguments of this class; the parent is only a key in it."""
        index, key = self.index, self._key
        if isinstance(key, tuple) and isinstance(key[0], Lineage):
            key = (key[0].key, *key[1:])
        return key, index, self.fresh, self.asked, self._seen


MAX_STEPS = 100_000
"""Maximum steps for one input row, including all rows derived from it."""
MAX_SECONDS = 3.0
"""Maximum CPU seconds for the expressions of all steps, per input row."""
UNCOUNTED_SECONDS = 0.1
"""Seconds for these expressions, by the clock of the wall, before their CPU seconds are counted."""


class Spent:
    """The steps and time used by one input row, including all rows derived from it."""

    __slots__ = ("elapsed", "seconds", "steps")

    def __init__(self, steps: int = 0, seconds: float = 0.0) -> None:
        self.steps = steps
        self.seconds = seconds
        self.elapsed = 0.0

    def has_room(self, steps: int) -> bool:
        """Return whether so many more steps are within the limits."""
        return self.steps + steps <= MAX_STEPS and self.seconds <= MAX_SECONDS

    def step(self) -> None:
        """Count a step; raises `RowError` if the row exceeds a limit."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise RowError("too_much", f"the row goes through more than {MAX_STEPS:,} steps")
        if self.seconds > MAX_SECONDS:
            raise RowError("too_much", f"the steps' expressions take longer than {MAX_SECONDS:g} s for this row")


class Item(Struct):
    """A row between two steps."""

    values: dict[str, Any]
    """Its current columns."""
    lineage: Lineage
    place: str
    """Its origin, for messages."""
    metadata: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    """The model used last."""
    failed: bool = False
    """Whether a step failed, and no later step recovered."""
    rejected: int | None = None
    """The number of enclosing tasks when a `check` failed: the innermost of them has no outputs for the row."""
    frames: tuple[dict[str, Any], ...] = ()
    """The outer columns of each enclosing task, outermost first."""
    turns: tuple[int, ...] = ()
    """The current turn of each enclosing loop."""
    origins: dict[str, str] = field(default_factory=dict)
    """Renamed column to its name in the input."""
    spent: Spent = field(default_factory=Spent)
    """Usage, shared by all rows from the same input row."""

    def child(self, values: dict[str, Any], step: str, number: int, metadata: dict[str, Any]) -> Item:
        """The derived row with this number from a step."""
        way = "/".join([step, *map(str, self.turns), str(number)])
        return replace(self, values=values, lineage=self.lineage.child(way), metadata=metadata)

    def children(self, several: Iterable[dict[str, Any]], step: str) -> list[Item]:
        """The derived rows from a step, one for each of `several` columns, with copies of the metadata."""
        way = "/".join([step, *map(str, self.turns), ""])
        parent, metadata = self.lineage, self.metadata
        fresh = parent.fresh and not parent.asked
        place, model, failed, rejected = self.place, self.model, self.failed, self.rejected
        frames, turns, origins, spent = self.frames, self.turns, self.origins, self.spent
        return [
            Item(
                values, Lineage((parent, way, number), None, fresh), place, metadata.copy(), model, failed, rejected,
                frames, turns, origins, spent,
            )
            for number, values in enumerate(several)
        ]  # fmt: skip

    def packed(self) -> tuple[Any, ...]:
        """Its state as plain values, to store it; the columns come first, then those of the enclosing tasks."""
        return (
            self.values,
            self.frames,
            self.lineage.packed(),
            self.place,
            self.metadata,
            self.model,
            self.failed,
            self.rejected,
            self.turns,
            self.origins,
            self.spent.steps,
            self.spent.seconds,
        )

    @classmethod
    def unpacked(cls, packed: tuple[Any, ...]) -> Item:
        """Restore a row from the output of `packed`."""
        values, frames, lineage, place, metadata, model, failed, rejected, turns, origins, steps, seconds = packed
        spent = Spent(steps, seconds)
        return cls(values, Lineage(*lineage), place, metadata, model, failed, rejected, frames, turns, origins, spent)


def side_by_side(several: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge the metadata of several turns, items or rows into lists, with null for missing entries."""
    names = dict.fromkeys(name for each in several for name in each)
    return {name: [each.get(name) for each in several] for name in names}
