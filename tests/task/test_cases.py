"""Golden cases: the spec against its own examples."""

from __future__ import annotations

import pytest

from distask.task.cases import same
from distask.task.load import run_cases


def found(make_spec, cases, rest=""):
    return run_cases(make_spec(f"{rest}\ncases:\n" + "\n".join(f"  - {case}" for case in cases)))


def test_cases_that_hold_say_nothing(make_spec):
    """Columns that a case does not name are free."""
    rest = "outputs: {answer: {type: integer}, other: {type: any, nullable: true}}\nformat_output: {parser: json}"
    cases = [
        """{input: {question: q}, reply: '{"answer": "4", "other": null}', expect: {answer: 4}}""",
        "{input: {question: q}, reply: 'none', error: JSON}",
        "{input: {}, reply: '', error: missing}",
        "{input: {question: q}, reply: {text: null, finish_reason: content_filter}, error: filter}",
    ]

    assert found(make_spec, cases, rest) == []


@pytest.mark.parametrize(
    ("case", "underlined", "words"),
    [
        ("{input: {question: q}, reply: two, expect: {answer: three}}", "three", '`answer`: expected "three", got "two"'),
        ("{name: n, input: {question: q}, reply: '', expect: {answer: x}}", "''", "case `n`: the reply is invalid: the reply is empty"),
        ("{input: {question: q}, reply: two, error: empty}", "empty", 'expected an error with "empty", got {"answer": "two"}'),
        ("{input: {question: q}, reply: '', error: other}", "other", 'expected an error with "other", got "the reply is empty"'),
        ("{input: {question: null}, reply: a, expect: {answer: a}}", "{question: null}", "no chat can be built from the row: the column `question` is null"),
        ("{input: {question: q}, reply: {texts: a}, expect: {answer: a}}", "a", "a reply has no `texts`"),
    ],
)  # fmt: skip
def test_a_case_that_does_not_hold_says_where_and_what_came(make_spec, case, underlined, words):
    """The caret stands under what was expected."""
    (diagnostic,) = found(make_spec, [case])

    assert words in diagnostic.message
    assert diagnostic.source[diagnostic.column - 1 :].startswith(underlined)


def test_all_cases_are_held_against_the_spec(make_spec):
    """One that breaks hides no other."""
    case = "{input: {question: q}, reply: two, expect: {answer: three}}"

    assert [d.message.partition(":")[0] for d in found(make_spec, [case, case])] == ["case 1", "case 2"]


def test_a_case_sets_its_own_params(make_spec):
    """And a param that is wrong is the case's fault."""
    rest = "params: {n: {type: integer, default: 1}}\noutputs: {answer: The answer., more: {when: n > 1}}\n"
    rest += 'format_output: {parser: text, column: answer, columns: {more: "{{ answer ~ n }}"}}'
    good = "{params: {n: 2}, input: {question: q}, reply: a, expect: {answer: a, more: a2}}"
    wrong = "{params: {n: x}, input: {question: q}, reply: a, expect: {answer: a}}"

    (diagnostic,) = found(make_spec, [good, wrong], rest)

    assert "--param n" in diagnostic.message


def test_cases_of_a_spec_that_runs_code_wait_until_that_is_allowed(make_spec, tmp_path):
    """`validate` imports nothing."""
    spec = make_spec(
        """
        format_output: {parser: python, function: "hook:read"}
        cases: [{input: {question: q}, reply: a, expect: {answer: b}}]
        """,
        {"hook.py": "open(__file__ + '.ran', 'w').close()\ndef read(reply, row):\n    return {'answer': reply}\n"},
    )

    assert run_cases(spec) == []
    assert not (tmp_path / "hook.py.ran").exists()
    assert len(run_cases(spec, allow_code=True)) == 1


@pytest.mark.parametrize(
    ("value", "wanted", "equal"),
    [
        (1, 1.0, True),
        (True, 1, False),
        ([True], [1], False),
        ({"a": 1, "b": None}, {"b": None, "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ([1, 2], [1], False),
        ("1", 1, False),
        (None, None, True),
    ],
)
def test_values_are_the_same_as_json_has_it(value, wanted, equal):
    """True is not 1, and the order of keys is nothing."""
    assert same(value, wanted) is equal
