"""Generate and evaluate datasets with LLMs, using tasks defined in YAML.

from distask import Task, run

task = Task.load("text-generation")
messages = task.format_input({"instruction": "Name a prime."})
columns = task.format_output("Two.", {"instruction": "Name a prime."})
result = run(task, "instructions.jsonl", llm="offline", output="answers.jsonl")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.version import __version__

if TYPE_CHECKING:
    from distask.runner.job import Result, Selection
    from distask.runner.run import run
    from distask.task.load import load
    from distask.task.pipeline import Pipeline
    from distask.task.task import Task

__all__ = ["Pipeline", "Result", "Selection", "Task", "__version__", "load", "run"]

_HOMES = {
    "Pipeline": "distask.task.pipeline",
    "Result": "distask.runner.job",
    "Selection": "distask.runner.job",
    "Task": "distask.task.task",
    "load": "distask.task.load",
    "run": "distask.runner.run",
}


def __getattr__(name: str) -> Any:
    """Import public names on first access, so that `import distask` is fast."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
