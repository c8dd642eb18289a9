"""`distask schema`: the JSON Schema of a spec or of an LLM config, for editors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distask.cli import options as o  # noqa: TC001 - typer reads the annotations
from distask.cli.events.emit import Events
from distask.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


def command(
    config: Annotated[bool, typer.Option("--config", help="Of an LLM config instead of a task.")] = False,
    events: Annotated[bool, typer.Option("--events", help="Of the lines that --json writes.")] = False,
    json_: o.Json = False,
) -> None:
    """Print the JSON Schema of a task, for editors; or that of an LLM config, or of the events of --json."""
    if config and events:
        raise UsageError("--config and --events are two schemas; leave one of them out")
    made = _event_schema() if events else _config_schema() if config else _spec_schema()
    if json_:
        Events("schema").result(schema=made)
    else:
        typer.echo(schema_text(made), nl=False)


def schema_text(made: Mapping[str, Any] | None = None) -> str:
    """A schema as a file holds it; a task's where none is given."""
    return json.dumps(_spec_schema() if made is None else made, ensure_ascii=False, indent=2) + "\n"


def _spec_schema() -> dict[str, Any]:
    from distask.spec.language.json_schema import spec_schema

    return spec_schema()


def _event_schema() -> dict[str, Any]:
    from distask.cli.events.schema import event_schema

    return event_schema()


def _config_schema() -> dict[str, Any]:
    from distask.llm.config.model import LLMConfig
    from distask.spec.language.json_schema import SCHEMA_ID

    return {"$schema": SCHEMA_ID, **LLMConfig.model_json_schema(by_alias=True), "title": "A distask LLM config"}
