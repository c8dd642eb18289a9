"""Named groups of a pattern become columns."""

from __future__ import annotations

import pytest

from distask.errors import SpecError

ONE = "outputs: {score: {type: integer}, why: {nullable: true, description: x}}\nformat_output: {parser: regex, pattern: 'Score: (?P<score>[0-9]+)(?: since (?P<why>.+))?', find: FIND}"
ALL = "outputs: {score: {type: 'list[integer]'}}\nformat_output: {parser: regex, pattern: 'Score: (?P<score>[0-9]+)', find: all, align_to: items}"
PLACED = "outputs: {score: {type: 'list[integer]'}}\nformat_output: {parser: regex, pattern: '(?P<position>[0-9]+): (?P<score>[0-9]+)', find: all, align_to: items}"


@pytest.mark.parametrize(
    ("find", "columns"), [("first", {"score": 1, "why": None}), ("last", {"score": 2, "why": "it is"})]
)
def test_the_first_or_the_last_match_counts(read, find, columns):
    """A group that took no part is null."""
    assert read(ONE.replace("FIND", find), "Score: 1\nScore: 2 since it is\n") == columns


def test_a_reply_that_does_not_match_is_invalid(read):
    """It is never a row of nulls."""
    assert read(ONE.replace("FIND", "first"), "no idea") == "the pattern matches nowhere in the reply"


@pytest.mark.parametrize(
    ("items", "reply", "scores"),
    [
        (["a", "b"], "Score: 1\nScore: 2", [1, 2]),
        (["a", "b"], "Score: 1", [1, None]),
        (["a"], "Score: 1\nScore: 2", [1]),
        ([], "nothing to rate", []),
    ],
)
def test_all_matches_fill_as_many_entries_as_the_list_has(read, items, reply, scores):
    """Null where one is missing, the rest cut."""
    assert read(ALL, reply, {"items": items}) == {"score": scores}


@pytest.mark.parametrize(
    ("reply", "scores"), [("2: 5\n1: 4", [4, 5]), ("2: 5", [None, 5]), ("3: 1\n0: 2\n1: 4", [4, None])]
)
def test_a_match_may_say_its_own_place(read, reply, scores):
    """A place that is not there is passed over."""
    assert read(PLACED, reply, {"items": ["a", "b"]}) == {"score": scores}


def test_a_place_of_thousands_of_digits_is_no_place(read):
    """Python refuses to read it as a number; that is no reason to end a run."""
    assert read(PLACED, "9" * 5000 + ": 1\n1: 4", {"items": ["a", "b"]}) == {"score": [4, None]}


SCALE = "params: {top: {type: integer, default: 5}}\noutputs: {score: {type: number}}\nformat_output: {parser: regex, pattern: 'Score: (?P<score>.+)', scale: {score: TOP}}"


@pytest.mark.parametrize("top", ["5", "top", "'{{ top }}'"])
def test_a_group_on_a_scale_is_read_as_a_score(read, top):
    """`scale` is a number, or an expression for one; anything else in its place is for the type to refuse."""
    spec = SCALE.replace("TOP", top)

    assert read(spec, "Score: **4** out of 5") == {"score": 4}
    assert read(spec, "Score: 4,5") == {"score": 4.5}
    assert read(spec, "Score: 8/10 ") == 'score: "8/10" is not a number'


def test_a_scale_that_is_not_a_number_is_the_replys_failure(read):
    spec = SCALE.replace("TOP", "\"['x']\"")

    assert read(spec, "Score: 4") == "`scale` of `score` is ['x'], which is not a number"


def test_a_scale_names_a_group(make_task):
    with pytest.raises(SpecError, match="the pattern has no group `scor`"):
        make_task(SCALE.replace("{score: TOP}", "{scor: 5}"))


def test_flags_are_letters(read):
    """`i` takes no notice of case, `s` lets a dot match line ends."""
    spec = "outputs: {a: x}\nformat_output: {parser: regex, pattern: 'begin(?P<a>.*)end', flags: is}"

    assert read(spec, "BEGIN\nx\nEND") == {"a": "\nx\n"}


def test_the_models_thinking_is_not_searched(read):
    """It often tries an answer before it gives one."""
    assert read(ONE.replace("FIND", "first"), "<think>Score: 9</think>Score: 1") == {"score": 1, "why": None}


def test_a_pattern_that_explodes_is_the_replys_failure(read):
    """A group that is named again needs an engine that can backtrack; it has a clock."""
    spec = r"outputs: {a: x}" + "\n" + r"format_output: {parser: regex, pattern: '^(?P<a>(a|aa)+)\1$'}"

    assert read(spec, "a" * 20_000 + "b") in (
        "the pattern took too long on this reply",
        "the pattern matches nowhere in the reply",
    )
