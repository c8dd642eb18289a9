"""Plain data exchanged with a model: requests, replies and failures."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import orjson
from msgspec import Struct, field

from distask.errors import DistaskError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_NO_BYTES = hashlib.blake2b(digest_size=16)

Message = dict[str, Any]
"""A chat message in OpenAI's format: `{"role": str, "content": str | list[part], ...}`."""

Scope = Literal["retry", "row", "run"]
"""What a failure ends: nothing yet (the request is retried), its row, or the run."""


Route = Literal["chat", "completions", "embeddings", "images"]
"""The kind of API call."""


class Usage(Struct, frozen=True, array_like=True):
    """Token counts from the server; None if it did not send them."""

    input_tokens: int | None = None
    """Tokens of the chat, including cached ones."""
    output_tokens: int | None = None
    """Tokens of the reply, including reasoning."""
    cached_tokens: int = 0
    """Input tokens that the server read from its cache."""
    cache_write_tokens: int = 0
    """Input tokens that the server wrote to its cache, if it bills them separately."""
    reasoning_tokens: int = 0
    """Output tokens used for reasoning."""
    cost: float | None = None
    """USD, as reported by the server."""

    @property
    def is_brief(self) -> bool:
        """Whether only input and output are known."""
        return not (self.cached_tokens or self.cache_write_tokens or self.reasoning_tokens) and self.cost is None


UNKNOWN_USAGE = Usage()


class Request(Struct, frozen=True):
    """One chat to complete.

    `keywords` are the generation keywords of the API (temperature, max_tokens, response_format, tools, ...), without
    `n`, `model` and `messages`. `endpoint` is the server's base URL (or "offline"). Requests of a `route` other than
    chat have one message, whose content is the prompt. `example` takes a sample's number and returns a reply that the
    task's parser accepts; the offline provider uses it. `fixed` holds the keywords that can't be removed if the model
    refuses them, because the user set them or the task needs them, each with a hint for the user; it is not part of the
    request's key.
    """

    endpoint: str
    model: str
    messages: list[Message]
    keywords: dict[str, Any] = field(default_factory=dict)
    occurrence: int = 0
    route: Route = "chat"
    example: Callable[[int], str] | None = None
    fixed: Mapping[str, str] = field(default_factory=dict)

    @property
    def max_tokens(self) -> int | None:
        """The limit on the reply's length, under either of its names."""
        limit = self.keywords.get("max_completion_tokens", self.keywords.get("max_tokens"))
        return limit if isinstance(limit, int) else None

    def fingerprint(self) -> bytes:
        """Return the 16-byte hash of `canonical`."""
        return digest(self.canonical())

    def canonical(self) -> bytes:
        """Return everything that can change the reply, as JSON, without the occurrence and the limit on its length."""
        keywords = {k: v for k, v in self.keywords.items() if k not in ("max_tokens", "max_completion_tokens")}
        data = [self.endpoint, self.model, self.messages, keywords]
        data += [self.route] if self.route != "chat" else []
        try:
            return orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
        except TypeError:  # integers of more than 64 bits, lone surrogates
            import json

            return json.dumps(data, sort_keys=True).encode()


def digest(data: bytes) -> bytes:
    """Return the 16-byte hash (BLAKE2b) of any number of bytes."""
    state = _NO_BYTES.copy()  # takes half the time of a new one with its options
    state.update(data)
    return state.digest()


def sample_key(fingerprint: bytes, occurrence: int, sample: int, attempt: int = 0) -> bytes:
    """Return the store's key (16 bytes) of one sample of a request.

    `occurrence` distinguishes equal requests of one run; `attempt` counts the retries of an invalid reply.

    """
    if not (occurrence or sample or attempt):
        return digest(fingerprint + b"0/0/0")
    return digest(fingerprint + b"%d/%d/%d" % (occurrence, sample, attempt))


class Completion(Struct, frozen=True, omit_defaults=True):
    """One reply of a model, as the server sent it; the store keeps it as JSON, without default values."""

    text: str | None = None
    """None if the server sent no text (tool calls only, a refusal, reasoning only)."""
    finish_reason: str = "stop"
    """"stop", "length", "content_filter", "tool_calls", or what else the server parts."""
    usage: Usage = UNKNOWN_USAGE
    """For this choice alone: a request's usage is divided among its n choices (see `usage.share_usage`)."""
    model: str = ""
    """The model name in the response."""
    tool_calls: list[dict[str, Any]] | None = None
    reasoning: str | None = None
    refusal: str | None = None
    logprobs: dict[str, Any] | None = None
    request_id: str | None = None


class Failure(Struct, frozen=True):
    """A request without a completion, classified once (see `failure_rules`)."""

    kind: str
    """A short stable word: "rate_limit", "server_error", "timeout", "connection", "bad_reply", "auth", "quota", ..."""
    message: str
    """For people; the server's own words, with keys redacted."""
    scope: Scope
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None
    """Seconds that the server asked to wait."""
    hint: str | None = None
    """What the user can do about it."""
    max_retries: int | None = None
    """Maximum number of retries after this failure; None for the usual maximum."""


class CallFailed(DistaskError):  # noqa: N818 - `failure` names the error
    """Raised by providers and by `Client.ask`; `failure` has the details."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)
