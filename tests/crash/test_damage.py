"""A store's file that is damaged: cut at any byte, with bits that turned. What it gives is right, or nothing, or a clear message."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from contextlib import closing

import pytest

from distask.errors import StoreError
from distask.llm.request import Completion, Usage
from distask.store import Store
from distask.store_file import SCHEMA_VERSION
from tests.crash.scale import SCALE, scaled

COUNT = 24
PAGE = 4096
FRAME = PAGE + 24
"""A page in the write-ahead log, with its head."""
CUTS = 700
FLIPS = 1500


def key(i):
    return b"key of 16 byte%02d" % i


def completion(i):
    return Completion(f"answer {i} " + "é🦤"[i % 2] * (i * 7), usage=Usage(i, 2 * i), model="m", request_id=f"r{i}")


WHOLE = {key(i): completion(i) for i in range(COUNT)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A store's file and its log, as a kill leaves them: a half of the completions is in each."""
    folder = tmp_path_factory.mktemp("whole")
    with Store(folder / "s.db") as store:
        asyncio.run(store.put(list(WHOLE.items())[: COUNT // 2]))
    with Store(folder / "s.db") as store:
        for one in list(WHOLE.items())[COUNT // 2 :]:
            asyncio.run(store.put([one]))
        return (folder / "s.db").read_bytes(), (folder / "s.db-wal").read_bytes()


class Bench:
    """A folder with a damaged store, made anew for each damage."""

    def __init__(self, folder):
        self.folder = folder / "damaged"

    def found(self, database, log, store_class=Store, *, puts=False):
        """How many completions a store with these bytes still gives; None where it says that it is damaged.

        One that opens also takes a new completion and gives it back, or says why not.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        path = self.folder / "s.db"
        path.write_bytes(database)
        if log:
            (self.folder / "s.db-wal").write_bytes(log)
        try:
            with store_class(path) as store:
                got = {k: c for k in WHOLE if (c := store.get(k)) is not None}
                keys = list(WHOLE)
                together = store.get_many(keys[:18]) + store.get_many(keys[18:])  # the last ones are read ahead
                assert all(WHOLE[k] == c for k, c in zip(keys, together, strict=True) if c is not None)
                if puts:
                    asyncio.run(store.put([(key(99), completion(5))]))
                    assert store.get(key(99)) == completion(5)
        except StoreError as error:
            assert str(path) in str(error)  # noqa: PT017
            assert "--store" in str(error) or "run the same command again" in str(error)  # noqa: PT017
            return None
        assert all(WHOLE[k] == c for k, c in got.items())
        return len(got)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def cuts(length, unit, seed):
    """Where to cut: around each unit's end, and at random places; everywhere in a long battery."""
    if SCALE >= 50:
        return range(length)
    chosen = {at + near for at in range(0, length, unit) for near in (-1, 0, 1, 24)}
    chosen |= set(random.Random(seed).choices(range(length), k=scaled(CUTS) // 2))
    return sorted(c for c in chosen if 0 <= c < length)


def test_a_whole_store_gives_all(bench, files):
    assert bench.found(*files, puts=True) == COUNT
    assert bench.found(files[0], b"") == COUNT // 2


def test_a_store_cut_at_any_byte_gives_nothing_that_is_wrong(bench, files):
    database, log = files

    for number, cut in enumerate(cuts(len(database), PAGE, 1)):
        bench.found(database[:cut], b"", puts=number % 10 == 0)
        bench.found(database[:cut], log)


def test_a_log_cut_at_any_byte_gives_what_was_committed_before(bench, files):
    """As a kill in the middle of a write leaves it: nothing of what was there is lost, and it goes on."""
    database, log = files

    counts = [bench.found(database, log[:cut], puts=n % 10 == 0) for n, cut in enumerate(cuts(len(log), FRAME, 2))]

    assert counts == sorted(counts)
    assert counts[0] == COUNT // 2
    assert counts[-1] in (COUNT - 1, COUNT)


def flipped(data, random_, count):
    """The bytes with some bits turned."""
    changed = bytearray(data)
    for _ in range(count):
        changed[random_.randrange(len(changed))] ^= 1 << random_.randrange(8)
    return bytes(changed)


def turn_bits(bench, files, seed, store_class=Store, times=None):
    """How many of the damaged stores still opened."""
    random_ = random.Random(seed)
    opened = 0
    for _ in range(times or scaled(FLIPS) // 2):
        database, log = files
        if random_.random() < 0.5:
            database, log = flipped(database, random_, random_.choice((1, 1, 1, 2, 8))), b""
        else:
            log = flipped(log, random_, random_.choice((1, 1, 2)))
        opened += bench.found(database, log, store_class) is not None
    return opened


@pytest.mark.parametrize("seed", [1, 2])
def test_bits_that_turn_never_make_a_wrong_reply(bench, files, seed):
    """SQLite checks its log, and not its pages: each completion has a checksum of its own."""
    assert turn_bits(bench, files, seed)


@pytest.mark.parametrize("tail", [b"\0" * 100, b"\0" * 3 * PAGE, b"garbage " * 40, b"\n"])
def test_what_was_left_behind_a_store_or_its_log_harms_nothing(bench, files, tail):
    database, log = files

    assert bench.found(database, log + tail, puts=True) == COUNT
    assert bench.found(database + tail, b"") in (COUNT // 2, None)


def test_a_damaged_reply_is_requested_again_and_said(tmp_path, forks, server):
    """The others are not; and the run after that has it again."""
    (tmp_path / "task.yaml").write_text(
        'name: t\ninputs: {q: Q.}\nformat_input: [{role: user, content: "{{ q }}"}]\noutputs: {a: A.}\nformat_output: {parser: text}\n'
    )
    (tmp_path / "in.jsonl").write_text("".join(f'{{"q": "question {i}"}}\n' for i in range(9)))
    arguments = ["run", "task.yaml", "-i", "in.jsonl", "-o", "out.jsonl", "--model", "m", "--base-url", server.url]
    assert forks.run(tmp_path, *arguments)[0] == 0
    with closing(sqlite3.connect(tmp_path / ".distask" / "store.db")) as db:
        db.execute("UPDATE completions SET completion = CAST(replace(completion, 'question 3', 'question 4') AS BLOB)")
        db.commit()

    code, result = forks.run(tmp_path, *arguments)

    assert code == 0
    assert "1 reply in the store was damaged" in result
    assert len(server.requests) == 10
    assert '"a":"question 3"' in (tmp_path / "out.jsonl").read_text()
    assert "damaged" not in forks.run(tmp_path, *arguments)[1]
    assert len(server.requests) == 10


def test_a_store_of_the_first_version_is_brought_to_this_one(tmp_path):
    """Its completions had no checksums; they were paid for all the same."""
    path = tmp_path / "s.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TABLE completions (key BLOB NOT NULL, max_tokens INTEGER NOT NULL, completion BLOB NOT NULL, "
            "model TEXT NOT NULL, created REAL NOT NULL, PRIMARY KEY (key, max_tokens)) STRICT"
        )
        db.execute("INSERT INTO completions VALUES (?, 0, ?, 'm', 1.0)", (key(1), b'{"text": "old", "usage": [1, 2]}'))
        db.execute("PRAGMA user_version = 1")
        db.commit()

    for _ in range(2):
        with Store(path) as store:
            assert store.get(key(1)).text == "old"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
