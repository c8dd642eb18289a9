"""Count a whole result in one pass, and pack the rows that the page holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.report.agreement import AgreementTally
from distask.report.columns import ColumnTally
from distask.report.failures import FailureTally
from distask.report.spending import Spending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.report.blocks import Blocks
    from distask.report.result import Result, ResultRow

MOST_ROWS = 200_000
"""Rows of a page; browsers stay quick with as many."""
MOST_FAILED = 20_000
"""Failed rows that are on the page whichever others are left out."""
MEASURES = ("failure", "finish_reason", "input_tokens", "output_tokens")
"""What is counted of every reply, as if it were a column."""


class ResultTally:
    """All that is counted of a result.

    Args:
        result: the output.
        most_rows: rows that the page may hold; of more, every second (third …) and the failed ones are on it.
    """

    def __init__(self, result: Result, most_rows: int = MOST_ROWS) -> None:
        self.result = result
        self.most_rows = most_rows
        self.columns: dict[str, ColumnTally] = {}
        self.measures = {name: ColumnTally(name) for name in MEASURES}
        self.agreement: dict[str, AgreementTally] = {}
        self.failures = FailureTally()
        self.spending = Spending(result.record)
        self.rows = self.replies = 0
        self.samples = 1
        """The most replies that an input row has."""
        self.grouped = False
        """Whether rows hold lists, an item for each reply."""
        self.step = 1
        self.kept: list[int] | None = None
        """The rows that are on the page; None for all."""
        self.groups: list[int | None] = []
        """The input row of each row of the output."""
        self._group: list[ResultRow] = []
        self._spared = 0

    def count(self, blocks: Blocks) -> None:
        """Read the result from its beginning to its end."""
        total = self.result.count()
        if total > self.most_rows:
            self.step, self.kept = -(-total // self.most_rows), []
        for row in self.result:
            self._add(row, blocks)
        self._end_group()
        blocks.finish()

    def _add(self, row: ResultRow, blocks: Blocks) -> None:
        if not self._continues(row):
            self._end_group()
        number = self.rows
        self._count_columns(row, number)
        failed = self._count_replies(row, number)
        if self._keeps(number, failed=failed):
            blocks.add(row.line)
        self.groups.append(row.replies[0].row if row.replies else None)
        self.grouped = self.grouped or row.grouped
        self._group.append(row)
        self.rows += 1

    def _continues(self, row: ResultRow) -> bool:
        """Whether a row is of the same input row as the one before."""
        if not self._group or not row.replies or row.grouped or row.replies[0].row is None:
            return False
        return row.replies[0].row == self.groups[-1]

    def _keeps(self, number: int, *, failed: bool) -> bool:
        if self.kept is None:
            return True
        spared = failed and self._spared < MOST_FAILED
        if number % self.step and not spared:
            return False
        self._spared += bool(number % self.step)
        self.kept.append(number)
        return True

    def _count_columns(self, row: ResultRow, number: int) -> None:
        columns = self.columns
        for name, value in row.values.items():
            tally = columns.get(name)
            if tally is None:
                tally = columns[name] = ColumnTally(name)
                tally.skip(number)
            tally.add(value)
        if len(row.values) < len(columns):
            for name, tally in columns.items():
                if name not in row.values:
                    tally.add_absent()

    def _count_replies(self, row: ResultRow, number: int) -> bool:
        replies = row.replies
        self.replies += len(replies)
        for reply in replies:
            self.failures.add(number, reply.sample or 0, reply)
            self.spending.add(reply.usage)
        measures = self.measures
        measures["failure"].add([reply.kind for reply in replies])
        measures["finish_reason"].add([reply.finish_reason for reply in replies])
        measures["input_tokens"].add([reply.usage.input_tokens for reply in replies])
        measures["output_tokens"].add([reply.usage.output_tokens for reply in replies])
        return any(reply.kind is not None for reply in replies)

    def _end_group(self) -> None:
        """Count how far the replies of one input row agree."""
        group, self._group = self._group, []
        if not group:
            return
        samples = group[0].group or len(group)
        self.samples = max(self.samples, samples)
        for name, values in self._answers(group, samples).items() if samples > 1 else ():
            tally = self.agreement.get(name)
            if tally is None:
                tally = self.agreement[name] = AgreementTally(name)
            tally.add(values, self.rows - len(group), len(group))

    def _answers(self, group: Sequence[ResultRow], samples: int) -> dict[str, list[Any]]:
        """Each output column's values, one a generation."""
        outputs = [name for name in group[0].values if self.result.role(name) == "output"]
        if group[0].grouped:
            values = group[0].values
            return {n: values[n] for n in outputs if isinstance(values[n], list) and len(values[n]) == samples}
        return {name: [row.values.get(name) for row in group] for name in outputs}

    def index(self) -> dict[str, Any]:
        """What the page filters and sorts its rows by: see `ColumnTally.index`."""
        kept = self.kept
        groups = self.groups if kept is None else [self.groups[row] for row in kept]
        return {
            "rows": self.rows if kept is None else kept,
            "groups": groups if any(group is not None for group in groups) else None,
            "columns": [tally.index(kept) for tally in self.columns.values()],
            "measures": {name: tally.index(kept) for name, tally in self.measures.items()},
            "agreement": {name: tally.of_rows(self.rows, kept) for name, tally in self.agreement.items()},
        }

    def facts(self) -> dict[str, Any]:
        """All that is told of the result."""
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
