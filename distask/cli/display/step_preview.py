"""Preview a task with steps: run a few rows through all steps and show the chat and reply of each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from distask.cli.display import chats, step_counts
from distask.cli.display.lines import echo
from distask.cli.events.emit import Events
from distask.formatting import money, several
from distask.runner.generations import MODEL_COLUMN
from distask.runner.run import run_job

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from distask.runner.job import Job, Result
    from distask.task.steps.flow import Count

LONGEST_VALUE = 1_000
"""Maximum number of characters shown of a column's value."""


def show(job: Job, *, whole: bool, as_json: bool) -> int:
    """Run the rows and print the results; returns the exit code. Replies are kept in the run's store."""
    result = run_job(replace(job, output=None, store=job.store_file()))
    rows = result.rows or []
    if as_json:
        facts = {"task": job.task.name, "model": job.llm.config.model, "rows_out": rows}
        Events("preview").result(result.exit_code, **facts, counts=result.stats.to_json(), notes=result.notes)
        return result.exit_code
    for number, row in enumerate(rows, 1):
        echo((f"── row {number} out", "bold"))
        _draw_row(job, row, result.stats.steps, whole=whole)
        echo()
    for name, text in _totals(job, result):
        echo((f"{name:<9}", "dim"), (text, ""))
    return result.exit_code


def _draw_row(job: Job, row: Mapping[str, Any], counts: list[Count], *, whole: bool) -> None:
    metadata = row.get(job.shape.metadata_column)
    metadata = metadata if isinstance(metadata, dict) else {}
    for count in counts:
        for turn, (chat, reply, error) in enumerate(_exchanges(metadata, count.name)):
            number = f", {turn + 1}" if turn else ""
            echo((f"step {count.name}{number}", "bold cyan"))
            if chat is not None:
                chats.draw(chat, whole=whole)
            if reply is not None:
                echo(("reply", "bold green"))
                for line in chats.text_lines(reply if whole else chats.folded(reply)):
                    echo(line)
            if error is not None:
                echo((f"failed: {error['message']}", "red"))
    echo(("columns", "bold"))
    for name, value in row.items():
        if name in (job.shape.metadata_column, MODEL_COLUMN):
            continue
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        (first, style), *more = chats.text_lines(shown if whole else chats.folded(shown, LONGEST_VALUE))
        echo(("  ", ""), (name, "cyan"), (": ", ""), (first.removeprefix(chats.GUTTER), style))
        for line in more:
            echo(line)


def _exchanges(metadata: Mapping[str, Any], step: str) -> Iterator[tuple[Any, str | None, Any]]:
    """Yield the chat, reply and error of each execution of a step for a row, including in loops."""
    parts = [metadata.get(f"{part}_{step}") for part in ("raw_input", "raw_output", "error")]
    yield from _each(parts)


def _each(parts: list[Any]) -> Iterator[tuple[Any, str | None, Any]]:
    chat, reply, error = parts
    if isinstance(reply, list) or isinstance(error, list) or (isinstance(chat, list) and not _is_chat(chat)):
        longest = max(len(part) for part in parts if isinstance(part, list))
        for turn in range(longest):
            chats_differ = isinstance(chat, list) and not _is_chat(chat)
            yield from _each(
                [
                    _at(chat, turn) if chats_differ else chat,
                    _at(reply, turn),
                    _at(error, turn),
                ]
            )
    elif any(part is not None for part in parts):
        yield chat, reply, error


def _is_chat(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(message, dict) for message in value)


def _at(value: Any, turn: int) -> Any:
    return value[turn] if isinstance(value, list) and turn < len(value) else None


def _totals(job: Job, result: Result) -> Iterator[tuple[str, str]]:
    stats = result.stats
    yield from step_counts.lines(stats.steps)
    kept = "none are kept (--no-store)" if job.store is False else "a run will reuse them"
    if job.llm.config.provider == "offline":
        kept = "simulated, no model was called"
    yield "received", f"{several(stats.completions, 'reply')}, {stats.stored:,} from the store; {kept}"
    if stats.input_tokens or stats.output_tokens:
        yield "tokens", stats.tokens()
    if stats.priced:
        yield "cost", money(stats.cost)
    yield from (("note", note) for note in result.notes)
    for failed in result.failures:
        yield "failed", f"{failed.place}: {failed.message}"
