# %% [markdown]
# # Lesson 20 · A modern GPT
#
# GPT-2 is from 2019. Between it and a chat model of today lie four small changes. You make each of them by hand, measure what it is worth on our stories, and then open the file of a real
# model with 135 million parameters, and run it in the code that you know.
#
# **You will be able to**
# - compute RMSNorm, rotary positions, SwiGLU and grouped-query attention by hand, and write each in a few lines,
# - ask of a change whether it is a gain, at equal parameters and at equal time,
# - say how many bytes a key-value cache takes, with grouping and without,
# - take a model out of a GGUF file, tensor by tensor, and prove that it is the right one,
# - tell which mistakes of loading show in a loss, and which do not.
#
# **Time** 95 min
#
# **Builds on** lessons [5](05_multi_head_attention.ipynb) (heads), [6](06_feed_forward.ipynb), [7](07_transformer_block.ipynb) (norms), [13](13_generation.ipynb) (the cache)
# and [14](14_gpt2_weights.ipynb) (loading)
#
# ![The GPT in one row, its block in colour; below it four panels. 1, RMSNorm: a column of numbers is divided by its root mean square. 2, rotary positions: dials whose hands turn from position to position. 3, SwiGLU: from x two ways lead up, a gate and up; they meet in a multiplication, and one way leads down. 4, grouped queries: nine boxes of queries, of which each three lead to one of three boxes of keys and values](../figures/where_modern_gpt.svg)

# %% tags=["setup"]
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import minigpt.model.feed_forward
from minigpt.config import GPTConfig
from minigpt.course import chat, check, one_change, plots, start_lesson
from minigpt.course.one_change import in_blocks, of_equal_size
from minigpt.course.stand_in import file_of_real_model
from minigpt.evaluation.intervals import bootstrap
from minigpt.generation.conversation import Conversation
from minigpt.model.attention import CausalSelfAttention, rotate, rotation
from minigpt.model.gpt import GPT, holding, parameter_count
from minigpt.model.kv_cache import KVCache
from minigpt.model.norm import make_norm
from minigpt.text.chat import Message, encode_prompt
from minigpt.text.data import StoryData
from minigpt.text.tokenizer import ForeignTokenizer
from minigpt.weights.blocks import decode
from minigpt.weights.checkpoint import load_model
from minigpt.weights.gguf import load_gguf
from minigpt.weights.gguf_file import read_gguf

start_lesson()

# %% [markdown]
# ## A file that our GPT cannot hold
#
# Pip has brought you a chat model: SmolLM2-135M-Instruct (Allal et al. 2025), in one file of 98 MB. The format is called **GGUF**. It begins with a list of named values, and then come the tensors. What do the values say, and what is in the first block?

# %% tags=["nbval-ignore-output"]
temporary = tempfile.TemporaryDirectory()
path, is_smollm2 = file_of_real_model(temporary.name)
file = read_gguf(path)
print(f"{path.stat().st_size:,} bytes")
for name, value in file.values.items():
    if name.startswith("llama."):
        print(f"{name:<42} {value:g}")
print(f"\n{len(file.tensors)} tensors, among them")
for name, tensor in file.tensors.items():
    if "blk." not in name or "blk.0." in name:
        print(f"{name:<26} {str(tensor.shape):<14} {tensor.kind}")

# %%
first = {name: t.shape for name, t in file.tensors.items() if "blk.0." in name}
rows = {part: first[f"blk.0.attn_{part}.weight"][0] for part in "qkv"}
assert rows["k"] == rows["v"] == rows["q"] // 3, "a third as many keys and values"
assert not any(name.endswith(".bias") for name in file.tensors), "no biases"
assert not any("pos" in name for name in file.tensors), "no position embedding"
assert {"ffn_gate", "ffn_up", "ffn_down"} < {n.split(".")[2] for n in first}

# %% [markdown]
# (Where the file is missing, the cell above says what to run, and goes on with a small model of the same kind. The text speaks of SmolLM2.)
#
# Lay this beside GPT-2's list in lesson 14. There is no table of positions. There is no bias anywhere, and a norm has one vector, not two. The queries have 576 rows, the keys and values only 192. And the feed-forward network
# has three matrices. Among the values, `rms_epsilon`, `rope.freq_base` and `head_count_kv` name what is behind it. The GPT of lesson 8 cannot hold this file. Four changes, and it can.
#
# ## RMSNorm: divide, and leave the mean
#
# You met it in lesson 7. LayerNorm takes off the mean and divides by the standard deviation. **RMSNorm** (Zhang and Sennrich 2019) divides by the root of the mean square, and that is all:
#
# $$\mathrm{RMSNorm}(x)_i = g_i \, x_i \,/\, \sqrt{\textstyle\frac{1}{d} \sum_j x_j^2 + \varepsilon}$$
#
# By hand, with gains of 1: of [3, 4, 0, 0] the squares are 9 and 16, their mean over four is 6.25, the root 2.5.

# %%
x = torch.tensor([3.0, 4.0, 0.0, 0.0], dtype=torch.float64)
by_hand = x / math.sqrt(sum(value**2 for value in x.tolist()) / 4)
in_torch = F.rms_norm(x, (4,), eps=0.0)
print(by_hand)
torch.testing.assert_close(in_torch, by_hand)

norms = {
    name: make_norm(GPTConfig(1, n_heads=1, d_model=4, norm=name)).double()
    for name in ("layernorm", "rmsnorm")
}
with torch.no_grad():
    torch.testing.assert_close(norms["rmsnorm"](x), by_hand, atol=1e-5, rtol=0)
    for name, norm in norms.items():
        numbers = sum(p.numel() for p in norm.parameters())
        print(f"\n{name}, {numbers} parameters")
        for what, given in {"x": x, "10 x": 10 * x, "x + 10": x + 10}.items():
            print(f"  {what:<7} {[f'{v:7.4f}' for v in norm(given).tolist()]}")

# %% [markdown]
# Both forget a factor. Only LayerNorm forgets a shift. The authors' guess was that nobody needs that, and that leaving it out saves time.
#
# One practical thing. Real models have a few enormous numbers in their stream; you will see one of 20,000 in this one. Float16 ends at 65,504, and the square of 20,000 is far beyond:

# %%
large = torch.tensor([20_000.0, 100.0], dtype=torch.float16)
naive = large / (large * large).mean().sqrt()
wide = F.rms_norm(large.float(), (2,)).half()
print("in float16:        ", naive.tolist())
print("squares in float32:", [round(value, 3) for value in wide.tolist()])
assert naive.tolist() == [0.0, 0.0]

# %% [markdown]
# The square is infinite, and so every number of that token becomes 0. No error is raised.
#
# ### Exercise 1 · RMSNorm (★★☆, 8 min)
#
# Write it for `x` of shape (…, d) and a `gain` of shape (d,). Square and divide in float32 (in float64, if `x` is in float64), and return the result in the dtype of `x`.


# %% tags=["exercise"]
def rms_norm(x: Tensor, gain: Tensor, epsilon: float) -> Tensor:
    """Each row divided by its root mean square, times the gain."""
    ### BEGIN SOLUTION
    wide = x if x.dtype == torch.float64 else x.float()
    root = (wide.square().mean(dim=-1, keepdim=True) + epsilon).sqrt()
    return (wide / root * gain).to(x.dtype)
    ### END SOLUTION


# %%
check.rms_norm(rms_norm)

# %% [markdown]
# ## Rotary positions: turn what is compared
#
# In lesson 3 you saw the idea of **rotary positions** (RoPE; Su et al. 2021). Nothing is added to the token's vector. Instead attention turns each query and each key by an angle that grows with its position. Take two numbers of a query as a point in the plane, and
# turn it by half a radian for each position:


# %%
def turn(point: tuple[float, float], position: int) -> tuple[float, float]:
    angle = 0.5 * position
    a, b = point
    return (
        a * math.cos(angle) - b * math.sin(angle),
        a * math.sin(angle) + b * math.cos(angle),
    )


query, key = (1.0, 0.0), (0.6, 0.8)
for i, j in ((3, 1), (103, 101), (3, 2), (3, 3)):
    (a, b), (c, d) = turn(query, i), turn(key, j)
    print(f"query at {i:3}, key at {j:3}: {a * c + b * d:7.4f}   ({i - j} apart)")

# %% [markdown]
# The first two are equal. Turn both points by the same angle, and their product does not change; so only the *difference* of the angles counts, and that is the distance. A head with $d_k$ numbers has $d_k / 2$ such pairs, each with a speed of its own:
#
# $$\theta_i = \text{base}^{-2i / d_k}, \qquad i = 0, 1, \dots, d_k/2 - 1$$
#
# The paper's base is 10,000. This file says 100,000. What does that change? Count in how many positions a pair goes once around:

# %%
d_k = 64
print("pair        " + "".join(f"{i:>11}" for i in (0, 8, 16, 24, 31)))
for tried in (10_000, 100_000):
    around = [2 * math.pi * tried ** (2 * i / d_k) for i in (0, 8, 16, 24, 31)]
    print(f"base {tried:<7,}" + "".join(f"{tokens:11,.0f}" for tokens in around))

# %% [markdown]
# The fast pairs tell neighbours apart and are the same in both. The slow ones hardly move within a text, and with a larger base they move less: for longer texts, models are trained with larger bases (Rozière et al. 2023 took a million).
#
# Which numbers make a pair? The paper takes neighbours: 0 and 1, 2 and 3. Ours, and `transformers`, take numbers half a head apart: 0 and $d_k/2$, 1 and $d_k/2 + 1$. A model can learn either. But it must be *run* as it was trained; keep that in mind for the file.
#
# ### Exercise 2 · turn a head (★★☆, 10 min)
#
# Turn queries (or keys) of shape (T, $d_k$): the token at position t stands in row t, counted from 0. Numbers i and i + $d_k/2$ are a pair, which turns by $t\,\theta_i$.


# %% tags=["exercise"]
def turned(x: Tensor, base: float) -> Tensor:
    """Rows of (T, d_k), each turned by its position."""
    ### BEGIN SOLUTION
    T, d_k = x.shape
    speeds = base ** (-torch.arange(0, d_k, 2, dtype=x.dtype) / d_k)
    angles = torch.arange(T, dtype=x.dtype)[:, None] * speeds  # (T, d_k / 2)
    a, b = x.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
    ### END SOLUTION


# %%
check.turned(turned)

# %% [markdown]
# In torch the shortest way goes through complex numbers: a pair is $a + ib$, and to turn it is to multiply by $e^{i t \theta}$. The package computes cosines and sines once for each layer (`rotation`) and applies them to queries and keys (`rotate`). All the same:

# %%
generator = torch.Generator().manual_seed(0)
T, base = 12, 10_000.0
q, k = torch.randn(2, T, d_k, generator=generator, dtype=torch.float64)
angles = torch.arange(T)[:, None] * base ** (-torch.arange(0, d_k, 2).double() / d_k)


def by_complex(x: Tensor) -> Tensor:
    pairs = torch.complex(*x.chunk(2, dim=-1)) * torch.polar(
        torch.ones_like(angles), angles
    )
    return torch.cat([pairs.real, pairs.imag], dim=-1)


at = rotation(torch.arange(T), d_k, base)
torch.testing.assert_close(rotate(q, at), by_complex(q), atol=1e-6, rtol=1e-6)
later = rotation(torch.arange(100, 100 + T), d_k, base)
here = rotate(q, at) @ rotate(k, at).T
there = rotate(q, later) @ rotate(k, later).T
print("all 100 places later, the same scores:", torch.allclose(here, there, atol=1e-3))

# %% [markdown]
# ### Longer than in training (optional)
#
# <div class="alert alert-warning">
# <b>You may have read</b> that a model with rotary positions can read texts longer than those it was trained on, since no table of positions ends.
# No table ends, and no error comes. But at a greater distance the slow pairs stand at angles that the model has never met. What it makes of them was never trained.
# </div>
#
# Let us see. We train a small model on windows of 40 tokens, cut anywhere out of stories. Then it reads whole stories, whose tokens 80 to 119 are judged twice: with everything that stands before them, and as a control with nothing but the 40 tokens before each.
# More context should help. A second model, which has trained on 120 tokens at a time, shows how much.


# %% tags=["nbval-ignore-output"]
tokenizer = load_model("storyteller")[1]
stories = StoryData(tokenizer, 192)


class Windows(StoryData):
    """Stories cut to windows of so many tokens, each beginning anywhere."""

    width = 40

    def batch_at(
        self, step: int, batch_size: int, seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        inputs, targets = super().batch_at(step, batch_size, seed)
        begins = torch.Generator().manual_seed(step)
        last = max(1, inputs.size(1) - self.width)
        at = int(torch.randint(last, (1,), generator=begins))
        return inputs[:, at : at + self.width], targets[:, at : at + self.width]


rotary = of_equal_size(one_change.CHANGES["rotary positions"], 231_488)
short, _ = one_change.train(rotary, Windows(tokenizer, 192), 0, 300)
Windows.width = 120
long, _ = one_change.train(rotary, Windows(tokenizer, 192), 0, 100)  # as many tokens

texts = [
    [stories.tokenizer.end_of_text or 0, *tokenizer.encode(story.text)]
    for story in stories.held_out_stories("val")[:60]
]
ids = torch.tensor([text[:120] for text in texts if len(text) >= 120])[:16]


@torch.no_grad()
def judged(model: GPT, context: int | None) -> Tensor:
    """The loss of tokens 80 to 119 after all, or after `context` tokens: (N, 40)."""
    if context is None:
        logits = model(ids)[:, 79:-1]
    else:
        windows = ids[:, 80 - context : -1].unfold(1, context, 1)  # (N, 40, context)
        logits = model(windows.flatten(0, 1))[:, -1].unflatten(0, windows.shape[:2])
    return F.cross_entropy(logits.transpose(1, 2), ids[:, 80:], reduction="none")


gain = {}
for name, model in {"trained on 40 tokens": short, "trained on 120": long}.items():
    alone, whole = judged(model, 40), judged(model, None)
    differences = (whole - alone).mean(1).tolist()  # one for each story
    gain[name] = bootstrap(differences)
    print(f"{name:<22} after 40 tokens {alone.mean():.2f}, after all", end=" ")
    print(f"{whole.mean():.2f}: {gain[name][0]:+.2f} to {gain[name][1]:+.2f}")

# %%
assert gain["trained on 40 tokens"][0] > 0 > gain["trained on 120"][1]

# %% [markdown]
# The model that knows such distances gains by the longer context. The one that does not gets *worse* by it, though it was shown more, and though nothing ended and nothing failed. (Sun et al. 2022 list rotary positions among those that do not extrapolate. Longer contexts
# come from training on longer texts, mostly with a larger base.)
#
# ## SwiGLU: one way up is a gate
#
# In lesson 6, **SwiGLU** (Shazeer 2020) was a formula. Two matrices lead up. What comes out of the first is bent by $\mathrm{SiLU}(z) = z / (1 + e^{-z})$ and then multiplies what comes out of the second. By hand, with three units inside:

# %%
gate_out, up_out = [4.0, -4.0, 1.0], [0.5, 3.0, 3.0]
for g, u in zip(gate_out, up_out, strict=True):
    silu = g / (1 + math.exp(-g))
    print(f"gate {g:4.1f} → SiLU {silu:7.4f}, times {u:3.1f}: {silu * u:7.4f}")
assert math.isclose(4 / (1 + math.exp(-4)), float(F.silu(torch.tensor(4.0).double())))

# %% [markdown]
# The second unit has a large value and a closed gate: hardly anything passes. So a unit says «this, if that», a product of two views of the token, where GELU bends only one. In the package:


# %% tags=["package:minigpt.model.feed_forward.SwiGLU"]
class SwiGLU(nn.Module):
    """down(SiLU(gate(x)) * up(x)), the same for every token."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(
            config.d_model, config.feed_forward_size, bias=config.bias
        )
        self.up = nn.Linear(config.d_model, config.feed_forward_size, bias=config.bias)
        self.down = nn.Linear(
            config.feed_forward_size, config.d_model, bias=config.bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d_model) -> (B, T, d_model), by way of (B, T, d_ff)."""
        x = F.silu(self.gate(x)) * self.up(x)
        x = self.down(x)
        return x


# %% [markdown]
# Three matrices where there were two. Made as wide as before, it has half as many parameters more, and may well be better for that alone. A fair comparison makes it narrower.
#
# ### Exercise 3 · as large as before (★★☆, 10 min)
#
# Given $d_{model}$ and the width `d_gelu` of an ordinary feed-forward network (two matrices, no biases), return an `nn.Module` with three `nn.Linear` without biases, called `gate`, `up` and `down`. It computes SwiGLU, and is as wide as it can be
# without having *more* parameters than the ordinary network.


# %% tags=["exercise"]
def swiglu_of_size(d_model: int, d_gelu: int) -> nn.Module:
    """SwiGLU with at most as many parameters as GELU at width d_gelu has."""
    ### BEGIN SOLUTION
    width = 2 * d_gelu // 3

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(d_model, width, bias=False)
            self.up = nn.Linear(d_model, width, bias=False)
            self.down = nn.Linear(width, d_model, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
            return y

    return Gated()
    ### END SOLUTION


# %%
check.swiglu_of_size(swiglu_of_size)

# %% [markdown]
# With $d_{gelu} = 4\,d_{model}$ that is the famous $\tfrac{8}{3}\,d_{model}$; for this model's 576 it is 1,536, exactly what its file has:

# %%
width = GPTConfig(1, n_heads=9, d_model=576, feed_forward="swiglu").feed_forward_size
print("8/3 of 576:", width)
small = GPTConfig(1, n_heads=1, d_model=2, d_ff=3, feed_forward="swiglu", bias=False)
gated = SwiGLU(small).double()
packages = minigpt.model.feed_forward.SwiGLU(small).double()
packages.load_state_dict(gated.state_dict())
pair = torch.tensor([[[1.0, -2.0]]], dtype=torch.float64)
with torch.no_grad():
    opened, passed = (pair @ w.T for w in (gated.gate.weight, gated.up.weight))
    inside = opened / (1 + (-opened).exp()) * passed
    with_formula = inside @ gated.down.weight.T
torch.testing.assert_close(packages(pair), with_formula)

# %% [markdown]
# ## Grouped queries: fewer keys to keep
#
# While a model writes, it keeps the keys and values of every token (lesson 13). In **grouped-query attention** (Ainslie et al. 2023) several heads of queries share one head of keys and values. This model has 9 heads of queries and 3 of keys. Who shares with whom?
# Neighbours do: heads 0, 1, 2 read the first, 3, 4, 5 the second. In code, each head of keys is *repeated* for its group:

# %%
heads = torch.arange(3)  # the number of a head of keys
print("each three times:  ", heads.repeat_interleave(3).tolist())
print("dealt in turn:     ", heads.repeat(3).tolist())

# %% [markdown]
# Only the first is right here, and both have the same shape. Torch knows grouping, too (`enable_gqa`), and does as the package does:

# %%
torch.manual_seed(0)
grouped = CausalSelfAttention(
    GPTConfig(1, context_length=12, n_heads=6, n_kv_heads=2, d_model=48, bias=False)
).double()
read_in = torch.randn(1, 12, 48, dtype=torch.float64)
with torch.no_grad():
    q, k, v = (
        part.view(1, 12, -1, 8).transpose(1, 2)  # (1, 6 or 2, 12, 8)
        for part in grouped.qkv(read_in).split([48, 16, 16], dim=-1)
    )
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(
        grouped(read_in), grouped.output(y.transpose(1, 2).reshape(1, 12, 48))
    )
    dealt = F.scaled_dot_product_attention(
        q, k.repeat(1, 3, 1, 1), v.repeat(1, 3, 1, 1), is_causal=True
    )
print(f"dealt in turn, outputs differ by up to {(dealt - y).abs().max():.1f}")
assert (dealt - y).abs().max() > 0.1

# %% [markdown]
# ### Exercise 4 · the bytes of a cache (★☆☆, 5 min)
#
# How many bytes hold the keys and values of `length` tokens? A number takes `size` bytes.


# %% tags=["exercise"]
def cache_bytes(
    n_layers: int, n_kv_heads: int, head_size: int, length: int, size: int
) -> int:
    """Keys and values of all layers."""
    ### BEGIN SOLUTION
    return 2 * n_layers * n_kv_heads * head_size * length * size
    ### END SOLUTION


# %%
check.cache_bytes(cache_bytes)

# %% [markdown]
# For this model, in float32, and its whole context of 8,192 tokens. The cache of the package is really made, and its bytes are counted:

# %%
shape = GPTConfig(49_152, 8192, n_layers=30, n_heads=9, d_model=576, positions="rope")
for n_kv_heads in (9, 3, 1):
    config = replace(shape, n_kv_heads=n_kv_heads)
    cache = KVCache(config, batch_size=1, device="meta")  # shapes without memory
    held = cache.keys.nbytes + cache.values.nbytes
    assert held == 2 * 30 * n_kv_heads * 64 * 8192 * 4
    print(f"heads of keys {n_kv_heads}: {held:13,} bytes, a token {held // 8192:7,}")
whole_model = replace(
    shape, n_kv_heads=3, norm="rmsnorm", feed_forward="swiglu", d_ff=1536, bias=False
)
print(f"its weights:     {4 * parameter_count(whole_model):13,} bytes")

# %% [markdown]
# A third, to the byte. Without grouping, one long text would take twice as much memory as all the weights.
#
# So grouping is no gain in the loss: it takes something away. It buys memory, and time wherever memory is the limit. Does it cost anything? And the other three?

# %% [markdown]
# ## What is each of them worth here?
#
# One at a time. The control is a GPT-2 in miniature (two blocks, 64 numbers wide, 231,488 parameters). Each change is made alone, and $d_{ff}$ is adjusted until the number of parameters is the same again. What a missing position table or fewer keys save is spent
# on a wider network. For each seed, all six models read the same stories in the same order, so we compare them pair by pair. No story comes twice; so the loss of a step is the loss on unseen text.
#
# We ran this once (four seeds, 240 steps, about six minutes of one core: `python -m minigpt.course.one_change`) and stored the losses. It is a small experiment: tiny models, a short training, one learning rate, chosen for the control.

# %%
stored = one_change.load()
control = stored["GPT-2"]
print(f"{'':<22} {'parameters':>10}  d_ff")
for name, run in stored.items():
    print(f"{name:<22} {run['parameters']:10,} {run['d_ff']:5}")
    assert abs(run["parameters"] / control["parameters"] - 1) < 0.001

# %% [markdown]
# The difference to the control, mean of the last 40 steps, in nats per token. The interval is Student's, for four differences: mean ± 3.18 standard errors. It is the interval of one question; five are asked.
#
# *At equal time* a change that makes a step slower gets fewer steps, and the other way round. The seconds were measured in turn on one old processor; on another they are others, and on a GPU quite others.

# %%
LAST, EQUAL = 4, 20  # blocks of ten steps


def interval(values: list[float]) -> tuple[float, float, float]:
    """The mean of four values, and Student's 95 % interval."""
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    half = 3.182 * spread / math.sqrt(len(values))
    return mean, mean - half, mean + half


def at_end(losses: list[float], end: int) -> float:
    return sum(losses[end - LAST : end]) / LAST


worth: dict[str, tuple[float, float, float]] = {}
for name, run in stored.items():
    pairs = list(zip(run["losses"], control["losses"], strict=True))
    at_steps = interval([at_end(a, len(a)) - at_end(b, len(b)) for a, b in pairs])
    slower = run["step"] / control["step"]
    end = min(len(pairs[0][0]), round(EQUAL / slower))
    at_time = interval([at_end(a, end) - at_end(b, EQUAL) for a, b in pairs])
    worth[name] = at_steps
    if name != "GPT-2":
        print(f"{name:<21} equal steps {at_steps[0]:+.3f}", end=" ")
        print(f"({at_steps[1]:+.3f} to {at_steps[2]:+.3f})", end="  ")
        print(f"step × {slower:.2f}")
        print(f"{'':<21} equal time  {at_time[0]:+.3f}", end=" ")
        print(f"({at_time[1]:+.3f} to {at_time[2]:+.3f})")

assert worth["rotary positions"][2] < -0.1, "a gain"
for name in ("RMSNorm", "SwiGLU", "grouped keys, 4 to 1", "all four"):
    assert worth[name][1] < 0 < worth[name][2], "nothing that is certain"

# %%
middles = [10 * i + 5 for i in range(len(control["losses"][0]))]
curves: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
for name in ("GPT-2", "SwiGLU", "rotary positions", "all four"):
    by_block = zip(*stored[name]["losses"], strict=True)
    curves[name] = middles[4:], [sum(block) / len(block) for block in by_block][4:]
plots.curves(curves, "step", "loss (nats per token)")

# %% [markdown]
# Read the intervals. Here, *rotary positions* are the one clear gain: with every seed, and at equal time as well, though their step takes a sixth longer. From the first step such a model knows how far apart two tokens stand; the control has to learn a table of 192 rows from nothing.
#
# For *RMSNorm* and for *grouped keys* zero lies within the interval. Nothing shows. For grouping that is good news: sharing one head of keys among four costs nothing that we can see, and saves three quarters of the cache. *SwiGLU* is no gain here. Its mean is on the wrong side, its interval is wide, and one seed
# did badly. A guess that we did not test: at first two small numbers are multiplied, so its layers begin with next to nothing, and another learning rate would suit it better. *All four* together gain less than rotary positions alone, and the interval is wide.
#
# So why do so many large models have them, since Llama (Touvron et al. 2023) brought the first three together? Because of evidence from larger models and longer training. Shazeer (2020) measured a lower loss with gates there; Narang et al. (2021) tried dozens of changes in one setting: most did not help, and RMSNorm and gated networks were among those that did. And
# grouping was never about the loss. A change can be a gain for them and none for you, and a table like ours is how you find out.
#
# Stored numbers are only as good as one's trust in them. So train two of them again, from the same seed, for the first 60 steps, and hold them against what is stored:

# %% tags=["nbval-ignore-output"]
again = {}
for name in ("GPT-2", "rotary positions"):
    config = of_equal_size(one_change.CHANGES[name], control["parameters"])
    again[name] = in_blocks(one_change.train(config, stories, 0, 60)[1])
    print(f"{name:<18} now    {again[name]}")
    print(f"{'':<18} stored {stored[name]['losses'][0][:6]}")

# %%
for name, losses in again.items():
    for now, then in zip(losses, stored[name]["losses"][0], strict=False):
        assert abs(now - then) < 0.05

# %% [markdown]
# ## The file, tensor by tensor
#
# Now load the real model, by hand. Each tensor has a name, a shape and a *kind*: most matrices are in blocks of four bits (Q4_1), which `decode` widens to float32. (Lesson 21 opens such a block.) What is left to do is to put each number in its place.
#
# One thing stands in another order. llama.cpp, for which such files are made, turns *neighbouring* numbers of a head. The model was trained with pairs half a head apart. So whoever wrote the file moved the rows of `attn_q` and `attn_k`, in each head by itself: for a head of 8 numbers into the order

# %%
in_file = torch.arange(8).view(2, 4).T.flatten().tolist()
print("rows in the file:", in_file)
assert in_file == [0, 4, 1, 5, 2, 6, 3, 7]

# %% [markdown]
# Row 4 stands beside row 0, because these two turn together. The product of a query and a key is a sum over all pairs, whatever their order, so nothing is lost. But we turn pairs half a head apart, and have to put the rows back.
#
# ### Exercise 5 · put the rows back (★★☆, 10 min)
#
# Given the rows of `attn_q` or `attn_k` as they stand in the file, (n_heads · $d_k$, d_in), and the number of their heads, return them in the order for halves.


# %% tags=["exercise"]
def unpermuted(rows: Tensor, n_heads: int) -> Tensor:
    """In each head: rows 0, 2, 4, … first, then 1, 3, 5, …"""
    ### BEGIN SOLUTION
    d_k = len(rows) // n_heads
    pairs = rows.view(n_heads, d_k // 2, 2, -1)  # pair, and which of its two
    return pairs.transpose(1, 2).reshape(rows.shape)
    ### END SOLUTION


# %%
check.unpermuted(unpermuted)

# %% [markdown]
# And now the whole model, without a class: about forty lines that read the file directly. (Later cells do not need your answers; what you wrote above stands here once more, in short.)

# %%
LAYERS, HEADS, KV_HEADS = (
    int(file.values[f"llama.{name}"])
    for name in ("block_count", "attention.head_count", "attention.head_count_kv")
)
BASE = float(file.values["llama.rope.freq_base"])
EPSILON = float(file.values["llama.attention.layer_norm_rms_epsilon"])


def from_file(name: str) -> Tensor:
    """A tensor of the file in float32."""
    tensor = file.tensors[f"{name}.weight"]
    return torch.from_numpy(decode(tensor.raw, tensor.kind).reshape(tensor.shape))


def in_halves(rows: Tensor, n_heads: int) -> Tensor:
    return rows.view(n_heads, -1, 2, rows.size(1)).transpose(1, 2).reshape(rows.shape)


def as_it_stands(rows: Tensor, n_heads: int) -> Tensor:
    return rows


def block(x: Tensor, layer: int, order: Callable[[Tensor, int], Tensor]) -> Tensor:
    """One block of the file: (T, d_model) -> (T, d_model)."""

    def w(part: str) -> Tensor:
        return from_file(f"blk.{layer}.{part}")

    h = F.rms_norm(x, x.shape[-1:], w("attn_norm"), EPSILON)
    q = h @ order(w("attn_q"), HEADS).T
    k = h @ order(w("attn_k"), KV_HEADS).T
    v = h @ w("attn_v").T
    q, k, v = (
        part.unflatten(-1, (n, -1)).transpose(0, 1)  # (n, T, d_k)
        for part, n in ((q, HEADS), (k, KV_HEADS), (v, KV_HEADS))
    )
    at = rotation(torch.arange(len(x)), q.size(-1), BASE)
    q, k = rotate(q, at), rotate(k, at)
    k, v = (part.repeat_interleave(HEADS // KV_HEADS, dim=0) for part in (k, v))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    x = x + y.transpose(0, 1).flatten(1) @ w("attn_output").T
    h = F.rms_norm(x, x.shape[-1:], w("ffn_norm"), EPSILON)
    return x + (F.silu(h @ w("ffn_gate").T) * (h @ w("ffn_up").T)) @ w("ffn_down").T


# %% [markdown]
# Is it right? A reference is needed. The package reads the file by other code, into the `GPT` of lesson 8 with four options changed, and its tests hold that to `transformers`. We go block by block, as in lesson 14: each gets the *reference's* input, and we look at how far its output is off, as a share of
# the output's size. Beside it, the same with queries and keys as they stand in the file.

# %% tags=["nbval-ignore-output"]
reference, foreign = load_gguf(path)
assert isinstance(foreign, ForeignTokenizer)
START = foreign.end_of_text or 0
TEXT = (
    "The library of our town stands beside the river. In 1907 the water came in "
    "through the doors, and most of the books were lost in one night. People "
    "carried what was left up to the attic, where it is warm and dry.\n"
    "    year   books\n    1907    2000\n    1950   12500\n    2024   48000\n"
)
read = torch.tensor([[START, *foreign.encode(TEXT)]])
print(f"{read.size(1)} tokens; {parameter_count(reference.config):,} parameters")


def off(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


apart: dict[str, list[float]] = {"put back": [], "as it stands": []}
states: list[Tensor] = []
with torch.no_grad():
    x = reference.token_embedding(read)
    for layer, theirs in enumerate(reference.blocks):
        y = theirs(x)
        for name, order in {
            "put back": in_halves,
            "as it stands": as_it_stands,
        }.items():
            if name == "put back" or layer < 3:
                ours = block(x[0], layer, order) - x[0]  # what the block adds
                apart[name].append(off(ours, (y - x)[0]))
        states.append(y[0])
        x = y
    logits = F.rms_norm(x[0], x.shape[-1:], from_file("output_norm"), EPSILON)
    logits = logits @ from_file("token_embd").T
    last_off = off(logits, reference(read)[0])
print("off, as a share of what the block adds")
for layer in (0, 1, 2):
    print(f"block {layer}: {apart['put back'][layer]:.1e} put back,", end=" ")
    print(f"{apart['as it stands'][layer]:.0%} as it stands")
print(f"worst of all: {max(apart['put back']):.1e}; logits {last_off:.1e}")

# %%
assert max(apart["put back"]) < 1e-4 and last_off < 1e-4
assert min(apart["as it stands"]) > 0.01

# %% [markdown]
# All 30 blocks and the logits agree to the last digits of float32: 134,515,008 numbers in their places. With the rows as they stand, the blocks do something else.
#
# ### A number of 20,000 (optional)
#
# Look at the size of the stream, for the first token and for the others:

# %% tags=["nbval-ignore-output"]
for layer in sorted({0, len(states) // 3, len(states) // 2, len(states) - 2}):
    sizes = states[layer].norm(dim=-1)
    largest, where = states[layer][0].abs().max(dim=0)
    print(f"after block {layer + 1:2}: first token {sizes[0]:8,.0f}, others", end=" ")
    print(f"{sizes[1:].median():5,.0f}; its largest: number {where} ({largest:,.0f})")
peak = max(float(state[0].abs().max()) for state in states)

# %%
if is_smollm2:
    assert peak > 256 and peak**2 > 65_504, "its square does not fit into float16"

# %% [markdown]
# One number of the first token. Sun et al. (2024) found such *massive activations* in many large models, mostly at fixed places such as the first token, and hold them for a constant that attention needs. A mean over tokens that counts this one is a mean of this one. And whoever squares it in
# float16 gets zeros, as with RMSNorm above.
#
# ## Mistakes that nobody reports
#
# A loader can go wrong in many ways that raise no error. Each of the following keeps every shape. What does each cost, in bits for each byte of our text (lesson 14)? For those with the same tokens, an interval for the difference, from a bootstrap over tokens. That is one text of a
# hundred tokens, and neighbouring tokens are not independent; so it says which are large, and no more. Guess first: which of them will you *see*?


# %% tags=["nbval-ignore-output"]
def bits(model: GPT, ids: list[int], start: int = START) -> Tensor:
    """Of each token, given all before it: (T,)."""
    with torch.no_grad():
        logits = model(torch.tensor([[start, *ids[:-1]]]))[0]
    losses = F.cross_entropy(logits, torch.tensor(ids), reduction="none")
    return losses.double() / math.log(2)


def changed(
    options: dict[str, Any] | None = None,
    weights: Callable[[int], dict[str, Tensor]] | None = None,
) -> GPT:
    """The reference with other options, or other weights in each block."""
    state = reference.state_dict()
    for layer in range(LAYERS if weights else 0):
        for name, tensor in weights(layer).items() if weights else ():
            state[f"blocks.{layer}.{name}.weight"] = tensor
    return holding(replace(reference.config, **(options or {})), state)


def loaded(layer: int, name: str) -> Tensor:
    """A matrix of the reference."""
    return reference.get_parameter(f"blocks.{layer}.{name}.weight").detach()


def parts(layer: int) -> list[Tensor]:
    """Queries, keys and values of a block."""
    sizes = [n * reference.config.head_size for n in (HEADS, KV_HEADS, KV_HEADS)]
    return list(loaded(layer, "attention.qkv").split(sizes))


def rows_as_in_file(layer: int, which: str = "qk") -> dict[str, Tensor]:
    rows = dict(zip("qkv", parts(layer), strict=True))
    rows |= {part: from_file(f"blk.{layer}.attn_{part}") for part in which}
    return {"attention.qkv": torch.cat(list(rows.values()))}


def gate_and_up(layer: int) -> dict[str, Tensor]:
    gate, up = "feed_forward.gate", "feed_forward.up"
    return {gate: loaded(layer, up), up: loaded(layer, gate)}


def dealt_in_turn(layer: int) -> dict[str, Tensor]:
    """Heads of queries in another order, so that they meet other keys."""
    order = torch.arange(HEADS).view(-1, KV_HEADS).T.flatten()
    q, k, v = parts(layer)
    q = q.unflatten(0, (HEADS, -1))[order].flatten(0, 1)
    out = loaded(layer, "attention.output").unflatten(1, (HEADS, -1))
    return {
        "attention.qkv": torch.cat([q, k, v]),
        "attention.output": out[:, order].flatten(1),
    }


def only_keys_as_in_file(layer: int) -> dict[str, Tensor]:
    return rows_as_in_file(layer, "k")


mistakes: dict[str, GPT] = {
    "rows not put back": changed(weights=rows_as_in_file),
    "only queries put back": changed(weights=only_keys_as_in_file),
    "keys dealt in turn": changed(weights=dealt_in_turn),
    "gate and up exchanged": changed(weights=gate_and_up),
    "LayerNorm for RMSNorm": changed({"norm": "layernorm"}),
    "rotary base 10,000": changed({"rope_base": 10_000.0}),
    "epsilon 1e-6": changed({"norm_epsilon": 1e-6}),
}
in_text = foreign.encode(TEXT)
n_bytes = len(TEXT.encode())
right = bits(reference, in_text)
cost: dict[str, float] = {}
print(f"{'as it should be':<24} {right.sum() / n_bytes:.4f} bits for a byte")
for name, model in mistakes.items():
    more = bits(model, in_text) - right
    cost[name] = float(more.sum()) / n_bytes
    low, high = (len(more) * end / n_bytes for end in bootstrap(more.tolist(), 1000))
    print(f"{name:<24} {cost[name]:+.4f}   ({low:+.4f} to {high:+.4f})")

# %% [markdown]
# ### Outside the model (optional)
#
# Two more lie outside the model. The file says `tokenizer.ggml.pre = smollm`: cut out every digit first, then split as GPT-2. Who ignores that and splits as GPT-2 gets the same tokens for most texts. And the file names token 1 as the one that begins a text (`bos`), which is what a *conversation* begins with; plain texts were separated by token 0.

# %% tags=["nbval-ignore-output"]
like_gpt2 = ForeignTokenizer(
    foreign.plain.merges, foreign.first, foreign.last, foreign.alphabet, cut="gpt2"
)
for text in ("In 1907 the water", "year  1907", "\n    2000"):
    for name, cutter in {"the file's way": foreign, "as GPT-2": like_gpt2}.items():
        cut = "|".join(cutter.decode([i]) for i in cutter.encode(text))
        print(f"{name:<15} {cut!r}")
cost["digits as GPT-2"] = (
    float((bits(reference, like_gpt2.encode(TEXT))).sum() - right.sum()) / n_bytes
)
more = bits(reference, in_text, start=1) - right
cost["begins with token 1"] = float(more.sum()) / n_bytes
low, high = (len(more) * end / n_bytes for end in bootstrap(more.tolist(), 1000))
print(f"{'digits as GPT-2':<24} {cost['digits as GPT-2']:+.4f}")
print(f"{'begins with token 1':<24} {cost['begins with token 1']:+.4f}", end="   ")
print(f"({low:+.4f} to {high:+.4f})")

# %%
for name in ("rows not put back", "keys dealt in turn", "gate and up exchanged"):
    assert not is_smollm2 or cost[name] > 0.3
for name in ("LayerNorm for RMSNorm", "rotary base 10,000", "epsilon 1e-6"):
    assert not is_smollm2 or abs(cost[name]) < 0.1
assert abs(cost["epsilon 1e-6"]) < 0.01
assert not is_smollm2 or foreign.encode("a\n  1") != like_gpt2.encode("a\n  1")

# %% [markdown]
# ### What a loss tells
#
# Sort them.
#
# - *Fatal, and plain to see.* Exchange two matrices of the same shape, deal the keys to the wrong heads, or put back the rows of queries only: the loss is two to ten times as large.
# - *Bad, and easy to overlook.* With queries *and* keys as they stand in the file, content is still compared rightly, because both were moved alike; only positions are wrong. It costs six tenths of a bit for a byte, and what is left may still pass for a weak model, if nobody has a reference.
# - *Hardly visible.* LayerNorm in place of RMSNorm, or another first token: some hundredths of a bit. Another text would change more than that.
# - *Invisible.* With a tenth of the ε, or with digits cut otherwise, you see nothing at all. And with the wrong rotary base this text even comes out a little *better*. (The interval is about the tokens of *this* text. It does not know other texts, nor longer ones, and the model was made for 8,192 tokens.)
#
# So a low loss proves little. What proves a load is what you did above: every block against a reference, and the ids of the tokenizer against one, with digits and white space in the text.
#
# ## The chat template, taken apart
#
# The file has one more value: a **chat template**. It is a small program in a language called jinja, which makes one text of a conversation (lesson 16 did that by hand for its own tokens):

# %% tags=["nbval-ignore-output"]
template = foreign.chat_template or ""
for piece in template.replace("{%", "\n{%").replace("{{", "\n{{").strip().split("\n"):
    print(piece[:86])

# %% [markdown]
# Read it slowly. For each message it writes `<|im_start|>`, the role, a new line, the words, `<|im_end|>` and a new line. At the end, if an answer is wanted, `<|im_start|>assistant` and a new line. And right at the start it does something that you did not ask for: if the first message is no system message, it puts in one of its own.
# So here is the template by hand, against the package:

# %% tags=["nbval-ignore-output"]
question = "What is the capital of France?"
prompt = encode_prompt(foreign, [Message("user", question)])
print(foreign.decode(prompt))

# %%
own_words = foreign.decode(prompt).split("<|im_end|>")[0].split("system\n")[1]
turns = [("system", own_words), ("user", question)]
by_hand_text = "".join(
    f"<|im_start|>{who}\n{words}<|im_end|>\n" for who, words in turns
)
by_hand_text += "<|im_start|>assistant\n"
assert foreign.encode(by_hand_text, allow_special=True) == prompt
asked = [Message("system", own_words), Message("user", question)]
assert encode_prompt(foreign, asked) == prompt, "the same, said aloud"
names = Counter(foreign.decode([i]) for i in prompt if i < 3)
print(names["<|im_start|>"], "turns begin,", names["<|im_end|>"], "have ended")

# %% [markdown]
# ## A conversation
#
# `Conversation` holds the messages, writes the prompt by the template, and stops at `<|im_end|>`. At temperature 0, so that you get what we got (nearly always: see lesson 13):

# %% tags=["nbval-ignore-output"]
talk = Conversation(reference, foreign, temperature=0.0, max_new_tokens=30)
answers = []
for said in (
    question,
    "And what language do people speak there?",
    "What is 7 times 8?",
):
    answers.append("".join(talk.say(said)))
    print(f"you:   {said}\nmodel: {answers[-1]}\n")

# %%
if is_smollm2:
    assert "Paris" in answers[0]
assert [m.role for m in talk.messages][:2] == ["user", "assistant"]

# %% [markdown]
# The second question says «there», and nothing in the model remembers the first. The whole conversation is read again as the prompt: that is all the memory a chat has.
#
# It is a small model. In our run, the third answer was as fluent as the others, and nonsense. Talk to it yourself: `minigpt chat --model smollm2` in a terminal, or here:
#
# ### In JupyterLab (optional)

# %% tags=["nbval-ignore-output"]
chat(reference, foreign, max_new_tokens=60)

# %%
temporary.cleanup()

# %% [markdown]
# ## What to remember
#
# 1. RMSNorm divides by the root mean square and leaves the mean; square in float32. Rotary positions turn queries and keys, so that scores know distances; SwiGLU is a feed-forward network with a gate, at two thirds of the width; grouped queries share keys and values.
# 2. In our small comparison only rotary positions were a clear gain in loss, at equal parameters and at equal time. The others are there for large models, and grouping for memory. Compare over seeds, at equal size.
# 3. A cache takes 2 · layers · heads of keys · head size · tokens · bytes. Grouping is the only one of the four that makes it smaller.
# 4. A wrong load seldom fails aloud. Compare block by block with a reference, each block fed with the reference's input.
# 5. A loss shows large mistakes. The small ones (an ε, a splitting before digits) hide in it: look for them in the file's values and in the ids.

# %% [markdown]
# ## Primary sources
#
# - Zhang and Sennrich 2019, Root Mean Square Layer Normalization (https://arxiv.org/abs/1910.07467)
# - Su et al. 2021, RoFormer: Enhanced Transformer with Rotary Position Embedding, section 3 (https://arxiv.org/abs/2104.09864)
# - Shazeer 2020, GLU Variants Improve Transformer (https://arxiv.org/abs/2002.05202)
# - Ainslie et al. 2023, GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints (https://arxiv.org/abs/2305.13245)
# - Touvron et al. 2023, LLaMA: Open and Efficient Foundation Language Models, section 2 (https://arxiv.org/abs/2302.13971)
# - Narang et al. 2021, Do Transformer Modifications Transfer Across Implementations and Applications? (https://arxiv.org/abs/2102.11972)
# - Rozière et al. 2023, Code Llama: Open Foundation Models for Code (https://arxiv.org/abs/2308.12950)
# - Sun et al. 2022, A Length-Extrapolatable Transformer (https://arxiv.org/abs/2212.10554)
# - Sun et al. 2024, Massive Activations in Large Language Models (https://arxiv.org/abs/2402.17762)
# - Allal et al. 2025, SmolLM2: When Smol Goes Big (https://arxiv.org/abs/2502.02737)
# - ggml-org, the GGUF format (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)
#
# **Next** · [Lesson 21 · Small numbers](21_small_numbers.ipynb): what stands in those blocks of four bits, and what it costs.
