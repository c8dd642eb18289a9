"""The engine writes finished rows in the order of the input, whether or not their replies were stored."""

from __future__ import annotations

import asyncio

import pytest

from distask.data.row import Row
from distask.errors import InputError, OutputError
from distask.runner.engine import engine as engines
from distask.runner.engine.engine import Engine, PendingRow
from distask.runner.engine.shared import Shared
from distask.runner.local import ListWriter
from distask.runner.stats import Stats


class Ready:
    """Work whose rows are ready at once, apart from those in `slow`, which are ready later."""

    def __init__(self, slow=(), text="x"):
        self.slow = set(slow)
        self.text = text
        self.groups = []

    def begin(self, rows):
        self.groups.append(len(rows))
        return map(self._begun, rows)

    def _begun(self, row):
        made = [(row, {"new": self.text})]
        if row.values["n"] not in self.slow:
            return made

        async def finish():
            await asyncio.sleep(0.01)
            return made

        return PendingRow(finish, 10)


class Full(ListWriter):
    """A writer whose disk is full after some rows."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def write(self, row, new):
        if len(self.rows) == self.most:
            raise OutputError("the disk is full")
        super().write(row, new)


def numbered(count, size=10):
    for n in range(count):
        yield Row({"n": n}, "f", n + 1, raw=b" " * size, index=n)


def process(work, rows, writer=None):
    writer = writer or ListWriter()
    stats = Stats(layout=[])
    engine = Engine(work, Shared(stats), concurrency=4)
    try:
        asyncio.run(engine.run(rows, writer))
    finally:
        written = [row["n"] for row in writer.rows]
    return written, stats, engine


def test_rows_that_are_ready_take_no_place_in_the_window():
    written, stats, engine = process(Ready(), numbered(3_000))

    assert written == list(range(3_000))
    assert (stats.rows, stats.rows_out, stats.layout) == (3_000, 3_000, [[1, 3_000]])
    assert not engine._held


@pytest.mark.parametrize("slow", [[0], [5], [31, 32], [2_999], range(0, 3_000, 7)], ids=str)
def test_rows_that_are_ready_wait_for_earlier_ones_that_are_not(slow):
    written, stats, engine = process(Ready(slow), numbered(3_000))

    assert written == list(range(3_000))
    assert stats.layout == [[1, 3_000]]
    assert not engine._held


def test_rows_with_much_to_write_start_a_few_at_a_time():
    """Otherwise the replies of all rows of a group would be in memory at once."""
    work = Ready(text="x" * (engines.BATCH_BYTES // 4))

    process(work, numbered(100))

    assert max(work.groups[2:]) <= 4


def test_more_rows_start_at_a_time_while_none_needs_a_call():
    work = Ready(slow=range(1_500, 3_000))

    process(work, numbered(3_000))

    assert max(work.groups) == engines.READY_ROWS
    assert max(work.groups[-20:]) <= engines.START_ROWS


def test_the_rows_before_an_error_of_the_source_are_kept():
    def rows():
        yield from numbered(700)
        raise InputError("the disk is broken")

    writer = ListWriter()
    with pytest.raises(InputError, match="the disk is broken"):
        process(Ready(), rows(), writer)

    assert [row["n"] for row in writer.rows] == list(range(700))


def test_a_slow_source_does_not_hold_up_its_first_rows(monkeypatch):
    monkeypatch.setattr(engines, "READ_BATCH_SECONDS", 0)

    batch, error = engines._read_batch(numbered(1_000))

    assert len(batch) == engines.START_ROWS
    assert error is None


def test_a_batch_of_long_rows_ends_early():
    batch, _ = engines._read_batch(numbered(1_000, size=engines.BATCH_BYTES // 2))

    assert len(batch) == 2


def test_nothing_is_written_after_an_error_of_the_output():
    writer = Full(40)

    with pytest.raises(OutputError, match="the disk is full"):
        process(Ready(), numbered(500), writer)

    assert [row["n"] for row in writer.rows] == list(range(40))
