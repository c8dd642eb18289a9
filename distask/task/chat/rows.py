"""Read the chat of a row from the columns that datasets use: messages, ShareGPT, Alpaca, or a question and answer."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distask.errors import RowError
from distask.task.chat.messages import CHAT_COLUMNS, kind_of, messages_of

if TYPE_CHECKING:
    from collections.abc import Sequence

QUESTIONS = ("instruction", "prompt", "question")
"""Columns with what is asked, if there is no chat; the first with text is used."""
ANSWERS = ("generation", "output", "completion", "response", "answer")
"""Columns with the answer; the first with a value is used."""
ANSWERS_TO_CHATS = ("generation", "completion")
"""Columns with the answer to a chat, whose other columns may hold anything."""
SYSTEMS = ("system_prompt", "system")
_KEYS = ("name", "tool_calls", "tool_call_id")
"""The keys of a message in addition to its role and content, if they have a value."""
_NOT_MESSAGES = (
    "the row has no chat: it needs `messages`, `conversations` or another list of messages, or `instruction`"
)


def chat_of(value: Any, *, answer: bool = True, weights: bool = False) -> list[dict[str, Any]]:
    """The messages in a chat of any known format, or in the columns of a row.

    Args:
        value: a chat, or a mapping of columns: a chat in one of `CHAT_COLUMNS`, or else a question in one of
            `QUESTIONS` and `input`, with Alpaca's `history`. A system prompt comes before it, and an answer in one of
            `ANSWERS` after it (of `ANSWERS_TO_CHATS` if there is a chat).
        answer: whether to add the answer of a row.
        weights: whether messages keep `weight`, which says if a trainer learns from them (0 or 1).

    Raises:
        RowError: there is no chat, or its format is unknown.
    """
    found = _of_row(value, answer=answer) if _is_row(value) else messages_of(value, "chat", keep_weights=weights)
    return [_tidy(message, f"message {number}", weights=weights) for number, message in enumerate(found, 1)]


def answered(messages: Sequence[Mapping[str, Any]], answer: Any) -> list[dict[str, Any]]:
    """A chat with an answer added. An answer that is null adds nothing.

    The answer is a text, or messages: of the assistant and of tools, which are all added; a chat that begins with the
    same messages, whose others are added; or another chat, whose last message is added.

    Raises:
        RowError: the answer is in no known format.
    """
    before = [dict(message) for message in messages]
    if answer is None:
        return before
    if isinstance(answer, str):
        return [*before, {"role": "assistant", "content": answer}]
    made = chat_of(answer)
    if made[: len(before)] == before:
        return made
    return [*before, *(made if made[:1] and made[0]["role"] == "assistant" else made[-1:])]


def common_start(chat: Any, other: Any) -> list[dict[str, Any]]:
    """The prompt of two complete chats: the messages that both begin with; none if one of them is only an answer.

    Raises:
        RowError: a chat is in no known format, or the prompts differ.
    """
    if not (isinstance(chat, list | tuple) and isinstance(other, list | tuple)):
        return []
    first, second = chat_of(chat), chat_of(other)
    if not all(each and each[0]["role"] in ("system", "user") for each in (first, second)):
        return []
    pairs = zip(first, second, strict=False)
    made = [one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)]
    if not made:
        raise RowError("splice", "the chosen and the rejected chat begin with different messages")
    return made


_OF_ROWS = frozenset((*CHAT_COLUMNS, *QUESTIONS, *ANSWERS, *SYSTEMS, "input"))
"""The columns that make a mapping a row, and not a message."""


def _is_row(value: Any) -> bool:
    is_mapping = isinstance(value, Mapping) and "role" not in value and "from" not in value
    return is_mapping and not _OF_ROWS.isdisjoint(value)


def _of_row(row: Mapping[str, Any], *, answer: bool) -> Sequence[Any]:
    name = next((name for name in CHAT_COLUMNS if row.get(name)), None)
    if name is None and isinstance(row.get("prompt"), list | tuple):
        name = "prompt"
    messages = _asked(row) if name is None else list(messages_of(row[name], name, keep_weights=True))
    if not messages:
        raise RowError("splice", _NOT_MESSAGES)
    system = _text(row, SYSTEMS)
    if system is not None and _role(messages[0]) not in ("system", "developer"):
        messages.insert(0, {"role": "system", "content": system})
    return [*messages, *_answers(row, ANSWERS if name is None else ANSWERS_TO_CHATS)] if answer else messages


def _asked(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages in the columns of a question, as Alpaca has them."""
    asked = [text for text in (_text(row, QUESTIONS), _text(row, ("input",))) if text is not None]
    if not asked:
        return []
    made = []
    history = row.get("history")
    for exchange in history if isinstance(history, list | tuple) else ():
        if not (isinstance(exchange, list | tuple) and len(exchange) == 2):
            raise RowError("splice", f"`history` needs pairs of a question and an answer, got {kind_of(exchange)}")
        made += [{"role": "user", "content": exchange[0]}, {"role": "assistant", "content": exchange[1]}]
    return [*made, {"role": "user", "content": "\n\n".join(asked)}]


def _answers(row: Mapping[str, Any], names: Sequence[str]) -> Sequence[Any]:
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None:
        return []
    value = row[name]
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    return messages_of(value, name, keep_weights=True)


def _text(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    for name in names:
        text = row.get(name)
        if isinstance(text, str) and text.strip():
            return text
    return None


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, Mapping) else None


def _tidy(message: Any, place: str, *, weights: bool) -> dict[str, Any]:
    """The message with the API's keys, in the API's order; a content of text parts is joined to text."""
    if not isinstance(message, Mapping):
        raise RowError("splice", f"{place} must be {{role, content}}, not {kind_of(message)}")
    role, content = message.get("role"), message.get("content")
    if isinstance(content, list | tuple):
        content = _joined(content)
    made = {"role": "system" if role == "developer" else role, "content": content}
    if len(message) > len(made) or "content" not in message:
        made |= {key: message[key] for key in _KEYS if message.get(key) not in (None, [])}
    if weights and message.get("weight") is not None:
        made["weight"] = message["weight"]
    return made


def _joined(parts: Sequence[Any]) -> Any:
    """The text of a content whose parts are all text, which most chat templates read only as text; else the parts."""
    found = (part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text")
    texts = [text for text in found if isinstance(text, str)]
    return "".join(texts) if texts and len(texts) == len(parts) else parts
