"""Hold a spec against its golden cases: with this row and this reply, these columns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from distask.errors import RowError, UsageError
from distask.llm.request import Completion
from distask.spec.diagnostics import did_you_mean
from distask.spec.model import PythonParser
from distask.task.task import Task, compiler_of

if TYPE_CHECKING:
    from distask.spec.diagnostics import Diagnostic
    from distask.spec.load import LoadedSpec
    from distask.spec.model import Case
    from distask.task.templates import Compiler, Place

_SHOWN = 200
"""Characters of a value in a message."""
_COMPLETION_KEYS = ("text", "finish_reason", "tool_calls", "reasoning", "refusal", "logprobs")


class _Broken(Exception):  # noqa: N818 - it is turned into a diagnostic at once
    def __init__(self, place: Place, message: str, hint: str | None = None) -> None:
        self.place = place
        self.message = message
        self.hint = hint
        super().__init__(message)


def run_cases(loaded: LoadedSpec, *, allow_code: bool = False) -> list[Diagnostic]:
    """A diagnostic for each case that does not hold; none for a spec that runs code which is not allowed."""
    if not allow_code and any(isinstance(parser, PythonParser) for parser in loaded.spec.format_output):
        return []
    found = []
    compiler = compiler_of(loaded)
    for index, case in enumerate(loaded.spec.cases):
        try:
            _run(_task(loaded, case, allow_code, compiler), case)
        except _Broken as broken:
            name = f"case `{case.name}`" if case.name else f"case {index + 1}"
            place = ("cases", index, *broken.place)
            found.append(loaded.document.diagnostic(place, f"{name}: {broken.message}", broken.hint))
    return found


def _task(loaded: LoadedSpec, case: Case, allow_code: bool, compiler: Compiler) -> Task:
    try:
        return Task(loaded, case.params, allow_code=allow_code, compiler=compiler)
    except UsageError as error:
        raise _Broken(("params",) if case.params else (), str(error)) from None


def _run(task: Task, case: Case) -> None:
    reply = _completion(case.reply)
    try:
        task.format_input(case.input)
        task.keywords(case.input)
    except RowError as error:
        _expect_error(case, error, ("input",), "the row makes no chat")
        return
    try:
        columns = task.format_output(reply, case.input)
    except RowError as error:
        _expect_error(case, error, ("reply",), "the reply is invalid")
        return
    if case.error is not None:
        raise _Broken(("error",), f"expected an error with {_shown(case.error)}, got {_shown(columns)}")
    for name, wanted in (case.expect or {}).items():
        if name not in columns:
            raise _Broken(("expect", name), f"there is no column `{name}`", did_you_mean(name, columns))
        if not same(columns[name], wanted):
            raise _Broken(("expect", name), f"`{name}`: expected {_shown(wanted)}, got {_shown(columns[name])}")


def _completion(reply: str | dict[str, Any]) -> Completion:
    if isinstance(reply, str):
        return Completion(reply)
    for key in reply:
        if key not in _COMPLETION_KEYS:
            hint = did_you_mean(key, _COMPLETION_KEYS)
            raise _Broken(("reply", key), f"a reply has no `{key}`", hint)
    return Completion(**{"text": None, **reply})


def _expect_error(case: Case, error: RowError, place: Place, what: str) -> None:
    """An error that the case expects is as it should be."""
    if case.error is None:
        raise _Broken(place, f"{what}: {error.message}")
    if case.error.lower() not in f"{error.kind}: {error.message}".lower():
        raise _Broken(("error",), f"expected an error with {_shown(case.error)}, got {_shown(error.message)}")


def same(value: Any, wanted: Any) -> bool:
    """Whether two values are the same in JSON: true is not 1, and the order of keys is nothing."""
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
