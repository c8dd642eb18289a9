"""Tasks, rows and running `distask label` commands, for the tests of labeling."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from distask.labeling.labels import LabelsFile
from distask.labeling.questions import questions_of, sides_of
from distask.labeling.queue import turns_of
from distask.labeling.render import Renderer
from distask.labeling.sampling import Candidate, Choice, Sampler
from distask.labeling.session import Session
from distask.spec.load import load_text
from distask.task.load import compile_task
from tests.report.conftest import chromium  # noqa: F401 - a fixture

ROOT = Path(__file__).resolve().parents[2]

JUDGE = """
name: judge
description: Grade an answer.
inputs: {question: The question., answer: The answer.}
format_input:
  - {role: system, content: You are a strict judge.}
  - {role: user, content: "{{ question }} {{ answer }}"}
outputs:
  score: {type: integer, minimum: 1, maximum: 5, description: From 1 to 5.}
  reason: Why.
format_output: {parser: json}
"""


def task_of(text=JUDGE, params=None, folder=Path()):
    """A compiled task."""
    return compile_task(load_text(text, folder / "task.yaml"), params)


def outputs(written, inputs="{question: The question.}"):
    """A task with these outputs."""
    return f"""
name: t
inputs: {inputs}
format_input: [{{role: user, content: "{{{{ question }}}}"}}]
outputs: {written}
format_output: {{parser: json}}
"""


def rows(count):
    return [{"question": f"What is {i}?", "answer": f"It is **{i}**."} for i in range(count)]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def sampled(made, method="random", size=100, seed=0, column=None):
    """A sampler that was offered these rows, or candidates."""
    sampler = Sampler(Choice(method, size, seed, column))
    for number, row in enumerate(made, 1):
        candidate = row if isinstance(row, Candidate) else Candidate(number, row)
        sampler.offer(candidate.values, lambda candidate=candidate: candidate)
    return sampler


@dataclass
class Person:
    """A session in this process, without a server."""

    folder: Path
    open_files: list = field(default_factory=list)

    def session(
        self, made, text=JUDGE, *, repeats=0, annotator="ann", name="labels.jsonl", ask=(), params=None, **options
    ):
        task = task_of(text, params, self.folder)
        questions = questions_of(task, ask)
        sampler = sampled(made, method=options.pop("method", "all"))
        chosen = sampler.chosen()
        labels = LabelsFile(self.folder / name, [q.column for q in questions])
        self.open_files.append(labels)
        sides = sides_of(task, questions, list(sampler.row(chosen[0]).values))
        turns = turns_of(chosen, repeats, 0)
        return Session(questions, sampler, turns, labels, annotator, Renderer(task, sides), **options)

    def close(self):
        for labels in self.open_files:
            labels.__exit__()
        self.open_files.clear()


@pytest.fixture
def person(tmp_path):
    made = Person(tmp_path)
    yield made
    made.close()


class Running:
    """`distask label` in its own process, and a client that has its address."""

    def __init__(self, folder, *arguments):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "PYTHONWARNINGS": "error"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "distask", "label", *arguments, "--no-open"],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.process.communicate()[1]
        self.base = self.url.partition("/?")[0]
        self.cookie = self.secret = None

    def request(self, path, body=None, **headers):
        """The status and the body of an answer; redirects are not followed."""
        if self.cookie:
            headers.setdefault("Cookie", self.cookie)
        if self.secret:
            headers.setdefault("X-Distask-Session", self.secret)
        data = None if body is None else json.dumps(body).encode()
        sent = urllib.request.Request(self.base + path, data, {k: v for k, v in headers.items() if v})
        opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
        try:
            with opener.open(sent, timeout=60) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers

    def enter(self):
        """Open the address, as a browser does."""
        _, _, headers = self.request(self.url.removeprefix(self.base))
        self.cookie = headers["Set-Cookie"].partition(";")[0]
        _, page, _ = self.request("/")
        self.secret = json.loads(page.decode().partition('id="facts">')[2].partition("</script>")[0])["secret"]
        return self

    def state(self):
        return json.loads(self.request("/api/state")[1])

    def answer(self, turn, **answers):
        status, body, _ = self.request("/api/answer", {"turn": turn, "answers": answers, "seconds": 0})
        assert status == 200, body
        return json.loads(body)

    def stop(self, how=signal.SIGINT):
        """Stop it; gives the exit code, stdout after the address, and stderr."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


@pytest.fixture
def start(tmp_path):
    """Start `distask label` on ten rows, or with other arguments; it ends with the test."""
    (tmp_path / "task.yaml").write_text(JUDGE)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(10)))
    started = []

    def begin(*arguments):
        chosen = arguments or ("task.yaml", "-i", "in.jsonl", "-o", "labels.jsonl", "--annotator", "ann")
        started.append(Running(tmp_path, *chosen))
        return started[-1]

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait()
        running.process.stdout.close()
        running.process.stderr.close()
