"""List the models of a server, and find the servers on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import Struct

from distask.llm.http.transport import LOCAL_HOSTS

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBE_SECONDS = 0.3
LARGEST_LIST = 8 << 20

LOCAL_PORTS: dict[str, int] = {"Ollama": 11434, "LM Studio": 1234, "vLLM": 8000, "llama-server": 8080}
"""Local servers, in search order."""
SLOTS = {"vLLM": 256}
"""Calls that a local server processes at once; the others queue everything beyond a few."""
FEW_SLOTS = 8


class Found(Struct, frozen=True):
    """A server on this machine."""

    name: str
    base_url: str
    models: list[str]
    concurrency: int


def discover(ports: Mapping[str, int] | None = None) -> Found | None:
    """Return the first local server that lists a model."""
    for name, port in (LOCAL_PORTS if ports is None else ports).items():
        base_url = f"http://127.0.0.1:{port}/v1"
        models = listed(base_url, timeout=PROBE_SECONDS)
        if models:
            return Found(name, base_url, models, SLOTS.get(name, FEW_SLOTS))
    return None


def listed(base_url: str, headers: Mapping[str, str] | None = None, *, timeout: float = 5) -> list[str]:
    """Return the names from `GET /models`; empty if the server does not respond with a list."""
    import urllib.request
    from http.client import HTTPException

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    handlers: list[Any] = [NoRedirect]
    if urlsplit(base_url).hostname in LOCAL_HOSTS:
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{base_url}/models", headers=dict(headers or {}))  # noqa: S310 - http or https
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as answer:
            data = json.loads(answer.read(LARGEST_LIST))
    except (OSError, ValueError, RecursionError, HTTPException):
        return []
    models = data.get("data") if isinstance(data, dict) else None
    names = [m.get("id") for m in models if isinstance(m, dict)] if isinstance(models, list) else []
    return [name for name in names if isinstance(name, str)]
