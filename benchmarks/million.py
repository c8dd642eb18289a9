"""Measure everything that is done with a large dataset, at growing sizes: how the CPU time and the memory of each command grow."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.candidates import HERE
from benchmarks.endpoint import Endpoint
from benchmarks.process import run
from benchmarks.scanned import write_rows

if TYPE_CHECKING:
    from benchmarks.candidates import Environment

SIZES = (10_000, 100_000, 1_000_000)
"""Rows of 0.9 kB; `--rows 10000000` measures ten million, which needs some 40 GB of disk."""
WAITING = """\
name: waiting
description: Drop near-duplicates, sort the rest and make groups of a hundred.
inputs: {answer: A text., id: {type: integer}}
steps:
  - dedup: {by: answer, method: minhash}
  - sort: {by: id, descending: true}
  - set: {hundred: "{{ id // 100 }}"}
  - group: {by: hundred}
outputs: {}
"""


def million_table(distask: Environment, sizes: tuple[int, ...], seconds: float) -> str:
    """Return a table with a line for each size and command: CPU seconds next to a loop of `orjson.loads`, and peak memory."""
    lines = [
        "| rows of 0.9 kB | | CPU, s | of the loop | wall, s | peak MiB |",
        "| --: | --- | --: | --: | --: | --: |",
    ]
    for rows in sizes:
        with tempfile.TemporaryDirectory(prefix="distask-benchmark-") as name, Endpoint() as endpoint:
            lines += _lines(Path(name), distask, endpoint, rows, seconds)
    return "\n".join(lines)


def _lines(folder: Path, distask: Environment, endpoint: Endpoint, rows: int, seconds: float) -> list[str]:
    data, out, copy = folder / "rows.jsonl", folder / "out.jsonl", folder / "copy.jsonl"
    write_rows(data, rows)
    (folder / "waiting.yaml").write_text(WAITING)
    task, python = str(HERE / "task.yaml"), str(distask.python)
    command = [python, "-m", "distask"]
    first = distask.command(endpoint.url, data, out)
    ways = {
        "`orjson.loads` of each line": [python, str(HERE / "scripts" / "orjson_loop.py"), str(data)],
        "`validate --input`": [*command, "validate", task, "-i", str(data)],
        "`dry-run`": [*command, "dry-run", task, "-i", str(data), "--config", "offline"],
        "`run`": first,
        "`run` again": distask.command(endpoint.url, data, copy),
        "`run --sample 10`": [*distask.command(endpoint.url, data, folder / "sample.jsonl"), "--sample", "10"],
        "`report A`": [*command, "report", str(out), "-o", str(folder / "a.html")],
        "`report A B`": [*command, "report", str(out), str(copy), "-o", str(folder / "b.html")],
        "`dedup`, `sort`, `group`": [*command, "run", "waiting.yaml", "-i", str(data), "-o", str(folder / "w.jsonl")],
    }
    lines, loop = [], 0.0
    for way, words in ways.items():
        used = run(words, cwd=folder, env=distask.variables(folder), seconds=seconds)
        if used.code:
            raise SystemExit(f"{way} of {rows:,} rows ended with {used.code}: {used.said}")
        loop = loop or used.cpu
        lines.append(
            f"| {rows:,} | {way} | {used.cpu:.2f} | {used.cpu / loop:.1f} × | {used.wall:.1f} | {used.peak / 2**20:.0f} |"
        )
        print(lines[-1], flush=True)
    return lines
