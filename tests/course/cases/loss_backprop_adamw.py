"""Answers to the exercises of lesson 9."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import IGNORE
from tests.course.cases import Answers

Function = Callable[[list[float]], float]
Step = tuple[Tensor, Tensor, Tensor]
Both = tuple[Tensor, Tensor, Tensor, Tensor]


def in_place_and_back(f: Function, x: list[float], h: float = 1e-5) -> list[float]:
    slopes = []
    for i, value in enumerate(x):
        x[i] = value + h
        higher = f(x)
        x[i] = value - h
        slopes.append((higher - f(x)) / (2 * h))
        x[i] = value
    return slopes


def with_numpy(f: Function, x: list[float]) -> np.ndarray:
    nudges = 1e-6 * np.eye(len(x))
    return np.array([(f(np.array(x) + nudge) - f(np.array(x) - nudge)) / 2e-6 for nudge in nudges])


def to_one_side(f: Function, x: list[float], h: float = 1e-5) -> list[float]:
    return [(f([*x[:i], x[i] + h, *x[i + 1 :]]) - f(x)) / h for i in range(len(x))]


def to_the_left(f: Function, x: list[float]) -> list[float]:
    return to_one_side(f, x, h=-1e-5)


def divided_by_h(f: Function, x: list[float]) -> list[float]:
    return [2 * slope for slope in in_place_and_back(f, x)]


def not_divided(f: Function, x: list[float]) -> list[float]:
    return [2e-5 * slope for slope in in_place_and_back(f, x)]


def downhill(f: Function, x: list[float]) -> list[float]:
    return [-slope for slope in in_place_and_back(f, x)]


def all_at_once(f: Function, x: list[float], h: float = 1e-5) -> list[float]:
    slope = (f([value + h for value in x]) - f([value - h for value in x])) / (2 * h)
    return [slope for _ in x]


def never_taken_back(f: Function, x: list[float], h: float = 1e-5) -> list[float]:
    slopes = []
    for i in range(len(x)):
        x[i] += h
        higher = f(x)
        x[i] -= 2 * h
        slopes.append((higher - f(x)) / (2 * h))
    return slopes


def far_away(f: Function, x: list[float]) -> list[float]:
    return in_place_and_back(f, x, h=0.1)


def too_near(f: Function, x: list[float]) -> list[float]:
    return in_place_and_back(f, x, h=1e-12)


def one_list_under_two_names(f: Function, x: list[float], h: float = 1e-5) -> list[float]:
    slopes = []
    for i in range(len(x)):
        up, down = x, x
        up[i] += h
        down[i] -= h
        slopes.append((f(up) - f(down)) / (2 * h))
    return slopes


def rounded_slopes(f: Function, x: list[float]) -> list[float]:
    return [round(slope, 4) for slope in in_place_and_back(f, x)]


def equal_numbers_together(f: Function, x: list[float], h: float = 1e-5) -> list[float]:
    slopes = []
    for value in x:
        up = [other + h * (other == value) for other in x]
        down = [other - h * (other == value) for other in x]
        slopes.append((f(up) - f(down)) / (2 * h))
    return slopes


def first_slope_only(f: Function, x: list[float]) -> float:
    return in_place_and_back(f, x)[0]


def by_autograd(logits: Tensor, targets: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    F.cross_entropy(logits, targets).backward()
    assert logits.grad is not None
    return logits.grad


def row_by_row(logits: Tensor, targets: Tensor) -> np.ndarray:
    gradient = np.zeros(tuple(logits.shape))
    counted = [t for t in range(len(targets)) if targets[t] != IGNORE]
    for t in counted:
        exponentials = np.exp((logits[t] - logits[t].max()).numpy())
        gradient[t] = exponentials / exponentials.sum()
        gradient[t, int(targets[t])] -= 1
    return gradient / len(counted)


def through_log_softmax(logits: Tensor, targets: Tensor) -> Tensor:
    counts = (targets != IGNORE).to(logits.dtype)
    p = torch.log_softmax(logits, dim=-1).exp()
    p[torch.arange(len(p)), targets.clamp(min=0)] -= 1
    return p * (counts / counts.sum()).unsqueeze(1)


def counted(targets: Tensor) -> Tensor:
    return (targets != IGNORE)[:, None]


def sum_and_not_mean(logits: Tensor, targets: Tensor) -> Tensor:
    return by_autograd(logits, targets) * counted(targets).sum()


def mean_over_all_logits(logits: Tensor, targets: Tensor) -> Tensor:
    return sum_and_not_mean(logits, targets) / logits.numel()


def truth_minus_probability(logits: Tensor, targets: Tensor) -> Tensor:
    return -by_autograd(logits, targets)


def only_probabilities(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.softmax(dim=1)


def shared_probabilities(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.softmax(dim=1) / len(logits)


def columns_for_all_rows(logits: Tensor, targets: Tensor) -> Tensor:
    p = logits.softmax(dim=1)
    p[:, targets] -= 1
    return p / len(p)


def softmax_down_the_columns(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.softmax(dim=0) - F.one_hot(targets.clamp(min=0), logits.size(1))) / len(logits)


def without_softmax(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits - F.one_hot(targets.clamp(min=0), logits.size(1))) / len(logits)


def slope_in_the_probability(logits: Tensor, targets: Tensor) -> Tensor:
    return -F.one_hot(targets.clamp(min=0), logits.size(1)) / logits.softmax(dim=1) / len(logits)


def ignored_is_a_column(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.softmax(dim=1) - torch.eye(logits.size(1))[targets]) / len(logits)


def ignored_still_divides(logits: Tensor, targets: Tensor) -> Tensor:
    return sum_and_not_mean(logits, targets) / len(targets)


def ignored_still_pushes(logits: Tensor, targets: Tensor) -> Tensor:
    truth = F.one_hot(targets.clamp(min=0), logits.size(1)) * counted(targets)
    return (logits.softmax(dim=1) - truth) / counted(targets).sum()


def ignored_rows_left_out(logits: Tensor, targets: Tensor) -> Tensor:
    return through_log_softmax(logits[targets != IGNORE], targets[targets != IGNORE])


def overflows(logits: Tensor, targets: Tensor) -> Tensor:
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return (p - F.one_hot(targets.clamp(min=0), logits.size(1))) * counted(targets) / counted(targets).sum()


def shifted_by_the_largest_of_all(logits: Tensor, targets: Tensor) -> Tensor:
    p = (logits - logits.max()).exp()
    p = p / p.sum(dim=1, keepdim=True)
    return (p - F.one_hot(targets.clamp(min=0), logits.size(1))) * counted(targets) / counted(targets).sum()


def clamped(logits: Tensor, targets: Tensor) -> Tensor:
    return through_log_softmax(logits.clamp(-80, 80), targets)


def by_the_mean_of_a_row(logits: Tensor, targets: Tensor) -> Tensor:
    p = (logits - logits.mean(dim=1, keepdim=True)).exp()
    p = p / p.sum(dim=1, keepdim=True)
    return (p - F.one_hot(targets.clamp(min=0), logits.size(1))) * counted(targets) / counted(targets).sum()


def nan_to_one(logits: Tensor, targets: Tensor) -> Tensor:
    p = (logits.exp() / logits.exp().sum(dim=1, keepdim=True)).nan_to_num(1)
    return (p - F.one_hot(targets.clamp(min=0), logits.size(1))) * counted(targets) / counted(targets).sum()


def writes_into_the_logits(logits: Tensor, targets: Tensor) -> Tensor:
    logits -= logits.max(dim=1, keepdim=True).values
    return through_log_softmax(logits, targets)


def writes_into_the_targets(logits: Tensor, targets: Tensor) -> Tensor:
    gradient = through_log_softmax(logits, targets)
    targets[targets == IGNORE] = 0
    return gradient


def the_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets)


def norm_by_autograd(x: Tensor, gain: Tensor, bias: Tensor, eps: float, g_y: Tensor) -> Both:
    leaves = [tensor.clone().requires_grad_() for tensor in (x, gain, bias)]
    y = F.layer_norm(leaves[0], (x.size(1),), leaves[1], leaves[2], eps)
    g_x, g_gain, g_bias = torch.autograd.grad(y, leaves, g_y)
    return y, g_x, g_gain, g_bias


def norm_by_the_table(x: Tensor, gain: Tensor, bias: Tensor, eps: float, g_y: Tensor) -> list[np.ndarray]:
    d, rows, g_rows = x.size(1), x.numpy(), g_y.numpy()
    s = np.sqrt(rows.var(axis=1, keepdims=True) + eps)
    n = (rows - rows.mean(axis=1, keepdims=True)) / s
    slopes = (np.eye(d) - 1 / d - n[:, :, None] * n[:, None, :] / d) / s[:, :, None]
    g_x = np.einsum("ti,tij->tj", g_rows * gain.numpy(), slopes)
    return [n * gain.numpy() + bias.numpy(), g_x, (g_rows * n).sum(0), g_rows.sum(0)]


def norm_in_two_steps(x: Tensor, gain: Tensor, bias: Tensor, eps: float, g_y: Tensor) -> Both:
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    n = (x - mean) * torch.rsqrt(variance + eps)
    g_n = g_y * gain
    g_c = (g_n - n * (g_n * n).mean(-1, keepdim=True)) * torch.rsqrt(variance + eps)
    return torch.addcmul(bias, n, gain), g_c - g_c.mean(-1, keepdim=True), torch.einsum("ti,ti->i", g_y, n), g_y.sum(0)


class Parts:
    """What the way back is made of."""

    def __init__(self, x: Tensor, gain: Tensor, bias: Tensor, eps: float, g_y: Tensor) -> None:
        self.x, self.gain, self.bias, self.eps, self.g_y = x, gain, bias, eps, g_y
        self.c = x - x.mean(dim=1, keepdim=True)
        self.variance = self.c.square().mean(dim=1, keepdim=True)
        self.s = (self.variance + eps).sqrt()
        self.n = self.c / self.s
        self.g_n = g_y * gain
        self.mean, self.along = (part.mean(dim=1, keepdim=True) for part in (self.g_n, self.g_n * self.n))


def norm(
    y: Callable[[Parts], Tensor] | None = None,
    g_x: Callable[[Parts], Tensor] | None = None,
    g_gain: Callable[[Parts], Tensor] | None = None,
    g_bias: Callable[[Parts], Tensor] | None = None,
) -> Callable[..., Both]:
    """LayerNorm both ways, with one part replaced by a mistake."""

    def layer_norm_both_ways(x: Tensor, gain: Tensor, bias: Tensor, eps: float, g_y: Tensor) -> Both:
        p = Parts(x, gain, bias, eps, g_y)
        return (
            y(p) if y else gain * p.n + bias,
            g_x(p) if g_x else (p.g_n - p.mean - p.n * p.along) / p.s,
            g_gain(p) if g_gain else (g_y * p.n).sum(dim=0),
            g_bias(p) if g_bias else g_y.sum(dim=0),
        )

    return layer_norm_both_ways


def only_y(x: Tensor, gain: Tensor, bias: Tensor, eps: float, g_y: Tensor) -> Tensor:
    return F.layer_norm(x, (x.size(1),), gain, bias, eps)


def down_the_columns(x: Tensor, gain: Tensor, bias: Tensor, eps: float, g_y: Tensor) -> Both:
    y = gain * (x - x.mean(0)) / (x.var(0, correction=0) + eps).sqrt() + bias
    return y, x, gain, bias


def squares_eps(x: Tensor, gain: Tensor, bias: Tensor, eps: float, g_y: Tensor) -> Both:
    return norm_by_autograd(x, gain, bias, eps**2 / 3, g_y)  # right at eps = 3 alone


def four_features_only(x: Tensor, gain: Tensor, bias: Tensor, eps: float, g_y: Tensor) -> Both:
    p = Parts(x, gain, bias, eps, g_y)
    g_x = (p.g_n - p.g_n.sum(1, keepdim=True) / 4 - p.n * (p.g_n * p.n).sum(1, keepdim=True) / 4) / p.s
    return gain * p.n + bias, g_x, (g_y * p.n).sum(0), g_y.sum(0)


def divides_by_the_deviation(x: Tensor, gain: Tensor, bias: Tensor, eps: float, g_y: Tensor) -> Both:
    y, g_x, g_gain, g_bias = norm_by_autograd(x, gain, bias, eps, g_y)
    return y, g_x * (x - x.mean(1, keepdim=True)).norm() / (x - x.mean(1, keepdim=True)).norm(), g_gain, g_bias


def centres_in_place(x: Tensor, gain: Tensor, bias: Tensor, eps: float, g_y: Tensor) -> Both:
    x -= x.mean(dim=1, keepdim=True)
    return norm_by_autograd(x, gain, bias, eps, g_y)


def scales_what_arrives(x: Tensor, gain: Tensor, bias: Tensor, eps: float, g_y: Tensor) -> Both:
    result = norm_by_autograd(x, gain, bias, eps, g_y)
    g_y *= gain
    return result


def by_torch(
    weight: Tensor, gradient: Tensor, m: Tensor, v: Tensor, step: int,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> Step:  # fmt: skip
    parameter = torch.nn.Parameter(weight.clone())
    parameter.grad = gradient.clone()
    optimizer = torch.optim.AdamW([parameter], lr, (beta1, beta2), eps, weight_decay)
    state = {"step": torch.tensor(step - 1.0), "exp_avg": m.clone(), "exp_avg_sq": v.clone()}
    optimizer.load_state_dict(optimizer.state_dict() | {"state": {0: state}})
    optimizer.step()
    after = optimizer.state[parameter]
    return parameter.detach(), after["exp_avg"], after["exp_avg_sq"]


def with_lerp(
    weight: Tensor, gradient: Tensor, m: Tensor, v: Tensor, step: int,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> Step:  # fmt: skip
    m, v = m.lerp(gradient, 1 - beta1), torch.lerp(v, gradient * gradient, 1 - beta2)
    step_size = lr / (1 - beta1**step)
    denominator = v.sqrt() / (1 - beta2**step) ** 0.5 + eps
    return weight * (1 - lr * weight_decay) - step_size * m / denominator, m, v


def means_in_place(
    weight: Tensor, gradient: Tensor, m: Tensor, v: Tensor, step: int,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> Step:  # fmt: skip
    m *= beta1
    m += (1 - beta1) * gradient
    return with_lerp(
        weight, gradient, (m - (1 - beta1) * gradient) / beta1, v, step, lr, beta1, beta2, eps, weight_decay
    )


def beta1_written_in(
    weight: Tensor, gradient: Tensor, m: Tensor, v: Tensor, step: int,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> Step:  # fmt: skip
    return with_lerp(weight, gradient, m, v, step, lr, 0.9, beta2, eps, weight_decay)


def no_eps_for_zeros(
    weight: Tensor, gradient: Tensor, m: Tensor, v: Tensor, step: int,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> Step:  # fmt: skip
    return with_lerp(weight, gradient, m, v, step, lr, beta1, beta2, eps if eps > 1e-6 else 0.0, weight_decay)


def with_lerp_in_place(
    weight: Tensor, gradient: Tensor, m: Tensor, v: Tensor, step: int,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> Step:  # fmt: skip
    m.lerp_(gradient, 1 - beta1)
    v.lerp_(gradient**2, 1 - beta2)
    weight *= 1 - lr * weight_decay
    denominator = (v / (1 - beta2**step)).sqrt() + eps
    weight.addcdiv_(m, denominator, value=-lr / (1 - beta1**step))
    return weight, m, v


def variant(
    uncorrected: bool = False, late: int = 0, l2: bool = False, decay_times_lr: bool = True, sign: float = -1,
    decays: bool = True, decay_after: bool = False, eps_in_root: bool = False, square: bool = True, root: bool = True,
    swapped: bool = False, keeps_corrected: bool = False, weight_of_new: bool = True, forgets: bool = False,
    times: bool = False,
) -> Callable[..., Step]:  # fmt: skip
    """AdamW with one of the typical mistakes."""

    def adamw_step(
        weight: Tensor, gradient: Tensor, m: Tensor, v: Tensor, step: int,
        lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
    ) -> Step:  # fmt: skip
        if swapped:
            beta1, beta2 = beta2, beta1
        if l2:
            gradient = gradient + weight_decay * weight
        if forgets:
            m, v = torch.zeros_like(m), torch.zeros_like(v)
        m = beta1 * m + ((1 - beta1) if weight_of_new else beta1) * gradient
        v = beta2 * v + (1 - beta2) * (gradient**2 if square else gradient)
        at = max(step - late, 1) if late > 0 else step
        m_hat, v_hat = (m, v) if uncorrected else (m / (1 - beta1**at), v / (1 - beta2**at))
        if times:
            m_hat, v_hat = m / (1 - beta1 * step), v / (1 - beta2 * step)
        below = (v_hat + eps).sqrt() if eps_in_root else v_hat.sqrt() + eps if root else v_hat + eps
        if late < 0:  # the first step is 0
            m_hat, v_hat = m / (1 - beta1 ** (step - 1)), v / (1 - beta2 ** (step - 1))
            below = v_hat.sqrt() + eps
        share = weight_decay * (lr if decay_times_lr else 1) * (decays and not l2)
        moved = weight + sign * lr * m_hat / below
        weight = moved * (1 - share) if decay_after else moved - share * weight
        return (weight, m_hat, v_hat) if keeps_corrected else (weight, m, v)

    return adamw_step


ANSWERS = {
    "numerical_gradient": Answers(
        right=[in_place_and_back, with_numpy],
        wrong={
            to_one_side: "to one side only, 2.0 to 2.00001",
            to_the_left: "to one side only, 1.99999 to 2.0",
            divided_by_h: "How far is it from x - h to x + h?",
            not_divided: "Yours is the change of f",
            downhill: "The sign is turned",
            all_at_once: "15 is 12 + 3",
            never_taken_back: "Which nudge is not taken back?",
            far_away: "Your h is 1e-01",
            too_near: "small a change is rounding",
            rounded_slopes: "Is it rounded?",
            equal_numbers_together: "nudged one by one",
            one_list_under_two_names: "a second name for one list",
            first_slope_only: "How many slopes",
        },
    ),
    "cross_entropy_gradient": Answers(
        right=[by_autograd, row_by_row, through_log_softmax],
        wrong={
            sum_and_not_mean: "gradient of the sum",
            mean_over_all_logits: "you divide by 6",
            truth_minus_probability: "all signs are turned",
            only_probabilities: "you return the probabilities",
            shared_probabilities: "you return p / 2",
            columns_for_all_rows: "both columns of both rows",
            softmax_down_the_columns: "your columns sum to 1",
            without_softmax: "you subtract from the logits",
            slope_in_the_probability: "the slope in p",
            ignored_is_a_column: "is no column",
            ignored_still_divides: "you still divide by 2",
            ignored_still_pushes: "can its logits change the loss?",
            ignored_rows_left_out: "has a row that does not count",
            overflows: "For [1000, 0, 0] you return [nan",
            by_the_mean_of_a_row: "For [1500, 1499, -1500] you return [nan",
            clamped: "For [1500, 1499, -1500] you return [0.5, -0.5, 0.0]",
            nan_to_one: "For [1500, 1499, -1500] you return [1.0, 0.0, 0.0]",
            shifted_by_the_largest_of_all: "subtract its own largest logit",
            writes_into_the_logits: "the logits that came in are changed",
            writes_into_the_targets: "the targets that came in are changed",
            the_loss: "Every logit has a slope",
        },
    ),
    "layer_norm_both_ways": Answers(
        right=[norm_by_autograd, norm_by_the_table, norm_in_two_steps],
        wrong={
            only_y: "Four tensors are wanted",
            norm(y=lambda p: p.n): "neither gain nor bias",
            norm(y=lambda p: p.n * p.gain): "your y lacks the bias",
            norm(y=lambda p: p.n + p.bias): "your y lacks the gain",
            norm(y=lambda p: p.gain * p.c / (p.x.var(1, keepdim=True) + p.eps).sqrt() + p.bias): "by d - 1",
            norm(y=lambda p: p.gain * p.c / (p.variance.sqrt() + p.eps) + p.bias): "you add eps to σ",
            norm(y=lambda p: p.gain * p.c / p.s**2 + p.bias): "What is missing over it?",
            norm(y=lambda p: p.gain * p.c / p.variance.sqrt() + p.bias): "you leave out eps",
            norm(y=lambda p: F.layer_norm(p.x, (p.x.size(1),), p.gain, p.bias)): "your ε is 1e-5",
            norm(y=lambda p: p.gain * p.x / p.s + p.bias): "you divide x itself by s",
            down_the_columns: "you normalise columns",
            norm(y=lambda p: p.gain * (p.n + p.bias)): "[-2, -1, 0, 3] / √6.5",
            norm(y=lambda p: p.n.sum(1)): "and not (3, 4)",
            squares_eps: "For eps = 0.25 it is not",
            norm(g_bias=lambda p: p.g_y.mean(0)): "Yours is the mean of the rows",
            norm(
                g_bias=lambda p: p.g_y.sum(1)
            ): "gradient of bias is [0.5, -1.0, 4.0, 0.5], and yours is of shape (3,)",
            norm(g_gain=lambda p: (p.g_y * p.n).mean(0)): "Yours is the mean over the rows",
            norm(g_gain=lambda p: p.g_y.sum(0)): "as for the bias",
            norm(g_gain=lambda p: (p.g_y * p.x).sum(0)): "the sum of g_y · x",
            norm(g_gain=lambda p: (p.g_y * (p.gain * p.n + p.bias)).sum(0)): "the sum of g_y · y",
            norm(g_gain=lambda p: (p.g_y * p.c).sum(0)): "times the deviations, not divided by s",
            norm(g_gain=lambda p: (p.g_n * p.n).sum(0)): "the sum of g_n · n",
            norm(g_x=lambda p: p.g_n / p.s): "only the direct path",
            norm(g_x=lambda p: (p.g_n - p.n * p.along) / p.s): "without the path through the mean",
            norm(g_x=lambda p: (p.g_n - p.mean) / p.s): "without the path through the divisor",
            norm(g_x=lambda p: p.g_n - p.mean - p.n * p.along): "not divided by s: n =",
            norm(g_x=lambda p: (p.g_n - p.mean - p.n * p.along) / p.s**2): "once too often",
            norm(g_x=lambda p: (p.g_y - p.g_y.mean(1, True) - p.n * (p.g_y * p.n).mean(1, True)) / p.s): (
                "without the gain"
            ),
            norm(g_x=lambda p: p.gain * (p.g_y - p.g_y.mean(1, True) - p.n * (p.g_y * p.n).mean(1, True)) / p.s): (
                "by the gain at the end"
            ),
            norm(
                g_x=lambda p: (p.g_n - p.g_n.sum(1, True) - p.n * (p.g_n * p.n).sum(1, True)) / p.s
            ): "sums where means",
            norm(g_x=lambda p: (p.g_n - p.mean - p.along) / p.s): "without the factor n",
            norm(g_x=lambda p: (p.g_n - p.mean + p.n * p.along) / p.s): "third sign turned",
            norm(g_x=lambda p: (p.g_n + p.mean - p.n * p.along) / p.s): "second sign turned",
            norm(g_x=lambda p: -(p.g_n - p.mean - p.n * p.along) / p.s): "all signs turned",
            norm(g_x=lambda p: (p.g_n - p.g_n.mean(0) - p.n * (p.g_n * p.n).mean(0)) / p.s): "means down the columns",
            norm(g_x=lambda p: (p.g_n - p.mean - p.n * p.along) / p.variance.sqrt()): "divided by σ. Forward",
            norm(g_x=lambda p: ((p.g_n - p.mean - p.n * p.along) / p.s).round(decimals=2)): "Which of the three paths",
            norm(g_x=lambda p: p.g_n.sum(1)): "Every number of x has a slope",
            four_features_only: "not for 1 of 5",
            divides_by_the_deviation: "A row of equal numbers",
            centres_in_place: "the x that came in is changed",
            scales_what_arrives: "the g_y that came in is changed",
        },
    ),
    "adamw_step": Answers(
        right=[by_torch, with_lerp],
        wrong={
            with_lerp_in_place: "the weight that came in is changed",
            means_in_place: "the m that came in is changed",
            beta1_written_in: "Right for beta1 = 0.9",
            no_eps_for_zeros: "with zero slopes",
            variant(uncorrected=True): "are used as they are",
            variant(late=1): "correct as in step 2",
            variant(late=2): "correct as in step 1",
            variant(late=-1): "zero in your first step",
            variant(times=True): "or beta · step",
            variant(l2=True): "That is L2",
            variant(decay_times_lr=False): "shrink the weight by half",
            variant(decays=False): "nothing decays",
            variant(decay_after=True): "Of which weight is the decay a share?",
            variant(sign=1): "you walk up",
            variant(eps_in_root=True): "under the root",
            variant(square=False): "gradients or their squares",
            variant(root=False): "You divide by v",
            variant(swapped=True): "Which beta belongs to m",
            variant(keeps_corrected=True): "the corrected means",
            variant(weight_of_new=False): "How much does the new gradient count?",
            variant(forgets=True): "What do the old means still count?",
        },
    ),
}
