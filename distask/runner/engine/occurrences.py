"""Tell equal requests of one run apart: the first is occurrence 0, the second 1.

A run may hold millions of requests, so the ones seen are kept in a flat table of 8 bytes each, not in a Python set of
ten times that.
"""

from __future__ import annotations

from array import array

_FIRST_SIZE = 1 << 12
_FULLEST = 0.66
"""The share of the table that may be taken before it doubles."""


class Occurrences:
    """How often each fingerprint has come so far.

    Fingerprints are told apart by their first 8 bytes: among a million, two meet by chance once in thirty million runs,
    and the harm is then a completion kept under another occurrence.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * _FIRST_SIZE))
        self._seen = 0
        self._again: dict[int, int] = {}

    def next(self, fingerprint: bytes) -> int:
        """How often this fingerprint (16 bytes) came before; counts this time."""
        word = int.from_bytes(fingerprint[:8], "little") or 1
        if not self._insert(word):
            self._again[word] = self._again.get(word, 0) + 1
            return self._again[word]
        self._seen += 1
        if self._seen > len(self._table) * _FULLEST:
            self._grow()
        return 0

    def _insert(self, word: int) -> bool:
        table, mask = self._table, len(self._table) - 1
        slot = word & mask
        while table[slot]:
            if table[slot] == word:
                return False
            slot = (slot + 1) & mask
        table[slot] = word
        return True

    def _grow(self) -> None:
        words = self._table
        self._table = array("Q", bytes(16 * len(words)))
        for word in words:
            if word:
                self._insert(word)
