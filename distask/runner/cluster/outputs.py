"""Manage the output of a run on many machines: a folder of numbered parts with a manifest.

OUT/part-00000.jsonl            rows; all parts together are in input order
OUT/part-00000.jsonl.run.json   the record of that part
OUT/manifest.json               the parts and the total counts, written at the end
OUT/.distask/                   a store for each part, and how the input was split into parts
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

from distask.data.writers import WRITERS
from distask.errors import UsageError
from distask.runner.record import record_path
from distask.store import Store, StorePlace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from distask.data.parts import Part

MANIFEST = "manifest.json"


class Outputs(Struct, frozen=True):
    """The folder of an output."""

    folder: Path

    def check(self, *, overwrite: bool) -> None:
        """Create the folder; raises `UsageError` if the path has other contents."""
        if self.folder.is_file():
            raise UsageError(f"{self.folder} is a file; --engine ray writes a folder of parts: choose another path")
        strange = [path.name for path in _visible(self.folder) if not path.name.startswith(("part-", MANIFEST))]
        if strange and not overwrite:
            raise UsageError(f"{self.folder} is not a distask output: it contains {strange[0]}; choose another folder")
        try:
            self._private.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageError(f"{self.folder}: can't be written: {error.strerror}") from None

    def part(self, number: int) -> Path:
        """Return the path of one part's rows."""
        ending = self.folder.suffix.lower()
        return self.folder / f"part-{number:05d}{ending if ending in WRITERS else '.jsonl'}"

    def store(self, number: int) -> StorePlace:
        """Return the store of one part."""
        return StorePlace(self._private / f"part-{number:05d}.db", network=True, earlier=self._earlier)

    def prepare(self, parts: Sequence[Part]) -> None:
        """Prepare the stores for these parts; if the input was split differently before, keeps the earlier replies."""
        now = [[[s.file, s.start, s.stop] for s in part.spans] for part in parts]
        plan = self._private / "cut.json"
        with contextlib.suppress(OSError, ValueError):
            if orjson.loads(plan.read_bytes()) == now:
                return
        for store in sorted(self._private.glob("part-*.db")):
            earlier = Store(StorePlace(self._earlier, network=True))
            with earlier:
                earlier.take_in(store)
            store.unlink()
        _write(plan, now)

    def finish(self, parts: Sequence[Part], manifest: Mapping[str, Any]) -> Path:
        """Write the manifest and delete parts of an earlier split."""
        kept = {self.part(part.number) for part in parts}
        kept |= {record_path(path) for path in kept}
        for path in _visible(self.folder):
            if path.name.startswith("part-") and path not in kept:
                path.unlink()
        path = self.folder / MANIFEST
        _write(path, manifest)
        return path

    @property
    def _private(self) -> Path:
        return self.folder / ".distask"

    @property
    def _earlier(self) -> Path:
        return self._private / "earlier.db"


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []


def _write(path: Path, value: Any) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str))
    os.replace(partial, path)  # noqa: PTH105 - the pair of the line above
