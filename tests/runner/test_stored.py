"""A store is pruned completely or in part, but never damaged: whenever the process is killed, and whoever else uses it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
from contextlib import closing, suppress

import pytest

from distask.errors import UsageError
from distask.llm.request import Completion
from distask.run_ledger import read_runs, recorded
from distask.runner.stored import prune as module
from distask.runner.stored.contents import read_contents
from distask.runner.stored.prune import Choice, prune
from distask.store import Store
from distask.store_file import connect

ENDPOINT = "http://127.0.0.1/v1"


def key(number):
    return number.to_bytes(16, "big")


def fill(path, model, numbers, *, output=None, finish=True):
    """Store completions as a run would."""
    with (
        suppress(KeyboardInterrupt),
        Store(path) as store,
        recorded(store, {"task": "t", "model": model}, output, {(ENDPOINT, model)}),
    ):
        source = store.source("t", ENDPOINT, model)
        asyncio.run(store.put([(key(n), Completion("x" * 500, model=model)) for n in numbers], None, source))
        if not finish:
            raise KeyboardInterrupt


def killed(path, steps):
    """Prune in a process that is killed after this many steps of SQLite's machine."""
    count = 0

    def step():
        nonlocal count
        count += 1
        if count >= steps:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def watched(*arguments):
        connection = connect(*arguments)
        connection.set_progress_handler(step, 100)
        return connection

    module.connect = watched
    module.AT_ONCE = 50
    prune(path, Choice(model="a"))


@pytest.mark.parametrize("steps", [1, 30, 100, 170, 200, 220, 240, 260, 300, 400])
def test_a_kill_at_any_moment_leaves_every_other_reply(tmp_path, steps):
    path = tmp_path / "store.db"
    fill(path, "a", range(400))
    fill(path, "b", range(1000, 1100))
    process = multiprocessing.get_context("fork").Process(target=killed, args=(path, steps))
    process.start()
    process.join(60)

    with Store(path) as store:
        assert all(store.get(key(n)).model == "b" for n in range(1000, 1100))
        left = sum(store.get(key(n)) is not None for n in range(400))
        assert store.damaged == 0
        assert store.count() == left + 100
    assert process.exitcode in (0, -signal.SIGKILL)
    prune(path, Choice(model="a"))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*), min(model) FROM completions").fetchone() == (100, "b")
        assert db.execute("PRAGMA freelist_count").fetchone() == (0,)


def test_a_run_that_starts_between_two_transactions_keeps_the_rest(tmp_path, monkeypatch):
    path = tmp_path / "store.db"
    fill(path, "a", range(200))
    monkeypatch.setattr(module, "AT_ONCE", 50)
    running = []

    def start(deleted):
        if not running:
            store = Store(path)
            block = recorded(store, {"task": "later"}, None, {(ENDPOINT, "a")})
            block.__enter__()
            running.append((store, block, deleted))

    done = prune(path, Choice(model="a"), start)
    store, block, deleted = running[0]
    found = sum(store.get(key(n)) is not None for n in range(200))
    block.__exit__(None, None, None)
    store.close()

    assert done.completions == deleted < 200
    assert found == 200 - deleted


def test_a_store_that_a_process_has_open_is_pruned_and_shrinks_later(tmp_path):
    path = tmp_path / "store.db"
    fill(path, "a", range(500))
    with Store(path) as store:
        store.count()
        done = prune(path, Choice(model="a"))
        assert (done.completions, done.freed) == (500, 0)
        assert done.reusable > 100_000

    again = prune(path, Choice(model="a"))

    assert again.freed > 100_000
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_runs_of_any_target_keep_everything(tmp_path):
    path = tmp_path / "store.db"
    fill(path, "a", range(5))
    with Store(path) as store, recorded(store, {"task": "steps"}, None, None):
        done = prune(path, Choice(model="a"))

    assert (done.completions, done.kept) == (0, 5)
    assert prune(path, Choice(model="a")).completions == 5


def test_runs_without_an_output_are_finished_when_all_of_them_are(tmp_path):
    path = tmp_path / "store.db"
    with Store(path) as first, Store(path) as second, recorded(first, {"task": "t"}, None, set()):
        with recorded(second, {"task": "t"}, None, set()):
            pass
        assert [run.finished for run in read_runs(connect(path))] == [None]

    assert [run.finished is None for run in read_runs(connect(path))] == [False]


def test_a_rerun_of_a_finished_output_is_unfinished_until_it_ends(tmp_path):
    path, output = tmp_path / "store.db", tmp_path / "out.jsonl"
    fill(path, "a", range(5), output=output)
    fill(path, "a", range(5), output=output, finish=False)

    done = prune(path, Choice(model="a"))

    assert (done.completions, done.kept) == (0, 5)
    assert str(output) in done.reasons[0]
    fill(path, "a", range(5), output=output)
    assert prune(path, Choice(model="a")).completions == 5


def test_an_open_batch_keeps_the_replies_of_its_target(tmp_path):
    from distask.batch_ledger import Entry, Ledger

    path = tmp_path / "store.db"
    fill(path, "a", range(5))
    with Ledger(path) as ledger:
        entries = [Entry(key(9), (key(9),), None, 1)]
        record = ledger.submit(entries, endpoint=ENDPOINT, access={}, task="t", model="a", route="chat", price=None)
        done = prune(path, Choice(model="a"))
        assert (done.completions, done.kept, ledger.entry(key(9)).batch) == (0, 5, record.number)
        ledger.drop(record.number)

    assert prune(path, Choice(model="a")).completions == 5


def test_the_store_that_the_parts_of_a_cluster_output_read_is_left_alone(tmp_path):
    path = tmp_path / "earlier.db"
    fill(path, "a", range(5))

    with pytest.raises(UsageError, match="can't be pruned"):
        prune(path, Choice(model="a"))


def test_damaged_completions_are_counted_not_fatal(tmp_path):
    path = tmp_path / "store.db"
    fill(path, "a", range(5))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE completions SET completion = x'00' WHERE key = ?", (key(3),))

    contents = read_contents(path)

    assert (contents.damaged, contents.sources[0].completions) == (1, 5)
