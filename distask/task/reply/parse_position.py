"""Locate the place in a reply where parsing failed, to show it to the user."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from msgspec import Struct

from distask.spec.check.patterns import PatternTimeout, compile_pattern
from distask.spec.language.parsers import ChoiceParser, JsonParser, RegexParser, SectionsParser, TagsParser
from distask.task.reply.escapes import without_escapes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distask.spec.language.parsers import Parser

MOST_PREFIXES = 400
"""Maximum prefixes of a pattern to try."""
LEAST_MATCH = 2
"""Minimum characters that a prefix must match to count."""
_NAMED = re.compile(r"^[\w-]+(?:\[(?P<index>\d+)\])?: (?P<value>.{1,200}?) is ", re.DOTALL)
"""Matches the messages of column types, such as `ratings[0]: 9 is more than 5`."""


class Misfit(Struct, frozen=True):
    """A place in a reply."""

    at: int
    """The offset in the reply."""
    length: int
    wanted: str | None = None
    """What was expected there."""


def misfit(parsers: Sequence[Parser], reply: str, message: str) -> Misfit | None:
    """The place where a reply, rejected with this message, fails the first parser; None if unknown."""
    if (found := _value(reply, message)) is not None:
        return found
    options = parsers[0] if parsers else None
    if isinstance(options, JsonParser):
        return _json(reply, message)
    if isinstance(options, RegexParser):
        return _pattern(reply, options)
    if isinstance(options, TagsParser | SectionsParser):
        missing = re.search(r"the reply has no (?:<(?P<tag>[^>]+)>…|`(?P<marker>[^`]+)`)", message)
        return None if missing is None else _missing(reply, missing["tag"], missing["marker"])
    if isinstance(options, ChoiceParser):
        return Misfit(0, len(reply.splitlines()[0]) if reply else 0)
    return None


def _value(reply: str, message: str) -> Misfit | None:
    """The place of a value that its column type rejects."""
    named = _NAMED.match(message)
    if named is None:
        return None
    value = named["value"].strip("\"'")
    places = [m.start() for m in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", reply)]
    if not places:
        return None
    index = min(int(named["index"]), len(places) - 1) if named["index"] else -1
    return Misfit(places[index], len(value))


def _json(reply: str, message: str) -> Misfit | None:
    start = next((at for at, character in enumerate(reply) if character in "{["), None)
    if start is None:
        return Misfit(0, 0, "a JSON object")
    try:
        _, end = json.JSONDecoder(strict=False).raw_decode(without_escapes(reply), start)
    except json.JSONDecodeError as error:
        return Misfit(error.pos, 1, f"{error.msg[:1].lower()}{error.msg[1:]}")
    except RecursionError:
        return Misfit(start, 1)
    missing = re.search(r"has no `([^`]+)`", message)
    return Misfit(end - 1, 1, f"no `{missing[1]}` before this") if missing else Misfit(start, 1)


def _missing(reply: str, tag: str | None, marker: str | None) -> Misfit:
    if tag is None:
        return Misfit(len(reply), 0, f"`{marker}`, anywhere")
    opened = reply.lower().find(f"<{tag.lower()}")
    if opened >= 0:
        return Misfit(opened, len(tag) + 2, f"</{tag}> after this")
    return Misfit(len(reply), 0, f"<{tag}>…</{tag}>, anywhere")


def _pattern(reply: str, options: RegexParser) -> Misfit | None:
    """The end of the longest prefix of the pattern that matches, and the rest of the pattern."""
    for end in _ends(options.pattern):
        try:
            found = compile_pattern(options.pattern[:end], options.flags).find(reply)
        except ValueError:  # the cut makes it invalid
            continue
        except PatternTimeout:  # shorter prefixes would be about as slow
            return None
        if found is not None and len(found.group(0) or "") >= LEAST_MATCH:
            return Misfit(found.end(), 1, f"here: {options.pattern[end:]}")
    return Misfit(0, 0, f"anywhere: {options.pattern}")


def _ends(pattern: str) -> Iterator[int]:
    """Where a pattern may be cut, longest prefix first: not inside an escape or before a quantifier."""
    tried = 0
    for end in range(len(pattern) - 1, 0, -1):
        before = len(pattern[:end]) - len(pattern[:end].rstrip("\\"))
        if before % 2 or pattern[end] in "*+?{|":
            continue
        yield end
        tried += 1
        if tried == MOST_PREFIXES:
            return
