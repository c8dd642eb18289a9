"""Make the README's picture from what the commands print today: `python tests/test_docs.py` writes it anew."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 100
COMMANDS = [
    "distask validate tasks/ultrafeedback.yaml --input examples/generations.jsonl",
    "distask dry-run tasks/text-generation.yaml --input examples/instructions.jsonl --config offline --limit 1",
    "distask run tasks/text-generation.yaml --input examples/instructions.jsonl --config offline -o answers.jsonl",
]
FONT_FACES = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)
"""What would be fetched from the network by whoever looks at the picture."""


def picture() -> str:
    """The commands and their output as an SVG; times are said as 0.1 s, so that the same output is the same picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("examples", "tasks"):
            shutil.copytree(ROOT / name, Path(folder, name))
        for index, command in enumerate(COMMANDS):
            console.print(Text.assemble("\n" if index else "", ("$ ", "green"), (command, "bold")))
            console.print(Text.from_ansi(_said(command, folder)))
    drawn = console.export_svg(title="distask", unique_id="run")
    return "\n".join(line.rstrip() for line in FONT_FACES.sub("", drawn).splitlines()) + "\n"


def _said(command: str, folder: str) -> str:
    arguments = shlex.split(command)[1:]
    settings = {"FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI", "NO_COLOR"))} | settings
    done = subprocess.run(  # noqa: S603 - the commands above
        [sys.executable, "-m", "distask", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
        timeout=120,
    )
    return re.sub(r"\d+\.\d s\b", "0.1 s", done.stdout.decode()).rstrip("\n")
