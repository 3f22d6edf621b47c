# %% [markdown]
# # Lesson 10 · Training on a CPU
#
# You train a GPT from nothing until it tells stories in which names, colours and owners hold to the last sentence. It takes
# some minutes on two CPU cores. Before that you learn to distrust a training run, because a broken one can look splendid.
#
# **You will be able to**
# - test a training loop before you spend time on it,
# - say what warm-up, cosine, clipping and weight decay do, and compute them,
# - compare two optimisers fairly, by the clock,
# - train, stop, kill and resume a run, and get the same losses.
#
# **Time** 90 min, of which the computer trains for about three
#
# **Builds on** [lesson 1](01_next_token_game.ipynb) (loss, entropy floor); [lesson 8](08_full_gpt.ipynb) builds the model, [lesson 9](09_loss_backprop_adamw.ipynb) traces one
# step by hand. Here both come from the package.
#
# ![The training loop around the GPT: text goes in, the loss compares the output with the next tokens, backward finds the gradients, the optimiser changes the weights](../figures/where_training_on_a_cpu.svg)

# %% tags=["setup"]
import math
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minigpt.config import GPTConfig, TrainConfig, preset
from minigpt.course import check, plots, start_lesson
from minigpt.evaluation.floor import floor
from minigpt.evaluation.loss import mean_loss
from minigpt.evaluation.stories import grade, sample_stories
from minigpt.generation.generate import generate
from minigpt.model.gpt import GPT, next_token_loss
from minigpt.text import stories
from minigpt.text.data import StoryData, storyteller_tokenizer
from minigpt.text.tokenizer import END_OF_TEXT
from minigpt.training.metrics import StepResult, read_metrics
from minigpt.training.trainer import Trainer

start_lesson()

# %% [markdown]
# ## A loss that is too good
#
# Here is a small GPT and a short training loop. A batch holds eight stories, one in each row. Watch the loss.

# %%
tokenizer = storyteller_tokenizer()
V = tokenizer.vocab_size
START = tokenizer.special_tokens[END_OF_TEXT]  # stands before and after each story
data = StoryData(tokenizer, context_length=192, held_out=200)
small = GPTConfig(vocab_size=V, context_length=192, n_layers=1, n_heads=2, d_model=64)

torch.manual_seed(0)
model = GPT(small)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
for step in range(61):
    inputs, _ = data.batch_at(step, batch_size=8)
    loss = next_token_loss(model(inputs), inputs)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if step % 20 == 0:
        print(f"step {step:2}  loss {loss:.2f}")

# %% [markdown]
# In 60 steps the loss falls to almost nothing. Lesson 1 said that nobody can get below the entropy floor of the story world:

# %%
bound = floor(data, "val")
print(f"entropy floor: {bound.split_loss:.2f} nats per token")
assert loss.item() < bound.split_loss

# %% [markdown]
# A model that beats the floor on stories it has never seen is too good to be true. Let it write:

# %%
nonsense = generate(model.eval(), [START], max_new_tokens=12, temperature=0)[0]
print(repr(tokenizer.decode(nonsense)))

# %% [markdown]
# It repeats what it was given. Look at the loop again: `next_token_loss(model(inputs), inputs)`. The **targets are the inputs**.
# At each position the model was asked for the token that it was looking at, and to copy is easy. The right target is the
# *next* token, so inputs and targets are the same text, one place apart.
#
# No error was raised, and the curve was lovely. That is how training goes wrong. So this lesson asks three questions of every
# run before it trusts it:
#
# 1. Is the **first loss** what an ignorant model must have?
# 2. Can the model **overfit one batch**?
# 3. Does the loss **stay above the floor**?

# %% [markdown]
# ### Exercise 1 · inputs and targets (★☆☆, 5 min)
#
# From the token ids of one text make the inputs and the targets, as lists of the same length. For `[5, 8, 2, 9]` the model
# reads `[5, 8, 2]` and should answer `[8, 2, 9]`.


# %% tags=["exercise"]
def inputs_and_targets(ids: list[int]) -> tuple[list[int], list[int]]:
    """What the model reads, and what it should answer at each position."""
    ### BEGIN SOLUTION
    return ids[:-1], ids[1:]
    ### END SOLUTION


# %%
check.inputs_and_targets(inputs_and_targets)

# %% [markdown]
# ## Question 1 · the first loss
#
# A fresh model knows nothing. If it says so, it gives all V tokens about the same probability 1/V, and its loss is −ln(1/V) = ln V.
# That is the first number to look at.

# %%
torch.manual_seed(0)
model = GPT(small)
inputs, targets = data.batch_at(0, batch_size=8)
assert torch.equal(inputs[:, 1:], targets[:, :-1].where(targets[:, :-1] >= 0, START))  # one place apart; padding aside
with torch.no_grad():
    first = next_token_loss(model(inputs), targets)
print(f"ln {V} = {math.log(V):.2f}, first loss {first:.2f}")
assert abs(first.item() - math.log(V)) < 0.1

# %% [markdown]
# If the first loss is far *above* ln V, the model is sure of things it cannot know. The usual reason is weights that start
# too large. GPT-2 draws them with a standard deviation of 0.02. Fifty times that:

# %%
torch.manual_seed(0)
loud = GPT(small)
with torch.no_grad():
    loud.token_embedding.weight.mul_(50)
    print(f"first loss with a loud embedding: {next_token_loss(loud(inputs), targets):.0f}")

# %% [markdown]
# ## Question 2 · overfit one batch
#
# One step of training has four parts. The **forward** pass computes the loss. The **backward** pass computes the gradient: for
# each parameter, how much the loss would rise if it grew a little. The **optimiser** moves every parameter a small step the
# other way. And the gradients are set back to nothing, because `backward` adds to what is there.


# %%
def train_step(model: GPT, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor) -> float:
    """One step, and the loss before it. inputs and targets are (B, T)."""
    loss = next_token_loss(model(inputs), targets)  # forward
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


# %% [markdown]
# Give the model the same four stories again and again. A loop without mistakes learns them by heart. A loop with a mistake in
# the targets, the mask or the optimiser mostly cannot.

# %%
torch.manual_seed(0)
model = GPT(small)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
inputs, targets = data.batch_at(0, batch_size=4)
by_heart = [train_step(model, optimizer, inputs, targets) for _ in range(240)]
print(f"loss at step 0: {by_heart[0]:.1f}")
print("below 0.1 in the end:", by_heart[-1] < 0.1)
assert by_heart[-1] < 0.1

# %% [markdown]
# Without any randomness, which of the four does it tell?

# %%
told = tokenizer.decode(generate(model.eval(), [START], max_new_tokens=190, stop_token=START, temperature=0)[0])
print("word for word one of the four:", told in [stories.story_at("train", i).text for i in range(4)])

# %% [markdown]
# The loop works. But a loss of nearly zero is again far below the floor. Is that not forbidden?
#
# <div class="alert alert-warning">
# <b>You may have read</b> that a lower training loss means a better model, and that a good run ends near zero.
# Neither holds. This model reached nearly zero on its four stories by learning them by heart. On stories it has not seen it is worse
# than a model that knows nothing. The floor binds a model only on text that it could not memorise: so always measure on held-out
# text, and distrust a loss below the floor.
# </div>

# %%
print("held-out loss above ln V:", mean_loss(model, data, "val") > math.log(V))
assert mean_loss(model, data, "val") > math.log(V)

# %% [markdown]
# ## The recipe
#
# Between this loop and a good run stand four habits. Each has a reason.
#
# ### The learning rate: warm-up and cosine
#
# The **learning rate** scales the size of a step. Large steps learn fast and end jittery; small steps are slow. So it changes
# during the run. At the start the gradients of a random model are wild, and the rate climbs from almost nothing: the
# **warm-up** (Vaswani et al. 2017 used one). Then it falls along half a **cosine** (Loshchilov and Hutter 2017), so that the last steps
# settle.


# %% tags=["package:minigpt.training.optim.learning_rate_at"]
def learning_rate_at(step: int, config: TrainConfig) -> float:
    """The fraction of the peak learning rate at `step` (0 is the first): a linear warm-up, then half a cosine."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps)
    return config.min_learning_rate + (1 - config.min_learning_rate) * (1 + math.cos(math.pi * min(1.0, done))) / 2


# %% [markdown]
# By hand, for 100 steps of which 10 are warm-up: at step 4 it is 5/10. Step 55 is half-way through the cosine: (1 + cos 90°)/2 = 1/2.
# A quarter of the way, at step 32.5, it would be (1 + cos 45°)/2 = 0.854.

# %%
recipe = TrainConfig(max_steps=100, warmup_steps=10)
for step in (0, 4, 9, 10, 55, 99):
    print(f"step {step:2}: {learning_rate_at(step, recipe):.4f} of the peak")
print(f"a quarter of the way: {(1 + math.cos(math.pi / 4)) / 2:.4f}")
plots.learning_rate_schedule(recipe)

# %% [markdown]
# ### Exercise 2 · another schedule (★★☆, 10 min)
#
# Many recent runs keep the rate constant for most of the time and let it fall in a straight line only at the end: warm-up, stable,
# decay (Hu et al. 2024). The constant part can be as long as you like, so you need not know the end in advance. Write it:
# the warm-up as above, then 1, and from step `decay_start` on a straight line that would reach 0 at step `max_steps`. There may be no warm-up at all (0 steps).


# %% tags=["exercise"]
def warmup_stable_decay(step: int, warmup_steps: int, decay_start: int, max_steps: int) -> float:
    """The fraction of the peak learning rate at `step`, 0 <= step < max_steps."""
    ### BEGIN SOLUTION
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step < decay_start:
        return 1.0
    return (max_steps - step) / (max_steps - decay_start)
    ### END SOLUTION


# %%
check.warmup_stable_decay(warmup_stable_decay)

# %% [markdown]
# ### Clipping the gradient
#
# Now and then a batch gives a gradient many times longer than usual, and one such step can undo many good ones. **Clipping** (Pascanu
# et al. 2013) limits the length of the whole gradient and keeps its direction. The vector [3, 4] has length 5. Clipped to 1 it is
# [3/5, 4/5].

# %%
weight = nn.Parameter(torch.zeros(2))
weight.grad = torch.tensor([3.0, 4.0])
length = nn.utils.clip_grad_norm_([weight], max_norm=1.0)
print(f"length {length:.1f}, clipped to {[f'{g:.4f}' for g in weight.grad.tolist()]}")
assert torch.allclose(weight.grad, torch.tensor([0.6, 0.8]))

# %% [markdown]
# ### Exercise 3 · clip (★☆☆, 10 min)
#
# Write it for a list of gradients, one for each parameter. The length is that of all their numbers together, not of each alone. A
# gradient that is short enough stays as it is. Return new tensors and leave those you were given alone.


# %% tags=["exercise"]
def clip(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    """The gradients, all scaled by the same factor so that their common length is at most max_norm."""
    ### BEGIN SOLUTION
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    factor = torch.clamp(max_norm / norm, max=1.0)
    return [gradient * factor for gradient in gradients]
    ### END SOLUTION


# %%
check.clip(clip)

# %% [markdown]
# ### Weight decay, but not for everything
#
# **Weight decay** pulls every weight a little toward zero at each step, so that a weight stays large only if the data keeps asking for
# it. It is meant for matrices. A LayerNorm's gain is meant to be near 1 and a bias shifts: to pull them to zero has no such reason, so
# they go into a group of their own.


# %% tags=["package:minigpt.training.optim.parameter_groups"]
def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices with weight decay, biases and LayerNorm gains without."""
    parameters = list(model.parameters())  # a tied matrix is listed once
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


# %%
for group in parameter_groups(GPT(small), weight_decay=0.1):
    tensors: list[Tensor] = group["params"]  # type: ignore[assignment]
    print(f"decay {group['weight_decay']}: {len(tensors):2} tensors, {sum(t.numel() for t in tensors):7,} numbers")

# %% [markdown]
# ### Two optimisers: AdamW and Muon
#
# **AdamW** (Kingma and Ba 2015; Loshchilov and Hutter 2019) looks at each number alone. It divides the gradient by its own recent
# size, so that in the first step every number moves by the learning rate, whether its gradient was large or tiny:

# %%
gradient = torch.tensor([[3.0, 0.0], [0.0, 0.1]])
weight = nn.Parameter(torch.zeros(2, 2))
weight.grad = gradient + 1e-3
torch.optim.AdamW([weight], lr=0.01, weight_decay=0.0).step()
print(weight.detach())

# %% [markdown]
# **Muon** (Jordan et al. 2024) looks at a matrix as a whole. A matrix stretches some directions more than others; the amounts are its
# **singular values**. A gradient matrix often has one huge direction and many small ones. Muon keeps the directions and makes all
# the amounts nearly equal, so that rare directions learn as well. It is for the matrices in the blocks; embeddings, biases and
# LayerNorms stay with AdamW.

# %%
weight = nn.Parameter(torch.zeros(2, 2))
weight.grad = gradient.clone()
torch.optim.Muon([weight], lr=1.0, weight_decay=0.0, momentum=0.0, nesterov=False).step()
print("singular values of the gradient:", [f"{s:.1f}" for s in torch.linalg.svdvals(gradient)])
print("both nearly equal in Muon's step:", torch.linalg.svdvals(weight.detach()).min().item() > 0.5)
assert 0.5 < torch.linalg.svdvals(weight.detach()).min() < torch.linalg.svdvals(weight.detach()).max() < 1.5

# %% [markdown]
# Which is better? Muon does more arithmetic in each step, so to compare step by step would be unfair. Compare by the clock: both train
# the same small model, and we look at the loss against the seconds.

# %% tags=["nbval-ignore-output"]
races: dict[str, list[dict[str, float]]] = {}
for name in ("adamw", "muon"):
    contest = TrainConfig(max_steps=120, batch_size=16, optimizer=name, learning_rate=3e-3, warmup_steps=10, threads=1)
    trainer = Trainer(GPTConfig(vocab_size=V, context_length=192, n_layers=2, n_heads=4, d_model=64), contest, data)
    lines: list[StepResult] = []
    trainer.run(on_step=lines.append, progress=False)
    races[name] = [{"step": line.step, "loss": line.loss, "seconds": line.seconds} for line in lines]
    print(f"{name:<6} {lines[-1].seconds:.1f} s for {len(lines)} steps")
plots.training_curves(races, x="seconds")

# %% [markdown]
# The two lines start at the same loss. In the run on this page Muon ends ahead, also at equal seconds and in spite of its dearer step.
# The times differ from machine to machine; what is checked here is that Muon is ahead after equal *steps*:

# %%
assert races["muon"][-1]["loss"] < races["adamw"][-1]["loss"]

# %% [markdown]
# This holds for this model and these learning rates. Each optimiser has its own best rate, and a comparison with one of them badly
# chosen proves nothing: change AdamW's rate above, and see whether it can catch up.

# %% [markdown]
# ## From nothing to stories
#
# Now the real run. The recipe has a name, `storyteller`, and so has the command that runs all of it in a terminal:
#
# ```
# minigpt train --preset storyteller --out run
# ```
#
# We change a little so that it takes minutes: two narrower blocks instead of three, because a shallower model learns faster at first, and
# far fewer steps. One thread is enough for so small a model. On the way we look at it.

# %%
storyteller = preset("storyteller")
model_config = replace(storyteller.model, vocab_size=V, n_layers=2, d_model=128)
recipe = replace(
    storyteller.train, max_steps=1900, learning_rate=2e-2, warmup_steps=50, eval_every=400, save_every=800, threads=1
)
size = sum(parameter.numel() for parameter in GPT(model_config).parameters())
print(f"{size:,} parameters, {recipe.max_steps} steps of {recipe.batch_size} stories, {recipe.optimizer}")
print("stories that the run will see:", f"{recipe.max_steps * recipe.batch_size:,}, none of them twice")

# %% [markdown]
# At each stage we ask three things: the loss on held-out stories, and of a hundred stories that the model tells, how many are
# **grammatical** (every sentence exists in the world, in an order that a plot allows) and how many are **consistent** (and no fact
# contradicts another). Then we read one.

# %% tags=["nbval-ignore-output"]
folder = Path(tempfile.mkdtemp())  # a run needs a place for its checkpoints; this one is thrown away
trainer = Trainer(model_config, recipe, data, out=folder / "story_run")
print(f"{trainer.threads} threads, {trainer.precision}")

stages: list[dict[str, Any]] = []


def look(result: StepResult) -> None:
    """Measure the model and keep one of its stories."""
    if result.step in (50, 200, 500, 1000, 1600, recipe.max_steps):
        told = sample_stories(trainer.model, tokenizer, 100, seed=1)
        grades = grade(told)
        stages.append({
            "step": result.step, "held_out": mean_loss(trainer.model, data, "val", precision=trainer.precision),
            "grammatical": grades.grammatical, "consistent": grades.consistent, "story": told[0],
        })  # fmt: skip


trainer.run(on_step=look)
torch.set_num_threads(1)

# %% tags=["nbval-ignore-output"]
plots.training_curves({"storyteller": read_metrics(folder / "story_run") + stages}, floor=bound.split_loss)

# %% [markdown]
# Read the curve from the left. It starts at ln V. Within the first steps it drops to what a unigram can do: the model has learned which
# tokens are frequent. Then come the pairs of tokens and the sentences. The slow part after that is the interesting one.

# %% tags=["nbval-ignore-output"]
for stage in stages:
    print(
        f"step {stage['step']}: loss {stage['held_out']:.3f}, "
        f"grammatical {stage['grammatical']:.0%}, consistent {stage['consistent']:.0%}"
    )
    print(textwrap.fill(stage["story"][:400], 100))
    print(f"first thing wrong: {stories.verify(stage['story']).problem}\n")

# %% [markdown]
# First the model learns the sentences, while the names in them are drawn anew each time. Then, one after another, it learns to look
# back: for the name, the animal, the colour, what stood behind what. A story is consistent only when all of these hold. So the share
# of consistent stories stays near zero for long, and then rises fast. Nobody programmed any of it. Olsson et al. (2022) studied such a
# moment in other models, and tied it to attention heads that find an earlier occurrence and copy what followed it.
#
# Question 3: did the loss stay above the floor? And how good is the result?

# %%
final = stages[-1]
gap = final["held_out"] - bound.split_loss
print("above the floor:", gap > -3 * bound.standard_error)
print("closer than 0.03 nats per token:", gap < 0.03)
assert gap > -3 * bound.standard_error
assert gap < 0.03

# %% [markdown]
# At temperature 1 each token is drawn exactly with the model's probabilities. After so short a training a tail of hopeless tokens
# is left. Each has next to no probability, but there are many, and a story gives them a hundred chances to spoil it. A **temperature** of
# 0.8 cuts the tail: it makes likely tokens likelier and unlikely ones rarer still (lesson 13 shows how). The bundled model, which
# trained for longer, does not need it.

# %% tags=["nbval-ignore-output"]
for temperature in (1.0, 0.8):
    grades = grade(sample_stories(trainer.model, tokenizer, 300, seed=2, temperature=temperature))
    print(f"temperature {temperature}: grammatical {grades.grammatical:.0%}, consistent {grades.consistent:.0%}")

# %% [markdown]
# At temperature 0.8, at least 95 in 100 stories are grammatical and 80 in 100 hold together from the first sentence to the last:

# %%
print("at least 95 in 100 grammatical:", grades.grammatical >= 0.95)
print("at least 80 in 100 consistent:", grades.consistent >= 0.80)
assert grades.grammatical >= 0.95
assert grades.consistent >= 0.80

# %% [markdown]
# ## Save, kill, resume
#
# A long run dies before its end sooner or later: a flat battery, a full disk, an impatient colleague. A run that starts again from
# a checkpoint should end with the *same* weights as one that was never stopped. For that the checkpoint must hold more than
# the weights: the optimiser's memory of past gradients, the state of the random generator, and the number of the step, which fixes
# the next batch and the learning rate.
#
# Try it the hard way. A run in a process of its own is killed in the middle of its work, without warning.


# %%
def train_command(out: Path, *more: str) -> list[str]:
    """The command line of a very small run."""
    recipe = ["--preset", "tiny", "--max-steps", "40", "--save-every", "10", "--threads", "1"]
    return [sys.executable, "-m", "minigpt", "train", *recipe, "--out", str(out), *more]


def steps_done(out: Path) -> int:
    """How many steps a run has written down."""
    return len(read_metrics(out)) if (out / "metrics.jsonl").exists() else 0


process = subprocess.Popen(train_command(folder / "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while steps_done(folder / "killed") < 15 and process.poll() is None:
    time.sleep(0.02)
process.kill()
process.wait()
print("checkpoint of step 10 there:", (folder / "killed" / "checkpoints" / "step-00000010").exists())
print("finished:", steps_done(folder / "killed") == 40)

# %% [markdown]
# Now resume it, and beside it run the same thing without a stop.

# %%
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
subprocess.run(train_command(folder / "killed", "--resume"), **quiet)  # type: ignore[call-overload]
subprocess.run(train_command(folder / "never stopped"), **quiet)  # type: ignore[call-overload]

losses = {name: [line["loss"] for line in read_metrics(folder / name)] for name in ("killed", "never stopped")}
print("steps:", {name: len(values) for name, values in losses.items()})
print("all losses equal to the last bit:", losses["killed"] == losses["never stopped"])
assert losses["killed"] == losses["never stopped"]

# %% [markdown]
# Equal to the last bit, not only to a few digits. (For that the number of threads must be the same too, because sums of floating-point
# numbers depend on their order. A run writes down the number it used, and `--resume` keeps it.)

# %% [markdown]
# ## Your own text
#
# Stories of our world have a floor and a checker. Other texts have neither, and everything else is the same. In a terminal:
#
# ```
# minigpt train --preset shakespeare-char --data shakespeare --out shakespeare_run
# minigpt generate --model shakespeare_run --max-new-tokens 300 "ROMEO:"
# minigpt train --preset shakespeare-char --data my_diary.txt --tokenizer char --out diary_run
# ```
#
# The first downloads 1.1 MB once; the last takes any text file. A text of less than about a hundred thousand characters will be learned by
# heart: watch for the validation loss to turn upward while the training loss still falls.

# %% [markdown]
# ## What to remember
#
# 1. Before a long run: is the first loss near ln V, and does one batch overfit? A wrong target raises no error.
# 2. A loss below the floor is a mistake or a memorised text, so measure on held-out text.
# 3. The learning rate warms up and then falls; long gradients are clipped; weight decay is for matrices.
# 4. Compare optimisers by the clock, each at a learning rate that suits it.
# 5. A run that can be killed keeps weights, optimiser, random state and step, and resumes bit for bit.

# %% [markdown]
# ## Primary sources
#
# - Vaswani et al. 2017, Attention Is All You Need, section 5.3, warm-up (https://arxiv.org/abs/1706.03762)
# - Loshchilov and Hutter 2017, SGDR: Stochastic Gradient Descent with Warm Restarts, the cosine (https://arxiv.org/abs/1608.03983)
# - Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks, clipping (https://arxiv.org/abs/1211.5063)
# - Kingma and Ba 2015, Adam (https://arxiv.org/abs/1412.6980)
# - Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization (https://arxiv.org/abs/1711.05101)
# - Jordan et al. 2024, Muon (https://kellerjordan.github.io/posts/muon/)
# - Hu et al. 2024, MiniCPM, the warm-up, stable, decay schedule (https://arxiv.org/abs/2404.06395)
# - Olsson et al. 2022, In-context Learning and Induction Heads (https://arxiv.org/abs/2209.11895)
#
# **Next** · [Lesson 11 · Training on a GPU](11_training_on_a_gpu.ipynb): what makes the same loop faster there, rung by rung.
