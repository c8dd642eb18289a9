"""Build the page from its HTML, style and script, with a policy that allows these and nothing from any network."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.task.task import Task
from distask.web.page import read_asset, read_assets, script_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distask.labeling.questions import Question
    from distask.task.pipeline import Pipeline

ASSETS = Path(__file__).resolve().parent / "assets"
SCRIPTS = ("server.js", "blocks.js", "questions.js", "main.js")
"""In page order; they share one scope."""


def page_facts(
    task: Task | Pipeline, questions: Sequence[Question], annotator: str, labels: Path
) -> dict[str, Any]:  # fmt: skip
    """Return what the page says about the task, its questions and the labels file."""
    return {
        "task": task.name,
        "description": task.spec.description,
        "questions": [question.to_json() for question in questions],
        "annotator": annotator,
        "file": labels.name,
        "has_prompt": isinstance(task, Task),
    }


class Page(Struct, frozen=True):
    """A page and the headers that protect it."""

    body: bytes
    headers: dict[str, str]


def build_page(facts: Mapping[str, Any]) -> Page:
    """Build the page.

    Args:
        facts: plain data for the script: the task, the questions, the session's secret.
    """
    assets = read_assets(ASSETS, ["label.css"], SCRIPTS)
    parts = {
        "title": html.escape(str(facts["task"])),
        "style": assets.style,
        "facts": script_data(facts).decode(),
        "script": assets.script,
    }
    text = re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], read_asset(ASSETS, "label.html"))
    policy = assets.policy(img_src="data:", media_src="data:", connect_src="'self'", frame_ancestors="'none'")
    return Page(text.encode("utf-8", "replace"), {**PROTECTION, "Content-Security-Policy": policy})


PROTECTION = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every answer: it is not stored, not framed, and its address is not sent to other sites."""
