"""`distask preview`: run a few rows and show chats, replies and columns; a run reuses the replies."""

from __future__ import annotations

import json
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from distask.cli import options as o
from distask.cli.display import chats, step_preview
from distask.cli.display.console import out, plain
from distask.cli.events.emit import Events
from distask.cli.job import job_of
from distask.diagnostics import Diagnostic
from distask.errors import InvalidReply
from distask.formatting import duration, money, several
from distask.llm.prices import cost_of_usage, known_of
from distask.runner.preview import Trial, Tried, try_rows
from distask.task.pipeline import Pipeline
from distask.task.reply.parse_position import Misfit, misfit
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType

    from distask.data.row import Row
    from distask.llm.config.model import Price
    from distask.llm.request import Completion
    from distask.runner.generations import Generation
    from distask.runner.job import Job
    from distask.runner.stats import Stats

WIDE = 100
"""Terminal width from which chat and reply are shown side by side."""
LONGEST_VALUE = 1_000
"""Maximum number of characters shown of a column's value."""


class Shown(Struct, frozen=True):
    """A row and its result."""

    row: Row
    tried: Tried


@o.takes(*o.INPUT, "output", *o.LLM, "concurrency", "max_cost", "offset", "on_bad_row", *o.STORE, *o.ALLOW)
def command(
    choice: o.Choice,
    shown: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="Number of rows to run. [3]")] = 3,
    verbose: o.Verbose = 0,
    json_: o.Json = False,
) -> None:
    """Run the first rows and show the chat, reply, columns, tokens, cost and time of each.

    A reply that can't be used is shown with the position where it stopped matching. Replies are kept in the run's
    store. Exits with 3 if any reply can't be used.
    """
    job = job_of(replace(choice, limit=shown))
    if isinstance(job.task, Pipeline):
        raise typer.Exit(step_preview.show(job, whole=verbose > 0, as_json=json_))
    tried, stats, notes = _asked(job)
    code = 3 if any(g.error is not None for one in tried for g in one.tried.generations) else 0
    if json_:
        Events("preview").result(code, **_as_json(job, tried, stats), notes=notes)
    else:
        _draw(job, tried, stats, out(), whole=verbose > 0)
        for note in notes:
            out().print(Text.assemble(("note     ", "dim"), plain(note)))
    raise typer.Exit(code)


def _asked(job: Job) -> tuple[list[Shown], Stats, list[str]]:
    """Run the rows; returns their results, the counts, and notes on how the data is read."""
    source = job.open_input()
    rows = [row for row in islice(source, job.selection.limit) if row.error is None]
    assert isinstance(job.task, Task)
    trials = [Trial(job.task, row.values, row.index) for row in rows]
    try:
        with job.open_store() or nullcontext() as store:
            tried, stats = try_rows(trials, job.llm, store, job.shape.num_generations, max_cost=job.max_cost)
    except KeyboardInterrupt:
        from distask.runner.engine.engine import Interrupted

        kept = "" if job.store is False else "; replies received so far are cached and will not be requested again"
        raise Interrupted(f"interrupted{kept}") from None
    return [Shown(row, one) for row, one in zip(rows, tried, strict=True)], stats, source.notes


# Output


def _draw(job: Job, rows: list[Shown], stats: Stats, console: Console, *, whole: bool) -> None:
    price = known_of(job.llm).price
    for one in rows:
        console.print(
            Text.assemble(plain(f"── {one.row.place}", "bold"), plain(f"  {_facts(one.tried, price)}", "dim"))
        )
        generation = one.tried.generations[0]
        chat = [Text(*line) for line in chats.lines(generation.messages or [], whole=whole)]
        came = [line for sample in range(len(one.tried.generations)) for line in _came(job, one, sample, whole=whole)]
        if console.width >= WIDE:
            console.print(_side_by_side(chat, came), soft_wrap=False)
        else:
            for line in [*chat, *came]:
                console.print(line)
        console.print()
    for name, text in _totals(job, rows, stats):
        console.print(Text.assemble((f"{name:<9}", "dim"), plain(text)))


def _side_by_side(chat: list[Text], came: list[Text]) -> RenderableType:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(ratio=1, overflow="fold")
    table.add_column(ratio=1, overflow="fold")
    table.add_row(Group(*map(_indented, chat)), Group(*map(_indented, came)))
    return table


def _indented(line: Text) -> RenderableType:
    """A line that stays indented where it wraps."""
    return Padding(line[len(chats.GUTTER) :], (0, 0, 0, 2)) if line.plain.startswith(chats.GUTTER) else line


def _facts(tried: Tried, price: Price | None) -> str:
    usage = [g.usage for g in tried.generations]
    asked, made = sum(u.input_tokens or 0 for u in usage), sum(u.output_tokens or 0 for u in usage)
    costs = [cost for u in usage if (cost := cost_of_usage(price, u)) is not None]
    parts = ["from the store" if tried.seconds is None else duration(tried.seconds)]
    if tried.seconds is None and all(g.completion is None for g in tried.generations):
        parts = ["not requested"]
    parts += [f"{asked:,} tokens in, {made:,} out"] if asked or made else []
    parts += [money(sum(costs))] if costs and tried.seconds is not None else []
    return " · ".join(parts)


def _came(job: Job, one: Shown, sample: int, *, whole: bool) -> Iterator[Text]:
    generation = one.tried.generations[sample]
    number = f" {sample}" if len(one.tried.generations) > 1 else ""
    if (completion := generation.completion) is not None:
        ended = "" if completion.finish_reason == "stop" else f" ({completion.finish_reason})"
        if whole and (reasoning := _reasoning(job, completion)):
            yield plain(f"reasoning{number}", "bold")
            yield from _texts(reasoning, "dim")
        yield Text.assemble(plain(f"reply{number}", "bold green"), plain(ended, "yellow"))
        text = completion.text if completion.text is not None else completion.refusal or "(no text)"
        yield from _texts(text if whole else chats.folded(text))
        if completion.tool_calls:
            yield from _texts(json.dumps(completion.tool_calls, ensure_ascii=False))
    if generation.error is not None:
        yield Text.assemble(plain(f"can't be used{number}: ", "bold red"), plain(generation.error.message, "red"))
        yield from _stopped(job, generation)
        if generation.columns is None:
            return
    yield plain(f"columns{number}", "bold")
    for name, value in (generation.columns or {}).items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        shown = shown if whole else chats.folded(shown, LONGEST_VALUE)
        first, *more = _texts(shown)
        yield Text.assemble("  ", plain(name, "cyan"), ": ", first.plain.removeprefix(chats.GUTTER))
        yield from more


def _texts(text: str, style: str = "") -> Iterator[Text]:
    return (Text(*line) for line in chats.text_lines(text, style))


def _stopped(job: Job, generation: Generation) -> Iterator[Text]:
    """Yield the line of the reply, with a caret where it stopped matching."""
    place = _misfit(job, generation)
    if place is None or generation.completion is None or not (reply := generation.completion.text):
        return
    line = reply.count("\n", 0, place.at) + 1
    start = reply.rfind("\n", 0, place.at) + 1
    source = reply[start:].partition("\n")[0]
    hint = None if place.wanted is None else f"expected {place.wanted}"
    diagnostic = Diagnostic("reply", line, place.at - start + 1, "", hint, source, max(1, place.length))
    for text in str(diagnostic).split("\n")[1:]:
        yield plain(text, "red")


def _misfit(job: Job, generation: Generation) -> Misfit | None:
    completion, error = generation.completion, generation.error
    if completion is None or not completion.text or error is None:
        return None
    assert isinstance(job.task, Task)
    parser = error.parser if isinstance(error, InvalidReply) else None
    return misfit(job.task.spec.format_output if parser is None else [parser], completion.text, error.message)


def _totals(job: Job, rows: list[Shown], stats: Stats) -> Iterator[tuple[str, str]]:
    failed = sum(g.error is not None for one in rows for g in one.tried.generations)
    total = sum(len(one.tried.generations) for one in rows)
    yield "replies", f"{total - failed:,} good" + (f", {failed:,} unusable" if failed else "")
    kept = "none are kept (--no-store)" if job.store is False else "a run will reuse them"
    if job.llm.config.provider == "offline":
        kept = "simulated, no model was called"
    yield "received", f"{several(stats.completions, 'reply')}, {stats.stored:,} from the store; {kept}"
    if failed:
        yield "next", "change the task and preview again; stored replies are parsed again"
    if stats.input_tokens or stats.output_tokens:
        yield "tokens", stats.tokens()
    if stats.priced:
        yield "cost", f"{money(stats.cost)}; distask dry-run estimates the cost of all rows"


def _as_json(job: Job, rows: list[Shown], stats: Stats) -> dict[str, Any]:
    price = known_of(job.llm).price
    return {
        "task": job.task.name,
        "model": job.llm.config.model,
        "rows": [
            {
                "place": one.row.place,
                "messages": one.tried.generations[0].messages,
                "keywords": one.tried.keywords,
                "seconds": one.tried.seconds and round(one.tried.seconds, 3),
                "generations": [_generation(job, g, price) for g in one.tried.generations],
            }
            for one in rows
        ],
        "counts": stats.to_json(),
    }


def _reasoning(job: Job, completion: Completion) -> str | None:
    assert isinstance(job.task, Task)
    return job.task.reasoning_of(completion)


def _generation(job: Job, generation: Generation, price: Price | None) -> dict[str, Any]:
    completion, usage, place = generation.completion, generation.usage, _misfit(job, generation)
    return {
        "reply": completion and completion.text,
        "finish_reason": completion and completion.finish_reason,
        "reasoning": completion and _reasoning(job, completion),
        "tool_calls": completion and completion.tool_calls,
        "columns": generation.columns,
        "error": generation.error and {"kind": generation.error.kind, "message": generation.error.message},
        "misfit": place and {"at": place.at, "length": place.length, "wanted": place.wanted},
        "tokens": {
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "cached": usage.cached_tokens,
            "cache_writes": usage.cache_write_tokens,
            "reasoning": usage.reasoning_tokens,
        },
        "cost_usd": cost_of_usage(price, usage),
    }
