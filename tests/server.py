"""An HTTP server that speaks OpenAI's chat completions from a script: what models and their outages look like to a client."""

from __future__ import annotations

import asyncio
import itertools
import threading
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable


ROUTES = ("/chat/completions", "/completions", "/embeddings", "/images/generations")
"""What is answered: chats, and what is none."""


@dataclass(slots=True)
class Reply:
    """An HTTP answer.

    `body`: a dict is sent as JSON, bytes as they are; a str is the model's reply where the status is 200, and sent as it is otherwise;
    None is what the server says of itself.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | dict | str | None = None
    delay: float = 0
    """Seconds before the answer begins."""
    drop: bool = False
    """Whether the connection is closed instead of answered."""
    drip: float = 0
    """Seconds between the bytes of the body."""
    cut: int | None = None
    """Bytes of the body that are sent before the connection is closed."""
    raw: bytes | None = None
    """What is sent instead of an HTTP answer, before the connection is closed."""


class ScriptedServer:
    """A server on 127.0.0.1, in a thread of its own.

    `reply` is called with each chat's body and says what comes back: the model's text, a whole body, or a `Reply`. It runs in the
    server's thread. Without one, the server repeats the last user's text.
    """

    def __init__(self, reply: Callable[[dict], str | dict | Reply | None] | None = None) -> None:
        self.reply = reply or echo
        self.honours_n = True
        self.delay = 0.0
        """Seconds that every chat takes, besides its own reply's delay."""
        self.models = ["m"]
        self.requests: list[dict] = []
        """The bodies of the chats, in the order they came."""
        self.headers_seen: list[dict[str, str]] = []
        """The headers of the chats, names in lower case."""
        self.paths: list[str] = []
        """The paths of all requests."""
        self.connections = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self._loop = asyncio.new_event_loop()
        self._transports: set[asyncio.Transport] = set()
        self._ids = itertools.count()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scripted-server", daemon=True)

    def start(self) -> ScriptedServer:
        """Listen on a free port."""
        self._thread.start()
        self._ready.wait(10)
        return self

    def close(self) -> None:
        """Close the port and all connections."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def settle(self) -> None:
        """Wait until every connection is closed: all that a client sent that is gone has been seen."""

        async def settled() -> None:
            while self._transports:  # noqa: ASYNC110 - it is a set, and no one tells when it is empty
                await asyncio.sleep(0.001)

        asyncio.run_coroutine_threadsafe(settled(), self._loop).result(60)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """What a client takes for its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=2048))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        loop.run_forever()
        server.close()
        for transport in list(self._transports):
            transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    def _answer(self, method: str, path: str, headers: dict[str, str], data: bytes) -> Reply:
        self.paths.append(path)
        route = path.partition("?")[0].rstrip("/")
        if route.endswith("/models") and method == "GET":
            return Reply(body={"object": "list", "data": [{"id": m, "object": "model"} for m in self.models]})
        if not route.endswith(ROUTES):
            return Reply(404, body={"error": {"message": f"no such path: {path}"}})
        if method != "POST":
            return Reply(405, body={"error": {"message": f"{method} is not allowed"}})
        body = orjson.loads(data)
        self.headers_seen.append(headers)
        self.requests.append(body)
        try:
            result = self.reply(body)
        except Exception as error:  # noqa: BLE001 - a broken script answers 500
            return Reply(500, body={"error": {"message": f"the script failed: {error!r}"}})
        made = result if isinstance(result, Reply) else Reply(body=result)
        text = echo(body) if made.body is None else made.body
        if isinstance(text, str) and made.status == 200:
            text = self.data(route, body, text) if "messages" not in body else self.completion(body, text)
        return replace(made, body=text, delay=made.delay + self.delay)

    def data(self, route: str, body: dict, text: str) -> dict:
        """The answer to what is no chat: the text as a continuation, an image's URL, or an embedding in JSON."""
        n = (body.get("n") or 1) if self.honours_n else 1
        usage = {"prompt_tokens": len(str(body.get("prompt", body.get("input"))).split()), "completion_tokens": 1}
        made = {"object": "list", "model": body.get("model", "m"), "usage": usage}
        if route.endswith("/embeddings"):
            return made | {"data": [{"object": "embedding", "index": 0, "embedding": orjson.loads(text)}]}
        if route.endswith("/images/generations"):
            return made | {"data": [{"url": text} if ":" in text else {"b64_json": text} for _ in range(n)]}
        return made | {"choices": [{"index": i, "text": text, "finish_reason": "stop"} for i in range(n)]}

    def completion(self, body: dict, text: str) -> dict:
        """The answer to a chat, its text in each of its choices."""
        n = (body.get("n") or 1) if self.honours_n else 1
        asked = sum(len(m["content"].split()) for m in body["messages"] if isinstance(m.get("content"), str))
        length = len(text.split())
        return {
            "id": f"chatcmpl-{next(self._ids)}",
            "object": "chat.completion",
            "model": body.get("model", "m"),
            "choices": [
                {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                for i in range(n)
            ],
            "usage": {"prompt_tokens": asked, "completion_tokens": length * n, "total_tokens": asked + length * n},
        }


def echo(body: dict) -> str:
    """The last user's text."""
    if "messages" not in body:
        return str(body.get("prompt", body.get("input")))
    for message in reversed(body["messages"]):
        if message["role"] == "user":
            content = message["content"]
            return content if isinstance(content, str) else "".join(p.get("text", "") for p in content)
    return ""


class _Connection(asyncio.Protocol):
    """One keep-alive connection: requests are answered in the order they come."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._buffer = b""
        self._busy = False
        self._open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._server.connections += 1
        self._server._transports.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False
        self._server._transports.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._busy:
            self._next()

    def _next(self) -> None:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        self._busy = True
        server = self._server
        server.in_flight += 1
        server.most_in_flight = max(server.most_in_flight, server.in_flight)
        method, path, _ = first.split(" ")
        reply = server._answer(method, path, headers, rest[:length])
        if reply.delay:
            server._loop.call_later(reply.delay, self._send, reply)
        else:
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        self._server.in_flight -= 1
        if not self._open:
            return
        if reply.drop:
            self._transport.abort()
            return
        if reply.raw is not None:
            self._transport.write(reply.raw)
            self._transport.close()
            return
        body = reply.body
        if not isinstance(body, bytes):
            body = body.encode() if isinstance(body, str) else orjson.dumps(body)
        kind = "application/json" if isinstance(reply.body, dict) else "text/plain"
        more = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        reason = HTTPStatus(reply.status).phrase if reply.status in HTTPStatus._value2member_map_ else "Status"
        head = f"HTTP/1.1 {reply.status} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
        if reply.cut is not None:
            self._transport.write(head.encode("latin-1") + body[: reply.cut])
            self._transport.close()
        elif reply.drip:
            self._transport.write(head.encode("latin-1"))
            self._drip(body, reply.drip)
        else:
            self._transport.write(head.encode("latin-1") + body)
            self._ended()

    def _drip(self, body: bytes, seconds: float) -> None:
        if not self._open:
            return
        if not body:
            self._ended()
            return
        self._transport.write(body[:1])
        self._server._loop.call_later(seconds, self._drip, body[1:], seconds)

    def _ended(self) -> None:
        self._busy = False
        if self._buffer:
            self._next()
