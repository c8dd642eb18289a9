"""`distask stress`: a judge that is biased by construction is found, with the right share and direction, and no reply is paid for twice."""

from __future__ import annotations

import json
import re

import pytest

SCORE = """\
name: grade
inputs: {question: The question., answer: The answer.}
format_input:
  - {role: user, content: "{{ question }}\\n<answer>\\n{{ answer }}\\n</answer>"}
outputs:
  score: {type: integer, minimum: 1, maximum: 10}
format_output: {parser: regex, pattern: '(?P<score>\\d+)'}
llm: {temperature: 0}
"""
PAIR = """\
name: duel
inputs: {question: The question., answers: {type: "list[string]", minItems: 2, maxItems: 2}}
format_input:
  - {role: user, content: "{{ question }}\\n{% for answer in answers %}<answer>\\n{{ answer }}\\n</answer>\\n{% endfor %}"}
outputs:
  better: {choices: [A, B, tie]}
format_output: {parser: regex, pattern: '(?P<better>A|B|tie)'}
llm: {temperature: 0}
"""
ROWS = 20


def answers_in(body):
    return re.findall(r"<answer>\n(.*?)\n</answer>", body["messages"][-1]["content"], re.DOTALL)


def asked(server):
    """Replies that were requested."""
    return sum(body.get("n") or 1 for body in server.requests)


@pytest.fixture
def stress(shell):
    shell.write("grade.yaml", SCORE)
    shell.write("duel.yaml", PAIR)
    shell.write("one.jsonl", lines({"question": f"q{i}", "answer": f"answer {i}"} for i in range(ROWS)))
    shell.write("two.jsonl", lines({"question": f"q{i}", "answers": [f"{i} x", f"{i} y"]} for i in range(ROWS)))

    def run(spec, data, *more):
        return shell("stress", spec, "-i", data, "--base-url", "{url}", "--model", "m", *more)

    run.shell, run.server = shell, shell.server
    return run


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def biases(shell):
    return {event["bias"]: event for event in shell.events[:-1]}


def test_a_judge_that_prefers_the_first_place(stress):
    stress.server.reply = lambda _body: "A"

    said = stress("duel.yaml", "two.jsonl", "--bias", "position", "--json")

    found = biases(stress.shell)["position"]
    assert (said.code, said.err, found["n"], found["output"]) == (0, "", ROWS, "better")
    assert found["changed"]["value"] == 1 and 0.8 < found["changed"]["low"] < 1
    assert found["first_place"]["value"] == 1
    assert found["moves"] == [{"from": "A", "to": "B", "count": ROWS}]
    assert found["found"] is True
    assert asked(stress.server) == 2 * ROWS


def test_a_judge_that_prefers_the_last_place_in_a_known_share_of_the_rows(stress):
    def reply(body):
        first, second = answers_in(body)
        if int(first.split()[0]) < 5:  # the last place wins in 5 of the 20 rows
            return "B"
        return "A" if first.endswith("x") else "B"

    stress.server.reply = reply
    stress("duel.yaml", "two.jsonl", "--bias", "position", "--json")

    found = biases(stress.shell)["position"]
    assert found["changed"]["value"] == pytest.approx(5 / ROWS)
    assert found["first_place"]["value"] == pytest.approx(15 / 40)
    assert found["moves"] == [{"from": "B", "to": "A", "count": 5}]
    assert found["found"] is False


def test_a_fair_judge_has_no_bias(stress):
    stress.server.reply = lambda body: "A" if answers_in(body)[0].endswith("x") else "B"

    stress("duel.yaml", "two.jsonl", "--bias", "position", "--json")

    found = biases(stress.shell)["position"]
    assert (found["changed"]["value"], found["moves"], found["found"]) == (0, [], False)
    assert found["first_place"]["value"] == 0.5


def test_a_judge_that_prefers_length(stress):
    stress.server.reply = lambda body: "8" if len(answers_in(body)[0]) > 200 else "5"

    stress("grade.yaml", "one.jsonl", "--bias", "verbosity", "--json")

    found = biases(stress.shell)["verbosity"]
    assert (found["kind"], found["n"], found["changed"]["value"], found["found"]) == ("number", ROWS, 1, True)
    assert found["shift"] == {"value": 3, "low": 3, "high": 3}
    assert found["moves"] == []


def test_a_comparison_moves_toward_the_longer_answer_in_either_place(stress):
    def reply(body):
        first, second = answers_in(body)
        return "tie" if abs(len(first) - len(second)) < 50 else "A" if len(first) > len(second) else "B"

    stress.server.reply = reply
    stress("duel.yaml", "two.jsonl", "--bias", "verbosity", "--json")

    found = biases(stress.shell)["verbosity"]
    assert found["shift"]["value"] == 0.5  # from a tie to a win of the changed answer
    assert {(move["from"], move["to"]): move["count"] for move in found["moves"]} == {
        ("tie", "A"): 10,
        ("tie", "B"): 10,
    }
    assert found["found"] is True


def test_the_samples_of_a_row_are_compared_with_each_other(stress):
    stress.server.honours_n = False
    seen = {}

    def reply(body):
        text = answers_in(body)[0]
        seen[text] = seen.get(text, -1) + 1
        return "7" if int(text.split()[-1]) < 10 and seen[text] % 3 == 2 else "5"  # one of three, in half of the rows

    stress.server.reply = reply
    said = stress("grade.yaml", "one.jsonl", "--bias", "consistency", "--json", "-j", "1")

    found = biases(stress.shell)["consistency"]
    assert said.code == 0
    assert (found["n"], found["samples"], found["shift"]) == (ROWS, 3, None)
    assert found["changed"]["value"] == pytest.approx(0.5 * 2 / 3)  # two of the three pairs differ
    assert "temperature 0" in found["notes"][0] and "at temperature 1" in found["notes"][0]
    assert {body["temperature"] for body in stress.server.requests} == {0, 1}


def test_samples_of_a_judge_that_samples_anyway_reuse_its_first_reply(stress):
    stress.shell.write("warm.yaml", SCORE.replace("temperature: 0", "temperature: 0.7"))
    stress.server.reply = lambda _body: "5"

    stress("warm.yaml", "one.jsonl", "--bias", "consistency", "--samples", "4", "--dry-run", "--json")
    runs = {run["name"]: run for run in stress.shell.events[-1]["runs"]}
    assert (runs["base"]["missing"], runs["consistency"]["missing"], asked(stress.server)) == (ROWS, 3 * ROWS, 0)

    stress("warm.yaml", "one.jsonl", "--bias", "consistency", "--samples", "4", "--json")
    assert asked(stress.server) == 4 * ROWS
    assert {body["temperature"] for body in stress.server.requests} == {0.7}


def test_calls_are_as_announced_and_none_are_made_twice(stress):
    stress.server.reply = lambda _body: "5"
    dry = stress("grade.yaml", "one.jsonl", "--sample", "8", "--dry-run", "--json")

    announced = stress.shell.events[-1]
    assert (dry.code, announced["dry_run"], announced["skipped"].keys()) == (0, True, {"position"})
    assert {run["name"]: run["missing"] for run in announced["runs"]} == {
        "base": 8,
        "consistency": 24,
        "verbosity": 8,
        "format": 8,
        "authority": 8,
    }
    assert stress.server.requests == []

    stress("grade.yaml", "one.jsonl", "--sample", "8", "--json")
    assert asked(stress.server) == sum(run["missing"] for run in announced["runs"]) == 56
    assert stress.shell.events[-1]["completions"] == {"asked": 56, "stored": 0}

    stress("grade.yaml", "one.jsonl", "--sample", "8", "--json")
    assert asked(stress.server) == 56
    assert stress.shell.events[-1]["completions"] == {"asked": 0, "stored": 56}


def test_replies_of_a_run_are_reused(stress):
    stress.server.reply = lambda _body: "5"
    stress.shell("run", "grade.yaml", "-i", "one.jsonl", "--base-url", "{url}", "--model", "m", "-o", "out.jsonl")

    stress("grade.yaml", "one.jsonl", "--bias", "authority", "--sample", "5", "--json")

    assert asked(stress.server) == ROWS + 5


def test_what_is_printed(stress):
    stress.server.reply = lambda body: "8" if len(answers_in(body)[0]) > 200 else "5"

    said = stress("grade.yaml", "one.jsonl", "--bias", "verbosity", "-o", "out.jsonl")

    assert "grade · m · 2 runs of up to 20 rows · 40 replies to request" in said.err
    assert "verbosity Sentences that add nothing" in said.out
    assert "compared        20 rows" in said.out
    assert "changed         100.0 %" in said.out
    assert "shift           +3.000 (+3.000 to +3.000): change of the mean of `score`" in said.out
    assert "bias            yes, toward the changed answer" in said.out
    assert "40 replies requested, 0 from the store" in said.out
    rows = stress.shell.lines("out.jsonl")
    assert [(row["stress"], row["score"]) for row in rows] == [("base", 5)] * ROWS + [("verbosity", 8)] * ROWS
    assert [row["stress_row"] for row in rows] == [*range(ROWS), *range(ROWS)]
    assert rows[ROWS]["answer"].startswith("Thank you") and rows[0]["answer"] == "answer 0"


def test_an_output_of_something_else_is_not_replaced(stress):
    stress.server.reply = lambda _body: "5"
    stress.shell.write("out.jsonl", "mine\n")

    said = stress("grade.yaml", "one.jsonl", "--bias", "verbosity", "-o", "out.jsonl")

    assert (said.code, stress.server.requests) == (2, [])
    assert "already exists" in said.err
    assert stress("grade.yaml", "one.jsonl", "--bias", "verbosity", "-o", "out.jsonl", "--overwrite").code == 0
    assert stress("grade.yaml", "one.jsonl", "--bias", "verbosity", "-o", "out.jsonl").code == 0  # its own output


def test_a_gate_for_ci(stress):
    stress.server.reply = lambda _body: "A"

    arguments = ["duel.yaml", "two.jsonl", "--bias", "position"]
    said = stress(*arguments, "--require", "position.changed.high <= 0.1", "--require", "position.n >= 20")

    assert said.code == 3
    assert "not met: position.changed.high <= 0.1: changed.high of `better` is 1" in said.err
    assert "position.n >= 20" not in said.err
    assert stress(*arguments, "--require", "position.first_place.low > 0.5").code == 0
    stress(*arguments, "--require", "position.shift < 1", "--json")
    assert stress.shell.events[-1]["unmet"] == [
        "position.shift < 1: `position.shift` of `better` has no value",
    ]


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("verbosity.changed < 1", "the bias `verbosity` is not tested"),
        ("position < 1", "name a measure"),
        ("position.change < 1", "did you mean `changed`"),
        ("position.changed.hi < 1", "there is no `position.changed.hi`"),
        ("position.n.high < 1", "write `position.n`"),
        ("position.changed < many", "`many` is not a number"),
        ("position", "write a metric, a comparison and a number"),
    ],
)
def test_a_wrong_condition_is_refused_before_any_call(stress, condition, words):
    said = stress("duel.yaml", "two.jsonl", "--bias", "position", "--require", condition)

    assert (said.code, words in said.err, stress.server.requests) == (2, True, [])
