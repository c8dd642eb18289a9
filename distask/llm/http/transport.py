"""What carries calls to a server: answers, faults, and the limits of both."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_REPLY_BYTES = 32 << 20
CONNECT_SECONDS = 15.0
"""How long a server may take to accept a connection."""
IDLE_SECONDS = 30.0
"""How long a connection that nobody uses is kept: less than servers and balancers keep theirs."""

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
"""Hosts that no proxy of the environment is asked for."""
PRIVATE_ADDRESS = re.compile(r"(127|10)\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|169\.254\.")
"""The first numbers of IPv4 addresses that the public network does not have (RFC 1918, RFC 3927)."""


def is_local(url: str) -> bool:
    """Whether an address is one of this machine or of a private network."""
    host = urlsplit(url).hostname or ""
    if host in LOCAL_HOSTS or "." not in host or host.endswith((".local", ".internal", ".lan")):
        return True
    return bool(PRIVATE_ADDRESS.match(host))


class Response(Struct, frozen=True):
    """A server's answer, whatever its status. The names in `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Fault(Exception):  # noqa: N818 - the server's or the network's, turned into a failure by `retry`
    """A call without an answer; `kind` is one of `retry.FAULTS`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Oversize(Fault):
    """An answer that is larger than any may be."""

    def __init__(self) -> None:
        super().__init__("oversize", f"the reply is larger than {MAX_REPLY_BYTES >> 20} MiB")


class Transport(Protocol):
    """What carries calls to one server, and keeps its connections."""

    async def exchange(self, path: str, body: bytes | None) -> Response:
        """POST `body`, or GET where there is none; raises `Fault` where no whole answer comes."""

    async def close(self) -> None:
        """Close all connections."""
