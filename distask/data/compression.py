"""Open files that may be compressed: what a file is, is told by its first bytes, not by its name."""

from __future__ import annotations

import gzip
import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_BUFFER = 1 << 20
SUFFIXES = (".gz", ".zst")


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked."""
    opened: Any = path.open("rb")
    with opened if isinstance(opened, io.BufferedReader) else io.BufferedReader(opened, _BUFFER) as file:
        magic = file.peek(4)[:4]
        if magic.startswith(_GZIP):
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast("BinaryIO", unpacked)
        elif magic == _ZSTD:
            import zstandard

            stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            yield cast("BinaryIO", io.BufferedReader(stream, _BUFFER))
        else:
            yield file


def kind_of(path: Path) -> str:
    """The format that a name says, `.jsonl` for `a.jsonl.gz`."""
    suffixes = [s.lower() for s in path.suffixes]
    while suffixes and suffixes[-1] in SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""
