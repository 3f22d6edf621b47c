"""A batch in parts, for a CPU: few rows at a time, which its caches hold, and the parts shared among threads."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from minigpt.config import IGNORE
from minigpt.model.counted import ends
from minigpt.runtime import in_threads

Part = tuple[Tensor, ...]
"""Some rows of a batch: inputs (B, T), targets (B, T), and of whatever there is besides."""
Sums = dict[str, Tensor]
"""What is added up over the parts, by name: scalars in float64, "loss" among them."""
LossOf = Callable[[Part], tuple[Tensor, Sums]]
"""The loss of a part, from which its gradient is taken, and what is added up."""

AT_ONCE = 1536
"""Tokens, at most, of a part, but two rows are always together."""


def shortest_first(batch: Part) -> Part:
    """The same rows, in the order in which they end: then the rows of a part are alike, and little of it is padding."""
    order = ends(batch[1] != IGNORE).argsort(stable=True)
    return tuple(column[order] for column in batch)


def in_parts(batch: Part, rows: int, threads: int = 1) -> list[Part]:
    """The parts of a batch, none with more columns than its longest row needs; as many for each thread, where it can.

    Rows that are pairs, the first two, the next two and so on, stay together.

    Args:
        batch: all rows; there is an even number of them where they are pairs.
        rows: of a part, at most.
        threads: that will share the parts.
    """
    inputs = batch[0]
    number = -(-len(inputs) // max(1, min(rows, AT_ONCE // inputs.size(1))))
    size = -(-len(inputs) // (number + -number % threads))
    found = []
    for part in zip(*(column.split(min(rows, size + size % 2)) for column in batch), strict=True):
        length = max(1, int(ends(part[1] != IGNORE).max()))
        found.append(tuple(column[:, :length] for column in part))
    return found


def shares(parts: list[Part], threads: int) -> list[list[Part]]:
    """What each thread gets, dealt out there and back again: all have as much to do where parts grow longer."""
    turn = 2 * threads
    found = [parts[i::turn] + parts[turn - 1 - i :: turn] for i in range(threads)]
    return [share for share in found if share]


def backward_in_threads(loss_of: LossOf, parts: list[Part], learned: list[nn.Parameter], threads: int) -> Sums:
    """Leave the sum of the parts' gradients in the parameters, and return their sums.

    Each thread adds up a gradient of its own; the order of all additions is always the same.
    """

    def work(share: list[Part]) -> tuple[Sums, list[Tensor]]:
        sums: Sums = {}
        gradient: list[Tensor] = []
        for part in share:
            loss, more = loss_of(part)
            found = list(torch.autograd.grad(loss, learned))
            if gradient:
                torch._foreach_add_(gradient, found)
            gradient, sums = gradient or found, added(sums, more)
        return sums, gradient

    (sums, gradient), *others = in_threads(work, shares(parts, threads))
    for more, further in others:
        torch._foreach_add_(gradient, further)
        sums = added(sums, more)
    for parameter, one in zip(learned, gradient, strict=True):
        # torch's fused optimisers on a CPU read a gradient as if it lay in memory as its parameter does.
        parameter.grad = one if one.stride() == parameter.stride() else torch.empty_like(parameter).copy_(one)
    return sums


def added(sums: Sums, more: Sums) -> Sums:
    """Both together; no sums at all are 0."""
    return {name: sums[name] + value if sums else value for name, value in more.items()}
