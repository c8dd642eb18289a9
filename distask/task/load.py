"""Load a task of either kind: a single call, or steps."""

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
