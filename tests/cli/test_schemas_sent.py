"""Schemas over HTTP: what arrives at a server, what a run says of it, and what becomes of the replies."""

from __future__ import annotations

import orjson
import pytest

from distask.llm.providers.llamacpp import LlamaCppProvider
from distask.llm.request import Request
from tests.llm.test_schema_fit import strict_faults
from tests.server import Reply

PERSON = """
name: person
inputs: {text: The text.}
format_input: [{role: user, content: "{{ text }}"}]
structured_output:
  schema:
    type: object
    properties:
      name: {type: string, minLength: 2}
      tags: {type: array, items: {enum: [a, b]}, uniqueItems: true}
      nick: {type: string}
    required: [name, tags]
outputs: {person: {type: object}}
format_output: {parser: json, columns: {person: "{{ parsed }}"}}
"""
OPENAI = ["--set", "llm.schema_dialect=openai"]
ROWS = [{"text": f"row {i}"} for i in range(6)]
GOOD = '{"name": "Ann", "tags": ["a"], "nick": null}'


class OpenAIStrict:
    """Replies as OpenAI does: it refuses a schema that breaks the rules of strict mode."""

    def __init__(self, *replies: str) -> None:
        self.replies = replies
        self.refused = 0

    def __call__(self, body: dict) -> Reply | str:
        wanted = body["response_format"]["json_schema"]
        faults = strict_faults(wanted["schema"]) if wanted["strict"] else []
        if faults:
            self.refused += 1
            message = f"Invalid schema for response_format '{wanted['name']}': {faults[0]}"
            error = {
                "message": message,
                "type": "invalid_request_error",
                "param": "response_format",
                "code": "invalid_json_schema",
            }
            return Reply(400, body={"error": error})
        place = int(body["messages"][-1]["content"].split()[-1])
        return self.replies[place % len(self.replies)]


@pytest.fixture
def go(shell):
    """Run a spec on the server; gives the exit code, the rows out, and what the run said."""

    def run_it(spec, *more):
        shell.write("task.yaml", spec)
        shell.rows(ROWS)
        result = shell.run("-o", "out.jsonl", "--overwrite", *more)
        return result.code, shell.lines("out.jsonl"), result.err

    return run_it


def schemas(server) -> list[dict]:
    return [body["response_format"]["json_schema"]["schema"] for body in server.requests]


@pytest.mark.parametrize("options", [[], OPENAI], ids=["unknown server", "openai"])
def test_a_strict_server_is_sent_what_it_takes(go, server, options):
    server.reply = strict = OpenAIStrict(GOOD)

    code, rows, result = go(PERSON, *options)

    assert code == 0
    assert strict.refused == 0
    assert len(server.requests) == len(ROWS)
    assert [row["person"] for row in rows] == [{"name": "Ann", "tags": ["a"]}] * len(ROWS), "null is absent"
    assert result.count("`minLength` and `uniqueItems`") == 1


def test_what_a_server_is_not_sent_is_checked_in_its_replies(go, server):
    server.reply = OpenAIStrict(
        GOOD, '{"name": "A", "tags": [], "nick": "x"}', '{"name": "Ann", "tags": ["a", "a"], "nick": "x"}'
    )

    code, rows, _ = go(PERSON, *OPENAI)

    assert code == 3
    errors = [row["distask_metadata"].get("error_person") for row in rows]
    assert [row["person"] is None for row in rows] == [False, True, True] * 2
    assert "name" in errors[1]["message"]
    assert "non-unique" in errors[2]["message"]


def test_a_schema_that_cannot_be_strict_is_sent_with_strict_false_and_reported_once(go, server):
    spec = PERSON.replace("nick: {type: string}", "nick: {type: object}")
    server.reply = OpenAIStrict('{"name": "Ann", "tags": ["a"], "nick": {"x": 1}}')

    code, rows, result = go(spec, *OPENAI)

    assert code == 0
    assert rows[0]["person"]["nick"] == {"x": 1}
    assert {body["response_format"]["json_schema"]["strict"] for body in server.requests} == {False}
    assert result.count("can't be strict") == 1


@pytest.mark.parametrize(("owner", "kept"), [("vllm", True), ("llamacpp", True), ("library", True), ("someone", False)])
def test_a_server_of_an_unknown_kind_is_asked_once_what_it_is(go, server, owner, kept):
    server.reply = lambda _: GOOD
    models = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": owner}]}
    answer = server._answer
    server._answer = lambda method, path, *rest: (
        Reply(body=models)
        if path.endswith("/models") and not server.paths.append(path)
        else answer(method, path, *rest)
    )

    code, _, _ = go(PERSON)

    assert code == 0
    assert server.paths.count("/v1/models") == 1
    assert {"minLength" in schema["properties"]["name"] for schema in schemas(server)} == {kept}


def test_a_task_without_a_schema_asks_for_no_models(go, server):
    server.reply = lambda _: GOOD

    go(PERSON.replace(PERSON[PERSON.index("structured_output") : PERSON.index("outputs:")], ""))

    assert server.paths == ["/v1/chat/completions"] * len(ROWS)


def test_what_is_written_is_sent_as_it_is_where_the_config_says_so(go, server):
    server.reply = lambda _: GOOD

    _, _, result = go(PERSON, "--set", "llm.schema_dialect=as-written")

    assert "JSON Schema" not in result
    assert schemas(server)[0]["properties"]["tags"] == {
        "type": "array",
        "items": {"enum": ["a", "b"]},
        "uniqueItems": True,
    }
    assert server.requests[0]["response_format"]["json_schema"]["strict"] is False


def test_replies_are_found_again_whatever_was_sent(go, server):
    """The store's key is made of what was asked for."""
    server.reply = lambda _: GOOD

    go(PERSON, *OPENAI)
    asked = len(server.requests)
    _, rows, _ = go(PERSON, "--set", "llm.schema_dialect=vllm")

    assert asked == len(ROWS)
    assert len(server.requests) == asked
    assert rows[0]["person"] == {"name": "Ann", "tags": ["a"]}


def test_the_key_of_a_request_is_the_one_that_stores_have():
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}}
    keywords = {
        "response_format": {"type": "json_schema", "json_schema": {"name": "t", "schema": schema, "strict": False}}
    }
    request = Request("https://api.openai.com/v1", "m", [{"role": "user", "content": "x"}], keywords)

    assert request.fingerprint().hex() == "9cc7ec396d981993b0235308790bb9b7"


def test_a_model_in_this_process_is_sent_what_llama_cpp_takes():
    from distask.llm.config.model import LlamaCpp
    from distask.llm.schemas.dialects import LLAMA_CPP
    from distask.llm.schemas.requests import SchemaFitter

    asked = []

    class Engine:
        def handle_chat_completions(self, body):
            asked.append(body)
            return {"choices": [{"message": {"role": "assistant", "content": "{}"}, "finish_reason": "stop"}]}

    provider = LlamaCppProvider("m.gguf", LlamaCpp(), SchemaFitter(LLAMA_CPP))
    provider._server = Engine()
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": 1, "pattern": "[0-9]"}}}
    keywords = {
        "response_format": {"type": "json_schema", "json_schema": {"name": "t", "schema": schema, "strict": False}}
    }

    provider._ask(Request("llamacpp:x", "m.gguf", [{"role": "user", "content": "x"}], keywords), 1)

    sent = asked[0]["response_format"]["json_schema"]["schema"]
    assert sent["properties"]["a"] == {"type": "string", "minLength": 1}


@pytest.mark.parametrize(
    ("config", "expected"),
    [("openai", "OpenAI without `minLength` and `uniqueItems`"), ("vllm", "vLLM without `uniqueItems`")],
)
def test_dry_run_says_what_the_configured_server_is_not_sent(shell, config, expected):
    shell.write("task.yaml", PERSON)
    shell.rows(ROWS)
    command = ["dry-run", "task.yaml", "--input", "in.jsonl", "--config", config, "--model", "m"]

    result = shell(*command)

    (line,) = [line for line in result.out.splitlines() if line.startswith("note ")]
    assert expected in line
    shell(*command, "--json")
    (note,) = shell.events[-1]["notes"]
    assert expected in note


def test_export_batch_writes_the_schema_that_the_server_takes(shell):
    shell.write("task.yaml", PERSON)
    shell.rows(ROWS)

    result = shell("export-batch", "task.yaml", "--input", "in.jsonl", "--config", "openai", "-o", "batch.jsonl")

    assert result.code == 0
    assert "OpenAI without `minLength`" in result.out
    line = orjson.loads((shell.folder / "batch.jsonl").read_bytes().splitlines()[0])
    assert strict_faults(line["body"]["response_format"]["json_schema"]["schema"]) == []
