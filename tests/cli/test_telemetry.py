"""Spans of a run on the command line go where OpenTelemetry's variables say, and nothing is sent otherwise."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytestmark = pytest.mark.battery


@pytest.fixture
def collector():
    """A collector of spans, by OTLP over HTTP; what it got."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", got
        running.shutdown()
        thread.join()


def test_spans_go_to_the_collector_that_the_environment_names(shell, collector):
    address, got = collector
    shell.env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "PYTHONWARNINGS": "ignore"}

    result = shell.run("-q")

    sent = b"".join(body for _, body in got)
    assert (result.code, result.err) == (0, "")
    assert {path for path, _ in got} == {"/v1/traces"}
    assert sent.count(b"chat m") == 5
    assert b"gen_ai.request.model" in sent
    assert b"question" not in sent


def test_without_an_endpoint_opentelemetry_is_not_even_loaded(shell):
    shell.write(
        "probe.py",
        "import sys\nfrom distask.cli import main\n"
        "main(['run', 'task.yaml', '-i', 'in.jsonl', '-c', 'offline', '-q'])\n"
        "print([m for m in sys.modules if m.startswith('opentelemetry')])\n",
    )
    done = subprocess.run(
        [sys.executable, "probe.py"], cwd=shell.folder, env=shell.env, capture_output=True, check=True
    )

    assert done.stdout.decode().splitlines()[-1] == "[]"
