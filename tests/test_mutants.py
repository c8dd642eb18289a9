"""Mutants change what they name, in whichever module it is, and report a place that is missing or no longer unique."""

from __future__ import annotations

import ast
import asyncio

import pytest

from distask.llm.pacing.pace import Pace
from distask.store import _serves
from tests import mutants
from tests.mutants import (
    EVERYWHERE,
    PlaceError,
    add_method,
    drop_argument,
    drop_assignment,
    drop_call,
    drop_element,
    file_of,
    planted,
    program,
    rename_call,
    replace_call,
    set_argument,
    set_branch,
    set_condition,
    set_operand,
    set_result,
    set_value,
)

SOURCE = """
LIMITS = {1, 2}
MOST: int = 3

def key(name, *, salt=0):
    return name

class Protocol: ...

class Described(Protocol):
    def send(self): ...

class Box(Base):
    async def send(self, rows):
        count = 1
        await self.store.put(rows, max_rows=count)
        self.held -= len(rows)
        if self.held > MOST and rows:
            raise ValueError("full")
        return key(rows.popleft(), salt=1)
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A package of one module, instead of distask; returns what a fault makes of it."""
    (tmp_path / "distask").mkdir()
    (tmp_path / "distask" / "box.py").write_text(SOURCE)
    for gallery in ("tasks", "configs"):
        (tmp_path / gallery).mkdir()
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    for known in (mutants._sources, mutants._index):
        known.cache_clear()

    def made(*faults):
        folder = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        return (program(folder, *faults) / "distask" / "box.py").read_text()

    yield made
    for known in (mutants._sources, mutants._index):
        known.cache_clear()


@pytest.mark.parametrize(
    ("where", "change", "old", "new"),
    [
        ("Box.send", drop_call("put"), "await self.store.put(rows, max_rows=count)", "pass"),
        ("Box.send", drop_call("store.put"), "await self.store.put(rows, max_rows=count)", "pass"),
        ("Box.send", drop_assignment("held"), "self.held -= len(rows)", "pass"),
        ("Box.send", drop_argument("put", "max_rows"), "put(rows, max_rows=count)", "put(rows)"),
        ("Box.send", set_argument("key", "name", "0"), "key(rows.popleft(), salt=1)", "key(0, salt=1)"),
        ("Box.send", replace_call("key", "None"), "key(rows.popleft(), salt=1)", "None"),
        ("Box.send", rename_call("popleft", "pop"), "rows.popleft()", "rows.pop()"),
        ("Box.send", set_condition("held", False), "if self.held > MOST and rows:", "if False:"),
        ("Box.send", set_operand("MOST", True), "if self.held > MOST and rows:", "if True and rows:"),
        ("Box.send", set_branch("held", "return 5"), 'raise ValueError("full")', "return 5"),
        ("Box.send", set_value("7", "count"), "count = 1", "count = 7"),
        ("LIMITS", drop_element(2), "{1, 2}", "{1}"),
        ("MOST", set_value("4"), "MOST: int = 3", "MOST: int = 4"),
        ("key", set_result("args[0] + 1"), "def key(name, *, salt=0):\n    return name", "def key(*args, **kwargs):\n    return args[0] + 1"),
        (EVERYWHERE, replace_call("len", "2"), "len(rows)", "2"),
    ],
)  # fmt: skip
def test_a_change_changes_one_place_and_nothing_else(source, where, change, old, new):
    assert SOURCE.count(old) == 1

    assert ast.dump(ast.parse(source((where, change)))) == ast.dump(ast.parse(SOURCE.replace(old, new)))


def test_a_method_is_added_to_a_class(source):
    assert source(("Box", add_method("close", "3"))).endswith("def close(*args, **kwargs):\n        return 3")


@pytest.mark.parametrize(
    ("where", "change", "message"),
    [
        ("Box.receive", drop_call("put"), "distask defines no Box.receive: was it renamed or removed"),
        ("Box.send", drop_call("get"), "Box.send has 0 places with a statement that calls get, not one"),
        (EVERYWHERE, replace_call("print", "None"), "nothing in distask is a call of print"),
    ],
)
def test_a_place_that_is_missing_is_an_error(source, where, change, message):
    with pytest.raises(PlaceError, match=message):
        source((where, change))


def test_a_place_that_is_no_longer_unique_is_an_error_with_both(source):
    folder = mutants.ROOT / "distask"
    (folder / "other.py").write_text("def key(name): ...\n")

    with pytest.raises(
        PlaceError, match=r"key is no longer unique: it is defined in distask/box.py and distask/other.py"
    ):
        file_of("key")


def test_two_places_of_a_function_are_an_error_that_shows_them(source):
    path = mutants.ROOT / "distask" / "box.py"
    path.write_text(SOURCE.replace("count = 1\n", "count = 1\n        rows.popleft()\n"))

    with pytest.raises(PlaceError) as raised:
        source(("Box.send", rename_call("popleft", "pop")))
    assert str(raised.value) == (
        "Box.send has 2 places with a call of popleft, not one\n  line 16: rows.popleft()\n  line 21: rows.popleft()"
    )


def test_a_function_of_this_process_is_changed_for_a_while():
    """Also for those who imported it by name."""
    assert file_of("_serves") == "distask/store.py"

    class Cut:
        finish_reason = "length"

    with planted("_serves", set_branch("length", "return True")):
        assert _serves(Cut, 1, 2) is True
    assert _serves(Cut, 1, 2) is False


def test_a_method_of_this_process_is_changed_for_a_while():
    async def paused():
        pace = Pace(1)
        pace.pause(5)
        return pace._paused_until > asyncio.get_running_loop().time()

    with planted("Pace.pause", drop_assignment("_paused_until")):
        assert not asyncio.run(paused())
    assert asyncio.run(paused())
