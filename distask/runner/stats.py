"""Count what a run does: what progress shows, the summary says and `OUT.run.json` keeps."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from distask.formatting import tokens
from distask.llm.pacing.latency import Latency
from distask.llm.prices import cost_of_usage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from distask.batch_ledger import Record
    from distask.llm.config.model import Price
    from distask.llm.request import Completion
    from distask.task.steps.flow import Count

PERCENTILES = (0.5, 0.9, 0.99)
USD_DIGITS = 12
"""Decimals of a cost that is recorded: less is the error of adding floats."""


class Stats(Struct):
    """The counts of one run, kept up to date while it goes.

    A generation is one reply that the task asks for: a row has `num_generations` of them. Tokens are as the server
    counted them.
    """

    total: int | None = None
    """Rows to do; None where the source can't say."""
    rows: int = 0
    """Rows done."""
    rows_out: int = 0
    generations: int = 0
    """Generations done, good or failed."""
    completions: int = 0
    """Replies that were paid for in this run."""
    stored: int = 0
    """Replies that the store already had (or that an equal request of this run got)."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Input tokens that servers read from their caches."""
    cache_write_tokens: int = 0
    """Input tokens that servers wrote to their caches, where they bill that separately."""
    reasoning_tokens: int = 0
    """Output tokens that are reasoning."""
    cost: float = 0.0
    """USD that were spent, as far as it is known."""
    priced: bool = False
    """Whether the cost of any reply is known: by the price of its model, or because the server sends it."""
    server_costs: int = 0
    """Replies that were paid for in this run and whose cost the server sent."""
    calls: int = 0
    """HTTP exchanges, the failed ones among them."""
    retries: int = 0
    """Calls made again after a fault of the endpoint."""
    invalid_retries: int = 0
    """Replies asked for again because the one before was invalid."""
    latencies: list[Latency] = field(default_factory=list)
    """How long calls took, for each endpoint."""
    in_flight: int = 0
    ceiling: int = 0
    """How many calls may be in flight at the moment."""
    pace: str = ""
    """What holds calls back, beside the user's limits; empty where nothing does."""
    stopping: bool = False
    """Whether the run was told to stop, and only waits for what is in flight."""
    failures: Counter[str] = field(default_factory=Counter)
    """Kind of failure to the number of generations that ended in it."""
    cut: int = 0
    """Replies that ended at max_tokens."""
    dropped: int = 0
    """Generations left out because of `on_invalid: {then: drop}`."""
    skipped: int = 0
    """Input rows that could not be read and were skipped (`on_bad_row`)."""
    batches: tuple[Record, ...] = ()
    """The batches that are waited for."""
    layout: list[list[int]] | None = None
    """How many rows each input row became, as [how many, how often in a row]: by it shards are put together. None where
    nobody asks; empty where rows out are not those of single rows in."""
    adaptations: list[dict[str, str]] = field(default_factory=list)
    """How requests were changed for what the models refuse."""
    steps: list[Count] = field(default_factory=list)
    """What each step did, of a task made of tasks."""
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def seconds(self) -> float:
        """How long the run has taken so far."""
        return (self.ended if self.ended is not None else time.monotonic()) - self.started

    def end(self) -> None:
        """Stop the clock."""
        self.ended = time.monotonic()

    @property
    def failed(self) -> int:
        """Generations that failed."""
        return self.failures.total()

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds left at the rate so far; None where no one can say."""
        if self.total is None or not self.rows:
            return None
        return max(0.0, (self.total - self.rows) / self.rate)

    def lay(self, rows_out: int) -> None:
        """Note how many rows the next input row became."""
        if self.layout is None:
            return
        if self.layout and self.layout[-1][0] == rows_out:
            self.layout[-1][1] += 1
        else:
            self.layout.append([rows_out, 1])

    def paid(self, completions: Iterable[Completion], price: Price | None = None) -> None:
        """Count completions that this run paid for; a cost that the server sent wins over the price."""
        for completion in completions:
            usage = completion.usage
            self.completions += 1
            self.input_tokens += usage.input_tokens or 0
            self.output_tokens += usage.output_tokens or 0
            self.cached_tokens += usage.cached_tokens
            self.cache_write_tokens += usage.cache_write_tokens
            self.reasoning_tokens += usage.reasoning_tokens
            if usage.cost is not None:
                self.priced = True
                self.server_costs += 1
            self.cost += cost_of_usage(price, usage) or 0.0

    def reused(self, completions: Collection[Completion]) -> None:
        """Count completions from the store, which cost nothing now."""
        self.stored += len(completions)
        self.priced = self.priced or any(c.usage.cost is not None for c in completions)

    @property
    def cost_usd(self) -> float | None:
        """The cost as it is recorded; None where it is not known."""
        return round(self.cost, USD_DIGITS) if self.priced else None

    def tokens(self) -> str:
        """The counts of tokens, for people."""
        return tokens(
            self.input_tokens,
            self.output_tokens,
            cached=self.cached_tokens,
            cache_writes=self.cache_write_tokens,
            reasoning=self.reasoning_tokens,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json` and `OUT.run.json`."""
        return {
            "rows": self.rows,
            "rows_out": self.rows_out,
            "rows_skipped": self.skipped,
            "generations": self.generations,
            "failed": self.failed,
            "failures": dict(self.failures.most_common()),
            "dropped": self.dropped,
            "cut": self.cut,
            "completions": {"asked": self.completions, "stored": self.stored},
            "calls": self.calls,
            "retries": self.retries,
            "invalid_retries": self.invalid_retries,
            "tokens": {
                "input": self.input_tokens,
                "output": self.output_tokens,
                "cached": self.cached_tokens,
                "cache_writes": self.cache_write_tokens,
                "reasoning": self.reasoning_tokens,
            },
            "cost_usd": self.cost_usd,
            "seconds": round(self.seconds, 3),
            "latency_seconds": self._latency(),
            **({"steps": [_step(count) for count in self.steps]} if self.steps else {}),
        }

    @property
    def latency(self) -> Latency:
        """How long the calls took, of all endpoints."""
        return Latency.together(self.latencies)

    def _latency(self) -> dict[str, float | int | None]:
        every = self.latency
        percentiles = {f"p{round(share * 100)}": every.percentile(share) for share in PERCENTILES}
        told = {**percentiles, "max": every.longest if every.count else None}
        return {"calls": every.count, **{name: None if s is None else round(s, 4) for name, s in told.items()}}


def _step(count: Count) -> dict[str, Any]:
    return {
        "step": count.name,
        "kind": count.kind,
        "rows_in": count.came,
        "rows_out": count.went,
        "asked": count.asked,
        "skipped": count.skipped,
        "failed": count.failed,
    }
