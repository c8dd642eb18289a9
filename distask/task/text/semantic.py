"""Remove rows whose texts mean nearly the same as an earlier one: the step `dedup` with `method: semantic`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from distask.spec.language.steps import DUPLICATE_COLUMN
from distask.task.steps.barriers import KeyedBarrier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from distask.spec.language.steps import Dedup
    from distask.task.steps.flow import Count
    from distask.task.steps.item import Item
    from distask.task.text.embeddings import Embedder
    from distask.task.text.similarity import ArrayFile, Match

SIMILAR_MEANINGS = 0.9
"""The default similarity from which two texts count as duplicates."""
BATCH_TEXTS = 256
BATCH_CHARACTERS = 1 << 20
"""Texts are embedded as soon as so many of them wait, or texts with so many characters."""
SHOWN_CHARACTERS = 500
"""Length of a kept text's beginning in the column of `then: mark`."""

DUPLICATE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"row": {"type": "string"}, "similarity": {"type": "number"}, "text": {"type": "string"}},
}


class Semantic(KeyedBarrier):
    """Keeps the first of texts with similar embeddings, or marks the others. Rows without text are always kept.

    Only vectors are kept, in a temporary file; with `then: mark`, the beginnings of the texts are as well.
    """

    columns = ("shown",)

    def __init__(self, count: Count, dedup: Dedup, threshold: float | None, embedder: Embedder) -> None:
        super().__init__(count)
        self._by = dedup.by
        self._marks = self.changes_rows = dedup.then == "mark"
        self._threshold = SIMILAR_MEANINGS if threshold is None else threshold
        self._embedder = embedder
        self._waiting: list[str] = []
        """Texts to embed; an empty one for a row without a text."""
        self._characters = 0
        self._vectors: ArrayFile | None = None
        self._number = 0
        self._match: Match | None = None
        """The number and the match of the row that passes."""
        self._simulated = False

    def prepare(self, notify: Callable[[str], None] | None = None) -> None:
        """Load the model, so that errors in it are reported before the first request."""
        self._embedder.load(notify)

    def simulate(self) -> None:
        """Keep all rows, and load no model."""
        self._simulated = True

    def look(self, values: Mapping[str, Any]) -> None:
        """Record the row's text."""
        self.seen += 1
        if self._simulated:
            return
        text = text_of(values, self._by)
        self._waiting.append(text)
        self._characters += len(text)
        if len(self._waiting) >= BATCH_TEXTS or self._characters >= BATCH_CHARACTERS:
            self._embed()

    def order(self) -> Iterator[Sequence[int]]:
        """The rows that are kept; with `then: mark`, all rows."""
        if self._simulated:
            yield from ((number,) for number in range(self.seen))
            return
        from distask.task.text.similarity import find_matches

        if self._waiting:
            self._embed()
        if self._vectors is None:
            return
        for number, match in enumerate(find_matches(self._vectors, self._threshold, nearest=self._marks)):
            self._number, self._match = number, match
            if match is None or self._marks:
                yield (number,)

    def joined(self, items: Sequence[Item]) -> Item:
        """The row; with `then: mark`, with the column that names the row it repeats, or null."""
        (item,) = items
        if self._marks:
            if self._match is None and not self._simulated:  # a row that later ones may repeat
                shown = {"row": item.lineage.index, "text": text_of(item.values, self._by)[:SHOWN_CHARACTERS]}
                self._table.add(self._number, json.dumps(shown).encode())
            item.values = {**item.values, DUPLICATE_COLUMN: None if self._match is None else self._shown(self._match)}
        return item

    def close(self) -> None:
        """Delete the vectors."""
        super().close()
        if self._vectors is not None:
            self._vectors.close()

    def _shown(self, match: Match) -> dict[str, Any]:
        ((shown,),) = self._table.select("SELECT shown FROM seen WHERE number = ?", (match.number,))
        kept = json.loads(shown)
        return {"row": kept["row"], "similarity": round(match.similarity, 3), "text": kept["text"]}

    def _embed(self) -> None:
        """Add the vectors of the texts that wait to the file."""
        from distask.task.text.similarity import ArrayFile, rounded

        vectors = rounded(self._embedder.embed(self._waiting))
        if self._vectors is None:
            self._vectors = ArrayFile("int16", vectors.shape[1])
        self._vectors.append(vectors)
        self._waiting.clear()
        self._characters = 0


def text_of(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Return the text of a row to compare; empty if a column has no value. Other values than texts count as JSON."""
    values = [row.get(name) for name in columns]
    if any(value is None for value in values):
        return ""
    return "\n".join(v if isinstance(v, str) else json.dumps(v, default=str, ensure_ascii=False) for v in values)
