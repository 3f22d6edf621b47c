"""Scores of heads that are built to do just one thing: they are 1 there, and what chance gives elsewhere."""

import pytest
import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.course.inside.patterns import (
    duplicate_score,
    induction_score,
    previous_token_score,
    repeated_tokens,
)

IDS = repeated_tokens(6, 30, seed=1)  # positions i and i + 6 are equal


def looks_at(targets: dict[int, int], T: int = 12) -> Tensor:
    weights = torch.eye(T)
    for row, column in targets.items():
        weights[row] = 0
        weights[row, column] = 1
    return weights


def test_heads_built_by_hand_get_1_for_what_they_do_and_0_for_the_rest() -> None:
    previous = looks_at({i: i - 1 for i in range(1, 12)})
    duplicate = looks_at({i: i - 6 for i in range(6, 12)})
    induction = looks_at({i: i - 5 for i in range(6, 12)})
    weights = torch.stack([previous, duplicate, induction])
    assert previous_token_score(weights).tolist() == [1, 0, 0]
    assert duplicate_score(weights, IDS).tolist() == [0, 1, 0]
    assert induction_score(weights, IDS).tolist() == [0, 0, 1]


def test_an_even_head_gets_what_its_rows_say() -> None:
    even = torch.ones(12, 12).tril()
    even = even / even.sum(-1, keepdim=True)
    assert previous_token_score(even).item() == pytest.approx(sum(1 / n for n in range(2, 13)) / 11)
    assert duplicate_score(even, IDS).item() == pytest.approx(sum(1 / n for n in range(7, 13)) / 6)
    assert induction_score(even[None, None], IDS).shape == (1, 1)
    thrice = torch.tensor([4, 7, 4, 7, 4])  # the last 4 may look after either earlier one
    weights = looks_at({2: 1, 3: 2, 4: 1}, 5)
    assert induction_score(weights, thrice).item() == 1
    assert duplicate_score(weights, thrice).item() == 0


def test_repeated_tokens_are_different_and_come_again() -> None:
    ids = repeated_tokens(5, 9, times=3)
    assert ids.view(3, 5).unique(dim=0).shape == (1, 5) and len(ids.unique()) == 5
    with pytest.raises(InputError, match="10 different tokens of a vocabulary of 9"):
        repeated_tokens(10, 9)


def test_a_text_without_what_is_looked_for_has_no_score() -> None:
    with pytest.raises(InputError, match="give a text in which tokens come again"):
        induction_score(torch.eye(3), torch.tensor([1, 2, 3]))
    for shape in ((1, 1), (3, 2)):
        with pytest.raises(InputError, match="with T of 2 or more"):
            previous_token_score(torch.zeros(shape))
