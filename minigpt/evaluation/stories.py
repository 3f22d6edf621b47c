"""Stories that a model tells, graded by the story world."""

from dataclasses import dataclass

from minigpt.config import InputError
from minigpt.generation.generate import generate
from minigpt.model.gpt import GPT
from minigpt.text import stories
from minigpt.text.tokenizer import Tokenizer


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
