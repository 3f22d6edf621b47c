"""How good a model is: loss over a whole split, distance to the entropy floor, samples graded by the story world."""

import math
from dataclasses import dataclass
from itertools import islice

import torch

from minigpt import stories
from minigpt.config import IGNORE, InputError, Precision
from minigpt.data import Data, StoryData
from minigpt.generate import generate
from minigpt.model import GPT, next_token_loss
from minigpt.runtime import autocast, rank, sum_over_processes, world_size
from minigpt.tokenizer import Tokenizer


@torch.no_grad()
def mean_loss(model: GPT, data: Data, split: str, *, batch_size: int = 64, precision: Precision = "float32") -> float:
    """Mean loss over every token of a split, in nats per token.

    A sum over all targets divided by their number: padding does not count, and the batch size makes no difference. Of
    several processes, each measures its share of the batches, and all get the same result.

    Raises:
        InputError: for a split that the data does not have.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    sums = torch.zeros(2, dtype=torch.float64, device=device)  # of the losses, and of how many they are
    for inputs, targets in islice(data.batches(split, batch_size), rank(), None, world_size()):
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


@dataclass(frozen=True)
class Grade:
    """Shares of a set of texts, from 0 to 1."""

    grammatical: float
    """Every sentence exists in the story world, in an order that a plot allows."""
    consistent: float
    """And no fact contradicts another: names, pronouns, colours, places, who has what."""


def grade(texts: list[str]) -> Grade:
    """How many of the texts are stories of the story world."""
    verdicts = [stories.verify(text) for text in texts]
    return Grade(
        sum(verdict.grammatical for verdict in verdicts) / len(verdicts),
        sum(verdict.consistent for verdict in verdicts) / len(verdicts),
    )


def sample_stories(
    model: GPT, tokenizer: Tokenizer, count: int, seed: int = 0, *, temperature: float = 1.0, at_once: int = 100
) -> list[str]:
    """`count` stories from an empty prompt."""
    end = tokenizer.end_of_text
    if end is None:
        raise InputError("this model's tokenizer has no end-of-text token, so it cannot start or end a story")
    texts: list[str] = []
    while len(texts) < count:
        number = min(at_once, count - len(texts))
        room = model.config.context_length - 1
        samples = generate(
            model, [end], room, num=number, temperature=temperature, stop_token=end, seed=seed + len(texts)
        )
        texts += [tokenizer.decode(ids) for ids in samples]
    return texts


def evaluate(
    model: GPT, data: Data, split: str | None = None, samples: int = 1000, seed: int = 0
) -> dict[str, float | str | None]:
    """Everything that `minigpt evaluate` reports.

    Args:
        model: the model.
        data: stories or a text.
        split: default: test for stories, val for a text.
        samples: stories to generate and grade; only for a model of stories.
        seed: of those samples.

    Returns:
        data, split, loss (nats per token), perplexity, bits_per_byte, floor, gap (loss − floor on the same stories),
        floor_error (standard error of the gap's floor), grammatical, consistent; None where it has no meaning.

    Raises:
        InputError: for a split that the data does not have, or a negative number of samples.
    """
    if samples < 0:
        raise InputError(f"samples is {samples}; it must be at least 0")
    split = split or ("test" if isinstance(data, StoryData) else "val")
    loss = mean_loss(model, data, split)
    result: dict[str, float | str | None] = {
        "data": data.spec["name"], "split": split, "loss": loss, "perplexity": perplexity(loss),
        "bits_per_byte": bits_per_byte(loss, data, split),
        "floor": None, "floor_error": None, "gap": None, "grammatical": None, "consistent": None,
    }  # fmt: skip
    if isinstance(data, StoryData):
        bound = floor(data, split)
        result |= {"floor": bound.split_loss, "floor_error": bound.standard_error, "gap": loss - bound.split_loss}
        if samples:
            grades = grade(sample_stories(model, data.tokenizer, samples, seed))
            result |= {"grammatical": grades.grammatical, "consistent": grades.consistent}
    return result
