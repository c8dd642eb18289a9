"""Check the columns in a spec's steps: a step can read only inputs and the columns of earlier steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from distask.diagnostics import Diagnostic, did_you_mean, nearest
from distask.spec.check.expressions import GLOBALS, read_expression, read_template
from distask.spec.check.templates import MAPPINGS, OWN_COLUMNS, Place, Scope
from distask.spec.check.text_steps import Columns, StepChecker
from distask.spec.gallery import configs
from distask.spec.language.aggregation import aggregate_columns
from distask.spec.language.model import TaskSpec
from distask.spec.language.steps import (
    BARRIERS,
    MAX_TURNS,
    CheckStep,
    ChunkStep,
    CountTokensStep,
    DecontaminateStep,
    DedupStep,
    DropStep,
    ExplodeStep,
    FilterStep,
    ForEachStep,
    GroupStep,
    KeepStep,
    LanguageStep,
    LimitStep,
    PipelineSpec,
    PythonStep,
    RenameStep,
    RepeatStep,
    SampleStep,
    SetStep,
    SortStep,
    SplitStep,
    TaskStep,
    kind_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from distask.spec.document import Document
    from distask.spec.language.steps import PipelineCase, Step
    from distask.spec.loaded import Loaded


def check_flow(
    spec: PipelineSpec, document: Document, tasks: Mapping[Place, Loaded], aside: Sequence[Place] = ()
) -> list[Diagnostic]:
    """Return the errors in a spec's steps that its models can't detect; see `check_spec` for `aside`."""
    from pathlib import Path

    folder = Path(document.file).absolute().parent
    checker = _Flow(spec, document, folder, tuple(tuple(p) for p in aside), tasks)
    checker.check()
    return checker.found


def added_by(loaded: Loaded) -> tuple[str, ...]:
    """Return the columns that a task adds as a step, under their dataset names."""
    spec = loaded.spec
    mapped = spec.output_mappings
    if isinstance(spec, TaskSpec):
        return (
            *(mapped.get(name, name) for name in spec.outputs),
            *(column for column, _, _ in aggregate_columns(spec, spec.outputs)),
        )
    if spec.outputs:
        return tuple(mapped.get(name, name) for name in spec.outputs)
    from pathlib import Path

    tasks = getattr(loaded, "tasks", {})
    flow = _Flow(spec, loaded.document, Path(), (), tasks)
    columns = flow.columns()
    return tuple(name for name, place in columns.made.items() if place is not None and place[:1] == ("steps",))


def templates_of(loaded: Loaded) -> set[str]:
    """Return the params of a task that are templates: a step passes them on unrendered."""
    return {name for name, param in loaded.spec.params.items() if param.template}


def waits(loaded: Loaded) -> bool:
    """Return whether a step of the task, or of a nested task, waits for all rows."""
    spec = loaded.spec
    if not isinstance(spec, PipelineSpec):
        return False
    return any(isinstance(s, BARRIERS) for s in spec.steps) or any(map(waits, getattr(loaded, "tasks", {}).values()))


def made_in(loaded: Loaded, place: Place) -> list[str]:
    """Return the columns that the steps of a `for_each` make."""
    from pathlib import Path

    assert isinstance(loaded.spec, PipelineSpec)
    flow = _Flow(loaded.spec, loaded.document, Path(), (), getattr(loaded, "tasks", {}))
    flow.columns()
    return flow.made_inside[place]


class _Flow(StepChecker):
    """Checks a task with steps."""

    def __init__(
        self,
        spec: PipelineSpec,
        document: Document,
        folder: Path,
        aside: tuple[Place, ...],
        tasks: Mapping[Place, Loaded],
    ) -> None:
        super().__init__(spec, spec.outputs, document, folder, aside)
        self.spec = spec
        self._tasks = tasks
        problem = "a step makes it; this is evaluated before rows are read"
        self._fixed = replace(self._fixed, elsewhere={**self._fixed.elsewhere, **dict.fromkeys(spec.outputs, problem)})
        self._steps_named: dict[str, Place] = {}
        self.made_inside: dict[Place, list[str]] = {}

    def check(self) -> None:
        self._declarations()
        self._declared_outputs()
        for index, case in enumerate(self.spec.cases):
            self._case(("cases", index), case)
        end = self.columns()
        for name, output in self.spec.outputs.items():
            if output.examples is not None:
                problem = "`examples` are for simulated replies, but no reply fills this output"
                self._report(("outputs", name, "examples"), problem, "move it to the step's task", key=True)
            if name not in end.made and not end.open and self._outputs_known:
                hint = did_you_mean(name, end.made)
                self._report(("outputs", name), f"no step makes the output `{name}`", hint, key=True)
        self._output_names()

    def columns(self) -> Columns:
        """Return the columns after the last step."""
        begin = Columns(
            dict.fromkeys([*self.spec.inputs, *self.spec.draw]), open=not self.spec.inputs or not self._names_known
        )
        return self._walk(self.spec.steps, ("steps",), begin, loops=0)

    def _output_names(self) -> None:
        for kind, known in (("input_mappings", self.spec.inputs), ("output_mappings", self.spec.outputs)):
            for name in getattr(self.spec, kind):
                if name not in known and (known or kind == "output_mappings"):
                    word = "an input" if kind == "input_mappings" else "an output"
                    self._report((kind, name), f"`{name}` is not {word}", did_you_mean(name, known), key=True)
        read = {self.spec.input_mappings.get(name, name) for name in self.spec.inputs}
        for name in self.spec.outputs:
            column = self.spec.output_mappings.get(name, name)
            mapped = name in self.spec.output_mappings
            place: Place = ("output_mappings", name) if mapped else ("outputs", name)
            if column in read and not self.spec.only_outputs:
                problem = f"the output `{column}` has the same name as an input column"
                self._report(place, problem, f"rename it: `rename: {{{name}: new_{name}}}`", key=not mapped)
            elif column in OWN_COLUMNS:
                problem = f"`{column}` is reserved: every run adds this column"
                self._report(place, problem, "rename it", key=not mapped)

    # steps, in order

    def _walk(self, steps: Sequence[Step], place: Place, columns: Columns, loops: int) -> Columns:
        for index, step in enumerate(steps):
            here = (*place, index)
            if self._is_aside(here):
                columns = replace(columns, open=True)
                continue
            self._name(step, here)
            kind = kind_of(step) or ""
            if isinstance(step, BARRIERS):
                if loops:
                    problem = f"`{kind}` waits for all rows and can't be used in a loop"
                    self._report((*here, kind), problem, "move it after the loop", key=True)
                self._expression((*here, "when"), step.when, self._fixed)
            else:
                self._expression((*here, "when"), step.when, self._seen(columns, loops))
            columns = self._WALKS[type(step)](self, step, here, columns, loops)
        return columns

    def _name(self, step: Step, place: Place) -> None:
        if step.name is None:
            return
        if step.name in self._steps_named:
            line = self.document.position((*self._steps_named[step.name], "name"))[0]
            self._report((*place, "name"), f"the step name `{step.name}` is already used on line {line}", "rename it")
        self._steps_named.setdefault(step.name, place)

    def _seen(self, columns: Columns, loops: int) -> Scope:
        spec = self.spec
        known = {*columns.made, *spec.params, *spec.vars} | MAPPINGS | ({"loop_index"} if loops else set())
        later = dict.fromkeys(spec.outputs, "no earlier step makes it")
        return Scope(frozenset(known), "a column at this step, a param or a var", later, columns.open)

    def _value(self, place: Place, value: Any, seen: Scope) -> None:
        """Check a value of any type; strings with braces are templates."""
        if isinstance(value, str):
            if "{{" in value or "{%" in value:
                self._template(place, value, seen)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._value((*place, index), item, seen)
        elif isinstance(value, dict):
            for key, item in value.items():
                self._value((*place, key), item, seen)

    # one method for each kind of step

    def _task(self, step: TaskStep, place: Place, columns: Columns, loops: int) -> Columns:
        seen = self._seen(columns, loops)
        loaded = self._tasks.get(place)
        for name, value in step.params.items():
            if loaded is None or name not in templates_of(loaded):
                self._value((*place, "params", name), value, seen)
        self._llm(step, (*place, "llm"), seen)
        if loaded is None:
            return replace(columns, open=True)
        spec = loaded.spec
        if isinstance(spec, PipelineSpec):
            self._waits(step, place, loaded, loops)
        self._reads(
            step, place, spec, replace(columns, made={**columns.made, **({"loop_index": None} if loops else {})})
        )
        self._params_of(step, place, spec)
        added = added_by(loaded)
        for name in step.output_mappings:
            if name not in added:
                problem = f"the task `{spec.name}` has no output column `{name}`"
                self._report((*place, "output_mappings", name), problem, did_you_mean(name, added), key=True)
        made = [step.output_mappings.get(name, name) for name in added]
        for name, column in zip(added, made, strict=True):
            at = (*place, "output_mappings", name) if name in step.output_mappings else (*place, "task")
            self._new(at, column)
            if name not in step.output_mappings and column in columns.made:
                problem = f"the task `{spec.name}` makes `{column}`, which already exists"
                hint = f"rename it: `output_mappings: {{{name}: new_{name}}}`; "
                self._report(at, problem, f"{hint}or replace it: `{{{name}: {name}}}`")
        return columns.plus(made, place)

    def _waits(self, step: TaskStep, place: Place, loaded: Loaded, loops: int) -> None:
        """Reject a task whose steps wait for all rows if it would run for some of them, or repeatedly."""
        n = loaded.spec.num_generations if step.num_generations is None else step.num_generations
        names = {*self.spec.params, *self.spec.vars, *GLOBALS, "params", "vars"}
        by_row = step.when is not None and any(name.name not in names for name in read_expression(step.when).names)
        if not waits(loaded) or not (loops or by_row or n > 1):
            return
        why = (
            "in a loop" if loops else "with a `when` that depends on the row" if by_row else "with several generations"
        )
        problem = f"the task `{loaded.spec.name}` has a step that waits for all rows and can't be used {why}"
        self._report((*place, "task"), problem)

    def _reads(self, step: TaskStep, place: Place, spec: TaskSpec | PipelineSpec, columns: Columns) -> None:
        for name, column in step.input_mappings.items():
            at = (*place, "input_mappings", name)
            if spec.inputs and name not in spec.inputs:
                problem = f"the task `{spec.name}` has no input `{name}`"
                self._report(at, problem, did_you_mean(name, spec.inputs), key=True)
            self._known(at, column, columns)
        for name, declared in spec.inputs.items():
            if name in step.input_mappings or not declared.required or declared.when is not None:
                continue
            column = spec.input_mappings.get(name, name)
            if column in columns.made or columns.open:
                continue
            problem = f"the task `{spec.name}` reads `{column}`, which is neither an input nor made by an earlier step"
            close = nearest(column, columns.made)
            hint = did_you_mean(column, columns.made)
            if close and isinstance(step.task, str):
                hint = f"did you mean `input_mappings: {{{name}: {close}}}`?"
            self._report_read(name, step, (*place, "task"), problem, hint)

    def _report_read(self, name: str, step: TaskStep, place: Place, problem: str, hint: str | None) -> None:
        """Report an error at the name in an inline task's chat, or else at the task."""
        messages = step.task.get("format_input") if isinstance(step.task, dict) else None
        for index, message in enumerate(messages if isinstance(messages, list) else ()):
            content = message.get("content") if isinstance(message, dict) else None
            if isinstance(content, str):
                found = next((n for n in read_template(content).names if n.name == name), None)
                if found is not None:
                    at = (*place, "format_input", index, "content")
                    self._report(at, problem, hint, offset=found.offset, length=len(name))
                    return
        self._report(place, problem, hint)

    def _params_of(self, step: TaskStep, place: Place, spec: TaskSpec | PipelineSpec) -> None:
        for name in step.params:
            if name not in spec.params:
                problem = f"the task `{spec.name}` has no param `{name}`"
                self._report((*place, "params", name), problem, did_you_mean(name, spec.params), key=True)
        for name, param in spec.params.items():
            inherited = isinstance(step.task, dict) and name in self.spec.params
            if "default" not in param.model_fields_set and name not in step.params and not inherited:
                problem = f"the task `{spec.name}` needs the param `{name}`"
                self._report((*place, "task"), problem, f"add `params: {{{name}: ...}}`")

    def _llm(self, step: TaskStep, place: Place, seen: Scope) -> None:
        if step.llm is None:
            return
        for key in ("config", "model"):
            value = getattr(step.llm, key)
            if value is None:
                continue
            self._value((*place, key), value, seen)
            if key == "config" and "{{" not in value and value not in configs():
                at = place if self.document.part(place).data == value else (*place, key)
                self._report(at, f"there is no built-in config `{value}`", did_you_mean(value, configs()))

    def _repeat(self, step: RepeatStep, place: Place, columns: Columns, loops: int) -> Columns:
        if isinstance(step.repeat, str):
            self._expression((*place, "repeat"), step.repeat, self._seen(columns, loops))
        elif not 0 <= step.repeat <= MAX_TURNS:
            self._report((*place, "repeat"), f"a loop must have 0 to {MAX_TURNS:,} turns")
        self._expression((*place, "while"), step.while_, self._seen(columns, loops + 1))
        inner = self._walk(step.steps, (*place, "steps"), columns, loops + 1)
        self._expression((*place, "until"), step.until, self._seen(inner, loops + 1))
        return inner.plus(self._collected(step.collect or {}, place, inner), place)

    def _for_each(self, step: ForEachStep, place: Place, columns: Columns, loops: int) -> Columns:
        name, word, source = step.for_each.partition(" in ")
        name = name.strip()
        if not word or not name.isidentifier():
            self.made_inside[place] = []
            self._report((*place, "for_each"), 'expected "name in expression"', "for example: answer in answers")
            return replace(columns, open=True)
        shift = len(step.for_each) - len(source)

        def at(offset: int, length: int, message: str, hint: str | None) -> Diagnostic:
            return self.document.diagnostic((*place, "for_each"), message, hint, offset=shift + offset, length=length)

        self._syntax(read_expression(source), self._seen(columns, loops), at, "the expression", (*place, "for_each"))
        inside = replace(columns, made={**columns.made, name: None})
        inner = self._walk(step.steps, (*place, "steps"), inside, loops + 1)
        made = [n for n, maker in inner.made.items() if maker is not None and maker[: len(place)] == place]
        self.made_inside[place] = made
        if step.collect is not None:
            return columns.plus(self._collected(step.collect, place, inner), place)
        return replace(columns.plus(made, place), open=columns.open or inner.open)

    def _collected(self, collect: Mapping[str, str], place: Place, inner: Columns) -> list[str]:
        written = self.document.part((*place, "collect")).data
        for index, (name, column) in enumerate(collect.items()):
            at = (*place, "collect", index if isinstance(written, list) else name)
            self._new(at, name)
            self._known(at, column, inner)
        return list(collect)

    def _filter(self, step: FilterStep, place: Place, columns: Columns, loops: int) -> Columns:
        self._expression((*place, "filter"), step.filter, self._seen(columns, loops))
        return columns

    def _check(self, step: CheckStep, place: Place, columns: Columns, loops: int) -> Columns:
        self._expression((*place, "check"), step.check, self._seen(columns, loops))
        if step.error is not None:
            self._template((*place, "error"), step.error, self._seen(columns, loops))
        return columns

    def _count_tokens(self, step: CountTokensStep, place: Place, columns: Columns, loops: int) -> Columns:
        self._expression((*place, "count_tokens"), step.count_tokens, self._seen(columns, loops))
        self._value((*place, "tokenizer"), step.tokenizer, self._fixed)
        self._new((*place, "into"), step.into)
        return columns.plus([step.into], place)

    def _set(self, step: SetStep, place: Place, columns: Columns, loops: int) -> Columns:
        for name, value in step.set.items():
            self._new((*place, "set", name), name)
            self._value((*place, "set", name), value, self._seen(columns, loops))
            columns = columns.plus([name], place)
        return columns

    def _python(self, step: PythonStep, place: Place, columns: Columns, loops: int) -> Columns:
        for name, value in step.args.items():
            self._value((*place, "args", name), value, self._seen(columns, loops))
        for name, output in step.outputs.items():
            self._new((*place, "outputs", name), name)
            self._typed((*place, "outputs", name), output)
        return columns.plus(step.outputs, place)

    def _explode(self, step: ExplodeStep, place: Place, columns: Columns, _loops: int) -> Columns:
        self._all_known(step.explode, (*place, "explode"), columns)
        return columns.plus(step.explode, place)

    def _keep(self, step: KeepStep, place: Place, columns: Columns, _loops: int) -> Columns:
        self._all_known(step.keep, (*place, "keep"), columns)
        return Columns({name: columns.made.get(name) for name in step.keep})

    def _drop(self, step: DropStep, place: Place, columns: Columns, _loops: int) -> Columns:
        self._all_known(step.drop, (*place, "drop"), columns)
        return columns.without(step.drop)

    def _rename(self, step: RenameStep, place: Place, columns: Columns, _loops: int) -> Columns:
        for name, new in step.rename.items():
            at = (*place, "rename", name)
            self._known(at, name, columns, key=True)
            self._new(at, new)
            if new in columns.made and new not in step.rename:
                self._report(at, f"the column `{new}` already exists", "drop it first, or use another name")
        return columns.without(step.rename).plus(step.rename.values(), place)

    def _group(self, step: GroupStep, place: Place, columns: Columns, _loops: int) -> Columns:
        self._all_known(step.group.by, (*place, "group"), columns)
        return columns.plus([name for name in columns.made if name not in step.group.by], place)

    def _dedup(self, step: DedupStep, place: Place, columns: Columns, _loops: int) -> Columns:
        self._all_known(step.dedup.by, (*place, "dedup"), columns)
        if step.dedup.threshold is not None and step.dedup.method == "exact":
            problem = "`threshold` does not apply to exact values"
            self._report(
                (*place, "dedup", "threshold"), problem, "add `method: minhash`, `semantic` or `cosine`", key=True
            )
        if isinstance(step.dedup.threshold, str):
            self._expression((*place, "dedup", "threshold"), step.dedup.threshold, self._fixed)
        if step.dedup.method == "cosine" and len(step.dedup.by) > 1:
            self._report((*place, "dedup"), "`method: cosine` compares only one column", key=True)
        self._value((*place, "dedup", "model"), step.dedup.model, self._fixed)
        return self.check_semantic(step, place, columns)

    def _sort(self, step: SortStep, place: Place, columns: Columns, _loops: int) -> Columns:
        self._all_known(step.sort.by, (*place, "sort"), columns)
        return columns

    def _sample(self, step: SampleStep, place: Place, columns: Columns, _loops: int) -> Columns:
        sample = step.sample
        if (sample.n is None) == (sample.fraction is None):
            self._report((*place, "sample"), "a sample needs either `n` or `fraction`", key=True)
        self._count((*place, "sample"), "n", sample.n)
        return columns

    def _limit(self, step: LimitStep, place: Place, columns: Columns, _loops: int) -> Columns:
        self._count(place, "limit", step.limit)
        return columns

    # cases

    def _case(self, path: Place, case: PipelineCase) -> None:
        if case.expect is None and case.error is None:
            self._report(path, "the case expects nothing", "add `expect`, or `error` for a row that fails")
        for name in case.params or {}:
            if name not in self.spec.params and self._names_known:
                problem = f"`{name}` is not a param"
                self._report((*path, "params", name), problem, did_you_mean(name, self.spec.params), key=True)

    _WALKS: Mapping[type[Step], Callable[..., Columns]] = {
        TaskStep: _task,
        RepeatStep: _repeat,
        ForEachStep: _for_each,
        FilterStep: _filter,
        CheckStep: _check,
        CountTokensStep: _count_tokens,
        SetStep: _set,
        PythonStep: _python,
        ExplodeStep: _explode,
        ChunkStep: StepChecker.check_chunk,
        LanguageStep: StepChecker.check_language,
        DecontaminateStep: StepChecker.check_decontaminate,
        KeepStep: _keep,
        DropStep: _drop,
        RenameStep: _rename,
        GroupStep: _group,
        DedupStep: _dedup,
        SortStep: _sort,
        SampleStep: _sample,
        LimitStep: _limit,
        SplitStep: StepChecker.check_split,
    }
