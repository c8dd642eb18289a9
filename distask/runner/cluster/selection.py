"""Choose the parts of an input that contain selected rows, with the same rows as a run on one machine."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

from msgspec.structs import replace

from distask.data.input import draw_places
from distask.data.parts import Part, placed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.data.parts import Counted
    from distask.runner.job import Selection


class CountedPart(Part, frozen=True):
    """A part with its number of rows."""

    selected: int = 0
    """Rows within `--offset` and `--limit`."""
    rows: int = 0
    """Rows to process: those of the sample, if there is one."""


def select_parts(parts: Sequence[Part], counts: Sequence[Counted], selection: Selection) -> list[CountedPart]:
    """Return the parts with rows within `--offset` and `--limit`."""
    first, limit = selection.offset, selection.limit
    chosen = []
    for part, counted in zip(placed(parts, counts), counts, strict=True):
        end = part.index + counted.rows
        last = end if limit is None else min(end, first + limit)
        rows = max(0, last - max(part.index, first))
        if rows:
            chosen.append(CountedPart(part.name, part.number, part.spans, part.index, selected=rows, rows=rows))
    return chosen


def sample_parts(parts: Sequence[CountedPart], selection: Selection, seed: int) -> list[CountedPart]:
    """Draw the rows that a run on one machine would draw; returns the parts that contain any of them."""
    sample, total = selection.sample, sum(part.selected for part in parts)
    if sample is None or sample >= total:
        return list(parts)
    places, chosen, first = sorted(draw_places(total, sample, seed)), list[CountedPart](), 0
    for part in parts:
        after = first + part.selected
        drawn = array("Q", (place - first for place in places[bisect_left(places, first) : bisect_left(places, after)]))
        if drawn:
            chosen.append(replace(part, drawn=drawn, rows=len(drawn)))
        first = after
    return chosen
