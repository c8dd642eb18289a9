"""Turn a task's outputs into the questions that a person answers, each with its keys and its type."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field, to_builtins

from distask.diagnostics import did_you_mean
from distask.errors import UsageError
from distask.spec.check.json_schemas import Schema
from distask.spec.language.aggregation import is_aligned
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distask.spec.language.columns import Output
    from distask.task.pipeline import Pipeline

Kind = Literal["choice", "pair", "boolean", "rating", "several", "number", "text", "list", "object"]
"""How a question is answered: one of a few values, the better of two, yes or no, a digit, several of a few values,
a number, a text, a list with one item per line, or any JSON."""

RESERVED = frozenset("cfmsu")
"""Letters that are commands on the page: comment, finish, markdown, skip, undo."""
MOST_RATINGS = 11
"""Maximum number of values on a scale; a longer one is typed as a number."""
_CLOSED = frozenset({"choice", "pair", "boolean", "rating", "several", "number"})
_DIGITS = "1234567890"
_TIES = frozenset({"tie", "tied", "draw", "equal", "same", "c", "both", "neither", "none", "no preference", "="})
_SIDES = (("a", "b"), ("1", "2"), ("first", "second"), ("left", "right"), ("chosen", "rejected"))
_NOISE = re.compile(r"^(?:answer|response|assistant|model|option|output|generation)[\s_-]*|[\s_-]*(?:is better|wins)$")
_ENDS_OF_SIDES = re.compile(
    r"^(?P<stem>.*?)[\s_-]?(?P<side>a|b|1|2|first|second|left|right|chosen|rejected)$", re.IGNORECASE
)


class Option(Struct, frozen=True):
    """A value that a person can choose."""

    value: Any
    label: str
    keys: list[str]
    """Keys that choose it, as in `KeyboardEvent.key`; the first is shown."""


class Question(Struct, frozen=True):
    """What a person answers about a row."""

    column: str
    kind: Kind
    schema: dict[str, Any]
    """The JSON Schema of the column; of an entry, if `entries` is set."""
    description: str | None = None
    options: list[Option] = field(default_factory=list)
    entries: str | None = None
    """The input whose list has an entry for each entry of the answer; the question is then about each of them."""
    optional: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return what the page needs."""
        made: dict[str, Any] = to_builtins(self)
        schema = made.pop("schema")
        return made | {"bounds": {name: schema.get(name) for name in ("minimum", "maximum")}}

    def read(self, answer: Any, entries: int | None = None) -> Any:
        """Return an answer of the page as the column's value.

        Args:
            answer: the answer, or a list of answers with one for each entry.
            entries: the number of entries, for a question about entries.

        Raises:
            ValueError: it does not have the column's type; the message is for the person.
        """
        if entries is None:
            return self._read_one(answer)
        if not isinstance(answer, list) or len(answer) != entries:
            raise ValueError(f"{self.column}: answer for each of the {entries} entries")
        return [self._read_one(one) for one in answer]

    def _read_one(self, answer: Any) -> Any:
        if answer is None or answer == "":
            if self.optional:
                return None
            raise ValueError(f"{self.column}: there is no answer")
        value = _parsed(answer, self.column) if self.kind == "object" and isinstance(answer, str) else answer
        if self.options and self.kind != "several" and not any(_same(value, o.value) for o in self.options):
            raise ValueError(f"{self.column}: {json.dumps(value, ensure_ascii=False)} is not one of the answers")
        if isinstance(value, float) and value.is_integer() and self.schema.get("type") == "integer":
            value = int(value)
        try:
            error = Schema(self.schema).error_of(value)
        except ValueError as unfit:
            raise ValueError(f"{self.column}: {unfit}") from None
        if error is not None:
            raise ValueError(f"{self.column}: {str(error.message).splitlines()[0]}")
        return value


def questions_of(task: Task | Pipeline, ask: Sequence[str] = ()) -> list[Question]:
    """Return the questions for a task's outputs.

    Without `ask`, they are about every output that isn't free text: a judge's reason is not asked for. If all outputs
    are free text, all are asked for. A task of steps reports how it came to its result; only its first such output,
    the result, is asked for.

    Raises:
        UsageError: the task has no such output, or no outputs that are known before a run.
    """
    schemas = task.output_schemas(grouped=False)
    if not schemas:
        raise UsageError(f"{task.path}: the task declares no outputs, so there is nothing to ask; declare `outputs`")
    for column in ask:
        if column not in schemas:
            raise UsageError(
                f"--ask {column}: the task {task.name} has no such output; {did_you_mean(column, schemas)}"
            )
    every = [_question(task, column, schemas[column]) for column in (dict.fromkeys(ask) or schemas)]
    if ask:
        return every
    closed = [question for question in every if question.kind in _CLOSED]
    if not isinstance(task, Task):
        return closed[:1] or every[:1]
    return closed or every


def sides_of(
    task: Task | Pipeline, questions: Sequence[Question], columns: Sequence[str]
) -> tuple[str, str] | str | None:
    """Return where the two answers of a comparison are; None if there is none, or if that is unknown."""
    if all(question.kind != "pair" for question in questions):
        return None
    inputs = [task.dataset_name(name) for name in task.input_columns]
    lists = [
        task.dataset_name(name)
        for name, column in task.input_columns.items()
        if (column.type or "").startswith("list") and column.max_items in (None, 2)
    ]
    if lists:
        return lists[0]
    named = [column for column in inputs if column in columns]
    found = {(match["stem"].lower(), match["side"].lower()): c for c in named if (match := _ENDS_OF_SIDES.match(c))}
    for (stem, side), column in found.items():
        other = next((b for a, b in _SIDES if a == side), None)
        if other is not None and (stem, other) in found:
            return column, found[stem, other]
    return None


def _question(task: Task | Pipeline, column: str, schema: Any) -> Question:
    schema = schema if isinstance(schema, dict) else {}
    output = _output_of(task, column)
    description = output.description if output is not None else None
    optional = bool(output is not None and output.nullable)
    entries = _entries(task, column, schema)
    if entries is not None:
        schema = schema.get("items") or {}
    kind, options = _kind(task, schema)
    is_free = kind in ("text", "list", "object")
    return Question(column, kind, schema, description, options, entries, optional or (is_free and entries is None))


def _output_of(task: Task | Pipeline, column: str) -> Output | None:
    outputs: Mapping[str, Output] = getattr(task.spec, "outputs", None) or {}
    mapped = task.spec.output_mappings
    return next((output for name, output in outputs.items() if mapped.get(name, name) == column), None)


def _entries(task: Task | Pipeline, column: str, schema: dict[str, Any]) -> str | None:
    """Return the list input to whose entries a list output is aligned."""
    if schema.get("type") != "array" or not isinstance(task, Task):
        return None
    names = [name for name in task.spec.outputs if task.spec.output_mappings.get(name, name) == column]
    for parser in task.spec.format_output:
        align = getattr(parser, "align_to", None)
        if align in task.input_columns and any(is_aligned(name, [parser]) for name in names):
            return task.dataset_name(align)
    return None


def _kind(task: Task | Pipeline, schema: dict[str, Any]) -> tuple[Kind, list[Option]]:
    """Return how a value of this schema is answered, and the values to choose from."""
    if isinstance(schema.get("enum"), list):
        choices = [choice for choice in schema["enum"] if choice is not None]
        if (pair := _pair(choices)) is not None:
            return "pair", pair
        return "choice", _options(choices)
    kinds = schema.get("type")
    kind = next((k for k in kinds if k != "null"), None) if isinstance(kinds, list) else kinds
    if kind == "boolean":
        return "boolean", [Option(True, "yes", ["y", "1"]), Option(False, "no", ["n", "2"])]
    if kind in ("integer", "number"):
        scale = _scale(task, schema, is_whole=kind == "integer")
        return ("number", []) if scale is None else ("rating", _ratings(*scale))
    if kind == "array":
        items = schema.get("items")
        if isinstance(items, dict) and isinstance(items.get("enum"), list):
            return "several", _options([choice for choice in items["enum"] if choice is not None])
        if isinstance(items, dict) and items.get("type") not in (None, "string"):
            return "object", []
        return "list", []
    return ("text", []) if kind == "string" else ("object", [])


def _options(choices: Sequence[Any]) -> list[Option]:
    """Give each choice a digit or a letter, and its own first letter if no other choice begins with it."""
    labels = [choice if isinstance(choice, str) else json.dumps(choice, ensure_ascii=False) for choice in choices]
    initials = [label[:1].lower() for label in labels]
    used = {i for i in initials if i.isalpha() and i.isascii() and i not in RESERVED and initials.count(i) == 1}
    spare = iter(letter for letter in "abdeghijklnopqrtvwxyz" if letter not in used)
    made = []
    for place, (choice, label, initial) in enumerate(zip(choices, labels, initials, strict=True)):
        keys = [_DIGITS[place]] if place < len(_DIGITS) else [letter] if (letter := next(spare, None)) else []
        made.append(Option(choice, label, [*keys, *([initial] if initial in used else [])]))
    return made


def _pair(choices: Sequence[Any]) -> list[Option] | None:
    """Return the options of a comparison: ← for the first, → for the second, = for a tie."""
    if not 2 <= len(choices) <= 3:
        return None
    bare = [_NOISE.sub("", str(choice).strip().lower()) for choice in choices]
    sides = [place for place, name in enumerate(bare) if any(name in pair for pair in _SIDES)]
    ties = [place for place, name in enumerate(bare) if name in _TIES and place not in sides]
    if len(sides) != 2 or len(sides) + len(ties) != len(choices):
        return None
    first, second = sorted(sides, key=lambda place: bare[place] not in {a for a, _ in _SIDES})
    if (bare[first], bare[second]) not in _SIDES:
        return None
    made = [
        Option(choices[first], str(choices[first]), ["ArrowLeft", "1"]),
        Option(choices[second], str(choices[second]), ["ArrowRight", "2"]),
    ]
    return [made[0], *(Option(choices[place], str(choices[place]), ["=", "0"]) for place in ties), made[1]]


def _scale(task: Task | Pipeline, schema: dict[str, Any], *, is_whole: bool) -> tuple[int, int] | None:
    """Return the ends of a scale that is short enough for keys: the bounds, or the params `minimum` and `maximum`."""
    low: Any
    high: Any
    low, high = (schema.get(name, task.params.get(name)) for name in ("minimum", "maximum"))
    if not (_is_whole(low) and _is_whole(high)) or "multipleOf" in schema:
        return None
    count = int(high) - int(low) + 1
    least = 2 if is_whole else 3  # a number from 0 to 1 is a probability, not a choice of two
    return (int(low), int(high)) if least <= count <= MOST_RATINGS else None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()


def _ratings(low: int, high: int) -> list[Option]:
    """Return the values of a scale; a digit is the value itself, or its place on a scale that begins below 0."""
    values = range(low, high + 1)
    if low < 0 or high > 10:
        return [Option(v, str(v), [key]) for v, key in zip(values, [*_DIGITS, "t"], strict=False)]
    ten = "0" if low >= 1 else "t"
    return [Option(v, str(v), [str(v) if v < 10 else ten]) for v in values]


def _same(value: Any, other: Any) -> bool:
    """Whether two values are the same JSON value; 3 and 3.0 are, 1 and true are not."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _parsed(text: str, column: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{column}: this is not valid JSON: {error}") from None
