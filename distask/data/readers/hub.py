"""Datasets of the Hub, and folders that `datasets` saved; `datasets` is imported only here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.data.readers.arrow import rows_of
from distask.data.row import Row, plain
from distask.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "hf://"
MEDIA = frozenset({"Image", "Audio", "Video", "Pdf", "Nifti"})
"""Features of `datasets` whose values are files. They are read as their bytes, not decoded."""
BATCH = 64
BATCH_OF_MEDIA = 4


def read_hub(source: str) -> Iterator[Row]:
    """`hf://owner/name[/config][@split]`, streamed; also a local repository, `hf://./path@split`."""
    import datasets

    name, _, split = source.removeprefix(PREFIX).partition("@")
    config = None
    if not name.startswith((".", "/")) and name.count("/") == 2:
        name, _, config = name.rpartition("/")
    try:
        data: Any = datasets.load_dataset(name, config, split=split or None, streaming=True)
    except Exception as error:  # noqa: BLE001 - `datasets` raises whatever its parts do
        raise InputError(f"{source}: {_first_line(error)}") from None
    yield from _rows(data, source)


def read_folder(source: str) -> Iterator[Row]:
    """A folder that `save_to_disk` wrote, `folder[@split]`."""
    import datasets

    name, _, split = source.partition("@")
    data: Any = datasets.load_from_disk(name)
    if split:
        if not isinstance(data, dict) or split not in data:
            raise InputError(f"{source}: there is no split `{split}`")
        data = data[split]
    yield from _rows(data, source)


def _rows(data: Any, source: str) -> Iterator[Row]:
    if isinstance(data, dict):
        if len(data) != 1:
            raise InputError(
                f"{source}: there are several splits ({', '.join(data)}); name one: {source}@{next(iter(data))}"
            )
        data = next(iter(data.values()))
    if data.features is None:  # of a stream whose types nobody knows: JSON, CSV
        for number, values in enumerate(data, 1):
            yield Row({name: plain(value) for name, value in values.items()}, source, number)
        return
    schema = data.features.arrow_schema
    large = any(type(feature).__name__ in MEDIA for feature in data.features.values())
    tables = data.with_format("arrow").iter(batch_size=BATCH_OF_MEDIA if large else BATCH)
    yield from rows_of((batch for table in tables for batch in table.to_batches()), schema, source)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
