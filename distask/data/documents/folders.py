"""Find the documents in a folder and its subfolders."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from distask.data.compression import kind_of
from distask.data.documents import ARCHIVES, KINDS
from distask.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROWS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
"""Endings of files with rows, which are not mixed with documents unless they are named."""
_NAMED = 5
"""Maximum number of endings of ignored files to name."""


def documents_in(folder: Path, notify: Callable[[str], None] | None = None) -> list[Path]:
    """Return the documents in a folder and below, sorted; files and folders whose names begin with `.` are left out.

    Args:
        folder: the folder.
        notify: called with a sentence about the files that are ignored.

    Raises:
        InputError: there are none, or there are files with rows as well.
    """
    found: list[Path] = []
    ignored: Counter[str] = Counter()
    for path in _files(folder):
        kind = kind_of(path)
        if kind in KINDS or kind in ARCHIVES:
            found.append(path)
        elif kind in ROWS:
            raise InputError(
                f"{folder} is a folder; did you mean {folder}/*{kind}?"
                if not found
                else f"{folder} has documents and files with rows, such as {path}; "
                f"name the files to read: '{folder}/**/*{kind_of(found[0])}' or '{folder}/**/*{kind}'"
            )
        else:
            ignored[kind or path.name] += 1
    if not found:
        raise InputError(f"{folder} is a folder; did you mean {folder}/*.jsonl? There are no documents in it")
    if ignored and notify is not None:
        kinds = [kind for kind, _ in ignored.most_common(_NAMED)]
        more = ", …" if len(ignored) > _NAMED else ""
        count = ignored.total()
        were = "1 file was" if count == 1 else f"{count:,} files were"
        notify(f"{folder}: {were} ignored, because they are not documents ({', '.join(kinds)}{more})")
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder, then those of its subfolders, by name."""
    with os.scandir(folder) as entries:
        known = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in known:
        if entry.is_file():
            yield Path(entry.path)
    for entry in known:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
