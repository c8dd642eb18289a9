"""A run by batches writes the rows of a plain one, asks nothing twice, and can be left and come back to at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from distask import load, run
from distask.batch_ledger import Ledger
from distask.errors import EndpointError, RunError, UsageError
from distask.runner.engine.budget import CostReached
from tests.batch_server import BatchServer
from tests.server import Reply, echo

ROOT = Path(__file__).resolve().parent.parent

ANSWER = """
name: answer
inputs: {instruction: The instruction.}
format_input: [{role: user, content: "{{ instruction }}"}]
outputs: {generation: The reply.}
format_output: {parser: text}
"""
RATE = """
name: rate
inputs: {instruction: The instruction.}
format_input: [{role: user, content: "{{ instruction }}"}]
outputs: {score: {type: integer, minimum: 1, maximum: 5}}
format_output: {parser: regex, pattern: 'Score: (?P<score>\\d+)'}
on_invalid: {retry: 1, feedback: true}
"""


class BatchContext:
    """A folder with a task, rows, and a server that has Batches."""

    def __init__(self, folder, server):
        self.folder, self.server = folder, server
        self.spec(ANSWER)
        self.rows({"instruction": f"question {i}"} for i in range(5))

    def spec(self, text):
        (self.folder / "task.yaml").write_text(text)

    def rows(self, rows):
        (self.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(self, *, output="out.jsonl", limits=None, llm=None, batch=True, **options):
        config = {
            "model": "m",
            "base_url": self.server.url,
            "api_key_env": None,
            "limits": {"batch_poll": 0.01} | (limits or {}),
        }
        self.result = run(
            load(self.folder / "task.yaml"), self.folder / "in.jsonl", llm=config | (llm or {}),
            output=self.folder / output, batch=batch, **options,
        )  # fmt: skip
        return [json.loads(line) for line in (self.folder / output).read_text().splitlines()]

    def plain(self, **options):
        """The bytes of a plain run's output, whose replies are kept elsewhere."""
        self.run(output="plain.jsonl", batch=False, store=False, **options)
        return (self.folder / "plain.jsonl").read_bytes()

    @property
    def out(self):
        return (self.folder / "out.jsonl").read_bytes()

    def ledger(self):
        return Ledger(self.folder / ".distask" / "store.db")

    def command(self, *arguments):
        return [
            sys.executable, "-m", "distask", "run", "task.yaml", "-i", "in.jsonl", "-o", "out.jsonl", "--batch", "--model", "m",
            "--base-url", self.server.url, "--set", "limits.batch_poll=0.01", *arguments,
        ]  # fmt: skip

    def process(self, *arguments):
        env = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI")} | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def server():
    with BatchServer() as running:
        yield running


@pytest.fixture
def batches(tmp_path, server):
    return BatchContext(tmp_path, server)


STEPS = """
inputs: {instruction: The instruction.}
steps:
  - repeat: 2
    steps: [{task: answer.yaml, output_mappings: {generation: instruction}}]
  - for_each: side in ["left", "right"]
    steps:
      - task: {format_input: [{role: user, content: "{{ side }} {{ instruction }}"}], outputs: {turn: T.}, format_output: {parser: text}}
        name: turn
  - sort: {by: instruction, descending: true}
  - limit: 2
  - {task: answer.yaml, when: turn is not none}
"""


def test_a_task_of_steps_goes_through_batches_step_by_step(batches):
    """Each batch takes what all rows are ready for; behind a step that waits for all rows only those that go on are asked for."""
    (batches.folder / "answer.yaml").write_text(ANSWER)
    batches.spec(STEPS)

    batches.run()

    assert len(batches.server.batches) == 4
    assert batches.result.stats.completions == 22
    assert batches.out == batches.plain()


def bodies(lines):
    return sorted(json.dumps(line["body"], sort_keys=True) for line in lines)


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        (ANSWER, {}),
        (ANSWER, {"num_generations": 3}),
        (ANSWER, {"num_generations": 2, "group_generations": True}),
        (ANSWER, {"llm": {"generation": {"seed": 4, "max_tokens": 9, "temperature": 0.5}}}),
        (ANSWER, {"llm": {"generation": {"temperature": 0}}}),
        (ANSWER + "structured_output: true\n", {}),
    ],
)
def test_the_rows_are_those_of_a_plain_run_byte_by_byte(batches, spec, options):
    """Equal rows among them: the requests of a batch are the very bodies of plain calls."""
    batches.spec(spec)
    batches.rows([{"instruction": f"question {i % 4}", "note": 1.0} for i in range(7)])
    expected = batches.plain(**options)
    asked, batches.server.requests[:] = list(batches.server.requests), []

    batches.run(**options)

    assert batches.out == expected
    assert bodies(batches.server.lines) == bodies({"body": body} for body in asked)
    assert len({line["custom_id"] for line in batches.server.lines}) == len(batches.server.lines)


def test_embeddings_go_in_batches_of_their_own_path(batches):
    batches.server.reply = lambda body: json.dumps([0.5, len(body["input"])])
    batches.spec((ROOT / "tasks" / "generate-embeddings.yaml").read_text())
    batches.rows([{"text": "a"}, {"text": "bb"}])

    rows = batches.run()

    assert [row["embedding"] for row in rows] == [[0.5, 1], [0.5, 2]]
    assert [batch["endpoint"] for batch in batches.server.batches.values()] == ["/v1/embeddings"]


def test_requests_are_split_at_most_that_a_batch_holds(batches):
    batches.run(limits={"batch_requests": 2})

    assert [batch["request_counts"]["total"] for batch in batches.server.batches.values()] == [2, 2, 1]


def test_requests_are_split_at_most_that_a_file_holds(batches):
    batches.rows({"instruction": "x" * 1000} for _ in range(5))

    batches.run(limits={"batch_megabytes": 0.0025})

    assert [batch["request_counts"]["total"] for batch in batches.server.batches.values()] == [2, 2, 1]


def test_a_request_larger_than_a_file_may_be_is_its_rows_failure(batches):
    batches.rows([{"instruction": "short"}, {"instruction": "x" * 3000}])

    rows = batches.run(limits={"batch_megabytes": 0.0025})

    assert [row["generation"] for row in rows] == ["short", None]
    assert rows[1]["distask_metadata"]["error_answer"]["kind"] == "too_large"
    assert batches.result.exit_code == 3


def test_what_the_store_has_is_not_submitted(batches):
    batches.run()
    batches.rows({"instruction": f"question {i}"} for i in range(8))

    batches.run(overwrite=True)

    assert [batch["request_counts"]["total"] for batch in batches.server.batches.values()] == [5, 3]
    assert len(batches.server.requests) == 8


def test_replies_of_a_batch_serve_a_plain_run(batches):
    batches.run()
    made = batches.out
    batches.server.requests.clear()

    batches.run(batch=False)

    assert batches.out == made
    assert batches.server.requests == []


def test_an_invalid_reply_is_requested_again_in_the_next_batch(batches):
    batches.spec(RATE)
    batches.server.reply = lambda body: "Score: 4" if len(body["messages"]) > 1 or "3" in echo(body) else "Score: 9"
    expected = batches.plain()

    rows = batches.run()

    assert batches.out == expected
    assert [row["score"] for row in rows] == [4] * 5
    assert [batch["request_counts"]["total"] for batch in batches.server.batches.values()] == [5, 4]


def test_a_refused_request_is_its_rows_failure_as_in_a_plain_run_and_is_requested_again_by_the_next(batches):
    refusal = Reply(400, body={"error": {"message": "too long", "code": "context_length_exceeded"}})
    batches.server.reply = lambda body: refusal if "question 2" in echo(body) else None
    expected = batches.plain()

    batches.run()
    failed = batches.out
    batches.server.reply = echo
    rows = batches.run()

    assert failed == expected
    assert [row["generation"] for row in rows] == [f"question {i}" for i in range(5)]
    assert [batch["request_counts"]["total"] for batch in batches.server.batches.values()] == [5, 1]


@pytest.mark.parametrize(
    "fate",
    [
        "expired",
        "lost",
        Reply(500, body={"error": {"message": "overloaded"}}),
        Reply(429, body={"error": {"message": "slow"}}),
    ],
)
def test_what_the_provider_did_not_answer_is_in_the_next_batch(batches, fate):
    tried = Counter()

    def once(line):
        tried[line["custom_id"]] += 1
        return fate if "question 3" in echo(line["body"]) and tried[line["custom_id"]] == 1 else None

    batches.server.fate = once

    rows = batches.run()

    assert [row["generation"] for row in rows] == [f"question {i}" for i in range(5)]
    assert [batch["request_counts"]["total"] for batch in batches.server.batches.values()] == [5, 1]


def test_a_request_that_fails_in_three_batches_is_its_rows_failure(batches):
    batches.server.fate = lambda line: "expired" if "question 3" in echo(line["body"]) else None

    rows = batches.run()

    assert rows[3]["distask_metadata"]["error_answer"] == {
        "kind": "expired",
        "message": "the batch expired before this request was processed (tried in 3 batches)",
    }
    assert [batch["request_counts"]["total"] for batch in batches.server.batches.values()] == [5, 1, 1]


def test_a_server_that_sends_fewer_replies_than_n_is_asked_for_the_rest_one_by_one(batches):
    batches.server.honours_n = False

    rows = batches.run(num_generations=3)

    assert len(rows) == 15
    assert all(row["generation"] for row in rows)
    assert [batch["request_counts"]["total"] for batch in batches.server.batches.values()] == [5, 10]


def test_a_server_that_refuses_n_is_asked_one_by_one(batches):
    refusal = Reply(400, body={"error": {"message": "`n` must be 1"}})
    batches.server.reply = lambda body: refusal if body.get("n", 1) > 1 else None

    rows = batches.run(num_generations=2)

    assert [row["generation"] for row in rows] == [f"question {i // 2}" for i in range(10)]


def test_a_batch_that_is_refused_ends_the_run_with_the_providers_words_and_can_be_submitted_again(batches):
    batches.server.refuse = lambda lines: [{"code": "model_not_found", "message": "there is no model m", "line": 1}]

    with pytest.raises(EndpointError, match="there is no model m"):
        batches.run()
    batches.server.refuse = lambda lines: []

    assert len(batches.run()) == 5


def test_batches_become_smaller_where_the_providers_queue_is_full(batches):
    full = [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached", "line": None}]
    batches.server.refuse = lambda lines: full if len(lines) > 2 else []

    rows = batches.run()

    assert [row["generation"] for row in rows] == [f"question {i}" for i in range(5)]
    assert [batch["request_counts"]["total"] for batch in batches.server.batches.values()] == [5, 2, 2, 1]


def test_requests_that_all_fail_the_same_way_end_the_run(batches):
    batches.rows({"instruction": f"question {i}"} for i in range(20))
    batches.server.reply = lambda body: Reply(400, body={"error": {"message": "unsupported parameter: top_p"}})

    with pytest.raises(EndpointError, match=r"all 20 requests failed the same way.*unsupported parameter"):
        batches.run()


def test_what_a_model_refuses_of_the_tasks_defaults_is_left_out_of_the_next_batch(batches):
    """Every request of the first batch fails the same way, and none of the second; a rerun submits nothing."""
    batches.spec(ANSWER + "llm: {temperature: 0}\n")
    batches.rows({"instruction": f"question {i}"} for i in range(25))
    result = "Unsupported parameter: 'temperature' is not supported with this model."
    refusal = Reply(400, body={"error": {"message": result, "code": "unsupported_parameter", "param": "temperature"}})
    batches.server.reply = lambda body: refusal if "temperature" in body else None

    rows = batches.run()

    assert [row["generation"] for row in rows] == [f"question {i}" for i in range(25)]
    assert [batch["request_counts"]["total"] for batch in batches.server.batches.values()] == [25, 25]
    batches.run()
    assert len(batches.server.batches) == 2


def test_what_a_model_refuses_of_the_users_keywords_ends_a_run_of_batches(batches):
    refusal = Reply(400, body={"error": {"message": "Unsupported parameter: 'seed'", "param": "seed"}})
    batches.server.reply = lambda body: refusal if "seed" in body else None

    with pytest.raises(EndpointError, match=r"(?s)m refuses `seed`.*remove `generation.seed` from llm"):
        batches.run(llm={"generation": {"seed": 3}})


def test_a_run_can_be_left_and_come_back_to(batches):
    """The second process finds the batch in the store and submits nothing; the third finds it ended."""
    batches.server.held = True
    for _ in range(2):
        with pytest.raises(RunError, match="1 batch is in progress, 0 of 5 requests done") as left:
            batches.run(wait=False)
        assert left.value.exit_code == 130
    batches.server.held = False
    left_again = 0
    while True:
        try:
            rows = batches.run(wait=False)
            break
        except RunError:
            left_again += 1

    assert left_again == 2
    assert len(rows) == 5
    assert len(batches.server.batches) == 1


def test_a_plain_run_refuses_to_pay_for_what_is_in_a_batch(batches):
    batches.server.held = True
    with pytest.raises(RunError):
        batches.run(wait=False)

    with pytest.raises(UsageError, match="5 requests of this task are in batches"):
        batches.run(batch=False)
    assert batches.server.requests == []


@pytest.mark.battery
@pytest.mark.parametrize(("stalls", "files"), [("early", 1), ("late", 0)])
def test_a_process_killed_while_a_batch_is_made_pays_once(batches, stalls, files):
    """Before the provider had the batch, its file is left over; after, the batch is known by its mark."""
    batches.server.stalls = stalls
    process = batches.process()
    assert batches.server.stalled.wait(60)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    batches.server.stalls = None

    rows = batches.run()

    assert [row["generation"] for row in rows] == [f"question {i}" for i in range(5)]
    assert len(batches.server.batches) == 1
    assert len(batches.server.requests) == 5
    assert batches.server.files == {}


def test_a_batch_whose_making_was_not_answered_is_not_made_again(batches):
    batches.server.stalls = "drop"

    rows = batches.run()

    assert len(rows) == 5
    assert len(batches.server.batches) == 1


def test_two_processes_do_not_submit_the_same(batches):
    """The second waits for the batch of the first."""
    batches.server.held = True
    with pytest.raises(RunError):
        batches.run(wait=False)

    with pytest.raises(RunError):
        batches.run(wait=False, output="other.jsonl", store=batches.folder / ".distask" / "store.db")

    assert len(batches.server.batches) == 1


def test_ctrl_c_while_waiting_says_how_to_come_back(batches):
    batches.server.held = True
    process = batches.process()
    for line in process.stderr:
        if "in progress" in line or "validating" in line:
            break
    process.send_signal(signal.SIGINT)
    _, result = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "1 batch is in progress, 0 of 5 requests done" in result
    assert "distask run task.yaml" in result
    batches.server.held = False
    done = batches.process()
    done.communicate(timeout=60)
    assert done.returncode == 0
    assert len(batches.server.batches) == 1


def test_a_cancelled_batch_ends_the_run_with_what_it_had_in_the_store(batches):
    batches.server.held = True
    with pytest.raises(RunError):
        batches.run(wait=False)
    name = next(iter(batches.server.batches))
    batches.server._batches("POST", [name, "cancel"], "", b"")

    with pytest.raises(RunError, match="was cancelled"):
        batches.run()
    batches.server.held = False
    batches.run()

    assert [batch["request_counts"]["total"] for batch in batches.server.batches.values()] == [5, 2]
    assert len(batches.server.requests) == 5


def test_nothing_of_the_rows_is_left_behind(batches):
    """Neither in the provider's files nor here: the store holds no prompt."""
    batches.rows([{"instruction": "a secret instruction"}])
    batches.server.reply = lambda body: "an answer"

    batches.run(llm={"generation": {"max_tokens": 5}})

    assert batches.server.files == {}
    left = [path for path in (batches.folder / ".distask").rglob("*") if path.is_file()]
    assert all(b"a secret instruction" not in path.read_bytes() for path in left)
    assert not list((batches.folder / ".distask").glob("*.batch"))


def test_a_batch_costs_the_share_that_the_config_says(batches):
    price = {"price": {"input": 1_000_000, "output": 0, "batch": 0.5}}

    batches.run(llm=price)

    assert batches.result.stats.cost == pytest.approx(0.5 * 10)  # two words of each of five questions
    assert batches.result.stats.completions == 5
    assert batches.result.stats.stored == 0


@pytest.mark.parametrize(("sent", "cost"), [({}, 5 * 0.5 * (10 * 1 + 10 * 0.25)), ({"cost": 0.125}, 5 * 0.125)])
def test_cached_tokens_and_sent_costs_of_a_batch_count_as_those_of_a_call(batches, sent, cost):
    """A server that sends a cost has taken its own discount off."""
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "total_tokens": 25,
        "prompt_tokens_details": {"cached_tokens": 10},
    }
    choices = [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]
    batches.server.reply = lambda body: {"choices": choices, "usage": usage | sent}
    price = {"price": {"input": 1_000_000, "output": 0, "cached_input": 250_000, "batch": 0.5}}

    rows = batches.run(llm=price)

    assert batches.result.stats.cost == pytest.approx(cost)
    assert batches.result.stats.cached_tokens == 50
    assert {row["distask_metadata"]["statistics_answer"]["cached_tokens"] for row in rows} == {10}


def test_costs_that_a_batch_sends_are_known_without_a_price(batches):
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25, "cost": 0.125}
    choices = [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]
    batches.server.reply = lambda body: {"choices": choices, "usage": usage}

    batches.run()

    assert batches.result.stats.cost_usd == pytest.approx(5 * 0.125)


def test_max_cost_submits_what_it_leaves_and_continues_with_what_that_did_not_cost(batches):
    """A request may cost 10 (its reply's limit); three fit in 30. What they cost, 1 each, leaves room for more."""
    price = {"price": {"input": 0, "output": 1_000_000}, "generation": {"max_tokens": 10}}
    batches.server.reply = lambda body: "one"

    with pytest.raises(CostReached):
        batches.run(llm=price, max_cost=12)

    assert [batch["request_counts"]["total"] for batch in batches.server.batches.values()] == [1, 1, 1]
    rows = batches.run(llm=price, max_cost=35)
    assert len(rows) == 5


def test_a_server_without_batches_is_said_to_have_none(batches, tmp_path):
    from tests.server import ScriptedServer

    with ScriptedServer() as plain:
        batches.server = plain
        with pytest.raises(EndpointError, match="omit --batch"):
            batches.run()


def test_batches_need_the_store(batches):
    with pytest.raises(UsageError, match="remove --no-store"):
        batches.run(store=False)
