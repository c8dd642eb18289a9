"""The language's own shape: its JSON Schema, and the keys that are known at a place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from distask.spec.model import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


def spec_schema() -> dict[str, Any]:
    """The JSON Schema of a spec, the short forms included, for editors."""
    schema = TaskSpec.model_json_schema(by_alias=True)
    schema["$schema"] = SCHEMA_ID
    schema["title"] = "A distask task"
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
    _or_one(properties["aggregate"]["additionalProperties"], properties["aggregate"])
    many = properties["format_output"]
    properties["format_output"] = {"description": many.get("description", ""), "anyOf": [many["items"], _bare(many)]}
    return schema


def _also(long: dict[str, Any], short: dict[str, Any], holder: dict[str, Any]) -> None:
    holder["additionalProperties"] = {"anyOf": [short, long]}


def _or_one(many: dict[str, Any], holder: dict[str, Any]) -> None:
    holder["additionalProperties"] = {"anyOf": [many["items"], many]}


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "description"}


def keys_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """The keys that a mapping may have at a location of the models (as pydantic gives it)."""
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
    parser = model.model_fields.get("parser")
    return get_args(parser.annotation)[0] if parser is not None else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in get_args(annotation) for m in _models_in(part)]
