"""Send plain HTTP/1.1 directly to a server: event loop connections, with httptools as the parser.

A call costs a future, a write and a read; everything reusable is kept for the next call.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, urlsplit

from httptools import HttpParserError, HttpResponseParser

from distask.llm.http import transport
from distask.llm.http.transport import CONNECT_SECONDS, IDLE_SECONDS, Fault, Oversize, Response

if TYPE_CHECKING:
    from collections.abc import Mapping

READ_BYTES = 64 << 10
"""Bytes to read from a connection at a time."""


class DirectTransport:
    """The connections to one server; see `http.Http` for the arguments."""

    def __init__(self, base_url: str, headers: Mapping[str, str], timeout: float, connections: int) -> None:
        parts = urlsplit(base_url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._path = parts.path
        self._headers = "".join(f"{name.title()}: {value}\r\n" for name, value in headers.items())
        self._host_header = parts.netloc.encode("idna").decode() if not parts.netloc.isascii() else parts.netloc
        self._timeout = timeout
        self._most_idle = connections
        self._heads: dict[tuple[str, bool], bytes] = {}
        self._idle: list[tuple[_Connection, float]] = []  # last in, first out
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deadlines: dict[_Connection, float] = {}  # ordered by deadline, because all have the same timeout
        self._alarm: asyncio.TimerHandle | None = None
        self.buffer = memoryview(bytearray(READ_BYTES))  # shared: its content is parsed before the next read

    async def exchange(self, path: str, body: bytes | None) -> Response:
        """Send `body` by POST, or GET if it is None; raises `Fault` if no complete response comes."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        connection = self._kept(loop, now) or await self._connect(loop)
        head = self._heads.get((path, body is None)) or self._head(path, body)
        data = head if body is None else b"%b%d\r\n\r\n%b" % (head, len(body), body)
        self._deadlines[connection] = now + self._timeout
        if self._alarm is None:
            self._alarm = loop.call_at(now + self._timeout, self._end_late_ones, loop)
        try:
            response = await connection.ask(data, loop)
        except BaseException:  # on cancellation too: a late response must not be reused
            connection.abort()
            raise
        finally:
            del self._deadlines[connection]
        if connection.is_reusable and len(self._idle) < self._most_idle:
            self._idle.append((connection, loop.time()))
        else:
            connection.abort()
        return response

    async def close(self) -> None:
        """Close all connections."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        for connection, _ in self._idle:
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # sockets are closed in the loop's next iteration

    def _head(self, path: str, body: bytes | None) -> bytes:
        """Return a request's head up to its length; cached, since almost all requests have the same path."""
        method, end = ("GET", "\r\n") if body is None else ("POST", "Content-Length: ")
        target = quote(self._path + path, safe="/%:@!$&'()*+,;=~?-._")
        made = f"{method} {target} HTTP/1.1\r\nHost: {self._host_header}\r\n{self._headers}{end}".encode("ascii")
        self._heads[path, body is None] = made
        return made

    def _kept(self, loop: asyncio.AbstractEventLoop, now: float) -> _Connection | None:
        if loop is not self._loop:  # connections of an ended loop are dead
            self._loop = loop
            self._idle.clear()
        while self._idle:
            connection, since = self._idle.pop()
            if now - since < IDLE_SECONDS and connection.is_reusable:
                return connection
            connection.abort()
        return None

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> _Connection:
        try:
            async with asyncio.timeout(min(CONNECT_SECONDS, self._timeout)):
                _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
        except TimeoutError:
            raise Fault("unreachable", "the server does not accept connections (timed out)") from None
        except socket.gaierror as error:
            raise Fault("dns", f"the server's name can't be resolved ({error.strerror or error})") from None
        except OSError as error:
            raise Fault("refused", f"can't connect: {error.strerror or error}") from None
        return connection

    def _end_late_ones(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection, deadline in list(self._deadlines.items()):
            if deadline > now:
                break
            connection.fail(Fault("timeout", "the server did not respond in time"))
        waiting = next((d for d in self._deadlines.values() if d > now), None)
        self._alarm = None if waiting is None else loop.call_at(waiting, self._end_late_ones, loop)


class _Connection(asyncio.BufferedProtocol):
    """One connection, which carries one call at a time. The parser calls the `on_…` methods."""

    def __init__(self, pool: DirectTransport) -> None:
        self._pool = pool
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Response] | None = None
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self._is_headed = False  # whether all response headers have arrived
        self.is_reusable = True

    def ask(self, data: bytes, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Response]:
        """Send a request; the future's result is its response or a `Fault`."""
        self._headers, self._chunks, self._size, self._is_headed = {}, [], 0, False
        self._answer = answer = loop.create_future()
        if self._transport is None or not self.is_reusable:
            self.fail(Fault("reset", "the connection broke: closed by the server"))
        else:
            self._transport.write(data)
        return answer

    def fail(self, fault: Fault) -> None:
        """Fail the current call and close the connection."""
        self.is_reusable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(fault)
        self._answer = None
        self.abort()

    def abort(self) -> None:
        """Close the connection, whatever its state."""
        self.is_reusable = False
        if self._transport is not None:
            self._transport.abort()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport has another base class

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        return self._pool.buffer

    def buffer_updated(self, nbytes: int) -> None:
        try:
            self._parser.feed_data(self._pool.buffer[:nbytes])
        except HttpParserError as error:
            self.fail(Fault("reset", f"the response is not HTTP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_reusable = False
        if self._answer is None:
            return
        if self._is_headed and not self._headers.keys() & {"content-length", "transfer-encoding"}:
            self.on_message_complete()  # a response without a length ends with its connection
        else:
            words = getattr(exc, "strerror", None) or (str(exc) if exc else "closed by the server")
            self.fail(Fault("reset", f"the connection broke: {words}"))

    # Called by the parser

    def on_message_begin(self) -> None:
        if self._answer is None:  # no request is waiting
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._is_headed = self._parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._size += len(body)
        if self._size > transport.MAX_REPLY_BYTES:
            self.fail(Oversize())

    def on_message_complete(self) -> None:
        if not self._is_headed:  # 100 Continue: the response is still to come
            self._headers = {}
            return
        answer, chunks = self._answer, self._chunks
        self._answer, self._chunks = None, []
        if answer is None or answer.done():  # too large; cancelled
            return
        self.is_reusable = self.is_reusable and self._parser.should_keep_alive()
        status = self._parser.get_status_code()
        answer.set_result(Response(status, self._headers, chunks[0] if len(chunks) == 1 else b"".join(chunks)))
