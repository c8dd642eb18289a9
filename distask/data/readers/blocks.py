"""Read JSON Lines in blocks of many lines, several times faster than line by line, and prove that each line is valid.

The lines of a block are parsed with one call, as a JSON array with a separator between them. The separator is a number
that no file can predict: if it is every second item of the result, each line holds exactly one value. A key that is
written twice is found by comparing the block with its values written as JSON. Any block that is not proven to be valid
is read line by line, which finds the error and its place.
"""

from __future__ import annotations

import io
import random
from array import array
from bisect import bisect_right
from itertools import count, groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson
from msgspec import Struct

from distask.data.compression import is_compressed, no_text, open_binary
from distask.data.readers.jsonl import has_long_number, has_rounded, read_line, read_lines
from distask.data.readers.lines import MAX_LINE
from distask.data.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from distask.data.readers.jsonl import OnNan

BLOCK = 1 << 16
"""Bytes of a block, to which the rest of its last line is added. Larger blocks leave the processor's cache."""
_LONE = 1 << 18
"""Bytes of a block that is read line by line at once: its lines are so long that a block gains nothing."""
_PATIENCE = 64
"""Number of blocks to read line by line after a block that was not proven to be valid."""
MARKS = 1 << 16
_DENSE = 64
"""Bytes per colon below which counting each byte is faster than jumping from colon to colon."""


class Block(Struct):
    """Consecutive rows of a file, all valid.

    `values` are as orjson reads them: an integer beyond 64 bits is a float there. `row` gives exact values.
    """

    path: Path
    file: str
    offset: int
    """Where the block begins in the (decompressed) file, in bytes."""
    line: int
    """The line of the first row, from 1; the others follow without gaps, `step` lines apart."""
    values: list[dict[str, Any]]
    data: bytes
    """The block's bytes."""
    index: int = 0
    """The place of the first row in the complete input. Set by `Input`."""
    skipped: int = 0
    """Number of lines in `data` before the first row."""
    step: int = 1
    _lines: list[bytes] | None = None
    _kinds: dict[str, set[type]] | None = None

    def selected(self, start: int, stop: int, step: int) -> Block:
        """Return the block with some of its rows only."""
        if start == 0 and stop == len(self.values) and step == 1:
            return self
        values = self.values[start:stop:step]
        line, index = self.line + start, self.index + start
        return Block(self.path, self.file, self.offset, line, values, self.data, index, start, step)

    def kinds(self, column: str) -> set[type]:
        """Return the types of a column's values; a value that is missing counts as null."""
        if self._kinds is None:
            self._kinds = {}
        if column not in self._kinds:
            try:
                self._kinds[column] = set(map(type, map(itemgetter(column), self.values)))
            except KeyError:
                self._kinds[column] = {type(values.get(column)) for values in self.values}
        return self._kinds[column]

    def place(self, number: int) -> str:
        """Return `file:line` of a row, counted from 0."""
        return f"{self.file}:{self.line + number * self.step}"

    def raw(self, number: int) -> bytes:
        """Return the bytes of a row, counted from 0."""
        if self._lines is None:
            self._lines = self.data.split(b"\n")
        return self._lines[self.skipped + number * self.step].strip(b" \t\r")

    def row(self, number: int) -> Row:
        """Return a row, counted from 0, with exact values."""
        raw, line, values = self.raw(number), self.line + number * self.step, self.values[number]
        row = read_line(raw, self.file, line) if has_rounded(values, raw) else Row(values, self.file, line, raw)
        row.index = self.index + number * self.step
        return row

    def rows(self) -> Iterator[Row]:
        """Yield all rows, with exact values; this takes half the time of getting them one by one."""
        lines = islice(io.BytesIO(self.data), self.skipped, None, self.step)  # finds line ends faster than `split`
        may_be_rounded = has_long_number(self.data)
        for line, index, values, data in zip(
            count(self.line, self.step), count(self.index, self.step), self.values, lines, strict=False
        ):
            raw = data.strip(b" \t\r\n")
            if may_be_rounded and has_rounded(values, raw):
                row = read_line(raw, self.file, line)
                row.index = index
                yield row
            else:
                yield Row(values, self.file, line, raw, None, index)


def read_blocks(path: Path, file: str, *, on_nan: OnNan = "stop") -> Iterator[Block | Row]:
    """Yield blocks of valid rows, and rows one by one where a block may hold an error; see `jsonl.read_jsonl`."""
    with open_binary(path) as stream:
        yield from _Blocks(stream, path, file, on_nan).read()


class BlockIndex:
    """Where the blocks of a scan begin, to read some of their rows again without reading all others.

    It holds at most `MARKS` marks for each file; beyond that, every second mark is dropped and the rest is skipped.
    """

    def __init__(self) -> None:
        self._files: list[_Marks] = []
        self._rows = 0
        self._is_complete = True

    def add(self, block: Block, position: int) -> None:
        """Add the next block; `position` counts the selected rows before it."""
        if position != self._rows:  # rows between the blocks were read one by one
            self._is_complete = False
        if self._is_complete:
            if not self._files or self._files[-1].path != block.path or block.offset < self._files[-1].last:
                self._is_complete = not is_compressed(block.path)  # reading from the middle saves nothing there
                self._files.append(_Marks(block, position))
            self._files[-1].add(block.offset, block.line - block.skipped, position)
            self._rows += len(block.values)

    def holds(self, rows: int) -> bool:
        """Return whether all of a scan's selected rows can be found."""
        return self._is_complete and self._rows == rows > 0

    def rows(self, positions: Sequence[int]) -> Iterator[Row]:
        """Yield the rows at these positions among the selected rows, in order."""
        starts = [marks.position for marks in self._files]
        for number, places in groupby(positions, lambda position: bisect_right(starts, position) - 1):
            yield from self._files[number].rows(places)


class _Marks:
    """Where blocks of one file begin. Its selected lines are `step` lines apart."""

    def __init__(self, block: Block, position: int) -> None:
        self.path, self.position = block.path, position
        self.last = -1
        self._file, self._step = block.file, block.step
        self._first_line, self._first_index = block.line, block.index
        self._positions, self._offsets, self._lines = array("q"), array("q"), array("q")
        self._every, self._seen = 1, 0

    def add(self, offset: int, line: int, position: int) -> None:
        """Add a block by its offset, the number of its first line, and the selected rows before it."""
        self.last = offset
        if self._seen % self._every == 0:
            self._positions.append(position)
            self._offsets.append(offset)
            self._lines.append(line)
            if len(self._positions) > MARKS:
                self._positions, self._offsets, self._lines = (
                    self._positions[::2], self._offsets[::2], self._lines[::2]
                )  # fmt: skip
                self._every *= 2
        self._seen += 1

    def rows(self, positions: Iterable[int]) -> Iterator[Row]:
        """Yield the rows at these positions."""
        with open_binary(self.path) as stream:
            stream_line, previous = 1, -1
            for position in positions:
                mark = bisect_right(self._positions, position) - 1
                if mark != previous:
                    stream.seek(self._offsets[mark])
                    stream_line, previous = self._lines[mark], mark
                place = (position - self.position) * self._step
                while stream_line < self._first_line + place:
                    stream.readline()
                    stream_line += 1
                raw = stream.readline().strip(b" \t\r\n")
                row = read_line(raw, self._file, stream_line)
                row.index = self._first_index + place
                stream_line += 1
                yield row


class _Blocks:
    """Reads the blocks of one stream."""

    def __init__(self, stream: BinaryIO, path: Path, file: str, on_nan: OnNan) -> None:
        self._stream = stream
        self._path, self._file, self._on_nan = path, file, on_nan
        self._separator: int = random.SystemRandom().randrange(10**8, 10**9)
        self._joint = b",%d," % self._separator
        self._is_canonical = self._is_dense = False
        self._patience = 0

    def read(self) -> Iterator[Block | Row]:
        offset, line = 0, 1
        while data := self._stream.read(BLOCK):
            if not data.endswith(b"\n"):
                data += self._stream.readline(MAX_LINE + 1)
            values = None
            if self._patience:
                self._patience -= 1
            elif len(data) < _LONE and (offset or no_text(data) is None):
                values = self._proven(data)
                self._patience = 0 if values is not None or not offset else _PATIENCE
            if values is not None:
                yield Block(self._path, self._file, offset, line, values, data)
                offset, line = offset + len(data), line + len(values)
                continue
            yield from read_lines(io.BytesIO(data), self._file, line, on_nan=self._on_nan)
            if not offset and no_text(data) is not None:
                return
            rest = self._finish_line(data)
            offset, line = offset + len(data) + rest, line + data.count(b"\n") + (rest > 0)

    def _finish_line(self, data: bytes) -> int:
        """Skip the rest of a line that is too long; returns its bytes."""
        skipped = 0
        while data and not data.endswith(b"\n"):
            data = self._stream.readline(1 << 20)
            skipped += len(data)
        return skipped

    def _proven(self, data: bytes) -> list[dict[str, Any]] | None:
        """Return the values of a block's lines; None if it is not certain that all of them are valid."""
        text = data.removesuffix(b"\n")
        joined = text.replace(b"\n", self._joint)
        rows = (len(joined) - len(text)) // (len(self._joint) - 1) + 1
        try:
            items = orjson.loads(b"[%b]" % joined)
            values = items[::2]
            if len(items) != 2 * rows - 1 or items[1::2].count(self._separator) != rows - 1:
                return None
            if set(map(type, values)) != {dict}:
                return None
            written = orjson.dumps(values)  # fails at a depth of 254, which is less than what is allowed
        except (ValueError, TypeError):
            return None
        return values if self._has_unique_keys(text, written) else None

    def _has_unique_keys(self, text: bytes, written: bytes) -> bool:
        """Return whether it is certain that no object in the text has the same key twice.

        `written` is the JSON of the parsed values, in which a repeated key occurs once, so it has fewer colons than the
        text. An escaped colon, which `written` has as a colon, could hide that.
        """
        if self._is_canonical and len(text) + 2 == len(written):
            if written == b"[%b]" % text.replace(b"\n", b","):
                return True
            self._is_canonical = False
        colons = self._colons(text)
        if colons != self._colons(written):
            return False
        if b"\\" in text and (b"\\u003a" in text or b"\\u003A" in text):
            return False
        self._is_dense = colons * _DENSE > len(text)
        self._is_canonical = len(text) + 2 == len(written)
        return True

    def _colons(self, data: bytes) -> int:
        return data.count(b":") if self._is_dense else len(data) - len(data.replace(b":", b""))
