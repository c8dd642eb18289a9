"""The events of `--json` that commands share; `distask schema --events` and the docs are made from the models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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
