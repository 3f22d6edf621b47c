# %% [markdown]
# # Lesson 11 · Training on a GPU
#
# Between a naive training step and a good one on the same GPU lie seven changes. The mathematics stays; rounding, shapes and traffic change. This lesson
# explains what each change does in the machine. You need no GPU for it: most of it is bookkeeping of bytes and bits, and a laptop does that
# to the last digit.
#
# **You will be able to**
# - tell from two counts, FLOPs and bytes, what holds a computation up, and draw the roofline of your machine,
# - compute the MFU of a training run, and see through a flattering one,
# - round to bfloat16 by hand, and say why float16 needs a loss scale and why weights stay in float32,
# - predict the memory that a training step needs,
# - climb the ladder from naive float32 to compiled bfloat16, and say what each rung is for.
#
# **Time** 100 min
#
# **Builds on** [Torch and slopes](00b_torch_and_slopes.ipynb), sections 1, 5 and 6;
# [lesson 8](08_full_gpt.ipynb) (FLOPs, 16 bytes a parameter), [lesson 5](05_multi_head_attention.ipynb) (fused attention)
# and [lesson 9](09_loss_backprop_adamw.ipynb) (AdamW). What is needed of them is recalled.
#
# ![The GPT in grey on a chip; under it in colour a memory with weights, gradients, Adam's means and activations; arrows carry bytes up and down between the two](../figures/where_training_on_a_gpu.svg)

# %% tags=["setup"]
import contextlib
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import minigpt
from minigpt.config import GPTConfig, Precision, TrainConfig
from minigpt.course import check, plots, start_lesson
from minigpt.course.books import Kernel, Memory, Traffic, total
from minigpt.model.attention import scaled_dot_product_attention
from minigpt.model.gpt import GPT, flops_per_token, next_token_loss, parameter_count
from minigpt.runtime import has_bfloat16_units, pick_device, synchronize
from minigpt.text.data import StoryData, storyteller_tokenizer
from minigpt.training.trainer import Trainer
from minigpt.weights.checkpoint import load_model

start_lesson()

# %% [markdown]
# ## An addition that costs more than a multiplication
#
# Let your machine do two things: multiply two matrices, and add two lists of numbers. For each we count the arithmetic operations and
# divide by the time. (With a GPU in your machine, the GPU does it.)

# %%
device = pick_device()


def seconds(work: Callable[[], object]) -> float:
    """The shortest of several runs: what disturbs a run only makes it longer."""
    work()  # the first run is slower
    times = []
    for _ in range(20):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)


n, many = (512, 2**23) if device.type == "cpu" else (8192, 2**28)
left, right = (torch.randn(n, n, device=device) for _ in range(2))
one_list, other_list = (torch.randn(many, device=device) for _ in range(2))
sums = torch.empty_like(one_list)

# %% tags=["nbval-ignore-output"]
for_product = seconds(lambda: left @ right)
for_addition = seconds(lambda: torch.add(one_list, other_list, out=sums))
for what, operations, took in (
    ("matrix product", 2 * n**3, for_product),
    ("addition", many, for_addition),
):
    rate = operations / took / 1e9
    print(f"{what:<14} {operations:12,} operations in {1000 * took:6.2f} ms,", end=" ")
    print(f"{rate:7.1f} billion a second")

# %%
times_as_long = (2 * n**3 / for_product) / (many / for_addition)
print("an addition takes at least four times as long:", times_as_long > 4)
assert times_as_long > 4

# %% [markdown]
# On most machines one addition of the lists takes far more than four times as long as one operation of the product. The same chip, the same 32-bit numbers, and to add is surely not harder than to multiply and
# add. What is different?
#
# Each number of the lists is fetched from memory, used **once**, and a result is written back. Each number of the matrices is fetched, and used
# for a whole row or column of results. The addition does not wait for arithmetic. It waits for memory. That is the first thing to know about a fast
# computer, and nearly all of this lesson follows from it.

# %% [markdown]
# ## Two ceilings
#
# So we count two things of each task: its **FLOPs** (floating-point operations, additions and multiplications), and the **bytes** that have to
# travel between memory and chip. Float32 takes 4 bytes.
#
# - To add two lists of *N* numbers: *N* FLOPs; 2 · 4*N* bytes come in, 4*N* go out.
# - To multiply two (*n*, *n*) matrices: $2n^3$ FLOPs (lesson 8); two matrices come in, one goes out, $3 \cdot 4n^2$ bytes.
#
# The ratio is the **arithmetic intensity**: how many FLOPs do we get out of each byte that travels? Work out both before you read on, the product for
# *n* = 6.

# %%
print(f"addition:          {1 / 12:8.3f} FLOPs per byte, however long the lists")
for side in (6, 60, 600, 6000):
    per_byte = 2 * side**3 / (3 * 4 * side**2)
    print(f"product, n = {side:4}: {per_byte:8.3f} FLOPs per byte = n / 6")
    assert per_byte == side / 6

# %% [markdown]
# That is the reason for matrix products everywhere in deep learning: the larger they are, the more arithmetic each byte feeds.
#
# ### Exercise 1 · arithmetic intensity (★☆☆, 5 min)
#
# Write it for any product: an (*m*, *k*) matrix times a (*k*, *n*) matrix, with numbers of `size` bytes. At best, each of the three matrices travels once.
# In a Linear layer *m* is the number of tokens. Try *m* = 1, one token: why can a GPU not show its strength there?


# %% tags=["exercise"]
def intensity(m: int, k: int, n: int, size: int) -> float:
    """FLOPs per byte of an (m, k) times (k, n) product."""
    ### BEGIN SOLUTION
    flops = 2 * m * k * n
    moved = size * (m * k + k * n + m * n)
    return flops / moved
    ### END SOLUTION


# %%
check.intensity(intensity)

# %% [markdown]
# A machine has two ceilings. It does so many FLOPs a second at most, and it moves so many bytes a second at most. A task with intensity *I* can therefore
# not run faster than
#
# $$\min(\text{peak FLOP/s}, \; I \cdot \text{bytes/s})$$
#
# Drawn over *I*, that looks like a roof: a slope, then a level. Williams, Waterman and Patterson (2009) called it the **roofline**, and the intensity where
# slope and level meet the **ridge**. Left of the ridge a task is **memory-bound**: only fewer bytes help. Right of it, it is **compute-bound**: only faster
# arithmetic helps.
#
# As an example we take a GPU on which many models were trained, NVIDIA's H100 (SXM). Its data sheet promises, for numbers of three kinds, this many
# FLOP/s, and 3.35 TB/s between chip and memory. (bfloat16 is a format of two bytes that we take apart below. TF32 is no format to store: float32 numbers,
# rounded to 10 bits of fraction on their way into a product.)

# %%
# the last two, says a footnote, «with sparsity»
SHEET = {"float32": 67e12, "TF32": 989e12, "bfloat16": 1979e12}
# without: we will see why
PEAK = {"float32": 67e12, "TF32": 989e12 / 2, "bfloat16": 1979e12 / 2}
BANDWIDTH = 3.35e12  # bytes a second

for kind, peak in PEAK.items():
    ridge = peak / BANDWIDTH
    print(f"{kind:<9} {peak / 1e12:6.1f} TFLOP/s, ridge at {ridge:5.1f} FLOPs per byte")

# %% [markdown]
# In bfloat16 the H100 needs about 295 FLOPs for every byte, or its multipliers wait. An addition of two lists, with two bytes a number, offers 1/6. The gap
# is that wide because the matrix products run on units of their own (NVIDIA calls them **Tensor Cores**), which do nothing else. Every other operation has
# the 67 TFLOP/s of the first line (twice that if it calculates in two bytes, which LayerNorm, GELU and AdamW do not). Memory has no such trick.

# %% [markdown]
# ## What a step of GPT-2 asks for
#
# Where do the parts of a GPT lie under that roof? Products we can count by hand. But how many bytes does attention move, when it is
# computed as the formula reads? Let the machine keep the books. Everything that torch does goes through one place, its dispatcher, and there one can listen. The
# course's `Traffic` does. For every **kernel**, a program that is started on the chip for one operation, it writes down what is fetched from memory, what is
# written back, and the FLOPs of products. (It stands in `minigpt/course/books.py`, if you are curious. You need not read it.)

# %%
sixes = torch.ones(6, 6)
with Traffic() as traffic:
    sixes + sixes
    sixes @ sixes
for kernel in traffic.kernels:
    print(kernel)
assert [kernel.bytes for kernel in traffic.kernels] == [3 * 4 * 36] * 2
assert traffic.kernels[1].flops == 2 * 6**3

# %% [markdown]
# Both move 432 bytes, as computed. (Like lesson 8's counter, this one counts the FLOPs of products only. The rest is small change, and that is
# the point: small change in FLOPs, not in bytes.)
#
# Now attention in one layer of GPT-2, for 16 sequences of 1,024 tokens. Your laptop need not compute it. Inside `FakeTensorMode` tensors have a shape and
# a type but no numbers, so that the largest step takes no time, and the books are the same.


# %%
def by_formula(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled_dot_product_attention(q, k, v, causal=True)[0]


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


gpt2, B, T = GPTConfig(), 16, 1024
d, h, d_ff, V = gpt2.d_model, gpt2.n_heads, gpt2.feed_forward_size, gpt2.vocab_size

attention: dict[str, tuple[int, int]] = {}
for attend in (by_formula, fused):
    with FakeTensorMode():
        heads = [  # queries, keys, values
            torch.empty(B, h, T, d // h, dtype=torch.bfloat16) for _ in range(3)
        ]
        with Traffic() as traffic:
            attend(*heads)
    for kernel in traffic.kernels:
        operation = kernel.name.removeprefix("_scaled_dot_product_")
        print(
            f"{attend.__name__:<11} {operation:<24} {kernel.bytes / 1e9:5.2f} GB",
            end=" ",
        )
        print(f"{kernel.flops / 1e9:6.1f} GFLOP")
    attention[attend.__name__] = total(traffic.kernels)
more_flops, more_bytes = (
    of_formula / of_fused
    for of_formula, of_fused in zip(*attention.values(), strict=True)
)
print(f"by formula {more_bytes:.0f} times the bytes and {more_flops:g} times the FLOPs")
assert attention["by_formula"][0] == 2 * attention["fused"][0] == 4 * B * T * T * d

# %% [markdown]
# By formula, the two products (`bmm`) do all the arithmetic. Around them tables of $T \times T$ weights go to memory and come back, to be divided, masked,
# normalised. Dao et al. (2022) saw that attention is memory-bound for this reason. Their FlashAttention does every step for one tile of the table while the
# tile is on the chip: more FLOPs if need be, fewer bytes. (The picture draws the division together with the product.)
#
# ![Two panels: on the left each of four steps of attention reads a table from memory and writes another back; on the right one fused step reads Q, K and V and writes the output](../figures/what_moves.svg)
#
# And the FLOPs? The causal mask hides the upper half of the table. The formula computes it and throws it away. A fused kernel skips the tiles in which
# everything is hidden (Dao 2023, section 3.1), nearly half of them, and our books charge it half.
#
# To put several steps into one kernel is called **fusion**. It is the first remedy against the slope of the roof: move
# *fewer bytes*. The second is to move *shorter numbers*; that comes below. Here are the parts of a step on the H100's roof. For what is no product we count
# FLOPs roughly by hand: 7 for each number in LayerNorm, 9 in GELU, 15 for each parameter in AdamW. Twice as many would change nothing.


# %%
def product_of(m: int, k: int, n: int) -> tuple[int, int]:
    """FLOPs and bytes of an (m, k) times (k, n) product in bfloat16."""
    return 2 * m * k * n, 2 * (m * k + k * n + m * n)


BT = B * T
on_tensor_cores = {
    "attention, by formula": attention["by_formula"],
    "attention, fused": attention["fused"],
    "feed-forward, up": product_of(BT, d, d_ff),
    "output layer": product_of(BT, d, V),
}
elsewhere = {  # on the units for float32
    # the residual stream is float32, what is added to it bfloat16
    "residual addition": (BT * d, (4 + 2 + 4) * BT * d),
    # AdamW reads p, g, m and v, and writes p, m and v
    "AdamW, fused": (15 * parameter_count(gpt2), 28 * parameter_count(gpt2)),
    "LayerNorm": (7 * BT * d, (4 + 4) * BT * d),
    "GELU": (9 * BT * d_ff, (2 + 2) * BT * d_ff),
}
print("H100, by its data sheet  FLOPs/byte   arithmetic       memory")
points: dict[str, tuple[float, float]] = {}
for group, kind in ((elsewhere, "float32"), (on_tensor_cores, "bfloat16")):
    for part, (flops, moved) in group.items():
        for_flops, for_bytes = 1e6 * flops / PEAK[kind], 1e6 * moved / BANDWIDTH
        bound = "memory-bound" if for_bytes > for_flops else "compute-bound"
        print(f"{part:<24} {flops / moved:10.2f} {for_flops:9.1f} µs", end=" ")
        print(f"{for_bytes:9.1f} µs   {bound}")
        points[part] = (flops / moved, min(PEAK[kind], flops / moved * BANDWIDTH))

plots.roofline(
    {kind: (PEAK[kind], BANDWIDTH) for kind in ("bfloat16", "float32")},
    points,
)

# %% [markdown]
# The points stand on the roof itself: that is the most they could reach, not a measurement. The four on the left run at a three-thousandth to a
# hundredth of the bfloat16 peak, because they do so little with each byte. The large products stand on the level part. Attention stands far to the left, or close to the ridge,
# depending on how it is written.
#
# Why care about LayerNorm and GELU, with so few FLOPs? Because they take time as if they had many: 1.3 µs of arithmetic in a LayerNorm takes 30 µs. Ivanov et al. (2021) found that the movement of data is what limits the training of Transformers on GPUs.
#
# ### Your machine's roof (optional)
#
# Measure yours: the level with a large product, the slope with a large copy. Under it we put small products, many at a time, and the parts of a GPT, smaller than GPT-2's.

# %% tags=["nbval-ignore-output"]
best = {"float32": 2 * n**3 / for_product}  # FLOP/s
if has_bfloat16_units(device):  # without such units a CPU would need minutes
    short_left, short_right = left.bfloat16(), right.bfloat16()
    best["bfloat16"] = 2 * n**3 / seconds(lambda: short_left @ short_right)
copied = 2 * one_list.nbytes / seconds(lambda: sums.copy_(one_list))  # bytes a second
for kind, speed in best.items():
    print(f"{kind:<9} {speed / 1e9:8.0f} GFLOP/s, {copied / 1e9:6.1f} GB/s,", end=" ")
    print(f"ridge at {speed / copied:5.1f}")

times = 1 if device.type == "cpu" else 16  # a GPU wants more to do
q, k, v = (torch.randn(times, 4, 512, 64, device=device) for _ in range(3))
fed = torch.randn(512 * times, 256, device=device)
up, output = (torch.randn(256, width, device=device) for width in (1024, 2048))
tiny, small = (
    torch.randn(times * 2**18 // side**2, side, side, device=device) for side in (4, 32)
)
tasks: dict[str, Callable[[], object]] = {
    "products, n = 4": lambda: torch.bmm(tiny, tiny),
    "products, n = 32": lambda: torch.bmm(small, small),
    "attention, by formula": lambda: by_formula(q, k, v),
    "attention, fused": lambda: fused(q, k, v),
    "feed-forward, up": lambda: fed @ up,
    "output layer": lambda: fed @ output,
}
measured = {"addition": (1 / 12, many / for_addition)}
for what, task in tasks.items():
    with Traffic() as traffic:
        task()
    flops, moved = total(traffic.kernels)
    measured[what] = (flops / moved, flops / seconds(task))
plots.roofline({kind: (speed, copied) for kind, speed in best.items()}, measured)

# %%
faster = measured["output layer"][1] / measured["products, n = 4"][1]
print("a large product is faster than small ones:", faster > 2)
assert faster > 2

# %% [markdown]
# The picture on this page comes from one core of a server's CPU. Its ridge lies far more to the left than the H100's: a CPU starves less. A point above the slope
# is no miracle. Its numbers came from a cache, which is faster than memory. Points far below the roof have other troubles, such as the time to start each small task.

# %% [markdown]
# ## The price of a launch
#
# The third remedy is *fewer kernels*. For each one the CPU must tell the GPU what to do, a **launch**. While the GPU works on large kernels the
# CPU runs ahead and prepares the next. If the kernels are small, the GPU waits for the CPU. What does it cost to carry out the smallest operation?

# %% tags=["nbval-ignore-output"]
a_number = torch.zeros(1, device=device)


def a_thousand_times() -> None:
    for _ in range(1000):
        torch.add(a_number, a_number)


launch = seconds(a_thousand_times) / 1000
meanwhile = 2 * n**3 / for_product * launch
print(f"adding two numbers takes {1e6 * launch:.1f} millionths of a second;")
print(f"in large products this machine would do {meanwhile:,.0f} FLOPs meanwhile")

# %% [markdown]
# Instead of two numbers it could have dealt with thousands. An optimiser written as a loop is the worst case. Lesson 9's AdamW is a handful of operations for each tensor of parameters. GPT-2 has 148
# tensors, most of them small. `fused=True` does the whole update of all tensors in one call, which a GPU's library cuts into a handful of launches.

# %%
assert meanwhile > 1000  # FLOPs, for one addition
as_deep = GPTConfig(  # as many tensors as GPT-2
    vocab_size=128, context_length=16, n_layers=12, n_heads=2, d_model=16
)
counts, weights_after = {}, {}
for how in ("loop", "fused"):
    torch.manual_seed(0)
    thin = GPT(as_deep)
    optimizer = torch.optim.AdamW(
        thin.parameters(), lr=1e-3, foreach=False, fused=how == "fused"
    )
    for parameter in thin.parameters():
        parameter.grad = torch.sin(parameter.detach() * 1000)  # any numbers
    optimizer.step()
    with Traffic() as traffic:
        optimizer.step()
    counts[how] = len(traffic.kernels)
    weights_after[how] = nn.utils.parameters_to_vector(thin.parameters()).detach()
n_tensors = len(list(thin.parameters()))
print(f"{n_tensors} tensors. Loop: {counts['loop']:,} kernels,", end=" ")
print(f"{counts['loop'] // n_tensors} a tensor. Fused, in one call: {counts['fused']}.")
assert n_tensors == 148
torch.testing.assert_close(
    weights_after["loop"], weights_after["fused"], rtol=0, atol=1e-6
)

# %% [markdown]
# The weights come out the same. `torch.compile` goes further: it reads the Python code of a model once, and writes new kernels in which everything that works number by number
# (additions, GELU, LayerNorm, changes of format) rides along with its neighbours.

# %% [markdown]
# ## One number for a whole step
#
# How good is a training run, then? Chowdhery et al. (2022, appendix B) proposed the **model FLOPs utilisation**, MFU: the FLOPs that the *model* needs for the tokens
# it was fed, as a share of the FLOPs that the hardware could have done.
#
# $$\text{MFU} = \frac{\text{tokens per second} \cdot \text{FLOPs per token}}{\text{devices} \cdot \text{peak FLOP/s}}$$
#
# FLOPs per token are those of lesson 8: 6 for each weight in a product, and $12 L \, d_{model} T$ for attention, where $d_{model}$ is heads times their size. Their PaLM had 540.35
# billion parameters, 118 layers with 48 heads of size 256, and sequences of 2,048 tokens. It ran at 238,300 tokens a second on 6,144 TPU v4 chips, each with a peak of
# 275 TFLOP/s. Estimate the result before you read it.

# %%
palm_per_token = 6 * 540.35e9 + 12 * 118 * (48 * 256) * 2048
palm = 238_300 * palm_per_token / (6144 * 275e12)
print(f"PaLM: {palm_per_token / 1e12:.3f} TFLOP for each token, MFU {palm:.1%}")

# %% [markdown]
# The paper reports 46.2%. It also reports 57.8% *hardware* FLOPs utilisation, for the same run. The hardware did more than the model needs: to save memory, some activations were
# computed a second time in the backward pass. MFU gives no credit for that. A user wants tokens, not FLOPs.
#
# ### Exercise 2 · MFU (★☆☆, 5 min)
#
# `flops_per_token(config, T)` gives the FLOPs of our models. What is the MFU of a run that trains `config` on sequences of T tokens, on `devices` devices of this peak?
# Mind what is fed: `steps` steps with `batch_size` sequences each (the global batch of all devices), in `seconds`.


# %% tags=["exercise"]
def mfu(
    config: GPTConfig,
    T: int,
    batch_size: int,
    steps: int,
    seconds: float,
    devices: int,
    peak: float,
) -> float:
    """A share: 0.5 is half of the peak."""
    ### BEGIN SOLUTION
    tokens = steps * batch_size * T
    return tokens * flops_per_token(config, T) / (seconds * devices * peak)
    ### END SOLUTION


# %%
check.mfu(mfu)

# %% [markdown]
# ### How an MFU can shine (optional)
#
# <div class="alert alert-warning">
# <b>You may have read</b> that an H100 does 1,979 TFLOP/s in bfloat16. So says the large figure on the data sheet, with a footnote: «with sparsity». It holds for matrices in which,
# of every four neighbouring weights, two are zero (Mishra et al. 2021); the units then skip half of the work. Weights in training are dense. Whoever divides by 1,979 halves every
# MFU, and whoever compares two MFUs should ask for both divisors.
# </div>

# %%
storyteller = load_model("storyteller")[0]
linears = [part for part in storyteller.modules() if isinstance(part, nn.Linear)]
fours = torch.cat([linear.weight.detach().view(-1, 4) for linear in linears])
two_zeros = (fours == 0).sum(dim=1) >= 2  # (groups,)
print("groups of four weights with two zeros in our model:", int(two_zeros.sum()))
dense = PEAK["bfloat16"] / SHEET["bfloat16"]
print(f"MFU of a run that never waits, over the sparse peak: {dense:.0%}")
assert not two_zeros.any()

# %% [markdown]
# There are other ways to shine. Count parameters that multiply nothing, such as GPT-2's table of positions. Count padded tokens. Pick another formula: by «6 times all parameters» or with
# half of attention, because of the mask, the same run gets another number. And the formula above can pass 100% without any trick, as we will see: it counts masked scores, which a fused
# kernel skips. An MFU without its formula and its peak says little. And it speaks of speed alone: a fast step in a format that
# ruins the training has a fine MFU.
#
# <div class="alert alert-warning">
# <b>You may have read</b> that a GPU is well used when <code>nvidia-smi</code> shows a utilisation of 100%. NVIDIA defines that number as the share of <i>time</i> in which at least one kernel was
# running. It does not ask what the kernel did. Your processor has the same gauge: the addition and the product both keep it busy all the time.
# </div>

# %% tags=["nbval-ignore-output"]
jobs: dict[str, tuple[Callable[[], object], int]] = {
    "addition": (lambda: torch.add(one_list, other_list, out=sums), many),
    "product": (lambda: left @ right, 2 * n**3),
}
for what, (job, flops) in jobs.items():
    busy, share = 0.0, 0.0
    for _ in range(300):
        wall, own = time.perf_counter(), time.process_time()
        job()
        synchronize(device)
        wall, own = time.perf_counter() - wall, time.process_time() - own
        busy = max(busy, min(1.0, own / wall))
        share = max(share, min(1.0, flops / wall / (2 * n**3 / for_product)))
    print(f"{what:<9} busy {busy:.0%} of the time, at {share:.1%} of the best speed")

# %%
assert times_as_long > 4  # «busy», and at less than a quarter of the speed

# %% [markdown]
# ## Shorter numbers
#
# A number of two bytes travels twice as fast as one of four, takes half the memory, and the matrix units multiply it far faster. What does it cost? A floating-point number has a **sign**,
# an **exponent** that says between which powers of 2 it lies, and a **fraction** that says where between them.

# %%
FORMATS = {  # how torch calls it, and bits of exponent
    "float32": (torch.float32, 8),
    "float16": (torch.float16, 5),
    "bfloat16": (torch.bfloat16, 8),
}


def bits(number: float, kind: str) -> str:
    """The number in this format: sign, exponent, fraction."""
    dtype, exponent = FORMATS[kind]
    stored = torch.tensor(number, dtype=dtype)
    width = 8 * stored.element_size()
    as_integer = stored.view(torch.int32 if width == 32 else torch.int16).item()
    row = f"{as_integer % 2**width:0{width}b}"
    return f"{row[0]} {row[1 : 1 + exponent]} {row[1 + exponent :]}"


for number in (1.0, 1.5, 1 + 1e-3):
    for kind in FORMATS:
        print(f"{number:<6} {kind:<9} {bits(number, kind)}")
    print()

# %% [markdown]
# **float16** splits its 15 bits into 5 for the exponent and 10 for the fraction. **bfloat16** is the first half of a float32: the same 8 bits of exponent, and only 7 of fraction
# (Kalamkar et al. 2019 studied training with it). So they fail in different places.

# %%
print("           next after 1   largest      smallest above 0")
for kind, (dtype, _) in FORMATS.items():
    info = torch.finfo(dtype)
    smallest = info.smallest_normal * info.eps
    print(f"{kind:<9}  1 + {info.eps:.2e}   {info.max:.2e}     {smallest:.1e}")

# %% [markdown]
# What becomes of $1 + 10^{-3}$ and of $10^{-8}$? Work it out before you run the cell. In bfloat16 the numbers next to 1 are 1 and 1 + 2⁻⁷ = 1.0078; 1.001 is nearer to 1. In float16 the step is
# 2⁻¹⁰ = 0.00098, so 1.001 becomes 1.00098. And $10^{-8}$? Float16's smallest number is 2⁻²⁴, about $6 \cdot 10^{-8}$. Less than half of that becomes 0.

# %%
for number in (1 + 1e-3, 1e-8, 70_000.0):
    shown = {
        kind: float(f"{torch.tensor(number, dtype=dtype).item():.6g}")
        for kind, (dtype, _) in FORMATS.items()
    }
    print(f"{number:<8g}", shown)
assert torch.tensor(1 + 1e-3).bfloat16() == 1
assert torch.tensor(1e-8).half() == 0 and torch.tensor(70_000.0).half() == math.inf

# %% [markdown]
# bfloat16 keeps the size of a number, to two or three digits. float16 keeps one digit more, but only of numbers that are neither small nor large.
#
# ### Exercise 3 · round to bfloat16 (★★☆, 15 min)
#
# Round any finite number to the nearest bfloat16, without torch. With the leading 1, which is not stored, it has **8 significant bits**. If a number lies exactly in the middle, take the neighbour whose last
# bit is 0: that is what Python's `round` does too (`round(2.5)` is 2). Useful: `math.frexp(x)` gives a mantissa between 0.5 and 1 and the exponent of 2 that belongs to it; `math.ldexp(mantissa, exponent)`
# puts them together again. You need not care for numbers near the limits of the format.


# %% tags=["exercise"]
def to_bfloat16(x: float) -> float:
    """The bfloat16 nearest to x; from the middle, the even one."""
    ### BEGIN SOLUTION
    mantissa, exponent = math.frexp(x)  # x = mantissa · 2^exponent
    return math.ldexp(round(mantissa * 2**8), exponent - 8)
    ### END SOLUTION


# %%
check.to_bfloat16(to_bfloat16)

# %% [markdown]
# Where does training break with short numbers? In three places, and each has its cure. Micikevicius et al. (2018) found all three for float16.
#
# **1. Small updates vanish** (their section 3.1). A weight near 1 gets a thousand updates of 0.001 each. How far does it get?

# %%
for kind, (dtype, _) in FORMATS.items():
    weight = torch.tensor(1.0, dtype=dtype)
    for _ in range(1000):
        weight += torch.tensor(1e-3, dtype=dtype)
    print(f"{kind:<9} {weight.item():.2f}")
    assert kind != "bfloat16" or weight == 1

# %% [markdown]
# In bfloat16 the weight does not move at all: 1.001 is 1. The cure: **master weights** in float32. The optimiser works on those, and the products use a rounded copy.
#
# **2. Long sums stall** (section 3.3). A product of matrices is a sum of many terms. Add 1 to a bfloat16 again and again:

# %%
so_far = torch.tensor(0.0, dtype=torch.bfloat16)
for _ in range(4096):
    so_far += 1
ones = torch.ones(4096, dtype=torch.bfloat16)
print("added in bfloat16:", so_far.item())
print("as a product of bfloat16 vectors:", (ones @ ones).item())
assert so_far == 256 and ones @ ones == 4096

# %% [markdown]
# It gets stuck at 256, because 257 needs nine bits. Yet the product is right: the units multiply short numbers and *add in float32*. What adds up many numbers and is no
# product, such as LayerNorm and the loss, stays in float32 altogether.
#
# Master weights in float32, products in 16 bits, sums in float32: that is **mixed precision**. In PyTorch a context called autocast sees to it. This is the package's own wrapper:


# %% tags=["package:minigpt.runtime.autocast"]
def autocast(
    device: torch.device, precision: Precision
) -> contextlib.AbstractContextManager[None]:
    """Mixed precision (Micikevicius et al. 2018): products run in `precision`."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


# %%
cpu = torch.device("cpu")
layer = nn.Linear(64, 8)
activations = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
with autocast(cpu, "bfloat16"):
    automatic = layer(activations)
rounded = [
    tensor.bfloat16().float() for tensor in (activations, layer.weight, layer.bias)
]
# added up in float32, then rounded again
by_hand = (rounded[0] @ rounded[1].T + rounded[2]).bfloat16()
automatic.float().sum().backward()
assert layer.weight.grad is not None
of_weight = layer.weight.grad
print(f"weight {layer.weight.dtype}, its gradient {of_weight.dtype},", end=" ")
print(f"result {automatic.dtype}")
# the last bits may differ: processors round in their own order
torch.testing.assert_close(automatic, by_hand, rtol=2**-5, atol=4e-3)
assert layer.weight.dtype == of_weight.dtype == torch.float32
assert automatic.dtype == torch.bfloat16

# %% [markdown]
# **3. Small gradients vanish** (section 3.2). The loss is a mean over all tokens of the batch, so each token's share of the gradient is tiny. Here 64 tokens of a batch of 524,288 (512 texts of
# 1,024: so GPT-2 was trained, Radford et al. 2019, section 2.3) go through a small GPT, forward and backward. We look at the gradient where it starts, at the logits, and where it ends, at the parameters, compared with that of float32.

# %%
tokens_in_batch = 512 * 1024
torch.manual_seed(0)
small_gpt = GPT(
    GPTConfig(vocab_size=256, context_length=32, n_layers=2, n_heads=2, d_model=32)
)
two_texts = torch.randint(256, (2, 33), generator=torch.Generator().manual_seed(0))
inputs, targets = two_texts[:, :-1], two_texts[:, 1:]


def gradients(precision: Precision, scale: float) -> tuple[Tensor, Tensor]:
    """Of the logits; and of all parameters, with the scale of the loss undone."""
    small_gpt.zero_grad()
    with autocast(cpu, precision):
        logits = small_gpt(inputs)
    logits.retain_grad()
    (scale * next_token_loss(logits, targets, tokens_in_batch)).backward()
    assert logits.grad is not None
    grads = [p.grad.flatten() for p in small_gpt.parameters() if p.grad is not None]
    return logits.grad, torch.cat(grads).double() / scale


exact = gradients("float32", 1)[1]
error: dict[tuple[Precision, float], float] = {}
trials: list[tuple[Precision, float]] = [
    ("float16", 1.0), ("float16", 2.0**16), ("bfloat16", 1.0)
]  # fmt: skip
print("                        zeros at the logits   error of the gradient below")
for precision, scale in trials:
    of_logits, of_parameters = gradients(precision, scale)
    wrong = float((of_parameters - exact).norm() / exact.norm())
    zeros = (of_logits == 0).double().mean().item()
    # measured 0.0005, 0.003 and 0.5; on other processors up to three times as much
    below = min(limit for limit in (0.002, 0.02, 1, math.inf) if wrong < limit)
    print(f"{precision:<9} scale {scale:<6g} {zeros:20.1%} {below:29g}")
    assert (zeros > 0.99) == ((precision, scale) == ("float16", 1.0))
    error[precision, scale] = wrong
assert 0.3 < error["float16", 1.0] < 0.8

# %% [markdown]
# In float16 all gradients at the logits vanish except one in 256: that of the token that came. The rest of the backward pass builds on these zeros, and in the
# end the error is about half as long as the gradient itself.
#
# The cure costs nothing: multiply the **loss** by 2¹⁶ before the backward pass. By the chain rule every gradient grows by the same factor, out of the reach of the zeros. Divide by it before the optimiser looks. In
# bfloat16 the exponents are those of float32, and nothing needs to be scaled.
#
# <div class="alert alert-warning">
# <b>You may have read</b> that bfloat16 is less precise than float16 and therefore worse. The first half is true: its error above is several times that of a well-scaled float16. But an error of a few thousandths, in a
# gradient that depends on the luck of the batch anyway, does little harm, and a vanished gradient does much. What training needs is range. Kalamkar et al. (2019) trained networks of many kinds in bfloat16 to the same results as in float32,
# without changing a hyperparameter.
# </div>

# %%
coarser = error["bfloat16", 1.0] / error["float16", 2.0**16]
better = error["float16", 1.0] / error["bfloat16", 1.0]
print("bfloat16 is coarser than scaled float16:", coarser > 2)
print("but far better than float16 without scale:", better > 10)
assert coarser > 2 and better > 10

# %% [markdown]
# ### Exercise 4 · the loss scale (★★☆, 10 min)
#
# How large should the scale be? As large as possible, but so that nothing overflows: an infinite gradient would ruin every weight. So the trainer looks for it while it trains. It starts high. If a step's gradient
# is not finite, the step is **skipped** and the scale **halved**. After every 2,000 good steps without a skip it is **doubled**. Write the rule. `good_steps` counts the good steps since the last skip, before this one.


# %% tags=["exercise"]
def next_scale(scale: float, good_steps: int, finite: bool) -> tuple[float, int]:
    """The scale and the count after a step whose gradient was finite, or not."""
    ### BEGIN SOLUTION
    if not finite:
        return scale / 2, 0
    good_steps += 1
    return (scale * 2 if good_steps % 2000 == 0 else scale), good_steps
    ### END SOLUTION


# %%
check.next_scale(next_scale)

# %% [markdown]
# ### In the trainer (optional)
#
# The package's trainer follows it. Start it with too large a scale, and it works its way down, which the cell asserts step by step:

# %%
tokenizer = storyteller_tokenizer()
shape = GPTConfig(
    tokenizer.vocab_size, context_length=192, n_layers=1, n_heads=2, d_model=16
)
recipe = TrainConfig(max_steps=10, batch_size=1, precision="float16", threads=1)
trainer = Trainer(shape, recipe, StoryData(tokenizer, context_length=192, held_out=1))
trainer.stepper.loss_scale = 2.0**24
scales, updates = [], []
for _ in range(10):
    scales.append(trainer.stepper.loss_scale)
    updates.append(trainer.train_step().updated)
for before, updated, after in zip(scales, updates, scales[1:], strict=False):
    assert after == (before if updated else before / 2)
print("the first step changed the model:", updates[0])
print("a later step did, with a smaller scale:", any(updates))
assert any(updates) and not updates[0]

# %% [markdown]
# A few steps are lost, and no weight is spoiled. (PyTorch has the same rule in `torch.amp.GradScaler`.) On a GPU with units for bfloat16 the trainer takes bfloat16, and all this sleeps.

# %% [markdown]
# ## What has to fit
#
# The memory of a GPU is on it for good, and when a step needs one byte more, it ends with an error. So predict before you rent. Lesson 8 found, for float32:
#
# - weights 4 bytes a parameter, gradients 4, AdamW's two means 8: **16 bytes a parameter**;
# - what is kept for the backward pass, for each token: $16 d + 4 + h$ numbers in each block, $2d + 2$ after the last, and $V$ for the loss.
#
# When is the peak? Not at the end. At the end of the backward pass all gradients are there, but the activations are gone. At its beginning all activations are there, and no gradient yet. Just then the
# loss begins to send back gradients: beside the table of $B \times T \times V$ numbers that was kept, one comes into softmax's backward and one goes out.
#
# In mixed precision the inputs of the products are kept with 2 bytes: $14 d$ of the $16 d$ in each block (the other $2d$ are the inputs of the LayerNorms, float32), and a rounded copy of each matrix as well.
#
# What can you do when it does not fit? Take fewer sequences at a time, a **micro-batch**, and add up the gradients of several (`--accumulate`; lesson 10's trainer gets the same gradient). From the second micro-batch on, the
# gradient of the first lies there as well: 4 bytes a parameter more.


# %%
def predicted(
    config: GPTConfig, B: int, T: int, precision: Precision, micro_batches: int = 1
) -> dict[str, int]:
    """Bytes at the start of the backward pass; fused attention, d_ff = 4 d_model."""
    d, h, L, V = config.d_model, config.n_heads, config.n_layers, config.vocab_size
    P, short = parameter_count(config), 4 if precision == "float32" else 2
    per_block = 14 * d * short + (2 * d + 4 + h) * 4
    return {
        "weights": 4 * P,
        "AdamW's means": 8 * P,
        "gradients": 4 * P if micro_batches > 1 else 0,
        "rounded copies": 0 if short == 4 else 2 * (12 * L * d * d + V * d),
        "activations": B * T * (L * per_block + d * short + (d + 2) * 4),
        # kept, coming in, going out: in float32, whatever the products run in
        "loss": 3 * 4 * B * T * V,
    }


TWO: tuple[Precision, ...] = ("float32", "bfloat16")
for precision in TWO:
    ledger = predicted(gpt2, B, T, precision)
    print(f"{B} × {T:,} tokens, {precision}: {sum(ledger.values()) / 1e9:.1f} GB")
    for what, size in ledger.items():
        print(f"    {what:<14} {size / 1e9:5.2f}")

# %% [markdown]
# ### Is it true?
#
# We need an allocator to compare with. A GPU has one; for the CPU the course has one that watches. It adds up the memory of each tensor when it first appears, and takes it off when the memory is freed
# (`Memory`, beside `Traffic`).


# %%
class Step(NamedTuple):
    """The books of one step of training."""

    kernels: list[Kernel]
    history: list[int]


class Settings(NamedTuple):
    """What the rungs of the ladder differ in."""

    precision: Precision
    attend: Callable[..., Tensor]
    fused_adamw: bool


def watch_a_step(
    config: GPTConfig,
    B: int,
    T: int,
    settings: Settings,
    micro_batches: int = 1,
    pretend: bool = True,
) -> Step:
    """Forward, backward and AdamW; if we pretend, nothing is computed."""
    with FakeTensorMode() if pretend else contextlib.nullcontext(), Memory() as memory:
        model = GPT(config)
        for block in model.blocks:
            setattr(block.attention, "fused_attention", settings.attend)  # noqa: B010
        optimizer = torch.optim.AdamW(
            model.parameters(), foreach=False, fused=settings.fused_adamw
        )
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()  # the first step makes AdamW's means
        optimizer.zero_grad()
        ids = torch.zeros(B, T, dtype=torch.long)
        memory.history.clear()
        with Traffic() as traffic:
            for _ in range(micro_batches):
                with autocast(cpu, settings.precision):
                    logits = model(ids)
                loss = next_token_loss(logits, ids, micro_batches * ids.numel())
                # or this table would live on while the loss makes three more
                del logits
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return Step(traffic.kernels, memory.history)


# %% [markdown]
# So GPT-2, whole, pretended on your laptop: three steps, as they stand on three rungs of our ladder.

# %%
rungs = {
    "naive float32": Settings("float32", by_formula, False),
    "bfloat16 autocast": Settings("bfloat16", by_formula, False),
    "fused attention": Settings("bfloat16", fused, False),
}
steps = {rung: watch_a_step(gpt2, B, T, how) for rung, how in rungs.items()}
for rung, step in steps.items():
    most, last = max(step.history) / 1e9, step.history[-1] / 1e9
    print(f"{rung:<18} peak {most:5.1f} GB, at the end {last:.2f} GB")
guess = sum(predicted(gpt2, B, T, "bfloat16").values())
assert abs(guess / max(steps["fused attention"].history) - 1) < 1e-3

# %% [markdown]
# The prediction for the last of them is right to a thousandth, the cell asserts. Most of that peak is the loss: three tables of 16,384 × 50,257 numbers. When a step does not fit, do not shrink the micro-batch more than you must: the products get small, and slide down the slope. Another way is to compute some activations twice, as PaLM did.
#
# ### How memory rises and falls (optional)
#
# How much is held at each moment of the three steps?


# %%
def thinned(history: list[int]) -> tuple[Sequence[float], Sequence[float]]:
    """How far the step has come, and the most GB held, in each of 120 windows."""
    edges = [len(history) * i // 120 for i in range(121)]
    most = [max(history[start:end]) / 1e9 for start, end in itertools.pairwise(edges)]
    return [(i + 0.5) / 120 for i in range(120)], [round(held, 2) for held in most]


plots.curves(
    {rung: thinned(step.history) for rung, step in steps.items()},
    "part of the step's operations",
    "GB held",
    markers=False,
)

# %% [markdown]
# The line climbs through the forward pass, peaks where the loss turns round, and falls while the backward pass uses up what was kept. The long
# flat end of all three is the optimiser's loop: more than a thousand small operations that hold nothing new.
#
# ### Real and pretended (optional)
#
# Does a pretended step hold what a real one holds? A small GPT can do both, also with two micro-batches.

# %%
trial = GPTConfig(
    vocab_size=2048, context_length=128, n_layers=3, n_heads=4, d_model=64
)
for precision in TWO:
    settings = Settings(precision, fused, True)
    for count in (1, 2):
        real = watch_a_step(trial, 4, 128, settings, count, pretend=False)
        pretended = watch_a_step(trial, 4, 128, settings, count)
        guess = sum(predicted(trial, 4, 128, precision, count).values())
        peak = max(real.history)
        print(f"{precision:<9} micro-batches {count}:", end=" ")
        print(f"predicted {guess:,} bytes, peak {peak:,}")
        assert peak == max(pretended.history) and real.kernels == pretended.kernels
        assert abs(guess / peak - 1) < 1e-3

# %% [markdown]
# A GPU's allocator rounds sizes up, and the libraries take some work space; a compiled step may hold less than an uncompiled one. If you have a GPU, its own allocator is asked here how far our bookkeeping goes:

# %% tags=["nbval-ignore-output"]
if device.type == "cuda":
    held_before = torch.cuda.memory_allocated()  # by earlier cells
    on_gpu = GPT(gpt2).to(device)
    optimizer = torch.optim.AdamW(on_gpu.parameters(), fused=True)
    ids = torch.zeros(4, T, dtype=torch.long, device=device)
    for _ in range(2):  # the first step makes AdamW's means
        torch.cuda.reset_peak_memory_stats()
        with autocast(device, "bfloat16"):
            logits = on_gpu(ids)
        loss = next_token_loss(logits, ids, ids.numel())
        del logits
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    guess = sum(predicted(gpt2, 4, T, "bfloat16").values())
    allocated = torch.cuda.max_memory_allocated() - held_before
    print(f"predicted {guess / 1e9:.2f} GB, allocated {allocated / 1e9:.2f} GB")
    del on_gpu, optimizer, loss
else:
    print("no GPU here")

# %% [markdown]
# ## The ladder
#
# Everything is ready. Seven changes, one after the other:
#
# | | rung | what it changes in the machine |
# | --- | --- | --- |
# | 0 | naive float32 | attention by formula, AdamW as a loop, every operation a kernel; products on the ordinary units |
# | 1 | TF32 | products of float32 numbers go to the matrix units, which round the inputs to 10 bits of fraction; bytes stay |
# | 2 | bfloat16 autocast | matrix units at twice that speed; the inputs of products have half the bytes |
# | 3 | fused attention | the $T \times T$ tables never leave the chip, and what the mask hides is not computed: fewer bytes, fewer FLOPs, fewer kernels, less memory |
# | 4 | fused AdamW | over a thousand launches become a handful |
# | 5 | padded vocabulary | 50,257 → 50,304: no more work that counts, but a shape that the fast kernels like |
# | 6 | `torch.compile` | element-by-element operations ride along with their neighbours: fewer kernels, fewer bytes |
# | 7 | twice the micro-batch | larger products; the price of launches and of the optimiser is shared by more tokens |
#
# Rung 5 looks like a joke. Why would *more* columns be faster? The matrix units work on tiles. And a thread of the chip fetches at most 16 bytes with one instruction, which must begin at a multiple of 16 bytes.

# %%
for columns in (50_257, 50_304):
    in_line = sum(row * 2 * columns % 16 == 0 for row in range(8))
    print(f"{columns:,} columns = 64 · {columns / 64:g}:", end=" ")
    print(f"of 8 rows {in_line} begin at a multiple of 16 bytes")

# %% [markdown]
# With 50,257 columns seven rows of eight begin askew, and a library has to fall back on slower kernels or on padding of its own. The 47 extra tokens never occur; the model learns to give them nothing.
# (The padding stands before `torch.compile`, because that tries to pad such a product by itself and keeps what is faster: after it, the rung might show nothing.)
#
# ### What the books say
#
# For the rungs that consist of plain operations we can go through the books kernel by kernel. By the data sheet, a kernel takes at least the time of its FLOPs or of its bytes, whichever is longer. Add them up: that is what the *roofline predicts*. It knows
# nothing of launches, caches and real kernels (and on a GPU, autocast computes softmax in float32, which moves more on rung 2). It is a prediction, not a measurement, and it is there to be compared with one.


# %%
def roofline_seconds(kernels: list[Kernel], peak: float, bandwidth: float) -> float:
    return sum(max(kernel.flops / peak, kernel.bytes / bandwidth) for kernel in kernels)


def predictions(peaks: dict[str, float], bandwidth: float) -> dict[str, float]:
    """Tokens per second on each rung that the books can tell."""
    kinds = {"naive float32": "float32", "TF32": "TF32"}  # all others: bfloat16
    return {
        rung: B * T / roofline_seconds(
            step.kernels, peaks[kinds.get(rung, "bfloat16")], bandwidth
        )
        for rung, step in ladder.items()
    }  # fmt: skip


ladder = {  # the rungs in order
    "naive float32": steps["naive float32"],
    "TF32": steps["naive float32"],  # the same books; only its products are faster
    "bfloat16 autocast": steps["bfloat16 autocast"],
    "fused attention": steps["fused attention"],
    "fused AdamW": watch_a_step(gpt2, B, T, Settings("bfloat16", fused, True)),
}
by_sheet = predictions(PEAK, BANDWIDTH)
per_token = flops_per_token(gpt2, T)
print("                    kernels  GB moved  peak GB  roofline: ms  tokens/s     MFU")
for rung, step in ladder.items():
    travels, held = total(step.kernels)[1] / 1e9, max(step.history) / 1e9
    milliseconds = 1000 * B * T / by_sheet[rung]
    utilisation = by_sheet[rung] * per_token / PEAK["bfloat16"]  # one yardstick for all
    print(f"{rung:<18} {len(step.kernels):8,} {travels:9.1f} {held:8.1f}", end=" ")
    print(f"{milliseconds:13.1f} {by_sheet[rung]:9,.0f} {utilisation:7.1%}")
assert list(by_sheet.values()) == sorted(by_sheet.values())

products = total(ladder["fused AdamW"].kernels)[0] / PEAK["bfloat16"]
utilisation = B * T * per_token / PEAK["bfloat16"] / products
print(f"products alone: {1000 * products:.1f} ms, MFU {utilisation:.0%}")
assert utilisation > 1

# %% [markdown]
# Read it from above. The first two rungs move the same bytes, and yet the predicted times differ: TF32's products run several times faster. bfloat16 and fused attention cut the bytes. The fused optimiser changes little but the number of launches, which this
# prediction does not see. And of what is left, most is still traffic. There `torch.compile` comes in; no bookkeeping from outside can tell what it will do, so it has to be measured.
#
# The last line is the end of the ladder: faster than the products alone no step can be. And its MFU is above 100%! Nothing is wrong with the machine. The formula counts the masked half of attention, which a fused kernel skips; that outweighs the scores that it
# computes a second time in the backward pass.
#
# ### On a data-centre GPU (optional)
#
# What counts is GPT-2 at 1,024 tokens on a real data-centre GPU. One command measures it, `python -m benchmarks.gpu` (with `--preset storyteller` it runs on a CPU as well). First the CPU and the device must agree, on a gradient and on the losses of a few steps. Then it
# goes up rung by rung, and each must agree with the first before it is timed: a step that forgets the causal mask is fast as well. It also measures the two ceilings, with a large product and a large copy, so that the prediction can be made for the device itself and not
# only for a data sheet. The figures stand in `benchmarks/results/gpu.json`, with the device, the versions and the command that made them, or they do not exist. Where nobody has measured, the prediction stands alone.

# %%
results = Path(minigpt.__file__).parents[1] / "benchmarks" / "results" / "gpu.json"
speeds = {"H100's data sheet, micro-batch 16": list(by_sheet.values())}
if results.exists():
    found = json.loads(results.read_text(encoding="utf-8"))
    print(
        f"{found['device']}, driver {found['driver']}, torch {found['torch']},", end=" "
    )
    print(f"{found['date']}: {found['command']}")
    print("                             micro-batch   tokens/s     MFU   peak GB")
    for line in found["rungs"] + found["others"]:
        rate, held = line["tokens_per_second"], line["peak_memory"] / 1e9
        share_of_peak = f"{line['mfu']:.1%}" if line["mfu"] else ""
        print(f"{line['name']:<28} {line['micro_batch']:11} {rate:10,.0f}", end=" ")
        print(f"{share_of_peak:>7} {held:9.1f}")
    roofs = found["roofs"]
    peaks = {kind: roofs[f"{kind.lower()}_flops"] for kind in PEAK}
    by_device = predictions(peaks, roofs["bytes_per_second"])
    speeds["this device's own ceilings"] = list(by_device.values())
    speeds["measured"] = [line["tokens_per_second"] for line in found["rungs"]]
else:
    print("Nobody has run the ladder on a GPU yet: the prediction alone.")
figure = plots.curves(
    {
        who: (range(len(y)), [round(rate / 1000) for rate in y])
        for who, y in speeds.items()
    },
    "rung, in the order of the table",
    "thousand tokens per second",
)
figure.axes[0].set_xticks(range(max(map(len, speeds.values()))))
figure

# %% [markdown]
# When you measure, compare twice. What lies between the two predictions is the data sheet: real products and copies reach only a part of what it promises. Where the measurement stays below the device's own ceilings, the GPU waits for something that the books do not see: launches,
# or kernels that are worse than one large product. And the last three rungs have no prediction: only a clock can tell what they give.

# %% [markdown]
# ## Doing it
#
# On a machine with a GPU the package takes the upper rungs by itself: bfloat16 where the device has units for it, fused attention, fused AdamW, and `torch.compile` with the loss inside the compiled function, because the loss makes the largest tables of all. It drops the logits before
# the backward pass, as our prediction does, and makes the next batch while the GPU works on this one. `minigpt doctor` says what it found, and each line of `metrics.jsonl` has tokens per second, MFU (over targets: padding is no achievement) and the peak of the memory.
#
# ```
# minigpt data prepare texts/*.jsonl --out tokens
# minigpt train --preset gpt2 --data tokens --out run
# ```
#
# Three things you still choose yourself. The padded vocabulary: `--pad-vocab 64` rounds it up; the extra ids have no text, and generation gives them no probability. The micro-batch (`--batch-size` over `--accumulate`): as large as the memory allows; you can predict that now. And the
# precision, if you have an older GPU: there it will be float16, with the loss scale you wrote.

# %% [markdown]
# ## What to remember
#
# 1. A task with *I* FLOPs per byte runs at min(peak, *I* · bandwidth) at most. Large products are limited by arithmetic; everything else in a GPT by bytes.
# 2. The remedies: fewer bytes (fusion), shorter numbers (bfloat16), fewer kernels (fused optimiser, compile), larger products (micro-batch, friendly shapes).
# 3. bfloat16 has float32's range and 8 significant bits. float16 has 11, and loses small gradients: scale the loss. Weights and sums stay in float32.
# 4. MFU is tokens per second times the model's FLOPs per token over the dense peak. Ask for the formula and the peak; a busy GPU is not a well used one.
# 5. Memory peaks where the loss turns round: weights and AdamW's means (12 bytes a parameter), the activations, and three tables of B · T · V for the loss.

# %% [markdown]
# ## Primary sources
#
# - Williams, Waterman, Patterson 2009, Roofline: An Insightful Visual Performance Model for Multicore Architectures (https://doi.org/10.1145/1498765.1498785)
# - Micikevicius et al. 2018, Mixed Precision Training, section 3 (https://arxiv.org/abs/1710.03740)
# - Kalamkar et al. 2019, A Study of BFLOAT16 for Deep Learning Training (https://arxiv.org/abs/1905.12322)
# - Ivanov et al. 2021, Data Movement Is All You Need: A Case Study on Optimizing Transformers (https://arxiv.org/abs/2007.00072)
# - Mishra et al. 2021, Accelerating Sparse Deep Neural Networks (https://arxiv.org/abs/2104.08378)
# - Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.3 (https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)
# - Dao et al. 2022, FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness (https://arxiv.org/abs/2205.14135)
# - Dao 2023, FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning, section 3.1 (https://arxiv.org/abs/2307.08691)
# - Chowdhery et al. 2022, PaLM: Scaling Language Modeling with Pathways, section 4 and appendix B (https://arxiv.org/abs/2204.02311)
# - NVIDIA, H100 Tensor Core GPU, specifications and their footnote on sparsity (https://www.nvidia.com/en-us/data-center/h100/)
# - NVIDIA, NVML API Reference Guide, nvmlUtilization_t: what «GPU utilization» is (https://docs.nvidia.com/deploy/nvml-api/structnvmlUtilization__t.html)
# - NVIDIA, Matrix Multiplication Background User's Guide, on shapes (https://docs.nvidia.com/deeplearning/performance/dl-performance-matrix-multiplication/index.html)
# - Google Cloud, TPU v4: the peak of a chip (https://docs.cloud.google.com/tpu/docs/v4)
#
# **Next** · [Lesson 12 · Many GPUs](12_many_gpus.ipynb)
