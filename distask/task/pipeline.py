"""A compiled spec of steps: segments of steps that process rows one by one, and barriers between them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Self

from msgspec import Struct

from distask.errors import UsageError
from distask.spec.load import LoadedPipeline, load_spec
from distask.task.steps.barriers import Barrier
from distask.task.steps.build import Builder, Settings
from distask.task.steps.flow import through
from distask.task.steps.item import Item, Lineage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from distask.spec.language.columns import Input
    from distask.spec.language.model import LLM
    from distask.spec.language.steps import PipelineSpec, StepLLM
    from distask.spec.load import Loaded
    from distask.task.steps.calls import CalledTask, CutText
    from distask.task.steps.flow import Count, Flow, Step
    from distask.task.task import Task
    from distask.task.templates.compiler import Compiler

_DESCRIPTIVE = {"description", "reference", "version", "tags", "cases"}


class Segment(Struct, frozen=True):
    """Steps that process rows one by one, and the barrier after them, if any."""

    steps: tuple[Step, ...]
    barrier: Barrier | None


class Pipeline:
    """A compiled task of steps. Use it for one run only: steps keep counts, and barriers keep state.

    Attributes:
        spec: the spec.
        path: the file of the spec.
        name: the name of the task.
        params: the values of its params, with defaults filled in.
        seed: the random seed for drawn values.
        input_columns: the columns that the spec declares as inputs.
        output_columns: the declared outputs, by their names in the data; empty if the steps decide.
        added_columns: the columns that the data must not already have.
        draws: the drawn values of rows.
        segments: the steps.
        counts: the counts of each step, in order.
    """

    def __init__(
        self,
        loaded: LoadedPipeline,
        params: Mapping[str, Any] | None = None,
        *,
        allow_code: bool = False,
        allow_paths: Sequence[Path] = (),
        seed: int = 0,
        compilers: dict[int, Compiler] | None = None,
    ) -> None:
        self._loaded = loaded
        self.spec: PipelineSpec = loaded.spec
        self.path: Path = loaded.path
        self.name, self.seed = loaded.spec.name, seed
        self._settings = Settings(seed, allow_code, allow_paths, {} if compilers is None else compilers)
        self._builder = Builder(self._settings)
        body = self._builder.body(loaded, params or {})
        self.params = dict(body.params)
        self.input_columns: dict[str, Input] = dict(loaded.spec.inputs)
        self._read_columns = tuple(map(self.dataset_name, self.input_columns))
        self.output_columns = body.outputs
        self.added_columns = body.added
        self.draws = body.draws
        self._schemas = body.schemas or self._builder.schemas
        self.segments = _segments(body.nodes)
        self.counts: list[Count] = self._builder.counts

    @classmethod
    def load(
        cls,
        source: str | Path,
        params: Mapping[str, Any] | None = None,
        *,
        allow_code: bool = False,
        allow_paths: Sequence[Path] = (),
        seed: int = 0,
    ) -> Self:
        """Load a task of steps from a file, or a built-in one by name; see `Task.load`."""
        loaded = load_spec(source)
        if not isinstance(loaded, LoadedPipeline):
            raise UsageError(f"{loaded.path} is a task without steps: use `distask.load` or Task.load")
        return cls(loaded, params, allow_code=allow_code, allow_paths=allow_paths, seed=seed)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a pipeline as its specs and params, and compile them again in the other process."""
        settings = self._settings
        return _remade, (self._loaded, self.params, settings.allow_code, tuple(settings.allow_paths), self.seed)

    def again(self) -> Pipeline:
        """A fresh copy that has not processed any rows."""
        settings = self._settings
        made = Pipeline(
            self._loaded,
            self.params,
            allow_code=settings.allow_code,
            allow_paths=settings.allow_paths,
            seed=self.seed,
            compilers=settings.compilers,
        )
        made.limit_prompts(self._builder.prompt_characters)
        return made

    def is_last(self, segment: int) -> bool:
        """Whether no segment follows this one."""
        return segment == len(self.segments) - 1

    @property
    def calls_model(self) -> bool:
        """Whether any step calls a model."""
        return _calls_model(self._loaded)

    @property
    def asked(self) -> Sequence[tuple[StepLLM, LLM]]:
        """The models that its steps use, as far as they are known without rows."""
        return tuple(self._builder.asked)

    @property
    def loaded(self) -> LoadedPipeline:
        """The spec, with its file and the tasks of its steps."""
        return self._loaded

    @property
    def called(self) -> Sequence[CalledTask]:
        """The tasks of single calls that its steps run, in the order of the steps."""
        return tuple(self._builder.called)

    @property
    def cuts(self) -> Sequence[CutText]:
        """Its `chunk` steps."""
        return tuple(self._builder.cuts)

    @property
    def tasks(self) -> Iterable[Task]:
        """The tasks that its steps use, as far as they are known without rows."""
        return tuple(self._builder.tasks)

    def prepare(self, notify: Callable[[str], None] | None = None) -> None:
        """Load what its steps need besides models that are called; raises `UsageError` before the first request."""
        for segment in self.segments:
            if segment.barrier is not None:
                segment.barrier.prepare(notify)

    def allow(self, folder: Path) -> None:
        """Let rows name files in this folder and its subfolders."""
        for task in self._builder.tasks:
            task.allow(folder)

    def limit_prompts(self, characters: int) -> None:
        """Set the maximum length of a chat's text in every task of its steps, and of a text that a step computes."""
        self._builder.prompt_characters = characters
        for compiler in self._settings.compilers.values():
            compiler.sandbox.prompt_characters = characters

    def dataset_name(self, name: str) -> str:
        """The name of an input column in the data."""
        return self.spec.input_mappings.get(name, name)

    def missing_columns(self, columns: Iterable[str]) -> list[str]:
        """The required columns of the data that are missing from `columns`."""
        known = set(columns)
        needed = [self.dataset_name(n) for n, c in self.input_columns.items() if c.required and c.when is None]
        return [name for name in needed if name not in known]

    def stand_in(self, column: str, row: Mapping[str, Any]) -> str | None:
        """A description of what its tasks read instead of a column missing from a row; None if nothing is."""
        chat = self._builder.chat_input(column)
        return None if chat is None else chat.stand_in(row)

    def fingerprint(self) -> str:
        """A hash of everything that can change a result: the specs, the files that they read, params and seed."""
        data = json.dumps([_identity(self._loaded), self.params, self.seed], sort_keys=True, default=str)
        return hashlib.blake2b(data.encode(errors="surrogatepass"), digest_size=16).hexdigest()

    def output_schemas(self, *, grouped: bool) -> dict[str, Any]:
        """The JSON Schemas of the columns that it adds, not counting nulls, as far as they are known without rows.

        Args:
            grouped: whether a row holds lists with one item per generation.
        """
        if not grouped:
            return dict(self._schemas)
        return {name: {"type": "array", "items": schema} for name, schema in self._schemas.items()}

    def null_output(self) -> dict[str, None]:
        """The output columns of a failed row."""
        return dict.fromkeys(self.output_columns)

    def item(
        self, values: Mapping[str, Any], index: int, place: str, equal: int = 0, identity: bytes | None = None
    ) -> Item:
        """Wrap an input row; `equal` is the number of equal rows before it, `identity` that of the row, if known."""
        known = self.identity(values) if identity is None else identity
        key = hashlib.blake2b(known + b"%d" % equal, digest_size=16).digest()
        return Item(dict(values), Lineage(key, str(index), True), place)

    def identity(self, values: Mapping[str, Any]) -> bytes:
        """A 16-byte hash that identifies a row: of the declared inputs, or else of all columns."""
        data = _json_pairs([(name, values.get(name)) for name in self._read_columns or sorted(values)])
        return hashlib.blake2b(data.encode(errors="surrogatepass"), digest_size=16).digest()

    def flow(self, segment: int, item: Item) -> Flow:
        """Run the steps of a segment on a row."""
        return through(self.segments[segment].steps, item)


def _segments(nodes: Sequence[Step | Barrier]) -> tuple[Segment, ...]:
    made: list[Segment] = []
    steps: list[Step] = []
    for node in nodes:
        if isinstance(node, Barrier):
            made.append(Segment(tuple(steps), node))
            steps = []
        else:
            steps.append(node)
    return (*made, Segment(tuple(steps), None))


def _calls_model(loaded: Loaded) -> bool:
    return not isinstance(loaded, LoadedPipeline) or any(map(_calls_model, loaded.tasks.values()))


def _identity(loaded: Any) -> Any:
    spec = loaded.spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=_DESCRIPTIVE)
    return [spec, [_identity(inner) for inner in getattr(loaded, "tasks", {}).values()]]


def _digest(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return hashlib.blake2b(bytes(value)).hexdigest()
    return repr(value)


_ENCODER = json.JSONEncoder(sort_keys=True, default=_digest)
_as_json = json.encoder.encode_basestring_ascii


def _json_pairs(pairs: Sequence[tuple[str, Any]]) -> str:
    """Return names and values as the JSON of a list of lists; most rows have only texts and integers."""
    parts = []
    for name, value in pairs:
        kind = type(value)
        if kind is str:
            parts.append(f"[{_as_json(name)}, {_as_json(value)}]")
        elif kind is int:
            parts.append(f"[{_as_json(name)}, {value}]")
        else:
            return _ENCODER.encode(pairs)
    return f"[{', '.join(parts)}]"


def _remade(
    loaded: LoadedPipeline, params: dict[str, Any], allow_code: bool, paths: Sequence[Path], seed: int
) -> Pipeline:
    return Pipeline(loaded, params, allow_code=allow_code, allow_paths=paths, seed=seed)
