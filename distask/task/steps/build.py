"""Compile the steps of a spec to functions over rows, separated by barriers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from distask.errors import RowError, UsageError
from distask.task.column_types import ColumnType
from distask.task.draws import Draws
from distask.task.params import param_values
from distask.task.steps.calls import JUDGE_TAG, Enter, Frame, Leave
from distask.task.steps.flow import Count
from distask.task.steps.nodes import OUTERMOST, Body, StepContext, StepMaker
from distask.task.steps.scope import Scope
from distask.task.task import Task, compiler_of
from distask.task.templates.limits import PROMPT_CHARACTERS
from distask.task.templates.sandbox import GLOBALS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from distask.spec.language.model import LLM
    from distask.spec.language.steps import StepLLM
    from distask.spec.load import Loaded, LoadedPipeline, LoadedSpec
    from distask.task.chat.messages import ChatInput
    from distask.task.steps.calls import CalledTask, CutText
    from distask.task.templates.compiler import Compiler, Place

_RAW = ("add_raw_input", "add_raw_output")


class Settings(Struct, frozen=True):
    """The settings of a run for a task of steps."""

    seed: int = 0
    allow_code: bool = False
    allow_paths: Sequence[Path] = ()
    compilers: dict[int, Compiler] = field(default_factory=dict)
    """Compilers by the identity of the spec; tasks of the same specs with other params may share them."""


class Builder:
    """Compiles the steps of a spec, and of nested specs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.counts: list[Count] = []
        self.tasks: list[Task] = []
        self._names: set[str] = set()
        self._asked: set[str] = set()
        self.asked: list[tuple[StepLLM, LLM]] = []
        self.called: list[CalledTask] = []
        """The tasks of single calls, in the order of the steps."""
        self.cuts: list[CutText] = []
        """The `chunk` steps, in order."""
        self.prompt_characters = PROMPT_CHARACTERS
        """Maximum characters of a rendered text."""
        self.schemas: dict[str, Any] = {}
        """The JSON Schemas of columns that steps add; `{}` if steps disagree."""

    def body(
        self,
        loaded: LoadedPipeline,
        params: Mapping[str, Any],
        around: StepContext = OUTERMOST,
        mappings: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
        count: Count | None = None,
    ) -> Body:
        """Compile the steps of a spec, with its `Enter` and `Leave` nodes; raises `UsageError`."""
        spec = loaded.spec
        values = param_values(spec, params)
        base = {**GLOBALS, **spec.vars, **values, "vars": spec.vars, "params": values}
        compiler = self._compiler(loaded)
        scope = Scope(compiler, base, tuple(spec.draw))
        frame = self._frame(loaded, base, compiler, mappings)
        defaults = {**around.defaults, **spec.llm.model_dump(exclude_none=True)}
        raw = {**around.raw, **{key: False for key in _RAW if not getattr(spec, key)}}
        judges = around.judges or JUDGE_TAG in (spec.tags or ())
        inner = StepMaker(self, loaded, scope, values, replace(around, defaults=defaults, raw=raw, judges=judges))
        if count is None:
            count = Count(spec.name, "task", around.depth)
        nodes = (Enter(count, frame), *inner.nodes(spec.steps, ("steps",)), Leave(count, frame))
        outputs = tuple(outside for outside, _ in (frame.outputs or {}).values())
        added = outputs if frame.outputs is not None else tuple(inner.new)
        schemas = {outside: column.schema for outside, column in (frame.outputs or {}).values()}
        return Body(nodes, values, outputs, added, schemas, frame.draws)

    def note_schemas(self, schemas: Mapping[str, Any]) -> None:
        """Record the JSON Schemas of columns that a step adds."""
        for name, schema in schemas.items():
            self.schemas[name] = schema if self.schemas.get(name, schema) == schema else {}

    def name(self, wanted: str) -> str:
        """A unique step name."""
        name, number = wanted, 1
        while name in self._names:
            number += 1
            name = f"{wanted}-{number}"
        self._names.add(name)
        return name

    def asks_again(self, task: str) -> bool:
        """Whether an earlier step uses a task with this name."""
        again = task in self._asked
        self._asked.add(task)
        return again

    def task(self, loaded: LoadedSpec, params: Mapping[str, Any], name: str) -> Task:
        """Compile a task of a single call; raises `UsageError`."""
        made = Task(
            loaded,
            params,
            allow_code=self._settings.allow_code,
            allow_paths=self._settings.allow_paths,
            seed=self._settings.seed,
            compiler=self._compiler(loaded),
        )
        made.name = name
        self.tasks.append(made)
        return made

    def chat_input(self, column: str) -> ChatInput | None:
        """The input of a step's task that reads a chat from a column; None if no task does."""
        if not self.tasks:
            return None
        found = (task.chat_input(column) for task in self.tasks)
        return next((chat for chat in found if chat is not None), None)

    @property
    def allow_code(self) -> bool:
        """Whether the spec may run Python code."""
        return self._settings.allow_code

    @property
    def seed(self) -> int:
        """The random seed."""
        return self._settings.seed

    def _compiler(self, loaded: Loaded) -> Compiler:
        known = self._settings.compilers
        key = id(loaded.document)
        if key not in known:
            known[key] = compiler_of(loaded)
            known[key].sandbox.prompt_characters = self.prompt_characters
        return known[key]

    def _frame(
        self,
        loaded: LoadedPipeline,
        base: Mapping[str, Any],
        compiler: Compiler,
        mappings: tuple[Mapping[str, str], Mapping[str, str]],
    ) -> Frame:
        spec = loaded.spec
        reads, makes = mappings
        mapped = {**spec.input_mappings, **reads}

        def outside(name: str) -> str:
            own = spec.output_mappings.get(name, name)
            return makes.get(own, own)

        def holds(when: str | None, place: Place) -> bool:
            try:
                return when is None or bool(compiler.expression(when, place)(base))
            except RowError as error:
                raise UsageError(f"{loaded.path}: `when: {when}` can't be evaluated: {error.message}") from None

        outputs = {
            name: (outside(name), ColumnType(output, name))
            for name, output in spec.outputs.items()
            if holds(output.when, ("outputs", name, "when"))
        }
        if spec.outputs and not outputs:
            raise UsageError(f"{loaded.path}: no output is active with these params; check each output's `when`")
        inputs = [
            (name, ColumnType(column, mapped.get(name, name)), column.required)
            for name, column in spec.inputs.items()
            if holds(column.when, ("inputs", name, "when"))
        ]
        return Frame(
            {inside: column for inside, column in mapped.items() if inside != column},
            tuple((*each, each[1].unchecked - {float}) for each in inputs),  # a float may be infinite
            {name: column.default for name, column in spec.inputs.items() if not column.required},
            Draws(spec.draw, compiler.expression, base, f"{self.seed}/{spec.name}", spec.design),
            tuple(spec.draw),
            outputs if spec.outputs else None,
            {name: outside(name) for name in (*spec.output_mappings, *makes)},
            self.chat_input,
        )
