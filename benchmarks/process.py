"""Run a program to its end and say what it took: wall time, CPU of it and its children, peak memory."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Used:
    """What a process took."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds, user and system, its children's too."""
    peak: int
    """Bytes of resident memory; of the largest process, or of all of them at once where the tree was watched."""
    code: int
    said: str
    """The end of what it printed."""


def run(words: list[str], *, cwd: Path, env: dict[str, str], seconds: float, tree: bool = False) -> Used:
    """Run a program in a session of its own, which is killed after `seconds`.

    With `tree`, its descendants are watched four times a second, since some of them outlive it (Ray).
    """
    with (cwd / "said.txt").open("w+b") as said:
        began = time.monotonic()
        process = subprocess.Popen(words, cwd=cwd, env=env, stdout=said, stderr=said, start_new_session=True)
        watched = _Tree(process.pid) if tree else None
        try:
            while True:
                pid, status, used = os.wait4(process.pid, os.WNOHANG)
                wall = time.monotonic() - began
                if pid:
                    break
                if wall > seconds:
                    os.killpg(process.pid, signal.SIGKILL)
                if watched is not None:
                    watched.look()
                time.sleep(0.25 if watched else 0.005)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
        if watched is not None:
            watched.end()
            cpu, peak = max(cpu, watched.cpu), max(peak, watched.peak)
        said.seek(max(0, said.tell() - 4000))
        return Used(wall, cpu, peak, process.returncode, said.read().decode(errors="replace"))


class _Tree:
    """The descendants of a process, by what /proc says of them."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._known = {root}
        self._cpu: dict[int, float] = {}
        self.peak = 0

    @property
    def cpu(self) -> float:
        return sum(self._cpu.values())

    def look(self) -> None:
        parents, now = {}, {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid = int(entry)
            parents[pid] = int(fields[1])
            now[pid] = ((int(fields[11]) + int(fields[12])) * TICK, int(fields[21]) * PAGE)
        grown = True
        while grown:
            found = {pid for pid, parent in parents.items() if parent in self._known} - self._known
            self._known |= found
            grown = bool(found)
        memory = 0
        for pid in self._known & now.keys():
            self._cpu[pid], resident = now[pid]
            memory += resident
        self.peak = max(self.peak, memory)

    def end(self) -> None:
        """Stop what outlived the root."""
        self.look()
        for pid in self._known - {self._root}:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
