"""Write the page about two results: the changes row by row, and their direction."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from distask.diagnostics import did_you_mean
from distask.errors import InputError, UsageError
from distask.formatting import amount, money, several
from distask.report.about import about, brief
from distask.report.blocks import Blocks
from distask.report.compare.changes import ChangeTally, coded
from distask.report.compare.pairs import Pair, pairs
from distask.report.compare.spill import SpillFile
from distask.report.page import write_page
from distask.report.result import Result
from distask.report.spending import Spending
from distask.report.tally import BATCH_BYTES, BATCH_ROWS, MOST_FAILED, MOST_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from distask.report.result import ResultRow

ONLY = ("only in A", "only in B")
FATES = {
    (True, True): "good in both",
    (True, False): "failure gained",
    (False, True): "failure lost",
    (False, False): "failed in both",
}
"""Names for whether each row of a pair succeeded."""


class ComparisonTally:
    """All counts of two results."""

    def __init__(self, first: Result, second: Result, lower_is_better: Sequence[str] = ()) -> None:
        self.results = (first, second)
        self._lower = lower_is_better
        self._spill = SpillFile()
        self.columns: dict[str, ChangeTally] = {}
        self._other_columns: set[str] = set()
        """Columns that are not compared."""
        self.rows = 0
        """Pairs, and rows without a match."""
        self.fates: Counter[str] = Counter()
        """How the pairs ended."""
        self._fate_of: list[str] = []
        """The same for each pair on the page."""
        self.kinds: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        """The failures of matched rows, for each side."""
        self.spending = (Spending(first.record), Spending(second.record))
        self.replies = [0, 0]
        self.kept: list[int] | None = None
        self.step = 1
        self._spared = 0
        self._batch: list[bool] = []
        """Whether each pair of the batch is on the page."""
        self._batch_bytes = 0

    def count(self, matched: Iterator[Pair], blocks: Blocks, most_rows: int) -> None:
        """Count all pairs."""
        total = max(result.count() for result in self.results)
        if total > most_rows:
            self.step, self.kept = -(-total // most_rows), []
        for pair in matched:
            self._add(pair, blocks)
            if len(self._batch) >= BATCH_ROWS or self._batch_bytes >= BATCH_BYTES:
                self._flush()
        self._flush()
        blocks.finish()

    def _add(self, pair: Pair, blocks: Blocks) -> None:
        fate = _fate(pair)
        self.fates[fate] += 1
        is_on_page = self._keeps(self.rows, changed=fate != FATES[True, True])
        self._add_replies(pair)
        self._add_values(pair)
        if is_on_page:
            self._fate_of.append(fate)
            blocks.add(pair.line)
        self.rows += 1
        self._batch.append(is_on_page)
        self._batch_bytes += pair.size

    def _flush(self) -> None:
        """Count the batch."""
        for tally in self.columns.values():
            tally.flush(self._batch)
        self._batch = []
        self._batch_bytes = 0

    def _keeps(self, number: int, *, changed: bool) -> bool:
        if self.kept is None:
            return True
        spared = bool(number % self.step)
        if spared and not (changed and self._spared < MOST_FAILED):
            return False
        self._spared += spared
        self.kept.append(number)
        return True

    def _add_values(self, pair: Pair) -> None:
        first, second = pair.first, pair.second
        if first is None or second is None:
            for tally in self.columns.values():
                tally.add_alone()
            return
        before, after = first.values, second.values
        for name in (*before, *after):
            if name not in self.columns and name not in self._other_columns:
                self._add_column(name)
        grouped = first.grouped and second.grouped
        for name, tally in self.columns.items():
            tally.add(before.get(name), after.get(name), grouped=grouped)

    def _add_column(self, name: str) -> None:
        if not all(result.role(name) == "output" for result in self.results):
            self._other_columns.add(name)
            return
        self.columns[name] = tally = ChangeTally(name, self._spill, lower_is_better=name in self._lower)
        tally.skip(len(self._fate_of) - sum(self._batch))
        for _ in self._batch:
            tally.add_alone()

    def _add_replies(self, pair: Pair) -> None:
        is_matched = pair.first is not None and pair.second is not None
        for side, row in enumerate((pair.first, pair.second)):
            for reply in row.replies if row is not None else ():
                self.replies[side] += 1
                self.spending[side].add(reply.usage)
                if is_matched and reply.kind is not None:
                    self.kinds[side][reply.kind] += 1

    def facts(self) -> dict[str, Any]:
        """Return all statistics of the two results."""
        alone = [self.fates[only] for only in ONLY]
        return {
            "rows": self.rows,
            "matched": self.rows - sum(alone),
            "alone": alone,
            "fates": {name: self.fates[name] for name in FATES.values()},
            "kinds": [
                {"kind": kind, "counts": [side[kind] for side in self.kinds]}
                for kind in sorted({*self.kinds[0], *self.kinds[1]}, key=lambda k: (-sum(s[k] for s in self.kinds), k))
            ],
            "changes": [tally.facts() for tally in self.columns.values()],
            "kept": None if self.kept is None else {"rows": len(self.kept), "step": self.step},
        }

    def index(self) -> dict[str, Any]:
        """Return what the page sorts and filters by, a row for each pair: see `ColumnTally.index`."""
        made = [tally.index() for tally in self.columns.values()]
        ways = {f"way {name}": way for name, (_, way) in zip(self.columns, made, strict=True)}
        return {
            "rows": self.rows if self.kept is None else self.kept,
            "groups": None,
            "columns": [change for change, _ in made],
            "measures": {"fate": coded(self._fate_of), **ways},
        }


def write_comparison(
    first: str,
    second: str,
    path: Path,
    *,
    by: Sequence[str] = (),
    lower_is_better: Sequence[str] = (),
    most_rows: int = MOST_ROWS,
) -> dict[str, Any]:
    """Write the page about two outputs and return the statistics, with the page's `size` in bytes.

    Args:
        first: the earlier output.
        second: the later output.
        path: the page.
        by: the columns to match rows by, instead of the input columns.
        lower_is_better: columns for which lower numbers are better.
        most_rows: maximum rows in the page's table; counts cover all rows.

    Raises:
        InputError: an output can't be read, or has no row in common with the other.
        UsageError: there is no column to match rows by, or a named column does not exist.
        OutputError: the page can't be written.
    """
    results = Result(first), Result(second)
    tally = ComparisonTally(*results, lower_is_better)
    with Blocks() as blocks:
        tally.count(pairs(*results, by), blocks, most_rows)
        facts = tally.facts()
        if not facts["matched"]:
            raise InputError(
                f"no row of {first} matches a row of {second}. If the input is the same, use "
                "--by to name the columns to match rows by"
            )
        for name in lower_is_better:
            if name not in tally.columns:
                close = did_you_mean(name, tally.columns)
                raise UsageError(
                    f"no column `{name}` was made by both results; {close or 'the page lists the columns'}"
                )
        size = write_page(path, "comparison.html", _page(tally, facts, blocks), tally.index(), blocks)
    return {**facts, "size": size}


def _page(tally: ComparisonTally, facts: dict[str, Any], blocks: Blocks) -> dict[str, Any]:
    results = tally.results
    changes = [{**change, "place": place} for place, change in enumerate(facts["changes"])]
    sides = [about(result) for result in results]
    names = _names(*results)
    ways = {
        f"way {change['name']}": {"name": change["name"], "title": f"{change['name']}: which way", "kind": "label"}
        for change in changes
    }
    return {
        "what": "comparison",
        "title": results[0].task or "two results",
        "subtitle": f"{names[0]} → {names[1]}",
        "names": names,
        "parts": [
            {"name": "summary", "title": "Summary", "count": None, "bad": False},
            {"name": "columns", "title": "Changes", "count": len(changes), "bad": False},
            {"name": "rows", "title": "Rows", "count": facts["rows"], "bad": False},
        ],
        "sides": sides,
        "differing": sorted({name for name, _ in set(sides[0]["made"]) ^ set(sides[1]["made"])}),
        "tiles": list(_tiles(tally)),
        "notices": list(_notices(tally, facts, blocks)),
        "metadata_column": results[0].metadata_column,
        "export_name": "pairs.filtered.jsonl",
        "columns": [{**change, "role": "output", "title": change["name"]} for change in changes],
        "measures": {"fate": {"name": "fate", "title": "State", "kind": "label"}, **ways},
        **facts,
        "changes": changes,
    }


def _names(first: Result, second: Result) -> list[str]:
    """Return the names of the two results on the page: their file names, or their paths if the file names are equal."""
    if first.name != second.name:
        return [first.name, second.name]
    return [result.source for result in (first, second)]


def _tiles(tally: ComparisonTally) -> Iterator[dict[str, str]]:
    counts = [(result.record or {}).get("counts") or {} for result in tally.results]
    yield {
        "name": "Tokens",
        "was": amount(tally.spending[0].tokens),
        "now": amount(tally.spending[1].tokens),
        "told": "in all rows",
    }
    for name, part in (("Cached tokens", "cached_tokens"), ("Reasoning tokens", "reasoning_tokens")):
        was, now = (getattr(spending, part) for spending in tally.spending)
        if was or now:
            yield {"name": name, "was": amount(was), "now": amount(now), "told": "in all rows"}
    if all(c.get("cost_usd") is not None for c in counts):
        yield {
            "name": "Cost",
            "was": money(counts[0]["cost_usd"]),
            "now": money(counts[1]["cost_usd"]),
            "told": "of the last run",
        }
    waits: list[Any] = [(c.get("latency_seconds") or {}).get("p50") for c in counts]
    if None not in waits:
        yield {"name": "Latency", "was": brief(waits[0]), "now": brief(waits[1]), "told": "median"}


def _notices(tally: ComparisonTally, facts: dict[str, Any], blocks: Blocks) -> Iterator[str]:
    for result in tally.results:
        if result.partial:
            yield f"{result.name} is not complete: only the rows written so far are compared."
    for side, count in enumerate(facts["alone"]):
        if count:
            other = tally.results[1 - side].name
            has = "has" if count == 1 else "have"
            said = f"{several(count, 'row')} of {tally.results[side].name} {has} no match in {other}"
            yield f"{said}; the changes do not include {'it' if count == 1 else 'them'}."
    if tally.kept is not None:
        yield f"All counts cover {facts['rows']:,} rows; the table holds {len(tally.kept):,} of them."
    if blocks.cut_rows or blocks.short_from is not None:
        yield "In some rows the table shows only the start of long texts, to keep this page small."


def _fate(pair: Pair) -> str:
    if pair.first is None:
        return ONLY[1]
    if pair.second is None:
        return ONLY[0]
    return FATES[_is_good(pair.first), _is_good(pair.second)]


def _is_good(row: ResultRow) -> bool:
    return all(reply.kind is None for reply in row.replies)
