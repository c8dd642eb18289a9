"""Compute the checksums of output files, which show whether a file was changed since its run.

The checksum is XXH128 (https://xxhash.com), which costs a tenth of SHA-256 and finds every accidental change.
`xxhsum -H2` prints the same digits. Records of older versions have a SHA-256 instead.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PREFIX = "xxh128:"
"""What a checksum begins with, before its 32 hexadecimal digits."""
_READ_BYTES = 1 << 20


class Checksum(Protocol):
    """A checksum of data that is still being written."""

    def update(self, data: bytes, /) -> None:
        """Add data."""

    def hexdigest(self) -> str:
        """Return the digits for all data so far."""


def new_checksum() -> Checksum:
    """Return the checksum of no data."""
    from xxhash import xxh3_128

    return xxh3_128()


def text_of(checksum: Checksum) -> str:
    """Return a checksum as records have it."""
    return PREFIX + checksum.hexdigest()


def checksum_of(path: Path) -> str:
    """Return the checksum of a file; raises `OSError`."""
    checksum = new_checksum()
    with path.open("rb", buffering=0) as file:
        while data := file.read(_READ_BYTES):
            checksum.update(data)
    return text_of(checksum)


def is_unchanged(path: Path, message: Mapping[str, Any]) -> bool:
    """Return whether a file has the checksum, or the SHA-256, that a record has; raises `OSError`."""
    if "checksum" in message:
        return bool(message["checksum"] == checksum_of(path))
    with path.open("rb") as file:
        return bool(message.get("sha256") == hashlib.file_digest(file, "sha256").hexdigest())
