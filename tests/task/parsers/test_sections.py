"""Text after markers becomes columns."""

from __future__ import annotations

import pytest

SPEC = "outputs: {score: {type: integer}, why: {nullable: true, description: x}}\nformat_output: {parser: sections, markers: {why: '### Why:', score: '### Score:'}}"


@pytest.mark.parametrize(
    ("reply", "columns"),
    [
        ("### Why: good\n\n### Score: 4", {"why": "good", "score": 4}),
        ("### score: 4\n### WHY:\nso\nso", {"why": "so\nso", "score": 4}),
        ("### Score: 4", {"why": None, "score": 4}),
        ("It says ### Score: 3 here\n### Score: 4", {"why": None, "score": 4}),
        ("The ### Score: 4", {"why": None, "score": 4}),
        ("### Why:### Score: 4", {"why": "", "score": 4}),
        ("<think>### Score: 1</think>### Score: 4", {"why": None, "score": 4}),
    ],
)
def test_each_section_ends_where_the_next_begins(read, reply, columns):
    """In any order; a marker at a line's beginning counts before one inside of a line."""
    assert read(SPEC, reply) == columns


def test_a_marker_that_is_missing_makes_the_reply_invalid(read):
    """It is told by its words."""
    assert read(SPEC, "4") == "the reply has no `### Score:`"


def test_letters_that_change_their_length_move_no_section(read):
    """`İ` in small letters is two characters."""
    assert read(SPEC, "İİİ ### Score: 4") == {"why": None, "score": 4}
