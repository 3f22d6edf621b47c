"""Whether probabilities can be believed: in bins of confidence, and against the true distribution where it is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt.config import InputError


@dataclass(frozen=True)
class Bin:
    """Predictions whose confidence lies above `low` and not above `high`: how many, mean confidence, mean of what held.

    `confidence` and `accuracy` are None where there is no prediction.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def reliability(confidence: Tensor, right: Tensor, bins: int = 15) -> list[Bin]:
    """The bins of a reliability diagram (Guo et al. 2017, section 2): equal parts of 0 to 1.

    Args:
        confidence: (N,), the probability that was given to each prediction.
        right: (N,), whether it was right, or, where it is known, the true probability that it is.
        bins: how many.

    Raises:
        InputError: when there are not as many of both, or none, or a value is no probability.
    """
    if confidence.shape != right.shape or confidence.dim() != 1 or not len(confidence):
        raise InputError(
            f"{tuple(confidence.shape)} confidences for {tuple(right.shape)} outcomes: give as many, one each"
        )
    confidence, right = confidence.double(), right.double()
    for name, values in (("confidence", confidence), ("outcome", right)):
        if bad := values[~((values >= 0) & (values <= 1 + 1e-6))].tolist():
            raise InputError(f"a {name} is {bad[0]}; it must be from 0 to 1")
    part = (confidence * bins).ceil().long().clamp(1, bins) - 1
    found = []
    for i in range(bins):
        here = part == i
        count = int(here.sum())
        means = (confidence[here].mean().item(), right[here].mean().item()) if count else (None, None)
        found.append(Bin(i / bins, (i + 1) / bins, count, *means))
    return found


def calibration_error(found: Sequence[Bin]) -> float:
    """How far confidence is from accuracy in the mean over all predictions, ECE (Guo et al. 2017, equation 3)."""
    total = sum(one.count for one in found)
    return sum(
        one.count * abs(one.confidence - one.accuracy)
        for one in found
        if one.confidence is not None and one.accuracy is not None
    ) / max(1, total)


def against_truth(log_probabilities: Tensor, truth: Sequence[dict[int, float]]) -> tuple[Tensor, Tensor]:
    """The probability of the model's likeliest token at each place, and the true one of the same token: twice (T,).

    Given to `reliability` as confidence and as what held, they need no sample of outcomes: what is left between the two
    is the model's error alone.

    Args:
        log_probabilities: (T, vocab_size), of a model.
        truth: T distributions, as `minigpt.evaluation.truth.true_distributions` gives them.

    Raises:
        InputError: when there are not as many of both.
    """
    if len(log_probabilities) != len(truth):
        raise InputError(f"{len(log_probabilities)} predictions for {len(truth)} true distributions: give as many")
    best, token = log_probabilities.double().max(-1)
    held = [options.get(t, 0.0) for t, options in zip(token.tolist(), truth, strict=True)]
    return best.exp(), torch.tensor(held, dtype=torch.float64)
