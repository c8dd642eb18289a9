"""Shared state of one run: its counts, first failures and end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from distask.llm.request import Failure

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from distask.llm.request import Completion
    from distask.runner.batch.deferred import Deferred
    from distask.runner.engine.budget import Budget
    from distask.runner.engine.requests import Client
    from distask.runner.stats import Stats

FAILURES_KEPT = 100


class Failed(Struct, frozen=True):
    """A failed generation, for the summary."""

    place: str
    sample: int
    kind: str
    message: str


class Shared:
    """The counts, failures and end of one run.

    Args:
        stats: the counts to update.
        budget: the cost limit; None for no limit.
    """

    def __init__(self, stats: Stats, budget: Budget | None = None) -> None:
        self.stats = stats
        self.budget = budget
        self.failures: list[Failed] = []
        self.error: BaseException | None = None
        self.equal: dict[tuple[bytes, tuple[int, ...]], asyncio.Future[dict[int, Completion | Failure]]] = {}
        """Requests in flight whose replies equal requests share, by fingerprint and samples."""
        self.clients: list[Client] = []
        self.on_halt: Callable[[], None] | None = None
        self.deferred: Deferred | None = None
        """Answers calls instead of the endpoint in a batch run."""

    def know(self, client: Client) -> None:
        """Register a client, to count its calls and to stop it when the run ends early."""
        if not any(client is known for known in self.clients):
            self.clients.append(client)
            self.stats.latencies.append(client.latency)

    def halt(self, error: BaseException) -> None:
        """Stop starting calls; only the first error is kept."""
        if self.error is None:
            self.error = error
            for client in self.clients:
                client.stop(Failure("stopped", str(error), "run"))
        if self.on_halt is not None:
            self.on_halt()

    def failed(self, place: str, sample: int, kind: str, message: str) -> None:
        """Count a failed generation and keep the first ones."""
        self.stats.failures[kind] += 1
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append(Failed(place, sample, kind, message))

    @property
    def collecting(self) -> bool:
        """Whether this run only collects requests and discards its rows."""
        return self.deferred is not None and self.deferred.collecting

    def count_calls(self) -> None:
        """Update the counts of calls."""
        stats, clients = self.stats, self.clients
        stats.calls = sum(c.calls for c in clients)
        stats.retries = sum(c.retries for c in clients)
        stats.in_flight = sum(c.in_flight for c in clients)
        stats.ceiling = sum(c.ceiling for c in clients)
        stats.pace = "; ".join(dict.fromkeys(c.pace_reason for c in clients if c.pace_reason))
        stats.adaptations = [used for c in clients for used in c.adapter.used]
