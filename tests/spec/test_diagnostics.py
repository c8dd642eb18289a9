"""How a fault is told: for people, for programs, for a terminal that must not obey it."""

from __future__ import annotations

from distask.diagnostics import Diagnostic, did_you_mean, nearest


def test_a_fault_shows_the_line_a_caret_and_the_hint():
    """The form is the one that compilers have made familiar."""
    result = str(
        Diagnostic("tasks/rate.yaml", 12, 10, "no such name", "did you mean `question`?", "      {{ quesion }}", 7)
    )

    assert result.splitlines() == [
        "tasks/rate.yaml:12:10: error: no such name",
        "   12 |       {{ quesion }}",
        "      |          ^^^^^^^ did you mean `question`?",
    ]


def test_the_caret_stands_under_wide_characters():
    """A terminal shows Japanese two cells wide."""
    result = str(Diagnostic("f", 1, 4, "m", None, "日本 x", 1)).splitlines()

    assert result[2] == "      |      ^"


def test_a_long_line_is_cut_around_the_fault():
    """A prompt of one line does not fill the screen."""
    result = str(Diagnostic("f", 1, 5001, "m", None, "a" * 5000 + "X" + "b" * 5000)).splitlines()

    assert len(result[1]) < 200
    assert result[1][result[2].index("^")] == "X"


def test_control_characters_are_shown_and_never_sent():
    """A spec of a stranger can't colour the terminal or reverse its text."""
    result = str(Diagnostic("f\x1b[0m", 1, 1, "key `\x1b]0;x\x07`", "\u202eabc", "\x1b[31m\x9b", 3))

    assert all(c == "\n" or c.isprintable() for c in result)
    assert "\\x1b" in result


def test_github_reads_its_own_form():
    """Colons, commas and newlines are escaped as a workflow command wants them."""
    result = Diagnostic("a,b:c.yaml", 3, 4, "50% of\nit", "a hint").github()

    assert result == "::error file=a%2Cb%3Ac.yaml,line=3,col=4::50%25 of%0Ait (a hint)"


def test_programs_get_the_place_in_numbers():
    """`--format json` has every field."""
    result = Diagnostic("f", 3, 4, "m", "h", "source", 2).to_json()

    assert result == {
        "file": "f",
        "line": 3,
        "column": 4,
        "length": 2,
        "severity": "error",
        "message": "m",
        "hint": "h",
    }


def test_the_nearest_word_is_found_whatever_its_case():
    """A slip of a letter or of case is mended; a stranger is not guessed at."""
    assert nearest("quesion", ["question", "answer"]) == "question"
    assert nearest("LLM", ["llm"]) == "llm"
    assert nearest("zzz", ["question"]) is None


def test_what_is_known_is_listed_where_nothing_is_near():
    """The list is short, however many words there are."""
    assert did_you_mean("zzz", ["a", "b"]) == "known: `a`, `b`"
    assert did_you_mean("zzz", []) is None
    assert did_you_mean("zzz", [str(n) for n in range(100)]).endswith("…")
