"""`distask schema`: print the JSON Schema of a spec, an LLM config or the events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import TypeAdapter

from distask.cli import options as o  # noqa: TC001 - typer reads the annotations
from distask.cli.events import judging_results, other_results, run_results
from distask.cli.events.emit import Events
from distask.cli.events.judging_results import Agreement, Bias, PoolEstimate
from distask.cli.events.models import Error, Model, Note, Progress, Result, Started
from distask.errors import UsageError
from distask.spec.language.json_schema import SCHEMA_ID

if TYPE_CHECKING:
    from collections.abc import Mapping


def command(
    config: Annotated[bool, typer.Option("--config", help="Print the schema of an LLM config.")] = False,
    events: Annotated[bool, typer.Option("--events", help="Print the schema of the --json events.")] = False,
    json_: o.Json = False,
) -> None:
    """Print the JSON Schema of a task, for editors, or that of an LLM config or of the --json events."""
    if config and events:
        raise UsageError("--config and --events can't be combined; remove one of them")
    made = _event_schema() if events else _config_schema() if config else _spec_schema()
    if json_:
        Events("schema").result(schema=made)
    else:
        typer.echo(schema_text(made), nl=False)


def schema_text(made: Mapping[str, Any] | None = None) -> str:
    """Return a schema as the text of a file; by default that of a task."""
    return json.dumps(_spec_schema() if made is None else made, ensure_ascii=False, indent=2) + "\n"


def _spec_schema() -> dict[str, Any]:
    from distask.spec.language.json_schema import spec_schema

    return spec_schema()


def _event_schema() -> dict[str, Any]:
    return event_schema()


def _config_schema() -> dict[str, Any]:
    from distask.llm.config.model import LLMConfig
    from distask.spec.language.json_schema import SCHEMA_ID

    return {"$schema": SCHEMA_ID, **LLMConfig.model_json_schema(by_alias=True), "title": "A distask LLM config"}


_RESULTS = [
    model
    for module in (run_results, other_results, judging_results)
    for model in vars(module).values()
    if isinstance(model, type) and issubclass(model, Result) and model is not Result
]
EVENTS: list[type[Model]] = [Started, Progress, Note, Agreement, PoolEstimate, Bias, *_RESULTS, Error]


def event_schema() -> dict[str, Any]:
    """Return the JSON Schema of a line."""
    union: Any = EVENTS[0]
    for model in EVENTS[1:]:
        union |= model
    made = TypeAdapter(union).json_schema()
    return {"$schema": SCHEMA_ID, "title": "An event of `distask … --json`", **made}
