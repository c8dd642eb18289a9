"""Reasoning in a reply: what is reasoning, what is the answer, and what each parser reads of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask.task.reply.reasoning import TAGS, split_reasoning

CODE = "Use `<think>`:\n```\n<think>foo</think>\n```\nand `</think>`."


@pytest.mark.parametrize(
    ("reply", "reasoning", "answer"),
    [
        ("4", None, "4"),
        ("<think>a</think>4", "a", "4"),
        ("\n <think>\na\n</think>\n\n4\n", "a", "\n\n4\n"),
        ("a\n</think>\n4", "a", "\n4"),
        ("<THINK>a</Think>4", "a", "4"),
        ("<think></think>4", "", "4"),
        ("<thinking>a</thinking>4", "a", "4"),
        ("<reasoning>a</reasoning>4", "a", "4"),
        ("<thought>a</thought>4", "a", "4"),
        ("[THINK]a[/THINK]4", "a", "4"),
        ("<seed:think>a</seed:think>4", "a", "4"),
        ("<|START_THINKING|>a<|END_THINKING|>4", "a", "4"),
        ("<think>a</think><think>b</think>4", "a\n\nb", "4"),
        ("<think>a</think>4<think>b</think>5", "a\n\nb", "45"),
        ("<think>a</think>4\n<think>b</think>\n5", "a\n\nb", "4\n\n5"),
        ("Let me see.\n<think>a</think>\n4", "a", "Let me see.\n\n4"),
        ("<think>a <think>b</think> c</think>4", "a <think>b</think> c", "4"),
        ("<think>I end with `</think>` now</think>4", "I end with `</think>` now", "4"),
        ("<think>I open <think> once</think>4", "I open <think> once", "4"),
        ("<think>```py\nx</think>```json\n{}\n```", "```py\nx", "```json\n{}\n```"),
        ("<think>a", "a", ""),
        ("<think>a</think>4\n<think>b", "a\n\nb", "4\n"),
        ("<think>a</think>" + CODE, "a", CODE),
        (CODE, None, CODE),
        ("```py\ntext.split('</think>')[-1]\n```", None, "```py\ntext.split('</think>')[-1]\n```"),
        ("A model thinks from <think> to </think>.", None, "A model thinks from <think> to </think>."),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>4<|return|>", "a", "4"),
        ("<|start|>assistant<|channel|>final<|message|>4", None, "4"),
        ("<|channel|>analysis<|message|>a", "a", ""),
        ("analysisI add.assistantfinal4", "I add.", "4"),
        ("analysis of the data", None, "analysis of the data"),
    ],
)
def test_a_reply_is_split(reply, reasoning, answer):
    """Tags in code and tags that prose mentions belong to the answer."""
    split = split_reasoning(reply)

    assert (split.reasoning, split.answer) == (reasoning, answer)


def test_a_block_that_never_ends_is_reported():
    """Only the last block can be open."""
    assert not split_reasoning("<think>a").closed
    assert not split_reasoning("<|channel|>analysis<|message|>a").closed
    assert split_reasoning("<think>a</think>").closed


PIECES = [*TAGS, *TAGS.values(), "`", "```\n", "\n", "a", " ", "'", "<|channel|>final<|message|>", "<|end|>"]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_no_text_is_simulated(reply):
    """Reasoning and answer hold no more than the reply."""
    split = split_reasoning(reply)

    assert len(split.answer) + len((split.reasoning or "").replace("\n\n", "")) <= len(reply)
    if split.reasoning is None and "<|" not in reply:
        assert split.answer == reply


TEXT = "outputs: {answer: x}\nformat_output: {parser: text, reasoning: drop}"


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("<think>a</think>\n\n4\n", "4\n"),
        ("<think>a</think> 4", "4"),
        ("a</think>\n\n    return 4\n", "    return 4\n"),
        (" 4\n", " 4\n"),
        (CODE, CODE),
    ],
)
def test_the_text_parser_drops_reasoning(read, reply, answer):
    """The blank lines behind it go too; a reply without reasoning stays as it is."""
    assert read(TEXT, reply) == {"answer": answer}


@pytest.mark.parametrize("reply", ["<think>a", "<think>a</think>", "<think>a</think>\n \n", "a</think>"])
def test_reasoning_alone_is_an_invalid_reply(read, reply):
    """The message names max_tokens if they cut the reply."""
    assert read(TEXT, reply).startswith("the reply has no answer, only the model's reasoning")
    assert "max_tokens" in read(TEXT, reply, finish_reason="length")
    assert read(TEXT.replace("drop", "keep"), reply) == {"answer": reply}


CHOICE = "outputs: {v: {choices: [spam, ham]}}\nformat_output: {parser: choice}"
SCORE = "outputs: {score: {type: integer}}\nformat_output: "


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (CHOICE, "spam"),
        (SCORE + "{parser: json}", '{"score": 1}'),
        (SCORE + "{parser: regex, pattern: 'Score: (?P<score>\\d)'}", "Score: 1"),
        (SCORE + "{parser: sections, markers: {score: 'Score:'}}", "Score: 1"),
        (SCORE + "{parser: tags}", "<score>1</score>"),
        ("outputs: {a: {type: list}}\nformat_output: {parser: list}", "1. spam"),
        ("outputs: {a: {type: list}}\nformat_output: {parser: tool_calls}", '[{"name": "f", "arguments": {}}]'),
    ],
)
@pytest.mark.parametrize("opened", ["<think>", "[THINK]", "<reasoning>", "<|channel|>analysis<|message|>"])
def test_no_parser_reads_a_verdict_in_reasoning(read, spec, expected, opened):
    """A reply that ends while the model still reasons has none."""
    assert "no answer" in read(spec, f"{opened}I think {expected}\n{expected}\n")


def test_a_parser_reads_the_tags_that_its_spec_names(read):
    """A prompt may ask for its reasoning in tags."""
    reply = "<reasoning>Short.</reasoning>\n<score>4</score>"
    outputs = "outputs: {reasoning: x, score: {type: integer}}\nformat_output: "
    pattern = "'<reasoning>(?P<reasoning>.*?)</reasoning>\\s*<score>(?P<score>\\d)'"

    assert read(outputs + "{parser: tags}", reply) == {"reasoning": "Short.", "score": 4}
    assert read(outputs + f"{{parser: regex, pattern: {pattern}}}", reply) == {"reasoning": "Short.", "score": 4}
    sections = "{parser: sections, markers: {reasoning: '<reasoning>', score: '<score>'}}"
    assert read(outputs + sections, "<reasoning>Short.<score>4") == {"reasoning": "Short.", "score": 4}


def test_expressions_see_the_answer_as_reply(read):
    """So no check or computed column reads reasoning; with `keep` they see the complete reply."""
    spec = (
        "outputs: {score: {type: integer}, why: x}\nformat_output:\n  {parser: regex, pattern: 'Score: (?P<score>\\d)',"
    )
    spec += " columns: {why: '{{ reply.partition(\"Score\")[0] | trim }}'}}\nchecks: ['\"10\" not in reply']"
    assert read(spec, "<think>of 10? Score: 9</think>Good. Score: 4") == {"score": 4, "why": "Good."}

    keep = "outputs: {answer: x}\nformat_output: {parser: text}\nchecks: ['\"10\" not in reply']"
    assert read(keep, "<think>10</think>4") == 'check failed: "10" not in reply'
    assert read(keep.replace("text}", "text, reasoning: drop}"), "<think>10</think>4") == {"answer": "4"}


def test_log_probabilities_of_reasoning_are_not_read(read):
    """The first answer behind the reasoning counts."""
    spec = "outputs: {s: {type: number}}\nformat_output: {parser: logprobs, choices: [1, 2], find: first}\n"
    spec += "llm: {logprobs: true, top_logprobs: 5}"
    tokens = ["<think>", "1", "</think>", "2"]
    logprobs = {"content": [{"token": token, "logprob": 0.0, "top_logprobs": []} for token in tokens]}

    assert read(spec, "".join(tokens), logprobs=logprobs) == {"s": 2.0}
    assert "no answer" in read(spec, "<think>1", logprobs={"content": logprobs["content"][:2]})
