"""Show the differences of a failed case, and write all cases to a JUnit file."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from msgspec import Struct, field

from distask.diagnostics import visible
from distask.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from distask.diagnostics import Diagnostic
    from distask.task.cases import Outcome

SHORT = 60
"""Maximum length of values that are compared in the message itself, without a line diff."""
CONTEXT = 2
"""Lines around a difference."""


class Suite(Struct):
    """The outcomes of one spec."""

    spec: str
    outcomes: list[Outcome] = field(default_factory=list)
    faults: Sequence[Diagnostic] = ()
    """Errors that prevent the spec from loading."""
    parsed: int = 0
    """Number of model replies that were parsed."""
    model: str | None = None
    seconds: float = 0.0


def difference(wanted: Any, got: Any) -> list[tuple[str, str]]:
    """Return a line diff of two values: `-` is expected, `+` is actual; empty for short values."""
    before, after = _lines(wanted), _lines(got)
    if len(before) <= 1 and len(after) <= 1 and max(map(len, [*before, *after, ""])) <= SHORT:
        return []
    found = list(difflib.unified_diff(before, after, lineterm="", n=CONTEXT))
    return [("@", "…") if line.startswith("@@") else (line[:1], line[1:]) for line in found[2:]][1:]


def _lines(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.splitlines() or [""]
    return [] if value is None else json.dumps(value, ensure_ascii=False, indent=2, default=str).splitlines()


def write_junit(path: Path, suites: Sequence[Suite]) -> None:
    """Write a report for CI systems: a suite for each spec, a test for each case."""
    root = ET.Element("testsuites", name="distask test")
    for suite in suites:
        root.append(_suite(suite))
    ET.indent(root)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise OutputError(f"{path}: the report can't be written: {error.strerror}") from None


def _suite(suite: Suite) -> ET.Element:
    failed = [found for found in suite.outcomes if found.fault is not None]
    made = ET.Element(
        "testsuite",
        name=_text(suite.spec),
        tests=str(len(suite.outcomes) or len(suite.faults)),
        failures=str(len(failed)),
        errors=str(len(suite.faults)),
        skipped=str(sum(found.skipped is not None for found in suite.outcomes)),
        time=f"{suite.seconds:.3f}",
    )
    for fault in suite.faults:
        case = ET.SubElement(made, "testcase", classname=_text(suite.spec), name="the spec", time="0")
        error = ET.SubElement(case, "error", message=_text(fault.message))
        error.text = _text(str(fault))
    for found in suite.outcomes:
        case = ET.SubElement(made, "testcase", classname=_text(suite.spec), name=_text(found.name), time="0")
        if found.skipped is not None:
            ET.SubElement(case, "skipped", message=_text(found.skipped))
        if found.fault is not None:
            failure = ET.SubElement(case, "failure", message=_text(found.fault.message))
            lines: Iterable[str] = (f"{sign} {line}" for sign, line in difference(found.wanted, found.got))
            failure.text = _text("\n".join([str(found.fault), *lines]))
    return made


def _text(text: str) -> str:
    """Escape control characters, which XML does not allow."""
    return visible(text, keep="\n\t")
