"""Answers to the exercises of lesson 6."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import GPTConfig
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


def max_of_python(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    return max(torch.tensor(0.0), x @ W1.T + b1) @ W2.T + b2


ANSWERS = {
    "ffn": Answers(
        right=[with_linear, with_einsum, unit_by_unit],
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
        },
    ),
}
