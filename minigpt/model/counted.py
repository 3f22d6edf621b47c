"""What the output head reads, with less work: only where a target counts, and what two rows begin with only once."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.config import GPTConfig
from minigpt.model.attention import rotate, rotation
from minigpt.model.gpt import GPT
from minigpt.model.kv_cache import KVCache

Heads = tuple[Tensor, Tensor, Tensor]
VECTOR = 8
"""Numbers in float32 that a processor with AVX2 takes at once."""


def ends(counted: Tensor) -> Tensor:
    """How much of each row has to be read, (B,): up to the last place where counted (B, T) is true."""
    return (counted * torch.arange(1, counted.size(1) + 1, device=counted.device)).amax(dim=1)


def _heads(config: GPTConfig, block: Any, x: Tensor, turn: tuple[Tensor, Tensor] | None) -> Heads:
    """Queries, keys and values as the block's attention makes them of x (B, T, d_model): (B, h or kv_heads, T,
    head_size)."""
    attention = block.attention
    q, k, v = (
        part.view(*x.shape[:2], -1, config.head_size).transpose(1, 2)
        for part in attention.qkv(block.attention_norm(x)).split(attention.widths, dim=-1)
    )
    if turn is not None:
        q, k = rotate(q, turn), rotate(k, turn)
    return q, k, v


def _attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, dropout: float = 0.0) -> Tensor:
    """Attention where visible (B, 1, n, T) is True, or everywhere: (B, n, h, head_size)."""
    if (kv_heads := k.size(1)) < q.size(1):
        k, v = (part.repeat_interleave(q.size(1) // kv_heads, dim=1) for part in (k, v))
    if q.dtype == torch.bfloat16:  # slow in this one operation, as in CausalSelfAttention
        q, k, v = q.float(), k.float(), v.float()
    with torch.autocast(q.device.type, enabled=False):
        return F.scaled_dot_product_attention(q, k, v, visible, dropout).transpose(1, 2)


def _into_last_block(model: GPT, ids: Tensor, cache: KVCache | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The residual stream before the last block, (B, T, d_model), and that block's queries, keys and values."""
    T, config, n_before = ids.size(1), model.config, model.config.n_layers - 1
    x = model.token_embedding(ids)  # (B, T, d_model)
    if config.positions == "learned":
        x = x + model.position_embedding.weight[:T]
    x = model.dropout(x)
    for layer, block in enumerate(model.blocks[:n_before]):
        x = block(x, cache, layer if cache else 0)
    turn = None
    if config.positions == "rope":
        turn = rotation(torch.arange(T, device=ids.device), config.head_size, config.rope_base)
    q, k, v = _heads(config, model.blocks[-1], x, turn)
    if cache is not None:
        k, v = cache.update(n_before, k, v, 0)
    return x, q, k, v


def _out_of_last_block(model: GPT, x: Tensor, y: Tensor) -> Tensor:
    """What the output head reads, from the stream x before the last block and what its heads have gathered in y, both
    (N, d_model)."""
    last: Any = model.blocks[-1]
    x = x + last.dropout(last.attention.output(y))
    x = x + last.dropout(last.feed_forward(last.feed_forward_norm(x)))
    x = model.final_norm(x)
    return x


def hidden_states_at(model: GPT, ids: Tensor, counted: Tensor) -> Tensor:
    """`model.hidden_states(ids)[counted]`, in less time.

    All blocks but the last must know every token. Of the last, keys and values are needed everywhere, and the rest only
    where somebody asks: attention of a query, its output, the feed-forward network. Dropout draws other numbers.

    Args:
        model: without a cache.
        ids: (B, T), which fit into the context.
        counted: (B, T), true at N places, at least 1.

    Returns:
        (N, d_model), in the order of the rows and in them of the places.
    """
    T, config = ids.size(1), model.config
    x, q, k, v = _into_last_block(model, ids)
    last: Any = model.blocks[-1]
    # As many queries for each row as the row with the most has; those to spare stand at other places and are dropped.
    most = int(counted.sum(1).max())
    places = counted.int().argsort(dim=1, descending=True, stable=True)[:, :most]  # (B, n)
    asked = counted.gather(1, places)
    visible = torch.arange(T, device=ids.device) <= places[:, None, :, None]  # (B, 1, n, T)
    q = q.gather(2, places[:, None, :, None].expand(-1, config.n_heads, -1, config.head_size))
    y = _attend(q, k, v, visible, last.attention.dropout if model.training else 0.0)
    return _out_of_last_block(model, x[counted], y[asked].flatten(1))


def last_hidden_states(model: GPT, ids: Tensor, cache: KVCache | None = None) -> Tensor:
    """`model.hidden_states(ids, cache)[:, -1]`, (B, d_model), in less time, for the reason above.

    Args:
        model: without dropout.
        ids: (B, T), which fit into the context.
        cache: receives the tokens, at its beginning.
    """
    x, q, k, v = _into_last_block(model, ids, cache)
    return _out_of_last_block(model, x[:, -1], _attend(q[:, :, -1:], k, v, None).flatten(1))


@dataclass(frozen=True)
class Pairs:
    """Rows of which each two neighbours are a pair: row 0 and 1, 2 and 3, …; what a pair begins with is shared."""

    first: Tensor
    """(n,): how much of each pair's first row has to be read, in tokens."""
    second: Tensor
    common: Tensor
    """(n,): how many tokens the two begin with alike."""

    @staticmethod
    def of(ids: Tensor, counted: Tensor) -> "Pairs":
        """The pairs of ids (2 n, T), read up to the last place that is counted (2 n, T)."""
        first, second = ends(counted).view(-1, 2).unbind(dim=1)
        alike = (ids[0::2] == ids[1::2]).cumprod(dim=1).sum(dim=1)
        return Pairs(first, second, alike.minimum(first).minimum(second))

    @property
    def lengths(self) -> Tensor:
        """Of the pairs when read as one row: the first whole, then of the second what is its own."""
        return self.first + self.second - self.common

    def save_much(self) -> bool:
        """Whether a quarter of the tokens or more need not be read twice."""
        return bool(4 * self.common.sum() > (self.first + self.second).sum())


def hidden_states_of_pairs(model: GPT, ids: Tensor, counted: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """`model.hidden_states(ids)[counted]`, each only once for both rows of a pair where they begin alike.

    A pair is read as one row: the first, and behind it what is the second's own, which stands at its own positions and
    does not see what is the first's own.

    Args:
        model: without a cache, and without dropout.
        ids: (2 n, T), which fit into the context.
        counted: (2 n, T), true at N places.
        pairs: `Pairs.of` the two.

    Returns:
        hidden states (U, d_model), and for each of the N places which of these is its own, (N,).
    """
    config, columns = model.config, torch.arange(ids.size(1), device=ids.device)
    first, common = pairs.first[:, None], pairs.common[:, None]  # (n, 1)
    width = int(pairs.lengths.max())
    places = torch.arange(width, device=ids.device)
    own = places >= first  # (n, width): the second's own, and behind it padding
    positions = torch.where(own, places - first + common, places).clamp(max=ids.size(1) - 1)
    x = model.token_embedding(torch.where(own, ids[1::2].gather(1, positions), ids[0::2].gather(1, positions)))
    turn = None
    if config.positions == "learned":
        x = x + model.position_embedding(positions)
    else:
        turn = rotation(positions[:, None], config.head_size, config.rope_base)
    seen = (places < common)[:, None] | (own[:, :, None] == own[:, None])  # (n, width, width)
    visible = (seen & (places <= places[:, None]))[:, None]
    blocks: Any = model.blocks
    for block in blocks:
        y = _attend(*_heads(config, block, x, turn), visible)
        x = x + block.attention.output(y.flatten(2))
        x = x + block.feed_forward(block.feed_forward_norm(x))
    # Where the places of both rows stand: (n, 2, T).
    second = torch.where(columns < common, columns, columns - common + first)
    stand = torch.stack([columns.expand_as(second), second], dim=1) + width * torch.arange(len(first))[:, None, None]
    found, index = stand.flatten(0, 1)[counted].unique(return_inverse=True)
    return model.final_norm(x.flatten(0, 1).index_select(0, found)), index


def logits_of(model: GPT, hidden: Tensor) -> Tensor:
    """`model.output_head(hidden)` for a loss, of hidden (N, d_model): (N, V), or wider by scores of -inf.

    A CPU multiplies in less time where the rows of a result are whole vectors. What fills them up has no probability
    and no gradient.
    """
    head: Any = model.output_head
    missing = -head.out_features % VECTOR
    # The longer matrix is a copy; one that is large beside what it multiplies is not worth it.
    if not missing or 4 * len(hidden) < head.out_features or type(head) is not nn.Linear:
        logits: Tensor = head(hidden)
        return logits
    bias = F.pad(hidden.new_zeros(head.out_features), (0, missing), value=-math.inf)
    return F.linear(hidden, F.pad(head.weight, (0, 0, 0, missing)), bias)
