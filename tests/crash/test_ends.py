"""However a run ends, what was paid for is kept, and the command that it prints goes on."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.server import Reply

SPEC = """
name: answer
inputs: {q: A question.}
format_input: [{role: user, content: "{{ q }}"}]
outputs: {a: An answer.}
format_output: {parser: text}
"""
ROWS = 40
PLACES = 4
"""Calls in flight at the most."""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "task.yaml").write_text(SPEC)
    write_rows(tmp_path / "in.jsonl")
    return tmp_path


def write_rows(path, rows=ROWS):
    path.write_text("".join(json.dumps({"q": str(i)}) + "\n" for i in range(rows)))


def command(server, *more, out="out.jsonl", source="in.jsonl"):
    llm = ["--model", "m", "--base-url", server.url, "-j", str(PLACES)]
    return ["run", "task.yaml", "-i", str(source), "-o", str(out), *llm, *(str(m) for m in more)]


def in_a_shell(folder, text, **options):
    """Run a line as a person would: in a shell, with the installed command."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI")}
    environment |= {"NO_COLOR": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-c", text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        **options,
    )


def answers(path, name="q"):
    return [json.loads(line)[name] for line in path.read_text().splitlines()]


ALL = [str(i) for i in range(ROWS)]


class Gate:
    """Lets a server answer so many calls, and hold back the others."""

    def __init__(self, server, count, held=None):
        self.reached, self._seen, self._count, self._held = threading.Event(), 0, count, held or Reply(delay=0.3)
        server.reply = self._reply

    def _reply(self, body):
        self._seen += 1
        if self._seen < self._count:
            return Reply()
        if self._seen == self._count + PLACES - 1:
            self.reached.set()
        return self._held


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_stopped_keeps_what_is_in_flight_and_prints_the_command_that_continues(
    folder, forks, server, number
):
    """The command is run in a shell, just as it was printed; the names in it need quotes."""
    (folder / "in.jsonl").rename(folder / "it's in.jsonl")
    gate = Gate(server, 12)
    child = forks.begin(folder, *command(server, source="it's in.jsonl", out="the out.jsonl"))
    assert gate.reached.wait(60)
    child.kill(number)

    assert child.wait() == 130
    assert "draining: waiting up to 10 s for 4 calls" in child.text
    assert not (folder / "the out.jsonl").exists()
    paid = len(server.requests)
    assert paid == 12 + PLACES - 1
    assert len((folder / "the out.jsonl.partial").read_text().splitlines()) == paid

    done = in_a_shell(folder, re.search(r"^  (distask run .*)$", child.text, re.MULTILINE)[1])

    assert done.returncode == 0, done.stderr
    assert len(server.requests) == ROWS
    assert answers(folder / "the out.jsonl") == ALL


def test_a_second_interrupt_ends_it_at_once(folder, forks, server):
    """Nobody waits for a server that hangs, nor for the seconds that a first one allows."""
    gate = Gate(server, 12, Reply(delay=600))
    child = forks.begin(folder, *command(server), values={"DRAIN_SECONDS": 600})
    assert gate.reached.wait(60)
    child.kill(signal.SIGINT)
    while "draining" not in child.text:  # the first one is seen
        assert not child.ended.wait(0.05)
    child.kill(signal.SIGINT)

    assert child.wait() == 130
    assert len((folder / "out.jsonl.partial").read_text().splitlines()) == 11
    assert "distask run" in child.text


def test_a_second_interrupt_waits_for_no_table(folder, forks, server):
    """All replies are there and a CSV is made of them, by a disk that takes no more: a pipe, here."""
    server.reply = lambda body: "x" * 10_000
    os.mkfifo(folder / "out.csv.table")
    pipe = os.open(folder / "out.csv.table", os.O_RDONLY | os.O_NONBLOCK)
    child = forks.begin(folder, *command(server, out="out.csv"))
    try:
        assert select.select([pipe], [], [], 60)[0]
        child.kill(signal.SIGINT)
        assert not child.ended.wait(0.5)
        child.kill(signal.SIGINT)

        assert child.wait() == 130
    finally:
        os.close(pipe)
    assert not (folder / "out.csv").exists()
    assert len((folder / "out.csv.partial").read_text().splitlines()) == len(server.requests) == ROWS
    again = re.search(r"^  (distask run .*)$", child.text, re.MULTILINE)[1]
    (folder / "out.csv.table").unlink()
    assert in_a_shell(folder, again).returncode == 0
    assert len(server.requests) == ROWS
    assert (folder / "out.csv").read_text().count("\n") == ROWS + 1


def test_a_first_interrupt_waits_no_longer_than_it_says(folder, forks, server):
    gate = Gate(server, 12, Reply(delay=600))
    child = forks.begin(folder, *command(server), values={"DRAIN_SECONDS": 0.2})
    assert gate.reached.wait(60)
    child.kill(signal.SIGINT)

    assert child.wait() == 130
    assert len((folder / "out.jsonl.partial").read_text().splitlines()) == 11


def test_a_signal_that_is_ignored_stays_so(folder, forks, server):
    """As nohup has it, and a shell what runs in its background."""
    gate = Gate(server, 12)
    child = forks.begin(folder, *command(server), ignored=[signal.SIGHUP, signal.SIGINT])
    assert gate.reached.wait(60)
    child.kill(signal.SIGHUP)
    child.kill(signal.SIGINT)

    assert child.wait() == 0
    assert answers(folder / "out.jsonl") == ALL


def test_a_pipe_whose_reader_has_had_enough_stops_the_asking(folder, server):
    """`distask run … -o - | head -2`; what was paid for is kept."""
    line = shlex.join(["distask", *command(server, out="-")])
    server.delay = 0.02

    done = in_a_shell(folder, f"{line} | head -2; exit ${{PIPESTATUS[0]}}")

    assert done.returncode == 1
    assert [json.loads(row)["q"] for row in done.stdout.splitlines()] == ["0", "1"]
    assert "stdout was closed" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(server.requests) < ROWS

    done = in_a_shell(folder, line)

    assert [json.loads(row)["q"] for row in done.stdout.splitlines()] == ALL
    assert len(server.requests) == ROWS


# Terminals and streams that are lost


@pytest.mark.parametrize("lost", ["2>/dev/full", "2>&-", "2>&- >&-", ">/dev/full 2>/dev/full", "0>&- 1>&- 2>&-"])
def test_a_log_that_cannot_be_written_ends_no_run(folder, server, lost):
    """Nor does a stream that is closed from the beginning, whose number the next file would get."""
    done = in_a_shell(folder, f"{shlex.join(['distask', *command(server)])} {lost}")

    assert done.returncode == 0
    assert answers(folder / "out.jsonl") == ALL
    assert len(server.requests) == ROWS


def test_rows_that_cannot_be_written_to_stdout_end_it(folder, server):
    done = in_a_shell(folder, f"{shlex.join(['distask', *command(server, out='-')])} >/dev/full")

    assert done.returncode == 1
    assert "stdout: the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(server.requests) < ROWS


def test_a_terminal_that_is_closed_stops_a_run_in_order(folder, server):
    """The window is closed: what is in flight still comes, and is kept."""
    gate = Gate(server, 12)
    terminal, its_end = pty.openpty()
    own_terminal = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    run = f"sys.argv = ['distask', *{command(server)!r}]; from distask.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", own_terminal + run], cwd=folder, stdin=its_end, stdout=its_end, stderr=its_end
    ) as process:
        os.close(its_end)
        assert gate.reached.wait(60)
        os.close(terminal)
        assert process.wait(120) == 130

    assert stored(folder) == len(server.requests) == 12 + PLACES - 1


def stored(folder):
    with closing(sqlite3.connect(folder / ".distask" / "store.db")) as db:
        return db.execute("SELECT count(*) FROM completions").fetchone()[0]


# Disks


@pytest.fixture
def disk(tmp_path):
    """A disk of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounts = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0777", "tmpfs", place]
    if shutil.which("mount") is None or subprocess.run(mounts, capture_output=True, check=False).returncode:
        pytest.skip("only root can make a small disk; the tests with a limit on a file's size hold the same")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def remount(place, options):
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


def large(body):
    return body["messages"][-1]["content"] + " " + "x" * 20_000


@pytest.mark.parametrize(
    ("out", "store"), [("disk/out.jsonl", "disk/s.db"), ("disk/out.jsonl", "s.db"), ("out.jsonl", "disk/s.db")]
)
def test_a_disk_that_is_full_stops_the_asking_and_nothing_is_lost(folder, disk, forks, server, out, store):
    """At the output, at the store, at both: exit code 1, the mend, and run the same command to resume."""
    server.reply = large
    asks = command(server, "--store", store, out=out)

    code, result = forks.run(folder, *asks)

    assert code == 1, result
    assert re.search(r"the disk is full[.;] [Ff]ree some space,? (and|then) run the same command", result)
    assert "Traceback" not in result
    assert ("those that could not be stored will be requested again" in result) is ("s.db: the disk is full" in result)
    asked = len(server.requests)
    assert asked < ROWS

    remount(disk, "size=64m")
    code, result = forks.run(folder, *asks)

    assert code == 0, result
    assert answers(folder / out) == ALL
    assert len(server.requests) <= ROWS + PLACES


@pytest.mark.parametrize("where", ["store", "output"])
def test_a_file_that_may_not_grow_is_like_a_disk_that_is_full(folder, forks, server, where):
    """The store's limit is met first, where replies are small rows of a large table; the output's, where it is without a store."""
    server.reply = large
    more = ["--no-store"] if where == "output" else []

    code, result = forks.run(folder, *command(server, *more), largest=100_000)

    assert code == 1, result
    assert "Traceback" not in result
    assert ("store.db" if where == "store" else "out.jsonl") in result
    assert len(server.requests) < ROWS
    if where == "store":
        code, result = forks.run(folder, *command(server))
        assert code == 0, result
        assert len(server.requests) <= ROWS + PLACES
        assert answers(folder / "out.jsonl") == ALL


def test_a_disk_that_can_only_be_read_is_reported_before_any_call(folder, disk, forks, server):
    remount(disk, "ro")

    for asks in (command(server, out="disk/out.jsonl"), command(server, "--store", "disk/s.db")):
        code, result = forks.run(folder, *asks)

        assert code in (1, 2)
        assert "disk/" in result
        assert "Read-only" in result or "can't be written" in result
        assert "Traceback" not in result
    assert server.requests == []


# More than one run


def test_a_second_run_of_the_same_output_is_refused_before_any_call(folder, forks, server):
    gate = Gate(server, 1, Reply(delay=2))
    first = forks.begin(folder, *command(server))
    assert gate.reached.wait(60)
    asked = len(server.requests)

    code, result = forks.run(folder, *command(server), said=str(folder / "second.txt"))

    assert code == 2
    assert "another run is writing this file" in result
    assert len(server.requests) == asked
    first.kill()
    first.wait()


def test_runs_that_begin_at_once_on_a_new_store_are_all_right(folder, forks, server):
    """Six of them make it, fill it and read it at the same time; four ask the same as others."""
    children = [
        forks.begin(
            folder,
            *command(server, "--set", f"llm.top_p=0.{1 + i // 2}", out=f"out{i}.jsonl"),
            said=str(folder / f"said{i}.txt"),
        )
        for i in range(6)
    ]

    assert [c.wait() for c in children] == [0] * 6, [c.text for c in children]
    for i in range(6):
        assert answers(folder / f"out{i}.jsonl") == ALL
    assert stored(folder) == 3 * ROWS


def test_a_store_that_another_process_holds_is_waited_for_and_then_reported(folder, forks, server):
    values = {"BUSY_SECONDS": 0.3}
    code, _ = forks.run(folder, *command(server, "--limit", 1))
    assert code == 0
    with closing(sqlite3.connect(folder / ".distask" / "store.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        code, result = forks.run(folder, *command(server), values=values)
        db.execute("ROLLBACK")

    assert code == 1
    assert "another process has held the store" in result
    assert len(server.requests) <= 1 + PLACES
    assert forks.run(folder, *command(server))[0] == 0


def test_an_input_that_changes_while_it_is_read_is_reported(folder, forks, server):
    """Rows were checked as they were; those that are there now are the next run's."""
    write_rows(folder / "in.jsonl", 20_000)
    gate = Gate(server, 50, Reply(delay=0.3))
    child = forks.begin(folder, *command(server, "--limit", 100))
    assert gate.reached.wait(60)
    write_rows(folder / "in.jsonl", 100)
    server.reply = lambda body: Reply()

    assert child.wait() == 0
    assert "changed during the run" in child.text


def test_an_input_that_is_cut_while_it_is_read_ends_the_run_as_a_crash_does(folder, forks, server):
    """It was whole when it was looked through: what is wrong now is no wrong usage, and what was paid for is kept."""
    whole = gzip.compress("".join(json.dumps({"q": str(i)}) + "\n" for i in range(20_000)).encode(), 1)
    (folder / "in.jsonl.gz").write_bytes(whole)
    gate = Gate(server, 50, Reply(delay=1))
    child = forks.begin(folder, *command(server, source="in.jsonl.gz"))
    assert gate.reached.wait(60)
    os.truncate(folder / "in.jsonl.gz", len(whole) // 3)
    server.reply = lambda body: Reply()

    assert child.wait() == 1
    assert "in.jsonl.gz" in child.text
    assert "run the same command to resume" in child.text
    assert "Traceback" not in child.text
    assert stored(folder) == len(server.requests)


def test_an_endpoint_that_is_not_there_is_reported_and_costs_nothing(folder, forks, server):
    code, result = forks.run(folder, *command(server, "--base-url", "http://127.0.0.1:9/v1"))

    assert code == 1
    assert "127.0.0.1:9" in result
    assert "Traceback" not in result
    assert not (folder / "out.jsonl").exists()
