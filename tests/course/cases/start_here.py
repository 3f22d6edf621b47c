"""Answers to the exercise of the page on which a learner begins."""

import statistics

import numpy as np

from tests.course.cases import Answers


def by_numpy(values: list[float]) -> float:
    return float(np.mean(values))


def number_by_number(values: list[float]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


def total(values: list[float]) -> float:
    return sum(values)


def middle(values: list[float]) -> float:
    return statistics.median(values)


def one_too_few(values: list[float]) -> float:
    return sum(values) / (len(values) - 1)


def smallest(values: list[float]) -> float:
    return min(values)


def three_only(values: list[float]) -> float:
    return sum(values) / 3


def forgotten(values: list[float]) -> float:  # type: ignore[return]
    sum(values) / len(values)


def by_statistics(values: list[float]) -> float:
    return statistics.fmean(values)


def whole_numbers(values: list[float]) -> float:
    return sum(values) // len(values)


def rounded(values: list[float]) -> float:
    return round(sum(values) / len(values), 1)


def each_value_once(values: list[float]) -> float:
    return sum(set(values)) / len(set(values))


def eats_the_list(values: list[float]) -> float:
    n, rest = len(values), 0.0
    while values:
        rest += values.pop()
    return rest / n


def absolute(values: list[float]) -> float:
    return sum(map(abs, values)) / len(values)


ANSWERS = {
    "mean": Answers(
        right=[by_numpy, number_by_number, by_statistics],
        wrong={
            total: "That is their sum",
            middle: "the median",
            one_too_few: "You divide by 2",
            smallest: "On paper",
            three_only: "right for three numbers",
            forgotten: "returns None",
            whole_numbers: "What does 3 // 2 give",
            rounded: "you return 1.7 instead of 5/3",
            absolute: "you return 2.3333333333333335 instead of 5/3",
            each_value_once: "How often do you count it?",
            eats_the_list: "Can you leave it alone?",
        },
    ),
}
