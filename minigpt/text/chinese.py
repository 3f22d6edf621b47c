"""The story world in Chinese: a second renderer of the same facts, so that every right translation is known.

A story is translated step by step of its plot, by the wording that was chosen in English: `chinese.toml` has two
Chinese wordings for each. No story depends on this file; none of its dice is thrown here.
"""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from minigpt.text.stories import (
    Row,
    Sentence,
    Story,
    fill,
    read_sentence,
    read_table,
    split_of,
    story_at,
    world,
)
from minigpt.text.tokenizer import BPETokenizer, Tokenizer

PRONOUNS = {"she": "她", "he": "他"}

STORIES_TO_LEARN_FROM = 2000
"""Training stories whose Chinese characters get a token: rare ones stand in one of some hundred stories."""


@cache
def _source() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("chinese.toml").read_text(encoding="utf-8"))


@cache
def _words() -> dict[str, dict[str, Row]]:
    """For each table, the Chinese row of each English word: the Chinese word is its first column."""
    tables = {name: read_table(text) for name, text in _source()["tables"].items()}
    return {name: {row[""]: row | {"": row["chinese"]} for row in rows} for name, rows in tables.items()}


@cache
def sentences() -> dict[str, list[list[Sentence]]]:
    """For each step of a plot and each of its English wordings: all Chinese ones."""

    def read(text: str) -> Sentence:
        for short, long in _source()["short"].items():
            text = text.replace(short, long)
        return read_sentence(text)

    source = _source()["sentences"]
    return {name: [[read(text) for text in wordings] for wordings in variants] for name, variants in source.items()}


def rows(facts: dict[str, str]) -> dict[str, Row]:
    """The Chinese row of each fact of a story, for `fill`: the word, its measure word and what else it needs."""
    found = {fact: _words()[_source()["facts"][fact]][value] for fact, value in facts.items()}
    for fact, row in world().rows(facts).items():
        if "they" in row:
            found[fact] = found[fact] | {"they": PRONOUNS[row["they"]]}
    return found


def translations(story: Story) -> list[list[str]]:
    """For each step of a story, all its right translations: a translation of the story has one of each, joined.

    English «they» may be two girls, two boys, or both, and a single step does not tell: it is 他们 here, as in Chinese
    where one does not know.
    """
    facts = rows(story.facts)
    named = zip(world().plots[story.plot], story.wording, strict=True)
    return [[fill(wording, facts) for wording in sentences()[name][variant]] for name, variant in named]


def training_sentences(stories: int) -> list[str]:
    """The Chinese of so many training stories: all translations of each step whose own words are for training, too."""
    found: list[str] = []
    for story in (story_at("train", index) for index in range(stories)):
        steps = world().steps(story.plot, world().rows(story.facts), story.wording)
        for step, right in zip(steps, translations(story), strict=True):
            if split_of(step) == "train":
                found += right
    return found


def tokens_per_character(tokenizer: Tokenizer) -> float:
    """How many tokens a tokenizer spends on a Chinese character of the story world, on average."""
    text = "".join(training_sentences(50))
    return len(tokenizer.encode(text)) / len(text)


def add_chinese_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer with a token for each Chinese character of the story world, if it spells them in more.

    The merges are learned from the characters of training stories, each of them a text, so that none reaches over two.
    No id changes. Nothing is added to a tokenizer of characters, which has all that it will ever have, and to a foreign
    one.
    """
    if not isinstance(tokenizer, BPETokenizer) or tokens_per_character(tokenizer) <= 1:
        return tokenizer
    characters = sorted(set("".join(training_sentences(STORIES_TO_LEARN_FROM))))
    return tokenizer.with_more_merges(characters, len("".join(characters).encode()))
