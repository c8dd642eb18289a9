"""Documents as the input of commands: whatever takes rows takes them."""

from __future__ import annotations

import json

import pytest

from tests.data.documents import make


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "handbook").mkdir()
    (tmp_path / "handbook/leave.md").write_text("# Leave\n\nThirty days.\n\n## Sick\n\nCall us.\n")
    (tmp_path / "handbook/rules.pdf").write_bytes(make.pdf([[(12, 72, 700, "Be kind.")], [(12, 72, 700, "Be brief.")]]))
    (tmp_path / "chunks.yaml").write_text("inputs: {text: It.}\nsteps:\n- chunk: {from: text, unit: headings}\n- drop: text\n")
    (tmp_path / "look.yaml").write_text(
        "inputs: {text: It., image: {type: any}}\n"
        "format_input:\n- role: user\n  content:\n  - text: 'Page {{ page }}: {{ text }}'\n  - image: '{{ image }}'\n"
        "outputs: {reply: It.}\nformat_output: {parser: text}\n"
    )
    return tmp_path
