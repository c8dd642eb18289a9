"""Images, sounds and documents: what becomes a URL, what a data URL, and which files are read."""

from __future__ import annotations

import base64

import pytest

from distask.errors import RowError
from distask.task.chat.media import Media

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
JPEG = b"\xff\xd8\xff\xe0" + bytes(40)
WEBP = b"RIFF\x10\x00\x00\x00WEBP" + bytes(40)
WAV = b"RIFF\x10\x00\x00\x00WAVE" + bytes(40)


def data_url(kind, data):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.fixture
def media(tmp_path):
    (tmp_path / "spec" / "deep").mkdir(parents=True)
    (tmp_path / "spec" / "a.png").write_bytes(PNG)
    (tmp_path / "spec" / "deep" / "b.jpg").write_bytes(JPEG)
    (tmp_path / "secret.png").write_bytes(PNG)
    (tmp_path / "spec" / "link.png").symlink_to(tmp_path / "secret.png")
    return Media([tmp_path / "spec"])


@pytest.mark.parametrize("url", ["https://x.test/a.png", "http://x.test/a", "data:image/png;base64,AAAA"])
def test_a_url_goes_to_the_server_as_it_is(media, url):
    """Nothing is fetched here."""
    assert media.image(url) == [{"type": "image_url", "image_url": {"url": url}}]


@pytest.mark.parametrize(
    ("value", "url"),
    [
        (PNG, data_url("image/png", PNG)),
        (bytearray(JPEG), data_url("image/jpeg", JPEG)),
        (WEBP, data_url("image/webp", WEBP)),
        (b"GIF89a" + bytes(9), data_url("image/gif", b"GIF89a" + bytes(9))),
        ({"bytes": PNG, "path": "gone.png"}, data_url("image/png", PNG)),
        ({"bytes": None, "path": "a.png"}, data_url("image/png", PNG)),
        ({"bytes": base64.b64encode(PNG).decode(), "path": None}, data_url("image/png", PNG)),
        ({"url": "https://x.test/a.png"}, "https://x.test/a.png"),
        ("a.png", data_url("image/png", PNG)),
        ("deep/b.jpg", data_url("image/jpeg", JPEG)),
        ("./deep/../a.png", data_url("image/png", PNG)),
        (base64.b64encode(JPEG).decode(), data_url("image/jpeg", JPEG)),
    ],
)
def test_bytes_and_files_become_data_urls_of_the_kind_that_the_bytes_are(media, value, url):
    """The kind is told by the first bytes, never by the name."""
    assert media.image_url(value) == url


def test_an_absolute_path_below_an_allowed_folder_is_read(media, tmp_path):
    """Where it lies decides, not how it is written."""
    assert media.image_url(str(tmp_path / "spec" / "a.png")) == data_url("image/png", PNG)


def test_a_folder_that_is_allowed_later_is_looked_in_first(media, tmp_path):
    """The folder of the data goes before the spec's."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(JPEG)
    media.allow(tmp_path / "data")

    assert media.image_url("a.png") == data_url("image/jpeg", JPEG)
    assert media.image_url("deep/b.jpg") == data_url("image/jpeg", JPEG)


class Picture:
    """As a Pillow image: it saves itself in a format."""

    def __init__(self, mode, kind=None):
        self.mode, self.format = mode, kind

    def convert(self, mode):
        return Picture(mode)

    def save(self, buffer, format):  # noqa: A002 - as Pillow has it  # noqa: A002 - Pillow's own name
        assert self.mode == "RGB"
        buffer.write(PNG if format == "PNG" else JPEG)


@pytest.mark.parametrize(
    ("picture", "kind"), [(Picture("RGB"), "png"), (Picture("CMYK"), "png"), (Picture("RGB", "JPEG"), "jpeg")]
)
def test_a_pillow_image_is_saved_in_its_own_format_or_as_png(media, picture, kind):
    """What servers don't take is converted."""
    assert media.image_url(picture).startswith(f"data:image/{kind};base64,")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("gone.png", "image not found"),
        ("../secret.png", "outside the folders .* --allow-path"),
        ("link.png", "outside"),
        ("/etc/passwd", "outside"),
        ("deep", "image not found"),
        ("a\x00b", "can't be read"),
        ("x" * 5000, "can't be read|no such"),
        ("file:///etc/passwd", "image not found"),
        (b"plain text", "the image has an unknown format"),
        ({"other": 1}, "a mapping without"),
        ({"bytes": "no base64!"}, "not base64"),
        (5, "got a number"),
        ("   ", "got an empty text"),
    ],
)
def test_what_is_no_image_or_may_not_be_read_is_the_rows_failure(media, value, words):
    """The message says the mend."""
    with pytest.raises(RowError, match=words) as failed:
        media.image(value)

    assert failed.value.kind == "image"


@pytest.mark.parametrize(
    ("data", "kind"), [(WAV, "wav"), (b"ID3" + bytes(9), "mp3"), (b"\xff\xfb" + bytes(9), "mp3"), (b"fLaC1", "flac")]
)
def test_audio_says_its_format(media, data, kind):
    """As the API wants it: base64, and the format beside."""
    encoded = base64.b64encode(data).decode()

    assert media.audio({"bytes": data, "path": None}) == [
        {"type": "input_audio", "input_audio": {"data": encoded, "format": kind}}
    ]


def test_samples_become_a_wav_file(media):
    """As `datasets` gives decoded audio."""
    (part,) = media.audio({"array": [0.0, 0.5, -1.0, 2.0], "sampling_rate": 16000, "path": None})

    data = base64.b64decode(part["input_audio"]["data"])
    assert part["input_audio"]["format"] == "wav"
    assert data[-8:] == b"\x00\x00\x00\x40\x01\x80\xff\x7f"


def test_audio_by_url_and_audio_of_no_kind(media):
    """A URL goes as it is; noise is refused."""
    assert media.audio("https://x.test/a.wav") == [{"type": "audio_url", "audio_url": {"url": "https://x.test/a.wav"}}]
    with pytest.raises(RowError, match="the audio has an unknown format"):
        media.audio(b"noise")


@pytest.mark.parametrize(
    ("value", "file"),
    [
        (b"%PDF-1.7", {"filename": "document", "file_data": data_url("application/pdf", b"%PDF-1.7")}),
        (b"plain", {"filename": "document", "file_data": data_url("text/plain", b"plain")}),
        ({"bytes": b"a,b", "path": "x/t.csv"}, {"filename": "t.csv", "file_data": data_url("text/csv", b"a,b")}),
        ("https://x.test/p.pdf?a=1", {"filename": "p.pdf", "file_data": "https://x.test/p.pdf?a=1"}),
        ("a.png", {"filename": "a.png", "file_data": data_url("image/png", PNG)}),
    ],
)
def test_a_document_has_a_name_and_a_kind(media, value, file):
    """As the API wants it."""
    assert media.file(value) == [{"type": "file", "file": file}]
