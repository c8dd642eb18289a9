"""Add up the tokens and cost of a result's replies, from their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from distask.formatting import counted_tokens
from distask.llm.config.model import Price
from distask.llm.prices import cost_of_usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distask.llm.request import Usage


class Spending:
    """Count the tokens and the cost of all replies of a result, from this run or an earlier one.

    Args:
        record: the result's record, with the price list of its run.
    """

    def __init__(self, record: Mapping[str, Any] | None) -> None:
        self._price = _price(record or {})
        self._usd = 0.0
        self._is_known = True
        self.input_tokens = self.output_tokens = self.cached_tokens = 0
        self.cache_write_tokens = self.reasoning_tokens = 0

    def add(self, usages: Sequence[Usage]) -> None:
        """Count replies."""
        self.input_tokens += sum(usage.input_tokens or 0 for usage in usages)
        self.output_tokens += sum(usage.output_tokens or 0 for usage in usages)
        self.cached_tokens += sum(usage.cached_tokens for usage in usages)
        self.cache_write_tokens += sum(usage.cache_write_tokens for usage in usages)
        self.reasoning_tokens += sum(usage.reasoning_tokens for usage in usages)
        if not self._is_known:
            return
        for usage in usages:
            cost = cost_of_usage(self._price, usage)
            if cost is not None:
                self._usd += cost
            elif usage.input_tokens or usage.output_tokens:
                self._is_known = False
                return

    @property
    def tokens(self) -> int:
        """Tokens of chats and replies together."""
        return self.input_tokens + self.output_tokens

    @property
    def usd(self) -> float | None:
        """The cost of all replies; None if any cost is unknown."""
        return self._usd if self._is_known else None

    def describe(self) -> str:
        """Format the counts for people."""
        return counted_tokens(self)


def _price(record: Mapping[str, Any]) -> Price | None:
    """Return the price of all replies; None if there is none, or if a step may use another model."""
    price = record.get("price")
    if not isinstance(price, dict) or (record.get("counts") or {}).get("steps"):
        return None
    try:
        return Price.model_validate(price)
    except ValidationError:
        return None
