"""benchmarks/preferences.py: what both learn from is what it says, and every group of the second reward differs."""

from os.path import commonprefix
from typing import Any

import pytest
import torch

from benchmarks.preferences import ANSWERS, FIRST, GROUP, PAIRS, ROUNDS, Theirs, floor, our_rewards, pairs, uneven
from minigpt.text.stories import story_at, verify
from minigpt.training.answers import Prompt


def test_the_pairs_are_true_stories_and_ones_with_a_foreign_end() -> None:
    decode = pairs().tokenizer.decode
    assert len(pairs().train) >= PAIRS * (ROUNDS + FIRST + 1)
    wrong = 0
    for pair in pairs().train:
        true, mixed = decode(pair.chosen[:-1]), decode(pair.rejected[:-1])
        assert verify(true).consistent and mixed.partition(". ")[0] == true.partition(". ")[0]
        wrong += not verify(mixed).consistent
    assert wrong > 0.8 * len(pairs().train)


def test_the_others_hardly_begin_alike() -> None:
    apart = pairs("apart").train
    assert len(apart) >= PAIRS * (ROUNDS + FIRST + 1)
    alike = [len(commonprefix([pair.chosen, pair.rejected])) for pair in apart]
    assert sum(alike) < 0.1 * sum(len(pair.chosen) for pair in apart)


def test_the_uneven_reward_tells_stories_of_unlike_length_apart() -> None:
    stories = [story_at("train", index).text for index in range(GROUP)]
    assert len({uneven(Prompt([]), text) for text in stories}) == len({len(text) for text in stories}) > 1
    assert uneven(Prompt([]), stories[0]) > 1 > uneven(Prompt([]), stories[0][:50])


class TwoSteps:
    """A trainer as trl's, which is told its callbacks."""

    def __init__(self, callbacks: list[Any], fails: bool) -> None:
        self.callbacks, self.fails = callbacks, fails

    def remove_callback(self, which: Any) -> None:
        pass

    def train(self) -> None:
        for loss in (2.0, 1.0):
            self.callbacks[0].on_step_begin(None, None, None)
            if self.fails and loss == 1.0:
                raise ZeroDivisionError
            self.callbacks[0].on_log(None, None, None, {"loss": loss})


def test_a_trainer_in_a_thread_takes_its_steps_in_turn_and_ends_with_the_last() -> None:
    step = Theirs(lambda callbacks: TwoSteps(callbacks, fails=False))
    assert [step(), step()] == [2.0, 1.0]
    step = Theirs(lambda callbacks: TwoSteps(callbacks, fails=True))
    assert step() == 2.0
    with pytest.raises(ZeroDivisionError):
        step()


def test_a_step_reads_each_token_five_times() -> None:
    parts = floor()
    assert parts["sampling"] == parts["reference"] == parts["update"] / 3 > 1
    torch.set_num_threads(1)
    assert abs(our_rewards(True)()) < 1e-6 and ANSWERS % GROUP == 0
