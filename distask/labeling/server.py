"""Serve the page and its answers on 127.0.0.1, to the one browser that has the address from the terminal.

The address holds a token that works once and becomes a cookie. Every request must name this server as its host, which
stops other sites that resolve to 127.0.0.1, and have the cookie. A request that reads or writes answers must also have
a header with a second secret, which only the page knows: cookies are shared by all servers of a machine.
"""

from __future__ import annotations

import secrets
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import orjson

from distask.data.writers.base import json_bytes
from distask.errors import OutputError, UsageError
from distask.labeling.page import PROTECTION, build_page
from distask.labeling.session import AnswerError, StaleError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distask.labeling.session import Session

HOST = "127.0.0.1"
MAX_BODY = 8 << 20
"""Maximum bytes of an answer."""
GRACE_S = 6.0
"""Seconds after the last answer in which it can be taken back, before the server stops."""
SECRET_HEADER = "X-Distask-Session"  # noqa: S105 - the name of a header
_USED = (
    "This address was already used in another browser. The terminal shows a new one.\n"
    "If there is none, run the command again: everything that was saved is kept.\n"
)


class LabelServer:
    """A server for one session; `start` it, then `wait` until the person has finished.

    Args:
        session: the session.
        facts: plain data for the page.
        notify: called with a sentence for the user.
        port: the port; 0 chooses a free one.
        grace: seconds after the last answer before it stops.

    Raises:
        UsageError: the port is in use.
    """

    def __init__(
        self,
        session: Session,
        facts: Mapping[str, Any],
        notify: Callable[[str], None],
        *,
        port: int = 0,
        grace: float = GRACE_S,
    ) -> None:
        self.session = session
        self._notify, self._grace = notify, grace
        self._secret, self.cookie = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self._token, self._spent = secrets.token_urlsafe(24), set[str]()
        self._finished = threading.Event()
        self._lock = threading.Lock()
        self._stop_at: float | None = None
        self.page = build_page({**facts, "secret": self._secret, "grace": grace})
        handler = type("Handler", (_Handler,), {"owner": self})
        try:
            self._server = _Server((HOST, port), handler)
        except OSError as error:
            raise UsageError(f"--port {port}: can't listen on {HOST}: {error.strerror}; choose another port") from None
        self.port: int = self._server.server_address[1]
        self.hosts = {f"{HOST}:{self.port}", f"localhost:{self.port}"}
        self.cookie_name = f"distask-label-{self.port}"

    @property
    def url(self) -> str:
        """The address with the token, which works once."""
        return f"http://{HOST}:{self.port}/?token={self._token}"

    def start(self) -> None:
        """Begin to answer requests, in other threads."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def wait(self) -> None:
        """Return when the person has finished, or shortly after the last item is answered."""
        while not self._finished.wait(0.1):
            with self._lock:
                if self._stop_at is not None and time.monotonic() >= self._stop_at:
                    return

    def stop(self) -> None:
        """Stop to answer requests; an answer that is being saved is completed."""
        self._server.shutdown()
        self.session.close()
        self._server.server_close()

    def finish(self) -> None:
        """Let `wait` return."""
        self._finished.set()

    def note_state(self) -> None:
        """Begin or cancel the countdown to the end, depending on whether all items are answered."""
        with self._lock:
            self._stop_at = time.monotonic() + self._grace if self.session.is_done else None

    def admit(self, token: str) -> bool:
        """Whether this is the token of the address; it works once, and a second use prints a new address."""
        with self._lock:
            if secrets.compare_digest(token.encode(), self._token.encode()):
                self._spent.add(self._token)
                self._token = secrets.token_urlsafe(24)
                return True
            is_spent = any(secrets.compare_digest(token.encode(), spent.encode()) for spent in self._spent)
        if is_spent:
            self._notify(f"the address was already used; to open the page in another browser: {self.url}")
        return False

    def is_own(self, secret: str) -> bool:
        """Whether a request comes from the page."""
        return secrets.compare_digest(secret.encode(), self._secret.encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a browser that closes its connection; print any other error, as the base class does."""
        import sys

        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    owner: LabelServer
    protocol_version = "HTTP/1.1"
    server_version = "distask"
    sys_version = ""
    timeout = 600  # a person may read an item for minutes; its connection stays open
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if not self._has_our_host():
            return
        where = urlsplit(self.path)
        tokens = parse_qs(where.query).get("token")
        if where.path == "/" and tokens:
            self._begin(tokens[0])
        elif not self._has_cookie():
            self._say(HTTPStatus.FORBIDDEN, "Open the address that `distask label` printed in the terminal.\n")
        elif where.path == "/":
            self._send(HTTPStatus.OK, self.owner.page.body, "text/html; charset=utf-8", self.owner.page.headers)
        elif where.path == "/favicon.ico":
            self._send(HTTPStatus.NO_CONTENT, b"", "image/x-icon")
        elif where.path in ("/api/state", "/api/prompt"):
            if self._is_from_page():
                session = self.owner.session
                self._send_json(session.state() if where.path == "/api/state" else session.prompt())
        else:
            self._say(HTTPStatus.NOT_FOUND, "There is no such page.\n")

    def do_POST(self) -> None:
        if not self._has_our_host():
            return
        if not self._has_cookie():
            self._say(HTTPStatus.FORBIDDEN, "Open the address that `distask label` printed in the terminal.\n")
            return
        if not self._is_from_page():
            return
        given = self._body()
        if given is None:
            return
        owner = self.owner
        try:
            if self.path == "/api/answer":
                state = owner.session.answer(given)
            elif self.path == "/api/undo":
                state = owner.session.undo()
            elif self.path == "/api/finish":
                self._send_json({"finished": True})
                owner.finish()
                return
            else:
                self._say(HTTPStatus.NOT_FOUND, "There is no such page.\n")
                return
        except AnswerError as error:
            self._send_json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except StaleError:
            self._send_json({"state": owner.session.state()}, HTTPStatus.CONFLICT)
        except OutputError as error:
            self._send_json({"error": str(error)}, HTTPStatus.INSUFFICIENT_STORAGE)
        else:
            owner.note_state()
            self._send_json(state)

    def _begin(self, token: str) -> None:
        if self._has_cookie() or self.owner.admit(token):
            cookie = f"{self.owner.cookie_name}={self.owner.cookie}; HttpOnly; SameSite=Strict; Path=/"
            headers = {**PROTECTION, "Location": "/", "Set-Cookie": cookie}
            self._send(HTTPStatus.SEE_OTHER, b"", "text/plain", headers)
        else:
            self._say(HTTPStatus.FORBIDDEN, _USED)

    def _has_our_host(self) -> bool:
        """Whether the request names this server, and comes from its own page if it names an origin."""
        origin = self.headers.get("Origin")
        is_ours = self.headers.get("Host", "") in self.owner.hosts
        if is_ours and (origin is None or origin.removeprefix("http://") in self.owner.hosts):
            return True
        self._say(HTTPStatus.FORBIDDEN, "This request is for another host.\n")
        return False

    def _has_cookie(self) -> bool:
        for pair in (self.headers.get("Cookie") or "").split(";"):
            name, _, value = pair.strip().partition("=")
            if name == self.owner.cookie_name:
                return secrets.compare_digest(value.encode(), self.owner.cookie.encode())
        return False

    def _is_from_page(self) -> bool:
        if self.owner.is_own(self.headers.get(SECRET_HEADER, "")):
            return True
        self._say(HTTPStatus.FORBIDDEN, "This request does not come from the page.\n")
        return False

    def _body(self) -> dict[str, Any] | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The answer is too large.\n")
            return None
        try:
            given = orjson.loads(self.rfile.read(int(length)) or b"{}")
        except ValueError:
            given = None
        if not isinstance(given, dict):
            self._say(HTTPStatus.BAD_REQUEST, "The request is not a JSON object.\n")
            return None
        return given

    def _send_json(self, value: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(status, json_bytes(value), "application/json")

    def _say(self, status: HTTPStatus, text: str) -> None:
        self.close_connection = True  # a body may be unread
        self._send(status, text.encode(), "text/plain; charset=utf-8")

    def _send(
        self, status: HTTPStatus, body: bytes, kind: str, headers: Mapping[str, str] = PROTECTION
    ) -> None:  # fmt: skip
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Print nothing: the terminal shows only what the person needs."""
