"""Short comments for classifiers: sentiment and moderation, in English and Chinese, with the best possible accuracy.

The label is drawn first, then each word with odds that depend on the label alone (`comments.toml`). So the probability
of a label given a comment is known (Bayes' theorem), and what it leaves uncertain no classifier can know: accuracy is
measured against `best_accuracy` and not against 100%. All of it is exact: words of one group tell the same about the
label, so it is enough to go through how often each group occurs.
"""

import itertools
import math
import random
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from minigpt.config import InputError, nearest
from minigpt.text.stories import SPLITS, split_of

COMMENT_TASKS = ("sentiment", "moderation")
LANGUAGES = {"en": "english", "zh": "chinese"}
"""The languages of a comment, and its fields that hold them."""

REMARKS = (3, 4, 5)
"""How many remarks a comment has; each number is equally likely, whatever the label."""


@dataclass(frozen=True)
class Comment:
    """A comment and the label that its words were drawn for."""

    task: str
    label: str
    english: str
    chinese: str


@dataclass(frozen=True)
class Group:
    """Words that tell the same about the label: English to Chinese, and the chance of the group under each label."""

    words: dict[str, str]
    chances: tuple[Fraction, ...]


Counts = tuple[tuple[int, ...], tuple[int, ...]]
"""How often each group of first words occurs in a comment, and each group of second words."""


class CommentWorld:
    """The comments of one task: labels, their priors, and groups of first and second words."""

    def __init__(self, source: dict[str, Any]) -> None:
        self.labels: list[str] = source["labels"]
        self.prior = [Fraction(chances, sum(source["prior"])) for chances in source["prior"]]
        self.groups = [self._read_groups(source[place]) for place in ("first", "second")]
        self._chinese: str = source["chinese"]

    def _read_groups(self, source: list[dict[str, Any]]) -> list[Group]:
        totals = [sum(group["odds"][label] for group in source) for label in range(len(self.labels))]
        chances = [tuple(map(Fraction, group["odds"], totals)) for group in source]
        return [Group(group["words"], each) for group, each in zip(source, chances, strict=True)]

    def draw(self, die: random.Random) -> tuple[int, list[tuple[str, str]]]:
        """A label and the remarks of a comment with it, each a first and a second word."""
        label = _pick(die, self.prior)
        count = REMARKS[int(die.random() * len(REMARKS))]

        def word(groups: list[Group]) -> str:
            words = list(groups[_pick(die, [group.chances[label] for group in groups])].words)
            return words[int(die.random() * len(words))]

        return label, [(word(self.groups[0]), word(self.groups[1])) for _ in range(count)]

    def remark(self, first: str, second: str, language: str) -> str:
        """Two words as a remark."""
        if language == "english":
            return f"{first} {second}"
        words = [
            next(g.words[word] for g in groups if word in g.words)
            for groups, word in zip(self.groups, (first, second), strict=True)
        ]
        return self._chinese.format(first=words[0], second=words[1])

    @cached_property
    def _readings(self) -> dict[str, tuple[int, int]]:
        """For each remark in both languages: the groups of its words."""
        return {
            self.remark(first, second, language): (i, j)
            for i, firsts in enumerate(self.groups[0])
            for j, seconds in enumerate(self.groups[1])
            for first in firsts.words
            for second in seconds.words
            for language in LANGUAGES.values()
        }

    def counts(self, text: str) -> Counts:
        """How often each group occurs in a comment, in either language.

        Raises:
            InputError: for a text that is no comment of this world, naming the first remark that is unknown.
        """
        found: list[Counter[int]] = [Counter(), Counter()]
        for part in text.removesuffix(".").removesuffix("。").replace("，", ", ").split(", "):
            remark = part[:1].lower() + part[1:]
            if remark not in self._readings:
                raise InputError(f"{part!r} is no remark of these comments: `comment_at` makes comments that are known")
            for counter, group in zip(found, self._readings[remark], strict=True):
                counter[group] += 1
        first, second = (
            tuple(counter[i] for i in range(len(groups))) for counter, groups in zip(found, self.groups, strict=True)
        )
        return first, second

    def joint(self, counts: Counts) -> list[Fraction]:
        """For each label: the chance of the label and of words of these groups in one given order."""
        chances = list(self.prior)
        for groups, numbers in zip(self.groups, counts, strict=True):
            for group, number in zip(groups, numbers, strict=True):
                chances = [c * p**number for c, p in zip(chances, group.chances, strict=True)]
        return chances

    @cached_property
    def outcomes(self) -> list[list[Fraction]]:
        """For all that can be seen of a comment (how often each group occurs): its chance together with each label."""
        found = []
        for remarks in REMARKS:
            for counts in itertools.product(*(list(_ways(remarks, len(groups))) for groups in self.groups)):
                orders = math.prod(_orders(numbers) for numbers in counts)
                found.append([chance * orders / len(REMARKS) for chance in self.joint((counts[0], counts[1]))])
        return found


def _ways(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to write `total` as a sum of so many numbers."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _ways(total - first, parts - 1):
            yield (first, *rest)


def _orders(numbers: Sequence[int]) -> int:
    """In how many orders these numbers of things of each kind can come."""
    return math.factorial(sum(numbers)) // math.prod(map(math.factorial, numbers))


def _pick(die: random.Random, chances: Sequence[Fraction]) -> int:
    """An index, drawn with these chances."""
    thrown = die.random()
    return next(
        (i for i, end in enumerate(itertools.accumulate(map(float, chances))) if thrown < end), len(chances) - 1
    )


@cache
def comment_world(task: str) -> CommentWorld:
    """The world of a task, read once.

    Raises:
        InputError: for an unknown task.
    """
    if task not in COMMENT_TASKS:
        raise InputError(f"there are no comments for {task!r}; {nearest(task, list(COMMENT_TASKS))}")
    return CommentWorld(tomllib.loads(Path(__file__).with_name("comments.toml").read_text(encoding="utf-8"))[task])


def comment_at(task: str, split: str, index: int, seed: int = 0) -> Comment:
    """Comment number `index` of a split: the same on every machine and Python version.

    Which split a comment belongs to, its English text decides, as for stories; so none is in two splits, in whatever
    language.

    Raises:
        InputError: for an unknown task or split.
    """
    world = comment_world(task)
    if split not in SPLITS:
        raise InputError(f"there is no split {split!r}; choose from {', '.join(SPLITS)}")
    die = random.Random(f"{task} {split} {seed} {index}")
    while True:
        label, remarks = world.draw(die)
        english, chinese = ([world.remark(*words, language) for words in remarks] for language in LANGUAGES.values())
        text = ", ".join(english).capitalize() + "."
        if split_of(text) == split:
            return Comment(task, world.labels[label], text, "，".join(chinese) + "。")


def label_odds(task: str, text: str) -> dict[str, float]:
    """The true probability of each label given a comment, in either language: what a perfect classifier says.

    Raises:
        InputError: for an unknown task, or a text that is no comment of it.
    """
    world = comment_world(task)
    chances = world.joint(world.counts(text))
    return {label: float(chance / sum(chances)) for label, chance in zip(world.labels, chances, strict=True)}


def best_accuracy(task: str) -> float:
    """The share of comments that the best possible classifier labels right (the Bayes limit), exactly."""
    return float(sum(max(chances) for chances in comment_world(task).outcomes))


def least_cost(task: str, costs: Sequence[Sequence[float]]) -> float:
    """What the best possible decisions cost for each comment, in the mean.

    Args:
        task: which comments.
        costs: a row for each label, in the order of its world; in it, the cost of each action when that label is true.
    """
    actions = list(zip(*costs, strict=True))  # for each action, its cost under each label
    return sum(
        min(sum(float(p) * c for p, c in zip(chances, cost, strict=True)) for cost in actions)
        for chances in comment_world(task).outcomes
    )


def best_trade_off(task: str, harmless: str) -> list[tuple[float, float]]:
    """The best possible alarms: for each threshold, the share of false alarms and the share of misses.

    Alarm where the odds against the label `harmless` are highest; no other rule has fewer misses for as few false
    alarms (Neyman and Pearson 1933). From no alarm, (0, 1), to alarm everywhere, (1, 0).
    """
    world = comment_world(task)
    place = world.labels.index(harmless)
    pairs = [(chances[place], sum(chances) - chances[place]) for chances in world.outcomes]
    by_ratio: dict[Fraction, list[Fraction]] = {}
    for fine, bad in pairs:
        both = by_ratio.setdefault(bad / fine, [Fraction(0), Fraction(0)])
        both[0], both[1] = both[0] + fine, both[1] + bad
    alarms, hits = Fraction(0), Fraction(0)
    found = [(0.0, 1.0)]
    for ratio in sorted(by_ratio, reverse=True):
        alarms, hits = alarms + by_ratio[ratio][0], hits + by_ratio[ratio][1]
        found.append((float(alarms / world.prior[place]), float(1 - hits / (1 - world.prior[place]))))
    return found
