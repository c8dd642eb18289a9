"""Put the results of batches into the store, each under the keys that a plain run would have kept it under."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from distask.llm.adaptation import is_refusal
from distask.llm.batch_api.lines import read_result
from distask.llm.config.model import Price
from distask.llm.pacing.circuit_breaker import FIRST
from distask.llm.request import Failure
from distask.runner.engine.loop import run_loop

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from distask.batch_ledger import Ledger, Record
    from distask.llm.pacing.failure_rules import Situation
    from distask.llm.request import Completion
    from distask.runner.stats import Stats
    from distask.store import Store

AT_ONCE = 1_000
"""Results that one commit of the store holds."""

Answers = dict[bytes, "int | Failure | None"]
"""A request's key to what became of it, as `Ledger.settle` takes it."""


class Results:
    """Reads results, and keeps what they bring.

    Args:
        store: where completions are kept.
        ledger: which requests there are.
        stats: where they are counted.
        parameters: generation keywords that the requests may have; a refusal of them ends no run.
    """

    def __init__(self, store: Store, ledger: Ledger, stats: Stats, parameters: Collection[str] = ()) -> None:
        self.answers: Answers = {}
        self.fatal: Failure | None = None
        """The first failure that no request of the endpoint would escape."""
        self.strangers = 0
        """Lines that answer no request that waits."""
        self._store = store
        self._ledger = ledger
        self._stats = stats
        self._parameters = parameters
        self._ways: Counter[tuple[str, int | None, str | None]] = Counter()
        self._good = 0

    def read(self, files: Iterable[Path], records: Iterable[Record], situation: Situation) -> None:
        """Read files of results; only requests of these batches are answered."""
        prices = {r.number: None if r.price is None else Price(**r.price) for r in records}
        group: list[tuple[int | None, list[tuple[bytes, Completion]]]] = []
        for line in _lines(files):
            result = read_result(line, situation)
            key = None if result is None else _key(result.custom_id)
            entry = None if key is None else self._ledger.entry(key)
            if result is None or entry is None or entry.batch not in prices or entry.key in self.answers:
                self.strangers += 1
                continue
            if result.failure is not None:
                self._failed(entry.key, result.failure)
                continue
            self._good += 1
            completions = result.completions[: len(entry.keys)]
            self.answers[entry.key] = len(completions)
            self._stats.paid(completions, prices[entry.batch])
            group.append((entry.max_tokens, list(zip(entry.keys, completions, strict=False))))
            if len(group) >= AT_ONCE:
                self._keep(group)
                group = []
        self._keep(group)
        self._judge()

    def _failed(self, key: bytes, failure: Failure) -> None:
        if failure.scope == "run":
            self.fatal = self.fatal or failure
            self.answers[key] = None
            return
        self._ways[failure.kind, failure.status, failure.code] += 1
        self.answers[key] = failure

    def _judge(self) -> None:
        """Where all failed the same way, as a plain run's first requests would have, nothing is held against rows."""
        if self.fatal is not None or self._good or len(self._ways) != 1:
            return
        count = self._ways.total()
        if count < FIRST:
            return
        first = next(answer for answer in self.answers.values() if isinstance(answer, Failure))
        if first.scope == "row" and not is_refusal(first, self._parameters):  # the next batch adapts
            self.fatal = Failure(
                first.kind, f"all {count:,} requests failed the same way, as this one: {first.message}", "run"
            )
            self.answers = dict.fromkeys(self.answers)

    def _keep(self, group: list[tuple[int | None, list[tuple[bytes, Completion]]]]) -> None:
        async def put() -> None:
            for limit in {limit for limit, _ in group}:
                await self._store.put([pair for own, pairs in group if own == limit for pair in pairs], limit)

        if group:
            run_loop(put)


def _lines(files: Iterable[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            yield from (line for line in file if line.strip())


def _key(custom_id: str) -> bytes | None:
    try:
        return bytes.fromhex(custom_id)
    except ValueError:
        return None
