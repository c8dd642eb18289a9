"""One job that is killed again and again, and what must hold after each kill and at the end.

The server answers each request the same way whenever it is asked, and counts. So an uninterrupted run says what the output must be,
byte for byte, and whatever is asked twice is seen.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.server import Reply, ScriptedServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crash.forks import Forks

CONCURRENCY = 8
SEED = 7
ROWS = (150, 190)
"""Rows of the first job of a folder, and of the second, which has some more in between."""


@dataclass(frozen=True)
class Plan:
    """A sort of job."""

    spec: str
    more: tuple[str, ...] = ()
    """Arguments."""
    invalid: bool = False
    """Whether some replies can't be used, so that they are asked for again."""
    honours_n: bool = True
    choices: int = 1
    """Replies that a call brings."""
    out: str = "out.jsonl"


ANSWER = """
name: answer
inputs: {q: A question.}
format_input: [{role: user, content: "{{ q }}"}]
outputs: {a: An answer.}
format_output: {parser: regex, pattern: 'A: (?P<a>.*)'}
llm: {seed: 7}
"""

PIPELINE = """
name: refine
inputs: {q: A question.}
params: {turns: {type: integer, default: 2}}
steps:
  - name: answer
    task:
      inputs: {q: A question.}
      format_input: [{role: user, content: "{{ q }}"}]
      outputs: {a: An answer.}
      format_output: {parser: regex, pattern: 'A: (?P<a>.*)'}
      llm: {seed: 7}
  - repeat: turns
    steps:
      - name: better
        output_mappings: {revision: a}
        task:
          inputs: {a: An answer.}
          format_input: [{role: user, content: "better than {{ a }}"}]
          outputs: {revision: A better one.}
          format_output: {parser: regex, pattern: 'A: (?P<revision>.*)'}
          llm: {seed: 7}
outputs: {a: The last answer.}
"""

PLANS = {
    "one reply": Plan(ANSWER),
    "two replies of a call": Plan(ANSWER, ("-n", "2"), choices=2),
    "three replies of three calls": Plan(ANSWER, ("-n", "3", "--group-generations"), honours_n=False),
    "invalid replies": Plan(ANSWER + "on_invalid: {retry: 3}\n", invalid=True),
    "a task made of tasks": Plan(PIPELINE),
    "a table": Plan(ANSWER, out="out.csv"),
}


class Torture:
    """A plan, a folder, a server.

    Args:
        plan: the sort of job.
        folder: an empty one.
        forks: where processes are begun.
        seed: what is by chance.
    """

    def __init__(self, plan: Plan, folder: Path, forks: Forks, seed: int) -> None:
        self.plan, self.folder, self.forks = plan, folder, forks
        self.random = random.Random(seed)
        self.asked: dict[str, int] = {}
        self.kills = self.ends = self.paid_again = 0
        self._kills_here = 0
        self._trigger: int | None = None
        self._child = None
        self._lock = threading.Lock()
        self.server = ScriptedServer(self._reply)
        self.server.honours_n = plan.honours_n
        self._expected: dict[int, bytes] = {}
        self._usual = 0.3
        """Seconds that an uninterrupted run takes."""

    def until(self, kills: int) -> None:
        """Kill so often."""
        with self.server:
            for size in ROWS:
                self._expect(size)
            while self.kills < kills:
                work = self._new_folder("work")
                for before, size in zip((None, *ROWS), ROWS, strict=False):
                    self._to_the_end(work, before, size)

    # The server

    def _reply(self, body):
        with self._lock:
            key = json.dumps([body["messages"], body["seed"]])
            self.asked[key] = self.asked.get(key, 0) + 1
            if self._trigger is not None and sum(self.asked.values()) >= self._trigger and self._child is not None:
                self._child.kill()
        text = body["messages"][-1]["content"]
        attempt = (body["seed"] - SEED) // 10_007 % 101
        invalid = self.plan.invalid and attempt < len(text) % 3
        answers = [
            "no answer" if invalid else f"A: {text[::-1]} {body['seed']} {i}"
            for i in range((body.get("n") or 1) if self.plan.honours_n else 1)
        ]
        choices = [{"index": i, "message": {"content": a}, "finish_reason": "stop"} for i, a in enumerate(answers)]
        made = {"model": "m", "choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": 5}}
        return Reply(body=made, delay=(len(text) * 7 + body["seed"]) % 5 / 1000)

    # A job

    def _arguments(self):
        return ["run", "task.yaml", "-i", "in.jsonl", "-o", self.plan.out, "--model", "m", "--base-url", self.server.url,
                "-j", CONCURRENCY, *self.plan.more]  # fmt: skip

    def _new_folder(self, name):
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "task.yaml").write_text(self.plan.spec)
        self.asked, self._kills_here = {}, 0
        return folder

    @staticmethod
    def lines(size):
        """The rows: some are equal, their bytes are no serializer's, and a longer input has its new rows in between."""
        kept = []
        for i in range(ROWS[0]):
            same = i - (i % 5 == 1)
            q = "abcdefgh"[: 1 + same % 8] + "\\u00e9" + str(same)
            kept.append(f'{{"q":"{q}",  "id":{i}, "big": 123456789012345678901234567890, "é": 1.0}}')
        for i in range(size - ROWS[0]):
            kept.insert(i * 4, f'{{"id": "new {i}", "q": "new {i}"}}')
        return kept

    def _write_rows(self, folder, size):
        (folder / "in.jsonl").write_text("".join(line + "\n" for line in self.lines(size)))

    def _expect(self, size):
        folder = self._new_folder("whole")
        self._write_rows(folder, size)
        begun = time.monotonic()
        code, result = self.forks.run(folder, *self._arguments())
        assert code == 0, result
        self._usual = time.monotonic() - begun
        self._expected[size] = (folder / self.plan.out).read_bytes()
        assert set(self.asked.values()) == {1}

    def _to_the_end(self, work, before, size):
        self._write_rows(work, size)
        while True:
            calls, stored = sum(self.asked.values()), self._stored(work)
            code = self._attack(work)
            if code == 0:
                self.ends += 1
                self.paid_again += sum(self.asked.values()) - len(self.asked) if size == ROWS[-1] else 0
                assert (work / self.plan.out).read_bytes() == self._expected[size]
                return
            assert code == -9, (code, (work / "said.txt").read_text())
            self.kills += 1
            self._kills_here += 1
            lost = (sum(self.asked.values()) - calls) * self.plan.choices - (self._stored(work) - stored)
            assert lost <= CONCURRENCY * self.plan.choices
            self._check(work, before, size)

    def _attack(self, work):
        """Begin the job, and kill it: after some calls, or after some time."""
        by_calls = self.random.random() < 0.5
        with self._lock:
            self._child, self._trigger = None, None
            if by_calls:
                self._trigger = sum(self.asked.values()) + self.random.randint(1, 60)
        child = self.forks.begin(work, *self._arguments())
        with self._lock:
            self._child = child
        if not by_calls and not child.ended.wait(self.random.uniform(0, self._usual)):
            child.kill()
        code = child.wait()
        self.server.settle()
        return code

    def _check(self, work, before, size):
        """What holds whenever it is killed."""
        out = work / self.plan.out
        if out.exists():  # whole, and of this input or of the one before
            assert out.read_bytes() in [self._expected[s] for s in (before, size) if s is not None]
        else:
            assert before is None
        again = sum(self.asked.values()) - len(self.asked)
        assert again <= CONCURRENCY * self._kills_here

    def _stored(self, work):
        store = work / ".distask" / "store.db"
        if not store.exists():
            return 0
        with closing(sqlite3.connect(store, timeout=30)) as db:
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return 0
            return db.execute("SELECT count(*) FROM completions").fetchone()[0]
