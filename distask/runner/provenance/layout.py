"""Write which output rows come from which input row as a short text, and read it.

`1*19 0 1*4` are 19 input rows with one output row each, one with none, and four with one each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def packed(layout: Sequence[Sequence[int]] | None) -> str | None:
    """Return a layout (pairs of output rows and input rows) as text; None if output rows have several input rows."""
    if not layout:
        return None
    return " ".join(str(many) if times == 1 else f"{many}*{times}" for many, times in layout)


def unpacked(text: str) -> Iterator[tuple[int, int]]:
    """Yield the pairs of a layout; raises `ValueError`."""
    for word in text.split():
        many, star, times = word.partition("*")
        yield int(many), int(times) if star else 1


def input_of(text: str, row: int) -> int | None:
    """Return which input row gave an output row, both from 0; None if there are fewer output rows."""
    first = place = 0
    for many, times in unpacked(text):
        if row < first + many * times:
            return place + (row - first) // many
        first, place = first + many * times, place + times
    return None
