"""Read the verdicts of a judge's rows, so that those of a changed row can be compared with those of the row itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from distask.judging.scales import TIE, label_of, number_of, preference_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["label", "boolean", "number", "pair"]


class Verdict(Struct, frozen=True):
    """An output that counts as a verdict."""

    column: str
    kind: Kind
    entries: bool = False
    """Whether it is a list with an entry for each answer."""
    optional: bool = False
    """Whether null is a verdict."""
    first: Any = "A"
    """For a comparison: the value that means that the first answer is better."""
    second: Any = "B"
    descending: bool = False
    """Whether a lower number is better, as for ranks."""
    orders: str | None = None
    """For a comparison that the task makes in both orders: the output with the two verdicts, each for the same answers
    in the order of the row."""

    def read(self, row: Mapping[str, Any], *, failed: bool) -> list[Any] | None:
        """Return the verdicts of a row, one or one for each answer; None if it has none."""
        value = row.get(self.column)
        if not self.entries:
            made = self._one(value, failed=failed)
            return None if made is None else [made]
        if not isinstance(value, list):
            return None
        return [self._one(entry, failed=failed) for entry in value]

    def _one(self, value: Any, *, failed: bool) -> Any:
        if value is None:
            return "null" if self.optional and self.kind == "label" and not failed else None
        if self.kind == "number":
            return number_of(value)
        if self.kind == "pair":
            return "A" if value == self.first else "B" if value == self.second else TIE
        if isinstance(value, list):
            return ", ".join(sorted(map(label_of, value)))
        return label_of(value)

    def read_orders(self, row: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return the preferences in both orders, each for the answers in the order of the row."""
        found = row.get(self.orders or "")
        if not isinstance(found, list) or len(found) != 2:
            return None
        first, second = (None if one is None else preference_of(one) for one in found)
        return None if first is None or second is None else (first, second)

    def differ(self, one: Any, other: Any, tolerance: float) -> bool:
        """Return whether two verdicts differ; numbers by more than `tolerance`."""
        if self.kind == "number":
            return bool(abs(one - other) > tolerance + 1e-9)
        return bool(one != other)


def exchanged(preference: str) -> str:
    """Return a preference for the answers in the opposite order."""
    return {"A": "B", "B": "A"}.get(preference, preference)


def credit(preference: str, place: int) -> float:
    """Return what an answer gets from a comparison: 1 for a win, 0.5 for a tie, 0 for a loss."""
    return 0.5 if preference == TIE else float(preference == "AB"[place])


def score_of(verdict: Verdict, value: Any) -> float:
    """Return a verdict as a number, where more is better: NaN for a label, 1 for true."""
    if verdict.kind == "number":
        return -float(value) if verdict.descending else float(value)
    return float(value == "true") if verdict.kind == "boolean" else math.nan
