"""Cut a text into chunks with exact offsets, if possible between sections, paragraphs or sentences.

A chunk never begins or ends with white space, and each character that is not white space is in at least one chunk.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import Struct

from distask.llm.tokens import FIRST_WIDE
from distask.task.text.headings import find_headings
from distask.task.text.measures import CHARACTERS, token_measure
from distask.task.text.sentences import last_sentence_end, sentences

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distask.task.text.measures import Measure, Tokenize

Unit = Literal["characters", "tokens", "sentences", "headings"]

_TEXT = re.compile(r"\S")
_WORD_START = re.compile(r"(?<=\s)\S")
_GRAPHEME_CONTEXT = 64
"""Characters before a cut that decide whether it is inside a character that people see as one."""


class Chunk(NamedTuple):
    """A part of a text: `text[start:end]`, counted in Unicode code points."""

    start: int
    end: int
    headings: tuple[str, ...]
    """The titles of the headings above its start, outermost first; a heading at its start is included."""


class Cut(Struct, frozen=True):
    """How a text is cut.

    Args:
        size: the maximum length of a chunk, in units.
        overlap: the maximum length of what a chunk repeats from the end of the one before; less than `size`.
        unit: "characters" are code points; "headings" are sections, each a heading and the text under it.
        break_at_headings: whether each heading begins a new chunk.
        tokenize: returns the offsets of the tokens; None to estimate tokens from characters.
    """

    size: int
    overlap: int = 0
    unit: Unit = "characters"
    break_at_headings: bool = False
    tokenize: Tokenize | None = None


def cut_text(text: str, cut: Cut) -> list[Chunk]:
    """Return the chunks of a text, in order; none if it is only white space."""
    return [Chunk(start, end, headings) for (start, end), headings in zip(*cut_places(text, cut), strict=True)]


def cut_places(text: str, cut: Cut) -> tuple[list[tuple[int, int]], list[tuple[str, ...]]]:
    """Return where the chunks of a text begin and end, and their headings; see `Chunk`."""
    headings = find_headings(text)
    starts = [heading.start for heading in headings]
    if cut.unit == "headings":
        spans = _grouped(_sections(text, starts), cut)
    else:
        parts = _sections(text, starts) if cut.break_at_headings else [(0, len(text))]
        if cut.unit == "sentences":
            spans = [span for begin, stop in parts for span in _grouped(sentences(text, begin, stop), cut)]
        else:
            measure = token_measure(text, cut.tokenize) if cut.unit == "tokens" else CHARACTERS
            spans = [span for begin, stop in parts for span in _measured(text, begin, stop, cut, measure, starts)]
    if not headings:
        return spans, [()] * len(spans)
    paths = [(), *(heading.path for heading in headings)]
    return spans, [paths[bisect_right(starts, start)] for start, _ in spans]


def _sections(text: str, starts: Sequence[int]) -> list[tuple[int, int]]:
    """Return where the text before the first heading and each section begins and ends, without white space."""
    edges = [0, *starts, len(text)]
    found = []
    for begin, stop in pairwise(edges):
        first = _next_text(text, begin, stop)
        if first < stop:
            found.append((first, _trimmed(text, first, stop)))
    return found


def _grouped(spans: Sequence[tuple[int, int]], cut: Cut) -> list[tuple[int, int]]:
    """Join `size` neighbours; each chunk begins with the last `overlap` of those before."""
    step = cut.size - cut.overlap
    count = max(len(spans) - cut.overlap, min(1, len(spans)))  # what remains then is only overlap
    return [(spans[i][0], spans[min(i + cut.size, len(spans)) - 1][1]) for i in range(0, count, step)]


def _measured(
    text: str, begin: int, stop: int, cut: Cut, measure: Measure, headings: Sequence[int]
) -> list[tuple[int, int]]:
    size, overlap, forward, backward = cut.size, cut.overlap, measure.forward, measure.backward
    found = []
    start = new = _next_text(text, begin, stop)
    while start < stop:
        limit = forward(start, size)
        if limit >= stop:
            found.append((start, _trimmed(text, start, stop)))
            break
        low = max(new, start + (limit - start) // 2)
        end = text.rfind("\n\n", low + 1, limit + 2)
        heading = bisect_right(headings, limit)
        if heading and headings[heading - 1] > low:
            end = headings[heading - 1]
        elif end < 0:
            end = _best_end(text, new, low, limit)
        found.append((start, _trimmed(text, start, end) if text[end - 1].isspace() else end))
        new = _next_text(text, end, stop)  # the next chunk must reach beyond this
        if new >= stop:
            break
        start = new
        if overlap:
            target = backward(end, overlap)
            word = _WORD_START.search(text, target, end)
            repeated = _wide_word_start(text, target, end) if word is None else word.start()
            if found[-1][0] < repeated < end and forward(repeated, size) > new:
                start = repeated
    return found


def _best_end(text: str, floor: int, low: int, limit: int) -> int:
    """Return the best place for an end in a paragraph, after `floor` and up to `limit`; if possible, after `low`."""
    if (place := text.rfind("\n\r\n", low + 1, limit + 3)) > 0:
        return place
    if (end := last_sentence_end(text, low, limit)) is not None:
        return end
    for low_enough in (low, floor):
        for space in ("\n", " "):
            if (place := text.rfind(space, low_enough + 1, limit + 1)) > 0:
                return place
        place = next((i for i in range(limit, low_enough, -1) if text[i].isspace()), -1)
        if place > 0:
            return place
    return _between_graphemes(text, floor, limit)


def _between_graphemes(text: str, floor: int, limit: int) -> int:
    """Return `limit`, or the nearest place before it that is not inside a character that people see as one."""
    if text[limit].isascii():
        return limit
    before = [place for place in _graphemes(text, floor, limit) if floor < place <= limit]
    return before[-1] if before else limit


def _graphemes(text: str, floor: int, place: int) -> Iterator[int]:
    """Yield where the characters that people see around a place end."""
    begin, end = max(floor, place - _GRAPHEME_CONTEXT), min(len(text), place + _GRAPHEME_CONTEXT)
    return (match.end() for match in _grapheme_pattern().finditer(text, begin, end))


@cache
def _grapheme_pattern() -> Any:
    import regex

    return regex.compile(r"\X")


def _wide_word_start(text: str, target: int, end: int) -> int:
    """Return the first start of a word in `text[target:end]` without spaces, or `end`; in some scripts, any place."""
    if text[target] < FIRST_WIDE:
        return end
    return _next_text(text, next(place for place in _graphemes(text, 0, target) if place >= target), end)


def _next_text(text: str, begin: int, stop: int) -> int:
    if text.startswith("\n\n", begin) and begin + 2 < stop and not text[begin + 2].isspace():
        return begin + 2  # what usually follows a chunk: a regular expression would take longer
    match = _TEXT.search(text, begin, stop)
    return stop if match is None else match.start()


def _trimmed(text: str, begin: int, end: int) -> int:
    return begin + len(text[begin:end].rstrip())
