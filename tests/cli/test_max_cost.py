"""`--max-cost`: the run stops before a call that might pass it, keeps all, and goes on when it is run again."""

from __future__ import annotations

import json

import pytest

RATES = ["--set", "price.input=1000", "--set", "price.output=10000", "--set", "llm.max_tokens=10"]
"""A tenth of a cent for a token in, a cent for one out: a call costs 10.7 cents at the most."""


@pytest.fixture
def twenty(shell):
    shell.rows([{"instruction": f"question {i:04}"} for i in range(20)])
    shell.server.reply = lambda body: " ".join(["word"] * 8)  # 8 cents, and 0.2 for the chat
    return shell


def spent(shell):
    """What the server was asked for, in USD."""
    return sum(len(r["messages"][0]["content"].split()) * 0.001 + 8 * 0.01 for r in shell.server.requests)


@pytest.mark.parametrize("concurrency", ["1", "4", "64"])
def test_it_never_passes_the_limit_and_uses_what_fits(twenty, concurrency):
    """Half a dollar: six calls of 8.2 cents would be 49.2, but before the sixth 41 are spent and 10.8 may be needed."""
    result = twenty.run(*RATES, "--max-cost", "0.5", "-j", concurrency)

    assert result.code == 1
    assert 0.5 - 0.12 <= spent(twenty) <= 0.5
    assert "$0.41 of $0.50 (--max-cost) is spent" in result.err
    assert "5 of 20 rows are done, in answer.in.jsonl.partial" in result.err
    assert "replies received so far are cached" in result.err
    assert (
        "to resume and spend up to the same amount again, run the same command:\n\n  distask run task.yaml"
        in result.err
    )


def test_the_same_command_continues_and_pays_for_nothing_twice(twenty):
    for _ in range(4):
        result = twenty.run(*RATES, "--max-cost", "0.5")

    assert result.code == 0
    assert len(twenty.server.requests) == 20
    assert len(twenty.lines("answer.in.jsonl")) == 20


def test_a_limit_that_no_call_fits_in_asks_nothing_and_says_so(twenty):
    result = twenty.run(*RATES, "--max-cost", "0.05")

    assert (result.code, twenty.server.requests) == (1, [])
    assert "the next request may cost $0.12, and $0 of $0.050 (--max-cost) is spent" in result.err
    assert "to resume, run the same command with a higher --max-cost" in result.err


def test_a_request_without_max_tokens_is_estimated_with_a_long_reply_and_that_is_said(twenty):
    """A tenth of a dollar would do for a reply; nothing says how long one may be."""
    result = twenty.run(*RATES[:4], "--max-cost", "1")

    assert (result.code, twenty.server.requests) == (1, [])
    assert (
        "(it has no max_tokens, so its reply may have 4,096 tokens; set a limit with --set llm.max_tokens=500)"
        in result.err
    )


def test_a_limit_that_all_fits_in_changes_nothing(twenty):
    result = twenty.run(*RATES, "--max-cost", "100", "--json", "-q")

    assert result.code == 0
    assert twenty.events[-1]["counts"]["cost_usd"] == pytest.approx(20 * 0.082)


def test_without_a_price_it_is_refused_before_any_call(twenty):
    result = twenty.run("--max-cost", "1")

    assert (result.code, twenty.server.requests) == (2, [])
    assert "--set price.input=0.40 --set price.output=1.60" in result.err


def test_the_summary_and_the_record_say_what_was_spent(twenty):
    result = twenty.run(*RATES)

    assert "cost        $1.64 ($1,000.00 in, $10,000.00 out per million tokens, from the config)" in result.err
    record = json.loads((twenty.folder / "answer.in.jsonl.run.json").read_text())
    assert record["counts"]["cost_usd"] == 1.64


def test_a_run_whose_price_nobody_knows_says_nothing_of_cost(twenty):
    assert "cost" not in twenty.run().err
    assert json.loads((twenty.folder / "answer.in.jsonl.run.json").read_text())["counts"]["cost_usd"] is None


def test_rows_longer_than_the_context_are_reported_before_the_run(shell):
    """The context of a model in this process is in its config; this one is no model, so that nothing more happens."""
    shell.rows([{"instruction": "short"}, {"instruction": "word " * 100}])
    shell.write("none.gguf", "GGUF and nothing more")
    shell.write("llm.yaml", "provider: llamacpp\nmodel: none.gguf\nllamacpp: {context: 64}\n")

    result = shell("run", "task.yaml", "-i", "in.jsonl", "-c", "llm.yaml")

    assert (
        "1 row is longer than the model's context of 64 tokens, and will probably fail: in.jsonl:2 (about 129 tokens)"
        in result.err
    )
