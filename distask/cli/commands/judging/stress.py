"""`distask stress`: run a judge on changed rows, and measure how often a change that should not matter does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct
from msgspec.structs import replace

from distask.cli import logs
from distask.cli import options as o
from distask.cli.display import stress as display
from distask.cli.display import summary
from distask.cli.display.console import err, out, plain
from distask.cli.events.emit import Events
from distask.cli.job import job_of
from distask.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.judging.stress.answers import Answers
    from distask.judging.stress.asking import Asked, Price
    from distask.judging.stress.gate import BiasRequirement
    from distask.judging.stress.measure import Settings
    from distask.judging.stress.variants import Tests
    from distask.judging.stress.verdicts import Verdict
    from distask.labeling.questions import Question
    from distask.runner.job import Job

NOT_MET = 3
"""Exit code if a requirement does not hold."""
DEFAULT_SAMPLE = 100
"""Number of rows without `--sample`."""
ORDERS = "verdicts"
"""Output of a comparison with the verdicts in both orders, as in `pairwise-judge`."""

_DESCENDING = frozenset({"rank", "ranks"})
_BIASES, _MEASURES, _GATE = "Biases", "Measures", "For CI"


class _Setup(Struct, frozen=True):
    """A stress test that is ready to start."""

    job: Job
    tests: Tests
    verdicts: list[Verdict]
    answers: Answers | None
    requirements: list[BiasRequirement]
    settings: Settings
    output: Path | None


@o.takes(
    *("spec", "source", "delimiter", "on_nan", "param", "seed", "overwrite"),
    *o.LLM,
    *("concurrency", "max_cost"),
    *o.ROWS,
    *o.STORE,
    *o.ALLOW,
)
def command(
    choice: o.Choice,
    context: typer.Context,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Write the rows of all runs with their verdicts: .jsonl, .csv or .parquet. [not written]",
            rich_help_panel="Output",
        ),
    ] = None,
    bias: Annotated[
        list[str] | None,
        typer.Option(
            "--bias",
            metavar="NAME",
            help="Bias to test: position, consistency, verbosity, format, authority, or one of --transforms; can be "
            "repeated. [all that fit the task]",
            rich_help_panel=_BIASES,
        ),
    ] = None,
    transforms: Annotated[
        Path | None,
        typer.Option(
            "--transforms", metavar="FILE", help="YAML file that declares your own changes.", rich_help_panel=_BIASES
        ),
    ] = None,
    answer: Annotated[
        list[str] | None,
        typer.Option(
            "--answer",
            metavar="COL",
            help="Input with the judged answers; repeat it if each has its own column. [from the task]",
            rich_help_panel=_BIASES,
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            min=2,
            max=100,
            metavar="K",
            help="Replies to the same chat that are compared with each other. [3]",
            rich_help_panel=_BIASES,
        ),
    ] = None,
    verdict: Annotated[
        list[str] | None,
        typer.Option(
            "--verdict",
            metavar="COL",
            help="Output that counts as a verdict; can be repeated. [all that are not free text]",
            rich_help_panel=_MEASURES,
        ),
    ] = None,
    orders: Annotated[
        str | None,
        typer.Option(
            "--orders",
            metavar="COL",
            help="Output with the verdicts in both orders, if the task itself asks for both. [verdicts]",
            rich_help_panel=_MEASURES,
        ),
    ] = None,
    lower_is_better: Annotated[
        bool,
        typer.Option(
            "--lower-is-better",
            help="A lower number is a better verdict. [only for outputs named `rank` or `ranks`]",
            rich_help_panel=_MEASURES,
        ),
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            min=0,
            metavar="X",
            help="Largest difference between two numbers that is not a change. [0]",
            rich_help_panel=_MEASURES,
        ),
    ] = 0.0,
    resamples: o.Resamples = 2000,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require",
            metavar="COND",
            help="Condition such as 'position.changed.high <= 0.1'; exit with 3 if it does not hold. Can be repeated.",
            rich_help_panel=_GATE,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be requested and what it costs; call no model.")
    ] = False,
    quiet: o.Quiet = False,
    json_: o.Json = False,
) -> None:
    """Run a judge on changed rows, and measure how often changes that should not matter change its verdicts.

    The answers are swapped, padded, reformatted or given a false authority, and the same chat is sampled several times.
    It uses 100 random rows unless --sample sets another number. Replies in the store are not requested again.
    """
    from distask.judging.stress.asking import price
    from distask.judging.stress.measure import Settings

    job = job_of(
        replace(
            choice,
            sample=choice.sample or DEFAULT_SAMPLE,
            output=None if output is None else str(_local(output)),
        ),
        asks=not dry_run,
    )
    verdicts, answers = _verdicts(job, verdict or (), orders, answer or ())
    verdicts = [
        replace(one, descending=lower_is_better or one.column in _DESCENDING) if one.kind == "number" else one
        for one in verdicts
    ]
    tests, requirements = _tests(job, transforms, bias or (), verdicts, answers, samples, require or ())
    settings = Settings(tolerance, resamples, choice.seed)
    setup = _Setup(job, tests, verdicts, answers, requirements, settings, None if output is None else _local(output))
    _refuse_to_replace(setup)
    prices = price(tests)
    events = Events("stress") if json_ else None
    if dry_run:
        _show_plan(setup, prices, events)
        return
    runs, stopped = _run(setup, prices, events, quiet=quiet)
    if stopped is not None:
        typed = list(sys.argv[1:] if context.obj is None else context.obj)
        stopped.add_note(summary.way_on(job, stopped, typed))
        raise stopped
    raise typer.Exit(_report(setup, runs, prices, events))


# Before the first call


def _local(output: str) -> Path:
    from distask.data.writers import WRITERS
    from distask.runner.job import is_remote

    path = Path(output)
    if is_remote(output) or path.suffix.lower() not in WRITERS:
        raise UsageError(f"--output {output}: write a local file, such as verdicts.jsonl, .csv or .parquet")
    return path


def _verdicts(
    job: Job, named: Sequence[str], orders: str | None, answer: Sequence[str]
) -> tuple[list[Verdict], Answers | None]:
    """Return the outputs that count, and where the answers are."""
    from distask.diagnostics import did_you_mean
    from distask.judging.stress.answers import find_answers
    from distask.labeling.questions import questions_of, sides_of

    task = job.task
    if not task.calls_model:
        raise UsageError(f"the task {task.name} calls no model, so there are no verdicts to test")
    schemas = task.output_schemas(grouped=False)
    for option, name in [("--verdict", name) for name in named] + ([("--orders", orders)] if orders else []):
        if name not in schemas:
            hint = did_you_mean(name, schemas)
            raise UsageError(f"{option} {name}: the task {task.name} has no such output; {hint}")
    questions = questions_of(task, named)
    inputs = [task.dataset_name(name) for name in task.input_columns]
    entries = next((question.entries for question in questions if question.entries is not None), None)
    answers = find_answers(task, answer, sides=sides_of(task, questions, inputs), entries=entries)
    found = [_verdict(question, schemas, orders, answers) for question in questions]
    known = [verdict for verdict in found if verdict is not None]
    if not known or (named and len(known) < len(found)):
        free = ", ".join(f"`{question.column}`" for question, v in zip(questions, found, strict=True) if v is None)
        raise UsageError(
            f"{free} can't be compared: a verdict is a label, true or false, or a number; name one with --verdict"
        )
    return known, answers


def _verdict(
    question: Question, schemas: dict[str, Any], orders: str | None, answers: Answers | None
) -> Verdict | None:  # fmt: skip
    from distask.judging.stress.verdicts import Verdict

    column, optional = question.column, question.optional
    entries = question.entries is not None
    if question.kind == "pair":
        own = orders or (ORDERS if (schemas.get(ORDERS) or {}).get("type") == "array" else None)
        first, second = question.options[0].value, question.options[-1].value
        return Verdict(column, "pair", entries, optional, first, second, orders=own)
    if question.kind in ("rating", "number"):
        return Verdict(column, "number", entries, optional)
    if question.kind == "boolean":
        return Verdict(column, "boolean", entries, optional)
    if question.kind in ("choice", "several"):
        numbers = all(type(option.value) in (int, float) for option in question.options)
        return Verdict(column, "number" if numbers and question.kind == "choice" else "label", entries, optional)
    items = (schemas[column] or {}).get("items") if isinstance(schemas[column], dict) else None
    types = items.get("type") if isinstance(items, dict) else None
    kinds = set(types if isinstance(types, list) else [types]) - {"null"}
    if answers is not None and answers.listed and kinds and kinds <= {"integer", "number"}:  # such as ranks
        return Verdict(column, "number", entries=True, optional=optional)
    return None


def _tests(
    job: Job,
    file: Path | None,
    only: Sequence[str],
    verdicts: Sequence[Verdict],
    answers: Answers | None,
    samples: int | None,
    require: Sequence[str],
) -> tuple[Tests, list[BiasRequirement]]:
    from distask.judging.stress.biases import load_biases
    from distask.judging.stress.gate import parse_bias_requirement
    from distask.judging.stress.variants import plan_tests

    biases = load_biases(file, only)
    if samples is not None:
        biases = [replace(bias, samples=samples) if bias.resamples else bias for bias in biases]
    tests = plan_tests(job, biases, verdicts, answers, asked_for=bool(only))
    names = [variant.name for variant in tests.variants]
    names += [tests.from_orders.name] if tests.from_orders is not None else []
    return tests, [parse_bias_requirement(text, names) for text in require]


def _identity(setup: _Setup) -> dict[str, Any]:
    names = [variant.name for variant in setup.tests.variants]
    return {**setup.job.identity(), "stress": names, "sample": setup.job.selection.sample}


def _refuse_to_replace(setup: _Setup) -> None:
    from distask.runner.record import refuse_to_replace

    if setup.output is not None:
        refuse_to_replace(setup.output, _identity(setup), overwrite=setup.job.overwrite)


def _show_plan(setup: _Setup, prices: Sequence[Price], events: Events | None) -> None:
    if events is None:
        display.show_plan(out(), setup.job, prices, setup.tests)
        return
    events.result(**_facts(setup, prices, dry_run=True))


# The runs


def _run(
    setup: _Setup, prices: Sequence[Price], events: Events | None, *, quiet: bool
) -> tuple[list[Asked], RunError | None]:
    """Run all variants, the rows as they are first; returns also the error that ended the test early."""
    from distask.cli.display.progress import Progress
    from distask.judging.stress.asking import ask

    console, job = err(), setup.job
    logs.through(console)
    silent = quiet or events is not None
    if not silent:
        display.begin(console, job, prices)
    runs: list[Asked] = []
    notes: set[str] = set()

    def notify(sentence: str) -> None:
        if not silent and sentence not in notes:
            notes.add(sentence)
            console.print(plain(sentence, "yellow"))

    left = job.max_cost
    for variant, made in zip((setup.tests.base, *setup.tests.variants), prices, strict=True):
        if not made.rows:
            continue
        try:
            with Progress(console, quiet=silent) as progress:
                runs.append(ask(variant, max_cost=left, observe=progress, notify=notify))
        except RunError as error:
            return runs, error
        if left is not None:
            left = max(0.0, left - runs[-1].stats.cost)
    return runs, None


def _report(setup: _Setup, runs: Sequence[Asked], prices: Sequence[Price], events: Events | None) -> int:
    """Measure, print and write everything; returns the exit code."""
    from distask.judging.stress.asking import write_rows
    from distask.judging.stress.gate import unmet

    measured = _measured(setup, runs, prices)
    if setup.output is not None:
        write_rows(setup.output, runs, _identity(setup))
    failed = unmet(setup.requirements, measured)
    code = NOT_MET if failed else 0
    if events is not None:
        for facts in measured:
            events.emit("bias", **facts)
        result = _facts(setup, prices, runs, biases=len({facts["bias"] for facts in measured}), unmet=failed)
        events.result(code, **result)
        return code
    display.show(out(), measured, setup.tests.skipped)
    display.show_totals(out(), runs, setup.output)
    for sentence in failed:
        err().print(plain(f"not met: {sentence}", "bold red"))
    return code


def _measured(setup: _Setup, runs: Sequence[Asked], prices: Sequence[Price]) -> list[dict[str, Any]]:
    """Return the facts of the events `bias`."""
    from distask.judging.stress.measure import compare, compare_orders, facts_of

    base, *others = runs
    unchanged = {made.name: made.unchanged for made in prices}
    asked = {made.name: made.rows for made in prices}
    measured = []
    orders = setup.tests.from_orders
    for verdict in setup.verdicts:
        if orders is not None and verdict.orders is not None:
            compared = compare_orders(verdict, base.rows, asked=asked["base"])
            facts = facts_of(orders, verdict, compared, setup.settings)
            notes = [f"from `{verdict.orders}`: the task itself compares the answers in both orders"]
            none = {"asked": 0, "stored": 0}
            cost = 0.0 if base.stats.priced else None
            measured.append(
                _bias(orders, verdict, facts) | {"unchanged": 0, "completions": none, "cost_usd": cost, "notes": notes}
            )
    for run in others:
        bias = run.variant.bias
        assert bias is not None
        for verdict in setup.verdicts:
            compared = compare(
                bias, verdict, base.rows, run.rows, setup.answers, setup.settings, asked=asked[bias.name]
            )
            facts = facts_of(bias, verdict, compared, setup.settings)
            stats = run.stats
            measured.append(
                _bias(bias, verdict, facts)
                | {
                    "unchanged": unchanged[bias.name],
                    "completions": {"asked": stats.completions, "stored": stats.stored},
                    "cost_usd": stats.cost_usd,
                    "notes": run.variant.notes,
                }
            )
    return measured


def _bias(bias: Any, verdict: Verdict, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "bias": bias.name,
        "description": bias.description,
        "output": verdict.column,
        "kind": verdict.kind,
        "toward": bias.toward,
        "samples": bias.samples if bias.resamples else None,
        **facts,
    }


def _facts(
    setup: _Setup,
    prices: Sequence[Price],
    runs: Sequence[Asked] = (),
    *,
    biases: int = 0,
    unmet: Sequence[str] = (),
    dry_run: bool = False,
) -> dict[str, Any]:
    """Return the facts of the last event."""
    from msgspec import to_builtins

    job = setup.job
    priced = any(run.stats.priced for run in runs)
    return {
        "ok": not unmet,
        "dry_run": dry_run,
        "task": job.task.name,
        "model": job.llm.config.model,
        "output": None if setup.output is None or dry_run else str(setup.output),
        "biases": biases,
        "skipped": setup.tests.skipped,
        "runs": to_builtins(list(prices)),
        "completions": {
            "asked": sum(run.stats.completions for run in runs),
            "stored": sum(run.stats.stored for run in runs),
        },
        "calls": sum(run.stats.calls for run in runs),
        "cost_usd": sum(run.stats.cost for run in runs) if priced else None,
        "unmet": list(unmet),
        "notes": list(dict.fromkeys(note for run in runs for note in run.notes)),
        "resamples": setup.settings.resamples,
        "seed": setup.settings.seed,
    }
