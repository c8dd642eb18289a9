"""The command line as a person meets it: a folder, arguments, what is printed, an exit code; every `--json` is held to its schema."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jsonschema_rs
import pytest

from distask.cli.commands.specs.schema import event_schema
from tests.cage import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """\
name: answer
inputs: {instruction: The instruction.}
format_input:
  - {role: user, content: "{{ instruction }}"}
outputs: {generation: The reply.}
format_output: {parser: text}
"""


@dataclass
class Completed:
    """What a command said."""

    code: int
    out: str
    err: str


class Shell:
    """A folder with a task and rows, and `distask` in it."""

    def __init__(self, folder: Path, server, cage):
        self.folder, self.server = folder, server
        self._cage = cage
        self.env = clean_environment() | {"COLUMNS": "80"}
        self.write("task.yaml", SPEC)
        self.rows([{"instruction": f"question {i}"} for i in range(5)])

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def rows(self, rows):
        self.write("in.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def command(self, *arguments):
        """`{url}` stands for the server, as `--model m` does for its model."""
        return [sys.executable, "-m", "distask", *(a.replace("{url}", self.server.url) for a in arguments)]

    def __call__(self, *arguments, stdin=""):
        """Run a command to its end: in a fork, unless the interpreter itself has to start differently."""
        _, _, _, *words = command = self.command(*arguments)
        if self._cage is not None and _interpreter(self.env) == _interpreter(clean_environment()):
            done = self._cage(*words, cwd=self.folder, stdin=stdin.encode(), whole_env=self.env, memory=None)
            result = Completed(done.code, done.out.decode(), done.err.decode())
        else:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=self.env,
                input=stdin.encode(),
                capture_output=True,
                check=False,
                timeout=60,
            )
            result = Completed(done.returncode, done.stdout.decode(), done.stderr.decode())
        if "--json" in arguments:
            self.events = held_events(result, on_stderr="-o" in arguments and "-" in arguments)
        return result

    def run(self, *more, **options):
        """`distask run` of the task over the rows, against the server."""
        return self("run", "task.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m", *more, **options)

    def lines(self, name):
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]


def _interpreter(env):
    """The environment variables that Python reads when it starts."""
    return {k: v for k, v in env.items() if k.startswith("PYTHON")}


EVENT = jsonschema_rs.validator_for(event_schema())


def held_events(said, *, on_stderr=False):
    """The events of a command, each of which the schema knows; the last one says how it ended."""
    events = [json.loads(line) for line in (said.err if on_stderr else said.out).splitlines()]
    for event in events:
        assert EVENT.is_valid(event), [str(e) for e in EVENT.iter_errors(event)]
    assert [e["event"] in ("result", "error") for e in events] == [False] * (len(events) - 1) + [True]
    assert events[-1]["exit_code"] == said.code
    return events


@pytest.fixture
def shell(tmp_path, server, request):
    """A folder to run commands in; see `Shell`."""
    cage = request.getfixturevalue("cage") if sys.platform == "linux" else None
    return Shell(tmp_path, server, cage)
