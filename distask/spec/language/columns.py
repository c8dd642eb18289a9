"""Models of a spec's values: inputs, params, outputs, draws and designs."""

from typing import Annotated, Any, Literal

from pydantic import Field

from distask.spec.language.base import Model

TYPE_PATTERN = r"^(string|integer|number|boolean|object|any|enum|list(\[.+\])?)$"
"""Valid values of `type`; `list[T]` can be nested."""


def described(value: Any) -> Any:
    """Convert the short form of a column, its description, to the long form."""
    return {"description": value} if isinstance(value, str) else value


class Typed(Model):
    """The type of a value: a name, choices, or a JSON Schema, with optional JSON Schema keywords."""

    type: Annotated[str, Field(pattern=TYPE_PATTERN)] | None = Field(
        None, description="string (default), integer, number, boolean, object, any, enum, list or list[T]"
    )
    description: str | None = Field(None, description="A description of the value")
    choices: list[Any] | None = Field(None, min_length=1, description="The allowed values (type: enum)")
    schema_: dict[str, Any] | bool | None = Field(None, alias="schema", description="A JSON Schema, instead of `type`")
    minimum: float | None = Field(None, description="The minimum")
    maximum: float | None = Field(None, description="The maximum")
    exclusive_minimum: float | None = Field(
        None, alias="exclusiveMinimum", description="The number must be greater than this"
    )
    exclusive_maximum: float | None = Field(
        None, alias="exclusiveMaximum", description="The number must be less than this"
    )
    multiple_of: float | None = Field(
        None, alias="multipleOf", gt=0, description="The number must be a multiple of this"
    )
    min_length: int | None = Field(None, alias="minLength", ge=0, description="The minimum length of a string")
    max_length: int | None = Field(None, alias="maxLength", ge=0, description="The maximum length of a string")
    pattern: str | None = Field(None, description="A regular expression that must match part of the string")
    format: str | None = Field(None, description="A JSON Schema format (date, email, uri, ...)")
    items: dict[str, Any] | bool | None = Field(None, description="The JSON Schema of a list's items")
    min_items: int | None = Field(None, alias="minItems", ge=0, description="The minimum length of a list")
    max_items: int | None = Field(None, alias="maxItems", ge=0, description="The maximum length of a list")
    unique_items: bool | None = Field(
        None, alias="uniqueItems", description="Whether the items of a list must be unique"
    )
    properties: dict[str, Any] | None = Field(None, description="The JSON Schemas of an object's properties")
    additional_properties: dict[str, Any] | bool | None = Field(
        None, alias="additionalProperties", description="The JSON Schema of an object's other properties"
    )

    def keywords(self) -> dict[str, Any]:
        """Return the JSON Schema keywords that are set, under their JSON Schema names."""
        beside = {"type", "description", "choices", "schema_"}
        own = {name: field for name, field in Typed.model_fields.items() if name not in beside}
        return {f.alias or name: value for name, f in own.items() if (value := getattr(self, name)) is not None}


class Input(Typed):
    """A column that the template reads."""

    required: bool = Field(True, description="Whether every row must have a value that is not null")
    default: Any = Field(None, description="The value if an optional column is missing or null")
    when: str | None = Field(None, description="An expression over params; the column is read only if it is true")


class Param(Typed):
    """A value that a run can set with `--param name=value`."""

    default: Any = Field(None, description="The value if the run sets none; a param without a default is required")
    template: bool = Field(
        False, description="Whether the value is itself a template, with access to the row's columns"
    )


class Output(Typed):
    """A column that the parser fills. It can be null only if its `schema` allows null or `nullable` is set."""

    schema_: dict[str, Any] | bool | str | None = Field(  # type: ignore[assignment]
        None, alias="schema", description="A JSON Schema or an expression over params for one, instead of `type`"
    )
    nullable: bool = Field(False, description="Whether null is allowed")
    required: list[str] | None = Field(None, description="The properties that an object must have (JSON Schema)")
    examples: Annotated[list[Any], Field(min_length=1)] | str | None = Field(
        None,
        description="Values for simulated replies (`-c offline`, `dry-run`), or an expression over the row and the"
        " outputs above for a list of them; by default, random values of the type",
    )
    when: str | None = Field(None, description="An expression over params; the column exists only if it is true")

    def keywords(self) -> dict[str, Any]:
        """Return the keywords of `Typed` and the required properties of an object."""
        return super().keywords() | ({"required": self.required} if self.required else {})


class Draw(Model):
    """A random value for each row, based on the run's seed."""

    options: Annotated[list[Any], Field(min_length=1)] | str | None = Field(
        None,
        description="The values to draw from, or an expression over params, vars and earlier draws for a list or a"
        " mapping of values to weights",
    )
    weights: list[float] | str | None = Field(
        None, description="The relative weight of each option, or an expression for the list"
    )
    range: list[int | float] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="[lowest, highest], inclusive; two integers draw integers",
    )
    sampling: Literal["random", "balanced", "unique"] = Field(
        "random",
        description="random: independent of other rows; balanced: each option is used once, or as often as its weight"
        " says, before any is used again; unique: as balanced, but only until all options are used. Weights are then"
        " numbers of rows",
    )


class Design(Model):
    """How drawn values are combined over rows, in random order."""

    grid: list[str] = Field([], description="Draws whose combinations all occur, each in the same number of rows")
    rows: Annotated[int, Field(ge=1)] | str = Field(
        1,
        description="The number of rows for each combination, or an expression over params, vars and the combination;"
        " 0 leaves a combination out",
    )
    seed_column: str | None = Field(
        None,
        description="A column whose value, instead of the row's position, decides the row's random draws: they stay the"
        " same when rows are added, removed or moved",
    )


def as_options(value: Any) -> Any:
    """Convert the short form of a draw, its options, to the long form."""
    return {"options": value} if isinstance(value, list) else value
