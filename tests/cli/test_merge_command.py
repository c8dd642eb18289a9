"""Shards put together are the output of the whole run, byte by byte; what is no whole set of shards is refused."""

from __future__ import annotations

import json

import pytest

from tests.server import Reply, echo

pytestmark = pytest.mark.battery

RATE = """\
name: rate
inputs: {instruction: The instruction.}
format_input: [{role: user, content: "{{ instruction }}"}]
outputs: {score: {type: integer, minimum: 1, maximum: 5}}
format_output: {parser: regex, pattern: 'Score: (?P<score>\\d+)'}
on_invalid: {then: drop}
"""


@pytest.fixture
def shards(shell):
    """Makes the shards, each in a folder of its own, as different machines would; gives their names."""

    def made(count, ending="jsonl", *more, output="part"):
        names = []
        for number in range(1, count + 1):
            folder = shell.folder / f"machine-{number}"
            folder.mkdir(exist_ok=True)
            names.append(f"machine-{number}/{output}.{ending}")
            result = shell.run("-o", names[-1], "--shard", f"{number}/{count}", *more)
            assert result.code in (0, 3), result.err
        return names

    return made


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_the_merged_output_is_that_of_the_whole_run(shell, shards, ending):
    shell.run("-o", f"whole.{ending}", "-n", "2")
    parts = shards(3, ending, "-n", "2")

    result = shell("merge", f"out.{ending}", parts[2], parts[0], parts[1])

    assert result.code == 0, result.err
    assert "3 shards: 5 rows in, 10 out" in result.err
    assert (shell.folder / f"out.{ending}").read_bytes() == (shell.folder / f"whole.{ending}").read_bytes()


def test_rows_that_were_dropped_leave_the_others_in_their_order(shell, server, shards):
    """No row says which input row it comes from: the shards' records say how many each became."""
    shell.write("task.yaml", RATE)
    server.reply = lambda body: "Score: 9" if "1" in echo(body) or "2" in echo(body) else "Score: 3"
    shell.rows([{"instruction": f"question {i}"} for i in range(23)])
    shell.run("-o", "whole.jsonl")

    result = shell("merge", "out.jsonl", *shards(4))

    assert result.code == 0, result.err
    assert (shell.folder / "out.jsonl").read_bytes() == (shell.folder / "whole.jsonl").read_bytes()
    assert len(shell.lines("out.jsonl")) == 8


def test_the_record_is_that_of_the_whole_run_and_knows_the_output_for_its_own(shell, server, shards):
    server.reply = lambda body: Reply(400, body={"error": {"message": "no"}}) if "3" in echo(body) else None
    parts = shards(2)
    shell("merge", "out.jsonl", *parts)

    record = json.loads((shell.folder / "out.jsonl.run.json").read_text())
    counts = [json.loads((shell.folder / f"{part}.run.json").read_text())["counts"] for part in parts]
    again = shell.run("-o", "out.jsonl")

    assert record["identity"]["shard"] is None
    assert record["counts"]["rows"] == 5
    assert record["counts"]["failures"] == {"bad_request": 1}
    chats = sum(c["chat_share"] * c["rows_out"] for c in counts)
    assert record["counts"]["chat_share"] == round(chats / 5, 3)
    assert [part["shard"] for part in record["merged"]] == [1, 2]
    assert again.code == 3


def test_stores_are_put_together_so_that_the_whole_run_asks_nothing(shell, server, shards):
    parts = shards(2)
    stores = [f"machine-{number}/.distask/store.db" for number in (1, 2)]

    result = shell("merge", "out.jsonl", *parts, "--from-store", stores[0], "--from-store", stores[1])
    asked = len(server.requests)
    shell.run("-o", "out.jsonl")

    assert "5 replies added to .distask/store.db" in result.err
    assert len(server.requests) == asked


def test_as_json(shell, shards):
    result = shell("merge", "out.jsonl", *shards(2), "--json")

    result = json.loads(result.out)
    assert (result["rows"], result["rows_out"], result["shards"], result["replies"]) == (5, 5, 2, 0)


def test_a_missing_and_a_doubled_shard_are_named(shell, shards):
    parts = shards(3)

    missing = shell("merge", "out.jsonl", parts[0], parts[2])
    doubled = shell("merge", "out.jsonl", *parts, parts[1])

    assert (missing.code, doubled.code) == (2, 2)
    assert "2/3" in missing.err
    assert "both shard 2/3" in doubled.err
    assert not (shell.folder / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("shard", "options", "words"),
    [
        (2, ["--model", "other"], "model is 'm' in one and 'other' in the other"),
        (1, ["--limit", "1"], "come from different rows"),
    ],
)
def test_shards_that_are_not_of_one_run_are_refused_with_what_differs(shell, shards, shard, options, words):
    parts = shards(2)
    shell.run("-o", parts[shard - 1], "--shard", f"{shard}/2", *options, "--overwrite")

    result = shell("merge", "out.jsonl", *parts)

    assert result.code == 2
    assert words in " ".join(result.err.split())


def test_a_shard_that_was_edited_is_refused(shell, shards):
    parts = shards(2)
    with (shell.folder / parts[0]).open("a") as file:
        file.write("{}\n")

    result = shell("merge", "out.jsonl", *parts)

    assert result.code == 2
    assert "was changed after its run" in result.err


def test_what_is_no_shard_is_refused(shell, shards):
    shell.run("-o", "whole.jsonl")
    shell.write("stranger.jsonl", "{}\n")

    result = [shell("merge", "out.jsonl", name) for name in ("whole.jsonl", "stranger.jsonl", "none.jsonl")]

    assert [s.code for s in result] == [2, 2, 2]
    assert "not a shard" in result[0].err
    assert "its record stranger.jsonl.run.json is missing" in result[1].err
    assert "file not found" in result[2].err


def test_an_output_of_another_run_is_not_replaced(shell, shards):
    shell.write("out.jsonl", "mine\n")

    result = shell("merge", "out.jsonl", *shards(2))

    assert result.code == 2
    assert "--overwrite" in result.err
    assert (shell.folder / "out.jsonl").read_text() == "mine\n"
