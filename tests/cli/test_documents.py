"""Documents as the input of commands: what takes rows takes them, and pages go to a vision model as images."""

from __future__ import annotations

import pytest

from distask.data.documents import KINDS
from tests.data.documents import make

CHUNKS = "inputs: {text: It.}\nsteps:\n- chunk: {from: text, unit: headings}\n- drop: text\n"
LOOK = """\
inputs: {text: It., image: {type: any}, page: {type: integer}}
format_input:
  - role: user
    content:
      - text: "Page {{ page }}: {{ text }}"
      - image: "{{ image }}"
outputs: {reply: It.}
format_output: {parser: text}
"""


@pytest.fixture
def handbook(shell):
    (shell.folder / "handbook").mkdir()
    shell.write("handbook/leave.md", "# Leave\n\nThirty days.\n\n## Sick\n\nCall us.\n")
    pages = [[(12, 72, 700, "Be kind.")], [(12, 72, 700, "Be brief.")]]
    (shell.folder / "handbook/rules.pdf").write_bytes(make.pdf(pages))
    shell.write("chunks.yaml", CHUNKS)
    shell.write("look.yaml", LOOK)
    return shell


def test_validate_dry_run_preview_and_run_read_a_folder_without_a_key(handbook):
    assert handbook("validate", "chunks.yaml", "-i", "handbook").out == "chunks.yaml: no errors\n"
    plan = handbook("dry-run", "chunks.yaml", "-i", "handbook")
    assert (plan.code, "rows     2\n" in plan.out) == (0, True)
    preview = handbook("preview", "chunks.yaml", "-i", "handbook")
    assert (preview.code, "chunk: # Leave" in preview.out) == (0, True)

    done = handbook("run", "chunks.yaml", "-i", "handbook", "-o", "out.jsonl")

    assert done.code == 0, done.err
    assert [(row["path"], row["headings"], row["chunk"]) for row in handbook.lines("out.jsonl")] == [
        ("handbook/leave.md", ["Leave"], "# Leave\n\nThirty days."),
        ("handbook/leave.md", ["Leave", "Sick"], "## Sick\n\nCall us."),
        ("handbook/rules.pdf", [], "Be kind.\n\nBe brief."),
    ]
    assert handbook.server.requests == []


def test_a_document_without_a_column_that_the_task_needs_is_reported(handbook):
    done = handbook("run", "task.yaml", "-i", "handbook", "--base-url", "{url}", "--model", "m")

    assert done.code == 2
    assert "handbook/leave.md:1: column `instruction` is missing here and in 1 more rows" in done.err
    assert "the data has `text`, `path`, `title`, `pages`, `media_type`" in done.err
    assert handbook.server.requests == []


def test_broken_documents_are_reported_by_file_before_any_request_or_skipped(handbook):
    (handbook.folder / "handbook/old.docx").write_bytes(b"\xd0\xcf\x11\xe0")
    (handbook.folder / "handbook/scan.pdf").write_bytes(make.pdf([[]]))
    handbook.write("ask.yaml", LOOK.replace(", image: {type: any}, page: {type: integer}", "").replace('      - image: "{{ image }}"\n', "").replace("Page {{ page }}: ", ""))  # fmt: skip
    arguments = ("run", "ask.yaml", "-i", "handbook", "-o", "out.jsonl", "--base-url", "{url}", "--model", "m")

    stopped = handbook(*arguments)

    assert stopped.code == 2
    assert "handbook/old.docx: the file is encrypted" in stopped.err
    assert "handbook/scan.pdf: the file has no text on its page" in stopped.err
    assert handbook.server.requests == []

    assert handbook(*arguments, "--on-bad-row", "skip").code == 0
    assert [row["path"] for row in handbook.lines("out.jsonl")] == ["handbook/leave.md", "handbook/rules.pdf"]


def test_pages_go_to_the_model_as_images(handbook):
    done = handbook("run", "look.yaml", "-i", "handbook/rules.pdf", "--pages", "-o", "out.jsonl", "--base-url", "{url}", "--model", "m")  # fmt: skip

    assert done.code == 0, done.err
    assert [row["page"] for row in handbook.lines("out.jsonl")] == [1, 2]
    parts = [body["messages"][0]["content"] for body in handbook.server.requests]
    assert sorted(text["text"] for text, _ in parts) == ["Page 1: Be kind.", "Page 2: Be brief."]
    assert all(image["image_url"]["url"].startswith("data:image/jpeg;base64,") for _, image in parts)


KIND_FILES = {
    ".txt": b"Be kind.",
    ".md": b"Be kind.",
    ".markdown": b"Be kind.",
    ".rst": b"Be kind.",
    ".ipynb": make.notebook(),
    ".html": b"<p>Be kind.</p>",
    ".htm": b"<p>Be kind.</p>",
    ".xhtml": b"<p>Be kind.</p>",
    ".docx": make.docx(),
    ".pptx": make.pptx(),
    ".epub": make.epub(),
}


def test_every_kind_of_document_without_images_is_tried():
    assert set(KIND_FILES) == {kind for kind, known in KINDS.items() if known.images is None}


@pytest.mark.parametrize(("kind", "data"), KIND_FILES.items(), ids=KIND_FILES)
@pytest.mark.parametrize("pages", [(), ("--pages",)], ids=["files", "pages"])
def test_a_model_that_needs_images_of_pages_gets_no_request_without_them(handbook, kind, data, pages):
    """The error names the file and says that it must be PDF."""
    (handbook.folder / f"deck{kind}").write_bytes(data)

    done = handbook("run", "look.yaml", "-i", f"deck{kind}", *pages, "-o", "out.jsonl", "--base-url", "{url}", "--model", "m")  # fmt: skip

    assert done.code == 2
    assert f"deck{kind}" in done.err
    assert "convert the file to PDF first" in done.err
    assert handbook.server.requests == []


@pytest.mark.parametrize("pages", [(), ("--pages",)], ids=["files", "pages"])
@pytest.mark.parametrize("kind", [".docx", ".pptx"])
def test_validate_says_that_images_need_pdf(handbook, kind, pages):
    (handbook.folder / f"deck{kind}").write_bytes(KIND_FILES[kind])

    done = handbook("validate", "look.yaml", "-i", f"deck{kind}", *pages)

    assert done.code == 2
    assert f"soffice --headless --convert-to pdf deck{kind}" in done.out + done.err


def test_a_pdf_without_pages_names_the_option_that_adds_images(handbook):
    done = handbook("run", "look.yaml", "-i", "handbook/rules.pdf", "--base-url", "{url}", "--model", "m")

    assert done.code == 2
    assert "column `image` is missing; the task look needs it (--pages adds `image`)" in done.err
    assert handbook.server.requests == []


def test_slides_are_read_by_a_task_that_needs_no_images(handbook):
    (handbook.folder / "deck.pptx").write_bytes(make.pptx())

    done = handbook("run", "chunks.yaml", "-i", "deck.pptx", "--pages", "-o", "out.jsonl")

    assert done.code == 0, done.err
    assert {row["page"] for row in handbook.lines("out.jsonl")} == {1, 2}
