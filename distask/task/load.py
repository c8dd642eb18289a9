"""Load a task of either kind: of one call, or of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.spec.load import LoadedSpec, load_spec
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from distask.spec.load import Loaded
    from distask.task.pipeline import Pipeline


def load(
    source: str | Path,
    params: Mapping[str, Any] | None = None,
    *,
    allow_code: bool = False,
    allow_paths: Sequence[Path] = (),
    seed: int = 0,
) -> Task | Pipeline:
    """Load a task from a file or by a built-in task's name.

    Args:
        source: the file, or the name.
        params: values for its params.
        allow_code: whether a `python` parser may run.
        allow_paths: folders whose files rows may name, beside the spec's own.
        seed: what drawn values are drawn from.

    Raises:
        SpecError: the spec is wrong; all its faults are there.
        UsageError: there is no such task, or a param is wrong.
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
    """The task of a spec that is loaded; raises `UsageError`."""
    if isinstance(loaded, LoadedSpec):
        return Task(loaded, params, allow_code=allow_code, allow_paths=allow_paths, seed=seed)
    from distask.task.pipeline import Pipeline

    return Pipeline(loaded, params, allow_code=allow_code, allow_paths=allow_paths, seed=seed)
