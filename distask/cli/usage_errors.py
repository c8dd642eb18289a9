"""Report wrong arguments, with the closest valid word and where to look."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rich.text import Text

from distask.cli.display.console import err, plain
from distask.diagnostics import nearest

if TYPE_CHECKING:
    from distask.cli.events.emit import Events

EXAMPLES = {
    "run": "distask run text-generation --input rows.jsonl",
    "dry-run": "distask dry-run text-generation --input rows.jsonl",
    "preview": "distask preview text-generation --input rows.jsonl",
    "test": "distask test mine.yaml",
    "validate": "distask validate mine.yaml",
}
"""Examples for commands that need an argument."""


def report_usage_error(error: Any) -> int:
    """Print a usage error and its fix; returns the exit code."""
    console, context = err(), getattr(error, "ctx", None)
    message, hint = _explained(error, context)
    console.print(Text.assemble(("error: ", "bold red"), plain(message)))
    if hint:
        console.print(plain(hint))
    if context is not None:
        console.print(plain(f"`{context.command_path} --help` lists what is available", "dim"))
    return int(error.exit_code)


def as_event(error: Any, events: Events) -> int:
    """Write a usage error as an event; returns the exit code."""
    message, hint = _explained(error, getattr(error, "ctx", None))
    events.error("usage", message, int(error.exit_code), notes=[hint] if hint else [])
    return int(error.exit_code)


def _explained(error: Any, context: Any) -> tuple[str, str | None]:
    """Return the message in distask's wording, and a fix."""
    command = getattr(context, "info_name", None) or ""
    message = " ".join(error.format_message().split()).replace(": Value error, ", ": ").replace(": Input ", ": it ")
    message = (message[:1].lower() + message[1:]).rstrip(".")
    if (option := getattr(error, "option_name", None)) and message.startswith("no such option"):
        close = nearest(option, _options(context))
        return f"there is no option {option}", f"did you mean {close}?" if close else None
    if found := re.match(r"no such command '(.*?)'", message):
        close = nearest(found[1], getattr(context.command, "commands", ()))
        return f"there is no command `{found[1]}`", f"did you mean `distask {close}`?" if close else None
    if found := re.match(r"missing argument '(.*?)'", message):
        example = EXAMPLES.get(command)
        example_note = f"for example: {example}; `distask tasks` lists the tasks" if example else None
        return f"{found[1].rstrip('.')} is missing", example_note
    return message, None


def _options(context: Any) -> list[str]:
    return [name for p in getattr(context.command, "params", ()) for name in (*p.opts, *p.secondary_opts)]
