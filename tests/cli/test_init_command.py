"""`distask init`: whatever it writes validates, has a case, and is known to an editor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distask.cli.scaffold import EDITOR, from_columns
from distask.spec.gallery import gallery
from distask.spec.load import load_spec, load_text

NAMES = st.one_of(
    st.text(min_size=1, max_size=12), st.sampled_from(["row", "for", "none", "a b", "a_b", "answer", "1", "Ü", "reply"])
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def test_a_new_task_validates_holds_its_case_and_runs(shell):
    result = shell("init", "judge")

    assert result.code == 0
    assert result.out.startswith("judge.yaml  a task with one input")
    assert (
        (shell.folder / "judge.yaml")
        .read_text()
        .startswith("# yaml-language-server: $schema=.distask/task.schema.json\n")
    )
    assert json.loads((shell.folder / ".distask" / "task.schema.json").read_text()) == json.loads(shell("schema").out)
    assert shell("test", "judge.yaml").out.startswith("judge.yaml .\n")
    assert shell("run", "judge.yaml", "-i", "in.jsonl", "-c", "offline").code == 0


@pytest.mark.battery
@pytest.mark.parametrize("name", sorted(gallery()))
def test_every_built_in_task_can_be_the_beginning_of_another(name, tmp_path, monkeypatch):
    from distask.cli import main

    monkeypatch.chdir(tmp_path)

    assert main(["init", "mine", "--from", name]) == 0
    loaded = load_spec("mine.yaml")
    assert loaded.spec.name == "mine"
    assert len(loaded.spec.cases) == len(load_spec(name).spec.cases)
    assert (tmp_path / "mine.yaml").read_text().count("# yaml-language-server:") == 1


def test_the_columns_of_data_become_inputs_and_its_first_row_the_case(shell):
    shell.rows([{"my text": "a", "n": 1, "tags": []}, {"my text": "b", "n": 2.5, "tags": ["x"], "more": None}])

    result = shell("init", "new/sum-up.yaml", "-i", "in.jsonl")

    assert result.code == 0
    spec = load_spec(shell.folder / "new" / "sum-up.yaml").spec
    assert {name: (i.type or "string", i.required) for name, i in spec.inputs.items()} == {
        "my_text": ("string", True),
        "n": ("number", True),
        "tags": ("list[string]", True),
        "more": ("any", False),
    }
    assert spec.input_mappings == {"my_text": "my text"}
    assert spec.cases[0].input == {"my text": "a", "n": 1, "tags": []}
    assert shell("run", "new/sum-up.yaml", "-i", "in.jsonl", "-c", "offline").code == 0


@pytest.mark.battery
@settings(max_examples=60)
@given(st.lists(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4), min_size=1, max_size=3))
def test_any_data_makes_a_task_that_validates_and_reads_it(tmp_path_factory, rows):
    """`from_columns` holds what it writes against the language itself; here the rows are rendered too."""
    from distask.task.task import Task

    folder = tmp_path_factory.getbasetemp()
    data = folder / "any.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    start = from_columns(str(data), "any", Path("any.yaml"))

    task = Task(load_text(start.text, folder / "any.yaml"))
    for row in rows:
        task.format_input(row)
    assert start.text.startswith(EDITOR)


def test_bytes_are_left_out_and_said(shell):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image": [b"\\x89PNG"], "text": ["a"]}), shell.folder / "i.parquet")

    result = shell("init", "see", "-i", "i.parquet")

    assert result.code == 0
    assert "`image` holds bytes and was left out" in result.err
    assert list(load_spec(shell.folder / "see.yaml").spec.inputs) == ["text"]


def test_a_file_that_is_there_is_never_replaced(shell):
    shell.write("judge.yaml", "mine")

    result = shell("init", "judge")

    assert (result.code, result.out) == (2, "")
    assert "judge.yaml already exists and was not changed" in result.err
    assert (shell.folder / "judge.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the task name is missing; run distask init NAME"),
        (["--from", "ultrafedback"], "did you mean `ultrafeedback`?"),
        (["a", "-i", "nope.csv"], "nope.csv: file not found"),
        (["a", "-i", "in.jsonl", "--from", "clair"], "remove one of them"),
        (["..."], "is not a valid task name"),
    ],
)
def test_a_mistake_writes_nothing(shell, arguments, sentence):
    before = sorted(shell.folder.iterdir())

    result = shell("init", *arguments)

    assert (result.code, sentence in result.err) == (2, True)
    assert sorted(shell.folder.iterdir()) == before


def test_programs_get_the_paths(shell):
    shell("init", "a", "--json")

    made = {key: shell.events[-1][key] for key in ("path", "schema", "files")}

    assert made == {"path": "a.yaml", "schema": ".distask/task.schema.json", "files": ["a.yaml"]}
