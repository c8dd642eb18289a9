"""What a task's outputs ask: the kind of each question, its keys, and which answers fit its type."""

from __future__ import annotations

import pytest

from distask import load
from distask.errors import UsageError
from distask.labeling.questions import RESERVED, questions_of, sides_of
from distask.spec.gallery import gallery
from tests.labeling.conftest import outputs, task_of


def asked(written, ask=(), **options):
    return questions_of(task_of(outputs(written, **options)), ask)


def keys(question):
    return {option.label: option.keys for option in question.options}


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("{choices: [good, fair, poor]}", "choice"),
        ("{choices: [A, B, tie]}", "pair"),
        ("{choices: [A, B]}", "pair"),
        ("{choices: [model_b, model_a]}", "pair"),
        ("{choices: [first, second, equal]}", "pair"),
        ("{choices: [A, B, neither, both]}", "choice"),
        ("{choices: [A, C]}", "choice"),
        ("{type: boolean}", "boolean"),
        ("{type: integer, minimum: 1, maximum: 5}", "rating"),
        ("{type: number, minimum: 0, maximum: 10}", "rating"),
        ("{type: number, minimum: 0, maximum: 1}", "number"),
        ("{type: integer, minimum: 0, maximum: 100}", "number"),
        ("{type: integer}", "number"),
        ('{type: "list[enum]", choices: [a, b, c]}', "several"),
        ('{type: "list[string]"}', "list"),
        ("{type: string}", "text"),
        ("{type: object}", "object"),
        ("{type: any}", "object"),
    ],
)
def test_the_type_of_an_output_is_how_it_is_answered(output, kind):
    (question,) = asked(f"{{x: {output}}}")

    assert question.kind == kind


def test_choices_have_a_digit_and_their_own_first_letter():
    (question,) = asked("{verdict: {choices: [good, fair, poor, great]}}")

    assert keys(question) == {"good": ["1"], "fair": ["2"], "poor": ["3", "p"], "great": ["4"]}


def test_a_scale_has_its_own_digits():
    assert keys(asked("{x: {type: integer, minimum: 1, maximum: 5}}")[0]) == {str(i): [str(i)] for i in range(1, 6)}
    assert keys(asked("{x: {type: integer, minimum: 1, maximum: 10}}")[0])["10"] == ["0"]
    assert keys(asked("{x: {type: integer, minimum: 0, maximum: 10}}")[0])["10"] == ["t"]
    assert keys(asked("{x: {type: integer, minimum: -1, maximum: 1}}")[0]) == {"-1": ["1"], "0": ["2"], "1": ["3"]}


def test_a_pair_has_arrows_and_an_equals_sign_with_the_first_on_the_left():
    (question,) = asked("{x: {choices: [tie, B, A]}}")

    assert [option.label for option in question.options] == ["A", "tie", "B"]
    assert keys(question) == {"A": ["ArrowLeft", "1"], "tie": ["=", "0"], "B": ["ArrowRight", "2"]}


@pytest.mark.parametrize("count", [2, 12, 30])
def test_no_two_answers_share_a_key_and_none_is_a_command(count):
    words = [f"{chr(97 + i % 26)}{i}" for i in range(count)]
    (question,) = asked(f"{{x: {{choices: {words}}}}}")
    given = [key for option in question.options for key in option.keys]

    assert len(given) == len(set(given))
    assert not RESERVED & set(given)


def test_free_text_is_asked_for_only_if_there_is_nothing_else_or_if_wanted():
    assert [q.column for q in asked("{score: {type: integer}, reason: Why.}")] == ["score"]
    assert [q.column for q in asked("{summary: A summary., title: A title.}")] == ["summary", "title"]
    assert [q.column for q in asked("{score: {type: integer}, reason: Why.}", ["reason", "score"])] == [
        "reason",
        "score",
    ]


def test_an_output_that_does_not_exist_is_reported():
    with pytest.raises(UsageError, match=r"--ask scor: the task t has no such output; did you mean `score`\?"):
        asked("{score: {type: integer}}", ["scor"])


def test_a_list_that_is_aligned_to_an_input_is_answered_entry_by_entry():
    (question,) = questions_of(load("ultrafeedback"))

    assert (question.column, question.kind, question.entries) == ("ratings", "rating", "generations")
    assert question.read([1, 5], 2) == [1, 5]
    with pytest.raises(ValueError, match="answer for each of the 3 entries"):
        question.read([1, 5], 3)


def test_the_built_in_judges_ask_for_their_verdict():
    kinds = {
        name: [(q.column, q.kind) for q in questions_of(load(name, params))]
        for name, params in {"pairwise-judge": {}, "rubric-judge": {}, "jury": {"jurors": ["m"]}}.items()
    }

    assert kinds["pairwise-judge"] == [("preference", "pair")]
    assert kinds["rubric-judge"] == [("score", "rating")]
    assert kinds["jury"] == [("score", "rating")]


@pytest.mark.parametrize("name", sorted(gallery()))
def test_every_built_in_task_has_questions_or_declares_no_outputs(name):
    params = {"jury": {"jurors": ["m"]}}.get(name, {})
    try:
        task = load(name, params, allow_code=True)
    except UsageError:  # a param without a default
        return

    if task.output_schemas(grouped=False):
        assert questions_of(task)
    else:
        with pytest.raises(UsageError, match="the task declares no outputs"):
            questions_of(task)


@pytest.mark.parametrize(
    ("inputs", "columns", "sides"),
    [
        ('{question: {}, answers: {type: "list[string]"}}', ["question", "answers"], "answers"),
        ("{question: {}, answer_a: {}, answer_b: {}}", ["question", "answer_a", "answer_b"], ("answer_a", "answer_b")),
        ("{question: {}, rejected: {}, chosen: {}}", ["rejected", "chosen"], ("chosen", "rejected")),
        ("{question: {}, response1: {}, response2: {}}", ["response1", "response2"], ("response1", "response2")),
        ("{question: {}, text: {}}", ["question", "text"], None),
    ],
)
def test_the_two_sides_of_a_pair_are_found(inputs, columns, sides):
    task = task_of(outputs("{x: {choices: [A, B]}}", inputs=inputs))

    assert sides_of(task, questions_of(task), columns) == sides


@pytest.mark.parametrize(
    ("output", "answer", "sentence"),
    [
        ("{choices: [good, poor]}", "great", '"great" is not one of the answers'),
        ("{type: boolean}", 1, "is not one of the answers"),
        ("{type: integer, minimum: 1, maximum: 5}", 6, "is not one of the answers"),
        ("{type: integer, minimum: 1, maximum: 5}", None, "there is no answer"),
        ("{type: integer}", 1.5, "1.5 is not of type"),
        ("{type: number, minimum: 0, maximum: 1}", 2, "2 is greater than the maximum"),
        ('{type: "list[enum]", choices: [a, b]}', ["c"], "is not one of"),
        ("{type: string, maxLength: 3}", "long", "longer than 3"),
        ("{type: object}", "{", "this is not valid JSON"),
    ],
)
def test_an_answer_of_the_wrong_type_is_refused_in_words(output, answer, sentence):
    (question,) = asked(f"{{x: {output}}}")

    with pytest.raises(ValueError, match=f"^x: .*{sentence}"):
        question.read(answer)


def test_answers_become_values_of_their_type():
    assert asked("{x: {type: integer}}")[0].read(3.0) == 3
    assert type(asked("{x: {type: integer}}")[0].read(3.0)) is int
    assert asked("{x: {type: object}}")[0].read('{"a": 1}') == {"a": 1}
    assert asked("{x: {type: integer, nullable: true}}")[0].read(None) is None
    assert asked("{x: {}}")[0].read("") is None
