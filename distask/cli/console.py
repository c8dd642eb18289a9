"""Draw on a terminal. Text that came from outside is made safe first: it can't move the cursor or colour anything."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from distask.errors import DistaskError

_BIDI = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C, 0xFEFF}


def safe(text: str) -> str:
    """A text with every control character shown as an escape; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        c if c in "\n\t" or not _drives(c) else f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}" for c in text
    )


def _drives(character: str) -> bool:
    code = ord(character)
    return code < 0x20 or 0x7F <= code < 0xA0 or code in _BIDI or 0xD800 <= code < 0xE000


def plain(text: str, style: str = "") -> Text:
    """A text of anyone's, for the console: no markup in it is read."""
    return Text(safe(text), style=style)


def err() -> Console:
    """The console of all that is not data."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def out() -> Console:
    """The console of what a command prints as its result."""
    return Console(highlight=False, soft_wrap=True)


def tell_error(error: DistaskError) -> int:
    """Print an error of ours; its exit code."""
    from distask.errors import SpecError

    console = err()
    if isinstance(error, SpecError):
        for diagnostic in error.diagnostics:
            console.print(plain(str(diagnostic)))
            console.print()
        count = len(error.diagnostics)
        console.print(plain(f"{count} error{'s' if count != 1 else ''}; nothing was asked", "red"))
        return error.exit_code
    console.print(Text.assemble(("error: ", "bold red"), plain(str(error))))
    return error.exit_code


def tell_bug(error: Exception) -> int:
    """Print what should not have happened, without the values of variables: they may hold a key."""
    sys.stderr.write("error: this is a bug in distask; please report it with the lines below\n")
    sys.stderr.write(safe("".join(traceback.format_exception(error))))
    return 1
