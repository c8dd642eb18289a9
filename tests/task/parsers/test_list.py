"""Items as models list them become a list."""

from __future__ import annotations

import pytest

SPEC = "outputs: {answer: {type: 'list[string]'}}\nformat_output: {parser: list}"


@pytest.mark.parametrize(
    ("reply", "items"),
    [
        ("1. a\n2. b", ["a", "b"]),
        ("Sure:\n1) a\n\n2) b\n\nI hope it helps!", ["a", "b"]),
        ("**1.** a\n**2.** b", ["a", "b"]),
        ("1: a\n2: b", ["a", "b"]),
        ("- a\n* b\n• c", ["a", "b", "c"]),
        ("1. a\n   - one\n   - two\n2. b", ["a\n- one\n- two", "b"]),
        ("1. a\nmore of a\n2. b", ["a\nmore of a", "b"]),
        ("1.\n   a\n2. b", ["a", "b"]),
        ("a\n\n b \n", ["a", "b"]),
        ("1. a\r\n2. b", ["a", "b"]),
        ("<think>1. x</think>1. a", ["a"]),
        ("2024. was a year\n1.5 is no mark\n3. c", ["was a year\n1.5 is no mark", "c"]),
    ],
)
def test_numbers_come_before_bullets_and_bullets_before_lines(read, reply, items):
    """What follows an item belongs to it; what stands before the first or after a gap is chatter."""
    assert read(SPEC, reply) == {"answer": items}


@pytest.mark.parametrize("reply", ["1.\n2.", "- \n- "])
def test_a_list_of_nothing_is_invalid(read, reply):
    """An empty item is none."""
    assert read(SPEC, reply) == "the reply has no items"


@pytest.mark.parametrize(
    ("more", "reply", "items"),
    [
        ("max_items: 2", "a\nb\nc", ["a", "b"]),
        ("max_items: items | length", "a\nb\nc", ["a", "b"]),
        ("max_items: none", "a\nb\nc", ["a", "b", "c"]),
        ("align_to: items", "a", ["a", None]),
        ("align_to: items", "a\nb\nc", ["a", "b"]),
    ],
)
def test_a_list_is_cut_or_aligned(read, more, reply, items):
    """As many entries as the other list has, null where one is missing."""
    assert read(SPEC.replace("list}", f"list, {more}}}"), reply, {"items": [1, 2]}) == {"answer": items}


SPLIT = (
    r"outputs: {steps: {type: 'list[string]'}}"
    "\n"
    r"format_output: {parser: list, lines: true, split: 'Step \d+:|The answer is'}"
)


@pytest.mark.parametrize(
    ("reply", "steps"),
    [
        ("Step 1: a. The answer is: 2", ["Step 1: a.", "The answer is: 2"]),
        ("Step 1: é 一。Step 2: b.\nThe answer is: 2", ["Step 1: é 一。", "Step 2: b.", "The answer is: 2"]),
        ("  The answer is: 2", ["The answer is: 2"]),
        ("- The answer is: 2", ["The answer is: 2"]),
        ("OneStep 1: a", ["OneStep 1: a"]),
    ],
)
def test_an_item_may_begin_inside_of_a_line(read, steps, reply):
    """At each match of `split` that does not continue a word."""
    assert read(SPLIT, reply) == {"steps": steps}
