"""Describe the prompts, models and judges of a run, and the chunks that it cut."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson
from msgspec.structs import asdict

from distask.spec.gallery import gallery
from distask.spec.load import read_text
from distask.task.pipeline import Pipeline
from distask.task.steps.calls import JUDGE_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from distask.runner.stats import Stats
    from distask.spec.language.model import TaskSpec
    from distask.spec.load import Loaded, LoadedSpec
    from distask.task.task import Task


def describe_task(task: Task | Pipeline) -> dict[str, Any]:
    """Describe the task of a run: its name, version and file, and a hash of everything that can change its rows."""
    return {
        "name": task.name,
        "version": task.spec.version,
        **_file_of(task.loaded),
        "params": task.params,
        "fingerprint": task.fingerprint(),
    }


def describe_prompts(task: Task | Pipeline) -> list[dict[str, Any]]:
    """Describe the prompt of a task, or of each step that calls a model, in the order of the steps."""
    if isinstance(task, Pipeline):
        return [_prompt(each.step, each.loaded, each.params, judges=each.judges) for each in task.called]
    return [_prompt(task.name, task.loaded, task.params, judges=JUDGE_TAG in (task.spec.tags or ()))]


def _prompt(step: str, loaded: LoadedSpec, params: Mapping[str, Any], *, judges: bool) -> dict[str, Any]:
    spec = loaded.spec
    template = [message.model_dump(exclude_unset=True, by_alias=True) for message in spec.format_input]
    return {
        "step": step,
        "task": spec.name,
        "version": spec.version,
        **_file_of(loaded),
        "params": dict(params),
        "template": template,
        "template_sha256": hash_template(template),
        "outputs": [spec.output_mappings.get(name, name) for name in spec.outputs],
        "judge": judges or is_judge(step, spec),
    }


def _file_of(loaded: Loaded) -> dict[str, Any]:
    """Return the file of a spec, its SHA-256 as it was loaded, and whether it comes with distask."""
    path = loaded.path.resolve()
    return {"file": str(path), "sha256": _digest(loaded.document.text), "built_in": gallery().get(path.stem) == path}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a task's file as records have it; raises `OSError` or `SpecError`."""
    return _digest(read_text(path))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def hash_template(template: Sequence[Mapping[str, Any]]) -> str:
    """Return the SHA-256 of a chat's templates: of their JSON with sorted keys and without spaces."""
    return hashlib.sha256(orjson.dumps(template, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()


def is_judge(step: str, spec: TaskSpec) -> bool:
    """Return whether a step scores rows: it or its task is named so, or an output is a number within bounds."""
    if "judge" in {*step.split("-"), *spec.name.split("-")}:
        return True
    return any(
        output.type in ("integer", "number") and output.minimum is not None and output.maximum is not None
        for output in spec.outputs.values()
    )


def describe_models(stats: Stats) -> list[dict[str, Any]]:
    """Describe the models that were used: as requested and as served, with the generation keywords, by step."""
    return [
        {
            **asdict(use),
            "served": {
                name: replies
                for (step, endpoint, model, name), replies in stats.served.items()
                if (step, endpoint, model) == (use.step, use.endpoint, use.model)
            },
        }
        for use in stats.models.values()
    ]


def describe_judges(prompts: Sequence[Mapping[str, Any]], models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the prompts that score rows, each with its models and the columns of its verdicts."""
    return [
        {
            "step": prompt["step"],
            "task": prompt["task"],
            "models": [use["model"] for use in models if use["step"] == prompt["step"]],
            "template_sha256": prompt["template_sha256"],
            "outputs": prompt["outputs"],
        }
        for prompt in prompts
        if prompt["judge"]
    ]


def chunks_of(task: Task | Pipeline, stats: Stats) -> dict[str, Any] | None:
    """Return how many chunks the steps of a task cut, and the columns that hold them; None if they cut none."""
    if not isinstance(task, Pipeline) or not task.cuts:
        return None
    counts = dict(_chunk_counts(stats))
    return {
        "count": sum(counts.values()),
        "steps": [{"step": cut.step, "from": cut.column, "columns": dict(cut.columns)} for cut in task.cuts],
    }


def _chunk_counts(stats: Stats) -> Iterator[tuple[str, int]]:
    return ((count.name, count.went) for count in stats.steps if count.kind == "chunk")
