"""Show what steps did or would do: in the summary, during a run, and in a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distask.diagnostics import safe
from distask.formatting import several

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distask.task.steps.flow import Count

INDENT = "  "
QUIET = ("check", "count_tokens", "set", "keep", "drop", "rename")
"""Steps that change only the columns of a row."""
WAITING = ("group", "dedup", "sort", "sample", "limit")
"""Steps that wait for all rows."""


def lines(counts: Sequence[Count]) -> Iterator[tuple[str, str]]:
    """Yield a line for each step that does something: rows in and out, and what happened."""
    for number, count in enumerate(count for count in counts if not _is_quiet(count)):
        yield "steps" if number == 0 else "", f"{INDENT * count.depth}{safe(count.name)}: {_did(count)}"


def _is_quiet(count: Count) -> bool:
    """Whether a step only changed the columns of every row."""
    return (
        count.kind in ("check", "count_tokens", "set", "keep", "drop", "rename")
        and count.came == count.went
        and not count.failed
    )


def _did(count: Count) -> str:
    parts = [several(count.came, "row")]
    if count.went != count.came:
        parts = [f"{count.came:,} in, {count.went:,} out"]
    if count.kind not in ("task", count.name.replace("-", "_")):
        parts.insert(0, count.kind)
    if count.asked != count.came and count.most != 0:
        parts.append(f"{count.asked:,} sent to the model")
    if count.skipped:
        parts.append(f"{count.skipped:,} skipped")
    if count.failed:
        parts.append(f"{count.failed:,} failed")
    return ", ".join(parts)


def now(counts: Sequence[Count]) -> str:
    """Return the progress of the steps that call a model or wait for all rows, as one line."""
    shown = [count for count in counts if count.most != 0 or count.kind in WAITING]
    return " → ".join(f"{safe(c.name)} {c.went:,}/{c.came:,}" for c in shown)
