"""Measure what long prompts cost, and the same run again with every reply in the store, next to the bare loop."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.candidates import HERE
from benchmarks.endpoint import Endpoint
from benchmarks.process import run

if TYPE_CHECKING:
    from benchmarks.candidates import Environment

SIZES = ((800, 300, 100_000), (10_000, 3_000, 20_000), (60_000, 3_000, 5_000))
"""Characters of a prompt, bytes of a reply, and how many rows."""
WORDS = "Write three plain sentences about the number, and say what is odd about it, if anything is. "
WAYS = ("reading", "scan", "loop", "run", "again")


def sizes_table(distask: Environment, loop: Environment, *, repeat: int, seconds: float) -> str:
    """Return a table of CPU a row; `scan` is what the check of the data before each run takes."""
    lines = [
        "| prompt, reply | rows | bare loop, ms | run, ms | of the loop | without the scan | again, ms | of the run "
        "| of `orjson.loads` | scan, ms |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for prompt, reply, rows in SIZES:
        with tempfile.TemporaryDirectory(prefix="distask-benchmark-") as name:
            used = _measured(Path(name), distask, loop, prompt, reply, rows, repeat, seconds)
        each = {way: cpu / rows * 1e3 for way, cpu in used.items()}
        lines.append(
            f"| {prompt / 1e3:g} kB, {reply / 1e3:g} kB | {rows:,} | {each['loop']:.3f} | {each['run']:.3f} | "
            f"{used['run'] / used['loop']:.2f} × | {(used['run'] - used['scan']) / used['loop']:.2f} × | "
            f"{each['again']:.3f} | {used['again'] / used['run']:.2f} × | {used['again'] / used['reading']:.0f} × | "
            f"{each['scan']:.3f} |"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines)


def _measured(
    folder: Path,
    distask: Environment,
    loop: Environment,
    prompt: int,
    reply: int,
    rows: int,
    repeat: int,
    seconds: float,
) -> dict[str, float]:
    """Return the CPU seconds of the cheapest repeat of each way, start-up included."""
    data = folder / "rows.jsonl"
    with data.open("w", encoding="utf-8") as file:
        for number in range(rows):
            text = f"{number}: {WORDS * (prompt // len(WORDS) + 1)}"[:prompt]
            file.write(json.dumps({"id": number, "instruction": text}) + "\n")
    least: dict[str, float] = {}
    with Endpoint(reply=reply) as endpoint:
        for number in range(repeat):
            place = folder / str(number)
            place.mkdir()
            again = distask.command(endpoint.url, data, place / "out.jsonl")
            commands = {
                "reading": [str(distask.python), str(HERE / "scripts" / "orjson_loop.py"), str(data)],
                "scan": [str(distask.python), "-m", "distask", "validate", str(HERE / "task.yaml"), "-i", str(data)],
                "loop": loop.command(endpoint.url, data, place / "none"),
                "run": again,
                "again": again,
            }
            for way in WAYS:  # side by side: what disturbs, disturbs all
                environment = loop if way == "loop" else distask
                before = endpoint.stats()["requests"]
                used = run(commands[way], cwd=place, env=environment.variables(place), seconds=seconds)
                asked = endpoint.stats()["requests"] - before
                if used.code or asked != (rows if way in ("loop", "run") else 0):
                    raise SystemExit(f"{way} ended with {used.code} after {asked:,} requests: {used.said}")
                least[way] = min(used.cpu, least.get(way, used.cpu))
            (place / "out.jsonl").unlink()
    return least
