"""Batches from the command line: looked at, fetched and cancelled by other processes; requests out and results in as files."""

from __future__ import annotations

import json

import pytest

from tests.batch_server import BatchServer
from tests.server import Reply, echo


@pytest.fixture
def server():
    with BatchServer() as running:
        yield running


@pytest.fixture
def left(shell, server):
    """A shell whose run was left with a batch that is under way."""
    server.held = True
    result = batch_run(shell, "--no-wait")
    assert result.code == 130
    server.held = False
    return shell


def batch_run(shell, *more):
    return shell.run("-o", "out.jsonl", "--batch", "--set", "limits.batch_poll=0.01", *more)


def exported(shell, *more):
    result = shell(
        "export-batch", "task.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m", "-o", "asked.jsonl", *more
    )
    assert result.code == 0, result.err
    return result


def imported(shell, *more):
    return shell(
        "import-batch", "task.yaml", *more, "-i", "in.jsonl", "--base-url", "{url}", "--model", "m", "-o", "out.jsonl"
    )


def results(shell, server, name="results.jsonl", change=lambda result: result):
    """The results that a provider makes of the exported requests, in another order."""
    made = []
    for line in reversed(shell.lines("asked.jsonl")):
        body = server.completion(line["body"], echo(line["body"]))
        made.append(
            change(
                {
                    "id": "x",
                    "custom_id": line["custom_id"],
                    "response": {"status_code": 200, "request_id": "r", "body": body},
                    "error": None,
                }
            )
        )
    shell.write(name, "".join(json.dumps(line) + "\n" for line in made if line))


def test_a_batch_that_is_waited_for_is_reported_of_and_the_summary_is_a_plain_runs(shell):
    result = batch_run(shell)

    assert result.code == 0
    assert "1 batch (validating) · 0 of 5 requests done" in result.err
    assert "replies     5 requested, 0 from the store" in result.err


def test_a_run_that_is_left_says_how_to_come_back(shell, server):
    server.held = True

    result = batch_run(shell, "--no-wait")

    assert result.code == 130
    assert "1 batch is in progress, 0 of 5 requests done" in result.err
    assert "to check on the batch, run the same command" in result.err
    assert "--no-wait" in result.err
    assert not (shell.folder / "out.jsonl").exists()
    assert not (shell.folder / "out.jsonl.partial").exists()


def test_no_wait_without_batch_is_misuse(shell):
    result = shell.run("--no-wait")

    assert result.code == 2
    assert "--batch" in result.err


def test_another_process_reports_of_a_batch_fetches_it_and_the_run_writes_its_rows(left, server):
    looks = [left("batch", "status") for _ in range(2)]
    fetched = [left("batch", "fetch") for _ in range(2)]
    done = batch_run(left)

    assert "0 of 5 requests done" in looks[0].out
    assert "in progress" in looks[0].out
    assert "5 replies added to the store" in fetched[0].out
    assert "results are in the store" in fetched[1].out
    assert done.code == 0
    assert len(left.lines("out.jsonl")) == 5
    assert len(server.batches) == 1


def test_a_cancelled_batch_is_fetched_and_the_run_submits_the_rest(left, server):
    cancelled = left("batch", "cancel")
    fetched = left("batch", "fetch")
    done = batch_run(left)

    assert cancelled.code == 0
    assert "cancelled" in cancelled.out
    assert "3 replies added to the store" in fetched.out
    assert done.code == 0
    assert [batch["request_counts"]["total"] for batch in server.batches.values()] == [5, 2]
    assert len(server.requests) == 5


def test_a_batch_that_has_ended_is_not_cancelled(left, server):
    server.expire()

    result = left("batch", "cancel")

    assert "expired" in result.out
    assert not any(path.endswith("/cancel") for path in server.paths)


def test_batches_as_json(left):
    [result] = json.loads(left("batch", "status", "--json").out)["batches"]

    assert result["status"] == "in_progress"
    assert result["requests"] == {"total": 5, "done": 0, "failed": 0}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("batch", "status", "--store", "none.db"), "the store does not exist"),
        (("batch", "fetch", "batch_99"), "no such batch in this store"),
        (("batch", "show"), "show"),
    ],
)
def test_what_is_wrong_is_said(left, arguments, words):
    result = left(*arguments)

    assert result.code == 2
    assert words in result.err


def test_the_key_is_sent_and_never_kept(shell, server):
    shell.env["MY_KEY"] = "sk-canary-123456"
    batch_run(shell, "--set", "llm.api_key_env=MY_KEY", "--no-wait")

    result = shell("batch", "fetch")

    seen = [headers.get("authorization") for headers in server.headers_seen if headers]
    assert set(seen) == {"Bearer sk-canary-123456"}
    assert "canary" not in result.out + result.err
    kept = [path for path in (shell.folder / ".distask").rglob("*") if path.is_file()]
    assert all(b"canary" not in path.read_bytes() for path in kept)


def test_no_key_is_sent_where_there_is_none(shell, server):
    batch_run(shell, "--no-wait")

    assert all("authorization" not in headers for headers in server.headers_seen)


def test_exported_requests_are_the_bodies_of_a_plain_run(shell, server):
    shell.run("-o", "plain.jsonl", "--no-store")

    result = exported(shell)

    lines = shell.lines("asked.jsonl")
    assert "5 requests to asked.jsonl" in result.out
    assert sorted(map(json.dumps, (line["body"] for line in lines))) == sorted(map(json.dumps, server.requests))
    assert {(line["method"], line["url"]) for line in lines} == {("POST", "/v1/chat/completions")}


def test_imported_results_make_the_rows_of_a_plain_run(shell, server):
    shell.run("-o", "plain.jsonl", "--no-store")
    server.requests.clear()
    exported(shell)
    results(shell, server)

    result = imported(shell, "results.jsonl")

    assert result.code == 0, result.err
    assert (shell.folder / "out.jsonl").read_bytes() == (shell.folder / "plain.jsonl").read_bytes()
    assert server.requests == []


def test_rows_without_a_result_are_null_and_the_next_export_has_only_them(shell, server):
    """One is missing, one failed; and the run that follows asks only for these."""
    exported(shell)
    outcome = iter(["lost", "failed", None, None, None])

    def change(result):
        fate = next(outcome)
        if fate == "failed":
            body = {"error": {"message": "too long", "code": "context_length_exceeded"}}
            return result | {"response": {"status_code": 400, "request_id": "r", "body": body}}
        return None if fate else result

    results(shell, server, change=change)

    outcome = imported(shell, "results.jsonl")
    rows = shell.lines("out.jsonl")
    again = exported(shell, "--overwrite")
    done = shell.run("-o", "out.jsonl")

    assert outcome.code == 3
    assert [row["generation"] for row in rows] == ["question 0", "question 1", "question 2", None, None]
    assert [row["distask_metadata"]["error_answer"]["kind"] for row in rows[3:]] == ["context_length", "no_result"]
    assert "2 requests" in again.out
    assert done.code == 0
    assert len(server.requests) == 2


def test_the_results_of_vllm_run_batch_are_read(shell, server):
    """Its errors stand beside a status; its bodies name no object."""
    exported(shell)

    def change(result):
        if "question 4" in json.dumps(result):
            error = {"error": {"message": "maximum context length is 10", "type": "BadRequestError", "code": 400}}
            return result | {"response": {"status_code": 400, "request_id": "v", "body": None}, "error": error}
        return result

    results(shell, server, change=change)

    outcome = imported(shell, "results.jsonl")

    rows = shell.lines("out.jsonl")
    assert outcome.code == 3
    assert rows[4]["distask_metadata"]["error_answer"]["kind"] == "context_length"


def test_a_body_that_is_text_is_read(shell, server):
    """As some servers write it."""
    exported(shell)

    def change(result):
        result["response"]["body"] = json.dumps(result["response"]["body"])
        return result

    results(shell, server, change=change)

    assert imported(shell, "results.jsonl").code == 0


def test_results_of_another_run_are_refused(shell, server):
    exported(shell)
    results(shell, server)
    shell.rows([{"instruction": "something else"}])

    result = imported(shell, "results.jsonl")

    assert result.code == 2
    assert "no line answers a request of this run" in result.err


@pytest.mark.parametrize(("more", "words"), [((), "--model NAME"), (("-c", "offline"), "offline is not a server")])
def test_an_export_needs_a_server_and_a_model(shell, more, words):
    result = shell("export-batch", "task.yaml", "-i", "in.jsonl", "--base-url", "http://127.0.0.1:9/v1", *more)

    assert result.code == 2
    assert words in result.err


def test_a_server_that_refuses_all_alike_is_reported_by_its_words(shell, server):
    server.reply = lambda body: Reply(
        404, body={"error": {"message": "The model `m` does not exist", "code": "model_not_found"}}
    )

    result = batch_run(shell)

    assert result.code == 1
    assert "does not exist" in result.err


def test_a_dry_run_reckons_with_the_price_of_batches(shell):
    """Half of what a plain run costs, where the config says so."""
    price = ("--set", "price.input=1000", "--set", "price.output=0", "--set", "price.batch=0.5")
    costs = [
        json.loads(
            shell(
                "dry-run", "task.yaml", "-i", "in.jsonl", "--model", "m", "--base-url", "{url}", *price, "--json", *more
            ).out
        )["cost_usd"]
        for more in ((), ("--batch",))
    ]
    result = shell("dry-run", "task.yaml", "-i", "in.jsonl", "--model", "m", "--base-url", "{url}", *price, "--batch")

    assert costs[1]["least"] == pytest.approx(costs[0]["least"] / 2)
    assert "$500.00 in, $0.00 out per million tokens in batches, from the config" in result.out


def test_the_price_library_knows_what_openais_batches_cost(shell):
    result = [
        shell("dry-run", "task.yaml", "-i", "in.jsonl", "--model", "gpt-4.1-mini", *more).out
        for more in ((), ("--batch",))
    ]

    assert "$0.40 in ($0.10 cached), $1.60 out per million tokens, from genai-prices" in result[0]
    assert "$0.20 in ($0.10 cached), $0.80 out per million tokens in batches, from genai-prices" in result[1]


def test_fetched_replies_are_kept_until_the_run_that_submitted_them_has_written_its_rows(left, server):
    for _ in range(3):
        left("batch", "fetch")

    shown = json.loads(left("store", "show", "--json").out)
    kept = left("store", "prune", "--model", "m", "--yes")
    asked = len(server.requests)
    again = batch_run(left)
    pruned = left("store", "prune", "--model", "m", "--yes")

    assert [(s["task"], s["model"], s["replies"], s["run"]) for s in shown["sources"]] == [("answer", "m", 5, None)]
    assert len(shown["unfinished"]) == 1
    assert "kept 5 replies" in kept.err
    assert again.code == 0, again.err
    assert len(server.requests) == asked
    assert "deleted 5 replies" in pruned.err
