"""Print how a run ended and how to resume it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from rich.text import Text

from distask.cli.display import step_counts
from distask.cli.display.console import plain, short
from distask.errors import StoreError
from distask.formatting import duration, money, several
from distask.llm.prices import known_of, rates
from distask.runner.batch.collect import Left
from distask.runner.engine.budget import CostReached
from distask.spec.language.model import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from distask.errors import RunError
    from distask.runner.engine.shared import Failed
    from distask.runner.job import Job, Result
    from distask.runner.stats import Stats

FAILURES_SHOWN = 3
LARGE_SHARE = 0.5
LARGE_OUTPUT_BYTES = 1 << 20
"""A larger share of chats in an output of this size is worth a note."""
INTERRUPTED = 130
UNUSABLE = frozenset({"invalid", "type", "check", "empty", "refusal", "parse_timeout"})
"""Failures of received replies; they are in the store, and the next run parses them again."""
OF_THE_ROW = frozenset(
    {"bad_row", "missing_column", "null_input", "wrong_type", "template", "image", "audio", "file", "splice"}
)
"""Failures of the data: no request was sent."""


def print_summary(job: Job, result: Result, console: Console, *, quiet: bool = False, verbose: bool = False) -> None:
    """Print the summary; with `quiet`, only the failures."""
    stats = result.stats
    if quiet:
        if stats.failed:
            console.print(plain(f"{_failed(stats)}, in {_where(result)}", "yellow"))
        return
    for name, text in _lines(job, result):
        style = "yellow" if name in ("generations", "failed") and stats.failed else ""
        console.print(Text.assemble((f"{name:<12}", "dim"), plain(text, style)))
    for note in [*_remarks(stats), *_chats_kept(result), *result.notes]:
        console.print(plain(note, "yellow"))
    if stats.failed:
        _print_failures(job, result, console, len(result.failures) if verbose else FAILURES_SHOWN)


def _lines(job: Job, result: Result) -> Iterator[tuple[str, str]]:
    stats = result.stats
    yield "rows", f"{stats.rows:,} in, {stats.rows_out:,} out"
    yield from step_counts.lines(stats.steps)
    if not job.task.calls_model:
        if stats.failed:
            yield "failed", _failed(stats)
        yield "time", duration(stats.seconds)
        yield "output", _where(result)
        return
    good = stats.generations - stats.failed
    yield "generations", f"{good:,} good" + (f", {_failed(stats)}" if stats.failed else "")
    yield "replies", _replies(job, stats)
    if stats.retries:
        yield "calls", f"{stats.calls:,}, {stats.retries:,} retried"
    yield "tokens", stats.tokens()
    if stats.priced:
        yield "cost", f"{money(stats.cost)}{_rate(job, stats)}"
    yield "time", duration(stats.seconds)
    yield "output", _where(result)


def _rate(job: Job, stats: Stats) -> str:
    if stats.server_costs and stats.server_costs == stats.completions:
        return " (reported by the server)"
    sent = f" ({several(stats.server_costs, 'reply')} reported by the server)" if stats.server_costs else ""
    known = known_of(job.llm, batch=job.batch)
    if known.price is None:
        return sent
    how = "in batches " if job.batch else ""
    return f"{sent} ({how}{rates(known.price)}, from {'the config' if known.origin == 'config' else known.origin})"


def _replies(job: Job, stats: Stats) -> str:
    if _is_offline(job):
        return f"{stats.completions:,} simulated, no model was called"
    kept = "; none are kept (--no-store)" if job.store is False else ""
    return f"{stats.completions:,} requested, {stats.stored:,} from the store{kept}"


def _is_offline(job: Job) -> bool:
    return job.llm.config.provider == "offline"


def _failed(stats: Stats) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in stats.failures.most_common())
    return f"{stats.failed:,} failed ({kinds})"


def _where(result: Result) -> str:
    return result.address or ("stdout" if result.output is None else str(result.output))


def _remarks(stats: Stats) -> Iterator[str]:
    if stats.cut:
        yield f"{several(stats.cut, 'reply')} cut at max_tokens: with a higher limit, only these are requested again"
    if stats.invalid_retries:
        yield f"{several(stats.invalid_retries, 'invalid reply')} retried"
    if stats.dropped:
        yield f"{several(stats.dropped, 'generation')} dropped by the task's `on_invalid`"
    if stats.skipped:
        yield f"{several(stats.skipped, 'row')} skipped as unreadable"


def _chats_kept(result: Result) -> Iterator[str]:
    """Yield a note if chats in the metadata are most of a large file."""
    share = result.stats.chat_share
    if share is None or share <= LARGE_SHARE or result.output is None:
        return
    size = result.output.stat().st_size
    if size >= LARGE_OUTPUT_BYTES:
        message = f"about {share:.0%} of the output's {size / 1e6:,.1f} MB"
        yield f"the chats in the metadata are {message}: `add_raw_input: false` in the task leaves them out"


def _print_failures(job: Job, result: Result, console: Console, most: int) -> None:
    shown, stats = result.failures[:most], result.stats
    console.print()
    for failed in shown:
        console.print(Text.assemble(plain(f"{_place(job, failed)}: "), plain(short(failed.message), "yellow")))
    more = result.stats.failed - len(shown)
    if more > 0:
        known = len(result.failures)
        listed = "all" if known == result.stats.failed else f"the first {known}"
        console.print(plain(f"and {more:,} more" + (f" (-v lists {listed})" if known > most else "")))
    column, key = job.shape.metadata_column, f"error_{'STEP' if stats.steps else job.task.name}"
    if job.shape.only_outputs:
        console.print(plain(f"failed rows are left out; --all-columns writes them, with the reason in `{column}`"))
    else:
        console.print(plain(f"each row holds the reason as `{key}` in `{column}`"))
    if job.task.calls_model:
        for way in _ways_on(job, result.stats):
            console.print(plain(way))


def _place(job: Job, failed: Failed) -> str:
    return f"{failed.place}, sample {failed.sample}" if job.shape.num_generations > 1 else failed.place


def _ways_on(job: Job, stats: Stats) -> Iterator[str]:
    """Yield a way to fix each type of failure."""
    unusable = sum(count for kind, count in stats.failures.items() if kind in UNUSABLE)
    of_the_row = sum(count for kind, count in stats.failures.items() if kind in OF_THE_ROW)
    unanswered = stats.failed - unusable - of_the_row
    if unanswered:
        yield f"run again to retry the {several(unanswered, 'generation')} without a reply"
    if unusable and not (isinstance(job.task.spec, TaskSpec) and job.task.spec.on_invalid.retry):
        yield (
            f"{several(unusable, 'reply')} could not be used: change the parser and run again (no requests are sent), "
            "or retry invalid replies with `on_invalid: {retry: 2}` in the task"
        )


def way_on(job: Job, error: RunError, typed: Sequence[str]) -> str:
    """Return how far an interrupted run came, what is kept, and the command that resumes it."""
    parts = []
    stats = error.stats
    if isinstance(error, Left):
        parts.append("the provider continues the batch, for up to a day")
    elif stats is not None:
        total = "" if stats.total is None else f" of {stats.total:,}"
        where = f", in {error.partial}" if error.partial is not None and stats.rows_out else ""
        parts.append(f"{stats.rows:,}{total} rows are done{where}")
        if stats.completions and not _is_offline(job) and job.store is False:
            parts.append("no replies are kept (--no-store): the next run requests everything again")
        elif stats.completions and isinstance(error, StoreError):
            parts.append("earlier replies are cached; those that could not be stored will be requested again")
        elif stats.completions and not _is_offline(job):
            parts.append("replies received so far are cached and will not be requested again")
    same = ", with the same rows on stdin" if job.source == "-" else ""
    lead = "to resume, run the same command"
    if error.exit_code != INTERRUPTED:
        lead = "fix this, then run the same command to resume"
    if isinstance(error, CostReached):
        lead = "to resume and spend up to the same amount again, run the same command"
        if stats is None or not stats.cost:
            lead = "to resume, run the same command with a higher --max-cost"
    if isinstance(error, Left):
        lead = "to check on the batch, run the same command"
    parts.append(f"{lead}{same}:\n\n  {shlex.join(['distask', *typed])}\n")
    return "\n".join(parts)


def as_json(job: Job, result: Result) -> dict[str, Any]:
    """Return the summary for programs."""
    return {
        "task": job.task.name,
        "model": job.llm.config.model if job.task.calls_model else None,
        "output": None if result.output is None else str(result.output),
        "address": result.address,
        "counts": result.stats.to_json(),
        "notes": result.notes,
        "first_failures": [
            {"place": f.place, "sample": f.sample, "kind": f.kind, "message": f.message} for f in result.failures
        ],
    }
