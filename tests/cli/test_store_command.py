"""`distask store`: what a store holds is shown, and pruned except for what an unfinished run or batch may need."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

import pytest

from tests.cli.conftest import SPEC
from tests.server import Reply

DAY = 86_400


def stored(shell, name=".distask/store.db"):
    with closing(sqlite3.connect(shell.folder / name)) as db:
        return db.execute("SELECT count(*) FROM completions").fetchone()[0]


def make_older(shell, days, task=None):
    """Move everything that a task stored into the past."""
    with closing(sqlite3.connect(shell.folder / ".distask/store.db")) as db, db:
        which = "1" if task is None else f"task = '{task}'"
        db.execute(
            f"UPDATE completions SET created = created - ? WHERE source IN (SELECT number FROM sources WHERE {which})",
            (days * DAY,),
        )
        db.execute(f"UPDATE sources SET used = used - ? WHERE {which}", (days * DAY,))


def as_old_store(shell):
    """Turn the store into one of the version before runs were recorded."""
    with closing(sqlite3.connect(shell.folder / ".distask/store.db")) as db, db:
        db.execute("ALTER TABLE completions DROP COLUMN source")
        db.execute("DROP TABLE runs")
        db.execute("DROP TABLE sources")
        db.execute("PRAGMA user_version = 4")


def kill_in_the_middle(shell, server, *more):
    """Start a run that gets three of its five replies, and kill it."""
    server.reply = lambda body: Reply(delay=60) if body["messages"][0]["content"][-1] in "34" else None
    command = shell.command("run", "task.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m", *more)
    process = subprocess.Popen(command, cwd=shell.folder, env=shell.env, stderr=subprocess.DEVNULL)
    name = more[more.index("--store") + 1] if "--store" in more else ".distask/store.db"
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if stored(shell, name) >= 3:
                    break
            except sqlite3.Error:
                pass
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    server.reply = lambda body: None


def test_show_counts_replies_by_run_and_model(shell):
    shell.run("-o", "one.jsonl", "--set", "price.input=1000000", "--set", "price.output=0")
    shell.run("-o", "two.jsonl", "--model", "other")

    result = shell("store", "show")
    as_json = shell("store", "show", "--json")

    assert result.code == as_json.code == 0, result.err
    assert "10 replies" in result.out
    assert "2 runs" in result.out
    assert "one.jsonl" in result.out
    result = json.loads(as_json.out)
    one, two = sorted(result["sources"], key=lambda s: s["run"]["output"])
    assert (one["task"], one["model"], one["replies"], one["cost_usd"], one["unpriced"]) == ("answer", "m", 5, 10.0, 0)
    assert (two["model"], two["replies"], two["cost_usd"], two["unpriced"]) == ("other", 5, None, 5)
    assert one["bytes"] > 0
    assert one["first"] <= one["last"] <= one["used"]
    assert result["unfinished"] == []
    assert result["replies"] == 10


def test_a_run_that_reuses_replies_is_a_use_of_them(shell):
    shell.run("-o", "one.jsonl")
    make_older(shell, 60)

    shell.run("-o", "two.jsonl")
    pruned = shell("store", "prune", "--older-than", "30d", "--yes", "--json")

    assert json.loads(pruned.out)["replies"] == 0
    assert stored(shell) == 5


def test_prune_by_age_deletes_what_no_run_used_and_gives_the_space_back(shell, server):
    shell.rows([{"instruction": f"question {i} " + "x" * 3000} for i in range(200)])
    shell.run("-o", "old.jsonl")
    make_older(shell, 60)
    shell.rows([{"instruction": "new"}])
    shell.run("-o", "new.jsonl")
    before = (shell.folder / ".distask/store.db").stat().st_size

    counted = shell("store", "prune", "--older-than", "30d", "--dry-run", "--json")
    assert (json.loads(counted.out)["replies"], stored(shell)) == (200, 201)
    result = shell("store", "prune", "--older-than", "30d", "--yes")

    assert result.code == 0, result.err
    assert "deleted 200 replies" in result.err
    assert stored(shell) == 1
    assert (shell.folder / ".distask/store.db").stat().st_size < before / 4
    asked = len(server.requests)
    shell.run("-o", "new.jsonl")
    assert len(server.requests) == asked


def test_prune_of_a_run_keeps_the_replies_of_others(shell, server):
    shell.run("-o", "one.jsonl")
    shell.rows([{"instruction": f"other {i}"} for i in range(3)])
    shell.run("-o", "two.jsonl")

    result = shell("store", "prune", "--run", "one.jsonl.run.json", "--yes")

    assert "deleted 5 replies" in result.err
    asked = len(server.requests)
    shell.run("-o", "two.jsonl")
    assert len(server.requests) == asked
    assert [
        s["run"]["output"].rpartition("/")[2] for s in json.loads(shell("store", "show", "--json").out)["sources"]
    ] == ["two.jsonl"]


def test_a_run_is_found_in_a_folder_that_was_moved(shell):
    shell.run("-o", "one.jsonl")
    (shell.folder / "moved").mkdir()
    for name in ("one.jsonl", "one.jsonl.run.json", ".distask"):
        (shell.folder / name).rename(shell.folder / "moved" / name)

    result = shell("store", "prune", "--store", "moved/.distask/store.db", "--run", "moved/one.jsonl.run.json", "--yes")

    assert "deleted 5 replies" in result.err


def test_prune_of_a_model(shell):
    shell.run("-o", "one.jsonl")
    shell.run("-o", "two.jsonl", "--model", "other")

    result = shell("store", "prune", "--model", "other", "--yes")

    assert "deleted 5 replies" in result.err
    assert stored(shell) == 5


def test_an_unfinished_run_keeps_all_that_it_may_need(shell, server):
    """It needs its own replies, and those of an earlier run for rows that it has not reached."""
    shell.rows([{"instruction": f"question {i}"} for i in (3, 4)])
    shell.run("-o", "earlier.jsonl")
    make_older(shell, 90)
    with closing(sqlite3.connect(shell.folder / ".distask/store.db")) as db, db:
        db.execute("CREATE TABLE aside AS SELECT * FROM completions")
        db.execute("DELETE FROM completions")
    shell.rows([{"instruction": f"question {i}"} for i in range(5)])
    kill_in_the_middle(shell, server, "-o", "out.jsonl")
    with closing(sqlite3.connect(shell.folder / ".distask/store.db")) as db, db:
        db.execute("INSERT INTO completions SELECT * FROM aside")
        db.execute("DROP TABLE aside")
    make_older(shell, 90)

    shown = shell("store", "show")
    result = shell("store", "prune", "--older-than", "30d", "--yes")
    asked = len(server.requests)
    again = shell.run("-o", "out.jsonl")

    assert "unfinished: answer" in shown.out
    assert "deleted 0 replies" in result.err
    assert "kept 5 replies" in result.err
    assert "out.jsonl" in result.err
    assert again.code == 0, again.err
    assert len(server.requests) == asked
    after = shell("store", "prune", "--run", "earlier.jsonl", "--yes")
    assert "deleted 2 replies" in after.err


def test_a_run_of_another_model_does_not_hold_replies(shell, server):
    shell.run("-o", "other.jsonl", "--model", "other")
    kill_in_the_middle(shell, server, "-o", "out.jsonl")

    result = shell("store", "prune", "--model", "other", "--yes")

    assert "deleted 5 replies" in result.err


def test_an_abandoned_run_keeps_nothing(shell, server):
    kill_in_the_middle(shell, server, "-o", "out.jsonl")

    wrong = shell("store", "prune", "--model", "m", "--abandon", "none.jsonl", "--yes")
    result = shell("store", "prune", "--model", "m", "--abandon", "out.jsonl", "--yes")

    assert wrong.code == 2
    assert "out.jsonl" in wrong.err
    assert "deleted 3 replies" in result.err


def test_prune_while_a_run_goes_on(shell, server):
    """The run keeps its replies and completes; it can't be abandoned; the rest is deleted."""
    shell.run("-o", "other.jsonl", "--model", "other")
    server.reply = lambda body: Reply(delay=60) if body["messages"][0]["content"][-1] == "4" else None
    command = shell.command(
        "run", "task.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m", "-o", "out.jsonl"
    )
    process = subprocess.Popen(command, cwd=shell.folder, env=shell.env, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while stored(shell) < 9 and time.monotonic() < deadline:
            time.sleep(0.02)
        abandoned = shell("store", "prune", "--model", "m", "--abandon", "out.jsonl", "--yes")
        own = shell("store", "prune", "--model", "m", "--yes")
        others = shell("store", "prune", "--model", "other", "--yes")
    finally:
        process.kill()
        process.wait(30)

    assert abandoned.code == 2
    assert "is still running" in abandoned.err
    assert "deleted 0 replies" in own.err
    assert "deleted 5 replies" in others.err
    assert stored(shell) == 4


def test_an_old_store_is_shown_unchanged_and_pruned(shell, server):
    shell.run("-o", "out.jsonl")
    as_old_store(shell)

    shown = shell("store", "show")
    with closing(sqlite3.connect(shell.folder / ".distask/store.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (4,)
    shell.write("left.jsonl.partial", "{}\n")
    kept = shell("store", "prune", "--model", "m", "--yes")
    (shell.folder / "left.jsonl.partial").unlink()
    asked = len(server.requests)
    shell.run("-o", "out.jsonl")
    assert len(server.requests) == asked
    pruned = shell("store", "prune", "--model", "m", "--yes")

    assert "(unknown)" in shown.out
    assert "5 replies" in shown.out
    assert "kept 5 replies" in kept.err
    assert "left.jsonl.partial" in kept.err
    assert "deleted 5 replies" in pruned.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prune"], "--older-than"),
        (["prune", "--older-than", "soon", "--yes"], "12h, 30d or 8w"),
        (["prune", "--model", "m"], "--yes"),
        (["prune", "--run", "none.jsonl", "--yes"], "has no run with this output"),
        (["show", "--model", "m"], "belong to"),
        (["show", "--store", "none.db"], "does not exist"),
        (["prune", "--store", "none.db", "--model", "m"], "does not exist"),
        (["show", "--store", "in.jsonl"], "not a distask store"),
        (["prune", "--store", "in.jsonl", "--model", "m"], "not a distask store"),
    ],
)
def test_what_is_wrong_is_said_with_the_fix(shell, arguments, words):
    shell.run("-o", "out.jsonl")

    result = shell("store", *arguments)

    assert result.code in (1, 2)
    assert words in " ".join(result.err.split())
    assert stored(shell) == 5


@pytest.mark.parametrize(
    ("more", "models"),
    [
        ("", ["m"]),
        ("on_invalid: {fallback: {model: second}}\n", ["m", "second"]),
        (None, None),
    ],
    ids=["one model", "a fallback", "steps"],
)
def test_a_run_is_recorded_with_all_models_that_it_may_use(shell, more, models):
    """The models of steps are known only when they run, so their runs may use any."""
    shell.write("other.yaml", SPEC + (more or ""))
    shell.write("steps.yaml", "steps:\n  - {task: other.yaml}\n")
    name = "steps.yaml" if more is None else "other.yaml"
    shell("run", name, "-i", "in.jsonl", "--base-url", "{url}", "--model", "m", "-o", "out.jsonl")

    with closing(sqlite3.connect(shell.folder / ".distask/store.db")) as db:
        ((targets, finished),) = db.execute("SELECT targets, finished FROM runs").fetchall()

    assert finished is not None
    assert (None if targets is None else [model for _, model in json.loads(targets)]) == models


def test_the_store_holds_no_params_of_a_run(shell):
    """They may quote a prompt."""
    shell.write("task.yaml", SPEC.replace("format_input", "params: {rule: {type: string, default: x}}\nformat_input"))
    shell.run("-o", "out.jsonl", "-p", "rule=confidential words")

    assert "confidential" in (shell.folder / "out.jsonl.run.json").read_text()
    data = b"".join(path.read_bytes() for path in (shell.folder / ".distask").glob("store.db*"))
    assert b"confidential" not in data


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 5), (b"\x04", 5), (b"y\n", 0)], ids=["no", "the end", "yes"])
def test_a_person_is_asked_first(shell, answer, left):
    shell.run("-o", "out.jsonl")
    ours, theirs = pty.openpty()
    command = shell.command("store", "prune", "--model", "m")
    process = subprocess.Popen(command, cwd=shell.folder, env=shell.env, stdin=theirs, stderr=subprocess.PIPE)
    os.write(ours, answer)
    result = process.communicate(timeout=60)[1].decode()
    os.close(ours)
    os.close(theirs)

    assert "Delete 5 replies" in result
    assert process.returncode == (0 if left == 0 else 130)
    assert stored(shell) == left


def test_joined_stores_keep_their_runs(shell):
    for number in (1, 2):
        (shell.folder / f"machine-{number}").mkdir()
        shell.run("-o", f"machine-{number}/part.jsonl", "--shard", f"{number}/2")
    stores = [f"machine-{number}/.distask/store.db" for number in (1, 2)]
    shell(
        "merge",
        "out.jsonl",
        "machine-1/part.jsonl",
        "machine-2/part.jsonl",
        "--from-store",
        stores[0],
        "--from-store",
        stores[1],
    )

    result = json.loads(shell("store", "show", "--json").out)

    assert sorted(s["replies"] for s in result["sources"]) == [2, 3]
    assert all(s["task"] == "answer" and s["run"]["finished"] for s in result["sources"])
