"""Prices: the config's first, then the library's for that very endpoint, and none for a server of one's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from distask.llm.config.model import Price
from distask.llm.config.resolve import load_config
from distask.llm.prices import NOTHING, cost_of, cost_of_usage, known_of
from distask.llm.request import Usage


def known(base_url, model, **more):
    contents = {"base_url": base_url, "model": model, **more}
    return known_of(load_config(None, contents=contents, environ={}, need_key=False))


@pytest.mark.parametrize(
    ("base_url", "model", "rates"),
    [
        ("https://api.openai.com/v1", "gpt-4.1-mini", (0.40, 1.60)),
        ("https://openrouter.ai/api/v1", "openai/gpt-4.1-mini", (0.40, 1.60)),
        ("https://api.anthropic.com/v1", "claude-sonnet-4-5", (3.0, 15.0)),
    ],
)
def test_the_library_knows_hosted_models_at_their_endpoints(base_url, model, rates):
    """The published rates, below every tier."""
    found = known(base_url, model)

    assert (found.price.input, found.price.output, found.origin) == (*rates, "genai-prices")


def test_the_price_of_the_config_overrules_the_library_and_the_context_stays_known():
    found = known("https://api.openai.com/v1", "gpt-4o", price={"input": 1, "output": 2})

    assert (found.price.input, found.price.output, found.origin, found.context) == (1, 2, "config", 128_000)


@pytest.mark.parametrize(
    ("base_url", "model", "cached", "written"),
    [
        ("https://api.openai.com/v1", "gpt-4.1-mini", 0.10, None),
        ("https://api.anthropic.com/v1", "claude-sonnet-4-5", 0.30, 3.75),
        ("https://openrouter.ai/api/v1", "anthropic/claude-sonnet-4", 0.30, 3.75),
    ],
)
def test_the_library_knows_what_cached_tokens_cost(base_url, model, cached, written):
    price = known(base_url, model).price

    assert (price.cached_input, price.cache_write) == (cached, written)


def test_in_batches_every_rate_is_less():
    price = Price(input=4, output=8, cached_input=1, cache_write=5, batch=0.5)

    assert price.in_batches() == Price(input=2, output=4, cached_input=0.5, cache_write=2.5)


@pytest.mark.parametrize(
    ("rates", "usage", "cost"),
    [
        ({}, Usage(100, 10, 60, 20), 100 * 4 + 10 * 8),
        ({"cached_input": 1}, Usage(100, 10, 60, 20), 40 * 4 + 60 * 1 + 10 * 8),
        ({"cached_input": 1, "cache_write": 5}, Usage(100, 10, 60, 20), 20 * 4 + 60 * 1 + 20 * 5 + 10 * 8),
        ({}, Usage(None, 10), 10 * 8),
        ({}, Usage(100, 10, cost=0.5), 500_000),
        ({}, Usage(100, 10, cost=0.0), 0),
    ],
)
def test_a_reply_costs_what_its_tokens_do_or_what_the_server_says(rates, usage, cost):
    """Without a rate of their own, cached tokens are input."""
    assert cost_of_usage(Price(input=4, output=8, **rates), usage) == pytest.approx(cost / 1e6)


def test_without_a_price_only_the_servers_cost_is_known():
    assert cost_of_usage(None, Usage(100, 10)) is None
    assert cost_of_usage(None, Usage(cost=0.5)) == 0.5


@pytest.mark.parametrize(
    "base_url",
    ["http://localhost:8000/v1", "http://127.0.0.1:1/v1", "http://gpu7:8000/v1", "https://llm.example.com/v1"],
)
def test_a_server_of_ones_own_is_not_priced_like_somebody_elses(base_url):
    assert known(base_url, "gpt-4.1-mini") == NOTHING


def test_a_model_that_nobody_knows_has_no_price():
    assert known("https://api.openai.com/v1", "ft:my-own-thing-7") == NOTHING


def test_azure_deployments_are_priced_by_their_name():
    found = known("https://x.openai.azure.com", "gpt-4o", provider="azure")

    assert (found.price.input, found.price.output) == (2.5, 10.0)


def test_a_cost_is_the_hand_made_sum():
    """300,000 tokens in at $0.40 and 50,000 out at $1.60 for a million: $0.12 and $0.08."""
    price = known("https://api.openai.com/v1", "gpt-4.1-mini").price

    assert cost_of(price, 300_000, 50_000) == pytest.approx(0.20)


def test_the_library_is_loaded_only_where_it_can_answer():
    code = (
        "import sys; from distask.llm.config.resolve import load_config; from distask.llm.prices import known_of;"
        "known_of(load_config(None, contents={'base_url': 'http://127.0.0.1:9/v1', 'model': 'm'}, environ={}));"
        "known_of(load_config('offline', environ={}));"
        "sys.exit('genai_prices' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
