"""Somebody else's tokenizer: from a list of tokens, or from and to the tokenizer.json of Hugging Face's tokenizers."""

import json
from collections.abc import Sequence
from typing import Any

from minigpt.config import InputError
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer, ForeignTokenizer
from minigpt.weights.gpt2_layout import byte_characters

CUTS: dict[str, list[dict[str, Any]]] = {
    "gpt2": [],
    "smollm": [{"type": "Digits", "individual_digits": True}],
}
"""What stands before GPT-2's own cutting in a tokenizer.json, for each of PATTERNS."""


def tokenizer_from_list(
    tokens: Sequence[str], merges: Sequence[Sequence[str]], special: Sequence[str], **options: Any
) -> ForeignTokenizer:
    """The tokenizer of a list of tokens, whose places are the ids, in GPT-2's characters for bytes.

    Args:
        tokens: first special tokens, then bytes, then what the merges make in their order, then special tokens.
        merges: pairs of tokens.
        special: which tokens are special.
        **options: as for ForeignTokenizer.

    Raises:
        InputError: if the tokens stand in another order, or a merge joins what is no token.
    """
    names, characters = set(special), byte_characters()
    first = next((i for i, token in enumerate(tokens) if token not in names), len(tokens))
    last = len(tokens) - next((i for i, token in enumerate(reversed(tokens)) if token not in names), 0)
    middle = tokens[first:last]
    n_bytes = len(middle) - len(merges)
    in_order = n_bytes >= 0 and middle[n_bytes:] == ["".join(pair) for pair in merges]
    letters = "".join(middle[: max(n_bytes, 0)])
    if not in_order or len(letters) != n_bytes or len(set(letters)) < n_bytes or not set(letters) <= set(characters):
        raise InputError("its tokens are not in the order: special tokens, bytes, what the merges make, special tokens")
    alphabet = bytes(map(characters.index, letters))
    places = [*range(n_bytes), *range(256, 256 + len(merges))]  # inside, bytes without a token have the rest of 256
    inner = dict(zip(middle, places, strict=True))
    if unknown := [pair for pair in merges if not all(part in inner for part in pair)]:
        raise InputError(f"merge {' '.join(unknown[0])!r} joins what is no token")
    pairs = [(inner[left], inner[right]) for left, right in merges]
    return ForeignTokenizer(pairs, tokens[:first], tokens[last:], alphabet, **options)


def from_tokenizer_json(whole: dict[str, Any], settings: dict[str, Any]) -> ForeignTokenizer:
    """The tokenizer of a tokenizer.json and tokenizer_config.json, with the same ids.

    Raises:
        InputError: for a tokenizer that works in another way.
    """
    cut = whole["pre_tokenizer"]
    steps = cut["pretokenizers"] if cut["type"] == "Sequence" else [cut]
    last, before = steps[-1], steps[:-1]
    kind = (whole["normalizer"], last["type"], last["add_prefix_space"], last.get("use_regex", True))
    known = [name for name, cuts in CUTS.items() if cuts == before]
    if kind != (None, "ByteLevel", False, True) or not known:
        raise InputError(f"it cuts a text into words in a way that minigpt does not know: {json.dumps(cut)}")
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in whole["model"]["merges"]]
    added = {token["content"]: token["id"] for token in whole["added_tokens"]}
    ids = whole["model"]["vocab"] | added
    tokens = sorted(ids, key=ids.__getitem__)
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise InputError("its ids are not 0, 1, 2, … without a gap")

    def named(setting: str) -> str | None:
        token = settings.get(setting)
        text = token.get("content") if isinstance(token, dict) else token
        return text if text in added else None

    return tokenizer_from_list(
        tokens, merges, list(added), cut=known[0], end_of_turn=named("eos_token"),
        end_of_text=END_OF_TEXT if END_OF_TEXT in added else named("eos_token"),
        chat_template=settings.get("chat_template"),
    )  # fmt: skip


def to_tokenizer_files(tokenizer: BPETokenizer | ForeignTokenizer, context_length: int) -> dict[str, str]:
    """The files of a tokenizer, name to text, in which every id and the splitting stay as they are."""
    characters = byte_characters()

    def written(i: int) -> str:
        return "".join(characters[byte] for byte in plain.token_bytes(i))

    foreign = tokenizer if isinstance(tokenizer, ForeignTokenizer) else None
    plain = tokenizer.plain if isinstance(tokenizer, ForeignTokenizer) else tokenizer
    names = {i: name for name, i in tokenizer.special_tokens.items()}
    first = len(foreign.first) if foreign else 0
    n_bytes = len(tokenizer.alphabet)
    inner = [*range(n_bytes), *plain.merges.values()]
    ids = range(first, first + len(inner)) if foreign else inner
    vocabulary = {written(i): own for i, own in zip(inner, ids, strict=True)} | tokenizer.special_tokens
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False) | {"special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    steps = [*(CUTS[foreign.cut] if foreign else []), byte_level]
    whole = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": names[i]} | flags for i in sorted(names)],
        "normalizer": None,
        "pre_tokenizer": steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps},
        "post_processor": None, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": vocabulary, "merges": [[written(left), written(right)] for left, right in plain.merges],
        },
    }  # fmt: skip
    end_of_text = None if tokenizer.end_of_text is None else names[tokenizer.end_of_text]
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # GPT2Tokenizer would overrule how tokenizer.json cuts a text
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
        "bos_token": end_of_text,
        "eos_token": (foreign.end_of_turn if foreign else None) or end_of_text,
    }
    if foreign and foreign.chat_template is not None:
        settings["chat_template"] = foreign.chat_template
    return {
        "tokenizer.json": json.dumps(whole, ensure_ascii=False),
        "tokenizer_config.json": json.dumps(settings, ensure_ascii=False, indent=1),
    }
