"""Run a GGUF model in this process with llama.cpp's own server code (xllamacpp): the API, without HTTP.

Weights are loaded with the first request. A call uses a thread while the model works, one for each slot.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import orjson

from distask.errors import ConfigError
from distask.llm.http.transport import Response
from distask.llm.pacing.failure_rules import Situation, classify
from distask.llm.providers.gguf import model_file
from distask.llm.request import CallFailed, Failure
from distask.llm.responses import read_completions
from distask.llm.routes import payload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.llm.config.model import LlamaCpp
    from distask.llm.request import Completion, Request
    from distask.llm.schemas.requests import SchemaFitter

ENDPOINT = "llamacpp"


HANDLERS = {
    "chat": "handle_chat_completions",
    "completions": "handle_completions",
    "embeddings": "handle_embeddings",
}
"""Handlers of the routes."""


class LlamaCppProvider:
    """One model file.

    Args:
        model: the GGUF file's path, or its address on the Hub.
        settings: slots, context, threads.
        schemas: fits the schemas of requests.
    """

    def __init__(self, model: str, settings: LlamaCpp, schemas: SchemaFitter) -> None:
        self.model = model
        self._schemas = schemas
        self.settings = settings
        self._server: Any = None
        self._threads = ThreadPoolExecutor(settings.slots, thread_name_prefix="llamacpp")
        self._loading: asyncio.Lock | None = None

    async def complete(self, request: Request, samples: Sequence[int]) -> list[Completion]:
        """Return a completion for each of `samples`, at most one per slot in each call. Raises `CallFailed`."""
        loop = asyncio.get_running_loop()
        await self._load(loop)
        found: list[Completion] = []
        while len(found) < len(samples):
            n = min(len(samples) - len(found), self.settings.slots)
            found += await loop.run_in_executor(self._threads, self._ask, request, n)
        return found

    async def close(self) -> None:
        """Release the model."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._server = None

    async def _load(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loading is None:
            self._loading = asyncio.Lock()
        async with self._loading:
            if self._server is None:
                self._server = await loop.run_in_executor(self._threads, _serve, self.model, self.settings)

    def _ask(self, request: Request, n: int) -> list[Completion]:
        asked = self._schemas.fit(payload(request))
        asked |= asked.pop("extra_body", None) or {}
        if n > 1 and request.route != "embeddings":
            asked["n"] = n
        if request.route not in HANDLERS:
            raise CallFailed(Failure("bad_request", "llama.cpp can't generate images", "run"))
        try:
            answer = getattr(self._server, HANDLERS[request.route])(asked)
        except (ValueError, TypeError, RuntimeError) as error:  # a schema or a template that it does not support
            answer = {"error": {"code": 400, "message": str(error), "type": "invalid_request_error"}}
        refused = answer.get("error")
        status = int(refused.get("code") or 500) if isinstance(refused, dict) else 200
        body = orjson.dumps(answer)
        completions, note = read_completions(Response(status, {}, body))
        if not completions:
            raise CallFailed(classify(status, {}, body, Situation(ENDPOINT, self.model, None, (), False), note))
        return completions


def _serve(model: str, settings: LlamaCpp) -> Any:
    import xllamacpp

    try:
        file = model_file(model)
    except ConfigError as error:
        raise CallFailed(Failure("model", str(error), "run")) from None
    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = str(file), [model]
    params.n_parallel = settings.slots
    params.n_ctx = settings.context * settings.slots
    if settings.threads is not None:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    if settings.gpu_layers is not None:
        params.n_gpu_layers = settings.gpu_layers
    params.fit_params = False  # it would silently change the context
    params.verbosity = 0
    params.port = 0
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        hint = "check that the GGUF file is complete and fits in memory; fewer `slots` or less `context` need less"
        raise CallFailed(Failure("model", f"llama.cpp can't load {model}: {error}", "run", hint=hint)) from None
