# %% [markdown]
# # Lesson 17 · LoRA
#
# A model that was trained once can learn a job in a minute. But then it is another model, as large as the first, and the next job
# makes one more. This lesson leaves the model as it is and puts small matrices beside its large ones.
#
# **You will be able to**
# - say what the rank of a matrix is, and how few numbers a change of low rank needs,
# - look into what fine-tuning did to a model, matrix by matrix, and cut it down to what counts,
# - build a low-rank adapter by hand, in torch and into a GPT, and say why it changes nothing at first,
# - predict what it saves in numbers, memory and arithmetic, and what it does not save,
# - merge an adapter into its model, or keep many beside one.
#
# **Time** 95 min
#
# **Builds on** lessons 5 and 6 (the matrices), lesson 9 (gradients and AdamW), and [Torch and slopes](00b_torch_and_slopes.ipynb),
# sections 5, 6 and 10
#
# ![The GPT in one row, attention and feed-forward in colour; below it a frame: x, 144 numbers, goes through a large square W with a grey edge, frozen, and below it through two thin pink strips, A lying and B standing; both results are added to y](../figures/where_lora.svg)

# %% tags=["setup"]
import copy
import math
import re
import tempfile
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import minigpt.model.lora
from minigpt.config import InputError, LoRAMatrix
from minigpt.course import check, start_lesson
from minigpt.evaluation.intervals import wilson
from minigpt.model.gpt import GPT, parameter_count
from minigpt.model.lora import (
    adapter_count,
    merged,
    report,
    training_bytes,
    with_adapters,
)
from minigpt.text import stories
from minigpt.text.tokenizer import END_OF_TEXT
from minigpt.weights.adapter import load_adapter, save_adapter
from minigpt.weights.checkpoint import load_model

start_lesson()

# %% [markdown]
# ## A question it does not hear
#
# Our storyteller continues stories. Give it the beginning of one, and then a question mark, as if to ask: «Who is it about?»

# %%
storyteller, tokenizer = load_model("storyteller")
START = tokenizer.special_tokens[END_OF_TEXT]  # stands before each story


class Questions(NamedTuple):
    """Openings of stories, a question mark behind each, and the right answers."""

    ids: Tensor  # (N, T), filled up behind the question mark
    last: Tensor  # (N,) where the question mark stands
    answers: Tensor  # (N,) one token each

    def pick(self, rows: Tensor) -> "Questions":
        return Questions(self.ids[rows], self.last[rows], self.answers[rows])


def questions(fact: str, split: str, count: int) -> Questions:
    """The first `count` stories whose opening names this fact in one token."""
    texts: list[list[int]] = []
    answers: list[int] = []
    number = 0
    while len(texts) < count:
        story, number = stories.story_at(split, number), number + 1
        opening = " ".join(re.split(r"(?<=[.!?]) ", story.text)[:2])  # two sentences
        answer = (
            tokenizer.encode(f" {story.facts[fact]}") if fact in story.facts else []
        )
        if len(answer) == 1 and story.facts[fact] in opening:
            texts.append([START, *tokenizer.encode(f"{opening}?")])
            answers += answer
    ids = torch.full((count, max(map(len, texts))), START)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
    return Questions(
        ids, torch.tensor([len(t) - 1 for t in texts]), torch.tensor(answers)
    )


def text_of(asked: Questions, row: int) -> str:
    """One opening with its question mark, in lines that fit the page."""
    ids = asked.ids[row, 1 : asked.last[row] + 1].tolist()
    return textwrap.fill(tokenizer.decode(ids), 84)


who, who_test = questions("hero", "train", 2000), questions("hero", "test", 300)
print(text_of(who_test, 0))
print("right answer:", tokenizer.decode([int(who_test.answers[0])]))

# %% [markdown]
# One forward pass is enough to judge an answer, because it is one token: the most probable one after the question mark. (What stands
# behind that mark only fills the rows up; no token sees what comes later.)


# %%
def answer_logits(model: GPT, asked: Questions) -> Tensor:
    """What the model says after each question mark: (N, vocab_size)."""
    hidden = model.hidden_states(asked.ids)  # (N, T, d_model)
    logits: Tensor = model.output_head(
        hidden[torch.arange(len(asked.last)), asked.last]
    )
    return logits


@torch.no_grad()
def count_right(model: GPT, asked: Questions) -> int:
    return int((answer_logits(model, asked).argmax(dim=-1) == asked.answers).sum())


commonest = Counter(who.answers.tolist()).most_common(1)[0][0]
n_test = len(who_test.answers)
blind = int((who_test.answers == commonest).sum())
print(
    f"the storyteller:         {count_right(storyteller, who_test):3} of {n_test} right"
)
print(f"always the same name:    {blind:3} of {n_test} right")
assert count_right(storyteller, who_test) == 0

# %% [markdown]
# Not one. A question mark is nothing that it ever had to answer. So we train it a little further, on questions with their answers:
# that is **fine-tuning**, the second half of a GPT's making (Radford et al. 2018). The loss is the one that you know, taken only at the answer.
# ([Lesson 16](16_instructions.ipynb) does this with whole conversations.)


# %%
def fine_tune(
    model: GPT, asked: Questions, steps: int, learning_rate: float, seed: int = 0
) -> torch.optim.Optimizer:
    """Train what has a gradient, 16 questions a step; returns the optimiser."""
    generator = torch.Generator().manual_seed(seed)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=learning_rate, weight_decay=0.0)
    model.train()
    for step in range(steps):
        # 10 steps up, and down to zero over the second half
        height = min(1.0, (step + 1) / 10, 2 * (steps - step) / steps)
        optimizer.param_groups[0]["lr"] = learning_rate * height
        rows = torch.randint(len(asked.last), (16,), generator=generator)
        batch = asked.pick(rows)
        loss = F.cross_entropy(answer_logits(model, batch), batch.answers)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
    model.eval()
    return optimizer


def show_right(name: str, right: int, count: int = n_test) -> None:
    """So many of so many, and the 95 % interval of the share (Wilson 1927)."""
    low, high = wilson(right, count)
    print(f"{name:<26} {right:3} of {count} right, interval {low:.1%} to {high:.1%}")


# %% tags=["nbval-ignore-output"]
whole = copy.deepcopy(storyteller)
fine_tune(whole, who, steps=40, learning_rate=1e-3)
whole_right = count_right(whole, who_test)
show_right("all numbers fine-tuned", whole_right)

# %%
assert whole_right >= 0.95 * n_test

# %% [markdown]
# Forty steps, and it reads out the hero of stories that it has never seen. The price: `whole` is a second model. The
# storyteller's file has about 4 MB, and nobody minds. GPT-3 has 175 billion numbers: 350 GB in 16 bits for each job, and while it
# learns, several times that. **Does a change so simple need a million new numbers?**

# %% [markdown]
# ## Rank by hand
#
# Here is a column and a row. Multiply each number of the column with each of the row:

# %%
column = [1.0, 2.0, 0.0, -1.0]
row = [3.0, 0.0, 1.0, 2.0]
product = [[c * r for r in row] for c in column]
for line in product:
    print(line)

# %% [markdown]
# Sixteen numbers, made of eight. Each row of the table is a multiple of `row`: once, twice, zero times, minus once. The table has
# **rank** 1. In general the rank is the smallest number of column-times-row tables that add up to the matrix. Two of them, added:

# %%
second_column, second_row = [0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]
total = [
    [product[i][j] + second_column[i] * second_row[j] for j in range(4)]
    for i in range(4)
]
for line in total:
    print(line)

# %% [markdown]
# Check the second row yourself: 2 · [3, 0, 1, 2] + 1 · [1, 1, 0, 0]. Put the two columns side by side into a matrix $B$ (4 × 2) and the
# two rows one below the other into $A$ (2 × 4). Then the table is the product $BA$:

# %%
B = torch.tensor([column, second_column], dtype=torch.float64).T  # (4, 2)
A = torch.tensor([row, second_row], dtype=torch.float64)  # (2, 4)
assert torch.equal(B @ A, torch.tensor(total, dtype=torch.float64))
print(
    "rank:",
    int(torch.linalg.matrix_rank(B @ A)),
    " numbers in B and A:",
    B.numel() + A.numel(),
)

# %% [markdown]
# At 4 × 4 and rank 2 nothing is gained: 16 numbers, made of 16. A matrix of $d_{out}$ rows and $d_{in}$ columns has $d_{out}\,d_{in}$
# numbers; $B$ and $A$ together have $r\,(d_{out} + d_{in})$. The one grows with the area, the other with the edges:

# %%
for d in (4, 144, 12_288):  # GPT-3 is 12,288 wide
    print(f"{d:6} × {d}: {d * d:11,} numbers, at rank 2 {2 * (d + d):6,}")

# %% [markdown]
# ### Exercise 1 · how many numbers (★☆☆, 5 min)
#
# A model has matrices of the shapes `[(d_out, d_in), …]`. How many numbers do $B$ and $A$ have for all of them together, at rank $r$?


# %% tags=["exercise"]
def adapter_numbers(shapes: list[tuple[int, int]], rank: int) -> int:
    """Numbers in all B (d_out, rank) and all A (rank, d_in)."""
    ### BEGIN SOLUTION
    return sum(rank * (d_out + d_in) for d_out, d_in in shapes)
    ### END SOLUTION


# %%
check.adapter_numbers(adapter_numbers)

# %% [markdown]
# ### Nearly low rank
#
# Real matrices are never exactly of low rank: a little dirt in every number, and the rank is full. So we ask how *nearly*. The **singular
# value decomposition** writes any matrix as a sum of column-times-row tables, the largest first, each with columns and rows of length 1 that are at right angles
# to the others':
#
# $$M = \sigma_1 u_1 v_1^\top + \sigma_2 u_2 v_2^\top + \dots \qquad \sigma_1 \ge \sigma_2 \ge \dots \ge 0$$
#
# The sizes σ are the **singular values**. Cut the sum off after $r$ tables, and you have the nearest matrix of rank $r$ (Eckart
# and Young 1936): no other leaves a smaller sum of squares. Our table of rank 2, with dirt:

# %%
generator = torch.Generator().manual_seed(0)
dirt = 0.05 * torch.randn(4, 4, generator=generator, dtype=torch.float64)
for name, matrix in {"clean": B @ A, "with dirt": B @ A + dirt}.items():
    values = torch.linalg.svdvals(matrix)
    squares = values**2 / (values**2).sum()
    print(f"{name:<10} singular values {[f'{abs(v):.3f}' for v in values.tolist()]}")
    print(
        f"{'':<10} share of the squares {[f'{abs(s):.4f}' for s in squares.tolist()]}"
    )

# %% [markdown]
# ### Exercise 2 · the nearest of low rank (★★☆, 10 min)
#
# Write it: the nearest matrix of rank `rank`, of the same shape. `torch.linalg.svd(M, full_matrices=False)` returns three parts $U$, $S$ and $V^\top$ with
# `U @ torch.diag(S) @ Vh` equal to $M$. The columns of $U$ and the *rows* of `Vh` belong to the singular values in `S`, the largest first.


# %% tags=["exercise"]
def low_rank(matrix: Tensor, rank: int) -> Tensor:
    """The nearest matrix of this rank: (d_out, d_in) -> (d_out, d_in)."""
    ### BEGIN SOLUTION
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return (U[:, :rank] * S[:rank]) @ Vh[:rank]
    ### END SOLUTION


# %%
check.low_rank(low_rank)


# %%
def nearest_of_rank(matrix: Tensor, rank: int) -> Tensor:
    """The same, for the cells that follow."""
    left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
    cut: Tensor = (left[:, :rank] * sizes[:rank]) @ right[:rank]
    return cut


# %% [markdown]
# ## What fine-tuning did
#
# Now look into `whole`. Take each matrix of its three blocks, and subtract what it was before. The difference is what fine-tuning learned,
# with 144 singular values. How much of it do the largest four hold? (Of the sum of squares.) Three controls: the *same numbers* of the
# difference in random places; random numbers of the same shape; and the matrix itself, which took half an hour to train and not seconds.

# %% tags=["nbval-ignore-output"]
before, after = storyteller.state_dict(), whole.state_dict()
names = [n for n in before if n.startswith("blocks.") and before[n].ndim == 2]
update = {name: (after[name] - before[name]).double() for name in names}


def shuffled(matrix: Tensor) -> Tensor:
    """The same numbers in random places."""
    places = torch.randperm(matrix.numel(), generator=torch.Generator().manual_seed(1))
    return matrix.flatten()[places].view_as(matrix)


def share_of_four(matrix: Tensor) -> float:
    squares = torch.linalg.svdvals(matrix) ** 2
    return float(squares[:4].sum() / squares.sum())


held = {}
print("share of the largest four     update  shuffled  random  the matrix")
for name in names:
    seeded = torch.Generator().manual_seed(2)
    random = torch.randn(update[name].shape, generator=seeded, dtype=torch.float64)
    matrices = (update[name], shuffled(update[name]), random, before[name].double())
    held[name] = [share_of_four(matrix) for matrix in matrices]
    short = name.removeprefix("blocks.").removesuffix(".weight")
    print(f"{short:<30}" + "".join(f"{share:7.0%}  " for share in held[name]))

# %%
for shares in held.values():
    assert shares[0] > 0.5 and max(shares[1:]) < 0.35
average = sum(shares[0] for shares in held.values()) / len(held)
assert average > 0.7

# %% [markdown]
# Four of 144 hold most of it. In a random matrix, and in the very same numbers shuffled, four hold about a tenth, so it is not their number and not
# their sizes: it is how they stand together. The trained matrices themselves are not like that either. *Fine-tuning*
# moved them along few directions. How much of that is the narrow task, and how much is any short training? In a trial of ours, forty steps at the same learning rate on plain stories moved the same matrices, and
# the largest four held about 40% of that on average, where here they hold about twice as much. So part of it is short training, and part is the task.
#
# A share of squares is no skill yet. So build models: the storyteller, plus the update cut to rank $r$ in each of the twelve matrices. And the
# other way round: the update *without* its first $r$.


# %% tags=["nbval-ignore-output"]
def with_updates(updates: dict[str, Tensor]) -> GPT:
    """The storyteller with these added to its matrices; all else as it was."""
    model = copy.deepcopy(storyteller)
    with torch.no_grad():
        for name, change in updates.items():
            model.get_parameter(name).add_(change.float())
    return model


cut_right = {}
for rank in (1, 4):
    best = {name: nearest_of_rank(change, rank) for name, change in update.items()}
    rest = {name: change - best[name] for name, change in update.items()}
    cut_right[rank] = [count_right(with_updates(u), who_test) for u in (best, rest)]
    show_right(f"rank {rank} of each update", cut_right[rank][0])
    show_right("  all the rest", cut_right[rank][1])
mixed = {name: shuffled(change) for name, change in update.items()}
mixed_right = count_right(with_updates(mixed), who_test)
show_right("the update, shuffled", mixed_right)

# %%
assert cut_right[4][0] > 0.9 * n_test and cut_right[4][1] < 0.1 * n_test
assert mixed_right < 0.1 * n_test

# %% [markdown]
# The first table of each matrix does what the whole update does, and the other 143 together do nothing. This is one narrow task on
# one small model, so take it as an example and not as a law. That it holds more widely is what Hu et al. (2021) supposed: «the change in weights during model adaptation
# also has a low “intrinsic rank”» (section 1). They had a reason. Aghajanyan et al. (2021) had fine-tuned a large RoBERTa with only 200 free numbers, thrown at random
# into all of its parameters, and reached 90 % of the full quality on a task of paraphrases.
#
# If the change is going to be low-rank anyway, why not *train* it that way?

# %% [markdown]
# ## One layer by hand
#
# Leave $W$ alone. Beside it put $A$ (rank, d_in) and $B$ (d_out, rank), and add what comes through them:
#
# $$y = W x + b + \frac{\alpha}{r}\, B A x$$
#
# This is **LoRA**, low-rank adaptation (section 4.1 of the paper), and $A$ and $B$ are an **adapter**. The number α divided by the rank scales it, so that
# a higher rank does not at once mean a larger change. Here with $d_{in} = 3$, $d_{out} = 2$, rank 1 and α = 2, as $A$ and $B$ might stand after some training:

# %%
x = [1.0, 2.0, 3.0]
W, bias = [[1.0, 0.0, -1.0], [2.0, 1.0, 0.0]], [0.5, -0.5]
a, b = [1.0, -1.0, 1.0], [3.0, -2.0]  # A has one row, B has one column
scale = 2.0 / 1

base_output = [
    sum(w * v for w, v in zip(W[i], x, strict=True)) + bias[i] for i in range(2)
]
low = sum(w * v for w, v in zip(a, x, strict=True))
by_hand = [base_output[i] + scale * b[i] * low for i in range(2)]
print("W x + b:", base_output, "  A x:", low, "  with the adapter:", by_hand)

# %% [markdown]
# The whole input goes through one number, $Ax = 1 - 2 + 3 = 2$. Work the second output yourself: $3.5 + 2 \cdot (-2) \cdot 2 = -4.5$.
# In torch, and then as the package's layer:

# %%
base = nn.Linear(3, 2).double()
base.load_state_dict({"weight": torch.tensor(W), "bias": torch.tensor(bias)})
x_row = torch.tensor([x], dtype=torch.float64)  # (1, d_in)
A_row = torch.tensor([a], dtype=torch.float64)  # (rank, d_in)
B_column = torch.tensor([b], dtype=torch.float64).T  # (d_out, rank)
with torch.no_grad():
    in_torch = base(x_row) + scale * x_row @ A_row.T @ B_column.T
assert in_torch.tolist() == [by_hand]

first = torch.Generator().manual_seed(0)
layer = minigpt.model.lora.LoRALinear(base, rank=1, alpha=2.0, generator=first)
with torch.no_grad():
    at_first = layer(x_row)
    assert torch.equal(at_first, base(x_row)), "a new adapter changes nothing"
    layer.lora_a.copy_(A_row)
    layer.lora_b.copy_(B_column)
    assert torch.allclose(layer(x_row), in_torch)
print("new:", at_first.tolist(), " with our A and B:", layer(x_row).tolist())

# %% [markdown]
# ### Why B begins at zero, and A does not
#
# A new adapter must not disturb the model, so $BA$ has to be zero. Zero in both would do that. What would they learn? By the chain rule $B$ gets its
# gradient through $Ax$, and $A$ gets its through $B$. (The $A$ and $B$ of above stand for random ones.)


# %%
def first_gradients(A: Tensor, B: Tensor) -> tuple[float, float]:
    """The lengths of the gradients of A and B, for the loss (y_1 - 1)² + (y_2 - 1)²."""
    A, B = A.clone().requires_grad_(), B.clone().requires_grad_()
    y = base(x_row).detach() + scale * x_row @ A.T @ B.T
    (y - 1).square().sum().backward()
    assert A.grad is not None and B.grad is not None
    return A.grad.norm().item(), B.grad.norm().item()


zero_a, zero_b = torch.zeros_like(A_row), torch.zeros_like(B_column)
starts = {
    "A random, B zero": (A_row, zero_b),
    "A zero, B random": (zero_a, B_column),
    "both zero": (zero_a, zero_b),
}
for name, start in starts.items():
    of_a, of_b = first_gradients(*start)
    print(f"{name:<17} gradient of A: {of_a:7.4f}   of B: {of_b:7.4f}")
assert first_gradients(zero_a, zero_b) == (0.0, 0.0)

# %% [markdown]
# With both at zero nothing ever moves: each waits for the other. One of the two must be random, and at the first step only the *other* learns. Which one is
# zero looks like a matter of taste, and is not quite. Hayou et al. (2024) find that a random $A$ with a zero $B$ bears higher learning rates and comes out better on average. That
# is the paper's choice, and ours.
#
# ### Exercise 3 · your adapter (★★★, 20 min)
#
# Write the layer from an empty cell. `Adapted(base, rank, alpha)` is given an `nn.Linear` and
#
# - keeps it as `base`, and freezes it: no gradient for its weight and its bias (it may have none),
# - has two parameters of the base's dtype, `lora_a` (rank, d_in), random (a standard deviation of $1/\sqrt{d_{in}}$ will do), and `lora_b` (d_out, rank), zero,
# - in `forward` computes $Wx + b + \frac{\alpha}{r} BAx$ for `x` of shape (…, d_in),
# - in `merged` returns a *new* `nn.Linear` that computes the same alone, with the adapter added to its weight. The adapted layer and its base stay
#   as they are, and may be merged again.


# %% tags=["exercise"]
class Adapted(nn.Module):
    """A frozen Linear with a low-rank adapter beside it."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        ### BEGIN SOLUTION
        super().__init__()
        self.base = base
        self.scale = alpha / rank
        for parameter in base.parameters():
            parameter.requires_grad_(False)
        d_out, d_in = base.weight.shape
        random = torch.randn(rank, d_in, dtype=base.weight.dtype) / math.sqrt(d_in)
        self.lora_a = nn.Parameter(random)
        self.lora_b = nn.Parameter(torch.zeros(d_out, rank, dtype=base.weight.dtype))
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_in) -> (..., d_out)."""
        ### BEGIN SOLUTION
        through = x @ self.lora_a.T @ self.lora_b.T  # by way of (..., rank)
        y: Tensor = self.base(x) + self.scale * through
        return y
        ### END SOLUTION

    def merged(self) -> nn.Linear:
        """One plain Linear that computes the same."""
        ### BEGIN SOLUTION
        plain = copy.deepcopy(self.base)
        with torch.no_grad():
            plain.weight.add_(self.scale * self.lora_b @ self.lora_a)
        return plain
        ### END SOLUTION


# %%
check.adapted_layer(Adapted)

# %% [markdown]
# ## Into the GPT
#
# `with_adapters` puts such a layer in place of every matrix of a kind, and tells what it found. That report is worth reading. Whoever picks
# the matrices by a pattern of names, as libraries do, may hit two of seven, and no error says so.

# %%
small = with_adapters(storyteller, rank=1, alpha=2.0)
for told in report(small).splitlines():
    print(textwrap.fill(told, 84, subsequent_indent="    "))
shapes = [tuple(before[name].shape) for name in names]
expected = sum(1 * (d_out + d_in) for d_out, d_in in shapes)
learned = sum(p.numel() for p in small.parameters() if p.requires_grad)
assert learned == expected == adapter_count(storyteller.config, rank=1)
few = who_test.ids[:20]
# in float64: float32 rounds otherwise on each processor
teller = copy.deepcopy(storyteller).double()
with torch.no_grad():
    new = with_adapters(teller, rank=1, alpha=2.0)(few)
    assert torch.allclose(new, teller(few), atol=1e-9)

# %% [markdown]
# At rank 1 it learns 6,912 numbers beside a million that stand still, and so far its answers are the storyteller's. Train it as before. The learning
# rate is ten times as high: $A$ and $B$ are not the weights, and what suits one need not suit the other. (About ten times is also what Schulman et al. (2025) find on large
# models.)

# %% tags=["nbval-ignore-output"]
fine_tune(small, who, steps=40, learning_rate=1e-2)
small_right = count_right(small, who_test)
show_right("all numbers", whole_right)
show_right("rank 1 in each matrix", small_right)

# %%
assert small_right > 0.8 * n_test
assert all(
    torch.equal(values, storyteller.state_dict()[name])
    for name, values in minigpt.model.lora.base_state(small).items()
)

# %% [markdown]
# 0.7 % of the numbers, and nearly the same answers. (Rank 1 was enough for queries and values in two tasks of the paper as well, section 7.2.) The last assertion looks at the base: not one of its bits has moved.
#
# ## What it saves
#
# AdamW keeps four numbers for each that it trains: the number itself, its gradient, and two running means (lesson 9). What is frozen needs only
# itself. Predict both models' memory before you go on.
#
# ### Exercise 4 · memory (★☆☆, 5 min)
#
# How many bytes does training with AdamW hold in float32, for a model with `frozen` numbers that stand still and `learned` ones that are trained?


# %% tags=["exercise"]
def bytes_held(frozen: int, learned: int) -> int:
    """Weights, gradients and AdamW's two means."""
    ### BEGIN SOLUTION
    return 4 * frozen + 16 * learned
    ### END SOLUTION


# %%
check.bytes_held(bytes_held)


# %%
def measured_bytes(model: GPT, optimizer: torch.optim.Optimizer) -> int:
    """What really lies in memory after a step, but for AdamW's counts of steps."""
    tensors = list(model.parameters())
    gradients = [p.grad for p in tensors if p.grad is not None]
    means = [v for state in optimizer.state.values() for v in state.values() if v.ndim]
    return sum(t.numel() * t.element_size() for t in [*tensors, *gradients, *means])


trial = {
    "all numbers": copy.deepcopy(storyteller),
    "rank 1": with_adapters(storyteller, rank=1, alpha=2.0),
}
predicted = {
    "all numbers": training_bytes(storyteller.config),
    "rank 1": training_bytes(storyteller.config, rank=1),
}
for name, model in trial.items():
    in_memory = measured_bytes(model, fine_tune(model, who, 1, learning_rate=1e-3))
    print(f"{name:<12} predicted {predicted[name]:10,} bytes, measured {in_memory:10,}")
    assert in_memory == predicted[name]
print(f"rank 1 needs {predicted['rank 1'] / predicted['all numbers']:.0%} of it")

# %% [markdown]
# A quarter, and it cannot get below that: the frozen numbers themselves stay. (For GPT-3 the paper reports 350 GB in place of 1.2 TB, section 4.2. A file of the adapter alone
# had 35 MB in place of 350 GB.)
#
# <div class="alert alert-warning">
# <b>You may have read</b> that LoRA trains under one percent of a model, and so takes under one percent of the work.
# It does not. The forward pass runs through every frozen matrix, and so does the gradient on its way back. What falls away
# is only the gradient <i>of</i> the frozen weights, a third of a step at most.
# </div>

# %%
from_test = who_test.pick(torch.arange(16))


def step_flops(model: GPT) -> tuple[int, int]:
    """Floating-point operations of the forward pass, and of a whole step."""
    with FlopCounterMode(display=False) as counter:
        loss = F.cross_entropy(answer_logits(model, from_test), from_test.answers)
        forward = counter.get_total_flops()
        loss.backward()
    return forward, counter.get_total_flops()


def kept_for_backward(model: GPT) -> int:
    """Bytes of what the forward pass keeps for the backward pass, without weights."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answer_logits(model, from_test)
    return sum(sizes.values())


work = {name: step_flops(model) for name, model in trial.items()}
for name, (forward, step_work) in work.items():
    print(
        f"{name:<12} forward {forward / 1e6:5.0f} million FLOPs, "
        f"whole step {step_work / 1e6:6.0f}"
    )
ratio = work["rank 1"][1] / work["all numbers"][1]
print(f"a step at rank 1 takes {ratio:.0%} of the work of a whole one")
assert work["rank 1"][0] > work["all numbers"][0] and 0.6 < ratio < 0.75

# %% [markdown]
# Forward it is even a little *more*: the adapter comes on top. (The package adds $BA$ to a copy of $W$ in each pass, which costs about as much as one more token at rank 1; a way of its own through $A$ and $B$ would cost
# each token something.) What does the clock say? And what becomes of the activations, which wait in memory for the backward pass?

# %% tags=["nbval-ignore-output"]
spent: dict[str, list[float]] = {name: [] for name in trial}
for _ in range(3):  # in turn, so that other work on this machine meets both
    for name, model in trial.items():
        began = time.process_time()
        fine_tune(model, who, 5, learning_rate=1e-4)
        spent[name].append(time.process_time() - began)
milliseconds = {name: min(seconds) / 5 * 1000 for name, seconds in spent.items()}
kept = {name: kept_for_backward(model) for name, model in trial.items()}
for name in trial:
    print(
        f"{name:<12} {milliseconds[name]:4.0f} ms a step, "
        f"{kept[name] / 1e6:.1f} MB kept for the backward pass"
    )

# %%
assert kept["rank 1"] > 0.9 * kept["all numbers"]
assert milliseconds["rank 1"] > 0.3 * milliseconds["all numbers"]

# %% [markdown]
# So a step gets somewhat faster, not a hundred times. (The paper reports 25 % more speed on GPT-3.) And the activations are nearly as large as before, because gradients have to travel
# through every layer, and the gradient of each $A$ and $B$ needs what came into its layer. With long texts and many rows they outweigh the rest. What LoRA saves is memory for what is trained, and files.

# %% [markdown]
# ## Which matrices?
#
# The paper put adapters on attention only, with an equal number of parameters for each choice, and found that a low rank on several matrices beats a high rank
# on one (section 7.1, table 5). Let us do the like: about 6,900 numbers, spread over all twelve matrices or put into one kind. Twenty steps are few, so that it shows
# who learns fast. Three seeds each, for $A$ and for the order of the questions. The percentages go from the lower end of the worst seed's interval to the upper end of the best one's.
# The last line is a control: a kind that does well, at rank 1, with an eighth of the numbers.

# %% tags=["nbval-ignore-output"]
choices: dict[str, tuple[int, tuple[LoRAMatrix, ...]]] = {
    "all twelve, rank 1": (1, ()),
    "qkv, rank 4": (4, ("qkv",)),
    "output, rank 8": (8, ("output",)),
    "down, rank 3": (3, ("down",)),
    "head alone, rank 3": (3, ("head",)),
    "output, rank 1": (1, ("output",)),
}
found: dict[str, list[int]] = {}
for name, (rank, on) in choices.items():
    found[name] = []
    for seed in range(3):
        model = with_adapters(storyteller, rank, alpha=2.0 * rank, on=on, seed=seed)
        fine_tune(model, who, steps=20, learning_rate=1e-2, seed=seed)
        found[name].append(count_right(model, who_test))
    low, high = wilson(min(found[name]), n_test)[0], wilson(max(found[name]), n_test)[1]
    size = adapter_count(storyteller.config, rank, on)
    print(f"{name:<20} {size:5,} numbers: {found[name]} right, {low:.0%} to {high:.0%}")

# %%
assert max(found["head alone, rank 3"]) < 0.2 * n_test
for name in ("all twelve, rank 1", "output, rank 8", "down, rank 3"):
    assert min(found[name]) > 0.7 * n_test

# %% [markdown]
# Each of the kinds inside the blocks that we tried does well on this question. Queries, keys and values came out a little behind, but where two intervals overlap, three seeds do not tell which is better. The head alone does not: it sees what the last block
# has made of the question mark, and if nothing has fetched the name by then, no change of the head brings it back. And at rank 1 the output matrices, which did so well, have not begun to answer
# after twenty steps: with fewer numbers and the same learning rate it takes longer, if it comes at all.
# Three seeds and one small question are a suggestion and no more. Others find on large models that adapters on attention alone stay behind, at equal numbers, and that all
# matrices should have one (Schulman et al. 2025). That is the default here: none named means all of the blocks.

# %% [markdown]
# ## Merged, and gone
#
# A trained adapter need not stay beside its matrix. $Wx + \frac{\alpha}{r} BAx$ is $(W + \frac{\alpha}{r} BA)\,x$: add the product to $W$ once, and a plain model is left.

# %%
plain = merged(small)
exact = copy.deepcopy(small).double()
with torch.no_grad():
    for name in names:
        adapted = exact.get_submodule(name.removesuffix(".weight"))
        assert isinstance(adapted, minigpt.model.lora.LoRALinear)
        added = adapted.scale * adapted.lora_b @ adapted.lora_a
        gap = plain.get_parameter(name) - (before[name] + added)
        assert float(gap.abs().max()) < 1e-5  # here 1e-7: plain is in float32
    assert torch.allclose(merged(exact)(few), exact(few), atol=1e-6)
assert sum(p.numel() for p in plain.parameters()) == parameter_count(storyteller.config)
assert step_flops(plain) == work["all numbers"]
print("merged: the same to 1e-6, with as many numbers and FLOPs as the base")

# %% [markdown]
# So at use it costs nothing. Older adapters put layers *between* the model's own, and these stay (section 4.1 of the paper, «No Additional Inference Latency»). The same section proposes to get the
# base back by subtracting the product. Keep the base all the same: not every number comes back. Rounding has taken its share:

# %%
weight = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
change = 0.01 * torch.rand(10_000, generator=torch.Generator().manual_seed(1))
lost = int(((weight + change) - change != weight).sum())
print(f"of 10,000 numbers in float32, {lost:,} do not come back to the last bit")

# %% [markdown]
# ## Many adapters, one base
#
# The other way is not to merge. Train a second adapter, for another question about the same openings: «What kind of animal is it?» Both read the same base, in the same memory.

# %% tags=["nbval-ignore-output"]
kind, kind_test = questions("kind", "train", 2000), questions("kind", "test", 300)
animal = with_adapters(storyteller, rank=1, alpha=2.0)
fine_tune(animal, kind, steps=40, learning_rate=1e-2)
animal_right = count_right(animal, kind_test)
show_right("what kind of animal", animal_right)
models = {"base": storyteller, "who": small, "what animal": animal}
for number in range(3):
    asked = who_test.pick(torch.tensor([number]))
    print(text_of(who_test, number))
    for name, model in models.items():
        with torch.no_grad():
            said = int(answer_logits(model, asked).argmax())
        print(f"    {name:<12}{tokenizer.decode([said])}")

# %%
assert animal_right > 0.8 * n_test
base_matrix = storyteller.get_parameter(names[0])
for model in (small, animal):
    theirs = model.get_parameter(names[0].replace(".weight", ".base.weight"))
    assert theirs.data_ptr() == base_matrix.data_ptr(), "the same place in memory"
assert count_right(storyteller, who_test) == 0, "and the base is what it was"

# %% [markdown]
# The question is not in the text: the adapter *is* the question. A server can keep one large model and hundreds of such pairs of strips, and take for each customer's text
# the one that belongs to it. On disk an adapter stands alone:

# %%
temporary = tempfile.TemporaryDirectory()
who_file = Path(temporary.name) / "who.safetensors"
save_adapter(who_file, small)
in_file, of_base = who_file.stat().st_size, 4 * parameter_count(storyteller.config)
print(
    f"the adapter's file: {in_file / 1000:.0f} kB; "
    f"the base's numbers: {of_base / 1000:,.0f} kB"
)
again = load_adapter(who_file, storyteller)
with torch.no_grad():
    assert torch.equal(again(few), small(few))

# %% [markdown]
# Alone it is worth nothing. $BA$ was learned *beside* a certain $W$; beside another it points anywhere. Shapes would not tell, because every model of this size has the same. So our file also holds
# a fingerprint of the base's weights. Here is a base in which one number has changed by a thousandth:

# %%
other_base = copy.deepcopy(storyteller)
with torch.no_grad():
    other_base.get_parameter(names[0])[0, 0] += 0.001
try:
    load_adapter(who_file, other_base)
    refused = False
except InputError as problem:
    refused = "belongs to another base model" in str(problem)
print("refused:", refused)
assert refused
temporary.cleanup()

# %% [markdown]
# So small a change may not matter. But nobody can say where mattering begins, and answers need not look broken to be worse.
#
# ### With the package (optional)
#
# `minigpt finetune --task mood --model storyteller --lora 8 --out runs/mood` does all this with one of the package's own tasks: it trains the adapters with `Trainer`, so that a run can be stopped
# and taken up again, and counts right answers before and after. `TrainConfig` has the same choices by name: `lora`, `lora_alpha`, `lora_on`.

# %% [markdown]
# ## What to remember
#
# 1. A matrix of rank r is r columns times r rows. It has r (d_out + d_in) numbers in place of d_out · d_in.
# 2. What fine-tuning changed here was nearly of rank 1 in each matrix, and the rest did nothing. Shuffled, the same numbers are not low-rank and do nothing either.
# 3. LoRA: y = W x + b + (α/r) B A x, with W frozen, A random, B zero. At first it changes nothing; with both at zero it never would.
# 4. It saves what training keeps for each number (here three quarters) and files. It saves at most a third of the arithmetic, and hardly any activations.
# 5. Merge it, and it costs nothing at use. Keep it apart, and one base serves many jobs. It belongs to that base and to no other.

# %% [markdown]
# ## Primary sources
#
# - Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models, sections 1, 4.1, 4.2, 7.1 and 7.2 (https://arxiv.org/abs/2106.09685)
# - Aghajanyan, Gupta and Zettlemoyer 2021, Intrinsic Dimensionality Explains the Effectiveness of Language Model Fine-Tuning (https://aclanthology.org/2021.acl-long.568)
# - Eckart and Young 1936, The approximation of one matrix by another of lower rank (https://doi.org/10.1007/BF02288367)
# - Hayou, Ghosh and Yu 2024, The Impact of Initialization on LoRA Finetuning Dynamics (https://arxiv.org/abs/2406.08447)
# - Schulman et al. 2025, LoRA Without Regret (https://thinkingmachines.ai/blog/lora/)
# - Radford et al. 2018, Improving Language Understanding by Generative Pre-Training (https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf)
# - Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference (https://doi.org/10.1080/01621459.1927.10502953)
#
# **Next** · [Lesson 18 · Preferences](18_preferences.ipynb): two answers, and which of them is better.
