"""Build the request of a row and its store key, which is the same in every run and plan."""

from __future__ import annotations

from array import array
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from msgspec import Struct
from msgspec.structs import replace

from distask.llm.request import Completion, Failure, Request, digest, sample_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from distask.llm.adaptation import Adapter
    from distask.llm.config.model import Price
    from distask.llm.config.resolve import Resolved
    from distask.llm.pacing.latency import Latency
    from distask.llm.request import Message, Route
    from distask.task.draws import Index
    from distask.task.task import Task


SEEDS_APART = 10_007
"""Distance between the seeds of a request's attempts: more than the number of samples."""
ATTEMPTS_APART = 101
"""Distance between the seeds of equal rows, in attempts: more than the number of attempts."""


class Client(Protocol):
    """The client interface that the engine needs; `distask.llm.client` implements it."""

    calls: int
    retries: int
    latency: Latency
    adapter: Adapter

    @property
    def in_flight(self) -> int:
        """Number of calls in flight."""

    @property
    def ceiling(self) -> int:
        """Maximum number of calls in flight."""

    @property
    def pace_reason(self) -> str:
        """What slows calls down, apart from the user's limits; empty if nothing does."""

    def groups(self, samples: Sequence[int]) -> list[list[int]]:
        """Group the samples to request in one call each."""

    async def ask(
        self,
        request: Request,
        samples: Sequence[int],
        keep: Callable[[list[Completion]], Awaitable[None]] | None = None,
    ) -> list[Completion]:
        """Request completions; returns at least one, in the order of `samples`. Raises `CallFailed`.

        A call is in flight until `keep` has stored its completions.
        """

    def stop(self, failure: Failure) -> None:
        """Stop starting calls: each new call raises `CallFailed(failure)`."""

    def share(self, fraction: float) -> None:
        """Use only a fraction of the limits; 0 starts no calls."""

    async def close(self) -> None:
        """Close the connections."""


class Target:
    """The endpoint, model and generation settings for requests.

    Args:
        connect: creates the client on first use.
        endpoint: the server's base URL, or "offline".
        model: the model's name.
        generation: keywords of every request.
        keep: whether to store replies; False for the offline provider, whose replies are free.
        price: the price of its tokens; None if unknown.
        llm: the config of the target, if it has one.
        fixed: keywords that the user set; see `Request`.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        endpoint: str,
        model: str,
        generation: dict[str, Any],
        *,
        keep: bool = True,
        price: Price | None = None,
        llm: Resolved | None = None,
        fixed: Mapping[str, str] | None = None,
    ) -> None:
        self._connect = connect
        self.endpoint = endpoint
        self.model = model
        self.generation = generation
        self.keep = keep
        self.price = price
        self.llm = llm
        self.fixed = {} if fixed is None else fixed

    @property
    def has_batches(self) -> bool:
        """Whether it is a server, which may have a batch API; a model in this process has none."""
        return self.llm is not None and self.llm.config.provider in ("openai", "azure")

    @cached_property
    def client(self) -> Client:
        """The client, created on first use."""
        return self._connect()

    def request(
        self,
        messages: list[Message],
        keywords: dict[str, Any],
        example: Callable[[int], str] | None,
        route: Route = "chat",
        needed: Mapping[str, str] | None = None,
    ) -> Request:
        """Build the request for one chat; the row's own keywords override the generation defaults.

        `needed` has the keywords that the task requires; see `Request.fixed`.
        """
        return Request(
            self.endpoint,
            self.model,
            messages,
            merged(self.generation, keywords),
            route=route,
            example=example,
            fixed={**self.fixed, **needed} if needed else self.fixed,
        )

    def canonical(self, request: Request) -> bytes:
        """Return `request.canonical()`; the parts that most requests for this target share are encoded once."""
        if request.keywords is self.generation and request.route == "chat" and self._frame is not None:
            try:
                messages = orjson.dumps(request.messages, option=orjson.OPT_SORT_KEYS)
            except TypeError:  # integers of more than 64 bits, lone surrogates
                return request.canonical()
            return self._frame[0] + messages + self._frame[1]
        return request.canonical()

    @cached_property
    def _frame(self) -> tuple[bytes, bytes] | None:
        """What precedes and follows the messages in a canonical request; None if it can't be known."""
        empty = Request(self.endpoint, self.model, [], self.generation).canonical()
        try:
            head = orjson.dumps([self.endpoint, self.model]).removesuffix(b"]") + b","
        except TypeError:
            return None
        return (head, empty[len(head) + 2 :]) if empty.startswith(head + b"[]") else None


def merged(defaults: dict[str, Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Merge keywords into generation defaults; `extra_body` is merged, not replaced."""
    if not keywords:
        return defaults
    joined = {**defaults, **keywords}
    if "extra_body" in defaults and "extra_body" in keywords:
        joined["extra_body"] = {**defaults["extra_body"], **keywords["extra_body"]}
    return joined


class RowRequest(Struct):
    """A row's request and its occurrence number among equal requests."""

    request: Request
    fingerprint: bytes
    occurrence: int
    cold: bool
    """Whether equal requests share their replies (temperature 0)."""
    size: int = 0
    """Bytes of the request."""
    _first: bytes | None = None
    """Cached key of the first sample, which is used twice: to look up and to store the reply."""

    def key(self, sample: int, attempt: int = 0) -> bytes:
        """Return the store key of one sample."""
        is_first = not (sample or attempt)
        if is_first and self._first is not None:
            return self._first
        key = sample_key(self.fingerprint, self.occurrence, sample, attempt)
        if is_first:
            self._first = key
        return key

    def seeded(self, sample: int, attempt: int) -> Request:
        """Return the request to send for the samples from `sample` on.

        With the same `seed`, each call would get the same reply, so later calls, later attempts and equal rows get
        different seeds. The store key uses the original seed.
        """
        seed = self.request.keywords.get("seed")
        if not isinstance(seed, int) or not (sample or attempt or self.occurrence):
            return self.request
        moved = (seed + sample + SEEDS_APART * (attempt + ATTEMPTS_APART * self.occurrence)) % (1 << 31)
        return replace(self.request, keywords={**self.request.keywords, "seed": moved})

    def again(self, request: Request) -> RowRequest:
        """Return the row's next request: with feedback, or for the fallback."""
        return RowRequest(request, request.fingerprint(), self.occurrence, self.cold)


def row_request(
    task: Task, target: Target, row: Mapping[str, Any], index: Index, occurrence: Callable[[bytes], int]
) -> RowRequest:
    """Build the request of a row; `occurrence` numbers equal requests. Raises `RowError` if rendering fails."""
    messages = task.format_input(row, index)
    example = partial(task.example, row, index)
    request = target.request(messages, task.keywords(row, index), example, task.route, task.needed)
    canonical = target.canonical(request)
    fingerprint = digest(canonical)
    cold = request.route == "embeddings" or request.keywords.get("temperature") == 0
    return RowRequest(request, fingerprint, 0 if cold else occurrence(fingerprint), cold, len(canonical))


class Requests:
    """Builds the requests of one run, in the order of its rows."""

    def __init__(self, task: Task, target: Target) -> None:
        self._task = task
        self._target = target
        self._occurrences = Occurrences()

    def of(self, row: Mapping[str, Any], index: int) -> RowRequest:
        """Build the request of input row `index`; raises `RowError` if it can't be rendered."""
        return row_request(self._task, self._target, row, index, self._occurrences.next)


_FIRST_SIZE = 1 << 12
_FULLEST = 0.66
"""Maximum load factor of the table; it doubles in size beyond that."""


class Occurrences:
    """Counts how often each fingerprint occurred.

    Only the first 8 bytes of a fingerprint are compared. Among a million, a collision happens about once in thirty
    million runs; it only stores a completion under another occurrence number.
    """

    def __init__(self) -> None:
        self._allocate(_FIRST_SIZE)
        self._seen = 0
        self._again: dict[int, int] = {}

    def next(self, fingerprint: bytes) -> int:
        """Return how often this fingerprint (16 bytes) occurred before, and count this occurrence."""
        word = int.from_bytes(fingerprint[:8], "little") or 1
        table, mask = self._table, self._mask
        slot = word & mask
        while taken := table[slot]:
            if taken == word:
                self._again[word] = self._again.get(word, 0) + 1
                return self._again[word]
            slot = (slot + 1) & mask
        table[slot] = word
        self._seen += 1
        if self._seen > self._most:
            self._grow()
        return 0

    def _grow(self) -> None:
        words = self._table
        self._allocate(2 * len(words))
        table, mask = self._table, self._mask
        for word in words:
            if word:
                slot = word & mask
                while table[slot]:
                    slot = (slot + 1) & mask
                table[slot] = word

    def _allocate(self, size: int) -> None:
        self._table = array("Q", bytes(8 * size))
        self._mask, self._most = size - 1, int(size * _FULLEST)
