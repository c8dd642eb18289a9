"""What it costs to look at all rows before the first call, next to a loop of `orjson.loads` over the same lines."""

from __future__ import annotations

import json
import random
from pathlib import Path

from benchmarks.process import run

HERE = Path(__file__).parent
WORDS = "quartz grove lantern island ember delta cedar basil harbor amber river pebble kernel saffron nectar".split()
OPTIONS = ("--model", "m", "--config", "offline")
HEAD = """\
| rows of 0.9 kB | | CPU, s | of the loop | of the scan | peak MiB |
| --: | --- | --: | --: | --: | --: |"""


def write_rows(path: Path, rows: int) -> None:
    """Write rows of about 0.9 kB: two texts, two numbers and a word."""
    drawn = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            question, answer = (" ".join(drawn.choices(WORDS, k=count)) for count in (60, 70))
            row = {"id": number, "instruction": question, "answer": answer, "source": "made", "score": 0.5}
            file.write(json.dumps(row) + "\n")


def ratios(python: str, variables: dict[str, str], folder: Path, rows: int, repeat: int, seconds: float) -> list[str]:
    """The lines of the table for one number of rows: each way is run `repeat` times in turn, the cheapest counts."""
    data, task, out = folder / "rows.jsonl", str(HERE / "task.yaml"), folder / "out.jsonl"
    write_rows(data, rows)
    distask = [python, "-m", "distask"]
    ways = {
        "loop": [python, str(HERE / "scripts" / "orjson_loop.py"), str(data)],
        "`validate --input`": [*distask, "validate", task, "-i", str(data)],
        "`dry-run`": [*distask, "dry-run", task, "-i", str(data), *OPTIONS],
        "`dry-run --exact`": [*distask, "dry-run", task, "-i", str(data), *OPTIONS, "--exact"],
        "`run --sample 10`": [*distask, "run", task, "-i", str(data), *OPTIONS, "--sample", "10", "-o", str(out)],
    }
    cpu: dict[str, float] = {}
    peak: dict[str, int] = {}
    for _ in range(repeat):
        for way, words in ways.items():
            out.unlink(missing_ok=True)
            used = run(words, cwd=folder, env=variables, seconds=seconds)
            if used.code:
                raise SystemExit(used.said)
            cpu[way] = min(used.cpu, cpu.get(way, used.cpu))
            peak[way] = max(used.peak, peak.get(way, 0))
    data.unlink()
    loop, scan = cpu["loop"], cpu["`validate --input`"]
    return [
        f"| {rows:,} | {way} | {cpu[way]:.2f} | {cpu[way] / loop:.2f} × | "
        f"{'' if way == 'loop' else f'{cpu[way] / scan:.2f} ×'} | {peak[way] / 2**20:.0f} |"
        for way in ways
    ]
