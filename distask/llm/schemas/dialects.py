"""Define which JSON Schemas each kind of server accepts, and detect the kind of server.

The tables follow the servers' documentation and their error messages for refused schemas, as of October 2026: OpenAI's
and Azure's guides to structured outputs, Gemini's reference of `responseJsonSchema`, Anthropic's limits of structured
outputs, vLLM's checks before xgrammar, and llama.cpp's converter of schemas to grammars.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import Struct

if TYPE_CHECKING:
    from distask.llm.config.model import LLMConfig

_SHAPE = frozenset(
    {
        "type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs",
        "title", "description",
    }
)  # fmt: skip
_RANGES = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_COUNTS = frozenset({"minItems", "maxItems"})
_LENGTHS = frozenset({"minLength", "maxLength"})
_FORMATS = frozenset(
    {"date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"},
)


class Limits(Struct, frozen=True):
    """Size limits of a strict schema."""

    properties: int
    depth: int
    """Maximum nesting of objects."""
    enum_values: int
    characters: int
    """Maximum characters of all property and definition names, and all values of enums and consts."""
    long_enum_characters: int
    """Maximum characters of the values of one enum with more than 250 values."""


class Dialect(Struct, frozen=True):
    """What one kind of server accepts."""

    title: str
    """The server's name in messages."""
    keywords: frozenset[str]
    """Supported keywords; the server refuses others, or gives them another meaning."""
    formats: frozenset[str] = _FORMATS
    """Supported values of `format`."""
    pattern: str | None = None
    """A regular expression that finds unsupported parts of a `pattern`."""
    anchored: bool = False
    """Whether a `pattern` must match the complete text: begin with `^` and end with `$`."""
    closed: bool = False
    """Whether every object must be closed (`additionalProperties: false`), and every value must have a type."""
    all_required: bool = False
    """Whether every property must be required; optional ones are then made nullable."""
    object_root: bool = False
    """Whether the root must be an object."""
    recursive: bool = True
    typed: bool = False
    """Whether types are added where they follow from other keywords."""
    one_min_item: bool = False
    """Whether `minItems` may only be 0 or 1."""
    most_repeats: int | None = None
    """Maximum count of characters or items."""
    any_as_types: bool = False
    """Whether "any value" must list its types, and a tuple must end with its last entry."""
    plain_enums: bool = False
    """Whether an `enum` may only contain strings and numbers."""
    length_or_pattern: bool = False
    """Whether lengths are accepted only without a `pattern` or `format`."""
    limits: Limits | None = None
    most_optional: int | None = None
    """Maximum number of optional properties."""
    as_written: bool = False
    """Whether schemas are sent unchanged."""


_LOOKAROUND = r"\(\?<?[=!]"
_BEYOND_REGULAR = rf"{_LOOKAROUND}|\\[1-9bB]|\(\?P=|\\k<"
_BEYOND_GRAMMARS = rf"{_BEYOND_REGULAR}|\\[pP]\{{|\(\?[a-zA-Z]|[*+?}}][?+]"

OPENAI = Dialect(
    "OpenAI",
    _SHAPE | _RANGES | _COUNTS | {"multipleOf", "pattern", "format"},
    pattern=_LOOKAROUND,
    closed=True,
    all_required=True,
    object_root=True,
    typed=True,
    limits=Limits(5_000, 10, 1_000, 120_000, 15_000),
)
AZURE = Dialect(
    "Azure",
    _SHAPE,
    closed=True,
    all_required=True,
    object_root=True,
    typed=True,
    limits=Limits(100, 5, 500, 15_000, 7_500),
)
COMMON = Dialect(
    "an unknown server",
    _SHAPE,
    closed=True,
    all_required=True,
    object_root=True,
    typed=True,
    limits=OPENAI.limits,
)
"""What all servers with strict schemas accept: for gateways and unknown servers."""
OPENROUTER = Dialect(
    "OpenRouter",
    COMMON.keywords,
    closed=True,
    all_required=True,
    object_root=True,
    typed=True,
    limits=OPENAI.limits,
)
ANTHROPIC = Dialect(
    "Anthropic",
    _SHAPE | {"minItems", "pattern", "format"},
    formats=_FORMATS | {"uri"},
    pattern=_BEYOND_REGULAR,
    closed=True,
    recursive=False,
    typed=True,
    one_min_item=True,
    most_optional=24,
)
GEMINI = Dialect(
    "Gemini",
    (_SHAPE - {"const"}) | _COUNTS | {"prefixItems", "minimum", "maximum", "format", "propertyOrdering"},
    formats=frozenset({"date-time", "date", "time"}),
    typed=True,
    plain_enums=True,
)
VLLM = Dialect(
    "vLLM",
    _SHAPE | _RANGES | _COUNTS | _LENGTHS | {"prefixItems", "allOf", "pattern", "format"},
    formats=_FORMATS | {"uri", "uri-reference", "uri-template", "json-pointer", "relative-json-pointer"},
    pattern=_BEYOND_REGULAR,
    length_or_pattern=True,
)
LLAMA_CPP = Dialect(
    "llama.cpp",
    _SHAPE | _RANGES | _COUNTS | _LENGTHS | {"prefixItems", "allOf", "pattern", "format", "multipleOf"},
    formats=_FORMATS | {"uri"},
    pattern=_BEYOND_GRAMMARS,
    anchored=True,
    most_repeats=2_000,
    any_as_types=True,
)
AS_WRITTEN = Dialect("the server", frozenset(), as_written=True)

DIALECTS: dict[str, Dialect] = {
    "openai": OPENAI,
    "azure": AZURE,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "vllm": VLLM,
    "llama.cpp": LLAMA_CPP,
    "common": COMMON,
    "as-written": AS_WRITTEN,
}
"""Values of `schema_dialect` in a config."""

_HOSTS: dict[str, Dialect] = {
    "openai.com": OPENAI,
    "openai.azure.com": AZURE,
    "services.ai.azure.com": AZURE,
    "cognitiveservices.azure.com": AZURE,
    "anthropic.com": ANTHROPIC,
    "generativelanguage.googleapis.com": GEMINI,
    "aiplatform.googleapis.com": GEMINI,
    "openrouter.ai": OPENROUTER,
}
"""Hosts, including their subdomains."""
_PORTS: dict[int, Dialect] = {8000: VLLM, 30000: VLLM, 8080: LLAMA_CPP, 11434: LLAMA_CPP, 1234: LLAMA_CPP}
"""The usual ports of vLLM, SGLang, llama-server, Ollama and LM Studio."""
_OWNERS: dict[str, Dialect] = {"vllm": VLLM, "sglang": VLLM, "llamacpp": LLAMA_CPP, "library": LLAMA_CPP}
"""Model owners in the model lists of vLLM, SGLang, llama-server and Ollama."""


def known_dialect(config: LLMConfig) -> Dialect | None:
    """Return the dialect given by a config's setting, provider or host; None if the server must be asked."""
    if config.schema_dialect is not None:
        return DIALECTS[config.schema_dialect]
    if config.provider == "azure":
        return AZURE
    if config.provider == "llamacpp":
        return LLAMA_CPP
    if config.provider == "offline":
        return AS_WRITTEN
    host = (urlsplit(config.base_url or "").hostname or "").lower()
    return next((dialect for name, dialect in _HOSTS.items() if re.search(rf"(^|[.-]){re.escape(name)}$", host)), None)


def likely_dialect(base_url: str) -> Dialect:
    """Return the likely dialect of an unknown server: by its port, else what most servers accept."""
    return _PORTS.get(urlsplit(base_url).port or 0, COMMON)


def dialect_of_models(listed: Any) -> Dialect | None:
    """Return the dialect shown by the response to `GET /models`; None if it does not show one."""
    models = listed.get("data") if isinstance(listed, dict) else None
    owners = [model.get("owned_by") for model in models if isinstance(model, dict)] if isinstance(models, list) else []
    return next((_OWNERS[owner] for owner in owners if isinstance(owner, str) and owner in _OWNERS), None)
