"""Chunks of texts: offsets are exact for any Unicode, nothing is lost, and cuts are at good places."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distask.llm.tokens import estimate_tokens
from distask.task.text.chunks import Cut, cut_text
from distask.task.text.sentences import last_sentence_end, sentence_ends

MARKS = [
    "\n",
    "\n\n",
    "\r\n",
    "# A\n",
    "\n## B\n",
    "```\n",
    ". ",
    "。",
    "e\u0301",
    "👩\u200d👩\u200d👧",
    "\x85",
    "\u3000",
    " ",
    "ก",
    "字",
]
ANY_TEXT = st.one_of(st.text(), st.lists(st.one_of(st.sampled_from(MARKS), st.text(max_size=8))).map("".join))
CUTS = st.builds(
    lambda size, overlap, unit, breaks: Cut(size, overlap % size, unit, breaks and unit != "headings"),
    st.integers(1, 40),
    st.integers(0, 39),
    st.sampled_from(["characters", "tokens", "sentences", "headings"]),
    st.booleans(),
)


@given(ANY_TEXT, CUTS)
@example("# A\nก \u0301👩\u200d👩\u200d👧\u0301éa\x85# A\n", Cut(7, 5))
def test_chunks_cover_the_text_in_order_and_have_no_white_space_at_their_ends(text, cut):
    chunks = cut_text(text, cut)

    covered = set()
    for before, chunk in zip([None, *chunks], chunks, strict=False):
        words = text[chunk.start : chunk.end]
        assert words
        assert words == words.strip()
        assert before is None or (before.start < chunk.start and before.end < chunk.end)
        covered.update(range(chunk.start, chunk.end))
    assert all(character.isspace() for place, character in enumerate(text) if place not in covered)


@given(ANY_TEXT, st.integers(1, 40), st.integers(0, 39), st.booleans())
@example("# A\nก \u0301👩\u200d👩\u200d👧\u0301éa\x85# A\n", 7, 5, False)
def test_no_chunk_is_longer_and_no_overlap_is_larger_than_asked(text, size, overlap, breaks):
    overlap %= size
    chunks = cut_text(text, Cut(size, overlap, break_at_headings=breaks))

    assert all(chunk.end - chunk.start <= size for chunk in chunks)
    assert all(one.end - two.start <= overlap for one, two in itertools.pairwise(chunks))


@given(ANY_TEXT, st.integers(1, 20), st.integers(0, 19))
def test_no_chunk_has_more_estimated_tokens_than_asked(text, size, overlap):
    chunks = cut_text(text, Cut(size, overlap % size, "tokens"))

    assert all(estimate_tokens(text[chunk.start : chunk.end]) <= size for chunk in chunks)


@given(ANY_TEXT, st.integers(1, 9), st.integers(0, 8), st.integers(1, 3))
def test_chunks_have_at_most_so_many_tokens_of_a_tokenizer(text, size, overlap, each):
    spans = [(place, min(len(text), place + each)) for place in range(0, len(text), each)]
    chunks = cut_text(text, Cut(size, overlap % size, "tokens", tokenize=lambda _text: spans))

    for chunk in chunks:
        assert sum(start < chunk.end and end > chunk.start for start, end in spans) <= size


@given(ANY_TEXT)
def test_without_overlap_no_character_is_in_two_chunks(text):
    chunks = cut_text(text, Cut(7))

    assert all(one.end <= two.start for one, two in itertools.pairwise(chunks))


def pieces(text, *settings, **more):
    return [text[chunk.start : chunk.end] for chunk in cut_text(text, Cut(*settings, **more))]


@pytest.mark.parametrize(
    ("text", "size", "first"),
    [
        ("One two three.\n\nFour five six. Seven", 26, "One two three."),
        ("One two three four. Five six seven", 24, "One two three four."),
        ("It costs 3.50 e.g. here, Dr. Who said so", 33, "It costs 3.50 e.g. here, Dr. Who"),
        ("one two three four", 13, "one two three"),
        ("今日は晴れです。明日は雨です。", 10, "今日は晴れです。"),
        ("Heute regnet es. Morgen scheint die Sonne", 22, "Heute regnet es."),
        ("ایک دو تین۔ چار پانچ چھ", 16, "ایک دو تین۔"),
        ("text text text\n# Heading\nmore and more", 24, "text text text"),
        ("a" * 30, 10, "a" * 10),
        ("👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧", 12, "👩‍👩‍👧👩‍👩‍👧"),
    ],
)
def test_a_chunk_ends_at_the_best_place(text, size, first):
    assert pieces(text, size)[0] == first


def test_an_overlap_begins_with_a_word():
    assert pieces("one two three four five six", 14, 6) == ["one two three", "three four", "four five six"]


def test_an_overlap_of_a_script_without_spaces_begins_anywhere():
    assert pieces("一二三四五六七八九十", 6, 2) == ["一二三四五六", "五六七八九十"]


def test_a_long_word_is_not_repeated_in_part():
    assert pieces("incomprehensibilities unquestionably", 21, 5) == ["incomprehensibilities", "unquestionably"]


def test_sentences_are_counted_and_repeated():
    text = "One. Two? Three! Four.\n\nFive"

    assert pieces(text, 2, unit="sentences") == ["One. Two?", "Three! Four.", "Five"]
    assert pieces(text, 2, 1, unit="sentences") == ["One. Two?", "Two? Three!", "Three! Four.", "Four.\n\nFive"]


MARKDOWN = """---
title: x
---
Before.

# Guide

Intro.

## Install ##

```
# not a heading
```

### Linux

Run it.

Use
===

- a
- b

## More
End
"""


def test_each_section_is_a_chunk_with_its_path():
    chunks = cut_text(MARKDOWN, Cut(1, unit="headings"))

    assert [(MARKDOWN[c.start : c.end].splitlines()[0], c.headings) for c in chunks] == [
        ("---", ()),
        ("# Guide", ("Guide",)),
        ("## Install ##", ("Guide", "Install")),
        ("### Linux", ("Guide", "Install", "Linux")),
        ("Use", ("Use",)),
        ("## More", ("Use", "More")),
    ]
    assert MARKDOWN[chunks[2].start : chunks[2].end].endswith("# not a heading\n```")


def test_a_heading_begins_a_new_chunk_if_asked():
    text = "# A\none\n# B\ntwo"

    assert pieces(text, 400) == [text]
    assert pieces(text, 400, break_at_headings=True) == ["# A\none", "# B\ntwo"]
    assert pieces(text, 9, unit="sentences", break_at_headings=True) == ["# A\none", "# B\ntwo"]


def test_the_path_is_that_of_the_heading_above_the_start():
    text = "# A\n" + "one two " * 20 + "\n## B\n" + "end " * 12

    assert [chunk.headings for chunk in cut_text(text, Cut(60))] == [("A",), ("A",), ("A",), ("A", "B")]


def test_headings_are_found_in_files_with_windows_line_ends():
    assert [c.headings for c in cut_text("A\r\n==\r\n\r\nx\r\n# B\r\ny", Cut(1, unit="headings"))] == [("A",), ("B",)]


@pytest.mark.parametrize("text", ["", " \n\t ", "\u3000"])
def test_a_text_of_white_space_has_no_chunks(text):
    assert cut_text(text, Cut(5)) == []


@given(st.text(st.sampled_from('aB. !?\n\t")é。…1#-,_ ') | st.characters(), max_size=300), st.data())
@example("One two. " * 12 + "x" * 90, None)
@example("a " * 60 + "... " + "b" * 100, None)
def test_the_last_end_of_a_sentence_is_the_last_of_all_ends(text, data):
    limit = len(text) - 1 if data is None else data.draw(st.integers(0, max(0, len(text) - 1)))
    low = 0 if data is None else data.draw(st.integers(0, max(0, limit)))

    ends = [end for end in sentence_ends(text, low, limit + 1) if low < end <= limit]

    assert last_sentence_end(text, low, limit) == (ends[-1] if ends else None)
