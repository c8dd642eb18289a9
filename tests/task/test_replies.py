"""Replies of models and the columns that they mean: `replies.jsonl` holds a reply a line; `expect: null` is invalid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distask.errors import InvalidReply
from distask.task.task import Task

CASES = [
    json.loads(line) for line in Path(__file__).with_name("replies.jsonl").read_text(encoding="utf-8").splitlines()
]
PARAMS = {"ultrafeedback": {"aspect": "honesty"}}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['task']}: {case['note']}")
def test_a_reply_means_what_the_model_meant(make_task, case):
    if case["outputs"] is None:
        task = Task.load(case["task"], PARAMS.get(case["task"]))
    else:
        task = make_task(f"inputs: {{q: x}}\nformat_input: [{{role: user, content: '{{{{ q }}}}'}}]\n{case['outputs']}")

    try:
        columns = task.format_output(case["reply"], case["row"])
    except InvalidReply:
        columns = None

    assert (columns and {name: columns[name] for name in case["expect"] or columns}) == case["expect"]


@pytest.mark.parametrize(
    "written", ["<4>", "`4`", "**4**", "4.", "4/5", "4 out of 5", "[[4]]", "$\\boxed{4}$", "4 (good)"]
)
@pytest.mark.parametrize(
    ("name", "reply", "column"),
    [
        ("rubric-judge", "Good.\nScore: {}", "score"),
        ("rubric-judge", "Good.\nThe score is {}", "score"),
        ("rubric-judge", "Good.\n**Rating:** {}", "score"),
        ("instruction-backtranslation", "Good.\nScore: {}", "score"),
        ("instruction-backtranslation", "Good.\nGrade: {}", "score"),
        ("instruction-backtranslation", "Good.\nThe score is {}", "score"),
        ("prometheus-eval", "Feedback: Good. [RESULT] {}", "result"),
        ("prometheus-eval", "Feedback: Good.\n\nOverall score: {}", "result"),
        ("ultrafeedback", "Rating: {}\nRationale: Good.", "ratings"),
    ],
)
def test_a_score_is_read_with_marks_and_its_scale(name, reply, column, written):
    columns = Task.load(name).format_output(reply.format(written), ROW)

    assert columns[column] in (4, [4])


@pytest.mark.parametrize(
    "written",
    [
        "4 (out of 10)",
        "8/10",
        "4/10",
        "80%",
        "4-5",
        "between 3 and 4",
        "4 or 5",
        "4 on a scale of 1 to 10",
        "6",
        "four",
    ],
)
@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("rubric-judge", "Good.\nScore: {}"),
        ("rubric-judge", "Good.\nThe score is {}"),
        ("instruction-backtranslation", "Good.\nScore: {}"),
        ("instruction-backtranslation", "Good.\nThe rating is {}."),
        ("prometheus-eval", "Feedback: Good. [RESULT] {}"),
    ],
)
def test_a_score_of_another_scale_is_invalid(name, reply, written):
    with pytest.raises(InvalidReply):
        Task.load(name).format_output(reply.format(written), ROW)


@pytest.mark.parametrize("written", ["9", "4/10", "5 out of 10", "4.7x", "4-5", "four", "70%"])
@pytest.mark.parametrize(
    ("name", "column", "reply"),
    [
        ("ultrafeedback", "ratings", "Rating: {}\nRationale: x\n\nRating: 3\nRationale: y"),
        ("quality-scorer", "scores", "[1] Score: {}\n[2] Score: 3"),
        ("complexity-scorer", "scores", "[1] Score: {}\n[2] Score: 3"),
    ],
)
def test_an_entry_of_another_scale_is_null_with_its_reason(name, column, reply, written):
    row = {"instruction": "i", **{key: ["a", "b"] for key in ("generations", "responses", "instructions")}}

    parsed = Task.load(name).parse_reply(reply.format(written), row)

    assert parsed.columns[column] == [None, 3]
    assert parsed.error is not None
    assert parsed.error.message.startswith(f"{column}[0]: ")


ROW = {"instruction": "i", "generation": "x", "generations": ["x"]}
