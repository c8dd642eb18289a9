"""Preserve columns of images and audio: bytes in the table, marked as files for `datasets`."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

FEATURES = b"huggingface"
"""Key in a schema's metadata under which `datasets` stores its column features."""
IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
"""First bytes of image files; `RIFF` without `WAVE` is also an image."""
SOUNDS = (b"ID3", b"fLaC", b"OggS", b"\xff\xfb", b"\xff\xf3")
"""First bytes of audio files; `RIFF` with `WAVE` is also audio."""


def feature_of(value: Any, *, is_typed: bool = False) -> str | None:
    """Return the `datasets` feature of a file's column, "Image" or "Audio"; None if the value is not file content.

    Args:
        value: a value of the column.
        is_typed: whether the source has types and no file type here: then the bytes must have a known signature.
    """
    if not isinstance(value, dict) or value.keys() != {"bytes", "path"} or not isinstance(value["bytes"], bytes):
        return None
    begins = value["bytes"][:12]
    if is_typed and not begins.startswith((*SOUNDS, *IMAGES, b"RIFF")):
        return None
    return "Audio" if begins.startswith(SOUNDS) or (begins[:4] == b"RIFF" and begins[8:] == b"WAVE") else "Image"


def with_bytes(value: Any) -> Any:
    """Restore the bytes of a file that was converted to JSON."""
    if not isinstance(value, dict) or not isinstance(value.get("bytes"), str):
        return value
    return {**value, "bytes": base64.b64decode(value["bytes"])}


def media_type() -> Any:
    """Return the Arrow type of images and audio."""
    import pyarrow as pa

    return pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def holds_files(kind: Any) -> bool:
    """Return whether a type is that of images and audio; the path may be always null."""
    from pyarrow import types

    if not types.is_struct(kind) or {field.name for field in kind} != {"bytes", "path"}:
        return False
    path = kind.field("path").type
    return bool(types.is_binary(kind.field("bytes").type) and (types.is_string(path) or types.is_null(path)))


def features_in(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return the `datasets` features of the columns in a schema's metadata."""
    try:
        features = json.loads(metadata[FEATURES])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}
