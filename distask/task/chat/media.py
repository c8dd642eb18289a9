"""Turn the images, audio and documents in a row into parts of a message.

URLs are sent as they are; bytes and files become data URLs. Files are read only from allowed folders.
"""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distask.errors import RowError
from distask.task.chat.messages import MAX_PARTS
from distask.task.templates.compiler import too_long
from distask.task.templates.limits import PROMPT_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_BYTES = 64 << 20
"""Maximum bytes of an image, audio file or document."""
MAX_CHAT = 128 << 20
"""Maximum characters of a chat, including media in base64; servers accept less. A higher limit for text raises it."""
_START = 32
"""Characters of base64 that are enough to identify an image format."""

_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)


class Bound:
    """Tracks the size of a chat, so that an oversized one fails before it fills the memory.

    Args:
        prompt_characters: maximum characters of the chat's text.
    """

    __slots__ = ("characters", "count", "prompt_characters", "text")

    def __init__(self, prompt_characters: int = PROMPT_CHARACTERS) -> None:
        self.prompt_characters = prompt_characters
        self.count = self.characters = self.text = 0

    def take(self, characters: int, *, text: bool = True) -> None:
        """Count a message, or a part of a message; raises `RowError`."""
        self.count += 1
        self.characters += characters
        self.text += characters if text else 0
        if self.count > MAX_PARTS:
            raise RowError("template", f"the chat has more than {MAX_PARTS:,} messages and parts")
        if self.text > self.prompt_characters:
            raise RowError("template", too_long(self.prompt_characters, "the texts of the chat are"))
        if self.characters > (most := max(MAX_CHAT, self.prompt_characters)):
            raise RowError("template", f"the chat holds more than {most >> 20} MiB")


def within(parts: Iterable[dict[str, Any]], bound: Bound) -> list[dict[str, Any]]:
    """List the parts of a message, and count them as they are built; raises `RowError`."""
    made = []
    for part in parts:
        inner = part[part["type"]]
        values = inner.values() if isinstance(inner, dict) else (inner,)
        bound.take(sum(len(value) for value in values if isinstance(value, str)), text=part["type"] == "text")
        made.append(part)
    return made


class Media:
    """Builds parts of a message; rows may name files in `folders`."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = [folder.resolve() for folder in folders]

    def allow(self, folder: Path) -> None:
        """Let rows name files in this folder and its subfolders; it is searched first."""
        resolved = folder.resolve()
        self._folders = [resolved, *(known for known in self._folders if known != resolved)]

    def image(self, value: Any, detail: str | None = None) -> list[dict[str, Any]]:
        """`image_url` parts: one for a URL, path, bytes, base64, a Pillow or `datasets` image; several for a list."""
        shown = {"detail": detail} if detail else {}
        urls = map(self.image_url, _each(value))
        return within(({"type": "image_url", "image_url": {"url": url, **shown}} for url in urls), Bound())

    def image_url(self, value: Any) -> str:
        """The URL of an image; a data URL if it has none."""
        value = _inner(value, "image")
        if _is_url(value):
            return str(value)
        data = _base64_image(value) or self._bytes(value, "image")
        return _data_url(data, _image_kind(data))

    def audio(self, value: Any) -> list[dict[str, Any]]:
        """`input_audio` parts: one for a path, bytes, or a `datasets` audio; several for a list."""
        return within((self._audio(_inner(each, "audio")) for each in _each(value)), Bound())

    def file(self, value: Any) -> list[dict[str, Any]]:
        """`file` parts: one for a URL, a path or bytes; several for a list."""
        return within(map(self._file, _each(value)), Bound())

    def _audio(self, value: Any) -> dict[str, Any]:
        if isinstance(value, str) and value.startswith(("http://", "https://")):
            return {"type": "audio_url", "audio_url": {"url": value}}
        data = self._bytes(value, "audio")
        encoded = base64.b64encode(data).decode()
        return {"type": "input_audio", "input_audio": {"data": encoded, "format": _audio_kind(data)}}

    def _file(self, value: Any) -> dict[str, Any]:
        name = value.get("path") if isinstance(value, dict) else value if isinstance(value, str) else None
        value = _inner(value, "file")
        if _is_url(value):
            filename = "document" if value.startswith("data:") else value.partition("?")[0].rpartition("/")[2]
            return {"type": "file", "file": {"filename": filename or "document", "file_data": value}}
        data = self._bytes(value, "file")
        filename = Path(name).name if name else "document"
        return {"type": "file", "file": {"filename": filename, "file_data": _data_url(data, _file_kind(data, name))}}

    def _bytes(self, value: Any, what: str) -> bytes:
        if isinstance(value, bytes | bytearray | memoryview):
            data = bytes(value)
        elif isinstance(value, str | Path) and str(value).strip():
            data = self._read(str(value), what)
        elif callable(getattr(value, "save", None)):
            data = _encoded(value)
        else:
            raise _fault(f"expected a URL, a path or bytes for the {what}, got {_kind(value)}")
        if len(data) > MAX_BYTES:
            raise _fault(f"the {what} is larger than {MAX_BYTES >> 20} MiB")
        return data

    def _read(self, name: str, what: str) -> bytes:
        shown = name if len(name) <= 100 else f"{name[:99]}…"
        outside = False
        try:
            for folder in self._folders:
                path = (folder / name).resolve()
                if not path.is_file():
                    continue
                if not any(path.is_relative_to(allowed) for allowed in self._folders):
                    outside = True
                    continue
                if path.stat().st_size > MAX_BYTES:
                    raise _fault(f"{shown}: the {what} is larger than {MAX_BYTES >> 20} MiB")
                return path.read_bytes()
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a cycle of links
            reason = getattr(error, "strerror", None) or error
            raise _fault(f"{shown}: the {what} can't be read: {reason}") from None
        if outside:
            raise _fault(
                f"{shown}: the file is outside the folders that rows may read; allow one with --allow-path FOLDER"
            )
        raise _fault(f"{shown}: {what} not found")


def _fault(message: str) -> RowError:
    return RowError("image", message)


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None or value == "" else [value]


def _inner(value: Any, what: str) -> Any:
    """The bytes, path or URL in a mapping from `datasets` or a chat message."""
    if not isinstance(value, dict):
        return value
    if value.get("array") is not None and value.get("sampling_rate"):
        return _wave(value)
    for key in ("bytes", "path", "url"):
        if (found := value.get(key)) is not None:
            return _decoded(found, what) if key == "bytes" and isinstance(found, str) else found
    raise _fault(f"the {what} is a mapping without `bytes`, `path` or `url`")


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _fault(f"the {what}'s `bytes` are text, but not base64") from None


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://", "data:"))


def _data_url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _base64_image(value: Any) -> bytes | None:
    """The image that a base64 text encodes; None for a path."""
    if not isinstance(value, str) or len(value) <= _START:
        return None
    try:
        if _known_image(base64.b64decode(value[:_START], validate=True)) is None:
            return None
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def _known_image(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"heic", b"heix", b"mif1"):
        return "image/avif" if data[8:12] == b"avif" else "image/heic"
    return next((kind for start, kind in _IMAGES if data.startswith(start)), None)


def _image_kind(data: bytes) -> str:
    kind = _known_image(data)
    if kind is None:
        raise _fault("the image has an unknown format (known: PNG, JPEG, GIF, WebP, BMP, TIFF, AVIF, HEIC)")
    return kind


def _audio_kind(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0):
        return "mp3"
    known = {b"fLaC": "flac", b"OggS": "ogg"}
    if data[:4] in known:
        return known[data[:4]]
    raise _fault("the audio has an unknown format (known: WAV, MP3, FLAC, Ogg)")


def _file_kind(data: bytes, name: str | None) -> str:
    if data.startswith(b"%PDF"):
        return "application/pdf"
    import mimetypes

    guessed = mimetypes.guess_type(name)[0] if name else None
    if guessed:
        return guessed
    try:
        data.decode()
    except UnicodeDecodeError:
        return _known_image(data) or "application/octet-stream"
    return "text/plain"


def _encoded(image: Any) -> bytes:
    """Encode a Pillow image in its original format if servers accept it, otherwise as PNG."""
    kind = getattr(image, "format", None)
    kind = kind if kind in ("PNG", "JPEG", "GIF", "WEBP") else "PNG"
    if kind == "PNG" and getattr(image, "mode", "RGB") not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return buffer.getvalue()


def _wave(audio: Mapping[str, Any]) -> bytes:
    """Encode mono samples between -1 and 1 as a WAV file."""
    import wave

    samples = audio["array"]
    values = samples.tolist() if hasattr(samples, "tolist") else samples
    if not all(isinstance(value, int | float) for value in values):
        raise _fault("the audio has several channels; convert it to mono")
    whole = (max(-32768, min(32767, round(value * 32767))) for value in values)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(int(audio["sampling_rate"]))
        file.writeframes(b"".join(value.to_bytes(2, "little", signed=True) for value in whole))
    return buffer.getvalue()


def _kind(value: Any) -> str:
    names = {str: "an empty text", int: "a number", float: "a number", bool: "true or false"}
    return names.get(type(value), type(value).__name__)
