"""The measures of a stress test, on verdicts whose shares and directions are known."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from distask.judging.stress.answers import Answers, find_answers
from distask.judging.stress.biases import Bias, load_biases
from distask.judging.stress.measure import Judged, Settings, compare, compare_orders, facts_of
from distask.judging.stress.verdicts import Verdict
from distask.task.load import load

SETTINGS = Settings()


def judged(*values, column="v", failed=False, **more):
    return Judged([{column: value, **more} for value in values], [failed] * len(values))


def measured(verdict, before, after, bias=None, answers=None, asked=None, settings=SETTINGS):
    bias = bias or Bias("b", "b")
    before, after = (dict(enumerate(rows)) for rows in (before, after))
    compared = compare(bias, verdict, before, after, answers, settings, asked=len(after) if asked is None else asked)
    return facts_of(bias, verdict, compared, settings)


def test_labels_move_from_one_to_another():
    before, after = [judged("good")] * 7 + [judged("bad")] * 3, [judged("good")] * 5 + [judged("bad")] * 5

    facts = measured(Verdict("v", "label"), before, after)

    wilson = binomtest(2, 10).proportion_ci(method="wilson")
    assert facts["changed"] == {"value": 0.2, "low": pytest.approx(wilson.low), "high": pytest.approx(wilson.high)}
    assert facts["moves"] == [{"from": "good", "to": "bad", "count": 2}]
    assert facts["shift"] is None
    assert facts["found"] is None


def test_true_and_false_have_a_direction():
    before, after = [judged(False)] * 40, [judged(True)] * 10 + [judged(False)] * 30

    facts = measured(Verdict("v", "boolean"), before, after, Bias("b", "b", "higher"))

    assert facts["shift"]["value"] == 0.25
    assert 0 < facts["shift"]["low"] < 0.25 < facts["shift"]["high"] < 0.5
    assert facts["moves"] == [{"from": "false", "to": "true", "count": 10}]
    assert (facts["found"], facts["shift_of"]) == (True, "change of the share of true of `v`")


def test_the_interval_of_a_shift_covers_the_true_shift_of_most_samples():
    import numpy as np

    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        shifts = rng.normal(0.3, 1, 50)
        facts = measured(
            Verdict("v", "number"),
            [judged(0.0)] * 50,
            [judged(float(s)) for s in shifts],
            settings=Settings(resamples=300),
        )
        covered += facts["shift"]["low"] <= 0.3 <= facts["shift"]["high"]
    assert covered >= 51  # at a coverage of 93 %, fewer has a probability below 1 %


def test_a_null_is_a_verdict_only_if_the_output_allows_it_and_the_row_did_not_fail():
    before, after = [judged("x"), judged("x"), judged("x")], [judged(None), judged(None, failed=True), judged("x")]

    optional = measured(Verdict("v", "label", optional=True), before, after)
    required = measured(Verdict("v", "label"), before, after)

    assert (optional["n"], optional["failed"], optional["moves"]) == (2, 1, [{"from": "x", "to": "null", "count": 1}])
    assert (required["n"], required["failed"], required["changed"]["value"]) == (1, 2, 0)


def test_without_a_verdict_nothing_is_defined():
    facts = measured(Verdict("v", "number"), [judged(None)], [judged(3)])

    assert (facts["n"], facts["changed"], facts["shift"], facts["failed_before"]) == (0, None, None, 1)


def test_samples_are_compared_in_pairs_and_lost_ones_are_counted():
    bias = Bias("b", "b", samples=3)
    rows = [judged("a", "a", "a"), judged("a", "b", "a"), judged("a", None, "b"), judged("a", None, None)]

    facts = measured(Verdict("v", "label"), [], rows, bias, asked=5)

    assert facts["n"] == 3
    assert facts["changed"]["value"] == pytest.approx((0 + 2 / 3 + 1) / 3)
    assert facts["failed"] == 3 + 3  # three nulls, and the row that was dropped
    assert facts["moves"] == [{"from": "a", "to": "b", "count": 3}]


def test_a_swapped_comparison_is_read_for_the_same_answers():
    bias, answers = Bias("position", "b", "last", reverses=True), Answers(("t",), listed=True)
    verdict = Verdict("v", "pair", first="first", second="second")
    before = [judged("second", t=["x", "y"]), judged("first", t=["x", "y"]), judged("equal", t=["x", "y"])]
    after = [judged("second", t=["y", "x"]), judged("second", t=["y", "x"]), judged("equal", t=["y", "x"])]

    facts = measured(verdict, before, after, bias, answers)

    assert facts["moves"] == [{"from": "B", "to": "A", "count": 1}]
    assert facts["changed"]["value"] == pytest.approx(1 / 3)
    assert facts["first_place"]["value"] == 0.25  # of four comparisons without a tie


def test_orders_that_a_task_reports_itself():
    verdict = Verdict("v", "pair", orders="both")
    rows = {0: judged("A", both=["A", "A"]), 1: judged("tie", both=["A", "B"]), 2: judged(None, both=["A", None])}

    compared = compare_orders(verdict, rows, asked=4)

    assert (compared.changed, compared.first_wins, compared.decided) == ([0, 1], [1, 2], [2, 2])
    assert compared.failed_before == 2


def test_the_built_in_biases():
    names = [bias.name for bias in load_biases()]

    assert names == ["position", "consistency", "verbosity", "format", "authority"]
    for bias in load_biases(only=["verbosity", "format", "authority"]):
        text = bias.answer({"answer": "One.\n\nTwo.", "number": 1, "answers": ["One.\n\nTwo."]})
        assert "One." in text
        assert "Two." in text
        assert text != "One.\n\nTwo."
    assert "- One.\n- Two." in load_biases(only=["format"])[0].answer({"answer": "One.\n\nTwo."})


@pytest.mark.parametrize(
    ("task", "params", "columns", "listed"),
    [
        ("ultrafeedback", {}, ("generations",), True),
        ("quality-scorer", {}, ("responses",), True),
        ("complexity-scorer", {}, ("instructions",), True),
        ("pairwise-judge", {}, ("generations",), True),
        ("pair-rm", {}, ("candidates",), True),
        ("prometheus-eval", {}, ("generation",), False),
        ("prometheus-eval", {"mode": "relative"}, ("generations",), True),
        ("rubric-judge", {}, ("generation",), False),
        ("instruction-backtranslation", {}, ("generation",), False),
        ("jury", {"jurors": ["m"]}, ("generation",), False),
    ],
)
def test_the_answers_of_the_built_in_judges(task, params, columns, listed):
    found = find_answers(load(task, params))

    assert (found.columns, found.listed) == (columns, listed)
