"""Loss over a whole split, in nats per token, and two other ways to say it."""

import math
from itertools import islice

import torch

from minigpt.config import IGNORE, Precision
from minigpt.model.gpt import GPT, next_token_loss
from minigpt.runtime import autocast, rank, sum_over_processes, world_size
from minigpt.text.data import Data, check_labels

MOST_LOGITS = 2**28
"""At once: a gibibyte in float32. 64 rows of GPT-2's context and vocabulary would be 13."""


@torch.no_grad()
def mean_loss(
    model: GPT, data: Data, split: str, *, batch_size: int | None = None, precision: Precision = "float32"
) -> float:
    """Mean loss over every token of a split, in nats per token.

    A sum over all targets divided by their number: padding does not count, and the batch size makes no difference. Of
    several processes, each measures its share of the batches, and all get the same result.

    Raises:
        InputError: for a split that the data does not have, or labels that are not the model's.
    """
    check_labels(model.config, data)
    was_training = model.training
    model.eval()
    config = model.config
    batch_size = batch_size or max(1, min(64, MOST_LOGITS // (config.context_length * config.vocab_size)))
    device = next(model.parameters()).device
    sums = torch.zeros(2, dtype=torch.float64, device=device)  # of the losses, and of how many they are
    batches = iter(data.batches(split, batch_size))
    while group := list(islice(batches, world_size())):
        # All call the model equally often, because a model in shards is gathered from all.
        inputs, targets = group[min(rank(), len(group) - 1)]
        if rank() >= len(group):  # the last batches do not go round: this one is another process's
            targets = torch.full_like(targets, IGNORE)
        with autocast(device, precision):
            logits = model(inputs.to(device))
        sums[0] += next_token_loss(logits, targets.to(device), n_targets=1)
        sums[1] += int((targets != IGNORE).sum())
    model.train(was_training)
    total, count = sum_over_processes(sums).tolist()
    return float(total / count)


def perplexity(loss: float) -> float:
    """e^loss: the number of equally likely tokens that would be as hard to guess (Jelinek et al. 1977)."""
    return math.exp(loss) if loss < 700 else math.inf  # where the exponential would overflow


def bits_per_byte(loss: float, data: Data, split: str) -> float:
    """Bits that a model with this mean loss needs for a byte of text.

    Unlike the loss per token, it compares models with different tokenizers.
    """
    tokens = sum(int((targets != IGNORE).sum()) for _, targets in data.batches(split, 64))
    return loss * tokens / math.log(2) / data.text_bytes(split)
