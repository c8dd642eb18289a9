"""Which rows are chosen: as random as their seed, with the facts that estimates need, in one pass."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask.errors import UsageError
from distask.labeling.queue import MIN_GAP, parse_repeat, turns_of
from distask.labeling.sampling import Candidate, allocated, uncertainty
from tests.labeling.conftest import sampled


def numbers(sampler):
    return [chosen.row for chosen in sampler.chosen()]


def made(count, **columns):
    return [{"i": i, **{name: value(i) for name, value in columns.items()}} for i in range(count)]


def test_a_random_sample_depends_on_the_seed_alone_and_records_its_probability():
    first = sampled(made(1000), size=50)

    assert numbers(first) == numbers(sampled(made(1000), size=50))
    assert numbers(first) != numbers(sampled(made(1000), size=50, seed=1))
    assert len(set(numbers(first))) == 50
    assert first.chosen()[0].sampling == {"method": "random", "seed": 0, "size": 50, "pool": 1000, "probability": 0.05}
    assert [first.row(chosen).values["i"] + 1 for chosen in first.chosen()] == numbers(first)


def test_a_larger_sample_begins_with_the_smaller_one():
    """So a person who stops early, or continues with more rows, has a random sample at every moment."""
    assert numbers(sampled(made(1000), size=200))[:50] == numbers(sampled(made(1000), size=50))


def test_every_row_is_equally_likely():
    counts = Counter(row for seed in range(2000) for row in numbers(sampled(made(10), size=3, seed=seed)))

    assert all(500 < counts[row] < 700 for row in range(1, 11))  # 600 expected, 5 standard deviations are 102


def test_a_sample_of_more_rows_than_there_are_is_all_of_them():
    sampler = sampled(made(5), size=100)

    assert sorted(numbers(sampler)) == [1, 2, 3, 4, 5]
    assert {c.sampling["probability"] for c in sampler.chosen()} == {1.0}
    assert {c.sampling["size"] for c in sampler.chosen()} == {5}


def test_all_rows_come_in_their_order():
    assert numbers(sampled(made(300), "all", size=1)) == list(range(1, 301))


def test_strata_share_a_sample_equally_and_record_their_probabilities():
    sampler = sampled(
        made(1000, lang=lambda i: "de" if i < 10 else "fr" if i < 200 else None), "stratified", 60, column="lang"
    )
    by_stratum = Counter(c.sampling["stratum"] for c in sampler.chosen())

    assert by_stratum == {"de": 10, "fr": 25, None: 25}
    assert {c.sampling["stratum"]: c.sampling["probability"] for c in sampler.chosen()} == {
        "de": 1.0,
        "fr": 25 / 190,
        None: 25 / 800,
    }
    assert {(c.sampling["size"], c.sampling["pool"]) for c in sampler.chosen()} == {(60, 1000)}
    assert len(set(numbers(sampler))) == 60


@given(st.integers(1, 200), st.dictionaries(st.text(max_size=3), st.integers(1, 100), min_size=1, max_size=20))
def test_shares_add_up_and_no_stratum_gives_more_than_it_has(size, pools):
    shares = allocated(size, pools)

    assert sum(shares.values()) == min(size, sum(pools.values()))
    assert all(share <= pools[name] for name, share in shares.items())
    full = max(shares.values())
    assert all(share >= full - 1 or share == pools[name] for name, share in shares.items())


def test_a_column_that_is_missing_or_has_too_many_values_is_reported():
    with pytest.raises(UsageError, match=r"--stratify lng: the rows have no such column; did you mean `lang`\?"):
        sampled(made(10, lang=str), "stratified", 5, column="lng")
    with pytest.raises(UsageError, match="--stratify lang: the column has more than 5 different values"):
        sampled(made(10, lang=str), "stratified", 5, column="lang")


def test_the_most_uncertain_rows_come_first_and_certain_ones_never():
    rng = random.Random(0)
    doubts = [rng.choice([None, 0.0, 0.2, 0.5, 0.9]) for _ in range(300)]
    rows = [Candidate(number, {"i": number}, uncertainty=doubt) for number, doubt in enumerate(doubts, 1)]
    sampler = sampled(rows, "uncertain", 400)
    seen = [doubts[number - 1] for number in numbers(sampler)]

    assert seen == sorted((d for d in doubts if d), reverse=True)
    assert sampler.certain == sum(not d for d in doubts)
    assert "probability" not in sampler.chosen()[0].sampling
    assert numbers(sampled(rows, "uncertain", 20)) == numbers(sampler)[:20]


@pytest.mark.parametrize(
    ("answers", "has_jurors", "expected"),
    [
        ([{"score": 4}, {"score": 4}, {"score": 1}, {"score": 4}], False, 0.25),
        ([{"score": 4}, {"score": None}], False, None),
        ([{"score": 4}], False, None),
        ([{"score": 3, "probabilities": {"1": 0.5, "2": 0.5}}], False, 1.0),
        ([{"score": 3, "probabilities": {"1": 1.0, "2": 0.0}}], False, 0.0),
        ([{"score": 3, "counts": {"a": 3, "b": 5}}], False, None),
        ([{"score": 3, "scores": [1, 3, 3, None]}], True, 1 / 3),
        ([{"score": 3, "scores": [1, 3, 3]}], False, None),
        ([{"score": 3, "reasons": ["because " * 20, "since " * 20]}], True, None),
        ([{"score": 3, "verdicts": ["A", "B"]}], True, 0.5),
    ],
)
def test_signs_of_uncertainty(answers, has_jurors, expected):
    assert uncertainty(answers, ["score"], has_jurors=has_jurors) == (
        expected if expected is None else pytest.approx(expected)
    )


def test_items_are_shown_again_some_turns_later():
    chosen = sampled(made(100)).chosen()
    turns = turns_of(chosen, 10, seed=3)
    first = {turn.chosen.row: place for place, turn in enumerate(turns) if not turn.repeat}
    again = {turn.chosen.row: place for place, turn in enumerate(turns) if turn.repeat}

    assert (len(first), len(again), len(turns)) == (100, 10, 110)
    assert all(place - first[row] > MIN_GAP for row, place in again.items())
    assert [t.chosen for t in turns if not t.repeat] == chosen
    assert turns == turns_of(chosen, 10, seed=3)


@given(st.integers(1, 60), st.floats(0, 1))
def test_any_number_of_items_can_be_shown_again(size, share):
    repeats = round(size * share)
    turns = turns_of(sampled(made(size), "all").chosen(), repeats, seed=0)
    first = [t.chosen.row for t in turns if not t.repeat]
    again = [t.chosen.row for t in turns if t.repeat]

    assert len(again) == len(set(again)) == repeats
    assert first == list(range(1, size + 1))
    assert all(
        turns.index(next(t for t in turns if t.chosen.row == row and not t.repeat)) < place
        for place, row in ((p, t.chosen.row) for p, t in enumerate(turns) if t.repeat)
    )


@pytest.mark.parametrize(
    ("written", "count"), [("5%", 10), ("0", 0), ("7", 7), ("0.1%", 1), ("100%", 200), ("500", 200)]
)
def test_repeats_are_a_share_or_a_number(written, count):
    assert parse_repeat(written, 200) == count


@pytest.mark.parametrize("written", ["-1", "five", "101%", "0.5", "", "%", "nan%"])
def test_other_repeats_are_refused(written):
    with pytest.raises(UsageError, match="write a share, such as 5%, or a number of items, such as 10"):
        parse_repeat(written, 200)
