"""Optimisers against torch's schedulers, the papers' formulas in float64, and the singular values of an update."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from minigpt.config import GPTConfig, TrainConfig
from minigpt.model.gpt import GPT, next_token_loss
from minigpt.training.optim import learning_rate_at, make_optimizers, parameter_groups, set_learning_rate

SHAPE = GPTConfig(vocab_size=11, context_length=6, n_layers=2, n_heads=2, d_model=8)


def model_with_gradients(config: GPTConfig = SHAPE) -> GPT:
    torch.manual_seed(0)
    model = GPT(config)
    ids = torch.randint(11, (4, 6))
    next_token_loss(model(ids), ids.roll(-1, 1)).backward()
    return model


# Learning rate.


@pytest.mark.parametrize("least", [0.0, 0.1])
def test_the_schedule_is_torch_s_linear_warm_up_and_cosine(least: float) -> None:
    config = TrainConfig(max_steps=50, warmup_steps=10, min_learning_rate=least, learning_rate=0.3)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / 10, 1.0, total_iters=9)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40, eta_min=0.3 * least)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[10])
    for step in range(50):
        assert 0.3 * learning_rate_at(step, config) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12), step
        optimizer.step()
        schedule.step()


def test_the_schedule_by_hand() -> None:
    config = TrainConfig(max_steps=12, warmup_steps=4, min_learning_rate=0.2)
    assert [learning_rate_at(step, config) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert learning_rate_at(4, config) == 1.0  # the cosine starts at its top
    assert learning_rate_at(8, config) == pytest.approx(0.6)  # halfway between 1 and 0.2
    assert learning_rate_at(10, config) == pytest.approx(0.2 + 0.8 * (1 - math.sqrt(0.5)) / 2)
    assert learning_rate_at(12, config) == learning_rate_at(99, config) == pytest.approx(0.2)


@pytest.mark.parametrize("warmup", [0, 5, 9])
def test_the_first_step_already_learns_and_no_rate_is_above_the_peak(warmup: int) -> None:
    config = TrainConfig(max_steps=5, warmup_steps=warmup)
    rates = [learning_rate_at(step, config) for step in range(5)]
    assert min(rates) > 0 and max(rates) <= 1
    assert rates[0] == (1.0 if warmup == 0 else 1 / warmup)


def test_every_group_follows_the_schedule_from_its_own_peak() -> None:
    optimizers = make_optimizers(GPT(SHAPE), TrainConfig(optimizer="muon", learning_rate=0.01, muon_learning_rate=0.3))
    for fraction in (0.5, 0.25):  # not a product of the two
        set_learning_rate(optimizers, fraction)
        assert {g["lr"] for g in optimizers["adamw"].param_groups} == {0.01 * fraction}
        assert {g["lr"] for g in optimizers["muon"].param_groups} == {0.3 * fraction}


# Groups.


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("modern", [{}, {"n_kv_heads": 1, "norm": "rmsnorm", "feed_forward": "swiglu"}])
def test_every_parameter_is_updated_by_one_rule(optimizer: Any, tied: bool, modern: dict[str, Any]) -> None:
    shape = GPTConfig(vocab_size=11, context_length=6, n_layers=2, n_heads=2, d_model=8, tie_embeddings=tied)
    model = GPT(replace(shape, **modern))
    optimizers = make_optimizers(model, TrainConfig(optimizer=optimizer, weight_decay=0.07))
    rule_of: dict[int, tuple[str, float]] = {}
    for name, one in optimizers.items():
        for group in one.param_groups:
            for parameter in group["params"]:
                assert id(parameter) not in rule_of, "a parameter has two rules"
                rule_of[id(parameter)] = (name, group["weight_decay"])
    named = dict(model.named_parameters())  # a tied matrix is named once
    assert len(rule_of) == len(named) and ("output_head.weight" in named) == (not tied)
    for name, parameter in named.items():
        if name.endswith(("qkv.weight", "output.weight", "gate.weight", "up.weight", "down.weight")):
            expected = (optimizer, 0.07)
        elif "norm" in name or name.endswith("bias"):
            expected = ("adamw", 0.0)
        else:
            assert name in ("token_embedding.weight", "position_embedding.weight", "output_head.weight")
            expected = ("adamw", 0.07)
        assert rule_of[id(parameter)] == expected, name


def test_weight_decay_is_for_matrices() -> None:
    decayed, free = parameter_groups(GPT(SHAPE), 0.1)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert all(p.ndim >= 2 for p in decayed["params"])  # type: ignore[attr-defined]
    assert all(p.ndim == 1 for p in free["params"])  # type: ignore[attr-defined]


# Updates.


def test_adamw_is_the_paper_s_formula() -> None:
    """Algorithm 2 of Loshchilov and Hutter 2019, in float64, for several steps with different gradients."""
    model = model_with_gradients().double()
    config = TrainConfig(learning_rate=0.01, weight_decay=0.1, beta1=0.8, beta2=0.9)
    optimizer = make_optimizers(model, config)["adamw"]
    expected = {name: p.detach().clone() for name, p in model.named_parameters()}
    mean = {name: torch.zeros_like(p) for name, p in expected.items()}
    square = {name: torch.zeros_like(p) for name, p in expected.items()}
    generator = torch.Generator().manual_seed(1)
    for t in range(1, 5):
        for name, parameter in model.named_parameters():
            g = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.grad = g.clone()
            mean[name] = 0.8 * mean[name] + 0.2 * g
            square[name] = 0.9 * square[name] + 0.1 * g * g
            step = (mean[name] / (1 - 0.8**t)) / ((square[name] / (1 - 0.9**t)).sqrt() + 1e-8)
            decay = 0.1 if parameter.ndim == 2 else 0.0
            expected[name] = expected[name] - 0.01 * (step + decay * expected[name])
        optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=0, atol=1e-12)


def test_a_muon_update_has_singular_values_near_one() -> None:
    """Jordan et al. 2024: five Newton-Schulz steps bring every singular value to about 0.7 to 1.2, whatever it was."""
    model = model_with_gradients(GPTConfig(vocab_size=11, context_length=6, n_layers=2, n_heads=2, d_model=32))
    config = TrainConfig(optimizer="muon", muon_learning_rate=0.5, weight_decay=0.0)
    optimizers = make_optimizers(model, config)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        gradient = 1e-3 * torch.randn(parameter.shape, generator=generator)
        if gradient.ndim == 2:  # with singular values from 0.1 to 1
            u, s, vh = torch.linalg.svd(gradient, full_matrices=False)
            gradient = u @ torch.diag(torch.logspace(-1, 0, len(s))) @ vh
        parameter.grad = gradient
    optimizers["muon"].step()
    updated = []
    for name, parameter in model.named_parameters():
        update = (before[name] - parameter.detach()) / 0.5
        if not update.any():
            continue
        updated.append(name)
        rows, columns = update.shape
        values = torch.linalg.svdvals(update / max(1, rows / columns) ** 0.5)  # tall matrices get a larger step
        assert values.min() > 0.65 and values.max() < 1.25, (name, values)
    assert len(updated) == 2 * 4 and all(name.startswith("blocks.") for name in updated)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_few_steps_lower_the_loss(optimizer: Any) -> None:
    torch.manual_seed(0)
    model = GPT(SHAPE)
    optimizers = make_optimizers(model, TrainConfig(optimizer=optimizer, learning_rate=0.01))
    ids = torch.randint(11, (4, 6))
    losses = []
    for _ in range(20):
        loss = next_token_loss(model(ids), ids.roll(-1, 1))
        losses.append(loss.item())
        loss.backward()
        for one in optimizers.values():
            one.step()
            one.zero_grad()
    assert losses[0] == pytest.approx(math.log(11), abs=0.1) and losses[-1] < losses[0] - 0.5
