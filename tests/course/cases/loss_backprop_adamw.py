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


def the_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets)


def by_the_table(g_weights: Tensor, weights: Tensor) -> Tensor:
    table = torch.diag_embed(weights) - weights[..., :, None] * weights[..., None, :]
    return (g_weights[..., None, :] @ table).squeeze(-2)


def with_einsum(g_weights: Tensor, weights: Tensor) -> Tensor:
    product = g_weights * weights
    return product - weights * torch.einsum("...i->...", product)[..., None]


def softmax_by_autograd(g_weights: Tensor, weights: Tensor) -> Tensor:
    scores = weights.log().requires_grad_()
    scores.softmax(dim=-1).backward(g_weights)
    assert scores.grad is not None
    return scores.grad.nan_to_num()


def product_only(g_weights: Tensor, weights: Tensor) -> Tensor:
    return g_weights * weights


def diagonal_only(g_weights: Tensor, weights: Tensor) -> Tensor:
    return g_weights * weights * (1 - weights)


def bracket_turned(g_weights: Tensor, weights: Tensor) -> Tensor:
    return weights * ((g_weights * weights).sum(dim=-1, keepdim=True) - g_weights)


def without_the_factor(g_weights: Tensor, weights: Tensor) -> Tensor:
    return g_weights - (g_weights * weights).sum(dim=-1, keepdim=True)


def factor_for_one_half(g_weights: Tensor, weights: Tensor) -> Tensor:
    product = g_weights * weights
    return product - product.sum(dim=-1, keepdim=True)


def plain_mean(g_weights: Tensor, weights: Tensor) -> Tensor:
    return weights * (g_weights - g_weights.mean(dim=-1, keepdim=True))


def plain_sum(g_weights: Tensor, weights: Tensor) -> Tensor:
    return weights * (g_weights - g_weights.sum(dim=-1, keepdim=True))


def sum_without_keepdim(g_weights: Tensor, weights: Tensor) -> Tensor:
    return weights * (g_weights - (g_weights * weights).sum(dim=-1))


def sum_down_the_columns(g_weights: Tensor, weights: Tensor) -> Tensor:
    return weights * (g_weights - (g_weights * weights).sum(dim=-2, keepdim=True))


def sum_of_everything(g_weights: Tensor, weights: Tensor) -> Tensor:
    return weights * (g_weights - (g_weights * weights).sum())


def softmax_once_more(g_weights: Tensor, weights: Tensor) -> Tensor:
    return with_einsum(g_weights, weights.softmax(dim=-1))


def second_axis(g_weights: Tensor, weights: Tensor) -> Tensor:
    return weights * (g_weights - (g_weights * weights).sum(dim=1, keepdim=True))


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
            overflows: "e^1000 overflows",
            the_loss: "Every logit has a slope",
        },
    ),
    "softmax_backward": Answers(
        right=[by_the_table, with_einsum, softmax_by_autograd],
        wrong={
            product_only: "the *other* weights",
            diagonal_only: "Who shrinks when it grows?",
            bracket_turned: "the signs are turned",
            without_the_factor: "Where is the factor a_j",
            factor_for_one_half: "Which share of it belongs to score j",
            plain_mean: "the plain mean",
            plain_sum: "the plain sum",
            sum_without_keepdim: "lie along the columns",
            sum_down_the_columns: "you sum down the columns",
            sum_of_everything: "you sum over all rows",
            softmax_once_more: "applied once more",
            second_axis: "always the last axis",
        },
    ),
    "adamw_step": Answers(
        right=[by_torch, with_lerp_in_place],
        wrong={
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
