"""Print lines in colour on a terminal, and plain elsewhere, without loading rich.

Text from outside (rows, replies, file names, server messages) is made safe first: it can't move the cursor, open links,
set colours, or act as markup.
"""

from __future__ import annotations

import os
import sys

from distask.diagnostics import safe

Part = tuple[str, str]
"""A text and its style."""


def echo(*parts: Part) -> None:
    """Print a line to stdout."""
    if sys.stdout.isatty() or os.environ.get("FORCE_COLOR"):
        from rich.text import Text

        from distask.cli.display.console import out

        out().print(Text.assemble(*((safe(text), style) for text, style in parts)))
    else:
        sys.stdout.write("".join(safe(text) for text, _ in parts) + "\n")
