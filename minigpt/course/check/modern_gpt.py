"""The checks of lesson 20, a modern GPT."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.course.exercise import Exercise, close, same_slopes
from minigpt.model.attention import rotate, rotation


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _is_tensor(got: Any, shape: tuple[int, ...]) -> str | None:
    """What is wrong with the kind or the shape of a result."""
    if not isinstance(got, Tensor):
        return f"you return a {type(got).__name__}, not a tensor."
    if got.shape != shape:
        return f"you return the shape {tuple(got.shape)}; it should be {shape}."
    return None


@Exercise
def rms_norm(answer: Callable[[Tensor, Tensor, float], Tensor]) -> str | None:
    """RMSNorm in float32, returned in the dtype of its input."""
    gain = torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=torch.float64)
    x = _drawn(2, 3, 4)
    epsilon = 0.1
    handed, given = x.clone(), gain.clone()
    got = answer(handed, given, epsilon)
    came = "For x of the shape (2, 3, 4):"
    if hint := _is_tensor(got, (2, 3, 4)):
        return f"{came} {hint}"
    if not torch.equal(handed, x) or not torch.equal(given, gain):
        return "Your function changed x or the gain, which it was only given to read."
    mean = x.square().mean(-1, keepdim=True)
    centred = x - x.mean(-1, keepdim=True)
    right = x / (mean + epsilon).sqrt() * gain
    mistakes = {
        "The gain is missing.": x / (mean + epsilon).sqrt(),
        "Is ε forgotten?": x / mean.sqrt() * gain,
        "ε is added to the root. It belongs under it, to the mean square.": x / (mean.sqrt() + epsilon) * gain,
        "You add ε² under the root, where ε belongs.": x / (mean + epsilon**2).sqrt() * gain,
        "You subtract ε.": x / (mean - epsilon).clamp(min=1e-9).sqrt() * gain,
        "You divide by the mean square. Where is its root?": x / (mean + epsilon) * gain,
        "You divide by the root of the *sum* of squares. How many numbers share it?": x
        / (4 * mean + epsilon).sqrt()
        * gain,
        "That is LayerNorm: the mean was to stay where it is.": centred
        / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()
        * gain,
        "The mean was to stay where it is: you divide by the standard deviation.": x
        / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()
        * gain,
        "Your mean is over all rows together. Each row has its own.": x / (x.square().mean() + epsilon).sqrt() * gain,
        "You divide by a mean of the wrong direction: each *row* has its own, over its last dimension.": x
        / (x.square().mean(-2, keepdim=True) + epsilon).sqrt()
        * gain,
        "You multiply by the root, and should divide.": x * (mean + epsilon).sqrt() * gain,
        "You divide by the gain, and should multiply.": x / (mean + epsilon).sqrt() / gain,
        "That is 1 + gain. The gain itself is the factor.": x / (mean + epsilon).sqrt() * (1 + gain),
    }
    if not close(got, right, 1e-9):
        for hint, wrong in mistakes.items():
            if close(got, wrong, 1e-6):
                return f"{came} {hint}"
        if close(got, right, 1e-4):
            return f"{came} x is in float64, and your result has the digits of float32. Keep float64 as it is."
        return f"{came} the numbers differ. By hand: [3, 4, 0, 0] has the mean square 6.25 and the root 2.5."
    if not close(answer(torch.tensor([3.0, 4.0, 0.0, 0.0]).double(), torch.ones(4).double(), 0.0), [1.2, 1.6, 0, 0]):
        return "Right for three dimensions. For [3, 4, 0, 0] alone it should be [1.2, 1.6, 0, 0]."
    single = torch.ones(4)
    if not close(answer(x, single, epsilon), x / (mean + epsilon).sqrt(), 1e-9):
        return "Right where the gain is in float64, too. With a gain in float32, x in float64 should keep its digits."
    half = torch.tensor([[25_000.0, 100.0], [0.001, -0.002]], dtype=torch.float16)
    ones = torch.ones(2)
    for dtype, numbers, weights in (
        (torch.float16, half, ones.half()), (torch.float32, half.float(), ones), (torch.float16, half, ones),
    ):  # fmt: skip
        got = answer(numbers, weights, 1e-6)
        if hint := _is_tensor(got, (2, 2)):
            return f"In {dtype}: {hint}"
        wanted = F.rms_norm(numbers.double(), (2,), eps=1e-6)
        if not close(got.double(), wanted, 2e-3):
            return (
                f"In {str(dtype).removeprefix('torch.')} a row with 25,000 becomes {got[0].tolist()}, one with 0.001 "
                f"{got[1].tolist()}; right are {wanted[0].tolist()} and {wanted[1].tolist()}. Square in float32."
            )
        if got.dtype != dtype:
            return f"x is in {dtype}, and your result in {got.dtype}. Return it in the dtype of x."
    if not same_slopes(lambda a, g: answer(a, g, 0.1), lambda a, g: F.rms_norm(a, (4,), g, 0.1), x, gain):
        return "The numbers are right, but the gradient gets lost on the way back. Is there a detach() too many?"
    return None


@Exercise
def turned(answer: Callable[[Tensor, float], Tensor]) -> str | None:
    """Queries turned by their positions, in pairs half a head apart."""
    x, base = _drawn(5, 6), 50.0
    places = torch.arange(5)
    handed = x.clone()
    got = answer(handed, base)
    came = "For 5 rows of 6 numbers and base 50:"
    if hint := _is_tensor(got, (5, 6)):
        return f"{came} {hint}"
    if not torch.equal(handed, x):
        return "Your function changed x, which it was only given to read."

    def by(angles: Tensor, sign: int = 1) -> Tensor:
        a, b = x.chunk(2, dim=-1)
        cos, sin = angles.cos(), sign * angles.sin()
        return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)

    def neighbours(angles: Tensor) -> Tensor:
        a, b = x[:, ::2], x[:, 1::2]
        cos, sin = angles.cos(), angles.sin()
        return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(1)

    half = torch.arange(3).double()
    speeds = base ** (-2 * half / 6)
    angles = places[:, None] * speeds
    right = by(angles)
    a, b = x.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    mistakes = {
        "Nothing turns.": x,
        "They turn the other way round. Which of the two products is subtracted?": by(angles, -1),
        "You turn neighbours, 0 and 1, 2 and 3. Here 0 and 3, 1 and 4, 2 and 5 are the pairs.": neighbours(angles),
        "The first row stands at position 0, not 1.": by(angles + speeds),
        "All pairs turn at the same speed. Pair i has base^(-2i/d_k).": by(places[:, None] * torch.ones(3).double()),
        "The speeds fall half as fast as they should: the exponent is −2i/d_k.": by(
            places[:, None] * base ** (-half / 6)
        ),
        "The speeds fall twice as fast as they should: d_k is all of the head, 6.": by(
            places[:, None] * base ** (-2 * half / 3)
        ),
        "The speeds *grow* with i. What is the sign of the exponent?": by(places[:, None] / speeds),
        "The base is to be the one that is given.": by(places[:, None] * 10_000.0 ** (-2 * half / 6)),
        "You begin with i = 1. Is the first pair number 0?": by(places[:, None] * base ** (-2 * (half + 1) / 6)),
        "The second half was made of the first half after it had turned. Both need the numbers from before.": torch.cat(
            [a * cos - b * sin, (a * cos - b * sin) * sin + b * cos], dim=-1
        ),
        "Both signs are minus. A turn has one of each.": torch.cat([a * cos - b * sin, a * sin - b * cos], dim=-1),
        "Both signs are plus. A turn has one of each.": torch.cat([a * cos + b * sin, a * sin + b * cos], dim=-1),
        "The two halves have changed places.": torch.cat(by(angles).chunk(2, dim=-1)[::-1], dim=-1),
    }
    if not close(got, right, 1e-6):
        for hint, wrong in mistakes.items():
            if close(got, wrong, 1e-5):
                return f"{came} {hint}"
        return (
            f"{came} row 1, pair 0 turns by 1 radian: ({x[1, 0]:.4f}, {x[1, 3]:.4f}) becomes ({right[1, 0]:.4f}, "
            f"{right[1, 3]:.4f}), and you have ({got[1, 0]:.4f}, {got[1, 3]:.4f})."
        )
    for T, d_k, other in ((1, 2, 10.0), (40, 8, 10_000.0), (3, 2, 7.0)):
        x = _drawn(T, d_k, seed=T)
        right = rotate(x, rotation(torch.arange(T), d_k, other))
        if not close(answer(x.clone(), other), right, 1e-4):
            return f"Right for 5 rows of 6 numbers. For {T} of {d_k} and base {other:g} it differs. Is a number fixed?"
    single = _drawn(4, 6).float()
    if (got := answer(single, 50.0)).dtype != torch.float32:
        return f"For queries in float32 you return {got.dtype}. Make positions and speeds in the dtype of x."
    for_slopes = _drawn(5, 6)
    if not same_slopes(lambda q: answer(q, 50.0), lambda q: rotate(q, rotation(torch.arange(5), 6, 50.0)), for_slopes):
        return "The numbers are right, but the gradient gets lost on the way back. Is there a detach() too many?"
    return None


@Exercise
def swiglu_of_size(answer: Callable[[int, int], Any]) -> str | None:
    """SwiGLU with at most as many parameters as a GELU network, and as wide as that allows."""
    for d_model, d_gelu, width in ((6, 24, 16), (5, 10, 6), (4, 8, 5), (3, 2, 1), (2, 11, 7)):
        network = answer(d_model, d_gelu)
        came = f"For d_model {d_model} and d_gelu {d_gelu}:"
        if not isinstance(network, nn.Module):
            return f"{came} you return a {type(network).__name__}, not an nn.Module (an object, not its class)."
        for name, shape in (("gate", (0, 1)), ("up", (0, 1)), ("down", (1, 0))):
            layer = getattr(network, name, None)
            if not isinstance(layer, nn.Linear):
                return f"{came} your network has no nn.Linear called `{name}`."
            if layer.bias is not None:
                return f"{came} `{name}` has a bias. None was asked for."
            if layer.weight.shape[shape[1]] != d_model:
                return f"{came} `{name}` has a weight {tuple(layer.weight.shape)}. Which way does it lead?"
        found = {network.get_parameter(f"{name}.weight").numel() // d_model for name in ("gate", "up", "down")}
        count = sum(p.numel() for p in network.parameters())
        if len(found) > 1 or count != 3 * d_model * (got := found.pop()):
            return f"{came} gate, up and down do not fit together, or there are other parameters beside them."
        if got == d_gelu:
            return f"{came} your network is as wide as the GELU one, {got}, and so has half as many parameters more."
        if got == 8 * d_model // 3 != width:
            return f"{came} your width is 8/3 of d_model, whatever d_gelu is. Count the parameters of both."
        if got > width:
            return (
                f"{came} at width {got} there are {count} parameters, and the GELU network has {2 * d_model * d_gelu}. "
                "Do you round up?"
            )
        if got < width:
            return (
                f"{came} {width} is the widest that has no more than {2 * d_model * d_gelu} parameters; yours is {got}."
            )
    torch.manual_seed(0)
    network = answer(6, 24).double()
    x = _drawn(2, 3, 6)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(generator=torch.Generator().manual_seed(weight.numel() + weight.shape[0]))
        network.up.weight.copy_(_drawn(16, 6, seed=3))
    g, u = x @ network.gate.weight.T, x @ network.up.weight.T
    try:
        y = network(x)
    except RuntimeError as error:
        return f"Your forward pass stops ({error}). x is (…, d_model): it goes through gate and up, each by itself."
    if hint := _is_tensor(y, (2, 3, 6)):
        return f"Your forward pass: {hint}"
    ways = {
        "The gate is not bent: SiLU goes around what `gate` gives.": g * u,
        "You bend what comes out of `up`. The bent one is `gate`.": g * F.silu(u),
        "Both are bent. Only the gate is.": F.silu(g) * F.silu(u),
        "That is GELU in place of SiLU.": F.gelu(g) * u,
        "That is the tanh form of GELU in place of SiLU.": F.gelu(g, approximate="tanh") * u,
        "That is the sigmoid alone: SiLU(z) is z times it.": g.sigmoid() * u,
        "That is ReLU in place of SiLU.": g.relu() * u,
        "The two ways are added. They are multiplied.": F.silu(g) + u,
        "SiLU is bent around the product. It goes around `gate` alone.": F.silu(g * u),
        "Where is `up`?": F.silu(g),
        "Where is `gate`?": F.silu(u),
    }
    if not close(y.detach(), ((F.silu(g) * u) @ network.down.weight.T).detach(), 1e-6):
        for hint, inside in ways.items():
            if close(y.detach(), (inside @ network.down.weight.T).detach(), 1e-6):
                return f"The size is right. {hint}"
        return "The size is right, the output differs: down(SiLU(gate(x)) · up(x)), unit by unit."
    y.sum().backward()
    if any(weight.grad is None or not weight.grad.any() for weight in network.parameters()):
        return "The output is right, but one of the matrices gets no gradient. Is there a detach() too many?"
    first, second = answer(6, 24), answer(6, 24)
    if torch.equal(first.gate.weight, second.gate.weight):
        return "Two networks have the same weights. Make new ones at each call."
    return None


@Exercise
def cache_bytes(answer: Callable[[int, int, int, int, int], int]) -> str | None:
    """How many bytes the keys and values of a text take."""
    given = (5, 3, 7, 11, 8)
    got = answer(*given)
    came = f"For 5 layers, 3 heads of keys, head size 7, 11 tokens, 8 bytes you return {got}."
    mistakes = {
        9240: "Keys *and* values are kept: twice as much. (Or is a size of 4 bytes fixed?)",
        36960: "That is twice too much. Are keys and values counted twice?",
        147_840: "Bytes, not bits: 8 bytes a number.",
        3696: "Each of the 5 layers has a cache of its own.",
        6160: "Each head has keys of its own. How many are there?",
        2640: "A key has as many numbers as a head is wide.",
        1680: "Each token has a key. How many tokens?",
        2310: "That counts numbers. A number takes `size` bytes.",
        4620: "That is right for 2 bytes a number. The size is given.",
    }
    if got != 18_480:
        return f"{came} {mistakes.get(got, 'By hand: 2 · 5 · 3 · 7 · 11 · 8 = 18,480.')}"
    for other, right in (((30, 3, 64, 8192, 4), 377_487_360), ((1, 1, 1, 1, 1), 2), ((12, 12, 64, 0, 4), 0)):
        if (got := answer(*other)) != right:
            return f"Right for the first case. For {other} you return {got:,} instead of {right:,}. Is a number fixed?"
    if isinstance(got, float):
        return "Bytes are whole numbers: return an int."
    return None


@Exercise
def unpermuted(answer: Callable[[Tensor, int], Tensor]) -> str | None:
    """Rows of queries as a GGUF file has them, put into the order for halves."""
    d_k = 6
    halves = torch.arange(12.0)[:, None] * torch.tensor([1.0, 100.0])  # row r holds r and 100 r
    in_file = halves.view(2, 2, 3, 2).transpose(1, 2).reshape(12, 2).contiguous()
    handed = in_file.clone()
    got = answer(handed, 2)
    came = "For two heads of 6 rows:"
    if hint := _is_tensor(got, (12, 2)):
        return f"{came} {hint}"
    if not torch.equal(handed, in_file):
        return "Your function changed the rows, which it was only given to read."
    order = got[:, 0].int().tolist()

    def of(rows: Tensor) -> list[int]:
        return rows[:, 0].int().tolist()

    mistakes = {
        "That is the order of the file still.": in_file,
        "That is the way *into* the file: it moves the rows apart once more.": in_file.view(2, 2, 3, 2)
        .transpose(1, 2)
        .reshape(12, 2),
        "You take all rows for one head. Each head has an order of its own.": in_file.view(6, 2, 2)
        .transpose(0, 1)
        .reshape(12, 2),
        "The heads have changed places with the pairs.": in_file.view(2, 3, 2, 2).transpose(0, 2).reshape(12, 2),
        "Odd rows come first. In each head rows 0, 2, 4 come first.": in_file.view(2, 3, 2, 2)
        .flip(2)
        .transpose(1, 2)
        .reshape(12, 2),
        "The heads are turned round.": in_file.view(2, 3, 2, 2).transpose(1, 2).flip(0).reshape(12, 2),
    }
    if not torch.equal(got[:, 1], 100 * got[:, 0]):
        return f"{came} the numbers within a row were moved. Whole rows change places."
    if order != list(range(12)):
        for hint, wrong in mistakes.items():
            if order == of(wrong):
                return f"{came} {hint}"
        return (
            f"{came} the rows {in_file[:, 0].int().tolist()} become {order}, not 0 to 11. In each head, "
            f"row 2j is number j of the first half, row 2j + 1 number j of the second."
        )
    for n_heads, size, columns in ((1, 4, 3), (3, 2, 5), (3, 8, 1)):
        right = _drawn(n_heads * size, columns, seed=d_k)
        given = right.view(n_heads, 2, size // 2, columns).transpose(1, 2).reshape(right.shape)
        if not close(answer(given.contiguous(), n_heads), right):
            return f"Right for two heads of 6. For {n_heads} heads of {size} rows it differs. Is a number fixed?"
    wide = _drawn(3, 8).T  # not contiguous
    try:
        got = answer(wide, 2)
    except RuntimeError as error:
        return f"For rows that do not lie one after the other in memory your function stops ({error}): reshape does it."
    if not close(got, answer(wide.contiguous(), 2)):
        return "For rows that do not lie one after the other in memory the result differs."
    return None
