"""`distask dry-run`: what would be sent, without sending it."""

from __future__ import annotations

import json
import re

import pytest

SPEC = """\
name: grade
inputs: {question: Q., hint: {required: false}}
format_input:
  - {role: system, content: "Grade."}
  - {role: user, content: "{{ question }}"}
outputs: {score: {type: integer}}
format_output: {parser: regex, pattern: '(?P<score>\\d)'}
llm: {temperature: 0, max_tokens: 50}
"""


def test_it_shows_chats_and_counts_and_needs_no_key(shell):
    shell.write("task.yaml", SPEC)
    shell.rows([{"question": f"one line\nand [bold]{i}[/]"} for i in range(4)])

    result = shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai", "--limit", "2", "-n", "3")

    assert result.code == 0
    assert result.err == ""
    assert result.out == (
        "── in.jsonl:1\nsystem\n  Grade.\nuser\n  one line\n  and [bold]0[/]\n\n"
        "── in.jsonl:2\nsystem\n  Grade.\nuser\n  one line\n  and [bold]1[/]\n\n"
        "with     temperature: 0.0\nwith     max_tokens: 50\n"
        "model    gpt-4.1-mini at https://api.openai.com/v1\n"
        "rows     4, 3 replies each\n"
        "replies  12: 0 in the store, 12 to request\n"
        "tokens   about 64 in; out: about 300 (half of max_tokens), 600 at most\n"
        "cost     $0.000026 at least, $0.00051 expected, $0.0010 at most\n"
        "price    $0.40 in ($0.10 cached), $1.60 out per million tokens, from genai-prices; `price` in the config overrides it\n"
        "so far   no requests were sent; distask preview runs a few rows, distask run runs all\n"
    )


def test_it_calls_nobody_and_makes_no_file(shell):
    before = sorted(p.name for p in shell.folder.iterdir())

    shell("dry-run", "task.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m")

    assert shell.server.requests == []
    assert sorted(p.name for p in shell.folder.iterdir()) == before


def test_it_counts_what_the_store_has(shell):
    shell.run("--limit", "2")

    result = shell("dry-run", "task.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m")

    assert "replies  5: 2 in the store, 3 to request" in result.out


def test_a_row_that_can_not_be_rendered_is_shown_and_counted(shell):
    shell.rows([{"instruction": None}, {"instruction": "a"}])

    result = shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai")

    assert "── in.jsonl:1\ncan't be rendered: " in result.out
    assert "fail     1 row can't be rendered (null_input)" in result.out
    assert result.code == 3


STEPS = """
inputs: {instruction: The instruction.}
steps:
  - {name: ask, task: task.yaml}
outputs: {generation: The reply.}
"""


@pytest.mark.parametrize(
    "template", ["{{ instruction.missing }}", "{% for i in range(9999) %}{{ 'x' * 9999 }}{% endfor %}"]
)
@pytest.mark.parametrize("steps", [False, True])
def test_it_exits_as_the_run_does_if_rows_can_not_be_rendered(shell, template, steps):
    """All rows fail, or some: the exit code is 3."""
    spec = (shell.folder / "task.yaml").read_text().replace("{{ instruction }}", template)
    shell.write("task.yaml", spec)
    shell.write("steps.yaml", STEPS)
    task = "steps.yaml" if steps else "task.yaml"
    asked = [task, "-i", "in.jsonl", "--base-url", "{url}", "--model", "m"]

    assert shell("dry-run", *asked).code == 3
    assert shell("dry-run", *asked, "--json").code == 3
    assert shell("preview", *asked).code == 3
    assert shell("run", *asked).code == 3
    assert shell.server.requests == []


@pytest.mark.parametrize("steps", [False, True])
def test_one_row_that_fails_behind_the_shown_ones_is_enough(shell, steps):
    """As one failed generation is for a run."""
    shell.write("steps.yaml", STEPS)
    shell.rows([*({"instruction": f"question {i}"} for i in range(30)), {"instruction": None}])
    task = "steps.yaml" if steps else "task.yaml"
    asked = [task, "-i", "in.jsonl", "--base-url", "{url}", "--model", "m"]

    result = shell("dry-run", *asked)

    assert (result.code, "fail     1 " in result.out) == (3, True)
    assert shell("run", *asked).code == 3


def test_it_names_the_column_that_a_chat_is_read_from(shell):
    """In `run`, `preview` and `validate` too."""
    shell.rows([{"conversations": [{"from": "human", "value": f"question {i}"}]} for i in range(5)])
    note = "in.jsonl has no column `messages`: the column `conversations` (ShareGPT) is read instead"
    asked = ["chat-generation", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m"]

    result = shell("dry-run", *asked)

    assert (result.code, f"note     {note}\n" in result.out) == (0, True)
    assert json.loads(shell("dry-run", *asked, "--json").out)["notes"] == [note]
    assert note in " ".join(shell("preview", *asked).out.split())
    assert note in " ".join(shell("run", *asked).err.split())
    assert shell("validate", "chat-generation", "--input", "in.jsonl").code == 0
    assert len(shell.server.requests) == 5


def test_it_reports_programs_the_same_as_json(shell):
    result = shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "offline", "--json", "--limit", "1")

    made = json.loads(result.out)
    assert (made["rows"], made["completions"]["missing"], len(made["chats"])) == (5, 5, 1)
    assert made["chats"][0]["messages"] == [{"role": "user", "content": "question 0"}]


def test_a_long_text_is_folded_unless_it_is_wanted(shell):
    shell.rows([{"instruction": "long " * 1000}])

    assert "… 3,000 more characters" in shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai").out
    assert "more characters" not in shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai", "-v").out


CHEAP = "model: m\nbase_url: {url}\nprice: {{input: 1000, output: 10000}}\n"
"""A tenth of a cent for a token in, a cent for one out."""


def priced(shell, more="", *, rates=""):
    """The dry-run of a task whose replies have 4 tokens in its case, for programs."""
    shell.write("llm.yaml", CHEAP.format(url=shell.server.url).replace("{input", f"{{{rates}input") + more)
    case = "cases: [{input: {instruction: q}, reply: 'sixteen letters.', expect: {generation: sixteen letters.}}]\n"
    shell.write("priced.yaml", (shell.folder / "task.yaml").read_text() + case)
    return json.loads(shell("dry-run", "priced.yaml", "-i", "in.jsonl", "-c", "llm.yaml", "--json").out)


def test_the_cost_is_the_sum_that_a_person_makes(shell):
    """5 chats of 7 tokens; replies of 1 token at least, 4 as in the case, 100 by the limit."""
    made = priced(shell, "generation: {max_tokens: 100}\n")

    assert made["tokens"] == {
        "input_estimate": 35, "input_error": None, "output_expected": 20, "output_limit": 500,
    }  # fmt: skip
    assert made["cost_usd"] == pytest.approx({"least": 0.035 + 0.05, "expected": 0.035 + 0.2, "most": 0.035 + 5.0})
    assert made["price"] == {"input": 1000.0, "output": 10000.0, "from": "config"}


def test_a_cached_chat_costs_least_and_one_that_is_written_to_the_cache_most(shell):
    """35 tokens of chats at a hundredth of a cent, or at twice the price of input."""
    made = priced(shell, "generation: {max_tokens: 100}\n", rates="cached_input: 100, cache_write: 2000, ")

    assert made["cost_usd"] == pytest.approx({"least": 0.0035 + 0.05, "expected": 0.035 + 0.2, "most": 0.07 + 5.0})
    assert made["price"]["cached_input"] == 100.0


def test_without_a_limit_the_most_is_not_simulated(shell):
    made = priced(shell)

    assert (made["tokens"]["output_limit"], made["cost_usd"]["most"]) == (None, None)
    assert "no limit is set" in shell("dry-run", "priced.yaml", "-i", "in.jsonl", "-c", "llm.yaml").out


def test_retries_of_invalid_replies_are_in_the_most(shell):
    shell.write("task.yaml", (shell.folder / "task.yaml").read_text() + "on_invalid: {retry: 2}\n")

    made = priced(shell, "generation: {max_tokens: 100}\n")

    assert made["cost_usd"]["most"] == pytest.approx(3 * (0.035 + 5.0))


def test_what_the_store_has_costs_nothing_and_says_how_long_replies_are(shell):
    priced(shell)
    shell.server.reply = lambda body: "one two three"
    shell("run", "priced.yaml", "-i", "in.jsonl", "-c", "llm.yaml", "--limit", "3")
    asked = ["dry-run", "priced.yaml", "-i", "in.jsonl", "-c", "llm.yaml", "-o", "priced.in.jsonl"]

    made = json.loads(shell(*asked, "--json").out)

    assert made["completions"] == {"needed": 5, "stored": 3, "missing": 2}
    assert made["tokens"]["input_estimate"] == 14
    assert made["tokens"]["output_expected"] == 6
    assert "about 6 (from 3 replies in the store)" in shell(*asked).out


def test_a_known_model_at_its_own_endpoint_needs_no_price(shell):
    result = shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai", "--model", "gpt-4.1-mini")

    assert "price    $0.40 in ($0.10 cached), $1.60 out per million tokens, from genai-prices" in result.out


def test_a_chat_that_is_longer_than_the_context_is_reported(shell):
    shell.rows([{"instruction": "short"}, {"instruction": "word " * 150_000}])

    result = shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai", "--model", "gpt-4o")

    assert "too long 1 chat longer than the model's context of 128.0k tokens: in.jsonl:2, about 187.5k" in result.out


def test_data_that_does_not_fit_is_an_error(shell):
    shell.rows([{"question": "a"}])

    result = shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai")

    assert result.code == 2
    assert "`instruction` is missing" in result.err


MANY = 12_000
"""More rows than `dry-run` renders if it may estimate."""


def many(shell, change=lambda i, row: row):
    """Rows of 1 to 100 tokens with their sum."""
    rows = [change(i, {"instruction": "word" * (1 + i * 37 % 100)}) for i in range(MANY)]
    shell.rows(rows)


def dry(shell, *more):
    result = shell("dry-run", "task.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m", "--json", *more)
    return result.code, json.loads(result.out)


def test_a_large_input_is_counted_exactly_and_its_tokens_are_estimated_with_the_error(shell):
    many(shell)

    code, made = dry(shell, "-n", "2")
    _, exact = dry(shell, "-n", "2", "--exact")

    assert (code, made["rows"], made["completions"]) == (0, MANY, {"needed": 24_000, "stored": 0, "missing": 24_000})
    assert (made["sampled_rows"], exact["sampled_rows"], exact["tokens"]["input_error"]) == (2000, None, None)
    assert (exact["rows"], exact["completions"]) == (made["rows"], made["completions"])
    true, result, error = (
        exact["tokens"]["input_estimate"],
        made["tokens"]["input_estimate"],
        made["tokens"]["input_error"],
    )
    assert 0.01 < error < 0.03
    assert 0 < abs(result - true) / true < 2 * error
    assert made["chats"] == exact["chats"]
    assert [chat["place"] for chat in made["chats"]] == ["in.jsonl:1", "in.jsonl:2", "in.jsonl:3"]


def test_the_error_of_an_estimate_is_printed(shell):
    many(shell)
    asked = ["dry-run", "task.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m"]

    result = shell(*asked).out

    assert re.search(r"tokens   about 6\d\d\.\dk ± [12]\.\d% in; ", result)
    assert "sample   tokens are estimated from 2,000 rows drawn at random; --exact renders all 12,000\n" in result
    assert "sample" not in shell(*asked, "--exact").out


def test_every_row_with_a_wrong_input_is_counted_in_a_large_input(shell):
    """One row of 12,000 is enough."""
    many(shell, lambda i, row: {"instruction": None} if i == 11_000 else row)

    code, made = dry(shell)

    assert (code, made["failures"], made["sampled_rows"]) == (3, {"null_input": 1}, 2000)
    assert made["completions"]["needed"] == MANY - 1


def test_rows_that_a_template_fails_for_are_estimated(shell):
    template = "{{ instruction if instruction | length > 80 else instruction.missing }}"
    shell.write("task.yaml", (shell.folder / "task.yaml").read_text().replace("{{ instruction }}", template))
    many(shell)

    code, made = dry(shell)
    result = shell("dry-run", "task.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m")

    assert code == result.code == 3
    assert made["failures"]["template"] == pytest.approx(MANY / 5, rel=0.15)
    assert made["completions"]["needed"] == MANY - made["failures"]["template"]
    assert f"fail     about {made['failures']['template']:,} rows can't be rendered (template)" in result.out


@pytest.mark.parametrize("template", ["{{ instruction }}", "{{ instruction }} {{ row.instruction }}"])
def test_rows_with_equal_inputs_share_a_reply_at_temperature_0_in_a_large_input_too(shell, template):
    """If a template reads more than the inputs, requests are compared, not inputs."""
    text = (shell.folder / "task.yaml").read_text().replace('"{{ instruction }}"', f'"{template}"')
    shell.write("task.yaml", f"{text}llm: {{temperature: 0}}\n")
    many(shell, lambda i, row: {"instruction": f"{i % 11_990}", "id": i})

    _, made = dry(shell)

    assert made["completions"]["needed"] == 11_990
    assert (made["sampled_rows"] is None) == ("row." in template)


def test_a_number_and_its_text_are_different_inputs(shell):
    spec = (
        (shell.folder / "task.yaml")
        .read_text()
        .replace("{instruction: The instruction.}", "{instruction: {type: any}}")
    )
    shell.write("task.yaml", f"{spec}llm: {{temperature: 0}}\n")
    values = ["1", 1, 1.5, True, ["1"], {"1": 1}]
    many(shell, lambda i, row: {"instruction": values[i % 6]})

    assert dry(shell)[1]["completions"]["needed"] == 6


def test_replies_in_the_store_are_counted_exactly_in_a_large_input(shell):
    many(shell)
    shell.run("--limit", "3")

    _, made = dry(shell)

    assert made["completions"] == {"needed": MANY, "stored": 3, "missing": MANY - 3}
    assert made["sampled_rows"] is None


def test_every_chat_that_is_too_long_is_counted_in_a_large_input(shell):
    many(shell, lambda i, row: {"instruction": "word " * 150_000} if i == 11_000 else row)

    result = shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai", "--model", "gpt-4o")

    assert (
        "too long 1 chat longer than the model's context of 128.0k tokens: in.jsonl:11001, about 187.5k" in result.out
    )
    assert "sample " in result.out


def test_a_bad_line_of_a_large_input_is_an_error(shell):
    many(shell)
    with (shell.folder / "in.jsonl").open("a") as file:
        file.write('{"instruction": "a", "instruction": "b"}\n')

    result = shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai")

    assert result.code == 2
    assert 'in.jsonl:12001:22: the key "instruction" appears twice' in result.err
