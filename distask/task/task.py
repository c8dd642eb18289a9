"""A compiled spec, with two pure functions: from a row to its chat, and from a reply to its columns."""

from __future__ import annotations

import hashlib
import json
import random
import re
from typing import TYPE_CHECKING, Any, Self

from msgspec.structs import replace

from distask.errors import UsageError
from distask.llm.request import Completion
from distask.spec.language.parsers import PythonParser
from distask.spec.load import Loaded, LoadedSpec, load_spec
from distask.task.chat.compose import Chat
from distask.task.chat.media import Media
from distask.task.chat.prompt import GO_ON, asked_of
from distask.task.draws import Draws, Index
from distask.task.inputs import Inputs
from distask.task.outputs import Outputs
from distask.task.params import Constants, param_template, param_values, params_of_parsers
from distask.task.replies import Parsed, Replies
from distask.task.reply.parse import RowScope
from distask.task.templates.compiler import Compiler, Scope
from distask.task.templates.limits import together
from distask.task.templates.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from distask.llm.request import Message
    from distask.spec.language.columns import Input
    from distask.spec.language.model import TaskSpec
    from distask.task.chat.messages import ChatInput

_DESCRIPTIVE = {"description", "reference", "version", "tags", "cases"}
"""Keys of a spec that do not affect its results."""


def compiler_of(loaded: Loaded) -> Compiler:
    """The compiler for a spec's templates; tasks of the same spec with other params may share it."""
    return Compiler(Sandbox(loaded.path.resolve().parent), loaded.document)


class Task:
    """A compiled task.

    Attributes:
        spec: the spec.
        path: the file of the spec.
        name: the name of the task.
        params: the values of its params, with defaults filled in.
        seed: the random seed for drawn values.
        input_columns: input name to input.
        output_columns: the columns that a reply fills, by their names in the data, in order.
        aggregates: the columns computed from grouped generations.
        added_columns: all columns added to a row except metadata and model: `output_columns` and the aggregates.
        draws: the drawn values of rows.
        needed: the request parameters without which no reply can be used, each with a hint if a model rejects it.
    """

    calls_model = True

    @together
    def __init__(
        self,
        loaded: LoadedSpec,
        params: Mapping[str, Any] | None = None,
        *,
        allow_code: bool = False,
        allow_paths: Sequence[Path] = (),
        seed: int = 0,
        compiler: Compiler | None = None,
    ) -> None:
        spec, folder = loaded.spec, loaded.path.resolve().parent
        self._made_of = (loaded, dict(params or {}), allow_code, tuple(allow_paths), seed)
        self.spec: TaskSpec = spec
        self.path: Path = loaded.path
        self.name, self.seed = spec.name, seed
        if not allow_code and (runs := [p.function for p in spec.format_output if isinstance(p, PythonParser)]):
            raise UsageError(f"{self.path} runs Python code, {', '.join(runs)}: review it, then pass --allow-code")
        self.params = param_values(spec, params or {})
        self._compiler = compiler or compiler_of(loaded)
        self._media = Media([folder, *allow_paths])
        constants = Constants(spec, self.params, self._compiler, self.path)
        self._inputs = Inputs(spec, constants)
        self.input_columns: dict[str, Input] = self._inputs.columns
        constants.names |= dict.fromkeys(spec.inputs.keys() - self.input_columns.keys())
        self._base = constants.names

        self.route, self._prompt = asked_of(spec, constants.value)
        opens_turn = self._prompt is not None and self._prompt.opened is not None
        self._chat = Chat(spec.format_input, self._compiler, self._media, may_be_empty=opens_turn)
        known = {*self._base, *self.input_columns, *spec.draw, "draw", "row"}
        self._templates = {
            name: param_template(name, self.params[name], self._compiler.sandbox, known)
            for name, param in spec.params.items()
            if param.template
        }
        self._column_first = params_of_parsers(spec) if self._templates else frozenset()
        self.draws = Draws(
            spec.draw, self._compiler.expression, self._base, f"{seed}/{self.name}", spec.design, spec.input_mappings
        )

        self._outputs = Outputs(spec, constants, allow_code=allow_code)
        self.output_columns, self.added_columns = self._outputs.in_data, self._outputs.added
        self.aggregates = self._outputs.aggregates
        self._replies = Replies(spec, self._outputs, self._compiler)
        self.needed = self._replies.needed

    @property
    def loaded(self) -> LoadedSpec:
        """The spec, with its file."""
        return self._made_of[0]

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
        """Load a task without steps from a file, or a built-in one by name; see `distask.load`."""
        loaded = load_spec(source)
        if not isinstance(loaded, LoadedSpec):
            raise UsageError(f"{loaded.path} is a task of steps: use `distask.load` or Pipeline.load")
        return cls(loaded, params, allow_code=allow_code, allow_paths=allow_paths, seed=seed)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a task as its spec and params, and compile it again in the other process."""
        loaded, *given = self._made_of
        return _remade, (type(self), replace(loaded, path=loaded.path.absolute()), *given)

    def allow(self, folder: Path) -> None:
        """Let rows name files in this folder and its subfolders."""
        self._media.allow(folder)

    def limit_prompts(self, characters: int) -> None:
        """Set the maximum length of a chat's text."""
        self._compiler.sandbox.prompt_characters = characters

    def dataset_name(self, name: str) -> str:
        """The name of an input column in the data."""
        return self._inputs.dataset_name(name)

    def missing_columns(self, columns: Iterable[str]) -> list[str]:
        """The required columns of the data that are missing from `columns`."""
        known = set(columns)
        needed = self._inputs.required
        for _, names in self._templates.values():
            needed += [name for name in names if name not in needed]
        return [name for name in needed if name not in known]

    def chat_input(self, column: str) -> ChatInput | None:
        """The required input that reads a chat from a column of the data, if any."""
        return self._inputs.chat(column)

    def stand_in(self, column: str, row: Mapping[str, Any]) -> str | None:
        """A description of what the task reads instead of a column missing from a row; None if nothing is."""
        chat = self.chat_input(column)
        return None if chat is None else chat.stand_in(row)

    def check_inputs(self, row: Mapping[str, Any]) -> None:
        """Check the inputs of a row without rendering it.

        Raises:
            RowError: a column is missing, null or of the wrong type.
        """
        self._inputs.check(row)

    def needs_check(self, kinds: Callable[[str], set[type]]) -> bool:
        """Whether `check_inputs` may fail for values of some types; `kinds` gives the types in a column of the data."""
        return self._inputs.need_check(kinds)

    def renders_only_inputs(self) -> bool:
        """Whether rows with equal inputs have equal requests for certain: nothing else of a row is read or drawn."""
        if self.spec.draw or self._templates or self._inputs.have_chats or self._compiler.sandbox.files_read():
            return False
        data = self.spec.model_dump_json(by_alias=True, exclude_unset=True, exclude=_DESCRIPTIVE | {"format_output"})
        return re.search(r"\b(row|draw)\b", data) is None

    def fingerprint(self) -> str:
        """A hash of everything that can change a result: the spec, the files that it reads, params and seed."""
        spec = self.spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=_DESCRIPTIVE)
        files = self._compiler.sandbox.files_read()
        data = json.dumps([spec, files, self.params, self.seed], sort_keys=True, default=str)
        return hashlib.blake2b(data.encode(errors="surrogatepass"), digest_size=16).hexdigest()

    @together
    def format_input(self, row: Mapping[str, Any], index: Index = 0) -> list[Message]:
        """Build the chat for a row, in the format of the API; `index` is the row's position, for drawn values.

        Raises:
            RowError: a column is missing, null or of the wrong type, or rendering fails.
        """
        chat = self._chat.render(self._scope(row, index))
        return chat if self._prompt is None else [{"role": "prompt", "content": self._prompt.of(chat)}]

    @together
    def format_output(self, reply: str | Completion | None, row: Mapping[str, Any], index: Index = 0) -> dict[str, Any]:
        """Parse a reply into output columns, by their names in the data.

        Raises:
            InvalidReply: the reply can't be used; `kind` and `message` say why.
        """
        return self.parse_reply(reply, row, index).columns

    @together
    def parse_reply(self, reply: str | Completion | None, row: Mapping[str, Any], index: Index = 0) -> Parsed:
        """Parse a reply into output columns, with the error for null entries of aligned lists, if any.

        Raises:
            InvalidReply: no part of the reply can be used.
        """
        completion = reply if isinstance(reply, Completion) else Completion(reply)
        scope = RowScope(lambda: self._scope(row, index, strict=False))
        return self._replies.parse(completion, scope, self._drawn_outputs(row, index))

    def _drawn_outputs(self, row: Mapping[str, Any], index: Index) -> dict[str, Any]:
        if not self._outputs.drawn:
            return {}
        values = self.draws.of(index, row)
        return {name: values[name] for name in self._outputs.drawn}

    def reasoning_of(self, completion: Completion) -> str | None:
        """The model's reasoning: sent separately by the server, or dropped from the reply by the `text` parser."""
        return self._replies.reasoning_of(completion)

    def output_schemas(self, *, grouped: bool) -> dict[str, Any]:
        """The JSON Schemas of the columns that it adds, not counting nulls; drawn values only if the spec types them.

        Args:
            grouped: whether a row holds lists with one item per generation.
        """
        return self._outputs.schemas(grouped=grouped)

    def null_output(self) -> dict[str, None]:
        """The output columns of a failed generation."""
        return dict.fromkeys(self.output_columns)

    def keywords(self, row: Mapping[str, Any], index: Index = 0) -> dict[str, Any]:
        """The request parameters that the spec sets for a row: structured output, tools. Raises `RowError`."""
        make = self._replies.keywords
        made = {} if make is None else self._of_row(make, row, index)
        if self._prompt is not None and self._prompt.stop and self.spec.llm.stop is None:
            made["stop"] = list(self._prompt.stop)
        if self.spec.prefill:
            made["extra_body"] = {**made.get("extra_body", {}), **GO_ON}
        return made

    @together
    def _of_row(self, make: Callable[[Scope], dict[str, Any]], row: Mapping[str, Any], index: Index) -> dict[str, Any]:
        return make(self._scope(row, index))

    @together
    def example(self, row: Mapping[str, Any], index: Index = 0, sample: int = 0) -> str:
        """Simulate a reply that `format_output` accepts; deterministic for a row, seed and sample.

        Raises:
            RowError: the `examples` of an output can't be evaluated for the row.
        """
        data = json.dumps(row, sort_keys=True, default=repr)
        rng = random.Random(f"{self.seed}/{index}/{sample}/{data}")  # noqa: S311 - no secret
        scope = RowScope(lambda: self._scope(row, index, strict=False))
        return self._replies.simulate(rng, scope, self._drawn_outputs(row, index))

    def _scope(self, row: Mapping[str, Any], index: Index, *, strict: bool = True) -> dict[str, Any]:
        drawn = self.draws.of(index, row) if self.spec.draw else {}
        scope = {**self._base, **drawn, "draw": drawn, "row": row}
        scope |= self._inputs.values(row, strict=strict)
        if strict and self._templates:
            seen = {**row, **scope, **{name: row[name] for name in self._column_first if name in row}}
            scope |= {name: render(seen) for name, (render, _) in self._templates.items()}
        return scope


def _remade(
    kind: type[Task], loaded: LoadedSpec, params: dict[str, Any], allow_code: bool, paths: Sequence[Path], seed: int
) -> Task:
    return kind(loaded, params, allow_code=allow_code, allow_paths=paths, seed=seed)


def _unaware(write: Callable[[random.Random], str], rng: random.Random, given: Mapping[str, Any]) -> str:  # noqa: ARG001
    """A reply that ignores the values of `examples`."""
    return write(rng)
