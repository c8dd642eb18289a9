"""Count how far the replies to one input row agree, column by column."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from distask.report.columns import drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=str)


def canonical(value: Any) -> str:
    """Return a text that is the same for equal values."""
    return _ENCODER.encode(value)


class AgreementTally:
    """Count one column over groups of replies.

    Failed replies do not count. A group counts if at least two replies have a value.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._shares: list[float | None] = []
        """For each row on the page so far: the share of its group's replies that gave the most common value."""
        self._same: Counter[int] = Counter()
        self._distinct: Counter[int] = Counter()
        self._groups = self._agreed = 0
        self._share_sum = self._range_sum = 0.0
        self._ranged = 0

    def add(self, values: Sequence[Any], first: int, rows: int) -> None:
        """Count a group with `rows` rows on the page, starting at row `first`."""
        self._shares.extend([None] * (first - len(self._shares)))
        given = [value for value in values if value is not None]
        if len(given) < 2:
            self._shares.extend([None] * rows)
            return
        counted = Counter(canonical(value) for value in given)
        most = max(counted.values())
        share = most / len(given)
        self._shares.extend([round(share, 4)] * rows)
        self._groups += 1
        self._agreed += most == len(given)
        self._same[most] += 1
        self._distinct[len(counted)] += 1
        self._share_sum += share
        numbers = [drawn(v) for v in given if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) == len(given) and not any(map(math.isnan, numbers)):
            self._ranged += 1
            self._range_sum += max(numbers) - min(numbers)

    def facts(self) -> dict[str, Any] | None:
        """Return the statistics; None if no group had two replies with a value."""
        if not self._groups:
            return None
        return {
            "name": self.name,
            "groups": self._groups,
            "agreed": self._agreed,
            "mean_share": self._share_sum / self._groups,
            "same": _in_order(self._same),
            "distinct": _in_order(self._distinct),
            "mean_range": self._range_sum / self._ranged if self._ranged == self._groups else None,
        }

    def of_rows(self, rows: int) -> list[float | None]:
        """Return the share for each row on the page."""
        return [*self._shares, *[None] * (rows - len(self._shares))]


def _in_order(counted: Counter[int]) -> list[dict[str, int]]:
    return [{"of": of, "groups": counted[of]} for of in sorted(counted, reverse=True)]
