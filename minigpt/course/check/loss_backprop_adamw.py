"""The checks of lesson 9: loss, backpropagation, AdamW."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
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
    slopes = torch.as_tensor(answer(lambda x: math.exp(float(x[0])), [0.3]), dtype=torch.float64)
    if not close(slopes, [math.exp(0.3)], 1e-6):
        return f"Right for whole numbers. For e^x at [0.3] you return {slopes.tolist()}, not [1.349859]. Is it rounded?"
    same = torch.as_tensor(answer(lambda x: float(x[0] * x[1]), [3.0, 3.0]), dtype=torch.float64)
    if not close(same, [3, 3], 1e-6):
        return f"For x_0 x_1 at [3, 3] you return {_rounded(same)}, not [3, 3]. Are equal numbers nudged one by one?"
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
        got = answer(logits.clone(), ignored.clone())
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

    for rows in ([[1000.0, 0.0, 0.0]], [[1500.0, 1499.0, -1500.0]]):
        large = torch.tensor(rows, dtype=torch.float64)
        got = answer(large.clone(), torch.tensor([1]))
        expected = large.softmax(dim=1) - torch.tensor([0.0, 1.0, 0.0])
        if not close(got, expected):
            shown = f"For {[int(value) for value in rows[0]]} you return {_rounded(got[0])}"
            if not got.isfinite().all():
                return f"Right for small logits. {shown}: e^1000 overflows."
            return f"Right for small logits. {shown}, not {_rounded(expected[0])}. Is a logit cut off?"
    mixed = torch.tensor([[1000.0, 999.0, 0.0], [0.0, 0.0, 0.0], [-1000.0, -999.0, -1000.0]], dtype=torch.float64)
    got = answer(mixed.clone(), torch.tensor([0, 1, 2]))
    if not close(got, (mixed.softmax(dim=1) - torch.eye(3)) / 3):
        wrong = [t for t in range(3) if not close(got[t], (mixed[t].softmax(dim=0) - torch.eye(3)[t]) / 3)]
        return (
            f"Right for one row of large logits. With [1000, 999, 0], [0, 0, 0] and [-1000, -999, -1000] together, row "
            f"{wrong[0]} is {_rounded(got[wrong[0]])}. Does each row subtract its own largest logit?"
        )
    given, which = logits.clone(), ignored.clone()
    answer(given, which)
    if not close(given, logits, 0) or not torch.equal(which, ignored):
        what = "targets" if close(given, logits, 0) else "logits"
        return f"The result is right, but the {what} that came in are changed. Can you leave the caller's tensor alone?"
    return None


@Exercise
def layer_norm_both_ways(answer: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]) -> str | None:
    """LayerNorm and its way back; nudging is the judge."""
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.5, -1.0, 0.0, 2.5], [4.0, 4.0, 1.0, -1.0]], dtype=torch.float64)
    gain = torch.tensor([1.0, 0.5, 2.0, -1.5], dtype=torch.float64)
    bias = torch.tensor([0.25, 0.0, -1.0, 0.5], dtype=torch.float64)
    g_y = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.5, -2.0, 1.0, 0.0], [-1.0, 1.0, 3.0, 0.5]], dtype=torch.float64)
    eps = 3.0

    def parts(x: Tensor, gain: Tensor, bias: Tensor, g_y: Tensor, eps: float = eps) -> list[Tensor]:
        result = answer(x.clone(), gain.clone(), bias.clone(), eps, g_y.clone())
        return [torch.as_tensor(part, dtype=torch.float64).detach() for part in result]

    result = answer(x.clone(), gain.clone(), bias.clone(), eps, g_y.clone())
    if not isinstance(result, (tuple, list)) or len(result) != 4:
        return "Four tensors are wanted: y and the gradients of x, of gain and of bias. What do you return?"
    y, g_x, g_gain, g_bias = (torch.as_tensor(part, dtype=torch.float64).detach() for part in result)

    deviation = x - x.mean(dim=1, keepdim=True)
    variance = deviation.square().mean(dim=1, keepdim=True)
    s = (variance + eps).sqrt()
    n = deviation / s
    setting = "The row [1, 2, 3, 6] has the mean 3 and σ² = 3.5."
    unbiased = deviation / (variance * 4 / 3 + eps).sqrt()
    forward_hints = [
        (n, "your y has neither gain nor bias. What comes after n?"),
        (gain * n, "your y lacks the bias."),
        (n + bias, "your y lacks the gain."),
        (gain * unbiased + bias, "you divide the squares by d - 1 = 3. LayerNorm takes their plain mean."),
        (gain * deviation / (variance.sqrt() + eps) + bias, "you add eps to σ. Does it stand inside the root?"),
        (gain * deviation / (variance + eps) + bias, "you divide by σ² + ε. What is missing over it?"),
        (gain * deviation / variance.sqrt() + bias, "you leave out eps, which is 3 here."),
        (gain * deviation / (variance + 1e-5).sqrt() + bias, "your ε is 1e-5. Here eps is 3: where do you use it?"),
        (gain * x / s + bias, "you divide x itself by s. What is taken away first?"),
        (_norm_down(x, gain, bias, eps), "you normalise columns. Which numbers belong to one token?"),
    ]
    if y.shape != x.shape:
        return f"{setting} Your y has the shape {tuple(y.shape)} and not (3, 4)."
    for mistake, hint in forward_hints:
        if close(y, mistake):
            return f"{setting} With eps = 3, {hint}"
    if not close(y, gain * n + bias):
        return f"{setting} With eps = 3, the first row of n is [-2, -1, 0, 3] / √6.5. Your y is {_rounded(y[0])}."
    other = parts(x, gain, bias, g_y, 0.25)[0]
    if not close(other, F.layer_norm(x, (4,), gain, bias, 0.25)):
        return "The forward pass is right for eps = 3. For eps = 0.25 it is not: how does eps enter the root?"

    setting = "Forward is right."
    right_bias, right_gain = (
        _nudged(lambda b: (parts(x, gain, b, g_y)[0] * g_y).sum(), bias),
        _nudged(lambda g: (parts(x, g, bias, g_y)[0] * g_y).sum(), gain),
    )
    for name, got, right, mistakes in (
        ("bias", g_bias, right_bias, [(g_y.mean(dim=0), "the mean of the rows"), (g_y, "one row for each token")]),
        (
            "gain",
            g_gain,
            right_gain,
            [
                ((g_y * n).mean(dim=0), "the mean over the rows"),
                (g_y.sum(dim=0), "the sum of g_y, as for the bias"),
                ((g_y * y).sum(dim=0), "the sum of g_y · y"),
                ((g_y * x).sum(dim=0), "the sum of g_y · x"),
                ((g_y * deviation).sum(dim=0), "the sum of g_y times the deviations, not divided by s"),
                ((g_y * gain * n).sum(dim=0), "the sum of g_n · n"),
                (g_y * n, "one row for each token"),
            ],
        ),
    ):
        for mistake, what in mistakes:
            if close(got, mistake):
                return (
                    f"{setting} Nudging says that the gradient of {name} is {_rounded(right)}. Yours is {what}. By "
                    f"what is {name} multiplied in each row, and in how many rows is it used?"
                )
        if not close(got, right, 1e-5):
            shown = _rounded(got) if got.shape == (4,) else f"of shape {tuple(got.shape)}"
            return f"{setting} Nudging says that the gradient of {name} is {_rounded(right)}, and yours is {shown}."

    setting = "Forward, gain and bias are right."
    if g_x.shape != x.shape:
        return f"{setting} The gradient of x has the shape {tuple(g_x.shape)}. Every number of x has a slope."
    right = _nudged(lambda moved: (parts(moved, gain, bias, g_y)[0] * g_y).sum(), x)
    g_n = g_y * gain
    mean, along = g_n.mean(dim=1, keepdim=True), (g_n * n).mean(dim=1, keepdim=True)
    hints = [
        (g_n / s, "only the direct path: you hold the mean and s still."),
        ((g_n - n * along) / s, "without the path through the mean: each x moves μ by 1/d."),
        ((g_n - mean) / s, "without the path through the divisor: s grows with x by n / d."),
        (g_n - mean - n * along, "not divided by s: n = (x − μ) / s."),
        ((g_n - mean - n * along) / s**2, "divided by s once too often."),
        (_norm_back(g_y, n, s), "without the gain: g_n = g_y · gain arrives at n."),
        (
            _norm_back(g_y, n, s) * gain,
            "multiplied by the gain at the end. It belongs before the means: g_n = g_y · gain.",
        ),
        ((g_n - mean * 4 - n * along * 4) / s, "with sums where means belong: what became of 1/d?"),
        ((g_n - mean - along) / s, "without the factor n in front of mean(g_n · n)."),
        ((g_n - mean + n * along) / s, "with the third sign turned: does n grow or shrink with s?"),
        ((g_n + mean - n * along) / s, "with the second sign turned: do the deviations grow or shrink with μ?"),
        (-_norm_back(g_n, n, s), "with all signs turned."),
        (
            (g_n - g_n.mean(dim=0) - n * (g_n * n).mean(dim=0)) / s,
            "with means down the columns. Which numbers share μ and s?",
        ),
        ((g_n - mean - n * along) / (variance**0.5), "divided by σ. Forward divides by √(σ² + ε)."),
    ]
    for mistake, hint in hints:
        if close(g_x, mistake):
            return f"{setting} The gradient of x is {hint}"
    if not close(g_x, right, 1e-5):
        row = int((g_x - right).abs().sum(dim=1).argmax())
        return (
            f"{setting} Nudging says that row {row} of the gradient of x is {_rounded(right[row])}, and yours is "
            f"{_rounded(g_x[row])}. Which of the three paths is it?"
        )

    for tokens, features in ((1, 5), (4, 4)):
        x = (torch.arange(tokens * features, dtype=torch.float64).view(tokens, features) * 1.3).sin()
        gain, bias, g_y = x[0] + 2, x[0] - 1, x.cos()
        leaf = x.clone().requires_grad_()
        (right,) = torch.autograd.grad(F.layer_norm(leaf, gain.shape, gain, bias, 1e-5), leaf, g_y)
        if not close(parts(x, gain, bias, g_y, 1e-5)[1], right):
            return (
                f"Right for three tokens of four features, but not for {tokens} of {features}. What is fixed to 3 or 4?"
            )
    x = torch.full((2, 3), 7.0, dtype=torch.float64)
    gain, bias, g_y = torch.ones_like(x[0]), torch.zeros_like(x[0]), torch.tensor([[1.0, 0.0, 2.0]] * 2).double()
    g_x = parts(x, gain, bias, g_y, 0.25)[1]
    if not close(g_x, [[0, -2, 2]] * 2):
        return f"A row of equal numbers has n = 0. For g_y [1, 0, 2] and eps 0.25 your gradient is {_rounded(g_x[0])}."
    x = torch.tensor([[1.0, 2.0, 6.0], [0.0, 3.0, 0.0]], dtype=torch.float64)
    gain, bias = x[0], x[1]
    given = [x.clone(), gain.clone(), bias.clone(), g_y.clone()]
    answer(*given[:3], 1e-5, given[3])
    for name, before, after in zip(("x", "gain", "bias", "g_y"), (x, gain, bias, g_y), given, strict=True):
        if not torch.equal(before, after):
            return f"All four results are right, but the {name} that came in is changed. Can you leave it alone?"
    return None


@Exercise
def adamw_step(answer: Callable[..., tuple[Tensor, Tensor, Tensor]]) -> str | None:
    """One step of AdamW."""
    w, g = torch.tensor([2.0, -4.0], dtype=torch.float64), torch.tensor([0.5, 1.0], dtype=torch.float64)
    m, v = torch.tensor([0.3, 0.2], dtype=torch.float64), torch.tensor([0.04, 0.09], dtype=torch.float64)
    lr, beta1, beta2, eps, decay = 0.1, 0.9, 0.96, 1e-8, 0.5

    def step(number: int, eps: float = eps, beta1: float = beta1) -> tuple[Tensor, Tensor, Tensor]:
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

    got_w, got_m, _ = step(3, beta1=0.5)
    new_m = 0.5 * m + 0.5 * g
    if not close(got_m, new_m) or not close(got_w, kept - lr * new_m / (1 - 0.5**3) / v_hat.sqrt(), 1e-5):
        return (
            f"Right for beta1 = 0.9. For 0.5 m becomes {float(got_m[0]):.4g}: is a number written into your function?"
        )
    zeros = torch.zeros(2, 2, dtype=torch.float64)
    got_w, got_m, got_v = answer(zeros + 1, zeros.clone(), zeros.clone(), zeros.clone(), 1, lr, beta1, beta2, eps, 0.0)
    if not close(got_w, zeros + 1) or not close(got_m, zeros) or not close(got_v, zeros):
        return f"A (2, 2) matrix of ones with zero slopes and no decay becomes {_rounded(got_w)}. Should it move?"
    names = ("weight", "gradient", "m", "v")
    given = [w.clone(), g.clone(), m.clone(), v.clone()]
    answer(*given, 3, lr, beta1, beta2, eps, decay)
    for name, before, after in zip(names, (w, g, m, v), given, strict=True):
        if not torch.equal(before, after):
            return f"The step is right, but the {name} that came in is changed. Can you return new tensors?"
    return None


def _norm_down(x: Tensor, gain: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm of the columns, by mistake."""
    deviation = x - x.mean(dim=0)
    return gain * deviation / (deviation.square().mean(dim=0) + eps).sqrt() + bias


def _norm_back(g_n: Tensor, n: Tensor, s: Tensor) -> Tensor:
    """The gradient of x, when g_n arrives at n."""
    return (g_n - g_n.mean(dim=1, keepdim=True) - n * (g_n * n).mean(dim=1, keepdim=True)) / s


def _nudged(f: Callable[[Tensor], Tensor], x: Tensor, delta: float = 1e-6) -> Tensor:
    """The slope of f in each number of x, by nudging to both sides."""
    slopes = torch.zeros_like(x)
    for i in range(x.numel()):
        up, down = x.clone(), x.clone()
        up.view(-1)[i] += delta
        down.view(-1)[i] -= delta
        slopes.view(-1)[i] = (f(up) - f(down)) / (2 * delta)
    return slopes


def _rounded(values: Tensor) -> object:
    values = torch.as_tensor(values)
    return (values.double().round(decimals=4) + 0.0).tolist()
