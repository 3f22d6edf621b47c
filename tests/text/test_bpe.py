"""Each function by hand; what is learned against rustbpe and a full recount, the words against tokenizers."""

from collections import Counter
from itertools import pairwise

import pytest
import regex
import rustbpe
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel

from minigpt.text.bpe import GPT2_PATTERN, Pair, count_pairs, encode_word, learn_more_merges, merge, pre_tokenize
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer
from tests.text.samples import ENGLISH, MIXED, TEXTS


def merged_bytes(tokenizer: BPETokenizer) -> list[bytes]:
    return [tokenizer.token_bytes(i) for i in range(256, 256 + len(tokenizer.merges))]


def test_merges_by_hand():
    # Words: "low", twice " low", " lower". Pairs: (l,o) 4, (o,w) 4, ( ,l) 3, (w,e) 1, (e,r) 1.
    # Ids: space 32, e 101, l 108, o 111, r 114, w 119.
    tokenizer = BPETokenizer.train("low low low lower", 300)
    assert list(tokenizer.merges) == [
        (108, 111),  # (l,o) and (o,w) are equally frequent: the smaller pair of ids wins
        (256, 119),  # (lo,w) 4
        (32, 257),  # ( ,low) 3
        (101, 114),  # (e,r) 1 before ( low,e) 1, because 101 < 258
        (258, 259),  # ( low,er): the last pair, so training ends before 300
    ]
    assert merged_bytes(tokenizer) == [b"lo", b"low", b" low", b"er", b" lower"]
    assert tokenizer.vocab_size == 256 + 5 + 1
    assert tokenizer.special_tokens == {END_OF_TEXT: 261} and tokenizer.end_of_text == 261
    assert tokenizer.encode("slow lower owl") == [115, 257, 260, 32, 111, 119, 108]


def test_merge_goes_from_left_to_right():
    assert merge([1, 1, 1], (1, 1), 9) == [9, 1]
    assert merge([1, 1, 1, 1, 2, 1, 1], (1, 1), 9) == [9, 9, 2, 9]
    assert merge([1, 2, 1, 2, 2, 1], (1, 2), 9) == [9, 9, 2, 1]
    assert merge([], (1, 2), 9) == []
    assert merge([1], (1, 1), 9) == [1]


def test_count_pairs_by_hand():
    assert count_pairs([[1, 1, 1], [1, 2], []], [10, 3, 5]) == {(1, 1): 20, (1, 2): 3}


@given(st.text(st.sampled_from("ab' 1!\n\té中😀\u3000"), max_size=40))
@example("we'll they've I'M  it's 's")
@example("   \n\n  x \n")
@example("")
def test_words_are_those_of_tokenizers(text: str):
    byte_level = ByteLevel(add_prefix_space=False)
    assert pre_tokenize(text) == [text[start:end] for _, (start, end) in byte_level.pre_tokenize_str(text)]


@pytest.mark.parametrize("vocab_size", [257, 300, 1000])
@pytest.mark.parametrize("name", TEXTS)
def test_merges_are_those_of_rustbpe(name: str, vocab_size: int):
    oracle = rustbpe.Tokenizer()
    oracle.train_from_iterator([TEXTS[name]], vocab_size, pattern=GPT2_PATTERN)
    tokens = [bytes(token) for token, i in sorted(oracle.get_mergeable_ranks(), key=lambda rank: rank[1])]
    tokenizer = BPETokenizer.train(TEXTS[name], vocab_size, special_tokens=())
    assert merged_bytes(tokenizer) == tokens[256:]
    assert tokenizer.encode(MIXED) == oracle.encode(MIXED)


def merges_by_recount(text: str, n_merges: int) -> list[Pair]:
    """Textbook BPE: replace in all words, count everything anew."""
    words = [tuple(word.encode()) for word in regex.findall(GPT2_PATTERN, text)]
    merges: list[Pair] = []
    while len(merges) < n_merges:
        counts = Counter(pair for word in words for pair in pairwise(word))
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        new_id = 256 + len(merges)
        merges.append(best)
        for w, word in enumerate(words):
            shorter: tuple[int, ...] = ()
            while word:
                n = 2 if word[:2] == best else 1
                shorter, word = (*shorter, new_id if n == 2 else word[0]), word[n:]
            words[w] = shorter
    return merges


@given(st.text(st.sampled_from("ab "), max_size=80), st.integers(0, 60))
@example("aaaa aaaaaaa aaaaa aaaaaaaaaaaaaaaaaaaaaaa", 60)
@example("abababab babababa", 60)
def test_incremental_counts_equal_a_recount(text: str, n_merges: int):
    tokenizer = BPETokenizer.train(text, 256 + n_merges, special_tokens=())
    assert list(tokenizer.merges) == merges_by_recount(text, n_merges)


def test_incremental_counts_equal_a_recount_on_real_text():
    text = ENGLISH[:4000] + MIXED
    assert list(BPETokenizer.train(text, 656, ()).merges) == merges_by_recount(text, 400)


def test_encode_word_applies_the_earliest_merge_first():
    merges = {(98, 99): 256, (97, 98): 257}
    assert encode_word(b"abc", merges) == [97, 256]
    assert encode_word(b"abab", merges) == [257, 257]
    assert encode_word(b"", merges) == []


@given(st.text(st.sampled_from("abc "), max_size=80), st.integers(0, 20), st.integers(0, 20))
@example("aaaa aaaaaaa aaaaa aaaaaaaaaaaaaaaaaaaaaaa", 3, 40)
def test_learning_goes_on_where_it_stopped(text: str, first: int, more: int):
    begun = BPETokenizer.train(text, 256 + first, special_tokens=())
    at_once = BPETokenizer.train(text, 256 + first + more, special_tokens=())
    assert begun.with_more_merges(text, more).merges == at_once.merges


def test_more_merges_by_hand():
    # In "abc" (twice) and "abd", the merge of a and b has left [256, 99] and [256, 100]; ids from 300 on are free.
    words, counts = [[256, 99], [256, 100], [98]], [2, 1, 9]
    assert learn_more_merges(words, counts, 5, 300) == [(256, 99), (256, 100)]
    assert learn_more_merges(words, counts, 1, 300) == [(256, 99)]
    assert learn_more_merges([], [], 3, 300) == []
