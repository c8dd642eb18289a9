"""Print to a terminal.

Text from outside is made safe first, as described in `lines`.
"""

from __future__ import annotations

import sys
import traceback
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from rich.console import Console
from rich.text import Text

from distask.diagnostics import safe
from distask.formatting import several

if TYPE_CHECKING:
    from distask.errors import DistaskError, SpecError


class Terminal(Console):
    """A console that goes quiet, without an error, when its output is closed."""

    def on_broken_pipe(self) -> None:
        """Stop writing: a run continues without its terminal."""
        self.quiet = True


class TolerantStream:
    """A stream that ignores write errors, so that a closed terminal or a full disk does not end a run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = False

    def write(self, text: str) -> int:
        """Write the text, unless an earlier write failed."""
        if not self._lost:
            try:
                return self._stream.write(text)
            except (OSError, ValueError):  # ValueError: closed by this process
                self._lost = True
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless an earlier write failed."""
        if not self._lost:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._lost = True

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the stream."""
        return getattr(self._stream, name)


def err() -> Console:
    """Return the console for everything that is not data."""
    stream = None if sys.stderr is None else cast("IO[str]", TolerantStream(sys.stderr))  # None if it was closed
    return Terminal(file=stream, stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)


def out() -> Console:
    """Return the console for the result of a command."""
    return Terminal(markup=False, highlight=False, emoji=False, soft_wrap=True)


def plain(text: str, style: str = "") -> Text:
    """Return a text that is safe for the console."""
    return Text(safe(text), style=style)


def short(text: str, longest: int = 300) -> str:
    """Return the text on one line, cut at `longest` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def report_error(error: DistaskError) -> int:
    """Print a distask error and its fix; returns the exit code."""
    from distask.errors import SpecError

    console = err()
    if isinstance(error, SpecError):
        _report_spec(error, console)
    elif error.exit_code == 130:
        console.print(plain(str(error), "bold yellow"))
    else:
        message = str(error)
        if ": error: " in message.partition("\n")[0]:  # it already has its location and heading
            console.print(_marked(message))
        else:
            console.print(Text.assemble(("error: ", "bold red"), plain(message)))
    for note in getattr(error, "__notes__", ()):
        console.print(plain(note))
    return error.exit_code


def report_bug(error: Exception) -> int:
    """Print an unexpected error, without the values of variables: they may hold a key."""
    console = err()
    console.print(plain("".join(traceback.format_exception(error)).rstrip(), "dim"))
    console.print(
        Text.assemble(
            ("error: ", "bold red"),
            plain(f"this is a bug in distask ({type(error).__name__}); please report it with the lines above"),
        )
    )
    return 1


def _report_spec(error: SpecError, console: Console) -> None:
    counts: dict[str, int] = {}
    for diagnostic in error.diagnostics:
        console.print(_marked(str(diagnostic)))
        console.print()
        if diagnostic.severity == "error" and diagnostic.line:
            counts[diagnostic.file] = counts.get(diagnostic.file, 0) + 1
    for file, count in counts.items():
        console.print(plain(f"{several(count, 'error')} in {file}", "red"))


def _marked(message: str) -> Text:
    """Return a diagnostic with its severity in colour."""
    text = plain(message)
    text.highlight_words([": error:"], "bold red")
    text.highlight_words([": warning:"], "bold yellow")
    return text
