"""The gallery beside distilabel on the same replies: `distilabel.jsonl` holds what distilabel gave, see `ask_distilabel`.

A reply in the form that was asked for gives the same columns. Of any other, a value that distilabel has and that is not
the same is one of those below, where it is wrong; where nothing can be told, there is null and a reason.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from distask.errors import InvalidReply
from distask.task.task import Task

ROOT = Path(__file__).parents[2]
_, *RECORDS = map(json.loads, Path(__file__).with_name("distilabel.jsonl").read_text(encoding="utf-8").splitlines())

JSON_OBJECTS = [
    "one object",
    "another script",
    "over several lines, with quotation marks and line breaks in a text",
    "keys in another order",
]
WELL_FORMED = {
    "apigen-generator": [
        "a list with one pair",
        "calls in parallel, of another function among the tools",
        "another script, a call without arguments",
    ],
    "apigen-semantic-checker": ["it passes", "it does not pass", "no thought where it passes", "another script"],
    "argilla-labeller": [
        "a label",
        "several labels, the question in the row",
        "a rating, with an example",
        "a text in another script",
        "no label fits",
    ],
    "bitext-retrieval-generator": JSON_OBJECTS,
    "chat-generation": [
        "one question",
        "a conversation of several turns, with a system message",
        "text that looks like another role stays the user's",
        "content in parts, with an image",
    ],
    "clair": [
        "the format as asked for",
        "the reasoning, then the bold heading",
        "a solution of several paragraphs",
        "another script",
    ],
    "complexity-scorer": ["the format as asked for", "one instruction"],
    "embedding-task-generator": ["a JSON list", "over several lines", "one task", "other scripts"],
    "generate-long-text-matching-data": JSON_OBJECTS,
    "generate-sentence-pair": [
        "a positive sentence",
        "a triplet",
        "a triplet with a hard negative and a context",
        "an answer in another script",
    ],
    "generate-short-text-matching-data": JSON_OBJECTS,
    "generate-text-classification-data": JSON_OBJECTS,
    "generate-text-retrieval-data": JSON_OBJECTS,
    "genstruct": [
        "the format as asked for",
        "markers on lines of their own",
        "another script",
        "code and lists in the answer stay",
    ],
    "instruction-backtranslation": [
        "the reason, then the score",
        "a reason of several paragraphs",
        "a low score",
        "in another language, with the label kept",
    ],
    "math-shepherd-generator": ["the golden solution", "two solutions", "another script"],
    "monolingual-triplet-generator": JSON_OBJECTS,
    "prometheus-eval": [
        "the format as asked for",
        "the better of two",
        "with a reference, the verdict on a line of its own",
    ],
    "quality-scorer": ["the format as asked for", "one response"],
    "self-instruct": ["one a line", "empty lines between", "fewer than were asked for", "another script"],
    "structured-generation": [
        "a JSON object",
        "a string that a pattern matches",
        "spread over lines, in another script",
        "a shape with a list of objects",
    ],
    "text-classification": [
        "one label, plain JSON",
        "several labels are a list",
        "a text that can't be labelled",
        "the words no and yes are labels too",
    ],
    "text-generation": [
        "a plain answer",
        "white space and other scripts stay as they came",
        "markdown, fences and code stay as they are",
    ],
    "ultrafeedback": ["the format as asked for", "truthfulness, with types", "N/A and None are null"],
    "urial": ["an answer", "a conversation", "several paragraphs", "another script"],
}
"""Cases whose reply is in the form that the prompt asks for."""

MISREAD = {
    "clair": {
        "bold markers with underscores": "the markers' asterisks are in the columns",
        "open thinking with a marker in it": "the revision is that of the thinking",
    },
    "complexity-scorer": {
        "a 9 on a scale of 6 is invalid": "the 9 is a score",
        "in another order": "each instruction has the other's score",
        "one is left out": "the third one's score is the second one's",
    },
    "embedding-task-generator": {
        "in a fence, with prose before": "the column is the whole reply",
        "in an object": "the column is the object",
        "a numbered list where JSON was asked for": "the column is the whole reply",
        "open thinking with a list in it": "the column is the whole reply",
        "text that would run is text": "the text of the reply was run, and the column is what it returned",
    },
    "generate-sentence-pair": {
        "prose before, another heading's level": "the positive sentence has both, and the headings",
        "the negative first": "there is no negative sentence",
    },
    "genstruct": {
        "the user's marker is repeated, after prose": "the prose is in the user's turn",
        "a second exchange is no part of the first": "the second exchange is in the assistant's turn",
    },
    "instruction-backtranslation": {
        "a score that is mentioned before the last one": "a score that the reason only weighs is the score",
        "open thinking": "the thinking is in the reason",
    },
    "math-shepherd-generator": {
        "numbered or with bullets, in a fence": "steps that do not begin with `Step` are gone, the fence is in one",
        "fewer solutions than were asked for": "there is a solution without steps",
        "a bold line between solutions": "the asterisks are in a step",
        "more solutions than were asked for": "there are more than `M`",
    },
    "quality-scorer": {
        "a 10 on a scale of 6 is invalid": "the 10 is a score",
        "a range is no score": "the range's first number is a score",
        "the last one first, and a line between": "the second one's score is the first one's",
        "one is left out": "the third one's score is the second one's",
        "cut after the first": "there are two scores for three responses",
    },
    "self-instruct": {
        "numbered, with a line of prose before": "the prose is an instruction, numbers are in the others",
        "bullets": "the bullets are in the instructions",
        "bold numbers with brackets": "the numbers are in the instructions",
        "a JSON list": "the fence and the JSON are instructions",
        "open thinking": "the thinking is instructions",
        "an instruction over two lines of a numbered list": "its second line is an instruction",
    },
    "text-classification": {
        "one label in a list of one is that label": "the column is a list where others are texts",
        "a single string where several may be given is a list of one": "the column is a text where others are lists",
    },
    "ultrafeedback": {
        "a 9 on a scale of 5 is invalid": "the 9 is a rating",
        "a rating on another scale is invalid": "the 4 of 4/10 is a rating",
        "half a point is no whole number": "the 4 of 4.5 is a rating",
        "a type that there is not is invalid": "the 7 is a type",
        "instruction-following, with heading lines and prose before": "there are five ratings of two texts",
        "a block without its type keeps its place": "its rating is gone",
        "fewer blocks than texts leave nulls": "there is one rating of three texts",
        "more blocks than texts are cut": "there are two ratings of one text",
        "a text's words about ratings are no block": "the second rating is gone",
        "in another script, after open thinking": "there are three ratings of two texts, all moved by one",
    },
    "urial": {
        "a query of another form is cut off": "the next user's turn is in the answer",
        "a heading of the answer's own stays": "the answer is cut at its own heading",
        "the assistant's marker again": "the marker is in the answer",
    },
}
"""Cases where both give columns and distilabel's are wrong, and what it did."""


def is_well_formed(record):
    return record["case"] in WELL_FORMED[record["task"]]


@cache
def task_of(name, params):
    return Task.load(name, json.loads(params))


def ours(record):
    """The columns that the gallery's task gives, or the reason why there are none."""
    try:
        return task_of(record["task"], json.dumps(record["params"])).format_output(record["reply"], record["input"])
    except InvalidReply as error:
        return error.message


def theirs(record):
    """The columns that distilabel gave; None where it gave nulls only, or raised."""
    gave = record.get("gave", {})
    return {key: plain(value) for key, value in gave.items()} if any(map(says_something, gave.values())) else None


def says_something(value):
    return any(map(says_something, value)) if isinstance(value, list) else value is not None


def plain(value):
    """A value without what is said to differ: JSON text for calls, the white space around texts, `agent`."""
    if isinstance(value, str):
        text = value.strip()
        return json.loads(text) if text.startswith('[{"name"') else text or None
    if isinstance(value, list):
        return list(map(plain, value))
    return {k: plain(v) for k, v in value.items() if k != "agent"} if isinstance(value, dict) else value


def ids(record):
    return f"{record['task']}: {record['case']}"


@pytest.mark.parametrize("record", [r for r in RECORDS if is_well_formed(r)], ids=ids)
def test_a_reply_in_the_form_that_was_asked_for_gives_distilabels_columns(record):
    columns = ours(record)

    assert plain(columns) == theirs(record)


@pytest.mark.parametrize("record", [r for r in RECORDS if not is_well_formed(r)], ids=ids)
def test_a_flawed_reply_gives_what_it_plainly_means_or_null_and_a_reason(record):
    columns = ours(record)

    if isinstance(columns, str):
        assert columns
    else:
        gave = theirs(record)
        differs = gave is not None and plain(columns) != {name: gave.get(name) for name in columns}
        assert differs == (record["case"] in MISREAD.get(record["task"], {}))


def test_the_docs_say_how_many_replies_distilabel_reads_otherwise():
    """The figures of `docs/distilabel.md`."""
    flawed = [r for r in RECORDS if not is_well_formed(r)]
    raised = sum("raised" in r for r in flawed)
    other = sum(
        theirs(r) is not None and (isinstance(ours(r), str) or r["case"] in MISREAD.get(r["task"], {})) for r in flawed
    )
    text = " ".join((ROOT / "docs" / "distilabel.md").read_text(encoding="utf-8").split())

    assert f"the tasks that both have, {len(RECORDS)} of them" in text
    assert f"The {len(RECORDS) - len(flawed)} that are in the form that was asked for" in text
    assert f"Of the {len(flawed)} others distilabel gives another value for {other} " in text
    assert f"and raises for {raised}." in text


def test_every_task_that_both_have_was_asked_and_has_replies_of_both_kinds():
    asked = {(r["task"], r["case"]) for r in RECORDS}
    flawed = {r["task"] for r in RECORDS if not is_well_formed(r)}

    assert {name for name, _ in asked} == flawed == WELL_FORMED.keys()
    assert {(name, case) for name, cases in WELL_FORMED.items() for case in cases} <= asked
    assert {(name, case) for name, cases in MISREAD.items() for case in cases} <= asked
