"""A task made of tasks on the command line: what a plan, a preview and a summary say of its steps."""

from __future__ import annotations

import pytest

STEPS = """\
inputs: {instruction: It.}
params: {turns: {type: integer, default: 2}}
steps:
  - repeat: turns
    steps: [{task: task.yaml, name: evolve, output_mappings: {generation: instruction}}]
  - {task: task.yaml, name: answers, num_generations: 3, group_generations: true, output_mappings: {generation: answers}}
  - for_each: answer in answers
    steps:
      - name: rate
        llm: {model: judge}
        task:
          format_input: [{role: user, content: "Rate {{ answer }}"}]
          outputs: {score: {type: integer, minimum: 1, maximum: 5}}
          format_output: {parser: regex, pattern: '(?P<score>\\d)'}
  - {sort: {by: instruction, descending: true}}
outputs: {answers: {type: list}, score: {type: list, items: {type: [integer, "null"]}}}
"""


@pytest.fixture
def steps(shell):
    shell.write("steps.yaml", STEPS)
    shell.server.models = ["m", "judge"]
    shell.server.reply = lambda body: "3" if body["model"] == "judge" else f"better {body['messages'][-1]['content']}"

    def run(command, *more):
        return shell(command, "steps.yaml", "-i", "in.jsonl", "--base-url", "{url}", "--model", "m", *more)

    run.shell = shell
    return run


def test_a_dry_run_draws_the_steps_and_bounds_what_they_ask_for(steps):
    result = steps(
        "dry-run", "--limit", "1", "--set", "llm.max_tokens=100", "--set", "price.input=1", "--set", "price.output=1"
    )

    assert result.code == 0, result.err
    assert steps.shell.server.requests == []
    assert "── in.jsonl:1  step evolve\nuser\n  question 0\n" in result.out
    assert (
        "├─ repeat\n│  └─ evolve: 2 replies per row at most\n├─ answers: 3 replies per row at most\n"
        "├─ for-each\n│  └─ rate: number of replies depends on the rows, judge\n└─ sort\n"
    ) in result.out
    assert "about 40, based on a rehearsal of 5 rows" in result.out
    assert "cost     $0.0" in result.out


def test_a_dry_run_with_examples_that_fail_for_a_row_still_shows_the_prompt(shell):
    """No reply can be simulated, so the rehearsal ends there; `run` with a model does not need one."""
    shell.rows([{"text": "a"}])
    (shell.folder / "quote.yaml").write_text(
        """
        inputs: {text: A text.}
        steps:
          - name: quote
            task:
              format_input: [{role: user, content: "Quote {{ text }}"}]
              outputs: {quote: {examples: "text[9].x"}}
              format_output: {parser: text}
        """
    )

    result = shell("dry-run", "quote.yaml", "-i", "in.jsonl", "-c", "offline")

    assert result.code == 0, result.err
    assert "step quote\nuser\n  Quote a\n" in result.out
    assert "quote: 1 reply per row at most" in result.out


def test_a_dry_run_counts_what_the_store_has(steps):
    steps("run", "--limit", "2", "-o", "out.jsonl")

    result = steps("dry-run", "--limit", "0", "-o", "out.jsonl")

    assert "stored   16 replies at least; 2 rows need no request" in result.out


def test_a_preview_shows_each_step_and_the_run_does_not_pay_for_it_again(steps):
    result = steps("preview", "--limit", "1", "-o", "out.jsonl")

    assert result.code == 0, result.err
    assert "step evolve, 2\nuser\n  better question 0\nreply\n  better better question 0\n" in result.out
    assert "step rate, 3\n" in result.out
    assert "  score: [3, 3, 3]" in result.out
    assert len(steps.shell.server.requests) == 6
    steps("run", "--limit", "1", "-o", "out.jsonl")
    assert len(steps.shell.server.requests) == 6


def test_the_summary_says_what_each_step_did(steps):
    steps.shell.server.reply = lambda body: "no" if body["model"] == "judge" else "better"

    result = steps("run", "-o", "out.jsonl")

    assert result.code == 3
    assert "  evolve: 10 rows\n" in result.err
    assert "  rate: 15 rows, 15 failed\n" in result.err
    assert "in.jsonl:1, step rate: the pattern matches nowhere in the reply" in result.err
    assert "as `error_STEP` in `distask_metadata`" in result.err


@pytest.mark.parametrize("turns", ["-1", "two", "2000", "1.5"])
def test_a_loop_s_turns_that_are_no_number_are_reported_before_any_call(steps, turns):
    result = steps("run", "-o", "out.jsonl", "-p", f"turns={turns}")

    assert result.code == 2
    assert "turns" in result.err
    assert steps.shell.server.requests == []


def test_test_and_tasks_show_and_init_take_tasks_of_steps(shell):
    assert shell("test", "jury", "deita").code == 0
    assert "steps:" in shell("tasks", "show", "evol-instruct").out
    assert shell("init", "mine", "--from", "evol-quality").code == 0
    assert shell("validate", "mine.yaml").code == 0


def test_check_asks_what_the_tasks_of_steps_need(steps):
    result = steps.shell("check", "steps.yaml", "--base-url", "{url}", "--model", "m", "--json")

    assert {check["name"] for check in steps.shell.events[-1]["checks"]} >= {"endpoint", "model"}
    assert result.code in (0, 1)
