"""The language of an LLM config, as pydantic models: which keys there are, and what each takes."""

import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from distask.spec.language.model import LLM, Model

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
"""The name of an environment variable."""
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""An environment variable in a header's value."""


class Limits(Model):
    """What the endpoint can take, and how long it is tried."""

    concurrency: int = Field(256, ge=1, le=100_000, description="Calls in flight at the most")
    requests_per_minute: float | None = Field(None, gt=0, description="Calls begun in a minute, spread evenly")
    tokens_per_minute: float | None = Field(None, gt=0, description="Tokens asked for in a minute, spread evenly")
    timeout: float = Field(600, gt=0, description="Seconds that a call may take, to the last byte of its reply")
    max_retries: int = Field(
        8,
        ge=0,
        description="How often a call is retried at most: a 429 does not count, a time-out is retried twice, "
        "a 200 that can't be used once",
    )
    max_retry_seconds: float = Field(
        900, ge=0, description="How long a call is retried; 429s and time-outs do not count"
    )
    prompt_characters: int = Field(
        16_777_216, ge=1, description="Maximum length of the text of a row's chat; a row with a longer one fails"
    )
    batch_requests: int = Field(50_000, ge=1, description="Requests that one batch holds at the most")
    batch_megabytes: float = Field(200, gt=0, description="How large a batch's file of requests is at the most")
    batch_poll: float = Field(30, gt=0, description="Seconds between looks at batches that are waited for")


class Price(Model):
    """USD for a million tokens."""

    input: float = Field(ge=0, description="Of the chat")
    output: float = Field(ge=0, description="Of the reply")
    cached_input: float | None = Field(
        None, ge=0, description="Of the part of the chat that the server has in its cache; left out, as `input`"
    )
    cache_write: float | None = Field(
        None, ge=0, description="Of the part of the chat that the server writes to its cache; left out, as `input`"
    )
    batch: float = Field(default=1, ge=0, le=1, description="The share of it that a batch costs: 0.5 is half")

    def in_batches(self) -> Self:
        """What tokens cost in a batch."""
        rates = self.model_dump(exclude={"batch"}, exclude_none=True)
        return type(self)(**{name: rate * self.batch for name, rate in rates.items()})


class LlamaCpp(Model):
    """How a GGUF model is run in this process."""

    context: int = Field(4096, ge=64, description="Tokens of a chat and its reply together")
    slots: int = Field(4, ge=1, le=256, description="Chats that the model works on at a time")
    threads: int | None = Field(None, ge=1, description="Threads of the processor; left out, llama.cpp chooses")
    gpu_layers: int | None = Field(
        None, ge=-1, description="Layers on the GPU, -1 for all; left out, llama.cpp chooses"
    )


class LLMConfig(Model):
    """Where an LLM is and how to ask it."""

    provider: Literal["openai", "azure", "llamacpp", "offline"] = Field(
        "openai",
        description="openai: any OpenAI-compatible server; llamacpp: a GGUF file, in this process; "
        "offline: no model, replies made up from the spec",
    )
    model: str | None = Field(
        None,
        min_length=1,
        description="The model's name, else the first that the server lists; for llamacpp a GGUF file's path, "
        "or `hf://owner/repository/FILE.gguf`",
    )
    base_url: str | None = Field(None, description="The server's address, for most servers up to /v1")
    api_key_env: str | None = Field(
        None, pattern=VARIABLE, description="The name of the environment variable that holds the key; never a key"
    )
    api_version: str | None = Field(None, pattern=r"^[\w.-]+$", description="Azure's api-version")
    schema_dialect: (
        Literal["openai", "azure", "anthropic", "gemini", "vllm", "llama.cpp", "common", "as-written"] | None
    ) = Field(
        None,
        description="Which JSON Schemas the server takes; left out, its host or its list of models says. "
        "common: what most servers take; as-written: schemas are sent unchanged",
    )
    headers: dict[str, str] = Field(
        {}, description="More headers; a value is the name of an environment variable in `${}`"
    )
    generation: LLM = Field(LLM.model_construct(), description="Generation keywords; they win over the spec's `llm`")
    limits: Limits = Field(Limits.model_construct(), description="Pace, deadlines and tries")
    price: Price | None = Field(None, description="What tokens cost")
    llamacpp: LlamaCpp = Field(LlamaCpp.model_construct(), description="How a GGUF model is run")

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return None if value is None else checked_address(value)

    @field_validator("headers")
    @classmethod
    def _references(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name):
                raise ValueError("a header's name holds letters, digits and `-`")
            if not REFERENCE.search(text):
                raise ValueError(f"the value of `{name}` must name an environment variable: ${{NAME}}")
        return value

    @field_validator("generation")
    @classmethod
    def _no_model(cls, value: LLM) -> LLM:
        if value.model is not None:
            raise ValueError("the model stands beside `generation`, not in it")
        return value


def checked_address(url: str) -> str:
    """The base URL without a slash at its end; raises `ValueError`, whose words never hold the URL."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("this is no address") from None
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() or ord(c) < 32 for c in url):
        raise ValueError("an address begins with http:// or https:// and a host")
    if "@" in parts.netloc:
        raise ValueError("an address holds no user name or key; name the key's variable in `api_key_env`")
    if parts.query or parts.fragment:
        raise ValueError("an address has no `?` or `#` part")
    if parts.path.rstrip("/").endswith("/chat/completions"):
        raise ValueError("leave /chat/completions out of the address; it is added")
    return url.rstrip("/")


GROUPS: dict[str, type[Model]] = {"generation": LLM, "limits": Limits, "price": Price, "llamacpp": LlamaCpp}
"""Keys that hold keys."""
