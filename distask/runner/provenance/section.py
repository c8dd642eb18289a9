"""Build the section `provenance` of `OUT.run.json`, and the part of it that may leave this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distask.runner.provenance.earlier import earlier_runs
from distask.runner.provenance.inputs import describe_input
from distask.runner.provenance.layout import packed
from distask.runner.provenance.prompts import describe_judges, describe_models, describe_prompts, describe_task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distask.data.input import Input
    from distask.runner.job import Job
    from distask.runner.stats import Stats

FORMAT = 1
"""The format of the section."""


def provenance_of(job: Job, rows: Input | None, stats: Stats, output: Path) -> dict[str, Any]:
    """Describe where the rows of a finished run come from.

    Args:
        job: the run.
        rows: its input, which was read to the end; None if other machines read it.
        stats: its counts.
        output: its output.

    Raises:
        OutputError: the list of its input files can't be written.
    """
    prompts, models = describe_prompts(job.task), describe_models(stats)
    source = {} if rows is None else describe_input(job, rows, stats, output)
    return {
        "format": FORMAT,
        "folder": _current_folder(),
        "output": str(output.resolve()),
        "store": _store(job),
        "task": describe_task(job.task),
        "input": source,
        "layout": packed(stats.layout),
        "prompts": prompts,
        "models": models,
        "judges": describe_judges(prompts, models),
        "runs": earlier_runs(source, output),
    }


def _current_folder() -> str | None:
    """Return the current folder, from which names in the record are relative; None if it was deleted."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return None


def _store(job: Job) -> str | None:
    """Return the file of the run's store; None if replies are not stored."""
    file = job.store_file()
    path = file if isinstance(file, Path) else getattr(file, "path", None)
    return None if path is None else str(path.resolve())


def merged_section(
    sections: Sequence[dict[str, Any]], layout: Sequence[Sequence[int]] | None, output: Path
) -> dict[str, Any]:
    """Return the section of the merged output of shards.

    The files of the input are those of the first shard that was merged, with the rows of all. A list of many files
    stays next to that shard's output.
    """
    first = sections[0]
    source = dict(first["input"])
    source["selection"] = {**source["selection"], "shard": None}
    source["rows"] = sum(section["input"]["rows"] for section in sections)
    if "listed" in source:
        rows = [[each["rows"] for each in section["input"].get("listed", ())] for section in sections]
        counts = [sum(several) for several in zip(*rows, strict=False)]
        source["listed"] = [{**each, "rows": count} for each, count in zip(source["listed"], counts, strict=False)]
    if source.get("list"):
        source["list"] = os.path.relpath(Path(first["output"]).with_name(source["list"]), output.resolve().parent)
    return {
        **first,
        "output": str(output.resolve()),
        "input": source,
        "layout": packed(layout),
        "models": _merged_models(sections),
    }


def _merged_models(sections: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the models of all sections, with the replies that each served."""
    made: dict[tuple[str, ...], dict[str, Any]] = {}
    for use in (use for section in sections for use in section["models"]):
        known = made.setdefault((use["step"], use["endpoint"], use["model"]), {**use, "served": {}})
        for name, replies in use["served"].items():
            known["served"][name] = known["served"].get(name, 0) + replies
    return list(made.values())


def without_paths(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section without the folders and endpoints of this machine, for the Hub."""
    kept = {name: value for name, value in provenance.items() if name not in ("folder", "output", "store")}
    return {
        **kept,
        "task": _named(provenance["task"]),
        "input": _input(provenance["input"]),
        "prompts": [_named(prompt) for prompt in provenance["prompts"]],
        "models": [{name: value for name, value in use.items() if name != "endpoint"} for use in provenance["models"]],
        "runs": [
            {
                **run,
                "output": os.path.basename(run["output"]),  # noqa: PTH119 - may be of another system
                "task": _named(run["task"]),
                "input": _input(run["input"]),
                "prompts": [_named(prompt) for prompt in run["prompts"]],
            }
            for run in provenance["runs"]
        ],
    }


def _named(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task or a prompt with the name of its file only."""
    file = part.get("file")
    return {**part, **({"file": os.path.basename(file)} if file else {})}  # noqa: PTH119 - as above


def _input(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return an input with the names of its files below its own folder."""
    source = part.get("source")
    local = part.get("kind") in ("files", "part") and isinstance(source, str)
    if not local:
        return dict(part)
    folder = os.path.dirname(os.path.normpath(str(source)).partition("*")[0])  # noqa: PTH120 - as above
    made = {**part, "source": _below(str(source), folder), "list": None}
    if isinstance(part.get("listed"), list):
        made["listed"] = [{**each, "path": _below(each["path"], folder)} for each in part["listed"]]
    if isinstance(part.get("files"), list):
        made["files"] = [_below(file, folder) for file in part["files"]]
    return made


def _below(path: str, folder: str) -> str:
    """Return a path relative to a folder, or else its name."""
    path = os.path.normpath(path)
    if folder and path.startswith(folder.rstrip("/") + "/"):
        return path[len(folder.rstrip("/")) + 1 :]
    return os.path.basename(path) if os.path.isabs(path) or path.startswith("..") else path  # noqa: PTH117, PTH119
