"""The checks of lesson 14, GPT-2's weights."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from minigpt.course.exercise import Exercise, close


@Exercise
def our_name(answer: Callable[[str], str]) -> str | None:
    """Our name of the tensor that GPT-2's files call so."""
    expected = {
        "transformer.h.3.attn.c_proj.weight": "blocks.3.attention.output.weight",
        "transformer.h.3.mlp.c_proj.weight": "blocks.3.feed_forward.down.weight",
        "transformer.h.0.attn.c_attn.bias": "blocks.0.attention.qkv.bias",
        "transformer.h.11.ln_2.weight": "blocks.11.feed_forward_norm.weight",
        "transformer.h.1.mlp.c_fc.bias": "blocks.1.feed_forward.up.bias",
        "transformer.h.10.ln_1.bias": "blocks.10.attention_norm.bias",
        "transformer.wte.weight": "token_embedding.weight",
        "transformer.wpe.weight": "position_embedding.weight",
        "transformer.ln_f.bias": "final_norm.bias",
    }
    for theirs, ours in expected.items():
        name = answer(theirs)
        came = f"{theirs!r} becomes {name!r}."
        if name == ours:
            continue
        if not isinstance(name, str):
            return f"{came} A name is a string."
        if name.startswith("transformer."):
            return f"{came} Our names do not begin with «transformer.»."
        if name.startswith("h."):
            return f"{came} What are GPT-2's «h» called in our model?"
        if name == ours.rpartition(".")[0]:
            return f"{came} And which of the two, weight or bias?"
        if name == ours.replace(".bias", ".weight"):
            return f"{came} The bias got the name of the weight."
        if name.split(".")[0] != ours.split(".")[0]:
            return f"{came} The part that it belongs to is called «{ours.split('.')[0]}» in our model."
        if ours.startswith("blocks.") and name.endswith("." + ours.split(".", 2)[2]):
            return f"{came} Look at the number of the block: it follows «blocks.», and may have two digits."
        if "c_proj" in theirs and name.endswith(("output.weight", "down.weight")):
            return f"{came} There are two c_proj in a block. What stands before it?"
        return f"{came} It should be {ours!r}."
    for theirs, ours in expected.items():
        if (name := answer(theirs.removeprefix("transformer."))) != ours:
            return f"Right with «transformer.» in front. Without it, {theirs.partition('.')[2]!r} becomes {name!r}."
    return None


@Exercise
def conv1d_to_linear(answer: Callable[[Tensor, Tensor], nn.Linear]) -> str | None:
    """A Linear that computes x W + b with a Conv1D's weight and bias."""
    generator = torch.Generator().manual_seed(0)
    for d_in, d_out in ((2, 3), (3, 3)):
        weight, bias = torch.randn(d_in, d_out, generator=generator), torch.randn(d_out, generator=generator)
        kept, kept_bias = weight.clone(), bias.clone()
        linear = answer(weight, bias)
        if weight.shape != kept.shape or not close(weight, kept) or not close(bias, kept_bias):
            return "You changed the weight or the bias that you were given. They belong to the caller: copy."
        if not isinstance(linear, nn.Linear):
            return f"Your function returns a {type(linear).__name__}. Return the nn.Linear itself."
        matrix = linear.weight
        what = f"For a weight ({d_in}, {d_out})"
        if matrix.shape != (d_out, d_in) and matrix.shape == (d_in, d_out):
            return f"{what} your Linear's weight has the shape {(d_in, d_out)}: that takes {d_out} numbers to {d_in}."
        if matrix.shape != (d_out, d_in):
            return f"{what} your Linear's weight has the shape {tuple(matrix.shape)}, not ({d_out}, {d_in})."
        if linear.bias is None or close(linear.bias.detach(), torch.zeros(d_out)):
            return f"{what} the matrix is there, but the Linear adds no bias."
        if d_in != d_out and close(matrix.detach(), kept.reshape(d_out, d_in)):
            return f"{what} the numbers kept their order in memory: view and reshape do not transpose."
        if d_in == d_out and close(matrix.detach(), kept):
            return "Right for (2, 3). For (3, 3) your Linear has the matrix as it was: a square one must be turned too."
        if not close(matrix.detach(), kept.T):
            return f"{what} the Linear's weight is not its transpose. Has it still its random numbers?"
        if not close(linear.bias.detach(), bias):
            return f"{what} the bias is not the one you were given."
        if (linear.in_features, linear.out_features) != (d_in, d_out):
            return f"{what} the Linear calls itself {linear}. Which of the two numbers comes first in nn.Linear?"
        x = torch.randn(4, d_in, generator=generator)
        if not close(linear(x).detach(), x @ kept + bias, 1e-5):
            return f"{what} your Linear does not compute x @ weight + bias."
    return None


@Exercise
def head_weights(answer: Callable[[Tensor, int, int], tuple[Tensor, Tensor, Tensor]]) -> str | None:
    """W_q, W_k and W_v of one head of c_attn."""
    # The last two shapes have d_k unlike n_heads, so that neither can stand for the other.
    for d_model, n_heads, head in ((4, 2, 0), (4, 2, 1), (6, 2, 1), (12, 4, 2)):
        d_k, given = d_model // n_heads, f"With d_model = {d_model} and {n_heads} heads"
        c_attn = torch.arange(3.0 * d_model).repeat(d_model, 1)  # row 0: its columns' numbers
        c_attn += 100 * torch.arange(d_model)[:, None]
        parts = answer(c_attn.clone(), n_heads, head)
        if not isinstance(parts, Sequence) or len(parts) != 3:
            return "Return three matrices as a tuple: W_q, W_k, W_v."
        shapes = [tuple(part.shape) for part in parts]
        if shapes == [(d_k, 3 * d_model)] * 3 or shapes == [(d_k, d_model)] * 3:
            return f"The shapes are {shapes[0]}. You cut rows: those are the inputs. A head has its own columns."
        if shapes == [(d_model, d_model)] * 3:
            return (
                f"The shapes are {shapes[0]}: that is the whole third, with all heads. Which columns are head {head}'s?"
            )
        if shapes != [(d_model, d_k)] * 3:
            return f"{given} the shapes are {shapes}, not three times {(d_model, d_k)}."
        found = [part[0].int().tolist() for part in parts]
        want = [[third * d_model + head * d_k + i for i in range(d_k)] for third in range(3)]
        came = f"{given}, for head {head}, you took the columns {found[0]}, {found[1]}, {found[2]}."
        if found == want:
            if any(not close(part, c_attn[:, columns]) for part, columns in zip(parts, want, strict=True)):
                return "The columns are right, but the rows below the first are not those of c_attn."
            continue
        if sorted(found) == want:
            return f"{came} Right columns, wrong order: queries come first, then keys, then values."
        if found == [[3 * d_k * head + third * d_k + i for i in range(d_k)] for third in range(3)]:
            return f"{came} That is q, k, v of one head side by side. GPT-2 has all queries first, of every head."
        if found == [[third * d_model + head + n_heads * i for i in range(d_k)] for third in range(3)]:
            return f"{came} Those are {n_heads} columns apart. The columns of a head lie next to each other."
        if found == [[third * d_model + (n_heads - 1 - head) * d_k + i for i in range(d_k)] for third in range(3)]:
            return f"{came} Those are another head's. Head 0 is the first."
        return f"{came} They should be {want[0]}, {want[1]}, {want[2]}: see the table above."
    c_attn = torch.linspace(0, 1, 48, dtype=torch.float64).reshape(4, 12).requires_grad_()
    parts = answer(c_attn, 2, 0)
    if any(not close(part, c_attn[:, start : start + 2], 1e-12) for part, start in zip(parts, (0, 4, 8), strict=True)):
        return "Right for whole numbers. For others the digits are no longer those of c_attn: do not round, or convert."
    if not all(part.requires_grad for part in parts):
        return "Right, but cut off: no gradient can flow from the parts back to c_attn."
    return None


@Exercise
def text_bits_per_byte(answer: Callable[[Sequence[float], str], float]) -> str | None:
    """Bits that the tokens cost together, for each byte of the text."""
    text, probabilities = "né", [0.5, 0.25]
    result = float(answer(probabilities, text))
    came = f"For {text!r} with {probabilities} you return {result:.4g}."
    if close(result, -1.0):
        return f"{came} Less than nothing? Mind the sign of a logarithm."
    if close(result, 1.5):
        return (
            f"{came} That is 3 bits / 2. Count the bytes in UTF-8: len counts characters (and there are 2 tokens too)."
        )
    if close(result, math.log(2)):
        return f"{came} That is in nats. Which logarithm gives bits?"
    if close(result, math.log(2) * 1.5):
        return f"{came} That is nats, divided by 2. Take bits, and divide by the bytes of the text."
    if close(result, 3.0):
        return f"{came} These are the bits of the whole text. How many bytes share them?"
    if close(result, 0.5):
        return f"{came} That divides twice, by tokens and by bytes. Add the costs of the tokens, do not average them."
    if close(result, -math.log2(0.375) / 3) or close(result, -math.log2(0.75) / 3):
        return f"{came} It takes the logarithm of a sum or a mean. Each token has its own logarithm, and those add up."
    if not close(result, 1.0):
        return f"{came} By hand: (1 + 2) bits for 3 bytes make 1."
    try:
        long = float(answer([0.01] * 1000, "x" * 1000))
    except (ValueError, ZeroDivisionError, OverflowError) as problem:
        return (
            f"Right for two tokens. For a thousand with 0.01 each it stops with {type(problem).__name__}: "
            "their product is too small for a float. Add logarithms instead."
        )
    if math.isinf(long) or math.isnan(long):
        return (
            f"For a thousand tokens you return {long}: their product is too small for a float. Add logarithms instead."
        )
    if not close(long, math.log2(100)):
        return f"For 1,000 tokens of 0.01 and 1,000 bytes you return {long:.4g}. Each costs log2(100) = 6.6439 bits."
    mine = [0.5, 0.25]
    answer(mine, "né")
    if mine != [0.5, 0.25]:
        return f"Right, but afterwards the caller's list is {mine}."
    if not close(answer([0.5] * 8, "x"), 8.0):
        return f"For one byte that took 8 tokens of 1/2 you return {answer([0.5] * 8, 'x'):.4g}, not 8."
    return None
