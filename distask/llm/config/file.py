"""Read a config file and report all of its errors, each with its place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from distask.diagnostics import Diagnostic, did_you_mean, nearest
from distask.errors import ConfigError, SpecError
from distask.llm.config.model import GROUPS, LLMConfig
from distask.spec.document import Document
from distask.spec.gallery import configs

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRET_KEYS = ("api_key_env", "base_url", "headers", "api_key")
"""Keys whose line is never shown in an error, because people put API keys there."""


def read_config(path: str | Path) -> LLMConfig:
    """Read a config file on its own; raises `ConfigError` with all its errors."""
    return LLMConfig.model_validate(read(path)[0])


def find_config(source: str | Path) -> Path:
    """Return the file of a config: a built-in config's name, or a path."""
    known = configs()
    if str(source) in known:
        return known[str(source)]
    path = Path(source)
    try:
        if path.is_file():
            return path
    except (OSError, ValueError) as error:
        raise ConfigError(f"the config {source} can't be opened: {getattr(error, 'strerror', None) or error}") from None
    close = nearest(str(source), known)
    hint = f"did you mean `{close}`?" if close else f"built-in configs: {', '.join(known)}"
    raise ConfigError(f"there is no config `{source}`: it is not a file or a built-in config ({hint})")


def built_in(name: str) -> str:
    """Check and return the name of a built-in config, as used in specs; raises `ConfigError`.

    With a file, a spec from elsewhere could send the user's key to any server.
    """
    known = configs()
    if name in known:
        return name
    hint = did_you_mean(name, known) or f"built-in configs: {', '.join(known)}"
    raise ConfigError(f"a spec can only name a built-in config, and `{name[:100]}` is not one; {hint}")


def read(source: str | Path) -> tuple[dict[str, Any], str]:
    """Return a config file's keys, and its path for messages; raises `ConfigError`."""
    path = find_config(source)
    try:
        document = Document.parse(path.read_text(encoding="utf-8"), str(path))
    except SpecError as error:
        raise ConfigError(str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from None
    check(document.data, document, str(path))
    return document.data, str(path)


def check(data: Any, document: Document | None, name: str) -> None:
    """Raise `ConfigError` with all errors in a file, or in keys from Python."""
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: a config must be a mapping of keys such as `provider` and `model`")
    try:
        LLMConfig.model_validate(data)
    except ValidationError as error:
        faults = [_fault(e, document, name) for e in errors(error)]
    else:
        return
    raise ConfigError("\n\n".join(faults))


def _fault(error: Any, document: Document | None, name: str) -> str:
    path, words = error["loc"], explained(error)
    if document is None:
        return f"{name}: {words}"
    unknown = error["type"] == "extra_forbidden"
    if str(path[0]) in SECRET_KEYS:
        line, column = document.position(path, key=unknown)
        return str(Diagnostic(document.file, line, column, words))
    message, _, hint = words.partition("; ")
    return str(document.diagnostic(path, message, hint or None, key=unknown))


def errors(error: ValidationError) -> Sequence[Any]:
    """Return pydantic's errors without the values, which may be secrets."""
    return error.errors(include_url=False, include_context=False, include_input=False)


def explained(error: Any) -> str:
    """Describe one of them in a sentence; text after `; ` is a hint."""
    key = dotted(error["loc"])
    if error["type"] == "extra_forbidden":
        if key == "api_key":
            return "`api_key`: don't put a key in a file; name its environment variable in `api_key_env`"
        hint = did_you_mean(str(error["loc"][-1]), _known(error["loc"]))
        return f"unknown key `{key}`; {hint}" if hint else f"unknown key `{key}`"
    if key == "api_key_env":
        return "`api_key_env` must be the name of an environment variable, not a key"
    if key == "provider":
        return "`provider` must be openai (any OpenAI-compatible server), azure, llamacpp or offline"
    words = error["msg"].removeprefix("Value error, ")
    return f"`{key}`: {words[:1].lower()}{words[1:]}"


def _known(path: Sequence[Any]) -> list[str]:
    if len(path) == 1:
        return list(LLMConfig.model_fields)
    group = GROUPS.get(str(path[0]))
    return [name for name in group.model_fields if name != "model"] if group is not None else []


def dotted(path: Sequence[Any]) -> str:
    """Return a key as `--set` names it."""
    return ".".join(str(step) for step in path)
