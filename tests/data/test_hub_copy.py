"""A copy of a dataset has its rows and types, is made once, and resumes after a crash."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from distask.data.hub_copy import copy_hub
from distask.data.input import open_input
from distask.errors import InputError

datasets = pytest.importorskip("datasets")


@pytest.fixture
def repository(tmp_path):
    """Three files of typed rows."""
    (tmp_path / "repo").mkdir()
    features = datasets.Features(
        {
            "n": datasets.Value("int32"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
            "at": datasets.Value("date32"),
        }
    )
    for number in range(3):
        rows = {"n": [10 * number + n for n in range(10)], "label": [0, 1] * 5, "at": ["2026-01-02"] * 10}
        data = datasets.Dataset.from_dict({**rows, "at": pa.array([20_000] * 10, pa.date32()).to_pylist()}, features)
        data.to_parquet(tmp_path / "repo" / f"train-{number}.parquet")
    return f"hf://{tmp_path}/repo@train"


class Copies:
    """Copies shards, and counts them."""

    def __init__(self, fail_at=None):
        self.done, self.fail_at = [], fail_at

    def __call__(self, shards):
        for shard in shards:
            if shard.number == self.fail_at:
                raise KeyboardInterrupt
            before = Path(shard.file).exists()
            shard.copy()
            if not before:
                self.done.append(shard.number)


def rows_of(source):
    opened = open_input(source)
    opened.scan()
    return [(row.values, row.cells and row.cells.schema.field("label").type) for row in opened]


def test_a_copy_has_the_rows_and_types_of_the_stream(repository, tmp_path):
    copies = Copies()

    copied = copy_hub(repository, tmp_path / "copy", None, copies)

    assert copies.done == [0, 1, 2]
    assert rows_of(copied) == rows_of(repository)
    assert len(rows_of(copied)) == 30
    schemas = [next(iter(open_input(source))).cells.schema for source in (copied, repository)]
    assert schemas[0].metadata[b"huggingface"] == schemas[1].metadata[b"huggingface"]


def test_rows_without_types_are_copied_as_json_lines(tmp_path):
    (tmp_path / "repo").mkdir()
    lines = [json.dumps({"a": n, "b": {"c": "d"}}) + "\n" for n in range(5)]
    (tmp_path / "repo" / "train.jsonl").write_text("".join(lines))
    source = f"hf://{tmp_path}/repo@train"

    copied = copy_hub(source, tmp_path / "copy", None, Copies())

    values = [[row.values for row in open_input(each)] for each in (copied, source)]
    assert values[0] == values[1]


def test_a_complete_copy_is_used_again_until_the_dataset_changes(repository, tmp_path):
    copy_hub(repository, tmp_path / "copy", None, Copies())
    second, third = Copies(), Copies()

    copy_hub(repository, tmp_path / "copy", None, second)
    first_file = tmp_path / "repo" / "train-0.parquet"
    (tmp_path / "repo" / "train-3.parquet").write_bytes(first_file.read_bytes())
    copied = copy_hub(repository, tmp_path / "copy", None, third)

    assert second.done == []
    assert third.done == [0, 1, 2, 3]
    assert len(rows_of(copied)) == 40


def test_an_interrupted_copy_resumes(repository, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        copy_hub(repository, tmp_path / "copy", None, Copies(fail_at=2))
    rest = Copies()

    copied = copy_hub(repository, tmp_path / "copy", None, rest)

    assert rest.done == [2]
    assert rows_of(copied) == rows_of(repository)


def test_a_limit_copies_only_the_first_rows(repository, tmp_path):
    copied = copy_hub(repository, tmp_path / "copy", 15, Copies())

    assert [values["n"] for values, _ in rows_of(copied)] == list(range(15))


def test_a_dataset_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(InputError, match="nothing"):
        copy_hub(f"hf://{tmp_path}/nothing@train", tmp_path / "copy", None, Copies())
