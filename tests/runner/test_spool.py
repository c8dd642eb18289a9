"""Rows come out of a spool as they went in, in the order of its barrier, and adjacent spools share a file."""

from __future__ import annotations

import errno
import itertools
import math

import pytest

from distask.data.row import Row
from distask.errors import OutputError
from distask.runner.engine import spool as spools
from distask.runner.engine.spool import Spool
from distask.runner.engine.steps import CarriedRow
from distask.task.steps.barriers import Group, Limit, Sort, Split
from distask.task.steps.flow import Count
from distask.task.steps.item import Item, Lineage

LONG = spools.SHARED_CHARACTERS


def count(name="step"):
    return Count(name, "step")


def sort(by="n"):
    return Sort(count("sort"), [by], descending=False)


def carried(values, number=0, **more):
    """A row between two steps; its columns are the same objects as those of the input row."""
    item = Item(dict(values), Lineage(b"k" * 16, str(number), True), f"f:{number + 1}", frames=(values,), **more)
    return CarriedRow(values, "f", number + 1, None, index=number, item=item, sample=3)


@pytest.fixture
def opened():
    """Make spools, and close them in the end."""
    made = []

    def make(*barriers):
        made.extend(map(Spool, barriers))
        return made[-len(barriers) :]

    yield make
    for spool in made:
        spool.abort()


def values_of(rows):
    return [row.item.values for row in rows]


@pytest.mark.parametrize(
    "values",
    [
        {"n": 1, "big": 10**40, "float": 1e300, "true": True, "null": None},
        {"n": 1, "list": [1, {"a": "\ud800 é 😀"}], "bytes": b"\0\xff"},
        {"n": 1, "text": "é😀\ud800" * LONG, "bytes": b"\xff" * LONG, "other": "short"},
        {"n": 1} | {f"text{number}": str(number) * LONG for number in range(40)},
    ],
    ids=["numbers", "nested", "long", "many long"],
)
def test_a_row_comes_back_with_the_same_columns_and_which_of_them_are_unchanged(opened, values):
    row = carried(values, metadata={"a": [1]}, model="m", failed=True, rejected=1, turns=(2,), origins={"x": "y"})
    row.item.values = {**values, "new": "N" * LONG}
    row.item.spent.steps = 7
    (spool,) = opened(sort())
    expected = [row.item.packed() for _ in range(2)]

    spool.write(row, {})
    spool.write(row, {})
    back = list(spool.rows())

    assert [each.item.packed() for each in back] == expected
    for each in back:
        assert (each.file, each.line, each.index, each.sample, each.raw) == ("f", 1, 0, 3, None)
        assert each.values == values
        numbers = (int, float)
        assert all(each.item.values[n] is value for n, value in each.values.items() if not isinstance(value, numbers))


def test_not_a_number_comes_back(opened):
    (spool,) = opened(sort())
    spool.write(carried({"n": math.nan}), {})

    (row,) = spool.rows()

    assert math.isnan(row.item.values["n"])


def test_the_input_s_own_bytes_come_back(opened):
    (spool,) = opened(sort())
    for raw in (b'{"n": 1}', b'{"n": "' + b"1" * LONG + b'"}'):
        spool.write(CarriedRow({"n": 1}, "f", 1, raw, item=carried({"n": 1}).item), {})

    assert [len(row.raw) for row in spool.rows()] == [8, LONG + 9]


def test_a_child_of_a_row_has_the_same_key_after_the_wait(opened):
    parent = Lineage(b"k" * 16, "0", True)
    (spool,) = opened(sort())
    row = carried({"n": 1})
    row.item.lineage = parent.child("chunk/0").child("chunk/1")
    key = parent.child("chunk/0").child("chunk/1").key
    spool.write(row, {})

    (back,) = spool.rows()

    assert (back.item.lineage.key, back.item.lineage.index) == (key, "0/chunk/0/chunk/1")


def test_adjacent_barriers_share_the_rows_unless_one_changes_them(opened):
    split = Split(count("split"), "s", {"a": 1, "b": 1}, by=["n"], column="part", stable=True)
    barriers = [sort(), Limit(count("limit"), 80), split, sort("part"), Group(count("group"), ["part"])]
    chain = opened(*barriers)
    for number in range(100):
        chain[0].write(carried({"n": (number * 37) % 100, "text": str(number)}, number), {})

    for first, second in itertools.pairwise(chain):
        first.pass_to(second, lambda: False)
    groups = values_of(chain[-1].rows())

    assert chain[0]._rows is chain[1]._rows is chain[2]._rows
    assert chain[3]._rows is not chain[2]._rows
    assert chain[4]._rows is chain[3]._rows
    assert [group["part"] for group in groups] == ["a", "b"]
    kept = [number for group in groups for number in group["n"]]
    assert sorted(kept) == list(range(80))
    assert all(group["n"] == sorted(group["n"]) for group in groups)
    counts = [(barrier.count.came, barrier.count.went) for barrier in barriers]
    assert counts == [(100, 100), (100, 80), (80, 80), (80, 80), (80, 2)]


@pytest.mark.parametrize("barrier", [sort, lambda: Split(count(), "s", {"a": 1}, by=None, column="part", stable=True)])
def test_rows_stop_between_barriers_when_the_run_stops(opened, barrier):
    first, second = opened(barrier(), sort())
    for number in range(100):
        first.write(carried({"n": number}, number), {})
    calls = []

    first.pass_to(second, lambda: len(calls) == 7 or calls.append(1))

    assert second._barrier.count.came == 7


def test_rows_far_apart_and_in_sequence_are_read_alike(opened):
    (spool,) = opened(sort("key"))
    rows = [
        {"key": number if number < 500 else -(number * 7_919 % 1_000), "text": "x" * (number % 300)}
        for number in range(1_000)
    ]
    for number, values in enumerate(rows):
        spool.write(carried(values, number), {})

    assert values_of(spool.rows()) == sorted(rows, key=lambda values: values["key"])


@pytest.mark.parametrize("where", ["_rows", "_places"])
def test_a_full_disk_is_reported_with_the_step(opened, monkeypatch, where):
    (spool,) = opened(sort())
    monkeypatch.setattr(spools, "_PLACES", 8)

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, _data):
            raise OSError(errno.ENOSPC, "No space left on device")

        def __getattr__(self, name):
            return getattr(self.file, name)

    if where == "_rows":
        spool._rows._file = Full(spool._rows._file)
    else:
        spool._places = Full(spool._places)

    def fill():
        for number in range(100):
            spool.write(carried({"n": number}, number), {})

    with pytest.raises(OutputError, match=r"rows for the step sort to .*: No space left .* set TMPDIR"):
        fill()


def test_only_rows_of_a_segment_can_wait(opened):
    (spool,) = opened(sort())
    with pytest.raises(AssertionError):
        spool.write(Row({}, "f", 1), {})
