"""Read plain text, Markdown, reStructuredText and notebooks, with their titles."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

from distask.data.documents import Document, DocumentError

_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks; UTF-32 begins like UTF-16."""
_OTHER_KINDS = (
    (b"%PDF", "this is a PDF file; rename it to .pdf"),
    (b"PK\x03\x04", "this is a zip archive or an Office document, not text; give it the ending of its format"),
    (b"\xd0\xcf\x11\xe0", "this is an old Office document, not text; save it as .docx or .pptx"),
    (b"{\\rtf", "this is RTF; save it as .docx or as plain text"),
    (b"\x89PNG", "this is an image, not text"),
    (b"\xff\xd8\xff", "this is an image, not text"),
    (b"\x7fELF", "this is a program, not text"),
    (b"\x1f\x8b", "it is compressed twice; decompress it once"),
)
_BEGINNINGS = tuple(beginning for beginning, _ in (*_ENCODINGS, *_OTHER_KINDS))
_TITLE_WITHIN = 1 << 16
"""Characters at the beginning of a text where its title can be."""
_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*\r?$", re.MULTILINE)
_FENCED = re.compile(r"^ {0,3}(`{3,}|~{3,}).*?^ {0,3}\1", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(
    r"^ {0,3}#{1,6}[ \t]+(?P<line>[^\r\n]*?)[ \t]*#*[ \t]*\r?$|^(?P<under>[^\s][^\r\n]*)\r?\n(?:={2,}|-{3,})[ \t]*\r?$",
    re.MULTILINE,
)
_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{1,}[ \t]*")


def decoded(data: bytes) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark; raises `DocumentError`."""
    encoding = "utf-8"
    if data.startswith(_BEGINNINGS):
        encoding = next((name for mark, name in _ENCODINGS if data.startswith(mark)), "utf-8")
        wrong = next((why for magic, why in _OTHER_KINDS if data.startswith(magic)), None)
        if wrong is not None:
            raise DocumentError(wrong)
    if encoding == "utf-8" and b"\0" in data:
        before = data[: data.index(b"\0")]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise DocumentError("there are NUL bytes in it: is it really a text file?", line, column)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise DocumentError(f"this is not valid {encoding.upper()}: is the file truncated?") from None
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        message = f"the text is not UTF-8: byte {column} of the line is 0x{data[error.start]:02x}"
        raise DocumentError(f"{message}; save the file as UTF-8", line, column) from None


def plain(data: bytes) -> Document:
    """Read plain text. It has no title of its own."""
    return Document(decoded(data))


def markdown(data: bytes) -> Document:
    """Read Markdown; the title is that of the front matter, or the first heading."""
    text = decoded(data)
    return Document(text, title_of(text))


def title_of(text: str) -> str | None:
    """Return the title of a Markdown text; None if it has none."""
    beginning = text[:_TITLE_WITHIN]
    front = _FRONT_MATTER.match(beginning)
    if front is not None:
        named = _FRONT_TITLE.search(front[1])
        if named is not None:
            return named[1].strip("\"'") or None
        beginning = beginning[front.end() :]
    heading = _HEADING.search(beginning)
    if heading is not None and "```" in beginning[: heading.start()]:
        beginning = _FENCED.sub("", beginning)
        heading = _HEADING.search(beginning)
    return None if heading is None else (heading["line"] or heading["under"] or "").strip() or None


def restructured(data: bytes) -> Document:
    """Read reStructuredText; its section titles become Markdown headings, and the rest stays as it is."""
    made: list[str] = []
    levels: list[str] = []
    title = None
    lines = decoded(data).splitlines()
    at = 0
    while at < len(lines):
        style, name, used = _section(lines, at)
        if name is None:
            made.append(lines[at])
            at += 1
            continue
        if style not in levels:
            levels.append(style)
        made.append(f"{'#' * min(6, levels.index(style) + 1)} {name}")
        title = title or name
        at += used
    return Document("\n".join(made) + "\n", title)


def _section(lines: list[str], at: int) -> tuple[str, str | None, int]:
    """Return the style, the title and the number of lines of a section title at a line; None if there is none."""
    over, under = _adornment(lines, at), _adornment(lines, at + 1)
    if over and at + 2 < len(lines) and lines[at + 1].strip() and _adornment(lines, at + 2) == over:
        return over * 2, lines[at + 1].strip(), 3
    line = lines[at]
    is_title = bool(line.strip()) and not line[0].isspace() and not over
    after_blank = at == 0 or not lines[at - 1].strip()
    if under and is_title and after_blank and len(lines[at + 1].rstrip()) >= len(line.rstrip()):
        return under, line.strip(), 2
    return "", None, 0


def _adornment(lines: list[str], at: int) -> str:
    return lines[at][0] if at < len(lines) and _ADORNMENT.fullmatch(lines[at]) else ""


def notebook(data: bytes) -> Document:
    """Read a Jupyter notebook: its texts, and its code in fences; without outputs. Raises `DocumentError`."""
    try:
        written = json.loads(decoded(data))
        cells = written["cells"]
        language = written.get("metadata", {}).get("language_info", {}).get("name", "python")
        blocks = [_cell(cell, language) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        words = f"{type(error).__name__}: {error}"
        raise DocumentError(f"this is not a Jupyter notebook of version 4 or later ({words:.80})") from None
    text = "\n\n".join(block for block in blocks if block.strip())
    return Document(text, title_of(text))


def _cell(cell: dict[str, Any], language: str) -> str:
    source = cell["source"]
    words = ("".join(source) if isinstance(source, list) else source).strip("\n")
    if cell["cell_type"] == "code" and words.strip():
        fence = "```" if "```" not in words else "~~~~"
        return f"{fence}{language}\n{words}\n{fence}"
    return str(words)
