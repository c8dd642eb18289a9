"""A rough count of tokens."""

from __future__ import annotations

import pytest

from distask.llm.tokens import estimate_tokens


@pytest.mark.parametrize(
    ("content", "least", "most"),
    [
        (None, 0, 0),
        ("", 0, 0),
        ("a", 1, 1),
        ("The capital of Spain is Madrid, and it has been so since 1561.", 10, 20),
        ("西班牙的首都是马德里", 8, 12),
        ([{"role": "user", "content": "four more words here"}], 8, 12),
        ([{"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url"}]}], 500, 1500),
        ([{"role": "assistant", "content": None}], 1, 8),
    ],
)
def test_the_estimate_is_of_the_right_size(content, least, most):
    """Four characters a token in Latin scripts, about one in wide ones."""
    assert least <= estimate_tokens(content) <= most
