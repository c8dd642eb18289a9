"""Patterns mean what they mean in Python, on whichever engine they run."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask.spec.patterns import PatternError, compile_pattern

PIECES = r"a b . * + ? {2} {,3} {1,2} ( ) (?: (?P<x> [ [^ ] a-z \d \w \s \b \Z ^ $ | \n { } {e} {i<=1} {} é \1 (?= # \N{BULLET}"
PATTERNS = st.lists(st.sampled_from([*PIECES.split(), " "]), min_size=1, max_size=8).map("".join)
FLAGS = st.sampled_from(["", "i", "m", "s", "x"])


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("Answer: {answer}", "Answer: {answer}"),
        (r"{score: (?P<x>\d)}", "{score: 5}"),
        (r"a{e}b\b", "é a{e}b"),  # for which RE2 does not do
        (r"(a)\1{e} [{] \{ \N{BULLET}{2}{}", "aa{e} { { ••{}"),
    ],
)
def test_a_brace_that_is_no_repeat_is_a_brace(pattern, text):
    """`regex` reads `{e}` as room for errors in what stands before it; Python reads it as it stands."""
    found = compile_pattern(pattern).find(text)

    assert found is not None
    assert found.group() == re.search(pattern, text).group()


@given(PATTERNS, FLAGS)
def test_what_python_takes_all_engines_take(pattern, flags):
    """The engine that backtracks is made when a text needs it: it can't refuse then what was taken at first."""
    try:
        made = compile_pattern(pattern, flags)
    except PatternError:
        return

    assert sorted(made._backtracking.groupindex) == sorted(made.groups)


def test_a_plain_pattern_needs_no_second_engine():
    """It costs a tenth of the start of `validate`."""
    code = """if True:
        import sys
        from distask.spec.patterns import compile_pattern
        made = compile_pattern(r"Score: (?P<score>\\d+)")
        assert made.find("Score: 5").group("score") == "5" and made.groups == ("score",)
        assert "regex" not in sys.modules
        assert compile_pattern(r"(a)\\1").find("aa") and "regex" in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
