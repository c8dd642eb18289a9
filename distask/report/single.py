"""Write the page about one result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.errors import InputError
from distask.report.about import about, latency, notices, steps, tiles
from distask.report.blocks import Blocks
from distask.report.page import write_page
from distask.report.people import Labels, Trust, compare_with_people, keep_lines
from distask.report.result import Result
from distask.report.tally import MOST_ROWS, ResultTally

if TYPE_CHECKING:
    from pathlib import Path

MEASURE_TITLES = {
    "failure": "Failure",
    "finish_reason": "How replies ended",
    "input_tokens": "Tokens of a chat",
    "output_tokens": "Tokens of a reply",
}


def write_report(
    source: str, path: Path, *, most_rows: int = MOST_ROWS, labels: Labels | None = None
) -> dict[str, Any]:  # fmt: skip
    """Write the page about an output and return the statistics, with the page's `size` in bytes.

    Args:
        source: the output: a file, or any other source of rows.
        path: the page.
        most_rows: maximum rows in the page's table; counts cover all rows.
        labels: people's labels to compare the output with.

    Raises:
        InputError: the output or the labels can't be read.
        UsageError: the labels can't be compared with the output.
        OutputError: the page can't be written.
    """
    result = Result(source)
    if labels is not None:
        keep_lines(result)
    tally = ResultTally(result, most_rows)
    with Blocks() as blocks:
        tally.count(blocks)
        if not tally.rows:
            raise InputError(f"{source}: the input has no rows")
        facts = {**tally.facts(), "trust": []}
        index = tally.index()
        trust = None if labels is None else compare_with_people(result, labels)
        if trust is not None:
            facts["trust"] = trust.cards
            measures, index["people"] = trust.index(result.lines or (), tally.kept)
            index["measures"] |= measures
        page = _page(result, tally, facts, blocks, trust)
        size = write_page(path, "result.html", page, index, blocks)
    return {**facts, "size": size}


def _page(
    result: Result, tally: ResultTally, facts: dict[str, Any], blocks: Blocks, trust: Trust | None
) -> dict[str, Any]:  # fmt: skip
    outputs = sum(column["role"] == "output" for column in facts["columns"])
    parts = [_part("summary", "Summary"), _part("columns", "Columns", outputs), _part("rows", "Rows", tally.rows)]
    if tally.replies:
        parts.insert(1, _part("failures", "Failures", facts["failed"], bad=bool(facts["failed"])))
    if trust is not None:
        differing = sum(card["differing"] for card in trust.cards)
        parts.insert(1, _part("trust", "People", differing, bad=bool(differing)))
    if facts["agreement"]:
        parts.insert(-1, _part("agreement", "Agreement"))
    return {
        "what": "result",
        "title": result.task or result.name,
        "subtitle": result.name,
        "parts": parts,
        "about": about(result),
        "tiles": tiles(result, tally),
        "notices": list(notices(result, tally, blocks.cut_rows, blocks.short_from)),
        "latency": latency(result),
        "steps": steps(result),
        "metadata_column": result.metadata_column,
        "export_name": f"{result.name.partition('.')[0]}.filtered.jsonl",
        **facts,
        "columns": [{**column, "place": place} for place, column in enumerate(facts["columns"])],
        "measures": {
            **{name: {**measure, "title": MEASURE_TITLES[name]} for name, measure in facts["measures"].items()},
            **({} if trust is None else trust.measures()),
        },
    }


def _part(name: str, title: str, count: int | None = None, *, bad: bool = False) -> dict[str, Any]:
    return {"name": name, "title": title, "count": count, "bad": bad}
