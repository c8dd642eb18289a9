"""The files of the format tasks, read by the trainers themselves: TRL, LLaMA-Factory, and Mistral's own validator.

Each test needs its trainer, `pip install trl mistral-common` and `pip install --no-deps llamafactory peft`, and is skipped
without it. None needs a GPU, a model or a network.
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
    "{% if tools %}[{{ tools[0].function.name }}]{% endif %}{% for m in messages %}<{{ m.role }}>"
    "{% if m.tool_calls %}{{ m.tool_calls[0].function.name }}{{ m.tool_calls[0].function.arguments.city }}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
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

    def convert(row, formatting, *, ranking=False, columns=None):
        attributes = DatasetAttr("file", "file.jsonl")
        attributes.join({"formatting": formatting, "ranking": ranking, "columns": columns or {}})
        converter = get_dataset_converter(formatting, attributes, SimpleNamespace(media_dir=""))
        return converter(row)

    return convert


SFT = {"messages": "conversations", "tools": "tools"}


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


# Mistral


def test_mistral_accepts_chats_and_tool_calls(tmp_path):
    pytest.importorskip("mistral_common")
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.protocol.instruct.validator import MistralRequestValidatorV3, ValidationMode

    lines = formatted(tmp_path, "format-mistral-finetune").read_text().splitlines()
    validator = MistralRequestValidatorV3(ValidationMode.finetuning)

    for line in lines:
        validator.validate_request(ChatCompletionRequest(**json.loads(line)))

    assert len(lines) == len(ROWS)
