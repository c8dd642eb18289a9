"""What is compared: kinds, equal spellings of a value, what is left out and why, and the cases that break naive code."""

from __future__ import annotations

import math

import pytest

from distask.errors import InputError, UsageError
from distask.judging.metrics import CORE, Settings
from tests.judging.conftest import rows_of

NAN = math.nan


def value(facts, name):
    found = facts["metrics"][name]
    return None if found is None else found["value"]


@pytest.mark.parametrize(
    ("judge", "gold", "kind"),
    [
        (["spam", "ham", "spam"], ["spam", "ham", "ham"], "nominal"),
        ([True, False, True], [True, True, False], "nominal"),
        ([1, 0, 1], [1, 1, 0], "nominal"),
        ([1, 5, 3], [2, 5, 3], "ordinal"),
        ([1.5, 5.25, 3.1], [2, 5, 3], "number"),
        ([1, 50, 300], [2, 55, 290], "number"),
        (["A", "B", "tie"], ["A", "A", "tie"], "preference"),
        ([0.9, 0.2, 0.4], [True, False, True], "probability"),
        ([{"a": 0.9, "b": 0.1}, {"a": 0.2, "b": 0.8}], ["a", "b"], "probability"),
        ([["x"], [], ["x", "y"]], [["x"], ["y"], ["x", "y"]], "multilabel"),
        ([["x", "y", "z"], ["z", "y", "x"]], [["y", "x", "z"], ["z", "y", "x"]], "ranking"),
        ([[1, 2, 3], [3, 2, 1]], [[2, 1, 3], [3, 2, 1]], "ranking"),
        ([[4, 5], [1, 2]], [[4, 4], [2, 2]], "ordinal"),
    ],
)
def test_the_kind_follows_from_the_values(folder, judge, gold, kind):
    facts = folder.agree(rows_of(judge, gold))

    assert facts["kind"] == kind
    assert "values" in facts["kind_source"]
    assert set(CORE) <= set(facts["metrics"])
    assert {name for name, metric in facts["metrics"].items() if metric is None} == set(facts["undefined"])


@pytest.mark.parametrize(
    ("output", "kind", "labels"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 5}, "ordinal", ["1", "2", "3", "4", "5"]),
        ({"type": "enum", "choices": [3, 1, 2, 9]}, "ordinal", ["1", "2", "3", "9"]),
        ({"schema": {"type": "integer", "minimum": 0, "exclusiveMaximum": 4}}, "ordinal", ["0", "1", "2", "3"]),
        ({"type": "number", "minimum": 1, "maximum": 5}, "number", []),
    ],
)
def test_the_tasks_types_decide_the_kind_and_the_scale(folder, output, kind, labels):
    source = folder.write("judged.jsonl", rows_of([2, 3, 3], [2, 3, 2]))
    folder.record("judged.jsonl", spec={"name": "rate", "outputs": {"judge": output}})

    facts = folder.agree(source)

    assert (facts["kind"], facts["labels"]) == (kind, labels)
    assert facts["kind_source"] == "the task's output"


def test_the_declared_scale_and_not_the_values_weighs_kappa(folder):
    """Gold is 1 or 9 on a scale of 1, 2 and 9: two steps apart, which the numbers alone would not say."""
    source = folder.write("judged.jsonl", rows_of([1, 9, 9, 1], [1, 9, 1, 2]))
    folder.record("judged.jsonl", spec={"outputs": {"judge": {"type": "enum", "choices": [1, 2, 9]}}})

    from sklearn.metrics import cohen_kappa_score

    expected = cohen_kappa_score([0, 2, 2, 0], [0, 2, 0, 1], weights="quadratic", labels=[0, 1, 2])
    assert value(folder.agree(source), "kappa_quadratic") == pytest.approx(expected)


def test_output_mappings_lead_to_the_declared_type(folder):
    source = folder.write("judged.jsonl", rows_of([2, 3], [2, 3]))
    spec = {
        "outputs": {"score": {"type": "integer", "minimum": 1, "maximum": 4}},
        "output_mappings": {"score": "judge"},
    }
    folder.record("judged.jsonl", spec=spec)

    assert folder.agree(source)["labels"] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("judge", "gold"),
    [
        ([4, 4.0, "4"], ["4", 4, 4.0]),
        ([True, "true", False], ["true", True, "False"]),
        ([" spam", "spam ", "ham"], ["spam", "spam", "ham"]),
        (["4", "5", "4"], [4, 5, 4]),
        ([True, False, True], [1, 0, "1"]),
    ],
)
def test_spellings_of_one_value_are_equal(folder, judge, gold):
    facts = folder.agree(rows_of(judge, gold))

    assert value(facts, "accuracy") == 1
    assert len(facts["labels"]) <= 2


def test_codes_with_leading_zeros_are_not_numbers(folder):
    facts = folder.agree(
        rows_of(["007", "7", "7a"], ["7", "7", "7a"]), settings=Settings(kind="nominal", resamples=100)
    )

    assert value(facts, "accuracy") == pytest.approx(2 / 3)


def test_a_csv_file_has_typed_values_and_matches_by_their_text(folder):
    source = folder.write("judged.csv", "id,judge,gold\n1,4,4\n2,5,\n3,4,5\n")

    facts = folder.agree(source)

    assert (facts["kind"], facts["n"], facts["excluded"]) == ("ordinal", 2, {"gold_missing": 1})


def test_what_is_left_out_is_counted_by_reason(folder):
    rows = rows_of([1, 2, None, None, 5, "five", 3], [1, 2, 3, 4, None, 1, "??"])
    rows[3]["distask_metadata"] = {"error_rate": {"kind": "invalid", "message": "no"}}

    facts = folder.agree(rows, settings=Settings(kind="number", resamples=100))

    reasons = {"judge_null": 1, "judge_failed": 1, "gold_missing": 1, "judge_unreadable": 1, "gold_unreadable": 1}
    assert (facts["n"], facts["excluded"]) == (2, reasons)
    assert facts["n"] + sum(facts["excluded"].values()) == len(rows)


def test_nan_in_a_table_is_no_score(folder):
    import pyarrow as pa
    from pyarrow import parquet

    path = folder.path / "judged.parquet"
    table = {"judge": [1.5, NAN, 2.5, 3.25], "gold": [1.0, 2.0, NAN, 3.0]}
    parquet.write_table(pa.table(table), path)

    facts = folder.agree(str(path))

    assert facts["excluded"] == {"judge_unreadable": 1, "gold_unreadable": 1}
    assert (facts["kind"], facts["n"]) == ("number", 2)


def test_a_stray_text_among_numbers_is_left_out(folder):
    facts = folder.agree(rows_of([*range(40), "forty"], [*range(40), 40]))

    assert (facts["kind"], facts["excluded"]) == ("number", {"judge_unreadable": 1})


def test_nan_in_json_names_the_line_and_the_option(folder):
    source = folder.write("judged.jsonl", '{"judge": 1, "gold": 1}\n{"judge": NaN, "gold": 1}\n')

    with pytest.raises(InputError, match=r"judged.jsonl:2.*--on-nan null"):
        folder.agree(source)


def test_one_category_only(folder):
    facts = folder.agree(rows_of(["a"] * 5, ["a"] * 5))

    assert value(facts, "accuracy") == 1
    assert [value(facts, name) for name in ("kappa", "alpha", "ac1")] == [None] * 3
    assert "chance alone" in facts["undefined"]["kappa"]
    assert "single label" in facts["undefined"]["ac1"]
    assert facts["baseline"] == 1


def test_a_constant_judge_has_a_kappa_of_zero_and_no_correlation(folder):
    facts = folder.agree(rows_of([3] * 6, [1, 2, 3, 4, 5, 3]))

    assert value(facts, "kappa") == pytest.approx(0)
    assert (value(facts, "spearman"), value(facts, "pearson"), value(facts, "kendall")) == (None, None, None)
    assert "constant" in facts["undefined"]["spearman"]
    assert value(facts, "mae") == pytest.approx(1)


def test_one_row_has_values_but_no_bootstrap(folder):
    facts = folder.agree(rows_of([4], [5]))

    assert facts["n"] == 1
    assert facts["metrics"]["mae"] == {"value": 1, "low": None, "high": None}
    assert facts["metrics"]["accuracy"]["high"] > 0.7


def test_gold_labels_that_the_judge_never_gives(folder):
    facts = folder.agree(rows_of(["a", "a", "b"], ["a", "c", "b"]))

    assert facts["labels"] == ["a", "b", "c"]
    assert facts["confusion"]["counts"] == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert facts["by_label"][2]["precision"] is None
    assert any("never gave `c`" in note for note in facts["notes"])


def test_gold_outside_of_the_declared_scale_extends_it(folder):
    source = folder.write("judged.jsonl", rows_of([1, 5, 3], [0, 5, 7]))
    folder.record("judged.jsonl", spec={"outputs": {"judge": {"type": "integer", "minimum": 1, "maximum": 5}}})

    facts = folder.agree(source)

    assert facts["labels"] == ["0", "1", "2", "3", "4", "5", "7"]
    assert any("does not declare: `0`, `7`" in note for note in facts["notes"])


def test_labels_without_overlap_are_pointed_out(folder):
    facts = folder.agree(rows_of([True, False], ["pass", "fail"]))

    assert value(facts, "accuracy") == 0
    assert any(
        "no label in common: the judge gave `false`, `true`, gold has `fail`, `pass`" in n for n in facts["notes"]
    )


def test_labels_that_differ_in_case_are_pointed_out(folder):
    facts = folder.agree(rows_of(["Yes", "no", "Yes"], ["yes", "no", "Yes"]))

    assert value(facts, "accuracy") == pytest.approx(2 / 3)
    assert any("`Yes` and `yes` differ only in case" in note for note in facts["notes"])


def test_a_perfect_judge_has_a_note_that_only_one_interval_counts(folder):
    facts = folder.agree(rows_of(["a", "b", "a"], ["a", "b", "a"]))

    assert facts["metrics"]["kappa"] == {"value": 1, "low": 1, "high": 1}
    assert facts["metrics"]["accuracy"]["low"] == pytest.approx(0.4385, abs=1e-4)
    assert any("only that of raw agreement counts" in note for note in facts["notes"])


def test_base_rates_and_the_majority_baseline(folder):
    facts = folder.agree(rows_of(["a", "a", "b", "b"], ["a", "a", "a", "b"]))

    assert facts["baseline"] == 0.75
    assert facts["base_rates"] == {"judge": {"a": 0.5, "b": 0.5}, "gold": {"a": 0.75, "b": 0.25}}


def test_numbers_have_a_baseline_too(folder):
    facts = folder.agree(rows_of([1.5, 2.5, 3.5], [1, 2, 30]))

    assert (facts["baseline_metric"], facts["baseline"]) == ("mae", pytest.approx((1 + 0 + 28) / 3))
    assert facts["undefined"]["kappa"] == "needs labels"


def test_lists_of_scores_are_compared_place_by_place(folder):
    facts = folder.agree(rows_of([[4, 5], [1, 2], [3]], [[4, 4], [2, 2], [3, 3]]))

    assert (facts["n"], facts["items"], facts["clusters"]) == (4, 2, 2)
    assert value(facts, "accuracy") == 0.5
    assert facts["excluded"] == {"lengths_differ": 1}


def test_lists_and_single_values_can_not_be_compared(folder):
    with pytest.raises(UsageError, match="lists and the gold values are not"):
        folder.agree(rows_of([["a"], ["b"]], ["a", "b"]))


def test_an_interval_that_misses_its_value_is_pointed_out(folder):
    """With a label per row, every resample lose a third of the labels."""
    sets = [[f"a{i}", "b"[: i % 2]] for i in range(60)]

    facts = folder.agree(rows_of(sets, [[s[0]] for s in sets]), settings=Settings(kind="multilabel", resamples=200))

    assert any("do not contain their values" in note for note in facts["notes"])


def test_sets_of_labels_ignore_order_and_repetition(folder):
    facts = folder.agree(rows_of([["x", "y"], ["z"], []], [["y", "x", "x"], ["x"], []]))

    assert (facts["kind"], value(facts, "accuracy")) == ("multilabel", pytest.approx(2 / 3))
    assert facts["labels"] == ["x", "y", "z"]


def test_rankings_of_other_candidates_are_left_out(folder):
    rows = rows_of([["x", "y"], ["x", "y"]], [["y", "x"], ["x", "w"]])

    facts = folder.agree(rows, settings=Settings(kind="ranking", resamples=100))

    assert (facts["n"], facts["excluded"], value(facts, "kendall")) == (
        1,
        {"different_candidates": 1},
        pytest.approx(-1),
    )


def test_probabilities_of_a_label_that_must_be_named(folder):
    rows = rows_of([0.9, 0.1, 0.6], ["good", "bad", "good"])

    with pytest.raises(UsageError, match="--positive bad or --positive good"):
        folder.agree(rows)
    facts = folder.agree(rows, settings=Settings(positive="good", resamples=100))

    assert value(facts, "auroc") == 1
    assert value(facts, "brier") == pytest.approx((0.01 + 0.01 + 0.16) / 3)
    assert facts["reliability"][0]["label"] == "good"


def test_a_probability_above_1_is_unreadable(folder):
    rows = rows_of([{"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.9}, {"a": "x"}], ["a", "b", "a"])

    assert folder.agree(rows)["excluded"] == {"judge_unreadable": 2}


def test_preferences_in_both_orders(folder):
    """Verdicts for the same answers, first shown as they are and then swapped."""
    judge = [["A", "A"], ["A", "B"], ["B", "A"], ["B", "B"], ["tie", "A"], ["A", None]]
    facts = folder.agree(rows_of(judge, ["A", "A", "B", "A", "A", "A"]))

    assert (facts["kind"], facts["excluded"]) == ("preference", {"judge_null": 1})
    assert value(facts, "flip_rate") == pytest.approx(3 / 5)
    assert value(facts, "first_position_rate") == pytest.approx((1 + 2 + 0 + 1 + 0) / 9)
    assert value(facts, "pairwise_accuracy") == pytest.approx((1 + 0.5 + 0.5 + 0 + 0.5) / 5)
    assert folder.agree(rows_of(["A", "B"], ["A", "B"]))["undefined"]["flip_rate"].endswith("--swapped")


def test_the_other_order_may_be_another_column(folder):
    rows = rows_of(["A", "A", "B"], ["A", "B", "B"], other=["A", "B", "B"])

    assert value(folder.agree(rows, swapped="other"), "flip_rate") == pytest.approx(1 / 3)


def test_other_spellings_of_preferences(folder):
    rows = rows_of(["model_a", "model_b", "C", "draw"], ["a", "A", "tie", "B"])

    facts = folder.agree(rows, settings=Settings(kind="preference", resamples=100))

    assert (facts["labels"], value(facts, "pairwise_accuracy")) == (["A", "B", "tie"], (1 + 0 + 1 + 0.5) / 4)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"swapped": "gold"}, "`judge` and `gold` must hold the preferences A, B or tie"),
        ({"by": ("id",)}, "every column is in the same one"),
        ({"annotator": "who"}, "no row has the column `who`"),
        ({"judges": ["FOLDER/judged.jsonl:judge"], "swapped": "gold"}, "but no judge is"),
    ],
)
def test_an_option_that_does_not_fit_is_an_error(folder, request_, sentence):
    folder.write("judged.jsonl", rows_of([1, 2], [1, 2]))
    with pytest.raises(UsageError, match=sentence):
        folder.agree(rows_of([1, 2], [1, 2]), **request_)


def test_failures_in_a_table_whose_rows_all_have_the_column(folder):
    import pyarrow as pa
    from pyarrow import parquet

    errors = [{"kind": None, "message": None}, {"kind": "invalid", "message": "no"}, {"kind": None, "message": None}]
    table = {"judge": [1, None, None], "gold": [1, 2, 3], "distask_metadata": [{"error_rate": e} for e in errors]}
    parquet.write_table(pa.table(table), folder.path / "judged.parquet")

    assert folder.agree(str(folder.path / "judged.parquet"))["excluded"] == {"judge_failed": 1, "judge_null": 1}


def test_several_replies_to_a_row_are_pairs_of_one_cluster(folder):
    rows = [
        {"id": 1, "judge": [4, 5], "gold": 4, "distask_metadata": [{}, {}]},
        {"id": 2, "judge": [1, None], "gold": 1, "distask_metadata": [{}, {"error_rate": {"kind": "invalid"}}]},
        {"id": 3, "judge": [2, 2], "gold": 3, "distask_metadata": [{}, {}]},
    ]

    facts = folder.agree(rows)

    assert (facts["n"], facts["items"], facts["clusters"], facts["excluded"]) == (5, 3, 3, {"judge_failed": 1})
    assert facts["self_consistency"]["items"] == 2
    assert facts["self_consistency"]["metrics"]["accuracy"]["value"] == 0.5


def test_replies_in_rows_of_their_own_belong_together(folder):
    rows = [
        {"id": i, "judge": judge, "gold": 4, "distask_metadata": {"row": i, "sample": sample}}
        for i, judges in enumerate([(4, 4), (5, 4), (3, 3)])
        for sample, judge in enumerate(judges)
    ]

    facts = folder.agree(rows)

    assert (facts["n"], facts["items"]) == (6, 3)
    assert facts["self_consistency"]["metrics"]["accuracy"]["value"] == pytest.approx(2 / 3)


def test_clusters_and_slices(folder):
    rows = rows_of(["a", "b"] * 20, ["a", "b", "b", "b"] * 10, doc=[i // 8 for i in range(40)], lang=["en", "es"] * 20)

    facts = folder.agree(rows, cluster="doc", slices=("lang",), settings=Settings(clustered=True, slices=("lang",)))

    assert facts["clusters"] == 5
    assert [(s["value"], s["n"], value(s, "accuracy")) for s in facts["slices"]] == [("en", 20, 0.5), ("es", 20, 1.0)]
    assert facts["slices"][1]["undefined"]["kappa"]


def test_words_in_a_given_order(folder):
    rows = rows_of(["poor", "good", "fair"], ["fair", "good", "good"])

    facts = folder.agree(rows, settings=Settings(steps=("poor", "fair", "good"), resamples=100))

    assert (facts["kind"], value(facts, "mae")) == ("ordinal", pytest.approx(2 / 3))
    with pytest.raises(UsageError, match="--scale poor,fair,good"):
        folder.agree(rows, settings=Settings(kind="ordinal", resamples=100))


def test_numbers_can_be_labels(folder):
    facts = folder.agree(rows_of([10, 20, 30], [10, 20, 20]), settings=Settings(kind="nominal", resamples=100))

    assert (facts["kind"], facts["labels"], facts["kind_source"]) == ("nominal", ["10", "20", "30"], "--kind")


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"judges": ["jugde"]}, r"no row has the column `jugde`; did you mean `judge`\?"),
        ({"gold": ["golden"]}, r"no row has the column `golden`; did you mean `gold`\?"),
        ({"gold": ["judge"]}, "given as --judge and as --gold"),
        ({"judges": ["judge", "judge"]}, "is given twice"),
        ({"cluster": "dok"}, "no row has the column `dok`"),
        ({"gold": [""]}, "the name of a column is empty"),
    ],
)
def test_a_wrong_column_is_named_with_the_fix(folder, request_, sentence):
    with pytest.raises(UsageError, match=sentence):
        folder.agree(rows_of([1, 2], [1, 2]), **request_)


def test_no_row_with_both_values(folder):
    with pytest.raises(UsageError, match="no row in common with a value of both"):
        folder.agree([{"judge": 1, "gold": None}, {"judge": None, "gold": 1}])


def test_an_empty_file_is_an_error(folder):
    with pytest.raises(InputError, match="the input has no rows"):
        folder.agree(folder.write("judged.jsonl", ""))
