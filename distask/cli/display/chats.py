"""Print chats for people: roles in colour, media described instead of encoded, long texts folded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from distask.cli.display.lines import echo
from distask.diagnostics import safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distask.cli.display.lines import Part

LONGEST = 2_000
"""Maximum number of characters shown of a text."""
SLACK = 200
"""Extra characters that are shown rather than folded."""
COLOURS = {"system": "magenta", "developer": "magenta", "user": "cyan", "assistant": "green", "tool": "yellow"}
GUTTER = "  "
"""Precedes each line of message text, so that no text can pass for output of distask."""


def draw(messages: Sequence[dict[str, Any]], *, whole: bool = False) -> None:
    """Print a chat; with `whole`, nothing is folded."""
    for line in lines(messages, whole=whole):
        echo(line)


def lines(messages: Sequence[dict[str, Any]], *, whole: bool = False) -> Iterator[Part]:
    """Yield the lines of a chat; with `whole`, nothing is folded."""
    for message in messages:
        yield _heading(message)
        for text in _texts(message, whole=whole):
            yield from text_lines(text)


def text_lines(text: str, style: str = "") -> Iterator[Part]:
    """Yield the lines of a text, each indented by the gutter."""
    for line in safe(text).split("\n"):
        yield f"{GUTTER}{line}".rstrip(), style


def _heading(message: dict[str, Any]) -> Part:
    role = str(message.get("role", "?"))
    name = f" ({message['name']})" if message.get("name") else ""
    return safe(f"{role}{name}"), f"bold {COLOURS.get(role, '')}".strip()


def _texts(message: dict[str, Any], *, whole: bool) -> Iterator[str]:
    content = message.get("content")
    for part in content if isinstance(content, list) else [content]:
        text = _part(part) if isinstance(part, dict) else "" if part is None else str(part)
        if text or content == "":
            yield text if whole else folded(text)
    for key in ("tool_calls", "tool_call_id"):
        if message.get(key):
            yield f"{key}: {json.dumps(message[key], ensure_ascii=False)}"


def folded(text: str, longest: int = LONGEST) -> str:
    """Return the beginning of a text, and how many characters follow."""
    if len(text) <= longest + SLACK:
        return text
    return f"{text[:longest]} … {len(text) - longest:,} more characters"


def _part(part: dict[str, Any]) -> str:
    kind = part.get("type")
    value = part.get(kind) if isinstance(kind, str) else None
    if kind == "text":
        return str(part.get("text", ""))
    if kind == "image_url" and isinstance(value, dict):
        return f"[image {_media(str(value.get('url', '')))}]"
    if kind == "input_audio" and isinstance(value, dict):
        return f"[audio {value.get('format', '')}, {_size(str(value.get('data', '')))}]"
    if kind == "file" and isinstance(value, dict):
        return f"[file {value.get('filename', '')} {_media(str(value.get('file_data', '')))}]"
    return folded(json.dumps(part, ensure_ascii=False, default=str), SLACK)


def _media(url: str) -> str:
    """Return a URL, or the type and size of a data URL."""
    if not url.startswith("data:"):
        return folded(url)
    head, _, data = url.removeprefix("data:").partition(",")
    return f"{head.partition(';')[0]}, {_size(data)}"


def _size(base64: str) -> str:
    size = len(base64) * 3 // 4 - base64[-2:].count("=")
    for unit_size, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit_size:
            return f"{size / unit_size:.1f} {unit}"
    return f"{size} bytes"
