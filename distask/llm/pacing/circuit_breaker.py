"""End a run that can't succeed before it has sent every row."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from distask.llm.request import Failure, Request

FIRST = 20
"""Number of requests that may fail before any succeeds."""
STREAK = 200
"""Number of requests that may fail after the last success, among those begun since then."""
WINDOW = 200
"""Number of recent rows to check."""
SHARE = 0.5
"""Share of these rows that may fail the same way."""
DATA_KINDS = frozenset({"context_length", "content_filter", "too_large", "oversize", "no_example"})
"""Failures caused by the rows: later in a run they are no sign of a broken endpoint."""
COSTLY_KINDS = frozenset({"bad_reply", "web_page", "timeout"})
"""Failures that may be billed: each request counts, not only the last one for its row."""
STARTING_STATUSES = frozenset({502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Statuses that servers and gateways send while a model loads; waiting is worthwhile."""

Way = tuple[str, int | None, str | None]


class Breaker:
    """Counts how requests end, and decides when to end the run."""

    def __init__(self) -> None:
        self._succeeded_at: float | None = None
        self._failed = 0
        self._bad: set[bytes] = set()
        self._ways: set[Way] = set()
        """How requests failed since the last success."""
        self._ends: deque[Way | None] = deque(maxlen=WINDOW)

    def success(self, now: float) -> None:
        """Count a successful request."""
        self._succeeded_at = now
        self._failed = 0
        self._ways.clear()
        self._bad.clear()
        self._ends.append(None)

    def failure(self, request: Request, failure: Failure, begun: float, *, is_final: bool) -> Failure | None:
        """Count a failed request, begun at `begun`; returns the run's failure if it is one too many.

        Args:
            request: what was sent; the samples of one bad row count once.
            failure: what went wrong.
            begun: when the request was sent.
            is_final: whether its row fails too; otherwise it is retried.
        """
        if self._succeeded_at is None:
            if failure.scope == "row":
                fingerprint = request.fingerprint()
                if fingerprint in self._bad:
                    return None
                self._bad.add(fingerprint)
            return self._count(failure, FIRST) if is_final or _counts_at_once(failure) else None
        if failure.kind in COSTLY_KINDS and begun > self._succeeded_at:
            ended = self._count(failure, STREAK)
            if ended is not None:
                return ended
        return self._look_back(failure) if is_final else None

    def _look_back(self, failure: Failure) -> Failure | None:
        """Count a failed row; returns the run's failure if too many recent rows failed the same way."""
        way = _way(failure)
        self._ends.append(way)
        same = self._ends.count(way)
        if failure.kind in DATA_KINDS or len(self._ends) < WINDOW or same < len(self._ends) * SHARE:
            return None
        return _ends_run(failure, f"{same} of the last {len(self._ends)} requests failed the same way")

    def _count(self, failure: Failure, most: int) -> Failure | None:
        self._failed += 1
        self._ways.add(_way(failure))
        if self._failed < most:
            return None
        which = "first" if self._succeeded_at is None else "last"
        how = "failed the same way" if len(self._ways) == 1 else "failed"
        return _ends_run(failure, f"the {which} {self._failed} requests all {how}")


def _counts_at_once(failure: Failure) -> bool:
    """Return whether a request that will be retried counts before the first success."""
    is_plain = failure.kind in ("server_error", "connection") and failure.status not in STARTING_STATUSES
    return is_plain or failure.kind in COSTLY_KINDS


def _way(failure: Failure) -> Way:
    return failure.kind, failure.status, failure.code


def _ends_run(failure: Failure, counted: str) -> Failure:
    return replace(failure, scope="run", message=f"{counted}, like this one: {failure.message}")
