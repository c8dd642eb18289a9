"""Plain data that crosses the border to a model: what is asked, what came back, what went wrong."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import orjson
from msgspec import Struct, field

from distask.errors import DistaskError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


Message = dict[str, Any]
"""A chat message as the OpenAI API has it: `{"role": str, "content": str | list[part], ...}`."""

Scope = Literal["retry", "row", "run"]
"""What a failure ends: nothing yet (it is tried again), its row, or the run."""


Route = Literal["chat", "completions", "embeddings", "images"]
"""What a server is asked for."""


class Usage(Struct, frozen=True, array_like=True):
    """Tokens as the server counted them; None where it did not say."""

    input_tokens: int | None = None
    """Of the chat, the cached ones included."""
    output_tokens: int | None = None
    """Of the reply, its reasoning included."""
    cached_tokens: int = 0
    """Input that the server read from its cache."""
    cache_write_tokens: int = 0
    """Input that the server wrote to its cache, where it bills that separately."""
    reasoning_tokens: int = 0
    """Output that is reasoning."""
    cost: float | None = None
    """USD, as the server says."""

    @property
    def is_brief(self) -> bool:
        """Whether input and output are all that is known."""
        return not (self.cached_tokens or self.cache_write_tokens or self.reasoning_tokens) and self.cost is None


UNKNOWN_USAGE = Usage()


class Request(Struct, frozen=True):
    """One chat to complete.

    `keywords` are the generation keywords of the API (temperature, max_tokens, response_format, tools, ...), without
    `n`, `model` and `messages`. `endpoint` is the server's base URL (or "offline"). Another `route` than a chat's has
    one message, whose content is the prompt. `example` makes a reply that the task's parser accepts, from a sample's
    number: the offline provider answers with it. `fixed` has the keywords that can't be left out where the model
    refuses them, because the user set them or the task can't do without them, each with what the user can do about it;
    it is no part of the request's key.
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
        """16 bytes made from `canonical`."""
        return digest(self.canonical())

    def canonical(self) -> bytes:
        """All that can change the answer, as JSON, but for the occurrence and the limit on its length."""
        keywords = {k: v for k, v in self.keywords.items() if k not in ("max_tokens", "max_completion_tokens")}
        told = [self.endpoint, self.model, self.messages, keywords]
        told += [self.route] if self.route != "chat" else []
        try:
            return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
        except TypeError:  # integers beyond 64 bits, lone surrogates
            import json

            return json.dumps(told, sort_keys=True).encode()


def digest(told: bytes) -> bytes:
    """16 bytes made from any number of them."""
    return hashlib.blake2b(told, digest_size=16).digest()


def sample_key(fingerprint: bytes, occurrence: int, sample: int, attempt: int = 0) -> bytes:
    """The store's key (16 bytes) of one sample of a request.

    `occurrence` tells equal requests of one run apart, `attempt` counts the times that an invalid reply was asked for
    again.
    """
    return digest(fingerprint + b"%d/%d/%d" % (occurrence, sample, attempt))


class Completion(Struct, frozen=True, omit_defaults=True):
    """One reply of a model, as the server gave it; the store keeps it as JSON, without what is as it mostly is."""

    text: str | None = None
    """None where the server sent no text (tool calls only, a refusal, reasoning only)."""
    finish_reason: str = "stop"
    """"stop", "length", "content_filter", "tool_calls", or what else the server said."""
    usage: Usage = UNKNOWN_USAGE
    """Of this choice alone: a request's usage is shared out among its n choices (see `usage.share_usage`)."""
    model: str = ""
    """The name that the server answered with."""
    tool_calls: list[dict[str, Any]] | None = None
    reasoning: str | None = None
    refusal: str | None = None
    logprobs: dict[str, Any] | None = None
    request_id: str | None = None


class Failure(Struct, frozen=True):
    """A request that got no completion, classed once (see `retry`)."""

    kind: str
    """A short stable word: "rate_limit", "server_error", "timeout", "connection", "bad_reply", "auth", "quota", ..."""
    message: str
    """For people; the server's own words, keys redacted."""
    scope: Scope
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None
    """Seconds that the server asked to wait."""
    mend: str | None = None
    """What the user can do about it."""
    max_retries: int | None = None
    """How often a call that failed like this is sent again at most; None for as often as any."""


class CallFailed(DistaskError):  # noqa: N818 - it did; `failure` says which error
    """Raised by providers and by `Client.ask`; `failure` says the rest."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)
