# %% [markdown]
# # Lesson 19 · Verified rewards
#
# A storyteller that has read hundreds of thousands of right stories still tells some wrong ones. More right stories would not help it much: what it has never seen
# is its own mistakes. In this lesson it tells stories, a verifier says which are right, and that alone makes it better. Then we give it a verifier with one hole.
#
# **You will be able to**
# - derive the slope of an expected reward by hand, and estimate it from answers that were drawn by chance,
# - say why a baseline is subtracted, and how much it helps,
# - read the loss of GRPO part by part: advantage, ratio, clip, divergence, and say why it starts at 0,
# - train a model against a verifier, and measure exactly what that gains and what it costs,
# - recognise reward hacking by two curves, and say what a divergence term does against it.
#
# **Time** 95 min
#
# **Builds on** [lesson 9](09_loss_backprop_adamw.ipynb) (slopes of a softmax, AdamW), [lesson 13](13_generation.ipynb) (sampling) and
# [lesson 1](01_next_token_game.ipynb) (the story world, its floor)
#
# ![The GPT in one row, its distribution and the arrow that draws a token in colour; below it three columns of four boxes: stories 1 to 4, the verifier's marks 1, 1, 0, 1, and the marks minus their mean, +0.25 three times and −0.75 once; an arrow leads from the last column back to the first, «more of this, less of that»](../figures/where_verified_rewards.svg)

# %% tags=["setup"]
import copy
import json
import math
import random
import re
import textwrap
from dataclasses import replace
from importlib import resources
from itertools import product

import torch
from torch import Tensor, nn

from minigpt.config import TUNING, GPTConfig
from minigpt.course import check, plots, start_lesson
from minigpt.evaluation.intervals import wilson
from minigpt.evaluation.stories import sample_stories
from minigpt.evaluation.truth import (
    PerfectReader,
    divergence,
    impossible,
    true_distributions,
)
from minigpt.generation.generate import generate
from minigpt.model.gpt import GPT, next_token_loss
from minigpt.text import stories
from minigpt.text.batch import pad_rows
from minigpt.text.data import StoryData
from minigpt.training.answers import (
    Prompt,
    Reward,
    consistent,
    kl_terms,
    story_prompts,
)
from minigpt.training.options import REWARD_METHODS
from minigpt.training.rewards import RewardObjective, advantages
from minigpt.training.trainer import Trainer
from minigpt.weights.checkpoint import load_model

start_lesson()

# %% [markdown]
# ## Five in a hundred
#
# Let the storyteller tell 100 stories from nothing, at temperature 1, and let `verify` read them. It knows every sentence of the story world, and it remembers who is who.

# %% tags=["nbval-ignore-output"]
storyteller, tokenizer = load_model("storyteller")
told = sample_stories(storyteller, tokenizer, 100, seed=0)
verdicts = [stories.verify(text) for text in told]
right_before = sum(verdict.consistent for verdict in verdicts)
low, high = wilson(right_before, len(told))
print(f"{right_before} of {len(told)} right, interval {low:.1%} to {high:.1%}")
for verdict in [v for v in verdicts if not v.consistent][:4]:
    print(textwrap.fill(f"wrong: {verdict.problem}", 84, subsequent_indent="    "))

# %%
# of 1,000 stories about 94 in 100 are right; the slack is four standard errors
assert 0.84 * len(told) < right_before <= len(told)

# %% [markdown]
# Some mistakes are contradictions: a rabbit that was a duck before. Others are a single word that fits nowhere. Such a word has a tiny probability at each place, but a story has a hundred and more places.
#
# Its loss is a thousandth of a nat above the floor, so reading on will hardly cure that. The verifier could. But how do we learn from it? `verify` is no formula; it has no slope. It says right or wrong, and only about a whole story that has been told already.

# %% [markdown]
# ## Two arms, by hand
#
# Take the smallest model that can choose: two answers A and B, with a score for each, and softmax over the scores. Answer A is worth a **reward** of 1, B of 0. A model that chooses its answers by chance is called a **policy**
# here; the scores are what it learns.

# %%
scores = [0.0, math.log(3)]
rewards = [1.0, 0.0]


def chances(scores: list[float]) -> list[float]:
    total = sum(math.exp(score) for score in scores)
    return [math.exp(score) / total for score in scores]


def expected_reward(scores: list[float]) -> float:
    return sum(p * r for p, r in zip(chances(scores), rewards, strict=True))


p = chances(scores)
print("chances:", [f"{x:.4f}" for x in p])
print(f"expected reward: {expected_reward(scores):.4f}")

# %% [markdown]
# The model gets 0.25 in the mean. In which direction should the scores move? From lesson 9 we know the slopes of a softmax: raise the score of A by a little, and $p_A$ rises by $p_A(1 - p_A)$, while $p_B$ falls by $p_A p_B$. So the expected reward
# $J = p_A r_A + p_B r_B$ has the slope $p_A (r_A - J)$ for the score of A, and $p_B (r_B - J)$ for that of B. Work both out: $0.25 \cdot 0.75 = 0.1875$ and $0.75 \cdot (-0.25) = -0.1875$. Nudge the scores to see that it is so:

# %%
J = expected_reward(scores)
slope = [p[i] * (rewards[i] - J) for i in range(2)]
nudged = [
    (expected_reward([s + 1e-6 * (i == j) for j, s in enumerate(scores)]) - J) / 1e-6
    for i in range(2)
]
print([f"{x:.4f}" for x in slope], "nudged:", [f"{x:.4f}" for x in nudged])
assert all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(slope, nudged, strict=True))

# %% [markdown]
# That took the rewards of *all* answers. Two arms can all be tried. Stories cannot: there are far more than anybody could tell. We can draw a few and see what they are worth.
#
# One line of calculus turns the sum over all answers into a mean over drawn ones. The slope of $\ln p$ is the slope of $p$ divided by $p$, so $\nabla p = p\, \nabla \ln p$, and
#
# $$\nabla J = \sum_a r_a \nabla p_a = \sum_a p_a \cdot r_a \nabla \ln p_a$$
#
# The right side is a mean in which each answer counts with its chance. Drawing does just that. So: *draw an answer, take the slope of the logarithm of its probability, multiply by its reward.* In the mean that is the slope of the
# expected reward, and nobody had to differentiate the verifier. This is a **policy gradient**; the recipe is called REINFORCE (Williams 1992, theorem 1).
#
# By hand: the slopes of $\ln p_A$ are $1 - p_A = 0.75$ for the score of A and $-p_B = -0.75$ for that of B.

# %%
log_slopes = [[float(i == a) - p[i] for i in range(2)] for a in range(2)]
for a, name in enumerate("AB"):
    shown = [f"{s:+.2f}" for s in log_slopes[a]]
    times = [f"{rewards[a] * s:.2f}".replace("-0.00", "0.00") for s in log_slopes[a]]
    print(f"draw {name}: slope of ln p {shown}, times reward {times}")
mean = [sum(p[a] * rewards[a] * log_slopes[a][i] for a in range(2)) for i in range(2)]
print("mean over draws:", [f"{x:.4f}" for x in mean])
assert all(math.isclose(a, b) for a, b in zip(mean, slope, strict=True))

# %% [markdown]
# In three of four draws nothing happens at all; in the fourth A becomes more probable, four times as strongly as it should in the mean. Right on average, and noisy: that is the nature of the thing, and most of what follows fights it.

# %% [markdown]
# ## Every answer of a small GPT
#
# Now with tokens. Here is a GPT with three of them, a, b and an end, and answers of at most three tokens. All of its answers can be listed, so whatever is a mean over draws can be computed exactly.

# %%
LETTERS, END = "ab.", 2
torch.manual_seed(0)
small = GPT(
    GPTConfig(vocab_size=3, context_length=4, n_layers=1, n_heads=1, d_model=4)
).double()
with torch.no_grad():
    for parameter in small.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.4)

Answer = tuple[int, ...]
every: list[Answer] = [
    answer
    for length in (1, 2, 3)
    for answer in product(range(3), repeat=length)
    if END not in answer[:-1] and (answer[-1] == END or length == 3)
]


def log_probability(model: GPT, answer: Answer) -> Tensor:
    """Of a whole answer: the sum over its tokens."""
    logits: Tensor = model(torch.tensor([[END, *answer[:-1]]]))[0]  # (T, 3)
    return logits.log_softmax(-1)[range(len(answer)), list(answer)].sum()


def worth(answer: Answer) -> float:
    """1 for an answer that ends and has at most one a, else 0."""
    return float(answer.count(0) < 2 and END in answer)


def spelled(answer: Answer) -> str:
    return "".join(LETTERS[token] for token in answer)


log_p = torch.stack([log_probability(small, answer) for answer in every])
worths = torch.tensor([worth(answer) for answer in every], dtype=torch.float64)
sure = float(log_p.detach().exp().sum())
print(f"{len(every)} answers; their probabilities add up to {sure:.4f}")
print("worth 1:", [spelled(a) for a, w in zip(every, worths, strict=True) if w])
J_small = (log_p.exp() * worths).sum()
print(f"expected reward {float(J_small.detach()):.4f}")

# %% [markdown]
# The probability of an answer is a product over its tokens, its logarithm a sum. So each token gets the same reward: that of the whole answer. Nobody tells the model *which* token was the good one. Chance does, over many answers.
#
# The exact slope of the expected reward, for all numbers of the model, and the mean of the recipe over all answers:

# %%
parameters = list(small.parameters())


def slopes_of(value: Tensor) -> Tensor:
    """The slopes of a value for every number of the small GPT, in one row."""
    found = torch.autograd.grad(
        value, parameters, retain_graph=True, materialize_grads=True
    )
    return torch.cat([slope.flatten() for slope in found])


true_slope = slopes_of(J_small)
each = torch.stack([slopes_of(one) for one in log_p])  # (15, numbers): of ln p
chance = log_p.detach().exp()  # (15,)
of_recipe = ((chance * worths)[:, None] * each).sum(0)
print(f"{len(true_slope)} numbers; length of the slope {float(true_slope.norm()):.4f}")
assert torch.allclose(of_recipe, true_slope, atol=1e-12)

# %% [markdown]
# Equal. So the recipe is right *in the mean*. What does one get from 16 answers that are really drawn? Four tries, and how far each lies from the true slope, in lengths of that slope:

# %%
generator = torch.Generator().manual_seed(0)
for _ in range(4):
    rows = torch.multinomial(chance, 16, True, generator=generator)
    estimate = (worths[rows][:, None] * each[rows]).mean(0)
    away = float((estimate - true_slope).norm() / true_slope.norm())
    print(f"{int(worths[rows].sum()):2} of 16 right; off by {away:.2f} of its length")

# %% [markdown]
# In the worst of the four the error is nearly as large as what is to be found. More answers help slowly: a hundred times as many for a tenth of the error. Is there anything cheaper?
#
# ## Why a baseline
#
# Give every answer of the two arms 10 more: A is worth 11 now, and B 10. Which arm is better has not changed, nor has the slope: $p_A (11 - 10.25) = 0.1875$. But look at what a draw of A or of B says about the score of A:

# %%
for shift in (0.0, 10.0):
    samples = [(rewards[a] + shift) * log_slopes[a][0] for a in range(2)]
    average = p[0] * samples[0] + p[1] * samples[1]
    variance = p[0] * (samples[0] - average) ** 2 + p[1] * (samples[1] - average) ** 2
    said = " or ".join(f"{sample + 0.0:+.2f}" for sample in samples)
    print(f"{shift:2.0f} more: {said}; mean {average:.4f}, variance {variance:.4f}")

# %% [markdown]
# The mean is the same and the noise is enormous. Each draw now mostly says «more of what I did», whatever it did. In the mean these shouts cancel: the probabilities always add up to 1, so $\sum_a p_a \nabla \ln p_a = \sum_a \nabla p_a = 0$.
#
# What may be added may be taken away. A number that is subtracted from every reward before it is used is a **baseline**. It may be any number that does not depend on the answer drawn. Which is best? On the small GPT the variance can be computed exactly, summed over all its numbers:


# %%
def spread(baseline: float) -> tuple[Tensor, float]:
    """Of (reward - baseline) times the slope of ln p: mean and variance."""
    samples = (worths - baseline)[:, None] * each
    average = (chance[:, None] * samples).sum(0)
    return average, float((chance * (samples - average).square().sum(1)).sum())


mean_worth = float(J_small.detach())
for name, baseline in {"none": 0, "the mean": mean_worth, "1": 1, "−10": -10}.items():
    middle, variance = spread(baseline)
    print(f"baseline {name:<9} variance {variance:9.4f}")
    assert torch.allclose(middle, true_slope, atol=1e-10)

# %% [markdown]
# The assertion holds for each: no baseline changes the mean. The mean reward is a good choice, though not always the best one. What is left of a reward after the baseline is the answer's **advantage**: was it better than what this model usually gets?
#
# ### From the group
#
# Nobody knows the mean reward of a model that changes at every step, and different questions have different means. GRPO, «group relative policy optimization» (Shao et al. 2024, section 4.1), takes it from the answers themselves: several to the same question, a group, and the mean of their rewards is the baseline. It also divides by the
# standard deviation of the group. Dr. GRPO (Liu et al. 2025, section 3) leaves that out, because the division makes questions count more that are nearly always, or nearly never, answered right.
#
# One small thing is not quite clean. The mean of a group contains the answer itself, so the baseline does depend on it a little. What that does, on all pairs of draws of the two arms:

# %%
pairs = list(product(range(2), repeat=2))
group_mean = 0.0
for pair in pairs:
    baseline = sum(rewards[a] for a in pair) / 2
    estimates = [(rewards[a] - baseline) * log_slopes[a][0] for a in pair]
    group_mean += p[pair[0]] * p[pair[1]] * sum(estimates) / 2
print(f"mean over all pairs {group_mean:.4f}, true slope {slope[0]:.4f}")
assert math.isclose(group_mean, slope[0] / 2)

# %% [markdown]
# Half. With groups of $n$ it is $(n - 1)/n$ of the slope, in the same direction: no harm, where a learning rate is chosen anyway.
#
# ### Exercise 1 · advantages (★☆☆, 5 min)
#
# `rewards` has a row for each group. Return the advantages, in the same shape: each reward minus its group's mean and, with `normalise`, divided by the group's standard deviation (with $n - 1$, as torch's `std`) plus `1e-4`.
# In a group whose rewards are all equal every advantage is *exactly* 0. (Rounding can make the mean of seven times 0.1 another number than 0.1.)


# %% tags=["exercise"]
def group_advantages(rewards: Tensor, normalise: bool) -> Tensor:
    """(groups, n) -> (groups, n)."""
    ### BEGIN SOLUTION
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    equal = (rewards == rewards[:, :1]).all(dim=1, keepdim=True)
    centred = centred.masked_fill(equal, 0.0)
    if normalise:
        centred = centred / (rewards.std(dim=1, keepdim=True) + 1e-4)
    return centred
    ### END SOLUTION


# %%
check.group_advantages(group_advantages)

# %% [markdown]
# ## A loss that starts at 0
#
# Frameworks want a loss to lower. Take
#
# $$L = -\frac1n \sum_i \frac{\pi(a_i)}{\pi_{old}(a_i)}\, A_i$$
#
# $A_i$ is the advantage of answer $i$, $\pi(a_i)$ its probability now, and $\pi_{old}(a_i)$ its probability when it was drawn: a fixed number. At first the two are equal and the **ratio** is 1. Its slope is the slope of $\ln \pi$, so the slope of $L$ is that of the recipe, with a minus because a loss is lowered.
# And its value? The mean of the advantages of a group, with a minus: 0. Always.
#
# <div class="alert alert-warning">
# <b>You may have read</b> that a loss which stays at 0 means that nothing is learned, and that a falling loss means success.
# Not here. The advantages of a group add up to 0 by construction, whatever the answers were worth. The loss is only a handle for its slope. Whether it goes well, the rewards tell.
# </div>

# %%
learner = copy.deepcopy(small)
optimizer = torch.optim.AdamW(learner.parameters(), lr=0.005, weight_decay=0.0)
seeded = torch.Generator().manual_seed(1)
for step in range(21):
    now = torch.stack([log_probability(learner, answer) for answer in every])
    if step % 5 == 0:
        exact = float((now.detach().exp() * worths).sum())
    rows = torch.multinomial(now.detach().exp(), 64, True, generator=seeded)
    gains = advantages(worths[rows][None], normalise=False)[0]
    ratio = (now[rows] - now[rows].detach()).exp()  # 1, with a slope
    loss = -(ratio * gains).mean()
    shown_loss = abs(float(loss.detach()))
    if step % 5 == 0:
        print(f"step {step:2}  loss {shown_loss:.4f}  expected reward {exact:.2f}")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    assert shown_loss < 1e-9
assert exact > 0.95 > mean_worth

# %% [markdown]
# ### Twice from the same answers: the clip
#
# Telling stories takes most of the time. So one would like to take several steps from the same answers. After the first, the ratio is no longer 1: it corrects for the fact that the model has moved on. But it can grow without bound, and a single answer with a good advantage is
# pulled up and up by a model that never draws again to see what else it has changed.
#
# PPO (Schulman et al. 2017, equation 7) takes the smaller of two gains, with the ratio $\rho$ as it is and with the ratio kept between $1 - \varepsilon$ and $1 + \varepsilon$:
#
# $$\min\big(\rho A,\ \mathrm{clip}(\rho,\, 1 - \varepsilon,\, 1 + \varepsilon)\, A\big)$$
#
# GRPO does the same, for each token. Where the clipped one is the smaller, it is a constant, without a slope. DAPO (Yu et al. 2025, section 3.1) lets the upper bound lie higher, at 1.28, so that rare tokens can grow. With bounds 0.8 and 1.28:

# %%
for gain in (1.0, -1.0):
    for before in (0.5, 1.0, 1.5):
        ratio = torch.tensor(before, dtype=torch.float64, requires_grad=True)
        value = torch.minimum(ratio * gain, ratio.clamp(0.8, 1.28) * gain)
        (of_ratio,) = torch.autograd.grad(value, ratio)
        print(f"advantage {gain:+.0f}, ratio {before}: ", end="")
        print(f"gain {float(value.detach()):+.2f}, slope {float(of_ratio):+.0f}")

# %% [markdown]
# Two of the six have no slope: a good answer that has grown enough, and a bad one that has shrunk enough. The other two corners still have theirs. A good answer that has become *less* probable may come back.
#
# ### Exercise 2 · the ratio and its clip (★★☆, 7 min)
#
# Given the log-probabilities of tokens now and when they were drawn, and the advantage of each, return each token's gain to *maximise*: the formula above, with bounds `1 - low` and `1 + high`. All have the same shape. No slope may flow into `old`.


# %% tags=["exercise"]
def clipped_gain(
    now: Tensor, old: Tensor, advantage: Tensor, low: float, high: float
) -> Tensor:
    """min(ratio · A, clip(ratio) · A) for each token."""
    ### BEGIN SOLUTION
    ratio = (now - old.detach()).exp()
    clipped = ratio.clamp(1 - low, 1 + high)
    return torch.minimum(ratio * advantage, clipped * advantage)
    ### END SOLUTION


# %%
check.clipped_gain(clipped_gain)

# %% [markdown]
# ## How far from where it began
#
# A model that learns only from a reward may forget everything else. So one measures how far it has gone from a **reference**, usually a copy of what it started as, with the Kullback-Leibler divergence: the mean, over the model's own answers, of $\ln \pi - \ln \pi_{ref}$.
#
# For the two arms, with the model at 0.25 and 0.75 and the reference at a half each: $0.25 \ln 0.5 + 0.75 \ln 1.5 = 0.1308$ nats. A real model has too many answers for that sum; a few are drawn, and each gives an estimate. Schulman (2020) compares three. With $d = \ln \pi - \ln \pi_{ref}$ they are
# $k_1 = d$, $k_2 = d^2/2$ and $k_3 = e^{-d} - 1 + d$:

# %%
reference = torch.tensor([0.5, 0.5], dtype=torch.float64)
model_p = torch.tensor(p, dtype=torch.float64)
d = model_p.log() - reference.log()
print(f"exact: {float((model_p * d).sum()):.4f}")
for name, k in {"k1": d, "k2": d**2 / 2, "k3": (-d).exp() - 1 + d}.items():
    average = float((model_p * k).sum())
    deviation = float((model_p * (k - average) ** 2).sum().sqrt())
    print(f"{name}: A says {k[0]:+.4f}, B says {k[1]:+.4f}; ", end="")
    print(f"mean {average:.4f}, standard deviation {deviation:.4f}")
assert torch.allclose(kl_terms(model_p.log(), reference.log(), "k3"), k)

# %% [markdown]
# $k_1$ is right in the mean and wild: a divergence is never negative, and draw A says −0.69. $k_2$ is calm and a little off. $k_3$ has both virtues. GRPO takes it (its equation 4), weighs it with a number β, 0.04 in the paper, and adds it to the loss.
#
# ### Exercise 3 · k3 (★☆☆, 5 min)
#
# From log-probabilities in the model and in the reference: $k_3$ of each. Near zero the formula as it stands loses digits: $e^{-d} - 1$ is a difference of nearly equal numbers. `torch.expm1(x)` computes $e^x - 1$ without that loss.


# %% tags=["exercise"]
def k3(now: Tensor, reference: Tensor) -> Tensor:
    """exp(-d) - 1 + d, with d = now - reference; never negative."""
    ### BEGIN SOLUTION
    d = now - reference
    return torch.expm1(-d) + d
    ### END SOLUTION


# %%
check.k3(k3)

# %% [markdown]
# ### Exercise 4 · the loss of GRPO (★★★, 18 min)
#
# You are given, for `B` answers of at most `T` tokens:
#
# - `now`, `old`, `reference` (B, T): log-probabilities of the tokens; places behind an answer's end hold zeros,
# - `mask` (B, T): 1 where there is a token, 0 behind the end,
# - `rewards` (B,): groups of `group` answers, one group after the other.
#
# The loss is the mean over answers of each answer's mean over its own tokens of $-\text{gain} + \beta\, k_3$, with the clip at $1 \pm \varepsilon$ and advantages divided by the group's standard deviation plus `1e-4`. A group with equal rewards has advantages 0 (its answers still count for the divergence). Only `now` gets a slope. Return a scalar.


# %% tags=["exercise"]
def grpo_loss(
    now: Tensor,
    old: Tensor,
    reference: Tensor,
    mask: Tensor,
    rewards: Tensor,
    group: int,
    epsilon: float,
    beta: float,
) -> Tensor:
    """The loss of one batch, to be lowered."""
    ### BEGIN SOLUTION
    grouped = rewards.view(-1, group)
    centred = grouped - grouped.mean(dim=1, keepdim=True)
    gains = centred / (grouped.std(dim=1, keepdim=True) + 1e-4)
    gains = gains.view(-1, 1)  # (B, 1)
    ratio = (now - old.detach()).exp()
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon)
    gain = torch.minimum(ratio * gains, clipped * gains)
    d = now - reference.detach()
    each = -gain + beta * (torch.expm1(-d) + d)  # (B, T)
    per_answer = (each * mask).sum(dim=1) / mask.sum(dim=1)
    return per_answer.mean()
    ### END SOLUTION


# %%
check.grpo_loss(grpo_loss)

# %% [markdown]
# ## The storyteller learns from the verifier
#
# Now the real thing. At each step the storyteller tells 64 stories in four groups of 16, all from nothing. `verify` gives each 1 or 0. Then one update, with advantages that are not divided by anything and each story counted as the sum of its tokens: the slope of the mean reward itself (Dr. GRPO's choice). There is one update for each batch, so the ratio is 1 and the clip has
# nothing to do. The right stories are kept; we shall need them.

# %%
prompts = story_prompts(tokenizer, storyteller.config.context_length)


def by_rewards(
    reward: Reward,
    steps: int,
    kl: float = 0.0,
    watch: dict[str, Reward] | None = None,
    rate: float = 1e-3,
    count: int = 64,
) -> tuple[GPT, list[dict[str, float]]]:
    """The storyteller after so many steps, and what each step measured."""
    options = replace(REWARD_METHODS["dr_grpo"], group=16, kl=kl, kl_estimator="k2")
    options = replace(options, max_kl=1e9)  # else a run that goes far astray is ended
    objective = RewardObjective(
        prompts, reward, copy.deepcopy(storyteller), options, watch
    )
    recipe = replace(TUNING["rewards"], max_steps=steps, batch_size=count, threads=1)
    recipe = replace(recipe, learning_rate=rate, warmup_steps=2, min_learning_rate=1.0)
    data = StoryData(tokenizer, storyteller.config.context_length)
    trainer = Trainer(
        storyteller.config, recipe, data, start=storyteller, objective=objective
    )
    measured: list[dict[str, float]] = []
    trainer.run(on_step=lambda done: measured.append(done.measures), progress=False)
    return trainer.model.eval(), measured


kept: list[str] = []


def verified(prompt: Prompt, answer: str) -> float:
    """What `consistent` says; and every right story is written down."""
    mark = consistent(prompt, answer)
    kept.extend([answer] * int(mark))
    return mark


# %% tags=["nbval-ignore-output"]
rewarded, by_step = by_rewards(verified, steps=8)
for step, found in enumerate(by_step):
    right = round(64 * found["reward"])
    low, high = wilson(right, 64)
    print(
        f"step {step:2}: {right} of 64 right, interval {low:.0%} to {high:.0%}; "
        f"entropy {found['entropy']:.3f}, divergence {found['kl']:5.2f}"
    )

# %%
assert len(by_step) == 8 and by_step[0]["kl"] < 1e-3 < by_step[-1]["kl"]

# %% [markdown]
# Did it get better? Eight shares of 64 stories each lie between 80% and 100% by chance alone, and a rising curve of such points is easily had. Counting would take some thousand stories. We can do better: this is a world whose true probabilities are known.
#
# ## Exactly what changed
#
# **The gain.** Read a story that the model told, token by token, as far as it is right. At each place a `PerfectReader` knows what can come next, and the model's probability of *everything else* is the chance that it goes wrong just here. Added up over the story, and averaged over stories, this is the chance that a story goes wrong. It is far less noisy than counting,
# because each story tells of all the mistakes that might have been made, and not only of those that chance did make.
#
# **The price.** How far is the model from the truth among what is possible? Along 30 true stories we compare the true probabilities $p$ of what can come with the model's own $q'$, and add up $KL(p\,\|\,q')$, in nats a story. Nothing is drawn there at all.

# %%
TEST = [stories.story_at("test", number).text for number in range(30)]
TRUTH = [true_distributions(tokenizer, text) for text in TEST]
START = tokenizer.special_tokens["<|endoftext|>"]  # before each story, and behind it


@torch.no_grad()
def log_table(model: GPT, tokens: list[int], temperature: float = 1.0) -> Tensor:
    """What the model expects at each of these tokens of a story: (T, vocab_size)."""
    logits: Tensor = model(torch.tensor([[START, *tokens[:-1]]]))[0].double()
    return (logits / temperature).log_softmax(-1)


def chance_of_wrong(model: GPT, temperature: float = 1.0, count: int = 30) -> float:
    """That a story which the model tells goes wrong somewhere."""
    told = generate(
        model,
        [START],
        191,
        num=count,
        temperature=temperature,
        stop_token=START,
        seed=9,
    )
    total = 0.0
    for tokens in [[*one, START] for one in told]:
        reader = PerfectReader(tokenizer)
        truth: list[dict[int, float]] = []
        for token in tokens:
            truth.append(reader.probabilities())
            if token not in truth[-1]:
                break  # here it went wrong
            reader.read(token)
        table = log_table(model, tokens[: len(truth)], temperature)
        total += float(impossible(table, truth).sum())
    return total / count


def nats_away(model: GPT, temperature: float = 1.0) -> float:
    """From the truth, among what can come, for a true story in the mean."""
    total = 0.0
    for text, truth in zip(TEST, TRUTH, strict=True):
        table = log_table(model, [*tokenizer.encode(text), START], temperature)
        nats = divergence(table, truth) + torch.log1p(-impossible(table, truth))
        total += float(nats.sum())
    return total / len(TEST)


def weigh(name: str, model: GPT, temperature: float = 1.0) -> tuple[float, float]:
    """Gain and price, printed."""
    wrong, away = chance_of_wrong(model, temperature), nats_away(model, temperature)
    print(f"{name:<18} wrong {wrong:.1%} of stories, {away:6.3f} nats from the truth")
    return wrong, away


# %% tags=["nbval-ignore-output"]
as_it_was = weigh("the storyteller", storyteller)
after_rewards = weigh("after 8 steps", rewarded)

# %%
assert after_rewards[0] < 1.5 * as_it_was[0] and after_rewards[1] > 3 * as_it_was[1]

# %% [markdown]
# The gain is small, if it is one: eight steps are few, and other draws may give more or less. The price is beyond doubt. The model has moved away from the truth among what *is* possible, many times as far as it was. The verifier does not ask whether names, places and endings come as often as they should. Nothing holds them in place, so they drift, each towards whatever the right stories of a few batches happened to have.
#
# ## Where did the gain come from?
#
# A longer run, below, gains more. For any gain and any price there are simpler causes. Each is a control.
#
# **Fine-tuning on what was right.** The right stories of all eight steps, in the same order, for ordinary fine-tuning with the same optimiser, the same rate and as many steps. (As a policy gradient this is a baseline of 0: right stories say «more of this», wrong ones say nothing.)
#
# **A lower temperature.** Perhaps the model has only become more careful. Dividing the storyteller's own logits by a number below 1 makes it so as well, and costs no training at all.
#
# **A reward that knows nothing.** The same eight steps, but a die gives each story its 1 or 0, with 1 as often as the verifier did.


# %%
def fine_tuned(texts: list[str], steps: int, rate: float = 1e-3) -> GPT:
    """The storyteller after ordinary fine-tuning on these, in their order."""
    model = copy.deepcopy(storyteller).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0
    )
    size = len(texts) // steps
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1, (step + 1) / 2)  # as above
        some = texts[step * size : (step + 1) * size]
        ids = [[START, *tokenizer.encode(text), START] for text in some]
        inputs, targets = pad_rows(ids, START)
        loss = next_token_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def by_the_die(prompt: Prompt, answer: str) -> float:
    """1 for 94 texts of 100, whatever they say; the same for the same text."""
    return float(random.Random(answer).random() < 0.94)


# %% tags=["nbval-ignore-output"]
filtered = fine_tuned(kept, steps=8)
on_right_ones = weigh("right ones alone", filtered)
coolest = weigh("temperature 0.8", storyteller, temperature=0.8)
by_luck, luck_by_step = by_rewards(by_the_die, steps=8)
after_luck = weigh("after 8 of luck", by_luck)

# %%
assert 0.6 * as_it_was[0] < after_luck[0] and after_luck[1] > 3 * as_it_was[1]
assert coolest[0] < 0.6 * as_it_was[0] and coolest[1] < after_rewards[1]

# %% [markdown]
# Fine-tuning on the right stories alone costs as much, and gained nothing that we could see. The reward that knows nothing gained nothing either, yet moved the model half as far or more: much of the price is what noisy steps cost. The temperature puts all three to shame: at 0.8 far fewer stories go wrong, and the model has hardly moved from the truth.
#
# Why? Most of its mistakes are words of a tiny probability. A lower temperature makes all of them smaller at once. The verifier has to be shown them one by one, each in a story that it fails, and cannot say which word it was. So before you train a model with rewards, try what it can do without.
#
# ### A longer run
#
# Ninety rounds of 128 stories take some minutes. They were made once, with GRPO's own division by the standard deviation, DAPO's upper clip, and two updates from the same stories; `benchmarks/verified_rewards.py` has the command. Its nats are the whole divergence from the truth, with what the model gives to impossible tokens.

# %%
stored = resources.files("minigpt.course").joinpath("verified_rewards.json")
long_run = json.loads(stored.read_text(encoding="utf-8"))
for name in ("before", "after"):
    then = long_run[name]
    low, high = wilson(then["right"], then["stories"])
    print(f"{name}: {then['right']:,} of {then['stories']:,} stories right", end="")
    print(f", interval {low:.1%} to {high:.1%}")
    print(f"    {then['nats']:.2f} nats from the truth, in the mean over true stories")
    unlike = ", ".join(f"{kind} {n:.1f}" for kind, n in then["effective"].items())
    print(f"    as unlike as so many equal shares: {unlike}")
then = long_run["cooler"]
low, high = wilson(then["right"], then["stories"])
print(f"cooler: {then['right']} of {then['stories']}, interval {low:.1%} to {high:.1%}")
first, last = long_run["before"], long_run["after"]
assert last["stories"] - last["right"] <= 10 and 31 < last["nats"] - first["nats"] < 32

# %%
rounds = long_run["steps"][::2]  # both updates of a round see the same stories
plots.curves(
    {
        name: (range(len(rounds)), [found[key] for found in rounds])
        for name, key in (("right stories", "reward"), ("nats a token", "entropy"))
    },
    xlabel="rounds of 128 stories",
    ylabel="share of stories; entropy",
    markers=False,
)

# %% [markdown]
# Five stories in a thousand are wrong now, where it was fifty-nine. And look at the price. A true story has lost 31 nats of its log-probability. Of 24 heroes the model tells of three, and of as many places of two: what becomes of everything else when one thing alone is rewarded.
#
# The last line is the control, the storyteller at temperature 0.8. The two intervals overlap; its cost in nats stands above.

# %% [markdown]
# ## A verifier with a hole
#
# `verify` took some work to write. Somebody in a hurry has a cheaper idea: a story that keeps to its hero says the hero's name. So count it. The hole: whether the rest is right is not asked. A boat that is paid for points found such a hole in a race, went in circles through the points, and never came home (Clark and Amodei 2016).


# %%
HEROES = "|".join(row[""] for row in stories.world().tables["heroes"])


def names_its_hero(prompt: Prompt, answer: str) -> float:
    """How often a story says the first hero's name that stands in it."""
    found = re.search(rf"\b({HEROES})\b", answer)
    return float(len(re.findall(rf"\b{found[1]}\b", answer))) if found else 0.0


def course(name: str, by_step: list[dict[str, float]]) -> None:
    """What is rewarded and what was meant, every second step."""
    print(name)
    for step in range(0, len(by_step), 2):
        found = by_step[step]
        print(
            f"  step {step:2}: the name {found['reward']:5.2f} times a story, "
            f"right {found['right']:4.0%}, divergence {found['kl']:6.1f} nats"
        )


# %% tags=["nbval-ignore-output"]
hacked, hacked_by_step = by_rewards(
    names_its_hero, steps=10, watch={"right": consistent}, rate=4e-3, count=32
)
course("no divergence term", hacked_by_step)
print(textwrap.fill(sample_stories(hacked, tokenizer, 1, seed=1)[0], 84))


# %%
def last_four(by_step: list[dict[str, float]], name: str) -> float:
    return sum(found[name] for found in by_step[-4:]) / 4


assert last_four(hacked_by_step, "reward") > 1.3 * hacked_by_step[0]["reward"]
assert last_four(hacked_by_step, "right") < 0.9 and hacked_by_step[-1]["kl"] > 5

# %% [markdown]
# The reward rises to several times what it was, and in the end hardly a story is right. The model found what the verifier pays for, within a few steps, and let go of what it does not look at: this is **reward hacking**.
#
# Gao et al. (2022) drew this for large models: a stand-in for what is wanted (the **proxy**) against the thing itself, over the distance from the start. Trained on the proxy, the thing itself first rises with it and then falls. (Ours has little to gain at the beginning: 94 stories of 100 were right.)
#
# ### What the divergence term does
#
# Now the same with a price on every nat that the model moves away from the storyteller. (As a loss we take $k_2$ here. Its mean is a little off, but its *slope* is that of the divergence. The slope of $k_3$ is that of the divergence the other way round, and hardly holds back a token that the reference would never write. The package's tests show both, with every answer of a small model listed.)

# %% tags=["nbval-ignore-output"]
held, held_by_step = by_rewards(
    names_its_hero, 10, kl=1.0, watch={"right": consistent}, rate=4e-3, count=32
)
course("with β = 1", held_by_step)
plots.curves(
    {
        f"{what}, {name}": (range(10), [found[key] / scale for found in measured])
        for name, measured in {"β = 0": hacked_by_step, "β = 1": held_by_step}.items()
        for what, key, scale in (
            ("truth: right stories", "right", 1.0),
            ("proxy: names / 12", "reward", 12.0),
        )
    },
    xlabel="step",
    ylabel="share, and names a story / 12",
)

# %%
assert last_four(held_by_step, "right") > last_four(hacked_by_step, "right")

# %% [markdown]
# The price keeps the model near the storyteller, and near it the stories are still right. The name comes more often all the same, as far as that can be had cheaply. What the term does *not* do is close the hole. In the experiments of Gao et al. it acts much like stopping earlier: at the same distance from the start, the truth is no better with it than without.
#
# ### Exercise 5 · a reward that is harder to hack (★★☆, 6 min)
#
# The next wish is happy stories. Write a reward that cannot be had by repeating «happy». A text that is not a right story of the story world gets 0, whatever else it has. A right one gets 1 if the word «happy» stands in it, and 0.5 if not. More of the word earns no more. (`stories.verify(text).consistent` says whether a story is right. Mind that «unhappy» is another word.)


# %% tags=["exercise"]
def happy_ending(text: str) -> float:
    """0, 0.5 or 1."""
    ### BEGIN SOLUTION
    if not stories.verify(text).consistent:
        return 0.0
    return 1.0 if re.search(r"\bhappy\b", text) else 0.5
    ### END SOLUTION


# %%
check.happy_ending(happy_ending)

# %% [markdown]
# Can that one be hacked? Not in this way. But it says nothing of variety: a model that tells one right, happy story for ever gets the full reward. Every reward leaves something unsaid, and whatever is unsaid may drift. So hold some measure back that is *not* rewarded, and watch it.
#
# ### With the package (optional)
#
# `minigpt tune --method dr_grpo --group 16 --kl 0 --out runs/right` trains the storyteller against `verify`, and `--method grpo` with the paper's own choices; the progress line has the share of right answers, their length, the entropy and the divergence. `minigpt tune --task questions --model helper` does it for answers to questions, where exactly the right answer earns 1.

# %% [markdown]
# ## What to remember
#
# 1. The slope of an expected reward is a mean over drawn answers: reward times the slope of the answer's log-probability. Nobody has to differentiate the verifier.
# 2. A baseline changes no mean and takes away noise. GRPO takes the mean of a group; what is left is the advantage.
# 3. The loss starts at 0 and means nothing. The ratio and its clip matter from the second step on the same answers; $k_3$ estimates how far the model has gone.
# 4. In a long run the storyteller became right more often, and went far from the truth in everything that the verifier does not ask. Most of that gain a lower temperature gives for next to nothing.
# 5. A model finds the hole of a verifier, and the reward rises while the truth falls. Hold back a measure that is not rewarded, and put a price on the distance.

# %% [markdown]
# ## Primary sources
#
# - Williams 1992, Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning, theorem 1 (https://doi.org/10.1007/BF00992696)
# - Schulman et al. 2017, Proximal Policy Optimization Algorithms, equation 7 (https://arxiv.org/abs/1707.06347)
# - Shao et al. 2024, DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models, section 4.1 (https://arxiv.org/abs/2402.03300)
# - Liu et al. 2025, Understanding R1-Zero-Like Training: A Critical Perspective, section 3 (https://arxiv.org/abs/2503.20783)
# - Yu et al. 2025, DAPO: An Open-Source LLM Reinforcement Learning System at Scale, section 3 (https://arxiv.org/abs/2503.14476)
# - Schulman 2020, Approximating KL Divergence (https://joschu.net/blog/kl-approx.html)
# - Gao, Schulman and Hilton 2022, Scaling Laws for Reward Model Overoptimization, section 1 (https://arxiv.org/abs/2210.10760)
# - Clark and Amodei 2016, Faulty Reward Functions in the Wild (https://openai.com/index/faulty-reward-functions/)
# - Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference (https://doi.org/10.1080/01621459.1927.10502953)
#
# **Next** · [Lesson 20 · A modern GPT](20_modern_gpt.ipynb): the same blocks with the parts that models have today.
