"""How good a classifier is: accuracy, which label is taken for which, calibration, costs, and two trivial baselines."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import IGNORE, InputError
from minigpt.evaluation.intervals import wilson
from minigpt.model.classifier import class_logits
from minigpt.model.gpt import GPT
from minigpt.text.labels import LabelData


class Share(NamedTuple):
    """A share of many, and the interval in which its true value lies (Wilson 1927, 95%)."""

    value: float
    low: float
    high: float


@torch.no_grad()
def label_logits(model: GPT, data: LabelData, split: str, batch_size: int = 64) -> Tensor:
    """What a classifier says about each text of a split, without dropout: (N, n_labels)."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    found = []
    for inputs, targets in data.batches(split, batch_size):
        lengths = (targets != IGNORE).int().argmax(-1) + 1  # the label stands at the last real token
        found.append(class_logits(model, inputs.to(device), lengths.to(device)))
    model.train(training)
    return torch.cat(found).cpu()


def accuracy(predicted: Tensor, labels: Tensor) -> Share:
    """The share of labels (N,) that were predicted (N,).

    Raises:
        InputError: when there are none, or not as many of both.
    """
    _check_as_many(predicted, labels)
    right = int((predicted == labels).sum())
    return Share(right / len(labels), *wilson(right, len(labels)))


def confusion_table(predicted: Tensor, labels: Tensor, n_labels: int) -> Tensor:
    """How often each label (row) was predicted to be each label (column): counts (n_labels, n_labels).

    Raises:
        InputError: when there are no labels, or not as many of both.
    """
    _check_as_many(predicted, labels)
    return (labels * n_labels + predicted).bincount(minlength=n_labels**2).view(n_labels, n_labels)


def _check_as_many(predicted: Tensor, labels: Tensor) -> None:
    if len(predicted) != len(labels) or not len(labels):
        raise InputError(f"{len(predicted)} predictions for {len(labels)} labels: give as many, and at least one")


# Calibration.


def expected_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """How far confidence is from accuracy, in the mean over all texts (Guo et al. 2017, equation 3).

    Confidence is the largest probability. In each of `bins` equal parts of 0 to 1, it is compared with the share that
    is right there.

    Args:
        probabilities: (N, n_labels).
        labels: (N,).
        bins: how many parts.
    """
    _check_as_many(probabilities, labels)
    confidence, predicted = probabilities.double().max(-1)
    right = (predicted == labels).double()
    part = (confidence * bins).ceil().long().clamp(1, bins) - 1  # ((m − 1) / bins, m / bins], as in the paper
    gaps = torch.zeros(bins, dtype=torch.float64).index_add(0, part, right - confidence)
    return float(gaps.abs().sum() / len(labels))


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """What to divide logits (N, n_labels) by so that labels (N,) are most probable (Guo et al. 2017, section 4.2).

    No prediction changes. To be fitted on texts that the model has not learned from. Between 0.001 and 1000: where
    every prediction is right, there is no best one, because a smaller one is always better.
    """
    _check_as_many(logits, labels)
    logits = logits.double()
    of_labels = logits.gather(1, labels[:, None])[:, 0]

    def slope(factor: float) -> float:
        """Of the loss, by what logits are multiplied with: it only rises, because the loss is convex."""
        return float(((factor * logits).softmax(-1) * logits).sum(-1).mean() - of_labels.mean())

    low, high = math.log(1e-3), math.log(1e3)
    for _ in range(60):  # bisection
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) <= 0 else (low, middle)
    return math.exp(-(low + high) / 2)


# Decisions.


def cheapest_actions(probabilities: Tensor, costs: Tensor) -> Tensor:
    """For each text, the action with the least expected cost, (N,) (Elkan 2001, section 1).

    Args:
        probabilities: (N, n_labels).
        costs: (n_labels, n_actions), what each action costs when the label is true.
    """
    return (probabilities.double() @ costs.double()).argmin(-1)


def mean_cost(actions: Tensor, labels: Tensor, costs: Tensor) -> float:
    """What actions (N,) cost for each text, in the mean, with the labels (N,) that were true."""
    _check_as_many(actions, labels)
    return float(costs.double()[labels, actions].mean())


def alarm_threshold(false_alarm: float, miss: float) -> float:
    """From which probability of harm on an alarm is cheaper than none (Elkan 2001, section 1.3).

    An alarm costs (1 − p) · false_alarm, none costs p · miss; they are equal at false_alarm / (false_alarm + miss).

    Args:
        false_alarm: what an alarm costs where there is no harm.
        miss: what no alarm costs where there is harm.

    Raises:
        InputError: for a cost below 0, or when both are 0.
    """
    if min(false_alarm, miss) < 0 or not false_alarm + miss > 0:
        raise InputError(f"costs are {false_alarm} and {miss}; give two that are at least 0, and not both 0")
    return false_alarm / (false_alarm + miss)


def trade_off(scores: Tensor, harmful: Tensor) -> list[tuple[float, float]]:
    """For each threshold, the share of false alarms and the share of misses, from (0, 1) to (1, 0).

    Args:
        scores: (N,), how sure the classifier is of harm; alarm from a threshold on, so equal scores go together.
        harmful: (N,), whether there was harm.

    Raises:
        InputError: when all are harmful, or none is.
    """
    _check_as_many(scores, harmful)
    bad = int(harmful.sum())
    fine = len(harmful) - bad
    if not bad or not fine:
        raise InputError(f"{bad} of {len(harmful)} texts are harmful; a trade-off needs some that are and some not")
    values, place = scores.unique(return_inverse=True)
    hits, alarms = ((place[which].bincount(minlength=len(values))).flip(0).cumsum(0) for which in (harmful, ~harmful))
    points = [(a / fine, 1 - h / bad) for a, h in zip(alarms.tolist(), hits.tolist(), strict=True)]
    return [(0.0, 1.0), *points]


# Baselines.


def commonest(labels: Tensor) -> int:
    """The label that occurs most often; of several, the first. What a classifier says that reads nothing."""
    return int(labels.bincount().argmax())


def logistic_regression(features: Tensor, labels: Tensor, n_labels: int, penalty: float = 1.0) -> tuple[Tensor, Tensor]:
    """The weight (n_labels, d) and bias (n_labels,) whose softmax(W x + b) makes the labels most probable, in float64.

    Args:
        features: (N, d), of any meaning: word counts, or what a frozen model's head reads.
        labels: (N,).
        n_labels: how many labels there are.
        penalty: how strongly weights are drawn to 0: half the penalty times the sum of their squares joins the sum of
            the losses. Above 0 there is exactly one best weight.
    """
    _check_as_many(features, labels)
    features = features.detach().double()
    weight = torch.zeros(n_labels, features.size(1), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(n_labels, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, tolerance_grad=1e-4, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(features @ weight.T + bias, labels, reduction="sum")
        value = value + penalty / 2 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach(), bias.detach()


class WordCounts:
    """Logistic regression on how often each word occurs: no order of words, no vectors, nothing learned before.

    Attributes: `places` (of each word among the counts), `weight` (n_labels, words), `bias` (n_labels,).

    Args:
        texts: to learn from; their words are the only ones that it knows.
        labels: (N,).
        n_labels: how many labels there are.
        penalty: as of `logistic_regression`.
    """

    def __init__(self, texts: Sequence[str], labels: Tensor, n_labels: int, penalty: float = 1.0) -> None:
        words = sorted({word for text in texts for word in split_words(text)})
        self.places = {word: place for place, word in enumerate(words)}
        self.weight, self.bias = logistic_regression(self._counts(texts), labels, n_labels, penalty)

    def _counts(self, texts: Sequence[str]) -> Tensor:
        counts = torch.zeros(len(texts), len(self.places), dtype=torch.float64)
        for row, text in zip(counts, texts, strict=True):
            for word in split_words(text):
                if word in self.places:
                    row[self.places[word]] += 1
        return counts

    def logits(self, texts: Sequence[str]) -> Tensor:
        """(N, n_labels), in float64."""
        return self._counts(texts) @ self.weight.T + self.bias


def split_words(text: str) -> list[str]:
    """The words of a text in small letters, without punctuation."""
    return "".join(c.lower() if c.isalnum() else " " for c in text).split()
