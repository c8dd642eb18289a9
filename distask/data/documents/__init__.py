"""Documents as rows: each file becomes a row with its text as Markdown, its path, title, pages and media type."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec import Struct

from distask.data.compression import DamagedError, kind_of, open_binary
from distask.data.row import Row
from distask.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 256 << 20
"""Maximum bytes of a file."""
MAX_CHARACTERS = 64 << 20
"""Maximum characters of a document's text."""


class Kind(Struct, frozen=True):
    """A format of documents."""

    media_type: str
    extract: str
    """Module and function that turn the bytes of a file into a `Document`."""
    packages: tuple[str, ...] = ()
    """The packages that it needs from the extra `documents`."""


KINDS = {
    ".txt": Kind("text/plain", "text:plain"),
    ".md": Kind("text/markdown", "text:markdown"),
    ".markdown": Kind("text/markdown", "text:markdown"),
    ".rst": Kind("text/x-rst", "text:restructured"),
}
"""File name ending (`.gz` and `.zst` may follow) to its format."""


class Document(Struct):
    """What is in a file."""

    text: str
    title: str | None = None
    pages: list[str] | None = None
    """The text of each page or slide; None for formats without pages."""


class DocumentError(Exception):
    """A document that can't be read; `line` and `column` are from 1, if known."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.line, self.column = line, column


def read_document(path: Path, file: str) -> Iterator[Row]:
    """Yield the row of a document; if it can't be read, its `error` is set.

    Args:
        path: the file, which may be compressed.
        file: its name in the column `path` and in messages.
    """
    try:
        with open_binary(path) as stream:
            data = read_bytes(stream)
        yield document_row(data, kind_of(path), file)
    except (DocumentError, DamagedError) as error:
        yield bad_row(file, error)


def document_row(data: bytes, kind: str, file: str) -> Row:
    """Return the row of a document; raises `DocumentError`."""
    known = KINDS[kind]
    module, _, name = known.extract.partition(":")
    document: Document = getattr(import_module(f"{__name__}.{module}"), name)(data)
    if len(document.text) > MAX_CHARACTERS:
        raise DocumentError(f"the text is longer than {MAX_CHARACTERS >> 20} million characters; split the document")
    if not document.text or document.text.isspace():
        raise DocumentError("there is no text in it")
    values: dict[str, Any] = {
        "text": document.text,
        "path": file,
        "title": document.title or stem_of(file),
        "pages": None if document.pages is None else len(document.pages),
        "media_type": known.media_type,
    }
    return Row(values, file, 1)


def bad_row(file: str, error: Exception) -> Row:
    """Return a row for a document that can't be read."""
    line, column = getattr(error, "line", None), getattr(error, "column", None)
    place = file if line is None else f"{file}:{line}:{column}"
    return Row({}, file, line or 1, error=InputError(f"{place}: {error}"))


def read_bytes(stream: BinaryIO) -> bytes:
    """Read a file into memory; raises `DocumentError` if it is too large."""
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DocumentError(f"the file is larger than {MAX_BYTES >> 20} MiB; split it")
    return data


def stem_of(file: str) -> str:
    """Return the name of a file without its folder and endings."""
    path = Path(file)
    while kind_of(path) and path.suffix:
        path = path.with_suffix("")
    return path.name


def check_packages(kind: str, file: str) -> None:
    """Raise `UsageError` if the packages that read a format are not installed."""
    if any(find_spec(package) is None for package in KINDS[kind].packages):
        raise UsageError(f"{file}: {kind} files need an extra: pip install 'distask[documents]'")
