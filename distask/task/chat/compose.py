"""Build the chat for a row: messages from templates, in the format of the OpenAI API.

Text in a row is only data. The messages are fixed before anything is rendered, and each content is rendered once, on
its own, so text in a row can't add a message or change a role.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from distask.errors import RowError, SpecError
from distask.spec.language.model import FileContent
from distask.task.chat.media import Bound, within
from distask.task.chat.messages import MAX_PARTS, ROLES, kind_of, messages_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.llm.request import Message
    from distask.spec.language.model import Message as MessageSpec
    from distask.spec.language.model import Part
    from distask.task.chat.media import Media
    from distask.task.templates.compiler import Compiler, Place, Scope, Text

_KEYS = {"role", "content", "name", "tool_calls", "tool_call_id"}
"""The keys that a message in a row may have."""
_LONGEST_URL = 96 << 20
"""Maximum characters of a text that becomes an image: slightly more than 64 MiB in base64."""
_FOR_EACH = re.compile(r"\s*([^\W\d]\w*)\s+in\s+(.+)", re.DOTALL)


class _Messages(list[dict[str, Any]]):
    """The messages of a chat that is being built."""

    def __init__(self, prompt_characters: int) -> None:
        super().__init__()
        self.bound = Bound(prompt_characters)

    def append(self, message: dict[str, Any]) -> None:
        """Add a message; raises `RowError`."""
        content = message["content"]
        self.bound.take(len(content) if type(content) is str else 0)
        super().append(message)


Write = Callable[[dict[str, Any], _Messages], None]
"""Renders a message with a scope and adds it to a chat."""


class Chat:
    """The messages of a spec, compiled.

    Adjacent messages with the same `for_each` repeat together: a question and its answer, then the next pair.
    `may_be_empty` is for prompts that open a turn on their own.
    """

    def __init__(
        self, messages: Sequence[MessageSpec], compiler: Compiler, media: Media, *, may_be_empty: bool = False
    ) -> None:
        self._may_be_empty = may_be_empty
        self._compiler = compiler
        self._media = media
        self._writers: list[Write] = []
        self._plain: list[tuple[str, Text]] | None = []
        """Role and template of each message, if all are plain texts that every row has; None otherwise."""
        numbered = itertools.groupby(enumerate(messages), key=lambda pair: pair[1].for_each)
        for for_each, group in numbered:
            pairs = list(group)
            writers = [self._writer(message, ("format_input", index)) for index, message in pairs]
            place = ("format_input", pairs[0][0], "for_each")
            self._writers += writers if for_each is None else [self._repeated(for_each, writers, place)]
        if not self._plain or len(self._plain) != len(messages) or len(messages) > MAX_PARTS:
            self._plain = None

    def render(self, scope: dict[str, Any]) -> list[Message]:
        """Render the chat for a row; raises `RowError`."""
        if self._plain is not None:
            left, plain = self._compiler.sandbox.prompt_characters, []
            for role, text in self._plain:
                content = text(scope)
                left -= len(content)
                if left < 0:
                    break
                plain.append({"role": role, "content": content})
            else:
                return plain
        chat = _Messages(self._compiler.sandbox.prompt_characters)
        for write in self._writers:
            write(scope, chat)
        if not chat and not self._may_be_empty:
            raise RowError("template", "the chat has no messages: every `when` is false, or every list is empty")
        return list(chat)

    def _writer(self, message: MessageSpec, place: Place) -> Write:
        write = self._spliced(message.splice, place) if message.splice is not None else self._message(message, place)
        if message.when is None:
            return write
        when = self._compiler.expression(message.when, (*place, "when"))

        def write_when(scope: dict[str, Any], chat: _Messages) -> None:
            if when(scope):
                write(scope, chat)

        return write_when

    def _repeated(self, for_each: str, writers: Sequence[Write], place: Place) -> Write:
        match = _FOR_EACH.fullmatch(for_each)
        if match is None:
            raise SpecError([self._compiler.fault(place, '`for_each` must be "name in expression"')])
        name, items = match[1], self._compiler.expression(match[2], place)

        def write(scope: dict[str, Any], chat: _Messages) -> None:
            values = items(scope)
            if not isinstance(values, Iterable) or isinstance(values, str | bytes):
                raise RowError("template", f"`for_each: {for_each}` needs a list, got {kind_of(values)}")
            for index, value in enumerate(values, 1):
                inner = {**scope, name: value, "loop_index": index}
                for each in writers:
                    each(inner, chat)

        return write

    def _message(self, message: MessageSpec, place: Place) -> Write:
        role, render = message.role, self._content(message, (*place, "content"))
        if message.name is None:

            def write(scope: dict[str, Any], chat: _Messages) -> None:
                chat.append({"role": role, "content": render(scope, chat.bound)})

            return write
        name_of = self._compiler.template(message.name, (*place, "name"))

        def write_named(scope: dict[str, Any], chat: _Messages) -> None:
            made = {"role": role, "content": render(scope, chat.bound)}
            name = name_of(scope).strip()
            if name:
                made["name"] = name
            chat.append(made)

        return write_named

    def _content(self, message: MessageSpec, place: Place) -> Callable[[Scope, Bound], Any]:
        content = message.content
        if isinstance(content, FileContent):
            return self._text(message, self._compiler.file(content.file, (*place, "file")))
        if not isinstance(content, list):
            return self._text(message, self._compiler.template(content or "", place))
        parts = [self._part(part, (*place, index)) for index, part in enumerate(content)]

        def render(scope: Scope, bound: Bound) -> list[dict[str, Any]]:
            return within((made for part in parts for made in part(scope)), bound)

        return render

    def _text(self, message: MessageSpec, render: Text) -> Callable[[Scope, Bound], str]:
        is_conditional = message.name is not None or message.when is not None or message.for_each is not None
        if self._plain is not None and message.role is not None and not is_conditional:
            self._plain.append((message.role, render))
        return lambda scope, _bound: render(scope)

    def _part(self, part: Part, place: Place) -> Callable[[Scope], Iterable[dict[str, Any]]]:
        if part.text is not None:
            text = self._compiler.template(part.text, (*place, "text"))
            return lambda scope: [{"type": "text", "text": text(scope)}]
        make: Callable[[Any], Iterable[dict[str, Any]]]
        if part.image is not None:
            value = self._compiler.value(part.image, (*place, "image"), longest=_LONGEST_URL)
            detail = part.detail
            return lambda scope: self._media.image(value(scope), detail)
        kind, make = ("audio", self._media.audio) if part.audio is not None else ("file", self._media.file)
        value = self._compiler.value(getattr(part, kind) or "", (*place, kind), longest=_LONGEST_URL)
        return lambda scope: make(value(scope))

    def _spliced(self, splice: str, place: Place) -> Write:
        read, name = self._compiler.expression(splice, (*place, "splice")), splice.strip("{} \n")

        def write(scope: dict[str, Any], chat: _Messages) -> None:
            for message in self._messages(read(scope), name):
                if isinstance(message["content"], list):
                    within(message["content"], chat.bound)
                chat.append(message)

        return write

    def _messages(self, value: Any, name: str) -> Iterable[Message]:
        """The messages in a row, in any known format, checked: only keys that the API has, and no file names."""
        if value is None:
            return []
        return (self._checked(message, f"`{name}[{index}]`") for index, message in enumerate(messages_of(value, name)))

    def _checked(self, message: Any, place: str) -> Message:
        if not isinstance(message, Mapping):
            raise RowError("splice", f"{place} must be {{role, content}}, not {kind_of(message)}")
        made = {key: value for key, value in message.items() if value is not None}
        if unknown := set(made) - _KEYS:
            raise RowError("splice", f"{place} has a key `{min(map(str, unknown))}`, which messages do not have")
        role, calls = made.get("role"), made.get("tool_calls")
        if role not in ROLES:
            raise RowError("splice", f"{place} has the role {role!r}, which is not one of {', '.join(ROLES)}")
        if calls is not None and not (isinstance(calls, list) and all(isinstance(call, Mapping) for call in calls)):
            raise RowError("splice", f"{place} has `tool_calls` that are not a list of calls")
        for key in ("name", "tool_call_id"):
            if not isinstance(made.get(key, ""), str):
                raise RowError("splice", f"{place} has a `{key}` that is {kind_of(made[key])}")
        content = made.get("content")
        if isinstance(content, list | tuple):
            made["content"] = [self._checked_part(part, place) for part in content]
        elif content is None and calls:
            made["content"] = None
        elif not isinstance(content, str):
            raise RowError("splice", f"{place} has content that is {kind_of(content)}, not text")
        return made

    def _checked_part(self, part: Any, place: str) -> dict[str, Any]:
        part = {k: v for k, v in part.items() if v is not None} if isinstance(part, Mapping) else {}
        kind = part.get("type")
        inner = part.get(kind) if isinstance(kind, str) else None
        if kind == "text" and isinstance(inner, str):
            return {"type": "text", "text": inner}
        if kind == "image_url":
            inner = {"url": inner} if isinstance(inner, str) else inner
            if isinstance(inner, Mapping) and isinstance(inner.get("url"), str):
                (made,) = self._media.image(inner["url"], inner.get("detail"))
                return made
        if kind in ("input_audio", "file", "refusal") and inner is not None:
            return {"type": kind, kind: inner}
        raise RowError("splice", f"{place} has a part that is not one of text, image_url, input_audio, file")
