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


class CompletionResult(Result):
    """`distask completion`."""

    command: Literal["completion"]
    shell: str
    script: str
