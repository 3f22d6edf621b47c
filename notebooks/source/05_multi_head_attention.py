# %% [markdown]
# # Lesson 5 · Multi-head attention
#
# Lesson 4 let one token look at others. Now every token of a text looks at once, in several ways at once, and none of them may
# see the future. You build that layer, test it for leaks, take it apart inside a trained GPT, and count what it costs.
#
# **You will be able to**
# - write the causal mask, and prove with a test of your own that nothing leaks through it,
# - project, split, attend, join and project, and say the shape at every step,
# - write the whole layer from an empty cell, and run it on a trained GPT's weights,
# - find out what a head of that GPT looks at, and what is lost without it,
# - say what attention costs in multiplications, bytes and time, and what fused attention saves.
#
# **Time** 95 min
#
# **Builds on** [lesson 4](04_attention_by_hand.ipynb) (softmax, queries, keys, values, $\sqrt{d_k}$); what you need of it is recalled.
# From [Torch and slopes](00b_torch_and_slopes.ipynb): sections 1–6 (shapes, views and transposes, products, modules).
#
# ![The attention box of the GPT opened: the tokens are projected to queries, keys and values and split into heads, each head has its own triangle of weights, and the heads are joined and projected again](../figures/where_multi_head_attention.svg)

# %% tags=["setup"]
import math
import textwrap
import time
from collections import Counter
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import minigpt.model.attention
from minigpt.config import GPTConfig
from minigpt.course import check, explore, plots, start_lesson
from minigpt.course.dice import losses_on_dice
from minigpt.course.inside import look_inside
from minigpt.model.attention import rotate, rotation
from minigpt.model.gpt import TransformerBlock
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
# shows how). They are equal but for one setting of their attention, a word of one line. We will come to that word.

# %%
loss_at = {
    "the package's attention": losses_on_dice(causal=True),
    "without one word": losses_on_dice(causal=False),
}
for name, losses in loss_at.items():
    print(f"{name:<24} mean loss {sum(losses) / len(losses):.2f}")
print(f"{'the floor, ln 6':<24}           {math.log(6):.2f}")
assert sum(loss_at["without one word"]) / 12 < math.log(6) / 2

# %% [markdown]
# The second model foresees dice. Do not take it to a casino. Look at its loss position by position, after the first throw,
# the second, up to the twelfth:

# %%
print(" ".join(f"{loss:.2f}" for loss in loss_at["without one word"]))
assert max(loss_at["without one word"][:-1]) < 0.5
assert loss_at["without one word"][-1] > 1.7

# %% [markdown]
# It is sure of every throw but the last. (Eleven guesses for nothing and one for 1.84: the mean is 1.84 / 12 = 0.15.)
#
# In training all throws lie on the table at once, and the answer at position 3 is the input at position 4. This model learned to
# look one position to the right. At the last position there is nothing to the right, and there it knows nothing. When a GPT
# *writes*, it is always at the last position. So this model learned nothing that it could use.
#
# We need attention in which **no token sees a later one**.

# %% [markdown]
# ## The causal mask
#
# What you need from lesson 4: each token has a **query**, a **key** and a **value**, each a list of numbers. A query is multiplied
# with every key and divided by $\sqrt{d_k}$: these are the *scores*, a row for each query. **Softmax** makes a row positive with sum
# 1: the **weights**. The output for a token is the blend of all values with its weights:
#
# $$\text{Attention}(Q, K, V) = \text{softmax}\left(\frac{QK^\top}{\sqrt{d_k}}\right)V$$
#
# Now cross out the future. Here are the scores of three tokens. Row $i$ belongs to the query of token $i$, column $j$ to the key of
# token $j$. Token 0 may see itself, token 1 may see 0 and 1, token 2 may see all.

# %%
scores = [[1.0, 2.0, 3.0], [0.0, 0.0, 5.0], [0.0, 1.0, 0.0]]
values = [[10.0, 0.0], [0.0, 10.0], [0.0, 0.0]]


def softmax(row: list[float]) -> list[float]:
    exponentials = [math.exp(score) for score in row]
    total = sum(exponentials)
    return [e / total for e in exponentials]


for i in range(3):
    seen = scores[i][: i + 1]
    print(f"token {i} sees {seen}, weights {[f'{w:.4f}' for w in softmax(seen)]}")

# %% [markdown]
# Work out the rows yourself. Row 0 shares with nobody: 1. Row 1 has two equal scores: ½ and ½, and the tempting 5 is out of
# reach. Row 2 is $e^0, e^1, e^0$, each divided by their sum 4.7183.
#
# Rows of different lengths make no matrix. Is there a score that comes out of the softmax as exactly 0? Its exponential must
# be 0, so the score must be $-\infty$. With it every row has full length:

# %%
hidden = -math.inf
by_hand = [softmax(scores[i][: i + 1] + [hidden] * (2 - i)) for i in range(3)]
outputs_by_hand = [
    [sum(w * value[c] for w, value in zip(row, values, strict=True)) for c in range(2)]
    for row in by_hand
]
for row, blended in zip(by_hand, outputs_by_hand, strict=True):
    rounded = [f"{w:.4f}" for w in row]
    print("weights", rounded, " output", [f"{x:.4f}" for x in blended])

# %% [markdown]
# ### The same in torch
#
# The **causal mask** is a table of true and false: true where token $i$ may see token $j$, that is where $j \le i$. It is a lower
# triangle.
#
# ### Exercise 1 · the causal mask (★☆☆, 3 min)
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
def scaled_dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """Output (..., T_q, d_v) and weights (..., T_q, T_k) of q (..., T_q, d_k), k, v."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (..., T_q, T_k)
    if causal:
        T_q, T_k = scores.shape[-2:]
        visible = scores.new_ones(T_q, T_k, dtype=torch.bool).tril(T_k - T_q)
        scores = scores.masked_fill(~visible, -math.inf)  # e^-inf = 0
    weights = scores.softmax(dim=-1)
    return weights @ v, weights


# %% [markdown]
# It computes the scores from queries and keys. Keys that form the identity matrix hand a query through unchanged, so these
# queries give our three rows of scores:

# %%
k3 = torch.eye(3, dtype=torch.float64)  # (T, d_k), with d_k = 3
q3 = torch.tensor(scores, dtype=torch.float64) * math.sqrt(3)  # (T, d_k)
v3 = torch.tensor(values, dtype=torch.float64)  # (T, d_v)
output3, weights3 = scaled_dot_product_attention(q3, k3, v3, causal=True)
others = {
    "by hand": torch.tensor(outputs_by_hand, dtype=torch.float64),
    "the package's": minigpt.model.attention.scaled_dot_product_attention(
        q3, k3, v3, causal=True
    )[0],
    "torch's": F.scaled_dot_product_attention(q3, k3, v3, is_causal=True),
}
for name, other in others.items():
    print(f"{name:<14} differs from ours by {(other - output3).abs().max():.4f}")
    torch.testing.assert_close(other, output3)
shown = weights3.masked_fill(weights3 == 0, math.nan)  # the mask in grey
names3 = ["0", "1", "2"]
plots.heatmap(names3, names3, shown.tolist(), "token that looks", "token looked at")

# %% [markdown]
# And there is the word that the dice model lacked: `is_causal=True`.
#
# ### One text, T exercises
#
# The mask gives more than honesty. Cut the text after token 1 and attend again: the last row of the short text is row 1 of the
# long one.

# %%
for i in range(3):
    n = i + 1  # tokens, and no mask: there is no future
    alone, _ = scaled_dot_product_attention(q3[:n], k3[:n], v3[:n])
    same = torch.allclose(alone[-1], output3[i])
    print(f"row {i} is attention in a text that ends at token {i}: {same}")
    assert same

no_mask, _ = scaled_dot_product_attention(q3, k3, v3)
kept = [torch.allclose(no_mask[i], output3[i]) for i in range(3)]
print("rows that are the same without the mask:", kept)
assert kept == [False, False, True]

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


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


x = random(5, 4)  # (T, d)


def masked(x: Tensor) -> Tensor:
    """Causal attention; every token is its own query, key and value: (T, d)."""
    return scaled_dot_product_attention(x, x, x, causal=True)[0]


def unmasked(x: Tensor) -> Tensor:
    """The same without a mask."""
    return scaled_dot_product_attention(x, x, x)[0]


changed = x.clone()
changed[3] = random(4)
for attend in (masked, unmasked):
    distance = (attend(changed) - attend(x)).abs().amax(dim=-1)  # (T,)
    print(
        f"{attend.__name__:<9} rows moved by {[f'{d:.4f}' for d in distance.tolist()]}"
    )
assert torch.equal(masked(changed)[:3], masked(x)[:3])

# %% [markdown]
# With the mask, rows 0, 1 and 2 stand still to the last digit. Rows 3 and 4 move, as they may: they see token 3.
#
# ### Exercise 2 · the leak test (★★☆, 12 min)
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
# $j$ of the input is a block of numbers; we add up their sizes and call that the *influence* of $j$ on $i$.


# %%
def influence(attend: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """(T, T): how strongly row i of attend(x) depends on row j of x."""
    jacobian: Tensor = torch.autograd.functional.jacobian(attend, x)
    return jacobian.abs().sum(dim=(1, 3))  # of (T, d_out, T, d_in)


def show_influence(x: Tensor, **layers: Callable[[Tensor], Tensor]) -> None:
    """Side by side: ■ where row i depends on token j, · where it does not."""
    print("   ".join(f"{name.replace('_', ' '):<17}" for name in layers))
    tables = [influence(attend, x) > 1e-9 for attend in layers.values()]
    for rows in zip(*tables, strict=True):
        drawn = [" ".join("■" if seen else "·" for seen in row) for row in rows]
        print("   ".join(f"{line:<17}" for line in drawn))


show_influence(x, masked=masked, unmasked=unmasked)

# %% [markdown]
# A causal layer is a lower triangle. Whatever you build from here on, this is the picture to look for.

# %% [markdown]
# ## Before the softmax or after it? (optional)
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
of_token_1 = (x[1] @ x.T / math.sqrt(4)).expand(5, 5)  # its scores, in every row
for recipe in recipes:
    got = recipe(of_token_1)[1].tolist()  # we look at row 1
    print(f"{recipe.__name__:<27} {[f'{w:.2f}' for w in got]}  sum {sum(got):.2f}")

# %% [markdown]
# The first two agree, and that is no accident. Softmax divides $e^{s_j}$ by the sum over all tokens. Zeroing and dividing by
# what is left divides a second time, and the first divisor cancels:
#
# $$\frac{e^{s_j}/\sum_{\text{all}} e^{s}}{\sum_{\text{seen}}\left(e^{s}/\sum_{\text{all}} e^{s}\right)} = \frac{e^{s_j}}{\sum_{\text{seen}} e^{s}}$$
#
# Without the second division the weights sum to less than 1, and how much less depends on the future. And a zero *before* the softmax
# hides nothing: $e^0 = 1$, so the future gets weight. Now measure what leaks, through keys and through values separately:

# %%
q5, k5, v5 = random(5, 4), random(5, 4), random(5, 4)  # (T, d_k) each


def leak(recipe: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    """The largest influence of the future, through its keys and through its values."""
    by_keys = influence(lambda keys: recipe(q5 @ keys.T / math.sqrt(4)) @ v5, k5)
    by_values = influence(lambda given: recipe(q5 @ k5.T / math.sqrt(4)) @ given, v5)
    above = [table.triu(1).max().item() for table in (by_keys, by_values)]
    return above[0], above[1]


leak_of = {recipe: leak(recipe) for recipe in recipes}
print(f"{'':<27} through keys   through values")
for recipe, (through_keys, through_values) in leak_of.items():
    print(f"{recipe.__name__:<27} {through_keys:12.4f}   {through_values:14.4f}")
assert max(leak_of[minus_infinity_before] + leak_of[zero_after_and_renormalise]) < 1e-9
assert leak_of[zero_after][0] > 0.1 > 1e-9 > leak_of[zero_after][1]
assert leak_of[zero_before][1] > 0.1 > 1e-9 > leak_of[zero_before][0]

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
# ## One row of weights is not enough
#
# Take the words *Max thanked Finn*. The next token may need to know who thanked, and whom. One attention gives it one row of
# weights, and so *one blend* of values. With equal weights, *Max thanked Finn* and *Finn thanked Max* give the same blend. So is a
# blend too little? Try other weights, 0.65 and 0.35. Give 24 names random values, blend each two of them in either order, add some
# noise, and ask which pair it was:

# %%
pairs = [(i, j) for i in range(24) for j in range(24) if i != j]  # 552 ordered pairs
for width in (2, 8, 36):
    name_values = random(24, width)
    blends = torch.stack(
        [0.65 * name_values[i] + 0.35 * name_values[j] for i, j in pairs]
    )
    noisy = blends + 0.1 * random(len(pairs), width)
    guessed = torch.cdist(noisy, blends).argmin(dim=1)
    share = (guessed == torch.arange(len(pairs))).double().mean()
    print(
        f"values of {width:2} numbers: the pair is found in {share:4.0%} of the cases"
    )
assert share > 0.98  # at the width of the storyteller's heads

# %% [markdown]
# In two dimensions hardly, in 36 always: from a wide sum its parts can be told (lesson 3 says the same of embeddings). It is not the
# *values* that get lost.
#
# What one attention lacks is a second row of weights. A row comes from *one* query. «Who stands before the verb?» and «which colour
# was the kite?» fit different keys. One query that asks both must split its weight of 1 between the answers, in a proportion that
# suits both, and everything else that fits one of them a little joins the blend. Two queries ask one question each. So let $h$
# attentions run side by side, each with projections of its own, and lay their outputs side by side. Each is a **head** (Vaswani et al.
# 2017, section 3.2.2: with a single head, «averaging inhibits this»).
#
# $$\text{MultiHead}(x) = \text{Concat}(\text{head}_1, \dots, \text{head}_h)\,W_O^\top, \qquad
# \text{head}_i = \text{Attention}(x W_{Q,i}^\top,\; x W_{K,i}^\top,\; x W_{V,i}^\top)$$
#
# As in lesson 4, a matrix has a row for each number that comes out; the paper writes $xW$ with columns instead. It counts heads from
# 1, as we do in prose; the code counts from 0.
#
# To keep the cost, each head is narrow: $d_k = d_{model} / h$, `head_size` in the package. The paper has $d_{model} = 512$, $h = 8$ and $d_k = 64$.

# %% [markdown]
# ## Project, split, attend, join, project
#
# One product with a matrix `W_qkv` of $3\,d_{model}$ rows makes the queries, keys and values of all heads. Cut the result in three, and
# each part has the shape `(B, T, d_model)`: $B$ sequences, $T$ tokens, and for each token the numbers of all heads side by side, $h$ pieces of
# $d_k$.
#
# Attention works on the last two axes, tokens and $d_k$. What stands before them, sequences and heads, is done side by side. So
# the heads must come *before* the tokens.
#
# ### Exercise 3 · split the heads (★★☆, 4 min)
#
# From `(B, T, d_model)` to `(B, h, T, d_k)`. Head 0 gets the first $d_k$ numbers of every token, head 1 the next, and so on.
# (Which axis must be cut, and which two must change their order?)


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
# ### Exercise 4 · join the heads (★☆☆, 3 min)
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
# ### Line by line
#
# Now the whole way, with the shape after each step. Two sequences of five tokens, $d_{model} = 12$ and three heads, so $d_k = 4$.
# The last projection mixes what the heads have fetched.

# %%
B, T, d_model, h = 2, 5, 12, 3
d_k = d_model // h
batch = random(B, T, d_model)
W_qkv = random(3 * d_model, d_model) / math.sqrt(d_model)
W_output = random(d_model, d_model) / math.sqrt(d_model)


def step(what: str, tensor: Tensor) -> None:
    print(f"{what:<34} {tuple(tensor.shape)}")


step("x", batch)  # (B, T, d_model)
qkv = batch @ W_qkv.T  # (B, T, 3 * d_model): of all heads, from one product
step("project:    x @ W_qkv.T", qkv)
q, k, v = qkv.chunk(3, dim=-1)  # (B, T, d_model) each
step("            queries of all heads", q)
q, k, v = (part.view(B, T, h, d_k) for part in (q, k, v))  # h pieces of d_k
step("split:      .view(B, T, h, d_k)", q)
q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # (B, h, T, d_k)
step("transpose:  .transpose(1, 2)", q)
y, table = scaled_dot_product_attention(q, k, v, causal=True)
step("attend:     weights", table)  # (B, h, T, T)
step("            output", y)  # (B, h, T, d_k)
joined = y.transpose(1, 2).reshape(B, T, d_model)
step("join:       .transpose, .reshape", joined)
step("project:    joined @ W_output.T", joined @ W_output.T)  # (B, T, d_model)

# %% [markdown]
# ### The bug that has the right shape (optional)
#
# The result must be `(B, h, T, d_k)`. So why not say so at once, `.view(B, h, T, d_k)`, without the transpose? Number the entries
# to see what lands where: 203 is feature 3 of token 2.

# %%
numbered = 100 * torch.arange(T).view(1, T, 1) + torch.arange(d_model)
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
Part = Callable[[Tensor], Tensor]


def layer_with(split: Part, join: Part) -> Part:
    """A layer for one sequence, (T, d_model), with this way to split and to join."""

    def layer(x: Tensor) -> Tensor:
        q, k, v = (split(part) for part in (x[None] @ W_qkv.T).chunk(3, dim=-1))
        y, _ = scaled_dot_product_attention(q, k, v, causal=True)
        return (join(y) @ W_output.T)[0]

    return layer


def split_right(x: Tensor) -> Tensor:
    return x.view(1, T, h, d_k).transpose(1, 2)


def split_wrong(x: Tensor) -> Tensor:
    return x.reshape(1, h, T, d_k)  # a chunk is not contiguous, and refuses a view


def join_right(y: Tensor) -> Tensor:
    return y.transpose(1, 2).reshape(1, T, d_model)


def join_wrong(y: Tensor) -> Tensor:
    return y.reshape(1, T, d_model)


one = batch[0]  # (T, d_model)
all_right = layer_with(split_right, join_right)
wrong_then_right = layer_with(split_wrong, join_right)
both_wrong = layer_with(split_wrong, join_wrong)
show_influence(
    one, all_right=all_right, split_wrong=wrong_then_right, both_wrong=both_wrong
)
assert influence(wrong_then_right, one).triu(1).max() > 0.01  # sees the future
assert influence(both_wrong, one).triu(1).max() < 1e-9
assert influence(both_wrong, one)[-1, :-2].max() < 1e-9

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
own = slice(1 * d_k, 2 * d_k)  # the second head's, of the d_model rows for queries
own_rows = one @ W_qkv[own].T  # (T, d_k): all of x through the head's own rows
torch.testing.assert_close(own_rows, split_right(one[None] @ W_qkv[:d_model].T)[0, 1])

features_read = (W_qkv[own] != 0).any(dim=0).sum().item()
print(f"head 2 makes its queries from {features_read} of {d_model} features of a token")
assert features_read == d_model

own_slice = one[:, own] @ W_qkv[own, own].T  # what the claim describes
print("the same as from its own slice alone:", torch.allclose(own_rows, own_slice))
assert not torch.allclose(own_rows, own_slice)

# %% [markdown]
# So $W_{Q,i}$, a matrix for each head, is not missing from our code. All heads' matrices lie on top of
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
    layer = minigpt.model.attention.CausalSelfAttention(config)
    size = sum(parameter.numel() for parameter in layer.parameters())
    products = n_heads * 2 * T * T * config.head_size  # Q times K, weights times V
    print(f"h = {n_heads:2}  d_k = {config.head_size:2}  parameters {size}  "
          f"multiplications {products}  weights {n_heads * T * T:3}")  # fmt: skip
    assert (size, products) == (4 * d_model**2 + 4 * d_model, 2 * T**2 * d_model)

# %% [markdown]
# ## Build the layer
#
# Now all of it is yours. A model keeps such a layer as a module: two `nn.Linear`, each with a matrix and a bias ($xW^\top + b$), and
# a `forward` that runs them.
#
# ### Exercise 5 · your own attention layer (★★★, 20 min)
#
# Write the class from an empty cell. `Attention(d_model, n_heads)` has two parts with these names, because weights will be loaded
# into them: `qkv`, a Linear from $d_{model}$ to $3\,d_{model}$ numbers (all queries, then all keys, then all values), and `output`, a
# Linear from $d_{model}$ to $d_{model}$. `forward` takes `x` of shape `(B, T, d_model)` and returns the same shape: project, split, score and
# scale, mask, softmax, blend, join, project. Nothing else: no dropout, no cache. You may call what you wrote in exercises 1, 3
# and 4. The check says which of the steps is broken.


# %% tags=["exercise"]
class Attention(nn.Module):
    """Causal multi-head attention: (B, T, d_model) -> (B, T, d_model)."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        ### BEGIN SOLUTION
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.output = nn.Linear(d_model, d_model)
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        B, T, d_model = x.shape
        d_k = d_model // self.n_heads
        q, k, v = self.qkv(x).chunk(3, dim=-1)  # (B, T, d_model) each
        q = q.view(B, T, self.n_heads, d_k).transpose(1, 2)  # (B, h, T, d_k)
        k = k.view(B, T, self.n_heads, d_k).transpose(1, 2)
        v = v.view(B, T, self.n_heads, d_k).transpose(1, 2)
        scores = q @ k.transpose(-2, -1) / math.sqrt(d_k)  # (B, h, T, T)
        visible = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()
        scores = scores.masked_fill(~visible, -math.inf)
        y = scores.softmax(dim=-1) @ v  # (B, h, T, d_k)
        y = y.transpose(1, 2).reshape(B, T, d_model)
        y = self.output(y)
        return y
        ### END SOLUTION


# %%
check.attention_layer(Attention)

# %% [markdown]
# And does it work in a real model? Here is the storyteller. At each of its attention layers we let **your layer, with the model's own
# weights**, compute in place of the package's, and compare what the whole model says about a story. (Until the exercise is solved,
# the cell says so.)

# %%
model, tokenizer = load_model("storyteller")
model = model.double()
START = tokenizer.special_tokens[END_OF_TEXT]  # stands before and after each story
blocks = [block for block in model.blocks if isinstance(block, TransformerBlock)]
n_heads = model.config.n_heads
test_story = stories.story_at("test", 0)
test_ids = torch.tensor([[START, *tokenizer.encode(test_story.text)]])  # (1, T)


@torch.no_grad()
def logits_with(layer_class: type[nn.Module]) -> Tensor:
    """What the model says, (1, T, V), with layers of this class in its attention."""
    hooks = []
    for block in blocks:
        theirs = block.attention
        layer = layer_class(model.config.d_model, n_heads).double()
        layer.load_state_dict(theirs.state_dict())
        hook = lambda _, given, __, layer=layer: layer(given[0])  # noqa: E731
        hooks.append(theirs.register_forward_hook(hook))
    try:
        logits: Tensor = model(test_ids)
    finally:
        for handle in hooks:
            handle.remove()
    return logits


try:
    yours = logits_with(Attention)
    with torch.no_grad():
        difference = (yours - model(test_ids)).abs().max()
    guesses = (yours.argmax(dim=-1) == model(test_ids).argmax(dim=-1)).double().mean()
    print(f"largest difference of a logit: {difference:.6f}; same guess: {guesses:.0%}")
except Exception as error:
    print("waits for exercise 5:", str(error)[:60])

# %% [markdown]
# ## The package's layer (optional)
#
# Here is `CausalSelfAttention` of the package; only its docstrings are left out. You have built its middle. New are five things that do
# nothing here: `widths` leaves room for fewer keys and values than queries (the next section); `rotate` turns queries and keys by their positions in models that ask for it (lesson 3); `cache` keeps keys and values of
# earlier tokens while a model writes (lesson 13); `dropout` switches some weights off at random in training (lesson 7); and
# `fused_attention` has a mask of its own where a cache makes keys outnumber queries, and a detour for short numbers (bfloat16) on
# CPUs.


# %% tags=["package:minigpt.model.attention.CausalSelfAttention"]
class CausalSelfAttention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.dropout = config.dropout
        self.positions, self.rope_base = config.positions, config.rope_base
        self.widths = [
            n * config.head_size
            for n in (config.n_heads, config.kv_heads, config.kv_heads)
        ]
        self.qkv = nn.Linear(config.d_model, sum(self.widths), bias=config.bias)
        self.output = nn.Linear(config.d_model, config.d_model, bias=config.bias)

    def forward(
        self, x: Tensor, cache: KVCache | None = None, layer: int = 0, position: int = 0
    ) -> Tensor:
        B, T, d_model = x.shape
        q, k, v = (  # (B, h, T, head_size), and twice (B, kv_heads, T, head_size)
            part.view(B, T, -1, d_model // self.n_heads).transpose(1, 2)
            for part in self.qkv(x).split(self.widths, dim=-1)
        )
        if self.positions == "rope":
            turn = rotation(
                torch.arange(position, position + T, device=x.device),
                q.size(-1),
                self.rope_base,
            )
            q, k = rotate(q, turn), rotate(k, turn)
        if cache is not None:
            # (B, kv_heads, position + T, head_size)
            k, v = cache.update(layer, k, v, position)
        if k.size(1) < self.n_heads:
            k, v = (
                part.repeat_interleave(self.n_heads // k.size(1), dim=1)
                for part in (k, v)
            )
        x = self.fused_attention(q, k, v)  # (B, h, T, head_size)
        x = self.output(x.transpose(1, 2).reshape(B, T, d_model))
        return x

    def fused_attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        T, T_all = q.size(-2), k.size(-2)
        dropout = self.dropout if self.training else 0.0
        # Set by branches: T > 1 itself would be no plain bool to torch.compile.
        causal, mask = True, None
        if T == 1:  # one new token may see everything
            causal = False
        elif T_all > T:
            # Torch's own causal mask would count from the first of all tokens.
            causal = False
            mask = torch.ones(T, T_all, dtype=torch.bool, device=q.device).tril(
                T_all - T
            )
        if q.device.type == "cpu" and q.dtype == torch.bfloat16:
            # On CPUs this takes 3 times as long in bfloat16 as in float32.
            with torch.autocast("cpu", enabled=False):
                x = F.scaled_dot_product_attention(
                    q.float(), k.float(), v.float(), mask, dropout, causal
                )
                return x.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)


# %% [markdown]
# Torch has this layer, too. Give both the same weights. Mind one trap: `nn.MultiheadAttention` wants a mask that is true where a
# token is *hidden*.

# %%
torch.manual_seed(0)
small = GPTConfig(vocab_size=1, context_length=T, n_heads=h, d_model=d_model)
packages = CausalSelfAttention(small).double()
torchs = nn.MultiheadAttention(d_model, h, batch_first=True, dtype=torch.float64)
with torch.no_grad():
    torchs.in_proj_weight.copy_(packages.qkv.weight)
    torchs.in_proj_bias.copy_(packages.qkv.bias)
    torchs.out_proj.weight.copy_(packages.output.weight)
    torchs.out_proj.bias.copy_(packages.output.bias)

future = ~torch.ones(T, T, dtype=torch.bool).tril()
by_torch = torchs(batch, batch, batch, attn_mask=future)[0]
print(f"largest difference: {(packages(batch) - by_torch).abs().max():.6f}")
torch.testing.assert_close(packages(batch), by_torch)
show_influence(one, the_package=lambda x: packages(x[None])[0])

# %% [markdown]
# ## Fewer keys than queries
#
# In this layer every head has its own queries, keys and values. While a model writes, the keys and values of all tokens so far are kept
# (lesson 13), and with long texts and many users they can fill more memory than the weights. So in many models of today several heads of queries share one head of
# keys and values: **grouped-query attention** (Ainslie et al. 2023), with the extreme of one shared head for all, multi-query attention (Shazeer
# 2019). Weights are still one table for each head of queries; only the projection for keys and values gets narrower, and what must be
# kept shrinks by the same factor. [Lesson 20](20_modern_gpt.ipynb) builds it.

# %% [markdown]
# ## A head that tracks names?
#
# Nobody tells a head what to look for. What did training make of them? The storyteller keeps its hero's name straight through a whole
# story. Is there a head that fetches it? This section is about one measurement, and how it went wrong before it went right.
#
# **First guess:** the head looks at the name. Wherever the *next* token is the hero's name, and the name has occurred before, how much
# of its weight does each head put on those earlier mentions?
#
# **Second guess:** it looks at the token right *after* a mention. A head in a higher layer does not read words. It reads what the layers
# below have written, and one of those may have carried the name a step further: in small models Olsson et al. (2022) found heads that
# work in this way.


# %%
def token_of(word: str) -> int:
    """A word in the middle of a text that is one token; -1 if it is more."""
    found = tokenizer.encode(f" {word}")
    return found[0] if len(found) == 1 else -1


def ids_of(story: stories.Story) -> Tensor:
    return torch.tensor([START, *tokenizer.encode(story.text), START])


def weights_in(ids: Tensor) -> Tensor:
    """(n_layers, h, T, T), as the model computes them."""
    return look_inside(model, ids.tolist()).weights


told = [stories.story_at("test", i) for i in range(20)]
on_name, right_after = [], []  # at each position: (n_layers, h)
for story in told:
    ids = ids_of(story)
    pattern = weights_in(ids)
    hero = token_of(story.facts["hero"])
    for t in (ids == hero).nonzero().flatten()[1:] - 1:  # the name comes next, again
        named = ids[: t + 1] == hero
        after = named.roll(1) & ~named
        on_name.append(pattern[:, :, t, : t + 1][:, :, named].sum(dim=-1))
        right_after.append(pattern[:, :, t, : t + 1][:, :, after].sum(dim=-1))

on_names, after_names = (
    torch.stack(part).mean(dim=0) for part in (on_name, right_after)
)
print(f"mean weight at {len(on_name)} positions in {len(told)} stories")
print("layer  head   on the name   right after it")
for at in range(len(blocks)):
    for head in range(n_heads):
        both = on_names[at, head], after_names[at, head]
        print(f"{at + 1:5} {head + 1:5} {both[0]:13.2f} {both[1]:16.2f}")
assert on_names.max() < 0.1 and after_names[2, :3].min() > 0.4

# %% [markdown]
# The first guess is wrong for every head. The second looks splendid: three heads of layer 3 put about half of their weight right after a name,
# ten times as much as most others. We could stop here. But what do they look at with the *other* half? Look at one head, the third,
# in one story. Rows are the positions where the hero or the helper is named next. A column is a token that gets some weight; its label also shows
# the token before it.

# %%
in_layer, head = 2, 2  # layer 3, head 3, counted from 0
story = next(story for story in told if story.plot == "lost")
ids = ids_of(story)
print(textwrap.fill(story.text, 88))

people = [token_of(story.facts[who]) for who in ("hero", "helper")]
words = [tokenizer.decode([t]) if t != START else "START" for t in ids.tolist()]
asking = [t for t in range(len(ids) - 1) if int(ids[t + 1]) in people]
of_head = weights_in(ids)[in_layer, head]  # (T, T)
noticed = [j for j in range(len(ids)) if of_head[asking, j].max() >= 0.1]
shares = of_head[asking][:, noticed]
shares = torch.cat([shares, 1 - shares.sum(dim=1, keepdim=True)], dim=1)
plots.heatmap(
    [f"{words[t].strip()}→{words[t + 1].strip()}" for t in asking],
    [f"{words[j - 1].lstrip()}{words[j]}" for j in noticed] + ["others"],
    shares.tolist(),
    "last token → name that comes",
    "layer 3, head 3 looks at the last token of",
)

# %% [markdown]
# Read a row: the token before the arrow is asking, and the name after the arrow is what comes next. (The first time a name comes there is nothing
# to find.) The weight lies on full stops, a different one for each of the two people. Find them in the text. **Third guess:** it is the
# full stop that ends the *first sentence in which that person was named*.
#
# That would explain the half. A sentence like «… a duck named Tom.» ends with the name, and then the full stop happens to stand right after it.
# So split the stories by how that sentence ends, and let the two guesses compete:

# %%
full_stop = tokenizer.encode(".")[0]
by_ending: dict[str, list[Tensor]] = {"ends with the name": [], "goes on": []}
for other_story in told:
    other_ids = ids_of(other_story)
    its_pattern = weights_in(other_ids)[in_layer]  # (h, T, T)
    hero = token_of(other_story.facts["hero"])
    first = int((other_ids == hero).nonzero()[0])
    stop = first + int((other_ids[first:] == full_stop).nonzero()[0])
    ending = "ends with the name" if stop == first + 1 else "goes on"
    for t in (other_ids == hero).nonzero().flatten()[1:] - 1:
        if t < stop:
            continue  # named twice in the same sentence
        named = other_ids[: t + 1] == hero
        after = named.roll(1) & ~named
        by_guess = [
            its_pattern[:, t, : t + 1][:, after].sum(dim=-1),
            its_pattern[:, t, stop],
        ]
        by_ending[ending].append(torch.stack(by_guess))  # (2, h)

print("layer 3, mean weight of heads 1 to 4")
print("the first sentence      right after a name           its full stop")
means = {ending: torch.stack(found).mean(dim=0) for ending, found in by_ending.items()}
for ending, (after_it, on_stop) in means.items():
    columns = [
        "  ".join(f"{w:.2f}" for w in part.tolist()) for part in (after_it, on_stop)
    ]
    print(f"{ending:<20}  {columns[0]:<26}   {columns[1]}")
assert means["goes on"][0, :3].max() < 0.2 and means["goes on"][1, :3].min() > 0.6
assert means["ends with the name"][1, :3].min() > 0.6

# %% [markdown]
# The second guess was an accident of wording. Where the sentence goes on after the name, next to nothing lies right after it, and the
# full stop has nearly everything all the same. A mean over both kinds of stories hid that. Before you believe a mean, ask which cases
# it mixes.
#
# ### What the full stop holds (optional)
#
# What does a head want from a full stop? It fetches the token's *value*, so ask which values know the name. Give the hero another name
# throughout the story, and see which values of this head move.

# %%
pronoun = {row[""]: row["they"] for row in stories.world().tables["heroes"]}


@torch.no_grad()
def values_of_head(ids: Tensor) -> Tensor:
    """(T, d_k): what each token hands over in layer 3, head 3."""
    inside = look_inside(model, ids.tolist())
    read = blocks[in_layer].attention_norm(inside.stream[2 * in_layer])  # (T, d_model)
    v = blocks[in_layer].attention.qkv(read).chunk(3, dim=-1)[2]
    return v.unflatten(-1, (n_heads, -1))[:, head]


old_name = story.facts["hero"]
new_name = next(
    name for name in pronoun if name != old_name and pronoun[name] == pronoun[old_name]
)
renamed = ids.where(ids != token_of(old_name), torch.tensor(token_of(new_name)))
moved = (values_of_head(renamed) - values_of_head(ids)).norm(dim=-1)  # (T,)
print(f"half of the values move less than {moved.median():.1f}")
for j in moved.topk(4).indices.tolist():
    print(f"{moved[j]:5.1f}   position {j:3}   «{words[j - 1].lstrip()}{words[j]}»")
assert moved.max() > 5 * moved.topk(2).values[1] and words[int(moved.argmax())] == "."

# %% [markdown]
# One value moves ten times as far as the next: that of the full stop. The layers below have filed the name there. The weights find the
# position, the value says what is in it.
#
# ### All heads, all positions (optional)
#
# Here are all weights of all heads on this story, to wander about in. The framed token looks, the arc goes where it looks, and the number
# stands below. (The table on the right is the logit lens of lesson 1: what the guess would be after each part of the model; nostalgebraist
# 2020.) We begin at the last position where a name comes next.

# %%
explore(model, tokenizer, story.text, position=asking[-1], layer=3, head=3)

# %% [markdown]
# The arc ends at the full stop. Go through the other heads of this layer at the same position: which of them agree? Then choose *matrix* for the
# picture of the attention. A head's weights always sum to 1, also where there is nothing to fetch. Look for a dark column: a token on which many
# others rest that do not need this head.

# %%
rests = (of_head > 0.5).sum(dim=0)  # (T,): how many put most of their weight on each
j = int(rests.argmax())
print(f"{rests[j]} of {len(rests)} tokens put more than half of their weight on "
      f"«{words[j]}», position {j}")  # fmt: skip
assert rests[j] > len(rests) / 3

# %% [markdown]
# Such a column is called an **attention sink**. In large models it is usually the first token of the text (Xiao et al. 2023).
#
# ### Does it matter?
#
# Lesson 4 warned that a map shows where a head looks, not what comes of it. So silence heads: put zeros in place of their output, before the
# last projection mixes them. Then look at the loss. If these heads fetch the hero's name, the hero's name must suffer. But so that we do not
# fool ourselves again, look at *every* fact that comes back in a story, and at all other tokens; and silence three other heads, too.

# %%
FACTS = ("hero", "helper", "place", "trait", "kind", "helper_kind", "object", "colour")
many = [stories.story_at("test", i) for i in range(40)]
rows = torch.full((len(many), max(len(ids_of(story)) for story in many)), START)
kind_of = torch.full((len(many), rows.size(1) - 1), -1)  # of each next token; -1: none
for i, other_story in enumerate(many):
    other_ids = ids_of(other_story)
    rows[i, : len(other_ids)] = other_ids
    kind_of[i, : len(other_ids) - 1] = len(FACTS)  # any other token
    for n, fact in enumerate(FACTS):
        known = other_ids == token_of(other_story.facts.get(fact, "-"))
        kind_of[i, known.nonzero().flatten()[1:] - 1] = n  # from the second mention on


def silence(heads: list[int]) -> Callable[..., tuple[Tensor]]:
    """A hook that puts zeros in place of what these heads of a layer give."""

    def hook(_: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        heads_apart = given[0].unflatten(-1, (n_heads, -1)).clone()  # (B, T, h, d_k)
        heads_apart[:, :, heads] = 0
        return (heads_apart.flatten(2),)

    return hook


@torch.no_grad()
def loss_without(layer: int, heads: list[int]) -> list[float]:
    """The mean loss for each kind of next token."""
    output = blocks[layer].attention.output
    handle = output.register_forward_pre_hook(silence(heads))
    logits = model(rows[:, :-1])
    handle.remove()
    loss = F.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none")
    return [float(loss[kind_of == n].mean()) for n in range(len(FACTS) + 1)]


counted = Counter(kind_of.flatten().tolist())
intact = loss_without(0, [])
tries: dict[str, tuple[int, list[int]]] = {
    "layer 3, heads 1 2 3": (2, [0, 1, 2]),
    "layer 3, heads 1 2 4": (2, [0, 1, 3]),
    "layer 3, heads 1 3 4": (2, [0, 2, 3]),
    "layer 3, heads 2 3 4": (2, [1, 2, 3]),
    "layer 3, head 3": (2, [2]),
    "layer 2, heads 1 2 3": (1, [0, 1, 2]),
    "layer 1, heads 1 2 3": (0, [0, 1, 2]),
    "layer 1, head 1": (0, [0]),
    "layer 1, head 3": (0, [2]),
}
SHORT = ("hero", "helper", "place", "trait", "animal", "h. an.", "object", "colour")
print(f"{'':<22}", "".join(f"{name:>7}" for name in (*SHORT, "rest")), sep="")
print(f"{'how many':<22}", "".join(f"{counted[n]:7}" for n in range(9)), sep="")
rise: dict[str, list[float]] = {}
for text, (at, silent) in tries.items():
    now = loss_without(at, silent)
    rise[text] = [after - before for after, before in zip(now, intact, strict=True)]
    print(
        f"{text:<22}", "".join(f"{round(x, 1) + 0:+7.1f}" for x in rise[text]), sep=""
    )

# %% [markdown]
# Each number says by how many nats the loss rises («h. an.» is the helper's animal). The first row is our three heads. Without them the model loses its hero: +3.6 nats mean
# that the right name gets a probability of $e^{-3.6}$, a thirty-seventh of what it had (on the average of the logarithms). But it loses as much
# of the helper, the place, the trait and the helper's animal. To call these heads «name heads» would be another mean that hides something.
# They fetch *who and where*. (That places and traits are filed at full stops as well, we have not looked.) Objects, colours and the hero's own
# animal suffer less: they have other ways, and lesson 4 met a head of layer 1 that fetches them.
#
# Now the control. With any two of the three and head 4, most of the harm stays away: the one that is left stands in. Without head 3 alone next to
# nothing suffers, nor without three heads of layer 2: after training, many heads can be removed with little harm (Michel et al. 2019 found it in far
# larger models).
#
# And the last rows are a warning. Silence layer 1's first head, and the hero's name suffers nearly as much; without its third head, too, names suffer more than
# the rest. Do these two fetch names? You have seen above that they hardly look at them. Everything above is built on what layer 1 writes, so nearly everything falls. A loss that rises shows
# that a part is *needed*, not what it does. What lets us speak about the three heads is that all agrees: where they look, what is filed there,
# and that the other tokens lose so little. One more caution: zeros are something that the layers above never met in training, so the size
# of the harm is rough.

# %%
three, layer_1 = rise["layer 3, heads 1 2 3"], rise["layer 1, head 1"]
assert min(three[:4]) > 3 and three[5] > 3 and max(three[4], three[6], three[7]) < 2
assert three[8] < 0.2 < layer_1[8]  # the other tokens
assert layer_1[0] > 2 and on_names[0, 0] < 0.1  # needed at names, and does not look
assert max(abs(x) for x in rise["layer 2, heads 1 2 3"]) < 0.2
print(f"e^-{three[0]:.1f} is one in {math.exp(three[0]):.0f}")

# %% [markdown]
# ## What it costs
#
# Count multiplications. A score is a product of two lists of $d_k$ numbers, so $d_k$ multiplications, and each head has $T \times T$
# scores. The blend of the values takes as many again. With $h$ heads of $d_k = d_{model}/h$:
#
# $$h \cdot (T^2 d_k + T^2 d_k) = 2\,T^2 d_{model}$$
#
# The four projections (queries, keys, values, output) take $d_{model}^2$ each for each token: $4\,T d_{model}^2$. PyTorch can count for us, while it runs
# the layer. It counts an addition for each multiplication, so its numbers are twice ours. (Biases and softmax are not
# counted.)

# %%
wide = nn.Linear(128, 3 * 128), nn.Linear(128, 128)
print("    T   projections    attention   sum × 2 = PyTorch's count")
for length in (64, 128, 256, 512, 1024):
    projections, attending = 4 * length * 128**2, 2 * length**2 * 128
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        parts = wide[0](torch.zeros(1, length, 128)).chunk(3, dim=-1)
        q4, k4, v4 = (part.view(1, length, 4, 32).transpose(1, 2) for part in parts)
        blended4, _ = scaled_dot_product_attention(q4, k4, v4, causal=True)
        wide[1](blended4.transpose(1, 2).flatten(2))
    flops = counter.get_total_flops()
    assert flops == 2 * (projections + attending)
    print(f"{length:5}   {projections:11,}  {attending:11,}   {flops:14,}")

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
for length in (1024, 2048, 4096):
    mib = gpt2.n_heads * length * length * 4 / 2**20  # of one layer
    print(f"T = {length}: {mib:4.0f} MiB in a layer of GPT-2, "
          f"{gpt2.n_layers * mib:5.0f} MiB in all")  # fmt: skip

# %% [markdown]
# For one sequence, and before anything else is stored. Must the weights exist at all? Attention that never stores them is called **fused**:
# all steps run as one. PyTorch has it as `F.scaled_dot_product_attention`, and the package uses it.
#
# ### Softmax in blocks (optional)
#
# How can that be? We only want the blend. Softmax seems to need a whole
# row, because it divides by the sum. But the sum can be kept *while* we go along the row. Take the keys in blocks, and carry three
# things: the largest score so far, the sum of the exponentials, and the blend before division. When a larger score turns up,
# shrink what was collected.

# %%
query = random(d_k)
keys, vectors = random(12, d_k), random(12, d_k)

largest, total = -math.inf, torch.tensor(0.0)
blend = torch.zeros(d_k, dtype=torch.float64)
for key_block, value_block in zip(keys.split(4), vectors.split(4), strict=True):
    block_scores = key_block @ query / math.sqrt(d_k)  # (4,): only these exist now
    new_largest = max(largest, block_scores.max().item())
    shrink = math.exp(largest - new_largest)  # 0 at first, 1 where no larger score came
    exponentials = (block_scores - new_largest).exp()
    total = total * shrink + exponentials.sum()
    blend = blend * shrink + exponentials @ value_block
    largest = new_largest
streamed = blend / total

expected, _ = scaled_dot_product_attention(query[None], keys, vectors)
torch.testing.assert_close(streamed[None], expected)
print("in blocks: ", [f"{number:.4f}" for number in streamed.tolist()])
print("by formula:", [f"{number:.4f}" for number in expected[0].tolist()])

# %% [markdown]
# The running maximum and sum are due to Milakov and Gimelshein (2018); attention without the table to Rabe and Staats (2021).
# **FlashAttention** (Dao et al. 2022) chose the blocks so that they fit into the processor's fast memory, which made it fast as well as small;
# the backward pass computes what it needs of the weights again.
#
# ### What is kept, and how long it takes (optional)
#
# What does training have to keep? `saved_tensors_hooks` shows every tensor that is put aside for the backward pass. We add up their bytes.


# %%
def by_formula(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled_dot_product_attention(q, k, v, causal=True)[0]


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def random_heads(T: int) -> list[Tensor]:
    """Queries, keys and values of four heads with d_k = 32: (1, h, T, d_k)."""
    return [random(1, 4, T, 32).float().requires_grad_() for _ in range(3)]


def kept_bytes(attend: Callable[..., Tensor], T: int) -> int:
    """Bytes put aside for the backward pass; what is put aside twice counts once."""
    aside: dict[int, Tensor] = {}

    def put_aside(tensor: Tensor) -> Tensor:
        aside[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(put_aside, lambda tensor: tensor):
        attend(*random_heads(T))
    return sum(tensor.untyped_storage().nbytes() for tensor in aside.values())


lengths = [128, 256, 512, 1024, 2048]
example = random_heads(256)
torch.testing.assert_close(fused(*example), by_formula(*example))
size_of = {
    "by formula": [float(kept_bytes(by_formula, length)) for length in lengths],
    "fused": [float(kept_bytes(fused, length)) for length in lengths],
}
print("    T   weights alone    by formula       fused   (bytes)")
for i, length in enumerate(lengths):
    alone_bytes = 4 * length * length * 4
    print(f"{length:5}   {alone_bytes:13,}  {size_of['by formula'][i]:12,.0f}  "
          f"{size_of['fused'][i]:10,.0f}")  # fmt: skip
    assert size_of["by formula"][i] > alone_bytes
growth = {name: sizes[-1] / sizes[-2] for name, sizes in size_of.items()}
print(f"from {lengths[-2]} to {lengths[-1]} tokens: × {growth['by formula']:.1f} "
      f"by formula, × {growth['fused']:.1f} fused")  # fmt: skip
assert growth["by formula"] > 3.5 and growth["fused"] < 2.1

# %% [markdown]
# The formula keeps the weights, four bytes each. Then come the mask (one byte for each pair of tokens, one table for all heads), the queries,
# keys and values. Fused attention keeps nothing of size $T^2$. Now the time, on your machine:


# %% tags=["nbval-ignore-output"]
def best_time(attend: Callable[..., Tensor], length: int) -> float:
    given = [tensor.detach() for tensor in random_heads(length)]
    attend(*given)  # the first run is slower
    trials = []
    for _ in range(5):
        start = time.perf_counter()
        attend(*given)
        trials.append(time.perf_counter() - start)
    return min(trials)


seconds = {
    "by formula": [best_time(by_formula, length) for length in lengths],
    "fused": [best_time(fused, length) for length in lengths],
}
print(f"time, with that at T = {lengths[0]} as 1")
print("    T    T²   by formula   fused")
for i, length in enumerate(lengths):
    formula_time, fused_time = (times[i] / times[0] for times in seconds.values())
    squared = (length / lengths[0]) ** 2
    print(f"{length:5}  {squared:4.0f}   {formula_time:10.1f}   {fused_time:5.1f}")


def formula_over_fused(measured: dict[str, list[float]]) -> list[float]:
    both = zip(measured["by formula"], measured["fused"], strict=True)
    return [slow / fast for slow, fast in both]


plots.curves(
    {
        "memory": (lengths, formula_over_fused(size_of)),
        "time": (lengths, formula_over_fused(seconds)),
    },
    "T (tokens)",
    "by formula / fused",
)

# %%
longer = [times[-1] > 4 * times[-3] for times in seconds.values()]
faster = seconds["fused"][-1] < seconds["by formula"][-1]
print("four times the text takes more than four times as long:", all(longer))
print("the fused one is faster on the longest text:", faster)
assert all(longer) and faster

# %% [markdown]
# The line of memory is straight: $T^2$ over $T$. In time both grow steeply, for the multiplications have not gone away. Fused attention saves
# trips to memory, which cost the formula more once its tables outgrow the processor's cache, and it skips blocks that lie wholly in the future.

# %% [markdown]
# ## What to remember
#
# 1. In training the answers stand in the input, so a token must not see later ones. A leak makes the loss splendid and the model useless.
# 2. Put $-\infty$ before the softmax. Then test: change a token, and nothing before it may move.
# 3. A head reads all of x through its own rows of the projection, and has one row of weights for each token. More heads cost no parameters.
# 4. Heads are split with a view *and* a transpose. Without the transpose the shapes are right and the tokens are not.
# 5. Attention costs 2T²d multiplications. Fused attention does them too, but never stores the T × T weights.

# %% [markdown]
# ## Primary sources
#
# - Vaswani et al. 2017, Attention Is All You Need, sections 3.2.2 (heads) and 3.2.3 (the mask) (https://arxiv.org/abs/1706.03762)
# - Ainslie et al. 2023, GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints (https://arxiv.org/abs/2305.13245)
# - Shazeer 2019, Fast Transformer Decoding: One Write-Head is All You Need (https://arxiv.org/abs/1911.02150)
# - Milakov and Gimelshein 2018, Online normalizer calculation for softmax (https://arxiv.org/abs/1805.02867)
# - Rabe and Staats 2021, Self-attention Does Not Need O(n²) Memory (https://arxiv.org/abs/2112.05682)
# - Dao et al. 2022, FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness (https://arxiv.org/abs/2205.14135)
# - Michel, Levy and Neubig 2019, Are Sixteen Heads Really Better than One? (https://arxiv.org/abs/1905.10650)
# - Xiao et al. 2023, Efficient Streaming Language Models with Attention Sinks (https://arxiv.org/abs/2309.17453)
# - Olsson et al. 2022, In-context Learning and Induction Heads (https://arxiv.org/abs/2209.11895)
# - nostalgebraist 2020, interpreting GPT: the logit lens (https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens)
#
# **Next** · [Lesson 6 · Feed-forward](06_feed_forward.ipynb): what a token does with what it fetched.
