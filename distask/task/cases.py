"""Hold a spec's golden cases against the spec: with this row and this reply, these columns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from distask.errors import DistaskError, RowError
from distask.llm.request import Completion
from distask.spec.model import PythonParser
from distask.task.task import Task

if TYPE_CHECKING:
    from distask.spec.diagnostics import Diagnostic
    from distask.spec.load import LoadedSpec
    from distask.spec.model import Case


def run_cases(loaded: LoadedSpec, *, allow_code: bool = False) -> list[Diagnostic]:
    """A diagnostic for each case that does not hold. Cases of a parser that runs code need `allow_code`."""
    if not allow_code and any(isinstance(p, PythonParser) for p in loaded.spec.format_output):
        return []
    found = []
    for index, case in enumerate(loaded.spec.cases):
        fault = _fault(loaded, case, allow_code=allow_code)
        if fault is not None:
            where, message = fault
            name = f" ({case.name})" if case.name else ""
            found.append(loaded.document.diagnostic(("cases", index, *where), f"case {index + 1}{name}: {message}"))
    return found


def _fault(loaded: LoadedSpec, case: Case, *, allow_code: bool) -> tuple[tuple[str, ...], str] | None:
    try:
        task = Task(loaded, case.params, allow_code=allow_code)
        task.format_input(case.input)
        task.keywords(case.input)
    except DistaskError as error:
        if case.error is not None and case.error in str(error):
            return None
        return ("input",), f"the row can't be rendered: {error}"
    reply = Completion(**case.reply) if isinstance(case.reply, dict) else Completion(case.reply)
    try:
        columns = task.format_output(reply, case.input)
    except RowError as error:
        if case.error is None:
            return ("reply",), f"the reply is invalid: {error}"
        return None if case.error in str(error) else (("error",), f"the error is: {error}")
    if case.error is not None:
        return ("error",), f"the reply is good: {_shown(columns)}"
    for name, wanted in (case.expect or {}).items():
        if name not in columns:
            return ("expect", name), f"the task has no output `{name}` with these params"
        if columns[name] != wanted:
            return ("expect", name), f"`{name}` is {_shown(columns[name])}, not {_shown(wanted)}"
    return None


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
