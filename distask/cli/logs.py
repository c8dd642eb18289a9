"""Write the log to stderr: with `-v` unusual events, with `-vv` every call and every reply from the store.

The log uses the standard library's `logging`, under `distask`; it holds no keys, chats or replies.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
"""Log level by number of `-v`."""


class ConsoleHandler(logging.Handler):
    """Writes lines above the progress display, made safe for a terminal since they include text from servers."""

    def __init__(self) -> None:
        super().__init__()
        self.console: Console | None = None
        self.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)-5s %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        from distask.cli.display.console import err, plain

        if self.console is None:
            self.console = err()
        self.console.print(plain(self.format(record), "dim"))


_HANDLER = ConsoleHandler()


def begin(verbosity: int) -> None:
    """Log at the level of this many `-v`."""
    logger = logging.getLogger("distask")
    logger.setLevel(LEVELS[min(verbosity, len(LEVELS) - 1)])
    _HANDLER.console = None
    if verbosity and _HANDLER not in logger.handlers:
        logger.addHandler(_HANDLER)
        logger.propagate = False


def through(console: Console) -> None:
    """Write to this console from now on: it may show progress."""
    _HANDLER.console = console
