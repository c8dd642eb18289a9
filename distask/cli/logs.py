"""Write the log to stderr: with `-v` what is out of the ordinary, with `-vv` every call, and what the store had.

The log is that of the standard library, under `distask`; it holds no key, no chat and no reply.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
"""What is logged, by how often `-v` is said."""


class ConsoleHandler(logging.Handler):
    """Writes lines where progress is drawn, above it; made safe for a terminal, since servers' words are among them."""

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
    """Log what so many `-v` ask for."""
    logger = logging.getLogger("distask")
    logger.setLevel(LEVELS[min(verbosity, len(LEVELS) - 1)])
    _HANDLER.console = None
    if verbosity and _HANDLER not in logger.handlers:
        logger.addHandler(_HANDLER)
        logger.propagate = False


def through(console: Console) -> None:
    """Write by this console from now on: it may be drawing progress."""
    _HANDLER.console = console
