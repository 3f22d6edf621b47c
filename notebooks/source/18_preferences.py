# %% [markdown]
# # Lesson 18 · Preferences
#
# Examples show a model what to write. They never show it a mistake. In this lesson two answers stand side by side, a judge says which is the better one, and a model learns from
# that alone. We look at what it gains, and at what it pays.
#
# **You will be able to**
# - turn «this one is better» into a probability and a loss, by hand,
# - compute the loss of DPO for two answers from the probabilities of their tokens, and build it for a model,
# - make pairs with an exact judge, train on them, and hold the result against two controls,
# - measure what this training breaks, and how far it moves a model,
# - find out why a loss stays at 0.693.
#
# **Time** 95 min
#
# **Builds on** [lesson 9](09_loss_backprop_adamw.ipynb) (loss, AdamW), [lesson 13](13_generation.ipynb) (sampling) and
# [lesson 16](16_instructions.ipynb) (a loss on answers alone)
#
# ![The GPT in one row with its last part in colour; below it two boxes with one story's opening and two endings, a better and a worse one; from each an arrow to the difference of two sums of log-probabilities, model minus reference; both lead into one curve that falls from left to right, the loss of the margin](../figures/where_preferences.svg)

# %% tags=["setup"]
import copy
import math
import random
import re
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import InputError, TrainConfig
from minigpt.course import check, plots, start_lesson
from minigpt.evaluation.intervals import bootstrap, compare, wilson
from minigpt.evaluation.truth import PerfectReader, true_distributions
from minigpt.model.gpt import GPT
from minigpt.text import stories
from minigpt.text.pairs import PairData, line_of
from minigpt.training.answers import (
    Answer,
    Prompt,
    log_probabilities,
    sample,
    story_prompts,
)
from minigpt.training.metrics import StepResult
from minigpt.training.options import PreferenceOptions
from minigpt.training.preferences import (
    PreferenceObjective,
    Sums,
    bradley_terry,
    margins,
    preference_loss,
)
from minigpt.training.trainer import Trainer
from minigpt.weights.checkpoint import load_model

start_lesson()

# %% [markdown]
# ## Five in a hundred
#
# Our storyteller was trained on a great many stories, and not one of them contradicts itself. Let it tell 1,200, and give them to the judge: `stories.verify` reads a story and says whether everything in
# it agrees, and if not, what is wrong first.

# %%
storyteller, tokenizer = load_model("storyteller")
telling = story_prompts(tokenizer, storyteller.config.context_length)
END = telling.stop_token


def is_right(text: str) -> bool:
    """Whether this is a whole story that contradicts itself nowhere."""
    return stories.verify(text).consistent


def show_share(name: str, count: int, total: int) -> None:
    """So many of so many, and the 95 % interval of the share (Wilson 1927)."""
    low, high = wilson(count, total)
    share = f"{count / total:.1%} ({low:.1%} to {high:.1%})"
    print(f"{name:<24} {count:4} of {total}: {share}")


# %% tags=["nbval-ignore-output"]
N_TOLD = 1200
told = sample(storyteller, telling, [telling.at(0)], N_TOLD, [1])
wrong = [one for one in told if not is_right(one.text)]
show_share("wrong", len(wrong), N_TOLD)
for one in wrong[:6]:
    problem = stories.verify(one.text).problem or ""
    print(textwrap.shorten(f"  {problem}", 86))

# %%
# 57 of 1,200 here; 201 of 4,000 with another seed
assert 25 < len(wrong) < 120

# %% [markdown]
# Things that fit nowhere, sentences that lose their way. More stories would show it once more what is right. That *this* is wrong, no story says.
#
# With people it is the same, and worse. Hardly anybody can write down the ideal answer to a question. But shown two, most can tell which they like better. So how does one learn from that?

# %% [markdown]
# ## From «better» to a number
#
# Suppose that every answer has a **reward** $r$: a number, the larger the better, which nobody sees. Two answers are shown to readers. The model of Bradley and Terry (1952) says how often the first one wins:
#
# $$P(1 \text{ beats } 2) = \frac{e^{r_1}}{e^{r_1} + e^{r_2}} = \sigma(r_1 - r_2), \qquad \sigma(x) = \frac{1}{1 + e^{-x}}$$
#
# It is softmax over two, as in [lesson 4](04_attention_by_hand.ipynb). Only the difference counts.

# %%
reward_1, reward_2 = 1.2, 0.4
first_wins = math.exp(reward_1) / (math.exp(reward_1) + math.exp(reward_2))
ahead = reward_1 - reward_2
print(f"difference {ahead:.1f}: the first wins in {first_wins:.4f} of all cases")
print(f"sigmoid of the difference:      {1 / (1 + math.exp(-ahead)):.4f}")
as_in_package = bradley_terry(torch.tensor(reward_1), torch.tensor(reward_2))
assert math.isclose(as_in_package.item(), first_wins, rel_tol=1e-6)
assert math.isclose(1 / (1 + math.exp(-math.log(7 / 3))), 0.7)
print(f"ln(7/3) = {math.log(7 / 3):.3f}, ln 2 = {math.log(2):.4f}")

# %% [markdown]
# Backwards: if seven of ten readers like the first one better, the difference is the one with $\sigma(d) = 0.7$, that is $d = \ln(7/3) = 0.847$. To find it by training, take $-\ln P$ of what the readers said as the loss: the cross-entropy of lesson 9, with two classes. Whoever has no idea gives both answers the same reward, says one half, and pays $\ln 2 = 0.6931$. Remember that number.
#
# ### Exercise 1 · the loss of a pair (★☆☆, 5 min)
#
# The better answer of a pair has the reward `better`, the other one `worse`. Return $-\ln \sigma(\text{better} - \text{worse})$. It must hold for any finite rewards, also when the worse one lies a
# thousand ahead: $e^{1000}$ is no float. (For $x$ far below zero, $\ln(1 + e^{-x})$ is $-x$ and very little more.)


# %% tags=["exercise"]
def pair_loss(better: float, worse: float) -> float:
    """-ln of the probability that the better answer wins."""
    ### BEGIN SOLUTION
    ahead = better - worse
    # both ways of writing it are equal; each exponent is at most 0
    if ahead > 0:
        return math.log1p(math.exp(-ahead))
    return math.log1p(math.exp(ahead)) - ahead
    ### END SOLUTION


# %%
check.pair_loss(pair_loss)

# %% [markdown]
# ## The model is its own judge
#
# Ouyang et al. (2022) did it in two steps. With this loss they trained a **reward model**, a GPT that reads an answer and gives a number. Then they trained the language model to write answers to which that
# one gives much. With one restriction: it must not stray too far from the model it began as, the **reference**. What is wanted is a distribution $\pi$ over answers with
#
# $$\text{mean reward} \; - \; \beta \cdot \mathrm{KL}(\pi \,\|\, \pi_\text{ref}) \quad \text{as large as possible,} \qquad \mathrm{KL}(\pi \,\|\, \pi_\text{ref}) = \sum_y \pi(y) \ln \frac{\pi(y)}{\pi_\text{ref}(y)}$$
#
# The **KL divergence** (Kullback and Leibler) is zero for equal distributions, and grows as they part. β says what a nat of it costs. The best $\pi$ is known: take the reference, and weight each answer with $e^{r/\beta}$. Four answers, all by hand:

# %%
rewards = [1.0, 0.0, 0.0, -1.0]
known = [0.4, 0.3, 0.2, 0.1]  # the reference's probabilities
beta = 0.5

weighted = [q * math.exp(r / beta) for q, r in zip(known, rewards, strict=True)]
Z = sum(weighted)
optimum = [w / Z for w in weighted]
print("reference:", known)
print("optimum:  ", [f"{p:.4f}" for p in optimum])


def worth(policy: Sequence[float]) -> float:
    """Mean reward less beta times the divergence."""
    gained = sum(p * r for p, r in zip(policy, rewards, strict=True))
    moved = sum(p * math.log(p / q) for p, q in zip(policy, known, strict=True))
    return gained - beta * moved


die = random.Random(0)
others = [[die.random() for _ in range(4)] for _ in range(10_000)]
rival = max(worth([x / sum(four) for x in four]) for four in others)
print(f"worth: reference {worth(known):.4f}, optimum {worth(optimum):.4f}, ", end="")
print(f"best of 10,000 at random {rival:.4f}")
assert worth(optimum) > rival > worth(known)

# %% [markdown]
# Now read it backwards, which is the idea of Rafailov et al. (2023). If somebody hands us the optimum, we can *read the rewards off it*: $r = \beta \ln(\pi/\pi_\text{ref}) + \beta \ln Z$ (their equation 5). The second term is the same for all answers to a prompt, and in Bradley and Terry's formula only differences count:

# %%
implied = [beta * math.log(p / q) for p, q in zip(optimum, known, strict=True)]
print("beta ln(optimum / reference):", [f"{r:+.4f}" for r in implied])
print("less that of the second:     ", [f"{r - implied[1]:+.4f}" for r in implied])
for r, one_reward in zip(implied, rewards, strict=True):
    assert math.isclose(r - implied[1], one_reward, abs_tol=1e-12)

# %% [markdown]
# There they are again, 1, 0, 0 and −1. So no reward model is needed. *Every* language model, held against a reference, already says how much it likes an answer: $\beta \ln(\pi(y)/\pi_\text{ref}(y))$, its **implicit reward**. Put that into the loss of exercise 1, and train the language model itself.
# This is **DPO**, direct preference optimization, equation 7 of the paper, for a prompt $x$, a better answer $y_w$ and a worse one $y_l$:
#
# $$\mathcal{L} = -\ln \sigma\Bigl(\beta \ln \frac{\pi(y_w|x)}{\pi_\text{ref}(y_w|x)} - \beta \ln \frac{\pi(y_l|x)}{\pi_\text{ref}(y_l|x)}\Bigr)$$
#
# ### Two answers, every number
#
# «Mia had a red kite. One day she lost her …». Better: « red kite .», worse: « blue kite .». Here is what reference and model say to each token, given the prompt and the tokens before it:

# %%
token_probabilities = {
    "better, reference": [0.50, 0.80, 0.90],
    "better, model": [0.45, 0.80, 0.90],
    "worse, reference": [0.25, 0.80, 0.90],
    "worse, model": [0.10, 0.80, 0.90],
}
summed = {n: sum(math.log(p) for p in ps) for n, ps in token_probabilities.items()}
for name, total in summed.items():
    print(f"{name:<18} ln of the whole answer {total:.4f}")

won = summed["better, model"] - summed["better, reference"]
lost = summed["worse, model"] - summed["worse, reference"]
margin = beta * won - beta * lost
print(f"against the reference: better {won:+.4f}, worse {lost:+.4f} nats")
print(f"margin {margin:.4f}, loss {math.log1p(math.exp(-margin)):.4f}")

# %% [markdown]
# Work the margin yourself: $0.5 \cdot (\ln 0.9 - \ln 0.4)$. The tokens that both models find equally likely drop out.
#
# Three things are worth a second look. The probability of an answer is a *product* over its tokens, so its logarithm is a sum, not a mean. The prompt's tokens do not occur: they are given, as in lesson 16. (In this loss they would cancel out anyway, since both answers have the same prompt.) And the better answer has *lost* here, and the loss is below $\ln 2$ all the same, because the worse one has lost more. We shall meet
# that again.
#
# In torch, and with the package. A model that is its own reference has margin 0, so each run begins at 0.6931:

# %%
chosen, known_chosen = summed["better, model"], summed["better, reference"]
rejected, known_rejected = summed["worse, model"], summed["worse, reference"]
numbers = [chosen, rejected, known_chosen, known_rejected, 3.0, 3.0]
sums = Sums(*(torch.tensor([x], dtype=torch.float64) for x in numbers))
options = PreferenceOptions(beta=beta)
in_torch = -F.logsigmoid(torch.tensor(beta * (won - lost), dtype=torch.float64))
assert math.isclose(margins(sums, options).item(), margin)
assert math.isclose(preference_loss(sums, options).item(), in_torch.item())
assert math.isclose(in_torch.item(), math.log1p(math.exp(-margin)))
at_first = replace(sums, chosen=sums.reference_chosen, rejected=sums.reference_rejected)
print(f"at the start: loss {preference_loss(at_first, options).item():.4f}")

# %% [markdown]
# ### Exercise 2 · the logarithm of an answer (★★☆, 7 min)
#
# A model has read a prompt and an answer, `ids` (T,), and gave `logits` (T, vocab_size): row $t$ foretells the token at $t + 1$. The first `prompt_length` ids are the prompt. Return $\ln \pi(\text{answer} | \text{prompt})$, a scalar through which gradients flow.


# %% tags=["exercise"]
def answer_log_probability(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    """The sum of the log-probabilities of the answer's tokens: a scalar, in nats."""
    ### BEGIN SOLUTION
    log_p = logits.log_softmax(dim=-1)
    foretold = log_p[prompt_length - 1 : -1]  # the rows before each token of the answer
    answer = ids[prompt_length:]
    return foretold[torch.arange(len(answer)), answer].sum()
    ### END SOLUTION


# %%
check.answer_log_probability(answer_log_probability)


# %% [markdown]
# ### Exercise 3 · DPO (★★★, 15 min)
#
# Build the whole loss. `model` and `reference` turn ids (1, T) into logits (1, T, vocab_size). Each pair is a prompt and two answers, in lists of ids; the answers may have different lengths. Return the *mean* loss over the pairs, a scalar that has a gradient for the model and none for the reference, and for each pair its margin, a
# list of plain floats.


# %% tags=["exercise"]
def dpo(
    model: Callable[[Tensor], Tensor],
    reference: Callable[[Tensor], Tensor],
    pairs: list[tuple[list[int], list[int], list[int]]],
    beta: float,
) -> tuple[Tensor, list[float]]:
    """Equation 7 for (prompt, better, worse): the mean loss, and the margins."""

    ### BEGIN SOLUTION
    def said(
        network: Callable[[Tensor], Tensor], prompt: list[int], answer: list[int]
    ) -> Tensor:
        ids = torch.tensor(prompt + answer)
        log_p = network(ids[None])[0].log_softmax(dim=-1)
        foretold = log_p[len(prompt) - 1 : -1]
        return foretold.gather(1, ids[len(prompt) :, None]).sum()

    losses, found = [], []
    for prompt, better, worse in pairs:
        with torch.no_grad():
            known_better = said(reference, prompt, better)
            known_worse = said(reference, prompt, worse)
        ahead = said(model, prompt, better) - known_better
        behind = said(model, prompt, worse) - known_worse
        margin = beta * (ahead - behind)
        losses.append(-F.logsigmoid(margin))
        found.append(margin.item())
    return torch.stack(losses).mean(), found
    ### END SOLUTION


# %%
check.dpo(dpo)

# %% [markdown]
# The package does the same (`minigpt.training.preferences`), in batches, and asks the reference only once: it never changes, so neither do its sums.
#
# ## Pairs by an exact judge
#
# Now the pairs. We have wrong stories, each with a place where it goes wrong. `PerfectReader` finds that place: it follows a story token by token and knows which tokens can come next; at the first that cannot, it raises an error. Cut the story before that sentence, let the storyteller tell it to the end four times anew, and
# give the endings to the verifier. If one of them is right, there is a pair: the same opening, a better ending and a worse one. Nobody but the model wrote either.


# %%
def cut(one: Answer) -> tuple[str, str]:
    """A wrong story, cut before the sentence in which it goes wrong."""
    reader, read = PerfectReader(tokenizer), 0
    with suppress(InputError):
        for token in one.tokens:
            reader.read(token)
            read += 1
    still_right = tokenizer.decode(one.tokens[:read])
    ends = [0, *(m.end() for m in re.finditer(r'[.!?]"?(?= ["A-Z])', still_right))]
    return one.text[: ends[-1]], one.text[ends[-1] :]


def make_pairs(wrong_ones: list[Answer], seed: int) -> list[tuple[str, str, str]]:
    """An opening, a right ending and the wrong one, for each that finds a right one."""
    found = []
    for number, one in enumerate(wrong_ones):
        opening, worse = cut(one)
        asked = Prompt([END, *tokenizer.encode(opening)], opening)
        room = storyteller.config.context_length + 1 - len(asked.ids)
        shorter = replace(telling, max_new_tokens=room)
        anew = sample(storyteller, shorter, [asked], 4, [seed + number])
        better = [ending.text for ending in anew if is_right(opening + ending.text)]
        found += [(opening, better[0], worse)] if better else []
    return found


# %% tags=["nbval-ignore-output"]
pairs = make_pairs(wrong, seed=100)
print(f"{len(wrong)} wrong stories, {len(pairs)} pairs, one of them:")
held_out, pairs = pairs[::4], pairs[1::4] + pairs[2::4] + pairs[3::4]
print(f"{len(held_out)} of them are held out.")
opening, better, worse = pairs[0]
for name, text in (("opening", opening[-80:]), ("better", better), ("worse", worse)):
    print(textwrap.shorten(f"{name:>8}: {text}", 88))

# %%
assert len(pairs) + len(held_out) > 0.5 * len(wrong)
assert all(is_right(a + b) and not is_right(a + c) for a, b, c in pairs)

# %% [markdown]
# ## DPO on the storyteller
#
# Three models begin as the storyteller and take the same 24 steps of eight pairs, with the same learning rate.
#
# - *DPO* on the pairs.
# - First control: plain fine-tuning on the *better halves*. If seeing right endings is enough, it will do as well.
# - Second control: DPO on the same pairs, in every second of which better and worse have *changed places*. If any training of this kind does something, it will show here.

# %%
RECIPE = TrainConfig(
    max_steps=24,
    batch_size=8,
    warmup_steps=3,
    min_learning_rate=0.1,
    weight_decay=0.0,
    precision="float32",
    threads=1,
    eval_every=0,
    save_every=0,
)
folder = tempfile.TemporaryDirectory()


def as_data(name: str, some: list[tuple[str, str, str]]) -> PairData:
    """Pairs as the package reads them, from a file; it holds out a tenth."""
    path = Path(folder.name) / f"{name}.jsonl"
    lines = [line_of(prompt, better, worse) for prompt, better, worse in some]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return PairData(path, tokenizer, storyteller.config.context_length)


def train(
    data: PairData, beta: float | None = 0.1, learning_rate: float = 5e-4
) -> tuple[GPT, list[StepResult]]:
    """The storyteller after DPO; without a beta, fine-tuned on the better halves."""
    objective = None
    if beta is not None:
        options = PreferenceOptions(beta=beta)
        objective = PreferenceObjective(data, copy.deepcopy(storyteller), options)
    seen: list[StepResult] = []
    recipe = replace(RECIPE, learning_rate=learning_rate)
    trainer = Trainer(
        storyteller.config, recipe, data, start=storyteller, objective=objective
    )
    trainer.run(on_step=seen.append, progress=False)
    return trainer.model.eval(), seen


turned = [(a, c, b) if i % 2 else (a, b, c) for i, (a, b, c) in enumerate(pairs)]

# %% tags=["nbval-ignore-output"]
data = as_data("pairs", pairs)
by_dpo, steps = train(data)
by_examples, _ = train(data, beta=None)
by_chance, steps_by_chance = train(as_data("turned", turned))
for name, seen in (("DPO", steps), ("changed places", steps_by_chance)):
    print(name)
    for result in seen[::8] + seen[-1:]:
        m = result.measures
        print(
            f"  step {result.step:2}: loss {result.loss:.3f}, the better one ahead in "
            f"{m['accuracy']:.0%}, margin {m['margin']:.2f}"
        )

# %%
assert abs(steps[0].loss - math.log(2)) < 1e-3
# 0.33 and 0.45 here; both have learned their pairs
assert steps[-1].loss < 0.62 and steps_by_chance[-1].loss < 0.66

# %% [markdown]
# The loss falls and the better ending wins. That says nothing yet: these are the pairs it was trained on, and the run whose pairs had changed places learned *its* pairs, too. Is the model better?
#
# One can sample again and count. But look at the first interval of this lesson: 1,200 stories leave more than a percentage point open on either side, and there are only five to be gained. The story world offers something sharper. Take 100 true stories that no model has seen. At each token, the world knows what can come next. Add up what the model gives to all of these tokens; the rest is the chance of a
# *slip*. Multiply along the story, and you have the chance that the model gets through it without one. No dice are thrown. At the same time we note three other things, exactly as well:
#
# - *lost*: how many nats the model loses to the truth, per token, the gap to the loss's floor;
# - *choice*: the entropy of what comes next, summed over a story: how much is left open;
# - *moved*: the KL divergence from the storyteller at each token, summed over a story.


# %%
class Judged(NamedTuple):
    """What is known of a model along 100 true stories."""

    faultless: list[float]  # for each story
    lost: float  # nats a token above the floor
    choice: float  # nats a story
    moved: float  # nats a story

    def show(self, name: str) -> None:
        low, high = bootstrap(self.faultless)
        print(
            f"{name:<24} {sum(self.faultless) / 100:.2%} ({low:.2%} to {high:.2%})  "
            f"{self.lost:7.4f}  {self.choice:6.2f}  {self.moved:6.3f}"
        )


TRUE = [stories.story_at("test", number).text for number in range(100)]
ROWS = [torch.tensor([END, *tokenizer.encode(text)]) for text in TRUE]
# of each story, all that can come: at which place, which token, how probably
CAN_COME = [
    [
        (place, token, q)
        for place, options in enumerate(true_distributions(tokenizer, text))
        for token, q in options.items()
    ]
    for text in TRUE
]


@torch.no_grad()
def log_tables(model: GPT) -> list[Tensor]:
    """ln p of all tokens at each place of each true story: (T, vocab_size)."""
    found: list[Tensor] = []
    for first in range(0, 100, 25):
        some = ROWS[first : first + 25]
        filled = torch.nn.utils.rnn.pad_sequence(some, batch_first=True)
        tables = model(filled).log_softmax(dim=-1)
        found += [table[: len(row)] for table, row in zip(tables, some, strict=True)]
    return found


BEFORE = log_tables(storyteller)


def judge(model: GPT) -> Judged:
    faultless, lost, choice, moved = [], 0.0, 0.0, 0.0
    for table, known, can_come in zip(log_tables(model), BEFORE, CAN_COME, strict=True):
        p = table.exp()
        choice -= (p * table).sum().item()
        moved += (p * (table - known)).sum().item()
        places, tokens, odds = zip(*can_come, strict=True)
        at, q = torch.tensor(places), torch.tensor(odds, dtype=torch.float64)
        said = table[at, torch.tensor(tokens)].double()
        lost += (q * (q.log() - said)).sum().item()
        through = torch.zeros(len(table)).double().index_add(0, at, said.exp())
        faultless.append(through.clamp(max=1.0).prod().item())
    return Judged(faultless, lost / sum(map(len, ROWS)), choice / 100, moved / 100)


# %% tags=["nbval-ignore-output"]
judged = {
    "the storyteller": judge(storyteller),
    "DPO": judge(by_dpo),
    "better halves": judge(by_examples),
    "changed places": judge(by_chance),
}
print(f"{'':<24} faultless, interval           lost  choice   moved")
for name, its in judged.items():
    its.show(name)
base = judged["the storyteller"].faultless
for name in list(judged)[1:]:
    against = compare(judged[name].faultless, base)
    print(
        f"{name:<16} against before {against.difference:+.2%} "
        f"({against.low:+.2%} to {against.high:+.2%})"
    )

# %%
# +1.1 % here, +0.9 % in a trial with 48 other pairs
for_dpo = compare(judged["DPO"].faultless, base)
assert 0.003 < for_dpo.difference < 0.03
assert max(sum(judged[name].faultless) for name in list(judged)[2:]) < sum(
    judged["DPO"].faultless
)
assert judged["DPO"].lost > 2 * judged["the storyteller"].lost
assert judged["DPO"].choice < judged["the storyteller"].choice

# %% [markdown]
# So it works, and it is the *pairs* that do it. Of the slips, DPO took away about a fifth. The better halves alone took away few of them: they show once more what the model mostly does anyway. With every second pair turned round, it got worse. (The interval beside each share comes from the choice of stories, which is the same for all models; the intervals of the differences are therefore much narrower.)
#
# And there is a price. The gap to the floor has grown to several times what it was, and fewer nats of choice are left: its stories have become a little more alike.
#
# The judge of slips looks along *true* stories. Does the model also tell better when it goes its own ways? Let it tell some, and give them to the verifier. The same stories give an estimate of how far it has moved: the mean of $\ln \pi - \ln \pi_\text{ref}$ over what the *model* writes is the KL divergence.

# %% tags=["nbval-ignore-output"]
N_OWN = 300
own = sample(by_dpo, telling, [telling.at(0)], N_OWN, [2])
own_right = sum(is_right(one.text) for one in own)
show_share("storyteller, right", N_TOLD - len(wrong), N_TOLD)
show_share("after DPO, right", own_right, N_OWN)
by_reference = log_probabilities(storyteller, [([END], one.tokens) for one in own])
drift = [
    sum(one.log_probabilities) - sum(before)
    for one, before in zip(own, by_reference, strict=True)
]
kl_low, kl_high = bootstrap(drift)
print(f"KL divergence: {sum(drift) / N_OWN:.2f} ({kl_low:.2f} to {kl_high:.2f}) nats")

# %%
assert own_right > 0.85 * N_OWN and kl_high > judged["DPO"].moved / 3

# %% [markdown]
# Of so few stories, the share alone would have proved nothing: its interval covers both. The divergence of the model's own stories is near the one along true stories. So we go on with the sharper judge.

# %% [markdown]
# ## What it breaks
#
# <div class="alert alert-warning">
# <b>You may have read</b> that DPO makes the better answers more probable and the worse ones less. The loss does not ask for that. It asks that the <i>gap</i> grows. Both may fall, if the worse one falls faster.
# </div>
#
# So look at both, for pairs that the model has *not* seen: the ones held out. How much have the log-probabilities of their endings changed? And those of the 100 true stories, with which nothing is wrong? We look at the DPO model, and at one that was driven further: a smaller β, and steps twice as large.

# %% tags=["nbval-ignore-output"]
too_far, _ = train(data, beta=0.02, learning_rate=1e-3)


def ln_p(model: GPT, rows: list[tuple[list[int], list[int]]]) -> list[float]:
    """Of each whole answer, in nats."""
    return [sum(each) for each in log_probabilities(model, rows)]


def rows_of(place: int) -> list[tuple[list[int], list[int]]]:
    """Opening and one of the endings, of the pairs held out, in ids."""
    return [
        ([END, *tokenizer.encode(pair[0])], [*tokenizer.encode(pair[place]), END])
        for pair in held_out
    ]


true_rows = [([END], [*row[1:].tolist(), END]) for row in ROWS]
kinds = {"better": rows_of(1), "worse": rows_of(2), "true stories": true_rows}
at_start_ln = {kind: ln_p(storyteller, rows) for kind, rows in kinds.items()}
changes: dict[str, dict[str, list[float]]] = {"DPO": {}, "too far": {}}
for name, model in (("DPO", by_dpo), ("too far", too_far)):
    for kind, rows in kinds.items():
        ends = zip(ln_p(model, rows), at_start_ln[kind], strict=True)
        changes[name][kind] = [now - before for now, before in ends]
print("change of ln p, in nats, with 95 % intervals")
for name, found in changes.items():
    print(name)
    for kind, values in found.items():
        low, high = bootstrap(values)
        mean = sum(values) / len(values)
        print(f"  {kind:<14} {mean:+7.2f}  ({low:+.2f} to {high:+.2f})")
judged["too far"] = judge(too_far)
for name in ("the storyteller", "DPO", "too far"):
    judged[name].show(name)

# %%
for found in changes.values():
    mean_of = {kind: sum(values) / len(values) for kind, values in found.items()}
    assert mean_of["worse"] < mean_of["better"] and mean_of["true stories"] < 0
assert sum(changes["too far"]["better"]) < 0
assert judged["too far"].lost > 2 * judged["DPO"].lost
assert sum(judged["too far"].faultless) < sum(judged["DPO"].faultless)

# %% [markdown]
# The worse endings fall. The true stories fall too, though nothing is wrong with them, and so do better endings that are new: clearly in the model that went too far; for the other one, 15 pairs hardly decide it. On the pairs that it learned, all looked well. Pal et al. (2024) and Razin et al. (2024) found the like in large models; where the two answers are nearly alike, it is worst.
#
# Where does the probability go? To what is in no pair. Nobody marks *that* as wrong, and in the model that went too far, a good part of it is slips: it is worse than before all training.
#
# ## The dial
#
# β stands in the loss as the price of moving away. Turn it, and draw for each model what it gains against how far it has moved. One more curve belongs into this picture. The simplest way to better answers trains nothing: ask the model $n$ times, and keep the best. This is **best-of-n**.
#
# With a judge who says right or wrong, it fails only if all $n$ are wrong: a share $w$ of wrong ones becomes $w^n$. How far does *that* move? Every right answer gets more probable by the same factor, every wrong one less by the same factor, so two terms are enough:
#
# $$\mathrm{KL} = w^n \ln \frac{w^n}{w} + (1 - w^n) \ln \frac{1 - w^n}{1 - w}$$
#
# In papers you find another formula, $\ln n - (n-1)/n$, whatever the judge. It is often taken for the divergence itself. It is an *upper bound* (Beirami et al. 2024), and near the truth only where hardly any two answers are equally good.
#
# ### Exercise 4 · how far best-of-n moves (★★☆, 6 min)
#
# Return both: the exact divergence for a share `wrong` (between 0 and 1) of wrong answers, and the bound. It must hold for `n` = 1, and for 1,000, where $w^n$ may be 0 in a float. (What is $\ln(w^n/w)$?)


# %% tags=["exercise"]
def best_of_n_kl(wrong: float, n: int) -> tuple[float, float]:
    """KL of best-of-n, in nats: exact for right and wrong, and the bound."""
    ### BEGIN SOLUTION
    left = wrong**n
    exact = left * (n - 1) * math.log(wrong)
    exact += (1 - left) * math.log((1 - left) / (1 - wrong))
    return exact, math.log(n) - (n - 1) / n
    ### END SOLUTION


# %%
check.best_of_n_kl(best_of_n_kl)


# %%
def two_terms(w: float, n: int) -> float:
    """The exact divergence, for the cells that follow."""
    left = w**n
    return left * (n - 1) * math.log(w) + (1 - left) * math.log((1 - left) / (1 - w))


for n in (1, 2, 4, 8, 64):
    bound = math.log(n) - (n - 1) / n
    print(
        f"best of {n:2}, of 5 % wrong {0.05**n:.4%} are left: "
        f"moved {two_terms(0.05, n):.4f}, bound {bound:.4f}"
    )
# by counting: 20 answers, equally likely, the first of them wrong; best of 2
twice = [1 / 20 / 20] + [(1 - 1 / 400) / 19] * 19
counted = sum(p * math.log(p * 20) for p in twice)
assert math.isclose(counted, two_terms(0.05, 2))

# %% [markdown]
# The bound grows for ever. The divergence stops at $-\ln 0.95 = 0.0513$: when nothing wrong is left, there is nowhere to go. And this is the *least* that any model can pay for that quality, because all it changes is the weight of wrong against right.

# %% tags=["nbval-ignore-output"]
dial = {
    beta: judge(train(data, beta=beta, learning_rate=1e-3)[0]) for beta in (2.0, 0.3)
}
dial[0.02] = judged["too far"]
for price, its in dial.items():
    its.show(f"beta {price}")
at_start = sum(base) / 100
tries = (1, 2, 3, 4, 6)
best_of = [1 - (1 - at_start) ** n for n in tries]
plots.curves(
    {
        "DPO, β = 2, 0.3, 0.02": (
            [0.0, *(its.moved for its in dial.values())],
            [at_start, *(sum(its.faultless) / 100 for its in dial.values())],
        ),
        "DPO, small steps, β = 0.1": (
            [0.0, judged["DPO"].moved],
            [at_start, sum(judged["DPO"].faultless) / 100],
        ),
        "best of 1, 2, 3, 4, 6, exact": (
            [two_terms(1 - at_start, n) for n in tries],
            best_of,
        ),
        "the same, at the bound": (
            [math.log(n) - (n - 1) / n for n in tries],
            best_of,
        ),
    },
    "KL divergence from the storyteller (nats a story)",
    "share without a slip",
)

# %%
moved_by = {price: its.moved for price, its in dial.items()}
assert moved_by[2.0] < moved_by[0.02]
best_share = max(sum(its.faultless) for its in judged.values()) / 100
assert best_of[1] > best_share + 0.01
assert two_terms(1 - at_start, 2) < judged["DPO"].moved / 4
assert judged["DPO"].moved < moved_by[0.02]

# %% [markdown]
# Read the picture from left to right. A smaller β moves the model farther. But no setting of it makes up for steps that are too large: the careful run, with half the steps' size, is better than all three and has moved least. And best-of-2 is above all of them, at a tenth of the price, and at half of it even if one takes the bound for the price. What training buys is something else: one answer in place of two, each time.
#
# Two cautions. These are single runs with few pairs, so the order of neighbours is a suggestion. And our *moved* is taken along true stories; of best-of-n we know it exactly.
#
# ## A loss that stays at 0.693
#
# You start your own run, and the log says 0.693, 0.693, 0.693. Now you know what the number means: all margins are zero, or nearly. Three mistakes do it, and from the loss alone nobody can tell them apart. So this loop notes three more numbers: the length of the gradient, how far the farthest weight has moved, and the margin.


# %%
def answer_sum(model: GPT, prompt: list[int], answer: list[int]) -> Tensor:
    """ln of the probability of an answer."""
    ids = torch.tensor(prompt + answer)
    log_p = model(ids[None])[0].log_softmax(dim=-1)  # (T, vocab_size)
    said: Tensor = log_p[len(prompt) - 1 : -1].gather(1, ids[len(prompt) :, None])
    return said.sum()


def three_steps(
    model: GPT,
    reference: GPT,
    pair: tuple[list[int], list[int], list[int]],
    learning_rate: float,
    in_bfloat16: bool = False,
) -> list[dict[str, float]]:
    """DPO on one pair, with beta 0.1; the log."""
    prompt, better, worse = pair
    at_first = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=0.0)
    log = []
    for _ in range(3):
        gap = answer_sum(model, prompt, better) - answer_sum(model, prompt, worse)
        with torch.no_grad():
            known_gap = answer_sum(reference, prompt, better)
            known_gap -= answer_sum(reference, prompt, worse)
        margin = 0.1 * (gap - known_gap)
        loss = -F.logsigmoid(margin)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        moved = 0.0
        with torch.no_grad():
            for p, q in zip(model.parameters(), at_first, strict=True):
                if in_bfloat16:  # the weights themselves have 8 significant bits
                    p.copy_(p.bfloat16())
                moved = max(moved, (p - q).abs().max().item())
        line = {"loss": loss.item(), "gradient": norm.item(), "moved": moved}
        log.append(line | {"margin": margin.item()})
    return log


prompt_ids = [END, *tokenizer.encode("Once there was a shy owl, and her name was Mia.")]
better_ids = tokenizer.encode(" It was a sunny day, so Mia went to the zoo.")
worse_ids = tokenizer.encode(" It was a sunny day, so Tom went to the zoo.")
a_pair = (prompt_ids, better_ids, worse_ids)
cut_off = (prompt_ids, better_ids[:5], worse_ids[:5])
assert cut_off[1] == cut_off[2]
exact = copy.deepcopy(storyteller).double()  # the same digits on every computer
rounded = copy.deepcopy(exact).bfloat16().double()
same = copy.deepcopy(exact)
trial = copy.deepcopy  # each run gets a model of its own
logs = {
    "as it should be": three_steps(trial(exact), exact, a_pair, 3e-4),
    "1 its own reference": three_steps(same, same, a_pair, 3e-4),
    "2 equal answers": three_steps(trial(exact), exact, cut_off, 3e-4),
    "3 tiny steps": three_steps(trial(exact), exact, a_pair, 1e-6),
    "3 and in bfloat16": three_steps(trial(rounded), rounded, a_pair, 1e-6, True),
}
print(f"{'':<20} loss at steps 1, 2 and 3  gradient   moved     margin")
for name, its_log in logs.items():
    losses = "  ".join(f"{line['loss']:.4f}" for line in its_log)
    last = its_log[-1]
    gradient = f"{last['gradient']:.1f}" if last["gradient"] > 1e-9 else "0"
    print(
        f"{name:<20} {losses}   {gradient:>5}   {last['moved']:.7f}  "
        f"{abs(last['margin']):.4f}"
    )

# %% [markdown]
# - **1.** The reference is *the model itself*, the same object. (It happens when somebody forgets to copy, or when an adapter is switched on in both.) The gradient is there, the weights move, step by step in some direction, and the margin is zero for ever, because both sides of it move together. This is the worst: the model changes, and nothing says how.
# - **2.** Better and worse answer are *equal* for the model. (Cut off at a maximal length before they differ; the same column read twice; the mask on the wrong side.) There is no gradient, and nothing moves.
# - **3.** The steps are *tiny*. 10⁻⁶ is the default of trl's `DPOTrainer`, meant for much larger models. The loss falls, in the third decimal. If moreover the weights themselves are in bfloat16, hardly a weight can take so small a step: it is rounded away (lesson 11), and so is the learning.
#
# ### Exercise 5 · why does it stay? (★★☆, 5 min)
#
# Write the diagnosis. Each line of `log` is a dictionary with `"loss"`, `"gradient"`, `"moved"` and `"margin"`, as in the table. Return `"equal answers"` where no gradient is above 10⁻⁹; `"tiny steps"` where the gradient is there, and after all steps no weight has moved by 10⁻⁵; `"its own reference"` where weights move
# and no margin is farther from zero than 10⁻⁹; else `"it learns"`.


# %% tags=["exercise"]
def why_it_stays(log: list[dict[str, float]]) -> str:
    """What is wrong with a run whose loss stays at 0.693."""
    ### BEGIN SOLUTION
    if max(line["gradient"] for line in log) < 1e-9:
        return "equal answers"
    if log[-1]["moved"] < 1e-5:
        return "tiny steps"
    if max(abs(line["margin"]) for line in log) < 1e-9:
        return "its own reference"
    return "it learns"
    ### END SOLUTION


# %%
check.why_it_stays(why_it_stays)

# %% [markdown]
# There is a fourth reason, and it is none of these: pairs on which nobody can agree. If readers toss coins, 0.693 is the best that *can* be reached on new pairs. Then the loss is right, and the data are at fault.
#
# ### With the package (optional)
#
# `minigpt tune --method dpo --task stories --out runs/dpo` does all this, in a run that can be stopped and taken up again. It makes its pairs in another way: 300 of whole stories, a right one and a wrong one, from about 6,000 that it tells first. `--method ipo` and `--method simpo` are two relatives: IPO (Azar et al. 2023) does not push a margin on once it has reached a target; SimPO (Meng et al. 2024) takes means over tokens in place of sums, and no reference. With a path in place of `stories` it reads your own pairs, a line of JSON each.
#
# ## What to remember
#
# 1. Bradley and Terry: the chance that one answer beats another is the sigmoid of the difference of their rewards. No idea costs ln 2 = 0.693.
# 2. DPO takes β ln(π/π_ref) for the reward: a sum over the answer's tokens, the prompt left out, the reference never moved.
# 3. A falling loss and a growing margin say that pairs were learned. Whether the model is better, only a judge says, beside controls.
# 4. The loss asks for a gap. Right answers may lose probability on the way, and who drives it too far gets a worse model than before.
# 5. Quality has a price in KL. Best-of-n pays the least; ln n − (n − 1)/n is a bound on it and no more.

# %%
folder.cleanup()

# %% [markdown]
# ## Primary sources
#
# - Bradley and Terry 1952, Rank Analysis of Incomplete Block Designs: I. The Method of Paired Comparisons (https://doi.org/10.2307/2334029)
# - Ouyang et al. 2022, Training language models to follow instructions with human feedback, equation 1 (https://arxiv.org/abs/2203.02155)
# - Rafailov et al. 2023, Direct Preference Optimization: Your Language Model is Secretly a Reward Model, equations 1 to 7 (https://arxiv.org/abs/2305.18290)
# - Kullback and Leibler 1951, On Information and Sufficiency (https://doi.org/10.1214/aoms/1177729694)
# - Pal et al. 2024, Smaug: Fixing Failure Modes of Preference Optimisation with DPO-Positive (https://arxiv.org/abs/2402.13228)
# - Razin et al. 2024, Unintentional Unalignment: Likelihood Displacement in Direct Preference Optimization (https://arxiv.org/abs/2410.08847)
# - Beirami et al. 2024, Theoretical Guarantees on the Best-of-n Alignment Policy (https://arxiv.org/abs/2401.01879)
# - Azar et al. 2023, A General Theoretical Paradigm to Understand Learning from Human Preferences, equation 17 (https://arxiv.org/abs/2310.12036)
# - Meng, Xia and Chen 2024, SimPO: Simple Preference Optimization with a Reference-Free Reward (https://arxiv.org/abs/2405.14734)
#
# **Next** · [Lesson 19 · Verified rewards](19_verified_rewards.ipynb): no pairs, only right and wrong.
