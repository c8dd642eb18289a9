"""Write a model of random weights, small enough to be made for a test: a real GGUF file whose replies are noise.

Its vocabulary has the printable ASCII characters, a few JSON words and ChatML's marks. Bytes that are no text by themselves are
there, since a byte-level vocabulary needs them, but the output layer makes them as good as impossible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import gguf
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, HEADS, LAYERS, INNER, CONTEXT = 64, 4, 2, 128, 4096
WORDS = ("true", "false", "null", '":')
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
END, BEGIN_TURN, END_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"


def write_tiny_gguf(path: Path, seed: int = 0) -> Path:
    """The model's file; the same seed gives the same weights."""
    random = np.random.default_rng(seed)
    symbols, merges = _vocabulary()
    tokens = [*symbols, END, BEGIN_TURN, END_TURN]
    kinds = [gguf.TokenType.NORMAL] * len(symbols) + [gguf.TokenType.CONTROL] * 3
    size = len(tokens)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny noise")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(size)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(size - 3)
    writer.add_eos_token_id(size - 1)
    writer.add_pad_token_id(size - 3)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)

    def noise(*shape: int, scale: float = 0.1) -> np.ndarray:
        return (random.standard_normal(shape) * scale).astype(np.float32)

    embedding, output = noise(size, WIDTH), noise(size, WIDTH, scale=0.3)
    embedding[:, 0] = 3  # the same for every token, so that the output layer's first column is a bias
    output[:, 0] = [_bias(i, size) for i in range(size)]
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor("output.weight", output)
    for layer in range(LAYERS):
        at = f"blk.{layer}"
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{at}.{norm}.weight", np.ones(WIDTH, np.float32))
        for square in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"{at}.{square}.weight", noise(WIDTH, WIDTH))
        writer.add_tensor(f"{at}.ffn_gate.weight", noise(INNER, WIDTH))
        writer.add_tensor(f"{at}.ffn_up.weight", noise(INNER, WIDTH))
        writer.add_tensor(f"{at}.ffn_down.weight", noise(WIDTH, INNER))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _vocabulary() -> tuple[list[str], list[str]]:
    """The 256 bytes as GPT-2 writes them, the words' beginnings, and the merges that lead to them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    written = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    symbols, merges = [written[byte] for byte in range(256)], []
    for word in WORDS:
        for length in range(1, len(word)):
            merge = f"{word[:length]} {word[length]}"
            if merge not in merges:
                merges.append(merge)
                symbols.append(word[: length + 1])
    return symbols, merges


def _bias(token: int, size: int) -> float:
    if token == size - 1:
        return 0.3  # a reply ends by itself, sooner or later
    never = token >= size - 3 or token < 32 or 126 < token < 256
    return -20.0 if never else 0.0
