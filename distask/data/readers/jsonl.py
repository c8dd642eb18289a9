"""Read JSON Lines, one object per line. The line's own bytes are kept, so that they can be written unchanged."""

from __future__ import annotations

import json
import math
import re
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import orjson

from distask.data.compression import no_text, open_binary
from distask.data.readers.lines import MAX_LINE, fault, lines_of
from distask.data.row import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from distask.errors import InputError

    OnNan = Literal["stop", "null"]

MAX_DEPTH = 512
_DIGITS = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
_LONG_NUMBER = b"0" * 19
"""A number that may be too long for a float or 64 bits, after `bytes.translate` with `_DIGITS`."""
_EVERY, _THREE_DIGITS = 6, b"000"
"""Every sixth character of 19 digits: three digits in a row. Looking at these first takes a sixth of the time."""
_SHORT = 10**18
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_STRING_OR_NUMBER = re.compile(r'"(?:[^"\\]++|\\.)*+"|NaN|-?Infinity|-?[0-9][0-9.eE+-]*+')
_SPACED_COLON = re.compile(rb'"(?: \s|[\t\r\n])\s*:')
"""A key and its colon with more than one space between them."""
_BOM = b"\xef\xbb\xbf"


def read_jsonl(
    path: Path, file: str, *, on_nan: OnNan = "stop", wants: Callable[[], bool] | None = None
) -> Iterator[Row]:
    """Yield the rows of a file; a line that can't be read is a row with its `error`.

    NaN, Infinity and numbers too large for a float are errors, or null if `on_nan` is "null". `wants` is called for
    each row, in order; a row that it does not want is neither parsed nor yielded.
    """
    with open_binary(path) as stream:
        yield from read_lines(stream, file, on_nan=on_nan, wants=wants)


def read_lines(
    stream: BinaryIO, file: str, first: int = 1, *, on_nan: OnNan = "stop", wants: Callable[[], bool] | None = None
) -> Iterator[Row]:
    """Yield the rows of a stream that begins with line `first` of a file."""
    for number, line in lines_of(stream, first):
        if line is None:
            yield Row({}, file, number, error=fault(file, number, f"the line is longer than {MAX_LINE >> 20} MiB"))
            continue
        raw = line
        if number == 1:
            if (why := no_text(raw)) is not None:
                yield Row({}, file, 1, error=fault(file, 1, why))
                return
            raw = raw.removeprefix(_BOM)
        raw = raw.strip(b" \t\r\n")
        if not raw or (wants is not None and not wants()):
            continue
        yield read_line(raw, file, number, on_nan=on_nan)


def read_line(raw: bytes, file: str, number: int, what: str = "line", *, on_nan: OnNan = "stop") -> Row:
    """Parse one line, or one entry of an array, as a row; `what` is its name in messages."""
    try:
        values = orjson.loads(raw)
    except ValueError:
        return _slowly(raw, file, number, what, on_nan)
    if type(values) is not dict:
        return Row({}, file, number, error=_no_object(values, raw, file, number, what))
    keys, is_exact = _survey(values)
    if keys is None or keys != _keys_written(raw, keys):
        return _slowly(raw, file, number, what, on_nan)  # duplicate key or deep nesting: the slower parser checks it
    if not is_exact and has_long_number(raw):
        return _slowly(raw, file, number, what, on_nan)
    return Row(values, file, number, raw)


def _survey(values: dict[str, Any]) -> tuple[int | None, bool]:
    """Return the number of keys at all levels, and whether no number can have been rounded.

    The number is None if there are more lists and objects than `MAX_DEPTH`, which may be nested too deeply.
    """
    keys, is_exact, containers = 0, True, 0
    pending: list[Any] = [values]
    while pending:
        value = pending.pop()
        containers += 1
        if containers > MAX_DEPTH:
            return None, is_exact
        if type(value) is dict:
            keys += len(value)
            value = value.values()
        for item in value:
            kind = type(item)
            if kind is str or kind is bool or item is None:
                continue
            if kind is dict or kind is list:
                pending.append(item)
            elif is_exact and (kind is float or not -_SHORT < item < _SHORT):
                is_exact = False
    return keys, is_exact


def has_rounded(values: dict[str, Any], raw: bytes) -> bool:
    """Return whether orjson may have rounded a number of a valid line: an integer beyond 64 bits becomes a float."""
    return not _survey(values)[1] and has_long_number(raw)


def has_long_number(raw: bytes) -> bool:
    """Return whether there may be a number that is too long for a float or 64 bits, perhaps inside a string."""
    if _THREE_DIGITS not in raw[::_EVERY].translate(_DIGITS):
        return False
    return _LONG_NUMBER in raw.translate(_DIGITS)


def _keys_written(raw: bytes, expected: int) -> int | None:
    """Return how many keys are written in the line; None if that is not certain.

    A quote before a colon ends a key, or is escaped inside a string. Escaped quotes are counted only if the total
    differs from the expected one. After two backslashes, a quote may be either.
    """
    if (b" :" in raw or b"\t" in raw or b"\n" in raw or b"\r" in raw) and _SPACED_COLON.search(raw):
        return None
    written = raw.count(b'":') + raw.count(b'" :')
    if written == expected:
        return written
    if b'\\\\":' in raw or b'\\\\" :' in raw:
        return None
    return written - raw.count(b'\\":') - raw.count(b'\\" :')


class _TwiceError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        raise _TwiceError(next(k for k, _ in pairs if k in seen or seen.add(k)))  # type: ignore[func-returns-value]
    return made


def _second(text: str, key: str) -> int | None:
    """Return the column of a key's second occurrence; None if it is written in several ways."""
    found = re.finditer(rf"{re.escape(json.dumps(key, ensure_ascii=False))}\s*:", text)
    return next((match.start() + 1 for match in islice(found, 1, None)), None)


class _NotFiniteError(ValueError):
    """A number that is not valid JSON or too large for a float, as written."""


def _refuse(written: str) -> Any:
    raise _NotFiniteError(written)


def _finite(written: str) -> float:
    value = float(written)
    if math.isinf(value):
        raise _NotFiniteError(written)
    return value


def _finite_or_none(written: str) -> float | None:
    value = float(written)
    return None if math.isinf(value) else value


_DECODERS = {
    "stop": json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite),
    "null": json.JSONDecoder(
        object_pairs_hook=_unique,
        parse_constant=lambda _: None,
        parse_float=_finite_or_none,
    ),
}
"""Keyed by `on_nan`."""


def _with_nulls(raw: bytes) -> bytes:
    """Replace numbers that are not finite with null; all other bytes stay the same."""
    return _STRING_OR_NUMBER.sub(_null_if_not_finite, raw.decode()).encode()


def _null_if_not_finite(match: re.Match[str]) -> str:
    written = match[0]
    if written.startswith('"') or written.lstrip("-").isdigit():
        return written
    return written if math.isfinite(float(written)) else "null"


def _slowly(raw: bytes, file: str, number: int, what: str, on_nan: OnNan) -> Row:
    """Parse with the standard library: exact numbers of any size, duplicate keys, and the place of each error."""
    try:
        values = _exactly(raw, file, number, what, on_nan)
    except _Fault as error:
        return Row({}, file, number, error=error.error)
    return Row(values, file, number, _with_nulls(raw) if on_nan == "null" else raw)


class _Fault(Exception):  # noqa: N818 - carries an error to the row
    def __init__(self, error: InputError) -> None:
        self.error = error


def _exactly(raw: bytes, file: str, number: int, what: str, on_nan: OnNan) -> dict[str, Any]:
    def refuse(message: str, column: int | None = None) -> _Fault:
        return _Fault(fault(file, number, message, raw, column))

    if b"\0" in raw:
        raise refuse(f"there are NUL bytes in the {what}: was it damaged by a crash?", raw.index(b"\0") + 1)
    if b"\r" in raw:
        raise refuse("lines end with CR only; save the file with LF line endings", raw.index(b"\r") + 1)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refuse(
            f"the {what} is not UTF-8: byte {error.start + 1} is 0x{raw[error.start]:02x}", error.start + 1
        ) from None
    try:
        values = _DECODERS[on_nan].decode(text)
    except _TwiceError as error:
        raise refuse(f'the key "{error}" appears twice', _second(text, str(error))) from None
    except _NotFiniteError as error:
        raise refuse(_not_finite(str(error)), _column_of(str(error), text)) from None
    except RecursionError:
        raise refuse("the values are nested too deeply") from None
    except json.JSONDecodeError as error:
        raise refuse(_json_said(text, error), error.pos + 1) from None
    except ValueError:  # Python's limit for integers
        digits = re.search(r"[0-9]{4301}", text)
        at = None if digits is None else digits.start() + 1
        raise refuse("an integer has more than 4,300 digits", at) from None
    if type(values) is not dict:
        raise _Fault(_no_object(values, raw, file, number, what))
    if _depth(text) > MAX_DEPTH:
        raise refuse(f"the values are nested deeper than {MAX_DEPTH} levels")
    if "\\ud" in text.lower():
        try:
            json.dumps(values, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise refuse("a \\ud8xx escape has no second half", text.lower().index("\\ud") + 1) from None
    return values


def _not_finite(written: str) -> str:
    is_number = written.lstrip("-")[:1].isdigit()
    message = f"{_cut(written)} is too large for a number" if is_number else f"{written} is not a JSON number"
    return f"{message}; --on-nan null reads it as null, --on-bad-row skip skips the row"


def _cut(written: str) -> str:
    return written if len(written) <= 40 else f"{written[:39]}…"


def _column_of(number: str, text: str) -> int | None:
    """Return the column of a number; the same characters may also be in a string."""
    found = _STRING_OR_NUMBER.finditer(text)
    return next((match.start() + 1 for match in found if match[0] == number), None)


def _depth(text: str) -> int:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    deepest = depth = 0
    for character in _STRING.sub("", text):
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _json_said(text: str, error: json.JSONDecodeError) -> str:
    if error.msg == "Extra data":
        return (
            "there is a second value on the line; write one object per line"
            if text[error.pos] in "{["
            else "there is text after the object"
        )
    if text.startswith("\ufeff"):
        return "there is a byte order mark here, perhaps from joining files; remove it"
    if text.strip() in ("[", "{") or (text[0] == "[" and error.pos >= len(text) - 1):
        return "this looks like indented JSON or a JSON array; rename the file to .json"
    return f"this is not JSON: {error.msg[0].lower()}{error.msg[1:]}"


def _no_object(values: Any, raw: bytes, file: str, number: int, what: str) -> InputError:
    if isinstance(values, list) and what == "line":
        return fault(file, number, "the line is a list; this looks like a JSON array; rename the file to .json", raw, 1)
    kinds = {str: "a string", bool: "true or false", type(None): "null", list: "a list"}
    kind = kinds.get(type(values), "a number")
    return fault(file, number, f"the {what} is {kind}, expected an object", raw, 1)
