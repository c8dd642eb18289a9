"""Write events for programs, with `--json`: one JSON object per line, each with its `event`.

`models` and the modules of results define the events; the last one is `result` or `error`, and holds the exit code.
They go to stdout, or to stderr if a run's rows go to stdout; no other messages are printed.
"""

from __future__ import annotations

import json
import math
import sys
import time
import traceback
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TextIO

from distask.diagnostics import visible_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distask.errors import DistaskError
    from distask.runner.stats import Stats

PROGRESS_SECONDS = 1.0
"""Seconds between the progress events of a run."""


class Events:
    """The events of one command.

    Args:
        command: its name.
        stream: where to write; stdout by default.
    """

    def __init__(self, command: str, stream: TextIO | None = None) -> None:
        self._command = command
        self._stream = sys.stdout if stream is None else stream

    def emit(self, event: str, **facts: Any) -> None:
        """Write an event and flush it."""
        unicode = (self._stream.encoding or "").lower().startswith("utf")
        line = _line({"event": event, "command": self._command, **facts}, ascii_=not unicode)
        self._stream.write(f"{line}\n")
        self._stream.flush()

    def result(self, exit_code: int = 0, **facts: Any) -> None:
        """Write the last event of a command that completed."""
        self.emit("result", exit_code=exit_code, **facts)

    def error(self, kind: str, message: str, exit_code: int, **facts: Any) -> None:
        """Write the last event of a command that failed."""
        fields = {"diagnostics": [], "notes": [], "partial": None, "counts": None, **facts}
        self.emit("error", exit_code=exit_code, kind=kind, message=message, **fields)

    def failed(self, error: DistaskError) -> int:
        """Write a distask error; returns the exit code."""
        partial, stats = getattr(error, "partial", None), getattr(error, "stats", None)
        self.error(
            error.kind,
            str(error),
            error.exit_code,
            diagnostics=[d.to_json() for d in getattr(error, "diagnostics", ())],
            notes=list(getattr(error, "__notes__", ())),
            partial=None if partial is None else str(partial),
            counts=None if stats is None else stats.to_json(),
        )
        return error.exit_code

    def bug(self, error: Exception) -> int:
        """Write an unexpected error; returns the exit code."""
        trace = "".join(traceback.format_exception(error)).rstrip()
        fields = f"this is a bug in distask ({type(error).__name__}); please report it with the lines in `notes`"
        self.error("bug", fields, 1, notes=[trace])
        return 1

    def progress(self, clock: Callable[[], float] = time.monotonic) -> Callable[[Stats], None]:
        """Return a callback that writes the counts of a run at intervals."""
        due = clock() + PROGRESS_SECONDS

        def emit_progress(stats: Stats) -> None:
            nonlocal due
            if clock() >= due:
                due = clock() + PROGRESS_SECONDS
                pace = {"in_flight": stats.in_flight, "concurrency": stats.ceiling, "pace": stats.pace or None}
                self.emit("progress", total=stats.total, **pace, counts=stats.to_json())

        return emit_progress


def wanted(given: Sequence[str]) -> Events | None:
    """Return the events of the command in the arguments, if they include `--json`."""
    if "--json" not in given:
        return None
    to_stdout = any(o in ("--output=-", "-o-") for o in given) or any(
        before in ("-o", "--output") and word == "-" for before, word in pairwise(given)
    )
    command = next((word for word in given if not word.startswith("-")), "")
    return Events(command, sys.stderr if command in ("run", "import-batch") and to_stdout else sys.stdout)


def _line(facts: Mapping[str, Any], *, ascii_: bool) -> str:
    try:
        text = json.dumps(facts, ensure_ascii=ascii_, allow_nan=False, default=str)
    except ValueError:
        text = json.dumps(_finite(facts), ensure_ascii=ascii_, allow_nan=False, default=str)
    return visible_json(text)


def _finite(value: Any) -> Any:
    """Return the value with null for numbers that JSON can't represent."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
