"""The results of the commands that check, list, write and report."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from distask.cli.events.models import Diagnostic, Model, Result


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
