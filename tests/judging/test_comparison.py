"""Several judges: their order, and paired differences on the rows that all of them judged."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from distask.errors import UsageError
from distask.judging.comparison import compare_judges
from distask.judging.metrics import Settings
from distask.judging.requirements import parse_requirement
from tests.judging.conftest import rows_of

SETTINGS = Settings(resamples=300)


def two_judges(n=300):
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 3, n)
    good, poor = (np.where(rng.random(n) < share, gold, rng.integers(0, 3, n)) for share in (0.85, 0.5))
    names = np.array(["x", "y", "z"])
    return names[poor].tolist(), names[gold].tolist(), names[good].tolist()


def compared(folder, rows, judges=("judge", "good"), settings=SETTINGS, **request):
    return [a.event() for a in compare_judges(folder.matched(rows, judges, **request), settings)]


def test_the_best_judge_comes_first_and_the_others_have_their_difference(folder):
    poor, gold, good = two_judges()

    first, second = compared(folder, rows_of(poor, gold, good=good))

    assert [(f["judge"], f["rank"], f["ranked_by"]) for f in (first, second)] == [
        ("good", 1, "kappa"),
        ("judge", 2, "kappa"),
    ]
    assert first["difference"] is None
    difference = second["difference"]
    expected = cohen_kappa_score(poor, gold) - cohen_kappa_score(good, gold)
    assert difference["metrics"]["kappa"]["value"] == pytest.approx(expected, abs=1e-9)
    assert difference["metrics"]["kappa"]["high"] < 0
    only = [sum(a == g != b for a, b, g in zip(*sides, gold, strict=True)) for sides in ((poor, good), (good, poor))]
    assert difference["mcnemar"] == pytest.approx(stats.binomtest(only[0], sum(only)).pvalue, rel=1e-9)


def test_differences_are_paired(folder):
    """Two judges that err on the same rows: their difference is far more certain than two intervals suggest."""
    rng = np.random.default_rng(1)
    gold = rng.normal(size=200)
    judge = gold + rng.normal(0, 2, 200)
    other = judge + rng.normal(0, 0.1, 200) + 0.1

    _, second = compared(folder, rows_of(judge.tolist(), gold.tolist(), good=other.tolist()))

    def width(metric):
        return metric["high"] - metric["low"]

    assert width(second["difference"]["metrics"]["bias"]) < 0.2 * width(second["metrics"]["bias"])
    assert second["difference"]["mcnemar"] is None


def test_differences_are_measured_on_the_rows_of_both(folder):
    poor, gold, good = two_judges(60)
    good[:20] = [None] * 20

    _, second = compared(folder, rows_of(poor, gold, good=good))

    assert second["difference"]["n"] == 40
    assert second["n"] == 60


def test_a_judge_with_fractions_makes_both_numbers(folder):
    found = compared(folder, rows_of([1, 2, 3, 4], [1, 2, 3, 5], good=[1.5, 2.25, 3.0, 4.5]))

    assert {f["kind"] for f in found} == {"number"}


def test_judges_of_different_kinds_are_an_error(folder):
    with pytest.raises(UsageError, match=r"`judge` is nominal, `good` is multilabel|different kinds"):
        compared(folder, rows_of(["x", "y"], ["x", "y"], good=[0.5, 0.25]), settings=Settings(resamples=100))


def test_a_lower_error_ranks_first_for_probabilities(folder):
    rows = rows_of([0.6, 0.5, 0.7], [True, False, True], good=[0.9, 0.1, 0.95])

    assert [f["judge"] for f in compared(folder, rows)] == ["good", "judge"]


def test_clustered_rows_have_no_mcnemar_test(folder):
    poor, gold, good = two_judges(60)
    rows = rows_of(poor, gold, good=good, doc=[i // 3 for i in range(60)])

    _, second = compared(folder, rows, cluster="doc", settings=Settings(resamples=100, clustered=True))

    assert second["difference"]["mcnemar"] is None


def test_costs_and_failures_of_a_run(folder):
    source = folder.write("judged.jsonl", rows_of([1, None], [1, 2]))
    folder.record(
        "judged.jsonl",
        identity={"task": "rate", "model": "m"},
        counts={"cost_usd": 0.5, "rows": 200},
        spec={"outputs": {"judge": {"type": "integer"}}},
    )

    (facts,) = compared(folder, source, judges=["judge"])

    assert (facts["cost_per_1000_rows"], facts["task"], facts["model"]) == (2.5, "rate", "m")


@pytest.mark.parametrize(
    ("text", "unmet"),
    [
        ("accuracy >= 0.5", None),
        ("accuracy>0.75", "accuracy.value is 0.75"),
        ("accuracy.low >= 0.6", "accuracy.low is 0.3"),
        ("accuracy.high <= 1", None),
        ("n >= 5", "n is 4"),
        ("baseline == 0.75", None),
        ("spearman > 0", "`spearman` has no value: needs scores"),
    ],
)
def test_requirements(folder, text, unmet):
    facts = folder.agree(rows_of(["a", "b", "a", "b"], ["a", "b", "a", "a"]))
    why = parse_requirement(text, with_estimate=False).check(facts, None)

    assert (why is None) if unmet is None else (unmet in why)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kapa >= 0.6", r"there is no metric `kapa`; did you mean `kappa`\?"),
        ("kappa", "write a metric, a comparison and a number"),
        ("kappa.lower >= 0.6", "there is no `kappa.lower`; write `kappa.value`, `kappa.low`, `kappa.high`"),
        ("kappa >= high", "`high` is not a number"),
        ("kappa >= nan", "`nan` is not a number"),
        ("n.low >= 3", "write `n` alone"),
        ("estimate.low >= 3", "add --estimate"),
    ],
)
def test_a_requirement_that_is_not_valid(text, sentence):
    with pytest.raises(UsageError, match=sentence):
        parse_requirement(text, with_estimate=False)


def test_a_metric_that_does_not_fit_the_kind(folder):
    facts = folder.agree(rows_of(["a", "b"], ["a", "b"]))

    with pytest.raises(UsageError, match="of the kind nominal have no `brier`"):
        parse_requirement("brier < 0.2", with_estimate=False).check(facts, None)
