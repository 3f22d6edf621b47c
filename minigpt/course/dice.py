"""What a leak looks like: a tiny GPT trained on throws of a die, with its causal mask or without it (lesson 5)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import GPTConfig
from minigpt.model.attention import CausalSelfAttention
from minigpt.model.gpt import GPT, TransformerBlock, next_token_loss

THROWS = 12  # of each game, with one more to guess at the end


class SeesAll(CausalSelfAttention):
    """The attention of the package, but every token sees every other."""

    def fused_attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The formula without a mask, fused: (B, h, T, head_size)."""
        return F.scaled_dot_product_attention(q, k, v)


def losses_on_dice(causal: bool, steps: int = 200) -> list[float]:
    """Train on fresh throws, then guess throws that were never seen.

    Args:
        causal: whether the attention has its mask.
        steps: of AdamW at learning rate 1e-2, each on 32 games.

    Returns:
        the mean loss at each of 12 positions, in nats. Nobody can expect less than ln 6.
    """
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=6, context_length=THROWS, n_layers=1, n_heads=1, d_model=32)
    gpt = GPT(config)
    block = gpt.blocks[0]
    assert isinstance(block, TransformerBlock)
    if not causal:
        leaky = SeesAll(config)
        leaky.load_state_dict(block.attention.state_dict())
        block.attention = leaky
    gpt.double()
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(gpt.parameters(), lr=1e-2)
    for _ in range(steps):
        throws = torch.randint(6, (32, THROWS + 1), generator=generator)  # (B, T + 1)
        next_token_loss(gpt(throws[:, :-1]), throws[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()
    unseen = torch.randint(6, (500, THROWS + 1), generator=generator)
    with torch.no_grad():
        logits = gpt(unseen[:, :-1]).transpose(1, 2)  # (B, V, T), as cross_entropy wants it
        losses = F.cross_entropy(logits, unseen[:, 1:], reduction="none")  # (B, T)
    return list(losses.mean(dim=0).tolist())
