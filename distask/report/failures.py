"""Count failed generations by kind and message, with a few examples of each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

if TYPE_CHECKING:
    from distask.report.result import Reply

EXAMPLES = 3
MESSAGES_SHOWN = 5
MESSAGES_KEPT = 5_000
"""Messages of a kind that are counted separately; the rest count as others."""
RAW_SHOWN = 2_000
"""Maximum characters of a failed reply shown in an example; the row has all of it."""


class _Kind(Struct):
    count: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    """Each with a different message."""
    like_them: list[dict[str, Any]] = field(default_factory=list)
    """With messages that already have an example."""


class FailureTally:
    """All failures of a result."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def add(self, row: int, sample: int, reply: Reply) -> None:
        """Count a reply if it failed. `row` is the number of the output row, from 0."""
        if reply.kind is None:
            return
        kind = self._kinds.setdefault(reply.kind, _Kind())
        kind.count += 1
        message = reply.message or ""
        known = message in kind.messages
        if known or len(kind.messages) < MESSAGES_KEPT:
            kind.messages[message] += 1
        examples = kind.like_them if known else kind.examples
        if len(examples) < EXAMPLES:
            raw = reply.raw
            cut = raw is not None and len(raw) > RAW_SHOWN
            shown = raw[:RAW_SHOWN] if raw is not None else None
            examples.append({"row": row, "sample": sample, "message": message, "raw": shown, "cut": cut})

    @property
    def count(self) -> int:
        """Number of failed generations."""
        return sum(kind.count for kind in self._kinds.values())

    def facts(self) -> list[dict[str, Any]]:
        """Return the kinds, most common first, each with its most common messages and its examples."""
        return [
            {
                "kind": name,
                "count": kind.count,
                "messages": [{"message": m, "count": c} for m, c in kind.messages.most_common(MESSAGES_SHOWN)],
                "messages_more": kind.count - sum(c for _, c in kind.messages.most_common(MESSAGES_SHOWN)),
                "examples": [*kind.examples, *kind.like_them][:EXAMPLES],
            }
            for name, kind in sorted(self._kinds.items(), key=lambda pair: (-pair[1].count, pair[0]))
        ]
