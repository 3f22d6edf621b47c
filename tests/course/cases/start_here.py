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


ANSWERS = {
    "mean": Answers(
        right=[by_numpy, number_by_number],
        wrong={
            total: "That is their sum",
            middle: "the median",
            one_too_few: "You divide by 2",
            smallest: "On paper",
            three_only: "right for three numbers",
            forgotten: "returns None",
        },
    ),
}
