"""Send bytes to one server and get its answer: the whole of distask's HTTP, on pyreqwest.

What an answer means is `retry`'s business. A call has one deadline around connecting and reading, its answer is read
as a stream up to a bound, and no redirect is followed: the prompt goes nowhere but to the server that was named.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyreqwest.client import Client
    from pyreqwest.request import StreamRequest

MAX_REPLY_BYTES = 32 << 20
CONNECT_SECONDS = 15.0
"""How long a server may take to accept a connection."""
IDLE_SECONDS = 30.0
"""How long a connection that nobody uses is kept: less than servers and balancers keep theirs."""

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
"""Hosts that no proxy of the environment is asked for."""


@dataclass(frozen=True, slots=True)
class Response:
    """A server's answer, whatever its status. The names in `headers` are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Fault(Exception):  # noqa: N818 - the server's or the network's, turned into a failure by `retry`
    """A call without an answer; `kind` is one of `retry.FAULTS`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Http:
    """One server's connections, kept alive between calls.

    Args:
        base_url: what paths are appended to.
        headers: sent with each call, the key among them.
        timeout: seconds that a call may take, from connecting to the answer's last byte.
        connections: how many idle connections are kept.
    """

    def __init__(
        self, base_url: str, headers: Mapping[str, str] | None = None, *, timeout: float = 120, connections: int = 256
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._headers = {"content-type": "application/json", "accept": "application/json", **(headers or {})}
        self._timeout = timeout
        self._connections = connections
        self._client: Client | None = None

    async def post_json(self, path: str, body: bytes) -> Response:
        """Send a JSON text; raises `Fault` where no whole answer comes."""
        return await _exchange(self._connected().post(self.base_url + path).body_bytes(body).build_streamed())

    async def get(self, path: str) -> Response:
        """Fetch a path; raises `Fault` where no whole answer comes."""
        return await _exchange(self._connected().get(self.base_url + path).build_streamed())

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _connected(self) -> Client:
        if self._client is None:
            try:
                self._client = self._open()
            except ValueError:  # its words hold the header
                raise Fault("refused", "a header holds a character that can't be sent") from None
        return self._client

    def _open(self) -> Client:
        from pyreqwest.client import ClientBuilder

        # HTTP/1.1 only: over HTTP/2 all calls would share one connection, and the server's bound on its streams
        # (often 100) would cap what is in flight.
        builder = (
            ClientBuilder()
            .user_agent("distask")
            .default_headers(self._headers)
            .error_for_status(False)
            .follow_redirects(False)
            .referer(False)
            .timeout(timedelta(seconds=self._timeout))
            .connect_timeout(timedelta(seconds=min(CONNECT_SECONDS, self._timeout)))
            .pool_max_idle_per_host(self._connections)
            .pool_idle_timeout(timedelta(seconds=IDLE_SECONDS))
        )
        if urlsplit(self.base_url).hostname in LOCAL_HOSTS:
            builder = builder.no_proxy()
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            bundle = os.environ.get(name)
            if bundle and Path(bundle).is_file():
                for certificate in _certificates(Path(bundle).read_text(errors="replace")):
                    builder = builder.add_root_certificate_pem(certificate)
                break
        return builder.build()


async def _exchange(request: StreamRequest) -> Response:
    from pyreqwest.exceptions import PyreqwestError

    try:
        async with request as answer:
            reader = answer.body_reader
            chunks: list[bytes] = []
            size = 0
            while (chunk := await reader.read_chunk()) is not None:
                chunks.append(chunk.to_bytes())
                size += len(chunks[-1])
                if size > MAX_REPLY_BYTES:
                    raise Fault("oversize", f"the reply is larger than {MAX_REPLY_BYTES >> 20} MiB")
            return Response(answer.status, answer.headers, chunks[0] if len(chunks) == 1 else b"".join(chunks))
    except PyreqwestError as error:
        raise _fault(error) from None


def _fault(error: Exception) -> Fault:
    """What went wrong, from the words of the chain of causes."""
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
        return Fault("timeout", "the server did not answer in time")
    if connecting:
        return Fault("refused", f"can't connect: {last}")
    return Fault("reset", f"the connection broke: {last}")


def _certificates(bundle: str) -> list[bytes]:
    end = "-----END CERTIFICATE-----"
    begin = "-----BEGIN CERTIFICATE-----"
    return [(begin + part.split(begin, 1)[1] + end).encode() for part in bundle.split(end) if begin in part]
