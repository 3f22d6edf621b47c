"""The checks of lesson 23, scaling laws."""

import math
from collections.abc import Callable, Sequence

from minigpt.course.exercise import Exercise, close

Point = tuple[float, float]
Floats = Sequence[float]


def _two(got: object, names: str) -> tuple[float, float] | str:
    """Two numbers, or the hint that they are none."""
    try:
        first, second = (float(x) for x in got)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return f"Two numbers were asked for: {names}."
    return first, second


SLOW = math.log(7 / 5) / math.log(11 / 3)


@Exercise
def power_law(answer: Callable[[Point, Point], tuple[float, float]]) -> str | None:
    """The power law through two points."""
    got = answer((100.0, 6.0), (10_000.0, 0.6))  # 60 / x^0.5
    came = f"For the points (100, 6) and (10000, 0.6) you return {got}."
    pair = _two(got, "the scale, then the exponent")
    if isinstance(pair, str):
        return f"{came} {pair}"
    scale, exponent = pair
    mistakes = {
        (60.0, 0.5): "",
        (0.5, 60.0): "They have changed places: the scale comes first.",
        (60.0, -0.5): "The scale is right. In y = scale / x^exponent a y that falls has an exponent above 0.",
        (0.6, -0.5): "The exponent's sign: in y = scale / x^exponent a y that falls has one above 0.",
        (math.log(60), 0.5): "That is the logarithm of the scale.",
        (math.log10(60), 0.5): "That is the logarithm of the scale.",
        (12.0, 2.0): "Turn the fraction over: how many factors of ten has y fallen for each factor of ten in x?",
        (6.0, 0.5): "The exponent is right. The scale is y at x = 1, and not at the first point: put a point in.",
        (0.6, 0.5): "The exponent is right. The scale is y at x = 1: multiply by x^exponent instead of dividing.",
    }
    for wrong, hint in mistakes.items():
        if close([scale, exponent], wrong) and hint:
            return f"{came} {hint}"
    if close(exponent, 5.4 / 9900) or close(exponent, -5.4 / 9900):
        return f"{came} That is the slope of a straight line. Take logarithms of both x and y first."
    if not close([scale, exponent], (60.0, 0.5)):
        return f"{came} By hand: x grows 100 times and y falls 10 times, 100^0.5 = 10; and 6 · 100^0.5 = 60."
    for first, second, right in (
        ((1.0, 8.0), (16.0, 1.0), (8.0, 0.75)),
        ((16.0, 1.0), (1.0, 8.0), (8.0, 0.75)),
        ((2.0, 3.0), (50.0, 3.0), (3.0, 0.0)),
        ((2.0, 3.0), (4.0, 12.0), (0.75, -2.0)),
        ((3.0, 7.0), (11.0, 5.0), (7 * 3**SLOW, SLOW)),
    ):
        if not close(list(answer(first, second)), right):
            return (
                f"Right for those two. For {first} and {second} you return {answer(first, second)} instead of {right}: "
                "the points come in any order, and y may fall, stay or rise."
            )
    return None


SIZES, FLOOR = (1e3, 1e4, 1e5, 1e6), 0.25
LOSSES = (2.25, 1.45, 0.55, 0.50)  # not on one line: ends alone, or a fit of the losses themselves, differ


def _line(sizes: Floats, losses: Floats, floor: float) -> tuple[float, float]:
    xs, ys = [math.log(n) for n in sizes], [math.log(loss - floor) for loss in losses]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / sum((x - mean_x) ** 2 for x in xs)
    return math.exp(mean_y - slope * mean_x), -slope


@Exercise
def straight_line(answer: Callable[[Floats, Floats, float], tuple[float, float]]) -> str | None:
    """Least squares of ln(loss - floor) over ln size."""
    exact = [0.3 + 12 / n**0.5 for n in SIZES]
    got = answer(list(SIZES), list(exact), 0.3)
    came = f"For four losses 0.3 + 12 / size^0.5 and the floor 0.3 you return {got}."
    pair = _two(got, "the scale, then the exponent")
    if isinstance(pair, str):
        return f"{came} {pair}"
    scale, exponent = pair
    without = _line(SIZES, exact, 0.0)
    for wrong, hint in (
        ((0.5, 12.0), "They have changed places: the scale comes first."),
        ((12.0, -0.5), "That is the slope. A line that falls has an exponent above 0."),
        ((math.log(12), 0.5), "The line's height at ln size = 0 is the *logarithm* of the scale."),
        ((math.log(12), -0.5), "That is the line itself: its slope, and the logarithm of the scale."),
        (without, "The floor was not taken off: it is loss - floor that is a power law."),
        ((without[0], -without[1]), "The floor was not taken off: it is loss - floor that is a power law."),
    ):
        if close([scale, exponent], wrong):
            return f"{came} {hint}"
    if not close([scale, exponent], (12.0, 0.5)):
        return f"{came} It should be (12, 0.5): a line through ln(loss - floor) over ln size; e^height is the scale."
    right, ends = _line(SIZES, LOSSES, FLOOR), _line((SIZES[0], SIZES[-1]), (LOSSES[0], LOSSES[-1]), FLOOR)
    got = answer(list(SIZES), list(LOSSES), FLOOR)
    came = f"Right for points on one line. For the losses {LOSSES} and the floor {FLOOR} you return {got}"
    if close(list(got), ends):
        return f"{came}: that is the line through the first and the last. All points have a say in least squares."
    if not close(list(got), right, 1e-5):
        return f"{came} instead of ({right[0]:.4f}, {right[1]:.4f}): not the smallest sum of squares."
    more = (20.0, 70.0, 500.0, 900.0, 4000.0), (3.0, 2.2, 1.0, 1.1, 0.9), 0.1
    if not close(list(answer(list(more[0]), list(more[1]), more[2])), _line(*more), 1e-5):
        return f"Right for four sizes. For {more[0]} it is not: do your sums know how many there are?"
    sizes, losses = [1e3, 1e5, 1e4], [2.0, 0.7, 1.0]
    answer(sizes, losses, 0.1)
    if (sizes, losses) != ([1e3, 1e5, 1e4], [2.0, 0.7, 1.0]):
        return f"Right, but afterwards the caller's lists are {sizes} and {losses}. They were only given to read."
    if not close(list(answer(sizes, losses, 0.1)), _line(sizes, losses, 0.1)):
        return "Right for sizes that rise. For sizes in any order it is not."
    return None


def _huber(predicted: Floats, measured: Floats, delta: float) -> float:
    total = 0.0
    for p, m in zip(predicted, measured, strict=True):
        error = abs(math.log(p) - math.log(m))
        total += error**2 / 2 if error < delta else delta * (error - delta / 2)
    return total


@Exercise
def law_error(answer: Callable[[Floats, Floats, float], float]) -> str | None:
    """The sum of Huber's loss of the differences of logarithms."""
    e = math.e
    near = float(answer([e**0.05], [1.0], 0.1))  # an error of 0.05 within 0.1
    came = f"For one prediction e^0.05, the loss 1 and delta 0.1 you return {near:.6g}."
    for wrong, hint in (
        (0.05**2, "The square is halved."),
        (0.1 * (0.05 - 0.05), "That is the outer branch. An error of 0.05 is nearer than delta."),
        (0.05, "That is the error itself. Within delta it counts by half of its square."),
        ((e**0.05 - 1) ** 2 / 2, "That is the difference of the losses. Take it of their logarithms."),
        (-0.05, "That is the error itself. Within delta it counts by half of its square."),
        (0.1 * 0.05 - 0.005, "That is the outer branch. An error of 0.05 is nearer than delta."),
        ((0.05 / math.log(10)) ** 2 / 2, "That is the logarithm to the base 10. Here it is the natural one."),
    ):
        if close(near, wrong, 1e-9):
            return f"{came} {hint}"
    if not close(near, 0.00125, 1e-9):
        return f"{came} By hand: half of 0.05 squared is 0.00125."
    far = float(answer([e], [1.0], 0.1))
    came = f"Right for a small error. For the prediction e, the loss 1 and delta 0.1 you return {far:.6g}."
    for wrong, hint in (
        (0.5, "That is still half of the square. Beyond delta the error counts by its size."),
        (0.1, "Half of delta is to be taken off the error first, or the two branches do not meet."),
        (0.095 / 0.1, "The factor delta is missing."),
        (0.09, "That takes off a whole delta. Half of it joins the branches."),
        (0.1 * 1.05, "Half of delta is taken off, not added."),
    ):
        if close(far, wrong, 1e-9):
            return f"{came} {hint}"
    if not close(far, 0.095, 1e-9):
        return f"{came} By hand: 0.1 · (1 - 0.05) = 0.095."
    if not close(below := float(answer([1.0], [e], 0.1)), 0.095, 1e-9):
        return (
            f"Right for predictions that are too high. For the prediction 1 and the loss e you return {below:.6g}: "
            "take the size of the error."
        )
    several = [2.0, 1.0, 0.5, 3.0], [2.1, 1.7, 0.52, 1.5], 0.06
    got = float(answer(list(several[0]), list(several[1]), several[2]))
    if close(got, _huber(*several) / 4, 1e-9):
        return f"Right for one run. For four runs you return {got:.6g}: that is the mean, and the sum was asked for."
    if not close(got, _huber(*several), 1e-9):
        return (
            f"Right for one run. For the runs {several} you return {got:.6g} instead of {_huber(*several):.6g}: "
            "each run has its own branch."
        )
    handed = [2.0, 1.0], [1.0, 2.0]
    answer(*handed, 0.1)
    if handed != ([2.0, 1.0], [1.0, 2.0]):
        return (
            f"Right, but afterwards the caller's lists are {handed[0]} and {handed[1]}. They were only given to read."
        )
    for case in (([], [], 0.1), ([1.5], [1.5], 0.1), ([1.1, 0.9], [1.0, 1.0], 1e-3), ([4.0] * 30, [2.0] * 30, 1.0)):
        if not close(got := float(answer(list(case[0]), list(case[1]), case[2])), _huber(*case), 1e-9):
            return (
                f"Right for four runs. For {len(case[0])} runs that begin {case[0][:2]}, {case[1][:2]} and delta "
                f"{case[2]} you return {got:.6g} instead of {_huber(*case):.6g}."
            )
    return None


def _best(flops: float, a: float, b: float, alpha: float, beta: float) -> tuple[float, float]:
    g = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    n = g * (flops / 6) ** (beta / (alpha + beta))
    return n, flops / 6 / n


@Exercise
def best_split(answer: Callable[[float, float, float, float, float], tuple[float, float]]) -> str | None:
    """Parameters and tokens of the smallest loss for a given compute."""
    case = (6e12, 300.0, 2000.0, 0.4, 0.6)
    right, got = _best(*case), answer(*case)
    came = f"For 6e12 FLOPs, A 300, B 2000, alpha 0.4 and beta 0.6 you return {got}."
    pair = _two(got, "the parameters, then the tokens")
    if isinstance(pair, str):
        return f"{came} {pair}"
    n, d = pair
    if n <= 0 or d <= 0:
        return f"{came} Neither can be below 0."
    if close([math.log(n), math.log(d)], [math.log(right[1]), math.log(right[0])], 2e-3):
        return f"{came} They have changed places: the parameters come first."
    if not close(math.log(6 * n * d), math.log(6e12), 1e-3):
        return (
            f"{came} 6 · {n:.4g} · {d:.4g} = {6 * n * d:.3g}: that is "
            f"{'more' if 6 * n * d > 6e12 else 'less'} than the compute that there is."
        )
    if close(n, d, 1e-3):
        return f"{came} Those are equal shares. What the loss gains from each differs: A, B and the exponents say it."
    a, b, alpha, beta = case[1:]
    if not close(math.log(n), math.log(right[0]), 2e-3):
        mine, best = (a / x**alpha + b / y**beta for x, y in (pair, right))
        for wrong, hint in (
            (_best(6e12, b, a, alpha, beta), "Are A and B where they belong?"),
            (_best(6e12, a, b, beta, alpha), "Are alpha and beta where they belong?"),
            (_best(6e12, a / alpha, b / beta, alpha, beta), "In G stands alpha A / (beta B), and not A / B."),
        ):
            if close(math.log(n), math.log(wrong[0]), 2e-3):
                return f"{came} {hint} The best loss is {best:.4f} above E, and yours {mine:.4f}."
        return (
            f"{came} There is a smaller loss for this compute: {best:.4f} above E at {right[0]:.4g} parameters, "
            f"and yours is {mine:.4f}."
        )
    for other in ((6e20, 406.4, 410.7, 0.34, 0.28), (1.2e13, 50.0, 50.0, 0.5, 0.5), (6e9, 20.0, 900.0, 0.3, 0.7)):
        (n, d), right = answer(*other), _best(*other)
        if not close([math.log(float(n)), math.log(float(d))], [math.log(x) for x in right], 2e-3):
            return (
                f"Right for 6e12 FLOPs. For {other} you return ({float(n):.4g}, {float(d):.4g}) instead of "
                f"({right[0]:.4g}, {right[1]:.4g}). Is a number fixed, or a range too narrow?"
            )
    return None


def _law(case: tuple[float, ...], n: float, d: float) -> float:
    e, a, b, alpha, beta = case
    return e + a / n**alpha + b / d**beta


@Exercise
def fit_on_grid(answer: Callable[[Floats, Floats, Floats, Floats], tuple[float, ...]]) -> str | None:
    """The five numbers of the law: the exponents from a list, the rest by least squares."""
    sizes, lengths, exponents = (1e4, 1e5, 1e6), (2e5, 1e6, 5e6), [0.3, 0.4, 0.5, 0.6]
    n = [size for size in sizes for _ in lengths]
    d = [length for _ in sizes for length in lengths]

    def close_to(got: object, law: Floats, tolerance: float = 1e-4) -> bool:
        """Relative, because A and B have any size."""
        try:
            values = [float(x) for x in got]  # type: ignore[attr-defined]
        except (TypeError, ValueError):
            return False
        return len(values) == 5 and all(
            abs(mine - true) <= tolerance * max(abs(true), 1e-2) for mine, true in zip(values, law, strict=True)
        )

    law = (0.25, 120.0, 900.0, 0.5, 0.6)
    exact = [_law(law, *run) for run in zip(n, d, strict=True)]
    handed = list(n), list(d), list(exact), list(exponents)
    got = answer(*handed)
    came = f"For nine losses made with E, A, B, alpha, beta = {law} you return {got}."
    if not hasattr(got, "__len__") or len(got) != 5:
        return f"{came} Five numbers were asked for: E, A, B, alpha, beta."
    e, a, b, alpha, beta = law
    for wrong, hint in (
        ((alpha, beta, e, a, b), "The order is E, A, B, alpha, beta."),
        ((e, b, a, beta, alpha), "N and D have changed places."),
        ((e, a, b, beta, alpha), "alpha belongs to N and comes before beta."),
        ((e, a, b, -alpha, -beta), "The exponents' signs: they are those of 1 / N^alpha."),
    ):
        if close_to(got, wrong):
            return f"{came} {hint}"
    if not close_to(got, law):
        if not {round(float(got[3]), 6), round(float(got[4]), 6)} <= set(exponents):
            return f"{came} The exponents must be two of {exponents}."
        if (got[3], got[4]) == (0.3, 0.3) or (got[3], got[4]) == (0.6, 0.6):
            return f"{came} That is the first or the last pair of exponents: keep the one with the smallest sum."
        return f"{came} Only the pair (0.5, 0.6) fits without an error: are all pairs tried, and the smallest sum kept?"
    for law in ((0.4, 30.0, 400.0, 0.3, 0.4), (0.25, 60.0, 300.0, 0.6, 0.3), (0.05, 90.0, 90.0, 0.4, 0.5)):
        got = answer(list(n), list(d), [_law(law, *run) for run in zip(n, d, strict=True)], list(exponents))
        if not close_to(got, law):
            return f"Right for one law. For losses made with {law} you return {got}."
    if handed != (n, d, exact, exponents):
        return "Right, but afterwards the caller's lists are changed. They were only given to read."
    # Errors that are relative: the same noise on a large and a small loss.
    law, noise = (0.25, 120.0, 900.0, 0.5, 0.6), (0.04, -0.03, 0.05, -0.05, 0.02, -0.04, 0.03, 0.05, -0.02)
    noisy = [_law(law, *run) * (1 + z) for run, z in zip(zip(n, d, strict=True), noise, strict=True)]
    got = answer(list(n), list(d), list(noisy), list(exponents))
    right = _grid(n, d, noisy, exponents, relative=True)
    if close_to(got, _grid(n, d, noisy, exponents, relative=False)) and not close_to(got, right):
        return (
            "Right for losses without an error. With errors you minimise the squares of L predicted - L measured, and "
            "the large losses drown the small. Divide each row by its measured loss."
        )
    if not close_to(got, right, 1e-3):
        return f"Right for losses without an error. With errors you return {got} instead of {right}."
    # Errors with which the best pair needs E below 0.
    law, noise = (0.0, 120.0, 900.0, 0.5, 0.6), (0.05, 0.02, 0.0, -0.03, -0.02, -0.06, -0.06, -0.06, -0.04)
    noisy = [_law(law, *run) * (1 + z) for run, z in zip(zip(n, d, strict=True), noise, strict=True)]
    got = answer(list(n), list(d), list(noisy), list(exponents))
    if not close_to(got, _grid(n, d, noisy, exponents, relative=True), 1e-3):
        return f"Right where all pairs make sense. Elsewhere you return {got}. Skip pairs that need a number below 0."
    # Errors with which the best pair needs B below 0, and not E.
    law, noise = (0.1, 120.0, 5.0, 0.5, 0.4), (-0.07, 0.05, 0.07, 0.04, 0.09, 0.0, -0.09, 0.0, 0.03)
    noisy = [_law(law, *run) * (1 + z) for run, z in zip(zip(n, d, strict=True), noise, strict=True)]
    got = answer(list(n), list(d), list(noisy), list(exponents))
    if not close_to(got, _grid(n, d, noisy, exponents, relative=True), 1e-3):
        return f"Right where E would be below 0. Elsewhere you return {got}. A and B must not be below 0 either."
    for seed in range(3):  # other errors, so that no pair is kept by luck
        noisy = [_law(law, *run) * (1 + 0.08 * math.sin(9 * i + seed)) for i, run in enumerate(zip(n, d, strict=True))]
        if not close_to(answer(list(n), list(d), noisy, exponents), _grid(n, d, noisy, exponents, relative=True), 1e-6):
            return "Right for some errors. For others another pair is kept: is it the one with the smallest sum?"
    return None


def _grid(
    n: Floats, d: Floats, losses: Floats, exponents: Floats, relative: bool, signs: bool = True
) -> tuple[float, ...]:
    import numpy as np

    best, found = math.inf, tuple[float, ...]()
    measured = np.array(losses)
    scale = measured if relative else np.ones(len(measured))
    for alpha in exponents:
        for beta in exponents:
            columns = np.stack([np.ones(len(n)), np.array(n) ** -alpha, np.array(d) ** -beta], axis=1)
            rows, target = columns / scale[:, None], measured / scale
            fitted = np.linalg.lstsq(rows, target, rcond=None)[0]
            error = float(((rows @ fitted - target) ** 2).sum())
            if error < best and (not signs or fitted.min() >= 0):
                best, found = error, (*map(float, fitted), alpha, beta)
    return found
