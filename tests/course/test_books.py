"""The books of a computation, against sums made by hand."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from minigpt.course.books import Kernel, Memory, Traffic, total


def test_a_sum_and_a_product_of_6_by_6_matrices_move_three_matrices_each() -> None:
    a, b = torch.ones(6, 6), torch.ones(6, 6)
    with Traffic() as traffic:
        a + b
        a @ b
    assert traffic.kernels == [Kernel("add", 3 * 4 * 36, 0), Kernel("mm", 3 * 4 * 36, 2 * 6**3)]
    assert total(traffic.kernels) == (432, 864)


def test_a_view_moves_nothing_and_what_is_changed_in_place_is_read_and_written() -> None:
    a = torch.ones(6, 6)
    with Traffic() as traffic:
        a.view(2, 3, 6)[0].unsqueeze(0)
        a.T.reshape(36)
        a.mul_(2)
        torch.ones_like(a)
        a.new_ones(5)
    moved = [(kernel.name, kernel.bytes) for kernel in traffic.kernels]
    assert moved[0] == ("clone", 2 * 4 * 36), "a turned matrix cannot be viewed in another shape: it is copied"
    assert moved[1:] == [("mul_", 2 * 4 * 36), ("ones_like", 4 * 36), ("new_ones", 4 * 5)]


def test_of_a_table_only_what_the_ids_point_to_travels() -> None:
    table, ids = torch.ones(1000, 8, requires_grad=True), torch.tensor([3, 3, 7])
    logits, targets = torch.zeros(3, 1000, requires_grad=True), torch.tensor([1, 2, 3])
    with Traffic() as traffic:
        F.embedding(ids, table)
        F.nll_loss(logits, targets, reduction="sum").backward()
    moved = {kernel.name: kernel.bytes for kernel in traffic.kernels}
    assert moved["embedding"] == 2 * 3 * 8 * 4 + 3 * 8
    assert moved["nll_loss_forward"] < 100
    assert 3 * 1000 * 4 <= moved["nll_loss_backward"] < 3 * 1000 * 4 + 100, "the gradient is written, nothing is read"


@pytest.mark.parametrize("causal", [False, True])
def test_fused_attention_skips_half_of_the_products_under_a_causal_mask(causal: bool) -> None:
    B, h, T, d_k = 2, 3, 64, 16
    q, k, v = (torch.ones(B, h, T, d_k, requires_grad=True) for _ in range(3))
    with Traffic() as traffic:
        F.scaled_dot_product_attention(q, k, v, is_causal=causal).sum().backward()
    flops = [kernel.flops for kernel in traffic.kernels if kernel.flops]
    one_product = 2 * B * h * T * T * d_k // (1 + causal)
    assert flops == [2 * one_product, 5 * one_product]


def test_fused_adamw_reads_four_numbers_and_writes_three() -> None:
    weight = nn.Parameter(torch.ones(500))
    weight.grad = torch.ones(500)
    optimizer = torch.optim.AdamW([weight], fused=True)
    optimizer.step()
    with Traffic() as traffic:
        optimizer.step()
    (kernel,) = traffic.kernels
    assert 28 * 500 <= kernel.bytes < 28 * 500 + 20


@pytest.mark.parametrize("pretend", [False, True])
def test_memory_follows_what_is_held_and_what_is_freed(pretend: bool) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True) if pretend else torch.no_grad(), Memory() as memory:
        a = torch.zeros(100)
        b = a.view(10, 10)  # shares a's memory
        c = b + 1
        del c
        torch.zeros(25)
        assert [held for held, _ in itertools.groupby(memory.history)] == [400, 800, 500] and memory.held == 400
        del a, b
        assert memory.held == 0
