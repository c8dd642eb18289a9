"""Plain text, Markdown and reStructuredText as rows: in files, globs and folders, and those that can't be read."""

from __future__ import annotations

import gzip

import pytest
import zstandard

from distask.data import documents
from distask.data.input import open_input
from distask.errors import InputError


def rows_of(source, **choice):
    return [row.values for row in open_input(str(source), **choice)]


@pytest.fixture
def handbook(tmp_path):
    for name, text in {
        "handbook/leave.md": "---\ntitle: Leave\n---\n# Days off\n\nThirty.\n",
        "handbook/b/notes.txt": "Just notes.\n",
        "handbook/b/guide.rst": "Guide\n=====\n\nRead it.\n\nPart\n----\n\nMore.\n",
        "handbook/.git/config.md": "hidden",
        "handbook/logo.png": "x",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "handbook"


def test_a_file_is_a_row(handbook):
    path = handbook / "leave.md"

    assert rows_of(path) == [
        {
            "text": "---\ntitle: Leave\n---\n# Days off\n\nThirty.\n",
            "path": str(path),
            "title": "Leave",
            "pages": None,
            "media_type": "text/markdown",
        }
    ]


def test_a_folder_gives_its_documents_in_order_and_reports_what_it_ignores(handbook):
    source = open_input(str(handbook))

    assert [(row.values["path"], row.values["title"]) for row in source] == [
        (str(handbook / "leave.md"), "Leave"),
        (str(handbook / "b/guide.rst"), "Guide"),
        (str(handbook / "b/notes.txt"), "notes"),
    ]
    assert source.notes == [f"{handbook}: 1 file was ignored, because they are not documents (.png)"]


def test_a_glob_gives_the_documents_that_match(handbook):
    assert [row["title"] for row in rows_of(handbook / "**/*.txt")] == ["notes"]


def test_titles_of_restructuredtext_become_headings(handbook):
    (row,) = rows_of(handbook / "b/guide.rst")

    assert row["text"] == "# Guide\n\nRead it.\n\n## Part\n\nMore.\n"
    assert row["media_type"] == "text/x-rst"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Intro\n\n## The *title* ##\n\ntext", "The *title*"),
        ("Über uns\n========\n", "Über uns"),
        ("```\n# no\n```\n# Yes", "Yes"),
        ("---\ntitle: 'Quoted: yes'\n---\n# No", "Quoted: yes"),
        ("---\nauthor: me\n---\n# Yes", "Yes"),
        ("no heading", "file"),
        ("# \n", "file"),
    ],
)
def test_the_title_is_that_of_the_front_matter_or_the_first_heading(tmp_path, text, title):
    (tmp_path / "file.md").write_text(text)

    assert rows_of(tmp_path / "file.md")[0]["title"] == title


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_read(tmp_path, encoding):
    (tmp_path / "a.txt").write_text("Grüße, 世界", encoding=encoding)

    assert rows_of(tmp_path / "a.txt")[0]["text"] == "Grüße, 世界"


def test_compressed_documents_are_read(tmp_path):
    (tmp_path / "a.md.gz").write_bytes(gzip.compress(b"# A"))
    (tmp_path / "b.md.zst").write_bytes(zstandard.compress(b"# B"))

    assert [(row["title"], row["text"]) for row in rows_of(tmp_path)] == [("A", "# A"), ("B", "# B")]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.md", "eins\nzwö".encode("latin-1"), r"a.md:2:3: the text is not UTF-8: byte 3 of the line is 0xf6; save"),
        ("a.txt", b"ab\0c", r"a.txt:1:3: there are NUL bytes"),
        ("a.txt", b"\xff\xfea", r"a.txt: this is not valid UTF-16"),
        ("a.md", b"%PDF-1.7", r"a.md: this is a PDF file; rename it to .pdf"),
        ("a.md", b"PK\x03\x04", r"a.md: this is a zip archive or an Office document"),
        ("a.md", b"\x89PNG\r\n", r"a.md: this is an image"),
        ("a.md", b" \n", r"a.md: the file has no text"),
        ("a.md.gz", gzip.compress(b"x" * 99, mtime=0)[:-9], r"a.md.gz: the compressed file is truncated"),
    ],
)
def test_a_document_that_can_t_be_read_is_reported_by_the_scan_or_skipped(tmp_path, name, data, expected):
    (tmp_path / name).write_bytes(data)
    (tmp_path / "good.md").write_text("# Good")

    with pytest.raises(InputError, match=expected):
        open_input(str(tmp_path)).scan()

    source = open_input(str(tmp_path), on_bad_row="skip")
    assert [row.values["title"] for row in source] == ["Good"]
    assert source.skipped == 1


def test_a_file_that_is_too_large_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MAX_BYTES", 5)
    (tmp_path / "a.txt").write_text("123456")

    with pytest.raises(InputError, match=r"a.txt: the file is larger than 0 MiB; split it"):
        open_input(str(tmp_path)).scan()


def test_a_folder_of_rows_or_of_both_kinds_is_reported(tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}")
    with pytest.raises(InputError, match=r"is a folder; did you mean .*/\*\.jsonl\?"):
        open_input(str(tmp_path))

    (tmp_path / "README.md").write_text("# Read me")
    with pytest.raises(InputError, match=r"has documents and files with rows.*'.*/\*\*/\*\.md' or"):
        open_input(str(tmp_path))


def test_a_folder_without_documents_is_reported(tmp_path):
    with pytest.raises(InputError, match="There are no documents in it"):
        open_input(str(tmp_path))


def test_documents_of_an_object_store_are_rows(monkeypatch, tmp_path):
    (tmp_path / "a.md").write_text("# A")
    monkeypatch.setattr("distask.data.input.object_files", lambda _source: [tmp_path / "a.md"])

    assert [row["title"] for row in rows_of("s3://bucket/*.md")] == ["A"]
