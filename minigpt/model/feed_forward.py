"""Feed-forward networks: what each token does alone, after attention has mixed them."""

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from minigpt.config import GPTConfig

WORTH, PIECE = 2**14, 2**16
"""So many numbers and more are worth `fast_gelu`'s own way; so many at a time stay in a core's caches."""
SLOPE = 2 * math.sqrt(2 / math.pi)
LINEAR, CUBIC = torch.tensor(SLOPE, dtype=torch.float64, device="cpu"), SLOPE * 0.044715


def fast_gelu(x: Tensor) -> Tensor:
    """`F.gelu(x, approximate="tanh")`; many numbers in float32 take half the time on a CPU, where torch's tanh is slow.

    (1 + tanh(u / 2)) / 2 is sigmoid(u), so GELU is x sigmoid(u) with u = LINEAR x + CUBIC x^3. Computed so it can be
    differentiated once.
    """
    # Who watches operations from a dispatch mode, or pretends them, must see the one that a GPU does.
    watched = torch.compiler.is_compiling() or is_in_torch_dispatch_mode()
    if watched or not x.is_cpu or x.dtype != torch.float32 or x.numel() < WORTH:
        return F.gelu(x, approximate="tanh")
    x = x.contiguous()
    if torch.is_grad_enabled() and x.requires_grad:
        return _Gelu.apply(x)
    if x.numel() <= PIECE:
        return _gate(x).mul_(x)
    y = torch.empty_like(x)
    for some, out in _pieces(x, y):
        _gate(some, out).mul_(some)
    return y


def _pieces(*tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    return zip(*(tensor.view(-1).split(PIECE) for tensor in tensors), strict=True)


def _gate(x: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.addcmul(LINEAR, x, x, value=CUBIC, out=out).mul_(x).sigmoid_()


class _Gelu(torch.autograd.Function):
    """Keeps its slope, gate + x u' gate (1 - gate): as much memory as torch keeps, and one product on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y, slope = torch.empty_like(x), torch.empty_like(x)
        for some, out, kept in _pieces(x, y, slope):
            gate = _gate(some, out)
            torch.addcmul(LINEAR, some, some, value=3 * CUBIC, out=kept)  # u'
            torch.addcmul(gate, some, torch.ops.aten.sigmoid_backward(kept, gate), out=kept)
            gate.mul_(some)
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return gradient * slope


class FeedForward(nn.Module):
    """down(GELU(up(x))), the same for every token (Vaswani et al. 2017, section 3.3).

    GPT-2 puts GELU where the paper has ReLU, in its tanh form (Hendrycks and Gimpel 2016, section 2):
    0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.feed_forward_size, bias=config.bias)
        self.down = nn.Linear(config.feed_forward_size, config.d_model, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d_model) -> (B, T, d_model), by way of (B, T, d_ff)."""
        x = fast_gelu(self.up(x))
        x = self.down(x)
        return x


class SwiGLU(nn.Module):
    """down(SiLU(gate(x)) * up(x)), the same for every token (Shazeer 2020, equation 6); SiLU(z) = z / (1 + e^-z)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.d_model, config.feed_forward_size, bias=config.bias)
        self.up = nn.Linear(config.d_model, config.feed_forward_size, bias=config.bias)
        self.down = nn.Linear(config.feed_forward_size, config.d_model, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d_model) -> (B, T, d_model), by way of (B, T, d_ff)."""
        x = F.silu(self.gate(x)) * self.up(x)
        x = self.down(x)
        return x


def make_feed_forward(config: GPTConfig) -> FeedForward | SwiGLU:
    """The feed-forward network that a config names."""
    return SwiGLU(config) if config.feed_forward == "swiglu" else FeedForward(config)
