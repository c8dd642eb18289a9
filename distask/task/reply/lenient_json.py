"""Read JSON as models write it: what can mean only one thing is repaired, and nothing is made up.

Repaired are single and curly quotes, Python's `True`, `False` and `None`, keys without quotes, commas before a closing
bracket, comments, line ends inside of a string, and backslashes that are not escaped (see `escapes`). What is cut, or
lacks a value or a comma, is not JSON. Each search costs no more than the length of its text, whatever a model looped
into.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from distask.task.reply.escapes import are_suspect, restored, restored_string, without_escapes

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 100
"""Levels of a value; what is deeper no library down the line reads."""
MAX_MENDED = 200_000
"""Characters of a value that is mended, and a tenth of those that are looked at for it in one reply."""
START = 1_000
"""What a look at one bracket costs beside the characters that are read."""
END = 100
"""What a value costs that was read, and was not the one that was looked for."""
LEAST = 1_000_000
"""What all looks may cost in a short reply; in a long one it is twice the length more."""
_WINDOW = 100_000
"""Characters after which those before are let go: the words of json's errors count the lines before them."""

_START = re.compile(r"[{\[]")
_MENDABLE = re.compile(r"""\{\s*+(?:["'“}]|[A-Za-z_$][\w$]*+\s*+:|//|/\*)|\[\s*+(?:["'“{\[\]]|[-\dTFNtfn]|//|/\*)""")
_CERTAIN = re.compile(r"""[\[\s]*+(?:\{|["“-]|\d++\s*+,)""")
_TOKEN = re.compile(
    r"""(?P<space>\s++|//[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)
    |(?P<text>"(?:[^"\\]++|\\.)*+")
    |'(?P<single>(?:[^'\\]++|\\.|'(?!\s*+[,:}\]]))*+)'
    |“(?P<curly>[^”]*+)”
    |(?P<word>[-+.\w$]++)
    |(?P<open>[{\[])
    |(?P<close>[}\]])
    |(?P<mark>[,:])""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"True": "true", "False": "false", "None": "null"}
_KEY = re.compile(r"[A-Za-z_$][\w$]*+")
_ESCAPED = re.compile(r"\\(.)|\"", re.DOTALL)
_OPENING = {"}": "{", "]": "["}


class TooDeepError(ValueError):
    """A value has more levels than `MAX_DEPTH`."""


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{digits} is larger than any number")
    return number


_DECODER = json.JSONDecoder(strict=False, parse_constant=_no_number, parse_float=_finite)


class Search:
    """The JSON values of a text, in order.

    Attributes:
        fault: what is wrong with the first thing that looks like JSON and is not; None where there is no such thing.
        is_json: whether that thing is JSON for certain, and not another use of brackets.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = len(text.rstrip())
        self._left = LEAST + 2 * len(text)
        self._mending = 10 * MAX_MENDED
        self.fault: str | None = None
        self.is_json = False

    def values(self) -> Iterator[tuple[Any, int]]:
        """Each value from each bracket, with where it ends; those inside of another too. Raises `TooDeepError`."""
        text, base = self._text, 0
        for found in _START.finditer(self._text):
            start = found.start()
            if start - base > _WINDOW:
                base, text = start, self._text[start:]
            read = self._read(text, start - base, self._end - base)
            if read is not None:
                yield read[0], read[1] + base
            if self._left < 0:
                return

    def value_at(self, start: int) -> tuple[Any, int] | None:
        """The value that begins at a bracket, and where it ends."""
        return self._read(self._text, start, self._end)

    def _read(self, text: str, start: int, last: int) -> tuple[Any, int] | None:
        try:
            value, end = _DECODER.raw_decode(text, start)
        except RecursionError:
            raise TooDeepError from None
        except json.JSONDecodeError as error:
            self._left -= START + error.pos - start
            mended = self._mended(text, start)
            if mended is None:
                if self.fault is None and _MENDABLE.match(text, start) is not None:
                    self.fault = _told(_first_error(error, text[start:]), last - start)
                    self.is_json = _CERTAIN.match(text, start) is not None
                return None
            value, end = mended
        except ValueError as error:  # a number that none is, or one of thousands of digits
            self._left -= START
            reason = "it has a number of thousands of digits" if "digits" in str(error) else str(error)
            self.fault = self.fault or f"is broken: {reason}"
            self.is_json = True
            return None
        else:
            if are_suspect(text, start, end):
                value = _DECODER.decode(restored(text[start:end]))
        self._left -= END + end - start
        if text.count("{", start, end) + text.count("[", start, end) > MAX_DEPTH and _depth(value) > MAX_DEPTH:
            raise TooDeepError
        return value, end

    def _mended(self, text: str, start: int) -> tuple[Any, int] | None:
        if self._mending < 0 or _MENDABLE.match(text, start) is None:
            return None
        written, end, closed = _written(text, start)
        self._mending -= START + end - start
        if not closed:
            return None
        try:
            return _DECODER.decode(written), end
        except (ValueError, RecursionError):
            return None


def loads(text: str) -> Any:
    """The value of a text that is JSON and nothing else, but for line ends and backslashes. Raises `ValueError`."""
    try:
        value = _DECODER.decode(restored(text))
    except RecursionError:
        raise TooDeepError from None
    if _depth(value) > MAX_DEPTH:
        raise TooDeepError
    return value


def _first_error(error: json.JSONDecodeError, text: str) -> json.JSONDecodeError:
    """What is wrong with a text from its bracket on, apart from escapes that JSON does not have."""
    try:
        _DECODER.raw_decode(without_escapes(text))
    except json.JSONDecodeError as other:
        return other
    except (ValueError, RecursionError):
        pass
    return error


def _told(error: json.JSONDecodeError, last: int) -> str:
    if error.pos >= last or error.msg.startswith("Unterminated"):
        return "does not end"
    return f"is broken: {error.msg[:1].lower()}{error.msg[1:]} at `{error.doc[error.pos : error.pos + 20]}`"


def _written(text: str, start: int) -> tuple[str, int, bool]:
    """What stands from a bracket to its end, in strict JSON; where the reading ended; whether the bracket is closed."""
    parts: list[str] = []
    opened: list[str] = []
    at, limit = start, min(len(text), start + MAX_MENDED)
    while at < limit and (token := _TOKEN.match(text, at, limit)) is not None:
        at, kind = token.end(), token.lastgroup
        part = token[0]
        if kind == "space":
            continue
        if kind == "text":
            part = restored_string(part)
        elif kind in ("single", "curly"):
            part = restored_string(_quoted(token[kind]))
        elif kind == "word":
            part = _WORDS.get(part, part)
        elif kind == "open":
            opened.append(part)
        elif kind == "mark" and part == ":" and parts and _KEY.fullmatch(parts[-1]) and parts[-2] in ("{", ","):
            parts[-1] = f'"{parts[-1]}"'
        elif kind == "close":
            if opened.pop() != _OPENING[part]:
                return "", at, False
            if parts[-1] == ",":
                parts.pop()
        parts.append(part)
        if not opened:
            return "".join(parts), at, True
        if len(opened) > MAX_DEPTH:
            break
    return "", at, False


def _quoted(text: str) -> str:
    """What stood in other quotes, in double ones."""
    return '"' + _ESCAPED.sub(lambda found: "'" if found[1] == "'" else found[0] if found[1] else '\\"', text) + '"'


def _depth(value: Any) -> int:
    """Levels of lists and mappings in each other."""
    depth, level = 0, [value]
    while level := [v for v in level if isinstance(v, dict | list)]:
        depth += 1
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
    return depth
