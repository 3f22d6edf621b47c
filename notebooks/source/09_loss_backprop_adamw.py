# %% [markdown]
# # Lesson 9 · Loss, backpropagation, AdamW
#
# One step of training, traced by hand through a GPT so small that every number can be printed: forward to the loss, backward
# to 75 gradients, and on to new weights. Autograd, finite differences and `minigpt` agree with each of them.
#
# **You will be able to**
# - find the gradient of any weight of a GPT with the chain rule, from the loss back to one row of the embedding,
# - check gradients that you do not trust, and find the line with the bug,
# - do two steps of AdamW on paper,
# - write LayerNorm with its way back, and let nudging judge it.
#
# **Time** 100 min, without the sections marked as optional; they show what learning rate, batch size, clipping and weight decay
# change
#
# **Builds on** [Torch and slopes](00b_torch_and_slopes.ipynb), sections 2, 5 and 7–10; [lesson 1](01_next_token_game.ipynb) (the
# loss) and [lesson 8](08_full_gpt.ipynb) (the whole model). Each part is recalled in a sentence, so you can start here if you
# know what a Transformer block computes.
#
# ![The GPT in grey; from the loss under its output an orange arrow runs back past the output head, the block and the embeddings to AdamW, which changes the weights](../figures/where_loss_backprop_adamw.svg)

# %% tags=["setup"]
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.config import IGNORE, GPTConfig, TrainConfig
from minigpt.course import check, plots, start_lesson
from minigpt.model.gpt import GPT, parameter_count
from minigpt.training.optim import make_optimizers

start_lesson()

# %% [markdown]
# ## 75 numbers, and all of them wrong
#
# Here is a GPT that knows four tokens. Each token is two numbers wide, it has one block with one head, and 75 parameters in
# all. Our text is *again and again .*: the model reads the first three tokens and should say the last three.
#
# The weights are chosen for reading, not trained. The embeddings are as small as in GPT-2 before training. All gains of LayerNorm are
# 1, and most biases 0.

# %%
VOCABULARY = [".", "again", "and", "never"]
text = ["again", "and", "again", "."]
ids = [VOCABULARY.index(word) for word in text]
inputs, targets = ids[:-1], ids[1:]  # (T,): what is read, and what comes next

Array = npt.NDArray[np.float64]
weights: dict[str, Array] = {
    name: np.array(values, dtype=float)
    for name, values in {
        # (vocab_size, d_model), (T, d_model)
        "token_embedding.weight": [
            [0.01, 0.01], [0.01, -0.02], [0.02, 0.02], [-0.01, -0.01],
        ],
        "position_embedding.weight": [[0, 0], [-0.01, 0.01], [0.01, 0.03]],
        "blocks.0.attention_norm.weight": [1, 1],
        "blocks.0.attention_norm.bias": [0, -0.5],
        "blocks.0.attention.qkv.weight": [  # (3 d_model, d_model)
            [0, -1], [0.5, -0.5], [-0.5, 1], [0.5, -0.5], [0.5, 1], [-0.5, 0.5],
        ],
        "blocks.0.attention.qkv.bias": [0, 0, 0, 0, 0, 0],
        "blocks.0.attention.output.weight": [[-0.03, 0.02], [-0.01, -0.01]],
        "blocks.0.attention.output.bias": [0, 0],
        "blocks.0.feed_forward_norm.weight": [1, 1],
        "blocks.0.feed_forward_norm.bias": [0.5, 0.5],
        # (d_ff, d_model)
        "blocks.0.feed_forward.up.weight": [[0.5, 0], [-0.5, 0.5], [0, 1]],
        "blocks.0.feed_forward.up.bias": [0, 0, 0],
        "blocks.0.feed_forward.down.weight": [[0.02, 0.03, -0.02], [0, -0.02, 0]],
        "blocks.0.feed_forward.down.bias": [0, 0],
        "final_norm.weight": [1, 1],
        "final_norm.bias": [-0.5, 0],
        # (vocab_size, d_model)
        "output_head.weight": [[-1, 0], [0, 0.5], [0, -0.5], [-1, -0.5]],
    }.items()
}  # fmt: skip


def gpt_with(weights: dict[str, Array]) -> GPT:
    """The package's GPT with these weights."""
    config = GPTConfig(
        vocab_size=4, context_length=3, n_layers=1, n_heads=1, d_model=2, d_ff=3,
        tie_embeddings=False,
    )  # fmt: skip
    model = GPT(config).double()
    model.load_state_dict({name: torch.tensor(w) for name, w in weights.items()})
    return model


model = gpt_with(weights)
n_parameters = sum(values.size for values in weights.values())
assert n_parameters == parameter_count(model.config)


def package_loss(model: GPT) -> Tensor:
    """The loss of the package's GPT on our text."""
    logits = model(torch.tensor([inputs]))[0]  # (T, vocab_size)
    return F.cross_entropy(logits, torch.tensor(targets))


print(f"{n_parameters} parameters, loss {package_loss(model):.4f}")
print(f"a model that knows nothing: ln 4 = {math.log(4):.4f}")

# %% [markdown]
# The model is worse than one that knows nothing. Its numbers are wrong, but which of them, and in which direction? We can ask
# each number: add a little to it, run the model again, and see whether the loss rises or falls. In the output head:

# %%
before = package_loss(model).item()
for j, word in enumerate(VOCABULARY):
    nudged = gpt_with(weights)
    with torch.no_grad():
        nudged.output_head.weight[j, 0] += 0.001
    change = package_loss(nudged).item() - before
    print(f"0.001 more in the first number of {word!r:>7}: loss {change:+.6f}")

# %% [markdown]
# This works. It also needs one more forward pass for each number. GPT-2 has 124,439,808 of them:

# %%
days = 124_439_808 * 0.1 / (24 * 60 * 60)
print(f"one forward pass each, of 0.1 s: {days:.0f} days for one step of training")

# %% [markdown]
# Real training moves all the numbers after every batch, and the whole step costs about as much as three forward passes
# (lesson 8 counted it). **How can a model learn all its slopes at once?** That is backpropagation, and it is the chain rule,
# applied from the end to the beginning.

# %% [markdown]
# ## The chain rule, from zero
#
# Take one weight, one input, one target: the model says $w \cdot x$, should say $y$, and its loss is $(w x - y)^2$. With
# $w = 1$, $x = 3$, $y = 2$ the error is 1 and so is the loss. What happens if $w$ grows by a small $\delta$?

# %%
w, x, y = 1.0, 3.0, 2.0
for delta in (0.1, 0.01, 0.001):
    growth = ((w + delta) * x - y) ** 2 - (w * x - y) ** 2
    times = growth / delta
    print(f"w grows by {delta:<5}: the loss by {growth:.6f}, {times:.3f} times as much")

# %% [markdown]
# The smaller the nudge, the closer the ratio is to 6. This limit is the **slope** of the loss in $w$, written
# $\partial L / \partial w$. We could have known it without nudging. Follow the nudge through the computation: $w$ grows by $\delta$,
# so $wx$ grows by $3\delta$, so the error grows by $3\delta$, so its square grows by about twice the error times $3\delta$.
#
# $$\frac{\partial L}{\partial w} = \underbrace{\frac{\partial L}{\partial \text{error}}}_{2 \cdot \text{error} = 2}
# \cdot \underbrace{\frac{\partial\, \text{error}}{\partial (wx)}}_{1} \cdot \underbrace{\frac{\partial (wx)}{\partial w}}_{x = 3} = 6$$
#
# **Along a path, slopes multiply.** This is the chain rule.
#
# The slope says what to do. The loss rises by 6 for each unit of $w$, so make $w$ smaller: subtract the slope, times a small
# number called the **learning rate**. (Were the slope negative, subtracting it would make $w$ larger: right again.)

# %%
slope = 2 * (w * x - y) * x
for learning_rate in (0.01, 0.05, 0.1, 0.15):
    new = w - learning_rate * slope
    new_loss = (new * x - y) ** 2
    print(f"learning rate {learning_rate:.2f}: w = {new:.2f}, loss {new_loss:.4f}")

# %% [markdown]
# The first three rates lower the loss of 1. The last one overshoots, and the loss is larger than before. A slope is true where
# it was measured. How far one may trust it is the question behind every learning rate.
#
# ### A tiny backward in plain Python
#
# A program can follow the chain rule for us. Every number remembers what it was made from, and how steeply it depends on each of
# these sources: for $a + b$ the slopes are 1 and 1, for $a - b$ they are 1 and −1, for $a \cdot b$ they are $b$ and $a$. To go
# backward, begin at the loss and take each number only when everything that was made from it has had its turn.


# %%
class Number:
    """A number that remembers its sources, and its slope in each of them."""

    def __init__(self, value: float, *sources: tuple["Number", float]) -> None:
        self.value, self.sources, self.gradient = value, sources, 0.0

    def __add__(self, other: "Number") -> "Number":
        return Number(self.value + other.value, (self, 1.0), (other, 1.0))

    def __sub__(self, other: "Number") -> "Number":
        return Number(self.value - other.value, (self, 1.0), (other, -1.0))

    def __mul__(self, other: "Number") -> "Number":
        product = self.value * other.value
        return Number(product, (self, other.value), (other, self.value))


def in_order(number: Number, order: list[Number]) -> list[Number]:
    """All that a number was made from, sources first, and the number itself last."""
    if number not in order:
        for source, _ in number.sources:
            in_order(source, order)
        order.append(number)
    return order


def backward(end: Number) -> None:
    """Give all that `end` was made from its gradient: how fast `end` grows with it."""
    end.gradient = 1.0
    for number in reversed(in_order(end, [])):
        for source, slope in number.sources:
            # Along a path slopes multiply; where paths meet, they add.
            source.gradient += slope * number.gradient


weight, given, wanted = Number(1.0), Number(3.0), Number(2.0)
error = weight * given - wanted
squared = error * error
backward(squared)
print(f"loss {squared.value}, slope in the error {error.gradient}")
print(f"slopes in w {weight.gradient}, x {given.gradient}, y {wanted.gradient}")

# %% [markdown]
# The error is used twice, in `error * error`. Each use brings back a slope of 1, and they add up to the 2 from above. This is
# the second rule: **where paths meet, slopes add.**
#
# One pass forward, one pass backward, and *every* number has its slope, however many there are. That is the answer to the
# opening question. It is also what torch does (its **autograd**) when you call `backward`:

# %%
w_torch = torch.tensor(w, requires_grad=True)
((w_torch * x - y) ** 2).backward()
print("torch:", w_torch.grad)
assert w_torch.grad == weight.gradient == slope == 6.0

# %% [markdown]
# The list of the slopes of all weights is the **gradient**. Rumelhart, Hinton and Williams (1986) showed that networks trained
# with this method learn useful inner features; the method itself had been described before (Linnainmaa 1970).
#
# ### Exercise 1 · gradients by nudging (★☆☆, 8 min)
#
# Nudging is slow, and it cannot be fooled by a wrong formula: the ideal judge. But a nudge to one side errs by an amount in
# proportion to $\delta$ (above it was 9δ: 6.009 for a δ of 0.001). Nudge to **both** sides, and most of that error cancels:
#
# $$\frac{\partial f}{\partial x_i} \approx \frac{f(\ldots, x_i + \delta, \ldots) - f(\ldots, x_i - \delta, \ldots)}{2\delta}$$
#
# Write it for a function of a list, one number at a time, with $\delta = 10^{-5}$. For $f(x) = x_0^2 + 3 x_1$ at `[2, 5]` the
# answer is `[4, 3]`. Leave the list as you found it.


# %% tags=["exercise"]
def numerical_gradient(
    f: Callable[[list[float]], float], x: list[float]
) -> list[float]:
    """The slope of f in each number of x."""
    ### BEGIN SOLUTION
    delta = 1e-5
    slopes = []
    for i in range(len(x)):
        up, down = list(x), list(x)
        up[i] += delta
        down[i] -= delta
        slopes.append((f(up) - f(down)) / (2 * delta))
    return slopes
    ### END SOLUTION


# %%
check.numerical_gradient(numerical_gradient)

# %% [markdown]
# ## Forward, every number
#
# Now the GPT. Going backward needs the numbers from going forward, so first we print them all. Lessons 3 to 8 built the parts;
# here each gets a sentence and one number to check. We compute in numpy, which has no autograd: nothing happens behind our back.
#
# Rows are the three tokens, *again and again*, from top to bottom.

# %%
T = len(inputs)
TOKENS = [VOCABULARY[i] for i in inputs]
block: Any = model.blocks[0]


def show(
    name: str, matrix: Array, rows: Sequence[str] = TOKENS, digits: int = 4
) -> None:
    """Print a matrix with a name for each row."""
    print(f"{name} {matrix.shape}")
    for row, values in zip(rows, matrix.round(digits) + 0.0, strict=True):  # no -0
        numbers = " ".join(f"{value:{digits + 5}.{digits}f}" for value in values)
        print(f"  {row:>9}  {numbers}")


def same(ours: Array, theirs: Tensor) -> None:
    """Assert that what we computed is what the package computes."""
    assert np.allclose(ours, theirs.detach().numpy().squeeze(0), rtol=0, atol=1e-12)


# %% [markdown]
# **Embeddings** (lesson 3). Each token fetches its row of the token embedding, and adds the row of its position.

# %%
x0 = weights["token_embedding.weight"][inputs] + weights["position_embedding.weight"]
show("x0", x0)  # (T, d_model)

tokens, positions = torch.tensor([inputs]), torch.arange(T)
package_x0 = model.token_embedding(tokens) + model.position_embedding(positions)
same(x0, package_x0)

# %% [markdown]
# **LayerNorm** (lesson 7) subtracts from each row its mean μ, divides by its standard deviation σ, then applies a gain and a bias.
# A small $\varepsilon = 10^{-5}$ in the root keeps it from dividing by zero (the paper's formula, Ba et al. 2016, section 3,
# has none; torch adds it). We call the divisor $s$:
#
# $$n_i = \frac{x_i - \mu}{s}, \qquad s = \sqrt{\sigma^2 + \varepsilon}, \qquad \sigma^2 = \text{mean}\big((x - \mu)^2\big),
# \qquad y_i = \text{gain}_i \, n_i + \text{bias}_i$$
#
# (Lesson 7 writes $g$ and $b$ for gain and bias. Here `g_` will mean a gradient, so we spell them out.)
#
# By hand for the first token, 0.01 and −0.02: the mean is −0.005, the deviations are ±0.015, and σ² = 0.000225. With
# $\varepsilon$ that is 0.000235, and its root $s$ = 0.01533. So $n = \pm 0.015 / 0.01533 = \pm 0.9785$.

# %%
EPSILON = 1e-5


def layer_norm(x: Array, gain: Array, bias: Array) -> tuple[Array, Array, Array]:
    """LayerNorm of each row, and for the way back n, (T, d), and s, (T, 1)."""
    deviation = x - x.mean(axis=-1, keepdims=True)
    s = np.sqrt((deviation**2).mean(axis=-1, keepdims=True) + EPSILON)
    n = deviation / s
    return gain * n + bias, n, s


def norm_weights(name: str) -> tuple[Array, Array]:
    """Gain and bias of one LayerNorm."""
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


a, a_n, a_s = layer_norm(x0, *norm_weights("blocks.0.attention_norm"))
show("n", a_n)
show("a = n + bias", a)

assert math.isclose(a_n[0, 0], 0.015 / math.sqrt(0.000225 + 0.00001))
same(a, block.attention_norm(package_x0))

# %% [markdown]
# Of two numbers, LayerNorm leaves hardly more than a sign: ±1, a little less where the deviations are so small that
# $\varepsilon$ counts. That is why our embeddings are small. We come back to this.
#
# **Attention** (lessons 4 and 5). Each row makes a query, a key and a value. Scores are dot products of queries with keys, divided by
# $\sqrt{d_k} = \sqrt 2$; the future is masked; softmax turns each row into weights that sum to 1.


# %%
def linear(x: Array, weight: Array, bias: Array) -> Array:
    """Each row of x, (T, n_in), times the matrix (n_out, n_in), plus the bias."""
    return x @ weight.T + bias


def softmax(scores: Array) -> Array:
    """Each row as positive numbers that sum to 1."""
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


attention = "blocks.0.attention"
qkv = linear(a, weights[f"{attention}.qkv.weight"], weights[f"{attention}.qkv.bias"])
q, k, v = qkv[:, 0:2], qkv[:, 2:4], qkv[:, 4:6]  # (T, d_k) each
visible = np.tril(np.ones((T, T), dtype=bool))
scores = np.where(visible, q @ k.T / math.sqrt(2), -np.inf)  # (T, T)
A = softmax(scores)
mixed = A @ v  # (T, d_k)
for name, matrix in (("q", q), ("k", k), ("v", v), ("scores", scores), ("A", A)):
    show(name, matrix)
show("A v", mixed)

same(qkv, block.attention.qkv(block.attention_norm(package_x0)))

# %% [markdown]
# Check one score: the third token asks the second, $(1.3452 \cdot 0.9302 + 1.0952 \cdot (-0.7035)) / \sqrt 2 = 0.3400$. It gives
# *and* most of its attention, 0.6278.
#
# The output projection turns the mixture into something to **add** to the residual stream. The stream is small here, so we print six
# decimals of it.

# %%
to_stream = weights[f"{attention}.output.weight"], weights[f"{attention}.output.bias"]
attended = linear(mixed, *to_stream)
x1 = x0 + attended
show("attention adds", attended, digits=6)
show("x1 = x0 + attention", x1, digits=6)

package_x1 = package_x0 + block.attention(block.attention_norm(package_x0))
same(x1, package_x1)

# %% [markdown]
# **Feed-forward** (lesson 6): LayerNorm, up to $d_{ff} = 3$ numbers, GELU, down to 2, add.

# %%
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


def gelu(u: Array) -> Array:
    """GELU in GPT-2's form: u/2 (1 + tanh(√(2/π) (u + 0.044715 u³)))."""
    return 0.5 * u * (1 + np.tanh(SQRT_2_OVER_PI * (u + 0.044715 * u**3)))


feed_forward = "blocks.0.feed_forward"
f, f_n, f_s = layer_norm(x1, *norm_weights(f"{feed_forward}_norm"))
up = weights[f"{feed_forward}.up.weight"], weights[f"{feed_forward}.up.bias"]
down = weights[f"{feed_forward}.down.weight"], weights[f"{feed_forward}.down.bias"]
u = linear(f, *up)  # (T, d_ff)
hidden = gelu(u)
x2 = x1 + linear(hidden, *down)
show("f = LayerNorm(x1)", f)
show("u = up(f)", u)
show("GELU(u)", hidden)
show("x2 = x1 + down(GELU(u))", x2, digits=6)

package_x2 = block(package_x0)
same(x2, package_x2)

# %% [markdown]
# **Output**: a last LayerNorm, then the output head gives each token of the vocabulary a score, the **logit** $z$.

# %%
h, h_n, h_s = layer_norm(x2, *norm_weights("final_norm"))
z = h @ weights["output_head.weight"].T  # (T, vocab_size)
p = softmax(z)
show("n of the last LayerNorm", h_n)
show("h = n + bias", h)
show(f"logits z for {VOCABULARY}", z)
show("probabilities p = softmax(z)", p)

same(z, model(torch.tensor([inputs])))

# %% [markdown]
# **Loss** (lesson 1): each token costs $-\ln p$ of the token that came, and the loss is the mean.

# %%
costs = [-math.log(p[t, target]) for t, target in enumerate(targets)]
for t, target in enumerate(targets):
    came = f"after {TOKENS[t]!r:>7} came {VOCABULARY[target]!r:>7}"
    print(f"{came}: p = {p[t, target]:.4f}, cost {costs[t]:.4f}")
loss_by_hand = sum(costs) / T
written = " + ".join(f"{cost:.4f}" for cost in costs)
print(f"loss = ({written}) / {T} = {loss_by_hand:.4f}")
assert math.isclose(loss_by_hand, before)

# %% [markdown]
# In the package this is `next_token_loss`. It divides the *sum* by the number of targets that count: a target may be `IGNORE`,
# which marks padding, and a batch may be cut into parts that share one divisor.


# %% tags=["package:minigpt.model.gpt.next_token_loss"]
def next_token_loss(
    logits: Tensor, targets: Tensor, n_targets: Tensor | int | None = None
) -> Tensor:
    """Cross-entropy in nats: the sum over the targets that count, by their number."""
    if n_targets is None:
        n_targets = (targets != IGNORE).sum().clamp(min=1)
    # bfloat16 has 3 digits, too few to add up
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return (
        F.cross_entropy(
            logits.flatten(0, 1),
            targets.flatten(),
            ignore_index=IGNORE,
            reduction="sum",
        )
        / n_targets
    )


# %%
came_next = torch.tensor([targets])  # (1, T)
loss_from_logits = next_token_loss(torch.tensor(z[None]), came_next)
assert math.isclose(loss_from_logits.item(), loss_by_hand)
print(f"next_token_loss: {loss_from_logits:.4f}")

# %% [markdown]
# ## Backward, from the end to the start
#
# From here on `g_x` means $\partial L / \partial x$: how fast the loss grows with each number of `x`. It has the shape of `x`. We
# begin at the loss, where the slope is 1, and walk back along the orange arrows. Each part gets the gradient of its output, and
# owes two things: the gradient of its input, for the part before it, and the gradients of its own weights.
#
# ![The tiny GPT from its embeddings through attention, feed-forward and output head to the loss; black arrows run forward along the residual stream and through both branches, thick orange arrows run back along the same paths in six numbered steps](../figures/gradient_flow.svg)
#
# After each part we ask torch whether it agrees. `torch_says` hands torch a function, an input and the gradient that arrives at the
# output, and gets back the gradient of the input.


# %%
def torch_says(
    function: Callable[[Tensor], Tensor], x: Array, g_output: Array | float
) -> Array:
    """The gradient of x, by autograd, when g_output arrives at function(x)."""
    leaf = torch.tensor(x, requires_grad=True)
    (gradient,) = torch.autograd.grad(function(leaf), leaf, torch.tensor(g_output))
    return gradient.numpy()


# %% [markdown]
# ### Step 1 · cross-entropy and softmax
#
# Take one position, with logits $z$ and the token $c$ that came. Its cost is
#
# $$-\ln p_c = -\ln \frac{e^{z_c}}{\sum_i e^{z_i}} = -z_c + \ln \sum_i e^{z_i}$$
#
# Raise the logit $z_j$ a little. The second term grows with slope $e^{z_j} / \sum_i e^{z_i}$, which is $p_j$. The first term
# falls with slope 1, if $j$ is the token that came, and does not change otherwise. So
#
# $$\frac{\partial (-\ln p_c)}{\partial z_j} = p_j - [j = c]$$
#
# **Probability minus truth.** The loss is a mean over $T = 3$ positions, so each gradient is divided by 3. Work out the first row
# before you look: the probabilities are 0.1647, 0.1601, 0.4112, 0.2640, and *and* came.

# %%
truth = np.eye(4)[targets]  # (T, vocab_size): 1 at the token that came
g_z = (p - truth) / T
show(f"g_z for {VOCABULARY}", g_z)

assert np.allclose(g_z, torch_says(lambda z: F.cross_entropy(z, came_next[0]), z, 1.0))
assert np.allclose(g_z.sum(axis=-1), 0)

# %% [markdown]
# A negative gradient says: raise this logit and the loss falls. Only the token that came has one. All others are pushed down, the
# more probable ones more. Each row sums to zero: push and pull balance.
#
# ### Exercise 2 · cross-entropy backward (optional) (★★☆, 10 min)
#
# Write this gradient for the package's loss. Some targets are `IGNORE` (−100): their positions do not count, so they get no
# gradient and do not enter the number to divide by. At least one target counts. Mind large logits: 1000 must not become infinite,
# and a row of large logits must not disturb its neighbours. Leave the tensors that you are given as they are.


# %% tags=["exercise"]
def cross_entropy_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    """The gradient of the mean loss in the logits, both (T, vocab_size)."""
    ### BEGIN SOLUTION
    counts = targets != IGNORE  # (T,)
    truth = F.one_hot(targets.where(counts, 0), logits.size(1))
    return (logits.softmax(dim=1) - truth) * counts[:, None] / counts.sum()
    ### END SOLUTION


# %%
check.cross_entropy_gradient(cross_entropy_gradient)

# %% [markdown]
# ### Step 2 · the output matrix
#
# A logit is a sum of products, $z_{tj} = \sum_i h_{ti} W_{ji}$. The weight $W_{ji}$ meets $h_{ti}$ in row $t$, so its slope there is
# $h_{ti}$. It is used in every row, and where paths meet, slopes add: $\partial L / \partial W_{ji} = \sum_t g_{z_{tj}}\, h_{ti}$.
# By the same reasoning $\partial L / \partial h_{ti} = \sum_j g_{z_{tj}} W_{ji}$. Both are matrix products.
#
# By hand for the weight of *and* and the first feature, the third column of `g_z` with the first of `h`:

# %%
W = weights["output_head.weight"]
g_W = g_z.T @ h  # (vocab_size, d_model)
g_h = g_z @ W  # (T, d_model)

terms = [f"({g_z[t, 2]:.4f}) · ({h[t, 0]:.4f})" for t in range(T)]
print(" + ".join(terms), f"= {sum(g_z[t, 2] * h[t, 0] for t in range(T)):.4f}")
show("g_W", g_W, VOCABULARY)
show("g_h", g_h)

assert np.allclose(g_W, torch_says(lambda W: torch.tensor(h) @ W.T, W, g_z))
assert np.allclose(g_h, torch_says(lambda h: h @ torch.tensor(W).T, h, g_z))

# %% [markdown]
# Every linear layer goes this way. One product forward, two products backward: that is why the backward pass costs about twice
# the forward pass. A bias is added in every row, so its gradient is the sum of the rows.


# %%
def linear_backward(g_y: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """The gradients of x, weight and bias, when g_y arrives at linear's output."""
    return g_y @ weight, g_y.T @ x, g_y.sum(axis=0)


# %% [markdown]
# ### Step 3 · LayerNorm
#
# Gain and bias are easy: $y_i = \text{gain}_i\, n_i + \text{bias}_i$ uses them in every row, so `g_gain` sums `g_y · n` over the
# rows, and `g_bias` sums `g_y`. And $n$ receives `g_n = g_y · gain`.
#
# Now to $x$. There are $d$ features ($d_{model} = 2$ here). Raise one of them, $x_j$. It reaches each $n_i = (x_i - \mu)/s$ of its
# row along three paths:
#
# 1. *directly*, if $i = j$: the slope is $1/s$;
# 2. *through the mean*: μ grows by a share $1/d$, so every deviation shrinks by it: $-1/(d\,s)$;
# 3. *through the divisor*: from $s^2 = \text{mean}((x - \mu)^2) + \varepsilon$ follows $2 s\, \partial s / \partial x_j =
#    2 (x_j - \mu) / d$, hence $\partial s / \partial x_j = n_j / d$. And $n_i$ shrinks by $n_i / s$ for each unit of $s$:
#    $-n_i n_j / (d\, s)$.
#
# (In path 3 the mean moves as well, but that changes nothing: the deviations sum to zero.) Paths that meet add up:
#
# $$\frac{\partial n_i}{\partial x_j} = \frac{1}{s} \Big( [i = j] - \frac{1}{d} - \frac{n_i n_j}{d} \Big)$$
#
# For the first token these are 2 × 2 slopes, and each feature collects from every $n_i$:
# $g_{x_j} = \sum_i g_{n_i}\, \partial n_i / \partial x_j$.

# %%
n, s = h_n[0], h_s[0, 0]  # of the first token
direct, by_the_mean = np.eye(2), np.full((2, 2), 1 / 2)
by_the_divisor = np.outer(n, n) / 2
slopes = (direct - by_the_mean - by_the_divisor) / s
show("1. directly", direct, ["n_0", "n_1"])
show("2. through the mean", by_the_mean, ["n_0", "n_1"])
show("3. through the divisor", by_the_divisor, ["n_0", "n_1"])
show(f"slopes: (1. − 2. − 3.) / s, where s = {s:.4f}", slopes, ["n_0", "n_1"])

g_n = g_h[0] * weights["final_norm.weight"]
g_row = g_n @ slopes
print("what arrives, g_n:  ", [f"{value:.4f}" for value in g_n])
print("times the slopes:   ", [f"{value:.4f}" for value in g_row])

# %% [markdown]
# The same for every row:


# %%
def layer_norm_by_table(
    g_y: Array, n: Array, s: Array, gain: Array
) -> tuple[Array, Array, Array]:
    """The gradients of x, gain and bias, when g_y arrives at layer_norm's output."""
    d = n.shape[-1]
    squares = n[:, :, None] * n[:, None, :]  # (T, d, d)
    slopes = (np.eye(d) - 1 / d - squares / d) / s[:, :, None]
    g_x = ((g_y * gain)[:, None, :] @ slopes)[:, 0]
    return g_x, (g_y * n).sum(axis=0), g_y.sum(axis=0)


g_x2, g_final_gain, g_final_bias = layer_norm_by_table(
    g_h, h_n, h_s, weights["final_norm.weight"]
)
show("g_x2", g_x2)

assert np.allclose(g_x2[0], g_row)
assert np.allclose(g_x2, torch_says(model.final_norm, x2, g_h), atol=1e-10)

# %% [markdown]
# #### What gets through (optional)
#
# Each row of `g_x2` sums to zero. LayerNorm subtracts the mean, so pushing all features up by the same amount changes nothing, and
# the gradient has no such part. Nor has it a part along $n$: stretching all deviations changes nothing either, but for
# $\varepsilon$. Of $d$ directions, two are lost.
#
# With two features that is all of them. What remains in our tiny model lives from $\varepsilon$ alone, which is why the
# embeddings had to be small. At GPT-2's width nearly everything gets through:

# %%
random = np.random.default_rng(0)
for width, rows in ((2, 1000), (8, 1000), (768, 10)):
    x_random, g_random = random.standard_normal((2, rows, width))
    _, n_random, s_random = layer_norm(x_random, np.ones(width), np.zeros(width))
    passed, _, _ = layer_norm_by_table(g_random, n_random, s_random, np.ones(width))
    share = ((passed * s_random) ** 2).sum() / (g_random**2).sum()
    print(f"{width:3} features: {share:6.1%} of the squared gradient pass,", end=" ")
    print(f"(d - 2) / d = {(width - 2) / width:6.1%}")

# %% [markdown]
# ### Exercise 3 · LayerNorm, there and back (★★★, 20 min)
#
# A row of GPT-2 has 768 features, so its table would hold 589,824 slopes, and 25 LayerNorms each need one for every token. It is
# never built. Insert the slopes into $g_{x_j} = \sum_i g_{n_i}\, \partial n_i / \partial x_j$ and split the sum at the minus
# signs: each of the three parts needs one number a row at most.
#
# Write the whole layer without any table, forward and backward, for $x$ of shape (T, d). The judge is nudging: the check moves
# every number of x, gain and bias to both sides, runs *your* forward pass, and compares the slopes with those that you return, in
# the order of the way back. So its first complaint tells where to look.


# %% tags=["exercise"]
def layer_norm_both_ways(
    x: Tensor, gain: Tensor, bias: Tensor, eps: float, g_y: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """LayerNorm of each row of x, (T, d), and its way back when g_y arrives at y.

    Returns:
        y, (T, d), and the gradients of x, (T, d), of gain, (d,), and of bias, (d,).
    """
    ### BEGIN SOLUTION
    # Forward. Keep n and s: the way back needs both.
    deviation = x - x.mean(dim=-1, keepdim=True)  # (T, d)
    s = (deviation.square().mean(dim=-1, keepdim=True) + eps).sqrt()  # (T, 1)
    n = deviation / s
    y = gain * n + bias

    # Gain and bias act in every row, so their slopes are sums over the rows.
    g_gain = (g_y * n).sum(dim=0)
    g_bias = g_y.sum(dim=0)

    # Three paths from x to n: directly, through the mean, through the divisor.
    g_n = g_y * gain
    by_the_mean = g_n.mean(dim=-1, keepdim=True)  # (T, 1)
    by_the_divisor = n * (g_n * n).mean(dim=-1, keepdim=True)  # (T, d)
    g_x = (g_n - by_the_mean - by_the_divisor) / s
    return y, g_x, g_gain, g_bias
    ### END SOLUTION


# %%
check.layer_norm_both_ways(layer_norm_both_ways)

# %% [markdown]
# ### Step 4 · the residual stream and the feed-forward network
#
# $x_2 = x_1 + \text{feed\_forward}(x_1)$. Two paths lead from $x_1$ to $x_2$. Along the straight one the slope is 1, so **the gradient
# passes the addition unchanged**: `g_x1` starts as a copy of `g_x2`. What comes back through the feed-forward network is added.
#
# In the network we meet linear layers, a LayerNorm, and GELU. A function of one number has one slope; with
# $t = \tanh(\ldots)$, whose slope is $1 - t^2$, the product rule gives
#
# $$\text{GELU}'(u) = \tfrac12 (1 + t) + \tfrac12\, u\, (1 - t^2) \sqrt{2/\pi}\, (1 + 3 \cdot 0.044715\, u^2)$$


# %%
def gelu_slope(u: Array) -> Array:
    """How fast gelu(u) grows with u."""
    t = np.tanh(SQRT_2_OVER_PI * (u + 0.044715 * u**3))
    inner = SQRT_2_OVER_PI * (1 + 3 * 0.044715 * u**2)
    return 0.5 * (1 + t) + 0.5 * u * (1 - t**2) * inner


f_gain = weights[f"{feed_forward}_norm.weight"]
g_hidden, g_down, g_down_bias = linear_backward(g_x2, hidden, down[0])
g_u = g_hidden * gelu_slope(u)
g_f, g_up, g_up_bias = linear_backward(g_u, f, up[0])
g_ffn, g_f_gain, g_f_bias = layer_norm_by_table(g_f, f_n, f_s, f_gain)
g_x1 = g_x2 + g_ffn
for name, matrix in (("g_hidden", g_hidden), ("g_u", g_u), ("g_f", g_f)):
    show(name, matrix)
show("out of the branch", g_ffn)
show("g_x1", g_x1)

assert np.allclose(g_u, torch_says(nn.GELU(approximate="tanh"), u, g_hidden))

# %% [markdown]
# Compare the last two: most of `g_x1` came straight down the residual stream. In a deep model this path keeps the gradient alive
# from the loss to the embeddings (lesson 7 measured it).
#
# ### Step 5 · attention (optional)
#
# On a first reading you may go on to step 6: what comes out of this step is `g_x0`, the gradient of the embeddings.
#
# First the output projection, then $A v$. It is a product of two matrices that both depend on the input, so it sends gradients to
# both: $g_A = g_{\text{mixed}}\, v^\top$ and $g_v = A^\top g_{\text{mixed}}$.

# %%
g_mixed, g_output, g_output_bias = linear_backward(g_x1, mixed, to_stream[0])
g_A = g_mixed @ v.T  # (T, T)
g_v = A.T @ g_mixed  # (T, d_k)
show("g_A", g_A)
show("g_v", g_v)

# %% [markdown]
# Now through the softmax. In one row, raise the score $s_j$. The weight $a_j$ grows, and all others shrink, because the row must
# sum to 1:
#
# $$\frac{\partial a_i}{\partial s_j} = a_i \big([i = j] - a_j\big)$$
#
# (The quotient rule, applied to $e^{s_i} / \sum_k e^{s_k}$; lesson 4 has met this table.) For the third token this is a table of 3 × 3
# slopes, and each score collects from every weight. Once more no table is needed; split the sum at the bracket:
#
# $$g_{s_j} = \sum_i g_{a_i}\, a_i \big([i = j] - a_j\big) = a_j \Big( g_{a_j} - \sum_i g_{a_i} a_i \Big)$$


# %%
def softmax_backward(g_A: Array, A: Array) -> Array:
    """The gradient of the scores, when g_A arrives at A = softmax(scores)."""
    return A * (g_A - (g_A * A).sum(axis=-1, keepdims=True))


table = [[A[2, i] * ((i == j) - A[2, j]) for j in range(T)] for i in range(T)]
third = np.array(table)
show("third row: slopes of the weights (down) in the scores (across)", third, TOKENS)
g_scores = softmax_backward(g_A, A)
show("g_scores", g_scores)

assert np.allclose(g_scores[2], g_A[2] @ third)
assert np.allclose(g_scores.sum(axis=-1), 0)
assert np.allclose(g_scores, torch_says(lambda s: s.softmax(dim=-1), scores, g_A))

# %% [markdown]
# A masked weight is 0, and then all its slopes are 0: nothing flows back from the future. The first row can attend only to itself, its
# weight is 1 whatever the score, and its gradient is 0.
#
# Scores are $q k^\top / \sqrt{d_k}$, again a product: divide by $\sqrt{d_k}$, then one product for the queries and one for the keys.
# Queries, keys and values came from one linear layer, so their gradients go back through it side by side. Then LayerNorm,
# and the addition.

# %%
g_q = g_scores @ k / math.sqrt(2)
g_k = g_scores.T @ q / math.sqrt(2)
g_qkv = np.concatenate([g_q, g_k, g_v], axis=-1)  # (T, 3 d_model)
a_gain = weights[f"{attention}_norm.weight"]
qkv_weight = weights[f"{attention}.qkv.weight"]
g_a, g_qkv_weight, g_qkv_bias = linear_backward(g_qkv, a, qkv_weight)
g_attention, g_a_gain, g_a_bias = layer_norm_by_table(g_a, a_n, a_s, a_gain)
g_x0 = g_x1 + g_attention
show("g_qkv", g_qkv)
show("g_qkv_weight", g_qkv_weight, ["q", "q", "k", "k", "v", "v"])
show("g_qkv_bias", g_qkv_bias[None], [""])
show("g_x0", g_x0)

assert np.allclose(g_qkv_bias[2:4], 0)

# %% [markdown]
# The bias of the keys has no gradient, and never will. The same vector added to every key adds the same number to all scores of a
# query, and softmax does not see that.
#
# ### Step 6 · one row of the embedding
#
# $x_0$ is a row of the token embedding plus a row of the position embedding. Each position was used once, so its gradient is its row
# of `g_x0`. *again* was read twice, at positions 0 and 2: its row is on two paths, and slopes add.

# %%
g_positions = g_x0
g_tokens = np.zeros_like(weights["token_embedding.weight"])
for t, token in enumerate(inputs):
    g_tokens[token] += g_x0[t]
sums = [f"{g_x0[0, i]:.4f} + {g_x0[2, i]:.4f} = {g_tokens[1, i]:.4f}" for i in range(2)]
print("again:", " and ".join(sums))
show("g_tokens", g_tokens, VOCABULARY)

# %% [markdown]
# The rows of *.* and *never* get nothing, because the model did not read them. Where embedding and output head share one matrix, as in
# GPT-2 (lesson 8), it is on two paths once more: its gradient would be `g_tokens` plus `g_W`, and every row would move.

# %% [markdown]
# ## The whole of it on one page (optional)
#
# You have read every line of this. Here they stand together in one function, as they run: 75 numbers in, the loss and 75 slopes out. The way back mirrors the way forward, line by line from
# the end. It needs `a`, `n`, `s`, `q`, `k`, `v`, `A` and more once again: what was computed on the way forward must be kept until
# then, and in a real model that takes much memory (lesson 8). (`norm_backward` is an argument so that we can put a bug into it later.)


# %%
def forward_and_backward(
    w: dict[str, Array],
    norm_backward: Callable[..., tuple[Array, Array, Array]] = layer_norm_by_table,
) -> tuple[float, dict[str, Array]]:
    """The loss on our text, and its gradient with the names of the weights."""
    g = dict[str, Array]()

    def norm(name: str, x: Array) -> tuple[Array, Array, Array]:
        return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def through(name: str, x: Array) -> Array:
        return linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm_back(name: str, g_y: Array, n: Array, s: Array) -> Array:
        back = norm_backward(g_y, n, s, w[f"{name}.weight"])
        g_x, g[f"{name}.weight"], g[f"{name}.bias"] = back
        return g_x

    def linear_back(name: str, g_y: Array, x: Array) -> Array:
        back = linear_backward(g_y, x, w[f"{name}.weight"])
        g_x, g[f"{name}.weight"], g[f"{name}.bias"] = back
        return g_x

    x0 = w["token_embedding.weight"][inputs] + w["position_embedding.weight"]
    a, a_n, a_s = norm(f"{attention}_norm", x0)
    q, k, v = np.split(through(f"{attention}.qkv", a), 3, axis=-1)
    A = softmax(np.where(visible, q @ k.T / math.sqrt(2), -np.inf))
    x1 = x0 + through(f"{attention}.output", A @ v)
    f, f_n, f_s = norm(f"{feed_forward}_norm", x1)
    u = through(f"{feed_forward}.up", f)
    x2 = x1 + through(f"{feed_forward}.down", gelu(u))
    h, h_n, h_s = norm("final_norm", x2)
    p = softmax(h @ w["output_head.weight"].T)
    loss = -np.log(p[range(T), targets]).mean()

    g_z = (p - truth) / T
    g["output_head.weight"] = g_z.T @ h
    g_x2 = norm_back("final_norm", g_z @ w["output_head.weight"], h_n, h_s)
    g_u = linear_back(f"{feed_forward}.down", g_x2, gelu(u)) * gelu_slope(u)
    g_f = linear_back(f"{feed_forward}.up", g_u, f)
    g_x1 = g_x2 + norm_back(f"{feed_forward}_norm", g_f, f_n, f_s)
    g_mixed = linear_back(f"{attention}.output", g_x1, A @ v)
    g_scores = softmax_backward(g_mixed @ v.T, A) / math.sqrt(2)
    g_qkv = np.concatenate([g_scores @ k, g_scores.T @ q, A.T @ g_mixed], axis=-1)
    g_a = linear_back(f"{attention}.qkv", g_qkv, a)
    g_x0 = g_x1 + norm_back(f"{attention}_norm", g_a, a_n, a_s)
    g["position_embedding.weight"] = g_x0
    g["token_embedding.weight"] = np.zeros_like(w["token_embedding.weight"])
    np.add.at(g["token_embedding.weight"], inputs, g_x0)  # an id may come twice
    return float(loss), g


loss_on_one_page, gradient = forward_and_backward(weights)
assert math.isclose(loss_on_one_page, loss_by_hand)
assert np.allclose(gradient["token_embedding.weight"], g_tokens)
assert np.allclose(gradient["output_head.weight"], g_W)
n_slopes = sum(g.size for g in gradient.values())
print(f"loss {loss_on_one_page:.4f}, {n_slopes} slopes")

# %% [markdown]
# Two judges who know nothing of our formulas: autograd, on the package's model, and nudging, on our own forward pass. They are
# shown every one of the 75.


# %%
def nudged_gradient(w: dict[str, Array], nudge: float = 1e-6) -> dict[str, Array]:
    """The slope of the loss in every number, each nudged to both sides."""
    slopes = {name: np.zeros_like(values) for name, values in w.items()}
    for name, values in w.items():
        for i in np.ndindex(values.shape):
            up, down = values.copy(), values.copy()
            up[i] += nudge
            down[i] -= nudge
            higher, _ = forward_and_backward(w | {name: up})
            lower, _ = forward_and_backward(w | {name: down})
            slopes[name][i] = (higher - lower) / (2 * nudge)
    return slopes


of_torch = torch.autograd.grad(package_loss(model), list(model.parameters()))
names = [name for name, _ in model.named_parameters()]
autograd = {name: slope.numpy() for name, slope in zip(names, of_torch, strict=True)}
nudged_slopes = nudged_gradient(weights)

print(f"{'':<36}{'numbers':>7}{'size':>9}  autograd  nudging")
for name, ours in gradient.items():
    by_torch = np.allclose(ours, autograd[name], atol=1e-10)
    by_nudging = np.allclose(ours, nudged_slopes[name], atol=1e-6)
    typical = math.sqrt((ours**2).mean())  # root of the mean square
    verdicts = ["equal" if agrees else "NOT" for agrees in (by_torch, by_nudging)]
    print(f"{name:<36}{ours.size:>7}{typical:>9.4f}  {verdicts[0]:<8}  {verdicts[1]}")
    assert by_torch and by_nudging

# %% [markdown]
# ## The gradient check, as a tool
#
# Most bugs in a backward pass raise no error, and the loss may even fall. Here is one that is easily made: LayerNorm's gradient without
# the path through the mean. Compare with nudging, in the order of the way back:


# %%
def forgets_the_mean(
    g_y: Array, n: Array, s: Array, gain: Array
) -> tuple[Array, Array, Array]:
    """The way back through LayerNorm, without the path through the mean."""
    g_n = g_y * gain
    g_x = (g_n - n * (g_n * n).mean(axis=-1, keepdims=True)) / s
    return g_x, (g_y * n).sum(axis=0), g_y.sum(axis=0)


suspect = forward_and_backward(weights, forgets_the_mean)[1]
for name, ours in suspect.items():
    scale = (np.abs(ours) + np.abs(nudged_slopes[name])).max()
    worst = np.abs(ours - nudged_slopes[name]).max() / scale
    print(f"{name:<36} {'wrong' if worst > 1e-4 else 'right'}")

# %% [markdown]
# Output head, gain and bias of the last LayerNorm are right. Everything before them is wrong. So the mistake sits between them:
# in what LayerNorm hands back to its input. **The last right gradient on the way back points at the line.**
#
# Check gradients in float64. A nudged loss agrees with its neighbour in nearly all digits, and float32 has few of them.

# %% [markdown]
# ## What to do with a gradient
#
# <div class="alert alert-warning">
# <b>You may have read</b> that networks «learn by backpropagation», as if it were the thing that changes the weights. It changes
# none. Backpropagation computes slopes. What to do with them is a second decision, made by the <b>optimiser</b>, and from the same
# gradient two optimisers make different weights.
# </div>

# %%
for rule, make in {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}.items():
    fresh = gpt_with(weights)
    mover = make(fresh.parameters(), lr=0.001)
    package_loss(fresh).backward()
    still = fresh.state_dict()
    unchanged = all(np.array_equal(weights[n], still[n].numpy()) for n in weights)
    mover.step()
    head = fresh.output_head.weight.detach().numpy()
    moved = head - weights["output_head.weight"]
    print(f"weights unchanged by backward: {unchanged}")
    print(f"{rule:<4} then moves two by {moved[0, 0]:+.4f} and {moved[2, 0]:+.4f}")
    assert unchanged

# %% [markdown]
# The plainest optimiser subtracts the gradient, times the learning rate. On batches drawn at random it is called **SGD**, stochastic
# gradient descent. For an *infinitely* small step no direction is better than that against the gradient.
#
# But steps are finite. Look at the sizes in the table above: a bias in the feed-forward network has slopes around 0.07, one after it
# around 2.6. One learning rate for both is too timid for the first, or too bold for the second.
#
# ## AdamW by hand
#
# **Adam** (Kingma and Ba 2015, algorithm 1) gives each number a step size of its own. It keeps two running means for every weight:
# $m$ of the gradient, and $v$ of its square. The step is the one divided by the root of the other:
#
# $$m_t = \beta_1 m_{t-1} + (1 - \beta_1)\, g_t \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2$$
# $$\hat m_t = \frac{m_t}{1 - \beta_1^t} \qquad \hat v_t = \frac{v_t}{1 - \beta_2^t} \qquad
# \text{step}_t = \eta\, \frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon}$$
#
# Both means begin at 0, so at first they are too small. After $t$ steps the weights of all gradients in $m_t$ sum to $1 - \beta_1^t$
# only; to divide by that makes it a true mean (section 3 of the paper).
#
# The **W** is **weight decay**: besides the step, each weight shrinks by a small share of itself, $\eta \lambda$ (Loshchilov and Hutter
# 2019, algorithm 2; they multiply $\lambda$ by the schedule only, torch by the whole learning rate $\eta$).
#
# We do two steps for one weight, in the output head for *.* and the first feature. It is −1, and its slope is −0.2857. Try the first
# step on paper: $\eta = 0.001$, $\beta_1 = 0.9$, $\beta_2 = 0.95$, $\lambda = 0.1$, the package's defaults.

# %%
lr, beta1, beta2, epsilon, decay = 0.001, 0.9, 0.95, 1e-8, 0.1

g1 = gradient["output_head.weight"][0, 0]
m1 = (1 - beta1) * g1  # beta1 · 0 + …
v1 = (1 - beta2) * g1**2
m1_hat = m1 / (1 - beta1)
v1_hat = v1 / (1 - beta2)
step1 = lr * m1_hat / (math.sqrt(v1_hat) + epsilon)
w0 = weights["output_head.weight"][0, 0]
w1 = w0 - lr * decay * w0 - step1

print(f"g = {g1:.4f}   m = {m1:.4f}   v = {v1:.4f}")
print(f"corrected: m = {m1_hat:.4f}, v = {v1_hat:.4f}")
print(f"step  = {lr} · {m1_hat:.4f} / √{v1_hat:.4f} = {step1:.4f}")
print(f"decay = {lr} · {decay} · {w0:.4f} = {lr * decay * w0:.4f}")
print(f"w     = {w0:.4f} − ({lr * decay * w0:.4f}) − ({step1:.4f}) = {w1:.4f}")

# %% [markdown]
# In the first step, corrected $m$ is $g$ and corrected $v$ is $g^2$. So the step is $\eta\, g / |g|$: the learning rate, with a sign.
#
# Now the package's AdamW, on the whole model. It is torch's, with the parameters in two groups: matrices decay, gains and biases do not.
# For the second step by hand, the gradient comes from our own backward pass at the new weights.

# %%
settings = TrainConfig(learning_rate=lr, beta1=beta1, beta2=beta2, weight_decay=decay)
pupil = gpt_with(weights)
optimizer = make_optimizers(pupil, settings)["adamw"]


def package_step() -> dict[str, Array]:
    """One step of the package's AdamW: the weights after it."""
    optimizer.zero_grad()
    package_loss(pupil).backward()
    optimizer.step()
    return {name: values.numpy().copy() for name, values in pupil.state_dict().items()}


after1 = package_step()
print(f"minigpt after one step: {after1['output_head.weight'][0, 0]:.4f}")
assert math.isclose(after1["output_head.weight"][0, 0], w1, abs_tol=1e-12)

loss1, gradient1 = forward_and_backward(after1)
g2 = gradient1["output_head.weight"][0, 0]
m2 = beta1 * m1 + (1 - beta1) * g2
v2 = beta2 * v1 + (1 - beta2) * g2**2
m2_hat = m2 / (1 - beta1**2)
v2_hat = v2 / (1 - beta2**2)
step2 = lr * m2_hat / (math.sqrt(v2_hat) + epsilon)
w2 = w1 - lr * decay * w1 - step2

print(f"\ng = {g2:.4f}   m = {m2:.4f}   v = {v2:.4f}")
print(f"corrected: m = {m2_hat:.4f}, v = {v2_hat:.4f}")
print(f"step  = {lr} · {m2_hat:.4f} / √{v2_hat:.4f} = {step2:.4f}")
print(f"w     = {w1:.4f} − ({lr * decay * w1:.4f}) − ({step2:.4f}) = {w2:.4f}")

after2 = package_step()
print(f"minigpt after two steps: {after2['output_head.weight'][0, 0]:.4f}")
assert math.isclose(after2["output_head.weight"][0, 0], w2, abs_tol=1e-12)
loss2 = forward_and_backward(after2)[0]
print(f"\nloss: {loss_by_hand:.4f}, then {loss1:.4f}, then {loss2:.4f}")

# %% [markdown]
# Two steps, and the loss has fallen twice. That is training; lesson 10 does it some thousand times.
#
# <div class="alert alert-warning">
# <b>You may have read</b> that an optimiser takes large steps where the gradient is large and small steps where it is small. Adam
# does not. Its first step is the learning rate for <i>every</i> number, whether its slope is 2.66 or 0.0055. Later steps are shorter where
# the gradients of recent batches disagree in sign. The size of the gradient cancels out (Kingma and Ba 2015, section 2.1).
# </div>

# %%
steps = {  # without the decay, which only matrices have
    name: after1[name] - values * (1 - lr * (decay if values.ndim == 2 else 0.0))
    for name, values in weights.items()
}
print("slope     first step, decay taken out")
for name, at in (
    ("output_head.weight", (0, 0)), ("blocks.0.feed_forward.down.weight", (0, 2)),
    ("blocks.0.feed_forward_norm.bias", (1,)), ("blocks.0.attention.qkv.bias", (2,)),
    ("token_embedding.weight", (3, 0)),
):  # fmt: skip
    pair = [round(float(table[name][at]), 4) + 0.0 for table in (gradient, steps)]
    print(f"{pair[0]:+.4f}   {pair[1]:+.4f}   {name} {list(at)}")

with_slope = [steps[name][np.abs(gradient[name]) > 1e-5] for name in steps]
every_step = np.concatenate(with_slope)
shortest, longest = np.abs(every_step).min(), np.abs(every_step).max()
print(f"\n{len(every_step)} of 75 numbers have a slope:", end=" ")
print(f"they moved by {shortest:.4f} to {longest:.4f}")
assert np.allclose(np.abs(every_step), lr, rtol=1e-4)

# %% [markdown]
# The last two have no slope: a bias of the keys, and *never*, which was not read. They take no step. Here $\epsilon$ does its work: it
# keeps 0/0 from happening, and slopes that are only rounding noise from becoming whole steps.
#
# ### Exercise 4 · a step of AdamW (★★☆, 10 min)
#
# Write the step for a tensor of any shape. You get the running means from the step before, and the number of this step, counted from 1.
# Return the new weights, $m$ and $v$ as new tensors, and leave those that you are given as they are. The corrected means are used
# once and not kept.


# %% tags=["exercise"]
def adamw_step(
    weight: Tensor, gradient: Tensor, m: Tensor, v: Tensor, step: int,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The weight, m and v after this step; step counts from 1."""
    ### BEGIN SOLUTION
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    weight = weight - lr * weight_decay * weight - lr * m_hat / (v_hat.sqrt() + eps)
    return weight, m, v
    ### END SOLUTION


# %%
check.adamw_step(adamw_step)

# %% [markdown]
# ### Weight decay is not L2 (optional)
#
# Another way to keep weights small is older: add $\frac{\lambda}{2} \sum w^2$ to the loss. This is **L2 regularisation**. Its slope is
# $\lambda w$, so the gradient becomes $g + \lambda w$. With SGD it is the same thing as weight decay: $w - \eta (g + \lambda w)$ is
# $w - \eta \lambda w - \eta g$, whichever way you group it.
#
# <div class="alert alert-warning">
# <b>You may have read</b> that weight decay and L2 regularisation are two names for one thing. For SGD they are (Loshchilov and Hutter
# 2019, proposition 1). For Adam they are not (proposition 2): put into the gradient, <i>λw</i> is divided by <i>√v</i> like
# everything else. A weight with large gradients then hardly shrinks, and one with tiny gradients shrinks fast.
# </div>
#
# To see it, take two weights of 1 whose gradients are pure noise, +g and −g in turn: for one weight g is 10, for the other 0.1. Nothing
# pulls them but the decay. In torch, `Adam(weight_decay=…)` is L2 and `AdamW(weight_decay=…)` is decoupled.

# %%
sizes = torch.tensor([10.0, 0.1], dtype=torch.float64)  # of the two weights' gradients
kinds = {
    "SGD, L2": torch.optim.SGD,
    "Adam, L2": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
}
for name, kind in kinds.items():
    two = nn.Parameter(torch.ones(2, dtype=torch.float64))
    chosen = kind([two], lr=0.01, weight_decay=0.1)
    for number in range(200):
        two.grad = sizes * (1 if number % 2 else -1)
        chosen.step()
    large, small = two.tolist()
    print(f"{name:<9} gradients of size 10: {large:.2f}, of size 0.1: {small:.2f}")
print(f"pure decay: (1 − 0.01 · 0.1)^200 = {(1 - 0.01 * 0.1) ** 200:.2f}")

# %% [markdown]
# SGD and AdamW shrink both weights alike, as intended. Adam with L2 leaves the one with large gradients nearly as it was, and drives the
# other toward zero.

# %% [markdown]
# ## Three knobs (optional)
#
# Learning rate, batch size, clipping: now that every part of a step is known, each can be seen at work. We need a model that trains in a
# second and a text with a known floor. The text repeats three random tokens, such as `5 2 7 5 2 7 5 2`. The second and third
# are pure chance and cost ln 8 each. All later ones can be known by looking three positions back. So of seven targets two cost ln 8, and the
# floor is $2 \ln 8 / 7$.


# %%
def batch(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs and targets, (size, 7) each."""
    sequences = torch.randint(8, (size, 3), generator=generator).repeat(1, 3)[:, :8]
    return sequences[:, :-1], sequences[:, 1:]


def small_gpt() -> GPT:
    """A GPT of 2,496 parameters, with the same weights each time and everywhere."""
    config = GPTConfig(
        vocab_size=8, context_length=7, n_layers=1, n_heads=2, d_model=16, d_ff=32
    )
    model = GPT(config).double()
    random = np.random.default_rng(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                drawn = random.normal(0, 0.02, parameter.shape)
                parameter.copy_(torch.tensor(drawn))
    return model


def adamw(model: GPT, learning_rate: float) -> torch.optim.Optimizer:
    """The package's AdamW."""
    return make_optimizers(model, TrainConfig(learning_rate=learning_rate))["adamw"]


def train(
    optimizer: torch.optim.Optimizer,
    model: GPT,
    steps: int,
    accident: int = -1,
    clip_at: float = 0.0,
    seed: int = 1,
) -> list[float]:
    """Train on batches of 16. At step `accident` the gradient is 100 times too long."""
    generator, losses = torch.Generator().manual_seed(seed), []
    for step in range(steps):
        inputs, targets = batch(16, generator)
        loss = next_token_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        for parameter in model.parameters():
            if step == accident and parameter.grad is not None:
                parameter.grad *= 100
        if clip_at:
            nn.utils.clip_grad_norm_(model.parameters(), clip_at)
        optimizer.step()
    return losses


def mean_of_ten(losses: list[float], step: int) -> float:
    """The mean loss of the ten steps before this one."""
    return round(sum(losses[step - 10 : step]) / 10, 2)


bound = 2 * math.log(8) / 7
print(f"knows nothing: {math.log(8):.2f}, floor: {bound:.2f}")
print(f"parameters: {parameter_count(small_gpt().config):,}")

# %% [markdown]
# ### Learning rate
#
# The same model, the same 150 batches, six learning rates. (With the largest ones the digits differ from computer to computer: a run
# that overshoots makes rounding errors large.)

# %% tags=["nbval-ignore-output"]
rates = [0.0001, 0.001, 0.01, 0.03, 0.1, 0.3]
ends = []
for rate in rates:
    student = small_gpt()
    ends.append(mean_of_ten(train(adamw(student, rate), student, 150), 150))
print(dict(zip(rates, ends, strict=True)))
plots.curves(
    {"loss after 150 steps": (rates, ends), "floor": (rates, [round(bound, 2)] * 6)},
    "learning rate of AdamW",
    "loss (nats per token)",
    log="x",
)

# %% [markdown]
# At 0.0001 the model has learned next to nothing in 150 steps. At 0.3 neither: its steps overshoot, as with our one weight at the
# beginning. Between them lies a valley, in which a factor of three hardly matters. When a model does not learn, try this knob first, by
# factors of three. (Lesson 10 lets the rate rise and fall during a run.)

# %%
nothing_learned = 0.9 * math.log(8)
print("0.0001 and 0.3 learn next to nothing:", min(ends[0], ends[-1]) > nothing_learned)
print("0.01 and 0.03 come within 0.2 of the floor:", max(ends[2:4]) < bound + 0.2)
assert min(ends[0], ends[-1]) > nothing_learned and max(ends[2:4]) < bound + 0.2

# %% [markdown]
# At the edge of the valley it is a matter of luck. Draw other batches, and the rate of 0.1 ends near the floor, or far above it. Here are
# five draws for each of two rates:

# %% tags=["nbval-ignore-output"]
draws: dict[float, list[float]] = {0.03: [], 0.1: []}
for rate, results in draws.items():
    for seed in range(2, 7):
        student = small_gpt()
        losses = train(adamw(student, rate), student, 150, seed=seed)
        results.append(mean_of_ten(losses, 150))
    print(f"rate {rate:<4}: {results}, apart by {max(results) - min(results):.2f}")

# %% [markdown]
# So a single run says little about a rate near the edge, and the middle of the valley is worth more than its lowest point.

# %%
# measured over eight draws: 0.60 to 0.71 at a rate of 0.03, 0.62 to 1.33 at 0.1
print(
    "0.03 comes within 0.2 of the floor in every draw:", max(draws[0.03]) < bound + 0.2
)
assert max(draws[0.03]) < bound + 0.2

# %% [markdown]
# ### Batch size
#
# The gradient we want is that of all texts. A batch gives an estimate from a few. How far off is it? Here we can know exactly: three
# tokens of eight kinds make only 8³ = 512 texts, and the mean over all of them *is* the gradient we want. We measure how long the error of
# a batch is, compared with that.

# %%
untrained = small_gpt()


def gradient_of(inputs: Tensor, targets: Tensor) -> Tensor:
    """The gradient of one batch, all parameters in a row."""
    loss = next_token_loss(untrained(inputs), targets)
    slopes = torch.autograd.grad(loss, list(untrained.parameters()))
    return torch.cat([slope.flatten() for slope in slopes])


triples = torch.tensor(list(itertools.product(range(8), repeat=3)))  # (512, 3)
every_text = triples.repeat(1, 3)[:, :8]
true_gradient = gradient_of(every_text[:, :-1], every_text[:, 1:])
draw = torch.Generator().manual_seed(2)
print(f"{len(every_text)} texts")
for n_texts in (1, 4, 16, 64):
    misses = [gradient_of(*batch(n_texts, draw)) - true_gradient for _ in range(100)]
    typical_miss = torch.stack(misses).square().sum(dim=1).mean().sqrt()
    ratio = typical_miss.item() / true_gradient.norm().item()
    times_root = ratio * math.sqrt(n_texts)
    print(f"batch of {n_texts:2}: error / gradient {ratio:4.1f},", end=" ")
    print(f"× √{n_texts}: {times_root:.0f}")

# %% [markdown]
# Four times the batch, half the error: the mean of $B$ independent estimates errs by $1/\sqrt B$. Four times the batch is also four times
# the work. Once the error is shorter than the gradient, a larger batch buys little: McCandlish et al. (2018) turn this ratio of noise to
# gradient into an estimate of the useful batch size. In a fresh model, as here, the noise dwarfs the gradient, and training works
# nonetheless: over many small steps the errors cancel.
#
# ### Clipping
#
# Sometimes a gradient comes out far too long: an odd batch, a cliff in the loss. We stage it. At step 30 the gradient is 100 times too
# long, once. **Clipping** scales a gradient that is longer than a limit down to that limit and keeps its direction (Pascanu et al. 2013,
# algorithm 1).

# %%
for rule, rate in (("SGD", 0.3), ("AdamW", 0.03)):
    for how, accident, clip_at in (
        ("undisturbed", -1, 0.0), ("accident", 30, 0.0), ("accident, clipped", 30, 1.0)
    ):  # fmt: skip
        student = small_gpt()
        sgd = torch.optim.SGD(student.parameters(), lr=rate)
        walker = sgd if rule == "SGD" else adamw(student, rate)
        path = train(walker, student, 100, accident, clip_at)
        at_steps = [f"{at}: {mean_of_ten(path, at):5.2f}" for at in (30, 40, 70, 100)]
        print(f"{rule + ', ' + how:<25} loss before step", ", ".join(at_steps))

# %% [markdown]
# SGD takes a step 100 times too long, and the loss shoots far above that of a model that knows nothing. Adam cannot take a long step: the
# length cancels. What happens instead is quieter. The huge gradient stays in $m$, which keeps pushing in its direction, and in $v$, which
# makes all later steps too short. Seventy steps later the run is still behind, and you would look for the reason everywhere but there. With
# clipping, both runs stay near the undisturbed ones.

# %% [markdown]
# ## What to remember
#
# 1. Along a path slopes multiply, where paths meet they add. Backpropagation applies this from the loss to the embeddings, once, for all weights.
# 2. At the loss the gradient is probability minus truth. A linear layer forward is one product, backward two. An addition passes the gradient on.
# 3. Nudging to both sides, in float64, checks any gradient; the last right one on the way back points at the bug.
# 4. Backpropagation finds slopes, the optimiser moves weights. AdamW's first step is the learning rate, whatever the size of the slope.
# 5. Decoupled weight decay shrinks all weights alike; L2 in Adam does not. A batch four times as large has half the noise.

# %% [markdown]
# ## Primary sources
#
# - Linnainmaa 1970, The representation of the cumulative rounding error of an algorithm as a Taylor expansion of the local rounding errors; see Baydin et al. 2018, Automatic Differentiation in Machine Learning: a Survey, section 3 (https://arxiv.org/abs/1502.05767)
# - Rumelhart, Hinton and Williams 1986, Learning representations by back-propagating errors (https://doi.org/10.1038/323533a0)
# - Ba, Kiros and Hinton 2016, Layer Normalization (https://arxiv.org/abs/1607.06450)
# - Kingma and Ba 2015, Adam: A Method for Stochastic Optimization (https://arxiv.org/abs/1412.6980)
# - Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization (https://arxiv.org/abs/1711.05101)
# - Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks (https://arxiv.org/abs/1211.5063)
# - McCandlish et al. 2018, An Empirical Model of Large-Batch Training (https://arxiv.org/abs/1812.06162)
#
# **Next** · [Lesson 10 · Training on a CPU](10_training_on_a_cpu.ipynb)
