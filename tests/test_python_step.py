"""The step that is a function of the user's own: it runs where that was allowed, and a row's failure is the row's."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from distask import load, run
from distask.errors import SpecError, UsageError
from distask.spec.load import load_text

SPEC = """
name: measure
inputs: {text: A text.}
params: {unit: {default: letters}}
steps:
  - python: measures:measured
    args: {unit: "{{ unit }}", factor: 2}
    outputs: {length: {type: integer, minimum: 1}, said: How it was measured.}
  - set: {half: "{{ length / 4 }}"}
outputs: {length: {type: integer}, said: It., half: {type: number}}
"""
CODE = """
from pathlib import Path
Path(__file__).with_name("imported").touch()

def measured(row, unit, factor):
    if row["text"] == "boom":
        raise KeyError("no measure")
    if row["text"] == "list":
        return [1]
    return {"length": len(row["text"]) * factor, "said": unit, "more": 1}
"""


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "measures.py").write_text(CODE)
    path = tmp_path / "measure.yaml"
    path.write_text(SPEC)
    return path


def test_a_function_gives_a_row_its_columns(spec):
    """It is given the row, and by name what the step says; what it gives beside its outputs is no column."""
    result = run(load(spec, {"unit": "signs"}, allow_code=True), [{"text": "abcd"}], llm="offline")

    (row,) = result.rows
    assert {name: row[name] for name in ("length", "said", "half")} == {"length": 8, "said": "signs", "half": 2.0}
    assert "more" not in row


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("boom", "measures:measured: KeyError: 'no measure'"),
        ("list", "measures:measured returned list, not a dict of columns"),
        ("", "measures:measured returned invalid columns: length: 0 is less than 1"),
    ],
)
def test_a_function_that_fails_fails_its_own_row(spec, text, expected):
    result = run(load(spec, allow_code=True), [{"text": text}, {"text": "ab"}], llm="offline")

    failed, good = result.rows
    assert (failed["length"], failed["said"]) == (None, None)
    assert failed["distask_metadata"]["error_python"] == {"kind": "python", "message": expected}
    assert good["length"] == 4
    assert result.exit_code == 3


def test_a_function_runs_only_where_that_is_allowed(spec):
    """Nothing of the module is run before: not by the task, not by validate, not by a dry run."""
    with pytest.raises(UsageError, match="runs Python code, measures:measured"):
        load(spec)
    (spec.parent / "in.jsonl").write_text(json.dumps({"text": "a"}))
    for words in (["validate", "measure.yaml"], ["dry-run", "measure.yaml", "-i", "in.jsonl", "-c", "offline"]):
        subprocess.run([sys.executable, "-m", "distask", *words], cwd=spec.parent, check=True, capture_output=True)

    assert not (spec.parent / "imported").exists()


def test_functions_of_items_continue_next_to_each_other(spec):
    """A function in a loop gives lists, in the items' order."""
    spec.write_text(
        """
name: measure
inputs: {texts: {type: list}}
steps:
  - for_each: text in texts
    steps:
      - {python: 'measures:measured', args: {unit: x, factor: 1}, outputs: {length: {type: integer}}}
"""
    )

    (row,) = run(load(spec, allow_code=True), [{"texts": ["a", "boom", "abc"]}], llm="offline").rows

    assert row["length"] == [1, None, 3]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("{python: measures, outputs: {a: A.}}", "measures"),
        ("{python: 'm:f'}", "outputs"),
        ("{python: 'm:f', outputs: {a: {type: intger}}}", "intger"),
        ("{python: 'm:f', outputs: {a: A.}, args: {x: '{{ txt }}'}}", "txt"),
    ],
)
def test_what_is_wrong_with_it_is_reported_before_it_runs(tmp_path, step, expected):
    text = f"inputs: {{text: A text.}}\nsteps:\n  - {step}\n"

    with pytest.raises(SpecError, match=expected):
        load_text(text, tmp_path / "t.yaml")
