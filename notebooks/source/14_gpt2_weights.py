# %% [markdown]
# # Lesson 14 · GPT-2's weights
#
# A model that somebody else trained comes as a file of numbers with names. This lesson opens such a file byte by byte, moves its numbers
# into our GPT, and proves that the result is the same model. Then it sends one of our models the other way.
#
# **You will be able to**
# - read a file of weights tensor by tensor, and say what each tensor is for,
# - find a mistake that raises no error, and say between which two places it sits,
# - load GPT-2's layout into another implementation, and export to it,
# - compare models by bits per byte: with each other, with gzip, and with what is possible.
#
# **Time** 95 min
#
# **Builds on** [lesson 8](08_full_gpt.ipynb) for the parts of a GPT (recalled in a sentence each), and [lesson 1](01_next_token_game.ipynb) for loss and perplexity
#
# ![The GPT in one row, its embeddings, attention, feed-forward and output head in colour; below it the file model.safetensors as a strip of tensors, with arrows from them to the parts that they fill](../figures/where_gpt2_weights.svg)

# %% tags=["setup"]
import contextlib
import gzip
import io
import json
import lzma
import math
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from minigpt.config import GPTConfig, InputError
from minigpt.course import check, start_lesson
from minigpt.model.attention import scaled_dot_product_attention
from minigpt.model.gpt import GPT, next_token_loss, parameter_count
from minigpt.text import stories
from minigpt.text.data import cache_folder
from minigpt.weights.checkpoint import load_model
from minigpt.weights.gpt2_layout import BLOCK_NAMES, from_gpt2, gpt2_names, to_gpt2
from minigpt.weights.pretrained import (
    RELEASES,
    export_gpt2,
    load_gpt2,
    load_gpt2_tokenizer,
    read_tensors,
)

start_lesson()

# %% [markdown]
# ## A load that raises nothing
#
# GPT-2's own files are large, and you may be offline. So the lesson makes a small folder with exactly their layout: our
# storyteller, as Hugging Face's library `transformers` would store a GPT-2.

# %%
storyteller, tokenizer = load_model("storyteller")
config = storyteller.config
START = tokenizer.end_of_text
assert START is not None

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name) / "small-gpt2"
export_gpt2(storyteller, tokenizer, folder)
for file in sorted(folder.iterdir()):
    print(f"{file.name:<22} {file.stat().st_size:>9,} bytes")

# %% [markdown]
# Forget for a while that we know this model. Somebody sent the folder. Here is a loader as one writes it in a hurry. A list
# says which of our tensors has which name over there. If a shape does not fit, the matrix must be the other way round, so turn it.


# %%
def load_what_fits(folder: Path, config: GPTConfig) -> GPT:
    """A GPT with the tensors of the folder, each turned round if only so it fits."""
    model = GPT(config)
    state = model.state_dict()
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        for ours, theirs in gpt2_names(config).items():
            tensor = file.get_tensor(theirs)
            state[ours] = tensor if tensor.shape == state[ours].shape else tensor.T
    # tied: one matrix for both (lesson 8)
    state["output_head.weight"] = state["token_embedding.weight"]
    print("torch says:", model.load_state_dict(state))
    return model.eval()


hurried = load_what_fits(folder, config)

# %% [markdown]
# No tensor is missing, none is left over, every shape fits. Now let both models read a story that neither has seen.

# %%
unseen = stories.story_at("test", 0).text
ids = torch.tensor([[START, *tokenizer.encode(unseen)]])  # (1, T)


def loss_of(logits: Tensor) -> float:
    """Nats per token on the story, of a model's logits (1, T, vocab_size)."""
    return next_token_loss(logits[:, :-1], ids[:, 1:]).item()


with torch.inference_mode():
    loss_before = loss_of(storyteller.double()(ids))
    loss_hurried = loss_of(hurried.double()(ids))
print(f"the storyteller itself:     loss {loss_before:.2f} nats per token")
print(f"loaded with the loader above:    {loss_hurried:.2f} nats per token")
assert loss_hurried > loss_before + 0.3

# %% [markdown]
# Same file, same numbers, a ruined model, and not one error. **What went wrong, and how would you find it** if you had no
# healthy copy beside it? The rest of this lesson answers that.

# %% [markdown]
# ## What is in the file
#
# A `.safetensors` file is plain enough to read without a library. The first 8 bytes hold a number *n*, lowest byte first. The next *n*
# bytes are a JSON text, the **header**: for each tensor its type, its shape, and where its bytes begin and end. The rest is
# the numbers, one tensor after the other.

# %%
raw = (folder / "model.safetensors").read_bytes()
(n,) = struct.unpack("<Q", raw[:8])  # < is lowest byte first, Q is 8 bytes
header = json.loads(raw[8 : 8 + n])
data = raw[8 + n :]

print("the first 8 bytes:", list(raw[:8]), "so the header has", n, "bytes")
print("what it is a file of:", header.pop("__metadata__"))
print("one entry, transformer.ln_f.bias:")
print("   ", header["transformer.ln_f.bias"])
begin, end = header["transformer.ln_f.bias"]["data_offsets"]
by_hand = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32)
with safe_open(folder / "model.safetensors", framework="pt") as file:
    assert torch.equal(by_hand, file.get_tensor("transformer.ln_f.bias"))
assert 8 + n + sum(
    b - a for a, b in (entry["data_offsets"] for entry in header.values())
) == len(raw)

# %% [markdown]
# Check the 8 bytes yourself: the first, plus 256 times the second, plus 65,536 times the third. The file holds names, types, shapes and
# numbers, and a line of notes: nothing that could run. That is its point. Older folders have `pytorch_model.bin` instead, a pickle, and opening a pickle can run
# any code that its author put there. (`torch.load` refuses that by default since version 2.6.)
#
# Now the tensors, one by one. Some files begin every name with `transformer.`, others leave that out; we leave it out.

# %%
with safe_open(folder / "model.safetensors", framework="pt") as file:
    names = list(file.keys())
    tensors = {
        name.removeprefix("transformer."): file.get_tensor(name) for name in names
    }

print(
    f"d_model = {config.d_model}, so 3 d_model = {3 * config.d_model} and 4 d_model = "
    f"{4 * config.d_model}\n"
)
shown = (
    ["wte.weight", "wpe.weight"]
    + [name for name in tensors if name.startswith("h.0.")]
    + ["ln_f.weight", "ln_f.bias"]
)
for name in shown:
    print(f"{name:<22} {tuple(tensors[name].shape)!s:<13} {tensors[name].numel():>9,}")
print(
    f"\n{config.n_layers} blocks, {len(tensors)} tensors, "
    f"{sum(t.numel() for t in tensors.values()):,} numbers"
)
assert set(shown) | {name for name in tensors if name.startswith("h.")} == set(tensors)
assert sum(t.numel() for t in tensors.values()) == parameter_count(config)

# %% [markdown]
# `wte` and `wpe` are the embeddings of tokens and of positions. `h.0` is the first block: `ln_1`, then `attn`, then `ln_2`, then `mlp`, which is
# the feed-forward network. `c_attn` makes queries, keys and values at once, which is why it is 3 d_model wide. `c_fc` goes up to 4 d_model,
# `c_proj` (there are two) comes back. `ln_f` is the last LayerNorm. There is no output head: it is tied to `wte`.
#
# ### The same account for the real GPT-2
#
# GPT-2's smallest model has 12 blocks and 124,439,808 numbers (lesson 8), each of 4 bytes. The file to download has 548 million bytes. Do
# the product on paper before you read on: does it fit?

# %%
gpt2 = RELEASES["gpt2"].config
numbers = 4 * parameter_count(gpt2)
masks = 4 * gpt2.n_layers * gpt2.context_length**2
print(f"tensors of weights:  {len(gpt2_names(gpt2))}")
print(f"their bytes:         {numbers / 1e6:.1f} million")
print(f"the file:            {RELEASES['gpt2'].megabytes} million")
print(f"12 masks 1024 × 1024: {masks / 1e6:.1f} million")
assert (
    parameter_count(gpt2) == 124_439_808
    and round((numbers + masks) / 1e6) == RELEASES["gpt2"].megabytes
)

# %% [markdown]
# Fifty million bytes too many. They are the **causal masks**: triangles of ones, 1024 × 1024, one for each block, under the name `h.0.attn.bias`. Nobody
# trained them; an old version of the library stored everything that a layer held. They are no bias of anything. A loader
# must know them and leave them out, and must not be taken in by the name.

# %% [markdown]
# ## Names
#
# Every author names the parts anew. Between our block and GPT-2's there are six pairs:

# %%
for ours, theirs in BLOCK_NAMES.items():
    print(f"blocks.0.{ours:<20} h.0.{theirs}")

# %% [markdown]
# ### Exercise 1 · from their name to ours (★☆☆, 10 min)
#
# Write the translation: `"transformer.h.3.attn.c_proj.weight"` becomes `"blocks.3.attention.output.weight"`. Outside the blocks, `wte` is
# `token_embedding`, `wpe` is `position_embedding`, `ln_f` is `final_norm`. The first part, `transformer.`, may be missing. Use `BLOCK_NAMES`.


# %% tags=["exercise"]
def our_name(theirs: str) -> str:
    """Our name of the tensor that GPT-2's files call `theirs`."""
    ### BEGIN SOLUTION
    outside = {
        "wte": "token_embedding",
        "wpe": "position_embedding",
        "ln_f": "final_norm",
    }
    inside = {name: ours for ours, name in BLOCK_NAMES.items()}
    # kind: weight or bias
    module, _, kind = theirs.removeprefix("transformer.").rpartition(".")
    if module in outside:
        return f"{outside[module]}.{kind}"
    _, layer, part = module.split(".", 2)
    return f"blocks.{layer}.{inside[part]}.{kind}"
    ### END SOLUTION


# %%
check.our_name(our_name)

# %% [markdown]
# ## x W or x Wᵀ
#
# Names were right in the hurried loader. So look at the numbers. A layer takes a row of $d_{in}$ numbers to a row of $d_{out}$ numbers. Here 2 go
# to 3. GPT-2's way is to keep a matrix with a *row for each input*:
#
# $$y = x W + b, \qquad W \text{ has shape } (d_{in}, d_{out})$$

# %%
x = [1.0, 2.0]
W = [[1.0, 0.0, 3.0], [0.0, 1.0, -1.0]]  # (d_in, d_out) = (2, 3)
b = [10.0, 20.0, 30.0]

y = [sum(x[i] * W[i][j] for i in range(2)) + b[j] for j in range(3)]
print(y)

# %% [markdown]
# The third output by hand: 1 · 3 + 2 · (−1) + 30 = 31. Torch's `nn.Linear` keeps a *row for each output*, shape $(d_{out}, d_{in})$, and computes $y = x W^T + b$. The same numbers must be
# handed to it transposed:

# %%
x_row, W_file, b_file = torch.tensor([x]), torch.tensor(W), torch.tensor(b)
linear = nn.Linear(2, 3)
with torch.no_grad():
    linear.weight.copy_(W_file.T)
    linear.bias.copy_(b_file)

assert (x_row @ W_file + b_file).tolist() == [y]
assert linear(x_row).tolist() == [y]
print(
    "in the file:", tuple(W_file.shape), "  in nn.Linear:", tuple(linear.weight.shape)
)

# %% [markdown]
# `transformers` calls GPT-2's kind of layer `Conv1D`. The name is inherited: in OpenAI's code the function is `conv1d`, and its weight has the shape
# [1, d_in, d_out], a convolution that is one token wide. It never looks at a neighbour. It is a matrix product.
#
# **How could you notice that a file holds Wᵀ?** A matrix that is not square tells by its shape. Which of ours are square?

# %%
for name, tensor in tensors.items():
    if name.startswith("h.0.") and tensor.ndim == 2:
        square = tensor.size(0) == tensor.size(1)
        print(
            f"{name:<22} {tuple(tensor.shape)!s:<11} "
            f"{'square: both ways fit' if square else 'only one way fits'}"
        )
assert [
    name
    for name, t in tensors.items()
    if name.startswith("h.0.") and t.ndim == 2 and t.size(0) == t.size(1)
] == ["h.0.attn.c_proj.weight"]

# %% [markdown]
# There it is. The hurried loader turned three matrices of each block, because it had to, and left `attn.c_proj` as it was, because it fitted. The
# rule must go by what a layer *is*, not by what fits. All four of a block are `Conv1D`; the embeddings are tables, read row by row
# in both worlds, and stay as they are.


# %% tags=["package:minigpt.weights.gpt2_layout.is_transposed"]
def is_transposed(name: str) -> bool:
    """Whether this is a Conv1D's matrix (d_in, d_out): our Linear has (d_out, d_in)."""
    return name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))


# %%
print(sum(map(is_transposed, tensors)), "of", len(tensors), "tensors are to be turned")
assert sum(map(is_transposed, tensors)) == 4 * config.n_layers

# %% [markdown]
# ### Exercise 2 · a Linear from a Conv1D (★☆☆, 10 min)
#
# Given the weight (d_in, d_out) and the bias of a `Conv1D`, return an `nn.Linear` that computes $x W + b$.


# %% tags=["exercise"]
def conv1d_to_linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A Linear that takes x (..., d_in) to x @ weight + bias (..., d_out)."""
    ### BEGIN SOLUTION
    d_in, d_out = weight.shape
    linear = nn.Linear(d_in, d_out)
    with torch.no_grad():
        linear.weight.copy_(weight.T)
        linear.bias.copy_(bias)
    return linear
    ### END SOLUTION


# %%
check.conv1d_to_linear(conv1d_to_linear)

# %% [markdown]
# ### Inside c_attn
#
# `c_attn` is one matrix for three jobs. Its columns are: all queries, then all keys, then all values. Within each third come the heads, one after
# the other, $d_k$ columns each. With d_model = 4 and 2 heads ($d_k$ = 2):
#
# | columns | 0, 1 | 2, 3 | 4, 5 | 6, 7 | 8, 9 | 10, 11 |
# | --- | --- | --- | --- | --- | --- | --- |
# | of | query | query | key | key | value | value |
# | head | 0 | 1 | 0 | 1 | 0 | 1 |
#
# Other models store head after head instead: query, key and value of head 0, then of head 1. The shape is the same. So here is
# a second mistake that no shape will tell.
#
# ### Exercise 3 · one head's matrices (★★☆, 12 min)
#
# Return the matrices $W^Q, W^K, W^V$ of one head, each (d_model, d_k), out of `c_attn`'s weight (d_model, 3 d_model).


# %% tags=["exercise"]
def head_weights(
    c_attn: Tensor, n_heads: int, head: int
) -> tuple[Tensor, Tensor, Tensor]:
    """W_q, W_k and W_v, each (d_model, d_k), of a head (0 is the first)."""
    ### BEGIN SOLUTION
    d_k = c_attn.size(0) // n_heads
    q, k, v = (
        part[:, head * d_k : (head + 1) * d_k] for part in c_attn.chunk(3, dim=1)
    )
    return q, k, v
    ### END SOLUTION


# %%
check.head_weights(head_weights)

# %% [markdown]
# ## A reference
#
# To find mistakes that raise no error, you need something that is right: a **reference**. For GPT-2 people take `transformers`, and
# further down we do, if you have it. But a reference can be small. Here is GPT-2 as the file has it, in the file's names, every matrix used as it lies
# there. It writes down what each layer puts out.


# %%
def gelu_tanh(x: Tensor) -> Tensor:
    """GPT-2's GELU, by its formula."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def reference(
    w: dict[str, Tensor],
    ids: Tensor,
    n_heads: int,
    gelu: Callable[[Tensor], Tensor] = gelu_tanh,
    epsilon: float = 1e-5,
) -> dict[str, Tensor]:
    """What each layer of a GPT-2 puts out for ids (B, T), by its name in the file.

    w are the tensors of the file; the logits come last.
    """
    seen: dict[str, Tensor] = {}

    def conv1d(name: str, x: Tensor) -> Tensor:
        # no transposition anywhere
        seen[name] = x @ w[f"{name}.weight"] + w[f"{name}.bias"]
        return seen[name]

    def norm(name: str, x: Tensor) -> Tensor:
        seen[name] = F.layer_norm(
            x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], epsilon
        )
        return seen[name]

    seen["wte"], seen["wpe"] = w["wte.weight"][ids], w["wpe.weight"][: ids.size(1)]
    x = seen["wte"] + seen["wpe"]  # (B, T, d_model)
    for i in range(sum(name.endswith("ln_1.weight") for name in w)):
        qkv = conv1d(f"h.{i}.attn.c_attn", norm(f"h.{i}.ln_1", x))  # (B, T, 3 d_model)
        q, k, v = (  # (B, h, T, d_k)
            part.unflatten(-1, (n_heads, -1)).transpose(1, 2)
            for part in qkv.chunk(3, dim=-1)
        )
        heads, _ = scaled_dot_product_attention(q, k, v, causal=True)  # lesson 5
        x = x + conv1d(f"h.{i}.attn.c_proj", heads.transpose(1, 2).flatten(2))
        x = x + conv1d(
            f"h.{i}.mlp.c_proj", gelu(conv1d(f"h.{i}.mlp.c_fc", norm(f"h.{i}.ln_2", x)))
        )
    # tied: the table again, (B, T, vocab_size)
    seen["logits"] = norm("ln_f", x) @ w["wte.weight"].T
    return seen


# so that equal means equal to many digits
exact = {name: tensor.double() for name, tensor in tensors.items()}
right = reference(exact, ids, config.n_heads)
print(f"{len(right)} places to compare, loss {loss_of(right['logits']):.2f}")

# %% [markdown]
# ## Layer by layer
#
# From our model we need the same record. A **hook** is a function that torch calls whenever a module has computed something. We hang one on
# every module that has a counterpart in the file.


# %%
def record(model: GPT, ids: Tensor) -> dict[str, Tensor]:
    """What each layer of our model puts out, under GPT-2's names."""
    seen: dict[str, Tensor] = {}

    def remember(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = output

        return hook

    hooks = []
    for ours, theirs in gpt2_names(model.config).items():
        if ours.endswith(".weight"):
            name = theirs.removeprefix("transformer.").removesuffix(".weight")
            hooks.append(
                model.get_submodule(ours.removesuffix(".weight")).register_forward_hook(
                    remember(name)
                )
            )
    with torch.inference_mode():
        seen["logits"] = model(ids)
    for handle in hooks:
        handle.remove()
    return seen


def first_difference(found: dict[str, Tensor], right: dict[str, Tensor]) -> str | None:
    """The first place that differs, in the order of computing; None if all agree."""
    return next(
        (
            name
            for name, value in right.items()
            if not torch.allclose(found[name], value, rtol=1e-9, atol=1e-9)
        ),
        None,
    )


print(
    "the hurried loader's first wrong layer:",
    first_difference(record(hurried, ids), right),
)
assert first_difference(record(hurried, ids), right) == "h.0.attn.c_proj"

# %% [markdown]
# The comparison points at a place. Everything recorded before it agrees, so the mistake is in this layer, or between the place before
# and this one. Here that is the attention, which feeds `c_proj`, or `c_proj` itself. Its matrix is square: there we look first.
#
# Now load properly. A fresh model holds random numbers. We put the file's tensors in, group by group, and watch how far the agreement
# reaches each time.

# %%
model = GPT(config).double().eval()
places = dict(model.named_parameters())
agreed = []
for group in ["wte", "wpe", *(f"h.{i}" for i in range(config.n_layers)), "ln_f"]:
    with torch.no_grad():
        for ours, theirs in gpt2_names(config).items():
            name = theirs.removeprefix("transformer.")
            if name.startswith(f"{group}."):
                places[ours].copy_(
                    exact[name].T if is_transposed(name) else exact[name]
                )
    wrong = first_difference(record(model, ids), right)
    agreed.append(list(right).index(wrong) if wrong else len(right))
    print(
        f"{group:<5} loaded: {agreed[-1]:>2} of {len(right)} places agree, first "
        f"difference: {wrong}"
    )

assert agreed == sorted(agreed) and agreed[-1] == len(right)
assert math.isclose(loss_of(model(ids)), loss_before, abs_tol=1e-9)

# %% [markdown]
# Each group carries the agreement further, and with `ln_f` the logits agree too. That is the whole proof: not «it loads», not «it writes nicely», but
# the same numbers at every place. Take the habit along: whenever you port a model, compare activations, in float64, from the input on.

# %% [markdown]
# <div class="alert alert-warning">
# <b>You may have read</b> that a strict <code>load_state_dict</code> without an error means that the weights are loaded right, or that you see it from a loss that looks fine.
# The first checks names and shapes, which say nothing about the order of the numbers inside, nor about the formulas around them. The second misses what is small.
# </div>
#
# Here are seven mistakes. Each keeps every name and every shape.

# %%
d_k = config.d_model // config.n_heads


def turned(w: dict[str, Tensor]) -> dict[str, Tensor]:
    """attn.c_proj the wrong way round."""
    return {
        name: t.T if name.endswith("attn.c_proj.weight") else t for name, t in w.items()
    }


def columns(w: dict[str, Tensor], order: Tensor) -> dict[str, Tensor]:
    """The columns of every c_attn in another order."""
    return {name: t[..., order] if ".c_attn." in name else t for name, t in w.items()}


# what each column is: q k v, head, of d_k
thirds = torch.arange(3 * config.d_model).view(3, config.n_heads, d_k)
mistakes = {
    "attn.c_proj not turned": reference(turned(exact), ids, config.n_heads),
    "queries and keys exchanged": reference(
        columns(exact, thirds[[1, 0, 2]].flatten()), ids, config.n_heads
    ),
    "c_attn read head by head": reference(
        columns(exact, thirds.transpose(0, 1).flatten()), ids, config.n_heads
    ),
    "GELU with erf (lesson 6)": reference(exact, ids, config.n_heads, gelu=F.gelu),
    "LayerNorm's epsilon 1e-6": reference(exact, ids, config.n_heads, epsilon=1e-6),
    "8 heads in place of 4": reference(exact, ids, 8),
    "2 heads in place of 4": reference(exact, ids, 2),
}
print(f"{'':<28}{'first difference':<17} loss")
print(f"{'none':<28}{'-':<17} {loss_of(right['logits']):.2f}")
for mistake, found in mistakes.items():
    print(
        f"{mistake:<28}{first_difference(found, right):<17} "
        f"{loss_of(found['logits']):.2f}"
    )

# %%
changes = {
    name: abs(loss_of(found["logits"]) - loss_before)
    for name, found in mistakes.items()
}
assert all(first_difference(found, right) for found in mistakes.values())
assert all(changes[name] > 0.3 for name in list(mistakes)[:3])
assert all(changes[name] < 0.05 for name in list(mistakes)[3:6])
assert changes["2 heads in place of 4"] > 0.3

# %% [markdown]
# The first three ruin the model, and the last harms it plainly. The three between you would hardly see in a loss, and the comparison
# shows them all the same. A wrong number of heads usually shows: 8 happens to be nearly harmless for this model, 2 is not. So
# nobody can say beforehand which mistake a loss will show. Read the places with care: GELU
# stands between `c_fc` and `c_proj` and is not recorded, so its mistake is first seen at `c_proj`.
#
# The last four mistakes are not in the tensors at all. **A file of weights holds no formulas.** The formulas are named in `config.json`, which
# must be read just as carefully:

# %%
fields = json.loads((folder / "config.json").read_text())
for name in (
    "model_type",
    "n_layer",
    "n_head",
    "n_embd",
    "activation_function",
    "layer_norm_epsilon",
    "tie_word_embeddings",
):
    print(f"{name:<22} {fields[name]}")

# %% [markdown]
# `gelu_new` is the library's name for the formula with tanh, which is the one in OpenAI's code. `n_head` is nowhere in the shapes either:
# the same matrices can be cut into 4 heads, into 8 or into 2, as the last rows above did.

# %% [markdown]
# ## The package, and back again
#
# `minigpt` does what you did: it translates names and turns four matrices of each block. It also reads the config, and drops the masks of old files. If a
# tensor is missing, extra or of another shape, it says which. `load_gpt2` reads a folder, `export_gpt2` writes one. There and back must change nothing.

# %%
loaded = load_gpt2(folder)
again = load_gpt2_tokenizer(folder)
with torch.inference_mode():
    difference = (loaded(ids) - right["logits"]).abs().max().item()
    before, after = storyteller.state_dict(), loaded.state_dict()
    assert difference < 1e-3  # float32 against float64
    assert first_difference(record(loaded.double(), ids), right) is None
assert all(torch.equal(before[name].float(), after[name].float()) for name in before)
assert all(
    torch.equal(a, exact[name.removeprefix("transformer.")])
    for name, a in to_gpt2(loaded).items()
)
assert again.encode(unseen) == tokenizer.encode(unseen)

mask = torch.ones(1, 1, config.context_length, config.context_length).tril()
with_masks = to_gpt2(storyteller) | {
    f"transformer.h.{i}.attn.bias": mask for i in range(config.n_layers)
}
kept = from_gpt2(with_masks, config)
print(
    len(with_masks),
    "tensors with the masks of an old file,",
    len(kept),
    "after loading",
)
assert kept.keys() == from_gpt2(to_gpt2(storyteller), config).keys()

incomplete = {
    name: t
    for name, t in to_gpt2(storyteller).items()
    if name != "transformer.ln_f.bias"
}
try:
    from_gpt2(incomplete, config)
except InputError as problem:
    print("a tensor taken out:", problem)
print("every weight equal, every place equal, every token id equal")

# %% [markdown]
# ### Does the other side agree?
#
# An export is right when the library it is meant for computes the same. `transformers` is not among what `make lab` installs, and the next cell
# also runs without it. With it (`pip install transformers`), the cell loads our folder as anybody would load a GPT-2.

# %% tags=["nbval-ignore-output"]
# all it needs is in our folder
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
try:
    # it reports progress and gives advice there
    with contextlib.redirect_stderr(io.StringIO()):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        hugging_face = AutoModelForCausalLM.from_pretrained(folder).double()
except ImportError:
    print(
        "transformers is not installed, so this was not tried here. The lesson goes on "
        "without it."
    )
else:
    with torch.inference_mode():
        answer = hugging_face(ids, output_hidden_states=True)
    assert torch.allclose(answer.logits, right["logits"], atol=1e-9)
    assert torch.allclose(
        answer.hidden_states[0], right["wte"] + right["wpe"], atol=1e-9
    )
    assert torch.allclose(answer.hidden_states[-1], right["ln_f"], atol=1e-9)
    assert AutoTokenizer.from_pretrained(folder)(unseen)[
        "input_ids"
    ] == tokenizer.encode(unseen)
    print(
        f"{type(hugging_face).__name__} of transformers: the same logits,\n"
        "hidden states and token ids."
    )

# %% [markdown]
# ## How good is a model that somebody sent you?
#
# Losses and perplexities of different models hide a trap. Let our model read one paragraph from its own world and one about the
# tides, from outside. **Perplexity** is e to the loss (lesson 1): the number of equally likely tokens that would be as hard to guess.

# %%
TIDES = (
    "A tide is the slow rise and fall of the sea. The moon pulls on the water, and "
    "on the side nearest to it the pull is stronger than on the far side. So the "
    "ocean is stretched a little, and the turning earth carries each coast through "
    "the bulges, twice in a day. Sailors knew the pattern long before anyone could "
    "explain it."
)


@torch.inference_mode()
def token_probabilities(model: GPT, start: int, ids: list[int]) -> Tensor:
    """What the model gave to each of the ids when it came, (T,)."""
    logits = model(torch.tensor([[start, *ids[:-1]]]))[0]  # (T, vocab_size)
    return logits.softmax(dim=-1).gather(1, torch.tensor(ids)[:, None]).squeeze(1)


def perplexity_of(probabilities: Tensor) -> float:
    return math.exp(-probabilities.log().mean().item())


p_story = token_probabilities(storyteller, START, tokenizer.encode(unseen))
p_tides = token_probabilities(storyteller, START, tokenizer.encode(TIDES))
print(f"a story:    {len(p_story):>4} tokens, perplexity {perplexity_of(p_story):.2f}")
print(f"the tides:  {len(p_tides):>4} tokens, perplexity {perplexity_of(p_tides):.0e}")
print(f"no idea at all:         perplexity {tokenizer.vocab_size:,}")
assert perplexity_of(p_story) < 3 and perplexity_of(p_tides) > tokenizer.vocab_size

# %% [markdown]
# Outside its world the model is far *worse than one that knows nothing*. It has never seen anything but stories, it is sure of what comes next, and it is
# wrong. A perplexity says nothing without the words «on which text».

# %% [markdown]
# <div class="alert alert-warning">
# <b>You may have read</b> that of two models the one with the lower perplexity is better.
# That holds on the same text with the same tokenizer. Perplexity is per token, and a tokenizer decides what a token is.
# </div>
#
# Take the one model, the one story, the same probabilities. Their product is the probability of the story. Only what we divide its cost by changes:

# %%
cost = -p_story.log().sum().item()  # nats for the whole story
units = {
    "token": len(p_story),
    "word": len(unseen.split()),
    "character": len(unseen),
    "byte": len(unseen.encode()),
}
for unit, count in units.items():
    print(
        f"{count:>4} {unit + 's':<11} perplexity per {unit:<10} "
        f"{math.exp(cost / count):.2f}"
    )
per_unit = {unit: math.exp(cost / count) for unit, count in units.items()}
assert per_unit["byte"] <= per_unit["character"] < per_unit["token"] < per_unit["word"]

# %% [markdown]
# One model, one text, several perplexities. To compare models with different tokenizers, divide by something that both must share: the
# bytes of the text. By custom the cost is then given in bits, $-\log_2 p$:
#
# $$\text{bits per byte} = \frac{-\sum \log_2 p}{\text{bytes of the text in UTF-8}}$$
#
# Try it on paper: the text is `né`, three bytes (é takes two), read as two tokens with probabilities 1/2 and 1/4. The cost is 1 + 2 = 3 bits, so 1 bit per byte.
#
# ### Exercise 4 · bits per byte (★★☆, 10 min)
#
# Given what a model gave to each token of a text when it came, and the text, return the bits per byte. It should work for a thousand tokens too.


# %% tags=["exercise"]
def text_bits_per_byte(probabilities: Sequence[float], text: str) -> float:
    """Bits that the tokens cost together, for each byte of the text in UTF-8."""
    ### BEGIN SOLUTION
    bits = sum(-math.log2(p) for p in probabilities)
    return bits / len(text.encode("utf-8"))
    ### END SOLUTION


# %%
check.text_bits_per_byte(text_bits_per_byte)

# %% [markdown]
# ### Why these bits are a file size (optional)
#
# Shannon (1948) showed that a source can be coded in as many bits as its surprise, and no fewer on average. **Arithmetic coding** gets there. Begin with the
# interval from 0 to 1. For each token keep only the piece that belongs to it, as wide as its probability, as in lesson 1's `draw`. After the last token a small
# interval is left. Any number inside it names the whole text.
#
# Three tokens with probabilities 1/2, 3/4 and 1/8, whose pieces begin at 0, 1/4 and 7/8:

# %%
low, width = Fraction(0), Fraction(1)
for begins, p in (
    (Fraction(0), Fraction(1, 2)),
    (Fraction(1, 4), Fraction(3, 4)),
    (Fraction(7, 8), Fraction(1, 8)),
):
    low, width = low + width * begins, width * p
    print(
        f"from {low!s:>5} to {low + width!s:>5}   width {width!s:>4}, -log2 is "
        f"{-math.log2(width):.2f}"
    )

digits = next(n for n in range(1, 99) if math.ceil(low * 2**n) < (low + width) * 2**n)
code = math.ceil(low * 2**digits)
print(
    f"a number inside with the fewest binary digits: 0.{code:0{digits}b} = "
    f"{Fraction(code, 2**digits)}, {digits} bits"
)
assert low <= Fraction(code, 2**digits) < low + width
assert digits <= math.ceil(-math.log2(width))

# %% [markdown]
# The width is the product of the probabilities, so the text costs $-\log_2$ of its probability in bits, rounded up once for the whole text. The reader must
# also know where to stop. A real coder gives the end a token of its own, which we leave out: after a story it costs next to nothing, as the next cell
# asserts. Whoever has the same model finds the tokens again: 15/32 lies in the first half, so the first token was the first one, and so on.
# **A model that predicts is a compressor**, and its loss is the size of the file.
#
# So it can be measured against `gzip` and `lzma`. In our story world we even know the best that is possible: every story carries its bits.

# %%
some = [stories.story_at("test", i) for i in range(20)]
bytes_of_some = sum(len(story.text.encode()) for story in some)
bits_of_some = sum(
    -token_probabilities(storyteller, START, tokenizer.encode(story.text))
    .log2()
    .sum()
    .item()
    for story in some
)
model_bits = bits_of_some / bytes_of_some
floor_bits = sum(story.bits for story in some) / bytes_of_some
story_bits = -p_story.log2().sum().item() / len(unseen.encode())
tides_bits = -p_tides.log2().sum().item() / len(TIDES.encode())
with torch.inference_mode():
    # a story ends where the next begins
    end = storyteller(ids)[0, -1].softmax(dim=-1)[START].item()
assert -math.log2(end) < 0.01
print(f"our model on 20 stories:  {model_bits:.2f} bits per byte")
print(f"the least possible there: {floor_bits:.2f}")
print(f"our model on the tides:   {tides_bits:.2f}")

# %% [markdown]
# How small a compressor gets a text depends on the version of its library, so your numbers may differ a little in the next table. For the 2,000 stories
# our model's number is the one of the 20: it does not learn while it reads, so a sample will do.


# %% tags=["nbval-ignore-output"]
def compressed(text: str) -> tuple[float, float]:
    """Bits per byte of gzip and of lzma."""
    data = text.encode()
    by_gzip, by_lzma = len(gzip.compress(data)), len(lzma.compress(data))
    return 8 * by_gzip / len(data), 8 * by_lzma / len(data)


long_text = "\n".join(stories.story_at("test", i).text for i in range(2000))
table = {"one story": unseen, "the tides": TIDES, "2,000 stories": long_text}
sizes = {name: compressed(text) for name, text in table.items()}
print(f"{'bits per byte':<16}{'as it is':>9}{'gzip':>7}{'lzma':>7}{'our model':>11}")
for (name, (by_gzip, by_lzma)), ours_bits in zip(
    sizes.items(), (story_bits, tides_bits, model_bits), strict=True
):
    print(f"{name:<16}{8:>9}{by_gzip:>7.2f}{by_lzma:>7.2f}{ours_bits:>11.2f}")
print(
    f"\nof no text at all, gzip makes {len(gzip.compress(b''))} bytes and lzma "
    f"{len(lzma.compress(b''))}"
)

weights = (folder / "model.safetensors").stat().st_size
needed = 8 * weights / (sizes["2,000 stories"][1] - model_bits)
print(
    f"the model's own file: {weights / 1e6:.1f} MB. It pays for itself against lzma "
    f"after {needed / 1e6:.0f} MB of stories,"
)
print(f"if lzma goes on as it did on these {len(long_text) / 1e6:.1f} MB")

# %%
assert 0.9 * floor_bits < model_bits < 1.2 * floor_bits
assert min(sizes["2,000 stories"]) > 3 * model_bits
assert min(sizes["one story"]) > min(sizes["2,000 stories"])
assert tides_bits > 8 > max(sizes["the tides"])

# %% [markdown]
# What this shows, and what it does not:
#
# - On stories our model is close to the floor, and several times shorter than `gzip` and `lzma`. They find repetitions; it knows the world.
# - On one paragraph the compressors have little to repeat, and their fixed cost weighs. On 2,000 stories they have learned a good deal, from the
#   text alone.
# - On the tides our model needs more bits than the text has. `gzip` wins, because it assumes so little.
# - The compressors need no file of weights, and the model does. Delétang et al. (2023) therefore also give an adjusted rate, with the size of the
#   model added to that of the compressed text. Then a large model pays only for a large amount of text.
#
# So say three things with every such number: which text, compared with what, and who pays for the model.

# %% [markdown]
# ## The real GPT-2 (optional)
#
# Everything is in place for the 124,439,808 numbers that OpenAI published. The next cell looks for them on this computer: in minigpt's cache, and in that of Hugging Face. If they are
# not there, it says so and ends. To fetch them once (548 MB), set `DOWNLOAD = True` and run the cell again.

# %% tags=["nbval-ignore-output"]
DOWNLOAD = False


def find_gpt2() -> str | Path | None:
    """Name or folder of GPT-2 on this computer; None if it is not there."""
    if DOWNLOAD or (cache_folder() / "gpt2" / "model.safetensors").exists():
        return "gpt2"
    hub = (
        Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")) / "hub"
    )
    found = [
        *hub.glob("models--openai-community--gpt2/snapshots/*/model.safetensors"),
        *hub.glob("models--gpt2/snapshots/*/model.safetensors"),
    ]
    return found[0].parent if found else None


def has_tokenizer(place: str | Path, patience: float = 20) -> bool:
    """Whether its tokenizer comes in time, in a process that can be ended."""
    program = (
        "import sys; from minigpt.weights.pretrained import load_gpt2_tokenizer; "
        "load_gpt2_tokenizer(sys.argv[1])"
    )
    try:
        subprocess.run(
            [sys.executable, "-c", program, str(place)],
            check=True,
            capture_output=True,
            timeout=patience,
        )
    except subprocess.SubprocessError:
        return False
    return True


def read_with_gpt2(place: str | Path) -> None:
    """Load it, compare it with the reference, and let it read about the tides."""
    model = load_gpt2(place).double()
    words = load_gpt2_tokenizer(place)
    start = words.end_of_text
    assert start is not None
    ids = words.encode(TIDES)
    stored = read_tensors(cache_folder() / place if place in RELEASES else Path(place))
    file = {
        name.removeprefix("transformer."): tensor.double()
        for name, tensor in stored.items()
    }
    batch = torch.tensor([[start, *ids]])
    with torch.inference_mode():
        assert (
            first_difference(
                record(model, batch), reference(file, batch, model.config.n_heads)
            )
            is None
        )
    p = token_probabilities(model, start, ids)
    print(
        f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters, "
        "every place as in the reference"
    )
    bits = -p.log2().sum().item() / len(TIDES.encode())
    print(
        f"the tides: {len(ids)} tokens, perplexity {perplexity_of(p):.1f}, {bits:.2f} "
        "bits per byte"
    )
    print(
        f"(gzip {sizes['the tides'][0]:.2f}, lzma {sizes['the tides'][1]:.2f}, our "
        f"storyteller {tides_bits:.2f})"
    )


place = find_gpt2()
if place is None:
    print(
        "GPT-2's weights are not on this computer, so this was not tried here.\n"
        "Nothing else in the lesson needs them."
    )
elif not has_tokenizer(place):
    print(
        "GPT-2's tokenizer is not on this computer, and could not be fetched\n"
        "within twenty seconds, so GPT-2 was not tried here."
    )
else:
    try:
        read_with_gpt2(place)
    except InputError as problem:
        print("GPT-2 could not be loaded:", problem)

# %% [markdown]
# One caution if you ran it: nobody outside OpenAI knows all that GPT-2 read. A well-known paragraph may have been in its training text, and then a low number shows
# memory, not skill. The paragraph about the tides was written for this lesson, years after GPT-2.

# %%
temporary.cleanup()

# %% [markdown]
# ## What to remember
#
# 1. A file of weights is names, shapes and numbers. The formulas are not in it: the activation, the epsilon and the number of heads stand in the config, or nowhere.
# 2. GPT-2's `Conv1D` computes x W + b, torch's `Linear` x Wᵀ + b. Four matrices of each block must be turned, and one of them is square, so no shape tells.
# 3. That a load raises no error proves nothing. Compare activations with a reference, in float64, from the input on: the mistake is at the first difference, or between it and the place before.
# 4. Perplexity depends on the tokenizer and on the text. Bits per byte can be compared between models, and with compressors.
# 5. A model that predicts is a compressor: −log₂ p is a file size. Its own file has to be paid for too.

# %% [markdown]
# ## Primary sources
#
# - Radford et al. 2019, Language Models are Unsupervised Multitask Learners (https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)
# - OpenAI's code of GPT-2, with `conv1d` and `gelu` (https://github.com/openai/gpt-2/blob/master/src/model.py)
# - Hugging Face's transformers: `Conv1D` (https://github.com/huggingface/transformers/blob/main/src/transformers/pytorch_utils.py) and GPT-2 (https://github.com/huggingface/transformers/blob/main/src/transformers/models/gpt2/modeling_gpt2.py)
# - The safetensors format (https://github.com/huggingface/safetensors#format)
# - Hendrycks and Gimpel 2016, Gaussian Error Linear Units, section 2 (https://arxiv.org/abs/1606.08415)
# - Shannon 1948, A Mathematical Theory of Communication, section 9 (https://doi.org/10.1002/j.1538-7305.1948.tb01338.x)
# - Delétang et al. 2023, Language Modeling Is Compression (https://arxiv.org/abs/2309.10668)
#
# **Next** · [Lesson 15 · Classification](15_classification.ipynb): weights that somebody trained before you, and another task for them.
