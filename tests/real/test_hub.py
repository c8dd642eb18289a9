"""Datasets to the Hub and back, with its real clients: rows, splits, images, a card that loads, a push that goes on."""

from __future__ import annotations

import base64
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.real.hub_server import HubServer

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hf_canarycanarycanary"
SPEC = """\
name: answer
description: Answer an instruction.
params: {tone: {default: plain}}
inputs: {instruction: The instruction.}
format_input: [{role: user, content: "{{ instruction }}"}]
outputs: {generation: The reply.}
format_output: {parser: text}
"""
LOOK = """\
name: look
inputs: {image: {type: any, description: The picture.}}
format_input:
  - role: user
    content:
      - text: What is it?
      - image: "{{ image }}"
outputs: {caption: What it is.}
format_output: {parser: text}
"""


@pytest.fixture
def hub():
    with HubServer() as running:
        yield running


class BatchContext:
    """A folder with a task and rows, and processes that have the Hub's address in their environment."""

    def __init__(self, folder, hub, server):
        self.folder, self.hub, self.server = folder, hub, server
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI", "HF_", "HUGGING"))}
        self.env |= {
            "PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "hf"), "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }  # fmt: skip
        (folder / "task.yaml").write_text(SPEC)
        self.rows({"instruction": f"question {i}"} for i in range(5))

    def rows(self, rows):
        (self.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def python(self, code):
        """What `datasets` makes of it, in a process of its own; the code ends by printing JSON."""
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=self.folder, env=self.env, capture_output=True, check=False, timeout=240
        )
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout.decode().splitlines()[-1])

    def run(self, source="in.jsonl", *more, task="task.yaml"):
        done = subprocess.run(
            [sys.executable, "-m", "distask", "run", task, "-i", source, "--base-url", self.server.url, "--model", "m", *more],
            cwd=self.folder, env=self.env, capture_output=True, check=False, timeout=240,
        )  # fmt: skip
        result = done.stdout.decode() + done.stderr.decode()
        assert TOKEN not in result
        assert "bug in distask" not in result, result
        return done.returncode, result


@pytest.fixture
def context(tmp_path, hub, server):
    return BatchContext(tmp_path, hub, server)


def test_what_is_pushed_loads_back_and_its_card_says_how_it_was_made(context, hub):
    """The token goes to the Hub, and into no file and no output."""
    code, result = context.run("in.jsonl", "-o", "hf://owner/answers", "--private", "-p", "tone=warm")

    assert code == 0, result
    assert "datasets/owner/answers" in result
    rows = context.python(
        "import datasets, json; d = datasets.load_dataset('owner/answers', split='train'); print(json.dumps(d.to_list()))"
    )
    card = context.python(
        "from huggingface_hub import DatasetCard; import json; c = DatasetCard.load('owner/answers'); print(json.dumps([c.data.to_dict(), c.text]))"
    )
    assert [row["generation"] for row in rows] == [f"question {i}" for i in range(5)]
    assert card[0]["size_categories"] == ["n<1K"]
    assert card[0]["tags"] == ["synthetic", "distask"]
    for result in (
        "Answer an instruction.",
        "| model | m |",
        "| param `tone` | warm |",
        "| rows | 5 in, 5 out |",
        "distask run answer.yaml",
        "| this run | answer | m | in.jsonl (",
    ):
        assert result in card[1]
    assert hub.private == {"owner/answers": True}
    assert hub.tokens == {f"Bearer {TOKEN}"}
    kept = [path for path in context.folder.rglob("*") if path.is_file() and "hf" not in path.parts]
    assert all(TOKEN.encode() not in path.read_bytes() for path in kept)
    assert all(TOKEN.encode() not in data for data in hub.repositories["owner/answers"].values())


def test_a_second_split_leaves_the_first_and_both_load(context):
    context.run("in.jsonl", "-o", "hf://owner/answers")
    context.rows({"instruction": f"test {i}"} for i in range(2))

    code, result = context.run("in.jsonl", "-o", "hf://owner/answers@test")

    assert code == 0, result
    sizes = context.python(
        "import datasets, json; d = datasets.load_dataset('owner/answers'); print(json.dumps({k: len(v) for k, v in d.items()}))"
    )
    assert sizes == {"train": 5, "test": 2}


def test_a_dataset_of_the_hub_is_streamed_as_input(context):
    """Of several splits, one must be named."""
    context.run("in.jsonl", "-o", "hf://owner/answers")
    context.run("in.jsonl", "-o", "hf://owner/answers@test")

    unnamed, result = context.run(
        "hf://owner/answers", "-o", "again.jsonl", "--set", "output_mappings.generation=second"
    )
    named, _ = context.run("hf://owner/answers@test", "-o", "again.jsonl", "--set", "output_mappings.generation=second")

    assert unnamed == 2
    assert "@train" in result
    assert named == 0
    record = json.loads((context.folder / "again.jsonl.run.json").read_text())
    assert record["provenance"]["input"]["revision"] == context.hub.sha("owner/answers")
    rows = [json.loads(line) for line in (context.folder / "again.jsonl").read_text().splitlines()]
    assert [(row["generation"], row["second"]) for row in rows] == [
        (f"question {i}", f"question {i}") for i in range(5)
    ]


def test_a_push_that_was_interrupted_continues_with_what_is_missing(context, hub, monkeypatch):
    """Nothing is asked again, the files that are there are not sent again, and the rows load whole."""
    context.env["PYTHONPATH"] = f"{context.folder}:{ROOT}"
    (context.folder / "sitecustomize.py").write_text("import distask.data.push as push\npush.FILE_BYTES = 60_000\n")
    context.rows({"instruction": base64.b64encode(os.urandom(60)).decode()} for _ in range(3000))
    hub.break_after = 1

    broken, result = context.run("in.jsonl", "-o", "hf://owner/answers")
    asked, first = len(context.server.requests), list(hub.uploads)
    hub.break_after = None
    code, _ = context.run("in.jsonl", "-o", "hf://owner/answers")

    assert broken == 1
    assert "can't be pushed" in result
    assert "Run the same command to push it again" in result
    assert code == 0
    assert len(context.server.requests) == asked == 3000
    assert len(first) == 1
    assert len(hub.uploads) == len(set(hub.uploads)) > 2
    assert (
        context.python(
            "import datasets, json; print(json.dumps(len(datasets.load_dataset('owner/answers', split='train'))))"
        )
        == 3000
    )


def test_fewer_files_than_before_leave_no_old_rows(context, hub):
    hub.repositories["owner/answers"] = {
        "distask.run.json": b"{}",
        "data/train-00001-of-00002.parquet": b"old",
        "data/other-00000-of-00001.parquet": b"kept",
    }
    hub.private["owner/answers"] = False

    code, result = context.run("in.jsonl", "-o", "hf://owner/answers")

    assert code == 0, result
    assert [p for p in hub.repositories["owner/answers"] if p.startswith("data/train")] == [
        "data/train-00000-of-00001.parquet"
    ]
    assert "data/other-00000-of-00001.parquet" in hub.repositories["owner/answers"]


def test_a_dataset_that_distask_did_not_make_is_not_touched(context, hub):
    hub.repositories["owner/answers"] = {"data.csv": b"a,b\n"}
    hub.private["owner/answers"] = False

    code, result = context.run("in.jsonl", "-o", "hf://owner/answers")

    assert code == 2
    assert "distask did not make it" in result
    assert context.server.requests == []


def test_without_a_token_nothing_is_asked(context):
    del context.env["HF_TOKEN"]

    code, result = context.run("in.jsonl", "-o", "hf://owner/answers")

    assert code == 2
    assert "hf auth login" in result
    assert context.server.requests == []


def test_a_column_of_images_goes_into_the_chat_and_stays_images_on_the_hub(context, hub):
    """As Parquet's own bytes, which `datasets` decodes."""
    (context.folder / "look.yaml").write_text(LOOK)
    made = io.BytesIO()
    result = {"info": {"features": {"image": {"_type": "Image"}}}}
    table = pa.table({"image": [{"bytes": png(), "path": None}]})
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(result)}), made)
    hub.repositories["owner/pictures"] = {"data/train-00000-of-00001.parquet": made.getvalue()}
    hub.private["owner/pictures"] = False
    context.server.reply = lambda body: "a dot"

    code, result = context.run("hf://owner/pictures@train", "-o", "hf://owner/captions", task="look.yaml")

    assert code == 0, result
    [sent] = context.server.requests
    assert (
        sent["messages"][0]["content"][1]["image_url"]["url"]
        == "data:image/png;base64," + base64.b64encode(png()).decode()
    )
    result = context.python(
        "import datasets, json\n"
        "d = datasets.load_dataset('owner/captions', split='train')\n"
        "raw = d.cast_column('image', datasets.Image(decode=False))[0]['image']['bytes']\n"
        "print(json.dumps([type(d.features['image']).__name__, raw.hex(), d['caption'][0]]))"
    )
    assert result == ["Image", png().hex(), "a dot"]


def png():
    """A picture of one dot."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    made = io.BytesIO(b"")
    made.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)))
    made.write(chunk(b"IDAT", zlib.compress(b"\x00\x7f")) + chunk(b"IEND", b""))
    return made.getvalue()
