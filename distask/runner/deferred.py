"""Write down what a run would ask, for batches, instead of asking it.

A batch run is a run again and again: what the store has is read, what is missing is written down and put into batches,
and when those are back, the same is done once more. Retries of invalid replies and later steps of a row come up by
themselves, since they are asked for once the reply before them is in the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from distask.ledger import SHORT, Entry, Ledger, Record
from distask.llm.batch_lines import request_line, url_of
from distask.llm.prices import known_of
from distask.llm.request import CallFailed, Failure
from distask.runner.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from distask.data.row import Row
    from distask.llm.config import Resolved
    from distask.llm.config_model import Price
    from distask.llm.request import Request
    from distask.llm.routes import Route
    from distask.runner.requests import Asked, Target
    from distask.runner.stats import Stats

TRIES = 3
"""Batches that a request is in before its failure is the row's: each may take a day."""
MOST_PARTS = 20
"""Files that are written before any is sent: more requests wait for the next time that the rows are gone through."""
WAITS = Failure("in_batch", "the request is in a batch that is not back yet", "row")
NOT_ASKED = Failure("not_asked", "the input was changed while batches were waited for: this was not asked", "row")
ONE_BY_ONE = frozenset({"n_refused", SHORT.kind})
"""Failures that say that the server takes no n above 1."""
MEGABYTE = 1_000_000


@dataclass(slots=True)
class Part:
    """One batch's requests, while they are written down."""

    llm: Resolved
    model: str
    route: Route
    file: BinaryIO | None
    path: Path | None
    entries: list[Entry] = field(default_factory=list)
    size: int = 0


class Parts:
    """Requests in files that a provider takes: one model and one path each, no larger than it allows.

    A file that is full goes into the ledger, whose requests no other run puts into a batch from then on.

    Args:
        ledger: where full ones are said.
        task: whose requests they are.
        folder: where the files are written; None writes none, and only the ledger is told.
        most: requests in a file, where it is fewer than the config says.
    """

    def __init__(self, ledger: Ledger, task: str, folder: Path | None, most: int | None = None) -> None:
        self.full: list[tuple[Record, Path | None]] = []
        self._ledger = ledger
        self._task = task
        self._folder = folder
        self._most = most
        self._open: dict[tuple[str, str, str], Part] = {}
        self._keys: set[bytes] = set()

    @property
    def has_room(self) -> bool:
        """Whether more may be written."""
        return self._folder is None or len(self.full) + len(self._open) <= MOST_PARTS

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def add(self, target: Target, entry: Entry, request: Request) -> None:
        """Write a request down; raises `CallFailed` where it can't be, or is larger than a whole file may be."""
        llm = target.llm
        assert llm is not None
        limits = llm.config.limits
        most_bytes = int(limits.batch_megabytes * MEGABYTE)
        url = url_of(request.route, azure=is_old_azure(access_of(llm)))
        line = request_line(entry.key.hex(), request, len(entry.keys), url) if self._folder is not None else b""
        if len(line) > most_bytes:
            raise CallFailed(Failure("too_large", f"the request is larger than {limits.batch_megabytes:g} MB", "row"))
        kind = (target.endpoint, request.model, request.route)
        part = self._open.get(kind)
        most = min(limits.batch_requests, self._most or limits.batch_requests)
        if part is not None and (len(part.entries) >= most or part.size + len(line) > most_bytes):
            self._close(kind)
            part = None
        if part is None:
            part = self._open[kind] = self._begin(llm, request)
        if part.file is not None:
            part.file.write(line)
        part.size += len(line)
        part.entries.append(entry)
        self._keys.add(entry.key)

    def close(self) -> None:
        """Put what is left into the ledger."""
        for kind in list(self._open):
            self._close(kind)

    def _begin(self, llm: Resolved, request: Request) -> Part:
        if self._folder is None:
            return Part(llm, request.model, request.route, None, None)
        path = self._folder / f"{len(self.full) + len(self._open)}.jsonl"
        return Part(llm, request.model, request.route, path.open("wb"), path)

    def _close(self, kind: tuple[str, str, str]) -> None:
        part = self._open.pop(kind)
        if part.file is not None:
            part.file.close()
        price = known_of(part.llm, batch=True).price
        record = self._ledger.submit(
            part.entries,
            endpoint=kind[0],
            access=access_of(part.llm),
            task=self._task,
            model=part.model,
            route=part.route,
            price=None if price is None else {"input": price.input, "output": price.output},
        )
        self.full.append((record, part.path))
        self._keys.difference_update(entry.key for entry in part.entries)


class Deferred:
    """Answers for calls: "not yet", or how the request failed in a batch.

    Args:
        ledger: what is in batches, and what failed there.
        parts: where requests are written down; None where they are not any more.
        limit: what may be written down; None for all.
        unwritten: requests that could not be written down, by the keys of their first samples.
    """

    def __init__(
        self,
        ledger: Ledger,
        parts: Parts | None,
        limit: Money | None = None,
        unwritten: dict[bytes, Failure] | None = None,
    ) -> None:
        self.waiting: set[int] = set()
        """The batches that requests of this run are in."""
        self.left = 0
        """Requests that there was no room, or no money, for."""
        self.failed: list[bytes] = []
        """Keys of requests whose failure is final."""
        self.unwritten = {} if unwritten is None else unwritten
        self._ledger = ledger
        self._parts = parts
        self._limit = limit

    @property
    def collecting(self) -> bool:
        """Whether requests are written down."""
        return self._parts is not None

    def answers(self, target: Target, asked: Asked, samples: Sequence[int], attempt: int) -> dict[int, Failure]:
        """A failure for each of a request's samples."""
        answers: dict[int, Failure] = {}
        for group in target.client.groups(samples):
            entry = self._ledger.entry(asked.key(group[0], attempt))
            alone = entry is not None and entry.failure is not None and entry.failure.kind in ONE_BY_ONE
            for some in [[sample] for sample in group] if alone else [group]:
                answers |= dict.fromkeys(some, self._answer(target, asked, some, attempt))
        return answers

    def _answer(self, target: Target, asked: Asked, samples: Sequence[int], attempt: int) -> Failure:
        keys = tuple(asked.key(sample, attempt) for sample in samples)
        entry = self._ledger.entry(keys[0])
        tries = 0
        if entry is not None:
            if entry.batch is not None:
                self.waiting.add(entry.batch)
                return WAITS
            learnt = entry.failure is not None and entry.failure.kind in ONE_BY_ONE and len(entry.keys) > len(keys)
            tries = 0 if learnt or entry.failure is None else entry.tries
            if entry.failure is not None and not learnt and (entry.failure.scope != "retry" or tries >= TRIES):
                self.failed.append(keys[0])
                return _final(entry.failure, tries)
        if self._parts is None:
            return self.unwritten.get(keys[0], NOT_ASKED)
        if keys[0] in self._parts:
            return WAITS
        try:
            entry = Entry(keys[0], keys, asked.request.max_tokens, tries + 1)
            return self._written(target, asked.seeded(samples[0], attempt), entry)
        except CallFailed as error:
            self.unwritten[keys[0]] = error.failure
            return error.failure

    def _written(self, target: Target, request: Request, entry: Entry) -> Failure:
        assert self._parts is not None
        samples = len(entry.keys)
        if not self._parts.has_room or (self._limit is not None and not self._limit.takes(request, samples, target)):
            self.left += 1
            return WAITS
        self._parts.add(target, entry, request)
        return WAITS


class Money:
    """What `--max-cost` leaves for batches.

    Args:
        most: USD.
        stats: where what was spent is counted.
    """

    def __init__(self, most: float, stats: Stats) -> None:
        self._budget = Budget(most, stats)
        self._stats = stats
        self._planned = 0.0
        self._prices: dict[tuple[str, str], Price | None] = {}

    def begin(self) -> None:
        """Nothing is under way: what was planned is counted, or was not spent."""
        self._planned = 0.0

    def takes(self, request: Request, samples: int, target: Target) -> bool:
        """Whether there is money for one request more, which is then set aside."""
        kind = (target.endpoint, target.model)
        if kind not in self._prices:
            assert target.llm is not None
            self._prices[kind] = known_of(target.llm, batch=True).price
        price = self._prices[kind]
        amount = 0.0 if price is None else self._budget.most_of(request, samples, price)
        if self._stats.cost + self._planned + amount > self._budget.most:
            return False
        self._planned += amount
        return True


class Nowhere:
    """A writer for rows that are nobody's, while requests are collected."""

    partial: Path | None = None
    sha256: str | None = None

    def __init__(self) -> None:
        self.notes: list[str] = []

    def write(self, row: Row, new: Mapping[str, Any]) -> None:
        """Write nothing."""

    def commit(self) -> None:
        """Nothing is left to do."""

    def abort(self) -> None:
        """Nothing is left to do."""


def _final(failure: Failure, tries: int) -> Failure:
    more = f" (tried in {tries} batches)" if tries > 1 else ""
    return replace(failure, scope="row", message=failure.message + more)


def access_of(llm: Resolved) -> dict[str, Any]:
    """How an endpoint is reached, for a config that is made later: names of variables, never a key."""
    config = llm.config
    named = config.model_dump(include={"provider", "model", "base_url", "api_key_env", "api_version", "headers"})
    return {name: value for name, value in named.items() if value is not None} | {"api_key_env": config.api_key_env}


def is_old_azure(access: dict[str, Any]) -> bool:
    """Whether an address of Azure is one of those that want an api-version."""
    return access.get("provider") == "azure" and "api_version" in access
