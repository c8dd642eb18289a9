"""A GGUF model in this process: the real engine, on random weights."""

from __future__ import annotations

import json
import shutil

import pytest

from distask import Task, run
from distask.errors import ConfigError, RunError
from distask.llm.config.resolve import load_config
from distask.llm.providers.gguf import identity

SPEC = """
name: judge
inputs: {text: The text.}
format_input: [{role: user, content: "{{ text }}"}]
structured_output: true
outputs: {rating: {type: integer, minimum: 1, maximum: 5}, reason: {type: string, maxLength: 30}}
format_output: {parser: json}
llm: {max_tokens: 300, temperature: 1, seed: 3}
"""


@pytest.fixture
def outcome(tmp_path, tiny_model):
    def run_it(rows=8, spec=SPEC, **options):
        (tmp_path / "task.yaml").write_text(spec)
        llm = {"provider": "llamacpp", "model": str(tiny_model), "llamacpp": {"slots": 2, "threads": 1}}
        llm |= options.pop("llm", {})
        result = run(
            Task.load(tmp_path / "task.yaml"),
            [{"text": f"row {i}"} for i in range(rows)],
            llm=llm,
            output=tmp_path / "out.jsonl",
            overwrite=True,
            **options,
        )
        return result, [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]

    return run_it


def test_a_run_needs_no_server_and_no_key(outcome, tiny_model):
    result, rows = outcome()

    assert result.exit_code == 0
    assert len(rows) == 8
    assert all(1 <= row["rating"] <= 5 for row in rows)
    assert rows[0]["model_name"] == str(tiny_model)
    statistics = rows[0]["distask_metadata"]["statistics_judge"]
    assert statistics["input_tokens"] > 0
    assert statistics["output_tokens"] > 0


def test_more_generations_than_slots_all_come(outcome):
    result, rows = outcome(rows=2, num_generations=5)

    assert result.exit_code == 0
    assert len({row["reason"] for row in rows}) > 2
    assert len(rows) == 10


def test_what_was_answered_is_not_requested_again(outcome):
    outcome()

    result, _ = outcome(rows=9)

    assert result.stats.calls == 1


def test_a_chat_longer_than_the_context_is_its_rows_failure(outcome):
    result, rows = outcome(rows=1, spec=SPEC.replace("{{ text }}", "{{ text * 900 }}"))

    assert result.exit_code == 3
    assert rows[0]["distask_metadata"]["error_judge"]["kind"] == "context_length"


def test_a_file_that_is_cut_ends_the_run_with_its_hint(outcome, tiny_model, tmp_path):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_model.read_bytes()[:100_000])

    with pytest.raises(RunError, match="can't load"):
        outcome(llm={"model": str(cut)})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "needs a model"),
        ("none.gguf", "can't be read: No such file"),
        ("hf://owner/file.gguf", "does not name a file"),
        (__file__, "is not a GGUF file"),
    ],
)
def test_a_model_that_is_none_is_reported_before_the_run(model, message):
    with pytest.raises(ConfigError, match=message):
        load_config(contents={"provider": "llamacpp"}, model=model, environ={})


def test_it_works_on_as_many_chats_as_it_has_slots(tiny_model):
    contents = {"provider": "llamacpp", "model": str(tiny_model), "llamacpp": {"slots": 3}}

    assert load_config(contents=contents, environ={}).config.limits.concurrency == 3
    assert load_config(contents=contents, concurrency=1, environ={}).config.limits.concurrency == 1


def test_another_model_under_the_same_name_is_another_model(tiny_model, tmp_path):
    """The store would answer with the first one's replies otherwise."""
    one, other = tmp_path / "a.gguf", tmp_path / "b.gguf"
    shutil.copy(tiny_model, one)
    data = bytearray(tiny_model.read_bytes())
    data[-1] ^= 1
    other.write_bytes(data)

    assert identity(one) == identity(tiny_model)
    assert identity(one) != identity(other)
