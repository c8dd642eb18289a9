"""`distask preview`: a few real calls, with all that came of them."""

from __future__ import annotations

import json
import signal
import subprocess
import threading

import pytest

from tests.server import Reply

SPEC = """\
inputs: {instruction: I.}
format_input: [{role: user, content: "{{ instruction }}"}]
outputs: {score: {type: integer, minimum: 1, maximum: 5}}
format_output: {parser: regex, pattern: 'Score: (?P<score>\\d+)'}
"""
ASKED = ["-i", "in.jsonl", "--base-url", "{url}", "--model", "m"]


@pytest.fixture
def scores(shell):
    """Replies by the row: good, without a number, too high."""
    result = {"0": "Fine. Score: 4", "1": "Fine.\nScore: four", "2": "Score: 9"}
    shell.server.reply = lambda body: result.get(body["messages"][0]["content"][-1], "Score: 1")
    shell.write("rate.yaml", SPEC)
    return shell


def test_chat_reply_columns_and_what_they_took_are_shown_for_the_first_rows(scores):
    result = scores(
        "preview", "rate.yaml", *ASKED, "--limit", "1", "--set", "price.input=1000", "--set", "price.output=1000"
    )

    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].startswith("── in.jsonl:1  ")
    assert lines[0].endswith(" s · 2 tokens in, 3 out · $0.0050")
    assert lines[1:7] == ["user", "  question 0", "reply", "  Fine. Score: 4", "columns", "  score: 4"]
    assert "received 1 reply, 0 from the store; a run will reuse them" in result.out
    assert len(scores.server.requests) == 1


def test_a_reply_that_can_not_be_used_shows_where_it_stopped_fitting(scores):
    result = scores("preview", "rate.yaml", *ASKED)

    assert result.code == 3
    assert "can't be used: the pattern matches nowhere in the reply" in result.out
    assert "    2 | Score: four\n      |        ^ expected here: (?P<score>\\d+)\n" in result.out
    assert "can't be used: score: 9 is more than 5\n    1 | Score: 9\n      |        ^\n" in result.out
    assert "replies  1 good, 2 unusable" in result.out


def test_the_run_does_not_pay_for_them_again(scores):
    scores("preview", "rate.yaml", *ASKED)

    result = scores("run", "rate.yaml", *ASKED)

    assert "replies     2 requested, 3 from the store" in result.err
    assert len(scores.server.requests) == 5


def test_a_second_look_asks_nothing(scores):
    scores("preview", "rate.yaml", *ASKED)

    assert "── in.jsonl:1  from the store · 2 tokens in, 3 out" in scores("preview", "rate.yaml", *ASKED).out
    assert len(scores.server.requests) == 3


def test_a_second_look_at_replies_that_were_requested_again_costs_nothing_either(scores):
    scores.write("rate.yaml", SPEC + "on_invalid: {retry: 1}\n")
    scores("preview", "rate.yaml", *ASKED)

    result = scores("preview", "rate.yaml", *ASKED, "--set", "price.input=1000", "--set", "price.output=1000")

    assert "── in.jsonl:2  from the store · 4 tokens in, 6 out\n" in result.out
    assert "received 0 replies, 5 from the store" in result.out


def test_ctrl_c_keeps_the_replies_that_came(scores):
    """The first row's reply is there at once, the second one's never."""
    asked, both = [], threading.Event()

    def reply(body):
        asked.append(body)
        if len(asked) == 2:
            both.set()
        return "Score: 3" if body["messages"][0]["content"].endswith("0") else Reply(body="Score: 3", delay=60)

    scores.server.reply = reply
    running = subprocess.Popen(
        scores.command("preview", "rate.yaml", *ASKED, "--limit", "2", "-j", "1"),
        cwd=scores.folder, env=scores.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert both.wait(60)  # one call at a time: the first reply is in the store when the second is asked for
    running.send_signal(signal.SIGINT)
    _, result = running.communicate(timeout=60)

    assert running.returncode == 130
    assert "interrupted; replies received so far are cached" in result.decode()
    asked.clear()
    assert "from the store" in scores("preview", "rate.yaml", *ASKED, "--limit", "1").out
    assert asked == []


def test_equal_rows_are_the_runs_own_samples(shell):
    """The second of two equal rows is another sample, in the preview as in the run."""
    shell.rows([{"instruction": "same"}] * 3)

    shell("preview", "task.yaml", *ASKED)
    shell.run()

    assert len(shell.server.requests) == 3


def test_on_a_wide_terminal_chat_and_reply_stand_side_by_side(scores):
    scores.env["COLUMNS"] = "120"

    result = scores("preview", "rate.yaml", *ASKED, "--limit", "1")

    assert any("question 0" in line and "Fine. Score: 4" in line for line in result.out.splitlines())


def test_programs_get_all_of_it(scores):
    made = json.loads(scores("preview", "rate.yaml", *ASKED, "--limit", "2", "-n", "2", "--json").out)

    good, bad = made["rows"]
    assert [g["columns"] for g in good["generations"]] == [{"score": 4}, {"score": 4}]
    assert good["messages"] == [{"role": "user", "content": "question 0"}]
    assert bad["generations"][0]["misfit"] == {"at": 13, "length": 1, "wanted": "here: (?P<score>\\d+)"}
    assert made["counts"]["failures"] == {"invalid": 2}


def test_a_row_that_can_not_be_rendered_is_shown_with_its_reason(shell):
    shell.rows([{"instruction": None}])

    result = shell("preview", "task.yaml", *ASKED)

    assert result.code == 3
    assert result.out.startswith("── in.jsonl:1  not requested\ncan't be used: the column `instruction` is null")


def test_an_endpoint_that_refuses_ends_with_1_and_the_hint(shell):
    result = shell("preview", "task.yaml", "-i", "in.jsonl", "--base-url", "http://127.0.0.1:9/v1", "--model", "m")

    assert (result.code, result.out) == (1, "")
    assert "check that the server is running" in result.err


def test_no_text_of_a_model_moves_the_terminal(shell):
    shell.server.reply = lambda body: "\x1b[2J\x07[bold]x[/bold] \u202e"

    result = shell("preview", "task.yaml", *ASKED, "--limit", "1")

    assert "\x1b" not in result.out
    assert "\\x1b[2J\\x07[bold]x[/bold] \\u202e" in result.out
