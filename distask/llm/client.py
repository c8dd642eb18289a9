"""Get completions for a request, and handle server trouble: pacing, retries, and the end of the run.

The engine sees either completions or a final failure. After a failure that ends the run, no more requests are sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from distask.llm.adaptation import Adapter
from distask.llm.http.transport import is_local
from distask.llm.pacing.backoff import backoff
from distask.llm.pacing.circuit_breaker import Breaker
from distask.llm.pacing.latency import Latency
from distask.llm.pacing.pace import Pace
from distask.llm.providers.offline import OfflineProvider
from distask.llm.providers.openai import Endpoint, OpenAIProvider
from distask.llm.request import CallFailed
from distask.llm.schemas.dialects import LLAMA_CPP, known_dialect
from distask.llm.schemas.requests import SchemaFitter
from distask.llm.tokens import estimate_tokens
from distask.llm.tracing import tracer_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.llm.config.resolve import Resolved
    from distask.llm.pacing.pace import Place
    from distask.llm.request import Completion, Failure, Request
    from distask.llm.tracing import Tracer

log = logging.getLogger(__name__)

MOST_CHOICES = 128
"""Maximum completions per call: OpenAI's limit."""
LONGEST_LIMITED = 3600.0
"""Seconds of nothing but 429s after which a request fails: an hour, since most limits reset within it."""
SHORTEST_SECRET = 4
"""Characters; hiding a shorter value would damage messages without protecting a secret."""
TROUBLES = frozenset({"server_error", "connection", "tls"})
"""Failures that, many in a row, make the complete endpoint pause."""


Keep = Callable[[list["Completion"]], Awaitable[None]]


class Provider(Protocol):
    """Answers requests."""

    async def complete(self, request: Request, samples: Sequence[int]) -> list[Completion]:
        """Request `len(samples)` completions in one exchange and return at least one; raises `CallFailed`."""

    async def close(self) -> None:
        """Close all connections."""


class Client:
    """One endpoint, shared by many rows.

    Args:
        provider: what answers requests.
        pace: decides when a call may begin.
        max_retries: maximum number of retries for a request; 429s do not count.
        max_retry_seconds: how long a request is tried, its calls and the waits between them; 429s and timeouts do
            not count.
        random: source of jitter for waits.
        on_event: called once with each sentence that the user should know.
    """

    def __init__(
        self,
        provider: Provider,
        pace: Pace | None = None,
        *,
        max_retries: int = 8,
        max_retry_seconds: float = 900,
        random: Random | None = None,
        on_event: Callable[[str], None] | None = None,
    ) -> None:
        self.provider = provider
        self.pace = pace or Pace()
        self.tracer: Tracer | None = None
        """Makes tracing spans of the calls."""
        self.honours_n = True
        self.calls = 0
        self.retries = 0
        self.latency = Latency()
        """Of the calls that got a response."""
        self.failures: Counter[str] = Counter()
        """Kind of failure to the number of calls that ended with it, including retried ones."""
        self.events: list[str] = []
        self.max_retries = max_retries
        self.max_retry_seconds = max_retry_seconds
        self.random = random or Random()  # noqa: S311 - jitter
        self._on_event = on_event
        self.adapter = Adapter(self._notify)
        """What the models refuse, and how requests are adapted."""
        self._breaker = Breaker()
        self._fatal: Failure | None = None
        self.answered_at = float("-inf")
        """The event loop's time when a call last succeeded."""
        self._resting: set[asyncio.Future[None]] = set()
        self._has_timed_out = False

    @property
    def in_flight(self) -> int:
        """Number of calls in flight."""
        return self.pace.in_flight

    @property
    def ceiling(self) -> int:
        """How many calls may be in flight now."""
        return self.pace.ceiling

    @property
    def pace_reason(self) -> str:
        """What limits the calls besides the user's own limits; empty if nothing does."""
        return self.pace.reason

    def groups(self, samples: Sequence[int]) -> list[list[int]]:
        """Group samples into calls: one call for all if the server supports n, else one call for each."""
        size = MOST_CHOICES if self.honours_n else 1
        return [list(samples[i : i + size]) for i in range(0, len(samples), size)]

    def ask(
        self, request: Request, samples: Sequence[int], keep: Keep | None = None
    ) -> Coroutine[Any, Any, list[Completion]]:
        """Return at least one completion, for the first of `samples`, in order; the caller requests the rest.

        `keep` gets them before the call's place is released: a killed run never loses more calls than may be in flight.

        Raises:
            CallFailed: the row's failure, or the run's (scope "run"), which every later call raises too.
        """
        ask = self._ask(request, samples, keep)
        return ask if self.tracer is None else self._traced(self.tracer, request, len(samples), ask)

    async def _traced(
        self, tracer: Tracer, request: Request, samples: int, ask: Coroutine[Any, Any, list[Completion]]
    ) -> list[Completion]:
        with tracer.call(request, samples) as traced:
            completions = await ask
            traced.extend(completions)
        return completions

    async def _ask(self, request: Request, samples: Sequence[int], keep: Keep | None) -> list[Completion]:
        tries = _Tries(self)
        while True:
            asked = samples if self.honours_n else samples[:1]
            try:
                completions = await self._call(request, asked, tries, keep)
            except CallFailed as error:
                failure = error.failure
            else:
                self._breaker.success(self.answered_at)
                if len(completions) < len(asked):
                    self._learn_n("the server sent fewer completions than n asked for")
                return completions
            if self._fatal is not None:
                raise CallFailed(self._fatal)
            self.failures[failure.kind] += 1
            if failure.kind == "n_refused" and len(asked) > 1:
                self._learn_n("the server refused n above 1")
                continue
            refusal = self.adapter.learn(tries.sent or request, failure)
            if refusal is None:
                continue
            failure = refusal
            seconds = tries.wait(failure)
            if (final := self._final(request, failure, tries, is_last=seconds is None)) is not None:
                raise CallFailed(final)
            self.retries += 1
            log.info("%s: %s; try %d in %.1f s", failure.kind, failure.message, tries.count + 1, seconds or 0.0)
            if seconds:
                await self._rest(seconds)

    def stop(self, failure: Failure) -> None:
        """Send no more requests: waiting and later calls raise this failure."""
        if self._fatal is None:
            self._fatal = failure
            self.pace.end()
            for future in self._resting:
                if not future.done():
                    future.set_result(None)

    def share(self, fraction: float) -> None:
        """Use only a fraction of the limits, because other machines use the same endpoint for this run."""
        self.pace.share(fraction)

    async def close(self) -> None:
        """Close the provider's connections."""
        await self.provider.close()

    async def _call(
        self, request: Request, samples: Sequence[int], tries: _Tries, keep: Keep | None
    ) -> list[Completion]:
        pace = self.pace
        if self._fatal is not None:
            raise CallFailed(self._fatal)
        estimate = _tokens(request, len(samples)) if pace.counts_tokens else 0
        async with pace.place(estimate, first=tries.count > 0) as place:
            try:
                completions = await self._send(request, samples, tries, place)
            except CallFailed as error:
                self._slow_down(error.failure, place)
                if log.isEnabledFor(logging.DEBUG):
                    log.debug("%s: no reply in %.2f s: %s", request.model, _since(place), error.failure.message)
                raise
            self.latency.add(asyncio.get_running_loop().time() - place.begun)
            if log.isEnabledFor(logging.DEBUG):
                log.debug("%s: %s", request.model, _described(completions, len(samples), _since(place)))
            place.succeeded()
            self.answered_at = asyncio.get_running_loop().time()
            if pace.counts_tokens and (used := _used(completions)) is not None:
                place.used(used)
            completions = completions[: len(samples)]
            if keep is not None:
                await keep(completions)
            return completions

    async def _send(self, request: Request, samples: Sequence[int], tries: _Tries, place: Place) -> list[Completion]:
        """Send a request adapted to its model; after a refusal, wait for its turn to try the change."""
        is_trial = False
        if self.adapter.on_trial:
            is_trial = await self.adapter.enter(request)
            place.begun = asyncio.get_running_loop().time()
        if self._fatal is not None:
            if is_trial:
                self.adapter.leave(request, ended=False)
            raise CallFailed(self._fatal)
        ended = False
        try:
            self.calls += 1
            tries.begun, tries.sent = place.begun, self.adapter.fit(request)
            completions = await self.provider.complete(tries.sent, samples)
            ended = True
        except CallFailed:
            ended = True
            raise
        finally:
            if is_trial:
                self.adapter.leave(request, ended=ended)
        return completions

    def _slow_down(self, failure: Failure, place: Place) -> None:
        if failure.scope != "retry":
            return
        if failure.retry_after:
            log.info("pausing for %.1f s, as the server requests", failure.retry_after)
            self.pace.pause(failure.retry_after)
        if failure.kind == "rate_limit":
            self.pace.limited(place.begun)
            log.info("at most %d calls in flight from now on", self.pace.ceiling)
        elif failure.kind == "timeout":
            self.pace.timed_out(place.begun)
            if not self._has_timed_out:
                self._has_timed_out = True
                self._notify(f"a request got no reply in time: {failure.message}; {failure.hint or 'it is retried'}")
        elif failure.kind in TROUBLES:
            self.pace.troubled(place.begun)

    def _final(self, request: Request, failure: Failure, tries: _Tries, *, is_last: bool) -> Failure | None:
        """Return the failure for the caller: the row's, or the run's, which is remembered; None to retry."""
        if failure.scope == "retry" and failure.kind == "rate_limit":
            if not is_last:
                return None
            failure = replace(failure, scope="run")
        if failure.scope != "run":
            ended = self._breaker.failure(request, failure, tries.begun, is_final=is_last)
            if ended is None and not is_last:
                return None
            failure = ended or failure
        if failure.scope == "retry":
            message = f"{failure.message} (tried {tries.count} times)" if tries.count > 1 else failure.message
            failure = replace(failure, message=message, scope="row")
            log.info("given up: %s", message)
        if failure.scope == "run":
            self.stop(failure)
        return failure

    async def _rest(self, seconds: float) -> None:
        """Sleep, but wake up early if the run ends."""
        if self._fatal is not None:
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _wake, future)
        self._resting.add(future)
        try:
            await future
        finally:
            timer.cancel()
            self._resting.discard(future)

    def _learn_n(self, why: str) -> None:
        if self.honours_n:
            self.honours_n = False
            self._notify(f"{why}; the rest of the run requests one completion per call")

    def _notify(self, event: str) -> None:
        log.info("%s", event)
        self.events.append(event)
        if self._on_event is not None:
            self._on_event(event)


class _Tries:
    """One request's budget of tries and time, without the time it waits for its turn.

    A 429 uses neither. The request fails only if the server sends nothing but 429s to all requests for an hour.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._failed: Counter[str] = Counter()
        """Kind of failure to the number of calls that ended with it, without 429s."""
        self._limited = 0
        self._limited_since = 0.0
        self._seconds = 0.0
        self.begun = 0.0
        """The event loop's time when the last call began."""
        self.sent: Request | None = None
        """The request as the last call sent it."""

    @property
    def count(self) -> int:
        return self._failed.total() + self._limited

    def wait(self, failure: Failure) -> float | None:
        """Return the seconds to wait before the next try; None if there is none."""
        client = self._client
        now = asyncio.get_running_loop().time()
        if failure.kind == "rate_limit":
            self._limited += 1
            if self._limited == 1:
                self._limited_since = self.begun
            silent = now - max(self._limited_since, client.answered_at)
            return None if silent >= LONGEST_LIMITED else 0.0  # the pace decides when
        self._failed[failure.kind] += 1
        if failure.kind != "timeout":
            self._seconds += now - self.begun
        count, most = self._failed.total(), client.max_retries
        is_last = count > most or self._seconds >= client.max_retry_seconds
        if failure.max_retries is not None:
            is_last = is_last or self._failed[failure.kind] > failure.max_retries
        if failure.scope != "retry" or is_last:
            return None
        seconds = backoff(count, client.random)
        self._seconds += max(seconds, failure.retry_after or 0.0)
        return seconds


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _tokens(request: Request, samples: int) -> int:
    return estimate_tokens(request.messages) + (request.max_tokens or 0) * samples


def _since(place: Place) -> float:
    return asyncio.get_running_loop().time() - place.begun


def _described(completions: Sequence[Completion], wanted: int, seconds: float) -> str:
    """Summarize a response for the log: number of replies, time and tokens."""
    asked, made = completions[0].usage.input_tokens or 0, sum(c.usage.output_tokens or 0 for c in completions)
    return f"{len(completions)} of {wanted} replies in {seconds:.2f} s, {asked} tokens in, {made} out"


def _used(completions: Sequence[Completion]) -> int | None:
    counts = [(c.usage.input_tokens, c.usage.output_tokens) for c in completions]
    if any(a is None or b is None for a, b in counts):
        return None
    return sum((a or 0) + (b or 0) for a, b in counts)


def build_client(resolved: Resolved, on_event: Callable[[str], None] | None = None) -> Client:
    """Return the client that a config describes."""
    client = _client(resolved, on_event)
    client.tracer = tracer_of(resolved)
    return client


def _client(resolved: Resolved, on_event: Callable[[str], None] | None) -> Client:
    limits = resolved.config.limits
    if resolved.config.provider == "offline":
        return Client(OfflineProvider(), Pace(limits.concurrency, timeout=None))
    if resolved.config.provider == "llamacpp":
        pace = Pace(limits.concurrency, timeout=None)
        return Client(_llamacpp(resolved, on_event), pace, max_retries=limits.max_retries, on_event=on_event)
    return Client(
        OpenAIProvider(endpoint_of(resolved), timeout=limits.timeout, connections=limits.concurrency, notify=on_event),
        Pace(
            limits.concurrency,
            limits.requests_per_minute,
            limits.tokens_per_minute,
            timeout=limits.timeout,
            is_local=is_local(resolved.config.base_url or ""),
        ),
        max_retries=limits.max_retries,
        max_retry_seconds=limits.max_retry_seconds,
        on_event=on_event,
    )


def _llamacpp(resolved: Resolved, on_event: Callable[[str], None] | None) -> Provider:
    from distask.llm.providers.llamacpp import LlamaCppProvider

    schemas = SchemaFitter(known_dialect(resolved.config) or LLAMA_CPP, on_event)
    return LlamaCppProvider(resolved.config.model or "", resolved.config.llamacpp, schemas)


def endpoint_of(resolved: Resolved) -> Endpoint:
    """Return the endpoint that a config describes."""
    config = resolved.config
    secrets = (resolved.api_key, *resolved.headers.values())
    return Endpoint(
        base_url=config.base_url or "",
        headers=resolved.sent_headers(),
        secrets=tuple(s for s in secrets if s and len(s) >= SHORTEST_SECRET),
        key_env=config.api_key_env,
        azure_version=config.api_version if config.provider == "azure" else None,
        dialect=known_dialect(config),
    )
