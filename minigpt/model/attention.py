"""Attention: as the formula reads, and as it runs."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.config import GPTConfig
from minigpt.model.kv_cache import KVCache


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> tuple[Tensor, Tensor]:
    """softmax(Q K^T / sqrt(d_k)) V, the formula of Vaswani et al. 2017, section 3.2.1.

    Args:
        q: queries (..., T_q, d_k).
        k: keys (..., T_k, d_k).
        v: values (..., T_k, d_v).
        causal: whether a token must not see later ones (section 3.2.3). The queries are those of the last T_q tokens.

    Returns:
        the output (..., T_q, d_v), and the weights (..., T_q, T_k): each row is positive and sums to 1.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (..., T_q, T_k)
    if causal:
        T_q, T_k = scores.shape[-2:]
        visible = scores.new_ones(T_q, T_k, dtype=torch.bool).tril(T_k - T_q)  # one table for all heads
        scores = scores.masked_fill(~visible, -math.inf)  # e^-inf = 0: no weight on the future
    weights = scores.softmax(dim=-1)
    return weights @ v, weights


def rotation(positions: Tensor, d_k: int, base: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles by which `rotate` turns tokens at these positions.

    Args:
        positions: (T,), or (B, 1, T) if the texts stand at different positions.
        d_k: an even number.
        base: the paper's 10000; with a larger one the slow pairs turn more slowly, for longer texts.

    Returns:
        two tensors (T, d_k / 2), or (B, 1, T, d_k / 2).
    """
    speeds = base ** (-torch.arange(0, d_k, 2, device=positions.device) / d_k)  # (d_k / 2,): radians a position
    angles = positions[..., None] * speeds
    return angles.cos(), angles.sin()


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Queries or keys turned by the positions of their tokens (RoPE; Su et al. 2021, section 3.2.2).

    Numbers i and i + d_k / 2 are a point in a plane, which turns by an angle that grows with the position. The
    product of a query and a key then depends on how far apart they stand, and not on where.

    Args:
        x: (B, h, T, d_k).
        turn: what `rotation` says of the tokens' positions.
    """
    cos, sin = turn
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


class CausalSelfAttention(nn.Module):
    """Multi-head causal self-attention (Vaswani et al. 2017, section 3.2.2), with torch's fused attention.

    One Linear makes the queries, keys and values of all heads, in GPT-2's order: all queries, all keys, all values.
    There may be fewer heads of keys and values, each for several neighbouring heads of queries (Ainslie et al. 2023).
    Fused attention never stores the (T, T) weights (Dao et al. 2022); the result is that of the formula above.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.dropout = config.dropout
        self.positions, self.rope_base = config.positions, config.rope_base
        self.widths = [n * config.head_size for n in (config.n_heads, config.kv_heads, config.kv_heads)]
        self.qkv = nn.Linear(config.d_model, sum(self.widths), bias=config.bias)
        self.output = nn.Linear(config.d_model, config.d_model, bias=config.bias)

    def forward(self, x: Tensor, cache: KVCache | None = None, layer: int = 0, position: int = 0) -> Tensor:
        """Attend from each of T new tokens to itself and all tokens before it.

        Args:
            x: (B, T, d_model), the tokens at `position` and after.
            cache: holds the keys and values of the tokens before `position`, and receives the new ones.
            layer: which of the cache's layers this is.
            position: that of the first token of x in its sequence.

        Returns:
            (B, T, d_model).

        Raises:
            InputError: if the tokens do not fit into the cache.
        """
        B, T, d_model = x.shape
        q, k, v = (  # (B, h, T, head_size), and twice (B, kv_heads, T, head_size)
            part.view(B, T, -1, d_model // self.n_heads).transpose(1, 2)
            for part in self.qkv(x).split(self.widths, dim=-1)
        )
        if self.positions == "rope":
            turn = rotation(torch.arange(position, position + T, device=x.device), q.size(-1), self.rope_base)
            q, k = rotate(q, turn), rotate(k, turn)
        if cache is not None:
            k, v = cache.update(layer, k, v, position)  # (B, kv_heads, position + T, head_size)
        if k.size(1) < self.n_heads:
            k, v = (part.repeat_interleave(self.n_heads // k.size(1), dim=1) for part in (k, v))
        x = self.fused_attention(q, k, v)  # (B, h, T, head_size)
        x = self.output(x.transpose(1, 2).reshape(B, T, d_model))
        return x

    def fused_attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The formula, causal and fused: (B, h, T, head_size), for queries of the last T of the tokens in k and v."""
        T, T_all = q.size(-2), k.size(-2)
        dropout = self.dropout if self.training else 0.0
        # Set by branches: T > 1 itself would be no plain bool to torch.compile.
        causal, mask = True, None
        if T == 1:  # one new token may see everything
            causal = False
        elif T_all > T:
            # Torch's own causal mask would count from the first of all tokens.
            causal = False
            mask = torch.ones(T, T_all, dtype=torch.bool, device=q.device).tril(T_all - T)
        if q.device.type == "cpu" and q.dtype == torch.bfloat16:
            # On CPUs this one operation takes 3 times as long in bfloat16 as in float32.
            with torch.autocast("cpu", enabled=False):
                x = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), mask, dropout, causal)
                return x.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)
