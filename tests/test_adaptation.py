"""A model that refuses parameters or the system role: what is sent, how often, and what the user reads."""

from __future__ import annotations

import json
import sqlite3

import pytest

from distask import Task, run
from distask.errors import EndpointError
from distask.runner.record import record_path
from tests.server import Reply

SPEC = """
name: judge
inputs: {instruction: The instruction.}
llm: {temperature: 0, max_tokens: 50}
format_input:
  - {role: user, content: "{{ instruction }}"}
outputs: {generation: The reply.}
format_output: {parser: text}
"""
SYSTEM = SPEC.replace("format_input:\n", 'format_input:\n  - {role: system, content: "Be kind."}\n')
LOGPROBS = """
name: likely
inputs: {instruction: The instruction.}
llm: {max_tokens: 1, temperature: 0, logprobs: true, top_logprobs: 5}
format_input:
  - {role: user, content: "{{ instruction }}"}
outputs: {score: {type: number}}
format_output: {parser: logprobs, choices: {good: 1, bad: 0}}
"""


def refusal(message, code="unsupported_value", param=None, status=400):
    return Reply(
        status, body={"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
    )


def gpt_5(body):
    """It takes max_completion_tokens alone, and no temperature; one fault at a time, as OpenAI reports them."""
    if "max_tokens" in body:
        result = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return refusal(result, "unsupported_parameter", "max_tokens")
    if "temperature" in body:
        result = "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
        return refusal(result, "unsupported_value", "temperature")
    return "fine"


def gemma(body):
    if any(message["role"] == "system" for message in body["messages"]):
        return Reply(400, body={"object": "error", "message": "System role not supported", "type": "BadRequestError"})
    return "fine"


class Bench:
    """A folder, a task and a scripted server."""

    def __init__(self, folder, server):
        self.folder, self.server = folder, server
        self.out = folder / "out.jsonl"
        self.rows(5)
        self.spec(SPEC)

    def spec(self, text):
        (self.folder / "task.yaml").write_text(text)

    def rows(self, count):
        rows = [{"instruction": f"question {i}"} for i in range(count)]
        (self.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(self, *, llm=None, **options):
        """The rows out; `calls` are the bodies of the calls that this run made."""
        before = len(self.server.requests)
        config = {"model": "m", "base_url": self.server.url, "api_key_env": None} | (llm or {})
        try:
            self.result = run(
                Task.load(self.folder / "task.yaml"), self.folder / "in.jsonl", llm=config, output=self.out, **options
            )
        finally:
            self.calls = self.server.requests[before:]
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    @property
    def record(self):
        return json.loads(record_path(self.out).read_text())


@pytest.fixture
def bench(tmp_path, server):
    return Bench(tmp_path, server)


ONE_BY_ONE = {"limits": {"concurrency": 1}}


def test_a_token_limit_under_its_old_name_and_a_refused_default_cost_one_call_each(bench):
    """E2 and E3 together: two refused calls, then every row once."""
    bench.server.reply = gpt_5

    rows = bench.run(llm=ONE_BY_ONE)

    assert [row["generation"] for row in rows] == ["fine"] * 5
    assert len(bench.calls) == 5 + 2
    assert all(body["max_completion_tokens"] == 50 for body in bench.calls[1:])
    assert bench.result.exit_code == 0


def test_a_rerun_finds_every_reply_and_keeps_the_record_of_what_was_changed(bench):
    bench.server.reply = gpt_5
    bench.run(llm=ONE_BY_ONE)
    first = bench.record["adaptations"]

    bench.run(llm=ONE_BY_ONE)

    assert bench.calls == []
    assert bench.record["adaptations"] == first
    assert [(a["action"], a["parameter"]) for a in first] == [("rename", "max_tokens"), ("drop", "temperature")]
    assert first[1]["message"] == "m refuses `temperature`, a default of the task: it is not sent"


def test_a_later_run_with_more_rows_makes_no_refused_call(bench):
    bench.server.reply = gpt_5
    bench.run(llm=ONE_BY_ONE)
    bench.rows(9)

    rows = bench.run(llm=ONE_BY_ONE, overwrite=True)

    assert len(rows) == 9
    assert len(bench.calls) == 4
    assert all("max_tokens" not in body and "temperature" not in body for body in bench.calls)


def test_without_a_store_each_run_learns_for_itself(bench):
    bench.server.reply = gpt_5
    bench.run(llm=ONE_BY_ONE, store=False)

    bench.run(llm=ONE_BY_ONE, store=False)

    assert len(bench.calls) == 5 + 2


def test_at_most_the_calls_in_flight_are_refused(bench):
    """The first 64 calls may all be refused; what is refused after that is refused to one call."""
    bench.server.reply, bench.server.delay = gpt_5, 0.005
    bench.rows(300)

    rows = bench.run(llm={"limits": {"concurrency": 64}})

    assert len(rows) == 300
    assert bench.result.stats.failed == 0
    refused = [body for body in bench.calls if "max_tokens" in body or "temperature" in body]
    assert len(refused) <= 64 + 1
    assert len(bench.calls) == 300 + len(refused)


@pytest.mark.parametrize(
    ("llm", "hint"),
    [
        ({"generation": {"temperature": 0.5}}, "remove `generation.temperature` from llm, or change it"),
        ({"generation": {"extra_body": {"top_k": 3}}}, "remove `generation.extra_body.top_k` from llm, or change it"),
    ],
)
def test_what_the_user_set_ends_the_run_at_once(bench, llm, hint):
    def reply(body):
        name = "top_k" if "top_k" in body else "temperature"
        return refusal(f"Unknown parameter: '{name}'.", "unknown_parameter", name) if name in body else "fine"

    bench.server.reply = reply
    bench.rows(100)

    with pytest.raises(EndpointError) as raised:
        bench.run(llm={**ONE_BY_ONE, **llm})

    assert len(bench.calls) == 1
    assert "m refuses `" in str(raised.value)
    assert hint in str(raised.value)


def test_a_token_limit_of_the_user_is_renamed_too(bench):
    bench.server.reply = gpt_5

    bench.run(llm={**ONE_BY_ONE, "generation": {"max_tokens": 7}})

    assert [body.get("max_completion_tokens") for body in bench.calls[1:]] == [7] * 6


def test_null_removes_a_default_of_the_task(bench):
    bench.server.reply = gpt_5

    bench.run(llm={**ONE_BY_ONE, "generation": {"temperature": None, "max_tokens": None}})

    assert len(bench.calls) == 5
    assert all(body.keys() == {"model", "messages"} for body in bench.calls)


def test_a_system_message_goes_into_the_first_user_message(bench):
    """E4."""
    bench.spec(SYSTEM)
    bench.server.reply = gemma

    rows = bench.run(llm=ONE_BY_ONE)

    assert [row["generation"] for row in rows] == ["fine"] * 5
    assert len(bench.calls) == 6
    sent = sorted(body["messages"][-1]["content"] for body in bench.calls if len(body["messages"]) == 1)
    assert sent == [f"Be kind.\n\nquestion {i}" for i in range(5)]
    assert bench.record["adaptations"][0]["action"] == "merge_system"
    bench.run(llm=ONE_BY_ONE)
    assert bench.calls == []


def test_logprobs_of_a_task_that_can_do_without_are_left_out(bench):
    """E5: a 403 about a parameter is no question of rights."""
    bench.spec(SPEC.replace("max_tokens: 50", "logprobs: true, top_logprobs: 3"))
    bench.server.reply = lambda body: (
        refusal("You are not allowed to request logprobs from this model", None, status=403)
        if "logprobs" in body
        else "fine"
    )

    bench.run(llm=ONE_BY_ONE)

    assert len(bench.calls) == 6
    assert "top_logprobs" not in bench.calls[-1]


def test_a_task_that_needs_the_parameter_ends_at_once(bench):
    bench.spec(LOGPROBS)
    bench.server.reply = lambda body: refusal(
        "You are not allowed to request logprobs from this model", None, status=403
    )

    with pytest.raises(EndpointError, match=r"m refuses `logprobs`[^\n]*\n.*`logprobs` parser needs them"):
        bench.run(llm=ONE_BY_ONE)

    assert len(bench.calls) == 1


def test_a_schema_that_the_server_refuses_is_left_out_once_and_replies_are_still_checked(bench):
    """The neighbour of E11."""
    bench.spec(SPEC.replace("format_output: {parser: text}", "format_output: {parser: json}\nstructured_output: true"))
    result = "Invalid schema for response_format 'judge': In context=(), 'minLength' is not permitted."
    bench.server.reply = lambda body: (
        refusal(result, "invalid_json_schema", "response_format")
        if "response_format" in body
        else '{"generation": "x"}'
    )

    rows = bench.run(llm=ONE_BY_ONE)

    assert [row["generation"] for row in rows] == ["x"] * 5
    assert len(bench.calls) == 6
    assert "replies are still checked" in bench.record["adaptations"][0]["message"]


def test_of_two_that_exclude_each_other_one_stays(bench):
    bench.spec(SPEC.replace("max_tokens: 50", "top_p: 0.9"))
    result = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    bench.server.reply = lambda body: refusal(result, None) if {"temperature", "top_p"} <= body.keys() else "fine"

    bench.run(llm=ONE_BY_ONE)

    assert len(bench.calls) == 6
    assert bench.calls[-1]["temperature"] == 0


def test_of_two_that_exclude_each_other_the_users_stays(bench):
    result = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    bench.server.reply = lambda body: refusal(result, None) if {"temperature", "top_p"} <= body.keys() else "fine"

    bench.run(llm={**ONE_BY_ONE, "generation": {"top_p": 0.5}})

    assert bench.calls[-1]["top_p"] == 0.5
    assert "temperature" not in bench.calls[-1]


def test_an_ordinary_400_is_a_row_and_changes_nothing(bench):
    bench.server.reply = lambda body: (
        refusal("Request with temperature=0 can't be processed: messages[0] is empty", None)
        if "question 2" in body["messages"][-1]["content"]
        else "fine"
    )

    rows = bench.run(llm=ONE_BY_ONE)

    assert [row["generation"] for row in rows].count(None) == 1
    assert len(bench.calls) == 5
    assert "adaptations" not in bench.record


def test_a_gateway_message_about_the_context_is_the_rows_own(bench):
    """E9."""
    result = (
        "litellm.BadRequestError: litellm.ContextWindowExceededError: AnthropicError - the request has 209303 tokens. "
        "Received Model Group=m"
    )
    bench.server.reply = lambda body: (
        refusal(result, "400") if "question 1" in body["messages"][-1]["content"] else "fine"
    )

    rows = bench.run(llm=ONE_BY_ONE)

    assert rows[1]["distask_metadata"]["error_judge"]["kind"] == "context_length"
    assert len(bench.calls) == 5


def test_a_store_of_the_version_before_gets_the_table(bench):
    bench.run(llm=ONE_BY_ONE)
    path = bench.folder / ".distask" / "store.db"
    with sqlite3.connect(path) as db:
        for table in ("adaptations", "runs", "sources"):
            db.execute(f"DROP TABLE {table}")
        db.execute("ALTER TABLE completions DROP COLUMN source")
        db.execute("PRAGMA user_version = 3")
    bench.rows(6)
    bench.server.reply = gpt_5

    bench.run(llm=ONE_BY_ONE, overwrite=True)
    bench.run(llm=ONE_BY_ONE)

    assert bench.calls == []
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM adaptations").fetchone() == (2,)


def test_a_fallback_model_learns_for_itself(bench):
    """The fallback shares the client; what one model refuses, the other may take."""
    bench.spec(
        SPEC.replace("text}", "regex, pattern: 'Score: (?P<generation>.*)'}\non_invalid: {fallback: {model: big}}")
    )
    bench.server.reply = lambda body: (
        refusal("Unsupported parameter: 'temperature'", "unsupported_parameter", "temperature")
        if body["model"] == "big" and "temperature" in body
        else "Score: 1"
        if body["model"] == "big"
        else "no"
    )

    rows = bench.run(llm=ONE_BY_ONE)

    assert [row["generation"] for row in rows] == ["1"] * 5
    assert len(bench.calls) == 5 + 1 + 5
    assert all("temperature" in body for body in bench.calls if body["model"] == "m")
    bench.run(llm=ONE_BY_ONE)
    assert bench.calls == []


def test_steps_of_one_task_share_what_was_learned(bench):
    """Two steps, one model: its refusals are met once."""
    (bench.folder / "first.yaml").write_text(SPEC)
    bench.spec(
        "name: twice\ninputs: {instruction: I.}\noutputs: {generation: G., again: A.}\nsteps:\n"
        "  - {task: first.yaml, name: one}\n"
        "  - {task: first.yaml, name: two, input_mappings: {instruction: generation}, output_mappings: {generation: again}}\n"
    )
    bench.server.reply = gpt_5
    from distask import load

    before = len(bench.server.requests)
    config = {"model": "m", "base_url": bench.server.url, "api_key_env": None, **ONE_BY_ONE}
    run(load(bench.folder / "task.yaml"), bench.folder / "in.jsonl", llm=config, output=bench.out)

    assert len(bench.server.requests) - before == 5 + 1 + 2  # the second step sends one text, at temperature 0
    assert len(bench.record["adaptations"]) == 2
