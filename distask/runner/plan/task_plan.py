"""Plan the requests of a run without sending any: the chats of the first rows and counts over all rows."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from distask.errors import RowError
from distask.llm.prices import known_of
from distask.llm.schemas.dialects import known_dialect, likely_dialect
from distask.llm.schemas.requests import SchemaFitter
from distask.runner.engine.requests import Requests
from distask.runner.plan.cost_estimate import CostEstimate, tokens_of_cases
from distask.runner.targets import target
from distask.task.task import Task

if TYPE_CHECKING:
    from distask.llm.request import Message
    from distask.runner.job import Job


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
