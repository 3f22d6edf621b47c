"""Labelled texts: the label at the last token of each, every text once in each pass, and what is refused."""

import pytest
import torch

from minigpt.config import IGNORE, InputError
from minigpt.text.comments import comment_at
from minigpt.text.data import storyteller_tokenizer
from minigpt.text.labels import LabelData, comment_data
from minigpt.text.tokenizer import BPETokenizer, CharTokenizer

TOKENIZER = CharTokenizer("abc", special_tokens=("<|endoftext|>",))
END = TOKENIZER.end_of_text
TEXTS = [("ab", "no"), ("cab", "yes"), ("a", "no"), ("bb", "yes"), ("c", "yes")]


def data_of(texts=TEXTS, context_length=5) -> LabelData:
    splits = {"train": texts, "val": TEXTS[:3]}
    return LabelData({"name": "letters"}, ["yes", "no"], splits, TOKENIZER, context_length)


def test_the_label_stands_at_the_last_token_of_each_text_by_hand():
    ((inputs, targets),) = data_of().batches("val", 8)
    a, b, c = TOKENIZER.encode("abc")
    assert inputs.tolist() == [[END, a, b, END], [END, c, a, b], [END, a, END, END]]
    i = IGNORE
    assert targets.tolist() == [[i, i, 1, i], [i, i, i, 0], [i, 1, i, i]]
    assert data_of().targets("val").tolist() == [1, 0, 1] and data_of().text_bytes("val") == 6
    assert data_of().spec == {"name": "letters", "labels": ["yes", "no"]}


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7])
def test_each_pass_has_every_text_once_in_an_order_of_its_own(batch_size):
    data, rows = data_of(), []
    for step in range(-(-15 // batch_size)):
        inputs, targets = data.batch_at(step, batch_size, seed=3)
        rows += [TOKENIZER.decode([i for i in row if i != END]) for row in inputs.tolist()]
        assert ((targets != IGNORE).sum(1) == 1).all()
    passes = [rows[start : start + 5] for start in (0, 5, 10)]
    assert all(sorted(each) == ["a", "ab", "bb", "c", "cab"] for each in passes)
    assert len({tuple(each) for each in passes}) == 3


def test_a_batch_is_a_function_of_step_and_seed_alone():
    data = data_of()
    first = data.batch_at(4, 3, seed=1)
    data.batch_at(9, 3, seed=2)
    for again in (data.batch_at(4, 3, seed=1), data_of().batch_at(4, 3, seed=1)):
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    orders = {str([data.batch_at(step, 1, seed)[0].tolist() for step in range(5)]) for seed in range(8)}
    assert len(orders) > 5


def test_comments_are_those_of_their_split_in_the_order_of_their_world():
    tokenizer = storyteller_tokenizer()
    data = comment_data("moderation", tokenizer, 192, train=6, held_out=4, seed=5)
    assert data.labels == ["fine", "insult", "private data"]
    for split, count, seed in (("train", 6, 5), ("val", 4, 0), ("test", 4, 0)):
        comments = [comment_at("moderation", split, i, seed) for i in range(count)]
        assert data.splits[split] == [(c.english, c.label) for c in comments]
        inputs, targets = next(data.batches(split, count))
        for comment, row, target in zip(comments, inputs, targets, strict=True):
            place = int((target != IGNORE).nonzero())
            assert tokenizer.decode(row[1 : place + 1].tolist()) == comment.english
            assert data.labels[target[place]] == comment.label
    chinese = comment_data("sentiment", tokenizer, 192, train=2, held_out=1, language="zh")
    assert chinese.splits["train"][0][0] == comment_at("sentiment", "train", 0).chinese
    assert chinese.spec != data.spec


def test_bad_data_is_refused():
    with pytest.raises(InputError, match="text 2 of the train part of letters has the label 'si'; did you mean 'yes'"):
        data_of([TEXTS[0], ("a", "si")])
    with pytest.raises(InputError, match="text 1 of .* has 5 tokens, and a row holds 1 to 4"):
        data_of([("abcab", "no")])
    with pytest.raises(InputError, match="text 1 of .* has 0 tokens"):
        data_of([("", "no")])
    with pytest.raises(InputError, match="the train part of letters has no texts"):
        data_of([])
    with pytest.raises(InputError, match="letters has no split 'test'; choose from train, val"):
        next(data_of().batches("test", 2))
    with pytest.raises(InputError, match="needs a tokenizer with an end-of-text token"):
        LabelData({"name": "x"}, ["a"], {"train": [("a", "a")]}, BPETokenizer([], []), 9)
    with pytest.raises(InputError, match="no comments in 'French'; choose from en, zh"):
        comment_data("sentiment", storyteller_tokenizer(), 192, language="French")
    with pytest.raises(InputError, match="there are no comments for 'moderate'"):
        comment_data("moderate", storyteller_tokenizer(), 192)
