"""What a page says is what is in the output: each figure is counted again by hand."""

from __future__ import annotations

import json
import re
from collections import Counter
from statistics import mean, median

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distask.report.columns import GREATEST, LONG_LIST, ColumnTally
from distask.report.compare.agreement import AgreementTally
from distask.report.distribution import histogram, quantile
from distask.report.single import write_report
from tests.report.conftest import judged, text_of

NUMBERS = st.integers(-(10**9), 10**9) | st.floats(-GREATEST, GREATEST)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def column(facts, name):
    return next(c for c in facts["columns"] if c["name"] == name)


def test_every_count_equals_that_of_the_output(bench):
    output = bench.result(count=40)
    rows = lines(output)

    page, facts = bench.page(output)

    errors = Counter(
        r["distask_metadata"]["error_judge"]["kind"] for r in rows if "error_judge" in r["distask_metadata"]
    )
    scores = [r["score"] for r in rows if r["score"] is not None]
    assert sum(errors.values()) == 8
    assert (facts["rows"], facts["replies"], facts["failed"]) == (40, 40, 8)
    assert {f["kind"]: f["count"] for f in facts["failures"]} == errors
    result = column(facts, "score")
    assert dict(zip(result["histogram"]["edges"], result["histogram"]["counts"], strict=False)) == Counter(scores)
    assert (result["nulls"], result["spread"]["mean"], result["spread"]["median"]) == (8, mean(scores), median(scores))
    verdicts = Counter(r["verdict"] for r in rows if r["verdict"])
    assert {b["label"]: b["count"] for b in column(facts, "verdict")["labels"]} == verdicts
    assert {b["label"]: b["count"] for b in column(facts, "tags")["labels"]} == Counter(
        t for r in rows for t in r["tags"] or ()
    )
    assert {b["label"]: b["count"] for b in column(facts, "sure")["labels"]} == {
        "true": sum(r["sure"] is True for r in rows), "false": sum(r["sure"] is False for r in rows),
    }  # fmt: skip
    lengths = [len(r["reason"]) for r in rows if r["reason"] is not None]
    assert sum(column(facts, "reason")["histogram"]["counts"]) == len(lengths)
    assert column(facts, "reason")["spread"]["max"] == max(lengths)
    statistics = [r["distask_metadata"]["statistics_judge"] for r in rows]
    tokens = {part: sum(s[f"{part}_tokens"] for s in statistics) for part in ("input", "output")}
    assert f"{tokens['input']:,} in, {tokens['output']:,} out" in text_of(page)


def test_the_page_says_what_was_counted(bench):
    """The words of the page without any script: rows, failures with message and raw reply, cost, the way to make it again."""
    page, _ = bench.page(bench.result(count=20))

    result = text_of(page)

    assert "Replies 20 16 good, 4 failed (20%)" in result
    assert re.search(r"invalid 2 10% of replies .* I would call answer 8 decent\.", result)
    assert re.search(r"type 2 10% of replies .* 2 score: 9 is more than 5 Row 7", result)
    assert "poor 8 50% good 6 37.5% fair 2 12.5%" in result
    assert re.search(r"Cost \$0\.\d+ for 20 replies requested", result)
    assert re.search(r"Latency [\d.]+ m?s median; 90% in", result)
    assert "distask run judge.yaml --input in.jsonl --model m" in result


@pytest.mark.parametrize("grouped", [True, False])
def test_agreement_is_that_of_the_replies_to_each_row(bench, grouped):
    """Grouped or a row each, the same replies agree in the same way; a failed one says nothing."""

    def reply(body):
        number = int(body["messages"][-1]["content"].split()[0])
        calls[number] += 1
        score = 3 if number < 4 else min(5, calls[number])
        return (
            "nothing"
            if number == 5 and calls[number] > 2
            else json.dumps({"score": score, "verdict": "fair", "sure": True, "tags": [], "reason": "x"})
        )

    calls = Counter()
    bench.server.honours_n = False
    output = bench.result(count=6, reply=reply, num_generations=3, group_generations=grouped)

    page, facts = bench.page(output)

    result = next(a for a in facts["agreement"] if a["name"] == "score")
    assert (facts["rows"], facts["replies"], facts["samples"]) == (6 if grouped else 18, 18, 3)
    assert (result["groups"], result["agreed"]) == (6, 4)
    assert {level["of"]: level["groups"] for level in result["same"]} == {3: 4, 1: 2}
    assert result["mean_share"] == pytest.approx((4 + 1 / 3 + 1 / 2) / 6)
    assert "Show the 2 that disagree" in text_of(page)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_is_counted_as_json_lines_are(bench, ending):
    """CSV has no types: numbers, lists and the metadata are read from its texts."""
    _, result = bench.page(bench.result())
    _, same = bench.page(bench.result(f"out.{ending}"))

    for facts in (result, same):
        facts.pop("size")
        for measured in ("input_tokens", "output_tokens"):
            facts["measures"][measured].pop("name")
    assert same == result


STEPS = """
name: refine
inputs: {id: {type: integer}, question: The question.}
steps:
  - {task: {format_input: [{role: user, content: "{{ id }} {{ question }}"}], outputs: {answer: It.}, format_output: {parser: text}}, name: answer}
  - repeat: 2
    steps:
      - name: judge
        task:
          format_input: [{role: user, content: "{{ id }} grade {{ answer }} {{ loop_index }}"}]
          outputs: {score: {type: integer, maximum: 5}}
          format_output: {parser: regex, pattern: '(?P<score>[0-9]+)'}
outputs: {answer: It., score: {type: integer}}
"""


def test_of_a_task_made_of_tasks_every_reply_counts_and_every_step_is_reported(bench):
    """In a loop each turn's; a row goes no further after a failure."""
    bench.task = STEPS
    output = bench.result(count=6, reply=lambda body: "9" if "5 grade" in body["messages"][-1]["content"] else "4")

    page, facts = bench.page(output)

    result = text_of(page)
    assert (facts["rows"], facts["replies"], facts["failed"]) == (6, 17, 1)
    counts = json.loads((bench.folder / "out.jsonl.run.json").read_text())["counts"]
    assert (counts["generations"], counts["failed"]) == (17, 1)
    assert f"{counts['tokens']['input']:,} in, {counts['tokens']['output']:,} out" in result
    assert re.search(r"judge task 11 11 11 0 1", result)


def test_a_file_without_record_or_metadata_is_counted_too(tmp_path):
    output = tmp_path / "any.jsonl"
    output.write_text('{"a": 1, "b": null}\n{"a": 2}\n{"a": "x", "c": {"d": 1}}\n')

    facts = write_report(str(output), tmp_path / "page.html")

    assert (facts["rows"], facts["replies"], facts["failures"]) == (3, 0, [])
    a, b, c = facts["columns"]
    assert (a["kind"], a["values"], a["others"]) == ("number", 3, 1)
    assert (b["kind"], b["nulls"], b["absent"]) == ("empty", 1, 2)
    assert (c["kind"], c["absent"]) == ("object", 2)
    assert "any.jsonl.run.json is missing next to the output" in text_of(tmp_path / "page.html")


def test_a_run_that_is_not_at_its_end_is_reported_as_far_as_it_is(bench):
    """Its last line may be cut in the middle."""
    output = bench.result()
    partial = output.with_name("out.jsonl.partial")
    partial.write_bytes(output.read_bytes()[:-40])

    page, facts = bench.page(partial)

    assert facts["rows"] == 19
    assert "The run is not complete" in text_of(page)


def test_of_more_rows_than_a_page_holds_every_other_one_and_the_failed_are_kept(bench):
    output = bench.result(count=40)

    page, facts = bench.page(output, most_rows=20)

    failed = [i for i, r in enumerate(lines(output)) if r["score"] is None]
    assert facts["rows"] == 40
    assert facts["kept"] == {"rows": len({*range(0, 40, 2), *failed}), "step": 2}
    assert f"All counts cover 40 rows; the table holds {facts['kept']['rows']}" in text_of(page)


@given(st.lists(NUMBERS, min_size=1, max_size=300))
@example([14824, -726335, -705855])
def test_every_number_is_in_the_bin_that_says_so(values):
    ordered = sorted(float(v) for v in values)
    whole = all(isinstance(v, int) for v in values)

    made = histogram(ordered, whole=whole)

    edges, counts = made["edges"], made["counts"]
    assert len(edges) == len(counts) + 1
    assert edges == sorted(edges)
    assert sum(counts) == len(values)
    last = len(counts) - 1
    for place, count in enumerate(counts):
        low, high = edges[place], edges[place + 1]
        inside = [v for v in ordered if (v >= low or place == 0) and (v < high or place == last)]
        assert count == len(inside)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1), st.floats(0, 1))
def test_a_quantile_lies_among_its_neighbours(values, share):
    ordered = sorted(values)

    found = quantile(ordered, share)

    assert (
        ordered[0] <= found <= ordered[-1] or found == pytest.approx(ordered[0]) or found == pytest.approx(ordered[-1])
    )


VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.just(10**400) | st.floats() | st.text(max_size=100),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=40), st.integers(0, 40))
def test_any_values_are_counted_and_nothing_is_lost(values, first_batch):
    tally = ColumnTally("any")
    tally.update(values[:first_batch])
    tally.update(values[first_batch:])

    facts, index = tally.facts(), tally.index()

    each = index["each"] if isinstance(index["each"], list) else [index["each"]] * len(values)
    assert sum(each) == len(index["values"]) == facts["values"]
    assert facts["rows"] == len(values)
    if "labels" in facts:
        assert sum(b["count"] for b in facts["labels"]) == sum(v is not None for v in index["values"])
    json.dumps(facts, allow_nan=False)


def test_an_embedding_is_counted_by_its_length():
    tally = ColumnTally("embedding")
    tally.update([[0.5] * (LONG_LIST + 1)] * 3)

    facts = tally.facts()

    assert (facts["kind"], facts["values"], facts["spread"]["max"]) == ("long list", 3, LONG_LIST + 1)


@pytest.mark.parametrize("items", [3, LONG_LIST + 1])
def test_lists_that_are_already_taken_apart_are_counted_as_lists_are(items):
    """The measures of replies arrive this way."""
    lists = [list(range(items)), [None, 7], [], ["a"]]
    on_page = [True, False, True, True]
    taken_apart, whole = ColumnTally("c"), ColumnTally("c")

    whole.update(lists, on_page)
    taken_apart.update_lists([item for each in lists for item in each], list(map(len, lists)), on_page)

    assert taken_apart.facts() == whole.facts()
    assert taken_apart.index() == whole.index()


def test_few_different_short_texts_are_labels_and_many_are_texts():
    label, text = ColumnTally("l"), ColumnTally("t")
    label.update([f"label {i % 5}" for i in range(200)])
    text.update([f"text {i}" for i in range(200)])

    assert (label.kind, text.kind) == ("label", "text")
    assert text.facts()["distinct"] == 200


def test_equal_values_agree_whatever_the_order_of_their_keys():
    tally = AgreementTally("c")

    tally.add([{"a": 1, "b": 2}, {"b": 2, "a": 1}, None], 0, 1)

    assert tally.facts()["agreed"] == 1
    assert tally.of_rows(1) == [1.0]


def test_the_scripted_judge_fails_two_rows_in_ten():
    """What the counts above rest on."""
    result = [judged({"messages": [{"content": f"{i} q"}]}) for i in range(10)]

    assert [i for i, s in enumerate(result) if not s.startswith("{") or json.loads(s)["score"] > 5] == [7, 8]
