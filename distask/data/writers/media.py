"""Keep columns of images and sounds what they are: bytes in a table, and known to `datasets` as files."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SOUNDS = (b"ID3", b"fLaC", b"OggS", b"\xff\xfb", b"\xff\xf3")
"""How files of sounds begin; `RIFF` is one where `WAVE` follows."""


def feature_of(value: Any) -> str | None:
    """What `datasets` calls a file's column, "Image" or "Audio"; None where the value is no file with its bytes."""
    if not isinstance(value, dict) or value.keys() != {"bytes", "path"} or not isinstance(value["bytes"], bytes):
        return None
    begins = value["bytes"][:12]
    return "Audio" if begins.startswith(SOUNDS) or (begins[:4] == b"RIFF" and begins[8:] == b"WAVE") else "Image"


def with_bytes(value: Any) -> Any:
    """A file as it was before it went through JSON."""
    if not isinstance(value, dict) or not isinstance(value.get("bytes"), str):
        return value
    return {**value, "bytes": base64.b64decode(value["bytes"])}


def with_features(schema: Any, media: Mapping[str, str]) -> Any:
    """An Arrow schema that says which columns are files, in the way that `datasets` reads it."""
    import datasets

    files = {name: getattr(datasets, feature)() for name, feature in media.items()}
    for name, feature in files.items():
        place = schema.get_field_index(name)
        schema = schema.set(place, schema.field(place).with_type(feature.pa_type))
    features = datasets.Features.from_arrow_schema(schema)
    features.update(files)
    told = {"info": {"features": features.to_dict()}}
    return schema.with_metadata({"huggingface": json.dumps(told)})
