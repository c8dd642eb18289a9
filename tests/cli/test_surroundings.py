"""The same commands where the terminal is old, narrow, colourless or no terminal: none fails for what it can't show."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time

import pytest

pytestmark = pytest.mark.battery

ASKED = ["-i", "in.jsonl", "--base-url", "{url}", "--model", "m"]
COMMANDS = [
    ["--help"],
    ["run", "--help"],
    ["run", "task.yaml", *ASKED, "-v"],
    ["dry-run", "task.yaml", *ASKED],
    ["preview", "task.yaml", *ASKED],
    ["test", "bad.yaml"],
    ["validate", "bad.yaml"],
    ["tasks"],
    ["tasks", "show", "ultrafeedback"],
    ["check", "--base-url", "{url}", "--model", "m"],
    ["schema"],
    ["run", "日本.yaml"],
]


@pytest.fixture
def foreign(shell):
    """Rows, replies and a spec with letters, signs and emoji that old consoles have not."""
    shell.rows([{"instruction": "Was heißt 日本 → 😀?"}])
    shell.server.reply = lambda body: "Japan … „x“ 😀\u2028"
    spec = (shell.folder / "task.yaml").read_text()
    shell.write("bad.yaml", spec + "cases: [{input: {instruction: ж}, reply: 日本 😀, expect: {generation: é}}]\n")
    return shell


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii"])
def test_a_console_without_unicode_shows_escapes_and_ends_nothing(foreign, encoding):
    foreign.env |= {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    for arguments in COMMANDS:
        done = subprocess.run(
            foreign.command(*arguments),
            cwd=foreign.folder,
            env=foreign.env,
            capture_output=True,
            check=False,
            timeout=60,
        )
        result = (done.stdout + done.stderr).decode(encoding, "replace")

        assert "Traceback" not in result, arguments
        assert "bug in distask" not in result, arguments
        assert done.returncode in (0, 2, 3), (arguments, result)


def on_a_terminal(shell, arguments, **environment):
    """What a command writes to a real terminal of 40 columns."""
    ours, theirs = pty.openpty()
    env = {k: v for k, v in shell.env.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM")}
    running = subprocess.Popen(
        shell.command(*arguments), cwd=shell.folder, env=env | {"TERM": "xterm-256color", "COLUMNS": "40", "LINES": "24"} | environment,
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    result, until = b"", time.monotonic() + 60
    while time.monotonic() < until:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                got = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not got:
                break
            result += got
        elif running.poll() is not None:
            break
    os.close(ours)
    assert running.wait(60) in (0, 2, 3)
    return result.decode()


COLOUR = re.compile(r"\x1b\[(?!0m)[0-9;]*m")


def test_a_terminal_gets_colour_unless_it_is_dumb_or_reported_not_to_be(foreign):
    arguments = ["test", "bad.yaml"]

    assert COLOUR.search(on_a_terminal(foreign, arguments))
    assert not COLOUR.search(on_a_terminal(foreign, arguments, NO_COLOR="1").replace("\x1b[1m", ""))
    assert "\x1b" not in on_a_terminal(foreign, arguments, TERM="dumb")


def test_a_pipe_gets_no_colour_unless_it_is_reported_to(foreign):
    assert "\x1b" not in foreign("test", "bad.yaml").out
    foreign.env["FORCE_COLOR"] = "1"
    assert COLOUR.search(foreign("test", "bad.yaml").out)


def test_a_dumb_terminal_gets_plain_lines_of_progress(foreign):
    result = on_a_terminal(foreign, ["run", "task.yaml", *ASKED], TERM="dumb")

    assert "\x1b" not in result
    assert "rows        1 in, 1 out" in result


def test_the_gallery_on_a_terminal_of_40_columns_breaks_no_word(foreign):
    lines = (
        COLOUR.sub("", on_a_terminal(foreign, ["tasks", "judge"])).replace("\x1b[0m", "").replace("\r", "").split("\n")
    )

    described = [line for line in lines if line.startswith("    ")]
    assert "  ultrafeedback" in lines
    assert max(map(len, described)) <= 40
    assert "    instruction, with a reason." in described
