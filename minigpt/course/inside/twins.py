"""Stories in pairs that differ in the hero's name and in nothing else, token for token: what patching needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.text import stories
from minigpt.text.stories import Story
from minigpt.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Twins:
    """B stories of the story world, each cut off where the hero's name comes once more, and their twins.

    Attributes: `here` and `there` (B, T), the stories and their twins, filled up at the end; (B,) each: `name`, where
    the hero is first named; `stop`, the full stop that ends that sentence; `ask`, the last token before the name comes
    again; `old` and `new`, the ids of the two names.
    """

    here: Tensor
    there: Tensor
    name: Tensor
    stop: Tensor
    ask: Tensor
    old: Tensor
    new: Tensor


def hero_twins(tokenizer: Tokenizer, count: int, split: str = "test") -> Twins:
    """Twins of the first stories of a split in which the hero is named again after that sentence.

    The twin's hero has another name for which the same pronouns fit; a story's number picks it.

    Args:
        tokenizer: in which every hero's name is one token, as in the storyteller's.
        count: how many pairs.
        split: of the story world.

    Raises:
        InputError: for no pair at all.
    """
    if count < 1:
        raise InputError(f"{count} pairs were asked for: take at least 1")
    heroes = {row[""]: row for row in stories.world().tables["heroes"]}
    pairs: list[tuple[list[int], list[int]]] = []
    places: list[tuple[int, int, int, int, int]] = []
    number = 0
    while len(pairs) < count:
        story = stories.story_at(split, number)
        old = heroes[story.facts["hero"]]
        like = [row for row in heroes.values() if row is not old and row["they"] == old["they"]]
        facts = stories.world().rows(story.facts) | {"hero": like[number % len(like)]}
        twin = stories.world().tell(story.plot, facts, story.wording)
        here, there = story_ids(tokenizer, story.text), story_ids(tokenizer, twin)
        name, stop = first_places(tokenizer, here, story)
        differ = [t for t, (a, b) in enumerate(zip(here, there, strict=True)) if a != b]
        if (ask := differ[-1] - 1) >= stop:
            pairs.append((here[: ask + 1], there[: ask + 1]))
            places.append((name, stop, ask, here[ask + 1], there[ask + 1]))
        number += 1
    end = tokenizer.end_of_text or 0
    first, second = (padded([pair[i] for pair in pairs], end) for i in (0, 1))
    return Twins(first, second, *torch.tensor(places).T)


def story_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """A story's ids with the token in front that stands before every story."""
    return [tokenizer.end_of_text or 0, *tokenizer.encode(text)]


def first_places(tokenizer: Tokenizer, ids: list[int], story: Story) -> tuple[int, int]:
    """Where the hero is first named, and the full stop that ends that sentence."""
    (hero,) = tokenizer.encode(f" {story.facts['hero']}")
    (full_stop,) = tokenizer.encode(".")
    name = ids.index(hero)
    return name, ids.index(full_stop, name)


def padded(rows: Sequence[list[int]], fill: int) -> Tensor:
    """Rows of ids, filled up at the end, where no earlier token looks: (B, T)."""
    ids = torch.full((len(rows), max(map(len, rows))), fill)
    for row, known in zip(ids, rows, strict=True):
        row[: len(known)] = torch.tensor(known)
    return ids
