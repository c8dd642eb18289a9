"""The server: only the browser that has the address can read or answer, and nothing that was confirmed is lost."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from distask.errors import UsageError
from distask.labeling.server import LabelServer
from tests.labeling.conftest import ROOT, lines, rows

pytestmark = pytest.mark.battery


def test_the_address_works_once_and_becomes_a_cookie(start):
    running = start()
    path = running.url.removeprefix(running.base)

    status, _, headers = running.request(path)
    assert (status, headers["Location"]) == (303, "/")
    assert re.search(r"; HttpOnly; SameSite=Strict; Path=/$", headers["Set-Cookie"])
    assert running.request(path)[0] == 403

    running.cookie = headers["Set-Cookie"].partition(";")[0]
    assert running.request("/")[0] == 200
    assert running.request(path)[0] == 303  # the browser that has the cookie may open it again
    _, _, err = running.stop()
    again = re.search(r"to open the page in another browser: (\S+)", err)[1]
    assert again.startswith(running.base)
    assert again != running.url


def test_a_new_address_from_the_terminal_lets_another_browser_in(person):
    result = []
    server = LabelServer(person.session(rows(1)), {"task": "t"}, result.append)
    first = server.url.rpartition("=")[2]

    assert server.admit(first)
    assert not server.admit("guess")
    assert result == []
    assert not server.admit(first)
    assert server.admit(result[0].rpartition("=")[2])
    server.start()
    server.stop()


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/", None, {"Cookie": ""}),
        ("/api/state", None, {"Cookie": ""}),
        ("/api/state", None, {"Cookie": "distask-label-1=x"}),
        ("/api/state", None, {"X-Distask-Session": ""}),
        ("/api/state", None, {"X-Distask-Session": "x"}),
        ("/api/state", None, {"Host": "evil.example"}),
        ("/api/state", None, {"Host": "127.0.0.1"}),
        ("/api/answer", {"turn": 0, "answers": {"score": 1}}, {"Cookie": ""}),
        ("/api/answer", {"turn": 0, "answers": {"score": 1}}, {"X-Distask-Session": ""}),
        ("/api/answer", {"turn": 0, "answers": {"score": 1}}, {"Origin": "https://evil.example"}),
        ("/api/answer", {"turn": 0, "answers": {"score": 1}}, {"Host": "evil.example:80"}),
        ("/api/undo", {}, {"Origin": "null"}),
        ("/api/finish", {}, {"X-Distask-Session": ""}),
        ("/?token=guess", None, {"Cookie": ""}),
    ],
)
def test_any_other_request_is_refused_and_changes_nothing(start, tmp_path, path, body, headers):
    running = start().enter()

    status, answer, _ = running.request(path, body, **headers)

    assert status == 403
    assert b"What is" not in answer
    assert not (tmp_path / "labels.jsonl").exists()
    assert running.process.poll() is None


def test_a_cookie_that_is_missing_is_missing(start):
    """`request` leaves out a header that is empty."""
    running = start().enter()
    running.cookie = None

    assert running.request("/")[0] == 403
    assert running.request("/api/state")[0] == 403


@pytest.mark.parametrize(
    ("body", "status"), [(b"[1]", 400), (b"{", 400), (b'{"turn": 0}', 400), (b'{"turn": 7, "answers": {}}', 409)]
)
def test_a_body_that_is_no_answer_is_refused(start, body, status):
    running = start().enter()
    host = running.base.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    headers = {"Cookie": running.cookie, "X-Distask-Session": running.secret}

    connection.request("POST", "/api/answer", body, headers)
    assert connection.getresponse().status == status
    connection.close()
    connection.putrequest("POST", "/api/answer")
    for name, value in (*headers.items(), ("Content-Length", str(1 << 40))):
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_the_page_may_load_nothing_from_any_network(start):
    running = start().enter()

    _, page, headers = running.request("/")

    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(rb"https?://(?!127\.0\.0\.1)", page)


def test_it_listens_on_this_computer_alone(start):
    running = start()
    listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=False).stdout if _has_ss() else ""
    port = running.base.rpartition(":")[2]

    assert running.base.startswith("http://127.0.0.1:")
    assert not [
        line for line in listening.splitlines() if line.split()[3].endswith(f":{port}") and "127.0.0.1" not in line
    ]


def _has_ss():
    from shutil import which

    return which("ss") is not None


def test_finishing_ends_the_program_with_a_summary(start, tmp_path):
    running = start().enter()
    running.answer(0, score=4)
    running.request("/api/answer", {"turn": 1, "skipped": True})

    assert json.loads(running.request("/api/finish", {})[1]) == {"finished": True}

    out, _ = running.process.communicate(timeout=60)
    assert running.process.returncode == 0
    assert out.startswith("labels.jsonl  ann: 1 answered, 1 skipped, 8 left, 0.")
    assert len(lines(tmp_path / "labels.jsonl")) == 2


def test_ctrl_c_ends_the_program_with_a_summary_and_the_same_command_continues(start):
    first = start().enter()
    item = first.answer(0, score=4)["item"]

    code, out, _ = first.stop(signal.SIGINT)
    second = start().enter()

    assert (code, out.partition(",")[0]) == (0, "labels.jsonl  ann: 1 answered")
    assert second.state()["item"]["columns"] == item["columns"]


def test_it_ends_shortly_after_the_last_answer(start):
    running = start("task.yaml", "-i", "in.jsonl", "--sample", "1", "-o", "labels.jsonl").enter()

    assert running.answer(0, score=4)["item"] is None

    out, _ = running.process.communicate(timeout=60)
    assert running.process.returncode == 0
    assert "1 answered" in out


def test_an_undo_after_the_last_answer_keeps_it_running(person):
    session = person.session(rows(1))
    server = LabelServer(session, {"task": "t"}, lambda _: None, grace=0)
    session.answer({"turn": 0, "answers": {"score": 1}})
    server.note_state()
    server.wait()  # returns, since all is answered

    session.undo()
    server.note_state()
    waiting = threading.Thread(target=server.wait)
    waiting.start()
    waiting.join(0.4)
    assert waiting.is_alive()
    server.finish()
    waiting.join()
    server.start()
    server.stop()


def test_a_port_in_use_is_reported(person):
    server = LabelServer(person.session(rows(1)), {"task": "t"}, lambda _: None)
    try:
        with pytest.raises(
            UsageError, match=rf"--port {server.port}: can't listen on 127\.0\.0\.1: .*choose another port"
        ):
            LabelServer(server.session, {"task": "t"}, lambda _: None, port=server.port)
    finally:
        server.start()
        server.stop()


def test_a_kill_at_any_moment_loses_no_confirmed_answer(start, tmp_path):
    """Answers are sent without a pause; the process is killed while one is on its way."""
    confirmed = []
    for round_ in range(6):
        running = start("task.yaml", "-i", "in.jsonl", "--all", "-o", "labels.jsonl", "--annotator", "ann").enter()
        state = running.state()
        assert state["progress"]["done"] >= len(confirmed)
        killer = threading.Timer(0.02 * round_, os.kill, (running.process.pid, signal.SIGKILL))
        killer.start()
        try:
            while (item := state["item"]) is not None:
                state = running.answer(item["turn"], score=round_ + 1)
                confirmed.append((item["row"], round_ + 1))
        except (OSError, http.client.HTTPException):
            pass
        killer.join()
        running.process.communicate(timeout=60)
        path = tmp_path / "labels.jsonl"
        written = [(line["label"]["row"], line["score"]) for line in lines(path)] if path.exists() else []
        assert written[: len(confirmed)] == confirmed
        assert len(written) <= len(confirmed) + 1  # one may be saved and not confirmed
        confirmed = written
        if len(confirmed) == len(lines(tmp_path / "in.jsonl")):
            break
    rows_answered = [row for row, _ in confirmed]
    assert len(rows_answered) == len(set(rows_answered))


def test_other_commands_do_not_import_it(tmp_path):
    code = (
        "import sys\nfrom distask.cli import main\n"
        "main(['--help']); main(['tasks']); main(['validate', 'text-generation'])\n"
        "import distask.cli.job, distask.cli.commands.run\n"
        "print([m for m in sys.modules if m.startswith(('distask.labeling', 'http.server', 'markdown_it', 'pygments'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )  # fmt: skip

    assert done.stdout.splitlines()[-1] == "[]"


def test_labeling_calls_no_model_and_loads_no_heavy_library(tmp_path, start):
    code = (
        "import sys, threading\nfrom distask.cli import main\n"
        "from distask.labeling import server\n"
        "server.LabelServer.wait = lambda self: None\n"
        "code = main(['label', 'task.yaml', '-i', 'in.jsonl', '--no-open'])\n"
        "print('\\n', code, [m for m in ('openai', 'numpy', 'datasets', 'pyarrow', 'pandas', 'ray') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )  # fmt: skip

    assert done.stdout.splitlines()[-1] == " 0 []"
