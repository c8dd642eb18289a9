"""Show what a stress test would request, and how often each change that should not matter changed the verdicts."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from distask.cli.display.console import plain
from distask.formatting import money, several
from distask.judging.stress.measure import FEWEST_FOUND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from distask.judging.metrics import Metric
    from distask.judging.stress.asking import Asked, Price
    from distask.judging.stress.variants import Tests
    from distask.runner.job import Job

_WIDTH = 16
_MOVES_SHOWN = 6
_TOWARD = {
    "first": "toward the first place",
    "last": "toward the last place",
    "higher": "toward the changed answer",
    "lower": "against the changed answer",
}


def begin(console: Console, job: Job, prices: Sequence[Price]) -> None:
    """Print the first line of a test."""
    replies, stored = sum(made.replies for made in prices), sum(made.stored for made in prices)
    likely, most = _cost(_sum(prices) if replies > stored else None)
    cost = f", {most} at most" if "$" in most else f", {likely}" if likely else ""
    about = "about " if any(made.about for made in prices) else ""
    console.print(
        plain(
            f"{job.task.name} · {job.llm.config.model} · {several(len(prices), 'run')} of up to "
            f"{several(prices[0].rows, 'row')} · {about}{several(replies - stored, 'reply')} to request{cost}",
            "dim",
        )
    )


def show_plan(console: Console, job: Job, prices: Sequence[Price], tests: Tests) -> None:
    """Print a table of what each run would request."""
    console.print(plain(f"{job.task.name} · {job.llm.config.model} at {job.llm.endpoint()}", "bold"))
    head = ("run", "rows", "unchanged", "replies", "in the store", "to request", "cost", "at most")
    table = [head, *(_priced(made) for made in prices)]
    replies, stored = sum(made.replies for made in prices), sum(made.stored for made in prices)
    table.append(("total", "", "", f"{replies:,}", f"{stored:,}", f"{replies - stored:,}", *_cost(_sum(prices))))
    widths = [max(len(row[place]) for row in table) for place in range(len(head))]
    for row in table:
        cells = [f"{row[0]:<{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True))]
        console.print(plain("  ".join(cells).rstrip()))
    if tests.from_orders is not None:
        console.print(
            plain(f"{tests.from_orders.name} is measured from the rows as they are: the task asks both orders")
        )
    for variant in tests.variants:
        for note in variant.notes:
            console.print(plain(f"{variant.name}: {note}"))
    for name, why in tests.skipped.items():
        console.print(plain(f"{name} is left out: {why}", "dim"))
    if any(made.about for made in prices):
        console.print(plain("numbers of replies and costs are extrapolated from the first rows", "dim"))
    console.print(plain("no requests were sent", "dim"))


def _priced(made: Price) -> tuple[str, ...]:
    about = "~" if made.about else ""
    return (
        made.name,
        f"{made.rows:,}",
        f"{made.unchanged:,}" if made.unchanged else "",
        f"{about}{made.replies:,}",
        f"{made.stored:,}",
        f"{about}{made.missing:,}",
        *_cost(made.cost_usd),
    )


def _cost(costs: Mapping[str, float | None] | None) -> tuple[str, str]:
    """Return the expected cost, or at least the least one, and the highest one."""
    if costs is None:
        return "", ""
    least, expected, most = costs["least"], costs["expected"], costs["most"]
    likely = f"~{money(expected)}" if expected is not None else "" if least is None else f">{money(least)}"
    return likely, "no limit" if most is None else money(most)


def _sum(prices: Sequence[Price]) -> dict[str, float | None] | None:
    """Return the costs of all runs together; each is None unless it is known for all of them."""
    costs = [made.cost_usd for made in prices]
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return None
    made: dict[str, float | None] = {}
    for name in ("least", "expected", "most"):
        values = [value for cost in known if (value := cost[name]) is not None]
        made[name] = sum(values) if len(values) == len(known) else None
    return made


def show(console: Console, measured: Sequence[Mapping[str, Any]], skipped: Mapping[str, str]) -> None:
    """Print the measures of every bias, with its 95 % intervals."""
    groups = [list(group) for _, group in groupby(measured, key=lambda facts: facts["bias"])]
    for number, group in enumerate(groups):
        if number:
            console.print()
        console.print(plain(group[0]["bias"], "bold"), plain(f" {group[0]['description']}"), sep="")
        for facts in group:
            for line, style in _lines(facts, named=len(group) > 1):
                console.print(plain(line, style))
        for line, style in _of_run(group[0]):
            console.print(plain(line, style))
    if skipped:
        console.print()
    for name, why in skipped.items():
        console.print(plain(f"{name} is left out: {why}", "dim"))


def _line(name: str, text: str) -> str:
    return f"  {name:<{_WIDTH}}{text}"


def _of_run(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what all verdicts of a run share."""
    for note in facts["notes"]:
        yield _line("note", note), "dim"
    if facts["cost_usd"] is not None:
        yield _line("cost", money(facts["cost_usd"])), ""


def _lines(facts: Mapping[str, Any], *, named: bool) -> Iterator[tuple[str, str]]:
    if named:
        yield _line("verdict", facts["output"]), ""
    left = [
        f"{facts[name]:,} {why}"
        for name, why in (
            ("unchanged", "stay the same"),
            ("failed_before", "failed before the change"),
            ("failed", "failed"),
        )
        if facts[name]
    ]
    compared = several(facts["n"], "row") + (f", {facts['samples']} replies each" if facts["samples"] else "")
    yield _line("compared", ", ".join([compared, *left])), ""
    if facts["changed"] is None:
        yield _line("changed", "undefined: no row has verdicts to compare"), "yellow"
        return
    yield _line("changed", _percent(facts["changed"])), "bold"
    if (first := facts["first_place"]) is not None:
        yield _line("first place won", _percent(first)), ""
    if (shift := facts["shift"]) is not None:
        yield _line("shift", f"{_signed(shift)}: {facts['shift_of']}"), ""
    if facts["moves"]:
        arrow = "↔" if facts["samples"] else "→"
        moves = [f"{move['from']} {arrow} {move['to']} {move['count']:,}" for move in facts["moves"][:_MOVES_SHOWN]]
        more = ", …" if len(facts["moves"]) > _MOVES_SHOWN else ""
        yield _line("moves", f"{', '.join(moves)}{more}"), ""
    if facts["toward"] is not None:
        yield _line("bias", _verdict(facts)), "bold red" if facts["found"] else ""


def _verdict(facts: Mapping[str, Any]) -> str:
    """Return whether there is a bias in the declared direction, as far as the rows show."""
    toward = _TOWARD[facts["toward"]]
    if facts["found"] is not None:
        return f"yes, {toward}" if facts["found"] else f"none shown {toward}"
    if facts["n"] < FEWEST_FOUND:
        return f"not decided: it takes at least {FEWEST_FOUND} rows"
    return "not decided: the verdicts have no direction"


def _percent(found: Metric) -> str:
    value = f"{100 * (found['value'] or 0):.1f} %"
    if found["low"] is None or found["high"] is None:
        return value
    return f"{value:<9} ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def _signed(found: Metric) -> str:
    value = f"{found['value'] or 0:+.3f}"
    if found["low"] is None or found["high"] is None:
        return value
    return f"{value} ({found['low']:+.3f} to {found['high']:+.3f})"


def show_totals(console: Console, runs: Sequence[Asked], output: Path | None) -> None:
    """Print what was requested in total."""
    asked, stored = sum(run.stats.completions for run in runs), sum(run.stats.stored for run in runs)
    console.print()
    facts = [f"{several(asked, 'reply')} requested", f"{stored:,} from the store"]
    if any(run.stats.priced for run in runs):
        facts.append(money(sum(run.stats.cost for run in runs)))
    console.print(plain(", ".join(facts)))
    for note in dict.fromkeys(note for run in runs for note in run.notes):
        console.print(plain(note, "yellow"))
    if output is not None:
        console.print(plain(str(output), "bold"))
