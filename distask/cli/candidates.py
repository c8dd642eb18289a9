"""Complete tasks, params, configs and keys in a shell, based on the words typed so far.

A function returns an empty list if the spec can't be read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer  # noqa: TC002 - typer reads the annotations

from distask.spec.gallery import configs, gallery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distask.spec.language.model import TaskSpec
    from distask.spec.language.steps import PipelineSpec

YAML = (".yaml", ".yml")


def tasks(incomplete: str) -> list[str]:
    """Return built-in tasks and YAML files."""
    return [*_beginning(incomplete, gallery()), *_files(incomplete)]


def llms(incomplete: str) -> list[str]:
    """Return built-in LLM configs and YAML files."""
    return [*_beginning(incomplete, configs()), *_files(incomplete)]


def words(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return words for `distask tasks`: `show` and then a task, or kinds of tasks."""
    given = list(ctx.params.get("words") or [])
    if given == ["show"]:
        return _beginning(incomplete, gallery())
    from distask.spec.gallery import entries

    return _beginning(incomplete, dict.fromkeys(["show", *(entry.kind for entry in entries())]))


def params(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return `name=` for the task's params; then their choices."""
    spec = _spec(ctx)
    if spec is None:
        return []
    name, equals, _ = incomplete.partition("=")
    if not equals:
        return _beginning(incomplete, (f"{known}=" for known in spec.params))
    param = spec.params.get(name)
    values: list[Any] = [] if param is None else list(param.choices or [])
    if param is not None and param.type == "boolean":
        values = ["true", "false"]
    return _beginning(incomplete, (f"{name}={value}" for value in values))


def settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return `key=` for what `--set` can set: the LLM's keys and the task's columns."""
    from distask.llm.config.model import Limits, Price
    from distask.spec.language.model import LLM

    keys = [f"llm.{key}=" for key in LLM.model_fields if key != "model"]
    keys += [f"{group}.{key}=" for group, of in (("limits", Limits), ("price", Price)) for key in of.model_fields]
    if (spec := _spec(ctx)) is not None:
        keys += [f"input_mappings.{name}=" for name in spec.inputs]
        keys += [f"output_mappings.{name}=" for name in spec.outputs]
    return _beginning(incomplete, keys)


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _files(incomplete: str) -> list[str]:
    """Return YAML files and folders that start with the word."""
    head, slash, tail = incomplete.rpartition("/")
    folder = Path(f"{head}{slash}" or ".")
    try:
        found = sorted(path for path in folder.iterdir() if path.name.startswith(tail))
    except OSError:
        return []
    named = [path for path in found if not path.name.startswith(".") or tail.startswith(".")]
    return [
        f"{head}{slash}{path.name}{'/' if _is_folder(path) else ''}"
        for path in named
        if _is_folder(path) or path.suffix in YAML
    ]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except PermissionError:  # its folder can be listed, but not searched
        return False


def _spec(ctx: typer.Context) -> TaskSpec | PipelineSpec | None:
    """Return the task on the command line."""
    from distask.errors import DistaskError
    from distask.spec.load import load_spec

    source = ctx.params.get("spec") or next(iter(ctx.args), None)  # an option without its value ends the parsing
    if not isinstance(source, str):
        return None
    try:
        return load_spec(source).spec
    except DistaskError:
        return None
