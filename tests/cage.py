"""Run commands of distask in child processes that start in milliseconds, forked from one process that has imported everything.

Each command is the real one: it has a process, files and descriptors of its own. A child can have a limit on its memory, and
one that does not end is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

ROOT = Path(__file__).resolve().parents[1]
MEMORY = 600
"""MiB that a child may take in addition to what its parent has."""
SECONDS = 60
"""When a child is taken to hang; the bound for the real thing is far below."""


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended."""

    code: int | None
    """None where it hung."""
    out: bytes
    err: bytes
    grown: float
    """MiB of memory that it took at most, in addition to its parent's."""
    cpu: float
    """Seconds of the processor that it took."""

    @property
    def text(self) -> str:
        """All that it printed."""
        return (self.out + self.err).decode()


def clean_environment() -> dict[str, str]:
    """The environment variables of this process, without those that change what a command does or prints."""
    unwanted = ("OPENAI", "AZURE", "FORCE_COLOR", "COLUMNS")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


class Cage:
    """A context in which commands can be run; call it with a command's arguments.

    Args:
        program: a folder that holds another copy of the package `distask`.
    """

    def __init__(self, program: Path = ROOT) -> None:
        self._program = program
        self._number = 0

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="cage-")
        self._parent = subprocess.Popen(
            [sys.executable, "-P", __file__],  # an installed package may be called `tests`
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean_environment() | {"COLUMNS": "200", "PYTHONPATH": str(self._program)},
            cwd=self._program,
        )
        if self._parent.stdout.readline() != b"ready\n":
            self.__exit__()
            raise OSError(f"distask in {self._program} can't be imported; what Python reports is above")
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.stdin.close()
        self._parent.wait(60)
        self._parent.stdout.close()
        self._folder.cleanup()

    def __call__(
        self,
        *arguments: str,
        cwd: Path,
        stdin: bytes = b"",
        env: dict[str, str] | None = None,
        whole_env: dict[str, str] | None = None,
        memory: int | None = MEMORY,
        seconds: int = SECONDS,
    ) -> Completed:
        """Run a command in a folder.

        Args:
            arguments: those of `distask`.
            cwd: the current folder.
            stdin: what it reads.
            env: environment variables to set.
            whole_env: all environment variables, instead of those of this process.
            memory: MiB that it may take in addition to the imports; None for no limit.
            seconds: when it is killed.
        """
        self._number += 1
        at = Path(self._folder.name) / str(self._number)
        at.mkdir()
        (at / "in").write_bytes(stdin)
        order = {
            "arguments": arguments, "cwd": str(cwd), "at": str(at), "env": env or {}, "whole_env": whole_env,
            "memory": memory, "seconds": seconds,
        }  # fmt: skip
        self._parent.stdin.write(json.dumps(order).encode() + b"\n")
        self._parent.stdin.flush()
        answer = self._parent.stdout.readline()
        if not answer:
            raise RuntimeError("the cage's parent is gone")
        return Completed(out=(at / "out").read_bytes(), err=(at / "err").read_bytes(), **json.loads(answer))


def serve() -> None:
    """Fork a child for each order on stdin; the answer says how it ended."""
    from distask.cli import main

    import_all()
    with os.fdopen(os.dup(1), "w") as answers:
        answers.write("ready\n")
        answers.flush()
        _answer(answers, main)


def import_all() -> None:
    """Import all modules of distask, and the libraries that its commands import when they need them."""
    from distask.cli import process

    process.begin()
    import distask

    for module in pkgutil.walk_packages(distask.__path__, "distask."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for library in ("filelock", "genai_prices", "openai", "rich.live", "rich.progress", "uvloop"):
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    gc.collect()
    gc.freeze()  # the collector of a child leaves the memory that it shares with its parent alone


def _answer(answers: TextIO, main: Callable[[list[str]], int]) -> None:
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(main, order)
        before = _resident(os.getpid())
        code, usage = _wait(child, order["seconds"])
        grown = max(0.0, usage.ru_maxrss / 1024 - before)
        answers.write(json.dumps({"code": code, "grown": grown, "cpu": usage.ru_utime + usage.ru_stime}) + "\n")
        answers.flush()


def _become(main: Callable[[list[str]], int], order: dict) -> None:
    """Be the command."""
    code = 70
    try:
        os.setsid()
        at = Path(order["at"])
        for number, name in enumerate(("in", "out", "err")):
            opened = os.open(at / name, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY, 0o600)
            os.dup2(opened, number)
            os.close(opened)
        os.chdir(order["cwd"])
        if order["whole_env"] is not None:
            os.environ.clear()
            os.environ.update(order["whole_env"])
        os.environ.update(order["env"])
        if order["memory"] is not None:
            limit = _virtual() + (order["memory"] << 20)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.argv = ["distask", *order["arguments"]]
        code = main(order["arguments"])
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - reported as Python does
        import traceback

        traceback.print_exc()
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _wait(child: int, seconds: int) -> tuple[int | None, resource.struct_rusage]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    _, _, usage = os.wait4(child, 0)
    return None, usage


def _virtual() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _resident(process: int) -> float:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() / (1 << 20)


if __name__ == "__main__":
    serve()
