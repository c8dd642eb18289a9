"""The log: `-v` and `-vv`, on stderr."""

from __future__ import annotations

import io
import logging

import pytest

from distask.cli import logs
from distask.cli.display.console import Terminal
from distask.cli.display.progress import Progress
from distask.runner.stats import Stats
from tests.server import Reply

KEY = "sk-canary-0123456789"


@pytest.fixture
def busy(shell):
    """A server that is too busy for the first call, with a word that would clear the screen and the key in it."""
    answers = iter([Reply(503, body={"error": {"message": f"busy \x1b[2J with {KEY}"}})])
    shell.server.reply = lambda body: next(answers, "a secret reply")
    shell.env |= {"OPENAI_API_KEY": KEY}
    shell.rows([{"instruction": "a secret question"}])
    return shell


def logged(said):
    return [line.split(" ", 1)[1] for line in said.err.splitlines() if line[2:3] == ":"]


def test_v_reports_what_was_tried_again_and_vv_each_call(busy):
    one = busy.run("-v", "-q", "-j", "1")
    busy.rows([{"instruction": "another"}])
    two = busy.run("-vv", "-q", "-j", "1", "--overwrite")

    assert [line.split(" in ")[0] for line in logged(one)] == [
        "INFO  server_error: HTTP 503: busy \\x1b[2J with [hidden]; try 2"
    ]
    assert [line.split(" in ")[0] for line in logged(two)] == ["DEBUG m: 1 of 1 replies"]


def test_vv_reports_what_the_store_had(busy):
    busy.run()

    assert logged(busy.run("-vv", "-q")) == ["DEBUG row 0: 1 of 1 replies from the store"]


def test_no_key_no_chat_and_no_reply_is_logged(busy):
    result = busy.run("-vv", "-q", "-o", "out.jsonl")

    assert result.err.count("\n") >= 2
    for secret in (KEY, "secret question", "secret reply"):
        assert secret not in result.err + result.out


def test_without_v_nothing_is_logged(busy):
    assert busy.run("-q").err == ""


def test_the_log_goes_next_to_the_events_of_programs(busy):
    result = busy.run("-v", "--json")

    assert {e["event"] for e in busy.events} >= {"started", "result"}
    assert len(logged(result)) == 1


def test_a_line_is_written_above_the_progress_that_is_drawn():
    console = Terminal(file=io.StringIO(), force_terminal=True, width=80, markup=False, highlight=False, soft_wrap=True)
    logs.begin(1)
    try:
        with Progress(console, live=True, clock=lambda: 0.0) as progress:
            logs.through(console)
            progress(Stats(total=10, rows=3))
            logging.getLogger("distask.llm").info("a line")
    finally:
        logs.begin(0)

    drawn = console.file.getvalue()
    assert drawn.index("3 of 10 rows") < drawn.index("INFO  a line") < drawn.rindex("3 of 10 rows")
