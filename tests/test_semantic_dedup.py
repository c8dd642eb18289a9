"""The step `dedup` with `method: semantic`, end to end: what stays, what is reported, and when the model is loaded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from distask import load, run
from distask.errors import OutputError, UsageError
from distask.runner.cluster import ray as cluster
from distask.runner.job import Job, Selection, resolve, shape_of
from distask.runner.local import run_here
from distask.spec.load import load_spec
from distask.task.load import run_cases
from distask.task.text import embeddings, semantic, similarity
from tests.embedding_model import write_model
from tests.server import Reply

pytest.importorskip("model2vec")
ROOT = Path(__file__).resolve().parents[1]
TEXTS = [
    "where can i buy a big car",
    "the doctor is happy",
    "where can i purchase a large automobile",
    "you repair the picture",
    "Physician glad",
    "fix the photo",
    "where can i buy a big house",
]
KEPT = [0, 1, 3, 6]
OF = [None, None, "0", None, "1", "3", None]
ASK = {
    "name": "ask",
    "task": {
        "format_input": [{"role": "user", "content": "{{ text }}"}],
        "outputs": {"reply": "A reply."},
        "format_output": {"parser": "text"},
    },
}


class Workbench:
    """A folder with a model, rows and a task."""

    def __init__(self, folder, server):
        self.folder, self.server = folder, server
        write_model(folder / "model")
        self.rows([{"text": text} for text in TEXTS])

    def rows(self, rows):
        (self.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def spec(self, *steps, **more):
        spec = {"name": "pipe", "inputs": {"text": {"required": False}}, "steps": list(steps), **more}
        (self.folder / "task.yaml").write_text(json.dumps(spec))

    def dedup(self, *later, **keys):
        self.spec({"dedup": {"by": "text", "method": "semantic", "model": "model", **keys}}, *later)

    def run(self, params=None, **options):
        config = {"model": "m", "base_url": self.server.url, "api_key_env": None}
        out = self.folder / "out.jsonl"
        task = load(self.folder / "task.yaml", params)
        options = {"llm": config, "output": out, "overwrite": True, **options}
        self.result = run(task, self.folder / "in.jsonl", **options)
        return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.fixture
def bench(tmp_path, server):
    return Workbench(tmp_path, server)


def texts(rows):
    return [row["text"] for row in rows]


# What stays


def test_the_first_of_texts_with_the_same_meaning_stays(bench):
    bench.dedup()

    assert texts(bench.run()) == [TEXTS[number] for number in KEPT]
    (step,) = bench.result.stats.to_json()["steps"]
    assert (step["step"], step["rows_in"], step["rows_out"]) == ("dedup", 7, 4)


def test_texts_can_be_marked_with_the_row_that_they_repeat(bench):
    bench.dedup(then="mark")

    rows = bench.run()

    assert texts(rows) == TEXTS
    marks = [row["duplicate_of"] for row in rows]
    assert [mark and mark["row"] for mark in marks] == OF
    for mark in filter(None, marks):
        assert mark["text"] == TEXTS[int(mark["row"])]
        assert 0.9 <= mark["similarity"] <= 1
        assert list(mark) == ["row", "similarity", "text"]


def test_what_is_marked_is_what_is_dropped(bench):
    for threshold in (0.5, 0.8, 0.97, 1):
        bench.dedup(then="mark", threshold=threshold)
        marked = [row["text"] for row in bench.run() if row["duplicate_of"] is None]
        bench.dedup(threshold=threshold)
        assert texts(bench.run()) == marked


def test_marks_name_the_most_similar_row_and_a_long_text_by_its_beginning(bench):
    long = "car house " * 200
    bench.rows([{"text": each} for each in (long, "balan car", "balan car car", "car house")])
    bench.dedup(then="mark", threshold=0.6)

    marks = [row["duplicate_of"] for row in bench.run()]

    assert [mark and mark["row"] for mark in marks] == [None, None, "1", "0"]
    assert marks[3] == {"row": "0", "similarity": 1.0, "text": long[:500]}


def test_marks_name_rows_that_a_step_made_by_their_path(bench):
    bench.rows([{"text": "rock"}, {"text": "Buy a car. Purchase the automobile."}, {"text": "stone"}])
    chunk = {"chunk": {"from": "text", "size": 1, "unit": "sentences"}}
    bench.spec(chunk, {"dedup": {"by": "chunk", "method": "semantic", "model": "model", "then": "mark"}})

    marks = [row["duplicate_of"] for row in bench.run()]

    assert [mark and mark["row"] for mark in marks] == [None, None, "1/chunk/0", "0/chunk/0"]


def test_a_threshold_of_1_drops_texts_with_the_same_vector_only(bench):
    bench.rows([{"text": each} for each in ("car house", "House, car", "automobile house", "car house.")])
    bench.dedup(threshold=1)

    assert texts(bench.run()) == ["car house", "automobile house"]


def test_rows_without_text_stay_and_other_values_count_as_json(bench):
    bench.rows([{"text": each} for each in (None, "", "  ", "xyzzy", None, "", ["car"], {"car": 1}, "car")])
    bench.spec(
        {"dedup": {"by": "text", "method": "semantic", "model": "model"}},
        inputs={"text": {"type": "any", "required": False}},
    )

    assert texts(bench.run()) == [None, "", "  ", "xyzzy", None, "", ["car"]]


def test_several_columns_are_compared_together(bench):
    bench.rows(
        [{"text": "car", "more": "house"}, {"text": "automobile", "more": "home"}, {"text": "car", "more": "rock"}]
    )
    bench.spec(
        {"dedup": {"by": ["text", "more"], "method": "semantic", "model": "model"}}, inputs={"text": "T.", "more": "M."}
    )

    assert [row["more"] for row in bench.run()] == ["house", "rock"]


def test_no_rows_are_no_rows(bench):
    bench.spec({"filter": "false"}, {"dedup": {"by": "text", "method": "semantic", "model": "model"}})

    assert bench.run() == []


@pytest.mark.parametrize(("batch", "characters", "block"), [(1, 1 << 20, 1), (3, 1 << 20, 2), (256, 10, 3)])
def test_the_rows_do_not_depend_on_the_size_of_batches_and_blocks(bench, monkeypatch, batch, characters, block):
    rows = [
        {"text": f"{one} {two}"}
        for one in ("car", "house", "balan")
        for two in ("automobile", "home", "rock", "bemir", "")
    ]
    bench.rows(rows * 3)
    bench.dedup(then="mark", threshold=0.7)
    wanted = bench.run()

    monkeypatch.setattr(semantic, "BATCH_TEXTS", batch)
    monkeypatch.setattr(semantic, "BATCH_CHARACTERS", characters)
    monkeypatch.setattr(similarity.find_matches, "__kwdefaults__", {"block_rows": block, "kept_rows": block})

    assert bench.run() == wanted
    assert 5 < sum(row["duplicate_of"] is not None for row in wanted) < 45


# Params


def test_the_model_and_the_threshold_can_be_params(bench, tmp_path):
    write_model(tmp_path / "elsewhere" / "m")
    bench.spec(
        {"dedup": {"by": "text", "method": "semantic", "model": "{{ model }}", "threshold": "least"}},
        params={"model": {"default": "model"}, "least": {"type": "number", "default": 0.9}},
    )

    assert len(bench.run()) == 4
    assert len(bench.run({"model": str(tmp_path / "elsewhere" / "m"), "least": 0.4})) == 3
    with pytest.raises(UsageError, match="the threshold of dedup is 2, not between 0 and 1"):
        bench.run({"least": 2})
    with pytest.raises(UsageError, match=r"task\.yaml:1: the folder `\./no` of the embedding model does not exist"):
        bench.run({"model": "./no"})


# Before the first request


def test_errors_in_the_model_are_reported_before_the_first_request(bench):
    words = {"[UNK]": [0.0, 0.0], "car": [float("nan"), 1.0]}
    write_model(bench.folder / "nan", words)
    write_model(bench.folder / "bert", config={"model_type": "bert"})
    for name, message in (("nan", "damaged"), ("bert", "`model_type: bert`")):
        bench.spec(ASK, {"dedup": {"by": "reply", "method": "semantic", "model": name}})
        with pytest.raises(UsageError, match=message):
            bench.run()

    assert bench.server.requests == []
    assert not (bench.folder / "out.jsonl").exists()


def test_on_ray_errors_in_the_model_are_reported_before_a_cluster_is_started(bench, monkeypatch):
    connected = []
    monkeypatch.setattr(cluster, "_ray", lambda: None)
    monkeypatch.setattr(cluster, "_connected", connected.append)
    write_model(bench.folder / "nan", {"[UNK]": [0.0, 0.0], "car": [float("nan"), 1.0]})
    bench.dedup(ASK, model="nan")

    with pytest.raises(UsageError, match=r"the embedding model nan in .* is damaged"):
        bench.run(engine="ray", output=bench.folder / "out")
    assert connected == bench.server.requests == []


def test_a_missing_extra_is_reported_before_the_first_request(bench, monkeypatch):
    monkeypatch.setattr(embeddings, "find_spec", lambda _name: None)
    bench.spec(ASK, {"dedup": {"by": "reply", "method": "semantic", "model": "model"}})

    with pytest.raises(UsageError, match=r"task\.yaml:1: .*pip install 'distask\[semantic\]'"):
        bench.run()
    assert bench.server.requests == []


def test_a_model_that_can_not_be_downloaded_is_reported_before_the_first_request(bench, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(bench.folder / "cache"))
    bench.spec(ASK, {"dedup": {"by": "reply", "method": "semantic"}})

    with pytest.raises(UsageError, match=r"minishlab/potion-base-8M is not on this machine and can't be downloaded"):
        bench.run()
    assert bench.server.requests == []


def test_a_download_is_announced_before_the_first_request(bench, monkeypatch):
    """Once: the step has the model from then on, also if the task is compiled again."""
    downloads, notes = [], []

    def download(name, *, local_files_only=False, allow_patterns=None):
        if local_files_only and not downloads:
            raise FileNotFoundError
        if not local_files_only:
            assert bench.server.requests == []
            downloads.append(name)
        return str(bench.folder / "model")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    bench.spec(ASK, {"dedup": {"by": "text", "method": "semantic", "model": "owner/name"}})
    task = load(bench.folder / "task.yaml")
    job = Job(
        task=task,
        llm=resolve({"model": "m", "base_url": bench.server.url, "api_key_env": None}, task),
        source=str(bench.folder / "in.jsonl"),
        output=str(bench.folder / "out.jsonl"),
        shape=shape_of(task, None, None, "distask_metadata"),
        selection=Selection(),
    )

    assert run_here(job, notify=notes.append).stats.rows_out == len(KEPT)
    assert notes == ["downloading the embedding model owner/name from the Hub"]
    assert len(bench.server.requests) == len(TEXTS)


def test_a_full_disk_is_reported(bench, monkeypatch):
    def full(_file, _rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(similarity.ArrayFile, "append", full)
    bench.dedup()

    with pytest.raises(OutputError, match=r"rows for the step dedup .*No space left on device; free some space"):
        bench.run()


_PROBE = """\
import sys
from distask.cli import main, process
process.begin()
code = main({words!r})
print('\\n', code, [m for m in ('numpy', 'model2vec', 'tokenizers', 'huggingface_hub') if m in sys.modules])
"""


@pytest.mark.parametrize(
    "words",
    [
        ["validate", "task.yaml"],
        ["dry-run", "task.yaml", "-i", "in.jsonl", "--base-url", "http://127.0.0.1:9/v1", "--model", "m"],
    ],
)
def test_validate_and_dry_run_load_no_model(bench, words):
    bench.dedup({"filter": "duplicate_of is none"}, ASK, then="mark")
    (bench.folder / "probe.py").write_text(_PROBE.format(words=words))
    done = subprocess.run(
        [sys.executable, "probe.py"],
        cwd=bench.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )

    assert done.stdout.decode().splitlines()[-1].strip() == "0 []"


def test_a_case_runs_the_step(bench):
    case = {"input": [{"text": text} for text in TEXTS], "expect": [{"text": TEXTS[number]} for number in KEPT]}
    bench.spec({"dedup": {"by": "text", "method": "semantic", "model": "model"}}, cases=[case])

    assert run_cases(load_spec(bench.folder / "task.yaml")) == []


def test_a_case_whose_model_can_not_be_loaded_fails(bench):
    write_model(bench.folder / "tensor", tensor="other")
    case = {"input": [{"text": "car"}], "expect": [{"text": "car"}]}
    bench.spec({"dedup": {"by": "text", "method": "semantic", "model": "tensor"}}, cases=[case])

    (fault,) = run_cases(load_spec(bench.folder / "task.yaml"))

    assert "can't be loaded" in fault.message


# Resumption


def test_only_rows_that_stay_are_sent(bench):
    bench.dedup(ASK)

    rows = bench.run()

    assert len(bench.server.requests) == len(rows) == len(KEPT)


@pytest.mark.battery
@pytest.mark.parametrize("killed_at", [0, 9, 15])
def test_a_killed_run_resumes_to_the_same_bytes(bench, killed_at):
    """kill -9 before the step that waits for all rows, and after it: no reply is requested twice, and rows are the same."""
    words = {**ASK, "name": "before", "output_mappings": {"reply": "before"}}
    bench.rows([{"text": f"{text} {extra}"} for text in TEXTS for extra in ("", "rock")])
    bench.spec(words, {"dedup": {"by": "before", "method": "semantic", "model": "model", "then": "mark"}}, ASK)
    reached, resumed = threading.Event(), threading.Event()

    def reply(body):
        if len(bench.server.requests) == killed_at + 1 and not resumed.is_set():
            reached.set()
            return Reply(delay=60)
        return body["messages"][-1]["content"]

    bench.server.reply = reply
    command = [
        sys.executable,
        "-m",
        "distask",
        "run",
        "task.yaml",
        "-i",
        "in.jsonl",
        "-o",
        "out.jsonl",
        "-j",
        "1",
        "-q",
    ]
    command += ["--base-url", bench.server.url, "--model", "m"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=bench.folder, env=environment)
    assert reached.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    resumed.set()

    assert subprocess.run(command, cwd=bench.folder, env=environment, check=False).returncode == 0
    assert len(bench.server.requests) == 28 + 1
    first = (bench.folder / "out.jsonl").read_bytes()
    bench.run(store=False)
    assert (bench.folder / "out.jsonl").read_bytes() == first
    marks = [json.loads(line)["duplicate_of"] for line in first.splitlines()]
    assert 4 < sum(mark is not None for mark in marks) < 14
