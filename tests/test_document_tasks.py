"""Tasks that make data from documents: invented evidence is retried, judges see what they should, and offline runs quote."""

from __future__ import annotations

import json
import re

import pytest

from distask import load, run
from distask.errors import UsageError

DOCUMENT = "Tides come twice a day.\nSpring tides come\nat full and new moon. Neap tides come at half moon."
WRITTEN = {
    "qa-from-document": {"question": "How often do tides come?", "answer": "Twice a day.", "evidence": "EVIDENCE"},
    "multi-hop-qa": {
        "question": "Which tides come at full moon, not at half moon?",
        "answer": "Spring tides.",
        "evidence": ["EVIDENCE", "Neap tides come at half moon."],
    },
    "conversation-from-document": {
        "messages": [{"role": "user", "content": "How often?"}, {"role": "assistant", "content": "Twice."}],
        "evidence": ["EVIDENCE"],
    },
    "instructions-from-document": {"instruction": "Explain tides.", "response": "Twice.", "evidence": ["EVIDENCE"]},
    "summaries": {"instruction": "Sum it up.", "summary": "Two tides a day.", "evidence": ["EVIDENCE"]},
    "cloze": {"sentence": "EVIDENCE", "answer": "tides"},
}
"""For each task, a reply whose evidence is replaced."""
PARAMS = {
    "conversation-from-document": {"exchanges": 1},
    "instructions-from-document": {"num_instructions": 1},
    "summaries": {"forms": {"sentence": 20}},
}
TRUE, INVENTED = "Spring tides come at full and new moon.", "Spring tides come with the moon."


def written(name, evidence):
    return json.dumps(WRITTEN[name]).replace("EVIDENCE", evidence)


def row_of(name):
    return {"chunks": [DOCUMENT[:63], DOCUMENT[63:]]} if name == "multi-hop-qa" else {"document": DOCUMENT}


def is_judge(body):
    asked = body["messages"][0]["content"] if len(body["messages"]) > 1 else ""
    return asked.startswith("You check") or "Fill the blank" in body["messages"][-1]["content"]


def judged(body):
    if "Fill the blank" in body["messages"][-1]["content"]:
        return "<blank>tides</blank>"
    asked = re.findall(r'^- "(\w+)":', body["messages"][-1]["content"], re.MULTILINE)
    return json.dumps({"reason": "It is so.", **dict.fromkeys(asked, True)})


def run_with(server, name, row, **params):
    llm = {"model": "m", "base_url": server.url, "api_key_env": None}
    return run(load(name, {**PARAMS.get(name, {}), **params}), [row], llm=llm, store=False)


@pytest.mark.parametrize("name", WRITTEN)
def test_invented_evidence_is_retried_with_the_reason(server, name):
    """The second reply is used; line breaks in the document do not matter."""
    replies = iter([INVENTED, TRUE])
    server.reply = lambda body: judged(body) if is_judge(body) else written(name, next(replies))

    (row,) = run_with(server, name, row_of(name)).rows

    write, again, judge = server.requests
    assert [message["role"] for message in again["messages"][len(write["messages"]) :]] == ["assistant", "user"]
    assert "quoted_from" in again["messages"][-1]["content"]
    assert is_judge(judge)
    assert TRUE in json.dumps(row)
    assert INVENTED not in json.dumps({key: value for key, value in row.items() if key != "distask_metadata"})


@pytest.mark.parametrize("name", WRITTEN)
def test_evidence_that_stays_invented_leaves_no_row_to_train_on(server, name):
    """Three requests and no judge; the columns are null, or the row of a list is left out, and the reason is kept."""
    server.reply = lambda _body: written(name, INVENTED)

    result = run_with(server, name, row_of(name))

    assert len(server.requests) == 3
    assert not any(map(is_judge, server.requests))
    assert result.stats.failures == {"check": 1}
    assert "quoted_from" in result.failures[0].message
    for row in result.rows:
        made = {key: value for key, value in row.items() if key not in ("distask_metadata", "kind", "user")}
        assert INVENTED not in json.dumps(made)
        assert made.get("evidence") is None


@pytest.mark.parametrize("name", WRITTEN)
def test_a_simulated_run_gives_valid_rows_with_evidence_from_the_row(name):
    """No row fails, for several draws, and what is quoted is in the document."""
    rows = [row_of(name)] * 20

    result = run(load(name), rows, llm="offline", store=False)

    assert result.stats.failures == {}
    assert len(result.rows) >= 20
    plain = " ".join(DOCUMENT.split())
    for row in result.rows:
        evidence = row["sentence"] if name == "cloze" else row["evidence"]
        for passage in [evidence] if isinstance(evidence, str) else evidence:
            assert " ".join(passage.split()) in plain


@pytest.mark.parametrize("document", [DOCUMENT, DOCUMENT.replace("\n", " ")])
def test_cloze_is_solved_without_the_sentence(server, document):
    """The solver sees the document with the blank, even if a line ends in the sentence."""
    server.reply = lambda body: judged(body) if is_judge(body) else written("cloze", TRUE)

    (row,) = run_with(server, "cloze", {"document": document}).rows

    shown = server.requests[-1]["messages"][-1]["content"]
    assert " ".join(TRUE.split()) not in " ".join(shown.split())
    assert shown.count("_____") >= 2
    assert row["solved"] is True


def test_the_answer_of_a_cloze_is_in_every_place_among_the_choices(server):
    """The solver sees the choices in the order of the column, so that a place gives nothing away."""
    reply = {"sentence": "Tides come twice a day.", "answer": "twice", "distractors": ["once", "thrice"]}
    server.reply = lambda body: "<blank>twice</blank>" if is_judge(body) else json.dumps(reply)
    task = load("cloze", {"num_distractors": 2})
    llm = {"model": "m", "base_url": server.url, "api_key_env": None}

    rows = run(task, [{"document": DOCUMENT}] * 20, llm=llm, store=False).rows

    assert {tuple(sorted(row["options"])) for row in rows} == {("once", "thrice", "twice")}
    assert {row["options"].index("twice") for row in rows} == {0, 1, 2}
    shown = [body["messages"][-1]["content"] for body in server.requests if is_judge(body)]
    listed = {"".join(f"- {option}\n" for option in row["options"]) for row in rows}
    assert all(any(lines in text for lines in listed) for text in shown)


def test_kinds_and_difficulties_are_drawn_by_quota():
    """A kind without weight is never drawn, and the shares are those of the weights."""
    params = {"kinds": {"fact": 3, "reason": 1, "procedure": 0}, "difficulties": ["easy"], "judge": False}

    rows = run(load("qa-from-document", params), [{"document": DOCUMENT}] * 200, llm="offline", store=False).rows
    kinds = [row["kind"] for row in rows]

    assert {row["difficulty"] for row in rows} == {"easy"}
    assert set(kinds) == {"fact", "reason"}
    assert 148 <= kinds.count("fact") <= 152


@pytest.mark.parametrize("forms", [{}, {"sentence": 0}, {"sentence": "short"}, ["sentence"]])
def test_summaries_need_a_form_with_a_number_of_words(forms):
    """A run with other forms ends before the first row."""
    with pytest.raises(UsageError, match="forms"):
        load("summaries", {"forms": forms})
