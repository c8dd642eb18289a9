"""Read scores as judges write them (`4`, `<4>`, `**4**`, `4/5`, `4 out of 5`), and reject other scales."""

from __future__ import annotations

import re
from functools import cache

_LINE = 200
"""Characters after a number that are searched for its scale."""
_MARKS = r"[\s*_`~\"'\u201c\u201d\u2018\u2019()\[\]{}<>$]*+"
_NUMBER = r"\d{1,15}(?:[.,]\d{1,15})?(?!\d)"
_SCORE = rf"{_MARKS}(?:\\boxed{_MARKS})?(?P<number>[-+\u2212]?{_NUMBER})"
_DASH = r"[-\u2013\u2014]"
_UNIT = r"(?:points?|pts?|stars?|marks?|\u70b9|\u5206|\uc810)"
_SCALE = (
    rf"{_MARKS}{_UNIT}?[\s*_`,;:(\[]*+"
    rf"(?:(?:[/\uff0f]|(?:out\s+)?of\b|von\b|sur\b|sobre\b|de\b|su\b|auf\b|\u0438\u0437\b){_MARKS}(?P<maximum>{_NUMBER})"
    r"|(?P<percent>[%\uff05]|per\s?cent\b))"
)
_NAMED_SCALE = (
    rf"\bscale\b[^\n\d]{{0,20}}(?:{_NUMBER}\s*+(?:{_DASH}|to)\s*+)?(?P<after>{_NUMBER})"
    rf"|{_DASH}\s*+(?P<before>{_NUMBER})\s*+(?:points?\s)?\s*+scale\b"
    rf"|\(\s*+{_NUMBER}\s*+{_DASH}\s*+(?P<alone>{_NUMBER})\s*+\)"
    rf"|(?P<points>{_NUMBER})[-\s]points?\s+scale\b"
)
_NO_SCORE = (
    rf"(?!{_UNIT}\b)[A-Za-z\u00bc-\u00be\u2153\u2154]"  # 4th, 4½
    r"|[.,]\d"  # 1.2.3
    rf"|[ \t]+{_NUMBER}"  # 4 1/2
    rf"|(?:{_DASH}|~)\s*+{_NUMBER}|[*_`)\]>]*+\s++(?:{_DASH}|~)\s*+{_NUMBER}{_MARKS}(?:[^\w\s]|$|\n)"  # 4-5
    rf"|{_MARKS}(?:or|to|and|bis|oder|und|&){_MARKS}{_NUMBER}"  # 4 or 5
)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern when it is first used: together they take longer than the rest of a start."""
    return re.compile(pattern, re.IGNORECASE)


def score_of(text: str, maximum: float) -> int | float | None:
    """The score at the start of a text; None if there is no single score, or it uses another scale.

    Args:
        text: what the judge wrote as the score.
        maximum: the greatest score of the expected scale.
    """
    found = _compiled(_SCORE).match(text)
    if found is None:
        return None
    rest = text[found.end() : found.end() + _LINE]
    if _compiled(_NO_SCORE).match(rest) is not None or not _is_of(rest, maximum):
        return None
    number = found["number"].replace(",", ".").replace("\u2212", "-")
    return float(number) if "." in number else int(number)


def _is_of(rest: str, maximum: float) -> bool:
    """Whether the text after a number names no scale, or the one up to `maximum`."""
    scale = _compiled(_SCALE).match(rest)
    if scale is None:
        scale = _compiled(_NAMED_SCALE).search(rest.partition("\n")[0])
        named = None if scale is None else next(filter(None, scale.groups()))
        return named is None or _same(named, maximum)
    return maximum == 100 if scale["percent"] else _same(scale["maximum"], maximum)


def _same(written: str, maximum: float) -> bool:
    return float(written.replace(",", ".")) == maximum
