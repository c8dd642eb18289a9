"""Documents as rows: each file becomes a row with its text as Markdown, its path, title, pages and media type.

With `pages`, each page becomes a row, with its number and, for PDF, an image for vision models.
"""

from __future__ import annotations

import io
import pickle
import tempfile
from importlib import import_module
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from msgspec import Struct

from distask.data.compression import DamagedError, kind_of, open_binary
from distask.data.row import Row
from distask.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_BYTES = 256 << 20
"""Maximum bytes of a file."""
_USUAL_BYTES = 1 << 16
MAX_CHARACTERS = 64 << 20
"""Maximum characters of a document's text."""


class Kind(Struct, frozen=True):
    """A format of documents."""

    media_type: str
    extract: str
    """Module and function that turn the bytes of a file into a `Document`."""
    packages: tuple[str, ...] = ()
    """The packages that it needs from the extra `documents`."""
    images: str | None = None
    """Module and function that turn the bytes into an image of each page."""


_HTML = ("bs4", "markdownify")
_OFFICE = "application/vnd.openxmlformats-officedocument"

KINDS = {
    ".txt": Kind("text/plain", "text:plain"),
    ".md": Kind("text/markdown", "text:markdown"),
    ".markdown": Kind("text/markdown", "text:markdown"),
    ".rst": Kind("text/x-rst", "text:restructured"),
    ".ipynb": Kind("application/x-ipynb+json", "text:notebook"),
    ".html": Kind("text/html", "html:html", _HTML),
    ".htm": Kind("text/html", "html:html", _HTML),
    ".xhtml": Kind("application/xhtml+xml", "html:html", _HTML),
    ".pdf": Kind("application/pdf", "pdf:pdf", ("pypdfium2", "PIL"), images="pdf:page_images"),
    ".docx": Kind(f"{_OFFICE}.wordprocessingml.document", "packed:word", ("mammoth", *_HTML)),
    ".pptx": Kind(f"{_OFFICE}.presentationml.presentation", "packed:slides", ("pptx",)),
    ".epub": Kind("application/epub+zip", "packed:epub", _HTML),
}
"""File name ending (`.gz` and `.zst` may follow) to its format."""


ARCHIVES = (".zip", ".tar", ".tgz")
"""Endings of archives with documents; `.gz` and `.zst` may follow `.tar`."""


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


def read_document(path: Path, file: str, *, pages: bool = False) -> Iterator[Row]:
    """Yield the row of a document, or of each page; if it can't be read, the `error` of its row is set.

    Args:
        path: the file, which may be compressed.
        file: its name in the column `path` and in messages.
        pages: whether each page is a row.
    """
    kind = kind_of(path)
    state = _state(path) if KINDS[kind].packages and not pages else None  # images would fill the disk
    if state is not None and (rows := _extracted.get(state)) is not None:
        yield from rows
        return
    made: list[Row] = []
    try:
        with open_binary(path) as stream:
            data = read_bytes(stream)
        for row in document_rows(data, kind, file, pages=pages):
            made.append(row)
            yield row
    except (DocumentError, DamagedError) as error:
        yield bad_row(file, error)
        return
    if state is not None:
        _extracted.put(state, made)


def document_rows(data: bytes, kind: str, file: str, *, pages: bool = False) -> Iterator[Row]:
    """Yield the row of a document, or of each page; raises `DocumentError`."""
    known = KINDS[kind]
    document: Document = _function(known.extract)(data)
    if len(document.text) > MAX_CHARACTERS:
        raise DocumentError(f"the text is longer than {MAX_CHARACTERS >> 20} million characters; split the document")
    if (not document.text or document.text.isspace()) and not (pages and known.images and document.pages):
        raise DocumentError(_no_text(document, known))
    values: dict[str, Any] = {
        "text": document.text,
        "path": file,
        "title": document.title or stem_of(file),
        "pages": None if document.pages is None else len(document.pages),
        "media_type": known.media_type,
    }
    if not pages:
        yield Row(values, file, 1)
        return
    texts = [document.text] if document.pages is None else document.pages
    images = repeat(None) if known.images is None else _function(known.images)(data)
    for number, (text, image) in enumerate(zip(texts, images, strict=False), 1):
        yield Row({**values, "text": text, "page": number, "image": image}, file, number)


def _no_text(document: Document, kind: Kind) -> str:
    if not document.pages:
        return "the file has no text"
    hint = (
        "; recognize it first (OCR), or pass images of the pages to a vision model with --pages" if kind.images else ""
    )
    where = "page" if len(document.pages) == 1 else f"{len(document.pages):,} pages"
    return f"the file has no text on its {where}: is it scanned?{hint}"


def _function(name: str) -> Callable[[bytes], Any]:
    module, _, function = name.partition(":")
    made: Callable[[bytes], Any] = getattr(import_module(f"{__name__}.{module}"), function)
    return made


class _Extracted:
    """Rows that took long to extract, in a temporary file: an input is read twice, once to check it."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._offsets: dict[Any, int] = {}

    def get(self, state: Any) -> list[Row] | None:
        """Return the rows of a file in this state; None if they are not known."""
        if self._file is None or state not in self._offsets:
            return None
        self._file.seek(self._offsets[state])
        rows: list[Row] = pickle.load(self._file)  # noqa: S301 - written by this process
        return rows

    def put(self, state: Any, rows: list[Row]) -> None:
        """Keep the rows of a file, unless the disk is full."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="distask-")  # noqa: SIM115 - deleted at exit
            self._file.seek(0, io.SEEK_END)
            place = self._file.tell()
            pickle.dump(rows, self._file, protocol=pickle.HIGHEST_PROTOCOL)
            self._file.flush()
        except OSError:
            return
        self._offsets[state] = place


_extracted = _Extracted()


def _state(path: Path) -> Any:
    """Return what identifies the contents of a file; None if the file is remote or can't be read."""
    try:
        stat = path.stat()
    except OSError:
        return None
    changed = getattr(stat, "st_mtime_ns", None)
    return None if changed is None else (str(path), stat.st_size, changed)


def bad_row(file: str, error: Exception) -> Row:
    """Return a row for a document that can't be read."""
    line, column = getattr(error, "line", None), getattr(error, "column", None)
    place = file if line is None else f"{file}:{line}:{column}"
    return Row({}, file, line or 1, error=InputError(f"{place}: {error}"))


def read_bytes(stream: BinaryIO) -> bytes:
    """Read a file into memory; raises `DocumentError` if it is too large."""
    data = stream.read(_USUAL_BYTES)
    if len(data) == _USUAL_BYTES:  # a large buffer for every small file would take time
        data += stream.read(max(0, MAX_BYTES - _USUAL_BYTES) + 1)
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
    if kind in KINDS and any(find_spec(package) is None for package in KINDS[kind].packages):
        raise UsageError(f"{file}: {kind} files need an extra: pip install 'distask[documents]'")
