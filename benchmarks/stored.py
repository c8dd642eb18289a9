"""What the store costs at a number of replies, next to a bare SQLite table of the same keys and JSON."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

from distask.llm.request import Completion, Usage
from distask.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEAD = """\
| replies | | CPU of the store, µs each | of the bare table | |
| --: | --- | --: | --: | --- |"""
LOOK_UPS = 50_000
AHEAD = 100
PUT = 1_000
TEXT = "A reply of about three hundred characters, which is what a judge writes about an answer. " * 3


def use(folder: Path, count: int, repeat: int) -> list[str]:
    """The lines of the table for one number of replies; each way is used `repeat` times in turn, the cheapest counts."""
    ours, bare = folder / "store.db", folder / "bare.db"
    written = _seconds(lambda: _fill(ours, count)), _seconds(lambda: _fill_bare(bare, count))
    sizes = ours.stat().st_size / count, bare.stat().st_size / count
    drawn = random.Random(1).sample(range(count), min(count, LOOK_UPS))
    keys = [key(number) for number in drawn]
    ways: dict[str, tuple[Callable[[], object], Callable[[], object], int]] = {
        "open and close": (lambda: Store(ours).close(), lambda: sqlite3.connect(bare).close(), 1),
        "look one up": (lambda: _look_up(ours, keys), lambda: _look_up_bare(bare, keys), len(keys)),
        f"look {AHEAD} up together": (lambda: _look_ahead(ours, keys), lambda: _look_up_bare(bare, keys), len(keys)),
    }
    lines = [_line(count, "store one", written[0] / count, written[1] / count, f"{PUT:,} together")]
    if (scan := _scan()) is not None:
        ways["go through all (`store show`)"] = (lambda: scan(ours), lambda: _scan_bare(bare), count)
    for name, (own, other, units) in ways.items():
        taken = [(_seconds(own), _seconds(other)) for _ in range(repeat)]
        lines.append(_line(count, name, min(a for a, _ in taken) / units, min(b for _, b in taken) / units))
    lines.append(
        f"| {count:,} | size | | {sizes[0] / sizes[1]:.2f} × | {sizes[0]:.0f} bytes each; bare {sizes[1]:.0f} |"
    )
    if (half := _pruned(ours)) is not None:
        lines.append(f"| {count:,} | `store prune` of half | {half / count * 2e6:.2f} | | each reply that it deletes |")
    ours.unlink()
    bare.unlink()
    return lines


def key(number: int) -> bytes:
    """A key as random as those of requests."""
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=16).digest()


def _line(count: int, name: str, own: float, other: float, note: str = "") -> str:
    return f"| {count:,} | {name} | {own * 1e6:.2f} | {own / other:.2f} × | {note} |"


def _seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _completion(number: int) -> Completion:
    return Completion(
        f"{number} {TEXT}", usage=Usage(400, 70), model="model-2026", request_id=f"chatcmpl-{number:012d}"
    )


def _fill(path: Path, count: int) -> None:
    """Half of them of one model, half of another."""

    async def put() -> None:
        sources: dict[str, tuple[int | None, ...]] = {"a": (), "b": ()}
        for model in sources if hasattr(store, "source") else ():
            sources[model] = (store.source("task", "http://127.0.0.1/v1", model),)
        for start in range(0, count, PUT):
            group = [(key(n), _completion(n)) for n in range(start, min(start + PUT, count))]
            await store.put(group, None, *sources["a" if start < count // 2 else "b"])

    with Store(path) as store:
        asyncio.run(put())


def _fill_bare(path: Path, count: int) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("CREATE TABLE completions (key BLOB PRIMARY KEY, completion BLOB NOT NULL)")
        for start in range(0, count, PUT):
            group = [(key(n), _json(n)) for n in range(start, min(start + PUT, count))]
            with db:
                db.executemany("INSERT INTO completions VALUES (?, ?)", group)


def _json(number: int) -> bytes:
    text = f'{{"text":"{number} {TEXT}","usage":[400,70],"model":"model-2026","request_id":"chatcmpl-{number:012d}"}}'
    return text.encode()


def _look_up(path: Path, keys: list[bytes]) -> None:
    with Store(path) as store:
        for each in keys:
            assert store.get(each) is not None


def _look_ahead(path: Path, keys: list[bytes]) -> None:
    with Store(path) as store:
        for start in range(0, len(keys), AHEAD):
            group = keys[start : start + AHEAD]
            assert None not in store.get_many(group)


def _look_up_bare(path: Path, keys: list[bytes]) -> None:
    with closing(sqlite3.connect(path)) as db:
        for each in keys:
            assert db.execute("SELECT completion FROM completions WHERE key = ?", (each,)).fetchone()


def _scan() -> Callable[[Path], object] | None:
    """The scan of `store show`; None for a version without it, so that versions can be compared."""
    try:
        from distask.runner.stored.contents import read_contents
    except ImportError:
        return None
    return read_contents


def _scan_bare(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return sum(len(completion) for (completion,) in db.execute("SELECT completion FROM completions"))


def _pruned(path: Path) -> float | None:
    try:
        from distask.runner.stored.prune import Choice, prune
    except ImportError:
        return None
    return _seconds(lambda: prune(path, Choice(model="a")))
