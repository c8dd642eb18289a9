"""Find the passages of a document that a row came from: by the offsets of its chunk, and by words that it quotes."""

from __future__ import annotations

import re
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from distask.data.compression import DamagedError, kind_of, open_binary
from distask.data.documents import (
    ARCHIVES,
    KINDS,
    DocumentError,
    check_packages,
    document_rows,
    page_spans,
    read_bytes,
)
from distask.data.documents.archives import read_member
from distask.data.row import untabled
from distask.errors import UsageError
from distask.runner.provenance.origin import texts_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from distask.runner.provenance.origin import Origin

SHORTEST_QUOTE = 20
"""Minimum number of characters of a text that is searched for in a document."""
MOST_PASSAGES = 20
NOT_QUOTES = frozenset({"text", "path", "title", "media_type", "chunk_id", "image"})
"""Columns whose texts are not searched for."""


class Passage(Struct):
    """A part of a document."""

    column: str
    """The column whose text it is."""
    start: int
    """Characters from the start of the document's text, or of the page's."""
    end: int
    text: str
    pages: list[int]
    """The pages that it is on, from 1; empty for formats without pages."""


class DocumentFound(Struct):
    """The document that a row came from."""

    path: str
    """As the run read it."""
    file: str | None
    """Where it is now; None if it is gone."""
    state: str
    """unchanged, changed, missing or unknown."""
    title: str | None = None
    media_type: str | None = None
    pages: int | None = None
    page: int | None = None
    """The page that the row is, if each page is a row."""
    passages: list[Passage] = field(default_factory=list)


def find_document(
    origin: Origin,
    chunks: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    notes: list[str],
    *,
    by_page: bool,
) -> DocumentFound:
    """Read a document again, and find the passages that rows came from.

    Args:
        origin: the document.
        chunks: the chunk steps of the run that read it, from its record.
        rows: the rows from the traced one to that of the run that read the document.
        notes: takes sentences about what can't be found.
        by_page: whether the run read each page as a row.
    """
    row = rows[-1]
    page = row.get("page") if by_page and isinstance(row.get("page"), int) else None
    made = DocumentFound(origin.file, None if origin.found is None else str(origin.found), origin.state, page=page)
    columns = [step["columns"] for step in chunks]
    if origin.found is None:
        _quote_rows(made, columns, rows)
        return made
    try:
        values, spans = read_document_row(origin, page, by_page=by_page)
    except (DocumentError, DamagedError, UsageError, OSError) as error:
        notes.append(f"{made.path} can't be read: {error}")
        _quote_rows(made, columns, rows)
        return made
    if values is None:
        notes.append(f"{made.path}{'' if page is None else f', page {page},'} is not in {made.file} any more")
        _quote_rows(made, columns, rows)
        return made
    text = values["text"]
    made.title, made.media_type, made.pages = values["title"], values["media_type"], values["pages"]
    cut = next((c for c in reversed(columns) if _offsets(row, c["start"]) and _offsets(row, c["end"])), None)
    made.passages += _cut(made, row, cut, text, spans, notes) if cut is not None else ()
    known = set() if cut is None else {cut["chunk"]}
    made.passages += _quotes(rows, known, text, spans, made.page)
    del made.passages[MOST_PASSAGES:]
    return made


def read_document_row(
    origin: Origin, page: int | None, *, by_page: bool
) -> tuple[dict[str, Any] | None, list[tuple[int, int]]]:
    """Return the row of a document or page, and where the pages are in its text; None if it is gone.

    Raises:
        DocumentError, DamagedError, OSError: the document can't be read.
        UsageError: a package that reads it is not installed.
    """
    assert origin.found is not None
    kind, data = kind_of(origin.found), None
    if kind in ARCHIVES:
        inside = origin.file.partition(f"{origin.found.name}/")[2]
        kind = kind_of(Path(inside))
        data = read_member(origin.found, inside)
        if data is None or kind not in KINDS:
            return None, []
    check_packages(kind, origin.file)
    if data is None:
        with open_binary(origin.found) as stream:
            data = read_bytes(stream)
    for row in document_rows(data, kind, origin.file, pages=by_page):
        if page is None or row.values.get("page") == page:
            return row.values, [] if by_page else page_spans(data, kind)
    return None, []


def _cut(
    made: DocumentFound,
    row: Mapping[str, Any],
    columns: Mapping[str, str],
    text: str,
    spans: Sequence[tuple[int, int]],
    notes: list[str],
) -> Iterator[Passage]:
    """Yield the chunks of a row by their offsets; a grouped row has lists of them."""
    name = columns["chunk"]
    chunks = _listed(row.get(name)) if len(_offsets(row, columns["start"])) == 1 else _listed(untabled(row.get(name)))
    why = "was changed" if made.state == "changed" else "was cut from a text that the run computed"
    places = zip(_offsets(row, columns["start"]), _offsets(row, columns["end"]), strict=False)
    for number, (start, end) in enumerate(places):
        chunk = chunks[number] if number < len(chunks) else None
        if not isinstance(chunk, str) or chunk == text[start:end]:
            yield Passage(name, start, end, text[start:end], _pages(spans, start, end, made.page))
        elif (moved := text.find(chunk)) >= 0:
            after = moved + len(chunk)
            notes.append(f"{made.path} {why}: the chunk is now at characters {moved:,} to {after:,}")
            yield Passage(name, moved, after, chunk, _pages(spans, moved, after, made.page))
        else:
            notes.append(f"{made.path} {why}: the chunk is not in it")
            yield Passage(name, start, end, chunk, [])


def _quotes(
    rows: Sequence[Mapping[str, Any]],
    known: set[str],
    text: str,
    spans: Sequence[tuple[int, int]],
    page: int | None,
) -> Iterator[Passage]:
    """Yield where texts of the rows are in the document word for word; white space may differ."""
    seen: set[tuple[str, str]] = set()
    for row in reversed(rows):
        for column, value in row.items():
            for quote in () if column in NOT_QUOTES or column in known else texts_in(value):
                if (column, quote) in seen or not SHORTEST_QUOTE <= len(quote) <= len(text) + SHORTEST_QUOTE:
                    continue
                seen.add((column, quote))
                found = _search(quote, text)
                if found is not None:
                    start, end = found
                    yield Passage(column, start, end, text[start:end], _pages(spans, start, end, page))


def _search(quote: str, text: str) -> tuple[int, int] | None:
    words = quote.split()
    if not words or words[0] not in text:
        return None
    at = text.find(quote.strip())
    if at >= 0:
        return at, at + len(quote.strip())
    found = re.search(r"\s+".join(map(re.escape, words)), text)
    return None if found is None else found.span()


def _pages(spans: Sequence[tuple[int, int]], start: int, end: int, page: int | None) -> list[int]:
    """Return the pages between two offsets."""
    if page is not None:
        return [page]
    if not spans:
        return []
    first = max(0, bisect_right(spans, start, key=lambda span: span[0]) - 1)
    return [n + 1 for n in range(first, len(spans)) if spans[n][0] < end and spans[n][1] > start]


def _quote_rows(made: DocumentFound, columns: Sequence[Mapping[str, str]], rows: Sequence[Mapping[str, Any]]) -> None:
    """Take the passages from the rows, since the document can't be read."""
    row = rows[-1]
    for names in reversed(columns):
        starts, ends, chunks = (
            _offsets(row, names["start"]),
            _offsets(row, names["end"]),
            _listed(row.get(names["chunk"])),
        )
        made.passages = [
            Passage(names["chunk"], start, end, chunk, [] if made.page is None else [made.page])
            for start, end, chunk in zip(starts, ends, chunks, strict=False)
            if isinstance(chunk, str)
        ][:MOST_PASSAGES]
        if made.passages:
            return


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _offsets(row: Mapping[str, Any], column: str) -> list[int]:
    """Return the offsets in a column, which a grouped row has as a list, and a CSV file as text; empty if none."""
    values = _listed(untabled(row.get(column)))
    return values if all(type(each) is int for each in values) else []
