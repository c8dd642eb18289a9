"""However a run ends, what was paid for is kept, and the command that it prints goes on."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading

import pytest

from tests.server import Reply

SPEC = """
name: answer
inputs: {q: A question.}
format_input: [{role: user, content: "{{ q }}"}]
outputs: {a: An answer.}
format_output: {parser: text}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "task.yaml").write_text(SPEC)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"q": str(i)}) + "\n" for i in range(40)))
    return tmp_path


def command(server, *more):
    return [
        "run",
        "task.yaml",
        "-i",
        "in.jsonl",
        "-o",
        "out.jsonl",
        "--model",
        "m",
        "--base-url",
        server.url,
        "-j",
        "4",
        *more,
    ]


def start(folder, arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI")}
    return subprocess.Popen(
        [sys.executable, "-m", "distask", *arguments],
        cwd=folder,
        env={**environment, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stopped_at(server, count):
    """An event that is set when the server has seen so many requests."""
    seen, event = [], threading.Event()

    def reply(body):
        seen.append(body)
        if len(seen) >= count:
            event.set()
            return Reply(delay=0.3)
        return Reply()

    server.reply = reply
    return event


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_prints_the_command_that_goes_on(folder, server, number):
    reached = stopped_at(server, 12)
    process = start(folder, command(server))
    assert reached.wait(30)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)

    assert process.returncode == 130
    assert not (folder / "out.jsonl").exists()
    paid = len(server.requests)
    assert 12 <= paid < 40
    assert len((folder / "out.jsonl.partial").read_text().splitlines()) == paid

    again = shlex.split(re.search(r"distask (run .*)", said)[1])
    process = start(folder, again)
    process.communicate(timeout=30)

    assert process.returncode == 0
    assert len(server.requests) == 40
    assert [json.loads(line)["q"] for line in (folder / "out.jsonl").read_text().splitlines()] == [
        str(i) for i in range(40)
    ]


def test_a_run_that_is_killed_asks_again_at_most_what_was_in_flight(folder, server):
    reached = stopped_at(server, 20)
    process = start(folder, command(server))
    assert reached.wait(30)
    process.kill()
    process.communicate(timeout=30)
    assert not (folder / "out.jsonl").exists()

    process = start(folder, command(server))
    process.communicate(timeout=30)

    assert process.returncode == 0
    assert len(server.requests) <= 40 + 4
    assert [json.loads(line)["q"] for line in (folder / "out.jsonl").read_text().splitlines()] == [
        str(i) for i in range(40)
    ]


def test_a_server_that_is_not_there_is_told_and_costs_nothing(folder, server):
    process = start(folder, command(server, "--base-url", "http://127.0.0.1:9/v1"))
    said, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "127.0.0.1:9" in said
    assert "Traceback" not in said
    assert not (folder / "out.jsonl").exists()


def test_a_disk_that_is_full_stops_the_asking(folder, server):
    """The store's file may not grow: the first commit fails, and nothing more is sent than was on its way."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"sys.argv = ['distask', *{command(server)!r}]; from distask.cli import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert len(server.requests) < 40
    assert not (folder / "out.jsonl").exists()
