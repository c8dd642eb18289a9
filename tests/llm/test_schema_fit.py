"""The JSON Schemas that servers are sent: what each dialect takes, and what becomes of the rest."""

from __future__ import annotations

import copy
import json
import random
import re
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distask.llm.config.resolve import load_config
from distask.llm.request import Completion, Request
from distask.llm.schemas.dialects import (
    ANTHROPIC,
    AS_WRITTEN,
    AZURE,
    COMMON,
    GEMINI,
    LLAMA_CPP,
    OPENAI,
    OPENROUTER,
    VLLM,
    dialect_of_models,
    known_dialect,
    likely_dialect,
)
from distask.llm.schemas.fit import WRAPPER, fit_schema
from distask.llm.schemas.requests import SchemaFitter
from distask.task.reply.examples import instance
from distask.task.reply.reply_schema import _loosened, reply_schema

ALL = (OPENAI, AZURE, COMMON, OPENROUTER, ANTHROPIC, GEMINI, VLLM, LLAMA_CPP)
STRICT = tuple(dialect for dialect in ALL if dialect.all_required)


def an_object(required=None, **properties) -> dict[str, Any]:
    """An object of these properties, all required, as people write it: not closed."""
    return {"type": "object", "properties": properties, "required": list(properties if required is None else required)}


def closed(**properties) -> dict[str, Any]:
    """The same as a strict server takes it."""
    return {**an_object(**properties), "additionalProperties": False}


def sent(value: dict[str, Any], dialect) -> Any:
    """What becomes of one property's schema."""
    return fit_schema(an_object(a=value), dialect).schema["properties"]["a"]


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


# One keyword at a time


TEXT, WHOLE, REAL = {"type": "string"}, {"type": "integer"}, {"type": "number"}
TEXTS = {"type": "array", "items": TEXT}
TAKEN = {
    # keyword: (a schema with it, who is sent it)
    "minLength": ({**TEXT, "minLength": 1}, {VLLM, LLAMA_CPP}),
    "maxLength": ({**TEXT, "maxLength": 9}, {VLLM, LLAMA_CPP}),
    "pattern": ({**TEXT, "pattern": "^[a-z]+$"}, {OPENAI, ANTHROPIC, VLLM, LLAMA_CPP}),
    "format": ({**TEXT, "format": "date"}, {OPENAI, ANTHROPIC, GEMINI, VLLM, LLAMA_CPP}),
    "minimum": ({**REAL, "minimum": 1}, {OPENAI, GEMINI, VLLM, LLAMA_CPP}),
    "maximum": ({**WHOLE, "maximum": 5}, {OPENAI, GEMINI, VLLM, LLAMA_CPP}),
    "exclusiveMinimum": ({**WHOLE, "exclusiveMinimum": 0}, {OPENAI, VLLM, LLAMA_CPP}),
    "multipleOf": ({**WHOLE, "multipleOf": 2}, {OPENAI, LLAMA_CPP}),
    "minItems": ({**TEXTS, "minItems": 2}, {OPENAI, GEMINI, VLLM, LLAMA_CPP}),
    "maxItems": ({**TEXTS, "maxItems": 3}, {OPENAI, GEMINI, VLLM, LLAMA_CPP}),
    "uniqueItems": ({**TEXTS, "uniqueItems": True}, set()),
    "contains": ({**TEXTS, "contains": {"const": "x"}}, set()),
    "not": ({**TEXT, "not": {"const": "x"}}, set()),
    "if": ({**TEXT, "if": {"minLength": 3}, "then": {"pattern": "^a"}}, set()),
    "minProperties": ({**closed(b=TEXT), "minProperties": 1}, set()),
    "propertyNames": ({**closed(b=TEXT), "propertyNames": {"pattern": "^b"}}, set()),
    "dependentRequired": ({**closed(b=TEXT), "dependentRequired": {"b": ["c"]}}, set()),
}


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.title)
@pytest.mark.parametrize("keyword", TAKEN)
def test_a_keyword_is_sent_where_it_is_taken_and_named_where_it_is_left_out(keyword, dialect):
    schema, taking = TAKEN[keyword]

    fitted = fit_schema(an_object(a=schema), dialect)

    made = fitted.schema["properties"]["a"]
    if dialect in taking:
        assert made == schema
        assert fitted.left_out == ()
    else:
        assert keyword not in made
        assert keyword in fitted.left_out
    assert fitted.strict is (True if dialect.closed else None)
    assert fitted.loose is None


@pytest.mark.parametrize(
    ("schema", "dialect"),
    [
        ({**TEXT, "pattern": "^(?=.*a)b$"}, OPENAI),
        ({**TEXT, "pattern": r"^(a)\1$"}, VLLM),
        ({**TEXT, "pattern": r"\bword\b"}, ANTHROPIC),
        ({**TEXT, "pattern": "[0-9]+"}, LLAMA_CPP),
        ({**TEXT, "pattern": r"^\p{L}+$"}, LLAMA_CPP),
        ({**TEXT, "format": "uri"}, OPENAI),
        ({**TEXT, "format": "color"}, VLLM),
        ({**TEXT, "format": "email"}, GEMINI),
        ({**TEXT, "maxLength": 5_000}, LLAMA_CPP),
        ({**TEXTS, "minItems": 2}, ANTHROPIC),
        ({**WHOLE, "exclusiveMinimum": True}, OPENAI),
    ],
)
def test_a_value_that_a_server_refuses_is_left_out_as_the_keyword_would_be(schema, dialect):
    (keyword,) = schema.keys() - {"type", "items"}

    assert keyword not in sent(schema, dialect)
    assert fit_schema(an_object(a=schema), dialect).left_out == (keyword,)


def test_vllm_takes_a_length_or_a_pattern():
    schema = {**TEXT, "pattern": "^a+$", "minLength": 2}

    assert sent(schema, VLLM) == {**TEXT, "pattern": "^a+$"}
    assert fit_schema(an_object(a=schema), VLLM).left_out == ("minLength",)


@pytest.mark.parametrize("dialect", STRICT, ids=lambda dialect: dialect.title)
@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"enum": ["x", "y"]}, {"type": "string", "enum": ["x", "y"]}),
        ({"enum": [1, 2]}, {"type": "integer", "enum": [1, 2]}),
        ({"enum": [1.5]}, {"type": "number", "enum": [1.5]}),
        ({"enum": [True]}, {"type": "boolean", "enum": [True]}),
        ({"enum": ["x", None]}, {"type": ["string", "null"], "enum": ["x", None]}),
        ({"const": "x"}, {"type": "string", "const": "x"}),
        ({"properties": {"b": TEXT}, "required": ["b"]}, {**closed(b=TEXT)}),
        ({"items": TEXT}, TEXTS),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"oneOf": [TEXT, WHOLE]}, {"anyOf": [TEXT, WHOLE]}),
        ({"anyOf": [TEXT, {"enum": [1]}]}, {"anyOf": [TEXT, {"type": "integer", "enum": [1]}]}),
        ({"type": ["object", "null"], **closed(b=TEXT), "type": ["object", "null"]}, nullable(closed(b=TEXT))),  # noqa: F601
        ({**TEXT, "default": "x", "examples": ["x"], "$comment": "c", "nullable": True}, TEXT),
        ({**TEXT, "minLength": 0}, TEXT),
        ({**TEXTS, "uniqueItems": False}, TEXTS),
        ({**WHOLE, "minLength": 3}, WHOLE),
        ({**TEXT, "title": "T", "description": "D"}, {**TEXT, "title": "T", "description": "D"}),
        ({"allOf": [TEXT, {"description": "D"}]}, {**TEXT, "description": "D"}),
        ({"allOf": [an_object(b=TEXT), an_object(c=WHOLE)]}, closed(b=TEXT, c=WHOLE)),
        ({"type": "object", "properties": {}, "additionalProperties": False}, closed()),
    ],
)
def test_what_a_strict_server_wants_written_out_is_written_out(schema, expected, dialect):
    fitted = fit_schema(an_object(a=schema), dialect)

    assert fitted.schema == closed(a=expected)
    assert (fitted.strict, fitted.left_out, fitted.loose) == (True, (), None)


@pytest.mark.parametrize("dialect", STRICT, ids=lambda dialect: dialect.title)
def test_optional_properties_become_required_and_nullable_at_every_level(dialect):
    inner = an_object(["b"], b=TEXT, c=WHOLE, d={"type": ["string", "null"]})
    schema = an_object([], a=inner, e={"enum": ["x"]}, f={"anyOf": [TEXT, WHOLE]})

    assert fit_schema(schema, dialect).schema == closed(
        a=nullable(closed(b=TEXT, c=nullable(WHOLE), d={"type": ["string", "null"]})),
        e=nullable({"type": "string", "enum": ["x"]}),
        f={"anyOf": [TEXT, WHOLE, {"type": "null"}]},
    )


@pytest.mark.parametrize("dialect", [ANTHROPIC, GEMINI, VLLM, LLAMA_CPP], ids=lambda dialect: dialect.title)
def test_optional_properties_stay_optional_where_that_is_taken(dialect):
    schema = {**an_object(["a"], a=TEXT, b=WHOLE), "additionalProperties": False}

    assert fit_schema(schema, dialect).schema == schema


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.title)
def test_a_property_may_be_named_as_a_keyword_is(dialect):
    named = closed(minLength=TEXT, uniqueItems=WHOLE, default=TEXT, enum=TEXT, **{"$ref": TEXT})

    assert fit_schema(named, dialect).schema == named
    assert fit_schema(named, dialect).left_out == ()


# References


NODE = an_object(["name"], name=TEXT, children={"type": "array", "items": {"$ref": "#/$defs/node"}})


@pytest.mark.parametrize("dialect", STRICT, ids=lambda dialect: dialect.title)
def test_recursive_definitions_are_fitted_where_they_are_defined(dialect):
    fitted = fit_schema({**an_object(a={"$ref": "#/$defs/node"}), "$defs": {"node": NODE, "unused": {}}}, dialect)

    node = closed(name=TEXT, children=nullable({"type": "array", "items": {"$ref": "#/$defs/node"}}))
    assert fitted.schema == {**closed(a={"$ref": "#/$defs/node"}), "$defs": {"node": node}}
    assert fitted.strict is True


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.title)
def test_references_to_anywhere_lead_to_definitions(dialect):
    schema = an_object(a={**TEXT, "title": "T"}, b={"$ref": "#/properties/a"}, c={"$ref": "#/definitions/d"})
    schema["definitions"] = {"d": {"enum": ["x"]}}

    made = fit_schema(schema, dialect).schema

    assert made["properties"]["b"] == {"$ref": "#/$defs/a"}
    assert made["properties"]["c"] == {"$ref": "#/$defs/d"}
    assert made["$defs"]["a"] == {**TEXT, "title": "T"}
    assert made["$defs"]["d"]["enum"] == ["x"]
    assert "definitions" not in made


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.title)
def test_nothing_stands_next_to_a_reference(dialect):
    schema = an_object(a={"$ref": "#/$defs/t", "description": "D"}, b={"$ref": "#/$defs/t", "enum": ["x"]})
    schema["$defs"] = {"t": TEXT}

    made = fit_schema(schema, dialect).schema["properties"]

    assert made["a"] == {"$ref": "#/$defs/t"}
    assert made["b"] == {"type": "string", "enum": ["x"]}


def test_the_whole_schema_may_refer_to_itself():
    schema = an_object([], a={"type": "array", "items": {"$ref": "#"}})

    made = fit_schema(schema, OPENAI).schema

    inner = closed(a=nullable({"type": "array", "items": {"$ref": "#/$defs/root"}}))
    assert made == {**inner, "$defs": {"root": inner}}


def test_a_schema_that_is_a_reference_becomes_the_object_that_it_names():
    schema = {"$ref": "#/$defs/x", "$defs": {"x": an_object(a=TEXT)}}

    assert fit_schema(schema, OPENAI).schema == {**closed(a=TEXT), "$defs": {"x": closed(a=TEXT)}}


def test_what_the_grammars_of_anthropic_do_not_take_is_not_strict_there():
    schema = {**an_object(a={"$ref": "#/$defs/node"}), "$defs": {"node": NODE}}

    fitted = fit_schema(schema, ANTHROPIC)

    assert fitted.strict is False
    assert fitted.schema == schema
    assert "itself" in fitted.loose


# Roots and tuples


@pytest.mark.parametrize("dialect", STRICT, ids=lambda dialect: dialect.title)
@pytest.mark.parametrize(
    "schema", [TEXTS, {"anyOf": [closed(a=TEXT), closed(b=TEXT)]}, {"type": "string", "enum": ["x", "y"]}]
)
def test_what_is_no_object_is_sent_in_one(schema, dialect):
    assert fit_schema(schema, dialect).schema == closed(**{WRAPPER: schema})


@pytest.mark.parametrize("dialect", [GEMINI, VLLM, LLAMA_CPP], ids=lambda dialect: dialect.title)
def test_a_list_is_sent_as_it_is_where_that_is_taken(dialect):
    assert fit_schema(TEXTS, dialect).schema == TEXTS


def test_a_list_that_cannot_be_strict_is_sent_in_an_object_all_the_same():
    schema = {"type": "array", "items": {"$ref": "#/$defs/x"}, "$defs": {"x": {"type": "object"}}}

    fitted = fit_schema(schema, OPENAI)

    assert fitted.strict is False
    assert fitted.schema == {
        **closed(**{WRAPPER: {"type": "array", "items": {"$ref": "#/$defs/x"}}}),
        "$defs": {"x": {"type": "object"}},
    }


def test_a_tuple_is_a_list_of_any_of_its_entries_where_tuples_are_not_taken():
    pair = {"type": "array", "prefixItems": [TEXT, WHOLE], "minItems": 2, "maxItems": 2}

    fitted = fit_schema(an_object(a=pair), OPENAI)

    assert fitted.schema["properties"]["a"] == {
        "type": "array",
        "items": {"anyOf": [TEXT, WHOLE]},
        "minItems": 2,
        "maxItems": 2,
    }
    assert fitted.left_out == ("prefixItems",)
    assert sent(pair, GEMINI) == sent(pair, VLLM) == sent(pair, LLAMA_CPP) == pair


def test_gemini_is_sent_values_as_enums_of_texts_and_numbers():
    assert sent({"const": "x"}, GEMINI) == {"type": "string", "enum": ["x"]}
    assert sent({"enum": ["x", None]}, GEMINI) == {"anyOf": [{"type": "string", "enum": ["x"]}, {"type": "null"}]}
    assert sent({"enum": [True, False]}, GEMINI) == {"type": "boolean"}


def test_llama_cpp_is_reported_the_types_of_a_value_of_any_type():
    assert set(sent({}, LLAMA_CPP)["type"]) == {"object", "array", "string", "number", "boolean", "null"}


# What can't be strict


@pytest.mark.parametrize("dialect", STRICT, ids=lambda dialect: dialect.title)
@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "object"}, "`a` may have any properties"),
        ({**an_object(b=TEXT), "additionalProperties": True}, "`a` may have other properties"),
        ({**an_object(b=TEXT), "additionalProperties": TEXT}, "`a` may have other properties"),
        ({**closed(b=TEXT), "patternProperties": {"^x": TEXT}}, "`a` may have any properties"),
        ({}, "`a` may be anything"),
        ({"description": "whatever"}, "`a` may be anything"),
        ({"type": "array"}, "`a` is a list of anything"),
        ({"enum": [{"b": 1}]}, "`a` has a list or an object among its values"),
        ({"type": "object", "properties": {"b": TEXT}, "required": ["b", "c"]}, "`c` of `a` is required"),
        ({"$ref": "#/$defs/gone"}, "`a` refers to `#/$defs/gone`"),
        ({"type": "array", "items": {"type": "object"}}, "`a[]` may have any properties"),
        ({"allOf": [{**TEXT, "pattern": "a"}, {"pattern": "b"}]}, "`a` combines schemas"),
    ],
)
def test_what_no_strict_schema_can_say_is_sent_as_it_is_with_the_reason(schema, reason, dialect):
    whole = an_object(a=schema)

    fitted = fit_schema(whole, dialect)

    assert fitted.strict is False
    assert fitted.schema == whole
    assert reason in fitted.loose


@pytest.mark.parametrize("dialect", [GEMINI, VLLM, LLAMA_CPP], ids=lambda dialect: dialect.title)
def test_open_objects_stay_open_where_that_is_taken(dialect):
    schema = an_object(a={**an_object(b=TEXT), "additionalProperties": WHOLE}, c={"type": "object"})

    fitted = fit_schema(schema, dialect)

    assert fitted.schema == schema
    assert (fitted.strict, fitted.loose) == (None, None)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = closed(a=TEXT)
    for _ in range(levels - 1):
        schema = closed(a=schema)
    return schema


@pytest.mark.parametrize(
    ("schema", "dialect", "taken"),
    [
        (nested(10), OPENAI, True),
        (nested(11), OPENAI, False),
        (nested(5), AZURE, True),
        (nested(6), AZURE, False),
        (closed(**{f"p{i}": TEXT for i in range(100)}), AZURE, True),
        (closed(**{f"p{i}": TEXT for i in range(101)}), AZURE, False),
        (closed(a={**TEXT, "enum": [str(i) for i in range(1_000)]}), OPENAI, True),
        (closed(a={**TEXT, "enum": [str(i) for i in range(1_001)]}), OPENAI, False),
        (closed(a={**TEXT, "enum": [f"{i:0100}" for i in range(251)]}), OPENAI, False),
        (closed(**{"x" * 120_001: TEXT}), OPENAI, False),
    ],
)
def test_a_schema_larger_than_a_strict_one_may_be_is_not_strict(schema, dialect, taken):
    fitted = fit_schema(schema, dialect)

    assert fitted.strict is taken
    assert (fitted.loose is None) is taken
    assert fitted.schema == schema


# All schemas


def strict_faults(node: Any, where: str = "#", *, root: bool = True) -> list[str]:
    """What OpenAI's strict mode refuses, written down apart from the code under test."""
    allowed = {
        "type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs", "title",
        "description", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems",
        "maxItems",
    }  # fmt: skip
    formats = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
    if not isinstance(node, dict):
        return [f"{where}: not a schema"]
    faults = [f"{where}: '{key}' is not permitted" for key in node.keys() - allowed]
    if root and (node.get("type") != "object" or "anyOf" in node):
        faults.append(f"{where}: the root is no object")
    if "$ref" in node:
        if not re.fullmatch(r"#/\$defs/[\w-]+", node["$ref"]):
            faults.append(f"{where}: a reference to {node['$ref']}")
        return faults + [f"{where}: $ref cannot have keywords {node.keys()}" for _ in [0] if node.keys() != {"$ref"}]
    kinds = node.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not kinds and "anyOf" not in node:
        faults.append(f"{where}: schema must have a 'type' key")
    if node.get("format", "date") not in formats:
        faults.append(f"{where}: {node['format']} is not a valid format")
    if "(?=" in node.get("pattern", "") or "(?!" in node.get("pattern", ""):
        faults.append(f"{where}: regex lookaround is not supported")
    if "object" in kinds:
        if node.get("additionalProperties") is not False:
            faults.append(f"{where}: 'additionalProperties' is required to be false")
        if set(node.get("required", ())) != set(node.get("properties", {})):
            faults.append(f"{where}: 'required' must include every key in properties")
    if "array" in kinds and "items" not in node:
        faults.append(f"{where}: array schema missing items")
    inner = [*node.get("properties", {}).items(), *enumerate(node.get("anyOf", ()))]
    inner += [("items", node["items"])] if "items" in node else []
    inner += node.get("$defs", {}).items()
    for name, each in inner:
        faults += strict_faults(each, f"{where}/{name}", root=False)
    return faults


NAMES = st.sampled_from(["a", "b", "type", "minLength", "é"])
NOISE = st.fixed_dictionaries(
    {},
    optional={
        "minLength": st.integers(0, 3),
        "pattern": st.sampled_from(["^a", "(?=a)"]),
        "format": st.sampled_from(["date", "uri", "color"]),
        "minimum": st.integers(-3, 3),
        "multipleOf": st.just(2),
        "uniqueItems": st.booleans(),
        "minItems": st.integers(0, 3),
        "minProperties": st.integers(0, 2),
        "default": st.none(),
        "title": st.just("T"),
        "not": st.just({"const": 3}),
        "if": st.just({"const": 3}),
        "$comment": st.just("c"),
    },
)
LEAVES = st.one_of(
    st.sampled_from(
        [{"type": t} for t in ("string", "integer", "number", "boolean", "null", "array", "object")]
        + [{"type": ["string", "null"]}, {"enum": ["x", "y"]}, {"enum": [1, None]}, {"const": True}, {}, True]
        + [{"$ref": "#/$defs/x"}, {"$ref": "#/$defs/y", "description": "D"}, {"$ref": "#"}, {"$ref": "#/$defs/gone"}]
    )
)


def _objects(inner):
    return st.builds(
        lambda properties, required, extra: {
            "type": "object",
            "properties": properties,
            "required": [n for n in properties if n in required],
            **extra,
        },
        st.dictionaries(NAMES, inner, max_size=3),
        st.sets(NAMES),
        st.sampled_from(
            [{}, {"additionalProperties": False}, {"additionalProperties": True}, {"patternProperties": {"^q": True}}]
        ),
    )


def _wider(inner):
    lists = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        _objects(inner),
        inner.map(lambda each: {"type": "array", "items": each}),
        lists.map(lambda each: {"type": "array", "prefixItems": each, "maxItems": len(each)}),
        st.tuples(st.sampled_from(["anyOf", "oneOf", "allOf"]), lists).map(lambda pair: {pair[0]: pair[1]}),
    )


NODES = st.recursive(LEAVES, _wider, max_leaves=8)
SCHEMAS = st.builds(
    lambda top, noise, x, y: {**noise, **(top if isinstance(top, dict) else {}), "$defs": {"x": x, "y": y}},
    st.one_of(_objects(NODES), NODES),
    NOISE,
    NODES,
    NODES,
)


@pytest.mark.battery
@settings(max_examples=400, deadline=None)
@given(SCHEMAS)
def test_whatever_is_strict_for_openai_keeps_its_rules(schema):
    before = copy.deepcopy(schema)

    fitted = fit_schema(schema, OPENAI)

    assert schema == before, "the schema of the request is changed"
    if fitted.strict:
        assert strict_faults(fitted.schema) == []
    else:
        assert fitted.loose


@settings(max_examples=200, deadline=None)
@given(SCHEMAS)
def test_whatever_is_fitted_is_a_json_schema_without_what_the_dialect_lacks(schema):
    for dialect in ALL:
        fitted = fit_schema(schema, dialect)
        if fitted.schema != schema and fitted.loose is None:
            jsonschema_rs.meta.validate(fitted.schema)
            assert not _keywords(fitted.schema) - dialect.keywords


def _keywords(node: Any) -> set[str]:
    if not isinstance(node, dict):
        return set()
    found = set(node)
    inner = [*node.get("properties", {}).values(), *node.get("$defs", {}).values()]
    inner += [each for key in ("anyOf", "allOf", "prefixItems") for each in node.get(key, ())]
    inner += [node.get("items"), node.get("additionalProperties")]
    return found.union(*map(_keywords, inner))


@pytest.mark.battery
@settings(max_examples=150, deadline=None)
@given(SCHEMAS, st.integers())
def test_what_a_strict_server_may_reply_has_the_shape_that_was_asked_for(schema, seed):
    """A reply that fits what is sent fits, once it is read, all of the schema but the constraints that are checked after it."""
    fitted = fit_schema(schema, OPENAI)
    try:
        reply = instance(fitted.schema, random.Random(seed))
    except Exception:  # noqa: BLE001 - no value was made up: this test has nothing to say
        reply = None
    if not fitted.strict or "anyOf" in fitted.left_out or not jsonschema_rs.is_valid(fitted.schema, reply):
        return

    compiled = reply_schema(schema)
    try:
        compiled._fault(compiled._as_asked(reply))
    except ValueError:  # nested too deeply: it is left as it is
        return

    completion, _ = compiled.read(Completion(text=json.dumps(reply)))

    assert jsonschema_rs.is_valid(_loosened(schema), json.loads(completion.text))


# Whose dialect it is


@pytest.mark.parametrize(
    ("config", "dialect"),
    [
        ({"base_url": "https://api.openai.com/v1"}, OPENAI),
        ({"base_url": "https://eu.api.openai.com/v1"}, OPENAI),
        ({"base_url": "https://me.openai.azure.com/openai/v1"}, AZURE),
        ({"provider": "azure", "base_url": "https://proxy.example/openai/v1"}, AZURE),
        ({"base_url": "https://generativelanguage.googleapis.com/v1beta/openai"}, GEMINI),
        ({"base_url": "https://europe-west1-aiplatform.googleapis.com/v1/x"}, GEMINI),
        ({"base_url": "https://api.anthropic.com/v1"}, ANTHROPIC),
        ({"base_url": "https://openrouter.ai/api/v1"}, OPENROUTER),
        ({"base_url": "https://notopenai.com/v1"}, None),
        ({"base_url": "http://127.0.0.1:8000/v1"}, None),
        ({"base_url": "https://proxy.example/v1", "schema_dialect": "openai"}, OPENAI),
        ({"base_url": "https://api.openai.com/v1", "schema_dialect": "as-written"}, AS_WRITTEN),
    ],
)
def test_a_config_says_which_model_it_asks(config, dialect):
    contents = {"provider": "openai", "model": "m", "api_key_env": None, **config}
    assert known_dialect(load_config(None, contents=contents, environ={}, need_key=False).config) is dialect


@pytest.mark.parametrize(
    ("name", "dialect"),
    [
        ("openai", OPENAI),
        ("gemini", GEMINI),
        ("anthropic", ANTHROPIC),
        ("openrouter", OPENROUTER),
        ("vllm", VLLM),
        ("ollama", LLAMA_CPP),
        ("lm-studio", LLAMA_CPP),
        ("llama-server", LLAMA_CPP),
        ("offline", AS_WRITTEN),
    ],
)
def test_each_built_in_config_has_its_dialect(name, dialect):
    assert known_dialect(load_config(name, environ={}, need_key=False).config) is dialect


def test_a_server_that_was_not_asked_is_known_by_its_usual_port():
    assert likely_dialect("http://gpu:8000/v1") is VLLM
    assert likely_dialect("http://localhost:11434/v1") is LLAMA_CPP
    assert likely_dialect("https://llm.example/v1") is COMMON


@pytest.mark.parametrize(
    ("listed", "dialect"),
    [
        ({"data": [{"id": "m", "owned_by": "vllm"}]}, VLLM),
        ({"data": [{"id": "m", "owned_by": "llamacpp"}]}, LLAMA_CPP),
        ({"data": [{"id": "m", "owned_by": "library"}]}, LLAMA_CPP),
        ({"data": [{"id": "m", "owned_by": "openai"}]}, None),
        ({"data": [{"id": "m", "owned_by": ["vllm"]}, "x"]}, None),
        ({"data": None}, None),
        ([], None),
    ],
)
def test_a_list_of_models_says_what_serves_them(listed, dialect):
    assert dialect_of_models(listed) is dialect


# What is reported, and what stays as it was


def response_format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "t", "schema": schema, "strict": False}}


def test_each_thing_is_reported_once():
    lines: list[str] = []
    fitter = SchemaFitter(OPENAI, lines.append)

    for _ in range(3):
        for schema in (
            an_object(a={**TEXT, "minLength": 1}, b={**TEXTS, "uniqueItems": True}),
            an_object(a={**TEXT, "minLength": 2}),
            an_object(a={"type": "object"}),
            an_object(b={"type": "object"}),
        ):
            fitter.fit({"response_format": response_format(schema)})

    first, second = lines
    assert "OpenAI without `minLength` and `uniqueItems`" in first
    assert "can't be strict for OpenAI (`a` may have any properties)" in second


def test_a_request_keeps_its_key_and_its_schema():
    schema = an_object(["a"], a={**TEXT, "minLength": 1}, b=WHOLE)
    request = Request("https://api.openai.com/v1", "m", [], {"response_format": response_format(schema), "n": 1})
    before, keywords = request.canonical(), copy.deepcopy(request.keywords)

    made = SchemaFitter(OPENAI).fit(request.keywords)

    assert made["response_format"]["json_schema"]["schema"] != schema
    assert request.keywords == keywords
    assert request.canonical() == before


def test_other_keywords_and_other_formats_are_left_alone():
    fitter = SchemaFitter(OPENAI)

    for keywords in ({"temperature": 0}, {"response_format": {"type": "json_object"}}, {"response_format": None}):
        assert fitter.fit(keywords) == keywords


def test_a_schema_is_fitted_once_however_often_it_is_sent(monkeypatch):
    from distask.llm.schemas import fit

    fitted = []
    original = fit._Fit.whole
    monkeypatch.setattr(fit._Fit, "whole", lambda self: fitted.append(1) or original(self))
    fitter = SchemaFitter(OPENAI)
    same = response_format(an_object(only_here_1=TEXT))

    for _ in range(50):
        fitter.fit({"response_format": same})
        fitter.fit({"response_format": response_format(an_object(only_here_2=TEXT))})

    assert len(fitted) == 2


def test_a_number_or_a_text_that_json_cannot_hold_is_no_fault():
    fitter = SchemaFitter(OPENAI)
    for odd in (2**70, "\ud800"):
        made = fitter.fit({"response_format": response_format(an_object(a={"enum": [odd]}))})
        assert made["response_format"]["json_schema"]["schema"]["properties"]["a"]["enum"] == [odd]


def test_a_schema_nested_deeper_than_anything_is_sent_as_it_is():
    deep: dict[str, Any] = TEXT
    for _ in range(5_000):
        deep = {"type": "array", "items": deep}

    assert fit_schema(an_object(a=deep), OPENAI).strict is False
    assert fit_schema(an_object(a=deep), VLLM).schema["properties"]["a"] is deep
