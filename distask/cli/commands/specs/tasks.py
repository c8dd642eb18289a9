"""`distask tasks`: list the built-in tasks by kind, search them, or show one."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from distask.cli import candidates
from distask.cli import options as o
from distask.cli.display.console import out, plain
from distask.cli.events.emit import Events
from distask.diagnostics import did_you_mean, safe
from distask.errors import DistaskError, UsageError
from distask.formatting import several
from distask.spec.gallery import Entry, entries, gallery

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from distask.spec.language.columns import Typed
    from distask.spec.language.model import TaskSpec
    from distask.spec.language.steps import PipelineSpec

LEAST_DESCRIPTION = 30
"""Minimum width of a description next to its name; with less room, the full description goes below."""


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORD...] | show NAME",
            help="Words to search for; or `show` and a task name.",
            autocompletion=candidates.words,
        ),
    ] = None,
    json_: o.Json = False,
) -> None:
    """List the built-in tasks by kind, search them by words, or show one.

    If the output goes to a file or a pipe, `show` prints the task's file unchanged.
    """
    if words and words[0] == "show":
        if len(words) != 2:
            raise UsageError("the task name is missing; run distask tasks show NAME")
        _show(words[1], out(), as_json=json_)
        return
    found = _found(words) if words else entries()
    if json_:
        shown = ({"name": e.name, "kind": e.kind, "description": e.description, "columns": e.columns} for e in found)
        Events("tasks").result(tasks=list(shown))
    else:
        _print_list(found)


def _found(words: Sequence[str]) -> list[Entry]:
    known = entries()
    found = [entry for entry in known if all(word.lower() in entry.words for word in words)]
    if not found:
        close = did_you_mean(" ".join(words), [*(e.name for e in known), *(e.kind for e in known)])
        raise UsageError(f"no built-in task matches {' and '.join(words)}; {close or '`distask tasks` lists all'}")
    return found


def _print_list(found: Sequence[Entry]) -> None:
    console = out()
    width = max(len(entry.name) for entry in found)
    room = console.width - width - 4 if console.is_terminal else None
    kind = None
    for entry in found:
        if entry.kind != kind:
            console.print(plain(entry.kind if kind is None else f"\n{entry.kind}", "bold"))
            kind = entry.kind
        text = entry.description
        if room is not None and room < LEAST_DESCRIPTION:
            console.print(plain(f"  {entry.name}", "cyan"))
            for line in textwrap.wrap(text, max(console.width - 4, LEAST_DESCRIPTION // 2)):
                console.print(plain(f"    {line}"))
            continue
        text = text if room is None or len(text) <= room else f"{text[: room - 1].rstrip()}…"
        console.print(Text.assemble("  ", (entry.name.ljust(width), "cyan"), "  ", plain(text)))
    if console.is_terminal:
        console.print(plain(f"\n{several(len(found), 'task')}; distask tasks show {found[0].name} shows one", "dim"))


def _show(name: str, console: Console, *, as_json: bool = False) -> None:
    known = gallery()
    if name not in known:
        raise UsageError(
            f"there is no built-in task `{name}`; {did_you_mean(name, known) or 'distask tasks lists all'}"
        )
    text = known[name].read_text(encoding="utf-8")
    if as_json:
        Events("tasks").result(name=name, path=str(known[name]), text=text)
        return
    if not console.is_terminal:
        print(text, end="")  # noqa: T201
        return
    from rich.syntax import Syntax

    from distask.spec.language.model import TaskSpec
    from distask.spec.load import load_spec

    head, cases, _ = text.partition("\ncases:\n")
    spec = Syntax(safe(head.rstrip()), "yaml", theme="ansi_dark", background_color="default", word_wrap=True)
    console.print(spec, soft_wrap=False)
    loaded = load_spec(known[name])
    if cases:
        console.print(plain(f"\n# and {several(len(loaded.spec.cases), 'case')}, in {known[name]}", "dim"))
    _summary(loaded.spec, console)
    if isinstance(loaded.spec, TaskSpec):
        _example(name, loaded.spec, console)
    else:
        _example_of_steps(loaded.spec, console)


def _summary(spec: TaskSpec | PipelineSpec, console: Console) -> None:
    from distask.spec.language.aggregation import aggregate_columns
    from distask.spec.language.model import TaskSpec

    console.print()
    console.print(Text.assemble((spec.name, "bold cyan"), "  ", plain(spec.description or "")))
    console.print(plain(", ".join(spec.tags or []), "dim"))
    if spec.reference:
        console.print(Text.assemble(("source  ", "bold"), plain(spec.reference)))
    renamed = {**spec.input_mappings, **spec.output_mappings}
    for title, values in (("reads", spec.inputs), ("adds", spec.outputs), ("params", spec.params)):
        for index, (name, typed) in enumerate(values.items()):
            heading = Text(title if index == 0 else "", style="bold")
            heading.pad_right(8 - len(heading))
            text = "  ".join(_described(typed))
            optional = "?" if getattr(typed, "required", True) is False else ""
            console.print(Text.assemble(heading, (renamed.get(name, name) + optional, "cyan"), "  ", plain(text)))
        if title == "adds" and not values:
            console.print(Text.assemble(("adds    ", "bold"), "the columns that its steps leave in a row"))
        if title != "adds" or not isinstance(spec, TaskSpec):
            continue
        for column, of, how in aggregate_columns(spec, spec.outputs):
            made = plain(f"the {how} of {of} over the generations")
            console.print(Text.assemble(" " * 8, (column, "cyan"), "  ", made))


def _described(typed: Typed) -> Iterator[str]:
    """Yield the type, default, description and condition of a column or param."""
    bounds = typed.choices or [typed.type or ("schema" if typed.schema_ is not None else "string")]
    yield f"({' | '.join(map(str, bounds))})"
    given = getattr(typed, "default", None)
    if given not in (None, "", [], {}):
        shown = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        yield f"= {shown if len(shown) <= 40 else shown[:39] + '…'}".replace("\n", " ")
    if typed.description:
        yield typed.description
    if when := getattr(typed, "when", None):
        yield f"[where {when}]"


def _example(name: str, spec: TaskSpec, console: Console) -> None:
    """Print the first golden case: its chat, reply and columns."""
    from distask.cli.display.chats import draw
    from distask.task.task import Task

    case = next((c for c in spec.cases if c.expect is not None), None)
    if case is None:
        return
    try:
        messages = Task.load(name, case.params).format_input(case.input)
    except DistaskError:
        return
    given = f" with {json.dumps(case.params, ensure_ascii=False)}" if case.params else ""
    console.print(plain(f"\nexample: {case.name or 'a row'}{given}", "bold"))
    draw(messages, whole=True)
    reply = case.reply if isinstance(case.reply, str) else case.reply.get("text")
    console.print(plain("reply", "bold green"))
    for line in safe(str(reply)).split("\n"):
        console.print(Text(f"  {line}"))
    console.print(plain("columns", "bold"))
    for column, value in (case.expect or {}).items():
        shown = json.dumps(value, ensure_ascii=False)
        console.print(Text.assemble("  ", (column, "cyan"), "  ", plain(shown)))


def _example_of_steps(spec: PipelineSpec, console: Console) -> None:
    """Print the first golden case: its row, its replies in order, and its columns."""
    case = next((c for c in spec.cases if c.expect is not None), None)
    if case is None:
        return
    given = f" with {json.dumps(case.params, ensure_ascii=False)}" if case.params else ""
    console.print(plain(f"\nexample: {case.name or 'a row'}{given}", "bold"))
    for title, value in (("row", case.input), ("replies", case.replies), ("columns", case.expect)):
        console.print(plain(title, "bold"))
        entries = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else [value])
        for name, each in entries:
            shown = each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)
            console.print(Text.assemble("  ", (str(name), "cyan"), "  ", plain(shown)))
