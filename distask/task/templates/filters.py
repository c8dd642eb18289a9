"""Values, operators and filters of templates: Jinja's, with limits, and printing JSON instead of Python values."""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import hashlib
import json
import re
import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from jinja2 import Undefined, pass_environment
from jinja2.exceptions import TemplateRuntimeError
from jinja2.filters import FILTERS as JINJAS
from jinja2.runtime import Macro
from markupsafe import escape

from distask.task.aggregate import agreement, majority, mean, median, std, weighted_mean
from distask.task.chat import tools, training
from distask.task.chat.rows import answered, chat_of, common_start
from distask.task.templates.limits import METER, VALUE, LimitError, check_number, counted, fits, joined, weighed
from distask.task.text.sentences import sentences

if TYPE_CHECKING:
    from jinja2 import Environment

_MOST_SLICES = 10_000
_LONGEST_WRAPPED = 20_000
_LONGEST_SEARCH = 100_000_000
"""Maximum length of a text times that of a search text, where Python compares each pair of characters."""


def text_of(value: Any) -> str:
    """A value as a template prints it: text as it is, nothing for null, lists and mappings as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Undefined):
        return str(value)
    if isinstance(value, PLAIN):
        return _plain(value)
    return to_json(value)


def to_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON; non-ASCII characters are not escaped."""
    if indent is not None and not 0 <= indent <= 16:
        raise LimitError("`indent` must be between 0 and 16")
    return json.dumps(value, ensure_ascii=False, indent=indent, default=_jsonable)


PLAIN = (dt.date, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Undefined):
        str(value)  # raises the error
    if isinstance(value, PLAIN):
        return _plain(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview | Macro):
        return listed(value)
    if callable(getattr(value, "tolist", None)):  # NumPy numbers
        return value.tolist()
    raise TemplateRuntimeError(f"a value of type {type(value).__name__} can't be printed")


def listed(values: Iterable[Any]) -> list[Any]:
    """An iterable as a list."""
    made = list(counted(values))
    weighed(made)
    return made


def _ticked(value: Any) -> Any:
    METER.tick()
    return value


def _concat(values: Iterable[Any]) -> str:
    return joined(map(text_of, values))


def _power(left: Any, right: Any) -> Any:
    if isinstance(right, int) and right > 0:
        check_number(left, right)
    return left**right


def _times(left: Any, right: Any) -> Any:
    for sequence, count in ((left, right), (right, left)):
        if isinstance(sequence, str | bytes | list | tuple) and isinstance(count, int):
            fits(len(sequence) * count * (VALUE if isinstance(sequence, list | tuple) else 1))
    return left * right


def _plus(left: Any, right: Any) -> Any:
    if isinstance(left, str | bytes | list | tuple) and isinstance(right, str | bytes | list | tuple):
        fits(len(left) + len(right))
    return left + right


def _modulo(left: Any, right: Any) -> Any:
    return _percent(left, right) if isinstance(left, str) else left % right


_PADDED = re.compile(r"%(?:\([^)]*\))?[-+ #0-9.]*(?:\*|[0-9]{4})")
"""A format field that is padded by a value, or to thousands of characters."""


def _percent(template: str, values: Any) -> str:
    if _PADDED.search(template):
        raise LimitError("a format may pad to at most 999 characters")
    if isinstance(values, dict):
        values = {key: readable(value) for key, value in values.items()}
        lengths = [len(value) for value in values.values() if isinstance(value, str)]
    else:
        values = tuple(readable(value) for value in (values if isinstance(values, tuple) else (values,)))
        lengths = [len(value) for value in values if isinstance(value, str)]
    fits(len(template) + template.count("%") * max(lengths, default=0))
    return str(template % values)


def readable(value: Any) -> Any:
    """A value for a format; values that Python would print in its own syntax become text."""
    return text_of(value) if value is None or isinstance(value, bool | list | dict | tuple) else value


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": _plus,
    "-": lambda left, right: left - right,
    "*": _times,
    "/": lambda left, right: left / right,
    "//": lambda left, right: left // right,
    "%": _modulo,
    "**": _power,
}


# Text methods whose result may be much longer, or whose time grows with the product of two lengths


def check_method(text: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    values = (*args, *kwargs.values())
    if name in ("center", "ljust", "rjust", "zfill"):
        fits(max((v for v in values if isinstance(v, int)), default=0))
    elif name == "expandtabs":
        fits(len(text) + text.count("\t") * max((v for v in values if isinstance(v, int)), default=8))
    elif name == "replace" and len(args) >= 2 and isinstance(args[0], str) and isinstance(args[1], str):
        fits(len(text) + text.count(args[0]) * len(args[1]))
    elif name == "encode" and values:
        raise LimitError("`encode` takes no arguments; it always uses UTF-8")
    elif name in ("rfind", "rindex", "rsplit", "rpartition", "strip", "lstrip", "rstrip"):
        sought = max((len(v) for v in values if isinstance(v, str)), default=0)
        if len(text) * sought > _LONGEST_SEARCH:
            raise LimitError(f"`{name}` searches for too long a text")


@pass_environment
def _join(environment: Environment, values: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    items: Iterable[Any] = counted(values)
    if attribute is not None:
        path = [int(p) if p.isdigit() else p for p in str(attribute).split(".")]
        items = (functools.reduce(environment.getitem, path, item) for item in items)
    separator, parts = text_of(d), list[str]()
    for item in items:
        if parts and separator:
            parts.append(separator)
        parts.append(text_of(item))
    return joined(parts)


@pass_environment
def _sum(environment: Environment, values: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    total = start
    for value in counted(values):
        total = _plus(total, value if attribute is None else environment.getitem(value, cast("str", attribute)))
    return total


def _center(value: Any, width: int = 80) -> str:
    fits(width)
    return text_of(value).center(width)


def _indent(value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    text = text_of(value)
    size = len(width) if isinstance(width, str) else width
    fits(len(text) + (text.count("\n") + 1) * size)
    return str(JINJAS["indent"](text, width, first, blank))


def _replace(value: Any, old: Any, new: Any, count: int = -1) -> str:
    text, old, new = text_of(value), text_of(old), text_of(new)
    check_method(text, "replace", (old, new), {})
    return text.replace(old, new, -1 if count is None else count)


def _trim(value: Any, chars: str | None = None) -> str:
    text = text_of(value)
    check_method(text, "strip", (chars,), {})
    return text.strip(chars)


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    return _percent(text_of(value), kwargs or args)


def _batch(value: Iterable[Any], linecount: int, fill_with: Any = None) -> list[list[Any]]:
    fits(linecount * VALUE)
    made: list[list[Any]] = []
    for item in counted(value):
        if not made or len(made[-1]) >= linecount:
            METER.charge(VALUE)
            made.append([])
        made[-1].append(item)
    if made and fill_with is not None:
        made[-1] += [fill_with] * (linecount - len(made[-1]))
    return made


def _slice(value: Iterable[Any], slices: int, fill_with: Any = None) -> list[Any]:
    if not 1 <= slices <= _MOST_SLICES:
        raise LimitError(f"`slice` allows from 1 to {_MOST_SLICES:,} lists")
    items, made, at = list(counted(value)), [], 0
    size, more = divmod(len(items), slices)
    for number in range(slices):
        end = at + size + (number < more)
        made.append(items[at:end] + ([fill_with] if fill_with is not None and number >= more else []))
        at = end
    return made


def _round(value: float, precision: int = 0, method: str = "common") -> float:
    if abs(precision) > 100:
        raise LimitError("`round` allows a precision of at most 100")
    return cast("float", JINJAS["round"](value, precision, method))


@pass_environment
def _wordwrap(environment: Environment, value: Any, width: int = 79, *args: Any, **kwargs: Any) -> str:
    text = text_of(value)
    between = [len(v) for v in (*args, *kwargs.values()) if isinstance(v, str)]
    if len(text) > _LONGEST_WRAPPED:
        raise LimitError(f"`wordwrap` allows at most {_LONGEST_WRAPPED:,} characters")
    fits(len(text) * max(between, default=0))
    return str(JINJAS["wordwrap"](environment, text, width, *args, **kwargs))


def _escape(value: Any) -> str:
    return str.__str__(escape(text_of(value)))


def _tojson(value: Any, indent: int | None = None) -> str:
    """A value as JSON; non-ASCII characters are not escaped."""
    return to_json(value, indent)


def numbered(values: Iterable[Any], start: int = 1) -> str:
    """A list as lines: `1. first`, `2. second`."""
    return joined(f"{number}. {text_of(value)}\n" for number, value in enumerate(counted(values), start))[:-1]


def truncate_tokens(value: Any, n: int) -> str:
    """Approximately the first `n` tokens of a text: four letters, or one CJK character, count as a token."""
    text = text_of(value)
    if len(text) <= n:
        return text
    left = 4 * n
    METER.charge(len(text))
    for at, character in enumerate(text):
        left -= 4 if character >= "\u2e80" else 1
        if left < 0:
            return text[:at]
    return text


_TAG_NAME = re.compile(r"[A-Za-z/!?]")


def strip_tags(value: Any) -> str:
    """A text without HTML tags and comments; white space stays unchanged."""
    text = text_of(value)
    kept, at = [], 0
    while (opened := text.find("<", at)) >= 0:
        METER.charge(VALUE)
        if not _TAG_NAME.match(text, opened + 1):
            kept.append(text[at : opened + 1])
            at = opened + 1
            continue
        ending = "-->" if text.startswith("<!--", opened) else ">"
        closed = text.find(ending, opened)
        if closed < 0:
            break
        kept.append(text[at:opened])
        at = closed + len(ending)
    kept.append(text[at:])
    return "".join(kept)


def _reducer(reduce: Callable[[list[Any]], Any]) -> Callable[[Any], Any]:
    @functools.wraps(reduce)
    def reduced(values: Any) -> Any:
        try:
            return reduce(listed(values))
        except TypeError:
            raise TemplateRuntimeError("a value is not a number") from None

    return reduced


@functools.wraps(weighted_mean)
def _weighted_mean(values: Any, weights: Any) -> float | None:
    try:
        return weighted_mean(listed(values), listed(weights))
    except TypeError:
        raise TemplateRuntimeError("a value or a weight is not a number") from None
    except ValueError as error:
        raise TemplateRuntimeError(str(error)) from None


def tagged(value: Any, name: str, /, **attributes: Any) -> str:
    """Wrap a text in `<name>` and `</name>`, on separate lines.

    The text can't close its own tag: if it contains a tag with that name, the name gets a number that is not in use.
    """
    text = text_of(value)
    taken = set(re.findall(rf"</?\s*{re.escape(name)}(?:-(\d+))?", text, re.IGNORECASE))
    number = next((n for n in range(2, len(taken) + 3) if str(n) not in taken), 2) if taken else 1
    free = name if number == 1 else f"{name}-{number}"
    written = "".join(f' {key}="{_escape(attribute)}"' for key, attribute in attributes.items())
    return f"<{free}{written}>\n{text}\n</{free}>"


def quoted_from(value: Any, source: Any) -> bool:
    """Whether a text, or each text of a list, is in another text word for word; runs of white space are equal.

    `source` may be a list of texts: each quote must then be in one of them.
    """
    quotes = value if isinstance(value, list | tuple) else [value]
    return bool(quotes) and None not in found_in(quotes, source if isinstance(source, list | tuple) else [source])


def found_in(values: Iterable[Any], texts: Iterable[Any]) -> list[int | None]:
    """For each text of a list, the position of the first of other texts that contains it, from 0; null if none does.

    The texts must agree word for word; runs of white space are equal.
    """
    searched = [_spaced(text) for text in counted(texts)]
    length = sum(map(len, searched))
    places: list[int | None] = []
    for value in counted(values):
        METER.charge(length)
        quote = _spaced(value) if isinstance(value, str) else ""
        places.append(next((place for place, text in enumerate(searched) if quote and quote in text), None))
    return places


def _spaced(value: Any) -> str:
    """A text with single spaces between words."""
    return " ".join(text_of(value).split())


def _sentences(value: Any) -> list[str]:
    """The sentences of a text as a list; headings and items of lists count as sentences."""
    text = text_of(value)
    METER.charge(len(text))
    return [text[start:end] for start, end in sentences(text, 0, len(text))]


def _messages(value: Any, answer: bool = True, weights: bool = False) -> list[dict[str, Any]]:
    """The messages in a chat of any common format (ShareGPT, ChatML, JSON text), or in the columns of a `row`."""
    return chat_of(value, answer=answer, weights=weights)


def _fromjson(value: Any) -> Any:
    """The value of a JSON text; values that are not text stay unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise TemplateRuntimeError("`fromjson` needs JSON text") from None


def _sha256(value: Any) -> str:
    """The SHA-256 hash of a text, as 64 hexadecimal digits."""
    return hashlib.sha256(text_of(value).encode(errors="surrogatepass")).hexdigest()


_KEPT = (
    *("abs", "attr", "capitalize", "count", "d", "default", "dictsort", "filesizeformat", "first", "float", "groupby"),
    *("int", "items", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse"),
    *("select", "selectattr", "sort", "title", "truncate", "unique", "upper", "urlencode", "wordcount"),
)
"""Jinja filters that are safe unchanged. `random` is left out, because the chat for a row must be deterministic."""

_OWN: dict[str, Callable[..., Any]] = {
    "agreement": _reducer(agreement),
    "answered": answered,
    "batch": _batch,
    "call_ids": training.call_ids,
    "center": _center,
    "common_start": common_start,
    "chat_problem": training.chat_problem,
    "e": _escape,
    "escape": _escape,
    "format": _format,
    "found_in": found_in,
    "fromjson": _fromjson,
    "image_parts": training.image_parts,
    "image_sources": training.image_sources,
    "image_tags": training.image_tags,
    "image_urls": training.image_urls,
    "indent": _indent,
    "join": _join,
    "majority": _reducer(majority),
    "mean": _reducer(mean),
    "media_problem": training.media_problem,
    "median": _reducer(median),
    "messages": _messages,
    "numbered": numbered,
    "preference_pair": training.preference_pair,
    "quoted_from": quoted_from,
    "replace": _replace,
    "round": _round,
    "sentences": _sentences,
    "sha256": _sha256,
    "sharegpt": training.sharegpt,
    "slice": _slice,
    "std": _reducer(std),
    "string": text_of,
    "strip_tags": strip_tags,
    "striptags": strip_tags,
    "sum": _sum,
    "tagged": tagged,
    "tojson": _tojson,
    "tool_arguments": training.tool_arguments,
    "tool_definitions": tools.tool_definitions,
    "tools_problem": tools.tools_problem,
    "call_problem": tools.call_problem,
    "trim": _trim,
    "safe": text_of,
    "forceescape": _escape,
    "wordwrap": _wordwrap,
    "truncate_tokens": truncate_tokens,
    "weighted_mean": _weighted_mean,
}


def _metered(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        METER.tick()
        return weighed(function(*args, **kwargs))

    return wrapper


FILTERS: dict[str, Callable[..., Any]] = {
    **{name: _metered(function) for name, function in {**{n: JINJAS[n] for n in _KEPT}, **_OWN}.items()},
    "_concat": _concat,
    "_counted": counted,
    "_ticked": _ticked,
    "_weighed": weighed,
}
