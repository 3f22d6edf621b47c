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
# - read an attention map, and refute three things that are often said about attention.
#
# **Time** 85 min
#
# **Builds on** [lesson 1](01_next_token_game.ipynb) (a GPT gives a probability for every next token) and
# [lesson 3](03_embeddings_and_positions.ipynb) (inside the GPT, each token is a list of numbers, a vector).
#
# ![The GPT in grey with attention in blue; below, enlarged: the query of «it» is compared with three keys, the key of «kite» gets the longest bar of weight, and the three values are blended with these weights into one output](../figures/where_attention_by_hand.svg)

# %% tags=["setup"]
import math
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

import minigpt.model.attention
from minigpt.course import check, plots, start_lesson
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


def colour_at(story: stories.Story) -> list[int]:
    """The positions at which a story names the colour of its object."""
    colour = tokenizer.encode(f" {story.facts['colour']}")
    assert len(colour) == 1
    return [i for i, token in enumerate(tokens_of(story)) if token == colour[0]]


candidates = [stories.story_at("test", i) for i in range(100)]
candidates = [s for s in candidates if len(colour_at(s)) > 1 and s.facts["colour"] != "orange"]  # «an» would tell
story = min(candidates, key=lambda s: colour_at(s)[1])  # the one that comes back to its colour soonest
first, second, *_ = colour_at(story)
beginning = tokenizer.decode(tokens_of(story)[1:second])
print(textwrap.fill(beginning + " …", 100))

# %% [markdown]
# Now put another colour into the first mention, and change nothing else. What does the model expect at the end?

# %%
for colour in ("red", "green", "white"):
    text = beginning.replace(f" {story.facts['colour']} ", f" {colour} ")
    with torch.no_grad():
        probabilities = model(torch.tensor([[START, *tokenizer.encode(text)]]))[0, -1].softmax(dim=-1)
    guess = tokenizer.decode([int(probabilities.argmax())])
    print(f"with {colour:<6} {text[-14:]} …{guess}   (probability {probabilities.max():.2f})")
    assert guess == f" {colour}" and probabilities.max() > 0.5
print(f"the word that we changed stands {second - first} tokens before the gap")

# %% [markdown]
# The last words are the same three times, and the guess follows a word far back. So the last token must have fetched
# something from there. It does not know the place: in another story the colour stands elsewhere. It has to *ask* for
# it. **How can a list of numbers ask a question, and how can another list of numbers answer?**

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
    scores = [dot(question, key) for key in keys]
    print(f"question {question}: scores {[round(s, 2) for s in scores]} → {values[scores.index(max(scores))]}")

# %% [markdown]
# The second fault is the worse one. A network learns by nudging its numbers and watching whether the result gets better
# (lesson 9). A result that does not move teaches nothing.
#
# Both faults go away if we answer with a **blend of all values**, mostly of those whose keys fit. We need a weight for
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
    return [e / sum(exponentials) for e in exponentials]


print("e^score:", [f"{math.exp(score):.4f}" for score in (2, 0, 1)])
print(f"total:   {math.exp(2) + math.exp(0) + math.exp(1):.4f}")
print("weights:", [f"{w:.4f}" for w in weights_from([2, 0, 1])])

# %% [markdown]
# The second weight is $e^0 / (e^2 + e^0 + e^1) = 1 / 11.1073 = 0.0900$. This function from scores to weights is called
# **softmax**: a maximum that does not decide, but leans.
#
# Words cannot be averaged, vectors can. Let each value be a vector with one place for each word. The blend is then a
# vector, too:

# %%
value_vectors = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]  # red, Pip, harbour
weights = weights_from([2, 0, 1])
blend = [sum(w * value[i] for w, value in zip(weights, value_vectors, strict=True)) for i in range(3)]
for word, share in zip(values, blend, strict=True):
    print(f"{word:<8} {share:.4f}")

# %% [markdown]
# Let the question turn slowly from looks to people, and watch how much *Pip* there is in the answer.

# %%
turn = [i / 200 for i in range(201)]
turned = [[dot([1 - t, t], key) for key in keys] for t in turn]  # three scores for each question
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
    exponentials = [math.exp(score - largest) for score in scores]  # the largest is e^0 = 1, none is above
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
# <div class="alert alert-warning">
# <b>You may have read</b> a worked example that multiplies one query with one key, gets the score 18.515, and feeds it to softmax, which
# gives the weights [0.217, 0.302, 0.481].
# It cannot. One score gives one weight, and that weight is 1, whatever the score. Three weights need three scores, and three scores
# need three keys: a query on its own has nothing to choose from.
# </div>

# %%
for score in (-3.0, 0.0, 18.515):
    print(f"softmax([{score}]) = {torch.tensor([score]).softmax(dim=-1).tolist()}")
    assert torch.tensor([score]).softmax(dim=-1).tolist() == [1.0]
needed = torch.tensor([0.217, 0.302, 0.481]).log()  # scores that would give these weights, up to a shift
print("three scores that do give those weights:", (needed - needed[0]).numpy().round(2))
assert torch.allclose((needed - needed[0]).softmax(dim=-1), torch.tensor([0.217, 0.302, 0.481]))

# %% [markdown]
# ## Three tokens, every number
#
# In a text, every token asks, and every token can answer. So each has all three: a query, a key and a value. Stack them
# as the rows of three matrices, **Q**, **K** and **V**, one row for each token. (The field writes V for the values and
# for the size of the vocabulary; in this lesson it is the values.) Our text is *Pip*, *kite*, *it*. The numbers in
# queries and keys mean (thing, person), and we have chosen them by hand:
#
# - *it* looks for a thing, and urgently: `[2, 0]`.
# - *kite* looks for a person, its owner: `[0, 1]`.
# - *Pip* looks for either: `[1, 1]`.

# %%
names = ["Pip", "kite", "it"]
Q = [[1, 1], [0, 1], [2, 0]]  # (T, d_k): T = 3 tokens, d_k = 2 numbers in each query and key
K = [[0, 2], [2, 0], [1, 1]]  # (T, d_k)
V = [[0, 6], [3, 0], [3, 3]]  # (T, d_v), d_v = 2


def show(title: str, matrix: Sequence[Sequence[float]]) -> None:
    print(title)
    for name, row in zip(names, matrix, strict=True):
        print(f"  {name:<5}", "".join(f"{x:9.4f}" if isinstance(x, float) else f"{x!s:>9}" for x in row))


# %% [markdown]
# **Step 1, scores.** Row *i*, column *j*: the query of token *i* times the key of token *j*. On paper, do the last row,
# the one of *it*: `[2, 0]` with each of the three keys.

# %%
scores = [[dot(q, k) for k in K] for q in Q]  # (T, T)
show("scores", scores)

# %% [markdown]
# The row of *it* is 0, 4, 2: *kite* fits best. The row of *Pip* is 2, 2, 2: he finds all equally good.
#
# **Step 2, scale.** Divide every score by $\sqrt{d_k} = \sqrt 2$. Why, we measure further down; for now it is one more
# division.

# %%
scaled = [[s / math.sqrt(2) for s in row] for row in scores]  # (T, T)
show("scaled scores", scaled)

# %% [markdown]
# **Step 3, softmax of each row.** Each token shares out one whole among all tokens. With a calculator, follow the row
# of *it*.

# %%
exponentials = [[math.exp(s) for s in row] for row in scaled]
show("exponentials", exponentials)
print("totals of the rows:", [round(sum(row), 4) for row in exponentials])
weights = [[e / sum(row) for e in row] for row in exponentials]  # (T, T): each row sums to 1
show("weights", weights)

# %% [markdown]
# **Step 4, blend.** Each output is the average of the rows of V with these weights. For *it*, the first number is
# $0.0454 \cdot 0 + 0.7679 \cdot 3 + 0.1867 \cdot 3$. Work it out, and the second one, too.

# %%
output = [[sum(w * value[c] for w, value in zip(row, V, strict=True)) for c in range(2)] for row in weights]
show("output", output)  # (T, d_v)

# %% [markdown]
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
exponentials_np = np.exp(scaled_np - scaled_np.max(axis=-1, keepdims=True))  # shifted: it cannot overflow
weights_np = exponentials_np / exponentials_np.sum(axis=-1, keepdims=True)
output_np = weights_np @ v_np  # (T, d_v)

assert np.array_equal(scores_np, scores)
assert np.allclose(scaled_np, scaled) and np.allclose(weights_np, weights) and np.allclose(output_np, output)
print(output_np)

# %%
q, k, v = (torch.tensor(matrix, dtype=torch.float64) for matrix in (Q, K, V))
scores_t = q @ k.T
scaled_t = scores_t / math.sqrt(2)
weights_t = scaled_t.softmax(dim=-1)
output_t = weights_t @ v

for ours, theirs in ((scores_t, scores_np), (scaled_t, scaled_np), (weights_t, weights_np), (output_t, output_np)):
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
    """Queries (..., T_q, d_k), keys (..., T_k, d_k), values (..., T_k, d_v) to output (..., T_q, d_v) and weights."""
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
def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> tuple[Tensor, Tensor]:
    """softmax(Q K^T / sqrt(d_k)) V, the formula of Vaswani et al. 2017, section 3.2.1."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (..., T_q, T_k)
    if causal:
        T_q, T_k = scores.shape[-2:]
        visible = scores.new_ones(T_q, T_k, dtype=torch.bool).tril(T_k - T_q)
        scores = scores.masked_fill(~visible, -math.inf)  # e^-inf = 0: no weight on the future
    weights = scores.softmax(dim=-1)
    return weights @ v, weights


# %%
output_m, weights_m = minigpt.model.attention.scaled_dot_product_attention(q, k, v)
assert torch.allclose(weights_m, weights_t) and torch.allclose(output_m, output_t)
print("minigpt gives the output that we have computed by hand:")
show("output", output_m.tolist())

# %% [markdown]
# ## Where queries, keys and values come from
#
# Nobody writes them by hand in a GPT. Each token is one vector $x$ of $d_{model}$ numbers, and three matrices make a
# query, a key and a value from it: $q = x W_Q$, $k = x W_K$, $v = x W_V$. These matrices are learned. They are the same
# for all tokens.
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
W_Q = torch.tensor([[1, 1], [-1, 0], [3, 0]])  # (d_model, d_k)
W_K = torch.tensor([[0, 2], [2, -2], [-1, 3]])  # (d_model, d_k)
W_V = torch.tensor([[0, 6], [3, -6], [0, 9]])  # (d_model, d_v)

assert (X @ W_Q).tolist() == Q and (X @ W_K).tolist() == K and (X @ W_V).tolist() == V
print("query of «it»: [0, 1, 1] · W_Q =", (X @ W_Q)[2].tolist())

# %% [markdown]
# When queries come from the same tokens as keys and values, this is **self-attention**.
#
# <div class="alert alert-warning">
# <b>You may have read</b> that the token's own vector serves as query, key and value at once: compare the vectors with each other,
# and blend them.
# Then the score of token <i>i</i> for token <i>j</i> is x<sub>i</sub> · x<sub>j</sub>, the same as that of <i>j</i> for <i>i</i>. Asking and
# answering are tied together, and some things cannot be said at all.
# </div>
#
# Take the smallest thing that cannot be said: three tokens in a ring, where A looks mostly at B, B at C, and C at A.
# With one vector each, A's choice means $s_{AB} > s_{AC}$, C's means $s_{CA} > s_{CB}$, B's means $s_{BC} > s_{BA}$.
# But $s_{AC} = s_{CA}$ and so on, hence $s_{AB} > s_{AC} > s_{BC} > s_{AB}$: a number greater than itself. We search
# for such a ring among random vectors.

# %%
generator = torch.Generator().manual_seed(0)


def random(*shape: int) -> Tensor:
    """Independent numbers with mean 0 and variance 1."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


x = random(10_000, 3, 8)  # 10,000 texts of three tokens, 8 numbers in each vector
one_vector = x @ x.mT  # (10_000, 3, 3); mT swaps the last two dimensions
two_vectors = (x @ random(8, 8)) @ (x @ random(8, 8)).mT  # x W_Q times x W_K
assert torch.allclose(one_vector, one_vector.mT), "x x^T is symmetric"

ring = torch.tensor([1, 2, 0])  # A looks at B, B at C, C at A
for text, ring_scores in (("one vector for all", one_vector), ("queries and keys", two_vectors)):
    rings = (ring_scores.argmax(dim=-1) == ring).all(dim=-1).sum()
    print(f"{text:<19} rings: {rings} of 10,000")
assert not (one_vector.argmax(dim=-1) == ring).all(dim=-1).any()

same_length = nn.functional.normalize(x, dim=-1)
own = (same_length @ same_length.mT).argmax(dim=-1) == torch.tensor([0, 1, 2])
print(f"vectors of the same length that look mostly at themselves: {own.double().mean():.0%}")
assert own.all()

# %% [markdown]
# With vectors of equal length, nobody fits me better than I do, so everybody looks mostly at themselves. $W_Q$ and
# $W_K$ separate what a token asks from how it is found: *it* asks for a thing, and is found as thing or person. $W_V$
# separates what is handed over from both.

# %% [markdown]
# ## How the weights answer a nudge
#
# A network learns through slopes, so let us work out those of softmax. Three scores make the numbers easy: 0, ln 2, ln 3.
# Their exponentials are 1, 2, 3, the total is 6, and the weights are exactly 1/6, 1/3, 1/2.
#
# Raise the second score by a little, $\varepsilon$. For small $\varepsilon$, $e^\varepsilon$ is close to
# $1 + \varepsilon$, so the exponentials become 1, $2 + 2\varepsilon$, 3, and the total becomes $6 + 2\varepsilon$.
#
# - The second weight is $\frac{2 + 2\varepsilon}{6 + 2\varepsilon}$. By the rule for quotients, its slope at $\varepsilon = 0$ is $\frac{2 \cdot 6 - 2 \cdot 2}{6^2} = \frac{2}{9}$, which is $\frac13 (1 - \frac13)$.
# - The first weight is $\frac{1}{6 + 2\varepsilon}$. Its slope is $-\frac{1 \cdot 2}{6^2} = -\frac{1}{18}$, which is $-\frac16 \cdot \frac13$.
#
# Find the slope of the third weight yourself before you read on. What must the three slopes add up to?

# %%
w1, w2, w3 = Fraction(1, 6), Fraction(1, 3), Fraction(1, 2)
slopes = [-w1 * w2, w2 * (1 - w2), -w3 * w2]
print("slopes of the three weights, when the second score rises:", [str(s) for s in slopes], "sum:", sum(slopes))

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
    return [[w_i * ((i == j) - w_j) for j, w_j in enumerate(weights)] for i, w_i in enumerate(weights)]
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
for j in range(3):
    step = torch.zeros(3, dtype=torch.float64)
    step[j] = nudge
    differences[:, j] = ((s + step).softmax(dim=-1) - (s - step).softmax(dim=-1)) / (2 * nudge)

by_autograd = torch.autograd.functional.jacobian(lambda scores: scores.softmax(dim=-1), s)
assert torch.allclose(by_hand, differences, atol=1e-9) and torch.allclose(by_hand, by_autograd)
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
    w = (s * factor).softmax(dim=-1)
    jacobian = torch.diag(w) - torch.outer(w, w)
    print(f"scores × {factor:<4} weights {w.numpy()}   length of the Jacobian {jacobian.norm():.4f}")

# %% [markdown]
# ## Why √d_k
#
# Large scores make softmax sure, and a sure softmax has no slopes. How large are scores? At the start of training,
# queries and keys are more or less random. Take the simplest random number: a coin that says −1 or +1. It has mean 0
# and variance 1 (the mean of the squares).
#
# For $d_k = 1$ the score is −1 or +1: variance 1. Work out $d_k = 2$ yourself: which scores can come out, and how
# often?

# %%
for d_k in (1, 2, 3, 4):
    coins = list(product((-1, 1), repeat=d_k))
    all_scores = Counter(int(dot(a, b)) for a in coins for b in coins)  # every query with every key
    variance = Fraction(sum(score**2 * count for score, count in all_scores.items()), all_scores.total())
    print(f"d_k = {d_k}: scores {dict(sorted(all_scores.items()))}, variance {variance}")
    assert variance == d_k

# %% [markdown]
# A score is a sum of $d_k$ products. Each product has variance 1, and variances of independent numbers add up: $d_k$
# (Vaswani et al. 2017 say so in a footnote to section 3.2.1). The typical size of a score is the root of that,
# $\sqrt{d_k}$. Divide by it, and the variance is 1 again, for any $d_k$.
#
# We measure it with numbers from the bell curve: 10,000 queries, each with a key, for $d_k$ from 1 to 512.

# %%
sizes = [2**i for i in range(10)]
paired = {d_k: (random(10_000, d_k) * random(10_000, d_k)).sum(dim=-1) for d_k in sizes}  # (10_000,) scores
plain = [round(float(s.var()), 2) for s in paired.values()]
divided = [round(float((s / math.sqrt(d_k)).var()), 2) for d_k, s in paired.items()]
assert all(abs(measured / d_k - 1) < 0.1 for measured, d_k in zip(plain, sizes, strict=True))
plots.curves({"q · k": (sizes, plain), "q · k / √d_k": (sizes, divided)}, "d_k", "variance of the scores", log="xy")

# %% [markdown]
# What does that do to the weights? Their **entropy**, $-\sum_i w_i \ln w_i$, says how widely they are spread: ln 64 =
# 4.16 if all 64 tokens get the same, 0 if one gets all. We let 200 queries look at 64 keys each, and also try to divide
# by $d_k$ itself.

# %%
drawn = {d_k: (random(200, 1, d_k), random(200, 64, d_k)) for d_k in sizes}
scores_of = {d_k: (q @ k.mT).squeeze(1) for d_k, (q, k) in drawn.items()}  # (200, 64) for each d_k
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


spread = {name: [round(entropy(weights_of(name, d_k)), 3) for d_k in sizes] for name in divisors}
assert spread["q · k"][-1] < 0.5 and spread["q · k / d_k"][-1] > 4.1
print(f"ln 64 = {math.log(64):.2f}")
plots.curves(
    {name: (sizes, entropies) for name, entropies in spread.items()}, "d_k", "entropy of the weights (nats)", log="x"
)

# %% [markdown]
# Without a scale, the weights collapse onto one token before anything was learned, and which one is chance. Divided by
# $d_k$, they end up equal: the tokens look at nothing in particular. With $\sqrt{d_k}$ the spread hardly depends on
# $d_k$. And the slopes?


# %%
def jacobian_length(weights: Tensor) -> Tensor:
    """For each row of weights: how much softmax moves."""
    return (torch.diag_embed(weights) - weights.unsqueeze(-1) * weights.unsqueeze(-2)).norm(dim=(-2, -1))


plain = [round(float(jacobian_length(weights_of("q · k", d_k)).median()), 4) for d_k in sizes]
divided = [round(float(jacobian_length(weights_of("q · k / √d_k", d_k)).median()), 4) for d_k in sizes]
assert plain[-1] < 0.1 * divided[-1] and max(plain) > max(divided)
plots.curves(
    {"q · k": (sizes, plain), "q · k / √d_k": (sizes, divided)}, "d_k", "length of the Jacobian, median", log="x"
)

# %% [markdown]
# At first, larger scores even help: weights that are nearly equal do not move much either. Then the slopes of a typical
# query all but vanish. The paper's authors wrote that they *suspect* this for large $d_k$. You have measured it. With
# the scale, $d_k$ hardly matters.
#
# One step further, for a fuller picture. What reaches the *query* are the slopes of softmax times the keys, and
# unscaled keys pull hard. So let autograd compute the **gradient** at the query, the slopes of one number of the output
# for all components of the query. We take its length, and of all queries the mean and the median.

# %%
d_k = sizes[-1]
q, k = drawn[d_k]
v = random(200, 64, 1)
for name in ("q · k", "q · k / √d_k"):
    query = q.clone().requires_grad_()
    weights = (query @ k.mT / divisors[name](d_k)).softmax(dim=-1)
    (weights @ v).sum().backward()
    assert query.grad is not None
    lengths = query.grad.norm(dim=-1)
    print(f"{name:<13} gradient at the query: mean {lengths.mean():.2f}, median {lengths.median():.2f}")
    assert (lengths.mean() > 5 * lengths.median()) == (name == "q · k")

# %% [markdown]
# Without the scale the gradient is not small everywhere. It is *uneven*: a few queries near a tie get a violent push,
# and most get next to none. With the scale, mean and median are close.
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
    variance = d_k * std_q**2 * std_k**2  # one product of independent numbers has variance std_q² std_k²
    return math.sqrt(variance)
    ### END SOLUTION


# %%
check.score_divisor(score_divisor)

# %% [markdown]
# So $\sqrt{d_k}$ makes the start right, where components have a variance near 1. Training may change it: a head that
# wants to be sure can make its queries longer.

# %% [markdown]
# ## A real head
#
# Back to the story. Our GPT has several blocks, or layers, and each has an attention of its own. In each, attention
# runs several times side by side, with different matrices: these are its **heads** (lesson 5). Which of them fetches
# the colour?
#
# The model computes attention by a fast route that never stores the weights. So we watch what goes into each attention
# module and what comes out, with a *hook*, a function that torch calls on the way. From what goes in we compute Q, K, V
# and the weights with the formula. To be sure that we compute what the model computes, we compare with what came out.
# `causal=True` here: no token of a GPT looks at later ones.


# %%
def look_inside(ids: list[int]) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """For each layer, its queries, keys and values (h, T, d_k), and its weights (h, T, T)."""
    seen: list[tuple[minigpt.model.attention.CausalSelfAttention, Tensor, Tensor]] = []

    def watch(module: minigpt.model.attention.CausalSelfAttention, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.append((module, inputs[0][0], output[0]))  # of a batch of one text

    modules = [m for m in model.modules() if isinstance(m, minigpt.model.attention.CausalSelfAttention)]
    hooks = [module.register_forward_hook(watch) for module in modules]
    with torch.no_grad():
        model(torch.tensor([ids]))
        for hook in hooks:
            hook.remove()
        layers = []
        for module, x, came_out in seen:  # (T, d_model) both
            parts = module.qkv(x).chunk(3, dim=-1)  # x W_Q, x W_K, x W_V of all heads
            q, k, v = (part.view(len(ids), module.n_heads, -1).transpose(0, 1) for part in parts)  # (h, T, d_k)
            output, weights = minigpt.model.attention.scaled_dot_product_attention(q, k, v, causal=True)
            joined = module.output(output.transpose(0, 1).flatten(1))  # the heads side by side, times one more matrix
            assert torch.allclose(joined, came_out)  # the formula gives what the model computes
            layers.append((q, k, v, weights))
    return layers


layers = look_inside(tokens_of(story))
h, T, d_k = layers[0][0].shape
print(f"{len(layers)} layers with {h} heads each, {T} tokens, d_k = {d_k}")
print("in every layer, the formula gives what the model computes")

# %% [markdown]
# Now a measure. In other stories, go to each place where the colour comes *next* and was named before. How much weight
# does each head put on the earlier mentions? For comparison: how much would attention put there that is spread evenly
# over all it may look at?

# %%
found, even = [], []
for i in range(40):
    other = stories.story_at("val", i)
    inside = torch.stack([weights for *_, weights in look_inside(tokens_of(other))])  # (layers, h, T, T)
    positions = colour_at(other)
    for n in range(1, len(positions)):
        found.append(inside[:, :, positions[n] - 1, positions[:n]].sum(dim=-1))  # (layers, h)
        even.append(n / positions[n])  # n mentions among the tokens before

on_the_colour = torch.stack(found).mean(dim=0)
layer, head = divmod(int(on_the_colour.argmax()), h)
print(f"layer {layer + 1}, head {head + 1}: mean weight {on_the_colour.max():.2f} over {len(found)} places")
print(f"spread evenly, it would be  {sum(even) / len(even):.2f}")
assert on_the_colour.max() > 0.3 > 5 * sum(even) / len(even)
layer_names, head_names = [[str(i + 1) for i in range(n)] for n in on_the_colour.shape]
plots.heatmap(layer_names, head_names, on_the_colour.tolist(), "layer", "head")

# %% [markdown]
# At least one head has made this its business. Nobody told it to; training did. Here it is at work in our story.
# Columns are the tokens looked at. Rows are the tokens that look: the last ones before the gap.

# %%
ids = tokens_of(story)[:second]
words = ["START", *(tokenizer.decode([token]) for token in ids[1:])]
weights = layers[layer][3][head][:second, :second]  # (T, T); later tokens cannot change it
since = max(i for i, word in enumerate(words[:-6]) if word == ".") + 1
print(f"the last token gives «{words[first]}», {second - first - 1} tokens back, a weight of {weights[-1, first]:.2f}")
assert weights[-1, first] > 5 / second
plots.heatmap(words[since:], words, weights[since:].tolist(), "who looks", "at whom", numbers=False)

# %% [markdown]
# The white corner on the right is the mask: these tokens come later. The last row is the answer to the question of our
# opening. The query of the last token fits the key of the colour, and so the value of the colour flows into the last
# token, from which the guess is made.
#
# Do not read too much into such maps. They show where a head looks, not why the model answers as it does; in other
# networks, Jain and Wallace (2019) found quite different weights that led to the same answer. Our change of one word at
# the beginning is the stronger evidence. The map says by which way it may have travelled.
#
# <div class="alert alert-warning">
# <b>You may have read</b> that keys say how likely each word is to come next.
# They do not. A key has d<sub>k</sub> numbers, not one for each word of the vocabulary. They may be negative and sum to anything. And they have no
# meaning at all by themselves: rotate all queries and keys in the same way, and every key is different while nothing else changes. A key means
# something only to a query. What may come next is said by the logits, at the very end of the model.
# </div>

# %%
q, k, v, weights = (part[head] for part in layers[layer])  # (T, d_k), (T, d_k), (T, d_k), (T, T)
key = k[first]
print(f"the key of «{words[first]}» has {len(key)} numbers, the vocabulary {tokenizer.vocab_size:,} tokens")
print("negative numbers in it:", bool((key < 0).any()), "  sum is 1:", math.isclose(key.sum(), 1))

rotation, _ = torch.linalg.qr(random(d_k, d_k))  # keeps all lengths and angles
assert torch.allclose(rotation @ rotation.T, torch.eye(d_k, dtype=torch.float64))
output, _ = minigpt.model.attention.scaled_dot_product_attention(q, k, v, causal=True)
rotated, _ = minigpt.model.attention.scaled_dot_product_attention(q @ rotation, k @ rotation, v, causal=True)
print("rotated: same keys:", torch.allclose(k @ rotation, k), "  same output:", torch.allclose(rotated, output))
assert not torch.allclose(k @ rotation, k) and torch.allclose(rotated, output)

# %% [markdown]
# ## What to remember
#
# 1. Attention is a soft lookup: scores of a query with all keys, softmax, weighted average of the values.
# 2. $\text{softmax}(QK^\top / \sqrt{d_k})\,V$: one row of weights for each token that looks, and each row sums to 1.
# 3. Softmax sees only differences of scores; subtract the largest and it cannot overflow. When it is sure, its slopes vanish.
# 4. A dot product of $d_k$ random products has variance $d_k$; dividing by $\sqrt{d_k}$ keeps the weights spread and the slopes alive.
# 5. Query, key and value are three different views of a token, made by three learned matrices. None of them is a probability.

# %% [markdown]
# ## Primary sources
#
# - Vaswani et al. 2017, Attention Is All You Need, section 3.2.1 and its footnote on the variance (https://arxiv.org/abs/1706.03762)
# - Bahdanau, Cho, Bengio 2014, Neural Machine Translation by Jointly Learning to Align and Translate, section 3.1 (https://arxiv.org/abs/1409.0473)
# - Graves, Wayne, Danihelka 2014, Neural Turing Machines, section 3.3.1 (https://arxiv.org/abs/1410.5401)
# - Jain and Wallace 2019, Attention is not Explanation (https://arxiv.org/abs/1902.10186)

# %% [markdown]
# **Next** · [Lesson 5 · Multi-head attention](05_multi_head_attention.ipynb): why a token must not look at later ones,
# how to test that it does not, and why one head is not enough.
