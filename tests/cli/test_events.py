"""`--json`: what programs are told. Each line that a test's command writes is held against the schema by the `shell`."""

from __future__ import annotations

import io
import json

import pytest
from typer.main import get_command

from distask.cli import app, main
from distask.cli.events.emit import Events, wanted
from distask.runner.stats import Stats
from tests.server import Reply

ASKED = ["-i", "in.jsonl", "--base-url", "{url}", "--model", "m"]


@pytest.mark.parametrize("name", [*get_command(app).commands])
def test_every_command_can_report_programs(name):
    command = get_command(app).commands[name]

    assert any("--json" in param.opts for param in command.params)


@pytest.mark.parametrize(
    "arguments",
    [
        ["init", "mine"],
        ["run", "task.yaml", *ASKED],
        ["run", "task.yaml", "-c", "openai", "--show-config"],
        ["dry-run", "task.yaml", *ASKED],
        ["run", "steps.yaml", *ASKED],
        ["dry-run", "steps.yaml", *ASKED],
        ["preview", "steps.yaml", *ASKED],
        ["check", "--base-url", "{url}", "--model", "m"],
        ["preview", "task.yaml", *ASKED],
        ["test", "ultrafeedback"],
        ["validate", "task.yaml", "ultrafeedback"],
        ["tasks"],
        ["tasks", "judge"],
        ["tasks", "show", "ultrafeedback"],
        ["schema"],
        ["schema", "--config"],
        ["schema", "--events"],
    ],
    ids=" ".join,
)
def test_a_command_ends_with_its_result(shell, arguments):
    shell.write("steps.yaml", "steps:\n  - {repeat: 2, steps: [{task: task.yaml}]}\n  - sort: generation\n")

    result = shell(*arguments, "--json")

    assert (result.code, result.err) == (0, "")
    assert shell.events[-1]["event"] == "result"
    assert shell.events[-1]["command"] == arguments[0]


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["run"], 2, "usage"),
        (["run", "task.yaml", "-c", "offline"], 2, "usage"),
        (["run", "task.yaml", "-i", "in.jsonl", "--modle", "m"], 2, "usage"),
        (["run", "nope.yaml", "-i", "in.jsonl", "-c", "offline"], 2, "spec"),
        (["run", "task.yaml", "-i", "nope.jsonl", "-c", "offline"], 2, "input"),
        (["run", "task.yaml", "-i", "in.jsonl", "-c", "openai"], 2, "config"),
        (["run", "task.yaml", *ASKED, "--max-cost", "0.001", "--set", "price.input=9", "--set", "price.output=9"], 1, "max_cost"),
        (["run", "task.yaml", *ASKED, "-o", "a/b.xlsx"], 2, "usage"),
        (["run", "task.yaml", *ASKED, "--store", "in.jsonl"], 1, "store"),
        (["check", "nope"], 2, "spec"),
        (["tasks", "show", "nope"], 2, "usage"),
    ],
    ids=lambda a: " ".join(a[:5]) if isinstance(a, list) else str(a),
)  # fmt: skip
def test_an_error_is_the_last_event_and_nothing_is_said_in_words(shell, arguments, code, kind):
    result = shell(*arguments, "--json")

    assert (result.code, result.err) == (code, "")
    assert (shell.events[-1]["event"], shell.events[-1]["kind"]) == ("error", kind)


def test_a_wrong_spec_is_reported_with_the_place_of_each_fault(shell):
    shell.write("task.yaml", "inputs: {text: A}\nformat_input: [{role: user, content: '{{ txt }}'}]\noutputs: {r: R}\n")

    shell("run", "task.yaml", "-i", "in.jsonl", "-c", "offline", "--json")

    assert {(d["line"], d["hint"]) for d in shell.events[-1]["diagnostics"]} >= {(2, "did you mean `text`?")}


def test_a_run_that_ends_early_reports_its_counts_and_how_to_continue(shell):
    replies = iter(["fine", "fine", Reply(401, body={"error": {"message": "no"}})])
    shell.server.reply = lambda body: next(replies)

    result = shell.run("--json", "-j", "1")

    error = shell.events[-1]
    assert (result.code, error["kind"], error["counts"]["completions"]["asked"]) == (1, "endpoint", 2)
    assert "distask run task.yaml" in error["notes"][0]
    assert error["partial"] == "answer.in.jsonl.partial"


def test_a_run_reports_once_a_second_how_far_it_is():
    result, now = io.StringIO(), [0.0]
    observe = Events("run", result).progress(clock=lambda: now[0])

    for tick in range(35):
        now[0] = tick / 10
        observe(Stats(total=50, rows=tick))

    assert [json.loads(line)["counts"]["rows"] for line in result.getvalue().splitlines()] == [10, 20, 30]


def test_a_terminal_without_unicode_gets_json_all_the_same():
    """What cp1252 lacks would be no JSON as an escape of Python's (`\\U0001f600`)."""
    raw = io.BytesIO()
    terminal = io.TextIOWrapper(raw, "cp1252", errors="backslashreplace")

    Events("run", terminal).emit("note", message="é 日 😀")

    assert json.loads(raw.getvalue()) == {"event": "note", "command": "run", "message": "é 日 😀"}


def test_a_value_that_json_has_no_word_for_is_null():
    result = io.StringIO()
    Events("preview", result).result(rows=[{"a": float("nan"), "b": (1, float("inf"))}])

    assert json.loads(result.getvalue())["rows"] == [{"a": None, "b": [1, None]}]


def test_a_bug_is_an_event_too(shell, monkeypatch, capsys):
    monkeypatch.setattr("distask.cli.commands.specs.tasks.entries", lambda: 1 / 0)

    assert main(["tasks", "--json"]) == 1
    event = json.loads(capsys.readouterr().out)
    assert (event["kind"], event["exit_code"]) == ("bug", 1)
    assert "ZeroDivisionError" in event["notes"][0]


def test_events_go_to_stderr_only_where_a_runs_rows_go_to_stdout(capsys):
    for output in (["-o", "-"], ["--output", "-"], ["--output=-"], ["-o-"]):
        wanted(["run", "t.yaml", *output, "--json"]).emit("note")
    wanted(["run", "t.yaml", "-o", "x", "-i", "-", "--json"]).emit("note")
    wanted(["preview", "t.yaml", "-o", "-", "--json"]).emit("note")

    result = capsys.readouterr()
    assert (len(result.err.splitlines()), len(result.out.splitlines())) == (4, 2)
