"""Rows from an object store and back: the real S3 client against moto's server."""

from __future__ import annotations

import gzip
import json
import logging

import pytest

from distask import Task, run
from distask.errors import InputError, UsageError

SPEC = """
name: answer
inputs: {instruction: The instruction.}
format_input: [{role: user, content: "{{ instruction }}"}]
outputs: {generation: The reply.}
format_output: {parser: text}
"""


@pytest.fixture(scope="module")
def moto():
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(moto, monkeypatch, tmp_path):
    """An empty bucket, and the client that sees it."""
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.yaml").write_text(SPEC)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    files.mkdir("rows-bucket")
    yield files
    files.rm("rows-bucket", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


def lines(*numbers):
    return b"".join(json.dumps({"instruction": f"question {n}"}).encode() + b"\n" for n in numbers)


def go(server, source, output, **options):
    llm = {"model": "m", "base_url": server.url, "api_key_env": None}
    return run(Task.load("task.yaml"), source, llm=llm, output=output, **options)


def test_rows_are_streamed_from_objects_and_the_output_is_sent(bucket, server):
    bucket.pipe("rows-bucket/in/a.jsonl", lines(0, 1))
    bucket.pipe("rows-bucket/in/b.jsonl.gz", gzip.compress(lines(2, 3)))

    result = go(server, "s3://rows-bucket/in/*", "s3://rows-bucket/out/answers.jsonl")

    assert result.address == "s3://rows-bucket/out/answers.jsonl"
    rows = [json.loads(line) for line in bucket.cat("rows-bucket/out/answers.jsonl").splitlines()]
    assert [row["generation"] for row in rows] == [f"question {n}" for n in range(4)]
    record = json.loads(bucket.cat("rows-bucket/out/answers.jsonl.run.json"))
    assert record["counts"]["rows"] == 4
    listed = record["provenance"]["input"]["listed"]
    assert [(each["path"], each["rows"]) for each in listed] == [
        ("s3://rows-bucket/in/a.jsonl", 2),
        ("s3://rows-bucket/in/b.jsonl.gz", 2),
    ]
    assert listed[0]["bytes"] == len(lines(0, 1))
    assert listed[0]["checksum"].startswith("etag:")


def test_parquet_goes_in_and_out(bucket, server):
    import pyarrow as pa
    from pyarrow import parquet

    with bucket.open("rows-bucket/in.parquet", "wb") as file:
        parquet.write_table(pa.table({"instruction": ["a", "b"]}), file)

    go(server, "s3://rows-bucket/in.parquet", "s3://rows-bucket/out.parquet")

    with bucket.open("rows-bucket/out.parquet", "rb") as file:
        assert parquet.read_table(file)["generation"].to_pylist() == ["a", "b"]


def test_the_same_command_sends_again_and_asks_nothing(bucket, server):
    bucket.pipe("rows-bucket/in.jsonl", lines(0, 1))
    go(server, "s3://rows-bucket/in.jsonl", "s3://rows-bucket/out.jsonl")
    bucket.rm("rows-bucket/out.jsonl")

    go(server, "s3://rows-bucket/in.jsonl", "s3://rows-bucket/out.jsonl")

    assert len(server.requests) == 2
    assert bucket.exists("rows-bucket/out.jsonl")


@pytest.mark.parametrize(
    ("source", "output", "kind", "message"),
    [
        ("s3://rows-bucket/none.jsonl", "out.jsonl", InputError, "object not found"),
        ("s3://rows-bucket/*.csv", "out.jsonl", InputError, "object not found"),
        (
            "s3://rows-bucket/in.jsonl",
            "s3://no-such-bucket/out.jsonl",
            UsageError,
            "the bucket s3://no-such-bucket/ does not exist",
        ),
        (
            "s3://rows-bucket/in.jsonl",
            "s3://rows-bucket/taken.jsonl",
            UsageError,
            "exists, and was not sent from this folder",
        ),
        ("s3://rows-bucket/in.jsonl", "s3://rows-bucket/out.txt", UsageError, "unknown format"),
    ],
)
def test_what_is_not_there_is_reported_before_any_call(bucket, server, source, output, kind, message):
    bucket.pipe("rows-bucket/in.jsonl", lines(0))
    bucket.pipe("rows-bucket/taken.jsonl", b"mine")

    with pytest.raises(kind, match=message):
        go(server, source, output)

    assert not server.requests
    assert bucket.cat("rows-bucket/taken.jsonl") == b"mine"
