"""Reliability: bins by hand, the error of the labels' own function, and a perfect reader that is calibrated exactly."""

import math

import pytest
import torch

from minigpt.config import InputError
from minigpt.evaluation.calibration import against_truth, calibration_error, reliability
from minigpt.evaluation.labels import expected_calibration_error
from minigpt.evaluation.truth import true_distributions
from minigpt.text import stories
from tests.evaluation.models import story_data


def test_bins_by_hand() -> None:
    found = reliability(torch.tensor([0.0, 0.1, 0.5, 0.51, 1.0]), torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0]), bins=2)
    assert [(one.low, one.high, one.count) for one in found] == [(0, 0.5, 3), (0.5, 1, 2)]
    assert [one.confidence for one in found] == pytest.approx([0.2, 0.755])
    assert [one.accuracy for one in found] == pytest.approx([2 / 3, 0.5])
    assert calibration_error(found) == pytest.approx((3 * (2 / 3 - 0.2) + 2 * 0.255) / 5)
    empty = reliability(torch.tensor([0.9]), torch.tensor([1.0]), bins=3)
    assert [(one.count, one.confidence, one.accuracy) for one in empty[:2]] == [(0, None, None)] * 2


def test_the_error_is_that_of_the_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(200, 4, generator=generator, dtype=torch.float64).softmax(-1)
    labels = torch.randint(4, (200,), generator=generator)
    confidence, predicted = probabilities.max(-1)
    for bins in (1, 10, 15):
        found = reliability(confidence, (predicted == labels), bins)
        assert calibration_error(found) == pytest.approx(expected_calibration_error(probabilities, labels, bins))
        assert sum(one.count for one in found) == 200


def test_the_perfect_reader_is_calibrated_and_one_too_sure_is_not() -> None:
    tokenizer = story_data().tokenizer
    truth = [row for i in range(4) for row in true_distributions(tokenizer, stories.draw(2, i).text)]
    rows = torch.full((len(truth), tokenizer.vocab_size), -math.inf, dtype=torch.float64)
    for row, options in zip(rows, truth, strict=True):
        row[list(options)] = torch.tensor(list(options.values()), dtype=torch.float64).log()
    confidence, held = against_truth(rows, truth)
    assert calibration_error(reliability(confidence, held)) < 1e-12
    surer, held = against_truth((rows * 2).log_softmax(-1), truth)  # the likeliest token stays; ties have a half each
    undecided = [i for i, row in enumerate(truth) if 1 > max(row.values()) > 1 / len(row) + 1e-9]
    assert calibration_error(reliability(surer, held)) > 0.001 and undecided
    assert all(surer[i] > held[i] for i in undecided)


def test_what_has_no_bins_is_refused() -> None:
    for confidence, right in (([], []), ([0.5], [1.0, 0.0])):
        with pytest.raises(InputError, match="give as many"):
            reliability(torch.tensor(confidence), torch.tensor(right))
    for confidence, right, words in (([1.5], [1.0], "a confidence is 1.5"), ([0.5], [-1.0], "an? outcome is -1.0")):
        with pytest.raises(InputError, match=words):
            reliability(torch.tensor(confidence), torch.tensor(right))
    with pytest.raises(InputError, match="2 predictions for 1 true"):
        against_truth(torch.zeros(2, 3), [{0: 1.0}])
