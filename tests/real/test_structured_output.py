"""Structured output against an engine that constrains decoding: the weights are noise, and every reply fits all the same."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest

from distask import Task, run

ROWS = [{"text": f"row {i}"} for i in range(12)]

JUDGE = """
name: judge
inputs: {text: The text.}
format_input: [{role: user, content: "{{ text }}"}]
structured_output: true
outputs:
  rating: {type: integer, minimum: 1, maximum: 5}
  labels: {schema: {type: array, items: {enum: [good, bad]}, minItems: 1, maxItems: 3}}
  reason: {type: string, maxLength: 30}
format_output: {parser: json}
llm: {max_tokens: 400, temperature: 1, seed: 7}
"""

LABEL = """
name: label
inputs: {text: The text.}
format_input: [{role: user, content: "{{ text }}"}]
structured_output: {choice: [very good, "so \\"so\\"", bad]}
outputs: {label: {choices: [very good, "so \\"so\\"", bad]}}
format_output: {parser: choice}
llm: {temperature: 2}
"""

YEAR = """
name: year
inputs: {text: The text.}
format_input: [{role: user, content: "{{ text }}"}]
structured_output: {grammar: 'root ::= [12] [0-9] [0-9] [0-9]'}
outputs: {year: {type: integer, minimum: 1000, maximum: 2999}}
format_output: {parser: regex, pattern: '^(?P<year>\\d{4})$'}
llm: {temperature: 2, seed: 1}
"""


@pytest.fixture
def outcome(tmp_path, llama_server):
    """Run a spec over rows against the real server."""

    def run_it(spec, rows=ROWS, **options):
        task = spec if spec.isidentifier() or "\n" not in spec else tmp_path / "task.yaml"
        if task is not spec:
            task.write_text(spec)
        llm = {"base_url": llama_server, "model": "tiny", "api_key_env": None, **options.pop("llm", {})}
        result = run(Task.load(task), rows, llm=llm, output=tmp_path / "out.jsonl", **options)
        return result, [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]

    return run_it


def test_a_schema_made_from_the_outputs_holds_every_reply(outcome):
    result, rows = outcome(JUDGE, num_generations=2)

    assert result.exit_code == 0
    assert len(rows) == 24
    assert all(1 <= row["rating"] <= 5 and set(row["labels"]) <= {"good", "bad"} for row in rows)
    assert len({row["reason"] for row in rows}) > 12, "the replies are noise, not one reply again and again"


def test_a_rows_own_schema_holds_its_reply(outcome):
    def schema(name):
        return {
            "type": "object",
            "properties": {name: {"type": "boolean"}},
            "required": [name],
            "additionalProperties": False,
        }

    asked = [
        {"instruction": "x", "structured_output": {"format": "json", "schema": schema(n)}} for n in ("even", "odd")
    ]

    result, rows = outcome("structured-generation", asked, llm={"generation": {"max_tokens": 200}})

    assert result.exit_code == 0
    for row, name in zip(rows, ("even", "odd"), strict=True):
        assert jsonschema_rs.is_valid(schema(name), json.loads(row["generation"]))


def test_a_choice_holds_every_reply(outcome):
    result, rows = outcome(LABEL, num_generations=4)

    assert result.exit_code == 0
    assert {row["label"] for row in rows} <= {"very good", 'so "so"', "bad"}


def test_a_grammar_holds_every_reply(outcome):
    result, rows = outcome(YEAR)

    assert result.exit_code == 0
    assert all(1000 <= row["year"] <= 2999 for row in rows)


def test_without_it_noise_does_not_parse_and_no_row_is_lost(outcome):
    """What holds the replies above is the server, not luck."""
    result, rows = outcome(JUDGE.replace("structured_output: true\n", ""))

    assert result.exit_code == 3
    assert len(rows) == 12
    assert all(row["rating"] is None and row["distask_metadata"]["error_judge"]["kind"] for row in rows)


def test_more_generations_than_the_server_takes_at_once_all_come(outcome):
    """It has four slots and refuses n above them with 400."""
    result, rows = outcome(YEAR, ROWS[:2], num_generations=9)

    assert result.exit_code == 0
    assert len(rows) == 18
