"""The checks of lesson 12, many GPUs."""

import warnings
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from minigpt.course.exercise import Exercise, close

Held = list[list[float]]


@Exercise
def my_rows(answer: Callable[[Tensor, int, int], Tensor]) -> str | None:
    """The rows of the global batch that a process computes."""
    batch = torch.arange(18).view(6, 3)
    first, second = answer(batch, 0, 3), answer(batch, 1, 3)
    if not batch.equal(torch.arange(18).view(6, 3)):
        return "The batch that you were given has changed. The next process wants its rows of the old one: do you copy?"
    for what, part in (("rank 0", first), ("rank 1", second)):
        if not isinstance(part, Tensor):
            return f"For {what} of 3 you return {part!r}. These are not the rows themselves. How do you take them?"
    came = f"For a batch of shape (6, 3), rank 1 of 3 gets shape {tuple(second.shape)}"
    if first.shape[:1] == (0,):
        return "Rank 0 gets no rows. From which number does a rank count?"
    if second.shape == batch.shape:
        return f"{came}, the whole batch. Which of the rows are this process's own?"
    if second.shape == (6, 1):
        return f"{came}. That cuts every story into three pieces. Along which dimension do the rows follow each other?"
    if second.shape == (3, 3):
        return f"{came}: as many rows as there are processes. How many rows does each of 3 processes get out of 6?"
    if second.shape != (2, 3):
        return f"{came}. How many rows does each of 3 processes get out of 6?"
    if second.equal(first):
        return "Rank 0 and rank 1 get the same rows. Where does the rank come in?"
    if second.equal(batch[1::3]):
        return (
            "Rank 1 gets rows 1 and 4. A fair deal, like cards. But here shares are to follow each other: which rows "
            "come right after those of rank 0?"
        )
    if not second.equal(batch[2:4]):
        rows = second[:, 0] // 3
        return f"Rank 1 of 3 gets rows {rows.tolist()} of 6. Where do the rows of rank 0 end?"
    for size in (1, 2, 3, 6):
        parts = torch.cat([answer(batch, rank, size) for rank in range(size)])
        if not parts.equal(torch.arange(18).view(6, 3)):
            return (
                f"Right for 3 processes. With {size}, all parts put together are not the batch: which rows are missing?"
            )
    return None


@Exercise
def loss_for_ddp(answer: Callable[[float, int, int, int], float]) -> str | None:
    """What a process calls backward() on, so that DDP's mean is right."""
    got = float(answer(5.0, 3, 10, 4))
    came = f"For a mean of 5 over 3 of 10 targets, with 4 processes, you return {got:.4g}."
    hints = {
        5.0: "That leads to the mean of the means. How much should a process count that holds 3 of the 10 targets?",
        1.5: "The right share of the global loss. What will DDP still do to the gradients of the 4 processes?",
        0.375: "DDP divides by the number of processes once more, without being asked. How can you undo that?",
        15.0: "That is the sum of the costs. By how many targets must it be divided, and what does DDP do after that?",
        60.0: "Multiplied for DDP, and a sum of costs. By how many targets must it still be divided?",
        2.0: "5 is a mean already. What is the sum of this process's costs?",
        0.5: "5 is a mean already. What is the sum of this process's costs?",
        20.0: "Ready for DDP's division, but every process counts the same. How many of the targets are this one's?",
        0.0: "3 // 10 is 0. Which division has decimals?",
    }
    for mistake, hint in hints.items():
        if close(got, mistake, 1e-6):
            return f"{came} {hint}"
    if close(got, 5 * 10 / 3 * 4, 1e-6) or close(got, 5 * 10 / 3, 1e-6):
        return f"{came} The fewer targets a process has, the more it counts. Is the fraction the right way round?"
    if not close(got, 6.0):
        return (
            f"{came} The costs of this process sum to 15. Which part of the global mean is that, and what does DDP do?"
        )

    for costs in ([[1.0, 1.0, 4.0], [6.0]], [[2.0], [3.0, 5.0], [8.0, 1.0, 3.0]]):
        n_all = sum(map(len, costs))
        parts = [float(answer(sum(c) / len(c), len(c), n_all, len(costs))) for c in costs]
        if not close(mean := sum(parts) / len(parts), truth := sum(map(sum, costs)) / n_all):
            return f"For the costs {costs} DDP's mean of your results is {mean:.4g}, and the mean cost is {truth:.4g}."

    if not close(got := float(answer(1 / 3, 2, 7, 3)), 2 / 7):
        return f"For a mean of 1/3 over 2 of 7 targets, with 3 processes, you return {got:.6g} instead of {2 / 7:.6g}."

    weight = torch.tensor(2.0, requires_grad=True)
    mean_loss = 3 * weight
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of float(loss); the hint below says more
        loss = answer(mean_loss, 3, 10, 4)  # type: ignore[arg-type]
    if not (isinstance(loss, Tensor) and loss.requires_grad):
        return (
            "The number is right. But a loss that is a tensor comes back without its history: how can it go backward?"
        )
    if float(mean_loss.detach()) != 6:
        return "The mean loss that you were given has changed with your result. Does *= make a new tensor?"
    loss.backward()
    if weight.grad is None or not close(float(weight.grad), 3.6):
        return (
            f"The number is right, its slope is not: {weight.grad} instead of 3.6 for a mean loss of 3 · weight. "
            "Which factor did not take part?"
        )
    return None


@Exercise
def gather_step(answer: Callable[[Held, int], Held]) -> str | None:
    """One step of the ring's second half."""
    n = 4
    held: Held = [[10 * process + chunk + 1 / 3 for chunk in range(n)] for process in range(n)]
    before = deepcopy(held)
    got = answer(held, 0)
    if held != before:
        return "The lists you were given have changed. Which lists inside your copy are still the old ones?"
    if hint := _not_the_lists(got, n):
        return hint
    changed = [[(r, c) for c in range(n) if not close(got[r][c], before[r][c])] for r in range(n)]
    count = sum(map(len, changed))
    if count == 0:
        return "After step 0 nobody holds anything new. Do you put what was sent into the new lists?"
    if count > n:
        return (
            f"In step 0, {count} chunks change. Each of the {n} processes sends one chunk to one neighbour: how many "
            "can change?"
        )
    right = _ring_step(before, 0)
    if all(close(got[r], right[r]) for r in range(n)):
        return _later_steps(answer)
    if close(got[1][1], before[0][1] + before[1][1]):
        return "Process 1 adds the chunk that comes to its own. These sums are finished: what should it do instead?"
    if close(got[0][2], before[1][2]):
        return "Process 1 sends its finished chunk to process 0, on its left. Who is the right neighbour of process 1?"
    if close(got[1][0], before[0][0]):
        return "Process 0 sends chunk 0. Which chunk of process 0 is finished after the first half?"
    return (
        f"In step 0, the changed places (process, chunk) are {sum(changed, [])}. Process 0 sends its chunk 1 to "
        "process 1: what changes there?"
    )


def _not_the_lists(got: Held, n: int) -> str | None:
    """A hint where the answer is not n lists of n numbers."""
    if len(got) != n or any(len(chunks) != n for chunks in got):
        return f"For {n} processes with {n} chunks you return {[len(chunks) for chunks in got]} chunks. Who lost some?"
    if any(chunk is None for chunks in got for chunk in chunks):
        return "A sender's own chunk is gone after your step. What is sent is copied: what does the sender keep?"
    return None


def _ring_step(held: Held, step: int) -> Held:
    """The solution."""
    n, after = len(held), deepcopy(held)
    for r in range(n):
        after[(r + 1) % n][(r + 1 - step) % n] = held[r][(r + 1 - step) % n]
    return after


def _later_steps(answer: Callable[[Held, int], Held]) -> str | None:
    """Step 0 is right; are the others, and does everyone hold everything in the end?"""
    n = 4
    held: Held = [[10 * process + chunk + 1 / 3 for chunk in range(n)] for process in range(n)]
    for step in range(1, n - 1):
        got, right = answer(held, step), _ring_step(held, step)
        if all(close(got[r], right[r]) for r in range(n)):
            continue
        sent = [c for c in range(n) if not close(got[1][c], held[1][c])]
        now = f"Step 0 is right. In step {step} of {n} processes, process 0 sends chunk {sent} on."
        if sent == [1]:
            return f"{now} Process 1 has had that one since step 0. Which chunk came to process 0 in step 0?"
        return f"{now} Which chunk did process 0 receive from process {n - 1} in the step before?"
    for n in (2, 3, 5):
        held = [[float(r == (c - 1) % n) for c in range(n)] for r in range(n)]
        for step in range(n - 1):
            held = torch.as_tensor(answer(held, step)).tolist()
        if not close(held, [[1.0] * n] * n):
            return f"Right for 4 processes. With {n}, somebody lacks a finished chunk in the end. Did you count on 4?"
    return None


@Exercise
def bytes_per_gpu(answer: Callable[[float, int, int], float]) -> str | None:
    """Bytes on each GPU with ZeRO."""
    billion, n = 1e9, 8
    got = [float(answer(billion, n, stage)) / billion for stage in range(4)]
    if close(got[0], 18e-9, 1e-12) or close(got[0] * billion, 18.0):
        return (
            f"For a billion parameters at stage 0 you return {got[0] * billion:.4g}. In which unit? Bytes are wanted."
        )
    came = [
        f"For a billion parameters on 8 GPUs at stage {stage} you return {got[stage]:.4g} billion."
        for stage in range(4)
    ]
    first = {
        2.25: "That is divided by 8. What is shared at stage 0?",
        144.0: "That is what all GPUs hold together. And each of them?",
        16.0: "That has 2 bytes for the gradient. How many are there if gradients are added up in float32?",
        14.0: "Without 4 bytes of each parameter. Besides two averages, what does AdamW keep in float32?",
        6.0: "Weights and gradients. What does AdamW need?",
    }
    for mistake, hint in first.items():
        if close(got[0], mistake):
            return f"{came[0]} {hint}"
    if not close(got[0], 18.0):
        return f"{came[0]} 2 for the weight, 4 for the gradient, 12 for AdamW: what is that for each parameter?"
    second = {
        2.25: "That shares everything. Which of the three is shared at stage 1?",
        18.0: "As much as at stage 0. What is shared now, and by how many?",
        11.0: "That shares 8 of the 18 bytes. How many of them are AdamW's?",
        16.25: "That shares 2 of the 18 bytes. Whose bytes does stage 1 share, and how many are they?",
        14.5: "That shares 4 of the 18 bytes. Whose bytes does stage 1 share, and how many are they?",
        12.75: "That shares weights and gradients. Which of the three is shared at stage 1?",
    }
    for mistake, hint in second.items():
        if close(got[1], mistake):
            return f"{came[1]} {hint}"
    if not close(got[1], 7.5):
        return f"{came[1]} On paper: 2 for the weight, 4 for the gradient, and an eighth of 12."
    if close(got[2], 14.5) or close(got[2], 16.25):
        return f"{came[2]} Stage 2 shares gradients. Does it give up what stage 1 has shared?"
    if close(got[2], 5.75):
        return f"{came[2]} That shares the weights, and keeps all gradients. Which of the two does stage 2 share?"
    if not close(got[2], 4.0):
        return f"{came[2]} On paper: 2 for the weight, an eighth of 4, and an eighth of 12."
    if not close(got[3], 2.25):
        return f"{came[3]} At stage 3 nothing is kept by all any more. What is an eighth of 18?"
    for n, stage, expected in ((3, 0, 54.0), (3, 1, 30.0), (3, 2, 22.0), (5, 3, 10.8), (1, 2, 54.0)):
        if not close(float(answer(3.0, n, stage)), expected):
            gpus = f"{n} GPU{'s' * (n > 1)}"
            return f"Right for 8 GPUs. For 3 parameters on {gpus} at stage {stage} it is not: is an 8 left, or a //?"
    return None
