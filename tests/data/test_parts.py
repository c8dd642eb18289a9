"""An input that is cut into parts is, part after part, the same rows at the same places."""

import gzip
import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from distask.data.input import open_input
from distask.data.parts import Counted, count, cut, placed


def facts_of(rows):
    return [(r.index, r.file, r.line, r.values, None if r.error is None else str(r.error)) for r in rows]


def read_apart(source):
    parts = cut(source)
    for part in placed(parts, [count(part) for part in parts]):
        yield from part.open()


def lines(number, width=200):
    return [json.dumps({"i": i, "text": "x" * (i * 37 % width)}) for i in range(number)]


def test_json_lines_are_cut_at_the_ends_of_lines_and_keep_their_numbers(tmp_path):
    """Blank lines are no rows, and have numbers all the same; a line that can't be read is facts_of where it stands."""
    content = lines(3000)
    content[100] = content[2500] = ""
    content[2900] = '{"i": '
    (tmp_path / "in.jsonl").write_text("\r\n".join(content))
    source = str(tmp_path / "in.jsonl")

    assert len(cut(source)) > 3
    assert facts_of(read_apart(source)) == facts_of(open_input(source))


@pytest.mark.battery
def test_parquet_is_cut_between_rows_also_inside_of_a_row_group(tmp_path):
    rows = [{"i": i, "text": f"{i * 7919 % 104729:0400d}"} for i in range(20_000)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet", row_group_size=7_000, compression="none")
    source = str(tmp_path / "in.parquet")

    assert len(cut(source)) > 3
    assert facts_of(read_apart(source)) == facts_of(open_input(source))


@pytest.mark.battery
def test_what_has_no_middle_to_enter_is_whole_and_small_files_are_joined(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(gzip.compress("\n".join(lines(20_000, 3000)).encode(), 0))
    (tmp_path / "b.csv").write_text("i,text\n" + "".join(f"{i},{'y' * 50}\n" for i in range(5_000)))
    for name in "cdefg":
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines(10)))
    source = str(tmp_path / "*")

    parts = cut(source)

    spans = [span for part in parts for span in part.spans]
    assert all(span.stop is None for span in spans if span.file.endswith(("a.jsonl", "b.csv")))
    assert len(parts) < len(spans)
    assert facts_of(read_apart(source)) == facts_of(open_input(source))


def test_rows_that_are_added_at_the_end_move_no_cut(tmp_path):
    """A part's store is found again: what was asked for its rows is not asked by another part."""
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(lines(3000)) + "\n")
    before = cut(str(path))
    with path.open("a") as file:
        file.write("\n".join(lines(100)) + "\n")

    after = cut(str(path))

    assert [part.spans for part in after][: len(before) - 1] == [part.spans for part in before][:-1]


@settings(max_examples=60, derandomize=True)
@given(
    st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n"), max_size=40), min_size=1)
)
def test_any_lines_are_cut_without_loss(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("cut") / "in.jsonl"
    path.write_text("\n".join(json.dumps({"t": text * 400}, ensure_ascii=False) for text in texts), encoding="utf-8")

    assert facts_of(read_apart(str(path))) == facts_of(open_input(str(path)))


def test_the_first_rows_of_parts_are_placed_by_what_is_before_them(tmp_path):
    (tmp_path / "in.jsonl").write_text("\n".join(lines(3000)))
    parts = cut(str(tmp_path / "in.jsonl"))

    made = placed(parts, [Counted(10, (12,)) for _ in parts])

    assert [part.index for part in made][:3] == [0, 10, 20]
    assert [part.spans[0].line for part in made][:3] == [1, 13, 25]
