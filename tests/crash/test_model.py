"""Run, kill, change the task or the rows in any order, run again: the output is always that of a first run, and nothing is asked twice."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.crash.mind import WHOLE, Mind
from tests.crash.scale import scaled

EXAMPLES = 8
STEPS = 12
PLACES = 3


class Runs(RuleBasedStateMachine):
    """A folder in which all sorts of things happen; beside it, each time, a new one without a past."""

    forks: object

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.mind = Mind()
        self.mind.server.start()
        self.lost = 0
        """Calls that were in flight when a run was killed, at the most."""

    def teardown(self):
        self.mind.server.close()
        shutil.rmtree(self.folder)

    @initialize()
    def begin(self):
        self.rows = [f"q{i}" for i in range(12)]
        self.words, self.style, self.n, self.limit, self.seed, self.heat, self.retry = (
            "say",
            "plain",
            1,
            WHOLE,
            7,
            0.5,
            0,
        )

    # What is changed

    @rule(
        change=st.one_of(
            st.tuples(st.just("words"), st.sampled_from(["say", "tell", "ask"])),
            st.tuples(st.just("style"), st.sampled_from(["plain", "grand"])),
            st.tuples(st.just("n"), st.integers(1, 3)),
            st.tuples(st.just("limit"), st.sampled_from([WHOLE - 3, WHOLE, None])),
            st.tuples(st.just("heat"), st.sampled_from([0, 0.5])),
            st.tuples(st.just("retry"), st.integers(0, 2)),
        )
    )
    def change_the_task(self, change):
        setattr(self, *change)

    @rule(
        change=st.sampled_from(["insert", "delete", "edit"]),
        place=st.integers(0, 30),
        row=st.integers(0, 30),
    )
    def change_a_row(self, change, place, row):
        place %= len(self.rows)
        if change == "insert" and len(self.rows) < 20:
            self.rows.insert(place, f"q{row}")
        elif change == "delete" and len(self.rows) > 4:
            del self.rows[place]
        elif change == "edit":
            self.rows[place] = f"q{row}"

    @rule(random=st.randoms(use_true_random=False))
    def reorder_the_rows(self, random):
        random.shuffle(self.rows)

    # Runs

    def write(self, name):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        spec = {
            "name": "t",
            "inputs": {"q": "A question."},
            "params": {"style": {"type": "string", "default": "plain"}},
            "format_input": [{"role": "user", "content": self.words + " {{ style }} {{ q }}"}],
            "outputs": {"a": "An answer."},
            "format_output": {"parser": "regex", "pattern": r"A: (?P<a>\S+)"},
            "on_invalid": {"retry": self.retry},
            "llm": {"seed": self.seed, "temperature": self.heat} | ({"max_tokens": self.limit} if self.limit else {}),
        }
        (folder / "t.yaml").write_text(json.dumps(spec))
        (folder / "in.jsonl").write_text("".join(json.dumps({"id": i, "q": q}) + "\n" for i, q in enumerate(self.rows)))
        return folder

    def begin_run(self, name):
        llm = ["--model", "m", "--base-url", self.mind.server.url, "-j", PLACES]
        arguments = [
            "t.yaml",
            "-i",
            "in.jsonl",
            "-o",
            "out.jsonl",
            "-n",
            self.n,
            "-p",
            f"style={self.style}",
            "--overwrite",
            *llm,
        ]
        return self.forks.begin(self.write(name), "run", *arguments)

    @rule(calls=st.integers(1, 25))
    def run_and_be_killed(self, calls):
        end = self.mind.calls + calls
        began = []

        def kill():
            if self.mind.calls >= end and began:
                began[0].kill()

        self.mind.on_call = kill
        began.append(self.begin_run("kept"))
        code = began[0].wait()
        self.mind.on_call = None
        self.mind.server.settle()
        assert code in (0, 3, -9), began[0].text
        if code == -9:
            self.lost += PLACES * self.n

    @rule()
    def run(self):
        child = self.begin_run("kept")
        assert child.wait() in (0, 3), child.text
        got = (self.folder / "kept" / "out.jsonl").read_bytes()
        kept, self.mind.twice, self.mind.given = (self.mind.twice, self.mind.given), [], set()
        new = self.begin_run("new")
        assert new.wait() in (0, 3), new.text
        self.mind.twice, self.mind.given = kept
        assert got == (self.folder / "new" / "out.jsonl").read_bytes()
        shutil.rmtree(self.folder / "new")

    @invariant()
    def nothing_is_asked_for_twice_but_what_a_kill_had_in_flight(self):
        assert len(self.mind.twice) <= self.lost


def play(machine, forks, examples=None):
    """Let things happen."""
    machine.forks = forks
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples or scaled(EXAMPLES),
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
def test_whatever_happens_in_whatever_order_the_output_is_that_of_a_first_run(forks):
    play(Runs, forks)
