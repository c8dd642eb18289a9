"""Pack rows for the page: blocks of JSON lines, each compressed by itself, so that a browser unpacks what it shows.

The blocks wait in a file of their own until the page is put together: memory does not grow with the rows.
"""

from __future__ import annotations

import base64
import json
import tempfile
import zlib
from typing import TYPE_CHECKING, Any, Self

from distask.data.writers.base import json_bytes
from distask.report.compare.spill import cannot_spill

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 128
"""Rows of a block: few, so that a row from the middle is there at once."""
BYTES = 256 << 10
"""What a block holds before it is packed, about; a long row may be more."""
LONGEST_ROW = 8 << 10
"""Bytes of a row that nothing is cut from."""
LONGEST_TEXT = 20_000
"""Characters of a text on the page."""
LONGEST_LIST = 64
"""Items of a list on the page."""
BUDGET = 96 << 20
"""A page that is much larger opens badly."""
SHORT_TEXT = 300
DEEPEST = 64
"""Levels of lists and mappings that are looked into."""


class Blocks:
    """Rows in, `<script>` elements with packed blocks out.

    Args:
        budget: bytes of packed rows, after which texts are cut shorter.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._spool = tempfile.TemporaryFile(prefix="distask-report-")  # noqa: SIM115 - it is closed in `__exit__`
        self._lines: list[bytes] = []
        self._size = 0
        self.starts: list[int] = []
        """The first row of each block."""
        self.rows = 0
        self.packed = 0
        self.cut_rows = 0
        """Rows that something was cut from."""
        self.short_from: int | None = None
        """The first row whose texts were cut short for want of room."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def add(self, line: bytes) -> None:
        """Keep a row: its JSON, on one line."""
        if self.short_from is None and self.packed > self._budget:
            self.short_from = self.rows
        kept, was_cut = cut(line, LONGEST_TEXT if self.short_from is None else SHORT_TEXT)
        self.cut_rows += was_cut
        self._lines.append(kept)
        self._size += len(kept)
        self.rows += 1
        if len(self._lines) >= ROWS or self._size >= BYTES:
            self._pack()

    def _pack(self) -> None:
        if not self._lines:
            return
        self.starts.append(self.rows - len(self._lines))
        data = packed(b"\n".join(self._lines))
        try:
            self._spool.write(element(f"block-{len(self.starts) - 1}", data))
        except OSError as error:
            raise cannot_spill(error) from None
        self.packed += len(data)
        self._lines, self._size = [], 0

    def finish(self) -> None:
        """Pack what is left; no more rows come."""
        self._pack()

    def elements(self) -> Iterator[bytes]:
        """The page's part that holds the rows, piece by piece."""
        self._spool.seek(0)
        while piece := self._spool.read(1 << 20):
            yield piece


def packed(data: bytes) -> bytes:
    """Compressed as a browser's `DecompressionStream("deflate")` reads it, in base64, which holds no HTML."""
    return base64.b64encode(zlib.compress(data, 6))


def element(name: str, data: bytes) -> bytes:
    """A block of data in a page, which no browser runs."""
    return b'<script type="text/plain" id="%s">%s</script>\n' % (name.encode(), data)


def cut(line: bytes, longest: int) -> tuple[bytes, bool]:
    """The row with long texts and lists cut, each with a word of how much is left out; and whether anything was."""
    if len(line) <= (LONGEST_ROW if longest == LONGEST_TEXT else longest):
        return line, False
    was_cut = False

    def shortened(value: Any, depth: int = 0) -> Any:
        nonlocal was_cut
        if depth > DEEPEST:
            return value
        if isinstance(value, str) and len(value) > longest:
            was_cut = True
            return f"{value[:longest]}… [{len(value) - longest:,} characters more]"
        if isinstance(value, dict):
            return {name: shortened(item, depth + 1) for name, item in value.items()}
        if isinstance(value, list):
            rest = len(value) - LONGEST_LIST
            made = [shortened(item, depth + 1) for item in value[:LONGEST_LIST]]
            was_cut = was_cut or rest > 0
            return [*made, f"… [{rest:,} items more]"] if rest > 0 else made
        return value

    made = shortened(json.loads(line))
    return (json_bytes(made), True) if was_cut else (line, False)
