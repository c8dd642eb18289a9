"""Describe the input of a run: its files with their sizes, checksums and rows, in bounded space."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct
from msgspec.structs import asdict

from distask.data.checksums import checksum_of, new_checksum, text_of
from distask.data.compression import kind_of
from distask.data.documents import ARCHIVES, KINDS
from distask.data.input import Nothing
from distask.data.objects import is_object
from distask.data.readers.hub import PREFIX, is_local, revision_of
from distask.data.writers.base import unwritable
from distask.errors import InputError
from distask.runner.provenance.prompts import chunks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distask.data.file_counts import FileCounts
    from distask.data.input import Input
    from distask.runner.job import Job
    from distask.runner.stats import Stats

FILES_LISTED = 100
"""Maximum number of files in `OUT.run.json`; a longer list is in `OUT.run.files`."""


class SourceFile(Struct, frozen=True):
    """A file of the input."""

    path: str
    """Its name as the run read it; documents have it in the column `path`."""
    bytes: int | None
    """None if the file is gone."""
    checksum: str | None
    rows: int
    """Number of rows that the run took from it."""


def list_path(output: Path) -> Path:
    """Return the path of the list of an output's input files, which exists only if there are many."""
    return output.with_name(output.name + ".run.files")


def describe_input(job: Job, rows: Input, stats: Stats, output: Path) -> dict[str, Any]:
    """Describe the input that a run read, and write the list of its files if it is long.

    All local files are read once more for their checksums, except those of a part on a cluster. The store of an object,
    or the Hub, is asked what identifies the contents.

    Raises:
        OutputError: the list can't be written.
    """
    counted = rows.counted
    kind = _kind_of_source(job.source)
    made: dict[str, Any] = {
        "source": _source(job.source),
        "kind": kind,
        "rows": stats.rows,
        "selection": {
            **asdict(job.selection),
            "shard": None if job.selection.shard is None else list(job.selection.shard),
        },
        "reading": {**asdict(job.reading), "on_bad_row": job.on_bad_row},
    }
    if kind in ("files", "objects") and counted.files:
        made |= _described_files(counted, output)
        if rows.changed():
            made["changed_during_run"] = True
        if are_documents(counted.files):
            made["documents"] = counted.sources
    elif kind == "hub":
        made["revision"] = _revision(str(job.source))
    elif kind == "part":
        made["files"] = [str(file) for file in counted.files]
    if (chunks := chunks_of(job.task, stats)) is not None:
        made["chunks"] = chunks
    return made


def are_documents(files: tuple[Path, ...]) -> bool:
    """Return whether files are documents, or archives of documents."""
    return bool(files) and kind_of(files[0]) in (*KINDS, *ARCHIVES)


def _kind_of_source(source: Any) -> str:
    """Return what a source is: files, stdin, hub, objects, rows in memory, a part of files, or none."""
    if not isinstance(source, str | Path):
        return "none" if isinstance(source, Nothing) else "part" if hasattr(source, "spans") else "memory"
    name = str(source)
    if name == "-":
        return "stdin"
    return "hub" if name.startswith(PREFIX) else "objects" if is_object(name) else "files"


def _source(source: Any) -> str | None:
    if isinstance(source, str | Path):
        return str(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else None


def _described_files(counted: FileCounts, output: Path) -> dict[str, Any]:
    """Describe the files; holds only the first of them in memory."""
    listed: list[dict[str, Any]] = []
    total, checksum, path = 0, new_checksum(), list_path(output)
    many = len(counted.files) > FILES_LISTED
    partial = path.with_name(path.name + ".partial")
    try:
        path.unlink(missing_ok=True)
        if many:
            partial.unlink(missing_ok=True)
            partial.touch(mode=0o600)
        with partial.open("wb") if many else open(os.devnull, "wb") as file:  # noqa: PTH123 - not a path to create
            for each in _files(counted):
                total += each.bytes or 0
                checksum.update(f"{each.path} {each.checksum}\n".encode(errors="surrogateescape"))
                if len(listed) < FILES_LISTED:
                    listed.append(asdict(each))
                file.write(_line(each))
        if many:
            partial.replace(path)
    except OSError as error:
        raise unwritable(str(path), error) from None
    return {
        "files": len(counted.files),
        "bytes": total,
        "checksum": text_of(checksum),
        "listed": listed,
        "list": path.name if many else None,
    }


def _line(file: SourceFile) -> bytes:
    return orjson.dumps({**asdict(file), "path": _text(file.path)}) + b"\n"


def _files(counted: FileCounts) -> Iterator[SourceFile]:
    for file, rows in zip(counted.files, counted.rows, strict=True):
        name = _text(str(file))
        if is_object(name):
            yield SourceFile(name, *_object_state(file), rows)
            continue
        try:
            yield SourceFile(name, file.stat().st_size, checksum_of(file), rows)
        except OSError:
            yield SourceFile(name, None, None, rows)


def _object_state(file: Any) -> tuple[int | None, str | None]:
    """Return the size of an object and the ETag that its store gives it; None where the store does not say."""
    try:
        facts = file.fs.info(file.path)
    except Exception:  # noqa: BLE001 - each store's client has its own errors, and the run is complete
        return None, None
    etag = facts.get("ETag") or facts.get("etag")
    return facts.get("size"), None if etag is None else f"etag:{str(etag).strip(chr(34))}"


def _revision(source: str) -> str | None:
    """Return the commit of a dataset on the Hub at the end of the run; None if it is local or can't be reached."""
    if is_local(source):
        return None
    try:
        return revision_of(source)
    except InputError:
        return None


def _text(name: str) -> str:
    """Return a file name as JSON can hold it: bytes that are not UTF-8 are escaped."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def recorded_file(record_of: dict[str, Any], output: Path, name: str) -> SourceFile | None:
    """Return what a run recorded of an input file, or of the archive that holds a document; None if nothing.

    Args:
        record_of: `provenance.input` of the run's record.
        output: the run's output, next to which the list is.
        name: the file's name as the run read it.
    """
    for each in _recorded(record_of, output):
        if each.path == name or name.startswith(f"{each.path}/"):
            return each
    return None


def _recorded(record_of: dict[str, Any], output: Path) -> Iterator[SourceFile]:
    for each in record_of.get("listed") or ():
        yield SourceFile(**{name: each.get(name) for name in SourceFile.__struct_fields__})
    if record_of.get("list"):
        with suppress(OSError, ValueError, TypeError), (output.parent / str(record_of["list"])).open("rb") as lines:
            for line in lines:
                yield SourceFile(**orjson.loads(line))
