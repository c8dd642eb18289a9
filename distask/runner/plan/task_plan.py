"""Plan the requests of a run without sending any: the chats of the first rows and counts over all rows."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import nullcontext, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from distask.errors import RowError
from distask.llm.prices import NOTHING, Known, cost_of, known_of, least_cost_of, most_cost_of
from distask.llm.schemas.dialects import known_dialect, likely_dialect
from distask.llm.schemas.requests import SchemaFitter
from distask.llm.tokens import estimate_tokens
from distask.runner.engine.requests import Requests
from distask.runner.plan.input_check import InputCheck
from distask.runner.targets import target
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.data.input import Input
    from distask.data.row import Row
    from distask.llm.request import Completion, Message, Request
    from distask.runner.engine.requests import RowRequest
    from distask.runner.job import Job
    from distask.spec.language.model import TaskSpec
    from distask.store import Store


SHORTEST = 1
"""Minimum tokens of a reply."""
SAMPLED = 2_000
"""Number of rows to render for an estimate."""
RENDERED = 10_000
"""Inputs with at most this many rows are rendered completely."""
CONFIDENCE = 1.96
"""Standard errors on each side of an estimate that holds for 95 % of samples."""
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
    input_error: float | None = None
    """Sampling error of the prompt tokens, as a share of them, for 95 % of samples; None if all rows were rendered."""
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

    def extrapolate(self, tokens: Sequence[int], requests: int, missing: int, max_tokens: int | None) -> None:
        """Estimate the prompt tokens of all requests from a simple random sample.

        Args:
            tokens: the prompt tokens of the sampled requests.
            requests: the number of all requests.
            missing: the number of missing replies of each.
            max_tokens: their limit.
        """
        mean = sum(tokens) / len(tokens) if tokens else 0.0
        self.input_tokens = round(mean * requests)
        self._input_most = self.input_tokens * missing
        self.missing[max_tokens] += requests * missing
        self.input_error = 0.0
        if mean and len(tokens) > 1:
            unseen = max(0.0, 1 - len(tokens) / requests)  # the correction for a finite population
            from statistics import stdev  # slow to import

            self.input_error = CONFIDENCE * stdev(tokens) / mean * math.sqrt(unseen / len(tokens))

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
    estimate: CostEstimate = field(default_factory=CostEstimate)
    """Estimated cost of the missing replies."""
    failures: Counter[str] = field(default_factory=Counter)
    """Number of rows that can't be rendered, by kind of error."""
    sampled: int = 0
    """Number of rows in the sample that was rendered; 0 if all rows were."""
    estimated_failures: set[str] = field(default_factory=set)
    """Kinds of errors whose number is estimated from the sample."""
    notes: list[str] = field(default_factory=list)
    """Messages for the user about how the data is read."""

    @property
    def missing(self) -> int:
        """Number of replies that the run would request."""
        return self.completions - self.stored


def plan(job: Job, chats: int = 3, *, exact: bool = False) -> Plan:
    """Plan the requests of a run; keeps the chats of the first `chats` rows to show them.

    All rows are scanned, and their number, the errors of their inputs and the replies that they need are counted. With
    `exact`, in small inputs, and if replies are stored, all rows are rendered too. Otherwise a sample of them is, for
    the prompt tokens and for errors of templates.
    """
    assert isinstance(job.task, Task)
    endpoint_target = target(job.llm)
    spec = job.task.spec
    estimate = CostEstimate(known_of(job.llm, batch=job.batch), job.batch, spec.on_invalid.retry, tokens_of_cases(spec))
    made = Plan(endpoint_target.model, endpoint_target.endpoint, job.shape.num_generations, estimate=estimate)
    config = job.llm.config
    schemas = SchemaFitter(known_dialect(config) or likely_dialect(config.base_url or ""), made.notes.append)
    requests = Requests(job.task, endpoint_target)
    with job.open_existing_store() or nullcontext() as store:
        shares = job.task.route == "embeddings" or endpoint_target.generation.get("temperature") == 0
        may_sample = (
            not exact
            and job.selection.sample is None
            and (store is None or not store.count())
            and (not shares or job.task.renders_only_inputs())
        )
        check = InputCheck(job.task, estimate.known.context, distinct=shares) if may_sample else None
        rows = job.open_input(check)
        planner = _Planner(made, requests, schemas, chats)
        if check is None or rows.count is None or rows.count <= RENDERED:
            planner.render_all(rows, store)
        else:
            planner.render_sample(rows, check, job.task)
    made.notes += rows.notes
    return made


class _Planner:
    """Renders rows, and fills a plan with what is found."""

    def __init__(self, made: Plan, requests: Requests, schemas: SchemaFitter, chats: int) -> None:
        self._made, self._requests, self._schemas, self._chats = made, requests, schemas, chats
        self._samples = range(made.num_generations)

    def render_all(self, rows: Input, store: Store | None) -> None:
        """Render every row, and look for its replies in the store."""
        made, samples, seen = self._made, self._samples, set[bytes]()
        for row in rows:
            made.rows += 1
            try:
                asked = self._rendered(row)
            except RowError as error:
                made.failures[error.kind] += 1
                continue
            if asked.cold:
                if asked.fingerprint in seen:
                    continue
                seen.add(asked.fingerprint)
            made.completions += len(samples)
            missing = len(samples)
            if store is not None:
                found = [c for s in samples if (c := store.get(asked.key(s), asked.request.max_tokens)) is not None]
                missing -= len(found)
                for completion in found:
                    made.estimate.found(completion)
            made.stored += len(samples) - missing
            if missing:
                made.estimate.ask(asked.request, missing, row.place)

    def render_sample(self, rows: Input, check: InputCheck, task: Task) -> None:
        """Render the first rows and a sample; take the counts of rows and requests from the scan."""
        made, estimate = self._made, self._made.estimate
        assert rows.count is not None
        made.rows, made.failures = rows.count, check.failures
        for row in islice(rows, self._chats):
            with suppress(RowError):
                self._rendered(row)
        rows.draw(SAMPLED, task.seed)
        tokens: list[int] = []
        failures, max_tokens = Counter[str](), None
        for row in rows:
            made.sampled += 1
            try:
                task.check_inputs(row.values)
            except RowError:
                continue  # the scan counted it
            try:
                asked = self._rendered(row)
            except RowError as error:
                failures[error.kind] += 1
                continue
            tokens.append(estimate_tokens(asked.request.messages))
            max_tokens = asked.request.max_tokens
        usable = len(tokens) + failures.total()
        for kind, count in failures.items():
            made.failures[kind] += round(count / usable * check.rows)
        made.estimated_failures = set(failures)
        requests = round(check.requests * len(tokens) / usable) if usable else 0
        made.completions = requests * len(self._samples)
        estimate.too_long, estimate.longest = check.too_long, check.longest
        estimate.extrapolate(tokens, requests, len(self._samples), max_tokens)

    def _rendered(self, row: Row) -> RowRequest:
        """Return the request of a row; its chat is kept if it is one of the first."""
        chats = self._made.chats
        try:
            asked = self._requests.of(row.values, row.index)
        except RowError as error:
            if len(chats) < self._chats:
                chats.append(Chat(row.place, None, error=error.message))
            raise
        self._schemas.fit(asked.request.keywords)
        if len(chats) < self._chats:
            chats.append(Chat(row.place, asked.request.messages, asked.request.keywords))
        return asked
