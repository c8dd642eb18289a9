"""Protections removed, one at a time: each must make its battery fail, or the battery proves nothing."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.cage import Cage
from tests.mutants import (
    EVERYWHERE,
    add_method,
    drop_argument,
    program,
    replace_call,
    set_argument,
    set_condition,
    set_result,
    set_value,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.mutants import Fault

MUTANTS: dict[str, list[Fault]] = {
    # The sandbox lets a template read `__class__`.
    "attributes_are_open": [
        ("Sandbox", add_method("is_safe_attribute", "True")),
        ("Sandbox", add_method("is_safe_callable", "True")),
    ],
    # The sandbox is not immutable.
    "rows_can_be_changed": [
        (
            "Sandbox",
            add_method(
                "is_safe_attribute",
                "__import__('jinja2.sandbox').sandbox.SandboxedEnvironment.is_safe_attribute(*args)",
            ),
        ),
    ],
    # The size of what a template makes is not counted, and no clock is read.
    "renders_have_no_bound": [
        ("Meter.look", set_result("None")),
        ("fits", set_result("None")),
        ("_weigh", set_result("0")),
    ],
    # A chat may hold anything.
    "chats_have_no_bound": [("Bound.take", set_result("None"))],
    # Each render has its own time, and nothing bounds all of them.
    "rows_have_no_clock": [("MAX_SECONDS_TOGETHER", set_value("1e9"))],
    # YAML aliases may expand to any number of values.
    "aliases_are_not_counted": [("MAX_EXPANDED", set_value("1 << 60"))],
    # Files are read wherever a name leads.
    "files_may_be_anywhere": [
        ("outside", set_result("None")),
        (EVERYWHERE, replace_call("is_relative_to", "True")),
    ],
    # A JSON Schema may name files and addresses.
    "schemas_may_read": [
        ("check_schema", set_result("None")),
        ("Schema.__init__", drop_argument("validator_for", "retriever")),
    ],
    # Patterns run on the standard library's engine, without a clock.
    "patterns_run_on_re": [
        ("Pattern.find", set_result("__import__('re').compile(args[0].pattern, args[0]._flags).search(args[1])")),
        (
            "Pattern.find_all",
            set_result("list(__import__('re').compile(args[0].pattern, args[0]._flags).finditer(args[1]))"),
        ),
    ],
    # A parser of the spec's own is loaded without being allowed.
    "code_runs": [
        ("Task.__init__", set_condition("PythonParser", False)),
        ("Outputs._reader", set_argument("Context", "allow_code", "True")),
    ],
    # Control characters reach the terminal as they are.
    "texts_reach_the_terminal": [("visible", set_result("args[0]")), ("safe", set_result("args[0]"))],
    # What a server says of a key is passed on.
    "keys_are_passed_on": [("redact", set_result("args[0]"))],
    # The row's own bytes are forgotten.
    "rows_are_encoded_again": [
        ("spliced", set_result("json_bytes({**args[0].values, **args[1]}) + b'\\n'")),
    ],
    # A line is read completely, however long it is.
    "lines_have_no_bound": [("MAX_LINE", set_value("(1 << 63) - 2"))],
}
"""Name to what removes the protection."""


@contextmanager
def cage_without(protection: str) -> Iterator[Cage]:
    """Where commands of a mutant can be run."""
    with TemporaryDirectory() as folder, Cage(program(Path(folder), *MUTANTS[protection])) as cage:
        yield cage


@contextmanager
def cage_without_re2() -> Iterator[Cage]:
    """Where the engine that runs in linear time is not installed, as on Alpine Linux. Nothing breaks: `regex` has a clock."""
    with TemporaryDirectory() as folder:
        copy = program(Path(folder))
        (copy / "re2.py").write_text("raise ImportError")
        with Cage(copy) as cage:
            yield cage
