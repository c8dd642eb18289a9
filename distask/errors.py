"""The exceptions that distask raises.

    DistaskError
    ├── UsageError            2: wrong usage, found before any request
    │   ├── SpecError         an invalid task spec, with all diagnostics
    │   ├── ConfigError       a wrong or missing LLM config, option or variable
    │   ├── InputError        data that can't be read, with file, line and column
    │   └── OutputBusy        another run is writing the output
    ├── RunError              1: the run can't continue; received replies are kept
    │   ├── EndpointError     wrong key, model, quota or server address
    │   ├── StoreError        the store can't be opened, read or written
    │   └── OutputError       the output can't be written
    └── RowError              an error in one row; the run continues
        └── InvalidReply      a reply rejected by a parser, a type or a check

The number is the exit code of the command line.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class DistaskError(Exception):
    """Base class. `exit_code` is the exit code of the command line; `kind` is a short, stable name for programs."""

    exit_code: ClassVar[int] = 1
    kind: str = "run"


class UsageError(DistaskError):
    """Wrong usage, found before any request is sent."""

    exit_code: ClassVar[int] = 2
    kind = "usage"


class SpecError(UsageError):
    """An invalid spec; `diagnostics` has a `distask.diagnostics.Diagnostic` for each error, in file order."""

    kind = "spec"

    def __init__(self, diagnostics: Sequence[Any]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n\n".join(str(d) for d in self.diagnostics))


class ConfigError(UsageError):
    """A wrong or missing LLM config, option or environment variable."""

    kind = "config"


class InputError(UsageError):
    """Data that can't be read. The message starts with `file:line:column:` if these are known."""

    kind = "input"


class OutputBusy(UsageError):  # noqa: N818 - a state, not a failure
    """Another run is writing the output."""


class RunError(DistaskError):
    """The run can't continue. All received replies are in the store."""

    stats: Any = None
    """The `distask.runner.stats.Stats` up to the error, or None."""
    partial: Path | None = None
    """The file with the finished rows."""


class EndpointError(RunError):
    """The endpoint rejects every request: wrong key, quota, model or address."""

    kind = "endpoint"


class StoreError(RunError):
    """The store can't be opened, read or written."""

    kind = "store"


class OutputError(RunError):
    """The output can't be written."""

    kind = "output"


class RowError(DistaskError):
    """An error in one row: `kind` is a short, stable name for counting; the message is for people."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(message)


class Progress(IntEnum):
    """How much of an invalid reply a parser could read."""

    UNUSED = 0
    """The server did not send the data that the parser needs."""
    NOTHING = 1
    """Nothing was found."""
    PART = 2
    """Some values were found, or broken ones."""
    VALUES = 3
    """The values were found but rejected by their types or by a check."""


class InvalidReply(RowError):  # noqa: N818 - the reply is invalid, not the program
    """A reply rejected by the parser, a column's type or a check."""

    def __init__(self, kind: str, message: str, progress: Progress = Progress.NOTHING) -> None:
        super().__init__(kind, message)
        self.progress = progress
        self.parser: Any = None
        """The spec's parser that produced the message; None if unknown."""
