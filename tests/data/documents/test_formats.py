"""Documents that need a library: PDF, Word, PowerPoint, EPUB, HTML and notebooks, sound and broken, and archives."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import tarfile

import pytest

from distask.data.documents import KINDS, packed
from distask.data.input import open_input
from distask.data.readers import ReadOptions
from distask.errors import InputError, UsageError
from tests.data.documents import make

PAGES = [
    [
        (24, 72, 770, "Handbook"),
        (12, 72, 730, "This is the first line of a para-"),
        (12, 72, 716, "graph that is long enough to wrap,"),
        (12, 72, 702, "and it ends here."),
        (12, 72, 660, "A new paragraph (with brackets)."),
        (16, 72, 620, "Part one"),
        (12, 72, 590, "- item one"),
        (12, 72, 576, "- item two"),
    ],
    [(12, 72, 770, "Zweite Seite, Straße.")],
]
PDF_TEXT = """\
# Handbook

This is the first line of a paragraph that is long enough to wrap, and it ends here.

A new paragraph (with brackets).

## Part one

- item one
- item two

Zweite Seite, Straße."""
HTML = """<html><head><title>A page</title><style>p {}</style></head><body><nav>Menu</nav>
<main><h1>Grüße</h1><p>One <b>two</b>, <a href="/x">link</a>.</p><pre><code>x = 1
  y</code></pre><ul><li>a</li><li>b</li></ul>
<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table></main><footer>Imprint</footer></body></html>"""


@pytest.fixture
def rows_of(tmp_path):
    """The rows of a document with this name and these bytes."""

    def read(name, data, *, pages=False):
        (tmp_path / name).write_bytes(data)
        source = open_input(str(tmp_path / name), ReadOptions(pages=pages))
        source.scan()
        rows = [row.values for row in source]
        assert all(row["path"].startswith(str(tmp_path / name)) for row in rows)
        return rows

    return read


@pytest.mark.parametrize(
    ("name", "data", "title", "pages", "text"),
    [
        ("a.pdf", make.pdf(PAGES), "Handbook", 2, PDF_TEXT),
        ("a.pdf", make.pdf(PAGES, "The Rules"), "The Rules", 2, PDF_TEXT),
        ("a.pdf", make.pdf([[(12, 72, 700, "Only text.")]], "draft-3.docx"), "a", 1, "Only text."),
        (
            "a.docx",
            make.docx(),
            "Manual",
            None,
            "# Café rules\n\nBe kind. Ça va?\n\n## Details\n\n- first\n- second\n\n| name | age |\n| --- | --- |\n| Ann | 7 |\n",
        ),
        (
            "a.pptx",
            make.pptx(),
            "Plan",
            2,
            "# Plan\n\n- one\n  - two\n\nNotes: Say hello.\n\n# 資料\n\n| a | b |\n| --- | --- |\n| 1 | 2\\|3 |",
        ),
        ("a.epub", make.epub(), "Das Buch", None, "# One\n\nAnfang\n\n# Two\n\nEnde"),
        ("a.epub", make.epub(locked=["OPS/font.otf"]), "Das Buch", None, "# One\n\nAnfang\n\n# Two\n\nEnde"),
        ("a.ipynb", make.notebook(), "Study", None, "# Study\n\nText.\n\n```julia\nprint(1)\n```"),
        (
            "a.html",
            HTML.encode(),
            "A page",
            None,
            "# Grüße\n\nOne **two**, [link](/x).\n\n```\nx = 1\n  y\n```\n\n- a\n- b\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n",
        ),
        ("a.htm", b'<meta charset="iso-8859-1"><h2>Stra\xdfe</h2>text', "Straße", None, "## Straße\n\ntext\n"),
    ],
)  # fmt: skip
def test_a_document_is_a_row_with_its_text_as_markdown(rows_of, name, data, title, pages, text):
    (row,) = rows_of(name, data)

    assert row["text"] == text
    assert (row["title"], row["pages"]) == (title, pages)
    assert "/" in row["media_type"]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.pdf", b"%PDF-1.7 broken", "a.pdf: the file is damaged"),
        ("a.pdf", b"text", "a.pdf: the file is not PDF"),
        ("a.pdf", make.pdf([[], []]), "a.pdf: the file has no text on its 2 pages: is it scanned\\?.*--pages"),
        ("a.docx", make.docx()[:900], "a.docx: the file is damaged"),
        ("a.docx", b"text", "a.docx: the file is not Word"),
        ("a.docx", make.pptx(), "a.docx: the file is damaged, or not Word"),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a.docx: the file is encrypted, or of an old version"),
        ("a.pptx", make.docx(), "a.pptx: the file is damaged, or not PowerPoint"),
        ("a.pptx", make.zipped({"ppt/presentation.xml": "x"}), "a.pptx: the file is damaged"),
        ("a.epub", make.docx(), "a.epub: the file is damaged, or not EPUB"),
        ("a.epub", make.epub(locked=["OPS/a.xhtml"]), "a.epub: the book is encrypted"),
        ("a.ipynb", b"{}", "a.ipynb: this is not a Jupyter notebook"),
        ("a.ipynb", b'{"worksheets": []}', "a.ipynb: this is not a Jupyter notebook of version 4"),
        ("a.html", b"%PDF-1.7", "a.html: this is not HTML"),
        ("a.html", b"<script>x()</script>", "a.html: the file has no text"),
    ],
)
def test_a_document_that_can_t_be_read_is_reported_by_the_scan(rows_of, name, data, expected):
    with pytest.raises(InputError, match=expected):
        rows_of(name, data)


def test_an_encrypted_pdf_is_reported(rows_of):
    locked = make.pdf(PAGES).replace(b"/Root 1 0 R", b"/Root 1 0 R /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >> /ID [<00> <00>]" % (b"41" * 32, b"42" * 32))  # fmt: skip

    with pytest.raises(InputError, match=r"a\.pdf: the PDF is encrypted; save it without a password"):
        rows_of("a.pdf", locked)


def test_a_document_that_unpacks_to_too_much_is_not_unpacked(rows_of, monkeypatch):
    monkeypatch.setattr(packed, "MAX_UNPACKED", 1000)

    with pytest.raises(InputError, match=r"a\.docx: it unpacks to more than"):
        rows_of("a.docx", make.docx())


def test_page_numbers_headers_and_footers_are_left_out(rows_of):
    pages = [
        [
            (12, 72, 800, "My Book"),
            (12, 72, 700, f"Text {number}."),
            (12, 72, 686, "2024"),
            (12, 300, 20, f"- {number} -"),
        ]
        for number in range(9, 13)
    ]

    assert rows_of("a.pdf", make.pdf(pages))[0]["text"].split("\n\n") == [f"Text {n}. 2024" for n in range(9, 13)]


def test_pages_are_rows_with_images(rows_of):
    rows = rows_of("a.pdf", make.pdf(PAGES), pages=True)

    assert [(row["page"], row["pages"]) for row in rows] == [(1, 2), (2, 2)]
    assert rows[1]["text"] == "Zweite Seite, Straße."
    for row in rows:
        kind, _, data = row["image"].partition(",")
        assert kind == "data:image/jpeg;base64"
        assert base64.b64decode(data).startswith(b"\xff\xd8\xff")


def test_pages_of_a_scan_need_no_text(rows_of):
    assert [row["text"] for row in rows_of("a.pdf", make.pdf([[], []]), pages=True)] == ["", ""]


def test_slides_are_rows_without_images(rows_of):
    rows = rows_of("a.pptx", make.pptx(), pages=True)

    assert [(row["page"], row["text"].splitlines()[0]) for row in rows] == [(1, "# Plan"), (2, "# 資料")]
    assert all("image" not in row for row in rows)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in (".pdf", ".pptx")])
def test_pages_of_a_format_without_pages_are_an_error(rows_of, kind):
    """The error comes before the file is read, so that its contents do not matter."""
    with pytest.raises(
        InputError, match=rf"a\{kind}: \{kind} files have no pages; convert the file to PDF first"
    ) as error:
        rows_of(f"a{kind}", b"", pages=True)

    assert str(error.value).endswith("or leave out --pages")
    assert ("soffice --headless --convert-to pdf a.docx" in str(error.value)) == (kind == ".docx")


def test_a_document_is_extracted_once(tmp_path, monkeypatch):
    from distask.data.documents import pdf

    calls = []
    real = pdf.pdf
    monkeypatch.setattr(pdf, "pdf", lambda data: calls.append(1) or real(data))
    (tmp_path / "a.pdf").write_bytes(make.pdf(PAGES))
    source = open_input(str(tmp_path / "a.pdf"))
    source.scan()

    assert [row.values["text"] for row in source] == [PDF_TEXT]
    assert len(calls) == 1

    (tmp_path / "a.pdf").write_bytes(make.pdf([[(12, 72, 700, "Changed text.")]]))
    assert [row.values["text"] for row in open_input(str(tmp_path / "a.pdf"))] == ["Changed text."]


FILES = {"b/a.md": b"# A", "b/.hidden.md": b"x", "b.pdf": make.pdf(PAGES), "c.png": b"x", "bad.md": b"\xff"}


def tarred(mode):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [("x.zip", make.zipped(FILES)), ("x.tar", tarred("w")), ("x.tar.gz", tarred("w:gz")), ("x.tgz", tarred("w:gz"))],
)
def test_documents_in_an_archive_are_rows(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    file = tmp_path / name
    source = open_input(str(file), on_bad_row="skip")

    assert [(row.values["path"], row.values["title"]) for row in source] == [
        (f"{file}/b/a.md", "A"),
        (f"{file}/b.pdf", "Handbook"),
    ]
    assert source.skipped == 1
    assert source.notes == [f"{file}: 1 file was ignored, because they are not documents (.png)"]
    with pytest.raises(InputError, match=r"bad\.md:1:1: the text is not UTF-8"):
        open_input(str(file)).scan()


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("x.zip", b"PK\x03\x04broken", "x.zip: the archive is damaged"),
        ("x.tar", b"broken", "x.tar: the archive is damaged"),
        ("x.zip", make.zipped({"a.png": "x"}), "x.zip: there are no documents in the archive"),
    ],
)
def test_a_broken_or_empty_archive_is_reported(tmp_path, name, data, expected):
    (tmp_path / name).write_bytes(data)

    with pytest.raises(InputError, match=expected):
        open_input(str(tmp_path / name)).scan()


def test_a_missing_library_is_reported_before_anything_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.md").write_text("# A")
    (tmp_path / "b.pdf").write_bytes(b"")
    monkeypatch.setattr("distask.data.documents.find_spec", lambda _name: None)

    with pytest.raises(UsageError, match=r"b\.pdf: \.pdf files need an extra: pip install 'distask\[documents\]'"):
        open_input(str(tmp_path))


def test_what_is_kept_for_the_second_reading_is_closed_at_the_end():
    code = "from distask.data import documents\ndocuments._extracted.put('a.pdf', [])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, check=True)

    assert done.stderr == b""
