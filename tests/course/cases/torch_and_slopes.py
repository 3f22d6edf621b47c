"""Answers to the exercises of the appendix."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.course.cases import Answers


def with_keepdim(counts: Tensor) -> Tensor:
    return counts / counts.sum(-1, keepdim=True)


def shares_by_none(counts: Tensor) -> Tensor:
    return counts / counts.sum(dim=-1)[..., None]


def shares_turned(counts: Tensor) -> Tensor:
    return (counts.mT / counts.sum(-1).unsqueeze(-2)).mT if counts.ndim > 1 else counts / counts.sum()


def normalised(counts: Tensor) -> Tensor:
    return F.normalize(counts.double(), p=1, dim=-1)


def without_keepdim(counts: Tensor) -> Tensor:
    return counts / counts.sum(dim=-1)


def columns_to_one(counts: Tensor) -> Tensor:
    return counts / counts.sum(dim=0)


def all_to_one(counts: Tensor) -> Tensor:
    return counts / counts.sum()


def only_the_sums(counts: Tensor) -> Tensor:
    return counts.sum(dim=-1)


def softmaxed(counts: Tensor) -> Tensor:
    return counts.softmax(dim=-1)


def whole_numbers(counts: Tensor) -> Tensor:
    return counts // counts.sum(dim=-1, keepdim=True)


def in_place(counts: Tensor) -> Tensor:
    counts /= counts.sum(dim=-1, keepdim=True)
    return counts


def two_dimensions_only(counts: Tensor) -> Tensor:
    return counts / counts.sum(dim=1, keepdim=True)


def from_the_front(counts: Tensor) -> Tensor:
    return counts / counts.sum(dim=min(1, counts.ndim - 1), keepdim=True)


def rounded_sums(counts: Tensor) -> Tensor:
    shares = counts / counts.sum(dim=-1, keepdim=True)
    return shares.to(counts.dtype)


def clamped_sums(counts: Tensor) -> Tensor:
    return counts / counts.sum(dim=-1, keepdim=True).clamp(max=1e9)


def shares_detached(counts: Tensor) -> Tensor:
    return with_keepdim(counts).detach()


def shares_through_lists(counts: Tensor) -> Tensor:
    flat = counts.view(-1, counts.size(-1)).tolist()
    rows = [[number / sum(row) for number in row] for row in flat]
    return torch.tensor(rows, dtype=torch.float64).view(counts.shape)


def with_transpose(numbers: Tensor, n_rows: int) -> Tensor:
    return numbers.reshape(n_rows, -1).transpose(0, 1).reshape(-1)


def column_by_column(numbers: Tensor, n_rows: int) -> Tensor:
    n_columns = len(numbers) // n_rows
    return torch.cat([numbers[j::n_columns] for j in range(n_columns)])


def by_unflatten(numbers: Tensor, n_rows: int) -> Tensor:
    return torch.stack(list(numbers.unflatten(0, (n_rows, -1))), dim=1).flatten()


def nothing_moved(numbers: Tensor, n_rows: int) -> Tensor:
    return numbers.view(-1, n_rows).flatten()


def rows_and_columns_mixed_up(numbers: Tensor, n_rows: int) -> Tensor:
    return numbers.view(-1, n_rows).T.flatten()


def still_a_table(numbers: Tensor, n_rows: int) -> Tensor:
    return numbers.view(n_rows, -1).T


def table_untouched(numbers: Tensor, n_rows: int) -> Tensor:
    return numbers.view(n_rows, -1)


def backwards(numbers: Tensor, n_rows: int) -> Tensor:
    return numbers.flip(0)


def two_rows_always(numbers: Tensor, n_rows: int) -> Tensor:
    return numbers.reshape(2, -1).T.flatten() if len(numbers) % 2 == 0 else numbers


def order_in_place(numbers: Tensor, n_rows: int) -> Tensor:
    numbers.copy_(numbers.view(n_rows, -1).T.flatten())
    return numbers


def columns_detached(numbers: Tensor, n_rows: int) -> Tensor:
    return numbers.detach().view(n_rows, -1).T.flatten()


def sorted_columns(numbers: Tensor, n_rows: int) -> Tensor:
    return numbers.view(n_rows, -1).T.flip(1).flatten()


def past_the_numbers(numbers: Tensor, n_rows: int) -> Tensor:
    n_columns = len(numbers) // n_rows
    return torch.as_strided(numbers, (n_columns, n_rows), (1, n_columns)).flatten()


def map_with_linear(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return F.linear(x, W, b)


def map_with_einsum(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return torch.einsum("...i,oi->...o", x, W) + b


def map_as_dot_products(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return torch.stack([(x * row).sum(dim=-1) for row in W], dim=-1) + b


def not_turned(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return x @ W + b


def w_on_the_left(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return W @ x + b


def x_turned(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return W @ x.T + b


def result_turned(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return (x @ W.T + b).T


def no_bias(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return x @ W.T


def bias_for_each_token(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return x @ W.T + b[:, None]


def number_by_number(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return x * W + b


def turned_if_it_fits(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return x @ W.T + b if W.size(0) == W.size(1) else x @ W + b


def adds_in_place(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    b += 0
    W.mul_(2)
    return x @ W.T / 2 + b


def mean_over_the_tokens(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    y = x @ W.T + b
    return y if y.ndim < 3 else y.mean(dim=1, keepdim=True).expand(y.shape)


def weights_detached(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return x @ W.T.detach() + b


def input_detached(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return x.detach() @ W.T + b


def in_numpy_only(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return torch.tensor(np.asarray(x.detach()) @ np.asarray(W.detach()).T + np.asarray(b.detach()))


def with_tanh(x: float) -> float:
    return (1 + math.tanh(x / 2)) / 2 if x > -20 else math.exp(x)


def with_torch_sigmoid(x: float) -> float:
    return torch.tensor(x, dtype=torch.float64).sigmoid().item()


def with_autograd(x: float) -> float:
    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(torch.logaddexp(at, torch.zeros_like(at)), at)
    return float(slope)


def guarded(x: float) -> float:
    e = math.exp(-abs(x))
    return (1 if x >= 0 else e) / (1 + e)


def overflows_above(x: float) -> float:
    return math.exp(x) / (1 + math.exp(x))


def overflows_below(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def not_a_number(x: float) -> float:
    e = torch.tensor(x, dtype=torch.float64).exp()
    return float(e / (1 + e))


def the_function(x: float) -> float:
    return math.log(1 + math.exp(x))


def no_chain_rule(x: float) -> float:
    return 1 / (1 + math.exp(x))


def inner_slope(x: float) -> float:
    return math.exp(x)


def logarithm_split(x: float) -> float:
    return 1.0


def second_derivative(x: float) -> float:
    return overflows_below(x) * (1 - overflows_below(x))


def constant_with_a_slope(x: float) -> float:
    return (1 + math.exp(x)) / (2 + math.exp(x))


def nudged(x: float) -> float:
    return (math.log(1 + math.exp(x + 1e-5)) - math.log(1 + math.exp(x - 1e-5))) / 2e-5


def nudged_far(x: float) -> float:
    return math.log(1 + math.exp(x + 0.1)) * 10 - math.log(1 + math.exp(x)) * 10


def step_function(x: float) -> float:
    return guarded(x) if x > 0 else 0.5


def zero_at_the_ends(x: float) -> float:
    return guarded(x) if abs(x) < 700 else 0.0


Line = tuple[float, float]


def descend_with_torch(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    model = torch.nn.Linear(1, 1).double()
    model.load_state_dict({"weight": torch.zeros(1, 1), "bias": torch.zeros(1)})
    optimiser = torch.optim.SGD(model.parameters(), lr=learning_rate)
    inputs, targets = (torch.tensor(values, dtype=torch.float64)[:, None] for values in (x, y))
    for _ in range(steps):
        optimiser.zero_grad()
        F.mse_loss(model(inputs), targets).backward()
        optimiser.step()
    return model.weight.item(), model.bias.item()


def descend_in_float32(x: list[float], y: list[float], steps: int, learning_rate: float) -> Tensor:
    w_b = torch.zeros(2, requires_grad=True)
    for _ in range(steps):
        loss = (w_b[0] * torch.tensor(x) + w_b[1] - torch.tensor(y)).square().mean()
        (slopes,) = torch.autograd.grad(loss, w_b)
        w_b = (w_b - learning_rate * slopes).detach().requires_grad_()
    return w_b


def descend_with_numpy(x: list[float], y: list[float], steps: int, learning_rate: float) -> np.ndarray:
    table, w_b = np.stack([x, np.ones(len(x))], axis=1), np.zeros(2)
    for _ in range(steps):
        w_b = w_b - learning_rate * 2 * table.T @ (table @ w_b - y) / len(x)
    return w_b


def _descend(x: list[float], y: list[float], steps: int, rate: float, n: float = 0.0) -> Line:
    w = b = 0.0
    for _ in range(steps):
        errors = [w * x_i + b - y_i for x_i, y_i in zip(x, y, strict=True)]
        slope_w = 2 * sum(e * x_i for e, x_i in zip(errors, x, strict=True)) / (n or len(x))
        w, b = w - rate * slope_w, b - rate * 2 * sum(errors) / (n or len(x))
    return w, b


def up_the_slope(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    return _descend(x, y, steps, -learning_rate)


def exchanged(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    return _descend(x, y, steps, learning_rate)[::-1]


def sum_of_squares(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    return _descend(x, y, steps, learning_rate, n=1)


def without_the_two(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    return _descend(x, y, steps, learning_rate / 2)


def four_examples(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    return _descend(x, y, steps, learning_rate, n=4)


def until_it_is_good(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    return _descend(x, y, min(steps, 10), learning_rate)


def one_step_less(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    return _descend(x, y, steps - 1, learning_rate)


def one_step_more(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    return _descend(x, y, steps + 1, learning_rate)


def a_single_step(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    return _descend(x, y, 1, learning_rate)


def never_moved(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    return 0.0, 0.0


def one_after_the_other(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    w = b = 0.0
    for _ in range(steps):
        pairs = list(zip(x, y, strict=True))
        w -= learning_rate * sum(2 * (w * x_i + b - y_i) * x_i for x_i, y_i in pairs) / len(x)
        b -= learning_rate * sum(2 * (w * x_i + b - y_i) for x_i, y_i in pairs) / len(x)
    return w, b


def never_zeroed(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    w, b = (torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    inputs, targets = torch.tensor(x, dtype=torch.float64), torch.tensor(y, dtype=torch.float64)
    optimiser = torch.optim.SGD([w, b], lr=learning_rate)
    for _ in range(steps):
        (w * inputs + b - targets).square().mean().backward()
        optimiser.step()
    return w.item(), b.item()


def through_the_origin(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    w = 0.0
    for _ in range(steps):
        w -= learning_rate * sum(2 * (w * x_i - y_i) * x_i for x_i, y_i in zip(x, y, strict=True)) / len(x)
    return w, 0.0


def solved_at_once(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    w, b = np.polyfit(x, y, 1)
    return float(w), float(b)


def centred_in_place(x: list[float], y: list[float], steps: int, learning_rate: float) -> Line:
    mean = sum(x) / len(x)
    for i in range(len(x)):
        x[i] -= mean
    return _descend(x, y, steps, learning_rate)


def the_losses(x: list[float], y: list[float], steps: int, learning_rate: float) -> list[float]:
    return [sum(y_i**2 for y_i in y) / len(y)] * steps


ANSWERS = {
    "row_shares": Answers(
        right=[with_keepdim, shares_by_none, shares_turned, normalised],
        wrong={
            without_keepdim: "Column 2 is divided by the sum of row 2",
            columns_to_one: "Now each column sums to 1",
            all_to_one: "share one sum",
            only_the_sums: "the sums themselves",
            softmaxed: "Softmax exponentiates first",
            whole_numbers: "Which division keeps fractions?",
            in_place: "writes into the table",
            two_dimensions_only: "Which number names the last one?",
            from_the_front: "is your `dim` that one for every shape?",
            rounded_sums: "Where do you round?",
            clamped_sums: "are a quarter",
            shares_detached: "What cuts them off from autograd?",
        },
    ),
    "by_columns": Answers(
        right=[with_transpose, column_by_column, by_unflatten],
        wrong={
            nothing_moved: "A view never turns a table",
            rows_and_columns_mixed_up: "Which of the two lengths is n_rows?",
            still_a_table: "what makes one dimension of two?",
            table_untouched: "What is its order when you read it",
            backwards: "That is backwards",
            two_rows_always: "Is a length fixed",
            order_in_place: "writes into the numbers",
            columns_detached: "What cuts them off from autograd?",
            sorted_columns: "Going down its columns you read",
            past_the_numbers: "Do you read memory past them?",
        },
    ),
    "linear_map": Answers(
        right=[map_with_linear, map_with_einsum, map_as_dot_products],
        wrong={
            not_turned: "W is used with its columns",
            w_on_the_left: "On which side do the tokens stand?",
            x_turned: "is x turned?",
            result_turned: "What did you leave turned?",
            no_bias: "What is added to them?",
            bias_for_each_token: "To which dimension does b belong?",
            number_by_number: "Which sign is a matrix product?",
            turned_if_it_fits: "Right for a square W",
            adds_in_place: "changes x, W or b in place",
            mean_over_the_tokens: "Does every token go through alone?",
            weights_detached: "no slope can come back to W",
            input_detached: "no slope can come back to x",
        },
    ),
    "softplus_slope": Answers(
        right=[with_tanh, with_torch_sigmoid, with_autograd, guarded],
        wrong={
            overflows_above: "by 1 / (1 + e^-x)",
            overflows_below: "by e^x / (1 + e^x)",
            the_function: "That is ln(1 + e^x) itself",
            no_chain_rule: "What is the slope of 1 + e^x?",
            inner_slope: "Only the inner slope",
            logarithm_split: "a logarithm splits products",
            second_derivative: "That is the slope of the slope",
            constant_with_a_slope: "A constant does not change",
            nudged: "A nudge is not exact enough",
            nudged_far: "Write the formula instead of a nudge",
            step_function: "Is a number fixed?",
        },
    ),
    "fit_line": Answers(
        right=[descend_with_torch, descend_in_float32, descend_with_numpy],
        wrong={
            up_the_slope: "That is uphill",
            exchanged: "That is b, then w",
            sum_of_squares: "That is the loss as a sum",
            without_the_two: "What is the slope of a square?",
            one_after_the_other: "How do you move both at once?",
            never_zeroed: "What forgets the old ones?",
            through_the_origin: "b has never moved",
            one_step_less: "one step too few",
            one_step_more: "one step too many",
            a_single_step: "however many are wanted",
            never_moved: "where you began",
            four_examples: "x = [3.0]",
            until_it_is_good: "20 steps",
            solved_at_once: "After one step",
            centred_in_place: "changes x or y",
            the_losses: "Two numbers are wanted",
        },
    ),
}
