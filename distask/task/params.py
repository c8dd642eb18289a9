"""Check the params of a run, compile those that are templates, and evaluate expressions over params."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from distask.diagnostics import did_you_mean
from distask.errors import RowError, UsageError
from distask.spec.check.expressions import read_expression, read_template
from distask.task.column_types import ColumnType
from distask.task.templates.compiler import CompileError, compile_template
from distask.task.templates.filters import text_of
from distask.task.templates.sandbox import GLOBALS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from distask.spec.language.columns import Param
    from distask.spec.language.model import Spec, TaskSpec
    from distask.task.templates.compiler import Compiler, Place, Text
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


class Constants:
    """The names that every row shares, and expressions over them, which are evaluated when the task is compiled.

    Attributes:
        names: name to value: the globals of templates, vars and params.
        compiler: compiles the expressions of the spec.
        path: the file of the spec, for messages.
    """

    def __init__(self, spec: Spec, params: Mapping[str, Any], compiler: Compiler, path: Path) -> None:
        self.names: dict[str, Any] = {**GLOBALS, **spec.vars, **params, "vars": spec.vars, "params": params}
        self.compiler = compiler
        self.path = path

    def value(self, source: str, place: Place) -> Any:
        """The value of an expression; raises `RowError`."""
        return self.compiler.expression(source, place)(self.names)

    def hold(self, when: str | None, place: Place) -> bool:
        """Whether a `when` is true or absent; raises `UsageError` if it can't be evaluated."""
        if when is None:
            return True
        try:
            return bool(self.value(when, place))
        except RowError as error:
            raise UsageError(f"{self.path}: `when: {when}` can't be evaluated: {error.message}") from None
