"""The record next to an output shows whether the output is still as its run wrote it."""

from __future__ import annotations

import hashlib
import json

import pytest

from distask.data.checksums import checksum_of, is_unchanged
from distask.runner.record import claim, claim_path, may_replace, record_path

IDENTITY = {"task": "t", "model": "m", "input": "/in.jsonl"}


@pytest.fixture
def output(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"a":1}\n' * 300_000)  # more than is read at a time
    return path


def recorded(output, told):
    record_path(output).write_text(json.dumps({"identity": IDENTITY, "output": {"path": output.name, **told}}))


def sha256(path):
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def checksum(path):
    return {"checksum": checksum_of(path)}


@pytest.mark.parametrize("told_of", [checksum, sha256], ids=["checksum", "SHA-256 of an older version"])
def test_a_run_may_replace_its_own_output_until_it_is_edited(output, told_of):
    recorded(output, told_of(output))
    assert may_replace(output, IDENTITY)
    assert not may_replace(output, {**IDENTITY, "model": "another"})

    with output.open("r+b") as file:
        file.seek(1_500_000)
        file.write(b"X")

    assert not may_replace(output, IDENTITY)


def test_a_record_without_a_checksum_proves_nothing(output):
    recorded(output, {})

    assert not may_replace(output, IDENTITY)


def test_a_claim_stands_in_for_the_record_of_a_killed_run(output):
    claim(output, IDENTITY, checksum_of(output))

    assert may_replace(output, IDENTITY)
    assert record_path(output).exists()
    assert not claim_path(output).exists()


def test_the_checksum_is_that_of_xxhsum(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"")

    assert checksum_of(path) == "xxh128:99aa06d3014798d86001c324468d497f"
    assert is_unchanged(path, {"path": "a", "checksum": "xxh128:99aa06d3014798d86001c324468d497f"})
