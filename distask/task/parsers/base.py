"""What a parser is: a function from a reply to raw values, and its inverse."""

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
    from distask.spec.language.model import Output
    from distask.task.column_types import ColumnType

Scope = Mapping[str, Any]
"""The names that a template of the row sees."""


class Context(Struct, frozen=True):
    """What a parser knows of its task."""

    outputs: Mapping[str, Output]
    """The columns that it may fill."""
    columns: Mapping[str, ColumnType]
    expression: Callable[[str], Callable[[Scope], Any]]
    folder: Path
    allow_code: bool = False

    def only(self, named: str | None) -> str:
        """The column of a parser that fills one: the named one, or the only one there is."""
        return named if named is not None else next(iter(self.outputs))


class Parser(ABC):
    """Made once for a spec, used for each reply."""

    reasoning_tags: Collection[str] | None = TAGS
    """The opening tags of the reasoning that the parser skips; None where it reads the complete reply."""

    @abstractmethod
    def __init__(self, options: Any, context: Context) -> None:
        """Compile the options of the spec."""

    @abstractmethod
    def parse(self, completion: Completion, scope: Scope) -> dict[str, Any]:
        """The columns' raw values; raises `InvalidReply`."""

    @abstractmethod
    def example(self, rng: random.Random, scope: Scope) -> str:
        """A reply that `parse` accepts, and whose values fit the columns' types."""


def text_of(completion: Completion, tags: Collection[str] | None = TAGS) -> str:
    """The reply without the reasoning in `tags`; raises `InvalidReply` where the reply is nothing else."""
    if tags is None:
        return completion.text or ""
    split = split_reasoning(completion.text or "", tags)
    if split.reasoning is not None and not split.answer.strip():
        raise InvalidReply("empty", _no_answer(completion, split))
    return split.answer


def tags_beside(*read: str) -> tuple[str, ...]:
    """The tags that mark reasoning for a parser that reads these tags, markers or patterns itself."""
    known = " ".join(read).lower()
    return (*MODEL_TAGS, *(tag for tag in PROMPTED_TAGS if tag.strip("<>") not in known))


def _no_answer(completion: Completion, split: Split) -> str:
    if completion.finish_reason == "length":
        return "the reply has no answer: max_tokens were used up by the model's reasoning"
    how = "" if split.closed else ", which never ends"
    return f"the reply has no answer, only the model's reasoning{how}"


def invalid(message: str, progress: Progress = Progress.NOTHING) -> InvalidReply:
    """A reply that does not parse; `progress` is how much of it did."""
    return InvalidReply("invalid", message, progress)


def labels(value: Any) -> list[str | int | float]:
    """The labels that an expression gives for a row; raises `InvalidReply` where they are none."""
    if not isinstance(value, list | tuple) or not value:
        raise invalid("the row gives no list of labels for `choices`")
    for label in value:
        if isinstance(label, bool) or not isinstance(label, str | int | float) or label == "":
            raise invalid("a label that the row gives for `choices` is no text")
    return list(value)


def aligned(items: list[Any], to: str, scope: Scope) -> list[Any]:
    """As many entries as the list column `to` has: null where one is missing, the rest cut."""
    wanted = scope.get(to)
    count = len(wanted) if isinstance(wanted, list | tuple) else len(items)
    return [*items[:count], *[None] * (count - len(items))]
