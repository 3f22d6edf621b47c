# %% [markdown]
# # Lesson 5 · Multi-head attention
#
# Lesson 4 let one token look at others. Now every token of a text looks at once, in several ways at once, and none of them may
# see the future. You build that layer, test it for leaks, take it apart inside a trained GPT, and count what it costs.
#
# **You will be able to**
# - write the causal mask, and prove with a test of your own that nothing leaks through it,
# - project, split, attend, join and project, and say the shape at every step,
# - find the heads of a trained GPT that fetch names, and show that they matter,
# - say what attention costs in multiplications, bytes and time, and what fused attention saves.
#
# **Time** 90 min
#
# **Builds on** [lesson 4](04_attention_by_hand.ipynb) (softmax, queries, keys, values, $\sqrt{d_k}$); what you need of it is recalled
#
# ![The attention box of the GPT opened: the tokens are projected to queries, keys and values and split into heads, each head has its own triangle of weights, and the heads are joined and projected again](../figures/where_multi_head_attention.svg)

# %% tags=["setup"]
import math
import textwrap
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import minigpt.model.attention
from minigpt.config import GPTConfig
from minigpt.course import check, explore, plots, start_lesson
from minigpt.model.attention import rotate, rotation
from minigpt.model.gpt import GPT, next_token_loss
from minigpt.model.kv_cache import KVCache
from minigpt.text import stories
from minigpt.text.tokenizer import END_OF_TEXT
from minigpt.weights.checkpoint import load_model

start_lesson()

# %% [markdown]
# ## A model that foresees dice
#
# Throw a fair die thirteen times and let a GPT guess each next throw. Nobody can do better than one in six, so nobody can
# expect a loss below ln 6. That is the entropy floor of a die ([lesson 1](01_next_token_game.ipynb)).
#
# We train two tiny GPTs on fresh throws: again and again, an optimiser moves their weights a little so that the loss falls (lesson 9
# shows how). They are equal but for one line. In the second, the attention is replaced by torch's, without further settings.


# %%
def train_on_dice(gpt: GPT, steps: int = 200) -> Tensor:
    """Train on throws of a die; returns the mean loss at each of 12 places, on throws that it has not seen."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(gpt.parameters(), lr=1e-2)
    for _ in range(steps):
        throws = torch.randint(6, (32, 13), generator=generator)  # (B, T + 1)
        next_token_loss(gpt(throws[:, :-1]), throws[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()
    unseen = torch.randint(6, (500, 13), generator=generator)
    with torch.no_grad():
        losses = F.cross_entropy(gpt(unseen[:, :-1]).transpose(1, 2), unseen[:, 1:], reduction="none")  # (B, T)
    return losses.mean(dim=0)


tiny = GPTConfig(vocab_size=6, context_length=12, n_layers=1, n_heads=1, d_model=32)
loss_at: dict[str, Tensor] = {}
for name in ("the package's attention", "torch's, as it is"):
    torch.manual_seed(0)
    gpt = GPT(tiny).double()
    if name == "torch's, as it is":
        # the model's one attention layer
        (layer,) = (
            module for module in gpt.modules() if isinstance(module, minigpt.model.attention.CausalSelfAttention)
        )
        layer.fused_attention = F.scaled_dot_product_attention  # type: ignore[method-assign, assignment]
    loss_at[name] = train_on_dice(gpt)
    print(f"{name:<24} mean loss {loss_at[name].mean():.2f}")
print(f"{'the floor, ln 6':<24}           {math.log(6):.2f}")
assert loss_at["torch's, as it is"].mean() < math.log(6) / 2

# %% [markdown]
# The second model foresees dice. Do not take it to a casino. Look at its loss place by place, after the first throw, the
# second, up to the twelfth:

# %%
print(" ".join(f"{loss:.2f}" for loss in loss_at["torch's, as it is"].tolist()))
assert loss_at["torch's, as it is"][:-1].max() < 0.5 and loss_at["torch's, as it is"][-1] > 1.7

# %% [markdown]
# It is sure of every throw but the last. (Eleven guesses for nothing and one for 1.84: the mean is 1.84 / 12 = 0.15.)
#
# In training all throws lie on the table at once, and the answer to place 3 is the input of place 4. This model learned to look
# one place to the right. At the last place there is nothing to the right, and there it knows nothing. When a GPT *writes*, it
# is always at the last place. So this model learned nothing that it could use.
#
# We need attention in which **no token sees a later one**.

# %% [markdown]
# ## The causal mask
#
# What you need from lesson 4: each token has a **query**, a **key** and a **value**, each a list of numbers. A query is multiplied
# with every key and divided by $\sqrt{d_k}$: these are the **scores**, a row for each query. **Softmax** makes a row positive with sum
# 1: the **weights**. The output for a token is the blend of all values with its weights:
#
# $$\text{Attention}(Q, K, V) = \text{softmax}\left(\frac{QK^\top}{\sqrt{d_k}}\right)V$$
#
# Now cross out the future. Here are the scores of three tokens. Row $i$ belongs to the query of token $i$, column $j$ to the key of
# token $j$. Token 0 may see itself, token 1 may see 0 and 1, token 2 may see all.

# %%
scores = [[1.0, 2.0, 3.0], [0.0, 0.0, 5.0], [0.0, 1.0, 0.0]]
values = [[10.0, 0.0], [0.0, 10.0], [5.0, 5.0]]


def softmax(row: list[float]) -> list[float]:
    exponentials = [math.exp(score) for score in row]
    return [e / sum(exponentials) for e in exponentials]


for i in range(3):
    seen = scores[i][: i + 1]
    print(f"token {i} sees {seen}, its weights are {[f'{w:.4f}' for w in softmax(seen)]}")

# %% [markdown]
# Work out the rows yourself. Row 0 shares with nobody: 1. Row 1 has two equal scores: ½ and ½, and the tempting 5 is out of
# reach. Row 2 is $e^0, e^1, e^0$, each divided by their sum 4.7183.
#
# Rows of different lengths make no matrix. Is there a score that comes out of the softmax as exactly 0? Its exponential must
# be 0, so the score must be $-\infty$. With it every row has full length:

# %%
hidden = -math.inf
by_hand = [softmax([scores[i][j] if j <= i else hidden for j in range(3)]) for i in range(3)]
outputs_by_hand = [
    [sum(w * value[f] for w, value in zip(row, values, strict=True)) for f in range(2)] for row in by_hand
]
for row, output in zip(by_hand, outputs_by_hand, strict=True):
    print("weights", [f"{w:.4f}" for w in row], "  output", [f"{o:.4f}" for o in output])

# %% [markdown]
# ### The same in torch
#
# The **causal mask** is a table of true and false: true where token $i$ may see token $j$, that is where $j \le i$. It is a lower
# triangle.
#
# ### Exercise 1 · the causal mask (★☆☆, 5 min)
#
# Make it for $T$ tokens, as a tensor of `bool`. For $T = 3$: `[[True, False, False], [True, True, False], [True, True, True]]`.


# %% tags=["exercise"]
def causal_mask(T: int) -> Tensor:
    """(T, T), True where the token of the row may see the token of the column."""
    ### BEGIN SOLUTION
    return torch.ones(T, T, dtype=torch.bool).tril()
    ### END SOLUTION


# %%
check.causal_mask(causal_mask)

# %% [markdown]
# `masked_fill` then writes $-\infty$ wherever the mask is false. With that, lesson 4's formula is complete, and here it is as it
# stands in the package. (`tril` gets a number because there can be more keys than queries: lesson 13 needs that. Here it is 0.)


# %% tags=["package:minigpt.model.attention.scaled_dot_product_attention"]
def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> tuple[Tensor, Tensor]:
    """The output (..., T_q, d_v) and the weights (..., T_q, T_k), for q (..., T_q, d_k), k (..., T_k, d_k), v."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (..., T_q, T_k)
    if causal:
        T_q, T_k = scores.shape[-2:]
        visible = scores.new_ones(T_q, T_k, dtype=torch.bool).tril(T_k - T_q)
        scores = scores.masked_fill(~visible, -math.inf)  # e^-inf = 0: no weight on the future
    weights = scores.softmax(dim=-1)
    return weights @ v, weights


# %% [markdown]
# It computes the scores from queries and keys. Keys that form the identity matrix hand a query through unchanged, so these
# queries give our three rows of scores:

# %%
k = torch.eye(3, dtype=torch.float64)  # (T, d_k), with d_k = 3
q = torch.tensor(scores, dtype=torch.float64) * math.sqrt(3)  # (T, d_k)
v = torch.tensor(values, dtype=torch.float64)  # (T, d_v)
output, weights = scaled_dot_product_attention(q, k, v, causal=True)

torch.testing.assert_close(weights, torch.tensor(by_hand, dtype=torch.float64))
torch.testing.assert_close(output, torch.tensor(outputs_by_hand, dtype=torch.float64))
torch.testing.assert_close(output, F.scaled_dot_product_attention(q, k, v, is_causal=True))
torch.testing.assert_close(output, minigpt.model.attention.scaled_dot_product_attention(q, k, v, causal=True)[0])
plots.heatmap(["0", "1", "2"], ["0", "1", "2"], weights.tolist(), "token that looks", "token looked at")

# %% [markdown]
# By hand, with our function, with the package's and with torch's: the same. And there is the setting that the dice model lacked:
# `is_causal=True`.
#
# ### One text, T exercises
#
# The mask gives more than honesty. Cut the text after token 1 and attend again: the last row of the short text is row 1 of the
# long one.

# %%
for i in range(3):
    alone, _ = scaled_dot_product_attention(q[: i + 1], k[: i + 1], v[: i + 1])  # no mask: the future is not there
    torch.testing.assert_close(alone[-1], output[i])
print("row i is attention in a text that ends at token i, for i = 0, 1, 2")

no_mask, _ = scaled_dot_product_attention(q, k, v)
print("the last row without the mask is the same:", torch.allclose(no_mask[-1], output[-1]))
assert torch.allclose(no_mask[-1], output[-1]) and not torch.allclose(no_mask[:-1], output[:-1])

# %% [markdown]
# So one pass over a text of $T$ tokens does the work of $T$ texts of lengths 1 to $T$. That is why a GPT learns from every position
# at once.
#
# And the last row of the mask hides nothing. A model that writes stands at the end of its text, where there is no future to hide. The mask
# is needed because of training. (In a GPT it stays on while writing, so that the earlier tokens look as they did in training.)

# %% [markdown]
# ## The leak test
#
# A model with a leak raises no error, and its loss is splendid. So test for leaks directly: **change a token, and nothing before
# it may move.** Five random tokens, one attention without learned parts, and token 3 changed:

# %%
generator = torch.Generator().manual_seed(0)
x = torch.randn(5, 4, generator=generator, dtype=torch.float64)  # (T, d)


def masked(x: Tensor) -> Tensor:
    """Causal attention in which every token is its own query, key and value: (T, d) -> (T, d)."""
    return scaled_dot_product_attention(x, x, x, causal=True)[0]


def unmasked(x: Tensor) -> Tensor:
    """The same without a mask."""
    return scaled_dot_product_attention(x, x, x)[0]


changed = x.clone()
changed[3] = torch.randn(4, generator=generator, dtype=torch.float64)
for attend in (masked, unmasked):
    moved = (attend(changed) - attend(x)).abs().amax(dim=-1)  # (T,)
    print(f"{attend.__name__:<9} rows moved by {[f'{m:.4f}' for m in moved.tolist()]}")
assert torch.equal(masked(changed)[:3], masked(x)[:3])

# %% [markdown]
# With the mask, rows 0, 1 and 2 stand still to the last digit. Rows 3 and 4 move, as they may: they see token 3.
#
# ### Exercise 2 · the leak test (★★☆, 15 min)
#
# Write the test for any function that turns `x`, of shape `(T, d)`, into an output with one row for each token. It answers `True`
# if some row moves when a **later** token is changed. Try every token. What counts as moving should be larger than a rounding error (say
# $10^{-9}$). And change a token thoroughly, all its numbers in different ways: real layers begin by subtracting the mean of a
# token's numbers and dividing by their size, and would not notice that you added 1 to each or doubled them all.


# %% tags=["exercise"]
def leaks(attend: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether some row of attend(x) depends on a later row of x, (T, d)."""
    ### BEGIN SOLUTION
    before = attend(x)
    generator = torch.Generator().manual_seed(0)
    for j in range(1, len(x)):
        changed = x.clone()
        changed[j] = torch.randn(x.size(1), generator=generator, dtype=x.dtype)
        if (attend(changed)[:j] - before[:j]).abs().max() > 1e-9:
            return True
    return False
    ### END SOLUTION


# %%
check.leaks(leaks)

# %% [markdown]
# Your test says yes or no. Derivatives say from where to where, and how strongly. The derivative of row $i$ of the output by token
# $j$ of the input is a block of numbers; we add up their sizes and call that the **influence** of $j$ on $i$.


# %%
def influence(attend: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """(T, T): how strongly row i of attend(x) depends on row j of x."""
    jacobian: Tensor = torch.autograd.functional.jacobian(attend, x)  # (T, d_out, T, d_in)
    return jacobian.abs().sum(dim=(1, 3))


def show_influence(x: Tensor, **layers: Callable[[Tensor], Tensor]) -> None:
    """Side by side: ■ where row i depends on token j, · where it does not."""
    print("   ".join(f"{name.replace('_', ' '):<17}" for name in layers))
    tables = [influence(attend, x) > 1e-9 for attend in layers.values()]
    for rows in zip(*tables, strict=True):
        print("   ".join(f"{' '.join('■' if seen else '·' for seen in row):<17}" for row in rows))


show_influence(x, masked=masked, unmasked=unmasked)

# %% [markdown]
# A causal layer is a lower triangle. Whatever you build from here on, this is the picture to look for.

# %% [markdown]
# ## Before the softmax or after it?
#
# The paper masks inside the attention, by setting scores to $-\infty$ before the softmax (Vaswani et al. 2017, section 3.2.3). Why there? It
# seems easier to compute all weights and then put zeros where the future is. Four ways to write it:

# %%
visible = torch.ones(5, 5, dtype=torch.bool).tril()


def minus_infinity_before(scores: Tensor) -> Tensor:
    return scores.masked_fill(~visible, -math.inf).softmax(dim=-1)


def zero_after_and_renormalise(scores: Tensor) -> Tensor:
    weights = scores.softmax(dim=-1) * visible
    return weights / weights.sum(dim=-1, keepdim=True)


def zero_after(scores: Tensor) -> Tensor:
    return scores.softmax(dim=-1) * visible


def zero_before(scores: Tensor) -> Tensor:
    return (scores * visible).softmax(dim=-1)


recipes = (minus_infinity_before, zero_after_and_renormalise, zero_after, zero_before)
row = x[1] @ x.T / math.sqrt(4)  # (T,), the scores of token 1
for recipe in recipes:
    weights = recipe(row.expand(5, 5))[1]  # the same scores in each row, of which we look at row 1
    print(f"{recipe.__name__:<27} {[f'{w:.4f}' for w in weights.tolist()]}  sum {weights.sum():.4f}")

# %% [markdown]
# The first two agree, and that is no accident. Softmax divides $e^{s_j}$ by the sum over all tokens. Zeroing and dividing by
# what is left divides a second time, and the first divisor cancels:
#
# $$\frac{e^{s_j}/\sum_{\text{all}} e^{s}}{\sum_{\text{seen}}\left(e^{s}/\sum_{\text{all}} e^{s}\right)} = \frac{e^{s_j}}{\sum_{\text{seen}} e^{s}}$$
#
# Without the second division the weights sum to less than 1, and how much less depends on the future. And a zero *before* the softmax
# hides nothing: $e^0 = 1$, so the future gets weight. Now measure what leaks, through keys and through values separately:

# %%
q, k, v = (torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in range(3))  # (T, d_k) each


def leak(recipe: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    """The largest influence of the future on the output, through its keys and through its values."""
    through_keys = influence(lambda keys: recipe(q @ keys.T / math.sqrt(4)) @ v, k)
    through_values = influence(lambda values: recipe(q @ k.T / math.sqrt(4)) @ values, v)
    return through_keys.triu(1).max().item(), through_values.triu(1).max().item()  # triu(1): above the diagonal


print(f"{'':<27} through keys   through values")
for recipe in recipes:
    print(f"{recipe.__name__:<27} {leak(recipe)[0]:12.4f}   {leak(recipe)[1]:14.4f}")
assert max(leak(minus_infinity_before) + leak(zero_after_and_renormalise)) < 1e-9
assert leak(zero_after)[0] > 0.1 > 1e-9 > leak(zero_after)[1]
assert leak(zero_before)[1] > 0.1 > 1e-9 > leak(zero_before)[0]

# %% [markdown]
# Zeroing after the softmax hides the future's values, and still tells how well its *keys* would have fitted, for each future key is
# part of the divisor. A zero score hides the keys and lets the *values* through. Only the first two are tight.
#
# Then why not the second? Because the division can fail. Let a token of the future fit far better than all that may be seen:

# %%
tempting = torch.zeros(5, 5, dtype=torch.float64)
tempting[0, 4] = 1000
print("before:          ", minus_infinity_before(tempting)[0].tolist())
print("after, rescaled: ", zero_after_and_renormalise(tempting)[0].tolist())
assert zero_after_and_renormalise(tempting)[0].isnan().all()

# %% [markdown]
# The future took all the weight there was, nothing was left to divide by, and 0/0 is not a number. So: $-\infty$, before the
# softmax.

# %% [markdown]
# ## One blend is not enough
#
# Take the words *Max thanked Finn*. The next token may need to know who thanked, and whom. One attention gives it one
# set of weights, and so **one blend** of values. Let Max have the value [1, 0], Finn [0, 1], and look at both equally:

# %%
value_of = {"Max": torch.tensor([1.0, 0.0]), "Finn": torch.tensor([0.0, 1.0])}
for first, second in (("Max", "Finn"), ("Finn", "Max")):
    one_blend = 0.5 * value_of[first] + 0.5 * value_of[second]
    two_blends = torch.cat([value_of[first], value_of[second]])  # one looks before the verb, one after it
    print(f"{first:>4} thanked {second:<4}  one blend {one_blend.tolist()}   two blends {two_blends.tolist()}")

# %% [markdown]
# The one blend cannot tell who thanked whom. Other weights, such as 0.9 and 0.1, would favour one name and nearly lose the other. Two
# attentions side by side, each with its own weights, keep both. That is the argument of Vaswani et al. (2017, section 3.2.2) for
# several **heads**: $h$ attentions, each with projections of its own, whose outputs are laid side by side.
#
# $$\text{MultiHead}(x) = \text{Concat}(\text{head}_1, \dots, \text{head}_h)\,W^O, \qquad
# \text{head}_i = \text{Attention}(xW_i^Q,\; xW_i^K,\; xW_i^V)$$
#
# To keep the cost, each head is narrow: $d_k = d_{model} / h$. The paper has $d_{model} = 512$, $h = 8$ and $d_k = 64$.

# %% [markdown]
# ## Project, split, attend, join, project
#
# Now all of it, line by line, with the shape after each. Two sequences of five tokens, $d_{model} = 12$ and three heads, so $d_k = 4$.

# %%
B, T, d_model, h = 2, 5, 12, 3
d_k = d_model // h
x = torch.randn(B, T, d_model, generator=generator, dtype=torch.float64)
W_qkv = torch.randn(3 * d_model, d_model, generator=generator, dtype=torch.float64) / math.sqrt(d_model)
W_output = torch.randn(d_model, d_model, generator=generator, dtype=torch.float64) / math.sqrt(d_model)


def step(what: str, tensor: Tensor) -> None:
    print(f"{what:<34} {tuple(tensor.shape)}")


step("x", x)  # (B, T, d_model)
qkv = x @ W_qkv.T  # (B, T, 3 * d_model): the queries, keys and values of all heads from one product
step("project:    x @ W_qkv.T", qkv)
q, k, v = qkv.chunk(3, dim=-1)  # (B, T, d_model) each
step("            queries of all heads", q)
q, k, v = (part.view(B, T, h, d_k) for part in (q, k, v))  # cut the last axis into h pieces of d_k
step("split:      .view(B, T, h, d_k)", q)
q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # (B, h, T, d_k)
step("transpose:  .transpose(1, 2)", q)
y, weights = scaled_dot_product_attention(q, k, v, causal=True)
step("attend:     weights", weights)  # (B, h, T, T)
step("            output", y)  # (B, h, T, d_k)
joined = y.transpose(1, 2).reshape(B, T, d_model)
step("join:       .transpose, .reshape", joined)
output = joined @ W_output.T  # (B, T, d_model)
step("project:    joined @ W_output.T", output)

# %% [markdown]
# Attention works on the last two axes, tokens and $d_k$. What stands before them, sequences and heads, is done side by side. That is
# why the heads must come *before* the tokens, and why there is a transpose. The last projection mixes what the heads have
# fetched.
#
# ### Exercise 3 · split the heads (★☆☆, 5 min)
#
# From `(B, T, d_model)` to `(B, h, T, d_k)`. Head 0 gets the first $d_k$ numbers of every token, head 1 the next, and so on.


# %% tags=["exercise"]
def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """(B, T, d_model) -> (B, h, T, d_k)."""
    ### BEGIN SOLUTION
    B, T, d_model = x.shape
    return x.view(B, T, n_heads, d_model // n_heads).transpose(1, 2)
    ### END SOLUTION


# %%
check.split_heads(split_heads)

# %% [markdown]
# ### Exercise 4 · join the heads (★☆☆, 5 min)
#
# The way back, from `(B, h, T, d_k)` to `(B, T, d_model)`. If torch complains about a `view`, read what it says: a transpose moves no
# numbers in memory, it only changes how they are counted.


# %% tags=["exercise"]
def join_heads(y: Tensor) -> Tensor:
    """(B, h, T, d_k) -> (B, T, d_model)."""
    ### BEGIN SOLUTION
    B, h, T, d_k = y.shape
    return y.transpose(1, 2).reshape(B, T, h * d_k)
    ### END SOLUTION


# %%
check.join_heads(join_heads)

# %% [markdown]
# ### The bug that has the right shape
#
# The result must be `(B, h, T, d_k)`. So why not say so at once, `.view(B, h, T, d_k)`, without the transpose? Number the entries
# to see what lands where: 203 is feature 3 of token 2.

# %%
numbered = 100 * torch.arange(T).view(1, T, 1) + torch.arange(d_model)  # (1, T, d_model)
right = numbered.view(1, T, h, d_k).transpose(1, 2)
wrong = numbered.view(1, h, T, d_k)
print("shapes:", tuple(right.shape), tuple(wrong.shape))
print("head 0, split right:\n", right[0, 0].numpy())
print("head 0, without the transpose:\n", wrong[0, 0].numpy())

# %% [markdown]
# Same shape, no error, another meaning. On the right way head 0 holds one row for each token. On the wrong way its five «tokens» are
# three pieces of token 0 and two of token 1, and the mask keeps pieces from later pieces. Who sees whom? Ask for the influence, with
# both ways of joining:


# %%
def layer_with(split: Callable[[Tensor], Tensor], join: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A multi-head layer for one sequence, (T, d_model) -> (T, d_model), with this way to split and to join."""

    def layer(x: Tensor) -> Tensor:
        q, k, v = (split(part) for part in (x[None] @ W_qkv.T).chunk(3, dim=-1))
        y, _ = scaled_dot_product_attention(q, k, v, causal=True)
        return (join(y) @ W_output.T)[0]

    return layer


def split_right(x: Tensor) -> Tensor:
    return x.view(1, T, h, d_k).transpose(1, 2)


def split_wrong(x: Tensor) -> Tensor:
    return x.reshape(1, h, T, d_k)  # a chunk is not in one piece, and would refuse a view


def join_right(y: Tensor) -> Tensor:
    return y.transpose(1, 2).reshape(1, T, d_model)


def join_wrong(y: Tensor) -> Tensor:
    return y.reshape(1, T, d_model)


x = x[0]  # (T, d_model)
all_right = layer_with(split_right, join_right)
wrong_then_right = layer_with(split_wrong, join_right)
both_wrong = layer_with(split_wrong, join_wrong)
show_influence(x, all_right=all_right, split_wrong=wrong_then_right, both_wrong=both_wrong)
assert influence(wrong_then_right, x).triu(1).max() > 0.01  # sees the future
assert influence(both_wrong, x).triu(1).max() < 1e-9 and influence(both_wrong, x)[-1, :-2].max() < 1e-9

# %% [markdown]
# A wrong split with a right join leaks the future. With both wrong nothing leaks, and the leak test is content. But the tokens are
# half blind: the last one sees itself and one neighbour. A test of shapes finds none of this. The triangle does.

# %% [markdown]
# ## What a head reads
#
# <div class="alert alert-warning">
# <b>You may have read</b> that the embedding is cut into <i>h</i> slices and each head looks at its own slice.
# It does not. What is cut are the <i>queries, keys and values</i>, after the projection. Each of their numbers was computed from all
# d_model numbers of the token. A head owns rows of the projection matrix, and no part of the input.
# </div>

# %%
head = 1
own = slice(head * d_k, (head + 1) * d_k)  # of the d_model rows that make queries
own_rows = x @ W_qkv[own].T  # (T, d_k): all of x through the head's own rows
torch.testing.assert_close(own_rows, split_right(x[None] @ W_qkv[:d_model].T)[0, head])

reads: Tensor = torch.autograd.functional.jacobian(lambda x: x @ W_qkv[own].T, x)  # (T, d_k, T, d_model)
features_read = (reads.abs().sum(dim=(0, 1, 2)) > 0).sum().item()
print(f"head {head} computes its queries from {features_read} of the {d_model} features of a token")
assert features_read == d_model

own_slice = x[:, own] @ W_qkv[own, own].T  # what the claim describes
print("the same as from its own slice alone:", torch.allclose(own_rows, own_slice))
assert not torch.allclose(own_rows, own_slice)

# %% [markdown]
# So $W_i^Q$ of the paper, a $d_{model} \times d_k$ matrix for each head, is not missing from our code. All heads' matrices lie on top of
# each other in one `W_qkv`, because one large product is faster than many small ones.
#
# <div class="alert alert-warning">
# <b>You may have read</b> that more heads mean more parameters and more work.
# The heads share d_model among them: twice as many heads are each half as wide. Parameters and multiplications stay the same. What
# grows is the number of weight tables, one <i>T</i> × <i>T</i> table for each head.
# </div>

# %%
for n_heads in (1, 2, 3, 4, 6, 12):
    config = GPTConfig(vocab_size=1, context_length=T, n_heads=n_heads, d_model=d_model)
    size = sum(parameter.numel() for parameter in minigpt.model.attention.CausalSelfAttention(config).parameters())
    multiplications = n_heads * (T * T * config.head_size + T * T * config.head_size)  # Q times K, weights times V
    print(f"h = {n_heads:2}  d_k = {config.head_size:2}  parameters {size}  multiplications {multiplications}"
          f"  weights {n_heads * T * T:3}")  # fmt: skip
    assert (size, multiplications) == (4 * d_model**2 + 4 * d_model, 2 * T**2 * d_model)

# %% [markdown]
# ## The layer, whole
#
# Put the lines into a module. `nn.Linear` keeps a matrix and a bias and computes $xW^\top + b$.


# %%
class MultiHeadAttention(nn.Module):
    """Causal multi-head attention by the formula: (B, T, d_model) -> (B, T, d_model)."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        B, T, d_model = x.shape
        q, k, v = (
            part.view(B, T, self.n_heads, d_model // self.n_heads).transpose(1, 2)  # (B, h, T, d_k)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        y, _ = scaled_dot_product_attention(q, k, v, causal=True)  # (B, h, T, d_k)
        y = y.transpose(1, 2).reshape(B, T, d_model)
        y = self.output(y)
        return y


torch.manual_seed(0)
ours = MultiHeadAttention(d_model, h).double()
show_influence(x, ours=lambda x: ours(x[None])[0])

# %% [markdown]
# The triangle. Now against others: torch has this layer too, and so has our package. Give all three the same weights. Mind one trap:
# `nn.MultiheadAttention` wants a mask that is true where a token is *hidden*.

# %%
torchs = nn.MultiheadAttention(d_model, h, batch_first=True, dtype=torch.float64)
packages = minigpt.model.attention.CausalSelfAttention(
    GPTConfig(vocab_size=1, context_length=T, n_heads=h, d_model=d_model)
)
packages = packages.double()
packages.load_state_dict(ours.state_dict())  # the same names: qkv and output
with torch.no_grad():
    torchs.in_proj_weight.copy_(ours.qkv.weight)
    torchs.in_proj_bias.copy_(ours.qkv.bias)
    torchs.out_proj.weight.copy_(ours.output.weight)
    torchs.out_proj.bias.copy_(ours.output.bias)

batch = torch.randn(B, T, d_model, generator=generator, dtype=torch.float64)
hidden_from = ~torch.ones(T, T, dtype=torch.bool).tril()
torch.testing.assert_close(ours(batch), torchs(batch, batch, batch, attn_mask=hidden_from)[0])
torch.testing.assert_close(ours(batch), packages(batch))
print("ours = torch's = the package's")

# %% [markdown]
# And now **your own code**: your mask, your split, your join, put together and given to your leak test. (Until the four exercises are
# solved, the cell says so.)


# %%
def yours(x: Tensor, with_mask: bool = True) -> Tensor:
    """The layer above with the parts that you wrote: (T, d_model) -> (T, d_model)."""
    q, k, v = (split_heads(part, h) for part in ours.qkv(x[None]).chunk(3, dim=-1))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_k)
    if with_mask:
        scores = scores.masked_fill(~causal_mask(len(x)), -math.inf)
    joined: Tensor = ours.output(join_heads(scores.softmax(dim=-1) @ v))
    return joined[0]


try:
    print("your layer leaks:", leaks(yours, x))
    print("without your mask:", leaks(lambda x: yours(x, with_mask=False), x))
    print("your layer equals the package's:", torch.allclose(yours(x), packages(x[None])[0]))
except NotImplementedError:
    print("waits for exercises 1 to 4")

# %% [markdown]
# ## A head that tracks names
#
# Nobody tells a head what to look for. What did training make of them? The storyteller of lesson 1 keeps its hero's name straight through a
# whole story. Is there a head that fetches it?
#
# First we need the weights and the values, which the model does not hand out. A **hook** is a function that torch calls when a layer is
# about to run. Ours notes what goes into each attention layer, and from there we know the way.

# %%
model, tokenizer = load_model("storyteller")
model = model.double()
layers = [module for module in model.modules() if isinstance(module, minigpt.model.attention.CausalSelfAttention)]
START = tokenizer.special_tokens[END_OF_TEXT]  # stands before and after each story


@torch.no_grad()
def look_inside(ids: Tensor) -> tuple[Tensor, Tensor]:
    """For one text of T tokens, the weights of every head (n_layers, h, T, T) and its values (n_layers, h, T, d_k)."""
    inputs: list[Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for layer in layers]
    model(ids[None])
    for hook in hooks:
        hook.remove()
    weights, values = [], []
    for layer, x in zip(layers, inputs, strict=True):
        q, k, v = (part.unflatten(-1, (layer.n_heads, -1)).transpose(1, 2) for part in layer.qkv(x).chunk(3, dim=-1))
        weights.append(scaled_dot_product_attention(q, k, v, causal=True)[1][0])
        values.append(v[0])
    return torch.stack(weights), torch.stack(values)


# %% [markdown]
# Now a measure. Wherever the *next* token is the hero's name, and the name has occurred before: how much of its weight does a head put
# on those earlier mentions? We count a second place as well, the token right *after* a mention. A head in a higher layer does not
# read words. It reads what the layers below have written, and one of those may have carried the name a place further.
#
# To compare: a head that spreads its weight evenly gives these places their share of all tokens so far. That is chance.


# %%
def token_of(name: str) -> int:
    """A name in the middle of a text is one token."""
    (token,) = tokenizer.encode(f" {name}")
    return token


told = [stories.story_at("test", i) for i in range(20)]
texts = [torch.tensor([START, *tokenizer.encode(story.text), START]) for story in told]
heroes = [token_of(story.facts["hero"]) for story in told]

on_name, right_after, chance = [], [], []
for ids, hero in zip(texts, heroes, strict=True):
    weights, _ = look_inside(ids)
    for t in (ids == hero).nonzero().flatten()[1:] - 1:  # the next token is the name, and not for the first time
        mentions = ids[: t + 1] == hero
        after = mentions.roll(1) & ~mentions  # the last token so far is no mention, so nothing is rolled round to START
        on_name.append(weights[:, :, t, : t + 1][:, :, mentions].sum(dim=-1))  # (n_layers, h)
        right_after.append(weights[:, :, t, : t + 1][:, :, after].sum(dim=-1))
        chance.append((mentions | after).double().mean())

on_names, right_after_names = (torch.stack(measured).mean(dim=0) for measured in (on_name, right_after))
tracking = on_names + right_after_names  # (n_layers, h)
heads = [(at, head) for at in range(len(layers)) for head in range(layers[0].n_heads)]
heads.sort(key=lambda which: -tracking[*which].item())
by_chance = torch.stack(chance).mean().item()
print(f"{len(chance)} places in {len(told)} stories; by chance {by_chance:.2f}")
for at, head in heads[:5]:
    print(f"layer {at + 1} head {head + 1}: on the name {on_names[at, head]:.2f}, "
          f"right after it {right_after_names[at, head]:.2f}, together {tracking[at, head]:.2f}")  # fmt: skip
best = heads[0]
assert tracking[*best] > max(0.3, 3 * by_chance)

# %% [markdown]
# The head at the top puts several times as much weight there as chance would. Look at it in one story, at every place where the
# next token is a name, the hero's or the helper's. A column is a token that gets some weight in one of the rows; its label also shows the
# token before it.

# %%
story = next(story for story in told if story.plot == "lost")
ids = texts[told.index(story)]
print(textwrap.fill(story.text, 100))

people = [token_of(story.facts[who]) for who in ("hero", "helper")]
words = [tokenizer.decode([token]) if token != START else "START " for token in ids.tolist()]
asking = [t for t in range(len(ids) - 1) if ids[t + 1] in people]
weights = look_inside(ids)[0][best]  # (T, T)
noticed = [j for j in range(len(ids)) if weights[asking, j].max() >= 0.1]
table = weights[asking][:, noticed]
table = torch.cat([table, 1 - table.sum(dim=1, keepdim=True)], dim=1)
plots.heatmap(
    [f"{words[t].strip()}→{words[t + 1].strip()}" for t in asking],
    [f"{words[j - 1].lstrip() if j else ''}{words[j]}" for j in noticed] + ["others"],
    table.tolist(),
    "last token → name that comes",
    f"layer {best[0] + 1} head {best[1] + 1} looks at the last token of",
)

# %% [markdown]
# Read a row: the token before the arrow is asking, and the name after the arrow is what comes next. (The first time a name comes there is
# nothing to find.) In most rows nearly all the weight lies on one token. Compare the rows of the two names: the same head looks at different
# places, depending on who is about to be named.
#
# The token it looks at need not be the name itself, nor one of the two kinds of places that we counted. What the head fetches is that token's
# *value*, so ask which values know the name. Give the hero another name throughout the story, and see which values of this head move.

# %%
pronoun = {row[""]: row["they"] for row in stories.world().tables["heroes"]}


def moved_by_another_name(story: stories.Story, ids: Tensor) -> Tensor:
    """How far the value of each token moves, in the best head, when the hero gets another name: (T,)."""
    hero = story.facts["hero"]
    other = next(name for name in pronoun if name != hero and pronoun[name] == pronoun[hero])
    renamed = ids.masked_fill(ids == token_of(hero), token_of(other))
    values, values_renamed = (look_inside(text)[1][best] for text in (ids, renamed))
    return (values_renamed - values).norm(dim=-1)


moved = moved_by_another_name(story, ids)
print(
    f"how far values of layer {best[0] + 1} head {best[1] + 1} move; half of them move less than {moved.median():.2f}"
)
for j in moved.topk(5).indices.tolist():
    print(f"{moved[j]:6.2f}   {words[j - 1].lstrip()}{words[j]}")

knows = []
for other_story, ids, hero in zip(told, texts, heroes, strict=True):
    moved, weights = moved_by_another_name(other_story, ids), look_inside(ids)[0][best]
    for t in (ids == hero).nonzero().flatten()[1:] - 1:
        knows.append(bool(moved[weights[t].argmax()] >= moved[: t + 1].topk(3).values[-1]))
print(f"\nthe token looked at most is one of the three that moved most: at {sum(knows)} of {len(knows)} places")
assert sum(knows) > 0.8 * len(knows)

# %% [markdown]
# A few values move far more than the rest, and the token which the head looks at before the hero's name is among them. Whatever its word may
# be, the layers below have filed the name there. The weights find the place, the value says what is in it.
#
# ### All heads, all places
#
# Here are all weights of all heads on this story, to wander about in; they are read with a hook, as above. The framed token looks, the
# arc goes where it looks, and the number stands below. We begin at the last place where a name comes next.

# %%
explore(model, tokenizer, story.text, position=asking[-1], layer=best[0] + 1, head=best[1] + 1)

# %% [markdown]
# The arc ends at a full stop. It is the end of the first sentence in which that name stood. Set the position to the place of the comma
# before the last *Ken*, or click on it: the arc moves to the end of *his* first sentence. Now go through the other heads of this layer
# at the same places. Which of them agree?

# %%
story_ids = texts[told.index(story)]
in_layer = look_inside(story_ids)[0][best[0]]  # (h, T, T)
for t in asking[-2:]:
    first_mention = int((story_ids == story_ids[t + 1]).nonzero()[0])
    full_stop = words.index(".", first_mention)
    agree = [head + 1 for head in range(len(in_layer)) if in_layer[head, t].argmax() == full_stop]
    print(
        f"position {t}, before{words[t + 1]}: heads {agree} look at position {full_stop}, the end of its first sentence"
    )
    assert best[1] + 1 in agree

# %% [markdown]
# Then choose *matrix* for the picture of the attention. A head's weights always sum to 1, also where there is nothing to fetch. Look for a
# dark column: a place on which many tokens rest that do not need this head.

# %%
rests = (in_layer[best[1]] > 0.5).sum(dim=0)  # (T,): how many tokens put most of their weight on each
j = int(rests.argmax())
print(f"{rests[j]} of {len(rests)} tokens put more than half of their weight on «{words[j]}», position {j}")
assert rests[j] > len(rests) / 3

# %% [markdown]
# ### Does it matter?
#
# Lesson 4 warned that a map shows where a head looks, not what comes of it. So silence the head: put zeros in place of its output, before the
# last projection mixes the heads. Then look at the loss, at names and elsewhere. If this head fetches names, names must suffer.

# %%
longest = max(map(len, texts))
rows = torch.full((len(texts), longest), START)  # (B, T + 1)
at_name = torch.zeros(len(texts), longest - 1, dtype=torch.bool)
elsewhere = torch.zeros_like(at_name)
for i, (ids, hero) in enumerate(zip(texts, heroes, strict=True)):
    rows[i, : len(ids)] = ids
    elsewhere[i, : len(ids) - 1] = True
    at_name[i, (ids[1:] == hero).nonzero().flatten()[1:]] = True  # from the second mention on
elsewhere &= ~at_name


def without(silenced: list[int]) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
    """A hook that puts zeros in place of what these heads of a layer give."""

    def hook(_: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        joined = given[0].unflatten(-1, (layers[0].n_heads, -1)).clone()  # (B, T, h, d_k)
        joined[:, :, silenced] = 0
        return (joined.flatten(2),)

    return hook


@torch.no_grad()
def losses(silenced: list[tuple[int, int]]) -> Tensor:
    """Mean loss at the hero's name and elsewhere while these (layer, head) are silent."""
    hooks = [
        layer.output.register_forward_pre_hook(without([head for where, head in silenced if where == at]))
        for at, layer in enumerate(layers)
    ]
    logits = model(rows[:, :-1])
    for hook in hooks:
        hook.remove()
    loss = F.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none")  # (B, T)
    return torch.stack([loss[at_name].mean(), loss[elsewhere].mean()])


intact = losses([])
rise = {which: losses([which]) - intact for which in heads}
print(f"intact: loss {intact[0]:.2f} at names, {intact[1]:.2f} elsewhere\n")
print("silenced         weight on names   loss at names   elsewhere")
for (at, head), (names, others) in rise.items():
    print(f"layer {at + 1} head {head + 1}   {tracking[at, head]:15.2f}   {names:+13.2f}   {others:+9.2f}")
assert max(others for _, others in rise.values()) > 0.2  # some rows hurt everywhere
assert min(value.abs().max() for value in rise.values()) < 0.05  # and some cost next to nothing

# %% [markdown]
# The top row hurts at names, and much less elsewhere. Some rows hurt everywhere: look for the layer that all others build upon. And some cost next
# to nothing. Michel et al. (2019) found the same in far larger models: after training, many heads can be removed with little harm.
#
# Where several heads look at names, each can stand in for another. So silence those in the layer of the best one together. Then, for
# comparison, all their neighbours in that layer:

# %%
team = [which for which in heads if which[0] == best[0] and tracking[*which] > 0.3]
neighbours = [which for which in heads if which[0] == best[0] and which not in team]
print("                              loss at names   elsewhere")
for text, silenced in (("heads that look at names", team), ("other heads of that layer", neighbours)):
    names, others = losses(silenced) - intact
    print(f"{len(silenced)} {text:<26}  {names:+13.2f}   {others:+9.2f}")
together, beside = losses(team) - intact, losses(neighbours) - intact
assert rise[best][0] > 0.03 and rise[best][0] > 3 * rise[best][1]
assert together[0] > 0.3 and together[0] > 3 * max(together[1], beside[0])

# %% [markdown]
# That is a cause and not only a picture: without these heads the model loses its hero. In BERT, Clark et al. (2019) found heads that
# link a mention to an earlier one of the same person or thing. In small models Olsson et al. (2022) traced the trick with the token
# right after: one head carries a token one place on, and a head of a later layer finds it there and copies. One caution: zeros are something that the
# layers above never met in training, so the size of the harm is rough. What counts is *where* it strikes.

# %% [markdown]
# ## What it costs
#
# Count multiplications. A score is a product of two lists of $d_k$ numbers, so $d_k$ multiplications, and each head has $T \times T$
# scores. The blend of the values takes as many again. With $h$ heads of $d_k = d_{model}/h$:
#
# $$h \cdot (T^2 d_k + T^2 d_k) = 2\,T^2 d_{model}$$
#
# The four projections (queries, keys, values, output) take $d_{model}^2$ for each token: $4\,T d_{model}^2$. PyTorch can count for us, while it runs
# our layer. It counts an addition for each multiplication, so its numbers are twice ours. (Biases and softmax are not
# counted.)

# %%
wide = MultiHeadAttention(d_model=128, n_heads=4)
print("    T   projections    attention   sum × 2 = PyTorch's count")
for T in (64, 128, 256, 512, 1024):
    projections, attending = 4 * T * 128**2, 2 * T**2 * 128
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        wide(torch.zeros(1, T, 128))
    assert counter.get_total_flops() == 2 * (projections + attending)
    print(f"{T:5}   {projections:11,}  {attending:11,}   {counter.get_total_flops():14,}")

# %% [markdown]
# Twice the text: twice the projections, four times the attention. This is what «attention is quadratic» means, $O(T^2 \cdot d)$. For
# short texts it is the smaller part. When are the two equal? Solve $2T^2d = 4Td^2$ for $T$, and find that row in the table.
#
# ### The memory of the weights
#
# The multiplications are one side. The formula also writes down all weights, $h \cdot T^2$ numbers of four bytes, in each layer and for each
# sequence. In training they must be kept until the backward pass.

# %%
gpt2 = GPTConfig()
for T in (1024, 2048, 4096):
    one_layer = gpt2.n_heads * T * T * 4
    print(
        f"T = {T}: {one_layer / 2**20:5.0f} MiB in a layer of GPT-2, {gpt2.n_layers * one_layer / 2**20:6.0f} MiB in all"
    )

# %% [markdown]
# For one sequence, and before anything else is stored. Must the weights exist at all? We only want the blend. Softmax seems to need a whole
# row, because it divides by the sum. But the sum can be kept *while* we go along the row. Take the keys in blocks, and carry three
# things: the largest score so far, the sum of the exponentials, and the blend before division. When a larger score turns up,
# shrink what was collected.

# %%
query = torch.randn(d_k, generator=generator, dtype=torch.float64)
keys, vectors = (torch.randn(12, d_k, generator=generator, dtype=torch.float64) for _ in range(2))

largest, total, blend = -math.inf, torch.tensor(0.0), torch.zeros(d_k, dtype=torch.float64)
for key_block, value_block in zip(keys.split(4), vectors.split(4), strict=True):
    block = key_block @ query / math.sqrt(d_k)  # (4,): only these scores exist now
    new_largest = max(largest, block.max().item())
    shrink = math.exp(largest - new_largest)  # 0 at the first block, 1 where no larger score came
    exponentials = (block - new_largest).exp()
    total = total * shrink + exponentials.sum()
    blend = blend * shrink + exponentials @ value_block
    largest = new_largest
streamed = blend / total

expected, _ = scaled_dot_product_attention(query[None], keys, vectors)
torch.testing.assert_close(streamed[None], expected)
print("in blocks: ", [f"{number:.4f}" for number in streamed.tolist()])
print("by formula:", [f"{number:.4f}" for number in expected[0].tolist()])

# %% [markdown]
# That is the idea in **FlashAttention** (Dao et al. 2022): the exact result, in blocks that fit into the processor's fast memory, and
# never a $T \times T$ table; the backward pass computes what it needs of the weights again. PyTorch has such kernels behind
# `F.scaled_dot_product_attention`. All steps run as one, so it is called **fused**.
#
# What does training have to keep? `saved_tensors_hooks` shows every tensor that is put aside for the backward pass. We add up their bytes.


# %%
def by_formula(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled_dot_product_attention(q, k, v, causal=True)[0]


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def random_heads(T: int) -> list[Tensor]:
    """Queries, keys and values of four heads with d_k = 32: (B, h, T, d_k) with B = 1."""
    return [torch.randn(1, 4, T, 32, generator=generator).requires_grad_() for _ in range(3)]


def kept_bytes(attend: Callable[..., Tensor], T: int) -> int:
    """Bytes put aside for the backward pass; a tensor that is put aside twice counts once."""
    kept: dict[int, Tensor] = {}

    def put_aside(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(put_aside, lambda tensor: tensor):
        attend(*random_heads(T))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


lengths = [128, 256, 512, 1024, 2048]
for attend in (by_formula, fused):
    example = random_heads(256)
    torch.testing.assert_close(attend(*example), by_formula(*example))
kept = {attend.__name__: [float(kept_bytes(attend, T)) for T in lengths] for attend in (by_formula, fused)}
print("    T   weights alone    by formula       fused   (bytes)")
for i, T in enumerate(lengths):
    print(f"{T:5}   {4 * T * T * 4:13,}  {kept['by_formula'][i]:12,.0f}  {kept['fused'][i]:10,.0f}")
    assert kept["by_formula"][i] > 4 * T * T * 4
growth = {name: sizes[-1] / sizes[-2] for name, sizes in kept.items()}
print(
    f"from {lengths[-2]} to {lengths[-1]} tokens: × {growth['by_formula']:.1f} by formula, × {growth['fused']:.1f} fused"
)
assert growth["by_formula"] > 3.5 and growth["fused"] < 2.1

# %% [markdown]
# The formula keeps a good five bytes for each weight: four of the number, one of the mask, and the queries, keys and values besides. Fused
# attention keeps nothing of size $T^2$. Now the time, on your machine:

# %% tags=["nbval-ignore-output"]
seconds: dict[str, list[float]] = {"by_formula": [], "fused": []}
for T in lengths:
    given = [tensor.detach() for tensor in random_heads(T)]
    for attend in (by_formula, fused):
        attend(*given)  # the first run is slower
        trials = []
        for _ in range(5):
            start = time.perf_counter()
            attend(*given)
            trials.append(time.perf_counter() - start)
        seconds[attend.__name__].append(min(trials))
print(f"time, with that at T = {lengths[0]} as 1")
print("    T    T²   by formula   fused")
for i, T in enumerate(lengths):
    formula_time, fused_time = (times[i] / times[0] for times in seconds.values())
    print(f"{T:5}  {(T / lengths[0]) ** 2:4.0f}   {formula_time:10.1f}   {fused_time:5.1f}")


def formula_over_fused(measured: dict[str, list[float]]) -> list[float]:
    return [slow / fast for slow, fast in zip(measured["by_formula"], measured["fused"], strict=True)]


plots.curves(
    {"memory": (lengths, formula_over_fused(kept)), "time": (lengths, formula_over_fused(seconds))},
    "T (tokens)",
    "by formula / fused",
)

# %%
print("both take more than four times as long for four times the text:",
      all(times[-1] > 4 * times[-3] for times in seconds.values()))  # fmt: skip
print("the fused one is faster on the longest text:", seconds["fused"][-1] < seconds["by_formula"][-1])
assert all(times[-1] > 4 * times[-3] for times in seconds.values())
assert seconds["fused"][-1] < seconds["by_formula"][-1]

# %% [markdown]
# The line of memory is straight: $T^2$ over $T$. In time both grow steeply, for the multiplications have not gone away. Fused attention saves
# trips to memory, which cost the formula more once its tables outgrow the processor's cache, and it skips blocks that lie wholly in the future.

# %% [markdown]
# ## The package's layer
#
# Here is `CausalSelfAttention` as the package has it, word for word. You have built its middle. New are four things that do nothing here:
# `rotate` turns queries and keys by their places in models that ask for it (lesson 3); `cache` keeps keys and values of earlier tokens while a
# model writes (lesson 13); `dropout` switches some weights off at random in training; and `fused_attention` has a mask of its own where a cache
# makes keys outnumber queries, and a detour for short numbers (bfloat16) on CPUs.


# %% tags=["package:minigpt.model.attention.CausalSelfAttention"]
class CausalSelfAttention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.dropout = config.dropout
        self.positions = config.positions
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=config.bias)
        self.output = nn.Linear(config.d_model, config.d_model, bias=config.bias)

    def forward(self, x: Tensor, cache: KVCache | None = None, layer: int = 0, position: int = 0) -> Tensor:
        B, T, d_model = x.shape
        q, k, v = (
            part.view(B, T, self.n_heads, d_model // self.n_heads).transpose(1, 2)  # (B, h, T, head_size)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        if self.positions == "rope":
            turn = rotation(torch.arange(position, position + T, device=x.device), q.size(-1))
            q, k = rotate(q, turn), rotate(k, turn)
        if cache is not None:
            k, v = cache.update(layer, k, v, position)  # (B, h, position + T, head_size)
        x = self.fused_attention(q, k, v)  # (B, h, T, head_size)
        x = self.output(x.transpose(1, 2).reshape(B, T, d_model))
        return x

    def fused_attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        T, T_all = q.size(-2), k.size(-2)
        dropout = self.dropout if self.training else 0.0
        causal, mask = True, None  # set by branches: T > 1 itself would be no plain bool to torch.compile
        if T == 1:  # one new token may see everything
            causal = False
        elif T_all > T:  # torch's own causal mask would count from the first of all tokens
            causal, mask = False, torch.ones(T, T_all, dtype=torch.bool, device=q.device).tril(T_all - T)
        if q.device.type == "cpu" and q.dtype == torch.bfloat16:
            # On CPUs this one operation takes 3 times as long in bfloat16 as in float32.
            with torch.autocast("cpu", enabled=False):
                x = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), mask, dropout, causal)
                return x.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)


# %%
last = CausalSelfAttention(GPTConfig(vocab_size=1, context_length=5, n_heads=h, d_model=d_model)).double()
last.load_state_dict(ours.state_dict())
torch.testing.assert_close(last(batch), ours(batch))
assert torch.equal(last(batch), packages(batch))
show_influence(x, the_package=lambda x: last(x[None])[0])

# %% [markdown]
# ## What to remember
#
# 1. In training the answers stand in the input, so a token must not see later ones. A leak makes the loss splendid and the model useless.
# 2. Put $-\infty$ before the softmax. Then test: change a token, and nothing before it may move.
# 3. A head reads all of x through its own rows of the projection. More heads cost no parameters.
# 4. Heads are split with a view *and* a transpose. Without the transpose the shapes are right and the tokens are not.
# 5. Attention costs 2T²d multiplications. Fused attention does them too, but never stores the T × T weights.

# %% [markdown]
# ## Primary sources
#
# - Vaswani et al. 2017, Attention Is All You Need, sections 3.2.2 (heads) and 3.2.3 (the mask) (https://arxiv.org/abs/1706.03762)
# - Dao et al. 2022, FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness (https://arxiv.org/abs/2205.14135)
# - Michel, Levy and Neubig 2019, Are Sixteen Heads Really Better than One? (https://arxiv.org/abs/1905.10650)
# - Clark et al. 2019, What Does BERT Look At? (https://aclanthology.org/W19-4828)
# - Olsson et al. 2022, In-context Learning and Induction Heads (https://arxiv.org/abs/2209.11895)
#
# **Next** · [Lesson 6 · Feed-forward](06_feed_forward.ipynb): what a token does with what it fetched.
