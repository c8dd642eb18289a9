"""How many calls a run makes while a server queues, refuses, is late or sends what can't be used: each may cost money."""

from __future__ import annotations

import json
import time

import pytest

from distask import Task, run
from distask.errors import EndpointError
from tests.server import Reply

pytestmark = pytest.mark.battery

SPEC = """
name: answer
inputs: {instruction: The instruction.}
format_input:
  - {role: user, content: "{{ instruction }}"}
outputs: {generation: The reply.}
format_output: {parser: text}
"""
CHUNK = b'data: {"choices": [{"index": 0, "delta": {"content": "fine"}}]}\n\n'
END = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


class Slots:
    """A server that works on some calls at a time and lets the others wait, also those whose client has gone."""

    def __init__(self, count, seconds):
        self.free_at = [0.0] * count
        self.seconds = seconds

    def __call__(self, _body):
        now = time.monotonic()
        slot = min(range(len(self.free_at)), key=self.free_at.__getitem__)
        self.free_at[slot] = max(now, self.free_at[slot]) + self.seconds
        return Reply(body="fine", delay=self.free_at[slot] - now)


class Limit:
    """A gateway that lets so many calls through in any second."""

    def __init__(self, calls):
        self.calls, self.taken, self.refused = calls, [], 0

    def __call__(self, _body):
        now = time.monotonic()
        self.taken = [at for at in self.taken if at > now - 1]
        if len(self.taken) >= self.calls:
            self.refused += 1
            return Reply(429, body={"error": {"message": "slow down"}})
        self.taken.append(now)
        return Reply(body="fine", delay=0.05)


@pytest.fixture
def send(tmp_path, server):
    """Run so many rows against a server that answers so: the rows out."""

    def send(reply, rows, **limits):
        server.reply = reply
        (tmp_path / "task.yaml").write_text(SPEC)
        (tmp_path / "in.jsonl").write_text("".join(f'{{"instruction": "question {i}"}}\n' for i in range(rows)))
        llm = {"model": "m", "base_url": server.url, "api_key_env": None, "limits": {"concurrency": 256} | limits}
        run(Task.load(tmp_path / "task.yaml"), tmp_path / "in.jsonl", llm=llm, output=tmp_path / "out.jsonl")
        return [json.loads(line)["generation"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]

    return send


@pytest.mark.parametrize("delay", [0, 0.3])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"choices": None}, "the reply has no choices"),
        ({"choices": []}, "the reply's choices are empty"),
        ({"error": {"message": "worker died"}}, "worker died"),
        (b'{"choices": [{"message": {"content": "fi', "broken JSON"),
        (b"", "the reply is empty"),
        (b"\n\n", "the reply is empty"),
        (b"<html><h1>Log in</h1></html>", "web page"),
        (CHUNK, "the server sent a stream that was not requested"),
        (CHUNK[:40], "the server sent a stream that was not requested"),
    ],
)  # fmt: skip
def test_replies_that_can_not_be_used_end_the_run_after_twenty(send, server, body, expected, delay):
    """Each may have been paid for; what is in flight by then comes on top."""
    with pytest.raises(EndpointError, match="the first 20 requests") as raised:
        send(lambda _: Reply(body=body, delay=delay), 200)

    assert expected in str(raised.value)
    assert len(server.requests) <= 20 + 16


def test_a_reply_that_can_not_be_used_is_requested_once_more(send, server):
    """Whatever limits.max_retries allows for failures that cost nothing."""
    bad = {"question 40", "question 50"}
    rows = send(lambda b: {"choices": None} if b["messages"][0]["content"] in bad else "fine", 60, max_retries=8)

    assert rows.count(None) == 2
    assert len(server.requests) == 60 + 2


def test_nothing_but_bad_replies_after_good_ones_ends_the_run_within_200(send, server):
    """A server that breaks in the middle."""

    def reply(_):
        return "fine" if len(server.requests) <= 100 else {"choices": None}

    with pytest.raises(EndpointError, match="the last 200 requests"):
        send(reply, 2000)

    assert len(server.requests) <= 100 + 200 + 2 * 256


@pytest.mark.parametrize("body", [CHUNK + END, b": ping\r\n\r\n" + CHUNK + END, b"event: message\n" + CHUNK + END])
def test_a_stream_that_was_not_asked_for_is_read(send, server, body):
    assert send(lambda _: Reply(body=body, headers={"content-type": "text/event-stream"}), 5) == ["fine"] * 5
    assert len(server.requests) == 5


def test_a_model_that_is_slower_than_the_time_out_ends_the_run_and_says_what_to_raise(send, server):
    """E8: 20 requests, instead of 8 retries of each of the 60 rows."""
    with pytest.raises(EndpointError, match=r"the first 20 requests(?s:.)*--set limits\.timeout=SECONDS"):
        send(lambda _: Reply(body="fine", delay=1), 60, timeout=0.2)

    assert len(server.requests) <= 20 + 16


def test_a_call_that_times_out_is_retried_twice(send, server):
    def reply(body):
        return Reply(body="fine", delay=1 if body["messages"][0]["content"] == "question 30" else 0)

    rows = send(reply, 40, timeout=0.5)

    assert rows == ["fine"] * 30 + [None] + ["fine"] * 9
    assert len(server.requests) == 40 + 2


@pytest.mark.parametrize(("slots", "seconds", "rows", "timeout"), [(1, 0.01, 300, 1), (4, 0.1, 120, 2)])
def test_a_server_that_queues_is_sent_each_row_about_once(send, server, slots, seconds, rows, timeout):
    """E12: with all 256 at once most calls would time out in the queue, and be sent again."""
    assert send(Slots(slots, seconds), rows, timeout=timeout) == ["fine"] * rows
    assert len(server.requests) <= 1.2 * rows


def test_a_limit_per_second_is_learned(send, server):
    """E13: a gateway that says nothing but 429."""
    gateway = Limit(100)

    assert send(gateway, 500) == ["fine"] * 500
    assert gateway.refused <= 0.3 * 500


def test_a_server_that_keeps_up_gets_all_calls_at_once(send, server):
    send(lambda _: Reply(body="fine", delay=0.1), 2000)

    assert len(server.requests) == 2000
    assert server.most_in_flight > 250
