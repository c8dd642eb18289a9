"""Show how a run goes: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from distask.cli.console import err, safe

if TYPE_CHECKING:
    from types import TracebackType

    from distask.runner.stats import Stats

PLAIN_SECONDS = 5.0
"""How often a line is printed where there is no terminal."""


class Progress:
    """A context; call it with the stats."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = err()
        self._quiet = quiet
        self._live: Live | None = None
        self._next = time.monotonic() + PLAIN_SECONDS

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, stats: Stats) -> None:
        """Show the counts as they are now."""
        if self._live is not None:
            self._live.update(_drawn(stats))
        elif not self._quiet and time.monotonic() >= self._next:
            self._next = time.monotonic() + PLAIN_SECONDS
            self._console.print(Text(" · ".join(parts(stats))))


def _drawn(stats: Stats) -> Any:
    grid = Table.grid(padding=(0, 1))
    if stats.total:
        grid.add_row(ProgressBar(stats.total, stats.rows, width=24), Text(" · ".join(parts(stats)), overflow="fold"))
    else:
        grid.add_row(Text(" · ".join(parts(stats)), overflow="fold"))
    return grid


def parts(stats: Stats) -> list[str]:
    """The counts in words."""
    total = "" if stats.total is None else f"/{stats.total:,}"
    said = [f"{stats.rows:,}{total} rows", f"{stats.rate:,.0f}/s"]
    if stats.in_flight:
        said.append(f"{stats.in_flight} of {stats.ceiling} in flight")
    if stats.input_tokens or stats.output_tokens:
        said.append(f"{short(stats.input_tokens)} → {short(stats.output_tokens)} tokens")
    if stats.stored:
        said.append(f"{stats.stored:,} from the store")
    if stats.retries:
        said.append(f"{stats.retries:,} retries")
    said += [f"{count:,} {safe(kind)}" for kind, count in stats.failures.most_common(3)]
    if stats.eta is not None and stats.rows != stats.total:
        said.append(f"{duration(stats.eta)} left")
    return said


def short(count: int) -> str:
    """A count in three figures."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def duration(seconds: float) -> str:
    """A time as people say it."""
    minutes, rest = divmod(int(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
