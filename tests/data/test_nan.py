"""NaN and infinities, as Python writes them in JSON, are refused with the ways on, or read and written as null."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import distask
from distask.data.input import open_input, rows_input
from distask.data.parts import count, cut, placed
from distask.data.readers import ReadOptions
from distask.data.readers.jsonl import read_line
from distask.data.writers.jsonl import spliced
from distask.errors import InputError

NULL = ReadOptions(on_nan="null")
LINES = {
    "NaN": (b'{"a": NaN}', b'{"a": null}'),
    "Infinity": (b'{"a":Infinity , "b": -Infinity}', b'{"a":null , "b": null}'),
    "in lists and objects": (b'{"a": [1.0, NaN, {"b": [NaN]}]}', b'{"a": [1.0, null, {"b": [null]}]}'),
    "its letters in texts": (b'{"a": "NaN, \\"NaN\\" -Infinity", "b": NaN}', b'{"a": "NaN, \\"NaN\\" -Infinity", "b": null}'),
    "its letters in names": (b'{"NaN": NaN, "\\\\": NaN, "Infinity": 1}', b'{"NaN": null, "\\\\": null, "Infinity": 1}'),
    "other numbers as they are written": (
        b'{"a": 1.50, "b": 1E5, "c": 12345678901234567890123, "d": -0, "e": NaN}',
        b'{"a": 1.50, "b": 1E5, "c": 12345678901234567890123, "d": -0, "e": null}',
    ),
    "a number beyond a float": (b'{"a": 1e400, "b": [-1e999]}', b'{"a": null, "b": [null]}'),
    "a long whole number": (b'{"a": ' + b"9" * 400 + b', "b": NaN}', b'{"a": ' + b"9" * 400 + b', "b": null}'),
    "letters of all sorts": ('{"é": "😀 NaN\\u2028", "b": NaN}'.encode(), '{"é": "😀 NaN\\u2028", "b": null}'.encode()),
    "nothing of the sort": (b'{"a":  1.0, "b": "NaN"}', b'{"a":  1.0, "b": "NaN"}'),
}  # fmt: skip


@pytest.mark.parametrize("case", LINES)
def test_a_row_goes_out_with_null_in_its_place_and_all_else_as_it_came(tmp_path, case):
    line, wanted = LINES[case]
    (tmp_path / "in.jsonl").write_bytes(line + b"\n")

    (row,) = open_input(str(tmp_path / "in.jsonl"), NULL)

    assert row.error is None
    assert row.values == json.loads(wanted)
    assert spliced(row, {"new": 1}) == wanted[:-1] + b',"new":1}\n'


@pytest.mark.parametrize("indent", [None, 2])
def test_arrays_of_json_are_read_so_too(tmp_path, indent):
    rows = [{"a": math.nan, "b": "NaN"}, {"a": [math.inf, -math.inf], "b": "x"}]
    (tmp_path / "in.json").write_text(json.dumps(rows, indent=indent))

    source = open_input(str(tmp_path / "in.json"), NULL)
    source.scan()

    assert [row.values for row in source] == [{"a": None, "b": "NaN"}, {"a": [None, None], "b": "x"}]
    assert all(b"NaN," not in row.raw for row in source)


@pytest.mark.parametrize(("line", "expected"), [
    ('{"b": "NaN", "a": NaN}', "1:19: NaN is not a JSON number"),
    ('{"a": -Infinity}', "1:7: -Infinity is not a JSON number"),
    ('{"a": 1e400}', "1:7: 1e400 is too large for a number"),
])  # fmt: skip
def test_the_error_names_both_ways_on(tmp_path, line, expected):
    (tmp_path / "in.jsonl").write_text(line + "\n")

    with pytest.raises(InputError) as raised:
        open_input(str(tmp_path / "in.jsonl")).scan()

    assert expected in str(raised.value)
    assert "--on-nan null" in str(raised.value)
    assert "--on-bad-row skip" in str(raised.value)


def test_other_faults_of_a_line_stay_faults(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"a": NaN, "a": 1}\n{"a": nan}\n{"a": NaN\n{"a": +Infinity}\n')
    source = open_input(str(tmp_path / "in.jsonl"), NULL, on_bad_row="skip")

    with pytest.raises(InputError, match="the input has no rows"):
        source.scan()
    assert source.skipped == 4


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["NaN", '"NaN', "\\"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


def nulled(value):
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: nulled(v) for k, v in value.items()}
    return [nulled(v) for v in value] if isinstance(value, list) else value


@pytest.mark.battery
@settings(max_examples=300, derandomize=True)
@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4), st.booleans())
def test_what_python_writes_is_read_with_null_for_each(values, ascii_only):
    raw = json.dumps(values, ensure_ascii=ascii_only).encode()

    row = read_line(raw, "in.jsonl", 1, on_nan="null")

    assert row.error is None
    assert row.values == nulled(values)
    assert row.raw == json.dumps(nulled(values), ensure_ascii=ascii_only).encode()


def test_parts_of_a_cluster_read_the_same(tmp_path):
    lines = [json.dumps({"i": i, "x": math.nan if i % 3 else 1.5, "text": "NaN" * 40}) for i in range(3000)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    parts = cut(str(tmp_path / "in.jsonl"))
    assert len(parts) > 3

    placed_parts = placed(parts, [count(part, NULL) for part in parts])

    rows = [(row.index, row.values, row.raw) for part in placed_parts for row in part.open(NULL)]
    assert rows == [(row.index, row.values, row.raw) for row in open_input(str(tmp_path / "in.jsonl"), NULL)]


TASK = """\
name: t
inputs: {q: {}}
format_input: [{role: user, content: "{{ q }}"}]
outputs: {a: x}
format_output: {parser: text}
"""


def test_run_of_python_takes_it(tmp_path):
    (tmp_path / "t.yaml").write_text(TASK)
    (tmp_path / "in.jsonl").write_text('{"q": "NaN", "x": NaN}\n')
    options = {"llm": {"provider": "offline"}, "store": False}

    result = distask.run(tmp_path / "t.yaml", tmp_path / "in.jsonl", on_nan="null", **options)

    assert result.rows[0]["x"] is None
    assert result.rows[0]["q"] == "NaN"
    with pytest.raises(InputError, match="--on-nan null"):
        distask.run(tmp_path / "t.yaml", tmp_path / "in.jsonl", **options)


def test_run_of_python_takes_a_delimiter_and_notes_one_that_it_finds(tmp_path):
    (tmp_path / "t.yaml").write_text(TASK)
    (tmp_path / "in.csv").write_text("q;b\n1,5;2\n")
    options = {"llm": {"provider": "offline"}, "store": False}

    found = distask.run(tmp_path / "t.yaml", tmp_path / "in.csv", **options)
    named = distask.run(tmp_path / "t.yaml", tmp_path / "in.csv", delimiter=";", **options)

    assert found.notes == ["CSV: the columns are separated by `;` (--delimiter sets another)"]
    assert named.notes == []
    assert [r["q"] for r in found.rows] == [r["q"] for r in named.rows] == ["1,5"]


def test_nan_of_python_and_parquet_is_null_in_json_and_text_in_csv_stays(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"x": [math.nan, math.inf, 1.0]}), tmp_path / "in.parquet")
    (tmp_path / "in.csv").write_text("x\nNaN\n")

    assert [spliced(row, {}) for row in open_input(str(tmp_path / "in.parquet"))] == [b'{"x":null}\n'] * 2 + [
        b'{"x":1.0}\n'
    ]
    assert [spliced(row, {}) for row in rows_input([{"x": math.nan}])] == [b'{"x":null}\n']
    assert [spliced(row, {}) for row in open_input(str(tmp_path / "in.csv"), NULL)] == [b'{"x":"NaN"}\n']
