"""Each fault of an endpoint, over HTTP and through the command: what is tried again, what ends a row, what ends the run, and its price."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest

from tests.crash.test_ends import SPEC
from tests.llm.test_retry import MATRIX
from tests.server import Reply

PLACES = 2
QUICK = {"BACKOFF_BASE": 0.001, "LONGEST_REST": 0.01}
"""Waits that are too long for a test: that before another try, that of an endpoint in trouble."""
NO_HOUR = QUICK | {"LONGEST_LIMITED": 0.05}
"""And the hour that 429 may last."""


class Bench:
    """Rows, a task, a server with a fault."""

    def __init__(self, folder, forks, server):
        self.folder, self.forks, self.server = folder, forks, server
        (folder / "task.yaml").write_text(SPEC)

    def run(self, *more, rows=3, values=QUICK):
        (self.folder / "in.jsonl").write_text("".join(json.dumps({"q": str(i)}) + "\n" for i in range(rows)))
        self.code, self.said = self.forks.run(
            self.folder, "run", "task.yaml", "-i", "in.jsonl", "-o", "out.jsonl", "--model", "my-model", "--base-url",
            self.server.url, "-j", PLACES, "--set", "limits.max_retries=1", *more, values=values,
        )  # fmt: skip
        assert "Traceback" not in self.said
        assert "bug in distask" not in self.said
        return self.code, len(self.server.requests)

    def rows(self):
        return [json.loads(line) for line in (self.folder / "out.jsonl").read_text().splitlines()]

    def kinds(self):
        return [row["distask_metadata"].get("error_answer", {}).get("kind") for row in self.rows()]

    def always(self, reply):
        self.server.reply = lambda body: reply

    def once(self, reply):
        """The first call of each row has the fault; the second one is answered."""
        seen = set()

        def answer(body):
            key = body["messages"][0]["content"]
            if key in seen:
                return "good"
            seen.add(key)
            return reply

        self.server.reply = answer


@pytest.fixture
def bench(tmp_path, forks, server):
    return Bench(tmp_path, forks, server)


def answer(status, body):
    return Reply(status, body=body.encode() if isinstance(body, str) else json.dumps(body).encode())


OVER_HTTP = [
    (answer(status, body), kind, scope)
    for status, body, kind, scope in MATRIX
    if isinstance(status, int) and "doctype" not in body
]
BROKEN = [
    (Reply(drop=True), "connection"),
    (Reply(cut=20), "connection"),
    (Reply(raw=b"SSH-2.0-OpenSSH_9.7\r\n"), "connection"),
    (Reply(raw=b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"cho'), "connection"),
    (Reply(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "connection"),
    (Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{}"), "connection"),
    (Reply(raw=b'HTTP/1.1 200 OK\r\n\r\n{"choices": [{"mess'), "bad_reply"),
    (Reply(delay=30), "timeout"),
    (Reply(drip=0.2, body={"choices": []}), "timeout"),
    (Reply(body=b"\xff\xfe\x00"), "bad_reply"),
    (Reply(body=b"[" * 50_000), "bad_reply"),
    (Reply(body=b'{"choices": [{"message": {"tool_calls": [{"x": %b%b}]}}]}' % (b"[" * 300, b"]" * 300)), "bad_reply"),
    (Reply(body=b"<!doctype html><p>Sign in"), "web_page"),
    (Reply(body={"choices": [{"error": {"message": "x", "code": 502}, "finish_reason": "error"}]}), "bad_reply"),
    (Reply(body={"choices": "none"}), "bad_reply"),
    (Reply(body=b"true"), "bad_reply"),
]  # fmt: skip
"""What is tried again, and is no status."""
TIMEOUT = ("--set", "limits.timeout=0.5")


ENDS_THE_RUN = [case for case in OVER_HTTP if case[2] == "run"]
STAYS = [case for case in OVER_HTTP if case[2] != "run" and case[1] != "rate_limit"] + [
    (*case, "retry") for case in BROKEN
]


@pytest.mark.parametrize("case", ENDS_THE_RUN, ids=lambda c: f"{c[0].status}-{c[1]}")
def test_a_fault_that_is_the_runs_ends_it_with_the_calls_in_flight(bench, case):
    bench.always(case[0])

    code, calls = bench.run()

    assert code == 1
    assert 1 <= calls <= PLACES
    assert not (bench.folder / "out.jsonl").exists()
    assert "run the same command to resume" in bench.said


def test_a_rate_limit_without_end_ends_the_run_after_its_hour(bench):
    bench.always(Reply(429))

    code, calls = bench.run(values=NO_HOUR)

    assert code == 1
    assert calls < 40


def test_a_fault_that_stays_does_to_its_row_what_the_table_says(bench):
    """Each row has another one: the row's own costs one call, what is retried its tries, and the other rows nothing.

    The second row has none, since a run that has had no reply ends after 20 failed requests.
    """
    faults = [None, None, *STAYS]
    bench.server.reply = lambda body: fault[0] if (fault := faults[int(body["messages"][0]["content"])]) else "good"
    bench.run("--limit", "1", rows=len(faults))  # a refused connection is the run's before any success

    code, calls = bench.run(*TIMEOUT, rows=len(faults))

    assert code == 3
    assert bench.kinds() == [None, None, *(kind for _, kind, _ in STAYS)]
    assert calls == 2 + sum(1 if scope == "row" else 2 for _, _, scope in STAYS)


PASSING = [reply for reply, _, scope in OVER_HTTP if scope == "retry"] + [reply for reply, _ in BROKEN]


def test_a_fault_that_passes_is_not_seen_in_the_rows(bench):
    """Every fault that is tried again, each as the first thing that one row hears."""
    faults = iter(PASSING)
    seen = {}

    def reply(body):
        row = body["messages"][0]["content"]
        if row in seen or row == "0":  # the first row is answered: a refused connection is the run's before any success
            return "good"
        seen[row] = next(faults)
        return seen[row]

    bench.server.reply = reply
    code, calls = bench.run(*TIMEOUT, rows=1 + len(PASSING))

    assert code == 0
    assert len(seen) == len(PASSING)
    assert calls == 1 + 2 * len(PASSING)
    assert bench.kinds() == [None] * (1 + len(PASSING))


@pytest.mark.parametrize(
    ("reply", "most", "words"),
    [
        (answer(400, {"error": {"message": "Invalid value for 'temperature'"}}), 20 + PLACES, "'temperature'"),
        (Reply(body=b"<!doctype html><title>Sign in</title>"), 20 + PLACES, "web page"),
        (answer(500, "oops"), 80, "oops"),
        (answer(200, {"error": {"message": "upstream broke"}}), 80, "upstream broke"),
        (answer(400, {"error": {"message": "maximum context length", "code": "context_length_exceeded"}}), 20 + PLACES, "shorten"),
    ],
)  # fmt: skip
def test_a_thousand_rows_that_all_fail_the_same_way_cost_little(bench, reply, most, words):
    """The breaker: twenty rows, and what was in flight."""
    bench.always(reply)

    code, calls = bench.run(rows=1000)

    assert code == 1
    assert 20 <= calls <= most
    assert "the first 20 requests all failed the same way" in bench.said
    assert words in bench.said


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_what_ends_the_run_costs_of_a_thousand_rows_no_more_than_was_in_flight(bench, status):
    """And a key that is withdrawn in the middle of a run loses nothing of what was paid for."""
    bench.server.reply = lambda body: Reply(status) if int(body["messages"][0]["content"]) >= 10 else "good"

    code, calls = bench.run(rows=1000)

    assert code == 1
    assert 11 <= calls <= 10 + PLACES
    bench.server.reply = lambda body: "good"
    assert bench.run(rows=20) == (0, calls + 10)


# Waits


def in_milliseconds():
    return {"retry-after-ms": "700"}


def until_1970s_milliseconds():
    return {"x-ratelimit-reset-requests": str(round(time.time() * 1000) + 700)}


def a_date():
    return {"retry-after": formatdate(time.time() + 2, usegmt=True)}


WAITS = [
    (in_milliseconds, 0.69),
    (lambda: {"retry-after": "1"}, 0.99),
    (a_date, 0.99),
    (lambda: {"x-ratelimit-reset-tokens": "700ms"}, 0.69),
    (until_1970s_milliseconds, 0.65),
    (lambda: {"x-ratelimit-reset-requests": "9m", "x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-tokens": "700ms", "x-ratelimit-remaining-tokens": "0"}, 0.69),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "least"), WAITS)
def test_a_wait_that_the_server_asks_for_holds_the_whole_endpoint(bench, headers, least):
    """However it is written; no row asks before it is over, whichever heard it."""
    refused, came = [], []

    def reply(body):
        came.append(time.monotonic())
        if len(came) == 5:
            refused.append(time.monotonic())
            return Reply(429, headers())
        return Reply()

    bench.server.reply = reply
    code, calls = bench.run(rows=20)

    assert (code, calls) == (0, 21)
    after = [t for t in came if t > refused[0]]
    assert sum(t < refused[0] + least for t in after) <= PLACES - 1  # what was on its way


NO_WAITS = ["-5", "soon", "nan", "1e9", "", "9" * 400, "Wed, 99 Foo 2023 25:61:61 GMT"]


def test_a_wait_that_makes_no_sense_is_overlooked(bench):
    values = iter(NO_WAITS)
    seen = set()

    def reply(body):
        row = body["messages"][0]["content"]
        if row in seen:
            return "good"
        seen.add(row)
        return Reply(429, {"retry-after": next(values)})

    bench.server.reply = reply

    assert bench.run(rows=len(NO_WAITS)) == (0, 2 * len(NO_WAITS))


def test_a_500_that_reports_of_its_limits_is_no_reason_to_wait_for_them(bench):
    """Such headers come with every answer of some servers."""
    bench.once(Reply(500, {"x-ratelimit-reset-requests": "9m", "x-ratelimit-remaining-requests": "0"}))

    assert bench.run() == (0, 6)


# Replies that are odd, and answers all the same


def choice(finish="stop", **message):
    return {"choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}]}


ODD = [
    (choice("length", content="cut"), None, "cut"),
    (choice("content_filter", content="half"), "content_filter", None),
    (choice("content_filter", content=None), "content_filter", None),
    (choice(content=None, refusal="I can't help with that."), "refusal", None),
    (choice(content=None), "empty", None),
    (choice(content=""), "empty", None),
    (choice("tool_calls", content=None, tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]), "empty", None),
    (choice(content=None, reasoning_content="hm"), "empty", None),
    (choice(content=[{"type": "text", "text": "in "}, {"type": "text", "text": "parts"}]), None, "in parts"),
    (b'{"choices": [{"message": {"content": "half \\ud83d pair"}}]}', None, "half \ufffd pair"),
    (b'{"choices": [{"message": {"content": "x"}, "logprobs": {"n": 123456789012345678901234567890}}]}', None, "x"),
    (b'{"choices": [{"message": {"content": "\\ud800"}, "logprobs": {"n": 123456789012345678901234567890, "m": NaN}}]}', None, "\ufffd"),
    (b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": -1, "completion_tokens": "many"}}', None, "x"),
    ({"choices": [{"message": {"content": "a"}}, {"message": {"content": "one too many"}}]}, None, "a"),
    ({"choices": [{"message": {"content": "[/b]\x1b[2J\x00"}}]}, None, "[/b]\x1b[2J\x00"),
]  # fmt: skip


def test_an_odd_reply_passes_or_fails_by_rule_and_is_asked_for_once(bench):
    """Never by a traceback, never by asking for ever; and the next run reads the same from the store."""
    bench.server.reply = lambda body: Reply(body=ODD[int(body["messages"][0]["content"])][0])

    assert bench.run(rows=len(ODD)) == (3, len(ODD))
    first = bench.rows()
    assert bench.kinds() == [kind for _, kind, _ in ODD]
    assert [row["a"] for row in first] == [text for _, _, text in ODD]

    assert bench.run(rows=len(ODD)) == (3, len(ODD))
    assert bench.rows() == first


def test_a_reply_of_ten_megabytes_is_a_reply(bench):
    bench.always("x" * 10_000_000)

    assert bench.run(rows=1) == (0, 1)
    assert bench.rows()[0]["a"] == "x" * 10_000_000


def test_a_reply_larger_than_any_may_be_is_its_rows_failure(bench):
    bench.always("x" * 200_000)

    assert bench.run(values=QUICK | {"MAX_REPLY_BYTES": 100_000}) == (3, 3)
    assert bench.kinds() == ["oversize"] * 3


@pytest.mark.parametrize("brings", [1, 2])
def test_too_few_replies_of_a_call_are_kept_and_the_rest_asked_for_one_by_one(bench, brings):
    """A server that sends fewer than n: said once, and no reply is paid for twice."""
    counted = iter(range(1000))

    def reply(body):
        n = min(body.get("n") or 1, brings)
        return {"choices": [{"index": i, "message": {"content": f"r{next(counted)}"}} for i in range(n)]}

    bench.server.reply = reply
    code, calls = bench.run("-n", "4")

    assert code == 0
    assert len({row["a"] for row in bench.rows()}) == 12
    assert calls <= 12
    assert bench.said.count("the rest of the run requests one completion per call") == 1
