"""Attention layers, right ones and wrong ones, for the exercise of lesson 5 that builds one."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Step = Callable[[Tensor], Tensor]


class Layer(nn.Module):
    """Right, in steps that others replace."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Any:
        q, k, v = (self.split(part) for part in self.qkv(x).chunk(3, dim=-1))
        return self.project(self.join(self.weights(q, k) @ v))

    def split(self, part: Tensor) -> Tensor:
        return part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.mT / math.sqrt(q.size(-1))

    def mask(self, scores: Tensor) -> Tensor:
        return scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -math.inf)

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        return self.mask(self.scores(q, k)).softmax(-1)

    def join(self, y: Tensor) -> Tensor:
        return y.transpose(1, 2).flatten(2)

    def project(self, y: Tensor) -> Tensor:
        return self.output(y)


def layer_with(**steps: Callable[..., Any]) -> type[Layer]:
    """Right but for the steps that are given: functions of the layer and what the step gets."""
    return type("Attention", (Layer,), steps)


class LayerHeadByHead(Layer):
    def forward(self, x: Tensor) -> Tensor:
        d_k = x.size(-1) // self.n_heads
        q, k, v = self.qkv(x).split(x.size(-1), dim=-1)
        visible = torch.ones(x.size(1), x.size(1), dtype=torch.bool).tril()
        heads = []
        for start in range(0, x.size(-1), d_k):
            own = slice(start, start + d_k)
            scores = torch.where(visible, q[..., own] @ k[..., own].mT * d_k**-0.5, -math.inf)
            heads.append(scores.softmax(-1) @ v[..., own])
        return self.output(torch.cat(heads, dim=-1))


def _fused(self: Layer, x: Tensor) -> Tensor:
    q, k, v = (self.split(part) for part in self.qkv(x).chunk(3, dim=-1))
    return self.output(self.join(F.scaled_dot_product_attention(q, k, v, is_causal=True)))


def _einsum(self: Layer, x: Tensor) -> Tensor:
    q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).unbind(-3)  # (B, T, h, d_k)
    scores = self.mask(torch.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(q.size(-1)))
    exponentials = (scores - scores.amax(-1, keepdim=True)).exp()
    weights = exponentials / exponentials.sum(-1, keepdim=True)
    return self.output(torch.einsum("bhij,bjhd->bihd", weights, v).flatten(2))


fused_layer, layer_by_einsum = layer_with(forward=_fused), layer_with(forward=_einsum)


def _residual(self: Layer, x: Tensor) -> Tensor:
    return x + Layer.forward(self, x)


def _in_place(self: Layer, x: Tensor) -> Tensor:
    y = Layer.forward(self, x)
    x.mul_(2)
    return y


def _no_return(self: Layer, x: Tensor) -> None:
    Layer.forward(self, x)


def _with_keys_detached(self: Layer, q: Tensor, k: Tensor) -> Tensor:
    return self.mask(self.scores(q, k.detach())).softmax(-1)


def _own_exponentials(self: Layer, q: Tensor, k: Tensor) -> Tensor:
    exponentials = self.mask(self.scores(q, k)).exp()
    return exponentials / exponentials.sum(-1, keepdim=True)


def _noise(self: Layer, x: Tensor) -> Tensor:
    y: Tensor = Layer.forward(self, x)
    return y + 1e-8 * torch.rand(())


def _chunks_in_another_order(self: Layer, x: Tensor) -> Tensor:
    k, q, v = (self.split(part) for part in self.qkv(x).chunk(3, dim=-1))
    return self.project(self.join(self.weights(q, k) @ v))


def _renamed(self: Layer, d_model: int, n_heads: int) -> None:
    nn.Module.__init__(self)
    self.projection, self.output = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)


def _too_narrow(self: Layer, d_model: int, n_heads: int) -> None:
    nn.Module.__init__(self)
    self.qkv, self.output = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)


def _without_bias(self: Layer, d_model: int, n_heads: int) -> None:
    nn.Module.__init__(self)
    self.qkv, self.output = nn.Linear(d_model, 3 * d_model, bias=False), nn.Linear(d_model, d_model)


def _with_a_norm(self: Layer, d_model: int, n_heads: int) -> None:
    Layer.__init__(self, d_model, n_heads)
    self.norm = nn.LayerNorm(d_model)


class NoModule:
    def __init__(self, d_model: int, n_heads: int) -> None:
        pass


LAYERS: dict[Callable[..., Any], str] = {
    NoModule: "is no nn.Module",
    layer_with(__init__=_renamed): "has no part `qkv`",
    layer_with(__init__=_too_narrow): "`qkv` takes 12 numbers to 12",
    layer_with(__init__=_without_bias): "`qkv` has no bias",
    layer_with(__init__=_with_a_norm): "norm.weight, norm.bias",
    layer_with(forward=_no_return): "None. Does forward end",
    layer_with(join=lambda self, y: y.flatten(2)): "your forward stops with RuntimeError: mat1",
    layer_with(join=lambda self, y: y.transpose(1, 2).view(*y.shape[:1], y.size(2), -1)): "copies where it must",
    layer_with(project=lambda self, y: self.output(y).mean(1)): "you return (2, 12)",
    layer_with(project=lambda self, y: self.output(y).float()): "you return torch.float32",
    layer_with(scores=lambda self, q, k: (q.float() @ k.float().mT) / 2): "Does a step write a dtype out",
    layer_with(mask=lambda self, scores: scores): "The future is not hidden",
    layer_with(mask=lambda self, scores: scores.masked_fill(torch.ones_like(scores).triu(2).bool(), -math.inf)): (
        "On which diagonal does the mask end?"
    ),
    layer_with(mask=lambda self, scores: scores.masked_fill(torch.ones_like(scores).tril(-1).bool(), -math.inf)): (
        "The mask is turned over"
    ),
    layer_with(mask=lambda self, scores: scores.masked_fill(torch.ones_like(scores).triu().bool(), -math.inf)): (
        "returns nan. Does every row"
    ),
    layer_with(weights=lambda self, q, k: self.scores(q, k).softmax(-1).tril()): "set to 0 after the softmax",
    layer_with(mask=lambda self, scores: scores.tril()): "and e^0 = 1",
    layer_with(mask=lambda self, scores: scores.tril() + 3 * torch.ones_like(scores).triu(1)): (
        "the mask lets the future through"
    ),
    layer_with(scores=lambda self, q, k: q @ k.mT): "The scale is missing",
    layer_with(scores=lambda self, q, k: q @ k.mT / q.size(-1)): "divided by d_k, not by its root",
    layer_with(scores=lambda self, q, k: q @ k.mT * math.sqrt(q.size(-1))): "Should they grow?",
    layer_with(scores=lambda self, q, k: q @ k.mT / math.sqrt(q.size(-1) * self.n_heads)): "divided by √d_model",
    layer_with(scores=lambda self, q, k: q @ k.mT / math.sqrt(q.size(-1) + 1)): "Nothing leaks, but the numbers",
    layer_with(weights=lambda self, q, k: self.mask(self.scores(q, k)).softmax(-2)): "runs along the queries",
    layer_with(weights=lambda self, q, k: self.mask(self.scores(q, k)).exp()): "not divided by their sum",
    layer_with(split=lambda self, part: part[:, None]): "There is one head of d_model",
    layer_with(split=lambda self, part: part.reshape(part.size(0), self.n_heads, part.size(1), -1)): (
        "The split cuts tokens into pieces"
    ),
    layer_with(split=lambda self, part: part.unflatten(-1, (-1, self.n_heads)).permute(0, 3, 1, 2)): (
        "gets every third number"
    ),
    layer_with(forward=_chunks_in_another_order): "In which order are they asked for?",
    layer_with(join=lambda self, y: y.reshape(y.size(0), y.size(2), -1)): "as they lie in memory",
    layer_with(join=lambda self, y: y.permute(0, 2, 3, 1).flatten(2)): "which axis varies fastest?",
    layer_with(project=lambda self, y: y): "where does `output` come in?",
    layer_with(forward=_residual): "That residual connection",
    layer_with(project=lambda self, y: self.output(y).round(decimals=4)): "The result is rounded",
    layer_with(
        mask=lambda self, scores: scores.masked_fill(
            torch.ones(8, 8)[: scores.size(-1), : scores.size(-1)].triu(1).bool(), -math.inf
        )
    ): ("For x of shape (3, 40, 12) your forward stops"),
    layer_with(scores=lambda self, q, k: q @ k.mT / 2): "Is a size written out",
    layer_with(forward=_noise): "Two calls with the same x",
    layer_with(forward=_in_place): "The caller's x is another",
    layer_with(project=lambda self, y: self.output(y).detach()): "made under no_grad",
    layer_with(weights=_with_keys_detached): "the slopes of",
    layer_with(weights=_own_exponentials): "subtract the largest",
}
