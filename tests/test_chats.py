"""Chats in the shapes that datasets use, from a file to the messages that the server receives."""

from __future__ import annotations

import json

import pytest

from distask import Task, run
from distask.errors import InputError

SPLICE = """
name: chat
inputs: {messages: {type: "list[object]"}}
format_input:
  - {splice: messages}
outputs: {generation: The reply.}
format_output: {parser: text}
"""
JUDGE = """
name: judge
inputs: {messages: {type: list, description: The conversation.}}
format_input:
  - role: user
    content: "{% for message in messages %}{{ message.role }}: {{ message.content }}\\n{% endfor %}"
outputs: {generation: The reply.}
format_output: {parser: text}
"""
STEPS = """
name: steps
inputs: {messages: {type: "list[object]"}}
steps:
  - name: ask
    task:
      inputs: {messages: {type: "list[object]"}}
      format_input: [{splice: messages}]
      outputs: {generation: The reply.}
      format_output: {parser: text}
outputs: {generation: The reply.}
"""

USER = [{"role": "user", "content": "Hi"}]
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Bye"},
]
TURNS = [
    {"from": "system", "value": "Be brief."},
    {"from": "human", "value": "Hi"},
    {"from": "gpt", "value": "Hello!"},
    {"from": "human", "value": "Bye"},
]
CHATML = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in TALK)
CALL = {"name": "thermometer", "arguments": {"place": "Bern"}}
CALLED = [{"id": "call_1", "type": "function", "function": {"name": "thermometer", "arguments": '{"place": "Bern"}'}}]
TOOLS = [
    {"role": "user", "content": "How warm is it?"},
    {"role": "assistant", "content": None, "tool_calls": CALLED},
    {"role": "tool", "content": "21", "tool_call_id": "call_1"},
    {"role": "user", "content": "And in Fahrenheit?"},
]

SHAPES = {
    "OpenAI messages": ({"messages": TALK}, TALK),
    "OpenAI messages as JSON text": ({"messages": json.dumps(TALK)}, TALK),
    "a request's body": ({"messages": {"model": "m", "messages": TALK}}, TALK),
    "a request's body as JSON text": ({"messages": json.dumps({"messages": TALK}, indent=1)}, TALK),
    "JSON text in JSON text": ({"messages": json.dumps(json.dumps(TALK))}, TALK),
    "ChatML": ({"messages": CHATML}, TALK),
    "ChatML with an open turn": ({"messages": f"{CHATML}<|im_start|>assistant\n"}, TALK),
    "ShareGPT": ({"conversations": TURNS}, TALK),
    "ShareGPT as JSON text": ({"conversations": json.dumps(TURNS)}, TALK),
    "ShareGPT under the task's own name": ({"messages": TURNS}, TALK),
    "ShareGPT under any name": ({"id": "a", "dialogs": TURNS}, TALK),
    "ShareGPT with a column for the system message": ({"system": "Be brief.", "conversations": TURNS[1:]}, TALK),
    "ShareGPT with two system messages": ({"system": "No.", "conversations": TURNS}, TALK),
    "ShareGPT with an empty system message": ({"system": "", "conversations": TURNS}, TALK),
    "ShareGPT with nulls and training weights": (
        {"conversations": [{**turn, "weight": None, "loss": True, "role": None, "name": None} for turn in TURNS]},
        TALK,
    ),
    "OpenAI messages with training weights": ({"messages": [{**message, "weight": 1} for message in TALK]}, TALK),
    "role synonyms": (
        {"messages": [{"role": r, "content": m["content"]} for r, m in zip(("System", "human", "AI", "USER"), TALK)]},  # noqa: B905
        TALK,
    ),
    "mixed shapes": ({"messages": [TALK[0], TURNS[1], {"speaker": "bot", "text": "Hello!"}, TURNS[3]]}, TALK),
    "a key for each role": ({"conversation": [{"system": "Be brief."}, {"user": "Hi", "model": "Hello!"}, {"user": "Bye"}]}, TALK),
    "a mapping of columns": (
        {"messages": {"role": [m["role"] for m in TALK], "content": [m["content"] for m in TALK]}}, TALK,
    ),
    "one message": ({"messages": {"from": "human", "value": "Hi"}}, USER),
    "tools": (
        {"conversations": [
            {"from": "human", "value": "How warm is it?"}, {"from": "function_call", "value": json.dumps(CALL)},
            {"from": "observation", "value": "21"}, {"from": "human", "value": "And in Fahrenheit?"},
        ]},
        TOOLS,
    ),
    "tools of the first API": (
        {"messages": [
            TOOLS[0], {"role": "assistant", "content": None, "function_call": CALL},
            {"role": "function", "name": "thermometer", "content": "21"}, TOOLS[3],
        ]},
        TOOLS,
    ),
    "Alpaca": ({"instruction": "Translate.", "input": "Hi", "output": "Salut"}, [{"role": "user", "content": "Translate.\n\nHi"}]),
    "Alpaca without an input": ({"instruction": "Say hi.", "input": "", "output": "Hi"}, [{"role": "user", "content": "Say hi."}]),
    "Alpaca with null": ({"instruction": "Say hi.", "input": None}, [{"role": "user", "content": "Say hi."}]),
    "Alpaca with a history": (
        {"instruction": "Bye", "input": "", "output": "", "system": "Be brief.", "history": [["Hi", "Hello!"]]}, TALK,
    ),
    "content parts": (
        {"conversations": [{"from": "human", "value": [{"type": "text", "text": "Hi"}]}]},
        [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    ),
    "markers in a message are text": (
        {"conversations": [{"from": "human", "value": CHATML}]}, [{"role": "user", "content": CHATML}],
    ),
    "JSON in a message is text": (
        {"messages": [{"role": "user", "content": json.dumps(TALK)}]}, [{"role": "user", "content": json.dumps(TALK)}],
    ),
}  # fmt: skip

FAULTS = {
    "other keys": ([{"who": "a", "says": "b"}], "`messages[0]` has the keys `who`, `says`; a message needs `role` and `content`, or `from` and `value`"),
    "no keys": ([TALK[0], {}], "`messages[1]` has no keys; a message needs `role`"),
    "a mapping of other keys": ({"text": "a"}, "`messages` is a mapping with the key `text`; a message needs `role`"),
    "no content": ([{"from": "human"}], "`messages[0]` has the key `from`; a message needs"),
    "null content": ([{"from": "human", "value": None}], "`messages[0]` has content that is null"),
    "another role": ([{"from": "narrator", "value": "a"}], "`messages[0]` has the role 'narrator', which is not one of system"),
    "another role in ChatML": ("<|im_start|>root\na<|im_end|>", "`messages` is ChatML with the role `root`"),
    "text around ChatML": ("<|im_start|>user\na<|im_end|>\nb", "`messages` is ChatML with text outside its turns"),
    "ChatML that was cut": ("<|im_start|>user\na<|im_start|>user\nb", "`messages` is ChatML with text outside its turns"),
    "broken JSON": ('[{"role": "user", "content": "a"', "`messages` is text that is not valid JSON: "),
    "deep JSON": ("[" * 100_000, "`messages` is "),
    "text": ("Hi", '`messages` needs a list of messages, got the text "Hi"'),
    "a number": (5, "`messages` needs a list of messages, got a number"),
    "a list of texts": (["Hi", "Hello!"], 'messages[0]: "Hi" is not an object'),
    "an empty list": ([], "the chat has no messages"),
    "null": (None, "the column `messages` is null"),
}  # fmt: skip


class Bench:
    """A folder with a task and rows, and a scripted server."""

    def __init__(self, folder, server):
        self.folder, self.server = folder, server

    def run(self, spec, rows, **options):
        """Run a spec's text or a built-in task; the rows that come out."""
        task = spec
        if "\n" in spec:
            task = self.folder / "task.yaml"
            task.write_text(spec)
        source = self.folder / "in.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        llm = {"model": "m", "base_url": self.server.url, "limits": options.pop("limits", {})}
        self.result = run(task, source, llm=llm, output=self.folder / "out.jsonl", overwrite=True, **options)
        return [json.loads(line) for line in (self.folder / "out.jsonl").read_text().splitlines()]

    @property
    def sent(self):
        return [request["messages"] for request in self.server.requests]


@pytest.fixture
def bench(tmp_path, server):
    server.reply = lambda _body: "Yes."
    return Bench(tmp_path, server)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", ["chat-generation", SPLICE], ids=["chat-generation", "splice"])
def test_a_chat_in_another_shape_arrives_as_messages(bench, spec, shape):
    """The row that comes out has its chat as it came in."""
    row, messages = SHAPES[shape]

    (out,) = bench.run(spec, [row])

    assert bench.sent == [messages]
    assert {name: out[name] for name in row} == row
    assert out["generation"] == "Yes."
    assert "messages" not in out.keys() - row.keys()


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_chat_fails_its_row_with_what_was_found(bench, fault):
    """The keys that are there and those that are needed; nothing is sent."""
    value, words = FAULTS[fault]

    (out,) = bench.run(SPLICE, [{"messages": value}])

    assert words in out["distask_metadata"]["error_chat"]["message"]
    assert bench.sent == []
    assert bench.result.exit_code == 3


@pytest.mark.parametrize("spec", [JUDGE, STEPS], ids=["judge", "steps"])
@pytest.mark.parametrize("row", [{"conversations": TURNS}, {"messages": json.dumps(TURNS)}, {"messages": TALK}])
def test_judges_and_steps_read_the_same_shapes(bench, spec, row):
    """A template that reads roles sees messages."""
    (out,) = bench.run(spec, [row])

    shown = [{"role": "user", "content": "".join(f"{m['role']}: {m['content']}\n" for m in TALK)}]
    assert bench.sent == [shown if spec is JUDGE else TALK]
    assert {name: out[name] for name in row} == row


def test_an_answer_next_to_the_chat_is_judged_but_not_continued(bench):
    """Alpaca's `output` is a message for a template that reads the chat."""
    bench.run(JUDGE, [{"instruction": "Say hi.", "input": "", "output": "Hi"}])

    assert bench.sent == [[{"role": "user", "content": "user: Say hi.\nassistant: Hi\n"}]]


def test_the_last_message_must_be_the_users(bench):
    """As of messages in the API's own shape, nothing is sent for a conversation that has its answer."""
    rows = [{"conversations": TURNS[:3]}, {"conversations": json.dumps(TALK[:3])}]

    for out in bench.run("chat-generation", rows):
        assert "the last message must be the user's" in out["distask_metadata"]["error_chat-generation"]["message"]
    assert bench.sent == []


def test_rows_of_one_file_may_differ(bench):
    """Each row is read by itself, and one sentence names what is read instead of the column."""
    rows = [{"messages": TALK}, {"conversations": TURNS}, {"messages": CHATML}]

    outs = bench.run("chat-generation", rows)

    assert bench.sent == [TALK] * 3
    assert [out["generation"] for out in outs] == ["Yes."] * 3
    assert bench.result.notes == [
        f"{bench.folder / 'in.jsonl'} has no column `messages`: the column `conversations` (ShareGPT) is read instead"
    ]


def test_a_reply_is_found_again_under_another_shape(bench):
    """The request is that of the messages, which it was before there were other shapes."""
    bench.run("chat-generation", [{"messages": TALK}])
    bench.run("chat-generation", [{"conversations": TURNS}])

    assert len(bench.sent) == 1


@pytest.mark.parametrize(
    "row",
    [
        {"text": "Hi"},
        {"conversations": "Hi"},
        {"prompt": TALK, "chosen": TALK},
        {"instruction": " "},
    ],
)
def test_other_data_lacks_the_column(bench, row):
    """Two columns that may be the chat are none: `input_mappings` says which."""
    with pytest.raises(InputError, match="column `messages` is missing"):
        bench.run(SPLICE, [row])


def test_columns_that_other_inputs_read_are_no_chat(bench):
    """A task with an instruction of its own misses its messages."""
    spec = SPLICE.replace("inputs: {", "inputs: {instruction: The instruction., ")

    with pytest.raises(InputError, match="column `messages` is missing"):
        bench.run(spec, [{"instruction": "Say hi."}])


RAW = """
name: raw
inputs: {conversations: {type: "list[object]"}}
format_input:
  - {role: user, content: "{% for turn in conversations %}{{ turn['from'] }}: {{ turn.value }}. {% endfor %}{{ conversations | tojson }}"}
outputs: {generation: The reply.}
format_output: {parser: text}
"""


def test_a_task_that_reads_the_shape_itself_gets_it(bench):
    """Requests of such tasks stay what they were, so their replies are found again."""
    bench.run(RAW, [{"conversations": TURNS[1:3]}])

    assert bench.sent[0][0]["content"].startswith('human: Hi. gpt: Hello!. [{"from": "human"')


def test_messages_with_other_keys_than_the_apis_stay_for_templates(bench):
    """A transcript has its own names for what is said."""
    spec = JUDGE.replace("message.content", "message.words")

    bench.run(spec, [{"messages": [{"role": "agent", "words": "Hi"}]}])

    assert bench.sent == [[{"role": "user", "content": "agent: Hi\n"}]]


def test_a_template_that_reads_a_missing_key_names_those_there_are(bench):
    (out,) = bench.run(JUDGE, [{"messages": [{"who": "a", "says": "b"}]}])

    message = out["distask_metadata"]["error_judge"]["message"]
    assert message == "line 1: `dict object` has no attribute `role`; its keys are `who`, `says`"


@pytest.mark.parametrize("task", ["chat-generation", "text-generation"])
@pytest.mark.parametrize("expected", ["<think>Easy.</think>\n\n4", "Easy.\n</think>\n4", "[THINK]Easy.[/THINK]4"])
def test_dropped_reasoning_is_in_the_metadata(bench, task, expected):
    """And no call is made again when the param changes."""
    bench.server.reply = lambda _body: expected
    row = {"messages": USER} if task == "chat-generation" else {"instruction": "2 + 2?"}
    llm = {"model": "m", "base_url": bench.server.url}

    for reasoning, text in (("keep", expected), ("drop", "4")):
        loaded = Task.load(task, {"reasoning": reasoning})
        run(loaded, [row], llm=llm, output=bench.folder / "out.jsonl", overwrite=True)
        out = json.loads((bench.folder / "out.jsonl").read_text())
        assert out["generation"] == text
        assert out["distask_metadata"][f"raw_output_{task}"] == expected
        assert out["distask_metadata"].get(f"reasoning_{task}") == ("Easy." if reasoning == "drop" else None)
    assert len(bench.sent) == 1


def test_reasoning_that_the_server_sends_stays_next_to_it(bench):
    bench.server.reply = lambda body: {
        **bench.server.completion(body, "4"),
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "reasoning_content": "First.", "content": "<think>Then.</think>4"}}
        ],
    }  # fmt: skip
    task = Task.load("chat-generation", {"reasoning": "drop"})

    result = run(task, [{"messages": USER}], llm={"model": "m", "base_url": bench.server.url}, store=False)

    assert result.rows[0]["generation"] == "4"
    assert result.rows[0]["distask_metadata"]["reasoning_chat-generation"] == "First.\n\nThen."


def test_a_long_text_is_sent_and_the_limit_bounds_it(bench):
    """`limits.prompt_characters` counts all texts of a chat."""
    spec = SPLICE.replace("- {splice: messages}", '- {role: user, content: "Sum up: {{ messages[0].content }}"}')
    rows = [{"messages": [{"role": "user", "content": "x" * 3_000_000}]}]

    (out,) = bench.run(spec, rows)
    assert out["generation"] == "Yes."
    assert len(bench.sent[0][0]["content"]) == 3_000_008

    for text in (spec, SPLICE, STEPS):
        (out,) = bench.run(text, rows, limits={"prompt_characters": 2_999_999}, store=False)
        error = next(value for key, value in out["distask_metadata"].items() if key.startswith("error_"))
        assert (
            "longer than 2,999,999 characters (raise the limit with --set limits.prompt_characters=N"
            in error["message"]
        )
    assert len(bench.sent) == 1


def test_a_higher_limit_lets_longer_texts_through(bench):
    """Above the default too."""
    text = "x" * 17_000_000
    task = Task.load("text-generation")

    task.limit_prompts(18_000_000)

    assert task.format_input({"instruction": text})[0]["content"] == text
