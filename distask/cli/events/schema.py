"""Build the JSON Schema of all events."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from distask.cli.events import judging_results, other_results, run_results
from distask.cli.events.judging_results import Agreement, PoolEstimate
from distask.cli.events.models import Error, Model, Note, Progress, Result, Started
from distask.spec.language.json_schema import SCHEMA_ID

_RESULTS = [
    model
    for module in (run_results, other_results, judging_results)
    for model in vars(module).values()
    if isinstance(model, type) and issubclass(model, Result) and model is not Result
]
EVENTS: list[type[Model]] = [Started, Progress, Note, Agreement, PoolEstimate, *_RESULTS, Error]


def event_schema() -> dict[str, Any]:
    """Return the JSON Schema of a line."""
    union: Any = EVENTS[0]
    for model in EVENTS[1:]:
        union |= model
    made = TypeAdapter(union).json_schema()
    return {"$schema": SCHEMA_ID, "title": "An event of `distask … --json`", **made}
