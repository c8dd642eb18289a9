"""Find texts that share long sequences of words with benchmarks, and where (GPT-3's 13-grams, arXiv:2005.14165)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from distask.llm.tokens import FIRST_WIDE, LAST_WIDE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SHORTEST = 5
"""Words. A benchmark's text that is shorter than a sequence is compared as a whole, unless it is shorter than this."""
_WORDS = re.compile(rf"[{FIRST_WIDE}-{LAST_WIDE}]|[^\W_]+")
"""Words, and single characters of scripts without spaces."""


class Overlap(NamedTuple):
    """A part of a text that is in a benchmark."""

    source: str
    """The benchmark's file and line."""
    start: int
    end: int
    """Where it is in the text, in Unicode code points."""


class Index:
    """The word sequences of benchmarks; case and punctuation are ignored.

    Args:
        words: the number of words in a sequence.
    """

    def __init__(self, words: int) -> None:
        self._words = words
        self._sources: list[str] = []
        self._grams: dict[int, dict[int, int]] = {}
        """Number of words to the hash of a sequence to the number of its first source."""

    def add(self, text: str, source: str) -> None:
        """Add the sequences of a benchmark's text."""
        words = [match[0].lower() for match in _WORDS.finditer(text)]
        size = min(self._words, len(words))
        if size < min(SHORTEST, self._words):
            return
        if not self._sources or self._sources[-1] != source:
            self._sources.append(source)
        known = self._grams.setdefault(size, {})
        for start in range(len(words) - size + 1):
            known.setdefault(hash(tuple(words[start : start + size])), len(self._sources) - 1)

    def overlaps(self, text: str) -> list[Overlap]:
        """Return the parts of a text that are in a benchmark, in order; parts that touch are joined."""
        matches = list(_WORDS.finditer(text))
        words = [match[0].lower() for match in matches]
        found: list[Overlap] = []
        for start, end, source in sorted(self._found(words)):
            begin, stop = matches[start].start(), matches[end - 1].end()
            if found and found[-1].source == self._sources[source] and begin <= found[-1].end:
                found[-1] = found[-1]._replace(end=max(stop, found[-1].end))
            else:
                found.append(Overlap(self._sources[source], begin, stop))
        return found

    def _found(self, words: list[str]) -> Iterator[tuple[int, int, int]]:
        for size, known in self._grams.items():
            for start in range(len(words) - size + 1):
                source = known.get(hash(tuple(words[start : start + size])))
                if source is not None:
                    yield start, start + size, source


def index_rows(rows: Iterable[tuple[str, Mapping[str, Any]]], columns: Iterable[str] | None, words: int) -> Index:
    """Index the texts of benchmark rows, each with its place; `columns` of None takes all columns with texts."""
    index = Index(words)
    for place, values in rows:
        for name in values if columns is None else columns:
            value = values.get(name)
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str):
                    index.add(text, place)
    return index
