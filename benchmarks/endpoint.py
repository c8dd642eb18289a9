"""The endpoint that all are measured against: a server of ours that costs next to nothing, and says what it cost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent


class Endpoint:
    """A server on 127.0.0.1 and a free port; it ends with this process, however that ends.

    Compiled from `server.c` where there is a C compiler, else `server.py` on asyncio, which costs ten times as much.

    Args:
        delay: milliseconds that each answer takes.
        tail: (share, milliseconds) of the answers that take longer.
        reply: bytes of each answer's text; 0 for about 270.
    """

    def __init__(self, delay: float = 0, tail: tuple[float, float] | None = None, *, reply: int = 0) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="distask-benchmark-")
        words = [str(number) for number in (delay, *(tail or (0, 0)), reply)]
        self._process = subprocess.Popen(
            [*self._program(), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}/v1"

    def _program(self) -> list[str]:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        self.kind = "C, epoll" if compiler else "Python, asyncio"
        if compiler is None:
            return [sys.executable, str(HERE / "server.py")]
        made = Path(self._folder.name) / "server"
        subprocess.run([compiler, "-O2", "-o", str(made), str(HERE / "server.c")], check=True)
        return [str(made)]

    def stats(self) -> dict[str, Any]:
        """CPU seconds and requests so far; the most in flight since this was asked last."""
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.url}/stats") as answer:
            return json.load(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(10)
        self._folder.cleanup()
