# %% [markdown]
# # Lesson 6 · Feed-forward
#
# Attention fetches. What a token does with what it fetched happens in the feed-forward network: two matrices and a bend between
# them. It is the plainest part of a GPT, and most of a block is made of it.
#
# **You will be able to**
# - say what one average and one matrix cannot compute, and bend a network by hand until it can,
# - compute FFN(x) = act(x W₁ᵀ + b₁) W₂ᵀ + b₂ with pencil and paper, and in torch for a whole batch,
# - tell ReLU, GELU and SwiGLU apart, and what was shown of them from what is only told,
# - count the parameters and FLOPs of a block, and say when attention overtakes,
# - find hidden units of a trained GPT that go along with a kind of word, and find out whether the model needs them.
#
# **Time** 95 min; two optional sections take about 25 more
#
# **Builds on** lessons 4 and 5 (attention; what you need of them is recalled below) and
# [Torch and slopes](00b_torch_and_slopes.ipynb), sections 1, 2, 5, 6 and 7
#
# ![The feed-forward box of the GPT opened: three tokens side by side, each with its own column of numbers that a network widens and narrows again; the three networks have the same weights and no connection](../figures/where_feed_forward.svg)

# %% tags=["setup"]
import copy
import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import minigpt.model.feed_forward
from minigpt.config import GPTConfig
from minigpt.course import check, plots, start_lesson
from minigpt.model.attention import CausalSelfAttention, scaled_dot_product_attention
from minigpt.model.gpt import TransformerBlock, flops_per_token, parameter_count
from minigpt.text import stories
from minigpt.text.tokenizer import END_OF_TEXT
from minigpt.weights.checkpoint import load_model

start_lesson()

# %% [markdown]
# ## Swapped, and swapped back
#
# Pip has a red kite. At noon he may swap it with Mia. In the evening the two may swap again. Who sleeps next to the red kite?
# After one swap, Mia. After two, Pip has it back. Write 1 for «swapped» and 1 for «Mia has it»:
#
# | | no swap in the evening | swap in the evening |
# | --- | --- | --- |
# | no swap at noon | 0 | 1 |
# | swap at noon | 1 | **0** |
#
# One or the other, but not both: the **exclusive or**. A storyteller has to get this right. Can attention?
#
# A head of attention gives a token a weighted average of values. The weights are positive and sum to 1. Suppose that a head
# looks at *noon* and at *evening* and nowhere else, and that their values are the two numbers. Take the last field, where both
# are 1.

# %%
noon, evening = 1, 1
for share in (0.0, 0.3, 0.5, 0.9, 1.0):
    average = share * noon + (1 - share) * evening
    print(f"{share} · {noon} + {1 - share:.1f} · {evening} = {average:.1f}")

# %% [markdown]
# The average of 1 and 1 is 1, whatever the weights. We need 0. An average never leaves the range from the smallest value to the
# largest, and «not both» asks for just that.
#
# In a GPT a matrix makes the values, so 0 and 1 may become any two numbers $f(0)$ and $f(1)$. That does not help. No swap gives
# $f(0)$, two swaps give $f(1)$, and these have to be the same answer. But if $f(0) = f(1)$, every average of the two is that
# number too, also after one swap.
#
# Leave attention out, then, and ask a matrix alone. It multiplies and adds. Try every linear function at once:
# $f(a, b) = w_1 a + w_2 b + c$.

# %%
cases = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
wanted = np.array([0, 1, 1, 0])
with_ones = np.column_stack([cases, np.ones(4)])  # the 1 is multiplied by c
best, *_ = np.linalg.lstsq(with_ones, wanted, rcond=None)  # smallest squared error
print("best w1, w2, c:", np.round(best, 4) + 0.0)  # -0.0 becomes 0
print("it says:       ", np.round(with_ones @ best, 4))

# %% [markdown]
# The best linear function shrugs: one half, always. None is exact, and two lines prove it. Add up what it says on the two
# diagonals of the table above:
#
# $$f(0,0) + f(1,1) = w_1 + w_2 + 2c \qquad f(1,0) + f(0,1) = w_1 + w_2 + 2c$$
#
# The sums are equal for any weights. We need 0 + 0 for the first and 1 + 1 for the second. Minsky and Papert made this limit
# famous in 1969. Theirs was the limit of the **perceptron**, an early machine that adds up weighted inputs and says yes above a
# threshold.
#
# Would a second matrix after the first help? No. Two linear maps in a row are one linear map, with the weights $W_2W_1$:

# %%
generator = np.random.default_rng(0)
inner, inner_bias = generator.normal(size=(5, 2)), generator.normal(size=5)
outer, outer_bias = generator.normal(size=(1, 5)), generator.normal(size=1)
point = np.array([1.0, 0.0])
two_maps = (point @ inner.T + inner_bias) @ outer.T + outer_bias
one_map = point @ (outer @ inner).T + (inner_bias @ outer.T + outer_bias)
print("two maps:", two_maps.round(4), "  one map:", one_map.round(4))
assert np.allclose(two_maps, one_map)


# %% [markdown]
# ### A bend
#
# What is missing is a bend: a function that is not one straight line. The plainest is **ReLU** (rectified linear unit), which
# keeps what is positive and turns the rest into 0. Count the swaps, $s = a + b$, and combine two bends:


# %%
def relu(z: float) -> float:
    return max(0.0, z)


for a, b in cases.tolist():
    rises, pulls = relu(a + b), relu(a + b - 1)
    print(
        f"noon {a}, evening {b}:  relu(s) = {rises:.0f}, relu(s - 1) = {pulls:.0f},  "
        f"{rises:.0f} - 2·{pulls:.0f} = {rises - 2 * pulls:.0f}"
    )

# %% [markdown]
# That is the table. The first bend rises. The second wakes up after the first swap, and pulls down twice as hard as the first
# pulls up. Together they are a tent:

# %%
swaps = [0.0, 0.5, 1.0, 1.5, 2.0]
plots.curves(
    {
        "relu(s)": (swaps, [relu(s) for s in swaps]),
        "-2 relu(s - 1)": (swaps, [-2 * relu(s - 1) for s in swaps]),
        "their sum": (swaps, [relu(s) - 2 * relu(s - 1) for s in swaps]),
    },
    "number of swaps s",
    "value",
)

# %% [markdown]
# Each bend is a **hidden unit**. A layer of them between two linear maps is a **feed-forward network**. Every block of a
# GPT has one after its attention.
#
# ### Is softmax not a bend, too?
#
# It is. Our argument against attention held for *one* head that looks at the two tokens *alone*. In a GPT a token also sees
# itself, and a head may give a swap more weight than no swap. Let a token with value 0 ask. A swap has the value 1 and a score
# of `bonus`, all else has 0 and 0. Take two heads, and add up what they say with weights set by hand:


# %%
def head(count: int, bonus: float) -> float:
    """The average over three tokens: who asks, noon and evening, with `count` swaps."""
    values = [0] + [1] * count + [0] * (2 - count)
    exponentials = [math.exp(bonus * value) for value in values]
    total = sum(exponentials)
    return sum(e * v for e, v in zip(exponentials, values, strict=True)) / total


for count in range(3):
    even, keen = head(count, bonus=0.0), head(count, bonus=math.log(2))
    both_heads = 10 * keen - 12 * even
    print(
        f"{count} swaps: heads say {even:.4f} and {keen:.4f},  "
        f"10 · second - 12 · first = {abs(both_heads):.4f}"
    )
    assert math.isclose(both_heads, [0, 1, 0][count], abs_tol=1e-12)

# %% [markdown]
# So attention *can* say «not both», by where it looks. (Check the middle line: with one swap the second head weighs 2 against
# 1 and 1.) What the feed-forward network adds is bends without looking anywhere: as many as it has hidden units, for each token.

# %% [markdown]
# ## The formula, by hand
#
# Write a token's vector as $x$, with $d_{model}$ numbers. The first map makes $d_{ff}$ hidden units of it, the activation bends
# each unit by itself, and the second map goes back to $d_{model}$ numbers. With ReLU:
#
# $$\text{FFN}(x) = \max(0,\; x W_1^\top + b_1)\, W_2^\top + b_2$$
#
# ```mermaid
# flowchart LR
#     x["x<br/>d_model numbers"] -- "W₁, b₁" --> before["before the bend<br/>d_ff numbers"]
#     before -- "activation" --> hidden["hidden units<br/>d_ff numbers"]
#     hidden -- "W₂, b₂" --> out["output<br/>d_model numbers"]
# ```
#
# As in torch, a matrix has one row for each number that it makes: a row of $W_1$ belongs to a hidden unit, a row of $W_2$ to an
# output feature. (Vaswani et al. 2017, section 3.3, write $\max(0, xW_1 + b_1)W_2 + b_2$: their matrices are ours transposed.)
#
# Here is one with $d_{model} = 2$ and $d_{ff} = 3$. The widths differ on purpose: a mistake in the shapes then raises an error.

# %%
x = np.array([2.0, 1.0])
W1 = np.array([[1.0, -1.0], [2.0, 1.0], [-1.0, 1.0]])  # (d_ff, d_model)
b1 = np.array([0.0, -1.0, -1.0])
W2 = np.array([[1.0, -1.0, 3.0], [2.0, 0.5, -1.0]])  # (d_model, d_ff)
b2 = np.array([1.0, -1.0])


def dot(row: np.ndarray, vector: np.ndarray, bias: float) -> float:
    """A row of weights times a vector, plus a bias; prints what it multiplies."""
    result = (
        sum(w * v for w, v in zip(row.tolist(), vector.tolist(), strict=True)) + bias
    )
    products = " + ".join(f"({w:g})·{v:g}" for w, v in zip(row, vector, strict=True))
    print(f"{products} + ({bias:g}) = {result:g}")
    return float(result)


before = [dot(W1[unit], x, b1[unit]) for unit in range(3)]

# %% [markdown]
# Do the rest with a pencil before you read on. Which unit is switched off? What are the two outputs?

# %%
hidden = np.array([relu(z) for z in before])
print("hidden:", hidden)
output = [dot(W2[feature], hidden, b2[feature]) for feature in range(2)]
assert output == [-2.0, 3.0]

# %% [markdown]
# The last unit came to −2, so it is off, and its column of $W_2$ plays no part. The first output is negative. Keep that in mind.
#
# ### Exercise 1 · a whole batch (★☆☆, 10 min)
#
# Write it in torch, for one token or for many: x has the shape (d_model,) or (T, d_model) or (B, T, d_model), and the output
# has the shape of x. The weights have the shapes of our example, $W_1$ (d_ff, d_model) and $W_2$ (d_model, d_ff). No loop is needed.


# %% tags=["exercise"]
def ffn(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> Tensor:
    """The formula with ReLU: (..., d_model) -> (..., d_model)."""
    ### BEGIN SOLUTION
    hidden = (x @ W1.T + b1).clamp(min=0)  # (..., d_ff)
    return hidden @ W2.T + b2
    ### END SOLUTION


# %%
check.ffn(ffn)

# %% [markdown]
# Our token once more. In numpy it is one line:

# %%
in_numpy = np.maximum(0, x @ W1.T + b1) @ W2.T + b2
print(in_numpy)
assert np.array_equal(in_numpy, output)

# %% [markdown]
# In torch a linear map with its bias is an `nn.Linear`. It keeps its weight as we do, one row for each output.

# %%
up, down = nn.Linear(2, 3).double(), nn.Linear(3, 2).double()
weights = {"up.weight": W1, "up.bias": b1, "down.weight": W2, "down.bias": b2}
weights_in_torch = {name: torch.tensor(value) for name, value in weights.items()}
nn.ModuleDict({"up": up, "down": down}).load_state_dict(weights_in_torch)
with torch.no_grad():
    in_torch = down(F.relu(up(torch.tensor(x))))
print(in_torch)
assert in_torch.tolist() == output

# %% [markdown]
# ### Exercise 2 · exactly one (★★☆, 15 min)
#
# Three children may each have swapped: $a$, $b$, $c$ are 0 or 1. Choose the weights of a network with ReLU that says 1 if exactly one
# of them did, and 0 for none, two or three. Take as many hidden units as you like; the tent above has two. Return $W_1$, $b_1$, $W_2$,
# $b_2$ as lists of lists and lists, with the shapes of the worked example, here with three inputs and one output. A sketch of the
# output over $a + b + c$ helps.


# %% tags=["exercise"]
def exactly_one() -> tuple[
    list[list[float]], list[float], list[list[float]], list[float]
]:
    """W1 (units, 3), b1 (units), W2 (1, units), b2 (1)."""
    ### BEGIN SOLUTION
    # A tent, and a third bend that stops it from falling below 0.
    W1 = [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    b1 = [0.0, -1.0, -2.0]
    W2 = [[1.0, -2.0, 1.0]]
    b2 = [0.0]
    return W1, b1, W2, b2
    ### END SOLUTION


# %%
check.exactly_one(exactly_one)

# %% [markdown]
# ## A softer bend: GELU
#
# GPT and GPT-2 have another activation in the place of ReLU, **GELU** (Hendrycks and Gimpel 2016). It multiplies $x$ by
# $\Phi(x)$, the probability that a number drawn from the standard normal distribution is below $x$:
#
# $$\text{GELU}(x) = x\,\Phi(x) = \frac{x}{2}\left(1 + \text{erf}\frac{x}{\sqrt 2}\right)$$
#
# The error function erf is how libraries offer $\Phi$: it runs from −1 to 1, in the shape of an S. For a large $x$ nearly all
# draws are below it, so $x$ passes. For a very negative $x$ hardly any is, so little is left. A table of the normal distribution
# says $\Phi(1) = 0.8413$. So GELU(1) is 0.8413 as well, and since $\Phi(-1) = 1 - 0.8413$, GELU(−1) = −0.1587. Not zero, and negative.
#
# For speed the paper also offers a form with tanh, another S from −1 to 1. GPT-2's code has that one, and so has ours:
#
# $$\text{GELU}(x) \approx \frac{x}{2}\left(1 + \tanh\left(\sqrt{2/\pi}\,(x + 0.044715\,x^3)\right)\right)$$


# %%
def gelu(x: float) -> float:
    return x / 2 * (1 + math.erf(x / math.sqrt(2)))


def gelu_tanh(x: float) -> float:
    return x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


print("   x    ReLU    GELU    tanh form")
for z in (-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0):
    print(f"{z:4.1f} {relu(z):7.4f} {gelu(z):8.4f} {gelu_tanh(z):8.4f}")

# %%
grid = [i / 20 for i in range(-80, 61)]
plots.curves(
    {
        "ReLU": (grid, [relu(z) for z in grid]),
        "GELU": (grid, [round(gelu(z), 4) for z in grid]),
        "GELU, tanh form": (grid, [round(gelu_tanh(z), 4) for z in grid]),
    },
    "x",
    "activation",
    markers=False,
)

# %% [markdown]
# You see two curves, because the two GELUs lie on top of each other. How far apart are they at most? And how deep is the dip?

# %%
fine = torch.linspace(-10, 10, 200_001, dtype=torch.float64)
exact, by_tanh = F.gelu(fine), F.gelu(fine, approximate="tanh")
gap = (exact - by_tanh).abs()
print(f"largest difference: {gap.max():.4f}, at |x| = {fine[gap.argmax()].abs():.2f}")
print(f"lowest point:       {exact.min():.4f}, at x = {fine[exact.argmin()]:.2f}")
for i in range(0, len(fine), 1000):
    assert math.isclose(gelu(float(fine[i])), float(exact[i]), abs_tol=1e-12)
    assert math.isclose(gelu_tanh(float(fine[i])), float(by_tanh[i]), abs_tol=1e-12)

# %% [markdown]
# So the two forms differ in the fourth decimal. Still, take the form that a model was trained with. To compare two
# programs digit by digit (lesson 14) you want no difference that you could have avoided.
#
# ### Why GELU? What is shown, and what is a story
#
# *Shown* in the paper (section 3): on images, speech and tagging of tweets, networks with GELU had a slightly lower error than
# with ReLU. Test error, median of five or three runs:
#
# | section | data | GELU | ReLU |
# | --- | --- | --- | --- |
# | 3.3 | parts of speech in tweets | 12.57% | 12.67% |
# | 3.4 | TIMIT, speech | 29.3% | 29.5% |
# | 3.5 | CIFAR-10, images | 7.89% | 8.16% |
# | 3.5 | CIFAR-100, images | 20.74% | 21.77% |
#
# None of these is a Transformer, which came a year later, or a language model. Radford et al. (2018, section 4.1) took GELU for the first
# GPT and show no comparison with ReLU there.
#
# *A story*, or an origin: a gate is thrown open with probability $\Phi(x)$, and GELU is what passes on average,
# $\Phi(x)\cdot x + (1 - \Phi(x))\cdot 0$. That is how the authors came to it (section 2). It is true, and it explains no lower
# error. Nor was it shown that the curve or the dip is the cause. The paper says that they *may* help (section 4).
#
# What you can check yourself is the slope. Training moves a weight by the slope of what follows it. Where ReLU is off, its slope
# is 0, and this token teaches the unit nothing. GELU's is small there, but seldom 0:

# %%
for z in (-2.0, -1.0, 1.0):
    at = torch.tensor([z, z], dtype=torch.float64, requires_grad=True)
    (F.relu(at[0]) + F.gelu(at[1])).backward()
    slopes = at.grad.tolist() if at.grad is not None else []
    print(f"x = {z:4.1f}   slope of ReLU {slopes[0]:7.4f}   of GELU {slopes[1]:7.4f}")

# %% [markdown]
# ### After GELU: a gate
#
# Most models since about 2022 have another network here, **SwiGLU** (Shazeer 2020). It has two maps up. One is bent, the
# other is not, and the two are multiplied, unit by unit: the bent one is a *gate* for the other. Without biases, as usual:
#
# $$\text{SwiGLU}(x) = \left(\text{SiLU}(x W_{gate}^\top) \cdot x W_{up}^\top\right) W_{down}^\top, \qquad \text{SiLU}(z) = \frac{z}{1 + e^{-z}}$$
#
# SiLU looks much like GELU. There are three matrices instead of two, so $d_{ff}$ is cut to two thirds to keep the number of parameters. Shazeer
# did compare in a Transformer: at equal parameters and FLOPs the gated networks had a lower loss than ReLU and GELU. He offers no
# explanation, and credits «divine benevolence». [Lesson 20](20_modern_gpt.ipynb) builds it.
#
# ### In the package
#
# Now we have everything in `minigpt.model.feed_forward`. The class is as short as the formula. `config.feed_forward_size` is $d_{ff}$,
# four times $d_{model}$ where nothing else is asked for, as in the paper, which had 512 and 2048. What it calls `fast_gelu` is the
# tanh form. For many numbers on a CPU the package computes it as $x \cdot \text{sigmoid}(2u)$, $u$ being what stands inside the
# tanh: the same function, since $\frac{1}{2}(1 + \tanh u)$ *is* the sigmoid of $2u$, in less time (`benchmarks/README.md` has how much).


# %%
def fast_gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


u = math.sqrt(2 / math.pi) * (fine + 0.044715 * fine**3)
assert torch.allclose(fine * torch.sigmoid(2 * u), fast_gelu(fine), atol=1e-12)


# %% tags=["package:minigpt.model.feed_forward.FeedForward"]
class FeedForward(nn.Module):
    """down(GELU(up(x))), the same for every token."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.feed_forward_size, bias=config.bias)
        self.down = nn.Linear(
            config.feed_forward_size, config.d_model, bias=config.bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d_model) -> (B, T, d_model), by way of (B, T, d_ff)."""
        x = fast_gelu(self.up(x))
        x = self.down(x)
        return x


# %% [markdown]
# Our 2-3-2 network once more, with GELU in the place of ReLU: by hand, in numpy, in torch and in `minigpt`.

# %%
softly = np.array([gelu_tanh(z) for z in before])
print("hidden:", softly.round(4))
by_hand = (softly * W2).sum(axis=1) + b2  # a row of W2 for each output
print("output:", by_hand.round(4))

pre = x @ W1.T + b1
bent = pre / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (pre + 0.044715 * pre**3)))
package = minigpt.model.feed_forward.FeedForward(
    GPTConfig(1, n_heads=1, d_model=2, d_ff=3)
)
package.double().load_state_dict(weights_in_torch)
with torch.no_grad():
    with_gelu = down(F.gelu(up(torch.tensor(x)), approximate="tanh"))
    in_package = package(torch.tensor(x).view(1, 1, 2))  # (B, T, d_model)
assert np.allclose(bent @ W2.T + b2, by_hand)
assert np.allclose(with_gelu, by_hand)
torch.testing.assert_close(in_package.view(2), with_gelu)

# %% [markdown]
# The unit that ReLU switched off now leaks a little, and the outputs move a little. Nothing else changed.

# %% [markdown]
# ## One ReLU too many
#
# <div class="alert alert-warning">
# <b>You may have read</b> the formula ReLU(W₂·ReLU(W₁x + b₁)) + b₂, with a second ReLU around W₂.
# It is not the paper's. The outer ReLU cuts away what is negative, so no output can fall below b₂, whatever the token. A
# feed-forward network adds its output to the token's vector (lesson 7). With this formula it could push a feature up from
# b₂, and never down.
# </div>

# %%
tokens = np.random.default_rng(0).normal(size=(10_000, 2))  # (T, d_model)
# (T, d_model), the second bias still missing
written = np.maximum(0, tokens @ W1.T + b1) @ W2.T
print("our token, the paper's formula:      ", in_numpy)
print("our token, one ReLU too many:        ", np.maximum(0, hidden @ W2.T) + b2)
print("lowest of 10,000 tokens, the paper's:", (written + b2).min(axis=0).round(2))
print(
    "lowest, one ReLU too many:           ", (np.maximum(0, written) + b2).min(axis=0)
)
assert ((written + b2).min(axis=0) < b2).all()
assert ((np.maximum(0, written) + b2).min(axis=0) == b2).all()

# %% [markdown]
# ### What it costs in training (optional)
#
# $b_2$ is learned, and a network could save itself by pulling $b_2$ down to the lowest value it will ever need. So let us
# train and see. The task is a swap with finer shades: a token has two numbers, and the network should answer with their product and with the
# difference of their sizes. Both go up and down around 0. How training works is for lessons 9 and 10; here it turns the weights until
# the mean squared error is small.


# %%
def make_task(seed: int) -> tuple[Tensor, Tensor]:
    """512 tokens, and what the network should answer: (T, 2) each."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(512, 2, dtype=torch.float64, generator=generator)
    return x, torch.stack([x[:, 0] * x[:, 1], x[:, 0].abs() - x[:, 1].abs()], dim=1)


def train(
    kind: str, seed: int, d_ff: int = 16, steps: int = 500
) -> tuple[float, Tensor]:
    """The loss after training, and the b2 that was learned; same first weights."""
    x, target = make_task(seed)
    generator = torch.Generator().manual_seed(100 + seed)
    W1 = torch.randn(d_ff, 2, dtype=torch.float64, generator=generator) / math.sqrt(2)
    W2 = torch.randn(2, d_ff, dtype=torch.float64, generator=generator) / math.sqrt(
        d_ff
    )
    b1, b2 = torch.zeros(d_ff, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    optimizer = torch.optim.Adam(
        [p.requires_grad_() for p in (W1, b1, W2, b2)], lr=0.01
    )
    for _ in range(steps):
        before = x @ W1.T + b1
        y = (F.gelu(before) if kind == "GELU" else F.relu(before)) @ W2.T
        y = (F.relu(y) if kind == "one ReLU too many" else y) + b2
        loss = (y - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item(), b2.detach()


kinds = ("ReLU", "GELU", "one ReLU too many")
results = {kind: [train(kind, seed) for seed in range(3)] for kind in kinds}
for kind, runs in results.items():
    print(f"{kind:<18} losses of three runs: {[f'{loss:.4f}' for loss, _ in runs]}")
for seed, (loss, b2_learned) in enumerate(results["one ReLU too many"]):
    # how far targets lie under b2
    below = (b2_learned - make_task(seed)[1]).clamp(min=0)
    floor = below.square().mean().item()
    print(
        f"run {seed}: b2 {b2_learned.numpy().round(2)}, floor {floor:.4f} of {loss:.4f}"
    )
    assert (
        floor <= loss and b2_learned.min() < -1 and loss > 3 * results["ReLU"][seed][0]
    )

# %% [markdown]
# The outer ReLU costs loss in every run. The floor is what must be paid for a given $b_2$: where the target lies below $b_2$, the
# best possible answer is $b_2$ itself, whatever $W_1$ and $W_2$ are. Training did try to dive. In each run it pulled a $b_2$ below −1.
# It did not get deep enough. And where the outer ReLU is off, its slope is 0, so such a token teaches $W_1$ and $W_2$ nothing.
# (Compare ReLU with GELU, too. A small contest like this one says little about another model, and that goes for the table above as well.)
#
# One more calculation that does not hold: to start this layer with [4, 5, 6]·[1, 2, 3] and add one's way to [27, 28, 29]. The product of a row of weights and a token is *one* number, the value of one hidden unit. Only one other number
# may be added to it, the bias of that unit:

# %%
row_of_weights, vector = np.array([4, 5, 6]), np.array([1, 2, 3])
print("dot product:", row_of_weights @ vector)
print("[27, 28, 29] less the weights:", np.array([27, 28, 29]) - row_of_weights)
print("[27, 28, 29] less the token:  ", np.array([27, 28, 29]) - vector)
assert row_of_weights @ vector == 32

# %% [markdown]
# Check the first line yourself: 4·1 + 5·2 + 6·3 = 32. The claim looks like the weights, or the token, with one and the same number added to
# every entry. Python does not object to such sums, so it is up to you to know what an entry stands for: entry 1 of a token
# belongs to feature 1, entry 1 of the hidden layer to unit 1, and the two have nothing to do with each other.

# %% [markdown]
# ## Each token by itself
#
# The paper calls the network **position-wise**: it is applied to each position separately and identically. No token sees another.
# Two experiments show it. First, shuffle the tokens:

# %%
small = GPTConfig(vocab_size=1, context_length=4, n_heads=2, d_model=8)
torch.manual_seed(0)
network = minigpt.model.feed_forward.FeedForward(small).double()
attention = CausalSelfAttention(small).double()
of_four = torch.Generator().manual_seed(0)
four = torch.randn(1, 4, 8, dtype=torch.float64, generator=of_four)  # (B, T, d_model)
order = [2, 0, 3, 1]
with torch.no_grad():
    torch.testing.assert_close(network(four[:, order]), network(four)[:, order])
    one_at_a_time = torch.cat([network(four[:, t : t + 1]) for t in range(4)], dim=1)
    torch.testing.assert_close(one_at_a_time, network(four))
print(
    "shuffled in, shuffled out; and one token at a time gives the same as four at once"
)

# %% [markdown]
# Second, change one token and look at which outputs move. Beside it, causal attention, in which later tokens see earlier ones:

# %%
changed = four.clone()
changed[0, 1] += 1
with torch.no_grad():
    for name, layer in (("feed-forward", network), ("attention", attention)):
        moved = (layer(changed) - layer(four)).abs().amax(dim=-1)[0] > 1e-9  # (T,)
        movers = moved.nonzero().flatten().tolist()
        print(f"{name:<12} token 1 changed, outputs that move: {movers}")
        assert moved.tolist() == [False, True, layer is attention, layer is attention]

# %% [markdown]
# So a block divides its work. Attention moves things between tokens. The feed-forward network computes within one token, with the same
# weights at every position. What it needs from elsewhere, attention must have brought before.

# %% [markdown]
# ## Where the parameters are
#
# Count a block of GPT-2's smallest model by hand, with $d = d_{model} = 768$ and $d_{ff} = 4d$. Attention has four matrices of $d \times d$
# (queries, keys, values, output), the feed-forward network two of $4d \times d$. Each has its bias. The LayerNorms (lesson 7)
# have two numbers for each feature.

# %%
gpt2 = GPTConfig()
d, d_ff = gpt2.d_model, gpt2.feed_forward_size
ledger = {
    "attention": 4 * d * d + 4 * d,
    "feed-forward": 2 * d * d_ff + d_ff + d,
    "two LayerNorms": 2 * 2 * d,
}
block = sum(ledger.values())
for part, count in ledger.items():
    print(f"{part:<15}{count:10,}  {count / block:5.1%}")
print(f"{'block':<15}{block:10,}")

with torch.device("meta"):  # shapes without numbers
    module = TransformerBlock(gpt2)
assert (
    sum(p.numel() for p in module.feed_forward.parameters()) == ledger["feed-forward"]
)
assert sum(p.numel() for p in module.attention.parameters()) == ledger["attention"]
one, two = replace(gpt2, n_layers=1), replace(gpt2, n_layers=2)
assert parameter_count(two) - parameter_count(one) == block

# %% [markdown]
# Two thirds of a *block*: $8d^2$ of $12d^2$. Of the whole model it is less, because the embeddings have to be paid as well:

# %%
whole = parameter_count(gpt2)
in_networks = gpt2.n_layers * ledger["feed-forward"]
print(f"12 × {ledger['feed-forward']:,} of {whole:,} = {in_networks / whole:.1%}")

# %% [markdown]
# ### FLOPs (optional)
#
# A **FLOP** is one multiplication or one addition. For each token every weight of a matrix multiplies once and its product is added
# once: 2 FLOPs per weight, so $16d^2$ for the feed-forward network and $8d^2$ for the matrices of attention. Biases and the bend are
# small change and are left out.
#
# But attention has a second part, without parameters. Each token multiplies its query with T keys, which takes $2Td$ FLOPs, and averages T values,
# another $2Td$. (We count as the package does, as if nothing were masked.) This part grows with the length of the text. Let torch count:

# %%
T = 1024
measured = {}
with torch.no_grad():
    with FlopCounterMode(display=False) as counter:
        minigpt.model.feed_forward.FeedForward(gpt2)(torch.zeros(1, T, d))
    measured["feed-forward"] = counter.get_total_flops() // T
    q = torch.zeros(1, gpt2.n_heads, T, gpt2.head_size)
    with FlopCounterMode(display=False) as counter:
        scaled_dot_product_attention(q, q, q)
    measured["attention over T tokens"] = counter.get_total_flops() // T
print({part: f"{count:,}" for part, count in measured.items()})
assert measured == {"feed-forward": 16 * d * d, "attention over T tokens": 4 * T * d}

# %% [markdown]
# ### Exercise 3 · whose FLOPs? (optional) (★★☆, 10 min)
#
# Write the feed-forward network's share of a block's FLOPs for one token, when each token attends to T tokens. Count three things: the matrices
# of the feed-forward network, the matrices of attention, and attention's part that grows with T. Forward only, 2 FLOPs per weight. Mind
# that $d_{ff}$ is `config.feed_forward_size` and need not be $4d_{model}$.


# %% tags=["exercise"]
def feed_forward_share(config: GPTConfig, T: int) -> float:
    """From 0 to 1."""
    ### BEGIN SOLUTION
    d, d_ff = config.d_model, config.feed_forward_size
    feed_forward = 2 * 2 * d * d_ff
    attention = 2 * 4 * d * d + 4 * T * d
    return feed_forward / (feed_forward + attention)
    ### END SOLUTION


# %%
check.feed_forward_share(feed_forward_share)

# %% [markdown]
# For GPT-2's width, from the package's own count. The cost of one more block is the difference between models with two and with one.
# To double $d_{ff}$ adds the cost of the feed-forward network once more.

# %%
doubled = replace(gpt2, n_layers=1, d_ff=2 * d_ff)
shares = {}
for length in (1, 128, d, 1024, 2 * d, 4 * d, 6 * d, 131_072):
    in_network = flops_per_token(doubled, length) - flops_per_token(one, length)
    shares[length] = in_network / (
        flops_per_token(two, length) - flops_per_token(one, length)
    )
    print(f"T = {length:7,}: {shares[length]:5.1%} of the block's FLOPs")
    assert math.isclose(shares[length], 16 * d * d / (24 * d * d + 4 * length * d))
assert (shares[2 * d], shares[6 * d]) == (1 / 2, 1 / 3)

# %% [markdown]
# With $d_{ff} = 4d$ the share is $16d^2 / (24d^2 + 4Td) = 4 / (6 + T/d)$. For texts much shorter than $d_{model}$ it is two thirds, as for the
# parameters. At GPT-2's own length of 1,024 it is a little above one half. At $T = 2d = 1{,}536$ it is one half, and at $T = 4d = 3{,}072$ the growing
# part of attention alone costs as much as the feed-forward network: $4Td = 16d^2$. At 131,072 tokens hardly anything else counts.
#
# So «two thirds» is a statement about parameters at any length, and about FLOPs at short ones.
#
# ### More parameters without more FLOPs
#
# Parameters and FLOPs need not go together at all. In a **mixture of experts** a block has several feed-forward networks, and a small
# matrix, the *router*, scores them for each token. Only the best few run; their outputs are added, weighted by a softmax of the scores. Mixtral
# (Jiang et al. 2024) has eight a block and runs two: 47 billion parameters, of which each token uses 13. The trouble is
# to keep all experts busy (Shazeer et al. 2017).

# %% [markdown]
# ## A memory with keys and values
#
# There is a second way to read the formula. The hidden units times $W_2^\top$ is a sum of the *columns* of $W_2$, each multiplied by its unit:

# %%
so_far = b2.copy()
for unit in range(3):
    so_far += hidden[unit] * W2[:, unit]
    print(f"row of W1 {W1[unit]}, adds {hidden[unit]:.0f} · {W2[:, unit]}")
print("with b2:", so_far)
assert np.array_equal(so_far, output)

# %% [markdown]
# Each unit compares the token with its row of $W_1$, and where the two fit, it adds its column of $W_2$. Row and column work like a **key**
# and a **value**. Geva et al. (2021, section 2) point out how near this is to a memory that is read by attention: what is missing is
# the softmax. And the keys and values are not made from the text. They are weights, the same for every text.
#
# They also looked into a trained model. A key, they found, answers to patterns in the text, and many patterns can be
# named by a reader. Let us look into ours, with three questions. Is there a unit that goes along with a kind of word? Did training make
# it? And does the model need it?
#
# ### Which words switch on a unit?
#
# A hook is a function that torch calls when a layer runs. With one on each feed-forward network we catch what it reads. The hidden units
# then are the formula once more: a bend of $x W_1^\top + b_1$.

# %%
model, tokenizer = load_model("storyteller")
model = model.double()  # the same digits on every computer
START = tokenizer.special_tokens[END_OF_TEXT]  # stands before each story
n_layers, units_per_layer = model.config.n_layers, model.config.feed_forward_size


def read_stories(split: str, count: int) -> tuple[list[int], Tensor]:
    """The first stories' tokens, (N,), and what each network reads: (L, N, d_model)."""
    ids, rows = list[int](), list[Tensor]()
    caught: list[Tensor] = []
    networks = [
        module
        for name, module in model.named_modules()
        if name.endswith("feed_forward")
    ]
    hooks = [
        module.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0][0]))
        for module in networks
    ]
    for i in range(count):
        story = [START, *tokenizer.encode(stories.story_at(split, i).text)]
        caught.clear()
        with torch.inference_mode():
            model(torch.tensor([story]))
        ids += story
        rows.append(torch.stack(caught))
    for hook in hooks:
        hook.remove()
    return ids, torch.cat(rows, dim=1)


def hidden_units(read: Tensor, keys: list[Tensor]) -> Tensor:
    """Every hidden unit at each token, layer after layer: (N, L · d_ff)."""
    biases = [
        model.get_parameter(f"blocks.{layer}.feed_forward.up.bias")
        for layer in range(n_layers)
    ]
    layers = zip(read, keys, biases, strict=True)
    return torch.cat(
        [F.gelu(x @ W1.T + b1, approximate="tanh") for x, W1, b1 in layers], dim=1
    ).detach()


trained: list[Tensor] = [
    model.get_parameter(f"blocks.{layer}.feed_forward.up.weight")
    for layer in range(n_layers)
]
ids, read = read_stories("val", 50)
activations = hidden_units(read, trained)
print(f"{n_layers} layers × {units_per_layer} units = {activations.size(1):,}")
print(f"at {len(ids):,} tokens")

# %% [markdown]
# Now a measure. Take a class of words, such as the colours. Draw a token that is a colour and one that is not. How often is the unit more active at
# the colour? A unit that knows nothing of colours scores about one half. A unit that tells them apart without a mistake scores 1. We call this its
# **separation** (statisticians call it the area under the ROC curve), and estimate it with 4,096 pairs.


# %%
def separation(
    activations: Tensor, ids: list[int], members: set[int], pairs: int = 4096
) -> Tensor:
    """For each unit, in what share of pairs it is more active at a member; (units,)."""
    inside = [i for i, token in enumerate(ids) if token in members]
    outside = [i for i, token in enumerate(ids) if token not in members]
    generator = torch.Generator().manual_seed(0)
    a = torch.tensor(inside)[torch.randint(len(inside), (pairs,), generator=generator)]
    b = torch.tensor(outside)[
        torch.randint(len(outside), (pairs,), generator=generator)
    ]
    return (activations[a] > activations[b]).double().mean(dim=0)


def tokens_of(words: list[str]) -> set[int]:
    """The ids of those words that are one token."""
    encoded = [tokenizer.encode(f" {word}") for word in words]
    return {ids[0] for ids in encoded if len(ids) == 1}


tables = stories.world().tables
kinds_of_words = ("animals", "colours", "traits", "places")
classes = {
    name: tokens_of([row[""] for row in tables[name]]) for name in kinds_of_words
}
classes["names"] = tokens_of([row[""] for row in tables["heroes"] + tables["helpers"]])
in_stories = sorted(set(ids))
drawn = torch.randperm(len(in_stories), generator=torch.Generator().manual_seed(0))[:12]
classes["random"] = {in_stories[i] for i in drawn.tolist()}

# %% [markdown]
# For each class we search through all units and take the best. Of so many units one will score well by luck. So we do two things against
# luck. The last class is twelve words drawn at random, for which no unit should care. And each winner must show itself again on other stories,
# which had no part in the choice (the second number). The last column asks for the *value*: which tokens would become more probable if the unit's
# column of $W_2$ went straight to the output head?

# %%
new_ids, new_read = read_stories("test", 50)
new_activations = hidden_units(new_read, trained)
winners, again = {}, {}
for name, members in classes.items():
    scores = separation(activations, ids, members)
    winners[name] = int(scores.argmax())
    layer_of, number = divmod(winners[name], units_per_layer)
    again[name] = separation(
        new_activations[:, [winners[name]]], new_ids, members
    ).item()
    value = model.get_parameter(f"blocks.{layer_of}.feed_forward.down.weight")[
        :, number
    ]
    pushed = (model.output_head.weight @ value).topk(5).indices.tolist()
    print(
        f"{name:<8} layer {layer_of + 1}, unit {number:3}: "
        f"{scores.max():.2f} {again[name]:.2f} "
        f"pushes {', '.join(tokenizer.decode([token]).strip() for token in pushed)}"
    )
assert min(again[name] for name in kinds_of_words) > 0.9
assert again["random"] < again["names"] < 0.9

# %% [markdown]
# For animals, colours, traits and places there is a unit that tells them from everything else nearly without mistakes, on new stories as
# well. For names there is none: the best is hardly better than the best for twelve random words, and only on new stories do the two part.
#
# Here are the winners at work on the beginning of a story that they were not chosen on. The darker a field, the nearer
# the unit is to its largest activation. The class of a word stands before it:

# %%
begins = [i for i, token in enumerate(new_ids) if token == START][2]
shown = range(begins, begins + 40)
words = ["start"]
for i in shown[1:]:
    of = [name for name in list(classes)[:-1] if new_ids[i] in classes[name]]
    words.append(":".join([*of, tokenizer.decode([new_ids[i]]).strip()]))
fields = [
    (new_activations[list(shown), u] / new_activations[:, u].max()).tolist()
    for u in winners.values()
]
assert all(any(new_ids[i] in members for i in shown) for members in classes.values())
plots.heatmap(list(winners), words, fields, "the winning unit for", "", numbers=False)

# %% [markdown]
# Go along each row and look for its own words: are their fields dark, and which others are? A separation below 1 leaves room for dark
# fields elsewhere. And the row *random* says what a picture alone is worth: its unit is active at many words.
#
# These are the contexts in all 50 new stories where the winner for colours is most active. The token itself stands in brackets.


# %%
def top_contexts(unit: int, count: int = 8) -> list[str]:
    """The contexts with the largest activations on the new stories, each once."""
    found = dict[str, None]()
    size = new_activations[:, unit].round(decimals=6).tolist()
    for i in sorted(range(len(new_ids)), key=lambda i: (-size[i], i)):
        left = tokenizer.decode(new_ids[max(0, i - 8) : i]).replace(END_OF_TEXT, "")
        found[f"…{left} [{tokenizer.decode([new_ids[i]]).strip()}]"] = None
        if len(found) == count:
            break
    return list(found)


print("\n".join(top_contexts(winners["colours"])))

# %% [markdown]
# Is it the unit for colours, then? Be careful. In this world a colour stands before an object. So a unit for «this is a colour» and a unit
# for «an object comes next» would look the same to our measure:

# %%
followed = [
    new_ids[i + 1] for i, token in enumerate(new_ids) if token in classes["colours"]
]
# The objects of the helpers, too.
objects = tokens_of([row[""] for row in tables["objects"] + tables["others"]])
before_objects = sum(token in objects for token in followed) / len(followed)
print(f"colours followed by an object: {before_objects:.0%}")
assert before_objects > 0.8

# %% [markdown]
# And look at the table again. The winner for colours pushes *hat*, *umbrella*, *drum*, *kite*, *boat*: key and value together say «after a
# colour, an object», and that in the lowest of three layers. (In the models of Geva et al. values agree with what comes next mostly in
# the upper layers.)
#
# ### Did training make it?
#
# A unit that knows colours looks like something that was learned. Put it to the test: throw the trained $W_1$ of every layer away,
# and take random numbers of the same size instead. What the units read stays as it was. Three draws:


# %%
def random_keys(seed: int) -> list[Tensor]:
    """Random numbers with the shape and the standard deviation of each layer's W1."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(W1.shape, generator=generator, dtype=W1.dtype) * W1.std().item()
        for W1 in trained
    ]


print("best, best on new stories, and units above 0.9")
print(f"{'':<9} {'trained':^15}    {'random':^15}   {'random':^15}   {'random':^15}")
lucky = {}
for name, members in classes.items():
    scores = separation(activations, ids, members)
    columns = [f"{scores.max():.2f}  {again[name]:.2f}  {int((scores > 0.9).sum()):3} "]
    for seed in range(3):
        keys = random_keys(seed)
        by_luck = separation(hidden_units(read, keys), ids, members)
        the_best = hidden_units(new_read, keys)[:, [int(by_luck.argmax())]]
        lucky[name, seed] = separation(the_best, new_ids, members).item()
        above = int((by_luck > 0.9).sum())
        columns.append(f"{by_luck.max():.2f}  {lucky[name, seed]:.2f}  {above:3}")
    print(f"{name:<9}", "   ".join(columns))
assert min(lucky[name, seed] for name in kinds_of_words for seed in range(3)) > 0.85

# %% [markdown]
# Units that nobody has trained know colours, too, nearly as well and about as many of them. For names they are even better than the trained
# ones. So the kinds of words lie apart in what the network *reads*: the embeddings and the attention below have seen to it, and of 1,728 directions
# some will point the right way. What is left for training is little: the best trained unit is a bit sharper: for colours
# 1.00 on new stories, where chance gives 0.95 or 0.96.
#
# ### Does the model need it?
#
# The last question takes an experiment: silence the unit, and see what the model does.
#
# ### Exercise 4 · silence (★★☆, 10 min)
#
# Make a copy of a feed-forward network in which some hidden units add nothing to the output, whatever the token. The network that you were given
# stays as it was. Its matrices are `network.up.weight` and
# `network.down.weight`. `copy.deepcopy` copies a module. To change a parameter by hand, do it under `torch.no_grad()`.


# %% tags=["exercise"]
def silenced(network: nn.Module, units: list[int]) -> nn.Module:
    """A copy of the network in which these hidden units add nothing."""
    ### BEGIN SOLUTION
    quiet = copy.deepcopy(network)
    with torch.no_grad():
        quiet.get_parameter("down.weight")[:, units] = 0
    return quiet
    ### END SOLUTION


# %%
check.silenced(silenced)

# %% [markdown]
# We silence the best unit for colours, then all units above 0.9 for colours together. Two controls: just as many others, drawn
# from the same layers, and the units above 0.9 for traits. The loss after a colour is what the model pays for the object that follows.


# %%
def losses_without(units: list[int]) -> Tensor:
    """The loss after each token of the new stories, with these units silent: (N,)."""
    quiet = copy.deepcopy(model)
    with torch.no_grad():
        for unit in units:
            layer, number = divmod(unit, units_per_layer)
            quiet.get_parameter(f"blocks.{layer}.feed_forward.down.weight")[
                :, number
            ] = 0
    losses = []
    for i in range(50):
        story = torch.tensor(
            [START, *tokenizer.encode(stories.story_at("test", i).text), START]
        )
        with torch.inference_mode():
            losses.append(
                F.cross_entropy(quiet(story[None, :-1])[0], story[1:], reduction="none")
            )
    return torch.cat(losses)


def others(units: list[int]) -> list[int]:
    """As many other units, drawn from the same layers."""
    generator, found = torch.Generator().manual_seed(0), list[int]()
    for unit in units:
        new = unit
        while new in units or new in found:
            number = int(torch.randint(units_per_layer, (), generator=generator))
            new = unit // units_per_layer * units_per_layer + number
        found.append(new)
    return found


good = {
    name: (separation(activations, ids, classes[name]) > 0.9)
    .nonzero()
    .flatten()
    .tolist()
    for name in ("colours", "traits")
}
silent = {
    "nothing silent": [],
    "the best unit for colours": [winners["colours"]],
    f"all {len(good['colours'])} above 0.9 for colours": good["colours"],
    f"{len(good['colours'])} others, same layers": others(good["colours"]),
    f"all {len(good['traits'])} above 0.9 for traits": good["traits"],
}
after_colour = torch.tensor([token in classes["colours"] for token in new_ids])
after_trait = torch.tensor([token in classes["traits"] for token in new_ids])
print(f"{'loss':<28} after a colour   after a trait   elsewhere")
loss_after: dict[str, list[float]] = {}
for name, units in silent.items():
    losses = losses_without(units)
    groups = (after_colour, after_trait, ~after_colour & ~after_trait)
    loss_after[name] = [losses[group].mean().item() for group in groups]
    print(f"{name:<28} {''.join(f'{value:14.3f}' for value in loss_after[name])}")
none, best_alone, together, control, of_traits = loss_after.values()
assert abs(best_alone[0] - none[0]) < 0.01 and abs(control[0] - none[0]) < 0.01
assert together[0] > none[0] + 0.3 and abs(together[2] - none[2]) < 0.01
assert of_traits[1] > none[1] + 0.3 and abs(of_traits[0] - none[0]) < 0.1

# %% [markdown]
# The «colour unit» falls silent, and nobody notices: the loss after a colour rises by a thousandth. It is not *the* unit of anything. But
# silence it together with the others above 0.9, and the loss after a colour rises by more than a third of a nat, while hardly
# anything changes elsewhere. As many other units do nothing of the kind, and the units for traits do the same for traits.
#
# So keep three things apart: a unit *tells* colours from other words (many do, random ones as well); training *made* it so (a little); the model
# *uses* it (this one it can do without, the group not). To find a unit that goes along with a word is the easy part.

# %% [markdown]
# ## What to remember
#
# 1. One average of two values cannot say «not both», nor can a matrix. A bend between two matrices can. (Softmax is a bend, too.)
# 2. FFN(x) = act(x W₁ᵀ + b₁) W₂ᵀ + b₂. One activation, inside: an outer one would keep every output at b₂ or above.
# 3. The same network works on each token by itself. Only attention moves things between tokens.
# 4. It holds two thirds of a block's parameters. Its share of the FLOPs is 4 / (6 + T/d_model): two thirds for short texts, a half at T = 2 d_model.
# 5. A hidden unit that goes along with a word need not be learned, and need not be used: compare with random rows, and silence it.

# %% [markdown]
# ## Primary sources
#
# - Minsky and Papert 1969, Perceptrons (https://doi.org/10.7551/mitpress/11301.001.0001)
# - Vaswani et al. 2017, Attention Is All You Need, section 3.3 (https://arxiv.org/abs/1706.03762)
# - Hendrycks and Gimpel 2016, Gaussian Error Linear Units (GELUs) (https://arxiv.org/abs/1606.08415)
# - Radford et al. 2018, Improving Language Understanding by Generative Pre-Training, section 4.1 (https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf)
# - Radford et al. 2019, GPT-2's code, with GELU in its tanh form (https://github.com/openai/gpt-2/blob/master/src/model.py)
# - Shazeer 2020, GLU Variants Improve Transformer (https://arxiv.org/abs/2002.05202)
# - Shazeer et al. 2017, Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer (https://arxiv.org/abs/1701.06538)
# - Jiang et al. 2024, Mixtral of Experts (https://arxiv.org/abs/2401.04088)
# - Geva, Schuster, Berant and Levy 2021, Transformer Feed-Forward Layers Are Key-Value Memories (https://aclanthology.org/2021.emnlp-main.446)
# - Chowdhery et al. 2022, PaLM, appendix B, how FLOPs are counted (https://arxiv.org/abs/2204.02311)

# %% [markdown]
# **Next** · [Lesson 7 · The Transformer block](07_transformer_block.ipynb): attention and feed-forward together, and why each adds to what was there.
