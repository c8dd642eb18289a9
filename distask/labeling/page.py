"""Build the page from its HTML, style and script, with a policy that allows these and nothing from any network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distask.labeling.questions import Question
    from distask.task.pipeline import Pipeline

ASSETS = Path(__file__).resolve().parent / "assets"
SCRIPTS = ("dom.js", "blocks.js", "questions.js", "main.js")
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
    style = _asset("label.css")
    script = '"use strict";\n(() => {\n' + "\n".join(_asset(name) for name in SCRIPTS) + "\n})();\n"
    parts = {"title": html.escape(str(facts["task"])), "style": style, "facts": _as_data(facts), "script": script}
    text = re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], _asset("label.html"))
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash(script)}",
            f"style-src {_hash(style)}",
            "img-src data:",
            "media-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
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


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8").strip()


def _as_data(facts: Mapping[str, Any]) -> str:
    """Return JSON that is safe inside a `<script>`: no character can begin a tag, a comment or an entity."""
    made = json.dumps(facts, default=str)
    return made.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
