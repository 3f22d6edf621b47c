"""Answers to the exercises of lesson 10."""

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from tests.course.cases import Answers

Lists = tuple[list[int], list[int]]


def by_pairs(ids: list[int]) -> Lists:
    pairs = list(pairwise(ids))
    return [read for read, _ in pairs], [answer for _, answer in pairs]


def without_changing_a_copy(ids: list[int]) -> list[list[int]]:
    inputs, targets = list(ids), list(ids)
    inputs.pop()
    targets.pop(0)
    return [inputs, targets]


def not_shifted(ids: list[int]) -> Lists:
    return ids[:-1], ids[:-1]


def shifted_the_wrong_way(ids: list[int]) -> Lists:
    return ids[1:], ids[:-1]


def last_input_without_target(ids: list[int]) -> Lists:
    return ids, ids[1:]


def padded_with_zero(ids: list[int]) -> Lists:
    return ids, ids[1:] + [0]


def rolled(ids: list[int]) -> Lists:
    return ids, ids[1:] + ids[:1]


def last_target_only(ids: list[int]) -> tuple[list[int], int]:
    return ids[:-1], ids[-1]


def changes_its_input(ids: list[int]) -> Lists:
    targets = ids[1:]
    ids.pop()
    return ids, targets


def two_places_ahead(ids: list[int]) -> Lists:
    return ids[:-2], ids[2:]


def three_of_each(ids: list[int]) -> Lists:
    return ids[:3], ids[1:4]


def smallest_of_three(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    return min((step + 1) / max(1, warmup_steps), 1.0, (max_steps - step) / (max_steps - decay_start))


def by_interpolation(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    if step < warmup_steps:
        return float(np.linspace(1 / warmup_steps, 1, warmup_steps)[step])
    return float(np.interp(step, [decay_start, max_steps], [1, 0]))


def starts_at_zero(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    return step / warmup_steps if step < warmup_steps else by_interpolation(step, warmup_steps, decay_start, max_steps)


def warmup_one_too_long(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    if step <= warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return by_interpolation(step, warmup_steps, decay_start, max_steps)


def above_the_peak(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    if step <= warmup_steps:
        return (step + 1) / warmup_steps
    return by_interpolation(step, warmup_steps, decay_start, max_steps)


def squared_warmup(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    if step < warmup_steps:
        return ((step + 1) / warmup_steps) ** 2
    return by_interpolation(step, warmup_steps, decay_start, max_steps)


def no_plateau(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    return smallest_of_three(step, warmup_steps, warmup_steps, max_steps)


def decays_from_the_very_start(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    if step < decay_start:
        return min(1.0, (step + 1) / max(1, warmup_steps))
    return 1 - step / max_steps


def zero_too_early(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    return smallest_of_three(step, warmup_steps, decay_start, max_steps - 1)


def zero_too_late(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    return smallest_of_three(step, warmup_steps, decay_start, max_steps + 1)


def cosine(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    if step < decay_start:
        return by_interpolation(step, warmup_steps, decay_start, max_steps)
    return (1 + math.cos(math.pi * (step - decay_start) / (max_steps - decay_start))) / 2


def floor_of_a_tenth(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    return max(0.1, smallest_of_three(step, warmup_steps, decay_start, max_steps))


def rises_at_the_end(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    if step < decay_start:
        return by_interpolation(step, warmup_steps, decay_start, max_steps)
    return (step - decay_start) / (max_steps - decay_start)


def no_warmup_divides_by_zero(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    return min((step + 1) / warmup_steps, 1.0, (max_steps - step) / (max_steps - decay_start))


def always_twenty_steps_of_decay(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    return min((step + 1) / max(1, warmup_steps), 1.0, (max_steps - step) / 20)


def flattened(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    length = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    return gradients if length <= max_norm else [gradient / length * max_norm for gradient in gradients]


def copied_for_torch(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    nn.utils.clip_grad_norm_(parameters, max_norm)
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def in_plain_numbers(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    length = math.hypot(*(number for gradient in gradients for number in gradient.flatten().tolist()))
    factor = max_norm / max(length, max_norm)
    return [gradient * factor for gradient in gradients]


def scaled(gradients: list[Tensor], max_norm: float, length: Tensor) -> list[Tensor]:
    """Clipped as if the length were this one."""
    return [gradient * torch.clamp(max_norm / length, max=1.0) for gradient in gradients]


def common_length(gradients: list[Tensor]) -> Tensor:
    return torch.stack([gradient.norm() for gradient in gradients]).norm()


def each_alone(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    return [scaled([gradient], max_norm, gradient.norm())[0] for gradient in gradients]


def each_number(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    return [gradient.clamp(-max_norm, max_norm) for gradient in gradients]


def short_ones_grow(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    return [gradient * max_norm / common_length(gradients) for gradient in gradients]


def without_the_root(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    return scaled(gradients, max_norm, common_length(gradients) ** 2)


def by_the_largest_number(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    return scaled(gradients, max_norm, torch.stack([gradient.abs().max() for gradient in gradients]).max())


def by_the_sum_of_sizes(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    return scaled(gradients, max_norm, torch.stack([gradient.abs().sum() for gradient in gradients]).sum())


def by_the_plain_sum(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    return scaled(gradients, max_norm, torch.stack([gradient.sum() for gradient in gradients]).sum())


def by_the_sum_of_lengths(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    return scaled(gradients, max_norm, torch.stack([gradient.norm() for gradient in gradients]).sum())


def always_to_one(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    return scaled(gradients, 1.0, common_length(gradients))


def not_a_number_for_zeros(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    length = common_length(gradients)
    return [gradient / length * length.clamp(max=max_norm) for gradient in gradients]


def in_place(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    factor = torch.clamp(max_norm / common_length(gradients), max=1.0)
    return [gradient.mul_(factor) for gradient in gradients]


def one_long_tensor(gradients: list[Tensor], max_norm: float) -> Tensor:
    return scaled([torch.cat([g.flatten() for g in gradients])], max_norm, common_length(gradients))[0]


def upside_down(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    return [gradient * common_length(gradients) / max_norm for gradient in gradients]


ANSWERS = {
    "inputs_and_targets": Answers(
        right=[by_pairs, without_changing_a_copy],
        wrong={
            not_shifted: "learn to copy",
            shifted_the_wrong_way: "reads 8 and should answer 5",
            last_input_without_target: "4 questions and 3 answers",
            padded_with_zero: "0 does not come from the text",
            rolled: "in a circle",
            last_target_only: "answers at each position",
            changes_its_input: "is [5, 8, 2] afterwards",
            two_places_ahead: "How far ahead",
            three_of_each: "For [7, 3] the inputs are [7, 3]",
        },
    ),
    "warmup_stable_decay": Answers(
        right=[smallest_of_three, by_interpolation],
        wrong={
            starts_at_zero: "step 0 gives 0.",
            warmup_one_too_long: "step 9 gives 0.9091",
            squared_warmup: "steps 0 and 4 give 0.01 and 0.25",
            above_the_peak: "more than the peak",
            no_plateau: "between warm-up and decay",
            decays_from_the_very_start: "jumps from 1 at step 79 to 0.2 at step 80",
            zero_too_early: "step 99 gives 0. This step is still taken",
            zero_too_late: "meets 0 at step 101",
            cosine: "falls by 0.0293, 0.0707, 0.0707",
            floor_of_a_tenth: "falls by 0.0500, 0.0500, 0.0500, 0.0375",
            rises_at_the_end: "Should that not fall?",
            no_warmup_divides_by_zero: "warmup_steps=0 your function divides by 0",
            always_twenty_steps_of_decay: "Right for 100 steps",
        },
    ),
    "clip": Answers(
        right=[flattened, copied_for_torch, in_plain_numbers],
        wrong={
            each_alone: "each tensor alone has length 1",
            each_number: "Each number is cut alone",
            short_ones_grow: "a gradient that is short enough",
            without_the_root: "divide by 25",
            by_the_largest_number: "the largest of the numbers",
            by_the_sum_of_sizes: "the sum of the sizes",
            by_the_plain_sum: "the sum of the numbers",
            by_the_sum_of_lengths: "the two lengths added",
            always_to_one: "the same as for 1",
            not_a_number_for_zeros: "gradients that are all 0",
            in_place: "are changed too",
            one_long_tensor: "two tensors of the shapes",
            upside_down: "the common length becomes 25",
        },
    ),
}
