"""Manage the output of a run on many machines: a folder of numbered parts with a manifest.

OUT/part-00000.jsonl            rows; all parts together are in input order
OUT/part-00000.jsonl.run.json   the record of that part
OUT/manifest.json               the parts and the total counts, written at the end
OUT/.distask/                   a store for each part, and how the input was split into parts
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct, field
from msgspec.structs import asdict, replace

from distask.data.readers import DEFAULT_OPTIONS
from distask.data.writers import WRITERS
from distask.errors import UsageError
from distask.runner.record import record_path
from distask.runner.stats import Stats
from distask.store import Store, StorePlace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distask.data.parts import Part
    from distask.runner.engine.shared import Failed
    from distask.runner.job import Job, Result


MANIFEST = "manifest.json"
EARLIER = "earlier.db"
"""The store with the replies of earlier splits, which the parts read."""


class Outputs(Struct, frozen=True):
    """The folder of an output."""

    folder: Path

    def check(self, *, overwrite: bool) -> None:
        """Create the folder; raises `UsageError` if the path has other contents."""
        if self.folder.is_file():
            raise UsageError(f"{self.folder} is a file; --engine ray writes a folder of parts: choose another path")
        strange = [path.name for path in _visible(self.folder) if not path.name.startswith(("part-", MANIFEST))]
        if strange and not overwrite:
            raise UsageError(f"{self.folder} is not a distask output: it contains {strange[0]}; choose another folder")
        try:
            self._private.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageError(f"{self.folder}: can't be written: {error.strerror}") from None

    def part(self, number: int) -> Path:
        """Return the path of one part's rows."""
        ending = self.folder.suffix.lower()
        return self.folder / f"part-{number:05d}{ending if ending in WRITERS else '.jsonl'}"

    def store(self, number: int, segment: int = 0) -> StorePlace:
        """Return the store of one part of a segment."""
        file = self._private / f"part-{number:05d}{_infix(segment)}.db"
        return StorePlace(file, network=True, earlier=self._earlier)

    def carried(self, number: int, segment: int) -> Path:
        """Return the path of the rows of one part for the next segment."""
        folder = self._segments / f"{segment}-out"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"part-{number:05d}.rows"

    def passed(self, segment: int) -> Path:
        """Return the folder of the rows that a segment reads."""
        return self._segments / f"{segment}-in"

    def prepare(self, parts: Sequence[Part], segment: int = 0) -> None:
        """Prepare the stores for these parts; if the rows were split differently before, keeps the earlier replies."""
        now = [part.state() if segment else [[s.file, s.start, s.stop] for s in part.spans] for part in parts]
        plan = self._private / ("cut.json" if not segment else f"cut-{segment}.json")
        with contextlib.suppress(OSError, ValueError):
            if orjson.loads(plan.read_bytes()) == now:
                return
        for store in sorted(self._private.glob(f"part-?????{_infix(segment)}.db")):
            earlier = Store(StorePlace(self._earlier, network=True))
            with earlier:
                earlier.take_in(store)
            store.unlink()
        _write(plan, now)

    def finish(self, parts: Sequence[Part], manifest: Mapping[str, Any]) -> Path:
        """Write the manifest and delete parts of an earlier split."""
        kept = {self.part(part.number) for part in parts}
        kept |= {record_path(path) for path in kept}
        for path in _visible(self.folder):
            if path.name.startswith("part-") and path not in kept:
                path.unlink()
        shutil.rmtree(self._segments, ignore_errors=True)
        path = self.folder / MANIFEST
        _write(path, manifest)
        return path

    @property
    def inputs(self) -> Path:
        """Return the folder for a copy of the input, if it can't be read in parts."""
        return self._private / "input"

    @property
    def _segments(self) -> Path:
        return self._private / "segments"

    @property
    def _private(self) -> Path:
        return self.folder / ".distask"

    @property
    def _earlier(self) -> Path:
        return self._private / EARLIER


def _infix(segment: int) -> str:
    return f"-s{segment}" if segment else ""


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []


def _write(path: Path, value: Any) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str))
    os.replace(partial, path)  # noqa: PTH105 - the pair of the line above


class Outcome(Struct):
    """The result of a part."""

    number: int
    stats: Stats
    failures: list[Failed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checksum: str | None = None
    bytes: int = 0
    error: str | None = None
    """Why the part failed; None if it is complete."""


def whole(job: Job, number: int, result: Result) -> Outcome:
    """Build the outcome of a complete part; marks the part as done if none of its generations failed."""
    path = _output(job)
    checksum = orjson.loads(record_path(path).read_bytes())["output"]["checksum"]
    outcome = Outcome(number, result.stats, result.failures, result.notes, checksum, path.stat().st_size)
    if not result.stats.failed:
        mark = {"job": _job_digest(job), **asdict(replace(outcome, stats=Stats())), "stats": _counts(result.stats)}
        partial = _mark(path).with_suffix(".partial")
        partial.write_bytes(orjson.dumps(mark))
        os.replace(partial, _mark(path))  # noqa: PTH105 - the pair of the line above
    return outcome


def marked(job: Job) -> Outcome | None:
    """Return the outcome of a part that the same job already made from the same data; None if there is none."""
    path = _output(job)
    try:
        mark = orjson.loads(_mark(path).read_bytes())
        if mark.pop("job") != _job_digest(job) or mark["bytes"] != path.stat().st_size:
            return None
        if "sha256" in mark:  # of an older version
            mark["checksum"] = f"sha256:{mark.pop('sha256')}"
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


def _job_digest(job: Job) -> str:
    """Hash everything that determines a part's rows."""
    config = [(key, value) for key, value, _ in job.llm.show() if not key.startswith("limits.")]
    identity = [
        *([] if job.segment is None else [job.segment]),
        job.task.fingerprint(),
        asdict(job.shape),
        asdict(job.selection),
        job.on_bad_row,
        config,
        job.source.state(),
        *([] if job.reading == DEFAULT_OPTIONS else [asdict(job.reading)]),
    ]
    data = orjson.dumps(identity, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _output(job: Job) -> Path:
    assert job.output is not None
    return Path(job.output)


def _mark(output: Path) -> Path:
    return output.parent / ".distask" / f"{output.stem}.done"
