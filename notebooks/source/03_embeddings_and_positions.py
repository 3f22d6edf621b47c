# %% [markdown]
# # Lesson 3 · Embeddings and positions
#
# Between the token ids and the first layer of a GPT stand three steps: cut the text into batches, turn every id into a
# vector, and tell the model where each token stands. You build all three, and then look into the tables of a trained
# model.
#
# **You will be able to**
# - cut a text into inputs and targets, and see an off-by-one before it costs you a training run,
# - show that looking up a row is a matrix product, and compute its gradient,
# - prove by experiment what attention cannot know about order, and what it can,
# - compute learned and sinusoidal positions, and say what each does beyond the context,
# - read a trained embedding table: what is near what, and why.
#
# **Time** 95 min
#
# **Builds on** [lesson 1](01_next_token_game.ipynb) (the game, the loss) and [lesson 2](02_tokenization.ipynb) (token
# ids), which are recalled here, and of [Torch and slopes](00b_torch_and_slopes.ipynb) sections 1–7 and 10.
#
# ![The GPT in grey with the embeddings in colour; below, five tokens of a story: each id fetches a row of the token table, each position a row of the position table, and their sum goes into the first block](../figures/where_embeddings_and_positions.svg)

# %% tags=["setup"]
import math
import os
import tempfile
import textwrap
from collections import Counter
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.config import IGNORE, GPTConfig, InputError
from minigpt.course import check, plots, start_lesson
from minigpt.model.attention import (
    CausalSelfAttention,
    rotate,
    rotation,
    scaled_dot_product_attention,
)
from minigpt.model.gpt import GPT, next_token_loss
from minigpt.text import stories
from minigpt.text.data import Batch, StoryData, TextData, prepare_text
from minigpt.text.tokenizer import END_OF_TEXT
from minigpt.weights.checkpoint import load_model

start_lesson()

# %% [markdown]
# ## Half-way between red and blue
#
# A neural network adds and multiplies numbers. A tokenizer turns text into numbers, the token ids. So we could feed the
# ids in and be done. Let us try the smallest piece of arithmetic: mix red with blue.

# %%
model, tokenizer = load_model("storyteller")
model = model.double()  # the digits below are then the same on every processor
# The token that stands before and after each story.
START = tokenizer.special_tokens[END_OF_TEXT]

(red,), (blue,) = tokenizer.encode(" red"), tokenizer.encode(" blue")
middle = (red + blue) // 2
print(f"red is {red}, blue is {blue}")
print(f"half-way between them, at {middle}, is {tokenizer.decode([middle])!r}")
assert tokenizer.decode([middle]) != " purple"

# %% [markdown]
# A painter would have said purple. The ids are like numbers on coat-check tickets: they tell coats apart, and 500 is
# not the mean of 490 and 510 in any sense that matters to a coat. Arithmetic needs numbers that mean something.
#
# A second thing is missing. *The fox thanked the owl* and *the owl thanked the fox* are the same tokens. Whatever we
# put instead of the ids must also say who comes first. So this lesson has three questions:
#
# 1. How does text arrive at the model, and what is the model asked?
# 2. What replaces an id?
# 3. How does the model know the order?

# %% [markdown]
# ## Batches: the question and its answer
#
# To see every mistake, take a text whose tokens are the integers 0 to 999, in order. Token *i* has the id *i*, so after
# 41 must come 42, and an error of one position is easy to see.
#
# The model reads a row of *T* tokens, its **inputs**. Its **targets** are what it should answer: at each position the
# token that comes next. Both are the same text, one position apart.

# %%
integers = list(range(1000))
T = 8  # tokens in a row
first = 40

row_inputs = integers[first : first + T]
row_targets = integers[first + 1 : first + 1 + T]
print("inputs: ", row_inputs)
print("targets:", row_targets)

# %% [markdown]
# A row is not one question but *T* of them. The model answers at every position, and at each position it sees the tokens up
# to there:

# %%
for t in range(T):
    print(f"after {row_inputs[: t + 1]} comes {row_targets[t]}")

# %% [markdown]
# *T* questions take *T* + 1 tokens of text. How many rows can begin in a text of 1,000 tokens, if *T* = 8? Work it out
# before you read on.
#
# The last row needs 9 tokens, so it begins at 991 and its last target is 999. Starts from 0 to 991 are 992 = 1000 − 8.
# One start further, and there is a question without an answer:

# %%
for start in (991, 992):
    row = integers[start : start + T + 1]
    print(f"start {start}: inputs  {row[:-1]}")
    print(f"           targets {row[1:]}, {len(row) - 1} questions")
starts = range(len(integers) - T)
assert len(starts) == 992 and starts[-1] == 991

# %% [markdown]
# A computer works on many rows at once: *B* rows are a **batch**. In torch, stack the rows of *T* + 1 tokens and cut
# the batch once at the end and once at the beginning.

# %%
tokens = torch.arange(1000)
windows = [tokens[start : start + T + 1] for start in (40, 700, 3, 991)]
rows = torch.stack(windows)  # (B, T + 1)
inputs, targets = rows[:, :-1], rows[:, 1:]  # (B, T) each
print("inputs\n", inputs)
print("targets\n", targets)
assert torch.equal(targets, inputs + 1)

# %% [markdown]
# ### The same in minigpt (optional)
#
# `TextData` reads a long text from a folder, where it is nothing but its token ids, two bytes each. `prepare_text`
# makes such a folder of any text: the first nine tenths to train on, the last tenth for validation. For our integers a
# text of 1,000 different Chinese characters will do. If each character is a token, token *i* is the *i*-th of them.

# %%
temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # until the end
characters = "".join(chr(0x4E00 + i) for i in range(1000))
with patch.dict(os.environ, MINIGPT_CACHE=temporary.name):  # its folders go there
    # With None for a vocabulary size each character is a token.
    folder = prepare_text({"name": "integers"}, characters, vocab_size=None)

data = TextData(folder, context_length=T)
package_inputs, package_targets = data.batch_at(step=0, batch_size=4)
print("inputs\n", package_inputs)
assert torch.equal(package_targets, package_inputs + 1)

# %% [markdown]
# Which rows come in which step? `batch_at` is a function of the step: it asks a random generator that can jump to any
# step, and never looks at what was drawn before. For a text in one file the package's method comes to this:


# %%
def batch_at(tokens: Tensor, step: int, batch_size: int, seed: int = 0) -> Batch:
    """Windows of T + 1 tokens, at starts drawn from the seed and the step alone."""
    # Philox is counter-based (Salmon et al. 2011): it jumps to any step at once.
    random = np.random.Philox(key=seed, counter=[0, 0, 0, step])
    starts = random.random_raw(batch_size) % np.uint64(len(tokens) - T)
    windows = [tokens[start : start + T + 1] for start in starts.tolist()]
    rows = torch.stack(windows)  # (B, T + 1)
    return rows[:, :-1], rows[:, 1:]


# %% [markdown]
# You know every line: the number of possible starts is the length less *T*, and the rows are cut twice. Because the
# step alone decides, a run that is killed and resumed at step 1 gets the batch that it would have got.

# %%
for step in (1, 0, 1):
    ours = batch_at(tokens[:900], step, 4)  # of the first nine tenths
    theirs = data.batch_at(step, 4)
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    print(f"step {step}: rows start at {ours[0][:, 0].tolist()}")

# %% [markdown]
# ### Rows of unequal length
#
# Stories have a beginning and an end, so `StoryData` puts one story into each row, with an end-of-text token before and
# after it. The first lets the model start from nothing. The last teaches it to stop.
#
# Rows of a batch must have one length, and stories have many. Short rows get **padding**: the inputs with some token,
# and the targets with −100, the package's `IGNORE`, which tells the loss that nothing is asked here.

# %%
story_data = StoryData(
    tokenizer, context_length=model.config.context_length, held_out=10
)
story_inputs, story_targets = story_data.batch_at(step=0, batch_size=4)  # (B, T) each
print("end of the inputs\n", story_inputs[:, -8:])
print("end of the targets\n", story_targets[:, -8:])
n_questions = (story_targets != IGNORE).sum()
print(f"{story_targets.numel()} positions, {n_questions} questions")
assert (story_inputs[:, 0] == START).all()
assert ((story_targets == START).sum(dim=1) == 1).all()

training = [stories.story_at("train", i).text for i in range(1000)]
encoded_stories = [[START, *tokenizer.encode(text)] for text in training]
story_lengths = [len(ids) for ids in encoded_stories]
shortest = min(story_lengths)
print(
    f"1,000 training stories have {shortest} to {max(story_lengths)} tokens with START"
)
occurring = sorted({i for story in encoded_stories for i in story})
print(f"{len(occurring)} of the {tokenizer.vocab_size} tokens occur in them")

# %% [markdown]
# In each row of the targets the end-of-text token, whose id we call `START`, stands once: at the story's own end. After
# it there is nothing to guess.

# %% [markdown]
# ### Exercise 1 · pack rows of unequal length (★☆☆, 10 min)
#
# Each row is a list of ids that begins and ends with `end`. Make inputs and targets, all as long as the longest row has
# questions. Pad the inputs with `end` and the targets with `IGNORE`. For `[[0, 5, 8, 0], [0, 7, 0]]` with `end` 0, the
# inputs are `[[0, 5, 8], [0, 7, 0]]` and the targets `[[5, 8, 0], [7, 0, IGNORE]]`.


# %% tags=["exercise"]
def pack(rows: list[list[int]], end: int) -> tuple[list[list[int]], list[list[int]]]:
    """Inputs and targets of a batch, as lists of rows."""
    ### BEGIN SOLUTION
    length = max(len(row) for row in rows) - 1
    inputs = [row[:-1] + [end] * (length + 1 - len(row)) for row in rows]
    targets = [row[1:] + [IGNORE] * (length + 1 - len(row)) for row in rows]
    return inputs, targets
    ### END SOLUTION


# %%
check.pack(pack)

# %% [markdown]
# ## A row for every token
#
# The ids are tickets. So let each ticket fetch a coat: a list of $d_{model}$ numbers, a **vector**. All vectors
# together are a table with one row for each token, the **token embedding**. It starts at random, and training adjusts
# it like every other parameter. Bengio et al. (2003) built their language model on such a table.
#
# A small vocabulary and $d_{model} = 3$:

# %%
vocabulary = ["the", "fox", "thanked", "owl", "slept", "."]
table = [  # V rows of d_model numbers
    [0.5, 0.0, -0.5],
    [1.0, 2.0, 0.0],
    [-1.0, 0.5, 1.0],
    [2.0, -1.0, 0.5],
    [0.0, 1.0, -1.5],
    [-0.5, -0.5, 0.0],
]

id_of = {word: i for i, word in enumerate(vocabulary)}
toy_words = ["the", "fox", "thanked", "the", "owl", "."]
ids = [id_of[word] for word in toy_words]
vectors = [table[i] for i in ids]
for word, vector in zip(toy_words, vectors, strict=True):
    print(f"{word:<8}{vector}")

# %% [markdown]
# Both *the* got the same vector. The position does not count yet.
#
# ### Looking up is a matrix product
#
# A network computes with sums and products. Where is the product here? Write the id as a **one-hot** vector: V numbers,
# 1 at the id and 0 elsewhere. Multiply it with the table. For *owl*, which is number 3, work it out yourself: every row
# of the table counts 0 times, row 3 counts once.


# %%
def one_hot(i: int, V: int) -> list[float]:
    return [1.0 if j == i else 0.0 for j in range(V)]


def product(row: list[float], matrix: list[list[float]]) -> list[float]:
    """A row vector (V,) times a matrix (V, d_model)."""
    return [
        sum(r * matrix[j][column] for j, r in enumerate(row))
        for column in range(len(matrix[0]))
    ]


print("one-hot of owl:", one_hot(3, 6))
print("times table:   ", product(one_hot(3, 6), table))
assert [product(one_hot(i, 6), table) for i in ids] == vectors

# %% [markdown]
# In torch, for the whole sentence at once, and in the package's model, where the table is `token_embedding`. (Most weights in
# this course multiply as $xW^\top$, see lesson 5. A table is used as it stands, for what we want are its rows.)

# %%
E = torch.tensor(table, dtype=torch.float64)  # (V, d_model)
toy_ids = torch.tensor(ids)  # (T,)
hot = F.one_hot(toy_ids, num_classes=len(vocabulary)).double()  # (T, V)
assert (hot @ E).tolist() == E[toy_ids].tolist() == vectors
assert torch.equal(nn.Embedding.from_pretrained(E)(toy_ids), hot @ E)  # (T, d_model)

fox_and_owl = [START, *tokenizer.encode("The fox thanked the owl.")]
story_ids = torch.tensor([fox_and_owl])  # (B, T), with B = 1
one_hots = F.one_hot(story_ids, tokenizer.vocab_size).double()  # (B, T, V)
assert torch.equal(
    model.token_embedding(story_ids), one_hots @ model.token_embedding.weight
)
print(
    "story ids:",
    tuple(story_ids.shape),
    "vectors:",
    tuple(model.token_embedding(story_ids).shape),
)

# %% [markdown]
# So an embedding is a linear layer whose input is one-hot. Nobody carries that product out, because nearly all of it is
# times zero:

# %%
gpt2 = GPTConfig()  # the defaults are GPT-2's smallest model
print(f"multiplications for one token of GPT-2: {gpt2.vocab_size * gpt2.d_model:,}")
print(f"numbers to copy instead:                {gpt2.d_model}")

# %% [markdown]
# ### Which rows learn
#
# The product matters for another reason: it tells how the table learns. Training asks of every parameter how the loss
# would change if it grew a little. That is its **gradient**; lesson 9 traces one by hand. Suppose the rest of the model
# has reported the gradient of each of the six vectors that it read:

# %%
upstream = torch.tensor(
    [[1, 0, 2], [0, 1, 0], [1, 1, 1], [2, 0, -1], [0, 3, 0], [1, 0, 0]],
    dtype=torch.float64,
)
for word, gradient in zip(toy_words, upstream.tolist(), strict=True):
    print(f"{word:<8}{gradient}")

# %% [markdown]
# Row *the* of the table was read twice. If it grows, both vectors grow, so both effects add: [1, 0, 2] + [2, 0, −1] =
# [3, 0, 1]. Row *slept* was not read. Nothing depends on it, so its gradient is zero. What does torch say? It can follow
# a computation and work out the gradients by itself: `requires_grad_` asks it to, `backward` does it (lesson 9).

# %%
parameter = E.clone().requires_grad_()
(parameter[toy_ids] * upstream).sum().backward()  # a loss with exactly these gradients
assert parameter.grad is not None
for word, row_gradient in zip(vocabulary, parameter.grad.tolist(), strict=True):
    print(f"{word:<8}{row_gradient}")
# (V, T) @ (T, d_model): the product, backwards
assert torch.equal(parameter.grad, hot.T @ upstream)

# %% [markdown]
# ### Exercise 2 · the gradient of a lookup (★★☆, 10 min)
#
# Write what torch has computed here, without one-hot vectors: from the ids and the gradients of the vectors, the
# gradient of the whole table. Beware of tokens that come twice.


# %% tags=["exercise"]
def embedding_gradient(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    """From ids (T,) and the gradients (T, d_model) of their vectors: (V, d_model)."""
    ### BEGIN SOLUTION
    gradient = torch.zeros(vocab_size, upstream.size(1), dtype=upstream.dtype)
    for i, vector in zip(ids.tolist(), upstream, strict=True):
        gradient[i] += vector
    return gradient
    ### END SOLUTION


# %%
check.embedding_gradient(embedding_gradient)

# %% [markdown]
# So a lookup teaches only the rows it reads. Is that so in a GPT? Count the rows with a gradient after one batch of
# four stories. The option `tie_embeddings` decides whether the table has a second job.

# %%
V = tokenizer.vocab_size
learning = {}
for tied in (False, True):
    config = GPTConfig(
        vocab_size=V, context_length=192, n_layers=1, n_heads=2, d_model=32,
        tie_embeddings=tied,
    )  # fmt: skip
    torch.manual_seed(0)
    small = GPT(config)
    next_token_loss(small(story_inputs), story_targets).backward()
    assert small.token_embedding.weight.grad is not None
    learning[tied] = int((small.token_embedding.weight.grad != 0).any(dim=1).sum())
n_different = len(story_inputs.unique())
print(f"different tokens in the batch:  {n_different} of {V}")
print(f"rows with a gradient, not tied: {learning[False]}")
print(f"rows with a gradient, tied:     {learning[True]}")
assert learning == {False: n_different, True: V}

# %% [markdown]
# In GPT-2, and in our storyteller, the same matrix is used again at the very end, to score every token as the next one
# (lesson 8; Press and Wolf 2017). There each wrong token is pushed down a little at every position. So with **weight tying**
# all rows learn, even those of tokens that never occur. Keep that in mind: at the end of this lesson it
# explains something odd.

# %% [markdown]
# ## What attention cannot know
#
# Tokens are vectors now. Next they meet each other, in **attention**. Lessons 4 and 5 build it. Here we need one
# sentence: the output for a token is a weighted mean of the tokens' vectors, and the weights come from comparing
# vectors with each other.
#
# Nothing in that sentence mentions a position. Take the package's attention and two sentences that differ in who thanked
# whom:


# %%
def ids_in(sentence: str) -> Tensor:
    """The ids of a sentence of the toy vocabulary, (T,)."""
    return torch.tensor([id_of[word] for word in sentence.split()])


sentences = ["the fox thanked the owl .", "the owl thanked the fox ."]


def show_fox(positions: Tensor | None = None) -> None:
    """What attention gives for the fox in both sentences, with or without positions."""
    for sentence in sentences:
        x = E[ids_in(sentence)]  # (T, d_model)
        if positions is not None:
            x = x + positions
        outputs, _ = scaled_dot_product_attention(x, x, x)  # (T, d_model)
        fox = sentence.split().index("fox")
        shown = [f"{number:.4f}" for number in outputs[fox].tolist()]
        print(f"{sentence} | fox at position {fox}:", shown)


show_fox()

# %% [markdown]
# The fox that thanked and the fox that was thanked come out the same, to the last digit shown. In general: shuffle the
# tokens, and the outputs are shuffled in the same way, nothing else. Mathematicians say that attention is permutation
# equivariant.

# %%
generator = torch.Generator().manual_seed(0)
many = torch.randn(100, 16, generator=generator, dtype=torch.float64)  # (T, d_model)
order = torch.randperm(100, generator=generator)
output, _ = scaled_dot_product_attention(many, many, many)
shuffled, _ = scaled_dot_product_attention(many[order], many[order], many[order])
difference = (shuffled - output[order]).abs().max().item()
print(f"100 tokens, shuffled; largest difference of the outputs: {difference:.10f}")
assert difference < 1e-12

# %% [markdown]
# A GPT's attention is **causal**: a token sees itself and those before it. Then the last token is the one to ask, for
# it sees everything and must guess what comes next. For it, the order of the others is lost:

# %%
torch.manual_seed(0)
toy_config = GPTConfig(vocab_size=6, context_length=8, n_layers=1, n_heads=1, d_model=3)
attention = CausalSelfAttention(toy_config).double()
with torch.no_grad():
    ends = [attention(E[ids_in(said)][None])[0, -1] for said in sentences]  # (d_model,)
for said, end in zip(sentences, ends, strict=True):
    print(f"{said} | output for «.»: {[round(x, 4) for x in end.tolist()]}")
assert torch.allclose(ends[0], ends[1], rtol=0, atol=1e-12)

# %% [markdown]
# <div class="alert alert-warning">
# <b>You may have read</b> that a Transformer without positions sees a bag of words, so that a GPT without them could
# know nothing of order. For one layer of attention that is true, and you have run it. For a GPT it is not. The mask
# lets the second token see two tokens and the fifth see five, so after the first block each vector depends on what came
# <i>before</i> it. The second block can read that.
# </div>


# %%
def last_logits(gpt: GPT, sentence: str) -> Tensor:
    """The scores for the token after the sentence, (V,)."""
    with torch.inference_mode():
        return gpt(ids_in(sentence)[None])[0, -1]


def tells_apart(gpt: GPT) -> bool:
    """Whether the GPT says different things after our two sentences."""
    one, other = (last_logits(gpt, sentence) for sentence in sentences)
    return not torch.allclose(one, other, rtol=0, atol=1e-12)


print("tells the two sentences apart:  with positions  without")
for n_layers in (1, 2):
    config = GPTConfig(
        vocab_size=6, context_length=8, n_layers=n_layers, n_heads=1, d_model=16
    )
    torch.manual_seed(0)
    gpt = GPT(config).double()
    with_positions = tells_apart(gpt)
    nn.init.zeros_(gpt.position_embedding.weight)
    without = tells_apart(gpt)
    print(f"{n_layers} block(s) {with_positions!s:>35} {without!s:>8}")
    assert with_positions and without == (n_layers == 2)

# %% [markdown]
# Haviv et al. (2022) trained GPT-like models without any positions, and they came out nearly as good as ordinary ones.
# Still, to count positions through the mask is a detour, and one block cannot do it at all. GPT-2 tells the model
# outright.

# %% [markdown]
# ## A vector for every position
#
# The remedy has the form of the last one: a second table with a row for each *position*, the **position embedding**. The
# model reads the sum
#
# $$x_t = E[\text{id}_t] + P[t], \qquad t = 0, \dots, T - 1$$
#
# Gehring et al. (2017) added such learned rows in a convolutional network, and GPT (Radford et al. 2018) and GPT-2 do
# it in a Transformer. With a small table, both *the* of our sentence become different, and so do the two foxes:

# %%
for_positions = torch.Generator().manual_seed(1)
P = torch.randn(8, 3, generator=for_positions, dtype=torch.float64)  # (n, d_model)
show_fox(P[:6])

# %% [markdown]
# And this is all that a GPT does with its tokens before the first block. The rest of the model follows here only to
# prove it:


# %%
def logits_at(ids: Tensor, positions: Tensor) -> Tensor:
    """The storyteller at chosen positions: ids (B, T), positions (T,) to (B, T, V)."""
    # The same rows of P for each row of the batch.
    x = model.token_embedding(ids) + model.position_embedding(positions)
    for block in model.blocks:
        x = block(x)
    return model.output_head(model.final_norm(x))


with torch.inference_mode():
    own = logits_at(story_ids, torch.arange(story_ids.size(1)))
    difference = (own - model(story_ids)).abs().max().item()
print(f"largest difference from the model's own logits: {difference:.10f}")
assert difference < 1e-10

# %% [markdown]
# ### Why add? (optional)
#
# <div class="alert alert-warning">
# <b>You may have read</b> that adding the position to the embedding blurs the word, because from a sum nobody can tell
# the parts. For two numbers that is right: 7 may be 3 + 4 or 2 + 5. For two vectors from tables it depends on the
# width. In many dimensions random vectors are nearly at right angles, and a sum lies nearer to its own two parts than to all
# others.
# </div>
#
# Take 1,000 random words and 200 random positions, add a word to a position, and ask which row of each table is nearest to
# the sum.

# %%
widths = [2, 4, 8, 16, 32, 64, 128]
for_tables = torch.Generator().manual_seed(2)


def random_rows(n: int, width: int) -> Tensor:
    """A table of n random rows, (n, width)."""
    return torch.randn(n, width, generator=for_tables, dtype=torch.float64)


def read_off(words: Tensor, spots: Tensor) -> tuple[float, float]:
    """How often the nearest row of each table is the one that was added, of 1,000."""
    w, p = (
        torch.randint(len(rows), (1000,), generator=for_tables)
        for rows in (words, spots)
    )
    sums = words[w] + spots[p]  # (1000, width)
    nearest_word = torch.cdist(sums, words).argmin(dim=1)  # cdist: all distances
    nearest_spot = torch.cdist(sums, spots).argmin(dim=1)
    hits = torch.stack([nearest_word == w, nearest_spot == p])  # (2, 1000)
    of_word, of_spot = hits.double().mean(dim=1).tolist()
    return of_word, of_spot


random_shares = [read_off(random_rows(1000, n), random_rows(200, n)) for n in widths]
of_words, of_positions = (
    [round(share, 2) for share in side] for side in zip(*random_shares, strict=True)
)
assert max(random_shares[0]) < 0.1 and min(random_shares[-2]) > 0.98
plots.curves(
    {
        "word read off the sum": (widths, of_words),
        "position read off the sum": (widths, of_positions),
    },
    "d_model",
    "share right",
)

# %% [markdown]
# In two dimensions the claim holds. At a width of 64, word and position can be read off nearly every sum. GPT-2's smallest
# model has a width of 768.
#
# Trained tables are not random. Read the storyteller's sums in the same crude way, for the tokens and positions that
# stories use:

# %%
word_right, position_right = read_off(
    model.token_embedding.weight[occurring].detach(),
    model.position_embedding.weight[:shortest].detach(),
)
print(f"word read off the sum: {word_right:.0%}, position: {position_right:.0%}")
assert word_right > 0.8 and position_right > 0.8

# %% [markdown]
# The alternative is to write both vectors side by side and let a matrix $W$, $(d_{model}, 2 d_{model})$, bring them back to
# $d_{model}$ numbers. The left half $A$ of this matrix meets the word's vector $e$, the right half $B$ the position's vector
# $p$, so its result is $eA^\top + pB^\top$: again a row of one table plus a row of another. Adding learns these tables directly.

# %%
W = random_rows(3, 6)  # (d_model, 2 d_model)
A, B = W[:, :3], W[:, 3:]  # (d_model, d_model) each
e, p = E[1], P[1]  # (d_model,) each
side_by_side = torch.cat([e, p]) @ W.T  # (2 d_model,) to (d_model,)
difference = (side_by_side - ((E @ A.T)[1] + (P @ B.T)[1])).abs().max().item()
print(f"difference of the two ways: {difference:.10f}")
assert difference < 1e-12

# %% [markdown]
# ## Positions from a formula
#
# A learned row is one way. The first Transformer (Vaswani et al. 2017, section 3.5) computed the vector of a position
# instead, from waves:
#
# $$PE_{(pos,\,2i)} = \sin\left(pos / 10000^{2i/d_{model}}\right) \qquad PE_{(pos,\,2i+1)} = \cos\left(pos / 10000^{2i/d_{model}}\right)$$
#
# Start with $d_{model} = 4$. There are two pairs of columns. For the first, *i* = 0, the divisor is $10000^0 = 1$ and
# the angle is *pos* itself. For the second, *i* = 1, it is $10000^{2/4} = 100$, and the angle is *pos*/100. Compute the
# row of position 1 with a calculator (in radians) before you look: sin 1, cos 1, sin 0.01, cos 0.01.


# %%
def sinusoid(position: int, d_model: int) -> list[float]:
    """The vector of a position: sine and cosine of an angle for each two columns."""
    vector: list[float] = []
    for i in range(d_model // 2):
        angle = position / 10000 ** (2 * i / d_model)
        vector += [math.sin(angle), math.cos(angle)]
    return vector


for position in range(4):
    print(
        f"position {position}:",
        "  ".join(f"{number:7.4f}" for number in sinusoid(position, 4)),
    )

# %% [markdown]
# A picture helps. Take the sine to the right and the cosine upwards, and each pair of columns is the hand of a
# *clock*. At position 0 all hands point up. With each position a hand turns on by its own speed: the first clock is fast,
# the last one hardly moves. To read the position off many such clocks is like reading the time from the second, minute and
# hour hands.
#
# ![Four rows of clocks for the positions 0, 1, 2, 3, 10 and 100: in the top row the hand turns by one radian with each position, in each row below ten times more slowly](../figures/position_clocks.svg)
#
# The whole table at once in torch:


# %%
def sinusoidal_positions(n: int, d_model: int) -> Tensor:
    """The vectors of the first n positions, (n, d_model)."""
    positions = torch.arange(n, dtype=torch.float64)[:, None]  # (n, 1)
    pairs = torch.arange(0, d_model, 2, dtype=torch.float64)  # (d_model / 2,): 2i
    speeds = 10000 ** (-pairs / d_model)  # (d_model / 2,)
    angles = positions * speeds  # (n, d_model / 2)
    waves = torch.stack([angles.sin(), angles.cos()], dim=-1)  # (n, d_model / 2, 2)
    return waves.flatten(1)  # sin, cos, sin, cos, …


by_hand = torch.tensor(
    [sinusoid(position, 64) for position in range(192)], dtype=torch.float64
)
assert torch.allclose(sinusoidal_positions(192, 64), by_hand, rtol=0, atol=1e-12)

# %% [markdown]
# ### Only the distance counts
#
# Attention compares vectors by their **dot product**: multiply number by number and add up. Multiply the vectors of two
# positions. For one pair of columns, sin *a* sin *b* + cos *a* cos *b* = cos(*a* − *b*): the positions themselves drop out,
# and their distance remains. For positions 1 and 2 in four columns: cos 1 + cos 0.01 = 0.5403 + 1.0000 (rounded) = 1.5403.
# For positions 2 and 3 it must be the same.

# %%
four = sinusoidal_positions(200, 4)
for i, j in ((1, 2), (2, 3), (100, 101), (1, 3), (100, 102)):
    print(f"positions {i} and {j}, {j - i} apart: dot product {four[i] @ four[j]:.4f}")

# %% [markdown]
# For 20 positions and 16 columns, each dot product as a shade. If only the distance counts, every diagonal has one colour.

# %%
sixteen = sinusoidal_positions(20, 16)
dots = sixteen @ sixteen.T / 8  # (20, 20); with itself 8, the number of pairs
for distance in range(20):
    diagonal = dots.diagonal(distance)
    assert torch.allclose(diagonal, diagonal[:1], rtol=0, atol=1e-12)
for k in (0, 1, 2, 3, 6, 9, 19):
    print(f"position 0 with position {k:2}: {dots[0, k]:.2f}")
names = [str(position) for position in range(20)]
plots.heatmap(names, names, dots.tolist(), "position", "position", numbers=False)

# %% [markdown]
# On the whole the fit falls with the distance, and nobody had to learn that. But it falls in waves. There is a second dark band:
# position 6 fits position 0 better than position 2 does. Can you say why, before you read on?
#
# The fast hand goes once around in 2π ≈ 6.3 positions. After 6 of them it is nearly back where it was, and only the slower
# hands tell the two positions apart. At 19, after three rounds, it is back again. With more columns there are more hands, and the
# waves get weaker: the curve below, in «Learned or computed?», has 144 columns and small waves.
#
# ### Turning what is compared
#
# Many newer models add no position at all, Llama (Touvron et al. 2023) among them. They turn the vectors that attention
# compares, its queries and keys (lesson 4), by such angles: **rotary positions**, or RoPE (Su et al. 2021). Their dot
# product still depends on the two vectors, and on their positions only through the distance. In `minigpt` it is an option,
# `positions="rope"`, and the table is gone. [Lesson 20](20_modern_gpt.ipynb) builds it in.

# %%
for_vectors = torch.Generator().manual_seed(0)
a, b = torch.randn(2, 64, generator=for_vectors, dtype=torch.float64)  # any two
for i, j in ((3, 1), (103, 101), (3, 2)):
    turned_a = rotate(a, rotation(torch.tensor(i), 64))
    turned_b = rotate(b, rotation(torch.tensor(j), 64))
    print(f"at positions {i} and {j}, {i - j} apart: {turned_a @ turned_b:.2f}")
rope_config = GPTConfig(
    vocab_size=50,
    context_length=192,
    n_layers=1,
    n_heads=2,
    d_model=32,
    positions="rope",
)
rope_names = [name for name, _ in GPT(rope_config).named_parameters()]
assert not any("position" in name for name in rope_names)

# %% [markdown]
# The sinusoids have outlived the sum.
#
# ### Learned or computed?
#
# Vaswani et al. tried both kinds and got nearly the same results. GPT and GPT-2 learn theirs. Did our storyteller learn
# anything like the clocks? Take the rows of its position table that every story reached, and average the **cosine**
# over all pairs of the same distance. The cosine is the dot product of two vectors divided by both their lengths: 1 for
# the same direction, 0 for a right angle, −1 for opposite directions.


# %%
def cosines(vectors: Tensor) -> Tensor:
    """The cosine of every row with every row: (n, d) to (n, n)."""
    directions = vectors / vectors.norm(dim=1, keepdim=True)
    return directions @ directions.T


d_model = model.config.d_model
learned = model.position_embedding.weight.detach()  # (context_length, d_model)
distances = list(range(shortest - 15))
by_distance = {
    "sinusoids": cosines(sinusoidal_positions(shortest, d_model)),
    "learned by the storyteller": cosines(learned[:shortest]),
}
mean = {
    name: [round(matrix.diagonal(k).mean().item(), 2) for k in distances]
    for name, matrix in by_distance.items()
}
clocks, curve = mean.values()
for k in (1, 10, 30, distances[-1]):
    print(f"distance {k:2}: sinusoids {clocks[k]:5.2f}, learned {curve[k]:5.2f}")
assert curve[1] > curve[10] > 0 > curve[-1] and min(clocks) > 0.4
plots.curves(
    {name: (distances, values) for name, values in mean.items()},
    "distance between two positions (tokens)",
    "mean cosine",
    markers=False,
)

# %% [markdown]
# In one thing it is like the clocks: neighbours resemble each other, and the more so the nearer they are. Nobody told the
# table that position 7 lies beside position 8. It began as random rows, whose cosines are near 0, and found it out in
# training: what helps at one position mostly helps at the next. In the rest it is not. The clocks never come down to 0,
# because their slow hands hardly move in a story. The learned rows do, and those at far ends even point a little against each
# other. The model had use for telling the beginning of a story from its end.
#
# A learned table pays for all that with data. A formula has its part for nothing.

# %% [markdown]
# ## To move on is to turn (optional)
#
# There is more in the formula of the clocks. To get from position *pos* to position *pos* + *k*, each hand turns by *k* times its speed,
# wherever it stands. A turn by the angle *a* is
#
# $$\sin(\theta + a) = \sin\theta\,\cos a + \cos\theta\,\sin a \qquad \cos(\theta + a) = \cos\theta\,\cos a - \sin\theta\,\sin a$$
#
# It multiplies by numbers that depend on *k* alone and adds up. So one fixed matrix moves every position on by *k*.
# Vaswani et al. hoped that this would make it easy for attention to look a fixed number of positions back.
#
# ### Exercise 3 · move on without knowing where you are (★★★, 15 min)
#
# You get the vector of some position, but not the position. Return the vector of the position `k` further on (`k` may be
# negative). The speed of pair *i* is $1/10000^{2i/d_{model}}$ radians per position.


# %% tags=["exercise"]
def moved_on(vector: list[float], k: int) -> list[float]:
    """The sinusoid of position pos + k, from the sinusoid of position pos."""
    ### BEGIN SOLUTION
    d_model = len(vector)
    moved: list[float] = []
    for i in range(d_model // 2):
        sine, cosine = vector[2 * i], vector[2 * i + 1]
        angle = k / 10000 ** (2 * i / d_model)
        moved.append(sine * math.cos(angle) + cosine * math.sin(angle))
        moved.append(cosine * math.cos(angle) - sine * math.sin(angle))
    return moved
    ### END SOLUTION


# %%
check.moved_on(moved_on)

# %% [markdown]
# As a matrix it has a block of 2 × 2 for each clock and zeros elsewhere. One matrix for all positions:


# %%
def turn(k: int, d_model: int) -> Tensor:
    """(d_model, d_model): W with which x @ W.T moves every position on by k."""
    speeds = 10000 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    blocks = [
        torch.tensor([[a.cos(), a.sin()], [-a.sin(), a.cos()]], dtype=torch.float64)
        for a in k * speeds
    ]
    return torch.block_diag(*blocks)


print(turn(1, 4))
wide = sinusoidal_positions(200, 64)
moved_on_by_7 = wide[:-7] @ turn(7, 64).T  # all 193 positions at once
assert torch.allclose(moved_on_by_7, wide[7:], rtol=0, atol=1e-12)

# %% [markdown]
# ## Beyond the last row
#
# The table has a row for each position up to the context length. What if a text is longer?

# %%
context_length = model.config.context_length
too_long = torch.full((1, context_length + 1), START)
try:
    model(too_long)
except InputError as error:
    print(textwrap.fill(str(error), 88))

# %% [markdown]
# There is no row, so there is no answer, and the package says so. But a row alone is not enough. Look at how long each
# row is. A fresh row has $d_{model}$ random numbers of standard deviation 0.02, so its length is about
# $0.02\sqrt{d_{model}}$.

# %%
norms = learned.norm(dim=1)  # (context_length,)
fresh = 0.02 * math.sqrt(d_model)
last_five = [round(norm, 2) for norm in norms[-5:].tolist()]
print(f"fresh rows: {fresh:.2f}, the last five rows: {last_five}")
assert norms[:shortest].min() > 3 * fresh and norms[-5:].max() < 2 * fresh
for position in (11, 12, 13):
    tokens_there = {story[position] for story in encoded_stories}
    length = norms[position]
    print(f"row {position}: length {length:.1f}, {len(tokens_there)} different tokens")
numbers = list(range(context_length))
plots.curves(
    {
        "rows of the position table": (numbers, [round(n, 2) for n in norms.tolist()]),
        "fresh rows, on average": (numbers, [round(fresh, 2)] * context_length),
    },
    "position",
    "length of the row",
    markers=False,
)

# %% [markdown]
# The line falls where the stories end. No training story reached the last positions, so their rows were never read, got no
# gradient, and are the random rows they were on the first day. (The position table has no second job: it is not tied to
# anything.) The model accepts text there and has no idea what these positions mean.
#
# And the two spikes near the beginning, rows 11 and 13? In all our stories only three different tokens stand there (*named*,
# *was* or *lived* at 11), at 12 there are 25. Where the position alone tells so much, a long row can pay. That fits, and we have
# not tested it.
#
# Worse, even a row that was trained knows only what happened at its own position. Leave a gap after START: all words
# in the same order, at the same distances, *k* positions later.

# %%
test_inputs, test_targets = next(story_data.batches("test", batch_size=10))
at = torch.arange(test_inputs.size(1))  # (T,)
losses = []
for k in (0, 1, 5, 20):
    later = (at + k * (at > 0)).clamp(max=context_length - 1)  # START stays at 0
    with torch.inference_mode():
        logits = logits_at(test_inputs, later)  # (B, T, V)
    losses.append(next_token_loss(logits, test_targets).item())
    print(f"stories {k:2} positions later: loss {losses[-1]:.2f}")
assert losses[0] + 0.1 < min(losses[1:])

# %% [markdown]
# One position is enough. No story of the training set ever began a position later, so nothing taught the model that it makes
# no difference. Our stories all begin at position 1. The rows of `TextData` begin anywhere in a text, and so anything may
# stand at any position: a reason to cut long texts like that.
#
# And the clocks? They go on for ever: position 5,000 has its vector like any other. Vaswani et al. chose them because they
# *may* let a model go beyond the lengths it was trained on. But a slow hand that moved through a small angle in all of
# training then points where no training example ever saw it:

# %%
slow = sinusoid(191, 64)[-2], sinusoid(5000, 64)[-2]
print(f"slowest sine of 64 columns: from 0 to {slow[0]:.4f} in the positions 0 to 191,")
print(f"and {slow[1]:.4f} at position 5,000")

# %% [markdown]
# A vector that exists is not a vector that means something. Press et al. (2022) measured it: models with sinusoids get
# worse soon after the length they were trained on.

# %% [markdown]
# ## What training made of the words
#
# Back to red and blue. What has the token table become? Words are compared by their cosine (Mikolov et al. 2013). By
# hand for [3, 4] and [4, 3]: the dot product is 12 + 12 = 24, both lengths are 5, and 24/25 = 0.96. For [3, 4] and [6,
# 8], twice as long in the same direction, it is 50/(5 · 10) = 1.

# %%
pair = cosines(torch.tensor([[3.0, 4.0], [4.0, 3.0], [6.0, 8.0]], dtype=torch.float64))
print(f"[3, 4] with [4, 3]: {pair[0, 1]:.4f}, with [6, 8]: {pair[0, 2]:.4f}")

# %% [markdown]
# ### Exercise 4 · nearest neighbours (★★☆, 10 min)
#
# Find the `k` rows of a table that have the largest cosine with one of its rows, the nearest first. The row itself does
# not count.


# %% tags=["exercise"]
def nearest(table: Tensor, row: int, k: int) -> list[int]:
    """The k rows nearest to a row of the table (V, d_model), by cosine."""
    ### BEGIN SOLUTION
    directions = table / table.norm(dim=1, keepdim=True)
    cosine = directions @ directions[row]  # (V,)
    cosine[row] = -math.inf
    return cosine.topk(k).indices.tolist()
    ### END SOLUTION


# %%
check.nearest(nearest)

# %% [markdown]
# The story world draws its words from tables: animals, colours, and so on. (*Others* are the things that belong to the
# helpers.) The model never saw these tables, only stories. For the first word of each, the three nearest of all tokens:

# %%
classes: dict[str, list[int]] = {}
for name, entries in stories.world().tables.items():
    encoded = [tokenizer.encode(f" {entry['']}") for entry in entries]
    classes[name] = [word[0] for word in encoded if len(word) == 1]  # one token

words_table = model.token_embedding.weight.detach()  # (V, d_model)
similar = cosines(words_table)
similar.fill_diagonal_(-1.0)  # a token is not its own neighbour
for name, members in classes.items():
    best = similar[members[0]].topk(3)
    found = [
        f"{tokenizer.decode([i])} {value:.2f}"
        for i, value in zip(best.indices.tolist(), best.values, strict=True)
    ]
    print(f"{name:<14}{tokenizer.decode(members[:1]):<12}→{','.join(found)}")

# %% [markdown]
# Most lines look splendid. But a few examples prove nothing; an author picks them. So count: of all words of a class,
# how many have their nearest neighbour in the same class? And how many in a fresh table, before any training?


# %%
def share_at_home(similar: Tensor, members: list[int]) -> float:
    """The share of a class's words whose nearest neighbour is of the same class."""
    neighbours = similar[members].argmax(dim=1).tolist()
    return sum(neighbour in members for neighbour in neighbours) / len(members)


torch.manual_seed(0)
untrained = cosines(GPT(model.config).token_embedding.weight.detach().double())
untrained.fill_diagonal_(-1.0)
print(f"{'class':<14} words  untrained  trained")
at_home = {
    name: (share_at_home(untrained, m), share_at_home(similar, m))
    for name, m in classes.items()
}
for name, (before, after) in at_home.items():
    print(f"{name:<14} {len(classes[name]):5} {before:10.0%} {after:8.0%}")

everyone = sum(len(members) for members in classes.values())
total = [
    sum(len(classes[name]) * share[i] for name, share in at_home.items()) / everyone
    for i in range(2)
]
print(f"{'all':<14} {everyone:5} {total[0]:10.0%} {total[1]:8.0%}")
lowest = sorted(at_home, key=lambda name: at_home[name][1])[:2]
print("lowest shares after training:", ", ".join(lowest))
assert total[0] < 0.1 and total[1] > 0.8
assert sum(after > 0.9 for _, after in at_home.values()) >= 12

# %% [markdown]
# An untrained table knows nothing. (Its 17 % are one pair of colours that chance has put side by side.) After training, in most classes nearly every word has its nearest neighbour in its
# own class, among all tokens of the vocabulary. The model was never told of classes. All it did was to guess next
# tokens, and words that can stand in the same position get similar gradients. Keep the classes with the lowest shares
# in mind; we come back to them.
#
# <div class="alert alert-warning">
# <b>You may have read</b> that embeddings capture meaning, so that near vectors mean similar things. They capture
# <i>use</i>. Words are near when one could stand for the other in the text, and that includes opposites: nothing fits
# better where <i>sunny</i> stands than <i>rainy</i>. Nguyen et al. (2016) describe the same in word vectors made from
# real text.
# </div>

# %%
weather = {
    word: tokenizer.encode(f" {word}")[0]
    for word in ("sunny", "rainy", "stormy", "warm", "frosty")
}
for one, other in (("sunny", "rainy"), ("sunny", "stormy"), ("warm", "frosty")):
    print(f"{one} and {other}: cosine {similar[weather[one], weather[other]]:.2f}")
    assert similar[weather[one], weather[other]] > 0.5

# %% [markdown]
# ### A surprise
#
# Sunny and rainy are not only near. Look at how near, and compare the classes: mean cosine between words of one class,
# beside how often such a word comes in a story that has it.


# %%
def mentions(members: list[int]) -> float:
    """How often a word of the class stands in a story that has it, on average."""
    wanted = set(members)
    in_stories = [Counter(i for i in story if i in wanted) for story in encoded_stories]
    counts = [count for story in in_stories for count in story.values()]
    return sum(counts) / len(counts)


def mean_cosine(vectors: Tensor) -> float:
    """The mean cosine between two different rows of (n, d)."""
    n = len(vectors)
    with_itself = n  # each row has the cosine 1 with itself
    return (cosines(vectors).sum().item() - with_itself) / (n * (n - 1))


how_often = {name: mentions(members) for name, members in classes.items()}
alike = {name: mean_cosine(words_table[members]) for name, members in classes.items()}
print(f"{'class':<14} in a story  mean cosine")
for name in sorted(classes, key=lambda name: how_often[name]):
    print(f"{name:<14} {how_often[name]:10.1f} {alike[name]:12.2f}")


def ranks(values: list[float]) -> Tensor:
    """The rank of each value; equal values share theirs."""
    x = torch.tensor(values, dtype=torch.float64)
    below, equal = (x[:, None] > x).double(), (x[:, None] == x).double()  # (n, n)
    return below.sum(dim=1) + equal.sum(dim=1) / 2


both = torch.stack([ranks(list(how_often.values())), ranks(list(alike.values()))])
rank_correlation = torch.corrcoef(both)[0, 1].item()
print(f"rank correlation: {rank_correlation:.2f}")
assert rank_correlation < -0.7
assert min(alike[name] for name in ("weathers", "times", "bad_feelings")) > 0.9
assert min(alike, key=lambda name: alike[name]) in ("heroes", "helpers")
assert how_often["colours"] > 2.5 and abs(alike["colours"] - alike["treats"]) < 0.05

# %% [markdown]
# The more often a word comes back, the further apart its class is kept, on the whole: the rank correlation over the 16 classes is
# −0.81 (−1 would be a perfect order, 0 none). Weathers, days and feelings lie so close that each class is almost one vector.
# Names are furthest apart, so far that a name may lie nearer to some word of another class than to the next name.
#
# A reason is at hand. If it is sunny or stormy, nothing later in a story depends on it, so the model loses nothing by mixing
# them up. But who mixes up two names cannot say the right one again. The table keeps the differences that help to guess next
# tokens and lets the others go.
#
# Look for what does not fit before you believe it. Colours come back three times in a story, and the model must know which it
# was; still they lie as close together as treats, which are said once. Sixteen classes of a small world suggest a reading and
# do not prove it.

# %% [markdown]
# ### And an oddity (optional)
#
# Most tokens of our vocabulary never occur in a story: single bytes, and halves of words that were glued together
# later. Nobody ever looked them up. What do they look like?

# %%
known = set(occurring)
never = [i for i in range(V) if i not in known]
print(f"{len(never)} of {V} tokens do not occur in 1,000 stories")
unheard, heard = mean_cosine(words_table[never]), mean_cosine(words_table[occurring])
print(f"mean cosine between two of them: {unheard:.2f}")
print(f"between two that occur:          {heard:.2f}")
assert unheard > 0.9 > heard

# %% [markdown]
# They are nearly one and the same vector. Nothing about them is similar but that they never come. Remember the tied
# table: as output weights, they are all pushed down at every position. If that is the cause, they must fall together in
# every tied GPT and stay as they are in one that is not tied. Train two small ones for a few steps:

# %%
for tying in (False, True):
    tiny_config = GPTConfig(
        vocab_size=V, context_length=192, n_layers=1, n_heads=2, d_model=32,
        tie_embeddings=tying,
    )  # fmt: skip
    torch.manual_seed(0)
    tiny = GPT(tiny_config).double()
    optimizer = torch.optim.AdamW(tiny.parameters(), lr=3e-3, weight_decay=0.0)
    falling = []
    for step in range(31):
        if step % 10 == 0:
            falling.append(mean_cosine(tiny.token_embedding.weight.detach()[never]))
        batch_inputs, batch_targets = story_data.batch_at(step, batch_size=4)
        next_token_loss(tiny(batch_inputs), batch_targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    shown = [round(c, 2) + 0.0 for c in falling]
    print(f"tied: {tying!s:<5}  mean cosine after 0, 10, 20 and 30 steps: {shown}")
    assert falling[-1] > 0.8 if tying else math.isclose(falling[-1], falling[0])

# %% [markdown]
# So it is. Land and Bartolo (2024) find neglected tokens in large published models by such marks. A high cosine has a
# reason. It need not be meaning.

# %% [markdown]
# ## What to remember
#
# 1. Targets are the inputs one position later; a row of *T* tokens is *T* questions and takes *T* + 1 tokens of text.
# 2. To look up a row is to multiply a one-hot vector with the table. Its gradient adds up over the positions of a token and leaves unread rows alone, unless the table is tied.
# 3. Attention by itself does not know order. The causal mask gives a stack of blocks a roundabout way to it; GPT-2 adds a learned vector for every position.
# 4. Sinusoids are clock hands: their dot product depends on the distance alone and falls with it, in waves. A position that training never reached means nothing to either kind.
# 5. Trained embeddings are near where words are used alike. That may be meaning, it may be opposites, and it may be tokens that never occur.

# %% [markdown]
# ## Primary sources
#
# - Bengio et al. 2003, A Neural Probabilistic Language Model, the table of word vectors (https://www.jmlr.org/papers/v3/bengio03a.html)
# - Mikolov et al. 2013, Efficient Estimation of Word Representations in Vector Space, neighbours by cosine (https://arxiv.org/abs/1301.3781)
# - Gehring et al. 2017, Convolutional Sequence to Sequence Learning, section 3.1, learned positions (https://arxiv.org/abs/1705.03122)
# - Vaswani et al. 2017, Attention Is All You Need, section 3.5, sinusoids (https://arxiv.org/abs/1706.03762)
# - Radford et al. 2018, Improving Language Understanding by Generative Pre-Training, section 4.1, learned instead of sinusoidal (https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf)
# - Radford et al. 2019, Language Models are Unsupervised Multitask Learners (https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)
# - Press and Wolf 2017, Using the Output Embedding to Improve Language Models, tied tables (https://arxiv.org/abs/1608.05859)
# - Haviv et al. 2022, Transformer Language Models without Positional Encodings Still Learn Positional Information (https://arxiv.org/abs/2203.16634)
# - Press et al. 2022, Train Short, Test Long, beyond the trained length (https://arxiv.org/abs/2108.12409)
# - Su et al. 2021, RoFormer, rotary positions (https://arxiv.org/abs/2104.09864)
# - Touvron et al. 2023, LLaMA: Open and Efficient Foundation Language Models, which has them (https://arxiv.org/abs/2302.13971)
# - Nguyen et al. 2016, Integrating Distributional Lexical Contrast into Word Embeddings, opposites (https://arxiv.org/abs/1605.07766)
# - Land and Bartolo 2024, Fishing for Magikarp, neglected tokens (https://arxiv.org/abs/2405.05417)
# - Salmon et al. 2011, Parallel Random Numbers: As Easy as 1, 2, 3, the generator of `batch_at` (https://doi.org/10.1145/2063384.2063405)

# %% [markdown]
# **Next** · [Lesson 4 · Attention by hand](04_attention_by_hand.ipynb): how the vectors compare and mix.
