"""An editor with the YAML language server: it completes a new task's keys and underlines what is wrong.

`npm install yaml-language-server` in the checkout, or anywhere on PATH, lets it run; it needs no network then.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from itertools import count
from pathlib import Path

import pytest

from distask.cli import main

ROOT = Path(__file__).resolve().parents[2]
SERVER = shutil.which("yaml-language-server", path=f"{ROOT / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}")
pytestmark = pytest.mark.skipif(
    SERVER is None or shutil.which("node") is None, reason="yaml-language-server is not installed"
)


class Editor:
    """A client of the language server's protocol, as far as a test needs one."""

    def __init__(self, folder: Path):
        self._process = subprocess.Popen([SERVER, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder)
        self._ids = count(1)
        root = folder.as_uri()
        folders = [{"uri": root, "name": "x"}]
        self.ask("initialize", {"processId": None, "rootUri": root, "workspaceFolders": folders, "capabilities": {}})
        self._send({"method": "initialized", "params": {}})

    def open(self, path: Path) -> list[str]:
        """Open a file; what is underlined in it."""
        self.uri = path.as_uri()
        document = {"uri": self.uri, "languageId": "yaml", "version": 1, "text": path.read_text()}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        while True:
            result = self._read()
            if result.get("method") == "textDocument/publishDiagnostics" and result["params"]["uri"] == self.uri:
                return [d["message"] for d in result["params"]["diagnostics"]]

    def complete(self, line: int, character: int) -> set[str]:
        """What is offered at a place."""
        place = {"textDocument": {"uri": self.uri}, "position": {"line": line, "character": character}}
        return {item["label"] for item in self.ask("textDocument/completion", place)["items"]}

    def ask(self, method: str, params: dict):
        number = next(self._ids)
        self._send({"id": number, "method": method, "params": params})
        while True:
            result = self._read()
            if result.get("id") == number and "method" not in result:
                return result["result"]

    def _send(self, message: dict):
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(data), data))
        self._process.stdin.flush()

    def _read(self) -> dict:
        length = 0
        while (line := self._process.stdout.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        result = json.loads(self._process.stdout.read(length))
        if "id" in result and "method" in result:  # it asks for settings: there are none
            asked = result["params"].get("items", []) if isinstance(result.get("params"), dict) else []
            self._send({"id": result["id"], "result": [{} for _ in asked] if asked else None})
        return result

    def close(self):
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def editor(tmp_path):
    running = Editor(tmp_path)
    yield running
    running.close()


@pytest.fixture
def task(tmp_path, monkeypatch):
    """A new task, as `distask init` writes it."""
    monkeypatch.chdir(tmp_path)
    assert main(["init", "judge"]) == 0
    return tmp_path / "judge.yaml"


def test_a_new_task_has_nothing_underlined(editor, task):
    assert editor.open(task) == []


def test_what_is_wrong_is_underlined(editor, task):
    task.write_text(
        task.read_text().replace(
            "format_output: {parser: text}", "num_generations: many\ntemprature: 1\nformat_output: {parser: text}"
        )
    )

    found = editor.open(task)

    assert any("temprature" in message for message in found)
    assert any("integer" in message for message in found)


def test_keys_are_completed(editor, task):
    lines = task.read_text().splitlines()
    task.write_text("\n".join([*lines, "", "llm_"]).replace("llm: {", "# llm: {"))
    editor.open(task)

    offered = editor.complete(len(lines) + 1, 0)

    assert {"llm", "params", "num_generations", "on_invalid", "checks"} <= offered
