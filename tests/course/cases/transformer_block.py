"""Answers to the exercises of lesson 7."""

from collections.abc import Callable
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.course.cases import Answers

Function = Callable[[Tensor], Tensor]


def folded(x: Tensor, sublayers: list[Function]) -> Tensor:
    return reduce(lambda stream, sublayer: stream + sublayer(stream), sublayers, x)


def in_place_on_a_copy(x: Tensor, sublayers: list[Function]) -> Tensor:
    stream = x.clone()
    for sublayer in sublayers:
        stream += sublayer(stream)
    return stream


def by_recursion(x: Tensor, sublayers: list[Function]) -> Tensor:
    return by_recursion(x + sublayers[0](x), sublayers[1:]) if sublayers else x


def replaced(x: Tensor, sublayers: list[Function]) -> Tensor:
    for sublayer in sublayers:
        x = sublayer(x)
    return x


def all_read_the_beginning(x: Tensor, sublayers: list[Function]) -> Tensor:
    total = x
    for sublayer in sublayers:
        total = total + sublayer(x)
    return total


def added_to_the_beginning(x: Tensor, sublayers: list[Function]) -> Tensor:
    stream = x
    for sublayer in sublayers:
        stream = x + sublayer(stream)
    return stream


def one_way_around_all(x: Tensor, sublayers: list[Function]) -> Tensor:
    return x + replaced(x, sublayers)


def what_was_written(x: Tensor, sublayers: list[Function]) -> Tensor:
    return folded(x, sublayers) - x


def returns_in_the_loop(x: Tensor, sublayers: list[Function]) -> Tensor:
    for sublayer in sublayers:
        return x + sublayer(x)
    return x


def changes_what_it_got(x: Tensor, sublayers: list[Function]) -> Tensor:
    for sublayer in sublayers:
        x += sublayer(x)
    return x


def only_the_last(x: Tensor, sublayers: list[Function]) -> Tensor:
    y = x
    for sublayer in sublayers:
        y = x + sublayer(x)
    return y


def two_at_most(x: Tensor, sublayers: list[Function]) -> Tensor:
    return folded(x, sublayers[:2])


def cut_off(x: Tensor, sublayers: list[Function]) -> Tensor:
    return folded(x.detach(), sublayers)


def one_branch_cut_off(x: Tensor, sublayers: list[Function]) -> Tensor:
    for sublayer in sublayers:
        x = x + sublayer(x.detach())
    return x


def changes_a_batch(x: Tensor, sublayers: list[Function]) -> Tensor:
    y = folded(x, sublayers)
    if x.ndim > 1:
        x.zero_()
    return y


def needs_two(x: Tensor, sublayers: list[Function]) -> Tensor:
    return folded(x, sublayers) if len(sublayers) != 1 else sublayers[0](x)


def squared_eps(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return F.layer_norm(x, (x.size(-1),), gain, bias, eps**2)


def root_of_eps(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return F.layer_norm(x, (x.size(-1),), gain, bias, eps**0.5)


def fixed_eps(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return F.layer_norm(x, (x.size(-1),), gain, bias)


def layer_norm_cut_off(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return F.layer_norm(x, (x.size(-1),), gain, bias, eps).detach()


def deviation_cut_off(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    deviation = torch.sqrt(x.var(-1, correction=0, keepdim=True) + eps).detach()
    return gain * (x - x.mean(-1, keepdim=True)) / deviation + bias


def gain_in_place(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    y = F.layer_norm(x, (x.size(-1),), gain, bias, eps)
    gain.data.mul_(2)
    return y


def first_row_only(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    variance = x[:1].var(-1, correction=0, keepdim=True)
    return gain * (x - x.mean(-1, keepdim=True)) / torch.sqrt(variance + eps) + bias


def four_wide(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return gain * centred / torch.sqrt(centred.square().sum(-1, keepdim=True) / 4 + eps) + bias


def in_numpy(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> np.ndarray:
    a = x.numpy()
    variance = a.var(axis=-1, keepdims=True)
    return gain.numpy() * (a - a.mean(axis=-1, keepdims=True)) / np.sqrt(variance + eps) + bias.numpy()


def by_torch(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return F.layer_norm(x, (x.size(-1),), gain, bias, eps)


def by_var_mean(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + eps) * gain + bias


def by_the_mean_of_squares(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = (x**2).mean(-1, keepdim=True) - mean**2
    return gain * ((x - mean) / (variance + eps) ** 0.5) + bias


def unbiased(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return gain * (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + eps) + bias


def eps_outside(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return gain * (x - x.mean(-1, keepdim=True)) / (x.std(-1, correction=0, keepdim=True) + eps) + bias


def no_eps(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return gain * (x - x.mean(-1, keepdim=True)) / x.std(-1, correction=0, keepdim=True) + bias


def no_root(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return gain * (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + eps) + bias


def mean_left_in(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return gain * x / torch.sqrt(x.var(-1, correction=0, keepdim=True) + eps) + bias


def rms(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return gain * x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps) + bias


def over_the_tokens(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return gain * (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, correction=0, keepdim=True) + eps) + bias


def over_the_rows(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return gain * (x - x.mean(0, keepdim=True)) / torch.sqrt(x.var(0, correction=0, keepdim=True) + eps) + bias


def root_of_the_sum(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return gain * centred / torch.sqrt(centred.square().sum(-1, keepdim=True) + eps) + bias


def over_everything(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return gain * (x - x.mean()) / torch.sqrt(x.var(correction=0) + eps) + bias


def no_keepdim(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return gain * (x - x.mean(-1)) / torch.sqrt(x.var(-1, correction=0) + eps) + bias


def only_centred(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return gain * (x - x.mean(-1, keepdim=True)) + bias


def bias_before_gain(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return gain * (F.layer_norm(x, (x.size(-1),), eps=eps) + bias)


def gain_and_bias_first(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return F.layer_norm(gain * x + bias, (x.size(-1),), eps=eps)


def no_gain_no_bias(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return F.layer_norm(x, (x.size(-1),), eps=eps)


def bias_forgotten(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return gain * F.layer_norm(x, (x.size(-1),), eps=eps)


def in_two_lines(
    x: Tensor, attention_norm: Function, attention: Function, feed_forward_norm: Function, feed_forward: Function
) -> Tensor:
    after_attention = attention(attention_norm(x)) + x
    return after_attention + feed_forward(feed_forward_norm(after_attention))


def in_a_loop(
    x: Tensor, attention_norm: Function, attention: Function, feed_forward_norm: Function, feed_forward: Function
) -> Tensor:
    for norm, sublayer in ((attention_norm, attention), (feed_forward_norm, feed_forward)):
        x = torch.add(x, sublayer(norm(x)))
    return x


def post_norm(
    x: Tensor, attention_norm: Function, attention: Function, feed_forward_norm: Function, feed_forward: Function
) -> Tensor:
    x = attention_norm(x + attention(x))
    return feed_forward_norm(x + feed_forward(x))


def without_residuals(
    x: Tensor, attention_norm: Function, attention: Function, feed_forward_norm: Function, feed_forward: Function
) -> Tensor:
    return feed_forward(feed_forward_norm(attention(attention_norm(x))))


def without_norms(
    x: Tensor, attention_norm: Function, attention: Function, feed_forward_norm: Function, feed_forward: Function
) -> Tensor:
    x = x + attention(x)
    return x + feed_forward(x)


def side_by_side(
    x: Tensor, attention_norm: Function, attention: Function, feed_forward_norm: Function, feed_forward: Function
) -> Tensor:
    return x + attention(attention_norm(x)) + feed_forward(feed_forward_norm(x))


def attention_lost(
    x: Tensor, attention_norm: Function, attention: Function, feed_forward_norm: Function, feed_forward: Function
) -> Tensor:
    y = x + attention(attention_norm(x))
    return x + feed_forward(feed_forward_norm(y))


def added_to_the_copy(
    x: Tensor, attention_norm: Function, attention: Function, feed_forward_norm: Function, feed_forward: Function
) -> Tensor:
    x = attention_norm(x)
    x = x + attention(x)
    x = feed_forward_norm(x)
    return x + feed_forward(x)


def feed_forward_first(
    x: Tensor, attention_norm: Function, attention: Function, feed_forward_norm: Function, feed_forward: Function
) -> Tensor:
    x = x + feed_forward(feed_forward_norm(x))
    return x + attention(attention_norm(x))


def norm_on_what_is_written(
    x: Tensor, attention_norm: Function, attention: Function, feed_forward_norm: Function, feed_forward: Function
) -> Tensor:
    x = x + attention_norm(attention(x))
    return x + feed_forward_norm(feed_forward(x))


def norms_swapped(
    x: Tensor, attention_norm: Function, attention: Function, feed_forward_norm: Function, feed_forward: Function
) -> Tensor:
    x = x + attention(feed_forward_norm(x))
    return x + feed_forward(attention_norm(x))


def changes_the_stream_it_got(
    x: Tensor, attention_norm: Function, attention: Function, feed_forward_norm: Function, feed_forward: Function
) -> Tensor:
    x += attention(attention_norm(x))
    x += feed_forward(feed_forward_norm(x))
    return x


def block_cut_off(
    x: Tensor, attention_norm: Function, attention: Function, feed_forward_norm: Function, feed_forward: Function
) -> Tensor:
    return in_two_lines(x, attention_norm, attention, feed_forward_norm, feed_forward).detach()


def dropout_cut_off(x: Tensor, p: float, training: bool) -> Tensor:
    return functional(x, p, training).detach()


def always_a_quarter(x: Tensor, p: float, training: bool) -> Tensor:
    return F.dropout(x, 0.25 if p else 0.0, training)


def always_scaled_by_a_quarter(x: Tensor, p: float, training: bool) -> Tensor:
    return x * (torch.rand(x.shape) >= p) / (0.75 if p else 1) if training else x


def only_what_is_positive(x: Tensor, p: float, training: bool) -> Tensor:
    return F.dropout(x.abs(), p, training) if training else x


def ruins_x_in_use(x: Tensor, p: float, training: bool) -> Tensor:
    y = functional(x.clone(), p, training)
    if not training:
        x.mul_(2)
    return y


def functional(x: Tensor, p: float, training: bool) -> Tensor:
    return F.dropout(x, p, training)


def by_bernoulli(x: Tensor, p: float, training: bool) -> Tensor:
    if training:
        x = torch.where(torch.bernoulli(torch.full_like(x, p)).bool(), 0.0, x / (1 - p))
    return x


def with_numpy(x: Tensor, p: float, training: bool) -> Tensor:
    keep = torch.from_numpy(np.random.default_rng().random(tuple(x.shape)) >= p)
    return x.masked_fill(~keep, 0) / (1 - p) if training else x


def not_scaled(x: Tensor, p: float, training: bool) -> Tensor:
    return x * (torch.rand(x.shape) >= p) if training else x


def divided_by_p(x: Tensor, p: float, training: bool) -> Tensor:
    return x * (torch.rand(x.shape) >= p) / p if training else x


def multiplied(x: Tensor, p: float, training: bool) -> Tensor:
    return x * (torch.rand(x.shape) >= p) * (1 - p) if training else x


def keeps_p(x: Tensor, p: float, training: bool) -> Tensor:
    return x * (torch.rand(x.shape) < p) / (1 - p) if training else x


def always(x: Tensor, p: float, training: bool) -> Tensor:
    return x * (torch.rand(x.shape) >= p) / (1 - p)


def scaled_in_use(x: Tensor, p: float, training: bool) -> Tensor:
    return x * (torch.rand(x.shape) >= p) if training else x * (1 - p)


def whole_rows(x: Tensor, p: float, training: bool) -> Tensor:
    return x * (torch.rand(x.size(0), 1) >= p) / (1 - p) if training else x


def seeded_within(x: Tensor, p: float, training: bool) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return x * (torch.rand(x.shape, generator=generator) >= p) / (1 - p) if training else x


def writes_into_x(x: Tensor, p: float, training: bool) -> Tensor:
    if training:
        x[torch.rand(x.shape) < p] = 0
        x /= 1 - p
    return x


def never(x: Tensor, p: float, training: bool) -> Tensor:
    return x


def exactly_a_share(x: Tensor, p: float, training: bool) -> Tensor:
    if not training:
        return x
    keep = (torch.randperm(x.numel()) >= p * x.numel()).view(x.shape)
    return x * keep / (1 - p)


def takes_them_out(x: Tensor, p: float, training: bool) -> Tensor:
    return x[torch.rand(x.shape) >= p] / (1 - p) if training else x


def from_a_normal_distribution(x: Tensor, p: float, training: bool) -> Tensor:
    return x * (torch.randn(x.shape) >= p) / (1 - p) if training else x


ANSWERS = {
    "through_residuals": Answers(
        right=[folded, in_place_on_a_copy, by_recursion],
        wrong={
            replaced: "each sub-layer replaced",
            all_read_the_beginning: "both sub-layers read the same",
            added_to_the_beginning: "the second output was added to [1, 2]",
            one_way_around_all: "one way around both",
            what_was_written: "without what was there before",
            returns_in_the_loop: "after the first sub-layer",
            changes_what_it_got: "changed the x it was given",
            only_the_last: "only the last sub-layer has had its say",
            two_at_most: "For three (square, minus, plus one)",
            cut_off: "the gradient gets lost",
            changes_a_batch: "overwrote what it was given",
            needs_two: "For «minus» alone",
        },
    ),
    "layer_norm": Answers(
        right=[by_torch, by_var_mean, by_the_mean_of_squares, in_numpy],
        wrong={
            unbiased: "Divide by d or by d - 1?",
            eps_outside: "to the variance or to its root",
            no_eps: "What is the argument eps for?",
            no_root: "divided by the variance",
            mean_left_in: "The size is right",
            rms: "taken of x itself",
            over_the_tokens: "done over the tokens",
            over_the_rows: "over the rows nothing varies",
            root_of_the_sum: "root of the sum of the squares",
            over_everything: "one mean for all tokens",
            no_keepdim: "keeps it (1, 2, 1)",
            only_centred: "The mean is gone",
            bias_before_gain: "multiplied by the gain",
            gain_and_bias_first: "before the normalisation",
            no_gain_no_bias: "the same as without them",
            bias_forgotten: "Only one of the two",
            squared_eps: "With ε = 2.75 the last of [1, 2, 3, 4] becomes 0.5",
            root_of_eps: "With ε = 2.75 the last of [1, 2, 3, 4] becomes 0.8",
            fixed_eps: "torch's own ε",
            layer_norm_cut_off: "the gradient gets lost",
            gain_in_place: "changed the gain or the bias",
            first_row_only: "not for 3 rows of 5 tokens",
        },
    ),
    "pre_norm_block": Answers(
        right=[in_two_lines, in_a_loop],
        wrong={
            post_norm: "at the very end: post-norm",
            without_residuals: "Nothing of the stream is left",
            without_norms: "Never called: attention_norm, feed_forward_norm",
            side_by_side: "before attention wrote",
            attention_lost: "Where is what attention wrote?",
            added_to_the_copy: "added to the normalised copy",
            feed_forward_first: "called before attention",
            norm_on_what_is_written: "the norms came after the sub-layers",
            norms_swapped: "Which norm belongs to which sub-layer?",
            changes_the_stream_it_got: "changed the x it was given",
            block_cut_off: "the gradient gets lost",
        },
    ),
    "dropout": Answers(
        right=[functional, by_bernoulli, with_numpy],
        wrong={
            not_scaled: "must those that stay be divided",
            divided_by_p: "divided by p",
            multiplied: "multiplied by 0.75",
            keeps_p: "the share that goes or the share that stays",
            always: "something still happens",
            scaled_in_use: "you return 0.75 of x",
            whole_rows: "Whole rows or columns",
            seeded_within: "the very same numbers",
            writes_into_x: "write into x, or into a new tensor",
            never: "Which of them are to be dropped",
            exactly_a_share: "Exactly a quarter became 0",
            takes_them_out: "Dropped numbers stay, as zeros",
            from_a_normal_distribution: "decide with probability p",
            dropout_cut_off: "the gradient gets lost",
            always_a_quarter: "With p = 0.5, 2",
            always_scaled_by_a_quarter: "With p = 0.5 a 3 that stays becomes 4",
            only_what_is_positive: "Right where every number is 3",
            ruins_x_in_use: "With training=False your function changed",
        },
    ),
}
