"""Classifiers measured: hand arithmetic, closed forms, and the side world whose best possible classifier is known."""

import math
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minigpt.config import GPTConfig, InputError
from minigpt.evaluation.labels import (
    WordCounts,
    accuracy,
    alarm_threshold,
    cheapest_actions,
    commonest,
    confusion_table,
    expected_calibration_error,
    fit_temperature,
    label_logits,
    mean_cost,
    split_words,
    trade_off,
)
from minigpt.model.classifier import class_logits
from minigpt.model.gpt import GPT
from minigpt.text.comments import (
    best_accuracy,
    best_trade_off,
    comment_at,
    comment_world,
    label_odds,
    least_cost,
)
from minigpt.text.data import storyteller_tokenizer
from minigpt.text.labels import comment_data


@cache
def perfect(task: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The true probabilities of comments, and their labels."""
    labels = comment_world(task).labels
    comments = [comment_at(task, "test", i) for i in range(count)]
    odds = [list(label_odds(task, comment.english).values()) for comment in comments]
    return torch.tensor(odds, dtype=torch.float64), torch.tensor([labels.index(c.label) for c in comments])


# What a model says.


def test_logits_of_a_split_are_those_at_the_last_real_tokens():
    data = comment_data("moderation", storyteller_tokenizer(), 192, train=1, held_out=9)
    torch.manual_seed(0)
    shape = GPTConfig(vocab_size=1861, context_length=192, n_layers=1, n_heads=1, d_model=8, dropout=0.5)
    model = GPT(shape.__class__(**vars(shape) | {"n_labels": 3, "tie_embeddings": False})).double()
    found = label_logits(model, data, "test", batch_size=4)
    assert model.training and found.shape == (9, 3) and not found.requires_grad
    model.eval()
    for (text, _), logits in zip(data.splits["test"], found, strict=True):
        ids = torch.tensor([[data.tokenizer.end_of_text, *data.tokenizer.encode(text)]])
        torch.testing.assert_close(class_logits(model, ids, torch.tensor([ids.size(1)]))[0], logits)


# Counting.


def test_accuracy_and_confusion_by_hand():
    predicted, labels = torch.tensor([0, 0, 2, 1, 0]), torch.tensor([0, 1, 2, 1, 2])
    share = accuracy(predicted, labels)
    assert share.value == 0.6 and share.low == pytest.approx(0.2307, abs=1e-4)  # Wilson's interval of 3 of 5
    assert share.high == pytest.approx(0.8824, abs=1e-4)
    assert confusion_table(predicted, labels, 3).tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    assert confusion_table(torch.tensor([1]), torch.tensor([0]), 4).sum() == 1
    assert commonest(labels) == 1 and commonest(torch.tensor([2, 2, 0])) == 2


@pytest.mark.parametrize("task", ["sentiment", "moderation"])
def test_the_true_odds_reach_the_bayes_limit_and_their_accuracy_s_interval_holds_it(task):
    odds, labels = perfect(task, 1000)
    share = accuracy(odds.argmax(-1), labels)
    assert share.low < best_accuracy(task) < share.high


def test_as_many_predictions_as_labels():
    with pytest.raises(InputError, match="2 predictions for 3 labels"):
        accuracy(torch.tensor([0, 1]), torch.tensor([0, 1, 2]))
    with pytest.raises(InputError, match="0 predictions for 0 labels"):
        confusion_table(torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.int64), 2)


# Calibration.


def test_calibration_error_by_hand():
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 0])
    # In five parts: (0.8, 1]: 0.9, right; (0.6, 0.8]: 0.8 wrong and 0.7 right; (0.4, 0.6]: 0.6, right.
    expected = (abs(1 - 0.9) + abs(1 - 1.5) + abs(1 - 0.6)) / 4
    assert expected_calibration_error(probabilities, labels, bins=5) == pytest.approx(expected)
    assert expected_calibration_error(probabilities, labels, bins=1) == pytest.approx(0)  # 3.0 of 4, three are right
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert expected_calibration_error(certain, torch.tensor([1, 0])) == 1
    assert expected_calibration_error(torch.tensor([[0.5, 0.5]]), torch.tensor([1]), bins=2) == pytest.approx(0.5)


def test_true_odds_are_calibrated_and_made_sharper_no_longer():
    odds, labels = perfect("sentiment", 1000)
    assert expected_calibration_error(odds, labels) < 0.04
    assert expected_calibration_error((3 * odds.log()).softmax(-1), labels) > 0.1


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_the_temperature_is_found_again(temperature):
    odds, labels = perfect("sentiment", 1000)
    found = fit_temperature(temperature * odds.log(), labels)
    assert found == pytest.approx(temperature, rel=0.15)
    losses = [F.cross_entropy(temperature * odds.log() / t, labels) for t in (found, 0.97 * found, 1.03 * found)]
    assert losses[0] < min(losses[1:])


def test_a_temperature_in_closed_form():
    # Two labels, logits ±1, three of four right: sigmoid(2 / T) = 3/4, so T = 2 / ln 3.
    logits = torch.tensor([[1.0, -1.0]] * 4)
    assert fit_temperature(logits, torch.tensor([0, 0, 0, 1])) == pytest.approx(2 / math.log(3), rel=1e-9)
    assert fit_temperature(logits, torch.tensor([0, 0, 0, 0])) == pytest.approx(1e-3)  # no end to it
    assert fit_temperature(logits, torch.tensor([0, 1, 1, 1])) == pytest.approx(1e3)  # worse than an even guess


# Decisions.

COSTS = torch.tensor([[0.0, 1.0], [5.0, 0.0], [20.0, 0.0]])  # fine, insult, private data: let it pass, take it down


def test_actions_and_their_cost_by_hand():
    probabilities = torch.tensor([[0.9, 0.05, 0.05], [0.94, 0.06, 0.0], [0.5, 0.5, 0.0]])
    # To let pass costs 0.25 + 1, 0.3, 2.5; to take down 0.9, 0.94, 0.5.
    actions = cheapest_actions(probabilities, COSTS)
    assert actions.tolist() == [1, 0, 1]
    assert mean_cost(actions, torch.tensor([0, 1, 2]), COSTS) == pytest.approx((1 + 5 + 0) / 3)


def test_no_decisions_are_cheaper_than_those_of_the_true_odds():
    odds, labels = perfect("moderation", 1000)
    best = least_cost("moderation", COSTS.tolist())
    assert mean_cost(cheapest_actions(odds, COSTS), labels, COSTS) == pytest.approx(best, abs=0.1)
    assert mean_cost(odds.argmax(-1).clamp(max=1), labels, COSTS) > best + 0.15  # the likeliest label's action


def test_the_threshold_is_where_both_cost_the_same():
    assert alarm_threshold(1, 4) == 0.2 and alarm_threshold(3, 0) == 1 and alarm_threshold(0, 3) == 0
    p = torch.tensor([[0.79, 0.21], [0.81, 0.19]])
    assert cheapest_actions(p, torch.tensor([[0.0, 1.0], [4.0, 0.0]])).tolist() == [1, 0]
    for costs in ((0, 0), (-1, 2), (math.nan, 1)):
        with pytest.raises(InputError, match="give two that are at least 0, and not both 0"):
            alarm_threshold(*costs)


def test_a_trade_off_by_hand_ties_go_together():
    scores = torch.tensor([0.9, 0.5, 0.5, 0.1])
    harmful = torch.tensor([True, False, True, False])
    assert trade_off(scores, harmful) == [(0.0, 1.0), (0.0, 0.5), (0.5, 0.0), (1.0, 0.0)]
    with pytest.raises(InputError, match="4 of 4 texts are harmful"):
        trade_off(scores, scores > 0)


def test_the_true_odds_trade_off_as_well_as_can_be():
    odds, labels = perfect("moderation", 1000)
    best = best_trade_off("moderation", "fine")
    found = trade_off(1 - odds[:, 0], labels != 0)
    assert found[0] == (0.0, 1.0) and found[-1] == (1.0, 0.0)
    for alarms, misses in found[1:-1]:  # the best misses for as many alarms, and a few more or less
        fewer, more = np.interp(np.array([alarms + 0.01, alarms - 0.01]), *np.array(best).T)
        assert fewer - 0.08 < misses < more + 0.08


# Baselines.


def test_words_are_split_in_any_script():
    assert split_words("Lovely songs, odd PAGES.") == ["lovely", "songs", "odd", "pages"]
    assert split_words("图画很可爱，歌曲很短。") == ["图画很可爱", "歌曲很短"] and split_words(" .") == []


def test_word_counts_find_the_optimum_and_the_odds():
    comments = [comment_at("sentiment", "train", i) for i in range(1500)]
    texts = [comment.english for comment in comments]
    names = comment_world("sentiment").labels
    labels = torch.tensor([names.index(comment.label) for comment in comments])
    words = WordCounts(texts, labels, 3)
    # At the optimum, the penalty's slope balances the loss's: sum over texts of (p − one-hot) counts.
    error = words.logits(texts).softmax(-1) - F.one_hot(labels, 3)
    counts = torch.tensor([[split_words(text).count(word) for word in words.places] for text in texts]).double()
    assert (error.T @ counts + words.weight).abs().max() < 1e-3 and error.sum(0).abs().max() < 1e-3
    held_out, true = perfect("sentiment", 1000)
    tests = [comment_at("sentiment", "test", i).english for i in range(1000)]
    # The true log odds are linear in the counts, so with enough texts nothing is missing.
    assert accuracy(words.logits(tests).argmax(-1), true).value > accuracy(held_out.argmax(-1), true).value - 0.02
    assert torch.equal(words.logits(["unknown words"]), words.logits([""]))


def test_a_penalty_keeps_weights_finite_where_one_word_decides():
    words = WordCounts(["good", "bad", "good", "bad"], torch.tensor([0, 1, 0, 1]), 2)
    assert words.logits(["good bad good", "bad"]).argmax(-1).tolist() == [0, 1]
    weaker = WordCounts(["good", "bad", "good", "bad"], torch.tensor([0, 1, 0, 1]), 2, penalty=0.01)
    assert 0 < words.weight.abs().max() < weaker.weight.abs().max() < 10
