"""The docs as a site: every link leads somewhere, and a page that is looked at fetches nothing from the network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.battery

ROOT = Path(__file__).resolve().parent.parent
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video)\b[^>]*\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b[^>]*\brel=["']?(?:stylesheet|preconnect|preload|icon)[^>]*\bhref=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|@import[^;]*((?:https?:)?//[^"'\s;)]+)|url\(["']?((?:https?:)?//[^"'\s)]+)"""
)
"""What a browser fetches from elsewhere by itself, in a page or a stylesheet."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", ROOT / "docs/site/mkdocs.yml", "-d", folder],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return folder, done


def test_every_link_and_every_anchor_leads_somewhere(site):
    _, done = site

    assert [line for line in done.stderr.splitlines() if "WARNING" in line] == []
    assert done.returncode == 0, done.stderr


def test_every_page_is_in_the_navigation(site):
    """But for the gallery's, which its first page leads to."""
    folder, _ = site
    home = (folder / "index.html").read_text()

    for page in (page for folder in (".", "howto", "explanation") for page in (ROOT / "docs").glob(f"{folder}/*.md")):
        address = page.relative_to(ROOT / "docs").with_suffix("").as_posix()
        assert f'href="{address}/"' in home, f"docs/site/mkdocs.yml does not name {page.name}"


def test_every_block_of_code_is_one(site):
    """A fence whose heading is not understood is text, with its backticks."""
    folder, _ = site

    fence = re.compile(r"`{2,}(yaml|jsonl?|text|console|bash)\b")
    pages = [path for path in folder.rglob("*.html") if "gallery" not in path.parts]  # whose replies may hold fences
    assert [path for path in pages if fence.search(path.read_text())] == []
    assert '<span class="filename">distil.yaml</span>' in (folder / "howto/distil/index.html").read_text()


def test_a_page_fetches_nothing_from_the_network(site):
    folder, _ = site
    texts = {path: path.read_text(errors="replace") for path in folder.rglob("*") if path.suffix in (".html", ".css")}

    assert len(texts) > 20
    assert {path.name: found.group() for path, text in texts.items() for found in FETCHED.finditer(text)} == {}


def test_the_first_page_is_the_readme_and_shows_its_picture(site):
    folder, _ = site

    assert 'src="run.svg"' in (folder / "index.html").read_text()
    assert (folder / "run.svg").exists()
