"""Write the page about two results: the changes row by row, and their direction."""

from __future__ import annotations

from collections import Counter
from itertools import chain, compress
from typing import TYPE_CHECKING, Any

from distask.diagnostics import did_you_mean
from distask.errors import InputError, UsageError
from distask.formatting import amount, money, several
from distask.report.about import about, brief
from distask.report.blocks import Blocks
from distask.report.columns import ABSENT
from distask.report.compare.changes import ChangeTally, coded
from distask.report.compare.pairs import Pair, pairs
from distask.report.compare.spill import SpillFile
from distask.report.page import write_page
from distask.report.result import Result
from distask.report.spending import Spending
from distask.report.tally import MOST_FAILED, MOST_ROWS, batches

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
        self.independent = True
        """Whether each pair is an input row of its own, and not one of several replies to it."""
        self.kept: list[int] | None = None
        self.step = 1
        self._spared = 0

    def count(self, matched: Iterator[Pair], blocks: Blocks, most_rows: int) -> None:
        """Count all pairs."""
        total = max(result.count() for result in self.results)
        if total > most_rows:
            self.step, self.kept = -(-total // most_rows), []
        for batch in batches(matched):
            self._add(batch, blocks)
        blocks.finish()

    def _add(self, batch: Sequence[Pair], blocks: Blocks) -> None:
        fates = list(map(_fate, batch))
        self.fates.update(fates)
        on_page = self._on_page(fates)
        self._add_values(batch, on_page)
        self._add_replies(batch)
        self._fate_of.extend(fates if on_page is None else compress(fates, on_page))
        for pair in batch if on_page is None else compress(batch, on_page):
            blocks.add(pair.line)
        self.rows += len(batch)

    def _on_page(self, fates: Sequence[str]) -> list[bool] | None:
        """Return whether each pair is on the page; None if all are."""
        if self.kept is None:
            return None
        good = FATES[True, True]
        return [self._keeps(number, changed=fate != good) for number, fate in enumerate(fates, self.rows)]

    def _keeps(self, number: int, *, changed: bool) -> bool:
        is_spared = number % self.step != 0
        if is_spared and not (changed and self._spared < MOST_FAILED):
            return False
        self._spared += is_spared
        if self.kept is not None:
            self.kept.append(number)
        return True

    def _add_values(self, batch: Sequence[Pair], on_page: Sequence[bool] | None) -> None:
        before, after = ([{} if row is None else row.values for row in side] for side in _sides(batch))
        is_matched = [pair.is_matched for pair in batch]
        names = chain.from_iterable(chain.from_iterable(compress(zip(before, after, strict=True), is_matched)))
        begins = {}
        for name in dict.fromkeys(names):
            if name not in self.columns and name not in self._other_columns:
                begins[name] = next(i for i, pair in enumerate(batch) if is_matched[i] and pair.has(name))
                self._add_column(name, begins[name] if on_page is None else sum(on_page[: begins[name]]))
        grouped = [pair.grouped for pair in batch]
        nothing = None if all(is_matched) else ABSENT
        for name, tally in self.columns.items():
            was, now = ([row.get(name) for row in side] for side in (before, after))
            if nothing is ABSENT:
                was, now = ([v if m else ABSENT for v, m in zip(of, is_matched, strict=True)] for of in (was, now))
            begin = begins.get(name, 0)
            tally.update(was[begin:], now[begin:], grouped[begin:], on_page and on_page[begin:])

    def _add_column(self, name: str, on_page: int) -> None:
        """Begin to count a column; `on_page` is how many pairs of the batch on the page come before it."""
        if not all(result.role(name) == "output" for result in self.results):
            self._other_columns.add(name)
            return
        self.columns[name] = tally = ChangeTally(name, self._spill, lower_is_better=name in self._lower)
        tally.skip(len(self._fate_of) + on_page)

    def _add_replies(self, batch: Sequence[Pair]) -> None:
        for side, rows in enumerate(_sides(batch)):
            replies = list(chain.from_iterable([row.replies for row in rows if row is not None]))
            self.replies[side] += len(replies)
            self.spending[side].add([reply.usage for reply in replies])
            self.independent = self.independent and not any(
                reply.sample for row in rows if row is not None and row.group is None for reply in row.replies
            )
            for row, pair in zip(rows, batch, strict=True):
                if row is not None and row.failed and pair.is_matched:
                    self.kinds[side].update(reply.kind for reply in row.replies if reply.kind is not None)

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
            "changes": [tally.facts(independent=self.independent) for tally in self.columns.values()],
            "independent": self.independent,
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
        "details": "in all rows",
    }
    for name, part in (("Cached tokens", "cached_tokens"), ("Reasoning tokens", "reasoning_tokens")):
        was, now = (getattr(spending, part) for spending in tally.spending)
        if was or now:
            yield {"name": name, "was": amount(was), "now": amount(now), "details": "in all rows"}
    if all(c.get("cost_usd") is not None for c in counts):
        yield {
            "name": "Cost",
            "was": money(counts[0]["cost_usd"]),
            "now": money(counts[1]["cost_usd"]),
            "details": "of the last run",
        }
    waits: list[Any] = [(c.get("latency_seconds") or {}).get("p50") for c in counts]
    if None not in waits:
        yield {"name": "Latency", "was": brief(waits[0]), "now": brief(waits[1]), "details": "median"}


def _notices(tally: ComparisonTally, facts: dict[str, Any], blocks: Blocks) -> Iterator[str]:
    for result in tally.results:
        if result.partial:
            yield f"{result.name} is not complete: only the rows written so far are compared."
    for side, count in enumerate(facts["alone"]):
        if count:
            other = tally.results[1 - side].name
            has = "has" if count == 1 else "have"
            sentence = f"{several(count, 'row')} of {tally.results[side].name} {has} no match in {other}"
            yield f"{sentence}; the changes do not include {'it' if count == 1 else 'them'}."
    if not tally.independent:
        yield (
            "Rows have several replies, which are not independent, so there are no intervals and no tests; with "
            "--group-generations, distask run writes one row for them."
        )
    if tally.kept is not None:
        yield f"All counts cover {facts['rows']:,} rows; the table holds {len(tally.kept):,} of them."
    if blocks.cut_rows or blocks.short_from is not None:
        yield "In some rows the table shows only the start of long texts, to keep this page small."


def _sides(batch: Sequence[Pair]) -> tuple[list[ResultRow | None], list[ResultRow | None]]:
    """Return the rows of each result."""
    return [pair.first for pair in batch], [pair.second for pair in batch]


def _fate(pair: Pair) -> str:
    if pair.first is None:
        return ONLY[1]
    if pair.second is None:
        return ONLY[0]
    return FATES[not pair.first.failed, not pair.second.failed]
