"""Answers to the exercises of lesson 14, right and wrong."""

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minigpt.config import GPTConfig
from minigpt.weights.gpt2_layout import BLOCK_NAMES, gpt2_names
from tests.course.cases import Answers

Three = tuple[Tensor, Tensor, Tensor]
OUTSIDE = {"wte": "token_embedding", "wpe": "position_embedding", "ln_f": "final_norm"}


def by_the_table_of_the_package(theirs: str) -> str:
    table = {name.removeprefix("transformer."): ours for ours, name in gpt2_names(GPTConfig()).items()}
    return table[theirs.removeprefix("transformer.")]


def by_a_pattern(theirs: str) -> str:
    names = {name: ours for ours, name in BLOCK_NAMES.items()}
    found = re.fullmatch(r"(?:transformer\.)?h\.(\d+)\.(.+)\.(weight|bias)", theirs)
    if found:
        return f"blocks.{found[1]}.{names[found[2]]}.{found[3]}"
    module, kind = theirs.split(".")[-2:]
    return f"{OUTSIDE[module]}.{kind}"


def by_replacing(theirs: str) -> str:
    name = theirs.removeprefix("transformer.")
    for old, new in OUTSIDE.items():
        name = name.replace(f"{old}.", f"{new}.")
    for new, old in BLOCK_NAMES.items():
        name = name.replace(f".{old}.", f".{new}.")
    return re.sub(r"^h\.", "blocks.", name)


def prefix_kept(theirs: str) -> str:
    return "transformer." + by_a_pattern(theirs)


def h_kept(theirs: str) -> str:
    return by_a_pattern(theirs).replace("blocks.", "h.")


def another_beginning(theirs: str) -> str:
    return by_a_pattern(theirs).replace("blocks.", "block.")


def kind_lost(theirs: str) -> str:
    return by_a_pattern(theirs).rpartition(".")[0]


def always_weight(theirs: str) -> str:
    return by_a_pattern(theirs).replace(".bias", ".weight")


def one_c_proj(theirs: str) -> str:
    return by_a_pattern(theirs).replace("feed_forward.down", "attention.output")


def one_digit(theirs: str) -> str:
    return re.sub(r"blocks\.(\d)\d*", r"blocks.\1", by_a_pattern(theirs))


def no_number(theirs: str) -> str:
    return re.sub(r"blocks\.\d+", "blocks", by_a_pattern(theirs))


def next_number(theirs: str) -> str:
    return re.sub(r"blocks\.(\d+)", lambda found: f"blocks.{int(found[1]) + 1}", by_a_pattern(theirs))


def prefix_needed(theirs: str) -> str:
    return by_a_pattern(theirs) if theirs.startswith("transformer.") else theirs


def norms_exchanged(theirs: str) -> str:
    return by_a_pattern(theirs.replace("ln_2", "ln_1"))


def with_parameters(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(*weight.shape)
    linear.weight, linear.bias = nn.Parameter(weight.T.contiguous()), nn.Parameter(bias.clone())
    return linear


def with_a_state(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.size(0), weight.size(1))
    linear.load_state_dict({"weight": weight.transpose(0, 1), "bias": bias})
    return linear


def through_data(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(*weight.shape)
    linear.weight.data, linear.bias.data = weight.T, bias
    return linear


def not_turned(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(*weight.shape)
    linear.weight, linear.bias = nn.Parameter(weight), nn.Parameter(bias)
    return linear


def reshaped(weight: Tensor, bias: Tensor) -> nn.Linear:
    return with_parameters(weight.reshape(weight.size(1), weight.size(0)).T, bias)


def turned_if_it_must(weight: Tensor, bias: Tensor) -> nn.Linear:
    return with_parameters(weight if weight.size(0) != weight.size(1) else weight.T, bias)


def no_bias(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.size(0), weight.size(1), bias=False)
    linear.weight = nn.Parameter(weight.T)
    return linear


def untouched(weight: Tensor, bias: Tensor) -> nn.Linear:
    return nn.Linear(*weight.shape)


def bias_forgotten(weight: Tensor, bias: Tensor) -> nn.Linear:
    return with_parameters(weight, torch.full_like(bias, 0.1))


def the_product(weight: Tensor, bias: Tensor) -> Tensor:
    return weight.T


def by_unflatten(c_attn: Tensor, n_heads: int, head: int) -> Three:
    q, k, v = c_attn.unflatten(1, (3, n_heads, -1))[:, :, head].unbind(1)
    return q, k, v


def by_index(c_attn: Tensor, n_heads: int, head: int) -> Three:
    d_model = c_attn.size(0)
    d_k = d_model // n_heads
    starts = [third * d_model + head * d_k for third in range(3)]
    return c_attn[:, starts[0] :][:, :d_k], c_attn[:, starts[1] :][:, :d_k], c_attn[:, starts[2] :][:, :d_k]


def rows(c_attn: Tensor, n_heads: int, head: int) -> Three:
    q, k, v = (part.chunk(n_heads, dim=0)[head] for part in c_attn.chunk(3, dim=1))
    return q, k, v


def whole_thirds(c_attn: Tensor, n_heads: int, head: int) -> Three:
    q, k, v = c_attn.chunk(3, dim=1)
    return q, k, v


def turned_head(c_attn: Tensor, n_heads: int, head: int) -> Three:
    q, k, v = by_unflatten(c_attn, n_heads, head)
    return q.repeat(2, 1), k.repeat(2, 1), v.repeat(2, 1)


def keys_first(c_attn: Tensor, n_heads: int, head: int) -> Three:
    q, k, v = by_unflatten(c_attn, n_heads, head)
    return k, q, v


def head_by_head(c_attn: Tensor, n_heads: int, head: int) -> Three:
    q, k, v = c_attn.chunk(n_heads, dim=1)[head].chunk(3, dim=1)
    return q, k, v


def strided(c_attn: Tensor, n_heads: int, head: int) -> Three:
    q, k, v = (part[:, head::n_heads] for part in c_attn.chunk(3, dim=1))
    return q, k, v


def counted_from_the_end(c_attn: Tensor, n_heads: int, head: int) -> Three:
    return by_unflatten(c_attn, n_heads, n_heads - 1 - head)


def heads_as_width(c_attn: Tensor, n_heads: int, head: int) -> Three:
    q, k, v = (part[:, head * n_heads : (head + 1) * n_heads] for part in c_attn.chunk(3, dim=1))
    return q, k, v


def in_torch(probabilities: Sequence[float], text: str) -> float:
    return -torch.tensor(probabilities, dtype=torch.float64).log2().sum().item() / len(text.encode())


def from_the_loss(probabilities: Sequence[float], text: str) -> float:
    loss = sum(-math.log(p) for p in probabilities) / len(probabilities)
    return loss * len(probabilities) / math.log(2) / len(bytes(text, "utf-8"))


def by_surprise(probabilities: Sequence[float], text: str) -> float:
    return math.fsum(math.log2(1 / p) for p in probabilities) / sum(len(c.encode()) for c in text)


def nats(probabilities: Sequence[float], text: str) -> float:
    return sum(-math.log(p) for p in probabilities) / len(text.encode())


def nats_per_token(probabilities: Sequence[float], text: str) -> float:
    return sum(-math.log(p) for p in probabilities) / len(probabilities)


def characters(probabilities: Sequence[float], text: str) -> float:
    return sum(-math.log2(p) for p in probabilities) / len(text)


def no_minus(probabilities: Sequence[float], text: str) -> float:
    return sum(math.log2(p) for p in probabilities) / len(text.encode())


def all_bits(probabilities: Sequence[float], text: str) -> float:
    return sum(-math.log2(p) for p in probabilities)


def mean_bits(probabilities: Sequence[float], text: str) -> float:
    return sum(-math.log2(p) for p in probabilities) / len(probabilities) / len(text.encode())


def log_of_the_mean(probabilities: Sequence[float], text: str) -> float:
    return -math.log2(sum(probabilities) / len(probabilities)) / len(text.encode())


def of_the_product(probabilities: Sequence[float], text: str) -> float:
    return -math.log2(math.prod(probabilities)) / len(text.encode())


def last_token_only(probabilities: Sequence[float], text: str) -> float:
    return -math.log2(probabilities[-1]) / len(text.encode())


ANSWERS = {
    "our_name": Answers(
        right=[by_the_table_of_the_package, by_a_pattern, by_replacing],
        wrong={
            prefix_kept: "do not begin with",
            h_kept: "What are GPT-2's «h» called",
            another_beginning: "is called «blocks»",
            kind_lost: "And which of the two",
            always_weight: "got the name of the weight",
            one_c_proj: "There are two c_proj",
            one_digit: "'blocks.1.feed_forward_norm.weight'. Look at the number",
            no_number: "'blocks.attention.output.weight'. Look at the number",
            next_number: "'blocks.4.attention.output.weight'. Look at the number",
            prefix_needed: "Without it, ",
            norms_exchanged: "It should be 'blocks.11.feed_forward_norm.weight'",
        },
    ),
    "conv1d_to_linear": Answers(
        right=[with_parameters, with_a_state, through_data],
        wrong={
            not_turned: "that takes 3 numbers to 2",
            reshaped: "view and reshape do not transpose",
            turned_if_it_must: "a square one must be turned too",
            no_bias: "adds no bias",
            untouched: "still its random numbers",
            bias_forgotten: "not the one you were given",
            the_product: "Return the nn.Linear itself",
        },
    ),
    "head_weights": Answers(
        right=[by_unflatten, by_index],
        wrong={
            rows: "You cut rows",
            whole_thirds: "the whole third",
            turned_head: "not three times (4, 2)",
            keys_first: "queries come first",
            head_by_head: "all queries first, of every head",
            strided: "Those are 2 columns apart",
            counted_from_the_end: "another head's. Head 0",
            heads_as_width: "not three times (6, 3)",
        },
    ),
    "text_bits_per_byte": Answers(
        right=[in_torch, from_the_loss, by_surprise],
        wrong={
            nats: "That is in nats",
            nats_per_token: "nats, divided by 2",
            characters: "len counts characters",
            no_minus: "Less than nothing",
            all_bits: "bits of the whole text",
            mean_bits: "divides twice",
            log_of_the_mean: "logarithm of a sum or a mean",
            of_the_product: "too small for a float",
            last_token_only: "make 1",
        },
    ),
}
