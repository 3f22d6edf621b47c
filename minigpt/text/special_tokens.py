"""What all tokenizers share: checks of texts and ids, and the special tokens, which no text is cut into by chance."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import permutations

import regex

from minigpt.config import InputError

END_OF_TEXT = "<|endoftext|>"


def check_text(text: str) -> None:
    """Refuse half a surrogate pair, which a Python string can hold: it is no character and has no bytes in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise InputError(
            f"the text has half a surrogate pair, {text[problem.start]!a}, at position {problem.start}, which is no "
            "character: its bytes are not UTF-8, or an escape was cut in two. Leave it out, or put U+FFFD there."
        ) from None


def check_ids(ids: Iterable[int], vocab_size: int) -> list[int]:
    """The ids as a list, all of them in 0 .. vocab_size - 1."""
    ids = list(ids)
    for position, i in enumerate(ids):
        if not 0 <= i < vocab_size:
            raise InputError(
                f"token id {i} at position {position} is out of range: this tokenizer has ids 0 to {vocab_size - 1}. "
                "Decode with the tokenizer that encoded the text."
            )
    return ids


def number_special_tokens(names: Sequence[str] | Mapping[str, int], first_id: int) -> dict[str, int]:
    """An id for each special token, in their order, or the one that it brings."""
    check_text("".join(names))
    if not all(names):
        raise InputError("a special token is empty: give it a text that nobody writes by chance, such as <|name|>.")
    for name, other in permutations(names, 2):
        if name.startswith(other):  # then a text could be read in two ways
            raise InputError(f"special token {name!r} starts with special token {other!r}: rename one of them.")
    return dict(names) if isinstance(names, Mapping) else {name: first_id + i for i, name in enumerate(names)}


def split_special(text: str, special_tokens: Iterable[str]) -> list[str]:
    """Cut text at special tokens: ordinary text at the even places of the result, special tokens at the odd ones."""
    names = "|".join(map(regex.escape, special_tokens))
    return regex.split(f"({names})", text) if names else [text]


def training_parts(texts: str | Iterable[str], special_tokens: Iterable[str]) -> Iterator[str]:
    """What to learn from: one text or many, without their special tokens."""
    for text in [texts] if isinstance(texts, str) else texts:
        check_text(text)
        yield from split_special(text, special_tokens)[::2]
