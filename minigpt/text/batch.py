"""Rows of token ids of uneven length as one batch: padded, told which ids are to be guessed; and the order of rows."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from minigpt.config import IGNORE

Batch = tuple[Tensor, Tensor]
"""Inputs and targets, (B, T) int64; targets are the inputs one place later, IGNORE where there is nothing to guess."""


def pad_rows(rows: Sequence[Sequence[int]], pad_id: int, learned: Sequence[Sequence[bool]] | None = None) -> Batch:
    """One batch of rows of ids, as long as the longest of them.

    What counts is decided by the place, never by the id: padding is no target, and an end token with the same id is.

    Args:
        rows: B rows of at least two ids each.
        pad_id: the input where a row has ended. Nothing before it can see it, and its target is IGNORE.
        learned: for each id of each row, whether it is a target. Default: all but the first of a row, which nothing
            comes before.
    """
    longest = max(map(len, rows))
    inputs = torch.full((len(rows), longest - 1), pad_id)
    targets = torch.full((len(rows), longest - 1), IGNORE)
    for i, row in enumerate(rows):
        inputs[i, : len(row) - 1] = torch.tensor(row[:-1])
        following = torch.tensor(row[1:])
        if learned is not None:
            following[~torch.tensor(learned[i][1:])] = IGNORE
        targets[i, : len(row) - 1] = following
    return inputs, targets


@lru_cache(maxsize=8)
def dealt(seed: int, epoch: int, count: int) -> list[int]:
    """The numbers below `count` in a random order, which depends on the seed and the epoch alone; not to be changed."""
    # Philox is counter-based (Salmon et al. 2011): it jumps to any epoch at once.
    random = np.random.Philox(key=seed, counter=[0, 0, 0, epoch])
    order: list[int] = np.argsort(random.random_raw(count), kind="stable").tolist()
    return order
