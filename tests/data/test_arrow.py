"""Columns of typed sources keep their Arrow types and values, and new columns are typed by their schemas."""

from __future__ import annotations

import json
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from distask.data.input import Input
from distask.data.readers.parquet import read_parquet
from distask.data.row import Row
from distask.data.writers import open_output
from distask.errors import OutputError


def integers(bits, *, signed=True):
    low = -(2 ** (bits - 1)) if signed else 0
    return st.integers(low, low + 2**bits - 1)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
LEAVES = [
    *[(getattr(pa, f"int{bits}")(), integers(bits)) for bits in (8, 16, 32, 64)],
    *[(getattr(pa, f"uint{bits}")(), integers(bits, signed=False)) for bits in (8, 16, 32, 64)],
    (pa.float16(), st.floats(width=16, allow_nan=False)),
    (pa.float32(), st.floats(width=32, allow_nan=False)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.bool_(), st.booleans()),
    *[(kind, TEXT) for kind in (pa.string(), pa.large_string())],
    *[(kind, st.binary(max_size=4)) for kind in (pa.binary(), pa.large_binary())],
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.decimal128(38, 4), st.integers(-(10**20), 10**20).map(lambda n: Decimal(n).scaleb(-4))),
    (pa.decimal256(60, 0), st.integers(-(10**59), 10**59).map(Decimal)),
    *[(pa.timestamp(unit), integers(64)) for unit in ("ms", "us", "ns")],
    *[(pa.timestamp(unit, zone), integers(40)) for unit in ("s", "us", "ns") for zone in ("UTC", "Europe/Berlin")],
    (pa.date32(), integers(32)),
    (pa.date64(), st.integers(-(10**6), 10**6).map(lambda day: day * 86_400_000)),
    (pa.time32("s"), st.integers(0, 86_399)),
    (pa.time64("ns"), st.integers(0, 86_399 * 10**9)),
    *[(pa.duration(unit), integers(64)) for unit in ("s", "ms", "us", "ns")],
    (pa.null(), st.none()),
]
VIEWS = [(pa.string_view(), TEXT), (pa.binary_view(), st.binary(max_size=4))]
"""pyarrow writes these to Parquet as columns only, not in lists."""
leaves = st.sampled_from(LEAVES)


def nested(inner):
    lists = inner.flatmap(
        lambda known: st.sampled_from(
            [
                (pa.list_(known[0]), st.lists(st.none() | known[1], max_size=3)),
                (pa.large_list(known[0]), st.lists(st.none() | known[1], max_size=3)),
                (pa.list_(known[0], 2), st.lists(st.none() | known[1], min_size=2, max_size=2)),
                (pa.map_(pa.string(), known[0]), st.lists(st.tuples(TEXT, st.none() | known[1]), max_size=2)),
            ]
        )
    )
    structs = st.lists(inner, min_size=1, max_size=3).map(
        lambda several: (
            pa.struct([(f"f{i}", kind) for i, (kind, _) in enumerate(several)]),
            st.fixed_dictionaries({f"f{i}": st.none() | values for i, (_, values) in enumerate(several)}),
        )
    )
    return lists | structs


@st.composite
def tables(draw):
    """A table of some rows with random columns, each with nulls."""
    rows = draw(st.integers(1, 6))
    columns, fields = [], []
    for number in range(draw(st.integers(1, 4))):
        kind, values = draw(st.recursive(leaves, nested, max_leaves=4) | st.sampled_from(VIEWS))
        column = pa.array(draw(st.lists(st.none() | values, min_size=rows, max_size=rows)), kind)
        if draw(st.booleans()) and kind in (pa.string(), pa.int64()):
            column = column.dictionary_encode()
        columns.append(column)
        fields.append(pa.field(f"c{number}", column.type, metadata=draw(st.sampled_from([None, {"unit": "m"}]))))
    return pa.table(columns, schema=pa.schema(fields, metadata=draw(st.sampled_from([None, {"made": "by hand"}]))))


def is_same(one, other):
    """Whether two columns hold the same, however they are cut into chunks and encoded as dictionaries."""
    if pa.types.is_dictionary(one.type):
        return one.cast(one.type.value_type).equals(other.cast(other.type.value_type))
    return one.equals(other)


@pytest.mark.battery
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(table=tables(), times=st.lists(st.integers(0, 3), min_size=6, max_size=6), small=st.booleans())
def test_any_arrow_table_leaves_as_it_came(tmp_path_factory, table, times, small):
    """Rows that make none, one or several rows of the output; templates can see each value as JSON."""
    folder = tmp_path_factory.mktemp("table")
    parquet.write_table(table, folder / "in.parquet", row_group_size=2 if small else None)
    came = parquet.read_table(folder / "in.parquet")  # Parquet itself has no seconds, and no date64
    writer = open_output(str(folder / "out.parquet"), schemas={"new": {"type": "integer"}})
    taken = []
    for index, row in enumerate(read_parquet(folder / "in.parquet", "in")):
        assert row.error is None
        for _ in range(times[index]):
            taken.append(index)
            writer.write(row, {"new": index})
    if not taken:
        writer.abort()
        return
    writer.commit()

    made = parquet.read_table(folder / "out.parquet")
    assert writer.notes == []
    assert made.select(came.schema.names).schema.equals(came.schema, check_metadata=True)
    assert made.column("new").equals(pa.chunked_array([pa.array(taken, pa.int64())]))
    wanted = pa.concat_tables([came.slice(index, 1) for index in taken])  # pyarrow can't `take` string views
    for name in came.schema.names:
        assert is_same(made.column(name), wanted.column(name)), name


def rows_in(path):
    return list(read_parquet(path, str(path)))


def written(path, rows, schemas=None):
    """The Parquet file of rows, each a pair of a row and its new columns; and the writer's notes."""
    writer = open_output(str(path), schemas=schemas)
    for row, new in rows:
        writer.write(row, new)
    writer.commit()
    return parquet.read_table(path), writer.notes


def test_nan_and_infinity_stay_what_they_are(tmp_path):
    table = pa.table({"x": pa.array([float("nan"), float("inf"), None], pa.float32())})
    parquet.write_table(table, tmp_path / "in.parquet")

    made, _ = written(tmp_path / "out.parquet", [(row, {}) for row in rows_in(tmp_path / "in.parquet")])

    assert repr(made.column("x").to_pylist()) == "[nan, inf, None]"


def test_dates_beyond_pythons_calendar_are_read_and_stay(tmp_path):
    table = pa.table({"t": pa.array([253402300800000, None], pa.timestamp("ms")), "n": [{"d": [2**62]}, None]})
    table = table.set_column(1, "n", pa.array([{"d": [3_000_000]}, None], pa.struct([("d", pa.list_(pa.date32()))])))
    parquet.write_table(table, tmp_path / "in.parquet")

    rows = rows_in(tmp_path / "in.parquet")
    made, _ = written(tmp_path / "out.parquet", [(row, {}) for row in rows])

    assert rows[0].values == {"t": "10000-01-01T00:00:00.000", "n": {"d": ["10183-09-23"]}} or rows[0].values["t"]
    assert made.equals(table)


def test_the_metadata_of_pandas_and_datasets_stays(tmp_path):
    features = {"info": {"features": {"a": {"names": ["no", "yes"], "_type": "ClassLabel"}}}}
    metadata = {"pandas": json.dumps({"columns": []}), "huggingface": json.dumps(features)}
    table = pa.table({"a": pa.array([0, 1])}).replace_schema_metadata(metadata)
    parquet.write_table(table, tmp_path / "in.parquet")

    made, _ = written(tmp_path / "out.parquet", [(row, {"b": 1}) for row in rows_in(tmp_path / "in.parquet")])

    assert made.schema.metadata[b"pandas"] == metadata["pandas"].encode()
    assert json.loads(made.schema.metadata[b"huggingface"]) == features


def test_extension_types_stay(tmp_path):
    table = pa.table({"id": pa.array([b"0123456789abcdef", None], pa.uuid())})
    parquet.write_table(table, tmp_path / "in.parquet")

    made, _ = written(tmp_path / "out.parquet", [(row, {}) for row in rows_in(tmp_path / "in.parquet")])

    assert made.equals(table)


def test_files_of_different_types_share_one_that_holds_all(tmp_path):
    parquet.write_table(pa.table({"n": pa.array([1], pa.int8()), "s": [{"a": 1}]}), tmp_path / "1.parquet")
    parquet.write_table(pa.table({"n": pa.array([300], pa.int32()), "s": [{"b": "x"}]}), tmp_path / "2.parquet")
    rows = [*rows_in(tmp_path / "1.parquet"), *rows_in(tmp_path / "2.parquet"), Row({"n": None}, "3.jsonl", 1)]

    made, notes = written(tmp_path / "out.parquet", [(rows[i], {}) for i in (0, 1, 0, 2)])

    assert made.schema.field("n").type == pa.int32()
    assert made.column("n").to_pylist() == [1, 300, 1, None]
    assert made.column("s").to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": "x"}, {"a": 1, "b": None}, None]
    assert notes == []


def test_files_whose_types_have_nothing_in_common_are_written_as_json_has_them(tmp_path):
    parquet.write_table(pa.table({"n": [b"x"], "k": [1]}), tmp_path / "1.parquet")
    parquet.write_table(pa.table({"n": [5], "k": [2]}), tmp_path / "2.parquet")
    rows = [*rows_in(tmp_path / "1.parquet"), *rows_in(tmp_path / "2.parquet")]

    made, notes = written(tmp_path / "out.parquet", [(row, {}) for row in rows])

    assert made.to_pylist() == [{"n": "eA==", "k": 1}, {"n": "5", "k": 2}]
    assert any("do not have the input's types" in note and note.endswith(": n") for note in notes)


def test_a_type_that_parquet_lacks_becomes_one_that_it_has(tmp_path):
    batch = pa.record_batch({"e": pa.array([{}, None], pa.struct([])), "k": pa.array([1, 2])})
    from distask.data.readers.parquet import rows_of

    made, _ = written(tmp_path / "out.parquet", [(row, {}) for row in rows_of([batch], batch.schema, "f")])

    assert made.to_pylist() == [{"e": "{}", "k": 1}, {"e": None, "k": 2}]


def test_a_column_that_a_file_has_twice_is_refused(tmp_path):
    parquet.write_table(pa.table([[1], [2]], names=["a", "a"]), tmp_path / "in.parquet")

    [row] = rows_in(tmp_path / "in.parquet")

    assert "`a` appears twice" in str(row.error)


def test_a_chosen_row_keeps_no_other_row_in_memory(tmp_path):
    parquet.write_table(pa.table({"a": list(range(1000))}), tmp_path / "in.parquet")
    rows = Input("in", lambda: read_parquet(tmp_path / "in.parquet", "in"), shard=(2, 100))

    assert [(row.values["a"], row.cells.batch.to_pylist()) for row in rows] == [
        (a, [{"a": a}]) for a in range(1, 1000, 100)
    ]


# New columns


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, pa.string()),
        ({"type": "integer", "minimum": 1}, pa.int64()),
        ({"type": "number"}, pa.float64()),
        ({"type": "boolean"}, pa.bool_()),
        ({"enum": ["a", "b"]}, pa.string()),
        ({"enum": [1, 2, None]}, pa.int64()),
        ({"enum": [1, 2.5]}, pa.float64()),
        ({"type": ["integer", "null"]}, pa.int64()),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, pa.string()),
        ({"type": "array", "items": {"type": "integer"}}, pa.list_(pa.int64())),
        ({"type": "array", "items": {"enum": ["a"]}}, pa.list_(pa.string())),
        (
            {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"$ref": "#/$defs/c"}}, "$defs": {"c": {"type": "boolean"}}},
            pa.struct([("a", pa.int64()), ("b", pa.bool_())]),
        ),
    ],
)  # fmt: skip
def test_a_column_of_nulls_has_the_type_of_its_schema(tmp_path, schema, kind):
    made, notes = written(tmp_path / "out.parquet", [(Row({"a": 1}, "f", 1), {"b": None})], {"b": schema})

    assert made.schema.field("b").type == kind
    assert notes == []


@pytest.mark.parametrize(
    ("schema", "values", "kind", "wanted"),
    [
        ({"type": "number"}, [1, 2], pa.float64(), [1.0, 2.0]),
        ({"type": "array", "items": {"type": "string"}}, [[], []], pa.list_(pa.string()), [[], []]),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, [{}, {"a": 1, "z": "x"}], None, [{"a": None, "z": None}, {"a": 1, "z": "x"}]),
        ({}, [1, 2.5], pa.float64(), [1.0, 2.5]),
        ({}, [2**64 - 1, 0], pa.uint64(), [2**64 - 1, 0]),
        ({"type": "integer"}, [2**64 - 1, 0], pa.uint64(), [2**64 - 1, 0]),
        ({}, [2**64, -1], pa.decimal128(38, 0), [Decimal(2**64), Decimal(-1)]),
        ({}, [10**60], pa.decimal256(76, 0), [Decimal(10**60)]),
        ({}, [10**80, None], pa.string(), [str(10**80), None]),
        ({}, [[10**30], []], pa.list_(pa.decimal128(38, 0)), [[Decimal(10**30)], []]),
        ({}, [2**60, 0.5], pa.float64(), [float(2**60), 0.5]),
        ({}, [2**60 + 1, 0.5], pa.string(), [str(2**60 + 1), "0.5"]),
        ({}, [1, "a", None], pa.string(), ["1", "a", None]),
        ({}, [[1, "a"], []], pa.string(), ['[1, "a"]', "[]"]),
        ({}, [True, 1], pa.string(), ["true", "1"]),
        ({}, [{"a": 1}, {"b": [{"c": "é"}]}], None, [{"a": 1, "b": None}, {"a": None, "b": [{"c": "é"}]}]),
        ({}, [{}, {}], pa.string(), ["{}", "{}"]),
        ({}, [{"a": {}}, {"a": {"b": 1}}], None, [{"a": {"b": None}}, {"a": {"b": 1}}]),
        ({}, [None, None], pa.null(), [None, None]),
        ({}, [float("nan"), 1.5], pa.float64(), [None, 1.5]),
        ({"type": "string"}, ["\ud800", "ok"], pa.string(), ["?", "ok"]),
        ({"type": "integer"}, ["1999-13-99", None], pa.string(), ["1999-13-99", None]),
    ],
)  # fmt: skip
def test_a_column_has_the_narrowest_type_that_holds_all_of_its_values(tmp_path, schema, values, kind, wanted):
    rows = [(Row({"a": 1}, "f", 1), {"b": value}) for value in values]

    made, _ = written(tmp_path / "out.parquet", rows, {"b": schema})

    assert kind is None or made.schema.field("b").type == kind
    assert made.column("b").to_pylist() == wanted


def test_notes_say_which_columns_are_text_or_decimals(tmp_path):
    rows = [(Row({"id": 10**29}, "f", 1), {"mixed": 1}), (Row({"id": 1}, "f", 2), {"mixed": "a"})]

    _, notes = written(tmp_path / "out.parquet", rows)

    assert [note.rpartition(": ")[2] for note in notes] == ["mixed", "id"]


def test_keys_that_are_data_and_deep_values_become_text(tmp_path):
    deep = []
    for _ in range(100):
        deep = [deep]
    rows = [(Row({"a": 1}, "f", n), {"counts": {f"w{n}-{i}": 1 for i in range(300)}, "deep": deep}) for n in range(5)]

    made, notes = written(tmp_path / "out.parquet", rows)

    assert made.schema.field("counts").type == made.schema.field("deep").type == pa.string()
    assert json.loads(made.column("counts")[4].as_py()) == rows[4][1]["counts"]
    assert notes[0].endswith("counts, deep")


def test_columns_that_differ_by_case_stay_apart(tmp_path):
    made, _ = written(tmp_path / "out.parquet", [(Row({"a": 1, "A": "x"}, "f", 1), {})])

    assert made.to_pylist() == [{"a": 1, "A": "x"}]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.battery
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.sampled_from("ab"), VALUES), min_size=1, max_size=5), st.booleans())
def test_any_json_becomes_a_table(tmp_path_factory, rows, typed):
    """What the values are decides, whatever the schema said."""
    path = tmp_path_factory.mktemp("any") / "out.parquet"

    made, _ = written(path, [(Row({"k": 1}, "f", 1), row) for row in rows], {"a": {"type": "integer"}} if typed else {})

    assert made.num_rows == len(rows)


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_a_table_that_can_not_be_made_leaves_all_rows_as_json_lines(tmp_path, monkeypatch, name):
    """Under a name of their own each time, which the message gives; no earlier file is replaced."""
    from distask.data.writers import parquet as module
    from distask.data.writers import tables

    def refuse(*_args, **_options):
        raise MemoryError("no memory for column `b`")

    monkeypatch.setattr(module, "array_of", refuse)
    monkeypatch.setattr(tables, "_cell", refuse)
    for rows_name in (f"{name}.jsonl", f"{name}.2.jsonl"):
        writer = open_output(str(tmp_path / name))
        writer.write(Row({"a": 1}, "f", 1), {"b": 10**40})

        with pytest.raises(OutputError) as raised:
            writer.commit()
        writer.abort()

        assert f"{tmp_path / name}: can't create the table: no memory for column `b`" in str(raised.value)
        assert str(tmp_path / rows_name) in str(raised.value)
        assert (tmp_path / rows_name).read_text() == f'{{"a":1,"b":{10**40}}}\n'
        assert writer.partial == tmp_path / rows_name
    assert {path.name for path in tmp_path.iterdir()} == {".distask", f"{name}.jsonl", f"{name}.2.jsonl"}
