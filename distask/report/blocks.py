"""Pack rows for the page in blocks of JSON lines, each compressed separately, so a browser unpacks only what it shows.

Blocks are kept in a temporary file until the page is written, so memory does not grow with the rows.
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
"""Rows of a block: few, so that any row opens quickly."""
BYTES = 256 << 10
"""Approximate size of a block before compression; a long row may be larger."""
LONGEST_ROW = 8 << 10
"""Rows up to this many bytes are never cut."""
LONGEST_TEXT = 20_000
"""Maximum characters of a text on the page."""
LONGEST_LIST = 64
"""Maximum items of a list on the page."""
BUDGET = 96 << 20
"""Bytes of packed rows; a much larger page opens slowly."""
SHORT_TEXT = 300
LEVEL = 5
"""Of compression: level 6 takes twice the time to save less than a tenth of the bytes."""
DEEPEST = 64
"""Maximum depth at which lists and mappings are cut."""


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
        """Rows that were cut."""
        self.short_from: int | None = None
        """The first row whose texts were cut shorter to save space."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def add(self, line: bytes) -> None:
        """Add a row: its JSON, on one line."""
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
        """Pack the remaining rows; call it after the last row."""
        self._pack()

    def elements(self) -> Iterator[bytes]:
        """Yield the part of the page that holds the rows, piece by piece."""
        self._spool.seek(0)
        while piece := self._spool.read(1 << 20):
            yield piece


def packed(data: bytes) -> bytes:
    """Compress for a browser's `DecompressionStream("deflate")`, in base64, which contains no HTML."""
    return base64.b64encode(zlib.compress(data, LEVEL))


def element(name: str, data: bytes) -> bytes:
    """Return a block of data for a page, which browsers do not run."""
    return b'<script type="text/plain" id="%s">%s</script>\n' % (name.encode(), data)


def cut(line: bytes, longest: int) -> tuple[bytes, bool]:
    """Cut long texts and lists in a row, noting how much is left out; also return whether anything was cut."""
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
