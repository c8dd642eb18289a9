"""Ask a server that speaks OpenAI's chat completions: OpenAI, Azure, vLLM, Ollama, llama.cpp, OpenRouter and others.

One call is one HTTP exchange; trying again is the client's business, and what an answer says is `answer`'s.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson
from msgspec import Struct, field

from distask.llm.http.client import Http
from distask.llm.http.transport import Fault
from distask.llm.pacing.failure_rules import Situation, classify
from distask.llm.request import CallFailed, Failure
from distask.llm.responses import read_completions, whole
from distask.llm.routes import PATHS, payload
from distask.llm.schemas.dialects import dialect_of_models, likely_dialect
from distask.llm.schemas.requests import SchemaFitter, has_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distask.llm.request import Completion, Request, Route
    from distask.llm.schemas.dialects import Dialect

MODELS_TIMEOUT_S = 5.0
NOT_SENT = ("stream", "stream_options", "n", "model", "messages", "prompt", "input")
"""Keys that `extra_body` can't set: a reply is read whole, and the others are distask's own."""


class Endpoint(Struct, frozen=True):
    """Whom to ask."""

    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every call, the key among them."""
    secrets: tuple[str, ...] = ()
    """What no message may show."""
    key_env: str | None = None
    """The variable that the key came from."""
    azure_version: str | None = None
    """The api-version of Azure's older addresses, which name the model in the path."""
    dialect: Dialect | None = None
    """The JSON Schemas that the server takes; None where its list of models is to say."""

    def __repr__(self) -> str:  # its headers are secrets
        return f"Endpoint({self.base_url})"

    def path(self, model: str, route: Route = "chat") -> str:
        """Where this model is asked."""
        if self.azure_version is None:
            return PATHS[route]
        return f"/openai/deployments/{quote(model, safe='')}{PATHS[route]}?api-version={self.azure_version}"


class OpenAIProvider:
    """One endpoint; see `Endpoint`.

    Args:
        endpoint: whom to ask.
        timeout: seconds for a whole call.
        connections: how many connections are kept alive.
        notify: called once with each line about what the server is not sent.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout: float = 600,
        connections: int = 256,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.http = Http(endpoint.base_url, endpoint.headers, timeout=timeout, connections=connections)
        self._fresh = True
        self._notify = notify
        self._schemas: SchemaFitter | None = None
        self._first_schema = asyncio.Lock()

    async def complete(self, request: Request, samples: Sequence[int]) -> list[Completion]:
        """One call for `len(samples)` completions; it may bring fewer. Raises `CallFailed`."""
        schemas = await self._fitter() if has_schema(request.keywords.get("response_format")) else None
        data = body_of(request, len(samples), schemas)
        try:
            response = await self.http.post_json(self.endpoint.path(request.model, request.route), data)
        except Fault as fault:
            failure = classify(fault.kind, None, fault.message, self._situation(request))
        else:
            completions, note = read_completions(response)
            if completions:
                self._fresh = False
                return completions
            failure = classify(response.status, response.headers, response.body, self._situation(request), note)
        raise CallFailed(failure)

    async def close(self) -> None:
        """Close its connections."""
        await self.http.close()

    async def _fitter(self) -> SchemaFitter:
        """What fits schemas to this server; one of an unknown kind is asked for its models before its first schema."""
        if self._schemas is not None:
            return self._schemas
        async with self._first_schema:
            if self._schemas is None:
                dialect = self.endpoint.dialect or await self._served_dialect()
                self._schemas = SchemaFitter(dialect, self._notify)
        return self._schemas

    async def _served_dialect(self) -> Dialect:
        found = None
        try:
            response = await asyncio.wait_for(self.http.get("/models"), MODELS_TIMEOUT_S)
            found = dialect_of_models(orjson.loads(response.body)) if response.status == HTTPStatus.OK else None
        except (Fault, TimeoutError, orjson.JSONDecodeError):
            pass
        return found or likely_dialect(self.endpoint.base_url)

    def _situation(self, request: Request) -> Situation:
        endpoint = self.endpoint
        return Situation(endpoint.base_url, request.model, endpoint.key_env, endpoint.secrets, self._fresh)


def body_of(request: Request, n: int, schemas: SchemaFitter | None = None) -> bytes:
    """The JSON text that asks for n completions, its schema fitted by `schemas`.

    Raises:
        CallFailed: it can't be written.
    """
    asked = payload(request) if schemas is None else schemas.fit(payload(request))
    extra = asked.pop("extra_body", None)
    if extra:
        asked |= {key: value for key, value in extra.items() if key not in NOT_SENT}
    if n > 1 and request.route != "embeddings":
        asked["n"] = n
    try:
        return orjson.dumps(asked)
    except TypeError:
        return _odd_body(asked)


def _odd_body(payload: dict[str, Any]) -> bytes:
    """What orjson does not take: integers beyond 64 bits; halves of surrogate pairs, which become U+FFFD."""
    try:
        return whole(json.dumps(payload, ensure_ascii=False, allow_nan=False)).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CallFailed(Failure("bad_request", f"the request can't be written as JSON: {error}", "row")) from None
