"""Check what an endpoint supports, with one tiny call for each question.

Does it respond, are the key and the model valid, and which of n, JSON Schema, logprobs, raw completions, images, tools
and embeddings does it support?
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
import zlib
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from distask.diagnostics import nearest
from distask.llm.client import build_client
from distask.llm.providers.model_list import LOCAL_PORTS, PROBE_SECONDS, Found, listed
from distask.llm.refused_parameters import MAX_TOKENS
from distask.llm.request import CallFailed, Completion, Failure, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distask.llm.client import Client
    from distask.llm.config.resolve import Resolved
    from distask.llm.request import Route

FEW_TOKENS = 16
"""Tokens of a reply: enough to see that there is one, and the minimum of some servers."""
SIDE = 32
"""Pixels of each side of the test image."""
SAMPLES = 2

State = Literal["ok", "no", "warning", "skipped"]

FEATURES = ("n", "json_schema", "logprobs", "completions", "images", "tools", "embeddings")
COMMON = ("n", "json_schema", "logprobs", "completions")
"""Features to check when no task names its own."""

_ANSWER = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
_TOOL = {"type": "function", "function": {"name": "note", "description": "Note a text.", "parameters": _ANSWER}}


class Finding(Struct, frozen=True):
    """The result of one check."""

    name: str
    state: State
    message: str
    hint: str | None = None


class _Probe(Struct, frozen=True):
    """One tiny call, and the check of its completions."""

    keywords: dict[str, Any]
    judge: Callable[[Sequence[Completion]], Finding]
    hint: str
    text: str = "Reply with OK."
    image: bool = False
    samples: int = 1
    route: Route = "chat"


def local_servers(ports: Mapping[str, int] | None = None) -> list[Found]:
    """Return all servers on this machine that list a model."""
    found = []
    for name, port in (LOCAL_PORTS if ports is None else ports).items():
        base_url = f"http://127.0.0.1:{port}/v1"
        models = listed(base_url, timeout=PROBE_SECONDS)
        if models:
            found.append(Found(name, base_url, models, 0))
    return found


def probe(resolved: Resolved, features: Sequence[str] = COMMON, *, system: bool = True) -> list[Finding]:
    """Check what an endpoint supports; if the first call fails for good, send nothing more.

    Args:
        resolved: the endpoint, and the generation keywords that a run would send.
        features: what to check; see `FEATURES`.
        system: whether the first call has a system message.
    """

    async def work() -> list[Finding]:
        client = build_client(resolved)
        try:
            return await _found(client, resolved, features, system=system)
        finally:
            await client.close()

    return asyncio.run(work())


async def _found(client: Client, resolved: Resolved, features: Sequence[str], *, system: bool) -> list[Finding]:
    chats = set(features) != {"embeddings"}
    first = PROBES["chat"] if chats else PROBES["embeddings"]
    generation = (
        {k: v for k, v in resolved.generation.items() if k not in ("logprobs", "top_logprobs")} if chats else {}
    )
    limit = "max_completion_tokens" if "max_completion_tokens" in generation else "max_tokens"
    since = time.perf_counter()
    keywords = {**generation, limit: FEW_TOKENS} if chats else {}
    request = _request(resolved, first, keywords, system=system and chats)
    completions, failure = await _call(client, request, first.samples)
    while failure is not None and (failure := client.adapter.learn(client.adapter.fit(request), failure)) is None:
        since = time.perf_counter()
        completions, failure = await _call(client, request, first.samples)
    seconds = time.perf_counter() - since
    found = _basics(resolved, completions, failure, seconds)
    if failure is None:
        found += _adaptations(client)
    if failure is not None and failure.kind != "rate_limit":
        return found
    asked = [name for name in FEATURES if name in features]
    return [*found, *await asyncio.gather(*(_feature(client, resolved, name, limit) for name in asked))]


def _adaptations(client: Client) -> list[Finding]:
    """Return the task defaults that the model refuses; a run sends requests without them."""
    return [
        Finding("system" if used["action"] == "merge_system" else "parameters", "warning", used["message"])
        for used in client.adapter.used
    ]


def _basics(
    resolved: Resolved, completions: Sequence[Completion], failure: Failure | None, seconds: float
) -> list[Finding]:
    config = resolved.config
    where, key, model = config.base_url or "this process", config.api_key_env, config.model or ""
    endpoint = Finding("endpoint", "ok", f"{where} responds, in {seconds:.1f} s")
    taken = Finding("key", "ok", f"the key in {key} is accepted") if key else Finding("key", "ok", "no key is needed")
    if failure is None:
        served = completions[0].model
        named = f", which responds as {served}" if served and served != model else ""
        return [endpoint, taken, Finding("model", "ok", f"{model}{named}")]
    message, kind = failure.message, failure.kind
    if kind == "rate_limit":
        limited = Finding(
            "limits", "warning", f"it is limiting the rate: {message}", "wait, or lower --concurrency for a run"
        )
        return [endpoint, taken, limited]
    if kind in ("connection", "tls", "timeout", "redirect", "not_found"):
        return [Finding("endpoint", "no", message, failure.hint)]
    if kind in ("auth", "quota", "permission"):
        return [endpoint, Finding("key", "no", message, failure.hint)]
    if kind == "model_not_found":
        return [endpoint, taken, Finding("model", "no", message, _other_models(resolved) or failure.hint)]
    return [
        endpoint,
        Finding("request", "no", message, failure.hint or "check whether it refuses a generation keyword"),
    ]


def _other_models(resolved: Resolved) -> str | None:
    names = listed(resolved.config.base_url or "", resolved.sent_headers())
    if not names:
        return None
    close = nearest(resolved.config.model or "", names)
    return f"did you mean `{close}`?" if close else f"it has {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"


async def _feature(client: Client, resolved: Resolved, name: str, limit: str) -> Finding:
    asked = PROBES[name]
    keywords = {**asked.keywords, limit: FEW_TOKENS * (4 if name == "json_schema" else 1)}
    request = _request(resolved, asked, {} if name == "embeddings" else keywords)
    completions, failure = await _call(client, request, asked.samples)
    if failure is None:
        return asked.judge(completions)
    if failure.kind == "rate_limit":
        return Finding(name, "warning", "unknown: it is limiting the rate", "run check again in a minute")
    return Finding(name, "warning" if name == "n" else "no", failure.message, asked.hint)


def _request(resolved: Resolved, asked: _Probe, keywords: dict[str, Any], *, system: bool = False) -> Request:
    content: Any = asked.text
    if asked.image:
        content = [{"type": "text", "text": asked.text}, {"type": "image_url", "image_url": {"url": _image()}}]
    messages = [{"role": "user", "content": content}]
    if system:
        messages.insert(0, {"role": "system", "content": "Be brief."})
    fixed = {name: hint for name, hint in resolved.set_by_user().items() if name not in MAX_TOKENS}
    model = resolved.config.model or ""
    return Request(resolved.endpoint(), model, messages, keywords, route=asked.route, fixed=fixed)


async def _call(client: Client, request: Request, samples: int) -> tuple[list[Completion], Failure | None]:
    try:
        return await client.provider.complete(client.adapter.fit(request), range(samples)), None
    except CallFailed as error:
        return [], error.failure


# Checks of the completions


def _n(completions: Sequence[Completion]) -> Finding:
    if len(completions) >= SAMPLES:
        return Finding("n", "ok", f"{SAMPLES} replies in one call")
    return Finding("n", "warning", "one reply per call", "a run with -n above 1 requests the replies one by one")


def _json_schema(completions: Sequence[Completion]) -> Finding:
    try:
        held = isinstance(json.loads(completions[0].text or "").get("ok"), bool)
    except (ValueError, AttributeError):
        held = False
    if held:
        return Finding("json_schema", "ok", "replies follow a schema")
    return Finding("json_schema", "no", "a schema is accepted but not followed", PROBES["json_schema"].hint)


def _logprobs(completions: Sequence[Completion]) -> Finding:
    if completions[0].logprobs:
        return Finding("logprobs", "ok", "replies include log probabilities")
    return Finding("logprobs", "no", "they were requested but not returned", PROBES["logprobs"].hint)


def _tools(completions: Sequence[Completion]) -> Finding:
    if completions[0].tool_calls:
        return Finding("tools", "ok", "it calls tools")
    return Finding("tools", "warning", "it accepts tools but did not call the requested one", PROBES["tools"].hint)


def _any(name: str, message: str) -> Callable[[Sequence[Completion]], Finding]:
    return lambda completions: Finding(name, "ok", message.format(completions[0].text))


def _embeddings(completions: Sequence[Completion]) -> Finding:
    return Finding("embeddings", "ok", f"{len(json.loads(completions[0].text or '[]')):,} numbers for each text")


PROBES: dict[str, _Probe] = {
    "chat": _Probe({}, _any("chat", "it responds"), ""),
    "n": _Probe({}, _n, "a run with -n above 1 requests the replies one by one", samples=SAMPLES),
    "json_schema": _Probe(
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": {**_ANSWER, "additionalProperties": False}},
            }
        },
        _json_schema,
        "remove `structured_output` and ask for JSON in the prompt: the json parser finds it in prose",
        'Reply with {"ok": true}.',
    ),
    "logprobs": _Probe(
        {"logprobs": True, "top_logprobs": 2},
        _logprobs,
        "the logprobs parser needs another model or server; vLLM and llama-server return them",
    ),
    "completions": _Probe(
        {},
        _any("completions", "it continues raw text"),
        "tasks with `completion` need another server; vLLM, llama-server and Ollama support raw completions",
        "1, 2, 3,",
        route="completions",
    ),
    "images": _Probe(
        {}, _any("images", "it accepts an image"), "the task sends images: use a vision model", image=True
    ),
    "tools": _Probe(
        {"tools": [_TOOL], "tool_choice": "required"},
        _tools,
        "use a model that supports tools, or remove `tools`",
        "Call the tool `note` with ok = true.",
    ),
    "embeddings": _Probe({}, _embeddings, "use an embedding model", "OK", route="embeddings"),
}


def _image() -> str:
    """Return a grey square as a data URL."""
    rows = b"".join(b"\0" + b"\x80\x80\x80" * SIDE for _ in range(SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
