"""The store keeps every completion, and gives it back for the request that it answers."""

from __future__ import annotations

import asyncio
import sqlite3
import stat

import pytest

from distask.errors import StoreError
from distask.llm.request import Completion, Request, Usage, sample_key
from distask.store import Store, _decode
from distask.store_file import SCHEMA_VERSION

KEY = b"0123456789abcdef"


def put(store, *completions, max_tokens=None, key=KEY):
    asyncio.run(store.put([(key, c) for c in completions], max_tokens))


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "deep" / "store.db") as store:
        yield store


def test_a_completion_comes_back_as_it_went_in(store):
    completion = Completion(
        "Dos ñandúes 🦤",
        "tool_calls",
        Usage(3, None),
        "served",
        tool_calls=[{"name": "f", "arguments": {"x": 2**53}}],
        reasoning="hm",
        logprobs={"content": []},
        request_id="req-1",
    )

    put(store, completion)

    assert store.get(KEY) == completion
    assert store.count() == 1


def test_all_that_a_server_says_of_the_usage_comes_back(store):
    completion = Completion("x", usage=Usage(90, 5, 64, 16, 2, 0.25))

    put(store, completion)

    assert store.get(KEY) == completion


@pytest.mark.parametrize(
    ("usage", "kept"),
    [(Usage(3, 5), b'"usage":[3,5]'), (Usage(None, 5), b'"usage":[null,5]'), (Usage(3, 5, cost=0.0), b'"usage":[3,5,0,0,0,0.0]')],
)  # fmt: skip
def test_a_usage_takes_no_more_place_than_what_is_known_of_it(store, usage, kept):
    put(store, Completion("x", usage=usage))

    data = sqlite3.connect(store.path).execute("SELECT completion FROM completions").fetchone()[0]

    assert kept in data
    assert store.get(KEY).usage == usage


def test_a_completion_without_usage_has_none_in_the_store(store):
    put(store, Completion("x"))

    data = sqlite3.connect(store.path).execute("SELECT completion FROM completions").fetchone()[0]

    assert data == b'{"text":"x"}'


def test_a_usage_of_an_earlier_version_is_read(store):
    """It had input and output."""
    put(store, Completion("x", usage=Usage(3, 5)))

    assert _decode(b'{"text":"x","usage":[3,5]}') == store.get(KEY) == Completion("x", usage=Usage(3, 5))


def test_a_store_that_is_opened_again_still_has_them(tmp_path):
    with Store(tmp_path / "s.db") as store:
        put(store, Completion("a"))
    with Store(tmp_path / "s.db") as store:
        assert store.get(KEY) == Completion("a")
        assert store.get(b"another key 1234") is None


@pytest.mark.parametrize(
    ("completion", "asked", "limit", "serves"),
    [
        (Completion("done", "stop", Usage(1, 5)), None, None, True),
        (Completion("done", "stop", Usage(1, 5)), None, 10, True),
        (Completion("done", "stop", Usage(1, 50)), None, 10, False),
        (Completion("done", "stop", Usage(1, 5)), 8, 100, True),
        (Completion("done", "stop", Usage(1, 5)), 8, 4, False),
        (Completion("cu", "length", Usage(1, 8)), 8, 8, True),
        (Completion("cu", "length", Usage(1, 8)), 8, 4, True),
        (Completion("cu", "length", Usage(1, 8)), 8, 100, False),
        (Completion("cu", "length", Usage(1, 8)), 8, None, False),
        (Completion("cu", "length", Usage(1, 8)), None, 100, False),
    ],
)
def test_a_raised_limit_pays_only_for_what_was_cut(store, completion, asked, limit, serves):
    """A reply that ended by itself serves where it fits; a cut one only where the limit is no higher."""
    put(store, completion, max_tokens=asked)

    assert (store.get(KEY, limit) is not None) is serves


def test_a_cut_reply_and_its_longer_one_are_both_kept(store):
    put(store, Completion("cu", "length", Usage(1, 2)), max_tokens=2)
    put(store, Completion("cut no more", "stop", Usage(1, 7)), max_tokens=20)

    assert store.get(KEY, 2).text == "cu"
    assert store.get(KEY, 20).text == "cut no more"


def test_many_puts_at_once_are_all_kept(store):
    async def all_of_them():
        await asyncio.gather(*(store.put([(b"%016d" % i, Completion(str(i)))]) for i in range(500)))

    asyncio.run(all_of_them())

    assert store.count() == 500
    assert store.get(b"%016d" % 499) == Completion("499")


def test_a_commit_of_another_process_is_waited_for_next_to_the_loop(tmp_path):
    """The loop goes on meanwhile, and commits by itself again after it."""

    async def write_while_another_does(store, other):
        other.execute("BEGIN IMMEDIATE")
        waiting = [asyncio.ensure_future(store.put([(b"%016d" % i, Completion("a"))])) for i in range(3)]
        await asyncio.sleep(0.1)
        assert not any(put.done() for put in waiting)
        other.execute("COMMIT")
        await asyncio.wait_for(asyncio.gather(*waiting), 10)
        await store.put([(KEY, Completion("b"))])

    with Store(tmp_path / "s.db") as store:
        other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        asyncio.run(write_while_another_does(store, other))
        other.close()

        assert store.count() == 4
        assert store.get(KEY) == Completion("b")


def test_many_are_looked_up_together(store):
    put(store, Completion("a"))
    other = b"fedcba9876543210"

    assert store.get_many([KEY, other, KEY]) == [Completion("a"), None, Completion("a")]
    put(store, Completion("b"), key=other)
    assert store.get_many([other]) == [Completion("b")]
    assert store.get_many([]) == []


def test_the_log_of_commits_does_not_grow_without_end(tmp_path):
    """It is brought into the file while the store is open."""
    text = "x" * 20_000

    async def many(store):
        for start in range(0, 4_000, 40):
            puts = [store.put([(b"%016d" % i, Completion(text))]) for i in range(start, start + 40)]
            await asyncio.gather(*puts)
        for _ in range(500):
            if store.path.stat().st_size > 16 << 20:
                return
            await asyncio.sleep(0.02)
        pytest.fail("all is in the log")

    with Store(tmp_path / "s.db") as store:
        asyncio.run(many(store))

        assert store.count() == 4_000


def test_only_the_owner_can_read_it(tmp_path):
    with Store(tmp_path / ".distask" / "store.db") as store:
        put(store, Completion("secret"))
        files = list(store.path.parent.iterdir())

        assert len(files) >= 2
        assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
        assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


def test_two_processes_can_share_one(tmp_path):
    with Store(tmp_path / "s.db") as one, Store(tmp_path / "s.db") as two:
        put(one, Completion("a"))
        put(two, Completion("b"), key=b"fedcba9876543210")

        assert two.get(KEY) == Completion("a")
        assert one.get(b"fedcba9876543210") == Completion("b")


def test_a_store_of_a_newer_version_is_refused_with_a_sentence(tmp_path):
    path = tmp_path / "s.db"
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()

    with pytest.raises(StoreError, match="written by a newer distask"):
        Store(path)


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "s.db"
    path.write_text("this is a diary, and not a short one\n" * 50)

    with pytest.raises(StoreError, match=r"s\.db: this is not a distask store"):
        Store(path)
    assert path.read_text().startswith("this is a diary")


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="can't be used"):
        Store(tmp_path / "file" / "s.db")


def test_what_can_change_the_answer_changes_the_key():
    """The endpoint, the model, the chat and each keyword do; the limit on the length, the order of keys and `example` don't."""
    base = Request("http://a/v1", "m", [{"role": "user", "content": "x"}], {"temperature": 1, "top_p": 0.5})
    same = Request(
        "http://a/v1",
        "m",
        [{"content": "x", "role": "user"}],
        {"top_p": 0.5, "max_tokens": 9, "temperature": 1},
        example=str,
    )
    others = [
        Request("http://b/v1", "m", base.messages, base.keywords),
        Request("http://a/v1", "n", base.messages, base.keywords),
        Request("http://a/v1", "m", [{"role": "system", "content": "x"}], base.keywords),
        Request("http://a/v1", "m", base.messages, {"temperature": 1}),
        Request("http://a/v1", "m", base.messages, {"temperature": 1, "top_p": 0.6}),
    ]

    assert same.fingerprint() == base.fingerprint()
    assert len({r.fingerprint() for r in [base, *others]}) == 6
    keys = {sample_key(base.fingerprint(), o, s, a) for o in range(3) for s in range(3) for a in range(3)}
    assert len(keys) == 27


def test_the_log_stays_short_while_completions_are_stored_without_a_pause(store, monkeypatch):
    """SQLite starts the log from its beginning only after a checkpoint of all of it, with no commit in between."""
    monkeypatch.setattr("distask.store.CHECKPOINT", 1 << 18)
    monkeypatch.setattr("distask.store.LONGEST_LOG", 1 << 20)
    log, sizes = store.path.with_name("store.db-wal"), []

    async def writer(number):
        for turn in range(500):
            await store.put([(b"%08d%08d" % (turn * 7919 % 1000, number), Completion("x" * 3000))])
            sizes.append(log.stat().st_size)

    async def writers():
        await asyncio.gather(*map(writer, range(16)))

    asyncio.run(writers())

    assert store.count() == 8000
    assert max(sizes) < 12 << 20
