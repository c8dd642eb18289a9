"""A stranger's folder: a spec, rows, and beside it what the spec may not reach."""

from __future__ import annotations

import json
import os
import re

import pytest

OUTSIDE = "OUTSIDE-OF-THE-FOLDER"
ROW = b'{"x": [3, 4], "q": "a", "big": 123456789012345678901234567890, "f": 1.0}'
CHANGED = "987654321"
"""What a template puts into a row, where it can."""
LARGEST = 330
"""MiB that a command may take beside what its imports take."""


class Folder:
    """The stranger's folder, and what is told of a command that ran in it."""

    def __init__(self, path):
        self.path = path / "spec"
        self.path.mkdir()
        (path / "secret.txt").write_text(OUTSIDE)
        (path / "secret.json").write_text(json.dumps({"type": "string", "title": OUTSIDE}))
        (self.path / "in.jsonl").write_bytes(ROW + b"\n")

    def write(self, name, text):
        (self.path / name).write_text(text)

    def task(self, content="{{ q }}", **more):
        """A spec with one message; other keys may be given, None leaves one out."""
        keys = {
            "name": "t",
            "inputs": {"x": {"type": "any"}, "q": {"type": "any"}},
            "format_input": [{"role": "user", "content": content}],
            "outputs": {"a": "x"},
            "format_output": {"parser": "text"},
            "cases": [{"input": {"x": [3, 4], "q": "a"}, "reply": "hi", "expect": {"a": "hi"}}],
            **more,
        }
        self.write("t.yaml", "\n".join(f"{k}: {json.dumps(v)}" for k, v in keys.items() if v is not None))

    def left(self):
        """All that the command wrote into files."""
        return b"".join(
            p.read_bytes() for p in self.path.rglob("*") if p.is_file() and not p.is_symlink() and p.name != "t.yaml"
        )


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


COMMANDS = {
    "validate": ["validate", "t.yaml"],
    "dry-run": ["dry-run", "t.yaml", "-i", "in.jsonl"],
    "test": ["test", "t.yaml"],
    "run": ["run", "t.yaml", "-i", "in.jsonl", "-o", "out.jsonl", "-c", "offline", "--overwrite"],
}
TOLD = re.compile(
    rb"\S+:\d+:\d+: error: .|can't be rendered: .|^\S+:\d+: .|no errors|1 passed|ok|error: ", re.MULTILINE
)


def assert_harmless(said, folder):
    """It ended, in little memory, in words for people, and nothing of what lies outside came out."""
    assert said.code in (0, 1, 2, 3), f"it ended with {said.code}: {said.text[-300:]}"
    assert b"Traceback" not in said.err
    assert b"bug in distask" not in said.err
    assert b"MemoryError" not in said.out + said.err
    assert said.grown < LARGEST, f"it took {said.grown:.0f} MiB"
    assert len(said.out + said.err) < 40_000
    assert OUTSIDE.encode() not in said.out + said.err + folder.left()
    assert not (folder.path / "PWNED").exists()
    assert not (folder.path.parent / "PWNED").exists()
    out = folder.path / "out.jsonl"
    if out.exists():
        assert out.read_bytes().startswith(ROW[:-1] + b",")
        assert CHANGED.encode() not in out.read_bytes().replace(b"append(" + CHANGED.encode(), b"")
        out.unlink()


def assert_told(said):
    """Where it says what is wrong, it says where."""
    if said.code == 2:
        assert re.search(rb"^\S*t\.yaml(:\d+:\d+)?: (error: )?\S|^error: \S", said.err + said.out, re.MULTILINE), (
            said.text
        )


def environment():
    return {k: v for k, v in os.environ.items() if not k.startswith("OPENAI")}
