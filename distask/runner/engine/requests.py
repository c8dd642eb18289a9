"""Make the request of a row, and know it again: in a run, in a plan, and the next time."""

from __future__ import annotations

from array import array
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

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
"""Between the seeds of a request's attempts: more than it has samples."""
ATTEMPTS_APART = 101
"""Between those of equal rows: more than there are attempts."""


class Client(Protocol):
    """What the engine needs of a client; `distask.llm.client` is the real one."""

    calls: int
    retries: int
    latency: Latency
    adapter: Adapter

    @property
    def in_flight(self) -> int:
        """Calls under way."""

    @property
    def ceiling(self) -> int:
        """How many calls may be under way."""

    @property
    def pace_reason(self) -> str:
        """What holds calls back, beside the user's limits; empty where nothing does."""

    def groups(self, samples: Sequence[int]) -> list[list[int]]:
        """Which samples are asked in one call."""

    async def ask(
        self,
        request: Request,
        samples: Sequence[int],
        keep: Callable[[list[Completion]], Awaitable[None]] | None = None,
    ) -> list[Completion]:
        """At least one completion, for the first of `samples`; raises `CallFailed`.

        A call is in flight until `keep` has kept what it brought.
        """

    def stop(self, failure: Failure) -> None:
        """Let no call begin any more: each raises `CallFailed(failure)`."""

    def share(self, fraction: float) -> None:
        """Keep to a fraction of its limits; 0 lets no call begin."""

    async def close(self) -> None:
        """Close its connections."""


class Target:
    """Whom requests go to, and what is asked for.

    Args:
        connect: makes the client, which is done when it is needed first.
        endpoint: the server's base URL, or "offline".
        model: the model that is asked.
        generation: keywords of every request.
        keep: whether replies go into the store; those of the offline provider cost nothing and don't.
        price: what its tokens cost; None where nobody says.
        llm: the config that all of it comes from, where there is one.
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
        """Whether it is a server, which may have Batches; a model in this process has none."""
        return self.llm is not None and self.llm.config.provider in ("openai", "azure")

    @cached_property
    def client(self) -> Client:
        """Who asks."""
        return self._connect()

    def request(
        self,
        messages: list[Message],
        keywords: dict[str, Any],
        example: Callable[[int], str] | None,
        route: Route = "chat",
        needed: Mapping[str, str] | None = None,
    ) -> Request:
        """The request for one chat; the row's own keywords win over the generation defaults.

        `needed` has the keywords that the task can't do without; see `Request.fixed`.
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


def merged(defaults: dict[str, Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Generation keywords with others laid over them; `extra_body` is joined, not replaced."""
    if not keywords:
        return defaults
    joined = {**defaults, **keywords}
    if "extra_body" in defaults and "extra_body" in keywords:
        joined["extra_body"] = {**defaults["extra_body"], **keywords["extra_body"]}
    return joined


class RowRequest(Struct):
    """A row's request and its place among equal ones."""

    request: Request
    fingerprint: bytes
    occurrence: int
    cold: bool
    """Whether equal requests share their replies (temperature 0)."""
    size: int = 0
    """Bytes of the request."""
    _first: bytes | None = None
    """The key of the first sample, once it was made: it is looked up, and kept."""

    def key(self, sample: int, attempt: int = 0) -> bytes:
        """The store's key of one sample."""
        is_first = not (sample or attempt)
        if is_first and self._first is not None:
            return self._first
        key = sample_key(self.fingerprint, self.occurrence, sample, attempt)
        if is_first:
            self._first = key
        return key

    def seeded(self, sample: int, attempt: int) -> Request:
        """The request as it is sent for the samples from `sample` on.

        A `seed` would give each call the same reply: later calls, later attempts and equal rows have seeds of their
        own. The key is made of the seed that was asked for.
        """
        seed = self.request.keywords.get("seed")
        if not isinstance(seed, int) or not (sample or attempt or self.occurrence):
            return self.request
        moved = (seed + sample + SEEDS_APART * (attempt + ATTEMPTS_APART * self.occurrence)) % (1 << 31)
        return replace(self.request, keywords={**self.request.keywords, "seed": moved})

    def again(self, request: Request) -> RowRequest:
        """The same row's next request: with feedback, or to the fallback."""
        return RowRequest(request, request.fingerprint(), self.occurrence, self.cold)


def row_request(
    task: Task, target: Target, row: Mapping[str, Any], index: Index, occurrence: Callable[[bytes], int]
) -> RowRequest:
    """The request of a row; `occurrence` tells equal ones apart. Raises `RowError` where it can't be rendered."""
    messages = task.format_input(row, index)
    example = partial(task.example, row, index)
    request = target.request(messages, task.keywords(row, index), example, task.route, task.needed)
    canonical = request.canonical()
    fingerprint = digest(canonical)
    cold = request.route == "embeddings" or request.keywords.get("temperature") == 0
    return RowRequest(request, fingerprint, 0 if cold else occurrence(fingerprint), cold, len(canonical))


class Requests:
    """The requests of one run, in the order of its rows."""

    def __init__(self, task: Task, target: Target) -> None:
        self._task = task
        self._target = target
        self._occurrences = Occurrences()

    def of(self, row: Mapping[str, Any], index: int) -> RowRequest:
        """The request of input row `index`; raises `RowError` where it can't be rendered."""
        return row_request(self._task, self._target, row, index, self._occurrences.next)


_FIRST_SIZE = 1 << 12
_FULLEST = 0.66
"""The share of the table that may be taken before it doubles."""


class Occurrences:
    """How often each fingerprint has come so far.

    Fingerprints are told apart by their first 8 bytes: among a million, two meet by chance once in thirty million runs,
    and the harm is then a completion kept under another occurrence.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * _FIRST_SIZE))
        self._seen = 0
        self._again: dict[int, int] = {}

    def next(self, fingerprint: bytes) -> int:
        """How often this fingerprint (16 bytes) came before; counts this time."""
        word = int.from_bytes(fingerprint[:8], "little") or 1
        if not self._insert(word):
            self._again[word] = self._again.get(word, 0) + 1
            return self._again[word]
        self._seen += 1
        if self._seen > len(self._table) * _FULLEST:
            self._grow()
        return 0

    def _insert(self, word: int) -> bool:
        table, mask = self._table, len(self._table) - 1
        slot = word & mask
        while table[slot]:
            if table[slot] == word:
                return False
            slot = (slot + 1) & mask
        table[slot] = word
        return True

    def _grow(self) -> None:
        words = self._table
        self._table = array("Q", bytes(16 * len(words)))
        for word in words:
            if word:
                self._insert(word)
