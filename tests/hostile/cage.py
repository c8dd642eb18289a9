"""Commands of distask in children with little memory, forked from one process that has imported everything.

So each of some hundred commands is the real one, with a process, files and descriptors of its own, and costs milliseconds to start.
A child that takes more memory than it may fails by itself; one that does not end is killed, and says so.
"""

from __future__ import annotations

import contextlib
import json
import os
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

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 600
"""MiB that a child may take beside what its parent has."""
SECONDS = 60
"""When a child is taken to hang; the bound for the real thing is far below."""


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int | None
    """None where it hung."""
    out: bytes
    err: bytes
    grown: float
    """MiB of memory that it took at the most, beside its parent's."""
    cpu: float
    """Seconds of the processor that it took."""

    @property
    def text(self) -> str:
        """All that it printed."""
        return (self.out + self.err).decode()


class Cage:
    """A context; call it with a command's arguments."""

    def __init__(self, mutant: str | None = None) -> None:
        self._mutant = mutant
        self._number = 0

    def __enter__(self) -> Self:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI", "AZURE", "FORCE_COLOR"))}
        environment |= {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "PYTHONWARNINGS": "error"}
        self._folder = tempfile.TemporaryDirectory(prefix="cage-")
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.cage", *([self._mutant] if self._mutant else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
        )
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
        memory: int = MEMORY,
        seconds: int = SECONDS,
    ) -> Said:
        """Run a command in a folder."""
        self._number += 1
        at = Path(self._folder.name) / str(self._number)
        at.mkdir()
        (at / "in").write_bytes(stdin)
        order = {"arguments": arguments, "cwd": str(cwd), "at": str(at), "env": env or {}, "memory": memory}
        self._parent.stdin.write(json.dumps({**order, "seconds": seconds}).encode() + b"\n")
        self._parent.stdin.flush()
        answer = self._parent.stdout.readline()
        if not answer:
            raise RuntimeError("the cage's parent is gone")
        return Said(out=(at / "out").read_bytes(), err=(at / "err").read_bytes(), **json.loads(answer))


def serve() -> None:
    """Fork a child for each order on stdin; the answer says how it ended."""
    from distask.cli import main

    _import_all()
    if len(sys.argv) > 1:
        from tests.hostile.mutants import MUTANTS

        MUTANTS[sys.argv[1]]()
    with os.fdopen(os.dup(1), "w") as answers:
        _answer(answers, main)


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


def _import_all() -> None:
    import importlib
    import pkgutil

    import distask.cli

    for module in pkgutil.walk_packages(distask.cli.__path__, "distask.cli."):
        importlib.import_module(module.name)
    import distask.llm.client
    import distask.llm.http.direct
    import distask.runner.engine.engine
    import distask.task.cases


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
        os.environ.update(order["env"])
        limit = _virtual() + (order["memory"] << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.argv = ["distask", *order["arguments"]]
        code = main(order["arguments"])
    except BaseException:  # noqa: BLE001 - what should not be is told, as a command's end is
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
