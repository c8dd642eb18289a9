"""The base of the models of specs, and what their names must look like."""

from typing import Any

from pydantic import BaseModel, ConfigDict

NAME_PATTERN = r"^[a-z0-9]+(-[a-z0-9]+)*$"
FUNCTION_PATTERN = r"^[\w.]+:\w+$"
IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_-]*$"


class Model(BaseModel):
    """Base model: unknown keys are errors, and values are never converted to another type."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        populate_by_name=True,
        frozen=True,
        protected_namespaces=(),
        defer_build=True,  # building every validator on import would double the import time
    )


def as_list(value: Any) -> Any:
    """Convert the short form of a list, its only item, to the list."""
    return value if isinstance(value, list) else [value]
