"""The checks of lesson 17, LoRA."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.course.exercise import Exercise, close, same_slopes


@Exercise
def adapter_numbers(answer: Callable[[list[tuple[int, int]], int], int]) -> str | None:
    """How many numbers B and A have, for all matrices together."""
    shapes, rank = [(7, 3), (3, 3), (3, 11)], 2
    got = answer(shapes, rank)
    came = f"For the shapes {shapes} and rank {rank} you return {got}."
    if isinstance(got, list | tuple):
        return f"{came} That is a number for each matrix, and one for all together is asked for: add them up."
    mistakes = {
        63: "Those are the numbers of the matrices themselves. What edges do B and A have?",
        126: "That is rank · d_out · d_in. B has d_out rows and rank columns: how many numbers is that?",
        30: "That is right for rank 1. Where does the rank come in?",
        20: "That is right for the first matrix. Who counts the others?",
        28: "That is right for the last matrix. Who counts the others?",
        26: "That is B alone. How large is A?",
        34: "That is A alone. How large is B?",
        120: "Four times too much for rank 1, twice for rank 2: is the rank squared, or a factor of 2 too many?",
        252: "That multiplies the rank into both edges. B is (d_out, rank) and A is (rank, d_in): add their sizes.",
    }
    if got != 60:
        return f"{came} {mistakes.get(int(got), 'By hand: 2·7 + 2·3 for the first, 2·3 + 2·3, and 2·3 + 2·11: 60.')}"
    for other, r, right in (([(5, 4)], 1, 9), ([(5, 4)], 3, 27), ([], 4, 0), ([(2, 9)] * 4, 2, 88)):
        if (got := answer(list(other), r)) != right:
            return f"Right for three shapes. For {other} and rank {r} you return {got} instead of {right}."
    given = [(4, 4), (2, 6)]
    answer(given, 1)
    if given != [(4, 4), (2, 6)]:
        return f"Your function changed the list of shapes to {given}. It was only given to read."
    return None


@Exercise
def low_rank(answer: Callable[[Tensor, int], Tensor]) -> str | None:
    """The nearest matrix of a rank."""
    generator = torch.Generator().manual_seed(0)
    tall = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    for matrix, rank in ((tall, 1), (tall, 2), (tall.T.contiguous(), 2), (tall, 3)):
        U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
        V = Vh.mT
        right, shape = (U[:, :rank] * S[:rank]) @ Vh[:rank], tuple(matrix.shape)
        handed = matrix.clone()
        came = f"For a matrix of shape {shape} and rank {rank}:"
        try:
            got = torch.as_tensor(answer(handed, rank)).detach()
        except RuntimeError as error:
            if "shape" not in str(error) and "size" not in str(error):
                raise
            return f"{came} your shapes do not fit ({error}). `U[:, :rank]` is {(shape[0], rank)}: what has to follow?"
        if not torch.equal(handed, matrix):
            return f"{came} your function changed the matrix, which it was only given to read."
        if got.shape != matrix.shape:
            return f"{came} you return the shape {tuple(got.shape)}. The result has the shape of the matrix."
        mistakes = {
            "That is the matrix itself. Where is it cut off?": matrix,
            "The singular values are missing: each table has its own size σ.": U[:, :rank] @ Vh[:rank],
            "The singular values are there twice.": (U[:, :rank] * S[:rank] ** 2) @ Vh[:rank],
            "That is table number `rank` alone. The sum has all up to it.": (U[:, rank - 1 : rank] * S[rank - 1 : rank])
            @ Vh[rank - 1 : rank],
            "Those are the *smallest* singular values. Which come first in S?": (U[:, -rank:] * S[-rank:]) @ Vh[-rank:],
            "That is what is left when the first tables are gone: the rest, not the best.": matrix - right,
            "One table too many.": (U[:, : rank + 1] * S[: rank + 1]) @ Vh[: rank + 1],
            "One table too few.": (U[:, : rank - 1] * S[: rank - 1]) @ Vh[: rank - 1],
            "The third part comes out transposed already: are its rows taken, or its columns?": (
                (U[:, :rank] * S[:rank]) @ V[:rank] if V.shape == Vh.shape else None
            ),
        }
        if not close(got, right, 1e-8):
            # At full rank several of these are the matrix itself; the right answer was accepted above.
            hints = [hint for hint, wrong in mistakes.items() if wrong is not None and close(got, wrong, 1e-8)]
            if hints:
                return f"{came} {hints[0]}"
            away, least = float((got - matrix).norm()), float((right - matrix).norm())
            return (
                f"{came} your result is {away:.3f} away from the matrix (the root of the summed squares), and the "
                f"nearest of rank {rank} is {least:.3f} away. Does each column of U meet its own σ and row of Vh?"
            )
    square = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    U, S, Vh = torch.linalg.svd(square)
    if not close(got := torch.as_tensor(answer(square.clone(), 2)).detach(), (U[:, :2] * S[:2]) @ Vh[:2], 1e-8):
        turned = close(got, (U[:, :2] * S[:2]) @ Vh.mT[:2], 1e-8)
        what = "The third part comes out transposed already: turn it no more." if turned else "Is a size fixed?"
        return f"Right for 5 × 3 and 3 × 5. For 4 × 4 the numbers differ. {what}"
    try:
        passed_on = same_slopes(lambda m: answer(m, 1), lambda m: _cut(m, 1), tall)
    except RuntimeError as error:
        if "inplace operation" not in str(error):
            raise
        passed_on = True  # S[rank:] = 0 is right: only autograd objects, aloud, and nothing here is learned
    if not passed_on:
        return "The numbers are right, but the gradient gets lost on the way back. Is there a detach() too many?"
    return None


def _cut(matrix: Tensor, rank: int) -> Tensor:
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    cut: Tensor = (U[:, :rank] * S[:rank]) @ Vh[:rank]
    return cut


@Exercise
def bytes_held(answer: Callable[[int, int], int]) -> str | None:
    """What training with AdamW holds in float32, of numbers that stand still and numbers that learn."""
    frozen, learned = 1000, 10
    got = answer(frozen, learned)
    came = f"For {frozen:,} frozen and {learned} learned numbers you return {got:,}."
    mistakes = {
        16 * 1010: "That is all of them trained. What does a frozen number not need?",
        16 * 1000 + 4 * 10: "Frozen and learned have changed places.",
        4 * 1000: "The learned ones are missing.",
        16 * 10: "The frozen ones are missing: the forward pass needs them.",
        1000 + 4 * 10: "That counts numbers. How many bytes has one in float32?",
        4 * 1010: "That is the weights alone. What does training keep beside each learned one?",
        4 * 1000
        + 12 * 10: "Of weight, gradient and two means, three are counted (or learned ones are taken off the frozen).",
        4 * 1000 + 8 * 10: "That is weight and gradient. AdamW keeps two means more.",
        8 * 1000 + 16 * 10: "A frozen number has no gradient.",
        8 * 1000 + 32 * 10: "Float32 has 32 bits: how many bytes?",
        32 * 1000 + 128 * 10: "That is in bits.",
        2 * 1000 + 8 * 10: "That is right for 16 bits a number. Float32 has how many bytes?",
    }
    if got != 4160:
        other = "A frozen number takes 4 bytes; a learned one has itself, a gradient and two means."
        return f"{came} {mistakes.get(int(got), other)}"
    for f, n in ((0, 3), (5, 0), (1_048_032, 6_912)):
        if (got := answer(f, n)) != 4 * f + 16 * n:
            return f"Right for 1,000 and 10. For {f:,} and {n:,} you return {got:,} instead of {4 * f + 16 * n:,}."
    return None


Layer = Any  # the learner's class; what it lacks, the check says


@Exercise
def adapted_layer(answer: Callable[[nn.Linear, int, float], Layer]) -> str | None:
    """A frozen Linear with a low-rank adapter that can be merged."""
    for hint in _hints(answer):
        if hint:
            return hint
    return None


def _linear(d_in: int, d_out: int, bias: bool = True) -> nn.Linear:
    """A Linear in float64 with weights of its own."""
    generator = torch.Generator().manual_seed(1)
    linear = nn.Linear(d_in, d_out, bias=bias, dtype=torch.float64)
    for parameter in linear.parameters():
        nn.init.normal_(parameter, generator=generator)
    return linear


def _hints(answer: Callable[[nn.Linear, int, float], Layer]) -> Iterator[str | None]:
    """One thing after another: how it is made, what it computes, what learns, what it is merged into."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)  # (B, T, d_in)
    d_in, d_out, rank, alpha = 3, 5, 2, 6.0  # α / r = 3
    base = _linear(d_in, d_out)
    untouched = copy.deepcopy(base)
    layer = answer(base, rank, alpha)
    for name in ("base", "lora_a", "lora_b"):
        if not hasattr(layer, name):
            yield f"Your layer has no attribute `{name}`. It was to keep its Linear as `base`, and `lora_a`, `lora_b`."
    for name, shape in (("lora_a", (rank, d_in)), ("lora_b", (d_out, rank))):
        matrix = getattr(layer, name)
        if isinstance(matrix, nn.Module):
            yield f"`{name}` is a {type(matrix).__name__}. It is to be the matrix itself: an nn.Parameter {shape}."
        if not isinstance(matrix, nn.Parameter):
            yield f"`{name}` is no nn.Parameter, so no optimiser would find it."
        if tuple(matrix.shape) != shape:
            found = tuple(matrix.shape)
            turned = " Have the two changed places?" if found in ((d_out, rank), (rank, d_in)) else ""
            yield f"For a Linear from 3 to 5 and rank 2 `{name}` has the shape {found}, not {shape}.{turned}"
        if matrix.dtype != torch.float64:
            yield f"The base is in float64, and `{name}` in {str(matrix.dtype).removeprefix('torch.')}. Take its dtype."
        if not matrix.requires_grad:
            yield f"`{name}` has requires_grad False. What is left to learn?"
    a, b = layer.lora_a.detach().clone(), layer.lora_b.detach().clone()
    if not a.any() and not b.any():
        yield "A and B are both zero. What gradient would each of them get through the other?"
    if not a.any():
        yield "A is zero and B random. That would learn, too; here B is to be zero and A random, as in the paper."
    if b.any():
        yield "B is not zero at first, so a new adapter changes the model. What must B A be?"
    if a.std() < 1e-3 or close(a, a[0, 0].expand_as(a)):
        yield "All numbers of A are alike. Then all rows learn the same for ever: draw them at random."
    if not close(a.square().mean().sqrt(), 1 / d_in**0.5, 1):
        yield "A is far from the size 1/√d_in."
    if torch.equal(answer(base, rank, alpha).lora_a, a):
        yield "Two layers have the same A. Is a seed set inside? Draw from torch's generator as it stands."

    learns = [name for name, p in layer.named_parameters() if p.requires_grad]
    if set(learns) - {"lora_a", "lora_b"}:
        yield f"Trained would be {', '.join(learns)}. The base should be frozen: which of its parameters is not?"
    if not set(learns) >= {"lora_a", "lora_b"}:
        yield "An optimiser would not find `lora_a` and `lora_b` among the layer's parameters()."
    if not all(torch.equal(p, q) for p, q in zip(base.parameters(), untouched.parameters(), strict=True)):
        yield "Making the layer changed the base's numbers."
    try:
        at_first = torch.as_tensor(layer(x)).detach()
    except RuntimeError as error:
        if isinstance(error, NotImplementedError):
            raise
        yield f"`forward` stops ({error}). x is (…, d_in): it meets A (rank, d_in) first, and B (d_out, rank) then."
        return
    if not close(at_first, untouched(x).detach(), 1e-9):
        yield "A new adapter should change nothing: with B at zero, the output is not that of the base."

    with torch.no_grad():
        layer.lora_b.copy_(torch.randn(d_out, rank, generator=generator, dtype=torch.float64))
    A, B = layer.lora_a.detach().clone(), layer.lora_b.detach().clone()
    W = untouched.weight.detach()
    bias = untouched.bias.detach()
    scale = alpha / rank

    def right(x: Tensor, A: Tensor, B: Tensor) -> Tensor:
        return F.linear(x, W + scale * B @ A, bias)

    def with_scale(factor: float) -> Tensor:
        return F.linear(x, W + factor * B @ A, bias)

    got = torch.as_tensor(layer(x)).detach()
    came = "With rank 2 and α = 6, so that α / r is 3, your forward pass"
    if got.shape != (2, 4, d_out):
        yield f"{came} makes the shape {tuple(got.shape)} of x {tuple(x.shape)}; it should be (2, 4, 5)."
    mistakes = {
        "gives what the base gives. Where does the adapter come in?": with_scale(0),
        "leaves the scale out: B A counts once.": with_scale(1),
        "multiplies by α and does not divide by the rank.": with_scale(alpha),
        "divides by the rank and has no α.": with_scale(1 / rank),
        "multiplies by r / α: the fraction stands on its head.": with_scale(rank / alpha),
        "has the scale twice.": with_scale(scale**2),
        "multiplies α and r.": with_scale(alpha * rank),
        "divides by √r; that is another recipe.": with_scale(alpha / rank**0.5),
        "subtracts the adapter.": with_scale(-scale),
        "is the adapter alone. Where is W x + b?": F.linear(x, scale * B @ A),
        "has lost the bias.": F.linear(x, W + scale * B @ A),
        "scales the base's output, too.": scale * F.linear(x, W + B @ A, bias),
        "scales the bias, too.": F.linear(x, W + scale * B @ A, scale * bias),
        "adds the bias twice.": F.linear(x, W + scale * B @ A, 2 * bias),
    }
    for hint, wrong in mistakes.items():
        if close(got, wrong, 1e-8):
            yield f"{came} {hint}"
    if not close(got, right(x, A, B), 1e-8):
        yield f"{came} gives other numbers than W x + b + 3 B A x. Try one row of x by hand."
    if not close(torch.as_tensor(layer(x[0, 0])).detach(), right(x[0, 0], A, B), 1e-8):
        yield "Right for x of three dimensions, and not for a single row (d_in,). Does `.T` meet x, or a size of x?"

    layer.zero_grad()
    layer(x).square().sum().backward()
    mine = [layer.lora_a.grad, layer.lora_b.grad]
    theirs = [A.clone().requires_grad_(), B.clone().requires_grad_()]
    right(x, *theirs).square().sum().backward()
    for name, grad, true in zip(("lora_a", "lora_b"), mine, theirs, strict=True):
        if grad is None:
            yield f"After .backward() `{name}` has no gradient. What cuts it off: detach(), .data, no_grad()?"
        elif true.grad is not None and not close(grad, true.grad, 1e-6):
            yield f"The output is right, and the gradient of `{name}` is not. Is something detached?"
    leaf = x.clone().requires_grad_()
    layer(leaf).sum().backward()
    if leaf.grad is None or not close(leaf.grad, (W + scale * B @ A).sum(0).expand_as(x), 1e-6):
        yield "No full gradient comes back to x, and the layers before would learn nothing. Is the base's way cut?"

    try:
        plain = layer.merged()
    except (RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, NotImplementedError):
            raise
        yield f"`merged` stops ({error}). Numbers are written into a new Linear's weight under torch.no_grad()."
        return
    if not isinstance(plain, nn.Linear):
        yield f"`merged` returns a {type(plain).__name__}, not an nn.Linear."
    if plain is base or plain is layer.base or plain.weight.data_ptr() == layer.base.weight.data_ptr():
        yield "`merged` writes into the base and returns it. What would a second merge do? Return a new Linear."
    if not torch.equal(layer.base.weight, W) or not torch.equal(base.weight, W):
        yield "`merged` has changed the base's weight: the adapter is in it now, and once more beside it."
    if not (torch.equal(layer.lora_a, A) and torch.equal(layer.lora_b, B)):
        yield "`merged` has changed the adapter itself."
    merged_mistakes = {
        "lacks the scale.": W + B @ A,
        "has the scale twice.": W + scale**2 * B @ A,
        "is the base's: the adapter is not in it.": W,
        "is the adapter alone.": scale * B @ A,
        "subtracts the adapter.": W - scale * B @ A,
        "has the adapter in it twice.": W + 2 * scale * B @ A,
        "takes α for the scale.": W + alpha * B @ A,
    }
    if plain.weight.shape != W.shape:
        yield f"The merged weight has the shape {tuple(plain.weight.shape)}, not {tuple(W.shape)}."
    for hint, wrong in merged_mistakes.items():
        if close(plain.weight.detach(), wrong, 1e-8):
            yield f"The merged weight {hint}"
    if not close(plain.weight.detach(), W + scale * B @ A, 1e-8):
        yield "The merged weight is not W + 3 B A. B is (d_out, rank), A (rank, d_in): which product is (d_out, d_in)?"
    if plain.bias is None or not close(plain.bias.detach(), bias, 1e-9):
        yield "The merged layer has lost the base's bias, or has another."
    if plain.weight.dtype != torch.float64:
        yield "The merged layer has another dtype than the base."
    if not close(layer.merged().weight.detach(), W + scale * B @ A, 1e-8):
        yield "The second time `merged` gives another weight than the first."
    if not close(layer(x).detach(), right(x, A, B), 1e-8):
        yield "After `merged` the layer itself computes something else. It was to stay as it is."
    with torch.no_grad():
        layer.lora_b.mul_(2)
    if not close(layer.merged().weight.detach(), W + 2 * scale * B @ A, 1e-8):
        yield "When B has changed, `merged` still gives the old weight. Is the product kept from the beginning?"
    if not close(layer(x).detach(), F.linear(x, W + 2 * scale * B @ A, bias), 1e-8):
        yield "When B has changed, the output has not. Is the product kept from the beginning?"

    bare = _linear(4, 4, bias=False)
    try:
        other = answer(bare, 1, 0.5)
    except AttributeError as error:
        yield f"For a Linear without a bias your class stops ({error}). Its bias is None."
        return
    with torch.no_grad():
        other.lora_b.fill_(1.0)
    square = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    expected = F.linear(square, bare.weight + 0.5 * other.lora_b @ other.lora_a).detach()
    if not close(other(square).detach(), expected, 1e-8):
        of_base = close(other(square).detach(), bare(square).detach(), 1e-8)
        why = "It is the base's: is α // r rounded down to 0?" if of_base else "Is a number fixed?"
        yield f"Right for 3 to 5. For a square Linear of 4, rank 1 and α = 0.5 the output differs. {why}"
    try:
        other_bias = other.merged().bias
    except (AttributeError, TypeError) as error:
        yield f"For a Linear without a bias `merged` stops ({error}). Its bias is None."
        return
    if other_bias is not None:
        yield "The base has no bias, and the merged layer has one."
    if not close(other.merged()(square).detach(), expected, 1e-8):
        yield "For a square Linear of 4 the merged layer computes something else. Is a matrix the wrong way round?"
