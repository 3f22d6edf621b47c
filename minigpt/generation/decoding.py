"""Incremental decoding: a prompt is read at once (prefill), then each new token by itself (decode), on a cache."""

import functools
import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import GPTConfig, InputError
from minigpt.generation.recorded import Recorded, records
from minigpt.model.attention import rotate, rotation
from minigpt.model.counted import last_hidden_states
from minigpt.model.feed_forward import fast_gelu
from minigpt.model.gpt import GPT
from minigpt.model.int8 import FEW_ROWS, Int8Linear, few_rows_product, int8_product
from minigpt.model.kv_cache import KVCache
from minigpt.runtime import give_memory_back

Affine = tuple[Tensor, Tensor | None] | tuple[Tensor, Tensor | None, Tensor]
"""Weight and bias, of a norm or of what `product` multiplies by; and the scale of each row of a weight in 8 bits."""
Block = tuple[Affine, Affine, Affine, Affine, Affine | None, Affine, Affine]
"""Of a block attention_norm, qkv, output, feed_forward_norm, gate (SwiGLU's), up, down."""

SMALL = 2**16
"""A weight of fewer numbers is not worth dividing among threads."""
LARGE, MANY = 2**24, 24
"""The head of a large vocabulary; stored by columns and multiplied by few rows, it takes less time in many parts."""
GROWTH = 16
"""Columns, at least, by which a cache grows."""


def last_logits(model: GPT, ids: Tensor, cache: KVCache | None = None) -> Tensor:
    """What the model says after the last of ids (B, T): logits (B, V), without dropout, of tokens that have a text."""
    training = model.training
    if training:
        model.eval()
    try:
        logits: Tensor = model.output_head(last_hidden_states(model, ids, cache))
        return logits[:, : model.config.vocab_size]
    finally:
        if training:
            model.train()


def check_finite(values: Tensor) -> None:
    """Raise InputError where a model's logits, or what was computed from them, are infinite or not a number."""
    if not values.isfinite().all():
        raise InputError(
            "the model's logits are not finite: its training has diverged. Use an earlier checkpoint of the run, where "
            "there is one, or train again with a smaller learning_rate"
        )


def by_columns(weight: Tensor) -> Tensor:
    """The same weight (d_out, d_in), stored column by column: few rows that are multiplied by it wait less for memory.

    One that is stored so comes back as it is, and so does a vector.
    """
    return weight.t().contiguous().t()


def product(x: Tensor, weight: Tensor, bias: Tensor | None, scale: Tensor | None = None) -> Tensor:
    """A linear layer, (B, d_in) -> (B, d_out), whole or in parts, for several threads.

    Args:
        x: (B, d_in).
        weight: (d_out, d_in); or (parts, d_in, d_out / parts), whose parts stand side by side in the result; or
            (parts, d_in / parts, d_out), whose parts are added up.
        bias: (d_out,), or (parts, 1, d_out / parts).
        scale: (d_out,), of a weight in 8 bits (`minigpt.model.int8`); in bfloat16 for `few_rows_product`.
    """
    if scale is not None:
        if scale.dtype == torch.bfloat16:
            return few_rows_product(x, weight, scale, bias)
        return int8_product(x, weight, scale, bias)
    if weight.dim() == 2:
        return F.linear(x, weight, bias)
    if weight.size(1) < x.size(1):
        y = torch.bmm(x.view(len(x), len(weight), -1).transpose(0, 1), weight).sum(dim=0)
        return y if bias is None else y + bias
    y = x.expand(len(weight), -1, -1)
    y = torch.bmm(y, weight) if bias is None else torch.baddbmm(bias, y, weight)
    return y.transpose(0, 1).flatten(1)


def attend(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention of one query in each head, q (B, h, 1, head_size), to keys and values (B, kv_heads, length, head_size).

    torch's fused function is made for many queries. For several rows on a CPU, batched products take less time; only in
    float32, because the scores are rounded between them.

    Args:
        mask: looks only where mask (B, 1, 1, length) is True; None means everywhere.

    Returns:
        (B, kv_heads, h / kv_heads, head_size): the heads that share keys and values are as many queries to them.
    """
    B, n_heads, _, head_size = q.shape
    if (kv_heads := keys.size(1)) < n_heads:
        q = q.view(B, kv_heads, -1, head_size)
    if B == 1 or mask is not None or not q.is_cpu or q.dtype != torch.float32:
        return F.scaled_dot_product_attention(q, keys, values, mask)
    return (q * head_size**-0.5 @ keys.mT).softmax(dim=-1) @ values


def normalise(x: Tensor, norm: Affine, config: GPTConfig) -> Tensor:
    """What `make_norm` makes, with this weight and bias; torch's own functions, without the time that F's take."""
    weight, bias = norm[:2]
    if config.norm == "rmsnorm":
        return torch.rms_norm(x, (x.size(-1),), weight, config.norm_epsilon)
    return torch.layer_norm(x, (x.size(-1),), weight, bias, config.norm_epsilon)


def decode_token(
    config: GPTConfig,
    x: Tensor,
    weights: list[Block],
    head: tuple[Affine, Affine],
    all_keys: Sequence[Tensor],
    all_values: Sequence[Tensor],
    column: Tensor | None,
    mask: Tensor | None,
    turn: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """`GPT.forward` for one more token of each row, as one plain function.

    Why a second path: each row has its own position and mask here, of which the model's forward pass knows nothing; and
    with one row on a CPU, calling some sixty modules takes as long as their arithmetic. A test holds it to the modules
    for every config there can be.

    Args:
        config: the model's.
        x: (B, d_model), the embedded tokens.
        weights: of each block.
        head: final_norm and output_head.
        all_keys: of each block those in the cache, (B, kv_heads, length, head_size); they receive the new ones.
        all_values: as all_keys.
        column: (1,), where they go; None means into the last column, which takes less time.
        mask: attention looks at the columns where mask (B, 1, 1, length) is True; None means all.
        turn: what `rotation` says of the new tokens' places, (B, 1, 1); None where positions are learned.

    Returns:
        logits (B, padded_vocab_size).
    """
    (B, d_model), kv_heads = x.shape, config.kv_heads
    for block, keys, values in zip(weights, all_keys, all_values, strict=True):
        attention_norm, qkv, output, feed_forward_norm, gate, up, down = block
        y = product(normalise(x, attention_norm, config), *qkv).view(B, -1, 1, config.head_size)
        q, k, v = y.split_with_sizes((config.n_heads, kv_heads, kv_heads), 1)  # (B, h or kv_heads, 1, head_size)
        if turn is not None:
            qk = rotate(y.narrow(1, 0, config.n_heads + kv_heads), turn)
            q, k = qk.split_with_sizes((config.n_heads, kv_heads), 1)
        for store, new in ((keys, k), (values, v)):
            if column is None:
                store.narrow(2, -1, 1).copy_(new)
            else:
                store.index_copy_(2, column, new.to(store.dtype))
        y = attend(q, keys, values, mask)
        x = x + product(y.reshape(B, d_model), *output)
        y = normalise(x, feed_forward_norm, config)
        hidden = product(y, *up)
        hidden = fast_gelu(hidden) if gate is None else F.silu(product(y, *gate)) * hidden
        x = x + product(hidden, *down)
    final_norm, output_head = head
    return product(normalise(x, final_norm, config), *output_head)


@functools.cache
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(decode_token)


class Decoding:
    """Rows of text that grow together, by one token a step.

    Rows end at the same column: a shorter prompt has empty columns on its left (left-padding), so that each step writes
    one column of the cache for all rows. A row counts positions from its own first token and does not attend to its
    empty columns, so its logits are those that it would have alone.

    Args:
        model: without dropout, whatever its training mode.
        prompts: token ids, each prompt of at least one and at most context_length.
        num: rows that begin with each prompt: the first `num` rows with the first prompt, and so on.
        max_new_tokens: how far the rows can grow, in tokens beyond the longest prompt; the context is a limit too.
        compile: translate the step with torch.compile, which needs a C++ compiler and some seconds.
    """

    def __init__(
        self, model: GPT, prompts: list[list[int]], num: int, max_new_tokens: int, *, compile: bool = False
    ) -> None:
        config, table = model.config, model.token_embedding.weight
        self.model, self.prompts, self.num, self.compile = model, prompts, num, compile
        self.device = table.device
        # A compiled or recorded step has one shape for all lengths: it looks at the whole cache, and a mask hides what
        # is empty. A compiled one has the same shape for all texts, too: each other would take another translation.
        self.one_shape = compile or records(table.device)
        lengths = [len(prompt) for prompt in prompts for _ in range(num)]
        self._make_room(lengths, max_new_tokens)

        # A CPU that multiplies few rows waits for the weights. They arrive sooner when stored column by column, and
        # when each thread has parts of its own: two (measured: better than one or four), and none of a small matrix.
        # The price is a copy, so only for texts that are worth it and models up to 1 GiB.
        n_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
        on_cpu, threads = table.device.type == "cpu", torch.get_num_threads()
        copied = on_cpu and max_new_tokens >= 32 and n_bytes <= 2**30

        def linear(module: Any) -> Affine:
            weight, bias = module.weight, module.bias
            if isinstance(module, Int8Linear):
                few = on_cpu and len(lengths) <= FEW_ROWS and module.in_features % 32 == 0
                return weight, bias, module.scale.bfloat16() if few else module.scale
            if on_cpu and weight.t().is_contiguous():  # stored so when it was read: parts are a view
                n = weight.numel()
                parts = math.gcd(MANY if n >= LARGE else threads if n >= SMALL else 1, module.in_features)
                return (weight.t().view(parts, -1, module.out_features) if parts > 1 else weight), bias
            parts = math.gcd(2 * threads, module.out_features)
            if parts == 1 or threads == 1 or not on_cpu or weight.numel() < SMALL:
                return by_columns(weight) if copied else weight, bias
            weight = weight.view(parts, -1, module.in_features).transpose(1, 2)
            return weight.contiguous() if copied else weight, None if bias is None else bias.view(parts, 1, -1)

        def norm(module: Any) -> Affine:
            return module.weight, getattr(module, "bias", None)  # RMSNorm has none

        blocks: Any = model.blocks
        self.weights: list[Block] = [
            (
                norm(block.attention_norm),
                linear(block.attention.qkv),
                linear(block.attention.output),
                norm(block.feed_forward_norm),
                linear(block.feed_forward.gate) if config.feed_forward == "swiglu" else None,
                linear(block.feed_forward.up),
                linear(block.feed_forward.down),
            )
            for block in blocks
        ]
        self.head = norm(model.final_norm), linear(model.output_head)

    def _make_room(self, lengths: list[int], max_new_tokens: int) -> None:
        """An empty cache for texts of these lengths, which can grow by so many tokens."""
        config = self.model.config
        number = self.model.final_norm.weight.dtype  # that of a table in 8 bits is no type of a key
        self.filled = max(lengths)  # columns
        self.recorded: Recorded | None = None
        n_columns = min(self.filled + max_new_tokens, config.context_length)
        self.columns = torch.arange(config.context_length if self.compile else n_columns, device=self.device)
        # Room that is not used yet lies between the rows, where it makes reading them slower, by a half with 64 rows.
        length = len(self.columns) if self.one_shape else min(self.filled + GROWTH, n_columns)
        self.cache = KVCache(config, len(lengths), length=length, device=self.device, dtype=number)
        self.padding = self.filled - torch.tensor(lengths, device=self.device)  # (B,): empty columns of each row
        self.padded = len(set(lengths)) > 1
        if self.padded or self.one_shape:  # a mask gives a column the weight 0, and 0 times what was there may be NaN
            self.cache.keys.zero_()
            self.cache.values.zero_()
        self.keep(list(range(len(lengths))))

    def keep(self, rows: list[int], start: int = 0) -> None:
        """Go on with these rows, in this order; a row may occur more than once. `start` is as for `KVCache.keep`."""
        if rows != list(range(len(self.padding))):
            self.cache.keep(rows, self.filled, start)
            if len(rows) != len(self.padding):
                self.recorded = None  # of another shape
            self.padding = self.padding[rows]
        # (B, 1, 1, length), for all heads and the one new token
        self.visible = (self.columns >= self.padding[:, None])[:, None, None]

    def prefill(self) -> Tensor:
        """Read the prompts; logits (B, V) of each row."""
        return self._read(self.prompts, 0, self.num)

    @torch.inference_mode()
    def _read(self, prompts: list[list[int]], row: int, num: int) -> Tensor:
        """Prompts of `num` rows each, from `row` on. Neighbours of equal length are read at once, none padded."""
        logits = []
        for length, group in groupby(prompts, key=len):
            ids = torch.tensor(list(group), device=self.device)  # (prompts, T)
            rows = slice(row, row + len(ids) * num)
            logits.append(last_logits(self.model, ids, self.cache.part(rows, self.filled - length)))
            row = rows.stop
        if isinstance(self.model.output_head, Int8Linear):  # who wants small weights wants small memory
            give_memory_back()
        return torch.cat(logits).repeat_interleave(num, dim=0)

    @torch.inference_mode()
    def join(self, prompts: list[list[int]], max_new_tokens: int) -> Tensor:
        """Further rows, below those that are there, one for each prompt; their logits (prompts, V).

        All rows then end at the same column again: the longest text has no empty columns on its left.

        Args:
            prompts: as for the first.
            max_new_tokens: how far any row can grow from now on.
        """
        old, before, was = self.cache, len(self.padding), self.filled
        lengths = (self.filled - self.padding).tolist() + [len(prompt) for prompt in prompts]
        self._make_room(lengths, max_new_tokens)
        kept = min(self.filled, was)
        for store, source in ((self.cache.keys, old.keys), (self.cache.values, old.values)):
            store[:, :before, :, self.filled - kept : self.filled] = source[..., was - kept : was, :]
        return self._read(prompts, before, 1)

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """Read one more token of each row, (B, 1); logits (B, V)."""
        column = self.columns[self.filled : self.filled + 1]  # (1,), made on the device: no wait
        if self.filled == self.cache.keys.size(3):
            longer = self.filled + max(GROWTH, self.filled // 8)
            self.cache.grow(min(longer, len(self.columns)), self.filled)
        self.filled += 1
        config, positions, turn = self.model.config, column - self.padding, None  # positions: (B,)
        x = self.model.token_embedding(tokens)[:, 0]  # (B, d_model)
        if config.positions == "learned":
            x = x + self.model.position_embedding(positions)
        else:
            turn = rotation(positions[:, None, None], config.head_size, config.rope_base)  # once for all blocks
        if self.one_shape:
            inputs = (x, column, self.visible & (self.columns <= column), *(turn or ()))
            if records(x.device):
                self.recorded = self.recorded or Recorded(self._in_one_shape, *inputs)
                logits = self.recorded(*inputs)
            else:
                logits = self._in_one_shape(*inputs)
            return logits[:, : config.vocab_size]
        keys, values = (store.narrow(3, 0, self.filled).unbind() for store in (self.cache.keys, self.cache.values))
        not_padding = self.visible[..., : self.filled] if self.padded else None
        logits = decode_token(config, x, self.weights, self.head, keys, values, None, not_padding, turn)
        return logits[:, : config.vocab_size]

    def _in_one_shape(self, x: Tensor, column: Tensor, mask: Tensor, *turn: Tensor) -> Tensor:
        """`decode_token` on the whole cache; arguments as there, `turn` as none or two."""
        decode = _compiled() if self.compile else decode_token
        # Each block's part by itself: of a larger tensor, a compiled step would copy the whole to change a column.
        keys, values = self.cache.keys.unbind(), self.cache.values.unbind()  # each (B, kv_heads, length, head_size)
        turned = (turn[0], turn[1]) if turn else None
        return decode(self.model.config, x, self.weights, self.head, keys, values, column, mask, turned)
