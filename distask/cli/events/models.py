"""Define the `--json` events that commands share; `distask schema --events` and the docs are generated from them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """A JSON object with these keys and no others."""

    model_config = ConfigDict(extra="forbid")


class Tokens(Model):
    """Tokens as counted by the server."""

    input: int | None = Field(description="tokens of the chats, including cached ones")
    output: int | None = Field(description="tokens of the replies, including reasoning")
    cached: int = Field(description="input tokens read from the server's cache")
    cache_writes: int = Field(description="input tokens written to the server's cache, if billed separately")
    reasoning: int = Field(description="output tokens of reasoning")


class Completions(Model):
    """Replies by source."""

    asked: int = Field(description="replies requested and billed")
    stored: int = Field(description="replies from the store")


class Latency(Model):
    """Duration of calls in seconds; null if there were none."""

    calls: int
    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None


class StepCount(Model):
    """Counts of one step of a task with steps."""

    step: str
    kind: str
    rows_in: int
    rows_out: int
    asked: int = Field(description="rows for which a model was called")
    skipped: int = Field(description="rows skipped by `when` or after an earlier step failed")
    failed: int


class Counts(Model):
    """Counts of a run so far."""

    rows: int = Field(description="rows done")
    rows_out: int = Field(description="rows written")
    rows_skipped: int = Field(description="unreadable rows that were skipped (`--on-bad-row skip`)")
    chat_share: float | None = Field(
        None,
        description="share of the output's bytes that `add_raw_input` takes, from a sample of rows; null if there are "
        "no rows yet",
    )
    generations: int
    failed: int = Field(description="generations without columns")
    failures: dict[str, int] = Field(description="number of failures by kind")
    dropped: int = Field(description="generations dropped by `on_invalid`")
    cut: int = Field(description="replies cut at max_tokens")
    completions: Completions
    calls: int = Field(description="HTTP requests")
    retries: int = Field(description="calls retried after an endpoint error")
    invalid_retries: int = Field(description="invalid replies that were retried")
    tokens: Tokens
    cost_usd: float | None = Field(description="null if no price is known and the server reports no costs")
    seconds: float
    latency_seconds: Latency
    steps: list[StepCount] = Field([], description="only for a task with steps")


class Diagnostic(Model):
    """An error in a file; positions count from 1, and are null for an error of the complete file."""

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
    """A run starts: all checks before the first call have passed."""

    event: Literal["started"]
    command: Literal["run"]
    task: str
    model: str | None
    output: str | None = Field(description="the file, dataset or object; `-` is stdout")


class Progress(Model):
    """Progress of a run, about once per second."""

    event: Literal["progress"]
    command: Literal["run"]
    total: int | None = Field(description="rows to process; null if unknown")
    in_flight: int = Field(description="calls in flight")
    concurrency: int = Field(description="current limit on concurrent calls")
    pace: str | None = Field(description="what slows calls down, apart from your limits; null if nothing does")
    counts: Counts


class Note(Model):
    """A note about a run, in one sentence."""

    event: Literal["note"]
    command: Literal["run"]
    message: str


class Error(Model):
    """The command failed or was interrupted. This is the last event."""

    event: Literal["error"]
    command: str
    exit_code: int
    kind: str = Field(
        description="with exit code 2 `usage`, `spec`, `config`, `input`; with 1 `endpoint`, `max_cost`, `store`, "
        "`output`, `run`, `bug`; with 130 `interrupted`"
    )
    message: str
    diagnostics: list[Diagnostic] = Field(description="for `spec`: every error, with its location")
    notes: list[str] = Field(description="what is kept, and the command that resumes the run")
    partial: str | None = Field(description="the file with the finished rows")
    counts: Counts | None = Field(description="for a run that had started")


class Result(Model):
    """The command completed. This is the last event."""

    event: Literal["result"]
    exit_code: int
