"""Read documents that are zip archives of XML: Word, PowerPoint and EPUB."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from distask.data.documents import Document, DocumentError
from distask.data.documents.html import to_markdown
from distask.data.documents.text import title_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_UNPACKED = 1 << 30
"""Maximum bytes of all files in a document after unpacking."""
_OLE = b"\xd0\xcf\x11\xe0"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"


@contextmanager
def unpacked(data: bytes, what: str) -> Iterator[zipfile.ZipFile]:
    """Open a document's archive; all errors of its contents become a `DocumentError`. `what` is the format's name."""
    if data.startswith(_OLE):
        raise DocumentError(
            f"the file is encrypted, or of an old version of Office; save it as {what} without a password"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED:
                raise DocumentError(f"it unpacks to more than {MAX_UNPACKED >> 20} MiB")
            yield archive
    except zipfile.BadZipFile:
        damaged = "is damaged" if data.startswith(b"PK") else f"is not {what}"
        raise DocumentError(f"the file {damaged}") from None
    except (
        KeyError,
        ET.ParseError,
        zlib.error,
        EOFError,
        ValueError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise DocumentError(f"the file is damaged, or not {what}: {error}") from None


def word(data: bytes) -> Document:
    """Read a `.docx` file: headings, lists, tables and links; without images."""
    import mammoth

    with unpacked(data, "Word (.docx)") as archive:
        archive.getinfo("word/document.xml")
        title = _core_title(archive)
        made = mammoth.convert_to_html(io.BytesIO(data), convert_image=lambda _image: [])
    text = to_markdown(made.value)
    return Document(text, title or title_of(text))


def slides(data: bytes) -> Document:
    """Read a `.pptx` file: titles, texts, tables and notes of each slide, which is a page."""
    from pptx import Presentation
    from pptx.exc import PackageNotFoundError

    with unpacked(data, "PowerPoint (.pptx)") as archive:
        archive.getinfo("ppt/presentation.xml")
        title = _core_title(archive)
        try:
            pages = [_slide(slide) for slide in Presentation(io.BytesIO(data)).slides]
        except (PackageNotFoundError, AttributeError) as error:
            raise DocumentError(f"the file is damaged: {error}") from None
    text = "\n\n".join(page for page in pages if page)
    return Document(text, title if title and title != "PowerPoint Presentation" else title_of(text), pages)


def _slide(slide: Any) -> str:
    heading = slide.shapes.title
    blocks = [] if heading is None or not heading.has_text_frame else [f"# {' '.join(heading.text_frame.text.split())}"]
    blocks += [
        text
        for shape in slide.shapes
        if heading is None or shape.shape_id != heading.shape_id
        for text in _shape(shape)
    ]
    if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame) is not None and notes.text.strip():
        blocks.append(f"Notes: {notes.text.strip()}")
    return "\n\n".join(block for block in blocks if block.strip(" #"))


def _shape(shape: Any) -> Iterator[str]:
    if hasattr(shape, "shapes"):  # a group
        for inner in shape.shapes:
            yield from _shape(inner)
    elif getattr(shape, "has_table", False) and shape.has_table:
        rows = [[" ".join(cell.text.split()).replace("|", "\\|") for cell in row.cells] for row in shape.table.rows]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        yield "\n".join([*lines[:1], f"|{' --- |' * len(rows[0])}", *lines[1:]] if rows else [])
    elif shape.has_text_frame:
        paragraphs = [each for each in shape.text_frame.paragraphs if each.text.strip()]
        if len(paragraphs) == 1:
            yield paragraphs[0].text.strip()
        else:
            yield "\n".join(f"{'  ' * each.level}- {' '.join(each.text.split())}" for each in paragraphs)


def epub(data: bytes) -> Document:
    """Read an `.epub` book: the chapters in reading order."""
    with unpacked(data, "EPUB") as archive:
        container = ET.fromstring(archive.read("META-INF/container.xml"))  # noqa: S314 - expat limits entities
        package = next(each.get("full-path") or "" for each in container.iter() if each.tag.endswith("}rootfile"))
        book = ET.fromstring(archive.read(package))  # noqa: S314
        files = {
            each.get("id"): unquote(each.get("href") or "")
            for each in book.iter()
            if each.tag.endswith("}item") and "html" in (each.get("media-type") or "")
        }
        folder = posixpath.dirname(package)
        names = [
            files[i] for each in book.iter() if each.tag.endswith("}itemref") and (i := each.get("idref")) in files
        ]
        names = [posixpath.normpath(posixpath.join(folder, name)) for name in names]
        locked = _encrypted(archive)
        if locked & set(names):
            raise DocumentError("the book is encrypted (DRM)")
        chapters = [to_markdown(archive.read(name)).strip() for name in names]
        title = next((each.text for each in book.iter(_TITLE) if each.text), None)
    return Document("\n\n".join(chapter for chapter in chapters if chapter), title)


def _encrypted(archive: zipfile.ZipFile) -> set[str]:
    """Return the files of a book that are encrypted; fonts often are in books that are not."""
    try:
        listed = ET.fromstring(archive.read("META-INF/encryption.xml"))  # noqa: S314
    except KeyError:
        return set()
    return {unquote(each.get("URI") or "") for each in listed.iter() if each.tag.endswith("}CipherReference")}


def _core_title(archive: zipfile.ZipFile) -> str | None:
    """Return the title in an Office document's properties."""
    try:
        properties = ET.fromstring(archive.read("docProps/core.xml"))  # noqa: S314
    except (KeyError, ET.ParseError):
        return None
    return next((each.text.strip() for each in properties.iter(_TITLE) if each.text and each.text.strip()), None)
