# %% [markdown]
# # Lesson 13 · Generation
#
# A GPT gives probabilities. Somebody must choose. This lesson is about the choice, and about making it fast.
#
# **You will be able to**
# - say why the most probable token is often a bad choice, and what happens when you always take it,
# - turn temperature, top-k and top-p yourself, and predict what each does to a distribution,
# - measure what a setting costs in quality and gains in variety,
# - say what beam search finds, and why that may be the wrong thing to look for (optional),
# - build a key-value cache, prove that it changes nothing, and say what it saves.
#
# **Time** 95 min
#
# **Builds on** [lesson 1](01_next_token_game.ipynb) (probabilities, loss) and, for the cache,
# [lesson 4](04_attention_by_hand.ipynb) (queries, keys, values). What is needed of them is recalled.
#
# ![The GPT in grey, its bars for the next token and the arrow back to the text in colour; below, the same bars four times: as the model gives them, with temperature 0.5 the long ones longer, with top-k 5 all but five gone, with top-p 0.6 all but the few that together hold 60 percent; then one is drawn](../figures/where_generation.svg)

# %% tags=["setup"]
import codecs
import math
import textwrap
import time
from collections import Counter
from collections.abc import Callable

import torch
from matplotlib.figure import Figure
from torch import Tensor

from minigpt.config import GPTConfig, InputError, preset
from minigpt.course import check, explore, plots, start_lesson
from minigpt.evaluation.loss import perplexity
from minigpt.evaluation.stories import grade
from minigpt.generation.generate import distribution, draw, generate, stream
from minigpt.model.attention import CausalSelfAttention, scaled_dot_product_attention
from minigpt.model.gpt import GPT, parameter_count
from minigpt.model.kv_cache import KVCache
from minigpt.text import stories
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer
from minigpt.weights.checkpoint import load_model

start_lesson()

# %% [markdown]
# ## The best token, every time
#
# Lesson 1 drew each token at random. That looks careless. The model says which token is most probable, so why not take that one?
# Taking the best each time is called **greedy** decoding. We ask for three stories.

# %%
model, tokenizer = load_model("storyteller")
# more digits than a GPT needs, so that every computer writes the same stories
model = model.double()
START = tokenizer.special_tokens[END_OF_TEXT]  # stands before and after each story
ROOM = model.config.context_length - 1  # new tokens that fit behind START

greedy, *others = generate(model, [START], ROOM, num=3, temperature=0, stop_token=START)
print(textwrap.fill(tokenizer.decode(greedy), 88))
print("\nthe other two the same:", others == [greedy, greedy])
assert others == [greedy, greedy]

# %% [markdown]
# It is one story, three times. There is no chance in it, so there is no second story. (In `minigpt`, temperature 0 means greedy.
# You will see why.)
#
# <div class="alert alert-warning"> <b>You may have read</b> that <code>num_return_sequences=3</code> gives three different
# answers. Not by itself. Three greedy runs make the same choices. It takes sampling (<code>do_sample=True</code> in the library
# transformers), or beams (below), which differ a little. Older versions of that library returned copies; newer ones refuse. </div>

# %%
for temperature in (0.0, 1.0):
    samples = generate(model, [START], 30, num=3, temperature=temperature, seed=0)
    print(
        f"temperature {temperature}: {len({tuple(ids) for ids in samples})} different "
        f"of {len(samples)}"
    )
assert len({tuple(ids) for ids in samples}) == 3

# %% [markdown]
# ### The writing loop
#
# All generation is one loop: ask, choose, append, ask again. It ends when a **stop token** is chosen or when there are enough
# tokens. For our model the stop token is the one that stands between stories.
#
# ### Exercise 1 · write until the stop token (★☆☆, 10 min)
#
# `best_next(ids)` is a model that hands back one token for the text so far. Return the new tokens only, without the prompt and
# without the stop token. Mind that our prompts *begin* with the token that also ends a story.


# %% tags=["exercise"]
def write_until_stop(
    best_next: Callable[[list[int]], int],
    prompt: list[int],
    stop: int,
    max_new_tokens: int,
) -> list[int]:
    """At most `max_new_tokens` new tokens, up to the stop token."""
    ### BEGIN SOLUTION
    new: list[int] = []
    while len(new) < max_new_tokens:
        token = best_next(prompt + new)
        if token == stop:
            break
        new.append(token)
    return new
    ### END SOLUTION


# %%
check.write_until_stop(write_until_stop)

# %% [markdown]
# ### Why greedy loops
#
# Take the poorest writer, a table of which token followed which (lesson 1), and let it write greedily.

# %%
followers: dict[int, Counter[int]] = {}
for i in range(200):
    ids = [START, *tokenizer.encode(stories.story_at("train", i).text)]
    for token, following in zip(ids, ids[1:], strict=False):
        followers.setdefault(token, Counter())[following] += 1
best_follower = {
    token: min(after, key=lambda t: (-after[t], t))
    for token, after in followers.items()
}

chain = [START]
while best_follower.get(chain[-1], START) not in chain:
    chain.append(best_follower[chain[-1]])
back = best_follower.get(chain[-1], START)
period = len(chain) - chain.index(back)
print(textwrap.fill(tokenizer.decode(chain[1:]), 88))
print(
    f"\nand then again «{tokenizer.decode([back])}», which stood {period} tokens before"
)
assert len(chain) <= tokenizer.vocab_size

# %% [markdown]
# From there on the table must repeat itself for ever, because it knows nothing but the last token. **It had no choice.** There are
# V tokens, so after V steps at the latest one of them comes back, and what followed it then follows it again.
#
# A GPT sees the whole text, so it *can* get out. Our model ends its story instead. But push it past the end, where it has never
# been: forbid the stop token and go on greedily.

# %%
text = [START, *greedy]
with torch.inference_mode():
    while len(text) < model.config.context_length:
        logits = model(torch.tensor([text]))[0, -1]  # (vocab_size,)
        logits[START] = -math.inf
        text.append(int(logits.argmax()))
beyond = text[1 + len(greedy) :]
print(textwrap.fill("…" + tokenizer.decode(beyond), 88))


# %% [markdown]
# Count it: of all runs of three tokens, how many are different?


# %%
def new_triples(ids: list[int]) -> float:
    """The share of different ones among all runs of three tokens."""
    triples = list(zip(ids, ids[1:], ids[2:], strict=False))
    return len(set(triples)) / len(triples)


print(f"in the story:   {new_triples(greedy):.2f}")
print(f"beyond its end: {new_triples(beyond):.2f}")
assert new_triples(beyond) < 0.6 < new_triples(greedy)

# %% [markdown]
# Large models do the same on ordinary text. Holtzman et al. (2020) found that greedy and beam search make a good model dull and
# repetitive, and named it **degeneration**. Xu et al. (2022) measured one reason: each time a sentence is repeated, the model
# finds one more repetition more probable.

# %% [markdown]
# ## Temperature
#
# So we draw. But must we draw from exactly the model's distribution? Start with three **logits**, the scores before softmax: 2, 1
# and 0. Divide them by a number, the **temperature** τ, and then take the softmax.
#
# $$p_i = \frac{e^{z_i/\tau}}{\sum_j e^{z_j/\tau}}$$
#
# Work one out yourself before you read on: at τ = 0.5 the logits become 4, 2, 0, and the first token gets $e^4 / (e^4 + e^2 + 1)$.

# %%
scores = [2.0, 1.0, 0.0]


def softmax_at(scores: list[float], temperature: float) -> list[float]:
    """Softmax of the scores divided by the temperature."""
    powers = [math.exp(score / temperature) for score in scores]
    return [power / sum(powers) for power in powers]


for tau in (0.5, 1.0, 2.0, 100.0):
    by_hand = softmax_at(scores, tau)
    with_torch = (torch.tensor(scores, dtype=torch.float64) / tau).softmax(dim=-1)
    packaged = distribution(torch.tensor([scores]), temperature=tau)[0]
    assert torch.allclose(torch.tensor(by_hand, dtype=torch.float64), with_torch)
    assert torch.allclose(with_torch, packaged)
    print(f"temperature {tau:5}: {', '.join(f'{p:.4f}' for p in by_hand)}")
assert math.isclose(
    softmax_at(scores, 0.5)[0], math.exp(4) / (math.exp(4) + math.exp(2) + 1)
)

# %% [markdown]
# Cold makes the rich richer, hot levels. At 100 the three are nearly equal. The ratio of two probabilities is $e^{(z_i -
# z_j)/\tau}$, so halving τ squares the ratio. The name comes from physics, where a warm body jumps about between states of
# different energy; Ackley, Hinton and Sejnowski (1985) brought it to neural networks.
#
# <div class="alert alert-warning"> <b>You may have read</b> that temperature 0 is impossible, because it divides by zero, or that
# it makes all tokens equally likely. Put into the formula, 0 does break. But the formula has a <i>limit</i> as τ falls to 0: all
# probability goes to the largest logit. That is greedy decoding, and programs treat it as a case of its own. </div>

# %%
z = torch.tensor([scores], dtype=torch.float64)
print("put in:           ", (z / 0).softmax(dim=-1)[0].tolist())
for tau in (0.3, 0.1, 0.03):
    print(
        f"temperature {tau:4}: ",
        [round(p, 4) for p in distribution(z, temperature=tau)[0].tolist()],
    )
print("the package at 0: ", distribution(z, temperature=0)[0].tolist())
assert (z / 0).softmax(dim=-1).isnan().all()
assert torch.allclose(distribution(z, temperature=0.03), distribution(z, temperature=0))

# %% [markdown]
# ### Exercise 2 · sample at a temperature (★★☆, 10 min)
#
# Draw one token id. Use the generator you are given, in `torch.multinomial(probabilities, 1, generator=generator)` or with a
# number from `torch.rand` and lesson 1's line. At temperature 0, be greedy. The check draws thousands of tokens and compares how
# often each came with its probability.


# %% tags=["exercise"]
def sample_token(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    """One token id, drawn from softmax(logits / temperature); logits (vocab_size,)."""
    ### BEGIN SOLUTION
    if temperature == 0:
        return int(logits.argmax())
    probabilities = (logits / temperature).softmax(dim=-1)
    return int(torch.multinomial(probabilities, 1, generator=generator))
    ### END SOLUTION


# %%
check.sample_token(sample_token)

# %% [markdown]
# The same test on the package: `draw` uses the line of lesson 1, for many rows at once. How far may shares stray by chance?
# The standard deviation of a share is $\sqrt{p(1-p)/n}$; we allow five of them.

# %%
n = 20_000
wanted = distribution(z, temperature=2.0)  # (1, 3)
uniform = torch.rand(
    n, dtype=torch.float64, generator=torch.Generator().manual_seed(13)
)
drawn = draw(wanted.expand(n, -1), uniform)
shares = torch.bincount(drawn, minlength=3) / n
for token, (share, p) in enumerate(
    zip(shares.tolist(), wanted[0].tolist(), strict=True)
):
    spread = math.sqrt(p * (1 - p) / n)
    print(
        f"token {token}: drawn {share:.4f}, probability {p:.4f}, standard deviation "
        f"{spread:.4f}"
    )
    assert abs(share - p) < 5 * spread

# %% [markdown]
# ## Cutting off the tail
#
# Now real distributions. Change the arguments of the next cell and run it again; that is what it is for.


# %%
@torch.inference_mode()
def logits_after(text: str) -> Tensor:
    """The model's scores for the token after `text`, (1, vocab_size)."""
    logits: Tensor = model(torch.tensor([[START, *tokenizer.encode(text)]]))[:, -1]
    return logits


def show(
    text: str,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    count: int = 10,
) -> Figure:
    """The most probable tokens after a text, as they would be drawn."""
    logits = logits_after(text)
    probabilities = distribution(logits, temperature, top_k, top_p)[0]
    # the same tokens whatever the setting does to them
    best = logits[0].topk(count).indices
    kept = int((probabilities > 0).sum())
    title = (
        f"temperature {temperature}, top-k {top_k}, top-p {top_p}: {kept:,} tokens left"
    )
    return plots.next_token_bars(
        [tokenizer.decode([int(i)]) for i in best], probabilities[best].tolist(), title
    )


OPENING = "Once upon a time, there was a kind pony named Ida."
ten_best = distribution(logits_after(OPENING))[0].topk(10).values.sum()
print(f"all tokens that the plot leaves out hold {1 - ten_best:.1%} together")
show(OPENING, temperature=1.0, top_k=None, top_p=None)

# %% [markdown]
# The title counts every token whose probability is above zero, and that is the whole vocabulary. Softmax never says zero. Below
# the bars lies a long **tail**. Each token in it is improbable, most are absurd, and there are so many that together they come up
# now and then. A story has more than a hundred draws, and one absurd token can spoil it. So cut the tail off before you draw.
#
# **Top-k** keeps the k most probable tokens (Fan et al. 2018). Whatever is at minus infinity has probability $e^{-\infty} = 0$.


# %% tags=["package:minigpt.generation.generate.keep_top_k"]
def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Logits (B, V) with all but the k largest at minus infinity; ties stay."""
    kth = logits.topk(k).values[:, -1:]  # (B, 1)
    return logits.masked_fill(logits < kth, -math.inf)


# %%
assert torch.equal(keep_top_k(z, 2).softmax(dim=-1), distribution(z, top_k=2))
print(
    keep_top_k(z, 2)[0].tolist(),
    "→",
    [round(p, 4) for p in keep_top_k(z, 2).softmax(dim=-1)[0].tolist()],
)
show(OPENING, temperature=1.0, top_k=5)

# %% [markdown]
# Which k? That depends on the position. After «there was a» the story world throws a fair die for the hero's trait, and some two
# dozen tokens are right. After «Once upon» one token is. Count how many tokens it takes to hold 90 % of the probability:

# %%
places = {
    "many are right": "Once upon a time, there was a",
    "some are right": OPENING,
    "one is right": "Once upon",
}
for name, text_so_far in places.items():
    ordered = distribution(logits_after(text_so_far))[0].sort(descending=True).values
    needed = int((ordered.cumsum(0) < 0.9).sum()) + 1
    print(
        f"{name:<15} {needed:>4} tokens hold 90 %; the best five hold "
        f"{ordered[:5].sum():.0%}"
    )

# %% [markdown]
# With k = 5 we lose most of the good tokens at the first of these positions, and let four bad ones in at the last. No single k fits both. So
# let the *distribution* decide. **Top-p**, or nucleus sampling (Holtzman et al. 2020, section 3.1), goes down from the most
# probable token, adds up, and stops when the sum reaches p. What was added is the **nucleus**. As with top-k, softmax then shares
# all the probability among the tokens that are left.
#
# By hand, with p = 0.7 and the probabilities 0.1, 0.5, 0.05, 0.25, 0.06, 0.04: first 0.5, not enough; then 0.25, which makes 0.75.
# The nucleus is tokens 1 and 3.
#
# ### Exercise 3 · the nucleus (★★☆, 10 min)
#
# Return the ids of the smallest set of most probable tokens whose probabilities sum to at least p. Mind that a computer's sums
# are a hair off: `0.7 + 0.1 >= 0.8` is False.


# %% tags=["exercise"]
def nucleus(probabilities: list[float], p: float) -> set[int]:
    """The ids of the tokens that top-p keeps."""
    ### BEGIN SOLUTION
    kept, total = set(), 0.0
    for token in sorted(range(len(probabilities)), key=lambda i: -probabilities[i]):
        kept.add(token)
        total += probabilities[token]
        if total >= p - 1e-9:  # 0.7 + 0.1 may come out a hair below 0.8
            break
    return kept
    ### END SOLUTION


# %%
check.nucleus(nucleus)

# %% [markdown]
# In torch there is no loop: sort, add up, and ask of each token what the more probable ones hold already. If they hold p, it is
# outside. (A sum that misses p by a hair counts as p, as in the exercise: by a millionth of what lies beyond p.)


# %% tags=["package:minigpt.generation.generate.keep_top_p"]
def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Logits (B, V) with all but the nucleus at minus infinity."""
    ordered, order = logits.sort(descending=True)
    probabilities = ordered.double().softmax(dim=-1)
    # what the more probable tokens hold already
    before = probabilities.cumsum(dim=-1) - probabilities
    # from the most probable down; a rounded p is p
    outside = before >= p - 1e-6 * (1 - p)
    # in the vocabulary's order
    outside = outside.scatter(dim=-1, index=order, src=outside)
    return logits.masked_fill(outside, -math.inf)


# %%
example = torch.tensor([[0.1, 0.5, 0.05, 0.25, 0.06, 0.04]], dtype=torch.float64)
kept = keep_top_p(example.log(), 0.7)[0].isfinite().nonzero().flatten().tolist()
print("nucleus:", kept)
print(
    "drawn with",
    [round(x, 2) for x in distribution(example.log(), top_p=0.7)[0].tolist()],
)
assert kept == [1, 3]
assert torch.allclose(
    keep_top_p(example.log(), 0.7).softmax(dim=-1),
    distribution(example.log(), top_p=0.7),
)
show(OPENING, temperature=1.0, top_p=0.9)

# %% [markdown]
# <div class="alert alert-warning"> <b>You may have read</b> that top-p 0.9 keeps 90 percent of the tokens. It keeps as many
# tokens as it takes to hold 90 percent of the <i>probability</i>: one, or dozens, a new number at every step. Nor does it keep
# those tokens whose own probability is above some bound. </div>

# %%
for name, text_so_far in places.items():
    size = int((distribution(logits_after(text_so_far), top_p=0.9) > 0).sum())
    print(
        f"{name:<15} top-p 0.9 keeps {size:>3} of {tokenizer.vocab_size:,} tokens, "
        f"{size / tokenizer.vocab_size:.1%}"
    )
    assert size < 0.05 * tokenizer.vocab_size
assert size == 1

# %% [markdown]
# The package's `distribution` does all three in a fixed order: temperature, then top-k, then top-p. The order matters. A
# temperature changes the probabilities, and so what the nucleus holds.

# %%
for tau in (0.5, 1.0, 1.5, 2.0):
    size = int((distribution(logits_after(OPENING), tau, top_p=0.9) > 0).sum())
    print(f"temperature {tau}: the nucleus of top-p 0.9 has {size} tokens")
assert size > 50
before = int((distribution(keep_top_p(logits_after(OPENING), 0.9), 2.0) > 0).sum())
print(f"the other way round, top-p first and then temperature 2: {before} tokens")
assert before < 20

# %% [markdown]
# ### Turn them yourself (optional)
#
# Move the sliders. The full bars are what would be drawn, the dashed ones what the model gives. First lower top-p at temperature 2 until the
# nucleus is as small as it was at temperature 1. Then set top-p back to 1, press «draw the next token» ten times at temperature 2, step back
# ten times, and do it again with top-k 5. Which of the two goes astray, and at which token? (The boxes and arcs at the top are the attention of
# lesson 5.)

# %%
explore(model, tokenizer, OPENING, temperature=2.0, top_p=0.9)

# %% [markdown]
# ## What a setting costs
#
# Which temperature is best? On most texts this is a matter of taste, and people are asked to rate. Here a program can tell
# whether a story contradicts itself. So we measure three things for each setting, on 20 stories:
#
# - **quality**: how many stories are consistent, by `minigpt.evaluation.stories.grade`;
# - **variety**: how many bits of choice go into a story. At each step this is the entropy of the distribution that we draw from;
# - **perplexity** of what was written, for the model as it is (temperature 1), as in lesson 1.


# %%
@torch.inference_mode()
def measure(
    sequences: list[list[int]], temperature: float = 1.0, top_p: float | None = None
) -> tuple[float, float]:
    """Bits of choice per story, and the perplexity of these stories."""
    longest = max(map(len, sequences))
    padded = torch.tensor(
        [[START, *ids, *[START] * (longest - len(ids))] for ids in sequences]
    )  # (B, longest + 1)
    bits, nats, tokens = 0.0, 0.0, 0
    for logits, ids in zip(model(padded), sequences, strict=True):
        # (T,): the story and its end, if there was room for the end
        came = torch.tensor([*ids, START][:ROOM])
        logits = logits[: len(came)]  # (T, vocab_size)
        drawn_from = distribution(logits, temperature, top_p=top_p)
        # the entropy of each step
        entropies = -torch.special.xlogy(drawn_from, drawn_from).sum(dim=-1)  # (T,)
        bits += float(entropies.sum()) / math.log(2)
        nats -= float(logits.log_softmax(dim=-1).gather(1, came[:, None]).sum())
        tokens += len(came)
    return bits / len(sequences), perplexity(nats / tokens)


def trial(temperature: float, top_p: float | None = None) -> dict[str, float]:
    """20 stories with this setting: quality, variety, perplexity."""
    count = 20 if temperature > 0 else 1  # greedy ones would be copies
    written = generate(
        model,
        [START],
        ROOM,
        num=count,
        temperature=temperature,
        top_p=top_p,
        stop_token=START,
        seed=1,
    )
    bits, surprise = measure(written, temperature, top_p)
    return {
        "consistent": grade([tokenizer.decode(ids) for ids in written]).consistent,
        "bits": bits,
        "perplexity": surprise,
    }


plain = {tau: trial(tau) for tau in (0.0, 0.5, 1.0, 1.25, 1.5, 2.0)}
cut = {tau: trial(tau, top_p=0.9) for tau in (1.0, 1.5, 2.0)}
for name, trials in (("plain", plain), ("with top-p 0.9", cut)):
    print(f"{name}\n  temperature  consistent  bits of choice  perplexity")
    for tau, result in trials.items():
        print(
            f"  {tau:11} {result['consistent']:11.0%} {result['bits']:15.0f} "
            f"{result['perplexity']:11.2f}"
        )

# %%
real = [tokenizer.encode(stories.story_at("test", i).text) for i in range(60)]
real_perplexity = measure(real)[1]
print(f"perplexity of real stories: {real_perplexity:.2f}")
print(f"entropy of the story world: {stories.entropy():.0f} bits per story")
assert plain[0.0]["perplexity"] < real_perplexity < plain[1.5]["perplexity"]
assert abs(plain[1.0]["perplexity"] - real_perplexity) < 0.15
assert plain[1.0]["consistent"] > 0.7 and plain[2.0]["consistent"] < 0.3
assert cut[1.5]["consistent"] > plain[1.5]["consistent"]
print(
    "a share of 0.4 among 20 stories has a standard deviation of "
    f"{math.sqrt(0.4 * 0.6 / 20):.2f}"
)
print(f"20 of 20 come out with probability {0.95**20:.2f}, where 95 in 100 are right")

# %% [markdown]
# Read the table from both ends.
#
# - Temperature 0 is safe and has no choice at all. Its perplexity is *lower* than that of real stories. **Low perplexity of what
#   was written is no sign of quality**: it says that the writer took no risk. Real stories surprise. Holtzman et al. (2020,
#   «Natural language does not maximize probability») saw the same in people's texts.
# - At temperature 1 the perplexity of the model's stories is that of real ones, and the bits of choice are near the entropy of
#   the world. That is what training aimed at.
# - Hotter, the tail comes in. Variety rises, but now it is the variety of nonsense.
# - With top-p most of the tail stays out at the same temperature, until the nucleus itself grows too wide.
#
# Colder than 1 costs little variety *here*, because most choices in this world are throws of a fair die: what is equally probable
# stays so at any temperature above 0. Where it is not, cold takes the rarer tokens away: look at the sizes of the nucleus above, at
# temperatures 0.5 and 1. In ordinary text few choices are fair.


# %%
def curve(trials: dict[float, dict[str, float]]) -> tuple[list[float], list[float]]:
    """Variety and quality of each trial."""
    return [round(t["bits"]) for t in trials.values()], [
        round(t["consistent"], 2) for t in trials.values()
    ]


plots.curves(
    {
        "temperature 0 to 2": curve(plain),
        "temperature 1, 1.5, 2 with top-p 0.9": curve(cut),
    },
    "bits of choice per story",
    "share of consistent stories",
)

# %% [markdown]
# The curve is a trade. Up to about the true entropy of the world, variety costs little; beyond it, every further bit is paid for with
# broken stories. Twenty stories are few: a point may easily lie 0.1 or 0.2 off, and 20 of 20 does not mean all. So do not read much into
# the distance of the two lines. Where a line runs straight between two points, nothing was measured. In this world, where hardly anything
# lies between right and absurd, top-p and a lower temperature are two ways to much the same trade. Where you want to stand depends on the task. One with a single right answer belongs
# at the left.

# %% [markdown]
# ## Beam search (optional)
#
# Greedy takes the best *token* each time. That need not give the best *text*. Here is a table with four texts to choose from.
# Which one is the most probable? Work it out before you read on; greedy starts with «the».

# %%
STOP = "."
little_table = {
    "": {"the": 0.6, "a": 0.4},
    "the": {"cat": 0.55, "dog": 0.45},
    "a": {"bird": 0.9, "cow": 0.1},
    **{noun: {STOP: 1.0} for noun in ("cat", "dog", "bird", "cow")},
}
for first in ("the", "a"):
    for noun, p in little_table[first].items():
        print(
            f"{first} {noun}: {little_table[''][first]} · {p} = "
            f"{little_table[''][first] * p:.2f}"
        )

# %% [markdown]
# «a bird» wins with 0.36, and greedy can never find it, because it threw «a» away at once. **Beam search** keeps the best *w*
# beginnings instead of one. It extends each by its best tokens, and of all these keeps the best w again. Probabilities multiply,
# so their logarithms add up.

# %%
# ln of the probability, and the text with its stop token
Scored = tuple[float, list[int]]


def beam_search(
    log_probabilities: Callable[[list[list[int]]], Tensor],
    start: int,
    stop: int,
    width: int,
    max_new_tokens: int,
) -> list[Scored]:
    """The best texts that were found, the best first."""
    beams: list[Scored] = [(0.0, [start])]
    finished: list[Scored] = []
    for _ in range(max_new_tokens):
        # (number of beams, vocab_size)
        rows = log_probabilities([ids for _, ids in beams])
        longer = [
            (score + float(row[token]), [*ids, int(token)])
            for (score, ids), row in zip(beams, rows, strict=True)
            for token in row.topk(min(width, len(row))).indices
        ]
        best = sorted(longer, reverse=True)[:width]
        finished = sorted(
            finished + [beam for beam in best if beam[1][-1] == stop], reverse=True
        )[:width]
        beams = [beam for beam in best if beam[1][-1] != stop]
        if not beams or (len(finished) == width and finished[-1][0] >= beams[0][0]):
            break  # a text can only lose by growing: no beam can catch up any more
    return finished or beams  # nothing has ended: the best beginnings


words = ["", "the", "a", "cat", "dog", "bird", "cow", STOP]


def look_up(texts: list[list[int]]) -> Tensor:
    """ln of the little table's probabilities after the last word of each text."""
    rows = [
        [little_table[words[ids[-1]]].get(word, 0.0) for word in words] for ids in texts
    ]
    return torch.tensor(rows, dtype=torch.float64).log()


for width in (1, 2):
    score, ids = beam_search(look_up, 0, words.index(STOP), width, 5)[0]
    print(
        f"width {width}: «{' '.join(words[i] for i in ids[1:])}», probability "
        f"{math.exp(score):.2f}"
    )

# %% [markdown]
# Width 1 is greedy; width 2 finds the bird. Now our GPT with four beams:


# %%
@torch.inference_mode()
def ask_model(texts: list[list[int]]) -> Tensor:
    """ln of the model's probabilities after each text; all are equally long."""
    return model(torch.tensor(texts))[:, -1].log_softmax(dim=-1)


one = beam_search(ask_model, START, START, 1, ROOM)
four = beam_search(ask_model, START, START, 4, ROOM)
assert one[0][1][1:-1] == greedy
for i, (score, ids) in enumerate(four, start=1):
    other_words = Counter(tokenizer.decode(ids).split()) - Counter(
        tokenizer.decode(four[0][1]).split()
    )
    print(f"beam {i}, {-score / math.log(2):.2f} bits; words that beam 1 has not:")
    print(textwrap.fill(", ".join(other_words) or "(none)", 84, initial_indent="    "))
shared = sum((Counter(four[0][1]) & Counter(four[1][1])).values()) / max(
    len(four[0][1]), len(four[1][1])
)
print(f"tokens that the two best beams share: {shared:.0%}")
assert shared > 0.8

# %% [markdown]
# The four beams are not four stories. They differ in a few words. And are they more probable than the greedy story? Here are the
# bits of surprise along the way, of the greedy story and the best beam. Fewer bits mean more probable.


# %%
@torch.inference_mode()
def bits_so_far(ids: list[int]) -> Tensor:
    """Surprise of the text after each token, in bits; START is at both ends."""
    logits = model(torch.tensor([ids[:-1]]))[0]  # (T, vocab_size)
    came = torch.tensor(ids[1:])[:, None]  # (T, 1)
    nats = -logits.log_softmax(dim=-1).gather(1, came)[:, 0]  # (T,)
    return nats.cumsum(0) / math.log(2)


paths = {"greedy": bits_so_far(one[0][1]), "best beam": bits_so_far(four[0][1])}
print("tokens:   ", "".join(f"{n:6}" for n in range(20, 121, 10)), "   end")
for name, path in paths.items():
    print(
        f"{name:<10}",
        "".join(f"{path[n - 1]:6.1f}" for n in range(20, 121, 10)),
        f"{path[-1]:6.1f}",
    )
bits_of_real = [float(bits_so_far([START, *ids, START])[-1]) for ids in real]
print(
    f"\n60 real stories: {min(bits_of_real):.1f} to {max(bits_of_real):.1f} bits, mean "
    f"{sum(bits_of_real) / 60:.1f}"
)
print(
    "four beams found a more probable story than greedy:",
    bool(four[0][0] > one[0][0] + 1e-9),
)
assert min(float(path[-1]) for path in paths.values()) < min(bits_of_real)

# %% [markdown]
# Two more things to see.
#
# **A wider beam need not find more.** It compares beginnings of the *same length*. A beginning that has put its surprises off
# looks better than one that has paid already, and pushes it out, whatever comes later. Look for lengths at which the beam leads,
# and see who leads at the end.
#
# **The most probable is not typical.** The better of the two costs fewer bits than every one of the 60 real stories: none of them is
# as predictable. In this world the difference is small, because all its stories are nearly equally probable. In general it is large. Toss a bent coin that shows heads 6 times in 10: the most probable row of 100 tosses is 100 heads, and you
# will never see it. A search for the highest probability also collects every place where the model is a little too sure.

# %% [markdown]
# ### The curse of the short text (optional)
#
# And there is a third trouble. Each further token makes a text less probable, even a good one. Let a translator stop at once with
# probability 0.1. Otherwise, with 0.9, it writes 20 words, each with probability 0.88:

# %%
stop_at_once = 0.1
full_sentence = (1 - stop_at_once) * 0.88**20
print(f"nothing at all: {stop_at_once:.4f}")
print(f"20 good words:  {full_sentence:.4f}")
print(f"the first word of them: {(1 - stop_at_once) * 0.88:.2f}")
assert stop_at_once > full_sentence


def by_gnmt(log_probability: float, length: int, alpha: float) -> float:
    """Wu et al. 2016, section 7: ln p divided by ((5 + length) / (5 + 1)) ** alpha."""
    return log_probability / ((5 + length) / 6) ** alpha


for alpha in (0.0, 0.6, 1.0):
    empty, full = (
        by_gnmt(math.log(stop_at_once), 1, alpha),
        by_gnmt(math.log(full_sentence), 21, alpha),
    )
    print(
        f"alpha {alpha}: nothing {empty:.2f}, 20 words {full:.2f}: "
        f"{'nothing' if empty > full else '20 words'} wins"
    )

# %% [markdown]
# Greedy would go on here, since the first word has more than 0.1. A better search finds the empty text. Stahlberg and Byrne (2019) searched a
# real translation model *exactly*: for more than half of the sentences its very best translation was empty. Beam search works in
# translation because it searches badly enough. The usual repair divides by a power of the length, as above. Meister et al. (2020)
# ask what beam search does right, and answer: it prefers texts whose surprise is spread evenly.
#
# Where one right answer exists, as in translation or transcription, beam search earns its price. For stories, draw.

# %% [markdown]
# ## The key-value cache
#
# Now speed. Look at the loop again: for each new token the model reads the whole text. To write 4 tokens after START it reads 1,
# 2, 3, then 4 tokens, 10 in all. Is that necessary? In a causal model nobody looks ahead. So what is computed for the first
# tokens cannot change when later ones arrive. We check that in every layer, on queries, keys and values.

# %%
qkv_of: list[Tensor] = []
hooks = [
    attention.qkv.register_forward_hook(
        lambda module, inputs, output: qkv_of.append(output)
    )
    for attention in model.modules()
    if isinstance(attention, CausalSelfAttention)
]
story = torch.tensor([[START, *real[0]]])  # (1, T)
with torch.inference_mode():
    model(story[:, :20])
    short, qkv_of = qkv_of, []
    model(story[:, :21])
    longer = qkv_of
for hook in hooks:
    hook.remove()
for layer, (before_it, after_it) in enumerate(zip(short, longer, strict=True)):
    unchanged = torch.allclose(before_it, after_it[:, :20], atol=1e-9)
    print(
        f"layer {layer}: queries, keys and values of 20 tokens the same when token 21 "
        f"has come: {unchanged}"
    )
    assert unchanged

# %% [markdown]
# Nothing changes. So keep them. What does a new token need? Its own query; the keys of all tokens so far, to compare with; and
# their values, to blend. Nobody asks for the *queries* of earlier tokens again. Hence the name: **key-value cache**.
#
# ### Step 1: a list for one head
#
# Lesson 4 in a sentence: the scores are $q \cdot k / \sqrt{d_k}$, softmax makes weights of them, and the output blends the values.

# %%
queries = [[1.0, 0.0], [0.0, 2.0], [2.0, 2.0]]
keys = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
values = [[10.0, 0.0], [0.0, 10.0], [5.0, 5.0]]
kept_keys: list[list[float]] = []
kept_values: list[list[float]] = []
stepwise = []
# the tokens arrive one by one
for query, key, value in zip(queries, keys, values, strict=True):
    kept_keys.append(key)
    kept_values.append(value)
    powers = [
        math.exp((query[0] * k[0] + query[1] * k[1]) / math.sqrt(2)) for k in kept_keys
    ]
    weights = [power / sum(powers) for power in powers]
    blend = [
        sum(w * v[i] for w, v in zip(weights, kept_values, strict=True))
        for i in range(2)
    ]
    stepwise.append(blend)
    print(
        f"{len(kept_keys)} keys, weights {[round(w, 4) for w in weights]}, output "
        f"{[round(x, 4) for x in blend]}"
    )

q, k, v = (torch.tensor(rows, dtype=torch.float64) for rows in (queries, keys, values))
all_at_once, _ = scaled_dot_product_attention(q, k, v, causal=True)  # (3, 2)
assert torch.allclose(torch.tensor(stepwise, dtype=torch.float64), all_at_once)

# %% [markdown]
# The package's attention, which sees all three tokens at once behind a causal mask, gives the same three rows. And in the steps
# there was no mask: what a token must not see was not there yet.
#
# ### Exercise 4 · attend with a cache (★★☆, 15 min)
#
# One step in torch. Append, attend, and return the output together with the grown cache.


# %% tags=["exercise"]
def cached_attention(
    q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Output (d_k,), keys and values (T + 1, d_k), from q, k, v and T cached tokens."""
    ### BEGIN SOLUTION
    keys = torch.cat([keys, k[None]])  # (T + 1, d_k)
    values = torch.cat([values, v[None]])
    weights = (keys @ q / math.sqrt(len(q))).softmax(dim=-1)  # (T + 1,)
    return weights @ values, keys, values
    ### END SOLUTION


# %%
check.cached_attention(cached_attention)

# %% [markdown]
# ### Step 2: a place for every layer (optional)
#
# `torch.cat` copies the whole cache for each token. So reserve the room for the whole context at the start, and write each token
# into its place. Who knows that place? The caller says it, as `position`. If each layer moved a counter of its own, the layers
# could disagree.


# %%
class Shelf:
    """Keys and values of every layer, with room for the whole context."""

    def __init__(self, config: GPTConfig) -> None:
        shape = (
            config.n_layers,
            1,
            config.n_heads,
            config.context_length,
            config.head_size,
        )
        # (n_layers, B, h, context_length, head_size)
        self.keys = torch.empty(shape, dtype=torch.float64)
        self.values = torch.empty(shape, dtype=torch.float64)

    def update(
        self, layer: int, keys: Tensor, values: Tensor, position: int
    ) -> tuple[Tensor, Tensor]:
        """Write T new tokens, (B, h, T, head_size); return all so far."""
        end = position + keys.size(2)
        self.keys[layer, :, :, position:end] = keys
        self.values[layer, :, :, position:end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


# %% [markdown]
# That is all that attention asks of a cache: `k, v = cache.update(layer, k, v, position)`. The package's `KVCache` does the same
# for many texts at once, with checks.

# %% [markdown]
# ### Step 3: the same logits
#
# The model takes a cache and a position. A prompt goes in at once; that is called **prefill**. Then each new token goes in alone;
# that is **decoding**. Do the logits agree with a model that reads everything anew?

# %%
with torch.inference_mode():
    anew = model(story)  # (1, T, vocab_size)
    cache = KVCache(model.config, batch_size=1, dtype=torch.float64)
    for kind, store in (("our Shelf", Shelf(model.config)), ("KVCache", cache)):
        pieces = [model(story[:, :10], store, 0)]  # prefill: 10 tokens at once
        for position in range(10, story.size(1)):  # decoding: one token at a time
            pieces.append(model(story[:, position : position + 1], store, position))
        same = torch.allclose(torch.cat(pieces, dim=1), anew, atol=1e-9)
        print(
            f"{kind}: logits after each of {story.size(1)} tokens equal to 9 decimals: "
            f"{same}"
        )
        assert same

# %% [markdown]
# Not nearly: equal, up to the order of additions. A cache is no approximation. So the same seed writes the same text, here,
# where we compute in float64. With fewer digits another order of additions now and then turns a draw that was very close, and
# from there on the texts differ. In 16 bits you may meet that.

# %%
with_cache = generate(model, [START], 60, num=2, seed=3)
without = generate(model, [START], 60, num=2, seed=3, use_cache=False)
print("same tokens with and without the cache:", with_cache == without)
assert with_cache == without

# %% [markdown]
# ### Step 4: what it saves
#
# First count, then measure. How many tokens does the model read to write n of them? Without a cache $1 + 2 + \dots + n =
# n(n+1)/2$, with it n.

# %%
config = GPTConfig(vocab_size=64, context_length=512, n_layers=2, n_heads=4, d_model=64)
torch.manual_seed(0)
untrained = GPT(config).eval()  # what it writes is noise, and takes as long as sense
LENGTHS = [50, 100, 200, 400]


def tokens_read(n: int, use_cache: bool) -> int:
    """How many tokens go through the model while it writes n."""
    read: list[int] = []
    hook = untrained.token_embedding.register_forward_hook(
        lambda module, inputs, output: read.append(inputs[0].numel())
    )
    generate(untrained, [0], n, seed=0, use_cache=use_cache)
    hook.remove()
    return sum(read)


for n in LENGTHS[:3]:
    plain_count, cached_count = (
        tokens_read(n, use_cache=False),
        tokens_read(n, use_cache=True),
    )
    print(
        f"{n:>3} new tokens: {plain_count:>6,} read without a cache, {cached_count:>3} "
        "with it"
    )
    assert plain_count == n * (n + 1) // 2 and cached_count == n

# %% tags=["nbval-ignore-output"]
seconds: dict[bool, list[float]] = {False: [], True: []}
for use_cache, times in seconds.items():
    for n in LENGTHS:
        begin = time.perf_counter()
        generate(untrained, [0], n, seed=0, use_cache=use_cache)
        times.append(time.perf_counter() - begin)
for n, slow, fast in zip(LENGTHS, seconds[False], seconds[True], strict=True):
    print(
        f"{n:>3} tokens: {slow:6.3f} s without a cache, {fast:6.3f} s with it, "
        f"{slow / fast:4.1f} times as long"
    )
plots.curves(
    {
        "without a cache": (LENGTHS, seconds[False]),
        "with a cache": (LENGTHS, seconds[True]),
    },
    "new tokens",
    "seconds",
)

# %% [markdown]
# These numbers are of the machine where the cell last ran. The shapes are the same everywhere. With the cache, twice the text
# takes about twice the time: a straight line. Without it the line bends upward like a parabola: in long texts, twice the length
# takes about four times the time, and more in very long ones. In short ones each step's fixed cost hides the difference.
#
# Strictly, the new token still looks at all earlier keys: $2\,d_{model}$ multiplications for each old token in each layer, where its own
# pass through the block's weights takes $12\,d_{model}^2$ (lesson 8). So at first a step with a cache gets slower by little. In very long texts this
# part rules: then the total grows like the square with a cache, and like the cube without.

# %% [markdown]
# ### What it costs (optional)
#
# Memory: a key and a value of $d_{model}$ numbers for each token, in each layer, for each text of the batch. For GPT-2's
# smallest, in 16 bits (2 bytes) a number:

# %%
gpt2 = preset("gpt2").model
bytes_per_token = 2 * gpt2.n_layers * gpt2.d_model * 2
print(
    f"{bytes_per_token:,} bytes for each token, "
    f"{bytes_per_token * gpt2.context_length / 2**20:.0f} MiB for one full context"
)
small = KVCache(config, batch_size=3)
assert (
    small.keys.numel() + small.values.numel()
    == 2 * config.n_layers * 3 * config.context_length * config.d_model
)

# %% [markdown]
# And time. To write one token of one text, a step multiplies each weight by one number. So it fetches *all weights* from
# memory for two operations each, far left of the ridge of lesson 11's roofline: it waits for memory, not for arithmetic.

# %%
weight_bytes = 2 * parameter_count(gpt2)  # 16 bits each
# seconds, at the memory bandwidth of an H100's data sheet
step = weight_bytes / 3.35e12
print(
    f"{weight_bytes / 1e9:.2f} GB of weights: {1e6 * step:.0f} µs a step at least, "
    f"{1 / step:,.0f} steps a second at most"
)
cache_of_100 = 100 * bytes_per_token * 512  # 100 texts, half of the context full
print(
    f"100 texts at once: {(weight_bytes + cache_of_100) / weight_bytes:.1f} times as "
    "long a step, for 100 tokens"
)

# %% [markdown]
# A hundred texts share one fetch of the weights. Their caches they cannot share.
# A large model that serves hundreds of texts at once may hold more cache than weights, and each step must fetch all of it from
# memory for very little arithmetic. Shazeer (2019, section 2.4) counts this and proposes to let all heads share their keys and
# values; Pope et al. (2022) do the count for whole models.
#
# The cache has one limit here. Our position embeddings are numbered from the start of the window. When a text outgrows the
# context and the window moves, every token gets another position, so no kept key is valid any more. `generate` then reads the
# window anew for each token; the cache by itself refuses.

# %%
try:
    new = torch.zeros(1, model.config.n_heads, 1, model.config.head_size)
    cache.update(0, new, new, position=model.config.context_length)
except InputError as error:
    print(textwrap.fill(str(error), 88))

# %% [markdown]
# ## Handing it out (optional)
#
# **Streaming** shows each token as soon as it is chosen. In Python that is a generator: it computes when you ask for the next one.

# %%
arriving = stream(model, [START], ROOM, stop_token=START, seed=4)
opening = [next(arriving) for _ in range(8)]  # so far 8 tokens are computed, not more
print(tokenizer.decode(opening), "…")
whole = [*opening, *arriving]
assert whole == generate(model, [START], ROOM, stop_token=START, seed=4)[0]
print(f"the same as generate, {len(whole)} tokens")

# %% [markdown]
# One trap: a token is a piece of *bytes* (lesson 2), and may end within a character. Decoded one by one, such pieces show as �. A
# decoder that waits for the rest helps.

# %%
ids = tokenizer.encode("Tess said: 你好 🦊")
one_by_one = "".join(tokenizer.decode([i]) for i in ids)
waiting = codecs.getincrementaldecoder("utf-8")()
assert isinstance(tokenizer, BPETokenizer)  # its tokens are pieces of bytes
in_full = "".join(waiting.decode(tokenizer.token_bytes(i)) for i in ids)
print("one by one:", one_by_one)
print("waiting:   ", in_full)
assert "�" in one_by_one and in_full == "Tess said: 你好 🦊"

# %% [markdown]
# <div class="alert alert-warning"> <b>You may have seen</b> code that decodes a whole batch with one <code>decode</code>, as if
# it were one sequence. A batch of B texts is B sequences. Glued together, stories run into each other, and whatever fills up the
# shorter rows becomes part of the text. </div>

# %%
batch = generate(model, [START], ROOM, num=2, temperature=0.5, stop_token=START, seed=0)
glued = tokenizer.decode([token for ids in batch for token in ids])
each = [tokenizer.decode(ids) for ids in batch]
print("glued:      consistent", stories.verify(glued).consistent)
print("one by one: consistent", [stories.verify(text).consistent for text in each])
assert not stories.verify(glued).consistent and glued == "".join(each)

# %% [markdown]
# ## What to remember
#
# 1. A model gives a distribution. Greedy takes its top each time, without variety, and can fall into loops.
# 2. Temperature divides the logits: below 1 sharpens, above 1 levels, and the limit 0 is greedy.
# 3. Top-k keeps a number of tokens; top-p keeps a share of the probability, with as many tokens as that takes.
# 4. The most probable text is not a typical one: low perplexity of samples is no quality, and a wider beam may find a worse text.
# 5. A key-value cache gives the same logits and reads each token once: n tokens read to write n, instead of n(n + 1)/2.

# %% [markdown]
# ## Primary sources
#
# - Ackley, Hinton and Sejnowski 1985, A Learning Algorithm for Boltzmann Machines (https://doi.org/10.1207/s15516709cog0901_7)
# - Wu et al. 2016, Google's Neural Machine Translation System, section 7 (https://arxiv.org/abs/1609.08144)
# - Fan, Lewis and Dauphin 2018, Hierarchical Neural Story Generation (https://arxiv.org/abs/1805.04833)
# - Stahlberg and Byrne 2019, On NMT Search Errors and Model Errors: Cat Got Your Tongue? (https://arxiv.org/abs/1908.10090)
# - Shazeer 2019, Fast Transformer Decoding: One Write-Head is All You Need, section 2.4 (https://arxiv.org/abs/1911.02150)
# - Holtzman et al. 2020, The Curious Case of Neural Text Degeneration (https://arxiv.org/abs/1904.09751)
# - Meister, Vieira and Cotterell 2020, If Beam Search is the Answer, What was the Question? (https://arxiv.org/abs/2010.02650)
# - Pope et al. 2022, Efficiently Scaling Transformer Inference (https://arxiv.org/abs/2211.05102)
# - Xu et al. 2022, Learning to Break the Loop: Analyzing and Mitigating Repetitions for Neural Text Generation
#   (https://arxiv.org/abs/2206.02369)
#
# **Next** · [Lesson 14 · GPT-2's weights](14_gpt2_weights.ipynb): the same model with the weights of a large one.
