"""Tokens and costs in a run: the rows, the record, the summary, the events and the report agree, and a rerun costs nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distask.formatting import money
from distask.llm.config.model import Price
from distask.llm.prices import cost_of_usage, least_cost_of, most_cost_of
from distask.llm.request import Completion, Usage
from distask.llm.usage import share_usage
from distask.report.spending import Spending
from distask.runner.generations import statistics
from distask.runner.stats import Stats
from tests.report.conftest import text_of
from tests.server import Reply

PRICE = ["--set", "price.input=1000", "--set", "price.output=10000", "--set", "price.cached_input=100"]
CACHED = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
"""With `PRICE`: 10 at 0.1 cents, 10 at 0.01 cents, 9 at a cent: 10.1 cents."""


def replies(usage, headers=None):
    """What the server says to every request."""
    body = {"model": "m", "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}
    return lambda _: Reply(headers=headers or {}, body=body | {"usage": usage})


def record(shell):
    return json.loads((shell.folder / "answer.in.jsonl.run.json").read_text())


def statistics_of(shell):
    return [row["distask_metadata"]["statistics_answer"] for row in shell.lines("answer.in.jsonl")]


def report_of(shell):
    assert shell("report", "answer.in.jsonl", "-o", "page.html").code == 0
    return text_of(shell.folder / "page.html")


def test_cached_and_reasoning_tokens_are_kept_and_priced(shell):
    shell.server.reply = replies(CACHED)

    result = shell.run(*PRICE)

    assert (
        statistics_of(shell)
        == [{"input_tokens": 20, "output_tokens": 9, "cached_tokens": 10, "reasoning_tokens": 3}] * 5
    )
    counts = record(shell)["counts"]
    assert counts["tokens"] == {"input": 100, "output": 45, "cached": 50, "cache_writes": 0, "reasoning": 15}
    assert counts["cost_usd"] == pytest.approx(5 * 0.101)
    assert "tokens      100 in (50 cached), 45 out (15 reasoning)" in result.err
    assert "cost        $0.51 ($1,000.00 in ($100.00 cached), $10,000.00 out" in result.err
    result = report_of(shell)
    assert "100 in (50 cached), 45 out (15 reasoning)" in result
    assert "$0.51" in result


def test_a_rerun_costs_nothing_and_the_report_still_knows_what_the_rows_cost(shell):
    shell.server.reply = replies(CACHED)
    shell.run(*PRICE)

    result = shell.run(*PRICE)

    assert len(shell.server.requests) == 5
    assert "cost        $0 (" in result.err
    assert record(shell)["counts"]["cost_usd"] == 0
    assert statistics_of(shell)[0]["cached_tokens"] == 10
    assert "all replies here: $0.51" in report_of(shell)


@pytest.mark.parametrize("price", [[], PRICE])
@pytest.mark.parametrize(
    ("usage", "headers"),
    [({**CACHED, "cost": 0.02}, {}), (CACHED, {"x-litellm-response-cost": "0.02"}), ({**CACHED, "cost_in_usd_ticks": 2 * 10**8}, {})],
)  # fmt: skip
def test_a_cost_that_the_server_sends_wins(shell, price, usage, headers):
    """With and without a price."""
    shell.server.reply = replies(usage, headers)

    result = shell.run(*price)

    assert [s["cost_usd"] for s in statistics_of(shell)] == [0.02] * 5
    assert record(shell)["counts"]["cost_usd"] == pytest.approx(0.1)
    assert "cost        $0.10 (reported by the server)" in result.err
    assert "$0.10" in report_of(shell)


def test_a_rerun_knows_that_costs_are_sent(shell):
    shell.server.reply = replies({**CACHED, "cost": 0.02})
    shell.run()

    shell.run()

    assert record(shell)["counts"]["cost_usd"] == 0
    assert "$0 for 0 replies requested; all replies here: $0.10" in report_of(shell)


def test_without_a_price_and_a_sent_cost_none_is_known(shell):
    result = shell.run()

    assert record(shell)["counts"]["cost_usd"] is None
    assert "cost " not in result.err


def test_the_choices_of_a_request_share_its_usage(shell):
    def reply(body):
        choices = [{"index": i, "message": {"content": "x"}, "finish_reason": "stop"} for i in range(body["n"])]
        return {"choices": choices, "usage": {**CACHED, "cost": 0.02}}

    shell.server.reply = reply
    shell.rows([{"instruction": "one"}])

    shell.run("-n", "3")

    assert statistics_of(shell) == [
        {"input_tokens": 20, "output_tokens": 3, "cached_tokens": 10, "reasoning_tokens": 1, "cost_usd": 0.02},
        *[{"input_tokens": 0, "output_tokens": 3, "reasoning_tokens": 1, "cost_usd": 0.0}] * 2,
    ]
    assert record(shell)["counts"]["tokens"] == {
        "input": 20,
        "output": 9,
        "cached": 10,
        "cache_writes": 0,
        "reasoning": 3,
    }
    assert record(shell)["counts"]["cost_usd"] == 0.02


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv"])
def test_rows_with_and_without_cached_tokens_stand_together(shell, ending):
    """The report reads the sums from every format."""
    plain = {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29}
    of = {"question 3": {**CACHED, "cost": 0.5}}
    shell.server.reply = lambda body: replies(of.get(body["messages"][0]["content"], plain))(body)

    assert shell.run("-o", f"out.{ending}", *PRICE).code == 0
    assert shell.run("-o", f"out.{ending}", *PRICE).code == 0

    assert shell("report", f"out.{ending}", "-o", "page.html").code == 0
    html = (shell.folder / "page.html").read_text()
    assert "100 in (10 cached), 45 out (3 reasoning)" in html
    assert f"all replies here: {money(4 * 0.11 + 0.5)}" in html


def test_shards_whose_costs_are_known_have_a_sum(shell):
    shell.server.reply = replies({**CACHED, "cost": 0.02})
    shell.run("-o", "a.jsonl", "--shard", "1/2")
    shell.run("-o", "b.jsonl", "--shard", "2/2")

    assert shell("merge", "out.jsonl", "a.jsonl", "b.jsonl").code == 0

    counts = json.loads((shell.folder / "out.jsonl.run.json").read_text())["counts"]
    assert (counts["cost_usd"], counts["tokens"]["cached"]) == (pytest.approx(0.1), 50)


def test_two_results_are_compared_by_cost_and_cached_tokens(shell):
    shell.server.reply = replies({**CACHED, "cost": 0.02})
    shell.run("-o", "a.jsonl")
    usage = {**CACHED, "cost": 0.04, "prompt_tokens_details": {"cached_tokens": 20}}
    shell.server.reply = replies(usage)
    shell.run("-o", "b.jsonl", "--store", "other.db")

    assert shell("report", "a.jsonl", "b.jsonl", "-o", "page.html").code == 0

    words = text_of(shell.folder / "page.html")
    assert "Cost $0.10 → $0.20" in words
    assert "Cached tokens 50 → 100" in words
    assert "Reasoning tokens 15 → 15" in words


def test_an_invalid_reply_is_paid_too(shell):
    """What was spent on a row is all of its calls."""
    task = "name: answer\ninputs: {instruction: x}\nformat_input: [{role: user, content: '{{ instruction }}'}]\n"
    shell.write(
        "task.yaml", task + "outputs: {n: {type: integer}}\nformat_output: {parser: json}\non_invalid: {retry: 1}\n"
    )
    shell.server.reply = replies({**CACHED, "cost": 0.02})
    shell.rows([{"instruction": "one"}])

    shell.run()

    (spent,) = statistics_of(shell)
    assert (spent["cached_tokens"], spent["cost_usd"]) == (20, 0.04)
    assert record(shell)["counts"]["cost_usd"] == 0.04


def test_preview_shows_the_same_costs(shell):
    shell.server.reply = replies({**CACHED, "cost": 0.02})

    shell("preview", "task.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m", "--json")

    result = shell.events[-1]
    each = [generation for row in result["rows"] for generation in row["generations"]]
    assert [g["tokens"]["cached"] for g in each] == [10] * 3
    assert sum(g["cost_usd"] for g in each) == result["counts"]["cost_usd"] == pytest.approx(0.06)


def test_max_cost_counts_cached_tokens_at_their_price(shell):
    """At the price of input, the sixth call would not fit: 5 times 10 cents, and up to 12 for the next."""
    shell.server.reply = replies(CACHED)
    shell.rows([{"instruction": f"question {i:04}"} for i in range(20)])

    shell.run(*PRICE, "--max-cost", "0.5", "--set", "llm.max_tokens=9", "-j", "1")

    asked = len(shell.server.requests)
    assert asked * 0.101 <= 0.5
    assert asked >= 4


@pytest.mark.parametrize("concurrency", ["1", "64"])
def test_max_cost_counts_what_the_server_bills(shell, concurrency):
    """The gateway takes three times the price. Of the limit, a quarter is reserved before the first reply tells."""
    shell.server.reply = replies({"prompt_tokens": 2, "completion_tokens": 8, "total_tokens": 10, "cost": 0.246})
    shell.rows([{"instruction": f"question {i:04}"} for i in range(20)])

    result = shell.run(*PRICE, "--max-cost", "2", "--set", "llm.max_tokens=8", "-j", concurrency)

    assert result.code == 1
    assert 6 <= len(shell.server.requests) <= 8  # 8 cost $1.97
    assert "of $2.00 (--max-cost) is spent" in result.err


def test_max_cost_counts_a_discount_that_the_server_gives(shell):
    shell.server.reply = replies({"prompt_tokens": 2, "completion_tokens": 8, "total_tokens": 10, "cost": 0.001})
    shell.rows([{"instruction": f"question {i:04}"} for i in range(20)])

    result = shell.run(*PRICE, "--max-cost", "0.2", "--set", "llm.max_tokens=8", "-j", "1")

    assert (result.code, len(shell.server.requests)) == (0, 20)


def test_max_cost_needs_a_price_even_where_the_server_sends_costs(shell):
    """They come after the call, and a bound is needed before it."""
    shell.server.reply = replies({**CACHED, "cost": 0.02})

    result = shell.run("--max-cost", "1")

    assert (result.code, shell.server.requests) == (2, [])
    assert "--set price.input=0.40 --set price.output=1.60" in result.err


COUNTS = st.integers(0, 10**6)
PRICES = st.builds(
    Price,
    input=st.floats(0, 100),
    output=st.floats(0, 100),
    cached_input=st.none() | st.floats(0, 100),
    cache_write=st.none() | st.floats(0, 100),
)


@st.composite
def usages(draw):
    cached, written, plain, reasoning, text = (draw(COUNTS) for _ in range(5))
    cost = draw(st.none() | st.floats(0, 100))
    return Usage(cached + written + plain, reasoning + text, cached, written, reasoning, cost)


@settings(deadline=None)
@given(st.lists(st.tuples(usages(), st.integers(1, 4)), min_size=1, max_size=8), PRICES | st.none())
def test_the_same_replies_cost_the_same_everywhere(calls, price):
    """The count of a run, the sum over its replies, and the report that reads the rows."""
    stats = Stats(priced=price is not None)
    rows = []
    for usage, choices in calls:
        shares = share_usage(usage, choices)
        stats.paid([Completion("x", usage=share) for share in shares], price)
        rows += [statistics(share) for share in shares]
    report = Spending({"price": None if price is None else price.model_dump(exclude_defaults=True), "counts": {}})
    for row in rows:
        cost = row.pop("cost_usd", None)
        report.add([Usage(**row, cost=cost)])

    assert report.describe() == stats.tokens()
    expected = sum(cost_of_usage(price, usage) or 0.0 for usage, _ in calls)
    assert stats.cost == pytest.approx(expected)
    if report.usd is not None:
        assert report.usd == pytest.approx(expected)
    if stats.cost_usd is not None:
        assert stats.to_json()["cost_usd"] == pytest.approx(expected, abs=1e-11)
        assert money(stats.cost_usd) == money(round(stats.cost, 12))


@given(usages(), PRICES)
def test_a_price_lies_between_its_bounds(usage, price):
    """What dry-run says at least and at the most, and what --max-cost reserves."""
    asked, made = usage.input_tokens, usage.output_tokens
    cost = cost_of_usage(price, Usage(asked, made, usage.cached_tokens, 0))

    assert least_cost_of(price, asked, made) <= most_cost_of(price, asked, made) * (1 + 1e-9) + 1e-9
    if price.cached_input is not None and price.cached_input <= price.input:
        assert least_cost_of(price, asked, made) <= cost * (1 + 1e-9) + 1e-9
        assert cost <= most_cost_of(price, asked, made) * (1 + 1e-9) + 1e-9
