"""Parse responses of OpenAI-compatible servers: completions, or what is wrong with the response.

Servers differ in what they send, so parsing is lenient. It also serves models in this process and the result lines of
batches.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from msgspec import Struct

from distask.llm.event_stream import is_event_stream, join_chunks
from distask.llm.request import UNKNOWN_USAGE, Completion
from distask.llm.routes import choices_of
from distask.llm.usage import COST_HEADER, PlainUsage, read_usage, share_usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distask.llm.http.transport import Response
    from distask.llm.request import Usage


LONGEST_INT = 300
"""Digits; Python accepts a few thousand, and a float has 309."""


def read_completions(response: Response) -> tuple[list[Completion], str]:
    """Return the valid choices of a response in order, or an empty list and what is wrong with it."""
    if response.status != 200:
        return [], ""
    plain = _plain_answer(response)
    if plain is not None:
        return [plain], ""
    data, note = _json(response.body)
    if note:
        return [], note
    return completions_in(data, response.headers)


class _Message(Struct):
    content: str
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    reasoning_content: Any = None
    reasoning: Any = None


class _Choice(Struct):
    message: _Message
    finish_reason: str | None = None
    logprobs: Any = None
    error: Any = None


class _Answer(Struct):
    choices: list[_Choice]
    model: str = ""
    usage: PlainUsage | None = None
    id: str | None = None


@cache
def _decoder() -> msgspec.json.Decoder[_Answer]:
    return msgspec.json.Decoder(_Answer)


def _plain_answer(response: Response) -> Completion | None:
    """Return the only reply of a typical response with just text; None for any other response.

    The lenient parser gives the same result in three times the time.
    """
    try:
        answer = _decoder().decode(response.body)
    except (ValueError, RecursionError):
        return None
    if len(answer.choices) != 1:
        return None
    (choice,) = answer.choices
    message = choice.message
    if choice.error or choice.logprobs is not None or message.function_call is not None:
        return None
    if message.refusal or message.tool_calls or message.reasoning_content or message.reasoning:
        return None
    headers = response.headers
    usage = UNKNOWN_USAGE if answer.usage is None else answer.usage.read()
    if usage is None or COST_HEADER in headers:
        return None
    return Completion(
        message.content,
        choice.finish_reason or "stop",
        usage,
        answer.model,
        request_id=headers.get("x-request-id") or headers.get("apim-request-id") or answer.id,
    )


def completions_in(data: Any, headers: Mapping[str, str]) -> tuple[list[Completion], str]:
    """Do the same with a body that is already parsed."""
    if not isinstance(data, dict):
        return [], "the reply is not a JSON object"
    choices = data["choices"] if "choices" in data else choices_of(data.get("data"))
    if not isinstance(choices, list):
        return [], "the server sent an error with status 200" if data.get("error") else "the reply has no choices"
    good = [c for c in choices if _is_good(c)]
    if not good:
        return [], "every choice is an error" if choices else "the reply's choices are empty"
    good.sort(key=_index)
    shares = share_usage(read_usage(data.get("usage"), headers), len(good))
    model = data.get("model")
    model = model if isinstance(model, str) else ""
    request_id = _request_id(headers, data)
    return [_completion(c, u, model, request_id) for c, u in zip(good, shares, strict=True)], ""


def _json(body: bytes) -> tuple[Any, str]:
    """Return a body's value, or what is wrong with it."""
    try:
        return orjson.loads(body), ""
    except orjson.JSONDecodeError:
        pass
    text = body.decode(errors="replace")
    try:  # lone surrogates, NaN: orjson rejects them
        return _whole_values(json.loads(text, parse_int=_kept_int)), ""
    except (ValueError, RecursionError):
        pass
    if not text.strip():
        return None, "the reply is empty"
    if is_event_stream(text):
        return join_chunks(text)
    return None, "the reply is a web page" if text.lstrip()[:1] == "<" else "the reply is broken JSON"


def _whole_values(value: Any) -> Any:
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, list):
        return [_whole_values(v) for v in value]
    if isinstance(value, dict):
        return {whole(k): _whole_values(v) for k, v in value.items()}
    return value


def _kept_int(text: str) -> int | float:
    """Return an integer, or a float for one of more than 64 bits, as orjson does."""
    number = int(text) if len(text) <= LONGEST_INT else float(text)
    return number if -(1 << 63) <= number < 1 << 64 else float(number)


def whole(text: str) -> str:
    """Join surrogate pairs in the text, and replace lone surrogates with U+FFFD."""
    try:
        text.encode()  # fails if there are surrogates
    except UnicodeEncodeError:
        pass
    else:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_good(choice: Any) -> bool:
    if not isinstance(choice, dict) or choice.get("error"):
        return False
    message = choice.get("message")
    if not isinstance(message, dict):
        return isinstance(choice.get("text"), str)
    return all(_can_be_kept(value) for value in (message.get("tool_calls"), choice.get("logprobs")) if value)


def _can_be_kept(value: Any) -> bool:
    """Return whether a part can be written again as JSON, some levels deeper: in the store, in a row."""
    try:
        orjson.dumps([[[[[[[[value]]]]]]]])
    except TypeError:  # nested deeper than any sensible reply
        return False
    return True


def _index(choice: dict[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def _completion(choice: dict[str, Any], usage: Usage, model: str, request_id: str | None) -> Completion:
    message = choice.get("message")
    if not isinstance(message, dict):
        message = {"content": choice.get("text")}
    content = message.get("content")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    refusal = message.get("refusal")
    if isinstance(content, list):
        thought = _joined(content, "thinking")
        refused = _joined(content, "refusal")
        reasoning, refusal, content = reasoning or thought, refusal or refused, _joined(content, "text")
    calls = message.get("tool_calls")
    if not calls and isinstance(message.get("function_call"), dict):
        calls = [{"type": "function", "function": message["function_call"]}]
    calls = [c for c in calls if isinstance(c, dict)] if isinstance(calls, list) else None
    finish_reason, logprobs = choice.get("finish_reason"), choice.get("logprobs")
    return Completion(
        text=content if isinstance(content, str) else None,
        finish_reason=finish_reason if isinstance(finish_reason, str) and finish_reason else "stop",
        usage=usage,
        model=model,
        tool_calls=calls or None,
        reasoning=reasoning if isinstance(reasoning, str) and reasoning else None,
        refusal=refusal if isinstance(refusal, str) and refusal else None,
        logprobs=logprobs if isinstance(logprobs, dict) else None,
        request_id=request_id,
    )


def _joined(parts: list[Any], kind: str) -> str | None:
    """Return the text of a content's parts of one kind; None if there are none."""
    texts = []
    for part in parts:
        text = part.get(kind) if isinstance(part, dict) else part if kind == "text" else None
        if isinstance(text, list):
            text = _joined(text, "text")
        if isinstance(text, str):
            texts.append(text)
    return "".join(texts) if texts else None


def _request_id(headers: Mapping[str, str], data: Mapping[str, Any]) -> str | None:
    found = headers.get("x-request-id") or headers.get("apim-request-id") or data.get("id")
    return found if isinstance(found, str) else None
