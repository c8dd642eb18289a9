"""Calls reach the server that was named, whatever stands between: plain connections, TLS, HTTP/2, proxies."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.events
import pytest
import trustme

from distask.llm.http.client import Http
from distask.llm.http.transport import Fault

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-Id: r7\r\n\r\nok"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in (*PROXIES, "ssl_cert_file", "requests_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Wire:
    """A server of bytes: `answer` is called with each request's head and body, and says what is written."""

    def __init__(self, answer=lambda _head, _body: ANSWER):
        self.answer = answer
        self.heads = []
        self.connections = 0
        self.writers = []

    async def __call__(self, reader, writer):
        self.connections += 1
        self.writers.append(writer)
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                self.heads.append(head)
                length = int(head.lower().partition("content-length:")[2].partition("\r\n")[0] or 0)
                result = self.answer(head, await reader.readexactly(length))
                if asyncio.iscoroutine(result):
                    result = await result
                writer.write(result)
                if b"close" in result or (result is not ANSWER and b"ength" not in result and b"hunked" not in result):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass


@asynccontextmanager
async def served(wire, tls=None):
    writers = []

    async def serve(reader, writer):
        writers.append(writer)
        try:
            await wire(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, backlog=4096)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def client(url, **options):
    http = Http(url, {"authorization": "Bearer k"}, **{"timeout": 10, **options})
    try:
        yield http
    finally:
        await http.close()


async def answers(wire, count=1):
    """What `count` calls, one after the other, bring."""
    async with served(wire) as port, client(f"http://127.0.0.1:{port}/v1") as http:
        return [await http.post_json("/chat/completions", b'{"a":1}') for _ in range(count)]


# Plain HTTP


def test_a_call_is_one_request_with_the_key_and_the_body():
    bodies = []
    wire = Wire(lambda _head, body: bodies.append(body) or ANSWER)

    (response,) = asyncio.run(answers(wire))

    assert (response.status, response.body, response.headers["x-request-id"]) == (200, b"ok", "r7")
    assert bodies == [b'{"a":1}']
    lines = wire.heads[0].split("\r\n")
    assert lines[0] == "POST /v1/chat/completions HTTP/1.1"
    assert "Authorization: Bearer k" in lines
    assert "User-Agent: distask" in lines


@pytest.mark.parametrize(
    ("expected", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nTrailer: t\r\n\r\n",
            b"abc",
        ),
        (b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
    ],
    ids=["chunked", "continue", "ends with the connection", "no header at all", "empty", "http 1.0"],
)
def test_every_form_of_an_answer_is_read(expected, body):
    responses = asyncio.run(answers(Wire(lambda _head, _body: expected), count=2))

    assert [r.body for r in responses] == [body, body]


def test_an_answer_in_many_pieces_is_one_answer():
    async def work():
        async def drip(reader, writer):
            await reader.readuntil(b"\r\n\r\n{}")
            for byte in ANSWER:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)

        async with served(drip) as port, client(f"http://127.0.0.1:{port}") as http:
            return await http.post_json("/", b"{}")

    assert asyncio.run(work()).body == b"ok"


@pytest.mark.parametrize(
    "expected",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"<html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nConte",
        b"",
    ],
)
def test_what_is_no_whole_answer_is_a_broken_connection(expected):
    async def cut(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(expected)
        writer.close()

    with pytest.raises(Fault) as fault:
        asyncio.run(answers(cut))
    assert fault.value.kind == "reset"


def test_a_connection_that_the_server_closed_is_not_used_again():
    wire = Wire(lambda _head, _body: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    assert len(asyncio.run(answers(wire, count=3))) == 3
    assert wire.connections == 3


def test_a_connection_that_the_server_dropped_while_it_was_idle_is_not_used_again():
    async def work():
        wire = Wire()
        async with served(wire) as port, client(f"http://127.0.0.1:{port}") as http:
            await http.get("/models")
            wire.writers[0].close()
            await wire.writers[0].wait_closed()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return await http.get("/models"), wire.connections

    response, connections = asyncio.run(work())

    assert response.body == b"ok"
    assert connections == 2


def test_the_answer_to_a_cancelled_call_is_nobody_elses():
    """Its connection is closed: the next call would read what was meant for the one before."""

    async def work():
        asked = asyncio.Event()

        async def late(head, _body):
            if "/slow" in head:
                asked.set()
                await asyncio.Event().wait()
            return ANSWER

        wire = Wire(late)
        async with served(wire) as port, client(f"http://127.0.0.1:{port}") as http:
            slow = asyncio.create_task(http.get("/slow"))
            await asked.wait()
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
            return await http.get("/fast"), wire.connections

    response, connections = asyncio.run(work())

    assert response.body == b"ok"
    assert connections == 2


def test_each_call_has_its_own_deadline():
    """The first call that hangs ends, while one that began later still brings its answer."""

    async def work():
        go = asyncio.Event()

        async def some(head, _body):
            await (asyncio.Event() if "/hangs" in head else go).wait()
            return ANSWER

        async with served(Wire(some)) as port, client(f"http://127.0.0.1:{port}", timeout=0.2) as http:
            hangs = asyncio.create_task(http.get("/hangs"))
            with pytest.raises(Fault) as fault:
                await hangs
            later = asyncio.create_task(http.get("/later"))
            await asyncio.sleep(0)
            go.set()
            return fault.value.kind, (await later).body

    assert asyncio.run(work()) == ("timeout", b"ok")


@pytest.mark.battery
def test_two_thousand_calls_at_once_keep_two_thousand_connections():
    count = 2_000

    async def work():
        all_here = asyncio.Event()
        here = 0

        async def together(_head, _body):
            nonlocal here
            here += 1
            if here % count == 0:
                all_here.set()
            await all_here.wait()
            return ANSWER

        wire = Wire(together)
        async with served(wire) as port, client(f"http://127.0.0.1:{port}", timeout=60, connections=count) as http:
            for _ in range(2):
                all_here.clear()
                await asyncio.gather(*(http.post_json("/", b"{}") for _ in range(count)))
            return wire.connections

    assert asyncio.run(work()) == count


def test_a_key_that_no_header_can_carry_is_refused_without_a_word_of_it():
    async def work():
        await Http("http://127.0.0.1:1/v1", {"authorization": "Bearer k3y\nX: y"}).get("/models")

    with pytest.raises(Fault) as fault:
        asyncio.run(work())
    assert "k3y" not in str(fault.value)


# TLS


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def tls(authority):
    """A server's side of TLS, by an authority that nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "model.test").configure_cert(context)
    return context


@pytest.fixture
def bundle(authority, tmp_path):
    path = tmp_path / "company.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


async def over_tls(wire, tls, **options):
    async with served(wire, tls) as port, client(f"https://127.0.0.1:{port}/v1", **options) as http:
        return await http.post_json("/chat/completions", b"{}")


def test_a_certificate_of_nobody_is_refused(tls):
    with pytest.raises(Fault) as fault:
        asyncio.run(over_tls(Wire(), tls))
    assert fault.value.kind == "tls"


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_companys_own_certificates_are_read_from_the_environment(tls, bundle, monkeypatch, name):
    monkeypatch.setenv(name, bundle)

    assert asyncio.run(over_tls(Wire(), tls)).body == b"ok"


class Http2:
    """A server of HTTP/2 that takes 100 calls on a connection, and answers none before `together` are there."""

    def __init__(self, together):
        self.together = together
        self.waiting = []
        self.used = []

    async def __call__(self, reader, writer):
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        state.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 100})
        writer.write(state.data_to_send())
        while data := await reader.read(65536):
            for event in state.receive_data(data):
                if isinstance(event, h2.events.StreamEnded):
                    self.arrived(state, writer, event.stream_id)
            writer.write(state.data_to_send())

    def arrived(self, state, writer, stream):
        self.waiting.append((state, writer, stream))
        if len(self.waiting) < self.together:
            return
        self.used.append(len({id(writer) for _, writer, _ in self.waiting}))
        for state, writer, stream in self.waiting:
            state.send_headers(stream, [(":status", "200"), ("x-request-id", "r7")])
            state.send_data(stream, b"ok", end_stream=True)
            writer.write(state.data_to_send())
        self.waiting.clear()


def test_http2_is_spoken_where_the_server_has_it_and_its_bound_on_streams_caps_nothing(tls, bundle, monkeypatch):
    """150 calls are in flight at once at a server that takes 100 on a connection: two connections carry them.

    At first each call opens its own: none can know yet that they may share.
    """
    monkeypatch.setenv("SSL_CERT_FILE", bundle)
    tls.set_alpn_protocols(["h2", "http/1.1"])
    wire = Http2(together=150)

    async def work():
        async with served(wire, tls) as port, client(f"https://127.0.0.1:{port}/v1") as http:
            for _ in range(2):
                responses = await asyncio.gather(*(http.post_json("/chat/completions", b"{}") for _ in range(150)))
            return responses

    responses = asyncio.run(work())

    assert {(r.status, r.body, r.headers["x-request-id"]) for r in responses} == {(200, b"ok", "r7")}
    assert wire.used[1] == 2


# Proxies


class Proxy:
    """A proxy that takes every name for `port` of this machine."""

    def __init__(self, port):
        self.port = port
        self.asked = []

    async def __call__(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.decode().split(" ", 2)
        self.asked.append(f"{method} {target}")
        to, other = await asyncio.open_connection("127.0.0.1", self.port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            other.write(head)
        await asyncio.gather(pipe(reader, other), pipe(to, writer))


async def pipe(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except ConnectionError:
        pass
    writer.close()


async def through_proxy(wire, url, environment, monkeypatch, tls=None):
    async with served(wire, tls) as port:
        proxy = Proxy(port)
        async with served(proxy) as proxy_port:
            for name, value in environment.items():
                monkeypatch.setenv(name, value.replace("PROXY", f"http://127.0.0.1:{proxy_port}"))
            async with client(url) as http:
                try:
                    return proxy.asked, (await http.post_json("/chat/completions", b"{}")).body
                except Fault as fault:
                    return proxy.asked, fault.kind


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_asked(monkeypatch, name):
    done = asyncio.run(through_proxy(Wire(), "http://model.test/v1", {name: "PROXY"}, monkeypatch))

    assert done == (["POST http://model.test/v1/chat/completions"], b"ok")


def test_tls_goes_through_a_proxy_whole(tls, bundle, monkeypatch):
    environment = {"HTTPS_PROXY": "PROXY", "SSL_CERT_FILE": bundle}

    done = asyncio.run(through_proxy(Wire(), "https://model.test/v1", environment, monkeypatch, tls))

    assert done == (["CONNECT model.test:443"], b"ok")


@pytest.mark.parametrize("excepted", ["model.test", ".test", "*"])
def test_no_proxy_is_asked_for_an_excepted_host(monkeypatch, excepted):
    environment = {"HTTP_PROXY": "PROXY", "NO_PROXY": excepted}

    done = asyncio.run(through_proxy(Wire(), "http://model.test/v1", environment, monkeypatch))

    assert done == ([], "dns")


def test_no_proxy_is_asked_for_this_machine(monkeypatch):
    async def work():
        async with served(Wire()) as port:
            monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
            async with client(f"http://localhost:{port}/v1") as http:
                return (await http.get("/models")).body

    assert asyncio.run(work()) == b"ok"
