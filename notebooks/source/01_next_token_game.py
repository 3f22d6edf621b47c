# %% [markdown]
# # Lesson 1 · The next-token game
#
# A GPT plays one game: given a text so far, guess what comes next. This lesson plays it three times: you, a table of
# counts, and a finished GPT. You will see how a player is scored, and how far from perfect each of them is.
#
# **You will be able to**
# - say what a GPT takes in and what it gives out,
# - build a language model by counting, and write text with it,
# - compute a loss and a perplexity by hand, and say what they mean,
# - read the ladder from «knows nothing» down to the entropy floor, below which no model can get.
#
# **Time** 75 min
#
# **Builds on** Python, and what a probability is. The numbers live in tensors: if torch is new to you, read
# [Torch and slopes](00b_torch_and_slopes.ipynb), sections 1–4 (shapes, along a dimension, view, broadcasting), before this.
#
# ![A GPT as a box: the text so far goes in on the left, a probability for every possible next token comes out on the right](../figures/where_next_token_game.svg)

# %% tags=["setup"]
import math
import textwrap
from collections import Counter

import torch
from matplotlib.figure import Figure

from minigpt.course import check, explore, plots, start_lesson
from minigpt.course.inside import logit_lens, look_inside, part_names
from minigpt.evaluation.floor import floor
from minigpt.evaluation.loss import mean_loss
from minigpt.generation.generate import generate
from minigpt.text import stories
from minigpt.text.data import StoryData
from minigpt.text.tokenizer import END_OF_TEXT
from minigpt.weights.checkpoint import load_model

start_lesson()

# %% [markdown]
# ## A storyteller that was never told what a story is
#
# This package holds a small GPT. Let it write.

# %%
model, tokenizer = load_model("storyteller")
# More digits than a GPT needs, so that every computer writes the same story.
model = model.double()

# The token that stands before and after each story.
START = tokenizer.special_tokens[END_OF_TEXT]
written = generate(model, [START], max_new_tokens=190, stop_token=START, seed=4)[0]
print(textwrap.fill(tokenizer.decode(written), 88))

# %% [markdown]
# Read it once more and look at the names, the pronouns, the colours, and at who has what. Does anything contradict
# anything else? Our stories come from a small invented world, so a program can check that for us.

# %%
print("no contradiction:", stories.verify(tokenizer.decode(written)).problem is None)
assert stories.verify(tokenizer.decode(written)).problem is None

# %% [markdown]
# No contradiction. This is one story; of 1,000 that its makers let it write, 94.8 % were as clean (the model card in the
# package says how they counted). So about one in twenty is not. Change the `seed` often enough, and you will meet such a one.
#
# Even so it is odd, because of how the model works. Nobody built a plan into it, and it does not see the story that it is
# going to write. It does one thing, again and again: look at the text so far, and give a probability to each piece of text
# that could come next. Then one piece is drawn at random, written down, and the game starts anew.
#
# Nobody told it what a name is, or that a fox stays a fox. It was shown stories and had to guess each next piece.
# **What does it take to guess so well?** We find out by trying it ourselves, first with the poorest means.

# %% [markdown]
# ## You play first
#
# Guess the next word twice, and do not look further down before you have:
#
# 1. *Once upon a time, there was a* …
# 2. The next cell prints the beginning of a story that the model has not seen. Which word comes where it stops?

# %%
unseen = next(
    s for i in range(100) if (s := stories.story_at("test", i)).plot == "lost"
)
unseen_ids = tokenizer.encode(unseen.text)
helper = unseen.facts["helper"]
name_again = max(
    i for i, token in enumerate(unseen_ids) if tokenizer.decode([token]) == f" {helper}"
)
so_far = tokenizer.decode(unseen_ids[:name_again])
print(textwrap.fill(so_far + " …", 88))

# %% [markdown]
# The first one you cannot know: a story may be about anybody. The second one you can: only one name fits. Now the model.
# It answers with a number for every piece of text that it knows. These pieces are called **tokens**. In this model nearly
# every token is one word with the space before it; lesson 2 makes them. We look at the most probable ones.
#
# In the comments, *T* is the number of tokens in the text, and `(1, T)` is the **shape** of a tensor: one row of *T* numbers.
# `logits[0, -1]` is what the model says in row 0 at the last token.


# %%
@torch.inference_mode()
def next_token_probabilities(text: str) -> torch.Tensor:
    """One probability for each token that may follow the text, (vocab_size,)."""
    ids = torch.tensor([[START, *tokenizer.encode(text)]])  # (1, T)
    logits = model(ids)  # (1, T, vocab_size): scores, of any size
    return logits[0, -1].softmax(dim=-1)  # makes probabilities of scores (lesson 4)


def show_guesses(text: str, title: str, count: int = 8) -> Figure:
    """Draw the most probable next tokens."""
    best = next_token_probabilities(text).topk(count)
    tokens = [tokenizer.decode([int(token)]) for token in best.indices]
    return plots.next_token_bars(tokens, best.values.tolist(), title)


show_guesses("Once upon a time, there was a", "after «… there was a»")

# %%
show_guesses(so_far, "after the long text above")

# %% [markdown]
# After the short text the model spreads its bet over many tokens, each with a few hundredths. After the long one it puts
# nearly everything on one name, which it read many words earlier. Its answer is never «the next word». Its answer is a
# **distribution**: a list of probabilities, one for each token, which sum to 1.

# %%
probabilities = next_token_probabilities("Once upon a time, there was a")
print("tokens the model knows:", len(probabilities))
print(f"sum of the probabilities: {probabilities.sum():.4f}")

# %% [markdown]
# ## A model by counting
#
# The poorest useful player looks at one word, the last, and remembers what followed it before. Take a text of three
# sentences:

# %%
toy_text = "the cat sat . the cat ran . the dog sat ."
words = toy_text.split()
print(words)

# %% [markdown]
# Count on paper: which words follow *the*, and how often? *cat* twice, *dog* once. So after *the* we bet 2/3 on *cat* and
# 1/3 on *dog*.

# %%
after_the = Counter(
    following
    for word, following in zip(words, words[1:], strict=False)
    if word == "the"
)
total = sum(after_the.values())
for word, count in after_the.items():
    print(f"the → {word}: {count} of {total} = {count / total:.4f}")

# %% [markdown]
# Two neighbouring words are a **bigram**, and a table of such shares for all words is a **bigram model**. The idea is
# old. In 1913 Markov counted by hand how vowels and consonants follow each other in 20,000 letters of *Eugene Onegin*. In 1948
# Shannon wrote English-like text from pairs, and spared himself the table: he opened a book at random, read on to the letter
# that he had last, took the one behind it, and opened the book anew.
#
# ### Exercise 1 · the whole table (★☆☆, 10 min)
#
# Do the same for every word. `bigram_probabilities(words)["the"]` should be `{"cat": 2/3, "dog": 1/3}`. Mind the last
# word of the text: nothing follows it there.


# %% tags=["exercise"]
def bigram_probabilities(words: list[str]) -> dict[str, dict[str, float]]:
    """For each word that has a successor: the share of each word that follows it."""
    ### BEGIN SOLUTION
    counts: dict[str, Counter[str]] = {}
    for word, following in zip(words, words[1:], strict=False):
        counts.setdefault(word, Counter())[following] += 1
    table: dict[str, dict[str, float]] = {}
    for word, after in counts.items():
        total = sum(after.values())
        table[word] = {following: count / total for following, count in after.items()}
    return table
    ### END SOLUTION


# %%
check.bigram_probabilities(bigram_probabilities)

# %% [markdown]
# ### The same in torch
#
# A table of numbers is a matrix. Give each word a number, its **id**, and let row *i* and column *j* hold how often word *j*
# followed word *i*. Divide each row by its sum, and each row is a distribution.
#
# To count all pairs at once, we give each pair a number too. With 6 words, the pair of word 5 and word 1 is number
# 5 · 6 + 1 = 31. `bincount` counts how often each of the 36 numbers comes, and `view` folds the 36 counts into 6 rows of 6.

# %%
vocabulary = sorted(set(words))
id_of = {word: i for i, word in enumerate(vocabulary)}
toy = torch.tensor([id_of[word] for word in words])  # (T,)

n = len(vocabulary)  # 6
pairs = toy[:-1] * n + toy[1:]  # (T - 1,): one number for each pair
toy_counts = torch.bincount(pairs, minlength=n * n).view(n, n)  # (n, n)
# (n, n), each row sums to 1
table = toy_counts.double() / toy_counts.sum(dim=1, keepdim=True)

assert torch.allclose(table.sum(dim=1), torch.ones(n, dtype=torch.float64))
assert math.isclose(table[id_of["the"], id_of["cat"]], after_the["cat"] / total)
plots.heatmap(vocabulary, vocabulary, table.tolist(), "word", "next word")

# %% [markdown]
# Read a row from left to right: after *the* stand 0.67 on *cat* and 0.33 on *dog*. The full stop is followed by *the* every
# time it is followed by anything.

# %% [markdown]
# ## Writing with a table
#
# To write, start with a word, draw the next one with the probabilities of its row, and go on from there. Now with real
# material: 5,000 stories of the story world, cut into the tokens of our GPT.

# %%
training = [
    [START, *tokenizer.encode(stories.story_at("train", i).text), START]
    for i in range(5000)
]
V = tokenizer.vocab_size
tokens = torch.cat([torch.tensor(ids) for ids in training])  # (number of tokens,)
pairs_of_ids = tokens[:-1] * V + tokens[1:]  # each story begins and ends with START
counts = torch.bincount(pairs_of_ids, minlength=V * V).view(V, V)  # (V, V)
print(f"{len(training):,} stories, {len(tokens):,} tokens, a table of {V:,} × {V:,}")
print(f"pairs that never occur: {(counts == 0).double().mean():.1%}")

# %%
generator = torch.Generator().manual_seed(1)
token, story = START, list[int]()
while len(story) < 190:
    token = int(torch.multinomial(counts[token].double(), 1, generator=generator))
    if token == START:
        break
    story.append(token)
bigram_story = tokenizer.decode(story)
print(textwrap.fill(bigram_story, 88))

# %% [markdown]
# Each pair of neighbours comes from a story, and the whole is nonsense. The table forgets everything but the last token. It
# cannot know who the story is about, because that stands more than one token back. Our checker agrees:

# %%
print(textwrap.fill(str(stories.verify(bigram_story).problem), 88))

# %% [markdown]
# ### Exercise 2 · draw from a distribution (★★☆, 10 min)
#
# `torch.multinomial` did the drawing. Do it yourself. Lay the probabilities side by side on a line from 0 to 1, each as long
# as it is large. A random number `u` between 0 and 1 falls on one of them: that is the draw. For `[0.2, 0.5, 0.3]`, the number
# 0.1 falls on the first, 0.6 on the second, 0.95 on the third. A number on a border belongs to the right: 0.2 is on the second.


# %% tags=["exercise"]
def draw(probabilities: list[float], u: float) -> int:
    """The position on which `u` falls, 0 <= u < 1, with the probabilities in a row."""
    ### BEGIN SOLUTION
    end = 0.0
    for i, probability in enumerate(probabilities):
        end += probability
        if u < end:
            return i
    return len(probabilities) - 1  # rounding may leave the sum a hair below 1
    ### END SOLUTION


# %%
check.draw(draw)

# %% [markdown]
# ## Keeping score
#
# Which player is better? A player who gave the token that really came a probability of 0.5 did better than one who gave it
# 0.1. We want one number for a whole text. Here is the text *the cat ran .* with what our toy table said at each step:

# %%
steps = [("the", "cat"), ("cat", "ran"), ("ran", ".")]
said = [float(table[id_of[word], id_of[following]]) for word, following in steps]
for (word, following), p in zip(steps, said, strict=True):
    print(f"P({following} | {word}) = {p:.4f}")

# %% [markdown]
# The probability of the whole continuation is the product: 2/3 · 1/2 · 1 = 1/3. For a long text a product of many numbers
# below 1 gets too small for a computer. Logarithms turn the product into a sum. So each step costs −ln *p*: nothing for a
# sure thing, more the more surprised the player is. The mean of these costs is the **loss**, called **cross-entropy**. Its
# unit is the *nat*.

# %%
costs = [math.log(1 / p) for p in said]  # ln(1/p) = -ln p
loss = sum(costs) / len(costs)
print("costs:", [f"{cost:.4f}" for cost in costs])
print(
    f"loss:  ({' + '.join(f'{cost:.4f}' for cost in costs)}) / {len(costs)}"
    f" = {loss:.4f} nats per token"
)
print(f"product of the probabilities: {math.prod(said):.4f}")
print(f"e^-(3 × loss):                {math.exp(-3 * loss):.4f}")

# %% [markdown]
# Check the first cost yourself: −ln(2/3) = 0.4055. A loss of 0.3662 is hard to picture, so people also use the
# **perplexity**, e to the power of the loss. A player who always wavers between *k* equally likely tokens has perplexity *k*.


# %% tags=["package:minigpt.evaluation.loss.perplexity"]
def perplexity(loss: float) -> float:
    """e^loss: the number of equally likely tokens that would be as hard to guess."""
    # e^710 is more than a float can hold.
    return math.exp(loss) if loss < 700 else math.inf


# %%
print(f"perplexity of our three steps: {perplexity(loss):.4f}")
print(f"wavering between 6 tokens:     {perplexity(-math.log(1 / 6)):.4f}")

# %% [markdown]
# ### Exercise 3 · loss and perplexity (★★☆, 10 min)
#
# Write a function that takes the probabilities a player gave to the tokens that really came, and returns the perplexity. Try
# `[0.5, 0.125]` on paper first: the costs are ln 2 and ln 8, their mean is ln 4, so the perplexity is 4.


# %% tags=["exercise"]
def perplexity_of(probabilities: list[float]) -> float:
    """e to the mean of -ln p."""
    ### BEGIN SOLUTION
    loss = sum(-math.log(p) for p in probabilities) / len(probabilities)
    return math.exp(loss)
    ### END SOLUTION


# %%
check.perplexity_of(perplexity_of)

# %% [markdown]
# ### What was never seen
#
# The loss has no mercy. Our toy table gives *the dog ran* a probability of zero, because *dog ran* never occurred. Its cost is
# infinite, and one such step spoils the whole text.

# %%
print("P(ran | dog) =", float(table[id_of["dog"], id_of["ran"]]))

# %% [markdown]
# The cure is to keep something for the unseen. Pretend that each word was followed one more time, by a token drawn from a
# weaker model. For a bigram the weaker model is the **unigram**, which looks at no context and knows only how frequent each
# token is. For a **trigram**, which looks at two tokens, the weaker model is the bigram. And below the unigram stands the
# player who knows nothing and gives all V tokens the same probability, 1/V.
#
# $$P(\text{token} \mid \text{context}) = \frac{\text{count}(\text{context, token}) + P_{\text{weaker}}(\text{token})}
# {\text{count}(\text{context}) + 1}$$

# %%
Context = tuple[int, ...]
Tables = tuple[Counter[Context], Counter[Context]]


def count_runs(texts: list[list[int]], longest: int) -> Tables:
    """How often each context of 0 to `longest` tokens and the token after it occur."""
    runs, contexts = Counter[Context](), Counter[Context]()
    for ids in texts:
        for i in range(1, len(ids)):  # the first START is given, not guessed
            for length in range(min(i, longest) + 1):
                context = tuple(ids[i - length : i])
                runs[(*context, ids[i])] += 1
                contexts[context] += 1
    return runs, contexts


def counted(
    token: int, before: list[int], tables: Tables, weight: float
) -> list[float]:
    """P(token) of the models that look at 0, 1, … of the tokens before it.

    Each gets `weight` imaginary observations from the one that sees a token less.
    """
    runs, contexts = tables
    p, answers = 1 / V, []
    for length in range(len(before) + 1):
        context = tuple(before[len(before) - length :])
        p = (runs[(*context, token)] + weight * p) / (contexts[context] + weight)
        answers.append(p)
    return answers


tables = count_runs(training, longest=8)
sum_over_all = sum(counted(token, [START], tables, 1)[-1] for token in range(V))
print(f"the probabilities of all tokens after START sum to {sum_over_all:.4f}")

# %% [markdown]
# Now we score them all on stories that none of them has seen: the test split. A score on training stories would reward
# learning by heart.

# %%
data = StoryData(tokenizer, context_length=192, held_out=300)
held_out = data.held_out_stories("test")
test = [[START, *tokenizer.encode(story.text), START] for story in held_out]
n_questions = sum(len(ids) - 1 for ids in test)


def counting_losses(tables: Tables, longest: int, weight: float = 1) -> list[float]:
    """Mean loss on the test stories of the models that see 0, 1, … `longest` tokens."""
    costs = [0.0] * (longest + 1)
    for ids in test:
        for i in range(1, len(ids)):
            answers = counted(ids[i], ids[max(0, i - longest) : i], tables, weight)
            # Near a story's start there are fewer tokens.
            for length in range(longest + 1):
                costs[length] -= math.log(answers[min(length, i)])
    return [cost / n_questions for cost in costs]


by_length = counting_losses(tables, 8)
losses = {
    "knows nothing (ln V)": math.log(V),
    "unigram (no context)": by_length[0],
    "bigram (1 token)": by_length[1],
    "trigram (2 tokens)": by_length[2],
    "GPT (the whole story)": mean_loss(model, data, "test"),
}
for name, value in losses.items():
    print(f"{name:<24} loss {value:.3f}   perplexity {perplexity(value):9.2f}")

# %% [markdown]
# ### Longer contexts
#
# Each token of memory helped, and the GPT, which can look at the whole story so far, wins by far. (It has also seen more:
# 11,500 steps of 16 stories are 184,000, and our tables got 5,000.) So let us simply count longer contexts. What do you
# expect, with 3, 4, … 8 tokens?
#
# We count 1,000 stories and 5,000. The last two columns are for later.

# %%
few = counting_losses(count_runs(training[:1000], longest=8), 8)
cautious = counting_losses(tables, 8, weight=20)
print("tokens of            loss              loss, 5,000 stories   context")
print(" context   1,000 stories  5,000 stories  with weight 20    seen before")
for length in range(9):
    known = sum(
        tables[1][tuple(ids[max(0, i - length) : i])] > 0
        for ids in test
        for i in range(1, len(ids))
    )
    print(
        f"{length:>8} {few[length]:>15.3f} {by_length[length]:>14.3f}"
        f" {cautious[length]:>15.3f} {known / n_questions:>14.0%}"
    )
assert min(few) == few[2] and min(by_length) == by_length[3]  # then they rise
assert few[8] > few[1] - 0.01 and by_length[8] > by_length[2]

# %% [markdown]
# The loss falls, and then it rises. With eight tokens of context the table is worse than with two. Nothing is wrong with
# the code. The last column says why: the longer the context, the rarer it is that exactly this one stood in the training
# stories. Of the test contexts of eight tokens, nearly every second one is new. Others were seen only once or twice, and one
# observation is a poor witness. Five times the stories move the best length from two tokens to three.
#
# Our cure trusts such a witness too much: one real observation counts as much as everything the weaker models know. With
# twenty imaginary observations in place of one (in the formula, $20\,P_{\text{weaker}}$ and 20 in place of $P_{\text{weaker}}$ and 1)
# the rise all but goes away. But the fall stops too, near 1.24, and the GPT stands at 0.436. Cleverer ways to count
# exist, but nobody can count what never occurred, and the longer a context, the less often it comes back. A story names its
# hero, and what stands between the name and the token where it matters is new each time. What is missing is a model that
# finds the name wherever it stands.
#
# But is the GPT *good*? With most texts nobody can say, because nobody knows how well the best possible player would do.

# %% [markdown]
# ## The floor
#
# Here we know. Each story of our world was made with fair dice: which plot, which name, which animal, which wording of each
# sentence. A die with 24 faces costs ln 24 nats to guess: with equal odds for all faces always, and no player does better
# on average. `stories` keeps the books, in **bits**: a bit is the surprise of a fair coin, ln 2 nats.

# %%
example = stories.story_at("test", 0)
print(textwrap.fill(example.text, 88))
facts = ", ".join(f"{fact} {value}" for fact, value in example.facts.items())
print(textwrap.fill(f"plot «{example.plot}», facts: {facts}", 88))
surprise = f"{example.bits:.2f} bits of surprise"
print(f"probability 1 / {2**example.bits:.3g}, that is {surprise}")

# %% [markdown]
# Shannon (1948) called the mean surprise of a source its **entropy**, and showed that nobody can expect to pay less. Divide it by
# the mean number of tokens in a story: that is the **entropy floor**, the loss of a player who knows the dice and forgets
# nothing.
#
# Our 300 test stories are a sample. Their own surprise, which we know to the last bit, is a little above or below the mean.
# The GPT was scored on these very stories, so we compare it with what the perfect player pays on the same ones.

# %%
bound = floor(data, "test")
gap = losses["GPT (the whole story)"] - bound.split_loss
print(f"entropy of the story world: {stories.entropy():.2f} bits per story")
print(f"different stories: {stories.world().n_stories:.2e}")
print(f"entropy / mean length:       {bound.loss:.4f} nats per token")
print(f"floor on these test stories: {bound.split_loss:.4f} nats per token")
print(f"our GPT is above that by     {gap:.3f} nats per token")
assert 0 < gap < 0.02

# %%
best_table = {f"best table ({cautious.index(min(cautious))} tokens)": min(cautious)}
rungs = {name: loss for name, loss in losses.items() if "GPT" not in name}
rungs |= best_table | {"GPT (the whole story)": losses["GPT (the whole story)"]}
plots.loss_ladder(rungs, bound.split_loss)

# %% [markdown]
# The top rung is the player who knows nothing, ln V. The bottom line is the best that is possible. Training a GPT means to walk
# down this ladder, and in our world you can see how much of the way is left. On real text the floor exists as well, but nobody
# knows where it is. Shannon (1951) let people guess the next letter of a book and concluded that English has between about 0.6
# and 1.3 bits per letter.
#
# A loss well below the floor, by the way, is not a better model. It is a mistake in somebody's books.

# %% [markdown]
# ## What is inside
#
# The tables fail because too few long contexts come back. There are V¹⁰ contexts of ten tokens, and no library holds more than
# a trace of them. A GPT replaces the table by a computation that answers for contexts it has never seen. Text goes through it
# like this:
#
# ```mermaid
# flowchart LR
#     text["text"] --> tokens["token ids<br/>lesson 2"]
#     tokens --> embedding["embedding<br/>+ position<br/>lesson 3"]
#     embedding --> attention
#     subgraph block["Transformer block, several in a row: lesson 7"]
#         attention["attention:<br/>look back<br/>lessons 4, 5"] --> ff["feed-forward:<br/>think about it<br/>lesson 6"]
#     end
#     ff --> logits["logits:<br/>a score for<br/>each token<br/>lesson 8"]
#     logits --> softmax["softmax:<br/>probabilities"]
#     softmax --> sample["draw one<br/>lesson 13"]
#     sample -. "append and repeat" .-> tokens
# ```
#
# **Attention** is the part that looks back and fetches what matters, such as a name. «Think about it» is a metaphor: the
# feed-forward part computes on each token's own numbers. In all of it stand parameters, numbers that training adjusts until the
# loss is low (lessons 9 and 10).

# %%
n_parameters = sum(p.numel() for p in model.parameters())
print(f"our GPT: {n_parameters:,} parameters, {model.config.n_layers} blocks")
print(f"possible contexts of ten tokens: {float(V) ** 10:.1e}")

# %% [markdown]
# ### Look inside
#
# Here is our GPT at work on the long text from the beginning of this lesson. Run the cell, and you can turn everything. (Where
# this page is only read, it is a picture.) The boxes are the tokens. The framed one asks what comes next. The arc shows where one
# **head** of the attention (lesson 5) looks back, here from the end of the text to the end of the sentence in which somebody came
# along. Below on the left you find the bars again.

# %%
explore(model, tokenizer, so_far, layer=3, head=1)

# %% [markdown]
# The table on the right asks each part of the model: if the text went no further through the model than to here, what would be the
# guess? This way to look is called the **logit lens** (nostalgebraist 2020). Read it from the top. The blocks before have other guesses, and then the last attention fetches the name:

# %%
seen = look_inside(model, [START, *unseen_ids[:name_again]])
best_at_end = logit_lens(model, seen.stream[:, -1]).argmax(dim=-1).tolist()
guesses = [tokenizer.decode([token]) for token in best_at_end]
for part, guess in zip(part_names(model.config.n_layers), guesses, strict=True):
    print(f"{part:<15} {guess}")
assert [guess == f" {helper}" for guess in guesses] == [False] * 5 + [True] * 2

# Layer 3, head 1 (a program counts from 0), the last token.
arc_end = int(seen.weights[2, 0, -1].argmax())
looked_at = tokenizer.decode(seen.ids[1 : arc_end + 1]).split(". ")[-1]
print("the sentence at whose end the arc ends:", looked_at)
assert helper in looked_at and looked_at.endswith(".")

# %% [markdown]
# Now try. In the text, write *Zoe* wherever the name of the helper stands, and see the bars follow. Click on other tokens, and see
# what the model expected there. Press «draw the next token» a few times, and «step back». Which tokens were sure to come, and where did
# the dice decide?

# %%
renamed = next_token_probabilities(so_far.replace(helper, "Zoe"))
print(f"after the change, P(Zoe) = {renamed[tokenizer.encode(' Zoe')[0]]:.2f}")
assert renamed.argmax() == tokenizer.encode(" Zoe")[0]

# %% [markdown]
# <div class="alert alert-warning">
# <b>You may have read</b> that a GPT «predicts the next word», one word at the end of the text.
# Neither half is right. It gives a distribution over <i>tokens</i>, which may be pieces of words or bare bytes. And it gives one
# at <i>every</i> position of the text at once. Training uses them all: a text of 100 tokens is 100 exercises.
# </div>

# %%
pip_text = "Pip lost his kite in Timbuktu."
pip_ids = tokenizer.encode(pip_text)
with torch.inference_mode():
    pip_logits = model(torch.tensor([pip_ids]))  # (1, T, vocab_size)
print("tokens:", *(tokenizer.decode([i]) for i in pip_ids), sep=" | ")
print(
    "scores:",
    tuple(pip_logits.shape),
    "so",
    pip_logits.shape[1],
    "distributions, one after each token",
)
assert pip_logits.shape == (1, len(pip_ids), tokenizer.vocab_size)
assert len(pip_ids) > len(pip_text.split())

# %% [markdown]
# ## Who made what, and when
#
# | year | what | who |
# | --- | --- | --- |
# | 1913 | which kind of letter follows which, counted in a novel in verse | Markov |
# | 1948, 1951 | language as a source with an entropy; text written from pairs and triples of letters; the guessing game | Shannon |
# | 2003 | a neural network that predicts the next word | Bengio, Ducharme, Vincent, Jauvin |
# | 2014 | attention, inside a translating recurrent network | Bahdanau, Cho, Bengio |
# | 2017 | the Transformer: attention without recurrence, for translation | Vaswani and seven colleagues at Google |
# | 2018 | GPT: a Transformer that guesses the next token, then is fine-tuned | Radford, Narasimhan, Salimans, Sutskever (OpenAI) |
# | 2019 | GPT-2: larger, and useful on many tasks without fine-tuning | Radford, Wu, Child, Luan, Amodei, Sutskever (OpenAI) |
# | 2020 | GPT-3: 175 billion parameters, tasks learned from examples in the prompt | Brown and 30 colleagues (OpenAI) |
#
# So GPT invented neither attention nor the Transformer. Both are older, and both were made for translation.

# %% [markdown]
# ## Two stages
#
# The game you have seen is **pre-training**. Its exercises cost nothing to write: any text asks, and answers itself with its next
# token. So there can be billions of them, and to guess well the model has to pick up spelling, grammar, facts, and who has the
# kite. What comes out continues texts. Ask it a question, and it may well continue with more questions.
#
# **Fine-tuning** goes on with a much smaller set of chosen texts, such as questions with good answers, and turns the continuer into
# something that does a task or answers. Dai and Le (2015) did both with recurrent networks, Radford et al. (2018) with a
# Transformer; Ouyang et al. (2022) fine-tuned GPT-3 to follow instructions, with answers that people wrote and rankings that they gave. The game and the loss stay the same in the simplest kind of
# fine-tuning, and the texts change. This course pre-trains in lesson 10.

# %% [markdown]
# ## What to remember
#
# 1. A GPT turns the text so far into a probability for every token that could come next, at every position at once.
# 2. Text is written by drawing one token from that distribution, appending it, and starting again.
# 3. The loss is the mean of −ln p over the tokens that really came; e to that power is the perplexity.
# 4. A counting model forgets all but its last tokens, and counting longer contexts soon stops helping: too many of them are new.
# 5. A source of text has an entropy, and no model can expect a loss below it. In our story world we know where it is.

# %% [markdown]
# ## Primary sources
#
# - Markov 1913, An Example of Statistical Investigation of the Text *Eugene Onegin*, in English 2006 (https://doi.org/10.1017/S0269889706001074)
# - Shannon 1948, A Mathematical Theory of Communication (https://doi.org/10.1002/j.1538-7305.1948.tb01338.x)
# - Shannon 1951, Prediction and Entropy of Printed English (https://doi.org/10.1002/j.1538-7305.1951.tb01366.x)
# - Bengio et al. 2003, A Neural Probabilistic Language Model (https://www.jmlr.org/papers/v3/bengio03a.html)
# - Bahdanau, Cho, Bengio 2014, Neural Machine Translation by Jointly Learning to Align and Translate (https://arxiv.org/abs/1409.0473)
# - Dai and Le 2015, Semi-supervised Sequence Learning (https://arxiv.org/abs/1511.01432)
# - Vaswani et al. 2017, Attention Is All You Need (https://arxiv.org/abs/1706.03762)
# - Radford et al. 2018, Improving Language Understanding by Generative Pre-Training (https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf)
# - Radford et al. 2019, Language Models are Unsupervised Multitask Learners (https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)
# - Brown et al. 2020, Language Models are Few-Shot Learners (https://arxiv.org/abs/2005.14165)
# - nostalgebraist 2020, interpreting GPT: the logit lens (https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens)
# - Ouyang et al. 2022, Training language models to follow instructions with human feedback (https://arxiv.org/abs/2203.02155)
#
# **Next** · [Lesson 2 · Tokenization](02_tokenization.ipynb): how text becomes token ids.
