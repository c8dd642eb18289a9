"""Read datasets from the Hub and folders saved by `datasets`. `datasets` is imported only here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.data.readers.parquet import rows_of
from distask.data.row import Row, plain
from distask.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "hf://"
MEDIA = frozenset({"Image", "Audio", "Video", "Pdf", "Nifti"})
"""`datasets` features whose values are files. They are read as bytes, not decoded."""
BATCH = 64
BATCH_OF_MEDIA = 4


def read_hub(source: str) -> Iterator[Row]:
    """Stream `hf://owner/name[/config][@split]`, or a local repository, `hf://./path@split`."""
    import datasets

    name, _, split = source.removeprefix(PREFIX).partition("@")
    config = None
    if not name.startswith((".", "/")) and name.count("/") == 2:
        name, _, config = name.rpartition("/")
    try:
        data: Any = datasets.load_dataset(name, config, split=split or None, streaming=True)
    except Exception as error:  # noqa: BLE001 - `datasets` raises many kinds of errors
        raise InputError(f"{source}: {_first_line(error)}") from None
    yield from _rows(data, source)


def read_folder(source: str) -> Iterator[Row]:
    """Read a folder written by `save_to_disk`, `folder[@split]`."""
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
                f"{source}: it has several splits ({', '.join(data)}); name one: {source}@{next(iter(data))}"
            )
        data = next(iter(data.values()))
    if data.features is None:  # a stream without types: JSON, CSV
        for number, values in enumerate(data, 1):
            yield Row({name: plain(value) for name, value in values.items()}, source, number)
        return
    schema = data.features.arrow_schema
    large = any(type(feature).__name__ in MEDIA for feature in data.features.values())
    tables = data.with_format("arrow").iter(batch_size=BATCH_OF_MEDIA if large else BATCH)
    yield from rows_of((batch for table in tables for batch in table.to_batches()), schema, source)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
