"""Run a coroutine from synchronous code."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


def run_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end, even if an event loop is already running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_run, work).result()


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        from uvloop import new_event_loop  # needs a sixth less time per row than asyncio's loop
    except ImportError:  # not on Windows, not on PyPy
        return asyncio.run(work())
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work())
