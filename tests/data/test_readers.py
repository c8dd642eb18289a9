"""Every kind of file is read as it is, and every fault of one is told with its place before anything is asked."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest
import zstandard

from distask.data.input import Nothing, open_input, rows_input
from distask.errors import InputError

GOOD = b'{"a": 1}\n'


def read(path, **choice):
    source = open_input(str(path), **choice)
    source.scan()
    return [row.values for row in source]


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        (b'{"a": 1}\n{"a": }\n', "2:7", "not JSON"),
        (b'{"a": 1}{"a": 2}\n', "1:9", "second value"),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}\n", "1", "nested"),
        (b'{"a": 1, "b": 2, "a": 3}\n', "1", 'key "a" appears twice'),
        (b'{"x": {"a": 1, "a": 3}}\n', "1", 'key "a" appears twice'),
        (b'{"a": 1, "a"  : 3}\n', "1", 'key "a" appears twice'),
        (b'{"a": 1, "a"\t: 3}\n', "1", 'key "a" appears twice'),
        (b'{"a"\t :1, "b": {"c":2}, "a" : 3}\n', "1", 'key "a" appears twice'),
        (b'{"a": NaN}\n', "1:7", "NaN"),
        (b'{"a": -Infinity}\n', "1:7", "Infinity"),
        (b'{"a": 1e400}\n', "1:7", "1e400"),
        (b'{"a": "\\ud800"}\n', "1:8", "no second half"),
        (b"\xff\xfe{\x00}\x00", "1", "UTF-16"),
        (b'{"a": 1}\r{"a": 2}\r', "1:9", "CR only"),
        (GOOD + b'{"a": "\xe9"}\n', "2:8", "not UTF-8"),
        (GOOD + b"\0\0\0\0\n", "2:1", "NUL bytes"),
        (GOOD + b"5\n", "2:1", "a number, expected an object"),
        (GOOD + b"null\n", "2:1", "null, expected an object"),
        (b'[{"a": 1}]\n', "1:1", "JSON array"),
        (b'[\n{"a": 1}\n]\n', "1", "JSON array"),
    ],
)
def test_a_bad_line_is_reported_with_its_place(tmp_path, content, place, words):
    path = tmp_path / "in.jsonl"
    path.write_bytes(content)

    with pytest.raises(InputError, match=words) as result:
        read(path)
    assert str(result.value).startswith(f"{path}:{place}")


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n',
        b'{"a": 1}\r\n{"a": 2}\r\n',
        b'{"a": 1}\n\n  \n{"a": 2}',
        b'{"a":1}\n{"a" : 2}\n',
    ],
)
def test_what_is_odd_but_right_is_read(tmp_path, content):
    path = tmp_path / "in.jsonl"
    path.write_bytes(content)

    assert read(path) == [{"a": 1}, {"a": 2}]


def test_numbers_of_any_size_and_dates_come_as_they_are(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"a": 123456789012345678901234567890, "d": "2024-01-01", "s": "x\u2028y"}\n')

    assert read(path) == [{"a": 123456789012345678901234567890, "d": "2024-01-01", "s": "x\u2028y"}]


def test_all_bad_lines_are_reported_at_once_or_skipped(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(GOOD + b"{\n" * 15)

    with pytest.raises(InputError, match="and 5 more lines"):
        read(path)
    source = open_input(str(path), on_bad_row="skip")
    source.scan()
    assert [r.values for r in source] == [{"a": 1}]
    assert source.skipped == 15


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_compressed_files_are_known_by_their_bytes(tmp_path, pack):
    path = tmp_path / "in.jsonl"
    path.write_bytes(pack(GOOD * 3))

    assert read(path) == [{"a": 1}] * 3


def test_a_compressed_file_that_was_cut_is_reported(tmp_path):
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(b'{"a": %d}\n' % i for i in range(9999)))[:-500])

    with pytest.raises(InputError, match="truncated"):
        read(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: (p / "in.jsonl").write_text(""), "no rows"),
        (lambda p: (p / "in.jsonl").mkdir(), r"is a folder; did you mean .*\*\.jsonl"),
        (lambda p: (p / "int.jsonl").write_text("{}"), r"file not found; did you mean .*int\.jsonl"),
    ],
)
def test_what_is_no_file_of_rows_is_reported(tmp_path, make, words):
    make(tmp_path)

    with pytest.raises(InputError, match=words):
        read(tmp_path / "in.jsonl")


def test_a_format_that_is_not_known_is_reported(tmp_path):
    (tmp_path / "in.xlsx").write_text("x")

    with pytest.raises(InputError, match=r"unknown format `\.xlsx`"):
        read(tmp_path / "in.xlsx")


def test_a_glob_is_read_in_order_and_one_without_files_is_reported(tmp_path):
    for name in "ba":
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"name": name}) + "\n")

    assert read(tmp_path / "*.jsonl") == [{"name": "a"}, {"name": "b"}]
    with pytest.raises(InputError, match="no file matches"):
        read(tmp_path / "*.csv")


def test_json_arrays_are_rows(tmp_path):
    path = tmp_path / "in.json"
    path.write_text(json.dumps([{"a": 1, "b": "x\ny"}, {"a": 2}], indent=2))

    assert read(path) == [{"a": 1, "b": "x\ny"}, {"a": 2}]


@pytest.mark.battery
@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_of_any_length_is_read_a_part_at_a_time(tmp_path, indent):
    """Texts, numbers and signs that the end of a part cuts are whole; the memory holds a part, not the file."""
    rows = [{"id": number * 10**12, "text": 'é😀\\n"' * (number % 97)} for number in range(25_000)]
    path = tmp_path / "in.json"
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=indent))
    source = open_input(str(path))

    tracemalloc.start()
    source.scan()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert source.count == len(rows)
    assert peak < path.stat().st_size / 4
    assert [row.values for row in source] == rows


@pytest.mark.battery
def test_a_fault_far_into_an_array_of_one_line_has_its_column(tmp_path):
    path = tmp_path / "in.json"
    before = "[" + '{"a": "0123456789"}, ' * 40_000
    path.write_text(before + '{"a": nul}]')

    with pytest.raises(InputError) as result:
        open_input(str(path)).scan()

    place, line, caret = str(result.value).splitlines()
    assert f"in.json:1:{len(before) + 7}: this is not JSON" in place
    assert line[caret.index("^") :] == "nul}]"


def test_csv_values_are_text_and_ragged_rows_are_reported(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text('a,b\n1,"x\ny"\n2024-01-01,\n')
    assert read(path) == [{"a": "1", "b": "x\ny"}, {"a": "2024-01-01", "b": ""}]

    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(InputError, match=r"in\.csv:3: there is 1 value, but the header has 2 columns"):
        read(path)


def test_parquet_is_streamed(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"a": list(range(600)), "b": [["x"]] * 600}), tmp_path / "in.parquet")

    assert read(tmp_path / "in.parquet", offset=598) == [{"a": 598, "b": ["x"]}, {"a": 599, "b": ["x"]}]


def test_datasets_folders_and_local_repositories_are_read(tmp_path):
    import datasets

    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "train.jsonl").write_bytes(GOOD * 2)
    datasets.Dataset.from_dict({"a": [1, 2]}).save_to_disk(tmp_path / "saved")

    assert read(tmp_path / "saved") == [{"a": 1}, {"a": 2}]
    source = open_input(f"hf://{tmp_path}/repo@train")
    source.scan()
    assert [r.values for r in source] == [{"a": 1}, {"a": 1}]


def test_rows_are_chosen_by_offset_limit_shard_and_sample():
    rows = [{"i": i} for i in range(20)]

    def chosen(**choice):
        source = rows_input(rows, **choice)
        source.scan()
        return [r.values["i"] for r in source]

    assert chosen(offset=5, limit=3) == [5, 6, 7]
    assert chosen(shard=(2, 4)) == [1, 5, 9, 13, 17]
    assert sorted(chosen(shard=(1, 2)) + chosen(shard=(2, 2))) == list(range(20))
    sample = chosen(sample=6, seed=3)
    assert len(sample) == 6
    assert sample == sorted(sample) == chosen(sample=6, seed=3) != chosen(sample=6, seed=4)


def test_a_scan_says_which_rows_lack_a_column(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"a": 1}\n{"b": 1}\n{"a": null}\n{}\n')

    source = open_input(str(path), columns_needed=["a"])
    source.scan()

    assert source.missing == {"a": (2, f"{path}:2")}
    assert source.nulls == {"a": (1, f"{path}:3")}
    assert source.count == 4
    assert source.columns == ["a", "b"]


def test_a_file_that_changes_is_noticed(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(GOOD)
    source = open_input(str(path))
    source.scan()
    assert not source.changed()

    path.write_bytes(GOOD * 2)

    assert source.changed()


def test_rows_made_of_nothing_are_never_kept():
    """A thousand million of them are there at once, and can be gone through again and again."""
    rows = rows_input(Nothing(10**9), limit=2)

    assert [row.values for row in rows] == [{}, {}]
    assert [row.index for row in rows] == [0, 1]


def test_rows_can_be_changed_or_left_out_after_they_are_selected(tmp_path):
    from msgspec.structs import replace

    (tmp_path / "in.jsonl").write_text("".join(f'{{"a": {i}}}\n' for i in range(10)))

    def change(row):
        return None if row.values["a"] % 2 else replace(row, values={"a": -row.values["a"]}, raw=None)

    source = open_input(str(tmp_path / "in.jsonl"), limit=5, transform=change)
    seen = []

    class Look:
        def row(self, row):
            seen.append(row.values["a"])

        def block(self, block):
            for number in range(len(block.values)):
                self.row(block.row(number))

    source.scan(Look())

    assert [(row.index, row.values) for row in source] == [(0, {"a": 0}), (2, {"a": -2}), (4, {"a": -4})]
    assert (seen, source.count) == ([0, 1, 2, 3, 4], 5)
