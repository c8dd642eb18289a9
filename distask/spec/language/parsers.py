"""Models of the parsers in `format_output`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from distask.spec.language.base import FUNCTION_PATTERN, Model


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
