"""Padding: rows against hand-written batches."""

import torch

from minigpt.config import IGNORE
from minigpt.text.batch import pad_rows

X = IGNORE


def test_rows_of_uneven_length_against_a_batch_written_by_hand():
    inputs, targets = pad_rows([[9, 1, 2, 9], [9, 3, 9]], pad_id=9)
    assert inputs.tolist() == [[9, 1, 2], [9, 3, 9]] and inputs.dtype == torch.int64
    assert targets.tolist() == [[1, 2, 9], [3, 9, X]] and targets.dtype == torch.int64


def test_only_what_is_learned_is_a_target_and_an_end_with_the_id_of_padding_still_counts():
    learned = [[False, False, True, True], [True, True, False]]  # nothing comes before a first id: no target
    inputs, targets = pad_rows([[9, 1, 2, 9], [8, 3, 9]], 9, learned)
    assert inputs.tolist() == [[9, 1, 2], [8, 3, 9]]
    assert targets.tolist() == [[X, 2, 9], [3, X, X]]
