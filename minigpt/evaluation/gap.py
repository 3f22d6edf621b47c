"""Why a model's loss on the stories is above the floor: its distance from the truth, split by cause.

At each token of a story a model can lose in two ways: it gives probability to what no story says here (`impossible`),
or it spreads the rest otherwise than the dice do (`odds`). And there are three kinds of places (`CAUSES`): where dice
decide what comes, where memory does, and where the words of the story world leave nothing open.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from minigpt.config import InputError
from minigpt.evaluation.truth import divergence, impossible, true_distributions
from minigpt.model.gpt import GPT
from minigpt.text.stories import Slot, Story, World, world
from minigpt.text.tokenizer import CharTokenizer, Tokenizer

CAUSES = ("dice", "memory", "wording")
"""`dice`: several tokens can come. `memory`: one alone, and it tells a fact that the story has told before.
`wording`: one alone, and it is part of a sentence's own words, or the rest of a word that the dice have chosen."""


@dataclass(frozen=True)
class Cause:
    """What a model loses at the places of one kind, in nats a story, and how many such places a story has."""

    tokens: float
    impossible: float
    odds: float

    @property
    def nats(self) -> float:
        """Both together: this cause's part of the gap."""
        return self.impossible + self.odds


def told_by(story: Story, of: World | None = None) -> list[str]:
    """What each byte of a story tells: `memory` a fact that was told before, `spelling` one for the first time, and
    `text` is of a sentence's own words and the spaces between sentences."""
    of = of or world()
    rows, told = of.rows(story.facts), set[str]()
    found: list[str] = []
    for number, (name, variant) in enumerate(zip(of.plots[story.plot], story.wording, strict=True)):
        found += ["text"] * (number > 0)
        for piece in of.sentences[name][variant]:
            if isinstance(piece, Slot):
                kind = "memory" if piece.fact in told else "spelling"
                found += [kind] * len(piece.fill(rows[piece.fact]).encode())
                told.add(piece.fact)
            else:
                found += ["text"] * len(piece.encode())
    return found


def causes(tokenizer: Tokenizer, story: Story, of: World | None = None) -> list[str]:
    """The cause at each token of a story, and at the end-of-text token after it: one of `CAUSES`.

    Raises:
        InputError: as `true_distributions`.
    """
    told = told_by(story, of)
    found, place = [], 0
    ids = tokenizer.encode(story.text)
    for token, options in zip(ids, true_distributions(tokenizer, story.text, of), strict=False):
        length = len(
            tokenizer.decode([token]).encode() if isinstance(tokenizer, CharTokenizer) else tokenizer.token_bytes(token)
        )
        known = "memory" if "memory" in told[place : place + length] else "wording"
        found.append("dice" if len(options) > 1 else known)
        place += length
    return [*found, "wording"]


@torch.no_grad()
def gap_by_cause(model: GPT, tokenizer: Tokenizer, told: Iterable[Story], of: World | None = None) -> dict[str, Cause]:
    """A model's expected loss above the floor along these stories, in nats a story, split by `CAUSES`.

    The sum over causes is the mean of `story_divergence` over stories: what the loss exceeds the floor by, luck apart.

    Args:
        model: of the stories; its place and its numbers are left as they are.
        tokenizer: the model's.
        told: stories, best those of a held-out split.
        of: their world. Default: the English one.

    Raises:
        InputError: as `true_distributions`, for no stories, and for one that does not fit into the model's context.
    """
    training, device = model.training, model.token_embedding.weight.device
    sums = {cause: torch.zeros(3, dtype=torch.float64) for cause in CAUSES}
    count = 0
    model.eval()
    for story in told:
        truth = true_distributions(tokenizer, story.text, of)
        ids = [tokenizer.end_of_text, *tokenizer.encode(story.text)]
        logits = model(torch.tensor([ids], device=device))[0, :, : model.config.vocab_size]
        rows = logits.double().log_softmax(-1).cpu()  # (T, vocab_size)
        wrong = -torch.log1p(-impossible(rows, truth))
        each = torch.stack([torch.ones(len(ids)), wrong, divergence(rows, truth) - wrong], dim=1)  # (T, 3)
        for cause, measured in zip(causes(tokenizer, story, of), each, strict=True):
            sums[cause] += measured
        count += 1
    model.train(training)
    if not count:
        raise InputError("there are no stories to measure the gap on; give at least one")
    return {cause: Cause(*(total / count).tolist()) for cause, total in sums.items()}
