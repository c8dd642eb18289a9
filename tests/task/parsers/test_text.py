"""The whole reply becomes a column."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("reply", [" a \n", "<think>b</think>c", "[/b]{{ x }}\x1b[31m", "a\x00b", "{}"])
def test_the_reply_is_untouched(read, reply):
    """White space, thinking, markup: all of it is what was paid for."""
    assert read("outputs: {answer: x}\nformat_output: {parser: text}", reply) == {"answer": reply}


def test_white_space_around_it_goes_where_the_spec_says_so(read):
    """Inside, it stays."""
    assert read("outputs: {answer: x}\nformat_output: {parser: text, strip: true}", "\n a  b \n") == {"answer": "a  b"}


def test_a_reply_becomes_a_number_where_nothing_is_lost(read):
    """`4` is 4, and `4.5` is no whole number."""
    spec = "outputs: {answer: {type: integer, maximum: 5}}\nformat_output: {parser: text}"

    assert read(spec, " 4\n") == {"answer": 4}
    assert read(spec, "4.5") == 'answer: "4.5" is not an integer'
    assert read(spec, "9") == "answer: 9 is more than 5"
