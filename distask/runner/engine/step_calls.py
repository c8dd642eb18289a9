"""Answer the requests of steps from the store or from the step's endpoint."""

from __future__ import annotations

import os
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from distask.errors import RowError, RunError, UsageError
from distask.llm.config.file import built_in
from distask.llm.config.resolve import load_config
from distask.llm.prices import known_of
from distask.runner.batch.deferred import WAITS
from distask.runner.engine.calls import Calls, Pending
from distask.runner.engine.requests import Occurrences, Target, row_request
from distask.runner.generations import METADATA_COLUMN, MODEL_COLUMN, Shape, output_rows
from distask.runner.targets import target
from distask.spec.language.model import LLM
from distask.spec.language.steps import StepLLM
from distask.task.steps.flow import Made

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from distask.llm.config.resolve import Resolved
    from distask.llm.prices import Known
    from distask.runner.engine.shared import Shared
    from distask.runner.generations import Generation
    from distask.store import Store
    from distask.task.steps.flow import Ask

MOST_KEPT = 1_024
"""Maximum number of tasks whose `Calls` object is cached."""
_UNNAMED = ("finish_reason", "served_model", "sample")
"""Metadata keys without the task's name; in a pipeline, the step's name is appended."""


class MadeLater(Struct, frozen=True):
    """The result of a request that still has to be sent."""

    finish: Callable[[], Coroutine[Any, Any, list[Made] | None]]
    size: int
    """Bytes of the request."""


class Targets:
    """The targets of the steps of one run.

    Args:
        llm: the run's config.
        shared: the run's shared state.
        notify: called once with each message about a server.
        need_key: whether calls will be made, which need an API key.
    """

    def __init__(
        self, llm: Resolved, shared: Shared, notify: Callable[[str], None] | None = None, *, need_key: bool = True
    ) -> None:
        self._need_key = need_key
        self._facts: dict[int, Known] = {}
        self._llm = llm
        self._shared = shared
        self._tell = notify
        self._endpoints: dict[tuple[str | None, str | None], Target] = {}
        """Targets whose client all steps with the same endpoint share; a model in this process is its own endpoint."""
        self._known: dict[tuple[str, str], Target] = {}

    def of(self, llm: StepLLM, defaults: LLM) -> Target:
        """Return the target of a step; raises `UsageError` if its config is wrong or the API key is missing."""
        key = llm.model_dump_json(exclude_none=True), defaults.model_dump_json(exclude_none=True)
        if key not in self._known:
            self._known[key] = self._made(llm, defaults)
        return self._known[key]

    def known(self, step_target: Target) -> Known:
        """Return the known facts about a target's model."""
        return self._facts[id(step_target)]

    def fallback(self, wanted: LLM | str | None, first: Target, llm: StepLLM) -> Target | None:
        """Return the target of a task's `on_invalid.fallback`."""
        if wanted is None:
            return None
        if isinstance(wanted, str):
            return self.of(StepLLM.model_validate({"config": wanted}), LLM.model_validate({}))
        joined = {**llm.model_dump(exclude_none=True), **wanted.model_dump(exclude_none=True)}
        joined.setdefault("model", first.model)
        return self.of(StepLLM.model_validate(joined), LLM.model_validate({}))

    def _made(self, llm: StepLLM, defaults: LLM) -> Target:
        config = None if self._llm.config.provider == "offline" else llm.config
        resolved = self._llm
        if config is not None:
            resolved = load_config(built_in(config), model=llm.model, environ=os.environ, need_key=self._need_key)
        own = llm.model_dump(exclude_none=True, exclude={"config", "model"})
        resolved = resolved.over(LLM.model_validate({**defaults.model_dump(exclude_none=True), **own}))
        provider = resolved.config.provider
        if llm.model is not None and provider != "offline":
            resolved = replace(resolved, config=resolved.config.model_copy(update={"model": llm.model}))
        endpoint = config, resolved.config.model if provider == "llamacpp" else None
        first = self._endpoints.setdefault(endpoint, target(resolved, self._tell))
        made = target(resolved, self._tell, lambda: first.client)
        self._shared.stats.priced |= made.price is not None
        self._facts[id(made)] = known_of(resolved)
        if self._shared.budget is not None and made.price is None and made.keep:
            raise UsageError(f"--max-cost needs the price of {made.model} at {made.endpoint}, which a step uses")
        return made


class StepCalls:
    """Answers the requests of steps in order; at once if the store has every reply.

    Args:
        targets: the targets of the steps.
        store: stores completions; None to store nothing.
        shared: the run's shared state.
    """

    def __init__(self, targets: Targets, store: Store | None, shared: Shared) -> None:
        self._targets = targets
        self._store = store
        self._shared = shared
        self._occurrences = Occurrences()
        self._calls: OrderedDict[Any, tuple[Calls, Target]] = OrderedDict()

    def begin(self, ask: Ask, *, first: bool) -> list[Made] | MadeLater | None:
        """Return the result of a request, or an object that gets it later; None while it is in a batch.

        `first` is true in the row's first segment. Its first request is then numbered like in a run of a single task,
        so that both use the same stored replies.
        """
        try:
            calls, step_target = self._calls_of(ask)
        except UsageError as error:
            raise RunError(f"{ask.place}, step {ask.step}: {error}") from None
        lineage = ask.lineage
        counted = first and lineage.fresh and not lineage.asked
        occurrence = self._occurrences.next if counted else lineage.occurrence
        try:
            asked = row_request(ask.task, step_target, ask.values, ask.index, occurrence)
        except RowError as error:
            return self._made(ask, calls, calls.refused(error))
        begun = calls.begin(ask.values, ask.index, asked)
        if isinstance(begun, Pending):
            return MadeLater(partial(self._finish, ask, calls, begun), asked.size)
        return self._made(ask, calls, begun)

    async def _finish(self, ask: Ask, calls: Calls, pending: Pending) -> list[Made] | None:
        return self._made(ask, calls, await calls.finish(pending))

    def _made(self, ask: Ask, calls: Calls, generations: Sequence[Generation]) -> list[Made] | None:
        calls.count(lambda: f"{ask.place}, step {ask.step}", generations)
        shape = Shape(ask.num_generations, ask.grouped, METADATA_COLUMN)
        if self._shared.collecting and any(g.error is not None and g.error.kind == WAITS.kind for g in generations):
            return None
        rows = output_rows(ask.task, shape, 0, generations)
        if ask.grouped or len(rows) == len(generations):
            none = [g.columns is None for g in generations]  # with columns, only list entries are null
            failed = [all(none)] if ask.grouped else none
        else:
            failed = [False] * len(rows)  # the others were dropped
        return [
            Made(
                {n: v for n, v in row.items() if n not in (METADATA_COLUMN, MODEL_COLUMN)},
                named(row[METADATA_COLUMN], ask.step),
                row[MODEL_COLUMN],
                bad,
            )
            for row, bad in zip(rows, failed, strict=True)
        ]

    def _calls_of(self, ask: Ask) -> tuple[Calls, Target]:
        step_target = self._targets.of(ask.llm, ask.defaults)
        key = ask.task, id(step_target), ask.num_generations
        if key not in self._calls:
            last = self._targets.fallback(ask.task.spec.on_invalid.fallback, step_target, ask.llm)
            calls = Calls(ask.task, ask.num_generations, step_target, self._store, self._shared, fallback=last)
            self._calls[key] = calls, step_target
            if len(self._calls) > MOST_KEPT:
                self._calls.popitem(last=False)
        return self._calls[key]


def named(metadata: Any, step: str) -> dict[str, Any]:
    """Return the metadata of a step with the step's name in its keys; grouped generations have lists as values."""
    if isinstance(metadata, list):
        several = [named(each, step) for each in metadata]
        names = dict.fromkeys(name for each in several for name in each)
        return {name: [each.get(name) for each in several] for name in names if not name.startswith("sample_")}
    return {f"{name}_{step}" if name in _UNNAMED else name: value for name, value in metadata.items() if name != "row"}
