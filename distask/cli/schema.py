"""`distask schema`: the JSON Schema of a spec or of an LLM config, for editors."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def command(
    config: Annotated[bool, typer.Option("--config", help="Of an LLM config instead of a task.")] = False,
) -> None:
    """Print the JSON Schema of a task, for editors."""
    typer.echo(schema_text(of_config=config), nl=False)


def schema_text(*, of_config: bool = False) -> str:
    """The schema as a file holds it."""
    made = _config_schema() if of_config else _spec_schema()
    return json.dumps(made, ensure_ascii=False, indent=2) + "\n"


def _spec_schema() -> dict[str, Any]:
    from distask.spec.schema import spec_schema

    return spec_schema()


def _config_schema() -> dict[str, Any]:
    from distask.llm.config_model import LLMConfig
    from distask.spec.schema import SCHEMA_ID

    return {"$schema": SCHEMA_ID, **LLMConfig.model_json_schema(by_alias=True), "title": "A distask LLM config"}
