"""Store batch results under the same keys as a normal run."""

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
"""Number of results per commit to the store."""

_Found = tuple[tuple[int | None, int | None], "list[tuple[bytes, Completion]]"]
"""The limit and the source of completions, and the completions by key."""

Answers = dict[bytes, "int | Failure | None"]
"""Outcomes by request key, for `Ledger.settle`."""


class Results:
    """Reads batch results and stores their completions.

    Args:
        store: stores the completions.
        ledger: tracks the requests.
        stats: counts the completions.
        parameters: generation keywords of the requests; if the server refuses one, the run continues.
    """

    def __init__(self, store: Store, ledger: Ledger, stats: Stats, parameters: Collection[str] = ()) -> None:
        self.answers: Answers = {}
        self.fatal: Failure | None = None
        """The first failure that affects every request to the endpoint."""
        self.strangers = 0
        """Number of lines that match no open request."""
        self._store = store
        self._ledger = ledger
        self._stats = stats
        self._parameters = parameters
        self._ways: Counter[tuple[str, int | None, str | None]] = Counter()
        self._good = 0

    def read(self, files: Iterable[Path], records: Iterable[Record], situation: Situation) -> None:
        """Read result files; ignores results of other batches."""
        records = list(records)
        prices = {r.number: None if r.price is None else Price(**r.price) for r in records}
        sources = {r.number: self._store.source(r.task, r.endpoint, r.model, r.price) for r in records}
        group: list[_Found] = []
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
            origin = entry.max_tokens, sources[entry.batch]
            group.append((origin, list(zip(entry.keys, completions, strict=False))))
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
        """If all requests failed the same way, end the run instead of failing every row."""
        if self.fatal is not None or self._good or len(self._ways) != 1:
            return
        count = self._ways.total()
        if count < FIRST:
            return
        first = next(answer for answer in self.answers.values() if isinstance(answer, Failure))
        if first.scope == "row" and not is_refusal(first, self._parameters):  # else the next batch adapts
            self.fatal = Failure(
                first.kind, f"all {count:,} requests failed the same way, as this one: {first.message}", "run"
            )
            self.answers = dict.fromkeys(self.answers)

    def _keep(self, group: list[_Found]) -> None:
        async def put() -> None:
            for origin in {origin for origin, _ in group}:
                await self._store.put([pair for own, pairs in group if own == origin for pair in pairs], *origin)

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
