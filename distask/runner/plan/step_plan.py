"""Plan the requests of a pipeline without sending any: from stored replies, then from a rehearsal.

Each row advances with stored replies until one is missing. The requests after that are unknown. The steps' loops set
the maximum, and a rehearsal of the first rows with simulated replies gives an estimate.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct, field

from distask.errors import RowError
from distask.llm.prices import Known, most_cost_of
from distask.llm.schemas.dialects import known_dialect, likely_dialect
from distask.llm.schemas.requests import SchemaFitter
from distask.llm.tokens import estimate_tokens
from distask.runner.engine.shared import Shared
from distask.runner.engine.step_calls import StepCalls, Targets
from distask.runner.engine.steps import Steps
from distask.runner.plan.task_plan import Chat
from distask.runner.stats import Stats
from distask.task.pipeline import Pipeline
from distask.task.steps.rehearsal import rehearse

if TYPE_CHECKING:
    from distask.llm.request import Completion
    from distask.runner.job import Job
    from distask.task.steps.flow import Ask, Count

REHEARSED = 20
"""Number of rows to rehearse: they go through all steps with simulated replies."""


class StepPlan(Struct):
    """The planned requests of one step."""

    count: Count
    model: str = ""
    replies: int = 0
    """Number of replies that the rehearsed rows needed."""
    input_tokens: int = 0
    output_tokens: int = 0
    """Sum of the max_tokens of the simulated replies."""
    unlimited: bool = False
    known: Known = field(default_factory=Known)
    """Known facts about the model."""


class PipelinePlan(Struct):
    """The planned requests of a pipeline."""

    model: str
    endpoint: str
    counts: list[Count]
    num_generations: int
    calls_model: bool = True
    chats: list[tuple[str, Chat]] = field(default_factory=list)
    """The first request of each of the first rows, with its step's name."""
    rows: int = 0
    rehearsed: int = 0
    stored: int = 0
    """Number of stored replies, as far as rows can advance with them."""
    done: int = 0
    """Number of rows with all replies in the store, up to the first step that waits for all rows."""
    failed: int = 0
    """Number of steps that fail without a new reply: a template, column or stored reply is invalid."""
    steps: dict[str, StepPlan] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    """Number of failed steps of the rehearsed rows by kind of error; some have simulated replies."""
    notes: list[str] = field(default_factory=list)
    """Messages for the user about how the data is read."""

    @property
    def most(self) -> int | None:
        """Maximum number of replies needed; None if it depends on the rows."""
        each = [count.most for count in self.counts]
        known = [most for most in each if most is not None]
        return sum(known) * self.rows * self.num_generations if len(known) == len(each) else None

    @property
    def expected(self) -> float:
        """Expected number of replies, extrapolated from the rehearsed rows."""
        return self._scaled(sum(step.replies for step in self.steps.values()))

    @property
    def input_tokens(self) -> int:
        """Expected prompt tokens, extrapolated from the rehearsed rows."""
        return round(self._scaled(sum(step.input_tokens for step in self.steps.values())))

    @property
    def output_tokens(self) -> int | None:
        """Maximum reply tokens, extrapolated from the rehearsed rows; None if a request has no max_tokens."""
        if any(step.unlimited for step in self.steps.values()):
            return None
        return round(self._scaled(sum(step.output_tokens for step in self.steps.values())))

    def cost(self) -> float | None:
        """Estimate the cost in USD from the rehearsed rows, with replies of maximum length; None if unknown."""
        total = 0.0
        for step in self.steps.values():
            if step.known.price is None or step.unlimited:
                return None
            total += most_cost_of(step.known.price, step.input_tokens, step.output_tokens)
        return self._scaled(total)

    def _scaled(self, figure: float) -> float:
        return figure * self.rows * self.num_generations / self.rehearsed if self.rehearsed else 0.0


def plan_steps(job: Job, chats: int = 3) -> PipelinePlan:
    """Advance every row with stored replies, and rehearse the first rows to their end."""
    assert isinstance(job.task, Pipeline)
    pipeline = job.task.again()
    stats = Stats()
    shared = Shared(stats)
    targets = Targets(job.llm, shared, need_key=False)
    made = PipelinePlan(
        job.llm.config.model or "",
        job.llm.endpoint(),
        pipeline.counts,
        job.shape.num_generations,
        pipeline.calls_model,
    )
    with job.open_existing_store() or nullcontext() as store:
        work = Steps(pipeline, 0, StepCalls(targets, store, shared), job.shape, shared)
        rows = job.open_input()
        for row in rows:
            made.rows += 1
            made.done += all(isinstance(begun, list) for begun in work.begin([row]))
    made.stored, made.failed = stats.stored, stats.failed
    made.notes += rows.notes
    _rehearse(job, made, targets, chats)
    for count in made.counts:  # counted by the plan, not by a run
        count.came = count.went = count.asked = count.failed = count.skipped = 0
    return made


def _rehearse(job: Job, made: PipelinePlan, targets: Targets, chats: int) -> None:
    assert isinstance(job.task, Pipeline)
    rows = [row for row in islice(job.open_input(), REHEARSED) if row.error is None]
    pipeline = job.task.again()
    made.rehearsed = len(rows)
    shown: dict[str, str] = {f"row {number + 1}": row.place for number, row in enumerate(rows[:chats])}
    counts = {count.name: count for count in pipeline.counts}
    schemas: dict[str, SchemaFitter] = {}

    def replies(ask: Ask) -> list[str | Completion]:
        target = targets.of(ask.llm, ask.defaults)
        messages, keywords = ask.task.format_input(ask.values, ask.index), ask.task.keywords(ask.values, ask.index)
        request = target.request(messages, keywords, None, ask.task.route)
        config = (target.llm or job.llm).config
        if target.endpoint not in schemas:
            dialect = known_dialect(config) or likely_dialect(config.base_url or "")
            schemas[target.endpoint] = SchemaFitter(dialect, made.notes.append)
        schemas[target.endpoint].fit(request.keywords)
        if ask.place in shown:
            made.chats.append((ask.step, Chat(shown.pop(ask.place), request.messages, request.keywords)))
        step = made.steps.setdefault(ask.step, StepPlan(counts[ask.step], target.model))
        step.known = targets.known(target)
        step.replies += ask.num_generations
        step.input_tokens += estimate_tokens(request.messages)
        try:
            made_up = [ask.task.example(ask.values, ask.index, sample) for sample in range(ask.num_generations)]
        except RowError as error:
            on_error(ask.step, error)
            made_up = [""] * ask.num_generations
        step.unlimited |= request.max_tokens is None
        step.output_tokens += (request.max_tokens or 0) * ask.num_generations
        return [*made_up]

    def on_error(_step: str, error: RowError) -> None:
        made.failures[error.kind] += 1

    rehearse(pipeline, [row.values for row in rows], replies, on_error, simulated=True)
