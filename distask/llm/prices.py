"""What a model's tokens cost and how many it takes: as the config says, else as a price library knows the endpoint.

The library's prices come with it; nothing is fetched. A model is looked up at its endpoint, never by its name alone: a
server of one's own is not priced like somebody else's.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

from distask.llm.config_model import Price
from distask.llm.http import LOCAL_HOSTS

if TYPE_CHECKING:
    from distask.llm.config import Resolved

SMALL = 1_000
"""Tokens of the usage whose price gives the rate: below every tier."""
MILLION = 1_000_000
LIBRARY = "genai-prices"


class Known(Struct, frozen=True):
    """What is known of a model."""

    price: Price | None = None
    """USD for a million tokens; None where nobody says. The rate below all tiers, without discounts for caches."""
    origin: str = ""
    """Who says so: `config`, or the library."""
    context: int | None = None
    """Tokens of a chat and its reply together."""


NOTHING = Known()


def known_of(resolved: Resolved, *, batch: bool = False) -> Known:
    """What is known of the model that a config asks; in a `batch`, it may cost less."""
    config = resolved.config
    if config.provider == "offline":
        return NOTHING
    if config.provider == "llamacpp":
        return Known(config.price, "config" if config.price else "", config.llamacpp.context)
    found = _looked_up(config.provider, config.base_url or "", config.model or "", batch=batch)
    if config.price is not None:
        price = config.price
        return Known(price.in_batches() if batch else price, "config", found.context)
    return found


def cost_of(price: Price, input_tokens: float, output_tokens: float) -> float:
    """USD."""
    return (input_tokens * price.input + output_tokens * price.output) / MILLION


def _looked_up(provider: str, base_url: str, model: str, *, batch: bool) -> Known:
    host = urlsplit(base_url).hostname or ""
    if not model or host in LOCAL_HOSTS or "." not in host:
        return NOTHING
    with warnings.catch_warnings():  # of the library's own dependencies
        warnings.simplefilter("ignore")
        from genai_prices import Usage, data_snapshot

        snapshot = data_snapshot.get_snapshot()
        whose = {"provider_id": "azure"} if provider == "azure" else {"provider_api_url": base_url}
        try:
            maker, facts = snapshot.find_provider_model(
                model, None, whose.get("provider_id"), whose.get("provider_api_url")
            )
            usage, how = Usage(input_tokens=SMALL, output_tokens=SMALL), {"processing": "batch"} if batch else None
            made = facts.calc_price(usage, maker, price_context=how)
        except (LookupError, ValueError, TypeError):
            return NOTHING
    rates = [None if part is None else float(part) * MILLION / SMALL for part in (made.input_price, made.output_price)]
    if rates[0] is None or rates[1] is None:
        return Known(context=facts.context_window)
    return Known(Price(input=round(rates[0], 6), output=round(rates[1], 6)), LIBRARY, facts.context_window)
