"""Training byte-pair encoding on tiny Shakespeare: minigpt's plain Python, two libraries in Rust, and a full recount.

Checked first: our merges are rustbpe's. tokenizers breaks ties in another order and so learns other merges; it must
need as many tokens for the text as ours, to one in a thousand. The recount must give our merges too. One thread each,
and the clock is CPU time.
"""

import os
from collections.abc import Callable
from functools import partial

import rustbpe
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from benchmarks.measure import Options, Result, check, compare, interleave
from minigpt.text.bpe import GPT2_PATTERN, Pair, pre_tokenize
from minigpt.text.tokenizer import BPETokenizer

SHORT = 30_000
"""Characters of the text on which the recount runs from end to end."""


def ours(text: str, vocab_size: int) -> BPETokenizer:
    return BPETokenizer.train(text, vocab_size, special_tokens=())


def with_tokenizers(text: str, vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def with_rustbpe(text: str, vocab_size: int) -> rustbpe.Tokenizer:
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator([text], vocab_size, pattern=GPT2_PATTERN)
    return tokenizer


def recount(words: list[list[int]], new_ids: range) -> list[Pair]:
    """BPE as minbpe publishes it: for every merge count all pairs of the text anew, then rewrite all of the text."""
    merges = []
    for new_id in new_ids:
        counts: dict[Pair, int] = {}
        for word in words:
            for pair in zip(word, word[1:], strict=False):
                counts[pair] = counts.get(pair, 0) + 1
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = [rewrite(word, best, new_id) for word in words]
        merges.append(best)
    return merges


def rewrite(word: list[int], pair: Pair, new_id: int) -> list[int]:
    rewritten, i = [], 0
    while i < len(word):
        if word[i] == pair[0] and i < len(word) - 1 and word[i + 1] == pair[1]:
            rewritten.append(new_id)
            i += 2
        else:
            rewritten.append(word[i])
            i += 1
    return rewritten


def before_last_merge(text: str, learned: BPETokenizer) -> list[list[int]]:
    """The words of the text as they are when all merges but the last have been made."""
    tokenizer = BPETokenizer([*learned.merges][:-1], ())
    words = pre_tokenize(text)
    ids_of = {word: tokenizer.encode(word) for word in set(words)}
    return [ids_of[word] for word in words]


def run(options: Options) -> Result:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # more threads do not help it with one text
    text = options.text()
    rows = []
    for vocab_size in (512, 4096):
        learned = ours(text, vocab_size)
        ranks = {bytes(token): i for token, i in with_rustbpe(text, vocab_size).get_mergeable_ranks()}
        check(ranks == learned.to_tiktoken()._mergeable_ranks, "rustbpe learns other merges")
        n, theirs = len(learned.encode(text)), len(with_tokenizers(text, vocab_size).encode(text).ids)
        check(abs(n - theirs) < n / 1000, f"tokenizers learns merges that give {theirs} tokens, ours {n}")
        words, last = before_last_merge(text, learned), range(vocab_size - 1, vocab_size)
        check(recount(words, last) == [*learned.merges][-1:], "the recount's last merge is another")

        times = interleave(
            {
                "minigpt": partial(ours, text, vocab_size),
                "tokenizers": partial(with_tokenizers, text, vocab_size),
                "rustbpe": partial(with_rustbpe, text, vocab_size),
                "one merge": partial(recount, words, last),
            },
            rounds=9,
            seconds=25,
        )
        what = f"training BPE, {len(text) / 1e6:.1f} MB, vocabulary {vocab_size:,}"
        for peer, target in (("tokenizers", 1.0), ("rustbpe", None)):
            rows.append(
                compare(what, times["minigpt"], times[peer], f"{peer} (Rust)", target=target, unit="CPU s", clock="cpu")
            )
        # A text only gets shorter by merging, so the last merge takes the least time of all.
        all_merges = times["one merge"] * len(learned.merges)
        row = compare(
            what, times["minigpt"], all_merges, "full recount, at least", target=200, unit="CPU s", clock="cpu",
            notes=f"a lower bound: the time of the last merge, the quickest, {len(learned.merges):,} times",
        )  # fmt: skip
        rows.append(row)

    short = text[:SHORT]
    bytes_of_words, new_ids = [list(word.encode()) for word in pre_tokenize(short)], range(256, 512)
    check(recount(bytes_of_words, new_ids) == [*ours(short, 512).merges], "the recount learns other merges")
    works: dict[str, Callable[[], object]] = {
        "minigpt": partial(ours, short, 512),
        "recount": partial(recount, bytes_of_words, new_ids),
    }
    times = interleave(works, rounds=3, warm_up=0)
    what = f"training BPE, {SHORT / 1e6:.2f} MB, vocabulary 512"
    rows.append(compare(what, times["minigpt"], times["recount"], "full recount, all of it", unit="CPU s", clock="cpu"))
    return Result(rows)
