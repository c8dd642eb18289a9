"""Read prompts that were written for other tools: one file a format, each a function from a path to a draft.

A draft becomes a task's text; what a format says and a task can't is in its notes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distask.errors import UsageError
from distask.spec.foreign.github_models import read_github_models
from distask.spec.foreign.promptflow import FLOW, read_flow
from distask.spec.foreign.prompty import read_prompty

if TYPE_CHECKING:
    from pathlib import Path

    from distask.spec.foreign.draft import Draft

__all__ = ["read_foreign"]


def read_foreign(path: Path, node: str | None = None) -> Draft:
    """The draft of a file, or of a flow's folder; `node` says which of a flow's nodes is meant."""
    if not path.exists():
        raise UsageError(f"{path}: there is no such file")
    name = path.name.lower()
    if path.is_dir() or name in FLOW:
        return read_flow(path, node)
    if node is not None:
        raise UsageError(f"--node names a node of a flow, and {path} is none")
    if name.endswith(".prompty"):
        return read_prompty(path)
    if name.endswith((".prompt.yml", ".prompt.yaml")):
        return read_github_models(path)
    raise UsageError(
        f"{path}: what is it? distask import reads .prompty, .prompt.yml (GitHub Models), and folders of Prompt Flow "
        f"with a {FLOW[0]}"
    )
