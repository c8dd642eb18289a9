"""Name the earlier runs whose outputs a run read, back to the first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from distask.data.provenance import summarize_prompts, summarize_runs
from distask.runner.record import record_path, source_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_RUNS = 50
"""Maximum number of earlier runs in a record."""
MOST_FILES = 20
"""Maximum number of input files whose records are read, and of files listed for an earlier run."""


DAMAGED = (KeyError, TypeError, ValueError, AttributeError)
"""What reading a damaged record raises."""


def read_record(output: Path) -> dict[str, Any] | None:
    """Return the record of an output; None if there is none that can be read."""
    try:
        record = orjson.loads(record_path(output).read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("identity"), dict) else None


def section_of(record: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the section `provenance` of a record; empty in a record of an older version."""
    section = (record or {}).get("provenance")
    return section if isinstance(section, dict) else {}


def earlier_runs(source: Mapping[str, Any], output: Path) -> list[dict[str, Any]]:
    """Return the runs that wrote the files of an input, each followed by its own earlier runs.

    Args:
        source: `provenance.input` of the run.
        output: the run's output.
    """
    made: list[dict[str, Any]] = []
    for file, checksum in _outputs(source):
        record = read_record(file)
        if record is None or file.resolve() == output.resolve():
            continue
        try:
            described = [_described(str(file), checksum, record), *section_of(record).get("runs", ())]
        except DAMAGED:  # the record is not needed to run
            continue
        made += [run for run in described if _is_usable(run)]
    kept = {(run["output"], run["checksum"]): run for run in reversed(made)}
    return list(reversed(list(kept.values())))[:MOST_RUNS]


def _is_usable(run: Any) -> bool:
    """Return whether a run from a record has what cards and pages show; the record may be damaged."""
    try:
        _ = run["checksum"], run["input"].get("listed"), run["task"].get("file")
        summarize_runs({"runs": [run]})
        summarize_prompts({"runs": [run]})
    except DAMAGED:
        return False
    return isinstance(run["output"], str)


def _outputs(source: Mapping[str, Any]) -> Iterator[tuple[Path, str | None]]:
    """Yield the input's files, or its folder of parts, with their checksums."""
    if source.get("kind") != "files":
        return
    folder = Path(str(source["source"]))
    if folder.is_dir():
        yield folder, None
    for each in source.get("listed", ())[:MOST_FILES]:
        yield Path(each["path"]), each["checksum"]


def _described(output: str, checksum: str | None, record: Mapping[str, Any]) -> dict[str, Any]:
    """Describe an earlier run in short, from its record."""
    identity, section = record["identity"], section_of(record)
    source = section.get("input") or {"source": source_name(identity) if "input" in identity else None}
    recorded = (record.get("output") or {}).get("checksum")
    return {
        "output": output,
        "checksum": checksum or recorded,
        "unchanged": None if checksum is None or recorded is None else checksum == recorded,
        "finished": record.get("finished"),
        "distask": record.get("distask"),
        "task": section.get("task") or {"name": identity.get("task"), "file": identity.get("spec")},
        "models": _models(section, identity),
        "prompts": [
            {name: value for name, value in prompt.items() if name not in ("template", "outputs", "params")}
            for prompt in section.get("prompts") or ()
        ],
        "judges": section.get("judges") or [],
        "input": {
            **{name: value for name, value in source.items() if name not in ("listed", "selection", "reading")},
            "listed": (source.get("listed") or [])[:MOST_FILES],
        },
    }


def _models(section: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    if "models" in section:
        return list(dict.fromkeys(str(use["model"]) for use in section["models"]))
    return [str(identity["model"])] if identity.get("model") else []
