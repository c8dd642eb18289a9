"""Scores on a scale of 1 to 5, as judges write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask.task.reply.scores import score_of

SCORES = [
    ("4", 4), ("<4>", 4), ("`4`", 4), ("**4**", 4), ("4.", 4), ("4.0", 4), ("[[5]]", 5), ("\\boxed{3}", 3), ("$4$", 4), ('"4"', 4),
    ("4/5", 4), ("4 / 5", 4), ("**4** / 5", 4), ("<4>/5", 4), ("4 out of 5", 4), ("4 (out of 5)", 4), ("4 points out of 5", 4),
    ("4 stars", 4), ("4pts", 4), ("4分", 4), ("4 von 5", 4), ("4 on a scale of 1 to 5", 4), ("4 (1-5 scale)", 4), ("4/5 (80%)", 4),
    ("4.5", 4.5), ("4,5", 4.5), ("3.5/5", 3.5), ("-1", -1), ("9", 9),
    ("4 (good)", 4), ("4 - good", 4), ("4 - 2 typos", 4), ("4, because of 3 errors", 4), ("4. 10 of 12 are right", 4), ("3, 1", 3),
    ("4\n5 words", 4), ("4 (confidence: 80%)", 4), ("1 of the worst", 1),
]  # fmt: skip
NO_SCORES = [
    "", "four", "high", "a 4", "between 3 and 4", "N/A", "4-5", "4 - 5", "4\u20135", "4 to 5", "4 or 5", "4 and 5", "4 1/2", "4½", "4th", "4x",
    "1.2.3", "8/10", "4/10", "4/4", "4 out of 10", "4 (out of 10)", "4 points (out of 10)", "80%", "4 %", "4 percent",
    "4 on a scale of 1 to 10", "4 on a scale from 0 to 10", "4 (1-10)", "4 on a 10-point scale", "<a whole number from 1 to 5>",
    "1 to 5", "1" * 5000,
]  # fmt: skip


@pytest.mark.parametrize(("written", "score"), SCORES)
def test_a_score_is_read_whatever_marks_are_around_it(written, score):
    assert score_of(written, 5) == score


@pytest.mark.parametrize("written", NO_SCORES)
def test_what_is_not_one_score_on_the_scale_is_none(written):
    assert score_of(written, 5) is None


def test_percent_is_a_scale_up_to_a_hundred():
    assert (score_of("80%", 100), score_of("80/100", 100), score_of("80", 100)) == (80, 80, 80)


@given(st.integers(0, 10**9), st.sampled_from(["", "*", "`", "<", "[", " ", '"']))
def test_a_number_alone_is_itself(number, mark):
    assert score_of(f"{mark}{number}{mark}", 5) == number
