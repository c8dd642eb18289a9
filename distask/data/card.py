"""Write the dataset card for the Hub: the task, the model, the counts, and how to reproduce the dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from distask.formatting import tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
)
"""Upper limits of row counts and the Hub's size categories."""
MOST = "n>1B"


def card(name: str, split: str, run: Mapping[str, Any], splits: Sequence[str] = ()) -> str:
    """Return the card: Markdown with YAML front matter.

    Args:
        name: the dataset, `owner/name`.
        split: the name of the split that holds the rows.
        run: the facts about the run, from `distask.runner.record`.
        splits: all splits of the dataset, if it has more than this one.
    """
    head = yaml.safe_dump(_head(splits or (split,), run), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n".join(_body(name, split, run))


def _head(splits: Sequence[str], run: Mapping[str, Any]) -> dict[str, Any]:
    rows = int(run["counts"]["rows_out"])
    return {
        "tags": ["synthetic", "distask"],
        "size_categories": [next((size for most, size in SIZES if rows < most), MOST)],
        "configs": [
            {"config_name": "default", "data_files": [{"split": s, "path": f"data/{s}-*"} for s in splits]},
        ],
    }


def _body(name: str, split: str, run: Mapping[str, Any]) -> Iterator[str]:
    spec, counts = run["spec"], run["counts"]
    yield f"# {name.partition('/')[2]}\n"
    if spec.get("description"):
        yield f"{spec['description']}\n"
    yield "Made with distask, a tool that runs tasks for LLMs over datasets.\n"
    yield "| | |\n| --- | --- |"
    yield f"| task | {run['task']} |"
    if spec.get("reference"):
        yield f"| method | {spec['reference']} |"
    yield f"| model | {run['model']} |"
    for key, value in sorted(run["settings"]["params"].items()):
        yield f"| param `{key}` | {_cell(value)} |"
    for key, value in sorted(run["settings"]["generation"].items()):
        yield f"| {key} | {_cell(value)} |"
    yield f"| rows | {counts['rows']:,} in, {counts['rows_out']:,} out |"
    yield f"| generations | {counts['generations']:,}, of which {counts['failed']:,} failed |"
    yield f"| tokens of the last run | {_tokens(counts['tokens'])} |"
    yield f"| distask | {run['distask']} |\n"
    if counts["failures"]:
        yield "## What failed\n"
        yield "Failed generations are rows too: their outputs are null, and the metadata says why.\n"
        yield "| kind | generations |\n| --- | --- |"
        yield from (f"| {kind} | {count:,} |" for kind, count in counts["failures"].items())
        yield ""
    yield "## Load it\n"
    yield f'```python\nfrom datasets import load_dataset\n\ndata = load_dataset("{name}", split="{split}")\n```\n'
    yield "## Make it again\n"
    yield f"The task, as `{run['task']}.yaml`:\n"
    yield f"```yaml\n{yaml.safe_dump(spec, sort_keys=False, allow_unicode=True, width=120)}```\n"
    yield f"```\n{run['command']}\n```\n"
    yield "`distask.run.json` in this repository has all of it for programs.\n"


def _tokens(counts: Mapping[str, int]) -> str:
    parts = {part: counts.get(part, 0) for part in ("cached", "cache_writes", "reasoning")}
    return tokens(counts["input"], counts["output"], **parts)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
