# %% [markdown]
# # Lesson 6 · Feed-forward
#
# Attention fetches. What a token does with what it fetched happens in the feed-forward network: two matrices and a bend between
# them. It is the plainest part of a GPT, and most of a block is made of it.
#
# **You will be able to**
# - say what averages and matrices cannot compute, and bend a network by hand until it can,
# - compute FFN(x) = W₂·act(W₁x + b₁) + b₂ with pencil and paper, and in torch for a whole batch,
# - tell ReLU, GELU and its tanh form apart, and what was shown of them from what is only told,
# - count the parameters and FLOPs of a block, and say when attention overtakes,
# - find the hidden units of a trained GPT that a kind of word switches on.
#
# **Time** 80 min
#
# **Builds on** lessons 4 and 5 (attention); what you need of them is recalled below
#
# ![The feed-forward box of the GPT opened: three tokens side by side, each with its own column of numbers that a network widens and narrows again; the three networks have the same weights and no connection](../figures/where_feed_forward.svg)

# %% tags=["setup"]
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
# | noon | evening | Mia has it |
# | --- | --- | --- |
# | 0 | 0 | 0 |
# | 1 | 0 | 1 |
# | 0 | 1 | 1 |
# | 1 | 1 | **0** |
#
# One or the other, but not both: the **exclusive or**. A storyteller has to get this right. Can attention?
#
# Attention gives a token a weighted average of values from other tokens. The weights are positive and sum to 1. Suppose that a
# token looks at *noon* and at *evening*, and that their values are the two numbers. Take the last row, where both are 1.

# %%
noon, evening = 1, 1
for weight in (0.0, 0.3, 0.5, 0.9, 1.0):
    print(f"{weight} · {noon} + {1 - weight:.1f} · {evening} = {weight * noon + (1 - weight) * evening:.1f}")

# %% [markdown]
# The average of 1 and 1 is 1, whatever the weights. We need 0. An average never leaves the range from the smallest value to the
# largest, and «not both» asks for just that.
#
# In a GPT a matrix makes the values, so 0 and 1 may become any two numbers $f(0)$ and $f(1)$. That does not help. No swap gives
# $f(0)$, two swaps give $f(1)$, and these have to be the same answer. But if $f(0) = f(1)$, every average of them is that number too,
# also after one swap. (This is so for a token that only asks. One that holds one of the two numbers itself can do more: by that
# number it can choose where to look.)
#
# Leave attention out, then, and ask a matrix alone. It multiplies and adds. Try every linear function at once:
# $f(a, b) = w_1 a + w_2 b + c$.

# %%
cases = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
wanted = np.array([0, 1, 1, 0])
with_ones = np.column_stack([cases, np.ones(4)])  # the 1 is multiplied by c
best, *_ = np.linalg.lstsq(with_ones, wanted, rcond=None)  # the w1, w2, c with the smallest squared error
print("best w1, w2, c:", np.round(best, 4) + 0.0)  # -0.0 becomes 0
print("it says:       ", np.round(with_ones @ best, 4))

# %% [markdown]
# The best linear function shrugs: one half, always. It cannot do better, and two lines prove it. Add up what it says on the two
# diagonals of the table:
#
# $$f(0,0) + f(1,1) = w_1 + w_2 + 2c \qquad f(1,0) + f(0,1) = w_1 + w_2 + 2c$$
#
# The sums are equal for any weights. We need 0 + 0 on the left and 1 + 1 on the right. Minsky and Papert made this limit of the
# perceptron famous in 1969.
#
# Would a second matrix after the first help? No. Two linear maps in a row are one linear map, with weights $W_2W_1$:

# %%
generator = np.random.default_rng(0)
W1, b1 = generator.normal(size=(5, 2)), generator.normal(size=5)
W2, b2 = generator.normal(size=(1, 5)), generator.normal(size=1)
x = np.array([1.0, 0.0])
print("two maps:", W2 @ (W1 @ x + b1) + b2)
print("one map: ", (W2 @ W1) @ x + (W2 @ b1 + b2))
assert np.allclose(W2 @ (W1 @ x + b1) + b2, (W2 @ W1) @ x + (W2 @ b1 + b2))


# %% [markdown]
# ### A bend
#
# What is missing is a bend: a function that is not one straight line. The plainest is **ReLU** (rectified linear unit), which
# keeps what is positive and turns the rest into 0. Count the swaps, $s = a + b$, and combine two bends:


# %%
def relu(z: float) -> float:
    return max(0.0, z)


for a, b in cases.tolist():
    first, second = relu(a + b), relu(a + b - 1)
    sum_ = f"{first:.0f} - 2·{second:.0f} = {first - 2 * second:.0f}"
    print(f"noon {a}, evening {b}:  relu(s) = {first:.0f}, relu(s - 1) = {second:.0f},  {sum_}")

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

# %% [markdown]
# ## The formula, by hand
#
# Write a token's vector as $x$, with $d_{model}$ numbers. The first map makes $d_{ff}$ hidden units of it, the activation bends
# each unit by itself, and the second map goes back to $d_{model}$ numbers. Vaswani et al. (2017, section 3.3), with ReLU:
#
# $$\text{FFN}(x) = W_2 \max(0, W_1 x + b_1) + b_2$$
#
# ```mermaid
# flowchart LR
#     x["x<br/>d_model numbers"] -- "W₁, b₁" --> before["before the bend<br/>d_ff numbers"]
#     before -- "activation" --> hidden["hidden units<br/>d_ff numbers"]
#     hidden -- "W₂, b₂" --> out["output<br/>d_model numbers"]
# ```
#
# Here is one with $d_{model} = 2$ and $d_{ff} = 3$. The widths differ on purpose: a mistake in the shapes then raises an error.
# A row of $W_1$ belongs to a hidden unit, a row of $W_2$ to an output feature.

# %%
x = [2.0, 1.0]
W1 = [[1.0, -1.0], [2.0, 1.0], [-1.0, 1.0]]  # (d_ff, d_model)
b1 = [0.0, -1.0, -1.0]
W2 = [[1.0, -1.0, 3.0], [2.0, 0.5, -1.0]]  # (d_model, d_ff)
b2 = [1.0, -1.0]

before = [sum(w * v for w, v in zip(row, x, strict=True)) + bias for row, bias in zip(W1, b1, strict=True)]
for unit, (row, bias) in enumerate(zip(W1, b1, strict=True)):
    products = " + ".join(f"({w:g})·{v:g}" for w, v in zip(row, x, strict=True))
    print(f"unit {unit}: {products} + ({bias:g}) = {before[unit]:g}")

# %% [markdown]
# Do the rest with a pencil before you read on. Which unit is switched off? What are the two outputs?

# %%
hidden = [relu(z) for z in before]
print("hidden:", hidden)
output = [sum(w * h for w, h in zip(row, hidden, strict=True)) + bias for row, bias in zip(W2, b2, strict=True)]
for feature, (row, bias) in enumerate(zip(W2, b2, strict=True)):
    products = " + ".join(f"({w:g})·{h:g}" for w, h in zip(row, hidden, strict=True))
    print(f"feature {feature}: {products} + ({bias:g}) = {output[feature]:g}")
assert output == [-2.0, 3.0]

# %% [markdown]
# Unit 2 came to −2, so it is off, and its column of $W_2$ plays no part. The first output is negative. Keep that in mind.
#
# In numpy it is one line. The paper writes a token as a row, $\max(0, xW_1 + b_1)W_2 + b_2$, so its matrices are ours transposed.
# The numbers are the same:

# %%
x_, W1_, b1_, W2_, b2_ = (np.array(values) for values in (x, W1, b1, W2, b2))
ours = W2_ @ np.maximum(0, W1_ @ x_ + b1_) + b2_
papers = np.maximum(0, x_ @ W1_.T + b1_) @ W2_.T + b2_
print(ours, papers)
assert np.array_equal(ours, output) and np.array_equal(papers, output)

# %% [markdown]
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
# In torch a linear map with its bias is an `nn.Linear`. It keeps its weight as we do, one row for each output.

# %%
up, down = nn.Linear(2, 3).double(), nn.Linear(3, 2).double()
weights = {"up.weight": W1, "up.bias": b1, "down.weight": W2, "down.bias": b2}
with torch.no_grad():
    for name, parameter in nn.ModuleDict({"up": up, "down": down}).named_parameters():
        parameter.copy_(torch.tensor(weights[name]))
    in_torch = down(F.relu(up(torch.tensor(x, dtype=torch.float64))))
print(in_torch)
assert in_torch.tolist() == output

# %% [markdown]
# ### Exercise 2 · exactly one (★★☆, 15 min)
#
# Three children may each have swapped: $a$, $b$, $c$ are 0 or 1. Choose the weights of a network with ReLU that says 1 if exactly one
# of them did, and 0 for none, two or three. Take as many hidden units as you like; the tent above has two. Return $W_1$, $b_1$, $W_2$,
# $b_2$ as lists like those of the worked example, here with three inputs and one output. A sketch of the output over $a + b + c$ helps.


# %% tags=["exercise"]
def exactly_one() -> tuple[list[list[float]], list[float], list[list[float]], list[float]]:
    """W1 (units, 3), b1 (units), W2 (1, units), b2 (1)."""
    ### BEGIN SOLUTION
    # A tent, and a third bend that stops it from falling below 0: up to 1, down to 0, and flat from there.
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
# For a large $x$ nearly all draws are below it, so $x$ passes. For a very negative $x$ hardly any is, so little is left. By hand:
# $\Phi(1) = 0.8413$, so GELU(1) is 0.8413 as well, and $\Phi(-1) = 1 - 0.8413$, so GELU(−1) = −0.1587. Not zero, and negative.
#
# For speed the paper also offers a form with tanh. GPT-2's code has that one, and so has ours:
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
z = torch.linspace(-10, 10, 200_001, dtype=torch.float64)
exact, by_tanh = F.gelu(z), F.gelu(z, approximate="tanh")
difference = (exact - by_tanh).abs()
print(f"largest difference: {difference.max():.4f}, at |x| = {z[difference.argmax()].abs():.2f}")
print(f"lowest point:       {exact.min():.4f}, at x = {z[exact.argmin()]:.2f}")
for mine, theirs in ((gelu, exact), (gelu_tanh, by_tanh)):
    assert all(math.isclose(mine(float(z[i])), float(theirs[i]), abs_tol=1e-12) for i in range(0, len(z), 1000))

# %% [markdown]
# So the two forms differ in the fourth decimal. Still, take the form that a model was trained with. To compare two
# programs digit by digit (lesson 14) you want no difference that you could have avoided.
#
# ### Why GELU? What is shown, and what is a story
#
# **Shown** in the paper (section 3): on images, speech and tagging of tweets, networks with GELU had a slightly lower error than
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
# **A story**, or an origin: a gate is thrown open with probability $\Phi(x)$, and GELU is what passes on average,
# $\Phi(x)\cdot x + (1 - \Phi(x))\cdot 0$. That is how the authors came to it (section 2). It is true, and it explains no lower
# error. Nor was it shown that the curve or the dip is the cause. The paper says that they *may* help (section 4).
#
# What you can check yourself is the slope. Training moves a weight by the slope of what follows it. Where ReLU is off, its slope
# is 0, and this token teaches the unit nothing. GELU's is small there, but seldom 0:

# %%
for point in (-2.0, -1.0, 1.0):
    slopes = {}
    for name, activation in (("ReLU", F.relu), ("GELU", F.gelu)):
        at = torch.tensor(point, dtype=torch.float64, requires_grad=True)
        activation(at).backward()
        assert at.grad is not None
        slopes[name] = f"{at.grad:7.4f}"
    print(f"x = {point:4.1f}, slopes: {slopes}")

# %% [markdown]
# ### In the package
#
# Now we have everything in `minigpt.model.feed_forward`. The class is as short as the formula. `config.feed_forward_size` is $d_{ff}$,
# four times $d_{model}$ where nothing else is asked for, as in the paper, which had 512 and 2048.


# %% tags=["package:minigpt.model.feed_forward.FeedForward"]
class FeedForward(nn.Module):
    """down(GELU(up(x))), the same for every token."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.feed_forward_size, bias=config.bias)
        self.down = nn.Linear(config.feed_forward_size, config.d_model, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d_model) -> (B, T, d_model), by way of (B, T, d_ff)."""
        x = F.gelu(self.up(x), approximate="tanh")
        x = self.down(x)
        return x


# %% [markdown]
# Our 2-3-2 network once more, with GELU in the place of ReLU: by hand, in numpy, in torch and in `minigpt`.

# %%
hidden = [gelu_tanh(v) for v in before]
print("hidden:", [f"{h:.4f}" for h in hidden])
by_hand = [sum(w * h for w, h in zip(row, hidden, strict=True)) + bias for row, bias in zip(W2, b2, strict=True)]
print("output:", [f"{v:.4f}" for v in by_hand])

pre = W1_ @ x_ + b1_
in_numpy = W2_ @ (pre / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (pre + 0.044715 * pre**3)))) + b2_
package = minigpt.model.feed_forward.FeedForward(GPTConfig(vocab_size=1, n_heads=1, d_model=2, d_ff=3)).double()
package.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
with torch.no_grad():
    token = torch.tensor(x, dtype=torch.float64)
    in_torch = down(F.gelu(up(token), approximate="tanh"))
    in_package = package(token.view(1, 1, 2))  # (B, T, d_model)
assert np.allclose(in_numpy, by_hand)
assert np.allclose(in_torch, in_numpy)
torch.testing.assert_close(in_package.view(2), in_torch)

# %% [markdown]
# The unit that ReLU switched off now leaks a little, and the outputs move a little. Nothing else changed.

# %% [markdown]
# ## One ReLU too many
#
# <div class="alert alert-warning">
# <b>You may have read</b> the formula ReLU(W₂·ReLU(W₁x + b₁)) + b₂, with a second ReLU around W₂.
# It stands in popular articles, but not in the paper. The outer ReLU cuts away what is negative, so no output can fall below
# b₂, whatever the token. A feed-forward network adds its output to the token's vector (lesson 7). With this formula it could push a feature
# up from b₂, and never down.
# </div>

# %%
too_many = np.maximum(0, W2_ @ np.maximum(0, W1_ @ x_ + b1_)) + b2_
print("the paper's formula:", ours)
print("one ReLU too many:  ", too_many)

tokens = np.random.default_rng(0).normal(size=(10_000, 2))  # (T, d_model)
hidden_ = np.maximum(0, tokens @ W1_.T + b1_) @ W2_.T  # (T, d_model), the second bias still missing
print("b2:                                  ", b2_)
print("lowest of 10,000 tokens, the paper's:", (hidden_ + b2_).min(axis=0).round(2))
print("lowest, one ReLU too many:           ", (np.maximum(0, hidden_) + b2_).min(axis=0))
assert ((hidden_ + b2_).min(axis=0) < b2_).all()
assert ((np.maximum(0, hidden_) + b2_).min(axis=0) == b2_).all()

# %% [markdown]
# Does it matter? $b_2$ is learned, and a network could save itself by pulling $b_2$ down to the lowest value it will ever need. Let us
# train and see. The task is a swap with finer shades: a token has two numbers, and the network should answer with their product and with the
# difference of their sizes. Both go up and down around 0. How training works is for lessons 9 and 10; here it turns the weights until
# the mean squared error is small.


# %%
def make_task(seed: int) -> tuple[Tensor, Tensor]:
    """512 tokens, and what the network should answer: (T, 2) each."""
    x = torch.randn(512, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x, torch.stack([x[:, 0] * x[:, 1], x[:, 0].abs() - x[:, 1].abs()], dim=1)


def train(kind: str, seed: int, d_ff: int = 16, steps: int = 500) -> tuple[float, Tensor]:
    """The loss after training, and the b2 that was learned. All kinds start from the same weights."""
    x, target = make_task(seed)
    generator = torch.Generator().manual_seed(100 + seed)
    W1 = torch.randn(d_ff, 2, dtype=torch.float64, generator=generator) / math.sqrt(2)
    W2 = torch.randn(2, d_ff, dtype=torch.float64, generator=generator) / math.sqrt(d_ff)
    b1, b2 = torch.zeros(d_ff, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    optimizer = torch.optim.Adam([p.requires_grad_() for p in (W1, b1, W2, b2)], lr=0.01)
    for _ in range(steps):
        before = x @ W1.T + b1
        y = (F.gelu(before) if kind == "GELU" else F.relu(before)) @ W2.T
        y = (F.relu(y) if kind == "one ReLU too many" else y) + b2
        loss = (y - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item(), b2.detach()


results = {kind: [train(kind, seed) for seed in range(3)] for kind in ("ReLU", "GELU", "one ReLU too many")}
for kind, runs in results.items():
    print(f"{kind:<18} losses of three runs: {[f'{loss:.4f}' for loss, _ in runs]}")
for right, wrong in zip(results["ReLU"], results["one ReLU too many"], strict=True):
    assert wrong[0] > 3 * right[0]

# %% [markdown]
# The outer ReLU costs loss in every run. (Compare ReLU with GELU, too. A small contest like this one says little about another
# model, and that goes for the table above as well.)
#
# Where does the loss come from? For a given $b_2$ there is a floor. Where the target lies below $b_2$, the best possible answer is $b_2$
# itself, whatever $W_1$ and $W_2$ are:

# %%
for seed, (loss, b2_learned) in enumerate(results["one ReLU too many"]):
    _, target = make_task(seed)
    unreachable = (b2_learned - target).clamp(min=0).square().mean().item()
    print(
        f"run {seed}: b2 learned {[f'{b:.2f}' for b in b2_learned.tolist()]}, lowest targets "
        f"{[f'{t:.2f}' for t in target.min(dim=0).values.tolist()]}, floor {unreachable:.4f} of {loss:.4f}"
    )
    assert unreachable <= loss and b2_learned.min() < -1
print("b2 learned with the right formula:", [[f"{b:.2f}" for b in b2.tolist()] for _, b2 in results["ReLU"]])

# %% [markdown]
# Training did try to dive. In each run it pulled a $b_2$ below −1, which the right formula had no need of. It did not get deep enough.
# And where the outer ReLU is off, its slope is 0, so such a token teaches $W_1$ and $W_2$ nothing.

# %% [markdown]
# ## What may be added to what
#
# <div class="alert alert-warning">
# <b>You may have read</b> a worked example of this layer that starts with [4, 5, 6]·[1, 2, 3] and adds its way to [27, 28, 29].
# The product of weights and token is a dot product, and that is one number: the value of one hidden unit. Add a token or a
# row of weights to it, and three numbers come out that mean nothing. Entry 1 of a token, or of a row of weights, belongs to feature 1. Entry 1 of the hidden layer belongs to
# unit 1. The two have no more to do with each other than their place in a list.
# </div>
#
# Try it. What can the product be, and what would have to be added?

# %%
weights_of_a_unit, token_, claimed = np.array([4, 5, 6]), np.array([1, 2, 3]), np.array([27, 28, 29])
dot, entrywise = weights_of_a_unit @ token_, weights_of_a_unit * token_
print("dot product:", dot, "           to reach the claim, add", claimed - dot)
print("entry by entry:", entrywise, " to reach the claim, add", claimed - entrywise)
print("the claim less the weights:", claimed - weights_of_a_unit, " less the token:", claimed - token_)
print("three units alike:", np.stack([weights_of_a_unit] * 3) @ token_ + np.array([-5, -4, -3]))
assert dot == 32

# %% [markdown]
# Check the first line yourself: 4·1 + 5·2 + 6·3 = 32. To this number only one other may be added, the bias of the same unit. Three hidden
# units take three rows of weights, and three dot products.
#
# The entries of the second line are an unfinished dot product. They mean something only when they are added up. The third line shows what
# [27, 28, 29] looks like: the weights, or the token, with one and the same number added to every entry. If that is how it was made, features
# were added to a hidden unit. The last line is a lawful way to this vector with these weights: three units that all have the row
# [4, 5, 6], and the biases −5, −4 and −3. If something other than biases was added, the sum has no meaning in this layer.
#
# Python does not object to such sums. It adds a number to every entry of a vector, and it adds two vectors of equal length, whatever they
# mean. Where the widths differ, it does object. That is why our network is 2-3-2:

# %%
print("no complaint:", torch.tensor(32) + torch.tensor([1, 2, 3]))
try:
    torch.tensor(before) + torch.tensor(x)
except RuntimeError as error:
    print("complaint:   ", error)

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
x4 = torch.randn(1, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))  # (B, T, d_model)
order = [2, 0, 3, 1]
with torch.no_grad():
    torch.testing.assert_close(network(x4[:, order]), network(x4)[:, order])
    one_at_a_time = torch.cat([network(x4[:, t : t + 1]) for t in range(4)], dim=1)
    torch.testing.assert_close(one_at_a_time, network(x4))
print("shuffled in, shuffled out; and one token at a time gives the same as four at once")

# %% [markdown]
# Second, change one token and look at which outputs move. Beside it, causal attention, in which later tokens see earlier ones:

# %%
changed = x4.clone()
changed[0, 1] += 1
with torch.no_grad():
    for name, layer in (("feed-forward", network), ("attention", attention)):
        moved = (layer(changed) - layer(x4)).abs().amax(dim=-1)[0] > 1e-9  # (T,)
        print(f"{name:<12} token 1 changed, outputs that move: {moved.nonzero().flatten().tolist()}")
        assert moved.tolist() == ([False, True, False, False] if layer is network else [False, True, True, True])

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
assert sum(p.numel() for p in module.feed_forward.parameters()) == ledger["feed-forward"]
assert sum(p.numel() for p in module.attention.parameters()) == ledger["attention"]
assert parameter_count(replace(gpt2, n_layers=2)) - parameter_count(replace(gpt2, n_layers=1)) == block

# %% [markdown]
# Two thirds of a *block*: $8d^2$ of $12d^2$. Of the whole model it is less, because the embeddings have to be paid as well:

# %%
whole = parameter_count(gpt2)
share = gpt2.n_layers * ledger["feed-forward"] / whole
print(f"{gpt2.n_layers} × {ledger['feed-forward']:,} of {whole:,} = {share:.1%}")

# %% [markdown]
# ### FLOPs
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
# ### Exercise 3 · whose FLOPs? (★★☆, 10 min)
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
one, two = replace(gpt2, n_layers=1), replace(gpt2, n_layers=2)
doubled = replace(gpt2, n_layers=1, d_ff=2 * d_ff)
shares = {}
for T in (1, 128, d, 1024, 2 * d, 4 * d, 6 * d, 131_072):
    in_feed_forward = flops_per_token(doubled, T) - flops_per_token(one, T)
    shares[T] = in_feed_forward / (flops_per_token(two, T) - flops_per_token(one, T))
    print(f"T = {T:7,}: {shares[T]:5.1%} of the block's FLOPs are in the feed-forward network")
    assert math.isclose(shares[T], 16 * d * d / (24 * d * d + 4 * T * d))
assert (shares[2 * d], shares[6 * d]) == (1 / 2, 1 / 3)

# %% [markdown]
# With $d_{ff} = 4d$ the share is $16d^2 / (24d^2 + 4Td) = 4 / (6 + T/d)$. For texts much shorter than $d_{model}$ it is two thirds, as for the
# parameters. At GPT-2's own length of 1,024 it is a little above one half. At $T = 2d = 1{,}536$ it is one half, and at $T = 4d = 3{,}072$ the growing
# part of attention alone costs as much as the feed-forward network: $4Td = 16d^2$. At 131,072 tokens hardly anything else counts.
#
# So «two thirds» is a statement about parameters at any length, and about FLOPs at short ones.

# %% [markdown]
# ## A memory with keys and values
#
# There is a second way to read the formula. $W_2$ times the hidden units is a sum of the *columns* of $W_2$, each multiplied by its unit:

# %%
hidden_units = np.maximum(0, W1_ @ x_ + b1_)
total = b2_.copy()
for unit, activation_ in enumerate(hidden_units):
    print(f"unit {unit}: row of W1 {W1_[unit]}, activation {activation_:.0f}, adds {activation_:.0f} · {W2_[:, unit]}")
    total += activation_ * W2_[:, unit]
print("with b2:", total)
assert np.array_equal(total, output)

# %% [markdown]
# Each unit compares the token with its row of $W_1$, and where the two fit, it adds its column of $W_2$. Row and column work like a **key**
# and a **value**. Geva et al. (2021, section 2) point out how near this is to a memory that is read by attention: what is missing is
# the softmax. And the keys and values are not made from the text. They are weights, the same for every text.
#
# They also looked into a trained model. A key, they found, answers to patterns in the text, and many patterns can be
# named by a reader. Let us look into ours.
#
# ### Which words switch on a unit?
#
# A hook is a function that torch calls when a layer runs. With one on each `down` we catch what goes in: the hidden units, after the
# bend.

# %%
model, tokenizer = load_model("storyteller")
model = model.double()  # the same digits on every computer
START = tokenizer.special_tokens[END_OF_TEXT]  # stands before each story
units_per_layer = model.config.feed_forward_size


def read_stories(split: str, count: int) -> tuple[list[int], Tensor]:
    """The tokens of the first stories of a split, (N,), and every hidden unit at each, (N, n_layers · d_ff)."""
    ids, rows = list[int](), list[Tensor]()
    caught: list[Tensor] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0][0]))
        for name, module in model.named_modules()
        if name.endswith("feed_forward.down")
    ]
    for i in range(count):
        story = [START, *tokenizer.encode(stories.story_at(split, i).text)]
        caught.clear()
        with torch.inference_mode():
            model(torch.tensor([story]))
        ids += story
        rows.append(torch.cat(caught, dim=1))  # layer after layer
    for hook in hooks:
        hook.remove()
    return ids, torch.cat(rows)


ids, activations = read_stories("val", 50)
print(
    f"{model.config.n_layers} layers × {units_per_layer} = {activations.size(1):,} hidden units, at {len(ids):,} tokens"
)

# %% [markdown]
# Now a measure. Take a class of words, such as the colours. Draw a token that is a colour and one that is not. How often is the unit more active at
# the colour? A unit that knows nothing of colours scores about one half. A unit that tells them apart without a mistake scores 1. We call this its
# **separation** (statisticians call it the area under the ROC curve), and estimate it with 4,000 pairs.


# %%
def separation(activations: Tensor, ids: list[int], members: set[int], pairs: int = 4000) -> Tensor:
    """For each unit: in what share of pairs it is more active at a token of the class than at another; (units,)."""
    inside = [i for i, token in enumerate(ids) if token in members]
    outside = [i for i, token in enumerate(ids) if token not in members]
    generator = torch.Generator().manual_seed(0)
    a = torch.tensor(inside)[torch.randint(len(inside), (pairs,), generator=generator)]
    b = torch.tensor(outside)[torch.randint(len(outside), (pairs,), generator=generator)]
    return (activations[a] > activations[b]).double().mean(dim=0)


def tokens_of(words: list[str]) -> set[int]:
    """The ids of those words that are one token."""
    encoded = [tokenizer.encode(f" {word}") for word in words]
    return {ids[0] for ids in encoded if len(ids) == 1}


tables = stories.world().tables
classes = {name: tokens_of([row[""] for row in tables[name]]) for name in ("animals", "colours", "traits", "places")}
classes["names"] = tokens_of([row[""] for row in tables["heroes"] + tables["helpers"]])
in_stories = sorted(set(ids))
drawn = torch.randperm(len(in_stories), generator=torch.Generator().manual_seed(0))[:12]
classes["random"] = {in_stories[i] for i in drawn.tolist()}

# %% [markdown]
# For each class we search through all units and take the best. Of so many units one will score well by luck. So we do two things against
# luck. The last class is twelve words drawn at random, for which no unit should care. And each winner must show itself again on other stories,
# which had no part in the choice. The last column asks for the *value*: which tokens would become more probable if the unit's
# column of $W_2$ went straight to the output head?

# %%
new_ids, new_activations = read_stories("test", 50)
winners, again = {}, {}
for name, members in classes.items():
    scores = separation(activations, ids, members)
    unit = winners[name] = int(scores.argmax())
    layer, number = divmod(unit, units_per_layer)
    again[name] = separation(new_activations[:, [unit]], new_ids, members).item()
    value = model.get_parameter(f"blocks.{layer}.feed_forward.down.weight")[:, number]
    pushed = (model.output_head.weight @ value).topk(5).indices.tolist()
    print(
        f"{name:<8} layer {layer + 1}, unit {number:3}: {scores[unit]:.2f}, on new stories {again[name]:.2f}, "
        f"pushes {', '.join(tokenizer.decode([token]).strip() for token in pushed)}"
    )
assert again["colours"] > 0.9 and again["animals"] > 0.85
assert again["random"] < min(again["colours"], again["animals"])

# %% [markdown]
# For colours and for animals there is a unit that tells them from everything else nearly without mistakes, on new stories as well. For
# twelve random words there is none as good. Here are the winners at work on a story that they were not chosen on. The darker a field, the nearer
# the unit is to its largest activation:

# %%
shown = slice(0, 48)
rows_ = [(new_activations[shown, unit] / new_activations[:, unit].max()).tolist() for unit in winners.values()]
labels = [tokenizer.decode([token]) for token in new_ids[shown]]
plots.heatmap(list(winners), ["start", *labels[1:]], rows_, "the winning unit for", "", numbers=False)

# %% [markdown]
# Find the words of each class in the story and look whether their fields are dark. Then look for dark fields elsewhere: a separation below 1
# leaves room for them. A unit may be very active at a few words that have nothing to do with its class.
#
# These are the places in all 50 new stories where the winner for colours is most active. The token itself stands in brackets.


# %%
def top_contexts(unit: int, count: int = 8) -> list[str]:
    """The contexts with the largest activations on the new stories, each context once."""
    found = dict[str, None]()
    strongest = sorted(range(len(new_ids)), key=lambda i: (-round(new_activations[i, unit].item(), 6), i))
    for i in strongest:
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
followed = [new_ids[i + 1] for i, token in enumerate(new_ids) if token in classes["colours"]]
objects = tokens_of([row[""] for row in tables["objects"] + tables["others"]])  # others belong to the helpers
share_before_objects = sum(token in objects for token in followed) / len(followed)
print(f"colours followed by an object: {share_before_objects:.0%}")
assert share_before_objects > 0.8

# %% [markdown]
# Look at the table again: what does the winner for colours push? If objects, then key and value together say «after a colour, an object». In the
# models of Geva et al. values agree with what comes next mostly in the upper layers. In lower layers a value is input for the layers above,
# and our shortcut to the output head may show nothing that makes sense.
#
# Nor is it «the» unit: others separate colours well, too. How many are there for each class, and in which layers?

# %%
good_units: dict[str, Tensor] = {}  # of each layer
for name, members in classes.items():
    good = separation(activations, ids, members) > 0.9
    good_units[name] = good.view(model.config.n_layers, units_per_layer).sum(dim=1)
    print(f"{name:<8} units above 0.9 in each layer: {good_units[name].tolist()}")
assert good_units["colours"].sum() > 1

# %% [markdown]
# We found units that *go along* with a kind of word. Whether the model needs them for it is another question, and the answer takes an
# experiment: change the unit, and see what the model does.

# %% [markdown]
# ## What to remember
#
# 1. Averages and matrices cannot say «not both». A bend between two matrices can.
# 2. FFN(x) = W₂·act(W₁x + b₁) + b₂. One activation, inside: an outer one would keep every output at b₂ or above.
# 3. GPT-2 has GELU in its tanh form, at most 0.0005 from the exact one. Its paper shows that it helped there, not why.
# 4. The same network works on each token by itself. Only attention moves things between tokens.
# 5. It holds two thirds of a block's parameters. Its share of the FLOPs is 4 / (6 + T/d_model): two thirds for short texts, a half at T = 2 d_model.

# %% [markdown]
# ## Primary sources
#
# - Minsky and Papert 1969, Perceptrons (https://doi.org/10.7551/mitpress/11301.001.0001)
# - Vaswani et al. 2017, Attention Is All You Need, section 3.3 (https://arxiv.org/abs/1706.03762)
# - Hendrycks and Gimpel 2016, Gaussian Error Linear Units (GELUs) (https://arxiv.org/abs/1606.08415)
# - Radford et al. 2018, Improving Language Understanding by Generative Pre-Training, section 4.1 (https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf)
# - Radford et al. 2019, GPT-2's code, with GELU in its tanh form (https://github.com/openai/gpt-2/blob/master/src/model.py)
# - Geva, Schuster, Berant and Levy 2021, Transformer Feed-Forward Layers Are Key-Value Memories (https://aclanthology.org/2021.emnlp-main.446)
# - Chowdhery et al. 2022, PaLM, appendix B, how FLOPs are counted (https://arxiv.org/abs/2204.02311)

# %% [markdown]
# **Next** · [Lesson 7 · The Transformer block](07_transformer_block.ipynb): attention and feed-forward together, and why each adds to what was there.
