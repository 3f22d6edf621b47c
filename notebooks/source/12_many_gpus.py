# %% [markdown]
# # Lesson 12 · Many GPUs
#
# Large models are trained on thousands of GPUs at once. You rehearse it here with two real processes on your own machine. One
# demand runs through the lesson: many processes must compute the numbers that one would.
#
# **You will be able to**
# - add up a gradient over several processes by hand, and train with them as if they were one,
# - use DistributedDataParallel, and say what it sends, and when,
# - divide a loss so that no process and no part of a batch counts too much,
# - work out what a thousand GPUs cost in traffic, memory, idle time and failures,
# - start a run on one machine, and read what several machines and Slurm need.
#
# **Time** 100 min
#
# **Builds on** [Torch and slopes](00b_torch_and_slopes.ipynb), sections 6, 7 and 10; [lesson 10](10_training_on_a_cpu.ipynb) (the training loop). [Lesson 9](09_loss_backprop_adamw.ipynb)
# (gradients, AdamW) and [lesson 11](11_training_on_a_gpu.ipynb) (one GPU) help; what is needed of them is recalled.
#
# ![The GPT in grey, and below it three copies side by side: each reads its own rows of the batch and finds its own part of the gradient; one bar under all of them, all-reduce, gives everyone the sum, and all take the same step](../figures/where_many_gpus.svg)

# %% tags=["setup"]
import contextlib
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import fields, replace
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.run import get_args_parser
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from minigpt.commands.training import Train
from minigpt.config import IGNORE, GPTConfig, TrainConfig, preset
from minigpt.course import check, plots, start_lesson
from minigpt.course.crew import Crew
from minigpt.model.feed_forward import FeedForward
from minigpt.model.gpt import GPT, flops_per_token, next_token_loss
from minigpt.text import stories
from minigpt.text.data import StoryData, TextData, storyteller_tokenizer
from minigpt.training.metrics import StepResult, read_metrics
from minigpt.training.shard import shard, whole
from minigpt.training.trainer import Trainer

start_lesson()

# %% [markdown]
# ## Three thousand years
#
# Llama 3 has 405 billion parameters, and its training took $3.8 \cdot 10^{25}$ floating-point operations. A GPU of that run did
# $400 \cdot 10^{12}$ of them in a second (Dubey et al. 2024, sections 1 and 3.3, table 4). How long would one GPU need?

# %%
HOUR, DAY, YEAR = 3600, 86400, 365.25 * 86400
operations, speed, parameters = 3.8e25, 400e12, 405e9
print(f"one GPU:     {operations / speed / YEAR:,.0f} years")
print(f"16,384 GPUs: {operations / speed / 16_384 / DAY:.0f} days, if nothing is lost")

# %% [markdown]
# And one GPU could not even begin. Training takes **16 bytes for each parameter**. Lesson 11 counted them in `minigpt`'s layout: 4 for the weight, 4 for its
# gradient, 8 for AdamW's two running averages. Large runs often keep the weight that the products use in 2 bytes, its gradient too, and leave a float32 copy to
# the optimiser: 2 + 2 + (4 + 8), 16 again. That is the count of Rajbhandari et al. (2020, section 3.1), and the one of this lesson.

# %%
print(f"the model in training: {16 * parameters / 1e12:.2f} TB; one H100 holds 0.08 TB")
print(f"GPUs needed only to hold it: {16 * parameters / 80e9:.0f}")

# %% [markdown]
# Two needs, then. Time: many GPUs must share the *work*. Memory: many GPUs must share the *model*. We take the work
# first, because there one idea is enough.

# %% [markdown]
# ## A gradient comes in parts
#
# The smallest model: one weight *w*, which guesses $y = w x$. The loss is the mean squared error over four examples,
# and its gradient is the mean of $2 (w x - y) x$. Anna takes the first two examples, Ben the last two.
#
# Work Ben's part out yourself before you read on. The weight is $w = 2$, his examples are (3, 5) and (4, 5), and he divides
# by 4, because the batch has four examples, whoever holds them.

# %%
w = 2.0
examples = [(1.0, 1.0), (2.0, 2.0), (3.0, 5.0), (4.0, 5.0)]  # the global batch: x and y


def part_of_gradient(rows: list[tuple[float, float]], w: float) -> float:
    """What these rows add to the gradient of the mean over the global batch of 4."""
    return sum(2 * (w * x - y) * x for x, y in rows) / 4


anna, ben = part_of_gradient(examples[:2], w), part_of_gradient(examples[2:], w)
assert anna == (2 * 1 * 1 + 2 * 2 * 2) / 4 and ben == (2 * 1 * 3 + 2 * 3 * 4) / 4
print(f"Anna: (2·1·1 + 2·2·2) / 4 = {anna}")
print(f"Ben:  (2·1·3 + 2·3·4) / 4 = {ben}")
print(f"sum:  {anna + ben}")

# %%
weight = torch.tensor(w, requires_grad=True)
x_of_four, y_of_four = torch.tensor(examples).T
((weight * x_of_four - y_of_four) ** 2).mean().backward()
assert weight.grad is not None and math.isclose(weight.grad.item(), anna + ben)
print(f"autograd, with all four examples at once: {weight.grad.item()}")

# %% [markdown]
# The gradient of a sum is the sum of the gradients. That is all there is to **data parallelism**: each process holds the same
# model, takes its rows of the global batch, and finds its part of the gradient. Then everyone needs the sum. An operation
# after which every process has the sum of what all of them held is called **all-reduce**.
#
# ```mermaid
# flowchart LR
#     B[global batch] --> A0[Anna: rows 0, 1] --> G0[part of the gradient] --> S((all-reduce))
#     B --> A1[Ben: rows 2, 3] --> G1[part of the gradient] --> S
#     S --> W0[Anna: the sum, a step]
#     S --> W1[Ben: the sum, the same step]
# ```
#
# Both began with the same weights and take the same step. So both end with the same weights, and nobody ever sends a weight.
#
# ### Exercise 1 · my rows (★☆☆, 5 min)
#
# The processes of a group are numbered from 0. The number is called **rank**, and how many there are is the **world size**.
# Write down which rows of the global batch belong to a rank: equal shares that follow each other, the first for rank 0. The
# number of rows is a multiple of the world size.


# %% tags=["exercise"]
def my_rows(batch: Tensor, rank: int, world_size: int) -> Tensor:
    """This process's rows (B / world_size, T) of the global batch (B, T)."""
    ### BEGIN SOLUTION
    share = len(batch) // world_size
    return batch[rank * share : (rank + 1) * share]
    ### END SOLUTION


# %%
check.my_rows(my_rows)

# %% [markdown]
# ## Two processes
#
# A **process** is a running program with a memory of its own. Large runs have one for each GPU. Anna and Ben become two of
# them here. What must a process know to find its group? Four things, which a launcher hands over as environment variables:
#
# - `RANK`: who am I?
# - `WORLD_SIZE`: how many are we?
# - `MASTER_ADDR` and `MASTER_PORT`: where do we meet? Rank 0 waits there.
#
# A `Crew` is the course's launcher (`minigpt/course/crew.py`). It starts n Python processes that differ in their rank, and keeps them at hand: each waits
# for the source code of a function, runs it, and answers with what it returned. If one dies, or does not answer within five minutes, it says so.

# %% [markdown]
# Here is an all-reduce with nothing hidden. Rank 0 opens a door at the meeting point, rank 1 knocks until it is open.
# Then each sends its part and adds what it received. Only `RANK` tells them apart.


# %%
def exchange(examples: list[tuple[float, float]], w: float) -> dict[str, float]:
    """All-reduce between two: each sends its number, and adds what comes."""
    rank = int(os.environ["RANK"])
    meeting_point = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    if rank == 0:
        with Listener(meeting_point) as door:
            line = door.accept()
    else:
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                line = Client(meeting_point)
                break
            time.sleep(0.01)
    mine = part_of_gradient(examples[2 * rank : 2 * rank + 2], w)
    line.send(mine)
    theirs = line.recv()
    return {"had": mine, "received": theirs, "sum": mine + theirs}


IMPORTS_OF_EXCHANGE = """
import contextlib, os, time
from multiprocessing.connection import Client, Listener
"""
pair_of_processes = Crew(2, IMPORTS_OF_EXCHANGE)
told = pair_of_processes.run(exchange, examples, w, needs=(part_of_gradient,))
for r, answer in enumerate(told):
    print(f"process {r}: {answer}")
pair_of_processes.dismiss()

# %% [markdown]
# Both know that the gradient is 10. In torch the meeting is `init_process_group`,
# which reads the same four variables, and the exchange is `all_reduce`. The library that carries the numbers is **gloo**
# between CPUs and **NCCL** between GPUs.

# %%
IMPORTS = """
import contextlib, json, math, os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from minigpt.config import IGNORE, GPTConfig
from minigpt.model.gpt import GPT, next_token_loss
from minigpt.text.data import StoryData, storyteller_tokenizer
from minigpt.training.shard import shard, whole

torch.set_num_threads(1)
dist.init_process_group("gloo")
"""


def exchange_with_torch(examples: list[tuple[float, float]], w: float) -> float:
    """The same all-reduce, by torch: in place, and the sum is everywhere."""
    rank = dist.get_rank()
    gradient = torch.tensor(part_of_gradient(examples[2 * rank : 2 * rank + 2], w))
    dist.all_reduce(gradient)
    return gradient.item()


crew = Crew(2, IMPORTS)
sums = crew.run(exchange_with_torch, examples, w, needs=(part_of_gradient,))
assert sums == [anna + ben] * 2
print("all_reduce on both processes:", sums)

# %% [markdown]
# ## Data parallel training in thirty lines
#
# Now a GPT on stories. The package asks three questions of torch and works alone as well: without a group the rank is 0, the
# world size is 1, and a sum over all processes is what you have.


# %% tags=["package:minigpt.runtime.rank"]
def rank() -> int:
    """Which of the run's processes this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


# %% tags=["package:minigpt.runtime.world_size"]
def world_size() -> int:
    """How many processes work on this run."""
    return dist.get_world_size() if dist.is_initialized() else 1


# %% tags=["package:minigpt.runtime.sum_over_processes"]
def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of what every process holds, in place; the same on each of them."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


# %% [markdown]
# Compare with the loop of lesson 10: four things are new, and each has its number.


# %%
def start() -> tuple[GPT, StoryData]:
    """1. Every process makes the same model, because all have the same seed."""
    torch.manual_seed(0)
    data = StoryData(storyteller_tokenizer(), context_length=192)
    config = GPTConfig(
        data.tokenizer.vocab_size, context_length=192, n_layers=1, n_heads=2, d_model=16
    )
    return GPT(config).double(), data  # double, to see how equal two runs are


def my_part(data: StoryData, step: int) -> tuple[Tensor, Tensor, int]:
    """2. The step decides the global batch. My rows of it; the targets in all rows."""
    inputs, targets = data.batch_at(step, batch_size=8)
    n_targets = int((targets != IGNORE).sum())  # padding does not count
    n, r = world_size(), rank()
    return inputs.chunk(n)[r], targets.chunk(n)[r], n_targets


def gradients(model: nn.Module) -> list[Tensor]:
    """Those of all parameters, after backward()."""
    return [p.grad for p in model.parameters() if p.grad is not None]


def train(steps: int) -> dict[str, list[float]]:
    """Train with as many processes as there are; return the losses and the weights."""
    model, data = start()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for step in range(steps):
        inputs, targets, n_targets = my_part(data, step)
        # 3. my sum, divided by the targets of all
        loss = next_token_loss(model(inputs), targets, n_targets)
        loss.backward()
        # 4. the only line in which the processes talk about gradients
        for gradient in gradients(model):
            sum_over_processes(gradient)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(sum_over_processes(loss.detach()).item())
    return {
        "losses": losses,
        "weights": parameters_to_vector(model.parameters()).tolist(),
    }


# %% [markdown]
# Run it alone, here in the notebook. Then let the two processes of the crew run the same function.

# %%
TRAINING = (  # what the crew must know besides
    rank, world_size, sum_over_processes, start, my_part, gradients
)  # fmt: skip
alone = train(5)
together = crew.run(train, 5, needs=TRAINING)

print("step   one process   two processes")
for step in range(5):
    print(f"{step:4}   {alone['losses'][step]:11.4f}", end="   ")
    print(f"{together[0]['losses'][step]:13.4f}")

# %% [markdown]
# The losses agree in every digit. The weights tell more: each mistake would add up in them.


# %%
def apart(weights: list[float], others: list[float]) -> float:
    """The largest difference between two models in any weight."""
    return max(abs(a - b) for a, b in zip(weights, others, strict=True))


of_0, of_1 = (trained["weights"] for trained in together)
print("two processes against one: 1e-12 apart at most:", end=" ")
print(apart(alone["weights"], of_0) < 1e-12)
print("weights of process 0 and of process 1 are the same bits:", of_0 == of_1)
assert apart(alone["weights"], of_0) < 1e-12 and of_0 == of_1

# %% [markdown]
# Two processes agree with each other to the last bit, since both receive one and the same sum. They agree with a single
# process only up to rounding, because floating-point sums depend on their order:

# %%
print((0.1 + 0.2) + 0.3, 0.1 + (0.2 + 0.3))

# %% [markdown]
# In float32 this shows around the seventh digit, and it grows as a run goes on. The package's tests demand that the losses of
# 1, 2 and 4 processes agree within 0.00001 there. (With dropout they would not: each process draws its own.)

# %% [markdown]
# ## DistributedDataParallel
#
# Our loop waits for the whole backward pass and then sends one small message for each parameter. PyTorch's
# **DistributedDataParallel**, DDP, computes the same and wastes less. It packs gradients into **buckets** of up to 25 MB,
# and sends a bucket as soon as it is full, while the backward pass still works on earlier layers (Li et al. 2020, section 3.2).
#
# One thing must be known: DDP takes the **mean** over the processes, not the sum. Our parts are already divided by all
# targets, so we multiply by the world size first. (The package multiplies the gradient afterwards, to the same effect: `minigpt/training/step.py`.)


# %%
def train_with_ddp(steps: int) -> dict[str, list[float]]:
    """The same training. DDP adds up the gradients during backward()."""
    model, data = start()
    network = DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for step in range(steps):
        inputs, targets, n_targets = my_part(data, step)
        loss = next_token_loss(network(inputs), targets, n_targets)
        (loss * world_size()).backward()  # DDP will divide by the world size
        optimizer.step()
        optimizer.zero_grad()
        losses.append(sum_over_processes(loss.detach()).item())
    return {
        "losses": losses,
        "weights": parameters_to_vector(model.parameters()).tolist(),
    }


by_ddp = crew.run(train_with_ddp, 5, needs=TRAINING)
print("DDP against one process: 1e-12 apart at most:", end=" ")
print(apart(alone["weights"], by_ddp[0]["weights"]) < 1e-12)
assert apart(alone["weights"], by_ddp[0]["weights"]) < 1e-12

# %% [markdown]
# <div class="alert alert-warning">
# <b>You may have read</b> that DistributedDataParallel sends the model to all GPUs at every step, or averages their weights.
# It sends weights once, when it is made, from rank 0 to the others. After that only gradients travel (and buffers, which
# a GPT has none of). The weights stay equal because equal weights take equal steps, and nothing would repair them if they were not.
# </div>
#
# ### Spoil a weight (optional)
#
# We try it. The two processes make *different* models, and DDP makes them equal. Then process 1 spoils one weight by adding 1
# to it. Three steps later:


# %%
def spoil() -> list[float]:
    """One weight: before DDP, with DDP, three steps after process 1 has spoilt it."""
    model, data = start()
    torch.manual_seed(rank())
    model.initialise()  # a different model on each process
    weight = model.position_embedding.weight
    seen = [weight[0, 0].item()]
    network = DistributedDataParallel(model)
    seen.append(weight[0, 0].item())
    with torch.no_grad():
        weight[0, 0] += rank()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        inputs, targets, n_targets = my_part(data, step)
        (next_token_loss(network(inputs), targets, n_targets) * world_size()).backward()
        optimizer.step()
        optimizer.zero_grad()
    seen.append(weight[0, 0].item())
    return seen


seen_by_0, seen_by_1 = crew.run(spoil, needs=TRAINING)
moments = ("before DDP", "with DDP", "spoilt, 3 steps later")
for moment, a, b in zip(moments, seen_by_0, seen_by_1, strict=True):
    print(f"{moment:<22} process 0: {a:7.4f}   process 1: {b:7.4f}")
assert seen_by_0[0] != seen_by_1[0] and seen_by_0[1] == seen_by_1[1]
assert math.isclose(seen_by_1[2] - seen_by_0[2], 1)

# %% [markdown]
# The spoilt weight is still 1 too large, and no error was raised. The two now train different models with a gradient that fits
# neither. That is why the package draws every batch from the step and the seed, and never lets a process decide something for
# itself that touches the weights.

# %% [markdown]
# ## Why the mean of the means is wrong
#
# DDP's mean looks like an invitation: let each process take the mean loss of its own rows, and DDP takes the mean of those.
# Work this example yourself first. Process 0 has three targets with costs 1, 1 and 4. Process 1 has one target, with cost 6.
# What is the mean loss per target?

# %%
costs = [[1.0, 1.0, 4.0], [6.0]]  # process 0, process 1
means = [sum(c) / len(c) for c in costs]
everything = [cost for c in costs for cost in c]
print(f"mean of the means: ({means[0]} + {means[1]}) / 2 = {sum(means) / 2}")
terms = " + ".join(f"{cost:g}" for cost in everything)
print(f"mean per target:   ({terms}) / 4 = {sum(everything) / 4}")

# %% [markdown]
# The mean of the means gives the single target of process 1 as much weight as the three of process 0 together. In our batches, too, processes have
# differently many targets: stories differ in length, and padding does not
# count. In fine-tuning it gets worse, because there often only the tokens of an answer count, and answers differ far more.
#
# <div class="alert alert-warning">
# <b>You may have read</b> that averaging the processes' mean losses (or those of the parts of a batch) gives the loss
# of the whole batch. It does so only where every part has the same number of targets. Otherwise loss and gradient are both
# wrong, and no number of further steps cures it.
# </div>
#
# How wrong is the gradient? We measure the length of the error against the length of the gradient, with four masks: equal ones; stories as they are; answers of
# random length at the end of each story, as in fine-tuning; and an extreme case, in which process 0 counts whole stories and process 1 five tokens of each.


# %%
model, data = start()
inputs, targets = data.batch_at(0, batch_size=8)


def flat_gradient(
    inputs: Tensor, targets: Tensor, n_targets: int | None = None
) -> Tensor:
    """The gradient as one vector, of the mean over `n_targets`, or over these rows."""
    model.zero_grad()
    next_token_loss(model(inputs), targets, n_targets).backward()
    return parameters_to_vector(gradients(model))


def relative_error(estimate: Tensor, truth: Tensor) -> float:
    """Length of the error over length of the truth."""
    return ((estimate - truth).norm() / truth.norm()).item()


lengths = (targets != IGNORE).sum(dim=1, keepdim=True)  # (B, 1): targets of each story
shortest = int(lengths.min())
position = torch.arange(targets.size(1))  # (T,)
dice = torch.Generator().manual_seed(0)
of_answers = torch.randint(3, 60, lengths.shape, generator=dice)  # (B, 1)
of_process_0 = torch.arange(len(targets))[:, None] < 4  # (B, 1)
masks = {  # (B, T): what counts
    "equal masks": position < shortest,
    "stories as they are": position < lengths,
    "answers of 3 to 59 tokens": position >= lengths - of_answers,
    "process 1 counts 5 tokens a row": of_process_0 | (position >= lengths - 5),
}
errors: dict[str, float] = {}
for which, counts in masks.items():
    masked = targets.where(counts, IGNORE)
    halves = list(zip(inputs.chunk(2), masked.chunk(2), strict=True))
    n_counted = [int((half != IGNORE).sum()) for _, half in halves]
    truth = flat_gradient(inputs, masked)
    own_means = [flat_gradient(*half) for half in halves]
    own_parts = [flat_gradient(*half, sum(n_counted)) for half in halves]
    errors[which] = relative_error((own_means[0] + own_means[1]) / 2, truth)
    print(f"{which:<32} targets {n_counted}   error {errors[which]:.4f}")
    assert relative_error(own_parts[0] + own_parts[1], truth) < 1e-12
    assert (errors[which] < 1e-12) == (n_counted[0] == n_counted[1])
# with other lengths of the answers, twelve draws: 0.03 to 0.21
assert 0.01 < errors["answers of 3 to 59 tokens"] < 0.3
assert errors["process 1 counts 5 tokens a row"] > 1

# %% [markdown]
# With equal masks there is no error. Stories give a small one, which nobody would notice. Answers of random length give more: in twelve draws of the lengths it was 3% to 21%. In the extreme case
# the error is larger than the gradient itself. And in every case the sum of the parts, each divided by the
# targets of *all* processes, is exact: the cell asserts it.
#
# The mistake is an easy one to make. In gradient accumulation it sat in widely used training libraries until October 2024
# (Hugging Face, *Fixing Gradient Accumulation*).
#
# ### Exercise 2 · a loss for DDP (★★☆, 10 min)
#
# A process knows the *mean* loss over its own `n_mine` targets, the number `n_all` of targets in the global batch, and the
# world size. What must it call `backward()` on, so that DDP's mean over the processes is the gradient of the global loss?
# Check with the example above: the two results must have a mean of 3.


# %% tags=["exercise"]
def loss_for_ddp(mean_loss: float, n_mine: int, n_all: int, world_size: int) -> float:
    """What this process calls backward() on."""
    ### BEGIN SOLUTION
    return mean_loss * n_mine / n_all * world_size
    ### END SOLUTION


# %%
check.loss_for_ddp(loss_for_ddp)

# %% [markdown]
# ## Parts of a batch, and when to talk
#
# If a process's rows do not fit into its memory, it takes them in parts and lets `backward()` add up the gradients: **gradient
# accumulation**. The division is as before, by the targets of the whole global batch, so again nothing changes in the result.
#
# But DDP sends gradients in *every* backward pass. Of four parts, three are sent too early: one sum at the end is enough. The
# context `no_sync()` switches the sending off. We count what is sent, with a hook that DDP calls for every bucket.


# %%
def accumulate(parts: int, always_send: bool) -> dict[str, Any]:
    """One batch in parts: the gradient, and how many numbers went to all-reduce."""
    model, data = start()
    network = DistributedDataParallel(model)
    sent: list[int] = []

    def count(group: Any, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        sent.append(bucket.buffer().numel())
        return allreduce_hook(group, bucket)  # what DDP does without a hook

    network.register_comm_hook(None, count)
    inputs, targets, n_targets = my_part(data, 0)
    rows = zip(inputs.chunk(parts), targets.chunk(parts), strict=True)
    for part, (x, y) in enumerate(rows, start=1):
        wait = part < parts and not always_send
        # around the forward pass too
        with network.no_sync() if wait else contextlib.nullcontext():
            loss = next_token_loss(network(x), y, n_targets)
            (loss * world_size()).backward()
    found = parameters_to_vector(gradients(model))
    return {"sent": sum(sent), "gradient": found.tolist()}


undivided = flat_gradient(inputs, targets).tolist()
P = len(undivided)
for parts, always_send in ((1, True), (4, True), (4, False)):
    by_rank_0 = crew.run(accumulate, parts, always_send, needs=TRAINING)[0]
    how = "sent at every part" if always_send else "no_sync() until the last"
    sends = by_rank_0["sent"] / P
    print(f"parts: {parts}, {how:<25} numbers sent for each parameter: {sends:.0f}")
    assert apart(by_rank_0["gradient"], undivided) < 1e-12
    assert sends == (parts if always_send else 1)

# %% [markdown]
# Three ways, one gradient (asserted against the undivided batch), and a quarter of the traffic. The forward pass must stand
# inside `no_sync()` as well: DDP decides there whether it will send.

# %% [markdown]
# ## What a sum costs: the ring
#
# With two processes the exchange was easy: each sends everything to the other. With a thousand GPUs each would send its gradient 999 times. There is a better way, and it needs no more than
# a circle in which each process talks to its right neighbour only.
#
# **Cut the gradient into N chunks, and let the sums travel.** Three processes; the first holds 1 in every chunk, the second
# 10, the third 100. So the digits of a number show who is in it, and 111 is a finished sum.


# %%
def show(moment: str, held: list[list[int]]) -> None:
    """What every process holds: a list of chunks for each."""
    rows = [" ".join(f"{chunk:3}" for chunk in chunks) + " " for chunks in held]
    print(f"{moment:<12}" + "   ".join(rows))


three = [[10**r] * 3 for r in range(3)]  # (process, chunk)
print(" " * 12 + "   ".join(f"process {r}   " for r in range(3)))
show("at first", three)
for step in range(2):
    # everyone sends one chunk, at the same time
    messages = [three[r][(r - step) % 3] for r in range(3)]
    for r in range(3):
        left = (r - 1) % 3
        three[r][(left - step) % 3] += messages[left]  # and adds what comes
    show(f"after step {step}", three)

# %% [markdown]
# Process 0 sends its chunk 0, a 1, to process 1, which makes 11 of it. Process 1 passes the 11 on, and
# process 2 makes it 111. At the same time the other chunks travel the same way, one place apart. After N − 1 steps every
# chunk is complete somewhere: process r holds chunk (r + 1) mod N. This half is called **reduce-scatter**.
#
# In the second half, **all-gather**, the finished chunks go round once more, and now they are not added but copied.
#
# ![Three rows for the three processes and five columns for the moments: arrows from each process to the next carry one chunk at a time; after two steps each process has one finished chunk 111, after four steps all three](../figures/ring_all_reduce.svg)
#
# ### Exercise 3 · a step of the all-gather (★★★, 15 min)
#
# Write one step of the second half. In step 0 process r sends its finished chunk, number (r + 1) mod N, to its right
# neighbour, which puts it in place of its own. In every later step it sends on the chunk that it received in the step before:
# which number has that one? All send at the same time. Return new lists and leave those you were given alone.


# %% tags=["exercise"]
def gather_step(held: list[list[float]], step: int) -> list[list[float]]:
    """What each process holds after this step; held[r][c] is chunk c of process r."""
    ### BEGIN SOLUTION
    n = len(held)
    after = [list(chunks) for chunks in held]
    for r in range(n):
        chunk = (r + 1 - step) % n
        after[(r + 1) % n][chunk] = held[r][chunk]
    return after
    ### END SOLUTION


# %%
check.gather_step(gather_step)

# %% [markdown]
# The whole ring, for vectors of any length. One formula serves both halves: in step s, process r sends chunk (r − s) mod N.
# We count what each process sends.


# %%
def ring_all_reduce(vectors: list[Tensor]) -> tuple[list[Tensor], list[int]]:
    """The sum, as every process holds it in the end, and how much each has sent."""
    n = len(vectors)
    held = [list(vector.tensor_split(n)) for vector in vectors]
    sent = [0] * n
    for step in range(2 * (n - 1)):
        messages = [held[r][(r - step) % n] for r in range(n)]
        for r in range(n):
            chunk, message = (r - 1 - step) % n, messages[r - 1]
            adds = step < n - 1  # in the second half it copies
            held[r][chunk] = held[r][chunk] + message if adds else message
            sent[r] += messages[r].numel()
    return [torch.cat(chunks) for chunks in held], sent


print("processes   sent by each, in gradients   2 (N - 1) / N")
dice = torch.Generator().manual_seed(0)
for n in (2, 3, 4, 8, 64):
    vectors = torch.randn(n, 960, generator=dice, dtype=torch.float64)
    results, sent = ring_all_reduce(list(vectors))
    assert all(torch.allclose(result, vectors.sum(dim=0)) for result in results)
    assert set(sent) == {2 * (n - 1) * 960 // n}
    print(f"{n:9}   {sent[0] / 960:26.4f}   {2 * (n - 1) / n:13.4f}")

# %% [markdown]
# However many processes there are, each sends less than *two gradients*:
#
# $$\text{bytes sent by each process} = 2\,\frac{N-1}{N} \cdot \text{bytes of the gradient}$$
#
# Patarasuk and Yuan (2009) showed that no all-reduce can do with less, as long as the processes do the adding, and Horovod (Sergeev and Del Balso 2018) made the ring
# popular for training. Its weakness is the number of steps, 2 (N − 1), each of which takes at least the time of one message.
# So for small messages NCCL may choose trees. And where the switch between the GPUs can add (NVIDIA's NVLink SHARP), each sends its gradient once and receives the sum.

# %%
sizes = [2**i for i in range(1, 11)]
plots.curves(
    {
        "everyone to everyone, N - 1": (sizes, [n - 1 for n in sizes]),
        "ring, 2 (N - 1) / N": (sizes, [2 * (n - 1) / n for n in sizes]),
    },
    "processes N",
    "gradients sent by each process",
    log="xy",
)

# %% [markdown]
# ## How much faster?
#
# <div class="alert alert-warning">
# <b>You may have read</b> that N GPUs train N times as fast. Two come close. With a fixed global batch each further GPU has less to
# compute, while the sum takes as long as before, and in the end the GPUs only wait for each other.
# </div>
#
# Take GPT-2's smallest model, half a million tokens in the global batch, GPUs at $400 \cdot 10^{12}$ operations a second, and
# a network of 50 GB/s for each (400 Gbit/s, as in Llama 3's cluster). A gradient in float32 has 4 bytes for each parameter. DDP
# hides what it can: the sum runs beside the backward pass, which is two thirds of the work. (`torch.compile` can spoil that: a whole model that is compiled as one
# hands over all gradients at the end of its backward pass. So with several processes `minigpt` compiles block by block.)

# %%
gpt2 = GPTConfig()
bandwidth = 50e9
work = flops_per_token(gpt2, gpt2.context_length) * 2**19  # FLOPs of a step
gradient_bytes = 4 * 124_439_808


def step_seconds(n: int, overlap: bool) -> float:
    """A step with n GPUs: compute, and the ring after or beside the backward pass."""
    compute, traffic = work / speed / n, 2 * (n - 1) / n * gradient_bytes / bandwidth
    beside = compute / 3 + max(compute * 2 / 3, traffic)
    return beside if overlap else compute + traffic


one_gpu = step_seconds(1, overlap=True)
print("GPUs   speed-up, sum afterwards   sum beside backward")
gpus = [2**i for i in range(10)]  # up to 512, one sequence of 1,024 tokens for each
afterwards = [round(one_gpu / step_seconds(n, False), 2) for n in gpus]
beside = [round(one_gpu / step_seconds(n, True), 2) for n in gpus]
for i in (1, 3, 6, 9):
    print(f"{gpus[i]:4}   {afterwards[i]:24.1f}   {beside[i]:19.1f}")
assert beside[-1] < 100
plots.curves(
    {
        "N times as fast": (gpus, gpus),
        "sum beside the backward pass": (gpus, beside),
        "sum after it": (gpus, afterwards),
    },
    "GPUs",
    "speed-up",
    log="xy",
)

# %% [markdown]
# So the work of each GPU must last longer than the sum. How much is enough? For P parameters and b tokens on each GPU, the
# backward pass takes $4 P b / \text{speed}$, and the ring $2 \cdot 4 P / \text{bandwidth}$. **P cancels**: whether the sum
# can hide does not depend on the size of the model.

# %%
enough = 2 * speed / bandwidth
print(f"tokens on each GPU so that the sum hides: {enough:,.0f}")
each = 16 * 2**20 / 16_384
print(f"Llama 3: 16M tokens in a batch, on 16,384 GPUs: {each:,.0f} each")

# %% [markdown]
# This leaves out every other cost, and still shows the wall: with 1,024 tokens each, 16,384 copies of the model would mostly wait for the sum. Why
# not a larger batch? Past some size it hardly improves the gradient: McCandlish et
# al. (2018) predict that size from the *gradient noise scale*. In `minigpt`, `--batch-size` is the *global* batch. More GPUs
# compute the same run faster. A larger batch is another run, and wants another learning rate (Goyal et al. 2017).

# %% [markdown]
# ## A thousand GPUs: share the model
#
# Data parallelism keeps 16 bytes for each parameter on *every* GPU. For Llama 3 that was 6.48 TB. Three ways to cut the model
# are in use, and large runs combine them: sharding shares out what each weight needs, first of all the optimiser's numbers;
# **tensor parallelism** cuts each layer; **pipeline parallelism** cuts between layers.
#
# ### Cut the optimiser: sharding
#
# After the first half of the ring, process r holds one finished chunk of the gradient. To update *that chunk
# of the weights* it needs nothing else. So let it do only that, and send weights round in the second half instead of
# gradients. The traffic is the same, and AdamW's 12 bytes are needed only for 1/N of the parameters. This is **ZeRO**
# (Rajbhandari et al. 2020), stage 1. Here it is in our loop:


# %%
def train_sharded(steps: int) -> dict[str, Any]:
    """Data parallel, and each process runs AdamW for its own share of the weights."""
    model, data = start()
    weights = parameters_to_vector(model.parameters()).detach()  # (P,)
    my_weights = weights.chunk(world_size())[rank()].clone()  # (P / world_size,)
    share = nn.Parameter(my_weights)
    optimizer = torch.optim.AdamW([share], lr=1e-2)
    for step in range(steps):
        inputs, targets, n_targets = my_part(data, step)
        model.zero_grad()
        next_token_loss(model(inputs), targets, n_targets).backward()
        gradient = parameters_to_vector(gradients(model))
        share.grad = torch.empty_like(share)
        # the sum, of my share only
        dist.reduce_scatter(share.grad, list(gradient.chunk(world_size())))
        optimizer.step()
        shares = [torch.empty_like(share) for _ in range(world_size())]
        dist.all_gather(shares, share.detach())  # everyone's new weights
        vector_to_parameters(torch.cat(shares), model.parameters())
    means = [mean for mean in optimizer.state[share].values() if mean.dim()]
    trained = parameters_to_vector(model.parameters()).tolist()
    return {"weights": trained, "kept": sum(mean.numel() for mean in means)}


sharded = crew.run(train_sharded, 5, needs=TRAINING)
print("sharded against one process: 1e-12 apart at most:", end=" ")
print(apart(alone["weights"], sharded[0]["weights"]) < 1e-12)
kept = sharded[0]["kept"] / P
print(f"AdamW keeps {kept:.0f} number a parameter on each process, instead of 2")
assert apart(alone["weights"], sharded[0]["weights"]) < 1e-12 and kept == 1

# %% [markdown]
# Equal again, with half the optimiser's memory on each process. In stage 2 a process keeps only its own share of the gradients as well.
# In stage 3 it also keeps only its own share of the weights, and gathers each layer's just before it is needed, forward and
# backward. That costs half as much traffic again (section 7 of the paper). PyTorch calls it **FSDP** (Zhao et al. 2023), and `minigpt train --shard` uses it.
#
# ### All in shards (optional)
#
# Here is stage 3 in our loop, by the package's own `shard`. Like DDP it takes the mean over the processes.


# %%
def train_in_shards(steps: int) -> dict[str, Any]:
    """ZeRO, stage 3: weights, gradients and AdamW's means, all in shards."""
    model, data = start()
    shard(model)  # the package's: each block by itself, then the rest
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(steps):
        inputs, targets, n_targets = my_part(data, step)
        optimizer.zero_grad()
        loss = next_token_loss(model(inputs), targets, n_targets)
        (loss * world_size()).backward()
        optimizer.step()
    parameters = list(model.parameters())
    held = [*parameters, *gradients(model)]
    for parameter in parameters:
        held += [mean for mean in optimizer.state[parameter].values() if mean.dim()]
    mine = [tensor.to_local() for tensor in held if isinstance(tensor, DTensor)]
    everything = torch.cat([whole(parameter).flatten() for parameter in parameters])
    kept = sum(tensor.numel() for tensor in mine)
    return {"weights": everything.tolist(), "kept": kept}


in_shards = crew.run(train_in_shards, 5, needs=TRAINING)
print("in shards against one process: 1e-12 apart at most:", end=" ")
print(apart(alone["weights"], in_shards[0]["weights"]) < 1e-12)
by_each = sum(answer["kept"] for answer in in_shards) / P / 2
print(f"each process keeps {by_each:g} numbers a parameter, instead of 4")
assert apart(alone["weights"], in_shards[0]["weights"]) < 1e-12 and by_each == 2

# %% [markdown]
# A weight, its gradient and two means are four numbers for each parameter, in float32 16 bytes. With N processes each of them keeps 16 / N.
#
# ### Exercise 4 · bytes on each GPU (★★☆, 10 min)
#
# Many runs add gradients up in float32, Llama 3's for one. Then it is 2 bytes for the weight, **4** for the gradient and 12 for AdamW. P parameters, N GPUs: write how many bytes one
# GPU holds. Stage 0 shares nothing, stage 1 the optimiser's, stage 2 also the gradients, stage 3 also the weights.


# %% tags=["exercise"]
def bytes_per_gpu(parameters: float, n: int, stage: int) -> float:
    """Bytes on each of n GPUs, sharded up to a stage of ZeRO, 0 to 3."""
    ### BEGIN SOLUTION
    weights = 2 / n if stage >= 3 else 2
    gradients = 4 / n if stage >= 2 else 4
    adamw = 12 / n if stage >= 1 else 12
    return parameters * (weights + gradients + adamw)
    ### END SOLUTION


# %%
check.bytes_per_gpu(bytes_per_gpu)

# %% [markdown]
# ### Cut a layer: tensor parallelism (optional)
#
# Take the feed-forward network of lesson 6: `down(GELU(up(x)))`. Its hidden numbers do not see each other. So one GPU can
# compute the first half of them, another the second half, each with half of both matrices, and the two outputs add up. (The
# bias of `down` must be added once.)

# %%
torch.manual_seed(0)
network = FeedForward(GPTConfig(d_model=8, n_heads=2)).double()
stream = torch.randn(3, 8, dtype=torch.float64)  # three tokens, (T, d_model)

ups, up_biases = network.up.weight.chunk(2), network.up.bias.chunk(2)
downs = network.down.weight.chunk(2, dim=1)
outputs = []
for half in range(2):  # (T, d_ff / 2), then (T, d_model)
    hidden = F.gelu(stream @ ups[half].T + up_biases[half], approximate="tanh")
    outputs.append(hidden @ downs[half].T)
joined = outputs[0] + outputs[1] + network.down.bias
assert torch.allclose(joined, network(stream))
print("two half networks, added up, equal the whole one:", end=" ")
print(torch.allclose(joined, network(stream)))

# %% [markdown]
# That `+` is an all-reduce. Attention is cut the same way, some heads for each GPU. This is Megatron's scheme (Shoeybi et al.
# 2019, section 3): two all-reduces for each block forward and two backward, each of $d_{model}$ numbers for every token. That
# is a lot of talk. Take a sequence of 8,192 tokens in Llama 3, with 8 GPUs for each layer and its 126 layers on 16 such groups:

# %%
# ring of 8; tokens × d_model, 2 bytes each
all_reduce_bytes = 2 * 7 / 8 * 8192 * 16_384 * 2
each_gpu = 4 * 126 / 16 * all_reduce_bytes
compute = 6 * parameters * 8192 / (8 * 16) / speed
print(f"each GPU sends {each_gpu / 1e9:.1f} GB and computes for {compute:.2f} s")
print(f"at 50 GB/s, between machines:     {each_gpu / 50e9:.2f} s")
print(f"at 450 GB/s, inside one machine:  {each_gpu / 450e9:.2f} s")

# %% [markdown]
# Over the network the talk would take nearly as long as the work. Inside a machine, H100s are joined by NVLink, 450 GB/s each
# way (900 both ways, says NVIDIA's data sheet). Hence the rule: tensor parallelism stays within a machine, and a machine has
# 8 GPUs.
#
# ### Cut between layers: pipeline parallelism (optional)
#
# The first GPUs take the first layers, the next take the next, like an assembly line. Only $d_{model}$ numbers for each token
# travel from one to the next. But a line must fill and drain. GPipe (Huang et al. 2019) cuts the batch into m
# *micro-batches* so that all stages soon have something to do. Each row is a stage, each column a moment; digits are
# micro-batches, first forward, then backward, and a dot is a GPU that waits.


# %%
def pipeline(stages: int, micro_batches: int) -> list[str]:
    """GPipe's schedule, where forward and backward take one moment each."""
    length = 2 * (micro_batches + stages - 1)
    rows = [["·"] * length for _ in range(stages)]
    for stage, row in enumerate(rows):
        for i in range(micro_batches):
            # the way back is the way there, mirrored
            row[stage + i] = row[length - 1 - stage - i] = str(i)
    return ["".join(row) for row in rows]


for m in (1, 4, 8):
    schedule = pipeline(4, m)
    idle = "".join(schedule).count("·") / len("".join(schedule))
    print(f"{m} micro-batch{'es' * (m > 1)}: idle {idle:.0%}")
    print(*schedule, "", sep="\n")
    assert math.isclose(idle, (4 - 1) / (m + 4 - 1))

# %% [markdown]
# The share of waiting is called the **bubble**, and it is $(p-1)/(m+p-1)$ for p stages. More micro-batches help, but each
# must have at least one sequence. Narayanan et al. (2021) give each GPU several short pieces of the line instead of one long
# piece, which makes the bubble smaller again.
#
# ### Together: Llama 3 (optional)
#
# 16,384 GPUs = 8 (tensor) × 16 (pipeline) × 128 (data). Each copy of the model lives on 128 GPUs, and 128 copies share the batch.
# With gradients in float32, as in exercise 4, a parameter takes 2 + 4 + 12 bytes.

# %%
on_each = parameters / (8 * 16)  # parameters on each GPU
print(f"GPUs: {8 * 16 * 128:,}; parameters on each: {on_each / 1e9:.2f} billion")
alone_on_it, shared = (2 + 4 + 12) * on_each, (2 + 4 + 12 / 128) * on_each
print(f"18 bytes each, without activations:  {alone_on_it / 1e9:.1f} GB of 80")
print(f"optimiser shared by the 128 copies:  {shared / 1e9:.1f} GB")
print(f"tokens for each copy of the model:   {16 * 2**20 / 128:,.0f};", end=" ")
print(f"the sum hides from {enough:,.0f} on")

# %% [markdown]
# ### What fails (optional)
#
# In 54 days of that training, 419 interruptions were unexpected, most of them from hardware (Dubey et al. 2024, section
# 3.3.4, table 5). How reliable is one GPU?

# %%
between_failures = 54 * DAY / 419
print(f"an interruption every {between_failures / HOUR:.1f} hours")
print(f"for each GPU: one in {16_384 * between_failures / YEAR:.1f} years")

# %% [markdown]
# A GPU that fails once in several years is good hardware, and of 16,384 one fails every few hours. All wait for all at each
# all-reduce, so one dead process halts the run. It must be noticed, replaced, and the run goes on from a **checkpoint**. How
# often should one be written? If it takes δ and failures come every M on average, saving every τ costs the share δ/τ. A
# failure throws away τ/2 on average, so it costs τ/(2M). The sum is smallest where both are equal: $\tau = \sqrt{2 \delta M}$
# (Young 1974). Let δ be one minute:

# %%
saving = 60.0
best = math.sqrt(2 * saving * between_failures)
lost = saving / best + best / (2 * between_failures)
print(f"a checkpoint every {best / 60:.0f} minutes; {lost:.0%} of the time is lost")
minutes = [4, 6, 8, 10, 15, 20, 25, 30, 40, 50, 60]
for_saving = [saving / (60 * t) for t in minutes]
done_again = [60 * t / (2 * between_failures) for t in minutes]
both = [a + b for a, b in zip(for_saving, done_again, strict=True)]
plots.curves(
    {
        "saving": (minutes, [round(part, 4) for part in for_saving]),
        "work done again": (minutes, [round(part, 4) for part in done_again]),
        "both": (minutes, [round(part, 4) for part in both]),
    },
    "minutes between two checkpoints",
    "share of the time lost",
)

# %% [markdown]
# The best interval costs $\sqrt{2 \delta / M}$, so the cure is to save faster: in a tenth of the time, the loss is divided by
# three ($\sqrt{10}$). The paper reports that more than 90% of the run's time was spent on training.

# %% [markdown]
# ## The commands
#
# ### One machine
#
# `torchrun` comes with PyTorch. It starts the processes, sets the four variables, and if one dies it ends the others.
# `minigpt` needs nothing else. We run the real thing, with two processes on the CPU, on a file of stories, letter by letter. (`--local-addr`, because `torchrun` looks the
# machine's own name up, and where nobody knows it, as on a laptop off the network, it waits for ever.)

# %%
crew.dismiss()
place = tempfile.TemporaryDirectory()  # gone when the kernel ends
folder = Path(place.name)
elsewhere = os.environ | {"MINIGPT_CACHE": str(folder / "cache")}  # for token files
text = folder / "stories.txt"
text.write_text(
    "\n".join(stories.story_at("train", i).text for i in range(100)), encoding="utf-8"
)

recipe = "--preset tiny --tokenizer char --context-length 64 --max-steps 10 "
recipe += "--save-every 5 --precision float32 --threads 1"
# torchrun by its long name; the address helps where a machine's own name is unknown
launcher = "-m torch.distributed.run --standalone --local-addr=127.0.0.1"
launcher += " --nproc-per-node=2"
where = ["--data", str(text), "--device", "cpu", "--out", str(folder / "pair")]
command = [sys.executable, *f"{launcher} -m minigpt train {recipe}".split(), *where]
try:
    done = subprocess.run(
        command, capture_output=True, text=True, env=elsewhere, timeout=300
    )
except subprocess.TimeoutExpired:
    raise RuntimeError("two processes did not take 10 steps in 300 s") from None
assert done.returncode == 0, done.stderr
print(done.stdout.partition(" on ")[0])

# %% [markdown]
# The same recipe in this one process, from the token file that the two have made:

# %%
tokens = TextData(next((folder / "cache").glob("text-*")), context_length=64)
tiny = preset("tiny")
model_config = replace(
    tiny.model, vocab_size=tokens.tokenizer.vocab_size, context_length=64
)
train_config = replace(
    tiny.train, max_steps=10, save_every=5, precision="float32", threads=1
)
lines: list[StepResult] = []
Trainer(model_config, train_config, tokens).run(on_step=lines.append, progress=False)

of_one = [line.loss for line in lines]
of_pair = [line["loss"] for line in read_metrics(folder / "pair")]
print("losses of all 10 steps within 0.00001:", apart(of_one, of_pair) < 1e-5)
assert len(of_pair) == 10 and apart(of_one, of_pair) < 1e-5

# %% [markdown]
# Now a machine breaks, and the last checkpoint with it. What is left is the checkpoint of step 5, written by two processes.
# Today there is only one process. Does the run go on as if nothing had happened?

# %%
shutil.rmtree(folder / "pair" / "checkpoints" / "step-00000010")
trainer = Trainer.resume(folder / "pair", tokens)
print("going on from step", trainer.step)
rest: list[StepResult] = []
trainer.run(on_step=rest.append, progress=False)
again = [line.loss for line in rest]
print("losses of steps 6 to 10 within 0.00001:", apart(of_one[5:], again) < 1e-5)
assert apart(of_one[5:], again) < 1e-5

# %% [markdown]
# A checkpoint does not care how many processes wrote it, because nothing in it belongs to one of them: the global batch is a
# function of the step, and all ranks hold the same weights.
#
# ### Several machines, and Slurm (optional)
#
# With several machines the same command runs on each. `--rdzv-endpoint` names one of them, where all meet. The code, the data
# and the folder of the run must be on a disk that all machines see. `tokens` is a folder that `minigpt data prepare` has made.

# %%
ONE_MACHINE = """
torchrun --standalone --nproc-per-node=8
    -m minigpt train --preset gpt2-8 --data tokens --out run
"""
SEVERAL_MACHINES = """
torchrun --nnodes=4 --nproc-per-node=8
    --rdzv-backend=c10d --rdzv-endpoint=first-machine:29500 --rdzv-id=my-run
    -m minigpt train --preset gpt2 --data tokens --batch-size 512 --accumulate 1
    --out run
"""

flags = {
    field.name for kind in (Train, GPTConfig, TrainConfig) for field in fields(kind)
}
for written in (ONE_MACHINE, SEVERAL_MACHINES):
    # torchrun's own reading of the line
    asked = get_args_parser().parse_args(shlex.split(written)[1:])
    assert asked.training_script == "minigpt" and asked.module
    machines = asked.nnodes.split(":")[-1]
    print("machines:", machines, "processes on each:", asked.nproc_per_node)
    of_train = f"{written.partition('train')[2]} --save-every 500 --max-minutes 230"
    for word in of_train.split():
        assert not word.startswith("--") or word[2:].replace("-", "_") in flags, word
print("rows for each of the 32 processes:", 512 // 32)

# %% [markdown]
# On a cluster with Slurm you do not choose the machines: you hand in a script, and it starts where there is room. Slurm
# itself can be the launcher, for it tells each process its number, and the four variables are all that is needed. Save this
# as `job.sh` and hand it in with `sbatch job.sh`:
#
# ```bash
# ##!/bin/bash
# #SBATCH --nodes=4
# #SBATCH --ntasks-per-node=8        # one process for each GPU
# #SBATCH --gpus-per-node=8
# #SBATCH --cpus-per-task=8
# #SBATCH --time=04:00:00
# #SBATCH --signal=TERM@300          # five minutes before the end: stop, and save
# #SBATCH --requeue
# #SBATCH --open-mode=append         # the log of the next part: in the same file
#
# export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# export MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
# export WORLD_SIZE=$SLURM_NTASKS LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE
# export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK  # srun does not look by itself
#
# export OUT=run FLAGS="--preset gpt2 --data tokens --batch-size 512 --accumulate 1"
# FLAGS+=" --save-every 500"
# ls "$OUT"/checkpoints/step-???????? > /dev/null 2>&1 && FLAGS=--resume
#
# srun --kill-on-bad-exit=1 bash -c '
#     export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID
#     exec minigpt train --out $OUT $FLAGS'
#
# status=$?
# [ $status -eq 75 ] && exec scontrol requeue "$SLURM_JOB_ID"
# exit $status
# ```
#
# `LOCAL_RANK` is the number within a machine and says which GPU to take. A run that is told to stop finishes its step, writes a
# checkpoint and ends with exit status 75, in the language of Unix: «try again later». The script does. (`torchrun` would
# make a plain 1 of it.) So a run of weeks lives in jobs of four hours. Where no signal comes before a time limit,
# `--max-minutes 230` stops a run in the same way.
#
# When it does not start: `NCCL_DEBUG=INFO` makes NCCL say what it tries, and `NCCL_SOCKET_IFNAME` names the network card to
# use. When it hangs, one process waits in an all-reduce for another that never comes: look for the one with the earliest
# error in its log.

# %% [markdown]
# ## What to remember
#
# 1. Same weights, different rows, all-reduce of the gradients, same step: many processes then equal one, up to rounding.
# 2. Divide by the targets of the whole global batch. The mean of means is wrong as soon as two parts count differently many.
# 3. DDP sends weights once and gradients at every backward pass, except inside `no_sync()`. In a ring each process sends less
#    than two gradients.
# 4. N GPUs are N times as fast only while each has enough tokens to hide the sum.
# 5. What does not fit is cut: optimiser, gradients and weights (ZeRO), layers (tensor), depth (pipeline). What breaks goes on
#    from a checkpoint.

# %% [markdown]
# ## Primary sources
#
# - Li et al. 2020, PyTorch Distributed: Experiences on Accelerating Data Parallel Training (https://arxiv.org/abs/2006.15704)
# - Patarasuk and Yuan 2009, Bandwidth Optimal All-reduce Algorithms for Clusters of Workstations (https://doi.org/10.1016/j.jpdc.2008.09.002)
# - Sergeev and Del Balso 2018, Horovod: fast and easy distributed deep learning in TensorFlow (https://arxiv.org/abs/1802.05799)
# - Goyal et al. 2017, Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour (https://arxiv.org/abs/1706.02677)
# - Hugging Face 2024, Fixing Gradient Accumulation (https://huggingface.co/blog/gradient_accumulation)
# - McCandlish et al. 2018, An Empirical Model of Large-Batch Training (https://arxiv.org/abs/1812.06162)
# - Rajbhandari et al. 2020, ZeRO: Memory Optimizations Toward Training Trillion Parameter Models (https://arxiv.org/abs/1910.02054)
# - Zhao et al. 2023, PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel (https://arxiv.org/abs/2304.11277)
# - Shoeybi et al. 2019, Megatron-LM (https://arxiv.org/abs/1909.08053)
# - Huang et al. 2019, GPipe (https://arxiv.org/abs/1811.06965)
# - Narayanan et al. 2021, Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM (https://arxiv.org/abs/2104.04473)
# - Dubey et al. 2024, The Llama 3 Herd of Models, section 3.3 (https://arxiv.org/abs/2407.21783)
# - Young 1974, A First Order Approximation to the Optimum Checkpoint Interval (https://doi.org/10.1145/361147.361115)
#
# **Next** · [Lesson 13 · Generation](13_generation.ipynb): from a distribution to a text, and why a GPT need not compute
# everything anew for each token.
