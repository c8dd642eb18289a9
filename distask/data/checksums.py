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
    """Return the checksum of a file, or of the visible files in a folder; raises `OSError`."""
    if path.is_dir():
        return joined_checksum({f.name: checksum_of(f) for f in path.iterdir() if not f.name.startswith(".")})
    checksum = new_checksum()
    with path.open("rb", buffering=0) as file:
        while data := file.read(_READ_BYTES):
            checksum.update(data)
    return text_of(checksum)


def joined_checksum(checksums: Mapping[str, str]) -> str:
    """Return the checksum of a folder from those of its files, by name."""
    checksum = new_checksum()
    for name in sorted(checksums):
        checksum.update(f"{name} {checksums[name]}\n".encode())
    return text_of(checksum)


def is_unchanged(path: Path, message: Mapping[str, Any]) -> bool:
    """Return whether a file has the checksum, or the SHA-256, that a record has; raises `OSError`.

    A folder that is being written has no checksum; only its name is compared.
    """
    if path.is_dir() and message.get("checksum", "") is None:
        return True
    if "checksum" in message:
        return bool(message["checksum"] == checksum_of(path))
    with path.open("rb") as file:
        return bool(message.get("sha256") == hashlib.file_digest(file, "sha256").hexdigest())
