# %% [markdown]
# # Lesson 8 · The full GPT
#
# You have built every part of a GPT. This lesson puts them together, and meets a model that knows nothing and is
# certain all the same. When that is cured, you account for everything in the model: each parameter, each multiplication, each
# byte.
#
# **You will be able to**
# - assemble a GPT from your own parts, and say what shape the numbers have everywhere in it,
# - tie the output head to the embedding, and initialise both so that the first loss is ln V,
# - prove two implementations equal, layer by layer,
# - account for GPT-2's 124,439,808 parameters, and for the FLOPs and the memory of a training step.
#
# **Time** 95 min; optional sections (on depth, work and memory) and an exercise take about 80 more
#
# **Builds on** lessons 3 to 7 for the parts (each is recalled in a sentence), [lesson 1](01_next_token_game.ipynb) for the loss,
# and [Torch and slopes](00b_torch_and_slopes.ipynb), sections 1 to 6
#
# ![The whole GPT in colour, from the text through embeddings, Transformer blocks and output head to the distribution; a dashed line ties the output head to the embeddings](../figures/where_full_gpt.svg)

# %% tags=["setup"]
import itertools
import math
import textwrap
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import minigpt.model.gpt
from minigpt.config import GPTConfig, InputError
from minigpt.course import check, plots, start_lesson
from minigpt.model.gpt import (
    GPT,
    TransformerBlock,
    flops_per_token,
    next_token_loss,
    parameter_count,
)
from minigpt.model.kv_cache import KVCache
from minigpt.model.norm import make_norm
from minigpt.text.data import StoryData, storyteller_tokenizer
from minigpt.weights.checkpoint import load_model

start_lesson()

# %% [markdown]
# ## A model that should know nothing
#
# What you have: a table with a vector for each token and one with a vector for each position (lesson 3), and the Transformer
# block (lesson 7). A block reads the **residual stream**, $d_{model}$ numbers for each token, and adds what attention and
# feed-forward found. What is missing is the end: a last LayerNorm, and an **output head**, which turns the vector at each position
# into V scores, the **logits**, one for each token that could come next.
#
# Put one after the other. That is a GPT:


# %%
class PlainGPT(nn.Module):
    """The parts in their order, each with the numbers that torch gives it."""

    def __init__(self, config: GPTConfig, tied: bool) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position_embedding = nn.Embedding(config.context_length, config.d_model)
        self.blocks = nn.ModuleList(
            TransformerBlock(config) for _ in range(config.n_layers)
        )
        self.final_norm = nn.LayerNorm(config.d_model)
        self.output_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if tied:
            self.output_head.weight = self.token_embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.token_embedding(ids)  # (B, T, d_model)
        x = x + self.position_embedding(torch.arange(ids.size(1)))
        for block in self.blocks:
            x = block(x)  # (B, T, d_model)
        logits: Tensor = self.output_head(self.final_norm(x))  # (B, T, V)
        return logits


# %% [markdown]
# Note the line after `if tied`. It throws the output head's own matrix away and uses the table of token vectors in its place. GPT-2
# does this, so let us try both.
#
# A fresh model knows nothing. It should give all V tokens about the same probability, and pay −ln(1/V) = ln V for each token that
# comes. We ask both about the beginnings of two stories.

# %%
tokenizer = storyteller_tokenizer()
V = tokenizer.vocab_size
config = GPTConfig(vocab_size=V, context_length=192, n_layers=4, n_heads=4, d_model=128)
data = StoryData(tokenizer, config.context_length, held_out=1)


def beginnings(step: int) -> tuple[Tensor, Tensor]:
    """The first 64 tokens of two stories, and those that come next; (B, T) each."""
    inputs, targets = data.batch_at(step, batch_size=2)
    return inputs[:, :64], targets[:, :64]


inputs, targets = beginnings(0)

plain = {}
for name, tied in (("a matrix of its own", False), ("the embedding's table", True)):
    torch.manual_seed(0)
    plain[name] = PlainGPT(config, tied).double()
    with torch.no_grad():
        loss_at_first = next_token_loss(plain[name](inputs), targets)
    print(f"the head uses {name:<22} loss {loss_at_first:6.2f}")
print(f"{'ln V':<36} loss {math.log(V):6.2f}")
assert loss_at_first > 10 * math.log(V)

# %% [markdown]
# One line, and the loss is more than ten times what ignorance costs. The second model does not waver between V tokens. It is *sure*, and wrong.
# Nobody has trained it. **What can a model of random numbers be sure of?**

# %% [markdown]
# ## What goes through it
#
# First look at what flows. A **forward hook** is a function that torch calls after a module has run, with what it took and what it gave. Hang
# one on every module, send the two stories through, and write down the shapes.


# %%
def trace(model: nn.Module, ids: Tensor) -> list[tuple[str, tuple[int, ...]]]:
    """Each module in the order in which they finished, and its output's shape."""
    lines: list[tuple[str, tuple[int, ...]]] = []

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, taken, given: lines.append((name, tuple(given.shape)))

    modules = [(name, module) for name, module in model.named_modules() if name]
    handles = [module.register_forward_hook(note(name)) for name, module in modules]
    with torch.no_grad():
        model(ids)
    for handle in handles:
        handle.remove()
    return lines


for row in inputs:
    print(textwrap.shorten(tokenizer.decode(row[1:].tolist()), 88, placeholder=" …"))
print(f"{'token ids':<32} {tuple(inputs.shape)}")
for name, shape in trace(plain["a matrix of its own"], inputs):
    depth = 3 if name.startswith("blocks.0") else 1  # the first block in detail
    if "dropout" not in name and name.count(".") <= depth:
        print(f"{name:<32} {shape}")

# %% [markdown]
# Three kinds of shape. Between the blocks there is always the stream, $(B, T, d_{model})$: a block may add to it, and never changes its
# shape, so blocks can be stacked as high as you like. Inside a block it widens for a moment, three times for queries, keys and values, four
# times in the feed-forward network. Only the output head leaves the stream: $(B, T, V)$.
#
# The position table has no *B*: every sequence gets the same positions.

# %% [markdown]
# ## From a vector to V scores
#
# The output head is the one new part. Take a model with three tokens and $d_{model} = 2$. The head holds one row of numbers for each token.
# A token's score is the dot product of its row with the vector *x* that the last LayerNorm hands over. Work out the score of *kite* yourself
# before you read on.

# %%
words = ["fox", "kite", "ran"]
rows = [[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]]  # (V, d_model)
handed_over = [2.0, 1.0]  # x, (d_model,)

scores = [sum(a * b for a, b in zip(handed_over, row, strict=True)) for row in rows]
of_all = sum(math.exp(score) for score in scores)
for word, score in zip(words, scores, strict=True):
    print(f"{word:<5} score {score:.0f}   probability {math.exp(score) / of_all:.4f}")

# %% [markdown]
# For *kite*: 2 · 0 + 1 · 1 = 1. All scores at once are a product with the table's transpose, and that is what `nn.Linear` does with its
# weight.

# %%
in_torch = torch.tensor(handed_over) @ torch.tensor(rows).T  # (V,)
head = nn.Linear(2, 3, bias=False)
head.weight = nn.Parameter(torch.tensor(rows))  # (V, d_model), as nn.Linear stores it
package = GPT(config).double()
with torch.no_grad():
    final = package.hidden_states(inputs)  # (B, T, d_model): what the output head reads
    package_logits = package(inputs)  # (B, T, V)

assert in_torch.tolist() == scores
assert torch.equal(head(torch.tensor(handed_over)), in_torch)
assert torch.allclose(package_logits, final @ package.output_head.weight.T)
print("plain Python, torch, nn.Linear and minigpt agree")

# %% [markdown]
# So a GPT has two tables with a row for each token. In the embedding an id fetches a row. In the output head a vector is compared with all
# rows. Press and Wolf (2017) found that the rows of the head are good word vectors as well, and advised to keep *one table for both*. That
# is **weight tying**. It made the perplexity of their language models lower, and it saves a whole table.
#
# What does training do to a table with two jobs? Compare a tied model with an untied one whose two tables hold the same numbers: a fresh one, and the
# trained storyteller.

# %%
storyteller, _ = load_model("storyteller")
storyteller = storyteller.double()
torch.manual_seed(0)
fresh_one = GPT(storyteller.config).double()


def gradient_of(model: GPT, table: str) -> Tensor:
    """The gradient of a table for our two stories, (V, d_model)."""
    loss = next_token_loss(model(inputs), targets)
    return torch.autograd.grad(loss, model.get_parameter(table))[0]


for name, one_table in (("fresh", fresh_one), ("trained", storyteller)):
    two_tables = GPT(replace(one_table.config, tie_embeddings=False)).double()
    two_tables.load_state_dict(one_table.state_dict())
    as_embedding = gradient_of(two_tables, "token_embedding.weight")
    as_head = gradient_of(two_tables, "output_head.weight")
    of_both = gradient_of(one_table, "token_embedding.weight")
    assert torch.allclose(of_both, as_embedding + as_head)
    for job, gradient in (("embedding", as_embedding), ("head", as_head)):
        moved = int(gradient.any(dim=1).sum())
        print(f"{name:<8} as {job:<10} length {gradient.norm():.3f}, {moved:5,} rows")
assert as_head.norm() > 8 * as_embedding.norm()  # 16 to 29 times with three batches

# %% [markdown]
# The gradient of the tied table is the **sum** of both. As embedding, only the rows of tokens in the batch are moved. As head, every row is
# moved at every step, because every token had a score. In a fresh model the two gradients are about equally long. In the trained one the head's is many
# times longer, so the head has the larger say. Press and Wolf saw just this: a tied table develops more like an output table than like an input table.
#
# <div class="alert alert-warning">
# <b>You may have read</b> that the output head is a matrix of its own, with V · d<sub>model</sub> parameters to be added to the count.
# In GPT-2 it is not. It is the embedding's table under a second name: there is one tensor, it is counted once, and who changes one
# changes the other. (Some models do keep two. Here <code>tie_embeddings=False</code> does.)
# </div>

# %%
two_names = GPT(config)
same = two_names.output_head.weight is two_names.token_embedding.weight
listed = [name for name, _ in two_names.named_parameters() if "head" in name]
print("one and the same object:", same)
print("parameters with «head» in their name:", listed)
with torch.no_grad():
    two_names.token_embedding.weight[0] = 7.0  # write through one name …
assert (two_names.output_head.weight[0] == 7.0).all()  # … and read through the other
more = parameter_count(replace(config, tie_embeddings=False)) - parameter_count(config)
assert more == V * config.d_model

# %% [markdown]
# ### Exercise 1 · untie (optional) (★★☆, 10 min)
#
# Now the other way. You are given a *tied* GPT. Give its output head a table of its own that starts with the same numbers: the logits stay what
# they were, and from then on each table is trained for itself. (A module accepts as its weight only an `nn.Parameter`.)


# %% tags=["exercise"]
def untie(model: GPT) -> None:
    """Give the output head a table of its own, with the numbers of the embedding's."""
    ### BEGIN SOLUTION
    model.output_head.weight = nn.Parameter(
        model.token_embedding.weight.detach().clone()
    )
    ### END SOLUTION


# %%
check.untie(untie)

# %% [markdown]
# ## What the careless model is sure of
#
# Back to the model that shouts. Look at the token that it finds most probable, beside the token that it has just read.

# %%
careless = plain["the embedding's table"]
with torch.no_grad():
    logits = careless(inputs)  # (B, T, V)
guesses = logits.argmax(dim=-1)  # (B, T)
for t in range(1, 7):
    read, bet = (tokenizer.decode([int(row[0, t])]) for row in (inputs, guesses))
    print(f"read {read!r:<10} bets on {bet!r}")

copies = (guesses == inputs).double().mean().item()
print(f"bets on the token that it has just read: {copies:.0%} of all positions")
assert copies > 0.99

# %% [markdown]
# It is sure that every token repeats itself. No wonder: the token's own vector enters at the bottom, the residual stream carries it to the top,
# and there the head compares the stream with *the same table*. Whose row fits best? The token's own.
#
# How high is that score? Torch fills an embedding with numbers of size 1: a normal distribution with standard deviation 1. Do it by hand, and
# leave out what the blocks add.
#
# 1. A token's vector *e* plus a position's vector *p*: numbers of size $\sqrt{1 + 1} = \sqrt 2$.
# 2. The last LayerNorm brings them back to size 1: $x = (e + p)/\sqrt 2$.
# 3. The own score: $e \cdot x = e \cdot e / \sqrt 2 + e \cdot p / \sqrt 2$. The first term is 128 squares, each 1 on average, over $\sqrt 2$. In the
#    second, 128 products of random sign nearly cancel.
# 4. Any other token's score: 128 products of random sign. They sum to about $\sqrt{128}$, as in lesson 4: variances add up.

# %%
own = logits.gather(-1, inputs[..., None]).mean().item()
by_hand = config.d_model / math.sqrt(2), math.sqrt(config.d_model)
print(f"own score:    by hand {by_hand[0]:5.1f}   measured {own:5.1f}")
print(f"other scores: by hand {by_hand[1]:5.1f}   measured {logits.std():5.1f}")
assert 0.9 < own / by_hand[0] < 1.1

# %% [markdown]
# (The blocks add something to the stream after all, so the token's share in *x* is a little smaller than by hand.)
#
# What does that cost? Softmax goes by differences of scores. The token that really comes has an ordinary score, around 0, and the own token
# stands far above it. The truth is left with a share of about $e^{-\text{own score}}$, and $-\ln$ of it is the own score. That is the
# loss we saw. The other model was saved by an accident: `nn.Linear` draws its weights between $-1/\sqrt{d}$ and $1/\sqrt{d}$, which is small,
# and its rows know nothing of the embedding's.
#
# So a table with two jobs must start with small numbers. GPT draws all its matrices with a standard deviation of **0.02** (Radford et al.
# 2018, section 4.1). Try four sizes:


# %%
def first_loss(spread: float, tied: bool) -> float:
    """The loss of a fresh GPT whose tables were drawn with this standard deviation."""
    torch.manual_seed(0)
    model = GPT(replace(config, tie_embeddings=tied)).double()
    generator = torch.Generator().manual_seed(1)
    for table in (model.token_embedding, model.position_embedding, model.output_head):
        nn.init.normal_(table.weight, std=spread, generator=generator)
    with torch.no_grad():
        return next_token_loss(model(inputs), targets).item()


print("standard deviation   untied     tied")
for spread in (1.0, 0.5, 0.1, 0.02):
    both = first_loss(spread, tied=False), first_loss(spread, tied=True)
    print(f"{spread:18}  {both[0]:7.2f}  {both[1]:7.2f}")
    if spread == 1.0:
        assert both[1] > 2 * both[0]
print(f"{'ln V':>18}  {math.log(V):7.2f}  {math.log(V):7.2f}")
assert both[1] - math.log(V) < 0.1

# %% [markdown]
# With 0.02 the first loss is ln V, up to less than a tenth. At 1.0 both shout, and the tied model pays more than twice as much: the untied
# one is loud at random, the tied one always says the same wrong thing.
#
# Training will repair it, you might say. Give both thirty steps (lesson 9 takes a step apart; here it is five lines) and watch.

# %%
losses: dict[str, list[float]] = {}
for name, spread in (("tables start at 1.0", 1.0), ("tables start at 0.02", 0.02)):
    torch.manual_seed(0)
    starting = GPT(replace(config, n_layers=1, d_model=64)).double()
    nn.init.normal_(starting.token_embedding.weight, std=spread)
    nn.init.normal_(starting.position_embedding.weight, std=spread)
    optimizer = torch.optim.AdamW(starting.parameters(), lr=3e-3)
    losses[name] = []
    for step in range(31):
        batch, answers = beginnings(step)
        loss = next_token_loss(starting(batch), answers)
        losses[name].append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

lines = losses | {"ln V": [math.log(V)] * 31}
plots.curves(
    {name: (range(31), [round(y, 1) for y in ys]) for name, ys in lines.items()},
    "step",
    "loss (nats per token)",
    markers=False,
)

# %%
at_one, at_little = (losses[f"tables start at {spread}"][-1] for spread in (1.0, 0.02))
print("after 30 steps, started at 1.0:  knows less than nothing:", at_one > math.log(V))
print("after 30 steps, started at 0.02: knows something:", at_little < math.log(V) - 1)
assert at_one > math.log(V) > at_little + 1

# %% [markdown]
# Thirty steps of work went into forgetting what nobody had taught. So the first number to look at in any training is the first loss, and
# you know what it must be.

# %% [markdown]
# ## Why the stream grows with depth (optional)
#
# GPT-2's initialisation cares for one thing more. Each of the L blocks adds to the stream twice, and before training what it adds is random. It reads
# through a LayerNorm, so what it adds has the same size however large the stream has become (lesson 7). But 2L additions pile up. How large does a
# sum of many random numbers get? Lesson 4 met the question in the scores $q \cdot k$; here it is once more, in its plainest form.
#
# Toss a coin *n* times, +1 for heads and −1 for tails, and add up. For *n* = 2 there are four cases: 2, 0, 0, −2. By the **size** of numbers we mean
# the root of their mean square, here $\sqrt{(4 + 0 + 0 + 4)/4} = \sqrt 2$. Work out *n* = 3 yourself (eight cases), then let Python list them all.

# %%
for n in (1, 2, 3, 4, 16):
    sums = [sum(tosses) for tosses in itertools.product((-1, 1), repeat=n)]
    rms = math.sqrt(sum(outcome**2 for outcome in sums) / len(sums))
    print(f"n = {n:2}: {len(sums):6,} cases, size {rms:.4f}, √n = {math.sqrt(n):.4f}")
    assert math.isclose(rms, math.sqrt(n))

# %% [markdown]
# A sum of *n* random numbers of size 1 has size $\sqrt n$: they help each other sometimes and cancel sometimes. So the 2L outputs make the stream
# about $\sqrt{2L}$ times as large as one would. The cure is to divide each by $\sqrt{2L}$. Radford et al. (2019, section 2.3) scale the
# weights of the residual layers by $1/\sqrt N$, with N the number of these layers; here each addition counts, and N = 2L.
#
# Now in the network: the size of the stream after each of 24 blocks, with and without the factor.


# %%
def fresh(n_layers: int, scaled: bool) -> GPT:
    """A new model; not scaled: 0.02 is the standard deviation of all its matrices."""
    torch.manual_seed(0)
    model = GPT(replace(config, n_layers=n_layers)).double()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            onto_stream = name.endswith(
                ("attention.output.weight", "feed_forward.down.weight")
            )
            if onto_stream and not scaled:
                weight.mul_(math.sqrt(2 * n_layers))  # takes back what the package did
    return model


@torch.no_grad()
def stream(model: GPT) -> list[Tensor]:
    """The stream after the embeddings, then after each block: (B, T, d_model) each."""
    seen: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda module, taken, given: seen.append(given))
        for module in (model.dropout, *model.blocks)  # dropout: behind the embeddings
    ]
    model(inputs)
    for handle in handles:
        handle.remove()
    return seen


def size(x: Tensor) -> float:
    """The root of the mean square."""
    return x.pow(2).mean().sqrt().item()


sizes = {
    name: [size(x) for x in stream(fresh(24, scaled))]
    for name, scaled in (
        ("all matrices 0.02", False),
        ("residual projections 0.02 / √(2L)", True),
    )
}
for series in sizes.values():
    assert math.isclose(series[0], 0.02 * math.sqrt(2), rel_tol=0.1)
assert sizes["all matrices 0.02"][1] > 2 * sizes["all matrices 0.02"][0]
plots.curves(
    {
        name: (range(25), [round(y, 3) for y in series])
        for name, series in sizes.items()
    },
    "after this many blocks (0: the embeddings)",
    "size of the residual stream",
)

# %% [markdown]
# Both start at 0.02 · √2, the sum of two embeddings. Without the factor the first block alone more than doubles the stream, and it goes on
# growing. Does that harm? Compare three depths, and ask three questions at the top. How large is the stream? How much of the token is left:
# the cosine between its stream and its embedding (1: same direction, 0: nothing in common)? And does the first loss tell?

# %%
print("              size           cosine          first loss")
print("blocks   without  with    without  with    without  with")
tops: dict[int, list[float]] = {}
for n_layers in (3, 12, 48):
    pair = [fresh(n_layers, scaled) for scaled in (False, True)]
    with torch.no_grad():
        losses_of_both = [next_token_loss(one(inputs), targets).item() for one in pair]
    streams = [stream(one) for one in pair]
    tops[n_layers] = [size(x[-1]) for x in streams]
    kept = [F.cosine_similarity(x[0], x[-1], dim=-1).mean().item() for x in streams]
    questions = (tops[n_layers], kept, losses_of_both)
    columns = [f"{without:8.2f} {with_it:6.2f}" for without, with_it in questions]
    print(f"{n_layers:6} {'  '.join(columns)}")
    assert max(losses_of_both) < math.log(V) + 0.15
assert tops[48][0] > 3 * tops[3][0] and abs(tops[48][1] / tops[3][1] - 1) < 0.1

# %% [markdown]
# With the factor the stream ends at the same size whatever the depth, and with the same share of the token in it. Without it, the token drowns
# in what untrained layers say about it, and the deeper the model, the more. (This is about the start. What it is worth later must be measured
# in training.)
#
# The first loss does not tell. The last LayerNorm takes the size away, so every model here starts close to ln V. A right first loss does not
# prove a right initialisation.

# %% [markdown]
# ### Exercise 2 · initialise (★★☆, 15 min)
#
# You are given a GPT whose matrices and biases hold anything at all. Initialise it as this package does, after GPT-2's paper. (OpenAI's
# code for GPT-2 differs in a detail: it draws the positions with 0.01.)
#
# - the matrix of every `nn.Linear` and `nn.Embedding`: normal, standard deviation 0.02; every bias of an `nn.Linear`: zero,
# - but the two projections of each block that end on the stream, `attention.output.weight` and `feed_forward.down.weight`:
#   $0.02/\sqrt{2L}$, with L from `model.config.n_layers`,
# - LayerNorms stay as torch made them (gain 1, bias 0).
#
# Every matrix draws its own numbers. `model.modules()`, `model.named_parameters()`, `nn.init.normal_(tensor, std=…)` and
# `nn.init.zeros_(tensor)` do the work.


# %% tags=["exercise"]
def initialise(model: GPT) -> None:
    """Initialise as the package does, after GPT-2's paper."""
    ### BEGIN SOLUTION
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for name, weight in model.named_parameters():
        if name.endswith(("attention.output.weight", "feed_forward.down.weight")):
            nn.init.normal_(weight, std=0.02 / math.sqrt(2 * model.config.n_layers))
    ### END SOLUTION


# %%
check.initialise(initialise)

# %% [markdown]
# ## The whole GPT on one screen
#
# Here is the model that all later lessons train, word for word as in `minigpt/model/gpt.py`. It is `PlainGPT` with the initialisation, and eight
# things that real use asks for:
#
# - **rotary positions** in place of the position table, if a config asks for them (lesson 3; ours do not),
# - `padded_vocab_size`: tables may get a few rows that no token uses, because round numbers are faster on GPUs (lesson 11; ours get none),
# - `n_outputs`: the head has as many rows as that, or a few if it tells labels apart and not tokens (lesson 15),
# - `make_norm`, which makes the last norm, as in the blocks (lesson 7; ours are `nn.LayerNorm`),
# - **dropout** behind the embeddings (off in our configs),
# - `hidden_states` apart from the head, for whoever wants the stream,
# - errors that say what is wrong with the input,
# - a `cache` of keys and values and a `position`, with which lesson 13 generates text faster. Until then there is no cache, and position is 0.


# %% tags=["package:minigpt.model.gpt.GPT"]
class GPT(nn.Module):
    """The model: for every token, a score for each token that could come next."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(
                config.context_length, config.d_model
            )
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(config) for _ in range(config.n_layers)
        )
        self.final_norm = make_norm(config)
        self.output_head = nn.Linear(config.d_model, config.n_outputs, bias=False)
        if config.tie_embeddings:
            self.output_head.weight = self.token_embedding.weight  # Press and Wolf 2017
        self.initialise()

    def initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        # 2 n_layers outputs are added up; their sum should be as large as one
        # (Radford et al. 2019, section 2.3).
        for name, weight in self.named_parameters():
            if name.endswith(("attention.output.weight", "feed_forward.down.weight")):
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * self.config.n_layers))

    def forward(
        self, ids: Tensor, cache: KVCache | None = None, position: int = 0
    ) -> Tensor:
        """Token ids (B, T), int64, to logits (B, T, vocab_size) on the next token."""
        logits: Tensor = self.output_head(self.hidden_states(ids, cache, position))
        return logits

    def hidden_states(
        self, ids: Tensor, cache: KVCache | None = None, position: int = 0
    ) -> Tensor:
        """What the output head reads, (B, T, d_model)."""
        T, context_length = ids.size(1), self.config.context_length
        if position < 0 or position + T > context_length:
            raise InputError(
                f"{T} tokens from position {position} do not fit into the model's "
                f"context of {context_length} tokens: pass the last {context_length} "
                "tokens at most, or train a model with a larger context_length"
            )
        try:  # torch itself looks for bad ids; to look here too would make a GPU wait
            x: Tensor = self.token_embedding(ids)  # (B, T, d_model)
        except IndexError:
            vocab_size = self.config.vocab_size
            bad = ids[(ids < 0) | (ids >= vocab_size)][0].item()
            raise InputError(
                f"token id {bad} is not in the vocabulary of {vocab_size} tokens "
                f"(0 to {vocab_size - 1}): "
                "use the tokenizer that the model was trained with"
            ) from None
        if self.config.positions == "learned":
            x = x + self.position_embedding(
                torch.arange(position, position + T, device=ids.device)
            )
        x = self.dropout(x)
        for layer, block in enumerate(self.blocks):
            # Without a cache all blocks are called alike: once compiled, all are.
            x = block(x, cache, layer if cache else 0, position)
        x = self.final_norm(x)
        return x


# %%
torch.manual_seed(0)
ours = GPT(config)  # the class above
torch.manual_seed(0)
theirs = minigpt.model.gpt.GPT(config)
assert torch.equal(ours(inputs), theirs(inputs))
print("same seed, same weights, same logits")

# %% [markdown]
# ## Is it right?
#
# A test of your code by your own code shares your mistakes. So take an implementation by other people, give it the same weights, and compare
# after every layer: the first layer that differs is where to look.
#
# Torch has one. `nn.TransformerEncoderLayer` is a Transformer block; with the norm first, tanh-GELU and a causal mask it should be
# exactly ours. Only the names differ. We draw large random weights, and biases that are not zero: at 0.02 the blocks do so little that a
# mistake in them could pass for rounding.

# %%
torch.manual_seed(0)
compared = GPT(config).double()
for parameter in compared.parameters():
    nn.init.normal_(parameter, mean=0.05, std=0.3)

THEIR_NAMES = {
    "attention_norm": "norm1",
    "attention.qkv.": "self_attn.in_proj_",
    "attention.output": "self_attn.out_proj",
    "feed_forward_norm": "norm2",
    "feed_forward.up": "linear1",
    "feed_forward.down": "linear2",
}


def torch_layer(block: nn.Module) -> nn.TransformerEncoderLayer:
    """Torch's own block with the weights of ours."""
    layer = nn.TransformerEncoderLayer(
        config.d_model,
        config.n_heads,
        config.feed_forward_size,
        dropout=0.0,
        norm_first=True,
        batch_first=True,
        activation=lambda x: F.gelu(x, approximate="tanh"),
        dtype=torch.float64,
    )
    weights = {}
    for our_name, values in block.state_dict().items():
        (ours, theirs) = next(
            pair for pair in THEIR_NAMES.items() if pair[0] in our_name
        )
        weights[our_name.replace(ours, theirs)] = values
    layer.load_state_dict(weights)
    return layer


@torch.no_grad()
def compare(mask: Tensor | None) -> list[float]:
    """The largest difference of the two streams after each block, and of the logits."""
    x = compared.token_embedding.weight[inputs]
    x = x + compared.position_embedding.weight[: inputs.size(1)]
    ours, differences = x, []
    for block in compared.blocks:
        ours, x = block(ours), torch_layer(block)(x, src_mask=mask)
        differences.append((x - ours).abs().max().item())
    norm = compared.final_norm
    x = F.layer_norm(x, (config.d_model,), norm.weight, norm.bias)
    gap = x @ compared.token_embedding.weight.T - compared(inputs)
    return [*differences, gap.abs().max().item()]


not_yet = torch.ones(64, 64, dtype=torch.bool).triu(1)  # True: must not look
after = [*(f"block {n}" for n in range(1, config.n_layers + 1)), "logits"]
masked, unmasked = compare(not_yet), compare(None)
print("equal to ten decimals   with the mask   without")
for name, *gaps in zip(after, masked, unmasked, strict=True):
    print(f"{name:<23} {gaps[0] < 1e-10!s:<15} {gaps[1] < 1e-10}")
assert max(masked) < 1e-10 and min(unmasked) > 0.01

# %% [markdown]
# Equal everywhere, and the comparison can fail: without the mask it does, from the first block on. (Torch calls the layer an *encoder* layer because
# an encoder uses it without a mask. With one, it is what GPT is made of.) The package's tests do the same with Hugging Face's GPT-2.

# %% [markdown]
# ## Your GPT
#
# The package's model is equal to torch's. Is yours? You have written its parts one by one: embeddings and positions (lesson 3), attention
# with a mask (lessons 4 and 5), the feed-forward network (lesson 6), LayerNorm and the block (lesson 7). Now write the whole from an empty cell, in
# about thirty lines.
#
# ### Exercise 3 · your GPT (★★★, 30 min)
#
# Write the forward pass as one function, without `nn`: from ids to logits, with the weights of a package's GPT. They come in a dictionary,
# under the names of `named_parameters()`, all as float64:
#
# | name | shape |
# | --- | --- |
# | `token_embedding.weight` (the head's table, too), `position_embedding.weight` | (V, d), (context, d) |
# | `blocks.0.attention_norm.weight` (the gain), `….bias`; likewise `feed_forward_norm` | (d,) |
# | `blocks.0.attention.qkv.weight`, `….bias`: all queries, then keys, then values | (3d, d), (3d,) |
# | `blocks.0.attention.output.weight`, `….bias` | (d, d), (d,) |
# | `blocks.0.feed_forward.up.weight`, `….bias`; `down` | (d_ff, d), (d_ff,); (d, d_ff), (d,) |
# | `final_norm.weight`, `final_norm.bias` | (d,) |
#
# Blocks are numbered from 0. Head 1 has the first `config.head_size` features of the queries, keys and values, head 2 the next, and so on. The norm has ε = 0.00001,
# the bend is GELU in its tanh form (`F.gelu` may be used, `F.layer_norm` and `F.softmax` as well; write what you want to have understood). A few
# small functions inside the big one keep it readable. The check takes it apart: it silences the blocks, then attention, then feed-forward, and
# says in which part the difference arises.


# %% tags=["exercise"]
def your_gpt(ids: Tensor, weights: dict[str, Tensor], config: GPTConfig) -> Tensor:
    """Token ids (B, T) to logits (B, T, V)."""
    ### BEGIN SOLUTION
    B, T = ids.shape

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def layer_norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)
        normed = centred / (variance + 1e-5).sqrt()
        return normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def attention(x: Tensor, name: str) -> Tensor:
        heads = (B, T, config.n_heads, config.head_size)
        q, k, v = (
            part.reshape(heads).transpose(1, 2)  # (B, h, T, head_size)
            for part in linear(x, f"{name}.qkv").chunk(3, dim=-1)
        )
        scores = q @ k.transpose(-2, -1) / math.sqrt(config.head_size)  # (B, h, T, T)
        future = torch.ones(T, T, dtype=torch.bool).triu(1)
        blend = scores.masked_fill(future, -math.inf).softmax(dim=-1) @ v
        return linear(blend.transpose(1, 2).reshape(B, T, -1), f"{name}.output")

    def feed_forward(x: Tensor, name: str) -> Tensor:
        hidden = F.gelu(linear(x, f"{name}.up"), approximate="tanh")  # (B, T, d_ff)
        return linear(hidden, f"{name}.down")

    table = weights["token_embedding.weight"]
    x = table[ids] + weights["position_embedding.weight"][:T]  # (B, T, d_model)
    for block in (f"blocks.{n}" for n in range(config.n_layers)):
        x = x + attention(
            layer_norm(x, f"{block}.attention_norm"), f"{block}.attention"
        )
        normed = layer_norm(x, f"{block}.feed_forward_norm")
        x = x + feed_forward(normed, f"{block}.feed_forward")
    return layer_norm(x, "final_norm") @ table.T  # (B, T, V)
    ### END SOLUTION


# %%
check.your_gpt(your_gpt)

# %% [markdown]
# Does it learn? Train the package's model for 100 steps in float64, and yours beside it, from the same first weights and on the same stories. If your function is
# right, the second column repeats the first. If it is not finished, the lesson goes on without it.

# %%
tiny = GPTConfig(vocab_size=V, context_length=64, n_layers=2, n_heads=2, d_model=32)


def descend(forward: Callable[[Tensor, dict[str, Tensor]], Tensor]) -> list[float]:
    """The losses of 100 steps of training, from the same weights each time."""
    torch.manual_seed(0)
    named = GPT(tiny).double().named_parameters()
    weights = {name: values.detach().requires_grad_() for name, values in named}
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-2)
    falling = []
    for step in range(100):
        batch, answers = beginnings(step)
        loss = next_token_loss(forward(batch, weights), answers)
        falling.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return falling


frame = GPT(tiny).double()
# functional_call runs a module with the weights that it is given.
by_package = descend(lambda batch, weights: functional_call(frame, weights, batch))
try:
    by_you = descend(lambda batch, weights: your_gpt(batch, weights, tiny))
except Exception as problem:  # an unfinished exercise stops nothing
    print(f"yours: {type(problem).__name__}")
    by_you = []
print("step   the package   yours")
for step in (0, 25, 50, 75, 99):
    yours = f"{by_you[step]:.1f}" if by_you else "-"
    print(f"{step:4} {by_package[step]:10.1f} {yours:>10}")
assert by_package[99] < by_package[0] - 3

# %% [markdown]
# ## The ledger of parameters
#
# GPT-2's smallest model has V = 50,257, a context of 1,024, 12 blocks and $d_{model} = 768$. It is said to have 124 million parameters. Where are they? To
# count we need the shapes of its tensors and not the numbers in them. On the device `meta` torch makes tensors that have a shape and take no
# memory.

# %%
with torch.device("meta"):
    gpt2 = GPT(GPTConfig())  # GPTConfig's defaults are GPT-2's smallest model


def line(name: str, numbers: int, shape: str = "") -> None:
    print(f"{name:<40} {shape:>13} {numbers:>12,}")


def lines_of(part: nn.Module, name: str) -> int:
    """Print a line for each tensor of a part; returns the sum."""
    for tensor_name, tensor in part.named_parameters():
        shape = " × ".join(f"{n:,}" for n in tensor.shape)
        line(f"{name}.{tensor_name}", tensor.numel(), shape)
    return sum(tensor.numel() for tensor in part.parameters())


embeddings = lines_of(gpt2.token_embedding, "token_embedding")
embeddings += lines_of(gpt2.position_embedding, "position_embedding")
block = lines_of(gpt2.blocks[0], "  block")
line("  one block", block)
line("12 blocks", 12 * block)
final_norm = lines_of(gpt2.final_norm, "final_norm")
line("output_head.weight: tied, counted above", 0)
total = embeddings + 12 * block + final_norm
line("in all", total)
assert total == parameter_count(GPTConfig()) == 124_439_808
assert total == sum(parameter.numel() for parameter in gpt2.parameters())

# %% [markdown]
# Check a block yourself. Its matrices hold $3d^2 + d^2$ in attention and $4d^2 + 4d^2$ in the feed-forward network, $12 d^2$ together. Its
# vectors hold $2d + 2d$ for the LayerNorms and $3d + d + 4d + d$ biases, $13 d$ together. Then untie.

# %%
matrices, vectors = 12 * 768**2, 13 * 768
print(f"a block: {matrices:,} + {vectors:,} = {matrices + vectors:,}")
print(f"untied:  124,439,808 + 50,257 · 768 = {124_439_808 + 50_257 * 768:,}")
assert matrices + vectors == block
assert parameter_count(GPTConfig(tie_embeddings=False)) == 163_037_184

# %% [markdown]
# <div class="alert alert-warning">
# <b>You may have read</b> that GPT-2 small has 117 million parameters. So says the paper (Radford et al. 2019, table 2: 117M, 345M, 762M and
# 1542M for the four sizes). Later OpenAI wrote in its repository that these counts were wrong, «due to an error». Which error, it did not say.
# Count again with the vocabulary of the <i>first</i> GPT, 40,478 tokens, and all else as in GPT-2:
# </div>

# %%
print("blocks  d_model   V = 50,257   V = 40,478   the paper")
shapes = (
    (12, 768, 12, 117),
    (24, 1024, 16, 345),
    (36, 1280, 20, 762),
    (48, 1600, 25, 1542),
)
for n_layers, d_model, n_heads, said in shapes:
    size_of = GPTConfig(n_layers=n_layers, d_model=d_model, n_heads=n_heads)
    right, old = (
        parameter_count(replace(size_of, vocab_size=v)) / 1e6 for v in (50_257, 40_478)
    )
    print(f"{n_layers:6} {d_model:8} {right:10.1f} M {old:10.1f} M {said:9} M")
    assert round(old) == said != round(right)

# %% [markdown]
# All four, to the last digit that was printed. This is our arithmetic and not their statement, but a ledger kept line by line would have shown it: the
# vocabulary grew by 9,779 tokens, and each brings $d_{model}$ numbers.
#
# ### Exercise 4 · the ledger of any GPT (★★☆, 10 min)
#
# Count the parameters from a `GPTConfig` alone, without building the model. Mind five things: `feed_forward_size` need not be $4d$; with `bias=False`
# no Linear and no LayerNorm has a bias; the output head never has one; `tie_embeddings` decides whether it costs anything; and with
# `positions="rope"` there is no position table. The vocabulary is never padded here.


# %% tags=["exercise"]
def gpt_parameters(config: GPTConfig) -> int:
    """How many numbers this GPT learns."""
    ### BEGIN SOLUTION
    d, d_ff = config.d_model, config.feed_forward_size
    norm = 2 * d if config.bias else d
    attention = 4 * d * d
    feed_forward = 2 * d * d_ff
    if config.bias:
        attention += 4 * d
        feed_forward += d_ff + d
    learned = config.positions == "learned"
    embeddings = (config.vocab_size + learned * config.context_length) * d
    output_head = 0 if config.tie_embeddings else config.vocab_size * d
    block = attention + feed_forward + 2 * norm
    return embeddings + config.n_layers * block + norm + output_head
    ### END SOLUTION


# %%
check.gpt_parameters(gpt_parameters)

# %% [markdown]
# ## The ledger of work (optional)
#
# How much arithmetic is a training step? Nearly all of it is in products of matrices, so count one by hand. A matrix of 2 × 3 times one of 3 × 4 has 8 results,
# and each takes 3 multiplications and 3 additions (the first adds to zero). That is 2 · 2 · 3 · 4 = 48 *floating-point operations*, **FLOPs**. In
# general an (m, k) matrix times a (k, n) matrix takes **2mkn**.

# %%
left, across = torch.ones(2, 3), torch.ones(3, 4)
product, flops = [[0.0] * 4 for _ in range(2)], 0
for i, j, k in itertools.product(range(2), range(4), range(3)):
    product[i][j] += float(left[i, k]) * float(across[k, j])
    flops += 2  # one multiplication, one addition

with FlopCounterMode(display=False) as counter:
    assert (left @ across).tolist() == product
by_counter = counter.get_total_flops()
print(f"in the loop: {flops}, 2mkn = {2 * 2 * 3 * 4}, counted by torch: {by_counter}")
assert flops == counter.get_total_flops()

# %% [markdown]
# `FlopCounterMode` watches which operations torch carries out, and adds up 2mkn for each product. The backward pass costs twice the forward pass:
# a product $Y = XW^\top$ needs two products of the same size on the way back, one for the gradient of *W* and one for the gradient of *X*. Lesson 9
# derives them; take it from the counter until then.

# %%
left.requires_grad_()
across.requires_grad_()
with FlopCounterMode(display=False) as counter:
    (left @ across).sum().backward()
print(f"forward and backward: {counter.get_total_flops()} = 3 · {flops}")
assert counter.get_total_flops() == 3 * flops

# %% [markdown]
# Now one block, for B sequences of T tokens. The four Linear layers treat all B · T tokens alike: (BT, k) times (k, n). Attention multiplies,
# in each head, queries with keys, (T, d_k) times (d_k, T), and weights with values, (T, T) times (T, d_k). Over all heads either takes
# $2 B T^2 d_{model}$.

# %%
worker = GPT(config)
B, T, d = *inputs.shape, config.d_model
products = {
    "attention.qkv": 2 * B * T * d * 3 * d,
    "attention.output": 2 * B * T * d * d,
    "feed_forward.up": 2 * B * T * d * 4 * d,
    "feed_forward.down": 2 * B * T * 4 * d * d,
}
linear_in_attention = products["attention.qkv"] + products["attention.output"]
with torch.no_grad(), FlopCounterMode(display=False) as counter:
    worker(inputs)
counted = {
    name.removeprefix("GPT.blocks.0."): sum(counts.values())
    for name, counts in counter.get_flop_counts().items()
}
products["scores and values"] = 2 * 2 * B * T * T * d
counted["scores and values"] = counted["attention"] - linear_in_attention
for name, count in products.items():
    print(f"{name:<18} by hand {count:>12,}   by torch {counted[name]:>12,}")
    assert count == counted[name] or name == "scores and values"

# %% [markdown]
# Torch counts nothing for attention itself. Is it free? No. The package uses torch's fused attention (lesson 5), and on a CPU that is an operation
# that the counter has no rule for, so it is silently left out. Ask for plain matrix products instead, and everything is there.

# %%
plain_products = sdpa_kernel(SDPBackend.MATH)
with torch.no_grad(), plain_products, FlopCounterMode(display=False) as counter:
    worker(inputs)
forward = counter.get_total_flops()
of_attention = sum(counter.get_flop_counts()["GPT.blocks.0.attention"].values())
plainly = of_attention - linear_in_attention
print(f"scores and values, as plain products: {plainly:,}")
assert plainly == products["scores and values"]

with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
    next_token_loss(worker(inputs), targets).backward()
there_and_back, by_formula = (
    counter.get_total_flops(),
    B * T * flops_per_token(config, T),
)
print(f"forward {forward:,}, forward and backward {there_and_back:,}")
print(f"B · T · flops_per_token           {by_formula:,}")
assert there_and_back == 3 * forward == by_formula

# %% [markdown]
# So `flops_per_token` is exact for matrix products. It does not count LayerNorm, softmax, GELU and biases; neither does torch. And it
# counts attention over all T × T pairs, although the mask throws away almost half of them.
#
# Others count otherwise, and a number of FLOPs means little until you know how it was counted. For GPT-2 small, per token, at 1,024 tokens:

# %%
in_blocks = 12 * 12 * 768**2  # the blocks' matrices: Kaplan's N, without embeddings
by_minigpt = flops_per_token(GPTConfig(), 1024)
conventions = {
    "6 × all parameters": 6 * parameter_count(GPTConfig()),
    "Kaplan et al. 2020, 2.1: 3 · (2N + 2 L T d)": 6 * (in_blocks + 12 * 1024 * 768),
    "minigpt: 6 · (N + V d) + 12 L T d": by_minigpt,
}
for name, count in conventions.items():
    print(f"{name:<44} {count / 1e6:6.1f} million")
assert by_minigpt == 6 * (in_blocks + 50_257 * 768) + 12 * 12 * 1024 * 768

# %% [markdown]
# - **6 FLOPs per parameter** is the rule of thumb: 2 forward, 4 backward. It counts position vectors and biases, which multiply nothing, and
#   leaves attention out.
# - Kaplan et al. (2020, section 2.1) leave out the output head, and count half of what we count for attention. For most purposes they drop that term too
#   and take 6N.
# - Ours has the form of Chowdhery et al. (2022, appendix B), 6N + 12 L H Q T with H heads of size Q. Lesson 11 uses it to say what share of a GPU's
#   speed a training run really uses.
#
# ### Exercise 5 · FLOPs of a forward pass (★★★, 15 min)
#
# Put it together: the FLOPs of a forward pass for B sequences of T tokens, attention counted in full. `check` compares with torch's counter.


# %% tags=["exercise"]
def gpt_forward_flops(config: GPTConfig, B: int, T: int) -> int:
    """2mkn for every product of matrices in a forward pass."""
    ### BEGIN SOLUTION
    d, d_ff = config.d_model, config.feed_forward_size
    linear_layers = 2 * B * T * (4 * d * d + 2 * d * d_ff)
    attention = 2 * (2 * B * T * T * d)
    output_head = 2 * B * T * d * config.vocab_size
    return config.n_layers * (linear_layers + attention) + output_head
    ### END SOLUTION


# %%
check.gpt_forward_flops(gpt_forward_flops)

# %% [markdown]
# ## One pass, T lessons
#
# The logits are $(B, T, V)$: not one distribution but one at every position. Is that worth having?
#
# <div class="alert alert-warning">
# <b>You may have read</b> that a GPT outputs one prediction, and that a text of T tokens must be cut into T training examples: «Once», «Once upon»,
# «Once upon a», each with the word that follows. It need not be cut. One forward pass over the whole text gives all T predictions, the very same
# numbers, because the causal mask lets no position see what comes after it.
# </div>

# %%
story, following = inputs[:1], targets[:1]  # one of our two stories, (1, 64) each
with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
    with FlopCounterMode(display=False) as one_pass:
        at_once = storyteller(story)[0]  # (T, V)
    with FlopCounterMode(display=False) as many_passes:
        passes = [storyteller(story[:, : t + 1])[0, -1] for t in range(64)]

assert torch.allclose(at_once, torch.stack(passes), rtol=0, atol=1e-9)
losses_at_once = F.cross_entropy(at_once, following[0], reduction="none")  # (T,)
assert torch.isclose(losses_at_once.mean(), next_token_loss(at_once[None], following))
ratio = many_passes.get_total_flops() / one_pass.get_total_flops()
print(f"{len(losses_at_once)} losses from one pass, equal to those of 64 passes,")
print(f"which cost {ratio:.1f} times as much; (T + 1) / 2 = {(64 + 1) / 2:.1f}")
assert 0.8 < ratio / ((64 + 1) / 2) <= 1

cost = [t * flops_per_token(GPTConfig(), t) for t in range(1, 1025)]
print(f"GPT-2 small: 1,024 passes cost {sum(cost) / cost[-1]:.0f} times as much as one")

# %% [markdown]
# The passes have 1, 2, … T tokens, $T(T+1)/2$ together, where one pass has T. Hence about $(T+1)/2$ times the work for the same T losses. (Where
# the measured ratio is lower: attention grows with $T^2$, and short texts have little of it.)
#
# A recurrent network gets all its predictions from one pass too, but token after token. Here all positions are computed side by side.

# %% [markdown]
# ## The ledger of memory (optional)
#
# Training needs more than the weights. For each parameter, a gradient. For each parameter, the two running means of Adam (lesson 9). In float32 a
# number takes 4 bytes, so these are 4 + 4 + 8 = **16 bytes per parameter**. Predict, then ask the tensors.

# %%
learner = GPT(config)
adam = torch.optim.AdamW(learner.parameters())
next_token_loss(learner(inputs), targets).backward()
adam.step()

n_parameters, parameters = parameter_count(config), list(learner.parameters())
gradients = [p.grad for p in parameters if p.grad is not None]
states = [tensor for state in adam.state.values() for tensor in state.values()]
ledger = {
    "weights": (4 * n_parameters, sum(p.nbytes for p in parameters)),
    "gradients": (4 * n_parameters, sum(g.nbytes for g in gradients)),
    "Adam's means": (
        8 * n_parameters + 4 * len(parameters),
        sum(tensor.nbytes for tensor in states),
    ),
}
for name, (predicted, real) in ledger.items():
    print(f"{name:<14} predicted {predicted:>12,} bytes   real {real:>12,}")
    assert predicted == real

# %% [markdown]
# (For each of its tensors torch's AdamW keeps a counter of steps as well: those are the 4 bytes per tensor.)
#
# Then there are the **activations**. The backward pass needs numbers that the forward pass computed: the gradient of a Linear's weight is made from its
# *input*, so the input is kept. Lesson 9 shows for each step what it needs and why; here is the list. What a block keeps for each token:
#
# | step | kept for backward | numbers |
# | --- | --- | --- |
# | both LayerNorms | input, and its mean and spread | $2 (d + 2)$ |
# | queries, keys, values | input | $d$ |
# | attention | queries, keys, values, and one number for each head | $3d + h$ |
# | attention output | input, which is also what attention gave | $d$ |
# | feed-forward up | input | $d$ |
# | GELU | input | $4d$ |
# | feed-forward down | input | $4d$ |
# | additions | nothing | 0 |
#
# That is $16 d + 4 + h$ for each token and block. After the blocks come the last LayerNorm ($d + 2$), the head's input ($d$) and the loss ($V$ log-probabilities).
# Fused attention keeps no $T \times T$ weights. Torch lets us look over its shoulder: `saved_tensors_hooks` calls us with every tensor that it puts aside.


# %%
def kept_for_backward(model: GPT, ids: Tensor, targets: Tensor) -> int:
    """Bytes of numbers, besides the parameters, that torch keeps between the passes."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage().data_ptr()
        if tensor.is_floating_point() and tensor.ndim > 0 and memory not in parameters:
            kept[memory] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        next_token_loss(model(ids), targets)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def activation_bytes(config: GPTConfig, B: int, T: int) -> int:
    """The table above, in float32, with d_ff = 4 d_model."""
    d, h = config.d_model, config.n_heads
    return (
        4 * B * T * (config.n_layers * (16 * d + 4 + h) + 2 * d + 2 + config.vocab_size)
    )


by_table = activation_bytes(config, B=2, T=64)
really_kept = kept_for_backward(learner, inputs, targets)
print(f"predicted {by_table:,} bytes   real {really_kept:,}")
assert by_table == really_kept

# %% [markdown]
# Not a byte off. So we may trust the formula for batches that would not fit here: GPT-2 small, with B texts of 1,024 tokens.

# %%
fixed = 16 * parameter_count(GPTConfig()) / 1e9
print(f"weights, gradients, Adam: {fixed:5.2f} GB, whatever the batch")
for rows_in_batch in (1, 8, 32):
    activations = activation_bytes(GPTConfig(), rows_in_batch, 1024) / 1e9
    of_loss = 4 * rows_in_batch * 1024 * 50_257 / 1e9
    print(f"activations, B = {rows_in_batch:2}:      {activations:5.2f} GB, ", end="")
    print(f"of which {of_loss:.2f} GB for the loss alone")

# %% [markdown]
# The weights are not what fills the memory. Activations grow with every token in the batch, and soon outweigh all the rest. This is a lower bound:
# numbers that are needed for a moment, such as the gradient of the logits, come on top. Lesson 11 measures the whole on a GPU, and shows how to need less.

# %% [markdown]
# ## What to remember
#
# 1. A GPT is two tables, L blocks, a LayerNorm and an output head. The stream stays (B, T, d_model); only the head leaves it, for (B, T, V).
# 2. In GPT-2 the head *is* the embedding's table. It must start small: at 0.02 the first loss is ln V, at torch's 1.0 the model shouts what it read.
# 3. 2L additions make the stream about √(2L) times as large. GPT-2 divides the weights that make them by √(2L). The first loss does not tell.
# 4. One pass gives T losses, thanks to the mask. Cut into T examples, the same text costs about T/2 times as much.
# 5. Keep ledgers: 12d² + 13d parameters a block, 6 FLOPs per weight and token plus 12LTd, 16 bytes per parameter plus the activations.

# %% [markdown]
# ## Primary sources
#
# - Press and Wolf 2017, Using the Output Embedding to Improve Language Models (https://arxiv.org/abs/1608.05859)
# - Radford et al. 2018, Improving Language Understanding by Generative Pre-Training, section 4.1 (https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf)
# - Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.3 and table 2 (https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)
# - OpenAI's repository of GPT-2, with the note on the parameter counts (https://github.com/openai/gpt-2)
# - Kaplan et al. 2020, Scaling Laws for Neural Language Models, section 2.1 (https://arxiv.org/abs/2001.08361)
# - Chowdhery et al. 2022, PaLM: Scaling Language Modeling with Pathways, appendix B (https://arxiv.org/abs/2204.02311)
#
# **Next** · [Lesson 9 · Loss, backpropagation, AdamW](09_loss_backprop_adamw.ipynb)
