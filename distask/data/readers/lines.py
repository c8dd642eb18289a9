"""Read lines of bytes with their numbers, and describe errors in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distask.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO


MAX_LINE = 64 << 20
"""Maximum bytes of a line, so that a file without line ends is not read into memory."""
_SHOWN = 80
"""Characters of a line shown in an error."""


def lines_of(stream: BinaryIO, first: int = 1) -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines with their ends, counted from `first`; None for a line that is too long."""
    number = first - 1
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if len(line) <= MAX_LINE:
            yield number, line
            continue
        yield number, None
        while line and not line.endswith(b"\n"):
            line = stream.readline(1 << 20)


def fault(
    file: str, line: int, message: str, raw: bytes | None = None, column: int | None = None, cut: int = 0
) -> InputError:
    """Return an error at a place. With the line's bytes (minus `cut` at its beginning), it shows the text around it."""
    place = f"{file}:{line}" if column is None else f"{file}:{line}:{column}"
    if raw is None or column is None:
        return InputError(f"{place}: {message}")
    text = raw.decode("utf-8", "replace").rstrip("\r\n")
    at = column - 1 - cut
    begin = max(0, at - _SHOWN // 2)
    piece = "".join(c if c.isprintable() else "�" for c in text[begin : begin + _SHOWN])
    return InputError(f"{place}: {message}\n    {piece}\n    {' ' * (at - begin)}^")
