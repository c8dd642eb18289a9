"""`python -m benchmarks`: tables of costs, long prompts, the share of Little's law, memory, scans and reports."""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.candidates import CANDIDATES, HERE, Candidate, Environment
from benchmarks.endpoint import Endpoint
from benchmarks.judged import write_results
from benchmarks.million import SIZES, million_table
from benchmarks.process import Used, run
from benchmarks.scanned import HEAD, ratios
from benchmarks.sizes import sizes_table
from benchmarks.steps import HEAD as STEPS_HEAD
from benchmarks.steps import ROWS as STEPS_ROWS
from benchmarks.steps import steps_lines
from benchmarks.stored import HEAD as STORE_HEAD
from benchmarks.stored import use

IN_FLIGHT = 256


@dataclass(slots=True)
class Measured:
    """The runs of one candidate: rows to what each repeat took."""

    candidate: Candidate
    environment: Environment
    version: str = ""
    size: int = 0
    runs: dict[int, list[Used]] = field(default_factory=dict)
    server: float = 0.0
    """The endpoint's share of one core, at its highest."""
    fault: str | None = None

    def cpu(self, rows: int) -> float:
        """Seconds of CPU, of the cheapest repeat: what disturbs only adds."""
        return min(u.cpu for u in self.runs[rows])

    def wall(self, rows: int) -> float:
        return min(u.wall for u in self.runs[rows])

    def peak(self, rows: int) -> int:
        return max(u.peak for u in self.runs[rows])


def main() -> None:
    words = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    words.add_argument(
        "mode",
        nargs="?",
        choices=("cost", "sizes", "latency", "memory", "scan", "report", "store", "million", "steps", "all"),
        default="cost",
    )
    words.add_argument("--peers", nargs="*", metavar="NAME", help="peers too: all of them, or those that are named")
    words.add_argument("--only", nargs="*", metavar="NAME", help="these candidates only")
    words.add_argument(
        "--rows",
        type=_numbers,
        metavar="N,N",
        help="how many rows (2000,20000; 5000,50000,1000000; scan 200000,1000000; report 100000,1000000; store 1000000)",
    )
    words.add_argument("--repeat", type=int, default=3, help="how often; the cheapest run counts (3)")
    words.add_argument("--delay", type=float, default=100.0, help="milliseconds of a call, for latency (100)")
    words.add_argument("--seconds", type=float, default=600, help="the longest that one run may take (600)")
    words.add_argument("--home", type=Path, default=Path.home() / ".cache" / "distask-benchmarks")
    words.add_argument("--write", action="store_true", help="put the tables into benchmarks/README.md")
    chosen = words.parse_args()
    modes = {
        "cost": cost,
        "sizes": sizes,
        "latency": latency,
        "memory": memory,
        "scan": scan,
        "report": report,
        "store": store,
        "million": million,
        "steps": steps,
    }
    for name in modes if chosen.mode == "all" else [chosen.mode]:
        table = f"{modes[name](chosen)}\n\n{_where()}"
        print(f"\n{table}\n", flush=True)
        if chosen.write:
            _keep(name, table)


# Cost


def cost(chosen: argparse.Namespace) -> str:
    """CPU a row, start-up, memory, rows a second and installed size of each candidate, on the same rows."""
    few, many = chosen.rows or (2_000, 20_000)
    with tempfile.TemporaryDirectory(prefix="distask-benchmark-") as name, Endpoint() as endpoint:
        folder = Path(name)
        data = {n: _rows(folder, n) for n in (1, few, many)}
        measured = [m for c in _candidates(chosen) if (m := _prepared(c, chosen.home))]
        for repeat in range(chosen.repeat):
            for one in measured:  # side by side: what disturbs, disturbs all
                if one.candidate.peer and repeat:
                    continue
                for rows in (1, few, many):
                    if one.fault is None and rows <= one.candidate.most:
                        _measure(one, endpoint, folder, data[rows], rows, chosen)
        return _cost_table(measured, few, many) + f"\n\nThe endpoint: {endpoint.kind}, {IN_FLIGHT} calls in flight."


def _measure(
    one: Measured, endpoint: Endpoint, folder: Path, data: Path, rows: int, chosen: argparse.Namespace
) -> Used | None:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place, out = Path(name), Path(name) / "out.jsonl"
        environment = one.environment
        before = endpoint.stats()
        used = run(
            environment.command(endpoint.url, data, out),
            cwd=place,
            env=environment.variables(place),
            seconds=chosen.seconds,
            tree=one.candidate.tree,
        )
        after = endpoint.stats()
        asked = after["requests"] - before["requests"]
        if used.code:
            one.fault = f"ended with {used.code}: {used.said.strip()[-300:]}"
        elif asked < rows:
            one.fault = f"asked {asked:,} times for {rows:,} rows"
        elif out.exists() and (written := sum(1 for _ in out.open("rb"))) != rows:
            one.fault = f"wrote {written:,} rows of {rows:,}"
        if one.fault is not None:
            print(f"{one.candidate.name}, {rows:,} rows: {one.fault}", flush=True)
            return None
        share = (after["cpu"] - before["cpu"]) / used.wall
        one.server = max(one.server, share)
        one.runs.setdefault(rows, []).append(used)
        print(
            f"{one.candidate.name:<16} {rows:>9,} rows  {used.cpu:8.2f} s CPU  {used.wall:8.2f} s  "
            f"{used.peak / 2**20:6.0f} MiB  endpoint {share:4.0%} of a core",
            flush=True,
        )
        return used


def _cost_table(measured: list[Measured], few: int, many: int) -> str:
    base = next((m for m in measured if m.candidate.script is None and many in m.runs), None)
    lines = [
        f"| | version | CPU a row at {many:,}, ms | of distask's | marginal, ms | of distask's | start-up, s wall (CPU) "
        f"| rows/s at {many:,} | peak MiB at {few:,} / {many:,} | installed MB | endpoint, of a core |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for one in measured:
        if one.fault is not None or few not in one.runs:
            lines.append(f"| {one.candidate.name} | {one.version} | {_short(one.fault or 'not run')} |" + " |" * 8)
            continue
        top = many if many in one.runs else few
        whole = one.cpu(top) / top * 1e3
        marginal = (one.cpu(top) - one.cpu(few)) / (top - few) * 1e3 if top > few else None
        of_whole = whole / (base.cpu(top) / top * 1e3) if base else None
        base_marginal = (base.cpu(many) - base.cpu(few)) / (many - few) * 1e3 if base else None
        of_marginal = marginal / base_marginal if marginal and base_marginal else None
        at = "" if top == many else f" (at {top:,})"
        lines.append(
            f"| {one.candidate.name} | {one.version} | {whole:.3f}{at} | {_ratio(of_whole)} | "
            f"{'' if marginal is None else f'{marginal:.3f}'} | {_ratio(of_marginal)} | "
            f"{one.wall(1):.2f} ({one.cpu(1):.2f}) | {top / one.wall(top):,.0f} | "
            f"{one.peak(few) / 2**20:.0f} / {one.peak(top) / 2**20:.0f} | {one.size / 1e6:.0f} | {one.server:.0%} |"
        )
    return "\n".join(lines)


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} ×"


def _short(fault: str) -> str:
    text = " ".join(fault.split()).replace("|", "/")
    return text if len(text) <= 160 else "… " + text[-158:]


# Long prompts, and the same run again


def sizes(chosen: argparse.Namespace) -> str:
    """CPU a row at prompts of several sizes, of a run and of the same run again, next to the bare loop."""
    ours, bare = (_prepared(candidate, chosen.home) for candidate in CANDIDATES[:2])
    return sizes_table(ours.environment, bare.environment, repeat=chosen.repeat, seconds=chosen.seconds)


# Latency


def latency(chosen: argparse.Namespace) -> str:
    """The share of what Little's law allows: `IN_FLIGHT` calls at a time, each as long as the endpoint makes it."""
    (rows,) = chosen.rows[:1] if chosen.rows else (20_000,)
    lines = [
        f"| {rows:,} rows, {IN_FLIGHT} in flight | seconds | at best | share of the limit | of it the start | without |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    distask = Candidate("distask", "", CANDIDATES[0].packages)
    each = f"{chosen.delay:,.0f} ms"
    ways = [(f"each call {each}", chosen.delay, None), (f"99 % {each}, 1 % 5 s", chosen.delay, (0.01, 5_000.0))]
    with tempfile.TemporaryDirectory(prefix="distask-benchmark-") as name:
        folder = Path(name)
        data, single = _rows(folder, rows), _rows(folder, 1)
        for shown, delay, tail in ways:
            mean = delay if tail is None else delay * (1 - tail[0]) + tail[1] * tail[0]
            best = rows * mean / 1000 / IN_FLIGHT
            one = _prepared(distask, chosen.home)
            with Endpoint(delay, tail) as endpoint:
                endpoint.stats()
                for _ in range(chosen.repeat):
                    for size, path in ((1, single), (rows, data)):
                        _measure(one, endpoint, folder, path, size, chosen)
            if rows in one.runs and 1 in one.runs:
                wall, start = one.wall(rows), one.wall(1) - delay / 1000
                figures = f"{wall:.2f} | {best:.2f} | {best / wall:.3f} | {start:.2f} | {best / (wall - start):.3f}"
                lines.append(f"| {shown} | {figures} |")
    return "\n".join(lines) + "\n\nFrom starting the process to its end; the start is a run of one row, less its call."


# Memory


def memory(chosen: argparse.Namespace) -> str:
    """Peak memory of distask over more and more rows."""
    lines = ["| rows | peak MiB | CPU a row, ms | rows/s |", "| --: | --: | --: | --: |"]
    one = _prepared(CANDIDATES[0], chosen.home)
    for rows in chosen.rows or (5_000, 50_000, 1_000_000):
        with tempfile.TemporaryDirectory(prefix="distask-benchmark-") as name, Endpoint() as endpoint:
            folder = Path(name)
            used = _measure(one, endpoint, folder, _rows(folder, rows), rows, chosen)
            if used is not None:
                lines.append(
                    f"| {rows:,} | {used.peak / 2**20:.0f} | {used.cpu / rows * 1e3:.3f} | {rows / used.wall:,.0f} |"
                )
    return "\n".join(lines)


# Looking through the data before the first call

GIBIBYTE = 1 << 30


def scan(chosen: argparse.Namespace) -> str:
    """`validate --input` of a gibibyte in each format, and what looks at all rows next to a loop of `orjson.loads`."""
    lines = [
        "| a gibibyte of | rows | seconds | MiB/s | peak MiB |",
        "| --- | --: | --: | --: | --: |",
    ]
    one = _prepared(CANDIDATES[0], chosen.home)
    with tempfile.TemporaryDirectory(prefix="distask-benchmark-") as name:
        folder = Path(name)
        for kind in (".jsonl", ".csv"):
            data, rows = folder / f"rows{kind}", 0
            with data.open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file)
                if kind == ".csv":
                    table.writerow(["id", "instruction"])
                while file.tell() < GIBIBYTE:
                    text = f"{rows} and " + "some words that stand for what people ask of a model, " * 10
                    if kind == ".csv":
                        table.writerow([rows, text])
                    else:
                        file.write(json.dumps({"id": rows, "instruction": text}) + "\n")
                    rows += 1
            words = [str(one.environment.python), "-m", "distask", "validate", str(HERE / "task.yaml"), "-i", str(data)]
            used = run(words, cwd=folder, env=one.environment.variables(folder), seconds=chosen.seconds)
            if used.code:
                raise SystemExit(used.said)
            speed = GIBIBYTE / 2**20 / used.wall
            lines.append(f"| {kind} | {rows:,} | {used.wall:.1f} | {speed:.0f} | {used.peak / 2**20:.0f} |")
            data.unlink()
        lines += ["", HEAD]
        python, variables = str(one.environment.python), one.environment.variables(folder)
        for count in chosen.rows or (200_000, 1_000_000):
            lines += ratios(python, variables, folder, count, chosen.repeat, chosen.seconds)
    return "\n".join(lines)


# The store


def store(chosen: argparse.Namespace) -> str:
    """Opening a store, looking replies up, going through it and pruning it, next to a bare SQLite table."""
    with tempfile.TemporaryDirectory(prefix="distask-benchmark-") as name:
        lines = [line for count in chosen.rows or (1_000_000,) for line in use(Path(name), count, chosen.repeat)]
    return "\n".join([STORE_HEAD, *lines])


# A large dataset


def million(chosen: argparse.Namespace) -> str:
    """Each command at growing sizes; measured once, since it takes long."""
    one = _prepared(CANDIDATES[0], chosen.home)
    return million_table(one.environment, tuple(chosen.rows or SIZES), max(chosen.seconds, 7200))


# Steps without a model


def steps(chosen: argparse.Namespace) -> str:
    """Rows that wait at barriers, and documents that are cut into chunks, next to a loop of `orjson.loads`."""
    one = _prepared(CANDIDATES[0], chosen.home)
    with tempfile.TemporaryDirectory(prefix="distask-benchmark-") as name:
        counts = tuple(chosen.rows or STEPS_ROWS)
        lines = steps_lines(one.environment, Path(name), counts, chosen.repeat, chosen.seconds)
    return "\n".join([STEPS_HEAD, *lines])


# Reports


def report(chosen: argparse.Namespace) -> str:
    """`report` of one result and of two, next to reading the same files with `orjson.loads`."""
    lines = [
        "| rows of 0.9 kB | | CPU, s | of reading | CPU of reading, s | peak MiB |",
        "| --: | --- | --: | --: | --: | --: |",
    ]
    one = _prepared(CANDIDATES[0], chosen.home)
    python = str(one.environment.python)
    for rows in chosen.rows or (100_000, 1_000_000):
        with tempfile.TemporaryDirectory(prefix="distask-benchmark-") as name:
            folder = Path(name)
            results = [str(path) for path in write_results(folder / "results", rows)]
            for shown, sources in (("`report A`", results[:1]), ("`report A B`", results)):
                ways = (
                    [python, str(HERE / "scripts" / "orjson_loop.py"), *sources],
                    [python, "-m", "distask", "report", *sources, "-o", str(folder / "page.html")],
                )
                used: list[list[Used]] = [[], []]
                for _ in range(chosen.repeat):
                    for way, words in enumerate(ways):  # side by side: what disturbs, disturbs both
                        variables = one.environment.variables(folder)
                        used[way].append(run(words, cwd=folder, env=variables, seconds=chosen.seconds))
                        if used[way][-1].code:
                            raise SystemExit(used[way][-1].said)
                reading, cpu = (min(u.cpu for u in runs) for runs in used)
                peak = max(u.peak for u in used[1]) / 2**20
                lines.append(
                    f"| {rows:,} | {shown} | {cpu:.1f} | {_ratio(cpu / reading)} | {reading:.1f} | {peak:.0f} |"
                )
                print(lines[-1], flush=True)
    return "\n".join(lines)


# What they share


def _candidates(chosen: argparse.Namespace) -> list[Candidate]:
    named = {*(chosen.only or ()), *(chosen.peers or ())}
    if unknown := named - {c.name for c in CANDIDATES}:
        raise SystemExit(f"no such candidate: {', '.join(unknown)}; there are {', '.join(c.name for c in CANDIDATES)}")
    if chosen.only:
        return [c for c in CANDIDATES if c.name in named]
    wanted = chosen.peers is not None
    return [c for c in CANDIDATES if not c.peer or (wanted and (not chosen.peers or c.name in chosen.peers))]


def _prepared(candidate: Candidate, home: Path) -> Measured | None:
    environment = Environment(candidate, home)
    try:
        environment.make()
    except Exception as error:  # noqa: BLE001 - a peer that does not install is told, and left out
        print(f"{candidate.name} does not install: {error}", flush=True)
        return Measured(candidate, environment, fault=f"does not install: {str(error)[-200:]}")
    return Measured(candidate, environment, environment.version(), environment.size())


def _rows(folder: Path, count: int) -> Path:
    path = folder / f"{count}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            text = (
                f"Write three plain sentences about the number {number}, and say what is odd about it, if anything is."
            )
            file.write(json.dumps({"id": number, "instruction": text}) + "\n")
    return path


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.replace("_", "").split(","))


def _where() -> str:
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    processor = (
        re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        if os.path.exists("/proc/cpuinfo")
        else None
    )
    named = processor[1] if processor else platform.machine()
    return f"{day}, Python {platform.python_version()}, {os.cpu_count()} cores of {named}."


def _keep(mode: str, table: str) -> None:
    path = HERE / "README.md"
    begin, end = f"<!-- {mode} -->", f"<!-- {mode} ends -->"
    text = path.read_text()
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{table}\n{end}{after}")


if __name__ == "__main__":
    main()
