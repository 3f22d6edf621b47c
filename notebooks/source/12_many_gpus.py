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
# - start a run on one machine, on several, and under Slurm.
#
# **Time** 90 min
#
# **Builds on** [lesson 10](10_training_on_a_cpu.ipynb) (the training loop). [Lesson 9](09_loss_backprop_adamw.ipynb)
# (gradients, AdamW) and [lesson 11](11_training_on_a_gpu.ipynb) (one GPU) help; what is needed of them is recalled.
#
# ![The GPT in grey, and below it three copies side by side: each reads its own rows of the batch and finds its own part of the gradient; one bar under all of them, all-reduce, gives everyone the sum, and all take the same step](../figures/where_many_gpus.svg)

# %% tags=["setup"]
import contextlib
import inspect
import json
import math
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from minigpt.commands.training import Train
from minigpt.config import IGNORE, GPTConfig, TrainConfig, preset
from minigpt.course import check, plots, start_lesson
from minigpt.model.feed_forward import FeedForward
from minigpt.model.gpt import GPT, flops_per_token, next_token_loss
from minigpt.text import stories
from minigpt.text.data import StoryData, TextData, storyteller_tokenizer
from minigpt.training.metrics import StepResult, read_metrics
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
# And one GPU could not even begin. Training in mixed precision takes **16 bytes for each parameter**: 2 for the weight, 2 for
# its gradient, and 12 for AdamW, which keeps the weight once more in float32 (4) and two running averages (4 + 4). That is
# the count of Rajbhandari et al. (2020, section 3.1).

# %%
print(f"the model in training: {16 * parameters / 1e12:.2f} TB; one H100 holds 0.08 TB")
print(f"GPUs needed only to hold it: {16 * parameters / 80e9:.0f}")

# %% [markdown]
# So there are two needs. Time: many GPUs must share the **work**. Memory: many GPUs must share the **model**. We take the work
# first, because there one idea is enough.

# %% [markdown]
# ## A gradient comes in parts
#
# The smallest model there is: one weight *w*, which guesses $y = w x$. The loss is the mean squared error over four examples,
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
x, y = torch.tensor(examples).T
((weight * x - y) ** 2).mean().backward()
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
    """The rows of the global batch (B, T) that this process computes: (B / world_size, T)."""
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
# The next cell is our launcher. It starts n Python processes that differ in their rank, and keeps them at hand: each waits
# for a line with the source code of a function, runs it, and answers with what it returned. That saves the seconds that a
# start takes. You need not read it closely.

# %%
WAIT_FOR_JOBS = """
import json, sys, traceback
for line in sys.stdin:
    source, call = json.loads(line)
    try:
        exec(source, globals())
        answer = {"result": eval(call)}
    except BaseException:
        answer = {"error": traceback.format_exc()}
    print(json.dumps(answer), flush=True)
    if "error" in answer:
        break
"""


class Crew:
    """n Python processes that wait for work and differ in one thing, their RANK."""

    def __init__(self, n: int, imports: str) -> None:
        with socket.socket() as any_free_port:
            any_free_port.bind(("127.0.0.1", 0))
            port = any_free_port.getsockname()[1]
        group = os.environ | {"WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, "-c", imports + WAIT_FOR_JOBS]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.processes = [
            subprocess.Popen(command, env=group | {"RANK": str(rank)}, text=True, **pipes) for rank in range(n)
        ]

    def run(self, job: Callable[..., Any], *arguments: Any, needs: tuple[Callable[..., Any], ...] = ()) -> list[Any]:
        """Let all processes run a function at the same time; return what each returned, by rank."""
        source = "\n".join(inspect.getsource(function) for function in (*needs, job))
        for process in self.processes:
            print(json.dumps([source, f"{job.__name__}(*{arguments!r})"]), file=process.stdin, flush=True)
        answers = [json.loads(process.stdout.readline() or "{}") for process in self.processes]  # type: ignore[union-attr]
        if problems := [answer.get("error", "a process died") for answer in answers if "result" not in answer]:
            self.dismiss()
            raise RuntimeError("\n".join(["run the cell that starts this crew again", *problems]))
        return [answer["result"] for answer in answers]

    def dismiss(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.kill()
            process.communicate()


# %% [markdown]
# And here is an all-reduce with nothing hidden. Rank 0 opens a door at the meeting point, rank 1 knocks until it is open.
# Then each sends its part and adds what it received. Both run the same function; only `RANK` tells them apart.


# %%
def exchange(examples: list[tuple[float, float]], w: float) -> dict[str, float]:
    """All-reduce between two processes: each sends its number to the other, and adds what comes."""
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
two = Crew(2, IMPORTS_OF_EXCHANGE)
for r, answer in enumerate(two.run(exchange, examples, w, needs=(part_of_gradient,))):
    print(f"process {r}: {answer}")
two.dismiss()

# %% [markdown]
# Two processes that share no memory, and both know that the gradient is 10. In torch the meeting is `init_process_group`,
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
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from minigpt.config import IGNORE, GPTConfig
from minigpt.text.data import StoryData, storyteller_tokenizer
from minigpt.model.gpt import GPT, next_token_loss

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
# Compare the next cell with the loop of lesson 10. Four things are new, and each has its number.


# %%
def start() -> tuple[GPT, StoryData]:
    """1. Every process makes the same model, because every process has the same seed."""
    torch.manual_seed(0)
    data = StoryData(storyteller_tokenizer(), context_length=192)
    config = GPTConfig(data.tokenizer.vocab_size, context_length=192, n_layers=1, n_heads=2, d_model=16)
    return GPT(config).double(), data  # double, so that we can see how equal two runs are


def my_part(data: StoryData, step: int) -> tuple[Tensor, Tensor, int]:
    """2. The step alone decides the global batch. Take my rows of it, and count the targets in all rows."""
    inputs, targets = data.batch_at(step, batch_size=8)
    n_targets = int((targets != IGNORE).sum())  # padding does not count
    return inputs.chunk(world_size())[rank()], targets.chunk(world_size())[rank()], n_targets


def gradients(model: nn.Module) -> list[Tensor]:
    """Those of all parameters, after backward()."""
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def train(steps: int) -> dict[str, list[float]]:
    """Train on stories with as many processes as there are; return the losses and the weights."""
    model, data = start()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for step in range(steps):
        inputs, targets, n_targets = my_part(data, step)
        loss = next_token_loss(model(inputs), targets, n_targets)  # 3. my sum, divided by the targets of all
        loss.backward()
        for gradient in gradients(model):
            sum_over_processes(gradient)  # 4. the only line in which the processes talk
        optimizer.step()
        optimizer.zero_grad()
        losses.append(sum_over_processes(loss.detach()).item())
    return {"losses": losses, "weights": parameters_to_vector(model.parameters()).tolist()}


# %% [markdown]
# Run it alone, here in the notebook. Then let the two processes of the crew run the same function.

# %%
TRAINING = (rank, world_size, sum_over_processes, start, my_part, gradients)  # what the crew must know besides
alone = train(5)
together = crew.run(train, 5, needs=TRAINING)

print("step   one process   two processes")
for step, (one, pair) in enumerate(zip(alone["losses"], together[0]["losses"], strict=True)):
    print(f"{step:4}   {one:11.4f}   {pair:13.4f}")

# %% [markdown]
# The losses agree in every digit shown. The weights tell more, because each mistake would add up in them:


# %%
def apart(weights: list[float], others: list[float]) -> float:
    """The largest difference between two models in any weight."""
    return (torch.tensor(weights, dtype=torch.float64) - torch.tensor(others, dtype=torch.float64)).abs().max().item()


print(
    "weights, two processes against one: at most 1e-12 apart:", apart(alone["weights"], together[0]["weights"]) < 1e-12
)
print("weights of process 0 and of process 1 are the same bits:", together[0]["weights"] == together[1]["weights"])
assert apart(alone["weights"], together[0]["weights"]) < 1e-12
assert together[0]["weights"] == together[1]["weights"]

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
# targets, so we multiply by the world size first. The package does the same (`_backward` in `minigpt/training/trainer.py`).


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
    return {"losses": losses, "weights": parameters_to_vector(model.parameters()).tolist()}


by_ddp = crew.run(train_with_ddp, 5, needs=TRAINING)
print("weights, DDP against one process: at most 1e-12 apart:", apart(alone["weights"], by_ddp[0]["weights"]) < 1e-12)
assert apart(alone["weights"], by_ddp[0]["weights"]) < 1e-12

# %% [markdown]
# <div class="alert alert-warning">
# <b>You may have read</b> that DistributedDataParallel sends the model to all GPUs at every step, or averages their weights.
# It sends weights once, when it is made, from rank 0 to the others. After that only gradients travel (and buffers, which
# a GPT has none of). The weights stay equal because equal weights take equal steps, and nothing would repair them if they were not.
# </div>
#
# We try it. The two processes make *different* models, and DDP makes them equal. Then process 1 spoils one weight by adding 1
# to it. Three steps later:


# %%
def spoil() -> list[float]:
    """One weight: before DDP, with DDP, and three steps after process 1 has added 1 to it."""
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


zero, one = crew.run(spoil, needs=TRAINING)
for what, a, b in zip(("before DDP", "with DDP", "spoilt, 3 steps later"), zero, one, strict=True):
    print(f"{what:<22} process 0: {a:7.4f}   process 1: {b:7.4f}")
assert zero[0] != one[0] and zero[1] == one[1] and math.isclose(one[2] - zero[2], 1)

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
print(f"mean per target:   ({' + '.join(f'{cost:g}' for cost in everything)}) / 4 = {sum(everything) / 4}")

# %% [markdown]
# The mean of the means gives the single target of process 1 as much weight as the three of process 0 together. It is right
# only if all processes have equally many targets. In our batches they do not: stories differ in length, and padding does not
# count. In fine-tuning it gets worse, because there often only the tokens of an answer count, and answers differ far more.
#
# <div class="alert alert-warning">
# <b>You may have read</b> that averaging the processes' mean losses (or those of the parts of a batch) gives the loss
# of the whole batch. It does so only where every part has the same number of targets. Otherwise loss and gradient are both
# wrong, and no number of further steps cures it.
# </div>
#
# How wrong is the gradient? We measure the length of the error against the length of the gradient, with three masks.


# %%
model, data = start()
inputs, targets = data.batch_at(0, batch_size=8)


def flat_gradient(inputs: Tensor, targets: Tensor, n_targets: int | None = None) -> Tensor:
    """The gradient as one long vector; divided by the targets in these rows, unless a number is given."""
    model.zero_grad()
    next_token_loss(model(inputs), targets, n_targets).backward()
    return parameters_to_vector(gradients(model))


def relative_error(estimate: Tensor, truth: Tensor) -> float:
    """Length of the error over length of the truth."""
    return ((estimate - truth).norm() / truth.norm()).item()


length = (targets != IGNORE).sum(dim=1, keepdim=True)  # (B, 1): how many targets each story has
shortest = int(length.min())
answers = torch.arange(targets.size(1)) >= length - 5  # the last 5 targets of each story, (B, T)
of_process_0 = torch.arange(len(targets))[:, None] < 4  # (B, 1)
for name, x, y in (
    ("equal masks", inputs[:, :shortest], targets[:, :shortest]),
    ("stories as they are", inputs, targets),
    ("process 1 counts 5 tokens a row", inputs, targets.where(of_process_0 | answers, IGNORE)),
):
    halves = list(zip(x.chunk(2), y.chunk(2), strict=True))
    truth, n = flat_gradient(x, y), int((y != IGNORE).sum())
    mean_of_means = sum((flat_gradient(*half) for half in halves), torch.zeros_like(truth)) / 2
    sum_of_parts = sum((flat_gradient(*half, n) for half in halves), torch.zeros_like(truth))
    counts = [int((half[1] != IGNORE).sum()) for half in halves]
    print(f"{name:<32} targets {counts}   error {relative_error(mean_of_means, truth):.4f}")
    assert relative_error(sum_of_parts, truth) < 1e-12
    assert (relative_error(mean_of_means, truth) < 1e-12) == (counts[0] == counts[1])
assert 0.3 < relative_error(mean_of_means, truth) < 3

# %% [markdown]
# With equal masks there is no error. Stories give a small one, which nobody would notice. With the last mask, as in
# fine-tuning, the error is as large as the gradient itself. And in every case the sum of the parts, each divided by the
# targets of *all* processes, is exact: the cell asserts it.
#
# The mistake is an easy one to make. In gradient accumulation it sat in widely used training libraries until October 2024
# (Hugging Face, *Fixing Gradient Accumulation*), and Goyal et al. (2017, section 3) had already listed it among the pitfalls.
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
    """One batch in parts: the gradient, and how many numbers this process has given to all-reduce."""
    model, data = start()
    network = DistributedDataParallel(model)
    sent: list[int] = []

    def count(group: Any, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        sent.append(bucket.buffer().numel())
        return allreduce_hook(group, bucket)  # what DDP does without a hook

    network.register_comm_hook(None, count)
    inputs, targets, n_targets = my_part(data, 0)
    for part, (x, y) in enumerate(zip(inputs.chunk(parts), targets.chunk(parts), strict=True), start=1):
        wait = part < parts and not always_send
        with network.no_sync() if wait else contextlib.nullcontext():  # around the forward pass too
            loss = next_token_loss(network(x), y, n_targets)
            (loss * world_size()).backward()
    found = parameters_to_vector(gradients(model))
    return {"sent": sum(sent), "gradient": found.tolist()}


whole = flat_gradient(inputs, targets).tolist()
size = len(whole)
for parts, always_send in ((1, True), (4, True), (4, False)):
    answer = crew.run(accumulate, parts, always_send, needs=TRAINING)[0]
    how = "sent at every part" if always_send else "no_sync() until the last"
    print(f"parts: {parts}, {how:<25} numbers sent for each parameter: {answer['sent'] / size:.0f}")
    assert apart(answer["gradient"], whole) < 1e-12 and answer["sent"] == (parts if always_send else 1) * size

# %% [markdown]
# Three ways, one gradient (asserted against the undivided batch), and a quarter of the traffic. The forward pass must stand
# inside `no_sync()` as well: DDP decides there whether it will send.

# %% [markdown]
# ## What a sum costs: the ring
#
# With two processes the exchange was easy: each sends everything to the other. Among N processes, everyone would send to N −
# 1 others, and with a thousand GPUs each would send its gradient 999 times. There is a better way, and it needs no more than
# a circle in which each process talks to its right neighbour only.
#
# **Cut the gradient into N chunks, and let the sums travel.** Three processes; the first holds 1 in every chunk, the second
# 10, the third 100. So the digits of a number show who is in it, and 111 is a finished sum.


# %%
def show(moment: str, held: list[list[int]]) -> None:
    """What every process holds: a list of chunks for each."""
    print(f"{moment:<12}" + "   ".join(f"{' '.join(f'{chunk:3}' for chunk in chunks)} " for chunks in held))


n = 3
held = [[10**r] * n for r in range(n)]  # (process, chunk)
print(" " * 12 + "   ".join(f"process {r}   " for r in range(n)))
show("at first", held)
for step in range(n - 1):
    messages = [held[r][(r - step) % n] for r in range(n)]  # everyone sends one chunk, at the same time
    for r in range(n):
        left = (r - 1) % n
        held[r][(left - step) % n] += messages[left]  # and adds what comes from the left
    show(f"after step {step}", held)

# %% [markdown]
# Follow one chunk. Process 0 sends its chunk 0, a 1, to process 1, which makes 11 of it. Process 1 passes the 11 on, and
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
    """What each process holds after this step of the all-gather; held[r][c] is chunk c of process r."""
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
    """The sum, as every process holds it in the end, and how many numbers each process has sent."""
    n = len(vectors)
    held = [list(vector.tensor_split(n)) for vector in vectors]
    sent = [0] * n
    for step in range(2 * (n - 1)):
        messages = [held[r][(r - step) % n] for r in range(n)]
        for r in range(n):
            chunk, message = (r - 1 - step) % n, messages[r - 1]
            held[r][chunk] = held[r][chunk] + message if step < n - 1 else message
            sent[r] += messages[r].numel()
    return [torch.cat(chunks) for chunks in held], sent


generator = torch.Generator().manual_seed(0)
length = 960
print("processes   sent by each, in gradients   2 (N - 1) / N")
for n in (2, 3, 4, 8, 64):
    vectors = [torch.randn(length, generator=generator, dtype=torch.float64) for _ in range(n)]
    results, sent = ring_all_reduce(vectors)
    assert all(torch.allclose(result, sum(vectors)) for result in results)  # type: ignore[arg-type]
    assert set(sent) == {2 * (n - 1) * length // n}
    print(f"{n:9}   {sent[0] / length:26.4f}   {2 * (n - 1) / n:13.4f}")

# %% [markdown]
# However many processes there are, each sends less than **two gradients**:
#
# $$\text{bytes sent by each process} = 2\,\frac{N-1}{N} \cdot \text{bytes of the gradient}$$
#
# Patarasuk and Yuan (2009) showed that no all-reduce can do with less, and Horovod (Sergeev and Del Balso 2018) made the ring
# popular for training. Its weakness is the number of steps, 2 (N − 1), each of which takes at least the time of one message.
# So for small messages NCCL may choose trees.

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
# hides what it can: the sum runs beside the backward pass, which is two thirds of the work.

# %%
gpt2 = GPTConfig()
bandwidth = 50e9
work = flops_per_token(gpt2, gpt2.context_length) * 2**19  # FLOPs of a step
gradient_bytes = 4 * 124_439_808


def step_seconds(n: int, overlap: bool) -> float:
    """The time of a step with n GPUs: compute, and the ring's traffic after or beside the backward pass."""
    compute, traffic = work / speed / n, 2 * (n - 1) / n * gradient_bytes / bandwidth
    return compute / 3 + max(compute * 2 / 3, traffic) if overlap else compute + traffic


one_gpu = step_seconds(1, overlap=True)
print("GPUs   speed-up, sum afterwards   sum beside backward")
for n in (2, 8, 64, 1024):
    print(f"{n:4}   {one_gpu / step_seconds(n, False):24.1f}   {one_gpu / step_seconds(n, True):19.1f}")
assert one_gpu / step_seconds(1024, True) < 100
gpus = [2**i for i in range(11)]
plots.curves(
    {
        "N times as fast": (gpus, gpus),
        "sum beside the backward pass": (gpus, [round(one_gpu / step_seconds(n, True), 2) for n in gpus]),
        "sum after it": (gpus, [round(one_gpu / step_seconds(n, False), 2) for n in gpus]),
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
print(f"Llama 3: 16M tokens in a batch, on 16,384 GPUs: {16 * 2**20 / 16_384:,.0f} each")

# %% [markdown]
# This leaves out every other cost, and still shows the wall: 16,384 GPUs cannot each be a copy of the model on its own. Why
# not a larger batch? Because past some size it hardly improves the gradient, and the extra tokens are wasted: McCandlish et
# al. (2018) predict that size from the *gradient noise scale*. In `minigpt`, `--batch-size` is the *global* batch. More GPUs
# compute the same run faster. A larger batch is another run, and wants another learning rate (Goyal et al. 2017).

# %% [markdown]
# ## A thousand GPUs: share the model
#
# Data parallelism keeps 16 bytes for each parameter on *every* GPU. For Llama 3 that was 6.48 TB. Three ways to cut the model
# are in use, and large runs combine them.
#
# ### Cut the optimiser: sharding
#
# Look at the ring once more. After its first half, process r holds one finished chunk of the gradient. To update *that chunk
# of the weights* it needs nothing else. So let it do only that, and then send weights round in the second half instead of
# gradients. The traffic is the same, and AdamW's 12 bytes are needed only for 1/N of the parameters. This is **ZeRO**
# (Rajbhandari et al. 2020), stage 1. Here it is in our loop:


# %%
def train_sharded(steps: int) -> dict[str, Any]:
    """Data parallel training in which each process runs AdamW for its own share of the weights."""
    model, data = start()
    weights = parameters_to_vector(model.parameters()).detach()  # (P,)
    shard = nn.Parameter(weights.chunk(world_size())[rank()].clone())  # (P / world_size,)
    optimizer = torch.optim.AdamW([shard], lr=1e-2)
    for step in range(steps):
        inputs, targets, n_targets = my_part(data, step)
        model.zero_grad()
        next_token_loss(model(inputs), targets, n_targets).backward()
        gradient = parameters_to_vector(gradients(model))
        shard.grad = torch.empty_like(shard)
        dist.reduce_scatter(shard.grad, list(gradient.chunk(world_size())))  # the sum, of my share only
        optimizer.step()
        shards = [torch.empty_like(shard) for _ in range(world_size())]
        dist.all_gather(shards, shard.detach())  # everyone's new weights
        vector_to_parameters(torch.cat(shards), model.parameters())
    kept = sum(value.numel() for value in optimizer.state[shard].values() if value.dim())
    return {"weights": parameters_to_vector(model.parameters()).tolist(), "kept": kept}


sharded = crew.run(train_sharded, 5, needs=TRAINING)
print(
    "weights, sharded against one process: at most 1e-12 apart:", apart(alone["weights"], sharded[0]["weights"]) < 1e-12
)
print(f"AdamW keeps {sharded[0]['kept'] / size:.0f} number for each parameter on each process, instead of 2")
assert apart(alone["weights"], sharded[0]["weights"]) < 1e-12 and sharded[0]["kept"] == size

# %% [markdown]
# Equal again, with half the optimiser's memory on each process. Stage 2 keeps only the own share of the gradients as well.
# Stage 3 also keeps only the own share of the weights, and gathers each layer's just before it is needed, forward and
# backward. That costs half as much traffic again (section 7 of the paper). PyTorch calls it **FSDP** (Zhao et al. 2023).
# `minigpt` stops at DDP: its models fit on one GPU.
#
# ### Exercise 4 · bytes on each GPU (★★☆, 10 min)
#
# 2 bytes for the weight, 2 for the gradient, 12 for AdamW, P parameters, N GPUs. Write how many bytes one GPU holds. Stage 0 shares
# nothing, stage 1 the optimiser's, stage 2 also the gradients, stage 3 also the weights.


# %% tags=["exercise"]
def bytes_per_gpu(parameters: float, n: int, stage: int) -> float:
    """Bytes for weights, gradients and AdamW on each of n GPUs, sharded up to a stage of ZeRO, 0 to 3."""
    ### BEGIN SOLUTION
    weights = 2 / n if stage >= 3 else 2
    gradients = 2 / n if stage >= 2 else 2
    adamw = 12 / n if stage >= 1 else 12
    return parameters * (weights + gradients + adamw)
    ### END SOLUTION


# %%
check.bytes_per_gpu(bytes_per_gpu)

# %% [markdown]
# ### Cut a layer: tensor parallelism
#
# Take the feed-forward network of lesson 6: `down(GELU(up(x)))`. Its hidden numbers do not see each other. So one GPU can
# compute the first half of them, another the second half, each with half of both matrices, and the two outputs add up. (The
# bias of `down` must be added once.)

# %%
torch.manual_seed(0)
network = FeedForward(GPTConfig(d_model=8, n_heads=2)).double()
x = torch.randn(3, 8, dtype=torch.float64)  # three tokens, (T, d_model)

outputs = []
for up, up_bias, down in zip(
    network.up.weight.chunk(2), network.up.bias.chunk(2), network.down.weight.chunk(2, dim=1), strict=True
):
    hidden = F.gelu(x @ up.T + up_bias, approximate="tanh")  # (T, d_ff / 2)
    outputs.append(hidden @ down.T)  # (T, d_model)
joined = outputs[0] + outputs[1] + network.down.bias
assert torch.allclose(joined, network(x))
print("two half networks, added up, equal the whole one:", torch.allclose(joined, network(x)))

# %% [markdown]
# That `+` is an all-reduce. Attention is cut the same way, some heads for each GPU. This is Megatron's scheme (Shoeybi et al.
# 2019, section 3): two all-reduces for each block forward and two backward, each of $d_{model}$ numbers for every token. That
# is a lot of talk. Take a sequence of 8,192 tokens in Llama 3, with 8 GPUs for each layer and its 126 layers on 16 such groups:

# %%
all_reduce_bytes = 2 * 7 / 8 * 8192 * 16_384 * 2  # ring of 8; tokens × d_model, 2 bytes each
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
# ### Cut between layers: pipeline parallelism
#
# The first GPUs take the first layers, the next take the next, like an assembly line. Only $d_{model}$ numbers for each token
# travel from one to the next. But a line must fill and drain. GPipe (Huang et al. 2019) cuts the batch into m
# **micro-batches** so that all stages soon have something to do. Each row is a stage, each column a moment; digits are
# micro-batches, first forward, then backward, and a dot is a GPU that waits.


# %%
def pipeline(stages: int, micro_batches: int) -> list[str]:
    """GPipe's schedule, where forward and backward take one moment each."""
    length = 2 * (micro_batches + stages - 1)
    rows = [["·"] * length for _ in range(stages)]
    for stage, row in enumerate(rows):
        for i in range(micro_batches):
            row[stage + i] = row[length - 1 - stage - i] = str(i)  # the way back is the way there, mirrored
    return ["".join(row) for row in rows]


p = 4
for m in (1, 4, 8):
    schedule = pipeline(p, m)
    idle = "".join(schedule).count("·") / len("".join(schedule))
    print(f"{m} micro-batch{'es' * (m > 1)}: idle {idle:.0%}")
    print(*schedule, "", sep="\n")
    assert math.isclose(idle, (p - 1) / (m + p - 1))

# %% [markdown]
# The share of waiting is called the **bubble**, and it is $(p-1)/(m+p-1)$ for p stages. More micro-batches help, but each
# must have at least one sequence. Narayanan et al. (2021) give each GPU several short pieces of the line instead of one long
# piece, which makes the bubble smaller again.
#
# ### Together: Llama 3
#
# 16,384 GPUs = 8 (tensor) × 16 (pipeline) × 128 (data). Each copy of the model lives on 128 GPUs, and 128 copies share the batch.

# %%
share = parameters / (8 * 16)  # parameters on each GPU
print(f"GPUs: {8 * 16 * 128:,}; parameters on each: {share / 1e9:.2f} billion")
print(f"16 bytes each:                       {16 * share / 1e9:.1f} GB of 80, and no activations yet")
print(f"optimiser shared by the 128 copies:  {(2 + 2 + 12 / 128) * share / 1e9:.1f} GB")
print(f"tokens for each copy of the model:   {16 * 2**20 / 128:,.0f}; the sum hides from {enough:,.0f} on")

# %% [markdown]
# ### What fails
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
plots.curves(
    {
        "saving": (minutes, [round(saving / (60 * t), 4) for t in minutes]),
        "work done again": (minutes, [round(60 * t / (2 * between_failures), 4) for t in minutes]),
        "both": (minutes, [round(saving / (60 * t) + 60 * t / (2 * between_failures), 4) for t in minutes]),
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
# `minigpt` needs nothing else. We run the real thing, with two processes on the CPU, on a file of stories, letter by letter.

# %%
crew.dismiss()
folder = Path(tempfile.mkdtemp())
elsewhere = os.environ | {"MINIGPT_CACHE": str(folder / "cache")}  # for token files; this folder is thrown away
text = folder / "stories.txt"
text.write_text("\n".join(stories.story_at("train", i).text for i in range(100)), encoding="utf-8")

recipe = (
    "--preset tiny --tokenizer char --context-length 64 --max-steps 10 --save-every 5 --precision float32 --threads 1"
)
launcher = "-m torch.distributed.run --standalone --nproc-per-node=2"  # the long name of torchrun
where = ["--data", str(text), "--device", "cpu", "--out", str(folder / "pair")]
command = [sys.executable, *f"{launcher} -m minigpt train {recipe}".split(), *where]
done = subprocess.run(command, capture_output=True, text=True, env=elsewhere)
assert done.returncode == 0, done.stderr
print(done.stdout.partition(" on ")[0])

# %% [markdown]
# The same recipe in this one process, from the token file that the two have made:

# %%
tokens = TextData(next((folder / "cache").glob("text-*")), context_length=64)
tiny = preset("tiny")
model_config = replace(tiny.model, vocab_size=tokens.tokenizer.vocab_size, context_length=64)
train_config = replace(tiny.train, max_steps=10, save_every=5, precision="float32", threads=1)
lines: list[StepResult] = []
Trainer(model_config, train_config, tokens).run(on_step=lines.append, progress=False)

one = torch.tensor([line.loss for line in lines])
pair = torch.tensor([line["loss"] for line in read_metrics(folder / "pair")])
print("losses of all 10 steps within 0.00001:", bool((one - pair).abs().max() < 1e-5))
assert len(pair) == 10 and (one - pair).abs().max() < 1e-5

# %% [markdown]
# Now a machine breaks, and the last checkpoint with it. What is left is the checkpoint of step 5, written by two processes.
# Only one process can be had today. Does the run go on as if nothing had happened?

# %%
shutil.rmtree(folder / "pair" / "checkpoints" / "step-00000010")
trainer = Trainer.resume(folder / "pair", tokens)
print("going on from step", trainer.step)
rest: list[StepResult] = []
trainer.run(on_step=rest.append, progress=False)
again = torch.tensor([line.loss for line in rest])
print("losses of steps 6 to 10 within 0.00001:", bool((one[5:] - again).abs().max() < 1e-5))
assert (one[5:] - again).abs().max() < 1e-5

# %% [markdown]
# A checkpoint does not care how many processes wrote it, because nothing in it belongs to one of them: the global batch is a
# function of the step, and all ranks hold the same weights.
#
# ### Several machines, and Slurm
#
# With several machines the same command runs on each. `--rdzv-endpoint` names one of them, where all meet. The code, the data
# and the folder of the run must be on a disk that all machines see. `tokens` is a folder that `minigpt data prepare` has made.

# %%
ONE_MACHINE = "torchrun --standalone --nproc-per-node=8 -m minigpt train --preset gpt2-8 --data tokens --out run"
SEVERAL_MACHINES = (
    "torchrun --nnodes=4 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=first-machine:29500 --rdzv-id=my-run "
    "-m minigpt train --preset gpt2 --data tokens --batch-size 512 --accumulate 1 --out run"
)

flags = {field.name for kind in (Train, GPTConfig, TrainConfig) for field in fields(kind)}
for written in (ONE_MACHINE, SEVERAL_MACHINES):
    asked = get_args_parser().parse_args(shlex.split(written)[1:])  # torchrun's own reading of the line
    assert asked.training_script == "minigpt" and asked.module
    print("machines:", asked.nnodes.split(":")[-1], "processes on each:", asked.nproc_per_node)
    for word in f"{written.partition('train')[2]} --save-every 500 --max-minutes 230".split():
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
# #SBATCH --signal=TERM@300          # five minutes before the end: stop, with a checkpoint
# #SBATCH --requeue
# #SBATCH --open-mode=append         # the log of the next part goes on in the same file
#
# export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# export MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
# export WORLD_SIZE=$SLURM_NTASKS LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE
#
# export OUT=run FLAGS="--preset gpt2 --data tokens --batch-size 512 --accumulate 1 --save-every 500"
# [ -d "$OUT/checkpoints" ] && FLAGS=--resume
#
# srun bash -c '
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
