"""Print lines in colour on a terminal, and plain elsewhere, where the library that draws is not even loaded.

Text from outside (rows, replies, file names, a server's words) is made safe first: it moves no cursor, opens no link,
colours nothing, and is never read as markup.
"""

from __future__ import annotations

import os
import sys

from distask.diagnostics import safe

Part = tuple[str, str]
"""A text of anyone's, and its style."""


def say(*parts: Part) -> None:
    """Print a line on stdout."""
    if sys.stdout.isatty() or os.environ.get("FORCE_COLOR"):
        from rich.text import Text

        from distask.cli.display.console import out

        out().print(Text.assemble(*((safe(text), style) for text, style in parts)))
    else:
        sys.stdout.write("".join(safe(text) for text, _ in parts) + "\n")
