"""Where a reply stopped fitting: the place that a person would point at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from distask.spec.language.parsers import Parser
from distask.task.reply.parse_position import misfit

READ = TypeAdapter(Parser)
SCORE = {"parser": "regex", "pattern": r"Score:\s*(?P<score>\d+)"}

CASES = [
    (SCORE, "Well.\nScore: nine", "the pattern matches nowhere in the reply", "nine", r"here: (?P<score>\d+)"),
    (SCORE, "No idea.", "the pattern matches nowhere in the reply", "No idea.", r"anywhere: Score:\s*(?P<score>\d+)"),
    (SCORE, "I say 9.\nScore: 9", "score: 9 is more than 5", "9", None),
    ({"parser": "json"}, '{"a": 1, "b": }', "the reply's JSON is broken", "}", "expecting value"),
    ({"parser": "json"}, 'So: {"a": 1} there', "the reply's JSON has no `b`", "} there", "no `b` before this"),
    ({"parser": "json"}, "no", "the reply contains no JSON", "no", "a JSON object"),
    ({"parser": "tags"}, "<a>1</a>", "the reply has no <b>…</b>", "", "<b>…</b>, anywhere"),
    ({"parser": "tags"}, "x <b>1", "the reply has no <b>…</b>", "<b>1", "</b> after this"),
    ({"parser": "sections", "markers": {"a": "### A"}}, "A: x", "the reply has no `### A`", "", "`### A`, anywhere"),
    ({"parser": "choice", "choices": ["yes"]}, "perhaps", "the reply names none of yes", "perhaps", None),
]


@pytest.mark.parametrize(("options", "reply", "message", "rest", "wanted"), CASES)
def test_the_place_is_where_a_person_would_point(options, reply, message, rest, wanted):
    found = misfit([READ.validate_python(options)], reply, message)

    assert reply[found.at :] == rest
    assert found.wanted == wanted


def test_a_value_in_a_list_is_its_own_occurrence():
    found = misfit([READ.validate_python(SCORE)], "9 then 9", "score[1]: 9 is more than 5")

    assert found.at == len("9 then ")


@pytest.mark.battery
@pytest.mark.parametrize("options", [o for o, *_ in CASES])
@given(st.text(max_size=60), st.text(max_size=60))
def test_no_reply_and_no_message_breaks_it(options, reply, message):
    found = misfit([READ.validate_python(options)], reply, message)

    assert found is None or 0 <= found.at <= len(reply)
