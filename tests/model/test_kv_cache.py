"""The cache gives back what was written, where it was written, and refuses what does not fit."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigpt.config import GPTConfig, InputError
from minigpt.model.kv_cache import KVCache

CONFIG = GPTConfig(vocab_size=5, context_length=12, n_layers=3, n_heads=2, d_model=8)


def keys_and_values(batch_size: int, n_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (batch_size, CONFIG.n_heads, n_tokens, CONFIG.head_size)
    return torch.randn(shape), torch.randn(shape)


@given(chunks=st.lists(st.integers(1, 4), min_size=1, max_size=3), batch_size=st.integers(1, 3))
def test_chunks_add_up_to_the_whole_in_every_layer(chunks: list[int], batch_size: int):
    cache = KVCache(CONFIG, batch_size)
    whole = [keys_and_values(batch_size, sum(chunks)) for _ in range(CONFIG.n_layers)]
    position = 0
    for n in chunks:
        end = position + n
        for layer, (keys, values) in enumerate(whole):
            got = cache.update(layer, keys[:, :, position:end], values[:, :, position:end], position)
            assert torch.equal(got[0], keys[:, :, :end])
            assert torch.equal(got[1], values[:, :, :end])
        position = end


def test_it_is_allocated_once_and_as_large_as_documented():
    cache = KVCache(CONFIG, 4, dtype=torch.float64)
    before = cache.keys.data_ptr(), cache.values.data_ptr()
    assert cache.keys.dtype == cache.values.dtype == torch.float64
    assert cache.keys.numel() + cache.values.numel() == 2 * CONFIG.n_layers * 4 * CONFIG.context_length * CONFIG.d_model
    keys, values = cache.update(0, *keys_and_values(4, 3), position=0)
    assert (cache.keys.data_ptr(), cache.values.data_ptr()) == before
    assert (keys.data_ptr(), values.data_ptr()) == before  # views, not copies


def test_fewer_heads_of_keys_and_values_need_less():
    config = GPTConfig(vocab_size=5, context_length=12, n_layers=3, n_heads=6, n_kv_heads=2, d_model=24)
    cache, whole = KVCache(config, 4), KVCache(replace(config, n_kv_heads=0), 4)
    assert cache.keys.shape == cache.values.shape == (3, 4, 2, 12, 4)
    assert 3 * cache.keys.numel() == whole.keys.numel() == 3 * 4 * 12 * 24


def test_a_position_can_be_written_again():
    """The caller owns the position: going back forgets what came after."""
    cache = KVCache(CONFIG, 1)
    first, again = keys_and_values(1, 5), keys_and_values(1, 2)
    cache.update(0, *first, position=0)
    keys, values = cache.update(0, *again, position=2)
    assert torch.equal(keys, torch.cat([first[0][:, :, :2], again[0]], dim=2))
    assert torch.equal(values, torch.cat([first[1][:, :, :2], again[1]], dim=2))


def test_a_batch_of_one_goes_to_every_sequence():
    cache = KVCache(CONFIG, 3)
    prompt, step = keys_and_values(1, 4), keys_and_values(3, 1)
    keys, _ = cache.update(1, *prompt, position=0)
    assert torch.equal(keys, prompt[0])
    keys, values = cache.update(1, *step, position=4)
    assert torch.equal(keys, torch.cat([prompt[0].expand(3, -1, -1, -1), step[0]], dim=2))
    assert torch.equal(values, torch.cat([prompt[1].expand(3, -1, -1, -1), step[1]], dim=2))


def test_each_sequence_goes_to_as_many_neighbours():
    cache = KVCache(CONFIG, 6)
    prompts, step = keys_and_values(2, 4), keys_and_values(6, 1)
    keys, values = cache.update(1, *prompts, position=0)
    assert torch.equal(keys, prompts[0]) and torch.equal(values, prompts[1])
    keys, values = cache.update(1, *step, position=4)
    assert torch.equal(keys, torch.cat([prompts[0][[0, 0, 0, 1, 1, 1]], step[0]], dim=2))
    assert torch.equal(values, torch.cat([prompts[1][[0, 0, 0, 1, 1, 1]], step[1]], dim=2))


def test_a_part_is_a_cache_that_shares_its_memory():
    cache = KVCache(CONFIG, 4)
    cache.keys.zero_()
    cache.values.zero_()
    new = keys_and_values(1, 3)
    keys, _ = cache.part(slice(1, 3), 5).update(2, *new, position=0)
    assert torch.equal(keys, new[0])
    expected = torch.zeros(4, CONFIG.n_heads, 12, CONFIG.head_size)
    expected[1:3, :, 5:8] = new[1]
    assert torch.equal(cache.values[2], expected)
    assert not cache.keys[:2].any() and cache.keys.size(1) == 4
    with pytest.raises(InputError, match="3 tokens at position 5 .* 0 to 6"):
        cache.part(slice(1, 3), 5).update(2, *new, position=5)


def test_its_length_can_be_chosen():
    cache = KVCache(CONFIG, 1, length=3)
    assert cache.keys.numel() == CONFIG.n_layers * 3 * CONFIG.d_model
    with pytest.raises(InputError, match="1 tokens at position 3 .* 0 to 2"):
        cache.update(0, *keys_and_values(1, 1), position=3)


def test_keep_leaves_what_stands_before_start():
    cache, old, new = KVCache(CONFIG, 3), keys_and_values(3, 5), keys_and_values(3, 1)
    cache.update(0, *old, position=0)
    cache.keep([2, 2, 0], position=5, start=3)
    keys, _ = cache.update(0, *new, position=5)
    assert torch.equal(keys, torch.cat([old[0][:, :, :3], old[0][[2, 2, 0], :, 3:], new[0]], dim=2))


def test_it_can_grow():
    cache, old, new = KVCache(CONFIG, 2, length=4, dtype=torch.float64), keys_and_values(2, 3), keys_and_values(2, 4)
    cache.update(1, *old, position=0)
    cache.grow(7, position=3)
    assert cache.keys.shape == cache.values.shape == (3, 2, 2, 7, 4) and cache.keys.dtype == torch.float64
    keys, values = cache.update(1, *new, position=3)
    assert torch.equal(keys, torch.cat([old[0], new[0]], dim=2).double())
    assert torch.equal(values, torch.cat([old[1], new[1]], dim=2).double())


@pytest.mark.parametrize("rows", [[0], [1, 3], [0, 2, 3], [0, 1, 2, 3], [3, 0, 0], [2, 2, 2, 1]])
def test_keep_drops_the_other_sequences(rows: list[int]):
    cache = KVCache(CONFIG, 4)
    old, new = keys_and_values(4, 5), keys_and_values(len(rows), 1)
    for layer in range(CONFIG.n_layers):
        cache.update(layer, *old, position=0)
    cache.keep(rows, position=5)
    for layer in range(CONFIG.n_layers):
        keys, values = cache.update(layer, *new, position=5)
        assert torch.equal(keys, torch.cat([old[0][rows], new[0]], dim=2))
        assert torch.equal(values, torch.cat([old[1][rows], new[1]], dim=2))


@pytest.mark.parametrize(("n_tokens", "position"), [(13, 0), (1, 12), (5, 8), (1, -1)])
def test_writing_outside_is_refused_and_writes_nothing(n_tokens: int, position: int):
    cache = KVCache(CONFIG, 1)
    cache.update(0, *keys_and_values(1, 12), position=0)
    before = cache.keys.clone()
    with pytest.raises(InputError, match=f"{n_tokens} tokens at position {position} .* 0 to 11.*context_length"):
        cache.update(0, *keys_and_values(1, n_tokens), position)
    assert torch.equal(cache.keys[0], before[0])


def test_another_batch_size_is_refused():
    with pytest.raises(InputError, match="2 sequences .* cache for 3.*batch_size=2"):
        KVCache(CONFIG, 3).update(0, *keys_and_values(2, 1), position=0)
