# %% [markdown]
# # Lesson 21 · Small numbers
#
# A chat model of 135 million weights lies in a file that has fewer bytes than weights. This lesson reads such a file byte by byte, asks what was lost, and why
# fewer bytes are also less time.
#
# **You will be able to**
# - decode a block of 4-bit weights on paper, and write one,
# - say why weights are rounded in blocks, and what one large number does where they are not,
# - multiply in whole numbers, and measure what 16, 8 and 4 bits cost in bits per byte,
# - say why writing a token waits for memory, and foretell from two numbers how long it takes at least,
# - let a small model guess and a large one check, and prove that the text is the large one's.
#
# **Time** 95 min
#
# **Builds on** [lesson 11](11_training_on_a_gpu.ipynb) (float16 and bfloat16, the roofline), [lesson 13](13_generation.ipynb) (drawing a token, the cache) and
# [lesson 14](14_gpt2_weights.ipynb) (bits per byte)
#
# ![The GPT in one row, attention, feed-forward and the arrow back to the text in colour; below on the left twenty boxes in a row, two for a scale d, two for a smallest number m, sixteen each cut into two halves, and below them a ruler of sixteen marks with thirty-two dots on it; on the right five tokens that a draft guessed, of which three stay, one is struck out and has another below it, and the last is pale](../figures/where_small_numbers.svg)

# %% tags=["setup"]
import copy
import functools
import itertools
import math
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction

import gguf
import numpy as np
import torch
from torch import Tensor

from minigpt.course import check, plots, start_lesson
from minigpt.evaluation.rolling import rolling_log_likelihoods
from minigpt.generation.decoding import Decoding
from minigpt.generation.generate import distribution
from minigpt.generation.speculative import Reader, speculate
from minigpt.model.gpt import GPT, parameter_count
from minigpt.model.int8 import (
    int8_product,
    layer_errors,
    to_int8,
    weight_bytes,
    widened,
)
from minigpt.model.kv_cache import KVCache
from minigpt.text import stories
from minigpt.text.tokenizer import Tokenizer
from minigpt.weights.blocks import decode, decode_q4_1
from minigpt.weights.gguf_file import RawTensor, read_gguf
from minigpt.weights.models import load_model
from minigpt.weights.smollm2 import INSTALL, gguf_path

start_lesson()

# %% [markdown]
# ## Fewer bytes than numbers
#
# [Lesson 20](20_modern_gpt.ipynb) opened the file of SmolLM2, a chat model that pip brings. Here is its size again, and what its tensors are made of.

# %% tags=["nbval-ignore-output"]
storyteller, story_tokenizer = load_model("storyteller")
path = gguf_path()
if path is None:  # then the storyteller stands in for it, with one tensor as in a file
    print(f"SmolLM2 is not installed: {INSTALL}")
    large, tokenizer = copy.deepcopy(storyteller), story_tokenizer
    down = storyteller.get_parameter("blocks.0.feed_forward.down.weight").detach()
    q4_1 = gguf.GGMLQuantizationType.Q4_1
    raw = gguf.quants.quantize(down.numpy(), q4_1)
    tensors = {"blk.0.ffn_down.weight": RawTensor(tuple(down.shape), "Q4_1", raw)}
else:
    large, tokenizer = load_model("smollm2")
    tensors = read_gguf(path).tensors

numbers_of, bytes_of = Counter[str](), Counter[str]()
for tensor in tensors.values():
    numbers_of[tensor.kind] += math.prod(tensor.shape)
    bytes_of[tensor.kind] += tensor.raw.size
for kind, count in numbers_of.items():
    size = bytes_of[kind]
    each = 8 * size / count
    print(f"{kind:<5} {count:11,} numbers {size:11,} bytes {each:6.2f} bits each")
count, size = sum(numbers_of.values()), sum(bytes_of.values())
print(f"all   {count:11,} numbers {size:11,} bytes {8 * size / count:6.2f} bits each")

# %%
assert size < count, "fewer bytes than numbers"
assert bytes_of["Q4_1"] * 32 == numbers_of["Q4_1"] * 20

# %% [markdown]
# In float32 each number has 32 bits. Here most have 5, and the model still answers that the capital of France is Paris. Two things are odd about that. How can 5 bits
# hold a weight? And why is such a model not only smaller, but *faster*, although every product has as many terms as before?
#
# (Where SmolLM2 is not installed, the cell above says how to get it. The page then goes on with the storyteller in its place. The text speaks of SmolLM2.)
#
# ## One block on paper
#
# To keep numbers as such small whole numbers is called **quantization**. This kind is **Q4_1**: 20 bytes for 32 numbers. Here is the first block of queries in SmolLM2's first layer.

# %%
BLOCK = bytes.fromhex("0f30 d8b9 45876540 6f65164b 67766450 2267655a")
print(len(BLOCK), "bytes:", BLOCK.hex(" "))

# %% [markdown]
# The first two bytes are a number in float16, the *scale* $d$. The next two are another, the smallest number $m$. The low byte comes first, so the scale is 0x300f. Lesson 11 took float16 apart: a sign,
# 5 bits of exponent, 10 of fraction.
#
# $$\texttt{0x300f} = 0\;01100\;0000001111 \;\to\; +2^{12-15}\,(1 + 15/1024) = 0.12683$$


# %%
def float16(low: int, high: int) -> float:
    """The number in two bytes. (Those below 2⁻¹⁴ are written otherwise.)"""
    bits = high << 8 | low
    sign, exponent, fraction = bits >> 15, bits >> 10 & 31, bits & 1023
    return (-1.0) ** sign * 2.0 ** (exponent - 15) * (1 + fraction / 1024)


d, m = float16(*BLOCK[:2]), float16(*BLOCK[2:4])
print(f"scale {d:.5f}, smallest number {m:.5f}")
assert (d, m) == struct.unpack("<2e", BLOCK[:4])

# %% [markdown]
# Sixteen bytes are left for 32 numbers. Each is cut into halves of 4 bits, which are called **nibbles**. A nibble is a whole number $q$ from 0 to 15, and the weight is
#
# $$w = d\,q + m$$
#
# Take the byte 0x45. Its lower half is 5, its upper half 4. You would expect them to be neighbours. They are not: byte $i$ holds number $i$ below and number $i + 16$ above. Work the first weight yourself:
# $0.12683 \cdot 5 - 0.73047 = -0.0963$.
#
# ### Exercise 1 · nibbles (★☆☆, 5 min)
#
# Return the whole numbers in these bytes: first all lower halves, then all upper ones.


# %% tags=["exercise"]
def nibbles(data: bytes) -> list[int]:
    """n bytes to 2 n whole numbers from 0 to 15."""
    ### BEGIN SOLUTION
    return [byte & 15 for byte in data] + [byte >> 4 for byte in data]
    ### END SOLUTION


# %%
check.nibbles(nibbles)


# %%
def block_numbers(block: bytes) -> list[float]:
    """The 32 numbers of a block of Q4_1."""
    scale, smallest = struct.unpack("<2e", block[:4])
    halves = [byte & 15 for byte in block[4:]] + [byte >> 4 for byte in block[4:]]
    return [scale * q + smallest for q in halves]


weights = block_numbers(BLOCK)
for start in range(0, 32, 8):
    print(" ".join(f"{weight:7.4f}" for weight in weights[start : start + 8]))
packaged = decode_q4_1(np.frombuffer(BLOCK, np.uint8)[None])[0]  # (32,)
assert np.array_equal(np.array(weights, np.float32), packaged)

# %% [markdown]
# That is a block. A matrix is nothing but such blocks, row by row. Decode a whole one with the same function, and compare with the package and with the `gguf` library.

# %% tags=["nbval-ignore-output"]
name, matrix = next((n, t) for n, t in tensors.items() if t.kind == "Q4_1")
rows = matrix.raw.reshape(-1, 20)  # (blocks, 20)
ours = np.array([block_numbers(bytes(row)) for row in rows], np.float32)
ours = ours.reshape(matrix.shape)
print(f"{name}: {len(rows):,} blocks, {ours.shape[0]} × {ours.shape[1]} numbers")

# %%
assert np.array_equal(ours, decode(matrix.raw, "Q4_1"))
theirs = gguf.quants.dequantize(matrix.raw, gguf.GGMLQuantizationType.Q4_1)
assert np.array_equal(ours, theirs)

# %% [markdown]
# Equal to the last bit. The embedding of the file is of another kind, **Q8_0**: a scale in float16 and 32 whole numbers from −127 to 127, each in a byte, with no smallest number. 34 bytes
# for 32 numbers are 8.5 bits each.

# %% [markdown]
# ## And back: rounding
#
# Who wrote the file had 32 weights, and looked for $d$, $m$ and the 32 whole numbers. The sixteen values that a block can hold are evenly spaced, from the smallest weight to the largest. So
# between them lie *fifteen* steps. Each weight goes to the nearest of the sixteen.
#
# ### Exercise 2 · a block's scale and minimum (★★☆, 8 min)
#
# Return the scale, the smallest number and the whole numbers, as Python floats and ints (here without rounding $d$ and $m$ to float16). If all numbers are equal, the scale is 0 and so are the whole numbers.


# %% tags=["exercise"]
def make_block(numbers: list[float]) -> tuple[float, float, list[int]]:
    """Scale, smallest number, and for each number the nearest q from 0 to 15."""
    ### BEGIN SOLUTION
    smallest = min(numbers)
    scale = (max(numbers) - smallest) / 15
    if scale == 0:
        return 0.0, smallest, [0] * len(numbers)
    return scale, smallest, [round((x - smallest) / scale) for x in numbers]
    ### END SOLUTION


# %%
check.make_block(make_block)

# %% [markdown]
# How large is the error? At most half a step, $d/2$. Where weights lie anywhere between two values, the error is spread evenly from $-d/2$ to $d/2$, and the root of its mean square is
# $d/\sqrt{12} = 0.2887\,d$. (The mean of $x^2$ over such a stretch is $d^2/12$.) Try it on many blocks of random numbers. The function does all blocks of a matrix at once. Like the file, it keeps scale and
# smallest number in 16 bits.


# %%
def on_grid(matrix: Tensor, size: int, levels: int = 16) -> Tensor:
    """Each run of `size` numbers rounded to evenly spaced values of its own.

    Numbers at the end that fill no run stay. Same shape and dtype.
    """
    flat = matrix.detach().flatten().clone()
    runs = flat[: len(flat) // size * size].view(-1, size)
    smallest = runs.amin(dim=1, keepdim=True)
    scale = (runs.amax(dim=1, keepdim=True) - smallest) / (levels - 1)
    whole = ((runs - smallest) / scale.clamp(min=1e-30)).round()
    scale, smallest = (x.half().to(matrix.dtype) for x in (scale, smallest))
    runs.copy_(whole * scale + smallest)
    return flat.view_as(matrix)


generator = torch.Generator().manual_seed(21)
normal = torch.randn(5000, 32, generator=generator, dtype=torch.float64)
steps = (normal.amax(dim=1) - normal.amin(dim=1))[:, None] / 15  # (5000, 1)
errors = (on_grid(normal, 32) - normal) / steps
rms = errors.square().mean().sqrt().item()
print(f"error in steps: largest {errors.abs().max():.2f}, ", end="")
print(f"root of the mean square {rms:.4f}")
assert errors.abs().max() < 0.51 and abs(rms - (30 / 32 / 12) ** 0.5) < 0.003

# %% [markdown]
# A little over one half: that is float16. And a little less than 0.2887: two of the 32, the smallest and the largest, lie on the grid and have no error. With them, $0.2887 \sqrt{30/32} = 0.2795$. So the error depends on the step, and the step on the *range* of the block. Remember that for the next section.
#
# ### Zero does not stay zero (optional)
#
# One thing gets lost that you may not expect: a weight of exactly 0 need not stay 0. The grid begins at the smallest weight, and 0 may lie between two values.

# %%
with_zeros = torch.tensor([[-1.0, 0.0, 0.0, 2.1]], dtype=torch.float64)
print([round(x, 4) for x in on_grid(with_zeros, 4)[0].tolist()])

# %% [markdown]
# ## Why blocks
#
# A scale and a smallest number for each 32 weights cost a bit for each weight. Why not one for a whole row, or one for the matrix? Here are the same matrices rounded to sixteen
# values in all three ways. The number shown is the error's size as a share of the weights' size (both as root of the mean square). The first column says how many times this size the largest number has.
#
# Two controls: normal random numbers of the same shape, and the matrix's own numbers in random places.


# %%
def error_share(rounded: Tensor, exact: Tensor) -> float:
    """The size of the error over the size of the numbers."""
    return ((rounded - exact).square().mean() / exact.square().mean()).sqrt().item()


def show_errors(name: str, matrix: Tensor) -> list[float]:
    """The error per matrix, row and block; and how far its largest number is out."""
    sizes = (matrix.numel(), matrix.size(1), 32)
    found = [error_share(on_grid(matrix, size), matrix) for size in sizes]
    out = (matrix.abs().max() / matrix.square().mean().sqrt()).item()
    print(f"{name:<28} {out:6.1f} " + "".join(f"{share:9.3f}" for share in found))
    return found


def shuffled(matrix: Tensor) -> Tensor:
    """The same numbers in random places."""
    places = torch.randperm(matrix.numel(), generator=torch.Generator().manual_seed(1))
    return matrix.flatten()[places].view_as(matrix)


found: dict[str, list[float]] = {}
print(f"{'4 bits':<27} largest   matrix      row    block")
for part in ("token_embedding", "blocks.0.attention.qkv", "blocks.2.feed_forward.down"):
    real = storyteller.get_parameter(f"{part}.weight").detach().double()
    seeded = torch.Generator().manual_seed(2)
    random = torch.randn(real.shape, generator=seeded, dtype=torch.float64)
    found[part] = show_errors(part.removeprefix("blocks."), real)
    show_errors("  its numbers shuffled", shuffled(real))
    found[f"{part}, random"] = show_errors("  normal random numbers", random)

# %%
for per_matrix, per_row, per_block in found.values():
    assert per_matrix > per_row > per_block and 0.07 < per_block < 0.09
assert found["blocks.2.feed_forward.down"][0] > 0.4

# %% [markdown]
# Read it in three steps.
#
# - *Random numbers gain from blocks, too.* Among 32 normal numbers the largest is about twice their typical size, among 80,000 it is four to five times. A shorter range makes shorter steps. That alone halves the error.
# - *Real weights have outliers.* Lesson 6 built the feed-forward network. One weight in the last one's `down` is 14 times as large as is typical. Nothing like that happens in the random control. With one grid for the matrix the
#   error is 41% of the weights; random numbers lose 16%.
# - *Blocks make real weights nearly as good as random ones.* In the last column all lines agree to about a hundredth. An outlier still ruins a step, but only for the 31 weights beside it.
#
# Shuffled, `down` loses more per row, 17% in place of 14%: its large weights stand together, in some rows more than in others, and grids for parts use that. Let us see one outlier alone do it:

# %%
own = torch.Generator().manual_seed(4)
ordinary = torch.randn(144, 576, generator=own, dtype=torch.float64)
spoiled = ordinary.clone()
spoiled[0, 0] = 30.0
print(f"{'':<27} largest   matrix      row    block")
show_errors("normal random numbers", ordinary)
per_matrix, per_row, per_block = show_errors("  one of them set to 30", spoiled)
assert per_matrix > 0.6 and per_block < 0.09

# %% [markdown]
# One number in 82,944. Dettmers et al. (2022, «8-bit Optimizers») proposed blocks for this reason, for the running means of Adam: an outlier stays in its own (section 2.1).
#
# ### SmolLM2's outliers (optional)
#
# The same table for some matrices of SmolLM2's file:

# %% tags=["nbval-ignore-output"]
print(f"{'4 bits':<27} largest   matrix      row    block")
for part in (
    "token_embd",
    "blk.0.attn_q",
    "blk.15.ffn_up",
    "blk.29.ffn_down",
    "blk.0.ffn_down",
):
    if (entry := tensors.get(f"{part}.weight")) is not None:
        show_errors(
            part, torch.from_numpy(decode(entry.raw[:1000], entry.kind)).double()
        )

# %% [markdown]
# Its outliers are larger still, and one grid for a whole matrix loses half of it and more. The zeros in the last column are no miracle. These matrices were rounded in blocks *before* we got them, and who rounds again
# finds the same sixteen values. So what the first rounding cost cannot be seen in this file. (Only the embedding has 8 bits, and loses something.) For that we have the storyteller, whose weights are all there.

# %% [markdown]
# ## Products in whole numbers
#
# With a scale for each row, and no smallest number, whole numbers can do even the product. The row [0.5, −2.54, 1.27] has the scale 2.54/127 = 0.02 and becomes [25, −127, 64] (1.27/0.02 is 63.5; we take the even neighbour). The input
# [1.0, 0.25, −0.5] has the scale 1/127 and becomes [127, 32, −64]. Then
#
# $$25 \cdot 127 - 127 \cdot 32 - 64 \cdot 64 = -4985, \qquad -4985 \cdot 0.02 \cdot \tfrac{1}{127} = -0.785$$
#
# The true product is −0.77. Only two multiplications are not in whole numbers, whatever the length of the row.

# %%
row, x = [0.5, -2.54, 1.27], [1.0, 0.25, -0.5]
true = sum(w * v for w, v in zip(row, x, strict=True))
whole_row = [round(w / 0.02) for w in row]
whole_x = [round(v * 127) for v in x]
total = sum(w * v for w, v in zip(whole_row, whole_x, strict=True))
print(whole_row, whole_x, total, f"{total * 0.02 / 127:.3f}, true {true:.3f}")
assert total == -4985

# %% [markdown]
# ### Exercise 3 · to 8 bits (★★☆, 8 min)
#
# Here the scale is *given*; it may come from another text, so that a number can lie outside. Return the nearest whole numbers of `x / scale`. A half goes to the even neighbour, as Python's `round` and `torch.round` do it. What lies
# outside −127 to 127 is clipped to the end. If the scale is 0, everything is 0. Give back Python ints.


# %% tags=["exercise"]
def to_8_bits(numbers: list[float], scale: float) -> list[int]:
    """The nearest whole numbers from -127 to 127."""
    ### BEGIN SOLUTION
    if scale == 0:
        return [0] * len(numbers)
    return [max(-127, min(127, round(x / scale))) for x in numbers]
    ### END SOLUTION


# %%
check.to_8_bits(to_8_bits)

# %% [markdown]
# In torch, for a whole matrix with a scale for each row. The package does the same.


# %% tags=["package:minigpt.model.int8.quantize_rows"]
def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers (d_out, d_in), int8, and scales (d_out,)."""
    scale = weight.abs().amax(dim=1).float() / 127
    numbers = weight.float() / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    return numbers.round().clamp(-127, 127).to(torch.int8), scale


# %%
qkv = storyteller.get_parameter("blocks.0.attention.qkv.weight").detach()
inputs = torch.randn(20, 144, generator=torch.Generator().manual_seed(3))  # (T, d_in)
w8, w_scale = quantize_rows(qkv)
x8, x_scale = quantize_rows(inputs)  # of each token a scale, too
in_whole_numbers = (x8.int() @ w8.int().T) * x_scale[:, None] * w_scale  # (T, d_out)
weights_only = int8_product(inputs, w8, w_scale)
exact = inputs.double() @ qkv.double().T
for label, result in {
    "weights": weights_only,
    "weights and x": in_whole_numbers,
}.items():
    off = error_share(result, exact)
    print(f"8 bits for {label:<14} error {off:.2%} of the product")
    assert off < 0.015
assert torch.allclose(widened(w8, w_scale), qkv, atol=float(w_scale.max()) * 0.501)

# %% [markdown]
# An int8 times an int8 has 16 bits, and a sum of some hundred such products fits easily into an int32. Whole numbers add up without rounding, in any order.
#
# To round $x$ as well is bolder. A weight can be looked at for as long as you like, before. What comes in is known only when it comes.

# %% tags=["nbval-ignore-output"]
TEXT = (
    "The last bus had gone, so they walked home along the river. It had rained all "
    "afternoon, and the path was soft under their shoes. Halfway there, Mira stopped "
    "and pointed at the water. A heron stood on one leg in the reeds, quite still, as "
    "if somebody had painted it there. They waited until it caught a fish, and then "
    "they went on, talking about supper."
)
assert tokenizer.end_of_text is not None
text_ids = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(TEXT)]])  # (1, T)
text_bytes = len(TEXT.encode())
print(f"a text of {text_bytes} bytes and {text_ids.size(1)} tokens, for what follows")

# %% [markdown]
# ### What comes in (optional)
#
# Here is what the middle block of SmolLM2 reads, for that text.

# %% tags=["nbval-ignore-output"]
captured: list[Tensor] = []
middle = large.blocks[len(large.blocks) // 2]
hook = middle.register_forward_pre_hook(lambda _, given: captured.append(given[0]))
with torch.inference_mode():
    large.hidden_states(text_ids)
hook.remove()
stream = captured[0][0]  # (T, d_model), what the middle block reads
print("largest number of the first five tokens:")
print("   ", [round(x) for x in stream.abs().amax(dim=1)[:5].tolist()])
for label, shared in {
    "one scale for all tokens": True,
    "a scale for each token": False,
}.items():
    numbers, scales = quantize_rows(stream.flatten()[None] if shared else stream)
    rounded = widened(numbers, scales).view_as(stream)
    off = error_share(rounded[1:], stream[1:])
    print(f"{label:<26} error of the others: {off:.1%}")

# %% [markdown]
# The very first token of SmolLM2's stream has a number above 20,000. The largest of the others are near a hundred. With one scale for all tokens a step is larger than that, so nearly all other numbers become zero: an error of 96%. A scale for each token leaves the harm where it is.
# Sun et al. (2024) call such numbers massive activations. They find them in many models. Dettmers et al. (2022, «LLM.int8()») found *columns* of $x$ that are large for all tokens,
# against which a scale for each token does not help, and keep those in 16 bits (section 3). Our package rounds only the weights. llama.cpp rounds what comes in, too, in blocks of 32 numbers.

# %% [markdown]
# ## What it costs
#
# An error of 8% in every weight: is that much? Only the loss can say. We round the matrices in the blocks of the storyteller, in several ways, and read 40 stories that it was not trained on. All is in float64, so that nothing
# else is rounded. The differences are between *the same tokens* with and without rounding; the interval is two standard errors.


# %%
def token_bits(model: GPT, its: Tokenizer, texts: Sequence[str]) -> Tensor:
    """The bits that each token costs, all texts behind one another."""
    assert its.end_of_text is not None
    parts = [
        rolling_log_likelihoods(model, its.encode(text), its.end_of_text)
        for text in texts
    ]
    return -torch.cat(parts) / math.log(2)


def in_blocks(model: GPT, rounding: Callable[[Tensor], Tensor]) -> GPT:
    """A copy whose matrices, those in the blocks, are rounded."""
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in changed.blocks.parameters():
            if parameter.ndim == 2:
                parameter.copy_(rounding(parameter))
    return changed


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "bfloat16": lambda w: w.bfloat16().to(w.dtype),
    "8 bits, per row": lambda w: widened(*quantize_rows(w)).to(w.dtype),
    "4 bits, per block": lambda w: on_grid(w, 32),
    "4 bits, per row": lambda w: on_grid(w, w.size(1)),
    "4 bits, per matrix": lambda w: on_grid(w, w.numel()),
    "3 bits, per block": lambda w: on_grid(w, 32, levels=8),
    "2 bits, per block": lambda w: on_grid(w, 32, levels=4),
}


def cost_table(model: GPT, its: Tokenizer, texts: Sequence[str]) -> dict[str, float]:
    """Bits per byte as it is, and what each way of rounding adds."""
    n_bytes = sum(len(text.encode()) for text in texts)
    plain = token_bits(model, its, texts)
    print(f"{'as it is':<20} {plain.sum() / n_bytes:.3f} bits per byte")
    added = {}
    for way, rounding in WAYS.items():
        more = token_bits(in_blocks(model, rounding), its, texts) - plain
        error = 2 * more.std().item() * len(more) ** 0.5 / n_bytes
        added[way] = more.sum().item() / n_bytes
        print(f"{way:<20} {added[way]:+.4f} ± {error:.4f}")
    return added


precise = copy.deepcopy(storyteller).double()
unseen = [stories.story_at("test", i).text for i in range(40)]
story_cost = cost_table(precise, story_tokenizer, unseen)

# %%
assert (
    abs(story_cost["bfloat16"]) < 0.001 and abs(story_cost["8 bits, per row"]) < 0.001
)
assert story_cost["4 bits, per block"] < 0.3 * story_cost["4 bits, per matrix"]
assert story_cost["2 bits, per block"] > 5 * story_cost["4 bits, per block"]

# %% [markdown]
# Sixteen and eight bits cost nothing, to four decimals. With 4 bits in blocks each weight is off by 8%, and the interval still holds zero. One grid for a whole matrix costs something. With 2 bits, four values for a weight, a story costs a quarter more. It is
# a small model of a small world, and it has more digits than it needs.
#
# The same with SmolLM2 and one short text. It stands on its 4-bit grid already, so that «4 bits, per block» costs nothing *more*, and the others come on top of what the file has lost.

# %% tags=["nbval-ignore-output"]
large_cost = cost_table(large, tokenizer, [TEXT])

# %%
if path is not None:
    for way in ("bfloat16", "8 bits, per row"):
        assert abs(large_cost[way]) < 0.03
    assert large_cost["4 bits, per block"] == 0
    assert min(large_cost["4 bits, per matrix"], large_cost["2 bits, per block"]) > 1

# %% [markdown]
# Another model, another answer. 8 bits per row again cost nothing that 83 tokens could show. But with 4 bits a grid for each row now costs about a quarter of the loss, and one for each matrix makes the model worthless: there the outliers tell. Nor does it bear 3 bits in blocks as the storyteller does.
# (These come on top of the file's 4 bits, so rounding the first weights might have cost less.) So no table of another model says what yours will bear.
#
# ## What it saves
#
# ### Bytes
#
# Bytes need no measuring, they can be counted. The package's `to_int8` puts all matrices and the embedding in 8 bits, a byte for each number and a float32 for each row. Norms and biases stay in float32.


# %%
def predicted_bytes(model: GPT) -> int:
    """Of a model in 8 bits, before it is made. Tied matrices count once."""
    total = 0
    for name, parameter in model.named_parameters():
        small = parameter.ndim == 2 and "position" not in name
        rows = parameter.size(0)
        total += parameter.numel() + 4 * rows if small else 4 * parameter.numel()
    return total


for model in (storyteller, large):
    assert weight_bytes(model) == 4 * parameter_count(model.config)
expected = predicted_bytes(storyteller)
story_8 = to_int8(copy.deepcopy(storyteller))
print(f"float32 {weight_bytes(storyteller):,} bytes, 8 bits {weight_bytes(story_8):,}")
assert weight_bytes(story_8) == expected

# %% tags=["nbval-ignore-output"]
expected_large = predicted_bytes(large)
large_8 = to_int8(copy.deepcopy(large))
off_by = layer_errors(large, large_8, text_ids)
print(f"SmolLM2: {weight_bytes(large):,} bytes, in 8 bits {weight_bytes(large_8):,}")
print("the stream is off by, after the first, middle and last block:")
print("   ", [f"{off_by[i]:.1%}" for i in (0, len(off_by) // 2, -1)])

# %%
assert weight_bytes(large_8) == expected_large < 0.3 * weight_bytes(large)
assert max(off_by) < 0.25

# %% [markdown]
# ### Why writing waits for memory
#
# Lesson 11 had two ceilings: how fast a processor computes, and how fast bytes come from memory. To write one token, each weight is fetched once, multiplied once and added once: 2 FLOPs for 4 bytes in float32. A processor offers ten or more FLOPs in the time
# of 4 bytes. So it waits, and the least time of a token is
#
# $$\text{time of a token} \ge \frac{\text{bytes of the weights}}{\text{bytes a second}}$$
#
# No cache helps where the weights are larger than it. Measure both sides, and then let several tokens go through at once: they share the fetch.


# %% tags=["nbval-ignore-output"]
def shortest(function: Callable[[], object], times: int = 4) -> float:
    """The least seconds of processor time that a call takes."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        function()
        taken.append(time.process_time() - began)
    return min(taken)


@torch.inference_mode()
def pass_seconds(model: GPT, n: int) -> float:
    """One pass over n tokens that follow 60 others, which the cache holds."""
    cache = KVCache(model.config, 1, length=96)
    ids = text_ids.repeat(1, 2)
    model.hidden_states(ids[:, :60], cache)
    return shortest(
        lambda: model.output_head(
            model.hidden_states(ids[:, 60 : 60 + n], cache, position=60)
        )
    )


def bytes_a_second() -> float:
    """How fast memory delivers: a matrix of 268 MB times a vector."""
    square, vector = torch.ones(2**13, 2**13), torch.ones(2**13)
    return square.nbytes / shortest(lambda: square @ vector)


def token_seconds(model: GPT) -> float:
    """Writing one token after 60, as `generate` does it."""
    rows = Decoding(model, [text_ids[0, :60].tolist()], num=1, max_new_tokens=36)
    token = rows.prefill().argmax(dim=-1, keepdim=True)
    return shortest(lambda: rows.step(token), times=12)


bandwidth = bytes_a_second()
one_token = {"float32": token_seconds(large), "8 bits": token_seconds(large_8)}
print(f"memory delivers {bandwidth / 1e9:.1f} GB a second\n")
for label, model in {"float32": large, "8 bits": large_8}.items():
    floor, mega = weight_bytes(model) / bandwidth, weight_bytes(model) / 1e6
    print(
        f"{label}: {mega:4.0f} MB, at least {1000 * floor:4.1f} ms "
        f"a token; measured {1000 * one_token[label]:4.1f} ms"
    )
together = (1, 2, 4, 8, 16)
spent = [pass_seconds(large, n) for n in together]
plots.curves(
    {
        "one pass": (together, [1000 * seconds for seconds in spent]),
        "as many passes": (together, [1000 * n * spent[0] for n in together]),
    },
    "tokens in one pass",
    "milliseconds, float32",
)

# %%
# Loose: other work on this machine takes memory's time, too.
assert one_token["float32"] > 0.3 * weight_bytes(large) / bandwidth
assert spent[3] < 0.9 * 8 * spent[0]  # seen: a quarter

# %% [markdown]
# These numbers are of the machine where the cell last ran: here one with AVX2 and without units for bfloat16. In float32 a token takes about twice its floor, so most of it is waiting. And sixteen tokens in one pass take two to three times as long as one, not sixteen times.
#
# In 8 bits the floor is a quarter, but the token takes only somewhat less time than before, several times its floor. It hardly waits any more. What is left is arithmetic: on its way each weight is widened to bfloat16, which this processor does slowly. In the package's benchmark (`benchmarks/real_writing.py`, two threads of a quiet
# machine of this kind) 8 bits write 44 tokens a second and float32 33. So the bytes say what can be gained *at most*, here four times, and the kernel says what is.
#
# ### Reading does not wait (optional)
#
# <div class="alert alert-warning">
# <b>You may have read</b> that a model in 4 bits is faster because 4-bit arithmetic is faster. Here none is done. The weights are <i>widened</i> on the way and multiplied as before, so that
# there is more to compute than in float32. What gets shorter is the wait. Where a processor does not wait, as over a long prompt, fewer bits gain little or cost time.
# </div>

# %% tags=["nbval-ignore-output"]
reading = {}
for label, model in {"float32": large, "8 bits": large_8}.items():
    with torch.inference_mode():
        whole = shortest(functools.partial(model.hidden_states, text_ids), times=2)
    reading[label] = whole / text_ids.size(1)
    print(
        f"{label}: a token that is read, among {text_ids.size(1)}, takes "
        f"{1000 * reading[label]:4.1f} ms, "
        f"one that is written {1000 * one_token[label]:4.1f}"
    )

# %%
assert reading["float32"] < 0.8 * one_token["float32"]

# %% [markdown]
# ## Guess, then check
#
# A pass over five tokens costs far less than five passes. But to *write* five tokens takes five passes, because the second cannot be read before the first is drawn. Unless somebody guesses them.
#
# That is **speculative decoding** (Leviathan et al. 2023; Chen et al. 2023). A cheap **draft** model guesses $K$ tokens. The large model, the *target*, reads them in *one* pass, which gives its own distribution at each of these places. Good guesses stay, and the first bad one is replaced. The question is
# what «good» means. We want the text to be the *target's*: not nearly, but each text with exactly its probability.
#
# ### The rule by hand
#
# At one place the target has the distribution $p$, and the draft drew its guess $x$ from $q$. Accept $x$ with probability $\min(1, p(x)/q(x))$: always where the target likes it more than the draft does, and else as often as is fair. If it is refused, draw from what $p$ has *more* than $q$, that is
# from $\max(0, p - q)$, divided by its sum.
#
# Let $p$ = [0.5, 0.3, 0.2] and $q$ = [0.2, 0.5, 0.3]. With fractions there is nothing to round:

# %%
Distribution = Sequence[Fraction]
p_hand = [Fraction(5, 10), Fraction(3, 10), Fraction(2, 10)]
q_hand = [Fraction(2, 10), Fraction(5, 10), Fraction(3, 10)]


def beyond(p: Distribution, q: Distribution) -> list[Fraction]:
    """What p has more than q, divided by its sum."""
    more = [max(Fraction(0), a - b) for a, b in zip(p, q, strict=True)]
    return [part / (sum(more) or 1) for part in more]


Rule = Callable[[Distribution, Distribution, int], tuple[Fraction, list[Fraction]]]


def exact_rule(
    p: Distribution, q: Distribution, x: int
) -> tuple[Fraction, list[Fraction]]:
    """How likely a guess x stays, and what it is replaced from."""
    return min(Fraction(1), p[x] / q[x]), beyond(p, q)


def outcome(rule: Rule, p: Distribution, q: Distribution) -> list[Fraction]:
    """The distribution of the token that comes out."""
    found = [Fraction(0)] * len(p)
    for x in range(len(q)):
        stays, instead = rule(p, q, x)
        found[x] += q[x] * stays
        for y, share in enumerate(instead):
            found[y] += q[x] * (1 - stays) * share
    return found


print([str(x) for x in outcome(exact_rule, p_hand, q_hand)])
assert outcome(exact_rule, p_hand, q_hand) == p_hand

# %% [markdown]
# Follow token 0. The draft says it in 0.2 of all cases, and then it always stays, since 0.5 > 0.2. Token 1 is said in 0.5 and stays in three of five cases; token 2 is said in 0.3 and stays in two of three. So a guess stays in 0.2 + 0.3 + 0.2 = 0.7 of all cases. In
# the other 0.3 the replacement comes from [0.3, 0, 0], so it is always token 0. That ends up with 0.2 + 0.3 = 0.5, as in $p$.
#
# It is so always. A guess is $x$ and stays with probability $q(x)\min(1, p(x)/q(x)) = \min(p(x), q(x))$. Refused is what is missing from 1, that is $1 - \sum \min(p, q) = \sum \max(0, p - q)$: just what the replacement is divided by. So $x$ comes out with $\min(p(x), q(x)) + \max(0, p(x) - q(x)) = p(x)$. (Appendix A.1 of the paper.)
# The share that stays is $\sum_x \min(p(x), q(x)) = 1 - \tfrac12 \sum_x |p(x) - q(x)|$: one less the **total variation distance** of the two.
#
# <div class="alert alert-warning">
# <b>You may have read</b> that speculative decoding pays for its speed with a little quality, because the small model writes part of the text. With this rule it does not: what comes out is p, to the last digit of a fraction. With a rule
# that looks nearly the same, it is not.
# </div>


# %%
def from_p(p: Distribution, q: Distribution, x: int) -> tuple[Fraction, list[Fraction]]:
    """Accept as before, but draw the replacement from all of p."""
    return exact_rule(p, q, x)[0], list(p)


for rule in (exact_rule, from_p):
    comes = outcome(rule, p_hand, q_hand)
    far = sum((abs(a - b) for a, b in zip(comes, p_hand, strict=True)), Fraction(0)) / 2
    shown = [f"{float(x):.2f}" for x in comes]
    print(f"{rule.__name__:<11} {shown}, distance to p {float(far):.2f}")
    assert (far == 0) == (rule is exact_rule)

# %% [markdown]
# The second looks right, because $p$ is what we want. But token 1 has all of its 0.3 from guesses that stay, and here it gets 0.09 more.
#
# ### Texts of several tokens (optional)
#
# A text is more than one token, and a pass has several guesses, of which the first bad one ends it. Two models over three tokens, each a table of what follows what, two guesses in a row: here are all ways that it can go, each with its probability.

# %%
NEXT_P: dict[int | None, Distribution] = {
    None: p_hand,
    0: [Fraction(1, 8), Fraction(5, 8), Fraction(2, 8)],
    1: [Fraction(0), Fraction(1, 2), Fraction(1, 2)],
    2: [Fraction(1, 3)] * 3,
}
NEXT_Q: dict[int | None, Distribution] = {
    None: q_hand,
    0: [Fraction(1, 2), Fraction(1, 4), Fraction(1, 4)],
    1: [Fraction(1, 4), Fraction(3, 4), Fraction(0)],
    2: [Fraction(0), Fraction(0), Fraction(1)],
}


Chances = dict[tuple[int, ...], Fraction]


def texts_of(rule: Rule, length: int, guesses: int) -> Chances:
    """The probability of each text of this length, over all guesses and all draws."""
    chances: Chances = {}

    def go_on(text: tuple[int, ...], chance: Fraction, guessed: int) -> None:
        if len(text) == length or not chance:
            chances[text] = chances.get(text, Fraction(0)) + chance
            return
        last = text[-1] if text else None
        p, q = NEXT_P[last], NEXT_Q[last]
        if guessed == guesses:  # all stayed: the pass has one more distribution
            for x in range(3):
                go_on((*text, x), chance * p[x], 0)
            return
        for x in (x for x in range(3) if q[x]):
            stays, instead = rule(p, q, x)
            go_on((*text, x), chance * q[x] * stays, guessed + 1)
            for y in range(3):
                go_on((*text, y), chance * q[x] * (1 - stays) * instead[y], 0)

    go_on((), Fraction(1), 0)
    return chances


def distance(chances: Chances, length: int) -> Fraction:
    """The total variation distance to the texts that the target alone writes."""
    total = Fraction(0)
    for text in itertools.product(range(3), repeat=length):
        alone = Fraction(1)
        for before, x in zip((None, *text), text, strict=False):
            alone *= NEXT_P[before][x]
        total += abs(chances.get(text, Fraction(0)) - alone)
    return total / 2


for rule in (exact_rule, from_p):
    print(f"{rule.__name__:<11} {float(distance(texts_of(rule, 4, 2), 4)):.3f}")
assert distance(texts_of(exact_rule, 4, 2), 4) == 0

# %% [markdown]
# ### Exercise 4 · the acceptance rule (★★★, 15 min)
#
# Write a pass. `p` has $K + 1$ rows, the target's distributions at the places of the $K$ guesses and behind the last; `q` has $K$ rows. `uniform` has $K + 1$ random numbers from 0 to 1 (1 excluded).
#
# - Guess $i$ stays if `uniform[i]` is smaller than $p_i(x)/q_i(x)$. (A guess has $q_i(x) > 0$.)
# - At the first that does not, everything behind it is gone. Its replacement is drawn from $\max(0, p_i - q_i)$ with the *last* number of `uniform`.
# - If all stay, one more token is drawn from the last row of `p`, with the last number of `uniform`.
# - To draw (lesson 1): lay the tokens side by side on a line, each as long as its weight. The token on which `uniform` times the total length falls is drawn. Each token has the
#   left end of its piece and not the right one.


# %% tags=["exercise"]
def checked_guesses(
    p: list[list[float]],
    q: list[list[float]],
    guesses: list[int],
    uniform: list[float],
) -> list[int]:
    """The 1 to K + 1 tokens that a pass adds to the text."""

    ### BEGIN SOLUTION
    def drawn(weights: list[float]) -> int:
        ends = list(itertools.accumulate(weights))
        return sum(end <= uniform[-1] * ends[-1] for end in ends)

    for i, guess in enumerate(guesses):
        if uniform[i] >= p[i][guess] / q[i][guess]:
            more = [max(0.0, a - b) for a, b in zip(p[i], q[i], strict=True)]
            return guesses[:i] + [drawn(more)]
    return guesses + [drawn(p[-1])]
    ### END SOLUTION


# %%
check.checked_guesses(checked_guesses)

# %% [markdown]
# The package has the same in `minigpt.generation.speculative.accept`.
#
# ### How many tokens a pass
#
# A pass adds at least one token, and at most $K + 1$. Suppose that each guess stays with probability α, whatever came before. The pass adds the first token for sure, a second if the first guess stays, a third if two stay:
#
# $$1 + \alpha + \alpha^2 + \dots + \alpha^K$$
#
# (Equation 1 of the paper, where the sum is written $(1 - \alpha^{K+1})/(1 - \alpha)$.) Work it yourself for α = 0.5 and two guesses: 1.75.
#
# ### Exercise 5 · tokens a pass (★☆☆, 4 min)
#
# Write it for any α from 0 to 1, both included.


# %% tags=["exercise"]
def tokens_a_pass(alpha: float, guesses: int) -> float:
    """The expected number of tokens that a pass adds."""
    ### BEGIN SOLUTION
    return sum(alpha**i for i in range(guesses + 1))
    ### END SOLUTION


# %%
check.tokens_a_pass(tokens_a_pass)

# %% [markdown]
# ## A draft for the storyteller
#
# Now with real distributions. The storyteller is the target. Three drafts:
#
# - the **bigram** table of lesson 1, which knows the last token and costs nothing,
# - a table of the last *two* tokens,
# - the storyteller itself in 4 bits, per block.
#
# First the rule, at each place of a story: what comes out, is it $p$?

# %%
vocab = precise.config.vocab_size
START = story_tokenizer.end_of_text
assert START is not None
followers: dict[tuple[int, ...], Counter[int]] = {}
for i in range(500):
    ids = [START, *story_tokenizer.encode(stories.story_at("train", i).text), START]
    for before, last, then in zip([START, *ids], ids, ids[1:], strict=False):
        for seen in ((), (last,), (before, last)):
            followers.setdefault(seen, Counter())[then] += 1


def table(order: int) -> Callable[[list[int]], Tensor]:
    """A draft that knows the last `order` tokens, or fewer where it saw no such."""

    def probabilities(ids: list[int]) -> Tensor:
        counts = next(
            followers[seen]
            for seen in (tuple(ids[len(ids) - n :]) for n in (order, 1, 0))
            if seen in followers
        )
        shares = torch.zeros(vocab, dtype=torch.float64)
        shares[list(counts)] = torch.tensor(list(counts.values()), dtype=torch.float64)
        return shares / shares.sum()

    return probabilities


in_4_bits = in_blocks(precise, WAYS["4 bits, per block"])
drafts = {"bigram": table(1), "two tokens": table(2), "4 bits": Reader(in_4_bits).next}

story_ids = [START, *story_tokenizer.encode(unseen[0])]
with torch.inference_mode():
    p_story = distribution(precise(torch.tensor([story_ids]))[0])  # (T, V)
for label, draft in drafts.items():
    q_story = torch.stack([draft(story_ids[: i + 1]) for i in range(len(story_ids))])
    both = torch.minimum(p_story, q_story)
    over = (p_story - q_story).clamp(min=0)
    share = over.sum(dim=1, keepdim=True)
    result = both + (1 - both.sum(dim=1, keepdim=True)) * over / share.clamp(min=1e-300)
    print(f"{label:<11} a guess stays in {both.sum(dim=1).mean():.1%} of the cases")
    assert torch.allclose(result, p_story, atol=1e-12)

# %% [markdown]
# The rule gives $p$ back at every place, with each draft. A bad draft only wastes guesses.
#
# Now write six stories with each draft, and count. The *closed form* of the accepted share is the mean of 1 − total variation distance over the guesses that were judged. The *formula* is exercise 5 with the share that was seen.

# %%
print("draft        K  tokens  passes  a pass  formula  accepted  closed form")
for label, draft in drafts.items():
    for guesses in (1, 4, 8):
        runs = [
            speculate(
                precise, draft, [START], 150, guesses=guesses, stop_token=START, seed=s
            )
            for s in range(6)
        ]
        lengths = [len(run.tokens) for run in runs]
        written = sum(n + (n < 150) for n in lengths)  # with the stop token
        passes, judged, stayed = (
            sum(getattr(run, what) for run in runs)
            for what in ("passes", "judged", "accepted")
        )
        closed = sum(run.overlap for run in runs) / judged
        alpha = stayed / judged
        formula = sum(alpha**i for i in range(guesses + 1))
        print(
            f"{label:<11} {guesses:>2} {written:7} {passes:7} {written / passes:7.2f} "
            f"{formula:8.2f} {alpha:9.1%} {closed:12.1%}"
        )
        spread = math.sqrt(closed * (1 - closed) / judged)  # of a share, at most
        assert abs(alpha - closed) < 5 * spread
        assert abs(written / passes - formula) < 0.12 * formula

# %% [markdown]
# - *The closed form holds.* What is accepted and what should be differ by no more than chance explains. (The cell asserts five standard deviations.)
# - *More guesses pay only where they stay.* The bigram's first guess often goes, and eight of them are hardly better than four. Of the 4-bit model's guesses 99 in 100 stay, so that a pass adds more than eight of nine possible tokens.
# - *The formula comes out a little high* where many are guessed. It takes all places for alike, and the last pass of a story is cut short by its end.
#
# ### And in time? (optional)
#
# Is it faster, too? That takes two more numbers: what a guess costs, and how much longer a pass over $K + 1$ tokens takes than one over one. The 4-bit storyteller is the best guesser and no use: it is as large as its target, and each guess takes a pass of its own. The tables cost nothing. With the passes of SmolLM2 that we have timed
# above, and a draft that costs nothing and is right in 60% of the cases:

# %% tags=["nbval-ignore-output"]
for n, seconds in zip(together, spent, strict=True):
    tokens = sum(0.6**i for i in range(n))
    gain = tokens * spent[0] / seconds
    print(f"{n - 1:2} guesses: {tokens:.2f} tokens a pass, {gain:.2f} times as fast")

# %% [markdown]
# There is a best number of guesses. (Theorem 3.8 of the paper has the formula with the draft's cost.) On a GPU a pass over a few tokens costs less extra than here, because its ridge lies further to the right (lesson 11), so that more guesses pay.

# %% [markdown]
# ## What to remember
#
# 1. A block of Q4_1 is a scale, a smallest number and 32 whole numbers from 0 to 15: 5 bits a weight. Each weight is d q + m, off by at most half a step.
# 2. The step is the range over 15. One outlier makes it large, so each 32 weights get a grid of their own. Rounded so, real weights err hardly more than random ones.
# 3. Here 8 bits cost nothing that we could measure, 4 bits in blocks little, and 2 bits much. Measure on your model.
# 4. Writing a token fetches every weight once. Its least time is bytes over bandwidth; several tokens in one pass share the fetch.
# 5. Guess with q, accept with min(1, p/q), replace from max(0, p − q): the text is exactly the target's, and guesses stay in 1 − TV(p, q) of the cases.

# %% [markdown]
# ## Primary sources
#
# - ggml-org, llama.cpp, quants.py (https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/quants.py)
# - Dettmers et al. 2022, 8-bit Optimizers via Block-wise Quantization (https://arxiv.org/abs/2110.02861)
# - Dettmers et al. 2022, LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale (https://arxiv.org/abs/2208.07339)
# - Sun et al. 2024, Massive Activations in Large Language Models (https://arxiv.org/abs/2402.17762)
# - Leviathan, Kalman and Matias 2023, Fast Inference from Transformers via Speculative Decoding (https://arxiv.org/abs/2211.17192)
# - Chen et al. 2023, Accelerating Large Language Model Decoding with Speculative Sampling (https://arxiv.org/abs/2302.01318)
#
# **Next** · [Lesson 22 · Evaluation](22_evaluation.ipynb): how good is a model, and how sure are you?
