"""Define the results of the commands that check, list, write and report."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from distask.cli.events.models import Diagnostic, Model, Result


class Check(Model):
    """The result of one check."""

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
    """The cases of a spec."""

    spec: str
    model: str | None = Field(description="for `--live`")
    diagnostics: list[Diagnostic] = Field(description="errors that prevent the spec from loading")
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
    """A spec that was checked."""

    spec: str
    ok: bool


class ValidateResult(Result):
    """`distask validate`."""

    command: Literal["validate"]
    ok: bool
    specs: list[Validated]
    diagnostics: list[Diagnostic]
    notes: list[str] = Field(description="how the data is read, if not in the usual way")


class Listed(Model):
    """A built-in task."""

    name: str
    kind: str
    description: str
    columns: str = Field(description="columns it reads → columns it adds")


class TasksResult(Result):
    """`distask tasks`."""

    command: Literal["tasks"]
    tasks: list[Listed]


class TaskResult(Result):
    """`distask tasks show`."""

    command: Literal["tasks"]
    name: str
    path: str
    text: str = Field(description="the text of the file")


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
    notes: list[str] = Field(description="what could not be converted, each with a fix")


class SchemaResult(Result):
    """`distask schema`."""

    command: Literal["schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class ReportResult(Result):
    """`distask report`."""

    command: Literal["report"]
    page: str
    size: int = Field(description="size of the page in bytes")
    facts: dict[str, Any] = Field(description="all counts shown on the page")


class Exchange(Model):
    """A prompt and its reply."""

    step: str
    model: str | None
    judge: bool
    messages: list[dict[str, Any]] | None = Field(description="the chat as sent; null if it was not kept")
    reply: str | None
    reasoning: str | None
    error: str | None = Field(description="why the reply could not be used")
    sample: int = Field(description="number of the reply among those to the same prompt, from 0")


class InputRow(Model):
    """The input row that a row comes from, or the document."""

    file: str = Field(description="as the run read it")
    found: str | None = Field(description="where it is now; null if it is gone")
    row: int | None = Field(description="from 1; null for a document")
    state: Literal["unchanged", "changed", "missing", "unknown"]
    others: list[str] = Field(description="other input rows with the same values; 20 at most")


class TracedRow(Model):
    """A row of an output, and the run that made it."""

    output: str
    row: int = Field(description="from 1")
    place: str
    unchanged: bool | None = Field(description="whether the output is as the run wrote it; null if unknown")
    values: dict[str, Any]
    task: dict[str, Any] | None = Field(description="as in `provenance` of OUT.run.json")
    models: list[dict[str, Any]] = Field(description="as in `provenance` of OUT.run.json")
    finished: str | None
    exchanges: list[Exchange]
    input: InputRow | None


class Passage(Model):
    """A part of a document."""

    column: str = Field(description="the column whose text it is")
    start: int = Field(description="characters from the start of the document's text, or of the page's")
    end: int
    text: str
    pages: list[int] = Field(description="from 1; empty for formats without pages")


class TracedDocument(Model):
    """The document that a row comes from."""

    path: str = Field(description="as the run read it")
    file: str | None = Field(description="where it is now; null if it is gone")
    state: Literal["unchanged", "changed", "missing", "unknown"]
    title: str | None
    media_type: str | None
    pages: int | None
    page: int | None = Field(description="with --pages, the page that the row is")
    passages: list[Passage]


class TraceResult(Result):
    """`distask trace`."""

    command: Literal["trace"]
    rows: list[TracedRow] = Field(description="from the row itself to that of the first run")
    document: TracedDocument | None
    notes: list[str] = Field(description="what can't be found or was changed; then the exit code is 3")


class CompletionResult(Result):
    """`distask completion`."""

    command: Literal["completion"]
    shell: str
    script: str
