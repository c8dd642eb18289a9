"""Tasks that call no model, rows that a `check` fails, and runs that write only the outputs."""

from __future__ import annotations

import json

import pytest

ANSWERED = [
    {"instruction": "2+2?", "generation": "4", "id": 1},
    {"instruction": "A prime?", "generation": "", "id": 2},
    {"instruction": "Hi", "generation": "Hello.", "id": 3},
]

CHECKED = """\
name: checked
inputs: {number: {type: integer}}
steps:
  - check: number > 0
    error: "{{ number }} is not positive"
  - set: {double: "{{ number * 2 }}"}
outputs: {double: {type: integer}}
"""


@pytest.fixture
def answered(shell):
    shell.rows(ANSWERED)
    return shell


def test_a_task_without_a_model_needs_no_key_and_no_server(answered):
    answered.rows(ANSWERED[:1])

    result = answered("run", "format-sft", "-i", "in.jsonl", "-o", "out.jsonl")

    assert result.code == 0
    assert result.err.splitlines()[:2] == ["format-sft · no model · out.jsonl", "rows        1 in, 1 out"]
    assert "replies" not in result.err
    assert not (answered.folder / ".distask" / "store.db").exists()
    assert answered.server.requests == []


def test_only_rows_that_a_trainer_accepts_are_written_and_the_others_are_named(answered):
    result = answered("run", "format-sft", "-i", "in.jsonl", "-o", "out.jsonl")

    assert result.code == 3
    assert "in.jsonl:2, step check: message 2 (assistant) is empty" in result.err
    assert "failed rows are left out; --all-columns writes them" in result.err
    assert "run again" not in result.err
    assert [row["messages"][1]["content"] for row in answered.lines("out.jsonl")] == ["4", "Hello."]
    assert {key for row in answered.lines("out.jsonl") for key in row} == {"messages"}


def test_all_columns_keeps_every_row_with_the_reason(answered):
    answered("run", "format-sft", "-i", "in.jsonl", "-o", "out.jsonl", "--all-columns")

    good, bad, _ = answered.lines("out.jsonl")
    assert good["id"] == 1
    assert good["messages"][1]["content"] == "4"
    assert bad["messages"] is None
    assert bad["distask_metadata"]["error_check"] == {"kind": "check", "message": "message 2 (assistant) is empty"}


def test_all_columns_can_not_write_over_a_column_of_the_data(answered):
    answered.rows([{"messages": [{"role": "user", "content": "Hi"}], "generation": "Hello."}])

    result = answered("run", "format-sft", "-i", "in.jsonl", "-o", "out.jsonl", "--all-columns")

    assert result.code == 2
    assert "the data already has a column `messages`, which the task format-sft adds" in result.err


def test_a_dry_run_says_that_no_model_is_called(answered):
    result = answered("dry-run", "format-sft", "-i", "in.jsonl")

    assert "replies  none: no step calls a model" in result.out
    assert "offline" not in result.out


def test_a_table_has_the_columns_of_the_outputs(answered):
    pq = pytest.importorskip("pyarrow.parquet")

    result = answered("run", "format-sft", "-i", "in.jsonl", "-o", "out.parquet")

    table = pq.read_table(answered.folder / "out.parquet")
    assert result.code == 3
    assert table.column("messages").to_pylist()[0] == [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "4"},
    ]
    assert "distask_metadata" not in table.column_names


def test_only_outputs_of_a_task_that_calls_a_model(shell):
    shell.server.reply = lambda body: "" if "question 3" in body["messages"][0]["content"] else "ok"

    result = shell.run("-o", "out.jsonl", "--only-outputs")

    assert result.code == 3
    assert shell.lines("out.jsonl") == [{"generation": "ok"}] * 4


def test_only_outputs_of_several_generations(shell):
    shell(
        "run",
        "task.yaml",
        "-i",
        "in.jsonl",
        "-c",
        "offline",
        "-o",
        "out.jsonl",
        "--only-outputs",
        "-n",
        "2",
        "--group-generations",
    )

    assert [list(row) for row in shell.lines("out.jsonl")] == [["generation"]] * 5
    assert all(len(row["generation"]) == 2 for row in shell.lines("out.jsonl"))


@pytest.mark.parametrize("task", ["task.yaml", "format-sft"])
def test_kept_columns_of_the_input_are_written_with_the_outputs(shell, task):
    """The metadata of an earlier task is not: the row keeps its own columns only."""
    rows = [{"instruction": f"question {i}", "path": f"{i}.md", "start": i, "x": 1} for i in range(3)]
    shell.rows([row | ({"generation": "ok"} if task == "format-sft" else {}) for row in rows])

    result = shell(
        "run", task, "-i", "in.jsonl", "-c", "offline", "-o", "out.jsonl", "--only-outputs", "--keep", "start",
        "--keep", "path", "--keep", "path",
    )  # fmt: skip

    assert result.code == 0, result.err
    made = "messages" if task == "format-sft" else "generation"
    assert [list(row) for row in shell.lines("out.jsonl")] == [["start", "path", made]] * 3
    assert [row["path"] for row in shell.lines("out.jsonl")] == ["0.md", "1.md", "2.md"]


def test_kept_columns_of_typed_input_keep_their_types(shell):
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"instruction": ["a"], "start": pa.array([7], pa.uint16()), "path": ["p"], "other": [1]})
    parquet.write_table(table, shell.folder / "in.parquet")

    result = shell(
        "run", "task.yaml", "-i", "in.parquet", "-c", "offline", "-o", "out.parquet", "--only-outputs", "--keep", "start"
    )  # fmt: skip

    assert result.code == 0, result.err
    made = parquet.read_table(shell.folder / "out.parquet")
    assert made.column_names == ["start", "generation"]
    assert made.schema.field("start").type == pa.uint16()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--keep", "pth"], "--keep pth: the run writes all columns; remove --keep, or add --only-outputs"),
        (["--only-outputs", "--keep", "pth"], "in.jsonl: the input has no column `pth` for --keep; did you mean `path`?"),
        (["--only-outputs", "--keep", "zzz"], "for --keep; known: `instruction`, `path`"),
        (["--only-outputs", "--keep", "generation"], "the task answer writes a column with this name; remove --keep"),
        (["--only-outputs", "--keep", "distask_metadata"], "the metadata can't be kept alone; use --all-columns"),
    ],
)  # fmt: skip
def test_columns_that_can_not_be_kept_are_reported_before_any_call(shell, options, message):
    shell.rows([{"instruction": "a", "path": "p"}])

    result = shell.run("-o", "out.jsonl", *options)

    assert result.code == 2
    assert message in result.err
    assert shell.server.requests == []


def test_a_task_without_outputs_can_not_write_only_outputs(shell):
    shell.write("task.yaml", "name: t\nsteps:\n  - set: {a: 1}\n")

    result = shell("run", "task.yaml", "-i", "in.jsonl", "--only-outputs")

    assert result.code == 2
    assert "declares no outputs, so --only-outputs would write nothing" in result.err


def test_a_check_fails_a_row_with_its_reason_and_without_outputs(shell):
    shell.write("task.yaml", CHECKED)
    shell.rows([{"number": 2}, {"number": -1}])

    result = shell("run", "task.yaml", "-i", "in.jsonl", "-o", "out.jsonl")

    assert result.code == 3
    assert "in.jsonl:2, step check: -1 is not positive" in result.err
    good, bad = shell.lines("out.jsonl")
    assert good["double"] == 4
    assert bad["double"] is None
    assert bad["distask_metadata"] == {"error_check": {"kind": "check", "message": "-1 is not positive"}}


def test_a_check_without_a_reason_shows_its_expression(shell):
    shell.write("task.yaml", CHECKED.replace('    error: "{{ number }} is not positive"\n', ""))
    shell.rows([{"number": -1}])

    assert "`number > 0` is not true" in shell("run", "task.yaml", "-i", "in.jsonl").err


def test_a_check_in_a_nested_task_leaves_the_columns_around_it(shell):
    shell.write("inner.yaml", CHECKED.replace("checked", "inner"))
    shell.write(
        "task.yaml",
        "name: outer\ninputs: {number: {type: integer}}\nsteps:\n  - set: {kept: '{{ number }}'}\n  - task: inner.yaml\n"
        "outputs: {kept: {type: integer}, double: {type: integer, nullable: true}}\n",
    )
    shell.rows([{"number": -1}])

    shell("run", "task.yaml", "-i", "in.jsonl", "-o", "out.jsonl")

    row = shell.lines("out.jsonl")[0]
    assert (row["kept"], row["double"]) == (-1, None)
    assert "error_check" in row["distask_metadata"]


def test_a_check_reads_only_columns_that_exist(shell):
    shell.write("task.yaml", CHECKED.replace("number > 0", "nomber > 0"))

    result = shell("validate", "task.yaml")

    assert result.code == 2
    assert "task.yaml:4:12: error" in result.out
    assert "number" in result.out


def test_an_output_may_have_the_name_of_an_input_if_only_outputs_are_written(shell):
    spec = "name: t\n{}inputs: {{a: It.}}\nsteps:\n  - set: {{a: '{{{{ a ~ 1 }}}}'}}\noutputs: {{a: It.}}\n"
    shell.rows([{"a": "x"}])

    shell.write("task.yaml", spec.format("only_outputs: true\n"))
    assert shell("run", "task.yaml", "-i", "in.jsonl", "-o", "out.jsonl").code == 0
    assert shell.lines("out.jsonl") == [{"a": "x1"}]

    shell.write("task.yaml", spec.format(""))
    assert "has the same name as an input column" in shell("validate", "task.yaml").out


@pytest.mark.parametrize(
    ("task", "more"),
    [
        *(
            ("format-sft", m)
            for m in ({}, {"type": "prompt-completion"}, {"format": "standard"}, {"format": "distilabel"})
        ),
        *(("format-dpo", m) for m in ({}, {"format": "standard"}, {"format": "distilabel"})),
        *(("format-kto", m) for m in ({}, {"format": "standard"})),
        *(("format-reward", m) for m in ({}, {"format": "standard"})),
        *(("format-prompt-only", m) for m in ({}, {"format": "standard"})),
        *(("format-sharegpt", m) for m in ({}, {"type": "preference"}, {"type": "kto"})),
        *(("format-alpaca", m) for m in ({}, {"type": "preference"}, {"type": "kto"})),
        *(("format-openai-finetune", m) for m in ({}, {"type": "preference"})),
        ("format-mistral-finetune", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value.values()),
)
@pytest.mark.filterwarnings("ignore")
def test_datasets_loads_every_format(tmp_path, task, more):
    from datasets import load_dataset

    from distask import load, run

    rows = [
        {"instruction": "2+2?", "generation": "4", "generations": ["4", "5"], "ratings": [5, 1]},
        {"instruction": "Hi", "generation": "Hello.", "generations": ["Hello.", "Go."], "ratings": [4, 2]},
    ]
    spec = load(task, more)
    out = tmp_path / "out.jsonl"

    result = run(spec, rows, output=out)

    loaded = load_dataset("json", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert result.stats.failed == 0
    assert loaded.to_list() == [json.loads(line) for line in out.read_text().splitlines()]
    assert set(loaded.column_names) <= set(spec.output_columns)


@pytest.mark.filterwarnings("ignore")
def test_datasets_loads_a_table_in_which_only_later_rows_have_tools(tmp_path):
    """From JSON Lines it can't if they are after the first 10 MB."""
    from datasets import load_dataset

    from distask import load, run

    calls = [{"id": "a", "type": "function", "function": {"name": "rain", "arguments": '{"city": "Oslo"}'}}]
    rows = [
        {"instruction": "Hi", "generation": "Hello."},
        {
            "instruction": "Rain?",
            "generation": [{"role": "assistant", "content": None, "tool_calls": calls}],
            "tools": [{"name": "rain"}],
        },
    ]
    out = tmp_path / "sft.parquet"

    run(load("format-sft", {"tool_json": "text"}), rows, output=out)

    plain, called = load_dataset("parquet", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert (plain["tools"], plain["messages"][1]["tool_calls"]) == (None, None)
    assert json.loads(called["tools"]) == [{"type": "function", "function": {"name": "rain"}}]
    assert called["messages"][1]["tool_calls"] == calls
