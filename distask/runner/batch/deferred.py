"""Collect a run's requests for batches instead of sending them.

A batch run repeats a normal run in rounds. Each round reads replies from the store, puts missing requests into batches
and waits for them. Retries of invalid replies and later steps of a row follow in later rounds, once the store has the
reply that they depend on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from distask.batch_ledger import SHORT, Entry, Ledger
from distask.llm.prices import known_of
from distask.llm.request import CallFailed, Failure
from distask.runner.engine.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from distask.data.row import Row
    from distask.llm.config.model import Price
    from distask.llm.request import Request
    from distask.runner.batch.parts import Parts
    from distask.runner.engine.requests import RowRequest, Target
    from distask.runner.stats import Stats

TRIES = 3
"""Maximum number of batches to try a request in before its row fails; each batch may take a day."""
WAITS = Failure("in_batch", "the request is in a batch that is not back yet", "row")
NOT_ASKED = Failure("not_asked", "the input was changed while batches were waited for: this was not asked", "row")
ONE_BY_ONE = frozenset({"n_refused", SHORT.kind})
"""Failures that mean that the server does not support n above 1."""


class Deferred:
    """Answers calls with "not yet" or with the failure of the request in a batch.

    Args:
        ledger: tracks requests in batches and their failures.
        parts: collects requests; None to stop collecting.
        limit: what may be spent; None for no limit.
        unwritten: requests that could not be written, by the keys of their first samples.
    """

    def __init__(
        self,
        ledger: Ledger,
        parts: Parts | None,
        limit: Money | None = None,
        unwritten: dict[bytes, Failure] | None = None,
    ) -> None:
        self.waiting: set[int] = set()
        """Batches that contain requests of this run."""
        self.left = 0
        """Number of requests left out for lack of room or budget."""
        self.failed: list[bytes] = []
        """Keys of requests that failed for good."""
        self.unwritten = {} if unwritten is None else unwritten
        self._ledger = ledger
        self._parts = parts
        self._limit = limit

    @property
    def collecting(self) -> bool:
        """Whether requests are being collected."""
        return self._parts is not None

    def answers(self, target: Target, asked: RowRequest, samples: Sequence[int], attempt: int) -> dict[int, Failure]:
        """Return a failure for each of a request's samples."""
        answers: dict[int, Failure] = {}
        for group in target.client.groups(samples):
            entry = self._ledger.entry(asked.key(group[0], attempt))
            alone = entry is not None and entry.failure is not None and entry.failure.kind in ONE_BY_ONE
            for some in [[sample] for sample in group] if alone else [group]:
                answers |= dict.fromkeys(some, self._answer(target, asked, some, attempt))
        return answers

    def _answer(self, target: Target, asked: RowRequest, samples: Sequence[int], attempt: int) -> Failure:
        keys = tuple(asked.key(sample, attempt) for sample in samples)
        entry = self._ledger.entry(keys[0])
        tries = 0
        if entry is not None:
            if entry.batch is not None:
                self.waiting.add(entry.batch)
                return WAITS
            learnt = entry.failure is not None and entry.failure.kind in ONE_BY_ONE and len(entry.keys) > len(keys)
            tries = 0 if learnt or entry.failure is None else entry.tries
            last = self._parts is None or tries >= TRIES
            if entry.failure is not None and not learnt and (last or not self._may_try_again(target, asked, entry)):
                self.failed.append(keys[0])
                return _final(entry.failure, tries)
        if self._parts is None:
            return self.unwritten.get(keys[0], NOT_ASKED)
        if keys[0] in self._parts:
            return WAITS
        try:
            entry = Entry(keys[0], keys, asked.request.max_tokens, tries + 1)
            return self._written(target, asked.seeded(samples[0], attempt), entry)
        except CallFailed as error:
            self.unwritten[keys[0]] = error.failure
            return error.failure

    def _may_try_again(self, target: Target, asked: RowRequest, entry: Entry) -> bool:
        """Whether to retry a failed request in the next batch."""
        assert entry.failure is not None
        if entry.failure.scope == "retry":
            return True
        failure = target.client.adapter.learn(asked.request, entry.failure)
        if failure is not None and failure.scope == "run":
            raise CallFailed(failure)
        return failure is None

    def _written(self, target: Target, request: Request, entry: Entry) -> Failure:
        assert self._parts is not None
        samples = len(entry.keys)
        if not self._parts.has_room or (self._limit is not None and not self._limit.takes(request, samples, target)):
            self.left += 1
            return WAITS
        self._parts.add(target, entry, target.client.adapter.fit(request))
        return WAITS


class Money:
    """The budget that `--max-cost` leaves for batches.

    Args:
        most: the limit in USD.
        stats: counts what was spent.
    """

    def __init__(self, most: float, stats: Stats) -> None:
        self._budget = Budget(most, stats)
        self._stats = stats
        self._planned = 0.0
        self._prices: dict[tuple[str, str], Price | None] = {}

    def begin(self) -> None:
        """Start a round: planned costs of the previous round are now either counted or not spent."""
        self._planned = 0.0

    def takes(self, request: Request, samples: int, target: Target) -> bool:
        """Reserve the cost of a request if the budget allows it; returns whether it does."""
        kind = (target.endpoint, target.model)
        if kind not in self._prices:
            assert target.llm is not None
            self._prices[kind] = known_of(target.llm, batch=True).price
        price = self._prices[kind]
        amount = 0.0 if price is None else self._budget.most_of(request, samples, price)
        if self._stats.cost + self._planned + amount > self._budget.most:
            return False
        self._planned += amount
        return True


class NullWriter:
    """A writer that discards rows, used while requests are collected."""

    partial: Path | None = None
    checksum: str | None = None

    def __init__(self) -> None:
        self.notes: list[str] = []

    def write(self, row: Row, new: Mapping[str, Any]) -> None:
        """Do nothing."""

    def commit(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


def _final(failure: Failure, tries: int) -> Failure:
    more = f" (tried in {tries} batches)" if tries > 1 else ""
    return replace(failure, scope="row", message=failure.message + more)
