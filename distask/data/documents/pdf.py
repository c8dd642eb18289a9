"""Read PDF with PDFium: paragraphs from the positions of lines, headings from their font sizes, and images of pages."""

from __future__ import annotations

import base64
import ctypes
import io
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from msgspec import Struct

from distask.data.documents import Document, DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEADING_RATIO = 1.15
"""Lines whose font is larger than the text's by this factor are headings."""
LONGEST_HEADING = 160
"""Characters."""
PARAGRAPH_GAP = 1.75
"""Lines further apart than this, in font sizes, are in different paragraphs."""
IMAGE_PIXELS = 1_568
"""The longer side of a page's image: larger ones are scaled down by most vision models."""
_HYPHENS = str.maketrans("", "", "\ufffe\x02\0")
"""What PDFium writes for a hyphen at the end of a line, where it joins the two parts of a word."""
_DIGITS = re.compile(r"\d+")
_PAGE_NUMBER = re.compile(r"(?:page |seite |[-\u2013] ?)?(?:\d{1,4}|[ivxlc]{1,7})(?: ?[-\u2013])?", re.IGNORECASE)
_ITEM = re.compile(r"(?:[-*•▪◦\u2013]|\d{1,3}[.)])\s")
_NEXT_ITEM, _NEXT_BLOCK = "\n", "\n\n"
_BULLET = re.compile(r"^[•▪◦]\s*")


class _Line(Struct):
    text: str
    size: float
    """The font size in points."""
    top: float
    """Where its first character ends, in points from the bottom of the page."""
    bottom: float
    """The same of its last character: PDFium joins lines at a hyphen."""


def pdf(data: bytes) -> Document:
    """Read all pages; raises `DocumentError` if the file is encrypted, damaged or scanned without text."""
    with _Opened(data) as opened:
        lines = _without_margins([_lines(page) for page in opened.pages()])
        title = opened.title()
    sizes = _heading_sizes([line for page in lines for line in page])
    pages = [_markdown(page, sizes) for page in lines]
    return Document("\n\n".join(page for page in pages if page), title or _first_heading(pages), pages)


def page_images(data: bytes) -> Iterator[str]:
    """Yield each page as an image, as a `data:` URL."""
    with _Opened(data) as opened:
        for page in opened.pages():
            scale = IMAGE_PIXELS / max(1.0, *page.get_size())
            image = page.render(scale=min(4.0, scale)).to_pil().convert("RGB")
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=85)
            yield f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


class _Opened:
    """An open file of PDFium, which is not safe for threads: documents are read one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __enter__(self) -> Self:
        import pypdfium2

        try:
            self._document = pypdfium2.PdfDocument(self._data)
        except pypdfium2.PdfiumError as error:
            words = str(error).lower()
            if "password" in words or "security" in words:
                raise DocumentError("the PDF is encrypted; save it without a password") from None
            found = "is damaged" if self._data.startswith(b"%PDF") else "is not PDF"
            raise DocumentError(f"the file {found}") from None
        return self

    def __exit__(self, *_error: object) -> None:
        self._document.close()

    def pages(self) -> Iterator[Any]:
        import pypdfium2

        for number in range(len(self._document)):
            try:
                page = self._document[number]
            except pypdfium2.PdfiumError:
                raise DocumentError(f"page {number + 1} is damaged") from None
            yield page
            page.close()

    def title(self) -> str | None:
        """Return the title in the file's metadata, unless a program wrote its file name there."""
        title: str = self._document.get_metadata_value("Title").strip()
        is_file = re.search(r"\.\w{2,4}$|^(?:untitled|microsoft word)\b", title, re.IGNORECASE)
        return None if not title or is_file else title


def _lines(page: Any) -> list[_Line]:
    """Return the lines of a page with text, in the order of the file."""
    import pypdfium2.raw as pdfium

    text_page = page.get_textpage()
    try:
        text = text_page.get_text_range()
        found, place = [], 0
        left, right, bottom, top = (ctypes.c_double() for _ in range(4))
        for written in text.split("\n"):
            words = written.translate(_HYPHENS).strip()
            first = place + len(written) - len(written.lstrip())
            if words:
                size = pdfium.FPDFText_GetFontSize(text_page, first)
                ends = []
                for character in (first, place + len(written.rstrip()) - 1):
                    pdfium.FPDFText_GetCharBox(text_page, character, left, right, bottom, top)
                    ends.append(bottom.value)
                found.append(_Line(words, round(float(size), 1), *ends))
            place += len(written) + 1
        return found
    finally:
        text_page.close()


def _without_margins(pages: Sequence[list[_Line]]) -> list[list[_Line]]:
    """Remove page numbers, and headers and footers: first and last lines that most pages have, apart from numbers."""
    edges = Counter(
        _DIGITS.sub("0", line.text)
        for page in pages
        for line in {id(each): each for each in page[:1] + page[-1:]}.values()
    )

    def is_margin(line: _Line) -> bool:
        words = _DIGITS.sub("0", line.text)
        return bool(_PAGE_NUMBER.fullmatch(line.text)) or (len(pages) >= 3 and edges[words] * 2 > len(pages))

    made = []
    for page in pages:
        first = 1 if page and is_margin(page[0]) else 0
        last = len(page) - 1 if len(page) > first and is_margin(page[-1]) else len(page)
        made.append(page[first:last])
    return made


def _heading_sizes(lines: Sequence[_Line]) -> list[float]:
    """Return the font sizes of headings, largest first; at most six."""
    weights: Counter[float] = Counter()
    for line in lines:
        weights[line.size] += len(line.text)
    if not weights:
        return []
    body = weights.most_common(1)[0][0]
    larger = {line.size for line in lines if line.size > body * HEADING_RATIO and len(line.text) <= LONGEST_HEADING}
    return sorted(larger, reverse=True)[:6]


def _markdown(lines: Sequence[_Line], sizes: Sequence[float]) -> str:
    """Join the lines of a page to headings and paragraphs."""
    blocks: list[str] = []
    before: _Line | None = None
    for line in lines:
        is_heading = line.size in sizes and len(line.text) <= LONGEST_HEADING
        same = before is not None and before.size == line.size
        near = before is not None and -1 <= before.bottom - line.top <= PARAGRAPH_GAP * max(line.size, 1.0)
        if blocks and same and near and not _ITEM.match(line.text):
            blocks[-1] = _joined(blocks[-1], line.text)
        elif is_heading:
            blocks.append(f"{'#' * (sizes.index(line.size) + 1)} {line.text}")
        else:
            blocks.append(_BULLET.sub("- ", line.text))
        before = line
    pieces = [
        f"{'' if i == 0 else _NEXT_ITEM if _ITEM.match(block) and _ITEM.match(blocks[i - 1]) else _NEXT_BLOCK}{block}"
        for i, block in enumerate(blocks)
    ]
    return "".join(pieces)


def _joined(block: str, line: str) -> str:
    """Append a line to a paragraph, and join a word that is divided between them."""
    if block.endswith("-") and line[:1].islower() and block[-2:-1].isalpha():
        return block[:-1] + line
    return f"{block} {line}"


def _first_heading(pages: Sequence[str]) -> str | None:
    found = re.search(r"^#{1,6} (.+)$", "\n".join(pages[:2]), re.MULTILINE)
    return None if found is None else found[1]
