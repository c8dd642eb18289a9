"""Run a few rows and keep the chat, reply, columns and time of each.

The requests are the same as in a run. Their replies go to the run's store, so the run does not request them again.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from distask.errors import RowError
from distask.runner.engine.calls import Calls, Pending
from distask.runner.engine.loop import run_loop
from distask.runner.engine.requests import Requests
from distask.runner.engine.shared import Shared
from distask.runner.stats import Stats
from distask.runner.targets import budget_of, fallback, target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distask.llm.config.resolve import Resolved
    from distask.runner.generations import Generation
    from distask.store import Store
    from distask.task.task import Task


class Trial(Struct, frozen=True):
    """A row to preview."""

    task: Task
    values: Mapping[str, Any]
    index: int = 0
    """The row's index in the data."""


class Tried(Struct, frozen=True):
    """The outcome of a previewed row."""

    generations: list[Generation] = field(default_factory=list)
    keywords: dict[str, Any] = field(default_factory=dict)
    """The request's keywords, without the chat."""
    seconds: float | None = None
    """Time from the first call to the last reply; None if all replies were stored or the row has no valid request."""


def try_rows(
    trials: Sequence[Trial],
    llm: Resolved,
    store: Store | None = None,
    num_generations: int = 1,
    *,
    max_cost: float | None = None,
) -> tuple[list[Tried], Stats]:
    """Run all rows concurrently; raises `RunError` if the endpoint refuses all of them."""
    stats = Stats()

    async def work() -> list[Tried]:
        endpoint_target = target(llm)
        stats.priced = endpoint_target.price is not None
        shared = Shared(stats, budget_of(max_cost, stats, endpoint_target))
        known: dict[int, tuple[Calls, Requests]] = {}
        going = []
        for trial in trials:
            task = trial.task
            if id(task) not in known:
                calls = Calls(
                    task, num_generations, endpoint_target, store, shared, fallback=fallback(task, llm, endpoint_target)
                )
                known[id(task)] = calls, Requests(task, endpoint_target)
            going.append(_try(trial, *known[id(task)]))
        try:
            done = await asyncio.gather(*going, return_exceptions=True)
        finally:
            shared.count_calls()
            await asyncio.gather(*(client.close() for client in shared.clients), return_exceptions=True)
        for one in done:
            if isinstance(one, BaseException):
                raise one
        tried = [one for one in done if isinstance(one, Tried)]
        for trial, one in zip(trials, tried, strict=True):
            known[id(trial.task)][0].count(partial("row {}".format, trial.index), one.generations)
            stats.rows += 1
        return tried

    try:
        return run_loop(work), stats
    finally:
        stats.end()


async def _try(trial: Trial, calls: Calls, requests: Requests) -> Tried:
    try:
        asked = requests.of(trial.values, trial.index)
    except RowError as error:
        return Tried(calls.refused(error))
    keywords = asked.request.keywords
    begun = calls.begin(trial.values, trial.index, asked)
    if not isinstance(begun, Pending):
        return Tried(begun, keywords)
    since = time.perf_counter()
    generations = await calls.finish(begun)
    seconds = time.perf_counter() - since
    return Tried(generations, keywords, seconds if any(g.paid or g.completion is None for g in generations) else None)
