"""From what was chosen on the command line to a job."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distask.data.compression import SUFFIXES
from distask.errors import UsageError
from distask.llm.config import load_config
from distask.runner.job import Job, Selection, shape_of
from distask.spec.diagnostics import did_you_mean
from distask.spec.document import scalar
from distask.spec.load import load_spec
from distask.task.task import Task

if TYPE_CHECKING:
    from distask.cli.options import Choice
    from distask.spec.load import LoadedSpec

_OF_THE_TASK = ("input_mappings", "output_mappings")


def job_of(choice: Choice, *, asks: bool = True) -> Job:
    """The job; one that asks nothing needs no key. Raises `UsageError` with the first thing that is wrong."""
    task_changes, llm_changes = _changes(choice.set_ or [])
    task = Task(
        _with_mappings(load_spec(choice.spec), task_changes),
        pairs(choice.param or [], "--param"),
        allow_code=choice.allow_code,
        allow_paths=[Path(p) for p in choice.allow_path or []],
        seed=choice.seed,
    )
    if choice.on_bad_row not in ("stop", "skip"):
        raise UsageError(f"--on-bad-row is stop or skip, not {choice.on_bad_row}")
    llm = load_config(
        choice.config,
        model=choice.model,
        base_url=choice.base_url,
        concurrency=choice.concurrency,
        overrides=llm_changes,
        spec_llm=task.spec.llm,
        environ=os.environ,
        need_key=asks,
    )
    source = _source(choice, task)
    return Job(
        task=task,
        llm=llm,
        source=source,
        output=choice.output or _default_output(task, choice),
        shape=shape_of(task, choice.num_generations, choice.group_generations, choice.metadata_column),
        selection=Selection(choice.limit, choice.offset, choice.sample, _shard(choice.shard)),
        store=False if choice.no_store else choice.store,
        overwrite=choice.overwrite,
        on_bad_row="skip" if choice.on_bad_row == "skip" else "stop",
    )


def pairs(written: list[str], option: str) -> dict[str, Any]:
    """`K=V` words as a mapping; a value is read as YAML."""
    made: dict[str, Any] = {}
    for word in written:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{option} {word}: write {option} NAME=VALUE")
        made[key] = scalar(value)
    return made


def _changes(written: list[str]) -> tuple[dict[str, dict[str, str]], dict[str, Any]]:
    of_task: dict[str, dict[str, str]] = {}
    of_llm: dict[str, Any] = {}
    for key, value in pairs(written, "--set").items():
        head, _, rest = key.partition(".")
        if head in _OF_THE_TASK and rest:
            of_task.setdefault(head, {})[rest] = str(value)
        else:
            of_llm[key] = value
    return of_task, of_llm


def _with_mappings(loaded: LoadedSpec, changes: dict[str, dict[str, str]]) -> LoadedSpec:
    """The spec with `--set input_mappings.…` and `--set output_mappings.…` laid over its own."""
    spec = loaded.spec
    for key, known in (("input_mappings", spec.inputs), ("output_mappings", spec.outputs)):
        for name in changes.get(key, {}):
            if name not in known:
                raise UsageError(f"--set {key}.{name}: no such column; {did_you_mean(name, known)}")
    laid = {key: {**getattr(spec, key), **given} for key, given in changes.items()}
    return replace(loaded, spec=spec.model_copy(update=laid))


def _source(choice: Choice, task: Task) -> Any:
    if choice.source is not None and choice.rows is not None:
        raise UsageError("--rows makes rows out of nothing; leave out --input")
    if choice.source is not None:
        return choice.source
    if choice.rows is not None:
        return [{} for _ in range(choice.rows)]
    if any(i.required for i in task.input_columns.values()):
        raise UsageError("name the data: --input DATA")
    raise UsageError(f"the task {task.name} needs no data; say how many rows it makes: --rows N")


def _default_output(task: Task, choice: Choice) -> str:
    source = choice.source or "rows"
    if source == "-":
        return f"{task.name}.stdin.jsonl"
    stem = Path(source.partition("@")[0].removeprefix("hf://").replace("*", "all")).name
    for suffix in SUFFIXES:
        stem = stem.removesuffix(suffix)
    return f"{task.name}.{Path(stem).stem}.jsonl"


def _shard(written: str | None) -> tuple[int, int] | None:
    if written is None:
        return None
    first, _, count = written.partition("/")
    if not (first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count)):
        raise UsageError(f"--shard {written}: write I/K, with I from 1 to K")
    return int(first), int(count)
