"""Count a complete result in one pass, and pack the rows for the page."""

from __future__ import annotations

from collections import Counter
from itertools import chain, compress, repeat
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from msgspec import Struct, field

from distask.report.columns import ABSENT, ColumnTally
from distask.report.compare.agreement import AgreementTally
from distask.report.compare.spill import SpillFile
from distask.report.spending import Spending

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from distask.report.blocks import Blocks
    from distask.report.result import Reply, Result, ResultRow


EXAMPLES = 3
MESSAGES_SHOWN = 5
MESSAGES_KEPT = 5_000
"""Messages of a kind that are counted separately; the rest count as others."""
RAW_SHOWN = 2_000
"""Maximum characters of a failed reply shown in an example; the row has all of it."""


class _Kind(Struct):
    count: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    """Each with a different message."""
    like_them: list[dict[str, Any]] = field(default_factory=list)
    """With messages that already have an example."""


class FailureTally:
    """All failures of a result."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def add(self, row: int, sample: int, reply: Reply) -> None:
        """Count a reply if it failed. `row` is the number of the output row, from 0."""
        if reply.kind is None:
            return
        kind = self._kinds.setdefault(reply.kind, _Kind())
        kind.count += 1
        message = reply.message or ""
        known = message in kind.messages
        if known or len(kind.messages) < MESSAGES_KEPT:
            kind.messages[message] += 1
        examples = kind.like_them if known else kind.examples
        if len(examples) < EXAMPLES:
            raw = reply.raw
            cut = raw is not None and len(raw) > RAW_SHOWN
            shown = raw[:RAW_SHOWN] if raw is not None else None
            examples.append({"row": row, "sample": sample, "message": message, "raw": shown, "cut": cut})

    @property
    def count(self) -> int:
        """Number of failed generations."""
        return sum(kind.count for kind in self._kinds.values())

    def facts(self) -> list[dict[str, Any]]:
        """Return the kinds, most common first, each with its most common messages and its examples."""
        return [
            {
                "kind": name,
                "count": kind.count,
                "messages": [{"message": m, "count": c} for m, c in kind.messages.most_common(MESSAGES_SHOWN)],
                "messages_more": kind.count - sum(c for _, c in kind.messages.most_common(MESSAGES_SHOWN)),
                "examples": [*kind.examples, *kind.like_them][:EXAMPLES],
            }
            for name, kind in sorted(self._kinds.items(), key=lambda pair: (-pair[1].count, pair[0]))
        ]


MOST_ROWS = 200_000
"""Maximum rows of a page; browsers stay fast with this many."""
MOST_FAILED = 20_000
"""Maximum failed rows that stay on the page when other rows are left out."""
BATCH_ROWS = 1024
BATCH_BYTES = 1 << 20
"""Rows are counted in batches of this many rows or bytes, whichever is reached first."""
MEASURES = ("failure", "finish_reason", "input_tokens", "output_tokens")
"""Measures of every reply, counted like columns."""


class _Sized(Protocol):
    @property
    def size(self) -> int: ...


_S = TypeVar("_S", bound=_Sized)


def batches(rows: Iterable[_S]) -> Iterator[list[_S]]:
    """Yield rows in batches of `BATCH_ROWS`, or of about `BATCH_BYTES` if that is fewer."""
    batch: list[_S] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += row.size
        if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class ResultTally:
    """All counts of a result.

    Args:
        result: the output.
        most_rows: maximum rows on the page; of a larger result, every second (third …) row and failed ones are kept.
    """

    def __init__(self, result: Result, most_rows: int = MOST_ROWS) -> None:
        self.result = result
        self.most_rows = most_rows
        self._spill = SpillFile()
        self.columns: dict[str, ColumnTally] = {}
        self.measures = {name: ColumnTally(name, self._spill) for name in MEASURES}
        self.agreement: dict[str, AgreementTally] = {}
        self.failures = FailureTally()
        self.spending = Spending(result.record)
        self.rows = self.replies = 0
        self.samples = 1
        """The largest number of replies to an input row."""
        self.grouped = False
        """Whether rows hold lists with an item for each reply."""
        self.step = 1
        self.kept: list[int] | None = None
        """The rows on the page; None for all."""
        self.groups: list[int | None] = []
        """The input row of each row on the page."""
        self._group: list[ResultRow] = []
        self._group_on_page = 0
        """Rows of the group that are on the page."""
        self._spared = 0

    def count(self, blocks: Blocks) -> None:
        """Read the complete result."""
        total = self.result.count()
        if total > self.most_rows:
            self.step, self.kept = -(-total // self.most_rows), []
        for rows in batches(self.result):
            self._add(rows, blocks)
        self._end_group()
        blocks.finish()

    def _add(self, rows: Sequence[ResultRow], blocks: Blocks) -> None:
        on_page = self._on_page(rows)
        self._add_values(rows, on_page)
        self._add_replies(rows, on_page)
        self._add_groups(rows, on_page)
        for row in rows if on_page is None else compress(rows, on_page):
            blocks.add(row.line)
        self.rows += len(rows)

    def _on_page(self, rows: Sequence[ResultRow]) -> list[bool] | None:
        """Return whether each row is on the page; None if all are."""
        if self.kept is None:
            return None
        return [self._keeps(number, failed=row.failed) for number, row in enumerate(rows, self.rows)]

    def _keeps(self, number: int, *, failed: bool) -> bool:
        is_spared = number % self.step != 0
        if is_spared and not (failed and self._spared < MOST_FAILED):
            return False
        self._spared += is_spared
        if self.kept is not None:
            self.kept.append(number)
        return True

    def _add_values(self, rows: Sequence[ResultRow], on_page: Sequence[bool] | None) -> None:
        columns = self.columns
        values = [row.values for row in rows]
        for name in dict.fromkeys(chain.from_iterable(values)):
            if name not in columns:
                columns[name] = ColumnTally(name, self._spill)
                columns[name].skip(self.rows, len(self.groups))
        for name, tally in columns.items():
            tally.update([of_row.get(name, ABSENT) for of_row in values], on_page)

    def _add_replies(self, rows: Sequence[ResultRow], on_page: Sequence[bool] | None) -> None:
        each = [len(row.replies) for row in rows]
        replies = list(chain.from_iterable([row.replies for row in rows]))
        measured: tuple[list[Any], ...] = (
            [reply.kind for reply in replies],
            [reply.finish_reason for reply in replies],
            [reply.usage.input_tokens for reply in replies],
            [reply.usage.output_tokens for reply in replies],
        )
        for tally, values in zip(self.measures.values(), measured, strict=True):
            tally.update_lists(values, each, on_page)
        self.replies += len(replies)
        self.spending.add([reply.usage for reply in replies])
        for number, row in enumerate(rows, self.rows):
            if row.failed:
                for reply in row.replies:
                    self.failures.add(number, reply.sample or 0, reply)

    def _add_groups(self, rows: Sequence[ResultRow], on_page: Sequence[bool] | None) -> None:
        """Count how far the replies to one input row agree; all rows of one follow each other."""
        for row, is_on_page in zip(rows, repeat(True) if on_page is None else on_page, strict=False):
            group = row.replies[0].row if row.replies else None
            if not self._continues(row, group):
                self._end_group()
            if is_on_page:
                self.groups.append(group)
                self._group_on_page += 1
            self.grouped = self.grouped or row.grouped
            self._group.append(row)

    def _continues(self, row: ResultRow, group: int | None) -> bool:
        """Return whether a row belongs to the same input row as the previous one."""
        if group is None or row.grouped or not self._group:
            return False
        before = self._group[-1].replies
        return bool(before) and before[0].row == group

    def _end_group(self) -> None:
        """Count the rows of one input row."""
        group, on_page = self._group, self._group_on_page
        self._group, self._group_on_page = [], 0
        if not group:
            return
        samples = group[0].group or len(group)
        self.samples = max(self.samples, samples)
        for name, values in self._answers(group, samples).items() if samples > 1 else ():
            tally = self.agreement.get(name)
            if tally is None:
                tally = self.agreement[name] = AgreementTally(name)
            tally.add(values, len(self.groups) - on_page, on_page)

    def _answers(self, group: Sequence[ResultRow], samples: int) -> dict[str, list[Any]]:
        """Return each output column's values, one for each generation."""
        outputs = [name for name in group[0].values if self.result.role(name) == "output"]
        if group[0].grouped:
            values = group[0].values
            return {n: values[n] for n in outputs if isinstance(values[n], list) and len(values[n]) == samples}
        return {name: [row.values.get(name) for row in group] for name in outputs}

    def index(self) -> dict[str, Any]:
        """Return what the page filters and sorts its rows by: see `ColumnTally.index`."""
        groups = self.groups
        return {
            "rows": self.rows if self.kept is None else self.kept,
            "groups": groups if any(group is not None for group in groups) else None,
            "columns": [tally.index() for tally in self.columns.values()],
            "measures": {name: tally.index() for name, tally in self.measures.items()},
            "agreement": {name: tally.of_rows(len(groups)) for name, tally in self.agreement.items()},
        }

    def facts(self) -> dict[str, Any]:
        """Return all statistics of the result."""
        columns = [{**tally.facts(), "role": self.result.role(name)} for name, tally in self.columns.items()]
        return {
            "rows": self.rows,
            "replies": self.replies,
            "samples": self.samples,
            "grouped": self.grouped,
            "failed": self.failures.count,
            "failures": self.failures.facts(),
            "columns": columns,
            "measures": {name: tally.facts() for name, tally in self.measures.items()} if self.replies else {},
            "agreement": [
                {**facts, "kind": self.columns[name].kind}
                for name, tally in self.agreement.items()
                if (facts := tally.facts())
            ],
            "kept": None if self.kept is None else {"rows": len(self.kept), "step": self.step},
        }
