"""The checks of lesson 7, the Transformer block."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.course.exercise import Exercise, close, same_slopes

CUT_OFF = (
    "The numbers are right, but the gradient gets lost on the way back, and nothing before this would learn. "
    "Is there a detach(), a .data or a no_grad() too many?"
)

Function = Callable[[Tensor], Tensor]


def _numbers(x: Tensor) -> list[float]:
    """The numbers of a tensor as a hint shows them."""
    x = torch.as_tensor(x).detach()
    return [round(value, 4) + 0.0 for value in torch.as_tensor(x, dtype=torch.float64).flatten().tolist()]


@Exercise
def through_residuals(answer: Callable[[Tensor, list[Function]], Tensor]) -> str | None:
    """The stream after all sub-layers, each connected by a residual connection."""
    given = torch.tensor([1.0, 2.0], dtype=torch.float64)
    sublayers: list[Function] = [lambda x: 10 * x, lambda x: 3 * x]
    got = answer(given, sublayers)
    if len(sublayers) != 2:
        return "Your function changed the list of sub-layers. It was only given to read."
    came = f"For [1, 2], «ten times» and «three times» you return {_numbers(got)}."
    if _numbers(given) != [1, 2]:
        return f"Your function changed the x it was given to {_numbers(given)}. How do `x += y` and `x = x + y` differ?"
    hints = {
        (30, 60): "There each sub-layer replaced what was there. Where is the addition?",
        (14, 28): "There both sub-layers read the same [1, 2]. What should the second one read?",
        (34, 68): "There the second output was added to [1, 2]. What had the first one already made of that?",
        (
            31,
            62,
        ): "That is one way around both sub-layers together. How many residual connections do two of them need?",
        (43, 86): "That is what was written, without what was there before. What is missing from the sum?",
        (11, 22): "That is the stream after the first sub-layer. When has your loop seen them all?",
        (33, 66): "That is what the last sub-layer wrote, alone. What is it added to?",
        (4, 8): "There only the last sub-layer has had its say. What happened to the first one's output?",
        (88, 176): "That is twice too much. How often is the x at the beginning counted?",
    }
    for mistake, hint in hints.items():
        if close(got, list(mistake)):
            return f"{came} {hint}"
    if not close(got, [44, 88]):
        return f"{came} On paper: what does each sub-layer read, what does it write, and what is the sum then?"

    nothing = answer(given, [])
    if not close(nothing, given):
        return f"With no sub-layers at all you return {_numbers(nothing)}. What should come out if nobody writes?"
    x = torch.arange(6.0, dtype=torch.float64).view(1, 3, 2)  # (B, T, d_model)
    got = answer(x, [torch.square, torch.neg, lambda x: x + 1])
    if not close(got, torch.ones(1, 3, 2)):
        return f"Right for two sub-layers. For three (square, minus, plus one) you return {_numbers(got)}."
    if _numbers(x) != [0, 1, 2, 3, 4, 5]:
        return "For a batch of shape (1, 3, 2) your function overwrote what it was given."
    alone = answer(x, [torch.neg])
    if not close(alone, torch.zeros(1, 3, 2)):
        return f"Right for two and three sub-layers. For «minus» alone you return {_numbers(alone)}, not zeros."

    def truth(x: Tensor) -> Tensor:
        return (x + 2 * x) * (1 - 3)

    if not same_slopes(lambda x: answer(x, [lambda x: 2 * x, lambda x: -3 * x]), truth, x):
        return CUT_OFF
    return None


@Exercise
def layer_norm(answer: Callable[..., Tensor]) -> str | None:
    """LayerNorm of a batch, with gain, bias and an epsilon."""
    x = torch.tensor([[[1.0, 2, 3, 4], [10, 20, 30, 40]]], dtype=torch.float64)  # (1, 2, 4)
    gain, bias = torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    try:
        got = torch.as_tensor(answer(x, gain, bias, 0.0)).detach()
    except RuntimeError as error:
        if "must match" in str(error):
            return (
                f"For x of shape (1, 2, 4), torch says: {error}. A mean over the last dimension has the shape (1, 2). "
                "Which argument of `mean` keeps it (1, 2, 1)?"
            )
        raise
    if _numbers(x) != [1, 2, 3, 4, 10, 20, 30, 40]:
        return "Your function changed the x it was given. How do `x -= y` and `x = x - y` differ?"
    if _numbers(gain) != [1, 1, 1, 1] or _numbers(bias) != [0, 0, 0, 0]:
        return "Your function changed the gain or the bias, which it was only given to read."
    if got.shape != x.shape:
        return f"x has the shape (1, 2, 4), and you return {tuple(got.shape)}. LayerNorm keeps the shape."
    came = f"For the tokens [1, 2, 3, 4] and [10, 20, 30, 40] with ε = 0 you return {_numbers(got)}."
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    over_tokens = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
    mistakes: list[tuple[Tensor, str]] = [
        (F.layer_norm(x, (4,)), "Nearly right: that is what torch's own ε = 0.00001 gives. Where does eps go?"),
        (centred, "The mean is gone. What remains to be divided by?"),
        (centred / x.std(-1, keepdim=True), "That is divided by the unbiased deviation. Divide by d or by d - 1?"),
        (centred / variance, "That is divided by the variance. Which step turns it into a standard deviation?"),
        (x / variance.sqrt(), "The size is right, but the mean is not 0. What comes off first?"),
        (x / x.square().mean(-1, keepdim=True).sqrt(), "The mean is not 0: all your squares were taken of x itself."),
        (
            centred / centred.square().sum(-1, keepdim=True).sqrt(),
            "That is divided by the root of the sum of the squares. And the variance?",
        ),
        (over_tokens, "That was done over the tokens. Which dimension holds the numbers of one token?"),
        ((x - x.mean()) / x.std(correction=0), "That is one mean for all tokens. How many means do two tokens have?"),
        (
            centred / centred.abs().mean(-1, keepdim=True),
            "That is divided by a mean distance. Where are the squares?",
        ),
    ]
    for mistake, hint in mistakes:
        if close(got, mistake):
            return f"{came} {hint}"
    if got.isnan().all():
        return f"{came} This batch has one row, so over the rows nothing varies. Which dimension holds one token?"
    if not close(got, F.layer_norm(x, (4,), eps=0)):
        return f"{came} By hand, for the first token: mean 2.5, variance 1.25, and 1.5 / √1.25 = 1.3416 at the end."

    token = x[:, :1]
    end = float(answer(token, gain, bias, 1.0)[0, 0, -1])
    if close(end, 1.5 / (1.25**0.5 + 1), 1e-4):
        return f"With ε = 1 the last of [1, 2, 3, 4] becomes {end:.4f}. Is ε added to the variance or to its root?"
    if close(end, 1.5 / 1.25**0.5, 1e-4):
        return f"Whether ε is 0 or 1, the last of [1, 2, 3, 4] becomes {end:.4f}. What is the argument eps for?"
    if not close(end, 1, 1e-4):
        return f"With ε = 1 the last of [1, 2, 3, 4] becomes {end:.4f}. On paper: 1.5 / √(1.25 + 1) = 1."
    end = float(answer(token, gain, bias, 2.75)[0, 0, -1])
    if not close(end, 0.75, 1e-4):
        return (
            f"Right for ε = 0 and ε = 1, two numbers that equal their squares and roots. With ε = 2.75 the last of "
            f"[1, 2, 3, 4] becomes {end:.4f}. On paper: 1.5 / √(1.25 + 2.75) = 0.75."
        )

    gain, bias = torch.tensor([1.0, 2, 3, 4], dtype=torch.float64), torch.tensor([0.0, 10, 0, 0], dtype=torch.float64)
    got = answer(token, gain, bias, 0.0)
    plain = F.layer_norm(token, (4,), eps=0)
    came = f"Right with gain 1 and bias 0. With gain [1, 2, 3, 4] and bias [0, 10, 0, 0] you return {_numbers(got)}."
    if close(got, plain):
        return f"{came} That is the same as without them."
    if close(got, gain * plain) or close(got, plain + bias):
        return f"{came} Only one of the two has been at work."
    if close(got, gain * (plain + bias)):
        return f"{came} The bias was multiplied by the gain. In which order do they act?"
    if close(got, F.layer_norm(gain * token + bias, (4,), eps=0)):
        return f"{came} They acted before the normalisation, which took most of it away again. When should they act?"
    if not close(got, gain * plain + bias):
        return f"{came} The gain multiplies what is normalised, and the bias is added last."

    flat = answer(torch.full((1, 1, 4), 5.0), torch.ones(4), torch.zeros(4))
    if not close(flat, torch.zeros(1, 1, 4)):
        return f"For the token [5, 5, 5, 5] and the default ε you return {_numbers(flat)}, and zeros are right."
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(3, 5, 7, generator=generator, dtype=torch.float64)  # (B, T, d_model)
    gain, bias = torch.randn(2, 7, generator=generator, dtype=torch.float64)

    def truth(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(x, (7,), gain, bias, 0.3)

    if not close(got := torch.as_tensor(answer(many, gain, bias, 0.3)).detach(), truth(many, gain, bias), 1e-5):
        return f"Right for one row of two tokens, not for 3 rows of 5 tokens of 7 numbers: {_numbers(got[0, 0])} …"
    if not same_slopes(lambda *inputs: answer(*inputs, 0.3), truth, many, gain, bias):
        return CUT_OFF
    return None


@Exercise
def pre_norm_block(answer: Callable[[Tensor, Function, Function, Function, Function], Tensor]) -> str | None:
    """The stream after attention and feed-forward, each normalised before and added after."""
    calls: list[str] = []

    def noting(name: str, function: Function) -> Function:
        def noted(x: Tensor) -> Tensor:
            calls.append(name)
            return function(x)

        return noted

    def norm(x: Tensor) -> Tensor:
        size = x.std(-1, correction=0, keepdim=True)
        return (x - x.mean(-1, keepdim=True)) / size.where(size > 0, 1)

    x = torch.tensor([1.0, 3.0], dtype=torch.float64)
    got = answer(
        x,
        noting("attention_norm", norm),
        noting("attention", lambda x: -10 * x),
        noting("feed_forward_norm", norm),
        noting("feed_forward", lambda x: x + 1),
    )
    came = f"For the stream [1, 3] of the example you return {_numbers(got)}."
    if _numbers(x) != [1, 3]:
        return f"Your function changed the x it was given to {_numbers(x)}. How do `x += y` and `x = x + y` differ?"
    sublayers = [name for name in calls if not name.endswith("norm")]
    if sublayers == ["feed_forward", "attention"]:
        return f"{came} Feed-forward was called before attention. Which comes first?"
    if set(calls) != {"attention_norm", "attention", "feed_forward_norm", "feed_forward"}:
        missing = sorted({"attention_norm", "attention", "feed_forward_norm", "feed_forward"} - set(calls))
        return f"{came} Never called: {', '.join(missing)}. Each sub-layer reads through a norm of its own."
    hints = {
        (1, -1): "That is normalised at the very end: post-norm. Which of the two does a pre-norm leave alone, "
        "the stream or what is read from it?",
        (2, 0): "Nothing of the stream is left in it: that is only what feed-forward wrote. Where are the additions?",
        (11, -5): "There feed-forward read the stream as it was before attention wrote. What should it read?",
        (3, 3): "There feed-forward's output was added to [1, 3]. Where is what attention wrote?",
        (3, -1): "There the outputs were added to the normalised copy. To what should they be added?",
        (11, -9): "There attention's output was added to the normalised copy. To what should it be added?",
        (2, 2): "There the norms came after the sub-layers. Do they belong to reading or to writing?",
        (12, -10): "That is what the two wrote, without the [1, 3] that was there. What is missing from the sum?",
    }
    for mistake, hint in hints.items():
        if close(got, list(mistake)):
            return f"{came} {hint}"
    if not close(got, [13, -7]):
        return f"{came} On paper: what does each of the four read, in turn, and what is on the stream then?"

    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)  # (B, T, d_model)
    half_way = x + torch.tanh(norm(x))
    if not close(answer(x, norm, torch.tanh, torch.sin, torch.exp), half_way + torch.exp(torch.sin(half_way))):
        return "Right for the example, but not with two different norms. Which norm belongs to which sub-layer?"

    def truth(x: Tensor) -> Tensor:
        half_way = x + torch.tanh(norm(x))
        return half_way + torch.exp(torch.sin(half_way))

    if not same_slopes(lambda x: answer(x, norm, torch.tanh, torch.sin, torch.exp), truth, x):
        return CUT_OFF
    return None


@Exercise
def dropout(answer: Callable[[Tensor, float, bool], Tensor]) -> str | None:
    """A share p of the numbers set to zero and the others scaled, while training."""
    x = torch.full((100, 200), 3.0)
    given = x.clone()
    in_use, again = (torch.as_tensor(answer(x, 0.25, False)).detach() for _ in range(2))
    if not torch.equal(x, given):
        return "With training=False your function changed the x it was given."
    if close(in_use, 0.75 * given):
        return "With training=False you return 0.75 of x. The scaling is done in training: what is left to do in use?"
    if not close(in_use, given) or not close(again, given):
        return "With training=False something still happens to x. What should dropout do when a model is in use?"

    first, second = (torch.as_tensor(answer(x, 0.25, True), dtype=torch.float64).detach() for _ in range(2))
    if not torch.equal(x, given):
        return "Your function changed the x it was given. Does it write into x, or into a new tensor?"
    if first.shape != x.shape:
        return f"x has the shape {tuple(x.shape)}, and you return {tuple(first.shape)}. Dropped numbers stay, as zeros."
    zeros = [(drawn == 0).double().mean().item() for drawn in (first, second)]
    came = f"With p = 0.25, {zeros[0]:.0%} of 20,000 numbers became 0."
    if zeros[0] == 0:
        return f"{came} Which of them are to be dropped in training?"
    if torch.equal(first, second):
        return "Two calls dropped the very same numbers. When must the draw be made?"
    zero_rows, zero_columns = ((first == 0).all(dim).double().mean().item() for dim in (1, 0))
    if zero_rows > 0.05 or zero_columns > 0.05:
        return "Whole rows or columns became 0 together. How many draws does a tensor of 100 × 200 numbers need?"
    if 0.7 < zeros[0] < 0.8:
        return f"{came} Is p the share that goes or the share that stays?"
    if not 0.2 < zeros[0] < 0.3:
        return f"{came} How does a random number between 0 and 1 decide with probability p?"
    if zeros[0] == zeros[1] == 0.25:
        return "Exactly a quarter became 0, twice. If every number draws for itself, how likely is that?"
    kept = first[first != 0]
    came = f"With p = 0.25, a 3 that stays becomes {kept[0].item():.4g}."
    if close(kept, torch.full_like(kept, 3)):
        return f"{came} Then the sum over many shrinks to three quarters. By what must those that stay be divided?"
    if close(kept, torch.full_like(kept, 12)):
        return f"{came} That is divided by p. Which share of the numbers must carry the whole sum?"
    if close(kept, torch.full_like(kept, 2.25)):
        return f"{came} That is multiplied by 0.75. Should those that stay grow or shrink?"
    if not close(kept, torch.full_like(kept, 4), 1e-5):
        return f"{came} On average a 3 should stay a 3: 0.75 · y + 0.25 · 0 = 3. What is y?"
    if not close(answer(x, 0.0, True), given):
        return "With p = 0 nothing is dropped, even in training. You change x all the same."
    half = torch.as_tensor(answer(x, 0.5, True), dtype=torch.float64).detach()
    share = (half == 0).double().mean().item()
    if not 0.45 < share < 0.55:
        return f"Right for p = 0.25. With p = 0.5, {share:.0%} of the numbers became 0. Is any number fixed?"
    if not close(half[half != 0], torch.full_like(half[half != 0], 6), 1e-5):
        return f"Right for p = 0.25. With p = 0.5 a 3 that stays becomes {half.max():.4g}. Is any number fixed?"
    ramp = torch.linspace(-1, 1, 1000).requires_grad_()  # from here on signs and values differ
    try:
        dropped = answer(ramp, 0.25, True)
    except RuntimeError as error:
        if "numpy" in str(error).lower():
            return None  # an answer by numpy has no gradient to be asked for
        raise
    values = torch.as_tensor(dropped).detach()
    kept = values != 0
    if not close(values[kept], ramp.detach()[kept] / 0.75, 1e-5):
        return "Right where every number is 3. For numbers from -1 to 1 those that stay are not x / 0.75."
    if isinstance(dropped, Tensor):
        if not dropped.requires_grad:
            return CUT_OFF
        (slopes,) = torch.autograd.grad(dropped.sum(), ramp)
        if not close(slopes[kept], torch.full_like(slopes[kept], 1 / 0.75), 1e-5):
            return CUT_OFF
    return None
