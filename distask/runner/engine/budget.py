"""Enforce the cost limit of a run: a call starts only if its longest possible reply fits the remaining budget."""

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
"""Assumed output tokens for a request without max_tokens, until a longer reply arrives."""
MARGIN = 1.1
"""Safety factor for estimated prompt tokens, once replies show how far off the estimates are."""
FIRST_MARGIN = 2.0
"""Safety factor before the first reply."""


FIRST_SHARE = 0.25
"""Share of the limit for calls that start before the first reply shows what the server bills."""


class CostReached(RunError):  # noqa: N818 - not an error
    """The next request may exceed `--max-cost`; replies received so far are in the store."""

    kind = "max_cost"


class Budget:
    """The budget of a run, in USD.

    A call reserves its maximum cost and gives back what it does not spend. A call that does not fit waits for calls in
    flight, which may give back enough. If none is in flight, the run ends.

    A server that reports costs may bill more than the price, such as a gateway with a fee. Reservations are scaled
    accordingly. Until the first reply, calls can reserve only a part of the limit.
    """

    def __init__(self, most: float, stats: Stats) -> None:
        self.most = most
        self._stats = stats
        self._reserved = 0.0
        """Reserved USD at the listed price, without the surcharge."""
        self._has_replies = False
        self._given_back = asyncio.Event()
        self._longest = UNLIMITED_REPLY
        self._off: float | None = None
        """The largest ratio of actual to estimated prompt tokens."""
        self._surcharge = 1.0
        """The largest ratio of a cost reported by the server to the cost at the listed price."""

    async def reserve(self, request: Request, samples: int, price: Price) -> float:
        """Reserve the maximum cost of a call; returns it in USD at the listed price, or raises `CostReached`."""
        while True:
            amount = self.most_of(request, samples, price)
            if self._fits(amount):
                self._reserved += amount
                return amount
            await self._room(request, amount * self._surcharge)

    async def _room(self, request: Request, amount: float) -> None:
        """Wait until there may be room for `amount`; raises `CostReached` if there will be none."""
        if self._reserved <= 0:
            raise CostReached(cost_reached(amount, self._stats.cost, self.most, self._assumed(request)))
        self._given_back.clear()
        await self._given_back.wait()

    def give_back(self, amount: float, request: Request, completions: Sequence[Completion], price: Price) -> None:
        """Release the reservation of a call that has ended and whose cost is counted."""
        self._reserved -= amount
        if self._reserved < 1e-12:  # rounding error
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
        """Return the maximum cost of a call in USD, at the listed price."""
        margin = FIRST_MARGIN if self._off is None else max(1.0, self._off) * MARGIN
        asked = estimate_tokens(request.messages) * margin
        replied = (request.max_tokens or self._longest) * samples
        return most_cost_of(price, asked, replied)

    def _fits(self, amount: float) -> bool:
        reserved = self._reserved + amount
        if not self._has_replies and self._reserved > 0 and reserved > self.most * FIRST_SHARE:
            return False
        return self._stats.cost + reserved * self._surcharge <= self.most

    def _assumed(self, request: Request) -> int | None:
        """Return the assumed output tokens of a request without max_tokens; None if it has max_tokens."""
        return self._longest if request.max_tokens is None else None


def cost_reached(amount: float, spent: float, most: float, assumed: int | None) -> str:
    """Explain why the run ends; `assumed` is the assumed length of the reply of a request without max_tokens."""
    paid = f"{money(spent)} of {money(most)} (--max-cost) is spent"
    if assumed is None:
        return f"the next request may cost {money(amount)}, and {paid}"
    return (
        f"the next request may cost {money(amount)} (it has no max_tokens, so its reply may have "
        f"{assumed:,} tokens; set a limit with --set llm.max_tokens=500), and {paid}"
    )
