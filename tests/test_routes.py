"""What is asked besides chats, end to end: raw completions, messages to go on from, embeddings, images."""

from __future__ import annotations

import json

import pytest

from distask import Task, run
from distask.errors import SpecError, UsageError

PROMPT = """
name: prompt
inputs: {system_prompt: Who speaks.}
params: {family: {default: chatml, type: any}}
format_input:
  - {role: system, content: "{{ system_prompt }}"}
completion: {template: family, open: user}
outputs: {instruction: What a user says.}
format_output: {parser: text, strip: true}
"""


@pytest.fixture
def ask(tmp_path, server):
    """A function from a spec's text to the rows of a run over HTTP, and the bodies that the server saw."""

    def asked(text, row, *, params=None, **llm):
        path = tmp_path / "task.yaml"
        path.write_text(text)
        config = {"model": "m", "base_url": server.url, "api_key_env": None, **llm}
        task = Task.load(path, params)
        result = run(task, [row], llm=config, output=tmp_path / "out.jsonl", overwrite=True)
        assert result.exit_code == 0
        return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()], server.requests

    return asked


def test_an_open_user_turn_is_completed_by_what_a_user_would_say(ask, server):
    """The chat goes out as the text that the family reads, and the family's marks end the reply."""
    server.reply = lambda _: " How do tides work?\n"

    rows, bodies = ask(PROMPT, {"system_prompt": "You know the sea."}, generation={"max_tokens": 20})

    assert rows[0]["instruction"] == "How do tides work?"
    assert server.paths == ["/v1/completions"]
    assert bodies[0]["prompt"] == "<|im_start|>system\nYou know the sea.<|im_end|>\n<|im_start|>user\n"
    assert bodies[0]["stop"] == ["<|im_end|>", "<|im_start|>", "<|endoftext|>"]
    assert bodies[0]["max_tokens"] == 20
    assert "messages" not in bodies[0]
    assert rows[0]["distask_metadata"]["raw_input_prompt"] == [{"role": "prompt", "content": bodies[0]["prompt"]}]


@pytest.mark.parametrize(
    ("family", "prompt"),
    [
        ("llama3", "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"),
        ("qwen2", "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n"),
        ("gemma", "<start_of_turn>user\nS\n\n"),
        ("mistral", "[INST] S\n\n"),
        ("phi3", "<|system|>\nS<|end|>\n<|user|>\n"),
        ("granite", "<|start_of_role|>system<|end_of_role|>S<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>"),
        (None, "S"),
    ],
)  # fmt: skip
def test_each_family_has_its_own_marks(tmp_path, family, prompt):
    """A family without a system turn reads it at the beginning of the user's."""
    (tmp_path / "task.yaml").write_text(PROMPT)

    task = Task.load(tmp_path / "task.yaml", {"family": family})

    assert task.format_input({"system_prompt": "S"})[0]["content"] == prompt


def test_a_conversation_is_written_turn_by_turn(tmp_path):
    (tmp_path / "task.yaml").write_text(
        PROMPT.replace('- {role: system, content: "{{ system_prompt }}"}', "- {splice: row.messages}")
    )
    task = Task.load(tmp_path / "task.yaml", {"family": "mistral"})
    chat = [{"role": r, "content": c} for r, c in (("system", "S"), ("user", "U"), ("assistant", "A"))]

    assert (
        task.format_input({"system_prompt": "", "messages": chat})[0]["content"] == "[INST] S\n\nU [/INST] A</s>[INST] "
    )


def test_a_conversation_may_begin_with_the_turn_that_is_left_open(tmp_path):
    """Without a system prompt nothing stands before the user's mark."""
    (tmp_path / "task.yaml").write_text(
        PROMPT.replace("  - {role: system,", "  - {role: system, when: system_prompt,").replace(
            "system_prompt: Who speaks.", "system_prompt: {required: false}"
        )
    )

    chat = Task.load(tmp_path / "task.yaml").format_input({})

    assert chat == [{"role": "prompt", "content": "<|im_start|>user\n"}]


def test_a_family_that_there_is_not_is_reported_before_any_call(tmp_path):
    (tmp_path / "task.yaml").write_text(PROMPT)

    with pytest.raises(UsageError, match="did you mean `llama3`"):
        Task.load(tmp_path / "task.yaml", {"family": "llama"})


def test_log_probabilities_are_asked_of_raw_completions_as_they_take_them(ask, server):
    text = PROMPT.replace("completion: {template: family, open: user}", "completion: true")
    generation = {"logprobs": True, "top_logprobs": 3, "max_completion_tokens": 4, "reasoning_effort": "low"}

    _, bodies = ask(text, {"system_prompt": "S"}, generation=generation)

    assert {k: v for k, v in bodies[0].items() if k not in ("model", "prompt")} == {"logprobs": 3, "max_tokens": 4}


def test_a_prefilled_message_is_continued_from(ask, server):
    text = """
name: prefilled
inputs: {question: What is asked.}
format_input:
  - {role: user, content: "{{ question }}"}
  - {role: assistant, content: "Sure:"}
prefill: true
outputs: {answer: What follows.}
format_output: {parser: text}
"""
    _, bodies = ask(text, {"question": "?"})

    assert server.paths == ["/v1/chat/completions"]
    assert bodies[0]["messages"][-1] == {"role": "assistant", "content": "Sure:"}
    assert (bodies[0]["continue_final_message"], bodies[0]["add_generation_prompt"]) == (True, False)


EMBED = """
name: embed
inputs: {text: The text.}
format_input: [{role: user, content: "{{ text }}"}]
returns: embedding
outputs: {embedding: {type: "list[number]", minItems: 1}}
format_output: {parser: json}
add_raw_output: false
llm: {extra_body: {dimensions: 3}}
"""


def test_an_embedding_is_a_column_of_numbers(ask, server):
    """Keywords of chats stay at home; what only some servers know goes along."""
    server.reply = lambda _: "[0.25, -1.5e-05, 3]"

    rows, bodies = ask(EMBED, {"text": "tides"}, generation={"temperature": 0.7, "max_tokens": 9})

    assert rows[0]["embedding"] == [0.25, -1.5e-05, 3]
    assert "raw_output_embed" not in rows[0]["distask_metadata"]
    assert server.paths == ["/v1/embeddings"]
    assert bodies == [{"model": "m", "input": "tides", "encoding_format": "float", "dimensions": 3}]


@pytest.mark.parametrize(
    ("sent", "image"),
    [
        ("https://example.org/cat.png", "https://example.org/cat.png"),
        ("/9j/4AAQ", "data:image/jpeg;base64,/9j/4AAQ"),
        ("iVBORw0KGgo", "data:image/png;base64,iVBORw0KGgo"),
    ],
)
def test_an_image_is_a_url(ask, server, sent, image):
    """Base64 becomes a data URL, which a task that looks at images takes as it is."""
    server.reply = lambda _: sent
    text = EMBED.replace("returns: embedding", "returns: image").replace(
        '{embedding: {type: "list[number]", minItems: 1}}', "{image: Its URL.}"
    )
    text = text.replace("{parser: json}", "{parser: text}").replace("dimensions: 3", "size: 256x256")

    rows, bodies = ask(text, {"text": "a cat"})

    assert rows[0]["image"] == image
    assert server.paths == ["/v1/images/generations"]
    assert bodies == [{"model": "m", "prompt": "a cat", "size": "256x256"}]


def test_an_embedding_is_asked_once_and_kept(ask, server):
    server.reply = lambda _: "[1]"

    ask(EMBED, {"text": "tides"})
    rows, bodies = ask(EMBED, {"text": "tides"})

    assert rows[0]["embedding"] == [1]
    assert len(bodies) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("prefill: true", "the last role is user"),
        ("completion: true\nreturns: image", "can't be combined"),
        ("completion: {open: user}", "`open` needs"),
        ("returns: image\non_invalid: {feedback: true}", "needs a chat"),
    ],
)
def test_what_does_not_go_together_is_reported(tmp_path, change, words):
    (tmp_path / "task.yaml").write_text(EMBED.replace("returns: embedding", change))

    with pytest.raises(SpecError, match=words):
        Task.load(tmp_path / "task.yaml")
