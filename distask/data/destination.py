"""Send outputs to places other than a local file. The output is written to a local file first and sent when complete.

Only complete files are sent, so the remote place never shows a partial result. If sending fails, the same command sends
the stored replies again and requests none.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from msgspec import Struct

from distask.data.objects import ObjectStore, is_object
from distask.data.readers.hub import PREFIX
from distask.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


OUTPUTS = Path(".distask") / "outputs"
"""Where outputs that will be sent are written first."""


class Destination(Protocol):
    """A remote place for one output."""

    @property
    def local(self) -> Path:
        """The local file that is written first."""

    def check(self, *, overwrite: bool) -> None:
        """Raise `UsageError` if the output can't be sent there; called before any request."""

    def send(self, record: Path, run: Mapping[str, Any]) -> str:
        """Send the file at `local` with its record and return the address. Raises `OutputError`."""


def destination(output: str | None, *, private: bool = False) -> Destination | None:
    """Return the remote place that an output names; None for a file, stdout, or rows returned to the caller."""
    if output is None:
        return None
    if output.startswith(PREFIX):
        from distask.data.push import HubRepository

        return HubRepository.named(output, OUTPUTS, private=private)
    if is_object(output):
        return ObjectStore(output, OUTPUTS)
    if output.endswith("/"):
        return DatasetFolder.named(output)
    return None


RECORD = "distask.run.json"
"""The run's record. A folder that contains it was made by distask."""


class DatasetFolder(Struct, frozen=True):
    """A `datasets` folder, and the Parquet file that is written first."""

    folder: Path
    local: Path

    @classmethod
    def named(cls, output: str) -> DatasetFolder:
        """Create it from a path that ends with a slash."""
        folder = Path(output)
        return cls(folder, folder.parent / ".distask" / f"{folder.name}.parquet")

    def check(self, *, overwrite: bool) -> None:
        """Raise `UsageError` if the name is taken by something else."""
        if self.folder.is_file():
            raise UsageError(f"{self.folder} is a file; remove the trailing slash, or name a folder")
        if not self.folder.parent.is_dir():
            raise UsageError(
                f"{self.folder}: the folder {self.folder.parent} does not exist; create it or choose another"
            )
        is_ours = (self.folder / RECORD).is_file()
        if self.folder.is_dir() and any(self.folder.iterdir()) and not is_ours and not overwrite:
            raise UsageError(
                f"the folder {self.folder} exists, and distask did not make it. No requests were sent.\n"
                "Name another folder with --output, or replace it with --overwrite."
            )
        self.local.parent.mkdir(mode=0o700, exist_ok=True)

    def send(self, record: Path, run: Mapping[str, Any]) -> str:  # noqa: ARG002 - the record names paths of this machine
        """Write the folder, replacing an earlier one, and return its path."""
        try:
            with tempfile.TemporaryDirectory(dir=self.local.parent, prefix="folder-") as temporary:
                made = Path(temporary) / "made"
                _save(self.local, made, Path(temporary) / "rows.arrow")
                written = orjson.dumps(run, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str)
                (made / RECORD).write_bytes(written)
                if self.folder.exists():
                    self.folder.rename(Path(temporary) / "earlier")
                made.rename(self.folder)
        except Exception as error:  # noqa: BLE001 - on any error, the rows are complete in the Parquet file
            rows = self.folder.with_name(f"{self.folder.name}.parquet")
            where = self.local
            if not rows.exists():
                where = Path(shutil.copyfile(self.local, rows))
            raise OutputError(
                f"{self.folder}: can't create the folder: {(str(error) or type(error).__name__).splitlines()[0]}\n"
                f"All rows are complete in {where}."
            ) from None
        return str(self.folder)


def _save(rows: Path, folder: Path, stream: Path) -> None:
    """Save a Parquet file as a `datasets` folder, one row group at a time."""
    import datasets
    import pyarrow as pa
    from datasets.table import table_cast
    from pyarrow import parquet

    with parquet.ParquetFile(rows) as source:
        schema = _features(source.schema_arrow).arrow_schema
        with stream.open("wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for number in range(source.num_row_groups):
                writer.write_table(table_cast(source.read_row_group(number), schema))
    with _without_progress():
        datasets.Dataset.from_file(str(stream)).save_to_disk(str(folder))


def _features(schema: Any) -> Any:
    """Return the input's features, including those Parquet has no type for (times in seconds); the others by type."""
    import datasets

    from distask.data.writers.media import features_in

    kept = features_in(schema.metadata or {})
    by_type = datasets.Features.from_arrow_schema(schema)
    return datasets.Features({**by_type, **datasets.Features.from_dict({n: kept[n] for n in by_type if n in kept})})


@contextmanager
def _without_progress() -> Iterator[None]:
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    was_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not was_disabled:
            enable_progress_bars()
