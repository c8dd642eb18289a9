"""Makes tasks from specs that stand in the tests."""

from __future__ import annotations

import textwrap

import pytest

from distask import Task
from distask.spec.load import load_spec


@pytest.fixture
def make_task(tmp_path):
    """A function from the text of a spec, and files beside it, to a task; what is left out is filled in plainly."""

    def make(text, params=None, *, files=None, **options):
        return Task.load(write_spec(tmp_path, text, files), params, **options)

    return make


@pytest.fixture
def make_spec(tmp_path):
    """As `make_task`, but the spec as it is loaded."""

    def make(text, files=None):
        return load_spec(write_spec(tmp_path, text, files))

    return make


DEFAULTS = {
    "name": "name: a-task",
    "inputs": "inputs: {question: What is asked.}",
    "format_input": 'format_input: [{role: user, content: "{{ question }}"}]',
    "outputs": "outputs: {answer: The answer.}",
    "format_output": "format_output: {parser: text}",
}


def write_spec(folder, text, files=None):
    """Write a spec and the files beside it; keys that the text has not come from `DEFAULTS`."""
    for name, content in (files or {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    text = textwrap.dedent(text)
    keys = {line.partition(":")[0] for line in text.splitlines() if line[:1].strip()}
    added = [line for key, line in DEFAULTS.items() if key not in keys]
    path = folder / "task.yaml"
    path.write_text("\n".join([*added, text]), encoding="utf-8")
    return path
