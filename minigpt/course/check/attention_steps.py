"""Which step of the attention layer that a learner builds in lesson 5 is broken."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.course.exercise import YOUR_TURN, close

D_MODEL, N_HEADS = 12, 3
Weigh = Callable[[Tensor], Tensor]


class Broken(Exception):
    """The learner's layer cannot be used; the message says why."""


def broken_step(answer: Callable[[int, int], nn.Module]) -> str | None:
    """The hint for the first step that is broken, from what goes in to what comes out; None where all is right.

    Args:
        answer: makes the layer from d_model and n_heads.
    """
    try:
        layer = _with_weights(answer(D_MODEL, N_HEADS), D_MODEL)
        x = _waves(2, 5, D_MODEL)
        return (
            _wrong_numbers(layer, x)
            or _wrong_elsewhere(answer)
            or _spoils_its_input(layer, x)
            or _cut_off(layer, x)
            or _large_scores(layer, x)
        )
    except Broken as broken:
        return str(broken)


def _with_weights(layer: Any, d_model: int) -> nn.Module:
    """The layer in float64, with weights that no mistake can hide behind."""
    if not isinstance(layer, nn.Module):
        raise Broken("Attention(12, 3) is no nn.Module. Does your class inherit from it?")
    for name, d_out in (("qkv", 3 * d_model), ("output", d_model)):
        part = getattr(layer, name, None)
        if not isinstance(part, nn.Linear):
            raise Broken(f"Your layer has no part `{name}` that is an nn.Linear. How do you name it in __init__?")
        if (part.in_features, part.out_features) != (d_model, d_out):
            sizes = f"{part.in_features} numbers to {part.out_features}"
            raise Broken(f"`{name}` takes {sizes}. For d_model = {d_model} it should be {d_model} to {d_out}. Why?")
        if part.bias is None:
            raise Broken(f"`{name}` has no bias. The weights that will be loaded have one.")
    others = [name for name, _ in layer.named_parameters() if name.split(".")[0] not in ("qkv", "output")]
    if others:
        raise Broken(f"There is more to learn than `qkv` and `output`: {', '.join(others)}. What is it for?")
    layer = layer.double().eval()
    with torch.no_grad():
        for i, parameter in enumerate(layer.parameters()):
            parameter.copy_(_waves(*parameter.shape, start=1 + 1000 * i) / 2)
    return layer


def _run(layer: nn.Module, x: Tensor) -> Tensor:
    """What the layer returns, of the right shape and dtype."""
    asked = f"For x of shape {tuple(x.shape)}"
    try:
        y = layer(x)
    except Exception as error:
        if isinstance(error, NotImplementedError) and str(error) == YOUR_TURN:
            raise
        text = " ".join(str(error).split())
        if "view size is not compatible" in text:
            text = "a view of numbers that do not lie in memory in this order; which method copies where it must?"
        elif "float != double" in text or "Double" in text:
            text = f"{text[:80]}… Does a step write a dtype out, where it should take that of x?"
        raise Broken(f"{asked} your forward stops with {type(error).__name__}: {text[:200]}") from None
    if not isinstance(y, Tensor):
        what = "None. Does forward end with `return`?" if y is None else f"a {type(y).__name__}, not one tensor."
        raise Broken(f"{asked} your forward returns {what}")
    if y.shape != x.shape:
        raise Broken(f"{asked} you return {tuple(y.shape)}. What goes in comes out: a row of d_model for each token.")
    if y.dtype != x.dtype:
        raise Broken(f"{asked} in {x.dtype} you return {y.dtype}. Which step changes the dtype?")
    return y


def _split(part: Tensor) -> Tensor:
    """(B, T, d_model) -> (B, h, T, d_k)."""
    return part.unflatten(-1, (N_HEADS, -1)).transpose(1, 2)


def _join(y: Tensor) -> Tensor:
    """(B, h, T, d_k) -> (B, T, d_model)."""
    return y.transpose(1, 2).flatten(2)


def _softmax(scores: Tensor) -> Tensor:
    return scores.softmax(dim=-1)


def _attention(
    layer: nn.Module,
    x: Tensor,
    *,
    order: str = "qkv",
    split: Weigh = _split,
    scale: float | None = None,
    visible: Callable[[Tensor], Tensor] = torch.tril,
    weigh: Weigh = _softmax,
    join: Weigh = _join,
    project: bool = True,
) -> Tensor:
    """The layer, right but for what is given."""
    qkv, output = layer.qkv, layer.output
    assert isinstance(qkv, nn.Linear) and isinstance(output, nn.Linear)
    chunks = dict(zip(order, qkv(x).chunk(3, dim=-1), strict=True))
    q, k, v = (split(chunks[name]) for name in "qkv")
    scores = q @ k.transpose(-2, -1) / (math.sqrt(q.size(-1)) if scale is None else scale)
    seen = visible(torch.ones(scores.shape[-2:])).bool()
    y = join(weigh(scores.masked_fill(~seen, -math.inf)) @ v)
    return output(y) if project else y


def _wrong_numbers(layer: nn.Module, x: Tensor) -> str | None:
    """Which step of the layer is broken."""
    with torch.no_grad():
        y = _run(layer, x.clone())
        if close(y, _attention(layer, x)):
            return None
        for hint, mistake in _mistakes(layer, x):
            if close(y, mistake):
                return hint
        if not y.isfinite().all():
            return "Your layer returns nan. Does every row of scores have one that is not -inf? Token 0 sees itself."
        moved = (_run(layer, _with_another_last_token(x)) - y)[:, :-1].abs().max()
    if moved > 1e-9:
        return "Tokens move when a later one is changed: the mask lets the future through. Which way does it look?"
    return (
        "Nothing leaks, but the numbers are others than those of the formula. Print the shape after each step, and "
        "compare with the table of the section before."
    )


def _mistakes(layer: nn.Module, x: Tensor) -> list[tuple[str, Tensor]]:
    """Hints, each with what a layer of that mistake returns."""
    B, T, d_k = *x.shape[:2], D_MODEL // N_HEADS

    def view(part: Tensor) -> Tensor:
        return part.reshape(B, N_HEADS, T, d_k)

    def interleaved(part: Tensor) -> Tensor:
        return part.unflatten(-1, (d_k, N_HEADS)).permute(0, 3, 1, 2)

    def one_head(part: Tensor) -> Tensor:
        return part[:, None]

    def not_divided(scores: Tensor) -> Tensor:
        return scores.exp()

    def everybody(table: Tensor) -> Tensor:
        return torch.ones_like(table)

    def one_more(table: Tensor) -> Tensor:
        return table.tril(1)

    def zeros_after(scores: Tensor) -> Tensor:
        return scores.softmax(dim=-1).tril()

    def zeros_before(scores: Tensor) -> Tensor:
        return scores.tril().softmax(dim=-1)

    def by_column(scores: Tensor) -> Tensor:
        return scores.softmax(dim=-2)

    def as_it_lies(y: Tensor) -> Tensor:
        return y.reshape(B, T, D_MODEL)

    def features_first(y: Tensor) -> Tensor:
        return y.permute(0, 2, 3, 1).flatten(2)

    split_hint = "The split cuts tokens into pieces: a view alone, without the transpose. Which axis is cut?"
    order_hint = "The thirds of qkv's result are not used as q, k and v. In which order are they asked for?"
    right = _attention(layer, x)
    return [
        ("The future is not hidden: every token sees all. Where is the mask?", _attention(layer, x, visible=everybody)),
        ("Each token sees one too many, the next. On which diagonal does the mask end?",
         _attention(layer, x, visible=one_more)),
        ("The mask is turned over: each token sees itself and what comes after it.",
         _attention(layer, x, visible=torch.triu)),
        ("The future is set to 0 after the softmax, and the rest no longer sums to 1. What hides it before?",
         _attention(layer, x, visible=everybody, weigh=zeros_after)),
        ("The scores of the future are set to 0, and e^0 = 1. Which score has an exponential of 0?",
         _attention(layer, x, visible=everybody, weigh=zeros_before)),
        ("The scale is missing: by what are scores divided?", _attention(layer, x, scale=1.0)),
        ("The scores are divided by d_k, not by its root.", _attention(layer, x, scale=float(d_k))),
        ("The scores are multiplied by √d_k. Should they grow?", _attention(layer, x, scale=1 / math.sqrt(d_k))),
        ("The scores are divided by √d_model. How long is a query of one head?",
         _attention(layer, x, scale=math.sqrt(D_MODEL))),
        ("The softmax runs along the queries. Along which dimension do the keys lie?",
         _attention(layer, x, weigh=by_column)),
        ("The weights are exponentials that are not divided by their sum.", _attention(layer, x, weigh=not_divided)),
        ("There is one head of d_model numbers, whatever n_heads is. Where is the split?",
         _attention(layer, x, split=one_head)),
        (split_hint, _attention(layer, x, split=view)),
        (split_hint, _attention(layer, x, split=view, join=as_it_lies)),
        ("Head 1 gets every third number, not the first four: which of h and d_k comes first when you cut?",
         _attention(layer, x, split=interleaved)),
        *((order_hint, _attention(layer, x, order=order)) for order in ("qvk", "kqv", "kvq", "vqk", "vkq")),
        ("The join takes the heads as they lie in memory. Which two axes must change places first?",
         _attention(layer, x, join=as_it_lies)),
        ("The join mixes the heads' numbers one by one. All of head 1 first: which axis varies fastest?",
         _attention(layer, x, join=features_first)),
        ("The heads are joined, and not projected: where does `output` come in?",
         _attention(layer, x, project=False)),
        ("x is added to the result. That residual connection belongs to the block (lesson 7).", right + x),
        ("The result is rounded.", right.round(decimals=2)),
        ("The result is rounded.", right.round(decimals=4)),
    ]  # fmt: skip


def _wrong_elsewhere(answer: Callable[[int, int], nn.Module]) -> str | None:
    """Other sizes: a number that is written out, and what a layer remembers of its last call."""
    for d_model, n_heads, shapes in (
        (12, 3, ((1, 1, 12), (3, 40, 12), (2, 5, 12))),
        (6, 1, ((2, 4, 6),)),
        (6, 6, ((1, 7, 6),)),
    ):
        layer = _with_weights(answer(d_model, n_heads), d_model)
        for shape in shapes:
            x = _waves(*shape)
            with torch.no_grad():
                y, other = _run(layer, x.clone()), _package(layer, x, n_heads)
            if not close(y, other):
                return (
                    f"Right for 5 tokens and 3 heads of 12 numbers. For x of shape {shape} and {n_heads} heads it is "
                    "not. Is a size written out, or kept from an earlier call?"
                )
    return None


def _package(layer: nn.Module, x: Tensor, n_heads: int) -> Tensor:
    """The same by torch's fused attention."""
    qkv, output = layer.qkv, layer.output
    assert isinstance(qkv, nn.Linear) and isinstance(output, nn.Linear)
    q, k, v = (part.unflatten(-1, (n_heads, -1)).transpose(1, 2) for part in qkv(x).chunk(3, dim=-1))
    y: Tensor = output(_join(F.scaled_dot_product_attention(q, k, v, is_causal=True)))
    return y


def _spoils_its_input(layer: nn.Module, x: Tensor) -> str | None:
    given = x.clone()
    with torch.no_grad():
        first, second = _run(layer, given), _run(layer, given)
    if not torch.equal(given, x):
        return "The caller's x is another after the call. Which step works in place, such as += or masked_fill_?"
    if not torch.equal(first, second):
        return "Two calls with the same x give different results. Is chance at work, or something kept in between?"
    return None


def _cut_off(layer: nn.Module, x: Tensor) -> str | None:
    x = x.clone().requires_grad_()
    y = _run(layer, x)
    parts = [("x", x), *layer.named_parameters()]
    if not y.requires_grad:
        return "The numbers are right, but no slope flows back: the result is detached, or made under no_grad."
    slopes = torch.autograd.grad(y.sum(), [part for _, part in parts], allow_unused=True)
    lost = [name for (name, _), slope in zip(parts, slopes, strict=True) if slope is None]
    expected = torch.autograd.grad(_attention(layer, x).sum(), [part for _, part in parts])
    wrong = [name for (name, _), slope, right in zip(parts, slopes, expected, strict=True) if not close(slope, right)]
    if lost or wrong:
        names = ", ".join(lost or wrong)
        return f"The numbers are right, but the slopes of {names} are not. What is cut off on the way?"
    return None


def _large_scores(layer: nn.Module, x: Tensor) -> str | None:
    with torch.no_grad():
        for factor in (30.0, -30.0, 100.0):
            if not close(_run(layer, factor * x), _attention(layer, factor * x)):
                return (
                    "Right for small scores, but not for scores of a thousand. Does your softmax subtract the largest "
                    "of each row, and is the mask -inf and not some large number?"
                )
    return None


def _with_another_last_token(x: Tensor) -> Tensor:
    return torch.cat([x[:, :-1], -x[:, -1:] + 1], dim=1)


def _waves(*shape: int, start: int = 1) -> Tensor:
    """Numbers without a pattern, the same each time."""
    return torch.arange(start, start + math.prod(shape), dtype=torch.float64).mul(1.7).sin().view(shape)
