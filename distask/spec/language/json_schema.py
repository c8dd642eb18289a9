"""The JSON Schema of task specs, and the valid keys at each place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from distask.spec.language.model import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


def spec_schema() -> dict[str, Any]:
    """Return the JSON Schema of a spec, with short forms, for editors."""
    from distask.spec.language.steps import PipelineSpec

    call, steps = _model_schema(TaskSpec), _model_schema(PipelineSpec)
    own = [key for key in call["properties"] if key not in steps["properties"]]
    schema = {
        "$schema": SCHEMA_ID,
        "title": "A distask task",
        "type": "object",
        "additionalProperties": False,
        "properties": {**steps["properties"], **call["properties"]},
        "if": {"required": ["steps"]},
        "then": {"properties": dict.fromkeys(own, False)},
        "else": {"required": call["required"]},
        "$defs": call["$defs"] | steps["$defs"],
    }
    for key in ("outputs", "cases"):
        schema["properties"][key] = {
            "description": call["properties"][key]["description"],
            "anyOf": [_bare(call["properties"][key]), _bare(steps["properties"][key])],
        }
    _step_forms(schema["$defs"])
    return schema


def _step_forms(models: dict[str, Any]) -> None:
    """Add the short forms of steps, and inline tasks."""
    from distask.spec.language.steps import STEPS

    text: dict[str, Any] = {"type": "string"}
    texts = {"type": "array", "items": text}
    for name in ("Group", "Dedup", "Sort"):
        _or_short(models[f"{name}Step"]["properties"], name.lower(), text, texts)
        _or_short(models[name]["properties"], "by", text)
    _or_short(models["SplitStep"]["properties"], "split", text, texts)
    _or_short(models["Split"]["properties"], "by", text)
    _or_short(models["LanguageStep"]["properties"], "language", text)
    _or_short(models["Language"]["properties"], "keep", text)
    for key in ("from", "against", "columns"):
        _or_short(models["Decontaminate"]["properties"], key, text)
    for kind in ("keep", "drop", "explode"):
        _or_short(models[STEPS[kind].__name__]["properties"], kind, text)
    for kind in ("repeat", "for_each"):
        _or_short(models[STEPS[kind].__name__]["properties"], "collect", texts)
    _or_short(models["SampleStep"]["properties"], "sample", {"type": ["number", "string"]})
    outputs = models["PythonStep"]["properties"]["outputs"]
    _also(outputs["additionalProperties"], {**text, "description": "Its description"}, outputs)
    ask = models["TaskStep"]["properties"]
    _or_short(ask, "llm", text)
    ask["task"] = {"description": ask["task"]["description"], "anyOf": [text, {"$ref": "#"}]}


def _or_short(properties: dict[str, Any], key: str, *short: dict[str, Any]) -> None:
    """Allow the short forms of a key."""
    long = properties[key]
    properties[key] = {"description": long.get("description", ""), "anyOf": [*short, _bare(long)]}


def _model_schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True)
    schema["required"] = [key for key in schema["required"] if key != "name"]
    properties = schema["properties"]
    for key in ("inputs", "outputs"):
        _also(
            properties[key]["additionalProperties"],
            {"type": "string", "description": "Its description"},
            properties[key],
        )
    _also(
        properties["draw"]["additionalProperties"], {"type": "array", "description": "The options"}, properties["draw"]
    )
    if "format_output" in properties:
        _or_one(properties["aggregate"]["additionalProperties"], properties["aggregate"])
        many = properties["format_output"]
        both = [many["items"], _bare(many)]
        properties["format_output"] = {"description": many.get("description", ""), "anyOf": both}
    return schema


def _also(long: dict[str, Any], short: dict[str, Any], holder: dict[str, Any]) -> None:
    holder["additionalProperties"] = {"anyOf": [short, long]}


def _or_one(many: dict[str, Any], holder: dict[str, Any]) -> None:
    holder["additionalProperties"] = {"anyOf": [many["items"], many]}


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "description"}


def keys_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Return the valid keys of a mapping at a location of the models, as reported by pydantic."""
    models = [model]
    for step in location:
        models = [m for known in models for m in _step(known, step)]
    return sorted({field.alias or name for known in models for name, field in known.model_fields.items()})


def _step(model: type[BaseModel], step: str | int) -> list[type[BaseModel]]:
    for name, field in model.model_fields.items():
        if step in (name, field.alias):
            return _models_in(field.annotation)
    if isinstance(step, int):
        return [model]
    tagged = [m for m in (model, *_siblings(model)) if _tag(m) == step]
    return tagged or [model]


def _siblings(model: type[BaseModel]) -> list[type[BaseModel]]:
    return [m for base in model.__bases__ if issubclass(base, BaseModel) for m in base.__subclasses__()]


def _tag(model: type[BaseModel]) -> str | None:
    from distask.spec.language.steps import STEPS

    step = next((f"{kind} step" for kind, known in STEPS.items() if known is model), None)
    if step is not None:
        return step
    parser = model.model_fields.get("parser")
    return get_args(parser.annotation)[0] if parser is not None else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in get_args(annotation) for m in _models_in(part)]
