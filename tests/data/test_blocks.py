"""A scan reads JSON Lines in blocks. It finds the same rows and the same errors as reading line by line."""

from __future__ import annotations

import gzip
import json
import random

import pytest

from distask.data.input import Input, open_input
from distask.data.readers import blocks
from distask.data.readers.blocks import Block, read_blocks
from distask.data.readers.jsonl import has_long_number, read_jsonl
from distask.errors import InputError

GOOD = [
    b'{"a": 1, "b": "x"}',
    b'{"a":1,"b":"x"}',
    b'{"a": "url: http://x:8080", "b": {"c": [1, 2, {"d": null}]}}',
    b'{"a": "a \\"quoted\\": word", "b": "\\\\"}',
    b'{"a": "\\u003a"}',
    b'{"a": "\\\\u003a", "\\u003a": "\\u003cb\\u003e"}',
    b'{"a": 123456789012345678901234567890, "b": 1.50}',
    b'{"a": 18446744073709551615, "b": -0.0, "c": 1e5}',
    b'  {"a" : true}\t\r',
    b"{}",
    '{"a": "é 漢 😀", "é": 1}'.encode(),
    b'{"a":' + b"[" * 300 + b"]" * 300 + b"}",
]
BAD = [
    b'{"a": 1, "a": 2}',
    b'{"a":1,"b":{"c":1,"c":"\\u003a"}}',
    b'{"a":1,"a":"\\u003A"}',
    b'{"a": "x',
    b'y"}',
    b'{"a": [1',
    b"2]}",
    b'{"a": 1},{"a": 2}',
    b'{"a": 1},{"b": [1',
    b'{"a": 1}{"a": 2}',
    b'{"a": 1},',
    b'{"a": 1},7,{"a": 2}',
    b'{"a": NaN}',
    b'{"a": 1e999}',
    b'{"a": "\\ud800"}',
    b'{"a": "\xe9"}',
    b'{"a":' + b"[" * 600 + b"]" * 600 + b"}",
    b'{"a": ' + b"9" * 5000 + b"}",
    b"\0\0",
    b"[1]",
    b"7",
    b"null",
    b'{"a": 1}\r{"a": 2}',
    b'\xef\xbb\xbf{"a": 1}',
]
BLANK = [b"", b"   ", b"\r"]


def facts_of(row):
    return row.line, json.dumps(row.values), row.raw, row.error and str(row.error)


def in_blocks(path, **options):
    for item in read_blocks(path, str(path), **options):
        yield from map(item.row, range(len(item.values))) if isinstance(item, Block) else [item]


@pytest.mark.parametrize("size", [1, 40, 200, 1 << 16])
@pytest.mark.parametrize("on_nan", ["stop", "null"])
def test_blocks_hold_the_rows_and_errors_that_lines_hold(tmp_path, monkeypatch, size, on_nan):
    monkeypatch.setattr(blocks, "BLOCK", size)
    monkeypatch.setattr(blocks, "_PATIENCE", 1)
    path = tmp_path / "in.jsonl"
    drawn = random.Random(size)
    seen = 0
    for _ in range(60):
        lines = drawn.choices([*GOOD * 6, *BAD, *BLANK], k=drawn.randint(1, 30))
        path.write_bytes(b"\n".join(lines) + drawn.choice([b"", b"\n"]))

        rows = list(in_blocks(path, on_nan=on_nan))

        assert list(map(facts_of, rows)) == list(map(facts_of, read_jsonl(path, str(path), on_nan=on_nan)))
        for block in read_blocks(path, str(path), on_nan=on_nan):
            if isinstance(block, Block):
                block.index = 7
                count = len(block.values)
                for part in (block, block.selected(count // 3, count, 2)):
                    assert list(part.rows()) == list(map(part.row, range(len(part.values))))
        seen += sum(isinstance(item, Block) for item in read_blocks(path, str(path)))
    assert seen


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_line_among_good_ones_is_never_in_a_block(tmp_path, bad):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n".join([*GOOD[:2] * 9, bad, *GOOD[:2] * 9]) + b"\n")

    assert not any(isinstance(item, Block) for item in read_blocks(path, str(path)))
    with pytest.raises(InputError, match=f"{path}:19"):
        open_input(str(path)).scan()


@pytest.mark.parametrize("good", [line for line in GOOD if b"\\u003a" not in line and b"[[[" not in line])
def test_good_lines_are_in_blocks(tmp_path, good):
    """All but escaped colons and deep nesting, which are read line by line to be certain."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n".join([good] * 20) + b"\n")

    (block,) = read_blocks(path, str(path))

    assert isinstance(block, Block)
    assert len(block.values) == 20


@pytest.mark.parametrize("before", range(12))
def test_a_number_of_19_digits_is_found_wherever_it_is(before):
    line = b'"' + b"x" * before

    assert has_long_number(line + b"9" * 19 + b"}")
    assert not has_long_number(line + b"9" * 18 + b"}" + b"1" * 18)
    assert not has_long_number(line + b"1     " * 20)


def test_a_run_reads_the_rows_of_valid_lines_in_blocks(tmp_path, monkeypatch):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"a": 123456789012345678901234567890, "b": 1.50}\n' * 100)
    source = open_input(str(path))
    source.scan()
    source._read = lambda: pytest.fail("they are read line by line")

    rows = list(source)

    assert [(row.index, row.line) for row in rows] == [(n, n + 1) for n in range(100)]
    assert rows[99].values == {"a": 123456789012345678901234567890, "b": 1.5}


def test_a_line_that_knows_the_separator_of_another_process_proves_nothing(tmp_path):
    """Only a line that holds this process's separator could look like two."""
    path = tmp_path / "in.jsonl"
    for separator in (0, 100_000_000, 123_456_789):
        path.write_bytes(b'{"a":1},%d,{"b":2}\n{"c":[1\n2]}\n' % separator)
        with pytest.raises(InputError, match=":1:8"):
            open_input(str(path)).scan()


def test_a_line_that_is_too_long_does_not_hide_the_lines_behind_it(tmp_path, monkeypatch):
    for module in (blocks, blocks.read_lines.__globals__["lines_of"].__globals__):
        (monkeypatch.setitem if isinstance(module, dict) else monkeypatch.setattr)(module, "MAX_LINE", 1000)
    monkeypatch.setattr(blocks, "BLOCK", 64)
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": "' + b"x" * 5_000_000 + b'"}\n{"a": 2}\n{"a": 3, "a": 4}\n')

    assert [row.values for row in in_blocks(path) if row.error is None] == [{"a": 1}, {"a": 2}]
    assert [row.line for row in in_blocks(path) if row.error is not None] == [2, 4]


@pytest.fixture
def many(tmp_path, monkeypatch):
    """Two files of 500 rows, read in blocks of a few rows."""
    monkeypatch.setattr(blocks, "BLOCK", 300)
    for name, first in (("a", 0), ("b", 500)):
        rows = [
            {"i": i, "text": "x" * (i % 37), **({"late": 1} if i == 700 else {})} for i in range(first, first + 500)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "*.jsonl"


CHOICES = [
    {},
    {"offset": 7},
    {"limit": 33},
    {"offset": 490, "limit": 111},
    {"shard": (2, 7)},
    {"offset": 123, "limit": 456, "shard": (3, 50)},
    {"offset": 999},
    {"limit": 1},
]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("sample", [None, 1, 9, 10_000])
@pytest.mark.parametrize("marks", [1 << 16, 3])
def test_the_same_rows_are_selected_with_and_without_blocks(many, monkeypatch, choice, sample, marks):
    monkeypatch.setattr(blocks, "MARKS", marks)
    fast = open_input(str(many), sample=sample, seed=5, columns_needed=["late"], **choice)
    slow = open_input(str(many), sample=sample, seed=5, columns_needed=["late"], **choice)
    slow._read_blocks = None

    fast.scan()
    slow.scan()

    assert (fast.count, fast.columns, fast.missing) == (slow.count, slow.columns, slow.missing)
    assert [(r.index, r.place, r.values) for r in fast] == [(r.index, r.place, r.values) for r in slow]


def test_a_sample_is_read_without_parsing_all_rows_again(many, monkeypatch):
    source = open_input(str(many), sample=5)
    source.scan()
    parsed = []
    read_line = blocks.read_line
    monkeypatch.setattr(blocks, "read_line", lambda *facts_of: parsed.append(facts_of) or read_line(*facts_of))
    monkeypatch.setattr(Input, "_selected", lambda _: pytest.fail("all rows were read again"))

    assert len(list(source)) == len(parsed) == 5


def test_a_sample_of_a_compressed_file_is_the_same(many, tmp_path):
    text = b"".join(path.read_bytes() for path in sorted(tmp_path.glob("*.jsonl")))
    (tmp_path / "one.jsonl").write_bytes(text)
    (tmp_path / "one.jsonl.gz").write_bytes(gzip.compress(text))
    plain, packed = (open_input(str(tmp_path / name), sample=20) for name in ("one.jsonl", "one.jsonl.gz"))
    plain.scan()
    packed.scan()

    assert [(r.index, r.values) for r in plain] == [(r.index, r.values) for r in packed]


def test_damage_in_the_middle_of_a_compressed_file_is_reported_with_its_line(tmp_path):
    path = tmp_path / "in.jsonl.gz"
    packed = gzip.compress("".join(json.dumps({"a": random.random()}) + "\n" for _ in range(20_000)).encode())
    path.write_bytes(packed[: len(packed) // 2])

    with pytest.raises(InputError, match=r"in\.jsonl\.gz:\d{4,}: the compressed file is truncated"):
        open_input(str(path)).scan()
