"""Limit the output and time of templates, so that none can fill the memory or stall a run."""

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
"""Maximum numbers from all calls of `range` in one render."""
MAX_DEPTH = 64
"""Maximum nested levels of lists and mappings."""
PROMPT_CHARACTERS = 16 << 20
"""Default of `limits.prompt_characters`: maximum characters of a chat's text."""
WORK_PER_CHARACTER = 2
"""Maximum work of a render per allowed character of its text: a character counts 1, a value `VALUE`."""
MAX_SECONDS = 0.5
"""Maximum CPU seconds of a render; waiting for other threads does not count."""
MAX_SECONDS_TOGETHER = 1.0
"""Maximum CPU seconds of a group of renders: for the chat of a row, for a reply, or for compiling a task."""
VALUE = 32
"""The work that a value counts, in addition to its characters."""
_LARGEST = 16 << 20
"""The lowest limit for the work in one value, including characters of intermediate text (such as a data URL)."""
_LOOK_EVERY = 20_000
"""Work between two checks of the clock."""
_BITS = 100_000
"""Maximum bits of a whole number."""


class LimitError(TemplateRuntimeError):
    """A render exceeds a limit."""


class Meter(threading.local):
    """The usage of the current render in this thread."""

    def __init__(self) -> None:
        self.together = False
        """Whether the current renders share one time limit."""
        self.renders = 0
        self.first: float | None = None
        self.since: float | None = None
        self.work = self.ticks = self.ranged = self.largest = self.next_look = 0
        self.start()

    def start(self, prompt_characters: int = PROMPT_CHARACTERS) -> None:
        """Start a new render; its clock starts at the first check, so that small renders need none.

        Args:
            prompt_characters: maximum characters of the rendered text; the limits of its values grow with it.
        """
        usage = self.__dict__  # of this thread: each attribute of a thread's local object costs several look-ups
        usage["largest"] = max(prompt_characters, _LARGEST)
        usage["work"] = usage["ticks"] = usage["ranged"] = 0
        usage["next_look"] = _LOOK_EVERY
        usage["since"] = None
        if usage["together"]:
            usage["renders"] += 1
            if not usage["renders"] & 31:  # check the clock every 32 renders
                self.look()
        else:
            usage["first"] = None

    def charge(self, work: int) -> None:
        """Count work."""
        usage = self.__dict__
        usage["work"] += work
        if usage["work"] >= usage["next_look"]:
            self.look()

    def tick(self) -> None:
        """Count a step that creates no value."""
        usage = self.__dict__
        usage["ticks"] += 1
        if not usage["ticks"] & 7:
            self.look()

    def look(self) -> None:
        """Raise `LimitError` if the render exceeds a limit."""
        if self.work > WORK_PER_CHARACTER * self.largest:
            raise LimitError("the template creates too much data")
        now = time.thread_time()
        if self.since is None:
            self.since = now
        elif now - self.since > MAX_SECONDS:
            raise LimitError(f"the template takes longer than {MAX_SECONDS:g} s")
        self._look_at_all(now)
        self.next_look = self.work + _LOOK_EVERY

    def step(self) -> None:
        """Count a step outside a render that shares the time limit of a group."""
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
    """Limit all renders and other metered steps in a call of the function to `MAX_SECONDS_TOGETHER`."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        usage = METER.__dict__
        if usage["together"]:
            return function(*args, **kwargs)
        usage["together"], usage["first"], usage["renders"], usage["ticks"] = True, None, 0, 0
        try:
            return function(*args, **kwargs)
        finally:
            usage["together"] = False

    return wrapper


def check_number(value: Any, times: int = 1) -> None:
    """Raise `LimitError` if a whole number would have too many digits."""
    if isinstance(value, int) and value.bit_length() * times > _BITS:
        raise LimitError("the template creates too large a number")


_CONTAINERS = (list, tuple, dict, set, frozenset)
_SCALARS = frozenset((int, float, bool, type(None)))


def weighed(value: Any) -> Any:
    """Count the work in a value and return it; counting stops at the limit, even for a value that repeats itself."""
    usage = METER.__dict__
    if isinstance(value, str):
        work = len(value)
        if work > usage["largest"]:
            fits(work)
    elif isinstance(value, _CONTAINERS):
        work = _weigh(value, 1, 0, usage["largest"])
    else:
        check_number(value)
        work = VALUE
    usage["work"] += work
    if usage["work"] >= usage["next_look"]:
        METER.look()
    return value


def _weigh(value: Any, depth: int, work: int, largest: int) -> int:
    if depth > MAX_DEPTH:
        raise LimitError(f"the template nests lists deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        work = _weigh(value.keys(), depth, work, largest)
        value = value.values()
    for child in value:
        kind = type(child)
        if kind is str:
            work += VALUE + len(child)
        elif kind in _SCALARS:
            work += VALUE
        elif isinstance(child, str):
            work += VALUE + len(child)
        elif isinstance(child, _CONTAINERS):
            work = _weigh(child, depth + 1, work + VALUE, largest)
        else:
            work += VALUE
        if work > largest:
            raise LimitError("the template creates too large a list")
    return work


def counted(values: Iterable[Any]) -> Iterator[Any]:
    """Yield the values, and count each of them."""
    for value in values:
        METER.charge(VALUE)
        yield value


def fits(length: int) -> None:
    """Raise `LimitError` if a text would be too long."""
    if length > METER.largest:
        raise LimitError("the template creates too large a value")


def joined(parts: Iterable[str]) -> str:
    """Join the parts, and count the work."""
    taken, length = [], 0
    for part in parts:
        length += len(part)
        fits(length)
        taken.append(part)
    METER.charge(length)
    return "".join(taken)
