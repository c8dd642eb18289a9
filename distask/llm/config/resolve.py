"""Resolve the LLM of a run: from flags, a config file, the environment and the spec, in that order.

Each value keeps its origin. A key is always the value of an environment variable, and is sent only to the endpoint that
the variable belongs to.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from textwrap import fill
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import Struct, field
from msgspec.structs import replace
from pydantic import ValidationError

from distask.diagnostics import did_you_mean
from distask.errors import ConfigError
from distask.llm.config.file import SECRET_KEYS, check, dotted, errors, explained, find_config, read, read_config
from distask.llm.config.model import GROUPS, REFERENCE, Limits, LLMConfig, Price, checked_address
from distask.llm.providers import model_list
from distask.llm.providers.gguf import identity, model_file
from distask.spec.document import scalar
from distask.spec.gallery import configs
from distask.spec.language.model import LLM

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_KEY = "OPENAI_API_KEY"
DEFAULT_MODEL = "gpt-4.1-mini"
AZURE_VERSION = "2024-10-21"
OFFLINE = "offline"
LLAMACPP = "llamacpp"

__all__ = ["LLMConfig", "Limits", "Price", "Resolved", "find_config", "load_config", "read_config"]


class Resolved(Struct, frozen=True):
    """The complete config of a run."""

    config: LLMConfig
    origins: dict[str, str]
    """Dotted key to the origin of its value."""
    generation: dict[str, Any]
    """Generation keywords: the spec's, overridden by the config's and the flags'."""
    api_key: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    """The config's headers, with variables filled in."""

    def __repr__(self) -> str:  # without secrets
        return f"Resolved({self.config.provider}, {self.config.model})"

    def sent_headers(self) -> dict[str, str]:
        """Return the headers of every call, including the key."""
        made = dict(self.headers)
        if self.api_key is not None:
            azure = self.config.provider == "azure"
            made |= {"api-key": self.api_key} if azure else {"authorization": f"Bearer {self.api_key}"}
        return made

    def without_secrets(self) -> Resolved:
        """Return a copy without key and headers, for another machine, which has its own environment."""
        return replace(self, api_key=None, headers={})

    def with_secrets(self, environ: Mapping[str, str]) -> Resolved:
        """Return a copy with key and headers from an environment; raises `ConfigError` if one is missing."""
        headers = {name: _filled(name, text, environ) for name, text in self.config.headers.items()}
        return replace(self, api_key=_key(self.config, environ), headers=headers)

    def endpoint(self) -> str:
        """The endpoint in request keys: an address, a model file, or "offline"."""
        if self.config.provider == LLAMACPP:
            file = model_file(self.config.model or "", fetch=False)
            return f"{LLAMACPP}:{'not fetched' if file is None else identity(file)}"
        return OFFLINE if self.config.provider == OFFLINE else (self.config.base_url or "").rstrip("/")

    def over(self, spec_llm: LLM) -> Resolved:
        """Return the same config with the generation keywords of another spec."""
        layers = _Layers()
        layers.lay(_spec_keywords(spec_llm), "spec")
        for key, origin in self.origins.items():
            group, _, name = key.partition(".")
            if group != "generation" or "." in name or origin == "spec":
                continue
            value = self.generation.get(name)  # None if it removes the spec's
            if name == "extra_body" and value is not None:
                value = {k: v for k, v in value.items() if self.origins.get(f"{key}.{k}") != "spec"}
            layers.lay({key: value}, origin)
        generation = {key.removeprefix("generation."): value for key, value in layers.values.items()}
        origins = {k: o for k, o in self.origins.items() if not k.startswith("generation.")} | layers.origins
        config = self.config
        if spec_llm.model and self.origins.get("model") in ("default", "spec"):
            config = config.model_copy(update={"model": spec_llm.model})
            origins["model"] = "spec"
        return replace(self, config=config, origins=origins, generation=generation)

    def set_by_user(self) -> dict[str, str]:
        """The generation keywords set by the user, under their request names, each with where to change it."""
        found = {}
        for key, origin in self.origins.items():
            group, _, name = key.partition(".")
            if group != "generation" or origin == "spec":
                continue
            flag = origin.removeprefix("flag ")
            wire = name.removeprefix("extra_body.")
            if flag != origin:
                found[wire] = f"remove {flag}, or change it" if wire == name else f"remove `{wire}` from {flag}"
            else:
                found[wire] = f"remove `{key}` from {origin}, or change it"
        return found

    def show(self) -> list[tuple[str, Any, str]]:
        """Return key, value and origin of everything that is set; the API key itself is hidden."""
        config = self.config
        rows: list[tuple[str, Any]] = [("provider", config.provider), ("model", config.model)]
        rows += [(k, v) for k in ("base_url", "api_version", "schema_dialect") if (v := getattr(config, k)) is not None]
        if config.api_key_env:
            rows += [("api_key_env", config.api_key_env), ("api_key", "(hidden)")]
        rows += [(f"headers.{name}", value) for name, value in config.headers.items()]
        rows += [(f"generation.{name}", value) for name, value in self.generation.items()]
        rows += [(f"limits.{name}", value) for name, value in config.limits.model_dump().items()]
        if config.provider == LLAMACPP:
            rows += [(f"llamacpp.{name}", value) for name, value in config.llamacpp.model_dump().items()]
        if config.price is not None:
            rows += [(f"price.{name}", value) for name, value in config.price.model_dump(exclude_none=True).items()]
        return [(key, value, self._origin(key)) for key, value in rows]

    def _origin(self, key: str) -> str:
        if key == "api_key":
            return f"environment {self.config.api_key_env}"
        return self.origins.get(key) or self.origins.get(key.split(".", maxsplit=1)[0]) or "default"


def load_config(
    source: str | Path | None = None,
    *,
    contents: Mapping[str, Any] | None = None,
    model: str | None = None,
    base_url: str | None = None,
    concurrency: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    spec_llm: LLM | None = None,
    environ: Mapping[str, str] | None = None,
    ports: Mapping[str, int] | None = None,
    need_key: bool = True,
) -> Resolved:
    """Load the config of a run; flags override the file, then the environment, the spec, the defaults.

    Args:
        source: a built-in config's name or a file; None if not given.
        contents: a config's keys themselves, instead of a file.
        model: `--model`.
        base_url: `--base-url`.
        concurrency: `--concurrency`.
        overrides: `--set`: `llm.<key>` (a config's key or a generation keyword), `limits.<key>`, `price.<key>`.
        spec_llm: the spec's `llm`.
        environ: the environment.
        ports: where to look for local servers if nothing else is configured.
        need_key: whether requests will be sent; otherwise no key is needed and no local server is searched for.

    Raises:
        ConfigError: a value is wrong or missing; the message includes a hint.
    """
    environ = os.environ if environ is None else environ
    flags = _flags(model, base_url, concurrency, overrides or {})
    file, name = ({}, "") if source is None else read(source)
    if contents is not None:
        check(contents, None, "llm")
        file, name = dict(contents), "llm"
    layers = _Layers()
    layers.lay(_spec_keywords(spec_llm), "spec")
    layers.lay(_flat(file), name)
    for key, (value, origin) in flags.items():
        layers.lay({key: value}, origin)

    if layers.values.get("provider") == OFFLINE:
        layers.drop("base_url", "api_key_env", "api_version", "model")
        layers.put("model", OFFLINE, layers.origins["provider"])
        return _resolved(layers, environ, need_key=need_key)
    if layers.values.get("provider") == LLAMACPP:
        return _of_a_file(layers, environ, runs=need_key)
    configured = source is not None or contents is not None or bool({"base_url", "model", "provider"} & flags.keys())
    if need_key and not configured and not environ.get(OPENAI_KEY, "").strip() and not environ.get("OPENAI_BASE_URL"):
        _take_local(layers, spec_llm, ports)
    else:
        _fill_in(layers, spec_llm, environ)
    resolved = _resolved(layers, environ, need_key=need_key)
    if resolved.config.model is None and need_key:
        return _with_listed_model(resolved)
    return resolved


# Layers


class _Layers:
    """Dotted keys with the origin of each value; later layers override earlier ones."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def lay(self, values: Mapping[str, Any], origin: str) -> None:
        for key, value in values.items():
            if key in _SAME:  # two names for one limit
                self.drop(_SAME[key])
            if value is None and key.startswith("generation."):  # it removes what another layer set
                self.drop(key)
                self.origins[key] = origin
                continue
            if value is None and key != "api_key_env":
                continue
            if key == "generation.extra_body" and isinstance(value, dict):
                self.origins |= {f"{key}.{name}": origin for name in value}
                self.put(key, _joined(self.values.get(key), value), origin)
            else:
                self.put(key, value, origin)

    def put(self, key: str, value: Any, origin: str) -> None:
        self.values[key] = value
        self.origins[key] = origin

    def drop(self, *keys: str) -> None:
        for key in keys:
            self.values.pop(key, None)
            self.origins.pop(key, None)


def _joined(before: Any, value: dict[str, Any]) -> dict[str, Any]:
    """Merge two layers of `extra_body`; null removes what the earlier one set."""
    if not isinstance(before, dict):
        return value
    return {name: v for name, v in {**before, **value}.items() if v is not None or name not in before}


_SAME = {
    "generation.max_tokens": "generation.max_completion_tokens",
    "generation.max_completion_tokens": "generation.max_tokens",
}
_NESTED = (*GROUPS, "headers")


def _spec_keywords(spec_llm: LLM | None) -> dict[str, Any]:
    return {} if spec_llm is None else {f"generation.{k}": v for k, v in spec_llm.keywords().items()}


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if key in _NESTED:
            flat |= {f"{key}.{name}": v for name, v in (value or {}).items()}
        else:
            flat[key] = value
    return flat


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        group, dot, name = key.partition(".")
        if dot:
            nested.setdefault(group, {})[name] = value
        else:
            nested[key] = value
    return nested


def _resolved(layers: _Layers, environ: Mapping[str, str], *, need_key: bool) -> Resolved:
    try:
        config = LLMConfig.model_validate(_nested(layers.values))
    except ValidationError as error:
        faults = [f"{layers.origins.get(dotted(e['loc']), 'llm')}: {explained(e)}" for e in errors(error)]
        raise ConfigError("\n".join(faults)) from None
    if not need_key:
        return Resolved(config, layers.origins, config.generation.keywords())
    key = _key(config, environ)
    headers = {name: _filled(name, text, environ) for name, text in config.headers.items()}
    return Resolved(config, layers.origins, config.generation.keywords(), key, headers)


# Flags


def _flags(
    model: str | None, base_url: str | None, concurrency: int | None, overrides: Mapping[str, Any]
) -> dict[str, tuple[Any, str]]:
    """Return dotted key to value and origin."""
    flags: dict[str, tuple[Any, str]] = {}
    for key, value in overrides.items():
        flags[_override_key(key)] = (_override_value(_override_key(key), value), f"flag --set {key}")
    if model is not None:
        flags["model"] = (model, "flag --model")
    if base_url is not None:
        flags["base_url"] = (base_url, "flag --base-url")
    if concurrency is not None:
        flags["limits.concurrency"] = (concurrency, "flag --concurrency")
    if "base_url" in flags:
        value, origin = flags["base_url"]
        try:
            checked_address(str(value))
        except ValueError as error:
            raise ConfigError(f"{origin}: {error}") from None
    return flags


def _override_key(key: str) -> str:
    group, _, name = key.partition(".")
    own = [n for n in LLMConfig.model_fields if n not in _NESTED]
    if group == "llm" and name in own:
        return name
    groups = GROUPS | {"llm": LLM}
    if group not in groups or name not in groups[group].model_fields:
        known = [f"llm.{n}" for n in (*own, *LLM.model_fields)] + [f"limits.{n}" for n in Limits.model_fields]
        raise ConfigError(f"--set {key}: no such key; {did_you_mean(key, known)}")
    return f"{'generation' if group == 'llm' else group}.{name}"


def _override_value(key: str, value: Any) -> Any:
    """Parse a text as YAML if the key does not take text."""
    if not isinstance(value, str):
        return value
    if value == "null" and key.startswith("generation."):
        return None
    try:
        LLMConfig.model_validate(_nested({key: value}))
    except ValidationError:
        return value if key.split(".", maxsplit=1)[0] in SECRET_KEYS else scalar(value)
    return value


# When no flag or file names the endpoint


def _of_a_file(layers: _Layers, environ: Mapping[str, str], *, runs: bool) -> Resolved:
    """Return the config for a model in this process: no address, no key, and as much concurrency as it has slots."""
    layers.drop("base_url", "api_key_env", "api_version")
    model = layers.values.get("model")
    if not isinstance(model, str):
        raise ConfigError("`provider: llamacpp` needs a model: --model FILE.gguf, or hf://owner/repository/FILE.gguf")
    if runs and find_spec("xllamacpp") is None:
        raise ConfigError("`provider: llamacpp` runs the model in this process: pip install 'distask[llamacpp]'")
    model_file(model, fetch=False)
    resolved = _resolved(layers, environ, need_key=False)
    if "limits.concurrency" in layers.values:
        return resolved
    slots = resolved.config.llamacpp.slots
    limits = resolved.config.limits.model_copy(update={"concurrency": slots})
    return replace(resolved, config=resolved.config.model_copy(update={"limits": limits}))


def _fill_in(layers: _Layers, spec_llm: LLM | None, environ: Mapping[str, str]) -> None:
    """Fill in address, key and model from the environment, the spec and the defaults."""
    azure = layers.values.get("provider") == "azure"
    given = "base_url" in layers.values
    if not given:
        names = ("AZURE_OPENAI_ENDPOINT",) if azure else ("OPENAI_BASE_URL", "OPENAI_API_BASE")
        _take_address(layers, environ, names)
    if not given and "base_url" not in layers.values:
        if azure:
            raise ConfigError("Azure needs your resource's address: --base-url URL, or set AZURE_OPENAI_ENDPOINT")
        layers.put("base_url", OPENAI_URL, "default")
    if "api_key_env" not in layers.values:
        _take_key(layers, environ, azure=azure)
    if azure and "/openai/v1" not in str(layers.values["base_url"]) and "api_version" not in layers.values:
        layers.put("api_version", environ.get("OPENAI_API_VERSION", AZURE_VERSION), "default")
    if "model" in layers.values:
        return
    if not given and environ.get("OPENAI_MODEL"):
        layers.put("model", environ["OPENAI_MODEL"], "environment OPENAI_MODEL")
    elif spec_llm is not None and spec_llm.model:
        layers.put("model", spec_llm.model, "spec")
    elif _host(layers.values["base_url"]) == _host(OPENAI_URL):
        layers.put("model", DEFAULT_MODEL, "default")


def _take_address(layers: _Layers, environ: Mapping[str, str], names: Iterable[str]) -> None:
    for name in names:
        value = environ.get(name, "").strip()
        if value:
            try:
                layers.put("base_url", checked_address(value), f"environment {name}")
            except ValueError as error:
                raise ConfigError(f"environment variable {name}: {error}") from None
            return


def _take_key(layers: _Layers, environ: Mapping[str, str], *, azure: bool) -> None:
    """Use the environment's key only for the environment's endpoint, or for the provider it is named after."""
    name = "AZURE_OPENAI_API_KEY" if azure else OPENAI_KEY
    host = _host(layers.values["base_url"])
    needs_it = azure or host == _host(OPENAI_URL)
    if needs_it or (environ.get(name) and host == _host(environ.get("OPENAI_BASE_URL", ""))):
        layers.put("api_key_env", name, "default")


def _take_local(layers: _Layers, spec_llm: LLM | None, ports: Mapping[str, int] | None) -> None:
    found = model_list.discover(ports)
    if found is None:
        raise ConfigError(_nothing_found())
    origin = f"a local server ({found.name})"
    layers.put("base_url", found.base_url, origin)
    wanted = spec_llm.model if spec_llm is not None else None
    if wanted in found.models:
        layers.put("model", wanted, "spec")
    else:
        layers.put("model", found.models[0], f"{origin}, its first model")
    if "limits.concurrency" not in layers.values:
        layers.put("limits.concurrency", found.concurrency, origin)


def _with_listed_model(resolved: Resolved) -> Resolved:
    config = resolved.config
    assert config.base_url is not None
    listed = model_list.listed(config.base_url, resolved.sent_headers())
    if not listed:
        raise ConfigError(
            f"no model is set, and {config.base_url} lists none; check that the server is running, or set --model NAME"
        )
    origin = "the first that the server lists"
    return Resolved(
        config.model_copy(update={"model": listed[0]}),
        {**resolved.origins, "model": origin},
        resolved.generation,
        resolved.api_key,
        resolved.headers,
    )


def _host(url: str) -> str | None:
    return urlsplit(url).hostname


def _nothing_found() -> str:
    return f"""\
no LLM is configured, and no local server responds. Options:

  a key            export OPENAI_API_KEY=...    then run again: uses {DEFAULT_MODEL}; --model NAME for another
  another server   --base-url https://HOST/v1 --model NAME    any OpenAI-compatible server
  a config         --config NAME, one of
{fill(", ".join(configs()), 100, initial_indent=" " * 19, subsequent_indent=" " * 19)}
  a local model    ollama serve; ollama pull qwen3    Ollama, LM Studio, vLLM and llama-server are detected
  no model         --config offline    a test run with simulated replies from the spec"""


# Secrets


def _key(config: LLMConfig, environ: Mapping[str, str]) -> str | None:
    name = config.api_key_env
    if name is None:
        return None
    value = environ.get(name, "").strip()
    if not value:
        raise ConfigError(
            f"the environment variable {name} is not set or empty: export {name}=..., or use another --config"
        )
    return _sendable(value, f"the key in {name}")


def _filled(header: str, text: str, environ: Mapping[str, str]) -> str:
    missing = [name for name in REFERENCE.findall(text) if not environ.get(name, "").strip()]
    if missing:
        raise ConfigError(f"headers.{header}: the environment variable {missing[0]} is not set")
    filled = REFERENCE.sub(lambda m: environ[m.group(1)].strip(), text)
    return _sendable(filled, f"the value of headers.{header}")


def _sendable(value: str, what: str) -> str:
    if any(not 32 <= ord(c) < 127 for c in value):
        raise ConfigError(f"{what} contains a line break or another character not allowed in a header; set it again")
    return value
