"""Norms: each token's numbers brought to one size, before a sub-layer reads them."""

from typing import Any

from torch import nn

from minigpt.config import GPTConfig


def make_norm(config: GPTConfig) -> Any:  # to mypy, because only one of the two has a bias that others read
    """The norm that a config names, (…, d_model) -> (…, d_model), each token by itself.

    LayerNorm (Ba et al. 2016) takes off the mean and divides by the standard deviation; RMSNorm (Zhang and Sennrich
    2019, section 4) divides by the root of the mean square and has no bias. torch's own compute in float32 at least.
    """
    if config.norm == "rmsnorm":
        return nn.RMSNorm(config.d_model, eps=config.norm_epsilon)
    return nn.LayerNorm(config.d_model, eps=config.norm_epsilon, bias=config.bias)
