"""What the output head reads, only where a target counts: of a conversation, at a twentieth of its tokens."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.model.attention import rotate, rotation
from minigpt.model.gpt import GPT


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
    (B, T), config = ids.shape, model.config
    last: Any = model.blocks[-1]
    x = model.token_embedding(ids)  # (B, T, d_model)
    if config.positions == "learned":
        x = x + model.position_embedding.weight[:T]
    x = model.dropout(x)
    for block in model.blocks[:-1]:
        x = block(x)

    attention = last.attention
    q, k, v = (  # (B, h, T, head_size), and twice (B, kv_heads, T, head_size)
        part.view(B, T, -1, config.head_size).transpose(1, 2)
        for part in attention.qkv(last.attention_norm(x)).split(attention.widths, dim=-1)
    )
    if config.positions == "rope":
        turn = rotation(torch.arange(T, device=ids.device), config.head_size, config.rope_base)
        q, k = rotate(q, turn), rotate(k, turn)
    if config.kv_heads < config.n_heads:
        k, v = (part.repeat_interleave(config.n_heads // config.kv_heads, dim=1) for part in (k, v))
    # As many queries for each row as the row with the most has; those to spare stand at other places and are dropped.
    most = int(counted.sum(1).max())
    places = counted.int().argsort(dim=1, descending=True, stable=True)[:, :most]  # (B, n)
    asked = counted.gather(1, places)
    visible = torch.arange(T, device=ids.device) <= places[:, None, :, None]  # (B, 1, n, T)
    q = q.gather(2, places[:, None, :, None].expand(-1, config.n_heads, -1, config.head_size))
    if q.dtype == torch.bfloat16:  # slow in this one operation, as in CausalSelfAttention
        q, k, v = q.float(), k.float(), v.float()
    with torch.autocast(q.device.type, enabled=False):
        y = F.scaled_dot_product_attention(q, k, v, visible, attention.dropout if model.training else 0.0)
    y = attention.output(y.transpose(1, 2)[asked].flatten(1))  # (N, d_model)

    x = x[counted] + last.dropout(y)
    x = x + last.dropout(last.feed_forward(last.feed_forward_norm(x)))
    x = model.final_norm(x)
    return x
