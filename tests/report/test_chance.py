"""Whether a difference between two results is more than chance: intervals and tests on the same rows of both."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from scipy.stats import binomtest, norm

from distask.report.compare import chance
from distask.report.compare.chance import mean_difference, share_differences
from distask.report.compare.comparison import write_comparison
from tests.report.conftest import text_of
from tests.report.test_comparison import by_number, change, judgement


def test_the_mean_of_paired_differences_has_an_interval_of_the_right_width():
    rng = random.Random(0)
    differences = sorted(rng.gauss(0.5, 2) for _ in range(400))

    found = mean_difference(differences)

    assert found["value"] == pytest.approx(sum(differences) / 400)
    half = norm.ppf(0.975) * 2 / 20
    assert found["low"] == pytest.approx(found["value"] - half, abs=0.05)
    assert found["high"] == pytest.approx(found["value"] + half, abs=0.05)
    assert found["is_clear"]


def test_many_differences_have_a_normal_interval_that_is_nearly_the_same(monkeypatch):
    rng = random.Random(1)
    differences = sorted(float(rng.choice([-1, 0, 0, 1])) for _ in range(2000))
    resampled = mean_difference(differences)

    monkeypatch.setattr(chance, "MAX_BOOTSTRAP", 100)
    normal = mean_difference(differences)

    assert normal["value"] == pytest.approx(resampled["value"])
    assert normal["low"] == pytest.approx(resampled["low"], abs=0.003)
    assert not normal["is_clear"]


@pytest.mark.parametrize("differences", [[], [1.0]])
def test_one_pair_has_no_interval(differences):
    assert mean_difference(differences) is None


def test_two_labels_have_mcnemars_exact_test():
    transitions = {("false", "false"): 15, ("false", "true"): 1, ("true", "false"): 14, ("true", "true"): 30}

    (found,) = share_differences(transitions)

    assert (found["label"], found["pairs"]) == ("true", 60)
    assert found["shares"] == [pytest.approx(44 / 60), pytest.approx(31 / 60)]
    assert found["mcnemar"] == pytest.approx(binomtest(1, 15).pvalue)
    assert found["value"] == pytest.approx(-13 / 60)
    assert found["low"] < found["value"] < found["high"] < 0
    assert found["is_clear"]


def test_several_labels_have_holms_p_values_that_keep_their_order():
    transitions = {("a", "b"): 9, ("b", "a"): 1, ("c", "a"): 2, ("a", "a"): 20, ("c", "c"): 20}

    found = {facts["label"]: facts for facts in share_differences(transitions)}

    plain = {"a": binomtest(3, 12).pvalue, "b": binomtest(1, 10).pvalue, "c": binomtest(0, 2).pvalue}
    assert found["b"]["mcnemar"] == pytest.approx(3 * plain["b"])
    assert found["a"]["mcnemar"] == pytest.approx(2 * plain["a"])
    assert all(found[a]["mcnemar"] <= found[b]["mcnemar"] for a, b in pairwise("bac"))
    assert sum(facts["value"] for facts in found.values()) == pytest.approx(0)


@pytest.mark.parametrize(
    "transitions",
    [{}, {("a", "b"): 1}, {("a", "a"): 9, ("b", "b"): 9}, {(str(i), str(i + 1)): 1 for i in range(20)}],
    ids=["nothing", "one pair", "no change", "too many labels"],
)
def test_there_is_no_test_without_enough_to_compare(transitions):
    assert share_differences(transitions) == []


def results(bench, shift, **options):
    replies = [[judgement(s := i % 3 + 1, "poor" if s < 3 else "good") for i in range(40)]]
    replies.append([judgement(min(5, i % 3 + 1 + shift), "good" if shift else "poor") for i in range(40)])
    return [
        bench.result(f"{name}.jsonl", count=40, reply=by_number(of), **options)
        for name, of in zip("ab", replies, strict=True)
    ]


def test_the_page_and_the_facts_say_what_is_more_than_chance(bench, tmp_path):
    first, second = results(bench, 1)

    facts = write_comparison(str(first), str(second), tmp_path / "page.html")

    assert change(facts, "score")["difference"] == {"pairs": 40, "value": 1, "low": 1, "high": 1, "is_clear": True}
    (share,) = change(facts, "verdict")["shares"]
    assert (share["label"], share["is_clear"]) == ("poor", True)
    words = text_of(tmp_path / "page.html")
    assert "mean change +1 95 % interval +1 to +1" in words
    assert "More than chance by McNemar's test, 40 rows of both" in words


def test_equal_results_have_no_test(bench, tmp_path):
    first, _ = results(bench, 0)
    second = first.with_name("c.jsonl")
    second.write_bytes(first.read_bytes())
    second.with_name("c.jsonl.run.json").write_bytes(first.with_name("a.jsonl.run.json").read_bytes())

    facts = write_comparison(str(first), str(second), tmp_path / "page.html")

    assert change(facts, "verdict")["shares"] == []
    assert "chance" not in text_of(tmp_path / "page.html")


def test_several_replies_to_a_row_are_not_independent(bench, tmp_path):
    first, second = results(bench, 1, num_generations=2)

    facts = write_comparison(str(first), str(second), tmp_path / "page.html")

    assert facts["independent"] is False
    assert change(facts, "score")["difference"] is None
    assert change(facts, "verdict")["shares"] == []
    assert "not independent" in text_of(tmp_path / "page.html")
