# %% [markdown]
# # Lesson 4 · Attention by hand
#
# Attention is how one token fetches what another token knows. You compute it with a pencil, three tokens and small
# whole numbers. Then you find the same computation at work inside a trained GPT.
#
# **You will be able to**
# - compute attention from Q, K and V, with every number in between, by hand and in torch,
# - write a softmax that does not overflow, and say how its weights answer a nudge,
# - show by measurement why scores are divided by $\sqrt{d_k}$,
# - read an attention map, and say what it does not show.
#
# **Time** 95 min
#
# **Builds on** [lesson 1](01_next_token_game.ipynb) (a GPT gives a probability for every next token) and
# [lesson 3](03_embeddings_and_positions.ipynb) (inside the GPT, each token is a list of numbers, a vector). From
# [Torch and slopes](00b_torch_and_slopes.ipynb): sections 2 and 5 for the code, sections 7–9 (slopes, the quotient rule,
# exponentials) for the second half.
#
# ![The GPT in grey with attention in blue; below, enlarged: the query of «it» is compared with three keys, the key of «kite» gets the longest bar of weight, and the three values are blended with these weights into one output](../figures/where_attention_by_hand.svg)

# %% tags=["setup"]
import math
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

import minigpt.model.attention
from minigpt.config import GPTConfig
from minigpt.course import check, plots, start_lesson
from minigpt.course.inside import look_inside
from minigpt.model.gpt import GPT, TransformerBlock
from minigpt.text import stories
from minigpt.text.tokenizer import END_OF_TEXT
from minigpt.weights.checkpoint import load_model

start_lesson()

# %% [markdown]
# ## One word, many tokens back
#
# Here is the beginning of a story that our bundled GPT has never seen. It stops before a word that you can guess.

# %%
model, tokenizer = load_model("storyteller")
model = model.double()
START = tokenizer.special_tokens[END_OF_TEXT]  # stands before each story


def tokens_of(story: stories.Story) -> list[int]:
    return [START, *tokenizer.encode(story.text)]


def mentions(fact: str, story: stories.Story) -> list[int]:
    """The positions at which a story names a fact, such as its colour."""
    word = tokenizer.encode(f" {story.facts[fact]}")
    assert len(word) == 1
    return [i for i, token in enumerate(tokens_of(story)) if token == word[0]]


# The story that comes back to its colour soonest (not orange: «an» would tell).
candidates = [stories.story_at("test", i) for i in range(100)]
candidates = [c for c in candidates if c.facts["colour"] != "orange"]
candidates = [c for c in candidates if len(mentions("colour", c)) > 1]
story = min(candidates, key=lambda c: mentions("colour", c)[1])
first, second, *_ = mentions("colour", story)
beginning = tokenizer.decode(tokens_of(story)[1:second])
print(textwrap.fill(beginning + " …", 88))

# %% [markdown]
# Now put another colour into the first mention, and change nothing else. What does the model expect at the end?

# %%
for colour in ("red", "green", "white"):
    text = beginning.replace(f" {story.facts['colour']} ", f" {colour} ")
    with torch.no_grad():
        logits = model(torch.tensor([[START, *tokenizer.encode(text)]]))[0, -1]  # (V,)
    best = logits.softmax(dim=-1).max()
    guess = tokenizer.decode([int(logits.argmax())])
    print(f"with {colour:<6} {text[-14:]} …{guess}   (probability {best:.2f})")
    assert guess == f" {colour}" and best > 0.5
print(f"the word that we changed stands {second - first} tokens before the gap")

# %% [markdown]
# The last words are the same three times, and the guess follows a word far back. So what stands there has reached the
# last token, directly or through tokens in between. The last token does not know the position: in another story the
# colour stands elsewhere. Somebody has to *ask* for it. **How can a list of numbers ask a question, and how can another
# list of numbers answer?**

# %% [markdown]
# ## From exact lookup to soft lookup
#
# Python knows one way to fetch something by asking: a dictionary.

# %%
memory = {"colour": "red", "owner": "Pip", "place": "harbour"}
print(memory.get("colour"), memory.get("hue"))

# %% [markdown]
# It answers an exact key and is silent otherwise, although *hue* means *colour*. So we describe keys and questions by
# numbers. Two will do: how much a key is about **looks**, and how much about **people**. A place has looks, too.
#
# To see how well a question fits a key, multiply them number by number and add up. That is the **dot product**.

# %%
keys = [[2, 0], [0, 2], [1, 0]]  # colour, owner, place: (looks, people)
values = ["red", "Pip", "harbour"]
hue = [1, 0]  # a question about looks


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


scores = [dot(hue, key) for key in keys]
print("scores:", scores, "→", values[scores.index(max(scores))])

# %% [markdown]
# The best fit answers *red*. A lookup by best fit finds things that it was never asked for by name. But it has two
# faults. Ask about looks and people at once, and one half of the answer is lost. And nudge the question a little:
# nothing changes.

# %%
for question in ([1.0, 1.0], [1.0, 0.0], [0.99, 0.01], [0.98, 0.02]):
    scores = [round(dot(question, key), 2) for key in keys]
    print(f"question {question}: scores {scores} → {values[scores.index(max(scores))]}")

# %% [markdown]
# The second fault is the worse one. A network learns by nudging its numbers and watching whether the result gets better
# (lesson 9). A result that does not move teaches nothing.
#
# Both faults go away if we answer with a *blend of all values*, mostly of those whose keys fit. We need a weight for
# each value: positive, and together 1. Can we divide each score by the total?

# %%
no_people_please = [1, -1]
scores = [dot(no_people_please, key) for key in keys]
print("scores", scores, "divided by their total:", [s / sum(scores) for s in scores])

# %% [markdown]
# Weights of 2 and −2 are no shares. Scores may be negative, so we make them positive first. The exponential function
# does it, and it keeps the order. So: **exponentiate, then divide by the total.** For *hue* the scores were 2, 0, 1.
# Take a pocket calculator and work out the second weight before you read on.


# %%
def weights_from(scores: Sequence[float]) -> list[float]:
    exponentials = [math.exp(score) for score in scores]
    total = sum(exponentials)
    return [e / total for e in exponentials]


print("e^score:", [f"{math.exp(score):.4f}" for score in (2, 0, 1)])
print(f"total:   {math.exp(2) + math.exp(0) + math.exp(1):.4f}")
print("weights:", [f"{w:.4f}" for w in weights_from([2, 0, 1])])

# %% [markdown]
# The second weight is $e^0 / (e^2 + e^0 + e^1) = 1 / 11.1073 = 0.0900$. This function from scores to weights is called
# **softmax**: a maximum that does not decide, but leans.
#
# Words cannot be averaged, vectors can. Let each value be a vector with one number for each word. The blend is then a
# vector, too:

# %%
value_vectors = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]  # red, Pip, harbour
weighted = list(zip(weights_from([2, 0, 1]), value_vectors, strict=True))
blend = [sum(w * value[i] for w, value in weighted) for i in range(3)]
for word, share in zip(values, blend, strict=True):
    print(f"{word:<8} {share:.4f}")

# %% [markdown]
# Let the question turn slowly from looks to people, and watch how much *Pip* there is in the answer.

# %%
turn = [i / 200 for i in range(201)]
turned = [[dot([1 - t, t], key) for key in keys] for t in turn]  # three scores each
hard = [float(scores[1] == max(scores)) for scores in turned]
soft = [round(weights_from(scores)[1], 3) for scores in turned]
plots.curves(
    {"best fit only": (turn, hard), "blend": (turn, soft)},
    "the question, from looks (0) to people (1)",
    "share of «Pip» in the answer",
    markers=False,
)

# %% [markdown]
# The best fit is flat, then jumps. The blend has a slope everywhere, so there is always something to learn from.
#
# You have built a soft lookup. Its parts have names: the question is the **query**, each memory has a **key** that is
# compared and a **value** that is handed over. Scores are dot products of the query with the keys, softmax makes them
# weights, and the output is the weighted average of the values.
#
# Graves et al. (2014, section 3.3.1) read an external memory in this way. Bahdanau et al. (2014, section 3.1) did it
# inside a translator: for each word to write, a blend of the words to read. There, a small network computed the scores,
# and one vector was both key and value.

# %% [markdown]
# ## Softmax, looked at closely
#
# Two small experiments show its character. Add the same number to all scores. Then multiply all scores by the same
# number.

# %%
for text, changed in (
    ("scores", [2.0, 0.0, 1.0]),
    ("plus 5", [7.0, 5.0, 6.0]),
    ("times 0.1", [0.2, 0.0, 0.1]),
    ("times 10", [20.0, 0.0, 10.0]),
):
    print(f"{text:<10} {changed!s:<17} → {[f'{w:.4f}' for w in weights_from(changed)]}")

# %% [markdown]
# **Adding changes nothing.** A factor $e^5$ stands in front of every exponential, and cancels:
#
# $$\frac{e^{s_i + c}}{\sum_j e^{s_j + c}} = \frac{e^c \, e^{s_i}}{e^c \sum_j e^{s_j}} = \frac{e^{s_i}}{\sum_j e^{s_j}}$$
#
# Only differences count: a score that is higher by 1 gets $e = 2.7183$ times the weight. **Multiplying changes
# everything.** Small scores leave all weights nearly equal, large ones let the best take nearly all. Keep that in mind;
# it comes back as $\sqrt{d_k}$.
#
# Now the trouble. Exponentials grow fast, and a computer's numbers end somewhere. Plain Python stops with an error.
# Torch gives *infinity*, and infinity divided by infinity is *nan*, not a number:

# %%
big = torch.tensor([1000.0, 1001.0])
print("exponentials:", big.exp(), " divided by their sum:", big.exp() / big.exp().sum())
try:
    weights_from([1000, 1001])
except OverflowError as error:
    print("OverflowError:", error)

# %% [markdown]
# ### Exercise 1 · softmax that does not overflow (★☆☆, 8 min)
#
# The scores 1000 and 1001 differ by 1, so their weights are 0.2689 and 0.7311. Use what you have seen above to write a
# softmax that works for any finite scores, however large or small.


# %% tags=["exercise"]
def softmax(scores: list[float]) -> list[float]:
    """Positive weights that sum to 1."""
    ### BEGIN SOLUTION
    largest = max(scores)
    # The largest is e^0 = 1, none is above.
    exponentials = [math.exp(score - largest) for score in scores]
    total = sum(exponentials)
    return [e / total for e in exponentials]
    ### END SOLUTION


# %%
check.softmax(softmax)

# %% [markdown]
# Torch's own softmax does the same:

# %%
print(big.softmax(dim=-1))

# %% [markdown]
# ## Three tokens, every number
#
# In a text, every token asks, and every token can answer. So each has all three: a query, a key and a value. Stack them
# as the rows of three matrices, **Q**, **K** and **V**, one row for each token. (The field writes V for the values and
# for the size of the vocabulary; from here to the end of this lesson it is the values. And $d_k$, the length of a query,
# is called `head_size` in the package.) Our text is *Pip*, *kite*, *it*. We choose all numbers by hand.
#
# The numbers in queries and keys mean (thing, person):
#
# - *it* looks for a thing, and urgently: `[2, 0]`.
# - *kite* looks for a person, its owner: `[0, 1]`.
# - *Pip* looks for either: `[1, 1]`.
#
# A key says what its token can be found as: *Pip* as a person, `[0, 2]`, *kite* as a thing, `[2, 0]`, and *it* as a little of both,
# `[1, 1]`.
#
# The numbers in values mean (red, years old), the facts that a token can hand over: *Pip* is six years old, the *kite*
# is red, and *it* has nothing to tell yet.

# %%
names = ["Pip", "kite", "it"]
Q = [[1, 1], [0, 1], [2, 0]]  # (T, d_k): T = 3 tokens, d_k = 2
K = [[0, 2], [2, 0], [1, 1]]  # (T, d_k)
V = [[0, 6], [3, 0], [0, 0]]  # (T, d_v), d_v = 2


def show(title: str, matrix: Sequence[Sequence[float]]) -> None:
    print(title)
    for name, row in zip(names, matrix, strict=True):
        cells = [f"{x:9.4f}" if isinstance(x, float) else f"{x!s:>9}" for x in row]
        print(f"  {name:<5}", *cells, sep="")


# %% [markdown]
# **Step 1, scores.** Row *i*, column *j*: the query of token *i* times the key of token *j*. On paper, do the last row,
# the one of *it*: `[2, 0]` with each of the three keys.

# %%
all_scores = [[dot(q, k) for k in K] for q in Q]  # (T, T)
show("scores", all_scores)

# %% [markdown]
# The row of *it* is 0, 4, 2: *kite* fits best. The row of *Pip* is 2, 2, 2: he finds all equally good.
#
# **Step 2, scale.** Divide every score by $\sqrt{d_k} = \sqrt 2$. Why, we measure further down; for now it is one more
# division.

# %%
scaled = [[s / math.sqrt(2) for s in row] for row in all_scores]  # (T, T)
show("scaled scores", scaled)

# %% [markdown]
# **Step 3, softmax of each row.** Each token shares out one whole among all tokens. With a calculator, follow the row
# of *it*.

# %%
exponentials = [[math.exp(s) for s in row] for row in scaled]
show("exponentials", exponentials)
totals = [sum(row) for row in exponentials]
print("totals of the rows:", [round(total, 4) for total in totals])
by_row = zip(exponentials, totals, strict=True)
weights = [[e / total for e in row] for row, total in by_row]  # each row sums to 1
show("weights", weights)

# %% [markdown]
# **Step 4, blend.** Each output is the average of the rows of V with these weights. For *it*, the first number is
# $0.0454 \cdot 0 + 0.7679 \cdot 3 + 0.1867 \cdot 0$. Work it out, and the second one, too. (From
# rounded weights, your last digit may be off by one.)


# %%
def blend_of(row: Sequence[float]) -> list[float]:
    """The average of the rows of V with these weights."""
    return [sum(w * v[c] for w, v in zip(row, V, strict=True)) for c in range(2)]


output = [blend_of(row) for row in weights]
show("output", output)  # (T, d_v)

# %% [markdown]
# Read the last row. *It* had nothing to tell. Now it holds 2.30 of the kite's 3 for *red*, and next to nothing of Pip's
# six years: 0.27. Whoever reads *it* from here on can learn its colour.
#
# For *Pip* we can do without rounding. Three equal scores give three equal weights, and these are exact fractions:

# %%
third = Fraction(1, 3)
exact = [sum(third * value[c] for value in V) for c in range(2)]
print("Pip, exactly:", [str(x) for x in exact])
assert all(math.isclose(w, third) for w in weights[0])
assert all(math.isclose(x, y) for x, y in zip(output[0], exact, strict=True))

# %% [markdown]
# A table of weights says who looks at whom. Read it by rows: *it* looks mostly at *kite*, *kite* at *Pip*.

# %%
plots.heatmap(names, names, weights, "who looks", "at whom")

# %% [markdown]
# ### The same in numpy, torch and minigpt
#
# All dot products of queries with keys are one matrix product, $QK^\top$: rows of Q meet columns of $K^\top$, which are
# rows of K. The blend is a matrix product as well. Four steps become one formula (Vaswani et al. 2017, section 3.2.1):
#
# $$\text{Attention}(Q, K, V) = \text{softmax}\!\left(\frac{QK^\top}{\sqrt{d_k}}\right) V$$

# %%
q_np, k_np, v_np = (np.array(matrix, dtype=np.float64) for matrix in (Q, K, V))
scores_np = q_np @ k_np.T  # (T, T)
scaled_np = scores_np / np.sqrt(2)
shifted_np = scaled_np - scaled_np.max(axis=-1, keepdims=True)  # it cannot overflow
exponentials_np = np.exp(shifted_np)
weights_np = exponentials_np / exponentials_np.sum(axis=-1, keepdims=True)
output_np = weights_np @ v_np  # (T, d_v)

assert np.array_equal(scores_np, all_scores)
assert np.allclose(weights_np, weights) and np.allclose(output_np, output)
print(output_np)

# %%
q_t, k_t, v_t = (torch.tensor(matrix, dtype=torch.float64) for matrix in (Q, K, V))
scaled_t = q_t @ k_t.T / math.sqrt(2)  # (T, T)
weights_t = scaled_t.softmax(dim=-1)
output_t = weights_t @ v_t  # (T, d_v)

for ours, theirs in (
    (scaled_t, scaled_np),
    (weights_t, weights_np),
    (output_t, output_np),
):
    assert torch.allclose(ours, torch.from_numpy(theirs))
print(output_t)

# %% [markdown]
# ### Exercise 2 · attention in torch (★★☆, 15 min)
#
# Write the formula as a function. It returns the output and the weights. Let it work for matrices of any size, and for
# stacks of them: `q` has the shape `(..., T_q, d_k)`, where the dots may stand for a batch of texts. Two hints:
# `q.size(-1)` is $d_k$, and `k.transpose(-2, -1)` swaps the last two dimensions, however many stand before them.


# %% tags=["exercise"]
def dot_product_attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Output (..., T_q, d_v) and weights (..., T_q, T_k) of q (..., T_q, d_k), k, v."""
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (..., T_q, T_k)
    weights = scores.softmax(dim=-1)
    return weights @ v, weights
    ### END SOLUTION


# %%
check.dot_product_attention(dot_product_attention)


# %% [markdown]
# Here is the function of `minigpt`. You know all of it but the lines under `if causal`. They keep a token from
# looking at later ones; lesson 5 is about them, and until we come to a real GPT we leave them switched off.


# %% tags=["package:minigpt.model.attention.scaled_dot_product_attention"]
def scaled_dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """softmax(Q K^T / sqrt(d_k)) V: Vaswani et al. 2017, section 3.2.1."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (..., T_q, T_k)
    if causal:
        T_q, T_k = scores.shape[-2:]
        visible = scores.new_ones(T_q, T_k, dtype=torch.bool).tril(T_k - T_q)
        scores = scores.masked_fill(~visible, -math.inf)  # e^-inf = 0
    weights = scores.softmax(dim=-1)
    return weights @ v, weights


# %%
output_m, weights_m = minigpt.model.attention.scaled_dot_product_attention(
    q_t, k_t, v_t
)
assert torch.allclose(weights_m, weights_t) and torch.allclose(output_m, output_t)
print("minigpt gives the output that we have computed by hand:")
show("output", output_m.tolist())

# %% [markdown]
# ## Where queries, keys and values come from
#
# Nobody writes them by hand in a GPT. Each token is one vector $x$ of $d_{model}$ numbers, and three matrices make a
# query, a key and a value from it: $q = x W_Q^\top$, $k = x W_K^\top$, $v = x W_V^\top$. These matrices are learned. They are
# the same for all tokens. As torch does, we write a matrix with one *row* for each number that comes out: row 0 of $W_Q$,
# multiplied with $x$, gives the first number of the query. (The papers write $x W$, with columns in place of rows.)
#
# ```mermaid
# flowchart LR
#     X["X<br/>(T, d_model)"] -- "W_Q" --> Q["Q<br/>(T, d_k)"]
#     X -- "W_K" --> K["K<br/>(T, d_k)"]
#     X -- "W_V" --> V["V<br/>(T, d_v)"]
#     Q --> S["scores Q Kᵀ<br/>(T, T)"]
#     K --> S
#     S -- "÷ √d_k" --> M["softmax<br/>of each row"]
#     M -- "weights" --> O["output<br/>(T, d_v)"]
#     V --> O
# ```
#
# Our example, with $d_{model} = 3$:

# %%
X = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 1]])  # (T, d_model)
W_Q = torch.tensor([[1, -1, 3], [1, 0, 0]])  # (d_k, d_model)
W_K = torch.tensor([[0, 2, -1], [2, -2, 3]])  # (d_k, d_model)
W_V = torch.tensor([[0, 3, -3], [6, -6, 6]])  # (d_v, d_model)

assert (X @ W_Q.T).tolist() == Q and (X @ W_K.T).tolist() == K
assert (X @ W_V.T).tolist() == V
print("query of «it»: [0, 1, 1] @ W_Q.T =", (X @ W_Q.T)[2].tolist())

# %% [markdown]
# When queries come from the same tokens as keys and values, this is **self-attention**.
#
# <div class="alert alert-warning">
# <b>You may have read</b> that attention compares the words' own vectors with each other: the more alike two words are, the more they
# attend to each other.
# Without the matrices it would be so. The score of <i>i</i> for <i>j</i> would be x<sub>i</sub> · x<sub>j</sub>: asking and being found
# would be one thing.
# </div>
#
# What would follow? Let us take random vectors of the same length, eight numbers each, once as they are and once through
# a $W_Q$ and a $W_K$ (random, too), and look at whom each token likes best.

# %%
generator = torch.Generator().manual_seed(0)


def random(*shape: int) -> Tensor:
    """Independent numbers with mean 0 and variance 1."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


x = nn.functional.normalize(random(10_000, 3, 8), dim=-1)  # 10,000 texts of 3 tokens
asking, found = x @ random(8, 8).T, x @ random(8, 8).T  # x W_Q^T and x W_K^T
likes = {"own vectors": x @ x.mT, "W_Q and W_K": asking @ found.mT}  # (10_000, 3, 3)
for text, fit in likes.items():
    at_itself = (fit.argmax(dim=-1) == torch.arange(3)).double().mean()
    both_ways = torch.allclose(fit, fit.mT)  # mT swaps the last two dimensions
    print(f"{text}: {at_itself:4.0%} like themselves best; same both ways: {both_ways}")
assert at_itself < 0.5 and not both_ways

# %% [markdown]
# With vectors of equal length, nobody fits me better than I do, so everybody looks mostly at themselves. With these
# matrices in between, most prefer another.
#
# The second column matters as much. A GPT meets the same two words in either order: *kite … it* and *it … kite*. From
# their own vectors both give the same score, so *it* after *kite* would look back exactly as hard as *kite* after *it*. Only
# *it* has a reason to. $W_Q$ and $W_K$ separate what a token asks from how it is found: *it* asks for a thing, and is
# found as thing or person. $W_V$ separates what is handed over from both.

# %% [markdown]
# ## How the weights answer a nudge
#
# A network learns through slopes, so let us work out those of softmax. (A slope says by how much a result changes per
# change of what it is made from, for tiny changes.) Three scores make the numbers easy: 0, ln 2, ln 3.
# Their exponentials are 1, 2, 3, the total is 6, and the weights are exactly 1/6, 1/3, 1/2.
#
# Raise the second score by a little, $\varepsilon$. For small $\varepsilon$, $e^\varepsilon$ is close to
# $1 + \varepsilon$, so the exponentials become 1, $2 + 2\varepsilon$, 3, and the total becomes $6 + 2\varepsilon$.
#
# - The second weight is $\frac{2 + 2\varepsilon}{6 + 2\varepsilon}$. By the quotient rule ([Torch and slopes](00b_torch_and_slopes.ipynb), section 8), its slope at $\varepsilon = 0$ is $\frac{2 \cdot 6 - 2 \cdot 2}{6^2} = \frac{2}{9}$, which is $\frac13 (1 - \frac13)$.
# - The first weight is $\frac{1}{6 + 2\varepsilon}$. Its slope is $-\frac{1 \cdot 2}{6^2} = -\frac{1}{18}$, which is $-\frac16 \cdot \frac13$.
#
# Find the slope of the third weight yourself before you read on. What must the three slopes add up to?

# %%
w1, w2, w3 = Fraction(1, 6), Fraction(1, 3), Fraction(1, 2)
slopes = [-w1 * w2, w2 * (1 - w2), -w3 * w2]
print("slopes, when the second score rises:", [str(slope) for slope in slopes])
print("sum:", sum(slopes))

# %% [markdown]
# They add up to 0, because the weights always add up to 1: what one gains, the others lose, each in proportion to what
# it had. In general, with 1 for $\delta_{ij}$ if $i = j$ and 0 otherwise,
#
# $$\frac{\partial w_i}{\partial s_j} = w_i \, (\delta_{ij} - w_j)$$
#
# All these slopes in one table are the **Jacobian** of softmax: row *i* for the weight, column *j* for the score.
#
# ### Exercise 3 · all slopes of softmax (★★☆, 10 min)
#
# Write a function that takes the weights and returns the Jacobian, as a list of rows. For `[1/6, 1/3, 1/2]` the middle
# column is what you have just seen: −1/18, 2/9, −1/6.


# %% tags=["exercise"]
def softmax_jacobian(weights: list[float]) -> list[list[float]]:
    """Row i, column j: by how much weight i changes per change of score j."""
    ### BEGIN SOLUTION
    return [
        [w_i * ((i == j) - w_j) for j, w_j in enumerate(weights)]
        for i, w_i in enumerate(weights)
    ]
    ### END SOLUTION


# %%
check.softmax_jacobian(softmax_jacobian)

# %% [markdown]
# Never trust a formula for slopes that was not tested. There are two other ways to get them. **Finite differences**:
# really nudge each score up and down, and see what the weights do. **Autograd**: torch follows the computation and
# applies the rules of differentiation itself. All three agree.

# %%
s = torch.tensor([0, math.log(2), math.log(3)], dtype=torch.float64)
w = s.softmax(dim=-1)
by_hand = torch.diag(w) - torch.outer(w, w)  # w_i δ_ij - w_i w_j

nudge = 1e-5
differences = torch.zeros(3, 3, dtype=torch.float64)
for j, step in enumerate(nudge * torch.eye(3, dtype=torch.float64)):
    up, down = (s + step).softmax(dim=-1), (s - step).softmax(dim=-1)
    differences[:, j] = (up - down) / (2 * nudge)

by_autograd = torch.autograd.functional.jacobian(lambda x: x.softmax(dim=-1), s)
assert torch.allclose(by_hand, differences, atol=1e-9)
assert torch.allclose(by_hand, by_autograd)
print(by_hand)

# %% [markdown]
# Each column adds up to 0, and so does each row: raise all scores by the same amount, and nothing moves. You knew that
# already.
#
# Now the case that matters for training. When one weight is nearly 1, every entry is a product with a number that is
# nearly 0. **A softmax that is sure does not move.** We use the length of the table, the root of the sum of its
# squares, as one number for how much it moves.

# %%
for factor in (0.1, 1, 10, 30):
    sure = (s * factor).softmax(dim=-1)
    length = (torch.diag(sure) - torch.outer(sure, sure)).norm()
    print(f"scores × {factor:<4} weights {sure.numpy()}   length {length:.4f}")

# %% [markdown]
# ## Why √d_k
#
# Large scores make softmax sure, and a sure softmax has no slopes. How large are scores? That depends on the queries and
# keys, and on how many numbers they have. Let us first see what $d_k$ alone does. Take the simplest random number: a coin
# that says −1 or +1. It has mean 0 and variance 1 (the mean of the squares).
#
# For $d_k = 1$ the score is −1 or +1: variance 1. Work out $d_k = 2$ yourself: which scores can come out, and how
# often?

# %%
for d_k in (1, 2, 3, 4):
    coins = list(product((-1, 1), repeat=d_k))
    counts = Counter(int(dot(a, b)) for a in coins for b in coins)  # all q with all k
    squares = sum(score**2 * count for score, count in counts.items())
    variance = Fraction(squares, counts.total())
    print(f"d_k = {d_k}: {dict(sorted(counts.items()))}, variance {variance}")
    assert variance == d_k

# %% [markdown]
# A score is a sum of $d_k$ products. Each product has variance 1, and variances of independent numbers add up: $d_k$
# (Vaswani et al. 2017 say so in a footnote to section 3.2.1). The typical size of a score is the root of that,
# $\sqrt{d_k}$. Divide by it, and the variance is 1 again, for any $d_k$.
#
# We measure it with numbers from the bell curve: 10,000 queries, each with a key, for $d_k$ from 1 to 512.

# %%
sizes = [2**i for i in range(10)]
products = {d_k: random(10_000, d_k) * random(10_000, d_k) for d_k in sizes}
variances = [float(product.sum(dim=-1).var()) for product in products.values()]
scaled_variances = [var / d_k for var, d_k in zip(variances, sizes, strict=True)]
assert all(abs(var - 1) < 0.1 for var in scaled_variances)
plots.curves(
    {"q · k": (sizes, variances), "q · k / √d_k": (sizes, scaled_variances)},
    "d_k",
    "variance of the scores",
    log="xy",
)

# %% [markdown]
# What does that do to the weights? Their **entropy**, $-\sum_i w_i \ln w_i$, says how widely they are spread: ln 64 =
# 4.16 if all 64 tokens get the same, 0 if one gets all. We let 200 queries look at 64 keys each, and also try to divide
# by $d_k$ itself.

# %%
drawn = {d_k: (random(200, 1, d_k), random(200, 64, d_k)) for d_k in sizes}
scores_of = {d_k: (q @ k.mT).squeeze(1) for d_k, (q, k) in drawn.items()}  # (200, 64)
divisors: dict[str, Callable[[float], float]] = {
    "q · k": lambda d_k: 1,
    "q · k / √d_k": math.sqrt,
    "q · k / d_k": float,
}


def weights_of(name: str, d_k: int) -> Tensor:
    return (scores_of[d_k] / divisors[name](d_k)).softmax(dim=-1)  # (200, 64)


def entropy(weights: Tensor) -> float:
    """The mean over all rows of weights."""
    return float(torch.special.entr(weights).sum(dim=-1).mean())


spread = {name: [entropy(weights_of(name, d_k)) for d_k in sizes] for name in divisors}
assert spread["q · k"][-1] < 0.5 and spread["q · k / d_k"][-1] > 4.1
print(f"ln 64 = {math.log(64):.2f}")
plots.curves(
    {name: (sizes, entropies) for name, entropies in spread.items()},
    "d_k",
    "entropy of the weights (nats)",
    log="x",
)

# %% [markdown]
# Without a scale, the weights collapse onto one token, and which one is chance. Divided by
# $d_k$, they end up equal: the tokens look at nothing in particular. With $\sqrt{d_k}$ the spread hardly depends on
# $d_k$. And the slopes?


# %%
def jacobian_length(weights: Tensor) -> Tensor:
    """For each row of weights: how much softmax moves."""
    outer = weights.unsqueeze(-1) * weights.unsqueeze(-2)  # (200, 64, 64)
    return (torch.diag_embed(weights) - outer).norm(dim=(-2, -1))


lengths = {
    name: [float(jacobian_length(weights_of(name, d_k)).median()) for d_k in sizes]
    for name in ("q · k", "q · k / √d_k")
}
assert lengths["q · k"][-1] < 0.1 * lengths["q · k / √d_k"][-1]
assert max(lengths["q · k"]) > max(lengths["q · k / √d_k"])
plots.curves(
    {name: (sizes, medians) for name, medians in lengths.items()},
    "d_k",
    "length of the Jacobian, median",
    log="x",
)

# %% [markdown]
# At first, larger scores even help: weights that are nearly equal do not move much either. Then the slopes of a typical
# query all but vanish. The paper's authors wrote that they *suspect* this for large $d_k$. You have measured it. With
# the scale, $d_k$ hardly matters.
#
# ### What reaches the query (optional)
#
# One step further, for a fuller picture. What reaches the *query* are the slopes of softmax times the keys, and
# unscaled keys pull hard. So let autograd compute the **gradient** at the query, the slopes of one number of the output
# for all components of the query. We take its length, and of all queries the mean and the median.

# %%
some_queries, some_keys = drawn[512]
some_values = random(200, 64, 1)
for name in ("q · k", "q · k / √d_k"):
    query = some_queries.clone().requires_grad_()
    attended = (query @ some_keys.mT / divisors[name](512)).softmax(dim=-1)
    (attended @ some_values).sum().backward()
    assert query.grad is not None
    pushes = query.grad.norm(dim=-1)
    print(f"{name:<13} mean {pushes.mean():.2f}, median {pushes.median():.2f}")
    assert (pushes.mean() > 5 * pushes.median()) == (name == "q · k")

# %% [markdown]
# Without the scale the gradient is not small everywhere. It is *uneven*: a few queries near a tie get a violent push,
# and most get next to none. With the scale, mean and median are close.
#
# ### Does a real GPT start there?
#
# All that was for numbers of variance 1. Does a GPT begin with such queries and keys? Make two, untrained: our
# storyteller's sizes, and those of GPT-2 (with one block and fewer words, to save time). We look into the first block, at
# 64 random tokens.


# %%
def first_queries_and_keys(config: GPTConfig) -> tuple[Tensor, Tensor]:
    """Queries and keys of an untrained model's first block: (h, 64, d_k) each."""
    torch.manual_seed(0)
    untrained = GPT(config).double()
    block = untrained.blocks[0]
    assert isinstance(block, TransformerBlock)
    random_ids = torch.randint(config.vocab_size, (64,)).tolist()
    x = block.attention_norm(look_inside(untrained, random_ids).stream[0])
    q, k, _ = block.attention.qkv(x).chunk(3, dim=-1)  # (64, d_model)
    q, k = (part.unflatten(-1, (config.n_heads, -1)).transpose(0, 1) for part in (q, k))
    return q, k


print(f"entropy of the weights, at most ln 64 = {math.log(64):.1f}")
new_models = {
    "storyteller": replace(model.config, n_layers=1),
    "GPT-2": GPTConfig(vocab_size=1000, n_layers=1),
}
for name, config in new_models.items():
    with torch.no_grad():
        new_q, new_k = first_queries_and_keys(config)
        new_scores = new_q @ new_k.mT  # (h, 64, 64)
        spreads = [
            entropy((new_scores / divisor).softmax(dim=-1))
            for divisor in (1, math.sqrt(config.head_size))
        ]
    print(f"{name:<12} d_k = {config.head_size}, deviation of q {new_q.std():.2f}: "
          f"unscaled {spreads[0]:.1f}, scaled {spreads[1]:.1f}")  # fmt: skip
    assert spreads[1] > 4.0 and (spreads[0] > 4.0) == (name == "storyteller")

# %% [markdown]
# In neither are the numbers near 1. What the first queries look like was decided elsewhere: the matrices start with
# small random numbers of deviation 0.02 (lesson 8), so a query gets $0.02 \sqrt{d_{model}}$. In our small model the scale
# changes next to nothing at the start. In GPT-2 it does: without it, the weights would be spread over about nine tokens
# ($e^{2.2} \approx 9$) instead of over all.
#
# So be exact about what $\sqrt{d_k}$ does. It takes the *dependence on $d_k$* out of the scores: a head of 512 numbers
# starts like a head of 8. At which level they all start, the initialisation decides.
#
# ### Exercise 4 · the right divisor (★★☆, 8 min)
#
# Now suppose that the components of the queries have standard deviation `std_q` (the root of the variance), those of
# the keys `std_k`, all with mean 0. By which number must you divide $q \cdot k$, so that its variance is 1? For 16, 3 and
# 0.5 it is 6.


# %% tags=["exercise"]
def score_divisor(d_k: int, std_q: float, std_k: float) -> float:
    """What to divide q · k by, so that the scores have variance 1."""
    ### BEGIN SOLUTION
    variance = d_k * std_q**2 * std_k**2  # one product has variance std_q² std_k²
    return math.sqrt(variance)
    ### END SOLUTION


# %%
check.score_divisor(score_divisor)

# %% [markdown]
# The paper's divisor is this one for deviations of 1. Nothing keeps them there: in training, a head that wants to be sure
# can make its queries longer.

# %% [markdown]
# ## A real head
#
# Back to the story. Our GPT has several blocks, or layers, and each has an attention of its own. In each, attention
# runs several times side by side, with different matrices: these are its **heads** (lesson 5). Which of them fetches
# the colour?
#
# `look_inside` from our package runs a model on a text and keeps what its parts read and gave: for each layer the vectors
# of the tokens on their way through, and the weights of each head. Do these weights come from the formula? Take what
# the attention of the first layer reads, make queries, keys and values with the layer's own matrices, and compute.
# `causal=True` here: no token of a GPT looks at later ones.

# %%
inside = look_inside(model, tokens_of(story))
n_layers, h, T = inside.weights.shape[:3]  # of (n_layers, h, T, T)


def queries_keys_values(layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of all heads of a layer (counted from 0), for our story: (h, T, d_k) each."""
    block = model.blocks[layer]
    assert isinstance(block, TransformerBlock)
    x = block.attention_norm(inside.stream[2 * layer])  # (T, d_model)
    parts = block.attention.qkv(x).chunk(3, dim=-1)  # x W_Q^T, x W_K^T, x W_V^T
    q, k, v = (part.view(T, h, -1).transpose(0, 1) for part in parts)
    return q, k, v


with torch.no_grad():
    q, k, v = queries_keys_values(layer=0)
    output_h, weights_h = minigpt.model.attention.scaled_dot_product_attention(
        q, k, v, causal=True
    )
assert torch.allclose(weights_h, inside.weights[0])
print(f"{n_layers} layers with {h} heads each, {T} tokens, d_k = {q.size(-1)}")
print("in the first layer, the formula gives the weights of the model")

# %% [markdown]
# Now a measure. In other stories, go to each position where the colour comes *next* and was named before. How much weight
# does each head put on the earlier mentions? For comparison: how much would attention put there that is spread evenly
# over all it may look at? The story's other facts get the same question, so that we do not call a head by the first thing
# that we saw it do.

# %%
FACTS = ("colour", "kind", "object", "trait", "hero")  # kind: the animal
on_mentions: dict[str, list[Tensor]] = {fact: [] for fact in FACTS}
by_chance: dict[str, list[float]] = {fact: [] for fact in FACTS}
for i in range(40):
    other = stories.story_at("val", i)
    maps = look_inside(model, tokens_of(other)).weights  # (n_layers, h, T, T)
    for fact in FACTS:
        # Not every story has every fact, and some words are two tokens.
        said = other.facts.get(fact)
        if said is None or len(tokenizer.encode(f" {said}")) > 1:
            continue
        at = mentions(fact, other)
        for n in range(1, len(at)):
            on_mentions[fact].append(maps[:, :, at[n] - 1, at[:n]].sum(dim=-1))
            by_chance[fact].append(n / at[n])  # n mentions among the tokens so far

weight_on = {fact: torch.stack(on_mentions[fact]).mean(dim=0) for fact in FACTS}
layer, head = divmod(int(weight_on["colour"].argmax()), h)
print(f"layer {layer + 1}, head {head + 1}: mean weight on the earlier mentions")
for fact in FACTS:
    evenly = sum(by_chance[fact]) / len(by_chance[fact])
    print(f"  {fact:<7} {weight_on[fact][layer, head]:.2f}, evenly {evenly:.2f}, "
          f"at {len(by_chance[fact])} positions")  # fmt: skip
assert weight_on["colour"].max() > 0.3 > 5 * max(by_chance["colour"])
layer_names, head_names = ([str(i + 1) for i in range(n)] for n in (n_layers, h))
plots.heatmap(layer_names, head_names, weight_on["colour"].tolist(), "layer", "head")

# %% [markdown]
# One head stands out. Had we asked about colours alone, we might call it a colour head. The table says more: it looks back
# at the animal, the object and the trait as well. The hero's name it leaves to others, and lesson 5 finds them. Nobody
# told it to; training did.
#
# Here it is at work in our story. Rows are the tokens that look: the last ones before the gap. Columns are the tokens looked
# at, those that get some weight from one of them; each label begins with its position. Grey fields are the mask.

# %%
ids = tokens_of(story)[:second]
words = ["START", *(tokenizer.decode([token]) for token in ids[1:])]
pattern = inside.weights[layer, head, :second, :second]  # later tokens cannot change it
since = max(i for i, word in enumerate(words[:-6]) if word == ".") + 1
looked_at = [j for j in range(second) if pattern[since:, j].max() > 0.1]
print(f"the last token gives «{words[first]}», {second - first - 1} tokens back, "
      f"a weight of {pattern[-1, first]:.2f}")  # fmt: skip
assert pattern[-1, first] > 5 / second
shown = pattern.masked_fill(torch.ones_like(pattern).triu(1).bool(), math.nan)
plots.heatmap(
    words[since:],
    [f"{j}:{words[j].strip()}" for j in looked_at],
    shown[since:, looked_at].tolist(),
    "who looks",
    "at whom",
)

# %% [markdown]
# The last row is an answer to the question of our opening. The query of the last token fits the key of the colour, and so
# the value of the colour flows into the last token, from which the guess is made.
#
# Do not read too much into such maps. They show where a head looks, not why the model answers as it does. In other
# networks, Jain and Wallace (2019) found quite different weights that led to the same answer. Wiegreffe and Pinter (2019)
# replied that it depends on what one calls an explanation, and that such weights did worse in a test of their own. Our
# change of one word at the beginning is the stronger evidence. The map says by which way it may have travelled.
#
# ### What a key means (optional)
#
# A key has $d_k$ numbers, not one for each word of the vocabulary. What do they say? By themselves, nothing. Rotate all
# queries and keys in the same way: every key is another list of numbers, and nothing else changes.

# %%
# A rotation keeps lengths and angles.
rotation, _ = torch.linalg.qr(random(q.size(-1), q.size(-1)))
assert torch.allclose(rotation @ rotation.T, torch.eye(len(rotation)).double())
rotated = minigpt.model.attention.scaled_dot_product_attention(
    q @ rotation.T, k @ rotation.T, v, causal=True
)[0]
print("same keys:  ", torch.allclose(k @ rotation.T, k))
print("same output:", torch.allclose(rotated, output_h))
assert not torch.allclose(k @ rotation.T, k) and torch.allclose(rotated, output_h)

# %% [markdown]
# A key means something only to a query. What may come next is said by the logits, at the very end of the model.

# %% [markdown]
# ## What to remember
#
# 1. Attention is a soft lookup: scores of a query with all keys, softmax, weighted average of the values.
# 2. $\text{softmax}(QK^\top / \sqrt{d_k})\,V$: one row of weights for each token that looks, and each row sums to 1.
# 3. Softmax sees only differences of scores; subtract the largest and it cannot overflow. When it is sure, its slopes vanish.
# 4. A sum of $d_k$ random products has variance $d_k$. Divided by $\sqrt{d_k}$, scores no longer depend on $d_k$; their level depends on the initialisation.
# 5. Query, key and value are three different views of a token, made by three learned matrices. None of them is a probability.

# %% [markdown]
# ## Primary sources
#
# - Vaswani et al. 2017, Attention Is All You Need, section 3.2.1 and its footnote on the variance (https://arxiv.org/abs/1706.03762)
# - Bahdanau, Cho, Bengio 2014, Neural Machine Translation by Jointly Learning to Align and Translate, section 3.1 (https://arxiv.org/abs/1409.0473)
# - Graves, Wayne, Danihelka 2014, Neural Turing Machines, section 3.3.1 (https://arxiv.org/abs/1410.5401)
# - Jain and Wallace 2019, Attention is not Explanation (https://arxiv.org/abs/1902.10186)
# - Wiegreffe and Pinter 2019, Attention is not not Explanation (https://arxiv.org/abs/1908.04626)

# %% [markdown]
# **Next** · [Lesson 5 · Multi-head attention](05_multi_head_attention.ipynb): why a token must not look at later ones,
# how to test that it does not, and why one head is not enough.
