"""Check the params of a run, and compile those that are templates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from distask.diagnostics import did_you_mean
from distask.errors import UsageError
from distask.spec.check.expressions import read_expression, read_template
from distask.task.column_types import ColumnType
from distask.task.templates.compiler import CompileError, compile_template
from distask.task.templates.filters import text_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from distask.spec.language.model import Param, Spec, TaskSpec
    from distask.task.templates.compiler import Text
    from distask.task.templates.sandbox import Sandbox


def param_values(spec: Spec, given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of each param, with defaults filled in; raises `UsageError`."""
    for name in given:
        if name not in spec.params:
            hint = did_you_mean(name, spec.params) or "it has no params"
            raise UsageError(f"the task {spec.name} has no param `{name}`; {hint}")
    return {name: _param(spec.name, name, param, given) for name, param in spec.params.items()}


def params_of_parsers(spec: TaskSpec) -> frozenset[str]:
    """The params that only select a parser.

    The spec's own prompts do not read them, so in a template given for the run their names refer to columns.
    """
    choosing = {name.name for p in spec.format_output if p.when for name in read_expression(p.when).names}
    others = spec.model_dump(include={"inputs", "draw", "format_input", "outputs", "checks", "tools", "completion"})
    words = set(re.findall(r"\w+", str(others)))
    return frozenset(choosing & spec.params.keys() - words)


def _param(task: str, name: str, param: Param, given: Mapping[str, Any]) -> Any:
    has_default = "default" in param.model_fields_set
    if name not in given:
        if not has_default:
            raise UsageError(f"the task {task} needs the param `{name}`: --param {name}=VALUE")
        return param.default
    value = given[name]
    if value is None and has_default and param.default is None:
        return None
    if param.type in (None, "string") and param.schema_ is None and isinstance(value, bool | int | float):
        value = value if param.choices and value in param.choices else text_of(value)
    try:
        return ColumnType(param, name).read(value)
    except ValueError as error:
        raise UsageError(f"--param {error}") from None


def param_template(name: str, value: Any, sandbox: Sandbox, known: Collection[str]) -> tuple[Text, list[str]]:
    """Compile a param's value as a template, and list the columns it reads (names not `known`); raises `UsageError`."""
    source = text_of(value)
    syntax = read_template(source)
    if syntax.faults:
        raise UsageError(f"--param {name}: {syntax.faults[0].message}")
    try:
        render = compile_template(sandbox, source)
    except CompileError as error:
        raise UsageError(f"--param {name}: {error.message}") from None
    return render, list(dict.fromkeys(n.name for n in syntax.names if n.name not in known))
