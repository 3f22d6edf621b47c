"""Small files of the Llama kind, made with the libraries that define them."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from minigpt.text.tokenizer import BPETokenizer
from minigpt.weights.gpt2_layout import byte_characters

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXT = "The cat has 12 hats.\n\n  It's 2024, isn't it? Größe, 你好. def f(x):\n    return x + 1\n" * 9
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Of the kind that SmolLM2's file has."""

WITHOUT = bytes([0xC0, 0xC1, *range(0xF5, 0x100), 0x01])
"""Bytes that have no token, as 21 of SmolLM2's; all but the last are in no UTF-8."""


def small_vocabulary() -> tuple[list[str], list[str]]:
    """Tokens and merges as a GGUF lists them: special tokens first, then bytes, then what the merges make."""
    alphabet = bytes(byte for byte in range(256) if byte not in WITHOUT)
    learned, letters = BPETokenizer.train(TEXT, 300, ()), byte_characters()

    def written(token: int) -> str:
        return "".join(letters[byte] for byte in learned.token_bytes(token))

    merges = [f"{written(left)} {written(right)}" for left, right in learned.merges]
    tokens = [*SPECIAL, *(letters[byte] for byte in alphabet), *(merge.replace(" ", "") for merge in merges)]
    return tokens, merges


TOKENS, MERGES = small_vocabulary()
SIZES = {"d": 64, "d_ff": 96, "heads": 4, "kv_heads": 2, "blocks": 2}


def small_tensors(seed: int = 0, tied: bool = True, sizes: dict[str, int] = SIZES) -> dict[str, Any]:
    """Random weights of a Llama under llama.cpp's names, in float32."""
    random = np.random.default_rng(seed)
    d, kv = sizes["d"], sizes["d"] // sizes["heads"] * sizes["kv_heads"]
    shapes = {"token_embd": (len(TOKENS), d), "output_norm": (d,)} | ({} if tied else {"output": (len(TOKENS), d)})
    block = {
        "attn_norm": (d,), "attn_q": (d, d), "attn_k": (kv, d), "attn_v": (kv, d), "attn_output": (d, d),
        "ffn_norm": (d,), "ffn_gate": (sizes["d_ff"], d), "ffn_up": (sizes["d_ff"], d), "ffn_down": (d, sizes["d_ff"]),
    }  # fmt: skip
    for i in range(sizes["blocks"]):
        shapes |= {f"blk.{i}.{name}": shape for name, shape in block.items()}
    return {
        f"{name}.weight": (random.normal(0.02, 0.15, shape) + name.endswith("norm")).astype(np.float32)
        for name, shape in shapes.items()
    }


def write_gguf(
    path: Path,
    tensors: dict[str, Any] | None = None,
    kinds: tuple[str, str] = ("Q4_1", "Q8_0"),
    values: dict[str, Any] | None = None,
    sizes: dict[str, int] = SIZES,
) -> Path:
    """A Llama in a GGUF file, by the gguf library's own writer.

    Args:
        path: where.
        tensors: default: `small_tensors`.
        kinds: of the blocks' matrices, and of the embedding; F32 leaves them as they are.
        values: instead of what the file would say; None leaves a value out.
        sizes: as for `small_tensors`.
    """
    said: dict[str, Any] = {
        "llama.block_count": sizes["blocks"], "llama.context_length": 64, "llama.embedding_length": sizes["d"],
        "llama.feed_forward_length": sizes["d_ff"], "llama.attention.head_count": sizes["heads"],
        "llama.attention.head_count_kv": sizes["kv_heads"], "llama.rope.freq_base": 5000.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.vocab_size": len(TOKENS),
        "llama.rope.dimension_count": sizes["d"] // sizes["heads"], "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": TOKENS, "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.token_type": [3 if token in SPECIAL else 1 for token in TOKENS],
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.chat_template": TEMPLATE,
    }  # fmt: skip
    said |= values or {}
    writer = gguf.GGUFWriter(path, said.pop("general.architecture", "llama"))
    for name, value in said.items():
        if isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        elif value is not None:
            writer.add_uint32(name, value)
    for name, numbers in (small_tensors(sizes=sizes) if tensors is None else tensors).items():
        kind = kinds[1] if name == "token_embd.weight" else kinds[0] if numbers.ndim > 1 else "F32"
        type_ = gguf.GGMLQuantizationType[kind]
        raw = numbers if kind == "F32" else gguf.quants.quantize(numbers, type_)
        writer.add_tensor(name, raw, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
