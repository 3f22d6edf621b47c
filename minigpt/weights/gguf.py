"""A model of the Llama kind from a GGUF file: its config, weights and tokenizer.

llama.cpp turns neighbouring pairs of a head's numbers by their position (0 and 1, 2 and 3, …), where transformers and
our `rotate` turn numbers half a head apart. Its converter therefore reorders the rows of queries and keys, and
`unpermuted` puts them back. Without that the model runs, and says nonsense.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minigpt.config import GPTConfig, InputError
from minigpt.generation.decoding import by_columns
from minigpt.model.gpt import GPT, holding, parameter_count
from minigpt.runtime import available_memory, keep_freed_memory
from minigpt.text.tokenizer import END_OF_TEXT, ForeignTokenizer
from minigpt.weights import llama_layout
from minigpt.weights.blocks import Floats, decode
from minigpt.weights.gguf_file import GGUFFile, read_gguf
from minigpt.weights.tokenizer_json import tokenizer_from_list

NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
"""llama.cpp's names of the parts, and transformers'."""

CUTS = {"gpt-2": "gpt2", "smollm": "smollm"}
"""How a text is cut before BPE (tokenizer.ggml.pre), and what that is called in PATTERNS."""

CONTROL = 3
"""In tokenizer.ggml.token_type: a special token, which no text is cut into."""


def load_gguf(path: str | Path) -> tuple[GPT, ForeignTokenizer]:
    """The model of a GGUF file, its blocks widened to float32, on the CPU, in evaluation mode; and its tokenizer.

    Its matrices are stored column by column, as writing wants them (`by_columns`).

    Raises:
        InputError: for a file that cannot be read (`read_gguf`), a model that is no Llama, whose sizes contradict each
            other, with blocks of an unknown kind, or that needs more memory than there is, before it is taken.
    """
    keep_freed_memory()
    file = read_gguf(path)
    try:
        config = config_of(file)
        tokenizer = tokenizer_of(file)
        if tokenizer.vocab_size != config.vocab_size:
            raise InputError(
                f"it lists {tokenizer.vocab_size} tokens, and its embedding has {config.vocab_size} rows: it must have "
                "as many"
            )
        llama_layout.check_shapes({_name(name): tensor.shape for name, tensor in file.tensors.items()}, config)
        check_memory(4 * parameter_count(config))
        tensors = {_name(name): torch.from_numpy(numbers_of(file, name, config)) for name in file.tensors}
        state = llama_layout.from_llama(tensors, config)
        for name, tensor in state.items():
            state[name] = by_columns(tensor)
    except InputError as problem:
        raise InputError(f"{str(file.path)!r} cannot be used: {problem}") from None
    return holding(config, state), tokenizer


def tokenizer_in(path: str | Path) -> ForeignTokenizer:
    """The tokenizer of a GGUF file. Errors: `read_gguf`, `tokenizer_of`."""
    file = read_gguf(path)
    try:
        return tokenizer_of(file)
    except InputError as problem:
        raise InputError(f"{str(file.path)!r} cannot be used: {problem}") from None


def check_memory(n_bytes: int) -> None:
    """Raise InputError for a model of this many bytes where less memory is free."""
    free = available_memory()
    if free is not None and n_bytes > free:
        raise InputError(
            f"its weights need {n_bytes / 1e9:.2f} GB of memory in float32 and {free / 1e9:.2f} GB are free: close "
            "other programs, or take a smaller model"
        )


def _name(name: str) -> str:
    """transformers' name of a tensor; one that is not known stays."""
    found = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", name)
    if not found or found[2] not in NAMES:
        return name
    block = "" if found[1] is None else f"model.layers.{found[1]}."
    return f"{block}{NAMES[found[2]]}.{found[3]}"


def _read(file: GGUFFile, name: str, kind: type, default: Any = None) -> Any:
    """A value of the file.

    Raises:
        InputError: where it is missing and there is no default, or is not of its kind.
    """
    value = file.values.get(name, default)
    if value is None:
        raise InputError(f"it has no value {name!r}")
    if not isinstance(value, (int, float) if kind is float else kind) or isinstance(value, bool):
        raise InputError(f"{name} is {str(value)[:50]!r}, which is no {kind.__name__}")
    return kind(value)


def config_of(file: GGUFFile) -> GPTConfig:
    """The config of our model that computes what a file describes.

    Raises:
        InputError: for another architecture, or one that minigpt does not have.
    """
    if (architecture := _read(file, "general.architecture", str)) != "llama":
        raise InputError(f"its architecture is {architecture!r}, and minigpt reads 'llama'")
    if "token_embd.weight" not in file.tensors:
        raise InputError("it has no tensor 'token_embd.weight'")
    heads = _read(file, "llama.attention.head_count", int)
    bias = any(name.endswith(".bias") for name in file.tensors)
    config = GPTConfig(
        vocab_size=file.tensors["token_embd.weight"].shape[0],
        context_length=_read(file, "llama.context_length", int),
        n_layers=_read(file, "llama.block_count", int),
        n_heads=heads,
        n_kv_heads=_read(file, "llama.attention.head_count_kv", int, heads),
        d_model=_read(file, "llama.embedding_length", int),
        d_ff=_read(file, "llama.feed_forward_length", int),
        bias=bias,
        tie_embeddings="output.weight" not in file.tensors,
        positions="rope",
        norm="rmsnorm",
        feed_forward="swiglu",
        # In the file these are float32, which has 7 digits: it holds 9.999999747378752e-06 for 1e-5.
        rope_base=float(f"{_read(file, 'llama.rope.freq_base', float, 10000.0):.7g}"),
        norm_epsilon=float(f"{_read(file, 'llama.attention.layer_norm_rms_epsilon', float):.7g}"),
    )
    for name, only in {
        "llama.vocab_size": config.vocab_size,
        "llama.rope.dimension_count": config.head_size,
        "llama.attention.key_length": config.head_size,
        "llama.attention.value_length": config.head_size,
        "llama.expert_count": 0,
        "llama.rope.scaling.type": "none",
    }.items():
        if (value := file.values.get(name, only)) != only:
            raise InputError(f"{name} is {value!r}, and with its other sizes minigpt can only compute {only!r}")
    return config


def unpermuted(rows: Floats, n_heads: int) -> Floats:
    """Rows of queries or keys, (n_heads × head_size, …), in the order for halves: row 2 i + j of a head is number i of
    half j."""
    head_size = len(rows) // n_heads
    return rows.reshape(n_heads, head_size // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def numbers_of(file: GGUFFile, name: str, config: GPTConfig) -> Floats:
    """A tensor in float32, of queries and keys un-permuted. Raises InputError as `decode`."""
    tensor = file.tensors[name]
    try:
        numbers = decode(tensor.raw, tensor.kind).reshape(tensor.shape)
    except InputError as problem:
        raise InputError(f"tensor {name!r}: {problem}") from None
    if re.search(r"\.attn_[qk]\.", name):
        return unpermuted(numbers, config.n_heads if ".attn_q." in name else config.kv_heads)
    return np.ascontiguousarray(numbers)


def tokenizer_of(file: GGUFFile) -> ForeignTokenizer:
    """The tokenizer of a file, with its ids, its splitting and its chat template, where it has one.

    Raises:
        InputError: for one that is not GPT-2's kind of BPE, or cuts a text into words in another way.
    """
    kind, pre = (_read(file, f"tokenizer.ggml.{name}", str, "missing") for name in ("model", "pre"))
    if kind != "gpt2" or pre not in CUTS:
        raise InputError(
            f"its tokenizer is of the kind {kind!r} and cuts a text as {pre!r}; minigpt has 'gpt2' with "
            f"{', '.join(CUTS)}"
        )
    tokens, merges = (_read(file, f"tokenizer.ggml.{name}", list) for name in ("tokens", "merges"))
    kinds = _read(file, "tokenizer.ggml.token_type", list)
    if len(kinds) != len(tokens) or not all(isinstance(token, str) for token in [*tokens, *merges]):
        raise InputError(f"it lists {len(tokens)} tokens and the types of {len(kinds)}; they contradict each other")
    special = [token for token, each in zip(tokens, kinds, strict=True) if each == CONTROL]
    end = _read(file, "tokenizer.ggml.eos_token_id", int, -1)
    ending = tokens[end] if 0 <= end < len(tokens) and tokens[end] in special else None
    return tokenizer_from_list(
        tokens,
        [merge.split(" ") for merge in merges],
        special,
        cut=CUTS[pre],
        end_of_text=END_OF_TEXT if END_OF_TEXT in special else ending,
        end_of_turn=ending,
        chat_template=file.values.get("tokenizer.chat_template"),
    )
