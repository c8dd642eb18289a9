"""Plan the requests of a run without sending any: the chats of the first rows and counts over all rows."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from distask.errors import RowError
from distask.llm.prices import NOTHING, Known, cost_of, known_of, least_cost_of, most_cost_of
from distask.llm.schemas.dialects import known_dialect, likely_dialect
from distask.llm.schemas.requests import SchemaFitter
from distask.llm.tokens import estimate_tokens
from distask.runner.engine.requests import Requests
from distask.runner.targets import target
from distask.task.task import Task

if TYPE_CHECKING:
    from distask.llm.request import Completion, Message, Request
    from distask.runner.job import Job
    from distask.spec.language.model import TaskSpec


SHORTEST = 1
"""Minimum tokens of a reply."""
PLACES_KEPT = 3


class CostEstimate(Struct):
    """Tokens and cost of the missing replies; prompt tokens are estimated from the length of the text."""

    known: Known = NOTHING
    batch: bool = False
    """Whether the run would use the batch API."""
    retries: int = 0
    """Maximum number of retries of an invalid reply."""
    from_cases: int | None = None
    """Mean tokens of the replies in the spec's test cases."""
    input_tokens: int = 0
    missing: Counter[int | None] = field(default_factory=Counter)
    """Number of missing replies by max_tokens."""
    too_long: int = 0
    """Number of rows whose chat exceeds the model's context."""
    longest: list[tuple[str, int]] = field(default_factory=list)
    """The first of these rows: place and tokens."""
    _input_most: int = 0
    """Prompt tokens if the server returns one reply per call, so that each reply needs its own prompt."""
    _seen: int = 0
    _seen_tokens: int = 0

    def found(self, completion: Completion) -> None:
        """Use a stored reply for the estimate."""
        if completion.usage.output_tokens is not None:
            self._seen += 1
            self._seen_tokens += completion.usage.output_tokens

    def ask(self, request: Request, missing: int, place: str) -> None:
        """Count the missing replies of a request."""
        tokens = estimate_tokens(request.messages)
        self.input_tokens += tokens
        self._input_most += tokens * missing
        self.missing[request.max_tokens] += missing
        if self.known.context is not None and tokens > self.known.context:
            self.too_long += 1
            if len(self.longest) < PLACES_KEPT:
                self.longest.append((place, tokens))

    @property
    def output_limit(self) -> int | None:
        """Maximum tokens of the missing replies; None if a request has no max_tokens."""
        if any(limit is None and count for limit, count in self.missing.items()):
            return None
        return sum((limit or 0) * count for limit, count in self.missing.items())

    @property
    def basis(self) -> str:
        """The basis of the expected tokens; empty if there is none."""
        if self._seen:
            return f"from {self._seen:,} replies in the store" if self._seen > 1 else "from 1 reply in the store"
        if self.from_cases is not None:
            return "from the test cases"
        return "half of max_tokens" if self.output_limit is not None else ""

    @property
    def output_expected(self) -> int | None:
        """Expected tokens of the missing replies; None without a basis."""
        if not self.basis:
            return None
        each = self._seen_tokens / self._seen if self._seen else self.from_cases
        total = 0.0
        for limit, count in self.missing.items():
            expected = (limit or 0) / 2 if each is None else each
            total += count * (expected if limit is None else min(expected, limit))
        return round(total)

    def costs(self) -> dict[str, float | None] | None:
        """Return USD as `least`, `expected` and `most`, each None if unknown; returns None without a price."""
        price = self.known.price
        if price is None:
            return None
        least = least_cost_of(price, self.input_tokens, SHORTEST * self.missing.total())
        expected = None if self.output_expected is None else cost_of(price, self.input_tokens, self.output_expected)
        limit, times = self.output_limit, 1 + self.retries
        most = None if limit is None else most_cost_of(price, self._input_most * times, limit * times)
        return {"least": least, "expected": expected, "most": most}


def tokens_of_cases(spec: TaskSpec) -> int | None:
    """Return the mean tokens of the replies in test cases that expect columns."""
    texts = [
        case.reply if isinstance(case.reply, str) else str(case.reply.get("text") or "")
        for case in spec.cases
        if case.expect is not None
    ]
    return round(sum(map(estimate_tokens, texts)) / len(texts)) if texts else None


class Chat(Struct, frozen=True):
    """The request that one row would send."""

    place: str
    messages: list[Message] | None
    """None if the row can't be rendered; see `error`."""
    keywords: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


class Plan(Struct):
    """The planned requests of a run."""

    model: str
    endpoint: str
    num_generations: int
    chats: list[Chat] = field(default_factory=list)
    rows: int = 0
    completions: int = 0
    """Number of replies that the run needs."""
    stored: int = 0
    """Number of these replies in the store."""
    reckoning: CostEstimate = field(default_factory=CostEstimate)
    """Estimated cost of the missing replies."""
    failures: Counter[str] = field(default_factory=Counter)
    """Number of rows that can't be rendered, by kind of error."""
    notes: list[str] = field(default_factory=list)
    """Messages for the user about how the data is read."""

    @property
    def missing(self) -> int:
        """Number of replies that the run would request."""
        return self.completions - self.stored


def plan(job: Job, chats: int = 3) -> Plan:
    """Render every row and check the store; keeps the chats of the first `chats` rows to show them."""
    assert isinstance(job.task, Task)
    endpoint_target = target(job.llm)
    spec = job.task.spec
    reckoning = CostEstimate(
        known_of(job.llm, batch=job.batch), job.batch, spec.on_invalid.retry, tokens_of_cases(spec)
    )
    made = Plan(endpoint_target.model, endpoint_target.endpoint, job.shape.num_generations, reckoning=reckoning)
    config = job.llm.config
    schemas = SchemaFitter(known_dialect(config) or likely_dialect(config.base_url or ""), made.notes.append)
    requests, samples, seen = Requests(job.task, endpoint_target), range(job.shape.num_generations), set[bytes]()
    with job.open_existing_store() or nullcontext() as store:
        rows = job.open_input()
        for row in rows:
            made.rows += 1
            try:
                asked = requests.of(row.values, row.index)
            except RowError as error:
                made.failures[error.kind] += 1
                if len(made.chats) < chats:
                    made.chats.append(Chat(row.place, None, error=error.message))
                continue
            request = asked.request
            schemas.fit(request.keywords)
            if len(made.chats) < chats:
                made.chats.append(Chat(row.place, request.messages, request.keywords))
            if asked.cold:
                if asked.fingerprint in seen:
                    continue
                seen.add(asked.fingerprint)
            made.completions += len(samples)
            missing = len(samples)
            if store is not None:
                found = [c for s in samples if (c := store.get(asked.key(s), request.max_tokens)) is not None]
                missing -= len(found)
                for completion in found:
                    reckoning.found(completion)
            made.stored += len(samples) - missing
            if missing:
                reckoning.ask(request, missing, row.place)
    made.notes += rows.notes
    return made
