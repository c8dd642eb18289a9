"""The interface of parsers: parse a reply into raw values, and generate an example reply."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.errors import InvalidReply, Progress
from distask.task.reply.reasoning import MODEL_TAGS, PROMPTED_TAGS, TAGS, Split, split_reasoning

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from distask.llm.request import Completion
    from distask.spec.language.columns import Output
    from distask.task.column_types import ColumnType

Scope = Mapping[str, Any]
"""The names that a template sees for a row."""
Given = Mapping[str, Any]
"""The values of columns that a simulated reply must give, from `examples` in the spec."""


class Context(Struct, frozen=True):
    """The task that a parser belongs to."""

    outputs: Mapping[str, Output]
    """The columns that the parser may fill."""
    columns: Mapping[str, ColumnType]
    expression: Callable[[str], Callable[[Scope], Any]]
    folder: Path
    allow_code: bool = False
    tools: Callable[[Scope], Any] | None = None
    """The definitions of the tools that the model has for a row; None if the task has none."""

    def only(self, named: str | None) -> str:
        """The column of a parser that fills one column: the named one, or else the only one."""
        return named if named is not None else next(iter(self.outputs))


class Parser(ABC):
    """Created once per spec, and used for each reply."""

    reasoning_tags: Collection[str] | None = TAGS
    """The opening tags of reasoning that the parser skips; None if it reads the complete reply."""

    @abstractmethod
    def __init__(self, options: Any, context: Context) -> None:
        """Compile the options of the spec."""

    @abstractmethod
    def parse(self, completion: Completion, scope: Scope) -> dict[str, Any]:
        """The columns' raw values; raises `InvalidReply`."""

    @abstractmethod
    def example(self, rng: random.Random, scope: Scope, given: Given) -> str:
        """An example reply that `parse` accepts, with the given values, or values that fit the column types."""


def text_of(completion: Completion, tags: Collection[str] | None = TAGS) -> str:
    """The reply without the reasoning in `tags`; raises `InvalidReply` if nothing else is left."""
    if tags is None:
        return completion.text or ""
    split = split_reasoning(completion.text or "", tags)
    if split.reasoning is not None and not split.answer.strip():
        raise InvalidReply("empty", _no_answer(completion, split))
    return split.answer


def tags_beside(*read: str) -> tuple[str, ...]:
    """The reasoning tags to skip, for a parser that itself reads these tags, markers or patterns."""
    known = " ".join(read).lower()
    return (*MODEL_TAGS, *(tag for tag in PROMPTED_TAGS if tag.strip("<>") not in known))


def _no_answer(completion: Completion, split: Split) -> str:
    if completion.finish_reason == "length":
        return "the reply has no answer: max_tokens were used up by the model's reasoning"
    how = "" if split.closed else ", which never ends"
    return f"the reply has no answer, only the model's reasoning{how}"


def invalid(message: str, progress: Progress = Progress.NOTHING) -> InvalidReply:
    """An error for a reply that does not parse; `progress` is how far parsing got."""
    return InvalidReply("invalid", message, progress)


def labels(value: Any) -> list[str | int | float]:
    """Check the labels that an expression gives for a row; raises `InvalidReply`."""
    if not isinstance(value, list | tuple) or not value:
        raise invalid("the row gives no list of labels for `choices`")
    for label in value:
        if isinstance(label, bool) or not isinstance(label, str | int | float) or label == "":
            raise invalid("a label that the row gives for `choices` is not text")
    return list(value)


def aligned(items: list[Any], to: str, scope: Scope) -> list[Any]:
    """Pad the items with nulls, or cut them, to the length of the list column `to`."""
    wanted = scope.get(to)
    count = len(wanted) if isinstance(wanted, list | tuple) else len(items)
    return [*items[:count], *[None] * (count - len(items))]
