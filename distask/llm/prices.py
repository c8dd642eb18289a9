"""Look up a model's token prices and context length: from the config, or from a price library for known endpoints.

The library includes its prices; nothing is downloaded. A model is looked up by its endpoint, never by name alone: your
own server does not have another provider's prices.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

from distask.llm.config.model import Price
from distask.llm.http.transport import LOCAL_HOSTS

if TYPE_CHECKING:
    from distask.llm.config.resolve import Resolved
    from distask.llm.request import Usage

SMALL = 1_000
"""Tokens for the usage that gives the base rate: below every tier."""
MILLION = 1_000_000
LIBRARY = "genai-prices"


class Known(Struct, frozen=True):
    """What is known about a model."""

    price: Price | None = None
    """USD per million tokens; None if unknown. The rates below all tiers."""
    origin: str = ""
    """Where the price comes from: `config`, or the library."""
    context: int | None = None
    """Maximum tokens of a chat and its reply together."""


NOTHING = Known()


def known_of(resolved: Resolved, *, batch: bool = False) -> Known:
    """Return what is known about a config's model; in a `batch`, it may cost less."""
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


def cost_of(
    price: Price, input_tokens: float, output_tokens: float, cached_tokens: float = 0, cache_write_tokens: float = 0
) -> float:
    """Return USD; cached tokens and tokens written to a cache are included in the input tokens."""
    cached = price.input if price.cached_input is None else price.cached_input
    written = price.input if price.cache_write is None else price.cache_write
    plain = input_tokens - cached_tokens - cache_write_tokens
    chat = plain * price.input + cached_tokens * cached + cache_write_tokens * written
    return (chat + output_tokens * price.output) / MILLION


def least_cost_of(price: Price, input_tokens: float, output_tokens: float) -> float:
    """Return USD if the server has the complete chat in its cache."""
    return min(
        cost_of(price, input_tokens, output_tokens),
        cost_of(price, input_tokens, output_tokens, cached_tokens=input_tokens),
    )


def most_cost_of(price: Price, input_tokens: float, output_tokens: float) -> float:
    """Return USD if the server has nothing cached, and may bill for writing the chat to its cache."""
    return max(
        cost_of(price, input_tokens, output_tokens),
        cost_of(price, input_tokens, output_tokens, cache_write_tokens=input_tokens),
    )


def cost_of_usage(price: Price | None, usage: Usage) -> float | None:
    """Return the USD of a reply: the server's figure, or computed from prices; None if neither is known."""
    if usage.cost is not None:
        return usage.cost
    if price is None:
        return None
    return cost_of(
        price,
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        usage.cached_tokens,
        usage.cache_write_tokens,
    )


def _looked_up(provider: str, base_url: str, model: str, *, batch: bool) -> Known:
    host = urlsplit(base_url).hostname or ""
    if not model or host in LOCAL_HOSTS or "." not in host:
        return NOTHING
    with warnings.catch_warnings():  # from the library's dependencies
        warnings.simplefilter("ignore")
        from genai_prices import Usage, data_snapshot

        snapshot = data_snapshot.get_snapshot()
        whose = {"provider_id": "azure"} if provider == "azure" else {"provider_api_url": base_url}
        try:
            maker, facts = snapshot.find_provider_model(
                model, None, whose.get("provider_id"), whose.get("provider_api_url")
            )
            how = {"processing": "batch"} if batch else None

            def rate(**tokens: int) -> float:
                made = facts.calc_price(Usage(**tokens), maker, price_context=how)
                return round(float(made.total_price) * MILLION / SMALL, 6)

            whole = facts.calc_price(Usage(input_tokens=SMALL, output_tokens=SMALL), maker, price_context=how)
            if whole.input_price is None or whole.output_price is None:
                return Known(context=facts.context_window)
            chat, reply = rate(input_tokens=SMALL), rate(output_tokens=SMALL)
            cached = rate(input_tokens=SMALL, cache_read_tokens=SMALL)
            written = rate(input_tokens=SMALL, cache_write_tokens=SMALL)
        except (LookupError, ValueError, TypeError):
            return NOTHING
    price = Price(
        input=chat,
        output=reply,
        cached_input=None if cached == chat else cached,
        cache_write=None if written == chat else written,
    )
    return Known(price, LIBRARY, facts.context_window)


def rates(price: Price) -> str:
    """Format token prices: $0.40 in ($0.10 cached), $1.60 out for a million tokens."""
    cached = "" if price.cached_input is None else f" ({_rate(price.cached_input)} cached)"
    return f"{_rate(price.input)} in{cached}, {_rate(price.output)} out per million tokens"


def _rate(usd: float) -> str:
    return f"${usd:,.2f}" if round(usd, 2) == usd else f"${usd:g}"
