"""Keep a run below what it may cost: a call begins only where even its longest reply fits in what is left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from distask.errors import RunError
from distask.formatting import money
from distask.llm.prices import cost_of_usage, most_cost_of
from distask.llm.tokens import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.llm.config.model import Price
    from distask.llm.request import Completion, Request
    from distask.runner.stats import Stats

UNLIMITED_REPLY = 4_096
"""Output tokens that are reckoned with for a request without max_tokens, until a longer reply was seen."""
MARGIN = 1.1
"""On the estimate of a chat's tokens, once replies have said how far the estimates are off."""
FIRST_MARGIN = 2.0
"""Before that."""


FIRST_SHARE = 0.25
"""Of the limit, for the calls that begin before any reply says what the server bills."""


class CostReached(RunError):  # noqa: N818 - it was; nothing went wrong
    """The next request might cost more than `--max-cost` leaves; what was paid for is in the store."""

    kind = "max_cost"


class Budget:
    """What a run may spend, in USD.

    A call reserves the most that it can cost and gives back what it did not. One that does not fit waits for calls in
    flight, which may give back enough; where none is in flight, the run ends.

    A server that sends costs may bill more than the price says, as a gateway with a fee does. What calls reserve is
    scaled accordingly, and until the first reply tells, they reserve only a part of the limit.
    """

    def __init__(self, most: float, stats: Stats) -> None:
        self.most = most
        self._stats = stats
        self._reserved = 0.0
        """By the price, without the surcharge."""
        self._has_replies = False
        self._given_back = asyncio.Event()
        self._longest = UNLIMITED_REPLY
        self._off: float | None = None
        """The largest ratio of a chat's tokens to their estimate."""
        self._surcharge = 1.0
        """The largest ratio of a cost that the server sent to the cost by the price."""

    async def reserve(self, request: Request, samples: int, price: Price) -> float:
        """The USD that are set aside for a call, by the price; raises `CostReached`."""
        while True:
            amount = self.most_of(request, samples, price)
            if self._fits(amount):
                self._reserved += amount
                return amount
            if self._reserved <= 0:
                raise CostReached(self._told(request, amount * self._surcharge))
            self._given_back.clear()
            await self._given_back.wait()

    def give_back(self, amount: float, request: Request, completions: Sequence[Completion], price: Price) -> None:
        """The call has ended, and what it cost is counted."""
        self._reserved -= amount
        if self._reserved < 1e-12:  # what floating point leaves
            self._reserved = 0.0
        self._has_replies = self._has_replies or bool(completions)
        for completion in completions:
            self._longest = max(self._longest, completion.usage.output_tokens or 0)
        if completions and (asked := completions[0].usage.input_tokens):
            self._off = max(self._off or 0.0, asked / max(1, estimate_tokens(request.messages)))
        if sent := sum(c.usage.cost or 0.0 for c in completions):
            listed = sum(cost_of_usage(price, replace(c.usage, cost=None)) or 0.0 for c in completions)
            self._surcharge = max(self._surcharge, sent / listed) if listed else self._surcharge
        self._given_back.set()

    def most_of(self, request: Request, samples: int, price: Price) -> float:
        """The most USD that a call can cost by the price."""
        margin = FIRST_MARGIN if self._off is None else max(1.0, self._off) * MARGIN
        asked = estimate_tokens(request.messages) * margin
        replied = (request.max_tokens or self._longest) * samples
        return most_cost_of(price, asked, replied)

    def _fits(self, amount: float) -> bool:
        reserved = self._reserved + amount
        if not self._has_replies and self._reserved > 0 and reserved > self.most * FIRST_SHARE:
            return False
        return self._stats.cost + reserved * self._surcharge <= self.most

    def _told(self, request: Request, amount: float) -> str:
        """Why the run ends; for a request without a limit also what it was reckoned with."""
        spent = f"{money(self._stats.cost)} of {money(self.most)} (--max-cost) is spent"
        if request.max_tokens is not None:
            return f"the next request may cost {money(amount)}, and {spent}"
        return (
            f"the next request may cost {money(amount)}, with a reply of {self._longest:,} tokens, since it has no "
            f"max_tokens (--set llm.max_tokens=500 sets one); and {spent}"
        )
