"""`distask validate`: check specs, and optionally the columns and types of data."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from msgspec import Struct, field

from distask.cli import options as o
from distask.cli.events.emit import Events
from distask.diagnostics import Diagnostic, did_you_mean, nearest, visible, visible_json
from distask.errors import InputError, RowError, SpecError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from distask.data.readers import ReadOptions
    from distask.data.readers.blocks import Block
    from distask.data.row import Row
    from distask.spec.load import Loaded

REMOTE_ROWS = 1000
"""Number of rows of a remote source that are checked."""


@o.takes("delimiter", "on_nan", "pages", "on_bad_row", "param")
def command(
    choice: o.Choice,
    specs: o.Specs,
    source: Annotated[
        str | None, typer.Option("--input", "-i", metavar="DATA", help="Also check the columns and types of this data.")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", metavar="text|json|github", help="Output format. [text]")
    ] = "text",
    json_: o.Json = False,
) -> None:
    """Check task specs and report every error with its location and fix. No model is called."""
    if format_ not in PRINTERS:
        raise typer.BadParameter(f"{format_!r} is not one of {', '.join(PRINTERS)}", param_hint="--format")
    params = _params(choice.param or [])
    data = (
        None
        if source is None
        else Data(source, o.read_options(choice.on_nan, choice.delimiter, pages=choice.pages), choice.on_bad_row.value)
    )
    checked = {spec: check(spec, data, params) for spec in dict.fromkeys(specs)}
    notes = [] if data is None else list(data.notes)
    code = 2 if any(_errors(found) for found in checked.values()) else 0
    if json_:
        Events("validate").result(code, **_facts(checked), notes=notes)
    else:
        for note in notes:
            typer.echo(note, err=True)
        typer.echo(PRINTERS[format_](checked))
    raise typer.Exit(code)


class Data(Struct, frozen=True):
    """The data that specs are checked against."""

    source: str
    options: ReadOptions
    on_bad_row: Literal["stop", "skip"]
    notes: dict[str, None] = field(default_factory=dict)
    """Notes on how the data is read; filled while reading."""


def check(source: str, data: Data | None = None, params: dict[str, Any] | None = None) -> list[Diagnostic]:
    """Return every error in a spec: its text, its golden cases, the params, and the data if given."""
    from distask.spec.load import load_spec

    try:
        loaded = load_spec(source)
    except SpecError as error:
        return list(error.diagnostics)
    from distask.task.load import run_cases

    found = run_cases(loaded)
    if params:
        found += _params_faults(loaded, params)
    if data is not None:
        found += _data_faults(loaded, data, params or {})
    return found


def _params(given: Sequence[str]) -> dict[str, Any]:
    from distask.spec.document import scalar

    params = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"expected name=value, got {text!r}", param_hint="--param")
        params[name] = scalar(value)
    return params


def _params_faults(loaded: Loaded, params: dict[str, Any]) -> list[Diagnostic]:
    from distask.task.cases import runs_code
    from distask.task.load import compile_task

    unknown = [name for name in params if name not in loaded.spec.params]
    if unknown:
        return [
            loaded.document.diagnostic(
                ("params",), f"there is no param `{name}`", did_you_mean(name, loaded.spec.params), key=True, length=1
            )
            for name in unknown
        ]
    if runs_code(loaded):
        return []
    try:
        compile_task(loaded, params)
    except UsageError as error:
        return [loaded.document.diagnostic(("params",), str(error), key=True, length=1)]
    return []


def _data_faults(loaded: Loaded, data: Data, params: dict[str, Any]) -> list[Diagnostic]:
    """Return every error in the data: missing or conflicting columns, nulls, and values of a wrong type."""
    from distask.data.input import open_input

    try:
        rows = open_input(data.source, data.options, on_bad_row=data.on_bad_row)
        held = _Columns(loaded, data.source, params)
        rows.scan(held)
        if rows.columns is None:  # a remote source, which is not scanned
            rows = open_input(data.source, data.options, on_bad_row=data.on_bad_row, limit=REMOTE_ROWS)
            for row in rows:
                held.row(row)
        data.notes.update(dict.fromkeys(rows.notes))
        return held.faults(rows.columns or ())
    except InputError as error:
        return _input_faults(data.source, error)


class _Columns:
    """Checks rows against a spec's columns; reports each error once, at its first row, with the number of rows."""

    def __init__(self, loaded: Loaded, source: str, params: dict[str, Any]) -> None:
        from distask.spec.language.model import TaskSpec
        from distask.task.chat.messages import chat_inputs
        from distask.task.column_types import ColumnType

        self._loaded = loaded
        self._source = source
        self._outputs = _outputs(loaded, params)
        mappings = loaded.spec.input_mappings
        self._inputs = [
            (name, mappings.get(name, name), typed.required, ColumnType(typed, name))
            for name, typed in loaded.spec.inputs.items()
        ]
        self._unchecked = {
            name: typed.unchecked | (frozenset() if required else {type(None)})
            for name, _, required, typed in self._inputs
        }
        spec = loaded.spec
        self._chats = chat_inputs(spec, spec.inputs) if isinstance(spec, TaskSpec) else {}
        self._stood_in: set[str] = set()
        """Inputs whose column is replaced by other columns."""
        self._columns: dict[str, None] = {}
        self._first: dict[tuple[str, str], tuple[Row, str]] = {}
        self._count: dict[tuple[str, str], int] = {}

    def row(self, row: Row) -> None:
        """Check one row; raises the error of an unreadable row."""
        if row.error is not None:
            raise row.error
        self._columns.update(dict.fromkeys(row.values))
        for name, column, required, typed in self._inputs:
            self._value(row, name, column, required, typed.read)

    def block(self, block: Block) -> None:
        """Check the rows of a block: only the columns with values that need a check.

        The scan gathers the names of its columns; see `faults`.
        """
        doubtful = [
            (name, column, required, typed.read)
            for name, column, required, typed in self._inputs
            if name in self._chats or not block.kinds(column) <= self._unchecked[name]
        ]
        if not doubtful:
            return
        for number in range(len(block.values)):
            row = block.row(number)
            for each in doubtful:
                self._value(row, *each)

    def faults(self, columns: Iterable[str]) -> list[Diagnostic]:
        """Return the errors found so far; `columns` are those that a scan found."""
        self._columns.update(dict.fromkeys(columns))
        return [*self._spec_faults(self._columns), *self._row_faults(self._columns)]

    def _value(self, row: Row, name: str, column: str, required: bool, read: Callable[[Any], Any]) -> None:
        value, chat = row.values.get(column), self._chats.get(name)
        if chat is not None and (required or value is not None):
            try:
                value = chat.read(row.values)
            except RowError as error:
                self._note(row, column, "type", error.message)
                return
            if value is not None and column not in row.values:
                self._stood_in.add(name)
        if value is None:
            if required:
                self._note(row, column, "null" if column in row.values else "missing", "")
            return
        try:
            read(value)
        except ValueError as error:
            message = str(error)
            rest = message.removeprefix(name) if message.startswith(name) else f": {message}"
            self._note(row, column, "type", f"`{column}`{rest}")

    def _note(self, row: Row, column: str, kind: str, message: str) -> None:
        self._first.setdefault((column, kind), (row, message))
        self._count[column, kind] = self._count.get((column, kind), 0) + 1

    def _spec_faults(self, columns: dict[str, None]) -> list[Diagnostic]:
        document = self._loaded.document
        found = []
        for name, column, required, _ in self._inputs:
            if required and column not in columns and name not in self._stood_in:
                mapped = name in self._loaded.spec.input_mappings
                path = ("input_mappings", name) if mapped else ("inputs", name)
                hint = self._hint(name, column, columns)
                message = f"the data ({self._source}) has no column `{column}`"
                found.append(document.diagnostic(path, message, hint, key=not mapped))
        read = {column for _, column, _, _ in self._inputs}
        for name, column in self._outputs.items():
            if column in columns and column not in read:
                mapped = name in self._loaded.spec.output_mappings
                own: tuple[str, ...] = ("outputs", name) if name in self._loaded.spec.outputs else ("aggregate",)
                place = ("output_mappings", name) if mapped else own
                message = f"the data ({self._source}) already has a column `{column}`"
                hint = f"rename the output: `output_mappings: {{{name}: new_{name}}}`"
                found.append(document.diagnostic(place, message, hint, key=not mapped))
        return found

    def _hint(self, name: str, column: str, columns: dict[str, None]) -> str | None:
        from distask.data.documents import missing_hint
        from distask.data.readers.csv import delimiter_hint

        if (hint := missing_hint(column, self._source)) is not None:
            return hint

        if (hint := delimiter_hint(self._source, columns)) is not None:
            return hint
        close = nearest(column, columns)
        if close is not None:
            return f"did you mean `{close}`? `input_mappings: {{{name}: {close}}}`"
        return did_you_mean(column, columns) and f"its columns: {', '.join(f'`{c}`' for c in list(columns)[:8])}"

    def _row_faults(self, columns: dict[str, None]) -> list[Diagnostic]:
        found = []
        for (column, kind), (row, message) in self._first.items():
            if column not in columns:
                continue
            words = {"null": f"`{column}` is null", "missing": f"`{column}` is missing"}.get(kind, message)
            count = self._count[column, kind]
            more = f", here and in {count - 1:,} more row{'s' if count > 2 else ''}" if count > 1 else ""
            hint = None if kind == "type" else "fill it in, or set `required: false` for the input"
            found.append(Diagnostic(row.file, row.line, 1, f"{words}{more}", hint))
        return found


def _outputs(loaded: Loaded, params: dict[str, Any]) -> dict[str, str]:
    """Return the outputs that are active with these params, and their column names in the data."""
    from distask.spec.language.aggregation import aggregate_columns
    from distask.spec.language.model import TaskSpec
    from distask.task.cases import runs_code
    from distask.task.load import compile_task

    spec = loaded.spec
    made: dict[str, tuple[str, str]] = {}
    if isinstance(spec, TaskSpec):
        made = {f"{of}_{how}": (column, of) for column, of, how in aggregate_columns(spec, spec.outputs)}
    names = {name: spec.output_mappings.get(name, name) for name in spec.outputs}
    names |= {name: column for name, (column, _) in made.items()}
    conditional = {name for name, output in spec.outputs.items() if output.when is not None}
    conditional |= {name for name, (_, of) in made.items() if of in conditional}
    if not conditional:
        return names
    in_force: Sequence[str] = ()
    if not runs_code(loaded):
        try:
            in_force = compile_task(loaded, params).added_columns
        except UsageError:
            in_force = ()
    return {name: column for name, column in names.items() if name not in conditional or column in in_force}


_PLACE = re.compile(r"^(?P<file>\S.*?):(?P<line>\d+):(?:(?P<column>\d+):)? (?P<message>.*)$", re.MULTILINE)


def _input_faults(source: str, error: InputError) -> list[Diagnostic]:
    places = list(_PLACE.finditer(str(error)))
    if not places:
        return [Diagnostic(source, 0, 0, str(error).removeprefix(f"{source}: "))]
    return [Diagnostic(p["file"], int(p["line"]), int(p["column"] or 1), p["message"]) for p in places]


def _errors(found: Sequence[Diagnostic]) -> int:
    return sum(d.severity == "error" for d in found)


def _as_text(checked: dict[str, list[Diagnostic]]) -> str:
    message = [str(d) for d in _once(checked)]
    wrong = sum(bool(_errors(found)) for found in checked.values())
    return "\n\n".join(
        [*message, _summary(len(checked), wrong, sum(d.severity == "error" for d in _once(checked)), checked)]
    )


def _once(checked: dict[str, list[Diagnostic]]) -> list[Diagnostic]:
    return list(dict.fromkeys(d for found in checked.values() for d in found))


def _summary(specs: int, wrong: int, errors: int, checked: dict[str, list[Diagnostic]]) -> str:
    if not errors:
        return f"{visible(next(iter(checked)))}: no errors" if specs == 1 else f"{specs} specs, no errors"
    message = f"{errors} error{'s' if errors > 1 else ''}"
    return message if specs == 1 else f"{message} in {wrong} of {specs} specs"


def _facts(checked: dict[str, list[Diagnostic]]) -> dict[str, Any]:
    return {
        "ok": not any(_errors(found) for found in checked.values()),
        "specs": [{"spec": source, "ok": not _errors(found)} for source, found in checked.items()],
        "diagnostics": [d.to_json() for d in _once(checked)],
    }


def _as_json(checked: dict[str, list[Diagnostic]]) -> str:
    return visible_json(json.dumps(_facts(checked), ensure_ascii=False, indent=2))


def _as_github(checked: dict[str, list[Diagnostic]]) -> str:
    wrong = sum(bool(_errors(found)) for found in checked.values())
    errors = sum(d.severity == "error" for d in _once(checked))
    return "\n".join([*(d.github() for d in _once(checked)), _summary(len(checked), wrong, errors, checked)])


PRINTERS: dict[str, Callable[[dict[str, list[Diagnostic]]], str]] = {
    "text": _as_text,
    "json": _as_json,
    "github": _as_github,
}
