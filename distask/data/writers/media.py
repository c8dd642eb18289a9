"""Keep columns of images and sounds what they are: bytes in a table, and known to `datasets` as files."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

FEATURES = b"huggingface"
"""Where a schema's metadata holds what `datasets` knows of its columns."""
IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
"""How files of images begin; `RIFF` is one too, where `WAVE` does not follow."""
SOUNDS = (b"ID3", b"fLaC", b"OggS", b"\xff\xfb", b"\xff\xf3")
"""How files of sounds begin; `RIFF` is one where `WAVE` follows."""


def feature_of(value: Any, *, is_typed: bool = False) -> str | None:
    """What `datasets` calls a file's column, "Image" or "Audio"; None where the value is no file with its bytes.

    Args:
        value: of the column.
        is_typed: whether its source is typed, and says of no file that it is one: bytes must then be known for such.
    """
    if not isinstance(value, dict) or value.keys() != {"bytes", "path"} or not isinstance(value["bytes"], bytes):
        return None
    begins = value["bytes"][:12]
    if is_typed and not begins.startswith((*SOUNDS, *IMAGES, b"RIFF")):
        return None
    return "Audio" if begins.startswith(SOUNDS) or (begins[:4] == b"RIFF" and begins[8:] == b"WAVE") else "Image"


def with_bytes(value: Any) -> Any:
    """A file as it was before it went through JSON."""
    if not isinstance(value, dict) or not isinstance(value.get("bytes"), str):
        return value
    return {**value, "bytes": base64.b64decode(value["bytes"])}


def media_type() -> Any:
    """The Arrow type of images and sounds."""
    import pyarrow as pa

    return pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def holds_files(kind: Any) -> bool:
    """Whether a type is that of images and sounds, but for a path that is always null."""
    from pyarrow import types

    if not types.is_struct(kind) or {field.name for field in kind} != {"bytes", "path"}:
        return False
    path = kind.field("path").type
    return bool(types.is_binary(kind.field("bytes").type) and (types.is_string(path) or types.is_null(path)))


def features_in(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """What `datasets` says of each column in a schema's metadata."""
    try:
        features = json.loads(metadata[FEATURES])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}
