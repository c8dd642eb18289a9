"""`distask report`: show a result, or compare two, as one HTML page."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from distask.cli import options as o  # noqa: TC001 - typer reads the annotations
from distask.cli.display.console import err, out, plain
from distask.cli.events.emit import Events
from distask.errors import UsageError
from distask.formatting import several

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distask.report.people import Labels

ENDING = ".report.html"
_DATA_ENDINGS = frozenset({".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".gz", ".zst", ".partial"})


def command(
    result: Annotated[str, typer.Argument(metavar="OUT", help="Output of `distask run`.")],
    other: Annotated[
        str | None, typer.Argument(metavar="[OUT2]", help="Output of another run, to compare row by row.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PAGE", help="Page to write. [OUT.report.html next to OUT]"),
    ] = None,
    by: o.By = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="People's labels, from `distask label`: the page shows how far OUT agrees with them; can be repeated.",
        ),
    ] = None,
    gold: Annotated[
        str | None,
        typer.Option(
            "--gold",
            metavar="COL",
            help="Column with people's labels, in FILE or in OUT. [the columns that the task makes]",
        ),
    ] = None,
    judge: Annotated[
        str | None, typer.Option("--judge", metavar="COL", help="Column to compare with --gold. [the same name]")
    ] = None,
    lower_is_better: Annotated[
        list[str] | None,
        typer.Option(
            "--lower-is-better", metavar="COL", help="Column in which lower is better when two results are compared."
        ),
    ] = None,
    most_rows: Annotated[
        int,
        typer.Option(
            "--max-rows",
            min=1,
            metavar="N",
            help="Maximum number of rows in the table; counts cover all rows. [200,000]",
        ),
    ] = 200_000,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a PAGE that is not a report.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    json_: o.Json = False,
) -> None:
    """Write an HTML page about a result, or about what changed between two: summary, failures, distributions and rows.

    The page is a single file that opens in any browser and loads nothing from the network.
    """
    people = _labels(labels, gold, judge, by)
    if other is not None and people is not None:
        raise UsageError("--labels and --gold need one result; `distask agree` compares several judges with people")
    if other is None and (lower_is_better or (by and people is None)):
        raise UsageError("--by and --lower-is-better need two results; add the second one after the first")
    page = output or _page(result, other)
    if not page.parent.is_dir():
        raise UsageError(f"{page}: the folder {page.parent} does not exist; create it or choose another with --output")
    from distask.report.page import refuse_to_replace

    refuse_to_replace(page, overwrite=overwrite)
    with _status("reading and counting rows"):
        facts = _written(result, other, page, by or [], lower_is_better or [], most_rows, people)
    if json_:
        size = facts.pop("size")
        Events("report").result(page=str(page), size=size, facts=facts)
    else:
        _print_summary(page, facts)
    if open_:
        typer.launch(page.resolve().as_uri())


def _labels(labels: list[str] | None, gold: str | None, judge: str | None, by: list[str] | None) -> Labels | None:
    if not labels and gold is None:
        if judge is not None:
            raise UsageError("--judge needs people's labels; add --labels FILE or --gold COL")
        return None
    from distask.report.people import Labels

    return Labels(labels or (), gold, judge, by or ())


def _written(
    result: str,
    other: str | None,
    page: Path,
    by: list[str],
    lower_is_better: list[str],
    most_rows: int,
    labels: Labels | None,
) -> dict[str, Any]:
    if other is None:
        from distask.report.single import write_report

        return write_report(result, page, most_rows=most_rows, labels=labels)
    from distask.report.compare.comparison import write_comparison

    return write_comparison(result, other, page, by=by, lower_is_better=lower_is_better, most_rows=most_rows)


def _page(result: str, other: str | None) -> Path:
    """Return the default page: next to the first result if that is a local file."""
    folder = Path(result).parent if Path(result).exists() else Path()
    name = _stem(result) if other is None else f"{_stem(result)}.{_stem(other)}"
    return folder / f"{name}{ENDING}"


def _stem(source: str) -> str:
    path = Path(source)
    while path.suffix in _DATA_ENDINGS:
        path = path.with_suffix("")
    return path.name.replace("*", "all").replace("@", "-") or "result"


@contextlib.contextmanager
def _status(what: str) -> Iterator[None]:
    """Show on a terminal that work is in progress."""
    console = err()
    with console.status(plain(what, "dim")) if console.is_terminal else contextlib.nullcontext():
        yield


def _print_summary(page: Path, facts: dict[str, Any]) -> None:
    console = out()
    size = f"{facts['size'] / 1e6:,.1f} MB"
    console.print(Text.assemble(plain(str(page), "bold"), plain(f"  {_counts(facts)}, {size}")))
    for sentence in _differences(facts):
        console.print(plain(sentence))
    if facts["kept"] is not None:
        kept = facts["kept"]["rows"]
        note = f"the table holds {kept:,} of the rows, the counts cover all; --max-rows {facts['rows']} shows all rows"
        err().print(plain(note, "yellow"))


def _differences(facts: dict[str, Any]) -> Iterator[str]:
    """Yield how far people agree with a result, or each difference of two results that is more than chance."""
    for card in facts.get("trust", ()):
        main = next((metric for metric in card["metrics"] if metric["name"] == card["main"]), None)
        measured = "" if main is None else f", {main['name']} {main['value']:.3f}"
        if main is not None and main["low"] is not None:
            measured += f" ({main['low']:.3f} to {main['high']:.3f})"
        yield f"{card['name']}: {card['differing']:,} of {card['opinions']:,} verdicts differ{measured}"
    for change in facts.get("changes", ()):
        if (found := change["difference"]) is not None and found["is_clear"]:
            yield f"{change['name']}: {found['value']:+.3g} on average, 95 % interval {_interval(found, 1)}"
        for share in change["shares"]:
            if share["is_clear"]:
                p = "< 0.001" if share["mcnemar"] < 0.001 else f"= {share['mcnemar']:.3f}"
                note = f"{change['name']}: {100 * share['value']:+.1f} points of `{share['label']}`"
                yield f"{note}, 95 % interval {_interval(share, 100)}, McNemar p {p}"


def _interval(found: dict[str, Any], factor: int) -> str:
    return f"{factor * found['low']:+.3g} to {factor * found['high']:+.3g}"


def _counts(facts: dict[str, Any]) -> str:
    if "changes" in facts:
        changed = [f"{c['pairs'] - c['ways']['same']:,} {c['name']}" for c in facts["changes"]]
        return f"{several(facts['matched'], 'row')} in both, changed: {', '.join(changed) or 'nothing'}"
    failed = f", {facts['failed']:,} of {facts['replies']:,} replies failed" if facts["replies"] else ""
    return f"{several(facts['rows'], 'row')}{failed}"
