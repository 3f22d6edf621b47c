"""Fitted laws: exact where the losses are, no worse than another optimiser where they are not."""

import math
from itertools import product

import numpy as np
import pytest

from minigpt.config import InputError
from minigpt.evaluation.laws import DELTA, Law, bootstrap_laws, fit_law

SIZES, LENGTHS = (1e4, 3e4, 1e5, 3e5, 1e6), (2.5e5, 6e5, 1.6e6, 4e6)
RUNS = list(product(SIZES, LENGTHS))
N, D = [n for n, _ in RUNS], [d for _, d in RUNS]
SMALL = Law(0.24, 300.0, 3000.0, 0.5, 0.6)


def noisy(law: Law, seed: int, size: float = 0.03) -> list[float]:
    rng = np.random.default_rng(seed)
    return [law.loss(n, d) * math.exp(size * rng.normal()) for n, d in RUNS]


def error(law: Law, losses: list[float]) -> float:
    """What is minimised, written down once more."""
    total = 0.0
    for n, d, loss in zip(N, D, losses, strict=True):
        size = abs(math.log(law.loss(n, d)) - math.log(loss))
        total += size**2 / 2 if size < DELTA else DELTA * (size - DELTA / 2)
    return total


@pytest.mark.parametrize(
    ("law", "scale"),
    [(SMALL, 1.0), (Law(1.69, 406.4, 410.7, 0.34, 0.28), 1e5), (Law(0.5, 20.0, 500.0, 0.25, 0.5), 1.0)],
)
def test_an_exact_law_is_found(law: Law, scale: float) -> None:
    """scale: runs of millions, and runs as large as those of Hoffmann et al."""
    n, d = [scale * x for x in N], [scale * x for x in D]
    losses = [law.loss(*run) for run in zip(n, d, strict=True)]
    found = fit_law(n, d, losses)
    for name in ("E", "A", "B", "alpha", "beta"):
        assert getattr(found, name) == pytest.approx(getattr(law, name), rel=1e-4)
    known = fit_law(n, d, losses, floor=law.E)
    assert pytest.approx(law.E, rel=1e-12) == known.E and known.alpha == pytest.approx(law.alpha, rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_no_better_law_is_near(seed: int) -> None:
    losses = noisy(SMALL, seed)
    found = fit_law(N, D, losses)
    least, rng = error(found, losses), np.random.default_rng(seed)
    assert least <= error(SMALL, losses)
    for _ in range(300):
        away = np.exp(0.1 * rng.random() ** 3 * rng.normal(size=5))
        other = Law(*(value * factor for value, factor in zip(vars(found).values(), away, strict=True)))
        assert error(other, losses) >= least - 1e-9


def test_one_wild_run_moves_it_little() -> None:
    losses = [SMALL.loss(*run) for run in RUNS]
    losses[7] *= 2
    assert fit_law(N, D, losses).alpha == pytest.approx(SMALL.alpha, rel=1e-3)


def test_without_a_floor_it_is_a_sum_of_two_powers() -> None:
    law = Law(0.0, 300.0, 3000.0, 0.5, 0.6)
    found = fit_law(N, D, [law.loss(*run) for run in RUNS], floor=0.0)
    assert found.E == 0.0 and found.beta == pytest.approx(0.6, rel=1e-4)


def test_the_interval_holds_the_truth_and_knows_its_seed() -> None:
    inside = 0
    for seed in range(6):
        laws = bootstrap_laws(N, D, noisy(SMALL, seed), resamples=100, seed=seed)
        low, high = np.quantile([law.alpha for law in laws], [0.025, 0.975])
        inside += bool(low <= SMALL.alpha <= high)
    assert inside >= 4, "of 95% intervals from 20 runs"
    again = bootstrap_laws(N, D, noisy(SMALL, 5), resamples=100, seed=5)
    assert [law.alpha for law in again] == [law.alpha for law in laws]


def test_the_best_split_is_the_best_of_many() -> None:
    flops = 6e13
    n, d = SMALL.best(flops)
    assert 6 * n * d == pytest.approx(flops)
    tried = np.exp(np.linspace(math.log(n) - 3, math.log(n) + 3, 601))
    assert min(SMALL.loss(x, flops / 6 / x) for x in tried) == pytest.approx(SMALL.loss(n, d), rel=1e-9)


@pytest.mark.parametrize(
    ("n", "d", "losses", "words"),
    [
        (N[:4], D[:4], [1.0] * 4, "4 different runs cannot tell 5 unknowns apart"),
        (N, D, [1.0] * 19, "20 sizes, 20 lengths and 19 losses"),
        ([1e4] * 20, list(range(1, 21)), [1.0] * 20, "all runs have the same size"),
        (list(range(1, 21)), [1e4] * 20, [1.0] * 20, "all runs have the same length"),
        (N, D, [*[1.0] * 19, 0.0], "the loss 0.0"),
        ([*N[:19], math.inf], D, [1.0] * 20, "the size inf"),
    ],
)
def test_what_cannot_be_fitted(n: list[float], d: list[float], losses: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        fit_law(n, d, losses)
    with pytest.raises(InputError, match=words):
        bootstrap_laws(n, d, losses)
