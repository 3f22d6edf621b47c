"""Texts to cut into tokens: what people write, in many scripts, and what nobody writes."""

import argparse
import inspect
import random
from functools import cache

from hypothesis import strategies as st

from minigpt.text import stories
from minigpt.text.tokenizer import BPETokenizer

ENGLISH = inspect.getsource(argparse)[:60_000]
MIXED = (
    "Es war einmal ein Mädchen. Жила-была девочка. 从前有一个小女孩,她住在森林里。小女孩有一只红色的风筝。\n"
    "👩\u200d👩\u200d👧 🪁🪁 naïve café  it's   they're 12345 ½ ٣٤ ...!!!   \t\r\n\n\n  if x == 10:\n        return\n"
    "'aaaaaaaaaaaaaaaa'  \u00a0\u3000 x\u0301 \x00\x1c\x85 "
)
TEXTS = {
    "English and code": ENGLISH,
    "many languages": MIXED * 3,
    "one letter": "a" * 1000,
    "few letters": "".join(random.Random(0).choices("ab \n", k=3000)),
    "random characters": "".join(random.Random(1).choices([chr(i) for i in range(0x20, 0x530)], k=3000)),
}

# Texts with every kind of white space, for what cuts a text in two.

WORDS = [
    "the",
    " cat",
    "'s",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\t ",
    "\r\n",
    "!?",
    " 12",
    "从前",
    "\u3000",
    "\u00a0",
    "é",
    "👩\u200d👧",
]
TEXT = st.lists(st.sampled_from(WORDS), max_size=60).map("".join)
STORIES = "\n\n".join(stories.draw(0, i).text for i in range(60)) + "\n"


@cache
def tokenizer() -> BPETokenizer:
    """With merges over every kind of white space, so that a wrong cut changes tokens."""
    return BPETokenizer.train("".join(a + b + c for a in WORDS for b in WORDS for c in WORDS) + STORIES[:5000], 700)
