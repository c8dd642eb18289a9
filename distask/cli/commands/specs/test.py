"""`distask test`: run the test cases in specs, with or without a model."""

from __future__ import annotations

import difflib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from xml.etree import ElementTree as ET

import typer
from msgspec import Struct, field
from rich.text import Text

from distask.cli import options as o
from distask.cli.display.console import err, out, plain, short
from distask.cli.events.emit import Events
from distask.diagnostics import visible
from distask.errors import OutputError, SpecError, UsageError
from distask.formatting import duration, several
from distask.spec.load import LoadedPipeline, load_spec
from distask.task.cases import Broken, Outcome, case_name, case_task, compare, outcome, runs_code
from distask.task.load import try_cases

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from distask.diagnostics import Diagnostic
    from distask.llm.config.resolve import Resolved
    from distask.runner.preview import Tried
    from distask.spec.load import LoadedSpec
    from distask.store import Store


MARKS = {"passed": ".", "failed": "F", "skipped": "s"}
COLOURS = {"passed": "green", "failed": "red", "skipped": "yellow"}
FAILED = 3
"""The exit code if a case fails."""


@o.takes(*o.LLM, "concurrency", *o.STORE, "allow_code")
def command(
    choice: o.Choice,
    specs: o.Specs,
    live: Annotated[
        bool, typer.Option("--live", help="Use the model's replies instead of those in the cases.")
    ] = False,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write a JUnit report for CI.")] = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
    json_: o.Json = False,
) -> None:
    """Run the test cases in task specs: each row and reply must give the expected columns. No model is called.

    With --live, the model is called for each case that expects columns, and the number of passing cases is shown.
    Exits with 3 if a case fails, with 2 if a spec is invalid.
    """
    if not live and (option := _needs_live(choice)):
        raise UsageError(
            f"{option} selects a model, but without --live no model is called; add --live or remove {option}"
        )
    begun = time.perf_counter()
    asks = _Live(choice) if live else None
    console = err() if json_ else out()
    suites = []
    for spec in dict.fromkeys(specs):
        suites.append(_suite(spec, asks, allow_code=choice.allow_code))
        if not (json_ or quiet):
            _print_marks(suites[-1], console, verbose=verbose > 0)
    if junit is not None:
        write_junit(junit, suites)
    if json_:
        Events("test").result(_code(suites), **_as_json(suites))
    else:
        _print_failures(suites, console)
        if not quiet:
            _print_summary(suites, console, time.perf_counter() - begun, live=live)
    raise typer.Exit(_code(suites))


def _needs_live(choice: o.Choice) -> str | None:
    given = {"--config": choice.config, "--model": choice.model, "--base-url": choice.base_url, "--set": choice.set_}
    return next((name for name, value in given.items() if value), None)


def _suite(spec: str, asks: _Live | None, *, allow_code: bool) -> Suite:
    suite, begun = Suite(spec), time.perf_counter()
    try:
        loaded = load_spec(spec)
    except SpecError as error:
        suite.faults = [d for d in error.diagnostics if d.severity == "error"]
        return suite
    if asks is not None and isinstance(loaded, LoadedPipeline):
        message = "--live does not support tasks with steps; use distask preview"
        suite.outcomes = [Outcome(case_name(c, i), i, skipped=message) for i, c in enumerate(loaded.spec.cases)]
    elif asks is None or isinstance(loaded, LoadedPipeline):
        suite.outcomes = list(try_cases(loaded, allow_code=allow_code))
    else:
        asks.fill(suite, loaded)
    suite.seconds = time.perf_counter() - begun
    return suite


class _Live:
    """Runs cases with a model."""

    def __init__(self, choice: o.Choice) -> None:
        self._choice = choice

    def fill(self, suite: Suite, loaded: LoadedSpec) -> None:
        """Run all cases of a spec at once; raises `RunError` if the endpoint refuses."""
        from contextlib import nullcontext

        from distask.runner.preview import Trial, try_rows
        from distask.task.task import compiler_of

        if runs_code(loaded) and not self._choice.allow_code:
            suite.outcomes = list(try_cases(loaded))
            return
        llm = self._llm(loaded)
        suite.model = llm.config.model
        compiler, asked, trials = compiler_of(loaded), [], []
        outcomes: dict[int, Outcome] = {}
        for index, case in enumerate(loaded.spec.cases):
            name = case_name(case, index)
            if case.error is not None or case.expect is None:
                outcomes[index] = Outcome(name, index, skipped="the case tests an invalid reply")
                continue
            try:
                task = case_task(loaded, case, compiler, allow_code=self._choice.allow_code)
            except Broken as broken:
                outcomes[index] = outcome(loaded, index, broken)
                continue
            asked.append(index)
            trials.append(Trial(task, case.input))
        with self._store(llm) or nullcontext() as store:
            tried, _ = try_rows(trials, llm, store)
        for index, one in zip(asked, tried, strict=True):
            outcomes[index] = _held(loaded, index, one)
            suite.parsed += one.generations[0].error is None
        suite.outcomes = [outcomes[index] for index in sorted(outcomes)]

    def _llm(self, loaded: LoadedSpec) -> Resolved:
        from distask.cli.job import pairs
        from distask.llm.config.resolve import load_config

        choice = self._choice
        return load_config(
            choice.config,
            model=choice.model,
            base_url=choice.base_url,
            concurrency=choice.concurrency,
            overrides=pairs(choice.set_ or [], "--set"),
            spec_llm=loaded.spec.llm,
            environ=os.environ,
        )

    def _store(self, llm: Resolved) -> Store | None:
        from pathlib import Path

        from distask.runner.job import store_path
        from distask.store import Store

        if self._choice.no_store or llm.config.provider == "offline":
            return None
        return Store(self._choice.store or store_path(Path("rows")))


def _held(loaded: LoadedSpec, index: int, tried: Tried) -> Outcome:
    """Compare the model's columns with those that the case expects."""
    case, generation = loaded.spec.cases[index], tried.generations[0]
    if generation.columns is None:
        message = "no reply" if generation.error is None else generation.error.message
        text = generation.completion.text if generation.completion else None
        parts = f"; the model replied {json.dumps(short(text), ensure_ascii=False)}" if text else ""
        return outcome(loaded, index, Broken((), f"{message}{parts}"))
    try:
        compare(case, generation.columns)
    except Broken as broken:
        return outcome(loaded, index, broken)
    return Outcome(case_name(case, index), index)


def status(found: Outcome) -> str:
    """Return `passed`, `failed` or `skipped`."""
    return "skipped" if found.skipped else "passed" if found.holds else "failed"


# Output


def _print_marks(suite: Suite, console: Console, *, verbose: bool) -> None:
    if suite.faults:
        console.print(Text.assemble(plain(suite.spec), " ", ("E", "bold red")))
        return
    if not verbose:
        marks = [(MARKS[status(o)], COLOURS[status(o)]) for o in suite.outcomes] or [("no cases", "yellow")]
        console.print(Text.assemble(plain(suite.spec), " ", *marks))
        return
    for found in suite.outcomes:
        ended = status(found)
        reason = f" ({found.skipped})" if found.skipped else ""
        console.print(Text.assemble(plain(f"{suite.spec} {found.name} "), (ended, COLOURS[ended]), plain(reason)))


def _print_failures(suites: Iterable[Suite], console: Console) -> None:
    for suite in suites:
        for fault in suite.faults:
            console.print()
            console.print(_marked(fault))
        for found in suite.outcomes:
            if found.fault is not None:
                console.print()
                console.print(_marked(found.fault))
                for sign, line in difference(found.wanted, found.got):
                    console.print(plain(f"  {sign} {line}", {"-": "red", "+": "green"}.get(sign, "")))


def _marked(fault: Diagnostic) -> Text:
    text = plain(str(fault))
    text.highlight_words([": error:"], "bold red")
    return text


def _print_summary(suites: Sequence[Suite], console: Console, seconds: float, *, live: bool) -> None:
    counts = _counts(suites)
    if any(suite.outcomes or suite.faults for suite in suites):
        console.print()
    parts = [f"{counts['failed']} failed"] if counts["failed"] else []
    parts += [f"{several(counts['errors'], 'spec')} with errors"] if counts["errors"] else []
    parts += [f"{counts['passed']} passed"] if counts["passed"] or not parts else []
    parts += [f"{counts['skipped']} skipped"] if counts["skipped"] else []
    good = not counts["failed"] and not counts["errors"]
    console.print(Text(f"{', '.join(parts)} in {duration(seconds)}", style="green" if good else "red"))
    reasons = dict.fromkeys(o.skipped for s in suites for o in s.outcomes if o.skipped)
    for reason in reasons:
        console.print(plain(f"skipped: {reason}", "yellow"))
    if not sum(counts.values()):
        message = "no cases found: add `cases:` with `input`, `reply` and `expect`"
        console.print(plain(message, "yellow"))
    if live:
        for line in _live_lines(suites):
            console.print(plain(line))


def _live_lines(suites: Iterable[Suite]) -> Iterator[str]:
    for suite in suites:
        asked = [found for found in suite.outcomes if not found.skipped]
        if asked:
            held = sum(found.holds for found in asked)
            read = f"{several(suite.parsed, 'reply')} parsed"
            yield f"{suite.spec}: {held} of {several(len(asked), 'case')} pass with {suite.model}, {read}"


def _counts(suites: Iterable[Suite]) -> dict[str, int]:
    counts = dict.fromkeys(("passed", "failed", "skipped", "errors"), 0)
    for suite in suites:
        counts["errors"] += bool(suite.faults)
        for found in suite.outcomes:
            counts[status(found)] += 1
    return counts


def _code(suites: Sequence[Suite]) -> int:
    counts = _counts(suites)
    return 2 if counts["errors"] else FAILED if counts["failed"] else 0


def _as_json(suites: Sequence[Suite]) -> dict[str, Any]:
    return {
        "ok": _code(suites) == 0,
        **_counts(suites),
        "specs": [
            {
                "spec": suite.spec,
                "model": suite.model,
                "diagnostics": [d.to_json() for d in suite.faults],
                "cases": [
                    {
                        "case": found.name,
                        "status": status(found),
                        "reason": found.skipped,
                        "diagnostic": found.fault and found.fault.to_json(),
                        "expected": found.wanted,
                        "got": found.got,
                    }
                    for found in suite.outcomes
                ],
            }
            for suite in suites
        ],
    }


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
        root.append(_as_element(suite))
    ET.indent(root)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise OutputError(f"{path}: the report can't be written: {error.strerror}") from None


def _as_element(suite: Suite) -> ET.Element:
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
