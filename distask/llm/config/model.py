"""Define the keys of an LLM config as pydantic models."""

import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from distask.spec.language.base import Model
from distask.spec.language.model import LLM

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
"""The name of an environment variable."""
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""An environment variable in a header's value."""


class Limits(Model):
    """Limits on requests, and how long they are retried."""

    concurrency: int = Field(256, ge=1, le=100_000, description="Maximum number of concurrent requests")
    requests_per_minute: float | None = Field(None, gt=0, description="Maximum requests per minute, spread evenly")
    tokens_per_minute: float | None = Field(None, gt=0, description="Maximum tokens per minute, spread evenly")
    timeout: float = Field(600, gt=0, description="Seconds a request may take, to the last byte of its reply")
    max_retries: int = Field(
        8,
        ge=0,
        description="Maximum retries of a request: a 429 does not count, a timeout is retried twice, "
        "a 200 that can't be used once",
    )
    max_retry_seconds: float = Field(
        900, ge=0, description="Seconds a request is retried; 429s and timeouts do not count"
    )
    prompt_characters: int = Field(
        16_777_216, ge=1, description="Maximum characters of a row's chat; a row with more fails"
    )
    batch_requests: int = Field(50_000, ge=1, description="Maximum requests in one batch")
    batch_megabytes: float = Field(200, gt=0, description="Maximum size of a batch's request file")
    batch_poll: float = Field(30, gt=0, description="Seconds between status checks of a batch")


class Price(Model):
    """Prices in USD per million tokens."""

    input: float = Field(ge=0, description="Price of input tokens")
    output: float = Field(ge=0, description="Price of output tokens")
    cached_input: float | None = Field(
        None, ge=0, description="Price of input tokens read from the server's cache; default: `input`"
    )
    cache_write: float | None = Field(
        None, ge=0, description="Price of input tokens written to the server's cache; default: `input`"
    )
    batch: float = Field(default=1, ge=0, le=1, description="Fraction of the price that a batch costs: 0.5 is half")

    def in_batches(self) -> Self:
        """Return the price of tokens in a batch."""
        rates = self.model_dump(exclude={"batch"}, exclude_none=True)
        return type(self)(**{name: rate * self.batch for name, rate in rates.items()})


class LlamaCpp(Model):
    """How a GGUF model runs in this process."""

    context: int = Field(4096, ge=64, description="Maximum tokens of a chat and its reply together")
    slots: int = Field(4, ge=1, le=256, description="Number of chats processed at the same time")
    threads: int | None = Field(None, ge=1, description="CPU threads; by default, llama.cpp chooses")
    gpu_layers: int | None = Field(
        None, ge=-1, description="Layers on the GPU, -1 for all; by default, llama.cpp chooses"
    )


class LLMConfig(Model):
    """Where an LLM is and how to use it."""

    provider: Literal["openai", "azure", "llamacpp", "offline"] = Field(
        "openai",
        description="openai: any OpenAI-compatible server; llamacpp: a GGUF file, in this process; "
        "offline: no model, simulated replies from the spec",
    )
    model: str | None = Field(
        None,
        min_length=1,
        description="The model's name; default: the first that the server lists. For llamacpp, a GGUF file's path "
        "or `hf://owner/repository/FILE.gguf`",
    )
    base_url: str | None = Field(None, description="The server's address; for most servers it ends in /v1")
    api_key_env: str | None = Field(
        None, pattern=VARIABLE, description="Name of the environment variable that holds the key, never the key itself"
    )
    api_version: str | None = Field(None, pattern=r"^[\w.-]+$", description="Azure's api-version")
    schema_dialect: (
        Literal["openai", "azure", "anthropic", "gemini", "vllm", "llama.cpp", "common", "as-written"] | None
    ) = Field(
        None,
        description="Which JSON Schemas the server accepts; by default, detected from its host or model list. "
        "common: what most servers accept; as-written: schemas are sent unchanged",
    )
    headers: dict[str, str] = Field(
        {}, description="Additional headers; a value names an environment variable in `${}`"
    )
    generation: LLM = Field(LLM.model_construct(), description="Generation keywords; they override the spec's `llm`")
    limits: Limits = Field(Limits.model_construct(), description="Request rates, timeouts and retries")
    price: Price | None = Field(None, description="Token prices")
    llamacpp: LlamaCpp = Field(LlamaCpp.model_construct(), description="How a GGUF model runs")

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return None if value is None else checked_address(value)

    @field_validator("headers")
    @classmethod
    def _references(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name):
                raise ValueError("a header's name may only contain letters, digits and `-`")
            if not REFERENCE.search(text):
                raise ValueError(f"the value of `{name}` must name an environment variable: ${{NAME}}")
        return value

    @field_validator("generation")
    @classmethod
    def _no_model(cls, value: LLM) -> LLM:
        if value.model is not None:
            raise ValueError("set `model` next to `generation`, not inside it")
        return value


def checked_address(url: str) -> str:
    """Return the base URL without a trailing slash; raises `ValueError` with a message that never contains the URL."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("this is not a valid address") from None
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() or ord(c) < 32 for c in url):
        raise ValueError("an address must begin with http:// or https:// and a host")
    if "@" in parts.netloc:
        raise ValueError("an address must not contain a user name or key; name the key's variable in `api_key_env`")
    if parts.query or parts.fragment:
        raise ValueError("an address must not have a `?` or `#` part")
    if parts.path.rstrip("/").endswith("/chat/completions"):
        raise ValueError("leave /chat/completions out of the address; distask adds it")
    return url.rstrip("/")


GROUPS: dict[str, type[Model]] = {"generation": LLM, "limits": Limits, "price": Price, "llamacpp": LlamaCpp}
"""Keys that contain keys."""
