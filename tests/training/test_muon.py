"""Muon: against torch's own, a singular value decomposition, and float64."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from minigpt.training.muon import Muon, orthogonalise

SHAPES = [(24, 8), (8, 8), (32, 8), (8, 32), (8, 32), (24, 8)]


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def trained(make: Any) -> list[Tensor]:
    """Twelve steps with gradients that change."""
    mine, generator = parameters(), torch.Generator().manual_seed(1)
    optimizer = make(mine)
    for step in range(12):
        for parameter in mine:
            parameter.grad = (1 + step) * torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [parameter.detach() for parameter in mine]


def test_in_bfloat16_it_is_torch_s_muon() -> None:
    """Up to the order of sums: matrices of one shape are multiplied together here."""
    options: dict[str, Any] = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9}
    theirs = trained(lambda p: torch.optim.Muon(p, nesterov=True, **options))
    ours = trained(lambda p: Muon(p, dtype=torch.bfloat16, **options))
    start = parameters()
    for a, b, c in zip(theirs, ours, start, strict=True):
        assert (a - b).norm() < 0.01 * (a - c).norm()  # measured: 0 to 0.002


def test_in_float32_it_is_float64_s() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 16, 40, generator=generator)
    assert (orthogonalise(x).double() - orthogonalise(x.double())).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_directions_stay_and_singular_values_come_near_one(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    u, _, vh = torch.linalg.svd(torch.randn(16, 40, generator=generator), full_matrices=False)
    sizes = torch.logspace(-1.5, 0, 16)
    result = orthogonalise((u * sizes @ vh)[None].to(dtype))[0].float()
    inside = u.T @ result @ vh.T  # diagonal, where the directions are the same
    assert (inside - inside.diag().diag()).abs().max() < (1e-4 if dtype == torch.float32 else 0.05)
    assert inside.diag().min() > 0.6 and inside.diag().max() < 1.25


def test_a_parameter_without_a_gradient_stays_and_a_gradient_of_zeros_changes_nothing() -> None:
    mine = parameters()
    mine[0].grad = torch.zeros_like(mine[0])
    Muon(mine, lr=0.1).step()
    for before, after in zip(parameters(), mine, strict=True):
        assert torch.equal(before, after)
