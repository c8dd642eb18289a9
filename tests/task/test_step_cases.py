"""Golden cases of a task made of tasks: replies for each step, what comes out, and what is reported where it differs."""

from __future__ import annotations

import json

import pytest

from distask.spec.load import load_spec
from distask.task.load import run_cases

STEPS = [
    {
        "name": "ask",
        "task": {
            "format_input": [{"role": "user", "content": "{{ instruction }}"}],
            "outputs": {"reply": "R."},
            "format_output": {"parser": "text"},
        },
    },
    {
        "repeat": 2,
        "steps": [
            {
                "name": "rate",
                "task": {
                    "format_input": [{"role": "user", "content": "{{ reply }}"}],
                    "outputs": {"score": {"type": "integer", "maximum": 5}},
                    "format_output": {"parser": "regex", "pattern": r"(?P<score>\d)"},
                },
            }
        ],
        "collect": {"scores": "score"},
    },
]


@pytest.fixture
def faults_of(tmp_path):
    """The faults of one case of these steps."""

    def run(steps=STEPS, **case):
        spec = {"inputs": {"instruction": "It."}, "steps": steps, "cases": [{"input": {"instruction": "q"}, **case}]}
        (tmp_path / "task.yaml").write_text(json.dumps(spec))
        return [d.message for d in run_cases(load_spec(tmp_path / "task.yaml"))]

    return run


@pytest.mark.parametrize(
    "replies", [["a", "4", "5"], {"ask": "a", "rate": ["4", "5"]}, {"ask": ["a"], "rate": ["4", "5"]}]
)
def test_replies_are_a_list_or_by_step(faults_of, replies):
    assert faults_of(replies=replies, expect={"reply": "a", "scores": [4, 5]}) == []


def test_one_text_answers_everything(faults_of):
    assert faults_of(replies="3", expect={"reply": "3", "scores": [3, 3]}) == []


def test_a_completion_is_a_reply_too(faults_of):
    assert faults_of(replies=["a", {"text": "4", "finish_reason": "length"}, "5"], expect={"scores": [4, 5]}) == []


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        (["a", "4"], "too few replies: step rate requests one more"),
        (["a", "4", "5", "6"], "has unused replies (1);"),
        ({"ask": "a", "rate": ["4"]}, "too few replies"),
        ({"ask": "a", "rate": ["4", "5", "1"]}, "unused replies (1) for step rate"),
        ({"ask": "a"}, "no reply for step rate"),
        ({"ask": "a", "rat": "4"}, "there is no step `rat`"),
        (["a", {"txt": "4"}, "5"], "a reply has no `txt`"),
        (["a", "4", "9"], "step rate: score: 9 is more than 5"),
        (["b", "4", "5"], '`reply`: expected "a", got "b"'),
    ],
)
def test_what_does_not_hold_is_reported(faults_of, replies, words):
    (message,) = faults_of(replies=replies, expect={"reply": "a"})

    assert words in message


def test_an_error_that_is_expected_stands_next_to_what_comes_out(faults_of):
    case = {"replies": ["a", "9"], "expect": {"scores": [None]}}

    assert faults_of(**case, error="rate: type: score: 9") == []
    assert "expected an error" in faults_of(**case, error="no such words")[0]
    assert "no step failed" in faults_of(replies="3", error="rate")[0]


def test_several_rows_go_in_and_out(faults_of):
    steps = [STEPS[0], {"filter": "reply != 'b'"}, {"sort": {"by": "reply", "descending": True}}]
    rows = [{"instruction": str(i)} for i in range(3)]

    assert faults_of(steps, input=rows, replies=["a", "b", "c"], expect=[{"reply": "c"}, {"reply": "a"}]) == []
    assert "expected 1 rows, got 2" in faults_of(steps, input=rows, replies=["a", "b", "c"], expect=[{"reply": "c"}])[0]
    assert "expected one row, got 2" in faults_of(steps, input=rows, replies=["a", "b", "c"], expect={"reply": "c"})[0]
