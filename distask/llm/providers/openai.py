"""Send chat completions to OpenAI-compatible servers: OpenAI, Azure, vLLM, Ollama, llama.cpp, OpenRouter and others.

One call is one HTTP exchange; `Client` retries, and `responses` parses.
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
"""Keys that `extra_body` can't set: replies are not streamed, and distask sets the others."""


class Endpoint(Struct, frozen=True):
    """The server that requests go to."""

    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every call, including the key."""
    secrets: tuple[str, ...] = ()
    """Texts that no message may show."""
    key_env: str | None = None
    """The environment variable of the key."""
    azure_version: str | None = None
    """The api-version of Azure's older addresses, which name the model in the path."""
    dialect: Dialect | None = None
    """The JSON Schemas that the server accepts; None to detect them from its list of models."""

    def __repr__(self) -> str:  # its headers are secrets
        return f"Endpoint({self.base_url})"

    def path(self, model: str, route: Route = "chat") -> str:
        """Return the URL path for this model."""
        if self.azure_version is None:
            return PATHS[route]
        return f"/openai/deployments/{quote(model, safe='')}{PATHS[route]}?api-version={self.azure_version}"


class OpenAIProvider:
    """One endpoint; see `Endpoint`.

    Args:
        endpoint: the server.
        timeout: seconds for a complete call.
        connections: maximum number of connections to keep alive.
        notify: called once with each note about what is not sent to the server.
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
        """Request `len(samples)` completions in one call; it may return fewer. Raises `CallFailed`."""
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
        """Close all connections."""
        await self.http.close()

    async def _fitter(self) -> SchemaFitter:
        """Return the schema fitter for this server; an unknown server's models are listed before its first schema."""
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
    """Return the JSON text that requests n completions, with its schema fitted by `schemas`.

    Raises:
        CallFailed: the request can't be written as JSON.
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
    """Encode what orjson rejects: integers of more than 64 bits, and lone surrogates, which become U+FFFD."""
    try:
        return whole(json.dumps(payload, ensure_ascii=False, allow_nan=False)).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CallFailed(Failure("bad_request", f"the request can't be written as JSON: {error}", "row")) from None
