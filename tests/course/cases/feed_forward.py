"""Answers to the exercises of lesson 6."""

import copy
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.config import GPTConfig
from minigpt.model.feed_forward import FeedForward
from minigpt.model.gpt import flops_per_token
from tests.course.cases import Answers

Network = tuple[list[list[float]], list[float], list[list[float]], list[float]]


def with_linear(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return F.linear(F.relu(F.linear(x, W1, b1)), W2, b2)


def with_einsum(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    hidden = torch.einsum("...d,fd->...f", x, W1) + b1
    return torch.einsum("...f,df->...d", hidden * (hidden > 0), W2) + b2


def unit_by_unit(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    parts = [torch.relu((x * W1[i]).sum(-1, keepdim=True) + b1[i]) * W2[:, i] for i in range(len(b1))]
    return sum(parts, b2)


def one_relu_too_many(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return F.relu(F.relu(x @ W1.T + b1) @ W2.T) + b2


def output_bent(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return F.relu(F.relu(x @ W1.T + b1) @ W2.T + b2)


def no_bend(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return (x @ W1.T + b1) @ W2.T + b2


def bend_at_the_end(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return F.relu((x @ W1.T + b1) @ W2.T) + b2


def without_b1(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return F.relu(x @ W1.T) @ W2.T + b2


def without_b2(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return F.relu(x @ W1.T + b1) @ W2.T


def b1_after_the_bend(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return (F.relu(x @ W1.T) + b1) @ W2.T + b2


def with_residual(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return x + with_linear(x, W1, b1, W2, b2)


def with_gelu(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return F.gelu(x @ W1.T + b1) @ W2.T + b2


def with_gelu_tanh(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return F.gelu(x @ W1.T + b1, approximate="tanh") @ W2.T + b2


def input_cut_too(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return with_linear(F.relu(x), W1, b1, W2, b2)


def not_transposed(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return F.relu(x @ W1 + b1) @ W2 + b2


def one_token_only(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return W2 @ F.relu(W1 @ x + b1) + b2


def hidden_layer(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return F.relu(x @ W1.T + b1)


def mean_over_tokens(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    x = x if x.ndim == 1 else x.mean(dim=-2, keepdim=True).expand(x.shape)
    return with_linear(x, W1, b1, W2, b2)


def last_token_only(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return with_linear(x if x.ndim == 1 else x[..., -1, :], W1, b1, W2, b2)


def in_numpy_arrays(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    hidden = np.maximum(0, x.numpy() @ W1.numpy().T + b1.numpy())
    return torch.from_numpy(hidden @ W2.numpy().T + b2.numpy())


def in_float32(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return with_linear(x.float(), W1.float(), b1.float(), W2.float(), b2.float())


def cut_off(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return with_linear(x, W1, b1, W2, b2).detach()


def hidden_cut_off(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return F.relu(x @ W1.T + b1).data @ W2.T + b2


def writes_into_b1(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    if x.ndim > 1:
        return with_linear(x, W1, b1, W2, b2)
    b1 += x @ W1.T
    return F.relu(b1) @ W2.T + b2


def writes_into_b2_of_a_batch(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    y = with_linear(x, W1, b1, W2, b2)
    if x.ndim > 1:
        x.zero_()
    return y


def three_units(*biases: float, last: list[float], constant: float = 0.0) -> Network:
    """Units that count the swaps, each from its own bias on."""
    return [[1.0, 1.0, 1.0] for _ in biases], list(biases), [last], [constant]


def two_units_from_the_right() -> Network:
    return [[-1.0, -1.0, -1.0]] * 2, [2.0, 1.0], [[1.0, -2.0]], [0.0]


def from_the_top() -> Network:
    return [[-1, -1, -1], [2, 2, 2], [1, 1, 1]], [1, -2, -2], [[-1, -0.5, 1]], [1]  # 1 less what is too few or too many


def in_numpy() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return np.ones((3, 3)), -np.arange(3), np.array([[1, -2, 1]]), np.zeros(1)


def tent_of_two() -> Network:
    return three_units(0, -1, last=[1, -2])


def odd() -> Network:
    return three_units(0, -1, -2, last=[1, -2, 2])


def at_least_one() -> Network:
    return three_units(0, -1, last=[1, -1])


def counts() -> Network:
    return three_units(0, last=[1])


def inverted() -> Network:
    return three_units(0, -1, -2, last=[-1, 2, -1], constant=1)


def exactly_two() -> Network:
    return three_units(-1, -2, last=[1, -2])


def positive_biases() -> Network:
    return three_units(0, 1, 2, last=[1, -2, 1])


def too_weak() -> Network:
    return three_units(0, -1, -2, last=[1, -1.5, 0.5])


def constant_too_much() -> Network:
    return three_units(0, -1, -2, last=[1, -2, 1], constant=0.5)


def one_child_only() -> Network:
    return [[1, 1, 0], [1, 1, 0]], [0, -1], [[1, -2]], [0]


def turned() -> Network:
    return [[1, 1], [1, 1], [1, 1]], [0, -1], [[1, -2]], [0]


def w2_as_a_column() -> Network:
    return [[1, 1, 1]] * 3, [0, -1, -2], [[1], [-2], [1]], [0]


def one_bias_for_all() -> Network:
    return [[1, 1, 1]] * 3, [-1], [[1, -2, 1]], [0]


def from_the_package(config: GPTConfig, T: int) -> float:
    one, two = (GPTConfig(d_model=config.d_model, n_heads=1, d_ff=config.d_ff, n_layers=n) for n in (1, 2))
    doubled = GPTConfig(d_model=config.d_model, n_heads=1, d_ff=2 * config.feed_forward_size, n_layers=1)
    block = flops_per_token(two, T) - flops_per_token(one, T)
    return (flops_per_token(doubled, T) - flops_per_token(one, T)) / block


def in_short(config: GPTConfig, T: int) -> float:
    r = config.feed_forward_size / config.d_model
    return r / (r + 2 + T / config.d_model)


def forward_and_backward(config: GPTConfig, T: int) -> float:
    d, d_ff = config.d_model, config.feed_forward_size
    return 12 * d * d_ff / (12 * d * d_ff + 24 * d * d + 12 * T * d)


def parameters(config: GPTConfig, T: int) -> float:
    d, d_ff = config.d_model, config.feed_forward_size
    return 2 * d * d_ff / (2 * d * d_ff + 4 * d * d)


def scores_only(config: GPTConfig, T: int) -> float:
    d, d_ff = config.d_model, config.feed_forward_size
    return 4 * d * d_ff / (4 * d * d_ff + 8 * d * d + 2 * T * d)


def one_flop_per_weight(config: GPTConfig, T: int) -> float:
    d, d_ff = config.d_model, config.feed_forward_size
    return 2 * d * d_ff / (2 * d * d_ff + 4 * d * d + 4 * T * d)


def attention_share(config: GPTConfig, T: int) -> float:
    return 1 - in_short(config, T)


def squared(config: GPTConfig, T: int) -> float:
    d, d_ff = config.d_model, config.feed_forward_size
    return 4 * d * d_ff / (4 * d * d_ff + 8 * d * d + 4 * T * T * d)


def once_per_head(config: GPTConfig, T: int) -> float:
    d, d_ff = config.d_model, config.feed_forward_size
    return 4 * d * d_ff / (4 * d * d_ff + 8 * d * d + 4 * T * d * config.n_heads)


def three_matrices(config: GPTConfig, T: int) -> float:
    d, d_ff = config.d_model, config.feed_forward_size
    return 4 * d * d_ff / (4 * d * d_ff + 6 * d * d + 4 * T * d)


def up_only(config: GPTConfig, T: int) -> float:
    d, d_ff = config.d_model, config.feed_forward_size
    return 2 * d * d_ff / (2 * d * d_ff + 8 * d * d + 4 * T * d)


def no_projections(config: GPTConfig, T: int) -> float:
    d, d_ff = config.d_model, config.feed_forward_size
    return 4 * d * d_ff / (4 * d * d_ff + 4 * T * d)


def ratio(config: GPTConfig, T: int) -> float:
    d, d_ff = config.d_model, config.feed_forward_size
    return 4 * d * d_ff / (8 * d * d + 4 * T * d)


def with_the_output_head(config: GPTConfig, T: int) -> float:
    d, d_ff = config.d_model, config.feed_forward_size
    return 4 * d * d_ff / (4 * d * d_ff + 8 * d * d + 4 * T * d + 2 * config.vocab_size * d)


def percent(config: GPTConfig, T: int) -> float:
    return 100 * in_short(config, T)


def always_four_times(config: GPTConfig, T: int) -> float:
    return 4 / (6 + T / config.d_model)


def without_default(config: GPTConfig, T: int) -> float:
    d, d_ff = config.d_model, config.d_ff
    return 4 * d * d_ff / (4 * d * d_ff + 8 * d * d + 4 * T * d)


def with_biases(config: GPTConfig, T: int) -> float:
    d, d_ff = config.d_model, config.feed_forward_size
    feed_forward = 4 * d * d_ff + d_ff + d
    return feed_forward / (feed_forward + 8 * d * d + 4 * d + 4 * T * d)


def with_biases_twice(config: GPTConfig, T: int) -> float:
    d, d_ff = config.d_model, config.feed_forward_size
    feed_forward = 4 * d * d_ff + 2 * (d_ff + d)
    return feed_forward / (feed_forward + 8 * d * d + 8 * d + 4 * T * d)


def from_two_tokens_on(config: GPTConfig, T: int) -> float:
    return in_short(config, T if T > 1 else 0)


def all_blocks_of_attention(config: GPTConfig, T: int) -> float:
    d, d_ff = config.d_model, config.feed_forward_size
    return 4 * d * d_ff / (4 * d * d_ff + (8 * d * d + 4 * T * d) * config.n_layers / 12)


def without_columns(network: FeedForward, units: list[int]) -> nn.Module:
    quiet = copy.deepcopy(network)
    mask = torch.ones(network.up.out_features, dtype=network.up.weight.dtype)
    mask[units] = 0
    quiet.down.weight.data = quiet.down.weight.data * mask
    return quiet


def deaf_and_unbiased(network: FeedForward, units: list[int]) -> nn.Module:
    quiet = copy.deepcopy(network)
    for unit in units:
        quiet.up.weight.data[unit] = 0
        if quiet.up.bias is not None:
            quiet.up.bias.data[unit] = 0
    return quiet


def by_a_hook(network: FeedForward, units: list[int]) -> nn.Module:
    quiet = copy.deepcopy(network)

    def hush(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (inputs[0].index_fill(-1, torch.tensor(units, dtype=torch.long), 0),)

    quiet.down.register_forward_pre_hook(hush)
    return quiet


def as_a_function(network: FeedForward, units: list[int]) -> Callable[[Tensor], Tensor]:
    quiet = copy.deepcopy(network)
    with torch.no_grad():
        quiet.down.weight[:, units] = 0
    return lambda x: quiet(x)


def in_the_network_itself(network: FeedForward, units: list[int]) -> FeedForward:
    with torch.no_grad():
        network.down.weight[:, units] = 0
    return network


def shallow_copy(network: FeedForward, units: list[int]) -> FeedForward:
    quiet = copy.copy(network)
    with torch.no_grad():
        quiet.up.weight[units] = 0
    return quiet


def returns_the_old_one(network: FeedForward, units: list[int]) -> FeedForward:
    without_columns(network, units)
    return network


def silences_nothing(network: FeedForward, units: list[int]) -> FeedForward:
    return copy.deepcopy(network)


def rows_of_down(network: FeedForward, units: list[int]) -> FeedForward:
    quiet = copy.deepcopy(network)
    with torch.no_grad():
        quiet.down.weight[units] = 0
    return quiet


def first_only(network: FeedForward, units: list[int]) -> nn.Module:
    return without_columns(network, units[:1])


def last_only(network: FeedForward, units: list[int]) -> nn.Module:
    return without_columns(network, units[-1:])


def all_others(network: FeedForward, units: list[int]) -> nn.Module:
    return without_columns(network, [unit for unit in range(network.up.out_features) if unit not in units])


def everything(network: FeedForward, units: list[int]) -> nn.Module:
    return without_columns(network, list(range(network.up.out_features)))


def deaf_only(network: FeedForward, units: list[int]) -> FeedForward:
    quiet = copy.deepcopy(network)
    with torch.no_grad():
        quiet.up.weight[units] = 0
    return quiet


def blind(network: FeedForward, units: list[int]) -> FeedForward:
    quiet = copy.deepcopy(network)
    with torch.no_grad():
        quiet.up.weight[:, units] = 0
    return quiet


def without_b2_too(network: FeedForward, units: list[int]) -> nn.Module:
    quiet = without_columns(network, units)
    for name, parameter in quiet.named_parameters():
        if name == "down.bias":
            parameter.data.zero_()
    return quiet


def always_the_same(network: FeedForward, units: list[int]) -> nn.Module:
    return without_columns(network, [0, 2])


def turned_twice(network: FeedForward, units: list[int]) -> FeedForward:
    quiet = copy.deepcopy(network)
    with torch.no_grad():
        for unit in units:
            quiet.down.weight[:, unit] -= network.down.weight[:, unit]
    return quiet


def no_way_back(network: FeedForward, units: list[int]) -> Callable[[Tensor], Tensor]:
    quiet = without_columns(network, units)
    return lambda x: quiet(x).detach()


def max_of_python(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return max(torch.tensor(0.0), x @ W1.T + b1) @ W2.T + b2


ANSWERS = {
    "ffn": Answers(
        right=[with_linear, with_einsum, unit_by_unit, in_numpy_arrays, in_float32],
        wrong={
            one_relu_too_many: "one ReLU too many",
            output_bent: "Does the formula bend its output?",
            no_bend: "no bend between them",
            bend_at_the_end: "The bend stands after W2 only",
            without_b1: "Is its bias there?",
            without_b2: "What is added after W2?",
            b1_after_the_bend: "Does b1 come before the bend or after it?",
            with_residual: "That is x + FFN(x)",
            with_gelu: "That is right for GELU",
            with_gelu_tanh: "GELU in its tanh form",
            input_cut_too: "may it be cut?",
            not_transposed: "Which of its sides meets x?",
            one_token_only: "which product leaves all dimensions before it alone?",
            hidden_layer: "What brings them back to d_model?",
            mean_over_tokens: "Does any token see another?",
            last_token_only: "Is every token there?",
            max_of_python: "The max of the formula",
            cut_off: "gets lost on the way back",
            writes_into_b1: "which it was only given to read",
            writes_into_b2_of_a_batch: "It was only given to read",
        },
    ),
    "exactly_one": Answers(
        right=[two_units_from_the_right, from_the_top, in_numpy],
        wrong={
            tent_of_two: "The tent falls on below 0",
            odd: "for an odd number of swaps",
            at_least_one: "«at least one»",
            counts: "It counts",
            inverted: "the wrong way round",
            exactly_two: "That is exactly two",
            positive_biases: "it changes by [0, 0, 0]",
            too_weak: "it changes by [1, -0.5, 0]",
            constant_too_much: "With no swap only the biases speak",
            one_child_only: "It matters who swapped",
            turned: "Rows and columns may be exchanged",
            w2_as_a_column: "W2 has one row",
            one_bias_for_all: "needs one bias in b1",
        },
    ),
    "feed_forward_share": Answers(
        right=[from_the_package, in_short, forward_and_backward],
        wrong={
            parameters: "What does a query do with T keys?",
            scores_only: "2Td for the scores is there",
            one_flop_per_weight: "Is that fair?",
            attention_share: "That is the share of attention",
            squared: "Is T multiplied once or twice?",
            once_per_head: "Are the heads counted too often?",
            three_matrices: "Attention has a fourth matrix",
            up_only: "a way up and a way down",
            no_projections: "How many of d × d are there?",
            ratio: "FLOPs of one over the other",
            with_the_output_head: "there is no output head",
            percent: "That is in percent",
            always_four_times: "as if d_ff were 256",
            without_default: "A share of exactly 0",
            with_biases: "counts the biases, too",
            with_biases_twice: "with two FLOPs each",
            from_two_tokens_on: "With two heads, no biases and T = 1",
            all_blocks_of_attention: "Are all blocks alike?",
        },
    ),
    "silenced": Answers(
        right=[without_columns, deaf_and_unbiased, by_a_hook, as_a_function],
        wrong={
            in_the_network_itself: "has another down.weight now",
            shallow_copy: "has another up.weight now",
            returns_the_old_one: "Where did your copy go?",
            silences_nothing: "Nothing is silent",
            rows_of_down: "What belongs to a hidden unit?",
            first_only: "Unit 2 still speaks",
            last_only: "Unit 0 still speaks",
            all_others: "the other three are silent",
            everything: "all five are silent",
            deaf_only: "still says GELU of its bias",
            blind: "Which side of W1",
            without_b2_too: "has lost b2",
            always_the_same: "not for units []",
            turned_twice: "not for units [1, 1, 3]",
            no_way_back: "What cuts it off?",
        },
    ),
}
