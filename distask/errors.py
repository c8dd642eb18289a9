"""Every error that distask raises on purpose.

    DistaskError
    ├── UsageError            2: wrong usage, before any call
    │   ├── SpecError         a spec that is wrong, with all its diagnostics
    │   ├── ConfigError       an LLM config, a flag or a variable that is wrong or missing
    │   ├── InputError        data that can't be read, with file, line and column
    │   └── OutputBusy        another run is writing the output
    ├── RunError              1: the run can't go on; what was paid for is kept
    │   ├── EndpointError     the key, the model, the quota or the server's address
    │   ├── StoreError        the store can't be opened, read or written
    │   └── OutputError       the result can't be written
    └── RowError              one row's own; the run goes on
        └── InvalidReply      a reply that the parser, a type or a check refuses

The number is the exit code of the command line.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class DistaskError(Exception):
    """The root of the tree; `exit_code` is what the command line ends with, `kind` a short stable word for programs."""

    exit_code: ClassVar[int] = 1
    kind: str = "run"


class UsageError(DistaskError):
    """Wrong usage, told before any call."""

    exit_code: ClassVar[int] = 2
    kind = "usage"


class SpecError(UsageError):
    """An invalid spec; `diagnostics` has a `distask.diagnostics.Diagnostic` for each fault, in the file's order."""

    kind = "spec"

    def __init__(self, diagnostics: Sequence[Any]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n\n".join(str(d) for d in self.diagnostics))


class ConfigError(UsageError):
    """An LLM config, a flag or an environment variable that is wrong or missing."""

    kind = "config"


class InputError(UsageError):
    """Data that can't be read. The message begins with `file:line:column:` where they are known."""

    kind = "input"


class OutputBusy(UsageError):  # noqa: N818 - it is; nothing went wrong
    """Another run is writing the output."""


class RunError(DistaskError):
    """The run can't go on; every completion that arrived is in the store."""

    stats: Any = None
    """The counts up to there, a `distask.runner.stats.Stats`; None where nothing was counted."""
    partial: Path | None = None
    """The file that holds the rows that are done."""


class EndpointError(RunError):
    """The endpoint refuses every request: key, quota, model or address."""

    kind = "endpoint"


class StoreError(RunError):
    """The store can't be opened, read or written."""

    kind = "store"


class OutputError(RunError):
    """The result can't be written."""

    kind = "output"


class RowError(DistaskError):
    """One row's own failure: `kind` is a short stable word for counting, the message is for people."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(message)


class Progress(IntEnum):
    """How far a parser came with a reply that it could not use."""

    UNUSED = 0
    """The server did not send what the parser reads."""
    NOTHING = 1
    """It found nothing of what it looks for."""
    PART = 2
    """It found some of it, or something that is broken."""
    VALUES = 3
    """It found the values, and their types or a check refuse them."""


class InvalidReply(RowError):  # noqa: N818 - a reply is invalid; it is no program error
    """A reply that the parser, a column's type or a check refuses."""

    def __init__(self, kind: str, message: str, progress: Progress = Progress.NOTHING) -> None:
        super().__init__(kind, message)
        self.progress = progress
        self.parser: Any = None
        """The parser of the spec whose message this is; None where the spec is not known."""
