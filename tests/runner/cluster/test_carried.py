"""Pipelines with steps that wait for all rows: parts and barriers give the rows of a local run."""

import json

import pytest
from msgspec.structs import replace

from distask.data import parts as data_parts
from distask.data.parts import count, cut
from distask.errors import UsageError
from distask.runner.cluster import carried
from distask.runner.cluster import ray as cluster
from distask.runner.cluster.coordinator import summed
from distask.runner.cluster.outputs import Outputs, marked, whole
from distask.runner.cluster.selection import select_parts
from distask.runner.job import Job, Selection, resolve, shape_of
from distask.runner.local import run_here
from distask.task.load import load
from tests.embedding_model import write_model
from tests.server import ScriptedServer

pytestmark = pytest.mark.battery

ROWS = 120
TASK = """\
name: judge
inputs: {text: A text.}
format_input: [{role: user, content: "{{ text }}"}]
outputs: {score: {type: integer}}
format_output: {parser: json}
"""
STEPS = {
    "sort": "{sort: {by: score, descending: true}}",
    "dedup": "{dedup: {by: kind}}",
    "group": "{group: {by: kind}}",
    "sample": "{sample: {n: 30}}",
    "limit": "{limit: 7}",
}


class Here:
    """Ray, in this process."""

    def remote(self, **_):
        return lambda function: type("Remote", (), {"remote": staticmethod(function)})

    def get(self, value):
        return value


def score(body):
    text = body["messages"][-1]["content"]
    return json.dumps({"score": sum(map(ord, text)) % 17})


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(data_parts, "SMALLEST", 1 << 12)
    monkeypatch.setattr(carried, "SMALLEST_PART", 20)


def job_of(folder, steps, server, ending=".jsonl"):
    (folder / "judge.yaml").write_text(TASK)
    (folder / "task.yaml").write_text(f"name: all\nsteps: [{steps}]\n")
    rows = [{"text": f"text {n} {'.' * (n % 30)}", "kind": n % 11, "big": 10**18 + n} for n in range(ROWS)]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = load(str(folder / "task.yaml"))
    return Job(
        task=task,
        llm=resolve({"base_url": server.url, "model": "m"}, task),
        source=str(folder / "in.jsonl"),
        output=str(folder / f"local{ending}"),
        shape=shape_of(task, None, None, "distask_metadata"),
        selection=Selection(),
    )


def run_parts(job, outputs):
    """Run all segments as a cluster does; returns the outcomes and the number of parts of each segment."""
    job = replace(job, output=str(outputs.folder))
    outputs.check(overwrite=False)
    found = cut(job.source)
    parts = select_parts(found, [count(part) for part in found], job.selection)
    outputs.prepare(parts)
    outcomes, sizes, counts = [], [], []
    for segment in range(len(job.task.segments)):
        sizes.append(len(parts))
        for part in parts:
            made = cluster._job_of(job, part, outputs, segment)
            outcomes.append(marked(made) or whole(made, part.number, run_here(made)))
        if not job.task.is_last(segment):
            parts, stats = cluster._passed(Here(), job, outputs, segment, parts)
            outputs.prepare(parts, segment + 1)
            counts.append(stats)
    rows = b"".join(outputs.part(part.number).read_bytes() for part in parts)
    return rows, sizes, summed([*(outcome.stats for outcome in outcomes), *counts])


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_waits_gives_the_rows_of_a_local_run(tmp_path, step):
    with ScriptedServer(score) as server:
        job = job_of(
            tmp_path, "{task: judge.yaml, name: first}, " + STEPS[step] + ", {set: {late: '{{ kind }}'}}", server
        )
        local = run_here(job).stats

        rows, sizes, stats = run_parts(job, Outputs(tmp_path / "out"))

    assert rows == (tmp_path / "local.jsonl").read_bytes()
    assert len(rows.splitlines()) == local.rows_out == stats.rows_out
    assert sizes[0] > 2
    assert [(c.name, c.came, c.went) for c in stats.steps] == [(c.name, c.came, c.went) for c in local.steps]


@pytest.mark.parametrize("then", ["drop", "mark"])
def test_texts_with_the_same_meaning_are_those_of_a_local_run(tmp_path, then):
    pytest.importorskip("model2vec")
    write_model(tmp_path / "model")
    words = ["car", "rock", "automobile", "balan", "house", "stone", "home"]
    ask = "{task: text-generation, input_mappings: {instruction: text}, output_mappings: {generation: reply}}"
    step = f"{{dedup: {{by: reply, method: semantic, model: model, then: {then}}}}}"

    def reply(body):
        number = int(body["messages"][-1]["content"].split()[1])
        return f"{words[number % 7]} {words[number % 6]}"

    with ScriptedServer(reply) as server:
        job = job_of(tmp_path, f"{ask}, {step}", server)
        local = run_here(job).stats

        rows, _, stats = run_parts(job, Outputs(tmp_path / "out"))

    assert rows == (tmp_path / "local.jsonl").read_bytes()
    pairs_of_meanings = 4 + 4 * 3 // 2
    assert local.rows_out == (ROWS if then == "mark" else pairs_of_meanings)
    assert [(c.name, c.came, c.went) for c in stats.steps] == [(c.name, c.came, c.went) for c in local.steps]


def test_calls_after_a_step_that_waits_are_the_same_and_are_not_repeated(tmp_path):
    steps = (
        "{task: judge.yaml, name: first}, {sort: {by: score}}, "
        "{task: judge.yaml, name: second, input_mappings: {text: kind}, output_mappings: {score: again}}, {limit: 50}"
    )
    with ScriptedServer(score) as server:
        job = job_of(tmp_path, steps, server)
        run_here(job)
        calls = len(server.requests)

        first = run_parts(job, Outputs(tmp_path / "out"))
        second = run_parts(job, Outputs(tmp_path / "out"))

        assert len(server.requests) >= 2 * calls

    assert first[0] == second[0] == (tmp_path / "local.jsonl").read_bytes()
    assert second[2].calls == 0
    assert first[1][1] > 2


def test_grouped_generations_are_refused_before_any_call(tmp_path):
    with ScriptedServer(score) as server:
        job = job_of(tmp_path, "{task: judge.yaml, name: first}, {sort: {by: score}}", server)
        job = replace(job, shape=shape_of(job.task, 2, True, "distask_metadata"), output=str(tmp_path / "out"))

        with pytest.raises(UsageError, match="--no-group-generations"):
            cluster._checked(job)

    assert not server.requests
