"""The formula against arithmetic by hand and torch; the layer against torch's own multi-head attention."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from minigpt.config import GPTConfig, InputError, Positions
from minigpt.model.attention import CausalSelfAttention, rotate, rotation, scaled_dot_product_attention
from minigpt.model.kv_cache import KVCache

CONFIG = GPTConfig(vocab_size=5, context_length=10, n_layers=2, n_heads=3, d_model=12)


def layer(config: GPTConfig = CONFIG, dtype: torch.dtype = torch.float64) -> CausalSelfAttention:
    torch.manual_seed(1)
    attention = CausalSelfAttention(config).to(dtype)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return attention


def test_by_hand():
    # d_k = 4, so scores are halved: 2 ln 3 becomes ln 3, and softmax([ln 3, 0]) = [3/4, 1/4].
    q = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.float64)
    k = torch.tensor([[2 * math.log(3), 0, 0, 0], [0, 5, 5, 5]], dtype=torch.float64)
    v = torch.tensor([[8.0, 0], [0, 4]], dtype=torch.float64)
    output, weights = scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(weights, torch.tensor([[0.75, 0.25], [0.5, 0.5]], dtype=torch.float64))
    torch.testing.assert_close(output, torch.tensor([[6.0, 1], [4, 2]], dtype=torch.float64))
    output, weights = scaled_dot_product_attention(q, k, v, causal=True)
    torch.testing.assert_close(weights, torch.tensor([[1, 0], [0.5, 0.5]], dtype=torch.float64))
    torch.testing.assert_close(output, torch.tensor([[8.0, 0], [4, 2]], dtype=torch.float64))


@given(
    leading=st.lists(st.integers(1, 3), max_size=2),
    t_q=st.integers(1, 6),
    t_k=st.integers(1, 6),
    d_k=st.integers(1, 5),
    d_v=st.integers(1, 5),
)
def test_formula_equals_torch(leading: list[int], t_q: int, t_k: int, d_k: int, d_v: int):
    q = torch.randn(*leading, t_q, d_k, dtype=torch.float64)
    k, v = (torch.randn(*leading, t_k, d, dtype=torch.float64) for d in (d_k, d_v))
    output, weights = scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(output, F.scaled_dot_product_attention(q, k, v))
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert (weights > 0).all()
    if t_q == t_k:
        output, weights = scaled_dot_product_attention(q, k, v, causal=True)
        torch.testing.assert_close(output, F.scaled_dot_product_attention(q, k, v, is_causal=True))
        assert torch.equal(weights == 0, torch.ones(t_q, t_k, dtype=torch.bool).triu(1).expand_as(weights))


def test_causal_queries_are_the_last_tokens():
    q, k, v = (torch.randn(2, 7, 4, dtype=torch.float64) for _ in range(3))
    whole, _ = scaled_dot_product_attention(q, k, v, causal=True)
    last_three, _ = scaled_dot_product_attention(q[:, 4:], k, v, causal=True)
    torch.testing.assert_close(last_three, whole[:, 4:])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n_heads", [1, 3, 12])
def test_layer_equals_torch_multihead_attention(bias: bool, n_heads: int):
    config = GPTConfig(vocab_size=5, context_length=10, n_layers=2, n_heads=n_heads, d_model=12, bias=bias)
    ours = layer(config)
    theirs = torch.nn.MultiheadAttention(12, n_heads, bias=bias, batch_first=True, dtype=torch.float64)
    pairs = [(theirs.in_proj_weight, ours.qkv.weight), (theirs.out_proj.weight, ours.output.weight)]
    if bias:
        pairs += [(theirs.in_proj_bias, ours.qkv.bias), (theirs.out_proj.bias, ours.output.bias)]
    with torch.no_grad():
        for their, our in pairs:
            their.copy_(our)
    x = torch.randn(2, 9, 12, dtype=torch.float64)
    future = torch.ones(9, 9, dtype=torch.bool).triu(1)
    expected, _ = theirs(x, x, x, attn_mask=future, need_weights=False)
    output = ours(x)
    torch.testing.assert_close(output, expected)
    expected.sin().sum().backward()
    output.sin().sum().backward()
    for their, our in pairs:
        torch.testing.assert_close(our.grad, their.grad)


def test_heads_follow_the_formula():
    """The same by the formula of this file: head i reads rows i of the queries, of the keys and of the values."""
    attention, x = layer(), torch.randn(2, 9, 12, dtype=torch.float64)
    heads = []
    for i in range(CONFIG.n_heads):
        rows = [slice(part * 12 + i * 4, part * 12 + (i + 1) * 4) for part in range(3)]
        q, k, v = (x @ attention.qkv.weight[r].T + attention.qkv.bias[r] for r in rows)
        heads.append(scaled_dot_product_attention(q, k, v, causal=True)[0])
    expected = torch.cat(heads, dim=-1) @ attention.output.weight.T + attention.output.bias
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize("n_kv_heads", [1, 2, 3, 6])
def test_neighbouring_heads_of_queries_share_keys_and_values(n_kv_heads: int):
    """By the formula: of 6 heads and 2 of keys and values, heads 0 to 2 read the first and heads 3 to 5 the second."""
    attention = layer(replace(CONFIG, n_heads=6, n_kv_heads=n_kv_heads))
    x, heads = torch.randn(2, 9, 12, dtype=torch.float64), []
    for i in range(6):
        j = i * n_kv_heads // 6
        starts = (2 * i, 12 + 2 * j, 12 + 2 * n_kv_heads + 2 * j)
        rows = [slice(start, start + 2) for start in starts]
        q, k, v = (x @ attention.qkv.weight[r].T + attention.qkv.bias[r] for r in rows)
        heads.append(scaled_dot_product_attention(q, k, v, causal=True)[0])
    assert attention.qkv.out_features == 12 + 4 * n_kv_heads
    expected = torch.cat(heads, dim=-1) @ attention.output.weight.T + attention.output.bias
    torch.testing.assert_close(attention(x), expected)


def test_no_token_sees_the_future():
    attention, x = layer(), torch.randn(1, 8, 12, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(attention, x)  # (1, 8, 12, 1, 8, 12)
    influence = jacobian.abs().sum(dim=(0, 2, 3, 5))  # (8, 8): of token j on output i
    assert torch.equal(influence > 0, torch.ones(8, 8, dtype=torch.bool).tril())


def test_rotations_by_hand():
    """Two numbers are one point, which turns by a radian a place; of four, the second point by a hundredth of one."""
    x = torch.tensor([1.0, 0], dtype=torch.float64).expand(1, 1, 3, 2)
    angles = torch.tensor([0.0, 1, 2], dtype=torch.float64)
    expected = torch.stack([angles.cos(), angles.sin()], dim=-1)[None, None]
    torch.testing.assert_close(rotate(x, rotation(torch.arange(3), 2)), expected, rtol=0, atol=1e-7)
    x = torch.tensor([0.0, 0, 0, 1], dtype=torch.float64).view(1, 1, 1, 4)  # numbers 1 and 3: the point (0, 1)
    expected = torch.tensor([0, -math.sin(0.05), 0, math.cos(0.05)], dtype=torch.float64).view(1, 1, 1, 4)
    torch.testing.assert_close(rotate(x, rotation(torch.tensor([5]), 4)), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("base", [10_000.0, 100_000.0, 50.0])
@pytest.mark.parametrize("head_size", [2, 8, 64])
def test_rotations_are_those_of_transformers(head_size: int, base: float):
    config = LlamaConfig(
        hidden_size=3 * head_size,
        num_attention_heads=3,
        max_position_embeddings=50,
        rope_parameters={"rope_type": "default", "rope_theta": base},
    )
    q, k = torch.randn(2, 3, 50, head_size), torch.randn(2, 3, 50, head_size)
    places = torch.stack([torch.arange(50), torch.randperm(50)])  # each text has its own
    cos, sin = LlamaRotaryEmbedding(config)(q, places)
    for ours, theirs in zip((q, k), apply_rotary_pos_emb(q, k, cos, sin), strict=True):
        turned = rotate(ours, rotation(places[:, None], head_size, base))
        torch.testing.assert_close(turned, theirs, rtol=1e-5, atol=1e-5)
        turned = rotate(ours[:1], rotation(torch.arange(50), head_size, base))
        torch.testing.assert_close(turned, theirs[:1], rtol=1e-5, atol=1e-5)
        if base == 10_000:
            assert torch.equal(turned, rotate(ours[:1], rotation(torch.arange(50), head_size)))


@given(place=st.integers(0, 500), distance=st.integers(0, 500), moved=st.integers(0, 500))
def test_rotated_products_depend_on_the_distance_alone(place: int, distance: int, moved: int):
    q, k = torch.randn(1, 1, 1, 8, dtype=torch.float64), torch.randn(1, 1, 1, 8, dtype=torch.float64)

    def product(key_place: int) -> torch.Tensor:
        turns = (rotation(torch.tensor([place]), 8) for place in (key_place + distance, key_place))
        return (rotate(q, next(turns)) * rotate(k, next(turns))).sum()

    torch.testing.assert_close(product(place + moved), product(place), rtol=0, atol=1e-2)  # angles are in float32


@pytest.mark.parametrize("n_kv_heads", [3, 1])
@pytest.mark.parametrize("positions", ["learned", "rope"])
@given(chunks=st.lists(st.integers(1, 5), min_size=1, max_size=5).filter(lambda chunks: sum(chunks) <= 10))
def test_chunks_through_the_cache_equal_the_whole(positions: Positions, n_kv_heads: int, chunks: list[int]):
    config = replace(CONFIG, positions=positions, n_kv_heads=n_kv_heads)
    attention, x = layer(config), torch.randn(2, sum(chunks), 12, dtype=torch.float64)
    cache, position, outputs = KVCache(config, 2, dtype=torch.float64), 0, []
    with torch.no_grad():
        for n in chunks:
            outputs.append(attention(x[:, position : position + n], cache, 1, position))
            position += n
        torch.testing.assert_close(torch.cat(outputs, dim=1), attention(x))


def test_too_much_for_the_cache():
    with torch.no_grad(), pytest.raises(InputError, match="3 tokens at position 8"):
        layer()(torch.randn(1, 3, 12, dtype=torch.float64), KVCache(CONFIG, 1), 0, 8)


class FusedAttentionTypes(TorchDispatchMode):
    """Remembers in which arithmetic torch's attention kernels run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "scaled_dot_product" in str(func) and "backward" not in str(func):
            self.seen.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_on_the_cpu_only_attention_stays_in_float32(how: str, cached: bool):
    dtype = torch.bfloat16 if how == "weights" else torch.float32
    attention, x = layer(dtype=dtype), torch.randn(2, 9, 12, dtype=dtype)
    cache = KVCache(CONFIG, 2, dtype=dtype) if cached else None
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast")
    with torch.no_grad(), autocast, FusedAttentionTypes() as types:
        output = attention(x, cache)
        assert torch.is_autocast_enabled("cpu") == (how == "autocast")
    assert types.seen == [torch.float32]
    assert output.dtype == torch.bfloat16
    exact = attention.double()(x.double())
    torch.testing.assert_close(output.double(), exact, rtol=0.05, atol=0.05)  # bfloat16 has 8 bits: 0.4% each time


def test_dropout_only_in_training():
    config = GPTConfig(vocab_size=5, context_length=10, n_layers=2, n_heads=3, d_model=12, dropout=0.5)
    dropping, plain, x = layer(config), layer(), torch.randn(1, 9, 12, dtype=torch.float64)
    assert not torch.equal(dropping(x), plain(x))
    assert torch.equal(dropping.eval()(x), plain(x))
