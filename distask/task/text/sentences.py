"""Find where sentences end, from punctuation and line breaks, in any language that marks them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ASCII, _OTHER = ".!?…", "\u3002\uff01\uff1f\uff61\u0964\u0965\u061f\u06d4\u1362"
"""Full stops after which a space is needed, and those of Chinese, Japanese, Hindi, Arabic, Urdu and Ethiopic."""
_CLOSING = "\u201d\u2019\u300d\u300f\uff09\u3011\u300b\u00bb)"
"""Quotation marks and brackets that belong to the sentence before them."""
_END = re.compile(
    rf"[{_ASCII}{_OTHER}\n](?:"
    rf"(?<=[{_ASCII}])(?P<more>[{_ASCII}]*)[\"'{_CLOSING}\]]*(?=\s)"
    rf"|(?<=[{_OTHER}])[{_OTHER}]*[\"'{_CLOSING}]*"
    r"|(?<=\n)(?:[ \t\r]*(?=\n)|(?=[ \t]*(?:\#{1,6}[ \t]|[-*+•][ \t]|[0-9]{1,3}[.)][ \t]|[>|]))))"
)
"""Full stops, blank lines, and lines that begin a heading, an item of a list, a quote or a row of a table."""
_WORD = re.compile(r"[^\W_]+(?:\.[^\W_]+)*$")
_LOOK_BACK = 24
"""Characters before a full stop that can hold an abbreviation."""
_WINDOW = 80
"""Characters to search at a time for the last end of a sentence."""
_ABBREVIATIONS = frozenset(
    {
        *("al", "approx", "ca", "capt", "cf", "corp", "dept", "dr", "e.g", "eds", "eq", "fig", "figs", "gen", "i.e"),
        *("jr", "lt", "mr", "mrs", "ms", "mt", "nos", "pp", "prof", "resp", "sen", "sr", "viz", "vol", "vols", "vs"),
        *("bd", "bsp", "bzw", "d.h", "evtl", "ggf", "hrsg", "m.e", "nr", "o.ä", "s.a", "u.a", "vgl", "z.b"),
    }
)
"""Words, in lower case, that a full stop usually shortens, and that rarely end a sentence: English and German."""


def sentence_ends(text: str, start: int, stop: int) -> Iterator[int]:
    """Yield the places in `text[start:stop]` after which a new sentence begins; white space there is not skipped."""
    for match in _END.finditer(text, start, stop):
        is_one_stop = match["more"] == "" and text[match.start()] == "."
        if is_one_stop and _shortens(text, match.start(), match.end()):
            continue
        yield match.end()


def last_sentence_end(text: str, low: int, limit: int) -> int | None:
    """Return the last place after `low` and up to `limit` where a sentence ends; None if there is none."""
    begin = limit
    while begin > low:  # most sentences are shorter than a chunk, so its last characters are searched first
        stop, begin = begin, max(low, begin - _WINDOW)
        while begin > low and not text[begin - 1].isalnum():  # so that the window begins outside of a match
            begin -= 1
        for match in reversed([*_END.finditer(text, begin, limit + 1)]):
            start, end = match.span()
            if start >= stop or not low < end <= limit:
                continue
            if match["more"] != "" or text[start] != "." or not _shortens(text, start, end):
                return end
    return None


def _shortens(text: str, dot: int, end: int) -> bool:
    """Return whether a full stop belongs to an abbreviation, an initial or the number of a list item."""
    after = text[end : end + 2].strip()
    if after and after.islower():
        return True
    first = max(0, dot - _LOOK_BACK)
    space = text.rfind(" ", first, dot)
    written = text[space + 1 : dot]
    if space < 0 or not written.isalpha():
        word = _WORD.search(text[first:dot])
        if word is None:
            return False
        written = word[0]
    if written.isdigit():
        line = text.rfind("\n", 0, dot) + 1
        return len(written) <= 3 and not text[line : dot - len(written)].strip()
    if len(written) == 1:
        return written.isupper() and written != "I"
    return written.lower() in _ABBREVIATIONS


def sentences(text: str, start: int, stop: int) -> list[tuple[int, int]]:
    """Return where the sentences of `text[start:stop]` begin and end, without white space at their ends."""
    found: list[tuple[int, int]] = []
    begin = start
    for end in (*sentence_ends(text, start, stop), stop):
        written = text[begin:end]
        inner = written.strip()
        if inner:
            first = begin + len(written) - len(written.lstrip())
            found.append((first, first + len(inner)))
        begin = end
    return found
