"""A report of many rows needs no more memory than one of few, and what is moved to disk changes no figure."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections import defaultdict, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask.errors import OutputError
from distask.report import distribution
from distask.report.compare import pairs
from distask.report.compare.comparison import write_comparison
from distask.report.compare.pairs import WaitingRows
from distask.report.compare.spill import SpillFile
from distask.report.distribution import DistinctTexts, Distribution
from distask.report.result import ResultRow
from distask.report.single import write_report

pytestmark = pytest.mark.battery

FEW = 5_000
TABLE_ROWS = 100
MOST_GROWTH_MIB = 16
"""From `FEW` rows to ten times as many. With all rows in memory it was 24, 63 and 86 MiB."""
MEASURED = """
import re, sys
from pathlib import Path
from distask.report.compare import pairs
from distask.report.compare.comparison import write_comparison
from distask.report.single import write_report

pairs.MAX_ROWS = 500  # full with few rows too
*results, page, most_rows = sys.argv[1:]
(write_report if len(results) == 1 else write_comparison)(*results, Path(page), most_rows=int(most_rows))
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10)
"""
"""Prints the peak in MiB. `getrusage` would count the memory of the process that started this one."""


def write_result(path, rows, *, version=0, order=None):
    """A result as a run leaves it, with a record; the scores of the second version differ in some rows."""
    with path.open("w") as file:
        for i in order or range(rows):
            changed = version and i % 20 == 0
            row = {
                "id": i,
                "question": f"Is {i} good?",
                "score": (i + bool(changed)) % 5,
                "reason": f"since {i} {version}",
            }
            metadata = {"statistics_judge": {"input_tokens": i % 400, "output_tokens": i % 90}}
            if i % 50 == 0:
                metadata["error_judge"] = {"kind": "invalid", "message": "no JSON"}
            file.write(json.dumps({**row, "distask_metadata": metadata}) + "\n")
    columns = {"input": ["id", "question"], "metadata": "distask_metadata"}
    record = {"identity": {"task": "judge"}, "columns": columns, "counts": {"rows": rows, "rows_out": rows}}
    path.with_name(f"{path.name}.run.json").write_text(json.dumps(record))
    return path


def shuffled(rows):
    order = list(range(rows))
    random.Random(0).shuffle(order)
    return order


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc")
@pytest.mark.parametrize("case", ["one result", "two results", "two results in another order"])
def test_peak_memory_does_not_grow_with_the_rows(tmp_path, case):
    def peak_mib(rows):
        results = [write_result(tmp_path / "a.jsonl", rows)]
        if case != "one result":
            order = shuffled(rows) if "order" in case else None
            results.append(write_result(tmp_path / "b.jsonl", rows, version=1, order=order))
        words = [*map(str, results), str(tmp_path / "page.html"), str(TABLE_ROWS)]
        made = subprocess.run([sys.executable, "-c", MEASURED, *words], capture_output=True, text=True, check=True)
        return int(made.stdout)

    few, many = peak_mib(FEW), peak_mib(10 * FEW)

    assert many - few < MOST_GROWTH_MIB, f"{few} MiB for {FEW:,} rows, {many} MiB for {10 * FEW:,}"


def test_a_comparison_on_disk_is_the_same_as_in_memory(tmp_path, monkeypatch):
    """Rows of both sides wait: each has some that the other lacks, and they are in different orders."""
    first = write_result(tmp_path / "a.jsonl", 300, order=[i for i in shuffled(300) if i % 7])
    second = write_result(tmp_path / "b.jsonl", 300, version=1, order=[i for i in range(300) if i % 5])
    page = tmp_path / "page.html"
    facts = write_comparison(str(first), str(second), page)
    made = page.read_bytes()

    monkeypatch.setattr(pairs, "MAX_ROWS", 10)
    monkeypatch.setattr(distribution, "MAX_IN_MEMORY", 10)

    assert write_comparison(str(first), str(second), page) == facts
    assert facts["matched"] == sum(bool(i % 7 and i % 5) for i in range(300))
    assert page.read_bytes() == made


def test_counts_on_disk_are_the_same_as_in_memory(tmp_path, monkeypatch):
    result = write_result(tmp_path / "a.jsonl", 300)
    page = tmp_path / "page.html"
    facts = write_report(str(result), page)
    made = page.read_bytes()

    monkeypatch.setattr(distribution, "MAX_IN_MEMORY", 70)  # more than a column of labels has

    assert write_report(str(result), page) == facts
    assert page.read_bytes() == made


@pytest.mark.parametrize("most", [3, 10_000])
@given(batches=st.lists(st.lists(st.floats(-1e9, 1e9) | st.integers(-3, 3).map(float), max_size=30), max_size=12))
def test_a_distribution_holds_every_number_in_order(most, batches):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distribution, "MAX_IN_MEMORY", most)
        counted = Distribution("d", SpillFile())
        for batch in batches:
            counted.update(batch)
        ordered = counted.ordered()

        expected = sorted(number for batch in batches for number in batch)
        assert list(ordered) == expected
        assert len(ordered) == len(expected)
        assert [ordered[i] for i in range(-len(expected), len(expected))] == expected * 2
        assert counted.total() == round(math.fsum(expected))


@pytest.mark.parametrize("most", [3, 10_000])
@given(batches=st.lists(st.lists(st.integers(0, 50).map(str), max_size=20), max_size=12))
def test_distinct_texts_are_counted_exactly(most, batches):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distribution, "MAX_IN_MEMORY", most)
        texts = DistinctTexts(SpillFile())
        for batch in batches:
            texts.update(batch)

        different = len({text for batch in batches for text in batch})
        assert texts.count(1_000) == different
        assert texts.count(5) == (different if different <= 5 else None)


def row_of(number):
    return ResultRow({"n": number}, [], None, b'{"n":%d}' % number)


@pytest.mark.parametrize("most", [1, 4, 1_000])
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=80))
def test_rows_that_wait_are_taken_in_their_order_wherever_they_are(most, steps):
    """Held against deques in memory."""
    expected = defaultdict(deque)
    with pytest.MonkeyPatch.context() as patch, WaitingRows() as rows:
        patch.setattr(pairs, "MAX_ROWS", most)
        for number, (is_added, key) in enumerate(steps):
            if is_added:
                rows.add(b"%d" % key, row_of(number))
                expected[key].append(number)
            else:
                row = rows.take(b"%d" % key)
                assert (row and row.values["n"]) == (expected[key].popleft() if expected[key] else None)

        left = sorted(number for numbers in expected.values() for number in numbers)
        assert [row.values["n"] for row in rows.rest()] == left


def test_a_full_disk_is_an_error_that_names_the_folder(tmp_path, monkeypatch):
    if not sys.platform.startswith("linux"):
        pytest.skip("there is no /dev/full")
    result = write_result(tmp_path / "a.jsonl", 300)
    monkeypatch.setattr(distribution, "MAX_IN_MEMORY", 70)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: open("/dev/full", "r+b", buffering=0))  # noqa: PTH123, SIM115

    with pytest.raises(OutputError, match=r"temporary files in .* No space left on device; .* set TMPDIR"):
        write_report(str(result), tmp_path / "page.html")


def test_a_full_disk_is_an_error_where_rows_wait_too(monkeypatch):
    monkeypatch.setattr(pairs, "MAX_ROWS", 10)
    with WaitingRows() as rows:
        rows._open().execute("PRAGMA max_page_count = 8")

        def add_rows():
            for number in range(10_000):
                rows.add(b"%d" % number, row_of(number))

        with pytest.raises(OutputError, match=r"temporary files in .* full; .* set TMPDIR"):
            add_rows()
