"""`distask validate`, as a person or a program calls it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from distask.cli import app

GOOD = """\
inputs:
  question: The question.
  score: {type: integer, required: false}
format_input:
  - role: user
    content: "{{ question }}"
outputs:
  answer: The answer.
format_output: {parser: text}
cases:
  - input: {question: "Two?"}
    reply: "2"
    expect: {answer: "2"}
"""


@pytest.fixture
def validate(tmp_path, monkeypatch):
    """Call the command in a folder of its own: the exit code, and what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str):
        done = CliRunner().invoke(app, ["validate", *arguments])
        return done.exit_code, done.output

    return call


def test_a_good_spec_ends_with_0(validate, tmp_path):
    """One line says so."""
    (tmp_path / "a.yaml").write_text(GOOD)

    assert validate("a.yaml") == (0, "a.yaml: no errors\n")


def test_every_error_of_every_file_is_reported(validate, tmp_path):
    """A file that is wrong does not hide the next one."""
    (tmp_path / "a.yaml").write_text(GOOD.replace("{{ question }}", "{{ quesion }}") + "temperature: 0\n")
    (tmp_path / "b.yaml").write_text(GOOD)
    (tmp_path / "c.yaml").write_text("a: [\n")

    code, result = validate("a.yaml", "b.yaml", "c.yaml", "d.yaml")

    assert code == 2
    assert (
        """\
a.yaml:6:18: error: the template reads `quesion`, which is not an input, a param, a var or a draw
    6 |     content: "{{ quesion }}"
      |                  ^^^^^^^ did you mean `question`?
"""
        in result
    )
    assert "a.yaml:14:1: error: unknown key `temperature`" in result
    assert "it belongs under `llm`" in result
    assert "c.yaml:" in result
    assert "d.yaml: error: file not found" in result
    assert result.endswith("4 errors in 3 of 4 specs\n")


def test_a_case_that_fails_is_reported_at_its_place(validate, tmp_path):
    """A golden case is held against the parser, with no model."""
    (tmp_path / "a.yaml").write_text(GOOD.replace('expect: {answer: "2"}', 'expect: {answer: "3"}'))

    code, result = validate("a.yaml")

    assert code == 2
    assert "a.yaml:13:22: error: case 1" in result


def test_programs_get_json(validate, tmp_path):
    """Every error with its place in numbers."""
    (tmp_path / "a.yaml").write_text(GOOD + "1: 2\n")

    code, outcome = validate("a.yaml", "--format", "json")
    result = json.loads(outcome)

    assert code == 2
    assert result["ok"] is False
    assert result["specs"] == [{"spec": "a.yaml", "ok": False}]
    assert [(d["file"], d["line"], d["column"]) for d in result["diagnostics"]] == [("a.yaml", 14, 1)]


def test_github_gets_annotations(validate, tmp_path):
    """Errors appear beside the line of a pull request."""
    (tmp_path / "a.yaml").write_text(GOOD + "1: 2\n")

    code, result = validate("a.yaml", "--format", "github")

    assert code == 2
    assert result.startswith("::error file=a.yaml,line=14,col=1::a key must be text")


def test_an_unknown_format_is_wrong_usage(validate, tmp_path):
    """Nothing is read."""
    (tmp_path / "a.yaml").write_text(GOOD)

    assert validate("a.yaml", "--format", "xml")[0] == 2


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (['{"question": "a"}', '{"question": "b", "score": 3}'], None),
        (['{"question": "a", "score": null}'], None),
        (['{"qestion": "a"}'], "a.yaml:2:3: error: the data (d.jsonl) has no column `question`"),
        (['{"qestion": "a"}'], "did you mean `qestion`? `input_mappings: {question: qestion}`"),
        (
            ['{"question": "a"}', '{"question": null}', '{"question": null}'],
            "d.jsonl:2:1: error: `question` is null, here and in 1 more row",
        ),
        (['{"question": "a"}', '{"x": 1}'], "d.jsonl:2:1: error: `question` is missing"),
        (['{"question": "a", "score": "many"}'], 'd.jsonl:1:1: error: `score`: "many" is not an integer'),
        (['{"question": "a", "answer": "b"}'], "a.yaml:8:3: error: the data (d.jsonl) already has a column `answer`"),
        (['{"question": "a"', "{}"], "d.jsonl:1:"),
        ([], "the input has no rows"),
    ],
)
def test_data_is_held_against_the_inputs(validate, tmp_path, rows, words):
    """Columns, nulls, types, and columns that an output would write over: all before any call."""
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "d.jsonl").write_text("".join(f"{row}\n" for row in rows))

    code, result = validate("a.yaml", "--input", "d.jsonl")

    assert code == (0 if words is None else 2), result
    assert words is None or words in result


def test_data_in_columns_of_other_names_is_mapped(validate, tmp_path):
    """`input_mappings` and `output_mappings` count."""
    mapped = "input_mappings: {question: q}\noutput_mappings: {answer: reply}\n"
    (tmp_path / "a.yaml").write_text(GOOD.partition("cases:")[0] + mapped)
    (tmp_path / "d.jsonl").write_text('{"q": "a", "answer": "kept"}\n')

    assert validate("a.yaml", "-i", "d.jsonl")[0] == 0


def test_data_that_is_not_there_names_the_nearest(validate, tmp_path):
    """A slip in the data's name is mended too."""
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "data.jsonl").write_text('{"question": "a"}\n')

    code, result = validate("a.yaml", "-i", "dat.jsonl")

    assert code == 2
    assert "data.jsonl" in result


def test_params_are_checked(validate, tmp_path):
    """A param that is unknown or out of bounds is told before a run is."""
    (tmp_path / "a.yaml").write_text(GOOD + "params: {scale: {type: integer, default: 1, maximum: 5}}\n")

    assert validate("a.yaml", "-p", "scale=4")[0] == 0
    assert validate("a.yaml", "-p", "scale=9")[0] == 2
    assert "did you mean `scale`?" in validate("a.yaml", "-p", "skale=4")[1]
    assert validate("a.yaml", "-p", "scale")[0] == 2


def test_a_parser_that_runs_code_is_not_imported(validate, tmp_path):
    """A stranger's spec can be validated without fear."""
    (tmp_path / "evil.py").write_text("open('ran', 'w')\ndef f(reply, row): return {}\n")
    (tmp_path / "a.yaml").write_text(GOOD.replace("{parser: text}", "{parser: python, function: 'evil:f'}"))
    (tmp_path / "d.jsonl").write_text('{"question": "a"}\n')

    assert validate("a.yaml", "-i", "d.jsonl")[0] == 0
    assert not (tmp_path / "ran").exists()


def test_control_characters_of_a_spec_never_reach_the_terminal(validate, tmp_path):
    """Neither from the file nor from its name."""
    (tmp_path / "a.yaml").write_text(GOOD + '"\\e]0;owned\\a": 1\n"\\u202e": 2\n')

    code, result = validate("a.yaml")

    assert code == 2
    assert all(c == "\n" or c.isprintable() for c in result)


def test_validate_imports_nothing_heavy(tmp_path):
    """No client, no data library, no table library: it answers at once."""
    heavy = ("openai", "datasets", "pyarrow", "pyreqwest", "rich")
    (tmp_path / "a.yaml").write_text(GOOD)
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom distask.cli import app\n"
        "assert CliRunner().invoke(app, ['validate', 'a.yaml']).exit_code == 0\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)

    assert done.stdout.strip() == "[]"
