"""Define the results of the commands that run a task or show what a run would do."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from distask.cli.events.models import Counts, Failed, Model, Result, Tokens


class RunResult(Result):
    """`distask run`."""

    command: Literal["run"]
    task: str
    model: str | None
    output: str | None = Field(description="null for stdout")
    address: str | None = Field(description="where it was uploaded: a dataset on the Hub, an object")
    counts: Counts
    notes: list[str]
    first_failures: list[Failed] = Field(description="100 at most")


class ImportBatchResult(Result):
    """`distask import-batch`: the same result as `distask run`."""

    command: Literal["import-batch"]
    task: str
    model: str | None
    output: str | None
    address: str | None
    counts: Counts
    notes: list[str]
    first_failures: list[Failed]


class MergeResult(Result):
    """`distask merge`."""

    command: Literal["merge"]
    output: str
    shards: int
    rows: int = Field(description="rows of the input")
    rows_out: int
    replies: int = Field(description="replies added to the store")


class BatchFile(Model):
    """A written file of requests."""

    file: str
    requests: int


class ExportBatchResult(Result):
    """`distask export-batch`."""

    command: Literal["export-batch"]
    rows: int
    files: list[BatchFile]
    stored: int = Field(description="replies in the store, which are not requested")
    waiting: int = Field(description="batches that already hold requests of this run, which are not written")
    failures: dict[str, int] = Field(description="generations that can't be requested, by kind")
    notes: list[str] = Field(description="how the data is read and how JSON Schemas are fitted to the server")


class BatchRequests(Model):
    """Request counts of a batch."""

    total: int
    done: int
    failed: int


class Batch(Model):
    """A batch as reported by the provider."""

    id: str | None = Field(description="null if it is not known whether the provider has the batch")
    task: str
    model: str
    endpoint: str
    status: str
    requests: BatchRequests
    created: float = Field(description="seconds since 1970")
    fetched: float | None = Field(description="when its results were added to the store")


class BatchResult(Result):
    """`distask batch`."""

    command: Literal["batch"]
    batches: list[Batch]
    replies: int = Field(description="replies that this command added to the store")
    cost_usd: float


class StoredRun(Model):
    """A run that a store knows."""

    task: str
    output: str | None = Field(description="null for stdout and for rows returned to Python")
    started: float = Field(description="seconds since 1970")
    finished: float | None = Field(description="null while it is unfinished")


class StoredReplies(Model):
    """The replies that one run requested from one model."""

    task: str | None = Field(description="null if a version that recorded no runs stored them")
    endpoint: str | None
    model: str
    run: StoredRun | None = Field(description="null if no run requested them, as in a preview, or if it is unknown")
    replies: int
    bytes: int
    cost_usd: float | None = Field(description="of the replies whose cost is known; null if none is")
    unpriced: int = Field(description="replies whose cost is unknown")
    first: float | None = Field(description="when the first one was stored, in seconds since 1970")
    last: float | None
    used: float | None = Field(description="when a run last used one of them; null if unknown")


class StoreShowResult(Result):
    """`distask store show`."""

    command: Literal["store"]
    store: str
    bytes: int = Field(description="size of the file and its write-ahead log")
    free_bytes: int = Field(description="free pages in the file, which new replies will fill")
    replies: int
    cost_usd: float | None
    damaged: int
    open_batches: int
    unfinished: list[StoredRun]
    sources: list[StoredReplies]


class StorePruneResult(Result):
    """`distask store prune`."""

    command: Literal["store"]
    store: str
    dry_run: bool
    replies: int = Field(description="replies that were deleted, or would be with --dry-run")
    bytes: int = Field(description="size of these replies")
    kept: int = Field(description="replies that meet the conditions, but may be needed")
    reasons: list[str] = Field(description="the unfinished runs, batches and outputs that may need them")
    freed: int = Field(description="bytes by which the file shrank")
    free_bytes: int = Field(description="free pages that remain in the file, which new replies will fill")


class Setting(Model):
    """A config value and its source."""

    value: Any
    from_: str = Field(alias="from")


class ConfigResult(Result):
    """`distask run --show-config`."""

    command: Literal["run"]
    config: dict[str, Setting]


class Chat(Model):
    """A row's request."""

    place: str
    messages: list[dict[str, Any]] | None = Field(description="null if the row can't be rendered")
    keywords: dict[str, Any]
    error: str | None


class Estimate(Model):
    """Tokens, estimated from the length of texts."""

    input_estimate: int
    input_error: float | None = Field(
        description="share of `input_estimate` that 95 % of samples differ by at most; null if all rows were rendered"
    )
    output_expected: int | None
    output_limit: int | None


class Needed(Model):
    """Replies of the whole run."""

    needed: int
    stored: int
    missing: int


class DryRunResult(Result):
    """`distask dry-run`."""

    command: Literal["dry-run"]
    model: str | None
    endpoint: str
    rows: int
    sampled_rows: int | None = Field(description="rows that tokens are estimated from; null if all rows were rendered")
    num_generations: int
    completions: Needed
    tokens: Estimate
    cost_usd: dict[Literal["least", "expected", "most"], float | None] | None
    price: dict[str, Any] | None
    too_long: int = Field(description="rows longer than the model's context")
    failures: dict[str, int] = Field(description="rows that can't be rendered, by kind; if any, the exit code is 3")
    notes: list[str] = Field(description="how the data is read and how JSON Schemas are fitted to the server")
    chats: list[Chat]


class StepChat(Model):
    """A row's first request, in a task with steps."""

    step: str
    place: str
    messages: list[dict[str, Any]] | None
    keywords: dict[str, Any]


class PlannedStep(Model):
    """A step, in the order of the file."""

    step: str
    kind: str
    depth: int = Field(description="how many loops and tasks it is in")
    most_replies_a_row: int | None = Field(
        description="0 for a step that calls no model; null if it depends on the rows"
    )
    model: str | None = Field(description="null for a step that calls no model, or that no rehearsed row reached")


class Bounds(Model):
    """Replies of the whole run."""

    most: int | None = Field(description="null if it depends on the rows")
    expected: int = Field(description="estimated from the rehearsed rows")
    stored: int = Field(description="replies in the store, as far as rows can be followed with them")


class StepTokens(Model):
    """Tokens, estimated from the rehearsed rows."""

    input_estimate: int
    output_limit: int | None


class StepsDryRunResult(Result):
    """`distask dry-run` of a task with steps."""

    command: Literal["dry-run"]
    model: str | None
    endpoint: str
    rows: int
    rows_done: int = Field(description="rows that need no call, up to the first step that waits for all rows")
    rehearsed_rows: int
    num_generations: int
    completions: Bounds
    tokens: StepTokens
    cost_usd: float | None = Field(description="maximum cost, estimated from the rehearsed rows")
    steps: list[PlannedStep]
    failed: int = Field(
        description="steps of all rows that fail whatever the model replies; if any, the exit code is 3"
    )
    failures: dict[str, int] = Field(description="steps of rehearsed rows that fail, by kind")
    notes: list[str] = Field(description="how the data is read and how JSON Schemas are fitted to the server")
    chats: list[StepChat]


class Tried(Model):
    """A reply and its result."""

    reply: str | None
    finish_reason: str | None
    reasoning: str | None
    tool_calls: Any
    columns: dict[str, Any] | None
    error: dict[Literal["kind", "message"], str] | None
    misfit: dict[str, Any] | None = Field(description="where the reply stopped matching: `at`, `length`, `wanted`")
    tokens: Tokens
    cost_usd: float | None


class Previewed(Model):
    """A row that was run."""

    place: str
    messages: list[dict[str, Any]] | None
    keywords: dict[str, Any]
    seconds: float | None = Field(description="null if all replies were in the store")
    generations: list[Tried]


class PreviewResult(Result):
    """`distask preview`."""

    command: Literal["preview"]
    task: str
    model: str | None
    rows: list[Previewed]
    counts: Counts
    notes: list[str] = Field(description="how the data is read, if not in the usual way")


class StepsPreviewResult(Result):
    """`distask preview` of a task with steps."""

    command: Literal["preview"]
    task: str
    model: str | None
    rows_out: list[dict[str, Any]] = Field(description="the output rows, including metadata")
    counts: Counts
    notes: list[str]
