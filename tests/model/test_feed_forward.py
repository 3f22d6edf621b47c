"""Feed-forward networks against arithmetic by hand, and one token at a time."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from minigpt.config import Activation, GPTConfig
from minigpt.model.feed_forward import PIECE, WORTH, FeedForward, SwiGLU, _Gelu, fast_gelu, make_feed_forward


def by_hand(x: float) -> float:
    """Hendrycks and Gimpel 2016, section 2, the tanh form."""
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def test_by_hand():
    network = FeedForward(GPTConfig(vocab_size=2, n_heads=1, d_model=2, d_ff=3)).double()
    with torch.no_grad():
        network.up.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [1, -1]]))
        network.up.bias.copy_(torch.tensor([0.0, 1, -2]))
        network.down.weight.copy_(torch.tensor([[1.0, 2, 3], [0, -1, 1]]))
        network.down.bias.copy_(torch.tensor([10.0, 20]))
        output = network(torch.tensor([[[1.0, 2]]], dtype=torch.float64))
    a, b, c = by_hand(1), by_hand(3), by_hand(-3)  # up: [1, 2 + 1, 1 - 2 - 2]
    expected = [10 + a + 2 * b + 3 * c, 20 - b + c]
    torch.testing.assert_close(output, torch.tensor([[expected]], dtype=torch.float64))


def test_the_tanh_form_and_not_the_exact_one():
    network = FeedForward(GPTConfig(vocab_size=2, n_heads=1, d_model=1, d_ff=1)).double()
    with torch.no_grad():
        for linear in (network.up, network.down):
            linear.weight.fill_(1)
            linear.bias.zero_()
        output = network(torch.tensor([[[2.0]]], dtype=torch.float64)).item()
    exact = 2 * 0.5 * (1 + math.erf(2 / math.sqrt(2)))
    assert output == pytest.approx(by_hand(2), abs=1e-12)
    assert abs(output - exact) > 5e-5


def test_swiglu_by_hand():
    network = SwiGLU(GPTConfig(vocab_size=2, n_heads=1, d_model=2, d_ff=2, feed_forward="swiglu")).double()
    with torch.no_grad():
        network.gate.weight.copy_(torch.tensor([[1.0, 0], [1, -1]]))
        network.gate.bias.copy_(torch.tensor([0.0, -1]))
        network.up.weight.copy_(torch.tensor([[0.0, 1], [1, 1]]))
        network.up.bias.copy_(torch.tensor([1.0, 2]))
        network.down.weight.copy_(torch.tensor([[1.0, 2], [0, -1]]))
        network.down.bias.copy_(torch.tensor([10.0, 20]))
        output = network(torch.tensor([[[1.0, 2]]], dtype=torch.float64))
    a = 1 / (1 + math.exp(-1)) * 3  # gate: 1; up: 2 + 1
    b = -2 / (1 + math.exp(2)) * 5  # gate: 1 - 2 - 1; up: 1 + 2 + 2
    torch.testing.assert_close(output, torch.tensor([[[10 + a + 2 * b, 20 - b]]], dtype=torch.float64))


@pytest.mark.parametrize("kind", get_args(Activation))
def test_every_token_alone(kind: Activation):
    config = GPTConfig(vocab_size=2, n_heads=1, d_model=6, feed_forward=kind)
    network, x = make_feed_forward(config).double(), torch.randn(2, 5, 6).double()
    alone = torch.stack([torch.stack([network(token[None, None])[0, 0] for token in text]) for text in x])
    torch.testing.assert_close(network(x), alone)


@pytest.mark.parametrize(("d_ff", "width"), [(0, 24), (7, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_shapes_of_the_weights(d_ff: int, width: int, bias: bool):
    network = FeedForward(GPTConfig(vocab_size=2, n_heads=1, d_model=6, d_ff=d_ff, bias=bias))
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    weights = {"up.weight": (width, 6), "down.weight": (6, width)}
    assert shapes == (weights | {"up.bias": (width,), "down.bias": (6,)} if bias else weights)


@pytest.mark.parametrize("bias", [True, False])
def test_swiglu_has_a_third_matrix_and_by_default_as_many_weights(bias: bool):
    plain = GPTConfig(vocab_size=2, n_heads=1, d_model=6, bias=bias)
    network = make_feed_forward(replace(plain, feed_forward="swiglu"))
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    weights = {"gate.weight": (16, 6), "up.weight": (16, 6), "down.weight": (6, 16)}
    assert shapes == (weights | {"gate.bias": (16,), "up.bias": (16,), "down.bias": (6,)} if bias else weights)
    matrices = [sum(p.numel() for p in one.parameters() if p.ndim == 2) for one in (network, make_feed_forward(plain))]
    assert matrices == [288, 288]
    assert make_feed_forward(replace(plain, feed_forward="swiglu", d_ff=7)).up.out_features == 7


@pytest.mark.parametrize("n", [WORTH - 1, WORTH, PIECE, 2 * PIECE + 7])
def test_fast_gelu_is_torchs_to_rounding_as_are_its_slopes(n: int):
    x = torch.linspace(-12, 12, n).requires_grad_()
    exact = x.detach().double().requires_grad_()
    mine, theirs, true = fast_gelu(x), F.gelu(x, approximate="tanh"), F.gelu(exact, approximate="tanh")
    torch.testing.assert_close(mine.double(), true, rtol=3e-7, atol=3e-7)
    torch.testing.assert_close(mine, theirs, rtol=3e-7, atol=6e-7)
    upstream = torch.cos(exact.detach())
    (slope,), (true_slope,) = torch.autograd.grad(mine, x, upstream.float()), torch.autograd.grad(true, exact, upstream)
    torch.testing.assert_close(slope.double(), true_slope, rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        assert torch.equal(fast_gelu(x), mine)
    with torch.inference_mode():
        assert torch.equal(fast_gelu(x), mine)


def test_slopes_of_gelu_are_those_of_small_differences():
    x = torch.linspace(-6, 6, 2 * 3 * 5, dtype=torch.float64).view(2, 3, 5).requires_grad_()
    torch.testing.assert_close(_Gelu.apply(x), F.gelu(x, approximate="tanh"), rtol=1e-14, atol=1e-14)
    assert torch.autograd.gradcheck(_Gelu.apply, x)


def test_gelu_of_huge_numbers():
    x = torch.tensor([0.0, -1e4, 1e4, -1e12, 1e12, -1e18, 1e18]).repeat(WORTH).requires_grad_()
    y = fast_gelu(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    off, on = x < 0, x > 0
    assert (y[off] == 0).all() and (slope[off] == 0).all()
    assert (y[on] == x[on]).all() and (slope[on] == 1).all() and (slope[x == 0] == 0.5).all()


def test_gelu_of_a_transposed_tensor_and_in_other_types():
    x = torch.randn(256, 128)
    torch.testing.assert_close(fast_gelu(x.t()), fast_gelu(x).t(), rtol=0, atol=0)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert torch.equal(fast_gelu(x.to(dtype)), F.gelu(x.to(dtype), approximate="tanh"))
    with torch.autocast("cpu", torch.bfloat16):
        assert FeedForward(GPTConfig(vocab_size=2, n_heads=1, d_model=128))(x[None]).dtype == torch.bfloat16


def test_gelu_compiled():
    x = torch.randn(WORTH)
    torch.testing.assert_close(
        torch.compile(fast_gelu, fullgraph=True, backend="eager")(x), fast_gelu(x), rtol=3e-7, atol=6e-7
    )


@pytest.mark.parametrize("watching", [FakeTensorMode, lambda: FlopCounterMode(display=False)])
def test_who_watches_sees_one_operation(watching: Callable[[], AbstractContextManager[object]]):
    with watching():
        x = torch.ones(WORTH, requires_grad=True)
        assert type(fast_gelu(x).grad_fn).__name__ == "GeluBackward0"
    x = torch.ones(WORTH, requires_grad=True)
    assert type(fast_gelu(x).grad_fn).__name__ == "_GeluBackward"
