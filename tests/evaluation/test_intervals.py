"""Wilson's interval against its definition, published numbers, and how often it really holds the truth."""

import math

import pytest

from minigpt.config import InputError
from minigpt.evaluation.intervals import wilson


@pytest.mark.parametrize(("successes", "n"), [(1, 2), (3, 10), (81, 263), (15, 148), (999, 1000)])
@pytest.mark.parametrize("z", [1.0, 1.96, 2.576])
def test_the_ends_are_the_shares_from_which_the_measured_one_is_z_errors_away(successes, n, z):
    for p in wilson(successes, n, z):
        assert abs(successes / n - p) == pytest.approx(z * math.sqrt(p * (1 - p) / n), rel=1e-9)


@pytest.mark.parametrize(
    ("successes", "n", "expected"),
    # Newcombe 1998, «Two-sided confidence intervals for the single proportion», table I, method 3.
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_published_intervals(successes, n, expected):
    assert wilson(successes, n) == pytest.approx(expected, abs=5e-5)


def test_it_stays_within_0_and_1_and_has_a_width_at_both_ends():
    assert wilson(0, 5)[0] == 0.0 and 0.4 < wilson(0, 5)[1] < 0.5
    assert wilson(5, 5)[1] == 1.0 and wilson(5, 5)[0] == pytest.approx(1 - wilson(0, 5)[1])


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.83])
def test_it_holds_the_true_share_about_95_times_in_100(p):
    n = 60
    chances = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    holds = sum(chance for k, chance in enumerate(chances) if wilson(k, n)[0] <= p <= wilson(k, n)[1])
    assert 0.92 < holds < 0.98


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_what_is_no_share_is_refused(successes, n):
    with pytest.raises(InputError, match=f"{successes} of {n} is no share"):
        wilson(successes, n)
