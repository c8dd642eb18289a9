"""Read HTML as Markdown: the main part of a page, without scripts, menus and images."""

from __future__ import annotations

import re
from typing import Any

from distask.data.documents import Document, DocumentError

_DROPPED = ("script", "style", "noscript", "template", "nav", "footer", "aside", "form", "button", "svg", "iframe")
_BLANK_LINES = re.compile(r"\n{3,}")
_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
_BINARY = (b"%PDF", b"PK\x03\x04", b"\x89PNG", b"\xff\xd8\xff", b"\xd0\xcf\x11\xe0")


def html(data: bytes) -> Document:
    """Read a page; the encoding is that of its byte order mark or `meta` tag. Raises `DocumentError`."""
    if data.startswith(_BINARY) or b"\0" in data[:1024].replace(b"\0<", b"").replace(b"<\0", b""):
        raise DocumentError("this is not HTML; give the file the ending of its format")
    soup = _parsed(data)
    title = soup.title.get_text(" ", strip=True) if soup.title is not None else None
    text = _text_of(soup)
    return Document(text, title or first_heading(soup))


def to_markdown(markup: str | bytes) -> str:
    """Convert a fragment of HTML to Markdown."""
    return _text_of(_parsed(markup))


def first_heading(soup: Any) -> str | None:
    """Return the text of the first heading; None if there is none."""
    heading = soup.find(["h1", "h2", "h3"])
    return None if heading is None else heading.get_text(" ", strip=True) or None


def _parsed(markup: str | bytes) -> Any:
    from bs4 import BeautifulSoup

    return BeautifulSoup(markup, "html.parser")


def _text_of(soup: Any) -> str:
    from markdownify import ATX, MarkdownConverter

    for tag in soup.find_all(_DROPPED):
        tag.decompose()
    body = soup.find("main") or soup.body or soup
    converter = MarkdownConverter(
        heading_style=ATX,
        bullets="-",
        strip=["img", "title"],
        table_infer_header=True,
        escape_asterisks=False,
        escape_underscores=False,
    )
    try:
        text = converter.convert_soup(body)
    except RecursionError:
        raise DocumentError("its tags are nested too deeply") from None
    return _BLANK_LINES.sub("\n\n", _TRAILING.sub("", text)).strip() + "\n"
