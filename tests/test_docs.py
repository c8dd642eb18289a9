"""The docs can't lie: each command in them is run, and its output compared; the references are made from the code.

`python tests/test_docs.py` writes the outputs, the references, the gallery's pages and the README's picture anew.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(page for folder in (".", "howto", "explanation") for page in (ROOT / "docs" / folder).glob("*.md")),
    ]
)
GALLERY = sorted((ROOT / "docs" / "gallery").glob("*.md"))
BLOCK = re.compile(r"^```(?P<kind>console|\w+ file=(?P<file>\S+))\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
DISTASK = f"{shlex.quote(sys.executable)} -m distask"


def outputs(page: Path) -> str:
    """The page as it is when each of its commands has just been run, in one new folder."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("examples", "tasks", "configs"):
            shutil.copytree(ROOT / name, Path(folder, name))

        def done(block: re.Match[str]) -> str:
            if block["file"]:
                file = Path(folder, block["file"])
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block["body"])
                return block[0]
            commands = re.findall(r"^\$ (.*(?:\\\n.*)*)$", block["body"], re.MULTILINE)
            if not all(c.startswith(("distask", "cat", "head", "ls", "wc")) for c in commands):
                return block[0]
            return "```console\n" + "".join(f"$ {c}\n{said(c, folder)}" for c in commands) + "```"

        return BLOCK.sub(done, page.read_text())


def said(command: str, folder: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI", "COLUMNS", "FORCE_COLOR"))}
    done = subprocess.run(
        ["bash", "-c", re.sub(r"\bdistask\b(?= )", lambda _: DISTASK, command, count=1)],
        cwd=folder,
        env={**environment, "NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb", "OPENAI_API_KEY": "sk-example"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=120,
    )
    text = done.stdout.decode()
    return re.sub(r"\b\d+\.\d s\b", "0.1 s", text) + ("" if not text or text.endswith("\n") else "\n")


def references() -> dict[Path, str]:
    from reference import REFERENCES

    return {ROOT / "docs" / name: made() for name, made in REFERENCES.items()}


@pytest.mark.battery
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_the_commands_of_a_page_print_what_it_shows(page):
    assert outputs(page) == page.read_text()


def test_the_references_are_made_from_the_code(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))

    for page, text in references().items():
        assert page.read_text() == text


@pytest.mark.battery
def test_the_readmes_picture_shows_what_is_printed_today(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from picture import picture

    assert (ROOT / "docs" / "run.svg").read_text() == picture()


def test_the_gallerys_pages_are_made_from_its_specs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from gallery_pages import gallery_pages

    pages = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "gallery").iterdir()}

    assert pages == gallery_pages()


@pytest.mark.parametrize("page", [*PAGES, *GALLERY], ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "docs"))
    for reference, text in references().items():
        reference.write_text(text)
    from gallery_pages import gallery_pages

    pages = gallery_pages()
    (ROOT / "docs" / "gallery").mkdir(exist_ok=True)
    for page in GALLERY:
        page.unlink()
    for name, text in pages.items():
        (ROOT / "docs" / "gallery" / name).write_text(text, encoding="utf-8")
    for written in PAGES:
        written.write_text(outputs(written))
    from picture import picture

    (ROOT / "docs" / "run.svg").write_text(picture(), encoding="utf-8")
