"""The key-value cache: what attention has computed for earlier tokens, kept so that a new token costs one step."""

import copy

import torch
from torch import Tensor

from minigpt.config import GPTConfig, InputError


class KVCache:
    """Keys and values of every layer, allocated ahead, for inference.

    In a causal model the keys and values of a token never change when later tokens arrive, so generation computes
    them once. Shazeer 2019 (section 2.4) writes this out and counts what it costs.

    The caller owns the position: it says where the new tokens stand, and no layer moves a hidden counter. Positions
    must be written in order, because a place that was never written holds arbitrary numbers.

    Memory: 2 * n_layers * batch_size * length * kv_heads * head_size numbers.
    """

    def __init__(
        self,
        config: GPTConfig,
        batch_size: int,
        *,
        length: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Room for `batch_size` sequences of `length` tokens; by default context_length."""
        # (n_layers, B, kv_heads, length, head_size)
        shape = (config.n_layers, batch_size, config.kv_heads, length or config.context_length, config.head_size)
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)

    def update(self, layer: int, keys: Tensor, values: Tensor, position: int) -> tuple[Tensor, Tensor]:
        """Write the keys and values of T new tokens at `position`; return those of all tokens so far.

        Args:
            layer: the layer they belong to.
            keys: (B, kv_heads, T, head_size). The cache's batch size is B, or n times B: then each sequence goes to n
                neighbouring ones, so that a prompt shared by n samples is computed once.
            values: as keys.
            position: the place of the first new token in the sequence.

        Returns:
            keys and values, each (B, kv_heads, position + T, head_size): views into the cache, not copies.

        Raises:
            InputError: if the tokens do not fit into the cache.
        """
        batch_size, _, n_new, _ = keys.shape
        _, cache_batch_size, _, length, _ = self.keys.shape
        end = position + n_new
        if position < 0 or end > length:
            raise InputError(
                f"{n_new} tokens at position {position} do not fit into a cache for positions 0 to {length - 1}: "
                f"start a new cache with the last {length} tokens, or raise context_length"
            )
        n, rest = divmod(cache_batch_size, batch_size)
        if rest:
            raise InputError(
                f"{batch_size} sequences do not fit into a cache for {cache_batch_size}: "
                f"make the cache with batch_size={batch_size}"
            )
        self.keys[layer, :, :, position:end] = keys.repeat_interleave(n, dim=0)
        self.values[layer, :, :, position:end] = values.repeat_interleave(n, dim=0)
        return self.keys[layer, ::n, :, :end], self.values[layer, ::n, :, :end]

    def grow(self, length: int, position: int) -> None:
        """Make room for `length` tokens; what stands before `position` is kept."""

        def larger(store: Tensor) -> Tensor:
            copied = store.new_empty(*store.shape[:3], length, store.size(4))
            copied[..., :position, :] = store[..., :position, :]
            return copied

        self.keys, self.values = larger(self.keys), larger(self.values)

    def part(self, rows: slice, start: int) -> "KVCache":
        """Some sequences of this cache, from column `start` on, as a cache of their own: a view, not a copy."""
        part = copy.copy(self)
        part.keys, part.values = self.keys[:, rows, :, start:], self.values[:, rows, :, start:]
        return part

    def keep(self, rows: list[int], position: int, start: int = 0) -> None:
        """Keep these sequences, in this order, with what stands before `position`; others no longer cost.

        A sequence may be kept more than once. What stands before `start` is not moved: say so where it is the same in
        all sequences. Nor is a sequence that keeps its place.
        """
        places = [place for place, row in enumerate(rows) if row != place]
        moved = [rows[place] for place in places]
        for store in (self.keys, self.values):
            store[:, places, :, start:position] = store[:, moved, :, start:position]
        self.keys, self.values = self.keys[:, : len(rows)], self.values[:, : len(rows)]
