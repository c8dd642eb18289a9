"""Sort more numbers than memory should hold: sorted runs in a temporary file, merged block by block."""

from __future__ import annotations

import tempfile
import weakref
from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

MERGE_NUMBERS = 1 << 16
"""Numbers that a merge holds in memory, over all runs."""
MIN_BLOCK_NUMBERS = 64
READ_NUMBERS = 1 << 14


class Span(Struct, frozen=True):
    """Where an array is in a spill file."""

    typecode: str
    start: int
    """Offset in bytes."""
    count: int
    """How many numbers."""


def cannot_spill(error: Exception) -> OutputError:
    """Return the error for a temporary file that can't be written."""
    reason = getattr(error, "strerror", None) or error
    return OutputError(
        f"temporary files in {tempfile.gettempdir()} can't be written: {reason}; "
        "free some space there, or set TMPDIR to another folder"
    )


class SpillFile:
    """Arrays of numbers in a temporary file, which is created on first use and deleted with the object."""

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._end = 0

    def append(self, numbers: array[Any]) -> Span:
        """Store an array and return where it is."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="distask-report-", buffering=0)  # noqa: SIM115 - see next line
            weakref.finalize(self, self._file.close)
        span = Span(numbers.typecode, self._end, len(numbers))
        data, written = numbers.tobytes(), 0
        try:
            self._file.seek(self._end)
            while written < len(data):
                written += self._file.write(data[written:])
        except OSError as error:
            raise cannot_spill(error) from None
        self._end += written
        return span

    def read(self, span: Span, start: int, count: int) -> array[Any]:
        """Read some numbers of a stored array, from `start`."""
        numbers = array(span.typecode)
        if self._file is not None:
            self._file.seek(span.start + start * numbers.itemsize)
            numbers.frombytes(self._file.read(min(count, span.count - start) * numbers.itemsize))
        return numbers

    def blocks(self, span: Span, size: int = READ_NUMBERS) -> Iterator[list[Any]]:
        """Yield a stored array, block by block."""
        for start in range(0, span.count, size):
            yield self.read(span, start, size).tolist()


class SortedRuns:
    """Sorted arrays in a spill file.

    Args:
        typecode: the type of the numbers, as `array` has it.
        file: where the runs are stored.
    """

    def __init__(self, typecode: str, file: SpillFile) -> None:
        self._typecode = typecode
        self._file = file
        self._runs: list[Span] = []

    def __bool__(self) -> bool:
        return bool(self._runs)

    def add(self, ordered: list[Any]) -> None:
        """Store a run of sorted numbers."""
        self._runs.append(self._file.append(array(self._typecode, ordered)))

    def merged(self) -> Iterator[list[Any]]:
        """Yield all numbers in sorted lists. Equal numbers share a list if each run has them only once."""
        size = max(MIN_BLOCK_NUMBERS, MERGE_NUMBERS // max(1, len(self._runs)))
        sources = [self._file.blocks(run, size) for run in self._runs]
        heads = {place: next(source) for place, source in enumerate(sources)}
        while heads:
            limit = min(head[-1] for head in heads.values())
            block: list[Any] = []
            for place, head in list(heads.items()):
                end = bisect_right(head, limit)
                block += head[:end]
                rest = head[end:] or next(sources[place], [])
                if rest:
                    heads[place] = rest
                else:
                    del heads[place]
            block.sort()
            yield block
