"""Read the tokens and cost of a reply, under the names that servers and gateways use.

OpenAI includes cached tokens in prompt tokens and reasoning in completion tokens. Some servers count them separately.
`Usage` always includes them, since the price of a reply is computed from it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from distask.llm.request import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_COUNT = 10**12
"""A larger number is not a valid token count."""
MAX_USD = 10**6
"""A larger number is not a valid cost of a request."""
MAX_DIGITS = 40
"""Maximum characters of a number that is sent as a string."""
COST_HEADER = "x-litellm-response-cost"
"""The header in which LiteLLM's proxy sends the cost of a reply, in USD."""
TICKS = 10**10
"""xAI's unit of cost: this many are one USD."""

# Names are compared in lower case without underscores, so that `promptTokens` equals `prompt_tokens`.
TOKENS = {
    **dict.fromkeys(("prompttokens", "inputtokens", "prompttokencount", "inputtokencount"), "input"),
    **dict.fromkeys(("completiontokens", "outputtokens", "completiontokencount", "outputtokencount"), "output"),
    "candidatestokencount": "output",  # Gemini
    **dict.fromkeys(("totaltokens", "totaltokencount"), "total"),
}
PARTS = {
    "cachedtokens": "cached",  # OpenAI, Azure, vLLM, OpenRouter: in details; Moonshot, Together: next to the counts
    "promptcachehittokens": "cached",  # DeepSeek
    **dict.fromkeys(("cachereadinputtokens", "cachereadtokens"), "cached"),  # Anthropic, Bedrock, LiteLLM
    **dict.fromkeys(("cachedinputtokens", "numcachedtokens", "cachedcontenttokencount"), "cached"),
    "cachewritetokens": "written",  # OpenRouter
    **dict.fromkeys(("cachecreationinputtokens", "cachecreationtokens"), "written"),  # Anthropic, Qwen, LiteLLM
    "cachewriteinputtokens": "written",  # Bedrock
    **dict.fromkeys(("reasoningtokens", "reasoningtokencount", "thoughtstokencount"), "reasoning"),
}
"""Parts of the input and of the output."""
DETAILS = frozenset(f"{side}token{s}details" for side in ("prompt", "input", "completion", "output") for s in ("s", ""))
"""Where parts are, if not next to the counts."""
ANTHROPIC = ("cache_read_input_tokens", "cache_creation_input_tokens")
"""Anthropic does not include these in its `input_tokens`."""
COSTS = ("cost", "total_cost", "cost_usd", "estimated_cost")
"""USD: OpenRouter, Vercel and Perplexity send `cost`, DeepInfra `estimated_cost`."""

Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Cost = Annotated[float, Meta(ge=0, le=MAX_USD)]


class _InputDetails(Struct, forbid_unknown_fields=True, gc=False):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    audio_tokens: Any = None
    image_tokens: Any = None
    text_tokens: Any = None
    video_tokens: Any = None


class _OutputDetails(Struct, forbid_unknown_fields=True, gc=False):
    reasoning_tokens: Count | None = None
    audio_tokens: Any = None
    image_tokens: Any = None
    text_tokens: Any = None
    accepted_prediction_tokens: Any = None
    rejected_prediction_tokens: Any = None


_NO_INPUT_DETAILS, _NO_OUTPUT_DETAILS = _InputDetails(), _OutputDetails()


class PlainUsage(Struct, forbid_unknown_fields=True, gc=False):
    """A usage as OpenAI and most servers send it, decoded by its type; `read_usage` handles all others."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    reasoning_tokens: Count | None = None
    cost: Cost | None = None
    cost_details: Any = None
    is_byok: bool = False

    def read(self) -> Usage | None:
        """Return the same as `read_usage`; None if more than reading the counts is needed."""
        asked, made, total = self.prompt_tokens, self.completion_tokens, self.total_tokens
        into = self.prompt_tokens_details or _NO_INPUT_DETAILS
        out = self.completion_tokens_details or _NO_OUTPUT_DETAILS
        cached, written = into.cached_tokens or 0, into.cache_write_tokens or 0
        reasoning = out.reasoning_tokens or 0
        if self.reasoning_tokens and self.reasoning_tokens > reasoning:
            reasoning = self.reasoning_tokens
        if cached + written > asked or reasoning > made or self.is_byok or (total or 0) > asked + made:
            return None
        return Usage(asked, made, cached, written, reasoning, self.cost)


def read_usage(usage: Any, headers: Mapping[str, str]) -> Usage:
    """Return what a request used. Missing or invalid counts are unknown.

    Args:
        usage: `usage` from the body of a response, of any type.
        headers: the response headers.
    """
    usage = usage if isinstance(usage, dict) else {}
    counts = _counts(usage, TOKENS | PARTS)
    asked, made, total = counts.get("input"), counts.get("output"), counts.get("total")
    cached, written, reasoning = counts.get("cached", 0), counts.get("written", 0), counts.get("reasoning", 0)
    cost = _cost(usage, headers)
    if asked is None or made is None:
        asked = None if asked is None else max(asked, cached + written)
        made = None if made is None else max(made, reasoning)
        return Usage(asked, made, cached, written, reasoning, cost)
    cache, beyond = cached + written, 0 if total is None else total - asked - made
    is_anthropic = "prompt_tokens" not in usage and any(name in usage for name in ANTHROPIC)
    reasoning_apart = reasoning > made or beyond in (reasoning, reasoning + cache)
    cache_apart = cache > asked or beyond == reasoning + cache or (beyond == cache and not reasoning_apart)
    if cache_apart or (total is None and is_anthropic):
        asked += cache
    if reasoning_apart:
        made += reasoning
    elif not reasoning and total is not None and total > asked + made:  # only Gemini's total counts its thoughts
        reasoning = total - asked - made
        made += reasoning
    return Usage(asked, made, cached, written, reasoning, cost)


def share_usage(usage: Usage, choices: int) -> list[Usage]:
    """Return the usage of each choice of a request; they add up to the request's usage.

    What is paid once (the chat and the request's cost) is on the first choice. Output is divided evenly, with the
    remainder on the first.
    """
    if choices == 1:
        return [usage]
    made, made_rest = (None, 0) if usage.output_tokens is None else divmod(usage.output_tokens, choices)
    reasoning, reasoning_rest = divmod(usage.reasoning_tokens, choices)
    first = Usage(
        usage.input_tokens,
        None if made is None else made + made_rest,
        usage.cached_tokens,
        usage.cache_write_tokens,
        reasoning + reasoning_rest,
        usage.cost,
    )
    other = Usage(
        None if usage.input_tokens is None else 0,
        made,
        reasoning_tokens=reasoning,
        cost=None if usage.cost is None else 0.0,
    )
    return [first, *[other] * (choices - 1)]


def _counts(usage: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, int]:
    """Return the largest count of each kind: a gateway may send one under two names, with 0 under the unused one."""
    found: dict[str, int] = {}
    for name, value in usage.items():
        plain = name.replace("_", "").lower()
        if (kind := names.get(plain)) is not None:
            count = _number(value)
            more = {} if count is None or count > MAX_COUNT else {kind: round(count)}
        elif isinstance(value, dict) and plain in DETAILS:
            more = _counts(value, PARTS)
        else:
            continue
        for part, count in more.items():
            found[part] = max(found.get(part, 0), count)
    return found


def _number(value: Any) -> int | float | None:
    """Return a finite number that is not negative, from JSON or a string; None for anything else."""
    if isinstance(value, str) and len(value) <= MAX_DIGITS:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        return None
    return value


def _cost(usage: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    """Return the USD of a request as reported by the server; None if it is not reported."""
    for name in COSTS:
        cost = usage.get(name)
        if isinstance(cost, dict):  # Perplexity's, with its parts
            cost = cost.get("total_cost")
        if (usd := _usd(cost)) is not None:
            return usd + _billed_by_the_provider(usage)
    if (usd := _usd(usage.get("cost_in_usd_ticks"), TICKS)) is not None:
        return usd
    return _usd(headers.get(COST_HEADER))


def _billed_by_the_provider(usage: Mapping[str, Any]) -> float:
    """Return the USD that OpenRouter does not bill: the request used the user's own provider key."""
    details = usage.get("cost_details")
    if usage.get("is_byok") is not True or not isinstance(details, dict):
        return 0.0
    return _usd(details.get("upstream_inference_cost")) or 0.0


def _usd(value: Any, unit: int = 1) -> float | None:
    number = _number(value)
    return None if number is None or number / unit > MAX_USD else number / unit
