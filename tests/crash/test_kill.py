"""`kill -9` at any moment, and the same command again: nothing lost, doubled, torn or out of order, and little paid twice."""

from __future__ import annotations

import json

import pytest

from tests.crash.scale import scaled
from tests.crash.torture import CONCURRENCY, PLANS, ROWS, Torture

KILLS = 34
"""Of each plan: more than 200 in all."""


@pytest.mark.parametrize("name", PLANS)
def test_a_run_that_is_killed_at_any_moment_continues_as_if_it_had_not_been(tmp_path, forks, name):
    """The output is that of an uninterrupted run, byte for byte; a kill costs no more calls than were in flight."""
    torture = Torture(PLANS[name], tmp_path, forks, seed=len(name))

    torture.until(scaled(KILLS))

    assert torture.kills >= scaled(KILLS)
    assert torture.ends
    assert torture.paid_again <= CONCURRENCY * torture.kills


def test_what_the_battery_holds_runs_against_is_right(tmp_path, forks):
    """The uninterrupted run itself: each row once, in order, its bytes in front, its own answer behind."""
    torture = Torture(PLANS["one reply"], tmp_path, forks, seed=0)
    with torture.server:
        torture._expect(ROWS[1])
    lines = torture._expected[ROWS[1]].decode().splitlines()

    assert len(lines) == ROWS[1]
    for line, row in zip(lines, torture.lines(ROWS[1]), strict=True):
        assert line.startswith(row[:-1])
        assert json.loads(line)["a"].startswith(json.loads(row)["q"][::-1])
    assert sum(torture.asked.values()) == ROWS[1]
