"""A stream that was not asked for: read as the one answer that it amounts to, or named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask.llm.http.transport import Response
from distask.llm.pacing.failure_rules import Situation, classify
from distask.llm.responses import completions_in, read_completions


def chunk(delta=None, finish=None, index=0, **more):
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion.chunk", "model": "served", "choices": [choice], **more}


def stream(*chunks, end="\n\n", done=True):
    events = [f"data: {c if isinstance(c, str) else json.dumps(c)}" for c in [*chunks, *(["[DONE]"] if done else [])]]
    return end.join(events) + end


def read(text):
    return read_completions(Response(200, {"content-type": "text/event-stream"}, text.encode()))


PIECES = [chunk({"role": "assistant", "content": "A wa"}), chunk({"content": "ter mill"}), chunk({}, "stop")]
USAGE = {
    "id": "1",
    "model": "served",
    "choices": [],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "cost": 0.25},
}


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"])
@pytest.mark.parametrize(
    "before", ["", ": OPENROUTER PROCESSING\n\n", "event: message\n", "id: 7\n", "retry: 10\n\n", "\n"]
)
def test_the_chunks_are_joined(end, before):
    (completion,), note = read(before + stream(*PIECES, USAGE, end=end))

    assert note == ""
    assert (completion.text, completion.finish_reason, completion.model) == ("A water mill", "stop", "served")
    usage = completion.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cost) == (7, 3, 0.25)


def test_data_on_several_lines_is_one_event():
    text = json.dumps(chunk({"content": "x"}, "stop"), indent=1)
    (completion,), _ = read("\n".join(f"data: {line}" for line in text.splitlines()))

    assert completion.text == "x"


def test_choices_calls_reasoning_and_logprobs_are_joined():
    def call(index, **function):
        return {"tool_calls": [{"index": index, "function": function}]}

    named = {"tool_calls": [{"index": 0, "id": "c0", "type": "function", "function": {"name": "f", "arguments": ""}}]}
    pieces = [
        chunk({"reasoning_content": "hm"}, index=1),
        chunk(named),
        chunk({"reasoning_content": "m", "content": "b"}, index=1),
        chunk(call(0, arguments='{"a"')),
        chunk(call(0, arguments=": 1}"), "tool_calls"),
        chunk({}, "stop", index=1),
    ]
    pieces[0]["choices"][0]["logprobs"] = {"content": [{"token": "h", "logprob": -1.0}]}
    pieces[2]["choices"][0]["logprobs"] = {"content": [{"token": "b", "logprob": -2.0}]}

    (called, thought), _ = read(stream(*pieces))

    assert called.tool_calls[0]["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert called.tool_calls[0]["id"] == "c0"
    assert (thought.text, thought.reasoning) == ("b", "hmm")
    assert [t["token"] for t in thought.logprobs["content"]] == ["h", "b"]


def test_texts_of_raw_completions_are_joined():
    pieces = [{"choices": [{"index": 0, "text": t, "finish_reason": f}]} for t, f in [("a", None), ("b", "length")]]
    (completion,), _ = read(stream(*pieces))

    assert (completion.text, completion.finish_reason) == ("ab", "length")


def test_a_last_chunk_with_the_whole_message_is_not_added_twice():
    """As Perplexity sends it."""
    last = chunk({"content": " mill"}, "stop")
    last["choices"][0]["message"] = {"role": "assistant", "content": "A mill"}
    (completion,), _ = read(stream(chunk({"content": "A"}), last))

    assert completion.text == "A mill"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (stream(*PIECES[:2], done=False), "ends before the reply does"),
        (stream(*PIECES[:2], done=False)[:-30], "is broken"),
        (stream(), "has no choices"),
        (": ping\n\n: ping\n\n", "has no choices"),
        (stream("{" * 20), "is broken"),
        (stream(*[chunk({"content": json.loads("[" * 400 + "]" * 400)})] * 1, done=False), "ends before"),
    ],
)
def test_a_stream_that_can_not_be_read_is_named(text, expected):
    completions, note = read(text)
    failure = classify(200, {}, text.encode(), Situation(), note)

    assert completions == []
    assert note.startswith("the server sent a stream that was not requested")
    assert expected in note
    assert (failure.kind, failure.max_retries) == ("bad_reply", 1)


@pytest.mark.parametrize(("code", "kind", "scope"), [(None, "bad_reply", "retry"), (402, "quota", "run"), (429, "rate_limit", "retry")])  # fmt: skip
def test_an_error_within_the_stream_is_what_it_says(code, kind, scope):
    error = {"error": {"message": "no more of this", "code": code}}
    text = stream(PIECES[0], error)
    completions, note = read(text)
    failure = classify(200, {}, text.encode(), Situation(), note)

    assert completions == []
    assert (failure.kind, failure.scope) == (kind, scope)
    assert "no more of this" in failure.message


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    reasoning=st.text("ab \n"),
    size=st.integers(1, 9),
    finish=st.sampled_from(["stop", "length"]),
)
def test_a_reply_cut_into_chunks_is_the_same_reply(text, reasoning, size, finish):
    def parts(key, value):
        return [chunk({key: value[i : i + size]}) for i in range(0, len(value), size)]

    pieces = [*parts("reasoning_content", reasoning), chunk({"content": ""}), *parts("content", text)]
    streamed, note = read(stream(*pieces, chunk({}, finish), USAGE))
    message = {"content": text, "reasoning_content": reasoning}
    whole, _ = completions_in({**USAGE, "choices": [{"index": 0, "message": message, "finish_reason": finish}]}, {})

    assert note == ""
    assert streamed == whole


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text("ab"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "index", "delta", "message", "content", "tool_calls", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.lists(JSON | st.text("dat: \n\r{}[]"), max_size=5), st.booleans())
def test_whatever_the_stream_holds_there_are_completions_or_a_note(chunks, done):
    text = stream(*chunks, done=done)
    completions, note = read(text)
    classify(200, {}, text.encode(), Situation(), note)

    assert bool(completions) != bool(note)


def test_chunks_nested_too_deep_are_named():
    deep = '{"choices": [{"index": 0, "delta": ' + '{"a": ' * 1010 + "1" + "}" * 1010 + "}]}"
    _, note = read(stream(deep, deep))

    assert note.endswith("is nested too deep")
