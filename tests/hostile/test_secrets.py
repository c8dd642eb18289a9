"""A canary key goes through every fault at -v: no byte of it is printed, kept or written."""

from __future__ import annotations

import base64
import os
import stat
from urllib.parse import quote

import pytest

from tests.hostile.mutants import cage_without
from tests.server import Reply

KEY = "sk-canary-7f3a9c51e0b84d2e"
SPEC = "name: t\ninputs: {q: x}\nformat_input: [{role: user, content: '{{ q }}'}]\noutputs: {a: {type: integer}}\nformat_output: {parser: text}\n"
CONFIG = """\
provider: openai
model: m
base_url: %s
api_key_env: CANARY
headers: {X-Team: "team ${CANARY}"}
limits: {max_retries: 1, max_retry_seconds: 1, timeout: 2}
"""


def echoed(status, **more):
    """A server's error that repeats the key, as some do."""
    result = f"Incorrect API key provided: {KEY}. Bearer {KEY} (https://user:{KEY}@host/) {quote(KEY)}"
    return lambda _: Reply(status, **more, body={"error": {"message": result, "type": KEY, "code": KEY, "param": KEY}})


FAULTS = {
    "good": lambda _: "4",
    "invalid": lambda _: f"no number, {KEY[:4]}",
    **{str(status): echoed(status) for status in (400, 401, 402, 403, 404, 413, 422, 500, 503)},
    "redirect": lambda _: Reply(307, {"location": f"http://127.0.0.1:9/?{KEY}"}, b""),
    "redirect to userinfo": lambda _: Reply(302, {"location": f"http://u:{KEY}@127.0.0.1:9/"}, b""),
    "a web page": lambda _: Reply(200, body=f"<html>{KEY}</html>".encode()),
    "an error in a 200": lambda _: Reply(200, body={"error": {"message": f"bad key {KEY}"}}),
    "nothing": lambda _: Reply(200, body=b""),
    "no choices": lambda _: Reply(200, body={"choices": []}),
    "a closed connection": lambda _: Reply(drop=True),
    "a reply that was cut": lambda _: Reply(cut=20),
    "a timeout": lambda _: Reply(delay=4),
    "a broken header": lambda _: Reply(500, {"retry-after": KEY, "x-request-id": KEY}, {"error": {"message": KEY}}),
}


@pytest.fixture
def place(tmp_path, server):
    (tmp_path / "t.yaml").write_text(SPEC)
    (tmp_path / "in.jsonl").write_text('{"q": "a"}\n{"q": "b"}\n')
    (tmp_path / "llm.yaml").write_text(CONFIG % server.url)
    return tmp_path


RUN = ["run", "t.yaml", "-i", "in.jsonl", "-o", "out.jsonl", "-c", "llm.yaml"]


def assert_silent(said, place, key=KEY):
    """The key stands nowhere: as it is, in parts, in base64 or as the escapes of its bytes."""
    written = {p: p.read_bytes() for p in place.rglob("*") if p.is_file()}
    forms = [
        key.strip().encode(),
        base64.b64encode(key.encode())[:-4],
        quote(key, safe="").encode(),
        repr(key)[1:-1].encode(),
    ]
    for where, data in {"stdout": said.out, "stderr": said.err, **written}.items():
        for form in forms:
            assert form not in data, f"{form!r} stands in {where}: {data[max(0, data.find(form) - 80) :][:200]!r}"
    assert b"Traceback" not in said.err


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_reports_the_key(cage, place, server, fault):
    """Whatever the server does with it, at the highest verbosity, in the events of a program, and in the run's record."""
    server.reply = FAULTS[fault]

    for more in (["-v"], ["--json", "-v"]):
        result = cage(*RUN, *more, cwd=place, env={"CANARY": KEY}, seconds=50)
        assert result.code in (0, 1, 3), result.text
        assert_silent(result, place)
    assert any(KEY in headers.get("authorization", "") for headers in server.headers_seen)


@pytest.mark.parametrize(
    "key", [f"{KEY}\nX-Evil: 1", f"{KEY} tail", f"{KEY}\u00e9\u4e2d", f"{KEY}\r", f"{KEY}\x7f", f" {KEY}\n"]
)
def test_no_odd_key_is_reported(cage, place, server, key):
    """Nor in the words of the libraries, which quote a header that they can't send."""
    result = cage(*RUN, "-v", cwd=place, env={"CANARY": key})

    assert result.code in (0, 2, 3)
    assert_silent(result, place, KEY)


@pytest.mark.parametrize("arguments", [
    ["run", "t.yaml", "-i", "in.jsonl", "-c", "llm.yaml", "--show-config"],
    ["run", "t.yaml", "-i", "in.jsonl", "-c", "llm.yaml", "--show-config", "--json"],
    ["dry-run", "t.yaml", "-i", "in.jsonl", "-c", "llm.yaml", "-v"],
    ["preview", "t.yaml", "-i", "in.jsonl", "-c", "llm.yaml"],
    ["check", "-c", "llm.yaml"],
    ["check", "-c", "llm.yaml", "--json"],
])  # fmt: skip
def test_no_command_reports_the_key(cage, place, server, arguments):
    server.reply = echoed(401)

    result = cage(*arguments, cwd=place, env={"CANARY": KEY})

    assert result.code in (0, 1, 3), result.text
    assert_silent(result, place)


@pytest.mark.parametrize(("line", "instead"), [
    ("api_key_env: CANARY", f"api_key: {KEY}"),
    ("api_key_env: CANARY", f"api_key_env: {KEY}"),
    ('headers: {X-Team: "team ${CANARY}"}', f"headers: {{Authorization: Bearer {KEY}}}"),
    ("base_url: ", f"base_url: http://user:{KEY}@127.0.0.1/v1 #"),
    ("base_url: ", f"base_url: http://127.0.0.1/v1?key={KEY} #"),
    ("provider: openai", f"provider: {{{KEY}"),
])  # fmt: skip
def test_a_key_in_a_config_is_refused_and_not_shown(cage, place, line, instead):
    """It never stands in a file; the line that holds it is not printed."""
    config = (place / "llm.yaml").read_text()
    (place / "llm.yaml").write_text(config.replace(line, instead))

    result = cage(*RUN, "-v", cwd=place, env={"CANARY": "other"})
    (place / "llm.yaml").unlink()

    assert result.code == 2, result.text
    if not instead.startswith("provider"):
        assert_silent(result, place)


@pytest.mark.parametrize("arguments", [
    ["--base-url", f"https://user:{KEY}@127.0.0.1/v1", "--model", "m"],
    ["--base-url", f"https://127.0.0.1/v1?api-key={KEY}", "--model", "m"],
])  # fmt: skip
def test_an_address_with_a_key_is_refused_and_not_shown(cage, place, arguments):
    result = cage("run", "t.yaml", "-i", "in.jsonl", *arguments, cwd=place)

    assert result.code == 2
    assert_silent(result, place)
    result = cage("run", "t.yaml", "-i", "in.jsonl", cwd=place, env={"OPENAI_BASE_URL": arguments[1]})
    assert result.code == 2
    assert_silent(result, place)


@pytest.mark.parametrize("config", ["{{ vars.c }}", "{{ params.c }}", "{{ q }}", "llm.yaml"])
def test_no_spec_sends_a_key_elsewhere(cage, place, server, config):
    """A step names built-in configs only, by whatever template: a file of the stranger's would say where the key goes."""
    (place / "in.jsonl").write_text('{"q": "llm.yaml"}\n')
    (place / "t.yaml").write_text(
        "inputs: {q: x}\nvars: {c: llm.yaml}\nparams: {c: {default: llm.yaml}}\noutputs: {generation: {type: any}}\nsteps: "
        f"[{{task: text-generation, input_mappings: {{instruction: q}}, llm: {{config: '{config}'}}}}]\n"
    )

    result = cage("run", "t.yaml", "-i", "in.jsonl", "--base-url", "http://127.0.0.1:9/v1", "--model", "m", cwd=place,
                env={"CANARY": KEY})  # fmt: skip

    assert result.code in (1, 2, 3), result.text
    assert server.connections == 0
    assert_silent(result, place)


def test_what_is_kept_is_its_owners_only(cage, place, server):
    """The store, its journal, the record and the lock; the folder too. The rows are a file like any other."""
    server.reply = lambda _: "4"
    os.umask(os.umask(0o022))

    cage(*RUN, cwd=place, env={"CANARY": KEY})

    def mode(path):
        return stat.S_IMODE(path.stat().st_mode)

    assert mode(place / ".distask") == 0o700
    kept = [p for p in (place / ".distask").rglob("*") if p.is_file()]
    assert [p.name for p in kept if mode(p) & 0o077] == []
    assert {"store.db"} <= {p.name for p in kept}
    assert mode(place / "out.jsonl.run.json") == 0o600


def test_the_battery_fails_when_nothing_is_redacted(place, server):
    server.reply = echoed(401)

    with cage_without("keys_are_passed_on") as cage:
        result = cage(*RUN, "-v", cwd=place, env={"CANARY": KEY})

    with pytest.raises(AssertionError):
        assert_silent(result, place)
