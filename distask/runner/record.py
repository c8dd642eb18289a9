"""Write `OUT.run.json`, the record of a run, and use it to check which run made an output.

A process may be killed after the output is complete and before its record is written. So a run writes a claim before it
gives the output its final name. The claim identifies the output if the record is missing.
"""

from __future__ import annotations

import os
import platform
import shlex
import time
from typing import TYPE_CHECKING, Any

import orjson

from distask.data.checksums import is_unchanged
from distask.data.writers.base import unwritable
from distask.errors import UsageError
from distask.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from distask.runner.engine.shared import Failed
    from distask.runner.stats import Stats

Identity = dict[str, Any]
"""Task, params, input and model of a run; a run may replace the output of a run with the same identity."""


def record_path(output: Path) -> Path:
    """Return the path of an output's record."""
    return output.with_name(output.name + ".run.json")


def claim_path(output: Path) -> Path:
    """Return the path of an output's claim."""
    return output.parent / ".distask" / f"{output.name}.claim"


def claim(output: Path, identity: Identity, checksum: str | None) -> None:
    """Claim an output with this checksum for a run, before it gets its final name; raises `OSError`.

    A folder that grows during the run is claimed without a checksum.
    """
    path = claim_path(output)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with path.open("wb") as file:
        file.write(_json({"identity": identity, "output": {"checksum": checksum}}))
        file.flush()
        os.fsync(file.fileno())


def may_replace(output: Path, identity: Identity) -> bool:
    """Whether this run made an existing output, and nothing changed it since."""
    if _is_of(record_path(output), identity, output):
        return True
    if not _is_of(claim_path(output), identity, output):
        return False
    claim_path(output).replace(record_path(output))  # the next claim would overwrite this one
    return True


def _is_of(path: Path, identity: Identity, output: Path) -> bool:
    """Whether a record or claim assigns the output, as it is now, to this run."""
    try:
        parts = orjson.loads(path.read_bytes())
        if parts["identity"] != orjson.loads(orjson.dumps(identity, default=str)):
            return False
        describe_run = dict(parts["output"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return is_unchanged(output, describe_run)


def refuse_to_replace(output: Path, identity: Identity, *, overwrite: bool) -> None:
    """Raise `UsageError` if another run made `output`, or if it was edited."""
    is_new = not output.exists() or (output.is_dir() and not any(output.iterdir()))
    if overwrite or is_new or may_replace(output, identity):
        return
    raise UsageError(
        f"{output} already exists and is from another run or was edited; no requests were sent.\n"
        "Choose another file with --output or replace it with --overwrite."
    )


def write_record(
    output: Path,
    *,
    identity: Identity,
    checksum: str | None,
    spec: dict[str, Any],
    settings: dict[str, Any],
    columns: dict[str, Any],
    provenance: dict[str, Any],
    stats: Stats,
    failures: Sequence[Failed],
) -> None:
    """Write the record of a finished run.

    Args:
        output: the run's output.
        identity: the run's identity.
        checksum: the checksum of the output.
        spec: the task as it is written.
        settings: the run's settings.
        columns: the columns of the input (None if unknown) and the metadata column.
        provenance: where the rows come from.
        stats: the run's counts.
        failures: the first failures.
    """
    record = {
        "identity": identity,
        "output": {"path": output.name, "checksum": checksum},
        "distask": __version__,
        "python": platform.python_version(),
        "finished": _now(),
        **settings,
        "columns": columns,
        "counts": stats.to_json(),
        **({"adaptations": stats.adaptations} if stats.adaptations else {}),
        **({} if stats.layout is None or not identity.get("shard") else {"layout": stats.layout}),
        "latencies": [{"to": round(to, 4), "calls": calls} for to, calls in stats.latency.buckets()],
        "first_failures": [
            {"place": f.place, "sample": f.sample, "kind": f.kind, "message": f.message} for f in failures
        ],
        "provenance": provenance,
        "spec": spec,
    }
    keep_record(output, record)


def keep_record(output: Path, record: Mapping[str, Any]) -> None:
    """Write a record next to its output."""
    path = record_path(output)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)  # its failures may contain data from rows
        partial.write_bytes(_json(record))
        partial.replace(path)
        claim_path(output).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(str(path), error) from None


def describe_run(
    identity: Identity,
    spec: dict[str, Any],
    settings: dict[str, Any],
    generation: dict[str, Any],
    provenance: dict[str, Any],
    stats: Stats,
) -> dict[str, Any]:
    """Describe a run for readers on other machines: everything that determines the rows, without local paths."""
    return {
        "task": identity["task"],
        "model": identity["model"],
        "input": source_name(identity),
        "command": command_again(identity, settings),
        "distask": __version__,
        "finished": _now(),
        "settings": {key: value for key, value in settings.items() if key != "config"} | {"generation": generation},
        "counts": stats.to_json(),
        "provenance": provenance,
        "spec": spec,
    }


def source_name(identity: Identity) -> str:
    """Return the name of the input without its folder; a URL stays complete."""
    source = str(identity["input"])
    return source if "://" in source else os.path.basename(source)  # noqa: PTH119 - it may not be a path


def command_again(identity: Identity, settings: Mapping[str, Any]) -> str:
    """Return the command that repeats the run, given the task file and the input."""
    source = source_name(identity)
    command = ["distask", "run", f"{identity['task']}.yaml", "--input", source, "--model", str(identity["model"])]
    for name, value in settings["params"].items():
        command += ["--param", f"{name}={orjson.dumps(value, default=str).decode()}"]
    if settings["num_generations"] != 1:
        command += ["--num-generations", str(settings["num_generations"])]
        command += ["--group-generations"] if settings["group_generations"] else []
    return shlex.join(command)


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
