"""Define what carries calls to a server: responses, faults and their limits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_REPLY_BYTES = 32 << 20
CONNECT_SECONDS = 15.0
"""Seconds a server may take to accept a connection."""
IDLE_SECONDS = 30.0
"""Seconds an idle connection is kept: less than servers and load balancers keep theirs."""

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
"""Hosts that never use a proxy from the environment."""
PRIVATE_ADDRESS = re.compile(r"(127|10)\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|169\.254\.")
"""Prefixes of private and link-local IPv4 addresses (RFC 1918, RFC 3927)."""


def is_local(url: str) -> bool:
    """Return whether an address is on this machine or in a private network."""
    host = urlsplit(url).hostname or ""
    if host in LOCAL_HOSTS or "." not in host or host.endswith((".local", ".internal", ".lan")):
        return True
    return bool(PRIVATE_ADDRESS.match(host))


class Response(Struct, frozen=True):
    """A server's response, whatever its status. The names in `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Fault(Exception):  # noqa: N818 - a server or network fault, turned into a failure by `classify`
    """A call without a response; `kind` is one of `failure_rules.FAULTS`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Oversize(Fault):
    """A response larger than the limit."""

    def __init__(self) -> None:
        super().__init__("oversize", f"the reply is larger than {MAX_REPLY_BYTES >> 20} MiB")


class Transport(Protocol):
    """Carries calls to one server, and keeps its connections."""

    async def exchange(self, path: str, body: bytes | None) -> Response:
        """Send `body` by POST, or GET if it is None; raises `Fault` if no complete response comes."""

    async def close(self) -> None:
        """Close all connections."""
