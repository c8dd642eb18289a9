"""The one label that a reply names becomes a column."""

from __future__ import annotations

import pytest

SPEC = "outputs: {answer: {choices: [spam, not spam, 'C++', ok]}}\nformat_output: {parser: choice}"
MANY = "outputs: {answer: {type: 'list[enum]', choices: [a, b, c]}}\nformat_output: {parser: choice, multiple: true}"


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("spam", "spam"),
        (" **Spam**.", "spam"),
        ("Not spam", "not spam"),
        ("It is not spam at all.", "not spam"),
        ("I weighed spam and ok.\nok", "ok"),
        ("Surely C++ is meant", "C++"),
        ("<think>ok?</think>spam", "spam"),
        ("The label: spam", "spam"),
    ],
)
def test_the_reply_or_its_last_line_or_the_one_word_in_it_counts(read, reply, label):
    """Case and marks around it aside; a longer label hides the shorter in it."""
    assert read(SPEC, reply) == {"answer": label}


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("spam or ok", "the reply names ok and spam"),
        ("spammer, books", "the reply names none of spam, not spam, C++, ok"),
        ("?", "the reply names none of"),
    ],
)
def test_a_reply_that_names_none_or_several_is_invalid(read, reply, words):
    """Nothing is guessed; a part of a word is no label."""
    result = read(SPEC, reply)

    assert isinstance(result, str)
    assert sorted(result.split()) == sorted(words.split()) or words in result


def test_case_counts_where_the_spec_says_so(read):
    """`US` is not `us`."""
    spec = "outputs: {answer: {choices: [US, us]}}\nformat_output: {parser: choice, case_sensitive: true}"

    assert read(spec, "US") == {"answer": "US"}
    assert read(spec, "Send it to us") == {"answer": "us"}


def test_several_labels_come_in_the_specs_order(read):
    """Each once."""
    assert read(MANY, "c, a and c") == {"answer": ["a", "c"]}
    assert read(MANY, "none") == "the reply names none of a, b, c"


def test_the_labels_may_come_from_the_row(read):
    """An expression for them."""
    spec = "outputs: {answer: x}\nformat_output: {parser: choice, choices: '{{ items }}'}"

    assert read(spec, "It's two", {"items": ["one", "two"]}) == {"answer": "two"}


@pytest.mark.parametrize("items", [None, 3, "one", [], [None], [["one"]], {"one": 1}])
def test_labels_of_a_row_that_are_no_list_of_labels_are_the_replys_failure(read, items):
    """A row of a wrong type never ends a run."""
    spec = "inputs: {items: {type: any, required: false}}\noutputs: {answer: x}\nformat_output: {parser: choice, choices: '{{ items }}'}"

    assert isinstance(read(spec, "one", {"items": items}), str | dict)
