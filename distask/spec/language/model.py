"""The language of a task spec, as pydantic models.

These models say which keys there are and what type each has; what needs the templates, patterns and other columns at
hand is `check`'s. The field descriptions are the reference in `docs/` and the JSON Schema, both generated from here.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

TYPE_PATTERN = r"^(string|integer|number|boolean|object|any|enum|list(\[.+\])?)$"
"""The names that `type` takes; `list[T]` nests."""

NAME_PATTERN = r"^[a-z0-9]+(-[a-z0-9]+)*$"
FUNCTION_PATTERN = r"^[\w.]+:\w+$"
IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_-]*$"


class Model(BaseModel):
    """Base of all keys of the language: an unknown key is an error, nothing is converted behind the user's back."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        populate_by_name=True,
        frozen=True,
        protected_namespaces=(),
        defer_build=True,  # a validator of each model would double the time of the import
    )


def described(value: Any) -> Any:
    """The short form of a column, its description, as the long one."""
    return {"description": value} if isinstance(value, str) else value


class Typed(Model):
    """A value's type: a name, choices, or a JSON Schema, with JSON Schema's keywords beside."""

    type: Annotated[str, Field(pattern=TYPE_PATTERN)] | None = Field(
        None, description="string (default), integer, number, boolean, object, any, enum, list or list[T]"
    )
    description: str | None = Field(None, description="What the value is, for people")
    choices: list[Any] | None = Field(None, min_length=1, description="The values that are allowed (type: enum)")
    schema_: dict[str, Any] | bool | None = Field(
        None, alias="schema", description="A whole JSON Schema instead of `type`"
    )
    minimum: float | None = Field(None, description="The least number")
    maximum: float | None = Field(None, description="The greatest number")
    exclusive_minimum: float | None = Field(None, alias="exclusiveMinimum", description="The number must be greater")
    exclusive_maximum: float | None = Field(None, alias="exclusiveMaximum", description="The number must be less")
    multiple_of: float | None = Field(None, alias="multipleOf", gt=0, description="The number is a multiple of this")
    min_length: int | None = Field(None, alias="minLength", ge=0, description="The least length of a string")
    max_length: int | None = Field(None, alias="maxLength", ge=0, description="The greatest length of a string")
    pattern: str | None = Field(None, description="A regular expression that the string matches somewhere")
    format: str | None = Field(None, description="A JSON Schema format (date, email, uri, ...)")
    items: dict[str, Any] | bool | None = Field(None, description="The JSON Schema of a list's items")
    min_items: int | None = Field(None, alias="minItems", ge=0, description="The least length of a list")
    max_items: int | None = Field(None, alias="maxItems", ge=0, description="The greatest length of a list")
    unique_items: bool | None = Field(
        None, alias="uniqueItems", description="Whether a list's items differ from each other"
    )
    properties: dict[str, Any] | None = Field(None, description="The JSON Schemas of an object's properties")
    additional_properties: dict[str, Any] | bool | None = Field(
        None, alias="additionalProperties", description="The JSON Schema of an object's other properties"
    )

    def keywords(self) -> dict[str, Any]:
        """The JSON Schema keywords that stand beside `type`, under JSON Schema's own names."""
        beside = {"type", "description", "choices", "schema_"}
        own = {name: field for name, field in Typed.model_fields.items() if name not in beside}
        return {f.alias or name: value for name, f in own.items() if (value := getattr(self, name)) is not None}


class Input(Typed):
    """A column that the template reads."""

    required: bool = Field(True, description="Whether every row must have it, not null")
    default: Any = Field(None, description="The value where an optional column is missing or null")
    when: str | None = Field(None, description="An expression over params; the column is read only where it is true")


class Param(Typed):
    """A value that a run may set with `--param name=value`."""

    default: Any = Field(None, description="The value where the run sets none; without it the run must set one")
    template: bool = Field(
        False, description="Whether the value is itself a template, over the row's columns and all that the others see"
    )


class Output(Typed):
    """A column that the parser fills. It may be null only where its type says so (`schema`) or `nullable` is set."""

    schema_: dict[str, Any] | bool | str | None = Field(  # type: ignore[assignment]
        None, alias="schema", description="A whole JSON Schema instead of `type`, or an expression over params for one"
    )
    nullable: bool = Field(False, description="Whether null is a good value")
    required: list[str] | None = Field(None, description="The properties that an object must have (JSON Schema)")
    when: str | None = Field(None, description="An expression over params; the column exists only where it is true")

    def keywords(self) -> dict[str, Any]:
        """As of `Typed`, with an object's required properties."""
        return super().keywords() | ({"required": self.required} if self.required else {})


class Draw(Model):
    """A value drawn anew for each row, from the run's seed."""

    options: Annotated[list[Any], Field(min_length=1)] | str | None = Field(
        None,
        description="The values to draw from; or an expression over params, vars and the draws above for a list, or for"
        " a mapping of values to weights",
    )
    weights: list[float] | str | None = Field(
        None, description="How likely each option is, beside the others; or an expression for it"
    )
    range: list[int | float] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="[lowest, highest], both included; whole numbers draw whole numbers",
    )


def _options(value: Any) -> Any:
    return {"options": value} if isinstance(value, list) else value


class Part(Model):
    """One part of a message's content; exactly one of its keys is set, each a template."""

    text: str | None = Field(None, description="Text")
    image: str | None = Field(None, description="An image: a URL, a path, bytes, or a `datasets` image")
    audio: str | None = Field(None, description="Audio: a path, bytes, or a `datasets` audio")
    file: str | None = Field(None, description="A document: a URL, a path or bytes")
    detail: Literal["auto", "low", "high"] | None = Field(None, description="How closely an image is looked at")


class FileContent(Model):
    """The content is a template in a file of its own."""

    file: str = Field(description="The file's path, from the spec's folder")


def _content_kind(value: Any) -> str:
    if isinstance(value, list):
        return "parts"
    return "file" if isinstance(value, dict | FileContent) else "text"


Content = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[Part], Tag("parts")] | Annotated[FileContent, Tag("file")],
    Discriminator(_content_kind),
]


class Message(Model):
    """A message of the chat, or (with `splice`) a column that holds messages."""

    role: Literal["system", "developer", "user", "assistant", "tool"] | None = Field(None, description="Who speaks")
    content: Content | None = Field(None, description="A template, a list of parts, or {file: path}")
    name: str | None = Field(None, description="The speaker's name, a template")
    when: str | None = Field(None, description="An expression; the message is left out where it is false")
    for_each: str | None = Field(None, description='"name in expression": the message is repeated for each item')
    splice: str | None = Field(
        None,
        description="An expression for a chat whose messages are put in here: a list of {role, content}, or another"
        " shape that datasets use (ShareGPT, JSON text, ChatML)",
    )


class ParserBase(Model):
    """The keys that every parser has."""

    when: str | None = Field(None, description="An expression over params; the parser is used only where it is true")
    columns: dict[str, Any] | None = Field(None, description="Column to an expression over what was parsed")


class TextParser(ParserBase):
    """The whole reply."""

    parser: Literal["text"]
    strip: bool = Field(False, description="Whether white space around the reply is taken off")
    reasoning: Literal["keep", "drop"] = Field(
        "keep",
        description="What becomes of reasoning that the model writes into the reply (`<think>…</think>` and the like)."
        " keep: it stays in the column; drop: it goes to `reasoning_<task>` in the metadata, like reasoning that the"
        " server sends separately",
    )
    column: str | None = Field(None, description="The column; the only output where it is left out")


class RegexParser(ParserBase):
    """Named groups become columns.

    A reply on which the pattern takes more than a second is invalid. With `pip install 'distask[re2]'` most patterns
    run in linear time.
    """

    parser: Literal["regex"]
    pattern: str = Field(description="A regular expression with named groups")
    flags: str = Field(
        "", description="Letters: i (ignore case), m (multi-line), s (dot matches newlines), x (verbose)"
    )
    find: Literal["first", "last", "all"] = Field("first", description="Which match; all makes each column a list")
    align_to: str | None = Field(
        None,
        description="A list column; with find: all, as many entries as it has, null where one is missing or has a"
        " wrong type",
    )
    scale: dict[str, int | float | str] | None = Field(
        None,
        description="Group to the greatest score of its scale, a number or an expression for one: the group is read as"
        " a score (`4`, `<4>`, `**4**`, `4/5`, `4 out of 5`), and one of another scale (`8/10`) is refused",
    )


class JsonParser(ParserBase):
    """The first JSON value in the reply; a backslash that is not escaped, as in LaTeX or a path, is kept.

    `columns` are JSON pointers (`/a/0/b`) or, with `{{ }}`, expressions, which see the whole value as `parsed`.
    """

    parser: Literal["json"]
    whole: bool = Field(
        False, description="Whether nothing but the JSON may stand in the reply, a fence around it aside"
    )


class TagsParser(ParserBase):
    """`<name>...</name>` blocks become columns."""

    parser: Literal["tags"]
    tags: list[str] | dict[str, str] | None = Field(
        None, description="The tags' names, or column to tag; every output where it is left out"
    )
    find: Literal["first", "last", "all"] = Field("first", description="Which block; all makes each column a list")


class ListParser(ParserBase):
    """Numbered, bulleted or one-a-line items become a list."""

    parser: Literal["list"]
    column: str | None = Field(None, description="The column; the only output where it is left out")
    align_to: str | None = Field(
        None, description="A list column; as many entries as it has, null where one is missing or has a wrong type"
    )
    max_items: Annotated[int, Field(ge=1)] | str | None = Field(
        None, description="Items beyond this are cut; a number, or an expression for one"
    )
    lines: bool = Field(False, description="Whether each line is an item, numbered or not")
    separator: str | None = Field(
        None,
        description="A line that stands between items of several lines; for a column of lists their lines are entries",
    )
    skip: str | None = Field(None, description="Lines in which this regular expression matches are not items")
    split: str | None = Field(
        None, description="A line is split where this regular expression matches, so that an item begins there"
    )


class SectionsParser(ParserBase):
    """Text between given markers becomes columns."""

    parser: Literal["sections"]
    markers: dict[str, str] = Field(min_length=1, description="Column to the marker that its text follows")


class ChoiceParser(ParserBase):
    """The one label that the reply gives: marked (`[[A]]`, `Verdict: A`), or else the only one that it mentions."""

    parser: Literal["choice"]
    choices: list[str] | str | None = Field(
        None, description="The labels, or an expression for them; the output's `choices` where it is left out"
    )
    case_sensitive: bool = Field(False, description="Whether case counts")
    multiple: bool = Field(False, description="Whether several labels may be named; the column is then a list")
    column: str | None = Field(None, description="The column; the only output where it is left out")


class LogprobsParser(ParserBase):
    """How likely each of some answers was: their expected value, or the likeliest; it needs `llm: {logprobs: true}`."""

    parser: Literal["logprobs"]
    choices: list[str | int | float] | dict[str, int | float] | str = Field(
        description="The answers, each one token; a mapping says what each is worth; or an expression for either"
    )
    column: str | None = Field(
        None, description="The column for the expected value; the only output where it is left out"
    )
    probabilities: str | None = Field(None, description="A column for each answer's probability, an object")
    after: str | None = Field(None, description="The answer stands after the last place where the reply has this")
    find: Literal["first", "last"] = Field("last", description="Which token that is an answer counts")


class ToolCallsParser(ParserBase):
    """The reply's tool calls, `[{name, arguments}]`, become a column."""

    parser: Literal["tool_calls"]
    column: str | None = Field(None, description="The column; the only output where it is left out")


class PythonParser(ParserBase):
    """A function of yours, `module:function(reply, row) -> dict`; it runs only with `--allow-code`."""

    parser: Literal["python"]
    function: str = Field(
        pattern=FUNCTION_PATTERN, description="module:function, the module beside the spec or installed"
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
    """A model's name and generation keywords; never an endpoint, a key or headers."""

    model: str | None = Field(None, description="The model's name")
    temperature: float | None = Field(None, ge=0, le=5, description="0 takes the likeliest token")
    top_p: float | None = Field(None, gt=0, le=1, description="The share of probability that is sampled from")
    max_tokens: int | None = Field(None, ge=1, description="The longest reply, in tokens")
    max_completion_tokens: int | None = Field(None, ge=1, description="The newer name of max_tokens")
    stop: str | list[str] | None = Field(None, description="Where the reply ends")
    seed: int | None = Field(None, description="The server's seed")
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = Field(None, description="Whether the tokens' log probabilities are asked for")
    top_logprobs: int | None = Field(None, ge=0, le=20)
    reasoning_effort: str | None = Field(None, description="How long a reasoning model thinks")
    verbosity: str | None = None
    service_tier: str | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    extra_body: dict[str, Any] | None = Field(None, description="Keys that only some servers know (top_k, min_p, ...)")

    def keywords(self) -> dict[str, Any]:
        """What is set, but for the model."""
        return self.model_dump(exclude_none=True, exclude={"model"})


class OnInvalid(Model):
    """What becomes of a reply that does not parse, or breaks its type or a check."""

    retry: int = Field(0, ge=0, le=100, description="How often the model is asked again")
    feedback: bool = Field(
        False, description="Whether the reply and its error are shown to the model when it is asked again"
    )
    fallback: LLM | str | None = Field(
        None,
        description="Asked last: generation keywords (another model of the same endpoint), or a built-in config's name",
    )
    then: Literal["null", "drop", "fail"] = Field(
        "null", description="null: outputs are null; drop: no row; fail: the run stops"
    )


class StructuredOutput(Model):
    """What the server is asked to hold the reply to."""

    schema_: dict[str, Any] | str | None = Field(
        None,
        alias="schema",
        description="A JSON Schema, or an expression for one. Keywords that a server does not take are not sent there, "
        "and are checked in the reply ([servers](servers.md#json-schemas))",
    )
    regex: str | None = Field(None, description="A regular expression (an expression in {{ }} for one)")
    choice: list[str] | str | None = Field(None, description="The replies to choose from, or an expression for them")
    grammar: str | None = Field(None, description="A GBNF or EBNF grammar")


class RawCompletion(Model):
    """The chat is sent as a text to go on from, as base models are asked."""

    template: str | None = Field(
        None, description="The model family whose marks stand around the turns (an expression), or nothing for none"
    )
    open: Literal["user", "assistant"] | None = Field(
        None, description="Whose turn is left open, for the model to fill"
    )


Reduction = Literal["mean", "median", "majority", "min", "max", "std", "agreement"]


class Case(Model):
    """A golden case: with this input and this reply, these columns."""

    name: str | None = None
    input: dict[str, Any] = Field(description="A row")
    params: dict[str, Any] | None = Field(None, description="Params that the case sets")
    reply: str | dict[str, Any] = Field(
        description="The model's reply, or a completion ({text, finish_reason, tool_calls})"
    )
    expect: dict[str, Any] | None = Field(None, description="The columns that the reply becomes")
    error: str | None = Field(
        None,
        description="Words of the error, for a reply that is invalid; next to `expect`, for entries of aligned lists",
    )


class Spec(Model):
    """What every task has, whether it is one call or several."""

    name: str = Field(pattern=NAME_PATTERN, description="[a-z0-9-]+; the file's stem where it is left out")
    description: str | None = Field(None, description="What the task does, in a sentence")
    reference: str | None = Field(None, description="Where the method comes from")
    tags: list[str] | None = Field(None, description="Words to find it by")
    inputs: dict[str, Annotated[Input, BeforeValidator(described)]] = Field(
        {}, description="The columns that the task reads"
    )
    params: dict[str, Param] = Field({}, description="Values that a run may set")
    vars: dict[str, Any] = Field({}, description="Constant data for the templates")
    draw: dict[str, Annotated[Draw, BeforeValidator(_options)]] = Field({}, description="Values drawn for each row")
    num_generations: int = Field(1, ge=1, le=10_000, description="Replies for each row")
    group_generations: bool = Field(False, description="One row with lists instead of a row each")
    add_raw_input: bool = Field(True, description="Whether the chat is kept in the metadata")
    add_raw_output: bool = Field(True, description="Whether the raw reply is kept in the metadata")
    input_mappings: dict[str, str] = Field({}, description="Task column to dataset column")
    output_mappings: dict[str, str] = Field({}, description="Task column to dataset column")
    llm: LLM = Field(LLM.model_construct(), description="Generation defaults")


class TaskSpec(Spec):
    """A task of one call: rows in, rows out."""

    format_input: list[Message] = Field(min_length=1, description="The chat")
    outputs: dict[str, Annotated[Output, BeforeValidator(described)]] = Field(
        min_length=1, description="The columns that are added"
    )
    format_output: Annotated[list[Parser], BeforeValidator(_listed)] = Field(
        min_length=1, description="A parser, or a list of them: the first that fits wins"
    )
    checks: list[str] = Field([], description="Expressions over the row and its new columns that must hold")
    on_invalid: OnInvalid = Field(OnInvalid.model_construct(retry=0, feedback=False, fallback=None, then="null"))
    aggregate: dict[str, Annotated[list[Reduction], Field(min_length=1), BeforeValidator(_listed)]] = Field(
        {},
        description="Output to what is made of its values over grouped generations: mean, median, majority, min, max,"
        " std, agreement, or a list of these; each adds a column `<output>_<how>`",
    )
    structured_output: bool | StructuredOutput | None = Field(
        None, description="true: a JSON Schema made from `outputs`; or what the server is to hold the reply to"
    )
    completion: bool | RawCompletion = Field(
        False, description="Whether raw text completion of the chat is asked for; or {template, open}"
    )
    prefill: bool = Field(
        False, description="Whether the model goes on from the last message, the assistant's (vLLM, llama.cpp)"
    )
    returns: Literal["text", "embedding", "image"] = Field(
        "text", description="What the model gives: text, or an embedding or an image of the chat's text"
    )
    tools: list[dict[str, Any]] | str | None = Field(None, description="Tool definitions, or an expression for them")
    cases: list[Case] = Field([], description="Golden cases")


TaskSpec.model_rebuild()
