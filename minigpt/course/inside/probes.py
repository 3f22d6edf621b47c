"""Linear probes: can a property be read off an activation, and does that say anything about the activation?

A probe may learn the task by itself, out of what tells one word from another. So each is measured beside a control:
the same probe on labels that were drawn at random for each word (Hewitt and Liang 2019). The difference is its
selectivity. And what can be read need not be used by the model; `patching` tells that.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.evaluation.labels import Share, accuracy, commonest, logistic_regression


@dataclass(frozen=True)
class Probed:
    """What a probe found, on examples that it did not learn from."""

    accuracy: Share
    control: Share
    """The same probe on random labels, one for each type."""
    baseline: float
    """Share that is right when always the commonest label is named."""

    @property
    def selectivity(self) -> float:
        """How much better than on the control (Hewitt and Liang 2019)."""
        return self.accuracy.value - self.control.value


def control_labels(types: Tensor, labels: Tensor, seed: int = 0) -> Tensor:
    """Labels of a control task: each type gets one at random, as often as the true labels occur.

    Args:
        types: (N,), what a random label belongs to, as a rule the token's id.
        labels: (N,), the true ones.
        seed: of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    different, which = types.unique(return_inverse=True)
    drawn = labels[torch.randint(len(labels), (len(different),), generator=generator)]
    return drawn[which]


def probe(
    features: Tensor, labels: Tensor, types: Tensor, n_train: int, *, penalty: float = 1.0, seed: int = 0
) -> Probed:
    """Fit a linear probe and its control on the first examples and measure both on the rest.

    The examples should be in an order in which neighbours, such as tokens of one text, do not fall on both sides.

    Args:
        features: (N, d), one activation for each example.
        labels: (N,), from 0.
        types: (N,), as of `control_labels`. Of a type that only the rest has, nobody can know the random label.
        n_train: how many examples are learned from.
        penalty: as of `logistic_regression`: the larger, the less the probe can learn by heart.
        seed: of the control.

    Raises:
        InputError: for an empty part, not as many of each, or one class only to learn from.
    """
    if not len(features) == len(labels) == len(types):
        raise InputError(f"{len(features)} activations, {len(labels)} labels, {len(types)} types: give as many of each")
    if not 0 < n_train < len(labels):
        raise InputError(f"n_train is {n_train} of {len(labels)} examples: both parts need at least one")
    if len(labels[:n_train].unique()) < 2:
        raise InputError(
            f"all labels to learn from are {int(labels[0])}: a probe needs at least two classes to tell apart"
        )
    features = features.detach().double().cpu()
    centre, spread = features[:n_train].mean(0), features[:n_train].std(0, correction=0).clamp(min=1e-12)
    features = (features - centre) / spread  # so that the penalty weighs all features alike
    n_labels = int(labels.max()) + 1

    def measured(of: Tensor) -> Share:
        weight, bias = logistic_regression(features[:n_train], of[:n_train], n_labels, penalty)
        return accuracy((features[n_train:] @ weight.T + bias).argmax(-1), of[n_train:])

    always = commonest(labels[:n_train])
    return Probed(
        measured(labels),
        measured(control_labels(types, labels, seed)),
        (labels[n_train:] == always).double().mean().item(),
    )
