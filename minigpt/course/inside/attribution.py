"""Who wrote the answer: each part's own contribution to a logit.

The stream before the last norm is a sum, and the output head is linear. Between them stands only the norm; with its
divisor taken as it was, every part's share of a logit can be read off, and the shares add up to it (direct logit
attribution; Elhage et al. 2021, «A Mathematical Framework for Transformer Circuits»). It is the direct path alone: what
a head tells later heads is not in its share.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from minigpt.model.gpt import GPT


@torch.no_grad()
def logit_attribution(
    model: GPT, cache: Mapping[str, Tensor], position: int, token: int, against: int | None = None
) -> dict[str, Tensor]:
    """What each part adds to a token's logit at one position, or to its lead over another token.

    Args:
        model: the model.
        cache: `activations` of B texts.
        position: in the texts; -1 is the last.
        token: its id.
        against: the other token's id.

    Returns:
        (B,) for each of `embeddings`, `1.head 0` …, `1.output bias`, `1.feed_forward`, …, `final norm bias`; the sum of
        all is the logit (or the difference).
    """
    config = model.config
    direction = model.output_head.weight[token]
    if against is not None:
        direction = direction - model.output_head.weight[against]
    stream = cache[f"{config.n_layers}.stream"][:, position]  # (B, d_model)
    centred = stream - stream.mean(-1, keepdim=True) if config.norm == "layernorm" else stream
    size = (centred.square().mean(-1) + config.norm_epsilon).sqrt()  # (B,)
    reads = model.final_norm.weight * direction  # (d_model,)
    if config.norm == "layernorm":
        reads = reads - reads.mean()  # to take the mean off what is read is to take it off the reader

    def share(part: Tensor) -> Tensor:
        return (part @ reads) / size

    found = {"embeddings": share(cache["embeddings"][:, position])}
    blocks: list[Any] = list(model.blocks)
    for number, block in enumerate(blocks, start=1):
        heads = cache[f"{number}.heads"][:, position]  # (B, h, head_size)
        weight = block.attention.output.weight.unflatten(1, (config.n_heads, -1))
        written = torch.einsum("bhk,dhk->bhd", heads, weight)
        for head in range(config.n_heads):
            found[f"{number}.head {head}"] = share(written[:, head])
        bias = block.attention.output.bias
        if bias is not None:
            found[f"{number}.output bias"] = share(bias.expand_as(stream))
        found[f"{number}.feed_forward"] = share(cache[f"{number}.feed_forward"][:, position])
    norm_bias = getattr(model.final_norm, "bias", None)
    if norm_bias is not None:
        found["final norm bias"] = (norm_bias @ direction).expand(len(stream))
    return found
