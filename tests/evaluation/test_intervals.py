"""Wilson's interval against its definition and published numbers; the bootstrap against all resamples; pairs."""

import math
from itertools import product

import pytest

from minigpt.config import InputError
from minigpt.evaluation import intervals
from minigpt.evaluation.intervals import bootstrap, compare, wilson


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


def test_the_bootstrap_is_the_enumeration_of_all_resamples():
    """Of four values all 256 resamples can be written down."""
    values = [0.0, 1.0, 5.0, 30.0]
    means = sorted(sum(drawn) / 4 for drawn in product(values, repeat=4))
    assert bootstrap(values, resamples=20_000) == pytest.approx((means[round(0.025 * 255)], means[round(0.975 * 255)]))
    assert bootstrap(values) == bootstrap(values) and bootstrap([2.0] * 9) == (2.0, 2.0)


def test_the_bootstrap_is_near_wilson_and_near_the_textbook_where_both_hold(monkeypatch):
    right = [1.0] * 120 + [0.0] * 80
    assert bootstrap(right) == pytest.approx(wilson(120, 200), abs=0.01)
    values = [((i * 7919) % 1000) / 1000 for i in range(500)]  # evenly spread over 0 to 1: standard deviation 0.2887
    error = 0.2887 / math.sqrt(500)
    mean = sum(values) / 500
    expected = (mean - 1.96 * error, mean + 1.96 * error)
    assert bootstrap(values) == pytest.approx(expected, abs=0.0015)
    monkeypatch.setattr(intervals, "MOST_DRAWN", 1500)
    assert bootstrap(values, 1000) == pytest.approx(expected, abs=0.004)


def test_a_comparison_by_hand():
    first = [True, True, True, True, True, False, True, False]
    second = [False, False, False, False, False, True, True, False]
    found = compare(first, second)
    assert (found.difference, found.first_better, found.second_better) == (0.5, 5, 1)
    assert found.p_value == pytest.approx(2 * (1 + 6) / 2**6)  # at most 1 of 6 fair coins, on either side
    assert found.low < 0.5 < found.high
    back = compare(second, first)
    assert (back.difference, back.p_value) == (-0.5, found.p_value)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low), abs=1e-12)
    same = compare(first, first)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_on_the_same_examples_a_difference_shows_that_two_intervals_hide():
    first, second = [True] * 130 + [False] * 70, [True] * 118 + [False] * 82
    assert wilson(130, 200)[0] < wilson(118, 200)[1], "side by side they overlap"
    found = compare(first, second)
    assert found.low > 0 and found.p_value < 0.001


def test_an_empty_sample_has_no_interval():
    for values in ([], [1.0]):
        with pytest.raises(InputError, match=f"{len(values)} values have no spread"):
            bootstrap(values)
    with pytest.raises(InputError, match="resamples is 10"):
        bootstrap([1.0, 2.0], resamples=10)
    with pytest.raises(InputError, match="2 and 1 values"):
        compare([1.0, 2.0], [1.0])
