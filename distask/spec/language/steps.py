"""The language of a task made of tasks, as pydantic models: what each step does to the rows that flow through.

A step does one thing, and its first word says which: `task`, `repeat`, `filter` … What the models can't see (which
columns there are at a step) is `flow`'s.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from distask.spec.language.model import FUNCTION_PATTERN, LLM, NAME_PATTERN, Model, Output, Spec, described

MAX_TURNS = 1_000
"""Turns of one loop."""


class StepLLM(LLM):
    """Whom a step asks, and how. What is left out is as for the whole run."""

    config: str | None = Field(None, description="A built-in LLM config's name, or a template for one")
    model: str | None = Field(None, description="The model's name, or a template for one")


class Step(Model):
    """The keys that every step has."""

    name: str | None = Field(
        None, pattern=NAME_PATTERN, description="What the step is called in the metadata, the summary and cases"
    )
    when: str | None = Field(None, description="An expression; rows for which it is false pass by the step")


class TaskStep(Step):
    """Ask: a task, from a file, from the gallery, or written out here."""

    task: str | dict[str, Any] = Field(
        description="A file, from this file's folder; a built-in task's name; or the keys of a task, written out"
    )
    params: dict[str, Any] = Field({}, description="The task's params, each a value or a template for one")
    llm: Annotated[StepLLM | None, BeforeValidator(lambda v: {"config": v} if isinstance(v, str) else v)] = Field(
        None, description="Whom this step asks, and how; or the name of a built-in config"
    )
    num_generations: int | None = Field(None, ge=1, le=10_000, description="Replies for each row")
    group_generations: bool | None = Field(None, description="Lists in the row instead of a row for each reply")
    input_mappings: dict[str, str] = Field({}, description="Column of the task to the column that it reads here")
    output_mappings: dict[str, str] = Field(
        {}, description="Column of the task to what it is called here; a column that is there already is replaced"
    )


def _collected(value: Any) -> Any:
    return {name: name for name in value} if isinstance(value, list) else value


Collect = Annotated[dict[str, str] | None, BeforeValidator(_collected)]


class RepeatStep(Step):
    """Do steps again and again: each turn goes on from the columns that the one before left."""

    repeat: int | str = Field(description="How many turns at the most: a number, or an expression")
    while_: str | None = Field(None, alias="while", description="An expression that holds before each turn")
    until: str | None = Field(None, description="An expression that ends the loop where it holds after a turn")
    steps: list["AnyStep"] = Field(min_length=1, description="What each turn does")
    collect: Collect = Field(
        None, description="New list column to the column whose value after each turn it holds; or such columns"
    )


class ForEachStep(Step):
    """Do steps for each item of a list, side by side inside of the row; what they make comes back as lists."""

    for_each: str = Field(description='"name in expression": the name is a column in the steps, beside `loop_index`')
    steps: list["AnyStep"] = Field(min_length=1, description="What is done for each item")
    collect: Collect = Field(
        None, description="List column to the steps' column that it is made of; all that they make where it is left out"
    )


class FilterStep(Step):
    """Leave out the rows for which an expression does not hold."""

    filter: str = Field(description="An expression over the row")


class SetStep(Step):
    """Compute columns."""

    set: dict[str, Any] = Field(min_length=1, description="Column to a template, or to a value")


class PythonStep(Step):
    """Compute columns with a function of yours, `function(row, **args) -> dict`; it runs only with `--allow-code`."""

    python: str = Field(
        pattern=FUNCTION_PATTERN, description="module:function, the module beside the spec or installed"
    )
    args: dict[str, Any] = Field({}, description="What it is given by name beside the row: values, or templates")
    outputs: dict[str, Annotated[Output, BeforeValidator(described)]] = Field(
        min_length=1, description="The columns that it gives"
    )


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Columns = Annotated[list[str], BeforeValidator(_several), Field(min_length=1)]


class ExplodeStep(Step):
    """Make a row of each item of a list column; several columns go side by side."""

    explode: Columns = Field(description="The list column, or several of one length")


class Group(Model):
    """Which rows become one."""

    by: Columns = Field(description="Columns whose values the rows of a group share")


class GroupStep(Step):
    """Make one row of all that share some columns; their other columns become lists."""

    group: Annotated[Group, BeforeValidator(lambda v: {"by": v} if isinstance(v, str | list) else v)] = Field(
        description="{by: [columns]}, or the columns"
    )


class KeepStep(Step):
    """Leave only some columns."""

    keep: Columns = Field(description="The columns that stay")


class DropStep(Step):
    """Leave some columns out."""

    drop: Columns = Field(description="The columns that go")


class RenameStep(Step):
    """Give columns other names."""

    rename: dict[str, str] = Field(min_length=1, description="Column to its new name")


class Dedup(Model):
    """Which rows count as the same."""

    by: Columns = Field(description="The columns that are compared")
    method: Literal["exact", "minhash", "cosine"] = Field(
        "exact",
        description="exact: equal values; minhash: texts that share most of their word sequences; cosine: vectors "
        "(embeddings) that point nearly the same way",
    )
    threshold: Annotated[float, Field(gt=0, le=1)] | str | None = Field(
        None,
        description="How alike two rows are at least to count as the same, from 0 to 1, or an expression over params "
        "for it; 0.8, for cosine 0.95",
    )
    words: int = Field(3, ge=1, le=20, description="minhash: words in a sequence")
    permutations: int = Field(
        128, ge=16, le=1024, description="minhash: hashes of a text; more are more exact, and larger"
    )


class DedupStep(Step):
    """Keep the first of the rows that are the same."""

    dedup: Annotated[Dedup, BeforeValidator(lambda v: {"by": v} if isinstance(v, str | list) else v)] = Field(
        description="{by, method, threshold}, or the columns that are compared"
    )


class Sort(Model):
    """What the order is made of."""

    by: Columns = Field(description="The columns; where the first is equal, the second decides")
    descending: bool = Field(False, description="Whether the greatest comes first; rows without a value come last")


class SortStep(Step):
    """Put the rows in order."""

    sort: Annotated[Sort, BeforeValidator(lambda v: {"by": v} if isinstance(v, str | list) else v)] = Field(
        description="{by, descending}, or the columns"
    )


class Sample(Model):
    """How many rows are drawn."""

    n: int | str | None = Field(None, description="So many, or an expression over params for it")
    fraction: float | None = Field(None, gt=0, le=1, description="About this part of them")


def _sampled(value: Any) -> Any:
    if isinstance(value, float):
        return {"fraction": value}
    return {"n": value} if isinstance(value, int | str) and not isinstance(value, bool) else value


class SampleStep(Step):
    """Draw rows by the run's seed; they keep their order."""

    sample: Annotated[Sample, BeforeValidator(_sampled)] = Field(
        description="{n} or {fraction}; a whole number, or a part below 1"
    )


class LimitStep(Step):
    """Keep the first rows."""

    limit: int | str = Field(description="How many, or an expression over params for it")


STEPS: dict[str, type[Step]] = {
    "task": TaskStep,
    "repeat": RepeatStep,
    "for_each": ForEachStep,
    "filter": FilterStep,
    "set": SetStep,
    "python": PythonStep,
    "explode": ExplodeStep,
    "group": GroupStep,
    "keep": KeepStep,
    "drop": DropStep,
    "rename": RenameStep,
    "dedup": DedupStep,
    "sort": SortStep,
    "sample": SampleStep,
    "limit": LimitStep,
}
"""The word that a step begins with, and its keys."""

BARRIERS = (GroupStep, DedupStep, SortStep, SampleStep, LimitStep)
"""Steps that wait for all rows."""


def kind_of(step: Any) -> str | None:
    """The word that says what a step does; None where it has none."""
    keys = step if isinstance(step, dict) else getattr(type(step), "model_fields", {})
    return next((kind for kind in STEPS if kind in keys), None)


def _step_kind(step: Any) -> str | None:
    kind = kind_of(step)
    return None if kind is None else f"{kind} step"


AnyStep = Annotated[
    Annotated[TaskStep, Tag("task step")]
    | Annotated[RepeatStep, Tag("repeat step")]
    | Annotated[ForEachStep, Tag("for_each step")]
    | Annotated[FilterStep, Tag("filter step")]
    | Annotated[SetStep, Tag("set step")]
    | Annotated[PythonStep, Tag("python step")]
    | Annotated[ExplodeStep, Tag("explode step")]
    | Annotated[GroupStep, Tag("group step")]
    | Annotated[KeepStep, Tag("keep step")]
    | Annotated[DropStep, Tag("drop step")]
    | Annotated[RenameStep, Tag("rename step")]
    | Annotated[DedupStep, Tag("dedup step")]
    | Annotated[SortStep, Tag("sort step")]
    | Annotated[SampleStep, Tag("sample step")]
    | Annotated[LimitStep, Tag("limit step")],
    Discriminator(_step_kind),
]

Reply = str | dict[str, Any]


class PipelineCase(Model):
    """A golden case: with this row and these replies, these columns."""

    name: str | None = None
    input: dict[str, Any] | list[dict[str, Any]] = Field(description="A row, or several")
    params: dict[str, Any] | None = Field(None, description="Params that the case sets")
    seed: int = Field(0, description="What is drawn is drawn from this")
    replies: Reply | list[Reply] | dict[str, Reply | list[Reply]] = Field(
        description="The replies in the order in which they are asked for; or step's name to its reply or replies; "
        "one text answers everything"
    )
    expect: dict[str, Any] | list[dict[str, Any]] | None = Field(
        None, description="The columns of the row that comes out, or of each"
    )
    error: str | None = Field(None, description="Words of the first step's error, for a row that fails")


class PipelineSpec(Spec):
    """A task made of tasks: rows flow through its steps."""

    steps: list[AnyStep] = Field(min_length=1, description="What is done to the rows, in this order")
    outputs: dict[str, Annotated[Output, BeforeValidator(described)]] = Field(
        {},
        description="The columns that are added to the row's own; where they are left out, a row leaves as the last "
        "step left it",
    )
    cases: list[PipelineCase] = Field([], description="Golden cases")


PipelineSpec.model_rebuild()
