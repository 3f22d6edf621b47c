"""Answers to the exercises of lesson 22, right and wrong."""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from tests.course.cases import Answers

LN2 = math.log(2)


def in_steps(loss: float, tokens: int, text: str) -> float:
    bits = 0.0
    for _ in range(tokens):
        bits += loss * math.log2(math.e)
    return bits / len(bytes(text, "utf-8"))


def by_bits_per_token(loss: float, tokens: int, text: str) -> np.float64:
    tokens_per_byte = tokens / len(text.encode())
    return np.float64(loss) / np.log(2) * tokens_per_byte


def in_nats(loss: float, tokens: int, text: str) -> float:
    return loss * tokens / len(text.encode())


def times_ln_2(loss: float, tokens: int, text: str) -> float:
    return loss * tokens * LN2 / len(text.encode())


def by_characters(loss: float, tokens: int, text: str) -> float:
    return loss * tokens / LN2 / len(text)


def per_token(loss: float, tokens: int, text: str) -> float:
    return loss / LN2


def of_the_text(loss: float, tokens: int, text: str) -> float:
    return loss * tokens / LN2


def one_token(loss: float, tokens: int, text: str) -> float:
    return loss / LN2 / len(text.encode())


def divided_by_tokens(loss: float, tokens: int, text: str) -> float:
    return loss / tokens / LN2 / len(text.encode())


def decimal_digits(loss: float, tokens: int, text: str) -> float:
    return loss * tokens / math.log(10) / len(text.encode())


def to_the_power(loss: float, tokens: int, text: str) -> float:
    return float(2 ** (loss * tokens / LN2 / len(text.encode())))


def the_perplexity(loss: float, tokens: int, text: str) -> float:
    return math.exp(loss)


def negative(loss: float, tokens: int, text: str) -> float:
    return -loss * tokens / LN2 / len(text.encode())


def stripped_text(loss: float, tokens: int, text: str) -> float:
    return loss * tokens / LN2 / max(1, len(text.strip().encode()))


Sums = Sequence[float]
Choices = Sequence[str]


def by_max(sums: Sums, choices: Choices) -> int:
    return max(range(len(sums)), key=lambda i: sums[i] / len(choices[i].encode()))


def by_numpy(sums: Sums, choices: Choices) -> int:
    return int(np.argmax(np.array(sums) / [len(c.encode()) for c in choices]))


def in_a_loop(sums: Sums, choices: Choices) -> int:
    best = 0
    for i, (s, c) in enumerate(zip(sums, choices, strict=True)):
        if s / len(c.encode()) > sums[best] / len(choices[best].encode()):
            best = i
    return best


def best_sum(sums: Sums, choices: Choices) -> int:
    return list(sums).index(max(sums))


def by_length(sums: Sums, choices: Choices) -> int:
    return max(range(len(sums)), key=lambda i: sums[i] / len(choices[i]))


def last_of_equals(sums: Sums, choices: Choices) -> int:
    scores = [s / len(c.encode()) for s, c in zip(sums, choices, strict=True)]
    return max(range(len(scores)), key=lambda i: (scores[i], i))


def smallest(sums: Sums, choices: Choices) -> int:
    return min(range(len(sums)), key=lambda i: sums[i] / len(choices[i].encode()))


def the_text(sums: Sums, choices: Choices) -> str:
    return choices[by_max(sums, choices)]


def from_one(sums: Sums, choices: Choices) -> int:
    return by_max(sums, choices) + 1


def the_score(sums: Sums, choices: Choices) -> float:
    return max(s / len(c.encode()) for s, c in zip(sums, choices, strict=True))


def without_spaces(sums: Sums, choices: Choices) -> int:
    return max(range(len(sums)), key=lambda i: sums[i] / len(choices[i].strip().encode()))


def longest(sums: Sums, choices: Choices) -> int:
    return max(range(len(sums)), key=lambda i: len(choices[i].encode()))


def sorts_in_place(sums: list[float], choices: list[str]) -> int:
    best = by_max(sums, choices)
    sums.sort()
    return best


def ends_by_quadratic(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    share = right / n
    a, b, c = 1 + z**2 / n, -(2 * share + z**2 / n), share**2
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def ends_as_array(right: int, n: int, z: float = 1.96) -> np.ndarray:
    half = z * np.sqrt(right * (n - right) / n + z * z / 4)
    return (right + z * z / 2 + np.array([-half, half])) / (n + z * z)


def ends_cut(right: int, n: int, z: float = 1.96) -> list[float]:
    low, high = ends_by_quadratic(right, n, z)
    return [max(0.0, low), min(1.0, high)]


def wald(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    share = right / n
    half = z * math.sqrt(share * (1 - share) / n)
    return share - half, share + half


def _wilson(right: int, n: int, z: float, under: float = 1, beside: float = 1) -> tuple[float, float]:
    share = right / n
    half = z * math.sqrt(share * (1 - share) / n + under * z * z / (4 * n * n))
    middle = share + beside * z * z / (2 * n)
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def turned_round(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    low, high = _wilson(right, n, z)
    return high, low


def not_scaled(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    low, high = _wilson(right, n, z)
    return low * (1 + z * z / n), high * (1 + z * z / n)


def root_lacks(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    return _wilson(right, n, z, under=0)


def root_with_n(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    return _wilson(right, n, z, under=n)


def middle_lacks(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    return _wilson(right, n, z, beside=0)


def middle_twice(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    return _wilson(right, n, z, beside=2)


def middle_not_squared(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    return _wilson(right, n, z, beside=1 / z)


def in_percent(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    low, high = _wilson(right, n, z)
    return 100 * low, 100 * high


def as_counts(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    low, high = _wilson(right, n, z)
    return n * low, n * high


def of_the_wrong(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    return _wilson(n - right, n, z)


def lower_alone(right: int, n: int, z: float = 1.96) -> float:
    return _wilson(right, n, z)[0]


def z_fixed(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    return _wilson(right, n, 1.96)


def wilson_but_at_the_ends(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    return wald(right, n, z) if right in (0, n) else _wilson(right, n, z)


Scores = Sequence[float]
Verdict = tuple[int, int, float]


def split(first: Scores, second: Scores) -> tuple[int, int]:
    if len(first) != len(second):
        raise ValueError("not the same questions")
    more = sum(a > b for a, b in zip(first, second, strict=True))
    return more, sum(a < b for a, b in zip(first, second, strict=True))


def tail(n: int, most: int) -> float:
    return sum(math.comb(n, i) for i in range(most + 1)) / 2**n


def by_probabilities(first: Scores, second: Scores) -> Verdict:
    """All splits of the coins that are no more probable than this one."""
    more, less = split(first, second)
    n = more + less
    p = sum(math.comb(n, i) for i in range(n + 1) if abs(2 * i - n) >= abs(more - less)) / 2**n
    return more, less, p


def by_differences(first: Scores, second: Scores) -> Verdict:
    signs = [np.sign(float(a) - float(b)) for a, b in zip(first, second, strict=True)]
    more, less = signs.count(1), signs.count(-1)
    upper = sum(math.comb(more + less, i) for i in range(max(more, less), more + less + 1))
    return more, less, 1.0 if more == less else min(1.0, upper / 2 ** (more + less - 1))


def one_sided(first: Scores, second: Scores) -> Verdict:
    more, less = split(first, second)
    return more, less, tail(more + less, min(more, less))


def not_cut_off(first: Scores, second: Scores) -> Verdict:
    more, less = split(first, second)
    return more, less, 2 * tail(more + less, min(more, less))


def exactly_this(first: Scores, second: Scores) -> Verdict:
    more, less = split(first, second)
    return more, less, 2 * math.comb(more + less, less) / 2 ** (more + less)


def agreeing_too(first: Scores, second: Scores) -> Verdict:
    more, less = split(first, second)
    return more, less, min(1.0, 2 * tail(len(first), min(more, less)))


def more_uneven_only(first: Scores, second: Scores) -> Verdict:
    more, less = split(first, second)
    return more, less, min(1.0, 2 * tail(more + less, min(more, less) - 1))


def wrong_end(first: Scores, second: Scores) -> Verdict:
    more, less = split(first, second)
    n = more + less
    return more, less, min(1.0, 2 * tail(n, max(more, less)))


def changed_places(first: Scores, second: Scores) -> Verdict:
    more, less = split(first, second)
    return less, more, min(1.0, 2 * tail(more + less, min(more, less)))


def all_right_ones(first: Scores, second: Scores) -> Verdict:
    return int(sum(first)), int(sum(second)), 1.0


def cuts_the_longer(first: Scores, second: Scores) -> Verdict:
    n = min(len(first), len(second))
    more, less = split(first[:n], second[:n])
    return more, less, min(1.0, 2 * tail(more + less, min(more, less)))


def refuses_one_side(first: Scores, second: Scores) -> Verdict:
    if len(first) > len(second):
        raise ValueError("not as many")
    return cuts_the_longer(first, second)


def only_true_and_false(first: Scores, second: Scores) -> Verdict:
    split(first, second)
    more = sum(a == 1 and b == 0 for a, b in zip(first, second, strict=True))
    less = sum(a == 0 and b == 1 for a, b in zip(first, second, strict=True))
    return more, less, min(1.0, 2 * tail(more + less, min(more, less)))


def p_alone(first: Scores, second: Scores) -> float:
    return not_cut_off(first, second)[2]


def eats_scores(first: list[float], second: list[float]) -> Verdict:
    verdict = by_probabilities(first, second)
    first.clear()
    return verdict


def by_product(n: int, right: int, k: int) -> float:
    none = 1.0
    for i in range(k):
        none *= max(0, n - right - i) / (n - i)
    return 1 - none


def by_counting(n: int, right: int, k: int) -> float:
    if n > 20:
        return by_product(n, right, k)
    groups = list(combinations([i < right for i in range(n)], k))
    return sum(any(group) for group in groups) / len(groups)


def as_the_paper_does(n: int, right: int, k: int) -> float:
    if n - right < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - right + 1, n + 1)))


def share_put_in(n: int, right: int, k: int) -> float:
    return 1 - (1 - right / n) ** k


def none_right(n: int, right: int, k: int) -> float:
    return math.comb(n - right, k) / math.comb(n, k)


def groups_of_right(n: int, right: int, k: int) -> float:
    return 1 - math.comb(right, k) / math.comb(n, k)


def on_its_head(n: int, right: int, k: int) -> float:
    return 1 - math.comb(n, k) / max(1, math.comb(n - right, k))


def first_try(n: int, right: int, k: int) -> float:
    return right / n


def with_order(n: int, right: int, k: int) -> float:
    return 1 - math.perm(n - right, k) / math.comb(n, k)


def added_up(n: int, right: int, k: int) -> float:
    return k * right / n


def by_factorials(n: int, right: int, k: int) -> float:
    f = math.factorial
    return 1 - f(n - right) * f(n - k) / f(n - right - k) / f(n)


ANSWERS = {
    "bits_each_byte": Answers(
        right=[in_steps, by_bits_per_token],
        wrong={
            in_nats: "How many nats is a bit",
            times_ln_2: "multiplies by ln 2",
            by_characters: "len counts characters",
            per_token: "That is bits per token",
            of_the_text: "How many bytes share them",
            one_token: "How many tokens were there",
            divided_by_tokens: "what gives the sum back",
            decimal_digits: "to the base 10",
            to_the_power: "Leave the power away",
            the_perplexity: "That is the perplexity",
            negative: "Less than nothing",
            stripped_text: "Is part of the text left out",
        },
    ),
    "best_per_byte": Answers(
        right=[by_max, by_numpy, in_a_loop],
        wrong={
            best_sum: "the best by the sum",
            smallest: "the worst per byte",
            by_length: "len counts them as one",
            last_of_equals: "take the first",
            the_text: "and not the choice itself",
            from_one: "Count the choices from 0",
            the_score: "Which choice has it",
            without_spaces: "Spaces at the end are",
            longest: "-1, -1.25 and",
            sorts_in_place: "only given to read",
        },
    ),
    "wilson_interval": Answers(
        right=[ends_by_quadratic, ends_as_array, ends_cut],
        wrong={
            wald: "no width at 0 of 50",
            turned_round: "changed places",
            not_scaled: "The division by",
            root_lacks: "under the root is missing",
            root_with_n: "yours has n once",
            middle_lacks: "beside the share is missing",
            middle_twice: "yours is z²/n",
            middle_not_squared: "with z squared",
            in_percent: "Those are percent",
            as_counts: "Those are counts",
            of_the_wrong: "of the wrong answers",
            lower_alone: "Two numbers were asked for",
            z_fixed: "is 1.96 written into",
            wilson_but_at_the_ends: "For 0 of 10",
        },
    ),
    "paired": Answers(
        right=[by_probabilities, by_differences],
        wrong={
            one_sided: "That is one side.",
            not_cut_off: "No chance is above 1",
            exactly_this: "exactly this split",
            agreeing_too: "Where both agree no coin falls",
            more_uneven_only: "leaves this split itself out",
            wrong_end: "counts from the wrong end",
            changed_places: "have changed places",
            all_right_ones: "Count where the two *differ*",
            cuts_the_longer: "raise a ValueError",
            refuses_one_side: "and not 1 against 2",
            only_true_and_false: "Right for True and False",
            p_alone: "Three numbers were asked for",
            eats_scores: "only given to read",
        },
    ),
    "one_of_k": Answers(
        right=[by_product, by_counting, as_the_paper_does],
        wrong={
            share_put_in: "too small in the mean",
            none_right: "*none* is right",
            groups_of_right: "groups of right ones alone",
            on_its_head: "stands on its head",
            first_try: "That is pass@1",
            with_order: "take comb twice",
            added_up: "do not add up",
            by_factorials: "stops with ValueError",
        },
    ),
}
