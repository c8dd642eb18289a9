"""A client against a server that fails in every way, and against a provider in virtual time."""

from __future__ import annotations

import asyncio
import json
import logging
from random import Random

import pytest

from distask.llm.client import Client, build_client
from distask.llm.config.resolve import load_config
from distask.llm.pacing.pace import Pace
from distask.llm.request import CallFailed, Completion, Failure, Request
from tests.llm import virtual
from tests.server import Reply, ScriptedServer

CANARY = "sk-canary-0123456789abcdefSECRET"


def request(text="hello", **keywords):
    return Request("http://host/v1", "m", [{"role": "user", "content": text}], keywords)


def client_of(server, *, environ=None, **config):
    keys = {"model": "m", "base_url": server.url, "api_key_env": "MY_KEY"} | config
    return build_client(load_config(None, contents=keys, environ={"MY_KEY": CANARY} | (environ or {})))


def ask(server, *, samples=(0,), times=1, **config):
    """Ask a server; completions, or the failure, and the client."""

    async def work():
        client = client_of(server, **config)
        try:
            return [await client.ask(request(), list(samples)) for _ in range(times)][-1], client
        except CallFailed as error:
            assert error.__cause__ is None  # noqa: PT017 - no key hides there
            return error.failure, client
        finally:
            await client.close()

    return asyncio.run(work())


class Scripted:
    """A provider that answers from a list, and then well."""

    def __init__(self, *answers, seconds=0.1):
        self.answers, self.seconds, self.asked, self.times = list(answers), seconds, [], []

    async def complete(self, request, samples):
        self.asked.append(list(samples))
        self.times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.seconds)
        answer = self.answers.pop(0) if self.answers else None
        if callable(answer):
            answer = answer(samples)
        if isinstance(answer, Failure):
            raise CallFailed(answer)
        return answer if answer is not None else [Completion(f"reply {s}") for s in samples]

    async def close(self):
        pass


class Always(Scripted):
    """A provider that answers the same each time."""

    async def complete(self, request, samples):
        answer = self.answers[0]
        self.answers.append(answer)
        return await super().complete(request, samples)


RATE_LIMIT = Failure("rate_limit", "slow down", "retry", 429)
SERVER_ERROR = Failure("server_error", "oops", "retry", 500)
BAD_REQUEST = Failure("bad_request", "temperature?", "row", 400)
AUTH = Failure("auth", "who are you?", "run", 401)


def in_virtual_time(provider, work=None, **options):
    """Ask once (or do `work`); completions or failure, the client, the seconds that went by."""

    async def main():
        client = Client(provider, options.pop("pace", None), random=Random(7), **options)
        try:
            result = await (client.ask(request(), [0]) if work is None else work(client))
        except CallFailed as error:
            result = error.failure
        return result, client, asyncio.get_running_loop().time()

    return virtual.run(main())


def test_a_reply_comes_back_with_the_key_sent_as_a_header(server):
    """The plain case: one call, the text, the usage."""
    (completion,), client = ask(server)

    assert completion.text == "hello"
    assert completion.usage.input_tokens == 1
    assert server.headers_seen[0]["authorization"] == f"Bearer {CANARY}"
    assert server.requests[0] == {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    assert (client.calls, client.retries, client.in_flight) == (1, 0, 0)


def test_connections_are_kept_between_calls(server):
    """A hundred calls, one after another, use one connection."""
    ask(server, times=100)

    assert server.connections == 1


def test_azure_puts_the_model_into_the_path_and_the_key_into_its_own_header(server):
    """Azure's older addresses."""
    base = server.url.removesuffix("/v1")

    ask(server, provider="azure", base_url=base)

    assert server.paths == ["/openai/deployments/m/chat/completions?api-version=2024-10-21"]
    assert server.headers_seen[0]["api-key"] == CANARY
    assert "authorization" not in server.headers_seen[0]


def test_other_headers_come_from_variables(server):
    """A gateway's own."""
    ask(server, environ={"TEAM": "blue"}, headers={"X-Team": "${TEAM}"})

    assert server.headers_seen[0]["x-team"] == "blue"


def test_a_server_that_ignores_n_is_asked_one_by_one_from_then_on(server):
    """What came is kept; the shortfall is learned, and said once."""
    server.honours_n = False

    async def work():
        client = client_of(server)
        first = await client.ask(request(), [0, 1, 2])
        groups = client.groups([1, 2])
        second = await client.ask(request(), [1, 2])
        await client.close()
        return first, groups, second, client.events

    first, groups, second, events = asyncio.run(work())

    assert len(first) == len(second) == 1
    assert groups == [[1], [2]]
    assert [b.get("n") for b in server.requests] == [3, None]
    assert len(events) == 1


def test_a_server_that_honours_n_is_asked_once(server):
    """All samples in one call, up to what servers take."""
    completions, client = ask(server, samples=range(5))

    assert [c.text for c in completions] == ["hello"] * 5
    assert [len(g) for g in client.groups(range(300))] == [128, 128, 44]


def test_a_400_that_names_n_is_requested_again_for_one(server):
    """As llama.cpp refuses n above its slots."""
    refusal = {"error": {"code": 400, "message": "n_cmpl cannot be greater than the number of slots"}}
    server.reply = lambda body: Reply(400, body=refusal) if body.get("n") else "fine"

    completions, client = ask(server, samples=[0, 1])

    assert [c.text for c in completions] == ["fine"]
    assert not client.honours_n
    assert client.retries == 0


@pytest.mark.parametrize(
    "reply",
    [
        Reply(429, {"retry-after-ms": "1"}),
        Reply(503, {"retry-after": "0"}),
        Reply(500),
        Reply(529, body={"error": {"message": "Overloaded"}}),
        Reply(408),
        Reply(409),
        Reply(drop=True),
        Reply(cut=10),
        Reply(body=b""),
        Reply(body=b"<html>please sign in</html>"),
        Reply(body=b'{"choices": [{"message"'),
        Reply(body=b'"text"'),
        Reply(body={"choices": []}),
        Reply(body={"choices": None}),
        Reply(body={"error": {"message": "upstream", "code": 502}}),
        Reply(body={"choices": [{"error": {"message": "x", "code": 502}, "finish_reason": "error", "message": {}}]}),
    ],
    ids=lambda r: f"{r.status}-{r.body or ('drop' if r.drop else 'cut' if r.cut else '')}",
)
def test_a_passing_fault_is_tried_again(server, reply, monkeypatch):
    """Once bad, then good: the caller sees only the good."""
    monkeypatch.setattr("distask.llm.client.backoff", lambda attempt, random: 0)
    replies = iter([reply])
    server.reply = lambda body: next(replies, "good")

    (completion,), client = ask(server)

    assert completion.text == "good"
    assert (client.calls, client.retries) == (2, 1)


@pytest.mark.parametrize("reply", [Reply(drip=0.05), Reply(delay=5)])
def test_a_reply_that_drips_or_never_comes_ends_at_the_deadline(server, reply):
    """The deadline is around the whole call: bytes that trickle in don't move it."""
    server.reply = lambda body: reply

    failure, _ = ask(server, limits={"timeout": 0.2, "max_retries": 0})

    assert failure.kind == "timeout"
    assert failure.scope == "row"


def test_a_reply_without_end_is_cut_off(server, monkeypatch):
    """Memory is bounded whatever the server sends."""
    monkeypatch.setattr("distask.llm.http.transport.MAX_REPLY_BYTES", 1000)
    server.reply = lambda body: "x" * 2000

    failure, client = ask(server)

    assert (failure.kind, failure.scope, client.calls) == ("oversize", "row", 1)


def test_a_reply_of_ten_megabytes_is_fine(server):
    """Below the bound nothing is lost."""
    server.reply = lambda body: "é" * 5_000_000

    assert len(ask(server)[0][0].text) == 5_000_000


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_sends_nothing_on(server, status):
    """Neither the key nor the prompt goes to another host."""
    with ScriptedServer() as other:
        server.reply = lambda body: Reply(status, {"location": f"{other.url}/chat/completions"})

        failure, client = ask(server)

        assert (failure.kind, failure.scope, client.calls) == ("redirect", "run", 1)
        assert other.paths == []


def test_a_refused_connection_ends_the_run_at_once(server):
    """One call, and the address in the message."""
    server.close()

    failure, client = ask(server)

    assert (failure.kind, failure.scope, client.calls) == ("connection", "run", 1)
    assert server.url in failure.message
    assert failure.hint


def test_a_name_that_does_not_resolve_ends_the_run_at_once(server):
    """A misspelt host."""
    failure, _ = ask(server, base_url="http://no-such-host.invalid/v1")

    assert (failure.kind, failure.scope) == ("connection", "run")


FAULTS = [
    Reply(401, body={"error": {"message": f"Incorrect API key provided: {CANARY}. Authorization: Bearer {CANARY}"}}),
    Reply(400, body={"error": {"message": f"bad {CANARY}", "code": CANARY, "param": CANARY}}),
    Reply(403, body=f"<html>{CANARY}</html>"),
    Reply(404, body={"error": f"no model {CANARY}"}),
    Reply(500, body={"detail": [{"msg": CANARY}]}),
    Reply(429, body={"message": CANARY}),
    Reply(302, {"location": f"http://x/?k={CANARY}"}, body=CANARY),
    Reply(200, body={"error": {"message": CANARY, "metadata": {"raw": CANARY}}}),
    Reply(200, body=CANARY.encode()),
    Reply(200, {"bad header": "x"}),
    Reply(drop=True),
    Reply(cut=3),
    Reply(drip=1),
]


@pytest.mark.parametrize("reply", FAULTS)
def test_no_fault_shows_the_key(server, reply, monkeypatch, caplog):
    """Not in the failure, the error, the events, nor in a log at its most talkative."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("distask.llm.client.LONGEST_LIMITED", 0)
    server.reply = lambda body: reply

    failure, client = ask(server, limits={"timeout": 0.2, "max_retries": 0})

    seen = [repr(failure), str(CallFailed(failure)), repr(client.events), repr(vars(client)), caplog.text]
    seen.append(repr(client.provider.endpoint))
    assert isinstance(failure, Failure)
    assert all(CANARY not in text for text in seen)


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_after_a_fatal_failure_nothing_more_is_sent(server, status):
    """A thousand rows cost no more calls than may be in flight."""
    server.reply = lambda body: Reply(status, delay=0.02)

    async def work():
        client = client_of(server, limits={"concurrency": 8})
        results = await asyncio.gather(*(client.ask(request(str(i)), [0]) for i in range(1000)), return_exceptions=True)
        await client.close()
        return results

    results = asyncio.run(work())

    assert {r.failure.scope for r in results} == {"run"}
    assert len({r.failure for r in results}) == 1
    assert len(server.requests) <= 8


def test_calls_in_flight_when_the_run_ends_still_bring_their_replies():
    """They are paid."""

    async def work(client):
        slow = asyncio.ensure_future(client.ask(request("slow"), [0]))
        await asyncio.sleep(0.05)
        client.stop(AUTH)
        (completion,) = await slow
        return completion.text

    assert in_virtual_time(Scripted(), work)[0] == "reply 0"


def test_who_rests_is_woken_when_the_run_ends():
    """Nobody waits a minute to hear that it is over."""

    async def work(client):
        client.pace.pause(3000)
        waiting = [asyncio.ensure_future(client.ask(request(str(i)), [0])) for i in range(5)]
        await asyncio.sleep(1)
        client.stop(AUTH)
        return await asyncio.gather(*waiting, return_exceptions=True)

    results, client, seconds = in_virtual_time(Scripted(), work)

    assert [r.failure for r in results] == [AUTH] * 5
    assert seconds < 2
    assert client.calls == 0


def test_a_failure_of_the_row_is_not_tried_again():
    """A bad request stays bad."""
    failure, client, _ = in_virtual_time(Scripted(BAD_REQUEST))

    assert failure == BAD_REQUEST
    assert client.calls == 1


def test_a_server_that_stays_broken_is_given_up_after_max_retries():
    """And the message says how often it was tried."""
    failure, client, seconds = in_virtual_time(Always(SERVER_ERROR), max_retries=8)

    assert (failure.kind, failure.scope) == ("server_error", "row")
    assert "9 times" in failure.message
    assert (client.calls, client.retries) == (9, 8)
    assert client.failures == {"server_error": 9}
    assert 10 < seconds < 300


def test_a_server_that_hangs_is_given_up_after_the_time():
    """Attempts alone would be hours."""
    failure, client, seconds = in_virtual_time(
        Always(Failure("server_error", "late", "retry", 503), seconds=120), max_retries=1000
    )

    assert failure.kind == "server_error"
    assert 900 <= seconds < 1200
    assert client.calls < 10


def test_waits_for_a_rate_limit_use_up_no_attempts():
    """Fifty times 429, and the row is still answered."""
    (completion,), client, _ = in_virtual_time(Scripted(*[RATE_LIMIT] * 50), max_retries=2)

    assert completion.text == "reply 0"
    assert client.retries == 50


def test_a_rate_limit_without_end_ends_the_run_after_an_hour():
    """The rows are not failed for it: the run can be taken up again."""
    failure, _, seconds = in_virtual_time(Always(RATE_LIMIT))

    assert (failure.kind, failure.scope) == ("rate_limit", "run")
    assert 3600 <= seconds < 3700


def test_retry_after_holds_back_everyone():
    """No call begins while the server asks for rest, whichever row heard it."""
    asks = Failure("rate_limit", "slow down", "retry", 429, retry_after=100.0)
    provider = Scripted(asks)

    async def work(client):
        first = asyncio.ensure_future(client.ask(request("first"), [0]))
        await asyncio.sleep(1)
        await asyncio.gather(first, *(client.ask(request(str(i)), [0]) for i in range(10)))

    in_virtual_time(provider, work)

    assert provider.times[0] == 0
    assert min(provider.times[1:]) >= 100


def test_requests_that_all_fail_the_same_way_end_the_run():
    """A parameter that the model refuses: 20 calls, not 1,000."""

    async def work(client):
        results = []
        for i in range(1000):
            try:
                await client.ask(request(str(i)), [0])
            except CallFailed as error:
                results.append(error.failure)
        return results

    results, client, _ = in_virtual_time(Always(BAD_REQUEST), work)

    assert client.calls == 20
    assert [r.scope for r in results] == ["row"] * 19 + ["run"] * 981
    assert "temperature?" in results[-1].message


def test_one_request_asked_often_is_one_request():
    """Twenty samples of one bad row are no sign that the endpoint is broken."""

    async def work(client):
        for _ in range(50):
            with pytest.raises(CallFailed) as error:
                await client.ask(request("the same"), [0])
        return error.value.failure

    assert in_virtual_time(Always(BAD_REQUEST), work)[0].scope == "row"


def test_a_success_in_between_keeps_the_run_going():
    """Rows may be bad one by one."""
    provider = Scripted(*[BAD_REQUEST] * 5, None, *[BAD_REQUEST] * 50)

    async def work(client):
        return await asyncio.gather(*(client.ask(request(str(i)), [0]) for i in range(56)), return_exceptions=True)

    results, _, _ = in_virtual_time(provider, work, pace=Pace(1))

    assert {r.failure.scope for r in results if isinstance(r, CallFailed)} == {"row"}


@pytest.mark.parametrize(("kind", "ends"), [("bad_request", True), ("context_length", False)])
def test_half_of_the_last_rows_failing_ends_the_run_unless_the_rows_are_to_blame(kind, ends):
    """Rows that are too long say nothing of the endpoint."""
    failure = Failure(kind, "no", "row", 400)
    provider = Scripted(*[None] * 150, *[failure] * 200)

    async def work(client):
        return [await asyncio.gather(client.ask(request(str(i)), [0]), return_exceptions=True) for i in range(350)]

    results, client, _ = in_virtual_time(provider, work)

    assert any(isinstance(r, CallFailed) and r.failure.scope == "run" for (r,) in results) is ends
    assert client.calls == (250 if ends else 350)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_fails_every_row_ends_once_and_nothing_is_sent_after_the_end(seed):
    """A server with every kind of fault, by chance; hours of virtual time."""
    random = Random(seed)
    kinds = [RATE_LIMIT, SERVER_ERROR, BAD_REQUEST, Failure("timeout", "late", "retry"),
             Failure("rate_limit", "wait", "retry", 429, retry_after=20.0)]  # fmt: skip
    fatal_at = random.choice([None, random.randrange(600)])
    state = {"in_flight": 0, "most": 0, "calls": 0, "after": 0, "fatal": False}

    class Chaos(Scripted):
        async def complete(self, request, samples):
            state["calls"] += 1
            state["after"] += state["fatal"]
            number = state["calls"]
            state["in_flight"] += 1
            state["most"] = max(state["most"], state["in_flight"])
            await asyncio.sleep(random.expovariate(1))
            state["in_flight"] -= 1
            if number == fatal_at:
                state["fatal"] = True
                raise CallFailed(AUTH)
            if random.random() < 0.3:
                raise CallFailed(random.choice(kinds))
            return [Completion("x") for _ in samples[: random.randint(1, len(samples))]]

    async def work(client):
        async def row(i):
            samples, got = list(range(3)), []
            while len(got) < 3:
                try:
                    got += await client.ask(request(str(i)), samples[len(got) :])
                except CallFailed as error:
                    return error.failure.scope
            return "done"

        return await asyncio.gather(*(row(i) for i in range(300)))

    ends, client, _ = in_virtual_time(Chaos(), work, pace=Pace(16), max_retries=3)

    assert len(ends) == 300
    assert set(ends) <= {"done", "row", "run"}
    assert state["most"] <= 16
    assert client.in_flight == 0
    assert state["after"] == 0
    assert (fatal_at is None) or ("run" in ends)


def test_the_offline_config_answers_with_the_tasks_own_examples():
    """No server, no key."""

    async def work():
        client = build_client(load_config("offline", environ={}))
        made = Request("offline", "offline", [{"role": "user", "content": "x"}], example=lambda sample: f"no {sample}")
        return await client.ask(made, [0, 1, 2])

    completions = asyncio.run(work())

    assert [c.text for c in completions] == ["no 0", "no 1", "no 2"]
    assert {c.model for c in completions} == {"offline"}
    assert completions[0].usage.input_tokens


def test_the_body_is_what_the_request_says(server):
    """Generation keywords as given, `extra_body` beside them, never `stream`."""

    async def work():
        client = client_of(server)
        made = request("é\ud83d", max_completion_tokens=5, extra_body={"top_k": 3, "stream": True, "n": 9}, seed=2**70)
        await client.ask(made, [0])
        await client.close()

    asyncio.run(work())

    (body,) = server.requests
    assert json.loads(json.dumps(body)) == {
        "model": "m",
        "messages": [{"role": "user", "content": "é\ufffd"}],
        "max_completion_tokens": 5,
        "top_k": 3,
        "seed": pytest.approx(2**70),
    }
