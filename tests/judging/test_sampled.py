"""Whether labelled rows may stand for the pool: what is assumed, what is weighted, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from distask.errors import UsageError
from distask.judging.metrics import Settings
from tests.judging.conftest import rows_of

LABELS = ["FOLDER/labels.jsonl:gold"]
N = 400


def judged(seed=0):
    rng = np.random.default_rng(seed)
    true = rng.integers(1, 6, N)
    judge = np.clip(true + rng.integers(0, 3, N), 1, 5)
    return true, [{"text": f"t{i}", "judge": int(j)} for i, j in enumerate(judge)]


def labelled(places, true, sampling, **more):
    return [
        {
            "text": f"t{i}",
            "gold": int(true[i]),
            "label": {"annotator": "ann", "item": str(i), **more, "sampling": sampling(i)},
        }
        for i in places
    ]


def random_sampling(_):
    return {"method": "random", "seed": 0, "size": 80, "pool": N, "probability": 80 / N}


def test_a_random_sample_corrects_the_mean_without_assumptions(folder):
    true, rows = judged()
    places = np.random.default_rng(1).permutation(N)[:80]
    folder.write("labels.jsonl", labelled(places, true, random_sampling))

    found = folder.estimate(rows, gold=LABELS)

    assert (found["n_labelled"], found["n_pool"], found["estimated"]) == (80, N, "mean")
    assert found["corrected"]["method"] == "ppi++"
    assert found["assumptions"] == []
    assert found["naive"]["low"] > true.mean()
    assert found["corrected"]["low"] < true.mean() < found["corrected"]["high"]
    width = {name: found[name]["high"] - found[name]["low"] for name in ("corrected", "labels_only")}
    assert width["corrected"] < width["labels_only"]


def test_a_column_that_most_rows_lack_says_what_it_assumes(folder):
    true, rows = judged()
    for i in range(0, N, 7):
        rows[i]["gold"] = int(true[i])

    found = folder.estimate(rows)

    assert found["n_labelled"] == len(range(0, N, 7))
    assert found["corrected"] is not None
    assert "not known how the labelled rows were chosen" in found["assumptions"][0]


def test_known_unequal_probabilities_are_weighted(folder):
    true, rows = judged()
    rng = np.random.default_rng(2)
    chance = [0.6 if row["judge"] >= 5 else 0.1 for row in rows]
    places = [i for i in range(N) if rng.random() < chance[i]]
    folder.write(
        "labels.jsonl",
        labelled(
            places,
            true,
            lambda i: {"method": "uncertain", "seed": 0, "size": len(places), "pool": N, "probability": chance[i]},
        ),
    )

    found = folder.estimate(rows, gold=LABELS)

    assert found["corrected"]["method"] == "ppi++ weighted"
    assert "inverse of its inclusion probability" in found["assumptions"][0]
    assert np.mean([true[i] for i in places]) > true.mean() + 0.4
    assert found["corrected"]["low"] < true.mean() < found["corrected"]["high"]


@pytest.mark.parametrize("method", ["uncertain", "disagreements"])
def test_rows_chosen_without_known_probabilities_are_refused(folder, method):
    true, rows = judged()
    folder.write(
        "labels.jsonl", labelled(range(50), true, lambda i: {"method": method, "seed": 0, "size": 50, "pool": N})
    )

    found = folder.estimate(rows, gold=LABELS)

    assert found["corrected"] is None
    assert f"not a random sample of the judged rows (50 as `{method}`)" in found["reason"]
    assert found["naive"]["value"] > 0


def test_of_mixed_sessions_the_random_one_is_used(folder):
    true, rows = judged()
    drawn = labelled(range(80), true, random_sampling)
    other = labelled(range(80, 120), true, lambda i: {"method": "disagreements", "seed": 0, "size": 40, "pool": N})
    folder.write("labels.jsonl", [*drawn, *other])

    found = folder.estimate(rows, gold=LABELS)

    assert found["n_labelled"] == 80
    assert "only the 80 labels of randomly chosen rows are used" in found["assumptions"][0]
    assert "40 as `disagreements`" in found["assumptions"][0]


def test_two_weighted_sessions_can_not_be_joined(folder):
    true, rows = judged()
    lines = []
    for seed in (0, 1):
        sampling = {"method": "stratified", "seed": seed, "size": 30, "pool": N, "stratum": "a", "probability": 0.1}
        lines += labelled(range(seed * 30, seed * 30 + 30), true, lambda i, s=sampling: s)
    folder.write("labels.jsonl", lines)

    assert "2 sessions that chose rows in different ways" in folder.estimate(rows, gold=LABELS)["reason"]


def test_an_unfinished_session_and_another_pool_are_assumptions(folder):
    true, rows = judged()
    sampling = {"method": "random", "seed": 0, "size": 100, "pool": 9000, "probability": 100 / 9000}
    folder.write("labels.jsonl", labelled(range(60), true, lambda i: sampling))

    assumptions = folder.estimate(rows, gold=LABELS)["assumptions"]

    assert "60 of the 100 rows that were chosen are labelled" in assumptions[0]
    assert "drawn from 9,000 rows and 400 rows are judged" in assumptions[1]


def test_a_pass_rate_has_rogan_and_gladens_estimate_as_well(folder):
    rng = np.random.default_rng(0)
    true = rng.random(1000) < 0.3
    judge = np.where(rng.random(1000) < 0.85, true, ~true)
    rows = rows_of([bool(j) for j in judge], [bool(t) if i < 200 else None for i, t in enumerate(true)])

    found = folder.estimate(rows)

    assert found["estimated"] == "share of `true`"
    assert found["naive"]["low"] > 0.3
    for name in ("corrected", "rogan_gladen"):
        assert found[name]["low"] < 0.3 < found[name]["high"]
    assert found["rogan_gladen"]["method"] == "rogan-gladen"


def test_a_judge_that_guesses_has_no_rogan_gladen_estimate(folder):
    rows = rows_of([True, False] * 10, [False, True] * 10)

    found = folder.estimate(rows)

    assert found["rogan_gladen"] is None
    assert any("sensitivity + specificity is 1 or less" in sentence for sentence in found["assumptions"])


def test_the_share_of_a_named_label(folder):
    rows = rows_of(["a", "b", "c", "a"] * 5, ["a", "b", "a", None] * 5)

    found = folder.estimate(rows, settings=Settings(positive="a", resamples=100))

    assert (found["estimated"], found["naive"]["value"]) == ("share of `a`", 0.5)
    with pytest.raises(UsageError, match="Name one of `a`, `b`, `c` with --positive"):
        folder.estimate(rows)
    with pytest.raises(UsageError, match="no such label"):
        folder.estimate(rows, settings=Settings(positive="z", resamples=100))


def test_the_bounds_of_a_rate_stay_within_0_and_1(folder):
    rows = rows_of([True] * 50, [True] * 9 + [False] + [None] * 40)

    found = folder.estimate(rows)["corrected"]

    assert (found["value"], found["high"]) == (pytest.approx(0.9), 1.0)


def test_one_label_is_too_few(folder):
    found = folder.estimate(rows_of([1, 2, 3], [1, None, None]))

    assert (found["corrected"], found["n_labelled"]) == (None, 1)
    assert "at least 2" in found["reason"]


def test_several_annotators_and_replies_of_a_row_are_averaged(folder):
    rows = [
        {"judge": [4, 5], "a": 4, "b": 3, "distask_metadata": [{}, {}]},
        {"judge": [2, 2], "a": 2, "b": None, "distask_metadata": [{}, {}]},
        {"judge": [1, None], "a": None, "b": None, "distask_metadata": [{}, {}]},
    ]

    found = folder.estimate(rows, gold=["a", "b"])

    assert (found["n_labelled"], found["n_pool"]) == (2, 3)
    assert found["naive"]["value"] == pytest.approx((4.5 + 2 + 1) / 3)
    assert found["labels_only"]["value"] == pytest.approx((3.5 + 2) / 2)


def test_lists_have_no_mean(folder):
    with pytest.raises(UsageError, match="holds lists"):
        folder.estimate(rows_of([["x"], ["y"]], [["x"], []]))


def test_clusters_widen_the_estimate(folder):
    true, rows = judged()
    copies = [
        {**row, "gold": int(gold), "doc": i}
        for i, (row, gold) in enumerate(zip(rows, true, strict=True))
        for _ in range(4)
    ]
    for number, row in enumerate(copies):
        if number >= 400:
            del row["gold"]

    narrow = folder.estimate(copies)
    wide = folder.estimate(copies, cluster="doc", settings=Settings(clustered=True, resamples=100))

    def width(found, name):
        return found[name]["high"] - found[name]["low"]

    assert wide["corrected"]["value"] == pytest.approx(narrow["corrected"]["value"])
    for name in ("naive", "corrected", "labels_only"):
        assert width(wide, name) == pytest.approx(2 * width(narrow, name), rel=0.05)
