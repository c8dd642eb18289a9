"""Find the input row that an output row of a run came from, by the run's record and the values of the row."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct, field

from distask.data.checksums import checksum_of
from distask.data.compression import kind_of
from distask.data.documents import ARCHIVES, KINDS
from distask.data.input import open_input
from distask.data.readers import ReadOptions
from distask.data.row import untabled
from distask.errors import InputError
from distask.formatting import several
from distask.runner.generations import MODEL_COLUMN
from distask.runner.provenance.earlier import section_of
from distask.runner.provenance.inputs import recorded_file
from distask.runner.provenance.layout import input_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from distask.data.input import Input
    from distask.data.row import Row

PLACES_SHOWN = 20
"""Maximum number of input rows to name if several may be the origin."""
WHERE_ELSE = {
    "none": "the task reads no input",
    "memory": "the input was rows in memory, which were not saved",
    "stdin": "the input came from stdin, which was not saved",
    "hub": "the input is the dataset {source}, which is not read again: tracing uses no network",
    "objects": "the input is {source}, which is not read again: tracing uses no network",
}
"""Why the input of a run can't be read, by its kind."""


class Origin(Struct):
    """Where an output row came from."""

    file: str
    """The input file as the run read it; a document in an archive has the archive's name before its own."""
    found: Path | None
    """Where the file is now; None if it is gone."""
    row: int | None
    """Number of the row in the file, from 1; None for a document."""
    state: str
    """Whether the file is as it was: unchanged, changed, missing or unknown."""
    values: dict[str, Any] = field(default_factory=dict)
    """The input row."""
    index: int | None = None
    """Place of the row in the complete input, from 0."""
    others: list[str] = field(default_factory=list)
    """Other input rows that the output row may come from, or comes from too if the task groups rows."""
    earlier: tuple[Path, int] | None = None
    """The output that the input is, and the row in it, to continue with."""

    @property
    def is_document(self) -> bool:
        """Whether the file is a document, or in an archive of documents."""
        return self.row is None


class Seeker:
    """Finds the input row of an output row.

    Args:
        output: the run's output.
        record: its record.
        row: the number of the output row, from 1.
        values: the output row.
        notes: takes sentences about what can't be found.
    """

    def __init__(
        self, output: Path, record: Mapping[str, Any], row: int, values: Mapping[str, Any], notes: list[str]
    ) -> None:
        self._output, self._record, self._row, self._values, self._notes = output, record, row, values, notes
        self._section = section_of(record)
        self._source: dict[str, Any] = self._section.get("input") or {}
        columns = record.get("columns") or {}
        own = (columns.get("metadata"), MODEL_COLUMN)
        self._shared = [n for n in columns.get("input") or () if n in values and n not in own]

    def find(self) -> Origin | None:
        """Return the origin; None if there is none, or if it can't be found, with a note."""
        kind = self._source.get("kind")
        if kind is None:
            self._notes.append(
                f"{self._output.name}.run.json was written by an older version of distask, which did not record "
                "where rows come from; run the same command again to record it, without new requests"
            )
            return None
        if kind in WHERE_ELSE:
            self._notes.append(WHERE_ELSE[kind].format(source=self._source.get("source")))
            return None
        return self._document() or self._listed_row()

    # Documents are found by their path

    def _document(self) -> Origin | None:
        """Return the document that the column `path` of the row names; None if the input is not documents."""
        name = self._values.get("path")
        recorded = recorded_file(self._source, self._output, name) if isinstance(name, str) else None
        if recorded is None or not isinstance(name, str) or kind_of(Path(recorded.path)) not in (*KINDS, *ARCHIVES):
            return None
        found = self._existing(recorded.path)
        state = self._state(found, recorded.checksum)
        if state == "changed":
            self._notes.append(f"{recorded.path} was changed after the run: its checksum differs")
        elif found is None:
            self._notes.append(f"{recorded.path} was moved or deleted after the run")
        return Origin(name, found, None, state, index=self._place_in_input())

    def _place_in_input(self) -> int | None:
        """Return the place of the row in the input, from 0, if the run read all rows and recorded its layout."""
        chosen, layout = self._source.get("selection") or {}, self._section.get("layout")
        if layout is None or chosen.get("offset") or chosen.get("shard") or chosen.get("sample") is not None:
            return None
        return input_of(layout, self._row - 1)

    # Rows are found by the layout that the run recorded, or else by their values

    def _listed_row(self) -> Origin | None:
        folder = self._folder()
        if folder is None:
            self._notes.append(f"the input {self._source['source']} was moved or deleted after the run")
            return None
        place = input_of(layout, self._row - 1) if (layout := self._section.get("layout")) else None
        try:
            if place is not None and self._source["kind"] != "part":  # a part of a cluster begins anywhere
                selected = self._opened(folder)
                row = next(islice(selected, place, None), None)
                if row is not None and self._fits(folder, row):
                    return self._origin(folder, row, [], selected if row.index == place else None)
            row, others = self._by_values(folder)
            return None if row is None else self._origin(folder, row, others)
        except (InputError, OSError) as error:
            self._notes.append(f"the input can't be read: {error}")
            return None

    def _by_values(self, folder: Path) -> tuple[Row | None, list[str]]:
        """Return the first input row with the values of the output row, and the places of others."""
        if not self._shared:
            self._notes.append(
                f"row {self._row:,} of {self._output.name} has no column of the input, and the run did not record "
                "which row it came from; keep a column with `distask run --keep COLUMN`"
            )
            return None, []
        first: Row | None = None
        others: list[str] = []
        count = 0
        for exact in (True, False):
            for row in self._candidates(folder):
                if row.error is None and self._matches(row.values, exact=exact):
                    count += 1
                    if first is None:
                        first = row
                    elif len(others) < PLACES_SHOWN:
                        others.append(self._place(folder, row))
            if first is not None:
                break
        if first is None:
            self._notes.append(f"no row of {self._source['source']} has the values of row {self._row:,} of the output")
        elif count > 1 and exact:  # else the row was grouped from all of them
            columns = ", ".join(f"`{name}`" for name in self._shared)
            self._notes.append(f"{several(count, 'row')} of the input have the values of this row in {columns}")
        return first, others

    def _candidates(self, folder: Path) -> Iterator[Row]:
        """Yield the rows that the run selected, or those of all files of a part."""
        if self._source["kind"] != "part":
            yield from self._opened(folder)
            return
        for name in self._source.get("files") or ():
            yield from open_input(str(self._path(folder, name)), self._options())

    def _fits(self, folder: Path, row: Row) -> bool:
        """Whether a row has the values of the output row, or is from an unchanged file: a task may change values."""
        if row.error is not None:
            return False
        if self._shared and self._matches(row.values, exact=True):
            return True
        recorded = recorded_file(self._source, self._output, self._named(folder, row.file))
        state = self._state(Path(row.file), None if recorded is None else recorded.checksum)
        return state == "unchanged" or (state == "unknown" and not self._shared)

    def _matches(self, values: Mapping[str, Any], *, exact: bool) -> bool:
        """Whether all values are equal; if not `exact`, they may be in lists, as of grouped rows."""
        return all(
            _same(values.get(name), self._values[name]) or (not exact and _is_in(values.get(name), self._values[name]))
            for name in self._shared
        )

    def _origin(self, folder: Path, row: Row, others: list[str], complete: Input | None = None) -> Origin:
        """Describe an input row: its number in its file, and the run that wrote the file.

        `complete` is the input, if it was read from its start to this row.
        """
        named = self._source["source"] if self._source["kind"] != "part" else row.file
        whole = self._path(folder, named)
        if complete is None:
            complete = open_input(str(whole), self._options())
            for _ in islice(complete, row.index + 1):
                pass
        last = complete.counted.last
        file, number = (Path(row.file), row.index + 1) if last is None else last
        name = self._named(folder, row.file)
        recorded = recorded_file(self._source, self._output, name)
        state = self._state(file, None if recorded is None else recorded.checksum)
        if state == "changed":
            self._notes.append(f"{name} was changed after the run: its checksum differs")
        if kind_of(file) in (*KINDS, *ARCHIVES):
            return Origin(name, file, None, state, row.values, row.index, others)
        earlier = (whole, row.index + 1) if whole.is_dir() else (file, number)
        return Origin(name, file, number, state, row.values, row.index, others, earlier)

    # Files

    def _opened(self, folder: Path) -> Input:
        """Open the input with the selection of the run."""
        chosen = self._source.get("selection") or {}
        shard = chosen.get("shard")
        opened = open_input(
            str(self._path(folder, self._source["source"])),
            self._options(),
            limit=chosen.get("limit"),
            offset=chosen.get("offset") or 0,
            sample=chosen.get("sample"),
            seed=self._record.get("seed") or 0,
            shard=None if shard is None else (int(shard[0]), int(shard[1])),
            on_bad_row="skip",
        )
        if chosen.get("sample") is not None:
            opened.scan()
        return opened

    def _options(self) -> ReadOptions:
        chosen = self._source.get("reading") or {}
        return ReadOptions(chosen.get("on_nan", "stop"), chosen.get("delimiter"), bool(chosen.get("pages")))

    def _folders(self) -> Iterator[Path]:
        """Yield the folders from which the names of the input may be relative: moved with the output, or as it was."""
        then, there = self._section.get("folder"), self._section.get("output")
        if then and there:
            here = self._output.resolve().parent
            yield Path(os.path.normpath(here / os.path.relpath(then, Path(there).parent)))
        yield Path(then or "")

    def _folder(self) -> Path | None:
        """Return the first folder from which the input can be opened."""
        names = self._source.get("files") if self._source["kind"] == "part" else [self._source["source"]]
        for folder in self._folders():
            try:
                for name in names or ():
                    open_input(str(self._path(folder, name)), self._options())
            except (InputError, OSError):
                continue
            return folder
        return None

    def _existing(self, name: str) -> Path | None:
        return next((path for f in self._folders() if (path := self._path(f, name)).is_file()), None)

    def _path(self, folder: Path, name: str) -> Path:
        return folder / name

    def _named(self, folder: Path, file: str) -> str:
        """Return a file's name as the run read it."""
        return file.removeprefix(f"{folder}/") if not os.path.isabs(str(self._source["source"])) else file  # noqa: PTH117

    def _place(self, folder: Path, row: Row) -> str:
        return f"{self._named(folder, row.file)}:{row.line}"

    def _state(self, file: Path | None, checksum: str | None) -> str:
        if file is None:
            return "missing"
        if checksum is None:
            return "unknown"
        try:
            return "unchanged" if checksum_of(file) == checksum else "changed"
        except OSError:
            return "missing"


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal, or have the same text: tables and JSON write some values in other types."""
    if one == other:
        return True
    if isinstance(one, str) != isinstance(other, str) and _text(untabled(one)) == _text(untabled(other)):
        return True
    return _text(one) == _text(other)


def _is_in(one: Any, several_values: Any) -> bool:
    return isinstance(several_values, list) and any(_same(one, each) for each in several_values)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return orjson.dumps(
            _without_nulls(value), option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str
        ).decode()
    except TypeError:
        return str(value)


def _without_nulls(value: Any) -> Any:
    """Return a value without null entries: tables add the keys of all rows to each of them."""
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def values_of(output: Path, row: int) -> tuple[dict[str, Any], str, tuple[Path, int]]:
    """Return a row of an output, from 1, its place, and its file with its number there.

    Raises:
        InputError: there is no such row.
    """
    rows = open_input(str(output))
    for found in islice(rows, row - 1, None):
        if found.error is not None:
            raise found.error
        return found.values, found.place, rows.counted.last or (output, row)
    raise InputError(f"{output} has {several(rows.counted.total, 'row')}; there is no row {row:,}")


def texts_in(value: Any) -> Sequence[str]:
    """Return the texts of a value: itself, or the items of a list."""
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
