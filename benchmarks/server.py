"""What `server.c` is, for machines without a C compiler: the same words, the same answers, on asyncio."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

DELAY, SHARE, TAIL, REPLY_BYTES = (*(float(w) for w in sys.argv[1:]), 0.0, 0.0, 0.0, 0.0)[:4]
EVERY = round(1 / SHARE) if SHARE else 0
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
MODELS = b'{"object":"list","data":[{"id":"m","object":"model"}]}'
source = (Path(__file__).parent / "server.c").read_text()


def body_of(name: str) -> bytes:
    lines = source.partition(f"*{name} =")[2].partition("\n")[2].partition(";\n")[0].splitlines()
    body = "".join(json.loads(line.strip().rstrip(";")) for line in lines)
    (text,) = re.findall(r"The answer is.*of use\.", body)
    return body.replace(text, " ".join([text] * max(1, int(REPLY_BYTES) // (len(text) + 1)))).encode()


stats = {"requests": 0, "connections": 0, "most_in_flight": 0, "bad": 0}
in_flight = 0


def whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


ANSWER, OBJECT = whole(body_of("BODY")), whole(body_of("OBJECT"))


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        stats["connections"] += 1
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(self.buffer, 0, end)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < size:
                return
            head, self.buffer = self.buffer[:end], self.buffer[size:]
            self.answer(head)

    def answer(self, head):
        global in_flight
        if head.startswith(b"POST"):
            stats["requests"] += 1
            in_flight += 1
            stats["most_in_flight"] = max(stats["most_in_flight"], in_flight)
            tail = EVERY and stats["requests"] % EVERY == 0
            delay = TAIL if tail else DELAY
            made = OBJECT if head.startswith(b"POST /v1/json/") else ANSWER
            loop.call_later(delay / 1000, self.reply, made) if delay else self.reply(made)
        elif b"/stats " in head:
            used = os.times()
            self.transport.write(whole(json.dumps({"cpu": used.user + used.system, **stats}).encode()))
            stats["most_in_flight"] = in_flight
        else:
            self.transport.write(whole(MODELS))

    def reply(self, made):
        global in_flight
        in_flight -= 1
        if not self.transport.is_closing():
            self.transport.write(made)


loop = asyncio.new_event_loop()
server = loop.run_until_complete(loop.create_server(Connection, "127.0.0.1", 0, backlog=4096))
print(server.sockets[0].getsockname()[1], flush=True)
loop.add_reader(0, lambda: os.read(0, 4096) or loop.stop())
loop.run_forever()
