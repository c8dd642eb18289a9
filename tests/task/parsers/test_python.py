"""A function of the user's own reads replies, and only where that was allowed."""

from __future__ import annotations

import sys

import pytest

from distask.errors import InvalidReply, UsageError

SPEC = "outputs: {answer: {type: any}}\nformat_output: {parser: python, function: 'mine:read'}"


def code(body):
    return {
        "mine.py": f"import pathlib\npathlib.Path(__file__).with_name('ran').touch()\ndef read(reply, row):\n    {body}\n"
    }


def test_the_function_gets_the_reply_and_the_row(make_task):
    """And gives columns."""
    task = make_task(SPEC, files=code("return {'answer': [reply, row['question']]}"), allow_code=True)

    assert task.format_output("r", {"question": "q"}) == {"answer": ["r", "q"]}


def test_the_row_it_gets_is_a_copy(make_task):
    """What it does to it does not reach the output."""
    task, row = make_task(SPEC, files=code("row.clear(); return {'answer': 1}"), allow_code=True), {"question": "q"}

    task.format_output("r", row)

    assert row == {"question": "q"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('x')", "mine:read: KeyError: 'x'"),
        ("return None", "mine:read gave NoneType, not a dict of columns"),
        ("return {}", "answer"),
        ("return {'answer': float('nan')}", "answer"),
        ("return {'answer': object()}", "answer"),
        ("return {'answer': {1, 2}}", "answer"),
        ("return read(reply, row)", "mine:read: RecursionError"),
    ],
)
def test_what_goes_wrong_in_it_is_the_replys_failure(make_task, body, words):
    """With the kind of the error."""
    task = make_task(SPEC.replace("type: any", "type: object"), files=code(body), allow_code=True)

    with pytest.raises(InvalidReply, match=words[:9]) as failed:
        task.format_output("r", {"question": "q"})

    assert words in failed.value.message


def test_without_leave_nothing_of_it_is_imported(make_task, tmp_path):
    """The module is code too."""
    with pytest.raises(UsageError, match="--allow-code"):
        make_task(SPEC, files=code("return {}"))

    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("function", ["mine:gone", "gone_module:read"])
def test_a_function_that_is_not_there_is_reported(make_task, function):
    """Before any call."""
    before = set(sys.modules)

    with pytest.raises(UsageError, match="can't be loaded"):
        make_task(SPEC.replace("mine:read", function), files=code("return {}"), allow_code=True)

    assert "gone_module" not in set(sys.modules) - before
