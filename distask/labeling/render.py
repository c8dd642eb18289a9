"""Show a row for reading: markdown, code with colors, chats, images and sounds, as blocks that the page draws.

HTML comes only from markdown-it, which escapes every tag in a text, and from pygments. Nothing refers to the network:
media are data URLs, and an image that has only an address is shown as that address.
"""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any

from distask.data.writers.base import json_bytes
from distask.errors import RowError
from distask.task.chat.media import Media
from distask.task.chat.messages import messages_of
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from distask.task.pipeline import Pipeline

LONGEST_MARKDOWN = 60_000
"""Maximum characters that are rendered as markdown; a longer text is shown as written."""
LONGEST_TEXT = 1_000_000
"""Maximum characters that are shown."""
LONGEST_CODE = 20_000
"""Maximum characters of code that get colors."""
MOST_ITEMS = 500
"""Maximum items of a list that are shown."""

Block = dict[str, Any]


class Renderer:
    """Turns the input columns of a row into blocks.

    Args:
        task: the task: its inputs come first, with their descriptions.
        sides: the columns with the two answers of a comparison, or the column with a list of both.
        folders: folders whose images and sounds rows may name.
    """

    def __init__(
        self, task: Task | Pipeline, sides: tuple[str, str] | str | None = None, folders: Sequence[Path] = ()
    ) -> None:
        self._task = task
        self._sides = sides
        self._inputs = {task.dataset_name(name): column for name, column in task.input_columns.items()}
        self._media = Media([task.path.resolve().parent, *folders])
        tasks = [task] if isinstance(task, Task) else list(task.tasks)
        self._images, self._sounds = (_media_columns(tasks, kind) for kind in ("image", "audio"))
        self._markdown: Any = None

    def row(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the blocks of a row: `columns` (the task's inputs), `sides` (two columns, or null), and `more`."""
        sides = self._pair(values)
        beside = set() if sides is None else {self._sides} if isinstance(self._sides, str) else set(self._sides or ())
        columns = [
            self._column(name, values[name], self._inputs[name].description)
            for name in self._inputs
            if values.get(name) is not None and name not in beside
        ]
        more = [self._column(name, value) for name, value in values.items() if name not in self._inputs]
        return {"columns": columns, "sides": sides, "more": more}

    def prompt(self, values: Mapping[str, Any]) -> list[Block] | None:
        """Return the chat that the judge gets for a row; None for a task of steps, or if it can't be rendered."""
        if not isinstance(self._task, Task):
            return None
        try:
            messages = self._task.format_input(values)
        except RowError as error:
            return [{"kind": "note", "text": f"The chat can't be rendered: {error.message}"}]
        return [self._chat(messages)]

    def _pair(self, values: Mapping[str, Any]) -> list[Block] | None:
        if isinstance(self._sides, str):
            both = _listed(values.get(self._sides))
            if not isinstance(both, list) or len(both) != 2:
                return None
            return [self._column(f"{self._sides}[{place}]", value) for place, value in enumerate(both)]
        if self._sides is None or any(name not in values for name in self._sides):
            return None
        return [self._column(name, values[name]) for name in self._sides]

    def _column(self, name: str, value: Any, description: str | None = None) -> Block:
        bare = name.partition("[")[0]
        column = self._inputs.get(bare)
        if column is not None and ((column.type or "").startswith("list") or column.type == "object"):
            value = _listed(value)
        return {"name": name, "description": description, "blocks": self._blocks(bare, value)}

    def _blocks(self, name: str, value: Any) -> list[Block]:
        if name in self._images or _looks_like_image(value):
            return [self._image(one) for one in (value if isinstance(value, list) else [value])]
        if name in self._sounds:
            return [self._sound(one) for one in (value if isinstance(value, list) else [value])]
        if (messages := _chat_of(value)) is not None:
            return [self._chat(messages)]
        return [self._value(value)]

    def _value(self, value: Any) -> Block:
        if value is None:
            return {"kind": "note", "text": "null"}
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, bytes):
            return {"kind": "note", "text": f"{len(value):,} bytes"}
        if isinstance(value, list) and value and all(isinstance(item, str | int | float) for item in value):
            items = [self._value(item) for item in value[:MOST_ITEMS]]
            return {"kind": "list", "items": items, "left_out": max(0, len(value) - MOST_ITEMS)}
        if isinstance(value, list | dict):
            text = json.dumps(json.loads(json_bytes(value)), ensure_ascii=False, indent=2)
            return {"kind": "code", "html": _colored(_cut(text), "json")}
        return {"kind": "plain", "text": json.dumps(value)}

    def _text(self, text: str) -> Block:
        shown = _cut(text)
        if len(shown) > LONGEST_MARKDOWN or not shown.strip():
            return {"kind": "plain", "text": shown}
        if self._markdown is None:
            self._markdown = _markdown()
        return {"kind": "text", "html": self._markdown.render(shown), "raw": shown}

    def _chat(self, messages: Sequence[Any]) -> Block:
        return {"kind": "chat", "messages": [self._message(m) for m in messages[:MOST_ITEMS] if isinstance(m, dict)]}

    def _message(self, message: Mapping[str, Any]) -> Block:
        content = message.get("content")
        blocks = [self._part(part) for part in content] if isinstance(content, list) else []
        if isinstance(content, str) and content:
            blocks = [self._text(content)]
        if calls := message.get("tool_calls"):
            blocks.append(self._value(calls))
        name = message.get("name")
        role = str(message.get("role") or "message")
        return {"role": role if not isinstance(name, str) else f"{role} · {name}", "kind": role, "blocks": blocks}

    def _part(self, part: Any) -> Block:
        if isinstance(part, str):
            return self._text(part)
        if not isinstance(part, dict):
            return self._value(part)
        kind = part.get("type")
        if kind == "text" or (kind is None and isinstance(part.get("text"), str)):
            return self._text(str(part.get("text")))
        inner = part.get("image_url", part.get("image"))
        if inner is not None:
            return self._image(inner.get("url", inner) if isinstance(inner, dict) else inner)
        if (audio := part.get("input_audio")) is not None and isinstance(audio, dict):
            return {"kind": "audio", "src": f"data:audio/{audio.get('format', 'wav')};base64,{audio.get('data', '')}"}
        return self._value(part)

    def _image(self, value: Any) -> Block:
        try:
            url = self._media.image_url(value)
        except RowError as error:
            return {"kind": "note", "text": f"image: {error.message}"}
        if not url.startswith("data:image/"):
            return {"kind": "note", "text": f"image, not loaded from the network: {url[:500]}"}
        return {"kind": "image", "src": url, "alt": "image of the row"}

    def _sound(self, value: Any) -> Block:
        try:
            part = self._media.audio(value)[0]
        except (RowError, IndexError) as error:
            return {"kind": "note", "text": f"audio: {getattr(error, 'message', 'there is none')}"}
        if part["type"] != "input_audio":
            return {"kind": "note", "text": f"audio, not loaded from the network: {part['audio_url']['url'][:500]}"}
        return self._part(part)


def _cut(text: str) -> str:
    left_out = len(text) - LONGEST_TEXT
    return text if left_out <= 0 else f"{text[:LONGEST_TEXT]}… [{left_out:,} characters more]"


def _listed(value: Any) -> Any:
    """Parse a table's cell that holds a list or an object."""
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _chat_of(value: Any) -> Sequence[Any] | None:
    """Return the messages of a chat in a known format; None for any other value."""
    if isinstance(value, str):
        looks_like_one = value.lstrip().startswith(("<|im_start|>", '[{"role"', '[{"from"', '[{"content"'))
    else:
        is_list = isinstance(value, list) and bool(value) and all(isinstance(turn, dict) for turn in value)
        looks_like_one = is_list and any(key in value[0] for key in ("role", "from", "speaker"))
    if not looks_like_one:
        return None
    try:
        return messages_of(value, "chat")
    except RowError:
        return None


def _looks_like_image(value: Any) -> bool:
    if isinstance(value, str):
        return value.startswith("data:image/")
    if isinstance(value, bytes):
        return value.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM")) or value[8:12] == b"WEBP"
    if isinstance(value, dict):
        inner = value.get("bytes")
        return value.keys() <= {"bytes", "path"} and isinstance(inner, bytes) and _looks_like_image(inner)
    return isinstance(value, list) and bool(value) and all(_looks_like_image(one) for one in value)


def _media_columns(tasks: Sequence[Task], kind: str) -> set[str]:
    """Return the columns that the chats of tasks send as images, or as sounds."""
    found: set[str] = set()
    for task in tasks:
        for message in task.spec.format_input:
            parts = message.content if isinstance(message.content, list) else []
            for template in (getattr(part, kind) for part in parts):
                names = re.findall(r"[A-Za-z_]\w*", template or "")
                found |= {task.dataset_name(name) for name in names if name in task.input_columns}
    return found


def _markdown() -> Any:
    from markdown_it import MarkdownIt

    made = MarkdownIt(
        "commonmark", {"html": False, "breaks": True, "highlight": lambda code, name, _: _colored(code, name)}
    )
    made.enable(["table", "strikethrough"])
    rules: dict[str, Any] = made.renderer.rules  # type: ignore[attr-defined]
    rules["image"] = _image_rule
    rules["link_open"] = _link_rule
    return made


def _image_rule(tokens: Any, place: int, *_: Any) -> str:
    token = tokens[place]
    source, text = html.escape(str(token.attrs.get("src", ""))), html.escape(token.content)
    if source.startswith("data:image/"):
        return f'<img src="{source}" alt="{text}">'
    return f'<span class="note">image, not loaded from the network: {text} {source}</span>'


def _link_rule(tokens: Any, place: int, *_: Any) -> str:
    target = html.escape(str(tokens[place].attrs.get("href", "")))
    return f'<a href="{target}" title="{target}" target="_blank" rel="noopener noreferrer">'


def _colored(code: str, language: str) -> str:
    """Return code as HTML with classes for colors; without, if the language is unknown or the code is long."""
    if not language or len(code) > LONGEST_CODE:
        return html.escape(code)
    from pygments import highlight
    from pygments.formatters.html import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return html.escape(code)
    made: str = highlight(code, lexer, HtmlFormatter(nowrap=True))
    return made
