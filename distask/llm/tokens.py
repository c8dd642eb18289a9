"""Estimate the tokens of a text without a tokenizer: accurate enough for pacing and cost estimates."""

from __future__ import annotations

import re
from typing import Any

CHARACTERS_PER_TOKEN = 4
"""For English text and code, with recent tokenizers."""
TOKENS_PER_MESSAGE = 4
"""The role and the markers around a message."""
TOKENS_PER_PART = 800
"""An image, a sound or a file: roughly a medium image."""

FIRST_WIDE, LAST_WIDE = "\u2e80", "\U0003ffff"
"""Between them are scripts whose characters take about a token each, and emoji."""


def estimate_tokens(content: str | list[dict[str, Any]] | None) -> int:
    """Estimate the tokens of a text, or of a chat's messages."""
    if content is None:
        return 0
    if isinstance(content, str):
        return _of_text(content)
    return sum(TOKENS_PER_MESSAGE + _of_content(message.get("content")) for message in content)


def _of_content(content: Any) -> int:
    if isinstance(content, str):
        return _of_text(content)
    if isinstance(content, list):
        return sum(_of_text(p["text"]) if isinstance(p.get("text"), str) else TOKENS_PER_PART for p in content)
    return 0


def _of_text(text: str) -> int:
    wide = 0 if text.isascii() else sum(FIRST_WIDE <= character <= LAST_WIDE for character in text)
    return wide + -(-(len(text) - wide) // CHARACTERS_PER_TOKEN)


def certain_logprobs(text: str) -> dict[str, Any]:
    """Return the log probabilities of a fully certain reply, in the API's format."""
    tokens = re.findall(r"\s*(?:[^\W\d_]+|\d+|[^\w\s]|_)", text)
    return {"content": [{"token": t, "logprob": 0.0, "top_logprobs": [{"token": t, "logprob": 0.0}]} for t in tokens]}
