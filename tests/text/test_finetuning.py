"""Data to fine-tune on: which rows come when, what is padded, what is held out, and what is refused."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from minigpt.config import IGNORE, GPTConfig, InputError
from minigpt.model.gpt import GPT, next_token_loss
from minigpt.text.chat import add_chat_tokens, encode_chat, pack_chats
from minigpt.text.data import StoryData, storyteller_tokenizer
from minigpt.text.finetuning import TOGETHER, ChatData, MixedData
from minigpt.text.tasks import ALL_TASKS, TASKS, example_at, teaching_at
from minigpt.text.tokenizer import BPETokenizer

STORIES = add_chat_tokens(storyteller_tokenizer())
BYTES = add_chat_tokens(BPETokenizer([]))


def chats(path: Path, count: int, seed: str = "") -> Path:
    lines = [
        {"messages": [{"role": "user", "content": f"{seed}{i}"}, {"role": "assistant", "content": "x" * (1 + i % 7)}]}
        for i in range(count)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def rows_of(inputs: torch.Tensor, targets: torch.Tensor) -> Counter[str]:
    """What a batch asks for, row by row: each has an end, so padding cannot be taken for a part of it."""
    counted = Counter[str]()
    for row, wanted in zip(inputs, targets, strict=True):
        last = int((wanted != IGNORE).nonzero()[-1])
        counted[str((row[: last + 1].tolist(), wanted[: last + 1].tolist()))] += 1
        assert (wanted[last + 1 :] == IGNORE).all()
    return counted


@pytest.mark.parametrize("task", [*TASKS, ALL_TASKS])
def test_eight_steps_hold_the_examples_in_order_each_once(task):
    data = ChatData(task, STORIES, 256)
    encoded = [encode_chat(STORIES, teaching_at(task, i, seed=3)) for i in range(8 * TOGETHER)]
    steps = [data.batch_at(step, 4, seed=3) for step in range(2 * TOGETHER)]
    assert sum((rows_of(*step) for step in steps), Counter()) == rows_of(*pack_chats(STORIES, encoded))
    half = sum((rows_of(*step) for step in steps[:TOGETHER]), Counter())
    assert half == rows_of(*pack_chats(STORIES, encoded[: 4 * TOGETHER]))


def test_a_batch_depends_on_its_step_alone():
    one, other = ChatData("mood", STORIES, 192), ChatData("mood", STORIES, 192)
    forwards = [one.batch_at(step, 3, seed=1) for step in range(20)]
    for step in reversed(range(20)):
        assert all(map(torch.equal, other.batch_at(step, 3, seed=1), forwards[step]))
    assert not torch.equal(forwards[0][0][:, :9], other.batch_at(0, 3, seed=2)[0][:, :9])


def test_rows_of_like_length_share_a_step_and_short_steps_do_not_come_first():
    data = ChatData("mood", STORIES, 192)
    lengths = [encode_chat(STORIES, example_at("mood", "train", i).messages).ids for i in range(16 * 2 * TOGETHER)]
    real = sum(len(ids) - 1 for ids in lengths)
    widths = [data.batch_at(step, 16)[0].size(1) for step in range(2 * TOGETHER)]
    assert sum(16 * width for width in widths) < 1.12 * real  # 1.44 where rows come as they are drawn
    assert widths[:TOGETHER] != sorted(widths[:TOGETHER])


def test_the_loss_is_what_the_conversations_have_one_by_one():
    """Padding and order change nothing: the mean over all learned tokens, each conversation read alone."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(STORIES.vocab_size, context_length=192, n_layers=1, n_heads=2, d_model=16)).double()
    data = ChatData("translation", STORIES, 192)
    total, count = 0.0, 0
    for i in range(4 * TOGETHER):
        inputs, targets = pack_chats(STORIES, [encode_chat(STORIES, teaching_at("translation", i))])
        total += next_token_loss(model(inputs), targets, 1).item()
        count += int((targets != IGNORE).sum())
    together = [data.batch_at(step, 4) for step in range(TOGETHER)]
    summed = sum(next_token_loss(model(inputs), targets, 1).item() for inputs, targets in together)
    assert sum(int((targets != IGNORE).sum()) for _, targets in together) == count
    assert summed == pytest.approx(total, rel=1e-12)


def test_what_does_not_fit_is_drawn_again_and_counted():
    data = ChatData("dialogue", STORIES, 192)
    fits = [len(encode_chat(STORIES, example_at("dialogue", "train", i).messages).ids) <= 193 for i in range(100)]
    assert data.drawn_again() == fits.count(False) > 20
    for i, fitted in enumerate(fits):
        example = data.example("train", i)
        assert (example == example_at("dialogue", "train", i)) == fitted
        assert len(encode_chat(STORIES, example.messages).ids) <= 193
    assert data.example("train", fits.index(False)) == data.example("train", fits.index(False))
    for split in ("val", "test"):
        assert all(inputs.size(1) <= 192 for inputs, _ in data.batches(split, 100))
    with pytest.raises(InputError, match="no example of dialogue fits into this model's context"):
        ChatData("dialogue", STORIES, 30)


def test_a_held_out_split_comes_once_in_order_whatever_the_batch_size():
    data = ChatData("questions", STORIES, 192, held_out=10)
    encoded = [encode_chat(STORIES, example_at("questions", "val", i).messages) for i in range(10)]
    for size in (1, 4, 10, 64):
        assert sum((rows_of(*batch) for batch in data.batches("val", size)), Counter()) == rows_of(
            *pack_chats(STORIES, encoded)
        )
    answers = [example_at("questions", "val", i).messages[-1].content for i in range(10)]
    assert data.text_bytes("val") == sum(len(answer.encode()) for answer in answers)


def test_a_file_is_dealt_anew_in_each_epoch(tmp_path):
    data = ChatData(str(chats(tmp_path / "c.jsonl", 40)), BYTES, 64)
    assert (data.size("all"), data.size("val"), len({str(data.example("train", i)) for i in range(36)})) == (40, 4, 36)
    epochs = [[data.example("train", 36 * epoch + i).messages[0].content for i in range(36)] for epoch in range(3)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] and epochs[0] != sorted(epochs[0])
    assert [data.example("train", i, seed=1).messages[0].content for i in range(36)] != epochs[0]
    val = {data.example("val", i).messages[0].content for i in range(4)}
    assert val.isdisjoint(epochs[0]) and len(val) == 4


def test_what_is_held_out_of_a_file_depends_on_the_words_and_not_on_the_place(tmp_path):
    path = chats(tmp_path / "c.jsonl", 30)
    held = {data.example("val", i) for data in [ChatData(str(path), BYTES, 64)] for i in range(3)}
    lines = path.read_text().splitlines()
    path.write_text("\n".join(reversed(lines)))
    turned = ChatData(str(path), BYTES, 64)
    assert {turned.example("val", i) for i in range(turned.size("val"))} == held
    path.write_text("\n".join(lines * 2))  # the same question is never on both sides
    doubled = ChatData(str(path), BYTES, 64)
    train = {doubled.example("train", i) for i in range(54)}
    assert train.isdisjoint(doubled.example("val", i) for i in range(doubled.size("val")))


def test_a_file_of_two_is_enough_and_one_is_not(tmp_path):
    assert ChatData(str(chats(tmp_path / "c.jsonl", 2)), BYTES, 64).size("val") == 1
    with pytest.raises(InputError, match="at least two different conversations are needed, one to"):
        ChatData(str(chats(tmp_path / "c.jsonl", 1)), BYTES, 64)


def test_the_spec_finds_the_same_file_again_and_tells_another(tmp_path):
    path = chats(tmp_path / "c.jsonl", 5)
    spec = ChatData(str(path), BYTES, 64).spec
    assert ChatData(str(path), BYTES, 64).spec == spec
    chats(path, 6)
    assert ChatData(str(path), BYTES, 64).spec != spec
    assert ChatData("mood", STORIES, 192).spec == {"name": "mood", "format": "chats"}


def test_bad_lines_are_left_out_and_told(tmp_path):
    path = chats(tmp_path / "c.jsonl", 5)
    path.write_text(path.read_text() + '\n{"messages": 3}\n')
    with pytest.raises(InputError, match="line 6"):
        ChatData(str(path), BYTES, 64)
    data = ChatData(str(path), BYTES, 64, skip_bad=True)
    assert data.size("all") == 5 and len(data.left_out) == 1 and "line 6" in data.left_out[0]


def test_other_splits_and_tokenizers_are_refused(tmp_path):
    with pytest.raises(InputError, match="no split 'tset'"):
        ChatData(str(chats(tmp_path / "c.jsonl", 5)), BYTES, 64).example("tset", 0)
    with pytest.raises(InputError, match="no split 'tset'"):
        ChatData("mood", STORIES, 192).example("tset", 0)
    with pytest.raises(InputError, match="^this tokenizer has no token"):
        ChatData("mood", storyteller_tokenizer(), 192)


@pytest.mark.parametrize("share", [0.25, 0.7])
def test_a_share_of_the_steps_comes_from_the_second_and_each_in_its_own_order(share):
    first, second = ChatData("mood", STORIES, 192), StoryData(STORIES, 192)
    mixed = MixedData(first, second, share)
    counts = [0, 0]
    for step in range(20):
        batch = mixed.batch_at(step, 2, seed=5)
        from_second = torch.equal(batch[0], second.batch_at(counts[1], 2, seed=5)[0])
        assert torch.equal(batch[0], (second if from_second else first).batch_at(counts[from_second], 2, seed=5)[0])
        counts[from_second] += 1
        assert abs(counts[1] - share * (step + 1)) <= 1
    assert counts[1] == round(20 * share)
    assert mixed.spec == first.spec | {"mixed": "stories", "share": share}
    assert mixed.text_bytes("val") == first.text_bytes("val")


def test_shares_that_mix_nothing_and_two_tokenizers_are_refused():
    first, second = ChatData("mood", STORIES, 192), StoryData(STORIES, 192)
    for share in (0.0, 1.0, -0.5, float("nan")):
        with pytest.raises(InputError, match="the share of stories is .*; it must be above 0 and below 1"):
            MixedData(first, second, share)
    with pytest.raises(InputError, match="different tokenizers"):
        MixedData(first, StoryData(storyteller_tokenizer(), 192), 0.5)
