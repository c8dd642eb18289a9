"""Build a job from command-line options, and raise errors in them before any call."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from distask.cli.options import Where, read_options
from distask.data.compression import SUFFIXES
from distask.data.input import Nothing
from distask.diagnostics import did_you_mean
from distask.errors import UsageError
from distask.llm.config.resolve import OFFLINE, load_config
from distask.runner.job import Job, Selection, shape_of
from distask.spec.document import scalar
from distask.spec.language.parsers import PythonParser, TextParser
from distask.spec.load import LoadedPipeline, load_spec
from distask.task.load import compile_task

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from distask.cli.options import Choice
    from distask.llm.config.resolve import Resolved
    from distask.spec.language.model import Spec
    from distask.spec.load import Loaded
    from distask.task.pipeline import Pipeline
    from distask.task.task import Task


_MAPPINGS = {"input_mappings": "inputs", "output_mappings": "outputs"}
"""Task keys that `--set` can set, and the columns that they map."""


def job_of(choice: Choice, *, asks: bool = True, reads: bool = False) -> Job:
    """Build the job. Without `asks`, it needs no key; without `reads` as well, it runs none of the task's code.

    Raises:
        UsageError: the first error in the options.
        SpecError: all errors in the spec.
    """
    task, llm = task_and_llm(choice, asks=asks, reads=reads)
    if choice.no_store and choice.store is not None:
        raise UsageError("--store and --no-store can't be combined; remove one of them")
    if choice.no_wait and not choice.batch:
        raise UsageError("--no-wait works only with --batch; add --batch or remove --no-wait")
    if choice.workers is not None and choice.engine is not Where.RAY:
        raise UsageError("--workers works only with --engine ray; to limit concurrent calls, use --concurrency")
    shard = _shard(choice.shard)
    output = choice.output or default_output(task.name, choice.source, shard)
    _refuse_to_eat_the_input(choice.source, output)
    return Job(
        task=task,
        llm=llm,
        source=_source(choice, task),
        output=output,
        shape=shape_of(
            task,
            choice.num_generations,
            choice.group_generations,
            choice.metadata_column,
            choice.only_outputs,
            choice.keep or (),
        ),
        selection=Selection(choice.limit, choice.offset, choice.sample, shard),
        store=False if choice.no_store else choice.store,
        overwrite=choice.overwrite,
        private=choice.private,
        escape_formulas=choice.escape_formulas,
        on_bad_row=choice.on_bad_row.value,
        reading=read_options(choice.on_nan, choice.delimiter, pages=choice.pages),
        max_cost=choice.max_cost,
        batch=choice.batch,
        wait=not choice.no_wait,
        engine=choice.engine.value,
        workers=choice.workers,
    )


def task_and_llm(choice: Choice, *, asks: bool, reads: bool = False) -> tuple[Task | Pipeline, Resolved]:
    """Return the task with its params and mappings, and the LLM config."""
    if asks:
        begin()
    given, of_llm = _split(pairs(choice.set_ or [], "--set"))
    task = _compiled(choice, given, runs_code=asks or reads)
    llm = load_config(
        choice.config if task.calls_model or choice.config is not None else OFFLINE,
        model=choice.model,
        base_url=choice.base_url,
        concurrency=choice.concurrency,
        overrides=of_llm,
        spec_llm=task.spec.llm,
        environ=os.environ,
        need_key=asks and task.calls_model,
    )
    return task, llm


def task_without_code(choice: Choice) -> Task | Pipeline:
    """Return the task with its params and mappings, for commands that call no model and run none of its code."""
    mappings, of_llm = _split(pairs(choice.set_ or [], "--set"))
    if of_llm:
        raise UsageError(f"--set {next(iter(of_llm))}: this command calls no model; it takes only mappings of columns")
    return _compiled(choice, mappings, runs_code=False)


def _compiled(choice: Choice, mappings: Mapping[str, Mapping[str, str]], *, runs_code: bool) -> Task | Pipeline:
    loaded = _mapped(load_spec(choice.spec), mappings)
    if not runs_code:
        loaded = _without_code(loaded)
    return compile_task(
        loaded,
        _params(loaded.spec, pairs(choice.param or [], "--param")),
        allow_code=choice.allow_code,
        allow_paths=choice.allow_path or (),
        seed=choice.seed,
    )


def pairs(written: Iterable[str], option: str) -> dict[str, str]:
    """Parse `K=V` words into a mapping; the last value of a name wins."""
    made: dict[str, str] = {}
    for word in written:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {word}: the name or `=` is missing; write {option} NAME=VALUE")
        made[name.strip()] = value
    return made


def _params(spec: Spec, written: Mapping[str, str]) -> dict[str, Any]:
    """Parse values as YAML; for a string param, what is not a YAML string (`12`, `note: this`) stays as typed."""
    values: dict[str, Any] = {}
    for name, text in written.items():
        value = scalar(text)
        param = spec.params.get(name)
        is_text = param is not None and param.type in (None, "string") and not param.choices and param.schema_ is None
        values[name] = text if is_text and value is not None and not isinstance(value, str) else value
    return values


def _split(written: Mapping[str, str]) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Split the values of `--set` into the task's mappings and the LLM's settings."""
    mappings: dict[str, dict[str, str]] = {}
    of_llm: dict[str, str] = {}
    for key, value in written.items():
        head, _, column = key.partition(".")
        if head not in _MAPPINGS:
            of_llm[key] = value
        elif not column or not value:
            raise UsageError(f"--set {key}={value}: a column name is missing; write --set {head}.COLUMN=DATA_COLUMN")
        else:
            mappings.setdefault(head, {})[column] = value
    return mappings, of_llm


def _mapped(loaded: Loaded, mappings: Mapping[str, Mapping[str, str]]) -> Loaded:
    changed: dict[str, Any] = {}
    for name, columns in mappings.items():
        known = getattr(loaded.spec, _MAPPINGS[name])
        for column in columns:
            if column not in known:
                what, hint = _MAPPINGS[name].removesuffix("s"), did_you_mean(column, known) or "it has none"
                raise UsageError(f"--set {name}.{column}: the task {loaded.spec.name} has no {what} `{column}`; {hint}")
        changed[name] = {**getattr(loaded.spec, name), **columns}
    if not changed:
        return loaded
    if isinstance(loaded, LoadedPipeline):
        return replace(loaded, spec=loaded.spec.model_copy(update=changed))
    return replace(loaded, spec=loaded.spec.model_copy(update=changed))


def _without_code(loaded: Loaded) -> Loaded:
    """Return the spec with placeholders for parsers and steps that run code: without replies, they are not needed."""
    if isinstance(loaded, LoadedPipeline):
        spec = loaded.spec.model_copy(update={"steps": _steps_without_code(loaded.spec.steps)})
        return replace(loaded, spec=spec, tasks={place: _without_code(task) for place, task in loaded.tasks.items()})
    column = next(iter(loaded.spec.outputs), None)
    parsers = [
        TextParser.model_validate({"parser": "text", "column": column, "when": p.when})
        if isinstance(p, PythonParser)
        else p
        for p in loaded.spec.format_output
    ]
    return replace(loaded, spec=loaded.spec.model_copy(update={"format_output": parsers}))


def _steps_without_code(steps: Sequence[Any]) -> list[Any]:
    """The steps with simulated values in place of those that a function would return."""
    from random import Random

    from distask.spec.language.steps import ForEachStep, PythonStep, RepeatStep, SetStep
    from distask.task.column_types import ColumnType
    from distask.task.reply.examples import instance

    made: list[Any] = []
    for step in steps:
        if isinstance(step, PythonStep):
            values = {n: instance(ColumnType(o, n).schema, Random(n)) for n, o in step.outputs.items()}  # noqa: S311
            made.append(SetStep.model_validate({"name": step.name, "when": step.when, "set": values}))
        elif isinstance(step, RepeatStep | ForEachStep):
            made.append(step.model_copy(update={"steps": _steps_without_code(step.steps)}))
        else:
            made.append(step)
    return made


def _source(choice: Choice, task: Task | Pipeline) -> str | Nothing:
    if choice.source is not None and choice.rows is not None:
        raise UsageError("--input and --rows can't be combined; remove one of them")
    needed = [name for name, column in task.input_columns.items() if column.required]
    if choice.source is not None:
        return choice.source
    if needed:
        named = ", ".join(f"`{task.dataset_name(name)}`" for name in needed)
        raise UsageError(f"the task {task.name} needs rows with the column{_s(needed)} {named}; add --input DATA")
    rows = task.draws.rows if choice.rows is None else choice.rows
    if rows is None:
        raise UsageError(f"the task {task.name} needs no data; set the number of rows with --rows N")
    return Nothing(rows)


def default_output(task: str, source: str | None, shard: tuple[int, int] | None = None) -> str:
    """Return `<task>.<data>.jsonl`, in the current folder; each shard has its own file."""
    part = f".{shard[0]}-of-{shard[1]}" if shard else ""
    return f"{task}.{source_stem(source)}{part}.jsonl"


def source_stem(source: str | None) -> str:
    """Return the name of a source without its folder and endings, in characters that suit a file name."""
    if source is None:
        return "rows"
    if source == "-":
        return "stdin"
    path = Path(source.removeprefix("hf://").partition("@")[0])
    name = path.name
    for ending in SUFFIXES:
        name = name.removesuffix(ending)
    if name.endswith((".jsonl", ".ndjson", ".json", ".csv", ".parquet")):
        name = name.rpartition(".")[0]
    letters = re.sub(r"[^\w.-]+", "-", name).strip("-.")
    return letters or re.sub(r"[^\w.-]+", "-", path.parent.name).strip("-.") or "rows"


def _refuse_to_eat_the_input(source: str | None, output: str) -> None:
    if source is None or output == "-" or not os.path.exists(output):  # noqa: PTH110 - either may not be a path
        return
    try:
        same = Path(source).samefile(output)
    except (OSError, ValueError):
        return
    if same:
        raise UsageError(f"{output} is the input; choose another file with --output")


def _shard(written: str | None) -> tuple[int, int] | None:
    if written is None:
        return None
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", written, re.ASCII)
    if found is None:
        raise UsageError(f"--shard {written}: not a valid shard; write --shard I/K, such as 1/4 for the first of four")
    index, count = int(found[1]), int(found[2])
    if not 1 <= index <= count:
        raise UsageError(f"--shard {written}: there is no shard {index} of {count}; I must be from 1 to K")
    return index, count


def _s(several: Sequence[Any]) -> str:
    return "" if len(several) == 1 else "s"


ADDRESSES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def begin() -> None:
    """Set up OpenTelemetry if the environment names an endpoint; remaining spans are sent when the process ends."""
    named = next((name for name in ADDRESSES if os.environ.get(name)), None)
    unwanted = (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    )
    if named is None or unwanted:
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        import logging

        logging.getLogger(__name__).warning(
            "%s is set, but no spans are sent; to send them, run pip install 'distask[otel]'", named
        )
        return
    name = os.environ.get("OTEL_SERVICE_NAME", "distask")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
