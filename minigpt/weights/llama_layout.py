"""The layout of Llama-like models (Touvron et al. 2023) in Hugging Face's transformers: names and shapes.

The model is ours with rotary positions, RMSNorm, SwiGLU and, mostly, fewer heads of keys and values. There queries,
keys and values are three matrices, which ours holds one above the other.
"""

import re
from collections.abc import Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from minigpt.config import GPTConfig, InputError
from minigpt.model.gpt import GPT
from minigpt.model.lora import merged
from minigpt.weights.gpt2_layout import FLOATS

CONFIG_NAMES = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "d_model": "hidden_size",
    "d_ff": "intermediate_size",
}
BLOCK_NAMES = {
    "attention_norm": ["input_layernorm"],
    "attention.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "attention.output": ["self_attn.o_proj"],
    "feed_forward_norm": ["post_attention_layernorm"],
    "feed_forward.gate": ["mlp.gate_proj"],
    "feed_forward.up": ["mlp.up_proj"],
    "feed_forward.down": ["mlp.down_proj"],
}
"""Our names of a block's parts, and theirs: of queries, keys and values one each."""

KINDS = {"positions": "rope", "norm": "rmsnorm", "feed_forward": "swiglu"}
"""What makes a GPT of ours a Llama."""


# The config.


def check_layout(config: GPTConfig) -> None:
    """Raise InputError for a model that this layout has no place for, naming all that is no Llama's."""
    problems = [
        f"{name} is {getattr(config, name)!r}, and a Llama's is {kind!r}"
        for name, kind in KINDS.items()
        if getattr(config, name) != kind
    ]
    if config.n_labels:
        problems.append(f"output head has {config.n_labels} labels, and a Llama's has a row for each token")
    if problems:
        raise InputError(f"the model's {'; its '.join(problems)}. It cannot be written in the layout of Llama")


def to_llama_config(config: GPTConfig, begin: int | None, end: int | None) -> dict[str, Any]:
    """What config.json says of a model of ours.

    Args:
        config: the model's.
        begin: id of the token that a text begins with (bos), or None.
        end: id of the token at which generation stops (eos), or None.

    Raises:
        InputError: for a model that is no Llama.
    """
    check_layout(config)
    sizes = {theirs: getattr(config, ours) for ours, theirs in CONFIG_NAMES.items()}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **sizes,
        "vocab_size": config.padded_vocab_size,
        "num_key_value_heads": config.kv_heads,
        "intermediate_size": config.feed_forward_size,
        "head_dim": config.head_size,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_base,
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": begin,
        "eos_token_id": end,
        "pad_token_id": None,
    }


def from_llama_config(fields: dict[str, Any]) -> GPTConfig:
    """The config of our model that computes what a config.json of a Llama describes.

    Raises:
        InputError: naming every field that asks for something else, is missing, or is no number.
    """
    rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    bias = fields.get("attention_bias", False)
    sizes = {ours: fields.get(theirs) for ours, theirs in CONFIG_NAMES.items()}
    sizes["n_kv_heads"] = sizes["n_heads"] if sizes["n_kv_heads"] is None else sizes["n_kv_heads"]
    problems = [
        f"{CONFIG_NAMES[name]} is {size!r}, which is not a whole number of at least 1"
        for name, size in sizes.items()
        if type(size) is not int or size < 1
    ]
    if not isinstance(rope, dict) or rope.get("rope_type", rope.get("type", "default")) != "default":
        problems.append(f"rope_parameters are {rope!r}, and minigpt turns every pair at its own constant speed")
        rope = {}
    absent = {"model_type": None, "mlp_bias": False, "hidden_act": "silu", "pretraining_tp": 1}
    only = {"model_type": "llama", "mlp_bias": bias, "hidden_act": "silu", "pretraining_tp": 1}
    for name, value in only.items():
        if (found := fields.get(name, absent[name])) != value:
            problems.append(f"{name} is {found!r}, and minigpt has only {value!r}")
    numbers = {
        "rope_base": rope.get("rope_theta", fields.get("rope_theta", 10000.0)),
        "norm_epsilon": fields.get("rms_norm_eps", 1e-6),
    }
    for name, number in numbers.items():
        if type(number) not in (int, float):
            problems.append(f"{name} is {number!r}, which is not a number")
    flags = {"bias": bias, "tie_embeddings": fields.get("tie_word_embeddings", False)}
    for name, flag in flags.items():
        if type(flag) is not bool:
            problems.append(f"{name} is {flag!r}, which is neither true nor false")
    if problems:
        raise InputError("; ".join(problems))
    config = GPTConfig(**sizes, **flags, **numbers, **KINDS)  # type: ignore[arg-type]
    head = fields.get("head_dim") or config.head_size
    if head != config.head_size:
        raise InputError(
            f"head_dim is {head!r}, and minigpt's heads share hidden_size equally: {config.head_size} each"
        )
    return config


# The tensors.


def llama_names(config: GPTConfig) -> dict[str, list[str]]:
    """Our name of each tensor, and theirs: one each, but three for queries, keys and values. No tied output head.

    Raises:
        InputError: for a model that is no Llama.
    """
    check_layout(config)
    modules = {"token_embedding": ["model.embed_tokens"]}
    for i in range(config.n_layers):
        for ours, theirs in BLOCK_NAMES.items():
            modules[f"blocks.{i}.{ours}"] = [f"model.layers.{i}.{name}" for name in theirs]
    modules["final_norm"] = ["model.norm"]
    if not config.tie_embeddings:
        modules["output_head"] = ["lm_head"]
    names = {}
    for ours, theirs in modules.items():
        names[f"{ours}.weight"] = [f"{name}.weight" for name in theirs]
        if config.bias and re.search(r"attention\.|feed_forward\.", ours):
            names[f"{ours}.bias"] = [f"{name}.bias" for name in theirs]
    return names


def _widths(config: GPTConfig) -> list[int]:
    """Rows of queries, keys and values."""
    return [n * config.head_size for n in (config.n_heads, config.kv_heads, config.kv_heads)]


def llama_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Their name of each tensor, and its shape."""
    d, d_ff, rows = config.d_model, config.feed_forward_size, config.padded_vocab_size
    sizes = {
        "q_proj": (_widths(config)[0], d), "k_proj": (_widths(config)[1], d), "v_proj": (_widths(config)[2], d),
        "o_proj": (d, d), "gate_proj": (d_ff, d), "up_proj": (d_ff, d), "down_proj": (d, d_ff),
        "embed_tokens": (rows, d), "lm_head": (rows, d),
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {}
    for name in (name for theirs in llama_names(config).values() for name in theirs):
        *_, module, kind = name.split(".")
        shape: tuple[int, ...] = sizes.get(module, (d,))  # the norms
        shapes[name] = shape if kind == "weight" else shape[:1]
    return shapes


def check_shapes(found: Mapping[str, tuple[int, ...]], config: GPTConfig) -> None:
    """Raise InputError naming every tensor that is missing, extra, or of another shape."""
    expected = llama_shapes(config)
    problems = [f"{name} is extra: a model of this config has none" for name in sorted(found.keys() - expected.keys())]
    for name, shape in expected.items():
        if name not in found:
            problems.append(f"{name} is missing: its shape should be {shape}")
        elif found[name] != shape:
            problems.append(f"{name} is {found[name]}, not {shape}")
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise InputError("; ".join(problems[:5]) + more)


def from_llama(tensors: dict[str, Any], config: GPTConfig) -> dict[str, Tensor]:
    """The tensors of a Llama under our names, for a GPT of this config; `tensors` is emptied on the way.

    Older files also hold the speeds of rotation (rotary_emb.inv_freq), which are no weights, or a tied output head.
    Half precision becomes float32, which loses nothing.

    Raises:
        InputError: as `check_shapes`, and for what is not of numbers.
    """
    for name in [name for name in tensors if name.endswith("rotary_emb.inv_freq")]:
        del tensors[name]
    if config.tie_embeddings and "lm_head.weight" in tensors:
        head, embedding = tensors.pop("lm_head.weight"), tensors.get("model.embed_tokens.weight")
        if not (isinstance(embedding, Tensor) and isinstance(head, Tensor) and torch.equal(head, embedding)):
            raise InputError("lm_head.weight is not the token embedding, though tie_word_embeddings says so")
    check_shapes({name: tuple(tensor.shape) for name, tensor in tensors.items()}, config)
    for name, tensor in tensors.items():
        if getattr(tensor, "dtype", None) not in FLOATS:
            raise InputError(f"{name} is {getattr(tensor, 'dtype', type(tensor).__name__)}, not float32")
    dtype = reduce(torch.promote_types, {tensor.dtype for tensor in tensors.values()}, torch.float32)
    state = {}
    for ours, theirs in llama_names(config).items():
        parts = [tensors.pop(name).to(dtype) for name in theirs]
        state[ours] = (torch.cat(parts) if len(parts) > 1 else parts[0]).contiguous()
    return state


def to_llama(model: GPT) -> dict[str, Tensor]:
    """The tensors of a model under their names, on the CPU.

    Raises:
        InputError: for a model that is no Llama.
    """
    model = merged(model)
    state, tensors = model.state_dict(), {}
    for ours, theirs in llama_names(model.config).items():
        parts = state[ours].split(_widths(model.config)) if len(theirs) > 1 else [state[ours]]
        for name, part in zip(theirs, parts, strict=True):
            tensors[name] = part.detach().cpu().contiguous()
    return tensors
