"""The checks of lesson 25, limits."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from minigpt.course import canaries
from minigpt.course.exercise import Exercise, close


@Exercise
def exposure_of(answer: Callable[[Sequence[float], int], float]) -> str | None:
    """Exposure from the log-probabilities of all possible secrets."""
    eight = [-4.1, -2.3, -3.0, -0.9, -5.2, -2.8, -3.3, -4.0]
    got = float(answer(list(eight), 5))
    came = f"For the eight codes of the lesson and the secret 5 you return {got:.4g}."
    mistakes = {
        3.0: "That is log2 of 8 alone. Which rank does the secret have?",
        math.log2(3): "That is log2 of the rank. It is taken away from log2 of the number of codes.",
        math.log2(8) - math.log2(6): "That ranks the least likely first, or counts those that are less likely.",
        math.log2(8) - 1: "That has rank 2: ranks begin with 1, and two codes are more likely than this one.",
        math.log(8) - math.log(3): "That is in nats: exposure is in bits, with log2.",
        math.log10(8 / 3): "That is to the base 10: exposure is in bits, with log2.",
        8 / 3: "That is the ratio of number and rank. Exposure is its log2.",
        5.0: "That is number minus rank. Exposure takes the log2 of each.",
        -2.8: "That is the log-probability of the secret. Exposure looks at its rank only.",
        2.8 / math.log(2): "That is the secret's surprise in bits. Exposure looks at its rank only.",
    }
    for value, hint in mistakes.items():
        if close(got, value):
            return f"{came} {hint}"
    if not close(got, math.log2(8 / 3)):
        return f"{came} By hand: two codes are more likely, so its rank is 3, and log2(8) - log2(3) = 1.415."
    thousand = [-(((i * 7919) % 1000) / 100) for i in range(1000)]  # every rank once
    cases = (
        (eight, 3, 3.0, "It is the likeliest of eight: rank 1."),
        (eight, 4, 0.0, "It is the last of eight."),
        (eight, 0, math.log2(8 / 7), "Only the code 4 is less likely."),
        ([-1.0], 0, 0.0, "There is only one secret that it could be."),
        ([-2.0, -1.0, -2.0, -2.0], 2, 1.0, "Of equals, only what is *more* likely stands before it: rank 2."),
        ([-2.0, -2.0, -2.0, -2.0], 3, 2.0, "All are equal, so that nothing is more likely: rank 1."),
        ([-math.inf, 0.0, -math.inf], 0, math.log2(3 / 2), "Minus infinity compares like any number."),
        (thousand, 500, math.log2(1000 / (1 + sum(s > thousand[500] for s in thousand))), "Sort, or count."),
    )
    for scores, secret, right, hint in cases:
        if not close(got := float(answer(list(scores), secret)), right):
            shown = scores if len(scores) < 10 else f"{len(scores)} scores"
            return f"Right for rank 3. For {shown} and the secret {secret} you return {got:.4g}. {hint}"
    handed = list(eight)
    answer(handed, 1)
    if handed != eight:
        return "Right, but afterwards the caller's list has another order. It was only given to read."
    return None


@Exercise
def without_near_copies(answer: Callable[[Sequence[str], int], list[str]]) -> str | None:
    """Keep a text unless it shares a run of n words with an earlier kept one."""
    owl = "the owl sat in the old oak"
    cases: tuple[tuple[list[str], int, str], ...] = (
        (["a b c", "d e f"], 3, "No run is common to both."),
        ([owl, "a fox ran", owl], 3, "The third is equal to the first."),
        ([owl, "today the owl sat still"], 3, "«the owl sat» stands in both, at another place."),
        ([owl, "we saw the old oak"], 3, "«the old oak» is the *last* run of the first text and of the second."),
        ([owl, "the owl slept in the red oak"], 3, "They share words, and no run of three."),
        ([owl, "oak old the in sat owl the"], 3, "The order of words counts: backwards it is another text."),
        (["x a b c", "a b c d e f", "d e f y"], 3, "The second is left out, so what it shares with the third is free."),
        (["a b", "a b", "a b c"], 3, "A text of fewer words than n is one run as a whole."),
        (["a b", "a", "b"], 3, "Short texts are compared as wholes: «a» is not «a b»."),
        (["ab c d", "a bc d"], 3, "The words differ, although their letters are the same."),
        (["The owl sat", "the owl sat"], 3, "A capital makes another word: nothing but split() is done."),
        (["a  b\tc", "a b\nc"], 3, "split() cuts at any white space."),
        (["", ""], 2, "Two empty texts are equal."),
        (["a b", "b c", "c a"], 1, "With n = 1 one common word is enough."),
        (["a a a a", "a a"], 2, "«a a» is a run of the first text."),
        ([], 3, "There is nothing to keep."),
    )
    for texts, n, hint in cases:
        got, right = answer(list(texts), n), canaries.without_near_copies(texts, n)
        if got is None or list(got) != right:
            if got is not None and len(right) == len(texts) and sorted(got) == sorted(right):
                return f"For {texts} and n = {n} the order of what you keep has changed: {got}."
            return f"For {texts} and n = {n} you return {got}, and {right} is to stay. {hint}"
    handed = [owl, owl, "a"]
    result = answer(handed, 3)
    if handed != [owl, owl, "a"]:
        return "Right, but afterwards the caller's list has lost texts. It was only given to read."
    if not isinstance(result, list):
        return f"Right, but a list was asked for, and you return {type(result).__name__}."
    return None


@Exercise
def clip_each(answer: Callable[[Tensor, float], Tensor]) -> str | None:
    """The sum of gradients, each scaled down to a length."""
    rows = torch.tensor([[3.0, 4.0], [0.6, 0.8], [0.0, -2.0]], dtype=torch.float64)
    got = answer(rows.clone(), 2.0)
    came = f"For the rows (3, 4), (0.6, 0.8), (0, -2) and the length 2 you return {_shown(got)}."
    mistakes = {
        (3.6, 2.8): "That is the sum of the rows as they are: nothing is clipped.",
        (3.6 * 2 / math.hypot(3.6, 2.8), 2.8 * 2 / math.hypot(3.6, 2.8)): "That clips the *sum*. Clip each row first.",
        (1.2 + 1.2, 1.6 + 1.6 - 2.0): "That makes every row 2 long. Rows that are shorter stay as they are.",
        (0.6, 0.4 / 3): "That is the mean of the rows. The sum is asked for.",
        (2.6, 0.8): "That cuts each *number* to at most 2. The length of the row is what counts.",
        (0.6 + 0.6, 0.8 + 0.8 - 1.0): "That makes every row 1 long, whatever `longest` says.",
    }
    for value, hint in mistakes.items():
        if got.shape == (2,) and close(got, value, 1e-6):
            return f"{came} {hint}"
    if got.shape != (2,):
        return f"{came} A sum of rows of 2 numbers has the shape (2,), and yours {tuple(got.shape)}."
    if not close(got, (1.8, 0.4), 1e-5):
        return f"{came} By hand: (3, 4) is 5 long and becomes (1.2, 1.6); the others stay; the sum is (1.8, 0.4)."
    torch.manual_seed(0)
    wide = torch.randn(7, 5, dtype=torch.float64) * torch.logspace(-3, 3, 7, dtype=torch.float64)[:, None]
    cases: tuple[tuple[Tensor, float, str], ...] = (
        (torch.zeros(2, 3, dtype=torch.float64), 1.0, "A row of zeros has no length to divide by, and stays zero."),
        (torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64), 1.0, "One row is zero, and the other is not."),
        (wide, 0.5, "These rows are of lengths from a thousandth to a thousand."),
        (wide, 1e9, "No row is longer than that, so nothing changes."),
        (torch.tensor([[-6.0, 8.0]], dtype=torch.float64), 10.0, "The only row is just as long as allowed."),
        (torch.tensor([[1e-20, 0.0]], dtype=torch.float64), 1.0, "A tiny row stays as it is."),
        (torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0]], dtype=torch.float64), 1.0, "Signs stay."),
    )
    for gradients, longest, hint in cases:
        lengths = gradients.norm(dim=1, keepdim=True)
        right = torch.where(lengths > longest, gradients * longest / lengths.clamp(min=1e-300), gradients).sum(0)
        got = answer(gradients.clone(), longest)
        if not torch.isfinite(got).all() or not torch.allclose(got, right, rtol=1e-5, atol=1e-25):
            return (
                f"Right for three rows. For {len(gradients)} rows of length {_shown(lengths.flatten())} and "
                f"longest = {longest:g} you return {_shown(got)}, not {_shown(right)}. {hint}"
            )
    handed = rows.clone()
    answer(handed, 2.0)
    if not torch.equal(handed, rows):
        return "Right, but the gradients that were handed over are changed afterwards. They were only given to read."
    return None


def _shown(numbers: Tensor) -> str:
    """Numbers of a tensor for a hint."""
    return "(" + ", ".join(f"{x:.4g}" for x in numbers.flatten().tolist()) + ")"


@Exercise
def at_temperature(answer: Callable[[Sequence[float], float], list[float]]) -> str | None:
    """Shares at another temperature."""
    got = [float(x) for x in answer([0.7, 0.3], 0.5)]
    came = f"For [0.7, 0.3] at temperature 0.5 you return [{', '.join(f'{x:.4g}' for x in got)}]."
    root = [math.sqrt(0.7), math.sqrt(0.3)]
    soft = [math.exp(0.7 / 0.5), math.exp(0.3 / 0.5)]
    mistakes: dict[str, list[float]] = {
        "Those are the powers. Divide each by their sum.": [0.49, 0.09],
        "Those do not sum to 1 yet: divide by the sum of the powers.": [1.0, (3 / 7) ** 2],
        "The power is 1/T: yours is T, which flattens.": [x / sum(root) for x in root],
        "That takes the shares for logits. A share's logit is its logarithm.": [x / sum(soft) for x in soft],
        "Nothing has changed. A factor on all shares goes away in the division; a power does not.": [0.7, 0.3],
        "Those are divided by the temperature and no shares any more.": [1.4, 0.6],
    }
    for hint, wrong in mistakes.items():
        if close(got, wrong, 1e-6):
            return f"{came} {hint}"
    if not close(got, [0.49 / 0.58, 0.09 / 0.58], 1e-6):
        return f"{came} By hand: 0.49 and 0.09, divided by 0.58."
    cases: tuple[tuple[list[float], float, list[float], str], ...] = (
        ([0.7, 0.3], 1.0, [0.7, 0.3], "At temperature 1 nothing changes."),
        ([0.2, 0.3, 0.5], 1.0, [0.2, 0.3, 0.5], "At temperature 1 nothing changes."),
        ([0.2, 0.3, 0.5], 0.5, [4 / 38, 9 / 38, 25 / 38], "There may be more than two shares."),
        ([0.25] * 4, 0.1, [0.25] * 4, "Equal shares stay equal at every temperature."),
        ([1.0], 0.3, [1.0], "There is only one."),
        ([0.7, 0.3], 0.0001, [1.0, 0.0], "The powers are 0 to a computer, so small are they: divide by the largest."),
        ([0.4, 0.4, 0.2], 0.001, [0.5, 0.5, 0.0], "Two are equally large, and share."),
        ([0.3, 0.0, 0.7], 2.0, [math.sqrt(0.3) / (s := math.sqrt(0.3) + math.sqrt(0.7)), 0.0, math.sqrt(0.7) / s],
         "What is impossible stays impossible, and its logarithm does not exist."),
        ([0.9, 0.1], 100.0, [0.9**0.01 / (t := 0.9**0.01 + 0.1**0.01), 0.1**0.01 / t], "Hot, they come near to equal."),
    )  # fmt: skip
    for shares, temperature, right, hint in cases:
        try:
            got = [float(x) for x in answer(list(shares), temperature)]
        except (ZeroDivisionError, ValueError) as problem:
            return f"Right for [0.7, 0.3] at 0.5. For {shares} at {temperature:g} it stops: {problem}. {hint}"
        if not close(got, right, 1e-6):
            rounded = [round(x, 4) for x in got]
            return f"Right for [0.7, 0.3] at 0.5. For {shares} at {temperature:g} you return {rounded}. {hint}"
    handed = [0.7, 0.3]
    answer(handed, 0.5)
    if handed != [0.7, 0.3]:
        return "Right, but the list that was handed over is changed afterwards. It was only given to read."
    return None


@Exercise
def kilowatt_hours(answer: Callable[[float, float, float, float], float]) -> str | None:
    """Energy of a computation in kilowatt-hours."""
    flops, speed, watts, overhead = 7.2e18, 1e14, 500.0, 1.2  # 20 hours of one chip
    got = float(answer(flops, speed, watts, overhead))
    came = f"For 7.2e18 FLOPs at 1e14 a second, 500 W and overhead 1.2 you return {got:.4g}."
    mistakes = {
        12_000.0: "Those are watt-hours. How many are a kilowatt-hour?",
        43_200_000.0: "Those are watt-seconds. A kilowatt-hour is 1000 watts for 3600 seconds.",
        43_200.0: "Those are kilowatt-seconds. How many seconds has an hour?",
        10.0: "That leaves the building out: where is the overhead?",
        10 / 1.2: "That divides by the overhead. The building needs more than the chips.",
        20.0: "Those are hours. What does the chip draw?",
        24.0: "That has no watts in it: hours times overhead.",
        720.0: "That takes 60 seconds for an hour.",
        72_000.0: "Those are seconds. What does the chip draw?",
        11.2: "That adds the overhead. It is a factor.",
        2.0: "That takes overhead − 1. The factor is from the chips to the whole, chips included.",
    }
    for value, hint in mistakes.items():
        if close(got, value, 1e-9 * value):
            return f"{came} {hint}"
    if not close(got, 12.0, 1e-9):
        return f"{came} By hand: 72,000 seconds are 20 hours; 20 hours of 0.5 kW are 10 kWh; times 1.2 makes 12."
    for given, right in (
        ((3.14e23, 24.6e12, 330.0, 1.1), 3.14e23 / 24.6e12 * 330 * 1.1 / 3.6e6),
        ((0.0, 1e12, 300.0, 1.1), 0.0),
        ((1e12, 1e12, 3.6e6, 1.0), 1.0),
        ((1e15, 1e9, 30.0, 1.0), 1e15 / 1e9 * 30 / 3.6e6),
        ((2e20, 3e14, 700.0, 1.5), 2e20 / 3e14 * 700 * 1.5 / 3.6e6),
    ):
        if not close(got := float(answer(*given)), right, 1e-9 * max(1.0, right)):
            return f"Right for the first. For {given} you return {got:.6g} instead of {right:.6g}. Is a number fixed?"
    return None
