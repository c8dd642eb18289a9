"""`distask trace`: show where a row of an output comes from: prompts, replies, judges, input rows and the document."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from distask.cli import options as o  # noqa: TC001 - typer reads the annotations
from distask.cli.display import chats
from distask.cli.display.console import out, plain
from distask.cli.events.emit import Events
from distask.runner.generations import MODEL_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distask.runner.provenance.passage import DocumentFound
    from distask.runner.provenance.trace import Exchange, Stage, Trace

LONGEST_VALUE = 200
"""Maximum number of characters shown of a column's value."""
LONGEST_TEXT = 300
"""Maximum number of characters shown of a message, a reply or a passage."""
HASH_DIGITS = 12
"""Digits shown of a hash; `--json` has all."""


def command(
    output: Annotated[str, typer.Argument(metavar="OUT", help="Output of `distask run`.")],
    row: Annotated[int, typer.Argument(metavar="ROW", min=1, help="Number of the row in OUT, from 1.")],
    verbose: o.Verbose = 0,
    json_: o.Json = False,
) -> None:
    """Show where a row comes from: its prompts, models, replies and judges, the input row, and the document.

    If the input is the output of an earlier run, the trace continues there, back to the document with the page and the
    passage. It reads the files and their OUT.run.json, and needs no network and no key. Exits with 3 if something on
    the way can't be found or was changed.
    """
    from distask.runner.provenance.trace import trace_row

    found = trace_row(output, row)
    code = 3 if found.notes else 0
    if json_:
        Events("trace").result(code, **_as_json(found))
    else:
        for line in _lines(found, whole=verbose > 0):
            out().print(line)
    raise typer.Exit(code)


def _lines(found: Trace, *, whole: bool) -> Iterator[Text]:
    shown: dict[str, Any] = {}
    for number, stage in enumerate(found.stages):
        if number:
            yield Text()
        new = {name: value for name, value in stage.values.items() if name not in shown or shown[name] != value}
        shown |= new
        yield from _stage(stage, new, whole=whole)
    if found.document is not None:
        yield Text()
        yield from _document(found.document, whole=whole)
    for note in found.notes:
        yield Text.assemble(("note     ", "yellow"), plain(note))


def _stage(stage: Stage, new: dict[str, Any], *, whole: bool) -> Iterator[Text]:
    """Yield the lines of a row and its run; `new` are the columns that were not shown before."""
    yield plain(f"── {_near(stage.output)}, row {stage.row:,}", "bold")
    for name, value in new.items():
        if name == MODEL_COLUMN:
            continue
        yield Text.assemble("  ", plain(name, "cyan"), ": ", plain(_value(value, whole=whole)))
    record = stage.record
    if record is None:
        return
    section = record.get("provenance") or {}
    identity = record.get("identity") or {}
    task = section.get("task") or {"name": identity.get("task"), "file": identity.get("spec")}
    yield _fact("task", _task(task))
    if section.get("models"):
        yield _fact("model", ", ".join(dict.fromkeys(_model(use) for use in section["models"])))
    for exchange in stage.exchanges:
        yield from _exchange(exchange, whole=whole)
    if (origin := stage.origin) is not None:
        row = "" if origin.row is None else f", row {origin.row:,}"
        yield _fact("input", f"{origin.file}{row} ({origin.state})")
        for place in origin.others:
            yield _fact("", f"also {place}")


def _task(task: dict[str, Any]) -> str:
    version = f" {task['version']}" if task.get("version") else ""
    file = ", built-in" if task.get("built_in") else f", {_near(str(task['file']))}" if task.get("file") else ""
    digest = f", SHA-256 {task['sha256'][:HASH_DIGITS]}…" if task.get("sha256") else ""
    return f"{task.get('name')}{version}{file}{digest}"


def _near(file: str) -> str:
    """Return a path relative to the current folder if it is below it."""
    try:
        here = os.getcwd()  # noqa: PTH109 - compared as text
    except FileNotFoundError:
        return file
    return file.removeprefix(f"{here}{os.sep}")


def _model(use: dict[str, Any]) -> str:
    served = [name for name in use.get("served") or () if name and name != use["model"]]
    return f"{use['model']} (served as {', '.join(served)})" if served else str(use["model"])


def _exchange(exchange: Exchange, *, whole: bool) -> Iterator[Text]:
    parts = [exchange.step, exchange.model or "unknown model", *(["judge"] if exchange.judge else [])]
    yield Text.assemble(("  prompt   ", "dim"), plain(" · ".join(parts), "bold"))
    for text, style in chats.lines([_shortened(m, whole=whole) for m in exchange.messages or []], whole=whole):
        yield Text(f"    {text}".rstrip(), style=style)
    if exchange.messages is None:
        yield Text("    (not kept)", style="dim")
    if whole and exchange.reasoning:
        yield _fact("thoughts", exchange.step)
        yield from _indented(exchange.reasoning, whole=whole)
    yield _fact("reply", exchange.step)
    yield from _indented(exchange.reply, whole=whole)
    if exchange.error is not None:
        yield Text.assemble("    ", plain(f"can't be used: {exchange.error}", "red"))


def _shortened(message: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    content = message.get("content")
    return (
        {**message, "content": chats.folded(content, LONGEST_TEXT)}
        if isinstance(content, str) and not whole
        else message
    )


def _document(document: DocumentFound, *, whole: bool) -> Iterator[Text]:
    yield plain(f"── {document.path}", "bold")
    if document.title:
        yield _fact("title", document.title)
    if document.file is not None:
        yield _fact("file", f"{_near(document.file)} ({document.state})")
    else:
        yield _fact("file", "missing")
    if document.page is not None:
        yield _fact("page", f"{document.page:,}" + (f" of {document.pages:,}" if document.pages else ""))
    for passage in document.passages:
        pages = f", page {' and '.join(f'{page:,}' for page in passage.pages)}" if passage.pages else ""
        yield _fact("passage", f"{passage.column}, characters {passage.start:,} to {passage.end:,}{pages}")
        yield from _indented(passage.text, whole=whole)


def _fact(name: str, value: str) -> Text:
    return Text.assemble((f"  {name:<9}", "dim"), plain(value))


def _indented(text: str | None, *, whole: bool) -> Iterator[Text]:
    if text is None:
        yield Text("    (not kept)", style="dim")
        return
    for line, style in chats.text_lines(text if whole else chats.folded(text, LONGEST_TEXT)):
        yield Text(f"  {line}".rstrip(), style=style)


def _value(value: Any, *, whole: bool) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return shown if whole else chats.folded(" ".join(shown.split()), LONGEST_VALUE)


def _as_json(found: Trace) -> dict[str, Any]:
    from msgspec.structs import asdict

    stages = []
    for stage in found.stages:
        section = (stage.record or {}).get("provenance") or {}
        origin = stage.origin
        stages.append(
            {
                "output": stage.output,
                "row": stage.row,
                "place": stage.place,
                "unchanged": stage.unchanged,
                "values": stage.values,
                "task": section.get("task"),
                "models": section.get("models") or [],
                "finished": (stage.record or {}).get("finished"),
                "exchanges": [asdict(each) for each in stage.exchanges],
                "input": None
                if origin is None
                else {
                    "file": origin.file,
                    "found": None if origin.found is None else str(origin.found),
                    "row": origin.row,
                    "state": origin.state,
                    "others": origin.others,
                },
            }
        )
    document = found.document
    shown = None if document is None else {**asdict(document), "passages": [asdict(p) for p in document.passages]}
    return {"rows": stages, "document": shown, "notes": found.notes}
