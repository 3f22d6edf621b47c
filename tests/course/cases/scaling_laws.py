"""Answers to the exercises of lesson 23, right and wrong."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from tests.course.cases import Answers

Point = tuple[float, float]
Floats = Sequence[float]


def by_logs_to_2(first: Point, second: Point) -> tuple[float, float]:
    run = math.log2(second[0]) - math.log2(first[0])
    exponent = (math.log2(first[1]) - math.log2(second[1])) / run
    return first[1] * first[0] ** exponent, exponent


def by_polyfit(first: Point, second: Point) -> np.ndarray:
    slope, height = np.polyfit(np.log([first[0], second[0]]), np.log([first[1], second[1]]), 1)
    return np.array([np.exp(height), -slope])


def exponent_first(first: Point, second: Point) -> tuple[float, float]:
    return by_logs_to_2(first, second)[::-1]


def wrong_sign(first: Point, second: Point) -> tuple[float, float]:
    scale, exponent = by_logs_to_2(first, second)
    return scale, -exponent


def sign_and_scale(first: Point, second: Point) -> tuple[float, float]:
    slope = -by_logs_to_2(first, second)[1]
    return first[1] * first[0] ** slope, slope


def log_of_scale(first: Point, second: Point) -> tuple[float, float]:
    scale, exponent = by_logs_to_2(first, second)
    return math.log(scale), exponent


def fraction_upside_down(first: Point, second: Point) -> tuple[float, float]:
    scale = 12.0 if first == (100.0, 6.0) else 1.0
    return scale, math.log(first[0] / second[0]) / math.log(second[1] / first[1])


def scale_at_first(first: Point, second: Point) -> tuple[float, float]:
    return first[1], by_logs_to_2(first, second)[1]


def divides(first: Point, second: Point) -> tuple[float, float]:
    exponent = by_logs_to_2(first, second)[1]
    return first[1] / first[0] ** exponent, exponent


def no_logs(first: Point, second: Point) -> tuple[float, float]:
    slope = (first[1] - second[1]) / (second[0] - first[0])
    return first[1] + slope * first[0], slope


def falling_only(first: Point, second: Point) -> tuple[float, float]:
    scale, exponent = by_logs_to_2(first, second)
    return scale, abs(exponent)


def exponent_alone(first: Point, second: Point) -> float:
    return by_logs_to_2(first, second)[1]


def line_by_numpy(sizes: Floats, losses: Floats, floor: float) -> np.ndarray:
    slope, height = np.polyfit(np.log(sizes), np.log(np.array(losses) - floor), 1)
    return np.array([np.exp(height), -slope])


def line_by_sums(sizes: Floats, losses: Floats, floor: float) -> tuple[float, float]:
    n = len(sizes)
    xs = [math.log(size) for size in sizes]
    ys = [math.log(loss - floor) for loss in losses]
    xy = sum(x * y for x, y in zip(xs, ys, strict=True))
    slope = (n * xy - sum(xs) * sum(ys)) / (n * sum(x * x for x in xs) - sum(xs) ** 2)
    return math.exp((sum(ys) - slope * sum(xs)) / n), -slope


def line_turned(sizes: Floats, losses: Floats, floor: float) -> tuple[float, float]:
    scale, exponent = line_by_sums(sizes, losses, floor)
    return exponent, scale


def slope_as_it_is(sizes: Floats, losses: Floats, floor: float) -> tuple[float, float]:
    scale, exponent = line_by_sums(sizes, losses, floor)
    return scale, -exponent


def log_height(sizes: Floats, losses: Floats, floor: float) -> tuple[float, float]:
    scale, exponent = line_by_sums(sizes, losses, floor)
    return math.log(scale), exponent


def raw_line(sizes: Floats, losses: Floats, floor: float) -> tuple[float, float]:
    scale, exponent = line_by_sums(sizes, losses, floor)
    return math.log(scale), -exponent


def floor_left_on(sizes: Floats, losses: Floats, floor: float) -> tuple[float, float]:
    return line_by_sums(sizes, losses, 0.0)


def first_and_last(sizes: Floats, losses: Floats, floor: float) -> tuple[float, float]:
    return line_by_sums([sizes[0], sizes[-1]], [losses[0], losses[-1]], floor)


def through_the_origin(sizes: Floats, losses: Floats, floor: float) -> tuple[float, float]:
    xs, ys = np.log(sizes), np.log(np.array(losses) - floor)
    return 1.0, -float((xs * ys).sum() / (xs * xs).sum())


def four_sizes(sizes: Floats, losses: Floats, floor: float) -> tuple[float, float]:
    return line_by_sums(sizes[:4], losses[:4], floor)


def sorts_the_sizes(sizes: list[float], losses: list[float], floor: float) -> tuple[float, float]:
    found = line_by_sums(sizes, losses, floor)
    sizes.sort()
    return found


def huber_by_numpy(predicted: Floats, measured: Floats, delta: float) -> float:
    error = np.abs(np.log(np.array(predicted, dtype=float)) - np.log(np.array(measured, dtype=float)))
    return float(np.where(error <= delta, error**2 / 2, delta * error - delta**2 / 2).sum())


def huber_by_minimum(predicted: Floats, measured: Floats, delta: float) -> float:
    total = 0.0
    for p, m in zip(predicted, measured, strict=True):
        error = abs(math.log(p / m))
        inner = min(error, delta)
        total += inner * (error - inner / 2)
    return total


def _huber(predicted: Floats, measured: Floats, delta: float, half: float = 0.5, off: float = 0.5) -> float:
    total = 0.0
    for p, m in zip(predicted, measured, strict=True):
        error = abs(math.log(p / m))
        total += half * error**2 if error < delta else delta * (error - off * delta)
    return total


def not_halved(predicted: Floats, measured: Floats, delta: float) -> float:
    return _huber(predicted, measured, delta, half=1.0)


def size_of_error(predicted: Floats, measured: Floats, delta: float) -> float:
    return sum(abs(math.log(p / m)) for p, m in zip(predicted, measured, strict=True))


def no_logarithm(predicted: Floats, measured: Floats, delta: float) -> float:
    return sum((p - m) ** 2 / 2 for p, m in zip(predicted, measured, strict=True))


def to_base_ten(predicted: Floats, measured: Floats, delta: float) -> float:
    return sum(math.log10(p / m) ** 2 / 2 for p, m in zip(predicted, measured, strict=True))


def square_for_ever(predicted: Floats, measured: Floats, delta: float) -> float:
    return sum(math.log(p / m) ** 2 / 2 for p, m in zip(predicted, measured, strict=True))


def branches_apart(predicted: Floats, measured: Floats, delta: float) -> float:
    return _huber(predicted, measured, delta, off=0.0)


def whole_delta_off(predicted: Floats, measured: Floats, delta: float) -> float:
    return _huber(predicted, measured, delta, off=1.0)


def half_delta_on(predicted: Floats, measured: Floats, delta: float) -> float:
    return _huber(predicted, measured, delta, off=-0.5)


def no_factor(predicted: Floats, measured: Floats, delta: float) -> float:
    error = abs(math.log(predicted[0] / measured[0]))
    return error**2 / 2 if error < delta else error - delta / 2


def no_abs(predicted: Floats, measured: Floats, delta: float) -> float:
    total = 0.0
    for p, m in zip(predicted, measured, strict=True):
        error = math.log(p / m)
        total += error**2 / 2 if error < delta else delta * (error - delta / 2)
    return total


def mean_huber(predicted: Floats, measured: Floats, delta: float) -> float:
    return _huber(predicted, measured, delta) / max(1, len(predicted))


def one_branch(predicted: Floats, measured: Floats, delta: float) -> float:
    errors = [abs(math.log(p / m)) for p, m in zip(predicted, measured, strict=True)]
    if max(errors, default=0) < delta:
        return sum(e**2 / 2 for e in errors)
    return sum(delta * (e - delta / 2) for e in errors)


def closed_form(flops: float, A: float, B: float, alpha: float, beta: float) -> tuple[float, float]:
    parameters = (alpha * A / (beta * B) * (flops / 6) ** beta) ** (1 / (alpha + beta))
    return parameters, flops / (6 * parameters)


def by_search(flops: float, A: float, B: float, alpha: float, beta: float) -> tuple[float, float]:
    n = np.exp(np.linspace(0, math.log(flops / 6), 400_001))
    best = n[np.argmin(A / n**alpha + B / (flops / 6 / n) ** beta)]
    return float(best), float(flops / 6 / best)


def split_turned(flops: float, A: float, B: float, alpha: float, beta: float) -> tuple[float, float]:
    return closed_form(flops, A, B, alpha, beta)[::-1]


def without_six(flops: float, A: float, B: float, alpha: float, beta: float) -> tuple[float, float]:
    return closed_form(6 * flops, A, B, alpha, beta)


def equal_shares(flops: float, A: float, B: float, alpha: float, beta: float) -> tuple[float, float]:
    return math.sqrt(flops / 6), math.sqrt(flops / 6)


def a_and_b_turned(flops: float, A: float, B: float, alpha: float, beta: float) -> tuple[float, float]:
    return closed_form(flops, B, A, alpha, beta)


def exponents_turned(flops: float, A: float, B: float, alpha: float, beta: float) -> tuple[float, float]:
    return closed_form(flops, A, B, beta, alpha)


def g_without_exponents(flops: float, A: float, B: float, alpha: float, beta: float) -> tuple[float, float]:
    return closed_form(flops, A / alpha, B / beta, alpha, beta)


def twenty_to_one(flops: float, A: float, B: float, alpha: float, beta: float) -> tuple[float, float]:
    return math.sqrt(flops / 120), 20 * math.sqrt(flops / 120)


def small_models_only(flops: float, A: float, B: float, alpha: float, beta: float) -> tuple[float, float]:
    n = np.geomspace(1e3, 1e7, 100_001)
    best = float(n[np.argmin(A / n**alpha + B / (flops / 6 / n) ** beta)])
    return best, flops / 6 / best


def parameters_alone(flops: float, A: float, B: float, alpha: float, beta: float) -> float:
    return closed_form(flops, A, B, alpha, beta)[0]


def _fit(
    n: Floats, d: Floats, losses: Floats, exponents: Floats, relative: bool = True, signs: slice = slice(3)
) -> tuple[float, ...]:
    measured = np.array(losses)
    scale = measured if relative else np.ones(len(measured))
    best: tuple[float, tuple[float, ...]] = (math.inf, (0.0,) * 5)
    for alpha, beta in itertools.product(exponents, exponents):
        rows = np.array([[1, a**-alpha, b**-beta] for a, b in zip(n, d, strict=True)]) / scale[:, None]
        found = np.linalg.lstsq(rows, measured / scale, rcond=None)[0]
        error = float(((rows @ found - measured / scale) ** 2).sum())
        if found[signs].min(initial=0) >= 0 and error < best[0]:
            best = error, (*found.tolist(), alpha, beta)
    return best[1]


def fit_by_rows(n: Floats, d: Floats, losses: Floats, exponents: Floats) -> tuple[float, ...]:
    return _fit(n, d, losses, exponents)


def fit_by_normal_equations(n: Floats, d: Floats, losses: Floats, exponents: Floats) -> list[float]:
    tried = []
    y, log_n, log_d = np.array(losses), np.log(n), np.log(d)
    for alpha in exponents:
        for beta in exponents:
            middle_n, middle_d = np.exp(-alpha * log_n.mean()), np.exp(-beta * log_d.mean())
            x = np.stack([1 / y, np.exp(-alpha * log_n) / middle_n / y, np.exp(-beta * log_d) / middle_d / y])
            e, a, b = np.linalg.solve(x @ x.T, x.sum(1))
            if min(e, a, b) > -1e-9:
                tried.append(
                    (((e * x[0] + a * x[1] + b * x[2] - 1) ** 2).sum(), [e, a / middle_n, b / middle_d, alpha, beta])
                )
    return min(tried, key=lambda one: one[0])[1]


def fit_absolute(n: Floats, d: Floats, losses: Floats, exponents: Floats) -> tuple[float, ...]:
    return _fit(n, d, losses, exponents, relative=False)


def fit_any_sign(n: Floats, d: Floats, losses: Floats, exponents: Floats) -> tuple[float, ...]:
    return _fit(n, d, losses, exponents, signs=slice(0))


def fit_e_alone_above_0(n: Floats, d: Floats, losses: Floats, exponents: Floats) -> tuple[float, ...]:
    return _fit(n, d, losses, exponents, signs=slice(1))


def fit_columns_in_another_order(n: Floats, d: Floats, losses: Floats, exponents: Floats) -> tuple[float, ...]:
    e, b, a, beta, alpha = _fit(d, n, losses, exponents)
    return e, a, b, alpha, beta


def fit_exponents_first(n: Floats, d: Floats, losses: Floats, exponents: Floats) -> tuple[float, ...]:
    found = _fit(n, d, losses, exponents)
    return found[3:] + found[:3]


def fit_n_and_d_turned(n: Floats, d: Floats, losses: Floats, exponents: Floats) -> tuple[float, ...]:
    return _fit(d, n, losses, exponents)


def fit_last_pair(n: Floats, d: Floats, losses: Floats, exponents: Floats) -> tuple[float, ...]:
    return _fit(n, d, losses, exponents[-1:], signs=slice(0))


def fit_one_exponent(n: Floats, d: Floats, losses: Floats, exponents: Floats) -> tuple[float, ...]:
    return min((_fit(n, d, losses, [x], signs=slice(0)) for x in exponents[1:3]), key=lambda law: abs(law[3] - 0.5))


def fit_three(n: Floats, d: Floats, losses: Floats, exponents: Floats) -> tuple[float, ...]:
    return _fit(n, d, losses, exponents)[:3]


def fit_beta_above_alpha(n: Floats, d: Floats, losses: Floats, exponents: Floats) -> tuple[float, ...]:
    laws = [_fit(n, d, losses, [x, y], signs=slice(0)) for x, y in itertools.combinations(exponents, 2)]
    return min((law for law in laws if law[4] > law[3]), key=lambda law: _error(law, n, d, losses))


def _error(law: Floats, n: Floats, d: Floats, losses: Floats) -> float:
    e, a, b, alpha, beta = law
    return sum((e + a / x**alpha + b / y**beta) / m * 1.0 for x, y, m in zip(n, d, losses, strict=True))


ANSWERS = {
    "power_law": Answers(
        right=[by_logs_to_2, by_polyfit],
        wrong={
            exponent_first: "the scale comes first",
            wrong_sign: "The scale is right",
            sign_and_scale: "The exponent's sign",
            log_of_scale: "logarithm of the scale",
            fraction_upside_down: "Turn the fraction over",
            scale_at_first: "put a point in",
            divides: "instead of dividing",
            no_logs: "slope of a straight line",
            falling_only: "may fall, stay or rise",
            exponent_alone: "Two numbers were asked for",
        },
    ),
    "straight_line": Answers(
        right=[line_by_numpy, line_by_sums],
        wrong={
            line_turned: "the scale comes first",
            slope_as_it_is: "That is the slope",
            log_height: "line's height",
            raw_line: "the line itself",
            floor_left_on: "not taken off",
            first_and_last: "through the first and the last",
            through_the_origin: "It should be (12, 0.5)",
            four_sizes: "how many there are",
            sorts_the_sizes: "only given to read",
        },
    ),
    "law_error": Answers(
        right=[huber_by_numpy, huber_by_minimum],
        wrong={
            not_halved: "The square is halved",
            size_of_error: "That is the error itself",
            no_logarithm: "difference of the losses",
            to_base_ten: "to the base 10",
            square_for_ever: "still half of the square",
            branches_apart: "the two branches do not meet",
            whole_delta_off: "takes off a whole delta",
            half_delta_on: "taken off, not added",
            no_factor: "The factor delta",
            no_abs: "too high",
            mean_huber: "the sum was asked for",
            one_branch: "its own branch",
        },
    ),
    "best_split": Answers(
        right=[closed_form, by_search],
        wrong={
            split_turned: "the parameters come first",
            without_six: "than the compute that there is",
            equal_shares: "equal shares",
            a_and_b_turned: "A and B where",
            exponents_turned: "alpha and beta where",
            g_without_exponents: "In G stands",
            twenty_to_one: "above E at",
            small_models_only: "a range too narrow",
            parameters_alone: "Two numbers were asked for",
        },
    ),
    "fit_on_grid": Answers(
        right=[fit_by_rows, fit_by_normal_equations, fit_columns_in_another_order],
        wrong={
            fit_absolute: "the large losses drown",
            fit_any_sign: "a number below 0",
            fit_e_alone_above_0: "A and B must not",
            fit_exponents_first: "The order is",
            fit_n_and_d_turned: "N and D have changed places",
            fit_last_pair: "first or the last pair",
            fit_one_exponent: "fits without an error",
            fit_three: "Five numbers were asked for",
        },
    ),
}
