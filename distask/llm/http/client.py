"""Send bytes to one server and get its response: all of distask's HTTP, behind two calls.

Servers on plain HTTP without a proxy, as most local ones are, use `direct`, which costs least; `pooled` handles TLS,
HTTP/2 and proxies. What a response means is decided elsewhere. A call has one deadline for connecting and reading, the
size of a response is limited, and redirects are not followed: the prompt goes only to the server that was named.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from distask.llm.http.transport import LOCAL_HOSTS, Fault, Response, Transport

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping


class Http:
    """One server's connections, kept alive between calls.

    Args:
        base_url: the URL that paths are appended to.
        headers: sent with each call, including the key.
        timeout: seconds for a call, from connecting to the last byte of the response.
        connections: maximum number of idle connections to keep.
    """

    def __init__(
        self, base_url: str, headers: Mapping[str, str] | None = None, *, timeout: float = 600, connections: int = 256
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._headers = {
            "content-type": "application/json",
            "accept": "application/json",
            "user-agent": "distask",
            **{name.lower(): value for name, value in (headers or {}).items()},
        }
        self._timeout = timeout
        self._connections = connections
        self._transport: Transport | None = None

    def post_json(self, path: str, body: bytes) -> Coroutine[Any, Any, Response]:
        """Send JSON; raises `Fault` if no complete response comes."""
        return (self._transport or self._open()).exchange(path, body)

    def get(self, path: str) -> Coroutine[Any, Any, Response]:
        """Fetch a path; raises `Fault` if no complete response comes."""
        return (self._transport or self._open()).exchange(path, None)

    async def close(self) -> None:
        """Close all connections."""
        if self._transport is not None:
            await self._transport.close()
            self._transport = None

    def _open(self) -> Transport:
        if any(not _sendable(value) for value in self._headers.values()):  # the header is not shown because it is a key
            raise Fault("refused", "a header contains a character that can't be sent")
        _allow_open_files(self._connections)
        if self.base_url.startswith("http://") and not _is_proxied(self.base_url):
            from distask.llm.http.direct import DirectTransport

            self._transport = DirectTransport(self.base_url, self._headers, self._timeout, self._connections)
        else:
            from distask.llm.http.pooled import PooledTransport

            self._transport = PooledTransport(self.base_url, self._headers, self._timeout, self._connections)
        return self._transport


def _sendable(value: str) -> bool:
    return all(character == "\t" or 32 <= ord(character) < 127 for character in value)


def _is_proxied(url: str) -> bool:
    """Return whether the environment (HTTP_PROXY, ALL_PROXY, NO_PROXY) sets a proxy for plain HTTP to this server."""
    host = urlsplit(url).hostname or ""
    has_proxy = any(os.environ.get(name) for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"))
    if host in LOCAL_HOSTS or not (has_proxy or sys.platform in ("darwin", "win32")):  # these have system settings
        return False
    from urllib.request import getproxies, proxy_bypass  # importing it takes as long as this entire module

    proxies = getproxies()
    return bool(proxies.get("http") or proxies.get("all")) and not proxy_bypass(host)


FILES_BESIDE = 256
"""Maximum number of files a run has open in addition to its connections."""


def _allow_open_files(connections: int) -> None:
    """Raise the process's limit on open files, often 1,024, if connections would reach it."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(most, soft), hard))
