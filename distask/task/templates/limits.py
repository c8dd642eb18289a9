"""Count what a template makes and how long it takes, so that none can fill the memory or stall a run."""

from __future__ import annotations

import functools
import threading
import time
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from jinja2.exceptions import TemplateRuntimeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

P = ParamSpec("P")
T = TypeVar("T")

MAX_RANGE = 10_000
"""Numbers that `range` gives in one render, over all its calls."""
MAX_DEPTH = 64
"""Levels of lists and mappings in each other."""
PROMPT_CHARACTERS = 16 << 20
"""Default of `limits.prompt_characters`: characters of the text of a row's chat."""
WORK_PER_CHARACTER = 2
"""What a render may make for each character that its text may have: a character counts 1, a value `VALUE`."""
MAX_SECONDS = 0.5
"""Seconds of its thread's own time that a render may take; waiting for other threads does not count."""
MAX_SECONDS_TOGETHER = 1.0
"""Seconds that all renders may take that belong together: those of a row's chat, of a reply, of a task made ready."""
VALUE = 32
"""The work that is in a value beside its characters."""
_LARGEST = 16 << 20
"""The least bound on the work in one value, so on the characters of an intermediate text (a data URL of an image)."""
_LOOK_EVERY = 20_000
"""Work after which the clock is looked at."""
_BITS = 100_000
"""Bits of a whole number."""


class LimitError(TemplateRuntimeError):
    """A render makes or takes more than it may."""


class Meter(threading.local):
    """What the render that goes on in this thread has used so far."""

    def __init__(self) -> None:
        self.together = False
        """Whether renders go on that belong together."""
        self.renders = 0
        self.first: float | None = None
        self.start()

    def start(self, prompt_characters: int = PROMPT_CHARACTERS) -> None:
        """Start a new render; its clock starts at the first look, so that a small render costs no look.

        Args:
            prompt_characters: characters that the rendered text may have; the bounds on its values grow with it.
        """
        self.largest = max(_LARGEST, prompt_characters)
        self.work = self.ticks = self.ranged = 0
        self.next_look = _LOOK_EVERY
        self.since: float | None = None
        if self.together:
            self.renders += 1
            if not self.renders & 31:  # many small ones cost some looks, one of them none
                self.look()
        else:
            self.first = None

    def charge(self, work: int) -> None:
        """Count what was made."""
        self.work += work
        if self.work >= self.next_look:
            self.look()

    def tick(self) -> None:
        """Count a step that makes nothing."""
        self.ticks += 1
        if not self.ticks & 7:
            self.look()

    def look(self) -> None:
        """Raise `LimitError` where the render has used all that it may."""
        if self.work > WORK_PER_CHARACTER * self.largest:
            raise LimitError("the template makes too much")
        now = time.thread_time()
        if self.since is None:
            self.since = now
        elif now - self.since > MAX_SECONDS:
            raise LimitError(f"the template takes longer than {MAX_SECONDS:g} s")
        self._look_at_all(now)
        self.next_look = self.work + _LOOK_EVERY

    def step(self) -> None:
        """Count a step of what is no render, but goes on beside renders that belong together."""
        self.ticks += 1
        if self.together and not self.ticks & 7:
            self._look_at_all(time.thread_time())

    def _look_at_all(self, now: float) -> None:
        if self.first is None:
            self.first = now
        elif now - self.first > MAX_SECONDS_TOGETHER:
            raise LimitError(f"the row takes longer than {MAX_SECONDS_TOGETHER:g} s")


METER = Meter()


def together(function: Callable[P, T]) -> Callable[P, T]:
    """Give all renders within a call of the function `MAX_SECONDS_TOGETHER`, and whatever else it does that looks."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        if METER.together:
            return function(*args, **kwargs)
        METER.together, METER.first, METER.renders = True, None, 0
        try:
            return function(*args, **kwargs)
        finally:
            METER.together = False

    return wrapper


def check_number(value: Any, times: int = 1) -> None:
    """Raise `LimitError` for a whole number that would have too many digits."""
    if isinstance(value, int) and value.bit_length() * times > _BITS:
        raise LimitError("the template makes too large a number")


def weighed(value: Any) -> Any:
    """The value, its work counted. One that holds itself many times over is refused before it is walked through."""
    if isinstance(value, str):
        work = len(value)
        fits(work)
    elif isinstance(value, list | tuple | dict | set | frozenset):
        work = _weigh(value, 1)
    else:
        check_number(value)
        work = VALUE
    METER.charge(work)
    return value


def _weigh(value: Any, depth: int, work: int = 0) -> int:
    if depth > MAX_DEPTH:
        raise LimitError(f"the template nests lists deeper than {MAX_DEPTH} levels")
    children = (*value, *value.values()) if isinstance(value, dict) else value
    for child in children:
        work += VALUE
        if isinstance(child, str):
            work += len(child)
        elif isinstance(child, list | tuple | dict | set | frozenset):
            work = _weigh(child, depth + 1, work)
        if work > METER.largest:
            raise LimitError("the template makes too large a list")
    return work


def counted(values: Iterable[Any]) -> Iterator[Any]:
    """The values, each of them counted as it is taken."""
    for value in values:
        METER.charge(VALUE)
        yield value


def fits(length: int) -> None:
    """Raise `LimitError` for a text that would be longer than any may be."""
    if length > METER.largest:
        raise LimitError("the template makes too large a value")


def joined(parts: Iterable[str]) -> str:
    """The parts as one text, counted."""
    taken, length = [], 0
    for part in parts:
        length += len(part)
        fits(length)
        taken.append(part)
    METER.charge(length)
    return "".join(taken)
