"""Find near-duplicates among many texts: their MinHash signatures are on disk, and few of them are compared.

A signature is cut into bands (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3). Texts are
compared only if they share a band. To find these texts, the hashes of all bands at the same place are sorted, at most
`SORTED_HASHES` at a time, which bounds the memory.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from distask.task.steps.key_table import KeyTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SEED = 42
BATCH_TEXTS = 1_024
BATCH_CHARACTERS = 1 << 18
"""Maximum number of texts, and approximate maximum of their characters, that wait for their signatures."""
BLOCK_TEXTS = 4_096
"""Number of signatures to read and hash at a time."""
SORTED_HASHES = 1 << 18
"""Approximate maximum number of hashes to sort at a time."""
SORTED_PAIRS = 1 << 15
"""Approximate maximum number of texts with their clusters to keep until they are written."""
_MULTIPLIER = 0x9E37_79B9_7F4A_7C15
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")
_ASCII_LETTERS = bytes(ord(chr(code).lower() if chr(code).isalnum() else " ") for code in range(128)).ljust(256)
"""For `bytes.translate`: lower-case letters and digits, and a space for any other ASCII character."""


class NearDuplicates:
    """Finds the texts that have no similar text before them.

    Args:
        words: the number of words in a sequence; see `shingles`.
        permutations: the number of hashes in a signature.
        threshold: the share of equal hashes from which two texts are similar.
    """

    def __init__(self, words: int, permutations: int, threshold: float) -> None:
        self._words, self._permutations, self._threshold = words, permutations, threshold
        self._bands = bands(threshold, permutations)
        self._has_text = bytearray()
        """For each row, 1 if it has a text and 0 if it has none."""
        self._waiting: list[list[str]] = []
        """The shingles of texts whose signatures are not computed yet."""
        self._waiting_characters = 0
        self._count = 0
        """Number of texts whose signatures are in the file."""
        self._signatures = tempfile.TemporaryFile(prefix="distask-")  # noqa: SIM115 - closed by `close`
        self._hashes = tempfile.TemporaryFile(prefix="distask-")  # noqa: SIM115 - closed by `close`
        """For each block of texts, the hashes of their first bands, then those of their second bands, and so on."""
        self._table = KeyTable()
        self._pairs: list[tuple[Any, Any]] = []
        """Arrays of texts and of their clusters that are not in the table yet."""
        self._pairs_count = 0

    def add(self, text: str | None) -> None:
        """Add the text of the next row; None if it has none, so that it has no duplicates."""
        self._has_text.append(text is not None)
        if text is not None:
            self._waiting.append(shingles(text, self._words))
            self._waiting_characters += len(text)
            if len(self._waiting) >= BATCH_TEXTS or self._waiting_characters >= BATCH_CHARACTERS:
                self._sign()

    def firsts(self) -> Iterator[int]:
        """Yield the rows, counted from 0, that have no text or whose text is not similar to one of an earlier row.

        Only the texts of rows that were yielded count as earlier texts.
        """
        self._sign()
        self._find_clusters()
        columns = "cluster INTEGER, text INTEGER, PRIMARY KEY (cluster, text)"
        self._table.execute(f"CREATE TABLE kept ({columns}) WITHOUT ROWID")
        pairs = self._table.select("SELECT text, cluster FROM clusters ORDER BY text, cluster")
        candidates = groupby(pairs, key=itemgetter(0))
        candidate, clusters = next(candidates, (-1, iter(())))
        text = -1
        for row, has_text in enumerate(self._has_text):
            text += has_text
            if has_text and text == candidate:
                is_new = self._is_new(text, [cluster for _, cluster in clusters])
                candidate, clusters = next(candidates, (-1, iter(())))
                if not is_new:
                    continue
            yield row

    def close(self) -> None:
        """Delete the files."""
        self._signatures.close()
        self._hashes.close()
        self._table.close()

    def _sign(self) -> None:
        """Append the signatures of the waiting texts to the file."""
        from rensa import RMinHash

        if self._waiting:
            digests = RMinHash.digests_from_token_sets(self._waiting, self._permutations, SEED)
            pack = struct.Struct(f"={self._permutations}I").pack
            self._signatures.write(b"".join([pack(*digest) for digest in digests]))
            self._count += len(self._waiting)
            self._waiting, self._waiting_characters = [], 0

    def _is_new(self, text: int, clusters: Sequence[int]) -> bool:
        """Return whether a text is not similar to a kept one of its clusters; keeps it if so."""
        marks = ", ".join("?" * len(clusters))
        near = f"SELECT DISTINCT text FROM kept WHERE cluster IN ({marks})"  # noqa: S608 - question marks only
        least, own = self._threshold * self._permutations, self._read_signatures(text, 1)[0]
        for (other,) in self._table.select(near, tuple(clusters)):
            if int((own == self._read_signatures(other, 1)[0]).sum()) >= least:
                return False
        self._table.insert("kept", 2, ((cluster, text) for cluster in clusters))
        return True

    def _read_signatures(self, first: int, count: int) -> Any:
        """Return the signatures of consecutive texts: uint32, of shape (count, permutations)."""
        import numpy as np

        size = 4 * self._permutations
        data = os.pread(self._signatures.fileno(), count * size, first * size)
        return np.frombuffer(data, np.uint32).reshape(count, self._permutations)

    # Which texts share bands

    def _find_clusters(self) -> None:
        """Fill the table `clusters`: for each set of texts that share a band, the texts and the hash of the set."""
        self._signatures.flush()
        columns = "text INTEGER, cluster INTEGER, PRIMARY KEY (text, cluster) ON CONFLICT IGNORE"
        self._table.execute(f"CREATE TABLE clusters ({columns}) WITHOUT ROWID")
        if self._count < 2:
            return
        for first in range(0, self._count, BLOCK_TEXTS):
            block = self._read_signatures(first, min(BLOCK_TEXTS, self._count - first))
            self._hashes.write(band_hashes(block, self._bands).tobytes())
        self._hashes.flush()
        parts = 1
        while self._count > parts * SORTED_HASHES:
            parts *= 2
        for band in range(self._bands):
            for part in range(parts):
                self._add_clusters(band, part, parts)
        self._insert_pairs()

    def _read_hashes(self, band: int, part: int, parts: int) -> Iterator[tuple[Any, Any]]:
        """Yield the hashes of all bands at a place and their texts, or the part of them with the same first bits."""
        import numpy as np

        for first in range(0, self._count, BLOCK_TEXTS):
            size = min(BLOCK_TEXTS, self._count - first)
            data = os.pread(self._hashes.fileno(), 8 * size, 8 * (first * self._bands + band * size))
            hashes, texts = np.frombuffer(data, np.uint64), np.arange(first, first + size)
            if parts > 1:
                chosen = hashes >> np.uint64(65 - parts.bit_length()) == np.uint64(part)
                hashes, texts = hashes[chosen], texts[chosen]
            yield hashes, texts

    def _add_clusters(self, band: int, part: int, parts: int) -> None:
        """Add the texts whose hashes of a band, in one part of them, are equal to those of other texts."""
        import numpy as np

        blocks, count = [], 0
        for block in self._read_hashes(band, part, parts):
            blocks.append(block)
            count += len(block[0])
            if count > 2 * SORTED_HASHES:
                self._add_large_clusters(band, part, parts)
                return
        hashes, texts = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
        repeated = _repeated(hashes)
        if not len(repeated):
            return
        chosen = np.isin(hashes, repeated)
        texts, places = texts[chosen], np.searchsorted(repeated, hashes[chosen])
        order = np.argsort(places, kind="stable")
        texts, places = texts[order], places[order]
        starts = np.searchsorted(places, np.arange(len(repeated)))
        sets = np.add.reduceat(_mixed(texts.astype(np.uint64)), starts)  # the same for each band that the texts share
        self._add_pairs(texts, _mixed(sets)[places])

    def _add_large_clusters(self, band: int, part: int, parts: int) -> None:
        """Do the same, a few blocks at a time, for hashes that so many texts have that they don't fit in memory."""
        import numpy as np

        known = repeated = np.empty(0, np.uint64)
        waiting, count = [known], 0
        for hashes, _ in self._read_hashes(band, part, parts):
            waiting.append(hashes)
            count += len(hashes)
            if count >= SORTED_HASHES:
                together = np.concatenate(waiting)
                repeated = np.union1d(repeated, _repeated(together))
                waiting, count = [np.unique(together)], 0
        repeated = np.union1d(repeated, _repeated(np.concatenate(waiting)))
        for hashes, texts in self._read_hashes(band, part, parts):
            chosen = np.isin(hashes, repeated)
            self._add_pairs(texts[chosen], _mixed(hashes[chosen] + np.uint64(band)))

    def _add_pairs(self, texts: Any, clusters: Any) -> None:
        """Add texts (int64) with the clusters that they are in (uint64)."""
        self._pairs.append((texts, clusters))
        self._pairs_count += len(texts)
        if self._pairs_count >= SORTED_PAIRS:
            self._insert_pairs()

    def _insert_pairs(self) -> None:
        """Write the clusters to the table."""
        import numpy as np

        if not self._pairs:
            return
        texts, clusters = (np.concatenate(arrays) for arrays in zip(*self._pairs, strict=True))
        order = np.lexsort((clusters, texts))
        texts, clusters = texts[order], clusters[order].view(np.int64)
        is_new = np.ones(len(texts), bool)
        is_new[1:] = (texts[1:] != texts[:-1]) | (clusters[1:] != clusters[:-1])
        self._table.insert("clusters", 2, zip(texts[is_new].tolist(), clusters[is_new].tolist(), strict=True))
        self._pairs, self._pairs_count = [], 0


def shingles(text: str, words: int) -> list[str]:
    """All sequences of `words` words; the complete text if it is shorter. Ignores case and punctuation."""
    if text.isascii():
        tokens = text.encode().translate(_ASCII_LETTERS).decode().split()
    else:
        letters = _NOT_ALPHANUMERIC.sub(" ", text)
        by_letter = "Σ" in letters  # its lower case depends on its neighbours
        tokens = ("".join(map(str.lower, letters)) if by_letter else letters.lower()).split()
    if len(tokens) <= words:
        return [" ".join(tokens)]
    if words == 3:  # the default: this takes half as long as joining lists
        return [f"{one} {two} {three}" for one, two, three in zip(tokens, tokens[1:], tokens[2:], strict=False)]
    return list(map(" ".join, zip(*(tokens[start:] for start in range(words)), strict=False)))


def bands(threshold: float, permutations: int) -> int:
    """The number of bands, chosen so that nearly all pairs at the threshold share a band.

    A pair of similarity s shares a band with probability 1 - (1 - s^r)^b, for b bands of r rows. Candidates are
    compared anyway, so it is cheapest to use the fewest bands that catch 99 in 100 pairs at the threshold.
    """
    for count in sorted(n for n in range(1, permutations + 1) if permutations % n == 0):
        if 1 - (1 - threshold ** (permutations // count)) ** count >= 0.99:
            return count
    return permutations


def band_hashes(signatures: Any, count: int) -> Any:
    """Return a hash of each band of signatures.

    Args:
        signatures: uint32, of shape (texts, permutations).
        count: the number of bands, a divisor of `permutations`.

    Returns:
        uint64, of shape (count, texts).
    """
    import numpy as np

    parts = signatures.reshape(len(signatures), count, -1)
    hashes = np.zeros(parts.shape[:2], np.uint64)
    for place in range(parts.shape[2]):
        hashes = _mixed(hashes ^ parts[:, :, place])
    return np.ascontiguousarray(hashes.T)


def _repeated(hashes: Any) -> Any:
    """Return the hashes that occur more than once, sorted."""
    import numpy as np

    ordered = np.sort(hashes)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def _mixed(values: Any) -> Any:
    """Return a hash of each integer (uint64)."""
    import numpy as np

    values = (values + np.uint64(1)) * np.uint64(_MULTIPLIER)
    values ^= values >> np.uint64(29)
    values *= np.uint64(_MULTIPLIER)
    return values ^ (values >> np.uint64(32))
