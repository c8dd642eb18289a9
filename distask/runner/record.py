"""Write `OUT.run.json`, what a run was and how it ended; and know by it whose output a file is.

A kill may come between the output's last step and its record's. So the output is claimed before it gets its name: what
the record does not know yet, the claim does.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import time
from typing import TYPE_CHECKING, Any

import orjson

from distask.data.writers.base import unwritable
from distask.errors import UsageError
from distask.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from distask.runner.engine.shared import Failed
    from distask.runner.stats import Stats

Identity = dict[str, Any]
"""What makes two runs the same run, whose output may be replaced by going on with it: task, params, input, model."""


def record_path(output: Path) -> Path:
    """Where the record of an output is kept."""
    return output.with_name(output.name + ".run.json")


def claim_path(output: Path) -> Path:
    """Where it is said whose an output will be."""
    return output.parent / ".distask" / f"{output.name}.claim"


def claim(output: Path, identity: Identity, sha256: str) -> None:
    """Say that the output of this content, which is about to get its name, is this run's; raises `OSError`."""
    path = claim_path(output)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with path.open("wb") as file:
        file.write(_json({"identity": identity, "output": {"sha256": sha256}}))
        file.flush()
        os.fsync(file.fileno())


def may_replace(output: Path, identity: Identity) -> bool:
    """Whether an existing output was made by this very run, and by no one changed since."""
    sha256 = sha256_of(output)
    if _is_of(record_path(output), identity, sha256):
        return True
    if not _is_of(claim_path(output), identity, sha256):
        return False
    claim_path(output).replace(record_path(output))  # the next claim must not be all that knows of this output
    return True


def _is_of(path: Path, identity: Identity, sha256: str) -> bool:
    """Whether a record or a claim says that the output of this content is this run's."""
    try:
        said = orjson.loads(path.read_bytes())
        return (
            bool(said["identity"] == orjson.loads(orjson.dumps(identity, default=str)))
            and said["output"]["sha256"] == sha256
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def refuse_to_replace(output: Path, identity: Identity, *, overwrite: bool) -> None:
    """Raise `UsageError` where `output` is another run's, or has been edited."""
    if overwrite or not output.exists() or may_replace(output, identity):
        return
    raise UsageError(
        f"{output} is there already, and is not what this run wrote last; nothing was asked.\n"
        "Name another file with --output, or replace it with --overwrite."
    )


def write_record(
    output: Path,
    *,
    identity: Identity,
    sha256: str | None,
    spec: dict[str, Any],
    settings: dict[str, Any],
    columns: dict[str, Any],
    stats: Stats,
    failures: Sequence[Failed],
) -> None:
    """Write the record of a run that is done.

    Args:
        output: the file that it is about.
        identity: what makes another run the same one.
        sha256: of the output.
        spec: the task, as it is written.
        settings: what the run chose.
        columns: those of the input (None where nobody looked), and the metadata's.
        stats: what was counted.
        failures: the first ones.
    """
    record = {
        "identity": identity,
        "output": {"path": output.name, "sha256": sha256},
        "distask": __version__,
        "python": platform.python_version(),
        "finished": _now(),
        **settings,
        "columns": columns,
        "counts": stats.to_json(),
        **({"adaptations": stats.adaptations} if stats.adaptations else {}),
        **({} if stats.layout is None else {"layout": stats.layout}),
        "latencies": [{"to": round(to, 4), "calls": calls} for to, calls in stats.latency.buckets()],
        "first_failures": [
            {"place": f.place, "sample": f.sample, "kind": f.kind, "message": f.message} for f in failures
        ],
        "spec": spec,
    }
    keep_record(output, record)


def keep_record(output: Path, record: Mapping[str, Any]) -> None:
    """Write a record beside its output."""
    path = record_path(output)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)  # it may hold rows, in the failures that it lists
        partial.write_bytes(_json(record))
        partial.replace(path)
        claim_path(output).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(str(path), error) from None


def told(
    identity: Identity, spec: dict[str, Any], settings: dict[str, Any], generation: dict[str, Any], stats: Stats
) -> dict[str, Any]:
    """What is told of a run to people elsewhere: all that made the rows, and no path of this machine."""
    return {
        "task": identity["task"],
        "model": identity["model"],
        "input": source_name(identity),
        "command": command_again(identity, settings),
        "distask": __version__,
        "finished": _now(),
        "settings": {key: value for key, value in settings.items() if key != "config"} | {"generation": generation},
        "counts": stats.to_json(),
        "spec": spec,
    }


def source_name(identity: Identity) -> str:
    """The input as people elsewhere know it: a file's name, without its folder."""
    source = str(identity["input"])
    return source if "://" in source else os.path.basename(source)  # noqa: PTH119 - it may be no path at all


def command_again(identity: Identity, settings: Mapping[str, Any]) -> str:
    """The command that makes the same run, beside the task's file and the input."""
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


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
