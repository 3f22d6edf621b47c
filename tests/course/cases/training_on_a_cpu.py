"""Answers to the exercises of lesson 10."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from minigpt.model.gpt import next_token_loss
from tests.course.cases import Answers

Step = Callable[[nn.Module, Optimizer, Tensor, float], Any]


def zero_at_the_end(model: nn.Module, optimizer: Optimizer, ids: Tensor, max_norm: float) -> float:
    loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    model.zero_grad()
    return float(loss.detach())


def without_backward(model: nn.Module, optimizer: Optimizer, ids: Tensor, max_norm: float) -> float:
    parameters = list(model.parameters())
    logits = model(ids[..., :-1])
    loss = -logits.log_softmax(-1).gather(-1, ids[..., 1:, None]).mean()
    gradients = torch.autograd.grad(loss, parameters)
    factor = min(1.0, max_norm / torch.cat([g.flatten() for g in gradients]).norm().item())
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient * factor
    optimizer.step()
    return loss.item()


def step_with(
    inputs: slice = slice(None, -1),
    targets: slice = slice(1, None),
    order: str = "zero backward clip step",
    returns: str = "float",
    writes: bool = False,
) -> Step:
    """A step with one of the typical mistakes."""

    def training_step(model: nn.Module, optimizer: Optimizer, ids: Tensor, max_norm: float) -> float | Tensor:
        def loss_now() -> Tensor:
            return next_token_loss(model(ids[:, inputs]), ids[:, targets])

        loss = loss_now()
        for part in order.split():
            if part == "zero":
                optimizer.zero_grad()
            elif part == "backward":
                loss.backward()
            elif part == "clip":
                nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            elif part == "clip-to-one":
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            elif part == "clip-each":
                for parameter in model.parameters():
                    nn.utils.clip_grad_norm_([parameter], max_norm)
            elif part == "stretch":
                nn.utils.clip_grad_norm_(model.parameters(), 1e-9)
                for parameter in model.parameters():
                    assert parameter.grad is not None
                    parameter.grad *= max_norm / 1e-9
            elif part == "step":
                optimizer.step()
            elif part == "turn":
                for parameter in model.parameters():
                    assert parameter.grad is not None
                    parameter.grad.neg_()
        if writes:
            ids[:, 0] = 0
        results = {"tensor": loss, "detached": loss.detach(), "sum": 8 * loss.item(), "float": loss.item()}
        return loss_now().item() if returns == "after" else results[returns]

    return training_step


def last_position_only(model: nn.Module, optimizer: Optimizer, ids: Tensor, max_norm: float) -> float:
    optimizer.zero_grad()
    loss = F.cross_entropy(model(ids[:, :-1])[:, -1], ids[:, -1])
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return loss.item()


def two_texts_only(model: nn.Module, optimizer: Optimizer, ids: Tensor, max_norm: float) -> float:
    optimizer.zero_grad()
    logits, targets = model(ids[:, :-1]), ids[:, 1:]
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum") / 8
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return loss.item()


def other_optimiser(model: nn.Module, optimizer: Optimizer, ids: Tensor, max_norm: float) -> float:
    torch.optim.AdamW(model.parameters())
    return step_with()(model, torch.optim.AdamW(model.parameters()), ids, max_norm)


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


def rounded_rate(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    return round(smallest_of_three(step, warmup_steps, decay_start, max_steps), 2)


def always_twenty_steps_of_decay(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    return min((step + 1) / max(1, warmup_steps), 1.0, (max_steps - step) / 20)


def flattened(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    length = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    return [gradient / length * max_norm if length > max_norm else gradient.clone() for gradient in gradients]


def the_given_ones_if_short(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    length = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    return gradients if length <= max_norm else [gradient / length * max_norm for gradient in gradients]


def always_in_float32(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    return [gradient.float() for gradient in flattened(gradients, max_norm)]


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
    "training_step": Answers(
        right=[zero_at_the_end, without_backward],
        wrong={
            step_with(order="backward zero clip step"): "no weight has moved",
            step_with(targets=slice(None, -1)): "learned to copy: its",
            step_with(inputs=slice(None), targets=slice(None)): "copy whole texts",
            step_with(inputs=slice(None, -2), targets=slice(2, None)): "two tokens ahead",
            step_with(inputs=slice(1, None), targets=slice(None, -1)): "the tokens before",
            step_with(order="zero backward step clip"): "as far as without clipping",
            step_with(order="zero backward clip-each step"): "clipped alone",
            step_with(order="zero backward clip-to-one step"): "clipped to 1",
            step_with(order="zero backward clip turn step"): "moved uphill",
            step_with(order="zero backward clip step step"): "moved twice",
            last_position_only: "last position alone",
            other_optimiser: "Go through the five parts",
            step_with(returns="tensor"): "keeps everything alive",
            step_with(returns="detached"): "is no plain number",
            step_with(returns="after"): "the loss after it",
            step_with(returns="sum"): "the mean loss before it",
            step_with(order="backward clip step"): "takes the first one's gradient along",
            two_texts_only: "The second, on one text",
            step_with(order="zero backward stretch step"): "how long should it stay",
            step_with(writes=True): "the ids that came in are changed",
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
            rounded_rate: "Is anything rounded?",
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
            the_given_ones_if_short: "the very tensors that came in",
            always_in_float32: "comes back in float32",
            one_long_tensor: "two tensors of the shapes",
            upside_down: "the common length becomes 25",
        },
    ),
}
