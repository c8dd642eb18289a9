"""Summarize the section `provenance` of a record in tables, for the card of a dataset and the page of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.formatting import several, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HASH_DIGITS = 16
"""Digits shown of a hash; the record has all."""
THIS_RUN = "this run"
SOURCES = {
    "none": "no input",
    "memory": "rows in memory",
    "stdin": "rows on stdin",
}
"""Inputs without a name."""


def summarize_runs(section: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a line for the run and each earlier run whose output it read, the last one first.

    Each has `run` (its output), `task`, `models`, `input`, and `state`, which is empty if the output is as it was.
    """
    if not section:
        return []
    models = ", ".join(dict.fromkeys(str(use["model"]) for use in section.get("models") or ()))
    first = _line(THIS_RUN, section, models)
    return [first, *(_line(str(run["output"]), run, ", ".join(run["models"])) for run in section.get("runs") or ())]


def _line(name: str, run: Mapping[str, Any], models: str) -> dict[str, str]:
    task = run.get("task") or {}
    version = f" {task['version']}" if task.get("version") else ""
    return {
        "run": name,
        "task": f"{task.get('name') or ''}{version}",
        "task_sha256": str(task.get("sha256") or "")[:HASH_DIGITS],
        "models": models or "no model",
        "input": describe_source(run.get("input") or {}),
        "state": "changed since" if run.get("unchanged") is False else "",
    }


def describe_source(source: Mapping[str, Any]) -> str:
    """Describe an input in words: its name, and the number of its files, documents, chunks and rows."""
    name = SOURCES.get(str(source.get("kind"))) or str(source.get("source") or "unknown")
    parts = list(_counts(source))
    return f"{name} ({', '.join(parts)})" if parts else name


def _counts(source: Mapping[str, Any]) -> Iterator[str]:
    files, documents = source.get("files"), source.get("documents")
    if isinstance(documents, int):
        yield several(documents, "document")
    elif isinstance(files, int) and files > 1:
        yield several(files, "file")
    if isinstance(source.get("bytes"), int):
        yield size(source["bytes"])
    if isinstance(source.get("rows"), int) and source["rows"] != documents:
        yield several(source["rows"], "row")
    chunks = source.get("chunks")
    if isinstance(chunks, dict) and isinstance(chunks.get("count"), int):
        yield several(chunks["count"], "chunk")


def summarize_prompts(section: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a line for each prompt of the run and of earlier runs.

    Each has `run`, `step`, `task`, `models`, `template_sha256` and `judge` (whether it scores rows).
    """
    made = []
    if section:
        used = section.get("models") or ()
        for prompt in section.get("prompts") or ():
            models = [str(use["model"]) for use in used if use["step"] == prompt["step"]]
            made.append(_prompt(THIS_RUN, prompt, models))
    for run in section.get("runs") or ():
        of_judges = {judge["step"]: judge["models"] for judge in run["judges"]}
        made += [
            _prompt(str(run["output"]), prompt, of_judges.get(prompt["step"], run["models"]))
            for prompt in run["prompts"]
        ]
    return made


def _prompt(run: str, prompt: Mapping[str, Any], models: list[str]) -> dict[str, Any]:
    return {
        "run": run,
        "step": str(prompt["step"]),
        "task": str(prompt["task"]),
        "models": ", ".join(dict.fromkeys(models)),
        "template_sha256": str(prompt["template_sha256"])[:HASH_DIGITS],
        "judge": bool(prompt["judge"]),
    }
