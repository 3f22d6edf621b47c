"""GPT-2's layout: the names and shapes that Hugging Face's transformers gives to what our model calls otherwise.

The model is the same (Radford et al. 2019) under other names, but for one thing: GPT-2's layers are «Conv1D», which
compute x W + b where torch's Linear computes x W^T + b. So four matrices of each block are stored transposed.
"""

import json
import re
from collections.abc import Collection, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from minigpt.config import GPTConfig, InputError
from minigpt.model.gpt import GPT, empty_model
from minigpt.model.lora import merged
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer

# Our names, and GPT-2's: of the config's fields, and of the parts of a block.
CONFIG_NAMES = {
    "vocab_size": "vocab_size",
    "context_length": "n_positions",
    "n_layers": "n_layer",
    "n_heads": "n_head",
    "d_model": "n_embd",
    "d_ff": "n_inner",
}
BLOCK_NAMES = {
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "feed_forward_norm": "ln_2",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}
DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
ONLY: dict[str, list[Any]] = {
    "model_type": ["gpt2"],
    "activation_function": ["gelu_new", "gelu_pytorch_tanh"],  # two names of one formula
    "scale_attn_weights": [True],
    "scale_attn_by_inverse_layer_idx": [False],
    "add_cross_attention": [False],
}
"""What a config may say beside the sizes, because our model computes nothing else. An absent field means the first."""

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


# The config.


def check_layout(config: GPTConfig) -> None:
    """Raise InputError for a model that GPT-2's layout has no place for, naming all that is not GPT-2's."""
    problems = []
    if config.positions != "learned":
        problems.append(f"positions are {config.positions!r}, and GPT-2 has a vector for each place")
    if config.norm != "layernorm":
        problems.append(f"norm is {config.norm!r}, and GPT-2's is 'layernorm'")
    if config.feed_forward != "gelu":
        problems.append(f"feed_forward is {config.feed_forward!r}, and GPT-2's is 'gelu'")
    if config.kv_heads != config.n_heads:
        problems.append(
            f"n_kv_heads is {config.kv_heads}, and GPT-2 has as many heads of keys and values as of queries, "
            f"here {config.n_heads}"
        )
    if config.n_labels:
        problems.append(f"output head has {config.n_labels} labels, and GPT-2's has a row for each token")
    if problems:
        raise InputError(
            f"the model's {'; its '.join(problems)}. It cannot be written in GPT-2's layout: only a model trained with "
            "the defaults of these settings can"
        )


def to_gpt2_config(config: GPTConfig, end_of_text: int | None) -> dict[str, Any]:
    """What config.json says of a model of ours; `end_of_text` is the id of the token between texts, if there is one.

    Raises:
        InputError: for a model that is not a GPT-2.
    """
    check_layout(config)
    return {
        "architectures": ["GPT2LMHeadModel"],
        **{name: values[0] for name, values in ONLY.items()},
        **{theirs: getattr(config, ours) for ours, theirs in CONFIG_NAMES.items()},
        "layer_norm_epsilon": config.norm_epsilon,
        "vocab_size": config.padded_vocab_size,
        "n_inner": config.d_ff or None,  # None: 4 * n_embd
        **dict.fromkeys(DROPOUTS, config.dropout),
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
    }


def from_gpt2_config(fields: dict[str, Any]) -> GPTConfig:
    """The config of our model that computes what a config.json of GPT-2 describes.

    Our model has one dropout, so the largest of three; a model that only generates has none.

    Raises:
        InputError: naming every field that asks for something else.
    """
    problems = []
    for name, values in ONLY.items():
        value = fields.get(name, None if name == "model_type" else values[0])
        if value not in values:
            problems.append(f"{name} is {value!r}, and minigpt has only {' or '.join(map(repr, values))}")
    sizes = {ours: fields[theirs] for ours, theirs in CONFIG_NAMES.items() if fields.get(theirs) is not None}
    for ours, size in sizes.items():
        if type(size) is not int:
            problems.append(f"{CONFIG_NAMES[ours]} is {size!r}, which is not a whole number")
    numbers = {name: fields.get(name, 0.1) for name in DROPOUTS}
    numbers["layer_norm_epsilon"] = fields.get("layer_norm_epsilon", 1e-5)
    for name, number in numbers.items():
        if type(number) not in (int, float):
            problems.append(f"{name} is {number!r}, which is not a number")
    tie_embeddings = fields.get("tie_word_embeddings", True)
    if type(tie_embeddings) is not bool:
        problems.append(f"tie_word_embeddings is {tie_embeddings!r}, which is neither true nor false")
    if problems:
        raise InputError("; ".join(problems))
    epsilon = numbers.pop("layer_norm_epsilon")
    return GPTConfig(**sizes, dropout=max(numbers.values()), norm_epsilon=epsilon, tie_embeddings=tie_embeddings)


# The tensors.


def gpt2_names(config: GPTConfig) -> dict[str, str]:
    """Our name of each tensor, and GPT-2's. There every layer has a bias; a tied output head is not stored.

    Raises:
        InputError: for a model that is not a GPT-2.
    """
    check_layout(config)
    modules = {"token_embedding": "wte", "position_embedding": "wpe"}
    for i in range(config.n_layers):
        modules |= {f"blocks.{i}.{ours}": f"h.{i}.{theirs}" for ours, theirs in BLOCK_NAMES.items()}
    modules["final_norm"] = "ln_f"
    names = {}
    for ours, theirs in modules.items():
        names[f"{ours}.weight"] = f"transformer.{theirs}.weight"
        if "embedding" not in ours:
            names[f"{ours}.bias"] = f"transformer.{theirs}.bias"
    if not config.tie_embeddings:
        names["output_head.weight"] = "lm_head.weight"
    return names


def is_transposed(name: str) -> bool:
    """Whether GPT-2's tensor of this name is a Conv1D's matrix (d_in, d_out), where our Linear has (d_out, d_in)."""
    return name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))


def to_gpt2(model: GPT) -> dict[str, Tensor]:
    """The tensors of a model under GPT-2's names and in its shapes, on the CPU; zeros where the model has no bias."""
    model = merged(model)
    state = model.state_dict()
    tensors = {}
    for ours, theirs in gpt2_names(model.config).items():
        if ours in state:
            tensor = state[ours].T if is_transposed(theirs) else state[ours]
        else:
            weight = state[ours.removesuffix("bias") + "weight"]
            tensor = weight.new_zeros(weight.size(0))
        tensors[theirs] = tensor.detach().cpu().contiguous()
    return tensors


def from_gpt2(tensors: dict[str, Any], config: GPTConfig) -> dict[str, Tensor]:
    """The tensors of a GPT-2 under our names and in our shapes, for a GPT of this config.

    The first part of the names, «transformer.», may be missing. Older files also hold the causal mask (attn.bias,
    attn.masked_bias), which is no weight, or a tied output head. Half precision becomes float32, which loses nothing.

    Raises:
        InputError: naming every tensor that is missing, extra, of another shape, or not of numbers.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in empty_model(config).state_dict().items()}
    prefix = "transformer." if any(name.startswith("transformer.") for name in tensors) else ""
    names = {ours: theirs.replace("transformer.", prefix) for ours, theirs in gpt2_names(config).items()}
    problems = []
    for name in sorted(tensors.keys() - set(names.values())):
        if name == "lm_head.weight" and config.tie_embeddings:
            pair = [tensors[name], tensors.get(names["token_embedding.weight"])]
            dtypes = {getattr(tensor, "dtype", None) for tensor in pair}
            if len(dtypes) > 1 or not dtypes <= set(FLOATS) or not torch.equal(*pair):
                problems.append(f"{name} is not the token embedding, though tie_word_embeddings says so")
        elif not re.fullmatch(re.escape(prefix) + r"h\.\d+\.attn\.(bias|masked_bias)", name):
            problems.append(f"{name} is extra: a model of this config has none")
    for ours, theirs in names.items():
        shape = shapes[ours][::-1] if is_transposed(theirs) else shapes[ours]
        tensor: Any = tensors.get(theirs)
        if theirs not in tensors:
            problems.append(f"{theirs} is missing: its shape should be {shape}")
        elif getattr(tensor, "dtype", None) not in FLOATS:
            problems.append(f"{theirs} is {getattr(tensor, 'dtype', type(tensor).__name__)}, not float32")
        elif tensor.is_meta:
            problems.append(f"{theirs} has a shape but no numbers")
        elif tensor.shape != shape:
            problems.append(f"{theirs} is {tuple(tensor.shape)}, not {shape}")
    if problems:
        raise InputError("; ".join(problems))
    dtype = reduce(torch.promote_types, {tensors[theirs].dtype for theirs in names.values()}, torch.float32)
    state = {}
    for ours, theirs in names.items():
        tensor = tensors[theirs].T if is_transposed(theirs) else tensors[theirs]
        state[ours] = tensor.to(dtype).contiguous()
    return state


# The tokenizer.


def byte_characters() -> str:
    """The 256 characters that stand for bytes in GPT-2's files, where a token must be text without white space.

    A byte that is a visible character in Latin-1 stands for itself; the others, in their order, get U+0100 and on.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return "".join(chr(byte if byte in visible else 0x100 + hidden.index(byte)) for byte in range(256))


def to_gpt2_tokenizer(tokenizer: BPETokenizer, context_length: int) -> dict[str, str]:
    """The files of a tokenizer, name to text, in which every id stays as it is.

    A text gets the same ids as here, unless it has characters that are too new for the Unicode tables of transformers.

    Raises:
        InputError: if a special token is written like an ordinary one: the files have one id for each text.
    """
    characters = byte_characters()
    ids = [*range(256), *tokenizer.merges.values()]
    tokens = {i: "".join(characters[b] for b in tokenizer.token_bytes(i)) for i in ids}
    vocabulary = {token: i for i, token in tokens.items()}
    if both := sorted(vocabulary.keys() & tokenizer.special_tokens.keys()):
        raise InputError(
            f"special token {both[0]!r} and an ordinary token are written alike, and vocab.json has one id"
        )
    flags = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False) | {"special": True}
    end_of_text = END_OF_TEXT if END_OF_TEXT in tokenizer.special_tokens else None
    config = {
        "tokenizer_class": "GPT2Tokenizer",
        "model_max_length": context_length,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        **dict.fromkeys(("bos_token", "eos_token", "unk_token"), end_of_text),
        "added_tokens_decoder": {i: {"content": name} | flags for name, i in tokenizer.special_tokens.items()},
    }
    merges = [f"{tokens[left]} {tokens[right]}" for left, right in tokenizer.merges]
    return {
        "vocab.json": json.dumps(vocabulary | tokenizer.special_tokens, ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *merges, ""]),
        "tokenizer_config.json": json.dumps(config, ensure_ascii=False, indent=1),
    }


def from_gpt2_tokenizer(
    vocabulary: dict[str, int], merges: Sequence[Sequence[str]], special: Collection[str] = ()
) -> BPETokenizer:
    """The tokenizer of a vocabulary (token to id) and merges (pairs of tokens), with the same ids.

    Tokens that are known to be `special` may stand between those that the merges make.

    Raises:
        InputError: if the ids are not, in their order, the 256 bytes, what the merges make, and special tokens.
    """
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    ids = [vocabulary[token] for token in tokens]
    made = [left + right for left, right in merges]
    merged = set(made)
    learned = [token for token in tokens[256:] if token in merged or token not in special][: len(made)]
    in_order = ids == list(range(len(ids))) and learned == made
    if not in_order or sorted(tokens[:256]) != sorted(byte_characters()):
        raise InputError("its ids are not in GPT-2's order: 256 bytes, then the merges, then special tokens")
    alphabet = bytes(map(byte_characters().index, tokens[:256]))
    others = {token: vocabulary[token] for token in tokens[256:] if token not in merged}
    return BPETokenizer([(vocabulary[left], vocabulary[right]) for left, right in merges], others, alphabet)
