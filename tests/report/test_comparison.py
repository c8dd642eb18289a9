"""Two results side by side: which rows belong together, what changed in them, and which way."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask.errors import InputError, UsageError
from distask.report.columns import ABSENT
from distask.report.compare import changes, pairs
from distask.report.compare.changes import ChangeTally
from distask.report.compare.comparison import write_comparison
from tests.report.conftest import text_of

pytestmark = pytest.mark.battery


def judgement(score, verdict="fair", tags=(), reason="since"):
    return json.dumps({"score": score, "verdict": verdict, "sure": True, "tags": list(tags), "reason": reason})


def by_number(replies):
    """A model that answers row k with the k-th reply."""
    return lambda body: replies[int(body["messages"][-1]["content"].split()[0])]


FIRST = [
    judgement(1, "poor"),
    judgement(2, "poor"),
    judgement(3),
    judgement(4, "good"),
    "no JSON",
    judgement(5, "good"),
]
SECOND = [
    judgement(2, "fair"),
    judgement(2, "poor"),
    judgement(1, "poor"),
    judgement(4, "good", reason="other"),
    judgement(3),
    "no JSON",
]


@pytest.fixture
def two(bench):
    return bench.result("a.jsonl", count=6, reply=by_number(FIRST)), bench.result(
        "b.jsonl", count=6, reply=by_number(SECOND)
    )


def change(facts, name):
    return next(c for c in facts["changes"] if c["name"] == name)


def test_each_pair_counts_once_and_the_way_it_went(two, tmp_path):
    page = tmp_path / "page.html"

    facts = write_comparison(*map(str, two), page)

    assert (facts["matched"], facts["alone"]) == (6, [0, 0])
    assert facts["fates"] == {"good in both": 4, "failure gained": 1, "failure lost": 1, "failed in both": 0}
    score = change(facts, "score")
    assert score["ways"] == {"same": 2, "changed": 0, "better": 1, "worse": 1, "gained": 1, "lost": 1}
    assert score["spread"]["mean"] == pytest.approx(-1 / 4)
    verdict = change(facts, "verdict")
    assert {(t["from"], t["to"]): t["count"] for t in verdict["transitions"]} == {
        ("poor", "fair"): 1, ("poor", "poor"): 1, ("fair", "poor"): 1, ("good", "good"): 1,
    }  # fmt: skip
    assert change(facts, "reason")["ways"]["changed"] == 1
    words = text_of(page)
    assert "Failed rows 1 → 1 1 fixed, 1 new" in words
    assert "score 66.7% changed 1 better 1 worse 2 the same 1 null only in A 1 null only in B" in words


def test_a_lower_number_may_be_the_better_one(two, tmp_path):
    facts = write_comparison(*map(str, two), tmp_path / "p.html", lower_is_better=["score"])

    assert change(facts, "score")["ways"]["better"] == change(facts, "score")["ways"]["worse"] == 1
    with pytest.raises(UsageError, match="did you mean `score`"):
        write_comparison(*map(str, two), tmp_path / "p.html", lower_is_better=["scores"])


def test_rows_belong_together_by_their_input_whatever_their_order(bench, tmp_path):
    """Rows that one of them lacks are counted, and leave the changes alone."""
    first = bench.result("a.jsonl", rows=[{"id": i, "question": "q"} for i in range(6)], reply=by_number(FIRST))
    second = bench.result("b.csv", rows=[{"id": i, "question": "q"} for i in (5, 3, 1, 2, 0)], reply=by_number(FIRST))

    facts = write_comparison(str(first), str(second), tmp_path / "page.html")

    assert (facts["matched"], facts["alone"]) == (5, [1, 0])
    assert all(c["pairs"] == c["ways"]["same"] for c in facts["changes"])
    assert "1 row of a.jsonl has no match in b.csv" in text_of(tmp_path / "page.html")


def test_samples_of_a_row_are_matched_one_by_one(bench, tmp_path):
    first = bench.result("a.jsonl", count=2, reply=by_number(FIRST), num_generations=2)
    second = bench.result("b.jsonl", count=2, reply=by_number(SECOND), num_generations=2)

    facts = write_comparison(str(first), str(second), tmp_path / "page.html")

    assert facts["matched"] == 4
    assert change(facts, "score")["ways"]["better"] == 2


def test_grouped_rows_are_compared_by_their_means_and_most_common_labels(bench, tmp_path):
    first = bench.result("a.jsonl", count=3, reply=by_number(FIRST), num_generations=2, group_generations=True)
    second = bench.result("b.jsonl", count=3, reply=by_number(SECOND), num_generations=2, group_generations=True)

    facts = write_comparison(str(first), str(second), tmp_path / "page.html")

    assert change(facts, "score")["ways"] == {"same": 1, "changed": 0, "better": 1, "worse": 1, "gained": 0, "lost": 0}
    assert change(facts, "verdict")["kind"] == "label"


def test_columns_that_report_rows_apart_can_be_named(two, tmp_path):
    for output in two:
        output.with_name(f"{output.name}.run.json").unlink()

    with pytest.raises(UsageError, match="--by id"):
        write_comparison(*map(str, two), tmp_path / "page.html")
    with pytest.raises(UsageError, match=r"has no column `ids` .* did you mean `id`"):
        write_comparison(*map(str, two), tmp_path / "page.html", by=["ids"])
    assert write_comparison(*map(str, two), tmp_path / "page.html", by=["id"])["matched"] == 6


def test_results_of_different_inputs_have_nothing_to_compare(bench, tmp_path):
    first = bench.result("a.jsonl", rows=[{"id": 0, "question": "a"}], reply=by_number(FIRST))
    second = bench.result("b.jsonl", rows=[{"id": 0, "question": "b"}], reply=by_number(FIRST))

    with pytest.raises(InputError, match="If the input is the same, use --by"):
        write_comparison(str(first), str(second), tmp_path / "page.html")


def of_one_kind(values):
    return st.lists(st.tuples(st.none() | values, st.none() | values) | st.just((ABSENT, ABSENT)), max_size=30)


@pytest.mark.parametrize("most_transitions", [2, 400])
@given(
    of_one_kind(st.integers(-2, 2)) | of_one_kind(st.booleans()) | of_one_kind(st.sampled_from("abcd")),
    st.integers(0, 30),
)
def test_equal_pairs_are_counted_together_as_each_of_them_is(most_transitions, values, first_batch):
    """A batch of values of one type is counted by its different pairs; others, pair by pair."""

    def counted(batches, directly):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(changes, "MOST_TRANSITIONS", most_transitions)
            patch.setattr(changes, "_COMPARED_DIRECTLY", directly)
            tally = ChangeTally("c")
            for batch in batches:
                on_page = [number % 3 > 0 for number in range(len(batch))]
                tally.update([was for was, _ in batch], [now for _, now in batch], [False] * len(batch), on_page)
            return tally.facts(), tally.index(), tally._ways

    batches = [values[:first_batch], values[first_batch:]]

    assert counted(batches, changes._COMPARED_DIRECTLY) == counted(batches, set())


def test_rows_in_the_same_order_are_matched_as_by_their_keys(tmp_path, monkeypatch):
    """Ids of several types, and one that occurs twice."""
    ids = [1, "1", 1.0, True, None, [1], 2, 2, "two"]
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(
            "".join(json.dumps({"id": i, "score": place, "of": name}) + "\n" for place, i in enumerate(ids))
        )
    results, page = [str(tmp_path / f"{name}.jsonl") for name in "ab"], tmp_path / "p.html"
    facts = write_comparison(*results, page, by=["id"])
    made = page.read_bytes()

    monkeypatch.setattr(pairs, "_have_same_key", lambda *_: False)

    assert write_comparison(*results, page, by=["id"]) == facts
    assert facts["matched"] == len(ids)
    assert page.read_bytes() == made


def test_a_column_that_begins_in_the_middle_is_counted_from_there(tmp_path):
    """Rows before it are not nulls; later rows that lack it are."""
    rows = [{"id": 0}, {"id": 1, "late": "x"}, {"id": 2}]
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    facts = write_comparison(str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), tmp_path / "p.html", by=["id"])

    late = change(facts, "late")
    assert (late["pairs"], late["ways"]["same"]) == (1, 1)
    assert [(side["values"], side["nulls"]) for side in late["sides"]] == [(2, 1), (2, 1)]
