"""The checks of lesson 10, training on a CPU."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minigpt.course.exercise import Exercise, close


@Exercise
def inputs_and_targets(answer: Callable[[list[int]], tuple[list[int], list[int]]]) -> str | None:
    """What the model reads, and what it should answer at each position."""
    ids = [5, 8, 2, 9]
    inputs, targets = answer(ids)
    if ids != [5, 8, 2, 9]:
        return f"The list [5, 8, 2, 9] that came in is {ids} afterwards. Can you leave the caller's list as it was?"
    came = f"For [5, 8, 2, 9] the inputs are {inputs} and the targets {targets}."
    if targets in (9, [9]):
        return f"{came} The model answers at each position, also after 5 and after 8. What should it say there?"
    inputs, targets = list(inputs), list(targets)
    if len(inputs) != len(targets):
        return f"{came} That is {len(inputs)} questions and {len(targets)} answers. Which id has no partner?"
    if inputs == targets:
        return f"{came} The model would learn to copy what it reads. Which id comes after 5?"
    if (inputs, targets) == ([8, 2, 9], [5, 8, 2]):
        return f"{came} The model reads 8 and should answer 5. Does 5 come before 8 or after it?"
    if (inputs, targets) == ([5, 8, 2, 9], [8, 2, 9, 5]):
        return f"{came} The last target is the first id. Does the text go round in a circle?"
    if inputs == ids and targets[:3] == [8, 2, 9]:
        return f"{came} {targets[3]} does not come from the text. Should the model be asked what follows the last id?"
    if (inputs, targets) == ([5, 8], [2, 9]):
        return f"{came} The model reads 5 and should answer 2. How far ahead is that?"
    for ids, expected in (([5, 8, 2, 9], ([5, 8, 2], [8, 2, 9])), ([7, 3], ([7], [3])), ([1, 1, 4], ([1, 1], [1, 4]))):
        inputs, targets = map(list, answer(list(ids)))
        if (inputs, targets) != expected:
            return f"For {ids} the inputs are {inputs} and the targets {targets}. What comes after {ids[0]}?"
    return None


@Exercise
def warmup_stable_decay(answer: Callable[[int, int, int, int], float]) -> str | None:
    """The fraction of the peak learning rate: a warm-up, then 1, then a straight line toward 0."""

    def at(step: int) -> float:
        return float(answer(step, 10, 80, 100))

    setting = "With 10 steps of warm-up, decay from step 80 and 100 steps in all,"
    if close(at(0), 0):
        return f"{setting} step 0 gives 0. The first step would learn nothing: how much of the warm-up is one step?"
    if not close(at(9), 1):
        return f"{setting} step 9 gives {at(9):.4g}. It is the tenth step: how far has the warm-up come?"
    if not close([at(0), at(4)], [0.1, 0.5]):
        return f"{setting} steps 0 and 4 give {at(0):.4g} and {at(4):.4g}. Do ten equal steps lead from 0 to 1?"
    if at(10) > 1 + 1e-6:
        return f"{setting} step 10 gives {at(10):.4g}, more than the peak. Which step is the last of the warm-up?"
    for step in (10, 50, 79):
        if not close(at(step), 1):
            return f"{setting} step {step} gives {at(step):.4g}. How large is the rate between warm-up and decay?"

    if at(95) >= at(85):
        return f"{setting} step 85 gives {at(85):.4g} and step 95 gives {at(95):.4g}. Should that not fall?"
    if at(99) < 1e-6:
        return f"{setting} step 99 gives {at(99):.4g}. This step is still taken: at which one would the line reach 0?"
    if not close(at(80), 1):
        return f"{setting} it jumps from {at(79):.4g} at step 79 to {at(80):.4g} at step 80. Where does the line begin?"
    falls = [(at(start) - at(end)) / (end - start) for start, end in ((80, 85), (85, 90), (90, 95), (95, 99))]
    if not close(falls, [falls[0]] * 4):
        shown = ", ".join(f"{fall:.4f}" for fall in falls)
        return f"{setting} a step from 80, 85, 90 and 95 on falls by {shown}. Is that a straight line?"
    if not close(at(99), 0.05):
        zero = 99 + at(99) / falls[0]
        return f"{setting} step 99 gives {at(99):.4g}. Your line meets 0 at step {zero:.4g}. Where should it?"

    try:
        first = float(answer(0, 0, 80, 100))
        what = f"returns {first:.4g} for step 0"
    except ZeroDivisionError:
        first, what = math.nan, "divides by 0"
    if not close(first, 1):
        return f"With warmup_steps=0 your function {what}. Which steps belong to the warm-up then?"
    short = [answer(step, 4, 6, 8) for step in range(8)]
    if not close(short, [0.25, 0.5, 0.75, 1, 1, 1, 1, 0.5]):
        return f"Right for 100 steps. With a warm-up of 4, decay from 6 and 8 steps in all it is {short}. Plot it."
    return None


@Exercise
def clip(answer: Callable[[list[Tensor], float], list[Tensor]]) -> str | None:
    """The gradients, all scaled by the same factor so that their common length is at most max_norm."""
    gradients = [torch.tensor([-1.0, 2.0]), torch.tensor([[2.0, 0.0], [0.0, 4.0]])]  # length √(1 + 4 + 4 + 16) = 5

    def clipped(max_norm: float) -> list[Tensor]:
        return list(answer([gradient.clone() for gradient in gradients], max_norm))

    which = "For [-1, 2] and [[2, 0], [0, 4]], whose common length is 5, and max_norm"
    result = clipped(1.0)
    if [getattr(gradient, "shape", None) for gradient in result] != [gradient.shape for gradient in gradients]:
        return f"{which} 1 you do not return two tensors of the shapes (2,) and (2, 2). What became of them?"
    if _equal(result, [gradient / gradient.norm() for gradient in gradients]):
        return f"{which} 1 each tensor alone has length 1 now. How long are the two together?"
    if _equal(result, [gradient.clamp(-1, 1) for gradient in gradients]):
        return f"{which} 1 you return [-1, 1] and [[1, 0], [0, 1]]. Each number is cut alone: is the direction kept?"
    for size, hint in {
        25: "you divide by 25. Is 25 the length, or what stands under the root?",
        4: "you divide by 4, the largest of the numbers. What is the length of [3, 4]?",
        9: "you divide by 9, the sum of the sizes. What is the length of [3, 4]: 7?",
        7: "you divide by 7, the sum of the numbers. What is the length of [3, 4], and of [-3, 4]?",
        5**0.5 + 20**0.5: "you divide by √5 + √20, the two lengths added. Do lengths add up in a triangle?",
        1: "you change nothing. Is 5 short enough?",
    }.items():
        if _equal(result, [gradient / size for gradient in gradients]):
            return f"{which} 1 {hint}"
    if not _equal(result, [gradient / 5 for gradient in gradients]):
        length = math.sqrt(sum(float((gradient**2).sum()) for gradient in result))
        return f"{which} 1 the common length becomes {length:.4g}. By which one factor must all numbers shrink?"

    if _equal(clipped(2.0), result):
        return f"{which} 2 you return the same as for 1. How long should the result be?"
    if not _equal(clipped(2.0), [gradient * 0.4 for gradient in gradients]):
        return f"{which} 2 you do not scale all numbers by 2/5. Right for 1: where does max_norm enter?"
    if not _equal(clipped(10.0), gradients):
        return f"{which} 10 the numbers change. What should happen to a gradient that is short enough?"

    try:
        still = list(answer([torch.zeros(2), torch.zeros(1)], 1.0))
    except ZeroDivisionError:
        still = [torch.tensor(math.nan)]
    if not _equal(still, [torch.zeros(2), torch.zeros(1)]):
        return "For gradients that are all 0 you do not return zeros. What do you divide by, and what is it here?"
    given = [gradient.clone() for gradient in gradients]
    answer(given, 1.0)
    if not _equal(given, gradients):
        return "The result is right, but the gradients that came in are changed too. Can you return new tensors?"
    return None


def _equal(actual: list[Tensor], expected: list[Tensor]) -> bool:
    return len(actual) == len(expected) and all(close(a, e, 1e-5) for a, e in zip(actual, expected, strict=True))
