"""Split an input into parts that several machines can read independently.

JSON Lines are split at line ends and Parquet between rows. Formats that can't be read from the middle (compressed
files, CSV, JSON) are not split. Small files are joined. The split depends only on file names and sizes, so every run
splits alike, and only one line is read at each cut.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from msgspec import Struct
from msgspec.structs import replace

from distask.data.compression import is_compressed, kind_of, open_binary
from distask.data.input import Input, source_files, with_read_errors
from distask.data.objects import is_object, object_path
from distask.data.readers import DEFAULT_OPTIONS, ReadOptions, is_lines, reader_of
from distask.data.readers.jsonl import read_lines
from distask.data.readers.parquet import read_parquet, row_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distask.data.row import Row

PARTS = 64
"""Approximate number of parts: enough to balance the load of a cluster at the end."""
SMALLEST, LARGEST = 1 << 16, 1 << 26
"""Bytes of a part. Sizes in between are powers of two, so that rows added later do not move the cuts."""


class Span(Struct, frozen=True):
    """A piece of a file: bytes of JSON Lines, rows of Parquet, or the complete file for other formats."""

    file: str
    start: int = 0
    stop: int | None = None
    line: int = 1
    """The number of its first line, once known."""


class Part(Struct, frozen=True):
    """Spans that are read one after the other."""

    name: str
    """Its name in messages."""
    number: int
    spans: tuple[Span, ...]
    index: int = 0
    """The place of its first row in the complete input, once known."""
    drawn: Sequence[int] | None = None
    """The places of the sampled rows among its selected rows; None for all rows."""

    def state(self) -> list[Any]:
        """Return the file, range, size and time of each span; equal values mean unchanged content."""
        spans = []
        for span in self.spans:
            stat = _path(span.file).stat()
            spans.append([span.file, span.start, span.stop, stat.st_size, getattr(stat, "st_mtime_ns", None)])
        return spans if self.drawn is None else [*spans, list(self.drawn)]

    def parents(self) -> set[Path]:
        """Return the folders of its files."""
        return {Path(span.file).parent for span in self.spans}

    def open(self, options: ReadOptions = DEFAULT_OPTIONS, **choice: Any) -> Input:
        """Open the part; its rows keep their places in the complete input. `choice` is as in `Input`."""
        notes: dict[str, None] = {}

        def read() -> Iterator[Row]:
            for span in self.spans:
                yield from with_read_errors(_read(span, options, lambda note: notes.update({note: None})), span.file)

        local = [Path(span.file) for span in self.spans if not is_object(span.file)]
        return Input(self.name, read, files=local, first=self.index, drawn=self.drawn, notes=notes, **choice)


class Counted(Struct, frozen=True):
    """The counts of a part."""

    rows: int
    lines: tuple[int, ...]
    """For each span."""


def cut(source: str) -> list[Part]:
    """Return the parts of an input, in order; raises `InputError` if the input does not exist."""
    files = [str(path) for path in source_files(source)]
    sizes = {file: _path(file).stat().st_size for file in files}
    size = _part_size(sum(sizes.values()))
    parts: list[list[Span]] = [[]]
    room = size
    for file in files:
        for span, length in _spans(file, sizes[file], size):
            if parts[-1] and length > room:
                parts.append([])
                room = size
            parts[-1].append(span)
            room -= length
    return [Part(f"{source} (part {number})", number, tuple(spans)) for number, spans in enumerate(parts)]


def count(part: Part, options: ReadOptions = DEFAULT_OPTIONS) -> Counted:
    """Count the rows and lines of a part."""
    rows, lines = 0, list[int]()
    for span in part.spans:
        if span.stop is not None and _kind(span.file) == ".parquet":
            rows, lines = rows + span.stop - span.start, [*lines, 0]
            continue
        if not is_lines(Path(span.file)):
            rows, lines = rows + sum(1 for _ in _read(span, options)), [*lines, 0]
            continue
        seen = 0
        with _opened(span) as stream:
            for line in stream:
                seen += 1
                rows += bool(line.strip(b" \t\r\n"))
        lines.append(seen)
    return Counted(rows, tuple(lines))


def placed(parts: Sequence[Part], counts: Sequence[Counted]) -> list[Part]:
    """Set the first row and line numbers of the parts."""
    made, index, line = [], 0, dict[str, int]()
    for part, counted in zip(parts, counts, strict=True):
        spans = []
        for span, lines in zip(part.spans, counted.lines, strict=True):
            spans.append(replace(span, line=line.get(span.file, 1)))
            line[span.file] = line.get(span.file, 1) + lines
        made.append(replace(part, spans=tuple(spans), index=index))
        index += counted.rows
    return made


def _part_size(total: int) -> int:
    return min(LARGEST, max(SMALLEST, 1 << (max(1, total // PARTS) - 1).bit_length()))


def _spans(file: str, length: int, size: int) -> Iterator[tuple[Span, int]]:
    """Yield a file's spans, each with its length in bytes (approximate for Parquet)."""
    if length <= size or not _can_be_cut(file) or is_compressed(_path(file)):
        yield Span(file), length
    elif _kind(file) == ".parquet":
        rows = row_count(_path(file))
        step = max(1, rows * size // length)
        for start in range(0, max(1, rows), step):
            yield Span(file, start, min(rows, start + step)), size
    else:
        with _path(file).open("rb") as stream:
            start = 0
            while start < length:
                stop = _line_end(cast("BinaryIO", stream), start + size, length)
                yield Span(file, start, stop), stop - start
                start = stop


def _line_end(stream: BinaryIO, at: int, length: int) -> int:
    """Return where the line that contains the byte before `at` ends."""
    if at >= length:
        return length
    stream.seek(at - 1)
    stream.readline()
    return min(stream.tell(), length)


def _read(span: Span, options: ReadOptions, notify: Callable[[str], None] | None = None) -> Iterator[Row]:
    path, kind = _path(span.file), _kind(span.file)
    if span.stop is None:
        return reader_of(kind, options, notify)(path, span.file)
    if kind == ".parquet":
        return read_parquet(path, span.file, span.start, span.stop)
    return _read_slice(span, options)


def _read_slice(span: Span, options: ReadOptions) -> Iterator[Row]:
    with _opened(span) as stream:
        yield from read_lines(stream, span.file, span.line, on_nan=options.on_nan)


@contextmanager
def _opened(span: Span) -> Iterator[BinaryIO]:
    if span.stop is None:
        with open_binary(_path(span.file)) as stream:
            yield stream
    else:
        with io.BufferedReader(_Slice(_path(span.file).open("rb"), span.start, span.stop), 1 << 20) as stream:
            yield cast("BinaryIO", stream)


class _Slice(io.RawIOBase):
    """The bytes of a file from `start` up to `stop`."""

    def __init__(self, file: Any, start: int, stop: int) -> None:
        self._file = file
        self._left = stop - start
        file.seek(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        data = self._file.read(min(len(view), self._left))
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _can_be_cut(file: str) -> bool:
    return is_lines(Path(file)) or _kind(file) == ".parquet"


def _kind(file: str) -> str:
    return kind_of(Path(file))


def _path(file: str) -> Path:
    path: Path = object_path(file) if is_object(file) else Path(file)
    return path
