"""Load and check the YAML files that declare tests for biases: the one of the package, and the user's."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Struct
from pydantic import Field, TypeAdapter, ValidationError

from distask.diagnostics import did_you_mean
from distask.errors import SpecError, UsageError
from distask.spec.check.expressions import read_template
from distask.spec.check.faults import model_diagnostics
from distask.spec.document import Document
from distask.spec.language.base import Model
from distask.spec.load import read_text
from distask.task.templates.compiler import Compiler
from distask.task.templates.sandbox import GLOBALS, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from distask.diagnostics import Diagnostic
    from distask.task.templates.compiler import Expression, Text

Toward = Literal["first", "last", "higher", "lower"]
BUILT_IN = Path(__file__).with_name("biases.yaml")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_WAYS = ("order", "samples", "answer", "inputs")
ANSWER_NAMES = ("answer", "number", "answers")
"""The names that a template for an answer can use, in addition to the columns of the row."""


class BiasModel(Model):
    """A change that should not matter."""

    description: str | None = Field(None, description="What is changed, in a sentence")
    toward: Toward | None = Field(
        None,
        description="The direction that would be a bias: `higher` or `lower` scores (for a comparison, of the changed "
        "answer), or the `first` or `last` place",
    )
    order: Literal["reversed"] | None = Field(None, description="Show the answers in the opposite order")
    samples: Annotated[int, Field(ge=2, le=100)] | None = Field(
        None, description="Number of replies to the same chat, which are compared with each other"
    )
    temperature: Annotated[float, Field(gt=0, le=5)] | None = Field(
        None, description="With `samples`: the temperature, if the judge's own is 0"
    )
    answer: str | None = Field(None, description="A template for the new text of an answer")
    inputs: dict[str, Any] | None = Field(
        None, description="Mapping of input columns of the task to their new values: templates, or values"
    )


class Bias(Struct, frozen=True):
    """A declared test for a bias, compiled."""

    name: str
    description: str
    toward: Toward | None = None
    reverses: bool = False
    samples: int = 1
    temperature: float | None = None
    answer: Text | None = None
    inputs: dict[str, Expression] | None = None
    fault: Callable[[str], Diagnostic] | None = None
    """A diagnostic at the template of the answer, or at the inputs."""

    @property
    def resamples(self) -> bool:
        """Whether it samples the same chat several times, instead of changing it."""
        return self.samples > 1


def load_biases(file: Path | None = None, only: Sequence[str] = ()) -> list[Bias]:
    """Load the built-in biases and those of a file; one with the name of a built-in bias replaces it.

    Args:
        file: the user's file.
        only: the names to keep, in this order; all if empty.

    Raises:
        SpecError: the file is not valid; the error lists every fault with its place.
        UsageError: there is no such bias.
    """
    found = {bias.name: bias for path in (BUILT_IN, file) if path is not None for bias in _read(path)}
    for name in only:
        if name not in found:
            raise UsageError(f"--bias {name}: there is no such bias; {did_you_mean(name, found)}")
    return [found[name] for name in dict.fromkeys(only or found)]


def _read(path: Path) -> list[Bias]:
    document = Document.parse(read_text(path), str(path))
    if not isinstance(document.data, dict):
        raise SpecError([document.diagnostic((), "the file must be a mapping of names to changes", _EXAMPLE)])
    try:
        models = TypeAdapter(dict[str, BiasModel]).validate_python(document.data)
    except ValidationError as error:
        known = partial(_keys_at, document.data)
        raise SpecError(model_diagnostics(error.errors(include_url=False), document, known)) from None
    if faults := [fault for name, model in models.items() for fault in _faults(name, model, document)]:
        raise SpecError(faults)
    compiler = Compiler(Sandbox(path.resolve().parent), document)
    return [_compiled(name, model, compiler) for name, model in models.items()]


_EXAMPLE = "write for example `shouting: {toward: higher, answer: '{{ answer | upper }}'}`"


def _keys_at(_data: Any, place: tuple[Any, ...]) -> list[str]:
    return list(BiasModel.model_fields) if len(place) == 1 else []


def _faults(name: str, model: BiasModel, document: Document) -> Iterable[Diagnostic]:
    fault = document.diagnostic
    if not _NAME.fullmatch(name):
        yield fault((name,), f"`{name}` is not a valid name", "use lower-case letters, digits and _", key=True)
    if name == "base":
        yield fault((name,), "`base` is the name of the unchanged rows", "choose another name", key=True)
    ways = [way for way in _WAYS if getattr(model, way) is not None]
    if not ways:
        yield fault((name,), f"`{name}` changes nothing", "add `answer`, `inputs`, `order` or `samples`", key=True)
    if len(ways) > 1 and set(ways) != {"answer", "inputs"}:
        yield fault((name, ways[-1]), f"`{ways[0]}` and `{ways[-1]}` can't be combined", "remove one of them", key=True)
    if model.temperature is not None and model.samples is None:
        yield fault((name, "temperature"), "`temperature` needs `samples`", "add `samples`, or remove it", key=True)
    places = model.toward in ("first", "last")
    if model.toward is not None and (places != (model.order is not None) or model.samples is not None):
        wanted = "`first` or `last`" if model.order else "`higher` or `lower`"
        hint = "remove it: samples have no direction" if model.samples else f"write {wanted}, or remove it"
        yield fault((name, "toward"), f"`{model.toward}` does not fit this change", hint)
    if model.inputs is not None and not model.inputs:
        yield fault((name, "inputs"), "no input is changed", "name a column and its new value")
    if model.answer is not None and not read_template(model.answer).faults and "answer" not in _names(model.answer):
        yield fault((name, "answer"), "the new text does not contain the answer", "write `{{ answer }}` where it goes")


def _names(template: str) -> set[str]:
    return {name.name for name in read_template(template).names}


def _compiled(name: str, model: BiasModel, compiler: Compiler) -> Bias:
    answer = None if model.answer is None else compiler.template(model.answer, (name, "answer"))
    inputs = None
    if model.inputs is not None:
        inputs = {column: _value(value, (name, "inputs", column), compiler) for column, value in model.inputs.items()}
    return Bias(
        name,
        model.description or f"Declared as `{name}`.",
        model.toward,
        reverses=model.order is not None,
        samples=model.samples or 1,
        temperature=model.temperature,
        answer=answer,
        inputs=inputs,
        fault=partial(compiler.fault, (name, "answer" if answer is not None else "inputs")),
    )


def _value(value: Any, place: tuple[str, ...], compiler: Compiler) -> Expression:
    return compiler.value(value, place) if isinstance(value, str) else lambda _scope: value


def scope_of(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return what a template can use: the functions, the columns of the row, and the task's names for them.

    Args:
        values: the row.
        names: input name to column.
    """
    return {**GLOBALS, **values, **{name: values.get(column) for name, column in names.items()}, "row": values}
