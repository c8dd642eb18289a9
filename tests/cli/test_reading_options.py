"""Every command that reads rows takes `--delimiter` and `--on-nan`, and names a delimiter that it found."""

from __future__ import annotations

import pytest

NOTE = "CSV: the columns are separated by `;` (--delimiter sets another)"
TO_SERVER = ["--base-url", "{url}", "--model", "m"]
COMMANDS = {
    "run": ["run", "task.yaml", *TO_SERVER, "-o", "out.jsonl"],
    "dry-run": ["dry-run", "task.yaml", *TO_SERVER],
    "preview": ["preview", "task.yaml", *TO_SERVER],
    "export-batch": ["export-batch", "task.yaml", *TO_SERVER, "-o", "requests.jsonl"],
    "import-batch": ["import-batch", "task.yaml", "results.jsonl", *TO_SERVER, "-o", "out.jsonl"],
    "validate": ["validate", "task.yaml"],
    "init": ["init", "new"],
}
STEPS = """\
name: both
inputs: {instruction: {}}
steps: [{task: answer, name: first}]
outputs: {generation: {}}
"""


@pytest.fixture
def shell(shell):
    shell.write("in.csv", "instruction;n\nsay 1,5;2\n")
    shell.write("odd.csv", "instruction, all;n\nhi;2\n")
    shell.write("in.jsonl", '{"instruction": "hi NaN", "x": NaN}\n')
    shell.write("results.jsonl", "")
    return shell


@pytest.mark.parametrize("command", COMMANDS)
def test_a_delimiter_that_was_found_is_named_in_one_line(shell, command):
    result = shell(*COMMANDS[command], "-i", "in.csv")

    assert (result.out + result.err).count(NOTE) == 1, result
    assert result.code in (0, 3), result


@pytest.mark.parametrize("command", ["run", "dry-run", "preview", "export-batch", "validate"])
def test_programs_are_given_the_note(shell, command):
    shell(*COMMANDS[command], "-i", "in.csv", "--json")

    notes = [e["message"] for e in shell.events if e["event"] == "note"] + shell.events[-1].get("notes", [])
    assert notes == [NOTE]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_delimiter_that_was_named_is_used_and_not_named_again(shell, command):
    mapped = ["--set", "input_mappings.instruction=instruction, all"] if command not in ("validate", "init") else []
    result = shell(*COMMANDS[command], "-i", "odd.csv", "--delimiter", ";", *mapped)

    assert "separated by" not in result.out + result.err
    assert "there is 1 value" not in result.out + result.err
    assert shell(*COMMANDS[command], "-i", "odd.csv", "--delimiter", ";;").code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_nan_is_refused_with_both_ways_on_and_both_work(shell, command):
    refused = shell(*COMMANDS[command], "-i", "in.jsonl")

    assert refused.code == 2
    assert "in.jsonl:1:" in refused.out + refused.err
    assert "--on-nan null reads it as null, --on-bad-row skip skips the row" in refused.out + refused.err

    skipped = shell(*COMMANDS[command], "-i", "in.jsonl", "--on-bad-row", "skip")
    assert "the input has no rows" in skipped.out + skipped.err

    read = shell(*COMMANDS[command], "-i", "in.jsonl", "--on-nan", "null")
    assert read.code in (0, 3), read


def test_rows_on_stdin_are_read_so_too(shell):
    result = shell(
        "run", "task.yaml", "-i", "-", "-o", "-", *TO_SERVER, "--on-nan", "null", stdin='{"instruction":"NaN", "x":  NaN }'
    )  # fmt: skip

    assert result.code == 0
    assert result.out.startswith('{"instruction":"NaN", "x":  null ,"generation":')


def test_shards_and_what_is_merged_of_them_are_the_whole_run(shell):
    shell.write("in.jsonl", "".join(f'{{"instruction": "{i}", "x": {"NaN" if i % 2 else i}}}\n' for i in range(5)))
    arguments = ["run", "task.yaml", "-i", "in.jsonl", *TO_SERVER, "--on-nan", "null"]
    for number in (1, 2):
        assert shell(*arguments, "--shard", f"{number}/2", "-o", f"part-{number}.jsonl").code == 0

    assert shell("merge", "out.jsonl", "part-1.jsonl", "part-2.jsonl").code == 0
    assert [row["x"] for row in shell.lines("out.jsonl")] == [0, None, 2, None, 4]


@pytest.mark.parametrize("command", ["dry-run", "preview"])
def test_a_task_of_steps_names_it_too(shell, command):
    shell.write("both.yaml", STEPS.replace("task: answer", "task: task.yaml"))

    result = shell(command, "both.yaml", "-i", "in.csv", *TO_SERVER)

    assert result.code == 0, result
    assert (result.out + result.err).count(NOTE) == 1


def test_a_column_that_is_missing_with_another_delimiter_in_doubt_names_the_flag(shell):
    shell.write("in.csv", "instruction;n, all\nhi;2, 3\n")

    for command in (["dry-run", "task.yaml"], ["validate", "task.yaml"]):
        result = shell(*command, "-i", "in.csv")
        assert result.code == 2
        assert "if the separator is `;`, add --delimiter ';'" in result.out + result.err


def test_a_report_reads_it(shell):
    shell.write("in.csv", "instruction;generation\nhi;1,5\n")

    assert shell("report", "in.csv", "-o", "page.html").code == 0
    assert "1,5" in (shell.folder / "page.html").read_text()
