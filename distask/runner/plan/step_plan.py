"""Say what a run of steps would ask, without asking: with the replies of the store, and from there on by a rehearsal.

Rows are walked with the replies of the store to the first one that is missing. What is asked behind it nobody can know;
it is bounded by the steps' loops, and reckoned by taking the first rows on with made-up replies.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct, field

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
    from distask.errors import RowError
    from distask.llm.request import Completion
    from distask.runner.job import Job
    from distask.task.steps.flow import Ask, Count

REHEARSED = 20
"""Rows that are taken through all steps with made-up replies."""


class StepPlan(Struct):
    """What one step that asks would ask for."""

    count: Count
    model: str = ""
    replies: int = 0
    """Replies that the rehearsed rows needed."""
    input_tokens: int = 0
    output_tokens: int = 0
    """Of the made-up replies' limits, where there are some; else of their texts."""
    unlimited: bool = False
    known: Known = field(default_factory=Known)
    """What is known of the model."""


class PipelinePlan(Struct):
    """What a run of steps would ask."""

    model: str
    endpoint: str
    counts: list[Count]
    num_generations: int
    chats: list[tuple[str, Chat]] = field(default_factory=list)
    """The first request of the first rows, each with its step's name."""
    rows: int = 0
    rehearsed: int = 0
    stored: int = 0
    """Replies that the store has, as far as the rows can be followed with them."""
    done: int = 0
    """Rows whose replies the store has all, up to the first step that waits for all rows."""
    failed: int = 0
    """Steps that fail without another reply: no template, column or stored reply fits."""
    steps: dict[str, StepPlan] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    """Kind of fault to the number of steps of the rehearsed rows, some of them with simulated replies."""
    notes: list[str] = field(default_factory=list)
    """What the user should know about how the data is read."""

    @property
    def most(self) -> int | None:
        """Replies that are needed at the most; None where that hangs on the rows."""
        each = [count.most for count in self.counts]
        known = [most for most in each if most is not None]
        return sum(known) * self.rows * self.num_generations if len(known) == len(each) else None

    @property
    def expected(self) -> float:
        """Replies that are needed if all rows go as the rehearsed ones went."""
        return self._scaled(sum(step.replies for step in self.steps.values()))

    @property
    def input_tokens(self) -> int:
        """Tokens of the chats, reckoned so."""
        return round(self._scaled(sum(step.input_tokens for step in self.steps.values())))

    @property
    def output_tokens(self) -> int | None:
        """Tokens of the replies at the most, reckoned so; None where no limit is set."""
        if any(step.unlimited for step in self.steps.values()):
            return None
        return round(self._scaled(sum(step.output_tokens for step in self.steps.values())))

    def cost(self) -> float | None:
        """USD if all rows go as the rehearsed ones, each reply as long as its limit; None where nobody knows."""
        total = 0.0
        for step in self.steps.values():
            if step.known.price is None or step.unlimited:
                return None
            total += most_cost_of(step.known.price, step.input_tokens, step.output_tokens)
        return self._scaled(total)

    def _scaled(self, figure: float) -> float:
        return figure * self.rows * self.num_generations / self.rehearsed if self.rehearsed else 0.0


def plan_steps(job: Job, chats: int = 3) -> PipelinePlan:
    """Follow every row with the store's replies, and rehearse the first ones to their end."""
    assert isinstance(job.task, Pipeline)
    pipeline = job.task.again()
    stats = Stats()
    shared = Shared(stats)
    targets = Targets(job.llm, shared, need_key=False)
    made = PipelinePlan(job.llm.config.model or "", job.llm.endpoint(), pipeline.counts, job.shape.num_generations)
    with job.open_existing_store() or nullcontext() as store:
        work = Steps(pipeline, 0, StepCalls(targets, store, shared), job.shape, shared)
        rows = job.open_input()
        for row in rows:
            made.rows += 1
            made.done += all(isinstance(begun, list) for begun in work.begin([row]))
    made.stored, made.failed = stats.stored, stats.failed
    made.notes += rows.notes
    _rehearse(job, made, targets, chats)
    for count in made.counts:  # of the walk, not of a run
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
        made_up = [ask.task.example(ask.values, ask.index, sample) for sample in range(ask.num_generations)]
        step.unlimited |= request.max_tokens is None
        step.output_tokens += (request.max_tokens or 0) * ask.num_generations
        return [*made_up]

    def told(_step: str, error: RowError) -> None:
        made.failures[error.kind] += 1

    rehearse(pipeline, [row.values for row in rows], replies, told)
