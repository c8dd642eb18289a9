"""A row on its way through steps: its columns, what is said of it, and by what its requests are known again."""

from __future__ import annotations

import hashlib
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from distask.errors import RowError

LARGE = 1 << 63
"""Occurrences from here on are made of a row's lineage; those below are counted, as in a run of one task."""


class Lineage:
    """By what a row's requests are told from equal ones of other rows, whichever is done first.

    It is made of the row that came in and of the way that it took (which item of a list, which generation), and of
    nothing that the other steps asked: another prompt in one step asks for nothing again in the others.
    """

    __slots__ = ("_seen", "asked", "fresh", "index", "key")

    def __init__(self, key: bytes, index: str, *, fresh: bool) -> None:
        self.key = key
        self.index = index
        """What its drawn values hang on."""
        self.fresh = fresh
        """Whether none was asked for what it comes from: first requests are counted, in the rows' order."""
        self.asked = False
        self._seen: dict[bytes, int] = {}

    def child(self, way: str) -> Lineage:
        """That of a row which this one becomes; `way` tells it from the others."""
        key = hashlib.blake2b(self.key + b"/" + way.encode(), digest_size=16).digest()
        return Lineage(key, f"{self.index}/{way}", fresh=self.fresh and not self.asked)

    def occurrence(self, fingerprint: bytes) -> int:
        """The place of a request among equal ones: it differs by row, and by how often this row asked the same."""
        again = self._seen.get(fingerprint, 0)
        self._seen[fingerprint] = again + 1
        digest = hashlib.blake2b(self.key + b"#%d" % again, digest_size=8).digest()
        return LARGE + int.from_bytes(digest, "big") % LARGE


MAX_STEPS = 100_000
"""Steps that one row of the input may go through, all that it became counted together."""
MAX_SECONDS = 3.0
"""Seconds of its thread's own time that the steps' expressions may take for one row of the input."""


class Spent:
    """What one row of the input has used of its steps, with all rows that it became."""

    __slots__ = ("seconds", "steps")

    def __init__(self) -> None:
        self.steps = 0
        self.seconds = 0.0

    def step(self) -> None:
        """Count a step; raises `RowError` where the row has used all that it may."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise RowError("too_much", f"the row goes through more than {MAX_STEPS:,} steps")
        if self.seconds > MAX_SECONDS:
            raise RowError("too_much", f"the steps' expressions take longer than {MAX_SECONDS:g} s for this row")


class Item(Struct):
    """A row between two steps."""

    values: dict[str, Any]
    """All of its columns, as they are now."""
    lineage: Lineage
    place: str
    """Where it came from, for messages."""
    metadata: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    """The model that was asked last."""
    failed: bool = False
    """Whether a step failed, and no step since made up for it."""
    frames: tuple[dict[str, Any], ...] = ()
    """The columns around the task that it is in, the outermost first."""
    turns: tuple[int, ...] = ()
    """Which turn of each loop it is in."""
    origins: dict[str, str] = field(default_factory=dict)
    """A column that a step renamed to what the input calls it."""
    spent: Spent = field(default_factory=Spent)
    """What it has used, together with all rows that come from the same one."""

    def child(self, values: dict[str, Any], step: str, number: int, metadata: dict[str, Any]) -> Item:
        """The row of this number that a step makes of this one."""
        way = "/".join([step, *map(str, self.turns), str(number)])
        return replace(self, values=values, lineage=self.lineage.child(way), metadata=metadata)


def side_by_side(several: list[dict[str, Any]]) -> dict[str, Any]:
    """The metadata of several turns, items or rows as one: each entry a list, null where one has none."""
    names = dict.fromkeys(name for each in several for name in each)
    return {name: [each.get(name) for each in several] for name in names}
