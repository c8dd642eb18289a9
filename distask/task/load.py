"""Load a task of either kind: a single call, or steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.spec.load import LoadedSpec, load_spec
from distask.spec.loaded import LoadedPipeline
from distask.task.cases import Outcome, case_name, runs_code, try_task_cases
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from distask.diagnostics import Diagnostic
    from distask.spec.language.model import Case
    from distask.spec.language.steps import PipelineCase
    from distask.spec.loaded import Loaded
    from distask.task.pipeline import Pipeline


def load(
    source: str | Path,
    params: Mapping[str, Any] | None = None,
    *,
    allow_code: bool = False,
    allow_paths: Sequence[Path] = (),
    seed: int = 0,
) -> Task | Pipeline:
    """Load a built-in task by name, or a task from a file.

    Args:
        source: the file, or the name.
        params: values for its params.
        allow_code: whether the task may run Python code.
        allow_paths: folders, in addition to the spec's own, whose files rows may name.
        seed: the random seed for drawn values.

    Raises:
        SpecError: the spec is invalid; the error lists every fault.
        UsageError: the task does not exist, or a param is invalid.
    """
    return compile_task(load_spec(source), params, allow_code=allow_code, allow_paths=allow_paths, seed=seed)


def compile_task(
    loaded: Loaded,
    params: Mapping[str, Any] | None = None,
    *,
    allow_code: bool = False,
    allow_paths: Sequence[Path] = (),
    seed: int = 0,
) -> Task | Pipeline:
    """Compile a loaded spec to a task; raises `UsageError`."""
    if isinstance(loaded, LoadedSpec):
        return Task(loaded, params, allow_code=allow_code, allow_paths=allow_paths, seed=seed)
    from distask.task.pipeline import Pipeline

    return Pipeline(loaded, params, allow_code=allow_code, allow_paths=allow_paths, seed=seed)


def run_cases(loaded: Loaded, *, allow_code: bool = False) -> list[Diagnostic]:
    """A diagnostic for each failed case; none if the spec runs code without permission."""
    return [o.fault for o in try_cases(loaded, allow_code=allow_code) if o.fault is not None]


def try_cases(loaded: Loaded, *, allow_code: bool = False) -> Iterator[Outcome]:
    """Run each case and compare the result with what it expects, in the order of the file."""
    if runs_code(loaded) and not allow_code:
        reason = "the spec runs Python code: review it, then pass --allow-code"
        cases: Sequence[Case | PipelineCase] = loaded.spec.cases
        yield from (Outcome(case_name(c, i), i, skipped=reason) for i, c in enumerate(cases))
        return
    if isinstance(loaded, LoadedPipeline):
        from distask.task.steps.cases import try_pipeline_cases

        yield from try_pipeline_cases(loaded, allow_code=allow_code)
    else:
        yield from try_task_cases(loaded, allow_code=allow_code)
