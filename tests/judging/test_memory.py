"""100,000 rows with 2,000 resamples of every measure fit in 300 MB."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

MOST_MB = 300
ROWS = 100_000
_RUN = """
import re, sys
from pathlib import Path
from distask.cli import main
code = main(sys.argv[1:])
sys.stderr.write(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""
"""Prints the peak in KiB. `getrusage` would count the memory of the process that started this one."""


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("large") / "judged.jsonl"
    with path.open("w") as file:
        for i in range(ROWS):
            gold, number = rng.choice([1, 2, 3, 4, 4, 5]), rng.gauss(0, 1)
            row = {"id": i, "text": "a text " * 20, "score": min(5, gold + rng.choice([0, 0, 1])), "gold": gold}
            row |= {
                "x": number + rng.gauss(0, 1),
                "y": number,
                "p": rng.random(),
                "ok": rng.random() < 0.5,
                "doc": i // 5,
            }
            file.write(json.dumps(row) + "\n")
    return path


@pytest.mark.battery
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(
    "arguments",
    [["score", "gold"], ["score", "gold", "--cluster", "doc"], ["x", "y"], ["x", "y", "--cluster", "doc"], ["p", "ok"]],
    ids=" ".join,
)
def test_many_rows_take_bounded_memory(judged, arguments):
    judge, gold, *more = arguments
    command = [sys.executable, "-c", _RUN, "agree", str(judged), "--judge", judge, "--gold", gold, *more, "--json"]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)

    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[0])
    assert (facts["n"], facts["resamples"]) == (ROWS, 2000)
    assert int(done.stderr) / 1024 < MOST_MB
