"""The delimiter of a CSV file is found where its beginning leaves no doubt, and named; elsewhere it is a comma."""

from __future__ import annotations

import gzip

import pytest

from distask.data.input import open_input
from distask.data.parts import count, cut, placed
from distask.data.readers import ReadOptions
from distask.data.readers.csv import parse_delimiter
from distask.errors import InputError, UsageError

FOUND = {
    "semicolons": ("q;b\n1;2\n", ";", [{"q": "1", "b": "2"}]),
    "tabs": ("q\tb\n1\t2\n", "tab", [{"q": "1", "b": "2"}]),
    "pipes": ("q|b\n1|2\n", "|", [{"q": "1", "b": "2"}]),
    "decimal commas": ("q;b\n1,5;2,5\n-3,25;4\n", ";", [{"q": "1,5", "b": "2,5"}, {"q": "-3,25", "b": "4"}]),
    "commas in every row": ("q;b\na, b;c, d\ne, f;g\n", ";", [{"q": "a, b", "b": "c, d"}, {"q": "e, f", "b": "g"}]),
    "quoted fields": ('"q";"b, c"\n"x;y";"1 ""2"""\n', ";", [{"q": "x;y", "b, c": '1 "2"'}]),
    "a quoted comma after a name": ('q;"b,c"\n1;2\n', ";", [{"q": "1", "b,c": "2"}]),
    "line ends in quotes": ('q;"b\nc"\n"1\n2";"3\n"\n', ";", [{"q": "1\n2", "b\nc": "3\n"}]),
    "a byte order mark": ("\ufeffq;b\r\n1;2\r\n", ";", [{"q": "1", "b": "2"}]),
    "another candidate in the rows": ("q;b\n1|x;2\n3|y;4\n", ";", [{"q": "1|x", "b": "2"}, {"q": "3|y", "b": "4"}]),
    "another candidate in a name": ("q\tb;c\n1\t2\n", "tab", [{"q": "1", "b;c": "2"}]),
    "blank lines": ("q;b\n\n1;2\n\n3;4\n", ";", [{"q": "1", "b": "2"}, {"q": "3", "b": "4"}]),
    "an empty field at the end": ("q;b\n1;\n", ";", [{"q": "1", "b": ""}]),
    "sep=": ("sep=;\nq;b\n1,5;2\n", ";", [{"q": "1,5", "b": "2"}]),
    "sep= in quotes": ('\ufeff"sep=;"\r\nq;b\r\n1;2\r\n', ";", [{"q": "1", "b": "2"}]),
    "sep= of another sign": ("SEP=^\nq^b\n1^2\n", "^", [{"q": "1", "b": "2"}]),
    "sep= against the header": ("sep=;\nq,x;b\n1;2\n", ";", [{"q,x": "1", "b": "2"}]),
    "a long record": ("q;b\n" + "x" * 2_000_000 + ";2\n", ";", [{"q": "x" * 2_000_000, "b": "2"}]),
    "a row that is ragged, later": ("q;b\n" + "1;2\n" * 20, ";", [{"q": "1", "b": "2"}] * 20),
}
NOT_FOUND = {
    "a comma in the header": ("q;b,c\n1;2,3\n", [{"q;b": "1;2", "c": "3"}]),
    "commas that split evenly": ("q,b\n1;2,3\n", [{"q": "1;2", "b": "3"}]),
    "one column whose name has a semicolon": ("why; in a word\nbecause\n", [{"why; in a word": "because"}]),
    "one column whose rows sometimes have one": ("a;b\nx\ny;z\n", [{"a;b": "x"}, {"a;b": "y;z"}]),
    "one quoted column": ('"a;b"\n"1;2"\n', [{"a;b": "1;2"}]),
    "two candidates": ("a;b|c\n1;2|3\n", [{"a;b|c": "1;2|3"}]),
    "one column": ("q\n1\n2\n", [{"q": "1"}, {"q": "2"}]),
    "sep=,": ("sep=,\nq,b\n1,2;3\n", [{"q": "1", "b": "2;3"}]),
    "a column called sep": ("sep=a\n1\n", [{"sep=a": "1"}]),
}


def read(path, **options):
    source = open_input(str(path), ReadOptions(**options))
    source.scan()
    return [row.values for row in source], source.notes


@pytest.mark.parametrize("case", FOUND)
def test_another_delimiter_is_found_and_named(tmp_path, case):
    text, shown, rows = FOUND[case]
    (tmp_path / "in.csv").write_bytes(text.encode())

    found, notes = read(tmp_path / "in.csv")

    assert found == rows
    assert notes == [f"CSV: the columns are separated by `{shown}` (--delimiter sets another)"]


@pytest.mark.parametrize("case", NOT_FOUND)
def test_in_doubt_it_is_a_comma_and_nothing_is_said(tmp_path, case):
    text, rows = NOT_FOUND[case]
    (tmp_path / "in.csv").write_bytes(text.encode())

    assert read(tmp_path / "in.csv") == (rows, [])


def test_a_tsv_has_tabs_whatever_its_header_looks_like(tmp_path):
    (tmp_path / "in.tsv").write_text("a;b\n1;2\n")
    assert read(tmp_path / "in.tsv") == ([{"a;b": "1;2"}], [])

    (tmp_path / "in.tsv").write_text("sep=;\na;b\n1;2\n")
    assert read(tmp_path / "in.tsv")[0] == [{"a": "1", "b": "2"}]


def test_the_named_delimiter_overrides_all(tmp_path):
    (tmp_path / "in.csv").write_text("sep=|\na|b;c,d\n1|2;3,4\n")

    assert read(tmp_path / "in.csv", delimiter=";") == ([{"a|b": "1|2", "c,d": "3,4"}], [])
    assert read(tmp_path / "in.csv", delimiter=",")[0] == [{"a|b;c": "1|2;3", "d": "4"}]


@pytest.mark.parametrize(("written", "delimiter"), [(";", ";"), ("tab", "\t"), (r"\t", "\t"), ("\t", "\t"), ("¦", "¦")])
def test_a_delimiter_is_one_character(written, delimiter):
    assert parse_delimiter(written) == delimiter


@pytest.mark.parametrize("written", ["", ";;", '"', "\n", "comma"])
def test_what_is_no_delimiter_is_refused(written):
    with pytest.raises(UsageError, match="use one character"):
        parse_delimiter(written)


def test_line_numbers_count_the_line_that_names_the_delimiter(tmp_path):
    (tmp_path / "in.csv").write_text("sep=;\nq;b\n1;2\n3\n")

    with pytest.raises(InputError, match=r"in\.csv:4: there is 1 value, but the header has 2 columns"):
        read(tmp_path / "in.csv")

    (tmp_path / "in.csv").write_text("sep=;\nq;q\n1;2\n")
    with pytest.raises(InputError, match=r"in\.csv:2: the column `q` appears twice"):
        read(tmp_path / "in.csv")


def test_a_ragged_row_of_a_file_that_may_have_another_delimiter_names_the_flag(tmp_path):
    (tmp_path / "in.csv").write_text("price, net;amount\n1;2\n")

    with pytest.raises(InputError, match="if the separator is `;`, add --delimiter ';'"):
        read(tmp_path / "in.csv")
    assert read(tmp_path / "in.csv", delimiter=";")[0] == [{"price, net": "1", "amount": "2"}]


def test_utf_16_is_refused_as_ever(tmp_path):
    (tmp_path / "in.csv").write_bytes("q;b\n1;2\n".encode("utf-16"))

    with pytest.raises(InputError, match="UTF-16"):
        read(tmp_path / "in.csv")


def test_each_file_of_a_glob_has_its_own_and_a_note_is_given_once(tmp_path):
    (tmp_path / "a.csv").write_text("q;b\n1;2\n")
    (tmp_path / "b.csv").write_text("q,b\n3,4\n")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"q;b\n5;6\n"))

    rows, notes = read(tmp_path / "*.csv*")

    assert rows == [{"q": "1", "b": "2"}, {"q": "3", "b": "4"}, {"q": "5", "b": "6"}]
    assert len(notes) == 1


@pytest.mark.parametrize("delimiter", [None, "|"])
def test_parts_of_a_cluster_read_the_same(tmp_path, delimiter):
    """A quote that opens a field with one delimiter is text with another: the number of rows depends on it."""
    (tmp_path / "in.csv").write_text('q;b|c\n1;2|3\n"x|\n4;5"|6\n' if delimiter else 'q;b\n1;"2\n3"\n4;5\n')
    options = ReadOptions(delimiter=delimiter)
    parts = cut(str(tmp_path / "in.csv"))

    counts = [count(part, options) for part in parts]
    rows = [row.values for part in placed(parts, counts) for row in part.open(options)]

    assert rows == read(tmp_path / "in.csv", delimiter=delimiter)[0]
    assert sum(c.rows for c in counts) == len(rows)
