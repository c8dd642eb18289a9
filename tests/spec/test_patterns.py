"""Patterns mean what they mean in Python, on whichever engine they run."""

import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distask.spec.check import patterns
from distask.spec.check.patterns import Pattern, PatternError, PatternTimeout, compile_pattern

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


TEXTS = st.text(st.sampled_from("ab1 é\n_.:{}\u2028\u017fK•"), max_size=8)


def without_re2(pattern, flags=""):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "re2", None)  # importing it fails
        return Pattern(pattern, flags)


def matches(pattern, text):
    def groups(match):
        return match and [match.start(), match.end(), match.group(), *map(match.group, pattern.groups)]

    try:
        return groups(pattern.find(text)), [groups(match) for match in pattern.find_all(text)]
    except PatternTimeout:
        return "timeout"


@pytest.mark.battery
@settings(max_examples=600, derandomize=True, deadline=None)
@given(PATTERNS, FLAGS, TEXTS)
def test_a_pattern_matches_the_same_without_re2(pattern, flags, text):
    """Where RE2 is not installed (Alpine Linux), rows have the same columns."""
    try:
        made = Pattern(pattern, flags)
    except PatternError:
        with pytest.raises(PatternError):
            without_re2(pattern, flags)
        return
    other = without_re2(pattern, flags)

    assert other._narrow is None
    assert other.groups == made.groups
    assert matches(other, text) == matches(made, text)


@pytest.mark.parametrize(
    ("pattern", "text"), [(r"$", "a"), (r"\d*", "a12"), (r"|\w", "ab"), (r"^|x", "x\nx"), (r"\b", "a b")]
)
def test_empty_matches_are_those_of_python(pattern, text):
    """RE2 reports some of them twice, and misses what begins where one is."""
    expected = [match.span() for match in re.finditer(pattern, text)]

    assert [(m.start(), m.end()) for m in compile_pattern(pattern).find_all(text)] == expected
    assert [(m.start(), m.end()) for m in without_re2(pattern).find_all(text)] == expected


def test_without_re2_a_pattern_that_backtracks_without_end_ends(monkeypatch):
    monkeypatch.setattr(patterns, "TIMEOUT", 0.05)
    made = without_re2(r"(a|aa)+$")

    with pytest.raises(PatternTimeout):
        made.find("a" * 60 + "b")
    with pytest.raises(PatternTimeout):
        made.find_all("a" * 60 + "b")


def test_a_plain_pattern_needs_no_second_engine():
    """It costs a tenth of the start of `validate`."""
    code = """if True:
        import sys
        from distask.spec.check.patterns import compile_pattern
        made = compile_pattern(r"Score: (?P<score>\\d+)")
        assert made.find("Score: 5").group("score") == "5" and made.groups == ("score",)
        assert "regex" not in sys.modules
        assert compile_pattern(r"(a)\\1").find("aa") and "regex" in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
