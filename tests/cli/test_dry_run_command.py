"""`distask dry-run`: what would be sent, without sending it."""

from __future__ import annotations

import json

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

    said = shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai", "--limit", "2", "-n", "3")

    assert said.code == 0
    assert said.err == ""
    assert said.out == (
        "── in.jsonl:1\nsystem\n  Grade.\nuser\n  one line\n  and [bold]0[/]\n\n"
        "── in.jsonl:2\nsystem\n  Grade.\nuser\n  one line\n  and [bold]1[/]\n\n"
        "with     temperature: 0.0\nwith     max_tokens: 50\n"
        "model    gpt-4.1-mini at https://api.openai.com/v1\n"
        "rows     4, 3 replies each\n"
        "replies  12: 0 in the store, 12 to ask for\n"
        "tokens   about 64 in; out: 600 at the most\n"
        "so far   nothing was asked\n"
    )


def test_it_calls_nobody_and_makes_no_file(shell):
    before = sorted(p.name for p in shell.folder.iterdir())

    shell("dry-run", "task.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m")

    assert shell.server.requests == []
    assert sorted(p.name for p in shell.folder.iterdir()) == before


def test_it_counts_what_the_store_has(shell):
    shell.run("--limit", "2")

    said = shell("dry-run", "task.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m")

    assert "replies  5: 2 in the store, 3 to ask for" in said.out


def test_a_row_that_can_not_be_rendered_is_shown_and_counted(shell):
    shell.rows([{"instruction": None}, {"instruction": "a"}])

    said = shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai")

    assert "── in.jsonl:1\ncan't be rendered: " in said.out
    assert "fail     1 row can't be rendered (null_input)" in said.out


def test_it_tells_programs_the_same_as_json(shell):
    said = shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "offline", "--json", "--limit", "1")

    made = json.loads(said.out)
    assert (made["rows"], made["completions"]["missing"], len(made["chats"])) == (5, 5, 1)
    assert made["chats"][0]["messages"] == [{"role": "user", "content": "question 0"}]


def test_a_long_text_is_folded_unless_it_is_wanted(shell):
    shell.rows([{"instruction": "long " * 1000}])

    assert "… 3,000 more characters" in shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai").out
    assert "more characters" not in shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai", "-v").out


def test_a_price_makes_a_cost(shell):
    shell.write("llm.yaml", "model: m\nbase_url: http://127.0.0.1:9/v1\nprice: {input: 100000, output: 1}\n")

    said = shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "llm.yaml")

    assert "cost     about $3.50 in; out: $1 for a million tokens" in said.out


def test_data_that_does_not_fit_is_an_error(shell):
    shell.rows([{"question": "a"}])

    said = shell("dry-run", "task.yaml", "-i", "in.jsonl", "-c", "openai")

    assert said.code == 2
    assert "`instruction` is missing" in said.err
