"""`distask schema`: what it prints is a JSON Schema that good specs keep and bad ones break."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest
from typer.testing import CliRunner

from distask.cli import app
from distask.spec.document import Document
from distask.spec.gallery import configs, gallery


def printed(*arguments: str):
    done = CliRunner().invoke(app, ["schema", *arguments])
    assert done.exit_code == 0
    return json.loads(done.output)


@pytest.fixture(scope="module")
def schema():
    """The schema of a spec, as a validator."""
    return jsonschema_rs.validator_for(printed())


BASE = {
    "format_input": [{"role": "user", "content": "{{ a }}"}],
    "outputs": {"b": "B."},
    "format_output": {"parser": "text"},
}


@pytest.mark.parametrize("arguments", [[], ["--config"]])
def test_what_is_printed_is_a_json_schema(arguments):
    """An editor can read it."""
    found = printed(*arguments)

    jsonschema_rs.meta.validate(found)
    assert found["$schema"].startswith("https://json-schema.org/")


@pytest.mark.parametrize("name", sorted(gallery()))
def test_every_built_in_task_keeps_it(schema, name):
    """The schema allows what the language allows."""
    document = Document.parse(gallery()[name].read_text(encoding="utf-8"), name)

    assert [e.message for e in schema.iter_errors(document.data)] == []


@pytest.mark.parametrize("name", sorted(configs()))
def test_every_built_in_config_keeps_it(name):
    """The same of configs."""
    config = jsonschema_rs.validator_for(printed("--config"))
    document = Document.parse(configs()[name].read_text(encoding="utf-8"), name)

    assert [e.message for e in config.iter_errors(document.data)] == []


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": {"a": "A."}},
        {"inputs": {"a": {"type": "list[string]", "minItems": 1}}},
        {"draw": {"d": [1, 2], "e": {"range": [0, 1]}}},
        {"draw": {"d": [1, 2]}, "design": {"grid": ["d"], "rows": "2 if d == 1 else 1"}},
        {"draw": {"d": {"options": [1, 2], "sampling": "unique"}}, "design": {"seed_column": "a"}},
        {"format_output": [{"parser": "json"}, {"parser": "regex", "pattern": "(?P<b>.)"}]},
        {
            "format_input": [
                {"role": "user", "content": [{"text": "x"}]},
                {"role": "user", "content": {"file": "x.md"}},
                {"splice": "a"},
            ]
        },
    ],
)
def test_short_and_long_forms_are_both_right(schema, change):
    """A text for a column, a list for a draw, one parser or several."""
    assert schema.is_valid({**BASE, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0},
        {"inputs": {"a": 4}},
        {"format_output": {"parser": "txt"}},
        {"num_generations": 0},
        {"llm": {"base_url": "x"}},
        {"draw": {"d": 4}},
        {"draw": {"d": {"options": [1], "sampling": "often"}}},
        {"design": {"rows": 0}},
        {"design": {"grids": ["d"]}},
    ],
)
def test_what_is_wrong_breaks_it(schema, change):
    """An editor underlines what `validate` would tell."""
    assert not schema.is_valid({**BASE, **change})


def test_every_key_is_described():
    """An editor shows what a key means; the reference is made of the same words."""
    properties = printed()["properties"]

    assert [key for key, value in properties.items() if not value.get("description") and "$ref" not in value] == []
