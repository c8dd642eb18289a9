"""Import prompts from other tools. Each module reads one format and returns a draft.

A draft becomes the text of a task; its notes list what could not be imported.
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
    """Return the draft of a file or of a flow's folder; `node` selects a node of the flow."""
    if not path.exists():
        raise UsageError(f"{path}: file not found")
    name = path.name.lower()
    if path.is_dir() or name in FLOW:
        return read_flow(path, node)
    if node is not None:
        raise UsageError(f"--node works only with a flow, and {path} is not a flow")
    if name.endswith(".prompty"):
        return read_prompty(path)
    if name.endswith((".prompt.yml", ".prompt.yaml")):
        return read_github_models(path)
    raise UsageError(
        f"{path}: unknown format; distask import reads .prompty, .prompt.yml (GitHub Models), and Prompt Flow folders "
        f"with a {FLOW[0]}"
    )
