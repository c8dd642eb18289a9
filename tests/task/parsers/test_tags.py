"""Blocks in tags become columns."""

from __future__ import annotations

import pytest

ONE = "outputs: {a: x, b: {nullable: true, description: x}}\nformat_output: {parser: tags, find: FIND}"


@pytest.mark.parametrize(
    ("reply", "columns"),
    [
        ("<a>1</a><b>2</b>", {"a": "1", "b": "2"}),
        ("Sure.\n<A>\n 1 \n</A>", {"a": "1", "b": None}),
        ('<a kind="x">1</a>', {"a": "1", "b": None}),
        ("<ab>0</ab><a>1</a>", {"a": "1", "b": None}),
        ("<a>x < y </b></a>", {"a": "x < y </b>", "b": None}),
        ("<a>1</a><a>2</a>", {"a": "1", "b": None}),
        ("<a>1</a><b>cut", {"a": "1", "b": None}),
        ("<think><a>0</a></think><a>1</a>", {"a": "1", "b": None}),
        ("İ<a>1</a>", {"a": "1", "b": None}),
    ],
)
def test_the_first_block_of_each_tag_counts(read, reply, columns):
    """Case and attributes aside; a tag is no other that begins as it does."""
    assert read(ONE.replace("FIND", "first"), reply) == columns


def test_the_last_block_counts_where_the_spec_says_so(read):
    """A model that tries twice means the second."""
    assert read(ONE.replace("FIND", "last"), "<a>1</a><a>2</a>") == {"a": "2", "b": None}


@pytest.mark.parametrize("reply", ["", " ", "<b>1</b>", "<a>cut", "<a", "</a><a>"])
def test_a_tag_that_is_missing_or_never_closed_makes_the_reply_invalid(read, reply):
    """It is told by its name."""
    assert read(ONE.replace("FIND", "first"), reply) in ("the reply has no <a>…</a>", "the reply is empty")


def test_all_blocks_make_a_list(read):
    """Of columns under other names too."""
    spec = "outputs: {answers: {type: 'list[integer]'}}\nformat_output: {parser: tags, tags: {answers: a}, find: all}"

    assert read(spec, "<a>1</a> and <a>2</a>") == {"answers": [1, 2]}
