"""Say where a line of data is wrong: file, line and column, the line, a caret."""

from __future__ import annotations

from distask.errors import InputError

_SHOWN = 80


def fault(
    file: str, line: int, message: str, raw: bytes | None = None, column: int | None = None, cut: int = 0
) -> InputError:
    """An error at a place; with the bytes of the line, without `cut` at its beginning, the piece around is shown."""
    place = f"{file}:{line}" if column is None else f"{file}:{line}:{column}"
    if raw is None or column is None:
        return InputError(f"{place}: {message}")
    text = raw.decode("utf-8", "replace").rstrip("\r\n")
    at = column - 1 - cut
    begin = max(0, at - _SHOWN // 2)
    piece = "".join(c if c.isprintable() else "�" for c in text[begin : begin + _SHOWN])
    return InputError(f"{place}: {message}\n    {piece}\n    {' ' * (at - begin)}^")
