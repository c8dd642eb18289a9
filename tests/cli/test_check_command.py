"""`distask check`: one tiny call for each question, and the mend for each no."""

from __future__ import annotations

import json

import pytest

from distask.cli.commands.check import features
from distask.llm.providers.probe import local_servers, probe
from distask.spec.gallery import gallery
from distask.spec.load import load_spec
from tests.server import Reply, ScriptedServer

ASKED = ["--base-url", "{url}", "--model", "m"]


def able(body):
    """A server that can do all of it."""
    if "prompt" in body or "input" in body:
        return "4, 5" if "prompt" in body else "[0.1, 0.2]"
    message = {"role": "assistant", "content": '{"ok": true}' if "response_format" in body else "OK"}
    if "tools" in body:
        message["tool_calls"] = [{"id": "1", "type": "function", "function": {"name": "note", "arguments": "{}"}}]
    logprobs = {"content": [{"token": "OK", "logprob": -0.1}]} if body.get("logprobs") else None
    choices = [
        {"index": i, "message": message, "finish_reason": "stop", "logprobs": logprobs} for i in range(body.get("n", 1))
    ]
    return {"choices": choices, "model": "m-2026", "usage": {"prompt_tokens": 3, "completion_tokens": 1}}


def refused(status, message, code=None):
    return Reply(status, body={"error": {"message": message, "code": code}})


def states(said):
    return {line.split()[0]: line.split()[1] for line in said.out.splitlines() if not line.startswith(" ")}


def test_an_able_server_gets_a_yes_for_each_question_in_one_tiny_call(shell):
    shell.server.reply = able

    result = shell("check", *ASKED)

    assert result.code == 0
    assert states(result) == {
        "endpoint": "yes", "key": "yes", "model": "yes", "n": "yes", "json_schema": "yes", "logprobs": "yes",
        "completions": "yes", "price": "-",
    }  # fmt: skip
    assert "m, which responds as m-2026" in result.out
    assert len(shell.server.requests) == 5
    assert all(body["max_tokens"] <= 64 for body in shell.server.requests)


def test_each_no_has_its_hint_and_is_no_error_where_no_task_needs_it(shell):
    def plain(body):
        if "response_format" in body:
            return refused(400, "response_format is not supported")
        return "OK"

    shell.server.reply, shell.server.honours_n = plain, False

    result = shell("check", *ASKED)

    assert result.code == 0
    assert {k: v for k, v in states(result).items() if v != "yes"} == {
        "n": "warn",
        "json_schema": "no",
        "logprobs": "no",
        "price": "-",
    }
    assert "HTTP 400: response_format is not supported" in result.out
    assert "remove `structured_output`" in result.out
    assert "one by one" in result.out


def test_a_task_is_checked_for_what_it_needs_and_nothing_else(shell):
    shell.server.reply = lambda body: refused(400, "no schemas here") if "response_format" in body else "OK"
    spec = "inputs: {q: Q}\nformat_input: [{role: user, content: '{{ q }}'}]\noutputs: {a: A}\n"
    shell.write("held.yaml", spec + "format_output: {parser: json}\nstructured_output: true\n")

    result = shell("check", "held.yaml", *ASKED)

    assert result.code == 1
    assert list(states(result)) == ["endpoint", "key", "model", "json_schema", "price"]
    assert len(shell.server.requests) == 2


@pytest.mark.parametrize(
    ("reply", "name", "expected"),
    [
        (refused(401, "Incorrect API key provided"), "key", "no key was sent"),
        (refused(402, "insufficient credits"), "key", "add credit"),
        (refused(404, "The model `m` does not exist", "model_not_found"), "model", "did you mean `m2`?"),
        (refused(400, "Unsupported parameter: 'temperature'"), "request", "generation keyword"),
    ],
)
def test_what_stops_every_run_ends_with_1_after_one_call(shell, reply, name, expected):
    shell.server.models = ["m2", "other"]
    shell.server.reply = lambda body: reply

    result = shell("check", *ASKED)

    assert result.code == 1
    assert states(result)[name] == "no"
    assert expected in result.out
    assert len(shell.server.requests) == 1


def test_a_rate_limit_is_a_warning(shell):
    shell.server.reply = lambda body: refused(429, "slow down")

    result = shell("check", *ASKED)

    assert result.code == 0
    assert states(result)["limits"] == "warn"
    assert states(result)["json_schema"] == "warn"


def test_nobody_there_is_reported_with_the_hint(shell):
    result = shell("check", "--base-url", "http://127.0.0.1:9/v1", "--model", "m")

    assert result.code == 1
    assert "check that the server is running and the address is right" in result.out


def test_no_message_holds_the_key(shell):
    shell.env["MY_KEY"] = "sk-canary-0123456789"
    shell.server.reply = lambda body: refused(401, "bad key sk-canary-0123456789")

    result = shell("check", *ASKED, "--set", "llm.api_key_env=MY_KEY")

    assert result.code == 1
    assert "check that the key in MY_KEY is right" in result.out
    assert "canary" not in result.out + result.err


def test_programs_get_every_finding(shell):
    shell.server.reply = able

    made = json.loads(shell("check", *ASKED, "--json").out)

    assert (made["ok"], made["model"]) == (True, "m")
    assert {c["name"]: c["state"] for c in made["checks"]}["logprobs"] == "ok"


def test_offline_needs_nothing(shell):
    result = shell("check", "-c", "offline")

    assert (result.code, shell.server.requests) == (0, [])


def test_every_local_server_that_lists_a_model_is_found():
    with ScriptedServer() as one, ScriptedServer() as empty, ScriptedServer() as two:
        empty.models = []
        found = local_servers({"Ollama": one.port, "LM Studio": empty.port, "vLLM": two.port, "llama-server": 9})

    assert [(server.name, server.models) for server in found] == [("Ollama", ["m"]), ("vLLM", ["m"])]


def test_images_tools_and_embeddings_are_asked_with_what_they_are(server):
    from distask.llm.config.resolve import load_config

    server.reply = able
    llm = load_config(None, contents={"base_url": server.url, "model": "m"}, environ={})

    found = probe(llm, ["images", "tools", "embeddings"])

    assert [f.state for f in found if f.name in ("images", "tools", "embeddings")] == ["ok"] * 3
    sent = next(b for b in server.requests if isinstance(b.get("messages", [{}])[0].get("content"), list))
    assert sent["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("name", sorted(gallery()))
def test_the_needs_of_every_built_in_task_are_known(name):
    asked = features(load_spec(name))

    assert set(asked) <= {"n", "json_schema", "logprobs", "completions", "images", "tools", "embeddings"}
    assert ("images" in asked) == (name == "text-generation-with-image")
