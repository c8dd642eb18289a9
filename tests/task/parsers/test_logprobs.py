"""The `logprobs` parser: what the model might have said as well counts too."""

from __future__ import annotations

import math

import pytest

from distask.errors import InvalidReply, SpecError
from distask.llm.request import Completion

RATE = """
outputs: {score: {type: number, minimum: 1, maximum: 5}, shares: {type: object}}
format_output: {parser: logprobs, choices: [1, 2, 3, 4, 5], column: score, probabilities: shares%s}
llm: {logprobs: true, top_logprobs: 5}
"""


def entry(token, **others):
    """A token as chats have it, and what could have stood there."""
    likely = [{"token": t, "logprob": math.log(p)} for t, p in others.items()]
    own = next((o["logprob"] for o in likely if o["token"] == token), 0.0)
    return {"token": token, "logprob": own, "top_logprobs": likely}


def reply(*entries):
    return Completion("".join(e["token"] for e in entries), logprobs={"content": list(entries)})


def test_the_score_is_the_expected_value_over_the_answers(make_task):
    """What is no answer has no share."""
    task = make_task(RATE % "")

    columns = task.format_output(reply(entry("4", **{"4": 0.5, "5": 0.25, " 4": 0.1, "The": 0.1, "3": 0.05})), {})

    assert columns["shares"] == {
        "1": 0.0, "2": 0.0, "3": pytest.approx(0.05 / 0.9, abs=1e-6), "4": pytest.approx(0.6 / 0.9, abs=1e-6),
        "5": pytest.approx(0.25 / 0.9, abs=1e-6),
    }  # fmt: skip
    assert columns["score"] == pytest.approx((0.15 + 2.4 + 1.25) / 0.9, abs=1e-5)


def test_the_answer_is_looked_for_after_its_marker(make_task):
    """A number of the reasoning is no answer."""
    task = make_task(RATE % ', after: "score:"')
    result = [entry("Of"), entry(" 5"), entry(" steps"), entry(" 3"), entry(" fail.\n"), entry("**Score"), entry(":**")]

    columns = task.format_output(reply(*result, entry(" 2", **{" 2": 0.75, " 1": 0.25}), entry("/"), entry("5")), {})
    first = make_task(RATE % ', after: "score:", find: first').format_output(
        reply(*result[5:], entry(" 2", **{" 2": 0.75, " 1": 0.25}), entry("/"), entry("5")), {}
    )

    assert columns["score"] == pytest.approx(1.75)
    assert first["score"] == pytest.approx(1.75)


@pytest.mark.parametrize(
    "tokens",
    [["8", "/", "10"], ["4", " (", "out", " of", " ", "10", ")"], ["3", ".", "5"], ["3", "-", "4"], ["80", "%"]],
)
@pytest.mark.parametrize("find", ["first", "last"])
def test_a_number_that_is_not_on_the_scale_is_not_an_answer(make_task, tokens, find):
    """A part of another number, and a score on another scale."""
    task = make_task(RATE % f', after: "score:", find: {find}')

    with pytest.raises(InvalidReply):
        task.format_output(reply(entry("Score: "), *map(entry, tokens)), {})


def test_answers_may_be_words_with_a_worth(make_task):
    task = make_task(
        """
        outputs: {likely_true: {type: number}}
        format_output: {parser: logprobs, choices: {"true": 1, "false": 0}}
        llm: {logprobs: true, top_logprobs: 5}
        """
    )

    columns = task.format_output(reply(entry("True", **{"True": 0.6, "False": 0.2, " true": 0.2})), {})

    assert columns == {"likely_true": 0.8}


def test_words_without_a_worth_give_the_likeliest(make_task):
    """Choices may come from the row."""
    task = make_task(
        """
        inputs: {labels: {type: list}}
        format_input: [{role: user, content: "{{ labels }}"}]
        outputs: {label: The likeliest.}
        format_output: {parser: logprobs, choices: labels}
        llm: {logprobs: true, top_logprobs: 5}
        """
    )

    columns = task.format_output(reply(entry("ham", ham=0.4, Spam=0.35, spam=0.25)), {"labels": ["ham", "spam"]})

    assert columns == {"label": "spam"}


def test_raw_completions_say_it_in_their_own_way(make_task):
    logprobs = {
        "tokens": ["Score", ":", " 4"],
        "token_logprobs": [-0.1, 0.0, math.log(0.5)],
        "top_logprobs": [None, {}, {" 4": math.log(0.5), " 2": math.log(0.5)}],
    }

    columns = make_task(RATE % "").format_output(Completion("Score: 4", logprobs=logprobs), {})

    assert columns["score"] == pytest.approx(3)


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (Completion("4"), "no log probabilities"),
        (Completion("4", logprobs={"content": [{"token": None}, 7]}), "no log probabilities"),
        (reply(entry("four", four=0.9)), "is one of 1, 2, 3, 4, 5"),
    ],
)
def test_a_reply_without_its_probabilities_says_so(make_task, expected, words):
    with pytest.raises(InvalidReply, match=words):
        make_task(RATE % "").format_output(expected, {})


def test_a_marker_that_is_missing_says_so(make_task):
    with pytest.raises(InvalidReply, match="Score:"):
        make_task(RATE % ', after: "Score:"').format_output(reply(entry("4")), {})


def test_a_spec_that_does_not_ask_for_them_is_reported(make_task):
    with pytest.raises(SpecError, match="logprobs: true"):
        make_task("outputs: {score: {type: number}}\nformat_output: {parser: logprobs, choices: [1, 2]}")


def test_the_example_is_read_back(make_task):
    """A made-up reply is certain of itself, so that a rehearsal goes through."""
    task = make_task(RATE % ', after: "Score:"')

    made = task.example({"question": "?"})

    assert made.startswith("Score: ")
