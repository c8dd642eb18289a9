"""Read datasets from the Hub and folders saved by `datasets`. `datasets` is imported only here."""

from __future__ import annotations

from pathlib import Path
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
    yield from _rows(stream_hub(source), source)


def stream_hub(source: str, revision: str | None = None) -> Any:
    """Return an `IterableDataset` of a dataset's only split, or of the split that `source` names.

    Raises:
        InputError: the dataset can't be read, or it has several splits and `source` names none.
    """
    import datasets

    name, config, split = _parsed(source)
    try:
        data: Any = datasets.load_dataset(name, config, split=split, streaming=True, revision=revision)
    except Exception as error:  # noqa: BLE001 - `datasets` raises many kinds of errors
        raise InputError(f"{source}: {_first_line(error)}") from None
    return _only_split(data, source)


def revision_of(source: str) -> str:
    """Return what identifies the content of a dataset: the commit on the Hub; for a local repository, its files.

    Raises:
        InputError: the dataset can't be reached.
    """
    name, _, _ = _parsed(source)
    if is_local(source):
        files = sorted(path for path in Path(name).rglob("*") if path.is_file())
        return "\n".join(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(name).sha)
    except Exception as error:  # noqa: BLE001 - errors of the network and of the Hub
        raise InputError(f"{source}: {_first_line(error)}") from None


def is_local(source: str) -> bool:
    """Whether an `hf://` source is a repository on this machine."""
    return source.removeprefix(PREFIX).startswith((".", "/"))


def _parsed(source: str) -> tuple[str, str | None, str | None]:
    """Return the repository, the config and the split."""
    name, _, split = source.removeprefix(PREFIX).partition("@")
    config = None
    if not is_local(source) and name.count("/") == 2:
        name, _, config = name.rpartition("/")
    return name, config, split or None


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


def _only_split(data: Any, source: str) -> Any:
    if not isinstance(data, dict):
        return data
    if len(data) != 1:
        raise InputError(f"{source}: it has several splits ({', '.join(data)}); name one: {source}@{next(iter(data))}")
    return next(iter(data.values()))


def _rows(data: Any, source: str) -> Iterator[Row]:
    data = _only_split(data, source)
    if data.features is None:  # a stream without types: JSON, CSV
        for number, values in enumerate(data, 1):
            yield Row({name: plain(value) for name, value in values.items()}, source, number)
        return
    batches = (batch for table in tables_of(data) for batch in table.to_batches())
    yield from rows_of(batches, data.features.arrow_schema, source)


def tables_of(data: Any) -> Iterator[Any]:
    """Yield the rows of a dataset with types as small Arrow tables; files in them are not decoded."""
    large = any(type(feature).__name__ in MEDIA for feature in data.features.values())
    yield from data.with_format("arrow").iter(batch_size=BATCH_OF_MEDIA if large else BATCH)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
