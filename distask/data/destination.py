"""Where an output goes that is not one file of this machine: it is written to a file first, and sent when complete.

What is sent is the finished file, so that a far place never shows half a result, and so that nothing is asked again
where only the sending failed: the same command sends again what is in the store.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from distask.data.objects import ObjectStore, is_object
from distask.data.readers.hub import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

OUTPUTS = Path(".distask") / "outputs"
"""Where outputs are written that are sent on."""


class Destination(Protocol):
    """A far place for one output."""

    @property
    def local(self) -> Path:
        """The file that is written first."""

    def check(self, *, overwrite: bool) -> None:
        """Raise `UsageError` where it can't be sent there; asked before any call."""

    def send(self, record: Path, run: Mapping[str, Any]) -> str:
        """Send the file that is at `local`, with its record; gives the address. Raises `OutputError`."""


def destination(output: str | None, *, private: bool = False) -> Destination | None:
    """The far place that an output names; None where it is a file, stdout, or rows for the caller."""
    if output is None:
        return None
    if output.startswith(PREFIX):
        from distask.data.push import HubRepository

        return HubRepository.named(output, OUTPUTS, private=private)
    if is_object(output):
        return ObjectStore(output, OUTPUTS)
    if output.endswith("/"):
        from distask.data.folder import DatasetFolder

        return DatasetFolder.named(output)
    return None
