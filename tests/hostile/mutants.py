"""Locks taken off, one at a time: each must make its battery fail, or the battery proves nothing.

A mutant changes distask in the process that the cage's children are forked from, before any command is run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MUTANTS: dict[str, Callable[[], None]] = {}
"""Name to what takes the lock off."""


def mutant(function: Callable[[], None]) -> Callable[[], None]:
    MUTANTS[function.__name__] = function
    return function


@mutant
def attributes_are_open() -> None:
    """The sandbox lets a template read `__class__`."""
    from distask.task.templates.sandbox import Sandbox

    Sandbox.is_safe_attribute = lambda *_: True
    Sandbox.is_safe_callable = lambda *_: True


@mutant
def rows_can_be_changed() -> None:
    """The sandbox is not immutable."""
    from jinja2.sandbox import SandboxedEnvironment

    from distask.task.templates.sandbox import Sandbox

    Sandbox.is_safe_attribute = SandboxedEnvironment.is_safe_attribute


@mutant
def renders_have_no_bound() -> None:
    """Nothing that a template makes is weighed, and no clock is looked at."""
    from distask.task.templates import filters, limits, sandbox
    from distask.task.templates.limits import Meter

    Meter.look = lambda *_: None
    for module in (filters, limits, sandbox):
        module.fits = lambda *_: None
    limits._weigh = lambda *_: 0


@mutant
def chats_have_no_bound() -> None:
    """A chat may hold anything."""
    from distask.task.chat.media import Bound

    Bound.take = lambda *_, **__: None


@mutant
def rows_have_no_clock() -> None:
    """Each render has its own time, and nothing bounds all of them."""
    from distask.task.templates import limits

    limits.MAX_SECONDS_TOGETHER = 1e9


@mutant
def aliases_are_not_counted() -> None:
    """YAML aliases may stand for as much as they like."""
    from distask.spec import document

    document.MAX_EXPANDED = 1 << 60


@mutant
def files_may_be_anywhere() -> None:
    """Files are read wherever a name leads."""
    from pathlib import Path

    from distask.spec.check import templates

    templates.outside = lambda *_: None
    Path.is_relative_to = lambda *_: True


@mutant
def schemas_may_read() -> None:
    """A JSON Schema may name files and addresses."""
    import jsonschema_rs

    from distask.spec.check import json_schemas

    json_schemas.check_schema = lambda _schema: None
    real = jsonschema_rs.validator_for
    json_schemas.jsonschema_rs = type("Open", (), {
        "validator_for": staticmethod(lambda schema, **_: real(schema)),
        "FancyRegexOptions": jsonschema_rs.FancyRegexOptions,
    })  # fmt: skip


@mutant
def patterns_run_on_re() -> None:
    """Patterns run on the standard library's engine, without a clock."""
    import re

    from distask.spec.check import patterns

    class DirectTransport(patterns.Pattern):
        def find(self, text: str) -> object:
            return re.compile(self.pattern, self._flags).search(text)

        def find_all(self, text: str) -> list:
            return list(re.compile(self.pattern, self._flags).finditer(text))

    patterns.Pattern = DirectTransport


@mutant
def re2_is_missing() -> None:
    """The engine that runs in linear time is not installed, as on Alpine Linux. No lock: `regex` and its clock hold."""
    import sys

    sys.modules["re2"] = None


@mutant
def code_runs() -> None:
    """A parser of the spec's own is loaded without being allowed."""
    from distask.task import task
    from distask.task.cases import Task as _  # noqa: F401 - loaded before it is changed

    made = task.Context

    def allowing(*args: object, **kwargs: object) -> object:
        return made(*args, **{**kwargs, "allow_code": True})

    task.Context = allowing
    task.PythonParser = type("Nobody", (), {})


@mutant
def texts_reach_the_terminal() -> None:
    """Nothing is made visible on its way to the terminal."""
    import sys

    from distask import diagnostics

    def as_it_is(text: str, *_: object, **__: object) -> str:
        return text

    for name, module in list(sys.modules.items()):
        if name.startswith("distask."):
            for function in ("safe", "visible"):
                if hasattr(module, function):
                    setattr(module, function, as_it_is)
    assert diagnostics.visible is as_it_is


@mutant
def keys_are_told() -> None:
    """What a server says of a key is passed on."""
    from distask.llm import client
    from distask.llm.pacing import failure_rules

    for module in (client, failure_rules):
        for name in ("redacted", "redact"):
            if hasattr(module, name):
                setattr(module, name, lambda text, *_, **__: text)


@mutant
def rows_are_encoded_again() -> None:
    """The row's own bytes are forgotten."""
    from distask.data.writers import jsonl
    from distask.data.writers.base import json_bytes

    jsonl.spliced = lambda row, new: json_bytes({**row.values, **new}) + b"\n"


@mutant
def lines_have_no_bound() -> None:
    """A line is read whole, however long."""
    import sys

    from distask.data.readers import lines

    lines.MAX_LINE = sys.maxsize - 1
