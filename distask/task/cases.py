"""Run the test cases in a task spec: a row and a reply must give the expected columns."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.diagnostics import did_you_mean
from distask.errors import RowError, UsageError
from distask.llm.request import Completion
from distask.spec.language.parsers import PythonParser
from distask.spec.load import LoadedPipeline
from distask.task.task import Task, compiler_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from distask.diagnostics import Diagnostic
    from distask.spec.language.model import Case
    from distask.spec.language.steps import PipelineCase
    from distask.spec.load import Loaded, LoadedSpec
    from distask.task.templates.compiler import Compiler, Place

MAX_SECONDS = 5.0
"""Maximum CPU seconds for all cases of a spec; a typical case takes a few milliseconds."""
_SHOWN = 200
"""Maximum characters of a value in a message."""
COMPLETION_KEYS = ("text", "finish_reason", "tool_calls", "reasoning", "refusal", "logprobs")


class Outcome(Struct, frozen=True):
    """The result of a case."""

    name: str
    """For example `case 3`, or "case `name`"."""
    index: int
    fault: Diagnostic | None = None
    """Why the case failed."""
    wanted: Any = None
    got: Any = None
    """Expected and actual value of the column that differs; both None for any other failure."""
    skipped: str | None = None
    """Why the case was skipped."""

    @property
    def holds(self) -> bool:
        """Whether the case ran and passed."""
        return self.fault is None and self.skipped is None


class Broken(Exception):  # noqa: N818 - it is turned into an outcome
    """A case failed."""

    def __init__(self, place: Place, message: str, hint: str | None = None, *values: Any) -> None:
        self.place = place
        self.message = message
        self.hint = hint
        self.wanted, self.got = values or (None, None)
        super().__init__(message)


def try_task_cases(loaded: LoadedSpec, *, allow_code: bool) -> Iterator[Outcome]:
    """Run each case, in the order of the file, and compare the result with what the case expects."""
    compiler, began = compiler_of(loaded), time.thread_time()
    made: dict[str, Task] = {}  # by params
    for index, case in enumerate(loaded.spec.cases):
        if time.thread_time() - began > MAX_SECONDS:
            message = f"earlier cases took longer than {MAX_SECONDS:g} s; this case and the rest were not run"
            yield outcome(loaded, index, Broken((), message))
            return
        try:
            params = repr(case.params)
            if params not in made:
                made[params] = case_task(loaded, case, compiler, allow_code=allow_code)
            _run(made[params], case)
        except Broken as broken:
            yield outcome(loaded, index, broken)
        else:
            yield Outcome(case_name(case, index), index)


def outcome(loaded: Loaded, index: int, broken: Broken) -> Outcome:
    """The outcome of a failed case, with the place in the file."""
    name = case_name(loaded.spec.cases[index], index)
    fault = loaded.document.diagnostic(("cases", index, *broken.place), f"{name}: {broken.message}", broken.hint)
    return Outcome(name, index, fault, broken.wanted, broken.got)


def case_name(case: Case | PipelineCase, index: int) -> str:
    """The name of a case in messages."""
    return f"case `{case.name}`" if case.name else f"case {index + 1}"


def runs_code(loaded: Loaded) -> bool:
    """Whether the spec, or a task of its steps, runs Python code in a parser or a step."""
    if isinstance(loaded, LoadedPipeline):
        from distask.spec.language.steps import PythonStep
        from distask.spec.step_tasks import walk

        own = any(isinstance(step, PythonStep) for _, step in walk(loaded.spec.steps))
        return own or any(map(runs_code, loaded.tasks.values()))
    return any(isinstance(parser, PythonParser) for parser in loaded.spec.format_output)


def case_task(loaded: LoadedSpec, case: Case, compiler: Compiler, *, allow_code: bool) -> Task:
    """The task with the case's params; raises `Broken`."""
    try:
        return Task(loaded, case.params, allow_code=allow_code, compiler=compiler)
    except UsageError as error:
        raise Broken(("params",) if case.params else (), str(error)) from None


def _run(task: Task, case: Case) -> None:
    reply = completion_of(case.reply)
    try:
        task.format_input(case.input)
        task.keywords(case.input)
    except RowError as error:
        _expect_error(case, error, ("input",), "no chat can be built from the row")
        return
    try:
        parsed = task.parse_reply(reply, case.input)
    except RowError as error:
        if case.expect is not None:
            raise Broken(("reply",), f"the reply is invalid: {error.message}") from None
        _expect_error(case, error, ("reply",), "the reply is invalid")
        return
    if case.error is not None and parsed.error is None:
        raise Broken(("error",), f"expected an error with {_shown(case.error)}, got {_shown(parsed.columns)}")
    if case.error is not None and parsed.error is not None:
        _expect_error(case, parsed.error, ("reply",), "the reply is invalid")
    compare(case, parsed.columns)


def compare(case: Case, columns: Mapping[str, Any]) -> None:
    """Raise `Broken` at the first column that differs from what the case expects."""
    same_columns(case.expect or {}, columns, ("expect",))


def same_columns(expect: Mapping[str, Any], columns: Mapping[str, Any], place: Place) -> None:
    """Raise `Broken` at the first column that differs from `expect`."""
    for name, wanted in expect.items():
        if name not in columns:
            raise Broken((*place, name), f"there is no column `{name}`", did_you_mean(name, columns))
        got = columns[name]
        if not same(got, wanted):
            message = f"`{name}`: expected {_shown(wanted)}, got {_shown(got)}"
            raise Broken((*place, name), message, None, wanted, got)


def completion_of(reply: str | dict[str, Any], place: Place = ("reply",)) -> Completion:
    """A case's reply as the server would send it; raises `Broken`."""
    if isinstance(reply, str):
        return Completion(reply)
    for key in reply:
        if key not in COMPLETION_KEYS:
            hint = did_you_mean(key, COMPLETION_KEYS)
            raise Broken((*place, key), f"a reply has no `{key}`", hint)
    return Completion(**reply)


def _expect_error(case: Case, error: RowError, place: Place, what: str) -> None:
    """Raise `Broken` unless the case expects this error."""
    if case.error is None:
        raise Broken(place, f"{what}: {error.message}")
    if case.error.lower() not in f"{error.kind}: {error.message}".lower():
        raise Broken(("error",), f"expected an error with {_shown(case.error)}, got {_shown(error.message)}")


def same(value: Any, wanted: Any) -> bool:
    """Whether two values are equal in JSON: true is not 1, and the order of keys does not count."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, list) and isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(same, value, wanted))
    if isinstance(value, dict) and isinstance(wanted, dict):
        return value.keys() == wanted.keys() and all(same(value[key], wanted[key]) for key in value)
    return bool(value == wanted)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
