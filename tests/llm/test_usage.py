"""Usage as providers and gateways send it: the same counts and costs, whatever they are called."""

from __future__ import annotations

import json

import pytest

from distask.llm.batch_api.lines import read_result
from distask.llm.http.transport import Response
from distask.llm.pacing.failure_rules import Situation
from distask.llm.request import Usage
from distask.llm.responses import read_completions
from distask.llm.usage import read_usage

OPENAI = {
    "prompt_tokens": 2006,
    "completion_tokens": 300,
    "total_tokens": 2306,
    "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 128,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
OPENROUTER = {
    "prompt_tokens": 194,
    "completion_tokens": 20,
    "total_tokens": 214,
    "cost": 0.0033789,
    "is_byok": False,
    "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 100, "audio_tokens": 0, "video_tokens": 0},
    "cost_details": {"upstream_inference_cost": 0.0033789, "upstream_inference_prompt_cost": 0.0031281},
    "completion_tokens_details": {"reasoning_tokens": 7, "image_tokens": 0, "audio_tokens": 0},
}
PROVIDERS = {
    "OpenAI": (OPENAI, Usage(2006, 300, 1920, 0, 128)),
    "vLLM": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 8}},
        Usage(10, 5, 8),
    ),
    "vLLM without details": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": None},
        Usage(10, 5),
    ),
    "SGLang": ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "reasoning_tokens": 3}, Usage(10, 5, 0, 0, 3)),
    "OpenRouter": (OPENROUTER, Usage(194, 20, 64, 100, 7, 0.0033789)),
    "OpenRouter, the user's own key": (
        OPENROUTER | {"cost": 0.0002, "is_byok": True},
        Usage(194, 20, 64, 100, 7, 0.0035789),
    ),
    "OpenRouter, a free model": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0},
        Usage(10, 5, cost=0.0),
    ),
    "DeepSeek": (
        {"prompt_tokens": 90, "completion_tokens": 5, "total_tokens": 95, "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 26},
        Usage(90, 5, 64),
    ),
    "Moonshot": ({"prompt_tokens": 90, "completion_tokens": 5, "total_tokens": 95, "cached_tokens": 64}, Usage(90, 5, 64)),
    "Anthropic": (
        {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 64, "cache_creation_input_tokens": 16},
        Usage(90, 5, 64, 16),
    ),
    "LiteLLM in front of Anthropic": (
        {"prompt_tokens": 90, "completion_tokens": 5, "total_tokens": 95, "cache_read_input_tokens": 64,
         "cache_creation_input_tokens": 16, "prompt_tokens_details": {"cached_tokens": 64, "cache_creation_tokens": 16}},
        Usage(90, 5, 64, 16),
    ),
    "a gateway that counts the cache apart": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 95, "cache_read_input_tokens": 64, "cache_creation_input_tokens": 16},
        Usage(90, 5, 64, 16),
    ),
    "OpenAI's other API": (
        {"input_tokens": 90, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 64}, "output_tokens_details": {"reasoning_tokens": 2}},
        Usage(90, 5, 64, 0, 2),
    ),
    "xAI": (
        {"prompt_tokens": 10120, "completion_tokens": 1499, "total_tokens": 14428, "prompt_tokens_details": {"cached_tokens": 128},
         "completion_tokens_details": {"reasoning_tokens": 2809}, "num_sources_used": 0, "cost_in_usd_ticks": 232_856_000},
        Usage(10120, 4308, 128, 0, 2809, 0.0232856),
    ),
    "Gemini": ({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}, Usage(20, 603, 0, 0, 405)),
    "Gemini behind a proxy": (
        {"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 81, "completion_tokens_details": {"reasoning_tokens": 60}},
        Usage(21, 60, 0, 0, 60),
    ),
    "Perplexity": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": {"input_tokens_cost": 0.001, "request_cost": 0.005, "total_cost": 0.006}},
        Usage(10, 5, cost=0.006),
    ),
    "DeepInfra": (
        {"prompt_tokens": 15, "completion_tokens": 16, "total_tokens": 31, "estimated_cost": 2.16e-06},
        Usage(15, 16, cost=2.16e-06),
    ),
    "camelCase": ({"promptTokens": 10, "completionTokens": 5, "totalTokens": 15, "cachedInputTokens": 8}, Usage(10, 5, 8)),
}  # fmt: skip


def read(usage, headers=None):
    body = {"choices": [{"message": {"content": "x"}}], "usage": usage}
    ((completion,), _) = read_completions(Response(200, headers or {}, json.dumps(body).encode()))
    return completion.usage


@pytest.mark.parametrize(("usage", "expected"), PROVIDERS.values(), ids=PROVIDERS)
def test_each_providers_usage_is_read(usage, expected):
    """Input includes what was cached, output includes reasoning."""
    cost = None if expected.cost is None else pytest.approx(expected.cost)

    for found in (read(usage), read_usage(usage, {})):
        assert (found.input_tokens, found.output_tokens) == (expected.input_tokens, expected.output_tokens)
        assert (found.cached_tokens, found.cache_write_tokens) == (expected.cached_tokens, expected.cache_write_tokens)
        assert (found.reasoning_tokens, found.cost) == (expected.reasoning_tokens, cost)


@pytest.mark.parametrize(("usage", "expected"), PROVIDERS.values(), ids=PROVIDERS)
def test_a_batch_is_read_like_a_call(usage, expected):
    body = {"choices": [{"message": {"content": "x"}}], "usage": usage}
    result = read_result(
        json.dumps({"custom_id": "ab", "response": {"status_code": 200, "body": body}}).encode(), Situation()
    )

    assert result.completions[0].usage == read(usage)


@pytest.mark.parametrize("value", [5, 5.0, "5", " 5 ", "5.0", 4.9])
def test_counts_are_read_as_integers(value):
    """Gateways send floats and strings."""
    found = read({"prompt_tokens": value, "completion_tokens": value})

    assert (found.input_tokens, found.output_tokens) == (5, 5)
    assert type(found.input_tokens) is int


@pytest.mark.parametrize(
    "value", [-1, -0.5, float("nan"), float("inf"), "NaN", "inf", "-5", "many", "", None, True, [], {}, 1e300, 10**20, "9" * 50]
)  # fmt: skip
def test_what_is_no_count_is_unknown(value):
    usage = {"prompt_tokens": value, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": value}, "cost": value}  # fmt: skip

    assert read(usage) == Usage(None, 3)


@pytest.mark.parametrize(
    ("usage", "cost"), [({}, 0.25), ({"cost": 0.5}, 0.5), (None, 0.25), ({"cost": "nonsense"}, 0.25)]
)
def test_litellm_sends_the_cost_in_a_header(usage, cost):
    """The usage's own cost is closer to the bill."""
    assert read(usage, {"x-litellm-response-cost": "0.25"}).cost == cost


@pytest.mark.parametrize("header", ["None", "", "-1", "nan"])
def test_a_header_without_a_cost_is_none(header):
    assert read({"prompt_tokens": 1, "completion_tokens": 1}, {"x-litellm-response-cost": header}) == Usage(1, 1)
