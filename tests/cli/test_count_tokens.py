"""The step `count_tokens`: what it counts, and what is reported before the first row."""

from __future__ import annotations

import json
import sys

import pytest

from distask.errors import RowError
from distask.task.text.tokens import text_to_count

TASK = """\
name: count
inputs: {text: {type: any}}
params: {tokenizer: {default: tokenizer.json}}
steps:
  - {count_tokens: text, tokenizer: "{{ tokenizer }}"}
outputs: {tokens: {type: integer}}
"""


@pytest.fixture
def counting(shell):
    """A folder with a tokenizer of words."""
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.models.WordLevel({"<unk>": 0, "a": 1, "b": 2}, unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(shell.folder / "tokenizer.json"))
    shell.write("task.yaml", TASK)
    return shell


def test_the_tokens_of_texts_and_chats_are_counted(counting):
    chat = [{"role": "user", "content": "a b"}, {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]
    counting.rows([{"text": "a b a"}, {"text": chat}])

    result = counting("run", "task.yaml", "-i", "in.jsonl", "-o", "out.jsonl")

    assert result.code == 0
    assert [row["tokens"] for row in counting.lines("out.jsonl")] == [3, 3]


def test_tool_calls_count_too():
    call = {"id": "x", "type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}

    assert "Oslo" in text_to_count([{"role": "assistant", "content": None, "tool_calls": [call]}])


def test_a_value_that_is_neither_text_nor_a_chat_fails_its_row(counting):
    counting.rows([{"text": 7}])

    result = counting("run", "task.yaml", "-i", "in.jsonl", "-o", "out.jsonl")

    assert result.code == 3
    assert "in.jsonl:1, step count-tokens: `count_tokens` needs a text or a chat, got a number" in result.err
    with pytest.raises(RowError):
        text_to_count(["a"])


def test_a_folder_holds_a_tokenizer(counting):
    counting.rows([{"text": "a"}])

    assert counting("run", "task.yaml", "-i", "in.jsonl", "--param", "tokenizer=.").code == 0


def test_a_missing_tokenizer_is_reported_before_the_first_row(counting):
    result = counting("dry-run", "task.yaml", "-i", "in.jsonl", "--param", "tokenizer=./other")

    assert result.code == 2
    assert "other: tokenizer not found" in result.err


def test_a_broken_tokenizer_ends_the_run(counting):
    counting.write("broken.json", "{")
    counting.rows([{"text": "a"}])

    result = counting("run", "task.yaml", "-i", "in.jsonl", "--param", "tokenizer=broken.json")

    assert result.code == 2
    assert "the tokenizer broken.json can't be loaded" in result.err


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch):
    from distask.errors import UsageError
    from distask.task.text import tokens

    monkeypatch.setattr(tokens, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"pip install 'distask\[tokenizers\]'"):
        tokens.Tokenizer("tokenizer.json")


def test_a_dry_run_does_not_load_the_package(counting):
    counting.rows([{"text": 7}])
    program = (
        "import sys; from distask import load; load('task.yaml'); assert 'tokenizers' not in sys.modules, 'loaded'"
    )
    import subprocess

    subprocess.run([sys.executable, "-c", program], cwd=counting.folder, env=counting.env, check=True)


def test_rows_that_are_too_long_are_left_out(counting):
    counting.rows([{"instruction": "a b", "generation": "b"}, {"instruction": "a b", "generation": "b a b"}])

    result = counting(
        "run", "format-sft", "-i", "in.jsonl", "-o", "out.jsonl", "--param", "tokenizer=.", "--param", "max_tokens=4"
    )

    assert result.code == 3
    assert "in.jsonl:2" in result.err
    assert "the row has 5 tokens, more than 4" in result.err
    assert json.dumps(counting.lines("out.jsonl")).count("messages") == 1


@pytest.mark.parametrize("task", ["format-dpo", "format-reward", "format-kto", "format-sharegpt", "format-alpaca"])
def test_every_format_checks_the_length(counting, task):
    row = {"instruction": "a b", "generation": "b a b", "generations": ["b a b", "a"], "ratings": [5, 1]}
    counting.rows([row])

    result = counting("run", task, "-i", "in.jsonl", "--param", "tokenizer=.", "--param", "max_tokens=4")

    assert result.code == 3
    assert "5 " in result.err
    assert "more than 4" in result.err
