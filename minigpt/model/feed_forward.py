"""Feed-forward networks: what each token does alone, after attention has mixed them."""

import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.config import GPTConfig


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
        x = F.gelu(self.up(x), approximate="tanh")
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
