"""What kind of head is this: scores of attention patterns, each from 0 to 1.

A score says where a head looks on these texts, and not what comes of it (`patching` does). Give it a control: the same
score on a text in which the pattern means nothing, or of all other heads.
"""

import torch
from torch import Tensor

from minigpt.config import InputError


def previous_token_score(weights: Tensor) -> Tensor:
    """The weight on the token just before, in the mean over all tokens but the first: (..., T, T) -> (...)."""
    _check(weights)
    return weights.diagonal(-1, -2, -1).mean(-1)


def duplicate_score(weights: Tensor, ids: Tensor) -> Tensor:
    """The weight on earlier tokens equal to the one that looks, in the mean over those that have one.

    Args:
        weights: (..., T, T).
        ids: (T,).
    """
    return _score(weights, (ids[:, None] == ids[None, :]).tril(-1))


def induction_score(weights: Tensor, ids: Tensor) -> Tensor:
    """The weight on tokens that came right after an earlier one equal to the one that looks (Olsson et al. 2022).

    Such a head sees «… Ida lost … Ida» and looks at «lost», so that it can say it again. Measure it on random tokens
    that are repeated (`repeated_tokens`), where nothing else tells what comes next.

    Args:
        weights: (..., T, T).
        ids: (T,).
    """
    same = (ids[:, None] == ids[None, :]).tril(-1)  # (T, T): row looks, column is an earlier equal
    return _score(weights, torch.nn.functional.pad(same[:, :-1], (1, 0)).tril(-1))


def repeated_tokens(n: int, vocab_size: int, seed: int = 0, times: int = 2) -> Tensor:
    """n different random tokens, the same again, …: (times n,)."""
    if n > vocab_size:
        raise InputError(f"{n} different tokens of a vocabulary of {vocab_size} cannot be drawn: take fewer")
    drawn = torch.randperm(vocab_size, generator=torch.Generator().manual_seed(seed))[:n]
    return drawn.repeat(times)


def _score(weights: Tensor, target: Tensor) -> Tensor:
    _check(weights)
    rows = target.any(-1)
    if not rows.any():
        raise InputError("no token of this text has what the score looks for: give a text in which tokens come again")
    return (weights * target).sum(-1)[..., rows].mean(-1)


def _check(weights: Tensor) -> None:
    if weights.dim() < 2 or weights.size(-1) != weights.size(-2) or weights.size(-1) < 2:
        raise InputError(f"weights have the shape {tuple(weights.shape)}; they must be (..., T, T) with T of 2 or more")
