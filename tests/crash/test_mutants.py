"""Each battery fails where what it is for is taken out of the program: a battery that can't fail shows nothing."""

from __future__ import annotations

import signal

import pytest

from tests.crash import test_damage, test_ends, test_failpoints, test_faults, test_kill, test_model, test_simulation
from tests.crash.forks import Forks
from tests.crash.mutants import module, program
from tests.crash.simulation import Simulation
from tests.crash.torture import PLANS, Torture
from tests.llm import test_congestion

FAILS = AssertionError


def kills(name, kills=4):
    def check(tmp_path, forks, server):
        Torture(PLANS[name], tmp_path, forks, seed=1).until(kills)

    return check


def right_order(tmp_path, forks, server):
    test_kill.test_what_the_battery_holds_runs_against_is_right(tmp_path, forks)


def last_lines(tmp_path, forks, server):
    bench = test_failpoints.Bench(tmp_path, forks, server, "out.jsonl")
    line, rows = 1, 3
    while bench.die_at(("runner/record.py",), line, rows):
        bench.made(rows)
        line, rows = line + 2, 7 - rows


def ends(test, *more):
    def check(tmp_path, forks, server):
        (tmp_path / "task.yaml").write_text(test_ends.SPEC)
        test_ends.write_rows(tmp_path / "in.jsonl")
        test(tmp_path, forks, server, *more)

    return check


def fault(test, *more):
    def check(tmp_path, forks, server):
        test(test_faults.Bench(tmp_path, forks, server), *more)

    return check


def story(*changes):
    """The stateful model, told what happens: a run, and after each change another one."""

    def check(tmp_path, forks, server):
        runs = type("Told", (test_model.Runs,), {"forks": forks})()
        try:
            runs.begin()
            runs.run()
            for change in changes:
                runs.change_the_task(change=change)
                runs.run()
                runs.nothing_is_asked_for_twice_but_what_a_kill_had_in_flight()
        finally:
            runs.teardown()

    return check


AUTH = next(case for case in test_faults.OVER_HTTP if case[0].status == 401)
A_THOUSAND = (test_faults.answer(400, {"error": {"message": "no"}}), 20 + test_faults.PLACES, "no")

PROGRAMS = {
    "replies are not kept": (
        "runner/engine/calls.py", "await self._store.put(kept, asked.request.max_tokens)", "pass", kills("one reply"),
    ),
    "what is at hand is not committed": ("store.py", "_commit(self._connection, group)", "pass", kills("one reply")),
    "equal rows have the same key": (
        "runner/engine/requests.py", "sample_key(self.fingerprint, self.occurrence,", "sample_key(self.fingerprint, 0,", kills("one reply"),
    ),
    "samples have the same key": (
        "runner/engine/requests.py", "self.occurrence, sample, attempt)", "self.occurrence, 0, attempt)", kills("two replies of a call"),
    ),
    "rows are written when they are done": ("runner/engine/engine.py", "slot = window.popleft()", "slot = window.pop()", right_order),
    "an output is not claimed": ("data/writers/base.py", "if self._on_whole is not None:", "if False:", last_lines),
    "an output is not locked": (
        "data/writers/base.py", "self._lock.acquire(timeout=0)", "pass",
        ends(test_ends.test_a_second_run_of_the_same_output_is_refused_before_any_call),
    ),
    "a closed terminal is overlooked": (
        "runner/engine/engine.py", '("SIGINT", "SIGTERM", "SIGHUP")', '("SIGINT", "SIGTERM")',
        ends(
            test_ends.test_a_run_that_is_stopped_keeps_what_is_in_flight_and_prints_the_command_that_continues, signal.SIGHUP
        ),
    ),
    "what is in flight is dropped when a run is stopped": (
        "runner/engine/engine.py", "until = loop.time() + DRAIN_SECONDS", "return",
        ends(
            test_ends.test_a_run_that_is_stopped_keeps_what_is_in_flight_and_prints_the_command_that_continues, signal.SIGINT
        ),
    ),
    "a store that is full stops nothing": (
        "runner/engine/calls.py", "self._shared.halt(error)\n\n    def _read", "pass\n\n    def _read",
        ends(test_ends.test_a_file_that_may_not_grow_is_like_a_disk_that_is_full, "store"),
    ),
    "the breaker never breaks": (
        "llm/pacing/circuit_breaker.py", "if self._failed < most:", "if True:",
        fault(test_faults.test_a_thousand_rows_that_all_fail_the_same_way_cost_little, *A_THOUSAND),
    ),
    "a bad key is the row's failure": (
        "llm/pacing/failure_rules.py", 'Rule("401", "auth", "run",', 'Rule("401", "auth", "row",',
        fault(test_faults.test_a_fault_that_is_the_runs_ends_it_with_the_calls_in_flight, AUTH),
    ),
    "a wait holds its row, not the endpoint": (
        "llm/client.py", "self.pace.pause(failure.retry_after)", "pass",
        fault(test_faults.test_a_wait_that_the_server_asks_for_holds_the_whole_endpoint, test_faults.in_milliseconds, 0.69),
    ),
    "a reply may be of any size": (
        "llm/http/direct.py", "if self._size > transport.MAX_REPLY_BYTES:", "if False:",
        fault(test_faults.test_a_reply_larger_than_any_may_be_is_its_rows_failure),
    ),
    "keywords are not in the key": (
        "llm/request.py", "told = [self.endpoint, self.model, self.messages, keywords]",
        "told = [self.endpoint, self.model, self.messages, {}]", story(("heat", 0)),
    ),
    "what was cut serves a higher limit": (
        "store.py", "return asked == limit or (asked is not None and limit is not None and limit <= asked)", "return True",
        story(("limit", test_model.WHOLE - 3), ("words", "tell"), ("limit", test_model.WHOLE)),
    ),
}  # fmt: skip
"""What is wrong to (file, what stands there, what stands there then, the check that must fail)."""


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_battery_sees_what_is_taken_out_of_the_program(tmp_path_factory, server, name):
    file, old, new, check = PROGRAMS[name]
    copy = program(tmp_path_factory.mktemp("program"), file, old, new)

    with Forks(copy) as forks, pytest.raises(FAILS):
        check(tmp_path_factory.mktemp("work"), forks, server)


def seeds(client, pace):
    for seed in range(60):
        Simulation(seed, client, pace).check()


def burst(client, pace):
    heights = test_simulation.ceilings(test_simulation.Burst(2.5, 3.5), 3000, client, pace)
    assert min(heights) == 128
    assert heights[-1] == 256


def patience(client, pace):
    assert test_simulation.ends_of(test_simulation.Burst(0, 3000), 300, client, pace) == {"done": 300}


def limit(client, pace):
    test_congestion.test_a_limit_per_second_is_learned_from_refusals(20, 1, 0.05, 800, slides=False)


def late(client, pace):
    test_congestion.test_the_level_follows_a_server_whose_capacity_changes()


def outage(client, pace):
    test_congestion.test_a_burst_of_time_outs_halves_the_level_once()


def bad_replies(client, pace):
    """A server whose every reply is paid for and can't be used: 20 requests, and what is in flight."""
    server = test_simulation.Unusable()
    assert test_simulation.ends_of(server, 200, client, pace) == {"run": 200}
    assert server.calls <= 20 + 16


PACES = {
    "no rest is held": ("llm/pacing/pace.py", "self._paused_until = max(", "_ = max(", seeds),
    "more may be in flight than is allowed": (
        "llm/pacing/pace.py", "if self._waiting or not self.concurrency.has_room(self.in_flight, now) or", "if", seeds,
    ),
    "a limit is not learned": ("llm/pacing/pace.py", "self.rate.refused(begun, now)", "pass", limit),
    "a place is not given back": ("llm/pacing/pace.py", "        self.in_flight -= 1\n        if self._waiting:", "        if self._waiting:", seeds),
    "each time-out of a burst cuts": ("llm/pacing/concurrency.py", "if begun > self._cut_at and is_crowd:", "if is_crowd:", outage),
    "what was cut never grows back": (
        "llm/pacing/concurrency.py", "self._set(self._bounded(max(self._level + 1, step * self._level), self._known[1]), self.reason)", "pass", burst,
    ),
    "a level need not bring anything": ("llm/pacing/concurrency.py", "if rate >= known_rate * (level / known) ** PROFIT:", "if True:", late),
    "a queue is never emptied": ("llm/pacing/concurrency.py", "if stretch > 1 and self._level > 1:", "if False:", late),
    "what ends the run stops nobody": ("llm/client.py", "            self._fatal = failure\n", "", seeds),
    "a 429 uses up tries": (
        "llm/client.py", 'if failure.kind == "rate_limit":\n            self._limited', "if False:\n            self._limited", patience,
    ),
    "what was paid for and retried does not count": ("llm/pacing/circuit_breaker.py", "if is_final or _counts_at_once(failure)", "if is_final", bad_replies),
}  # fmt: skip
"""What is wrong with the pace of calls, as above; the check is given a client and a pace that may be the mutant's."""
USED_BY = {
    "Concurrency": "distask.llm.pacing.pace",
    "Breaker": "distask.llm.client",
    "Pace": "tests.llm.servers",
    "Client": "tests.llm.servers",
}


@pytest.mark.parametrize("name", PACES)
def test_the_simulation_sees_what_is_taken_out_of_the_client(name, monkeypatch):
    file, old, new, check = PACES[name]
    changed = module(file, old, new)
    for part, user in USED_BY.items():
        if getattr(changed, part, None) is not None and getattr(changed, part).__module__ == changed.__name__:
            monkeypatch.setattr(f"{user}.{part}", getattr(changed, part))

    with pytest.raises(FAILS):
        check(getattr(changed, "Client", test_simulation.Client), getattr(changed, "Pace", test_simulation.Pace))


def test_the_damage_sees_that_checksums_are_not_looked_at(tmp_path, tmp_path_factory):
    mutant = module("store.py", "if checksum is None or checksum != _checksum(key, limit, data, model):", "if False:")
    files = test_damage.files.__wrapped__(tmp_path_factory)

    with pytest.raises((FAILS, ValueError, TypeError)):
        test_damage.turn_bits(test_damage.Bench(tmp_path), files, 1, mutant.Store, times=800)
