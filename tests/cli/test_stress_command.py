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

    result = stress("duel.yaml", "two.jsonl", "--bias", "position", "--json")

    found = biases(stress.shell)["position"]
    assert (result.code, result.err, found["n"], found["output"]) == (0, "", ROWS, "better")
    assert found["changed"]["value"] == 1
    assert 0.8 < found["changed"]["low"] < 1
    assert found["first_place"]["value"] == 1
    assert found["moves"] == [{"from": "A", "to": "B", "count": ROWS}]
    assert found["found"] is True
    assert asked(stress.server) == 2 * ROWS


def test_a_judge_that_prefers_the_last_place_in_a_known_share_of_the_rows(stress):
    def reply(body):
        first, _ = answers_in(body)
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
    result = stress("grade.yaml", "one.jsonl", "--bias", "consistency", "--json", "-j", "1")

    found = biases(stress.shell)["consistency"]
    assert result.code == 0
    assert (found["n"], found["samples"], found["shift"]) == (ROWS, 3, None)
    assert found["changed"]["value"] == pytest.approx(0.5 * 2 / 3)  # two of the three pairs differ
    assert found["notes"] == ["the judge has temperature 0; its replies are sampled at temperature 1"]
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

    result = stress("grade.yaml", "one.jsonl", "--bias", "verbosity", "-o", "out.jsonl")

    assert "grade · m · 2 runs of up to 20 rows · 40 replies to request" in result.err
    assert "verbosity Sentences that add nothing" in result.out
    assert "compared        20 rows" in result.out
    assert "changed         100.0 %" in result.out
    assert "shift           +3.000 (+3.000 to +3.000): change of the mean of `score`" in result.out
    assert "bias            yes, toward the changed answer" in result.out
    assert "40 replies requested, 0 from the store" in result.out
    rows = stress.shell.lines("out.jsonl")
    assert [(row["stress"], row["score"]) for row in rows] == [("base", 5)] * ROWS + [("verbosity", 8)] * ROWS
    assert [row["stress_row"] for row in rows] == [*range(ROWS), *range(ROWS)]
    assert rows[ROWS]["answer"].startswith("Thank you")
    assert rows[0]["answer"] == "answer 0"


def test_an_output_of_something_else_is_not_replaced(stress):
    stress.server.reply = lambda _body: "5"
    stress.shell.write("out.jsonl", "mine\n")

    result = stress("grade.yaml", "one.jsonl", "--bias", "verbosity", "-o", "out.jsonl")

    assert (result.code, stress.server.requests) == (2, [])
    assert "already exists" in result.err
    assert stress("grade.yaml", "one.jsonl", "--bias", "verbosity", "-o", "out.jsonl", "--overwrite").code == 0
    assert stress("grade.yaml", "one.jsonl", "--bias", "verbosity", "-o", "out.jsonl").code == 0  # its own output


def test_a_gate_for_ci(stress):
    stress.server.reply = lambda _body: "A"

    arguments = ["duel.yaml", "two.jsonl", "--bias", "position"]
    result = stress(*arguments, "--require", "position.changed.high <= 0.1", "--require", "position.n >= 20")

    assert result.code == 3
    assert "not met: position.changed.high <= 0.1: changed.high of `better` is 1" in result.err
    assert "position.n >= 20" not in result.err
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
    result = stress("duel.yaml", "two.jsonl", "--bias", "position", "--require", condition)

    assert (result.code, words in result.err, stress.server.requests) == (2, True, [])


LIST = """\
name: rate
inputs: {question: The question., texts: {type: "list[string]"}}
format_input:
  - {role: user, content: "{{ question }}\\n{% for text in texts %}<answer>\\n{{ text }}\\n</answer>\\n{% endfor %}"}
outputs:
  scores: {type: "list[integer]"}
format_output: {parser: json, align_to: texts}
llm: {temperature: 0}
"""


def test_scores_of_a_list_are_compared_answer_by_answer(stress):
    stress.shell.write(
        "rate.yaml",
        LIST.replace(
            "{parser: json, align_to: texts}",
            "{parser: regex, find: all, align_to: texts, pattern: '(?P<scores>[0-9]+)'}",
        ),
    )
    stress.shell.write("lists.csv", "question,texts\n" + "".join(f'q{i},"[""a"", ""b"", ""c""]"\n' for i in range(20)))
    stress.server.reply = lambda body: " ".join(["5", "3", "3"] if len(answers_in(body)) == 3 else ["1"])

    result = stress("rate.yaml", "lists.csv", "--bias", "position", "--bias", "authority", "--json")

    found = biases(stress.shell)
    assert (result.code, found.keys()) == (0, {"position", "authority"})
    assert found["position"]["n"] == 20
    assert found["position"]["changed"]["value"] == pytest.approx(2 / 3)  # of the first and the last of three answers
    assert found["position"]["shift"]["value"] == 2
    assert (found["position"]["found"], found["authority"]["found"]) == (True, False)


def test_only_the_changed_answer_of_a_list_counts(stress):
    stress.shell.write(
        "rate.yaml",
        LIST.replace(
            "{parser: json, align_to: texts}",
            "{parser: regex, find: all, align_to: texts, pattern: '(?P<scores>[0-9]+)'}",
        ),
    )
    stress.shell.write("lists.jsonl", lines({"question": f"q{i}", "texts": ["a", "b"]} for i in range(20)))
    stress.server.reply = lambda body: " ".join("9" if len(text) > 50 else "4" for text in answers_in(body))

    stress("rate.yaml", "lists.jsonl", "--bias", "authority", "--json")

    found = biases(stress.shell)["authority"]
    assert (found["n"], found["changed"]["value"], found["shift"]["value"]) == (20, 1, 5)


def test_a_task_that_asks_both_orders_itself_is_not_asked_for_them_again(stress):
    stress.shell.write(
        "pairs.jsonl", lines({"instruction": f"q{i}", "generations": [f"{i}", f"{i} more"]} for i in range(20))
    )
    stress.server.reply = lambda _body: "Verdict: [[A]]"

    result = stress("pairwise-judge", "pairs.jsonl", "--bias", "position", "--json")

    found = biases(stress.shell)["position"]
    assert (result.code, found["output"], found["n"], len(stress.server.requests)) == (0, "preference", 20, 40)
    assert (found["changed"]["value"], found["first_place"]["value"], found["found"]) == (1, 1, True)
    assert "the task itself compares the answers in both orders" in found["notes"][0]
    stress("pairwise-judge", "pairs.jsonl", "--bias", "position", "--bias", "authority", "--dry-run", "--json")
    assert {run["name"]: (run["stored"], run["missing"]) for run in stress.shell.events[-1]["runs"]} == {
        "base": (40, 0),
        "authority": (0, 40),
    }


def test_two_columns_of_answers_are_exchanged(stress):
    stress.shell.write(
        "sides.yaml",
        PAIR.replace(
            'answers: {type: "list[string]", minItems: 2, maxItems: 2}', "answer_a: One., answer_b: The other."
        ).replace("{% for answer in answers %}", "{% for answer in [answer_a, answer_b] %}"),
    )
    stress.shell.write(
        "sides.jsonl", lines({"question": f"q{i}", "answer_a": f"{i}", "answer_b": f"{i}!"} for i in range(20))
    )
    stress.server.reply = lambda _body: "B"

    stress("sides.yaml", "sides.jsonl", "--bias", "position", "--json", "-o", "out.jsonl")

    found = biases(stress.shell)["position"]
    assert (found["changed"]["value"], found["first_place"]["value"]) == (1, 0)
    assert stress.shell.lines("out.jsonl")[20]["answer_a"] == "0!"


def test_rows_that_stay_the_same_are_not_sent(stress):
    stress.shell.write(
        "same.jsonl", lines({"question": f"q{i}", "answers": ["same", "same" if i % 2 else "other"]} for i in range(20))
    )
    stress.server.reply = lambda _body: "A"

    stress("duel.yaml", "same.jsonl", "--bias", "position", "--json")

    found = biases(stress.shell)["position"]
    assert (found["n"], found["unchanged"], asked(stress.server)) == (10, 10, 30)


def test_failed_rows_are_counted_before_and_after_the_change(stress):
    def reply(body):
        text = answers_in(body)[0]
        number = int(re.search(r"answer (\d+)", text)[1])
        return "no score" if number < 3 or (number < 7 and len(text) > 200) else "5"

    stress.server.reply = reply
    for then in ("keep", "drop"):
        stress.shell.write("grade.yaml", SCORE + ("" if then == "keep" else "on_invalid: {then: drop}\n"))
        stress("grade.yaml", "one.jsonl", "--bias", "verbosity", "--json")

        found = biases(stress.shell)["verbosity"]
        assert found["n"] == 13
        assert found["failed_before"] + found["failed"] == 7
    assert stress.shell.events[-1]["exit_code"] == 0


def test_a_change_of_your_own(stress):
    stress.shell.write(
        "mine.yaml",
        """\
shouting: {toward: higher, answer: "{{ answer | upper }}"}
polite:
  description: The question is asked politely.
  inputs: {question: "Please: {{ question }}"}
""",
    )
    stress.server.reply = lambda body: "9" if answers_in(body)[0].isupper() else "4" if "Please" in str(body) else "6"

    result = stress(
        "grade.yaml", "one.jsonl", "--transforms", "mine.yaml", "--bias", "shouting", "--bias", "polite", "--json"
    )

    found = biases(stress.shell)
    assert (result.code, found["shouting"]["shift"]["value"], found["shouting"]["found"]) == (0, 3, True)
    assert (found["polite"]["shift"]["value"], found["polite"]["found"]) == (-2, None)
    assert found["polite"]["description"] == "The question is asked politely."


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("mine: {}", "mine.yaml:1:1", "`mine` changes nothing"),
        ("mine: {anwser: x}", "mine.yaml:1:8", "did you mean `answer`?"),
        ("mine:\n  answer: '{{ answer | uper }}'", "mine.yaml:2", "uper"),
        ("mine:\n  answer: '{{ answer'", "mine.yaml:2", "unexpected end"),
        ("mine: {answer: Always this.}", "mine.yaml:1:16", "does not contain the answer"),
        ("mine: {samples: 1}", "mine.yaml:1:17", "2"),
        ("mine: {samples: 3, answer: '{{ answer }}!'}", "mine.yaml:1:20", "can't be combined"),
        ("mine: {temperature: 1, answer: '{{ answer }}!'}", "mine.yaml:1:8", "`temperature` needs `samples`"),
        ("mine: {toward: first, answer: '{{ answer }}!'}", "mine.yaml:1:16", "`higher` or `lower`"),
        ("mine: {toward: higher, order: reversed}", "mine.yaml:1:16", "`first` or `last`"),
        ("Mine!: {order: reversed}", "mine.yaml:1:1", "is not a valid name"),
        ("base: {order: reversed}", "mine.yaml:1:1", "unchanged rows"),
        ("mine: {inputs: {}}", "mine.yaml:1:16", "no input is changed"),
        ("mine: {inputs: {qestion: x}}", "mine.yaml:1:", "did you mean `question`?"),
        ("- order", "mine.yaml:1:1", "must be a mapping"),
        ("mine:\n  answer: '{{ answer ~ anser }}'", "mine.yaml:2", "one.jsonl:1: "),
        ("mine:\n  inputs: {question: '{{ question.x.y }}'}", "mine.yaml:2", "one.jsonl:1: "),
    ],
)
def test_a_wrong_change_is_shown_with_its_line_before_any_call(stress, text, place, words):
    stress.shell.write("mine.yaml", text + "\n")

    result = stress("grade.yaml", "one.jsonl", "--transforms", "mine.yaml")

    assert (result.code, stress.server.requests) == (2, [])
    assert place in result.err
    assert words in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bias", "positon"], "did you mean `position`"),
        (["--bias", "position"], "--bias position: the task judges one answer at a time"),
        (["--verdict", "scor"], "did you mean `score`"),
        (["--answer", "anser"], "did you mean `answer`"),
        (["--orders", "verdicts"], "--orders verdicts: the task grade has no such output"),
        (["-o", "s3://bucket/out.jsonl"], "write a local file"),
        (["-o", "out"], "write a local file"),
        (["--transforms", "none.yaml"], "none.yaml"),
    ],
)
def test_wrong_options_are_refused_before_any_call(stress, arguments, words):
    result = stress("grade.yaml", "one.jsonl", *arguments)

    assert (result.code, words in result.err, stress.server.requests) == (2, True, []), result.err


def test_a_task_of_free_text_has_no_verdict(stress):
    result = stress.shell("stress", "task.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m")

    assert (result.code, "`generation` can't be compared" in result.err, stress.server.requests) == (2, True, [])


def test_the_answers_can_be_named(stress):
    stress.shell.write(
        "odd.yaml",
        SCORE.replace("answer: The answer.", "this: One., that: Another.").replace(
            "{{ answer }}", "{{ this }} {{ that }}"
        ),
    )
    stress.shell.write("odd.jsonl", lines({"question": "q", "this": f"{i}", "that": "fine"} for i in range(4)))
    stress.server.reply = lambda body: "9" if "Whitfield" in str(body) else "5"

    unknown = stress("odd.yaml", "odd.jsonl", "--bias", "authority")
    stress("odd.yaml", "odd.jsonl", "--bias", "authority", "--answer", "this", "--json")

    assert (unknown.code, "name them with --answer" in unknown.err) == (2, True)
    assert biases(stress.shell)["authority"]["shift"]["value"] == 4


def test_answers_that_are_not_text_are_an_error_with_the_line(stress):
    stress.shell.write("odd.jsonl", lines([{"question": "q", "answer": "x"}, {"question": "q", "answer": 5}]))

    result = stress("grade.yaml", "odd.jsonl", "--bias", "verbosity")

    assert (result.code, stress.server.requests) == (2, [])
    assert "odd.jsonl:2: the answers in `answer` are not texts" in result.err


def test_the_cost_limit_holds_for_all_runs_together(stress):
    stress.server.reply = lambda _body: "5"
    price = ["--set", "price.input=100", "--set", "price.output=100", "--set", "llm.max_tokens=1"]
    arguments = ["grade.yaml", "one.jsonl", "--bias", "authority", "-j", "1", *price]

    dry = stress(*arguments, "--dry-run", "--json")
    most = sum(run["cost_usd"]["most"] for run in stress.shell.events[-1]["runs"])
    assert (dry.code, most > 0) == (0, True)
    result = stress(*arguments, "--max-cost", str(most / 2))
    assert result.code == 1
    assert "--max-cost" in result.err
    assert "distask stress grade.yaml" in result.err
    before = asked(stress.server)
    assert ROWS <= before < 2 * ROWS
    assert stress(*arguments, "--max-cost", str(most)).code == 0  # resumes: nothing is asked twice
    assert asked(stress.server) == 2 * ROWS


def test_rows_on_stdin(stress):
    stress.server.reply = lambda _body: "5"

    result = stress.shell(
        *("stress", "grade.yaml", "-i", "-", "--base-url", "{url}", "--model", "m", "--bias", "authority", "--json"),
        stdin=(stress.shell.folder / "one.jsonl").read_text(),
    )

    assert (result.code, biases(stress.shell)["authority"]["n"], asked(stress.server)) == (0, ROWS, 2 * ROWS)


def test_a_number_that_moves_less_than_the_tolerance_has_not_changed(stress):
    stress.server.reply = lambda body: "6" if "Whitfield" in str(body) else "5"

    stress("grade.yaml", "one.jsonl", "--bias", "authority", "--tolerance", "1", "--json")

    found = biases(stress.shell)["authority"]
    assert (found["changed"]["value"], found["shift"]["value"]) == (0, 1)


def test_ranks_and_other_numbers_where_lower_is_better(stress):
    stress.server.reply = lambda body: "1" if "Whitfield" in str(body) else "5"

    stress("grade.yaml", "one.jsonl", "--bias", "authority", "--lower-is-better", "--json")

    found = biases(stress.shell)["authority"]
    assert (found["shift"]["value"], found["found"]) == (4, True)


def test_a_task_of_steps_is_sampled_at_another_temperature_too(stress):
    stress.shell.write(
        "pairs.jsonl", lines({"instruction": f"q{i}", "generations": [f"{i}", f"{i} more"]} for i in range(4))
    )
    stress.server.reply = lambda _body: "Verdict: [[A]]"

    stress("pairwise-judge", "pairs.jsonl", "--bias", "consistency", "--json")

    temperatures = [body["temperature"] for body in stress.server.requests for _ in range(body.get("n") or 1)]
    assert (temperatures.count(0), temperatures.count(1), len(temperatures)) == (8, 24, 32)
    assert biases(stress.shell)["consistency"]["changed"]["value"] == 0


def test_a_test_is_small_by_default(stress):
    stress.shell.write("many.jsonl", lines({"question": f"q{i}", "answer": f"a{i}"} for i in range(150)))

    stress("grade.yaml", "many.jsonl", "--bias", "authority", "--dry-run", "--json")
    assert [run["rows"] for run in stress.shell.events[-1]["runs"]] == [100, 100]

    stress("grade.yaml", "many.jsonl", "--bias", "authority", "--sample", "120", "--dry-run", "--json")
    assert [run["rows"] for run in stress.shell.events[-1]["runs"]] == [120, 120]


def test_the_changed_rows_have_the_draws_of_the_rows_themselves(stress):
    stress.shell.write(
        "drawn.yaml",
        SCORE.replace("{{ question }}", "{{ tone }}").replace("outputs:", "draw: {tone: [a, b, c, d]}\noutputs:"),
    )
    stress.server.reply = lambda _body: "5"

    stress("drawn.yaml", "one.jsonl", "--bias", "authority", "--sample", "10", "--json")

    tones = {}
    for body in stress.server.requests:
        text = body["messages"][0]["content"]
        tones.setdefault(re.search(r"answer \d+", text)[0], []).append(text[0])
    assert len(tones) == 10
    assert all(len(two) == 2 and len(set(two)) == 1 for two in tones.values())
    assert len({two[0] for two in tones.values()}) > 1


def test_unreadable_rows_are_reported_or_skipped(stress):
    stress.shell.write("bad.jsonl", '{"question": "q", "answer": "a"}\n{"question"\n')
    stress.server.reply = lambda _body: "5"

    refused = stress("grade.yaml", "bad.jsonl", "--bias", "authority")
    assert (refused.code, "bad.jsonl:2" in refused.err, stress.server.requests) == (2, True, [])
    skipped = stress("grade.yaml", "bad.jsonl", "--bias", "authority", "--on-bad-row", "skip")
    assert (skipped.code, "1 unreadable row skipped" in skipped.err, asked(stress.server)) == (0, True, 2)


def test_a_judge_that_changes_its_mind_at_random_at_a_known_rate(stress):
    import random

    def flips(number):
        return random.Random(number).random() < 0.3

    def reply(body):
        text = answers_in(body)[0]
        number = int(re.search(r"answer (\d+)", text)[1])
        return "2" if "Whitfield" in text and flips(number) else "8"

    stress.shell.write("more.jsonl", lines({"question": "q", "answer": f"answer {i}"} for i in range(100)))
    stress.server.reply = reply
    stress("grade.yaml", "more.jsonl", "--bias", "authority", "--json")

    found, share = biases(stress.shell)["authority"], sum(map(flips, range(100))) / 100
    assert found["changed"]["value"] == pytest.approx(share)
    assert found["changed"]["low"] < 0.3 < found["changed"]["high"]
    assert found["shift"]["value"] == pytest.approx(-6 * share)
    assert found["shift"]["low"] < -1.8 < found["shift"]["high"] < 0
    assert found["found"] is False  # an authority makes it stricter


TWO = SCORE.replace("outputs:", "outputs:\n  tone: {choices: [warm, cold]}\n  why: {}").replace(
    "(?P<score>\\d+)", "(?P<tone>\\w+) (?P<score>\\d+)(?P<why>.*)"
)


def test_every_verdict_of_a_task_is_compared_and_held_to_the_conditions(stress):
    stress.shell.write("two.yaml", TWO)
    stress.server.reply = lambda body: "cold 5 odd" if "Whitfield" in str(body) else "warm 5 fine"

    arguments = ["two.yaml", "one.jsonl", "--bias", "authority", "--require", "authority.changed = 0"]
    stress(*arguments, "--json")
    events, unmet = stress.shell.events[:-1], stress.shell.events[-1]["unmet"]
    assert [(e["output"], e["kind"], e["changed"]["value"]) for e in events] == [
        ("tone", "label", 1),
        ("score", "number", 0),
    ]
    assert unmet == ["authority.changed = 0: changed.value of `tone` is 1"]

    result = stress(*arguments, "--set", "price.input=1", "--set", "price.output=1")
    assert result.out.count("  verdict         ") == 2
    assert result.out.count("  cost            ") == 1
    assert "moves           warm → cold 20" in result.out
    assert "not decided: the verdicts have no direction" in result.out
    assert stress(*arguments, "--verdict", "score").code == 0
    refused = stress(*arguments, "--verdict", "score", "--verdict", "why")
    assert (refused.code, "`why` can't be compared" in refused.err) == (2, True)


def test_few_rows_decide_nothing(stress):
    stress.server.reply = lambda _body: "A"

    result = stress("duel.yaml", "two.jsonl", "--bias", "position", "--limit", "19")

    assert "first place won 100.0 %" in result.out
    assert "not decided: it takes at least 20 rows" in result.out


def test_help_and_a_dry_run_load_nothing_heavy(stress):
    import subprocess
    import sys

    folder = stress.shell.folder
    for arguments in (["--help"], ["grade.yaml", "-i", "one.jsonl", "--model", "m", "--dry-run"]):
        program = (
            f"import sys; from distask.cli import main; print(main(['stress', *{arguments}]), file=sys.stderr);"
            "print(sorted({'numpy', 'openai', 'datasets', 'pyarrow', 'ray'} & set(sys.modules)), file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=folder)
        assert done.stderr.split("\n")[:2] == ["0", "[]"]
