"""Object stores (`s3://`, `gs://`, `az://`) through fsspec: stream rows from them and send outputs to them."""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING, Any

from distask.errors import InputError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
"""URL scheme to the extra that installs its client."""


def is_object(source: str) -> bool:
    """Return whether a source or an output is in an object store."""
    scheme, colon, _ = source.partition("://")
    return bool(colon) and scheme in EXTRAS


def object_files(source: str) -> list[Path]:
    """Return the objects that an address or a glob names, sorted by name; raises `InputError`."""
    path = object_path(source)
    try:
        if not glob.has_magic(source):
            found = [path] if path.is_file() else []
        else:
            root, _, pattern = str(source).partition("://")[2].partition("/")
            top = object_path(f"{source.partition('://')[0]}://{root}")
            found = sorted((p for p in top.glob(pattern) if p.is_file()), key=str)
    except Exception as error:  # noqa: BLE001 - each store's client has its own errors
        raise InputError(f"{source}: can't be read: {_words(error)}") from None
    if not found:
        raise InputError(f"{source}: object not found")
    return found


class ObjectStore:
    """An output that is sent to an object store."""

    def __init__(self, address: str, outputs: Path) -> None:
        self.address = address
        scheme, _, rest = address.partition("://")
        self.local = outputs / scheme / rest

    def check(self, *, overwrite: bool) -> None:
        """Raise `UsageError` if the bucket does not exist, or the name is taken by an object from elsewhere."""
        target = object_path(self.address)
        try:
            taken, bucket = target.exists(), list(target.parents)[-1]
            lost = not taken and not bucket.exists()
        except Exception as error:  # noqa: BLE001 - each store's client has its own errors
            raise UsageError(f"{self.address}: can't be reached: {_words(error)}") from None
        if lost:
            raise UsageError(f"{self.address}: the bucket {bucket} does not exist")
        if taken and not overwrite and not self.local.exists():
            raise UsageError(
                f"{self.address} exists, and was not sent from this folder. No requests were sent.\n"
                "Name another object with --output, or replace it with --overwrite."
            )
        self.local.parent.mkdir(parents=True, exist_ok=True)

    def send(self, record: Path, run: Mapping[str, Any]) -> str:  # noqa: ARG002 - a destination's interface
        """Send the output, then its record."""
        target = object_path(self.address)
        try:
            for file, to in ((self.local, target), (record, target.with_name(target.name + ".run.json"))):
                to.fs.put_file(str(file), to.path)
        except Exception as error:  # noqa: BLE001 - each store's client has its own errors
            raise OutputError(
                f"{self.address}: can't be sent: {_words(error)}\n"
                f"The output is complete in {self.local}. Run the same command to send it again without new requests."
            ) from None
        return self.address


def object_path(address: str) -> Any:
    """Return an object as a path with its store's client; raises `UsageError` if the client is not installed."""
    scheme = address.partition("://")[0]
    try:
        from upath import UPath

        path = UPath(address)
        path.fs  # noqa: B018 - loads the scheme's own client
    except ImportError:
        raise UsageError(f"{address}: {scheme}:// needs an extra: pip install 'distask[{EXTRAS[scheme]}]'") from None
    return path


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
