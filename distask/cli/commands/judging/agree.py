"""`distask agree`: measure how far judges agree with people, and estimate what people would say of all rows."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distask.cli import options as o
from distask.cli.display.console import err, out, plain
from distask.cli.events.emit import Events
from distask.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distask.judging.matching.items import Request
    from distask.judging.metrics import Settings
    from distask.judging.requirements import Requirement

NOT_MET = 3
"""Exit code if a requirement does not hold, or if an estimate is refused."""

_COLUMNS, _MEASURES, _GATE = "Columns", "Measures", "For CI"


@o.takes("delimiter", "on_nan", "on_bad_row", "seed")
def command(
    choice: o.Choice,
    result: Annotated[str, typer.Argument(metavar="OUT", help="Output of `distask run`, or any judged dataset.")],
    judge: Annotated[
        list[str],
        typer.Option(
            "--judge",
            metavar="COL",
            help="Column with the judge's values, or FILE:COL; repeat it to compare judges.",
            rich_help_panel=_COLUMNS,
        ),
    ],
    gold: Annotated[
        list[str] | None,
        typer.Option(
            "--gold",
            metavar="COL",
            help="Column with people's labels, or FILE:COL; repeat it for several annotators. Rows may lack it.",
            rich_help_panel=_COLUMNS,
        ),
    ] = None,
    by: o.By = None,
    annotator: Annotated[
        str | None,
        typer.Option(
            "--annotator",
            metavar="COL",
            help="Column that names who labelled a row. [the one that `distask label` writes]",
            rich_help_panel=_COLUMNS,
        ),
    ] = None,
    swapped: Annotated[
        str | None,
        typer.Option(
            "--swapped",
            metavar="COL",
            help="Column with the judge's preference when the answers are shown in the other order.",
            rich_help_panel=_COLUMNS,
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="COL",
            help="Column that groups rows that are not independent, such as a document.",
            rich_help_panel=_COLUMNS,
        ),
    ] = None,
    slice_: Annotated[
        list[str] | None,
        typer.Option(
            "--slice",
            metavar="COL",
            help="Column whose values are also measured one by one; can be repeated.",
            rich_help_panel=_COLUMNS,
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="nominal, ordinal, number, preference, multilabel, ranking or probability. [from the task's types, or "
            "from the values]",
            rich_help_panel=_MEASURES,
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale",
            metavar="STEPS",
            help="Steps of an ordered scale, lowest first: 1..5, or poor,fair,good. [from the task]",
            rich_help_panel=_MEASURES,
        ),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(
            "--positive",
            metavar="LABEL",
            help="Label whose share --estimate computes, or whose probability the judge gives. [true, yes, pass …]",
            rich_help_panel=_MEASURES,
        ),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Estimate the mean or the share over all judged rows, corrected by the labels.",
            rich_help_panel=_MEASURES,
        ),
    ] = False,
    resamples: o.Resamples = 2000,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require",
            metavar="COND",
            help="Condition such as 'kappa.low >= 0.6', for every judge; exit with 3 if it does not hold. Can be "
            "repeated.",
            rich_help_panel=_GATE,
        ),
    ] = None,
    json_: o.Json = False,
) -> None:
    """Measure how far a judge agrees with people's labels, with a 95 % interval for each measure.

    Without --gold, the replies to each row are compared with each other.
    """
    from distask.judging.matching.items import Request
    from distask.judging.metrics import Settings
    from distask.judging.requirements import parse_requirement

    requirements = [parse_requirement(text, with_estimate=estimate) for text in require or ()]
    if not gold and (estimate or requirements or slice_):
        option = "--estimate" if estimate else "--require" if requirements else "--slice"
        raise UsageError(f"{option} needs people's labels; name their column with --gold")
    settings = Settings(
        kind=_kind(kind),
        steps=_steps(scale),
        positive=positive,
        seed=choice.seed,
        resamples=resamples,
        clustered=cluster is not None,
        slices=tuple(slice_ or ()),
    )
    request = Request(
        result,
        tuple(judge),
        tuple(gold or ()),
        by=tuple(by or ()),
        swapped=swapped,
        cluster=cluster,
        slices=settings.slices,
        annotator=annotator,
        options=o.read_options(choice.on_nan, choice.delimiter),
        on_bad_row=choice.on_bad_row.value,
    )
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # products with few columns: more threads mostly wait
    with _status():
        agreements, estimates = _measured(request, settings, estimate=estimate)
    failed = _unmet(agreements, estimates, requirements)
    refused = any(found is not None and found["corrected"] is None for found in estimates)
    code = NOT_MET if failed or refused else 0
    if json_:
        events = Events("agree")
        for number, agreement in enumerate(agreements):
            events.emit("agreement", **agreement)
            if (found := estimates[number]) is not None:
                events.emit("estimate", **found)
        events.result(code, ok=not code, judges=len(agreements), unmet=failed)
    else:
        from distask.cli.display.agreement import show

        show(out(), agreements, estimates)
        for sentence in failed:
            err().print(plain(f"not met: {sentence}", "bold red"))
    if code:
        raise typer.Exit(code)


def _measured(
    request: Request, settings: Settings, *, estimate: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any] | None]]:
    """Return the facts of the events of each judge, best first."""
    from distask.judging.comparison import compare_judges
    from distask.judging.consistency import compare_replies
    from distask.judging.matching.items import match
    from distask.judging.sampled import estimate_pool

    matched = match(request)
    if not request.gold:
        found = [compare_replies(matched, number, settings) for number in range(len(matched.judges))]
        return found, [None] * len(found)
    agreements = compare_judges(matched, settings)
    names = [str(judge) for judge in matched.judges]
    return [agreement.event() for agreement in agreements], [
        estimate_pool(matched, agreement, names.index(agreement.judge), settings) if estimate else None
        for agreement in agreements
    ]


def _unmet(
    agreements: Sequence[dict[str, Any]],
    estimates: Sequence[dict[str, Any] | None],
    requirements: Sequence[Requirement],
) -> list[str]:
    """Return a sentence for each condition that does not hold."""
    return [
        why if len(agreements) == 1 else f"{agreement['judge']}: {why}"
        for agreement, estimate in zip(agreements, estimates, strict=True)
        for requirement in requirements
        if (why := requirement.check(agreement, estimate)) is not None
    ]


def _kind(text: str | None) -> Any:
    from distask.diagnostics import did_you_mean
    from distask.judging.scales import KINDS

    if text is not None and text not in KINDS:
        raise UsageError(f"--kind {text}: there is no such kind; {did_you_mean(text, KINDS)}")
    return text


def _steps(text: str | None) -> tuple[str, ...]:
    """Parse `1..5` or `poor,fair,good`."""
    from distask.judging.scales import MAX_STEPS

    if text is None:
        return ()
    low, dots, high = text.partition("..")
    if dots:
        try:
            first, last = int(low), int(high)
        except ValueError:
            raise UsageError(f"--scale {text}: write whole numbers, such as 1..5") from None
        if not 1 <= last - first < MAX_STEPS:
            raise UsageError(f"--scale {text}: a scale has 2 to {MAX_STEPS} steps, lowest first")
        return tuple(str(step) for step in range(first, last + 1))
    steps = tuple(step.strip() for step in text.split(","))
    if len(steps) < 2 or "" in steps or len(set(steps)) < len(steps):
        raise UsageError(f"--scale {text}: write at least 2 different steps, lowest first, such as poor,fair,good")
    return steps


@contextlib.contextmanager
def _status() -> Iterator[None]:
    """Show on a terminal that work is in progress."""
    console = err()
    with console.status(plain("reading and measuring", "dim")) if console.is_terminal else contextlib.nullcontext():
        yield
