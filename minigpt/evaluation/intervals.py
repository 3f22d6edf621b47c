"""How sure a measured share or mean is, and whether one model is better than another on the same examples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from minigpt.config import InputError

MOST_DRAWN = 2**22
"""Numbers that a bootstrap draws at once."""


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The interval in which a share lies that was measured as successes of n (Wilson 1927): by default 95% of them.

    All shares p from which the measured one is at most z standard errors away, with the error that p itself would have.
    Unlike share ± z · error it never leaves 0 to 1, and it has a width at 0 of n and at n of n.

    Raises:
        InputError: unless 0 ≤ successes ≤ n and n ≥ 1.
    """
    if not 0 <= successes <= n or n < 1:
        raise InputError(f"{successes} of {n} is no share: count at least one, and no more successes than that")
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the two are equal, and rounding may cross them.
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(values: Sequence[float], resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """The interval in which the mean of what the values were drawn from lies, 95%, whatever their distribution.

    The percentile bootstrap (Efron 1979; Efron and Tibshirani 1993, chapter 13): draw as many values from the values,
    with replacement, again and again, and take what the middle 95% of the means lie between. For few values it is too
    narrow; for a share `wilson` is better, which has a width even where all are right.

    Args:
        values: one for each example, at least two.
        resamples: how often.
        seed: the same seed gives the same interval.

    Raises:
        InputError: for fewer than two values, or fewer than 100 resamples.
    """
    if len(values) < 2:
        raise InputError(f"{len(values)} values have no spread to draw from: measure at least 2 examples")
    if resamples < 100:
        raise InputError(f"resamples is {resamples}; for the ends of an interval it must be at least 100")
    sample = torch.tensor(list(values), dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    means = []
    left = resamples
    while left:
        rows = min(left, max(1, MOST_DRAWN // len(sample)))
        means.append(sample[torch.randint(len(sample), (rows, len(sample)), generator=generator)].mean(-1))
        left -= rows
    ordered = torch.cat(means).sort().values
    return ordered[round(0.025 * (resamples - 1))].item(), ordered[round(0.975 * (resamples - 1))].item()


@dataclass(frozen=True)
class Comparison:
    """Two models, or two prompts, on the same examples."""

    difference: float
    """Mean of the first minus mean of the second."""
    low: float
    """Of the 95% interval of the difference (`bootstrap` over the examples)."""
    high: float
    first_better: int
    """Examples on which the first has more."""
    second_better: int
    p_value: float
    """Chance of a split at least this uneven if each example on which they differ were a fair coin."""


def compare(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Comparison:
    """Whether the first is better than the second, example by example.

    On the same examples most of the chance is common to both, and what they differ in shows far earlier than in two
    intervals side by side. The p-value is that of the exact sign test, for right and wrong the exact form of McNemar's
    (1947): examples on which both agree say nothing.

    Args:
        first: one value for each example (True and False count 1 and 0), the larger the better.
        second: of the same examples in the same order.
        seed: of the interval.

    Raises:
        InputError: when there are not as many of both, or fewer than two.
    """
    if len(first) != len(second):
        raise InputError(f"{len(first)} and {len(second)} values: a comparison needs both for the same examples")
    differences = [float(a) - float(b) for a, b in zip(first, second, strict=True)]
    low, high = bootstrap(differences, seed=seed)
    more, less = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    tail = sum(math.comb(more + less, i) for i in range(min(more, less) + 1)) / 2 ** (more + less)
    return Comparison(sum(differences) / len(differences), low, high, more, less, min(1.0, 2 * tail))
