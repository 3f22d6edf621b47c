"""Encoding tiny Shakespeare with one vocabulary: minigpt (through tiktoken), and tokenizers with the same merges.

Checked first: both give the same ids. As one text, and as documents of 4,096 characters, which tokenizers takes in one
call that leaves out the place of each token, as minigpt does. One thread each, and the clock is CPU time.
"""

import json
import os

from tokenizers import Tokenizer, models, pre_tokenizers

from benchmarks.measure import Options, Result, check, compare, interleave
from minigpt.text.tokenizer import BPETokenizer
from minigpt.weights.gpt2_layout import to_gpt2_tokenizer


def in_tokenizers(tokenizer: BPETokenizer) -> Tokenizer:
    """The same vocabulary and merges."""
    files = to_gpt2_tokenizer(tokenizer, context_length=1024)
    merges = [(left, right) for left, right in map(str.split, files["merges.txt"].splitlines()[1:])]
    theirs = Tokenizer(models.BPE(json.loads(files["vocab.json"]), merges))
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return theirs


def run(options: Options) -> Result:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    text = options.text()
    documents = [text[start : start + 4096] for start in range(0, len(text), 4096)]
    size = len(text.encode()) / 1e6
    ours = BPETokenizer.train(text, 4096, special_tokens=())
    theirs = in_tokenizers(ours)
    check(ours.encode(text) == theirs.encode(text).ids, "tokenizers gives other ids")
    batch = [encoding.ids for encoding in theirs.encode_batch_fast(documents)]
    check([ours.encode(document) for document in documents] == batch, "tokenizers gives other ids to documents")
    times = interleave(
        {
            "one text": lambda: ours.encode(text),
            "encode": lambda: theirs.encode(text).ids,
            "documents": lambda: [ours.encode(document) for document in documents],
            "encode_batch_fast": lambda: [encoding.ids for encoding in theirs.encode_batch_fast(documents)],
        }
    )
    rows = []
    for kind, peer, target in (("one text", "encode", 8.0), ("documents", "encode_batch_fast", None)):
        row = compare(
            f"encoding, {size:.1f} MB, vocabulary 4,096, {kind}", times[kind], times[peer], f"tokenizers, `{peer}`",
            unit="MB per CPU s", amount=size, clock="cpu", target=target,
        )  # fmt: skip
        rows.append(row)
    return Result(rows)
