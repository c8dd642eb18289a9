"""Find the GGUF file that a config names: on this machine, or on the Hub, from which it is downloaded once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from distask.errors import ConfigError

HUB = "hf://"
ENDS = 1 << 20
"""Bytes at each end of a file that identify it: its metadata and vocabulary, and weights."""
_MAGIC = b"GGUF"


def model_file(model: str, *, fetch: bool = True) -> Path | None:
    """Return the file of `PATH.gguf` or `hf://owner/repository/FILE.gguf`; None if it is on the Hub and not downloaded.

    Raises:
        ConfigError: the file does not exist, or is not GGUF.
    """
    if model.startswith(HUB):
        found = _from_hub(model, fetch=fetch)
        if found is None:
            return None
    else:
        found = Path(os.path.expanduser(model))  # noqa: PTH111 - Path.expanduser raises if there is no home folder
    try:
        with found.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ConfigError(f"the model {model} can't be read: {error.strerror}; `model` is a GGUF file's path") from None
    if magic != _MAGIC:
        raise ConfigError(f"{model} is not a GGUF file; convert it, or use {HUB}owner/repository/FILE.gguf")
    return found


def identity(file: Path) -> str:
    """Return an identifier of a model file, whatever its name: its size and both its ends, hashed."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        ends = opened.read(ENDS)
        opened.seek(max(0, size - ENDS))
        ends += opened.read(ENDS)
    return hashlib.blake2b(ends, digest_size=8, salt=size.to_bytes(8, "big")).hexdigest()


def _from_hub(model: str, *, fetch: bool) -> Path | None:
    owner, _, rest = model.removeprefix(HUB).partition("/")
    repository, _, name = rest.partition("/")
    if not (owner and repository and name):
        raise ConfigError(f"`model: {model}` does not name a file; write {HUB}owner/repository/FILE.gguf")
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not fetch:
        cached = try_to_load_from_cache(f"{owner}/{repository}", name)
        return Path(cached) if isinstance(cached, str) else None
    try:
        return Path(hf_hub_download(f"{owner}/{repository}", name))
    except LocalEntryNotFoundError as error:
        raise ConfigError(f"can't download {model}: the Hub does not respond ({error.__cause__ or error})") from None
    except HfHubHTTPError as error:
        reason = (error.server_message or str(error)).splitlines()[0]
        raise ConfigError(f"can't download {model}: {reason}; for a gated model, set HF_TOKEN") from None
