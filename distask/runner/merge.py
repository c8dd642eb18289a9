"""Merge the outputs of shards into the rows of the complete run, in order, and its record.

The record of a shard has the run's identity, the shard's number and the number of output rows per input row. The merge
uses only that, so it works for all formats and tasks.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import chain, repeat, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

from distask.data.checksums import is_unchanged
from distask.data.compression import kind_of
from distask.data.readers import reader_of
from distask.data.writers import open_output
from distask.errors import UsageError
from distask.runner.provenance.section import merged_section
from distask.runner.record import claim, keep_record, record_path, refuse_to_replace
from distask.runner.stats import MOST_RUNS, USD_DIGITS, Stats

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distask.data.row import Row

SAME = ("num_generations", "group_generations", "seed", "spec")
"""Record entries that must be the same in all shards, in addition to the identity."""
SUMS = (
    "rows",
    "rows_out",
    "rows_skipped",
    "generations",
    "failed",
    "dropped",
    "cut",
    "calls",
    "retries",
    "invalid_retries",
)


class Shard(Struct, frozen=True):
    """A shard's output and record."""

    path: Path
    record: dict[str, Any]

    @property
    def number(self) -> int:
        """The shard's number, starting at 1."""
        return int(self.record["identity"]["shard"][0])

    @property
    def of(self) -> int:
        """The number of shards."""
        return int(self.record["identity"]["shard"][1])

    @property
    def whole(self) -> dict[str, Any]:
        """The identity of the complete run."""
        return {**self.record["identity"], "shard": None}

    @property
    def rows(self) -> int:
        """Number of input rows."""
        return int(self.record["counts"]["rows"])


def merge(output: Path, paths: Sequence[Path], *, overwrite: bool = False) -> dict[str, Any]:
    """Write the merged output and its record; returns the record.

    Raises:
        UsageError: a shard has no record, was changed, is from another run, is missing or is a duplicate.
    """
    shards = _checked([_shard(path) for path in paths])
    identity = shards[0].whole
    refuse_to_replace(output, identity, overwrite=overwrite)
    writer = open_output(str(output), lambda checksum: claim(output, identity, checksum))
    try:
        for row in _in_order(shards):
            writer.write(row, {})
        writer.commit()
    except BaseException:
        writer.abort()
        raise
    record = _joined(shards, output, writer.checksum)
    keep_record(output, record)
    return record


def _shard(path: Path) -> Shard:
    if not path.is_file():
        raise UsageError(f"{path}: file not found")
    try:
        record: dict[str, Any] = orjson.loads(record_path(path).read_bytes())
        shard = record["identity"]["shard"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            f"{path}: its record {record_path(path).name} is missing; pass outputs of `distask run --shard`"
        ) from None
    if shard is None:
        raise UsageError(f"{path}: this is not a shard; it is the output of a complete run")
    if not is_unchanged(path, record["output"]):
        raise UsageError(f"{path}: the file was changed after its run; run the shard again")
    if sum(times for _, times in record.get("layout") or []) != record["counts"]["rows"]:
        raise UsageError(
            f"{path}: its task combines rows (group, sort, dedup), so shards can't be merged; run it without --shard"
        )
    return Shard(path, record)


def _checked(shards: list[Shard]) -> list[Shard]:
    """Return the shards in order; raises `UsageError` unless they are all the shards of one run."""
    first, seen = shards[0], dict[int, Shard]()
    for shard in shards:
        for name, value, other in _facts(first, shard):
            if value != other:
                what = f"{name} is {value!r} in one and {other!r} in the other"
                raise UsageError(f"{first.path} and {shard.path} are from different runs: {what}")
        if shard.number in seen:
            raise UsageError(f"{seen[shard.number].path} and {shard.path} are both shard {shard.number}/{shard.of}")
        seen[shard.number] = shard
    missing = [f"{number}/{first.of}" for number in range(1, first.of + 1) if number not in seen]
    if missing:
        raise UsageError(f"some shards are missing; add {', '.join(missing)}")
    ordered = [seen[number] for number in sorted(seen)]
    total = sum(shard.rows for shard in ordered)
    for place, shard in enumerate(ordered):
        should = (total - place + first.of - 1) // first.of
        if shard.rows != should:
            raise UsageError(
                f"{shard.path} has {shard.rows:,} input rows instead of {should:,}: the shards come from "
                "different rows; run them again with the same input, --limit and --sample"
            )
    return ordered


def _facts(one: Shard, other: Shard) -> Iterator[tuple[str, Any, Any]]:
    yield "the number of shards", one.of, other.of
    for name in one.whole:
        if name == "input":  # the folder may differ on another machine
            yield name, Path(one.whole[name]).name, Path(other.whole[name]).name
        elif name != "spec":
            yield name, one.whole[name], other.whole.get(name)
    for name in SAME:
        yield name, one.record.get(name), other.record.get(name)


def _in_order(shards: Sequence[Shard]) -> Iterator[Row]:
    """Yield all rows in input order: the rows of one input row from each shard in turn."""
    layouts = [chain.from_iterable(repeat(many, times) for many, times in s.record["layout"]) for s in shards]
    readers = [_rows(shard) for shard in shards]
    while True:
        for layout, reader in zip(layouts, readers, strict=True):
            many = next(layout, None)
            if many is None:
                return
            for _ in range(many):
                yield next(reader)


def _layout(shards: Sequence[Shard]) -> list[list[int]] | None:
    """Return the layout of the merged output."""
    stats = Stats(layout=[], most_runs=MOST_RUNS)
    layouts = [chain.from_iterable(repeat(many, times) for many, times in s.record["layout"]) for s in shards]
    for many in chain.from_iterable(zip_longest(*layouts)):
        if many is not None:
            stats.lay(many)
    return stats.layout


def _rows(shard: Shard) -> Iterator[Row]:
    for row in reader_of(kind_of(shard.path))(shard.path, str(shard.path)):
        if row.error is not None:
            raise row.error
        yield row


def _joined(shards: Sequence[Shard], output: Path, checksum: str | None) -> dict[str, Any]:
    counts = [shard.record["counts"] for shard in shards]
    joined = {**counts[0], **{name: sum(c[name] for c in counts) for name in SUMS}}
    for name in ("failures", "completions", "tokens"):
        joined[name] = _added([c[name] for c in counts])
    joined["cost_usd"] = _cost(counts)
    joined["chat_share"] = _chat_share(counts)
    joined["seconds"] = max(c["seconds"] for c in counts)
    with suppress(KeyError):
        calls = sum(c["latency_seconds"]["calls"] for c in counts)
        joined["latency_seconds"] = {**dict.fromkeys(counts[0]["latency_seconds"]), "calls": calls}
    left_out = ("layout", "adaptations", "provenance")
    record = {name: value for name, value in shards[0].record.items() if name not in left_out}
    if all("provenance" in shard.record for shard in shards):
        record["provenance"] = merged_section([shard.record["provenance"] for shard in shards], _layout(shards), output)
    adapted: list[dict[str, str]] = []
    for each in chain.from_iterable(shard.record.get("adaptations", []) for shard in shards):
        if each not in adapted:
            adapted.append(each)
    if adapted:
        record["adaptations"] = adapted
    return record | {
        "identity": shards[0].whole,
        "output": {"path": output.name, "checksum": checksum},
        "counts": joined,
        "latencies": [bucket for shard in shards for bucket in shard.record.get("latencies", [])],
        "first_failures": [failure for shard in shards for failure in shard.record["first_failures"]],
        "merged": [{**s.record["output"], "path": s.path.name, "shard": s.number} for s in shards],
    }


def _cost(counts: Sequence[dict[str, Any]]) -> float | None:
    """Sum the cost in USD; None if it is unknown for a shard that requested replies."""
    if any(c["cost_usd"] is None and c["completions"]["asked"] for c in counts):
        return None
    known = [c["cost_usd"] for c in counts if c["cost_usd"] is not None]
    return round(sum(known), USD_DIGITS) if known else None


def _chat_share(counts: Sequence[dict[str, Any]]) -> float | None:
    """Return the mean of the shards' shares, weighted by their rows; None if all are unknown."""
    known = [(c["chat_share"], c["rows_out"]) for c in counts if c.get("chat_share") is not None]
    rows = sum(rows_out for _, rows_out in known)
    return round(sum(share * rows_out for share, rows_out in known) / rows, 3) if rows else None


def _added(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    return {name: sum(c.get(name) or 0 for c in counts) for name in dict.fromkeys(chain.from_iterable(counts))}
