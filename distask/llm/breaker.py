"""End a run that can't succeed, before it has asked for every row: requests that all fail the same way."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from distask.llm.request import Failure, Request

FIRST = 20
"""Requests that may fail the same way before any succeeds."""
WINDOW = 200
"""Ends of requests that are looked back on, later."""
SHARE = 0.5
"""Of the window, that may have failed the same way."""
DATA_KINDS = frozenset({"context_length", "content_filter", "too_large", "oversize", "no_example"})
"""Failures that the rows bring with them: later in a run they are no sign that the endpoint is broken."""

HOPELESS = frozenset({"web_page"})
"""Failures of a single try that count as a request's end while nothing has succeeded: a wrong address stays wrong."""

Way = tuple[str, int | None, str | None]


class Breaker:
    """Counts how requests ended, and says when that is enough."""

    def __init__(self, first: int = FIRST, window: int = WINDOW) -> None:
        self._first = first
        self._window = window
        self._succeeded = False
        self._failed: dict[Way, set[bytes]] = {}
        self._ends: deque[Way | None] = deque(maxlen=window)

    def success(self) -> None:
        """Count a request that was answered."""
        if not self._succeeded:
            self._succeeded = True
            self._failed.clear()
        self._ends.append(None)

    def doubt(self, request: Request, failure: Failure) -> Failure | None:
        """Count a try that failed; the run's own failure where trying again has no prospect."""
        return None if self._succeeded or failure.kind not in HOPELESS else self.failure(request, failure)

    def failure(self, request: Request, failure: Failure) -> Failure | None:
        """Count a request that failed for good; the run's own failure when it is one too many of its way."""
        way = (failure.kind, failure.status, failure.code)
        if not self._succeeded:
            requests = self._failed.setdefault(way, set())
            requests.add(request.fingerprint())
            if len(requests) < self._first:
                return None
            counted = f"the first {len(requests)} requests all failed the same way"
        else:
            self._ends.append(way)
            same = self._ends.count(way)
            if failure.kind in DATA_KINDS or len(self._ends) < self._window or same < len(self._ends) * SHARE:
                return None
            counted = f"{same} of the last {len(self._ends)} requests failed the same way"
        return replace(failure, scope="run", message=f"{counted}, as this one: {failure.message}")
