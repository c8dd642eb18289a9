"""Models of task specs: the keys of a task with one model call per reply, and those that all tasks share.

The models define the keys and their types; `check` handles templates, patterns and references to columns. The field
descriptions are used to generate the reference in `docs/` and the JSON Schema.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from distask.spec.language.base import NAME_PATTERN, Model, as_list
from distask.spec.language.columns import Design, Draw, Input, Output, Param, as_options, described
from distask.spec.language.parsers import Parser


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
    draw: dict[str, Annotated[Draw, BeforeValidator(as_options)]] = Field({}, description="Random values for each row")
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
    format_output: Annotated[list[Parser], BeforeValidator(as_list)] = Field(
        min_length=1, description="A parser, or a list of parsers; the first that succeeds is used"
    )
    checks: list[str] = Field([], description="Expressions over the row and its new columns that must be true")
    on_invalid: OnInvalid = Field(OnInvalid.model_construct(retry=0, feedback=False, fallback=None, then="null"))
    aggregate: dict[str, Annotated[list[Reduction], Field(min_length=1), BeforeValidator(as_list)]] = Field(
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
