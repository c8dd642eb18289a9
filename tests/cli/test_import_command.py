"""`distask import`: prompts of other tools become tasks that validate; what can't be carried over is told."""

from __future__ import annotations

import json

import pytest
import yaml

PROMPTY = """\
---
name: Basic Prompt
description: Answers questions
authors: [someone]
model:
  api: chat
  configuration:
    type: azure_openai
    azure_deployment: gpt-4o
    azure_endpoint: ${env:AZURE_OPENAI_ENDPOINT}
  parameters: {max_tokens: 128, temperature: 0.2, weird: 3}
inputs:
  firstName: {type: string, default: Jane}
  question: {type: string}
  unused: {type: int}
sample: {firstName: Ada, question: "Who was first?"}
---
system:
You help {{firstName}}.

# user:
{{{question}}}
"""

SECOND = """\
---
name: judge
model:
  id: gpt-4o-mini
  provider: openai
  options: {temperature: 0.1, maxOutputTokens: 50, topP: 0.9}
inputs:
  - {name: answer, kind: string, description: What was answered.}
outputs:
  - {name: score, kind: integer}
template: {format: mustache, parser: prompty}
---
user:
Grade {{answer}}
"""

GITHUB = """\
name: Summarizer
model: openai/gpt-4o-mini
modelParameters: {temperature: 0.5, maxTokens: 100}
messages:
  - {role: system, content: You summarize.}
  - {role: user, content: "Text: {{input}}"}
testData:
  - {input: The quick fox., expected: A fox.}
  - {input: alone}
evaluators:
  - {name: starts well, string: {startsWith: A}}
"""

FLOW = """\
inputs:
  url: {type: string, default: "https://example.org"}
nodes:
- {name: fetch, type: python, source: {type: code, path: fetch.py}, inputs: {url: "${inputs.url}"}}
- name: classify
  type: llm
  source: {type: code, path: classify.jinja2}
  inputs: {deployment_name: gpt-4, max_tokens: 9, text: "${fetch.output}", link: "${inputs.url}", style: short}
  connection: mine
- {name: loops, type: llm, source: {type: code, path: loops.jinja2}, inputs: {chat: "${inputs.chat}"}}
"""


@pytest.fixture
def folder(shell):
    shell.write("basic.prompty", PROMPTY)
    shell.write("judge.prompty", SECOND)
    shell.write("sum.prompt.yml", GITHUB)
    flow = shell.folder / "flow"
    flow.mkdir()
    (flow / "flow.dag.yaml").write_text(FLOW)
    (flow / "classify.jinja2").write_text("system:\nClassify {{link}}, {{style}}.\nuser:\n{{text}}\n")
    (flow / "loops.jinja2").write_text("system:\nHi.\n{% for c in chat %}\nuser:\n{{c}}\n{% endfor %}\n")
    return shell


def made(folder, name):
    return yaml.safe_load((folder.folder / name).read_text())


@pytest.mark.parametrize(
    ("source", "name", "cases"),
    [
        (["basic.prompty"], "basic-prompt.yaml", 1),
        (["judge.prompty"], "judge.yaml", 0),
        (["sum.prompt.yml"], "summarizer.yaml", 1),
        (["flow", "--node", "classify"], "classify.yaml", 0),
    ],
    ids=str,
)
def test_what_is_imported_validates_and_its_cases_hold(folder, source, name, cases):
    result = folder("import", *source)

    assert result.code == 0
    assert result.out.startswith(f"{name}  from {source[0]}\n")
    assert folder("validate", name).code == 0
    assert f"{cases} passed" in folder("test", name).out
    assert folder("run", name, "--rows", "1", "-c", "offline").code in (0, 2)


def test_a_prompty_keeps_its_chat_its_inputs_and_its_parameters(folder):
    folder("import", "basic.prompty")

    spec = made(folder, "basic-prompt.yaml")
    assert spec["format_input"] == [
        {"role": "system", "content": "You help {{firstName}}."},
        {"role": "user", "content": "{{question}}"},
    ]
    assert spec["inputs"]["firstName"]["default"] == "Jane"
    assert spec["llm"] == {"model": "gpt-4o", "max_tokens": 128, "temperature": 0.2}


def test_outputs_of_a_prompty_become_columns_that_replies_are_held_to(folder):
    folder("import", "judge.prompty")

    spec = made(folder, "judge.yaml")
    assert spec["outputs"] == {"score": {"type": "integer"}}
    assert spec["structured_output"]["schema"]["required"] == ["score"]
    assert spec["llm"] == {"model": "gpt-4o-mini", "temperature": 0.1, "max_tokens": 50, "top_p": 0.9}


def test_rows_with_what_is_expected_become_cases(folder):
    folder("import", "sum.prompt.yml")

    assert made(folder, "summarizer.yaml")["cases"] == [
        {"input": {"input": "The quick fox."}, "reply": "A fox.", "expect": {"generation": "A fox."}}
    ]


def test_a_node_of_a_flow_reads_the_flows_inputs_and_its_constants(folder):
    folder("import", "flow", "--node", "classify")

    spec = made(folder, "classify.yaml")
    assert spec["input_mappings"] == {"link": "url"}
    assert spec["vars"] == {"style": "short"}
    assert spec["llm"] == {"model": "gpt-4", "max_tokens": 9}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (["basic.prompty"], ["`weird: 3`", "the endpoint (azure_openai)", "`authors`", "the input `unused`"]),
        (["sum.prompt.yml"], ["1 row of `testData` without `expected`", "the evaluator `starts well`"]),
        (["flow", "--node", "classify"], ["`text` is the output of the node `fetch`", "`fetch`, `loops` are", "the connection `mine`"]),
    ],
    ids=lambda a: str(a[0]),
)  # fmt: skip
def test_what_can_not_be_carried_over_is_reported_and_never_dropped(folder, source, expected):
    result = folder("import", *source)

    assert [words for words in expected if words not in result.err] == []


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (["nope.prompty"], "nope.prompty: file not found"),
        (["task.yaml"], "distask import reads .prompty, .prompt.yml (GitHub Models), and Prompt Flow folders"),
        (["flow"], "several LLM nodes: `classify`, `loops`; select one: --node classify"),
        (["flow", "--node", "fetch"], "no LLM node `fetch`"),
        (["flow", "--node", "loops"], "if a loop creates the messages, use `for_each` or `splice` instead"),
        (["section.prompty"], "`{{#each x}}` is a Mustache tag"),
        (["broken.prompty"], "broken.prompty:2:"),
        (["bare.prompty"], "must start with front matter"),
        (["basic.prompty", "--node", "x"], "--node works only with a flow"),
        (["basic.prompty", "--name", "task"], "task.yaml already exists and was not changed"),
    ],
    ids=lambda a: " ".join(a) if isinstance(a, list) else "",
)
def test_what_is_no_prompt_is_reported_and_nothing_is_written(folder, source, sentence):
    folder.write("section.prompty", "---\nname: x\n---\nuser:\n{{#each x}}a{{/each}}\n")
    folder.write("broken.prompty", "---\nname: [\n---\nuser:\nx\n")
    folder.write("bare.prompty", "user:\nx\n")
    before = sorted(folder.folder.rglob("*"))

    result = folder("import", *source)

    assert result.code == 2
    assert sentence in result.err
    assert sorted(folder.folder.rglob("*")) == before


def test_programs_get_the_path_and_the_notes(folder):
    folder("import", "sum.prompt.yml", "--json")

    assert folder.events[-1]["path"] == "summarizer.yaml"
    assert len(folder.events[-1]["notes"]) == 2
    assert json.dumps(folder.events[-1])
