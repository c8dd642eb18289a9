"""Record how a part of a run ended, and mark complete parts so that the next run skips them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from msgspec import Struct, field
from msgspec.structs import asdict, replace

from distask.data.readers import DEFAULT_OPTIONS
from distask.runner.record import record_path
from distask.runner.stats import Stats

if TYPE_CHECKING:
    from distask.runner.engine.shared import Failed
    from distask.runner.job import Job, Result


class Outcome(Struct):
    """The result of a part."""

    number: int
    stats: Stats
    failures: list[Failed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sha256: str | None = None
    bytes: int = 0
    error: str | None = None
    """Why the part failed; None if it is complete."""


def whole(job: Job, number: int, result: Result) -> Outcome:
    """Build the outcome of a complete part; marks the part as done if none of its generations failed."""
    path = _output(job)
    sha256 = orjson.loads(record_path(path).read_bytes())["output"]["sha256"]
    outcome = Outcome(number, result.stats, result.failures, result.notes, sha256, path.stat().st_size)
    if not result.stats.failed:
        mark = {"job": _told(job), **asdict(replace(outcome, stats=Stats())), "stats": _counts(result.stats)}
        partial = _mark(path).with_suffix(".partial")
        partial.write_bytes(orjson.dumps(mark))
        os.replace(partial, _mark(path))  # noqa: PTH105 - the pair of the line above
    return outcome


def marked(job: Job) -> Outcome | None:
    """Return the outcome of a part that the same job already made from the same data; None if there is none."""
    path = _output(job)
    try:
        mark = orjson.loads(_mark(path).read_bytes())
        if mark.pop("job") != _told(job) or mark["bytes"] != path.stat().st_size:
            return None
        stats = Stats(**mark["stats"])
        outcome = Outcome(**mark | {"stats": stats, "failures": []})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    stats.stored += stats.completions
    stats.completions = stats.calls = stats.retries = stats.invalid_retries = 0
    stats.input_tokens = stats.output_tokens = stats.in_flight = stats.ceiling = 0
    stats.cached_tokens = stats.cache_write_tokens = stats.reasoning_tokens = stats.server_costs = 0
    stats.cost = 0.0
    return outcome


def _counts(stats: Stats) -> dict[str, int | float | bool]:
    """Return the numeric counts; a marked part has no failures."""
    values = {n: value for n, value in asdict(stats).items() if n not in ("started", "ended")}
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def _told(job: Job) -> str:
    """Hash everything that determines a part's rows."""
    config = [(key, value) for key, value, _ in job.llm.show() if not key.startswith("limits.")]
    told = [
        job.task.fingerprint(),
        asdict(job.shape),
        asdict(job.selection),
        job.on_bad_row,
        config,
        job.source.state(),
        *([] if job.reading == DEFAULT_OPTIONS else [asdict(job.reading)]),
    ]
    data = orjson.dumps(told, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _output(job: Job) -> Path:
    assert job.output is not None
    return Path(job.output)


def _mark(output: Path) -> Path:
    return output.parent / ".distask" / f"{output.stem}.done"
