"""Scaling laws: how the loss falls with a model's parameters and the tokens it was trained on, fitted to measured ones.

The form is that of Hoffmann et al. 2022 (section 3.3), and so is what is minimised. How it is minimised is our own:
their optimiser stopped too early (Besiroglu et al. 2024), and here thousands of small fits are made for an interval.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minigpt.config import InputError

Numbers = NDArray[np.float64]

DELTA = 1e-3
"""What Hoffmann et al. took: of runs whose losses stray by some thousandths."""
ROUNDS = 200


@dataclass(frozen=True)
class Law:
    """L(N, D) = E + A / N^alpha + B / D^beta, in nats per token (Hoffmann et al. 2022, equation 2)."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, parameters: float, tokens: float) -> float:
        """The loss of a model with so many parameters after so many tokens."""
        return self.E + self.A / parameters**self.alpha + self.B / tokens**self.beta

    def best(self, flops: float) -> tuple[float, float]:
        """Parameters and tokens of the smallest loss for a compute of 6 · parameters · tokens (their equation 4)."""
        total = self.alpha + self.beta
        g = (self.alpha * self.A / (self.beta * self.B)) ** (1 / total)
        parameters = g * (flops / 6) ** (self.beta / total)
        return parameters, flops / 6 / parameters


def fit_law(
    parameters: Sequence[float], tokens: Sequence[float], losses: Sequence[float], floor: float | None = None,
    delta: float = DELTA,
) -> Law:  # fmt: skip
    """The law that lies nearest to measured losses: the smallest sum of Huber's loss of ln L predicted - ln L measured.

    Args:
        parameters: N of each run.
        tokens: D of each run.
        losses: of each run, in nats per token.
        floor: E, if it is known (0 for a law without it). Default: E is fitted, too.
        delta: a difference of logarithms beyond which an error counts by its size and no longer by its square.

    Raises:
        InputError: for fewer runs than the law has numbers, or runs of one size or of one length.
    """
    return fit_laws(parameters, tokens, losses, np.ones((1, len(losses))), floor, delta)[0]


def bootstrap_laws(
    parameters: Sequence[float], tokens: Sequence[float], losses: Sequence[float], resamples: int = 300,
    floor: float | None = None, delta: float = DELTA, seed: int = 0,
) -> list[Law]:  # fmt: skip
    """The laws that other samples of such runs would have given: runs are drawn from the runs, with replacement.

    What the middle 95% of them say about a number is its interval. A resample with too few different sizes or lengths
    to fit is drawn again.

    Raises:
        InputError: as `fit_law`.
    """
    rng, rows = np.random.default_rng(seed), list[Numbers]()
    needed = 5 if floor is None else 4
    _check(parameters, tokens, losses, needed)
    while len(rows) < resamples:
        drawn = rng.integers(len(losses), size=len(losses))
        different = {(parameters[i], tokens[i]) for i in drawn}
        if len(different) >= needed and all(len(set(side)) > 1 for side in zip(*different, strict=True)):
            rows.append(np.bincount(drawn, minlength=len(losses)).astype(np.float64))
    return fit_laws(parameters, tokens, losses, np.stack(rows), floor, delta)


def fit_laws(
    parameters: Sequence[float], tokens: Sequence[float], losses: Sequence[float], counts: Numbers,
    floor: float | None = None, delta: float = DELTA,
) -> list[Law]:  # fmt: skip
    """`fit_law` for each row of counts (R, n): how often each of the n runs is in the sample.

    Damped Gauss-Newton steps with weights that make a square into Huber's loss, from a grid of beginnings; the best end
    is taken. The unknowns are ln A, ln B and ln E, as in their equation 11, where N and D are measured in their
    geometric means, so that all five have the size of 1.
    """
    _check(parameters, tokens, losses, 5 if floor is None else 4)
    ln_n, ln_d, ln_l = (np.log(np.array(values, dtype=np.float64)) for values in (parameters, tokens, losses))
    middle_n, middle_d = ln_n.mean(), ln_d.mean()
    x, y = ln_n - middle_n, ln_d - middle_d
    lowest = math.log(min(losses))
    known = None if floor is None else (math.log(floor) if floor > 0 else -math.inf)
    floors = (lowest - 2, lowest - 0.3) if known is None else (known,)
    sides = floors, (-1.5, 0.0), (-1.5, 0.0), (0.2, 0.8), (0.2, 0.8)
    grid = np.array(list(itertools.product(*sides)))  # (S, 5): ln E, ln A, ln B, alpha, beta
    fixed = known is not None

    def nearest(starts: Numbers, rows: Numbers) -> Numbers:
        """For each row of counts the best end of all its starts: (S, 5), (R, n) -> (R, 5)."""
        thetas, weights = np.tile(starts, (len(rows), 1)), np.repeat(rows, len(starts), axis=0)
        ends, values = _descend(thetas, x, y, ln_l, weights, fixed, delta)
        best = values.reshape(len(rows), -1).argmin(1)
        return ends.reshape(len(rows), len(starts), 5)[np.arange(len(rows)), best]

    of_all = nearest(grid, np.ones((1, len(ln_l))))
    found = of_all
    if len(counts) > 1 or not (counts == 1).all():  # samples begin at the best of all runs, and beside it
        aside = np.array([0.0, 0.3, -0.3, 0.1, -0.1])
        found = nearest(np.concatenate([of_all, of_all + aside, of_all - aside]), counts)
    return [
        Law(math.exp(e), math.exp(a + alpha * middle_n), math.exp(b + beta * middle_d), float(alpha), float(beta))
        for e, a, b, alpha, beta in found
    ]


def _descend(
    thetas: Numbers, x: Numbers, y: Numbers, ln_l: Numbers, counts: Numbers, fixed: bool, delta: float
) -> tuple[Numbers, Numbers]:
    """ROUNDS steps down from S beginnings (S, 5), for counts (S, n): where they end, and the values there (S,)."""

    def predict(at: Numbers) -> tuple[Numbers, Numbers]:
        e, a, b, alpha, beta = at.T[:, :, None]
        terms = np.stack([e + 0 * x, a - alpha * x, b - beta * y])  # (3, S, n)
        top = terms.max(0)
        ln_sum = top + np.log(np.exp(terms - top).sum(0))
        share_e, share_a, share_b = np.exp(terms - ln_sum)  # of each term in the predicted loss
        return ln_sum - ln_l, np.stack([share_e, share_a, share_b, -share_a * x, -share_b * y], axis=-1)

    def value(errors: Numbers) -> Numbers:
        size = np.abs(errors)
        huber = np.where(size < delta, size**2 / 2, delta * (size - delta / 2))
        summed: Numbers = (counts * huber).sum(1)
        return summed

    damping = np.full(len(thetas), 1e-2)
    errors, slopes = predict(thetas)
    values = value(errors)
    for _ in range(ROUNDS):
        if fixed:
            slopes[:, :, 0] = 0.0
        weights = counts * np.minimum(1.0, delta / np.maximum(np.abs(errors), 1e-12))  # (S, n)
        weighted = slopes * weights[:, :, None]
        curve = weighted.transpose(0, 2, 1) @ slopes  # (S, 5, 5)
        size = np.trace(curve, axis1=1, axis2=2)[:, None, None]
        down = (weighted * errors[:, :, None]).sum(1)
        step = np.linalg.solve(curve + (damping[:, None, None] * size / 5 + 1e-12) * np.eye(5), down[:, :, None])
        tried = thetas - np.clip(step[:, :, 0], -1.0, 1.0)
        new_errors, new_slopes = predict(tried)
        better = value(new_errors) < values
        thetas = np.where(better[:, None], tried, thetas)
        errors = np.where(better[:, None], new_errors, errors)
        slopes = np.where(better[:, None, None], new_slopes, slopes)
        values = np.where(better, value(new_errors), values)
        damping = np.where(better, damping / 3, np.minimum(damping * 4, 1e6))
    return thetas, values


def _check(parameters: Sequence[float], tokens: Sequence[float], losses: Sequence[float], needed: int) -> None:
    if not len(parameters) == len(tokens) == len(losses):
        raise InputError(
            f"{len(parameters)} sizes, {len(tokens)} lengths and {len(losses)} losses: a run has one of each"
        )
    if len(set(zip(parameters, tokens, strict=True))) < needed:
        raise InputError(
            f"{len(set(zip(parameters, tokens, strict=True)))} different runs cannot tell {needed} unknowns apart: "
            f"give at least {needed}"
        )
    for what, values in (("size", parameters), ("length", tokens), ("loss", losses)):
        if not all(0 < value < math.inf for value in values):
            wrong = next(value for value in values if not 0 < value < math.inf)
            raise InputError(f"a run has the {what} {wrong}; it must be above 0 and finite")
    for what, values in (("size", parameters), ("length", tokens)):
        if len(set(values)) < 2:
            raise InputError(f"all runs have the same {what}, so nothing tells what it does: give runs of two at least")
