# %% [markdown]
# # Lesson 7 · The Transformer block
#
# You have attention and you have the feed-forward network. Stack them sixteen times and you get a model that learns nothing.
# This lesson finds out why. Then it adds the three small things that turn the pile into a Transformer block: an addition, a
# normalisation, and a little noise.
#
# **You will be able to**
# - say what keeps a deep plain stack from learning, and show it with gradients and signals,
# - read a GPT as a sum: what every sub-layer wrote into the residual stream,
# - compute LayerNorm by hand, and tell it from RMSNorm and from two versions that are not LayerNorm,
# - say what changes when the norm moves from behind the addition to before it, and measure it by training both,
# - assemble the block of GPT-2, equal to the package's.
#
# **Time** 90 min; two optional sections (what warm-up is for, and dropout) take about 25 more
#
# **Builds on** [lesson 5](05_multi_head_attention.ipynb) (attention lets tokens look at each other), [lesson 6](06_feed_forward.ipynb)
# (the feed-forward network works on each token alone), [lesson 1](01_next_token_game.ipynb) (the loss) and
# [Torch and slopes](00b_torch_and_slopes.ipynb), sections 2, 4, 6, 7 and 10
#
# ![A block of the GPT opened: a thick line, the residual stream, runs straight through; attention and then feed-forward each read from it through a LayerNorm, and what they compute goes through dropout and is added back](../figures/where_transformer_block.svg)

# %% tags=["setup"]
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import minigpt.model.gpt
from minigpt.config import IGNORE, GPTConfig
from minigpt.course import check, plots, start_lesson
from minigpt.model.attention import CausalSelfAttention
from minigpt.model.feed_forward import FeedForward, make_feed_forward
from minigpt.model.gpt import next_token_loss
from minigpt.model.kv_cache import KVCache
from minigpt.model.norm import make_norm
from minigpt.text import stories
from minigpt.text.tokenizer import END_OF_TEXT
from minigpt.weights.checkpoint import load_model

start_lesson()

# %% [markdown]
# ## Sixteen layers that learn nothing
#
# Attention and feed-forward are the two **sub-layers** of a Transformer. Together they make one layer, or block. The smallest
# GPT-2 has twelve, one on top of the other. So let us stack them and see.
#
# We need a task that trains in seconds. A row is six random letters, and then the same six again. Nobody can know the first six.
# But every letter after them has been there before: a model that looks back the right number of positions pays nothing. A
# model that guesses among eight letters pays ln 8 = 2.08 nats for each.

# %%
LETTERS, LENGTH = "abcdefgh", 6


def copy_batch(step: int, batch_size: int = 16) -> tuple[Tensor, Tensor]:
    """Inputs and targets (B, T) of this step; what nobody can know is not asked for."""
    generator = torch.Generator().manual_seed(step)
    word = torch.randint(len(LETTERS), (batch_size, LENGTH), generator=generator)
    rows = torch.cat([word, word], dim=1)  # (B, 2 * LENGTH)
    targets = rows[:, 1:].clone()
    targets[:, : LENGTH - 1] = IGNORE
    return rows[:, :-1], targets


inputs, targets = copy_batch(step=0)
print("inputs: ", " ".join(LETTERS[i] for i in inputs[0]))
print("targets:", " ".join(LETTERS[i] if i != IGNORE else "·" for i in targets[0]))
print(f"ln {len(LETTERS)} = {math.log(len(LETTERS)):.2f}")

# %% [markdown]
# Now the stack. How a sub-layer is connected to the rest is a function of its own, `connect`, because that is what this lesson
# changes. (Each sub-layer also gets a `norm`, and one more may stand at the end. They wait for their use further down.)
#
# We draw the weights with care. A number that leaves a matrix is a sum of *n* products. With weights of standard deviation
# $1/\sqrt{n}$ it is about as large as one number that went in (lesson 4 met the same sum). No matrix shrinks or stretches.

# %%
Connection = Callable[[Tensor, nn.Module, nn.Module], Tensor]


class Stack(nn.Module):
    """Embeddings, `depth` layers of attention and feed-forward, and an output head."""

    def __init__(
        self, depth: int, connect: Connection, final_norm: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        T, d_model = 2 * LENGTH - 1, 32
        config = GPTConfig(
            len(LETTERS),
            T,
            n_layers=depth,
            n_heads=2,
            d_model=d_model,
            d_ff=2 * d_model,
        )
        self.connect = connect
        self.token_embedding = nn.Embedding(len(LETTERS), d_model)
        self.position_embedding = nn.Embedding(T, d_model)
        self.sublayers = nn.ModuleList(
            kind(config)
            for _ in range(depth)
            for kind in (CausalSelfAttention, FeedForward)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in self.sublayers)
        self.final_norm = nn.LayerNorm(d_model) if final_norm else nn.Identity()
        self.output_head = nn.Linear(d_model, len(LETTERS))

        self.double()  # float64, so that every computer trains the same model
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, generator=generator)
            if isinstance(module, nn.Linear):
                nn.init.normal_(
                    module.weight,
                    std=1 / math.sqrt(module.in_features),
                    generator=generator,
                )
                nn.init.zeros_(module.bias)

    def states(self, ids: Tensor) -> list[Tensor]:
        """The stream (B, T, d_model) after the embeddings and each sub-layer."""
        states = [self.token_embedding(ids) + self.position_embedding.weight]
        for sublayer, norm in zip(self.sublayers, self.norms, strict=True):
            states.append(self.connect(states[-1], sublayer, norm))
        return states

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (B, T) to logits (B, T, letters)."""
        logits: Tensor = self.output_head(self.final_norm(self.states(ids)[-1]))
        return logits


def no_residual(x: Tensor, sublayer: nn.Module, norm: nn.Module) -> Tensor:
    """Each sub-layer takes what the one before it made."""
    y: Tensor = sublayer(x)
    return y


# %% [markdown]
# The training loop is lesson 10's, with Adam as the optimiser (lesson 9 takes it apart). `warmup` is for later, too.


# %%
def train(
    model: Stack, steps: int = 80, rate: float = 4e-3, warmup: int = 1
) -> list[float]:
    """The loss of each step. The learning rate rises to `rate` in `warmup` steps."""
    optimizer = torch.optim.Adam(model.parameters(), fused=True)  # fused is faster
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / warmup)
        inputs, targets = copy_batch(step)
        loss = next_token_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def mean_of_ten(losses: list[float], step: int) -> float:
    """The mean loss of the ten steps up to `step`: a single batch says little."""
    return sum(losses[step - 10 : step]) / 10


losses = {("no residual", depth): train(Stack(depth, no_residual)) for depth in (2, 16)}
for (_, depth), values in losses.items():
    around = [f"{step}: {mean_of_ten(values, step):.2f}" for step in (10, 40, 80)]
    print(f"{depth:2} layers, loss around step  ", "   ".join(around))

# %% [markdown]
# Two layers learn to copy. Sixteen layers, trained in the same way on the same batches, stay at 2.08: they guess. They have many
# more parameters, and it does not help.
#
# ### Two signals that do not arrive
#
# Training needs the **gradient**: for each parameter, how much the loss would rise if it grew a little. It is computed from the
# loss backwards, layer by layer (lesson 9). For each layer we measure how long its gradient is, all its numbers taken together:
# the root of the sum of their squares.


# %%
def gradient_lengths(model: Stack) -> list[float]:
    """For each layer, the length of its parameters' gradient, before any training."""
    inputs, targets = copy_batch(step=0)
    model.zero_grad()
    next_token_loss(model(inputs), targets).backward()
    layers = [
        model.sublayers[i : i + 2].parameters()
        for i in range(0, len(model.sublayers), 2)
    ]
    squares = [
        sum(float(p.grad.square().sum()) for p in layer if p.grad is not None)
        for layer in layers
    ]
    return [math.sqrt(square) for square in squares]


def drawn(lengths: list[float]) -> tuple[range, list[float]]:
    """Layers and lengths for a plot: layer 1 stands next to the embeddings."""
    return range(1, 17), [float(f"{length:.2g}") for length in lengths]


gradients = {"no residual": gradient_lengths(Stack(16, no_residual))}
first, last = gradients["no residual"][0], gradients["no residual"][-1]
print(f"layer 1: {first:.5f}   layer 16: {last:.2f}")
assert first < last / 1000
plots.curves(
    {name: drawn(lengths) for name, lengths in gradients.items()},
    "layer",
    "length of the gradient",
    log="y",
)

# %% [markdown]
# From the last layer down to the first the gradient shrinks more than a thousandfold. Layer 1 hardly hears from the loss.
#
# The way forward is no better. Feed two different rows into the fresh stack, and compare the two answers at the last position.

# %%
row, other_row = copy_batch(step=0)[0][:2]
assert row[-1] != other_row[-1]
for depth in (2, 16):
    with torch.no_grad():
        logits = Stack(depth, no_residual)(torch.stack([row, other_row]))
    answers = logits[:, -1]  # (2, letters)
    apart = (answers[0] - answers[1]).abs().max()
    print(f"{depth:2} layers: largest difference between the answers {apart:.4f}")

# %% [markdown]
# Sixteen layers give the same answer whatever they read, up to a ten-thousandth. Each layer *replaced* what it was given, and with
# every replacement a little of the input was lost: attention averages over tokens, and GELU silences most of what is negative. That
# explains the gradients too: where the answer hardly depends on the first layer, a change in that layer hardly changes the loss.
#
# <div class="alert alert-warning">
# <b>You may have read</b> that all would be well if only the gradients did not vanish. Then a stack with healthy gradients
# must learn. Here is one: before each sub-layer a norm brings the numbers of every token back to a standard size
# (we build it below). The gradient at layer 1 is then as long as at layer 16.
# </div>


# %%
def norm_only(x: Tensor, sublayer: nn.Module, norm: nn.Module) -> Tensor:
    """Each sub-layer takes what the one before it made, at a standard size."""
    y: Tensor = sublayer(norm(x))
    return y


def alike(model: Stack) -> float:
    """The cosine between a row's first and last token, after the last layer."""
    with torch.no_grad():
        end = model.states(inputs)[-1]
    return F.cosine_similarity(end[:, 0], end[:, -1], dim=-1).mean().item()


healthy = gradient_lengths(Stack(16, norm_only))
stuck = mean_of_ten(train(Stack(16, norm_only)), 80)
print(
    f"norm alone: gradient {healthy[0]:.1f} at layer 1, {healthy[-1]:.1f} at layer 16"
)
print(f"norm alone: loss after 80 steps {stuck:.2f}")
print(f"norm alone: first and last token alike: {alike(Stack(16, norm_only)):.4f}")
assert healthy[0] > 0.5 * healthy[-1] and stuck > 2  # ratios of 1.0 to 4.3 with 3 seeds

# %% [markdown]
# The gradients are fine, and nothing is learned. At the top all tokens of a row point in the same direction (a cosine of 1): whatever
# the answer is, it is the same for every position. Dong, Cordonnier and Loukas (2021) prove it for pure attention, without
# residuals and without feed-forward networks. Attention is an average, and averages of averages all look the same.
#
# So a long gradient is not enough. What each layer replaces is lost, and a norm does not bring it back.

# %% [markdown]
# ## A way around
#
# Strip a layer down to the least it can be: one number times a weight *w*. Sixteen of them give $w^{16}x$, and the derivative with
# respect to *x* is $w^{16}$. Take *w* = 0.5 and work it out before you read on: two to the sixteenth is 65,536.
#
# Now let each layer *add* what it computes, $x + wx$. Each multiplies by 1 + *w* instead. However small *w* is, the 1 remains: it is
# a way around the layer, on which nothing is lost.

# %%
w = 0.5
start = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
replaced, added = start, start
for _turn in range(16):
    replaced = w * replaced
    added = added + w * added

assert 2**16 == 65_536
for name, y, factor in (("replace", replaced, w), ("add", added, 1 + w)):
    derivative = torch.autograd.grad(y, start)[0].item()
    assert math.isclose(derivative, factor**16)
    print(f"{name:<8} 16 times: derivative {factor}^16 = {derivative:.6g}")

# %% [markdown]
# The addition is called a **residual connection**. He et al. (2016) had seen the trouble in networks for images: with 56 layers the
# error was higher than with 20, even on the training images (section 1). Their plain networks did learn, only worse, and they too had
# norms and healthy gradients (section 4.1). So they let each few layers compute only a *difference*, the
# residual, and add it to what came in (section 3.2):
#
# $$y = x + F(x)$$
#
# A layer with nothing to say learns $F(x) = 0$, and everything passes. Attention and feed-forward both return as many numbers per
# token as they take, $d_{model}$, so that their outputs *can* be added.
#
# Keep an eye on the second line above, though: 657. We are coming back to it.

# %% [markdown]
# ### Exercise 1 · add, do not replace (★☆☆, 10 min)
#
# Send `x` through all `sublayers`. Each reads what is there by then, and its output is added. For `x = [1, 2]` and the two
# sub-layers «ten times» and «three times»: the first reads [1, 2] and adds [10, 20]; the second reads [11, 22] and adds [33, 66].
# The result is [44, 88]. Leave the tensor you were given as it was.


# %% tags=["exercise"]
def through_residuals(x: Tensor, sublayers: list[Callable[[Tensor], Tensor]]) -> Tensor:
    """x after all sub-layers, each connected by a residual connection. Shape as x."""
    ### BEGIN SOLUTION
    for sublayer in sublayers:
        x = x + sublayer(x)
    return x
    ### END SOLUTION


# %%
check.through_residuals(through_residuals)

# %% [markdown]
# ## The residual stream
#
# Follow one token through a GPT. It starts as a vector of $d_{model}$ numbers, its embedding. Then every sub-layer adds
# something to it. Nothing else ever happens to it, up to the last norm. So at the end it must be a **sum**: the embeddings plus all
# that was ever added.
#
# We check this on the storyteller and a real story, and write down every summand. (What a sub-layer reads passes through a
# norm first. The next sections build it; here we borrow it.)

# %%
storyteller, tokenizer = load_model("storyteller")
storyteller = storyteller.double().eval()
START = tokenizer.special_tokens[END_OF_TEXT]
story = [START, *tokenizer.encode(stories.story_at("test", 0).text)]
ids = torch.tensor([story])  # (1, T)

with torch.no_grad():
    written = {
        # (1, T, d_model), like everything below
        "token embedding": storyteller.token_embedding(ids),
        "position embedding": storyteller.position_embedding.weight[None, : len(story)],
    }
    stream = written["token embedding"] + written["position embedding"]
    for number, block in enumerate(storyteller.blocks, start=1):
        for name in ("attention", "feed_forward"):
            norm = block.get_submodule(f"{name}_norm")
            sublayer = block.get_submodule(name)
            written[f"{name} {number}"] = sublayer(norm(stream))  # read
            stream = stream + written[f"{name} {number}"]  # write
    # the model's own result
    assert torch.equal(storyteller.final_norm(stream), storyteller.hidden_states(ids))

assert torch.equal(sum(written.values()), stream)  # to the last bit
backwards = sum(reversed(written.values()))
assert torch.allclose(backwards, stream, rtol=1e-12, atol=1e-12)  # up to rounding
print(f"{len(written)} writers, {len(story)} tokens: their sum is the stream")

# %% [markdown]
# It is, to the last bit. Here is how much each of them wrote: the length of the vector it added, as a mean over the tokens. Nobody
# told the writers to be equally loud, and they are not.

# %%
so_far = torch.zeros_like(stream)
for writer, what in written.items():
    so_far = so_far + what
    adds, length = (vector.norm(dim=-1).mean().item() for vector in (what, so_far))
    print(f"{writer:<20} adds {adds:8.2f}   sum so far {length:8.2f}")
assert length > 2 * written["token embedding"].norm(dim=-1).mean()

# %% [markdown]
# The running sum is called the **residual stream**. The picture is that of Elhage et al. (2021): a channel that runs past all
# sub-layers, from which each *reads* and into which each *writes*, so that one can leave something for a later one.
#
# Say clearly what is picture and what is fact. **Fact:** there is one vector per token, and one addition per sub-layer. **Picture:**
# stream, channel, reading, writing. Nothing flows. Nothing has a place reserved in the vector, and no message has an address: all
# writers add into the same $d_{model}$ numbers, and a reader gets the sum. To read means to multiply that sum, once normed, by a
# matrix. Nobody can erase, either: whoever wants something gone must add its opposite.
#
# One caution. The sum tells who wrote what. It does not tell what the model would have done without one of them, because everybody
# after it would have read something else.

# %% [markdown]
# ### A stream that grows
#
# Is one addition the whole cure? Let us use it in our stack of sixteen. By the *size* of many numbers we mean the root of their mean square.


# %%
def residual_only(x: Tensor, sublayer: nn.Module, norm: nn.Module) -> Tensor:
    y: Tensor = x + sublayer(x)
    return y


def sizes(model: Stack) -> list[float]:
    """The size of the numbers after the embeddings and after each layer."""
    with torch.no_grad():
        return [
            state.square().mean().sqrt().item() for state in model.states(inputs)[::2]
        ]


growing = Stack(16, residual_only)
with torch.no_grad():
    first_loss = next_token_loss(growing(inputs), targets).item()
print("size after layers 0, 4, 8, 12, 16:", [f"{s:,.1f}" for s in sizes(growing)[::4]])
print(
    f"loss before training: {first_loss:,.0f}; guessing: {math.log(len(LETTERS)):.2f}"
)

# %% [markdown]
# Here is what the 657 announced. Each sub-layer writes something about as large as what it reads. So each makes the stream larger, and the next
# reads the larger stream and writes something larger still. The growth multiplies, and after sixteen layers the model is sure of
# nonsense.
#
# What we want: a sub-layer that reads numbers of the same size **however large the stream has become**.

# %% [markdown]
# ## LayerNorm by hand
#
# Take the vector of one token, [1, 2, 3, 4]. Two steps give it a standard size: take off the mean, and divide by the standard
# deviation. With pencil and paper: what is the mean? What are the four deviations, their squares, and the mean of the squares?

# %%
vector = [1.0, 2.0, 3.0, 4.0]

mean = sum(vector) / 4
deviations = [value - mean for value in vector]
variance = sum(d**2 for d in deviations) / 4
normed = [d / math.sqrt(variance) for d in deviations]
print("mean:                ", mean)
print("deviations:          ", deviations)
print("variance:            ", variance)
print(f"standard deviation:   {math.sqrt(variance):.4f}")
print("normalised:          ", [f"{value:.4f}" for value in normed])

# %% [markdown]
# The result has mean 0 and standard deviation 1, and would be the same for [10, 20, 30, 40] or [101, 102, 103, 104]. How large the
# stream is no longer matters.
#
# One case breaks it: if all numbers are equal, the variance is 0, and we divide by 0. So a small ε is added to the variance,
# *inside* the root. Then a **gain** *g* and a **bias** *b*, $d_{model}$ learned numbers each, give each number another size and
# another centre, if that lowers the loss. They begin at 1 and 0. This is **LayerNorm** (Ba, Kiros, Hinton 2016):
#
# $$\mathrm{LayerNorm}(x)_i = g_i \, \frac{x_i - \mu}{\sqrt{\sigma^2 + \varepsilon}} + b_i
# \qquad \mu = \frac{1}{d} \sum_i x_i \qquad \sigma^2 = \frac{1}{d} \sum_i (x_i - \mu)^2$$


# %%
def layer_norm_of_one(vector: list[float], eps: float = 1e-5) -> list[float]:
    """One token, in plain Python, with gain 1 and bias 0."""
    mean = sum(vector) / len(vector)
    variance = sum((value - mean) ** 2 for value in vector) / len(vector)
    return [(value - mean) / math.sqrt(variance + eps) for value in vector]


torch_norm = nn.LayerNorm(4, eps=1e-5, dtype=torch.float64)
for example in ([1, 2, 3, 4], [10, 20, 30, 40], [101, 102, 103, 104], [5, 5, 5, 5]):
    by_hand = layer_norm_of_one([float(value) for value in example])
    with torch.no_grad():
        by_torch = torch_norm(torch.tensor(example, dtype=torch.float64))
    assert torch.allclose(
        torch.tensor(by_hand, dtype=torch.float64), by_torch, atol=1e-12
    )
    print(example, "→", [f"{value:.3f}" for value in by_hand])

# %% [markdown]
# ±1.342 at the ends, and zeros where all is equal. Two things are easy to get wrong.
#
# **The variance divides by *d*, not by *d* − 1.** Statisticians divide by *d* − 1 when they have a sample and want to know about the
# whole from which it came. Here there is no sample: these *d* numbers are all there is.
#
# **Each token is normalised by itself**, over its own $d_{model}$ numbers: not over the tokens, and not over the batch. So a token's
# result does not change when its neighbours do, and training and writing work alike.

# %%
generator = torch.Generator().manual_seed(0)
# (B, T, d_model)
tokens = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
changed = tokens.clone()
changed[:, 1:] *= 100  # all tokens but the first of each row
assert torch.equal(torch_norm(tokens)[:, 0], torch_norm(changed)[:, 0])
"the first token does not notice"

# %% [markdown]
# ### Exercise 2 · LayerNorm (★★☆, 10 min)
#
# Write it for a whole batch, with gain, bias and ε, from `mean`, `sqrt` and arithmetic. With ε = 1 you can check it in your head: for
# [1, 2, 3, 4] the root of 1.25 + 1 is 1.5, so the ends are ±1.


# %% tags=["exercise"]
def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Each token of x (B, T, d_model) by itself; gain and bias are (d_model,)."""
    ### BEGIN SOLUTION
    centred = x - x.mean(dim=-1, keepdim=True)  # (B, T, d_model)
    variance = centred.square().mean(dim=-1, keepdim=True)  # (B, T, 1)
    return gain * centred / torch.sqrt(variance + eps) + bias
    ### END SOLUTION


# %%
check.layer_norm(layer_norm)

# %% [markdown]
# ### Two versions that are not LayerNorm
#
# Both are in circulation. One divides by the *unbiased* standard deviation, with *d* − 1, which is what `x.std()` gives in torch
# unless told otherwise. The other adds ε *outside* the root, to the standard deviation. The widely read Annotated Transformer (2018,
# 2022) does both: `(x - mean) / (std + eps)` with `x.std`. A model that is trained and used with the same norm need not suffer from
# that. But weights that were trained with one norm expect that norm, GPT-2's for instance. How far apart are they?


# %%
def centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=-1, keepdim=True)


def variance_of(x: Tensor, correction: int) -> Tensor:
    return x.var(dim=-1, correction=correction, keepdim=True)


EPS = 1e-5
versions: dict[str, Callable[[Tensor], Tensor]] = {
    "LayerNorm": lambda x: centred(x) / (variance_of(x, 0) + EPS).sqrt(),
    "unbiased": lambda x: centred(x) / (variance_of(x, 1) + EPS).sqrt(),
    "ε outside": lambda x: centred(x) / (variance_of(x, 0).sqrt() + EPS),
}

small = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
assert torch.allclose(
    versions["LayerNorm"](small), F.layer_norm(small, (4,)), atol=1e-12
)
broad = torch.Generator().manual_seed(0)
wide = torch.randn(768, generator=broad, dtype=torch.float64) * 0.02 * math.sqrt(2)
print(
    "last of      [1, 2, 3, 4]   [.001, .002, .003, .004]   768 numbers: of LayerNorm's"
)
shares = {}
for name, version in versions.items():
    shares[name] = (version(wide) / versions["LayerNorm"](wide)).mean().item()
    ends = version(small)[-1].item(), version(small / 1000)[-1].item()
    print(f"{name:<10} {ends[0]:14.4f} {ends[1]:26.4f} {shares[name]:28.4f}")

# %% [markdown]
# With four numbers the unbiased version is far off: $\sqrt{3/4} = 0.866$ of what it should be. With 768, GPT-2's smallest $d_{model}$,
# it is less than a thousandth off, and a gain could learn that away.
#
# The place of ε shows only where the numbers are small, near $\sqrt{\varepsilon}$ = 0.003: there one version gives three times the
# other, and no gain can mend that. The last column has the size of the embeddings in a fresh GPT (lesson 8): half a percent. In the
# storyteller's stream above, with its vectors of length 8 to 2,235, you would never notice.
#
# ### A norm without the mean
#
# Most models since about 2023 have **RMSNorm** (Zhang and Sennrich 2019) in the place of LayerNorm. It leaves the mean where it is and divides by the
# root of the mean square; there is a gain, and no bias:
#
# $$\mathrm{RMSNorm}(x)_i = g_i \, \frac{x_i}{\sqrt{\frac{1}{d} \sum_j x_j^2 + \varepsilon}}$$
#
# So [1, 2, 3, 4] becomes [0.365, 0.730, 1.095, 1.461] (the mean square is 7.5), and [101, 102, 103, 104] [0.985, 0.995, 1.005, 1.015]: a common shift is
# no longer taken off. The authors suspected that nobody needs that, and found results as good, in 7% to 64% less time. [Lesson 20](20_modern_gpt.ipynb) builds it.

# %%
for example in ([1, 2, 3, 4], [101, 102, 103, 104]):
    rms = math.sqrt(sum(value**2 for value in example) / 4)
    print(example, "→", [f"{value / rms:.3f}" for value in example])

# %% [markdown]
# ## Where the norm goes
#
# Now we have an addition and a norm, and two ways to combine them.
#
# ```mermaid
# flowchart LR
#     subgraph pre["pre-norm (GPT-2)"]
#         direction LR
#         x2["x"] --> n2["LayerNorm"] --> s2["sub-layer"] --> a2(("+")) --> y2["x"]
#         x2 --> a2
#     end
#     subgraph post["post-norm (2017)"]
#         direction LR
#         x1["x"] --> s1["sub-layer"] --> a1(("+")) --> n1["LayerNorm"] --> y1["x"]
#         x1 --> a1
#     end
# ```
#
# **Post-norm** normalises the sum: $\mathrm{LayerNorm}(x + \mathrm{Sublayer}(x))$. It is the Transformer of Vaswani et al. (2017,
# section 3.1). **Pre-norm** normalises only what the sub-layer reads: $x + \mathrm{Sublayer}(\mathrm{LayerNorm}(x))$. GPT-2 moved the norm
# there (Radford et al. 2019, section 2.3). In code, the difference is where one bracket stands.


# %%
def post_norm(x: Tensor, sublayer: nn.Module, norm: nn.Module) -> Tensor:
    y: Tensor = norm(x + sublayer(x))
    return y


def pre_norm(x: Tensor, sublayer: nn.Module, norm: nn.Module) -> Tensor:
    y: Tensor = x + sublayer(norm(x))
    return y


# %% [markdown]
# <div class="alert alert-warning">
# <b>You may have read</b> that LayerNorm keeps the residual stream from growing.
# With post-norm it does. With pre-norm no norm ever touches the stream: what is normalised is the copy that a sub-layer reads. The
# stream goes on growing, as in the storyteller's list above. But each sub-layer reads numbers of size 1, however large the stream. So
# in a fresh model each writes about as much as any other, and the growth adds up instead of multiplying.
# </div>

# %%
grown = {
    "no norm": sizes(Stack(16, residual_only)),
    "post-norm": sizes(Stack(16, post_norm)),
    "pre-norm": sizes(Stack(16, pre_norm)),
}
print("size of the numbers after layers 0, 4, 8, 12, 16")
for name, values in grown.items():
    print(f"{name:<10}", *(f"{value:9,.2f}" for value in values[::4]))
tops = {name: values[-1] for name, values in grown.items()}
assert (
    tops["post-norm"] < grown["pre-norm"][0] < tops["pre-norm"] < 10 < tops["no norm"]
)

# %% [markdown]
# Because a pre-norm stream ends large, GPT-2 has one more LayerNorm after the last block, in front of the output head (also section
# 2.3). Our pre-norm stacks get it too: `final_norm=True`. (So two things differ between our pre-norm and post-norm stacks. But post-norm, too,
# hands the head a normalised stream.)
#
# ### Gradients, side by side
#
# The same weights, the same batch, four ways to connect sixteen layers:

# %%
exploded = gradient_lengths(Stack(16, residual_only))
print(f"residual, no norm: layer 1 {exploded[0]:,.0f}   layer 16 {exploded[-1]:,.0f}")
gradients["post-norm"] = gradient_lengths(Stack(16, post_norm))
gradients["pre-norm"] = gradient_lengths(Stack(16, pre_norm, final_norm=True))
posts, pres = gradients["post-norm"], gradients["pre-norm"]
assert all(post > pre for post, pre in zip(posts, pres, strict=True))
assert max(posts) > 1.5 * posts[-1] and posts[0] > 0.5 * posts[-1]  # with 3 seeds, too
for name in ("post-norm", "pre-norm"):
    some = [f"{n}: {gradients[name][n - 1]:.2f}" for n in (1, 4, 8, 12, 16)]
    print(f"{name:<10} layer", "   ".join(some))
plots.curves(
    {name: drawn(lengths) for name, lengths in gradients.items()},
    "layer",
    "length of the gradient",
    log="y",
)

# %% [markdown]
# With a residual and no norm the gradient explodes, far beyond this picture. Without a residual it dies on its way to layer 1. Both
# norms keep it within bounds over all sixteen layers. Post-norm's is longer in every layer, and in neither does it vanish. From this
# picture alone, post-norm is as good as pre-norm. So train them.
#
# ### Training, side by side
#
# Two, eight and sixteen layers, 80 steps each, the same batches and the same learning rate. This takes some seconds.

# %%
connections: dict[str, Connection] = {
    "no residual": no_residual,
    "post-norm": post_norm,
    "pre-norm": pre_norm,
}
for depth in (2, 8, 16):
    for name, connect in connections.items():
        if (name, depth) not in losses:
            stack = Stack(depth, connect, final_norm=connect is pre_norm)
            losses[name, depth] = train(stack)

print(f"mean loss of the last ten of 80 steps; guessing: {math.log(len(LETTERS)):.2f}")
print(f"{'layers':<12} {'2':>6} {'8':>6} {'16':>6}")
for name in connections:
    line = [f"{mean_of_ten(losses[name, depth], 80):6.2f}" for depth in (2, 8, 16)]
    print(f"{name:<12}", *line)

# %%
steps_shown = range(10, 81, 10)
lines: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
for name, depth in [("no residual", 16)] + [
    (name, depth) for name in ("post-norm", "pre-norm") for depth in (16, 8)
]:
    means = [round(mean_of_ten(losses[name, depth], step), 2) for step in steps_shown]
    lines[f"{name}, {depth} layers"] = (steps_shown, means)
plots.curves(lines, "step", "loss (nats per letter)")

# %% [markdown]
# Everything learns with two layers. With eight, the plain stack guesses and post-norm is slow. With sixteen, only pre-norm learns: at
# this learning rate, with these first weights. That condition matters, and we come back to it. (The plain stack's bump around step 30 is worse
# than guessing: the model had become sure of something false, and came back.)
#
# Why is post-norm worse, when its gradients looked fine? Here is one suggestion. A post-norm divides the *whole* sum, so it also shrinks
# everything that was written before. Follow the token's own embedding through the 32 norms of sixteen layers:

# %%
diluted = Stack(16, post_norm)
with torch.no_grad():
    states = diluted.states(inputs)
    left = torch.ones(inputs.shape, dtype=torch.float64)  # (B, T): of each embedding
    for state, sublayer in zip(states[:-1], diluted.sublayers, strict=True):
        left = left / (state + sublayer(state)).std(dim=-1, correction=0)
print(f"post-norm: {left.mean():.4f} of an embedding is left after 32 norms (a mean)")
print("pre-norm:  all of it: the stream is a sum")
assert left.mean() < 0.001
for name, connect in (
    ("norm alone", norm_only),
    ("post-norm", post_norm),
    ("pre-norm", pre_norm),
):
    print(f"{name:<10} first and last token alike: {alike(Stack(16, connect)):.4f}")

# %% [markdown]
# A few ten-thousandths. What the first layers wrote is diluted by every norm after them: in a post-norm stack the stream is not a sum
# of what was written. (The tokens of a row grow alike, too, but not as much as with the norm alone.)
#
# Is dilution the reason, then? Test it: the same stack with the same first weights, so just as diluted, at an eighth of the learning rate.

# %%
slowly = train(Stack(16, post_norm), steps=320, rate=5e-4)
at_steps = [f"{step}: {mean_of_ten(slowly, step):.1f}" for step in (80, 160, 240, 320)]
print("rate 0.0005, loss around step", "   ".join(at_steps))
assert mean_of_ten(slowly, 320) < 1.75  # 1.54 and 1.48 with two seeds; guessing is 2.08

# %% [markdown]
# It learns, slowly. So dilution did not forbid learning. What failed above was dilution *and* this rate, or this rate alone; our stack does not say
# why it needs the lower one.
#
# The literature does not agree with itself, either. Xiong et al. (2020) prove that with post-norm, at the start, the gradients near
# the *output* are large. Takase et al. (2022) find that its norms make the gradients *vanish* on the way down, and call that the main
# reason why deep post-norm fails. Our picture shows neither: the gradient is not longest near the output, and it does not
# vanish on the way down. Depth, width and first weights are not theirs. Take each account as true of the models it was made for.

# %% [markdown]
# ### What warm-up is for (optional)
#
# The original Transformer was trained with post-norm, and well. It had six layers, and it had **warm-up**: the learning rate starts
# near zero and rises over the first steps (Vaswani et al. 2017, section 5.3). Xiong et al. say why the two go together: full steps along those
# large gradients do damage, and small first steps avoid it. (An optimiser such as Adam divides by the size of the gradient, lesson 9, so this
# cannot be the whole story.) With pre-norm they could train without warm-up.
#
# Does post-norm with eight layers learn faster with warm-up? And a control: a run that has a lower rate all along. Three first weights each.

# %%
recipes = {
    "rate 0.004": (4e-3, 1),
    "rate 0.004, 60 steps of warm-up": (4e-3, 60),
    "rate 0.0015": (1.5e-3, 1),
}
print("post-norm, 8 layers, loss around step 120, with three first weights")
after: dict[str, list[float]] = {}
for name, (rate, warmup) in recipes.items():
    runs = [
        train(Stack(8, post_norm, seed=seed), steps=120, rate=rate, warmup=warmup)
        for seed in range(3)
    ]
    after[name] = [mean_of_ten(run, 120) for run in runs]
    print(f"{name:<34}", *(f"{value:.1f}" for value in after[name]))
full, warmed, lower = after.values()
assert sum(warmed) < sum(full) - 0.9 and sum(lower) < sum(full) - 0.9  # by 2.1 and 2.0

# %% [markdown]
# Warm-up helps. But a lower rate from beginning to end helps about as much: of the three, warm-up wins one and loses one. What it adds to a
# lower rate, three small runs cannot tell. (They ask only for the first 120 steps. A long run wants the high rate later; there warm-up is a way to
# get to it.)
#
# Smaller first weights help as well. Halve them, and sixteen layers begin to learn at the full rate:

# %%
halved = Stack(16, post_norm)
with torch.no_grad():
    for module in halved.sublayers.modules():
        if isinstance(module, nn.Linear):
            module.weight /= 2
end = mean_of_ten(train(halved), 80)
print("post-norm, 16 layers, loss around step 80")
as_above = mean_of_ten(losses["post-norm", 16], 80)
print(f"first weights as above {as_above:.1f}, halved {end:.1f}")
assert end < 1.7

# %% [markdown]
# So do not read the table as «post-norm is wrong». The first GPT and BERT used it. In shallow models it can even end up *better*
# (Takase et al. say so for six layers or fewer). Pre-norm is the arrangement that forgives, and that is worth much when one run
# costs a fortune. One habit stayed: large models are mostly trained with warm-up to this day, pre-norm or not.

# %% [markdown]
# ### Exercise 3 · a pre-norm block (★★☆, 10 min)
#
# Connect two sub-layers in the right order: attention first, then feed-forward, each with its own norm. Work this on paper first.
# The stream is [1, 3]. A norm of two different numbers gives [−1, 1] or [1, −1]. «Attention» multiplies by −10, and «feed-forward» adds 1.
# Attention reads [−1, 1] and writes [10, −10]; the stream is [11, −7]. Feed-forward reads [1, −1] and writes [2, 0]. The stream ends as
# [13, −7].

# %% tags=["exercise"]
Function = Callable[[Tensor], Tensor]


def pre_norm_block(
    x: Tensor,
    attention_norm: Function,
    attention: Function,
    feed_forward_norm: Function,
    feed_forward: Function,
) -> Tensor:
    """The stream after one block. Shape as x; x itself stays as it was."""
    ### BEGIN SOLUTION
    x = x + attention(attention_norm(x))
    x = x + feed_forward(feed_forward_norm(x))
    return x
    ### END SOLUTION


# %%
check.pre_norm_block(pre_norm_block)

# %% [markdown]
# ## Dropout (optional)
#
# One part is left, and it acts only while a model is trained. A model that sees the same few texts again and again can learn them by
# heart. **Dropout** (Srivastava et al. 2014) makes that harder: at every step it sets a share *p* of the numbers to zero, drawn anew
# each time. No number can count on a particular other one to be there.
#
# Zeros make a sum smaller. So the numbers that stay are divided by 1 − *p*. Take [1, 2, 3, 4] with *p* = 0.5, and let the coin keep
# the first and the last.

# %%
coin = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
print("after dropout:", (small * coin / (1 - 0.5)).tolist())

# %% [markdown]
# Each number is *x*/(1 − *p*) with probability 1 − *p*, and 0 otherwise. On average that is *x*:
#
# $$(1 - p) \cdot \frac{x}{1 - p} + p \cdot 0 = x$$
#
# So whoever reads it gets, on average, what it gets without dropout.

# %% [markdown]
# ### Exercise 4 · dropout (★★☆, 10 min)
#
# Write it. Every number draws for itself (`torch.rand` gives numbers from 0 to 1, each as likely as any other). When `training` is false, the
# model is in use, and nothing happens.


# %% tags=["exercise"]
def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """If training, a share p of x is set to zero, the rest scaled. Shape as x."""
    ### BEGIN SOLUTION
    if not training:
        return x
    keep = torch.rand(x.shape) >= p
    return x * keep / (1 - p)
    ### END SOLUTION


# %%
check.dropout(dropout)

# %% [markdown]
# ### The mean stays
#
# Measure it over 200,000 draws, with and without the division:

# %%
p = 0.1
draws = torch.rand(
    200_000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
)
keep = (draws >= p).double()
scaled, unscaled = (small * keep / (1 - p)).mean(dim=0), (small * keep).mean(dim=0)
print("without dropout:     ", small.tolist())
print("mean, divided:       ", [f"{value:.2f}" for value in scaled.tolist()])
print("mean, not divided:   ", [f"{value:.2f}" for value in unscaled.tolist()])
assert torch.allclose(scaled, small, rtol=0.01)
assert torch.allclose(unscaled, (1 - p) * small, rtol=0.01)

# %% [markdown]
# The paper's main text does not divide while training. It multiplies the weights afterwards, when the model is used, and mentions our
# way as an equivalent (section 10; its *p* is the share that *stays*). Torch divides, so that a model in use needs to know nothing of
# dropout.
#
# But a model must be told which it is, in training or in use: `model.train()` switches dropout on, `model.eval()` off. Forget the
# second, and it gives another answer each time you ask.

# %%
torch.manual_seed(0)
dropout_layer = nn.Dropout(p=0.5)
for training in (True, False):
    dropout_layer.train(training)  # train(False) is eval()
    twice = [dropout_layer(small).tolist() for _ in range(2)]
    print("training:" if training else "in use:  ", *twice, sep="  ")

# %% [markdown]
# In a Transformer, dropout sits on what a sub-layer *writes*, before it is added (Vaswani et al. 2017, section 5.4, with *p* = 0.1),
# on the sum of the embeddings, and in GPT also on the attention weights (Radford et al. 2018, section 4.1). After that beginning it
# never sits on the stream itself: a number dropped there would be lost for everybody after. Our storyteller uses *p* = 0. It sees
# every story once, so there is nothing to learn by heart.

# %%
storyteller.config.dropout

# %% [markdown]
# ## The block
#
# Everything is there. Two norms, two sub-layers, one dropout, two additions. (`cache`, `layer` and `position` are passed on to
# attention, which uses them in lesson 13 to write text faster. As they stand, they do nothing. `make_norm` makes the norm that a config
# names and `make_feed_forward` its network: for ours `nn.LayerNorm` and lesson 6's `FeedForward`.)


# %% tags=["package:minigpt.model.gpt.TransformerBlock"]
class TransformerBlock(nn.Module):
    """Attention, then feed-forward: each reads a norm, and is added."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = make_norm(config)
        self.attention = CausalSelfAttention(config)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = make_feed_forward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, cache: KVCache | None = None, layer: int = 0, position: int = 0
    ) -> Tensor:
        """(B, T, d_model) -> (B, T, d_model)."""
        x = x + self.dropout(
            self.attention(self.attention_norm(x), cache, layer, position)
        )
        x = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return x


# %% [markdown]
# Three checks. It computes what our function `pre_norm` computes, twice in a row. It is equal to the package's block, with dropout
# switched on and the same random draws. And put into the storyteller in place of its own blocks, it changes no digit of any
# answer.

# %%
config = GPTConfig(vocab_size=8, context_length=16, n_heads=2, d_model=32, dropout=0.1)
torch.manual_seed(0)
ours = TransformerBlock(config).double()
theirs = minigpt.model.gpt.TransformerBlock(config).double()
theirs.load_state_dict(ours.state_dict())
drawing = torch.Generator().manual_seed(0)
five = torch.randn(2, 5, 32, generator=drawing, dtype=torch.float64)  # (B, T, d_model)

ours.eval()
half_way = pre_norm(five, ours.attention, ours.attention_norm)
written_out = pre_norm(half_way, ours.feed_forward, ours.feed_forward_norm)
assert torch.equal(ours(five), written_out)

for seed in range(3):
    torch.manual_seed(seed)
    with_dropout = theirs.train()(five)
    torch.manual_seed(seed)
    assert torch.equal(ours.train()(five), with_dropout)

with torch.no_grad():
    expected = storyteller(ids)
    for i, block in enumerate(storyteller.blocks):
        mine = TransformerBlock(storyteller.config).double().eval()
        mine.load_state_dict(block.state_dict())
        storyteller.blocks[i] = mine
    assert torch.equal(storyteller(ids), expected)
n_blocks, n_logits = len(storyteller.blocks), expected.numel()
print(f"{n_blocks} blocks of ours in the storyteller: {n_logits:,} logits are the same")

# %% [markdown]
# A block takes (B, T, $d_{model}$) and returns (B, T, $d_{model}$), so blocks stack like bricks. What is still missing is the
# beginning and the end: embeddings, the final norm, the output head, and first weights that suit the depth. Lesson 8 adds them.

# %% [markdown]
# ## What to remember
#
# 1. Sixteen layers that replace their input learned nothing here: neither did the input get to the end nor the gradient to the
#    beginning. A healthy gradient alone did not help.
# 2. With residual connections a token's vector is the exact sum of all that was written into it. «Stream», «read» and «write» are a
#    picture of that sum.
# 3. LayerNorm works on each token alone: minus the mean, over the root of the biased variance plus ε, times a gain, plus a bias.
# 4. Post-norm normalises the stream itself; pre-norm normalises only what is read, and needs one norm at the end. Here pre-norm trained
#    deep at a rate at which post-norm did not. A lower rate, warm-up or smaller first weights help post-norm.
# 5. Dropout acts only in training, on what is written, and divides by 1 − *p* so that the mean stays the same.

# %% [markdown]
# ## Primary sources
#
# - He, Zhang, Ren, Sun 2016, Deep Residual Learning for Image Recognition (https://arxiv.org/abs/1512.03385)
# - Ba, Kiros, Hinton 2016, Layer Normalization (https://arxiv.org/abs/1607.06450)
# - Zhang and Sennrich 2019, Root Mean Square Layer Normalization (https://arxiv.org/abs/1910.07467)
# - Vaswani et al. 2017, Attention Is All You Need, sections 3.1, 5.3 and 5.4 (https://arxiv.org/abs/1706.03762)
# - Radford et al. 2018, Improving Language Understanding by Generative Pre-Training, section 4.1 (https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf)
# - Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.3 (https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)
# - Xiong et al. 2020, On Layer Normalization in the Transformer Architecture (https://arxiv.org/abs/2002.04745)
# - Takase, Kiyono, Kobayashi, Suzuki 2022, B2T Connection: Serving Stability and Performance in Deep Transformers (https://arxiv.org/abs/2206.00330)
# - Dong, Cordonnier, Loukas 2021, Attention Is Not All You Need: Pure Attention Loses Rank Doubly Exponentially with Depth (https://arxiv.org/abs/2103.03404)
# - Elhage et al. 2021, A Mathematical Framework for Transformer Circuits (https://transformer-circuits.pub/2021/framework/index.html)
# - Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014, Dropout: A Simple Way to Prevent Neural Networks from Overfitting (https://jmlr.org/papers/v15/srivastava14a.html)
# - Rush 2018; Huang et al. 2022, The Annotated Transformer (https://nlp.seas.harvard.edu/annotated-transformer/)
#
# **Next** · [Lesson 8 · The full GPT](08_full_gpt.ipynb)
