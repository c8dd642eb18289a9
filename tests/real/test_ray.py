"""A run over a real Ray cluster: the same rows as a local run, whatever happens to its workers, nodes and driver."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import ScriptedServer

pytest.importorskip("ray.data", reason="pip install 'distask[ray]'")

ROOT = Path(__file__).resolve().parents[2]
ROWS = 900
ALL = int(os.environ.get("DISTASK_BATTERY", "1")) > 1
"""Whether all ends of a run are tried: a Ray run takes half a minute to begin and end on two cores."""
IN_FLIGHT = 16
SPEC = """\
name: answer
inputs: {instruction: The instruction.}
draw: {style: [plain, formal, playful, terse]}
format_input:
  - {role: user, content: "{{ style }}: {{ instruction }}"}
outputs: {generation: The reply., style: How it was asked.}
format_output: {parser: text}
"""


class Bench:
    """A folder with a task and rows enough for several parts, and `distask` in it."""

    def __init__(self, folder, server, cluster):
        self.folder, self.server = folder, server
        (folder / "task.yaml").write_text(SPEC)
        rows = [{"instruction": f"question {i} {'.' * 250}", "big": 10**20 + i} for i in range(ROWS)]
        (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI")}
        self.env |= {"PYTHONPATH": str(ROOT), "RAY_ADDRESS": cluster.address}

    def start(self, *more):
        command = [sys.executable, "-m", "distask", "run", "task.yaml", "-i", "in.jsonl", "--base-url", self.server.url]
        command += ["--model", "m", "-j", str(IN_FLIGHT), *more]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *more):
        """The exit code, how many calls the server saw, and what was said."""
        before = len(self.server.requests)
        process = self.start(*more)
        _, result = process.communicate(timeout=300)
        return process.returncode, len(self.server.requests) - before, result

    def over_ray(self, *more):
        return self.run("-o", "out", "--engine", "ray", "--workers", "2", *more)

    def parts(self):
        return b"".join(part.read_bytes() for part in sorted((self.folder / "out").glob("part-*.jsonl")))

    def local(self, *more):
        code, _, result = self.run("-o", "local.jsonl", *more)
        assert code == 0, result
        return (self.folder / "local.jsonl").read_bytes()

    def wait_for(self, calls):
        """Until the server has seen so many calls."""
        deadline = threading_deadline(120)
        while len(self.server.requests) < calls and not deadline.wait(0.02):
            pass
        assert len(self.server.requests) >= calls


def threading_deadline(seconds):
    """An event that is set after some seconds."""
    import threading

    event = threading.Event()
    timer = threading.Timer(seconds, event.set)
    timer.daemon = True
    timer.start()
    return event


@pytest.fixture(scope="module")
def cluster():
    """A head that does no work, and two nodes that do."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def bench(tmp_path, cluster):
    with ScriptedServer() as server:
        server.delay = 0.02
        yield Bench(tmp_path, server, cluster)


def workers():
    """The processes of this machine that do parts."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::MapWorker(Map(PartRunner))" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_the_rows_over_a_cluster_are_those_of_a_local_run_and_another_run_asks_nothing(bench):
    local = bench.local("-n", "2")
    bench.server.most_in_flight = 0

    code, calls, result = bench.over_ray("-n", "2")
    again = bench.over_ray("-n", "2")

    assert (code, calls) == (0, ROWS), result
    assert bench.parts() == local
    assert bench.server.most_in_flight <= IN_FLIGHT
    assert again[:2] == (0, 0)
    manifest = json.loads((bench.folder / "out" / "manifest.json").read_text())
    assert sum(part["rows"] for part in manifest["parts"]) == ROWS
    assert len(manifest["parts"]) > 2
    assert manifest["counts"]["generations"] == 2 * ROWS


def test_a_sample_and_a_cost_limit_are_those_of_the_complete_run(bench):
    """The server counts the calls and what they cost: 25 completion tokens each, at a cent."""
    bench.server.reply = billed
    local = bench.local("--sample", "100")
    priced = ["--set", "price.input=0", "--set", "price.output=10000", "--set", "llm.max_tokens=40"]

    code, calls, result = bench.over_ray("--sample", "100", *priced, "--max-cost", "10")
    again, more, said_again = bench.over_ray("--sample", "100", *priced, "--max-cost", "100")

    assert code == 1, result
    assert "of $10.00 (--max-cost) is spent" in result
    assert 10 - 0.41 < calls * 0.25 <= 10
    assert (again, calls + more) == (0, 100), said_again
    assert [row["instruction"] for row in rows_of(bench.parts())] == [row["instruction"] for row in rows_of(local)]


def test_a_dataset_of_the_hub_is_copied_once_and_gives_the_rows_of_a_local_run(bench):
    (bench.folder / "repo").mkdir()
    (bench.folder / "in.jsonl").rename(bench.folder / "repo" / "train.jsonl")
    source = f"hf://{bench.folder}/repo@train"

    local_code, _, local_said = bench.run("-o", "local.jsonl", "-i", source, "--limit", "300")
    code, calls, result = bench.over_ray("-i", source, "--limit", "300")
    again = bench.over_ray("-i", source, "--limit", "300")

    assert (local_code, code, calls) == (0, 0, 300), result + local_said
    assert bench.parts() == (bench.folder / "local.jsonl").read_bytes()
    assert again[:2] == (0, 0)
    assert "copying hf://" in result
    assert "copying hf://" not in again[2]


def test_steps_that_wait_for_all_rows_give_the_rows_of_a_local_run(bench):
    (bench.folder / "answer.yaml").write_text(SPEC)
    steps = "{task: answer.yaml, name: first}, {sort: {by: big, descending: true}}, {limit: 300}"
    again = "{task: answer.yaml, name: second, output_mappings: {generation: more, style: more_style}}"
    (bench.folder / "task.yaml").write_text(f"name: all\nsteps: [{steps}, {again}]\n")
    local = bench.local()
    calls_of_local = len(bench.server.requests)

    code, calls, result = bench.over_ray()
    repeated = bench.over_ray()

    assert (code, calls) == (0, calls_of_local), result
    assert bench.parts() == local
    assert len(local.splitlines()) == 300
    assert repeated[:2] == (0, 0), repeated[2]


def billed(_):
    message = {"role": "assistant", "content": "yes"}
    usage = {"prompt_tokens": 90, "completion_tokens": 25, "total_tokens": 115}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "model": "m", "usage": usage}


def rows_of(data):
    return [json.loads(line) for line in data.splitlines()]


def test_a_row_that_is_wrong_anywhere_is_reported_before_any_call(bench):
    lines = (bench.folder / "in.jsonl").read_text().splitlines()
    lines[700] = lines[700][:-1]
    (bench.folder / "in.jsonl").write_text("\n".join(lines) + "\n")

    code, calls, result = bench.over_ray()

    assert (code, calls) == (2, 0)
    assert "in.jsonl:701:" in result


@pytest.mark.skipif(not ALL, reason="a nightly test: DISTASK_BATTERY=2")
def test_a_killed_driver_costs_what_was_in_flight(bench):
    driver = bench.start("-o", "out", "--engine", "ray", "--workers", "2")
    bench.wait_for(ROWS // 2)
    driver.kill()
    driver.communicate()

    code, _, result = bench.over_ray()

    assert code == 0, result
    assert ROWS <= len(bench.server.requests) <= ROWS + IN_FLIGHT
    assert bench.parts() == bench.local()


def test_a_lost_worker_and_a_lost_node_cost_what_was_in_flight(bench, cluster):
    node = cluster.add_node(num_cpus=1)
    run = bench.start("-o", "out", "--engine", "ray", "--workers", "3")
    bench.wait_for(ROWS // 4)
    os.kill(workers()[0], signal.SIGKILL)
    bench.wait_for(ROWS // 2)
    cluster.remove_node(node, allow_graceful=False)
    _, result = run.communicate(timeout=300)

    assert run.returncode == 0, result
    assert ROWS <= len(bench.server.requests) <= ROWS + 2 * IN_FLIGHT
    assert bench.parts() == bench.local()


@pytest.mark.skipif(not ALL, reason="a nightly test: DISTASK_BATTERY=2")
def test_ctrl_c_ends_in_order_and_the_same_command_continues(bench):
    run = bench.start("-o", "out", "--engine", "ray", "--workers", "2")
    bench.wait_for(ROWS // 3)
    run.send_signal(signal.SIGINT)
    _, result = run.communicate(timeout=120)

    code, _, _ = bench.over_ray()

    assert run.returncode == 130, result
    assert "to resume" in result
    assert code == 0
    assert len(bench.server.requests) == ROWS
    assert bench.parts() == bench.local()


def test_a_key_that_the_endpoint_refuses_stops_all_parts(bench):
    from tests.server import Reply

    bench.server.reply = lambda _: Reply(401, body={"error": {"message": "Incorrect API key provided"}})

    code, calls, result = bench.over_ray()

    assert code == 1
    assert "Incorrect API key provided" in result
    assert calls <= 2 * IN_FLIGHT
