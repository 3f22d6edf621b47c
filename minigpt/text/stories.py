"""The story world: short children's stories whose probability is known.

A story is made by fair dice: first facts are drawn (a hero, a trouble, who helps, where, …), then each sentence is
drawn from a few wordings and filled in with the facts. `stories.toml` holds the words; this file throws the dice.

Every throw shows in the text, so a text can be made in one way only, and its probability is the product of the throws.
The mean of its negative logarithm is the entropy of the world (Shannon 1948, section 6): no language model can have a
smaller expected loss. `verify` goes the other way, from a text to its facts, and says what is wrong first.
"""

import hashlib
import itertools
import math
import random
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from minigpt.config import InputError

SPLITS = ("train", "val", "test")

Row = dict[str, str]
"""One line of a word table: column name to word. The first column names the row."""


@dataclass(frozen=True)
class Story:
    """One story: what is true in it, how it is worded, its text, and −log2 of its probability."""

    plot: str
    facts: dict[str, str]
    wording: tuple[int, ...]
    text: str
    bits: float


@dataclass(frozen=True)
class Verdict:
    """What `verify` found: `problem` is None for a story of this world, else what is wrong first.

    `grammatical`: every sentence exists and they come in a plot's order. `consistent`: the facts agree as well.
    """

    grammatical: bool
    consistent: bool
    problem: str | None
    plot: str | None
    facts: dict[str, str]


@dataclass(frozen=True)
class Slot:
    """A hole in a sentence: a fact, which column of its row, and whether an article or a capital goes with it."""

    fact: str
    column: str
    article: str
    capital: bool

    def fill(self, row: Row) -> str:
        """The words that stand in this slot when the fact is `row`."""
        word = row[self.column]
        if self.article:
            word = ("an " if word[0] in "aeiou" else "a ") + word
        return word[0].upper() + word[1:] if self.capital or self.article == "A" else word


Sentence = list[str | Slot]


def read_sentence(text: str) -> Sentence:
    """Split «There {hero.they} saw {a kind}.» into plain text and slots."""
    pieces: Sentence = []
    for i, piece in enumerate(re.split(r"\{(.*?)\}", text)):
        if i % 2 == 0:
            pieces.append(piece)
        else:
            article, _, name = piece.rpartition(" ")
            fact, _, column = name.partition(".")
            pieces.append(Slot(fact, column.lower(), article, column[:1].isupper()))
    return pieces


def fill(sentence: Sentence, facts: dict[str, Row]) -> str:
    """A sentence with its slots filled in."""
    return "".join(piece if isinstance(piece, str) else piece.fill(facts[piece.fact]) for piece in sentence)


def read_table(text: str) -> list[Row]:
    """The rows of a word table: a plain comma list, or lines with bars under a line of column names."""
    if "|" not in text:
        return [{"": word.strip()} for word in text.split(",")]
    header, *lines = [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]
    columns = ["", *header[1:]]
    return [
        dict(zip(columns, [word.strip(), *cells[1:]], strict=True)) for cells in lines for word in cells[0].split(",")
    ]


class World:
    """A story world read from a TOML text: see `stories.toml` for the format and its two rules.

    Raises:
        InputError: for a repeated word, rows with unequal lists, a fact that depends on one which its plot does not
            draw, or a fact that some wording would never tell.
    """

    def __init__(self, toml_text: str) -> None:
        source = tomllib.loads(toml_text)
        self.tables = {name: read_table(text) for name, text in source["tables"].items()}
        self.rules: dict[str, dict[str, str]] = source["facts"]
        self.plots: dict[str, list[str]] = source["plots"]
        self.sentences = {name: [read_sentence(s) for s in variants] for name, variants in source["sentences"].items()}
        for name, rows in self.tables.items():
            if len({row[""] for row in rows}) < len(rows):
                raise InputError(f"table {name!r} holds a word twice: then one text has two derivations")
        for fact, rule in self.rules.items():
            table, _, column = rule["from"].partition(".")
            lists = [_words(row[column]) for row in self.all_rows(table)] if column else []
            if any(len(set(words)) < len(words) for words in lists):
                raise InputError(
                    f"fact {fact!r}: a list in {column!r} holds a word twice: then one text has two derivations"
                )
            if len(set(map(len, lists))) > 1:
                raise InputError(f"fact {fact!r}: every row of {table!r} needs the same number of words in {column!r}")
        self.facts_of = {plot: self._facts_of(plot) for plot in self.plots}

    def _facts_of(self, plot: str) -> list[str]:
        """The facts that a plot draws, in the order of the rules; each can be read off the text in every wording."""
        slots = [[[p for p in v if isinstance(p, Slot)] for v in self.sentences[name]] for name in self.plots[plot]]
        drawn = {slot.fact for variants in slots for variant in variants for slot in variant}
        told = [[{s.fact for s in variant if self._identifies(s)} for variant in variants] for variants in slots]
        if hidden := drawn - {fact for variants in told for fact in set.intersection(*variants)}:
            raise InputError(
                f"plot {plot!r} draws {sorted(hidden)}, but a story may never tell it: then one text has several "
                "derivations and its bits are wrong. Name it in every variant of one of the plot's sentences"
            )
        for fact in self.rules:
            if fact in drawn and (missing := set(self._depends_on(fact)) - drawn):
                raise InputError(f"plot {plot!r} draws {fact!r} but never draws {min(missing)!r}, which it depends on")
        return [fact for fact in self.rules if fact in drawn]

    def _identifies(self, slot: Slot) -> bool:
        """Whether the words in this slot leave one value for the fact: «fox» does, «her» does not."""
        return all(len(values) == 1 for values in self._readings(slot).values())

    @cache  # noqa: B019  (a world lives as long as the program)
    def all_rows(self, fact: str) -> list[Row]:
        """Every row that this fact could be in some story."""
        source, _, column = self.rules[fact]["from"].partition(".")
        if not column:
            return self.tables[source]
        return [{"": word} for row in self.all_rows(source) for word in _words(row[column])]

    def options(self, fact: str, facts: dict[str, Row]) -> list[Row]:
        """The rows that this fact can be, given the facts drawn before it."""
        source, _, column = self.rules[fact]["from"].partition(".")
        return [{"": word} for word in _words(facts[source][column])] if column else self.tables[source]

    def derive(self, choose: Callable[[int], int]) -> Story:
        """One story, where `choose(n)` throws a die with n sides and returns 0 .. n − 1."""
        ways = 1

        def pick(options: Sequence[Any]) -> Any:
            nonlocal ways
            ways *= len(options)
            return options[choose(len(options))]

        plot = pick(list(self.plots))
        facts: dict[str, Row] = {}
        for fact in self.facts_of[plot]:
            facts[fact] = pick(self.options(fact, facts))
        wording = tuple(pick(range(len(self.sentences[name]))) for name in self.plots[plot])
        return Story(
            plot, {f: row[""] for f, row in facts.items()}, wording, self.tell(plot, facts, wording), math.log2(ways)
        )

    def tell(self, plot: str, facts: dict[str, Row], wording: tuple[int, ...]) -> str:
        """The renderer: facts and the choice of wordings to text."""
        return " ".join(self.steps(plot, facts, wording))

    def steps(self, plot: str, facts: dict[str, Row], wording: tuple[int, ...]) -> list[str]:
        """What each step of the plot says: one sentence, or a few."""
        named = zip(self.plots[plot], wording, strict=True)
        return [fill(self.sentences[name][variant], facts) for name, variant in named]

    def rows(self, facts: dict[str, str]) -> dict[str, Row]:
        """The row of each fact: all forms of it, for `fill`."""
        return {fact: next(row for row in self.all_rows(fact) if row[""] == value) for fact, value in facts.items()}

    def ways(self, plot: str) -> int:
        """How many stories a plot has: the product of the sides of its dice.

        The sides are the same in all its stories (`__init__` makes sure), so the dice of any one of them will do.
        """
        sides: list[int] = []

        def always_first(n: int) -> int:
            sides.append(n)
            return list(self.plots).index(plot) if len(sides) == 1 else 0

        self.derive(always_first)
        return math.prod(sides[1:])

    @cached_property
    def n_stories(self) -> int:
        """How many different stories there are."""
        return sum(map(self.ways, self.plots))

    @cached_property
    def entropy(self) -> float:
        """Entropy of the world in bits per story: the die that picks the plot, then the mean of what follows."""
        return math.log2(len(self.plots)) + sum(math.log2(self.ways(plot)) for plot in self.plots) / len(self.plots)

    @cache  # noqa: B019
    def _readings(self, slot: Slot) -> dict[str, frozenset[str]]:
        """For each text that can stand in the slot: the values of the fact that give it."""
        readings: dict[str, set[str]] = {}
        for row in self.all_rows(slot.fact):
            readings.setdefault(slot.fill(row), set()).add(row[""])
        return {text: frozenset(values) for text, values in readings.items()}

    @cache  # noqa: B019
    def _pattern(self, name: str, variant: int) -> re.Pattern[str]:
        """A regular expression for one wording, with a group for each slot."""
        pieces = self.sentences[name][variant]
        # Longest first, so that «a wedding cake» is not read as «a wedding».
        words = [sorted(self._readings(p), key=len, reverse=True) if isinstance(p, Slot) else [] for p in pieces]
        return re.compile(
            "".join(
                re.escape(p) if isinstance(p, str) else f"({'|'.join(map(re.escape, w))})"
                for p, w in zip(pieces, words, strict=True)
            )
        )

    def _read(self, plot: str, text: str) -> tuple[int, int, list[tuple[Slot, str]]]:
        """Follow a plot's sentences through a text: how many were read, where that stopped, what filled the slots."""
        end = 0
        filled: list[tuple[Slot, str]] = []
        for n, name in enumerate(self.plots[plot]):
            start = end + 1 if n else 0
            if n and text[end : end + 1] != " ":
                return n, end, filled
            for variant, pieces in enumerate(self.sentences[name]):
                if match := self._pattern(name, variant).match(text, start):
                    filled += zip([p for p in pieces if isinstance(p, Slot)], match.groups(), strict=True)
                    end = match.end()
                    break
            else:
                return n, end, filled
        return len(self.plots[plot]), end, filled

    def verify(self, text: str) -> Verdict:
        """Whether `text` is a story of this world, its facts, and what is wrong first if it is not."""
        text = text.strip()
        # The plot that explains most of the text is the one it was meant to have.
        plot, (n, end, filled) = max(
            ((p, self._read(p, text)) for p in self.plots), key=lambda read: (read[1][1], -len(self.plots[read[0]]))
        )
        if n < len(self.plots[plot]) or end < len(text):
            rest = text[end:].strip()
            if not rest:
                problem = f"the story stops after sentence {n}" if n else "the text is empty"
            elif n == len(self.plots[plot]):
                problem = f"the story goes on after its end: {_shorten(rest)!r}"
            else:
                problem = f"sentence {n + 1} is unknown here: {_shorten(rest)!r}"
            return Verdict(False, False, problem, None, {})
        known = {fact: frozenset(row[""] for row in self.all_rows(fact)) for fact in self.facts_of[plot]}
        for slot, words in filled:
            values = known[slot.fact] & self._readings(slot)[words]
            if not values:
                was = " or ".join(sorted(known[slot.fact])[:3]) + (" …" if len(known[slot.fact]) > 3 else "")
                return Verdict(True, False, f"{words!r} does not fit: {slot.fact} was {was}", plot, {})
            known[slot.fact] = values
        facts = {fact: next(iter(values)) for fact, values in known.items()}  # rule 1: one value is left
        rows = self.rows(facts)
        for fact, value in facts.items():
            if value not in [row[""] for row in self.options(fact, rows)]:
                reason = ", ".join(f"{other} is {facts[other]}" for other in self._depends_on(fact))
                return Verdict(True, False, f"{fact} cannot be {value!r} when {reason}", plot, facts)
        return Verdict(True, True, None, plot, facts)

    def _depends_on(self, fact: str) -> list[str]:
        source, _, column = self.rules[fact]["from"].partition(".")
        return [source] if column else []


@cache
def _words(cell: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in cell.split(";"))


def _shorten(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[:length] + "…"


@cache
def world() -> World:
    """The English story world, read once."""
    return World(Path(__file__).with_name("stories.toml").read_text(encoding="utf-8"))


def draw(seed: int, index: int, attempt: int = 0) -> Story:
    """Story number `index` of the endless book `seed`: the same on every machine and Python version.

    `random.Random(str).random()` is the part of Python's generator that its documentation promises never to change.
    """
    die = random.Random(f"{seed} {index} {attempt}").random
    return world().derive(lambda n: int(die() * n))


def split_of(text: str) -> str:
    """The split that a story belongs to, from a hash of its text: 8 in 10 train, 1 validation, 1 test.

    A story of one split can therefore never appear in another.
    """
    tenth = hashlib.blake2b(text.encode(), digest_size=8).digest()[0] % 10
    return "val" if tenth == 0 else "test" if tenth == 1 else "train"


def story_at(split: str, index: int, seed: int = 0) -> Story:
    """Story number `index` of a split: throw the dice until the story falls into the split.

    Raises:
        InputError: for an unknown split.
    """
    if split not in SPLITS:
        raise InputError(f"there is no split {split!r}; choose from {', '.join(SPLITS)}")
    return next(s for attempt in itertools.count() if split_of((s := draw(seed, index, attempt)).text) == split)


def verify(text: str) -> Verdict:
    """Whether `text` is a story of this world, its facts, and what is wrong first if it is not."""
    return world().verify(text)


def entropy() -> float:
    """Entropy of the story world in bits per story."""
    return world().entropy
