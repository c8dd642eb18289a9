"""Pydantic models of tasks with steps.

Each step does one thing, named by its key: `task`, `repeat`, `filter` … `check.flow` checks which columns are available
at each step.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from distask.spec.language.base import FUNCTION_PATTERN, NAME_PATTERN, Model
from distask.spec.language.columns import Output, described
from distask.spec.language.model import LLM, Spec

MAX_TURNS = 1_000
"""Maximum number of turns in a loop."""


class StepLLM(LLM):
    """Model settings for a step. Omitted keys use the settings of the run."""

    config: str | None = Field(None, description="A built-in LLM config's name, or a template for one")
    model: str | None = Field(None, description="The model's name, or a template for one")


class Step(Model):
    """The common keys of all steps."""

    name: str | None = Field(
        None, pattern=NAME_PATTERN, description="The step's name in the metadata, the summary and cases"
    )
    when: str | None = Field(None, description="An expression; rows for which it is false skip the step")


class TaskStep(Step):
    """Run a task: a file, a built-in task, or an inline task."""

    task: str | dict[str, Any] = Field(
        description="A path relative to this file, the name of a built-in task, or the keys of an inline task"
    )
    params: dict[str, Any] = Field({}, description="The task's params, as values or templates")
    llm: Annotated[StepLLM | None, BeforeValidator(lambda v: {"config": v} if isinstance(v, str) else v)] = Field(
        None, description="Model settings for this step, or the name of a built-in config"
    )
    num_generations: int | None = Field(None, ge=1, le=10_000, description="Number of replies for each row")
    group_generations: bool | None = Field(
        None, description="Whether to make one row with lists instead of one row per reply"
    )
    input_mappings: dict[str, str] = Field({}, description="Mapping of task columns to the columns they read")
    output_mappings: dict[str, str] = Field(
        {}, description="Mapping of task columns to new names; existing columns are replaced"
    )


def _collected(value: Any) -> Any:
    return {name: name for name in value} if isinstance(value, list) else value


Collect = Annotated[dict[str, str] | None, BeforeValidator(_collected)]


class RepeatStep(Step):
    """Repeat steps. Each turn starts with the columns of the previous turn."""

    repeat: int | str = Field(description="The maximum number of turns, or an expression for it")
    while_: str | None = Field(None, alias="while", description="An expression that must be true before each turn")
    until: str | None = Field(None, description="An expression that ends the loop if it is true after a turn")
    steps: list["AnyStep"] = Field(min_length=1, description="The steps of each turn")
    collect: Collect = Field(
        None, description="Mapping of new list columns to the columns to collect after each turn, or a list of columns"
    )


class ForEachStep(Step):
    """Run steps concurrently for each item of a list in the row. The columns they make become lists."""

    for_each: str = Field(description='"name in expression": the steps can read the name and `loop_index` as columns')
    steps: list["AnyStep"] = Field(min_length=1, description="The steps for each item")
    collect: Collect = Field(
        None,
        description="Mapping of list columns to the columns to collect; defaults to all columns that the steps make",
    )


class FilterStep(Step):
    """Keep only the rows for which an expression is true."""

    filter: str = Field(description="An expression over the row")


class CheckStep(Step):
    """Fail the rows for which an expression is false; their outputs are null."""

    check: str = Field(description="An expression over the row that must be true")
    error: str | None = Field(None, description="A template for the reason; defaults to the expression")


class CountTokensStep(Step):
    """Count the tokens of a text or a chat with a model's tokenizer; needs `pip install 'distask[tokenizers]'`."""

    count_tokens: str = Field(description="An expression for the text, or for the messages of a chat")
    tokenizer: str = Field(
        description="A `tokenizer.json`, its folder, or a model on the Hub; or a template over params for one"
    )
    into: str = Field("tokens", description="The new column; the markers of a chat template are not counted")


class SetStep(Step):
    """Compute columns."""

    set: dict[str, Any] = Field(min_length=1, description="Mapping of columns to templates or values")


class PythonStep(Step):
    """Compute columns with your own function, `function(row, **args) -> dict`. Runs only with `--allow-code`."""

    python: str = Field(
        pattern=FUNCTION_PATTERN, description="module:function; the module is in the spec's folder or installed"
    )
    args: dict[str, Any] = Field({}, description="Keyword arguments of the function, as values or templates")
    outputs: dict[str, Annotated[Output, BeforeValidator(described)]] = Field(
        min_length=1, description="The columns that it returns"
    )


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Columns = Annotated[list[str], BeforeValidator(_several), Field(min_length=1)]


class ExplodeStep(Step):
    """Make one row for each item of a list column, or of several list columns in parallel."""

    explode: Columns = Field(description="The list column, or several of the same length")


class Chunk(Model):
    """How a text is cut into chunks."""

    from_: str = Field(alias="from", description="The column with the text")
    size: int | str | None = Field(
        None,
        description="The maximum length of a chunk in units, or an expression over params for it; defaults to 1 for "
        "headings",
    )
    unit: Literal["characters", "tokens", "sentences", "headings"] = Field(
        "characters",
        description="characters: Unicode code points; tokens: of `tokenizer`; sentences: by punctuation; headings: "
        "sections of Markdown, each a heading with its text",
    )
    overlap: int | str = Field(
        0,
        description="The maximum length, in units, of what a chunk repeats from the end of the previous one, or an "
        "expression over params for it",
    )
    break_at_headings: bool = Field(False, description="Whether each Markdown heading begins a new chunk")
    tokenizer: str | None = Field(
        None,
        description="tokens: a `tokenizer.json`, relative to this file, or a model on the Hub that has one; if "
        "omitted, tokens are estimated",
    )


CHUNK_COLUMNS = ("chunk", "start", "end", "headings", "chunk_id")
"""The columns that a `chunk` step makes."""


class ChunkStep(Step):
    """Make one row for each chunk of a text, with the columns `chunk`, `start`, `end`, `headings` and `chunk_id`."""

    chunk: Chunk = Field(description="{from, size, unit, overlap, break_at_headings, tokenizer}")
    output_mappings: dict[str, str] = Field(
        {}, description="Mapping of these columns to new names; existing columns are replaced"
    )


LANGUAGE_COLUMNS = ("language", "language_score")
"""The columns that a `language` step makes."""


class Language(Model):
    """Which languages are kept."""

    from_: str = Field(alias="from", description="The column with the text")
    keep: Columns | None = Field(
        None, description="ISO 639 codes, such as `en`; rows in other languages are removed. If omitted, all are kept"
    )
    min_score: float = Field(0.0, ge=0, le=1, description="keep: the minimum probability of the language")


class LanguageStep(Step):
    """Identify the language of a text, in the columns `language` and `language_score`, and keep some languages."""

    language: Annotated[Language, BeforeValidator(lambda v: {"from": v} if isinstance(v, str) else v)] = Field(
        description="{from, keep, min_score}, or the column with the text"
    )
    output_mappings: dict[str, str] = Field(
        {}, description="Mapping of these columns to new names; existing columns are replaced"
    )


CONTAMINATION_COLUMN = "contamination"
"""The column that a `decontaminate` step makes."""


class Decontaminate(Model):
    """With which benchmarks texts are compared."""

    from_: Columns = Field(alias="from", description="The columns with texts")
    against: Columns = Field(description="Files of benchmarks, or globs, relative to this file, in any input format")
    columns: Columns | None = Field(None, description="The benchmarks' columns; if omitted, all columns with texts")
    words: int = Field(
        13, ge=2, le=100, description="The number of words in a sequence; a shorter text of a benchmark is one sequence"
    )
    then: Literal["mark", "drop"] = Field("mark", description="mark: keep all rows; drop: remove rows with an overlap")


class DecontaminateStep(Step):
    """Find texts that share word sequences with benchmarks, and where, in the column `contamination`."""

    decontaminate: Decontaminate = Field(description="{from, against, columns, words, then}")
    output_mappings: dict[str, str] = Field(
        {}, description="Mapping of `contamination` to a new name; an existing column is replaced"
    )


class Group(Model):
    """How rows are grouped."""

    by: Columns = Field(description="The columns with equal values in a group")


class GroupStep(Step):
    """Make one row from all rows with equal values in some columns; the other columns become lists."""

    group: Annotated[Group, BeforeValidator(lambda v: {"by": v} if isinstance(v, str | list) else v)] = Field(
        description="{by: [columns]}, or the columns"
    )


class KeepStep(Step):
    """Keep only some columns."""

    keep: Columns = Field(description="The columns to keep")


class DropStep(Step):
    """Remove some columns."""

    drop: Columns = Field(description="The columns to remove")


class RenameStep(Step):
    """Rename columns."""

    rename: dict[str, str] = Field(min_length=1, description="Mapping of columns to new names")


EMBEDDING_MODEL = "minishlab/potion-base-8M"
"""The default model of a `dedup` step with `method: semantic`; it is for English."""
DUPLICATE_COLUMN = "duplicate_of"
"""The column that a `dedup` step with `then: mark` makes."""


class Dedup(Model):
    """How duplicate rows are found."""

    by: Columns = Field(description="The columns to compare")
    method: Literal["exact", "minhash", "semantic", "cosine"] = Field(
        "exact",
        description="exact: equal values; minhash: texts that share most of their word sequences; semantic: texts "
        "with nearly the same meaning, by a small model on this machine; cosine: similar vectors (embeddings)",
    )
    threshold: Annotated[float, Field(gt=0, le=1)] | str | None = Field(
        None,
        description="The minimum similarity of duplicates, from 0 to 1, or an expression over params for it; "
        "defaults to 0.8, for semantic to 0.9, for cosine to 0.95",
    )
    model: str | None = Field(
        None,
        description="semantic: a static embedding model of Model2Vec: a folder, relative to this file, or a model on "
        f"the Hub; or a template over params for one; defaults to `{EMBEDDING_MODEL}`, which is for English",
    )
    then: Literal["drop", "mark"] = Field(
        "drop",
        description=f"semantic: drop: remove duplicates; mark: keep all rows, and add the column `{DUPLICATE_COLUMN}`",
    )
    words: int = Field(3, ge=1, le=20, description="minhash: number of words in a sequence")
    permutations: int = Field(
        128,
        ge=16,
        le=1024,
        description="minhash: number of hashes per text; more are more accurate but need more memory",
    )


class DedupStep(Step):
    """Remove duplicate rows; the first is kept."""

    dedup: Annotated[Dedup, BeforeValidator(lambda v: {"by": v} if isinstance(v, str | list) else v)] = Field(
        description="{by, method, threshold, model, then}, or the columns to compare"
    )


class Sort(Model):
    """How rows are sorted."""

    by: Columns = Field(description="The columns to sort by, most important first")
    descending: bool = Field(
        False, description="Whether to sort in descending order; rows without a value are always last"
    )


class SortStep(Step):
    """Sort the rows."""

    sort: Annotated[Sort, BeforeValidator(lambda v: {"by": v} if isinstance(v, str | list) else v)] = Field(
        description="{by, descending}, or the columns"
    )


class Sample(Model):
    """The size of the sample."""

    n: int | str | None = Field(None, description="The number of rows, or an expression over params for it")
    fraction: float | None = Field(None, gt=0, le=1, description="The approximate fraction of rows")


def _sampled(value: Any) -> Any:
    if isinstance(value, float):
        return {"fraction": value}
    return {"n": value} if isinstance(value, int | str) and not isinstance(value, bool) else value


class SampleStep(Step):
    """Take a random sample of rows, based on the run's seed. Rows keep their order."""

    sample: Annotated[Sample, BeforeValidator(_sampled)] = Field(
        description="{n}, {fraction}, an integer, or a fraction below 1"
    )


class LimitStep(Step):
    """Keep only the first rows."""

    limit: int | str = Field(description="The number of rows, or an expression over params for it")


SPLIT_COLUMN = "split"
"""The column that a `split` step makes."""


class Split(Model):
    """Which parts the rows are split into."""

    into: dict[str, float] = Field(
        {"train": 0.8, "validation": 0.1, "test": 0.1},
        min_length=1,
        description="Mapping of names to their shares, which are relative: 8, 1, 1 is the same as 0.8, 0.1, 0.1",
    )
    by: Columns | None = Field(
        None,
        description="The columns with equal values in rows that must stay together, such as `path`; if omitted, only "
        "rows that are equal in all columns stay together",
    )
    stable: bool = Field(
        False,
        description="Whether a row keeps its part when other rows are added or removed; shares are then approximate",
    )


class SplitStep(Step):
    """Assign each row to a part such as train or test, based on the run's seed, in the column `split`."""

    split: Annotated[Split, BeforeValidator(lambda v: {"by": v} if isinstance(v, str | list) else v)] = Field(
        description="{into, by, stable}, or the columns that keep rows together"
    )
    output_mappings: dict[str, str] = Field(
        {}, description="Mapping of `split` to a new name; an existing column is replaced"
    )


STEPS: dict[str, type[Step]] = {
    "task": TaskStep,
    "repeat": RepeatStep,
    "for_each": ForEachStep,
    "filter": FilterStep,
    "check": CheckStep,
    "count_tokens": CountTokensStep,
    "set": SetStep,
    "python": PythonStep,
    "explode": ExplodeStep,
    "chunk": ChunkStep,
    "language": LanguageStep,
    "decontaminate": DecontaminateStep,
    "group": GroupStep,
    "keep": KeepStep,
    "drop": DropStep,
    "rename": RenameStep,
    "dedup": DedupStep,
    "sort": SortStep,
    "sample": SampleStep,
    "limit": LimitStep,
    "split": SplitStep,
}
"""The key that identifies a step, and its model."""

BARRIERS = (GroupStep, DedupStep, SortStep, SampleStep, LimitStep, SplitStep)
"""Steps that wait for all rows."""


def kind_of(step: Any) -> str | None:
    """Return the key that identifies a step, or None."""
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
    | Annotated[CheckStep, Tag("check step")]
    | Annotated[CountTokensStep, Tag("count_tokens step")]
    | Annotated[SetStep, Tag("set step")]
    | Annotated[PythonStep, Tag("python step")]
    | Annotated[ExplodeStep, Tag("explode step")]
    | Annotated[ChunkStep, Tag("chunk step")]
    | Annotated[LanguageStep, Tag("language step")]
    | Annotated[DecontaminateStep, Tag("decontaminate step")]
    | Annotated[GroupStep, Tag("group step")]
    | Annotated[KeepStep, Tag("keep step")]
    | Annotated[DropStep, Tag("drop step")]
    | Annotated[RenameStep, Tag("rename step")]
    | Annotated[DedupStep, Tag("dedup step")]
    | Annotated[SortStep, Tag("sort step")]
    | Annotated[SampleStep, Tag("sample step")]
    | Annotated[LimitStep, Tag("limit step")]
    | Annotated[SplitStep, Tag("split step")],
    Discriminator(_step_kind),
]

Reply = str | dict[str, Any]


class PipelineCase(Model):
    """A golden case: the columns expected for a row and replies."""

    name: str | None = None
    input: dict[str, Any] | list[dict[str, Any]] = Field(description="A row, or a list of rows")
    params: dict[str, Any] | None = Field(None, description="Params for the case")
    seed: int = Field(0, description="Random seed")
    replies: Reply | list[Reply] | dict[str, Reply | list[Reply]] = Field(
        [],
        description="The replies in the order of the requests; or step name to its reply or replies; or one text for "
        "all requests; none for a task that calls no model",
    )
    expect: dict[str, Any] | list[dict[str, Any]] | None = Field(
        None, description="The expected columns of the output row, or of each output row"
    )
    error: str | None = Field(None, description="Part of the first step's error message, for a row that fails")


class PipelineSpec(Spec):
    """A task with steps that process rows in order."""

    steps: list[AnyStep] = Field(min_length=1, description="The steps, in order")
    outputs: dict[str, Annotated[Output, BeforeValidator(described)]] = Field(
        {},
        description="The columns that are added to the row; if omitted, the row has all columns of the last step",
    )
    cases: list[PipelineCase] = Field([], description="Golden test cases")
