"""Equal requests of a run are told apart."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from distask.runner.engine.requests import Occurrences


@given(st.lists(st.integers(1, 40)))
def test_it_counts_as_a_counter_does(words):
    occurrences, counter = Occurrences(), Counter()

    for word in words:
        assert occurrences.next(word.to_bytes(16, "little")) == counter[word]
        counter[word] += 1


def test_it_grows_and_forgets_nothing():
    occurrences = Occurrences()
    words = [(i * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "little") + bytes(8) for i in range(1, 20_001)]

    assert {occurrences.next(w) for w in words} == {0}
    assert {occurrences.next(w) for w in words} == {1}
