"""A request has the same key in every version, however its key is computed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask.llm.request import Request, sample_key
from distask.runner.engine.requests import Target

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
MESSAGES = st.lists(st.fixed_dictionaries({"role": st.text(), "content": VALUES}), max_size=3)


def target(generation, endpoint="http://x/v1", model="m"):
    return Target(lambda: pytest.fail("it connects"), endpoint, model, generation)


def test_the_keys_of_a_store_that_was_written_before_are_still_found():
    messages = [{"role": "system", "content": 'é "q"'}, {"role": "user", "content": "Hi"}]
    made = target({"temperature": 0.7, "max_tokens": 9, "seed": 3})
    request = Request(made.endpoint, made.model, messages, made.generation)

    fingerprint = request.fingerprint()

    assert fingerprint.hex() == "1a8214423783e774827408a6b8b2388b"
    assert sample_key(fingerprint, 0, 0).hex() == "b7f2c5a9a4e8512af80133df597e2bd8"
    assert sample_key(fingerprint, 2, 1, 3).hex() == "5c0dd10572045385b1428402d66f8ce8"


@given(
    MESSAGES,
    st.dictionaries(st.sampled_from(["temperature", "max_tokens", "stop", "é", "extra_body"]), VALUES),
    st.dictionaries(st.sampled_from(["stop", "response_format"]), VALUES),
    st.sampled_from(["chat", "completions"]),
    st.text(max_size=5),
)
def test_a_request_is_encoded_alike_in_parts_and_at_once(messages, generation, keywords, route, name):
    """With integers of more than 64 bits, lone surrogates and anything else that JSON can hold."""
    made = target({key: value for key, value in generation.items() if key != "extra_body"}, f"http://[{name}]", name)
    for own in ({}, keywords):
        request = made.request(messages, own, None, route)

        assert made.canonical(request) == request.canonical()


def test_a_request_that_was_changed_is_encoded_at_once():
    made = target({"temperature": 0.7})
    other = Request(made.endpoint, made.model, [], {"temperature": 0.2})

    assert made.canonical(other) == other.canonical()
