"""Build the targets and the budget of a run from its config."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec.structs import replace

from distask.errors import UsageError
from distask.llm.config.file import built_in
from distask.llm.config.resolve import LLAMACPP, load_config
from distask.llm.prices import known_of
from distask.runner.engine.requests import Target, merged
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from distask.llm.config.resolve import Resolved
    from distask.runner.engine.budget import Budget
    from distask.runner.engine.requests import Client
    from distask.runner.job import Job
    from distask.runner.stats import Stats


def target(
    llm: Resolved, notify: Callable[[str], None] | None = None, connected: Callable[[], Client] | None = None
) -> Target:
    """Build the target of a config, with its own client unless `connected` returns one.

    `notify` is called with messages about the server.
    """
    offline = llm.config.provider == "offline"
    model = llm.config.model or "(the first one that the server lists)"
    price = None if offline else known_of(llm).price

    def connect() -> Client:
        from distask.llm.client import build_client  # a plan sends no requests and needs no event loop

        return build_client(llm, notify)

    return Target(
        connected or connect,
        llm.endpoint(),
        model,
        llm.generation,
        keep=not offline,
        price=price,
        llm=llm,
        fixed=llm.set_by_user(),
    )


def targets_of(job: Job) -> set[tuple[str, str]] | None:
    """Return the endpoints and models that a job may use; None if they are known only once it runs."""
    if not isinstance(job.task, Task):
        return None
    first = target(job.llm)
    used = [each for each in (first, fallback(job.task, job.llm, first)) if each is not None]
    if any(each.llm is not None and each.llm.config.provider == LLAMACPP for each in used):
        return None  # its endpoint is known once the file is fetched
    return {(each.endpoint, each.model) for each in used}


def budget_of(max_cost: float | None, stats: Stats, *targets: Target | None, leased: bool = False) -> Budget | None:
    """Build the budget of a run, or with `leased`, of one of its engines.

    Raises:
        UsageError: the price of a target is unknown.
    """
    if max_cost is None:
        return None
    for used in targets:
        if used is not None and used.price is None and used.keep:
            raise UsageError(
                f"--max-cost needs the price of {used.model} at {used.endpoint}: set it in USD per million tokens "
                "with --set price.input=0.40 --set price.output=1.60, or with `price` in the config"
            )
    if leased:
        from distask.runner.engine.leased_budget import LeasedBudget

        return LeasedBudget(stats)
    from distask.runner.engine.budget import Budget

    return Budget(max_cost, stats)


def fallback(task: Task, llm: Resolved, first: Target) -> Target | None:
    """Return the target of `on_invalid.fallback`: another model at the same endpoint, or a built-in config."""
    wanted = task.spec.on_invalid.fallback
    if wanted is None:
        return None
    if isinstance(wanted, str):
        return target(load_config(built_in(wanted), environ=os.environ))
    model = wanted.model or first.model
    keywords = wanted.keywords()
    other = replace(llm, config=llm.config.model_copy(update={"model": model}))
    return Target(
        lambda: first.client,
        first.endpoint,
        model,
        merged(first.generation, keywords),
        keep=first.keep,
        price=known_of(other).price,
        llm=other,
        fixed={name: hint for name, hint in first.fixed.items() if name not in keywords},
    )
