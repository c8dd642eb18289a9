"""Replies that were held to a JSON Schema: nulls for what may be absent, lists in an object, constraints that servers leave out."""

from __future__ import annotations

import json
import random

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distask import Task
from distask.errors import InvalidReply
from distask.llm.schemas.dialects import DIALECTS
from distask.llm.schemas.fit import fit_schema
from distask.task.reply.examples import instance
from distask.task.reply.reply_schema import reply_schema
from distask.task.templates.limits import LimitError

pytestmark = pytest.mark.battery

TEXT, WHOLE = {"type": "string"}, {"type": "integer"}


def task_of(tmp_path, body: str) -> Task:
    file = tmp_path / "task.yaml"
    file.write_text(f'name: t\ninputs: {{text: T.}}\nformat_input: [{{role: user, content: "{{{{ text }}}}"}}]\n{body}')
    return Task.load(file)


def read(schema, value):
    """The value as a reply with this schema is read, and what is wrong with it."""
    from distask.llm.request import Completion

    completion, fault = reply_schema(schema).read(Completion(text=json.dumps(value)))
    return json.loads(completion.text), fault and fault.message


# Null where a property may be absent


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"properties": {"a": TEXT, "b": WHOLE}, "required": ["a"]}, {"a": "x", "b": None}, {"a": "x"}),
        ({"properties": {"a": TEXT}, "required": ["a"]}, {"a": None}, {"a": None}),
        ({"properties": {"a": {"type": ["string", "null"]}}}, {"a": None}, {"a": None}),
        ({"properties": {"a": {"enum": ["x", None]}}}, {"a": None}, {"a": None}),
        ({"properties": {"a": {"enum": ["x"]}}}, {"a": None}, {}),
        ({"properties": {"a": {"const": "x"}}}, {"a": None}, {}),
        ({"properties": {"a": {}}}, {"a": None}, {"a": None}),
        ({"properties": {"a": True}}, {"a": None}, {"a": None}),
        ({"properties": {"a": {"not": {"type": "null"}}}}, {"a": None}, {}),
        ({"properties": {"a": {"anyOf": [TEXT, WHOLE]}}}, {"a": None}, {}),
        ({"properties": {"a": {"allOf": [TEXT]}}}, {"a": None}, {}),
        ({"properties": {"a": {"$ref": "#/$defs/t"}}, "$defs": {"t": TEXT}}, {"a": None}, {}),
        ({"properties": {}}, {"other": None}, {"other": None}),
        ({"properties": {"a": {"properties": {"b": TEXT}}}}, {"a": {"b": None}}, {"a": {}}),
        ({"properties": {"a": {"items": {"properties": {"b": TEXT}}}}}, {"a": [{"b": None}, {}]}, {"a": [{}, {}]}),
        (
            {
                "properties": {
                    "a": {"anyOf": [{"properties": {"k": {"const": 1}, "b": TEXT}, "required": ["k"]}, TEXT]}
                },
                "required": ["a"],
            },
            {"a": {"k": 1, "b": None}},
            {"a": {"k": 1}},
        ),
        (
            {
                "$ref": "#/$defs/n",
                "$defs": {"n": {"properties": {"n": {"$ref": "#/$defs/n"}, "a": TEXT}, "type": "object"}},
            },
            {"n": {"n": None, "a": None}, "a": "x"},
            {"n": {}, "a": "x"},
        ),
        ({"allOf": [{"properties": {"a": TEXT}}, {"properties": {"b": TEXT}}]}, {"a": None, "b": None}, {}),
    ],
)
def test_a_null_that_the_schema_does_not_allow_is_an_absent_property(schema, value, expected):
    assert read(schema, value) == (expected, None)


OPTIONAL = """
structured_output:
  schema:
    type: object
    properties: {name: {type: string}, nick: {type: string}, aka: {type: [string, "null"]}}
    required: [name]
"""


def test_a_column_of_the_whole_object_has_no_key_for_it(tmp_path):
    task = task_of(
        tmp_path,
        OPTIONAL
        + 'outputs: {person: {type: object}}\nformat_output: {parser: json, columns: {person: "{{ parsed }}"}}',
    )

    made = task.format_output('{"name": "Ann", "nick": null, "aka": null}', {"text": "x"})

    assert made == {"person": {"name": "Ann", "aka": None}}


def test_a_column_of_text_holds_the_json_without_it(tmp_path):
    task = task_of(tmp_path, OPTIONAL + "outputs: {reply: R.}\nformat_output: {parser: text}")

    assert task.format_output('{"name": "Ann", "nick": null}', {"text": "x"}) == {"reply": '{"name": "Ann"}'}
    assert task.format_output('{ "name":"Ann" }', {"text": "x"}) == {"reply": '{ "name":"Ann" }'}, "nothing to undo"


def test_a_schema_made_from_the_outputs_is_read_so_too(tmp_path):
    task = task_of(
        tmp_path,
        "structured_output: true\noutputs:\n"
        "  person: {type: object, properties: {name: {type: string}, nick: {type: string, minLength: 2}}, required: [name]}\n"
        "format_output: {parser: json}",
    )

    assert task.format_output('{"person": {"name": "Ann", "nick": null}}', {"text": "x"}) == {"person": {"name": "Ann"}}
    with pytest.raises(InvalidReply, match="nick"):
        task.format_output('{"person": {"name": "Ann", "nick": "A"}}', {"text": "x"})


def test_each_rows_own_schema_counts(tmp_path):
    task = Task.load("structured-generation")
    schema = {"type": "object", "properties": {"a": {**TEXT, "minLength": 2}, "b": WHOLE}, "required": ["a"]}
    row = {"instruction": "x", "structured_output": {"format": "json", "schema": schema}}

    assert task.format_output('{"a": "xy", "b": null}', row) == {"generation": '{"a": "xy"}'}
    with pytest.raises(InvalidReply, match=r"a: .*shorter than 2"):
        task.format_output('{"a": "x", "b": null}', row)
    other = {**row, "structured_output": {"format": "json", "schema": {"type": "object"}}}
    assert task.format_output('{"a": "x", "b": null}', other) == {"generation": '{"a": "x", "b": null}'}


# What was sent in an object


@pytest.mark.parametrize(
    "schema",
    [{"type": "array", "items": TEXT}, {"items": TEXT}, {"$ref": "#/$defs/x", "$defs": {"x": {"type": "array"}}}],
)
def test_a_list_that_came_in_an_object_is_taken_out(schema):
    assert read(schema, {"value": ["x"]}) == (["x"], None)
    assert read(schema, ["x"]) == (["x"], None)


def test_an_object_with_a_value_of_its_own_stays():
    schema = {"type": "object", "properties": {"value": {"type": "array"}}, "required": ["value"]}
    either = {"anyOf": [schema, TEXT]}

    assert read(schema, {"value": []}) == ({"value": []}, None)
    assert read(either, {"value": []}) == ({"value": []}, None)
    assert read(either, {"value": "x"}) == ("x", None)


def test_a_list_for_the_only_column_is_read(tmp_path):
    task = Task.load("extract", {"schema": {"type": "array", "items": {"type": "string", "minLength": 2}}})

    assert task.format_output('{"value": ["Ann", "Bo"]}', {"text": "x"}) == {"extracted": ["Ann", "Bo"]}
    with pytest.raises(InvalidReply, match=r"extracted\[0\]"):
        task.format_output('{"value": ["A"]}', {"text": "x"})


# Constraints that servers are not sent


@pytest.mark.parametrize(
    ("constraint", "bad", "good"),
    [
        ({"type": "string", "minLength": 2}, "x", "xy"),
        ({"type": "string", "maxLength": 2}, "xyz", "xy"),
        ({"type": "string", "pattern": "^[a-z]+$"}, "X", "x"),
        ({"type": "string", "format": "date"}, "tomorrow", "2026-10-01"),
        ({"type": "integer", "minimum": 1}, 0, 1),
        ({"type": "integer", "multipleOf": 2}, 3, 4),
        ({"type": "array", "uniqueItems": True}, [1, 1], [1, 2]),
        ({"type": "array", "minItems": 1}, [], [1]),
        ({"type": "array", "contains": {"const": 1}}, [2], [1]),
        ({"type": "string", "not": {"const": "x"}}, "x", "y"),
        ({"type": "object", "propertyNames": {"pattern": "^a"}}, {"b": 1}, {"a": 1}),
        ({"type": "object", "patternProperties": {"^a": TEXT}, "additionalProperties": False}, {"a": 1}, {"a": "x"}),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 1, 1.5),
        ({"type": "array", "prefixItems": [TEXT, WHOLE], "minItems": 2, "maxItems": 2}, [1, "x"], ["x", 1]),
        ({"type": "object", "anyOf": [{"required": ["x"]}, {"required": ["y"]}]}, {"z": 1}, {"y": 1}),
    ],
)
def test_a_constraint_that_servers_leave_out_is_checked(tmp_path, constraint, bad, good):
    task = task_of(
        tmp_path,
        f"structured_output: {{schema: {json.dumps({'type': 'object', 'properties': {'a': constraint}, 'required': ['a']})}}}\n"
        "outputs: {reply: R.}\nformat_output: {parser: text}",
    )

    with pytest.raises(InvalidReply, match="the reply breaks its JSON Schema: a"):
        task.format_output(json.dumps({"a": bad}), {"text": "x"})
    assert task.format_output(json.dumps({"a": good}), {"text": "x"})


@pytest.mark.parametrize(
    "reply",
    ['{"a": 1}', '{"b": "x"}', '["x"]', '{"a": "x"', "prose", '```json\n{"a": "x"}\n```', '{"a": NaN}', '{"a": 1e999}'],
)
def test_a_reply_of_another_shape_is_for_the_parser_to_judge(tmp_path, reply):
    """It was not held to the schema at all."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}, "required": ["a"]}
    task = task_of(
        tmp_path,
        f"structured_output: {{schema: {json.dumps(schema)}}}\noutputs: {{reply: R.}}\nformat_output: {{parser: text}}",
    )

    assert task.format_output(reply, {"text": "x"}) == {"reply": reply}


def test_the_columns_own_words_come_first(tmp_path):
    task = task_of(
        tmp_path,
        "structured_output: {schema: {type: object, properties: {n: {type: integer, minimum: 1}}, required: [n]}}\n"
        "outputs: {n: {type: integer, minimum: 1}}\nformat_output: {parser: json}",
    )

    with pytest.raises(InvalidReply, match=r"^n: 0 is less than 1$"):
        task.format_output('{"n": 0}', {"text": "x"})


def test_a_format_of_an_output_is_checked(tmp_path):
    task = task_of(tmp_path, "outputs: {day: {format: date}}\nformat_output: {parser: json}")

    assert task.format_output('{"day": "2026-10-01"}', {"text": "x"}) == {"day": "2026-10-01"}
    with pytest.raises(InvalidReply, match="day"):
        task.format_output('{"day": "tomorrow"}', {"text": "x"})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["object", "a", "#"]),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "type",
                        "properties",
                        "required",
                        "anyOf",
                        "allOf",
                        "items",
                        "$ref",
                        "minLength",
                        "enum",
                        "$defs",
                        "a",
                    ]
                ),
                inner,
            )
        ),
        max_leaves=8,
    )
)
@settings(deadline=None, max_examples=300)
def test_what_is_no_schema_changes_and_refuses_nothing(schema):
    schema = {"type": "object", "minLength": 1, "properties": schema}

    if not jsonschema_rs.meta.is_valid(schema):
        assert read(schema, {"a": None, "b": [{"a": 1}]})[1] is None
    for dialect in DIALECTS.values():
        assert isinstance(fit_schema(schema, dialect).schema, dict)


MANY = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"$ref": f"#/$defs/d{i + 1}"}]} for i in range(60)}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**MANY, "d60": TEXT}},
        {"anyOf": [{"$ref": "#/$defs/d0"}], "$defs": {**MANY, "d60": TEXT}},
        {"properties": {"a": {"anyOf": [{"$ref": "#/$defs/x"}]}}, "$defs": {"x": {"anyOf": [{"$ref": "#/$defs/x"}, {"$ref": "#/$defs/x"}]}}},
        {"properties": {n: {"allOf": [{"$ref": "#"}, {"title": n}]} for n in "abc"}},
        {"properties": {n: {"$ref": "#/$defs/x", "minProperties": 1} for n in "abc"}, "$defs": {"x": {"properties": {n: {"$ref": "#/$defs/x", "minProperties": 1} for n in "abc"}}}},
        {"properties": {"a": {"$ref": "#/$defs/p0"}}, "$defs": {f"p{i}": {"properties": {n: {"$ref": f"#/$defs/p{i + 1}", "minProperties": 1} for n in "ab"}} for i in range(60)}},
        {"allOf": [{"$ref": "#/$defs/a0"}, {"$ref": "#/$defs/a0"}], "$defs": {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(18)}},
    ],
)  # fmt: skip
def test_a_schema_whose_references_multiply_without_end_takes_no_time(schema):
    schema = {"type": "object", **schema}
    deep: dict = {"a": None}
    for _ in range(40):
        deep = {"a": deep, "b": [deep]} if len(str(deep)) < 10_000 else {"a": deep}

    read(schema, deep)
    for dialect in DIALECTS.values():
        assert isinstance(fit_schema(schema, dialect).schema, dict)


def test_an_example_of_a_list_of_distinct_items_has_as_many_as_the_schema_asks_for():
    """Otherwise a simulated ranking would leave out candidates, and every task that ranks would fail offline."""
    letters = {"type": "string", "enum": ["A", "B", "C", "D"]}
    schema = {"type": "array", "items": letters, "uniqueItems": True, "minItems": 4, "maxItems": 4}

    made = [instance(schema, random.Random(seed)) for seed in range(20)]

    assert all(sorted(value) == ["A", "B", "C", "D"] for value in made)
    assert len({tuple(value) for value in made}) > 1


@pytest.mark.parametrize("seed", range(5))
def test_a_simulated_value_of_lists_in_lists_stays_small(seed):
    """Without a bound, the items multiply: fourteen levels of two to five items are more than a memory holds."""
    schema = {"type": "string"}
    for _ in range(14):
        schema = {
            "anyOf": [
                {"type": "array", "items": {"type": "array", "items": schema}},
                {"type": "array", "items": schema},
            ]
        }

    assert len(json.dumps(instance(schema, random.Random(seed)))) < 10_000


def test_lists_that_require_too_many_items_are_not_simulated():
    inner = {"anyOf": [{"type": "array", "minItems": 200, "items": {"type": "integer"}}]}

    with pytest.raises(LimitError, match="too large"):
        instance({"type": "array", "minItems": 200, "prefixItems": [], "items": inner}, random.Random(1))
