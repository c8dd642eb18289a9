"""Engines of one run share its limits: never more than the whole, also while machines come, go and fall silent."""

import random

import pytest

from distask.llm.pacing.latency import Latency
from distask.runner.cluster.coordinator import (
    BEAT_SECONDS,
    LEASE_SECONDS,
    Coordinator,
    Governor,
    Instructions,
    Shares,
    Stopped,
)
from distask.runner.engine.shared import Shared
from distask.runner.stats import Stats


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Line:
    """A coordinator's line whose answers are given by hand."""

    def __init__(self):
        self.sent, self.instructions = 0, None

    def send(self, stats, demand=None):
        self.sent += 1

    def answer(self):
        result, self.instructions = self.instructions, None
        return result


class Client:
    def __init__(self):
        self.shares, self.stopped, self.latency = [], None, Latency()

    def share(self, fraction):
        self.shares.append(fraction)

    def stop(self, failure):
        self.stopped = failure


@pytest.mark.parametrize("seed", range(40))
def test_what_members_may_be_using_is_never_more_than_the_whole(seed):
    """A member uses its last instructions until it gets new ones, or has heard nothing for half a lease."""
    rng, shares, now = random.Random(seed), Shares(), 0.0
    using: dict[str, tuple[float, float]] = {}
    for _ in range(400):
        now += rng.uniform(0, LEASE_SECONDS / 8)
        member = f"m{rng.randrange(6)}"
        if rng.random() < 0.15:
            using.pop(member, None)
            shares.leave(member)
        elif rng.random() < 0.9:
            using[member] = (shares.beat(member, now), now)
        live = [share for share, result in using.values() if now - result <= LEASE_SECONDS / 2]
        assert sum(live) <= 1 + 1e-9


def test_members_come_to_equal_shares():
    shares = Shares()
    for now in range(4):
        result = [shares.beat(member, now) for member in "abcd"]

    assert result == [0.25] * 4


def test_a_member_that_is_lost_gives_its_share_back_after_its_lease():
    shares = Shares()
    for now in range(3):
        shares.beat("a", now)
        shares.beat("b", now)

    assert shares.beat("a", LEASE_SECONDS) == 0.5
    assert shares.beat("a", LEASE_SECONDS + 3) == 1.0


def test_an_engine_begins_nothing_before_it_was_reported_its_share():
    clock, line, client = Clock(), Line(), Client()
    shared = Shared(Stats())
    shared.know(client)
    governor = Governor(line, clock)

    governor.govern(shared)
    line.instructions = Instructions(0.25)
    clock.now += BEAT_SECONDS
    governor.govern(shared)

    assert client.shares == [0.0, 0.25]
    assert line.sent == 2


def test_an_engine_that_hears_nothing_stops_asking_before_others_take_its_share():
    clock, line, client = Clock(), Line(), Client()
    shared = Shared(Stats())
    shared.know(client)
    governor = Governor(line, clock)
    governor.govern(shared)
    line.instructions = Instructions(1.0)
    governor.govern(shared)

    clock.now += LEASE_SECONDS / 2 + 1
    governor.govern(shared)

    assert client.shares == [0.0, 1.0, 0.0]


def test_one_part_that_fails_for_good_stops_the_others():
    coordinator, line, client = Coordinator(Clock()), Line(), Client()
    shared = Shared(Stats())
    shared.know(client)
    governor = Governor(line, Clock())
    governor.govern(shared)

    coordinator.stop("the key is refused")
    line.instructions = coordinator.beat("a", 0, Stats())
    governor.govern(shared)

    assert isinstance(shared.error, Stopped)
    assert client.stopped is not None


def test_counts_of_parts_are_added_up():
    coordinator = Coordinator(Clock())
    coordinator.beat("a", 0, Stats(rows=3, completions=3, cost=0.5, priced=True))
    coordinator.beat("b", 1, Stats(rows=2, completions=1))
    coordinator.leave("b", 1, Stats(rows=4, completions=3))

    seen = coordinator.progress()

    assert (seen.rows, seen.completions, seen.cost, seen.priced) == (7, 6, 0.5, True)
