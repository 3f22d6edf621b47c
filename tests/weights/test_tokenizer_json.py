"""A tokenizer to tokenizer.json and back: the tokenizers library reads it and gives the same ids."""

import json
from typing import Any

import pytest
from tokenizers import Tokenizer

from minigpt.config import InputError
from minigpt.text.tokenizer import BPETokenizer
from minigpt.weights.tokenizer_json import from_tokenizer_json, to_tokenizer_files, tokenizer_from_list
from tests.weights.llama_files import MERGES, SPECIAL, TEMPLATE, TEXT, TOKENS

PAIRS = [merge.split(" ") for merge in MERGES]
OURS = tokenizer_from_list(
    TOKENS, PAIRS, SPECIAL, cut="smollm", end_of_turn="<|im_end|>", chat_template=TEMPLATE, end_of_text="<|endoftext|>"
)


def parsed(files: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    return json.loads(files["tokenizer.json"]), json.loads(files["tokenizer_config.json"])


def test_the_library_reads_it_and_it_comes_back() -> None:
    files = to_tokenizer_files(OURS, 64)
    theirs = Tokenizer.from_str(files["tokenizer.json"])
    for text in (TEXT, "a\n  1", "    5", "<|im_start|>user\n12<|im_end|>"):
        assert theirs.encode(text).ids == OURS.encode(text, allow_special=True)
    assert from_tokenizer_json(*parsed(files)).contents() == OURS.contents()


def test_a_tokenizer_of_ours_goes_out_with_gpt2s_splitting() -> None:
    own = BPETokenizer.train(TEXT, 290)
    for ours in (own, own.with_more_merges("风雨 风", 9)):
        theirs = Tokenizer.from_str(to_tokenizer_files(ours, 64)["tokenizer.json"])
        text = f"{TEXT} 风雨<|endoftext|>"
        assert theirs.encode(text).ids == ours.encode(text, allow_special=True)


def test_a_tokenizer_that_works_in_another_way_is_refused() -> None:
    whole, settings = parsed(to_tokenizer_files(OURS, 64))
    steps = whole["pre_tokenizer"]["pretokenizers"]
    for change in (
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, steps[-1]]}},
        {"pre_tokenizer": steps[-1] | {"add_prefix_space": True}},
        {"normalizer": {"type": "NFC"}},
    ):
        with pytest.raises(InputError, match="in a way that minigpt does not know"):
            from_tokenizer_json(whole | change, settings)
    gap = whole["model"] | {"vocab": whole["model"]["vocab"] | {"zzz": 9999}}
    with pytest.raises(InputError, match="without a gap"):
        from_tokenizer_json(whole | {"model": gap}, settings)


@pytest.mark.parametrize(
    ("tokens", "merges", "said"),
    [
        ([*TOKENS[3:], *TOKENS[:3]], PAIRS[1:], "are not in the order"),
        ([TOKENS[5], *TOKENS[:5], *TOKENS[6:]], PAIRS, "are not in the order"),
        (TOKENS[:10], PAIRS, "are not in the order"),
        ([*TOKENS[:3], "a", "b", "qz"], [["q", "z"]], "merge 'q z' joins what is no token"),
        ([*TOKENS[:3], "a", "ab", "aba"], [["a", "b"], ["ab", "a"]], "joins what is no token"),
    ],
)
def test_lists_that_contradict_themselves_are_refused(tokens: list[str], merges: list[list[str]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        tokenizer_from_list(tokens, merges, SPECIAL)


def test_special_tokens_may_stand_behind() -> None:
    tokens = [*TOKENS[3:], *TOKENS[:3]]
    made = tokenizer_from_list(tokens, PAIRS, SPECIAL, cut="gpt2")
    assert made.special_tokens == {name: len(tokens) - 3 + i for i, name in enumerate(SPECIAL)}
    assert made.decode(made.encode(TEXT)) == TEXT and from_tokenizer_json(*parsed(to_tokenizer_files(made, 9)))
