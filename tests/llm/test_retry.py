"""What each failure means: one table, read by status, code and words."""

from __future__ import annotations

import json
from email.utils import formatdate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask.llm.pacing.backoff import asked_wait, backoff
from distask.llm.pacing.failure_rules import FAULTS, RULES, Situation, classify, redact

CANARY = "sk-canary-0123456789abcdefSECRET"
ASKED = Situation("http://host/v1", "my-model", "MY_KEY", (CANARY,), fresh=False)


def openai(message, code=None, type_=None, param=None):
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}


MATRIX = [
    # status, body, kind, scope
    (301, "moved", "redirect", "run"),
    (307, "", "redirect", "run"),
    (308, {}, "redirect", "run"),
    (400, openai("This model's maximum context length is 8192 tokens.", "context_length_exceeded"), "context_length", "row"),
    (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens. However, you requested 5000", "type": "BadRequestError", "param": None, "code": 400}, "context_length", "row"),
    (400, {"object": "error", "message": "The decoder prompt (length 9) is longer than the maximum model length of 8."}, "context_length", "row"),
    (400, {"error": {"code": 400, "message": "the request exceeds the available context size, try increasing it", "type": "exceed_context_size_error"}}, "context_length", "row"),
    (500, {"error": {"code": 500, "message": "context size exceeded: the request exceeds the available context size"}}, "context_length", "row"),
    (429, openai("Request too large for gpt-4 on tokens per min (TPM): Limit 10000, Requested 20000.", "rate_limit_exceeded", "tokens"), "context_length", "row"),
    (400, {"error": {"message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", "code": "content_filter", "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, "content_filter", "row"),
    (403, {"error": {"code": 403, "message": "openai/gpt requires moderation and your input was flagged", "metadata": {"reasons": ["x"]}}}, "content_filter", "row"),
    (400, openai("Invalid value for 'temperature'", "invalid_value", "invalid_request_error", "temperature"), "bad_request", "row"),
    (400, openai("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "unsupported_parameter", None, "max_tokens"), "bad_request", "row"),
    (400, {"error": "json: cannot unmarshal"}, "bad_request", "row"),
    (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}}], "auth", "run"),
    (400, {"error": {"code": 400, "message": "foo/bar is not a valid model ID"}}, "model_not_found", "run"),
    (400, {"error": {"code": 400, "message": "n_cmpl cannot be greater than the number of slots"}}, "n_refused", "row"),
    (400, openai("Invalid 'n': integer above maximum value.", "integer_above_max_value", None, "n"), "n_refused", "row"),
    (401, openai(f"Incorrect API key provided: {CANARY}", "invalid_api_key"), "auth", "run"),
    (401, "", "auth", "run"),
    (401, {"statusCode": 401, "message": "Unauthorized. Access token is missing"}, "auth", "run"),
    (402, {"error": {"code": 402, "message": "Insufficient credits"}}, "quota", "run"),
    (429, openai("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), "quota", "run"),
    (400, openai("Billing hard limit has been reached", "billing_hard_limit_reached"), "quota", "run"),
    (429, [{"error": {"code": 429, "message": "You exceeded your current quota, please check your plan", "status": "RESOURCE_EXHAUSTED"}}], "rate_limit", "retry"),
    (403, openai("Country, region, or territory not supported", "unsupported_country_region_territory"), "permission", "run"),
    (403, "<html><body>Forbidden</body></html>", "permission", "run"),
    (404, openai("The model `my-model` does not exist or you do not have access to it.", "model_not_found"), "model_not_found", "run"),
    (404, {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404}, "model_not_found", "run"),
    (404, {"error": {"message": "The model `x` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}}, "model_not_found", "run"),
    (404, {"error": {"message": "model 'qwen3' not found, try pulling it first", "type": "api_error"}}, "model_not_found", "run"),
    (404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}}, "model_not_found", "run"),
    (404, {"detail": "Not Found"}, "not_found", "run"),
    (404, "404 page not found", "not_found", "run"),
    (405, {"detail": "Method Not Allowed"}, "not_found", "run"),
    (408, "", "timeout", "retry"),
    (409, openai("conflict"), "conflict", "retry"),
    (413, "<html>413 Request Entity Too Large</html>", "too_large", "row"),
    (422, {"detail": [{"loc": ["body", "top_k"], "msg": "extra fields not permitted"}]}, "bad_request", "row"),
    (429, openai("Rate limit reached", "rate_limit_exceeded", "requests"), "rate_limit", "retry"),
    (429, "", "rate_limit", "retry"),
    (500, openai("The server had an error", None, "server_error"), "server_error", "retry"),
    (502, "<html><h1>502 Bad Gateway</h1></html>", "server_error", "retry"),
    (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, "server_error", "retry"),
    (503, openai("Slow down", "slow_down"), "rate_limit", "retry"),
    (504, "", "server_error", "retry"),
    (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "server_error", "retry"),
    (200, "", "bad_reply", "retry"),
    (200, "<!doctype html><p>Sign in", "bad_reply", "retry"),
    (200, '{"choices": [{"mess', "bad_reply", "retry"),
    (200, {"choices": []}, "bad_reply", "retry"),
    (200, {"error": {"message": "upstream broke"}}, "bad_reply", "retry"),
    (200, {"error": {"message": "Rate limited", "code": 429}}, "rate_limit", "retry"),
    (200, {"error": {"message": "Insufficient credits", "code": 402}}, "quota", "run"),
    (200, {"error": {"message": "no", "code": "insufficient_quota"}}, "quota", "run"),
    (204, "", "bad_reply", "retry"),
    (418, "teapot", "bad_request", "row"),
    ("refused", "can't connect", "connection", "retry"),
    ("dns", "no such name", "connection", "retry"),
    ("tls", "bad certificate", "tls", "retry"),
    ("reset", "broke", "connection", "retry"),
    ("timeout", "too late", "timeout", "retry"),
    ("oversize", "too large", "oversize", "row"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind", "scope"), MATRIX)
def test_each_failure_has_its_place_in_the_table(status, body, kind, scope):
    """The fault matrix: kind and what it ends."""
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()

    failure = classify(status, {}, data, ASKED)

    assert (failure.kind, failure.scope) == (kind, scope)
    assert failure.message
    assert CANARY not in repr(failure)


@pytest.mark.parametrize("fault", ["refused", "dns", "tls", "unreachable"])
def test_no_connection_before_any_success_ends_the_run(fault):
    """A wrong address is told after one call, not after eight tries of each row."""
    failure = classify(fault, None, "can't connect", Situation("http://host/v1"))

    assert failure.scope == "run"
    assert failure.hint


def test_every_fault_has_a_rule_of_its_own():
    """No fault falls through to the last rule."""
    for fault in FAULTS:
        assert classify(fault, None, "x", ASKED).kind != "bad_reply"
    assert RULES[-1].statuses is None


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, "{}", "MY_KEY"),
        (404, '{"error": {"message": "no", "code": "model_not_found"}}', "my-model"),
        (404, '{"error": "model \'my-model\' not found, try pulling it first"}', "ollama pull my-model"),
        (404, "no", "/v1"),
        (402, "", "credit"),
        (302, "", "base_url"),
    ],
)
def test_what_ends_the_run_says_the_hint(status, body, words):
    """The user reads what to do next."""
    assert words in classify(status, {}, body, ASKED).hint


def test_a_401_without_a_key_says_that_none_was_sent():
    """The likeliest mistake with another server's address."""
    assert "no key was sent" in classify(401, {}, b"", Situation("http://host/v1")).hint


def test_the_servers_own_words_are_kept_and_shortened():
    """A page of HTML becomes its words; a long message is cut."""
    assert (
        classify(502, {}, b"<html><style>x{}</style><h1>Bad\n Gateway</h1></html>", ASKED).message
        == "HTTP 502: Bad Gateway"
    )
    assert len(classify(500, {}, b"x" * 100_000, ASKED).message) < 700


def test_the_key_is_hidden_in_every_form():
    """As it is, in a URL, behind Bearer, in userinfo, and what only looks like one."""
    text = f"{CANARY} a%2Fb+secret= Bearer abc.def https://user:pw@host/ sk-proj-abcdefghijklmnop gsk_abcdefghijklmnop"

    shown = redact(text, (CANARY, "a/b+secret="))

    assert redact("x a%2Fb%2Bsecret%3D", ("a/b+secret=",)) == "x [hidden]"
    for secret in (CANARY, "abc.def", "user:pw", "abcdefghijklmnop"):
        assert secret not in shown


NOW = 1_700_000_000.0
RETRY_AFTER = [
    ({"retry-after": "3"}, 3),
    ({"retry-after": " 3 "}, 3),
    ({"retry-after": "0"}, 0),
    ({"retry-after": "1.5"}, 1.5),
    ({"retry-after": "99999"}, 3600),
    ({"retry-after": "-5"}, None),
    ({"retry-after": "nan"}, None),
    ({"retry-after": "inf"}, None),
    ({"retry-after": "1e9"}, None),
    ({"retry-after": "soon"}, None),
    ({"retry-after": ""}, None),
    ({"retry-after": "٣"}, None),
    ({"retry-after": "9" * 400}, None),
    ({"retry-after": "20s"}, 20),
    ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30),
    ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 0),
    ({"retry-after": formatdate(NOW + 1e6, usegmt=True)}, 3600),
    ({"retry-after": "Wed, 99 Foo 2023 25:61:61 GMT"}, None),
    ({"retry-after-ms": "250"}, 0.25),
    ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
    ({"retry-after-ms": "x", "retry-after": "1"}, 1),
    ({"x-ratelimit-reset-requests": "1s"}, 1),
    ({"x-ratelimit-reset-tokens": "6m0s"}, 360),
    ({"x-ratelimit-reset-tokens": "250ms"}, 0.25),
    ({"x-ratelimit-reset-tokens": "1h2m3.5s"}, 3600),
    ({"x-ratelimit-reset-tokens": "1 fortnight"}, None),
    ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "2s"}, 2),
    ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-tokens": "2s", "x-ratelimit-remaining-tokens": "77"}, 1),
    ({"x-ratelimit-reset-requests": "9s", "retry-after": "2"}, 2),
    ({}, None),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "seconds"), RETRY_AFTER)
def test_retry_after_is_read_in_all_its_forms(headers, seconds):
    """Seconds, milliseconds, dates, spans; garbage is ignored, and an hour is the most."""
    assert asked_wait(headers, NOW) == (None if seconds is None else pytest.approx(seconds, abs=1))


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens"]), st.text()))
def test_no_retry_after_raises_or_leaves_its_bounds(headers):
    """Whatever a server sends."""
    seconds = asked_wait(headers)

    assert seconds is None or 0 <= seconds <= 3600


@pytest.mark.battery
@given(st.sampled_from([200, 400, 401, 404, 429, 500]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "message", "code", "type", "detail", "innererror", "metadata", "param"]), inner)
))  # fmt: skip
def test_no_body_makes_the_classing_raise(status, body):
    """Any JSON is an error body for someone."""
    assert classify(status, {}, json.dumps(body).encode("utf-8", "surrogatepass"), ASKED).kind


def test_the_backoff_doubles_with_full_jitter_up_to_a_minute():
    """Between nothing and the cap."""
    random = Random(1)

    waits = [[backoff(attempt, random) for _ in range(400)] for attempt in (1, 2, 3, 10, 10_000)]

    for tries, cap in zip(waits, (1, 2, 4, 60, 60), strict=True):
        assert 0 <= min(tries) < cap * 0.1
        assert cap * 0.9 < max(tries) <= cap
