"""Latency: a fixed histogram that tells percentiles as a list would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask.llm.pacing.latency import BUCKETS, Latency

SECONDS = st.floats(0.002, 3000)


@given(st.lists(SECONDS, min_size=1, max_size=200))
def test_a_percentile_is_that_of_the_list_but_for_a_few_hundredths(times):
    latency = Latency()
    for seconds in times:
        latency.add(seconds)

    result = [latency.percentile(share) for share in (0.5, 0.9, 1.0)]

    ordered = sorted(times)
    exact = [ordered[-(-tenths * len(times) // 10) - 1] for tenths in (5, 9, 10)]
    assert result == pytest.approx(exact, rel=0.03)
    assert sum(calls for _, calls in latency.buckets()) == latency.count == len(times)


@given(st.lists(SECONDS), st.lists(SECONDS))
def test_two_endpoints_are_counted_as_one(first, second):
    parts = [Latency(), Latency()]
    whole = Latency()
    for part, times in zip(parts, (first, second), strict=True):
        for seconds in times:
            part.add(seconds)
            whole.add(seconds)

    together = Latency.together(parts)

    assert together.buckets() == whole.buckets()
    assert together.longest == whole.longest


def test_times_beyond_all_buckets_are_counted_at_the_ends():
    latency = Latency()
    for seconds in (0.0, 1e-9, 1e9):
        latency.add(seconds)

    assert (latency.count, latency.percentile(1.0)) == (3, 1e9)
    assert len(latency.buckets()) == 2 < BUCKETS


def test_nothing_is_reported_of_no_call():
    assert Latency().percentile(0.5) is None
    assert Latency().buckets() == []
