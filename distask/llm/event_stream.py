"""Read an event stream that a server sent although the request did not ask for one.

Some gateways always stream. The chunks of OpenAI's chat completions are joined into the response that the server would
have sent in one piece. The stream format is that of the HTML standard, section 9.2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

DONE = "[DONE]"
_BEGINNING = re.compile(r"\s*(?::|(?:data|event|id|retry):)")
_UNASKED = "the server sent a stream that was not requested, and the stream "
_LINE_END = re.compile(r"\r\n|\n|\r")
_WHOLE = frozenset({"role", "type", "id", "name", "finish_reason", "index"})
"""Keys whose value comes in one piece; other texts come in parts."""


def is_event_stream(text: str) -> bool:
    """Return whether a body begins like an event stream."""
    return _BEGINNING.match(text) is not None


def join_chunks(text: str) -> tuple[dict[str, Any] | None, str]:
    """Join the chunks into one response, or return None and what is wrong with the stream.

    If the server sent an error in the stream, that is the response.
    """
    answer: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    is_whole = False
    for data in _events(text):
        if data.strip() == DONE:
            is_whole = True
            break
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            return None, _UNASKED + "is broken"
        if not isinstance(chunk, dict):
            continue
        if chunk.get("error"):
            return chunk, ""
        answer |= {key: value for key, value in chunk.items() if key != "choices" and value is not None}
        pieces = chunk.get("choices")
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, dict):
                try:
                    _add_choice(choices, piece)
                except RecursionError:
                    return None, _UNASKED + "is nested too deep"
    if not choices:
        return None, _UNASKED + "has no choices"
    if not is_whole and not all(choice.get("finish_reason") for choice in choices.values()):
        return None, _UNASKED + "ends before the reply does"
    return answer | {"choices": [choices[index] for index in sorted(choices)]}, ""


def error_event(text: str) -> dict[str, Any] | None:
    """Return the error in a stream; None if the text is not an event stream or has no error."""
    if not is_event_stream(text):
        return None
    joined, _ = join_chunks(text)
    return joined if joined is not None and "error" in joined else None


def _events(text: str) -> Iterator[str]:
    """Yield the data of each event; the last one may lack its empty line."""
    data: list[str] = []
    for line in [*_LINE_END.split(text), ""]:
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []


def _add_choice(choices: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    index = _index(piece) or 0
    choice = choices.setdefault(index, {"index": index})
    delta = piece.get("delta")
    if not isinstance(delta, dict):
        delta = piece.get("message")
    if isinstance(delta, dict):
        _add(choice.setdefault("message", {}), delta)
    _add(choice, {key: value for key, value in piece.items() if key not in {"delta", "message"}})


def _add(whole: dict[str, Any], part: dict[str, Any]) -> None:
    """Add a part's values to the earlier ones: texts and lists are extended, objects merged."""
    for key, value in part.items():
        before = whole.get(key)
        if value is None:
            continue
        if isinstance(value, list):
            before = whole[key] = before if isinstance(before, list) else []
            _extend(before, value)
        elif isinstance(value, dict) and isinstance(before, dict):
            _add(before, value)
        elif isinstance(value, str) and isinstance(before, str) and key not in _WHOLE:
            whole[key] = before + value
        else:
            whole[key] = dict(value) if isinstance(value, dict) else value


def _extend(whole: list[Any], part: list[Any]) -> None:
    """Add a part's entries; one with an index (a tool call) extends the entry with that index."""
    for entry in part:
        index = _index(entry)
        before = None if index is None else next((e for e in whole if _index(e) == index), None)
        if before is None:
            whole.append(entry)
        else:
            _add(before, entry)


def _index(entry: Any) -> int | None:
    index = entry.get("index") if isinstance(entry, dict) else None
    return index if isinstance(index, int) else None
