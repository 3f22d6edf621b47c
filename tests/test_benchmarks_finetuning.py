"""benchmarks/finetuning.py: both train on the same rows, and other losses are found before anything is timed."""

import pytest
import torch

from benchmarks.finetuning import BATCH, SHUFFLED, check_losses, rows_of, storyteller
from minigpt.config import IGNORE
from minigpt.text.batch import pad_rows
from minigpt.text.chat import special_id
from minigpt.text.finetuning import TOGETHER
from minigpt.text.tokenizer import END_OF_TEXT


def test_the_peer_s_rows_are_ours_with_labels_in_the_places_of_their_ids() -> None:
    rows, data = rows_of(1), storyteller()[1]
    end = special_id(data.tokenizer, END_OF_TEXT)
    assert len(rows) == TOGETHER * BATCH
    for step in range(TOGETHER):
        part = rows[step * BATCH : (step + 1) * BATCH]
        learned = [[label != IGNORE for label in row["labels"]] for row in part]
        inputs, targets = pad_rows([row["input_ids"] for row in part], end, learned)
        mine = data.batch_at(TOGETHER + step, BATCH)
        assert torch.equal(inputs, mine[0]) and torch.equal(targets, mine[1])
        for row in part:
            assert all(label in (IGNORE, i) for i, label in zip(row["input_ids"], row["labels"], strict=True))


def test_other_losses_are_found_before_anything_is_timed() -> None:
    mine = {"whole: minigpt": [3.0, 2.0], "adapters: minigpt": [3.0, 2.5]}
    ordered, shuffled = "whole: transformers, in our order", SHUFFLED[0]
    check_losses(mine | {ordered: [3.0, 2.001], shuffled: [2.8, 2.4]})
    for name, losses in ((ordered, [3.0, 2.01]), (ordered, [float("nan"), 2.0]), (shuffled, [3.0, 2.6])):
        with pytest.raises(SystemExit, match=f"not timed: {name} has other losses"):
            check_losses(mine | {name: losses})
    with pytest.raises(SystemExit, match="peft in the plain loop has other losses"):
        check_losses(mine | {"adapters: peft in the plain loop": [3.0, 2.0]})
