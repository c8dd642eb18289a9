"""The command line as a person meets it: a folder, arguments, what is printed, an exit code; every `--json` is held to its schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jsonschema_rs
import pytest

from distask.cli.commands.specs.schema import event_schema

ROOT = Path(__file__).resolve().parents[2]

SPEC = """\
name: answer
inputs: {instruction: The instruction.}
format_input:
  - {role: user, content: "{{ instruction }}"}
outputs: {generation: The reply.}
format_output: {parser: text}
"""


@dataclass
class Said:
    """What a command said."""

    code: int
    out: str
    err: str


class Shell:
    """A folder with a task and rows, and `distask` in it."""

    def __init__(self, folder: Path, server):
        self.folder, self.server = folder, server
        self.env = {
            k: v for k, v in os.environ.items() if not k.startswith(("OPENAI", "AZURE", "FORCE_COLOR", "COLUMNS"))
        }
        self.env |= {"PYTHONPATH": str(ROOT), "COLUMNS": "80", "PYTHONWARNINGS": "error"}
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
        done = subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.env, input=stdin.encode(), capture_output=True, check=False,
            timeout=60,
        )  # fmt: skip
        said = Said(done.returncode, done.stdout.decode(), done.stderr.decode())
        if "--json" in arguments:
            self.events = held_events(said, on_stderr="-o" in arguments and "-" in arguments)
        return said

    def run(self, *more, **options):
        """`distask run` of the task over the rows, against the server."""
        return self("run", "task.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m", *more, **options)

    def lines(self, name):
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]


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
def shell(tmp_path, server):
    return Shell(tmp_path, server)
