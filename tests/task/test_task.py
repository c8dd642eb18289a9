"""Tasks: rows in, chats; replies in, columns."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from distask import Task, run
from distask.errors import InvalidReply, RowError, SpecError, UsageError
from distask.llm.request import Completion

# Inputs


def test_a_plain_task_sends_the_prompt_and_keeps_the_reply(make_task):
    """White space of the reply is the reply's own."""
    task = make_task("")

    assert task.format_input({"question": "Why?"}) == [{"role": "user", "content": "Why?"}]
    assert task.format_output("  Because.\n", {"question": "Why?"}) == {"answer": "  Because.\n"}
    assert (task.output_columns, task.null_output()) == (("answer",), {"answer": None})


@pytest.mark.parametrize(
    ("row", "kind", "words"),
    [
        ({}, "missing_column", "the column `question` is missing"),
        ({"question": None, "n": 1}, "null_input", "the column `question` is null"),
        ({"question": ["a"], "n": 1}, "wrong_type", "question"),
        ({"question": "q", "n": "4.5"}, "wrong_type", "n"),
        ({"question": "q", "n": 9}, "wrong_type", "9 is more than 5"),
    ],
)
def test_a_row_that_does_not_fit_the_inputs_says_what_is_wrong(make_task, row, kind, words):
    """Each has a short kind for counting, and a message with the data's own name of the column."""
    task = make_task("""
        inputs: {question: What is asked., n: {type: integer, maximum: 5}}
        format_input: [{role: user, content: "{{ question }}{{ n }}"}]
    """)

    with pytest.raises(RowError, match=words) as failed:
        task.format_input(row)

    assert failed.value.kind == kind


def test_values_of_a_csv_are_converted_where_nothing_is_lost(make_task):
    """The template sees a number, not its text."""
    task = make_task("""
        inputs: {n: {type: integer}}
        format_input: [{role: user, content: "{{ n + 1 }}"}]
    """)

    assert task.format_input({"n": "4"})[0]["content"] == "5"


def test_an_optional_input_is_its_default_where_it_is_missing_or_null(make_task):
    """Null where it has none."""
    task = make_task("""
        inputs: {a: {required: false, default: x}, b: {required: false}}
        format_input: [{role: user, content: "{{ a }}/{{ b }}/{{ b is none }}"}]
    """)

    assert task.format_input({})[0]["content"] == "x//true"
    assert task.format_input({"a": None, "b": "y"})[0]["content"] == "x/y/false"


def test_columns_go_by_the_names_of_the_data_outside_and_by_the_specs_inside(make_task):
    """input_mappings and output_mappings, as in distilabel."""
    task = make_task("""
        input_mappings: {question: prompt}
        output_mappings: {answer: completion}
        checks: [answer != question]
    """)

    assert task.missing_columns(["question"]) == ["prompt"]
    assert task.dataset_name("question") == "prompt"
    assert task.format_input({"prompt": "q"})[0]["content"] == "q"
    assert task.format_output("a", {"prompt": "q"}) == {"completion": "a"}
    with pytest.raises(RowError, match="the column `prompt` is missing"):
        task.format_input({"question": "q"})


def test_a_template_sees_inputs_params_vars_draws_and_the_whole_row(make_task):
    """Each by its own name too; an input goes before a param of the same name."""
    task = make_task("""
        inputs: {a: An input., n: {required: false}}
        params: {n: {type: integer, default: 3}}
        vars: {v: [1]}
        draw: {d: [z]}
        format_input: [{role: user, content: "{{ a }} {{ n }} {{ params.n }} {{ v }} {{ vars.v }} {{ d }} {{ draw.d }} {{ row.b }}"}]
    """)

    assert task.format_input({"a": "x", "b": "y"})[0]["content"] == "x  3 [1] [1] z z y"


# Params


PARAMS = """
    params:
      n: {type: integer, default: 1, minimum: 1}
      mode: {choices: [short, long], default: short}
      title: {default: Query}
      must: {type: boolean}
"""


def test_params_have_defaults_and_are_set_by_the_run(make_task):
    """A value of the command line is YAML: what reads as a number is text where text is wanted."""
    assert make_task(PARAMS, {"must": True}).params == {"n": 1, "mode": "short", "title": "Query", "must": True}
    given = {"n": 2, "mode": "long", "title": 42, "must": False}
    assert make_task(PARAMS, given).params == given | {"title": "42"}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "needs the param `must`: --param must=VALUE"),
        ({"must": True, "titel": "x"}, "no param `titel`; did you mean `title`"),
        ({"must": True, "n": 0}, "n: 0 is less than 1"),
        ({"must": True, "n": "many"}, "n"),
        ({"must": True, "mode": "medium"}, "medium"),
        ({"must": None}, "must"),
    ],
)
def test_a_param_that_is_wrong_is_reported_before_any_call(make_task, params, words):
    """With the mend."""
    with pytest.raises(UsageError, match=words):
        make_task(PARAMS, params)


def test_outputs_and_parsers_may_depend_on_params(make_task):
    """`when` is told once, when the task is loaded."""
    text = """
        params: {types: {type: boolean, default: false}}
        outputs: {rating: {type: integer}, kind: {when: types}}
        format_output:
          - {parser: regex, when: types, pattern: "(?P<kind>\\\\w+) (?P<rating>\\\\d+)"}
          - {parser: regex, when: not types, pattern: "(?P<rating>\\\\d+)"}
    """

    assert make_task(text).format_output("good 4", {}) == {"rating": 4}
    typed = make_task(text, {"types": True})
    assert typed.output_columns == ("rating", "kind")
    assert typed.format_output("good 4", {}) == {"rating": 4, "kind": "good"}


def test_a_task_without_a_parser_or_an_output_left_is_wrong_usage(make_task):
    """A run could only fail."""
    with pytest.raises(UsageError, match="no parser"):
        make_task("params: {n: {default: a}}\nformat_output: {parser: text, when: n == 'b'}")
    with pytest.raises(UsageError, match="no output"):
        make_task("params: {n: {default: a}}\noutputs: {answer: {when: n == 'b'}}")


# Draws


DRAWS = """
    inputs: {}
    draw:
      colour: [red, green, blue]
      size: {options: [s, l], weights: [0, 1]}
      age: {range: [1, 90]}
      share: {range: [0.0, 1.0]}
    format_input: [{role: user, content: "{{ colour }} {{ size }} {{ age }} {{ share }}"}]
    outputs: {answer: The answer., colour: The colour., age: {type: integer}}
    format_output: {parser: text, column: answer}
"""


def test_a_draw_is_the_same_for_the_same_seed_and_row_and_another_for_another(make_task):
    """A run that is done again asks the same."""
    task, again, other = make_task(DRAWS), make_task(DRAWS), make_task(DRAWS, seed=1)
    chats = [task.format_input({}, i)[0]["content"] for i in range(30)]

    assert chats == [again.format_input({}, i)[0]["content"] for i in range(30)]
    assert chats != [other.format_input({}, i)[0]["content"] for i in range(30)]
    assert {c.split()[0] for c in chats} == {"red", "green", "blue"}
    assert {c.split()[1] for c in chats} == {"l"}
    assert all(1 <= int(c.split()[2]) <= 90 and 0 <= float(c.split()[3]) <= 1 for c in chats)


def test_a_drawn_value_that_the_outputs_name_is_kept(make_task):
    """The very one that the prompt had."""
    task = make_task(DRAWS)
    colour, _, age, _ = task.format_input({}, 7)[0]["content"].split()

    assert task.format_output("a", {}, 7) == {"answer": "a", "colour": colour, "age": int(age)}


# Replies


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (None, "empty", "the reply is empty"),
        ("", "empty", "the reply is empty"),
        (" \n", "empty", "the reply is empty"),
        (Completion(None, refusal="I can't."), "refusal", "the model refused: I can't."),
        (Completion("I was ab", "content_filter"), "content_filter", "the server's filter withheld the reply"),
        (Completion(None, "length", reasoning="hm"), "empty", "max_tokens"),
        (Completion(None, "tool_calls", tool_calls=[{"id": "1"}]), "empty", "called a tool"),
    ],
)
def test_a_reply_that_says_nothing_is_a_failed_generation_with_its_reason(make_task, reply, kind, words):
    """It is never an empty string."""
    with pytest.raises(InvalidReply, match=words) as failed:
        make_task("").format_output(reply, {"question": "q"})

    assert failed.value.kind == kind


def test_a_reply_that_was_cut_is_parsed_as_it_stands(make_task):
    """And refused where a check says so."""
    cut = Completion("1, 2,", "length")

    assert make_task("").format_output(cut, {"question": "q"}) == {"answer": "1, 2,"}
    with pytest.raises(InvalidReply, match="check failed: finish_reason == 'stop'"):
        make_task("""checks: ["finish_reason == 'stop'"]""").format_output(cut, {"question": "q"})


def test_a_value_out_of_its_bounds_is_invalid(make_task):
    """It is never written as if it were good."""
    task = make_task("""
        outputs: {rating: {type: integer, minimum: 1, maximum: 5}}
        format_output: {parser: json}
    """)

    assert task.format_output('{"rating": "4"}', {"question": "q"}) == {"rating": 4}
    for reply, words in (('{"rating": 9}', "rating: 9 is more than 5"), ('{"rating": "4.5"}', "rating")):
        with pytest.raises(InvalidReply, match=words) as failed:
            task.format_output(reply, {"question": "q"})
        assert failed.value.kind == "type"


def test_null_is_only_good_where_the_output_may_be_null(make_task):
    """A missing value does not pass for one."""
    text = "outputs: {rating: {type: integer, nullable: %s}}\nformat_output: {parser: json}"

    assert make_task(text % "true").format_output('{"rating": null}', {"question": "q"}) == {"rating": None}
    with pytest.raises(InvalidReply):
        make_task(text % "false").format_output('{"rating": null}', {"question": "q"})


SEVERAL = """
    outputs: {rating: {type: integer, maximum: 5}}
    format_output:
      - {parser: json}
      - {parser: regex, pattern: "(?i)rating: (?P<rating>\\\\d+)"}
    checks: [rating > 1]
"""


def test_the_first_parser_that_fits_wins(make_task):
    """To fit is to parse, to be of the right type, and to pass the checks."""
    task = make_task(SEVERAL)

    assert task.format_output('{"rating": 3}', {"question": "q"}) == {"rating": 3}
    assert task.format_output("Rating: 4", {"question": "q"}) == {"rating": 4}
    assert task.format_output('{"rating": 9}, so Rating: 5', {"question": "q"}) == {"rating": 5}
    assert task.format_output('{"rating": 1} or Rating: 2', {"question": "q"}) == {"rating": 2}


@pytest.mark.parametrize(
    ("reply", "kind", "message", "parser"),
    [
        ("none", "invalid", "the reply contains no JSON", "json"),
        ('{"ratin": 3}', "invalid", "the reply's JSON has no `rating`", "json"),
        ('{"rating": 3', "invalid", "the reply's JSON does not end", "json"),
        ("Rating: 9", "type", "rating: 9 is more than 5", "regex"),
        ("Rating: 1", "check", "check failed: rating > 1", "regex"),
        ('{"rating": 8}, so Rating: 9', "type", "rating: 8 is more than 5", "json"),
        ("{Rating: 9", "type", "rating: 9 is more than 5", "regex"),
    ],
)
def test_where_no_parser_fits_the_one_that_came_furthest_says_why(make_task, reply, kind, message, parser):
    """The first of those that came as far."""
    with pytest.raises(InvalidReply) as failed:
        make_task(SEVERAL).format_output(reply, {"question": "q"})

    assert (failed.value.kind, failed.value.message) == (kind, message)
    assert failed.value.parser.parser == parser


ALIGNED = """
    inputs: {items: {type: list}}
    format_input: [{role: user, content: "{{ items }}"}]
    outputs: {score: {type: "list[integer]", minimum: 1, maximum: 5}, why: {type: "list[string]"}}
    format_output: {parser: regex, find: all, align_to: items, pattern: 'Score: (?P<score>\\S+)(?: (?P<why>.+))?'}
"""


@pytest.mark.parametrize(
    ("reply", "scores", "message"),
    [
        ("Score: 9 x\nScore: 3 y", [None, 3, None], "score[0]: 9 is more than 5"),
        (
            "Score: 9\nScore: 3\nScore: no",
            [None, 3, None],
            'score[0]: 9 is more than 5; score[2]: "no" is not an integer',
        ),
        ("Score: 4\nScore: 3\nScore: 2", [4, 3, 2], None),
    ],
)
def test_an_entry_of_an_aligned_list_with_a_wrong_type_is_null_with_its_reason(make_task, reply, scores, message):
    """The others stay."""
    parsed = make_task(ALIGNED).parse_reply(reply, {"items": ["a", "b", "c"]})

    assert parsed.columns["score"] == scores
    assert (parsed.error and parsed.error.message) == message


def test_an_aligned_list_without_a_good_entry_is_invalid(make_task):
    """Plain text that no type refuses is not a good entry."""
    with pytest.raises(InvalidReply, match=r"score\[0\]: 9 is more than 5; .*; and 1 more$"):
        make_task(ALIGNED).parse_reply("Score: 9 why\n" * 6, {"items": [1, 2, 3, 4, 5, 6]})


def test_a_parser_that_fits_wins_over_entries_that_are_null(make_task):
    """An entry becomes null only where no other parser reads it."""
    task = make_task(ALIGNED.replace("format_output: {", "format_output: [{").replace("?'}", "?'}, {parser: json}]"))
    reply = 'Score: 9\nScore: 3 {"score": [5, 3], "why": ["", ""]}'

    assert task.parse_reply(reply, {"items": ["a", "b"]}).columns["score"] == [5, 3]


def test_columns_are_computed_from_what_was_parsed(make_task):
    """With native types, and with the row, the reply and the params at hand."""
    task = make_task("""
        params: {k: {type: integer, default: 10}}
        outputs: {score: {type: number}, twice: {type: number}, words: {type: "list[string]"}, fixed: {type: integer}}
        format_output:
          parser: json
          columns: {score: /deep/score, twice: "{{ score * 2 + k }}", words: "{{ reply.split()[:1] + [question] }}", fixed: "{{ 7 }}"}
    """)

    assert task.format_output('{"deep": {"score": "1.5"}} x', {"question": "q"}) == {
        "score": 1.5,
        "twice": 13.0,
        "words": ['{"deep":', "q"],
        "fixed": 7,
    }


def test_a_computed_column_that_fails_makes_the_reply_invalid(make_task):
    """The message names the column."""
    task = make_task("""
        outputs: {a: {type: integer}, b: {type: number}}
        format_output: {parser: json, columns: {b: "{{ 1 / a }}"}}
    """)

    with pytest.raises(InvalidReply, match=r"b: .*ZeroDivisionError"):
        task.format_output('{"a": 0}', {"question": "q"})


def test_checks_see_the_row_and_its_new_columns(make_task):
    """A check that fails, or can't be told, makes the reply invalid."""
    task = make_task("""
        inputs: {items: {type: "list[string]"}}
        format_input: [{role: user, content: "{{ items | numbered }}"}]
        outputs: {scores: {type: "list[integer]"}}
        format_output: {parser: json}
        checks: ["scores | length == items | length", "scores[0] < 9"]
    """)
    row = {"items": ["a", "b"]}

    assert task.format_output('{"scores": [1, 2]}', row) == {"scores": [1, 2]}
    for reply, words in (
        ('{"scores": [1]}', r"check failed: scores \| length == items \| length"),
        ('{"scores": [9, 1]}', r"check failed: scores\[0\] < 9"),
    ):
        with pytest.raises(InvalidReply, match=words) as failed:
            task.format_output(reply, row)
        assert failed.value.kind == "check"


# Keywords


def test_structured_output_is_made_from_the_outputs(make_task):
    """What is drawn or computed is not asked of the model, and pointers say where a value lies."""
    task = make_task("""
        draw: {tone: [a, b]}
        outputs: {score: {type: integer, minimum: 1}, why: {nullable: true}, tone: The tone., twice: {type: integer}}
        structured_output: true
        format_output: {parser: json, columns: {score: /result/score, twice: "{{ score * 2 }}"}}
    """)

    asked = task.keywords({"question": "q"})["response_format"]

    assert asked["type"] == "json_schema"
    assert (asked["json_schema"]["name"], asked["json_schema"]["strict"]) == ("a-task", True)
    assert asked["json_schema"]["schema"] == {
        "type": "object",
        "properties": {
            "result": {
                "type": "object",
                "properties": {"score": {"type": "integer", "minimum": 1}},
                "required": ["score"],
                "additionalProperties": False,
            },
            "why": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["result", "why"],
        "additionalProperties": False,
    }


def guided(way, value, grammar=None):
    """vLLM's field, its older one, and llama-server's."""
    extra = {"structured_outputs": {way: value}, f"guided_{way}": value}
    return {"extra_body": extra | ({"grammar": grammar} if grammar else {})}


@pytest.mark.parametrize(
    ("asked", "keywords"),
    [
        ("{regex: '[a-z]+'}", guided("regex", "[a-z]+")),
        ("{regex: '{{ question }}'}", guided("regex", "q")),
        ("{choice: [a, b]}", guided("choice", ["a", "b"], 'root ::= "a" | "b"')),
        ("{choice: '[question, 1]'}", guided("choice", ["q", "1"], 'root ::= "q" | "1"')),
        ("{grammar: 'root ::= \"a\"'}", guided("grammar", 'root ::= "a"', 'root ::= "a"')),
        ("{schema: '{{ none }}', regex: x}", guided("regex", "x")),
        ("{schema: '{{ none }}'}", {}),
        ("false", {}),
    ],
)
def test_structured_output_may_be_what_other_servers_take(make_task, asked, keywords):
    """A value may be an expression over the row; what is null is not asked."""
    assert make_task(f"structured_output: {asked}").keywords({"question": "q"}) == keywords


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ("{type: object, properties: {a: {type: string}}, required: [a], additionalProperties: false}", True),
        ("{type: object, properties: {a: {type: string}}, required: [a]}", False),
        ("{type: object, properties: {a: {type: string}}, required: [], additionalProperties: false}", False),
        ("{type: array, items: {type: object}}", False),
        ("{type: string}", True),
    ],
)
def test_a_schema_is_strict_only_where_servers_take_it_so(make_task, schema, strict):
    """OpenAI refuses others with an error."""
    task = make_task(f"structured_output: {{schema: {schema}}}")

    assert task.keywords({"question": "q"})["response_format"]["json_schema"]["strict"] is strict


def test_tools_are_a_list_or_an_expression_for_one(make_task):
    """None are sent where the row has none."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    text = "inputs: {t: {type: any, required: false}}\nformat_input: [{role: user, content: q}]\ntools: %s"

    assert make_task(text % json.dumps(tools)).keywords({}) == {"tools": tools}
    task = make_task(text % "t")
    assert (task.keywords({"t": tools}), task.keywords({})) == ({"tools": tools}, {})


def test_a_reply_of_tool_calls_alone_is_read_where_the_spec_asks_for_them(make_task):
    """It has no text, and needs none."""
    task = make_task("outputs: {calls: {type: any}}\nformat_output: {parser: tool_calls}")
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}

    columns = task.format_output(Completion(None, "tool_calls", tool_calls=[call]), {"question": "q"})

    assert columns == {"calls": [{"name": "f", "arguments": {"x": 1}}]}


# Examples


EXAMPLES = [
    "",
    "outputs: {rating: {type: integer, minimum: 1, maximum: 5}, why: Why.}\nformat_output: {parser: json}",
    "outputs: {rating: {type: integer, minimum: 1, maximum: 5}}\nformat_output: {parser: regex, pattern: 'Score: (?P<rating>[0-9])'}",
    "outputs: {kind: {choices: [good, bad]}}\nformat_output: {parser: choice}",
    "outputs: {items: {type: 'list[string]'}}\nformat_output: {parser: list}",
    "outputs: {a: {type: integer}, b: B.}\nformat_output: {parser: tags}",
    "outputs: {a: A.}\nformat_output: {parser: sections, markers: {a: '### A:'}}",
    "structured_output: {choice: [one, two]}\nchecks: [answer == 'one' or answer == 'two']",
    "structured_output: {regex: '[12][0-9]{3}'}\nchecks: [answer | int > 999]",
    "outputs: {a: {type: integer}}\nformat_output: {parser: json}\nchecks: [a % 2 == 0]",
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_is_read_back_and_is_always_the_same(make_task, text):
    """The offline provider answers with it."""
    task, row = make_task(text), {"question": "q"}

    for sample in range(20):
        reply = task.example(row, 3, sample)
        task.format_output(reply, row, 3)
        assert reply == task.example(row, 3, sample)
    assert len({task.example(row, 3, sample) for sample in range(20)}) > 1


QUOTING = [
    "format_output: {parser: text}",
    "format_output: {parser: json}",
    "format_output: {parser: json, columns: {quote: /a/quote}}",
    "format_output: {parser: tags}",
    "format_output: {parser: regex, pattern: '^Quote: (?P<quote>.+)$'}",
    "format_output: {parser: sections, markers: {quote: '### Quote:'}}",
    "structured_output: true\nformat_output: {parser: json}",
]


@pytest.mark.parametrize("text", QUOTING)
def test_a_simulated_reply_takes_the_examples_of_an_output(make_task, text):
    """They are an expression over the row; without them, no simulated reply quotes it."""
    spec = f"outputs: {{quote: {{examples: question | sentences}}}}\nchecks: [quote | quoted_from(question)]\n{text}"
    task, row = make_task(spec), {"question": "One is odd. Two is even. Three is odd."}

    quotes = {task.format_output(task.example(row, 0, sample), row)["quote"] for sample in range(20)}

    assert quotes == {"One is odd.", "Two is even.", "Three is odd."}
    plain = make_task(spec.replace("examples: question | sentences", "minLength: 1"))
    with pytest.raises(InvalidReply):
        plain.format_output(plain.example(row), row)


@pytest.mark.parametrize(
    ("outputs", "parser"),
    [
        ("{answer: {type: 'list[string]', examples: [[x], [x, x]]}}", "{parser: list}"),
        ("{answer: {choices: [x, y], examples: [x]}}", "{parser: choice}"),
        ("{answer: {choices: [x, y], type: 'list[enum]', examples: [[x]]}}", "{parser: choice, multiple: true}"),
    ],
)
def test_examples_can_be_values_of_any_parser(make_task, outputs, parser):
    """A parser that has labels or items of its own takes the given ones."""
    task = make_task(f"outputs: {outputs}\nformat_output: {parser}")

    for sample in range(20):
        answer = task.format_output(task.example({"question": "q"}, 0, sample), {"question": "q"})["answer"]
        assert set(answer) == {"x"}


@pytest.mark.parametrize(("examples", "message"), [("question[9].x", "`answer` fail"), ("question", "str, not a list")])
def test_examples_that_fail_for_a_row_are_reported(make_task, examples, message):
    """The offline provider names the output, instead of an empty reply."""
    task = make_task(f"outputs: {{answer: {{examples: '{examples}'}}}}")

    with pytest.raises(RowError, match=message):
        task.example({"question": "q"})
    result = run(task, [{"question": "q"}], llm="offline", store=False)
    assert result.stats.failures == {"no_example": 1}
    assert message in result.failures[0].message


def test_examples_read_the_outputs_above_them_and_no_examples_are_no_limit(make_task):
    """An answer can be a word of the sentence that was drawn; an empty list leaves the type to decide."""
    task = make_task(
        """
        outputs:
          sentence: {examples: question | sentences}
          word: {examples: sentence.split()}
          note: {examples: "[]"}
        format_output: {parser: json}
        checks: [word in sentence and note]
        """
    )
    row = {"question": "One is odd. Two are even."}

    made = [task.format_output(task.example(row, 0, sample), row) for sample in range(20)]

    assert {(each["sentence"], each["word"]) for each in made} > {("One is odd.", "odd."), ("Two are even.", "are")}


# Loading


def test_a_spec_that_is_wrong_is_reported_with_its_place(make_task):
    """Line and column are those of the file."""
    with pytest.raises(SpecError, match=r"task.yaml:\d+:\d+: error"):
        make_task('format_input: [{role: user, content: "{{ quesion }}"}]')


def test_code_of_a_spec_runs_only_where_that_was_allowed(make_task, tmp_path):
    """Without it the file is not even imported."""
    text = "outputs: {length: {type: integer}}\nformat_output: {parser: python, function: 'hook:read'}"
    files = {
        "hook.py": "open(__file__ + '.ran', 'w').close()\ndef read(reply, row):\n    return {'length': len(reply)}\n"
    }

    with pytest.raises(UsageError, match="--allow-code"):
        make_task(text, files=files)
    assert not (tmp_path / "hook.py.ran").exists()
    assert make_task(text, allow_code=True).format_output("abc", {"question": "q"}) == {"length": 3}


def test_the_fingerprint_follows_all_that_can_change_a_result(make_task):
    """And nothing else: not the description, not the cases."""
    text = "params: {n: {type: integer, default: 1}}\nformat_input: [{role: user, content: {file: p.md}}]"
    files = {"p.md": "{{ question }}"}
    base = make_task(text, files=files).fingerprint()

    assert make_task(text, files=files).fingerprint() == base
    assert make_task(f"{text}\ndescription: Other.", files=files).fingerprint() == base
    others = [
        make_task(text, {"n": 2}).fingerprint(),
        make_task(text, seed=1).fingerprint(),
        make_task(f"{text}\nchecks: [answer != 'x']").fingerprint(),
        make_task(text, files={"p.md": "{{ question }}?"}).fingerprint(),
    ]
    assert len({base, *others}) == 5


def test_loading_a_task_imports_nothing_heavy():
    """A command answers at once."""
    code = (
        "import sys; from distask import Task; t = Task.load('text-generation'); t.format_input({'instruction': 'q'}); "
        "t.format_output('a', {}); print([m for m in ('datasets', 'pyarrow', 'jsf', 'rstr', 'openai', 'PIL', 'rich', "
        "'numpy', 'asyncio') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_task_of_the_gallery_loads_by_its_name():
    """And every one of them makes replies that it reads."""
    task = Task.load("text-generation", {"system_prompt": "Be brief."})

    assert task.format_input({"instruction": "Hi"}) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


def test_an_input_may_depend_on_params(make_task):
    """A column that no prompt of these params reads is not asked of the data, and is null to templates."""
    text = """
    params: {kind: {choices: [one, two], default: one}}
    inputs:
      answer: {when: kind == "one"}
      answers: {type: list, when: kind == "two"}
    format_input: [{role: user, content: "{{ answer }}{{ answers }}"}]
    outputs: {verdict: What is said.}
    """
    one, two = make_task(text), make_task(text, {"kind": "two"})

    assert one.missing_columns([]) == ["answer"]
    assert two.missing_columns([]) == ["answers"]
    assert two.format_input({"answers": ["a"]})[0]["content"] == '["a"]'


def test_keys_of_json_in_other_letters_are_the_columns_where_only_one_can_be(make_task):
    text = """
    outputs: {user_query: The query, score: {type: integer}}
    format_output: {parser: json}
    """
    task = make_task(text)

    assert task.format_output('{"User Query": "q", "SCORE": 3}', {}) == {"user_query": "q", "score": 3}
    with pytest.raises(InvalidReply, match="user_query"):
        task.format_output('{"User Query": "q", "userQuery": "r", "score": 3}', {})


def test_thinking_whose_opening_the_chat_template_wrote_is_no_part_of_the_reply(make_task):
    task = make_task("outputs: {score: {type: integer}}\nformat_output: {parser: json}")

    assert task.format_output('{"score": 1} would be harsh.\n</think>\n{"score": 4}', {}) == {"score": 4}


def test_computed_columns_see_the_whole_json(make_task):
    """What is not asked for as a column may still say what one is."""
    text = """
    outputs: {good: {type: boolean}, thought: Why.}
    format_output: {parser: json, columns: {good: '{{ parsed.verdict | lower == "yes" }}'}}
    """
    task = make_task(text)

    assert task.format_output('{"thought": "t", "verdict": "Yes"}', {}) == {"good": True, "thought": "t"}


@pytest.mark.parametrize("reply", ["[1, 2]", "```json\n[1, 2]\n```", " [1, 2]\n"])
def test_json_may_be_asked_to_be_the_whole_reply(make_task, reply):
    """A list inside of a sentence is then no answer."""
    task = make_task("outputs: {a: {type: list}}\nformat_output: {parser: json, whole: true}")

    assert task.format_output(reply, {}) == {"a": [1, 2]}
    with pytest.raises(InvalidReply, match="JSON alone"):
        task.format_output("Sort [1, 2], please.", {})


def test_two_outputs_may_be_one_column_where_params_choose_between_them(make_task):
    text = """
    params: {mode: {choices: [grade, winner], default: grade}, both: {type: boolean, default: false}}
    outputs:
      grade: {type: integer, when: mode == "grade" or both}
      winner: {choices: [A, B], when: mode == "winner" or both}
    output_mappings: {grade: result, winner: result}
    format_output: {parser: json, columns: {grade: /r, winner: /r}}
    """

    assert make_task(text).format_output('{"r": 4}', {}) == {"result": 4}
    assert make_task(text, {"mode": "winner"}).format_output('{"r": "B"}', {}) == {"result": "B"}
    with pytest.raises(UsageError, match="result"):
        make_task(text, {"both": True})


def test_a_param_may_be_a_template_of_the_row(make_task):
    """The columns that it reads are asked of the data, and a row's text is never rendered again."""
    text = """
    inputs: {question: {when: '"question" in template', description: What is asked.}}
    params: {template: {template: true, default: "{{ question }}"}}
    format_input: [{role: user, content: "{{ template }}"}]
    """
    task = make_task(text, {"template": "{{ title | upper }}: {{ row.text }}"})

    assert task.missing_columns([]) == ["title"]
    assert task.format_input({"title": "a", "text": "{{ 1 }}"})[0]["content"] == "A: {{ 1 }}"
    assert make_task(text).format_input({"question": "{{ 2 }}"})[0]["content"] == "{{ 2 }}"
    with pytest.raises(UsageError, match="template"):
        make_task(text, {"template": "{{ question"})


def test_a_template_reads_the_column_and_not_the_param_that_only_chooses_a_parser(make_task):
    """A param that no prompt of the spec reads hides no column of the data."""
    text = """
    inputs: {question: {when: '"question" in template', description: What is asked.}}
    params: {template: {template: true, default: "{{ question }}"}, reasoning: {default: keep}, tone: {default: dry}}
    format_input: [{role: user, content: "{{ template }} {{ tone }}"}]
    format_output:
      - {parser: text, when: reasoning == "keep" or tone == "dry"}
    """
    task = make_task(text, {"template": "{{ reasoning }} {{ tone }}"})

    assert task.format_input({"reasoning": "because", "tone": "wet"})[0]["content"] == "because dry dry"
    assert task.format_input({})[0]["content"] == "keep dry dry"


def test_a_schema_may_come_from_a_param(make_task):
    text = """
    params: {schema: {type: object}}
    outputs: {made: {schema: schema}}
    format_output: {parser: json, columns: {made: "{{ parsed }}"}}
    structured_output: {schema: schema}
    """
    task = make_task(text, {"schema": {"type": "object", "required": ["year"]}})

    assert task.format_output('{"year": 1}', {"question": "?"}) == {"made": {"year": 1}}
    with pytest.raises(InvalidReply, match="year"):
        task.format_output("{}", {"question": "?"})
    with pytest.raises(UsageError, match="not a valid JSON Schema"):
        make_task(text, {"schema": {"type": "nothing"}})


def test_draws_may_depend_on_params_and_on_the_draws_above(make_task):
    """A mapping gives each value its weight."""
    text = """
    params: {kinds: {type: any, default: {rare: 1, common: 99}}}
    vars: {words: {rare: [axolotl], common: [cat, dog]}}
    draw:
      kind: {options: kinds}
      word: {options: "vars.words[kind]"}
    inputs: {}
    format_input: [{role: user, content: "{{ kind }} {{ draw.word }}"}]
    """
    task = make_task(text)

    drawn = [task.format_input({}, index)[0]["content"] for index in range(300)]

    assert set(drawn) <= {"rare axolotl", "common cat", "common dog"}
    assert drawn.count("rare axolotl") < 20
    assert make_task(text, {"kinds": "rare"}).format_input({})[0]["content"] == "rare axolotl"
    with pytest.raises(RowError, match="kind"):
        make_task(text, {"kinds": []}).format_input({})


def test_a_list_may_be_of_lists_between_separators(make_task):
    text = """
    outputs: {solutions: {type: "list[list[string]]"}}
    format_output: {parser: list, lines: true, separator: "---", skip: "^solution"}
    """
    task = make_task(text)

    columns = task.format_output("Solution 1:\n1. a\nb\n\n---\nSolution 2:\n- c\n---\n", {})

    assert columns == {"solutions": [["a", "b"], ["c"]]}
    assert task.format_output(task.example({}), {})
