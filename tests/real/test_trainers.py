"""The files of the format tasks, read by the trainers themselves: TRL, LLaMA-Factory, Axolotl, and Mistral's own validator.

Each test needs its trainer, `pip install trl mistral-common addict colorama` and `pip install --no-deps llamafactory peft
axolotl`, and is skipped without it. None needs a GPU, a model or a network.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from distask import load, run

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
ROWS = [
    {"instruction": "2+2?", "generation": "4", "generations": ["4", "5"], "ratings": [5, 1]},
    {
        "system_prompt": "Be brief.",
        "instruction": "The capital of Norway?",
        "generation": "Oslo",
        "generations": ["Bergen", "Oslo"],
        "ratings": [2, 4],
    },
    {
        "messages": [
            {"role": "user", "content": "Rain?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
                ],
            },
            {"role": "tool", "content": "rain", "tool_call_id": "a"},
        ],
        "generation": "Yes.",
        "generations": ["Yes.", "No."],
        "ratings": [5, 2],
        "tools": [WEATHER],
    },
]
TEMPLATE = (
    "{% if tools %}[{{ tools[0].function.name }}]{% endif %}{% for message in messages %}"
    "<{{ message.role }}>{% if message.tool_calls %}{{ message.tool_calls[0].function.name }}"
    "{{ message.tool_calls[0].function.arguments.city }}{% else %}{{ message.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def formatted(folder, name, rows=ROWS, **params):
    """The file that a format task writes."""
    out = folder / f"{name}.jsonl"
    result = run(load(name, params), rows, output=out, overwrite=True)
    assert not result.stats.failed
    return out


def dataset(path):
    """The file as `datasets` loads it."""
    from datasets import load_dataset

    return load_dataset("json", data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))


# TRL


@pytest.fixture(scope="module")
def trl():
    """TRL's trainers, with a tiny model and a tokenizer of single bytes."""
    pytest.importorskip("torch")
    module = pytest.importorskip("trl")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

    alphabet = ["<unk>", "<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens = Tokenizer(models.BPE({token: index for index, token in enumerate(alphabet)}, [], unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens, eos_token="</s>", pad_token="<pad>", unk_token="<unk>", chat_template=TEMPLATE
    )
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=1, num_labels=1, **sizes)
    return SimpleNamespace(
        module=module,
        tokenizer=tokenizer,
        causal=lambda: LlamaForCausalLM(config),
        classifier=lambda: LlamaForSequenceClassification(config),
    )


def prepared(trl, kind, path, model, **more):
    """The rows of a trainer, as text."""
    trainer = getattr(trl.module, f"{kind}Trainer")
    args = getattr(trl.module, f"{kind}Config")(
        output_dir=str(path.parent / "trained"), report_to=[], use_cpu=True, per_device_train_batch_size=2
    )
    made = trainer(model, args=args, train_dataset=dataset(path), processing_class=trl.tokenizer, **more)
    return [
        {key: trl.tokenizer.decode(value) for key, value in row.items() if key.endswith("ids")}
        for row in made.train_dataset
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["language-modeling", "prompt-completion"])
def test_trl_trains_on_chats_with_tools(trl, tmp_path, kind):
    rows = prepared(trl, "SFT", formatted(tmp_path, "format-sft", type=kind), trl.causal())

    assert [row["input_ids"].removesuffix("</s>") for row in rows] == [
        "<user>2+2?<assistant>4",
        "<system>Be brief.<user>The capital of Norway?<assistant>Oslo",
        "[weather]<user>Rain?<assistant>weatherOslo<tool>rain<assistant>Yes.",
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["language-modeling", "prompt-completion"])
def test_trl_trains_on_text(trl, tmp_path, kind):
    path = formatted(tmp_path, "format-sft", ROWS[:1], format="standard", type=kind)

    assert prepared(trl, "SFT", path, trl.causal())[0]["input_ids"].removesuffix("</s>") == "2+2?\n\n4"


@pytest.mark.filterwarnings("ignore")
def test_trl_compares_answers(trl, tmp_path):
    path = formatted(tmp_path, "format-dpo")

    rows = prepared(trl, "DPO", path, trl.causal(), ref_model=trl.causal())

    assert rows[1]["prompt_ids"] == "<system>Be brief.<user>The capital of Norway?<assistant>"
    assert [row["chosen_ids"].removesuffix("</s>") for row in rows] == ["4", "Oslo", "Yes."]
    assert [row["rejected_ids"].removesuffix("</s>") for row in rows] == ["5", "Bergen", "No."]


@pytest.mark.filterwarnings("ignore")
def test_trl_learns_from_labels(trl, tmp_path):
    """KTO shuffles its rows, so they are compared without an order."""
    from trl.experimental.kto import KTOConfig, KTOTrainer

    rows = dataset(formatted(tmp_path, "format-kto"))
    made = KTOTrainer(
        trl.causal(),
        ref_model=trl.causal(),
        args=KTOConfig(output_dir=str(tmp_path / "trained"), report_to=[], use_cpu=True, per_device_train_batch_size=2),
        train_dataset=rows,
        processing_class=trl.tokenizer,
    )

    assert sorted(made.train_dataset["label"]) == sorted(rows["label"]) == [False] * 3 + [True] * 3


@pytest.mark.filterwarnings("ignore")
def test_trl_trains_a_reward_model(trl, tmp_path):
    rows = prepared(trl, "Reward", formatted(tmp_path, "format-reward"), trl.classifier())

    assert rows[0]["chosen_ids"].removesuffix("</s>") == "<user>2+2?<assistant>4"
    assert rows[0]["rejected_ids"].removesuffix("</s>") == "<user>2+2?<assistant>5"


@pytest.mark.filterwarnings("ignore")
def test_trl_reads_prompts(trl, tmp_path):
    from trl.data_utils import is_conversational, maybe_apply_chat_template

    rows = dataset(formatted(tmp_path, "format-prompt-only", [{"instruction": "2+2?"}]))

    assert is_conversational(rows[0])
    assert maybe_apply_chat_template(rows[0], trl.tokenizer)["prompt"] == "<user>2+2?<assistant>"


@pytest.mark.filterwarnings("ignore")
def test_trl_fills_images_in_their_places(trl, tmp_path):
    from trl.data_utils import prepare_multimodal_messages

    row = {"instruction": "What is this?", "generation": "A cat.", "images": ["cat.png"]}
    made = dataset(formatted(tmp_path, "format-sft", [row], vision=True))[0]

    messages = prepare_multimodal_messages(made["messages"], made["images"])

    assert messages[0]["content"][0]["image"] == "cat.png"


# LLaMA-Factory


@pytest.fixture
def converted(monkeypatch):
    """Converts a row with LLaMA-Factory's converter for a format and its columns.

    The converters are loaded without the rest of their package, which needs everything that training needs.
    """
    pytest.importorskip("torch")
    factory = pytest.importorskip("llamafactory")
    data = ModuleType("llamafactory.data")
    data.__path__ = [str(Path(factory.__file__).parent / "data")]
    monkeypatch.setitem(sys.modules, "llamafactory.data", data)
    try:
        from llamafactory.data.converter import get_dataset_converter
        from llamafactory.data.parser import DatasetAttr
    except ImportError as error:
        pytest.skip(f"LLaMA-Factory does not load: {error}")

    def convert(row, formatting, *, ranking=False, columns=None, tags=None):
        attributes = DatasetAttr("file", "file.jsonl")
        given = {"formatting": formatting, "ranking": ranking, "columns": columns or {}}
        attributes.join({**given, "tags": tags} if tags else given)
        converter = get_dataset_converter(formatting, attributes, SimpleNamespace(media_dir=""))
        return converter(row)

    return convert


SFT = {"messages": "conversations", "tools": "tools"}
OPENAI_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "system_tag": "system",
}


@pytest.mark.filterwarnings("ignore")
def test_llama_factory_reads_sharegpt(converted, tmp_path):
    rows = dataset(formatted(tmp_path, "format-sharegpt"))

    made = [converted(row, "sharegpt", columns=SFT) for row in rows]

    assert made[1]["_system"] == "Be brief."
    assert [turn["role"] for turn in made[2]["_prompt"]] == ["user", "function", "observation"]
    assert made[2]["_response"] == [{"role": "assistant", "content": "Yes."}]
    assert json.loads(made[2]["_tools"]) == [WEATHER]


@pytest.mark.filterwarnings("ignore")
def test_llama_factory_reads_preferences_and_labels(converted, tmp_path):
    pairs = dataset(formatted(tmp_path, "format-sharegpt", type="preference"))
    labels = dataset(formatted(tmp_path, "format-sharegpt", type="kto"))
    compared = converted(
        pairs[0], "sharegpt", ranking=True, columns={**SFT, "chosen": "chosen", "rejected": "rejected"}
    )
    labelled = [converted(row, "sharegpt", columns={**SFT, "kto_tag": "label"}) for row in labels]

    assert [turn["content"] for turn in compared["_response"]] == ["4", "5"]
    assert [turn["content"] for turn in labelled[0]["_response"]] == ["4", ""]
    assert [turn["content"] for turn in labelled[1]["_response"]] == ["", "5"]


@pytest.mark.filterwarnings("ignore")
def test_llama_factory_reads_alpaca(converted, tmp_path):
    row = {
        "conversations": [
            *({"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}),
            *({"from": "human", "value": "Bye"}, {"from": "gpt", "value": "Goodbye."}),
        ]
    }
    made = dataset(formatted(tmp_path, "format-alpaca", [row]))[0]

    read = converted(
        made,
        "alpaca",
        columns={"prompt": "instruction", "query": "input", "response": "output", "history": "history"},
    )

    assert [turn["content"] for turn in read["_prompt"]] == ["Hi", "Hello.", "Bye"]
    assert read["_response"] == [{"role": "assistant", "content": "Goodbye."}]


@pytest.mark.filterwarnings("ignore")
def test_llama_factory_reads_messages_with_tools_as_openai(converted, tmp_path):
    rows = dataset(formatted(tmp_path, "format-sft", tool_json="text"))

    read = converted(rows[2], "openai", columns={"messages": "messages", "tools": "tools"}, tags=OPENAI_TAGS)

    assert [turn["role"] for turn in read["_prompt"]] == ["user", "function", "observation"]
    assert read["_response"] == [{"role": "assistant", "content": "Yes."}]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tool", [{"name": "now"}, WEATHER, {"name": "now", "parameters": {}}])
def test_llama_factory_describes_every_tool(converted, tmp_path, tool):
    """Its default template reads the properties of each tool, which a definition may leave out."""
    from llamafactory.data.tool_utils import DefaultToolUtils

    row = dataset(formatted(tmp_path, "format-sharegpt", [{**ROWS[2], "tools": [tool]}]))[0]

    described = DefaultToolUtils.tool_formatter(json.loads(row["tools"]))

    assert f"Tool Name: {tool.get('name', 'weather')}" in described


# Axolotl


@pytest.fixture(scope="module")
def axolotl(trl):
    """Axolotl's strategies, with TRL's tokenizer."""
    pytest.importorskip("axolotl")
    try:
        from axolotl.prompt_strategies import alpaca_instruct, chat_template
        from axolotl.prompt_strategies.dpo import chat_template as dpo
        from axolotl.prompt_strategies.dpo import chatml
        from axolotl.prompt_strategies.kto import chatml as kto
    except ImportError as error:
        pytest.skip(f"Axolotl does not load: {error}")
    return SimpleNamespace(
        alpaca=alpaca_instruct, chat=chat_template, dpo=dpo, chatml=chatml, kto=kto, tokenizer=trl.tokenizer
    )


def tokenized(axolotl, row, **fields):
    """A row as Axolotl's `chat_template` makes text of it, and what of the text is learned."""
    prompter = axolotl.chat.ChatTemplatePrompter(axolotl.tokenizer, TEMPLATE, **fields)
    strategy = axolotl.chat.ChatTemplateStrategy(
        prompter, axolotl.tokenizer, train_on_inputs=False, sequence_len=512, roles_to_train=["assistant"]
    )
    made = strategy.tokenize_prompt(row)
    learned = [token for token in made["labels"] if token >= 0]
    return axolotl.tokenizer.decode(made["input_ids"]), axolotl.tokenizer.decode(learned)


@pytest.mark.filterwarnings("ignore")
def test_axolotl_trains_on_chats_with_tools(axolotl, tmp_path):
    rows = dataset(formatted(tmp_path, "format-sft"))

    made = [tokenized(axolotl, row, field_messages="messages") for row in rows]

    assert made[1] == ("<system>Be brief.<user>The capital of Norway?<assistant>Oslo", "Oslo")
    assert made[2][0] == "[weather]<user>Rain?<assistant>weatherOslo<tool>rain<assistant>Yes."


@pytest.mark.filterwarnings("ignore")
def test_axolotl_trains_on_sharegpt(axolotl, tmp_path):
    rows = dataset(formatted(tmp_path, "format-sharegpt", ROWS[:2]))
    names = {"role": "from", "content": "value"}

    made = [tokenized(axolotl, r, field_messages="conversations", message_property_mappings=names) for r in rows]

    assert made[0] == ("<user>2+2?<assistant>4", "4")
    assert made[1][0] == "<system>Be brief.<user>The capital of Norway?<assistant>Oslo"


@pytest.mark.filterwarnings("ignore")
def test_axolotl_compares_answers(axolotl, tmp_path):
    config = {"datasets": [{"field_messages": "prompt"}], "chat_template": "jinja", "chat_template_jinja": TEMPLATE}
    convert, _ = axolotl.dpo.default(config)

    made = convert(dataset(formatted(tmp_path, "format-dpo", ROWS[:2]))[1], tokenizer=axolotl.tokenizer)

    assert made["prompt"] == "<system>Be brief.<user>The capital of Norway?<assistant>"
    assert (made["chosen"], made["rejected"]) == ("Oslo", "Bergen")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "task", "params"),
    [
        ("ultra", "format-dpo", {"format": "distilabel"}),
        ("argilla_chat", "format-reward", {}),
        ("prompt_pairs", "format-dpo", {"format": "standard", "separator": ""}),
    ],
)
def test_axolotl_compares_answers_in_chatml(axolotl, tmp_path, kind, task, params):
    row = dataset(formatted(tmp_path, task, ROWS[:1], **params))[0]

    made = getattr(axolotl.chatml, kind)({})(row)

    assert made["prompt"] == "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
    assert (made["chosen"], made["rejected"]) == ("4<|im_end|>", "5<|im_end|>")


@pytest.mark.filterwarnings("ignore")
def test_axolotl_learns_from_labels(axolotl, tmp_path):
    row = dataset(formatted(tmp_path, "format-kto", ROWS[:1], format="standard", separator=""))[0]

    made = axolotl.kto.prompt_pairs({})(row)

    assert made["prompt"] == "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
    assert (made["completion"], made["label"]) == ("4<|im_end|>", True)


@pytest.mark.filterwarnings("ignore")
def test_axolotl_reads_alpaca(axolotl, tmp_path):
    row = dataset(
        formatted(tmp_path, "format-alpaca", [{"instruction": "To French:", "input": "sky", "output": "ciel"}])
    )[0]
    strategy = axolotl.alpaca.load(axolotl.tokenizer, SimpleNamespace(train_on_inputs=False, sequence_len=512))

    made = strategy.tokenize_prompt(row)

    text = axolotl.tokenizer.decode(made["input_ids"])
    assert "To French:" in text
    assert "### Input:\nsky" in text
    assert axolotl.tokenizer.decode([token for token in made["labels"] if token >= 0]).removesuffix("</s>") == "ciel"


# Mistral


ODD = [
    {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Rain and time?"}]},
            {
                "role": "assistant",
                "tool_calls": [
                    {"function": {"name": "weather", "arguments": {"city": "Oslo"}}},
                    {"function": {"name": "now", "arguments": {}}},
                ],
            },
            {"role": "tool", "name": "the weather", "content": "rain"},
            {"role": "tool", "content": "noon"},
            {"role": "assistant", "content": "Rain, at noon.", "tool_calls": []},
        ],
        "tools": [WEATHER, {"name": "now"}],
    }
]
"""A chat as logs have it: roles of other models, parts of text, calls without ids, and tools of other forms."""


def test_mistral_accepts_chats_from_logs(tmp_path):
    pytest.importorskip("mistral_common")
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.protocol.instruct.validator import MistralRequestValidatorV3, ValidationMode

    rows = [
        {
            **ODD[0],
            "messages": [
                {k: v for k, v in m.items() if (m["role"], k) != ("user", "name")} for m in ODD[0]["messages"]
            ],
        }
    ]
    written = json.loads(formatted(tmp_path, "format-mistral-finetune", rows).read_text())

    MistralRequestValidatorV3(ValidationMode.finetuning).validate_request(ChatCompletionRequest(**written))

    assert [tool["function"].keys() >= {"name", "description", "parameters"} for tool in written["tools"]] == [
        True,
        True,
    ]


def test_mistral_accepts_chats_and_tool_calls(tmp_path):
    pytest.importorskip("mistral_common")
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.protocol.instruct.validator import MistralRequestValidatorV3, ValidationMode

    lines = formatted(tmp_path, "format-mistral-finetune").read_text().splitlines()
    validator = MistralRequestValidatorV3(ValidationMode.finetuning)

    for line in lines:
        validator.validate_request(ChatCompletionRequest(**json.loads(line)))

    assert len(lines) == len(ROWS)
