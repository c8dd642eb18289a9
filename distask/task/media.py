"""Turn images, sounds and documents of a row into parts of a message.

A URL goes to the server as it is; bytes and files become data URLs. A file is read only below folders that are allowed.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from distask.errors import RowError

_IMAGES = {
    b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp", b"BM": "image/bmp",
}  # fmt: skip
MAX_BYTES = 64 << 20


class Media:
    """Makes content parts; `folders` are those whose files a row may name."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = [f.resolve() for f in folders]

    def allow(self, folder: Path) -> None:
        """Let rows name files of this folder and below."""
        if (resolved := folder.resolve()) not in self._folders:
            self._folders.append(resolved)

    def image(self, value: Any, detail: str | None = None) -> dict[str, Any]:
        """An `image_url` part of a URL, a path, bytes or a `datasets` image."""
        url = value if _is_url(value) else _data_url(*self._bytes(value, "image"))
        return {"type": "image_url", "image_url": {"url": url} | ({"detail": detail} if detail else {})}

    def audio(self, value: Any) -> dict[str, Any]:
        """An `input_audio` part; the format is told from the bytes."""
        data, _ = self._bytes(value, "audio")
        kind = "wav" if data[:4] == b"RIFF" else "flac" if data[:4] == b"fLaC" else "mp3"
        return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": kind}}

    def file(self, value: Any) -> dict[str, Any]:
        """A `file` part of a path or bytes."""
        data, name = self._bytes(value, "file")
        kind = "application/pdf" if data[:4] == b"%PDF" else "text/plain"
        url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        return {"type": "file", "file": {"filename": name or "document", "file_data": url}}

    def _bytes(self, value: Any, kind: str) -> tuple[bytes, str | None]:
        if isinstance(value, bytes | bytearray):
            return bytes(value), None
        if isinstance(value, dict) and (value.get("bytes") or value.get("path")):
            inner = value.get("bytes")
            if isinstance(inner, str):
                return base64.b64decode(inner), value.get("path")
            return self._bytes(inner or value["path"], kind)
        if isinstance(value, str) and value.strip():
            return self._read(value, kind)
        if hasattr(value, "save"):  # a Pillow image
            buffer = io.BytesIO()
            value.save(buffer, format="PNG")
            return buffer.getvalue(), None
        raise RowError("image", f"expected a URL, a path or bytes of the {kind}, got {type(value).__name__}")

    def _read(self, name: str, kind: str) -> tuple[bytes, str]:
        for folder in self._folders:
            path = (folder / name).resolve()
            if path.is_relative_to(folder) and path.is_file():
                if path.stat().st_size > MAX_BYTES:
                    raise RowError("image", f"{name}: the {kind} is larger than {MAX_BYTES >> 20} MiB")
                return path.read_bytes(), path.name
        if any(Path(f, name).resolve().is_file() for f in self._folders):
            raise RowError("image", f"{name}: outside of the folders that rows may name; --allow-path opens another")
        raise RowError("image", f"{name}: there is no such {kind}")


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://", "data:"))


def _data_url(data: bytes, _name: str | None) -> str:
    kind = next((k for magic, k in _IMAGES.items() if data.startswith(magic)), "application/octet-stream")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
