"""Draw on a terminal.

Text from outside is made safe first, as `lines` says it.
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
    """A console that falls silent, and ends nothing, when what it writes to is closed."""

    def on_broken_pipe(self) -> None:
        """Write nothing more: a run goes on without its terminal."""
        self.quiet = True


class TolerantStream:
    """A stream that is lost, not the run, where it can't be written: a terminal that was closed, a log's full disk."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = False

    def write(self, text: str) -> int:
        """Write, while that can be done."""
        if not self._lost:
            try:
                return self._stream.write(text)
            except (OSError, ValueError):  # ValueError: it was closed in this process
                self._lost = True
        return len(text)

    def flush(self) -> None:
        """Flush, while that can be done."""
        if not self._lost:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._lost = True

    def __getattr__(self, name: str) -> Any:
        """All else is the stream's own."""
        return getattr(self._stream, name)


def err() -> Console:
    """The console of all that is not data."""
    stream = (
        None if sys.stderr is None else cast("IO[str]", TolerantStream(sys.stderr))
    )  # it is None where it was closed
    return Terminal(file=stream, stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)


def out() -> Console:
    """The console of what a command prints as its result."""
    return Terminal(markup=False, highlight=False, emoji=False, soft_wrap=True)


def plain(text: str, style: str = "") -> Text:
    """A text of anyone's, for the console."""
    return Text(safe(text), style=style)


def short(text: str, longest: int = 300) -> str:
    """The text on one line, its end cut."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def report_error(error: DistaskError) -> int:
    """Print an error of ours and what to do; its exit code."""
    from distask.errors import SpecError

    console = err()
    if isinstance(error, SpecError):
        _tell_spec(error, console)
    elif error.exit_code == 130:
        console.print(plain(str(error), "bold yellow"))
    else:
        message = str(error)
        if ": error: " in message.partition("\n")[0]:  # it has its place and its heading already
            console.print(_marked(message))
        else:
            console.print(Text.assemble(("error: ", "bold red"), plain(message)))
    for note in getattr(error, "__notes__", ()):
        console.print(plain(note))
    return error.exit_code


def report_bug(error: Exception) -> int:
    """Print what should not have happened, without the values of variables: they may hold a key."""
    console = err()
    console.print(plain("".join(traceback.format_exception(error)).rstrip(), "dim"))
    console.print(
        Text.assemble(
            ("error: ", "bold red"),
            plain(f"this is a bug in distask ({type(error).__name__}); please report it with the lines above"),
        )
    )
    return 1


def _tell_spec(error: SpecError, console: Console) -> None:
    counts: dict[str, int] = {}
    for diagnostic in error.diagnostics:
        console.print(_marked(str(diagnostic)))
        console.print()
        if diagnostic.severity == "error" and diagnostic.line:
            counts[diagnostic.file] = counts.get(diagnostic.file, 0) + 1
    for file, count in counts.items():
        console.print(plain(f"{several(count, 'error')} in {file}", "red"))


def _marked(message: str) -> Text:
    """A diagnostic, its severity in colour."""
    text = plain(message)
    text.highlight_words([": error:"], "bold red")
    text.highlight_words([": warning:"], "bold yellow")
    return text
