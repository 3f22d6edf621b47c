"""The checks of lesson 10, training on a CPU."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from minigpt.course.exercise import Exercise, close
from minigpt.model.gpt import next_token_loss


@Exercise
def training_step(answer: Callable[[nn.Module, torch.optim.Optimizer, Tensor, float], float]) -> str | None:
    """One step of training, with the gradient clipped."""
    texts = [torch.tensor([[1, 2, 3, 4, 0], [2, 2, 0, 1, 3]]), torch.tensor([[4, 3, 0]])]

    def taken(max_norm: float, steps: int = 1) -> tuple[list[Tensor], list[float]]:
        """The weights after some steps of the learner's function, and what it returned."""
        model = _small_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        returned = [answer(model, optimizer, texts[step].clone(), max_norm) for step in range(steps)]
        return [parameter.detach().clone() for parameter in model.parameters()], returned

    start = [parameter.detach() for parameter in _small_model().parameters()]
    weights, returned = taken(0.25)
    setting = "After one step on two texts, with max_norm 0.25,"
    if _equal(weights, start):
        return f"{setting} no weight has moved. Is the gradient still there when the optimiser steps?"
    mistakes: dict[str, dict[str, Any]] = {
        "the model has learned to copy: its targets are its inputs. Which token comes next?": {"ahead": 0, "cut": 1},
        "the model has learned to copy whole texts: targets are inputs. Which token comes next?": {"ahead": 0},
        "the targets are two tokens ahead. How far is next?": {"ahead": 2},
        "the targets are the tokens before. Which way does one read?": {"ahead": -1},
        "the weights moved as far as without clipping. Does it come before the step?": {"clip": "never"},
        "each tensor was clipped alone. How long is the whole gradient?": {"clip": "alone"},
        "the gradient was clipped to 1. Where does max_norm enter?": {"clip": "one"},
        "the weights moved uphill. Which sign has the step?": {"sign": -1},
        "the weights moved twice.": {"times": 2},
        "the gradient is that of the last position alone. The model answers at each.": {"last": True},
    }
    for hint, mistake in mistakes.items():
        if _equal(weights, _after_steps(texts[:1], 0.25, **mistake)[0]):
            return f"{setting} {hint}"
    right, losses, after = _after_steps(texts[:1], 0.25)
    if not _equal(weights, right):
        return f"{setting} the weights are not where they should be. Go through the five parts of a step, one by one."

    result = returned[0]
    if isinstance(result, Tensor):
        kind = "keeps everything alive that backward needs" if result.requires_grad else "is no plain number"
        return f"The step is right. It returns a tensor, which {kind}: which method makes a float of it?"
    if close(result, after):
        return f"The step is right. You return {result:.4f}, the loss after it. Which loss was wanted?"
    if not close(result, losses[0]):
        return f"The step is right. You return {result:.4f}, and the mean loss before it is {losses[0]:.4f}."

    weights, returned = taken(0.25, steps=2)
    right, losses, _ = _after_steps(texts, 0.25)
    if _equal(weights, _after_steps(texts, 0.25, zero=False)[0]):
        return (
            "The first step is right. The second one takes the first one's gradient along. What does backward do to it?"
        )
    if not _equal(weights, right) or not close(returned[1], losses[1]):
        return "The first step is right. The second, on one text of three tokens, is not. What is written into it?"
    if not _equal(taken(100.0)[0], _after_steps(texts[:1], 100.0)[0]):
        return "Right for max_norm 0.25. With 100 the gradient is short enough: how long should it stay?"
    ids = texts[0].clone()
    answer(model := _small_model(), torch.optim.SGD(model.parameters(), lr=0.5), ids, 0.25)
    if not torch.equal(ids, texts[0]):
        return "The step is right, but the ids that came in are changed. Can you leave the caller's texts alone?"
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
    meeting = [answer(step, 3, 3, 6) for step in range(6)]
    if not close(meeting, [1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3]):
        return f"With a warm-up of 3, decay from 3 and 6 steps in all it is {meeting}. Is anything rounded?"
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
    for max_norm in (1.0, 10.0):
        given = [gradient.clone() for gradient in gradients]
        result = list(answer(given, max_norm))
        if not _equal(given, gradients):
            return "The result is right, but the gradients that came in are changed too. Can you return new tensors?"
        if {part.data_ptr() for part in result} & {part.data_ptr() for part in given}:
            return (
                f"With max_norm {max_norm:g} you return the very tensors that came in. Who changes one changes the "
                "other: can you return new ones?"
            )
    one = list(answer([torch.tensor([[-3.0], [4.0]], dtype=torch.float64)], 1 / 3))
    if not _equal(one, [torch.tensor([[-3.0], [4.0]]) / 15]):
        return (
            f"For one matrix [[-3], [4]] and max_norm 1/3 you return {[part.tolist() for part in one]}. Divide by 15."
        )
    if one[0].dtype != torch.float64:
        return f"A gradient in float64 comes back in {str(one[0].dtype).removeprefix('torch.')}. Why another precision?"
    return None


class _Reader(nn.Module):
    """Logits for the next token from the last two, (B, T) to (B, T, 5): small, and with a gradient in each tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.now = nn.Parameter(torch.arange(25, dtype=torch.float64).view(5, 5).sin())
        self.before = nn.Parameter(torch.arange(25, dtype=torch.float64).view(5, 5).cos())

    def forward(self, ids: Tensor) -> Tensor:
        return 4 * (self.now[ids] + self.before[ids.roll(1, dims=1)])  # 4: gradients longer than 1


def _small_model() -> nn.Module:
    return _Reader()


def _after_steps(
    texts: list[Tensor], max_norm: float, ahead: int = 1, clip: str = "all", sign: int = 1, times: int = 1,
    last: bool = False, zero: bool = True, cut: int = 0,
) -> tuple[list[Tensor], list[float], float]:  # fmt: skip
    """The weights after steps on these texts (with a mistake), the losses before each, and that after the last."""
    model = _small_model()
    parameters, losses = list(model.parameters()), []
    optimizer = torch.optim.SGD(parameters, lr=0.5, maximize=sign < 0)

    def loss_of(ids: Tensor) -> Tensor:
        ids = ids[:, : ids.size(1) - cut]
        width = ids.size(1) - abs(ahead)
        inputs = ids[:, :width] if ahead >= 0 else ids[:, -width:]
        targets = ids[:, ahead:] if ahead >= 0 else ids[:, :width]
        logits = model(inputs)
        if last:
            logits, targets = logits[:, -1:], targets[:, -1:]
        return next_token_loss(logits, targets)

    for ids in texts:
        loss = loss_of(ids)
        losses.append(loss.item())
        loss.backward()
        if clip == "alone":
            for parameter in parameters:
                nn.utils.clip_grad_norm_([parameter], max_norm)
        elif clip != "never":
            nn.utils.clip_grad_norm_(parameters, 1.0 if clip == "one" else max_norm)
        for _ in range(times):
            optimizer.step()
        if zero:
            optimizer.zero_grad()
    return [parameter.detach() for parameter in parameters], losses, loss_of(texts[-1]).item()


def _equal(actual: list[Tensor], expected: list[Tensor]) -> bool:
    return len(actual) == len(expected) and all(close(a, e, 1e-5) for a, e in zip(actual, expected, strict=True))
