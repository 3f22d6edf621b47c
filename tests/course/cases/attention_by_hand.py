"""Answers to the exercises of lesson 4."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tests.course.cases import Answers

Attention = tuple[Tensor, Tensor]


def shares(exponentials: list[float]) -> list[float]:
    """Divided by their sum: mistakes are made before that."""
    return [e / sum(exponentials) for e in exponentials]


def softmax_by_torch(scores: list[float]) -> Tensor:
    return torch.tensor(scores, dtype=torch.float64).softmax(0)


def softmax_by_numpy(scores: list[float]) -> np.ndarray:
    shifted = np.exp(np.array(scores) - np.max(scores))
    return shifted / shifted.sum()


def softmax_by_logarithms(scores: list[float]) -> list[float]:
    total = float(torch.tensor(scores, dtype=torch.float64).logsumexp(0))
    return [math.exp(score - total) for score in scores]


def softmax_by_differences(scores: list[float]) -> list[float]:
    """Each weight from its distances to all scores; a term that would overflow makes the weight 0."""
    gaps = [[other - score for other in scores] for score in scores]
    return [0.0 if max(row) > 700 else 1 / sum(math.exp(gap) for gap in row) for row in gaps]


def no_shift(scores: list[float]) -> list[float]:
    return shares([math.exp(score) for score in scores])


def no_shift_in_torch(scores: list[float]) -> Tensor:
    exponentials = torch.tensor(scores).exp()
    return exponentials / exponentials.sum()


def not_divided(scores: list[float]) -> list[float]:
    return [math.exp(score - max(scores)) for score in scores]


def without_exponential(scores: list[float]) -> list[float]:
    return shares(scores)


def one_hot(scores: list[float]) -> list[float]:
    return [float(score == max(scores)) for score in scores]


def powers_of_two(scores: list[float]) -> list[float]:
    return shares([2 ** (score - max(scores)) for score in scores])


def softmin(scores: list[float]) -> list[float]:
    return shares([math.exp(min(scores) - score) for score in scores])


def logarithms(scores: list[float]) -> list[float]:
    return [math.log(weight) for weight in no_shift(scores)]


def shifted_above_only(scores: list[float]) -> list[float]:
    return [math.exp(score - max(scores)) / sum(math.exp(s) for s in scores) for score in scores]


def shifted_by_the_sum(scores: list[float]) -> list[float]:
    return shares([math.exp(score - sum(scores)) for score in scores])


def shifted_by_the_size(scores: list[float]) -> list[float]:
    return shares([math.exp(score - max(abs(s) for s in scores)) for score in scores])


def shifted_by_the_smallest(scores: list[float]) -> list[float]:
    return shares([math.exp(score - min(scores)) for score in scores])


def shifted_by_the_first(scores: list[float]) -> list[float]:
    return shares([math.exp(score - scores[0]) for score in scores])


def clipped(scores: list[float]) -> list[float]:
    return shares([math.exp(max(-500, min(500, score))) for score in scores])


def divided_by_the_largest(scores: list[float]) -> list[float]:
    return shares([math.exp(score / max(scores)) for score in scores])


def changes_its_input(scores: list[float]) -> list[float]:
    largest = max(scores)
    for i, score in enumerate(scores):
        scores[i] = math.exp(score - largest)
    return shares(scores)


def one_number(scores: list[float]) -> float:
    return max(softmax_by_logarithms(scores))


def by_einsum(q: Tensor, k: Tensor, v: Tensor) -> Attention:
    scores = torch.einsum("...id,...jd->...ij", q, k) * q.size(-1) ** -0.5
    exponentials = torch.exp(scores - scores.amax(-1, keepdim=True))
    weights = exponentials / exponentials.sum(-1, keepdim=True)
    return torch.einsum("...ij,...jd->...id", weights, v), weights


def scaling_the_queries(q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
    weights = torch.nn.functional.softmax(torch.matmul(q / math.sqrt(k.shape[-1]), k.mT), dim=-1)
    return [torch.matmul(weights, v), weights]


def by_sums_over_products(q: Tensor, k: Tensor, v: Tensor) -> Attention:
    scores = (q.unsqueeze(-2) * k.unsqueeze(-3)).sum(-1) / math.sqrt(q.shape[-1])
    weights = scores.softmax(-1)
    return (weights.unsqueeze(-1) * v.unsqueeze(-3)).sum(-2), weights


def attention_with(
    weigh: Callable[[Tensor, Tensor], Tensor] = lambda q, k: (q @ k.mT / math.sqrt(q.size(-1))).softmax(-1),
    blend: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda weights, k, v: weights @ v,
) -> Callable[[Tensor, Tensor, Tensor], Attention]:
    """Right but for the part that is given."""

    def answer(q: Tensor, k: Tensor, v: Tensor) -> Attention:
        weights = weigh(q, k)
        return blend(weights, k, v), weights

    return answer


def only_the_output(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return by_einsum(q, k, v)[0]


def weights_first(q: Tensor, k: Tensor, v: Tensor) -> Attention:
    output, weights = by_einsum(q, k, v)
    return weights, output


def scaled_by_d_v(q: Tensor, k: Tensor, v: Tensor) -> Attention:
    weights = (q @ k.mT / math.sqrt(v.size(-1))).softmax(-1)
    return weights @ v, weights


def for_matrices_only(q: Tensor, k: Tensor, v: Tensor) -> Attention:
    weights = (q @ k.permute(*range(k.dim() - 1, -1, -1)) / math.sqrt(q.size(-1))).softmax(-1)  # what k.T does
    return weights @ v, weights


def scaling_q_in_place(q: Tensor, k: Tensor, v: Tensor) -> Attention:
    q /= math.sqrt(q.size(-1))
    weights = (q @ k.mT).softmax(-1)
    return weights @ v, weights


def negating_k_in_place(q: Tensor, k: Tensor, v: Tensor) -> Attention:
    k.neg_()
    weights = (-q @ k.mT / math.sqrt(q.size(-1))).softmax(-1)
    return weights @ v, weights


def with_numpy_in_between(q: Tensor, k: Tensor, v: Tensor) -> Attention:
    scores = torch.tensor((q @ k.mT).tolist(), dtype=q.dtype) / math.sqrt(q.size(-1))
    weights = scores.softmax(-1)
    return weights @ v, weights


def own_softmax(q: Tensor, k: Tensor) -> Tensor:
    exponentials = (q @ k.mT / math.sqrt(q.size(-1))).exp()
    return exponentials / exponentials.sum(-1, keepdim=True)


def own_softmax_shifted_for_all(q: Tensor, k: Tensor) -> Tensor:
    scores = q @ k.mT / math.sqrt(q.size(-1))
    exponentials = (scores - scores.max()).exp()
    return exponentials / exponentials.sum(-1, keepdim=True)


def with_causal_mask(q: Tensor, k: Tensor) -> Tensor:
    scores = q @ k.mT / math.sqrt(q.size(-1))
    return scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -math.inf).softmax(-1)


detached = attention_with(blend=lambda weights, k, v: (weights @ v).detach())
unscaled = attention_with(lambda q, k: (q @ k.mT).softmax(-1))
divided_by_d_k = attention_with(lambda q, k: (q @ k.mT / q.size(-1)).softmax(-1))
multiplied = attention_with(lambda q, k: (q @ k.mT * math.sqrt(q.size(-1))).softmax(-1))
not_transposed = attention_with(lambda q, k: (q @ k / math.sqrt(q.size(-1))).softmax(-1))
keys_ask = attention_with(lambda q, k: (k @ q.mT / math.sqrt(q.size(-1))).softmax(-1))
columns = attention_with(lambda q, k: (q @ k.mT / math.sqrt(q.size(-1))).softmax(-2))
second_dimension = attention_with(lambda q, k: (q @ k.mT / math.sqrt(q.size(-1))).softmax(1))
scaled_too_late = attention_with(lambda q, k: (q @ k.mT).softmax(-1) / math.sqrt(q.size(-1)))
no_softmax = attention_with(lambda q, k: q @ k.mT / math.sqrt(q.size(-1)))
scaled_by_queries = attention_with(lambda q, k: (q @ k.mT / math.sqrt(q.size(-2))).softmax(-1))
scaled_by_keys = attention_with(lambda q, k: (q @ k.mT / math.sqrt(k.size(-2))).softmax(-1))
weights_turned = attention_with(blend=lambda weights, k, v: weights.mT @ v)
blends_keys = attention_with(blend=lambda weights, k, v: weights @ k)
number_by_number = attention_with(blend=lambda weights, k, v: weights * v)
values_to_the_left = attention_with(blend=lambda weights, k, v: v @ weights)


def jacobian_by_torch(weights: list[float]) -> Tensor:
    w = torch.tensor(weights)
    return torch.diag(w) - torch.outer(w, w)


def jacobian_by_autograd(weights: list[float]) -> Tensor:
    scores = torch.tensor(weights, dtype=torch.float64).clamp(min=1e-300).log()
    return torch.autograd.functional.jacobian(lambda s: s.softmax(0), scores)


def jacobian_row_by_row(weights: list[float]) -> list[list[float]]:
    rows = []
    for i, w_i in enumerate(weights):
        row = [-w_i * w_j for w_j in weights]
        row[i] = w_i * (1 - w_i)
        rows.append(row)
    return rows


def jacobian_with(entry: Callable[[float, float, bool], float]) -> Callable[[list[float]], list[list[float]]]:
    """Row i, column j from w_i, w_j, and whether i = j."""

    def answer(weights: list[float]) -> list[list[float]]:
        return [[entry(w_i, w_j, i == j) for j, w_j in enumerate(weights)] for i, w_i in enumerate(weights)]

    return answer


no_diagonal = jacobian_with(lambda a, b, same: -a * b)
only_the_diagonal = jacobian_with(lambda a, b, same: a * (1 - a) if same else 0.0)
signs_turned = jacobian_with(lambda a, b, same: a * (b - same))
all_gain = jacobian_with(lambda a, b, same: a * (1 - a) if same else a * b)
delta_forgotten = jacobian_with(lambda a, b, same: a * (1 - b))
delta_forgotten_for_j = jacobian_with(lambda a, b, same: b * (1 - a))
factor_forgotten = jacobian_with(lambda a, b, same: same - b)
weights_on_the_diagonal = jacobian_with(lambda a, b, same: a * same)
sign_of_the_square = jacobian_with(lambda a, b, same: a * (1 + a) if same else -a * b)


def softmax_again(weights: list[float]) -> Tensor:
    w = torch.tensor(weights, dtype=torch.float64).softmax(0)
    return torch.diag(w) - torch.outer(w, w)


def only_own_slopes(weights: list[float]) -> list[float]:
    return [w * (1 - w) for w in weights]


def always_three(weights: list[float]) -> list[list[float]]:
    return [[weights[i] * ((i == j) - weights[j]) for j in range(3)] for i in range(3)]


def root_of_the_product(d_k: int, std_q: float, std_k: float) -> float:
    return float(std_q * std_k * d_k**0.5)


def length_of_three(d_k: int, std_q: float, std_k: float) -> Tensor:
    return torch.full((d_k,), std_q * std_k, dtype=torch.float64).norm()


def root_of_d_k(d_k: int, std_q: float, std_k: float) -> float:
    return math.sqrt(d_k)


def without_root(d_k: int, std_q: float, std_k: float) -> float:
    return d_k * std_q * std_k


def the_variance(d_k: int, std_q: float, std_k: float) -> float:
    return d_k * std_q**2 * std_k**2


def deviations_as_variances(d_k: int, std_q: float, std_k: float) -> float:
    return math.sqrt(d_k * std_q * std_k)


def without_keys(d_k: int, std_q: float, std_k: float) -> float:
    return math.sqrt(d_k) * std_q


def without_queries(d_k: int, std_q: float, std_k: float) -> float:
    return math.sqrt(d_k) * std_k


def deviations_added(d_k: int, std_q: float, std_k: float) -> float:
    return math.sqrt(d_k) * (std_q + std_k)


def variances_added(d_k: int, std_q: float, std_k: float) -> float:
    return math.sqrt(d_k * (std_q**2 + std_k**2))


def divided_by_the_deviations(d_k: int, std_q: float, std_k: float) -> float:
    return math.sqrt(d_k) / (std_q * std_k)


def what_to_multiply_by(d_k: int, std_q: float, std_k: float) -> float:
    return 1 / (math.sqrt(d_k) * std_q * std_k)


def without_d_k(d_k: int, std_q: float, std_k: float) -> float:
    return std_q * std_k


def rounded_divisor(d_k: int, std_q: float, std_k: float) -> float:
    return round(math.sqrt(d_k) * std_q * std_k, 2)


def always_six(d_k: int, std_q: float, std_k: float) -> float:
    return 6.0


def rounded(scores: list[float]) -> list[float]:
    return [round(weight, 4) for weight in softmax_by_torch(scores).tolist()]


def changing_the_weights(weights: list[float]) -> list[list[float]]:
    rows = jacobian_row_by_row(weights)
    weights.reverse()
    return rows


def one_row_three_times(weights: list[float]) -> list[list[float]]:
    rows = [[0.0] * len(weights)] * len(weights)
    for i, row in enumerate(jacobian_row_by_row(weights)):
        rows[i][:] = row
    return rows


ANSWERS = {
    "softmax": Answers(
        right=[softmax_by_torch, softmax_by_numpy, softmax_by_logarithms, softmax_by_differences],
        wrong={
            no_shift: "For [1000.0, 1001.0] it overflows",
            no_shift_in_torch: "you return [nan, nan]",
            not_divided: "They sum to 1.5032",
            without_exponential: "the scores divided by their total",
            one_hot: "That decides for the largest score",
            powers_of_two: "powers of 2",
            softmin: "The largest score gets the least weight",
            logarithms: "the logarithms of the weights",
            shifted_above_only: "above and below the line",
            shifted_by_the_sum: "You subtract too much",
            shifted_by_the_size: "Which score should be 0",
            shifted_by_the_smallest: "For [1000.0, -1000.0] it overflows",
            shifted_by_the_first: "is not the largest here",
            clipped: "the same as for [-1.0, 0.0]",
            divided_by_the_largest: "By hand: e^2",
            changes_its_input: "leave the caller's list as it was",
            one_number: "How many weights do three scores have?",
            rounded: "right to three decimals",
        },
    ),
    "dot_product_attention": Answers(
        right=[by_einsum, scaling_the_queries, by_sums_over_products],
        wrong={
            unscaled: "the weights come from unscaled scores",
            divided_by_d_k: "the scores are divided by d_k = 2",
            multiplied: "the scores are multiplied by √d_k",
            not_transposed: "rows of q meet columns of k",
            keys_ask: "the rows belong to the keys",
            columns: "each column sums to 1",
            second_dimension: "softmax runs along dimension 1",
            scaled_too_late: "after softmax. What do they sum to now?",
            no_softmax: "what you call weights are the scaled scores",
            scaled_by_queries: "divided by √4",
            scaled_by_keys: "divided by √3",
            scaled_by_d_v: "divided by √2: d_v",
            weights_turned: "the weights are turned over",
            blends_keys: "what they blend are the keys",
            number_by_number: "multiplied number by number",
            values_to_the_left: "v stands to the left",
            only_the_output: "You return one thing",
            weights_first: "In which order are they asked for?",
            scaling_q_in_place: "the caller's q is another",
            negating_k_in_place: "the caller's k is another",
            attention_with(own_softmax): "scores, up to 900",
            attention_with(own_softmax_shifted_for_all): "scores below -900",
            attention_with(with_causal_mask): "the causal mask of lesson 5",
            detached: "cut off from q, k and v",
            with_numpy_in_between: "to all of q, k and v",
            for_matrices_only: "Does `.T` know which two dimensions",
        },
    ),
    "softmax_jacobian": Answers(
        right=[jacobian_by_torch, jacobian_by_autograd, jacobian_row_by_row],
        wrong={
            no_diagonal: "the diagonal is negative",
            only_the_diagonal: "only the diagonal is filled",
            signs_turned: "every sign is turned round",
            all_gain: "Do all weights gain?",
            delta_forgotten: "you add w_i everywhere",
            delta_forgotten_for_j: "you add w_j everywhere",
            factor_forgotten: "Which factor stands in front of the bracket?",
            weights_on_the_diagonal: "you return the weights on the diagonal",
            sign_of_the_square: "row 1, column 1 is 0.1944 instead of 0.1389",
            softmax_again: "softmax runs once more",
            only_own_slopes: "the result has the shape (3,)",
            always_three: "IndexError",
            changing_the_weights: "The weights that came in",
            one_row_three_times: "all rows are the same",
        },
    ),
    "score_divisor": Answers(
        right=[root_of_the_product, length_of_three],
        wrong={
            root_of_d_k: "right when both deviations are 1",
            without_root: "That grows with d_k itself",
            the_variance: "That is the variance of the scores",
            deviations_as_variances: "Are they variances?",
            without_keys: "That leaves out the keys",
            without_queries: "That leaves out the queries",
            deviations_added: "You add the deviations",
            variances_added: "You add the variances",
            divided_by_the_deviations: "should the divisor get smaller?",
            what_to_multiply_by: "That is what to multiply by",
            without_d_k: "That is the deviation of one product",
            rounded_divisor: "Right for 16, 3 and 0.5. For 2, 2.0 and 3.0",
            always_six: "Right for 16, 3 and 0.5. For 64",
        },
    ),
}
