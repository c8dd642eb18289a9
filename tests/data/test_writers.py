"""Rows go out whole: their own bytes untouched, the file under its name only when it is complete."""

from __future__ import annotations

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask.data.checksums import checksum_of
from distask.data.readers.jsonl import read_line
from distask.data.row import Row
from distask.data.writers import open_output
from distask.data.writers.jsonl import Lines, spliced
from distask.errors import UsageError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.sampled_from([None, 1]))
def test_a_rows_own_bytes_pass_through(values, indent):
    raw = json.dumps(values, ensure_ascii=bool(indent)).encode("utf-8", "surrogatepass")
    row = read_line(raw, "f", 1)
    if row.error is not None:  # a lone surrogate
        return

    line = spliced(row, {"§new": [1, None]})

    assert line.startswith(raw[:-1])
    assert json.loads(line) == {**values, "§new": [1, None]}
    assert line.count(b"\n") == 1


@pytest.mark.parametrize("raw", [b"{}", b"{ }", b'{"a":1}', b'{"a": 1 }'])
def test_new_columns_are_spliced_into_any_object(raw):
    row = read_line(raw, "f", 1)

    assert json.loads(spliced(row, {"b": 2})) == {**json.loads(raw), "b": 2}


@pytest.mark.parametrize("value", [10**30, "\ud800", float("nan"), b"\x00\xff", {"x": [10**25]}])
def test_whatever_python_holds_becomes_json(value):
    line = spliced(Row({"a": 1}, "f", 1), {"b": value})

    assert json.loads(line)["a"] == 1


def rows():
    return [Row({"a": 1, "t": "x"}, "f", 1), Row({"a": 2.5, "t": None}, "f", 2)]


def test_the_output_has_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text("before\n")
    writer = open_output(str(path))
    for row in rows():
        writer.write(row, {"n": [1]})
    assert path.read_text() == "before\n"

    writer.commit()

    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"a": 1, "t": "x", "n": [1]},
        {"a": 2.5, "t": None, "n": [1]},
    ]
    assert not writer.partial.exists()
    assert writer.checksum == checksum_of(path)


def test_what_is_written_stays_in_the_partial_file(tmp_path):
    writer = open_output(str(tmp_path / "out.jsonl"))
    writer.write(rows()[0], {})
    writer.abort()

    assert writer.partial.read_text() == '{"a":1,"t":"x"}\n'


def test_two_runs_can_not_write_one_file(tmp_path):
    first = open_output(str(tmp_path / "out.jsonl"))

    with pytest.raises(UsageError, match="another run is writing"):
        open_output(str(tmp_path / "out.jsonl"))
    first.abort()
    open_output(str(tmp_path / "out.jsonl")).abort()


def test_csv_has_all_columns_and_lists_as_json(tmp_path):
    writer = open_output(str(tmp_path / "out.csv"))
    for number, row in enumerate(rows()):
        writer.write(row, {"n": [1, "é"], **({"late": "y"} if number else {})})
    writer.commit()

    with (tmp_path / "out.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["a", "t", "n", "late"],
            ["1", "x", '[1, "é"]', ""],
            ["2.5", "", '[1, "é"]', "y"],
        ]


def test_parquet_finds_the_types_over_all_rows_and_says_where_there_are_none(tmp_path):
    from pyarrow import parquet

    writer = open_output(str(tmp_path / "out.parquet"))
    for index in range(1500):
        mixed = "text" if index == 1400 else {"k": index}
        writer.write(Row({"a": None if index < 1200 else index / 2}, "f", index), {"n": [index], "m": mixed})
    writer.commit()

    table = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert len(table) == 1500
    assert table[0] == {"a": None, "n": [0], "m": '{"k": 0}'}
    assert table[1400]["a"] == 700.0
    assert writer.notes == ["these Parquet columns are JSON text because their values have no common type: m"]


@pytest.mark.parametrize(
    ("name", "words"), [("out.xlsx", "unknown format"), ("no/out.jsonl", "does not exist"), ("", "unknown format")]
)
def test_an_output_that_can_not_be_is_reported(tmp_path, name, words):
    with pytest.raises(UsageError, match=words):
        open_output(str(tmp_path / name))


@pytest.mark.parametrize("begin", ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_text_that_a_spreadsheet_would_run_is_reported_and_escaped_where_that_is_asked(tmp_path, begin):
    """As it is by default, for what reads CSV and is no spreadsheet; numbers are numbers."""
    for escape, wanted in ((False, begin), (True, f"'{begin}")):
        writer = open_output(str(tmp_path / "out.csv"), escape_formulas=escape)
        writer.write(Row({"a": begin, "n": -1.5}, "in", 1), {"b": "a=1"})
        writer.commit()

        with (tmp_path / "out.csv").open(newline="") as file:
            assert list(csv.reader(file)) == [["a", "n", "b"], [wanted, "-1.5", "a=1"]]
        assert any("which a spreadsheet runs as a formula" in note for note in writer.notes) is not escape


SHARED = [
    {"text": "a document é \ud800", "n": 1.5},
    {"text": "x", "bytes": b"\0"},
    {"big": 10**30, "float": 1e16},
    {"nan": float("nan")},
    {},
]
ADDED = [{"chunk": "c", "start": 3}, {}, {"text": "instead"}, {"big": -(10**30), "f": 1e16}, {"bytes": b"\xff"}]


@pytest.mark.parametrize("values", SHARED, ids=str)
@pytest.mark.parametrize("raw", [None, b' {"a": 1 } '])
def test_lines_of_one_row_are_the_same_as_lines_of_different_rows(values, raw):
    row, lines = Row(values, "f", 1, raw), Lines()

    made = [lines.line(row, new) for new in ADDED * 3]

    assert made == [spliced(row, new) for new in ADDED * 3]


def test_lines_of_rows_in_turn_do_not_mix():
    rows, lines = [Row({"n": n}, "f", n) for n in range(3)], Lines()

    made = [lines.line(rows[n], {"x": n}) for n in (0, 0, 1, 1, 1, 0, 2, 2)]

    assert [json.loads(line)["n"] for line in made] == [0, 0, 1, 1, 1, 0, 2, 2]


def test_an_aborted_output_keeps_the_rows_that_wait_to_be_written(tmp_path):
    writer = open_output(str(tmp_path / "out.jsonl"))
    writer.write(Row({"n": 1}, "f", 1), {})

    writer.abort()

    assert writer.partial.read_bytes() == b'{"n":1}\n'
