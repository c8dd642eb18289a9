"""Find the headings of a Markdown text, each with the path of headings above it."""

from __future__ import annotations

import re
from typing import NamedTuple

_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n.*?^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
"""Metadata between two lines of dashes, at the beginning of a file."""
_LINE = re.compile(
    r"\n {0,3}(?:(?P<fence>`{3,}|~{3,})"
    r"|(?P<level>\#{1,6})(?:[ \t]+(?P<title>[^\r\n]*)|(?=[\r\n]|\Z))"
    r"|(?P<rule>={2,}|-{3,})[ \t]*(?=[\r\n]|\Z))"
)
"""Lines that begin or end a code block, are a heading, or may make the line above a heading."""
_TITLE = re.compile(r"\n {0,3}(?P<title>[^\s\#>*+|`~\-][^\r\n]*)\r?")
"""A line of plain text."""
_CLOSING = re.compile(r"[ \t]+#+[ \t]*$")


class Heading(NamedTuple):
    """A heading of a Markdown text."""

    start: int
    """Where its line begins."""
    level: int
    """1 to 6."""
    title: str
    path: tuple[str, ...]
    """The titles of the headings above it, outermost first, and its own."""


def find_headings(text: str) -> list[Heading]:
    """Return the headings of a Markdown text, in order. Lines in fenced code and in front matter are not headings."""
    found: list[Heading] = []
    if "#" not in text and "\n==" not in text and "\n--" not in text:
        return found
    front = _FRONT_MATTER.match(text)
    body = "\n" + text  # so that each line has a line end before it: the search looks for that first
    fence = ""
    above: list[tuple[int, str]] = []
    for match in _LINE.finditer(body, 0 if front is None else front.end()):
        mark, start = match["fence"], match.start()
        if mark is not None:
            if not fence:
                fence = mark
            elif mark[0] == fence[0] and len(mark) >= len(fence):
                fence = ""
            continue
        if fence:
            continue
        if match["rule"] is not None:
            title_line = _underlined(body, start)
            if title_line is None:
                continue
            start, title = title_line
            level = 1 if match["rule"][0] == "=" else 2
        else:
            level, title = len(match["level"]), _CLOSING.sub("", match["title"] or "").strip()
            title = "" if not title.strip("#") else title
        while above and above[-1][0] >= level:
            above.pop()
        above.append((level, title))
        found.append(Heading(start, level, title, tuple(each for _, each in above)))
    return found


def _underlined(body: str, end: int) -> tuple[int, str] | None:
    """Return the start and the title of the line that ends at `end`, if it can be a heading: after a blank line."""
    start = body.rfind("\n", 0, end)
    title = _TITLE.fullmatch(body, start, end)
    before = body[body.rfind("\n", 0, start) : start] if start > 0 else ""
    return None if title is None or before.strip() else (start, title["title"].strip())
