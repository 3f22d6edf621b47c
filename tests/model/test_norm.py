"""Norms against arithmetic by hand."""

from dataclasses import replace

import pytest
import torch

from minigpt.config import GPTConfig
from minigpt.model.norm import make_norm

CONFIG = GPTConfig(vocab_size=2, n_heads=1, d_model=4)


def test_by_hand():
    # 1, 2, 3, 6: mean 3, variance (4 + 1 + 0 + 9) / 4 = 3.5, mean square (1 + 4 + 9 + 36) / 4 = 12.5.
    x = torch.tensor([[[1.0, 2, 3, 6]]], dtype=torch.float64)
    epsilon, gain, bias = 0.5, torch.tensor([1.0, 2, 3, 4]), torch.tensor([5.0, 6, 7, 8])
    layer = make_norm(replace(CONFIG, norm_epsilon=epsilon)).double()
    layer.load_state_dict({"weight": gain, "bias": bias})
    torch.testing.assert_close(layer(x), (x - 3) / 4**0.5 * gain + bias)
    root = make_norm(replace(CONFIG, norm="rmsnorm", norm_epsilon=epsilon)).double()
    root.load_state_dict({"weight": gain})
    torch.testing.assert_close(root(x), x / 13**0.5 * gain)


@pytest.mark.parametrize("bias", [True, False])
def test_a_fresh_norm_has_gains_of_one_and_a_bias_only_where_it_is_a_layernorm(bias: bool):
    layer = make_norm(replace(CONFIG, bias=bias))
    root = make_norm(replace(CONFIG, bias=bias, norm="rmsnorm"))
    for norm, names in ((layer, {"weight", "bias"} if bias else {"weight"}), (root, {"weight"})):
        parameters = dict(norm.named_parameters())
        assert parameters.keys() == names
        assert all(torch.equal(p, torch.full((4,), float(name == "weight"))) for name, p in parameters.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_square_of_a_large_number_fits(dtype: torch.dtype):
    """SmolLM2's first token has one number of about 25,000, whose square float16 cannot hold."""
    x = torch.full((1, 1, 64), 20.0)
    x[..., 7] = 25_000
    norm = make_norm(replace(CONFIG, d_model=64, norm="rmsnorm"))
    torch.testing.assert_close(norm.to(dtype)(x.to(dtype)).float(), norm.float()(x), rtol=0.01, atol=0)
