"""Bring into the site what lies beside the docs: the README as its first page, the changelog, files that pages name."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
HOME = "README.md"
FOLDERS = ("tasks", "configs", "examples")
BLOCK = re.compile(r"^```(\w+) file=(\S+)$", re.MULTILINE)
"""A file of the reader's folder; its name becomes the block's title."""
CODE = re.compile(r"\[([^\]]+)\]\((?:(?:\.\./)+(?:distask|tests)/[^)]*|CONTRIBUTING\.md)\)")
"""A link to a file that the site does not have."""
LINK = re.compile(r"(\]\()(?!\w+:|#)([^)\s#]+)")


def on_files(files: Any, config: Any) -> Any:
    """Add the files, under the names that they have from the top."""
    files.append(File.generated(config, "index.md", abs_src_path=str(ROOT / HOME)))
    files.append(File.generated(config, "CHANGELOG.md", abs_src_path=str(ROOT / "CHANGELOG.md")))
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).iterdir()):
            if file.is_file():
                files.append(File.generated(config, f"{folder}/{file.name}", abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to where the site has what they name: on top, where the checkout has the docs in a folder."""
    here = "." if page.file.src_uri in ("index.md", "CHANGELOG.md") else posixpath.join("docs", page.file.src_uri, "..")

    def moved(found: re.Match[str]) -> str:
        wanted = posixpath.normpath(posixpath.join(here, found[2]))
        inside = wanted.removeprefix("docs/") if wanted != HOME else "index.md"
        return found[1] + posixpath.relpath(inside, posixpath.dirname(page.file.src_uri) or ".")

    return BLOCK.sub(r'```\1 title="\2"', LINK.sub(moved, CODE.sub(r"\1", markdown)))
