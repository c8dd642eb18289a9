"""Read the documents in zip and tar archives, one after the other."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distask.data.compression import DamagedError, kind_of, open_binary
from distask.data.documents import KINDS, DocumentError, bad_row, check_packages, document_rows, read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distask.data.row import Row

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, DamagedError)


def read_archive(
    path: Path, file: str, *, pages: bool = False, notify: Callable[[str], None] | None = None
) -> Iterator[Row]:
    """Yield the rows of the documents in an archive, whose paths are in the archive's: `book.zip/a/b.md`.

    Files of other kinds, hidden files and archives inside it are left out.
    `notify` is called with a sentence about them.
    """
    ignored: dict[str, int] = {}
    count = 0
    try:
        for name, read in _members(path):
            kind = kind_of(Path(name))
            if any(part.startswith((".", "__MACOSX")) for part in Path(name).parts):
                continue
            if kind not in KINDS:
                ignored[kind or Path(name).name] = ignored.get(kind or Path(name).name, 0) + 1
                continue
            count += 1
            inside = f"{file}/{name}"
            check_packages(kind, inside)
            try:
                yield from document_rows(read(), kind, inside, pages=pages)
            except (DocumentError, RuntimeError, NotImplementedError) as error:
                yield bad_row(inside, DocumentError("it is encrypted") if "encrypted" in str(error) else error)
    except _DAMAGED as error:
        yield bad_row(file, DocumentError(f"the archive is damaged: {error}"))
        return
    if not count:
        yield bad_row(file, DocumentError("there are no documents in the archive"))
    elif ignored and notify is not None:
        total = sum(ignored.values())
        were = "1 file was" if total == 1 else f"{total:,} files were"
        notify(f"{file}: {were} ignored, because they are not documents ({', '.join(list(ignored)[:5])})")


def read_member(path: Path, name: str) -> bytes | None:
    """Return the bytes of a file in an archive; None if it is not there. Raises `DocumentError`."""
    try:
        return next((read() for member, read in _members(path) if member == name), None)
    except (*_DAMAGED, RuntimeError, NotImplementedError) as error:
        raise DocumentError(f"the archive can't be read: {error}") from None


def _members(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield the name of each file in an archive, and a function that reads it."""
    if kind_of(path) == ".zip":
        with path.open("rb") as stream, zipfile.ZipFile(stream) as packed:
            for info in packed.infolist():
                if not info.is_dir():
                    yield info.filename, lambda info=info: _read(packed.open(info))  # type: ignore[misc]
        return
    with open_binary(path) as raw, tarfile.open(fileobj=raw, mode="r|") as archive:
        for member in archive:
            if member.isfile():
                yield member.name, lambda member=member: _read(archive.extractfile(member))  # type: ignore[misc]


def _read(stream: Any) -> bytes:
    with stream:
        return read_bytes(stream)
