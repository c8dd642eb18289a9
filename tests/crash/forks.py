"""Real `distask` processes that are cheap to begin: one process has everything imported, and forks a child for each command.

What a child runs is `distask.cli.main`, as the installed command does: it has a process, files, signals and an end of its own.
`python -m tests.crash.forks` is the process that forks; it takes a JSON line for each command and says when a child begins and ends.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Child:
    """A process that was begun."""

    pid: int
    said: Path
    ended: threading.Event = field(default_factory=threading.Event)
    status: int = 0

    def kill(self, number=signal.SIGKILL):
        """Send it a signal, if it is still there."""
        if not self.ended.is_set():
            os.kill(self.pid, number)

    def wait(self, seconds=120):
        """Its exit code; minus the signal that ended it."""
        assert self.ended.wait(seconds), self.text
        return os.waitstatus_to_exitcode(self.status)

    @property
    def text(self):
        """All that it printed."""
        return self.said.read_text(errors="replace")


class Forks:
    """A context in which children can be begun; `program` is a folder that holds another `distask`."""

    def __init__(self, program=ROOT):
        self._program = program

    def __enter__(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI", "FORCE_COLOR"))}
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],  # an installed package may be called `tests`
            cwd=self._program,
            env=environment | {"NO_COLOR": "1", "COLUMNS": "200", "PYTHONPATH": str(self._program)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        if self._process.stdout.readline() != b'"ready"\n':
            raise OSError(f"distask in {self._program} can't be imported; what Python reports is above")
        self._begun, self._children, self._new = threading.Semaphore(0), {}, []
        self._listener = threading.Thread(target=self._listen, name="forks", daemon=True)
        self._listener.start()
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(30)
        self._listener.join(30)
        self._process.stdout.close()

    def begin(self, folder, *arguments, **options):
        """Begin `distask ARGUMENTS` in a folder; `options` are those of `_child`."""
        result = {
            "folder": str(folder),
            "arguments": [str(a) for a in arguments],
            "said": str(Path(folder, "said.txt")),
            **options,
        }
        self._process.stdin.write(json.dumps(result).encode() + b"\n")
        self._process.stdin.flush()
        assert self._begun.acquire(timeout=60)
        return self._new.pop(0)

    def run(self, folder, *arguments, **options):
        """Run a command to its end; its exit code and all that it printed."""
        child = self.begin(folder, *arguments, **options)
        return child.wait(), child.text

    def _listen(self):
        for line in self._process.stdout:
            result = json.loads(line)
            if "said" in result:
                child = self._children[result["pid"]] = Child(result["pid"], Path(result["said"]))
                self._new.append(child)
                self._begun.release()
            else:
                child = self._children.pop(result["pid"])
                child.status = result["status"]
                child.ended.set()


def main():
    """Fork a child for each line of stdin, until it ends."""
    import distask

    for module in pkgutil.walk_packages(distask.__path__, "distask."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    importlib.import_module("filelock")
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    buffer, running = b"", set()
    _tell("ready")
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            running.discard(pid)
            _tell({"pid": pid, "status": status})
        if 0 in ready:
            data = os.read(0, 1 << 16)
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                result = json.loads(line)
                pid = os.fork()
                if not pid:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    _child(**result)
                running.add(pid)
                _tell({"pid": pid, "said": result["said"]})


def _tell(told):
    os.write(1, json.dumps(told).encode() + b"\n")


def _child(folder, arguments, said, largest=None, die=None, values=None, ignored=()):
    """Be the command.

    `largest`: bytes that a file may have, as on a disk that is full. `die`: (names of files of distask, k): be killed before the
    k-th line of code in them that is run for the first time. `values`: names of constants of distask to what they are instead, for
    waits that would be too long for a test. `ignored`: signals that are, as nohup does.
    """
    code = 70
    try:
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        if largest is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        from distask.cli import main as distask

        sys.argv = ["distask", *arguments]
        for name, value in (values or {}).items():
            found = [m for n, m in sys.modules.items() if n.startswith("distask.") and hasattr(m, name)]
            assert found, f"distask has no {name}"
            for module in found:
                setattr(module, name, value)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        if die is not None:
            _die_at(*die)
        code = distask()
    finally:
        os._exit(code)


def _die_at(files, number):
    lines = set()

    def count(frame, event, _argument):
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
            if len(lines) == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return count

    wanted = {}

    def enter(frame, _event, _argument):
        name = frame.f_code.co_filename
        if name not in wanted:
            wanted[name] = name.endswith(tuple(files))
        return count if wanted[name] else None

    threading.settrace(enter)
    sys.settrace(enter)


if __name__ == "__main__":
    main()
