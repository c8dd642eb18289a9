"""A selection over parts has the rows of the same selection in one run."""

import json
import pickle

import pytest

from distask.data import parts as data_parts
from distask.data.input import open_input
from distask.data.parts import count, cut
from distask.runner.cluster.selection import sample_parts, select_parts
from distask.runner.job import Selection

ROWS = 500


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A file of several parts."""
    monkeypatch.setattr(data_parts, "SMALLEST", 1 << 10)
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"n": n, "pad": "." * (n % 70)}) + "\n" for n in range(ROWS)))
    return str(path)


def rows_of_parts(source, selection, seed):
    found = cut(source)
    assert len(found) > 4
    selected = select_parts(found, [count(part) for part in found], selection)
    read = []
    for part in sample_parts(selected, selection, seed):
        limit = None if selection.limit is None else part.selected
        rows = pickle.loads(pickle.dumps(part)).open(limit=limit, offset=selection.offset)
        rows.scan()
        assert rows.count == part.rows
        read += [(row.index, row.line, row.values) for row in rows]
    return read


@pytest.mark.parametrize(
    ("selection", "seed"),
    [
        (Selection(), 0),
        (Selection(limit=333, offset=40), 0),
        (Selection(sample=50), 0),
        (Selection(sample=50), 7),
        (Selection(sample=3), 1),
        (Selection(sample=200, limit=333, offset=40), 2),
        (Selection(sample=ROWS + 1), 0),
    ],
)
def test_parts_have_the_rows_of_one_run(source, selection, seed):
    whole = open_input(source, limit=selection.limit, offset=selection.offset, sample=selection.sample, seed=seed)
    whole.scan()

    assert rows_of_parts(source, selection, seed) == [(row.index, row.line, row.values) for row in whole]


def test_another_sample_of_a_part_is_another_state(source):
    selected = select_parts(found := cut(source), [count(part) for part in found], Selection())

    states = [sample_parts(selected, Selection(sample=50), seed)[0].state() for seed in (0, 1)]

    assert states[0] != states[1]
    json.dumps(states)
