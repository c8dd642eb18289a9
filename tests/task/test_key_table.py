"""Keys of waiting rows sort as the values do, and stay on disk."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from distask.task.steps.key_table import KeyTable, sort_key

BIG = 2**53
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(BIG - 3, BIG + 3)
    | st.integers(-(10**320), 10**320)
    | st.floats()
    | st.text(st.characters() | st.sampled_from("a\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)


def ranked(value):
    """What a key stands for: numbers, texts, lists and other values, then nothing."""
    if value is None or value != value:
        return 9, 0
    if isinstance(value, bool | int | float):
        return 0, value
    if isinstance(value, str):
        return 1, value
    if isinstance(value, list):
        return 2, [ranked(each) for each in value]
    return 3, json.dumps(value, sort_keys=True, default=str)


@given(VALUES, VALUES)
@example(BIG + 1, float(BIG))
@example(10**320, float("inf"))
@example(-(10**320), float("-inf"))
@example("a", "a\0")
@example([1, "x"], [1])
@example(0.0, -0.0)
def test_keys_compare_as_values_do(one, other):
    first, second = sort_key(one), sort_key(other)

    assert (first is None) == (ranked(one)[0] == 9)
    if first is not None and second is not None:
        assert (first < second) == (ranked(one) < ranked(other))
        assert (first == second) == (ranked(one) == ranked(other))


def test_rows_come_back_in_the_order_of_their_keys(monkeypatch):
    monkeypatch.setattr("distask.task.steps.key_table.BATCH_ROWS", 7)
    table = KeyTable("key")
    for number in range(100):
        table.add(number, sort_key((number * 37) % 100))

    found = [number for (number,) in table.select("SELECT number FROM seen ORDER BY key")]

    table.close()
    assert sorted(range(100), key=lambda number: (number * 37) % 100) == found
