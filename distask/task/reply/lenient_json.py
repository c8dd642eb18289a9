"""Parse JSON as models write it, and repair only unambiguous errors.

Repairs cover single and curly quotes, Python's `True`, `False` and `None`, unquoted keys, trailing commas, comments,
line breaks inside strings, and unescaped backslashes (see `escapes`). JSON that is cut off, or lacks a value or comma,
is not repaired. Each search takes linear time, even if the model repeats itself endlessly.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from distask.task.reply.escapes import are_suspect, restored, restored_string, without_escapes

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 100
"""Maximum levels of a value; other libraries can't read deeper ones."""
MAX_MENDED = 200_000
"""Maximum characters of a value to repair; repairs in one reply may scan ten times as many."""
START = 1_000
"""Cost of trying one bracket, in addition to the characters read."""
END = 100
"""Cost of a value that was parsed, in addition to its characters."""
LEAST = 1_000_000
"""Cost limit of a search; twice the length of the reply is added."""
_WINDOW = 100_000
"""Distance after which the text before is dropped: building errors in `json` counts all lines before them."""

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
    raise ValueError(f"{word} is not valid JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{digits} is larger than any number")
    return number


_DECODER = json.JSONDecoder(strict=False, parse_constant=_no_number, parse_float=_finite)


class Search:
    """The JSON values of a text, in order.

    Attributes:
        fault: the error in the first text that looks like JSON but is invalid; None if there is none.
        is_json: whether that text is certainly meant as JSON, and not another use of brackets.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = len(text.rstrip())
        self._left = LEAST + 2 * len(text)
        self._repairs_left = 10 * MAX_MENDED
        self.fault: str | None = None
        self.is_json = False

    def values(self) -> Iterator[tuple[Any, int]]:
        """The value at each opening bracket, nested ones too, with its end. Raises `TooDeepError`."""
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
        """The value that begins at a bracket, and its end."""
        return self._read(self._text, start, self._end)

    def _read(self, text: str, start: int, last: int) -> tuple[Any, int] | None:
        try:
            value, end = _DECODER.raw_decode(text, start)
        except RecursionError:
            raise TooDeepError from None
        except json.JSONDecodeError as error:
            self._left -= START + error.pos - start
            repaired = self._repaired(text, start)
            if repaired is None:
                if self.fault is None and _MENDABLE.match(text, start) is not None:
                    self.fault = _described(_first_error(error, text[start:]), last - start)
                    self.is_json = _CERTAIN.match(text, start) is not None
                return None
            value, end = repaired
        except ValueError as error:  # NaN, infinity, or a number with thousands of digits
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

    def _repaired(self, text: str, start: int) -> tuple[Any, int] | None:
        if self._repairs_left < 0 or _MENDABLE.match(text, start) is None:
            return None
        written, end, closed = _written(text, start)
        self._repairs_left -= START + end - start
        if not closed:
            return None
        try:
            return _DECODER.decode(written), end
        except (ValueError, RecursionError):
            return None


def loads(text: str) -> Any:
    """Parse text that is only JSON; line breaks and backslashes may be unescaped. Raises `ValueError`."""
    try:
        value = _DECODER.decode(restored(text))
    except RecursionError:
        raise TooDeepError from None
    if _depth(value) > MAX_DEPTH:
        raise TooDeepError
    return value


def _first_error(error: json.JSONDecodeError, text: str) -> json.JSONDecodeError:
    """The first error in text that starts with a bracket, apart from invalid escapes."""
    try:
        _DECODER.raw_decode(without_escapes(text))
    except json.JSONDecodeError as other:
        return other
    except (ValueError, RecursionError):
        pass
    return error


def _described(error: json.JSONDecodeError, last: int) -> str:
    if error.pos >= last or error.msg.startswith("Unterminated"):
        return "does not end"
    return f"is broken: {error.msg[:1].lower()}{error.msg[1:]} at `{error.doc[error.pos : error.pos + 20]}`"


def _written(text: str, start: int) -> tuple[str, int, bool]:
    """The text from a bracket to its closing one, as strict JSON; where reading ended; whether it is closed."""
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
    """Put text from other quotes into double quotes."""
    return '"' + _ESCAPED.sub(lambda found: "'" if found[1] == "'" else found[0] if found[1] else '\\"', text) + '"'


def _depth(value: Any) -> int:
    """The number of nested levels of lists and mappings."""
    depth, level = 0, [value]
    while level := [v for v in level if isinstance(v, dict | list)]:
        depth += 1
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
    return depth
