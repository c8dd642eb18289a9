"""What the events of `--json` hold: `distask schema --events` and the page in the docs are made from these models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from distask.spec.language.json_schema import SCHEMA_ID


class Model(BaseModel):
    """A JSON object with these keys and no others."""

    model_config = ConfigDict(extra="forbid")


class Tokens(Model):
    """Tokens as the server counted them."""

    input: int | None = Field(description="of the chats, the cached ones included")
    output: int | None = Field(description="of the replies, their reasoning included")
    cached: int = Field(description="input that the server read from its cache")
    cache_writes: int = Field(description="input that the server wrote to its cache, where it bills that separately")
    reasoning: int = Field(description="output that is reasoning")


class Completions(Model):
    """Replies."""

    asked: int = Field(description="asked for, and paid")
    stored: int = Field(description="that the store had")


class Latency(Model):
    """How long the calls took, in seconds; null where there was none."""

    calls: int
    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None


class StepCount(Model):
    """What a step did, of a task made of tasks."""

    step: str
    kind: str
    rows_in: int
    rows_out: int
    asked: int = Field(description="rows for which a model was asked")
    skipped: int = Field(description="rows that passed by: `when`, or an earlier step that failed")
    failed: int


class Counts(Model):
    """The counts of a run, up to now."""

    rows: int = Field(description="done")
    rows_out: int = Field(description="written")
    rows_skipped: int = Field(description="that could not be read (`--on-bad-row skip`)")
    generations: int
    failed: int = Field(description="generations without columns")
    failures: dict[str, int] = Field(description="the kind of failure to how many there are")
    dropped: int = Field(description="generations left out, as `on_invalid` says")
    cut: int = Field(description="replies that ended at max_tokens")
    completions: Completions
    calls: int = Field(description="HTTP exchanges")
    retries: int = Field(description="calls made again after a fault of the endpoint")
    invalid_retries: int = Field(description="replies asked for again because they were invalid")
    tokens: Tokens
    cost_usd: float | None = Field(description="null where no price is known and the server sends no costs")
    seconds: float
    latency_seconds: Latency
    steps: list[StepCount] = Field([], description="of a task made of tasks; else left out")


class Diagnostic(Model):
    """A fault of a file; places count from 1, and are null where the file as a whole is meant."""

    file: str
    line: int | None
    column: int | None
    length: int
    severity: Literal["error", "warning"]
    message: str
    hint: str | None


class Failed(Model):
    """A generation that failed."""

    place: str
    sample: int
    kind: str
    message: str


class Started(Model):
    """A run begins: all that can be told before the first call is right."""

    event: Literal["started"]
    command: Literal["run"]
    task: str
    model: str | None
    output: str | None = Field(description="the file, dataset or object; `-` is stdout")


class Progress(Model):
    """How far a run is, about once a second."""

    event: Literal["progress"]
    command: Literal["run"]
    total: int | None = Field(description="rows to do; null where the source can't say")
    in_flight: int = Field(description="calls under way")
    concurrency: int = Field(description="calls that may be under way at the moment")
    pace: str | None = Field(description="what holds calls back, beside your limits; null where nothing does")
    counts: Counts


class Note(Model):
    """What the user should know of a run, in a sentence."""

    event: Literal["note"]
    command: Literal["run"]
    message: str


class Error(Model):
    """The command ended early. It is the last event."""

    event: Literal["error"]
    command: str
    exit_code: int
    kind: str = Field(
        description="with exit code 2 `usage`, `spec`, `config`, `input`; with 1 `endpoint`, `max_cost`, `store`, "
        "`output`, `run`, `bug`; with 130 `interrupted`"
    )
    message: str
    diagnostics: list[Diagnostic] = Field(description="of `spec`: every fault, with its place")
    notes: list[str] = Field(description="what is kept, and the command that goes on")
    partial: str | None = Field(description="the file with the rows that are done")
    counts: Counts | None = Field(description="of a run that had begun")


class Result(Model):
    """The command came to its end. It is the last event."""

    event: Literal["result"]
    exit_code: int


class RunResult(Result):
    """`distask run`."""

    command: Literal["run"]
    task: str
    model: str | None
    output: str | None = Field(description="null for stdout")
    address: str | None = Field(description="where it was sent: a dataset of the Hub, an object")
    counts: Counts
    notes: list[str]
    first_failures: list[Failed] = Field(description="100 at the most")


class ImportBatchResult(Result):
    """`distask import-batch`: what `run` tells."""

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
    rows: int = Field(description="of the input")
    rows_out: int
    replies: int = Field(description="that were put into the store")


class BatchFile(Model):
    """A file of requests that was written."""

    file: str
    requests: int


class ExportBatchResult(Result):
    """`distask export-batch`."""

    command: Literal["export-batch"]
    rows: int
    files: list[BatchFile]
    stored: int = Field(description="replies that the store has, which are not asked for")
    waiting: int = Field(description="batches that requests of this run are in; those are not written")
    failures: dict[str, int] = Field(description="generations that can't be asked for, by kind")
    notes: list[str] = Field(description="how the data is read and how JSON Schemas are fitted to the server")


class BatchRequests(Model):
    """How many requests a batch has."""

    total: int
    done: int
    failed: int


class Batch(Model):
    """A batch, as the provider tells of it."""

    id: str | None = Field(description="null where it is not known whether the provider has it")
    task: str
    model: str
    endpoint: str
    status: str
    requests: BatchRequests
    created: float = Field(description="seconds since 1970")
    fetched: float | None = Field(description="when its results were put into the store")


class BatchResult(Result):
    """`distask batch`."""

    command: Literal["batch"]
    batches: list[Batch]
    replies: int = Field(description="that this command put into the store")
    cost_usd: float


class Setting(Model):
    """A value of the config, and who says so."""

    value: Any
    from_: str = Field(alias="from")


class ConfigResult(Result):
    """`distask run --show-config`."""

    command: Literal["run"]
    config: dict[str, Setting]


class Chat(Model):
    """A row's request."""

    place: str
    messages: list[dict[str, Any]] | None = Field(description="null where the row can't be rendered")
    keywords: dict[str, Any]
    error: str | None


class Estimate(Model):
    """Tokens, estimated by the length of texts."""

    input_estimate: int
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
    """A row's first request, of a task made of tasks."""

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
        description="0 for a step that asks nobody; null where that hangs on the rows"
    )
    model: str | None = Field(description="null for a step that asks nobody, or that no rehearsed row came to")


class Bounds(Model):
    """Replies of the whole run."""

    most: int | None = Field(description="null where that hangs on the rows")
    expected: int = Field(description="as the rehearsed rows went")
    stored: int = Field(description="that the store has, as far as rows can be followed with them")


class StepTokens(Model):
    """Tokens, as the rehearsed rows went."""

    input_estimate: int
    output_limit: int | None


class StepsDryRunResult(Result):
    """`distask dry-run` of a task made of tasks."""

    command: Literal["dry-run"]
    model: str | None
    endpoint: str
    rows: int
    rows_done: int = Field(description="rows that need no call, up to the first step that waits for all rows")
    rehearsed_rows: int
    num_generations: int
    completions: Bounds
    tokens: StepTokens
    cost_usd: float | None = Field(description="at the most, as the rehearsed rows went")
    steps: list[PlannedStep]
    failed: int = Field(
        description="steps of all rows that fail whatever the model replies; if any, the exit code is 3"
    )
    failures: dict[str, int] = Field(description="steps of rehearsed rows that can't be done, by kind")
    notes: list[str] = Field(description="how the data is read and how JSON Schemas are fitted to the server")
    chats: list[StepChat]


class Tried(Model):
    """A reply and what became of it."""

    reply: str | None
    finish_reason: str | None
    reasoning: str | None
    tool_calls: Any
    columns: dict[str, Any] | None
    error: dict[Literal["kind", "message"], str] | None
    misfit: dict[str, Any] | None = Field(description="where the reply stopped fitting: `at`, `length`, `wanted`")
    tokens: Tokens
    cost_usd: float | None


class Previewed(Model):
    """A row that was asked for."""

    place: str
    messages: list[dict[str, Any]] | None
    keywords: dict[str, Any]
    seconds: float | None = Field(description="null where the store had all replies")
    generations: list[Tried]


class PreviewResult(Result):
    """`distask preview`."""

    command: Literal["preview"]
    task: str
    model: str | None
    rows: list[Previewed]
    counts: Counts
    notes: list[str] = Field(description="how the data is read, where that is not the usual way")


class StepsPreviewResult(Result):
    """`distask preview` of a task made of tasks."""

    command: Literal["preview"]
    task: str
    model: str | None
    rows_out: list[dict[str, Any]] = Field(description="the rows that came out, metadata and all")
    counts: Counts
    notes: list[str]


class Check(Model):
    """An answer to one question."""

    name: str
    state: Literal["ok", "no", "warning", "skipped"]
    message: str
    mend: str | None


class CheckResult(Result):
    """`distask check`."""

    command: Literal["check"]
    ok: bool
    endpoint: str
    model: str | None
    checks: list[Check]


class Case(Model):
    """A golden case."""

    case: str
    status: Literal["passed", "failed", "skipped"]
    reason: str | None
    diagnostic: Diagnostic | None
    expected: Any
    got: Any


class Suite(Model):
    """A spec's cases."""

    spec: str
    model: str | None = Field(description="of `--live`")
    diagnostics: list[Diagnostic] = Field(description="why the spec can't be loaded")
    cases: list[Case]


class TestResult(Result):
    """`distask test`."""

    command: Literal["test"]
    ok: bool
    passed: int
    failed: int
    skipped: int
    errors: int
    specs: list[Suite]


class Validated(Model):
    """A spec that was looked at."""

    spec: str
    ok: bool


class ValidateResult(Result):
    """`distask validate`."""

    command: Literal["validate"]
    ok: bool
    specs: list[Validated]
    diagnostics: list[Diagnostic]
    notes: list[str] = Field(description="how the data is read, where that is not the usual way")


class Listed(Model):
    """A built-in task."""

    name: str
    kind: str
    description: str
    columns: str = Field(description="what it reads → what it adds")


class TasksResult(Result):
    """`distask tasks`."""

    command: Literal["tasks"]
    tasks: list[Listed]


class TaskResult(Result):
    """`distask tasks show`."""

    command: Literal["tasks"]
    name: str
    path: str
    text: str = Field(description="the file as it is")


class InitResult(Result):
    """`distask init`."""

    command: Literal["init"]
    path: str
    schema_: str = Field(alias="schema", description="the file that editors read")
    files: list[str]


class ImportResult(Result):
    """`distask import`."""

    command: Literal["import"]
    path: str
    notes: list[str] = Field(description="what could not be carried over, each with the mend")


class SchemaResult(Result):
    """`distask schema`."""

    command: Literal["schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class ReportResult(Result):
    """`distask report`."""

    command: Literal["report"]
    page: str
    size: int = Field(description="of the page, in bytes")
    facts: dict[str, Any] = Field(description="all that was counted, as the page tells it")


class CompletionResult(Result):
    """`distask completion`."""

    command: Literal["completion"]
    shell: str
    script: str


EVENTS: list[type[Model]] = [Started, Progress, Note, *Result.__subclasses__(), Error]


def event_schema() -> dict[str, Any]:
    """The JSON Schema of a line."""
    union: Any = EVENTS[0]
    for model in EVENTS[1:]:
        union |= model
    made = TypeAdapter(union).json_schema()
    return {"$schema": SCHEMA_ID, "title": "An event of `distask … --json`", **made}
