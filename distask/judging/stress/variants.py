"""Make the runs of a stress test: the rows as they are, and the rows changed in each way that fits the task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from distask.data.row import identical
from distask.diagnostics import did_you_mean
from distask.errors import RowError, SpecError, UsageError
from distask.judging.stress.biases import scope_of
from distask.runner.generations import Shape
from distask.spec.language.model import LLM
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.data.row import Row
    from distask.judging.stress.answers import Answers
    from distask.judging.stress.biases import Bias
    from distask.judging.stress.verdicts import Verdict
    from distask.runner.job import Job

BASE = "base"
"""The name of the rows as they are."""
TEMPERATURE = 1.0
"""Temperature of samples if the judge's own is 0 and the bias declares none."""


class Change:
    """Changes the rows of a bias; a row that stays the same is left out, since its verdict would be the same.

    Args:
        bias: what is changed.
        answers: where the answers are.
        names: input name to column.
    """

    def __init__(self, bias: Bias, answers: Answers | None, names: dict[str, str]) -> None:
        self._bias = bias
        self._answers = answers
        self._names = names
        self.unchanged: set[int] = set()
        """The indexes of the rows that stay the same."""

    def __call__(self, row: Row) -> Row | None:
        """Return the changed row; raises `SpecError` with the place of a template that fails."""
        values = self._changed(row)
        if values is None or identical(values, row.values):
            self.unchanged.add(row.index)
            return None
        return replace(row, values=values, raw=None, cells=None)

    def _changed(self, row: Row) -> dict[str, Any] | None:
        bias, values = self._bias, row.values
        needs_answers = bias.reverses or bias.answer is not None
        texts = self._answers.read(values, row.place) if needs_answers and self._answers is not None else None
        if needs_answers and (texts is None or self._answers is None):
            return None
        scope = scope_of(values, self._names)
        made = dict(values)
        try:
            if texts is not None and self._answers is not None:
                made = self._answers.write(made, self._rewritten(texts, row.index, scope))
            for name, new in (bias.inputs or {}).items():
                made[self._names[name]] = new(scope)
        except RowError as error:
            assert bias.fault is not None
            raise SpecError([bias.fault(f"{row.place}: {error.message}")]) from None
        return made

    def _rewritten(self, texts: list[str], index: int, scope: dict[str, Any]) -> list[str]:
        if self._bias.answer is None:
            return texts[::-1]
        place = changed_place(index, len(texts))
        more = {"answer": texts[place], "number": place + 1, "answers": texts}
        return [*texts[:place], self._bias.answer({**scope, **more}), *texts[place + 1 :]]


def changed_place(index: int, answers: int) -> int:
    """Return which answer of a row is changed: the answers take turns, so that no place is favoured."""
    return index % answers


class Variant(Struct):
    """One run of a stress test."""

    name: str
    job: Job
    bias: Bias | None = None
    """None for the rows as they are."""
    change: Change | None = None
    shares: bool = False
    """Whether its first replies are those of the rows as they are."""
    notes: list[str] = field(default_factory=list)


class Tests(Struct):
    """What a stress test runs."""

    base: Variant
    variants: list[Variant] = field(default_factory=list)
    from_orders: Bias | None = None
    """The bias that is measured from a task's own verdicts in both orders, without another run."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Bias to why it does not apply to the task."""


def plan_tests(
    job: Job, biases: Sequence[Bias], verdicts: Sequence[Verdict], answers: Answers | None, *, asked_for: bool
) -> Tests:
    """Return the runs for a judge's task.

    Args:
        job: the judge's run.
        biases: what to test.
        verdicts: the outputs that count.
        answers: where the answers are.
        asked_for: whether the user named the biases, so that one that does not apply is an error.

    Raises:
        InputError: the rows can't be read, or lack a column.
        SpecError: a bias changes an input that the task does not have.
        UsageError: no bias applies, or one that the user named.
    """
    shape = Shape(1, grouped=False, metadata_column=job.shape.metadata_column)
    job = replace(job, shape=shape, output=None, store=job.store_file())
    names = {name: job.task.dataset_name(name) for name in job.task.input_columns}
    tests = Tests(Variant(BASE, job))
    for bias in biases:
        _check_inputs(bias, names, job.task.name)
        if bias.reverses and any(verdict.orders is not None for verdict in verdicts):
            tests.from_orders = bias
        elif (reason := _unfit(bias, verdicts, answers)) is not None:
            if asked_for:
                raise UsageError(f"--bias {bias.name}: {reason}")
            tests.skipped[bias.name] = reason
        elif bias.resamples:
            tests.variants.append(_resampled(job, bias))
        else:
            change = Change(bias, answers, names)
            tests.variants.append(Variant(bias.name, replace(job, transform=change), bias, change))
    if not tests.variants and tests.from_orders is None:
        raise UsageError(f"no bias can be tested: {'; '.join(f'{n}: {why}' for n, why in tests.skipped.items())}")
    kept = job.with_selected_rows()  # a large input is read only once
    for variant in (tests.base, *tests.variants):
        variant.job = replace(variant.job, source=kept.source, selection=kept.selection)
    return tests


def _check_inputs(bias: Bias, names: dict[str, str], task: str) -> None:
    for name in bias.inputs or {}:
        if name not in names and bias.fault is not None:
            hint = did_you_mean(name, names)
            raise SpecError([replace(bias.fault(f"the task {task} has no input `{name}`"), hint=hint)])


def _unfit(bias: Bias, verdicts: Sequence[Verdict], answers: Answers | None) -> str | None:
    """Return why a bias does not apply; None if it does."""
    if (bias.reverses or bias.answer is not None) and answers is None:
        return "which inputs hold the answers is not clear from the task; name them with --answer"
    if bias.reverses:
        if answers is not None and not answers.are_several:
            return "the task judges one answer at a time"
        if not any(verdict.kind == "pair" or verdict.entries for verdict in verdicts):
            return "no verdict compares the answers, or has an entry for each"
    return None


def _resampled(job: Job, bias: Bias) -> Variant:
    shape = replace(job.shape, num_generations=bias.samples)
    if 0 not in temperatures(job):
        return Variant(bias.name, replace(job, shape=shape), bias, shares=bool(job.store))
    warmth = bias.temperature or TEMPERATURE
    origin = "spec" if isinstance(job.task, Task) else "flag --set llm.temperature"  # a flag overrides a step's own
    llm = replace(
        job.llm,
        generation={**job.llm.generation, "temperature": warmth},
        origins={**job.llm.origins, "generation.temperature": origin},
    )
    notes = [f"the judge has temperature 0; its replies are sampled at temperature {warmth:g}"]
    if not isinstance(job.task, Task) and any(step.config is not None for step, _ in job.task.asked):
        notes.append("steps with a config of their own keep their temperature")
    return Variant(bias.name, replace(job, shape=shape, llm=llm), bias, notes=notes)


def temperatures(job: Job) -> set[float | None]:
    """Return the temperatures of a judge's requests; None stands for the server's own."""
    if isinstance(job.task, Task):
        return {job.llm.generation.get("temperature")}
    found = set()
    for step, defaults in job.task.asked:
        own = step.model_dump(exclude_none=True, exclude={"config", "model"})
        joined = LLM.model_validate({**defaults.model_dump(exclude_none=True), **own})
        found.add(job.llm.over(joined).generation.get("temperature"))
    return found or {job.llm.generation.get("temperature")}
