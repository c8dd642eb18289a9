"""Open files that may be compressed: what a file is, is told by its first bytes, not by its name."""

from __future__ import annotations

import gzip
import io
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_BUFFER = 1 << 20
_UNPACKED = 1 << 16
_PACKED = 1 << 10
"""Bytes of zstd that are unpacked at a time: they become 32 MiB at the most."""
SUFFIXES = (".gz", ".zst")

_NO_ROWS = (
    (_GZIP, "it is packed twice; unpack it once"),
    (_ZSTD, "it is packed twice; unpack it once"),
    (b"BZh", "it is packed by bzip2; .gz and .zst are read"),
    (b"\xfd7zXZ", "it is packed by xz; .gz and .zst are read"),
    (b"PK\x03\x04", "it is a zip archive; unpack it"),
    (b"PAR1", "it is Parquet; name it .parquet"),
    (b"\xff\xfe\x00\x00", "it is UTF-32; save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "it is UTF-32; save it as UTF-8"),
    (b"\xff\xfe", "it is UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "it is UTF-16; save it as UTF-8"),
    (b"{\x00", "it is UTF-16; save it as UTF-8"),
    (b"[\x00", "it is UTF-16; save it as UTF-8"),
    (b"\x00{", "it is UTF-16; save it as UTF-8"),
    (b"\x00[", "it is UTF-16; save it as UTF-8"),
)
"""How files begin that hold no text in UTF-8, and what to do with them."""


class DamagedError(OSError):
    """A compressed file that was cut, or is not what it says."""


def no_text(beginning: bytes) -> str | None:
    """Why a file that begins like this is no text in UTF-8; None where it may be one."""
    return next((f"this is no text: {mend}" for magic, mend in _NO_ROWS if beginning.startswith(magic)), None)


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked; what reads them raises `DamagedError` where they can't be."""
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
    """The bytes that gzip packed."""

    def __init__(self, file: BinaryIO) -> None:
        self._unpacked = gzip.GzipFile(fileobj=file)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return self._unpacked.readinto(buffer)
        except EOFError:
            raise DamagedError("the compressed file was cut") from None
        except (OSError, zlib.error) as error:
            raise DamagedError(f"the compressed file is damaged: {error}") from None


class _Zstd(io.RawIOBase):
    """The bytes that zstd packed. Its own reader takes a file that was cut for one that ends there."""

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
                    raise DamagedError("the compressed file was cut")
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
    """Whether a file is compressed, whatever it is called."""
    with path.open("rb") as file:
        return file.read(4).startswith((_GZIP, _ZSTD))


def kind_of(path: Path) -> str:
    """The format that a name says, `.jsonl` for `a.jsonl.gz`."""
    suffixes = [s.lower() for s in path.suffixes]
    while suffixes and suffixes[-1] in SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""
