"""Probes find what is there, find nothing where nothing is, and their control tells learning by heart from reading."""

import pytest
import torch

from minigpt.config import InputError
from minigpt.course.inside.probes import control_labels, probe


def test_a_property_that_stands_in_the_numbers_is_found_and_its_control_is_not() -> None:
    """Many types; a number says the label, whatever the type; the rest is noise."""
    generator = torch.Generator().manual_seed(0)
    types = torch.randint(150, (600,), generator=generator)
    labels = torch.randint(2, (600,), generator=generator)
    features = torch.randn(600, 8, generator=generator)
    features[:, 3] += 4.0 * labels
    found = probe(features, labels, types, 400)
    assert found.accuracy.value > 0.9 and found.accuracy.low > found.baseline
    assert abs(found.control.value - 0.5) < 0.2 and found.selectivity > 0.25
    noise = probe(torch.randn(600, 8, generator=generator), labels, types, 400)
    assert noise.accuracy.low < 0.5 < noise.accuracy.high and abs(noise.selectivity) < 0.2


def test_where_the_numbers_only_name_the_type_the_control_is_as_good() -> None:
    """One number for each type: the probe can learn any list of labels by heart, and selectivity says so."""
    types = torch.arange(20).repeat(10)
    labels = (types % 3 == 0).long()
    found = probe(torch.eye(20)[types], labels, types, 100, penalty=0.01)
    assert found.accuracy.value == found.control.value == 1.0 and found.selectivity == 0
    assert found.baseline == pytest.approx(13 / 20)


def test_a_type_keeps_its_control_label_and_the_seed_draws_others() -> None:
    types, labels = torch.arange(50).repeat(4), torch.tensor([0, 0, 0, 1]).repeat(50)
    control = control_labels(types, labels)
    assert (control.view(4, 50) == control[:50]).all() and 0 < control.double().mean() < 0.5
    assert torch.equal(control, control_labels(types, labels)) and not torch.equal(
        control, control_labels(types, labels, 1)
    )


def test_what_cannot_be_probed_is_one_message() -> None:
    features, types = torch.randn(10, 3), torch.arange(10)
    with pytest.raises(InputError, match="all labels to learn from are 2: a probe needs at least two classes"):
        probe(features, torch.tensor([2] * 6 + [1] * 4), types, 6)
    for n_train in (0, 10):
        with pytest.raises(InputError, match=f"n_train is {n_train} of 10 examples"):
            probe(features, torch.arange(10) % 2, types, n_train)
    with pytest.raises(InputError, match="n_train is 0 of 0"):
        probe(features[:0], types[:0], types[:0], 0)
    with pytest.raises(InputError, match="10 activations, 9 labels, 10 types"):
        probe(features, types[:9], types, 5)
