# %% [markdown]
# # Lesson 24 · Inside the model
#
# «The model knows that Paris is in France: we found it in layer 12.» Such sentences are in many papers now. What was measured, and what would it have said about a model that knows nothing?
# This lesson looks inside two models of our own, where we know what is true, and inside a real one.
#
# **You will be able to**
# - read a model's guess after each layer, and say which part wrote it,
# - grow a head that copies, find it by a score, and find its like in a real model,
# - find the place where a fact is kept by moving it from one text into another,
# - follow one piece of behaviour from the input to the output, and say how much of it you have explained, and against what,
# - tell what can be *read* from what is *used*,
# - push a model in a direction, and state the price.
#
# **Time** 95 min
#
# **Builds on** [lesson 5](05_multi_head_attention.ipynb) (heads, and three that look at full stops), [lesson 7](07_transformer_block.ipynb) (the residual stream), [lesson 22](22_evaluation.ipynb) (intervals). What is needed of them is recalled.
#
# ![The GPT in one row with its block in colour; below it a grid, a column for each word of «named Kira. It was foggy, so» and a row for the embeddings and each of three layers; a thick way leads from Kira's embedding to the full stop after layer 1, stays there through layer 2, and goes to «so» in layer 3, where Kira comes next; Kira's own column is crossed out above the embeddings](../figures/where_inside_the_model.svg)

# %% tags=["setup"]
import copy
import math
import random
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import GPTConfig
from minigpt.course import check, plots, start_lesson
from minigpt.course.inside import logit_lens
from minigpt.course.inside.activations import Edit, activations, replaced
from minigpt.course.inside.attribution import logit_attribution
from minigpt.course.inside.patching import ablation, put
from minigpt.course.inside.patterns import induction_score, repeated_tokens
from minigpt.course.inside.probes import probe
from minigpt.course.inside.twins import (
    first_places,
    hero_twins,
    padded,
    story_ids,
)
from minigpt.model.gpt import GPT
from minigpt.text import stories
from minigpt.weights.models import load_model
from minigpt.weights.smollm2 import INSTALL, gguf_path

start_lesson()

# %% [markdown]
# ## Which of them has learned?
#
# Two networks read the beginnings of 300 stories, such as «Once upon a time, there was a gentle mole named Kira.» They have the same shape: 3 layers, 144 numbers for each token. One of them is the storyteller. The weights of the other are as they fell, drawn at random. It was never trained.
#
# A small classifier now looks at the 144 numbers that a network has at the full stop after its second layer, and must say which animal the hero is. There are 24. Such a classifier is a **linear probe**: it learns from 200 of the stories, by logistic regression (lesson 15), and is measured on the other 100. `activations` gives all that a network computed, by name.

# %%
loaded, tokenizer = load_model("storyteller")
START = tokenizer.end_of_text or 0  # stands before each story
# more digits than it needs, so that every computer prints the same
storyteller = copy.deepcopy(loaded).double()
torch.manual_seed(0)
untrained = GPT(storyteller.config).double().eval()


def token_of(word: str) -> int:
    """A word in the middle of a text that is one token, as all names here are."""
    (token,) = tokenizer.encode(f" {word}")
    return token


read = [stories.story_at("train", 5000 + i) for i in range(300)]
rows = [story_ids(tokenizer, story.text) for story in read]
found = [first_places(tokenizer, r, s) for r, s in zip(rows, read, strict=True)]
read_name, read_stop = torch.tensor(found).T  # (300,) each
begun = padded([r[: stop + 1] for r, (_, stop) in zip(rows, found, strict=True)], START)
every = torch.arange(len(read))
learned, fallen = activations(storyteller, begun), activations(untrained, begun)


def labels_of(fact: str, told: Sequence[stories.Story]) -> Tensor:
    """A fact of each story as a number: (N,)."""
    values = sorted({story.facts[fact] for story in told})
    return torch.tensor([values.index(story.facts[fact]) for story in told])


animal, hero = labels_of("kind", read), labels_of("hero", read)
read_off: list[float] = []
for label, cache in (("A", learned), ("B", fallen)):
    at_stop = cache["2.stream"][every, read_stop]  # (300, d_model)
    seen = probe(at_stop, animal, animal, 200)
    share, low, high = seen.accuracy
    read_off.append(share)
    print(
        f"network {label}: the animal is right in {share:.0%} of 100 stories "
        f"(interval {low:.0%} to {high:.0%})"
    )
assert read_off[0] < 0.15 and read_off[1] > 0.6

# %% [markdown]
# With 200 stories to learn from, this probe cannot find the animal in A; one guess in 24 is right by luck. In B it finds it in most. Which network has been trained?
#
# *A has.* B is the one with random weights. In a random network every token looks a little at every earlier one, and so a bit of each word lies everywhere. A probe finds it. The storyteller has learned to keep something else at this place, and the animal lies under it. What it keeps, we shall see.
#
# So «a probe can read it» does not mean that the model has learned it, and does not mean that the model uses it. What would show that? We begin with what there is to look at.
#
# ### The same probe, more stories (optional)
#
# And the animal that it did not find in A? Give the same probe six times as many stories.

# %%
caught: list[Tensor] = []


def catch(x: Tensor) -> Tensor:
    """Keep what passes, and leave it as it is."""
    caught.append(x)
    return x


more = [stories.story_at("train", 6000 + i) for i in range(1200)]
openings = [  # up to the full stop after the name
    s.text[: s.text.index(".", s.text.index(s.facts["hero"])) + 1] for s in more
]
more_ids = [story_ids(tokenizer, text) for text in openings]
with torch.no_grad(), replaced(storyteller, {"2.stream": catch}):
    storyteller.hidden_states(padded(more_ids, START))
last = torch.tensor([len(ids) - 1 for ids in more_ids])
at_stops = torch.cat(
    [caught[0][torch.arange(1200), last], learned["2.stream"][every, read_stop]]
)
kinds = labels_of("kind", more + read)
with_more = probe(at_stops, kinds, kinds, 1200).accuracy
print(
    f"network A, a probe of 1200 stories: right in {with_more.value:.0%} of 300 "
    f"(interval {with_more.low:.0%} to {with_more.high:.0%})"
)
assert with_more.value > 0.2

# %% [markdown]
# It finds more than a few now. What one probe misses need not be missing.

# %% [markdown]
# ## A sum that can be taken apart
#
# The residual stream of a token is a sum (lesson 7): its embedding, then what each head and each feed-forward network adds. At the end, the output head takes a product with one row for each token of the vocabulary. Here is a stream of two numbers, with a vocabulary of three. The row of a token is the direction that raises its logit:

# %%
output_rows = {"Ida": [1.0, 0.0], "Max": [0.0, 1.0], "ran": [-1.0, -1.0]}
written = {"embedding": [1.0, 1.0], "head A": [3.0, 0.0], "head B": [-1.0, 1.0]}

stream = [0.0, 0.0]
for part, added in written.items():
    stream = [x + a for x, a in zip(stream, added, strict=True)]
    logits = {
        word: sum(x * w for x, w in zip(stream, row, strict=True))
        for word, row in output_rows.items()
    }
    print(
        f"after {part:<10} logits "
        + "  ".join(f"{word} {logit:4.1f}" for word, logit in logits.items())
        + f"   adds {added[0] - added[1]:+.0f} to Ida's lead over Max"
    )

# %% [markdown]
# Two ways to look stand in these lines.
#
# - Read the logits after each part, as if the model stopped there: the **logit lens** (nostalgebraist 2020). It says *Ida* as soon as head A has written.
# - Ask what each part adds to the *lead* of one token over another: 0, +3 and −2, which makes the lead of 1. That is **direct logit attribution** (Elhage et al. 2021). Head B speaks for Max, which the lens hides, since Ida stays in front.
#
# In a GPT a norm stands before the output head. The storyteller's LayerNorm (lesson 7) takes off the mean and divides by one number, the standard deviation. The first is a sum like all else. Take the divisor as it was, and each part's share is divided by it, too. The biases are parts as well, which makes 20 below. The lens uses this same last norm on every layer.

# %% [markdown]
# ## What the lens says, and where
#
# Now the storyteller. We shall ask one question throughout: where does it keep the hero's name? So take 24 stories, and in each the last place at which the hero's name comes next, the *asking* place. Each story gets a twin, in which the hero has another name for which the same pronouns fit. All else is the same, token for token (`hero_twins` makes such pairs).

# %%
twins = hero_twins(tokenizer, 24)
HERE, THERE = twins.here, twins.there  # (24, T) each
name_at, stop_at, ask_at = twins.name, twins.stop, twins.ask  # (24,) each
old_id, new_id = twins.old, twins.new
row = torch.arange(len(HERE))
for ids in (HERE[0], THERE[0]):
    told = tokenizer.decode(ids[8 : ask_at[0] + 1].tolist())
    print(f"…{told[:48]} … {told[-31:]} ←")
said = (old_id[:, None] == HERE).sum(1)
print(f"up to there the name is said {int(said.min())} to {int(said.max())} times")
here, there = activations(storyteller, HERE), activations(storyteller, THERE)

STATES = {"embeddings": "embeddings"} | {f"{n}.stream": f"layer {n}" for n in (1, 2, 3)}
PLACES = {"the name": name_at, "its full stop": stop_at, "asking place": ask_at}
print("probability of the hero's name, read off at")
print(" " * 12 + "".join(f"{place:>16}" for place in PLACES))
lens_says: dict[tuple[str, str], float] = {}
for state, shown in STATES.items():
    odds = logit_lens(storyteller, here[state]).softmax(-1)  # (24, T, vocab_size)
    for place, at in PLACES.items():
        lens_says[state, place] = odds[row, at, old_id].mean().item()
    print(
        f"{shown:<12}" + "".join(f"{lens_says[state, place]:16.3f}" for place in PLACES)
    )
assert (
    lens_says["2.stream", "asking place"] < 0.1 < lens_says["3.stream", "asking place"]
)

# %% [markdown]
# At the asking place the name appears in the last layer and not before. At the name's own token the lens sees the name in the embeddings (they are the output rows, too), and after one layer it is gone. At the full stop it has some probability, because a next sentence may begin with it.
#
# The lens shows *what the model is about to say at this place*. It cannot show what a place keeps for others. Remember this table; one of its columns will mislead us.
#
# ### Who writes the name? (optional)
#
# In the last layer, that is. The six largest of all shares of the lead over the twin's name, and the sum of all:

# %%
shares: dict[str, float] = {}
for i in range(len(HERE)):
    alone = {name: value[i : i + 1] for name, value in here.items()}
    parts = logit_attribution(
        storyteller, alone, int(ask_at[i]), int(old_id[i]), int(new_id[i])
    )
    for part, value in parts.items():
        shares[part] = shares.get(part, 0.0) + value.item() / len(HERE)
for part, lead_of in sorted(shares.items(), key=lambda item: -item[1])[:6]:
    print(f"{part:<16}{lead_of:6.2f}")
print(f"all {len(shares)} parts{sum(shares.values()):9.2f}")
at_ask = here["logits"][row, ask_at]
true_lead = (at_ask[row, old_id] - at_ask[row, new_id]).mean().item()
assert math.isclose(sum(shares.values()), true_lead, rel_tol=1e-9)
of_layer_3 = [
    shares[f"3.{part}"] for part in ("feed_forward", "head 0", "head 1", "head 2")
]
assert sum(of_layer_3) > 0.9 * true_lead

# %% [markdown]
# Three heads of layer 3 and its feed-forward network write nearly everything. (Heads count from 0 in the package.) But this is the last step only. What a head tells *later parts* is not in its share, and a head that fetched the name from elsewhere did not make it. Where did it come from?

# %% [markdown]
# ## A head that must be grown
#
# Lesson 5 guessed at heads that find an earlier place like the present one, and look at what came *after* it (Olsson et al. 2022). Such an **induction head** can copy what it has never seen in training. We grow some, in a world that rewards nothing else. A text has 24 tokens, out of a vocabulary of 24. First a list of eight different ones, drawn anew for each text. Then eight questions: one of the list is said again, and now *the one after it in the list* must come.


# %%
def lists(n: int, generator: torch.Generator) -> Tensor:
    """Texts of a list of 8 and 8 questions with answers: (n, 24)."""
    drawn = torch.rand(n, 24, generator=generator).argsort(-1)[:, :8]
    asked = torch.randint(7, (n, 8), generator=generator)
    pairs = torch.stack([asked, asked + 1], -1).flatten(1)  # (n, 16)
    return torch.cat([drawn, drawn.gather(1, pairs)], 1)


QUESTIONS = slice(8, 23, 2)  # where the model must say the answer
print(lists(1, torch.Generator().manual_seed(3))[0].tolist())

# %% [markdown]
# Check it: the ninth token stands in the list; what comes after it there is the tenth. Nothing else in the text can be foreseen. Tokens are drawn anew each time, so there is nothing to learn by heart.
#
# How well can a model do that cannot look up? It knows the list. The first of it is never an answer, nor is the token that was asked: six are left (seven when the first was asked), (ln 7 + 6 ln 6) / 7 = 1.81 nats. Now train a model with two layers, and as a control one with a single layer that is the same otherwise. (Half a minute at most.)

# %% tags=["nbval-ignore-output"]


def grow(n_layers: int, steps: int = 1000, seed: int = 0) -> tuple[GPT, list[float]]:
    """A small GPT that learns to answer, and its loss at the questions by step."""
    torch.manual_seed(seed)
    shape = GPTConfig(
        24, 23, n_layers=n_layers, n_heads=2, d_model=48, d_ff=48, bias=False
    )
    model, drawn = GPT(shape), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=0.004, betas=(0.9, 0.98), weight_decay=0.0
    )
    losses = []
    for step in range(steps):
        left = (steps - step) / (0.2 * steps)
        optimizer.param_groups[0]["lr"] = 0.004 * min(1.0, (step + 1) / 20, left)
        texts = lists(32, drawn)
        logits = model(texts[:, :-1])[:, QUESTIONS]
        loss = F.cross_entropy(logits.transpose(1, 2), texts[:, 1:][:, QUESTIONS])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return model.eval(), losses


two_layers, falls = grow(2)
one_layer, stays = grow(1)
guess = (math.log(7) + 6 * math.log(6)) / 7
print(f"who knows the list and guesses pays {guess:.2f} nats")
windows = range(0, 990, 30)
plots.curves(
    {
        name: ([w + 15 for w in windows], [sum(of[w : w + 30]) / 30 for w in windows])
        for name, of in (
            ("one layer", stays),
            ("two layers", falls),
            ("a guess from the list", [guess] * 990),
        )
    },
    "step",
    "loss at the questions (nats)",
)

# %%
# Over four seeds: two layers end below 0.02, one layer at 2.09 to 2.14.
assert sum(falls[-30:]) / 30 < 0.3 < guess < sum(stays[-30:]) / 30
assert sum(falls[200:230]) / 30 > 1.9  # and had not found it by step 200

# %% [markdown]
# For a few hundred steps both fall slowly, and alike. Then, within some hundred more, the loss of two layers falls to nearly nothing. One layer has not got there after 1000 steps, nor even to the guess. Why two? To find what came after, a place must know what stands *before* it. One layer has to write that down («before me stood a 7»), and a head of a higher layer can look for it.
#
# If that is how it works, there must be a head in layer 1 that looks at the token before, and one in layer 2 that looks at the token *after* an earlier equal one. The score of a head is the weight that it puts where it should. By hand, for a text of five tokens, `4 1 2 4 1`: place 3 (we count from 0) holds a 4, has an earlier equal at place 0, and after that comes place 1.

# %%
text = torch.tensor([4, 1, 2, 4, 1])
by_hand = torch.tensor(
    [
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [0.5, 0.5, 0.0, 0.0, 0.0],
        [0.2, 0.3, 0.5, 0.0, 0.0],
        [0.1, 0.7, 0.1, 0.1, 0.0],  # the 4 looks at place 1: 0.7
        [0.1, 0.1, 0.5, 0.2, 0.1],  # the 1 looks at place 2: 0.5
    ]
)
print(f"score: (0.7 + 0.5) / 2 = {induction_score(by_hand, text):.2f}")

# %% [markdown]
# ### Exercise 1 · an induction score (★★☆, 7 min)
#
# Write it. For each place, find the *earlier* places that stand right after a token equal to the one that looks, and add up its weight on them. Return the mean over all places that have such. (The place that looks does not count for itself: in `7 7` neither 7 has any.) If no place has such, raise a `ValueError`.


# %% tags=["exercise"]
def copying_score(weights: Tensor, ids: Tensor) -> float:
    """Mean weight on what followed an earlier equal token: (T, T), (T,) -> a number."""
    ### BEGIN SOLUTION
    found = []
    for t in range(len(ids)):
        after = [j + 1 for j in range(t - 1) if ids[j] == ids[t]]
        if after:
            found.append(float(weights[t, after].sum()))
    if not found:
        raise ValueError("no token comes again")
    return sum(found) / len(found)
    ### END SOLUTION


# %%
check.copying_score(copying_score)

# %% [markdown]
# Now all heads, on 200 new lists, at the questions only. The control is the same score with the ids of *another* text, so that the pattern means nothing.

# %% tags=["nbval-ignore-output"]
quiz = lists(200, torch.Generator().manual_seed(99))
quiz_in, quiz_out = quiz[:, :-1], quiz[:, 1:][:, QUESTIONS]
inside = activations(two_layers, quiz_in)


def followers(ids: Tensor) -> Tensor:
    """Where an induction head should look: (B, T, T) of true and false."""
    same = (ids[:, :, None] == ids[:, None, :]).tril(-1)
    return F.pad(same[:, :, :-1], (1, 0)).tril(-1)


scores: dict[tuple[int, int], tuple[float, float, float]] = {}
print("layer head   looks at the token before   at the follower   control")
for layer in (1, 2):
    weights = inside[f"{layer}.weights"]  # (B, h, T, T)
    before = weights.diagonal(-1, -2, -1)[:, :, :7].mean((0, 2))  # in the list
    target = followers(quiz_in)[:, None]
    on_it = (weights * target).sum(-1)[:, :, QUESTIONS].mean((0, 2))
    off_it = (weights * target.roll(1, 0)).sum(-1)[:, :, QUESTIONS].mean((0, 2))
    for head in range(2):
        scores[layer, head] = (
            before[head].item(),
            on_it[head].item(),
            off_it[head].item(),
        )
        b, f, c = scores[layer, head]
        print(f"{layer:5}{head:5}{b:26.2f}{f:18.2f}{c:10.2f}")

# %%
# Over four seeds and this run: the head of layer 1 0.98 to 1.00, layer 2 0.93 to 1.00.
previous = max((0, 1), key=lambda head: scores[1, head][0])
assert scores[1, previous][0] > 0.8 > 0.4 > scores[1, 1 - previous][0]
at_follower = [scores[2, head][1] for head in range(2)]
assert max(at_follower) > 0.8 and min(at_follower) > 0.5
assert max(control for *_, control in scores.values()) < 0.3

# %% [markdown]
# As foretold: one head of layer 1 looks at the token before, and both heads of layer 2 at the follower.
#
# But a score says where a head looks. Is it *needed*? Take its output away and see. There are three ways (**ablation**): put *zeros* in its place; put its *mean* over other texts; or *resample*, put what it gave in *another* text.
#
# ### Exercise 2 · three ways to take away (★★☆, 8 min)
#
# `heads` are the outputs of a layer's heads, `(B, T, h, head_size)`; `others` the same for other texts, of the same shape. Return new outputs in which head number `head` is replaced, and leave all else, the arguments included, as it is. `mean` is over all other texts and places; `resample` takes what the head gave at the same place of the text in the same row of `others`. For an unknown way raise a `ValueError`. (The package's `ablation` leaves the first place out of its mean, since the first token of a text is unlike all others.)


# %% tags=["exercise"]
def taken_away(heads: Tensor, others: Tensor, head: int, how: str) -> Tensor:
    """The outputs with one head replaced: how is zero, mean or resample."""
    ### BEGIN SOLUTION
    new = heads.clone()
    if how == "zero":
        new[:, :, head] = 0
    elif how == "mean":
        new[:, :, head] = others[:, :, head].mean((0, 1))
    elif how == "resample":
        new[:, :, head] = others[:, :, head]
    else:
        raise ValueError(f"there is no way {how!r}: take zero, mean or resample")
    return new
    ### END SOLUTION


# %%
check.taken_away(taken_away)

# %% tags=["nbval-ignore-output"]


@torch.no_grad()
def quiz_loss(edits: Mapping[str, Edit]) -> float:
    """The loss at the questions, with some activations replaced."""
    with replaced(two_layers, edits):
        logits = two_layers(quiz_in)[:, QUESTIONS]
    return F.cross_entropy(logits.transpose(1, 2), quiz_out).item()


other_texts = activations(
    two_layers, lists(200, torch.Generator().manual_seed(5))[:, :-1]
)
print(f"loss with all heads: {quiz_loss({}):.3f}")
print("taken away         zero    mean  resample")
harm: dict[tuple[int, int], list[float]] = {}
for layer in (1, 2):
    for head in range(2):
        part = f"{layer}.heads"
        harm[layer, head] = [
            quiz_loss({part: ablation(part, "zero", head=head)}),
            quiz_loss({part: ablation(part, "mean", other_texts, head=head)}),
            quiz_loss({part: ablation(part, "resample", other_texts, head=head)}),
        ]
        numbers = "".join(f"{loss:8.2f}" for loss in harm[layer, head])
        print(f"layer {layer}, head {head} {numbers}")
without = activations(
    two_layers,
    quiz_in,
    {"1.heads": ablation("1.heads", "mean", other_texts, head=previous)},
)
both_off = quiz_loss({"2.heads": torch.zeros_like})
print(f"layer 2, both heads {both_off:8.2f}")
through: dict[str, float] = {}
print(f"\nlayer 1, head {previous} taken away (mean), but only for layer 2's")
for part in ("queries", "keys", "values"):
    through[part] = quiz_loss({f"2.{part}": put(without[f"2.{part}"])})
    print(f"    {part:<8} {through[part]:6.2f}")

# %%
# Over four seeds and this run: layer 1 5.2 to 12; layer 2 alone 0.01 to 0.1 with zeros
# or the mean, 0.7 to 2.8 resampled.
assert min(harm[1, 0] + harm[1, 1]) > 2
for head in range(2):
    assert max(harm[2, head][:2]) < 0.6 and harm[2, head][2] > 0.3
assert both_off > 1  # each stands in for the other
assert through["keys"] > 3 * max(through["queries"], through["values"])

# %% [markdown]
# Read it slowly, there are four things in it.
#
# - Without the head that looks at the token before, the model is far worse than one that guesses: the rest still runs, and says wrong tokens loudly. It works *through the keys* of layer 2, as the story demands: «I am the one that stands after a 7» is what the others search for.
# - The other head of layer 1 is as much needed, and no score of ours says why. A circuit that we thought complete was not.
# - Either induction head can be set to zero or to its mean with little harm, and both together cannot: the other stands in. That does not show that it does nothing.
# - Resampled, it *does* harm: it now points to a token that this text did not ask for. «Removed» and «lying» are two questions, and the three ways ask different ones.

# %% [markdown]
# ## The same in a real model (optional)
#
# First the lens. SmolLM2 has 30 layers. Where does it know the answer? (If it is not installed, the storyteller stands in, with a story, and a line says so.)

# %% tags=["nbval-ignore-output"]
real = gguf_path() is not None
smol, words = load_model("smollm2") if real else (loaded, tokenizer)
if not real:
    print(f"SmolLM2 is not here: the storyteller stands in. To get it: {INSTALL}")
prompts = {"The capital of France is": " Paris", "The opposite of hot is": " cold"}
if not real:
    asked = tokenizer.decode(HERE[0, 1 : ask_at[0] + 1].tolist())
    prompts = {asked: tokenizer.decode([int(old_id[0])])}
ranks: list[list[int]] = []
for prompt, answer in prompts.items():
    wanted = words.encode(answer)[0]
    start = [START] if not real else []
    states = activations(smol, torch.tensor([*start, *words.encode(prompt)]))
    depth = smol.config.n_layers
    by_layer = [
        logit_lens(smol, states[f"{n}.stream"][0, -1]) for n in range(1, depth + 1)
    ]
    ranks.append([int((one > one[wanted]).sum()) for one in by_layer])
    print(f"«{prompt[-40:]}»: how many tokens are ahead of «{answer}»")
    for n in sorted({*range(4, depth + 1, 4), *range(max(1, depth - 4), depth + 1)}):
        best = words.decode([int(by_layer[n - 1].argmax())])
        print(f"    layer {n:2}  {ranks[-1][n - 1]:6}   best: {best!r}")

# %%
if real:  # the last layers bring the answer to the front; half-way it is far behind
    assert all(rank[-1] == 0 and min(rank[:16]) > 100 for rank in ranks)

# %% [markdown]
# Up to layer 20, more than a thousand tokens are ahead of the answer. Does the model not know it there? The lens reads each layer with the *last* layer's eyes. If layer 12 writes «Paris» in another direction, the lens is blind to it. Belrose et al. (2023) therefore learn a small translation for each layer, the *tuned lens* (`minigpt.course.inside.tuned_lens`). It sees more, and then one must ask what the translator has added. An absence in a lens is no proof of absence.

# %% [markdown]
# Then the heads. Does SmolLM2 have some that copy? Give it 25 random tokens, and the same again. Nobody has ever written such a text, so only a look-up can help. The control for the scores is the same pattern asked of 50 random tokens that do *not* repeat. And since a score is not enough: silence the ten best heads together, and ten others *of the same layers*, those with the lowest scores. And as a zero, the loss on the first 25, where nothing can be copied.

# %% tags=["nbval-ignore-output"]
size, heads_each = smol.config.vocab_size, smol.config.n_heads
layers = range(1, smol.config.n_layers + 1)


def score_table(scored: Tensor, asked: Tensor) -> Tensor:
    """Induction scores of all heads on a text, for the pattern of another: (L, h)."""
    cache = activations(smol, scored)
    return torch.stack(
        [induction_score(cache[f"{n}.weights"][0], asked) for n in layers]
    )


twice = [repeated_tokens(25, size, seed) for seed in range(3)]
once = [repeated_tokens(50, size, seed, times=1) for seed in range(10, 13)]
real_scores = torch.stack([score_table(t, t) for t in twice]).mean(0)
by_chance = torch.stack(
    [score_table(o, t) for o, t in zip(once, twice, strict=True)]
).mean(0)
order = real_scores.flatten().argsort(descending=True)
best_heads = [divmod(int(i), heads_each) for i in order[: 10 if real else 2]]
same_layers: list[tuple[int, int]] = []
for n, _ in best_heads:
    free = [h for h in range(heads_each) if (n, h) not in best_heads + same_layers]
    same_layers.append((n, min(free, key=lambda h: float(real_scores[n, h]))))
print("layer, head: score  ", end="")
print("  ".join(f"{n + 1}, {h}: {real_scores[n, h]:.2f}" for n, h in best_heads[:5]))
print(f"median of all {real_scores.numel()} heads {real_scores.median():.2f}; ", end="")
print("best of the control ", end="")
print(f"{by_chance.max():.2f}")

new_text, other_text = repeated_tokens(25, size, 7), repeated_tokens(50, size, 60, 1)
other = activations(smol, other_text)


def second_half(silent: Sequence[tuple[int, int]]) -> float:
    """The loss on the repetition, some heads set to their mean on another text."""

    def edit(layer: int) -> Edit:
        def silenced(x: Tensor) -> Tensor:
            for n, h in silent:
                if n == layer:
                    x = ablation(f"{n + 1}.heads", "mean", other, head=h)(x)
            return x

        return silenced

    edits = {f"{n + 1}.heads": edit(n) for n, _ in silent}
    logits = activations(smol, new_text, edits)["logits"][0]
    return F.cross_entropy(logits[25:49], new_text[26:50]).item()


copied = {
    "all heads": second_half([]),
    "without the best": second_half(best_heads),
    "without as many others of these layers": second_half(same_layers),
}
with torch.no_grad():
    fresh = F.cross_entropy(smol(new_text[None])[0, :24], new_text[1:25]).item()
print(f"loss on the first half, where nothing repeats: {fresh:.1f}")
for name, loss in copied.items():
    print(f"loss on the repetition, {name}: {loss:.1f}")

# %%
if real:
    assert real_scores.max() > 0.6 > 0.2 > by_chance.max()
    all_heads, no_best, no_others = copied.values()
    assert no_best > all_heads + 3 and no_others < all_heads + 2

# %% [markdown]
# It has them, the best of them in layers 18 and 19 of 30. Nobody built them in. Without ten of its heads most of the copying of this text is gone; without as many others of these layers, those with the lowest scores, it costs far less, though not nothing. One text and ten heads are an example. Olsson et al. (2022) measured many models, and found that such heads appear all at once in training; of ours we saw only the loss fall.

# %% [markdown]
# ## Where the name is kept
#
# Back to the hero. **Activation patching** asks where a fact is kept by *moving* it. Run the story with Kira. At one place and one layer, put in what the twin with Anna had there. All else stays Kira's. If the model now says Anna, that vector carried the name.
#
# We measure the lead of the new name over the old at the asking place, and what share of the way it went: 0 if nothing changed, 1 if it is as in the twin. Logits suit that better than probabilities, which hardly move while one name is far in front (Zhang and Nanda 2024 compare such choices).


# %%
def from_twin(
    state: str,
    at: Tensor,
    heads: Sequence[int] = (),
    source: Mapping[str, Tensor] = there,
) -> Edit:
    """An edit that puts in, at one place of each text, what the source had there."""

    def edit(x: Tensor) -> Tensor:
        new = x.clone()
        if heads:
            which = row[:, None], at[:, None], torch.tensor([heads])
            new[which] = source[state][which]
        else:
            new[row, at] = source[state][row, at]
        return new

    return edit


@torch.no_grad()
def run(ids: Tensor, edits: Mapping[str, Edit]) -> Tensor:
    """Logits at the asking places: (24, vocab_size)."""
    with replaced(storyteller, edits):
        stream = storyteller.hidden_states(ids)
    return storyteller.output_head(stream[row, ask_at])


def lead(logits: Tensor) -> Tensor:
    """How far the new name is ahead of the old: (24,)."""
    return logits[row, new_id] - logits[row, old_id]


lead_here, lead_there = lead(run(HERE, {})), lead(run(THERE, {}))


def moved(edits: Mapping[str, Edit]) -> float:
    """The mean share of the way to the twin."""
    shares = (lead(run(HERE, edits)) - lead_here) / (lead_there - lead_here)
    return shares.mean().item()


def decimals(share: float) -> str:
    """A share with two decimals, and no minus before a zero."""
    return f"{round(share, 2) + 0:.2f}"


print("share of the way to the twin when this vector is the twin's")
print(" " * 12 + "".join(f"{place:>16}" for place in PLACES))
patched: dict[tuple[str, str], float] = {}
for state, shown in STATES.items():
    for place, at in PLACES.items():
        patched[state, place] = moved({state: from_twin(state, at)})
    print(
        f"{shown:<12}" + "".join(f"{decimals(patched[state, p]):>16}" for p in PLACES)
    )
for state, place in (
    ("embeddings", "the name"),
    ("1.stream", "its full stop"),
    ("2.stream", "its full stop"),
    ("3.stream", "asking place"),
):
    assert patched.pop((state, place)) > 0.95
assert max(abs(share) for share in patched.values()) < 0.05

# %% [markdown]
# So clean a table is rare. The name is at its own token before layer 1. After layer 1 it is at the full stop that ends the sentence, and *nowhere else that matters*: change the name's own token, and nothing happens, although the later mentions, in the text between, all still say Kira. In layer 3 it comes to the asking place.
#
# 144 numbers at a full stop, and the story has another hero:

# %%
swap = {"2.stream": from_twin("2.stream", stop_at)}
odds_before, odds_after = run(HERE, {}).softmax(-1), run(HERE, swap).softmax(-1)
for title, odds in (("before", odds_before), ("after", odds_after)):
    old_odds, new_odds = odds[row, old_id].mean(), odds[row, new_id].mean()
    print(f"{title:<7} old name {old_odds:.3f}   new name {new_odds:.3f}")
assert odds_after[row, new_id].mean() > 0.6 > 0.01 > odds_after[row, old_id].mean()

# %% [markdown]
# Compare with the lens. At the full stop it gave the name a small probability after layers 1 and 2, where the vector carries all of it, and the largest after layer 3, where it carries nothing. The lens reads what is *said*; patching finds what is *kept*.
#
# ### Exercise 3 · a patch at every place (★★★, 10 min)
#
# From an empty cell. `finish(stream)` runs the rest of a model from a stream `(T, d_model)` and returns one number. For each place t, take `here`, put in row t of `there`, and finish. Return the list of shares of the way: 0 for the number that `here` gives, 1 for that of `there`. Only one row is changed at a time, and neither tensor is changed in place. If `here` and `there` give the same number there is no way to go: raise a `ValueError`.


# %% tags=["exercise"]
def shares_by_place(
    finish: Callable[[Tensor], float], here: Tensor, there: Tensor
) -> list[float]:
    """How far each place's row alone goes towards `there`: T numbers."""
    ### BEGIN SOLUTION
    begin, end = finish(here), finish(there)
    if begin == end:
        raise ValueError("both texts give the same number: nothing can be moved")
    shares = []
    for t in range(len(here)):
        mixed = here.clone()
        mixed[t] = there[t]
        shares.append((finish(mixed) - begin) / (end - begin))
    return shares
    ### END SOLUTION


# %%
check.shares_by_place(shares_by_place)

# %% [markdown]
# ## One circuit, to the end
#
# Which heads carry the name? Two places are left to look at: some head of layer 1 writes it at the full stop, and some of layer 3 fetch it.

# %%
print("share of the way when the twin's output of one head is put in")
print(
    "layer   at      " + "".join(f"  head {head}" for head in range(4)) + "   0, 1, 2"
)
carried: dict[tuple[int, int], float] = {}
for layer, place in ((1, "its full stop"), (2, "asking place"), (3, "asking place")):
    state, at = f"{layer}.heads", PLACES[place]
    for head in range(4):
        carried[layer, head] = moved({state: from_twin(state, at, [head])})
    together = moved({state: from_twin(state, at, [0, 1, 2])})
    numbers = "".join(f"{decimals(carried[layer, head]):>8}" for head in range(4))
    print(f"{layer:5}   {place:<14}{numbers}{decimals(together):>10}")
    assert layer == 2 or together > 0.95
assert carried[1, 0] > 0.9 and max(carried[3, head] for head in range(3)) < 0.7

# %% [markdown]
# One head of layer 1 and three of layer 3. The three share the work, and together they do all of it. Do they also look where they should?

# %%
to_name = here["1.weights"][row, :, stop_at, name_at].mean(0)  # (h,)
to_stop = here["3.weights"][row, :, ask_at, stop_at].mean(0)
print("layer 1, from the full stop to the name:   ", [f"{w:.2f}" for w in to_name])
print("layer 3, from the asking place to the stop:", [f"{w:.2f}" for w in to_stop])
assert to_name[0] > 0.8 and to_stop[:3].min() > 0.5 > to_stop[3]
assert to_name[2] > 0.5 and carried[1, 2] < 0.1

# %% [markdown]
# They do. (Lesson 5 found the three by that.) But head 2 of layer 1 looks at the name with two thirds of its weight as well, and moves next to nothing: looking is not carrying. Head 0 of layer 1 spends nearly all of its weight on the name. So the name is loud at the full stop and the animal faint: a probe with few examples misses it. So here is a hypothesis about a **circuit**, a part of the model that does one thing: *the name → layer 1, head 0, at the full stop → layer 3, heads 0 to 2, at the asking place*.
#
# ### Does the first step work through the second? (optional)
#
# Or by some other way? Put the twin's name in at the first step, and hold the three heads at what they gave before:

# %%
step_one = {"1.heads": from_twin("1.heads", stop_at, [0])}
held = {"3.heads": from_twin("3.heads", ask_at, [0, 1, 2], source=here)}
held_other = {"3.heads": from_twin("3.heads", ask_at, [3], source=here)}
both = moved(step_one), moved(step_one | held), moved(step_one | held_other)
print(f"step one {both[0]:.2f}; with the three held {decimals(both[1])}; ", end="")
print(f"with head 3 held instead {both[2]:.2f}")
assert both[0] > 0.9 > 0.05 > abs(both[1]) and both[2] > 0.9

# %% [markdown]
# All of it goes that way.
#
# ### Is the circuit enough?
#
# Silence *every other head at every place*, and keep only these four at their two places. What is left of the lead? The answer needs a zero and a one. One is the whole model. Zero is the model in which *all* heads are silenced, the four as well:
#
# $$\text{share explained} = \frac{\text{lead with the circuit alone} - \text{lead with nothing}}{\text{lead of the whole model} - \text{lead with nothing}}$$
#
# All feed-forward networks go on; what they add, we have not separated. And the zeros differ: with the twin's heads, «nothing» is a model that says the old name, with zeros one that has no preference.
#
# As to how the others are silenced, we try everything: with the twin's outputs (the story is told with Anna, and all other heads believe that it is Kira's), with those of other stories, their mean, and zeros.

# %%
far = [stories.story_at("train", 9000 + i) for i in range(len(HERE))]
length = HERE.shape[1]
far_ids = padded([story_ids(tokenizer, story.text) for story in far], START)
far_ids = F.pad(far_ids, (0, length), value=START)[:, :length]
elsewhere = activations(storyteller, far_ids)
per_head = [f"{layer}.heads" for layer in (1, 2, 3)]
stand_ins: dict[str, Mapping[str, Tensor]] = {
    "the twin": here,
    "zeros": {name: torch.zeros_like(here[name]) for name in per_head},
    "the mean": {
        name: elsewhere[name][:, 1:].mean((0, 1)).expand_as(here[name])
        for name in per_head
    },
    "other stories": elsewhere,
}


def only(kept: Mapping[int, Sequence[int]], instead: Mapping[str, Tensor]) -> float:
    """The mean lead when only some heads live, at the stop and asking."""

    def keep(layer: int) -> Edit:
        at = stop_at if layer == 1 else ask_at

        def edit(x: Tensor) -> Tensor:
            new = instead[f"{layer}.heads"].clone()
            if heads := kept.get(layer):
                which = row[:, None], at[:, None], torch.tensor([heads])
                new[which] = x[which]
            return new

        return edit

    return lead(run(THERE, {f"{n}.heads": keep(n) for n in (1, 2, 3)})).mean().item()


CIRCUIT = {1: [0], 3: [0, 1, 2]}
CONTROLS = {
    "layer 1, head 1 instead": {1: [1], 3: [0, 1, 2]},
    "layer 3, head 3 instead": {1: [0], 3: [3]},
}
whole = lead_there.mean().item()
explained: dict[str, list[float]] = {}
print("nothing: the lead with all heads silenced; the rest: shares explained")
print(
    f"{'the others are':<14}{'nothing':>9}{'circuit':>9}",
    *(f"{c:>24}" for c in CONTROLS),
)
for name, instead in stand_ins.items():
    nothing = only({}, instead)
    explained[name] = [
        (only(kept, instead) - nothing) / (whole - nothing)
        for kept in (CIRCUIT, *CONTROLS.values())
    ]
    ours, *rest = explained[name]
    print(
        f"{name:<14}{decimals(nothing):>9}{decimals(ours):>9}",
        *(f"{decimals(share):>24}" for share in rest),
    )
assert explained["the twin"][0] > 0.95 and 0.5 < explained["zeros"][0] < 0.9
assert (
    0.15 < explained["the mean"][0] < 0.5 and abs(explained["other stories"][0]) < 0.1
)
assert max(abs(s) for _, *rest in explained.values() for s in rest) < 0.15

# %% [markdown]
# One circuit, four answers: nearly all, seven tenths, a third, nothing. None of them is a mistake. They ask different questions.
#
# With the *twin*, only the name differs. The other heads do all their usual work: presumably they tell the three heads that a name is due, and whose. So the circuit explains *which name comes, given that everything else goes on*. With zeros or means, that other work is missing. With heads from *other stories*, they may even say wrong things, and nothing is left. Then «the circuit» would have to include whatever finds out that the hero comes now, and we have not followed that.
#
# So a sentence such as «four heads explain 98 %» is worth nothing without its «against what». The controls, each with one step of the circuit exchanged for another head of the same layer, explain next to nothing in all four.

# %% [markdown]
# ## What can be read, and what is used
#
# Probes again, with all we know now. Can the hero's name be read off, out of 24, at its own token and at the full stop? Beside each number stands what happened when we *changed* that vector.

# %%
print("after layer 1        read off by a probe   share of the way when patched")
readable: dict[str, float] = {}
changes: dict[str, float] = {}
for place, spot in (("the name", read_name), ("its full stop", read_stop)):
    seen = probe(learned["1.stream"][every, spot], hero, hero, 200)
    readable[place] = seen.accuracy.value
    changes[place] = moved({"1.stream": from_twin("1.stream", PLACES[place])})
    interval = f"({seen.accuracy.low:.2f} to {seen.accuracy.high:.2f})"
    print(f"{place:<21}{readable[place]:.2f} {interval:<26}{decimals(changes[place])}")
assert readable["the name"] > 0.7 and abs(changes["the name"]) < 0.05
assert readable["its full stop"] > 0.95 and changes["its full stop"] > 0.95

# %% [markdown]
# <div class="alert alert-warning">
# <b>You may have read</b> that a model «represents» or «uses» something because a classifier finds it in its activations.
# At its own token the name can be read off in most stories, and the model does not use it there to name the hero again: with another name's vector in its place, nothing changes. Read off and used are two things, and only the second needs an experiment <i>on the model</i>.
# </div>

# %%
assert readable["the name"] > 0.7 > 0.05 > abs(changes["the name"])
"can be read, is not used"

# %% [markdown]
# There is a second trap, in the probe itself. Is the hero a *she* or a *he*? In our world that hangs on the name, and a probe at the full stop finds it always. Does the model sort its names by gender, or does the *probe* know 24 names by heart? Hewitt and Liang (2019) measure that with a **control task**: give each *type* of input (here each name) a label at random, the same wherever it comes. Whoever can learn that learns by heart. The difference of the two accuracies is the probe's **selectivity**.
#
# ### Exercise 4 · labels of a control task (★☆☆, 5 min)
#
# Given the type of each example, return a label for each: equal types get equal labels, and each type's label is `rng.choice(labels)`, in the order in which the types first come.


# %% tags=["exercise"]
def random_labels(
    types: Sequence[str], labels: Sequence[int], rng: random.Random
) -> list[int]:
    """One label for each example, drawn once for each type."""
    ### BEGIN SOLUTION
    drawn: dict[str, int] = {}
    for type_ in types:
        if type_ not in drawn:
            drawn[type_] = rng.choice(labels)
    return [drawn[type_] for type_ in types]
    ### END SOLUTION


# %%
check.random_labels(random_labels)

# %%
pronouns = {row[""]: row["they"] for row in stories.world().tables["heroes"]}
is_she = torch.tensor([int(pronouns[s.facts["hero"]] == "she") for s in read])
unknown = hero % 3 == 0  # every third name
names_apart = torch.cat([every[~unknown], every[unknown]])  # tested on unknown names
print("she or he, at the full stop      true labels    random labels   selectivity")
tests: dict[tuple[str, str], tuple[float, float]] = {}
for name, cache in (("storyteller", learned), ("untrained", fallen)):
    at_stop = cache["1.stream"][every, read_stop]
    for split, order_of, n_train in (
        ("names it knows", every, 200),
        ("new names", names_apart, int((~unknown).sum())),
    ):
        seen = probe(
            at_stop[order_of], is_she[order_of], hero[order_of], n_train, seed=1
        )
        tests[name, split] = seen.accuracy.value, seen.control.value
        print(
            f"{name + ', ' + split:<30}{seen.accuracy.value:12.2f}"
            f"{seen.control.value:17.2f}{seen.selectivity:14.2f}"
        )
p = is_she[unknown].double().mean().item()
print(f"always the commoner of the two, new names: {max(p, 1 - p):.2f}")
assert tests["untrained", "new names"][0] < max(p, 1 - p) + 0.05
assert tests["storyteller", "names it knows"][1] > 0.9
assert tests["storyteller", "new names"][0] > 0.9 > tests["untrained", "new names"][0]

# %% [markdown]
# On names that the probe knows, it learns random labels as easily as true ones. Selectivity: none. So the first perfect score says nothing about the model. Then hide every third name from the probe. Now the truth can be found only if the model itself puts names of one gender together. In the storyteller the probe still finds it. In the untrained network it does no better than someone who always says *he*, nor than the random labels. (Eight hidden names are few; the random labels of eight names stray far from one half.)
#
# That is what a control is for: the same number, 100 %, meant nothing in the first line and something in the second.

# %% [markdown]
# ## Pushing, and its price
#
# If a place and a direction carry a name, one can push. Take the mean of the full stop's vectors over all stories with Ida, less the mean over all stories: 144 numbers, a **steering vector**. Add it, times a strength, in new stories whose hero is a man with another name. (The name is from Subramani et al. 2022, who trained such vectors; Turner et al. 2023 take the difference of a pair of prompts, without training.) Three measures: how probable Ida becomes where the name comes; which pronoun comes; and the loss of all *other* tokens, which is the price.
#
# We push in three ways: at the full stop, where the name is kept; at *all* places, as is usual where nobody knows the place; and at the full stop in a random direction of the same length (once at all places, too).

# %%
vectors = learned["2.stream"][every, read_stop]
is_ida = torch.tensor([story.facts["hero"] == "Ida" for story in read])
direction = vectors[is_ida].mean(0) - vectors.mean(0)  # (d_model,)
noise = torch.randn(
    len(direction), generator=torch.Generator().manual_seed(1), dtype=torch.float64
)
noise *= direction.norm() / noise.norm()

men = [stories.story_at("test", n) for n in range(80)]
men = [story for story in men if pronouns[story.facts["hero"]] == "he"][:20]
men_ids = [story_ids(tokenizer, story.text) for story in men]
MEN = padded([[*ids, START] for ids in men_ids], START)
full = torch.tensor(
    [first_places(tokenizer, i, s)[1] for i, s in zip(men_ids, men, strict=True)]
)
come = MEN[:, 1:]
place_of = torch.arange(come.shape[1])
ends = torch.tensor([len(ids) for ids in men_ids])
later = (place_of > full[:, None]) & (place_of < ends[:, None])  # after the full stop
own = torch.tensor([token_of(story.facts["hero"]) for story in men])
named = later & (come == own[:, None])
HE, SHE = ([token_of(w) for w in ws] for ws in (("he", "his", "him"), ("she", "her")))
pronoun = later & torch.isin(come, torch.tensor(HE))
rest_of = later & ~named & ~pronoun
IDA = token_of("Ida")


@torch.no_grad()
def steered(push: Tensor, strength: float, everywhere: bool) -> tuple[float, ...]:
    """P(Ida) where the name comes, P(she) where he does, loss of the other tokens."""

    def edit(x: Tensor) -> Tensor:
        new = x.clone()
        if everywhere:
            new += strength * push
        else:
            new[torch.arange(len(x)), full] += strength * push
        return new

    with replaced(storyteller, {"2.stream": edit}):
        log_odds = storyteller(MEN[:, :-1]).log_softmax(-1)  # (20, T, vocab_size)
    losses = -log_odds.gather(-1, come[..., None])[..., 0]
    wanted = log_odds[named][:, IDA].exp().mean()
    she = log_odds[pronoun][:, SHE].exp().sum(-1).mean()
    return wanted.item(), she.item(), losses[rest_of].mean().item()


pushes = {
    "at the full stop": (direction, False, (0, 1, 2, 4, 8)),
    "at all places": (direction, True, (0.25, 0.5, 1, 2)),
    "random, full stop": (noise, False, (1, 2, 8)),
    "random, all places": (noise, True, (1,)),
}
price: dict[tuple[str, float], tuple[float, ...]] = {}
print(f"{int(is_ida.sum())} of {len(read)} stories have Ida")
print("pushed             strength   P(Ida)   P(she, her)   loss of other tokens")
for name, (push, everywhere, strengths) in pushes.items():
    for strength in strengths:
        price[name, strength] = steered(push, strength, everywhere)
        ida, she, other_loss = price[name, strength]
        print(f"{name:<18}{strength:9}{ida:9.2f}{she:14.2f}{other_loss:23.2f}")
calm = price["at the full stop", 0][2]
assert price["at the full stop", 2][0] > 0.6 and price["at the full stop", 2][1] > 0.7
assert abs(price["at the full stop", 2][2] - calm) < 0.05
assert price["at all places", 1][0] > 0.6 and price["at all places", 1][2] > 4 * calm
assert price["random, full stop", 2][0] < 0.1
assert price["at the full stop", 8][0] < price["at the full stop", 2][0] - 0.1

# %% [markdown]
# At the right place, with the right strength, the story gets Ida, and *she* with her. No wonder: many of the stories that we took off have a *he*, so the vector also points from *he* to *she*. The other tokens pay next to nothing, probably because hardly any of them reads that place. (So a change at this full stop is enough to change the pronoun.)
#
# Pushed at all places, the same vector brings Ida as well, and ruins the rest: the loss of the other tokens is more than four times what it was. A model that is steered so can still be scored «successful» by someone who measures the wanted thing alone.
#
# Strength has a middle. Far too much, and Ida gets *less* probable: a likely reason is that such a vector is like nothing that the layers above have met. A random vector of the same length brings hardly any Ida. A very long one makes a muddle of the pronouns. At all places it costs something, too, but far less than the steering vector of the same length.

# %% [markdown]
# ## What such evidence shows
#
# | you have | it shows | it does not show | the experiment above |
# | --- | --- | --- | --- |
# | a lens | what a place is about to say | what it keeps for others | the full stop, against patching |
# | an attribution | who wrote the answer last | where it came from | layer 3, whose heads fetch from the full stop |
# | a score of a pattern | where a head looks | that it is needed, or enough | layer 1's other head; SmolLM2's ten against ten |
# | an ablation | that the part is needed | what it does; that others are not; stand-ins hide | an induction head: hardly missed or badly, by the way it is taken away |
# | a patch | that this vector carries the difference *between these two texts* | how it got there; what else the task needs | one circuit, four shares |
# | a probe | that it can be read | that the model learned it, or uses it; a probe that fails does not show absence | the untrained network; the name at its own token |
# | steering | that this direction is enough, at a price | that the model moves this way by itself | too strong: less Ida |
#
# And all of it holds for these texts and these models. Our world is small. It has one place for the name because its stories name the hero in the first sentence. Larger models are less clean: Wang et al. (2023) followed how GPT-2 says which of two names comes next, and their circuit has 26 heads.

# %% [markdown]
# ## What to remember
#
# 1. The stream is a sum: read it early (lens), or split the answer by who wrote it (attribution). Both show the way out only.
# 2. An induction head finds an earlier equal token and copies what came after it. Ours needed two layers, and came within a few hundred steps.
# 3. Patching moves one vector from a twin text and so finds where a difference is kept. Here: at the full stop, and not at the name.
# 4. A share explained needs its «against what»: twin, zero, mean or other texts gave four answers for one circuit.
# 5. What a probe reads need not be learned, nor used. Compare with random labels, new types, an untrained network, and then change the model.

# %% [markdown]
# ## Primary sources
#
# - nostalgebraist 2020, interpreting GPT: the logit lens (https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens)
# - Belrose et al. 2023, Eliciting Latent Predictions from Transformers with the Tuned Lens (https://arxiv.org/abs/2303.08112)
# - Elhage et al. 2021, A Mathematical Framework for Transformer Circuits (https://transformer-circuits.pub/2021/framework/index.html)
# - Olsson et al. 2022, In-context Learning and Induction Heads (https://arxiv.org/abs/2209.11895)
# - Wang et al. 2023, Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2 small (https://arxiv.org/abs/2211.00593)
# - Zhang and Nanda 2024, Towards Best Practices of Activation Patching in Language Models: Metrics and Methods (https://arxiv.org/abs/2309.16042)
# - Hewitt and Liang 2019, Designing and Interpreting Probes with Control Tasks (https://aclanthology.org/D19-1275)
# - Subramani, Suresh and Peters 2022, Extracting Latent Steering Vectors from Pretrained Language Models (https://arxiv.org/abs/2205.05124)
# - Turner et al. 2023, Steering Language Models With Activation Engineering (https://arxiv.org/abs/2308.10248)
#
# **Next** · [Lesson 25 · Limits](25_limits.ipynb): what it memorises, invents, prefers and costs.
