"""Near-duplicates are the ones that comparing every signature finds, whatever is on disk in between."""

from __future__ import annotations

import random
import re
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rensa import RMinHash

from distask.task.text import minhash
from distask.task.text.minhash import NearDuplicates, shingles

WORDS = [f"{beginning}{end}" for beginning in ("ba", "ke", "li", "mo") for end in ("dar", "fin", "gol", "nex")]


def texts(count, seed=1):
    """Texts of 60 words, of which some repeat an earlier one with one other word, and some rows without a text."""
    drawn, made = random.Random(seed), []
    for _ in range(count):
        kind, earlier = drawn.random(), [text for text in made if text is not None]
        if kind < 0.1:
            made.append(None)
        elif kind < 0.5 and earlier:
            words = drawn.choice(earlier).split()
            words[drawn.randrange(60)] = drawn.choice(WORDS)
            made.append(" ".join(words))
        else:
            made.append(" ".join(drawn.choices(WORDS, k=60)))
    return made


def firsts(rows, threshold=0.8, permutations=128):
    found = NearDuplicates(3, permutations, threshold)
    try:
        for text in rows:
            found.add(text)
        return list(found.firsts())
    finally:
        found.close()


def compared_with_all(rows, threshold=0.8, permutations=128):
    """The same by comparing each signature with all that are kept; sets of sequences, one text at a time."""
    kept, signatures = [], []
    for number, text in enumerate(rows):
        if text is not None:
            hashed = RMinHash(permutations, minhash.SEED)
            hashed.update(sorted(set(shingles(text, 3))))
            signature = hashed.digest()
            least = threshold * permutations
            if any(sum(map(int.__eq__, signature, other)) >= least for other in signatures):
                continue
            signatures.append(signature)
        kept.append(number)
    return kept


@pytest.mark.parametrize(("threshold", "permutations"), [(0.8, 128), (0.6, 60), (0.9, 17)])
def test_rows_are_kept_as_if_all_signatures_were_compared(threshold, permutations):
    rows = texts(300)

    kept = firsts(rows, threshold, permutations)

    assert kept == compared_with_all(rows, threshold, permutations)
    assert 100 < len(kept) < 250


@pytest.mark.parametrize("limit", [16, 64])
def test_limits_of_memory_change_nothing(monkeypatch, limit):
    rows = texts(100, seed=2) + ["the same text"] * 60
    expected = firsts(rows)
    for name in ("BATCH_TEXTS", "BLOCK_TEXTS", "SORTED_HASHES", "SORTED_PAIRS"):
        monkeypatch.setattr(minhash, name, limit)

    assert firsts(rows) == expected


@pytest.mark.parametrize("rows", [[], [None], ["a"], [None, None], ["a", "a", None, "A."]], ids=str)
def test_few_rows(rows):
    assert firsts(rows) == compared_with_all(rows)


def test_the_first_of_many_equal_texts_is_kept():
    assert firsts([f"{WORDS[number % 7]} " * 20 for number in range(5_000)]) == list(range(7))


@given(st.text(st.characters() | st.sampled_from("aB_ .\nİΣßé")), st.integers(1, 4))
@example("A_b, c!", 2)
@example("ΑΣ Σ", 1)
def test_sequences_ignore_case_and_punctuation(text, words):
    tokens = "".join(map(str.lower, re.sub(r"[\W_]+", " ", text))).split()
    sequences = [" ".join(tokens[at : at + words]) for at in range(max(1, len(tokens) - words + 1))]

    assert set(shingles(text, words)) == set(sequences)


@pytest.mark.battery
def test_memory_hardly_grows_with_the_texts(monkeypatch):
    firsts(texts(100))  # what is imported and compiled once does not count
    monkeypatch.setattr(minhash, "BATCH_TEXTS", 64)
    monkeypatch.setattr(minhash, "BLOCK_TEXTS", 64)
    monkeypatch.setattr(minhash, "SORTED_HASHES", 256)
    monkeypatch.setattr(minhash, "SORTED_PAIRS", 256)
    peaks = []
    for count in (1_000, 4_000):
        drawn = random.Random(1)
        rows = (" ".join(drawn.choices(WORDS, k=8)) if number % 3 else "the same" for number in range(count))
        tracemalloc.start()
        found = NearDuplicates(3, 16, 0.8)
        for text in rows:
            found.add(text)
        kept = sum(1 for _ in found.firsts())
        found.close()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert kept > 2_000
    assert peaks[1] < peaks[0] + 60_000, peaks
