"""Exact match and pass@k: by hand, by enumeration of all ways to draw, and in the mean."""

import math
from itertools import combinations

import pytest

from minigpt.config import InputError
from minigpt.evaluation.answers import exact_match, pass_at_k


def test_exact_match_is_letter_for_letter() -> None:
    answers = ["blue", " blue\n", "Blue", "blue.", "", "a red hat"]
    right = [["blue"], ["green", "blue"], ["blue"], ["blue"], ["blue"], ["the red hat", "a red hat "]]
    assert exact_match(answers, right) == [True, True, False, False, False, True]
    with pytest.raises(InputError, match="1 answers and right wordings for 2"):
        exact_match(["a"], [["a"], ["b"]])
    with pytest.raises(InputError, match="answer 1 has no right wording"):
        exact_match(["a", "b"], [["a"], []])


@pytest.mark.parametrize(("n", "right"), [(1, 0), (1, 1), (5, 0), (5, 2), (6, 5), (7, 7)])
def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_one(n: int, right: int) -> None:
    for k in range(1, n + 1):
        draws = list(combinations([True] * right + [False] * (n - right), k))
        assert pass_at_k(n, right, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_is_unbiased() -> None:
    """Its expectation over all outcomes of n tries is the true chance of k tries; that of the plug-in is not."""
    n, k, p = 8, 3, 0.2
    chances = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    truth = 1 - (1 - p) ** k
    assert sum(chance * pass_at_k(n, c, k) for c, chance in enumerate(chances)) == pytest.approx(truth, abs=1e-12)
    assert sum(chance * (1 - (1 - c / n) ** k) for c, chance in enumerate(chances)) < truth - 0.01


@pytest.mark.parametrize(("n", "right", "k"), [(3, 1, 0), (3, 1, 4), (3, 4, 1), (3, -1, 1)])
def test_what_cannot_be_drawn_is_refused(n: int, right: int, k: int) -> None:
    with pytest.raises(InputError, match="must be from"):
        pass_at_k(n, right, k)
