"""`distask report`: a result, or two of them side by side, as one HTML page."""

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

ENDING = ".report.html"
_DATA_ENDINGS = frozenset({".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".gz", ".zst", ".partial"})


def command(
    result: Annotated[str, typer.Argument(metavar="OUT", help="What `distask run` wrote.")],
    other: Annotated[
        str | None, typer.Argument(metavar="[OUT2]", help="Another run's, to compare with row by row.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PAGE", help="The page. [OUT.report.html, beside OUT]"),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="COL",
            help="Match the rows of two results by this column, as often as you like. [the columns of the input]",
        ),
    ] = None,
    lower_is_better: Annotated[
        list[str] | None,
        typer.Option(
            "--lower-is-better", metavar="COL", help="Of two results: a lower number in this column is the better one."
        ),
    ] = None,
    most_rows: Annotated[
        int,
        typer.Option("--max-rows", min=1, metavar="N", help="Rows in the page's table; counts are of all. [200,000]"),
    ] = 200_000,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a PAGE that is no report.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    json_: o.Json = False,
) -> None:
    """Make a page of a result, or of what changed between two: summary, failures, distributions, and all rows.

    The page is one file that asks nothing of any network; whoever gets it needs a browser and no distask.
    """
    if other is None and (by or lower_is_better):
        raise UsageError("--by and --lower-is-better compare two results; name the second one behind the first")
    page = output or _page(result, other)
    if not page.parent.is_dir():
        raise UsageError(f"{page}: there is no folder {page.parent}")
    from distask.report.page import refuse_to_replace

    refuse_to_replace(page, overwrite=overwrite)
    with _told("reading, and counting"):
        facts = _written(result, other, page, by or [], lower_is_better or [], most_rows)
    if json_:
        size = facts.pop("size")
        Events("report").result(page=str(page), size=size, facts=facts)
    else:
        _tell(page, facts)
    if open_:
        typer.launch(page.resolve().as_uri())


def _written(
    result: str, other: str | None, page: Path, by: list[str], lower_is_better: list[str], most_rows: int
) -> dict[str, Any]:  # fmt: skip
    if other is None:
        from distask.report.single import write_report

        return write_report(result, page, most_rows=most_rows)
    from distask.report.compare.comparison import write_comparison

    return write_comparison(result, other, page, by=by, lower_is_better=lower_is_better, most_rows=most_rows)


def _page(result: str, other: str | None) -> Path:
    """Beside the first result, where that is a file of this machine."""
    folder = Path(result).parent if Path(result).exists() else Path()
    name = _stem(result) if other is None else f"{_stem(result)}.{_stem(other)}"
    return folder / f"{name}{ENDING}"


def _stem(source: str) -> str:
    path = Path(source)
    while path.suffix in _DATA_ENDINGS:
        path = path.with_suffix("")
    return path.name.replace("*", "all").replace("@", "-") or "result"


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Say on a terminal that something goes on."""
    console = err()
    with console.status(plain(what, "dim")) if console.is_terminal else contextlib.nullcontext():
        yield


def _tell(page: Path, facts: dict[str, Any]) -> None:
    console = out()
    size = f"{facts['size'] / 1e6:,.1f} MB"
    console.print(Text.assemble(plain(str(page), "bold"), plain(f"  {_counts(facts)}, {size}")))
    if facts["kept"] is not None:
        kept = facts["kept"]["rows"]
        said = f"its table holds {kept:,} of the rows, its counts are of all; --max-rows {facts['rows']} takes all"
        err().print(plain(said, "yellow"))


def _counts(facts: dict[str, Any]) -> str:
    if "changes" in facts:
        changed = [f"{c['pairs'] - c['ways']['same']:,} {c['name']}" for c in facts["changes"]]
        return f"{several(facts['matched'], 'row')} in both, changed: {', '.join(changed) or 'nothing'}"
    failed = f", {facts['failed']:,} of {facts['replies']:,} replies failed" if facts["replies"] else ""
    return f"{several(facts['rows'], 'row')}{failed}"
