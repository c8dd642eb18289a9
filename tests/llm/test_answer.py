"""Reading what servers send: with patience for their differences, and never with an exception."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distask.llm.http.transport import Response
from distask.llm.responses import completions_in, read_completions, whole


def read(data, headers=None):
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return read_completions(Response(200, headers or {}, body))[0]


def chat(*messages, **more):
    choices = [{"index": i, "message": m, "finish_reason": "stop"} for i, m in enumerate(messages)]
    return {"model": "served", "choices": choices, **more}


def test_choices_are_put_in_order():
    """Servers may send them as they finish."""
    data = chat({"content": "a"}, {"content": "b"}, {"content": "c"})
    data["choices"].reverse()

    assert [c.text for c in read(data)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("usage", "shares"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 11}, [(7, 5), (0, 3), (0, 3)]),
        ({"prompt_tokens": 7}, [(7, None), (0, None), (0, None)]),
        ({"input_tokens": 7, "output_tokens": 3}, [(7, 1), (0, 1), (0, 1)]),
        ({"prompt_tokens": "7", "completion_tokens": -1}, [(7, None), (0, None), (0, None)]),
        (None, [(None, None)] * 3),
        ([], [(None, None)] * 3),
    ],
)
def test_the_usage_is_shared_out(usage, shares):
    """So that the sum over all rows is what the server counted."""
    completions = read(chat(*[{"content": "x"}] * 3, usage=usage))

    assert [(c.usage.input_tokens, c.usage.output_tokens) for c in completions] == shares


@pytest.mark.parametrize(
    ("message", "text", "reasoning", "refusal"),
    [
        ({"content": "plain"}, "plain", None, None),
        ({"content": ""}, "", None, None),
        ({"content": None}, None, None, None),
        ({}, None, None, None),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab", None, None),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}]}, "a", "hm", None),
        ({"content": [{"type": "refusal", "refusal": "no"}]}, None, None, "no"),
        ({"content": "a", "reasoning_content": "because"}, "a", "because", None),
        ({"content": "a", "reasoning": "because"}, "a", "because", None),
        ({"content": None, "refusal": "I can't"}, None, None, "I can't"),
        ({"content": 7}, None, None, None),
    ],
)  # fmt: skip
def test_the_parts_of_a_message_are_reported_apart(message, text, reasoning, refusal):
    """Text, reasoning and refusal."""
    (completion,) = read(chat(message))

    assert (completion.text, completion.reasoning, completion.refusal) == (text, reasoning, refusal)


def test_tool_calls_logprobs_and_ids_are_kept():
    """As the server gave them."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    data = chat({"content": None, "tool_calls": [call]})
    data["choices"][0] |= {"finish_reason": "tool_calls", "logprobs": {"content": []}}

    (completion,) = read(data, {"x-request-id": "req_1"})

    assert completion.tool_calls == [call]
    assert completion.logprobs == {"content": []}
    assert (completion.finish_reason, completion.model, completion.request_id) == ("tool_calls", "served", "req_1")


def test_the_older_function_call_becomes_a_tool_call():
    """Some servers still send it."""
    (completion,) = read(chat({"content": None, "function_call": {"name": "f", "arguments": "{}"}}))

    assert completion.tool_calls == [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize("reason", [None, "", 7])
def test_a_missing_finish_reason_is_stop(reason):
    """llama.cpp and others leave it out."""
    assert read({"choices": [{"message": {"content": "x"}, "finish_reason": reason}]})[0].finish_reason == "stop"


def test_choices_that_are_errors_are_left_out():
    """A router's provider failed for one of them."""
    data = chat({"content": "a"}, {"content": ""}, {"content": "c"})
    data["choices"][1]["error"] = {"code": 502, "message": "upstream"}

    assert [c.text for c in read(data)] == ["a", "c"]


def test_halves_of_surrogate_pairs_become_the_replacement_character():
    """They can't be written as UTF-8; a pair in two halves is joined."""
    (completion,) = read(b'{"choices": [{"message": {"content": "a\\ud83d b \\ud83d\\ude00"}}], "x": NaN}')

    assert completion.text == "a\ufffd b 😀"
    assert whole("\ud83d\ude00") == "😀"


def test_broken_utf8_is_replaced():
    """A model that is cut inside of a character."""
    assert read(b'{"choices": [{"message": {"content": "a\xff"}}]}')[0].text == "a\ufffd"


@pytest.mark.parametrize(
    ("body", "note"),
    [(b"", "empty"), (b"  ", "empty"), (b"<html>", "web page"), (b"{", "broken JSON"), (b"[]", "not a JSON object"),
     (b"{}", "no choices"), (b'{"choices": []}', "empty"), (b'{"error": {}, "choices": null}', "no choices"),
     (b'{"choices": [{"error": {"code": 1}}]}', "error"), (b'{"choices": [7, null]}', "error"), (b"[" * 100_000, "broken")],
)  # fmt: skip
def test_what_can_not_be_read_says_why(body, note):
    """A 200 that is no reply."""
    completions, result = read_completions(Response(200, {}, body))

    assert completions == []
    assert note in result


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["choices", "message", "content", "text", "index", "usage", "tool_calls", "finish_reason", "error", "type", "thinking", "model", "id", "prompt_tokens", "logprobs"]), inner), max_leaves=30)  # fmt: skip


@pytest.mark.battery
@given(JSON.map(lambda choice: {"choices": [choice]}) | st.fixed_dictionaries({"choices": st.lists(st.fixed_dictionaries({"message": JSON, "index": JSON})), "usage": JSON}) | JSON)  # fmt: skip
def test_no_body_raises(data):
    """Whatever JSON a server sends, it is completions or a note."""
    completions, note = read_completions(Response(200, {}, json.dumps(data).encode("utf-8", "surrogatepass")))

    assert completions or note
    for completion in completions:
        assert (completion.text or "").encode() is not None


@given(st.binary())
def test_no_bytes_raise(body):
    """Not even what is no JSON at all."""
    completions, note = read_completions(Response(200, {}, body))

    assert completions or note


ODD = st.none() | st.booleans() | st.integers(-3, 3) | st.just("") | st.text(max_size=3) | st.just({}) | st.just([])
MESSAGES = st.fixed_dictionaries(
    {"content": st.text(max_size=5) | ODD},
    optional=dict.fromkeys(["refusal", "tool_calls", "function_call", "reasoning_content", "reasoning", "role"], ODD),
)
CHOICES = st.fixed_dictionaries(
    {"message": MESSAGES | ODD},
    optional=dict.fromkeys(["finish_reason", "logprobs", "error", "index", "text"], ODD),
)
COUNTS = (
    st.integers(0, 30) | st.floats(-1, 30) | st.floats() | st.sampled_from(["5", "5.0", "NaN", 10**13, 2**70]) | ODD
)
DETAILS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ["cached_tokens", "reasoning_tokens", "cache_write_tokens", "audio_tokens", "other"], COUNTS
    ),
)
USAGES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(
            ["prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "reasoning_tokens", "cached_tokens",
             "prompt_cache_hit_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cost", "other"],
            COUNTS,
        ),
        **dict.fromkeys(["prompt_tokens_details", "completion_tokens_details", "cost_details"], DETAILS | ODD),
        "is_byok": ODD,
    },
) | st.fixed_dictionaries(
    {
        "prompt_tokens": st.integers(0, 30),
        "completion_tokens": st.integers(0, 30),
        "total_tokens": st.integers(0, 70),
        "prompt_tokens_details": st.fixed_dictionaries({"cached_tokens": st.integers(0, 31)}) | st.none(),
        "completion_tokens_details": st.fixed_dictionaries({"reasoning_tokens": st.integers(0, 31)}) | st.none(),
    },
    optional={"cost": st.floats(0, 1) | st.integers(0, 2), "is_byok": st.booleans(), "reasoning_tokens": st.integers(0, 31)},
)  # fmt: skip
ANSWERS = st.fixed_dictionaries(
    {"choices": st.lists(CHOICES, max_size=2) | ODD},
    optional={"model": ODD, "usage": USAGES | ODD, "id": ODD, "error": ODD},
)


@given(ANSWERS, st.sampled_from([{}, {"x-request-id": "r"}, {"x-litellm-response-cost": "0.25"}]))
@example(chat({"content": "a"}, usage={"prompt_tokens": 3, "completion_tokens": 1}, id="i"), {})
def test_the_short_way_reads_what_patience_reads(data, headers):
    """An answer of one text is read by its types; whatever differs from it is read with patience."""
    body = json.dumps(data).encode()

    assert read_completions(Response(200, headers, body)) == completions_in(json.loads(body), headers)


@given(USAGES, st.integers(1, 5))
def test_the_shares_of_a_usage_add_up_to_it(usage, choices):
    (whole_usage,) = read(chat({"content": "x"}, usage=usage))
    shares = [c.usage for c in read(chat(*[{"content": "x"}] * choices, usage=usage))]

    for name in whole_usage.usage.__struct_fields__:
        counts = [getattr(share, name) for share in shares]
        assert (None if None in counts else sum(counts)) == getattr(whole_usage.usage, name)
