"""Send outputs to places other than a local file. The output is written to a local file first and sent when complete.

Only complete files are sent, so the remote place never shows a partial result. If sending fails, the same command sends
the stored replies again and requests none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from distask.data.objects import ObjectStore, is_object
from distask.data.readers.hub import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping


OUTPUTS = Path(".distask") / "outputs"
"""Where outputs that will be sent are written first."""


class Destination(Protocol):
    """A remote place for one output."""

    @property
    def local(self) -> Path:
        """The local file that is written first."""

    def check(self, *, overwrite: bool) -> None:
        """Raise `UsageError` if the output can't be sent there; called before any request."""

    def send(self, record: Path, run: Mapping[str, Any]) -> str:
        """Send the file at `local` with its record and return the address. Raises `OutputError`."""


def destination(output: str | None, *, private: bool = False) -> Destination | None:
    """Return the remote place that an output names; None for a file, stdout, or rows returned to the caller."""
    if output is None:
        return None
    if output.startswith(PREFIX):
        from distask.data.push import HubRepository

        return HubRepository.named(output, OUTPUTS, private=private)
    if is_object(output):
        return ObjectStore(output, OUTPUTS)
    return None
