"""Lines of bytes, each with its number, none of them longer than the memory can bear."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

MAX_LINE = 64 << 20
"""Bytes of a line; a file without line ends is not read into the memory whole."""


def lines_of(stream: BinaryIO, first: int = 1) -> Iterator[tuple[int, bytes | None]]:
    """The lines with their ends, counted from `first`; None stands for one that is too long."""
    number = first - 1
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if len(line) <= MAX_LINE:
            yield number, line
            continue
        yield number, None
        while line and not line.endswith(b"\n"):
            line = stream.readline(1 << 20)
