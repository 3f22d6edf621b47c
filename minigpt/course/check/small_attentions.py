"""Attentions without learned parts, (T, d) -> (T, d), for a learner's leak test: with a leak, or without."""

from collections.abc import Callable

import torch
from torch import Tensor


def nobody(x: Tensor) -> Tensor:
    """Each token sees itself alone."""
    return 2 * x


def _mix(weights: Tensor, x: Tensor) -> Tensor:
    return weights.to(x) @ x


def _triangle(x: Tensor) -> Tensor:
    return torch.ones(len(x), len(x)).tril()


def causal(x: Tensor) -> Tensor:
    """Each token sees itself and those before it."""
    return _mix(_triangle(x), x)


def everybody(x: Tensor) -> Tensor:
    """Every token sees every other."""
    return _mix(torch.ones(len(x), len(x)) + _triangle(x), x)


def nearly_causal(x: Tensor) -> Tensor:
    """The mean of the tokens so far, as all minus those to come: the same but for the last digits."""
    so_far = torch.stack([x.sum(dim=0) - x[i + 1 :].sum(dim=0) for i in range(len(x))])
    return so_far / torch.arange(1, len(x) + 1).to(x)[:, None]


def _with_leak(x: Tensor, row: int, column: int) -> Tensor:
    weights = _triangle(x)
    if column < len(x):
        weights[row, column] = 1
    return _mix(weights, x)


def _first_sees_last(x: Tensor) -> Tensor:
    return _with_leak(x, 0, 5)


def _second_sees_last(x: Tensor) -> Tensor:
    return _with_leak(x, 1, 5)


def _first_sees_third(x: Tensor) -> Tensor:
    return _with_leak(x, 0, 2)


def _second_token(x: Tensor) -> Tensor:
    return _with_leak(x, 0, 1)


def _hair(x: Tensor) -> Tensor:
    return _mix(_triangle(x) + 1e-7 * torch.ones(len(x), len(x)).tril(1), x)


def _beyond_rounding(x: Tensor) -> Tensor:
    return 1e4 + _mix(_triangle(x) + 1e-6 * torch.ones(len(x), len(x)).tril(1), x)


def _by_size(x: Tensor) -> Tensor:
    y = causal(x).clone()
    y[0] = y[0] + x[-1].abs()
    return y


def _by_sum(x: Tensor) -> Tensor:
    y = causal(x).clone()
    y[0] = y[0] + x[-1].sum()
    return y


def _off_by_one(x: Tensor) -> Tensor:
    return _mix(torch.ones(len(x), len(x)).tril(1), x)


def _peeps(x: Tensor) -> Tensor:
    return _mix(_triangle(x) + 0.001 * torch.ones(len(x), len(x)).tril(1), x)


def _normalised(x: Tensor) -> Tensor:
    return everybody(x - x.mean(dim=-1, keepdim=True))


def _last_feature(x: Tensor) -> Tensor:
    y = causal(x).clone()
    if len(x) == 6:
        y[0, -1] = y[0, -1] + x[5, -1]
    return y


def _divided(x: Tensor) -> Tensor:
    return everybody(x / x.norm(dim=-1, keepdim=True).clamp(min=1e-12))


# Each with what a test does not see that says False.
LEAKS: list[tuple[Callable[[Tensor], Tensor], str]] = [
    (
        _first_sees_last,
        "row 0 sees the last token. Do you come as far as the last token? Do you look at all rows before the "
        "changed one?",
    ),
    (
        _second_sees_last,
        "row 1 sees the last token, and row 0 sees itself. Is row 0 the only one you look at?",
    ),
    (_first_sees_third, "row 0 sees token 2. Do you change every token, or the last one only?"),
    (
        _off_by_one,
        "each row sees one token too many, the next. Do you look at the row just before the changed one?",
    ),
    (
        _peeps,
        "each row sees a thousandth of the next. Is your change large, and your threshold small, enough?",
    ),
    (
        _normalised,
        "a token's mean is taken away, and then all see all. Do all its numbers change in the same way?",
    ),
    (
        _divided,
        "every token is divided by its size, and then all see all. Is your change more than a new size?",
    ),
    (
        _last_feature,
        "row 0 sees no more than the last number of the last token. Do you change all its numbers?",
    ),
    (_second_token, "row 0 sees token 1. Do you change that one, too?"),
    (_hair, "each row sees a ten-millionth of the next. What counts as moving: more than 1e-9?"),
    (
        _beyond_rounding,
        "large rows move by a little. Is your threshold a difference, and not a share of the numbers?",
    ),
    (
        _by_size,
        "row 0 sees the size of the last token's numbers, whatever their sign. Is your change only a minus?",
    ),
    (
        _by_sum,
        "row 0 sees the sum of the last token's numbers. Is your token new, or the old one with numbers exchanged?",
    ),
]
