"""Classify what went wrong with a call: what it ends, and how the user can fix it.

`RULES` is the complete policy, a table in order: the first rule that fits decides. `docs/failures.md` is generated from
it. `backoff` decides how long to wait. A rule that ends a row may still end the run: `circuit_breaker` does so when the
first rows all fail the same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import quote

import orjson
from msgspec import Struct

from distask.llm.event_stream import error_event
from distask.llm.pacing.backoff import asked_wait
from distask.llm.refused_parameters import Refusals
from distask.llm.request import Failure

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from distask.llm.request import Scope

Fault = Literal["dns", "refused", "unreachable", "tls", "reset", "timeout", "oversize"]
FAULTS: tuple[Fault, ...] = ("dns", "refused", "unreachable", "tls", "reset", "timeout", "oversize")
"""What can happen to a call without a response; used in place of a status."""

BILLED_RETRIES = 1
"""A 200 is billed, so one that can't be used is retried only once."""
TIMEOUT_RETRIES = 2
"""A call that timed out may be billed too."""
LONGEST_MESSAGE = 600
"""Maximum characters of the server's message that are kept."""


class Words(Protocol):
    """Searched in a message: a pattern, or a more precise test."""

    def search(self, text: str, /) -> object:
        """Return a true value if it fits."""


class Rule(Struct, frozen=True):
    """One row of the policy. It fits if the status does, and one of `codes` or `words`, if it has any."""

    what: str
    """Description for people."""
    kind: str
    scope: Scope
    statuses: Collection[int | str] | None = None
    """HTTP statuses and faults; None for any."""
    codes: frozenset[str] = frozenset()
    """The server's error codes or types."""
    words: Words | None = None
    """Searched in the server's message, and in what is wrong with the body of a 200."""
    fresh: bool = False
    """Whether it applies only before the endpoint's first successful call."""
    hint: str | None = None
    """What the user can do; `{model}`, `{base}` and `{key}` are placeholders."""
    retries: int | None = None
    """Maximum number of retries, if less than `limits.max_retries`."""


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_BILLING = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "insufficient_balance",
        "insufficient_credits",
        "quota_exceeded_permanently",
    }
)
_FILTERED = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "responsibleaipolicyviolation",
        "data_inspection_failed",
        "moderation_blocked",
        "invalid_prompt",
    }
)
_NO_MODEL = frozenset(
    {"model_not_found", "deploymentnotfound", "unknown_model", "invalid_model", "model_not_available"}
)
_NO_CONNECTION = "check that the server is running and the address is right: --base-url URL, or base_url in the config"
_NO_CREDIT = "add credit at the provider, then run the same command to resume; stored replies are not paid twice"

RULES: tuple[Rule, ...] = (
    Rule(
        "an unknown host name or a refused connection, before any success",
        "connection",
        "run",
        {"dns", "refused", "unreachable"},
        fresh=True,
        hint=_NO_CONNECTION,
    ),
    Rule("the same, later; a broken connection", "connection", "retry", {"dns", "refused", "unreachable", "reset"}),
    Rule(
        "TLS refused, before any success",
        "tls",
        "run",
        {"tls"},
        fresh=True,
        hint="check http or https in the address; for private certificates, set SSL_CERT_FILE",
    ),
    Rule("TLS refused, later", "tls", "retry", {"tls"}),
    Rule(
        "no complete reply within `limits.timeout`",
        "timeout",
        "retry",
        {"timeout"},
        hint="if the model needs longer, raise the timeout: --set limits.timeout=SECONDS; or lower max_tokens",
        retries=TIMEOUT_RETRIES,
    ),
    Rule("a reply of more than 32 MiB", "oversize", "row", {"oversize"}, hint="set max_tokens"),
    Rule(
        "any redirect (3xx)",
        "redirect",
        "run",
        range(300, 400),
        hint="redirects are not followed, so that no prompt goes to another host; set base_url to the new address",
    ),
    Rule("401", "auth", "run", {401}, hint="{key}"),
    Rule(
        "400, 403 that name the key",
        "auth",
        "run",
        {400, 403},
        frozenset({"invalid_api_key", "api_key_invalid"}),
        _words(r"api[ _-]key (not valid|is invalid)|(invalid|incorrect|missing) api[ _-]key|API_KEY_INVALID"),
        hint="{key}",
    ),
    Rule("402", "quota", "run", {402}, hint=_NO_CREDIT),
    Rule("a quota or billing code, with any status including 429", "quota", "run", None, _BILLING, hint=_NO_CREDIT),
    Rule(
        "a content filter's code or words in 400, 403, 422",
        "content_filter",
        "row",
        {400, 403, 422},
        _FILTERED,
        _words(
            r"content (management )?(policy|filter)|content_filter|moderation and your input was flagged|"
            r"flagged (as|by|for)|data may contain inappropriate"
        ),
    ),
    Rule(
        "404 from Ollama: the model is not pulled",
        "model_not_found",
        "run",
        {404},
        words=_words(r"try pulling"),
        hint="pull it first: ollama pull {model}; or choose an installed one: ollama list, then --model NAME",
    ),
    Rule(
        "400, 404 that name the model",
        "model_not_found",
        "run",
        {400, 404},
        _NO_MODEL,
        _words(
            r"model\b.{0,200}\b(does not exist|not found|not exist|is not (a )?(valid|found|available|supported here)|"
            r"no longer available)|not a valid model|invalid model|unknown model|no such model|"
            r"deployment.{0,80}does not exist"
        ),
        hint="choose one of the models listed at {base}/models with --model NAME; the server has no `{model}`",
    ),
    Rule(
        "a code or words about the context length in 400, 413, 422, 429, 500",
        "context_length",
        "row",
        {400, 413, 422, 429, 500},
        frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}),
        _words(
            r"(context|maximum|max).{0,12} (length|size|window)|context[_ -]?(length|window|limit)|"
            r"exceeds? the (available )?context|prompt (is )?too long|input (is )?too long|too many (input )?tokens|"
            r"longer than the maximum model length|reduce the length of|request too large|"
            r"tokens?\b(?!.{0,60}\bper\b).{0,40}\bexceeds? the (maximum|configured|allowed|limit)|"
            r"(input|prompt) length\b.{0,30}exceeds?|"
            r"range of input length|`?inputs`? (tokens|must have less)|"
            r"(prompt|input|message)s?\b.{0,40} tokens?\b(?!.{0,60}\bper\b).{0,40}\b(limit|maximum|max|cannot exceed)\b"
        ),
        hint="shorten the input, or use a model with a longer context",
    ),
    Rule("any other 413", "too_large", "row", {413}, hint="shorten the input; send large images as URLs"),
    Rule(
        "400, 422, 501 that name `n`: from then on, the run requests one reply per call",
        "n_refused",
        "row",
        {400, 422, 501},
        words=_words(
            r"['\"`]n['\"`]|\bn (must|should|cannot|can't|is|may|to|>|<|=)|\bn\s*[<>=]|n_cmpl|parameter:? n\b|"
            r"(only one|multiple|more than one|number of) (choice|completion|candidate)s?|candidate_?count"
        ),
        hint="the server does not support n above 1",
    ),
    Rule(
        "400, 403, 404, 422, 500, 501 that refuse a parameter or a system message: what the task sets is changed from "
        "then on (docs/servers.md); if it is what you set, the run ends",
        "bad_request",
        "row",
        {400, 403, 404, 422, 500, 501},
        frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter", "invalid_json_schema"}),
        Refusals(),
        hint="if the model refuses a generation keyword, remove it: --set llm.NAME=null",
    ),
    Rule("any other 403", "permission", "run", {403}, hint="check that this key and country have access to {model}"),
    Rule(
        "any other 404; 405",
        "not_found",
        "run",
        {404, 405},
        hint="check base_url: it is {base}, and for most servers it ends in /v1",
    ),
    Rule("408", "timeout", "retry", {408}, retries=TIMEOUT_RETRIES),
    Rule("409, 425", "conflict", "retry", {409, 425}),
    Rule(
        "any other 429: uses no retries; after an hour without any good reply, the run ends",
        "rate_limit",
        "retry",
        {429},
        hint="lower --concurrency, or set limits.requests_per_minute; then run the same command to resume",
    ),
    Rule(
        "a rate limit's code in any status (`slow_down`)",
        "rate_limit",
        "retry",
        None,
        frozenset({"rate_limit_exceeded", "slow_down", "rate_limit_error"}),
    ),
    Rule("any other 4xx", "bad_request", "row", range(400, 500)),
    Rule("any other 5xx, including 529", "server_error", "retry", range(500, 600)),
    Rule(
        "a 200 with a web page",
        "web_page",
        "retry",
        {200},
        words=_words(r"^the reply is a web page"),
        hint="check base_url ({base}), and whether a login page or a proxy is in front of it",
        retries=BILLED_RETRIES,
    ),
    Rule(
        "a 200 that is empty, cut off, not valid JSON, an error, or without choices",
        "bad_reply",
        "retry",
        None,
        retries=BILLED_RETRIES,
    ),
)
"""The policy. A number in the error of a 200 is treated as the status."""


class Situation(Struct, frozen=True):
    """Values for placeholders, and secrets to hide."""

    base: str = ""
    model: str = ""
    key_env: str | None = None
    """The environment variable of the key."""
    secrets: tuple[str, ...] = ()
    fresh: bool = True
    """Whether no call has succeeded yet."""


def classify(
    status: int | str, headers: Mapping[str, str] | None, body: bytes | str, situation: Situation, note: str = ""
) -> Failure:
    """Return the failure for a response, or for a missing one.

    Args:
        status: the HTTP status, or one of `FAULTS`.
        headers: the response headers.
        body: the response body, or a fault's message.
        situation: the endpoint and model of the request.
        note: what is wrong with the body of a 200.
    """
    status, code, message = _read_error(status, body)
    words = ": ".join(w for w in (note, message) if w) or "no reason given"
    rule = _rule(status, code, words, fresh=situation.fresh)
    where = f"HTTP {status}" if isinstance(status, int) and status != 200 else situation.base
    return Failure(
        kind=rule.kind,
        message=redact(f"{where}: {words}" if where else words, situation.secrets),
        scope=rule.scope,
        status=status if isinstance(status, int) else None,
        code=redact(code, situation.secrets) if code else None,
        retry_after=asked_wait(headers or {}, limited=rule.kind == "rate_limit") if rule.scope == "retry" else None,
        hint=None if rule.hint is None else redact(_filled(rule.hint, situation), situation.secrets),
        max_retries=rule.retries,
    )


def _rule(status: int | str, code: str | None, parts: str, *, fresh: bool) -> Rule:
    for rule in RULES:
        if rule.statuses is not None and status not in rule.statuses:
            continue
        if rule.fresh and not fresh:
            continue
        if (rule.codes or rule.words) and not (
            (code is not None and code.lower() in rule.codes) or (rule.words and rule.words.search(parts))
        ):
            continue
        return rule
    raise AssertionError  # the last rule fits everything


def _filled(hint: str, situation: Situation) -> str:
    if situation.key_env:
        key = f"check that the key in {situation.key_env} is right and belongs to {situation.base}"
    else:
        key = "no key was sent; name the variable that holds it: --set llm.api_key_env=NAME"
    return hint.format(model=situation.model, base=situation.base, key=key)


def _read_error(status: int | str, body: bytes | str) -> tuple[int | str, str | None, str]:
    """Read status, code and message from the many error formats of servers.

    OpenAI, Azure, OpenRouter, llama.cpp: `{"error": {"message", "type", "code", "param"}}`; vLLM also
    `{"object": "error", "message", "type", "code": 404}`; Ollama `{"error": "words"}`; FastAPI `{"detail": ...}`;
    Google puts it into a list. A numeric code in a 200 is treated as the status.
    """
    data = _json(body)
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, Mapping):
        return status, None, _plain(body)
    error = data.get("error", data)
    if isinstance(error, str):
        return status, _text(data.get("code")), _shortened(error)
    if not isinstance(error, Mapping):
        return status, None, _plain(body)
    inner = error.get("innererror")
    code = _text(error.get("code")) or _text(error.get("type"))
    if code == "content_filter" or (isinstance(inner, Mapping) and inner.get("content_filter_result")):
        code = "content_filter"
    elif _text(error.get("type")) in _BILLING:
        code = _text(error.get("type"))
    number = error.get("code", data.get("code"))
    if status == 200 and (meant := _number(number)) is not None:
        status = meant
    message = next(
        (m for m in (error.get("message"), error.get("detail"), data.get("detail")) if m), None
    )  # FastAPI's `detail` may be a list of objects
    if message is None and "choices" in data:
        return status, code, ""
    parts = message if isinstance(message, str) else _plain(body) if message is None else orjson.dumps(message).decode()
    return status, code, _shortened(parts + _more(error))


def _more(error: Mapping[str, Any]) -> str:
    """Return details next to the message: the parameter, and what the provider behind a router reported."""
    more = []
    if isinstance(error.get("param"), str) and error["param"]:
        more.append(f"parameter: {error['param']}")
    metadata = error.get("metadata")
    if isinstance(metadata, Mapping) and isinstance(metadata.get("raw"), str):
        more.append(metadata["raw"])
    return f" ({'; '.join(more)})" if more else ""


def _json(body: bytes | str) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return error_event(body.decode(errors="replace") if isinstance(body, bytes) else body)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value and not value.isdigit() else None


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    return value if isinstance(value, int) and 300 <= value < 600 else None


def _plain(body: bytes | str) -> str:
    """Return the words of a body that is not JSON; for a page, without its tags."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    text = text[: 50 * LONGEST_MESSAGE]
    if "<html" in text[:2000].lower() or text[:2000].lower().lstrip().startswith("<!doctype"):
        text = re.sub(r"(?is)<(script|style)\b[^>]*>[^<]*</\1>", " ", text)
        text = re.sub(r"<[^<>]{0,500}>", " ", text)
    return _shortened(text)


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + " …"


HIDDEN = "[hidden]"
_KEY_LIKE = re.compile(r"\b(sk|pk|rk|gsk|hf|nvapi|xai)[-_][A-Za-z0-9_-]{12,}")
_BEARER = re.compile(r"(?i)\bbearer\s+[^\s\"',;]+")
_USERINFO = re.compile(r"(?i)\b(https?://)[^/\s@]+@")


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    """Return the text without the secrets, and without anything that looks like one."""
    for secret in secrets:
        if secret:
            for form in (secret, quote(secret, safe="")):
                text = text.replace(form, HIDDEN)
    text = _BEARER.sub(f"Bearer {HIDDEN}", text)
    text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
    return _KEY_LIKE.sub(HIDDEN, text)
