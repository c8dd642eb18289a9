"""Describe how a result was made, from its record, in words and figures, without keys, headers and paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from distask.data.provenance import summarize_prompts, summarize_runs
from distask.formatting import amount, duration, money, several
from distask.runner.provenance.earlier import DAMAGED, section_of
from distask.runner.provenance.section import without_paths
from distask.runner.record import command_again, source_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from distask.report.result import Result
    from distask.report.tally import ResultTally

LATENCY_BARS = 36
_TOLD_OF_THE_CONFIG = ("provider", "base_url", "limits.concurrency")


def about(result: Result) -> dict[str, Any]:
    """Return the head of a page: the task, the model and the settings that made the rows."""
    record = result.record
    if record is None:
        return {
            "task": result.task,
            "description": None,
            "details": [result.name],
            "made": [],
            "command": None,
            "spec": None,
            "runs": [],
            "prompts": [],
        }
    identity, spec = record.get("identity") or {}, record.get("spec") or {}
    message = [str(identity.get("model") or ""), source_name(identity) if "input" in identity else "", result.name]
    return {
        "task": result.task,
        "description": spec.get("description"),
        "details": [part for part in message if part],
        "made": list(_made(record, identity, spec)),
        "command": command_again(identity, record) if {"task", "input", "model"} <= identity.keys() else None,
        "spec": yaml.safe_dump(spec, sort_keys=False, allow_unicode=True, width=100) if spec else None,
        **_sources(record),
    }


def _sources(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the runs, inputs and prompts that the rows come from; empty for a record of an older version."""
    section = section_of(record)
    try:
        public = without_paths(section) if section else {}
        return {"runs": summarize_runs(public), "prompts": summarize_prompts(public)}
    except DAMAGED:
        return {"runs": [], "prompts": []}


def _made(record: Mapping[str, Any], identity: dict[str, Any], spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "task", str(identity.get("task") or "")
    if spec.get("reference"):
        yield "method", str(spec["reference"])
    yield "model", str(identity.get("model") or "")
    config = {key: part.get("value") for key, part in (record.get("config") or {}).items() if isinstance(part, dict)}
    for key, value in config.items():
        if key in _TOLD_OF_THE_CONFIG or key.startswith("generation."):
            yield key.removeprefix("generation."), _shown(value)
    for name, value in (record.get("params") or {}).items():
        yield f"param {name}", _shown(value)
    yield "replies for each row", _shown(record.get("num_generations", 1))
    yield "seed", _shown(record.get("seed", 0))
    yield "input", source_name(identity) if "input" in identity else ""
    if record.get("finished"):
        yield "finished", str(record["finished"]).replace("T", " ").replace("Z", " UTC")
    yield "distask", str(record.get("distask") or "")
    output = record.get("output") or {}
    for name, shown in (("checksum", "checksum of the output"), ("sha256", "SHA-256 of the output")):
        if output.get(name):
            yield shown, str(output[name])


def _shown(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else yaml.safe_dump(value, default_flow_style=True, width=1_000).removesuffix("...\n").strip()
    )


def tiles(result: Result, tally: ResultTally) -> dict[str, Any]:
    """Return the figures at the top of the page."""
    counts = (result.record or {}).get("counts") or {}
    return {
        "rows": f"{counts['rows']:,} in" if counts.get("rows") is not None else f"in {result.name}",
        "more": [tile for tile in (_tokens(tally), _cost(result, tally), _time(counts), _waits(counts)) if tile],
    }


def _tokens(tally: ResultTally) -> dict[str, str] | None:
    spending = tally.spending
    if not spending.tokens:
        return None
    return {"name": "Tokens", "figure": amount(spending.tokens), "details": spending.describe()}


def _cost(result: Result, tally: ResultTally) -> dict[str, str] | None:
    record = result.record or {}
    spent = (record.get("counts") or {}).get("cost_usd")
    if spent is None:
        return None
    completions = record["counts"].get("completions") or {}
    message = f"for {several(completions.get('asked', 0), 'reply')} requested"
    if completions.get("stored") and (usd := tally.spending.usd) is not None:
        message += f"; all replies here: {money(usd)}"
    return {"name": "Cost", "figure": money(spent), "details": message}


def _time(counts: Mapping[str, Any]) -> dict[str, str] | None:
    seconds = counts.get("seconds")
    if seconds is None:
        return None
    asked = (counts.get("completions") or {}).get("asked", 0)
    message = f"{asked / seconds:,.1f} replies a second" if asked and seconds else "no requests were sent"
    return {"name": "Time", "figure": duration(seconds), "details": message}


def _waits(counts: Mapping[str, Any]) -> dict[str, str] | None:
    latency = counts.get("latency_seconds") or {}
    if latency.get("p50") is None:
        return None
    return {
        "name": "Latency",
        "figure": brief(latency["p50"]),
        "details": f"median; 90% in {brief(latency['p90'])}, 99% in {brief(latency['p99'])}",
    }


def steps(result: Result) -> list[dict[str, Any]]:
    """Return what each step did in a task with steps; an empty list for other tasks."""
    return list(((result.record or {}).get("counts") or {}).get("steps") or [])


def latency(result: Result) -> dict[str, Any] | None:
    """Return how long calls took: percentiles in words, and bars; None if unknown."""
    record = result.record or {}
    known = (record.get("counts") or {}).get("latency_seconds") or {}
    buckets = record.get("latencies") or []
    if known.get("p50") is None or not buckets:
        return None
    shares = {"p50": "half within", "p90": "90% within", "p99": "99% within", "max": "longest"}
    message = [("calls", f"{known['calls']:,}"), *((words, brief(known[key])) for key, words in shares.items())]
    size = -(-len(buckets) // LATENCY_BARS)
    groups = [buckets[i : i + size] for i in range(0, len(buckets), size)]
    return {
        "details": message,
        "bars": [{"to": group[-1]["to"], "calls": sum(bucket["calls"] for bucket in group)} for group in groups],
    }


def brief(seconds: float) -> str:
    """Format a short time: 320 ms, 1.4 s, 2 min 5 s."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else duration(seconds)


def notices(result: Result, tally: ResultTally, cut_rows: int, short_from: int | None) -> Iterator[str]:
    """Yield what the reader must know before the figures."""
    if result.partial:
        unread = f" {several(result.skipped, 'line')} could not be read." if result.skipped else ""
        yield f"The run is not complete: these are the rows written so far.{unread}"
    if result.record is None:
        yield (
            f"{result.name}.run.json is missing next to the output, so the task, cost and time are unknown, "
            "and input columns can't be message apart."
        )
    for adaptation in (result.record or {}).get("adaptations") or []:
        yield f"{adaptation['message']}."
    if tally.kept is not None:
        yield (
            f"All counts cover {tally.rows:,} rows; the table holds {len(tally.kept):,} of them: one in "
            f"{tally.step}, plus failed rows."
        )
    if short_from is not None:
        yield f"From row {short_from:,}, the table shows only the start of long texts, to keep this page small."
    elif cut_rows:
        yield f"In {several(cut_rows, 'row')} the table shows only the start of a very long text or list."
