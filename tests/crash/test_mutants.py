"""Each battery fails where what it is for is taken out of the program: a battery that can't fail shows nothing."""

from __future__ import annotations

import signal

import pytest

from distask.store import Store
from tests.crash import test_damage, test_ends, test_failpoints, test_faults, test_kill, test_model, test_simulation
from tests.crash.forks import Forks
from tests.crash.simulation import Simulation
from tests.crash.torture import PLANS, Torture
from tests.llm import test_congestion
from tests.mutants import (
    drop_assignment,
    drop_call,
    drop_element,
    file_of,
    planted,
    program,
    rename_call,
    set_argument,
    set_branch,
    set_condition,
    set_operand,
    set_value,
)

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
    while bench.die_at([file_of("write_record")], line, rows):
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

RESUMES = test_ends.test_a_run_that_is_stopped_keeps_what_is_in_flight_and_prints_the_command_that_continues
A_WAIT = test_faults.test_a_wait_that_the_server_asks_for_holds_the_whole_endpoint

PROGRAMS = {
    "replies are not kept": ("Calls._keep", drop_call("put"), kills("one reply")),
    "what is at hand is not committed": ("Store._commit_at_hand", drop_call("_commit"), kills("one reply")),
    "equal rows have the same key": ("RowRequest.key", set_argument("sample_key", "occurrence", "0"), kills("one reply")),
    "samples have the same key": (
        "RowRequest.key", set_argument("sample_key", "sample", "0"), kills("two replies of a call"),
    ),
    "rows are written when they are done": ("Engine._flush", rename_call("popleft", "pop"), right_order),
    "an output is not claimed": ("PartialFile.commit", set_condition("_on_whole", False), last_lines),
    "an output is not locked": (
        "output_lock", drop_call("acquire"),
        ends(test_ends.test_a_second_run_of_the_same_output_is_refused_before_any_call),
    ),
    "a closed terminal is overlooked": ("STOPS", drop_element("SIGHUP"), ends(RESUMES, signal.SIGHUP)),
    "what is in flight is dropped when a run is stopped": ("DRAIN_SECONDS", set_value("0.0"), ends(RESUMES, signal.SIGINT)),
    "a store that is full stops nothing": (
        "Calls._keep", drop_call("halt"), ends(test_ends.test_a_file_that_may_not_grow_is_like_a_disk_that_is_full, "store"),
    ),
    "the breaker never breaks": (
        "Breaker._count", set_condition("_failed", True),
        fault(test_faults.test_a_thousand_rows_that_all_fail_the_same_way_cost_little, *A_THOUSAND),
    ),
    "a bad key is the row's failure": (
        "RULES", set_argument("Rule", "scope", "'row'", among="401"),
        fault(test_faults.test_a_fault_that_is_the_runs_ends_it_with_the_calls_in_flight, AUTH),
    ),
    "a wait holds its row, not the endpoint": (
        "Client._slow_down", drop_call("pause"), fault(A_WAIT, test_faults.in_milliseconds, 0.69),
    ),
    "a reply may be of any size": (
        "_Connection.on_body", set_condition("MAX_REPLY_BYTES", False),
        fault(test_faults.test_a_reply_larger_than_any_may_be_is_its_rows_failure),
    ),
    "keywords are not in the key": ("Request.canonical", set_value("{}", "keywords"), story(("heat", 0))),
    "what was cut serves a higher limit": (
        "_serves", set_branch("length", "return True"),
        story(("limit", test_model.WHOLE - 3), ("words", "tell"), ("limit", test_model.WHOLE)),
    ),
}  # fmt: skip
"""What is wrong to (where, the change, the check that must fail)."""


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_battery_sees_what_is_taken_out_of_the_program(tmp_path_factory, server, name):
    where, change, check = PROGRAMS[name]
    copy = program(tmp_path_factory.mktemp("program"), (where, change))

    with Forks(copy) as forks, pytest.raises(FAILS):
        check(tmp_path_factory.mktemp("work"), forks, server)


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_sees_a_mutant_passes_on_the_program_itself(tmp_path, forks, server, name):
    """A check that fails anyway would see every mutant."""
    *_, check = PROGRAMS[name]

    check(tmp_path, forks, server)


def seeds():
    for seed in range(60):
        Simulation(seed).check()


def burst():
    heights = test_simulation.ceilings(test_simulation.Burst(2.5, 3.5), 3000)
    assert min(heights) == 128
    assert heights[-1] == 256


def patience():
    assert test_simulation.ends_of(test_simulation.Burst(0, 3000), 300) == {"done": 300}


def limit():
    test_congestion.test_a_limit_per_second_is_learned_from_refusals(20, 1, 0.05, 800, slides=False)


def late():
    test_congestion.test_the_level_follows_a_server_whose_capacity_changes()


def outage():
    test_congestion.test_a_burst_of_time_outs_halves_the_level_once()


def bad_replies():
    test_simulation.test_replies_that_can_not_be_used_end_a_run_within_twenty_and_what_is_in_flight()


PACES = {
    "no rest is held": ("Pace.pause", [drop_assignment("_paused_until")], seeds),
    "more may be in flight than is allowed": (
        "Pace.enter_at_once", [set_operand("_waiting", False), set_operand("has_room", False)], seeds,
    ),
    "a limit is not learned": ("Pace.limited", [drop_call("refused")], limit),
    "a place is not given back": ("Pace.leave", [drop_assignment("in_flight")], seeds),
    "each time-out of a burst cuts": ("Concurrency.timed_out", [set_operand("_cut_at", True)], outage),
    "what was cut never grows back": ("Concurrency._raise", [drop_call("_set")], burst),
    "a level need not bring anything": ("Concurrency._end_epoch", [set_condition("PROFIT", True)], late),
    "a queue is never emptied": ("Concurrency._settle", [set_condition("stretch", False)], late),
    "what ends the run stops nobody": ("Client.stop", [drop_assignment("_fatal")], seeds),
    "a 429 uses up tries": ("_Tries.wait", [set_condition("rate_limit", False)], patience),
    "what was paid for and retried does not count": (
        "Breaker.failure", [set_operand("_counts_at_once", False)], bad_replies,
    ),
}  # fmt: skip
"""What is wrong with the pace of calls to (where, the changes, the check that must fail)."""


@pytest.mark.parametrize("name", PACES)
def test_the_simulation_sees_what_is_taken_out_of_the_client(name):
    where, changes, check = PACES[name]

    check()
    with planted(where, *changes), pytest.raises(FAILS):
        check()


def test_the_damage_sees_that_checksums_are_not_looked_at(tmp_path, tmp_path_factory):
    files = test_damage.files.__wrapped__(tmp_path_factory)
    bench = test_damage.Bench(tmp_path)

    with (
        planted("Store._choose", set_condition("is_intact", False)),
        pytest.raises((FAILS, ValueError, TypeError)),
    ):
        test_damage.turn_bits(bench, files, 1, Store, times=800)
