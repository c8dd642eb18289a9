"""Count what a run does, for the progress display, the summary and `OUT.run.json`."""

from __future__ import annotations

import time
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from distask.data.row import weight
from distask.formatting import counted_tokens
from distask.llm.pacing.latency import Latency
from distask.llm.prices import cost_of_usage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from distask.batch_ledger import Record
    from distask.llm.config.model import Price
    from distask.llm.request import Completion
    from distask.task.steps.flow import Count

PERCENTILES = (0.5, 0.9, 0.99)
SAMPLED_ROWS = 64
RAW_INPUT = "raw_input_"
"""How the metadata's names of chats begin."""
MOST_MODELS = 256
"""Maximum number of models to record; a row can name its model."""
OTHER_MODELS = "(others)"
MOST_RUNS = 100_000
"""Maximum length of a layout that is kept only to trace rows."""
USD_DIGITS = 12
"""Decimal places of a recorded cost; the rest is rounding error."""


class ModelUse(Struct):
    """A model that a step used, and how."""

    step: str
    """The step, or the task if it has no steps."""
    endpoint: str
    model: str
    """As requested."""
    provider: str | None
    parameters: dict[str, Any]
    """The generation keywords of every request; those of single rows are not included."""
    fallback: bool
    """Whether it is used only if no reply of another model is valid."""


class Stats(Struct):
    """The counts of one run, updated while it runs.

    A generation is one reply that the task needs: a row has `num_generations` of them. Tokens are as counted by the
    server.
    """

    total: int | None = None
    """Number of rows to process; None if unknown."""
    rows: int = 0
    """Number of rows processed."""
    rows_out: int = 0
    generations: int = 0
    """Number of finished generations, good or failed."""
    completions: int = 0
    """Number of replies that this run paid for."""
    stored: int = 0
    """Number of replies that the store already had, or that an equal request of this run received."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Input tokens that servers read from their caches."""
    cache_write_tokens: int = 0
    """Input tokens that servers wrote to their caches, where they bill that separately."""
    reasoning_tokens: int = 0
    """Output tokens that are reasoning."""
    cost: float = 0.0
    """USD spent, as far as known."""
    priced: bool = False
    """Whether the cost of any reply is known, from the model's price or from the server."""
    server_costs: int = 0
    """Number of replies that this run paid for and whose cost the server sent."""
    calls: int = 0
    """Number of HTTP requests, including failed ones."""
    retries: int = 0
    """Number of calls retried after an error of the endpoint."""
    invalid_retries: int = 0
    """Number of retries because of an invalid reply."""
    latencies: list[Latency] = field(default_factory=list)
    """Call latencies of each endpoint."""
    in_flight: int = 0
    ceiling: int = 0
    """Current maximum number of calls in flight."""
    pace: str = ""
    """What slows calls down, apart from the user's limits; empty if nothing does."""
    stopping: bool = False
    """Whether the run is stopping and only waits for calls in flight."""
    failures: Counter[str] = field(default_factory=Counter)
    """Number of failed generations by kind of failure."""
    cut: int = 0
    """Number of replies truncated at max_tokens."""
    dropped: int = 0
    """Number of generations left out because of `on_invalid: {then: drop}`."""
    skipped: int = 0
    """Number of unreadable input rows that were skipped (`on_bad_row`)."""
    sampled_bytes: int = 0
    """Bytes of some output rows as JSON: those of one input row in `SAMPLED_ROWS`."""
    sampled_chat_bytes: int = 0
    """Bytes of these that are the chats which `add_raw_input` keeps."""
    batches: tuple[Record, ...] = ()
    """The batches that the run waits for."""
    layout: list[list[int]] | None = None
    """Number of output rows per input row, run-length encoded as [output rows, input rows]; used to merge shards. None
    if it is not needed; empty if output rows don't come from single input rows."""
    most_runs: int | None = None
    """Maximum length of `layout`, beyond which it is None; None for no maximum."""
    models: dict[tuple[str, ...], ModelUse] = field(default_factory=dict)
    """The models that steps use, by step, endpoint and model; at most `MOST_MODELS`."""
    served: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """Number of replies, also from the store, by step, endpoint, requested model and the model that served them."""
    adaptations: list[dict[str, str]] = field(default_factory=list)
    """How requests were changed because models refused parameters."""
    steps: list[Count] = field(default_factory=list)
    """The counts of each step of a pipeline."""
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def seconds(self) -> float:
        """Duration of the run so far."""
        return (self.ended if self.ended is not None else time.monotonic()) - self.started

    def end(self) -> None:
        """Stop the clock."""
        self.ended = time.monotonic()

    @property
    def failed(self) -> int:
        """Number of failed generations."""
        return self.failures.total()

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta(self) -> float | None:
        """Estimated seconds left at the current rate; None if unknown."""
        if self.total is None or not self.rows:
            return None
        return max(0.0, (self.total - self.rows) / self.rate)

    def lay(self, rows_out: int) -> None:
        """Record the number of output rows of the next input row."""
        if self.layout is None:
            return
        if self.layout and self.layout[-1][0] == rows_out:
            self.layout[-1][1] += 1
        elif self.most_runs is not None and len(self.layout) >= self.most_runs:
            self.layout = None
        else:
            self.layout.append([rows_out, 1])

    def note_model(self, use: ModelUse) -> None:
        """Record that a step uses a model."""
        key = use.step, use.endpoint, use.model
        if key in self.models or len(self.models) < MOST_MODELS:
            self.models[key] = use

    def note_served(self, step: str, endpoint: str, requested: str, served: str) -> None:
        """Count a reply by the model that served it; beyond `MOST_MODELS` names, they are counted together."""
        key = step, endpoint, requested, served
        if key not in self.served and len(self.served) >= MOST_MODELS:
            key = step, endpoint, requested, OTHER_MODELS
        self.served[key] += 1

    def paid(self, completions: Iterable[Completion], price: Price | None = None) -> None:
        """Count completions that this run paid for; a cost from the server overrides the price."""
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
        """Count completions from the store, which are free now."""
        self.stored += len(completions)
        if not self.priced:
            for completion in completions:
                self.priced |= completion.usage.cost is not None

    def sample_output(self, row: int, new: Mapping[str, Any]) -> None:
        """Count the bytes of an output row: `row` bytes of the input, and the columns added to it."""
        self.sampled_bytes += row + weight(new)
        self.sampled_chat_bytes += chat_bytes(new)

    @property
    def chat_share(self) -> float | None:
        """The share of the chats that `add_raw_input` keeps in the output, from a sample; None if no row is written."""
        return self.sampled_chat_bytes / self.sampled_bytes if self.sampled_bytes else None

    @property
    def cost_usd(self) -> float | None:
        """The rounded cost for records; None if unknown."""
        return round(self.cost, USD_DIGITS) if self.priced else None

    def tokens(self) -> str:
        """Format the token counts for people."""
        return counted_tokens(self)

    def to_json(self) -> dict[str, Any]:
        """Return the counts for `--json` and `OUT.run.json`."""
        return {
            "rows": self.rows,
            "rows_out": self.rows_out,
            "rows_skipped": self.skipped,
            "chat_share": None if self.chat_share is None else round(self.chat_share, 3),
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
        """Call latencies of all endpoints together."""
        return Latency.together(self.latencies)

    def _latency(self) -> dict[str, float | int | None]:
        every = self.latency
        percentiles = {f"p{round(share * 100)}": every.percentile(share) for share in PERCENTILES}
        figures = {**percentiles, "max": every.longest if every.count else None}
        return {"calls": every.count, **{name: None if s is None else round(s, 4) for name, s in figures.items()}}


def chat_bytes(columns: Mapping[str, Any]) -> int:
    """Return the bytes of the chats in the metadata of an output row."""
    parts = chain.from_iterable(value if isinstance(value, list) else [value] for value in columns.values())
    entries = chain.from_iterable(part.items() for part in parts if isinstance(part, dict))
    return sum(weight(value) for name, value in entries if name.startswith(RAW_INPUT))


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
