"""Convert values to plain JSON of bounded depth, with valid Unicode text, which every output format can hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import Undefined

from distask.llm.responses import whole
from distask.task.templates.filters import PLAIN, text_of

MAX_DEPTH = 100
"""Maximum levels of a value; other libraries reject deeper values or crash on them."""
MAX_DIGITS = 4_300
"""Maximum digits of a whole number that Python prints."""
_LARGEST = 10**MAX_DIGITS


def plain(value: Any, depth: int = 0) -> Any:
    """Replace lone surrogates and turn tuples and views into lists. Raises `ValueError` for values JSON can't hold."""
    kind = type(value)
    if kind is str:
        return value if value.isascii() else whole(value)
    if (kind is dict or kind is list) and depth < MAX_DEPTH:  # the common case, without checks of abstract classes
        inside = depth + 1
        if kind is list:
            return [plain(inner, inside) for inner in value]
        return {
            key if type(key) is str and key.isascii() else _key(key): plain(inner, inside)
            for key, inner in value.items()
        }
    if value is None or kind is bool:
        return value
    if isinstance(value, str):
        return str(value) if value.isascii() else whole(value)
    if isinstance(value, int):
        if not -_LARGEST < value < _LARGEST:
            raise ValueError(f"a number has more than {MAX_DIGITS:,} digits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a number in JSON")
        return value
    if isinstance(value, PLAIN):
        return text_of(value)
    if isinstance(value, Undefined):
        raise ValueError(str(value._undefined_message))  # noqa: SLF001, TRY004 - its message, without its exception type
    if depth == MAX_DEPTH:
        raise ValueError(f"the value is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {_key(key): plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview | set | frozenset):
        return [plain(inner, depth + 1) for inner in value]
    raise ValueError(f"a value of type {type(value).__name__} can't be stored as JSON")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise ValueError(f"the key {text_of(key)[:60]} is not text")  # noqa: TRY004 - the value is wrong
    return key if key.isascii() else whole(key)
