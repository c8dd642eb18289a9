"""Open files that may be compressed. The first bytes decide the format, not the file name."""

from __future__ import annotations

import gzip
import io
import zlib
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_BUFFER = 1 << 20
_UNPACKED = 1 << 16
_PACKED = 1 << 10
"""Bytes of zstd to decompress at a time: they expand to at most 32 MiB."""
SUFFIXES = (".gz", ".zst")

_NO_ROWS = (
    (_GZIP, "it is compressed twice; decompress it once"),
    (_ZSTD, "it is compressed twice; decompress it once"),
    (b"BZh", "it is compressed with bzip2; only .gz and .zst are supported"),
    (b"\xfd7zXZ", "it is compressed with xz; only .gz and .zst are supported"),
    (b"PK\x03\x04", "it is a zip archive; extract it"),
    (b"PAR1", "it is Parquet; rename it to .parquet"),
    (b"\xff\xfe\x00\x00", "it is UTF-32; save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "it is UTF-32; save it as UTF-8"),
    (b"\xff\xfe", "it is UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "it is UTF-16; save it as UTF-8"),
    (b"{\x00", "it is UTF-16; save it as UTF-8"),
    (b"[\x00", "it is UTF-16; save it as UTF-8"),
    (b"\x00{", "it is UTF-16; save it as UTF-8"),
    (b"\x00[", "it is UTF-16; save it as UTF-8"),
)
"""First bytes of files that are not UTF-8 text, and how to fix each."""


class DamagedError(OSError):
    """A compressed file that is truncated or corrupt."""


def no_text(beginning: bytes) -> str | None:
    """Return why a file with these first bytes is not UTF-8 text; None if it may be."""
    return next((f"this is not text: {hint}" for magic, hint in _NO_ROWS if beginning.startswith(magic)), None)


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """Open the file and decompress it. Reading raises `DamagedError` if the data is damaged."""
    opened: Any = path.open("rb")
    with opened if isinstance(opened, io.BufferedReader) else io.BufferedReader(opened, _BUFFER) as file:
        magic = file.peek(4)[:4]
        if magic.startswith(_GZIP):
            yield cast("BinaryIO", io.BufferedReader(_Gzip(file), _UNPACKED))
        elif magic == _ZSTD:
            yield cast("BinaryIO", io.BufferedReader(_Zstd(file), _UNPACKED))
        else:
            yield file


class _Gzip(io.RawIOBase):
    """Decompressed gzip data."""

    def __init__(self, file: BinaryIO) -> None:
        self._unpacked = gzip.GzipFile(fileobj=file)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return self._unpacked.readinto(buffer)
        except EOFError:
            raise DamagedError("the compressed file is truncated") from None
        except (OSError, zlib.error) as error:
            raise DamagedError(f"the compressed file is damaged: {error}") from None


class _Zstd(io.RawIOBase):
    """Decompressed zstd data. The library's own reader does not notice a truncated file."""

    def __init__(self, file: BinaryIO) -> None:
        import zstandard

        self._file = file
        self._packer = zstandard.ZstdDecompressor()
        self._frame: Any = None
        self._packed = self._ready = b""
        self._error = zstandard.ZstdError

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if not self._packed:
                self._packed = self._file.read(_PACKED)
            if not self._packed:
                if self._frame is not None:
                    raise DamagedError("the compressed file is truncated")
                return 0
            self._unpack()
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _unpack(self) -> None:
        if self._frame is None:
            self._frame = self._packer.decompressobj()
        try:
            self._ready = self._frame.decompress(self._packed)
        except self._error as error:
            raise DamagedError(f"the compressed file is damaged: {error}") from None
        self._packed = b""
        if self._frame.eof:
            self._packed, self._frame = self._frame.unused_data, None


def is_compressed(path: Path) -> bool:
    """Return whether a file is compressed, whatever its name."""
    with path.open("rb") as file:
        return file.read(4).startswith((_GZIP, _ZSTD))


def kind_of(path: Path) -> str:
    """Return the format that a name implies, `.jsonl` for `a.jsonl.gz`."""
    return _kind_of_name(path.name)


@lru_cache(maxsize=256)
def _kind_of_name(name: str) -> str:
    name = name.lower()
    while True:
        stem, _, ending = name.rpartition(".")
        if not stem.strip(".") or not ending:
            return ""
        if f".{ending}" not in SUFFIXES:
            return f".{ending}"
        name = stem
