"""Convert chats from the formats that datasets use to messages of the OpenAI API.

Known formats are OpenAI messages and ShareGPT turns (`from`, `value`), both also as JSON text or inside a mapping,
ChatML text, and Alpaca columns (`instruction`, `input`, `output`). Only inputs that a task reads as a chat are
converted: text in a message stays text. `compose` checks which messages may be sent.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distask.errors import RowError

if TYPE_CHECKING:
    from distask.spec.language.columns import Input
    from distask.spec.language.model import TaskSpec

MAX_PARTS = 10_000
"""Maximum messages of a chat, including the parts of their contents."""
ROLES = ("system", "developer", "user", "assistant", "tool")
"""The roles of the API."""
FUNCTION_CALL = "function_call"
"""The role of a turn in which the assistant calls a tool."""
_SYNONYMS = {
    "user": ("human", "prompter", "usr"),
    "assistant": (
        *("gpt", "ai", "bot", "model", "chatgpt", "chatbot", "llm", "gpt-3.5", "gpt-3.5-turbo", "gpt-4", "gpt4"),
        *("bing", "bard", "claude", "gemini", "llama"),
    ),
    "tool": ("function", "observation", "ipython", "tool_response", "function_response", "tool_result"),
    FUNCTION_CALL: ("tool_call", "function-call", "tool-call"),
}
_ROLE_OF = {name: role for role, names in _SYNONYMS.items() for name in names} | {r: r for r in (*ROLES, FUNCTION_CALL)}
_ROLE_KEYS = ("role", "from", "speaker")
_CONTENT_KEYS = {"role": ("content", "value", "text"), "from": ("value", "content", "text")}
_NOTES = frozenset({"weight", "loss", "train", "mask", "loss_mask"})
"""Keys for training, which are never sent to a model."""
_MESSAGE_KEYS = ("name", "tool_calls", "tool_call_id")
CHAT_COLUMNS = ("messages", "conversations", "conversation", "chat", "dialog", "dialogue")
"""Common names of columns and keys that hold a chat."""
_BEGIN, _END = "<|im_start|>", "<|im_end|>"
_CHATML_ROLE = re.compile(r"\s*<\|im_start\|>(\w+)(?:\n|\Z)")
SHARE_GPT = "ShareGPT"
_LONGEST_SHOWN = 60
_NEEDED = "a message needs `role` and `content`, or `from` and `value`"


def messages_of(value: Any, name: str, *, keep_weights: bool = False) -> Sequence[Any]:
    """Convert a chat to messages of the API; messages already in that format are returned unchanged.

    Args:
        value: the chat, in any known format.
        name: its name in error messages.
        keep_weights: whether messages keep `weight`, a key for training.

    Raises:
        RowError: the format is unknown; the message names the keys found.
    """
    if isinstance(value, str):
        value = _read_text(value, name)
    if isinstance(value, Mapping):
        return _of_mapping(value, name, keep_weights=keep_weights)
    if not isinstance(value, list | tuple):
        raise RowError("splice", f"`{name}` needs a list of messages, got {kind_of(value)}")
    if all(_is_message(message) for message in value):
        return value
    if len(value) > MAX_PARTS:
        raise RowError("splice", f"`{name}` has more than {MAX_PARTS:,} messages")
    calls = _Calls()
    turns = ((turn, _turn(turn, f"`{name}[{index}]`", calls)) for index, turn in enumerate(value))
    if not keep_weights:
        return [message for _, made in turns for message in made]
    return [{**message, **_weight(turn)} for turn, made in turns for message in made]


def _weight(turn: Any) -> dict[str, Any]:
    weight = turn.get("weight")
    return {} if weight is None else {"weight": weight}


def kind_of(value: Any) -> str:
    """The kind of a value, for error messages."""
    names = {str: "text", int: "a number", float: "a number", bool: "true or false", dict: "a mapping", list: "a list"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


# Chats in a row


class ChatInput:
    """An input of a task that holds a chat.

    Args:
        name: the input.
        column: its name in the data.
        is_spliced: whether its messages are sent, so that an answer in another column is not part of them.
        others: the columns that other inputs read.
    """

    def __init__(self, name: str, column: str, others: frozenset[str], *, is_spliced: bool) -> None:
        self._column = column
        self._is_spliced = is_spliced
        self._others = others
        self._finds = name == column and name in CHAT_COLUMNS

    def read(self, row: Mapping[str, Any]) -> Any:
        """The messages in a row; the value itself if it is not a chat in a known format; None if there is none.

        Raises:
            RowError: a text, a mapping or another column that should hold the chat does not.
        """
        if self._column not in row:
            return self._found(row)
        value = row[self._column]
        if value is None:
            return None
        if isinstance(value, list | tuple):
            has_roles = any(isinstance(each, Mapping) and each.get("role") is not None for each in value)
            if all(map(_is_message, value)) or (has_roles and not self._is_spliced):
                return value
            try:
                messages = messages_of(value, self._column)
            except RowError:  # templates may read the value unchanged
                return value
            return self._with_system(messages, value, row)
        return self._with_system(messages_of(value, self._column), value, row)

    def stand_in(self, row: Mapping[str, Any]) -> str | None:
        """A description of what is read instead of a missing column; None if nothing is."""
        if self._column in row:
            return None
        if (name := self._chat_column(row)) is not None:
            return f"the column `{name}` ({_shape(row[name])})"
        if self._is_alpaca(row):
            columns = [f"`{name}`" for name in self._alpaca(row)[1]]
            return f"the column{'s' if len(columns) > 1 else ''} {', '.join(columns)} (Alpaca)"
        return None

    def _found(self, row: Mapping[str, Any]) -> Any:
        """The chat in a row that lacks the column."""
        if (name := self._chat_column(row)) is not None:
            return self._with_system(messages_of(row[name], name), row[name], row)
        return self._alpaca(row)[0] if self._is_alpaca(row) else None

    def _chat_column(self, row: Mapping[str, Any]) -> str | None:
        if not self._finds:
            return None
        for name in CHAT_COLUMNS:
            value = row.get(name)
            if name not in self._others and (
                isinstance(value, list | tuple | Mapping) or (isinstance(value, str) and _looks_like_chat(value))
            ):
                return name
        found = [name for name, value in row.items() if name not in self._others and _is_chat(value)]
        return found[0] if len(found) == 1 else None

    def _with_system(self, messages: Sequence[Any], value: Any, row: Mapping[str, Any]) -> Sequence[Any]:
        """Add the system message, which ShareGPT keeps in its own column."""
        system = self._text(row, "system")
        if system is None or not messages or _shape(value) != SHARE_GPT:
            return messages
        if any(isinstance(message, Mapping) and message.get("role") == "system" for message in messages):
            return messages
        return [{"role": "system", "content": system}, *messages]

    def _is_alpaca(self, row: Mapping[str, Any]) -> bool:
        return self._finds and self._text(row, "instruction") is not None

    def _text(self, row: Mapping[str, Any], name: str) -> str | None:
        """The text in a column; None if it is blank or belongs to another input."""
        value = row.get(name)
        return value if isinstance(value, str) and value.strip() and name not in self._others else None

    def _alpaca(self, row: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
        """The messages in Alpaca columns, and the names of those columns."""
        columns: list[str] = []
        made: list[dict[str, Any]] = []
        if (system := self._text(row, "system")) is not None:
            made.append({"role": "system", "content": system})
            columns.append("system")
        history = row.get("history")
        if isinstance(history, list | tuple) and history and all(map(_is_exchange, history)):
            pairs = zip(("user", "assistant") * len(history), itertools.chain.from_iterable(history), strict=True)
            made += [{"role": role, "content": fields} for role, fields in pairs]
            columns.append("history")
        asked = [name for name in ("instruction", "input") if self._text(row, name) is not None]
        made.append({"role": "user", "content": "\n\n".join(row[name] for name in asked)})
        columns += asked
        if not self._is_spliced and (answer := self._text(row, "output")) is not None:
            made.append({"role": "assistant", "content": answer})
            columns.append("output")
        return made, columns


def chat_inputs(spec: TaskSpec, inputs: Mapping[str, Input]) -> dict[str, ChatInput]:
    """The inputs of a task that hold chats: those that a message splices or whose roles its templates read."""
    spliced = {(message.splice or "").strip("{} \n") for message in spec.format_input}
    prompts = str([message.model_dump(exclude_none=True) for message in spec.format_input])
    reads_roles = re.search(r"""[.'"]role\b""", prompts) and not re.search(r"""[.'"](from|value)\b""", prompts)
    columns = {name: spec.input_mappings.get(name, name) for name in inputs}
    made: dict[str, ChatInput] = {}
    for name, column in inputs.items():
        listed = column.schema_ is None and (column.type or "").startswith("list")
        if (name in spliced and (listed or column.type == "any")) or (reads_roles and listed and name in CHAT_COLUMNS):
            others = frozenset(each for other, each in columns.items() if other != name)
            made[name] = ChatInput(name, columns[name], others, is_spliced=name in spliced)
    return made


# Formats


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and value.get("role") in ROLES
        and ("content" in value or "tool_calls" in value)
        and not _NOTES & value.keys()
        and not value.get(FUNCTION_CALL)
    )


def _is_turn(value: Any) -> bool:
    """Whether a mapping is a message in a known format, with any role."""
    if not isinstance(value, Mapping):
        return False
    key = next((key for key in _ROLE_KEYS if isinstance(value.get(key), str)), None)
    return key is not None and any(each in value for each in (*_contents(key), "tool_calls"))


def _is_chat(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_turn, value))


def _looks_like_chat(text: str) -> bool:
    return text.lstrip().startswith(("[", "{", _BEGIN))


def _shape(value: Any) -> str:
    """The name of a chat's format."""
    if isinstance(value, str):
        return "ChatML" if value.lstrip().startswith(_BEGIN) else "JSON text"
    if isinstance(value, Mapping):
        inner = next((value[key] for key in CHAT_COLUMNS if isinstance(value.get(key), list | tuple)), [value])
        return _shape(inner)
    first = value[0] if value else None
    return SHARE_GPT if isinstance(first, Mapping) and _key(first, ("role", "from")) == "from" else "messages"


def _contents(role_key: str) -> tuple[str, ...]:
    return _CONTENT_KEYS.get(role_key, _CONTENT_KEYS["role"])


def _read_text(text: str, name: str) -> Any:
    bare = text.strip()
    if bare.startswith(_BEGIN):
        return _chatml(bare, name)
    if not bare.startswith(("[", "{", '"')):
        shown = bare if len(bare) <= _LONGEST_SHOWN else f"{bare[: _LONGEST_SHOWN - 1]}…"
        raise RowError(
            "splice", f"`{name}` needs a list of messages, got the text {json.dumps(shown, ensure_ascii=False)}"
        )
    try:
        value = json.loads(bare)
    except RecursionError:
        raise RowError("splice", f"`{name}` is JSON text that is too deeply nested") from None
    except ValueError as error:
        raise RowError("splice", f"`{name}` is text that is not valid JSON: {error}") from None
    return _read_text(value, name) if isinstance(value, str) and bare.startswith('"') else value


def _chatml(text: str, name: str) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    at = 0
    while (match := _CHATML_ROLE.match(text, at)) is not None:
        role = _ROLE_OF.get(match[1].lower())
        if role not in ROLES:
            raise RowError(
                "splice",
                f"`{name}` is ChatML with the role `{match[1][:_LONGEST_SHOWN]}`, not one of {', '.join(ROLES)}",
            )
        end, following = text.find(_END, match.end()), text.find(_BEGIN, match.end())
        if following >= 0 and not 0 <= end < following:
            break
        content = text[match.end() :] if end < 0 else text[match.end() : end]
        at = len(text) if end < 0 else end + len(_END)
        if end < 0 and role == "assistant" and not content.strip():
            break  # the turn that the model should fill
        made.append({"role": role, "content": content})
    if text[at:].strip() or not made:
        raise RowError("splice", f"`{name}` is ChatML with text outside its turns, at character {at + 1:,}")
    return made


def _of_mapping(value: Mapping[str, Any], name: str, *, keep_weights: bool) -> Sequence[Any]:
    """The messages in a mapping: a list under a key, columns of roles and contents, or a single message."""
    for key in CHAT_COLUMNS:
        if isinstance(value.get(key), list | tuple):
            return messages_of(value[key], f"{name}.{key}", keep_weights=keep_weights)
    role_key = next((key for key in _ROLE_KEYS if key in value), None)
    if role_key is not None:
        content_key = next((key for key in _contents(role_key) if key in value), None)
        columns = [key for key, each in value.items() if isinstance(each, list | tuple)]
        if role_key in columns and content_key in columns:
            length = len(value[role_key])
            if all(len(value[key]) == length for key in columns):
                turns = [{key: value[key][index] for key in columns} for index in range(length)]
                return messages_of(turns, name, keep_weights=keep_weights)
        if isinstance(value[role_key], str):
            return messages_of([value], name, keep_weights=keep_weights)
    raise RowError("splice", f"`{name}` is a mapping with {_keys(value)}; {_NEEDED}, and a chat is a list of messages")


def _turn(turn: Any, place: str, calls: _Calls) -> Iterable[Any]:
    """Convert one turn to messages."""
    if _is_message(turn):
        return [turn]
    if not isinstance(turn, Mapping):
        raise RowError("splice", f"{place} must be {{role, content}}, not {kind_of(turn)}")
    role_key = _key(turn, _ROLE_KEYS)
    if role_key is None:
        fields = {key: value for key, value in turn.items() if value is not None and key not in _NOTES}
        if not fields or any(_ROLE_OF.get(str(key).lower()) not in ROLES for key in fields):
            raise RowError("splice", f"{place} has {_keys(turn)}; {_NEEDED}")
        return [{"role": _ROLE_OF[key.lower()], "content": value} for key, value in fields.items()]
    content_key = _key(turn, _contents(role_key))
    if content_key is None and not turn.get("tool_calls") and not turn.get(FUNCTION_CALL):
        if role_key == "role":
            return [{key: value for key, value in turn.items() if key not in _NOTES}]
        raise RowError("splice", f"{place} has {_keys(turn)}; {_NEEDED}")
    content = None if content_key is None else turn[content_key]
    spoken = turn[role_key]
    role = _ROLE_OF.get(spoken.strip().lower(), spoken) if isinstance(spoken, str) else spoken
    if role_key == "role":  # `compose` reports unknown keys
        rest = {k: v for k, v in turn.items() if k not in {role_key, content_key, FUNCTION_CALL, *_NOTES}}
    else:
        rest = {key: turn[key] for key in _MESSAGE_KEYS if turn.get(key) is not None}
    called = turn.get(FUNCTION_CALL)
    if role == FUNCTION_CALL or called:
        made = _calls(called or content, calls)
        if made is None:
            return [{"role": "assistant", "content": content, **rest}]
        return [{**rest, "role": "assistant", "content": content if called else None, "tool_calls": made}]
    if role == "tool" and calls.waiting and "tool_call_id" not in rest:
        rest["tool_call_id"] = calls.waiting.pop(0)
        rest.pop("name", None)
    return [{"role": role, "content": content, **rest}]


def _calls(fields: Any, calls: _Calls) -> list[dict[str, Any]] | None:
    """The tool calls in a turn's text or mapping; None if it is not a tool call."""
    if isinstance(fields, str):
        try:
            fields = json.loads(fields)
        except (ValueError, RecursionError):
            return None
    made = []
    for call in fields if isinstance(fields, list) else [fields]:
        if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
            return None
        arguments = call.get("arguments", call.get("parameters", {}))
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        made.append((call["name"], text))
    return [
        {"id": calls.next_id(), "type": "function", "function": {"name": name, "arguments": text}}
        for name, text in made
    ]


def _keys(turn: Mapping[str, Any]) -> str:
    if not turn:
        return "no keys"
    names = [f"`{str(key)[:_LONGEST_SHOWN]}`" for key in turn][:10]
    return f"the key{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _is_exchange(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(fields, str) for fields in value)


def _key(turn: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """The first of these keys whose value is not null."""
    present = [key for key in keys if key in turn]
    return next((key for key in present if turn[key] is not None), present[0] if present else None)


class _Calls:
    """Numbers the tool calls in a chat, so that results can refer to them."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self._count = 0

    def next_id(self) -> str:
        self._count += 1
        self.waiting.append(f"call_{self._count}")
        return self.waiting[-1]
