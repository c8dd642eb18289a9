"""Say how a run ended, and how to go on."""

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
INTERRUPTED = 130
UNUSABLE = frozenset({"invalid", "type", "check", "empty", "refusal", "parse_timeout"})
"""Failures of a reply that came: it is in the store, and the next run reads it again."""
OF_THE_ROW = frozenset(
    {"bad_row", "missing_column", "null_input", "wrong_type", "template", "image", "audio", "file", "splice"}
)
"""Failures of the data: nothing was asked."""


def tell(job: Job, result: Result, console: Console, *, quiet: bool = False, verbose: bool = False) -> None:
    """Print the summary; where it is to be quiet, only what failed."""
    stats = result.stats
    if quiet:
        if stats.failed:
            console.print(plain(f"{_failed(stats)}, in {_where(result)}", "yellow"))
        return
    for name, text in _lines(job, result):
        style = "yellow" if name == "generations" and stats.failed else ""
        console.print(Text.assemble((f"{name:<12}", "dim"), plain(text, style)))
    for note in [*_remarks(stats), *result.notes]:
        console.print(plain(note, "yellow"))
    if stats.failed:
        _tell_failures(job, result, console, len(result.failures) if verbose else FAILURES_SHOWN)


def _lines(job: Job, result: Result) -> Iterator[tuple[str, str]]:
    stats = result.stats
    yield "rows", f"{stats.rows:,} in, {stats.rows_out:,} out"
    yield from step_counts.lines(stats.steps)
    good = stats.generations - stats.failed
    yield "generations", f"{good:,} good" + (f", {_failed(stats)}" if stats.failed else "")
    yield "replies", _replies(job, stats)
    if stats.retries:
        yield "calls", f"{stats.calls:,}, of them {stats.retries:,} tried again"
    yield "tokens", stats.tokens()
    if stats.priced:
        yield "cost", f"{money(stats.cost)}{_rate(job, stats)}"
    yield "time", duration(stats.seconds)
    yield "output", _where(result)


def _rate(job: Job, stats: Stats) -> str:
    if stats.server_costs and stats.server_costs == stats.completions:
        return " (as the server reports it)"
    sent = f" ({several(stats.server_costs, 'reply')} as the server reports it)" if stats.server_costs else ""
    known = known_of(job.llm, batch=job.batch)
    if known.price is None:
        return sent
    how = "in batches " if job.batch else ""
    return f"{sent} ({how}{rates(known.price)}, says {'the config' if known.origin == 'config' else known.origin})"


def _replies(job: Job, stats: Stats) -> str:
    if _is_offline(job):
        return f"{stats.completions:,} made up, no model was asked"
    kept = "; none is kept (--no-store)" if job.store is False else ""
    return f"{stats.completions:,} asked for, {stats.stored:,} from the store{kept}"


def _is_offline(job: Job) -> bool:
    return job.llm.config.provider == "offline"


def _failed(stats: Stats) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in stats.failures.most_common())
    return f"{stats.failed:,} failed ({kinds})"


def _where(result: Result) -> str:
    return result.address or ("stdout" if result.output is None else str(result.output))


def _remarks(stats: Stats) -> Iterator[str]:
    if stats.cut:
        yield f"{several(stats.cut, 'reply')} cut at max_tokens: with a higher limit, only these are asked for again"
    if stats.invalid_retries:
        yield f"{several(stats.invalid_retries, 'invalid reply')} asked for again"
    if stats.dropped:
        yield f"{several(stats.dropped, 'generation')} dropped, as the task's `on_invalid` says"
    if stats.skipped:
        yield f"{several(stats.skipped, 'row')} could not be read, and left out"


def _tell_failures(job: Job, result: Result, console: Console, most: int) -> None:
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
    console.print(plain(f"each has its reason in its row, as `{key}` in `{column}`"))
    for way in _ways_on(job, result.stats):
        console.print(plain(way))


def _place(job: Job, failed: Failed) -> str:
    return f"{failed.place}, sample {failed.sample}" if job.shape.num_generations > 1 else failed.place


def _ways_on(job: Job, stats: Stats) -> Iterator[str]:
    """What the next run can do for each sort of failure."""
    unusable = sum(count for kind, count in stats.failures.items() if kind in UNUSABLE)
    of_the_row = sum(count for kind, count in stats.failures.items() if kind in OF_THE_ROW)
    unanswered = stats.failed - unusable - of_the_row
    if unanswered:
        yield f"run again to ask once more for the {several(unanswered, 'generation')} without a reply"
    if unusable and not (isinstance(job.task.spec, TaskSpec) and job.task.spec.on_invalid.retry):
        yield (
            f"{several(unusable, 'reply')} could not be used: change the parser and run again, which asks nothing; "
            "or let the task ask again, with `on_invalid: {retry: 2}`"
        )


def way_on(job: Job, error: RunError, typed: Sequence[str]) -> str:
    """How far a run came that ended early, what is kept, and the command that goes on."""
    said = []
    stats = error.stats
    if isinstance(error, Left):
        said.append("the provider goes on with it, for a day at the most")
    elif stats is not None:
        total = "" if stats.total is None else f" of {stats.total:,}"
        where = f", in {error.partial}" if error.partial is not None and stats.rows_out else ""
        said.append(f"{stats.rows:,}{total} rows are done{where}")
        if stats.completions and not _is_offline(job) and job.store is False:
            said.append("no reply is kept (--no-store): to run again is to ask for everything again")
        elif stats.completions and isinstance(error, StoreError):
            said.append("the replies before are in the store; those that it could not take will be asked for again")
        elif stats.completions and not _is_offline(job):
            said.append("every reply that came is in the store and will not be asked for again")
    same = ", with the same rows on stdin" if job.source == "-" else ""
    lead = "to go on" if error.exit_code == INTERRUPTED else "when that is mended, the same command goes on"
    if isinstance(error, CostReached):
        lead = "the same command goes on, and may spend as much again"
        if stats is None or not stats.cost:
            lead = "with a higher --max-cost, the same command goes on"
    if isinstance(error, Left):
        lead = "the same command comes back to it"
    said.append(f"{lead}{same}:\n\n  {shlex.join(['distask', *typed])}\n")
    return "\n".join(said)


def as_json(job: Job, result: Result) -> dict[str, Any]:
    """The summary for programs."""
    return {
        "task": job.task.name,
        "model": job.llm.config.model,
        "output": None if result.output is None else str(result.output),
        "address": result.address,
        "counts": result.stats.to_json(),
        "notes": result.notes,
        "first_failures": [
            {"place": f.place, "sample": f.sample, "kind": f.kind, "message": f.message} for f in result.failures
        ],
    }
