"""The entropy floor of the story world: the smallest loss that any model can expect."""

import math
from dataclasses import dataclass

import torch

from minigpt.text import stories
from minigpt.text.data import StoryData


@dataclass(frozen=True)
class Floor:
    """The smallest loss that any model can expect on the stories, in nats per token, and how sure that is."""

    loss: float
    """Entropy of the story world divided by the mean number of tokens in a story."""
    split_loss: float
    """The same with the mean `bits` of this split's own stories: what a perfect model scores on exactly these."""
    standard_error: float
    """Of `split_loss`, from the spread between stories."""


def floor(data: StoryData, split: str) -> Floor:
    """The entropy floor for the stories of a split.

    A story's tokens include the end-of-text token, which is certain once the story is told and so adds no bits.
    """
    held_out = data.held_out_stories(split)
    lengths = torch.tensor([len(data.tokenizer.encode(s.text)) + 1 for s in held_out], dtype=torch.float64)
    nats = torch.tensor([s.bits for s in held_out], dtype=torch.float64) * math.log(2)
    ratio = (nats.sum() / lengths.sum()).item()
    spread = (nats - ratio * lengths).std().item()  # the usual error of a ratio of two means
    error = spread / lengths.mean().item() / math.sqrt(len(held_out))
    return Floor(stories.entropy() * math.log(2) / lengths.mean().item(), ratio, error)
