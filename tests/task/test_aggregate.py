"""Reducers: one value of several, nulls left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask.task.aggregate import REDUCERS, entrywise

NUMBERS = st.lists(st.none() | st.integers(-(10**6), 10**6) | st.floats(-1e9, 1e9), max_size=8)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.parametrize(
    ("how", "values", "made"),
    [
        ("mean", [4, None, 5], 4.5),
        ("mean", [True, False, True, True], 0.75),
        ("mean", [0.1, 0.2, 0.3], 0.2),
        ("median", [5, 1, 4], 4.0),
        ("median", [5, 1, None, 4, 4], 4.0),
        ("median", [1, 4], 2.5),
        ("std", [2, 4, 4, 4, 5, 5, 7, 9], 2.138089935299395),
        ("std", [3, None], None),
        ("min", [3, None, 2], 2),
        ("max", [3, None, 3.5], 3.5),
        ("max", [False, True], True),
        ("majority", ["b", "a", None, "a"], "a"),
        ("majority", ["b", "a"], "b"),
        ("majority", [1, 1.0, 2, 2, 1], 1),
        ("majority", [True, 1, 1], 1),
        ("majority", ["1", 1, "1"], "1"),
        ("majority", [["x", "y"], ["y", "x"], ["x", "y"]], ["x", "y"]),
        ("majority", [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {}], {"a": 1, "b": 2}),
        ("agreement", ["a", "a", "b", None], 2 / 3),
        ("agreement", [4, 4.0], 1.0),
        ("agreement", ["a", "b", "c", "d"], 0.25),
        ("mean", [10**400], None),
        ("mean", [1.7e308, 1.7e308], 1.7e308),
    ],
)
def test_a_reducer_makes_one_value(how, values, made):
    assert REDUCERS[how](values) == made


@pytest.mark.parametrize("how", REDUCERS)
@pytest.mark.parametrize("values", [[], [None], [None, None]])
def test_of_nothing_there_is_nothing(how, values):
    assert REDUCERS[how](values) is None


def test_lists_are_reduced_entry_by_entry():
    """Each answer has the mean of its own ratings, whatever judge left one out."""
    assert entrywise(REDUCERS["mean"])([[5, None, 1], None, [4, 2], [3, 4, 3]]) == [4.0, 3.0, 2.0]
    assert entrywise(REDUCERS["majority"])([["a", None], ["b", None], ["b", None]]) == ["b", None]
    assert entrywise(REDUCERS["mean"])([None, None]) is None


@given(NUMBERS)
def test_what_is_made_of_numbers_lies_between_them(values):
    present = [v for v in values if v is not None]
    for how in ("mean", "median", "majority", "min", "max"):
        made = REDUCERS[how](values)
        assert (made is None) == (not present)
        assert made is None or min(present) - 1e-6 <= made <= max(present) + 1e-6


@given(st.lists(ANYTHING, max_size=6), st.randoms())
def test_agreement_does_not_depend_on_the_order(values, random):
    shuffled = random.sample(values, len(values))

    assert REDUCERS["agreement"](shuffled) == REDUCERS["agreement"](values)
    assert REDUCERS["majority"](values) is None or REDUCERS["majority"](values) in values
