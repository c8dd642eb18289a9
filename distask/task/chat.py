"""Make a row's chat: messages from templates, in the shape of the OpenAI API.

What a row holds is data: each content is rendered once, and no text of a row can make a message or change a role.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.errors import RowError
from distask.spec.model import FileContent
from distask.task.media import Media
from distask.task.templates import Sandbox, compile_expression, compile_template

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from distask.llm.request import Message
    from distask.spec.model import Message as MessageSpec
    from distask.spec.model import Part

Scope = dict[str, Any]
ROLES = ("system", "developer", "user", "assistant", "tool")
_MESSAGE_KEYS = {"role", "content", "name", "tool_calls", "tool_call_id"}


class Chat:
    """The messages of a spec, compiled."""

    def __init__(self, messages: list[MessageSpec], sandbox: Sandbox, folder: Path, media: Media) -> None:
        self._writers = [_writer(message, sandbox, folder, media) for message in messages]

    def render(self, scope: Scope) -> list[Message]:
        """The chat of one row; raises `RowError`."""
        chat: list[Message] = []
        for write in self._writers:
            write(scope, chat)
        if not chat:
            raise RowError("template", "the row makes no message: each `when` is false")
        return chat


def _writer(
    message: MessageSpec, sandbox: Sandbox, folder: Path, media: Media
) -> Callable[[Scope, list[Message]], None]:
    write = _splice(message, sandbox) if message.splice else _message(message, sandbox, folder, media)
    if message.for_each:
        name, _, source = (word.strip() for word in message.for_each.partition(" in "))
        items, body = compile_expression(sandbox, source), write

        def write(scope: Scope, chat: list[Message]) -> None:
            for index, item in enumerate(items(scope) or ()):
                body({**scope, name: item, "loop_index": index}, chat)

    if message.when is None:
        return write
    when, always = compile_expression(sandbox, message.when), write

    def write_when(scope: Scope, chat: list[Message]) -> None:
        if when(scope):
            always(scope, chat)

    return write_when


def _message(
    message: MessageSpec, sandbox: Sandbox, folder: Path, media: Media
) -> Callable[[Scope, list[Message]], None]:
    role, content = message.role, message.content
    render: Callable[[Scope], Any]
    if isinstance(content, FileContent):
        render = compile_template(sandbox, (folder / content.file).read_text("utf-8"))
    elif isinstance(content, list):
        parts = [_part(part, sandbox, media) for part in content]

        def render(scope: Scope) -> Any:
            return [part(scope) for part in parts]
    else:
        render = compile_template(sandbox, content or "")
    name = compile_template(sandbox, message.name) if message.name else None

    def write(scope: Scope, chat: list[Message]) -> None:
        made: Message = {"role": role, "content": render(scope)}
        if name is not None:
            made["name"] = name(scope)
        chat.append(made)

    return write


def _part(part: Part, sandbox: Sandbox, media: Media) -> Callable[[Scope], dict[str, Any]]:
    if part.text is not None:
        text = compile_template(sandbox, part.text)
        return lambda scope: {"type": "text", "text": text(scope)}
    kind = "image" if part.image is not None else "audio" if part.audio is not None else "file"
    source: str = getattr(part, kind)
    value: Callable[[Mapping[str, Any]], Any]
    alone = source.strip().startswith("{{") and source.strip().endswith("}}") and source.count("{{") == 1
    value = compile_expression(sandbox, source) if alone else compile_template(sandbox, source)
    make = getattr(media, kind)
    if kind == "image" and part.detail:
        return lambda scope: make(value(scope), part.detail)
    return lambda scope: make(value(scope))


def _splice(message: MessageSpec, sandbox: Sandbox) -> Callable[[Scope, list[Message]], None]:
    assert message.splice is not None
    source, read = message.splice, compile_expression(sandbox, message.splice)

    def write(scope: Scope, chat: list[Message]) -> None:
        chat.extend(checked_messages(read(scope), source))

    return write


def checked_messages(value: Any, name: str) -> list[Message]:
    """A list of chat messages that came from a row: roles and contents, and nothing that the API would not know."""
    if not isinstance(value, list) or not value:
        raise RowError("splice", f"{name}: expected a list of messages, got {_kind(value)}")
    for index, message in enumerate(value):
        place = f"{name}[{index}]"
        if not isinstance(message, dict):
            raise RowError("splice", f"{place}: expected {{role, content}}, got {_kind(message)}")
        if message.get("role") not in ROLES:
            raise RowError("splice", f"{place}: the role {message.get('role')!r} is not one of {', '.join(ROLES)}")
        if unknown := set(message) - _MESSAGE_KEYS:
            raise RowError("splice", f"{place}: a message has no `{min(unknown, key=str)}`")
        if not isinstance(message.get("content"), str | list) and not message.get("tool_calls"):
            raise RowError("splice", f"{place}: the content is {_kind(message.get('content'))}, not a text")
    return [dict(message) for message in value]


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "an empty list", str: "a text", type(None): "nothing", int: "a number"}
    return names.get(type(value), type(value).__name__)
