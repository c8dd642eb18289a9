"""Show the progress of a run: live lines on a terminal, a plain line at intervals elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from distask.cli.display import step_counts
from distask.diagnostics import safe
from distask.formatting import amount, duration, money, several

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from rich.console import Console, RenderableType

    from distask.batch_ledger import Record
    from distask.runner.stats import Stats

PLAIN_SECONDS = 5.0
"""Seconds between lines if there is no terminal."""
LIVE_SECONDS = 0.2
"""Seconds between redraws of the live lines: drawing takes time from the run's loop."""
KINDS_SHOWN = 4
BAR_LEAST = 60
"""Minimum terminal width for a progress bar."""


class Progress:
    """A context manager; call it with the stats at any time.

    Args:
        console: where to draw.
        quiet: draw nothing.
        live: redraw in place; by default if the console is a terminal that supports it.
        clock: returns the seconds since a fixed point.
    """

    def __init__(
        self,
        console: Console,
        *,
        quiet: bool = False,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._clock = clock
        self._quiet = quiet
        self._last: Stats | None = None
        self._drawn: tuple[object, ...] | None = None
        self._stopping = False
        self._live: Live | None = None
        if not quiet and (can_draw_over(console) if live is None else live):
            self._live = Live(
                console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
            )
        self._every = LIVE_SECONDS if self._live else PLAIN_SECONDS
        self._next = clock() + (0.0 if self._live else PLAIN_SECONDS)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._safely(self._live.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._safely(self._live.stop)
        elif self._last is not None and self._drawn not in (None, _moment(self._last)):
            self._draw(self._last)  # the last line; a short run prints only its summary

    def __call__(self, stats: Stats) -> None:
        """Show the current counts if it is time to."""
        self._last = stats
        now = self._clock()
        batches_changed = bool(stats.batches) and self._drawn != _moment(stats)
        if now >= self._next or batches_changed or (stats.stopping and not self._stopping):
            self._stopping = stats.stopping
            self._next = now + self._every
            self._draw(stats)

    def _draw(self, stats: Stats) -> None:
        if self._quiet or (self._live is None and stats.batches and self._drawn == _moment(stats)):
            return
        self._drawn = _moment(stats)
        if self._live is not None:
            live, drawn = self._live, lines(stats, self._console.width)
            self._safely(lambda: live.update(drawn, refresh=True))
        else:
            self._safely(lambda: self._console.print(Text(" · ".join(parts(stats)))))

    def _safely(self, draw: Callable[[], None]) -> None:
        """Draw, ignoring errors: a closed terminal must not end a paid run."""
        try:
            draw()
        except (OSError, ValueError):
            self._quiet = True


def can_draw_over(console: Console) -> bool:
    """Whether the console is a terminal that can redraw lines."""
    return console.file.isatty() and not console.is_dumb_terminal


def lines(stats: Stats, width: int) -> RenderableType:
    """Return the live lines: rows done, calls in flight, failures."""
    if stats.batches:
        return _line(waiting(stats.batches, time.time()))
    rate = " · ".join([_rate(stats), *_left(stats)])
    drawn: list[RenderableType] = []
    if stats.total and width >= BAR_LEAST:
        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(stats.total, min(stats.rows, stats.total), width=24)
        head.add_row(_line(_rows(stats)), bar, _line(rate))
        drawn.append(head)
    else:
        drawn += [_line(_rows(stats)), _line(rate)]
    if under_way := _under_way(stats):
        drawn.append(_line(" · ".join(under_way), "dim"))
    if under_way_in := step_counts.now(stats.steps):
        drawn.append(Text(under_way_in, style="dim", no_wrap=True, overflow="ellipsis"))
    if failed := _failed(stats):
        drawn.append(_line(failed, "yellow"))
    return Group(*drawn)


def _line(text: str, style: str = "") -> Text:
    """Return a text that is cut at the terminal's edge: wrapped lines could not be redrawn."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def parts(stats: Stats) -> list[str]:
    """Return the same counts for one plain line."""
    if stats.batches:
        return [waiting(stats.batches, time.time())]
    failed = _failed(stats)
    return [
        _rows(stats),
        _rate(stats),
        *_left(stats),
        *_under_way(stats),
        *filter(None, [step_counts.now(stats.steps)]),
        *([failed] if failed else []),
    ]


def _moment(stats: Stats) -> tuple[object, ...]:
    return stats.rows, stats.generations, stats.batches


def waiting(batches: Sequence[Record], now: float) -> str:
    """Describe the pending batches: 2 batches (1 in progress, 1 validating) · 40 of 100 requests done."""
    states = Counter(batch.status.replace("_", " ") for batch in batches)
    how = [safe(status) if len(batches) == 1 else f"{n} {safe(status)}" for status, n in states.items()]
    parts = [f"{several(len(batches), 'batch')} ({', '.join(how)})"]
    parts.append(f"{sum(b.done for b in batches):,} of {sum(b.requests for b in batches):,} requests done")
    if failed := sum(b.failed for b in batches):
        parts.append(f"{failed:,} failed")
    return " · ".join([*parts, duration(max(0.0, now - min(b.created for b in batches)))])


def _rows(stats: Stats) -> str:
    if stats.total is None:
        return several(stats.rows, "row")
    done = 100 * stats.rows // stats.total if stats.total else 100
    return f"{stats.rows:,} of {several(stats.total, 'row')} ({done} %)"


def _rate(stats: Stats) -> str:
    rate = stats.rate
    return f"{rate:,.0f} rows/s" if rate >= 10 else f"{rate:.1f} rows/s"


def _left(stats: Stats) -> list[str]:
    eta = stats.eta
    return [f"{duration(eta)} left"] if eta is not None and stats.rows != stats.total else []


def _under_way(stats: Stats) -> list[str]:
    parts = []
    if stats.stopping:
        calls = f"{several(stats.in_flight, 'call')} in flight" if stats.in_flight else "the last rows"
        parts.append(f"draining: waiting up to 10 s for {calls}; press Ctrl-C again to stop now")
    elif stats.in_flight:
        parts.append(f"{stats.in_flight:,} of {stats.ceiling:,} in flight" + (f" ({stats.pace})" if stats.pace else ""))
    if stats.input_tokens or stats.output_tokens:
        parts.append(f"tokens {amount(stats.input_tokens)} in, {amount(stats.output_tokens)} out")
    if stats.priced:
        parts.append(f"{money(stats.cost)} spent")
    if stats.stored:
        parts.append(f"{stats.stored:,} from the store")
    if stats.retries:
        parts.append(f"{stats.retries:,} retried")
    if stats.invalid_retries:
        parts.append(f"{stats.invalid_retries:,} invalid, retried")
    return parts


def _failed(stats: Stats) -> str:
    if not stats.failures:
        return ""
    kinds = [f"{count:,} {safe(kind)}" for kind, count in stats.failures.most_common(KINDS_SHOWN)]
    if len(stats.failures) > KINDS_SHOWN:
        kinds.append("…")
    return f"{stats.failed:,} failed: {', '.join(kinds)}"
