"""Raw completions of the real engine: over HTTP, and in this process."""

from __future__ import annotations

import json

import pytest

from distask import Task, run

SPEC = """
name: go-on
inputs: {text: The text.}
format_input: [{role: user, content: "{{ text }}"}]
completion: true
outputs: {score: {type: number}, said: What follows.}
format_output:
  parser: logprobs
  choices: {e: 1, t: 2, a: 3}
  column: score
  columns: {said: "{{ reply }}"}
llm: {max_tokens: 12, temperature: 0, logprobs: true, top_logprobs: 5}
"""


@pytest.mark.parametrize("where", ["over HTTP", "in this process"])
def test_a_text_is_continued_from_with_its_log_probabilities(tmp_path, tiny_model, llama_server, where):
    (tmp_path / "task.yaml").write_text(SPEC)
    llm = {"model": "tiny", "base_url": llama_server, "api_key_env": None}
    if where == "in this process":
        llm = {"provider": "llamacpp", "model": str(tiny_model), "llamacpp": {"slots": 2, "threads": 1}}

    run(Task.load(tmp_path / "task.yaml"), [{"text": "The sea"}], llm=llm, output=tmp_path / "out.jsonl")
    row = json.loads((tmp_path / "out.jsonl").read_text())

    assert row["distask_metadata"]["raw_output_go-on"]
    assert row["distask_metadata"]["logprobs_go-on"]
    assert "error_go-on" not in row["distask_metadata"] or "is one of e, t, a" in str(row["distask_metadata"])
