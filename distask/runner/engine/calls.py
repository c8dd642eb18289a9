"""Process one row with one task: render it, check the store, request missing replies and parse them.

`llm.retry` decides whether a failure ends a call or the run. The spec's `on_invalid` decides how to handle invalid
replies.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from distask.errors import EndpointError, RowError, RunError, StoreError
from distask.llm.request import CallFailed, Completion, Failure
from distask.runner.generations import Generation, total
from distask.runner.stats import ModelUse

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from distask.llm.client import Keep
    from distask.llm.config.model import Price
    from distask.llm.request import Message, Request
    from distask.runner.engine.budget import Budget
    from distask.runner.engine.requests import Client, RowRequest, Target
    from distask.runner.engine.shared import Shared
    from distask.store import Store
    from distask.task.draws import Index
    from distask.task.task import Task

log = logging.getLogger(__name__)

FEEDBACK = "That reply can't be used: {error}. Reply again, to the same request, in the format it asks for."
"""Message to the model with `on_invalid: {feedback: true}`."""


class Pending(Struct, frozen=True):
    """A row with replies that are not in the store."""

    values: Mapping[str, Any]
    index: Index
    asked: RowRequest
    found: dict[int, Completion]


class Calls:
    """Makes the calls of one task.

    Args:
        task: the task.
        num_generations: number of replies per row.
        target: the model and endpoint to use.
        store: stores completions; None to store nothing.
        shared: the run's shared state.
        fallback: the model to use if no reply is valid (`on_invalid.fallback`).
    """

    def __init__(
        self,
        task: Task,
        num_generations: int,
        target: Target,
        store: Store | None,
        shared: Shared,
        *,
        fallback: Target | None = None,
    ) -> None:
        self.task = task
        self.samples = range(num_generations)
        self._target = target
        self._fallback = fallback
        self._store = store if target.keep else None
        self._shared = shared
        self._sources: dict[Target, int | None] = {}
        self._equal = shared.equal
        self._adapter = target.client.adapter
        self._logs = log.isEnabledFor(logging.DEBUG)
        self._asks_again = task.spec.on_invalid.retry > 0 or fallback is not None
        for endpoint_target in (target, fallback):
            if endpoint_target is not None:
                shared.know(endpoint_target.client)
                shared.stats.note_model(_use(task.name, endpoint_target, fallback=endpoint_target is fallback))
                if store is not None and endpoint_target.keep:
                    endpoint_target.client.adapter.remember(store)

    def find(self, asked: Sequence[RowRequest]) -> list[list[Completion | None]]:
        """Look up the replies of many requests together: for each request, the stored reply of each sample."""
        if self._store is None or not asked:
            return [[None for _ in self.samples] for _ in asked]
        keys = [each.key(sample) for each in asked for sample in self.samples]
        found = self._store.get_many(keys, asked[0].request.max_tokens)  # the same for all requests of a task
        return [found[start : start + len(self.samples)] for start in range(0, len(found), len(self.samples))]

    def begin(
        self,
        values: Mapping[str, Any],
        index: Index,
        asked: RowRequest,
        found: Sequence[Completion | None] | None = None,
    ) -> list[Generation] | Pending:
        """Return the generations if the store has every reply that they need, else a pending row.

        `found` has the stored replies, if they were looked up. Nothing may be awaited in between.
        """
        if found is None:
            found = [self._stored(asked, sample) for sample in self.samples]
        kept = [completion for completion in found if completion is not None]
        if kept:
            self._adapter.note(asked.request)
            self._shared.stats.reused(kept)
            if self._logs:
                log.debug("row %s: %d of %d replies from the store", index, len(kept), len(found))
            if len(kept) == len(found):
                generations = [self._read(values, index, asked.request, completion) for completion in kept]
                if not self._asks_again or all(g.error is None for g in generations):
                    return generations
        return Pending(values, index, asked, {s: c for s, c in enumerate(found) if c is not None})

    async def finish(self, pending: Pending) -> list[Generation]:
        """Request the missing replies; raises errors that end the run."""
        asked, found = pending.asked, pending.found
        missing = [s for s in self.samples if s not in found]
        try:
            answers: dict[int, Completion | Failure] = {**found, **(await self._answers(asked, missing))}
            generations = [self._generation(pending, s, answers[s]) for s in self.samples]
            if self._asks_again and any(g.error is not None for g in generations):
                again = [partial(self._asked_again, pending, s, generations[s]) for s in self.samples]
                generations = await together(again)
        except CallFailed as error:  # ends the run; failures of a row are in `answers`
            failure = error.failure
            message = failure.message if failure.hint is None else f"{failure.message}\n{failure.hint}"
            raise EndpointError(message) from None
        return generations

    def refused(self, error: RowError, messages: list[Message] | None = None) -> list[Generation]:
        """Return failed generations for a row without a valid request."""
        return [Generation(self._target.model, messages, error=error) for _ in self.samples]

    def count(self, placed: Callable[[], str], generations: Sequence[Generation]) -> None:
        """Count how a row's generations ended; with `then: fail`, an invalid reply ends the run.

        `placed` returns the row's place, for messages.
        """
        stats = self._shared.stats
        stats.generations += len(generations)
        for sample, generation in enumerate(generations):
            if generation.completion is not None and generation.completion.finish_reason == "length":
                stats.cut += 1
            if (error := generation.error) is None:
                continue
            place, then = placed(), self.task.spec.on_invalid.then
            self._shared.failed(place, sample, error.kind, error.message)
            if then == "drop":
                stats.dropped += 1
            elif then == "fail" and generation.completion is not None and not self._shared.collecting:
                reason = f"{place}: {error.message} (the spec says `on_invalid: {{then: fail}}`)"
                self._shared.halt(RunError(reason))

    # Requests

    def _stored(self, asked: RowRequest, sample: int, attempt: int = 0) -> Completion | None:
        if self._store is None:
            return None
        return self._store.get(asked.key(sample, attempt), asked.request.max_tokens)

    def _answers(self, asked: RowRequest, missing: list[int]) -> Coroutine[Any, Any, dict[int, Completion | Failure]]:
        if asked.cold and missing:
            return self._shared_answers(asked, missing)
        return self._ask(self._target, asked, missing)

    async def _shared_answers(self, asked: RowRequest, missing: list[int]) -> dict[int, Completion | Failure]:
        """Share replies among equal requests: one of them is sent, the others wait for it."""
        key = asked.fingerprint, tuple(missing)
        first = self._equal.get(key)
        if first is not None:
            answers = await asyncio.shield(first)
            self._shared.stats.stored += len(missing)
            return answers
        self._equal[key] = future = asyncio.ensure_future(self._ask(self._target, asked, missing))
        try:
            return await future
        finally:
            del self._equal[key]

    def _generation(self, pending: Pending, sample: int, answer: Completion | Failure) -> Generation:
        """Build the first generation from a sample's answer."""
        request = pending.asked.request
        if isinstance(answer, Failure):
            return Generation(request.model, request.messages, error=RowError(answer.kind, answer.message))
        generation = self._read(pending.values, pending.index, request, answer)
        generation.paid = sample not in pending.found
        return generation

    async def _asked_again(self, pending: Pending, sample: int, generation: Generation) -> Generation:
        """Retry an invalid reply as often as the spec says, then use the fallback."""
        if generation.completion is None:  # no reply
            return generation
        asked, policy = pending.asked, self.task.spec.on_invalid
        for attempt in range(1, policy.retry + 1):
            if generation.error is None:
                return generation
            request = asked.request
            if policy.feedback:
                request = replace(request, messages=_with_feedback(request.messages, generation))
            generation = await self._once_more(pending, self._target, asked.again(request), sample, attempt, generation)
        if generation.error is not None and self._fallback is not None:
            keywords = self.task.keywords(pending.values, pending.index)
            was = asked.request
            request = self._fallback.request(was.messages, keywords, was.example, was.route, self.task.needed)
            generation = await self._once_more(pending, self._fallback, asked.again(request), sample, 0, generation)
        return generation

    async def _once_more(
        self, pending: Pending, target: Target, asked: RowRequest, sample: int, attempt: int, before: Generation
    ) -> Generation:
        answer: Completion | Failure
        stored = self._stored(asked, sample, attempt)
        if stored is None:
            kind = before.error and before.error.kind
            log.info("row %s: the reply is invalid (%s); retrying", pending.index, kind)
            answer = (await self._ask(target, asked, [sample], attempt))[sample]
            self._shared.stats.invalid_retries += 1
        else:
            target.client.adapter.note(asked.request)
            answer = stored
            self._shared.stats.reused([stored])
        if isinstance(answer, Failure):  # the previous reply is more useful
            return before
        generation = self._read(pending.values, pending.index, asked.request, answer)
        usage, paid = total(before.usage, generation.usage), before.paid or stored is None
        if generation.columns is None and before.columns is not None:  # some of its list entries are valid
            generation = before
        generation.usage, generation.paid = usage, paid
        return generation

    async def _ask(
        self, target: Target, asked: RowRequest, samples: Sequence[int], attempt: int = 0
    ) -> dict[int, Completion | Failure]:
        """Get a completion or a failure for each of `samples`; repeats the request if the server sends too few."""
        if (deferred := self._shared.deferred) is not None and target.has_batches:
            return {**deferred.answers(target, asked, samples, attempt)}
        answers: dict[int, Completion | Failure] = {}
        waiting = list(samples)
        while waiting:
            first, *others = target.client.groups(waiting)
            if not others:
                answers |= await self._call(target, asked, first, attempt)
            else:
                calls = [partial(self._call, target, asked, group, attempt) for group in (first, *others)]
                for part in await together(calls):
                    answers |= part
            waiting = [s for s in waiting if s not in answers]
        return answers

    async def _call(
        self, target: Target, asked: RowRequest, samples: Sequence[int], attempt: int
    ) -> dict[int, Completion | Failure]:
        """Make and count one call; stores the replies before they count as done."""
        request, price, budget = asked.seeded(samples[0], attempt), target.price, self._shared.budget
        keep = partial(self._keep, target, asked, samples, attempt) if self._store is not None and target.keep else None
        try:
            if budget is None or price is None:
                completions = await target.client.ask(request, samples, keep)
                self._shared.stats.paid(completions, price)
            else:
                completions = await self._within(budget, price, target.client, request, samples, keep)
        except CallFailed as error:
            if error.failure.scope == "run":
                raise
            return dict.fromkeys(samples, error.failure)
        return dict(zip(samples, completions, strict=False))

    async def _within(
        self,
        budget: Budget,
        price: Price,
        client: Client,
        request: Request,
        samples: Sequence[int],
        keep: Keep | None,
    ) -> list[Completion]:
        """Make one call with its maximum cost reserved in the budget."""
        aside = await budget.reserve(request, len(samples), price)
        completions: list[Completion] = []
        try:
            completions = await client.ask(request, samples, keep)
            self._shared.stats.paid(completions, price)
        finally:
            budget.give_back(aside, request, completions, price)
        return completions

    async def _keep(
        self, target: Target, asked: RowRequest, samples: Sequence[int], attempt: int, completions: list[Completion]
    ) -> None:
        assert self._store is not None
        try:
            kept = [(asked.key(s, attempt), c) for s, c in zip(samples, completions, strict=False)]
            await self._store.put(kept, asked.request.max_tokens, self._source(self._store, target))
        except StoreError as error:  # the reply still goes to the output
            self._shared.halt(error)

    def _source(self, store: Store, target: Target) -> int | None:
        if target not in self._sources:
            price = None if target.price is None else target.price.model_dump(exclude_defaults=True)
            self._sources[target] = store.source(self.task.name, target.endpoint, target.model, price)
        return self._sources[target]

    def _read(self, values: Mapping[str, Any], index: Index, request: Request, completion: Completion) -> Generation:
        generation = Generation(request.model, request.messages, completion, usage=completion.usage)
        self._shared.stats.note_served(self.task.name, request.endpoint, request.model, completion.model)
        try:
            parsed = self.task.parse_reply(completion, values, index)
        except RowError as error:
            generation.error = error
        else:
            generation.columns, generation.error = parsed.columns, parsed.error
        return generation


def _use(step: str, used: Target, *, fallback: bool) -> ModelUse:
    provider = None if used.llm is None else used.llm.config.provider
    return ModelUse(step, used.endpoint, used.model, provider, dict(used.generation), fallback)


async def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run calls concurrently; if one raises, still waits for the others, since they are paid for."""
    if len(calls) == 1:
        return [await calls[0]()]
    results = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _with_feedback(messages: list[Message], generation: Generation) -> list[Message]:
    assert generation.completion is not None
    assert generation.error is not None
    return [
        *messages,
        {"role": "assistant", "content": generation.completion.text or ""},
        {"role": "user", "content": FEEDBACK.format(error=generation.error.message)},
    ]
