"""`distask dry-run`: what a run would send and ask for, without asking."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.text import Text

from distask.cli.console import out, plain, safe
from distask.cli.setup import job_of
from distask.runner.plan import Plan, plan

if TYPE_CHECKING:
    from rich.console import Console

    from distask.cli.options import Choice
    from distask.runner.plan import Chat

LONGEST = 2_000
"""Characters of a message that are shown."""
COLOURS = {"system": "magenta", "developer": "magenta", "user": "cyan", "assistant": "green", "tool": "yellow"}


def dry_run_command(choice: Choice, *, chats: int, as_json: bool) -> None:
    """Show the first chats, then the counts."""
    made = plan(job_of(choice, asks=False), chats)
    if as_json:
        print(json.dumps(_as_json(made), ensure_ascii=False, default=str))  # noqa: T201
        return
    console = out()
    for chat in made.chats:
        _show(chat, console)
    _count(made, console)


def _show(chat: Chat, console: Console) -> None:
    console.print(plain(f"── {chat.place} ", "dim"))
    if chat.messages is None:
        console.print(Text.assemble(("  can't be rendered: ", "red"), plain(chat.error or "")))
    for message in chat.messages or []:
        colour = COLOURS.get(message["role"], "")
        name = f" ({safe(message['name'])})" if message.get("name") else ""
        console.print(Text(f"{message['role']}{name}", style=f"bold {colour}"))
        console.print(plain(_content(message.get("content"))))
        if message.get("tool_calls"):
            console.print(plain(json.dumps(message["tool_calls"], ensure_ascii=False)))
    console.print()


def _content(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(_part(part) for part in content)
    text = str(content or "")
    if len(text) > LONGEST:
        return f"{text[:LONGEST]} … {len(text) - LONGEST:,} more characters"
    return text


def _part(part: dict[str, Any]) -> str:
    kind = part.get("type")
    if kind == "text":
        return _content(part["text"])
    if kind == "image_url":
        url = part["image_url"]["url"]
        if not url.startswith("data:"):
            return f"[image {url}]"
        head, _, data = url.partition(",")
        return f"[image {head[5:].partition(';')[0]}, {len(data) * 3 // 4:,} bytes]"
    return f"[{kind}]"


def _count(made: Plan, console: Console) -> None:
    if made.chats and (keywords := next((c.keywords for c in made.chats if c.messages), None)):
        console.print(plain(f"keywords: {json.dumps(keywords, ensure_ascii=False)}", "dim"))
    console.print(plain(f"model: {made.model} at {made.endpoint}", "dim"))
    console.print(
        plain(
            f"{made.rows:,} rows, {made.num_generations} each → {made.completions:,} replies: "
            f"{made.stored:,} in the store, {made.missing:,} to ask for"
        )
    )
    limit = "no limit is set" if made.output_limit is None else f"{made.output_limit:,} at the most"
    console.print(plain(f"tokens: about {made.input_tokens:,} in; out: {limit}"))
    for kind, count in made.failures.most_common():
        console.print(plain(f"{count:,} rows can't be rendered: {kind}", "red"))
    console.print(plain("nothing was asked", "dim"))


def _as_json(made: Plan) -> dict[str, Any]:
    return {
        "model": made.model,
        "endpoint": made.endpoint,
        "rows": made.rows,
        "num_generations": made.num_generations,
        "completions": {"needed": made.completions, "stored": made.stored, "missing": made.missing},
        "tokens": {"input_estimate": made.input_tokens, "output_limit": made.output_limit},
        "failures": dict(made.failures),
        "chats": [
            {"place": c.place, "messages": c.messages, "keywords": c.keywords, "error": c.error} for c in made.chats
        ],
    }
