"""`distask store`: show what a store holds, or prune it."""

from __future__ import annotations

import re
import sys
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distask.cli import options as o  # noqa: TC001 - typer reads it
from distask.cli.display.console import err, out, plain, short
from distask.cli.events.emit import Events
from distask.errors import UsageError
from distask.formatting import money, several, size
from distask.runner.stats import USD_DIGITS
from distask.runner.stored.contents import Contents, Source, read_contents
from distask.runner.stored.prune import Choice, Pruned, describe, find_run, find_unfinished, preview, prune

if TYPE_CHECKING:
    from distask.run_ledger import RunRecord

SECONDS = {"h": 3_600, "d": 86_400, "w": 7 * 86_400}
"""Units of an age."""
LONGEST_CELL = 40
"""Maximum number of characters of a name in the table."""
NUMBERS = ("replies", "bytes", "cost")
"""Columns of the table that are aligned to the right."""


class Action(Enum):
    """What to do with the store."""

    SHOW = "show"
    PRUNE = "prune"


def command(
    action: Annotated[
        Action,
        typer.Argument(metavar="show|prune", help="Show what the store holds, or delete replies from it."),
    ],
    store: Annotated[
        Path,
        typer.Option("--store", metavar="FILE", help="The store. [.distask/store.db]"),
    ] = Path(".distask") / "store.db",
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="AGE",
            help="With prune: replies that no run has used for this time: 12h, 30d, 8w.",
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="OUT", help="With prune: replies that the run of OUT or OUT.run.json requested."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="With prune: replies of this model.")
    ] = None,
    abandon: Annotated[
        list[str] | None,
        typer.Option(
            "--abandon",
            metavar="OUT",
            help="With prune: keep nothing for the unfinished run of OUT (for stdout, its task); can be repeated.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With prune: count what would be deleted, and delete nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With prune: do not ask for confirmation.")] = False,
    json_: o.Json = False,
) -> None:
    """Show the runs, models, replies, bytes and cost in a store, or delete replies that are no longer needed.

    Prune deletes the replies that meet every condition. It keeps what an unfinished run or an open batch may need.
    """
    if action is Action.SHOW:
        if older_than or run or model or abandon or dry_run or yes:
            raise UsageError("show takes only --store and --json; the other options belong to `distask store prune`")
        _show(store, as_json=json_)
        return
    if not (older_than or run or model):
        raise UsageError("name what to prune with --older-than 30d, --run OUT.run.json or --model NAME")
    age = None if older_than is None else parse_age(older_than)
    choice = Choice(
        older_than=age,
        run=None if run is None else find_run(store, run).id,
        model=model,
        abandon=tuple(each for name in abandon or () for each in find_unfinished(store, name)),
    )
    planned = preview(store, choice)
    if not dry_run and not yes and planned.completions:
        _confirm(planned, as_json=json_)
    done = planned if dry_run else prune(store, choice)
    if json_:
        Events("store").result(
            store=str(store),
            dry_run=dry_run,
            replies=done.completions,
            bytes=done.bytes,
            kept=done.kept,
            reasons=done.reasons,
            freed=done.freed,
            free_bytes=done.reusable,
        )
        return
    _tell_pruned(done, dry_run=dry_run)


def parse_age(text: str) -> float:
    """Return the seconds of an age such as 12h, 30d or 8w; raises `UsageError`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text.strip().lower())
    if found is None:
        raise UsageError(f"--older-than {text}: not an age; write hours, days or weeks, as in 12h, 30d or 8w")
    return float(found[1]) * SECONDS[found[2]]


def _confirm(planned: Pruned, *, as_json: bool) -> None:
    if as_json or not sys.stdin.isatty():
        raise UsageError(
            f"this would delete {several(planned.completions, 'reply')}, and there is no terminal to confirm it; "
            "add --yes to delete them, or --dry-run to count them"
        )
    question = f"Delete {several(planned.completions, 'reply')} ({size(planned.bytes)})?"
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:  # Ctrl-C or the end of the input
        agreed = False
    if not agreed:
        err().print(plain("nothing was deleted"))
        raise typer.Exit(130)


def _tell_pruned(done: Pruned, *, dry_run: bool) -> None:
    console = err()
    verb = "would delete" if dry_run else "deleted"
    console.print(plain(f"{verb} {several(done.completions, 'reply')} ({size(done.bytes)})"))
    if done.kept:
        console.print(plain(f"kept {several(done.kept, 'reply')} that may be needed by:"))
        for reason in done.reasons:
            console.print(plain(f"  {reason}"))
        console.print(plain("finish the run, or give it up with --abandon OUT", "dim"))
    if dry_run:
        return
    console.print(plain(f"the file is {size(done.freed)} smaller"))
    if done.reusable and done.completions:
        console.print(
            plain(
                f"{size(done.reusable)} in it are free for new replies; it can't shrink while a run has it open "
                "or the disk is nearly full: prune again later",
                "dim",
            )
        )


def _show(store: Path, *, as_json: bool) -> None:
    contents = read_contents(store)
    sources = sorted(contents.sources, key=lambda s: (s.task or "", s.model, s.first or 0.0))
    unfinished = [run for run in contents.runs if run.finished is None]
    replies = sum(source.completions for source in sources)
    cost = _total_cost(sources)
    if as_json:
        Events("store").result(
            store=str(store),
            bytes=contents.file_bytes,
            free_bytes=contents.free_bytes,
            replies=replies,
            cost_usd=cost,
            damaged=contents.damaged,
            open_batches=contents.open_batches,
            unfinished=[_run_as_json(run) for run in unfinished],
            sources=[_source_as_json(source) for source in sources],
        )
        return
    _print(store, contents, sources, unfinished)


def _print(store: Path, contents: Contents, sources: list[Source], unfinished: list[RunRecord]) -> None:
    console = out()
    replies = sum(source.completions for source in sources)
    free = f" ({size(contents.free_bytes)} free)" if contents.free_bytes else ""
    message = [
        f"{several(replies, 'reply')} in {size(contents.file_bytes)}{free}",
        "cost unknown" if (cost := _total_cost(sources)) is None else money(cost),
        several(len(contents.runs), "run"),
    ]
    message += [f"{several(contents.open_batches, 'batch')} open"] if contents.open_batches else []
    console.print(plain(f"{store}: {', '.join(message)}"))
    for line in _table(sources):
        console.print(plain(line))
    for run in unfinished:
        console.print(plain(f"unfinished: {describe(run).removeprefix('the unfinished run of ')}", "yellow"))
    if contents.damaged:
        console.print(plain(f"{several(contents.damaged, 'reply')} can't be read; a run requests them again", "yellow"))
    if any(source.task is None for source in sources):
        console.print(
            plain("(unknown): stored by a version that recorded no runs; the model is as the server named it", "dim")
        )


def _table(sources: list[Source]) -> list[str]:
    """Return aligned lines with a heading; empty if there are no sources. Lines are not wrapped."""
    if not sources:
        return []
    rows = [("task", "model", "output", "replies", "bytes", "cost", "first", "last used")]
    for source in sources:
        cost = _cost(source)
        rows.append(
            (
                short(source.task or "(unknown)", LONGEST_CELL),
                short(source.model, LONGEST_CELL),
                short(_output(source), LONGEST_CELL),
                f"{source.completions:,}",
                size(source.bytes),
                "unknown" if cost is None else money(cost),
                _date(source.first),
                _date(source.used),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if name in NUMBERS else cell.ljust(width)
            for cell, width, name in zip(row, widths, rows[0], strict=True)
        ).rstrip()
        for row in rows
    ]


def _output(source: Source) -> str:
    if source.run is None:
        return "-"
    return "(no file)" if source.run.output is None else Path(source.run.output).name


def _cost(source: Source) -> float | None:
    return None if source.unpriced == source.completions else round(source.cost, USD_DIGITS)


def _total_cost(sources: list[Source]) -> float | None:
    known = [cost for source in sources if (cost := _cost(source)) is not None]
    return round(sum(known), USD_DIGITS) if known else None


def _date(seconds: float | None) -> str:
    return "-" if seconds is None else time.strftime("%Y-%m-%d", time.localtime(seconds))


def _run_as_json(run: RunRecord) -> dict[str, Any]:
    return {"task": run.task, "output": run.output, "started": run.started, "finished": run.finished}


def _source_as_json(source: Source) -> dict[str, Any]:
    return {
        "task": source.task,
        "endpoint": source.endpoint,
        "model": source.model,
        "run": None if source.run is None else _run_as_json(source.run),
        "replies": source.completions,
        "bytes": source.bytes,
        "cost_usd": _cost(source),
        "unpriced": source.unpriced,
        "first": source.first,
        "last": source.last,
        "used": source.used,
    }
