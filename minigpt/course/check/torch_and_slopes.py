"""The checks of the appendix, torch and slopes."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from minigpt.course.exercise import Exercise, close


def _changed(before: Tensor, after: Tensor) -> bool:
    """Whether an answer wrote into its argument."""
    return not torch.equal(before, after)


def _cut_off(result: Tensor) -> bool:
    """Whether no slope can come back through a result that was made from a tensor with requires_grad."""
    return not (isinstance(result, Tensor) and result.requires_grad)


@Exercise
def row_shares(answer: Callable[[Tensor], Tensor]) -> str | None:
    """Each row of a table, divided by its sum."""
    square = torch.tensor([[6.0, 2.0], [1.0, 3.0]], dtype=torch.float64)
    given = square.clone()
    got = torch.as_tensor(answer(given))
    came = f"For [[6, 2], [1, 3]] you return {_rounded(got)}."
    if _changed(square, given):
        return "Your function writes into the table it was given. Which line changes it in place?"
    right = square / square.sum(dim=1, keepdim=True)
    mistakes = {
        "Column 2 is divided by the sum of row 2. Which shape do the sums need so that rows stay rows?": square
        / square.sum(dim=1),
        "Now each column sums to 1. Which dimension must go away?": square / square.sum(dim=0),
        "All four numbers share one sum. How do you sum each row by itself?": square / square.sum(),
        "These are the sums themselves. What is divided by them?": square.sum(dim=1),
        "Softmax exponentiates first. What is to be divided here?": square.softmax(dim=1),
        "Whole numbers are left. Which division keeps fractions?": square // square.sum(dim=1, keepdim=True),
    }
    for hint, mistake in mistakes.items():
        if close(got, mistake):
            return f"{came} {hint}"
    if not close(got, right):
        return f"{came} By hand the first row is [6/8, 2/8]: each row by its own sum."

    deep = torch.tensor([[[1.0, 2.0, 5.0], [3.0, 3.0, 3.0]], [[7.0, 2.0, 1.0], [0.0, 0.0, 9.0]]], dtype=torch.float64)
    for table in (deep[0], deep[0, 0], deep):
        shape = tuple(table.shape)
        try:
            got = torch.as_tensor(answer(table.clone()))
        except (RuntimeError, IndexError, ValueError) as error:
            return f"Right for (2, 2). For a table of shape {shape} it stops: {error}. Which number names the last one?"
        if not close(got, table / table.sum(dim=-1, keepdim=True)):
            return (
                f"Right for (2, 2). For a table of shape {shape} the rows do not sum to 1. "
                "Rows run along the last dimension: is your `dim` that one for every shape?"
            )
    counts = torch.tensor([[3, 1], [1, 1]])
    if not close(answer(counts), [[0.75, 0.25], [0.5, 0.5]]):
        return "Right for fractions. For whole numbers, [[3, 1], [1, 1]], the shares are lost. Where do you round?"
    large = torch.full((1, 4), 2.0**60, dtype=torch.float64)
    if not close(answer(large), [[0.25] * 4]):
        return "Four counts of 2^60 each are a quarter. Is anything added to your sums, or cut off?"
    if _cut_off(answer(square.clone().requires_grad_())):
        return "The numbers are right, and no slope can come back through them. What cuts them off from autograd?"
    return None


@Exercise
def by_columns(answer: Callable[[Tensor, int], Tensor]) -> str | None:
    """The numbers of a table that was written row by row, read column by column."""
    numbers = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dtype=torch.float64)
    given = numbers.clone()
    got = torch.as_tensor(answer(given, 2))
    came = f"For [1, 2, 3, 4, 5, 6] in 2 rows you return {_rounded(got)}."
    if _changed(numbers, given):
        return "Your function writes into the numbers it was given. A view shares its memory: what makes a copy?"
    if got.ndim == 2 and close(got.flatten(), [1, 4, 2, 5, 3, 6]):
        return f"{came} The order is right. It should be one line: what makes one dimension of two?"
    if got.ndim == 2:
        return f"{came} That is a table. What is its order when you read it as one line?"
    if close(got, [1, 2, 3, 4, 5, 6]):
        return f"{came} Nothing has moved. A view never turns a table: what does?"
    if close(got, [1, 3, 5, 2, 4, 6]):
        return f"{came} That is a table of 2 columns, read by columns. Which of the two lengths is n_rows?"
    if close(got, [6, 5, 4, 3, 2, 1]):
        return f"{came} That is backwards. Draw the table [[1, 2, 3], [4, 5, 6]] and go down its columns."
    if not close(got, [1, 4, 2, 5, 3, 6]):
        return f"{came} Draw the table [[1, 2, 3], [4, 5, 6]]. Going down its columns you read 1, 4, 2, 5, 3, 6."
    for n, n_rows in ((12, 3), (12, 4), (5, 1), (5, 5), (9, 3)):
        line = torch.arange(n, dtype=torch.float64) / 7  # no round numbers
        got = answer(line.clone(), n_rows)
        if not close(got, [float(i * (n // n_rows) + j) / 7 for j in range(n // n_rows) for i in range(n_rows)]):
            return (
                f"Right for 6 numbers in 2 rows. For {n} numbers in {n_rows} row(s) you return {_rounded(got)}. "
                "Is a length fixed that should come from n_rows, or a number rounded?"
            )
    every_other = torch.arange(12, dtype=torch.float64)[::2]  # not contiguous
    try:
        got = answer(every_other, 2)
    except RuntimeError:
        # A view on such numbers is right in the lesson's sense: they are given as they lie in memory.
        got = answer(every_other.contiguous(), 2)
    if not close(got, [0, 6, 2, 8, 4, 10]):
        return "Numbers that are every other one of a longer line come out wrong. Do you read memory past them?"
    if _cut_off(answer(numbers.clone().requires_grad_(), 2)):
        return "The numbers are right, and no slope can come back through them. What cuts them off from autograd?"
    return None


@Exercise
def linear_map(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> str | None:
    """x W^T + b, for one token or for many."""
    # A square W and as many tokens: what is turned the wrong way raises no error here.
    W = torch.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=torch.float64)
    b = torch.tensor([10.0, 20.0], dtype=torch.float64)
    x = torch.tensor([[1.0, 0.0], [2.0, 1.0]], dtype=torch.float64)
    given = (x.clone(), W.clone(), b.clone())
    try:
        got = torch.as_tensor(answer(*given))
    except (RuntimeError, TypeError, IndexError) as error:
        if isinstance(error, NotImplementedError):  # the stub
            raise
        return f"For x, W (2, 2) and b (2,) it stops: {error}. Write every shape beside its line."
    if any(map(_changed, (x, W, b), given)):
        return "Your function changes x, W or b in place. Which line writes into what it was given?"
    came = f"For x = [[1, 0], [2, 1]], W = [[1, 2], [3, 5]], b = [10, 20] you return {_rounded(got)}."
    mistakes = {
        "W is used with its columns. Which side of W meets the numbers of a token?": x @ W + b,
        "W stands on the left and mixes tokens. On which side do the tokens stand?": W @ x + b,
        "Here, too, W mixes tokens. A token's numbers are a row of x: is x turned?": (W @ x.T) + b,
        "The right table, turned: the tokens should be the rows. What did you leave turned?": (x @ W.T + b).T,
        "The products are right. What is added to them?": x @ W.T,
        "Each token has a bias of its own. To which dimension does b belong?": x @ W.T + b[:, None],
        "The star multiplies number by number. Which sign is a matrix product?": x * W + b,
    }
    for hint, mistake in mistakes.items():
        if close(got, mistake):
            return f"{came} {hint}"
    if not close(got, x @ W.T + b):
        return f"{came} By hand the first token, [1, 0], gives [1·1 + 0·2 + 10, 1·3 + 0·5 + 20] = [11, 23]."

    W = torch.tensor([[1.0, -1.0, 2.0], [0.5, 3.0, -2.0]], dtype=torch.float64)
    many = torch.arange(24, dtype=torch.float64).view(2, 4, 3) / 7
    for x in (many[0], many[0, 1], many):
        shape = tuple(x.shape)
        try:
            got = torch.as_tensor(answer(x.clone(), W.clone(), b.clone()))
        except (RuntimeError, TypeError, IndexError) as error:
            return f"Right for a square W. For x {shape} and W (2, 3) it stops: {error}. Which side of W meets x?"
        if not close(got, torch.nn.functional.linear(x, W, b)):
            return f"Right for a table. For x of shape {shape} the numbers differ. Does every token go through alone?"
    for name, made in zip("xWb", (many, W, b), strict=True):
        arguments = [part.clone().requires_grad_(part is made) for part in (many, W, b)]
        if _cut_off(answer(*arguments)):
            return f"The numbers are right, and no slope can come back to {name}. What cuts it off from autograd?"
    return None


@Exercise
def softplus_slope(answer: Callable[[float], float]) -> str | None:
    """The slope of ln(1 + e^x), for every x."""

    def right(x: float) -> float:
        return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))

    got = float(answer(2.0))
    came = f"For x = 2 you return {got:.4f}."
    mistakes = {
        "That is ln(1 + e^x) itself. What is its slope?": math.log(1 + math.exp(2)),
        "The slope of ln u is 1/u, and then comes the chain rule. What is the slope of 1 + e^x?": 1 / (1 + math.exp(2)),
        "Only the inner slope, e^x, is there. What is the slope of ln u?": math.exp(2),
        "ln(1 + e^x) is not ln 1 + ln e^x: a logarithm splits products. What is the slope of ln u?": 1.0,
        "That is the slope of the slope. One derivative is enough.": right(2) * (1 - right(2)),
        "The 1 has a slope too, you say? A constant does not change: what is left of 1 + e^x?": (1 + math.exp(2))
        / (2 + math.exp(2)),
        "The sign in the exponent is turned. What do you get for a large x, and should the slope be near 0 there?": 1
        - right(2),
    }
    if not close(got, right(2), 1e-6):
        for hint, mistake in mistakes.items():
            if close(got, mistake, 1e-4):
                return f"{came} {hint}"
        if close(got, right(2), 0.02):
            return f"{came} It should be {right(2):.4f}, and yours is near. Write the formula instead of a nudge."
        return f"{came} With u = 1 + e^x the slope is u' / u, and a nudge measures {right(2):.4f}."
    for x in (0.0, -3.0, 0.5, 30.0, -30.0):
        if not math.isclose(float(answer(x)), right(x), rel_tol=1e-9):
            near = abs(float(answer(x)) - right(x)) < 1e-3
            what = "A nudge is not exact enough: write the formula." if near else "Is a number fixed?"
            return f"Right for x = 2. For x = {x:g} you return {float(answer(x)):.4g} instead of {right(x):.4g}. {what}"
    for x, wanted in ((1000.0, 1.0), (-1000.0, 0.0)):
        try:
            got = float(answer(x))
        except (OverflowError, ZeroDivisionError, ValueError):
            got = math.nan
        if not close(got, wanted):
            form = "by 1 / (1 + e^-x)" if x > 0 else "by e^x / (1 + e^x)"
            return f"Right for small x. For x = {x:g} an exponential overflows. The same slope, {form}, does not. Why?"
    return None


@Exercise
def fit_line(answer: Callable[[list[float], list[float], int, float], tuple[float, float]]) -> str | None:
    """Gradient descent on the mean squared error of a line."""

    def descend(x: list[float], y: list[float], steps: int, rate: float, kind: str = "") -> tuple[float, float]:
        """The steps, or one usual mistake in them."""
        w = b = kept_w = kept_b = 0.0
        n = {"sum": 1, "half": 2 * len(x)}.get(kind, len(x))
        for _ in range(steps):
            errors = [w * x_i + b - y_i for x_i, y_i in zip(x, y, strict=True)]
            slope_w = sum(2 * e * x_i for e, x_i in zip(errors, x, strict=True)) / n
            if kind == "in turn":
                errors = [e - rate * slope_w * x_i for e, x_i in zip(errors, x, strict=True)]
            slope_b = sum(2 * e for e in errors) / n
            kept_w, kept_b = slope_w + kept_w * (kind == "kept"), slope_b + kept_b * (kind == "kept")
            w -= rate * kept_w
            b -= rate * kept_b * (kind != "no b")
        return w, b

    x, y = [0.0, 1.0, 2.0, 4.0], [1.0, 3.0, 5.0, 8.0]
    given_x, given_y = list(x), list(y)
    result = answer(given_x, given_y, 3, 0.05)
    if (given_x, given_y) != (x, y):
        return "Your function changes x or y. They are the data: which line writes into them?"
    got = _one_tensor(result)
    came = f"For x = [0, 1, 2, 4], y = [1, 3, 5, 8], 3 steps at a rate of 0.05 you return {_rounded(got)}."
    if got.shape != (2,):
        return f"{came} Two numbers are wanted, w and b."
    right = descend(x, y, 3, 0.05)
    uphill = descend(x, y, 3, -0.05)
    mistakes = {
        "That is uphill. Is the slope added or subtracted?": uphill,
        "That is b, then w. In which order are they wanted?": right[::-1],
        "That is the loss as a sum. By how many examples is a mean divided?": descend(x, y, 3, 0.05, "sum"),
        "Your slopes are half of the right ones. What is the slope of a square?": descend(x, y, 3, 0.05, "half"),
        "w has moved before the slope in b is taken. How do you move both at once?": descend(x, y, 3, 0.05, "in turn"),
        "Each step moves by the slopes of all steps so far. What forgets the old ones?": descend(x, y, 3, 0.05, "kept"),
        "b has never moved. Does it have a slope?": descend(x, y, 3, 0.05, "no b"),
        "That is one step too few. How often does your loop run?": descend(x, y, 2, 0.05),
        "That is one step too many. How often does your loop run?": descend(x, y, 4, 0.05),
        "That is one step, however many are wanted.": descend(x, y, 1, 0.05),
        "You are at w = b = 0, where you began. Which line moves them?": (0.0, 0.0),
    }
    for hint, mistake in mistakes.items():
        if close(got, mistake, 1e-4):
            return f"{came} {hint}"
    if not close(got, right, 1e-6):
        return f"{came} After one step w = 2.3 and b = 0.425: the slopes at the start are -46 and -8.5. Print yours."
    for xs, ys, steps, rate in (([3.0], [2.0], 2, 0.01), ([1.0, -2.0], [0.5, 4.0], 20, 0.1), (x, y, 0, 0.1)):
        got = _one_tensor(answer(list(xs), list(ys), steps, rate))
        if not close(got, descend(xs, ys, steps, rate), 1e-6):
            return (
                f"Right for four points. For x = {xs}, y = {ys}, {steps} steps at a rate of {rate} you return "
                f"{_rounded(got)}. Is a number fixed, or does your loop stop too early?"
            )
    return None


def _one_tensor(numbers: Iterable[float | Tensor]) -> Tensor:
    """Numbers of any kind, such as two parameters of a module, as one tensor without their past."""
    return torch.tensor([torch.as_tensor(number).detach().item() for number in numbers], dtype=torch.float64)


def _rounded(values: Tensor) -> list[float]:
    """Numbers as a hint shows them."""
    rounded: list[float] = (torch.as_tensor(values).detach().double() * 1e4).round().div(1e4).tolist()
    return rounded
