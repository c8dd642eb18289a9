"""Check chats as a trainer does, and convert them for trainers: ShareGPT turns, image tags, arguments of tool calls."""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distask.errors import RowError
from distask.task.chat.messages import ROLES, kind_of
from distask.task.chat.tools import check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

IMAGE_TAG = "<image>"
"""What stands for an image in a text (LLaMA-Factory, https://github.com/hiyouga/LLaMA-Factory/tree/main/data)."""
_ALPHABET = string.ascii_letters + string.digits
_SHARE_GPT = {"system": "system", "developer": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


# Checks


def chat_problem(messages: Any, *, prompt: bool = False) -> str | None:
    """The first reason why a trainer would refuse a chat, or learn something else than intended; null if there is none.

    The chat must have an optional system message, then turns of the user and the assistant that alternate. Tool results
    follow the assistant's tool calls, one for each. No turn is empty, and the last one is the assistant's.

    Args:
        messages: the chat, as messages of the API.
        prompt: whether the chat is a prompt, which ends with the user's turn or with a tool result.
    """
    if not isinstance(messages, list | tuple) or not messages:
        return "the chat is empty" if messages in ([], (), None) else f"the chat is {kind_of(messages)}, not a list"
    waiting: list[Any] = []
    before = None
    for number, message in enumerate(messages, 1):
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in ROLES:
            return f"message {number} has the role {_shown(role)}, which is none of {', '.join(ROLES)}"
        problem = (
            _order_problem(role, before, waiting) or _content_problem(message) or _result_problem(message, waiting)
        )
        if problem is not None:
            return f"message {number} ({role}) {problem}"
        before = role
        if role == "tool":
            waiting.pop(_position(waiting, message.get("tool_call_id")) or 0)
        elif role == "assistant" and (calls := message.get("tool_calls")):
            waiting = [call.get("id") for call in calls]
    if prompt and (before not in ("user", "tool") or waiting):
        return f"the prompt must end with the user's turn or a tool result, and ends with that of the {before}"
    if not prompt and before != "assistant":
        return f"the last message must be the assistant's, and is that of the {before}"
    return None


def _order_problem(role: str, before: str | None, waiting: Sequence[Any]) -> str | None:
    if role in ("system", "developer"):
        return None if before is None else "is not the first message"
    if role == "tool":
        return None if waiting else "does not follow a tool call"
    if waiting:
        return f"comes before the results of {len(waiting)} tool call{'s' if len(waiting) > 1 else ''}"
    if role == "assistant" and before in (None, "system", "developer"):
        return "comes before any message of the user"
    if role == "user" and before == "tool":
        return "follows a tool result, which the assistant must answer first"
    return f"follows another {role} message" if role == before else None


def _content_problem(message: Mapping[str, Any]) -> str | None:
    calls, content = message.get("tool_calls"), message.get("content")
    if calls is not None:
        if message["role"] != "assistant":
            return "has tool calls, which only the assistant can make"
        if not isinstance(calls, list | tuple) or not all(map(_is_call, calls)):
            return "has `tool_calls` that are not a list of {id, type, function: {name, arguments}}"
    if isinstance(content, str):
        return None if content.strip() or calls or message["role"] == "tool" else "is empty"
    if isinstance(content, list | tuple):
        if not content:
            return "is empty"
        return next((problem for part in content if (problem := _part_problem(part)) is not None), None)
    if content is None:
        return None if calls else "is empty"
    return f"has content that is {kind_of(content)}, not text"


def _result_problem(message: Mapping[str, Any], waiting: Sequence[Any]) -> str | None:
    answers = message.get("tool_call_id")
    if message["role"] != "tool" or answers is None or None in waiting or answers in waiting:
        return None
    return f"has the `tool_call_id` {_shown(answers)}, which no tool call before it has"


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, Mapping) else None
    return isinstance(function, Mapping) and isinstance(function.get("name"), str) and _arguments(function) is not None


def _part_problem(part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text":
        return None if isinstance(part.get("text"), str) else "has a text part without text"
    if kind in ("image", "image_url", "input_audio", "file"):
        return None
    return f"has a part of the type {_shown(kind)}"


def _position(waiting: Sequence[Any], call_id: Any) -> int | None:
    return next((index for index, each in enumerate(waiting) if each is not None and each == call_id), None)


def _shown(value: Any) -> str:
    return f"`{value[:40]}`" if isinstance(value, str) else kind_of(value)


# Preferences


def preference_pair(
    answers: Sequence[Any], ratings: Sequence[Any] | None = None, preference: Any = None, margin: float = 0
) -> dict[str, Any]:
    """The places of the best and the worst of several answers, as `{best, worst, problem}`.

    `problem` is the reason why there is no pair; null if there is one. Answers that are null, or have no rating, are
    not in a pair. Of equal ratings, the first is taken.

    Args:
        answers: the answers.
        ratings: the rating of each, or null.
        preference: A or B, the better of two answers, if there are no ratings.
        margin: the smallest difference between the two ratings.
    """
    scores, problem = _scores(answers, ratings, preference)
    rated = {place: score for place, score in enumerate(scores) if score is not None and answers[place] is not None}
    if problem is None and len(rated) < 2:
        problem = f"a pair needs two answers with ratings, and the row has {'only one' if rated else 'none'}"
    if problem is not None:
        return {"best": None, "worst": None, "problem": problem}
    best, worst = max(rated, key=lambda place: rated[place]), min(rated, key=lambda place: rated[place])
    high, low = rated[best], rated[worst]
    if high == low or (ratings and high - low < margin):
        problem = f"the best rating, {high}, and the worst, {low}, are {'equal' if high == low else 'too close'}"
    return {"best": best, "worst": worst, "problem": problem}


def _scores(answers: Sequence[Any], ratings: Sequence[Any] | None, preference: Any) -> tuple[Sequence[Any], str | None]:
    """A score for each answer, and the reason why there are none."""
    if len(answers) < 2:
        return (), "the row needs at least two answers in `generations`, or `chosen` and `rejected`"
    scores = ratings or {"A": (1, 0), "B": (0, 1)}.get(preference if isinstance(preference, str) else "", ())
    if not scores:
        return (), (
            "the row needs `ratings` or `preference`"
            if preference is None
            else f"the judge gave no preference: {preference}"
        )
    if len(scores) != len(answers):
        return (), f"there are {len(answers)} answers and {len(scores)} ratings"
    return scores, None


# Tools


def tool_arguments(messages: Iterable[Mapping[str, Any]], form: str = "object") -> list[dict[str, Any]]:
    """A chat with the arguments of tool calls as objects (`object`) or as JSON text (`text`).

    Raises:
        RowError: arguments are not a JSON object.
    """
    if form not in ("object", "text"):
        raise RowError("template", f"`tool_arguments` needs `object` or `text`, got {_shown(form)}")

    def converted(function: Mapping[str, Any]) -> dict[str, Any]:
        arguments = _arguments(function)
        if arguments is None:
            raise RowError("template", f"the arguments of a call of `{function.get('name')}` are not a JSON object")
        return {**function, "arguments": arguments if form == "object" else _json(arguments)}

    return _with_calls(messages, lambda call: {**call, "function": converted(call["function"])})


def call_ids(messages: Iterable[Mapping[str, Any]], length: int | None = 9) -> list[dict[str, Any]]:
    """A chat whose tool calls have an id, a type and a valid name, as OpenAI's and Mistral's services need.

    Results of calls get the ids of their calls, and no name.

    Args:
        messages: the chat.
        length: letters and digits of each id, as Mistral's models need; equal ids stay equal. If null, ids stay, and
            only missing ones are added.

    Raises:
        RowError: the name of a function or message has other characters than letters, digits, `_` and `-`, or more
            than 64.

    Source: https://github.com/mistralai/mistral-finetune#instruct
    """
    if length is not None and not 4 <= length <= 32:
        raise RowError("template", "`call_ids` allows from 4 to 32 characters")
    made: list[dict[str, Any]] = []
    waiting: list[tuple[Any, str]] = []
    count = 0
    for message in messages:
        converted = dict(message)
        if message.get("name") is not None and message.get("role") != "tool":
            check_name(message["name"], "a message's name")
        if message.get("role") == "tool":
            own = converted.get("tool_call_id")
            at = _position([known for known, _ in waiting], own) or 0
            if waiting:
                converted["tool_call_id"] = waiting.pop(at)[1]
            elif own is not None:
                converted["tool_call_id"] = _id(own, length)
            converted.pop("name", None)
        elif message.get("tool_calls"):
            waiting, calls = [], []
            for call in message["tool_calls"]:
                count += 1
                own = call.get("id")
                made_id = _id(f"call_{count}" if own is None else own, length)
                waiting.append((own, made_id))
                check_name(call["function"]["name"])
                calls.append({"id": made_id, "type": "function", "function": call["function"]})
            converted["tool_calls"] = calls
        made.append(converted)
    return made


def _id(given: Any, length: int | None) -> str:
    return str(given) if length is None else _short_id(given, length)


def _short_id(given: Any, length: int) -> str:
    text = str(given)
    if len(text) == length and text.isascii() and text.isalnum():
        return text
    number = int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=32).digest(), "big")
    letters = []
    for _ in range(length):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return "".join(letters)


def _with_calls(
    messages: Iterable[Mapping[str, Any]], convert: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> list[dict[str, Any]]:
    return [
        {**message, "tool_calls": [convert(call) for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else dict(message)
        for message in messages
    ]


def _arguments(function: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The arguments of a call as an object; None if they are not one."""
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            return None
    return arguments if isinstance(arguments, Mapping) else None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# Images


def media_problem(messages: Iterable[Mapping[str, Any]], images: int = 0, vision: bool = False) -> str | None:
    """The reason why the images and other parts of a chat can't be written for a trainer; null if they can.

    Args:
        messages: the chat.
        images: how many images the row has, in the chat or next to it.
        vision: whether the trainer reads images.
    """
    parts = list(_media(messages))
    other = next((part.get("type") for part in parts if not _is_image(part)), None)
    if other is not None:
        return f"a message has a part of the type {_shown(other)}, and the format holds only text and images"
    if (parts or images) and not vision:
        return "the row has images, which only a format with --param vision=true can hold"
    if parts and len(parts) != images:
        return f"the chat shows {len(parts)} image{'s' if len(parts) > 1 else ''}, and the row has {images or 'none'}"
    return None


def image_sources(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """The URLs and paths of the images in a chat, in order."""
    found = (_source(part) for part in _media(messages) if _is_image(part))
    return [source for source in found if source is not None]


def image_parts(messages: Iterable[Mapping[str, Any]], images: int = 0) -> list[dict[str, Any]]:
    """A chat whose contents are lists of parts, with `{type: image}` for each image, as TRL's vision trainers need.

    If the chat shows no images, `images` of them come first in the first message of the user.
    """
    made, waiting = [], images
    listed = [dict(message) for message in messages]
    if any(map(_is_image, _media(listed))):
        waiting = 0
    for message in listed:
        parts = [{"type": "image"} if _is_image(part) else dict(part) for part in _parts(message)]
        if waiting and message.get("role") == "user":
            parts = [*({"type": "image"} for _ in range(waiting)), *parts]
            waiting = 0
        made.append({**message, "content": parts})
    return made


def image_urls(messages: Iterable[Mapping[str, Any]], images: Sequence[str] = ()) -> list[dict[str, Any]]:
    """A chat with its images as `image_url` parts, as OpenAI's fine-tuning needs; contents without images stay text.

    If the chat shows no images, those in `images` come first in the first message of the user.

    Raises:
        RowError: an image is a file, which a server can't read.
    """
    listed = list(messages)
    given = image_sources(listed) or images
    for source in given:
        if not (isinstance(source, str) and source.startswith(("https://", "http://", "data:"))):
            raise RowError("image", f"the image {_shown(source)} is not a URL or a data URL, which a server can read")
    sources = iter(given)
    made = []
    for message, marked in zip(listed, image_parts(listed, len(images)), strict=True):
        if not any(map(_is_image, marked["content"])):
            made.append(dict(message))
            continue
        parts = [
            {"type": "image_url", "image_url": {"url": next(sources)}} if _is_image(part) else part
            for part in marked["content"]
        ]
        made.append({**message, "content": parts})
    return made


def image_tags(messages: Iterable[Mapping[str, Any]], images: int = 0) -> list[dict[str, Any]]:
    """A chat whose contents are texts, with `<image>` for each image, as LLaMA-Factory needs.

    Raises:
        RowError: a text has `<image>` in it, which would count as an image.
    """
    return [
        {**message, "content": "".join(IMAGE_TAG if _is_image(p) else _untagged(p) for p in message["content"])}
        for message in image_parts(messages, images)
    ]


def _untagged(part: Mapping[str, Any]) -> str:
    text = _text(part)
    if IMAGE_TAG in text:
        raise RowError("template", f"a text contains `{IMAGE_TAG}`, which LLaMA-Factory would read as an image")
    return text


def _media(messages: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The parts of messages that are not text."""
    for message in messages:
        content = message.get("content")
        if isinstance(content, list | tuple):
            yield from (part for part in content if isinstance(part, Mapping) and part.get("type") != "text")


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list | tuple) else []


def _is_image(part: Mapping[str, Any]) -> bool:
    return part.get("type") in ("image", "image_url")


def _source(part: Mapping[str, Any]) -> str | None:
    kind = str(part["type"])
    source = part.get(kind, part.get("image", part.get("url")))
    source = source.get("url", source.get("path")) if isinstance(source, Mapping) else source
    return source if isinstance(source, str) else None


def _text(part: Mapping[str, Any]) -> str:
    if part.get("type") != "text":
        raise RowError("template", f"a part of the type {_shown(part.get('type'))} can't be written as text")
    return str(part.get("text", ""))


# ShareGPT


def sharegpt(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Messages as ShareGPT turns, `{from, value}`; tool calls become a `function_call`, their results an `observation`.

    Several results of one turn are one observation, on separate lines.
    """
    made: list[dict[str, str]] = []
    for message in messages:
        role, calls = message["role"], message.get("tool_calls")
        if role not in _SHARE_GPT:
            raise RowError("template", f"the role {_shown(role)} can't be written as ShareGPT")
        value = "".join(map(_text, _parts(message)))
        if calls:
            if value.strip():
                raise RowError("template", "a turn with both text and tool calls can't be written as ShareGPT")
            functions = [{"name": c["function"]["name"], "arguments": _arguments(c["function"])} for c in calls]
            made.append({"from": "function_call", "value": _json(functions if len(functions) > 1 else functions[0])})
        elif role == "tool" and made and made[-1]["from"] == "observation":
            made[-1]["value"] += f"\n{value}"
        else:
            made.append({"from": _SHARE_GPT[role], "value": value})
    return made
