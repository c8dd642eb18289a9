"""Replies that are looked up together, some of them read ahead, are those that are found one by one."""

from __future__ import annotations

import asyncio
import random
import sqlite3

import pytest

from distask import store_window
from distask.llm.request import Completion, Usage
from distask.store import Store
from distask.store_window import Window

LIMIT = 10


def key(number):
    return random.Random(number).randbytes(16)


def put(store, numbers, max_tokens=LIMIT, finish_reason="stop", text="reply"):
    completions = [
        (key(n), Completion(f"{text} {n} for {max_tokens}", finish_reason, Usage(1, n % 12))) for n in numbers
    ]
    asyncio.run(store.put(completions, max_tokens))


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store.db") as store:
        yield store


@pytest.fixture
def statements(store):
    """The statements that the store executes."""
    seen = []
    store._connection.set_trace_callback(seen.append)
    return seen


def in_groups(store, numbers, size=100, max_tokens=LIMIT):
    found = []
    for start in range(0, len(numbers), size):
        found += store.get_many([key(n) for n in numbers[start : start + size]], max_tokens)
    return found


def texts(found):
    return [None if completion is None else completion.text for completion in found]


@pytest.mark.parametrize("seed", range(12))
def test_many_are_found_as_one_by_one(tmp_path, monkeypatch, seed):
    """Whatever their order, their limits and their gaps; some are damaged."""
    drawn = random.Random(seed)
    monkeypatch.setattr(store_window, "SLACK", drawn.choice([5, 50, 512]))
    monkeypatch.setattr(store_window, "MOST_RECORDS", drawn.choice([30, 2_000]))
    numbers = list(range(600))
    path = tmp_path / "store.db"
    with Store(path) as store:
        stored = [n for n in numbers if drawn.random() < drawn.choice([0.5, 0.97])]
        for start in range(0, len(stored), 40):
            group = stored[start : start + 40]
            drawn.shuffle(group)
            put(store, group)
            put(
                store,
                drawn.sample(group, 1 + len(group) // 8),
                drawn.choice([2, None, 100]),
                drawn.choice(["stop", "length"]),
            )
    with sqlite3.connect(path) as connection:
        damaged = [(key(n),) for n in drawn.sample(stored, 20)]
        connection.executemany("UPDATE completions SET checksum = checksum + 1 WHERE key = ?", damaged)
    wanted = [*numbers, *drawn.choices(numbers, k=200)]
    if seed % 3 == 2:
        drawn.shuffle(wanted)

    for max_tokens in (LIMIT, 100, None):
        with Store(path) as together, Store(path) as single:
            found = in_groups(together, wanted, drawn.choice([1, 17, 100, 700]), max_tokens)

            assert texts(found) == texts([single.get(key(n), max_tokens) for n in wanted])
            assert together._used == single._used
            assert (together.damaged > 0) == (single.damaged > 0)


@pytest.mark.parametrize("apart", [0, 400])
def test_replies_in_the_order_of_the_file_are_hardly_looked_up_by_key(store, statements, apart):
    """They may be hundreds of replies apart from their place, as after a run with many concurrent calls."""
    numbers = list(range(3_000))
    put(store, sorted(numbers, key=lambda n: n + random.Random(n).random() * apart))
    statements.clear()

    assert None not in in_groups(store, numbers)

    by_key = [statement for statement in statements if "key IN" in statement]
    assert 1 <= len(by_key) <= 6


def test_replies_in_another_order_are_not_read_ahead(store, statements):
    numbers = list(range(3_000))
    put(store, numbers)
    random.Random(1).shuffle(numbers)
    statements.clear()

    assert None not in in_groups(store, numbers)

    assert not [statement for statement in statements if "rowid >=" in statement]


def test_reading_ahead_ends_where_the_order_changes_and_begins_again(store, statements):
    put(store, range(9_000))
    statements.clear()
    shuffled = random.Random(1).sample(range(1_000, 8_000), 300)
    order = [*range(1_000), *shuffled, *range(8_000, 9_000)]

    assert texts(in_groups(store, order)) == [f"reply {n} for {LIMIT}" for n in order]

    ahead = [n for n, statement in enumerate(statements) if "rowid >=" in statement]
    by_key = [n for n, statement in enumerate(statements) if "key IN" in statement]
    assert ahead[0] < by_key[-3] < ahead[-1]
    assert len(by_key) < 10


def test_a_reply_that_is_stored_while_others_are_read_ahead_is_found(store):
    put(store, [n for n in range(400) if n != 250])

    first = in_groups(store, list(range(200)))
    assert in_groups(store, [250]) == [None]
    put(store, [250], text="new")
    rest = in_groups(store, list(range(200, 400)))

    assert None not in first
    assert rest[50].text == f"new 250 for {LIMIT}"


def test_the_window_stays_small(store):
    put(store, range(2_000), text="x" * 20_000)
    window = store._window

    for start in range(0, 2_000, 100):
        store.get_many([key(n) for n in range(start, start + 100) if n % 3], LIMIT)  # a third is never wanted
        held = sum(len(record[2]) for record in window._records.values())
        assert window._size == held <= store_window.MOST_BYTES
        assert len(window._records) <= store_window.MOST_RECORDS
    assert window._records


def test_a_fault_while_reading_ahead_is_left_to_the_look_up_that_meets_it():
    class Broken:
        def execute(self, *_):
            raise sqlite3.DatabaseError("database disk image is malformed")

    window = Window(Broken())
    window.take([], LIMIT)
    window.found([(key(n), LIMIT, b"", b"", 0, None, n) for n in range(100)])

    assert window.take([key(n) for n in range(100)], LIMIT) == []


def test_the_reply_that_was_requested_with_the_same_limit_is_preferred(store):
    """A rerun gets the reply of the first run, even if a run with a lower limit came in between."""
    put(store, range(100), 200)
    put(store, range(100), 100)

    for max_tokens in (200, 100):
        expected = [f"reply {n} for {max_tokens}" for n in range(100)]
        assert texts(in_groups(store, list(range(100)), 20, max_tokens)) == expected
        assert texts([store.get(key(n), max_tokens) for n in range(100)]) == expected
