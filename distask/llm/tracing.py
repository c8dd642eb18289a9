"""Make OpenTelemetry spans of calls, if the process has set it up; otherwise nothing is loaded or sent.

Names and attributes follow the semantic conventions for generative AI (gen_ai.*). A span covers a request with all its
tries. Chats and replies are not recorded unless `CONTENT` is set.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from distask.llm.request import CallFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from distask.llm.config.resolve import Resolved
    from distask.llm.request import Completion, Message, Request

CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The variable that OpenTelemetry's own instrumentations read: `true` or `span_only` records chats and replies."""

OPERATIONS = {
    "chat": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "images": "generate_content",
}
KEYWORDS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "stop": "stop_sequences",
}
"""Generation keywords to their attributes, below gen_ai.request."""
USAGE_PARTS = {
    "cache_read.input_tokens": "cached_tokens",
    "cache_creation.input_tokens": "cache_write_tokens",
    "reasoning.output_tokens": "reasoning_tokens",
}
"""Attributes below gen_ai.usage to the parts of a usage; zeros are omitted."""
HOSTS = {
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x_ai",
    "api.perplexity.ai": "perplexity",
}
"""OpenAI-compatible providers, with their names in the conventions."""


class Tracer:
    """Makes the spans of one endpoint."""

    def __init__(self, made: Any, facts: dict[str, Any], *, content: bool = False) -> None:
        self._made = made
        self._facts = facts
        self._content = content

    @contextmanager
    def call(self, request: Request, samples: int) -> Iterator[list[Completion]]:
        """Open a span for one request; completions put into the list are recorded."""
        from opentelemetry.trace import SpanKind, Status, StatusCode

        operation = OPERATIONS[request.route]
        attributes = self._facts | _asked(request, operation, samples)
        with self._made.start_as_current_span(
            f"{operation} {request.model}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            completions: list[Completion] = []
            try:
                yield completions
            except BaseException as error:
                kind = error.failure.kind if isinstance(error, CallFailed) else type(error).__name__
                message = error.failure.message if isinstance(error, CallFailed) else kind
                span.set_attribute("error.type", kind)
                span.set_status(Status(StatusCode.ERROR, message))
                raise
            span.set_attributes(_answered(completions))
            if self._content:
                span.set_attribute("gen_ai.input.messages", _parts(request.messages))
                span.set_attribute("gen_ai.output.messages", _replies(completions))


def tracer_of(resolved: Resolved) -> Tracer | None:
    """Return the tracer of this endpoint's calls; None if tracing is not set up."""
    made = _made()
    if made is None:
        return None
    config = resolved.config
    address = urlsplit(config.base_url or "")
    facts: dict[str, Any] = {"gen_ai.provider.name": _provider(config.provider, address.hostname or "")}
    if address.hostname and config.provider not in ("offline", "llamacpp"):
        facts["server.address"] = address.hostname
        facts["server.port"] = address.port or (443 if address.scheme == "https" else 80)
    return Tracer(made, facts, content=os.environ.get(CONTENT, "").lower() in ("true", "span_only", "span_and_event"))


def run_span(task: str, model: str | None) -> AbstractContextManager[Any]:
    """Open a span for a complete run; spans of calls are inside it."""
    made = _made()
    if made is None:
        return nullcontext()
    attributes = {"distask.task": task, "gen_ai.request.model": model or ""}
    span: AbstractContextManager[Any] = made.start_as_current_span(f"distask run {task}", attributes=attributes)
    return span


def _made() -> Any:
    """Return OpenTelemetry's tracer, if the process has loaded and set it up."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    return trace.get_tracer("distask")


def _provider(provider: str, host: str) -> str:
    if provider == "azure":
        return "azure.ai.openai"
    return HOSTS.get(host, provider)


def _asked(request: Request, operation: str, samples: int) -> dict[str, Any]:
    made: dict[str, Any] = {"gen_ai.operation.name": operation, "gen_ai.request.model": request.model}
    for keyword, name in KEYWORDS.items():
        value = request.keywords.get(keyword)
        if value is not None:
            made[f"gen_ai.request.{name}"] = [value] if keyword == "stop" and isinstance(value, str) else value
    if samples > 1:
        made["gen_ai.request.choice.count"] = samples
    if "response_format" in request.keywords:
        made["gen_ai.output.type"] = "json"
    return made


def _answered(completions: Sequence[Completion]) -> dict[str, Any]:
    made: dict[str, Any] = {"gen_ai.response.finish_reasons": [c.finish_reason for c in completions]}
    if completions and completions[0].model:
        made["gen_ai.response.model"] = completions[0].model
    if completions and completions[0].request_id:
        made["gen_ai.response.id"] = completions[0].request_id
    for name in ("input_tokens", "output_tokens"):
        counts = [count for c in completions if (count := getattr(c.usage, name)) is not None]
        if counts:
            made[f"gen_ai.usage.{name}"] = sum(counts)
    for name, part in USAGE_PARTS.items():
        if count := sum(getattr(c.usage, part) for c in completions):
            made[f"gen_ai.usage.{name}"] = count
    return made


def _parts(messages: Sequence[Message]) -> str:
    return json.dumps(
        [{"role": m.get("role"), "parts": _texts(m.get("content"))} for m in messages], ensure_ascii=False
    )


def _texts(content: Any) -> list[dict[str, Any]]:
    """Return texts unchanged; for an image or a sound, only its kind."""
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    return [
        {"type": "text", "content": p.get("text")} if p.get("type") == "text" else {"type": p.get("type")}
        for p in parts
    ]


def _replies(completions: Sequence[Completion]) -> str:
    made = [{"role": "assistant", "parts": _texts(c.text), "finish_reason": c.finish_reason} for c in completions]
    return json.dumps(made, ensure_ascii=False)
