"""The cost limit of a run is divided among its engines: never exceeded, and used up as far as calls fit."""

import json
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from distask.data.parts import Part, Span
from distask.errors import UsageError
from distask.runner.cluster.coordinator import Coordinator, Governor, Leases, Stopped
from distask.runner.engine.leased_budget import Demand, Learned
from distask.runner.job import Job, Selection, resolve, shape_of
from distask.runner.local import check_prices, run_here
from distask.task.load import load
from tests.server import ScriptedServer

LIMIT = 10.0


class Engine:
    """An engine whose calls may cost up to `worst`, and cost less; it hears of leases when it demands one."""

    def __init__(self, name, rng, calls, worst):
        self.name, self.rng, self.calls, self.worst = name, rng, calls, worst
        self.most = self.spent = 0.0
        self.flying = []

    def step(self):
        while self.calls and len(self.flying) < 4 and self.spent + self.worst * (len(self.flying) + 1) <= self.most:
            self.calls -= 1
            self.flying.append(self.worst)
        if self.flying and self.rng.random() < 0.7:
            self.spent += self.flying.pop() * self.rng.uniform(0.3, 1.0)

    def demand(self):
        reserved = sum(self.flying)
        fits = self.spent + reserved + self.worst <= self.most
        wanted = self.worst if self.calls and len(self.flying) < 4 and not fits else 0.0
        held = max(self.most, self.spent + reserved)
        return Demand(self.spent, reserved, held, wanted, learned=Learned(has_replies=self.spent > 0))

    def renew(self, leases, live):
        self.most = max(leases.renew(self.name, self.demand(), live).most, self.spent + sum(self.flying))

    @property
    def is_done(self):
        return not self.calls and not self.flying


def run_engines(engines, leases, rng, turns=20_000):
    for turn in range(turns):
        live = [engine for engine in engines if not engine.is_done]
        if not live or leases.reached:
            return turn
        engine = rng.choice(live)
        engine.step()
        if engine.is_done:
            leases.leave(engine.name, engine.spent)
        elif rng.random() < 0.5:
            engine.renew(leases, {each.name for each in live})
        held = sum(e.spent if e.is_done else max(e.most, e.spent + sum(e.flying)) for e in engines)
        assert held <= LIMIT + 1e-9
    raise AssertionError("engines wait for ever")


@pytest.mark.parametrize("seed", range(25))
def test_engines_never_hold_more_than_the_limit_and_stop_only_when_no_call_fits(seed):
    rng, leases = random.Random(seed), Leases(LIMIT)
    engines = [Engine(f"e{n}", rng, 200, rng.choice([0.05, 0.3, 2.0])) for n in range(rng.randint(1, 6))]

    run_engines(engines, leases, rng)

    waiting = [engine for engine in engines if engine.calls]
    assert bool(waiting) == (leases.reached is not None)
    if waiting:
        left = LIMIT - sum(engine.spent for engine in engines)
        assert not any(engine.flying for engine in waiting)
        assert min(engine.worst for engine in waiting) > left
        assert "(--max-cost) is spent" in leases.reached


@pytest.mark.parametrize("seed", range(10))
def test_a_limit_that_is_enough_stops_nothing(seed):
    rng, leases = random.Random(seed), Leases(LIMIT)
    engines = [Engine(f"e{n}", rng, 30, 0.05) for n in range(6)]

    run_engines(engines, leases, rng)

    assert leases.reached is None
    assert not any(engine.calls for engine in engines)


def test_what_a_lost_engine_held_counts_as_spent():
    leases = Leases(1.0)
    first = leases.renew("lost", Demand(0.0, 0.2, 0.0, learned=Learned(has_replies=True)), {"lost"})

    second = leases.renew("a", Demand(0.0, 0.0, 0.0, wanted=0.9), {"a"})

    assert first.most == pytest.approx(0.4)
    assert second.most <= 0.6
    assert "$0.90" in leases.reached
    assert "$0.40 of $1.00" in leases.reached


def test_before_the_first_reply_only_a_part_of_the_limit_is_leased():
    leases = Leases(1.0)

    for _ in range(3):
        result = [leases.renew(name, Demand(0.0, 0.1, 0.0, wanted=0.1), {"a", "b"}).most for name in "ab"]

    assert sum(result) <= 0.25


def test_engines_learn_from_the_replies_of_others():
    leases = Leases(1.0)
    leases.renew("a", Demand(0.1, 0.0, 0.1, learned=Learned(True, 9_000, 1.5, 1.05)), {"a"})

    learned = leases.renew("b", Demand(0.0, 0.0, 0.0), {"a", "b"}).learned

    assert learned == Learned(True, 9_000, 1.5, 1.05)


# Real engines, with a coordinator in this process

ROWS = 60
SPEC = """\
name: answer
inputs: {instruction: The instruction.}
format_input: [{role: user, content: "{{ instruction }}"}]
outputs: {generation: The reply.}
format_output: {parser: text}
llm: {max_tokens: 100}
"""
PRICE = {"input": 0.0, "output": 10_000.0}
"""USD per million tokens: a token of a reply costs a cent."""
TOKENS = 20
"""What each reply is billed."""


class Line:
    """A governor's line to a coordinator in the same process."""

    def __init__(self, coordinator, number):
        self._coordinator, self._number = coordinator, number

    def send(self, stats, demand=None):
        self._told = self._coordinator.beat(f"m{self._number}", self._number, stats, demand)

    def answer(self):
        return self._told


def billed(body):
    message = {"role": "assistant", "content": "yes"}
    usage = {"prompt_tokens": 5, "completion_tokens": TOKENS, "total_tokens": 5 + TOKENS}
    return {
        "id": "r",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }


def jobs(folder, server, max_cost, parts):
    (folder / "task.yaml").write_text(SPEC)
    config = {"base_url": server.url, "model": "m", "price": PRICE, "limits": {"concurrency": 8}}
    task = load(str(folder / "task.yaml"))
    for number in range(parts):
        file = folder / f"in-{number}.jsonl"
        file.write_text("".join(json.dumps({"instruction": f"{number}: question {n}"}) + "\n" for n in range(ROWS)))
        yield Job(
            task=task,
            llm=resolve(config, task),
            source=Part(f"part {number}", number, (Span(str(file)),), number * ROWS),
            output=str(folder / f"out-{number}.jsonl"),
            shape=shape_of(task, None, None, "distask_metadata"),
            selection=Selection(),
            store=folder / f"store-{number}.db",
            max_cost=max_cost,
        )


def run_part(job, coordinator):
    number = job.source.number
    try:
        stats = run_here(replace(job, governor=Governor(Line(coordinator, number)))).stats
    except Stopped as error:
        stats = error.stats
        return str(error)
    finally:
        coordinator.leave(f"m{number}", number, stats)
    return None


def test_engines_together_spend_no_more_than_the_limit(tmp_path):
    limit = 12.0
    with ScriptedServer(billed) as server:
        coordinator = Coordinator(max_cost=limit)
        with ThreadPoolExecutor(3) as pool:
            errors = list(pool.map(lambda job: run_part(job, coordinator), jobs(tmp_path, server, limit, 3)))
        spent = len(server.requests) * TOKENS / 100

    assert limit - 1.01 < spent <= limit  # a reply may cost a dollar
    assert coordinator.progress().cost == pytest.approx(spent)
    assert coordinator.cost_reached()
    assert all("(--max-cost) is spent" in error for error in errors)


def test_a_limit_that_is_enough_lets_all_engines_end(tmp_path):
    with ScriptedServer(billed) as server:
        coordinator = Coordinator(max_cost=100.0)
        with ThreadPoolExecutor(2) as pool:
            errors = list(pool.map(lambda job: run_part(job, coordinator), jobs(tmp_path, server, 100.0, 2)))

    assert errors == [None, None]
    assert len(server.requests) == 2 * ROWS
    assert not coordinator.cost_reached()


def test_a_missing_price_is_reported_before_any_engine_starts(tmp_path):
    with ScriptedServer(billed) as server:
        job = next(iter(jobs(tmp_path, server, 1.0, 1)))
        unknown = resolve({"base_url": server.url, "model": "m"}, job.task)

        with pytest.raises(UsageError, match="--max-cost needs the price of m"):
            check_prices(replace(job, llm=unknown))

    assert not server.requests
