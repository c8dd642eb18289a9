"""Copy a dataset of the Hub to shared storage, in shards that several machines can copy at the same time.

A cluster reads its input several times and from the middle, which a stream does not allow. The copy is Parquet with the
types and features of the dataset, or JSON Lines if the dataset has no types.
"""

from __future__ import annotations

import contextlib
import shutil
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

from distask.data.readers.hub import PREFIX, is_local, revision_of, stream_hub, tables_of
from distask.data.row import plain
from distask.data.writers.base import json_bytes
from distask.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

STARTED, COMPLETE = "started.json", "complete.json"
"""Files that describe a copy, and a complete one."""
GROUP_BYTES = 8 << 20
"""Bytes of a row group, so that a machine can read a part of a shard."""


class Shard(Struct, frozen=True):
    """A piece of a dataset and the file to copy it to."""

    source: str
    revision: str | None
    """The commit on the Hub; None for a local repository."""
    number: int
    shards: int
    rows: int | None
    """Number of rows to copy; None for all."""
    file: str

    def copy(self) -> None:
        """Copy the shard, unless it is complete; raises `InputError` or `OSError`."""
        final = Path(self.file)
        if final.exists():
            return
        data = stream_hub(self.source, self.revision)
        if self.shards > 1:
            data = data.shard(num_shards=self.shards, index=self.number)
        if self.rows is not None:
            data = data.take(self.rows)
        partial = final.with_name(final.name + ".partial")
        try:
            _write_lines(data, partial) if data.features is None else _write_parquet(data, partial)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - `datasets` raises many kinds of errors
            raise InputError(f"{self.source}: {(str(error) or type(error).__name__).splitlines()[0]}") from None
        partial.replace(final)


def copy_hub(source: str, folder: Path, rows: int | None, run: Callable[[Sequence[Shard]], None]) -> str:
    """Copy a dataset to a folder, unless the folder has the copy already; returns a glob of its files.

    Args:
        source: `hf://owner/name[/config][@split]`.
        folder: the folder of the copy; another copy in it is deleted.
        rows: number of rows to copy from the start; None for all.
        run: calls `Shard.copy` of all shards, on any machine.

    Raises:
        InputError: the dataset can't be read.
    """
    if is_local(source):
        name, at, split = source.removeprefix(PREFIX).partition("@")
        source = f"{PREFIX}{Path(name).absolute()}{at}{split}"
    revision = revision_of(source)
    wanted = {"source": source, "revision": revision, "rows": rows}
    known = _read(folder / COMPLETE)
    if known is not None and {name: known.get(name) for name in wanted} == wanted:
        return str(folder / f"shard-*{known['ending']}")
    if _read(folder / STARTED) != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / STARTED).write_bytes(orjson.dumps(wanted))
    pinned = None if is_local(source) else revision
    data = stream_hub(source, pinned)
    ending = ".jsonl" if data.features is None else ".parquet"
    count = 1 if rows is not None else max(1, data.num_shards)
    files = [str(folder / f"shard-{number:05d}{ending}") for number in range(count)]
    run([Shard(source, pinned, number, count, rows, file) for number, file in enumerate(files)])
    (folder / COMPLETE).write_bytes(orjson.dumps({**wanted, "ending": ending}))
    return str(folder / f"shard-*{ending}")


def _read(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError):
        known: dict[str, Any] = orjson.loads(path.read_bytes())
        return known
    return None


def _write_lines(data: Any, file: Path) -> None:
    with file.open("wb", buffering=1 << 20) as opened:
        for values in data:
            opened.write(json_bytes({name: plain(value) for name, value in values.items()}) + b"\n")


def _write_parquet(data: Any, file: Path) -> None:
    from datasets.table import table_cast
    from pyarrow import parquet

    schema = data.features.arrow_schema
    with parquet.ParquetWriter(file, schema) as writer:
        for table in _joined(table_cast(table, schema) for table in tables_of(data)):
            writer.write_table(table)


def _joined(tables: Iterator[Any]) -> Iterator[Any]:
    """Join small tables up to the size of a row group."""
    import pyarrow as pa

    while several := list(islice(tables, 1)):
        size = several[0].nbytes
        while size < GROUP_BYTES and (table := next(tables, None)) is not None:
            several.append(table)
            size += table.nbytes
        yield pa.concat_tables(several)
