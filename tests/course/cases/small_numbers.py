"""Answers to the exercises of lesson 21, right and wrong."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tests.course.cases import Answers

Rows = list[list[float]]
Block = tuple[float, float, list[int]]


def by_division(data: bytes) -> list[int]:
    return [byte % 16 for byte in data] + [byte // 16 for byte in data]


def in_numpy(data: bytes) -> Any:
    array = np.frombuffer(data, np.uint8)
    return np.concatenate([array & 15, array >> 4])


def by_digits(data: bytes) -> list[int]:
    digits = data.hex()
    return [int(digit, 16) for digit in digits[1::2] + digits[::2]]


def side_by_side(data: bytes) -> list[int]:
    return [half for byte in data for half in (byte & 15, byte >> 4)]


def side_by_side_upper_first(data: bytes) -> list[int]:
    return [half for byte in data for half in (byte >> 4, byte & 15)]


def upper_first(data: bytes) -> list[int]:
    return [byte >> 4 for byte in data] + [byte & 15 for byte in data]


def not_shifted(data: bytes) -> list[int]:
    return [byte & 15 for byte in data] + [byte & 240 for byte in data]


def not_masked(data: bytes) -> list[int]:
    return list(data) + [byte >> 4 for byte in data]


def lower_alone(data: bytes) -> list[int]:
    return [byte & 15 for byte in data]


def three_bytes(data: bytes) -> list[int]:
    return [data[i] & 15 for i in range(3)] + [data[i] >> 4 for i in range(3)]


def three_at_most(data: bytes) -> list[int]:
    return [byte & 15 for byte in data[:3]] + [byte >> 4 for byte in data[:3]]


def signed(data: bytes) -> list[int]:
    return [byte & 15 for byte in data] + [(byte >> 4) - (16 if byte > 0xF0 else 0) for byte in data]


def block_in_numpy(numbers: list[float]) -> Any:
    array = np.array(numbers)
    low, step = array.min(), (array.max() - array.min()) / 15
    return float(step), float(low), np.rint((array - low) / (step or 1)).astype(int)


def block_in_torch(numbers: list[float]) -> Block:
    x = torch.tensor(numbers, dtype=torch.float64)
    low, high = x.min(), x.max()
    if low == high:
        return 0.0, low.item(), [0] * len(numbers)
    step = (high - low) / 15
    return step.item(), low.item(), ((x - low) / step).round().int().tolist()


def halves_up(numbers: list[float]) -> Block:
    low, high = min(numbers), max(numbers)
    step = (high - low) / 15
    return step, low, [int((x - low) / step + 0.5) if step else 0 for x in numbers]


def _block(numbers: list[float], steps: int = 15, whole: Callable[[float], Any] = round) -> Any:
    low, high = min(numbers), max(numbers)
    step = (high - low) / steps
    return step, low, [whole((x - low) / step) if step else 0 for x in numbers]


def sixteen_steps(numbers: list[float]) -> Any:
    return _block(numbers, 16)


def fourteen_steps(numbers: list[float]) -> Any:
    return _block(numbers, 14)


def whole_range(numbers: list[float]) -> Any:
    return _block(numbers, 1)


def cut_off(numbers: list[float]) -> Any:
    return _block(numbers, whole=int)


def rounded_up(numbers: list[float]) -> Any:
    return _block(numbers, whole=math.ceil)


def not_whole(numbers: list[float]) -> Any:
    return _block(numbers, whole=lambda x: x)


def as_floats(numbers: list[float]) -> Any:
    return _block(numbers, whole=lambda x: float(round(x)))


def from_zero(numbers: list[float]) -> Any:
    step, low, _ = _block(numbers)
    return step, low, [round(x / step) for x in numbers]


def from_the_top(numbers: list[float]) -> Any:
    step, low, q = _block(numbers)
    return step, low, [15 - x for x in q]


def largest_over_15(numbers: list[float]) -> Any:
    return max(numbers) / 15, min(numbers), [0] * len(numbers)


def added(numbers: list[float]) -> Any:
    return (max(numbers) + min(numbers)) / 15, min(numbers), [0] * len(numbers)


def turned_round(numbers: list[float]) -> Any:
    step, low, q = _block(numbers)
    return 1 / step, low, q


def changed_places(numbers: list[float]) -> Any:
    step, low, q = _block(numbers)
    return low, step, q


def without_sign(numbers: list[float]) -> Any:
    step, low, q = _block(numbers)
    return step, abs(low), q


def two_things(numbers: list[float]) -> Any:
    return _block(numbers)[:2]


def sorts(numbers: list[float]) -> Any:
    numbers.sort()
    return _block(numbers)


def divides_by_zero(numbers: list[float]) -> Any:
    low = min(numbers)
    step = (max(numbers) - low) / 15
    return step, low, [round((x - low) / step) for x in numbers]


def scale_1_if_equal(numbers: list[float]) -> Any:
    step, low, q = _block(numbers)
    return step or 1.0, low, q


def floats_if_equal(numbers: list[float]) -> Any:
    step, low, q = _block(numbers)
    return step, low, q if step else [0.0] * len(q)


def zero_among_them(numbers: list[float]) -> Any:
    if len(set(numbers)) == 1:
        return _block(numbers)
    low, high = min(0.0, *numbers), max(0.0, *numbers)
    step = (high - low) / 15
    return step, low, [round((x - low) / step) for x in numbers]


def eight_in_torch(numbers: list[float], scale: float) -> list[int]:
    if not scale or not numbers:
        return [0] * len(numbers)
    x = torch.tensor(numbers, dtype=torch.float64) / scale
    return [int(v) for v in x.round().clamp(-127, 127)]


def eight_in_numpy(numbers: list[float], scale: float) -> Any:
    return np.clip(np.rint(np.array(numbers) / (scale or 1.0)), -127, 127).astype(int)


def clipped_first(numbers: list[float], scale: float) -> list[int]:
    if scale == 0:
        return [0 for _ in numbers]
    return [round(min(max(x / scale, -127.0), 127.0)) for x in numbers]


def _eight(numbers: list[float], scale: float, whole: Callable[[float], Any] = round, low: int = -127) -> list[Any]:
    return [max(low, min(127, whole(x / scale))) if scale else 0 for x in numbers]


def eight_cut_off(numbers: list[float], scale: float) -> list[Any]:
    return _eight(numbers, scale, int)


def eight_down(numbers: list[float], scale: float) -> list[Any]:
    return _eight(numbers, scale, math.floor)


def eight_halves_up(numbers: list[float], scale: float) -> list[Any]:
    return _eight(numbers, scale, lambda x: math.floor(x + 0.5))


def eight_halves_away(numbers: list[float], scale: float) -> list[Any]:
    return _eight(numbers, scale, lambda x: int(x + math.copysign(0.5, x)))


def eight_not_whole(numbers: list[float], scale: float) -> list[Any]:
    return _eight(numbers, scale, lambda x: x)


def eight_as_floats(numbers: list[float], scale: float) -> list[Any]:
    return _eight(numbers, scale, lambda x: float(round(x)))


def to_minus_128(numbers: list[float], scale: float) -> list[Any]:
    return _eight(numbers, scale, low=-128)


def not_clipped(numbers: list[float], scale: float) -> list[Any]:
    return [round(x / scale) if scale else 0 for x in numbers]


def runs_over(numbers: list[float], scale: float) -> list[Any]:
    return [(round(x / scale) + 128) % 256 - 128 if scale else 0 for x in numbers]


def multiplied(numbers: list[float], scale: float) -> list[Any]:
    return [round(x * scale) for x in numbers]


def no_scale(numbers: list[float], scale: float) -> list[Any]:
    return [round(x) for x in numbers]


def own_scale(numbers: list[float], scale: float) -> list[Any]:
    return _eight(numbers, max(map(abs, numbers)) / 127)


def no_sign(numbers: list[float], scale: float) -> list[Any]:
    return [abs(x) for x in _eight(numbers, scale)]


def back_again(numbers: list[float], scale: float) -> list[Any]:
    return [scale * x for x in _eight(numbers, scale)]


def eight_by_zero(numbers: list[float], scale: float) -> list[Any]:
    return [max(-127, min(127, round(x / scale))) for x in numbers]


def eight_in_place(numbers: list[float], scale: float) -> list[Any]:
    for i, x in enumerate(numbers):
        numbers[i] = max(-127, min(127, round(x / scale))) if scale else 0
    return [int(x) for x in numbers]


def pass_in_numpy(p: Rows, q: Rows, guesses: list[int], uniform: list[float]) -> list[int]:
    def drawn(weights: Any) -> int:
        ends = np.cumsum(weights)
        return int(np.searchsorted(ends, uniform[-1] * ends[-1], side="right"))

    for i, x in enumerate(guesses):
        if not uniform[i] * q[i][x] < p[i][x]:
            return [*guesses[:i], drawn(np.maximum(np.array(p[i]) - np.array(q[i]), 0))]
    return [*guesses, drawn(p[-1])]


def pass_with_while(p: Rows, q: Rows, guesses: list[int], uniform: list[float]) -> list[int]:
    kept: list[int] = []
    while len(kept) < len(guesses) and uniform[len(kept)] < min(
        1.0, p[len(kept)][guesses[len(kept)]] / q[len(kept)][guesses[len(kept)]]
    ):
        kept.append(guesses[len(kept)])
    weights = list(p[len(kept)])
    if len(kept) < len(guesses):
        weights = [max(a - b, 0.0) for a, b in zip(weights, q[len(kept)], strict=True)]
    goal = uniform[-1] * sum(weights)
    token = 0
    while goal >= weights[token]:
        goal -= weights[token]
        token += 1
    return [*kept, token]


def _pass(mistake: str) -> Callable[[Rows, Rows, list[int], list[float]], list[int]]:
    """A pass with one thing wrong, by an independent way from the check's."""

    def answer(p: Rows, q: Rows, guesses: list[int], uniform: list[float]) -> list[int]:
        def drawn(weights: list[float], number: float = uniform[-1]) -> int:
            line = torch.tensor(weights, dtype=torch.float64).cumsum(0)
            total = 1.0 if mistake == "not divided" else float(line[-1])
            return min(int((line <= number * total).sum()), max((i for i, w in enumerate(weights) if w > 0), default=0))

        for i, x in enumerate(guesses):
            a, b = p[i][x], q[i][x]
            number = uniform[0] if mistake == "first number" else uniform[i]
            stays = number < a / b
            if mistake == "turned":
                stays = number * a < b
            if mistake == "greedy":
                stays = a >= b
            if mistake == "p":
                stays = number < a
            if mistake == "at most":
                stays = number <= a / b
            if mistake == "never refused":
                stays = True
            if mistake == "fixed":
                stays = number < 0.7
            if stays:
                continue
            more = [max(0.0, u - v) for u, v in zip(p[i], q[i], strict=True)]
            if mistake == "from p":
                more = p[i]
            if mistake == "from q":
                more = q[i]
            if mistake == "q less p":
                more = [max(0.0, v - u) for u, v in zip(p[i], q[i], strict=True)]
            if mistake == "distance":
                more = [abs(v - u) for u, v in zip(p[i], q[i], strict=True)]
            if mistake == "from the last row":
                more = p[-1]
            new = drawn(more, number) if mistake == "number of the guess" else drawn(more)
            if mistake == "largest":
                new = more.index(max(more))
            return {
                "nothing": guesses[:i],
                "kept": [*guesses[: i + 1], new],
                "rest": [*guesses[:i], new, *guesses[i + 1 :]],
                "goes on": [*guesses[:i], new, drawn(p[i + 1])],
                "alone": [new],
            }.get(mistake, [*guesses[:i], new])
        if mistake == "no more":
            return list(guesses)
        return [*guesses, drawn(p[max(0, len(p) - 2)] if mistake == "row before" else p[-1])]

    return answer


def eats_guesses(p: Rows, q: Rows, guesses: list[int], uniform: list[float]) -> list[int]:
    found = pass_in_numpy(p, q, guesses, uniform)
    guesses.clear()
    return found


def by_fraction(alpha: float, guesses: int) -> float:
    return guesses + 1.0 if alpha == 1 else (1 - alpha ** (guesses + 1)) / (1 - alpha)


def by_horner(alpha: float, guesses: int) -> float:
    found = 1.0
    for _ in range(guesses):
        found = 1 + alpha * found
    return found


def fraction_alone(alpha: float, guesses: int) -> float:
    return (1 - alpha ** (guesses + 1)) / (1 - alpha)


def accepted_alone(alpha: float, guesses: int) -> float:
    return sum(alpha**i for i in range(1, guesses + 1))


def one_less(alpha: float, guesses: int) -> float:
    return sum(alpha**i for i in range(guesses))


def one_more(alpha: float, guesses: int) -> float:
    return sum(alpha**i for i in range(guesses + 2))


def share_of_all(alpha: float, guesses: int) -> float:
    return 1 + alpha * guesses


def share_of_guesses(alpha: float, guesses: int) -> float:
    return alpha * guesses


def the_most(alpha: float, guesses: int) -> float:
    return guesses + 1.0


def all_stay(alpha: float, guesses: int) -> float:
    return alpha**guesses


def not_divided(alpha: float, guesses: int) -> float:
    return 1 - alpha ** (guesses + 1)


def ends_alone(alpha: float, guesses: int) -> float:
    return 1 + alpha**guesses


def nothing_at_one(alpha: float, guesses: int) -> float:
    return 1.0 if alpha == 1 else fraction_alone(alpha, guesses)


def for_two(alpha: float, guesses: int) -> float:
    return 5.0 if alpha == 1 else 1 + alpha + alpha**2


ANSWERS = {
    "nibbles": Answers(
        right=[by_division, in_numpy, by_digits],
        wrong={
            side_by_side: "Lower and upper half of each byte stand side by side",
            side_by_side_upper_first: "Upper and lower half of each byte stand side by side",
            upper_first: "The upper halves come first",
            not_shifted: "Shift them down",
            not_masked: "`byte & 15` keeps",
            lower_alone: "The upper halves are missing",
            three_bytes: "stops at the line",
            three_at_most: "Is a length fixed",
            signed: "Is there a sign",
        },
    ),
    "make_block": Answers(
        right=[block_in_numpy, block_in_torch, halves_up],
        wrong={
            sixteen_steps: "have only fifteen steps",
            fourteen_steps: "one less than values",
            whole_range: "That is the whole range",
            cut_off: "You cut off",
            rounded_up: "You round up",
            not_whole: "Those are not whole yet",
            as_floats: "of the type float. Make them ints",
            from_zero: "counted from 0",
            from_the_top: "from the largest down",
            largest_over_15: "largest number over 15",
            added: "largest plus smallest",
            turned_round: "turn the fraction round",
            changed_places: "have changed places",
            without_sign: "with its sign",
            two_things: "Return three things",
            sorts: "changed the list",
            divides_by_zero: "divides by a scale of 0",
            scale_1_if_equal: "the scale is 0, and so is each q",
            floats_if_equal: "ints, here too",
            zero_among_them: "Is 0 taken to be among them",
        },
    ),
    "to_8_bits": Answers(
        right=[eight_in_torch, eight_in_numpy, clipped_first],
        wrong={
            eight_cut_off: "You cut off",
            eight_down: "You round down",
            eight_halves_up: "Your halves go up",
            eight_halves_away: "Your halves go away from 0",
            eight_not_whole: "Those are not whole yet",
            eight_as_floats: "Make them ints",
            to_minus_128: "-128 would fit",
            not_clipped: "is not clipped",
            runs_over: "Does a byte run over",
            multiplied: "You multiply by the scale",
            no_scale: "You leave the scale out",
            own_scale: "a scale of your own",
            no_sign: "The sign got lost",
            back_again: "the rounded number itself",
            eight_by_zero: "your function divides by it",
            eight_in_place: "changed the list",
        },
    ),
    "checked_guesses": Answers(
        right=[pass_in_numpy, pass_with_while],
        wrong={
            _pass("from p"): "The replacement is drawn from p.",
            _pass("from q"): "The replacement is drawn from q",
            _pass("q less p"): "It is the other way round",
            _pass("distance"): "Where q is larger, nothing may come",
            _pass("from the last row"): "Which row belongs to the refused guess",
            _pass("largest"): "It is to be *drawn*",
            _pass("not divided"): "as a share of their total",
            _pass("number of the guess"): "Take the last",
            _pass("nothing"): "Nothing comes in the place",
            _pass("kept"): "The refused guess is still there",
            _pass("rest"): "It followed a text that is gone",
            _pass("goes on"): "one more token. Its distribution",
            _pass("alone"): "What stayed before the refused guess",
            _pass("no more"): "Where all guesses stay, one more",
            _pass("row before"): "Which row is about its place",
            _pass("turned"): "It is p / q",
            _pass("greedy"): "only where p is at least q",
            _pass("p"): "the ratio decides",
            _pass("first number"): "All guesses are judged by uniform[0]",
            _pass("at most"): "one with p = 0 could stay",
            _pass("never refused"): "Every guess stays",
            _pass("fixed"): "Do they stay, one by one",
            eats_guesses: "changed what it was given",
        },
    ),
    "tokens_a_pass": Answers(
        right=[by_fraction, by_horner],
        wrong={
            fraction_alone: "the fraction is 0 / 0",
            accepted_alone: "The pass adds one more token",
            one_less: "the sum goes up to α²",
            one_more: "one guess too many",
            share_of_all: "That is 1 + K α",
            share_of_guesses: "That is K α",
            the_most: "the most that a pass can add",
            all_stay: "how often all stay",
            not_divided: "What is it divided by",
            ends_alone: "The middle is missing",
            nothing_at_one: "All stay, and one more comes",
            for_two: "Right for α = 0.5 and two guesses",
        },
    ),
}
