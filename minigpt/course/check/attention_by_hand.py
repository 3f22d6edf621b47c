"""The checks of lesson 4, attention by hand."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from minigpt.course.exercise import Exercise, close


@Exercise
def softmax(answer: Callable[[list[float]], list[float]]) -> str | None:
    """Softmax that does not overflow."""
    given = [2.0, 0.0, 1.0]
    result = answer(given)
    if given != [2.0, 0.0, 1.0]:
        return f"The scores [2, 0, 1] that came in are {given} afterwards. Can you leave the caller's list as it was?"
    if torch.as_tensor(result).shape != (3,):
        return f"For the three scores [2, 0, 1] you return {result}. How many weights do three scores have?"
    got = [float(weight) for weight in result]
    came = f"For [2, 0, 1] you return {[round(weight, 4) for weight in got]}."
    e = math.e
    total = e**2 + 1 + e
    hints: list[tuple[list[float], str]] = [
        ([2 / 3, 0, 1 / 3], "These are the scores divided by their total. What would a negative score become?"),
        ([1, 0, 0], "That decides for the largest score. How much weight should the others keep?"),
        ([4 / 7, 1 / 7, 2 / 7], "These are powers of 2. Which base has softmax?"),
        ([1 / total, e**2 / total, e / total], "The largest score gets the least weight. Which sign has the exponent?"),
        (
            [math.log(w / total) for w in (e**2, 1, e)],
            "These are the logarithms of the weights. What undoes a logarithm?",
        ),
        ([1 / total, e**-2 / total, e**-1 / total], "Is the same number subtracted above and below the line?"),
    ]
    for mistake, hint in hints:
        if close(got, mistake, 1e-5):
            return f"{came} {hint}"
    right = [e**2 / total, 1 / total, e / total]
    if close(got, right, 1e-3) and not close(got, right, 1e-5):
        return f"{came} That is right to three decimals. Do you round, or write e with too few digits?"
    if not close(sum(got), 1, 1e-5):
        return f"{came} They sum to {sum(got):.4f}, not to 1. What must each exponential be divided by?"
    if not close(got, right, 1e-5):
        return f"{came} By hand: e^2 / (e^2 + e^0 + e^1) = 7.3891 / 11.1073 = 0.6652."

    which = "What can you subtract from every score without changing the result?"
    too_small = "All exponentials are 0 there. Which score should be 0 before you exponentiate?"
    too_large = "What you subtract leaves e^1000 or more. How large may the largest exponent be?"
    not_the_first = "The score that you subtract is not the largest here. Which one must it be, wherever it stands?"
    for scores, hint in (
        ([1000.0, 1001.0], which),
        ([-1000.0, -1001.0], too_small),
        ([1000.0, -1000.0], too_large),
        ([0.0, 1000.0, 0.0], not_the_first),
        ([-1000.0, 1000.0], not_the_first),
        ([-1000.0, 0.0, -1000.0], not_the_first),
        ([3.0, 3.0], "Equal scores get equal weights."),
        ([7.0], "One score gets all the weight: 1."),
    ):
        try:
            got = [float(weight) for weight in answer(list(scores))]
            what = f"you return {[round(weight, 4) for weight in got]}"
        except OverflowError:
            got, what = [math.nan], "it overflows"
        except ZeroDivisionError:
            got, what = [math.nan], "you divide by 0"
            hint = hint if hint != which else "You subtract too much: which smaller number is large enough?"
        if any(map(math.isnan, got)):
            return f"Right for small scores. For {scores} {what}. {hint}"
        shifted = [score - max(scores) for score in scores]
        if not close(got, [math.exp(score) / sum(map(math.exp, shifted)) for score in shifted]):
            return (
                f"For {scores} {what}. It should be the same as for {shifted}. Does your function see the difference?"
            )
    return None


@Exercise
def dot_product_attention(answer: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> str | None:
    """softmax(Q K^T / sqrt(d_k)) V: the output and the weights."""
    q, k, v = (torch.tensor(m, dtype=torch.float64) for m in ([[1, 0], [0, 2]], [[2, 0], [1, 1]], [[4, 0], [0, 8]]))
    case = "For q = [[1, 0], [0, 2]], k = [[2, 0], [1, 1]], v = [[4, 0], [0, 8]]"
    given = [x.clone() for x in (q, k, v)]
    result = answer(q, k, v)
    if changed := _changed(given, (q, k, v)):
        return f"After the call, the caller's {changed} is another: an operation in place, such as {changed} /= 2?"
    if not isinstance(result, tuple | list) or len(result) != 2:
        return "You return one thing, and two are asked for: the output and the weights. `return output, weights`"
    output, weights = result
    right = (q @ k.T / math.sqrt(2)).softmax(dim=-1)
    if close(output, right) and close(weights, right @ v):
        return "You return the weights and then the output. In which order are they asked for?"
    hints: list[tuple[Tensor, str]] = [
        ((q @ k.T).softmax(-1), "the weights come from unscaled scores. What are scores divided by?"),
        ((q @ k.T / 2).softmax(-1), "the scores are divided by d_k = 2. Is it d_k, or its root?"),
        ((q @ k.T * math.sqrt(2)).softmax(-1), "the scores are multiplied by √d_k. Should they grow or shrink?"),
        ((q @ k / math.sqrt(2)).softmax(-1), "rows of q meet columns of k. A row of q should meet which part of k?"),
        ((k @ q.T / math.sqrt(2)).softmax(-1), "the rows belong to the keys. Who asks, and so owns a row: q or k?"),
        ((q @ k.T / math.sqrt(2)).softmax(-2), "each column sums to 1. A query shares out its weight along what?"),
        (
            (q @ k.T).softmax(-1) / math.sqrt(2),
            "the weights are divided by √d_k after softmax. What do they sum to now?",
        ),
        (q @ k.T / math.sqrt(2), "what you call weights are the scaled scores. Which step makes them positive?"),
        (
            (q @ k.T / math.sqrt(2)).masked_fill(torch.ones(2, 2).triu(1).bool(), -math.inf).softmax(-1),
            "the first query does not see the second key. That is the causal mask of lesson 5; here all see all.",
        ),
    ]
    for mistake, hint in hints:
        if close(weights, mistake):
            return f"{case} {hint}"
    if not close(weights, right):
        return (
            f"{case} the weights should be {_rounded(right)}. On paper: q times k, row by row, gives [[2, 1], [0, 2]]."
        )
    for mistake, hint in (
        (right.T @ v, "the weights are turned over before they meet v. Which row belongs to the first query?"),
        (right @ k, "the weights are right, but what they blend are the keys. What is handed over?"),
        (right * v, "weights and values are multiplied number by number. An output is a sum over all of what?"),
        (v @ right, "v stands to the left of the weights. Which of the two has a row for each query?"),
        (v, "the output is v itself. Where do the weights come in?"),
    ):
        if close(output, mistake):
            return f"{case} {hint}"
    if not close(output, right @ v):
        return f"{case} the weights are right; the output should be {_rounded(right @ v)}: weights times values."

    q, k, v = _waves(4, 5), _waves(3, 5), _waves(3, 2)
    case = "Right for 2 × 2. For 4 queries and 3 keys of 5 numbers, and 3 values of 2 numbers,"
    try:
        output, weights = answer(q, k, v)
    except (RuntimeError, IndexError) as error:
        return f"{case} torch complains: {error}. Which sizes do you take for granted?"
    for size, name in ((4, "the number of queries"), (3, "the number of keys"), (2, "d_v, or simply 2")):
        if close(weights, (q @ k.T / math.sqrt(size)).softmax(-1)):
            return f"{case} the scores are divided by √{size}: {name}. Which size is d_k?"
    right = (q @ k.T / math.sqrt(5)).softmax(dim=-1)
    if not close(weights, right) or not close(output, right @ v):
        return f"{case} the result is not that of the formula. Which sizes do you take for granted?"

    for q, k, v, what in (
        (500 * _waves(4, 5), _waves(3, 5), _waves(3, 2), "large scores, up to 900"),
        (500 * _waves(4, 5), _waves(3, 5).abs() * torch.tensor([-1.0, -1, 1, 1, 1]), _waves(3, 2), "scores below -900"),
    ):
        output, weights = answer(q, k, v)
        right = (q @ k.T / math.sqrt(5)).softmax(dim=-1)
        if not close(weights, right) or not close(output, right @ v):
            return (
                f"Right for small scores. For {what} it is not. Does your own softmax subtract the largest of each row?"
            )
    q, k, v = (_waves(*shape).requires_grad_() for shape in ((3, 4), (3, 4), (3, 4)))
    output, weights = answer(q, k, v)
    if not output.requires_grad:
        return (
            "The numbers are right, but cut off from q, k and v: no slope flows back. Is there a detach or an item()?"
        )
    if any(x is None for x in torch.autograd.grad(output.sum() + weights[0, 0], (q, k, v), allow_unused=True)):
        return (
            "The numbers are right, but no slope flows back to all of q, k and v. Which step takes plain numbers out?"
        )

    q, k, v = _waves(2, 4, 5), _waves(2, 3, 5), _waves(2, 3, 2)
    case = "Right for matrices. For a batch, q of the shape (2, 4, 5),"
    right = (q @ k.transpose(-2, -1) / math.sqrt(5)).softmax(dim=-1)
    try:
        output, weights = answer(q, k, v)
    except Exception as error:
        return f"{case} torch complains: {error}. Does `.T` know which two dimensions you mean?"
    for dim in (0, 1):
        if close(weights, (q @ k.transpose(-2, -1) / math.sqrt(5)).softmax(dim)):
            return f"{case} softmax runs along dimension {dim}. Where do the keys stand, counted from the end?"
    if not close(weights, right) or not close(output, right @ v):
        return f"{case} the result is not the same as for its two texts one by one. Which dimension has moved?"
    return None


def _changed(before: Sequence[Tensor], after: Sequence[Tensor]) -> str:
    """Which of q, k and v has changed."""
    names = [name for name, a, b in zip("qkv", before, after, strict=True) if not torch.equal(a, b)]
    return names[0] if names else ""


def _waves(*shape: int) -> Tensor:
    """Numbers without a pattern that a mistake could hide behind, the same each time."""
    return torch.arange(1, math.prod(shape) + 1, dtype=torch.float64).mul(1.7).sin().mul(2).view(shape)


def _rounded(matrix: Tensor) -> list[list[float]]:
    return [[round(x, 4) for x in row] for row in matrix.tolist()]


@Exercise
def softmax_jacobian(answer: Callable[[list[float]], list[list[float]]]) -> str | None:
    """Row i, column j: by how much weight i changes per change of score j."""
    w = torch.tensor([1 / 6, 1 / 3, 1 / 2], dtype=torch.float64)
    given = w.tolist()
    result = torch.as_tensor(answer(given), dtype=torch.float64)
    case = "For the weights [1/6, 1/3, 1/2]"
    if given != w.tolist():
        return f"The weights that came in are {given} afterwards. Can you leave the caller's list as it was?"
    if result.shape != (3, 3):
        return f"{case} the result has the shape {tuple(result.shape)}. How many weights, and how many scores?"
    eye, outer = torch.eye(3, dtype=torch.float64), torch.outer(w, w)
    again = w.softmax(-1)
    hints: list[tuple[Tensor, str]] = [
        (-outer, "the diagonal is negative. If a score rises, does its own weight fall?"),
        (eye * w, "you return the weights on the diagonal. By how much do the others change?"),
        (torch.diag(w * (1 - w)), "only the diagonal is filled. Who loses what the raised score gains?"),
        (outer - torch.diag(w), "every sign is turned round. If a score rises, does its own weight rise?"),
        (torch.diag(w * (1 - w)) + outer - torch.diag(w * w), "each column sums to more than 0. Do all weights gain?"),
        (w.unsqueeze(1) - outer, "you add w_i everywhere. In which places is δ_ij equal to 1?"),
        (w.unsqueeze(0) - outer, "you add w_j everywhere. In which places is δ_ij equal to 1?"),
        (eye - w, "the entries are δ_ij - w_j. Which factor stands in front of the bracket?"),
        (torch.diag(1 - w) - outer, "the diagonal is not w_i (1 - w_i). What is multiplied by δ_ij?"),
        (torch.diag(again) - torch.outer(again, again), "softmax runs once more. What comes in: scores, or weights?"),
    ]
    for mistake, hint in hints:
        if close(result, mistake):
            return f"{case} {hint}"
    right = torch.diag(w) - outer
    if torch.equal(result[0], result[2]) and torch.equal(result[1], result[2]):
        return f"{case} all rows are the same. In Python [[0] * 3] * 3 is one row, three times: where is each row made?"
    if not close(result, right):
        row, column = (int(i) for i in (result - right).abs().gt(1e-6).nonzero()[0])
        return (
            f"{case} row {row + 1}, column {column + 1} is {result[row, column]:.4f} instead of "
            f"{right[row, column]:.4f}. Which two weights belong there?"
        )
    for weights in ([1.0, 0.0], [0.1, 0.2, 0.3, 0.4], [1.0], [0.25] * 4, [1 / 7] * 7):
        w = torch.tensor(weights, dtype=torch.float64)
        if not close(answer(weights), torch.diag(w) - torch.outer(w, w)):
            return f"Right for three weights. For {weights} it is not. How many rows should there be?"
    return None


@Exercise
def score_divisor(answer: Callable[[int, float, float], float]) -> str | None:
    """What to divide q · k by, so that the scores have variance 1."""
    got = float(answer(16, 3.0, 0.5))
    came = f"For d_k = 16, std_q = 3 and std_k = 0.5 you return {got:.4g}."
    hints = {
        4.0: "That is √d_k, right when both deviations are 1. How do scores grow when the queries are 3 times as long?",
        24.0: "That grows with d_k itself. Do variances add up, or standard deviations?",
        36.0: "That is the variance of the scores. By what must they be divided so that it becomes 1?",
        math.sqrt(24): "You take the root of std_q and std_k, too. Are they variances?",
        12.0: "That leaves out the keys. What happens when they are half as long?",
        2.0: "That leaves out the queries. What happens when they are 3 times as long?",
        14.0: "You add the deviations. What is the variance of a product of independent numbers?",
        4 * math.sqrt(9.25): "You add the variances of q and k. But they are multiplied: what is the variance then?",
        4 / 1.5: "You divide by the deviations. If queries get longer, should the divisor get smaller?",
        1 / 6: "That is what to multiply by. What is asked for is what to divide by.",
        1.5: "That is the deviation of one product. How many of them are added up?",
    }
    for mistake, hint in hints.items():
        if close(got, mistake, 1e-5):
            return f"{came} {hint}"
    if not close(got, 6, 1e-5):
        return f"{came} On paper: one product has variance 3² · 0.5² = 2.25, and 16 of them are added up."
    for d_k, std_q, std_k in ((64, 1.0, 1.0), (2, 2.0, 3.0), (1, 0.1, 10.0), (3, 0.02, 0.02)):
        expected = math.sqrt(d_k) * std_q * std_k
        if abs((got := float(answer(d_k, std_q, std_k))) / expected - 1) > 1e-5:
            return f"Right for 16, 3 and 0.5. For {d_k}, {std_q} and {std_k} you return {got:.4g}, not {expected:.4g}."
    return None
