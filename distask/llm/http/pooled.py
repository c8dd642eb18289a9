"""Send HTTP over TLS and through proxies with pyreqwest: HTTP/2 if the server supports it, else HTTP/1.1."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError

from distask.llm.http import transport
from distask.llm.http.transport import CONNECT_SECONDS, IDLE_SECONDS, LOCAL_HOSTS, Fault, Oversize, Response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyreqwest.request import StreamRequest

STREAMS = 100
"""Calls that share an HTTP/2 connection: the minimum that servers accept, and the maximum of most."""


class PooledTransport:
    """The connections to one server; see `http.Http` for the arguments.

    All calls of one pyreqwest client share one HTTP/2 connection and wait for the server's limit on streams. So there
    are several clients, each for as many calls as any server accepts.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str], timeout: float, connections: int) -> None:
        self._base_url = base_url
        self._headers = dict(headers)
        self._timeout = timeout
        self._connections = connections
        self._lanes: list[_Lane] = []

    async def exchange(self, path: str, body: bytes | None) -> Response:
        """Send `body` by POST, or GET if it is None; raises `Fault` if no complete response comes."""
        lane = self._lane()
        url = self._base_url + path
        request = lane.client.get(url) if body is None else lane.client.post(url).body_bytes(body)
        lane.in_flight += 1
        try:
            return await _exchange(request.build_streamed())
        finally:
            lane.in_flight -= 1

    async def close(self) -> None:
        """Close all connections."""
        for lane in self._lanes:
            await lane.client.close()
        self._lanes.clear()

    def _lane(self) -> _Lane:
        """Return the first client with room, so that few calls share few connections."""
        for lane in self._lanes:
            if lane.in_flight < STREAMS:
                return lane
        if len(self._lanes) * STREAMS >= self._connections:
            return min(self._lanes, key=lambda lane: lane.in_flight)
        self._lanes.append(_Lane(self._open()))
        return self._lanes[-1]

    def _open(self) -> Client:
        builder = (
            ClientBuilder()
            .default_headers(self._headers)
            .error_for_status(False)
            .follow_redirects(False)
            .referer(False)
            .http2(True)
            .http2_adaptive_window(True)
            .timeout(timedelta(seconds=self._timeout))
            .connect_timeout(timedelta(seconds=min(CONNECT_SECONDS, self._timeout)))
            .pool_max_idle_per_host(STREAMS)
            .pool_idle_timeout(timedelta(seconds=IDLE_SECONDS))
        )
        if urlsplit(self._base_url).hostname in LOCAL_HOSTS:
            builder = builder.no_proxy()
        for certificate in _own_certificates():
            builder = builder.add_root_certificate_pem(certificate)
        return builder.build()


class _Lane:
    """A client and the number of calls it carries."""

    __slots__ = ("client", "in_flight")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.in_flight = 0


async def _exchange(request: StreamRequest) -> Response:
    try:
        async with request as answer:
            reader = answer.body_reader
            chunks: list[bytes] = []
            size = 0
            while (chunk := await reader.read_chunk()) is not None:
                chunks.append(chunk.to_bytes())
                size += len(chunks[-1])
                if size > transport.MAX_REPLY_BYTES:
                    raise Oversize
            return Response(answer.status, answer.headers, chunks[0] if len(chunks) == 1 else b"".join(chunks))
    except PyreqwestError as error:
        raise _fault(error) from None


def _fault(error: Exception) -> Fault:
    """Derive the fault from the words of an error's chain of causes."""
    causes: Sequence[Mapping[str, str]] = (getattr(error, "details", None) or {}).get("causes") or []
    words = [cause["message"] for cause in causes] or [str(error)]
    text = " / ".join(words).lower()
    connecting = "(connect)" in text
    last = words[-1]
    if "dns error" in text:
        return Fault("dns", f"the server's name can't be resolved ({last})")
    if "certificate" in text or "tls" in text or "handshake" in text or "invalidcontenttype" in text:
        return Fault("tls", f"no secure connection: {last}")
    if isinstance(error, TimeoutError):
        if connecting:
            return Fault("unreachable", "the server does not accept connections (timed out)")
        return Fault("timeout", "the server did not respond in time")
    if connecting:
        return Fault("refused", f"can't connect: {last}")
    return Fault("reset", f"the connection broke: {last}")


def _own_certificates() -> list[bytes]:
    """Return the certificates that the environment names, in addition to the usual trusted ones."""
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        bundle = os.environ.get(name)
        if bundle and Path(bundle).is_file():
            return _certificates(Path(bundle).read_text(errors="replace"))
    return []


def _certificates(bundle: str) -> list[bytes]:
    end = "-----END CERTIFICATE-----"
    begin = "-----BEGIN CERTIFICATE-----"
    return [(begin + part.split(begin, 1)[1] + end).encode() for part in bundle.split(end) if begin in part]
