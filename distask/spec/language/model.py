"""Pydantic models of task specs.

The models define the keys and their types; `check` handles templates, patterns and references to columns. The field
descriptions are used to generate the reference in `docs/` and the JSON Schema.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

TYPE_PATTERN = r"^(string|integer|number|boolean|object|any|enum|list(\[.+\])?)$"
"""Valid values of `type`; `list[T]` can be nested."""

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


def _options(value: Any) -> Any:
    return {"options": value} if isinstance(value, list) else value


class Part(Model):
    """One part of a message's content. Set exactly one of `text`, `image`, `audio` and `file`, each a template."""

    text: str | None = Field(None, description="Text")
    image: str | None = Field(None, description="An image: a URL, a path, bytes, or a `datasets` image")
    audio: str | None = Field(None, description="Audio: a path, bytes, or a `datasets` audio")
    file: str | None = Field(None, description="A document: a URL, a path or bytes")
    detail: Literal["auto", "low", "high"] | None = Field(None, description="The level of detail of an image")


class FileContent(Model):
    """Content from a template file."""

    file: str = Field(description="The path, relative to the spec's folder")


def _content_kind(value: Any) -> str:
    if isinstance(value, list):
        return "parts"
    return "file" if isinstance(value, dict | FileContent) else "text"


Content = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[Part], Tag("parts")] | Annotated[FileContent, Tag("file")],
    Discriminator(_content_kind),
]


class Message(Model):
    """A message of the chat, or (with `splice`) a column that contains messages."""

    role: Literal["system", "developer", "user", "assistant", "tool"] | None = Field(
        None, description="The role of the message"
    )
    content: Content | None = Field(None, description="A template, a list of parts, or {file: path}")
    name: str | None = Field(None, description="A template for the participant's name")
    when: str | None = Field(None, description="An expression; the message is included only if it is true")
    for_each: str | None = Field(None, description='"name in expression": the message is repeated for each item')
    splice: str | None = Field(
        None,
        description="An expression for a chat whose messages are inserted here: a list of {role, content}, or another"
        " common dataset format (ShareGPT, JSON text, ChatML)",
    )


class ParserBase(Model):
    """The common keys of all parsers."""

    when: str | None = Field(None, description="An expression over params; the parser is used only if it is true")
    columns: dict[str, Any] | None = Field(None, description="Mapping of columns to expressions over the parsed values")


class TextParser(ParserBase):
    """The complete reply."""

    parser: Literal["text"]
    strip: bool = Field(False, description="Whether to strip whitespace around the reply")
    reasoning: Literal["keep", "drop"] = Field(
        "keep",
        description="What to do with reasoning in the reply (such as `<think>…</think>`)."
        " keep: leave it in the column; drop: move it to `reasoning_<task>` in the metadata, like reasoning that the"
        " server sends separately",
    )
    column: str | None = Field(None, description="The column; defaults to the only output")


class RegexParser(ParserBase):
    """Named groups become columns.

    A reply is invalid if the pattern takes more than a second. With `pip install 'distask[re2]'`, most patterns run in
    linear time.
    """

    parser: Literal["regex"]
    pattern: str = Field(description="A regular expression with named groups")
    flags: str = Field(
        "", description="Letters: i (ignore case), m (multi-line), s (dot matches newlines), x (verbose)"
    )
    find: Literal["first", "last", "all"] = Field(
        "first", description="Which match to use; with `all`, each column is a list"
    )
    align_to: str | None = Field(
        None,
        description="A list column that sets the number of entries, with find: all; a missing or invalid entry is null",
    )
    scale: dict[str, int | float | str] | None = Field(
        None,
        description="Mapping of groups to the maximum of their scale, or an expression for it: a group is read as"
        " a score (`4`, `<4>`, `**4**`, `4/5`, `4 out of 5`), and a score on another scale (`8/10`) is invalid",
    )


class JsonParser(ParserBase):
    """The first JSON value in the reply. Unescaped backslashes, as in LaTeX or paths, are kept.

    `columns` are JSON pointers (`/a/0/b`) or expressions in `{{ }}`, which can read the complete value as `parsed`.
    """

    parser: Literal["json"]
    whole: bool = Field(False, description="Whether the reply must contain only JSON, with or without a code fence")


class TagsParser(ParserBase):
    """`<name>...</name>` blocks become columns."""

    parser: Literal["tags"]
    tags: list[str] | dict[str, str] | None = Field(
        None, description="The tag names, or a mapping of column to tag; defaults to all outputs"
    )
    find: Literal["first", "last", "all"] = Field(
        "first", description="Which block to use; with `all`, each column is a list"
    )


class ListParser(ParserBase):
    """Items that are numbered, bulleted or on separate lines become a list."""

    parser: Literal["list"]
    column: str | None = Field(None, description="The column; defaults to the only output")
    align_to: str | None = Field(
        None, description="A list column that sets the number of entries; a missing or invalid entry is null"
    )
    max_items: Annotated[int, Field(ge=1)] | str | None = Field(
        None, description="The maximum number of items to keep, or an expression for it"
    )
    lines: bool = Field(False, description="Whether each line is an item, even if it is not numbered")
    separator: str | None = Field(
        None,
        description="A line that separates items of several lines; in a column of lists, each line is an entry",
    )
    skip: str | None = Field(None, description="A regular expression; matching lines are not items")
    split: str | None = Field(None, description="A regular expression; each match in a line starts a new item")


class SectionsParser(ParserBase):
    """Text between markers becomes columns."""

    parser: Literal["sections"]
    markers: dict[str, str] = Field(min_length=1, description="Mapping of columns to the marker before their text")


class ChoiceParser(ParserBase):
    """The label that the reply gives: a marked one (`[[A]]`, `Verdict: A`), or else the only label in the reply."""

    parser: Literal["choice"]
    choices: list[str] | str | None = Field(
        None, description="The labels, or an expression for them; defaults to the output's `choices`"
    )
    case_sensitive: bool = Field(False, description="Whether labels are case-sensitive")
    multiple: bool = Field(False, description="Whether the reply can give several labels; the column is then a list")
    column: str | None = Field(None, description="The column; defaults to the only output")


class LogprobsParser(ParserBase):
    """The expected value of several answers, or the most likely one. Requires `llm: {logprobs: true}`."""

    parser: Literal["logprobs"]
    choices: list[str | int | float] | dict[str, int | float] | str = Field(
        description="The answers, each one token; or a mapping of answers to values; or an expression for either"
    )
    column: str | None = Field(None, description="The column for the expected value; defaults to the only output")
    probabilities: str | None = Field(None, description="A column for an object with the probability of each answer")
    after: str | None = Field(None, description="Look for the answer after the last occurrence of this text")
    find: Literal["first", "last"] = Field("last", description="Which answer token to use")


class ToolCallsParser(ParserBase):
    """The reply's tool calls, `[{name, arguments}]`, become a column."""

    parser: Literal["tool_calls"]
    column: str | None = Field(None, description="The column; defaults to the only output")


class PythonParser(ParserBase):
    """Your own function, `module:function(reply, row) -> dict`. Runs only with `--allow-code`."""

    parser: Literal["python"]
    function: str = Field(
        pattern=FUNCTION_PATTERN, description="module:function; the module is in the spec's folder or installed"
    )


Parser = Annotated[
    TextParser
    | RegexParser
    | JsonParser
    | TagsParser
    | ListParser
    | SectionsParser
    | ChoiceParser
    | LogprobsParser
    | ToolCallsParser
    | PythonParser,
    Field(discriminator="parser"),
]


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class LLM(Model):
    """A model name and generation parameters; never an endpoint, an API key or headers."""

    model: str | None = Field(None, description="The model's name")
    temperature: float | None = Field(
        None, ge=0, le=5, description="The sampling temperature; 0 selects the most likely token"
    )
    top_p: float | None = Field(None, gt=0, le=1, description="The probability mass to sample from")
    max_tokens: int | None = Field(None, ge=1, description="The maximum length of the reply, in tokens")
    max_completion_tokens: int | None = Field(None, ge=1, description="The newer name for max_tokens")
    stop: str | list[str] | None = Field(None, description="Text that ends the reply")
    seed: int | None = Field(None, description="The server's seed")
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = Field(None, description="Whether to request the log probabilities of tokens")
    top_logprobs: int | None = Field(None, ge=0, le=20)
    reasoning_effort: str | None = Field(None, description="The effort of a reasoning model")
    verbosity: str | None = None
    service_tier: str | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    extra_body: dict[str, Any] | None = Field(
        None, description="Keys that only some servers support (top_k, min_p, ...)"
    )

    def keywords(self) -> dict[str, Any]:
        """Return the keywords that are set, without the model."""
        return self.model_dump(exclude_none=True, exclude={"model"})


class OnInvalid(Model):
    """What to do with a reply that can't be parsed, has the wrong type or fails a check."""

    retry: int = Field(0, ge=0, le=100, description="The maximum number of retries")
    feedback: bool = Field(False, description="Whether a retry shows the reply and its error to the model")
    fallback: LLM | str | None = Field(
        None,
        description="The last attempt: generation keywords (another model on the same endpoint), or a built-in config",
    )
    then: Literal["null", "drop", "fail"] = Field(
        "null", description="null: set outputs to null; drop: remove the row; fail: stop the run"
    )


class StructuredOutput(Model):
    """The format that the server enforces for the reply."""

    schema_: dict[str, Any] | str | None = Field(
        None,
        alias="schema",
        description="A JSON Schema, or an expression for one. Keywords that a server does not support are not sent, "
        "only checked in the reply ([servers](servers.md#json-schemas))",
    )
    regex: str | None = Field(None, description="A regular expression, or an expression in {{ }} for one")
    choice: list[str] | str | None = Field(None, description="The allowed replies, or an expression for them")
    grammar: str | None = Field(None, description="A GBNF or EBNF grammar")


class RawCompletion(Model):
    """Send the chat as plain text for the model to continue, as base models expect."""

    template: str | None = Field(
        None, description="An expression for the name of a chat template (a model family) that marks the turns"
    )
    open: Literal["user", "assistant"] | None = Field(None, description="The role whose turn the model continues")


Reduction = Literal["mean", "median", "majority", "min", "max", "std", "agreement"]


class Case(Model):
    """A golden case: the columns expected for an input and a reply."""

    name: str | None = None
    input: dict[str, Any] = Field(description="A row")
    params: dict[str, Any] | None = Field(None, description="Params for the case")
    reply: str | dict[str, Any] = Field(
        description="The model's reply, or a completion ({text, finish_reason, tool_calls})"
    )
    expect: dict[str, Any] | None = Field(None, description="The expected columns")
    error: str | None = Field(
        None,
        description="Part of the expected error message; with `expect`, for entries of aligned lists",
    )


class Spec(Model):
    """The common keys of all tasks."""

    name: str = Field(pattern=NAME_PATTERN, description="[a-z0-9-]+; defaults to the file name without its extension")
    description: str | None = Field(None, description="What the task does, in one sentence")
    reference: str | None = Field(None, description="The source of the method")
    version: str | None = Field(None, description="The version of the task, for the record of a run")
    tags: list[str] | None = Field(None, description="Search terms")
    inputs: dict[str, Annotated[Input, BeforeValidator(described)]] = Field(
        {}, description="The columns that the task reads"
    )
    params: dict[str, Param] = Field({}, description="Values that a run can set")
    vars: dict[str, Any] = Field({}, description="Constants for the templates")
    draw: dict[str, Annotated[Draw, BeforeValidator(_options)]] = Field({}, description="Random values for each row")
    design: Design | None = Field(None, description="How the drawn values are combined over rows")
    num_generations: int = Field(1, ge=1, le=10_000, description="Number of replies for each row")
    group_generations: bool = Field(
        False, description="Whether to write one row with lists instead of one row per reply"
    )
    add_raw_input: bool = Field(True, description="Whether to keep the chat in the metadata")
    add_raw_output: bool = Field(True, description="Whether to keep the raw reply in the metadata")
    only_outputs: bool = Field(
        False,
        description="Whether a run writes only the outputs: no input columns, no metadata, and no row that failed",
    )
    input_mappings: dict[str, str] = Field({}, description="Mapping of task columns to dataset columns")
    output_mappings: dict[str, str] = Field({}, description="Mapping of task columns to dataset columns")
    llm: LLM = Field(LLM.model_construct(), description="Default generation parameters")


class TaskSpec(Spec):
    """A task with one model call per reply."""

    format_input: list[Message] = Field(min_length=1, description="The messages of the chat")
    outputs: dict[str, Annotated[Output, BeforeValidator(described)]] = Field(
        min_length=1, description="The columns that the task adds"
    )
    format_output: Annotated[list[Parser], BeforeValidator(_listed)] = Field(
        min_length=1, description="A parser, or a list of parsers; the first that succeeds is used"
    )
    checks: list[str] = Field([], description="Expressions over the row and its new columns that must be true")
    on_invalid: OnInvalid = Field(OnInvalid.model_construct(retry=0, feedback=False, fallback=None, then="null"))
    aggregate: dict[str, Annotated[list[Reduction], Field(min_length=1), BeforeValidator(_listed)]] = Field(
        {},
        description="Mapping of outputs to aggregates over grouped generations: mean, median, majority, min, max, std,"
        " agreement, or a list of these; each adds a column `<output>_<how>`",
    )
    structured_output: bool | StructuredOutput | None = Field(
        None, description="true: use a JSON Schema made from `outputs`; or the format that the server enforces"
    )
    completion: bool | RawCompletion = Field(
        False, description="Whether to request a raw text completion of the chat; or {template, open}"
    )
    prefill: bool = Field(
        False, description="Whether the model continues the last message, an assistant message (vLLM, llama.cpp)"
    )
    returns: Literal["text", "embedding", "image"] = Field(
        "text", description="What the model returns: text, or an embedding or image for the text of the chat"
    )
    tools: list[dict[str, Any]] | str | None = Field(None, description="Tool definitions, or an expression for them")
    cases: list[Case] = Field([], description="Golden test cases")


TaskSpec.model_rebuild()
