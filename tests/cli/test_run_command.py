"""`distask run`: what it prints, where, and what it ends with."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys

from tests.server import Reply


def test_a_good_run_ends_with_0_and_says_what_it_did(shell):
    result = shell.run()

    assert result.code == 0
    assert result.out == ""
    assert result.err.splitlines()[1:4] == [
        "rows        5 in, 5 out",
        "generations 5 good",
        "replies     5 requested, 0 from the store",
    ]
    assert result.err.endswith("output      answer.in.jsonl\n")
    assert len(shell.lines("answer.in.jsonl")) == 5


def test_failed_generations_end_with_3_and_are_listed_with_their_place(shell):
    shell.server.reply = lambda body: "" if "question 3" in body["messages"][0]["content"] else "ok"

    result = shell.run()

    assert result.code == 3
    assert "generations 4 good, 1 failed (1 empty)" in result.err
    assert "in.jsonl:4: the reply is empty" in result.err
    assert "`error_answer` in `distask_metadata`" in result.err


def test_more_failures_than_three_are_counted_and_verbose_lists_them(shell):
    shell.server.reply = lambda body: ""

    assert "and 2 more (-v lists all)" in shell.run().err
    assert shell.run("-v").err.count(": the reply is empty") == 5


def test_stdout_carries_rows_only_where_it_is_the_output(shell):
    result = shell.run("-o", "-", "--json")

    assert [json.loads(line)["generation"] for line in result.out.splitlines()] == [f"question {i}" for i in range(5)]
    assert shell.events[-1]["counts"]["generations"] == 5


def test_events_for_programs_are_on_stdout_and_nothing_is_said_in_words(shell):
    result = shell.run("--json")

    began, *_, summary = shell.events
    assert (began["event"], began["task"], began["model"]) == ("started", "answer", "m")
    assert (summary["counts"]["rows"], summary["output"]) == (5, "answer.in.jsonl")
    assert result.err == ""


def test_quiet_says_nothing_of_a_good_run_and_a_line_of_a_bad_one(shell):
    assert shell.run("-q").err == ""

    shell.server.reply = lambda body: ""
    shell.rows([{"instruction": "other"}])

    result = shell.run("-q", "-o", "other.jsonl")
    assert (result.code, result.err) == (3, "1 failed (1 empty), in other.jsonl\n")


def test_rows_come_from_stdin_and_go_to_stdout(shell):
    result = shell(
        "run",
        "task.yaml",
        "-i",
        "-",
        "-c",
        "offline",
        "-o",
        "-",
        "-q",
        stdin='{"instruction": "a"}\n{"instruction": "b"}',
    )

    assert result.code == 0
    assert [json.loads(line)["instruction"] for line in result.out.splitlines()] == ["a", "b"]


def test_a_reader_that_has_had_enough_is_no_traceback(shell):
    """`distask run -o - | head -n 1`."""
    shell.rows([{"instruction": "x" * 2000}] * 500)
    pipeline = (
        f"{shlex.join(shell.command('run', 'task.yaml', '-i', 'in.jsonl', '-c', 'offline', '-o', '-'))} | head -n 1"
    )

    result = subprocess.run(
        ["bash", "-c", pipeline], cwd=shell.folder, env=shell.env, capture_output=True, check=False, timeout=60
    )

    assert result.stdout.count(b"\n") == 1
    assert b"Traceback" not in result.stderr
    assert b"Exception ignored" not in result.stderr


def test_ctrl_c_prints_the_command_that_continues_and_it_does(shell):
    """What came before the interrupt is not asked for again, and the output is as if nothing had happened."""
    shell.rows([{"instruction": f"it's question {i}"} for i in range(40)])
    arguments = [
        "run",
        "task.yaml",
        "-i",
        "in.jsonl",
        "--base-url",
        "{url}",
        "--model",
        "m",
        "-j",
        "4",
        "-o",
        "my out.jsonl",
    ]
    run = subprocess.Popen(
        shell.command(*arguments), cwd=shell.folder, env=shell.env, stderr=subprocess.PIPE, start_new_session=True
    )

    def reply(body):
        if len(shell.server.requests) == 12:
            os.kill(run.pid, signal.SIGINT)
        return Reply(delay=0.02)

    shell.server.reply = reply
    err = run.communicate(timeout=60)[1].decode()
    first = len(shell.server.requests)

    assert run.returncode == 130
    assert "of 40 rows are done, in my out.jsonl.partial" in err
    printed = next(line.strip() for line in err.splitlines() if line.startswith("  distask run"))
    assert "'my out.jsonl'" in printed

    shell.server.reply = lambda body: "ok"
    again = shell(*shlex.split(printed)[1:])

    assert again.code == 0
    assert len(shell.server.requests) == 40
    assert f"{40 - first} requested, {first} from the store" in again.err
    assert len(shell.lines("my out.jsonl")) == 40
    assert not (shell.folder / "my out.jsonl.partial").exists()


def test_a_bad_key_ends_with_1_and_what_the_server_said(shell):
    shell.server.reply = lambda body: Reply(401, body={"error": {"message": "Incorrect API key\x1b[2J provided"}})

    result = shell.run()

    assert result.code == 1
    assert "error: " in result.err
    assert "Incorrect API key" in result.err
    assert "fix this, then run the same command to resume:\n\n  distask run task.yaml -i in.jsonl" in result.err
    assert "\x1b" not in result.err


def test_a_missing_key_is_reported_before_any_call(shell):
    result = shell("run", "task.yaml", "-i", "in.jsonl", "-c", "openai")

    assert result.code == 2
    assert "OPENAI_API_KEY" in result.err


def test_the_faults_of_a_spec_come_all_at_once_with_their_count(shell):
    shell.write("bad.yaml", "inputs: {a: A}\nformat_input: [{role: user, content: '{{ b }}'}]\noutptus: {c: C}\n")

    result = shell("run", "bad.yaml", "-i", "in.jsonl")

    assert result.code == 2
    assert "bad.yaml:3:1: error:" in result.err
    assert result.err.splitlines()[-1].endswith(" in bad.yaml")


def test_params_are_yaml_and_a_text_stays_as_it_was_written(shell):
    shell.write(
        "p.yaml",
        """\
params:
  labels: {type: "list[string]", default: []}
  note: {default: ""}
  top: {type: integer, default: 1}
format_input: [{role: user, content: "{{ labels | join('/') }} {{ note }} {{ top }}"}]
outputs: {reply: The reply.}
format_output: {parser: text}
""",
    )
    shell("run", "p.yaml", "--rows", "1", "--base-url", "{url}", "--model", "m", "-p", "labels=[yes, no]", "-p", "note=12: 30",
          "-p", "top=3")  # fmt: skip

    assert shell.server.requests[0]["messages"][0]["content"] == "yes/no 12: 30 3"


def test_columns_are_mapped_from_the_command_line(shell):
    shell.rows([{"prompt": "a", "generation": "taken"}])

    result = shell.run("--set", "input_mappings.instruction=prompt", "--set", "output_mappings.generation=reply")

    assert result.code == 0
    (row,) = shell.lines("answer.in.jsonl")
    assert (row["prompt"], row["generation"], row["reply"]) == ("a", "taken", "a")


def test_each_shard_has_an_output_of_its_own(shell):
    shell.run("--shard", "1/2")
    shell.run("--shard", "2/2")

    rows = shell.lines("answer.in.1-of-2.jsonl"), shell.lines("answer.in.2-of-2.jsonl")
    assert [[r["instruction"][-1] for r in part] for part in rows] == [["0", "2", "4"], ["1", "3"]]


def test_code_of_a_task_runs_only_where_it_is_allowed(shell):
    shell.write(
        "evil.py",
        "import pathlib\npathlib.Path('imported').touch()\ndef parse(reply, row):\n    return {'generation': 'x'}\n",
    )
    shell.write("task.yaml", (shell.folder / "task.yaml").read_text().replace("text", "python, function: 'evil:parse'"))

    assert shell.run().code == 2
    assert shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai").code == 0
    assert not (shell.folder / "imported").exists()
    assert shell.run("--allow-code").code == 0
    assert (shell.folder / "imported").exists()


def test_the_config_is_shown_with_where_each_value_comes_from(shell):
    result = shell(
        "run", "task.yaml", "--model", "x", "--set", "llm.temperature=0", "-j", "7", "--show-config", "-c", "openai"
    )

    assert result.code == 0
    assert "model: x    # flag --model" in result.out
    assert "generation.temperature: 0.0    # flag --set llm.temperature" in result.out
    assert "limits.concurrency: 7    # flag --concurrency" in result.out
    assert "api_key: (not set)    # environment OPENAI_API_KEY" in result.out


def test_a_key_is_never_printed(shell):
    shell.env["OPENAI_API_KEY"] = "sk-very-secret"

    result = shell("run", "task.yaml", "-i", "in.jsonl", "-c", "openai", "--base-url", "http://127.0.0.1:9", "-v")
    shown = shell("run", "task.yaml", "-c", "openai", "--show-config", "--json")

    assert "sk-very-secret" not in result.err + result.out + shown.out + shown.err
    assert shell.events[-1]["config"]["api_key"]["value"] == "(hidden)"


def test_a_closed_stderr_ends_no_run(shell):
    """A terminal that is gone: the run goes on."""
    line = shlex.join(shell.command("run", "task.yaml", "-i", "in.jsonl", "-c", "offline", "-o", "out.jsonl"))
    done = subprocess.run(["bash", "-c", f"{line} 2>&-"], cwd=shell.folder, env=shell.env, check=False, timeout=60)

    assert done.returncode == 0
    assert len(shell.lines("out.jsonl")) == 5


def test_main_gives_the_exit_code(shell, monkeypatch, capsys):
    from distask.cli import main

    monkeypatch.chdir(shell.folder)

    assert main(["run", "task.yaml", "-i", "in.jsonl", "-c", "offline"]) == 0
    assert main(["run", "task.yaml", "-i", "nope.jsonl", "-c", "offline"]) == 2
    assert "nope.jsonl" in capsys.readouterr().err
    assert sys.stdout is not None


def test_the_summary_says_that_chats_are_most_of_the_output_and_how_to_leave_them_out(shell):
    """Long prompts at least double the output. The share is measured on the rows that are written."""
    shell.server.reply = lambda body: "ok"
    shell.rows([{"instruction": "long " * 20_000} for i in range(5)])
    spec = (shell.folder / "task.yaml").read_text().replace("{{ instruction }}", "{{ instruction }}" * 3)

    def share_and_note(name, text):
        shell.write("task.yaml", text)
        note = "`add_raw_input: false` in the task leaves them out" in shell.run("-o", name).err
        return json.loads((shell.folder / f"{name}.run.json").read_text())["counts"]["chat_share"], note

    share, has_note = share_and_note("kept.jsonl", spec)
    line = (shell.folder / "kept.jsonl").read_bytes().splitlines()[0]
    chat = json.dumps(json.loads(line)["distask_metadata"]["raw_input_answer"], separators=(",", ":"))

    assert has_note
    assert abs(share - len(chat) / len(line)) < 0.01
    assert share_and_note("left_out.jsonl", f"{spec}add_raw_input: false\n") == (0, False)


def test_a_note_about_chats_is_only_for_large_outputs_that_are_mostly_chats(shell):
    shell.server.reply = lambda body: "ok"
    spec = (shell.folder / "task.yaml").read_text()

    def share_and_note(name):
        result = shell.run("-o", name).err
        counts = json.loads((shell.folder / f"{name}.run.json").read_text())["counts"]
        return counts["chat_share"], "add_raw_input" in result

    shell.rows([{"instruction": f"question {i}", "other": "long " * 100_000} for i in range(5)])
    share, has_note = share_and_note("mostly_data.jsonl")
    assert (share < 0.5, has_note) == (True, False)
    shell.write("task.yaml", spec.replace("{{ instruction }}", "Answer. " * 100 + "{{ instruction }}"))
    shell.rows([{"instruction": f"question {i}"} for i in range(5)])
    share, has_note = share_and_note("small.jsonl")
    assert (share > 0.5, has_note) == (True, False)
