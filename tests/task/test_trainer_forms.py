"""The forms that trainers document, as data: each is exactly what a format task writes from the same content.

The sources are the dataset pages of TRL, Axolotl, LLaMA-Factory, OpenAI and mistral-finetune. `tests/real/test_trainers.py`
reads the files with the trainers themselves, where they are installed.
"""

from __future__ import annotations

import json

import pytest

from distask import load, run

# Content

LIGHTS = {
    "type": "function",
    "function": {
        "name": "set_light",
        "description": "Switches the light of a room.",
        "parameters": {
            "type": "object",
            "properties": {"room": {"type": "string"}, "on": {"type": "boolean"}},
            "required": ["room", "on"],
        },
    },
}
FLAT_LIGHTS = LIGHTS["function"]
ON = {"room": "hall", "on": True}
ON_TEXT = json.dumps(ON)
SEA = {"instruction": "Why is the sea salty?", "generation": "Rivers bring salt."}
PAIR = {"instruction": "Why is the sea salty?", "generations": ["Fish.", "Rivers bring salt."], "ratings": [1, 5]}
SWITCHED = {
    "conversations": [
        {"from": "system", "value": "You run a house."},
        {"from": "human", "value": "Light in the hall, please."},
        {"from": "function_call", "value": json.dumps({"name": "set_light", "arguments": ON})},
        {"from": "observation", "value": "done"},
        {"from": "gpt", "value": "It is on."},
    ],
    "tools": json.dumps([FLAT_LIGHTS]),
}
CAT = {"instruction": "What is this?", "generation": "A cat.", "images": ["cat.png"]}
CAT_URL = {**CAT, "images": ["https://example.com/cat.png"]}
TALK = {
    "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "Goodbye."},
    ]
}

ASKED = {"role": "user", "content": "Why is the sea salty?"}
RIVERS = {"role": "assistant", "content": "Rivers bring salt."}
FISH = {"role": "assistant", "content": "Fish."}
SYSTEM = {"role": "system", "content": "You run a house."}
LIGHT_PLEASE = {"role": "user", "content": "Light in the hall, please."}
IT_IS_ON = {"role": "assistant", "content": "It is on."}


def calling(call_id, arguments):
    call = {"id": call_id, "type": "function", "function": {"name": "set_light", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def result(call_id):
    return {"role": "tool", "content": "done", "tool_call_id": call_id}


# Forms: what is documented, the task and its params, the row, and what is written

TRL = [
    ("language modeling, standard", "format-sft", {"format": "standard", "separator": " "}, SEA,
     {"text": "Why is the sea salty? Rivers bring salt."}),
    ("language modeling, conversational", "format-sft", {}, SEA, {"messages": [ASKED, RIVERS]}),
    ("prompt only, standard", "format-prompt-only", {"format": "standard"}, SEA, {"prompt": "Why is the sea salty?"}),
    ("prompt only, conversational", "format-prompt-only", {}, SEA, {"prompt": [ASKED]}),
    ("prompt and completion, standard", "format-sft",
     {"format": "standard", "type": "prompt-completion", "separator": " "}, SEA,
     {"prompt": "Why is the sea salty?", "completion": " Rivers bring salt."}),
    ("prompt and completion, conversational", "format-sft", {"type": "prompt-completion"}, SEA,
     {"prompt": [ASKED], "completion": [RIVERS]}),
    ("preference, standard", "format-dpo", {"format": "standard", "separator": " "}, PAIR,
     {"prompt": "Why is the sea salty?", "chosen": " Rivers bring salt.", "rejected": " Fish."}),
    ("preference, conversational", "format-dpo", {}, PAIR,
     {"prompt": [ASKED], "chosen": [RIVERS], "rejected": [FISH]}),
    ("preference with an implicit prompt, standard", "format-reward", {"format": "standard", "separator": " "}, PAIR,
     {"chosen": "Why is the sea salty? Rivers bring salt.", "rejected": "Why is the sea salty? Fish."}),
    ("preference with an implicit prompt, conversational", "format-reward", {}, PAIR,
     {"chosen": [ASKED, RIVERS], "rejected": [ASKED, FISH]}),
    ("unpaired preference, standard", "format-kto", {"format": "standard", "separator": " "}, {**SEA, "label": True},
     {"prompt": "Why is the sea salty?", "completion": " Rivers bring salt.", "label": True}),
    ("unpaired preference, conversational", "format-kto", {}, {**SEA, "label": True},
     {"prompt": [ASKED], "completion": [RIVERS], "label": True}),
    ("stepwise supervision", "format-prm", {"format": "trl"},
     {"instruction": "3 * 4 + 1?", "solutions": ["3 * 4 = 12. +", "12 + 1 = 14. -"]},
     {"prompt": "3 * 4 + 1?", "completions": ["3 * 4 = 12.", "12 + 1 = 14."], "labels": [True, False]}),
    ("tool calling", "format-sft", {}, SWITCHED,
     {"messages": [SYSTEM, LIGHT_PLEASE, calling("call_1", ON), result("call_1"), IT_IS_ON], "tools": [LIGHTS]}),
    ("tool calling, tools as JSON text", "format-sft", {"tool_json": "text"}, SWITCHED,
     {"messages": [SYSTEM, LIGHT_PLEASE, calling("call_1", ON_TEXT), result("call_1"), IT_IS_ON],
      "tools": json.dumps([LIGHTS])}),
    ("images", "format-sft", {"vision": True}, CAT,
     {"messages": [
         {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]},
         {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}],
      "images": ["cat.png"]}),
]  # fmt: skip

AXOLOTL = [
    ("chat_template, messages", "format-sft", {}, TALK, TALK),
    ("chat_template, conversations", "format-sharegpt", {}, TALK,
     {"conversations": [
         {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."},
         {"from": "human", "value": "Bye"}, {"from": "gpt", "value": "Goodbye."}]}),
    ("alpaca", "format-alpaca", {}, {"instruction": "To French:", "input": "the sea", "output": "la mer"},
     {"instruction": "To French:", "input": "the sea", "output": "la mer"}),
    ("completion", "format-sft", {"format": "standard"}, SEA, {"text": "Why is the sea salty?\n\nRivers bring salt."}),
    ("DPO, chatml.ultra", "format-dpo", {"format": "distilabel"}, PAIR,
     {"prompt": "Why is the sea salty?", "chosen": [ASKED, RIVERS], "rejected": [ASKED, FISH]}),
    ("DPO, chatml.argilla_chat", "format-reward", {}, PAIR, {"chosen": [ASKED, RIVERS], "rejected": [ASKED, FISH]}),
    ("DPO, chatml.prompt_pairs", "format-dpo", {"format": "standard", "separator": ""}, PAIR,
     {"prompt": "Why is the sea salty?", "chosen": "Rivers bring salt.", "rejected": "Fish."}),
    ("KTO, chatml.prompt_pairs", "format-kto", {"format": "standard", "separator": ""}, {**SEA, "label": False},
     {"prompt": "Why is the sea salty?", "completion": "Rivers bring salt.", "label": False}),
]  # fmt: skip

LLAMA_FACTORY = [
    ("alpaca", "format-alpaca", {},
     {"instruction": "Bye", "input": "", "output": "Goodbye.", "system": "Be brief.", "history": [["Hi", "Hello."]]},
     {"instruction": "Bye", "input": "", "output": "Goodbye.", "system": "Be brief.", "history": [["Hi", "Hello."]]}),
    ("alpaca, preference", "format-alpaca", {"type": "preference"}, PAIR,
     {"instruction": "Why is the sea salty?", "input": "", "chosen": "Rivers bring salt.", "rejected": "Fish."}),
    ("alpaca, KTO", "format-alpaca", {"type": "kto"}, {**SEA, "label": True},
     {"instruction": "Why is the sea salty?", "input": "", "output": "Rivers bring salt.", "label": True}),
    ("sharegpt with tools", "format-sharegpt", {}, {**SWITCHED, "tools": [FLAT_LIGHTS]},
     {"conversations": SWITCHED["conversations"], "tools": json.dumps([LIGHTS])}),
    ("sharegpt, preference", "format-sharegpt", {"type": "preference"}, PAIR,
     {"conversations": [{"from": "human", "value": "Why is the sea salty?"}],
      "chosen": {"from": "gpt", "value": "Rivers bring salt."}, "rejected": {"from": "gpt", "value": "Fish."}}),
    ("sharegpt, KTO", "format-sharegpt", {"type": "kto"}, {**SEA, "label": True},
     {"conversations": [{"from": "human", "value": "Why is the sea salty?"},
                        {"from": "gpt", "value": "Rivers bring salt."}], "label": True}),
    ("sharegpt, images", "format-sharegpt", {"vision": True}, CAT,
     {"conversations": [{"from": "human", "value": "<image>What is this?"}, {"from": "gpt", "value": "A cat."}],
      "images": ["cat.png"]}),
    ("openai", "format-sft", {}, TALK, TALK),
]  # fmt: skip

OPENAI = [
    ("chat", "format-openai-finetune", {}, TALK, TALK),
    ("chat with weights", "format-openai-finetune", {},
     {"messages": [ASKED, {**FISH, "weight": 0}, ASKED, {**RIVERS, "weight": 1}]},
     {"messages": [ASKED, {**FISH, "weight": 0}, ASKED, {**RIVERS, "weight": 1}]}),
    ("tools", "format-openai-finetune", {}, SWITCHED,
     {"messages": [SYSTEM, LIGHT_PLEASE, calling("call_1", ON_TEXT), result("call_1"), IT_IS_ON], "tools": [LIGHTS]}),
    ("images", "format-openai-finetune", {}, CAT_URL,
     {"messages": [
         {"role": "user", "content": [
             {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
             {"type": "text", "text": "What is this?"}]},
         {"role": "assistant", "content": "A cat."}]}),
    ("preference", "format-openai-finetune", {"type": "preference"}, PAIR,
     {"input": {"messages": [ASKED], "tools": [], "parallel_tool_calls": True},
      "preferred_output": [RIVERS], "non_preferred_output": [FISH]}),
]  # fmt: skip

MISTRAL = [
    ("instruct", "format-mistral-finetune", {}, TALK, TALK),
    ("instruct with a weight", "format-mistral-finetune", {}, {"messages": [ASKED, {**FISH, "weight": 0}, ASKED, RIVERS]},
     {"messages": [ASKED, {**FISH, "weight": 0}, ASKED, RIVERS]}),
    ("function calling", "format-mistral-finetune", {}, SWITCHED,
     {"messages": [SYSTEM, LIGHT_PLEASE, calling("2t37BoqmI", ON_TEXT), result("2t37BoqmI"), IT_IS_ON],
      "tools": [LIGHTS]}),
]  # fmt: skip

OURS = {"prompt_id", "chosen_rating", "rejected_rating", "margin"}
"""Columns that trainers ignore."""
META = {"distask_metadata", "model_name"}


@pytest.mark.parametrize(
    ("task", "params", "row", "form"),
    [
        pytest.param(*rest, id=f"{trainer}: {name}")
        for trainer, forms in {
            "TRL": TRL,
            "Axolotl": AXOLOTL,
            "LLaMA-Factory": LLAMA_FACTORY,
            "OpenAI": OPENAI,
            "Mistral": MISTRAL,
        }.items()
        for name, *rest in forms
    ],
)
def test_a_task_writes_the_documented_form(task, params, row, form):
    """No key is missing, and no other key is in the file, such as a null that a server refuses."""
    made = run(load(task, params), [row])

    assert list(made.failures) == []
    (written,) = made.rows
    ours = OURS | row.keys() | META if task == "format-prm" else OURS
    assert {name: value for name, value in written.items() if name not in ours - form.keys()} == form


@pytest.mark.parametrize("task", ["format-openai-finetune", "format-mistral-finetune"])
def test_calls_without_ids_are_linked_to_their_results_in_order(task):
    """TRL documents calls without ids, which the services refuse."""
    call = {"type": "function", "function": {"name": "set_light", "arguments": ON}}
    results = [{"role": "tool", "name": "set_light", "content": text} for text in ("one", "two")]
    chat = [LIGHT_PLEASE, {"role": "assistant", "tool_calls": [call, call]}, *results, IT_IS_ON]

    (row,) = run(load(task), [{"messages": chat}]).rows

    ids = [call["id"] for call in row["messages"][1]["tool_calls"]]
    assert len(set(ids)) == 2
    assert [message["tool_call_id"] for message in row["messages"][2:4]] == ids
    assert all("name" not in message for message in row["messages"])
