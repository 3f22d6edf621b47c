"""The checks of lesson 9: loss, backpropagation, AdamW."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minigpt.config import IGNORE
from minigpt.course.exercise import Exercise, close


@Exercise
def numerical_gradient(answer: Callable[[Callable[[list[float]], float], list[float]], list[float]]) -> str | None:
    """The slope of f in each number of x, by nudging to both sides."""
    seen: list[float] = []

    def curved(x: list[float]) -> float:
        seen.append(float(x[0]))
        return float(x[0] ** 3 + 3 * x[1])

    x = [2.0, 5.0]
    slopes = torch.as_tensor(answer(curved, x), dtype=torch.float64)
    came = f"For f(x) = x_0³ + 3 x_1 at [2, 5] you return {_rounded(slopes)}, and on paper it is [12, 3]."
    if slopes.shape != (2,):
        return f"{came} How many slopes has a function of two numbers?"
    if close(slopes, [15, 15], 1e-3):
        return f"{came} 15 is 12 + 3. Which numbers of x are nudged while you measure one slope?"
    if not close(x, [2, 5], 1e-12):
        return f"The list [2, 5] is {x} after your function. Which nudge is not taken back?"
    if close(slopes, [-12, -3], 1e-2):
        return f"{came} The sign is turned: which of the two values of f comes first in the difference?"
    if close(slopes, [24, 6], 1e-2):
        return f"{came} That is twice too much. How far is it from x - h to x + h?"
    if slopes.abs().max() < 1e-9:
        return f"{came} Both values of f are the same. `up = x` is a second name for one list: how do you copy it?"
    if slopes.abs().max() < 1e-2:
        return f"{came} Yours is the change of f. What must it be divided by to become a slope?"
    if not min(seen) < 2 < max(seen):
        return f"{came} You nudge 2 to one side only, {min(seen)} to {max(seen)}. What does the other side say?"
    if not close(slopes, [12, 3], 1e-6):
        if max(seen) - 2 < 1e-8:
            return f"{came} Your h is {max(seen) - 2:.0e}. What is left of so small a change is rounding: try 1e-5."
        if close(slopes, [12, 3], 0.1):
            return f"{came} Your h is {max(seen) - 2:.0e}. On so long a way the slope itself changes: try 1e-5."
        return f"{came} Nudge one number up by h and down by h, and divide the difference by 2h."

    slopes = torch.as_tensor(answer(lambda x: float(x[0] * x[1] * x[2]), [2.0, 3.0, -4.0]), dtype=torch.float64)
    if not close(slopes, [-12, -8, 6], 1e-6):
        return f"Right for two numbers. For x_0 x_1 x_2 at [2, 3, -4] you return {_rounded(slopes)}, not [-12, -8, 6]."
    return None


@Exercise
def cross_entropy_gradient(answer: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """The gradient of the mean cross-entropy in the logits, where some targets do not count."""
    logits = torch.tensor([[0.0, math.log(2), math.log(5)], [0.0, 0.0, 0.0]], dtype=torch.float64)
    probabilities = logits.softmax(dim=1)  # 1/8, 2/8, 5/8, and thirds
    targets = torch.tensor([2, 0])
    truth = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    right = (probabilities - truth) / 2

    got = answer(logits.clone(), targets.clone())
    setting = "For logits [[0, ln 2, ln 5], [0, 0, 0]] and targets [2, 0]"
    if tuple(getattr(got, "shape", ())) != (2, 3):
        return (
            f"{setting} the shape is {tuple(getattr(got, 'shape', ()))}. Every logit has a slope: which shape is that?"
        )
    crossed = probabilities.clone()
    crossed[:, targets] -= 1
    flat = logits.flatten().softmax(dim=0).view(2, 3)
    hints = [
        (right * 2, "you return the gradient of the sum. The loss is a mean: over how many positions?"),
        (right * 2 / 6, "you divide by 6, the number of logits. Over what is the loss a mean?"),
        (
            -right,
            "all signs are turned. Should a step against the gradient raise the right token's logit, or lower it?",
        ),
        (probabilities / 2, "you return p / 2. Which number changes at the token that came?"),
        (probabilities, "you return the probabilities. Is the token that came treated like the others?"),
        (crossed / 2, "1 is subtracted in both columns of both rows. One row has one target: how do you pair them?"),
        ((logits - truth) / 2, "you subtract from the logits. What are the logits before the truth is taken away?"),
        ((logits.softmax(dim=0) - truth) / 2, "your columns sum to 1. Which numbers compete for one position?"),
        ((flat - truth) / 2, "all six probabilities together sum to 1. How many distributions are there?"),
        (
            -truth / (2 * probabilities),
            "you return −1/p at the target, the slope in p. How does p depend on the logits?",
        ),
    ]
    for mistake, hint in hints:
        if close(got, mistake):
            return f"{setting} {hint}"
    if not close(got, right):
        return f"{setting} the first row is {_rounded(got[0])}. Probability minus truth, by 2?"

    ignored = torch.tensor([2, IGNORE])
    setting = f"Right while all targets count. With targets [2, {IGNORE}]"
    try:
        got = answer(logits.clone(), ignored)
    except (IndexError, RuntimeError) as error:
        return (
            f"{setting} your function stops with {type(error).__name__}: {IGNORE} is no column. What stands in for it?"
        )
    if got.shape != (2, 3):
        return f"{setting} the shape is {tuple(got.shape)}. Which gradient has a row that does not count?"
    only_first = torch.stack([probabilities[0] - truth[0], torch.zeros(3, dtype=torch.float64)])
    if close(got, only_first / 2):
        return f"{setting} you still divide by 2. How many positions count?"
    if not close(got[1], torch.zeros(3)):
        return f"{setting} the second row is {_rounded(got[1])}. It does not count: can its logits change the loss?"
    if not close(got, only_first):
        return f"{setting} the first row is {_rounded(got[0])}. What is it when it stands alone?"

    got = answer(torch.tensor([[1000.0, 0.0, 0.0]], dtype=torch.float64), torch.tensor([1]))
    if not close(got, [[1, -1, 0]]):
        return f"Right for small logits. For [1000, 0, 0] you return {_rounded(got[0])}: e^1000 overflows."
    return None


@Exercise
def softmax_backward(answer: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """The gradient of the scores from the gradient of the weights."""
    weights = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6], [1.0, 0.0, 0.0]], dtype=torch.float64)
    arrives = torch.tensor([[4.0, 0.0, 0.0], [0.0, 5.0, 10.0], [3.0, 7.0, -7.0]], dtype=torch.float64)
    product = arrives * weights
    right = weights * (arrives - product.sum(dim=1, keepdim=True))

    got = answer(arrives.clone(), weights.clone())
    setting = "For weights [0.5, 0.25, 0.25], where [4, 0, 0] arrives,"
    if tuple(getattr(got, "shape", ())) != (3, 3):
        return (
            f"{setting} and two more rows, the shape is {tuple(getattr(got, 'shape', ()))}. One slope for each score?"
        )
    hints = [
        (product, "you return a_j g_j. What does a score do to the *other* weights of its row?"),
        (product * (1 - weights), "a (1 − a) is the slope of a weight in its own score. Who shrinks when it grows?"),
        (
            product - product.sum(dim=1, keepdim=True),
            "you take the whole sum from every a_j g_j. Which share of it belongs to score j?",
        ),
        (-right, "the signs are turned: a score whose weight should grow has a negative gradient. Check the bracket."),
        (
            arrives - product.sum(dim=1, keepdim=True),
            "you return [2, −2, −2]. Where is the factor a_j in front of the bracket?",
        ),
        (
            weights * (arrives - arrives.mean(dim=1, keepdim=True)),
            "you subtract the plain mean. How much does each arriving number count?",
        ),
        (
            weights * (arrives - arrives.sum(dim=1, keepdim=True)),
            "you subtract the plain sum. By what is each arriving number multiplied first?",
        ),
        (
            weights * (arrives - product.sum(dim=1)),
            "the sums of the rows lie along the columns. Which shape lets a row keep its own sum?",
        ),
        (
            weights * (arrives - product.sum(dim=0, keepdim=True)),
            "you sum down the columns. Which numbers share one softmax?",
        ),
        (weights * (arrives - product.sum()), "you sum over all rows. Which numbers share one softmax?"),
        (
            weights.softmax(dim=1) * (arrives - (arrives * weights.softmax(dim=1)).sum(dim=1, keepdim=True)),
            "softmax was applied once more. The weights that come in are its result already.",
        ),
    ]
    for mistake, hint in hints:
        if close(got, mistake):
            return f"{setting} {hint}"
    if not close(got, right):
        return (
            f"{setting} you return {_rounded(got[0])}. By hand: the weighted mean is 2, so 0.5 (4 − 2) = 1, and so on."
        )
    try:
        got = answer(arrives[:, None].expand(3, 2, 3).clone(), weights[:, None].expand(3, 2, 3).clone())
    except (IndexError, RuntimeError) as error:
        return (
            f"Right for a matrix. For a shape of (3, 2, 3) it stops ({type(error).__name__}). Which axis is the last?"
        )
    if not close(got, right[:, None].expand(3, 2, 3)):
        return (
            "Right for a matrix. For a shape of (3, 2, 3) the result differs: is it always the last axis that you sum?"
        )
    return None


@Exercise
def adamw_step(answer: Callable[..., tuple[Tensor, Tensor, Tensor]]) -> str | None:
    """One step of AdamW."""
    w, g = torch.tensor([2.0, -4.0], dtype=torch.float64), torch.tensor([0.5, 1.0], dtype=torch.float64)
    m, v = torch.tensor([0.3, 0.2], dtype=torch.float64), torch.tensor([0.04, 0.09], dtype=torch.float64)
    lr, beta1, beta2, eps, decay = 0.1, 0.9, 0.96, 1e-8, 0.5

    def step(number: int, eps: float = eps) -> tuple[Tensor, Tensor, Tensor]:
        old = (torch.zeros_like(m), torch.zeros_like(v)) if number == 1 else (m.clone(), v.clone())
        result = answer(w.clone(), g.clone(), *old, number, lr, beta1, beta2, eps, decay)
        new_w, new_m, new_v = (torch.as_tensor(part, dtype=torch.float64) for part in result)
        return new_w, new_m, new_v

    setting = "First step, weight 2, gradient 0.5, lr 0.1, beta 0.9 and 0.96, weight_decay 0.5:"
    got_w, got_m, got_v = step(1)
    if not got_w.isfinite().all():
        return f"{setting} the weight becomes {float(got_w[0])}. Is 1 − beta^step zero in your first step?"
    if close(got_m, g) and close(got_v, g**2):
        return (
            f"{setting} you return the corrected means, m = 0.5. The next step needs the plain ones: what is 0.1 · 0.5?"
        )
    if close(got_m, (1 - beta2) * g):
        return f"{setting} m becomes 0.02. Which beta belongs to m, and which to v?"
    if close(got_m, (1 - beta1) * (g + decay * w)):
        return f"{setting} m becomes 0.15, since the decay is in the gradient. That is L2. Where does AdamW put it?"
    if close(got_m, beta1 * g):
        return f"{setting} m becomes 0.45. The old mean counts beta, 0.9. How much does the new gradient count?"
    if not close(got_m, (1 - beta1) * g):
        return f"{setting} m becomes {float(got_m[0]):.4g}. By hand: 0.9 · 0 + 0.1 · 0.5."
    if close(got_v, (1 - beta2) * g):
        return f"{setting} v becomes 0.02. It is the mean of what, gradients or their squares?"
    if not close(got_v, (1 - beta2) * g**2):
        return f"{setting} v becomes {float(got_v[0]):.4g}. By hand: 0.96 · 0 + 0.04 · 0.25."

    kept = w * (1 - lr * decay)
    hints = [
        (kept + lr, "you walk up: 2 becomes 2 − 0.1 + 0.1. Which sign has the step?"),
        (w - lr, "nothing decays: 2 becomes 1.9. Where is weight_decay?"),
        (w * (1 - decay) - lr, "you shrink the weight by half. Which factor besides weight_decay scales the decay?"),
        (w * (1 + lr * decay) - lr, "the weight grows by the decay. Which sign takes it toward zero?"),
        ((w - lr) * (1 - lr * decay), "you decay the weight after the step. Of which weight is the decay a share?"),
        (
            kept - lr * (1 - beta1) * g / ((1 - beta2) ** 0.5 * g),
            "m and v begin at 0 and are used as they are. By what are they corrected?",
        ),
        (kept - lr * g / g**2, "the step is 0.1 · 0.5 / 0.25. You divide by v: what is missing over it?"),
        (kept - lr * g, "the step is lr times the gradient. What became of v?"),
    ]
    for mistake, hint in hints:
        if close(got_w, mistake, 1e-5):
            return f"{setting} {hint}"
    if not close(got_w, kept - lr, 1e-5):
        return (
            f"{setting} the weight becomes {float(got_w[0]):.4g}. By hand: 2 − 0.1 · 0.5 · 2 − 0.1 · 0.5 / √0.25 = 1.8."
        )

    new_m, new_v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    got_w, got_m, got_v = step(3)
    setting = "Right in the first step. In step 3, with m = 0.3 and v = 0.04 from before,"
    if not close(got_m, new_m) or not close(got_v, new_v):
        return (
            f"{setting} m becomes {float(got_m[0]):.4g} and v {float(got_v[0]):.4g}. What do the old means still count?"
        )
    if not got_w.isfinite().all():
        return f"{setting} the weight becomes {float(got_w[0])}. Is it beta^step that you take from 1, or beta · step?"
    for number, hint in (
        (1, "you correct as in step 1"),
        (2, "you correct as in step 2"),
        (4, "you correct as in step 4"),
    ):
        mistake = kept - lr * new_m / (1 - beta1**number) / (new_v / (1 - beta2**number)).sqrt()
        if close(got_w, mistake, 1e-5):
            return f"{setting} {hint}. How much of the means has the zero at the beginning by now?"
    m_hat, v_hat = new_m / (1 - beta1**3), new_v / (1 - beta2**3)
    if not close(got_w, kept - lr * m_hat / v_hat.sqrt(), 1e-5):
        expected = kept - lr * m_hat / v_hat.sqrt()
        return f"{setting} the weight becomes {float(got_w[0]):.5g} instead of {float(expected[0]):.5g}."

    got_w, _, _ = step(3, eps=0.1)
    if close(got_w, kept - lr * m_hat / (v_hat + 0.1).sqrt(), 1e-6):
        return "Right for a tiny eps. With eps 0.1 it shows that yours is under the root. Where is it in the formula?"
    if close(got_w, kept - lr * m_hat / v_hat.sqrt(), 1e-6):
        return "Right for a tiny eps. With eps 0.1 nothing changes: where does your step use it?"
    if not close(got_w, kept - lr * m_hat / (v_hat.sqrt() + 0.1), 1e-6):
        return f"Right for a tiny eps. With eps 0.1 the weight becomes {float(got_w[0]):.5g}: what is eps added to?"
    return None


def _rounded(values: Tensor) -> object:
    return [round(value, 4) + 0.0 for value in values.tolist()] if values.ndim else round(values.item(), 4)
