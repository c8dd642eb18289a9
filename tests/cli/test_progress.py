"""Progress: live lines on a terminal, plain lines elsewhere, and never the end of a run."""

from __future__ import annotations

import io
import re
from collections import Counter

from rich.cells import cell_len

from distask.cli.display.console import Terminal
from distask.cli.display.progress import Progress
from distask.runner.stats import Stats


class Clock:
    """A clock that goes when it is told to."""

    now = 0.0

    def __call__(self):
        return self.now


def screen(*, is_terminal=False, width=80):
    return Terminal(
        file=io.StringIO(), force_terminal=is_terminal, width=width, markup=False, highlight=False, soft_wrap=True
    )


def some(**counts):
    stats = Stats(total=1000, rows=500, generations=500, in_flight=20, ceiling=256, input_tokens=123_456, retries=3)
    for name, value in counts.items():
        setattr(stats, name, value)
    stats.started, stats.ended = 0.0, 10.0
    return stats


def test_elsewhere_than_on_a_terminal_there_is_a_line_now_and_then():
    console, clock = screen(), Clock()

    with Progress(console, clock=clock) as progress:
        for second in range(12):
            clock.now = second
            progress(some(rows=second * 10, generations=second * 10))
    lines = console.file.getvalue().splitlines()

    assert len(lines) == 3  # at 5 s, at 10 s, at the end
    assert lines[-1].startswith("110 of 1,000 rows (11 %) · 11 rows/s · ")


def test_a_short_run_prints_no_progress_where_there_is_no_terminal():
    console = screen()

    with Progress(console, clock=Clock()) as progress:
        progress(some(rows=1000))

    assert console.file.getvalue() == ""


def test_quiet_is_quiet():
    console, clock = screen(is_terminal=True), Clock()

    with Progress(console, quiet=True, clock=clock) as progress:
        clock.now = 100
        progress(some())

    assert console.file.getvalue() == ""


def test_a_line_says_what_is_done_under_way_and_lost():
    console, clock = screen(), Clock()

    with Progress(console, clock=clock) as progress:
        clock.now = 5
        progress(some(failures=Counter(timeout=2, type=9), stored=7))

    assert console.file.getvalue() == (
        "500 of 1,000 rows (50 %) · 50 rows/s · 10.0 s left · 20 of 256 in flight · tokens 123.5k in, 0 out · "
        "7 from the store · 3 retried · 11 failed: 9 type, 2 timeout\n"
    )


def test_a_line_says_what_the_concurrency_is_and_why():
    console, clock = screen(), Clock()

    with Progress(console, clock=clock) as progress:
        clock.now = 5
        progress(some(ceiling=32, pace="requests time out"))

    assert " · 20 of 32 in flight (requests time out) · " in console.file.getvalue()


def test_a_source_of_unknown_length_has_no_bar_and_no_time_left():
    console, clock = screen(), Clock()

    with Progress(console, clock=clock) as progress:
        clock.now = 5
        progress(some(total=None))

    assert console.file.getvalue().startswith("500 rows · 50 rows/s · 20 of 256")


def test_on_a_terminal_lines_are_drawn_over_and_gone_at_the_end():
    console, clock = screen(is_terminal=True), Clock()

    with Progress(console, live=True, clock=clock) as progress:
        for tick in range(10):
            clock.now = tick / 10
            progress(some(failures=Counter({"bad\x1b[2J": 1})))
    drawn = console.file.getvalue()

    assert drawn.count("500 of 1,000 rows") == 6  # begun at once, then five times a second, and once when it stops
    assert "bad\\x1b[2J" in drawn
    assert drawn.endswith("\x1b[2K")


def test_live_lines_fit_a_narrow_terminal():
    console = screen(is_terminal=True, width=40)

    with Progress(console, live=True, clock=Clock()) as progress:
        progress(some(failures=Counter({"日本" * 30: 5})))

    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert max(cell_len(line) for line in re.split(r"[\r\n]", drawn)) == 40


def test_a_narrow_terminal_has_lines_instead_of_a_bar():
    console = screen(is_terminal=True, width=40)

    with Progress(console, live=True, clock=Clock()) as progress:
        progress(some())

    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert drawn.splitlines()[:2] == ["500 of 1,000 rows (50 %)", "50 rows/s · 10.0 s left"]


class Closed(io.StringIO):
    """A terminal that was closed."""

    def write(self, text):
        raise OSError(5, "Input/output error")

    def isatty(self):
        return True


def test_a_terminal_that_is_gone_ends_no_run():
    console, clock = Terminal(file=Closed(), force_terminal=True, width=80), Clock()

    for live in (True, False):
        with Progress(console, live=live, clock=clock) as progress:
            clock.now += 10
            progress(some())
            clock.now += 10
            progress(some())


class Broken(io.StringIO):
    """A pipe whose reader is gone."""

    def write(self, text):
        raise BrokenPipeError


def test_a_pipe_that_nobody_reads_ends_no_run():
    console, clock = Terminal(file=Broken(), width=80), Clock()

    with Progress(console, live=False, clock=clock) as progress:
        clock.now = 10
        progress(some())

    assert console.quiet
